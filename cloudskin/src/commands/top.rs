//! `cloudskin top`: what is busy.

use super::rows;
use crate::{
    output::{FormatArgs, Style},
    session::Session,
    table::Table,
};
use api::{
    Kind, Resource,
    cell::{CellSpec, CellStatus, Form, Usage},
    service::{ServiceSpec, ServiceStatus},
    site::SiteStatus,
};
use clap::Args;
use orchestrator::client::Client;
use serde::Serialize;
use std::{collections::BTreeMap, process::ExitCode};
use types::Period;

/// Show which services and programs are busy, and how full sites are
///
/// Looks twice, an interval apart, for requests and processor time; beside it is what services
/// have reserved, and what their sites offer. Of programs each line is what runs at one site.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin top
  cloudskin top --interval 5s
  cloudskin top -o json")]
pub(crate) struct Top {
    /// How long is measured
    #[arg(long, default_value = "2s", value_name = "PERIOD")]
    interval: Period,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceLoad {
    name: String,
    site: String,
    phase: String,
    requests_per_second: f64,
    requests: u64,
    cpu_used: String,
    cpu_reserved: String,
    memory_used: String,
    memory_reserved: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SiteLoad {
    name: String,
    services: usize,
    cpu_reserved: String,
    cpu: String,
    memory_reserved: String,
    memory: String,
}

/// What a cell or tissue uses at one site.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProgramLoad {
    name: String,
    site: String,
    runs: String,
    cpu_used: String,
    memory_used: String,
}

pub(crate) async fn run(args: Top, session: &Session) -> anyhow::Result<ExitCode> {
    let client = session.client()?;
    let (before, programs_before) = (counts(&client).await?, programs(&client).await?);
    tokio::time::sleep(args.interval.0).await;
    let services = client.list(Kind::Service, &[]).await?.items;
    let sites = client.list(Kind::Site, &[]).await?.items;
    let mut loads: Vec<_> = services.iter().map(|service| service_load(service, &before)).collect();
    loads.sort_by(|a, b| b.requests_per_second.total_cmp(&a.requests_per_second));
    let sites: Vec<_> = sites.iter().map(|site| site_load(site, &services)).collect();
    let programs: Vec<_> = programs(&client)
        .await?
        .iter()
        .flat_map(|program| program_loads(program, &programs_before))
        .collect();
    let value = serde_json::json!({ "sites": sites, "services": loads, "programs": programs });
    args.format.print(&value, &text(&sites, &loads, &programs))?;
    Ok(ExitCode::SUCCESS)
}

/// What a service's site has counted, and when.
#[derive(Debug, Clone, Copy)]
struct Count {
    requests: u64,
    cpu_us: u64,
    at_ms: u64,
}

/// By uid, epoch and incarnation: each counts from nothing.
type Counts = BTreeMap<(String, u64, u32), Count>;

fn counts_of(service: &Resource) -> ((String, u64, u32), Count) {
    let status: ServiceStatus = service.status();
    let life = (service.metadata.uid.clone(), status.epoch.0, status.incarnation);
    let (requests, cpu_us) = (status.requests_answered, status.cpu_us);
    (life, Count { requests, cpu_us, at_ms: status.counted_at.unwrap_or_default() })
}

impl Count {
    /// Requests a second and millicores since then; nothing if the site has not counted again.
    fn since(self, before: Self) -> (f64, f64) {
        let seconds = self.at_ms.saturating_sub(before.at_ms) as f64 / 1000.0;
        if seconds == 0.0 {
            return (0.0, 0.0);
        }
        let requests = self.requests.saturating_sub(before.requests) as f64;
        let cpu_ms = self.cpu_us.saturating_sub(before.cpu_us) as f64 / 1000.0;
        (requests / seconds, cpu_ms / seconds)
    }
}

async fn counts(client: &Client) -> anyhow::Result<Counts> {
    Ok(client.list(Kind::Service, &[]).await?.items.iter().map(counts_of).collect())
}

/// Cells and tissues.
async fn programs(client: &Client) -> anyhow::Result<Vec<Resource>> {
    let mut programs = client.list(Kind::Tissue, &[]).await?.items;
    programs.extend(client.list(Kind::Cell, &[]).await?.items);
    Ok(programs)
}

/// A line for each site that runs some of it.
fn program_loads(program: &Resource, before: &[Resource]) -> Vec<ProgramLoad> {
    let status: CellStatus = program.status();
    let earlier = before.iter().find(|other| other.metadata.uid == program.metadata.uid);
    let earlier = earlier.map(|earlier| earlier.status::<CellStatus>().usage).unwrap_or_default();
    let form = program.spec::<CellSpec>().ok().and_then(|spec| spec.form);
    let load = |(site, now): (&String, &Usage)| {
        // What began, or began anew, meanwhile is not measured yet.
        let since = earlier.get(site).filter(|before| before.cpu_us <= now.cpu_us);
        let before = since.unwrap_or(now);
        let ms = now.at.saturating_sub(before.at).max(1) as f64;
        let millicores = (now.cpu_us - before.cpu_us) as f64 / ms;
        let runs = match (&form, &status.ranks) {
            (Some(Form::Ranks(_)), Some(ranks)) => {
                let number = ranks.sites.iter().position(|name| name == site).unwrap_or(0);
                format!("{} ranks", ranks.layout.ranks(number as u32).count())
            }
            (Some(Form::Threads(threads)), _) => {
                format!("{} CPUs", status.cpus.unwrap_or(threads.cpus))
            }
            _ => String::new(),
        };
        ProgramLoad {
            name: format!("{}/{}", program.kind.path(), program.metadata.name),
            site: site.clone(),
            runs,
            cpu_used: types::Cpu(millicores.round() as u64).to_string(),
            memory_used: rows::size(now.memory),
        }
    };
    status.usage.iter().filter(|_| status.running).map(load).collect()
}

fn service_load(service: &Resource, before: &Counts) -> ServiceLoad {
    let status: ServiceStatus = service.status();
    let (life, count) = counts_of(service);
    // One that began meanwhile is not measured yet.
    let (rate, millicores) = count.since(before.get(&life).copied().unwrap_or(count));
    let resources = service.spec::<ServiceSpec>().map(|spec| spec.resources).ok();
    let shown = |text: Option<String>| text.unwrap_or_default();
    ServiceLoad {
        name: service.metadata.name.clone(),
        site: shown(status.site),
        phase: format!("{:?}", status.phase),
        requests_per_second: (rate * 10.0).round() / 10.0,
        requests: count.requests,
        cpu_used: types::Cpu(millicores.round() as u64).to_string(),
        cpu_reserved: shown(resources.as_ref().map(|resources| resources.cpu.to_string())),
        memory_used: rows::size(status.memory),
        memory_reserved: shown(resources.as_ref().map(|resources| resources.memory.to_string())),
    }
}

fn site_load(site: &Resource, services: &[Resource]) -> SiteLoad {
    let status: SiteStatus = site.status();
    let name = site.metadata.name.clone();
    let here: Vec<_> = services
        .iter()
        .filter(|service| service.status::<ServiceStatus>().site.as_ref() == Some(&name))
        .filter_map(|service| service.spec::<ServiceSpec>().ok())
        .collect();
    let cpu = here.iter().map(|spec| spec.resources.cpu.0).sum();
    let memory = here.iter().map(|spec| spec.resources.memory.0).sum();
    SiteLoad {
        name,
        services: here.len(),
        cpu_reserved: types::Cpu(cpu).to_string(),
        cpu: status.cpu.to_string(),
        memory_reserved: rows::size(types::Bytes(memory)),
        memory: rows::size(status.memory),
    }
}

fn text(sites: &[SiteLoad], services: &[ServiceLoad], programs: &[ProgramLoad]) -> String {
    let style = Style::for_stdout();
    let mut table = Table::new(&["SITE", "SERVICES", "CPU", "OF", "MEMORY", "OF"]);
    for site in sites {
        table.row(vec![
            site.name.clone(),
            site.services.to_string(),
            site.cpu_reserved.clone(),
            site.cpu.clone(),
            site.memory_reserved.clone(),
            site.memory.clone(),
        ]);
    }
    let sites = table.render(style);
    let mut table = Table::new(&[
        "SERVICE",
        "SITE",
        "PHASE",
        "REQUESTS/S",
        "REQUESTS",
        "CPU",
        "OF",
        "MEMORY",
        "OF",
    ]);
    for service in services {
        table.row(vec![
            service.name.clone(),
            service.site.clone(),
            service.phase.clone(),
            format!("{:.1}", service.requests_per_second),
            service.requests.to_string(),
            service.cpu_used.clone(),
            service.cpu_reserved.clone(),
            service.memory_used.clone(),
            service.memory_reserved.clone(),
        ]);
    }
    let mut text = format!("{sites}\n{}", table.render(style));
    if !programs.is_empty() {
        let mut table = Table::new(&["PROGRAM", "SITE", "RUNS", "CPU", "MEMORY"]);
        for ProgramLoad { name, site, runs, cpu_used, memory_used } in programs {
            let cells = [name, site, runs, cpu_used, memory_used];
            table.row(cells.map(Clone::clone).to_vec());
        }
        text.push_str(&format!("\n{}", table.render(style)));
    }
    text
}
