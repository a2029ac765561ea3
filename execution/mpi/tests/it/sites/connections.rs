//! Connections: who is at the other end, bytes that make no sense, and ends that break or stand still.

use crate::{call, guest::*, ok};
use mpi::{Abort, Config, Link, Placement, World, connection::Connections};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// What site 0 says of what it was greeted with by site 1.
fn greeted_with(bytes: &[u8]) -> String {
    let (here, mut there) = UnixStream::pair().expect("sockets");
    there.write_all(bytes).expect("a greeting");
    drop(there.shutdown(std::net::Shutdown::Write));
    let reader = here.try_clone().expect("the other half");
    Connections::new(0).connect(1, reader, here).expect_err("refused").to_string()
}

#[test]
fn strangers_are_not_connected_to() {
    let start = "the connection to site 1 broke: ";
    assert_eq!(
        greeted_with(b"GET / HTTP/1.1\r\n"),
        format!("{start}the other side does not speak this protocol")
    );
    assert_eq!(
        greeted_with(b"CSKMPI\x02\0\x01\0\0\0"),
        format!("{start}the other side speaks version 2, this one 1")
    );
    assert_eq!(
        greeted_with(b"CSKMPI\x01\0\x07\0\0\0"),
        format!("{start}site 7 is at the other end")
    );
    assert!(greeted_with(b"CSK").starts_with(&format!("{start}it was not greeted: ")));
}

#[test]
fn a_connection_whose_bytes_make_no_sense_ends_the_world() {
    for (bytes, expected) in [
        (
            &b"\xff\xff\xff\xff"[..],
            "it can not be read from: a frame of 4294967295 bytes is longer",
        ),
        (b"\x02\0\0\0\xff\xff", "a frame from site 1 can not be read"),
        (b"\x02\0\0\0", "it can not be read from: "),
    ] {
        let (here, mut there) = UnixStream::pair().expect("sockets");
        there.write_all(b"CSKMPI\x01\0\x01\0\0\0").expect("a greeting");
        let connections = Connections::new(0);
        let reader = here.try_clone().expect("the other half");
        connections.connect(1, reader, here).expect("a site");
        let placement = Placement { here: 0, sites: vec![0, 1] };
        let link = Arc::clone(&connections) as Arc<dyn Link>;
        let world = World::spread(2, Config::default(), placement, link).expect("a part");
        connections.attend(&world).expect("readers");
        let mut guest = Guest::new(&world, 0, 1 << 16);
        ok!(guest.init(0, 0));

        there.write_all(bytes).expect("a frame");
        drop(there);

        let outcome = call!(guest.recv(64, 1, INT, 1, 0, WORLD, 0));
        let text = outcome.expect_err("nothing can come").to_string();
        let start = format!("the connection to site 1 broke: {expected}");
        assert!(text.starts_with(&start), "{text}");
    }
}

#[test]
fn a_connection_that_breaks_ends_the_world_with_the_site() {
    let parts = spread(&[0, 1], &Config::default());
    let (world, other) = (&parts[0].0, &parts[1].0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut guest = Guest::new(world, 0, 1 << 16);
            let outcome =
                call!(guest.init(0, 0)).and_then(|_| call!(guest.recv(64, 1, INT, 1, 0, WORLD, 0)));
            let text = outcome.expect_err("it can not come").to_string();
            assert_eq!(text, "the connection to site 1 broke: the cable was cut");
        });
        let mut guest = Guest::new(other, 1, 1 << 16);
        ok!(guest.init(0, 0));
        world.lost(1, "the cable was cut");
        // It learns the same from the other site.
        let outcome = call!(guest.recv(64, 1, INT, 0, 0, WORLD, 0));
        assert_eq!(outcome, Err(Abort::Lost { site: 1, reason: "the cable was cut".into() }));
    });
}

/// A pipe whose reader may stand still, and that counts what lies in it.
#[derive(Debug, Default)]
struct Pipe {
    bytes: Mutex<std::collections::VecDeque<u8>>,
    bell: Condvar,
    stalled: AtomicBool,
    taken: AtomicUsize,
}

