//! The bytes of images: how the parts of a rank's state are written, and read with suspicion.
//!
//! Numbers are little-endian and lists begin with their length. Datatypes are written once at the
//! beginning, and named by number; communicators are named by their contexts.
//! A reader allocates no more than what it has read, and fails with a sentence.

use crate::{
    FUNCTIONS, abi,
    communicator::Shared,
    datatype::{Recipe, Type},
    error::{Fault, fault},
    table::Table,
    transfer::Span,
    world::{CONTEXTS_MAX, World},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// What is wrong with an image.
#[derive(Debug)]
pub(crate) struct Damaged(pub(crate) String);

impl Damaged {
    pub(crate) fn because(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}

pub(crate) type Decoded<T = (), E = Damaged> = Result<T, E>;

/// Fails unless an image tells something that can be.
pub(crate) fn sound(holds: bool, reason: &str) -> Decoded {
    if holds { Ok(()) } else { Err(Damaged::because(reason)) }
}

/// Fails unless the names in a list ascend, so that none is there twice: a list is then no longer
/// than there are names, and can be searched.
pub(crate) fn ascending<T: PartialOrd>(names: impl Iterator<Item = T> + Clone) -> Decoded {
    let next = names.clone().skip(1);
    sound(names.zip(next).all(|(one, other)| one < other), "a list of it is not in order")
}

/// The most runs of the datatypes of one image.
const RUNS_MAX: usize = 1 << 23;

/// Writes an image.
pub(crate) struct Writer<'a> {
    pub(crate) world: &'a World,
    pub(crate) bytes: Vec<u8>,
    types: Vec<Arc<Type>>,
    numbers: HashMap<*const Type, u32>,
}

impl<'a> Writer<'a> {
    /// A writer to which the predefined datatypes are known.
    pub(crate) fn new(world: &'a World, basics: &[Arc<Type>]) -> Self {
        let mut writer =
            Self { world, bytes: Vec::new(), types: Vec::new(), numbers: HashMap::new() };
        for ty in basics {
            writer.number(ty);
        }
        writer
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Writes a row of bytes with its length.
    pub(crate) fn row(&mut self, row: &[u8]) {
        (row.len() as u64).put(self);
        self.bytes.extend_from_slice(row);
    }

    fn number(&mut self, ty: &Arc<Type>) -> u32 {
        let number = self.types.len() as u32;
        self.types.push(Arc::clone(ty));
        self.numbers.insert(Arc::as_ptr(ty), number);
        number
    }

    /// The number of a datatype; those that it is made of have lower ones.
    fn number_of(&mut self, ty: &Arc<Type>) -> u32 {
        let mut left = vec![Arc::clone(ty)];
        while let Some(top) = left.last() {
            let top = Arc::clone(top);
            let unknown = |ty: &&Arc<Type>| !self.numbers.contains_key(&Arc::as_ptr(ty));
            let missing: Vec<_> = top.recipe.types.iter().filter(unknown).cloned().collect();
            if self.numbers.contains_key(&Arc::as_ptr(&top)) {
                left.pop();
            } else if missing.is_empty() {
                self.number(&top);
                left.pop();
            } else {
                left.extend(missing);
            }
        }
        self.numbers.get(&Arc::as_ptr(ty)).copied().unwrap_or(0)
    }

    /// The datatypes beyond the first `basics`, of which all came with the image's other parts.
    pub(crate) fn put_types(&self, basics: usize, to: &mut Self) {
        ((self.types.len() - basics) as u32).put(to);
        for ty in &self.types[basics..] {
            let Recipe { combiner, ints, addresses, types } = &ty.recipe;
            combiner.put(to);
            ints.put(to);
            addresses.put(to);
            let number = |ty| self.numbers.get(&Arc::as_ptr(ty)).copied().unwrap_or(0);
            types.iter().map(number).collect::<Vec<u32>>().put(to);
        }
    }

    /// Whether the image can be read again, as far as its size is limited.
    pub(crate) fn check(&self) -> Decoded {
        let runs: usize = self.types.iter().map(|ty| ty.runs.len()).sum();
        sound(runs <= RUNS_MAX, "its datatypes have too many separate blocks")
    }
}

/// Reads an image.
pub(crate) struct Reader<'a> {
    pub(crate) world: &'a Arc<World>,
    pub(crate) me: u32,
    bytes: &'a [u8],
    types: Vec<Arc<Type>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(world: &'a Arc<World>, me: u32, bytes: &'a [u8]) -> Self {
        Self { world, me, bytes, types: Vec::new() }
    }

    pub(crate) fn take(&mut self, len: usize) -> Decoded<&'a [u8]> {
        let split = self.bytes.split_at_checked(len);
        let (taken, rest) = split.ok_or_else(|| Damaged::because("it ends too early"))?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Decoded<u8> {
        Ok(self.take(1)?[0])
    }

    /// Reads a row of bytes.
    pub(crate) fn row(&mut self) -> Decoded<Vec<u8>> {
        let len = usize::try_from(u64::get(self)?).unwrap_or(usize::MAX);
        Ok(self.take(len)?.to_vec())
    }

    /// The length of a list, each of whose items takes a byte at least.
    fn count(&mut self) -> Decoded<usize> {
        let count = u32::get(self)? as usize;
        sound(count <= self.bytes.len(), "a list is longer than the rest of it")?;
        Ok(count)
    }

    /// Makes the datatypes, after the predefined ones.
    pub(crate) fn get_types(&mut self, basics: Vec<Arc<Type>>) -> Decoded {
        self.types = basics;
        let mut runs = 0;
        for _ in 0..self.count()? {
            let (combiner, ints, addresses) = Wire::get(self)?;
            let numbers: Vec<u32> = Wire::get(self)?;
            let types = numbers.iter().map(|number| self.ty(*number)).collect::<Decoded<_>>()?;
            let ty = Recipe { combiner, ints, addresses, types }.build();
            let ty = ty.map_err(|_| Damaged::because("a datatype of it can not be made"))?;
            runs += ty.runs.len();
            sound(runs <= RUNS_MAX, "its datatypes have too many separate blocks")?;
            self.types.push(Arc::new(ty));
        }
        Ok(())
    }

    fn ty(&self, number: u32) -> Decoded<Arc<Type>> {
        let ty = self.types.get(number as usize).cloned();
        ty.ok_or_else(|| Damaged::because("it names a datatype that it does not have"))
    }

    /// Fails unless all was read.
    pub(crate) fn end(&self) -> Decoded {
        sound(self.bytes.is_empty(), "it goes on after its end")
    }
}

/// A part of an image.
pub(crate) trait Wire: Sized {
    fn put(&self, to: &mut Writer<'_>);
    fn get(from: &mut Reader<'_>) -> Decoded<Self>;
}

macro_rules! numbers {
    ($($type:ty),*) => {
        $(impl Wire for $type {
            fn put(&self, to: &mut Writer<'_>) {
                to.bytes.extend_from_slice(&self.to_le_bytes());
            }

            fn get(from: &mut Reader<'_>) -> Decoded<Self> {
                let bytes = from.take(size_of::<$type>())?;
                let bytes = bytes.first_chunk().ok_or_else(|| Damaged::because("it is cut"))?;
                Ok(<$type>::from_le_bytes(*bytes))
            }
        })*
    };
}

numbers!(u8, u32, i32, u64, i64);

impl Wire for usize {
    fn put(&self, to: &mut Writer<'_>) {
        (*self as u64).put(to);
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        let value = Self::try_from(u64::get(from)?);
        value.map_err(|_| Damaged::because("a number is too large"))
    }
}

impl Wire for bool {
    fn put(&self, to: &mut Writer<'_>) {
        to.byte(u8::from(*self));
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Damaged::because("a flag is neither set nor not")),
        }
    }
}

impl Wire for String {
    fn put(&self, to: &mut Writer<'_>) {
        to.row(self.as_bytes());
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        Self::from_utf8(from.row()?).map_err(|_| Damaged::because("a name of it is no text"))
    }
}

/// The name of a function of MPI, or none.
impl Wire for &'static str {
    fn put(&self, to: &mut Writer<'_>) {
        to.row(self.as_bytes());
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        let name = String::get(from)?;
        let known = FUNCTIONS.iter().copied().chain([""]).find(|known| *known == name);
        known.ok_or_else(|| Damaged::because("it names a function that MPI does not have"))
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, to: &mut Writer<'_>) {
        self.is_some().put(to);
        if let Some(value) = self {
            value.put(to);
        }
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        bool::get(from)?.then(|| T::get(from)).transpose()
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, to: &mut Writer<'_>) {
        (self.len() as u32).put(to);
        self.iter().for_each(|item| item.put(to));
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        (0..from.count()?).map(|_| T::get(from)).collect()
    }
}

