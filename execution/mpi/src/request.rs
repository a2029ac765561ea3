//! Waiting for requests and testing them.

use crate::{
    abi,
    engine::{Blame, Cb, Engine},
    error::{Fault, Result, count, fault},
    mail::{Ending, Status, Work},
};
use std::sync::Arc;

/// Requests that are over, by their places and handles.
type Done = Vec<(usize, i32)>;

/// What a test finds.
enum Found {
    /// No request, or one that was not started.
    Nothing,
    Pending,
    Over,
}

impl Engine {
    fn look(&mut self, handle: i32) -> Result<Found> {
        if handle == abi::REQUEST_NULL {
            return Ok(Found::Nothing);
        }
        let Some(request) = self.mail.requests.get_mut(handle).filter(|request| !request.orphan)
        else {
            return Err(fault(abi::ERR_REQUEST, format!("there is no request {handle}")));
        };
        if let Work::Send(waiting) = &request.work
            && waiting.is_over()
        {
            let cancelled = waiting.is_cancelled();
            request.work = Work::Done(Status { cancelled, ..Status::EMPTY }.into());
        }
        Ok(match &request.work {
            Work::Inactive => Found::Nothing,
            Work::Done(_) => Found::Over,
            _ => Found::Pending,
        })
    }

    fn is_over(&mut self, handle: i32) -> Result<bool> {
        Ok(!matches!(self.look(handle)?, Found::Pending))
    }

    /// The ending of a request that is over; its handle is freed, or it is inactive again.
    fn complete(&mut self, at: u32, handle: i32) -> Result<Ending> {
        let Some(request) = self.mail.requests.get_mut(handle) else {
            return Ok(Status::EMPTY.into());
        };
        self.blame = Blame::Communicator(request.communicator);
        let work = std::mem::replace(&mut request.work, Work::Inactive);
        if request.template.is_none() {
            self.mail.requests.remove(handle);
            self.space.write_i32(at, abi::REQUEST_NULL)?;
        }
        Ok(match work {
            Work::Done(ending) => ending,
            _ => Status::EMPTY.into(),
        })
    }

    fn pending(&self, handles: &[i32]) -> String {
        let kinds = handles.iter().filter_map(|handle| {
            Some(match &self.mail.requests.get(*handle)?.work {
                Work::Send(_) => "a send",
                Work::Receive => "a receive",
                Work::Collective => "a collective",
                _ => return None,
            })
        });
        let kinds: Vec<_> = kinds.take(4).collect();
        format!("{}({})", self.function, kinds.join(", "))
    }

    pub(crate) fn wait(&mut self, cb: Cb<'_>, request: u32, status: u32) -> Result {
        let handle = self.space.read_i32(request)?;
        let waits = |engine: &Self| engine.pending(&[handle]);
        self.block(cb, waits, |engine, _| Ok(engine.is_over(handle)?.then_some(())))?;
        let ending = self.complete(request, handle)?;
        self.conclude(ending, status)
    }

    pub(crate) fn test(&mut self, cb: Cb<'_>, request: u32, flag: u32, status: u32) -> Result {
        let handle = self.space.read_i32(request)?;
        let over = self.attempt(cb, |engine, _| Ok(engine.is_over(handle)?.then_some(())))?;
        self.space.write_i32(flag, i32::from(over.is_some()))?;
        match over {
            None => Ok(()),
            Some(()) => {
                let ending = self.complete(request, handle)?;
                self.conclude(ending, status)
            }
        }
    }

    pub(crate) fn request_get_status(
        &mut self,
        cb: Cb<'_>,
        request: i32,
        flag: u32,
        status: u32,
    ) -> Result {
        let over = self.attempt(cb, |engine, _| Ok(engine.is_over(request)?.then_some(())))?;
        self.space.write_i32(flag, i32::from(over.is_some()))?;
        if over.is_none() {
            return Ok(());
        }
        let found = match self.mail.requests.get(request).map(|request| &request.work) {
            Some(Work::Done(ending)) => ending.status,
            _ => Status::EMPTY,
        };
        self.write_status(status, &found, false)
    }

