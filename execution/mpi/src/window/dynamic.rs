//! Windows to which memory is attached: they lead into all of each member's memory, for the others
//! know what is attached by its address alone.

use super::Exposed;
use crate::{
    abi,
    engine::{Cb, Engine},
    error::{Result, ensure, fault},
};

impl Engine {
    pub(crate) fn win_create_dynamic(
        &mut self,
        cb: Cb<'_>,
        info: i32,
        comm: i32,
        win: u32,
    ) -> Result {
        self.info(info)?;
        self.space.check_place(win)?;
        let exposed = Exposed { base: 0, size: u32::MAX, unit: 1 };
        let handle = self.create_window(cb, exposed, comm, abi::WIN_FLAVOR_DYNAMIC)?;
        self.space.write_i32(win, handle)
    }

    fn check_dynamic(&mut self, win: i32) -> Result {
        let dynamic = self.window_mut(win)?.flavor == abi::WIN_FLAVOR_DYNAMIC;
        ensure(dynamic, abi::ERR_RMA_FLAVOR, || {
            format!("window {win} was not made by MPI_Win_create_dynamic")
        })
    }

    pub(crate) fn win_attach(&mut self, _: Cb<'_>, win: i32, base: u32, size: i32) -> Result {
        self.check_dynamic(win)?;
        let size = usize::try_from(size)
            .map_err(|_| fault(abi::ERR_SIZE, "the size of what is attached is negative"))?;
        let within = size == 0 || self.space.check(i64::from(base), size).is_ok();
        ensure(within, abi::ERR_RMA_ATTACH, || {
            format!("{size} bytes at address {base:#x} lie outside of memory")
        })
    }

    pub(crate) fn win_detach(&mut self, _: Cb<'_>, win: i32, _: u32) -> Result {
        self.check_dynamic(win)
    }
}
