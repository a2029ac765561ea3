//! The proof that two modules have one layout.
//!
//! It trusts neither of them: sections are compared by their bytes, code instruction by
//! instruction. Where the first has an atomic instruction the second has its plain form, of which
//! is checked that it touches nothing but further locals and the very same place in memory: it
//! calls nothing, jumps nowhere, and leaves globals, tables and other places alone.

use super::{
    CODE_SECTION, Functions, IMPORT_SECTION, Locals, MEMORY_SECTION, SHARED, Step, TwinError,
    atomics::{Atomic, TEMPORARIES},
    bytes, shared_flags,
};
use std::ops::Range;
use wasmparser::{FunctionBody, Operator, OperatorsReader, Parser, Payload};

/// How two modules differ.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// One of them cannot be read.
    #[error("one of the modules cannot be read")]
    Unreadable(#[from] TwinError),
    /// A section is there once only, or has other bytes.
    #[error("their sections of type {id} differ")]
    Section {
        /// The section's type; 0 for a custom one.
        id: u8,
    },
    /// A function differs in more than lowering may change.
    #[error("function {function} differs at byte {offset} of the second: {reason}")]
    Function {
        /// Its number among those with bodies.
        function: usize,
        /// Where.
        offset: usize,
        /// How.
        reason: &'static str,
    },
}

impl From<wasmparser::BinaryReaderError> for LayoutError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Unreadable(error.into())
    }
}

/// Checks that the second module is the first without threads: that they differ in nothing but
/// their memory's being shared and in atomic instructions, and that a snapshot of one therefore is
/// one of the other.
///
/// # Errors
/// [`LayoutError`] says where they differ.
pub fn same_layout(threaded: &[u8], plain: &[u8]) -> Result<(), LayoutError> {
    let (first, second) = (Module::read(threaded)?, Module::read(plain)?);
    for index in 0..first.sections.len().max(second.sections.len()) {
        match (first.sections.get(index), second.sections.get(index)) {
            (Some(one), Some(other)) if one == other => {}
            (Some((id, _)), _) | (None, Some((id, _))) => {
                return Err(LayoutError::Section { id: *id });
            }
            (None, None) => {}
        }
    }
    if first.bodies.len() != second.bodies.len() {
        return Err(LayoutError::Section { id: CODE_SECTION });
    }
    for (function, (one, other)) in first.bodies.iter().zip(&second.bodies).enumerate() {
        // The types are the same, and with them the numbers of parameters.
        let ((one, parameters), (other, _)) = (one, other);
        let bodies = Bodies { function, threaded, plain, parameters: *parameters };
        bodies.compare(one, other)?;
    }
    Ok(())
}

/// A module in parts that can be compared.
struct Module<'a> {
    /// All but the code, in order, without the bit that says that a memory is shared.
    sections: Vec<(u8, Vec<u8>)>,
    /// The functions, with how many parameters each has.
    bodies: Vec<(FunctionBody<'a>, u32)>,
}

impl<'a> Module<'a> {
    fn read(wasm: &'a [u8]) -> Result<Self, LayoutError> {
        let mut module = Self { sections: Vec::new(), bodies: Vec::new() };
        let mut functions = Functions::default();
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload?;
            functions.take(&payload)?;
            let Some((id, range)) = payload.as_section() else {
                if let Payload::CodeSectionEntry(body) = payload {
                    module.bodies.push((body, functions.next_parameters()));
                }
                continue;
            };
            let mut content = match id {
                // Only its place among the others.
                CODE_SECTION => Vec::new(),
                _ => bytes(wasm, range.clone()).to_vec(),
            };
            if matches!(id, IMPORT_SECTION | MEMORY_SECTION) {
                for flags in shared_flags(wasm, &payload)? {
                    if let Some(byte) = content.get_mut(flags.wrapping_sub(range.start)) {
                        *byte &= !SHARED;
                    }
                }
            }
            module.sections.push((id, content));
        }
        Ok(module)
    }
}

/// One function of both modules.
struct Bodies<'a> {
    function: usize,
    threaded: &'a [u8],
    plain: &'a [u8],
    parameters: u32,
}