    fn handles(&self, number: i32, requests: u32) -> Result<Vec<i32>> {
        self.space.ints(requests, count(number)? as usize)
    }

    /// Completes requests that are over, by their places; what failed is told in the statuses.
    fn complete_all(&mut self, requests: u32, done: &[(usize, i32)], statuses: u32) -> Result {
        let mut failed = false;
        for (nth, (place, handle)) in done.iter().enumerate() {
            let ending = self.complete(requests + 4 * *place as u32, *handle)?;
            let mut status = ending.status;
            match ending.fault {
                Some(Fault::Failure(failure)) => {
                    failed = true;
                    status.error = failure.class;
                }
                Some(abort) => return Err(abort),
                None => {}
            }
            if statuses != abi::STATUS_IGNORE {
                let addr = statuses.wrapping_add(abi::STATUS_BYTES * nth as u32);
                self.write_status(addr, &status, true)?;
            }
        }
        match failed {
            false => Ok(()),
            true => Err(fault(abi::ERR_IN_STATUS, "one of the requests failed")),
        }
    }

    fn all_over(&mut self, handles: &[i32]) -> Result<Option<()>> {
        for handle in handles {
            if !self.is_over(*handle)? {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    pub(crate) fn waitall(
        &mut self,
        cb: Cb<'_>,
        number: i32,
        requests: u32,
        statuses: u32,
    ) -> Result {
        let handles = self.handles(number, requests)?;
        let mut first = 0;
        let waits = |engine: &Self| engine.pending(&handles);
        self.block(cb, waits, |engine, _| {
            while let Some(handle) = handles.get(first) {
                if !engine.is_over(*handle)? {
                    return Ok(None);
                }
                first += 1;
            }
            Ok(Some(()))
        })?;
        let done: Vec<_> = handles.iter().copied().enumerate().collect();
        self.complete_all(requests, &done, statuses)
    }

    pub(crate) fn testall(
        &mut self,
        cb: Cb<'_>,
        number: i32,
        requests: u32,
        flag: u32,
        statuses: u32,
    ) -> Result {
        let handles = self.handles(number, requests)?;
        let over = self.attempt(cb, |engine, _| engine.all_over(&handles))?;
        self.space.write_i32(flag, i32::from(over.is_some()))?;
        if over.is_none() {
            return Ok(());
        }
        let done: Vec<_> = handles.iter().copied().enumerate().collect();
        self.complete_all(requests, &done, statuses)
    }

    /// The first request that is over; the inner nothing where no request is active.
    fn any_over(&mut self, handles: &[i32]) -> Result<Option<Option<usize>>> {
        let mut active = false;
        for (place, handle) in handles.iter().enumerate() {
            match self.look(*handle)? {
                Found::Over => return Ok(Some(Some(place))),
                Found::Pending => active = true,
                Found::Nothing => {}
            }
        }
        Ok(if active { None } else { Some(None) })
    }

    fn complete_any(
        &mut self,
        requests: u32,
        handles: &[i32],
        place: Option<usize>,
        index: u32,
        status: u32,
    ) -> Result {
        let Some(place) = place else {
            self.space.write_i32(index, abi::UNDEFINED)?;
            return self.write_status(status, &Status::EMPTY, false);
        };
        self.space.write_i32(index, place as i32)?;
        let ending = self.complete(requests + 4 * place as u32, handles[place])?;
        self.conclude(ending, status)
    }

    pub(crate) fn waitany(
        &mut self,
        cb: Cb<'_>,
        number: i32,
        requests: u32,
        index: u32,
        status: u32,
    ) -> Result {
        let handles = self.handles(number, requests)?;
        let waits = |engine: &Self| engine.pending(&handles);
        let place = self.block(cb, waits, |engine, _| engine.any_over(&handles))?;
        self.complete_any(requests, &handles, place, index, status)
    }

    pub(crate) fn testany(
        &mut self,
        cb: Cb<'_>,
        number: i32,
        requests: u32,
        index: u32,
        flag: u32,
        status: u32,
    ) -> Result {
        let handles = self.handles(number, requests)?;
        let place = self.attempt(cb, |engine, _| engine.any_over(&handles))?;
        self.space.write_i32(flag, i32::from(place.is_some()))?;
        match place {
            Some(place) => self.complete_any(requests, &handles, place, index, status),
            None => self.space.write_i32(index, abi::UNDEFINED),
        }
    }

    /// Every request that is over; the inner nothing where no request is active.
    fn some_over(&mut self, handles: &[i32]) -> Result<Option<Option<Done>>> {
        let (mut active, mut over) = (false, Vec::new());
        for (place, handle) in handles.iter().enumerate() {
            match self.look(*handle)? {
                Found::Over => over.push((place, *handle)),
                Found::Pending => active = true,
                Found::Nothing => {}
            }
        }
        Ok(match (over.is_empty(), active) {
            (false, _) => Some(Some(over)),
            (true, true) => None,
            (true, false) => Some(None),
        })
    }

    fn complete_some(
        &mut self,
        requests: u32,
        done: Option<&[(usize, i32)]>,
        number: u32,
        indices: u32,
        statuses: u32,
    ) -> Result {
        let Some(done) = done else { return self.space.write_i32(number, abi::UNDEFINED) };
        self.space.write_i32(number, done.len() as i32)?;
        let places: Vec<i32> = done.iter().map(|(place, _)| *place as i32).collect();
        self.space.write_ints(indices, &places)?;
        self.complete_all(requests, done, statuses)
    }

    pub(crate) fn waitsome(
        &mut self,
        cb: Cb<'_>,
        incount: i32,
        requests: u32,
        outcount: u32,
        indices: u32,
        statuses: u32,
    ) -> Result {
        let handles = self.handles(incount, requests)?;
        let waits = |engine: &Self| engine.pending(&handles);
        let done = self.block(cb, waits, |engine, _| engine.some_over(&handles))?;
        self.complete_some(requests, done.as_deref(), outcount, indices, statuses)
    }

    pub(crate) fn testsome(
        &mut self,
        cb: Cb<'_>,
        incount: i32,
        requests: u32,
        outcount: u32,
        indices: u32,
        statuses: u32,
    ) -> Result {
        let handles = self.handles(incount, requests)?;
        let done = self.attempt(cb, |engine, _| engine.some_over(&handles))?;
        match done {
            None => self.space.write_i32(outcount, 0),
            Some(done) => {
                self.complete_some(requests, done.as_deref(), outcount, indices, statuses)
            }
        }
    }

    pub(crate) fn start(&mut self, _: Cb<'_>, request: u32) -> Result {
        let handle = self.space.read_i32(request)?;
        self.start_request(handle)
    }

    pub(crate) fn startall(&mut self, _: Cb<'_>, number: i32, requests: u32) -> Result {
        for handle in self.handles(number, requests)? {
            self.start_request(handle)?;
        }
        Ok(())
    }

    pub(crate) fn request_free(&mut self, _: Cb<'_>, request: u32) -> Result {
        let handle = self.space.read_i32(request)?;
        let found = self.look(handle)?;
        let known = self.mail.requests.get_mut(handle);
        let Some(known) = known else {
            return Err(fault(abi::ERR_REQUEST, "MPI_REQUEST_NULL can not be freed"));
        };
        let runs_on = matches!(found, Found::Pending) && !matches!(known.work, Work::Send(_));
        known.orphan = true;
        if let Work::Send(waiting) = &known.work {
            self.loose.retain(|waiting| !waiting.is_over());
            self.loose.push(Arc::clone(waiting));
        }
        if !runs_on {
            self.mail.requests.remove(handle);
        }
        self.space.write_i32(request, abi::REQUEST_NULL)
    }

    pub(crate) fn cancel(&mut self, _: Cb<'_>, request: u32) -> Result {
        let handle = self.space.read_i32(request)?;
        match self.mail.requests.get(handle).map(|request| &request.work) {
            None => Err(fault(abi::ERR_REQUEST, format!("there is no request {handle}"))),
            Some(Work::Send(waiting)) => {
                match self.world.beyond(waiting.receiver) {
                    // Its receiver's site tells later whether it was in time.
                    Some(sites) => sites.take_back(&self.world, waiting),
                    None => {
                        waiting.cancel();
                    }
                }
                Ok(())
            }
            Some(Work::Receive) => {
                if self.mail.withdraw(handle) {
                    let status = Status { cancelled: true, ..Status::EMPTY };
                    self.mail.finish(handle, status.into());
                }
                Ok(())
            }
            Some(Work::Collective | Work::Inactive) => {
                Err(fault(abi::ERR_REQUEST, format!("request {handle} can not be cancelled")))
            }
            Some(Work::Done(_)) => Ok(()),
        }
    }

    pub(crate) fn test_cancelled(&mut self, _: Cb<'_>, status: u32, flag: u32) -> Result {
        let cancelled = self.space.read_i32(status.wrapping_add(12))?;
        self.space.write_i32(flag, cancelled)
    }

    pub(crate) fn status_set_cancelled(&mut self, _: Cb<'_>, status: u32, flag: i32) -> Result {
        self.space.write_i32(status.wrapping_add(12), i32::from(flag != 0))
    }

    pub(crate) fn status_set_elements(
        &mut self,
        _: Cb<'_>,
        status: u32,
        datatype: i32,
        number: i32,
    ) -> Result {
        let ty = &self.named(datatype)?.ty;
        let (size, elements) = (ty.size, ty.signature.elements.max(1));
        self.space.write_i64(
            status.wrapping_add(16),
            (count(number)?.saturating_mul(size) / elements) as i64,
        )
    }

    fn status_bytes(&self, status: u32) -> Result<u64> {
        let bytes = self.space.array(i64::from(status) + 16)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(crate) fn get_count(
        &mut self,
        _: Cb<'_>,
        status: u32,
        datatype: i32,
        number: u32,
    ) -> Result {
        let (bytes, size) = (self.status_bytes(status)?, self.named(datatype)?.ty.size);
        let whole = match size {
            0 if bytes == 0 => Some(0),
            0 => None,
            size => bytes.is_multiple_of(size).then(|| bytes / size),
        };
        let whole = whole.and_then(|whole| i32::try_from(whole).ok());
        self.space.write_i32(number, whole.unwrap_or(abi::UNDEFINED))
    }

    fn elements(&self, status: u32, datatype: i32) -> Result<Option<u64>> {
        let (bytes, ty) = (self.status_bytes(status)?, &self.named(datatype)?.ty);
        if ty.size == 0 {
            return Ok((bytes == 0).then_some(0));
        }
        let rest = ty.signature.elements_in(bytes % ty.size);
        Ok(rest.map(|rest| rest + bytes / ty.size * ty.signature.elements))
    }

    pub(crate) fn get_elements(
        &mut self,
        _: Cb<'_>,
        status: u32,
        datatype: i32,
        number: u32,
    ) -> Result {
        let elements =
            self.elements(status, datatype)?.and_then(|elements| i32::try_from(elements).ok());
        self.space.write_i32(number, elements.unwrap_or(abi::UNDEFINED))
    }

    pub(crate) fn get_elements_x(
        &mut self,
        _: Cb<'_>,
        status: u32,
        datatype: i32,
        number: u32,
    ) -> Result {
        let elements = self.elements(status, datatype)?;
        self.space.write_i64(
            number,
            elements.map_or(i64::from(abi::UNDEFINED), |elements| elements as i64),
        )
    }
}
