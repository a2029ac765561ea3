//! The columns of each kind.

use crate::{table::Table, when};
use api::{
    Kind, Resource,
    block::{BlockSpec, BlockStatus},
    cell::{CellSpec, CellStatus, Form, Ranks, RanksStatus},
    decision::{DecisionSpec, DecisionStatus},
    model::{ModelSpec, ModelStatus, Retrain},
    policy::{PolicySpec, PolicyStatus},
    service::{ServiceSpec, ServiceStatus},
    site::SiteStatus,
};
use std::collections::BTreeMap;

/// An empty table with a kind's columns.
pub(crate) fn table(kind: Kind, wide: bool) -> Table {
    let (narrow, more): (&[&str], &[&str]) = match kind {
        Kind::Service => (
            &["NAME", "PHASE", "SITE", "EPOCH", "REQUESTS", "AGE"],
            &["MODULE", "DURABILITY", "CHECKPOINT", "ADDRESS", "URL"],
        ),
        Kind::Site => (
            &["NAME", "READY", "ADDRESS", "SERVICES", "CPU", "MEMORY", "AGE"],
            &["VERSION", "SEEN", "S3", "LABELS"],
        ),
        Kind::Block => (&["NAME", "VERSION", "READY", "SERVICES", "AGE"], &[]),
        Kind::Cell => (&["NAME", "STATE", "SITE", "AGE"], &["MODULE", "ARGS"]),
        Kind::Tissue => (&["NAME", "STATE", "SITE", "SIZE", "AGE"], &["MODULE", "ARGS"]),
        Kind::Policy => (
            &["NAME", "SERVICE", "SLA", "READY", "LAST RUN", "SAID", "AGE"],
            &["SHAPE", "MODEL", "REASON"],
        ),
        Kind::Model => (
            &[
                "NAME",
                "READY",
                "FITS",
                "PRODUCTION",
                "PREDICTS",
                "RMSE",
                "OF NAIVE",
                "80 % HOLDS",
                "AGE",
            ],
            &["KIND", "VERSIONS", "RETRAIN"],
        ),
        Kind::Decision => (&["NAME", "ACTION", "SUBJECT", "BY", "OUTCOME", "AGE"], &["REASON"]),
    };
    let more = if wide { more } else { &[] };
    Table::new(&[narrow, more].concat())
}

/// A resource's cells for these columns.
pub(crate) fn row(resource: &Resource, wide: bool, now: u64) -> Vec<String> {
    let age = match resource.metadata.deletion_timestamp {
        Some(since) => format!("deleting for {}", when::age(Some(since), now)),
        None => when::age(resource.metadata.creation_timestamp, now),
    };
    let (mut cells, more) = match resource.kind {
        Kind::Service => service(resource, age, now),
        Kind::Site => site(resource, age, now),
        Kind::Block => block(resource, age),
        Kind::Cell => cell(resource, age),
        Kind::Tissue => tissue(resource, age),
        Kind::Policy => policy(resource, age, now),
        Kind::Model => model(resource, age),
        Kind::Decision => decision(resource, age),
    };
    cells.insert(0, resource.metadata.name.clone());
    if wide {
        cells.extend(more);
    }
    cells
}

type Cells = (Vec<String>, Vec<String>);

fn service(resource: &Resource, age: String, now: u64) -> Cells {
    let status: ServiceStatus = resource.status();
    let spec = resource.spec::<ServiceSpec>().ok();
    let site = match &status.migration {
        Some(migration) => format!("{} → {}", migration.from, migration.to),
        None => status.site.unwrap_or_default(),
    };
    let cells = vec![
        format!("{:?}", status.phase),
        site,
        status.epoch.to_string(),
        status.requests_answered.to_string(),
        age,
    ];
    let module = spec.as_ref().map(|spec| spec.module_name().to_owned());
    let durability = spec.map(|spec| format!("{:?}", spec.durability).to_lowercase());
    let more = vec![
        module.unwrap_or_default(),
        durability.unwrap_or_default(),
        when::age(status.last_checkpoint, now),
        status.address.map(|address| address.to_string()).unwrap_or_default(),
        status.url.unwrap_or_default(),
    ];
    (cells, more)
}

fn site(resource: &Resource, age: String, now: u64) -> Cells {
    let status: SiteStatus = resource.status();
    let address = status.address.map(|address| address.to_string());
    let cells = vec![
        yes(status.ready),
        address.unwrap_or_default(),
        status.services.to_string(),
        status.cpu.to_string(),
        size(status.memory),
        age,
    ];
    let seen = when::age(Some(status.last_seen), now);
    let s3 = status.store.map(|store| format!("http://{}", store.s3)).unwrap_or_default();
    (cells, vec![status.version, seen, s3, labels(&resource.metadata.labels)])
}

fn block(resource: &Resource, age: String) -> Cells {
    let status: BlockStatus = resource.status();
    let version = resource.spec::<BlockSpec>().map(|spec| spec.version).unwrap_or_default();
    let ready = status.conditions.iter().any(|fact| fact.kind == "Ready" && fact.status);
    (vec![version, yes(ready), status.services.join(", "), age], Vec::new())
}

