//! Point-to-point communication.

use crate::{call, guest::*, ok};
use mpi::{Abort, Config};

#[test]
fn a_ring_of_messages_of_all_sizes_arrives_whole() {
    for ranks in SIZES {
        run(ranks, |guest| {
            let (me, size) = (guest.me(), guest.size());
            let (next, previous) = ((me + 1) % size, (me + size - 1) % size);
            let (out, into, status) = (guest.room(140_000), guest.room(140_000), guest.room(24));
            for bytes in [0, 1, 8, 40, 41, 64, 65, 1000, 4096, 4097, 65_537, 140_000] {
                let pattern = |rank: i32| -> Vec<u8> {
                    (0..bytes).map(|byte| (byte * 7 + rank as usize * 31) as u8).collect()
                };
                guest.set(out, &pattern(me));
                let count = bytes as i32;
                ok!(guest.sendrecv(
                    out, count, BYTE, next, 5, into, count, BYTE, previous, 5, WORLD, status
                ));
                assert_eq!(guest.bytes_at(into, bytes), pattern(previous));
                assert_eq!(guest.ints_at(status, 2), [previous, 5]);
            }
        });
    }
}
