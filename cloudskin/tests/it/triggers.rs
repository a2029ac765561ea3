//! Modules that are run for what happens to objects.

use crate::{
    command, finish,
    objects::{LIMIT, Served, run},
};
use std::{fs, path::Path, process::Stdio, time::Instant};

/// Builds the module; false where there is no compiler.
async fn built(home: &Path) -> bool {
    fs::write(home.join("triggered.c"), include_str!("triggered.c")).unwrap();
    let built = run(home, "build triggered.c -o triggered.wasm").await;
    if built.err.contains("apt-get install") {
        eprintln!("skipped: {}", built.err);
        return false;
    }
    built.ok();
    true
}

async fn put(home: &Path, key: &str) {
    let words = format!("geds cp --durable - geds://lab/{key}");
    finish(command(home), &words, &format!("of {key}")).await.ok();
}

/// Waits until `show` says this of a trigger's objects.
async fn shows(home: &Path, trigger: &str, what: &str) {
    let began = Instant::now();
    loop {
        let shown = run(home, &format!("geds trigger show {trigger}")).await.ok();
        if shown.contains(what) {
            return;
        }
        assert!(began.elapsed() < LIMIT, "waited in vain for {what}: {shown}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

const DIRS: &str = "--dir geds://lab/in::/in:ro --dir geds://lab/out::/out";

#[tokio::test]
async fn a_module_is_run_for_each_object_and_what_fails_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    if !built(home).await {
        return;
    }
    let mut node = Served::start(home, "serve geds --memory 64Mi");
    node.ready(home, "CLOUDSKIN_GEDS=");
    let add = format!(
        "geds trigger add lab/in/ --on sealed,deleted --run triggered.wasm {DIRS} --name one \
         --retries 1 --pause 1ms --timeout 1s --at-once 4 --memory 16Mi"
    );
    assert_eq!(run(home, &add).await.ok(), "one\n");
    assert_eq!(run(home, &add).await.code, 4, "the name is taken");
    fs::remove_file(home.join("triggered.wasm")).unwrap();
    for key in ["in/a", "in/bad", "in/trap", "in/ever", "in/large"] {
        put(home, key).await;
    }
    shows(home, "one", "0 pending, 0 running, 0 waiting, 4 dead, 1 done").await;
    assert_eq!(run(home, "geds cat geds://lab/out/a").await.ok(), "sealed in/a of in/a");
    let dead = run(home, "geds trigger dead one").await.ok();
    let of = |key: &str| {
        let from = dead.find(&format!("geds://lab/{key}  sealed")).unwrap();
        let rest = &dead[from..];
        rest[..rest[1..].find("geds://").map_or(rest.len(), |end| end + 1)].to_owned()
    };
    let bad = of("in/bad");
    assert!(bad.contains("2 attempts") && bad.contains("exit code 7\n"), "{bad}");
    assert!(bad.contains("line 1999 of attempt 2") && !bad.contains("line 0 "), "{bad}");
    assert!(of("in/trap").contains("exit code 134"), "{dead}");
    assert!(of("in/ever").contains("exit code 124, after 1s"), "{dead}");
    assert!(of("in/large").contains("no memory"), "{dead}");
    assert!(dead.len() < 20_000, "what a module says is bounded");

    // A restarted store knows what was done, and finds what happened meanwhile.
    node.end();
    let mut idle = Served::start(home, "serve geds --memory 64Mi --no-triggers");
    idle.ready(home, "CLOUDSKIN_GEDS=");
    put(home, "in/b").await;
    run(home, "geds rm geds://lab/in/a").await.ok();
    run(home, "geds trigger retry one in/trap").await.ok();
    assert_eq!(run(home, "geds trigger retry one in/b").await.code, 3);
    let shown = run(home, "geds trigger show one").await.ok();
    assert!(shown.contains("2 pending, 0 running, 1 waiting, 3 dead, 0 done"), "{shown}");
    idle.end();
    let mut node = Served::start(home, "serve geds --memory 64Mi");
    node.ready(home, "CLOUDSKIN_GEDS=");
    shows(home, "one", "0 pending, 0 running, 0 waiting, 4 dead, 1 done").await;
    assert_eq!(run(home, "geds cat geds://lab/out/a").await.ok(), "deleted in/a -");
    assert!(run(home, "geds trigger ls").await.ok().contains("sealed,deleted"));
    run(home, "geds trigger rm one").await.ok();
    assert_eq!(run(home, "geds trigger show one").await.code, 3);
    assert_eq!(run(home, "geds trigger ls -o json").await.ok().trim(), "[]");
    node.end();
}

/// Starts one more runner.
fn runner(home: &Path) -> std::process::Child {
    let mut work = command(home).into_std();
    work.args(["geds", "trigger", "work", "--lease", "1s"]);
    work.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test]
async fn a_killed_runner_is_replaced_and_each_object_is_done_once() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    if !built(home).await {
        return;
    }
    let mut node = Served::start(home, "serve geds --memory 64Mi --no-triggers");
    node.ready(home, "CLOUDSKIN_GEDS=");
    let words = format!("geds trigger add lab/in/ --run triggered.wasm {DIRS} -- slow");
    assert_eq!(run(home, &words).await.ok(), "triggered\n");
    fs::create_dir(home.join("in")).unwrap();
    (0..12).for_each(|number| fs::write(home.join(format!("in/{number}")), "input").unwrap());
    run(home, "geds cp --recursive --durable in geds://lab/in").await.ok();

    let mut first = runner(home);
    let began = Instant::now();
    while !run(home, "geds trigger show triggered").await.ok().contains(" 2 running") {
        assert!(began.elapsed() < LIMIT, "nothing runs");
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let mut others = [runner(home), runner(home)];
    shows(home, "triggered", "0 pending, 0 running, 0 waiting, 0 dead, 12 done").await;
    let made = run(home, "geds du geds://lab/out/ -o json").await.ok();
    assert!(made.contains("\"objects\": 12"), "{made}");

    // A module that writes below its own prefix is refused, or runs a few times.
    let own = "geds trigger add lab/in/ --run triggered.wasm --name own --dir geds://lab/in::/out";
    let refused = run(home, own).await;
    assert!(refused.code == 2 && refused.err.contains("its own objects"), "{refused:?}");
    let echo = "geds trigger add lab/loop/ --run triggered.wasm --dir geds://lab::/all -- echo";
    let named = echo.replace("--dir", "--name echo --dir");
    run(home, &named).await.ok();
    put(home, "loop/x").await;
    shows(home, "echo", "0 pending, 0 running, 0 waiting, 1 dead, 8 done").await;
    let dead = run(home, "geds trigger dead echo").await.ok();
    assert!(dead.contains("8 triggers in a row"), "{dead}");
    for other in &mut others {
        other.kill().unwrap();
        other.wait().unwrap();
    }
    node.end();
}

#[tokio::test]
async fn what_is_no_module_of_a_trigger_is_refused_when_it_is_added() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let mut node = Served::start(home, "serve geds --memory 64Mi");
    node.ready(home, "CLOUDSKIN_GEDS=");
    fs::write(home.join("text.wasm"), "no module").unwrap();
    for (words, code, why) in
        [("--run text.wasm", 2, "not a WebAssembly module"), ("--run none.wasm", 3, "none.wasm")]
    {
        let refused = run(home, &format!("geds trigger add lab/in/ {words}")).await;
        assert!(refused.code == code && refused.err.contains(why), "{words}: {refused:?}");
    }
    assert_eq!(run(home, "geds trigger dead none").await.code, 3);
    let alone = run(home, "geds trigger work --store .").await;
    assert!(alone.code == 2 && alone.err.contains("one process uses alone"), "{alone:?}");
    node.end();
}
