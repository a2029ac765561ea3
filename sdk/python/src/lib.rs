//! The Python module `cloudskin.geds._native`: the store of `geds` for an interpreter.
//!
//! Start at [`store`]. Everything that is pleasant in Python and needs no Rust (files, `fsspec`,
//! `smart_open`) is written in Python on top, in `python/`. The interpreter's lock is released
//! around all work of the store.

mod buffers;
mod errors;
mod here;
mod node;
mod object;
mod settings;
mod store;
mod subscription;
mod values;
mod writer;

/// What `cloudskin.geds` is made of; use that instead.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use crate::{
        here::forked,
        node::Node,
        object::{Object, View},
        settings::{Limits, Usage},
        store::Store,
        subscription::Subscription,
        values::{Bucket, Entry, Event, Page, Stat},
        writer::Writer,
    };
}
