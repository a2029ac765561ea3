//! Calls at the level of the guest's memory: waiting, limits, and pointers that lie.

use super::support::{GuestMemory, Still, granted, put};
use crate::wasi::{Buffer, Config, Errno, Limits, Null, Outcome, Streams, Wait, Wasi};
use proptest::prelude::*;

const DONE: Outcome = Outcome::Return(Errno::Success);

fn with_input(input: &Buffer) -> Streams {
    Streams { stdin: Box::new(input.clone()), stdout: Box::new(Null), stderr: Box::new(Null) }
}

#[test]
fn a_read_of_nothing_waits_and_changes_nothing() {
    let input = Buffer::default();
    let config = Config { streams: with_input(&input), ..Config::default() };
    let mut wasi = config.build().expect("config is valid");
    let mut memory = GuestMemory::with_buffer(64, 16);
    let before = memory.clone();

    assert_eq!(wasi.fd_read(&mut memory.0, 0, 0, 1, 32), Outcome::Wait(Wait::Input));
    assert_eq!(memory, before);

    input.push(b"hi");
    assert_eq!(wasi.fd_read(&mut memory.0, 0, 0, 1, 32), DONE);
    assert_eq!((memory.u32(32), &memory.0[64..66]), (2, &b"hi"[..]));

    wasi.fd_fdstat_set_flags(&mut memory.0, 0, 4).expect("non-blocking");
    assert_eq!(wasi.fd_read(&mut memory.0, 0, 0, 1, 32), Outcome::Return(Errno::Again));
    input.end();
    assert_eq!(wasi.fd_read(&mut memory.0, 0, 0, 1, 32), DONE);
    assert_eq!(memory.u32(32), 0);
}

#[test]
fn a_relative_timeout_counts_from_the_first_try() {
    let sources = Still::at(1_000);
    let input = Buffer::default();
    let config = Config {
        streams: with_input(&input),
        sources: Box::new(sources.clone()),
        ..Config::default()
    };
    let mut wasi = config.build().expect("config is valid");
    let mut memory = GuestMemory::new();
    memory.clock_subscription(0, 500, false);
    memory.read_subscription(48, 0);
    let poll = |wasi: &mut Wasi, memory: &mut GuestMemory, count| {
        wasi.poll_oneoff(&mut memory.0, 0, 128, count, 256)
    };

    assert_eq!(poll(&mut wasi, &mut memory, 2), Outcome::Wait(Wait::InputOrUntil(1_500)));
    sources.advance(499);
    assert_eq!(poll(&mut wasi, &mut memory, 2), Outcome::Wait(Wait::InputOrUntil(1_500)));
    assert_eq!(poll(&mut wasi, &mut memory, 1), Outcome::Wait(Wait::Until(1_999)));
    sources.advance(500);
    assert_eq!(poll(&mut wasi, &mut memory, 1), DONE);
    assert_eq!(memory.u32(256), 1);
    assert_eq!(poll(&mut wasi, &mut memory, 1), Outcome::Wait(Wait::Until(2_499)));
}

#[test]
fn an_absolute_timeout_is_a_moment() {
    let sources = Still::at(1_000);
    let config = Config { sources: Box::new(sources.clone()), ..Config::default() };
    let mut wasi = config.build().expect("config is valid");
    let mut memory = GuestMemory::new();
    memory.clock_subscription(0, 1_200, true);

    let wait = wasi.poll_oneoff(&mut memory.0, 0, 128, 1, 256);

    assert_eq!(wait, Outcome::Wait(Wait::Until(1_200)));
    assert_eq!(wasi.until(Wait::Until(1_200)).map(|left| left.as_nanos()), Some(200));
    sources.advance(200);
    assert_eq!(wasi.poll_oneoff(&mut memory.0, 0, 128, 1, 256), DONE);
}

#[test]
fn output_stops_at_its_limit() {
    let stdout = Buffer::default();
    let config = Config {
        streams: Streams { stdout: Box::new(stdout.clone()), ..Streams::null() },
        limits: Limits { output_bytes: 10, ..Limits::default() },
        ..Config::default()
    };
    let mut wasi = config.build().expect("config is valid");
    let mut memory = GuestMemory::with_buffer(64, 8);
    memory.0[64..72].copy_from_slice(b"12345678");

    assert_eq!(wasi.fd_write(&mut memory.0, 1, 0, 1, 32), Ok(()));
    assert_eq!(wasi.fd_write(&mut memory.0, 1, 0, 1, 32), Ok(()));
    assert_eq!(memory.u32(32), 2);
    assert_eq!(wasi.fd_write(&mut memory.0, 2, 0, 1, 32), Err(Errno::Nospc));
    assert_eq!(stdout.take(), b"1234567812");
}

