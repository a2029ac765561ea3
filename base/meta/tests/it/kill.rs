//! SIGKILL at any moment: what was acknowledged is there, whole and in order.

use crate::open;
use meta::{Change, Compare, Config, Embedded, Error, Event, MetaStore, Op, Txn};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};
use testkit::{Folder, Random, soak_rounds};

/// Tells the child where the store is.
const STORE: &str = "CLOUDSKIN_META_KILL_STORE";
const WRITERS: u64 = 4;
/// Log entries that each writer leaves.
const LOG: u64 = 50;

/// Short, so that its trimming is cut off too.
fn config() -> Config {
    Config { history_max_revisions: 300, commit_batch_max: 8, ..Config::default() }
}

/// An acknowledgement: writer, count, revision.
type Ack = (u64, u64, u64);

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let mut random = Random::printed("kill -9");
    let folder = Folder::new();
    let path = folder.join("store");
    let mut acked = BTreeMap::new();
    let (mut total, mut last_revision) = (0, 0);
    for round in 0..soak_rounds(6) {
        let acks = run_and_kill(&path, round, &mut random);
        total += acks.len();
        for (writer, n, revision) in acks {
            let before = acked.insert(writer, (n, revision));
            assert!(before.is_none_or(|before| before < (n, revision)), "round {round}: in order");
        }
        last_revision = check(&path, &mut acked, last_revision, round);
    }
    eprintln!("{total} acknowledged, the store is at revision {last_revision}");
    assert!(total > 0, "nothing was acknowledged, so nothing was tested");
}

/// Lets a child commit until it is killed; gives what it acknowledged.
fn run_and_kill(path: &Path, round: u64, random: &mut Random) -> Vec<Ack> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--include-ignored", "--nocapture"])
        .env(STORE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    // Every third is killed while it starts, opens, repairs.
    let enough = if round % 3 == 2 { 0 } else { 1 + random.below(400) as usize };
    let pause = if enough == 0 { 40_000 } else { 4_000 };
    let mut acks = Vec::new();
    while acks.len() < enough && read_ack(&mut lines, &mut acks) {}
    if !acks.is_empty() {
        let second = open(path, config());
        assert!(matches!(second, Err(Error::AlreadyOpen { .. })), "by two processes: {second:?}");
    }
    std::thread::sleep(Duration::from_micros(random.below(pause)));
    child.kill().unwrap();
    while read_ack(&mut lines, &mut acks) {}
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(9), "round {round}: the child ended by itself: {status}");
    acks
}

/// Reads a line; false at the end. A line that was cut off acknowledges nothing.
fn read_ack(lines: &mut impl BufRead, acks: &mut Vec<Ack>) -> bool {
    let mut line = String::new();
    if lines.read_line(&mut line).unwrap() == 0 {
        return false;
    }
    if let Some(ack) = line.strip_suffix('\n').and_then(|line| line.strip_prefix("ack ")) {
        let numbers: Vec<u64> = ack.split(' ').map(|number| number.parse().unwrap()).collect();
        acks.push((numbers[0], numbers[1], numbers[2]));
    }
    true
}

#[tokio::main(flavor = "current_thread")]
async fn check(
    path: &Path,
    acked: &mut BTreeMap<u64, (u64, u64)>,
    last_revision: u64,
    round: u64,
) -> u64 {
    let store = open(path, config()).unwrap();
    for writer in 0..WRITERS {
        let (n, revision) = acked.get(&writer).copied().unwrap_or_default();
        let found = check_writer(&store, writer).await;
        let lost_ack = found == n + 1;
        assert!(
            found == n || lost_ack,
            "round {round}: writer {writer} had {n} acknowledged, {found} found"
        );
        let at = log_revision(&store, writer, n).await;
        assert_eq!(at, revision, "round {round}: the acknowledged revision");
        // The next child goes on from what is there, whoever heard of it.
        acked.insert(writer, (found, log_revision(&store, writer, found).await));
    }
    let revision = check_history(&store).await;
    assert!(revision >= last_revision, "round {round}: {revision} after {last_revision}");
    revision
}

