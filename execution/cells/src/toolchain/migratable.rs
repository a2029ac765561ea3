//! Whether a suspended instance can be written down completely.
//!
//! A snapshot holds linear memory and exported globals. So a module is migratable only if nothing
//! that changes while it runs lies anywhere else, and if Asyncify put its call stack into memory.

use super::inspect::{ExternKind, Facts, GlobalType, Import, Shape};
use crate::parallel;

/// The exports by which the host suspends and resumes, with their shapes.
const ASYNCIFY: [(&str, Shape); 5] = [
    (START_UNWIND, Shape::TakesI32),
    ("asyncify_stop_unwind", Shape::Plain),
    ("asyncify_start_rewind", Shape::TakesI32),
    ("asyncify_stop_rewind", Shape::Plain),
    ("asyncify_get_state", Shape::GivesI32),
];
pub(super) const START_UNWIND: &str = "asyncify_start_unwind";
/// Asyncify keeps its state and the address of the area in two globals that it does not export;
/// the host sets them again through the functions above.
pub(super) const ASYNCIFY_GLOBALS: usize = 2;
/// The exported address of the unwind area.
pub(super) const AREA: &str = "cloudskin_unwind_area";
/// The exported address of its size.
pub(super) const AREA_SIZE: &str = "cloudskin_unwind_area_size";
const MEMORY: &str = "memory";
const PAGE_BYTES: u64 = 65536;
/// The area begins with two words for Asyncify: where it writes, and where the area ends.
const AREA_BYTES_MIN: u32 = 16;
const AREA_ALIGNMENT: u32 = 8;

/// The part of linear memory that takes the call stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnwindArea {
    /// Its first byte.
    pub address: u32,
    /// Its length; all of it lies in the module's initial memory.
    pub size_bytes: u32,
}

/// Why a module cannot be suspended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotMigratable {
    /// Asyncify has not been applied.
    #[error(
        "the module is not instrumented (it does not export `{0}`): build it with \
         `cloudskin build --migratable`"
    )]
    NotInstrumented(&'static str),
    /// An export is there with another type.
    #[error("the export `{0}` is not what Asyncify makes")]
    WrongExport(&'static str),
    /// No buffer for the call stack.
    #[error(
        "the module has no unwind area (it does not export `{0}`): build it from its sources with \
         `cloudskin build --migratable`"
    )]
    NoUnwindArea(&'static str),
    /// The buffer is not where a buffer can be.
    #[error(
        "the unwind area of {size_bytes} bytes at address {address} is too small, unaligned or \
         outside the module's initial memory"
    )]
    BadUnwindArea {
        /// Its address.
        address: u32,
        /// Its length.
        size_bytes: u32,
    },
    /// A changing global cannot be read from outside.
    #[error(
        "global {index} can change and is not exported: link with `--export=NAME`, or build from \
         source with `cloudskin build --migratable`"
    )]
    HiddenGlobal {
        /// Which one.
        index: u32,
    },
    /// A global holds a reference.
    #[error("global {index} holds a reference, which has no meaning in another instance")]
    ReferenceGlobal {
        /// Which one.
        index: u32,
    },
    /// A global belongs to the host.
    #[error("the module imports a global, table or memory (`{module}.{name}`)")]
    ImportedState {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
    },
    /// An instruction changes what a snapshot does not hold.
    #[error("function {function} uses `{instruction}`, whose effect a snapshot cannot hold")]
    HiddenState {
        /// The instruction.
        instruction: &'static str,
        /// The function's index.
        function: u32,
    },
    /// Code would run again at each restore.
    #[error("the module has a start function, which would run again at each restore")]
    Start,
    /// Not exactly one plain memory of its own, exported as `memory`.
    #[error("the module must have exactly one memory, exported as `memory`: it has {0}")]
    Memories(usize),
    /// Threads that are not OpenMP's.
    #[error(
        "the module's memory is shared between threads and not imported as `env.memory`: build it \
         with `cloudskin build --openmp --migratable`"
    )]
    SharedMemory,
    /// 64-bit addresses.
    #[error("the module's memory has 64-bit addresses, which is not migratable")]
    Memory64,
}