#[test]
fn many_buffers_are_written_in_order() {
    let stdout = Buffer::default();
    let config = Config {
        streams: Streams { stdout: Box::new(stdout.clone()), ..Streams::null() },
        ..Config::default()
    };
    let mut wasi = config.build().expect("config is valid");
    let mut memory = GuestMemory::new();
    // Every other buffer is empty; each of the rest is one byte.
    for index in 0..200u32 {
        put(&mut memory.0, index * 8, 4096 + index / 2);
        put(&mut memory.0, index * 8 + 4, index % 2);
        memory.0[4096 + index as usize / 2] = (index / 2) as u8;
    }
    let mut from = 0;
    while from < 200 {
        wasi.fd_write(&mut memory.0, 1, from * 8, 200 - from, 8192).expect("it is written");
        from += memory.u32(8192) * 2;
    }

    assert_eq!(stdout.take(), (0..100).collect::<Vec<u8>>());
}

#[test]
fn a_read_may_overwrite_its_own_list() {
    let input = Buffer::default();
    input.push(&[0xff; 64]);
    let config = Config { streams: with_input(&input), ..Config::default() };
    let mut wasi = config.build().expect("config is valid");
    let mut memory = GuestMemory::new();
    put(&mut memory.0, 0, 0);
    put(&mut memory.0, 4, 16);
    put(&mut memory.0, 8, 100);
    put(&mut memory.0, 12, 16);

    assert_eq!(wasi.fd_read(&mut memory.0, 0, 0, 2, 32), DONE);

    assert_eq!((memory.u32(32), memory.0[115], memory.0[116]), (32, 0xff, 0));
}

#[test]
fn blocking_ends_when_input_comes_or_time_is_over() {
    fn movable<T: Send>(value: T) -> T {
        value
    }
    let input = Buffer::default();
    let config = Config { streams: with_input(&input), ..Config::default() };
    let mut wasi = movable(config.build().expect("config is valid"));
    let mut memory = GuestMemory::with_buffer(64, 16);

    wasi.block(Wait::InputOrUntil(0)).expect("it returns at once");
    std::thread::scope(|scope| {
        scope.spawn(|| input.push(b"x"));
        while wasi.fd_read(&mut memory.0, 0, 0, 1, 32) == Outcome::Wait(Wait::Input) {
            wasi.block(Wait::Input).expect("it blocks");
        }
    });
    assert_eq!(memory.0[64], b'x');
}

#[test]
fn signals_do_what_they_do_by_default() {
    let wasi = Config::default().build().expect("config is valid");

    assert_eq!(wasi.proc_raise(0), DONE);
    assert_eq!(wasi.proc_raise(6), Outcome::Exit(134));
    assert_eq!(wasi.proc_raise(31), Outcome::Return(Errno::Inval));
}

#[test]
fn arguments_that_c_cannot_hold_are_refused() {
    let nul = Config { arguments: vec!["a\0b".to_owned()], ..Config::default() };
    let name = Config { variables: vec![("A=B".to_owned(), String::new())], ..Config::default() };
    let limits = Limits { argument_bytes: 4, ..Limits::default() };
    let large = Config { arguments: vec!["12345".to_owned()], limits, ..Config::default() };

    assert!(nul.build().is_err_and(|error| error.to_string().contains("NUL")));
    assert!(name.build().is_err_and(|error| error.to_string().contains("A=B")));
    assert!(large.build().is_err_and(|error| error.to_string().contains("the limit is 4")));
}

fn ignore(_: Outcome) -> Result<(), Errno> {
    Ok(())
}

