//! The unthreaded twin of a module that runs on threads.
//!
//! The portable engine has no threads. [`lower`] makes of a module with a shared memory one with a
//! plain memory of the same limits, whose atomic instructions are plain ones. Nothing else changes,
//! not a byte: functions, types, globals, tables and data keep their numbers, places and values, so
//! that a snapshot of one is a snapshot of the other. [`same_layout`] proves that of two modules,
//! whoever made them.
//!
//! The twin runs one thread. There an atomic instruction is what its parts are, a notification
//! wakes nobody, and a wait either finds another value than it expects or would never end; that
//! traps ([`Twin::waits`] says where).

mod atomics;
mod layout;
#[cfg(test)]
mod tests;

use crate::toolchain::sections::{push_leb128, push_section};
use atomics::{Atomic, TEMPORARIES};
pub use layout::{LayoutError, same_layout};
use wasmparser::{
    BinaryReader, BinaryReaderError, CompositeInnerType, FunctionBody, OperatorsReader, Parser,
    Payload, TypeRef,
};

const CODE_SECTION: u8 = 10;
const IMPORT_SECTION: u8 = 2;
const MEMORY_SECTION: u8 = 5;
const HEADER_BYTES: usize = 8;
/// Atomic instructions begin with this byte.
const ATOMIC_PREFIX: u8 = 0xfe;
/// The bit of a memory's limits that says that threads share it.
const SHARED: u8 = 0b10;

/// A module for one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twin {
    /// Its bytes.
    pub wasm: Vec<u8>,
    /// Where in them the tests are, with the traps after them, for waits that nobody could end; in
    /// order.
    pub waits: Vec<u32>,
}

/// Whether a trap at this place in the twin is that of a wait that nobody could end. Compilers make
/// one instruction of the test and its trap, and name either.
pub(crate) fn is_endless_wait(waits: &[u32], trap: usize) -> bool {
    /// From the test to the trap.
    const LENGTH: usize = 2;
    waits.iter().any(|at| (*at as usize..=*at as usize + LENGTH).contains(&trap))
}

/// Why a module has no twin.
#[derive(Debug, thiserror::Error)]
pub enum TwinError {
    /// The bytes are damaged or cut off.
    #[error("the module is malformed at byte {}", .0.offset())]
    Malformed(#[from] BinaryReaderError),
    /// An atomic instruction that this version does not know.
    #[error("the atomic instruction {code:#x} at byte {offset} is not known")]
    Instruction {
        /// Its number after the prefix.
        code: u32,
        /// Where it is.
        offset: usize,
    },
    /// A memory whose addresses have 64 bits.
    #[error("its memory has 64-bit addresses: build it for wasm32")]
    Memory64,
    /// Something else is shared, or written as no linker writes it.
    #[error("{what} at byte {offset} is declared in a way that has no unthreaded counterpart")]
    Declaration {
        /// What.
        what: &'static str,
        /// Where.
        offset: usize,
    },
}

/// Makes the twin.
///
/// # Errors
/// [`TwinError`] says what the module has that a twin cannot have. Bytes that are no valid module
/// may give a twin that is none either.
pub fn lower(wasm: &[u8]) -> Result<Twin, TwinError> {
    let mut twin = Twin { wasm: bytes(wasm, 0..HEADER_BYTES).to_vec(), waits: Vec::new() };
    let mut functions = Functions::default();
    let mut code = Code::default();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        functions.take(&payload)?;
        if let Payload::CodeSectionStart { count, .. } = &payload {
            code = Code { left: *count, ..Code::default() };
            push_leb128(&mut code.content, *count as usize);
        }
        if let Payload::CodeSectionEntry(body) = &payload {
            code.push(wasm, body, functions.next_parameters())?;
            code.left = code.left.saturating_sub(1);
        }
        let ends_code = match &payload {
            Payload::CodeSectionStart { count: 0, .. } => true,
            Payload::CodeSectionEntry(_) => code.left == 0,
            _ => false,
        };
        if ends_code {
            code.finish(&mut twin);
        } else if let Some((id, range)) = payload.as_section()
            && id != CODE_SECTION
        {
            let mut content = bytes(wasm, range.clone()).to_vec();
            for flags in shared_flags(wasm, &payload)? {
                if let Some(byte) =
                    flags.checked_sub(range.start).and_then(|at| content.get_mut(at))
                {
                    *byte &= !SHARED;
                }
            }
            push_section(&mut twin.wasm, id, &content);
        }
    }
    Ok(twin)
}

fn bytes(wasm: &[u8], range: std::ops::Range<usize>) -> &[u8] {
    wasm.get(range).unwrap_or_default()
}

/// How many parameters each function has, which the first of its locals follow.
#[derive(Default)]
struct Functions {
    /// Of each type.
    types: Vec<u32>,
    /// The types of the functions with bodies.
    defined: Vec<u32>,
    /// Bodies that were read.
    read: usize,
}

