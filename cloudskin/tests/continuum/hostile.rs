//! Input that means no good: each gets a clear error, and nobody else notices.

use crate::{
    guests,
    world::{Continuum, Process, manifest},
};
use std::{fs, time::Duration};
use testkit::Random;

/// `unreachable`-free end of a function.
const END: u8 = 0x0b;

#[test]
fn hostile_documents_are_refused_by_name() {
    let Some(continuum) = Continuum::up() else { return };
    let write = |name: &str, text: String| fs::write(continuum.path(name), text).unwrap();
    write("giant.yaml", format!("apiVersion: {}", "x".repeat(5 << 20)));
    write("deep.yaml", "[".repeat(200_000));
    write("deeper.json", "{\"a\":".repeat(200_000));
    let bomb: String = (1..12)
        .map(|level| {
            let below = format!("*a{}, ", level - 1).repeat(9);
            format!("a{level}: &a{level} [{}]\n", below.trim_end_matches(", "))
        })
        .collect();
    write("bomb.yaml", format!("a0: &a0 lol\n{bomb}"));
    write("binary.yaml", "\u{0}\u{1}\u{feff}".to_owned());
    write("many.yaml", "---\n".repeat(100_000));
    let path = manifest("ledger", "../../../../etc/passwd", &[]);
    write("path.yaml", path);
    write("unknown.yaml", manifest("ledger", "ledger.wasm", &["replicas: 3"]));
    write("range.yaml", manifest("ledger", "ledger.wasm", &["resources: {memory: 5Gi}"]));
    write("name.yaml", manifest("../x", "ledger.wasm", &[]));
    write("label.yaml", manifest("ledger", "ledger.wasm", &["env: {\"A=B\": \"x\\0y\"}"]));

    for name in ["giant", "deep", "bomb", "binary", "path", "unknown", "range", "name"] {
        let run = continuum.run(&format!("apply -f {name}.yaml"));
        assert!(matches!(run.code, Some(2 | 3)), "{name}: {run}");
        assert!(run.err.starts_with("error:") && run.err.len() < 4000, "{name}: {run}");
    }
    continuum.run("apply -f deeper.json").fails(2, "error:");
    for name in ["many", "label"] {
        let run = continuum.run(&format!("apply -f {name}.yaml"));
        assert!(run.code.is_some() && !run.err.contains("panicked"), "{name}: {run}");
    }
    let bearer = format!("Bearer {}", continuum.token());
    let path = "/apis/v1/tenants/default/services/ledger";
    let hostile = ["{", "[[[[", "null", "{\"kind\": 7}", &"[".repeat(500_000), "\u{0}"];
    for body in hostile {
        let length = body.len().to_string();
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("content-length", &length),
        ];
        let address = continuum.control();
        let mut http = crate::http::Http::connect(address, &address.to_string()).unwrap();
        http.begin("PUT", path, &headers).unwrap();
        http.write(body.as_bytes()).unwrap();
        let status = http.finish().unwrap().status;
        assert!(matches!(status, 400 | 413 | 415 | 422), "{status}");
    }
    continuum.run("get services").ok();
}

