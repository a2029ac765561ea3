//! A compiler process that meets its limits.

use cells::{Cache, Compiler, CompilerLimits, Error, Runtime, Use};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use types::ErrorKind;

const WORDS: &str = "CLOUDSKIN_TEST_COMPILE";

/// Not a test: the compiler process that the tests start.
#[test]
fn compiler_process() {
    let Ok(words) = std::env::var(WORDS) else { return };
    let words: Vec<&str> = words.split(' ').collect();
    let word = |name: &str| words[words.iter().position(|word| *word == name).unwrap() + 1];
    cells::limit_compiler_process(&CompilerLimits {
        memory_bytes: word("--memory-max").parse().unwrap(),
        cpu_seconds: word("--cpu-seconds-max").parse().unwrap(),
        ..CompilerLimits::default()
    });
    let cache = Cache::open(Path::new(word("--cache"))).unwrap();
    let module = Path::new(word("--module"));
    let backend = api::service::Engine::Cranelift;
    if let Err(error) = cells::compile_here(&cache, module, Use::Program, backend) {
        eprintln!("{error}");
        std::process::exit(i32::from(cells::MALFORMED_EXIT_CODE));
    }
}

/// A folder with a compiler that notes its number in `pid`, and a cache.
struct Setup {
    folder: tempfile::TempDir,
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (own, pid) = (std::env::current_exe().unwrap(), folder.path().join("pid"));
        let script = format!(
            "#!/bin/sh\necho $$ > {}\n{WORDS}=\"$*\" exec {} --exact compile::compiler_process \
             --nocapture\n",
            pid.display(),
            own.display()
        );
        let program = folder.path().join("compiler");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Compiles a module with so many functions of so many additions each.
    fn compile(&self, functions: u32, additions: usize, limits: CompilerLimits) -> Option<Error> {
        let module = self.path("large.wasm");
        fs::write(&module, large(functions, additions)).unwrap();
        let cache = Cache::open(&self.path("cache")).unwrap();
        let runtime = Runtime::new(cache, Compiler::Process(self.path("compiler")))
            .with_compiler_limits(limits);
        let engine = api::service::Engine::Cranelift;
        runtime.load(&module, None, Use::Program, engine).err()
    }

    /// The compiler is gone, and the cache holds nothing but its key.
    #[track_caller]
    fn nothing_is_left(&self) {
        let pid = fs::read_to_string(self.path("pid")).unwrap();
        let process = Path::new("/proc").join(pid.trim());
        assert!(!process.exists(), "{}", process.display());
        let entries = fs::read_dir(self.path("cache")).unwrap().flatten();
        let names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["key"]);
    }
}

#[test]
fn a_compilation_beyond_a_limit_is_ended_and_says_which() {
    let generous = CompilerLimits::default();
    let cases = [
        (
            CompilerLimits { deadline: Duration::from_millis(300), ..generous },
            "it took longer than 300ms",
        ),
        (CompilerLimits { cpu_seconds: 1, ..generous }, "it takes more than 1 s of processor time"),
        (
            CompilerLimits { memory_bytes: 256 << 20, ..generous },
            "it needs more than 256 MiB of memory",
        ),
    ];
    for (limits, words) in cases {
        let setup = Setup::new();

        let error = setup.compile(64, 60_000, limits).unwrap();

        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert_eq!(error.to_string(), format!("cannot compile `large.wasm`: {words}"));
        setup.nothing_is_left();
    }
}

#[test]
fn a_module_within_the_limits_is_compiled_and_a_damaged_one_is_named() {
    let setup = Setup::new();
    assert!(setup.compile(1, 10, CompilerLimits::default()).is_none());

    let setup = Setup::new();
    // One operand too few.
    let error = setup.compile(1, 0, CompilerLimits::default()).unwrap();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
    setup.nothing_is_left();
}

/// Functions without parameters; the first is `_start`. Without additions it lacks an operand.
fn large(functions: u32, additions: usize) -> Vec<u8> {
    let start: &[u8] = if additions == 0 { &[] } else { &[0x41, 0] };
    let body = [&[0][..], start, &[0x41, 1, 0x6a].repeat(additions), &[0x1a, 0x0b]].concat();
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    section(&mut module, 1, &[1, 0x60, 0, 0]);
    section(&mut module, 3, &[leb(functions), vec![0; functions as usize]].concat());
    section(&mut module, 5, &[1, 0, 1]);
    section(&mut module, 7, b"\x02\x06_start\0\0\x06memory\x02\0");
    let function = [leb(body.len() as u32), body].concat();
    section(&mut module, 10, &[leb(functions), function.repeat(functions as usize)].concat());
    module
}

fn section(module: &mut Vec<u8>, id: u8, content: &[u8]) {
    module.push(id);
    module.extend(leb(content.len() as u32));
    module.extend(content);
}

fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
