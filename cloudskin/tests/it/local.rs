//! Commands on this machine: `up` with stand-ins for its processes, and contexts.

use crate::{Run, command, finish, server::Control};
use api::{Kind, Resource};
use orchestrator::client::Client;
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};
use types::Token;

/// The arguments that the script below was started with.
const ARGUMENTS: &str = "CLOUDSKIN_TEST_ARGUMENTS";

/// What the script becomes: a control plane or an agent that does just enough to be ready.
#[tokio::test]
#[ignore = "started as a child by the other tests"]
async fn stand_in() {
    let arguments = std::env::var(ARGUMENTS).unwrap();
    let words: Vec<_> = arguments.split_whitespace().collect();
    let option = |name: &str| {
        let at = words.iter().position(|word| *word == name).unwrap();
        words[at + 1]
    };
    match words[0] {
        "control" => {
            let control = Control::new();
            control.store.lock().unwrap().open = true;
            let listener = tokio::net::TcpListener::bind(option("--listen")).await.unwrap();
            axum::serve(listener, control.router()).await.unwrap();
        }
        "site" => {
            let token = Token::load(option("--token-file").as_ref()).unwrap();
            let client = Client::new(option("--control"), Some(token), "default").unwrap();
            let mut site = Resource::new(Kind::Site, "default", option("--name"), &json!({}));
            site.status = json!({"ready": true, "address": option("--address")});
            while client.apply(&site, false).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            std::future::pending().await
        }
        other => panic!("`{other}` is no process of a continuum"),
    }
}

/// A home and a network of the test's own; everything in it is ended with it.
struct Machine {
    home: tempfile::TempDir,
    network: &'static str,
    program: PathBuf,
}

impl Machine {
    fn new(network: &'static str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join("program");
        let own = std::env::current_exe().unwrap();
        let script = format!(
            "#!/bin/sh\n{ARGUMENTS}=\"$*\" exec '{}' --exact local::stand_in --ignored --nocapture\n",
            own.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { home, network, program }
    }

    async fn run(&self, words: &str) -> Run {
        finish(command(self.home.path()), words, "").await
    }

    async fn up(&self, more: &str) -> Run {
        let (network, program) = (self.network, self.program.display());
        self.run(&format!("up --loopback {network} --program {program} {more}")).await
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let mut down = std::process::Command::new(env!("CARGO_BIN_EXE_cloudskin"));
        let _ = down.arg("down").env("HOME", self.home.path()).output();
    }
}

#[tokio::test]
async fn a_continuum_goes_up_and_down() {
    let machine = Machine::new("127.94.1.0");
    let before = machine.run("status").await;
    assert_eq!((before.code, before.out.as_str()), (3, ""), "{before:?}");

    let up = machine.up("-d --sites cloud,edge").await.ok();
    for part in [
        "CloudSkin is up.",
        "http://127.94.1.1:8470",
        "127.94.1.12",
        "tier=edge",
        "dig @127.94.1.1 -p 8053",
        "cloudskin down",
    ] {
        assert!(up.contains(part), "{part} in\n{up}");
    }
    let sites = machine.run("get sites").await.ok();
    assert!(sites.contains("127.94.1.11") && sites.contains("127.94.1.12"), "{sites}");
    let status = machine.run("status").await.ok();
    assert!(status.contains("ready for") && status.contains("site-edge"), "{status}");
    let state: Value = serde_json::from_str(&machine.run("status -o json").await.ok()).unwrap();
    assert_eq!(state["local"]["phase"], "ready");

    let again = machine.up("-d").await;
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.err.starts_with("it is up already, under pid "), "{again:?}");
    let other = machine.up("-d --sites lab").await;
    assert_eq!(other.code, 4, "{other:?}");
    assert!(other.err.contains("in use by the supervisor with pid"), "{other:?}");

    let down = machine.run("down --purge").await.ok();
    assert!(down.contains("was ended") && down.contains("removed"), "{down}");
    assert!(!machine.home.path().join(".local/state/cloudskin").exists());
    assert_eq!(machine.run("get sites").await.code, 6, "its context is gone");
    assert_eq!(machine.run("down").await.code, 0);
}