impl Bodies<'_> {
    fn compare(&self, one: &FunctionBody<'_>, other: &FunctionBody<'_>) -> Result<(), LayoutError> {
        let added = self.added_locals(one, other)?;
        let mut first = one.get_operators_reader()?;
        let mut second = other.get_operators_reader()?;
        while !first.eof() {
            let step = Step::next(self.threaded, &mut first)?;
            let at = second.original_position();
            match step.atomic {
                Some(atomic) => self.plain_form(atomic, &mut second, &added)?,
                None if second.eof() => return Err(self.differs(at, "it ends early")),
                None if Step::next(self.plain, &mut second)?.bytes == step.bytes => {}
                None => return Err(self.differs(at, "an instruction is another one")),
            }
        }
        if second.eof() {
            return Ok(());
        }
        Err(self.differs(second.original_position(), "it goes on where the first has ended"))
    }

    fn differs(&self, offset: usize, reason: &'static str) -> LayoutError {
        LayoutError::Function { function: self.function, offset, reason }
    }

    /// The numbers of the locals that the second may have more: none, or the temporaries.
    fn added_locals(
        &self,
        one: &FunctionBody<'_>,
        other: &FunctionBody<'_>,
    ) -> Result<Range<u32>, LayoutError> {
        let (first, second) =
            (Locals::of(one, self.parameters)?, Locals::of(other, self.parameters)?);
        let temporaries: Vec<u8> =
            TEMPORARIES.iter().flat_map(|(count, ty)| [*count, *ty]).collect();
        match second.declared.strip_prefix(first.declared) {
            Some(added) if added.is_empty() || added == temporaries => {
                Ok(first.count..second.count)
            }
            _ => Err(self.differs(other.range().start, "its locals are others")),
        }
    }

    /// Passes over the plain form of an atomic instruction.
    fn plain_form(
        &self,
        atomic: Atomic<'_>,
        second: &mut OperatorsReader<'_>,
        added: &Range<u32>,
    ) -> Result<(), LayoutError> {
        let start = second.original_position();
        let mut expected = Vec::new();
        atomic.lower(added.start, &mut expected);
        let end = start + expected.len();
        if self.plain.get(start..end) != Some(&expected[..]) {
            return Err(self.differs(start, "it is not the plain form of an atomic instruction"));
        }
        let mut depth = 0_u32;
        while second.original_position() < end {
            let at = second.original_position();
            let operator = second.read()?;
            let is_harmless = match &operator {
                Operator::If { .. } => {
                    depth += 1;
                    true
                }
                Operator::Else => depth > 0,
                Operator::End => {
                    let inside = depth > 0;
                    depth = depth.saturating_sub(1);
                    inside
                }
                operator => {
                    let written = bytes(self.plain, at..second.original_position());
                    touches_only(operator, added, written.get(1..) == Some(atomic.place()))
                }
            };
            if !is_harmless {
                return Err(self.differs(at, "a plain form does what is not its own"));
            }
        }
        match depth == 0 && second.original_position() == end {
            true => Ok(()),
            false => Err(self.differs(end, "a plain form does not end where it should")),
        }
    }
}

/// Whether an instruction changes and reads nothing but these locals and, at the same place, the
/// memory.
fn touches_only(operator: &Operator<'_>, locals: &Range<u32>, same_place: bool) -> bool {
    use Operator as Op;
    match operator {
        Op::LocalGet { local_index }
        | Op::LocalSet { local_index }
        | Op::LocalTee { local_index } => locals.contains(local_index),
        Op::I32Load { .. }
        | Op::I64Load { .. }
        | Op::I32Load8U { .. }
        | Op::I32Load16U { .. }
        | Op::I64Load8U { .. }
        | Op::I64Load16U { .. }
        | Op::I64Load32U { .. }
        | Op::I32Store { .. }
        | Op::I64Store { .. }
        | Op::I32Store8 { .. }
        | Op::I32Store16 { .. }
        | Op::I64Store8 { .. }
        | Op::I64Store16 { .. }
        | Op::I64Store32 { .. } => same_place,
        Op::Unreachable | Op::Drop | Op::I32Const { .. } | Op::I64Const { .. } => true,
        Op::I32Eq | Op::I64Eq | Op::I64LtS => true,
        Op::I32Add | Op::I32Sub | Op::I32And | Op::I32Or | Op::I32Xor => true,
        Op::I64Add | Op::I64Sub | Op::I64And | Op::I64Or | Op::I64Xor => true,
        _ => false,
    }
}
