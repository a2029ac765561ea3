//! Folds small constants that are added to addresses into the loads and stores that use them.
//!
//! Compilers leave `x + 16` beside a load where they cannot prove that the sum does not wrap, and
//! unrolled loops are full of such sums. A load has room for the constant, and the processor adds it
//! for nothing.
//!
//! An offset is added without wrapping: where `x + 16` wrapped to an address below 16, a folded load
//! traps. Programs of ours have nothing there: below the first [`LIMIT`] bytes lies only the last
//! end of the stack. So only constants below it are folded. (Binaryen knows the same as
//! `--low-memory-unused`; it rewrites the whole module for it, whose code then is slower.)

use super::{
    InspectError,
    sections::{push_leb128, push_section},
};
use std::{collections::BTreeMap, ops::Range};
use wasmparser::{
    BinaryReader, BlockType, ContType, FrameKind, FuncType, FunctionBody, ModuleArity, Operator,
    Parser, Payload, RefType, SubType,
};

/// Sums of constants below this are folded.
const LIMIT: u32 = 1024;

const CODE: u8 = 10;

/// The module with constants folded; as it was, where something else depends on where its
/// instructions are.
pub(super) fn fold(wasm: &[u8]) -> Result<Vec<u8>, InspectError> {
    let mut kept = wasm.get(..8).unwrap_or_default().to_vec();
    let mut code = Vec::new();
    let mut bodies = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        match &payload {
            Payload::CustomSection(section) if is_about_code(section.name()) => {
                return Ok(wasm.to_vec());
            }
            Payload::CodeSectionStart { count, .. } => {
                bodies = *count;
                push_leb128(&mut code, *count as usize);
                if bodies == 0 {
                    push_section(&mut kept, CODE, &code);
                }
            }
            Payload::CodeSectionEntry(body) => {
                let body = folded(wasm, body)?;
                push_leb128(&mut code, body.len());
                code.extend_from_slice(&body);
                bodies -= 1;
                if bodies == 0 {
                    push_section(&mut kept, CODE, &code);
                }
            }
            _ => {
                if let Some((id, range)) = payload.as_section() {
                    push_section(&mut kept, id, wasm.get(range).unwrap_or_default());
                }
            }
        }
    }
    Ok(kept)
}

/// Whether a custom section names places in the code.
fn is_about_code(name: &str) -> bool {
    name.starts_with(".debug_")
        || name.starts_with("reloc.")
        || name.starts_with("metadata.code.")
        || ["linking", "sourceMappingURL"].contains(&name)
}

/// A change of a function's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edit {
    range: Range<usize>,
    with: Vec<u8>,
}

/// What is known of a value on the stack.
#[derive(Debug, Clone, Default)]
struct Value {
    /// What makes it smaller by `less`.
    edits: Vec<Edit>,
    less: u32,
    /// The local that it then is.
    local: Option<u32>,
    /// It is this constant, which these bytes push.
    constant: Option<(u32, Range<usize>)>,
}

impl Value {
    fn of(local: u32) -> Self {
        Self { local: Some(local), ..Self::default() }
    }

    /// What is known of a local that holds it.
    fn sum(&self) -> Option<(u32, u32)> {
        self.local.map(|local| (local, self.less)).filter(|(_, less)| *less > 0)
    }
}

/// What is known on one way through a function.
#[derive(Debug, Default)]
struct Known {
    /// The upper end of the stack; below it is what nothing is known of.
    stack: Vec<Value>,
    /// Locals that are another one and a constant.
    sums: BTreeMap<u32, (u32, u32)>,
    edits: Vec<Edit>,
}

fn folded(wasm: &[u8], body: &FunctionBody<'_>) -> Result<Vec<u8>, InspectError> {
    let mut known = Known::default();
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let (operator, start) = operators.read_with_offset()?;
        let range = start..operators.original_position();
        known.step(&operator, range, wasm);
    }
    let Range { start, end } = body.range();
    Ok(edited(wasm, start..end, known.edits))
}

fn edited(wasm: &[u8], range: Range<usize>, mut edits: Vec<Edit>) -> Vec<u8> {
    edits.sort_by_key(|edit| edit.range.start);
    let mut bytes = Vec::with_capacity(range.len());
    let mut at = range.start;
    for edit in edits {
        bytes.extend_from_slice(wasm.get(at..edit.range.start).unwrap_or_default());
        bytes.extend_from_slice(&edit.with);
        at = edit.range.end;
    }
    bytes.extend_from_slice(wasm.get(at..range.end).unwrap_or_default());
    bytes
}

