//! Attributes that programs attach to communicators, and those that MPI defines.

use crate::{
    abi,
    engine::{Cb, Engine},
    error::{Result, ensure, fault},
};
use std::collections::BTreeMap;

/// Values by key.
pub(crate) type Attributes = BTreeMap<i32, u32>;

/// A key that the program made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keyval {
    copy: u32,
    delete: u32,
    extra: u32,
    /// Whether its handle was freed; attributes that have it keep it.
    freed: bool,
}

/// Predefined attributes of communicators whose values are integers.
const CONSTANTS: [i32; 6] =
    [abi::TAG_UB, abi::HOST, abi::IO, abi::WTIME_IS_GLOBAL, abi::UNIVERSE_SIZE, abi::LASTUSEDCODE];

impl Engine {
    fn keyval(&self, handle: i32) -> Result<Keyval> {
        let known = self.keyvals.get(handle).copied();
        known.ok_or_else(|| fault(abi::ERR_KEYVAL, format!("there is no attribute key {handle}")))
    }

    /// Where the guest finds the value of a predefined attribute.
    fn constant(&mut self, cb: Cb<'_>, keyval: i32) -> Result<Option<u32>> {
        let Some(place) = CONSTANTS.iter().position(|known| *known == keyval) else {
            return Ok(None);
        };
        let addr = match self.constants {
            Some(addr) => addr,
            None => self.allocate(cb, 4 * CONSTANTS.len() as i32)?,
        };
        self.constants = Some(addr);
        let last = abi::ERR_LASTCODE + self.classes.len() as i32;
        let size = self.world.size() as i32;
        // The parts of a world have begun at different times.
        let one_clock = i32::from(self.world.sites.is_none());
        let values = [abi::TAG_MAX, abi::PROC_NULL, abi::ANY_SOURCE, one_clock, size, last];
        self.space.write_ints(addr, &values)?;
        Ok(Some(addr.wrapping_add(4 * place as u32)))
    }

    pub(crate) fn comm_create_keyval(
        &mut self,
        _: Cb<'_>,
        copy: u32,
        delete: u32,
        keyval: u32,
        extra: u32,
    ) -> Result {
        self.space.check(i64::from(keyval), 4)?;
        let handle = self.keyvals.add(Keyval { copy, delete, extra, freed: false });
        self.space.write_i32(keyval, handle)
    }

    pub(crate) fn comm_free_keyval(&mut self, _: Cb<'_>, keyval: u32) -> Result {
        let handle = self.space.read_i32(keyval)?;
        self.keyval(handle)?;
        if let Some(known) = self.keyvals.get_mut(handle) {
            known.freed = true;
        }
        self.space.write_i32(keyval, abi::KEYVAL_INVALID)
    }

    pub(crate) fn comm_set_attr(
        &mut self,
        cb: Cb<'_>,
        comm: i32,
        keyval: i32,
        value: u32,
    ) -> Result {
        let known = self.keyval(keyval)?;
        ensure(!known.freed, abi::ERR_KEYVAL, || format!("the attribute key {keyval} was freed"))?;
        if let Some(old) = self.communicator(comm)?.attributes.get(&keyval).copied() {
            self.delete_attribute(cb, comm, keyval, old)?;
        }
        self.communicator_mut(comm)?.attributes.insert(keyval, value);
        Ok(())
    }

    pub(crate) fn comm_get_attr(
        &mut self,
        cb: Cb<'_>,
        comm: i32,
        keyval: i32,
        value: u32,
        flag: u32,
    ) -> Result {
        let attribute = self.communicator(comm)?.attributes.get(&keyval).copied();
        let found = match attribute {
            Some(value) => Some(value),
            None if keyval <= abi::WIN_MODEL => self.constant(cb, keyval)?,
            None => {
                self.keyval(keyval)?;
                None
            }
        };
        if let Some(found) = found {
            self.space.write_i32(value, found as i32)?;
        }
        self.space.write_i32(flag, i32::from(found.is_some()))
    }

    pub(crate) fn comm_delete_attr(&mut self, cb: Cb<'_>, comm: i32, keyval: i32) -> Result {
        self.keyval(keyval)?;
        let value = self.communicator(comm)?.attributes.get(&keyval).copied();
        let value = value
            .ok_or_else(|| fault(abi::ERR_KEYVAL, format!("attribute {keyval} is not set")))?;
        self.delete_attribute(cb, comm, keyval, value)?;
        self.communicator_mut(comm)?.attributes.remove(&keyval);
        Ok(())
    }

    fn delete_attribute(&mut self, cb: Cb<'_>, comm: i32, keyval: i32, value: u32) -> Result {
        let Keyval { delete, extra, .. } = self.keyval(keyval)?;
        if delete == abi::NULL {
            return Ok(());
        }
        let code = self.call(cb, delete, &[comm, keyval, value as i32, extra as i32], true)?;
        ensure(code == abi::SUCCESS, code, || "the program's delete function failed".to_owned())
    }

    /// Deletes the attributes of a communicator that ends, the newest key first.
    pub(crate) fn delete_attributes(&mut self, cb: Cb<'_>, comm: i32) -> Result {
        let attributes = self.communicator(comm)?.attributes.clone();
        for (keyval, value) in attributes.into_iter().rev() {
            self.delete_attribute(cb, comm, keyval, value)?;
            self.communicator_mut(comm)?.attributes.remove(&keyval);
        }
        Ok(())
    }

    /// Copies the attributes of a communicator to its duplicate, as their keys say.
    pub(crate) fn copy_attributes(&mut self, cb: Cb<'_>, from: i32, to: i32) -> Result {
        let attributes = self.communicator(from)?.attributes.clone();
        for (keyval, value) in attributes {
            let Keyval { copy, extra, .. } = self.keyval(keyval)?;
            let copied = match copy {
                abi::NULL => None,
                abi::DUP_FN => Some(value),
                function => self.call_copy(cb, from, keyval, (function, extra), value)?,
            };
            if let Some(copied) = copied {
                self.communicator_mut(to)?.attributes.insert(keyval, copied);
            }
        }
        Ok(())
    }

    fn call_copy(
        &mut self,
        cb: Cb<'_>,
        from: i32,
        keyval: i32,
        (function, extra): (u32, u32),
        value: u32,
    ) -> Result<Option<u32>> {
        let words = self.allocate(cb, 16)?;
        self.space.write_ints(words, &[0, 0])?;
        let arguments =
            [from, keyval, extra as i32, value as i32, words as i32, words.wrapping_add(4) as i32];
        let code = self.call(cb, function, &arguments, true)?;
        let result = self.space.ints(words, 2)?;
        cb.free(words)?;
        ensure(code == abi::SUCCESS, code, || "the program's copy function failed".to_owned())?;
        Ok((result[1] != 0).then_some(result[0] as u32))
    }
}

crate::image::wire_struct!(Keyval { copy, delete, extra, freed });
