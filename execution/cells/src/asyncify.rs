//! The functions by which the host has a guest leave its call stack in memory, and come back to it.

use wasmtime::{Instance, Store, TypedFunc};

/// Length of the two words at the front of the unwind area.
const AREA_HEADER_BYTES: u32 = 8;

/// The functions that Asyncify adds to a module, and where the call stack goes.
pub(crate) struct Asyncify {
    pub(crate) start_unwind: TypedFunc<u32, ()>,
    pub(crate) stop_unwind: TypedFunc<(), ()>,
    pub(crate) start_rewind: TypedFunc<u32, ()>,
    pub(crate) stop_rewind: TypedFunc<(), ()>,
    /// Address of the unwind area: two words for Asyncify — next byte, end — and the stack.
    pub(crate) area: u32,
    pub(crate) area_bytes: u32,
}

impl Asyncify {
    /// Those of an instance whose unwind area is known.
    pub(crate) fn of<T>(
        instance: &Instance,
        store: &mut Store<T>,
        (area, area_bytes): (u32, u32),
    ) -> wasmtime::Result<Self> {
        Ok(Self {
            start_unwind: instance.get_typed_func(&mut *store, "asyncify_start_unwind")?,
            stop_unwind: instance.get_typed_func(&mut *store, "asyncify_stop_unwind")?,
            start_rewind: instance.get_typed_func(&mut *store, "asyncify_start_rewind")?,
            stop_rewind: instance.get_typed_func(&mut *store, "asyncify_stop_rewind")?,
            area,
            area_bytes,
        })
    }

    /// What the area begins with before an unwind: where the stack goes, and where its room ends.
    pub(crate) fn header(&self) -> [u32; 2] {
        [self.area + AREA_HEADER_BYTES, self.area + self.area_bytes]
    }
}