#[tokio::test]
async fn in_the_foreground_it_ends_with_the_interrupt() {
    let machine = Machine::new("127.94.2.0");
    let mut child = command(machine.home.path())
        .args(["up", "--loopback", machine.network, "--program"])
        .arg(&machine.program)
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("(or Ctrl-C)") {
        let read = tokio::io::AsyncReadExt::read_buf(&mut stdout, &mut seen).await.unwrap();
        assert_ne!(read, 0, "it ended: {}", String::from_utf8_lossy(&seen));
    }

    let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();

    assert!(child.wait().await.unwrap().success());
    assert_eq!(machine.run("status --data-dir .local/state/cloudskin").await.code, 3);
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_said_once() {
    let machine = Machine::new("127.94.3.0");
    let held = std::net::TcpListener::bind("127.94.3.11:8080").unwrap();

    let taken = machine.up("-d").await;
    drop(held);
    fs::write(&machine.program, "#!/bin/sh\necho no disk >&2\nexit 9\n").unwrap();
    let crash = machine.up("-d").await;

    assert_eq!(taken.code, 4, "{taken:?}");
    let text = format!(
        "port 8080 of 127.94.3.11, for the ingress of site cloud, is taken by pid {}",
        std::process::id()
    );
    assert!(taken.err.contains(&text), "{taken:?}");
    assert_eq!(crash.code, 1, "{crash:?}");
    assert!(crash.err.contains("exit status: 9") && crash.err.contains("no disk"), "{crash:?}");
    assert_eq!(crash.err.matches("error:").count(), 1, "{crash:?}");
}

#[tokio::test]
async fn contexts_are_kept_chosen_and_forgotten() {
    let machine = Machine::new("127.94.4.0");
    machine.run("config set-context lab --address http://127.0.0.1:1").await.ok();
    machine.run("config set-context two --address http://127.0.0.1:2").await.ok();

    assert_eq!(machine.run("config current-context").await.ok(), "lab\n");
    machine.run("config use-context two").await.ok();
    let list: Value =
        serde_json::from_str(&machine.run("config get-contexts -o json").await.ok()).unwrap();
    let asked = machine.run("get sites").await;
    let named = machine.run("--context lab get sites").await;
    let unknown = machine.run("config use-context three").await;

    assert_eq!(list["current"], "two");
    assert!(asked.err.contains("127.0.0.1:2") && named.err.contains("127.0.0.1:1"));
    assert_eq!(unknown.code, 3);
    assert!(unknown.err.contains("`lab`, `two`"), "{unknown:?}");
    machine.run("config delete-context two").await.ok();
    assert_eq!(machine.run("config current-context").await.code, 3);
}

#[tokio::test]
async fn the_doctor_says_what_is_missing() {
    let machine = Machine::new("127.94.5.0");

    let mut bare = command(machine.home.path());
    bare.env("PATH", "/nowhere");
    let found = finish(bare, "doctor --loopback 127.94.5.0 -o json", "").await;

    let checks: Vec<Value> = serde_json::from_str(&found.ok()).unwrap();
    let ffmpeg = checks.iter().find(|check| check["name"] == "ffmpeg").unwrap();
    assert_eq!(ffmpeg["level"], "note");
    assert!(ffmpeg["advice"].as_str().unwrap().contains("apt-get install ffmpeg"));
}

#[tokio::test]
async fn broken_quotas_are_told_before_anything_starts() {
    let machine = Machine::new("127.94.6.0");
    let folder = machine.home.path().join(".local/state/cloudskin");
    machine.up("-d").await.ok();
    machine.run("down").await.ok();
    fs::create_dir_all(folder.join("control")).unwrap();
    fs::write(folder.join("control/quotas.yaml"), "tenants: {lab: {cpus: 4}}").unwrap();

    let refused = machine.up("-d").await;

    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("quotas.yaml") && refused.err.contains("cpus"), "{refused:?}");
}
