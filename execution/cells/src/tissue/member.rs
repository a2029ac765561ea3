//! One rank.

use super::{Shared, gate::Next};
use crate::{
    cell::{Cell, Pause},
    error::{Error, Result},
    limits::Limits,
    run::{End, wait_for},
    wasi,
};
use std::sync::{Arc, Weak};

/// A rank and its cell.
#[derive(Debug)]
pub(super) struct Member {
    number: u32,
    cell: Cell,
    shared: Weak<Shared>,
}

/// How a rank came to the end of its thread.
enum Way {
    Ended(Result<End>),
    /// It goes on at another site.
    Left,
}

impl Member {
    /// A rank without a place in its world, which has not begun.
    pub(super) fn empty(
        shared: &Arc<Shared>,
        number: u32,
        config: wasi::Config,
        limits: &Limits,
    ) -> Result<Self> {
        let wasi = config
            .build()
            .map_err(|error| Error::runtime("the program's arguments cannot be used", error))?;
        let cell = Cell::new(&shared.program, wasi, limits)?;
        Ok(Self { number, cell, shared: Arc::downgrade(shared) })
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn cell(&mut self) -> &mut Cell {
        &mut self.cell
    }

    /// Runs to the end on this thread, and tells it before the other ranks learn of it.
    pub(super) fn run(mut self, ended: &(impl Fn(u32, Result<End>) + Sync)) {
        let Some(shared) = self.shared.upgrade() else { return };
        let way = self.drive(&shared);
        // The one that it was in; its seat may be the last to hold it.
        let world = self.cell.world().unwrap_or_default();
        match way {
            Way::Left => self.cell.leave_seat(None),
            Way::Ended(end) => {
                if let Ok(End::Exited(code)) = end {
                    shared.has_ended(self.number, code);
                }
                let failure = end.as_ref().err().map(ToString::to_string);
                ended(self.number, end);
                self.cell.leave_seat(failure.as_deref());
            }
        }
        shared.retire(self, world);
    }

    fn drive(&mut self, shared: &Shared) -> Way {
        loop {
            match self.cell.resume() {
                Err(error) => return Way::Ended(Err(error)),
                Ok(Pause::Exited(code)) => return Way::Ended(Ok(End::Exited(code))),
                Ok(Pause::Waiting(wait)) => {
                    let timeout = self.cell.wasi().until(wait);
                    wait_for(wait.is_for_input(), timeout, None);
                }
                Ok(Pause::Asked) => match self.stand(shared) {
                    Next::Leave => return Way::Left,
                    Next::End => return Way::Ended(Ok(End::Suspended)),
                    Next::Go | Next::Job(_) => {}
                },
            }
        }
    }

    /// Stands until all go on, or it is to do something else.
    fn stand(&mut self, shared: &Shared) -> Next {
        let number = self.number;
        loop {
            let stands = || shared.world().is_some_and(|world| world.has_stopped(number));
            match shared.gate.next(number, stands) {
                Next::Job(job) => job(&mut self.cell),
                next => return next,
            }
        }
    }
}