#[test]
fn damaged_modules_fail_with_an_error_and_leave_their_neighbours_alone() {
    let Some(continuum) = Continuum::up() else { return };
    let mut random = Random::printed("damaged modules");
    continuum.serve("neighbour", &[]);
    let whole = fs::read(continuum.path("ledger.wasm")).unwrap();
    let small = guests::module(1, &[END]);
    continuum.run_with(&["run"], &[]).fails(2, "MODULE");
    fs::write(continuum.path("small.wasm"), &small).unwrap();
    continuum.run("run small.wasm").ok();

    // Cut anywhere, a module is refused; bent somewhere, it is refused or runs to some end.
    for at in (0..small.len()).step_by(7).chain([small.len() - 1]) {
        fs::write(continuum.path("cut.wasm"), &small[..at]).unwrap();
        let run = continuum.run("run cut.wasm");
        assert!(matches!(run.code, Some(1 | 2)) && run.err.starts_with("error:"), "{at}: {run}");
    }
    for _ in 0..12 {
        let mut bent = if random.one_in(3) { whole.clone() } else { small.clone() };
        let at = random.below(bent.len() as u64) as usize;
        bent[at] ^= 1 << random.below(8);
        fs::write(continuum.path("bent.wasm"), &bent).unwrap();
        let run = continuum.run("run --deadline 2s bent.wasm");
        let known = run.code.is_some_and(|code| code != 101) && !run.err.contains("panicked");
        assert!(known, "byte {at}: {run}");
    }
    fs::write(continuum.path("component.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    continuum.run("run component.wasm").fails(2, "component");

    // As services: each fails by name, and the neighbour in the same worker answers.
    let bent = [&whole[..whole.len() / 2], b"MZ not wasm", &[0; 3], &small];
    for (number, module) in bent.iter().enumerate() {
        fs::write(continuum.path("bad.wasm"), module).unwrap();
        let name = format!("bad-{number}");
        let run = continuum.apply(&name, "bad.wasm", &[]);
        if run.code == Some(0) {
            let service = continuum.until(&name, "the damage is seen", |s| s["phase"] == "Failed");
            let conditions = service["status"]["conditions"].to_string();
            assert!(conditions.contains("bad") || conditions.contains("module"), "{conditions}");
        } else {
            assert!(run.err.starts_with("error:"), "{run}");
        }
        continuum.http("neighbour").get("/add").unwrap().ok();
    }
    assert_eq!(continuum.service("neighbour")["status"]["incarnation"], 1);
}

#[test]
fn greedy_guests_meet_their_limits_and_their_neighbour_answers() {
    let Some(continuum) = Continuum::up() else { return };
    continuum.serve("neighbour", &[]);
    // 4 GiB of memory, where 64 MiB were asked for.
    let ledger = fs::read(continuum.path("ledger.wasm")).unwrap();
    let vast = guests::with_memory(&ledger, 65_536);
    fs::write(continuum.path("vast.wasm"), vast).unwrap();
    continuum.apply("vast", "vast.wasm", &[]).ok();
    let vast = continuum.until("vast", "it fails", |status| status["phase"] == "Failed");
    let told = vast["status"]["conditions"].to_string();
    assert!(told.contains("memory") || told.contains("limit"), "{told}");
    continuum.run("run --memory 64Mi vast.wasm").fails(8, "memory");
    // Beyond what a module may have at all.
    fs::write(continuum.path("vaster.wasm"), guests::module(65_537, &[END])).unwrap();
    let run = continuum.run("run vaster.wasm");
    assert!(matches!(run.code, Some(1 | 2)) && run.err.starts_with("error:"), "{run}");
    // Deep recursion, and a loop without end, as programs.
    fs::write(continuum.path("deep.wasm"), guests::module(1, &[0x10, 0, END])).unwrap();
    continuum.run("run deep.wasm").fails(134, "stack");
    let spin = guests::module(1, &[0x03, 0x40, 0x0c, 0, END, END]);
    fs::write(continuum.path("spin.wasm"), spin).unwrap();
    continuum.run("run --deadline 300ms spin.wasm").fails(124, "longer than 300ms");

    // A loop without end as a service: its request is ended, its neighbour in the same worker
    // answers meanwhile, and it is there again afterwards.
    continuum.serve("spinner", &["requestTimeout: 1s"]);
    let mut spinner = continuum.http("spinner");
    spinner.begin("GET", "/spin", &[]).unwrap();
    let mut neighbour = continuum.http("neighbour");
    for _ in 0..20 {
        neighbour.set_timeout(Duration::from_millis(900));
        neighbour.get("/add").unwrap().ok();
    }
    assert_eq!(spinner.finish().unwrap().status, 504);
    continuum.until_ready("spinner");
    continuum.http("spinner").get("/add").unwrap().ok();
    // One that floods its output, and one that asks for more memory than it may have.
    assert!(continuum.http("spinner").get("/flood").unwrap().status >= 500);
    let memory = continuum.http("neighbour").get("/fill/100").unwrap();
    assert_eq!((memory.status, memory.text().as_str()), (507, "no memory"));
    // A body over the limit.
    let mut http = continuum.http("neighbour");
    http.begin("POST", "/add", &[("content-length", "99999999999")]).unwrap();
    assert_eq!(http.finish().unwrap().status, 413);
    neighbour.get("/add").unwrap().ok();
    assert_eq!(continuum.service("neighbour")["status"]["incarnation"], 1);
}

#[test]
fn a_module_that_takes_for_ever_to_compile_is_given_up() {
    let Some(continuum) = Continuum::up() else { return };
    continuum.serve("neighbour", &[]);
    // Many large functions: 64 of 60,000 nested additions.
    let body = [&[0x41, 0][..], &[0x41, 1, 0x6a].repeat(60_000), &[0x1a, END]].concat();
    fs::write(continuum.path("long.wasm"), guests::functions(1, 64, &body)).unwrap();
    let mut run = continuum.command(&["run", "long.wasm"], &[]).spawn().unwrap();
    let mut neighbour = continuum.http("neighbour");
    for _ in 0..20 {
        neighbour.get("/add").unwrap().ok();
    }
    let _ = run.kill();
    run.wait().unwrap();
    // With less time than the default: the compiler ends itself by a signal and leaves no code.
    fs::create_dir(continuum.path("cache")).unwrap();
    let words = ["compile", "--module", "long.wasm", "--cache", "cache", "--cpu-seconds-max", "1"];
    let run = continuum.run_with(&words, &["--purpose", "program", "--backend", "cranelift"]);
    assert_eq!((run.code, run.err.as_str()), (None, ""));
    let left = fs::read_dir(continuum.path("cache")).unwrap().flatten();
    assert_eq!(left.map(|entry| entry.file_name()).collect::<Vec<_>>(), ["key"]);
    // For one that is gone nothing is compiled: not even the module is read.
    let orphan = ["compile", "--module", "absent.wasm", "--cache", "cache", "--parent", "1"];
    let run = continuum.run_with(&orphan, &["--purpose", "program", "--backend", "cranelift"]);
    run.fails(1, "nobody waits for the code");
}

#[test]
fn forged_code_is_never_loaded() {
    let Some(continuum) = Continuum::up() else { return };
    continuum.serve("ledger", &["durability: journal"]);
    continuum.http("ledger").get("/add").unwrap().ok();
    let forge = |folder: std::path::PathBuf| {
        let entries = fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path());
        let entries: Vec<_> = entries.filter(|path| !path.ends_with("key")).collect();
        assert!(!entries.is_empty(), "{}", folder.display());
        for (number, path) in entries.iter().enumerate() {
            let mut bytes = fs::read(path).unwrap();
            // Code that is bent in its middle, and an entry that is cut.
            let middle = bytes.len() / 2;
            bytes[middle..middle + 64].fill(0xcc);
            bytes.truncate(bytes.len() - number);
            fs::write(path, bytes).unwrap();
        }
    };

    forge(continuum.data().join("sites/edge/worker-data/code"));
    continuum.kill(Process::Worker("edge"));

    assert_eq!(continuum.http("ledger").get("/add").unwrap().ok(), "2");
    // The user's own cache.
    continuum.run("run ledger.wasm").ok();
    forge(continuum.path(".cache/cloudskin/code"));
    continuum.run("run ledger.wasm").ok();
}
