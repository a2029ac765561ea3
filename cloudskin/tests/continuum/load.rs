//! Clients that ask without end, and what their answers prove.

use crate::http::{Answer, Http};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A request that is not answered for so long never will be.
const PATIENCE: Duration = Duration::from_secs(60);

/// What may be answered instead while processes die and services move: not here, elsewhere, too
/// much, later, too late.
const PASSING: [u16; 6] = [404, 421, 429, 502, 503, 504];

/// One request that was answered.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) id: String,
    /// When it was asked first.
    first: Instant,
    /// When it was asked the last time.
    asked: Instant,
    answered: Instant,
    epoch: u64,
    incarnation: u64,
    /// What the counter said: the how manieth it was.
    value: u64,
}

/// Clients that count up; each asks again, with the same id, until it is answered.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Answered>>>,
}

impl Load {
    /// Starts clients that ask through these doors in turn, each after a pause.
    pub(crate) fn start(
        service: &str,
        doors: &[SocketAddr],
        clients: usize,
        pause_ms: u64,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let run = types::random_id();
        let clients = (0..clients).map(|number| {
            let mut client = Client {
                host: format!("{service}.localhost"),
                doors: doors.to_vec(),
                door: number,
                connection: None,
            };
            let (stop, run) = (stop.clone(), format!("{}-{number}", &run[..8]));
            std::thread::spawn(move || {
                let mut answers = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    answers.push(client.count(&format!("{run}-{}", answers.len())));
                    std::thread::sleep(Duration::from_millis(pause_ms));
                }
                answers
            })
        });
        Self { clients: clients.collect(), stop }
    }

    /// Ends; everything that was asked has been answered.
    pub(crate) fn stop(self) -> History {
        self.stop.store(true, Ordering::Relaxed);
        let answers = self.clients.into_iter().flat_map(|client| client.join().unwrap());
        History(answers.collect())
    }
}

struct Client {
    host: String,
    doors: Vec<SocketAddr>,
    door: usize,
    connection: Option<Http>,
}

impl Client {
    fn count(&mut self, id: &str) -> Answered {
        let first = Instant::now();
        loop {
            let asked = Instant::now();
            let refusal = match self.try_count(id) {
                Ok(answer) if answer.status == 200 => {
                    return Answered {
                        id: id.to_owned(),
                        first,
                        asked,
                        answered: Instant::now(),
                        epoch: answer.number("cloudskin-epoch"),
                        incarnation: answer.number("cloudskin-incarnation"),
                        value: answer.text().parse().unwrap(),
                    };
                }
                Ok(answer) => {
                    let text = format!("{} {}", answer.status, answer.text());
                    assert!(PASSING.contains(&answer.status), "{text}");
                    text
                }
                Err(error) => error.to_string(),
            };
            assert!(first.elapsed() < PATIENCE, "`{id}` was not answered: {refusal}");
            self.connection = None;
            self.door += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn try_count(&mut self, id: &str) -> std::io::Result<Answer> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let door = self.doors[self.door % self.doors.len()];
                let connection = Http::connect(door, &self.host)?;
                // A door that hangs is left for the next.
                connection.set_timeout(Duration::from_secs(5));
                self.connection.insert(connection)
            }
        };
        connection.get_as(id, "/add")
    }
}

/// Everything that was answered.
#[derive(Debug)]
pub(crate) struct History(Vec<Answered>);

impl History {
    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Nothing was lost, done twice or reordered: the answers count from `from`, without a gap,
    /// and whoever asked after an answer got a higher number.
    #[track_caller]
    pub(crate) fn counts_on(&self, from: u64) {
        let mut values: Vec<_> = self.0.iter().map(|one| one.value).collect();
        values.sort_unstable();
        let wanted: Vec<_> = (from + 1..=from + self.len()).collect();
        let wrong = values.iter().zip(&wanted).find(|(found, wanted)| found != wanted);
        assert_eq!(wrong, None, "found, wanted");
        self.rises("the counter", |one| one.first, |one| one.value);
    }

