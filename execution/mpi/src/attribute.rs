//! Attributes that programs attach to communicators, datatypes and windows, and those that MPI
//! defines for communicators.

use crate::{
    abi,
    engine::{Blame, Cb, Engine},
    error::{Result, ensure, fault},
};

/// Keys and values, in the order in which they were set.
pub(crate) type Attributes = Vec<(i32, u32)>;

/// What an attribute is attached to, as its key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    Communicator,
    Datatype,
    Window,
}

/// A key that the program made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keyval {
    holder: Holder,
    copy: u32,
    delete: u32,
    extra: u32,
    /// Whether its handle was freed; attributes that have it keep it.
    freed: bool,
}

/// Predefined attributes of communicators whose values are integers.
const CONSTANTS: [i32; 6] =
    [abi::TAG_UB, abi::HOST, abi::IO, abi::WTIME_IS_GLOBAL, abi::UNIVERSE_SIZE, abi::LASTUSEDCODE];

fn value_of(attributes: &Attributes, keyval: i32) -> Option<u32> {
    attributes.iter().find(|(key, _)| *key == keyval).map(|(_, value)| *value)
}

impl Engine {
    fn any_keyval(&self, handle: i32) -> Result<Keyval> {
        let known = self.keyvals.get(handle).copied();
        known.ok_or_else(|| fault(abi::ERR_KEYVAL, format!("there is no attribute key {handle}")))
    }

    /// A key of attributes of some kind of object; programs that freed it may still ask for what
    /// it is the key of.
    fn keyval(&self, holder: Holder, handle: i32) -> Result<Keyval> {
        let known = self.any_keyval(handle)?;
        ensure(known.holder == holder, abi::ERR_KEYVAL, || {
            format!("the attribute key {handle} is one for another kind of object")
        })?;
        Ok(known)
    }

