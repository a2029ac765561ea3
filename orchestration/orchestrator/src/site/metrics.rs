//! What the site tells of itself in OpenMetrics.

use super::{
    budget,
    core::{Core, is_connected},
    pages::Told,
};
use crate::store::door::Status;
use hyper::StatusCode;
use std::{
    collections::BTreeSet,
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The media type of [`render`]'s text.
pub(crate) use telemetry::CONTENT_TYPE;

/// What ends the text.
const END: &str = "# EOF\n";

/// Upper ends, in microseconds, of the classes that answers are counted in by their time.
const BUCKETS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000];

/// Something that is counted.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn inc(&self) {
        self.add(1);
    }

    fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the agent counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) worker_deaths: Counter,
    pub(crate) link_connections: Counter,
    pub(crate) checkpoints_pushed: Counter,
    pub(crate) checkpoints_unpushed: Counter,
    /// Numbers of status pages that had no room in the text.
    pub(crate) page_numbers_dropped: Counter,
}

/// What is counted of one service's requests.
#[derive(Debug, Default)]
pub(crate) struct ServiceCounters {
    /// By the status' first digit, 2 to 5.
    classes: [Counter; 4],
    /// How many took at most so long, each class on its own.
    buckets: [Counter; BUCKETS_US.len() + 1],
    sum_us: Counter,
}

impl ServiceCounters {
    pub(crate) fn count(&self, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(2, 5) - 2;
        self.classes[class].inc();
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|end| *end < took_us);
        self.buckets[bucket].inc();
        self.sum_us.add(took_us);
    }
}

impl ServiceCounters {
    /// What was answered, for the control plane.
    pub(crate) fn answers(&self) -> api::link::Answers {
        let [good @ .., failed] = &self.classes;
        api::link::Answers {
            count: good.iter().map(Counter::get).sum(),
            failed: failed.get(),
            sum_us: self.sum_us.get(),
        }
    }
}

/// All metrics of the site now.
pub(crate) fn render(core: &Core) -> String {
    rendered(core, core.pages.now())
}

/// The same for the control plane, with what status pages said since it last asked.
pub(crate) fn render_for_control(core: &Core) -> String {
    rendered(core, core.pages.take())
}

fn rendered(core: &Core, mut pages: Vec<Told>) -> String {
    core.metrics.page_numbers_dropped.add(budget::fit(&mut pages));
    // What the system knows of this process comes first.
    let mut text = telemetry::Registry::new().render().unwrap_or_default();
    text.truncate(text.strip_suffix(END).map_or(0, str::len));
    // Writing to a String cannot fail.
    let _ = write_site(&mut text, core)
        .and_then(|()| write_services(&mut text, core))
        .and_then(|()| write_pages(&mut text, &pages));
    text.push_str(END);
    text
}

fn write_site(text: &mut String, core: &Core) -> std::fmt::Result {
    let (services, cells) = core.read(|inner| (inner.state.records.len(), inner.state.cells.len()));
    let gauges = [
        (
            "cloudskin_site_connected",
            "Whether the control plane is connected",
            u64::from(is_connected(core)),
        ),
        ("cloudskin_site_lease", "Whether the lease holds", u64::from(core.lease_holds())),
        ("cloudskin_site_services", "Services that the site holds", services as u64),
        ("cloudskin_site_cells", "Cells of run that the site holds", cells as u64),
    ];
    for (name, help, value) in gauges {
        writeln!(text, "# TYPE {name} gauge\n# HELP {name} {help}.\n{name} {value}")?;
    }
    let metrics = &core.metrics;
    let counters = [
        ("cloudskin_site_worker_deaths", "Workers that died", &metrics.worker_deaths),
        (
            "cloudskin_site_link_connections",
            "Connections to the control plane",
            &metrics.link_connections,
        ),
        (
            "cloudskin_site_checkpoints_pushed",
            "Checkpoints left with peers",
            &metrics.checkpoints_pushed,
        ),
        (
            "cloudskin_site_checkpoints_unpushed",
            "Checkpoints that no peer took",
            &metrics.checkpoints_unpushed,
        ),
        (
            "cloudskin_site_page_numbers_dropped",
            "Numbers of status pages that were too many to tell",
            &metrics.page_numbers_dropped,
        ),
    ];
    for (name, help, value) in counters {
        let value = value.get();
        writeln!(text, "# TYPE {name} counter\n# HELP {name} {help}.\n{name}_total {value}")?;
    }
    match &core.store {
        Some(store) => write_store(text, &store.status()),
        None => Ok(()),
    }
}