    /// Never two writers: whoever asked after an answer was answered under no older epoch and
    /// incarnation, and no incarnation gave one number twice.
    #[track_caller]
    pub(crate) fn has_one_writer(&self) {
        self.rises("the epoch", |one| one.asked, |one| (one.epoch, one.incarnation));
        let mut seen = HashMap::new();
        for one in &self.0 {
            let key = (one.epoch, one.incarnation, one.value);
            if let Some(other) = seen.insert(key, &one.id) {
                panic!("{} and {other} both are number {} of {:?}", one.id, one.value, key);
            }
        }
    }

    /// For any two that did not overlap, `key` does not fall.
    #[track_caller]
    fn rises<K: Ord + Copy + std::fmt::Debug>(
        &self,
        what: &str,
        asked: impl Fn(&Answered) -> Instant,
        key: impl Fn(&Answered) -> K,
    ) {
        let mut by_question: Vec<_> = self.0.iter().collect();
        by_question.sort_by_key(|one| asked(one));
        let mut by_answer: Vec<_> = self.0.iter().collect();
        by_answer.sort_by_key(|one| one.answered);
        let mut before = by_answer.into_iter().peekable();
        let mut highest: Option<&Answered> = None;
        for one in by_question {
            while let Some(done) = before.next_if(|done| done.answered < asked(one)) {
                if highest.is_none_or(|highest| key(highest) < key(done)) {
                    highest = Some(done);
                }
            }
            let Some(highest) = highest else { continue };
            assert!(key(one) >= key(highest), "{what} fell: {highest:#?}, later {one:#?}");
        }
    }

    /// What a checkpointed service may lose: the counter lacks no more than was named as lost, and
    /// this many.
    #[track_caller]
    pub(crate) fn lost_only(&self, counter: u64, lost: &BTreeSet<String>, more: u64) {
        let missing = self.len().checked_sub(counter);
        let missing = missing.unwrap_or_else(|| panic!("{counter} done, {} asked", self.len()));
        let named = self.0.iter().filter(|one| lost.contains(&one.id)).count() as u64;
        if missing > named + more {
            self.show_losses(lost);
        }
        assert!(missing <= named + more, "{missing} are missing, {named} were named as lost");
    }

    /// For each epoch and incarnation what it counted, and how much of it was named as lost: where
    /// the numbers fall, something was lost.
    fn show_losses(&self, lost: &BTreeSet<String>) {
        let mut counted: BTreeMap<(u64, u64), (u64, u64, usize, Instant)> = BTreeMap::new();
        for one in &self.0 {
            let entry = counted.entry((one.epoch, one.incarnation));
            let (low, high, named, last) = entry.or_insert((u64::MAX, 0, 0, one.answered));
            (*low, *high) = ((*low).min(one.value), (*high).max(one.value));
            *named += usize::from(lost.contains(&one.id));
            *last = (*last).max(one.answered);
        }
        for ((epoch, incarnation), (low, high, named, last)) in counted {
            let ago = last.elapsed();
            eprintln!("{epoch}.{incarnation}: {low} to {high}, {named} lost, ended {ago:?} ago");
        }
    }

    /// What a lost site may take with it: the counter lacks no more than was answered under
    /// `epoch` from `since` on.
    #[track_caller]
    pub(crate) fn lost_only_since(&self, counter: u64, epoch: u64, since: Instant) {
        let missing = self.len().checked_sub(counter);
        let missing = missing.unwrap_or_else(|| panic!("{counter} done, {} asked", self.len()));
        let late = self.0.iter().filter(|one| one.epoch == epoch && one.answered > since).count();
        assert!(missing <= late as u64, "{missing} are missing, {late} were answered late");
    }

    /// How many were answered under each epoch and incarnation.
    pub(crate) fn summary(&self) -> String {
        let mut counts: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        self.0.iter().for_each(|one| *counts.entry((one.epoch, one.incarnation)).or_default() += 1);
        let longest = self.0.iter().map(|one| one.answered - one.first).max().unwrap_or_default();
        let list: Vec<_> = counts.iter().map(|((e, i), n)| format!("{e}.{i}: {n}")).collect();
        format!("{} answers, the slowest after {longest:?}; {}", self.len(), list.join(", "))
    }
}
