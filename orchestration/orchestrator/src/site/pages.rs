//! Status pages of services, fetched from the cells that this site runs, and the numbers that are in them.
//!
//! A page is whatever a stranger's program writes. It is asked for by a request like any other, within a time and a
//! size; what it says wrong is counted and said, and costs nobody else anything. Users' requests go before: they are
//! counted at the ingress, these are not.

use super::{
    core::Core,
    ingress::{Gate, Queue, Target},
    state::Role,
};
use api::{link::Assignment, service::Metrics};
use bytes::Bytes;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Semaphore, time::timeout};
use types::{Clock, ErrorKind};

/// Between two looks at which pages are due.
const TICK: Duration = Duration::from_millis(250);
/// Fetches at a time.
const FETCHES_MAX: usize = 32;
/// A page of numbers is small.
const PAGE_MAX_BYTES: usize = 256 << 10;
/// How long a page may take, and no longer than until the next is due.
const PATIENCE: Duration = Duration::from_secs(5);
/// Numbers of a value that wait for the control plane; the oldest go first.
const PAST_MAX: usize = 64;
/// Values whose problems are told by name.
const NAMED_MAX: usize = 3;
/// Most bytes of a problem.
const PROBLEM_MAX_BYTES: usize = 400;

/// What status pages said.
#[derive(Debug, Default)]
pub(crate) struct Pages(Mutex<HashMap<String, Page>>);

/// One service's.
#[derive(Debug, Default)]
struct Page {
    tenant: String,
    service: String,
    /// Epoch and incarnation of the cell that answered last.
    cell: String,
    /// On the monotonic clock.
    due: Duration,
    under_way: bool,
    /// Nothing before the first fetch has ended.
    problem: Option<String>,
    failures: u64,
    values: BTreeMap<String, Numbers>,
}

/// What a value was, and what it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Numbers {
    /// Milliseconds since the Unix epoch, and the number.
    pub(crate) past: VecDeque<(u64, f64)>,
    /// Nothing if the last page did not say it.
    pub(crate) now: Option<f64>,
}

/// What is told of a service.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    pub(crate) tenant: String,
    pub(crate) service: String,
    pub(crate) cell: String,
    pub(crate) failures: u64,
    pub(crate) values: BTreeMap<String, Numbers>,
}

/// What a page says.
#[derive(Debug, Default, PartialEq)]
struct Reading {
    numbers: BTreeMap<String, f64>,
    /// What is wrong with the rest; empty if nothing is.
    problem: String,
}

impl Pages {
    /// What is wrong with a service's page; empty if nothing is, nothing if none was fetched.
    pub(crate) fn problem(&self, uid: &str) -> Option<String> {
        self.lock().get(uid)?.problem.clone()
    }

    /// What pages say now.
    pub(crate) fn now(&self) -> Vec<Told> {
        self.lock().values().map(|page| page.told(|_| VecDeque::new())).collect()
    }

