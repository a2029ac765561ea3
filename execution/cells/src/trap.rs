//! What a trap means to somebody who wrote C.

use wasmtime::{Trap, WasmBacktrace};

/// The guest's functions, innermost first.
pub(crate) fn frames(error: &wasmtime::Error) -> Vec<String> {
    /// More are not read by anybody.
    const FRAMES_MAX: usize = 16;
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    backtrace
        .frames()
        .iter()
        .take(FRAMES_MAX)
        .map(|frame| match frame.func_name() {
            Some(name) => demangled(name),
            None => format!("function {}", frame.func_index()),
        })
        .collect()
}

/// A C++ or Rust name as it was written.
fn demangled(name: &str) -> String {
    match cpp_demangle::Symbol::new(name) {
        Ok(symbol) => symbol.demangle().unwrap_or_else(|_| name.to_owned()),
        Err(_) => format!("{:#}", rustc_demangle::demangle(name)),
    }
}

/// The trap in words.
pub(crate) fn describe(trap: Trap) -> String {
    match trap {
        Trap::StackOverflow => "the call stack is exhausted (endless recursion?)".into(),
        Trap::MemoryOutOfBounds => {
            "it accessed memory outside its own (a bad pointer, or a stack overflow)".into()
        }
        Trap::UnreachableCodeReached => {
            "it aborted (`abort`, a failed `assert`, or undefined behaviour)".into()
        }
        Trap::IntegerDivisionByZero => "it divided an integer by zero".into(),
        Trap::IndirectCallToNull | Trap::TableOutOfBounds => {
            "it called a function pointer that points nowhere".into()
        }
        Trap::BadSignature => "it called a function pointer with another type".into(),
        other => other.to_string(),
    }
}