impl Known {
    fn pop(&mut self) -> Value {
        self.stack.pop().unwrap_or_default()
    }

    /// Follows one instruction, whose bytes are these.
    fn step(&mut self, operator: &Operator<'_>, range: Range<usize>, wasm: &[u8]) {
        match *operator {
            // What is known of locals holds on, for there is no other way to what follows.
            Operator::Block { .. } | Operator::If { .. } | Operator::BrIf { .. } => {
                self.stack.clear();
            }
            Operator::LocalGet { local_index } => self.get(local_index, range),
            Operator::LocalSet { local_index } => {
                let value = self.pop();
                self.set(local_index, &value);
            }
            Operator::LocalTee { local_index } => self.tee(local_index, range),
            Operator::I32Const { value } => {
                let constant = Some((value.cast_unsigned(), range));
                self.stack.push(Value { constant, ..Value::default() });
            }
            Operator::I32Add => self.add(&range),
            _ => match access(operator, &range, wasm) {
                Some(access) => self.access(&access),
                None => self.other(operator),
            },
        }
    }

    fn get(&mut self, local: u32, range: Range<usize>) {
        let value = match self.sums.get(&local) {
            Some((base, less)) => {
                let edits = vec![Edit { range, with: get(*base) }];
                Value { edits, less: *less, local: Some(*base), constant: None }
            }
            None => Value::of(local),
        };
        self.stack.push(value);
    }

    fn set(&mut self, local: u32, value: &Value) {
        self.sums.retain(|other, (base, _)| *other != local && *base != local);
        // What a value on the stack would be made of is not what it was.
        for value in self.stack.iter_mut().filter(|value| value.local == Some(local)) {
            value.local = None;
        }
        if let Some((base, less)) = value.sum().filter(|(base, _)| *base != local) {
            self.sums.insert(local, (base, less));
        }
    }

    fn tee(&mut self, local: u32, range: Range<usize>) {
        let value = self.pop();
        self.set(local, &value);
        let left = match self.sums.get(&local) {
            Some((base, less)) => {
                let with = [set(local), get(*base)].concat();
                let edits = vec![Edit { range, with }];
                Value { edits, less: *less, local: Some(*base), constant: None }
            }
            None => Value::of(local),
        };
        self.stack.push(left);
    }

    fn add(&mut self, range: &Range<usize>) {
        let (added, mut to) = (self.pop(), self.pop());
        let beside = added.constant.filter(|(_, pushed)| pushed.end == range.start);
        let sum = match beside {
            Some((constant, pushed)) if constant > 0 && constant < LIMIT - to.less => {
                to.edits.push(Edit { range: pushed.start..range.end, with: Vec::new() });
                to.less += constant;
                to.constant = None;
                to
            }
            _ => Value::default(),
        };
        self.stack.push(sum);
    }

    fn access(&mut self, access: &Access) {
        if access.stores {
            self.pop();
        }
        let address = self.pop();
        let offset = access.offset.checked_add(u64::from(address.less));
        let offset = offset.filter(|offset| *offset <= u64::from(u32::MAX));
        if let Some(offset) = offset.filter(|_| address.less > 0) {
            let mut with = Vec::new();
            push_leb128(&mut with, offset as usize);
            self.edits.extend(address.edits);
            self.edits.push(Edit { range: access.place.clone(), with });
        }
        if access.loads {
            self.stack.push(Value::default());
        }
    }

    /// Anything else: how many values it takes and leaves is all that matters.
    fn other(&mut self, operator: &Operator<'_>) {
        match operator.operator_arity(&NoTypes).filter(|_| !may_be_jumped_to(operator)) {
            Some((takes, leaves)) => {
                self.stack.truncate(self.stack.len().saturating_sub(takes as usize));
                self.stack.extend((0..leaves).map(|_| Value::default()));
            }
            // A call changes no local.
            None if is_call(operator) => self.stack.clear(),
            None => (self.stack, self.sums) = Default::default(),
        }
    }
}

/// Whether there are other ways to what follows.
fn may_be_jumped_to(operator: &Operator<'_>) -> bool {
    use Operator as O;
    matches!(
        operator,
        O::Loop { .. }
            | O::Else
            | O::End
            | O::TryTable { .. }
            | O::Try { .. }
            | O::Catch { .. }
            | O::CatchAll
            | O::Delegate { .. }
    )
}