    /// What pages said since this was last asked.
    pub(crate) fn take(&self) -> Vec<Told> {
        let mut pages = self.lock();
        let each = pages.values_mut().map(|page| {
            let told = page.told(|numbers| numbers.past.clone());
            page.values.values_mut().for_each(|numbers| numbers.past.clear());
            told
        });
        each.collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Page>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a page is due, on the monotonic clock.
    fn due(&self, uid: &str) -> Duration {
        self.lock().get(uid).map_or(Duration::ZERO, |page| page.due)
    }

    /// Whether a service's page is due; if so, nobody else fetches it meanwhile.
    fn begin(&self, wanted: &Assignment, every: Duration, now: Duration) -> bool {
        let mut pages = self.lock();
        let page = pages.entry(wanted.uid.clone()).or_default();
        if page.under_way || page.due > now {
            return false;
        }
        (page.under_way, page.due) = (true, now + every);
        page.tenant.clone_from(&wanted.tenant);
        page.service.clone_from(&wanted.name);
        true
    }

    /// Takes what came of a fetch.
    fn end(&self, uid: &str, cell: &str, at_ms: u64, came: Result<Reading, String>) {
        let mut pages = self.lock();
        let Some(page) = pages.get_mut(uid) else { return };
        page.under_way = false;
        if page.cell != cell {
            // Its numbers are other series.
            cell.clone_into(&mut page.cell);
            page.values.clear();
        }
        page.values.values_mut().for_each(|numbers| numbers.now = None);
        let problem = match came {
            Ok(reading) => {
                for (name, number) in reading.numbers {
                    page.values.entry(name).or_default().take(at_ms, number);
                }
                reading.problem
            }
            Err(problem) => {
                page.failures += 1;
                problem
            }
        };
        page.problem = Some(problem);
    }

    /// Forgets the pages of services that this site does not serve.
    fn retain(&self, served: &HashSet<String>) {
        self.lock().retain(|uid, _| served.contains(uid));
    }
}

impl Page {
    fn told(&self, past: impl Fn(&Numbers) -> VecDeque<(u64, f64)>) -> Told {
        let value = |(name, numbers): (&String, &Numbers)| {
            (name.clone(), Numbers { past: past(numbers), now: numbers.now })
        };
        Told {
            tenant: self.tenant.clone(),
            service: self.service.clone(),
            cell: self.cell.clone(),
            failures: self.failures,
            values: self.values.iter().map(value).collect(),
        }
    }
}

impl Numbers {
    fn take(&mut self, at_ms: u64, number: f64) {
        self.now = Some(number);
        // A clock that was set back tells nothing twice.
        if self.past.back().is_none_or(|(last, _)| *last < at_ms) {
            self.past.push_back((at_ms, number));
        }
        while self.past.len() > PAST_MAX {
            self.past.pop_front();
        }
    }
}

/// Fetches pages as they are due, until the agent stops.
pub(crate) async fn run(core: Arc<Core>) {
    let places = Arc::new(Semaphore::new(FETCHES_MAX));
    loop {
        tokio::time::sleep(TICK).await;
        let mut wanted = wanted(&core);
        // Pages that are slow and due again all the time must not keep others out.
        wanted.sort_by_key(|wanted| core.pages.due(&wanted.uid));
        core.pages.retain(&wanted.iter().map(|wanted| wanted.uid.clone()).collect());
        for wanted in wanted {
            // Never closed; who has no place is asked at the next look.
            let Ok(place) = places.clone().try_acquire_owned() else { break };
            let Some(metrics) = &wanted.spec.metrics else { continue };
            let now = core.clock.monotonic();
            let Some(queue) = core.routes.by_uid(&wanted.uid) else { continue };
            // Only of a cell that answers here: while it moves or starts nothing is asked.
            if !matches!(queue.route().gate, Gate::Serve(_))
                || !core.pages.begin(&wanted, metrics.every.0, now)
            {
                continue;
            }
            let fetching = core.clone();
            core.spawn(async move {
                fetch(&fetching, &queue, &wanted).await;
                drop(place);
            });
        }
    }
}

/// The services whose pages this site fetches.
fn wanted(core: &Core) -> Vec<Assignment> {
    core.read(|inner| {
        let records = inner.state.records.values();
        let own = records.filter(|record| {
            record.role == Role::Serve && record.assignment.spec.metrics.is_some()
        });
        own.map(|record| record.assignment.clone()).collect()
    })
}

async fn fetch(core: &Core, queue: &Queue, wanted: &Assignment) {
    let Some(metrics) = &wanted.spec.metrics else { return };
    let route = queue.route();
    let Gate::Serve(target) = &route.gate else {
        return core.pages.end(&wanted.uid, "", 0, Err("it does not answer at the moment".into()));
    };
    let patience = PATIENCE.min(metrics.every.0).min(route.timeout);
    let asked = timeout(patience, ask(core, target, wanted, metrics)).await;
    let late =
        || Err(format!("`{}` was not answered within {} ms", metrics.path, patience.as_millis()));
    let answered = asked.unwrap_or_else(|_| late());
    let came = answered.and_then(|body| {
        // The text is bounded, and so is its depth: the parser gives up at 128.
        read(&body, &metrics.values).map_err(|why| format!("`{}` {why}", metrics.path))
    });
    let text = |value: &hyper::header::HeaderValue| value.to_str().unwrap_or("?").to_owned();
    let cell = format!("{}.{}", text(&target.epoch), text(&target.incarnation));
    let came = came
        .map(|reading| Reading { problem: shortened(reading.problem), ..reading })
        .map_err(shortened);
    core.pages.end(&wanted.uid, &cell, core.wall_ms(), came);
}

/// The page's bytes.
async fn ask(
    core: &Core,
    target: &Target,
    wanted: &Assignment,
    metrics: &Metrics,
) -> Result<Bytes, String> {
    let id = types::random_id();
    let headers: [(&str, &[u8]); 3] = [
        (cells::record::REQUEST_ID, id.as_bytes()),
        ("host", wanted.name.as_bytes()),
        ("accept", b"application/json"),
    ];
    let record = cells::record::encode_request("GET", &metrics.path, headers.into_iter(), &[])
        .map_err(|error| error.to_string())?;
    let frame =
        target.client.request(target.handle, &id, &record).await.map_err(
            |failure| match failure.kind {
                ErrorKind::Fenced | ErrorKind::Unavailable => "it is moving or starting".to_owned(),
                _ => format!("`{}` failed: {}", metrics.path, failure.message),
            },
        )?;
    // An answer counts only while the site may give it.
    if target.lease_bound && !core.lease_holds() {
        return Err("the site's lease has run out".into());
    }
    let answer = cells::record::decode_answer(&frame).map_err(|error| error.to_string())?;
    let path = &metrics.path;
    match answer.status {
        200 if answer.body.len() <= PAGE_MAX_BYTES => Ok(answer.body),
        200 => {
            let size = answer.body.len();
            Err(format!("`{path}` has {size} bytes: a status page has at most {PAGE_MAX_BYTES}"))
        }
        status @ 300..400 => Err(format!(
            "`{path}` answers {status}: name the page itself, redirects are not followed"
        )),
        status => Err(format!("`{path}` answers {status}, and not 200")),
    }
}

/// The numbers of a page; what is no number is said, and leaves the others as they are.
fn read(page: &[u8], values: &BTreeMap<String, String>) -> Result<Reading, String> {
    let page: Value =
        serde_json::from_slice(page).map_err(|error| format!("is no JSON: {error}"))?;
    let mut reading = Reading::default();
    let mut wrong = Vec::new();
    for (name, pointer) in values {
        match page.pointer(pointer).map_or(Err("nothing"), number) {
            Ok(number) => drop(reading.numbers.insert(name.clone(), number)),
            Err(what) => wrong.push(format!("`{name}`: there is {what} at `{pointer}`")),
        }
    }
    let more = wrong.len().saturating_sub(NAMED_MAX);
    wrong.truncate(NAMED_MAX);
    reading.problem = wrong.join("; ");
    if more > 0 {
        reading.problem.push_str(&format!("; and {more} more"));
    }
    Ok(reading)
}

fn number(value: &Value) -> Result<f64, &'static str> {
    match value {
        Value::Number(number) => {
            number.as_f64().filter(|number| number.is_finite()).ok_or("a number too large")
        }
        Value::Bool(yes) => Ok(f64::from(u8::from(*yes))),
        Value::Null => Err("null, and no number,"),
        Value::String(_) => Err("a text, and no number,"),
        Value::Array(_) => Err("a list, and no number,"),
        Value::Object(_) => Err("an object, and no number,"),
    }
}

