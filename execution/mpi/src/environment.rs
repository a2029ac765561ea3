//! Beginning and end, versions, errors, and what a program may ask of its surroundings.

use crate::{
    abi,
    attribute::Holder,
    engine::{Blame, Cb, Engine, Phase},
    error::{self, Abort, Result, ensure, fault},
};

/// An error handler that the program made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handler {
    /// The guest's function.
    pub(crate) function: u32,
}

/// Keys and values, in the order of their first setting.
#[derive(Debug, Clone, Default)]
pub(crate) struct Info(Vec<(String, String)>);

impl Engine {
    pub(crate) fn init(&mut self, cb: Cb<'_>, _: u32, _: u32) -> Result {
        self.begin_program(cb, abi::THREAD_SINGLE).map(|_| ())
    }

    pub(crate) fn init_thread(
        &mut self,
        cb: Cb<'_>,
        _: u32,
        _: u32,
        required: i32,
        provided: u32,
    ) -> Result {
        // A rank's calls come from one thread at a time; its runtime may let any thread make them.
        let level =
            self.begin_program(cb, required.clamp(abi::THREAD_SINGLE, abi::THREAD_SERIALIZED))?;
        self.space.write_i32(provided, level)
    }

    fn begin_program(&mut self, _: Cb<'_>, level: i32) -> Result<i32> {
        self.world.check()?;
        if self.phase != Phase::Fresh {
            let (rank, function) = (self.me, self.function);
            let abort = Abort::OutOfTurn { function, rank, when: "a second time" };
            return Err(self.world.abort(abort).into());
        }
        self.phase = Phase::Running;
        self.provided = level;
        Ok(level)
    }

    pub(crate) fn initialized(&mut self, _: Cb<'_>, flag: u32) -> Result {
        self.space.write_i32(flag, i32::from(self.phase != Phase::Fresh))
    }

    pub(crate) fn finalized(&mut self, _: Cb<'_>, flag: u32) -> Result {
        self.space.write_i32(flag, i32::from(self.phase == Phase::Over))
    }

    pub(crate) fn finalize(&mut self, cb: Cb<'_>) -> Result {
        self.delete_attributes(cb, Holder::Communicator, abi::COMM_SELF)?;
        // Buffered messages belong to this rank until they are received.
        self.block(
            cb,
            |_| "MPI_Finalize, with buffered messages".to_owned(),
            |engine, _| {
                engine.buffered.retain(|waiting| !waiting.is_over());
                Ok(engine.buffered.is_empty().then_some(()))
            },
        )?;
        self.exchange(cb, abi::COMM_WORLD, Vec::new())?;
        self.phase = Phase::Over;
        self.world.leave(self.me);
        Ok(())
    }

    pub(crate) fn abort(&mut self, _: Cb<'_>, comm: i32, errorcode: i32) -> Result {
        let known = self.communicators.get(comm);
        let name = known.map_or("MPI_COMM_NULL", |communicator| &communicator.name);
        let abort = Abort::Called { rank: self.me, communicator: name.into(), code: errorcode };
        Err(self.world.abort(abort).into())
    }

    pub(crate) fn query_thread(&mut self, _: Cb<'_>, provided: u32) -> Result {
        self.space.write_i32(provided, self.provided)
    }

    pub(crate) fn is_thread_main(&mut self, _: Cb<'_>, flag: u32) -> Result {
        self.space.write_i32(flag, 1)
    }

    pub(crate) fn get_version(&mut self, _: Cb<'_>, version: u32, subversion: u32) -> Result {
        self.space.write_i32(version, abi::VERSION)?;
        self.space.write_i32(subversion, abi::SUBVERSION)
    }

    pub(crate) fn get_library_version(
        &mut self,
        _: Cb<'_>,
        version: u32,
        resultlen: u32,
    ) -> Result {
        let text = concat!("CloudSkin cells ", env!("CARGO_PKG_VERSION"));
        let len =
            self.space.write_string(version, text, abi::MAX_LIBRARY_VERSION_STRING as usize)?;
        self.space.write_i32(resultlen, len)
    }

