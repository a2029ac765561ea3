//! Synchronisation of windows: fences, locks and flushes, and exposure to groups.

use crate::{
    abi,
    engine::{Cb, Engine},
    error::{Result, ensure, fault},
    site::reach::Far,
    underway::Step,
};
use std::sync::{
    Arc,
    atomic::{Ordering, fence},
};

impl Engine {
    /// Waits until all that was written through a window is there.
    pub(super) fn settle(&mut self, cb: Cb<'_>, win: i32) -> Result {
        let written = std::mem::take(&mut self.window_mut(win)?.written);
        self.settle_beyond(cb, &written)
    }

    /// The communicator of a window, to meet in; what was written is seen by all who meet.
    fn meeting(&mut self, win: i32) -> Result<i32> {
        fence(Ordering::SeqCst);
        Ok(self.window_mut(win)?.communicator)
    }

    pub(crate) fn win_fence(&mut self, cb: Cb<'_>, assert: i32, win: i32) -> Result {
        self.window_mut(win)?.check_closed(true)?;
        self.settle(cb, win)?;
        let communicator = self.meeting(win)?;
        self.barrier(cb, communicator)?;
        let ends = assert & abi::MODE_NOSUCCEED != 0;
        self.window_mut(win)?.fenced = if ends { None } else { Some(false) };
        Ok(())
    }

    /// Takes a lock of a member here, unless others hold it in a way that excludes this.
    fn try_lock(&mut self, win: i32, kind: i32, target: usize) -> Result<bool> {
        Ok(self.window_mut(win)?.sync().try_lock(target, kind))
    }

    fn release(&mut self, cb: Cb<'_>, win: i32, target: usize) -> Result {
        fence(Ordering::SeqCst);
        let window = self.window_mut(win)?;
        let place = window.held.iter().position(|(held, _)| *held == target);
        let place = place.ok_or_else(|| {
            fault(abi::ERR_RMA_SYNC, format!("rank {target} of the window is not locked"))
        })?;
        let (_, kind) = window.held.remove(place);
        let shared = Arc::clone(&window.shared);
        match self.far(win, target)? {
            Some(far) => self.unlock_beyond(cb, far, kind),
            None => {
                self.world.unlock_here(&shared, target, kind);
                Ok(())
            }
        }
    }

    /// Whether a rank is a member of a window, rather than MPI_PROC_NULL; fails for others.
    fn is_member(&mut self, rank: i32, win: i32) -> Result<bool> {
        let window = self.window_mut(win)?;
        match rank {
            abi::PROC_NULL => Ok(false),
            rank => window.shared.member(rank).map(|_| true),
        }
    }

    pub(crate) fn win_lock(
        &mut self,
        cb: Cb<'_>,
        lock_type: i32,
        rank: i32,
        _: i32,
        win: i32,
    ) -> Result {
        if !self.is_member(rank, win)? {
            return Ok(());
        }
        let window = self.window_mut(win)?;
        let target = rank as usize;
        window.check_closed(false)?;
        ensure(window.fenced != Some(true), abi::ERR_RMA_SYNC, || {
            "the calls since the last fence are to be ended by another".to_owned()
        })?;
        window.fenced = None;
        let held = window.held.iter().any(|(held, _)| *held == target);
        ensure(!held, abi::ERR_RMA_SYNC, || {
            format!("rank {rank} of the window is locked already")
        })?;
        let known = matches!(lock_type, abi::LOCK_SHARED | abi::LOCK_EXCLUSIVE);
        ensure(known, abi::ERR_LOCKTYPE, || format!("{lock_type} is no type of lock"))?;
        let waits = |engine: &Self| format!("{}(rank {rank})", engine.function);
        let again = self.replayed();
        match self.far(win, target)? {
            // It was given by another site before its ranks were saved.
            _ if matches!(again, Some(Step::Granted)) => {}
            Some(far) => self.lock_beyond(cb, far, lock_type, again)?,
            None if again.is_some() => return Err(self.other_step()),
            None => self.block(cb, waits, |engine, _| {
                Ok(engine.try_lock(win, lock_type, target)?.then_some(()))
            })?,
        }
        self.window_mut(win)?.held.push((target, lock_type));
        Ok(())
    }

    pub(crate) fn win_unlock(&mut self, cb: Cb<'_>, rank: i32, win: i32) -> Result {
        if !self.is_member(rank, win)? {
            return Ok(());
        }
        self.release(cb, win, rank as usize)
    }

    pub(crate) fn win_lock_all(&mut self, cb: Cb<'_>, assert: i32, win: i32) -> Result {
        let members = self.window_mut(win)?.parts.len();
        (0..members as i32).try_for_each(|rank| {
            self.once_only(|engine| engine.win_lock(cb, abi::LOCK_SHARED, rank, assert, win))
        })
    }

    pub(crate) fn win_unlock_all(&mut self, cb: Cb<'_>, win: i32) -> Result {
        let held: Vec<usize> =
            self.window_mut(win)?.held.iter().map(|(target, _)| *target).collect();
        held.into_iter().try_for_each(|target| self.release(cb, win, target))
    }

