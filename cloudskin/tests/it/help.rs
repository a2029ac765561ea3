//! What the binary says about itself.

use crate::{command, finish};

const COMMANDS: &[&str] = &[
    "up",
    "down",
    "status",
    "doctor",
    "build",
    "toolchain",
    "run",
    "mpirun",
    "apply",
    "diff",
    "get",
    "describe",
    "delete",
    "logs",
    "wait",
    "migrate",
    "scale",
    "snapshot",
    "restore",
    "play",
    "simulate",
    "policy",
    "policy test",
    "replay",
    "twin",
    "model",
    "predict",
    "rank",
    "query",
    "geds",
    "serve",
    "why",
    "top",
    "dashboard",
    "config",
    "token",
    "join",
    "completions",
    "version",
    "control",
    "site",
    "config get-contexts",
    "config current-context",
    "config use-context",
    "config set-context",
    "config delete-context",
    "token create",
    "toolchain link",
    "twin calibrate",
    "twin run",
    "twin fit",
    "geds ls",
    "geds cp",
    "geds cat",
    "geds mv",
    "geds rm",
    "geds stat",
    "geds du",
    "geds watch",
    "geds mb",
    "geds rb",
    "geds usage",
    "geds env",
    "geds checkpoint",
    "geds checkpoints",
    "geds restore",
    "geds import",
    "geds export",
    "geds attach",
    "geds relocate",
    "geds lost",
    "geds set",
    "geds trigger",
    "geds trigger add",
    "geds trigger ls",
    "geds trigger show",
    "geds trigger rm",
    "geds trigger dead",
    "geds trigger retry",
    "geds trigger work",
    "model train",
    "model federate",
    "model ls",
    "model show",
    "model predict",
    "model evaluate",
    "model rightsize",
    "model promote",
    "model rollback",
    "model export",
    "model import",
    "model rm",
    "serve geds",
    "serve s3",
    "serve telemetry",
];

async fn run(words: &str) -> crate::Run {
    let home = tempfile::tempdir().unwrap();
    finish(command(home.path()), words, "").await
}

#[tokio::test]
async fn every_command_is_listed_and_shows_how_it_is_used() {
    let all = run("--help").await.ok();
    assert!(all.contains("Exit codes:") && all.contains("NO_COLOR"), "{all}");

    let listed = all.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let listed: Vec<_> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    let known: Vec<_> = COMMANDS.iter().filter(|name| !name.contains(' ')).copied().collect();
    assert_eq!(listed, known);
    for name in COMMANDS {
        let help = run(&format!("{name} --help")).await.ok();
        let example = help.split("Example").nth(1).unwrap_or_default();
        assert!(example.contains(&format!("cloudskin {name}")), "{name}:\n{help}");
        assert!(!help.contains('\x1b'), "colours are for terminals: {help:?}");
    }
}

#[tokio::test]
async fn mistakes_on_the_command_line_have_their_own_code() {
    for wrong in
        ["", "fly", "get", "apply", "wait service/a", "migrate service/a", "get -o xml site"]
    {
        assert_eq!(run(wrong).await.code, 2, "{wrong}");
    }
    let refused = run("--url https://a get sites").await;
    assert_eq!(refused.code, 2, "{refused:?}");
    assert_eq!(run("up --loopback 10.0.0.0").await.code, 2);
    assert_eq!(run("up --sites a,a").await.code, 2);
}

#[tokio::test]
async fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&format!("completions {shell}")).await.ok();
        assert!(script.contains("migrate") && script.contains("get-contexts"), "{shell}");
    }
}

#[tokio::test]
async fn the_version_tells_what_is_spoken() {
    let text = run("version").await.ok();
    let json: serde_json::Value = serde_json::from_str(&run("version -o json").await.ok()).unwrap();

    assert!(text.starts_with("cloudskin ") && text.contains(api::API_VERSION), "{text}");
    assert_eq!(json["api"], api::API_VERSION);
}