    pub(crate) fn get_processor_name(&mut self, _: Cb<'_>, name: u32, resultlen: u32) -> Result {
        let text = &self.world.config().processor_name;
        let len = self.space.write_string(name, text, abi::MAX_PROCESSOR_NAME as usize)?;
        self.space.write_i32(resultlen, len)
    }

    pub(crate) fn get_address(&mut self, _: Cb<'_>, location: u32, address: u32) -> Result {
        self.space.write_i32(address, location as i32)
    }

    pub(crate) fn alloc_mem(&mut self, cb: Cb<'_>, size: i32, info: i32, baseptr: u32) -> Result {
        self.info(info)?;
        let addr = self.allocate(cb, size)?;
        self.space.write_i32(baseptr, addr as i32)
    }

    /// Memory of the guest's.
    pub(crate) fn allocate(&mut self, cb: Cb<'_>, size: i32) -> Result<u32> {
        let bytes = u32::try_from(size)
            .map_err(|_| fault(abi::ERR_SIZE, format!("{size} bytes can not be allocated")))?;
        let addr = cb.alloc(bytes.max(1))?;
        ensure(addr != 0, abi::ERR_NO_MEM, || format!("the guest has no {bytes} bytes left"))?;
        Ok(addr)
    }

    pub(crate) fn free_mem(&mut self, cb: Cb<'_>, base: u32) -> Result {
        Ok(cb.free(base)?)
    }

    pub(crate) fn pcontrol(&mut self, _: Cb<'_>, _: i32, _: u32) -> Result {
        // There is no profiler to control.
        Ok(())
    }

    pub(crate) fn error_class(&mut self, _: Cb<'_>, errorcode: i32, errorclass: u32) -> Result {
        let class = match self.own_code(errorcode) {
            Some((class, _)) => *class,
            None => errorcode,
        };
        self.space.write_i32(errorclass, class)
    }

    fn own_code(&self, code: i32) -> Option<&(i32, String)> {
        let index = usize::try_from(code.checked_sub(abi::ERR_LASTCODE + 1)?).ok()?;
        self.classes.get(index)
    }

    pub(crate) fn error_string(
        &mut self,
        _: Cb<'_>,
        errorcode: i32,
        string: u32,
        resultlen: u32,
    ) -> Result {
        let text = match self.own_code(errorcode) {
            Some((_, text)) => text.clone(),
            None => {
                let known = (0..=abi::ERR_LASTCODE).contains(&errorcode);
                ensure(known, abi::ERR_ARG, || format!("there is no error code {errorcode}"))?;
                let (name, text) = error::describe(errorcode);
                format!("{name}: {text}")
            }
        };
        let len = self.space.write_string(string, &text, abi::MAX_ERROR_STRING as usize)?;
        self.space.write_i32(resultlen, len)
    }

    pub(crate) fn add_error_class(&mut self, _: Cb<'_>, errorclass: u32) -> Result {
        let new = abi::ERR_LASTCODE + 1 + self.classes.len() as i32;
        self.classes.push((new, String::new()));
        self.space.write_i32(errorclass, new)
    }

    pub(crate) fn add_error_code(&mut self, _: Cb<'_>, errorclass: i32, errorcode: u32) -> Result {
        let new = abi::ERR_LASTCODE + 1 + self.classes.len() as i32;
        self.classes.push((errorclass, String::new()));
        self.space.write_i32(errorcode, new)
    }

    pub(crate) fn add_error_string(&mut self, _: Cb<'_>, errorcode: i32, string: u32) -> Result {
        let text = self.space.string(string, abi::MAX_ERROR_STRING as usize - 1)?;
        let index = usize::try_from(i64::from(errorcode) - i64::from(abi::ERR_LASTCODE) - 1).ok();
        let own = index.and_then(|index| self.classes.get_mut(index));
        let own = own.ok_or_else(|| {
            fault(abi::ERR_ARG, format!("{errorcode} is no code of the program's own"))
        })?;
        own.1 = text;
        Ok(())
    }

    fn check_handler(&self, handler: i32) -> Result {
        let known = matches!(handler, abi::ERRORS_ARE_FATAL | abi::ERRORS_RETURN)
            || self.handlers.get(handler).is_some();
        ensure(known, abi::ERR_ARG, || format!("there is no error handler {handler}"))
    }

