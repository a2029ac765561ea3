//! One rank.

use super::{Shared, gate::Next};
use crate::{
    cell::{Cell, Pause},
    error::{Error, Result},
    limits::Limits,
    run::{End, wait_for},
    wasi,
};
use std::sync::Arc;

/// A rank and its cell.
#[derive(Debug)]
pub(super) struct Member {
    number: u32,
    cell: Cell,
    shared: Arc<Shared>,
}

impl Member {
    /// A rank at the program's beginning.
    pub(super) fn new(
        shared: &Arc<Shared>,
        number: u32,
        config: wasi::Config,
        limits: &Limits,
    ) -> Result<Self> {
        let mut member = Self::empty(shared, number, config, limits)?;
        member.cell.take_seat(&shared.world, number)?;
        Ok(member)
    }

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
        Ok(Self { number, cell, shared: shared.clone() })
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn cell(&mut self) -> &mut Cell {
        &mut self.cell
    }

    /// Runs to the end on this thread, and tells it before the other ranks learn of it.
    pub(super) fn run(&mut self, ended: &(impl Fn(u32, Result<End>) + Sync)) {
        let end = self.drive();
        if let Ok(End::Exited(code)) = end {
            self.shared.has_ended(self.number, code);
        }
        let failure = end.as_ref().err().map(ToString::to_string);
        ended(self.number, end);
        self.cell.leave_seat(failure.as_deref());
    }

    fn drive(&mut self) -> Result<End> {
        loop {
            match self.cell.resume()? {
                Pause::Exited(code) => return Ok(End::Exited(code)),
                Pause::Waiting(wait) => {
                    let timeout = self.cell.wasi().until(wait);
                    wait_for(wait.is_for_input(), timeout, None);
                }
                Pause::Asked => {
                    if !self.stand() {
                        return Ok(End::Suspended);
                    }
                }
            }
        }
    }

    /// Stands until all go on; whether it does, too.
    fn stand(&mut self) -> bool {
        let (shared, number) = (self.shared.clone(), self.number);
        loop {
            match shared.gate.next(number, || shared.world.has_stopped(number)) {
                Next::Go => return true,
                Next::End => return false,
                Next::Job(job) => job(&mut self.cell),
            }
        }
    }
}
