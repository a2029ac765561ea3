//! From what is asked to command lines: pure, so that every choice can be tested without a compiler.

use super::Error;
use super::flags::{Flags, absolute};
use super::tools::Clang;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A guest's stack. It lies below all data, so that an overflow traps instead of overwriting.
const STACK_BYTES: u32 = 1 << 20;
/// The linker writes its output's name into the module: one name for all keeps builds equal.
const LINKED_NAME: &str = "cell.wasm";

/// Speed first. The instructions are part of every current engine, and mathematical functions of
/// this C library leave `errno` alone.
const OPTIMISATION: [&str; 10] = [
    "-O3",
    "-msimd128",
    "-mmutable-globals",
    "-msign-ext",
    "-mnontrapping-fptoint",
    "-fno-math-errno",
    "-mllvm",
    INTERLEAVED,
    "-mllvm",
    REGISTERS,
];
/// Compilers count on WebAssembly's engines to unroll loops of vectors; ours does not.
pub(super) const INTERLEAVED: &str = "-force-target-max-vector-interleave=4";
/// How many vectors a loop may hold at once decides how far it is unrolled.
pub(super) const REGISTERS: &str = "-force-target-num-vector-regs=32";
/// Try and catch compile, nothing unwinds: see `guest/rt/exceptions.cpp`.
const EXCEPTIONS: [&str; 2] = ["-fexceptions", "-fignore-exceptions"];
/// What the C library emulates on request only, so that unmodified programs build.
const EMULATED: [(&str, &str); 4] = [
    ("-D_WASI_EMULATED_SIGNAL", "-lwasi-emulated-signal"),
    ("-D_WASI_EMULATED_PROCESS_CLOCKS", "-lwasi-emulated-process-clocks"),
    ("-D_WASI_EMULATED_MMAN", "-lwasi-emulated-mman"),
    ("-D_WASI_EMULATED_GETPID", "-lwasi-emulated-getpid"),
];
/// Where a migratable program may be suspended, besides MPI's functions that may wait.
const BARRIERS: &str =
    "wasi_snapshot_preview1.fd_read,wasi_snapshot_preview1.poll_oneoff,cloudskin.checkpoint";
/// Where a program on threads may be suspended besides: its first thread, where a region begins.
const REGIONS: [&str; 3] = ["__kmpc_fork_call", "__kmpc_fork_teams", "__kmpc_serialized_parallel"];
/// Passes that clean up what instrumentation leaves in the functions that may suspend. Not `-O2`: the
/// compiler has optimised the code already, and what Binaryen makes of its branches runs up to a
/// tenth slower under Cranelift, also where nothing was instrumented.
const TIDY: [&str; 10] = [
    "--dce",
    "--remove-unused-names",
    "--remove-unused-brs",
    "--simplify-locals",
    "--rse",
    "--coalesce-locals",
    "--reorder-locals",
    "--merge-blocks",
    "--vacuum",
    "--remove-unused-module-elements",
];

/// What compilers use and every engine of ours accepts.
const FEATURES: [&str; 7] = [
    "--enable-simd",
    "--enable-mutable-globals",
    "--enable-sign-ext",
    "--enable-bulk-memory",
    "--enable-nontrapping-float-to-int",
    "--enable-multivalue",
    "--enable-reference-types",
];
/// The parts that the host reads at a snapshot; plain programs export them too, so that a module
/// can be instrumented later.
pub(super) const EXPORTS: [&str; 3] =
    ["__stack_pointer", "cloudskin_unwind_area", "cloudskin_unwind_area_size"];

/// One program of the toolchain to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    /// Variables set for it alone.
    pub(super) env: Vec<(OsString, OsString)>,
    /// What it works on, for messages.
    pub(super) what: String,
}

/// A file of a C or C++ program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    C(PathBuf),
    Cxx(PathBuf),
    Object(PathBuf),
}

/// What the inputs are together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    Native(Vec<Part>),
    RustFile(PathBuf),
    CargoPackage(PathBuf),
    Module(PathBuf),
}

/// Where a build's files are.
#[derive(Debug, Clone)]
pub(super) struct Places<'a> {
    pub(super) current_dir: &'a Path,
    /// Our own headers and sources.
    pub(super) resources: &'a Path,
    /// Intermediate files.
    pub(super) work: &'a Path,
}

