//! The calls that make, ask and use datatypes.

use crate::{
    abi,
    attribute::Holder,
    datatype::Type,
    engine::{Cb, Engine, Named},
    error::{Result, count, ensure, fault},
    transfer::{self, Span},
};
use std::sync::Arc;

impl Engine {
    fn old_type(&self, handle: i32) -> Result<Arc<Type>> {
        Ok(Arc::clone(&self.named(handle)?.ty))
    }

    pub(crate) fn type_contiguous(
        &mut self,
        _: Cb<'_>,
        number: i32,
        oldtype: i32,
        newtype: u32,
    ) -> Result {
        let old = self.old_type(oldtype)?;
        let recipe = Self::recipe(abi::COMBINER_CONTIGUOUS, &[number], &[], &[&old]);
        self.make_type(recipe, newtype)
    }

    pub(crate) fn type_vector(
        &mut self,
        _: Cb<'_>,
        number: i32,
        blocklength: i32,
        stride: i32,
        oldtype: i32,
        newtype: u32,
    ) -> Result {
        let old = self.old_type(oldtype)?;
        let recipe =
            Self::recipe(abi::COMBINER_VECTOR, &[number, blocklength, stride], &[], &[&old]);
        self.make_type(recipe, newtype)
    }

    pub(crate) fn type_create_hvector(
        &mut self,
        _: Cb<'_>,
        number: i32,
        blocklength: i32,
        stride: i32,
        oldtype: i32,
        newtype: u32,
    ) -> Result {
        let old = self.old_type(oldtype)?;
        let recipe =
            Self::recipe(abi::COMBINER_HVECTOR, &[number, blocklength], &[stride], &[&old]);
        self.make_type(recipe, newtype)
    }

    pub(crate) fn type_indexed(
        &mut self,
        _: Cb<'_>,
        number: i32,
        lengths: u32,
        displacements: u32,
        oldtype: i32,
        newtype: u32,
    ) -> Result {
        let (old, number) = (self.old_type(oldtype)?, count(number)? as usize);
        let (lengths, places) =
            (self.space.ints(lengths, number)?, self.space.ints(displacements, number)?);
        let ints = [&[number as i32], &*lengths, &*places].concat();
        let recipe = Self::recipe(abi::COMBINER_INDEXED, &ints, &[], &[&old]);
        self.make_type(recipe, newtype)
    }

    pub(crate) fn type_create_hindexed(
        &mut self,
        _: Cb<'_>,
        number: i32,
        lengths: u32,
        displacements: u32,
        oldtype: i32,
        newtype: u32,
    ) -> Result {
        let (old, number) = (self.old_type(oldtype)?, count(number)? as usize);
        let (lengths, places) =
            (self.space.ints(lengths, number)?, self.space.ints(displacements, number)?);
        let ints = [&[number as i32], &*lengths].concat();
        let recipe = Self::recipe(abi::COMBINER_HINDEXED, &ints, &places, &[&old]);
        self.make_type(recipe, newtype)
    }

    pub(crate) fn type_create_indexed_block(
        &mut self,
        _: Cb<'_>,
        number: i32,
        blocklength: i32,
        displacements: u32,
        oldtype: i32,
        newtype: u32,
    ) -> Result {
        let (old, number) = (self.old_type(oldtype)?, count(number)? as usize);
        let places = self.space.ints(displacements, number)?;
        let ints = [&[number as i32, blocklength], &*places].concat();
        let recipe = Self::recipe(abi::COMBINER_INDEXED_BLOCK, &ints, &[], &[&old]);
        self.make_type(recipe, newtype)
    }

    pub(crate) fn type_create_hindexed_block(
        &mut self,
        _: Cb<'_>,
        number: i32,
        blocklength: i32,
        displacements: u32,
        oldtype: i32,
        newtype: u32,
    ) -> Result {
        let (old, number) = (self.old_type(oldtype)?, count(number)? as usize);
        let places = self.space.ints(displacements, number)?;
        let recipe = Self::recipe(
            abi::COMBINER_HINDEXED_BLOCK,
            &[number as i32, blocklength],
            &places,
            &[&old],
        );
        self.make_type(recipe, newtype)
    }

