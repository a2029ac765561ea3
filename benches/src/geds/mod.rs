//! The ephemeral store beside memory, files, Redis and another S3 server.
//!
//! A node runs as users run it (`cloudskin serve`), and this process joins it; what is read was put
//! by another process where a row says so. Redis is asked over a Unix socket by a client as plain as
//! can be: one `write` and one or two `read`s a request, no copy but the system's.

mod cell;
mod files;
mod guest;
mod http;
mod local;
mod many;
mod node;
mod plain;
mod remote;
mod s3;
mod spill;
mod stores;
mod tiering;
mod units;

pub use files::serve_files;
pub use remote::serve_tcp;

use crate::suite::{Group, Suite};

/// All rows of `make bench-geds`.
pub const SUITE: Suite = Suite {
    area: "geds",
    groups: &[
        Group { rows: local::VIEW_ROWS, run: local::views },
        Group { rows: local::READ_ROWS, run: local::reads },
        Group { rows: local::PUT_ROWS, run: local::puts },
        Group { rows: local::REDIS_ROWS, run: local::redis },
        Group { rows: local::FILES_ROWS, run: local::files },
        Group { rows: many::ROWS, run: many::measure },
        Group { rows: s3::ROWS, run: s3::measure },
        Group { rows: spill::ROWS, run: spill::measure },
        Group { rows: tiering::ROWS, run: tiering::measure },
        Group { rows: cell::ROWS, run: cell::measure },
        Group { rows: units::ROWS, run: units::measure },
        Group { rows: remote::ROWS, run: remote::measure },
    ],
};

/// The subcommand of this binary that serves files over S3 as `s3s-fs` does.
pub const FILES_SUBCOMMAND: &str = "s3s-fs-server";

/// The subcommand of this binary that answers requests for bytes over TCP.
pub const TCP_SUBCOMMAND: &str = "tcp-server";

/// A size that is measured.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// As rows are named.
    name: &'static str,
    bytes: usize,
    /// How many operations a measurement takes.
    times: usize,
}

const SIZES: [Size; 4] = [
    Size { name: "1KiB", bytes: 1 << 10, times: 20_000 },
    Size { name: "64KiB", bytes: 64 << 10, times: 3000 },
    Size { name: "1MiB", bytes: 1 << 20, times: 200 },
    Size { name: "16MiB", bytes: 16 << 20, times: 12 },
];

/// Names that are used in turn, so that neither side works on one object alone.
const NAMES: usize = 16;

fn name(number: usize) -> String {
    format!("objects/{number}")
}

/// Bytes that do not compress to nothing.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[1]).collect()
}