const PIPE_BYTES: usize = 64 << 10;

struct End(Arc<Pipe>);

impl Read for End {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let mut bytes = self.0.bytes.lock().expect("bytes");
        while bytes.is_empty() || self.0.stalled.load(Ordering::SeqCst) {
            bytes = self.0.bell.wait_timeout(bytes, Duration::from_millis(5)).expect("bytes").0;
        }
        let len = into.len().min(bytes.len());
        for (into, byte) in into.iter_mut().zip(bytes.drain(..len)) {
            *into = byte;
        }
        self.0.bell.notify_all();
        Ok(len)
    }
}

impl Write for End {
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        let mut bytes = self.0.bytes.lock().expect("bytes");
        while bytes.len() >= PIPE_BYTES {
            bytes = self.0.bell.wait(bytes).expect("bytes");
        }
        let len = from.len().min(PIPE_BYTES - bytes.len());
        bytes.extend(&from[..len]);
        self.0.taken.fetch_add(len, Ordering::SeqCst);
        self.0.bell.notify_all();
        Ok(len)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_peer_that_stands_still_costs_bounded_memory_and_no_deadlock() {
    let pipes = [Arc::new(Pipe::default()), Arc::new(Pipe::default())];
    let parts = [0, 1].map(Connections::new);
    std::thread::scope(|scope| {
        let end = |place: usize| End(Arc::clone(&pipes[place]));
        let (second, read, write) = (&parts[1], end(0), end(1));
        scope.spawn(move || second.connect(0, read, write).expect("a greeting"));
        parts[0].connect(1, end(1), end(0)).expect("a greeting");
    });
    let worlds = [0, 1].map(|here| {
        let link = Arc::clone(&parts[here as usize]) as Arc<dyn Link>;
        let placement = Placement { here, sites: vec![0, 1] };
        let world = World::spread(2, Config::default(), placement, link).expect("a part");
        parts[here as usize].attend(&world).expect("readers");
        world
    });
    const NUMBER: i32 = 400;
    const BYTES: i32 = 60_000;
    let queued = AtomicUsize::new(0);
    pipes[0].stalled.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        for (number, world) in worlds.iter().enumerate() {
            let queued = &queued;
            scope.spawn(move || {
                let mut guest = Guest::new(world, number as u32, 4 << 20);
                ok!(guest.init(0, 0));
                let (row, into) = (guest.room(BYTES as usize), guest.room(BYTES as usize));
                let other = 1 - number as i32;
                // Both send at once: puts need no receiver, so that nothing but the link stops them.
                let win = guest.room(4);
                ok!(guest.win_create(into, BYTES, 1, 0, WORLD, win));
                let win = guest.int(win);
                ok!(guest.win_fence(0, win));
                for _ in 0..NUMBER {
                    ok!(guest.put(row, BYTES, BYTE, other, 0, BYTES, BYTE, win));
                    if number == 0 {
                        queued.fetch_add(BYTES as usize, Ordering::SeqCst);
                    }
                }
                ok!(guest.win_fence(0, win));
                ok!(guest.finalize());
            });
        }
        // The windows are made before the pipe stands still.
        pipes[0].stalled.store(false, Ordering::SeqCst);
        wait_until(|| queued.load(Ordering::SeqCst) > 0);
        pipes[0].stalled.store(true, Ordering::SeqCst);
        let before = pipes[0].taken.load(Ordering::SeqCst);
        // The sender comes to a halt: nothing more is put for a while.
        let mut last = usize::MAX;
        wait_until(|| {
            let now = queued.load(Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(100));
            std::mem::replace(&mut last, now) == now
        });
        let passed = pipes[0].taken.load(Ordering::SeqCst) - before;
        let ahead = queued.load(Ordering::SeqCst).saturating_sub(before + passed);
        assert!(queued.load(Ordering::SeqCst) < (NUMBER * BYTES) as usize, "it did not wait");
        assert!(ahead < 8 << 20, "{ahead} bytes are queued");
        pipes[0].stalled.store(false, Ordering::SeqCst);
    });
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "it never came to be");
        std::thread::sleep(Duration::from_millis(1));
    }
}