/// Calls function number `which` with arguments that mean nothing.
fn call(wasi: &mut Wasi, m: &mut [u8], which: u8, a: [u32; 7], b: [u64; 2]) {
    let _ = match which % 45 {
        0 => wasi.args_get(m, a[0], a[1]),
        1 => wasi.args_sizes_get(m, a[0], a[1]),
        2 => wasi.environ_get(m, a[0], a[1]),
        3 => wasi.environ_sizes_get(m, a[0], a[1]),
        4 => wasi.clock_res_get(m, a[0] % 6, a[1]),
        5 => wasi.clock_time_get(m, a[0] % 6, b[0], a[1]),
        6 => wasi.fd_advise(m, a[0] % 8, b[0], b[1], a[1] % 8),
        7 => wasi.fd_allocate(m, a[0] % 8, b[0], b[1] % 4096),
        8 => wasi.fd_close(m, 4 + a[0] % 4),
        9 => wasi.fd_datasync(m, a[0] % 3),
        10 => wasi.fd_fdstat_get(m, a[0] % 8, a[1]),
        11 => wasi.fd_fdstat_set_flags(m, 3 + a[0] % 5, a[1] % 64),
        12 => wasi.fd_fdstat_set_rights(m, 4 + a[0] % 4, b[0], b[1]),
        13 => wasi.fd_filestat_get(m, a[0] % 8, a[1]),
        14 => wasi.fd_filestat_set_size(m, a[0] % 8, b[0]),
        15 => wasi.fd_filestat_set_times(m, a[0] % 8, b[0], b[1], a[1] % 20),
        16 => wasi.fd_pread(m, a[0] % 8, a[1], a[2] % 64, b[0], a[3]),
        17 => wasi.fd_prestat_get(m, a[0] % 8, a[1]),
        18 => wasi.fd_prestat_dir_name(m, a[0] % 8, a[1], a[2]),
        19 => wasi.fd_pwrite(m, a[0] % 8, a[1], a[2] % 64, b[0] % 65536, a[3]),
        20 => ignore(wasi.fd_read(m, a[0] % 8, a[1], a[2] % 64, a[3])),
        21 => wasi.fd_readdir(m, a[0] % 8, a[1], a[2], b[0], a[3]),
        22 => wasi.fd_renumber(m, 4 + a[0] % 4, 4 + a[1] % 4),
        23 => wasi.fd_seek(m, a[0] % 8, b[0] as i64, a[1] % 4, a[2]),
        24 => wasi.fd_sync(m, a[0] % 3),
        25 => wasi.fd_tell(m, a[0] % 8, a[1]),
        26 => wasi.fd_write(m, a[0] % 8, a[1], a[2] % 64, a[3]),
        27 => wasi.path_create_directory(m, 3, a[1], a[2]),
        28 => wasi.path_filestat_get(m, 3, a[1] % 3, a[2], a[3], a[4]),
        29 => wasi.path_filestat_set_times(m, 3, a[1] % 3, a[2], a[3], b[0], b[1], a[4] % 20),
        30 => wasi.path_link(m, 3, a[1] % 3, a[2], a[3], 3, a[5], a[6]),
        31 => wasi.path_open(m, 3, a[1] % 3, a[2], a[3], a[4] % 20, b[0], b[1], a[5] % 40, a[6]),
        32 => wasi.path_readlink(m, 3, a[1], a[2], a[3], a[4], a[5]),
        33 => wasi.path_remove_directory(m, 3, a[1], a[2]),
        34 => wasi.path_rename(m, 3, a[1], a[2], 3, a[3], a[4]),
        35 => wasi.path_symlink(m, a[0], a[1], 3, a[2], a[3]),
        36 => wasi.path_unlink_file(m, 3, a[1], a[2]),
        37 => ignore(wasi.poll_oneoff(m, a[0], a[1], a[2] % 32, a[3])),
        38 => ignore(wasi.proc_raise(a[0])),
        39 => wasi.random_get(m, a[0], a[1]),
        40 => wasi.sched_yield(m),
        41 => wasi.sock_accept(m, a[0] % 8, a[1], a[2]),
        42 => wasi.sock_recv(m, a[0] % 8, a[1], a[2], a[3], a[4], a[5]),
        43 => wasi.sock_send(m, a[0] % 8, a[1], a[2], a[3], a[4]),
        _ => wasi.sock_shutdown(m, a[0] % 8, a[1]),
    };
}

/// Mostly places in a small memory, sometimes anything.
fn argument() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0u32..600, 1 => any::<u32>(), 1 => Just(u32::MAX)]
}

proptest! {
    #[test]
    fn no_call_breaks_the_host(
        filling in proptest::collection::vec(prop_oneof![Just(0u8), 0u8..8, Just(b'a'), Just(b'/'), Just(b'.')], 512),
        calls in proptest::collection::vec(
            (any::<u8>(), proptest::array::uniform7(argument()), proptest::array::uniform2(any::<u64>())),
            1..60,
        ),
    ) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = Config { grants: vec![granted(folder.path(), "/")], ..Config::default() };
        let mut wasi = config.build().expect("config is valid");
        let mut memory = filling;
        for (which, small, large) in calls {
            call(&mut wasi, &mut memory, which, small, large);
        }
        prop_assert!(!folder.path().parent().expect("it has a parent").join("a").exists());
    }
}
