//! A suspended cell as bytes.
//!
//! A snapshot is a header and typed, versioned, checksummed sections ([`format`]); sections come
//! in *rounds*, each closed by a commit. A later round's pages replace an earlier one's, so one
//! format serves a file, a checkpoint that grows, and a state that is sent while it changes.
//! `docs/protocol/snapshot.md` describes it for other implementations.

mod format;
mod service;

pub use format::{
    GlobalValue, Identity, RankImage, RankState, Section, SnapshotError, ThreadPlace, ThreadsImage,
    TissueImage,
};
pub(crate) use format::{PAGES_MAX, Reader, Writer, committed_bytes, decode};
#[doc(hidden)]
pub use service::sample;
pub use service::{Expected, adopt, check};