impl Wire for Arc<[u32]> {
    fn put(&self, to: &mut Writer<'_>) {
        self.to_vec().put(to);
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Vec::get(from)?.into())
    }
}

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn put(&self, to: &mut Writer<'_>) {
        (self.len() as u32).put(to);
        self.iter().for_each(|(key, value)| {
            key.put(to);
            value.put(to);
        });
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        (0..from.count()?).map(|_| Wire::get(from)).collect()
    }
}

macro_rules! tuples {
    ($(($($type:ident $place:tt),*))*) => {
        $(impl<$($type: Wire),*> Wire for ($($type,)*) {
            fn put(&self, to: &mut Writer<'_>) {
                $(self.$place.put(to);)*
            }

            fn get(from: &mut Reader<'_>) -> Decoded<Self> {
                Ok(($($type::get(from)?,)*))
            }
        })*
    };
}

tuples!((A 0, B 1)(A 0, B 1, C 2));

impl<T: Wire> Wire for Table<T> {
    fn put(&self, to: &mut Writer<'_>) {
        let (first, items, free) = self.parts();
        first.put(to);
        (items.len() as u32).put(to);
        items.iter().for_each(|item| item.put(to));
        free.to_vec().put(to);
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        let (first, items, free) = Wire::get(from)?;
        let table = Self::from_parts(first, items, free);
        table.ok_or_else(|| Damaged::because("the free handles of a table are not those"))
    }
}

