//! What a module is, read from its bytes alone.
//!
//! Nothing is compiled, validated or run: [`inspect`] is the first look at bytes from a stranger.
//! It ends on every input, in time and memory that the input's length bounds.

use super::migratable::{self, NotMigratable, UnwindArea};
use std::collections::BTreeMap;
use types::ErrorKind;
use wasmparser::{ExternalKind, FunctionBody, Operator, Parser, Payload, TypeRef, ValType};

/// Most bytes of a module: ten times the largest interpreter that is in use as a guest.
pub const MODULE_BYTES_MAX: usize = 256 << 20;
/// Most types, imports, exports, globals or custom sections; programs have hundreds.
const ITEMS_MAX: usize = 100_000;
/// Most functions: what engines agree on.
const FUNCTIONS_MAX: usize = 1_000_000;
/// Most bytes of all names that are kept.
const NAMES_BYTES_MAX: usize = 16 << 20;
/// Atomic instructions start with this byte.
const ATOMIC_PREFIX: u8 = 0xfe;

/// Why bytes are not a module that can be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A component, not a core module.
    #[error(
        "this is a component; CloudSkin runs WASI preview 1 core modules: build with \
         `--target wasm32-wasip1` (Rust), `--target=wasm32-wasi` (clang), or unpack its core \
         module with `wasm-tools component unbundle`"
    )]
    Component,
    /// The magic number is absent.
    #[error("this is not a WebAssembly module: it does not begin with `\\0asm`")]
    NotWasm,
    /// The bytes are damaged or cut off.
    #[error("the module is malformed at byte {offset}")]
    Malformed {
        /// Where reading stopped.
        offset: usize,
        /// What the parser says.
        #[source]
        source: wasmparser::BinaryReaderError,
    },
    /// Larger than any sensible module.
    #[error("the module has {found} {what}: the limit is {limit}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        found: usize,
        /// The limit.
        limit: usize,
    },
}

impl InspectError {
    /// What a caller may do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Component => ErrorKind::Unsupported,
            Self::NotWasm | Self::Malformed { .. } => ErrorKind::Invalid,
            Self::TooMany { .. } => ErrorKind::Exhausted,
        }
    }
}

impl From<wasmparser::BinaryReaderError> for InspectError {
    fn from(source: wasmparser::BinaryReaderError) -> Self {
        Self::Malformed { offset: source.offset(), source }
    }
}

/// What kind of thing is imported or exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExternKind {
    /// A function.
    Function,
    /// A table.
    Table,
    /// A linear memory.
    Memory,
    /// A global.
    Global,
    /// An exception tag.
    Tag,
}

/// Something the module needs from the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The first name: `wasi_snapshot_preview1`.
    pub module: String,
    /// The second name: `fd_read`.
    pub name: String,
    /// What it is.
    pub kind: ExternKind,
}

/// Something the module gives to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ExternKind,
    /// Its index among things of its kind.
    pub index: u32,
}

/// The type of a global.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GlobalType {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 128-bit vector.
    V128,
    /// A reference: it has no meaning outside its instance.
    Reference,
}

/// A global that a running module can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutableGlobal {
    /// Its index.
    pub index: u32,
    /// The name under which the host can read it, if there is one.
    pub export: Option<String>,
    /// What it holds.
    pub ty: GlobalType,
}

/// A linear memory as declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Pages of 64 KiB at the start.
    pub minimum_pages: u64,
    /// Most pages, if limited.
    pub maximum_pages: Option<u64>,
    /// Whether several threads may use it.
    pub shared: bool,
    /// Whether the host must provide it.
    pub imported: bool,
    /// Whether its addresses have 64 bits.
    pub memory64: bool,
}

/// What a module is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Where the call stack goes at a snapshot, or why the module cannot be suspended.
    pub migratable: Result<UnwindArea, NotMigratable>,
    /// What it needs, in order.
    pub imports: Vec<Import>,
    /// What it gives, in order.
    pub exports: Vec<Export>,
    /// The globals that change.
    pub mutable_globals: Vec<MutableGlobal>,
    /// The memories, imported ones first.
    pub memories: Vec<Memory>,
    /// Whether it has shared memory or atomic instructions.
    pub uses_threads: bool,
    /// The names of its custom sections, in order.
    pub custom_sections: Vec<String>,
    /// How many functions it defines.
    pub functions: usize,
}

impl Inspection {
    /// The export of this name.
    pub fn export(&self, name: &str) -> Option<&Export> {
        self.exports.iter().find(|export| export.name == name)
    }

    /// Whether this function is imported.
    pub fn imports_function(&self, module: &str, name: &str) -> bool {
        self.imports.iter().any(|import| {
            import.kind == ExternKind::Function && import.module == module && import.name == name
        })
    }
}