    pub(crate) fn type_create_struct(
        &mut self,
        _: Cb<'_>,
        number: i32,
        lengths: u32,
        displacements: u32,
        types: u32,
        newtype: u32,
    ) -> Result {
        let number = count(number)? as usize;
        let (lengths, places) =
            (self.space.ints(lengths, number)?, self.space.ints(displacements, number)?);
        let types = self.space.ints(types, number)?;
        let olds = types.iter().map(|handle| self.old_type(*handle)).collect::<Result<Vec<_>>>()?;
        let ints = [&[number as i32], &*lengths].concat();
        let recipe =
            Self::recipe(abi::COMBINER_STRUCT, &ints, &places, &olds.iter().collect::<Vec<_>>());
        self.make_type(recipe, newtype)
    }

    pub(crate) fn type_create_subarray(
        &mut self,
        _: Cb<'_>,
        ndims: i32,
        sizes: u32,
        subsizes: u32,
        starts: u32,
        order: i32,
        oldtype: i32,
        newtype: u32,
    ) -> Result {
        let (old, n) = (self.old_type(oldtype)?, count(ndims)? as usize);
        let [sizes, subsizes, starts] = [
            self.space.ints(sizes, n)?,
            self.space.ints(subsizes, n)?,
            self.space.ints(starts, n)?,
        ];
        let ints = [&[ndims], &*sizes, &*subsizes, &*starts, &[order]].concat();
        let recipe = Self::recipe(abi::COMBINER_SUBARRAY, &ints, &[], &[&old]);
        self.make_type(recipe, newtype)
    }

    pub(crate) fn type_create_darray(
        &mut self,
        _: Cb<'_>,
        size: i32,
        rank: i32,
        ndims: i32,
        gsizes: u32,
        distribs: u32,
        dargs: u32,
        psizes: u32,
        order: i32,
        oldtype: i32,
        newtype: u32,
    ) -> Result {
        let (old, n) = (self.old_type(oldtype)?, count(ndims)? as usize);
        let mut ints = vec![size, rank, ndims];
        for list in [gsizes, distribs, dargs, psizes] {
            ints.extend(self.space.ints(list, n)?);
        }
        ints.push(order);
        self.make_type(Self::recipe(abi::COMBINER_DARRAY, &ints, &[], &[&old]), newtype)
    }

    pub(crate) fn type_create_resized(
        &mut self,
        _: Cb<'_>,
        oldtype: i32,
        lb: i32,
        extent: i32,
        newtype: u32,
    ) -> Result {
        let old = self.old_type(oldtype)?;
        let recipe = Self::recipe(abi::COMBINER_RESIZED, &[], &[lb, extent], &[&old]);
        self.make_type(recipe, newtype)
    }

    pub(crate) fn type_dup(&mut self, cb: Cb<'_>, oldtype: i32, newtype: u32) -> Result {
        let old = self.named(oldtype)?.clone();
        self.space.check_place(newtype)?;
        let attributes = self.copied_attributes(cb, Holder::Datatype, oldtype)?;
        let recipe = Self::recipe(abi::COMBINER_DUP, &[], &[], &[&old.ty]);
        let ty = Arc::new(recipe.build()?);
        let handle = self.types.add(Named { ty, attributes, ..old });
        self.space.write_i32(newtype, handle)
    }

    pub(crate) fn type_commit(&mut self, _: Cb<'_>, datatype: u32) -> Result {
        let handle = self.space.read_i32(datatype)?;
        self.named(handle)?;
        if let Some(named) = self.types.get_mut(handle) {
            named.committed = true;
        }
        Ok(())
    }

    pub(crate) fn type_free(&mut self, cb: Cb<'_>, datatype: u32) -> Result {
        let handle = self.space.read_i32(datatype)?;
        self.named(handle)?;
        let predefined = handle as usize <= crate::basic::BASICS.len();
        ensure(!predefined, abi::ERR_TYPE, || "a predefined datatype can not be freed".to_owned())?;
        self.delete_attributes(cb, Holder::Datatype, handle)?;
        self.types.remove(handle);
        self.space.write_i32(datatype, abi::DATATYPE_NULL)
    }

    /// Writes a value that an `MPI_Aint` or an `int` must hold.
    fn write_fitting(&self, addr: u32, value: i64) -> Result {
        self.space.write_i32(addr, i32::try_from(value).unwrap_or(abi::UNDEFINED))
    }

    pub(crate) fn type_size(&mut self, _: Cb<'_>, datatype: i32, size: u32) -> Result {
        let bytes = self.named(datatype)?.ty.size;
        self.write_fitting(size, bytes as i64)
    }

    pub(crate) fn type_size_x(&mut self, _: Cb<'_>, datatype: i32, size: u32) -> Result {
        let bytes = self.named(datatype)?.ty.size;
        self.space.write_i64(size, bytes as i64)
    }