impl Functions {
    fn take(&mut self, payload: &Payload<'_>) -> Result<(), TwinError> {
        match payload {
            Payload::TypeSection(reader) => {
                for group in reader.clone() {
                    self.types.extend(group?.into_types().map(
                        |ty| match ty.composite_type.inner {
                            CompositeInnerType::Func(ty) => ty.params().len() as u32,
                            _ => 0,
                        },
                    ));
                }
            }
            Payload::FunctionSection(reader) => {
                for ty in reader.clone() {
                    self.defined.push(ty?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn next_parameters(&mut self) -> u32 {
        let ty = self.defined.get(self.read).copied().unwrap_or(u32::MAX);
        self.read += 1;
        self.types.get(ty as usize).copied().unwrap_or(0)
    }
}

/// Where the bytes are that say of a shared memory that it is one.
fn shared_flags(wasm: &[u8], payload: &Payload<'_>) -> Result<Vec<usize>, TwinError> {
    let mut places = Vec::new();
    match payload {
        Payload::ImportSection(reader) => {
            for import in reader.clone().into_imports_with_offsets() {
                let (offset, import) = import?;
                if let TypeRef::Memory(ty) = import.ty
                    && ty.shared
                {
                    let mut reader = BinaryReader::new(bytes(wasm, offset..wasm.len()), offset);
                    reader.read_string()?;
                    reader.read_string()?;
                    reader.read_u8()?;
                    places.push(limits(wasm, reader.original_position(), ty.memory64)?);
                }
            }
        }
        Payload::MemorySection(reader) => {
            for memory in reader.clone().into_iter_with_offsets() {
                let (offset, ty) = memory?;
                if ty.shared {
                    places.push(limits(wasm, offset, ty.memory64)?);
                }
            }
        }
        _ => {}
    }
    Ok(places)
}

/// Checks that the flags of a shared memory's limits are there.
fn limits(wasm: &[u8], at: usize, memory64: bool) -> Result<usize, TwinError> {
    if memory64 {
        return Err(TwinError::Memory64);
    }
    // Shared, with a maximum, and nothing else.
    match wasm.get(at) {
        Some(3) => Ok(at),
        _ => Err(TwinError::Declaration { what: "a shared memory", offset: at }),
    }
}

/// The code section in the making.
#[derive(Default)]
struct Code {
    /// Bodies to come.
    left: u32,
    content: Vec<u8>,
    /// Where in the content the traps of waits are.
    waits: Vec<usize>,
}

impl Code {
    fn push(
        &mut self,
        wasm: &[u8],
        body: &FunctionBody<'_>,
        parameters: u32,
    ) -> Result<(), TwinError> {
        let (lowered, waits) = lower_body(wasm, body, parameters)?;
        push_leb128(&mut self.content, lowered.len());
        let start = self.content.len();
        self.waits.extend(waits.iter().map(|at| start + at));
        self.content.extend(lowered);
        Ok(())
    }

    fn finish(&mut self, twin: &mut Twin) {
        push_section(&mut twin.wasm, CODE_SECTION, &self.content);
        let start = twin.wasm.len() - self.content.len();
        twin.waits.extend(self.waits.iter().map(|at| (start + at) as u32));
    }
}

/// A function without atomic instructions, and where in it the traps of waits are.
fn lower_body(
    wasm: &[u8],
    body: &FunctionBody<'_>,
    parameters: u32,
) -> Result<(Vec<u8>, Vec<usize>), TwinError> {
    let locals = Locals::of(body, parameters)?;
    let mut code = Vec::new();
    let (mut waits, mut uses_temporaries) = (Vec::new(), false);
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let step = Step::next(wasm, &mut operators)?;
        match step.atomic {
            None => code.extend_from_slice(step.bytes),
            Some(atomic) => {
                uses_temporaries |= atomic.uses_temporaries();
                let trap = atomic.lower(locals.count, &mut code);
                waits.extend(trap);
            }
        }
    }
    let mut lowered = Vec::with_capacity(body.range().len() + 8);
    if uses_temporaries {
        push_leb128(&mut lowered, locals.groups as usize + TEMPORARIES.len());
        lowered.extend_from_slice(locals.declared);
        for (count, ty) in TEMPORARIES {
            lowered.extend([count, ty]);
        }
    } else {
        push_leb128(&mut lowered, locals.groups as usize);
        lowered.extend_from_slice(locals.declared);
    }
    let start = lowered.len();
    lowered.extend(code);
    Ok((lowered, waits.into_iter().map(|at| start + at).collect()))
}

/// The locals of a function as they are declared.
struct Locals<'a> {
    groups: u32,
    /// The groups' bytes.
    declared: &'a [u8],
    /// All of them with the parameters: the number of the first temporary.
    count: u32,
}

impl<'a> Locals<'a> {
    fn of(body: &FunctionBody<'a>, parameters: u32) -> Result<Self, TwinError> {
        let mut reader = body.get_locals_reader()?;
        let groups = reader.get_count();
        let (start, base) = (reader.original_position(), body.range().start);
        let mut count = parameters;
        for _ in 0..groups {
            count = count.saturating_add(reader.read()?.0);
        }
        let end = reader.original_position();
        let declared = body.as_bytes().get(start - base..end - base).unwrap_or_default();
        Ok(Self { groups, declared, count })
    }
}

/// One instruction as it stands in the module.
struct Step<'a> {
    bytes: &'a [u8],
    /// What it is, if it is an atomic one.
    atomic: Option<Atomic<'a>>,
}

impl<'a> Step<'a> {
    fn next(wasm: &'a [u8], operators: &mut OperatorsReader<'_>) -> Result<Self, TwinError> {
        let start = operators.original_position();
        operators.read()?;
        let bytes = bytes(wasm, start..operators.original_position());
        let atomic = match bytes.first() {
            Some(&ATOMIC_PREFIX) => Some(Atomic::read(bytes, start)?),
            _ => None,
        };
        Ok(Self { bytes, atomic })
    }
}