fn cell(resource: &Resource, age: String) -> Cells {
    let status: CellStatus = resource.status();
    let state = match (status.running, status.exit_code, &status.error) {
        (true, ..) => "running".to_owned(),
        (_, _, Some(_)) => "failed".to_owned(),
        (_, Some(0), None) => "done".to_owned(),
        (_, Some(code), None) => format!("exit {code}"),
        (_, None, None) => "pending".to_owned(),
    };
    let spec = resource.spec::<CellSpec>().ok();
    let own = || spec.as_ref().and_then(|spec| status.site(spec)).unwrap_or_default().to_owned();
    let site = status.ranks.as_ref().map_or_else(own, at_sites);
    let more = spec.map(|spec| {
        let name = spec.module.split('@').next().unwrap_or_default().to_owned();
        vec![name, spec.args.join(" ")]
    });
    (vec![state, site, age], more.unwrap_or_default())
}

/// `edge:2 cloud:2`, or the one site that has all ranks.
fn at_sites(ranks: &RanksStatus) -> String {
    let layout = ranks.wanted();
    let name = |number: u32| ranks.site(number).unwrap_or("?");
    match layout.sites()[..] {
        [one] => name(one).to_owned(),
        ref several => {
            let part = |site: &u32| format!("{}:{}", name(*site), layout.ranks(*site).count());
            several.iter().map(part).collect::<Vec<_>>().join(" ")
        }
    }
}

fn tissue(resource: &Resource, age: String) -> Cells {
    let (mut cells, more) = cell(resource, age);
    let form = resource.spec::<CellSpec>().ok().and_then(|spec| spec.form);
    let size = form.map(|form| match form {
        Form::Ranks(Ranks { count: 1, .. }) => "1 rank".to_owned(),
        Form::Ranks(Ranks { count, .. }) => format!("{count} ranks"),
        Form::Threads(threads) => {
            let cpus = resource.status::<CellStatus>().cpus.unwrap_or(threads.cpus);
            format!("{cpus} of {} CPUs", threads.ceiling())
        }
    });
    cells.insert(2, size.unwrap_or_default());
    (cells, more)
}

fn policy(resource: &Resource, age: String, now: u64) -> Cells {
    let status: PolicyStatus = resource.status();
    let spec = resource.spec::<PolicySpec>().ok();
    let ready = status.conditions.iter().any(|fact| fact.kind == "Ready" && fact.status);
    let said = status.last.as_ref().map(|last| match &last.go {
        Some(site) => format!("go to {site}"),
        None if last.alarm => "stay, alarm".to_owned(),
        None => "stay".to_owned(),
    });
    let of = |field: fn(&PolicySpec) -> String| spec.as_ref().map(field).unwrap_or_default();
    let cells = vec![
        of(|spec| spec.service.clone()),
        of(|spec| spec.sla.to_string()),
        yes(ready),
        when::age(status.last_run, now),
        said.unwrap_or_default(),
        age,
    ];
    let reason = status.last.map(|last| last.reason).unwrap_or_default();
    let shape = of(|spec| format!("{:?}", spec.shape).to_lowercase());
    (cells, vec![shape, of(|spec| spec.model.clone()), reason])
}

fn model(resource: &Resource, age: String) -> Cells {
    let status: ModelStatus = resource.status();
    let fact = |kind: &str| {
        let found = status.conditions.iter().find(|fact| fact.kind == kind);
        found.map(|fact| yes(fact.status)).unwrap_or_default()
    };
    let used = status.versions.iter().find(|version| Some(version.id) == status.production);
    // What is not used yet is told of all the same.
    let shown = used.or(status.versions.first());
    let share = |value: Option<f64>| value.map(|value| format!("{:.1} %", 100.0 * value));
    let mut cells = vec![
        fact("Ready"),
        fact("Fits"),
        status.production.map(|id| format!("v{id}")).unwrap_or_default(),
    ];
    cells.extend(
        [
            shown.map(|it| format!("{} {}..{} s", it.target, it.ahead_s.0, it.ahead_s.1)),
            shown.map(|it| format!("{:.3}", it.rmse)),
            share(shown.and_then(|it| Some(it.rmse / it.naive_rmse?))),
            share(shown.and_then(|it| it.coverage80)),
        ]
        .map(Option::unwrap_or_default),
    );
    cells.push(age);
    let retrain = match resource.spec::<ModelSpec>().unwrap_or_default().retrain {
        Retrain::Off => "off",
        Retrain::Candidate => "candidate",
        Retrain::Promote => "promote",
    };
    let kind = shown.map(|it| it.kind.clone()).unwrap_or_default();
    (cells, vec![kind, status.versions_total.to_string(), retrain.to_owned()])
}

fn decision(resource: &Resource, age: String) -> Cells {
    let status: DecisionStatus = resource.status();
    match resource.spec::<DecisionSpec>() {
        Ok(spec) => {
            (vec![spec.action, spec.subject, spec.by, status.outcome, age], vec![spec.reason])
        }
        Err(_) => (vec![String::new(), String::new(), String::new(), status.outcome, age], vec![]),
    }
}

/// `a=1,b=2`.
pub(crate) fn labels(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// A size with few digits: `23.5Gi`; exactly, where that is as short.
pub(crate) fn size(bytes: types::Bytes) -> String {
    let exact = bytes.to_string();
    let units = [(30, "Gi"), (20, "Mi"), (10, "Ki")];
    match units.into_iter().find(|(shift, _)| bytes.0 >> shift > 0) {
        Some((shift, unit)) if exact.len() > 6 => {
            format!("{:.1}{unit}", bytes.0 as f64 / (1_u64 << shift) as f64)
        }
        _ => exact,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_few_digits() {
        let size = |bytes| size(types::Bytes(bytes));

        assert_eq!([size(64 << 20), size(24_684_084 << 10), size(0)], ["64Mi", "23.5Gi", "0"]);
    }
}