impl Program {
    /// Says what the inputs are by their names; a folder is a Cargo package.
    pub(super) fn classify(inputs: &[PathBuf], current_dir: &Path) -> Result<Self, Error> {
        let mut parts = Vec::new();
        for path in inputs {
            match single(path, current_dir) {
                Some(program) if inputs.len() == 1 => return Ok(program),
                Some(_) => return Err(Error::Mixed { path: path.clone() }),
                None => parts.push(part(path)?),
            }
        }
        if parts.is_empty() { Err(Error::NoInput) } else { Ok(Self::Native(parts)) }
    }
}

/// Whether it is linked as C++: objects do not say so, a library of C++ does.
pub(super) fn needs_cxx(parts: &[Part], flags: &Flags) -> bool {
    parts.iter().any(|part| matches!(part, Part::Cxx(_)))
        || flags.link.iter().any(|flag| flag == "-lc++")
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// What stands alone.
fn single(path: &Path, current_dir: &Path) -> Option<Program> {
    match extension(path) {
        "rs" => Some(Program::RustFile(path.to_owned())),
        "wasm" => Some(Program::Module(path.to_owned())),
        "toml" if path.ends_with("Cargo.toml") => {
            Some(Program::CargoPackage(path.parent().unwrap_or(Path::new("")).to_owned()))
        }
        _ if current_dir.join(path).is_dir() => Some(Program::CargoPackage(path.to_owned())),
        _ => None,
    }
}

fn part(path: &Path) -> Result<Part, Error> {
    match extension(path) {
        "c" => Ok(Part::C(path.to_owned())),
        "cc" | "cpp" | "cxx" | "c++" | "C" => Ok(Part::Cxx(path.to_owned())),
        "o" | "a" => Ok(Part::Object(path.to_owned())),
        _ => Err(Error::UnknownInput { path: path.to_owned() }),
    }
}

/// The steps that make a module of C and C++ files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NativePlan {
    /// In any order.
    pub(super) compile: Vec<Step>,
    /// After all of those.
    pub(super) link: Step,
    /// What the link writes.
    pub(super) output: PathBuf,
}

/// Plans the build of C and C++ files.
pub(super) fn native(
    parts: &[Part],
    flags: &Flags,
    unwind_area_bytes: u32,
    clang: &Clang,
    places: &Places<'_>,
) -> NativePlan {
    let maps = prefix_maps(parts, flags, places);
    let mut compile = Vec::new();
    let mut objects = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let object = places.work.join(format!("{index}.o"));
        let (source, is_cxx) = match part {
            Part::C(source) => (source, false),
            Part::Cxx(source) => (source, true),
            Part::Object(path) => {
                objects.push(absolute(path, places.current_dir));
                continue;
            }
        };
        let mut command = Command::compiler(clang, places, is_cxx);
        command.args(OPTIMISATION).args(EMULATED.map(|(define, _)| define));
        if is_cxx {
            command.args(EXCEPTIONS);
        }
        command.args(&flags.compile).args(&maps).arg("-fdebug-compilation-dir=.");
        command.compile(&absolute(source, places.current_dir), &object);
        compile.push(command.step(format!("`{}`", source.display())));
        objects.push(object);
    }
    let is_cxx = needs_cxx(parts, flags);
    let (steps, runtime) = runtime(is_cxx, unwind_area_bytes, flags, clang, places);
    compile.extend(steps);
    let output = places.work.join(LINKED_NAME);
    let link = link(&objects, &runtime, flags, clang, &output);
    NativePlan { compile, link, output }
}

/// The objects of our own that a program is linked with.
#[derive(Debug, Default)]
pub(super) struct Runtime {
    /// Always.
    pub(super) objects: Vec<PathBuf>,
    /// Taken like an archive's members: what a program has itself is its own.
    pub(super) members: Vec<PathBuf>,
    /// It is C++, and may throw.
    pub(super) cxx: bool,
}

/// The steps for our own runtime, and its objects.
fn runtime(
    cxx: bool,
    unwind_area_bytes: u32,
    flags: &Flags,
    clang: &Clang,
    places: &Places<'_>,
) -> (Vec<Step>, Runtime) {
    let mut runtime = Runtime { cxx, ..Runtime::default() };
    let mut steps = Vec::new();
    let mut needs = |(step, object), to: &mut Vec<PathBuf>| {
        steps.push(step);
        to.push(object);
    };
    needs(unwind_area(unwind_area_bytes, clang, places), &mut runtime.objects);
    if flags.threads {
        needs(threads(clang, places), &mut runtime.objects);
    }
    needs(memory(clang, places), &mut runtime.members);
    if cxx {
        needs(exceptions(clang, places), &mut runtime.members);
    }
    (steps, runtime)
}

