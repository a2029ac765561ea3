//! Giving the functions to a module.

use super::{Errno, Outcome, Wait, Wasi};
use wasmtime::{Caller, Linker, Memory};

/// The import module of WASI preview 1.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// The program ended itself with this code; found in the error that a call into it returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the program exited with code {0}")]
pub struct Exit(pub u32);

/// What to do about a call that must wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// What it waited for may have happened: try again.
    Again,
    /// Return this to the guest now: the cell is being suspended and the call comes again when
    /// it continues.
    Return(i32),
}

/// What holds a program's [`Wasi`]: the data of its store.
pub trait Host: Sized + 'static {
    /// Works on the program's memory and its view of the system.
    ///
    /// # Errors
    /// If the module has no memory.
    fn with<R>(
        caller: &mut Caller<'_, Self>,
        work: impl FnOnce(&mut [u8], &mut Wasi) -> R,
    ) -> wasmtime::Result<R>;

    /// Runs before a call that may wait does its work: ends a rewind, if one is going on.
    fn enter(caller: &mut Caller<'_, Self>) -> wasmtime::Result<()>;

    /// Runs next, before the call has done anything: whether the cell was asked to stand still.
    /// If so an unwind has begun, and the call comes again when the cell continues.
    fn asked_to_stop(caller: &mut Caller<'_, Self>) -> wasmtime::Result<bool>;

    /// Runs when a call must wait: blocks, or starts an unwind.
    fn wait(caller: &mut Caller<'_, Self>, wait: Wait) -> wasmtime::Result<Waited>;
}

/// What a host whose memory belongs to one store does for [`Host::with`].
pub(crate) fn with_memory<T, R>(
    caller: &mut Caller<'_, T>,
    memory: Option<Memory>,
    wasi: impl FnOnce(&mut T) -> &mut Wasi,
    work: impl FnOnce(&mut [u8], &mut Wasi) -> R,
) -> wasmtime::Result<R> {
    let memory = memory.ok_or_else(|| {
        wasmtime::Error::msg("the module calls WASI but exports no `memory`: export it")
    })?;
    let (memory, host) = memory.data_and_store_mut(caller);
    Ok(work(memory, wasi(host)))
}

fn status(result: Result<(), Errno>) -> i32 {
    i32::from(result.err().unwrap_or(Errno::Success).raw())
}

/// Tries a call until it is done.
fn barrier<T: Host>(
    caller: &mut Caller<'_, T>,
    mut call: impl FnMut(&mut Wasi, &mut [u8]) -> Outcome,
) -> wasmtime::Result<i32> {
    T::enter(caller)?;
    if T::asked_to_stop(caller)? {
        return Ok(status(Ok(())));
    }
    loop {
        match T::with(caller, |memory, wasi| call(wasi, memory))? {
            Outcome::Return(errno) => return Ok(i32::from(errno.raw())),
            Outcome::Exit(code) => return Err(Exit(code).into()),
            Outcome::Wait(wait) => match T::wait(caller, wait)? {
                Waited::Again => {}
                Waited::Return(status) => return Ok(status),
            },
        }
    }
}

/// Adds every function of preview 1.
pub fn add_to_linker<T: Host>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    add_barriers(linker)?;
    add_process(linker)?;
    add_descriptors(linker)?;
    add_paths(linker)
}

macro_rules! ordinary {
    ($linker:ident: $($name:ident($($argument:ident: $type:ty),*);)*) => {
        $(
            $linker.func_wrap(
                MODULE,
                stringify!($name),
                |mut caller: Caller<'_, T>, $($argument: $type),*| -> wasmtime::Result<i32> {
                    let called =
                        T::with(&mut caller, |memory, wasi| wasi.$name(memory, $($argument),*))?;
                    Ok(status(called))
                },
            )?;
        )*
    };
}

fn add_barriers<T: Host>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.func_wrap(
        MODULE,
        "fd_read",
        |mut caller: Caller<'_, T>, fd: u32, buffers: u32, count: u32, result: u32| {
            barrier(&mut caller, |wasi, memory| wasi.fd_read(memory, fd, buffers, count, result))
        },
    )?;
    linker.func_wrap(
        MODULE,
        "poll_oneoff",
        |mut caller: Caller<'_, T>, subscriptions: u32, events: u32, count: u32, result: u32| {
            barrier(&mut caller, |wasi, memory| {
                wasi.poll_oneoff(memory, subscriptions, events, count, result)
            })
        },
    )?;
    Ok(())
}