    pub(crate) fn comm_create_errhandler(
        &mut self,
        _: Cb<'_>,
        function: u32,
        errhandler: u32,
    ) -> Result {
        self.space.check_place(errhandler)?;
        let handle = self.handlers.add(Handler { function });
        self.space.write_i32(errhandler, handle)
    }

    pub(crate) fn comm_set_errhandler(&mut self, _: Cb<'_>, comm: i32, errhandler: i32) -> Result {
        self.check_handler(errhandler)?;
        self.communicator_mut(comm)?.handler = errhandler;
        Ok(())
    }

    pub(crate) fn comm_get_errhandler(&mut self, _: Cb<'_>, comm: i32, errhandler: u32) -> Result {
        let handler = self.communicator(comm)?.handler;
        self.space.write_i32(errhandler, handler)
    }

    pub(crate) fn errhandler_free(&mut self, _: Cb<'_>, errhandler: u32) -> Result {
        let handle = self.space.read_i32(errhandler)?;
        self.check_handler(handle)?;
        // Communicators that have it keep it, so it stays.
        self.space.write_i32(errhandler, abi::ERRHANDLER_NULL)
    }

    pub(crate) fn comm_call_errhandler(&mut self, cb: Cb<'_>, comm: i32, errorcode: i32) -> Result {
        self.communicator(comm)?;
        // The handler was called, which is what was asked for.
        self.fail(cb, fault(errorcode, "the program called the error handler"))?;
        Ok(())
    }

    pub(crate) fn win_create_errhandler(
        &mut self,
        cb: Cb<'_>,
        function: u32,
        errhandler: u32,
    ) -> Result {
        self.comm_create_errhandler(cb, function, errhandler)
    }

    pub(crate) fn win_set_errhandler(&mut self, _: Cb<'_>, win: i32, errhandler: i32) -> Result {
        self.check_handler(errhandler)?;
        self.window_mut(win)?.handler = errhandler;
        Ok(())
    }

    pub(crate) fn win_get_errhandler(&mut self, _: Cb<'_>, win: i32, errhandler: u32) -> Result {
        let handler = self.window_mut(win)?.handler;
        self.space.write_i32(errhandler, handler)
    }

    pub(crate) fn win_call_errhandler(&mut self, cb: Cb<'_>, win: i32, errorcode: i32) -> Result {
        self.window_mut(win)?;
        self.blame = Blame::Window(win);
        // The handler was called, which is what was asked for.
        self.fail(cb, fault(errorcode, "the program called the error handler"))?;
        Ok(())
    }

    /// Fails unless an info object exists; none is one too.
    pub(crate) fn info(&self, handle: i32) -> Result<Info> {
        match handle {
            abi::INFO_NULL | abi::INFO_ENV => Ok(Info::default()),
            handle => self
                .infos
                .get(handle)
                .cloned()
                .ok_or_else(|| fault(abi::ERR_INFO, format!("there is no info {handle}"))),
        }
    }

    /// The hints that are in use, of which there are none.
    fn write_hints(&mut self, info: u32) -> Result {
        self.space.check_place(info)?;
        let handle = self.infos.add(Info::default());
        self.space.write_i32(info, handle)
    }

    pub(crate) fn comm_set_info(&mut self, _: Cb<'_>, comm: i32, info: i32) -> Result {
        self.communicator(comm)?;
        self.info(info).map(|_| ())
    }

    pub(crate) fn comm_get_info(&mut self, _: Cb<'_>, comm: i32, info: u32) -> Result {
        self.communicator(comm)?;
        self.write_hints(info)
    }

    pub(crate) fn win_set_info(&mut self, _: Cb<'_>, win: i32, info: i32) -> Result {
        self.window_mut(win)?;
        self.info(info).map(|_| ())
    }

    pub(crate) fn win_get_info(&mut self, _: Cb<'_>, win: i32, info: u32) -> Result {
        self.window_mut(win)?;
        self.write_hints(info)
    }

    fn own_info(&mut self, handle: i32) -> Result<&mut Vec<(String, String)>> {
        let info = self.infos.get_mut(handle).map(|info| &mut info.0);
        info.ok_or_else(|| fault(abi::ERR_INFO, format!("there is no info {handle}")))
    }

