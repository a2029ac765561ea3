//! Giving the functions to a module.

use super::Errno;
use crate::wasi::Host;
use wasmtime::{Caller, Linker, Trap};

/// The import module of wasi-nn.
pub(crate) const MODULE: &str = "wasi_ephemeral_nn";

fn status(result: Result<(), Errno>) -> i32 {
    i32::from(result.err().unwrap_or(Errno::Success) as u16)
}

macro_rules! offer {
    ($linker:ident: $($name:ident($($argument:ident),*);)*) => {
        $(
            $linker.func_wrap(
                MODULE,
                stringify!($name),
                |mut caller: Caller<'_, T>, $($argument: u32),*| -> wasmtime::Result<i32> {
                    let (called, late) = T::with(&mut caller, |memory, wasi| {
                        let neural = wasi.neural();
                        (neural.$name(memory, $($argument),*), neural.is_late())
                    })?;
                    // Reading a model takes its time.
                    if late {
                        return Err(Trap::Interrupt.into());
                    }
                    Ok(status(called))
                },
            )?;
        )*
    };
}

/// Adds every function.
pub(crate) fn add_to_linker<T: Host>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    offer! { linker:
        load(builders, count, encoding, target, result);
        load_by_name(name, length, result);
        init_execution_context(graph, result);
        set_input(context, index, tensor);
        get_output(context, index, buffer, room, result);
    }
    linker.func_wrap(MODULE, "compute", |mut caller: Caller<'_, T>, context: u32| {
        compute(&mut caller, context).map(status)
    })?;
    Ok(())
}

/// Other threads of the program go on meanwhile.
fn compute<T: Host>(
    caller: &mut Caller<'_, T>,
    context: u32,
) -> wasmtime::Result<Result<(), Errno>> {
    let job = match T::with(caller, |_, wasi| wasi.neural().begin(context))? {
        Ok(job) => job,
        Err(errno) => return Ok(Err(errno)),
    };
    let answer = job.run();
    if matches!(answer, Err(inference::Error::Late)) {
        // As if it had come to its deadline in its own code.
        return Err(Trap::Interrupt.into());
    }
    T::with(caller, |_, wasi| wasi.neural().end(context, answer))
}