fn add_process<T: Host>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    ordinary! { linker:
        args_get(argv: u32, buffer: u32);
        args_sizes_get(count: u32, size: u32);
        environ_get(environ: u32, buffer: u32);
        environ_sizes_get(count: u32, size: u32);
        clock_res_get(id: u32, result: u32);
        clock_time_get(id: u32, precision: u64, result: u32);
        random_get(at: u32, length: u32);
        sched_yield();
        sock_accept(fd: u32, flags: u32, result: u32);
        sock_recv(fd: u32, buffers: u32, count: u32, flags: u32, result: u32, result_flags: u32);
        sock_send(fd: u32, buffers: u32, count: u32, flags: u32, result: u32);
        sock_shutdown(fd: u32, how: u32);
    }
    linker.func_wrap(MODULE, "proc_exit", |code: u32| -> wasmtime::Result<()> {
        Err(Exit(code).into())
    })?;
    linker.func_wrap(
        MODULE,
        "proc_raise",
        |mut caller: Caller<'_, T>, signal: u32| match T::with(&mut caller, |_, wasi| {
            wasi.proc_raise(signal)
        })? {
            Outcome::Exit(code) => Err(wasmtime::Error::from(Exit(code))),
            Outcome::Return(errno) => Ok(i32::from(errno.raw())),
            Outcome::Wait(_) => Ok(i32::from(Errno::Nosys.raw())),
        },
    )?;
    Ok(())
}

fn add_descriptors<T: Host>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    ordinary! { linker:
        fd_advise(fd: u32, offset: u64, length: u64, advice: u32);
        fd_allocate(fd: u32, offset: u64, length: u64);
        fd_close(fd: u32);
        fd_datasync(fd: u32);
        fd_fdstat_get(fd: u32, result: u32);
        fd_fdstat_set_flags(fd: u32, flags: u32);
        fd_fdstat_set_rights(fd: u32, base: u64, inheriting: u64);
        fd_filestat_get(fd: u32, result: u32);
        fd_filestat_set_size(fd: u32, size: u64);
        fd_filestat_set_times(fd: u32, accessed: u64, modified: u64, which: u32);
        fd_pread(fd: u32, buffers: u32, count: u32, offset: u64, result: u32);
        fd_prestat_get(fd: u32, result: u32);
        fd_prestat_dir_name(fd: u32, path: u32, length: u32);
        fd_pwrite(fd: u32, buffers: u32, count: u32, offset: u64, result: u32);
        fd_readdir(fd: u32, buffer: u32, length: u32, cookie: u64, result: u32);
        fd_renumber(fd: u32, to: u32);
        fd_seek(fd: u32, delta: i64, whence: u32, result: u32);
        fd_sync(fd: u32);
        fd_tell(fd: u32, result: u32);
        fd_write(fd: u32, buffers: u32, count: u32, result: u32);
    }
    Ok(())
}

fn add_paths<T: Host>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    ordinary! { linker:
        path_create_directory(fd: u32, path: u32, length: u32);
        path_filestat_get(fd: u32, lookup: u32, path: u32, length: u32, result: u32);
        path_filestat_set_times(
            fd: u32, lookup: u32, path: u32, length: u32,
            accessed: u64, modified: u64, which: u32
        );
        path_link(
            old_fd: u32, old_lookup: u32, old_path: u32, old_length: u32,
            new_fd: u32, new_path: u32, new_length: u32
        );
        path_open(
            fd: u32, lookup: u32, path: u32, length: u32, oflags: u32,
            base: u64, inheriting: u64, fdflags: u32, result: u32
        );
        path_readlink(
            fd: u32, path: u32, length: u32, buffer: u32, buffer_length: u32, result: u32
        );
        path_remove_directory(fd: u32, path: u32, length: u32);
        path_rename(
            fd: u32, old_path: u32, old_length: u32,
            new_fd: u32, new_path: u32, new_length: u32
        );
        path_symlink(contents: u32, contents_length: u32, fd: u32, path: u32, length: u32);
        path_unlink_file(fd: u32, path: u32, length: u32);
    }
    Ok(())
}
