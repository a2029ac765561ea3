use super::*;
use crate::toolchain::flags;

fn clang() -> Clang {
    Clang {
        c: "/bin/clang-19".into(),
        cxx: Some("/bin/clang++-19".into()),
        linker: "/bin/wasm-ld-19".into(),
        prefix: "/usr".into(),
    }
}

/// The command lines of a build in `/home/u/project`.
fn planned(inputs: &[&str], flags: &[&str]) -> Vec<String> {
    let current_dir = Path::new("/home/u/project");
    let inputs: Vec<PathBuf> = inputs.iter().map(PathBuf::from).collect();
    let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let Program::Native(parts) = Program::classify(&inputs, current_dir).unwrap() else {
        panic!("{inputs:?} are not C or C++");
    };
    let flags = flags::sort(&flags, current_dir).unwrap();
    let places =
        Places { current_dir, resources: Path::new("/cache/res"), work: Path::new("/cache/work") };
    let plan = native(&parts, &flags, 4096, &clang(), &places);
    plan.compile.iter().chain([&plan.link]).map(line).collect()
}

fn line(step: &Step) -> String {
    let words = step.args.iter().map(|arg| arg.to_string_lossy());
    std::iter::once(step.program.to_string_lossy()).chain(words).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_users_flags_come_after_our_defaults_and_so_win() {
    let lines = planned(&["counter.c"], &["-O1", "-DX", "-std=c11", "-lm"]);

    assert!(lines[0].starts_with("/bin/clang-19 --target=wasm32-wasi -nostdlibinc "));
    assert!(lines[0].find("-O3 -msimd128").unwrap() < lines[0].find("-O1 -D X -std=c11").unwrap());
    assert!(lines[0].ends_with("-c /home/u/project/counter.c -o /cache/work/0.o"));
    assert!(!lines[0].contains("-lm") && lines.last().unwrap().contains(" -lm "));
}

#[test]
fn a_c_program_does_not_touch_the_cxx_compiler() {
    let lines = planned(&["a.c", "b.o", "lib/c.a"], &[]);

    assert_eq!(lines.len(), 4, "one source, two of the runtime and the link: {lines:#?}");
    assert!(lines.iter().all(|line| !line.contains("clang++") && !line.contains("exceptions")));
    let objects = "/cache/work/0.o /home/u/project/b.o /home/u/project/lib/c.a \
                   /cache/work/unwind_area.o";
    assert!(lines[3].contains(objects), "{}", lines[3]);
}

#[test]
fn exceptions_compile_and_link_to_our_runtime() {
    let lines = planned(&["a.c", "b.cpp"], &[]);

    assert!(!lines[0].contains("-fexceptions"), "{}", lines[0]);
    assert!(lines[1].starts_with("/bin/clang++-19"), "{}", lines[1]);
    assert!(lines[1].contains("-fexceptions -fignore-exceptions"), "{}", lines[1]);
    let link = lines.last().unwrap();
    assert!(link.starts_with("/bin/clang++-19"), "{link}");
    assert!(
        link.contains("--start-lib /cache/work/memory.o /cache/work/exceptions.o -Wl,--end-lib"),
        "{link}"
    );
}

#[test]
fn every_program_keeps_its_names_and_exports_what_a_snapshot_needs() {
    for input in ["a.c", "a.cc"] {
        let link = planned(&[input], &[]).pop().unwrap();

        for part in [
            "-z -Wl,stack-size=1048576 -Wl,--stack-first",
            "--export=__stack_pointer",
            "--export=cloudskin_unwind_area ",
            "--export=cloudskin_unwind_area_size",
            "-Wl,--strip-debug",
            "-o /cache/work/cell.wasm",
        ] {
            assert!(link.contains(part), "{part} in {link}");
        }
        assert!(!link.contains(" -O") && !link.contains("--strip-all"), "{link}");
    }
    assert!(!planned(&["a.c"], &["-g"]).pop().unwrap().contains("strip"));
}

#[test]
fn folders_of_this_machine_do_not_reach_the_module() {
    let lines = planned(&["src/a.c", "src/deep/b.c"], &["-Isrc/inc", "-I/opt/x"]);

    for line in &lines[..2] {
        assert!(line.contains("-ffile-prefix-map=/home/u/project/src/= "), "{line}");
        assert!(line.contains("-ffile-prefix-map=/opt/x=include1 "), "{line}");
        assert!(line.contains("-ffile-prefix-map=/cache/res=cloudskin "), "{line}");
        assert!(line.contains("-fdebug-compilation-dir=. "), "{line}");
    }
}

#[test]
fn instruments_for_barrier_points_and_indirect_calls() {
    let made = |threads| {
        line(&instrument(Path::new("/bin/wasm-opt"), Path::new("a"), Path::new("b"), threads))
    };
    let line = made(false);

    assert!(line.contains(
        "--asyncify --pass-arg=asyncify-imports@wasi_snapshot_preview1.fd_read,\
         wasi_snapshot_preview1.poll_oneoff,cloudskin.checkpoint"
    ));
    assert!(!line.contains("ignore-indirect"), "{line}");
    assert!(line.contains(" -g "), "{line}");
    assert!(!line.contains("__kmpc"), "{line}");
    let threads = made(true);
    assert!(threads.contains(" --enable-threads "), "{threads}");
    assert!(threads.contains(",env.__kmpc_fork_call,"), "{threads}");
}

#[test]
fn says_which_inputs_do_not_belong_together() {
    let classify = |inputs: &[&str]| {
        let inputs: Vec<PathBuf> = inputs.iter().map(PathBuf::from).collect();
        Program::classify(&inputs, Path::new("/nowhere"))
    };

    assert_eq!(classify(&["x.rs"]).unwrap(), Program::RustFile("x.rs".into()));
    assert_eq!(classify(&["p/Cargo.toml"]).unwrap(), Program::CargoPackage("p".into()));
    assert_eq!(classify(&["x.wasm"]).unwrap(), Program::Module("x.wasm".into()));
    for (inputs, named) in [
        (&["a.c", "x.wasm"][..], "x.wasm"),
        (&["a.rs", "b.rs"], "a.rs"),
        (&["notes.txt"], "notes.txt"),
        (&[], "nothing to build"),
    ] {
        let error = classify(inputs).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}