    pub(crate) fn type_get_extent(
        &mut self,
        _: Cb<'_>,
        datatype: i32,
        lb: u32,
        extent: u32,
    ) -> Result {
        let (low, len) = {
            let ty = &self.named(datatype)?.ty;
            (ty.lb, ty.extent)
        };
        self.write_fitting(lb, low)?;
        self.write_fitting(extent, len)
    }

    pub(crate) fn type_get_extent_x(
        &mut self,
        _: Cb<'_>,
        datatype: i32,
        lb: u32,
        extent: u32,
    ) -> Result {
        let (low, len) = {
            let ty = &self.named(datatype)?.ty;
            (ty.lb, ty.extent)
        };
        self.space.write_i64(lb, low)?;
        self.space.write_i64(extent, len)
    }

    pub(crate) fn type_get_true_extent(
        &mut self,
        _: Cb<'_>,
        datatype: i32,
        true_lb: u32,
        true_extent: u32,
    ) -> Result {
        let (low, high) = {
            let ty = &self.named(datatype)?.ty;
            (ty.true_lb, ty.true_ub)
        };
        self.write_fitting(true_lb, low)?;
        self.write_fitting(true_extent, high - low)
    }

    pub(crate) fn type_get_true_extent_x(
        &mut self,
        _: Cb<'_>,
        datatype: i32,
        true_lb: u32,
        true_extent: u32,
    ) -> Result {
        let (low, high) = {
            let ty = &self.named(datatype)?.ty;
            (ty.true_lb, ty.true_ub)
        };
        self.space.write_i64(true_lb, low)?;
        self.space.write_i64(true_extent, high - low)
    }

    pub(crate) fn type_match_size(
        &mut self,
        _: Cb<'_>,
        typeclass: i32,
        size: i32,
        datatype: u32,
    ) -> Result {
        let name = match (typeclass, size) {
            (abi::TYPECLASS_REAL, 4) => "MPI_FLOAT",
            (abi::TYPECLASS_REAL, 8) => "MPI_DOUBLE",
            (abi::TYPECLASS_REAL, 16) => "MPI_LONG_DOUBLE",
            (abi::TYPECLASS_INTEGER, 1) => "MPI_INT8_T",
            (abi::TYPECLASS_INTEGER, 2) => "MPI_INT16_T",
            (abi::TYPECLASS_INTEGER, 4) => "MPI_INT32_T",
            (abi::TYPECLASS_INTEGER, 8) => "MPI_INT64_T",
            (abi::TYPECLASS_COMPLEX, 8) => "MPI_C_FLOAT_COMPLEX",
            (abi::TYPECLASS_COMPLEX, 16) => "MPI_C_DOUBLE_COMPLEX",
            (abi::TYPECLASS_COMPLEX, 32) => "MPI_C_LONG_DOUBLE_COMPLEX",
            _ => "",
        };
        let place = crate::basic::BASICS.iter().position(|(known, _)| *known == name);
        let place = place.ok_or_else(|| {
            fault(abi::ERR_ARG, format!("class {typeclass} has no datatype of {size} bytes"))
        })?;
        self.space.write_i32(datatype, place as i32 + 1)
    }

    pub(crate) fn type_set_name(&mut self, _: Cb<'_>, datatype: i32, name: u32) -> Result {
        let name = self.space.string(name, abi::MAX_OBJECT_NAME as usize - 1)?;
        self.named(datatype)?;
        if let Some(named) = self.types.get_mut(datatype) {
            named.name = name;
        }
        Ok(())
    }

    pub(crate) fn type_get_name(
        &mut self,
        _: Cb<'_>,
        datatype: i32,
        name: u32,
        resultlen: u32,
    ) -> Result {
        let text = &self.named(datatype)?.name;
        let len = self.space.write_string(name, text, abi::MAX_OBJECT_NAME as usize)?;
        self.space.write_i32(resultlen, len)
    }

    pub(crate) fn type_get_envelope(
        &mut self,
        _: Cb<'_>,
        datatype: i32,
        integers: u32,
        addresses: u32,
        datatypes: u32,
        combiner: u32,
    ) -> Result {
        let recipe = &self.named(datatype)?.ty.recipe;
        self.space.write_i32(integers, recipe.ints.len() as i32)?;
        self.space.write_i32(addresses, recipe.addresses.len() as i32)?;
        self.space.write_i32(datatypes, recipe.types.len() as i32)?;
        self.space.write_i32(combiner, recipe.combiner)
    }

