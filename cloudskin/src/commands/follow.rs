//! Starting a cell at a site and following it to its end.

use crate::{exit::Failure, output::print};
use anyhow::Context;
use api::{
    Resource,
    cell::{CellSpec, CellStatus},
};
use orchestrator::client::Client;
use std::{collections::BTreeMap, path::Path, process::ExitCode, time::Duration};
use types::ErrorKind;

/// How often a running cell is asked for more.
const PERIOD: Duration = Duration::from_millis(100);

/// Most bytes of a log in one answer.
const PIECE_BYTES: u64 = 256 << 10;

/// Uploads a module unless it is there; `NAME.wasm@sha256:…`.
pub(crate) async fn upload(client: &Client, module: &Path) -> anyhow::Result<String> {
    let bytes = tokio::fs::read(module)
        .await
        .with_context(|| format!("cannot read `{}`", module.display()))?;
    let (digest, _) = client.upload(bytes.into()).await?;
    let name = module.file_name().unwrap_or(module.as_os_str()).to_string_lossy();
    Ok(format!("{name}@{digest}"))
}

/// A name for a cell that runs this module.
pub(crate) fn name_for(module: &str) -> String {
    let stem = Path::new(module).file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let allowed = |character: char| if character.is_ascii_alphanumeric() { character } else { '-' };
    let stem: String = stem.chars().map(allowed).take(40).collect();
    let id = types::random_id();
    format!("{}-{}", stem.trim_matches('-'), &id[..6]).trim_matches('-').to_owned()
}

/// Applies the cell, shows its log until it ends; its exit code.
pub(crate) async fn start_and_follow(client: &Client, cell: &Resource) -> anyhow::Result<ExitCode> {
    client.apply(cell, false).await?;
    let (kind, name) = (cell.kind, &cell.metadata.name);
    let spec: CellSpec = cell.spec()?;
    let mut offsets: BTreeMap<String, u64> = BTreeMap::new();
    loop {
        let status: CellStatus = client.get(kind, name).await?.status();
        let ended = status.exit_code.is_some() || status.error.is_some();
        // What was written before the end is read after it was seen.
        let own = status.site(&spec).map(str::to_owned);
        let sites = status.ranks.map_or_else(|| own.into_iter().collect(), |ranks| ranks.sites);
        for site in sites {
            let offset = offsets.entry(site.clone()).or_default();
            *offset = show(client, cell, &site, *offset).await?;
        }
        match (status.exit_code, status.error) {
            (Some(code), _) => return Ok(ExitCode::from(code as u8)),
            (_, Some(error)) => return Err(Failure::error(ErrorKind::Guest, error)),
            _ if ended => {}
            _ => tokio::time::sleep(PERIOD).await,
        }
    }
}

/// Prints what is new; the offset behind it.
async fn show(
    client: &Client,
    cell: &Resource,
    site: &str,
    mut offset: u64,
) -> anyhow::Result<u64> {
    loop {
        let which = (cell.kind, cell.metadata.name.as_str());
        let piece = match client.logs_at(which, site, offset, PIECE_BYTES).await {
            Ok(piece) => piece,
            // Its site has not taken it up yet.
            Err(_) => return Ok(offset),
        };
        if piece.text.is_empty() {
            return Ok(offset);
        }
        print(&piece.text)?;
        offset = piece.end();
    }
}
