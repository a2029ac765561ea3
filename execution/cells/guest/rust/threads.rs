//! What the host calls for a thread of a Rust program, linked into each one built with `--openmp`.
//! It does for Rust what the end of `guest/rt/threads.c` does for C; the C library that Rust brings
//! for this target bears threads by itself.
#![no_std]

unsafe extern "C" {
    fn malloc(bytes: usize) -> *mut u8;
    fn free(old: *mut u8);
    fn __wasm_init_tls(variables: *mut u8);
    fn __wasi_init_tp();
}

/// Functions by their places in the table, for an exported function of a command runs all
/// constructors before and all destructors after.
#[repr(C)]
pub struct Functions {
    malloc: unsafe extern "C" fn(usize) -> *mut u8,
    free: unsafe extern "C" fn(*mut u8),
    begin: unsafe extern "C" fn(*mut u8),
}

/// Under the name that the host looks for.
#[allow(non_upper_case_globals)]
#[unsafe(no_mangle)]
pub static cloudskin_threads: Functions = Functions { malloc, free, begin };

/// Makes this the memory of the thread's own variables, and the C library's record of the thread
/// one that it can walk: without that, the first destructor of a thread's variables that is
/// announced on this thread never returns.
unsafe extern "C" fn begin(variables: *mut u8) {
    // SAFETY: the host gives memory of the size and alignment that the program asks for, once.
    unsafe {
        __wasm_init_tls(variables);
        __wasi_init_tp();
    }
}