/// The step that compiles copies and fills, and its object.
pub(super) fn memory(clang: &Clang, places: &Places<'_>) -> (Step, PathBuf) {
    let object = places.work.join("memory.o");
    let mut command = Command::compiler(clang, places, false);
    // A loop that copies must not become a call of the function it is in. The object fits programs
    // of one thread and of many.
    command.args(["-O3", "-msimd128", "-mbulk-memory", "-matomics", "-fno-builtin"]);
    command.compile(&places.resources.join("rt/memory.c"), &object);
    (command.step("the runtime's `memory.c`".to_owned()), object)
}

/// The step that compiles what ends a cell at a throw, and its object.
fn exceptions(clang: &Clang, places: &Places<'_>) -> (Step, PathBuf) {
    let object = places.work.join("exceptions.o");
    let mut command = Command::compiler(clang, places, true);
    command.args(["-std=c++17", "-O2", "-fno-exceptions"]);
    command.compile(&places.resources.join("rt/exceptions.cpp"), &object);
    (command.step("the runtime's `exceptions.cpp`".to_owned()), object)
}

/// The step that compiles what makes the C library bear threads, and its object.
fn threads(clang: &Clang, places: &Places<'_>) -> (Step, PathBuf) {
    let object = places.work.join("threads.o");
    let mut command = Command::compiler(clang, places, false);
    command.args(["-O2", "-matomics", "-mbulk-memory"]);
    command.compile(&places.resources.join("rt/threads.c"), &object);
    (command.step("the runtime's `threads.c`".to_owned()), object)
}

/// The step that compiles the unwind area, and its object; Rust programs link it too.
pub(super) fn unwind_area(bytes: u32, clang: &Clang, places: &Places<'_>) -> (Step, PathBuf) {
    let area = places.work.join("unwind_area.o");
    let mut command = Command::compiler(clang, places, false);
    command.arg("-O2").arg(format!("-DCLOUDSKIN_UNWIND_AREA_BYTES={bytes}u"));
    command.compile(&places.resources.join("rt/unwind_area.c"), &area);
    (command.step("the runtime's `unwind_area.c`".to_owned()), area)
}

fn link(
    objects: &[PathBuf],
    runtime: &Runtime,
    flags: &Flags,
    clang: &Clang,
    output: &Path,
) -> Step {
    let driver = clang.cxx.as_ref().filter(|_| runtime.cxx).unwrap_or(&clang.c);
    let mut command = Command::new(driver);
    command.arg("--target=wasm32-wasi");
    command.arg(format!("-fuse-ld={}", clang.linker.display()));
    // No -O here: with it the driver runs whatever wasm-opt it finds.
    command.args(objects).args(link_args(runtime, flags));
    command.arg("-o").arg(output);
    command.step("the program".to_owned())
}

/// What a link is given beside the program's own objects: our runtime's, and how a cell is laid
/// out.
pub(super) fn link_args(runtime: &Runtime, flags: &Flags) -> Vec<OsString> {
    let mut args: Vec<OsString> = runtime.objects.iter().map(Into::into).collect();
    args.push("-Wl,--start-lib".into());
    args.extend(runtime.members.iter().map(Into::into));
    args.push("-Wl,--end-lib".into());
    if runtime.cxx {
        args.push("-Wl,--wrap=_ZSt9terminatev".into());
    }
    args.extend(linker_args().map(|arg| format!("-Wl,{arg}").into()));
    if !flags.debug {
        // The C library brings its own debug information, larger than most programs.
        args.push("-Wl,--strip-debug".into());
    }
    args.extend(flags.link.iter().map(Into::into));
    args.extend(EMULATED.map(|(_, library)| library.into()));
    args
}

/// The compiler and its first arguments, for whatever a build system asks it to do.
pub(super) fn driver(cxx: bool, clang: &Clang, places: &Places<'_>) -> (PathBuf, Vec<OsString>) {
    let mut command = Command::compiler(clang, places, cxx);
    command.args(OPTIMISATION).args(EMULATED.map(|(define, _)| define));
    if cxx {
        command.args(EXCEPTIONS);
    }
    // What is for compiling alone is given to links too.
    command.arg("-Wno-unused-command-line-argument");
    (command.program, command.args)
}