/// What the store said last; nothing before it has begun.
fn write_store(text: &mut String, status: &Status) -> std::fmt::Result {
    type Get = fn(&geds::Usage) -> u64;
    let gauges: [(&str, &str, Get); 5] = [
        ("cloudskin_store_objects", "Objects that the site holds", |usage| usage.objects),
        ("cloudskin_store_memory_bytes", "Memory of objects", |usage| usage.memory_bytes),
        ("cloudskin_store_disk_bytes", "Disk space of objects", |usage| usage.disk_bytes),
        ("cloudskin_store_processes", "Programs that use the store", |usage| usage.processes),
        ("cloudskin_store_lost", "Objects that were lost with a store", |usage| usage.lost),
    ];
    for (name, help, get) in gauges {
        writeln!(text, "# TYPE {name} gauge\n# HELP {name} {help}.")?;
        for (tenant, usage) in &status.tenants {
            writeln!(text, "{name}{{tenant=\"{tenant}\"}} {}", get(usage))?;
        }
    }
    Ok(())
}

/// What the status pages of services say: numbers of the past with their times, then what holds now.
fn write_pages(text: &mut String, pages: &[Told]) -> std::fmt::Result {
    let failures = "cloudskin_service_page_failures";
    writeln!(text, "# TYPE {failures} counter")?;
    writeln!(text, "# HELP {failures} Fetches of status pages that came to nothing.")?;
    for Told { tenant, service, failures: count, .. } in pages {
        let labels = format!("tenant=\"{tenant}\",service=\"{service}\"");
        writeln!(text, "{failures}_total{{{labels}}} {count}")?;
    }
    let names: BTreeSet<&String> = pages.iter().flat_map(|page| page.values.keys()).collect();
    for name in names {
        writeln!(text, "# TYPE {name} gauge")?;
        for Told { tenant, service, cell, values, .. } in pages {
            let Some(value) = values.get(name) else { continue };
            let labels = format!("tenant=\"{tenant}\",service=\"{service}\",cell=\"{cell}\"");
            for (at_ms, number) in &value.past {
                let (seconds, millis) = (at_ms / 1000, at_ms % 1000);
                let number = shown(*number);
                writeln!(text, "{name}{{{labels}}} {number} {seconds}.{millis:03}")?;
            }
            if let Some(number) = value.now {
                writeln!(text, "{name}{{{labels}}} {}", shown(number))?;
            }
        }
    }
    Ok(())
}

/// A number in few letters: a page's `1e300` would else be written with all its zeros.
fn shown(number: f64) -> String {
    match number.abs() {
        0.0 | 1e-5..1e16 => number.to_string(),
        _ => format!("{number:e}"),
    }
}

fn write_services(text: &mut String, core: &Core) -> std::fmt::Result {
    let queues = core.routes.all();
    let labels = |queue: &super::ingress::Queue| {
        // Both are names, which need no escapes.
        format!("tenant=\"{}\",service=\"{}\"", queue.tenant, queue.name)
    };
    let requests = "cloudskin_ingress_requests";
    writeln!(text, "# TYPE {requests} counter\n# HELP {requests} Requests by status class.")?;
    for queue in &queues {
        for (class, count) in queue.counters.classes.iter().enumerate() {
            let (labels, count) = (labels(queue), count.get());
            writeln!(text, "{requests}_total{{{labels},class=\"{}xx\"}} {count}", class + 2)?;
        }
    }
    let waiting = "cloudskin_ingress_waiting_requests";
    writeln!(text, "# TYPE {waiting} gauge\n# HELP {waiting} Requests that wait for a service.")?;
    for queue in &queues {
        writeln!(text, "{waiting}{{{}}} {}", labels(queue), queue.waiting())?;
    }
    let time = "cloudskin_ingress_request_seconds";
    writeln!(text, "# TYPE {time} histogram\n# UNIT {time} seconds")?;
    writeln!(text, "# HELP {time} From a request's head to its answer.")?;
    for queue in &queues {
        let labels = labels(queue);
        let mut below = 0;
        for (end, count) in BUCKETS_US.iter().zip(&queue.counters.buckets) {
            below += count.get();
            let end = Duration::from_micros(*end).as_secs_f64();
            writeln!(text, "{time}_bucket{{{labels},le=\"{end:?}\"}} {below}")?;
        }
        below += queue.counters.buckets[BUCKETS_US.len()].get();
        writeln!(text, "{time}_bucket{{{labels},le=\"+Inf\"}} {below}")?;
        writeln!(text, "{time}_count{{{labels}}} {below}")?;
        let sum = Duration::from_micros(queue.counters.sum_us.get()).as_secs_f64();
        writeln!(text, "{time}_sum{{{labels}}} {sum}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_pages_are_short_and_stay_what_they_are() {
        for number in [0.0, -0.0, 1.0, -12.5, 1e-300, 123_456_789e-320, f64::MAX, f64::MIN, 1e16] {
            let text = shown(number);
            assert!(text.len() <= 25, "{text}");
            assert_eq!(text.parse::<f64>().unwrap(), number);
        }
        assert_eq!(shown(7.0), "7");
    }
}