/// Decides on what was read of a module.
pub(super) fn judge(facts: &Facts) -> Result<UnwindArea, NotMigratable> {
    check_asyncify(facts)?;
    check_imports(facts)?;
    let memory_bytes = check_memory(facts)?;
    check_globals(facts)?;
    // A program on threads fills its memory in one, unless that is full already.
    if facts.start && !is_threaded(facts) {
        return Err(NotMigratable::Start);
    }
    if let Some((instruction, function)) = facts.hidden_state {
        return Err(NotMigratable::HiddenState { instruction, function });
    }
    unwind_area(facts, memory_bytes)
}

fn check_asyncify(facts: &Facts) -> Result<(), NotMigratable> {
    for (name, shape) in ASYNCIFY {
        let Some(index) = facts.export_index(name, ExternKind::Function) else {
            return Err(NotMigratable::NotInstrumented(name));
        };
        let ty = facts.functions.get(index as usize);
        if ty.and_then(|ty| facts.shapes.get(*ty as usize)) != Some(&shape) {
            return Err(NotMigratable::WrongExport(name));
        }
    }
    Ok(())
}

/// Whether its one memory is that which threads share, as the host gives it to them.
fn is_threaded(facts: &Facts) -> bool {
    matches!(facts.memories.as_slice(), [memory] if memory.shared && memory.imported)
}

fn check_imports(facts: &Facts) -> Result<(), NotMigratable> {
    let given = |import: &&Import| match import.kind {
        ExternKind::Function => false,
        ExternKind::Memory if is_threaded(facts) => {
            (import.module.as_str(), import.name.as_str()) != parallel::MEMORY
        }
        _ => true,
    };
    match facts.imports.iter().find(given) {
        Some(import) => Err(NotMigratable::ImportedState {
            module: import.module.clone(),
            name: import.name.clone(),
        }),
        None => Ok(()),
    }
}

/// Gives the initial length of the one memory.
fn check_memory(facts: &Facts) -> Result<u64, NotMigratable> {
    let [memory] = facts.memories.as_slice() else {
        return Err(NotMigratable::Memories(facts.memories.len()));
    };
    if memory.shared && !is_threaded(facts) {
        return Err(NotMigratable::SharedMemory);
    }
    if !memory.shared && facts.export_index(MEMORY, ExternKind::Memory) != Some(0) {
        return Err(NotMigratable::Memories(0));
    }
    if memory.memory64 {
        return Err(NotMigratable::Memory64);
    }
    Ok(memory.minimum_pages.saturating_mul(PAGE_BYTES))
}

fn check_globals(facts: &Facts) -> Result<(), NotMigratable> {
    for global in &facts.mutable_globals {
        let index = global.index;
        if global.ty == GlobalType::Reference {
            return Err(NotMigratable::ReferenceGlobal { index });
        }
        let asyncify = global.ty == GlobalType::I32 && facts.asyncify_globals.contains(&index);
        if global.export.is_none() && !asyncify {
            return Err(NotMigratable::HiddenGlobal { index });
        }
    }
    Ok(())
}

fn unwind_area(facts: &Facts, memory_bytes: u64) -> Result<UnwindArea, NotMigratable> {
    let address = facts.address(AREA).ok_or(NotMigratable::NoUnwindArea(AREA))?;
    let word = facts.address(AREA_SIZE).ok_or(NotMigratable::NoUnwindArea(AREA_SIZE))?;
    let size_bytes = u32::from_le_bytes(facts.size_word);
    let end = u64::from(address) + u64::from(size_bytes);
    let good = size_bytes >= AREA_BYTES_MIN
        && address.is_multiple_of(AREA_ALIGNMENT)
        && address != 0
        && end <= memory_bytes
        && u64::from(word) + 4 <= memory_bytes;
    if !good {
        return Err(NotMigratable::BadUnwindArea { address, size_bytes });
    }
    Ok(UnwindArea { address, size_bytes })
}