    pub(crate) fn type_get_contents(
        &mut self,
        _: Cb<'_>,
        datatype: i32,
        max_integers: i32,
        max_addresses: i32,
        max_datatypes: i32,
        integers: u32,
        addresses: u32,
        datatypes: u32,
    ) -> Result {
        let recipe = self.named(datatype)?.ty.recipe.clone();
        ensure(recipe.combiner != abi::COMBINER_NAMED, abi::ERR_TYPE, || {
            "a predefined datatype has no contents".to_owned()
        })?;
        let room = count(max_integers)? >= recipe.ints.len() as u64
            && count(max_addresses)? >= recipe.addresses.len() as u64
            && count(max_datatypes)? >= recipe.types.len() as u64;
        ensure(room, abi::ERR_ARG, || "the arrays are too small for the contents".to_owned())?;
        self.space.write_ints(integers, &recipe.ints)?;
        self.space.write_ints(addresses, &recipe.addresses)?;
        let mut handles = Vec::new();
        for ty in recipe.types {
            handles.push(self.handle_of(ty));
        }
        self.space.write_ints(datatypes, &handles)
    }

    /// The handle of a predefined type, or a new one of another.
    fn handle_of(&mut self, ty: Arc<Type>) -> i32 {
        let predefined = self.types.handles().take(crate::basic::BASICS.len());
        let mut known = predefined.filter(|handle| {
            self.types.get(*handle).is_some_and(|named| Arc::ptr_eq(&named.ty, &ty))
        });
        match known.next() {
            Some(handle) => handle,
            None => {
                drop(known);
                self.types.add(Named { committed: true, ..Named::new(ty, "") })
            }
        }
    }

    /// The place in a packing buffer, and the bytes that are left there.
    fn packing(&self, addr: u32, size: i32, position: u32, bytes: u64) -> Result<(u32, i32)> {
        let at = self.space.read_i32(position)?;
        let end = i64::from(at) + bytes as i64;
        ensure(at >= 0 && end <= i64::from(size), abi::ERR_TRUNCATE, || {
            format!("{bytes} bytes at position {at} do not fit into a buffer of {size}")
        })?;
        let start = u32::try_from(i64::from(addr) + i64::from(at));
        Ok((
            start.map_err(|_| fault(abi::ERR_BUFFER, "the buffer leads out of memory"))?,
            end as i32,
        ))
    }

    /// A row of bytes in memory.
    fn row(&self, addr: u32, bytes: u64) -> Result<Span> {
        // MPI_PACKED; its handle is counted from one.
        let packed = 32;
        Ok(Span { addr, count: bytes, ty: self.old_type(packed)? })
    }

    pub(crate) fn pack(
        &mut self,
        _: Cb<'_>,
        inbuf: u32,
        incount: i32,
        datatype: i32,
        outbuf: u32,
        outsize: i32,
        position: u32,
        comm: i32,
    ) -> Result {
        self.communicator(comm)?;
        let span = self.buffer(inbuf, incount, datatype)?;
        let (start, end) = self.packing(outbuf, outsize, position, span.bytes())?;
        let row = self.row(start, span.bytes())?;
        self.check_span(&row)?;
        transfer::copy(&self.space, &span, &self.space, &row)?;
        self.space.write_i32(position, end)
    }

    pub(crate) fn unpack(
        &mut self,
        _: Cb<'_>,
        inbuf: u32,
        insize: i32,
        position: u32,
        outbuf: u32,
        outcount: i32,
        datatype: i32,
        comm: i32,
    ) -> Result {
        self.communicator(comm)?;
        let span = self.buffer(outbuf, outcount, datatype)?;
        let (start, end) = self.packing(inbuf, insize, position, span.bytes())?;
        let row = self.row(start, span.bytes())?;
        self.check_span(&row)?;
        transfer::copy(&self.space, &row, &self.space, &span)?;
        self.space.write_i32(position, end)
    }

    pub(crate) fn pack_size(
        &mut self,
        _: Cb<'_>,
        incount: i32,
        datatype: i32,
        comm: i32,
        size: u32,
    ) -> Result {
        self.communicator(comm)?;
        let bytes = self.span(0, incount, datatype)?.bytes();
        let bytes = i32::try_from(bytes)
            .map_err(|_| fault(abi::ERR_COUNT, "the data are too large to pack"))?;
        self.space.write_i32(size, bytes)
    }
}
