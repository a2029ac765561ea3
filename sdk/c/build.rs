//! Gives the shared library the name that programs look for.

fn main() {
    // The number changes when a program that was linked before would no longer run.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libgeds.so.0");
    println!("cargo::rerun-if-changed=build.rs");
}
