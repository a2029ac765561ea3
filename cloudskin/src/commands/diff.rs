//! `cloudskin diff`: what an apply would change.

use super::apply::{self, Files};
use crate::{
    output::{self, Style},
    progress::Progress,
    session::Session,
};
use clap::Args;
use orchestrator::client::{self, unified};
use std::process::ExitCode;

/// Show what an apply would change
///
/// Prints a unified diff of labels, annotations and spec between what is stored and what the
/// control plane would make of the files. The exit code is 0 when nothing differs and 1 when
/// something does.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin diff -f street-counter.yaml
  cloudskin diff -f deploy/ || cloudskin apply -f deploy/")]
pub(crate) struct Diff {
    #[command(flatten)]
    files: Files,
    /// Print the differences as JSON: target, stored, given
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text", value_name = "FORMAT")]
    output: String,
}

pub(crate) async fn run(args: Diff, session: &Session) -> anyhow::Result<ExitCode> {
    let client = session.client()?;
    let progress = Progress::new("comparing");
    let mut differences = Vec::new();
    let mut text = String::new();
    for mut manifest in args.files.read(client.tenant())? {
        let modules = manifest.link_modules()?;
        manifest.link_python()?;
        // The control plane checks that it has what a spec names.
        apply::upload(&client, &modules, &progress).await?;
        let stored = client.find_stored(&manifest.resource).await?;
        // The control plane fills in defaults: only its own answer can be compared.
        let given = client.apply(&manifest.resource, true).await?.resource;
        let difference = unified(stored.as_ref(), &given);
        if difference.is_empty() {
            continue;
        }
        text += &colour(&difference);
        let document = |resource: &api::Resource| client::documents(resource);
        differences.push(serde_json::json!({
            "target": manifest.target(),
            "stored": stored.as_ref().map(document),
            "given": document(&given),
        }));
    }
    drop(progress);
    match args.output.as_str() {
        "json" => output::print(&output::json(&differences))?,
        _ => output::print(&text)?,
    }
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn colour(difference: &str) -> String {
    let style = Style::for_stdout();
    let line = |line: &str| match line.as_bytes().first() {
        Some(b'+') => style.good(line),
        Some(b'-') => style.bad(line),
        _ => line.to_owned(),
    };
    output::tame(difference).lines().map(|text| line(text) + "\n").collect()
}