/// The revision of a log entry; 0 if there is none.
async fn log_revision(store: &Embedded, writer: u64, n: u64) -> u64 {
    let item = store.get(log_key(writer, n).as_bytes()).await.unwrap().item;
    item.map_or(0, |item| item.mod_revision)
}

/// The writer's count, after a look at all that its transactions wrote together.
async fn check_writer(store: &Embedded, writer: u64) -> u64 {
    let a = store.get(format!("a/{writer}").as_bytes()).await.unwrap().item;
    let b = store.get(format!("b/{writer}").as_bytes()).await.unwrap().item;
    let log = store.range(format!("log/{writer}/").as_bytes(), 0, None).await.unwrap().items;
    let (Some(a), Some(b)) = (&a, &b) else {
        assert!(a.is_none() && b.is_none() && log.is_empty(), "a torn first transaction");
        return 0;
    };
    let n: u64 = String::from_utf8_lossy(&a.value).parse().unwrap();
    assert_eq!((&a.value, a.mod_revision), (&b.value, b.mod_revision), "a torn transaction");
    assert_eq!(a.version, n, "one write for each count");
    let entries: Vec<_> = log.iter().map(|item| String::from_utf8_lossy(&item.key)).collect();
    let expected: Vec<_> = (n.saturating_sub(LOG) + 1..=n).map(|n| log_key(writer, n)).collect();
    assert_eq!(entries, expected, "a gap in the log");
    n
}

/// Every revision of the history is whole, and none is missing; gives the last.
async fn check_history(store: &Embedded) -> u64 {
    let current = store.get(b"any").await.unwrap().revision;
    let oldest = match store.watch(b"", 1).await {
        Ok(_) => 2,
        Err(Error::Compacted { oldest, .. }) => oldest,
        Err(error) => panic!("{error:?}"),
    };
    let mut watch = store.watch(b"", oldest).await.unwrap();
    let mut revisions: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
    while watch.resume_revision() <= current {
        for event in watch.next().await.unwrap().events {
            revisions.entry(event.revision).or_default().push(event);
        }
    }
    assert!(revisions.keys().copied().eq(oldest..=current), "a revision is missing");
    for (revision, events) in revisions {
        let puts = events.iter().filter(|event| matches!(event.change, Change::Put(_)));
        assert_eq!(puts.count(), 3, "revision {revision} is torn: {events:?}");
    }
    current
}

fn log_key(writer: u64, n: u64) -> String {
    format!("log/{writer}/{n:08}")
}

#[test]
#[ignore = "needs its parent: it commits until it is killed"]
fn child() {
    if let Ok(path) = std::env::var(STORE) {
        commit_for_ever(Path::new(&path));
    }
}

#[tokio::main(flavor = "current_thread")]
async fn commit_for_ever(path: &Path) {
    let store = Arc::new(open(path, config()).unwrap());
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write(Arc::clone(&store), writer))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

async fn write(store: Arc<Embedded>, writer: u64) {
    let (a, b) = (format!("a/{writer}"), format!("b/{writer}"));
    let item = store.get(a.as_bytes()).await.unwrap().item;
    let mut n = item.map_or(0, |item| String::from_utf8_lossy(&item.value).parse().unwrap());
    let mut at = store.get(a.as_bytes()).await.unwrap().item.map_or(0, |item| item.mod_revision);
    loop {
        n += 1;
        let value = n.to_string();
        let txn = Txn::new()
            .when(Compare::mod_revision(a.clone(), at))
            .then(Op::put(a.clone(), value.clone()))
            .then(Op::put(b.clone(), value.clone()))
            .then(Op::put(log_key(writer, n), value))
            .then(Op::delete(log_key(writer, n.saturating_sub(LOG))));
        let outcome = store.txn(txn).await.unwrap();
        assert!(outcome.succeeded, "nobody else writes it");
        at = outcome.revision;
        let line = format!("ack {writer} {n} {at}\n");
        // One write for one line, or a line could be torn between two.
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    }
}
