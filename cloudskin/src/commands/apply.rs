//! `cloudskin apply`: make it so.

use crate::{
    output::{self, FormatArgs, Style},
    progress::Progress,
    session::Session,
};
use api::{
    Kind, Resource,
    service::{Durability, OnSiteLost, ServiceSpec},
};
use clap::Args;
use orchestrator::client::{
    Applied, Client,
    manifest::{self, Manifest, Module},
};
use serde::Serialize;
use std::{io::Read, path::Path, process::ExitCode};

/// Make resources as files say
///
/// Reads YAML or JSON, several documents in one file too, and makes each resource so: it is
/// created, configured, or left unchanged. All documents are checked before the first is sent. A
/// module that is named by a path, relative to its file, is uploaded unless it is there already,
/// and its digest is written behind its name.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin apply -f street-counter.yaml
  cloudskin apply -f deploy/                      every .yaml, .yml and .json of a folder
  cloudskin apply -f service.yaml --dry-run       say what would be done
  sed s/edge/cloud/ service.yaml | cloudskin apply -f -")]
pub(crate) struct Apply {
    #[command(flatten)]
    files: Files,
    /// Check and say what would be done, but do nothing; modules are uploaded even so
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// `-f`, as `apply`, `diff` and `delete` take it.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// A file, a folder, or `-` for standard input; may be repeated
    #[arg(short, long = "filename", value_name = "FILE|DIR|-", required = true)]
    pub(crate) files: Vec<String>,
}

impl Files {
    /// Every document of every file, checked.
    pub(crate) fn read(&self, tenant: &str) -> anyhow::Result<Vec<Manifest>> {
        read(&self.files, tenant)
    }
}

/// Every document of these files, checked.
pub(crate) fn read(files: &[String], tenant: &str) -> anyhow::Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    for file in files {
        manifests.extend(match file.as_str() {
            "-" => {
                let mut text = String::new();
                // One byte more than is taken, so that what is larger is refused, not cut.
                let limit = manifest::MANIFEST_MAX_BYTES + 1;
                std::io::stdin().lock().take(limit).read_to_string(&mut text)?;
                manifest::parse(&text, "standard input", Path::new(""), tenant)?
            }
            path => manifest::read(Path::new(path), tenant)?,
        });
    }
    Ok(manifests)
}

/// What was done to one resource.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    target: String,
    change: orchestrator::client::Change,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    uploaded: Vec<String>,
    resource: Resource,
}

pub(crate) async fn run(args: Apply, session: &Session) -> anyhow::Result<ExitCode> {
    let client = session.client()?;
    let mut manifests = args.files.read(client.tenant())?;
    let mut modules = Vec::new();
    for manifest in &mut manifests {
        modules.push(manifest.link_modules()?);
        manifest.link_python()?;
    }
    let progress = Progress::new("applying");
    let mut done = Vec::new();
    for (manifest, modules) in manifests.iter().zip(&modules) {
        progress.set(&format!("applying {}", manifest.target()));
        // For a dry run too: the control plane checks that it has what a spec names, and content
        // that nothing names yet harms nobody.
        let uploaded = upload(&client, modules, &progress).await?;
        let Applied { change, resource } = client.apply(&manifest.resource, args.dry_run).await?;
        let target = manifest.target();
        if args.format.is_text() {
            // Told at once: if the next one fails, this one is done all the same.
            let suffix = if args.dry_run { " (dry run)" } else { "" };
            let word = format!("{change:?}").to_lowercase();
            let word = Style::for_stdout().by_state(&word);
            output::print(&format!("{target} {word}{suffix}\n"))?;
            if let Some(caution) = caution(&resource) {
                output::complain(&format!("note: {target}: {caution}"));
            }
        }
        done.push(Done { target, change, uploaded, resource });
    }
    drop(progress);
    if !args.format.is_text() {
        args.format.print(&done, "")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a user may take for granted and should not.
fn caution(resource: &Resource) -> Option<String> {
    let spec: ServiceSpec = (resource.kind == Kind::Service).then(|| resource.spec().ok())??;
    let both = spec.durability == Durability::Journal && spec.on_site_lost == OnSiteLost::Restart;
    both.then(|| {
        format!(
            "`durability: journal` survives every crash, but the journal stays at its site: when \
             the site itself is lost, another one goes on from a checkpoint of about the last {}, \
             and what was answered since is named once the site is back",
            spec.checkpoint_every
        )
    })
}

/// Uploads what is absent; returns the names of what it uploaded.
pub(crate) async fn upload(
    client: &Client,
    modules: &[Module],
    progress: &Progress,
) -> anyhow::Result<Vec<String>> {
    let mut uploaded = Vec::new();
    for module in modules {
        let (path, size) = (module.path.display().to_string(), module.bytes.len() >> 10);
        progress.set(&format!("uploading `{path}` ({size} KiB)"));
        if client.upload(module.bytes.clone()).await?.1 {
            uploaded.push(path);
        }
    }
    Ok(uploaded)
}
