use super::*;
use types::ErrorKind;

fn options(folder: &Path, inputs: &[&str]) -> Options {
    let mut environment = Environment::from_process();
    environment.current_dir = folder.to_owned();
    environment.cache_dir = folder.join("cache");
    Options::new(inputs.iter().map(PathBuf::from).collect(), environment)
}

#[test]
fn without_tools_says_what_to_install_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.cpp"), "int main() {}").unwrap();
    let mut options = options(folder.path(), &["a.cpp"]);
    options.environment.search_path = "".into();
    options.environment.prefix = folder.path().into();
    options.migratable = true;

    let error = build(&options).unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.to_string();
    assert!(
        text.ends_with(
            "install with: apt-get install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32 \
             libc++-19-dev-wasm32 libc++abi-19-dev-wasm32 binaryen"
        ),
        "{text}"
    );
    assert!(!folder.path().join("a.wasm").exists());
}

#[test]
fn without_rust_says_which_packages_bring_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.rs"), "fn main() {}").unwrap();
    let mut options = options(folder.path(), &["a.rs"]);
    options.environment.search_path = "".into();

    let error = build(&options).unwrap_err().to_string();

    assert!(error.starts_with("cannot build a Rust program: "), "{error}");
    assert!(error.ends_with(" rustc-web cargo-web rust-web-src"), "{error}");
    let missing: Vec<_> =
        doctor(&options.environment).into_iter().filter(|tool| tool.found.is_none()).collect();
    assert!(missing.iter().any(|tool| tool.name == "rustc"), "{missing:?}");
}

#[test]
fn without_the_library_for_threads_says_which_command_brings_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.rs"), "fn main() {}").unwrap();
    let mut options = options(folder.path(), &["a.rs"]);
    options.environment.search_path = "".into();
    options.openmp = true;

    let error = build(&options).unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.to_string();
    assert!(text.ends_with("install with: rustup target add wasm32-wasip1-threads"), "{text}");
}

#[test]
fn says_that_rust_on_threads_cannot_be_saved() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.rs"), "fn main() {}").unwrap();
    let mut options = options(folder.path(), &["a.rs"]);
    (options.openmp, options.migratable) = (true, true);

    let error = build(&options).unwrap_err().to_string();

    assert!(error.contains("`--migratable` cannot be used: a Rust program"), "{error}");
}

#[test]
fn refuses_an_unwind_area_that_cannot_work() {
    let folder = tempfile::tempdir().unwrap();
    for bytes in [0, 1023, u32::MAX] {
        let mut options = options(folder.path(), &["a.c"]);
        options.unwind_area_bytes = bytes;

        let error = build(&options).unwrap_err().to_string();

        assert!(error.contains(&format!("--unwind-area={bytes}")), "{error}");
    }
}

#[test]
fn names_an_input_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();

    let error = build(&options(folder.path(), &["missing.c"])).unwrap_err();

    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("missing.c"), "{error}");
}

#[test]
fn a_module_without_an_unwind_area_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.wasm"), b"\0asm\x01\0\0\0").unwrap();
    let mut options = options(folder.path(), &["x.wasm"]);

    assert!(matches!(build(&options), Err(Error::NothingToDo { .. })));
    options.migratable = true;
    let error = types::chain(&build(&options).unwrap_err());

    assert!(error.contains("no unwind area") && error.contains("from its sources"), "{error}");
}

#[test]
fn reads_a_compilers_command_line() {
    let args = ["-O2", "a.c", "-I", "inc", "-oout.wasm", "--migratable", "-lm", "b.c"];
    let environment = Environment::from_process();

    let options = Options::from_args(args.map(str::to_owned), environment.clone()).unwrap();

    assert_eq!(options.inputs, [Path::new("a.c"), Path::new("b.c")]);
    assert_eq!(options.output.as_deref(), Some(Path::new("out.wasm")));
    assert_eq!(options.flags, ["-O2", "-I", "inc", "-lm"]);
    assert!(options.migratable);
    for wrong in ["-o", "-I", "--unwind-area=many"] {
        assert!(Options::from_args([wrong.to_owned()], environment.clone()).is_err(), "{wrong}");
    }
}