    /// The attributes of an object.
    fn attributes(&mut self, holder: Holder, handle: i32) -> Result<&mut Attributes> {
        match holder {
            Holder::Communicator => Ok(&mut self.communicator_mut(handle)?.attributes),
            Holder::Window => Ok(&mut self.window_mut(handle)?.attributes),
            Holder::Datatype => {
                self.blame = Blame::Communicator(abi::COMM_WORLD);
                let known = self.types.get_mut(handle).map(|named| &mut named.attributes);
                known.ok_or_else(|| fault(abi::ERR_TYPE, format!("there is no datatype {handle}")))
            }
        }
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

    fn create_keyval(
        &mut self,
        holder: Holder,
        copy: u32,
        delete: u32,
        keyval: u32,
        extra: u32,
    ) -> Result {
        self.space.check_place(keyval)?;
        let handle = self.keyvals.add(Keyval { holder, copy, delete, extra, freed: false });
        self.space.write_i32(keyval, handle)
    }

    fn free_keyval(&mut self, holder: Holder, keyval: u32) -> Result {
        let handle = self.space.read_i32(keyval)?;
        self.keyval(holder, handle)?;
        if let Some(known) = self.keyvals.get_mut(handle) {
            known.freed = true;
        }
        self.space.write_i32(keyval, abi::KEYVAL_INVALID)
    }

    fn set_attribute(
        &mut self,
        cb: Cb<'_>,
        holder: Holder,
        object: i32,
        keyval: i32,
        value: u32,
    ) -> Result {
        let known = self.keyval(holder, keyval)?;
        ensure(!known.freed, abi::ERR_KEYVAL, || format!("the attribute key {keyval} was freed"))?;
        if let Some(old) = value_of(self.attributes(holder, object)?, keyval) {
            self.delete_attribute(cb, holder, object, (keyval, old))?;
        }
        self.attributes(holder, object)?.push((keyval, value));
        Ok(())
    }

    /// The value that the program gave an attribute, if it did.
    pub(crate) fn attribute(
        &mut self,
        holder: Holder,
        object: i32,
        keyval: i32,
    ) -> Result<Option<u32>> {
        let value = value_of(self.attributes(holder, object)?, keyval);
        self.keyval(holder, keyval)?;
        Ok(value)
    }

    /// Writes what a program asked for, if there is such an attribute.
    pub(crate) fn write_attribute(&self, found: Option<u32>, value: u32, flag: u32) -> Result {
        if let Some(found) = found {
            self.space.write_i32(value, found as i32)?;
        }
        self.space.write_i32(flag, i32::from(found.is_some()))
    }

    fn remove_attribute(&mut self, cb: Cb<'_>, holder: Holder, object: i32, keyval: i32) -> Result {
        self.keyval(holder, keyval)?;
        let value = value_of(self.attributes(holder, object)?, keyval);
        let value = value
            .ok_or_else(|| fault(abi::ERR_KEYVAL, format!("attribute {keyval} is not set")))?;
        self.delete_attribute(cb, holder, object, (keyval, value))
    }

    /// Deletes one attribute, once the program's function has agreed.
    fn delete_attribute(
        &mut self,
        cb: Cb<'_>,
        holder: Holder,
        object: i32,
        (keyval, value): (i32, u32),
    ) -> Result {
        let Keyval { delete, extra, .. } = self.any_keyval(keyval)?;
        if delete != abi::NULL {
            let arguments = [object, keyval, value as i32, extra as i32];
            let code = self.call(cb, delete, &arguments, true)?;
            let text = || "the program's delete function failed".to_owned();
            ensure(code == abi::SUCCESS, code, text)?;
        }
        self.attributes(holder, object)?.retain(|(key, _)| *key != keyval);
        Ok(())
    }

    /// Deletes the attributes of an object that ends, those first that were set last.
    pub(crate) fn delete_attributes(&mut self, cb: Cb<'_>, holder: Holder, object: i32) -> Result {
        for attribute in self.attributes(holder, object)?.clone().into_iter().rev() {
            self.delete_attribute(cb, holder, object, attribute)?;
        }
        Ok(())
    }

    /// What the attributes of an object become at its duplicate, as their keys say.
    pub(crate) fn copied_attributes(
        &mut self,
        cb: Cb<'_>,
        holder: Holder,
        from: i32,
    ) -> Result<Attributes> {
        let mut copies = Attributes::new();
        for (keyval, value) in self.attributes(holder, from)?.clone() {
            let Keyval { copy, extra, .. } = self.any_keyval(keyval)?;
            let copied = match copy {
                abi::NULL => None,
                abi::DUP_FN => Some(value),
                function => self.call_copy(cb, from, keyval, (function, extra), value)?,
            };
            copies.extend(copied.map(|copied| (keyval, copied)));
        }
        Ok(copies)
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

    pub(crate) fn comm_get_attr(
        &mut self,
        cb: Cb<'_>,
        comm: i32,
        keyval: i32,
        value: u32,
        flag: u32,
    ) -> Result {
        let found = match keyval {
            abi::TAG_UB..=abi::WIN_MODEL => {
                self.communicator(comm)?;
                self.constant(cb, keyval)?
            }
            _ => self.attribute(Holder::Communicator, comm, keyval)?,
        };
        self.write_attribute(found, value, flag)
    }

    pub(crate) fn type_get_attr(
        &mut self,
        _: Cb<'_>,
        datatype: i32,
        keyval: i32,
        value: u32,
        flag: u32,
    ) -> Result {
        let found = self.attribute(Holder::Datatype, datatype, keyval)?;
        self.write_attribute(found, value, flag)
    }
}

/// The calls that differ only in what the attributes belong to.
macro_rules! calls {
    ($($holder:ident $create:ident $free:ident $set:ident $delete:ident;)*) => {
        impl Engine {
            $(
                pub(crate) fn $create(
                    &mut self,
                    _: Cb<'_>,
                    copy: u32,
                    delete: u32,
                    keyval: u32,
                    extra: u32,
                ) -> Result {
                    self.create_keyval(Holder::$holder, copy, delete, keyval, extra)
                }

                pub(crate) fn $free(&mut self, _: Cb<'_>, keyval: u32) -> Result {
                    self.free_keyval(Holder::$holder, keyval)
                }

                pub(crate) fn $set(
                    &mut self,
                    cb: Cb<'_>,
                    object: i32,
                    keyval: i32,
                    value: u32,
                ) -> Result {
                    self.set_attribute(cb, Holder::$holder, object, keyval, value)
                }

                pub(crate) fn $delete(&mut self, cb: Cb<'_>, object: i32, keyval: i32) -> Result {
                    self.remove_attribute(cb, Holder::$holder, object, keyval)
                }
            )*
        }
    };
}

calls! {
    Communicator comm_create_keyval comm_free_keyval comm_set_attr comm_delete_attr;
    Datatype type_create_keyval type_free_keyval type_set_attr type_delete_attr;
    Window win_create_keyval win_free_keyval win_set_attr win_delete_attr;
}

crate::image::wire_enum!(Holder { 0 => Communicator, 1 => Datatype, 2 => Window });
crate::image::wire_struct!(Keyval { holder, copy, delete, extra, freed });