    fn info_key(&self, key: u32) -> Result<String> {
        let key = self.space.string(key, abi::MAX_INFO_KEY as usize)?;
        let fits = !key.is_empty() && key.len() < abi::MAX_INFO_KEY as usize;
        ensure(fits, abi::ERR_INFO_KEY, || "the key is empty or too long".to_owned())?;
        Ok(key)
    }

    pub(crate) fn info_create(&mut self, _: Cb<'_>, info: u32) -> Result {
        let handle = self.infos.add(Info::default());
        self.space.write_i32(info, handle)
    }

    pub(crate) fn info_dup(&mut self, _: Cb<'_>, info: i32, newinfo: u32) -> Result {
        let copy = self.info(info)?;
        let handle = self.infos.add(copy);
        self.space.write_i32(newinfo, handle)
    }

    pub(crate) fn info_free(&mut self, _: Cb<'_>, info: u32) -> Result {
        let handle = self.space.read_i32(info)?;
        self.own_info(handle)?;
        self.infos.remove(handle);
        self.space.write_i32(info, abi::INFO_NULL)
    }

    pub(crate) fn info_set(&mut self, _: Cb<'_>, info: i32, key: u32, value: u32) -> Result {
        let key = self.info_key(key)?;
        let value = self.space.string(value, abi::MAX_INFO_VAL as usize)?;
        let fits = value.len() < abi::MAX_INFO_VAL as usize;
        ensure(fits, abi::ERR_INFO_VALUE, || "the value is too long".to_owned())?;
        let pairs = self.own_info(info)?;
        match pairs.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => pairs.push((key, value)),
        }
        Ok(())
    }

    pub(crate) fn info_delete(&mut self, _: Cb<'_>, info: i32, key: u32) -> Result {
        let key = self.info_key(key)?;
        let pairs = self.own_info(info)?;
        let before = pairs.len();
        pairs.retain(|(known, _)| *known != key);
        let found = pairs.len() < before;
        ensure(found, abi::ERR_INFO_NOKEY, || format!("the key `{key}` is not set"))
    }

    fn info_value(&self, info: i32, key: u32) -> Result<Option<String>> {
        let key = self.info_key(key)?;
        let pair = self.info(info)?.0.into_iter().find(|(known, _)| *known == key);
        Ok(pair.map(|(_, value)| value))
    }

    pub(crate) fn info_get(
        &mut self,
        _: Cb<'_>,
        info: i32,
        key: u32,
        valuelen: i32,
        value: u32,
        flag: u32,
    ) -> Result {
        let found = self.info_value(info, key)?;
        if let Some(text) = &found {
            let room = usize::try_from(valuelen).unwrap_or(0).saturating_add(1);
            self.space.write_string(value, text, room)?;
        }
        self.space.write_i32(flag, i32::from(found.is_some()))
    }

    pub(crate) fn info_get_valuelen(
        &mut self,
        _: Cb<'_>,
        info: i32,
        key: u32,
        valuelen: u32,
        flag: u32,
    ) -> Result {
        let found = self.info_value(info, key)?;
        if let Some(text) = &found {
            self.space.write_i32(valuelen, text.len() as i32)?;
        }
        self.space.write_i32(flag, i32::from(found.is_some()))
    }

    pub(crate) fn info_get_nkeys(&mut self, _: Cb<'_>, info: i32, nkeys: u32) -> Result {
        let pairs = self.info(info)?.0.len();
        self.space.write_i32(nkeys, pairs as i32)
    }

    pub(crate) fn info_get_nthkey(&mut self, _: Cb<'_>, info: i32, n: i32, key: u32) -> Result {
        let pairs = self.info(info)?.0;
        let pair = usize::try_from(n).ok().and_then(|n| pairs.get(n));
        let pair =
            pair.ok_or_else(|| fault(abi::ERR_ARG, format!("the info has no key number {n}")))?;
        self.space.write_string(key, &pair.0, abi::MAX_INFO_KEY as usize).map(|_| ())
    }
}

crate::image::wire_struct!(Handler { function });
crate::image::wire_struct!(Info { 0 });