    /// Calls to members here are complete when they return: a flush only orders them.
    fn flush(&mut self, cb: Cb<'_>, win: i32) -> Result {
        self.settle(cb, win)?;
        self.meeting(win).map(|_| ())
    }

    pub(crate) fn win_flush(&mut self, cb: Cb<'_>, rank: i32, win: i32) -> Result {
        self.is_member(rank, win)?;
        self.flush(cb, win)
    }

    pub(crate) fn win_flush_local(&mut self, _: Cb<'_>, rank: i32, win: i32) -> Result {
        self.is_member(rank, win)?;
        self.meeting(win).map(|_| ())
    }

    pub(crate) fn win_flush_all(&mut self, cb: Cb<'_>, win: i32) -> Result {
        self.flush(cb, win)
    }

    pub(crate) fn win_flush_local_all(&mut self, _: Cb<'_>, win: i32) -> Result {
        self.meeting(win).map(|_| ())
    }

    pub(crate) fn win_sync(&mut self, _: Cb<'_>, win: i32) -> Result {
        self.meeting(win).map(|_| ())
    }

    /// A group's members by their ranks in a window.
    fn window_ranks(&mut self, group: i32, win: i32) -> Result<Vec<usize>> {
        let group = self.group(group)?;
        let shared = &self.window_mut(win)?.shared;
        let ranks = group.iter().map(|member| shared.rank_of(*member).map(|rank| rank as usize));
        let ranks: Option<Vec<_>> = ranks.collect();
        ranks.ok_or_else(|| fault(abi::ERR_GROUP, "the group is not part of the window's"))
    }

    pub(crate) fn win_post(&mut self, _: Cb<'_>, group: i32, _: i32, win: i32) -> Result {
        let origins = self.window_ranks(group, win)?;
        let window = self.window_mut(win)?;
        ensure(window.exposed_to.is_none(), abi::ERR_RMA_SYNC, || {
            "the window is exposed already".to_owned()
        })?;
        let me = window.rank;
        window.exposed_to = Some(origins.clone());
        let shared = Arc::clone(&window.shared);
        for origin in origins {
            match self.far(win, origin)? {
                Some(far) => self.post_beyond(Far { target: me as u32, ..far }, origin),
                None => shared.sync().post(me, origin),
            }
        }
        self.world.wake_all(&shared.members);
        Ok(())
    }

    pub(crate) fn win_start(&mut self, cb: Cb<'_>, group: i32, _: i32, win: i32) -> Result {
        let targets = self.window_ranks(group, win)?;
        let window = self.window_mut(win)?;
        ensure(window.access_to.is_none(), abi::ERR_RMA_SYNC, || {
            "an access epoch is open already".to_owned()
        })?;
        let (me, shared) = (window.rank, Arc::clone(&window.shared));
        let waits = |engine: &Self| engine.function.to_owned();
        for target in &targets {
            let post = &shared.sync().posts(me)[*target];
            self.once_only(|engine| {
                let posted = || (post.load(Ordering::SeqCst) > 0).then_some(());
                engine.block(cb, waits, |_, _| Ok(posted()))?;
                post.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            })?;
        }
        self.window_mut(win)?.access_to = Some(targets);
        Ok(())
    }

    pub(crate) fn win_complete(&mut self, _: Cb<'_>, win: i32) -> Result {
        fence(Ordering::SeqCst);
        let window = self.window_mut(win)?;
        let targets = window.access_to.take();
        let targets =
            targets.ok_or_else(|| fault(abi::ERR_RMA_SYNC, "no access epoch was started"))?;
        let shared = Arc::clone(&window.shared);
        for target in targets {
            match self.far(win, target)? {
                Some(far) => self.complete_beyond(far),
                None => shared.sync().complete(target),
            }
        }
        self.world.wake_all(&shared.members);
        Ok(())
    }

    /// Ends the exposure of a window once all origins are through.
    fn end_exposure(&mut self, win: i32) -> Result<Option<()>> {
        let window = self.window_mut(win)?;
        let Some(origins) = &window.exposed_to else {
            return Err(fault(abi::ERR_RMA_SYNC, "the window was not posted"));
        };
        let completions = &window.shared.sync().completions[window.rank];
        if completions.load(Ordering::SeqCst) < origins.len() as u32 {
            return Ok(None);
        }
        completions.fetch_sub(origins.len() as u32, Ordering::SeqCst);
        window.exposed_to = None;
        Ok(Some(()))
    }

    pub(crate) fn win_wait(&mut self, cb: Cb<'_>, win: i32) -> Result {
        let waits = |engine: &Self| engine.function.to_owned();
        self.block(cb, waits, |engine, _| engine.end_exposure(win))
    }

    pub(crate) fn win_test(&mut self, cb: Cb<'_>, win: i32, flag: u32) -> Result {
        let over = self.attempt(cb, |engine, _| engine.end_exposure(win))?;
        self.space.write_i32(flag, i32::from(over.is_some()))
    }
}