fn is_call(operator: &Operator<'_>) -> bool {
    matches!(operator, Operator::Call { .. } | Operator::CallIndirect { .. })
}

fn get(local: u32) -> Vec<u8> {
    with_index(0x20, local)
}

fn set(local: u32) -> Vec<u8> {
    with_index(0x21, local)
}

fn with_index(opcode: u8, index: u32) -> Vec<u8> {
    let mut bytes = vec![opcode];
    push_leb128(&mut bytes, index as usize);
    bytes
}

/// A load or a store.
#[derive(Debug)]
struct Access {
    offset: u64,
    /// The bytes of the offset.
    place: Range<usize>,
    loads: bool,
    stores: bool,
}

fn access(operator: &Operator<'_>, range: &Range<usize>, wasm: &[u8]) -> Option<Access> {
    use Operator as O;
    let (memarg, loads, stores) = match operator {
        O::I32Load { memarg }
        | O::I64Load { memarg }
        | O::F32Load { memarg }
        | O::F64Load { memarg }
        | O::I32Load8S { memarg }
        | O::I32Load8U { memarg }
        | O::I32Load16S { memarg }
        | O::I32Load16U { memarg }
        | O::I64Load8S { memarg }
        | O::I64Load8U { memarg }
        | O::I64Load16S { memarg }
        | O::I64Load16U { memarg }
        | O::I64Load32S { memarg }
        | O::I64Load32U { memarg }
        | O::V128Load { memarg }
        | O::V128Load8x8S { memarg }
        | O::V128Load8x8U { memarg }
        | O::V128Load16x4S { memarg }
        | O::V128Load16x4U { memarg }
        | O::V128Load32x2S { memarg }
        | O::V128Load32x2U { memarg }
        | O::V128Load8Splat { memarg }
        | O::V128Load16Splat { memarg }
        | O::V128Load32Splat { memarg }
        | O::V128Load64Splat { memarg }
        | O::V128Load32Zero { memarg }
        | O::V128Load64Zero { memarg } => (memarg, true, false),
        O::I32Store { memarg }
        | O::I64Store { memarg }
        | O::F32Store { memarg }
        | O::F64Store { memarg }
        | O::I32Store8 { memarg }
        | O::I32Store16 { memarg }
        | O::I64Store8 { memarg }
        | O::I64Store16 { memarg }
        | O::I64Store32 { memarg }
        | O::V128Store { memarg } => (memarg, false, true),
        O::V128Load8Lane { memarg, .. }
        | O::V128Load16Lane { memarg, .. }
        | O::V128Load32Lane { memarg, .. }
        | O::V128Load64Lane { memarg, .. } => (memarg, true, true),
        O::V128Store8Lane { memarg, .. }
        | O::V128Store16Lane { memarg, .. }
        | O::V128Store32Lane { memarg, .. }
        | O::V128Store64Lane { memarg, .. } => (memarg, false, true),
        _ => return None,
    };
    let place = place_of_offset(wasm.get(range.clone())?, range.start)?;
    Some(Access { offset: memarg.offset, place, loads, stores })
}

/// Where the offset lies in an instruction's bytes, if it is of the first memory.
fn place_of_offset(bytes: &[u8], start: usize) -> Option<Range<usize>> {
    /// Set where an index of a memory follows.
    const HAS_MEMORY: u32 = 1 << 6;
    let mut reader = BinaryReader::new(bytes, start);
    if reader.read_u8().ok()? == 0xfd {
        reader.read_var_u32().ok()?;
    }
    if reader.read_var_u32().ok()? & HAS_MEMORY != 0 {
        return None;
    }
    let from = reader.original_position();
    reader.read_var_u64().ok()?;
    Some(from..reader.original_position())
}

/// Instructions whose arity depends on a type end what is known.
struct NoTypes;

impl ModuleArity for NoTypes {
    fn sub_type_at(&self, _: u32) -> Option<&SubType> {
        None
    }
    fn tag_type_arity(&self, _: u32) -> Option<(u32, u32)> {
        None
    }
    fn type_index_of_function(&self, _: u32) -> Option<u32> {
        None
    }
    fn func_type_of_cont_type(&self, _: &ContType) -> Option<&FuncType> {
        None
    }
    fn sub_type_of_ref_type(&self, _: &RefType) -> Option<&SubType> {
        None
    }
    fn control_stack_height(&self) -> u32 {
        0
    }
    fn label_block(&self, _: u32) -> Option<(BlockType, FrameKind)> {
        None
    }
}

#[cfg(test)]
mod tests;