/// Whether the bytes are a component, which [`inspect`] refuses.
pub fn is_component(wasm: &[u8]) -> bool {
    Parser::is_component(wasm)
}

/// Looks at a module.
pub fn inspect(wasm: &[u8]) -> Result<Inspection, InspectError> {
    limit("bytes", wasm.len(), MODULE_BYTES_MAX)?;
    if is_component(wasm) {
        return Err(InspectError::Component);
    }
    if !wasm.starts_with(b"\0asm") {
        return Err(InspectError::NotWasm);
    }
    let mut facts = Facts::default();
    for payload in Parser::new(0).parse_all(wasm) {
        facts.take(wasm, payload?)?;
    }
    Ok(facts.finish())
}

fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), InspectError> {
    if found > limit { Err(InspectError::TooMany { what, found, limit }) } else { Ok(()) }
}

/// The shapes of functions that suspension uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `() -> ()`
    Plain,
    /// `(i32) -> ()`
    TakesI32,
    /// `() -> i32`
    GivesI32,
    /// Any other.
    Other,
}

/// What is gathered while reading; [`migratable::judge`] decides on it.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) imports: Vec<Import>,
    pub(super) exports: Vec<Export>,
    pub(super) mutable_globals: Vec<MutableGlobal>,
    pub(super) memories: Vec<Memory>,
    /// The value of each global that is a constant i32, by index.
    pub(super) constants: Vec<Option<u32>>,
    /// The type index of each function, imported ones first.
    pub(super) functions: Vec<u32>,
    pub(super) shapes: Vec<Shape>,
    /// The function exported as `asyncify_start_unwind`, known before the first body is read.
    start_unwind: Option<u32>,
    /// Globals that it writes.
    pub(super) asyncify_globals: Vec<u32>,
    /// The first instruction that changes state which a snapshot cannot hold, and its function.
    pub(super) hidden_state: Option<(&'static str, u32)>,
    pub(super) start: bool,
    /// Which function that is.
    start_function: Option<u32>,
    /// The data that it copies into memory, as a module on threads does instead of having it there.
    copies: BTreeMap<u32, Vec<Copied>>,
    copied: usize,
    /// The initial bytes at the address of the unwind area's size.
    pub(super) size_word: [u8; 4],
    custom_sections: Vec<String>,
    imported_functions: usize,
    bodies: usize,
    atomics: bool,
    names_bytes: usize,
}

/// Data that is copied into memory at the start.
#[derive(Debug, Clone, Copy)]
struct Copied {
    to: u32,
    from: u32,
    length: u32,
}