/// The step that compiles a piece of our runtime, and its object.
pub(super) fn runtime_object(name: &str, clang: &Clang, places: &Places<'_>) -> (Step, PathBuf) {
    match name {
        "threads" => threads(clang, places),
        "exceptions" => exceptions(clang, places),
        "memory" => memory(clang, places),
        _ => unwind_area(super::UNWIND_AREA_BYTES_DEFAULT, clang, places),
    }
}

/// What the linker is told for every language.
pub(super) fn linker_args() -> impl Iterator<Item = String> {
    let stack = ["-z".to_owned(), format!("stack-size={STACK_BYTES}"), "--stack-first".to_owned()];
    stack.into_iter().chain(EXPORTS.map(|name| format!("--export={name}")))
}

/// Instruments a module so that its call stack can be written into its memory.
pub(super) fn instrument(wasm_opt: &Path, input: &Path, output: &Path, threads: bool) -> Step {
    let mut command = Command::new(wasm_opt);
    command.arg(input).args(FEATURES);
    let mut barriers = BARRIERS.to_owned();
    if threads {
        command.arg("--enable-threads");
        REGIONS.iter().for_each(|function| barriers.push_str(&format!(",env.{function}")));
    }
    for function in mpi::BLOCKING {
        barriers.push_str(&format!(",{}.{function}", crate::ranks::MODULE));
    }
    command.arg("--asyncify").arg(format!("--pass-arg=asyncify-imports@{barriers}"));
    command.args(TIDY);
    // Instrumentation makes debug information wrong; function names stay (-g).
    command.args(["--strip-dwarf", "-g", "-o"]).arg(output);
    command.step("the module".to_owned())
}

/// Flags that replace this machine's folders in assertions and debug information by paths that
/// start at the folder which all sources share.
fn prefix_maps(parts: &[Part], flags: &Flags, places: &Places<'_>) -> Vec<String> {
    let folders = parts.iter().filter_map(|part| match part {
        Part::C(path) | Part::Cxx(path) => {
            absolute(path, places.current_dir).parent().map(Path::to_owned)
        }
        Part::Object(_) => None,
    });
    let root = folders.reduce(|a, b| common(&a, &b)).unwrap_or_default();
    let mut maps = Vec::new();
    for (index, folder) in flags.folders.iter().enumerate() {
        if !folder.starts_with(&root) {
            maps.push(format!("-ffile-prefix-map={}=include{index}", folder.display()));
        }
    }
    maps.push(format!("-ffile-prefix-map={}=cloudskin", places.resources.display()));
    maps.push(format!("-ffile-prefix-map={}/=", root.display().to_string().trim_end_matches('/')));
    maps
}

/// The deepest folder that both are in.
fn common(a: &Path, b: &Path) -> PathBuf {
    let same = a.components().zip(b.components()).take_while(|(a, b)| a == b);
    same.map(|(component, _)| component).collect()
}

/// A command line in the making.
struct Command {
    program: PathBuf,
    args: Vec<OsString>,
}

impl Command {
    fn new(program: &Path) -> Self {
        Self { program: program.to_owned(), args: Vec::new() }
    }

    /// A compiler that sees the guest's headers and none of this machine's.
    fn compiler(clang: &Clang, places: &Places<'_>, is_cxx: bool) -> Self {
        let program = if is_cxx { clang.cxx.as_ref().unwrap_or(&clang.c) } else { &clang.c };
        let system = clang.prefix.join("include/wasm32-wasi");
        let mut command = Self::new(program);
        command.arg("--target=wasm32-wasi").arg("-nostdlibinc");
        command.arg("-isystem").arg(places.resources.join("include"));
        if is_cxx {
            command.arg("-nostdinc++").arg("-isystem").arg(system.join("c++/v1"));
        }
        // After the compiler's own headers, which the C library's build upon.
        command.arg("-idirafter").arg(system);
        command
    }

    fn arg(&mut self, arg: impl Into<OsString>) -> &mut Self {
        self.args.push(arg.into());
        self
    }

    fn args<I>(&mut self, args: I) -> &mut Self
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    fn compile(&mut self, source: &Path, object: &Path) {
        self.arg("-c").arg(source).arg("-o").arg(object);
    }

    fn step(self, what: String) -> Step {
        Step { program: self.program, args: self.args, env: Vec::new(), what }
    }
}

#[cfg(test)]
mod tests;