impl Wire for Arc<Type> {
    fn put(&self, to: &mut Writer<'_>) {
        to.number_of(self).put(to);
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        let number = u32::get(from)?;
        from.ty(number)
    }
}

impl Wire for Span {
    fn put(&self, to: &mut Writer<'_>) {
        self.addr.put(to);
        self.count.put(to);
        self.ty.put(to);
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        let (addr, count, ty): (u32, u64, Arc<Type>) = Wire::get(from)?;
        sound(
            count < 1 << 33 && ty.bytes(count).is_ok(),
            "a buffer of it is larger than any memory",
        )?;
        Ok(Self { addr, count, ty })
    }
}

/// By its context, which the world knows. One that has no number yet is its members' own.
impl Wire for Arc<Shared> {
    fn put(&self, to: &mut Writer<'_>) {
        self.context.put(to);
        if self.context == CONTEXTS_MAX {
            self.members.put(to);
        }
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        let context = u32::get(from)?;
        if context == CONTEXTS_MAX {
            let members: Vec<u32> = Wire::get(from)?;
            from.world.check_members(&members)?;
            return Ok(Self::new(Shared::new(context, members)));
        }
        let known = from.world.restored_shared(context);
        let known = known.filter(|shared| shared.rank_of(from.me).is_some());
        known.ok_or_else(|| Damaged::because("it names a context that its world does not have"))
    }
}

/// Bytes in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row(pub(crate) Vec<u8>);

impl Wire for Row {
    fn put(&self, to: &mut Writer<'_>) {
        to.row(&self.0);
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self(from.row()?))
    }
}

impl Wire for Fault {
    fn put(&self, to: &mut Writer<'_>) {
        let (class, detail) = match self {
            Self::Failure(failure) => (failure.class, failure.detail.clone()),
            Self::Abort(abort) => (abi::ERR_OTHER, abort.to_string()),
        };
        class.put(to);
        detail.put(to);
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        let (class, detail): (i32, String) = Wire::get(from)?;
        Ok(fault(class, detail))
    }
}

/// A structure as its fields in order.
macro_rules! wire_struct {
    ($name:ident { $($field:tt),* $(,)? }) => {
        impl $crate::image::Wire for $name {
            fn put(&self, to: &mut $crate::image::Writer<'_>) {
                $($crate::image::Wire::put(&self.$field, to);)*
            }

            fn get(from: &mut $crate::image::Reader<'_>) -> $crate::image::Decoded<Self> {
                Ok(Self { $($field: $crate::image::Wire::get(from)?),* })
            }
        }
    };
}

/// An alternative as its number and its fields in order.
macro_rules! wire_enum {
    ($name:ident {
        $($tag:literal => $variant:ident $(($($item:ident),*))? $({ $($field:ident),* })?),* $(,)?
    }) => {
        impl $crate::image::Wire for $name {
            fn put(&self, to: &mut $crate::image::Writer<'_>) {
                match self {
                    $(Self::$variant $(($($item),*))? $({ $($field),* })? => {
                        to.byte($tag);
                        $($($crate::image::Wire::put($item, to);)*)?
                        $($($crate::image::Wire::put($field, to);)*)?
                    })*
                }
            }

            fn get(from: &mut $crate::image::Reader<'_>) -> $crate::image::Decoded<Self> {
                Ok(match from.byte()? {
                    $($tag => {
                        $($(let $item = $crate::image::Wire::get(from)?;)*)?
                        $($(let $field = $crate::image::Wire::get(from)?;)*)?
                        Self::$variant $(($($item),*))? $({ $($field),* })?
                    })*
                    _ => {
                        return Err($crate::image::Damaged::because(concat!(
                            "it has a kind of ", stringify!($name), " that is not known"
                        )));
                    }
                })
            }
        }
    };
}

pub(crate) use {wire_enum, wire_struct};