impl Facts {
    fn take(&mut self, wasm: &[u8], payload: Payload<'_>) -> Result<(), InspectError> {
        match payload {
            Payload::TypeSection(reader) => self.take_types(reader),
            Payload::ImportSection(reader) => self.take_imports(reader),
            Payload::FunctionSection(reader) => {
                limit("functions", self.functions.len() + reader.count() as usize, FUNCTIONS_MAX)?;
                for ty in reader {
                    self.functions.push(ty?);
                }
                Ok(())
            }
            Payload::MemorySection(reader) => {
                limit("memories", self.memories.len() + reader.count() as usize, ITEMS_MAX)?;
                for memory in reader {
                    self.memories.push(memory_of(memory?, false));
                }
                Ok(())
            }
            Payload::GlobalSection(reader) => {
                limit("globals", self.constants.len() + reader.count() as usize, ITEMS_MAX)?;
                for global in reader {
                    let global = global?;
                    let value = constant_i32(&global.init_expr);
                    self.take_global(global.ty, value);
                }
                Ok(())
            }
            Payload::ExportSection(reader) => self.take_exports(reader),
            Payload::StartSection { func, .. } => {
                self.start = true;
                self.start_function = Some(func);
                Ok(())
            }
            Payload::CodeSectionEntry(body) => self.take_body(wasm, &body),
            Payload::DataSection(reader) => self.take_data(reader),
            Payload::CustomSection(section) => {
                limit("custom sections", self.custom_sections.len() + 1, ITEMS_MAX)?;
                let name = self.keep(section.name())?;
                self.custom_sections.push(name);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Copies a name, within what all names may take together.
    fn keep(&mut self, name: &str) -> Result<String, InspectError> {
        self.names_bytes += name.len();
        limit("bytes of names", self.names_bytes, NAMES_BYTES_MAX)?;
        Ok(name.to_owned())
    }

    fn take_types(
        &mut self,
        reader: wasmparser::TypeSectionReader<'_>,
    ) -> Result<(), InspectError> {
        limit("types", reader.count() as usize, ITEMS_MAX)?;
        for group in reader {
            for ty in group?.into_types() {
                limit("types", self.shapes.len() + 1, ITEMS_MAX)?;
                self.shapes.push(match ty.composite_type.inner {
                    wasmparser::CompositeInnerType::Func(ty) => shape(ty.params(), ty.results()),
                    _ => Shape::Other,
                });
            }
        }
        Ok(())
    }

    fn take_imports(
        &mut self,
        reader: wasmparser::ImportSectionReader<'_>,
    ) -> Result<(), InspectError> {
        limit("imports", reader.count() as usize, ITEMS_MAX)?;
        for import in reader.into_imports() {
            let import = import?;
            limit("imports", self.imports.len() + 1, ITEMS_MAX)?;
            let kind = match import.ty {
                TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                    self.functions.push(ty);
                    self.imported_functions += 1;
                    ExternKind::Function
                }
                TypeRef::Table(_) => ExternKind::Table,
                TypeRef::Memory(ty) => {
                    self.memories.push(memory_of(ty, true));
                    ExternKind::Memory
                }
                TypeRef::Global(ty) => {
                    self.take_global(ty, None);
                    ExternKind::Global
                }
                TypeRef::Tag(_) => ExternKind::Tag,
            };
            let (module, name) = (self.keep(import.module)?, self.keep(import.name)?);
            self.imports.push(Import { module, name, kind });
        }
        Ok(())
    }

    fn take_global(&mut self, ty: wasmparser::GlobalType, value: Option<u32>) {
        if ty.mutable {
            let index = u32::try_from(self.constants.len()).unwrap_or(u32::MAX);
            let ty = global_type(ty.content_type);
            self.mutable_globals.push(MutableGlobal { index, export: None, ty });
        }
        self.constants.push(value.filter(|_| !ty.mutable));
    }

    fn take_exports(
        &mut self,
        reader: wasmparser::ExportSectionReader<'_>,
    ) -> Result<(), InspectError> {
        limit("exports", self.exports.len() + reader.count() as usize, ITEMS_MAX)?;
        for export in reader {
            let export = export?;
            let kind = match export.kind {
                ExternalKind::Func | ExternalKind::FuncExact => ExternKind::Function,
                ExternalKind::Table => ExternKind::Table,
                ExternalKind::Memory => ExternKind::Memory,
                ExternalKind::Global => ExternKind::Global,
                ExternalKind::Tag => ExternKind::Tag,
            };
            let name = self.keep(export.name)?;
            if kind == ExternKind::Global
                && let Ok(at) =
                    self.mutable_globals.binary_search_by_key(&export.index, |global| global.index)
            {
                self.mutable_globals[at].export = Some(self.keep(export.name)?);
            }
            self.exports.push(Export { name, kind, index: export.index });
        }
        self.start_unwind = self.export_index(migratable::START_UNWIND, ExternKind::Function);
        Ok(())
    }

    fn take_body(&mut self, wasm: &[u8], body: &FunctionBody<'_>) -> Result<(), InspectError> {
        let function = self.imported_functions + self.bodies;
        self.bodies += 1;
        let function = u32::try_from(function).unwrap_or(u32::MAX);
        let starts_unwind = self.start_unwind == Some(function);
        let mut operators = body.get_operators_reader()?;
        let mut constants = [0; 3];
        while !operators.eof() {
            self.atomics |= wasm.get(operators.original_position()) == Some(&ATOMIC_PREFIX);
            let operator = operators.read()?;
            if let Operator::GlobalSet { global_index } = operator
                && starts_unwind
                && self.asyncify_globals.len() < migratable::ASYNCIFY_GLOBALS
            {
                self.asyncify_globals.push(global_index);
            }
            let starts = self.start_function == Some(function);
            if starts {
                self.take_start(&operator, &mut constants)?;
            }
            // What a start function drops is dropped in every instance.
            let at_start = starts && matches!(operator, Operator::DataDrop { .. });
            if let Some(instruction) = hidden_state(&operator).filter(|_| !at_start) {
                self.hidden_state.get_or_insert((instruction, function));
            }
        }
        Ok(())
    }

    /// Notes what the start function copies; the last constants are its operands.
    fn take_start(
        &mut self,
        operator: &Operator<'_>,
        constants: &mut [u32; 3],
    ) -> Result<(), InspectError> {
        match operator {
            Operator::I32Const { value } => {
                constants.rotate_left(1);
                constants[2] = value.cast_unsigned();
            }
            Operator::MemoryInit { data_index, mem: 0 } => {
                self.copied += 1;
                limit("copies of data", self.copied, ITEMS_MAX)?;
                let [to, from, length] = *constants;
                self.copies.entry(*data_index).or_default().push(Copied { to, from, length });
            }
            _ => {}
        }
        Ok(())
    }

    /// The index of an export of this name and kind.
    pub(super) fn export_index(&self, name: &str, kind: ExternKind) -> Option<u32> {
        let export = self.exports.iter().find(|export| export.name == name)?;
        (export.kind == kind).then_some(export.index)
    }

    /// The address in an exported constant, which is how the linker exports data.
    pub(super) fn address(&self, name: &str) -> Option<u32> {
        let index = self.export_index(name, ExternKind::Global)?;
        *self.constants.get(usize::try_from(index).ok()?)?
    }

    /// Reads the unwind area's size out of the initial memory; absent bytes are zero.
    fn take_data(&mut self, reader: wasmparser::DataSectionReader<'_>) -> Result<(), InspectError> {
        let Some(word) = self.address(migratable::AREA_SIZE) else { return Ok(()) };
        for (index, segment) in (0..).zip(reader) {
            let segment = segment?;
            match &segment.kind {
                wasmparser::DataKind::Active { memory_index: 0, offset_expr } => {
                    if let Some(start) = constant_i32(offset_expr) {
                        overlay(&mut self.size_word, word, segment.data, start);
                    }
                }
                wasmparser::DataKind::Active { .. } => {}
                wasmparser::DataKind::Passive => self.overlay_copies(word, index, segment.data),
            }
        }
        Ok(())
    }

    /// The same of a segment that the start function copies.
    fn overlay_copies(&mut self, word: u32, segment: u32, data: &[u8]) {
        for copied in self.copies.get(&segment).into_iter().flatten() {
            let from = copied.from as usize;
            let data = data.get(from..from.saturating_add(copied.length as usize));
            overlay(&mut self.size_word, word, data.unwrap_or_default(), copied.to);
        }
    }

    fn finish(self) -> Inspection {
        let migratable = migratable::judge(&self);
        Inspection {
            migratable,
            uses_threads: self.atomics || self.memories.iter().any(|memory| memory.shared),
            functions: self.functions.len() - self.imported_functions,
            imports: self.imports,
            exports: self.exports,
            mutable_globals: self.mutable_globals,
            memories: self.memories,
            custom_sections: self.custom_sections,
        }
    }
}

/// Copies into `word`, which lies at `address`, what of `data`, which starts at `start`, covers it.
fn overlay(word: &mut [u8; 4], address: u32, data: &[u8], start: u32) {
    for (place, byte) in word.iter_mut().enumerate() {
        let position = (u64::from(address) + place as u64).checked_sub(u64::from(start));
        let covered = position.and_then(|at| data.get(usize::try_from(at).ok()?));
        if let Some(found) = covered {
            *byte = *found;
        }
    }
}

fn shape(params: &[ValType], results: &[ValType]) -> Shape {
    match (params, results) {
        ([], []) => Shape::Plain,
        ([ValType::I32], []) => Shape::TakesI32,
        ([], [ValType::I32]) => Shape::GivesI32,
        _ => Shape::Other,
    }
}

fn global_type(ty: ValType) -> GlobalType {
    match ty {
        ValType::I32 => GlobalType::I32,
        ValType::I64 => GlobalType::I64,
        ValType::F32 => GlobalType::F32,
        ValType::F64 => GlobalType::F64,
        ValType::V128 => GlobalType::V128,
        ValType::Ref(_) => GlobalType::Reference,
    }
}

fn memory_of(ty: wasmparser::MemoryType, imported: bool) -> Memory {
    Memory {
        minimum_pages: ty.initial,
        maximum_pages: ty.maximum,
        shared: ty.shared,
        imported,
        memory64: ty.memory64,
    }
}

/// The value of `i32.const N; end`.
fn constant_i32(expression: &wasmparser::ConstExpr<'_>) -> Option<u32> {
    let mut operators = expression.get_operators_reader();
    let (Ok(Operator::I32Const { value }), Ok(Operator::End)) =
        (operators.read(), operators.read())
    else {
        return None;
    };
    Some(value.cast_unsigned())
}

/// The name of an instruction whose effect lies outside memory and globals.
fn hidden_state(operator: &Operator<'_>) -> Option<&'static str> {
    Some(match operator {
        Operator::TableSet { .. } => "table.set",
        Operator::TableGrow { .. } => "table.grow",
        Operator::TableFill { .. } => "table.fill",
        Operator::TableCopy { .. } => "table.copy",
        Operator::TableInit { .. } => "table.init",
        Operator::ElemDrop { .. } => "elem.drop",
        Operator::DataDrop { .. } => "data.drop",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