/// A problem may quote what a stranger wrote.
fn shortened(mut problem: String) -> String {
    problem.truncate(problem.floor_char_boundary(PROBLEM_MAX_BYTES));
    problem
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, at)| ((*name).to_owned(), (*at).to_owned())).collect()
    }

    #[test]
    fn numbers_are_read_and_what_is_none_is_said_and_leaves_the_others() {
        let page = br#"{"queue": {"length": 7, "open": true}, "a/b": [1.5, "NaN"], "big": 1e308, "n": null}"#;
        let wanted =
            [("q", "/queue/length"), ("open", "/queue/open"), ("x", "/a~1b/0"), ("big", "/big")];
        let all = read(page, &values(&wanted)).unwrap();
        let numbers: Vec<_> = all.numbers.values().copied().collect();
        assert_eq!((numbers, all.problem.as_str()), (vec![1e308, 1.0, 7.0, 1.5], ""));

        let wrong = [
            ("a", "/a~1b/1"),
            ("b", "/queue"),
            ("c", "/gone"),
            ("d", "/n"),
            ("q", "/queue/length"),
        ];
        let some = read(page, &values(&wrong)).unwrap();
        assert_eq!(some.numbers, BTreeMap::from([("q".to_owned(), 7.0)]));
        assert_eq!(
            some.problem,
            "`a`: there is a text, and no number, at `/a~1b/1`; `b`: there is an object, and no number, at `/queue`; \
             `c`: there is nothing at `/gone`; and 1 more"
        );
        let whole = read(b"42", &values(&[("it", "")])).unwrap();
        assert_eq!(whole.numbers["it"], 42.0);
    }

    #[test]
    fn hostile_pages_are_refused_with_a_reason() {
        let deep = "[".repeat(100_000);
        let nothing = values(&[("a", "/a")]);
        for (page, why) in [
            (deep.as_bytes(), "recursion limit"),
            (b"{\"a\": NaN}".as_slice(), "is no JSON"),
            (b"{\"a\": 1e999}", "out of range"),
            (b"\xff\xfe", "is no JSON"),
            (b"", "is no JSON"),
            (b"<html>", "is no JSON"),
        ] {
            let error = read(page, &nothing).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        assert!(shortened("é".repeat(1000)).len() <= PROBLEM_MAX_BYTES);
    }

    #[test]
    fn what_waits_is_bounded_and_another_cell_begins_other_series() {
        let pages = Pages::default();
        let wanted: Assignment = serde_json::from_value(serde_json::json!({
            "tenant": "lab", "name": "shop", "uid": "u", "epoch": 1, "restore": false,
            "module": types::Digest::from_sha256([1; 32]), "spec": {"module": "a.wasm"},
        }))
        .unwrap();
        let reading = |number: f64| {
            let numbers = BTreeMap::from([("queue".to_owned(), number)]);
            Ok(Reading { numbers, problem: String::new() })
        };
        assert!(pages.begin(&wanted, Duration::from_secs(5), Duration::ZERO));
        assert!(!pages.begin(&wanted, Duration::from_secs(5), Duration::from_secs(9)), "under way");
        for at in 0..200 {
            pages.end("u", "1.1", at, reading(at as f64));
        }
        pages.end("u", "1.1", 150, reading(7.0));
        assert!(!pages.begin(&wanted, Duration::from_secs(5), Duration::from_secs(4)), "not due");

        let told = pages.take();
        let queue = &told[0].values["queue"];
        assert_eq!(
            (queue.past.len(), queue.past[63], queue.now),
            (PAST_MAX, (199, 199.0), Some(7.0))
        );
        assert!(pages.take()[0].values["queue"].past.is_empty());
        pages.end("u", "1.1", 300, Err("`/` answers 500, and not 200".into()));
        assert_eq!(pages.now()[0].values["queue"].now, None);
        assert_eq!(
            (pages.now()[0].failures, pages.problem("u").unwrap().contains("500")),
            (1, true)
        );
        pages.end("u", "2.1", 400, Ok(Reading::default()));
        assert_eq!((pages.now()[0].cell.as_str(), pages.now()[0].values.len()), ("2.1", 0));
        pages.retain(&HashSet::new());
        assert_eq!(pages.problem("u"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(page in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&page, &values(&[("a", "/a/0"), ("b", "")]));
        }
    }
}
