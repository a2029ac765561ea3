//! Compilers as files, for build systems that are told a path.

use super::{Environment, Error, error::file, resources::write_atomically};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The compilers' names and how the binary is called for each.
const COMPILERS: [(&str, &str); 5] = [
    ("cloudskin-cc", "cc --"),
    ("cloudskin-c++", "cc --cxx --"),
    ("cloudskin-mpicc", "cc --mpi --"),
    ("cloudskin-mpicxx", "cc --mpi --cxx --"),
    ("cloudskin-mpirun", "mpirun"),
];

/// The file to give to CMake, beside the compilers.
const TOOLCHAIN_FILE: &str = "cloudskin.cmake";
/// What CMake has to know of the system, in the folder that its module path names.
const PLATFORM_FILE: &str = "cmake/Platform/WASI.cmake";

/// Writes compilers that call `binary`, and a CMake toolchain file, to a folder; gives their
/// paths.
///
/// # Errors
/// [`Error::File`] if one cannot be written.
pub fn write_wrappers(
    folder: &Path,
    binary: &Path,
    environment: &Environment,
) -> Result<Vec<PathBuf>, Error> {
    fs::create_dir_all(folder).map_err(file("create", folder))?;
    let folder = &folder.canonicalize().map_err(file("read", folder))?;
    let mut written = Vec::new();
    for (name, command) in COMPILERS {
        let path = folder.join(name);
        let text = format!("#!/bin/sh\nexec {} {command} \"$@\"\n", quoted(binary));
        write_atomically(&path, text.as_bytes())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .map_err(file("write", &path))?;
        written.push(path);
    }
    for (name, text) in [
        (TOOLCHAIN_FILE, toolchain_file(folder, binary, environment)),
        (PLATFORM_FILE, PLATFORM.to_owned()),
    ] {
        write_atomically(&folder.join(name), text.as_bytes())?;
    }
    written.push(folder.join(TOOLCHAIN_FILE));
    Ok(written)
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// Programs are modules; nothing is loaded.
const PLATFORM: &str = "\
set(WASI 1)
set(UNIX 1)
set(CMAKE_EXECUTABLE_SUFFIX .wasm)
set(CMAKE_STATIC_LIBRARY_PREFIX lib)
set(CMAKE_STATIC_LIBRARY_SUFFIX .a)
set_property(GLOBAL PROPERTY TARGET_SUPPORTS_SHARED_LIBS FALSE)
";

fn toolchain_file(folder: &Path, binary: &Path, environment: &Environment) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    format!(
        "\
# Give this to CMake: cmake -DCMAKE_TOOLCHAIN_FILE={file} …
list(APPEND CMAKE_MODULE_PATH \"{modules}\")
set(CMAKE_SYSTEM_NAME WASI)
set(CMAKE_SYSTEM_VERSION 1)
set(CMAKE_SYSTEM_PROCESSOR wasm32)
set(CMAKE_C_COMPILER \"{cc}\")
set(CMAKE_CXX_COMPILER \"{cxx}\")
set(MPI_C_COMPILER \"{mpicc}\" CACHE FILEPATH \"\")
set(MPI_CXX_COMPILER \"{mpicxx}\" CACHE FILEPATH \"\")
set(MPI_CXX_SKIP_MPICXX TRUE CACHE BOOL \"\")
set(MPIEXEC_EXECUTABLE \"{mpirun}\" CACHE FILEPATH \"\")
# Tests and try_run() run what was built.
set(CMAKE_CROSSCOMPILING_EMULATOR \"{binary};run;--dir;.\")
list(APPEND CMAKE_FIND_ROOT_PATH \"{prefix}/wasm32-wasi\" \"{ours}\")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
",
        file = at(TOOLCHAIN_FILE),
        modules = at("cmake"),
        cc = at("cloudskin-cc"),
        cxx = at("cloudskin-c++"),
        mpicc = at("cloudskin-mpicc"),
        mpicxx = at("cloudskin-mpicxx"),
        mpirun = at("cloudskin-mpirun"),
        binary = binary.display(),
        ours = environment.cache_dir.join("toolchain").display(),
        prefix = environment.prefix.join("lib").display(),
    )
}
