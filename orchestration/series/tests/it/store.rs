//! What a store takes, refuses and forgets.

use crate::world::labels;
use series::{Appended, Error, Labels, Limits, Matcher, NAME, Sample, Store};
use std::time::Duration;
use types::{Bytes, Period};

const NOW_MS: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn up() -> Labels {
    labels(&[(NAME, "up")])
}

fn open(folder: &testkit::Folder, limits: Limits) -> Store {
    Store::open(folder.path(), limits).unwrap()
}

fn all(store: &Store) -> Vec<Sample> {
    let found = store.select(&[Matcher::is(NAME, "up")], 0, i64::MAX, usize::MAX).unwrap();
    found.into_iter().flat_map(|series| series.samples).collect()
}

#[test]
fn samples_that_come_twice_late_or_early_are_refused_and_counted() {
    let folder = testkit::Folder::new();
    let store = open(&folder, Limits { series: 2, ..Limits::default() });
    let at = |offset_ms: i64, value: f64| (up(), Sample::new(NOW_MS + offset_ms, value));
    let other = |name: &str| (labels(&[(NAME, name)]), Sample::new(NOW_MS, 1.0));

    let appended = store
        .append(
            &[
                at(0, f64::NAN),
                at(0, f64::NAN),
                at(0, 2.0),
                at(-1000, 2.0),
                at(1000, 3.0),
                at(700_000, 4.0),
                at(-16 * 24 * HOUR_MS, 4.0),
                (up(), Sample::stale(NOW_MS + 2000)),
                other("second"),
                other("third"),
            ],
            NOW_MS,
        )
        .unwrap();

    let expected = Appended {
        stored: 4,
        repeated: 1,
        conflicting: 1,
        out_of_order: 1,
        too_old: 1,
        in_future: 1,
        too_many_series: 1,
    };
    assert_eq!((appended, store.stats().samples), (expected, expected));
    let kept = all(&store);
    assert!(kept[0].value.is_nan() && !kept[0].is_stale() && kept[2].is_stale());
}

#[test]
fn series_of_blocks_go_on_after_openings_and_old_ones_go() {
    let folder = testkit::Folder::new();
    let put = |store: &Store, time_ms: i64| {
        let stored = store.append(&[(up(), Sample::new(time_ms, 1.0))], time_ms).unwrap().stored;
        assert_eq!(stored, 1);
        store.maintain(time_ms).unwrap();
    };
    for hour in 0..30 {
        let store = open(&folder, Limits::default());
        assert_eq!(all(&store).len(), hour as usize);
        put(&store, NOW_MS + hour * HOUR_MS);
    }
    let store = open(&folder, Limits::default());
    assert!(store.stats().blocks > 10, "{:?}", store.stats());

    store.maintain(NOW_MS + 15 * 24 * HOUR_MS + 15 * HOUR_MS).unwrap();
    let left = all(&store);
    assert!((14..=18).contains(&left.len()), "{}", left.len());
    store.maintain(NOW_MS + 40 * 24 * HOUR_MS).unwrap();
    store.maintain(NOW_MS + 40 * 24 * HOUR_MS).unwrap();
    assert_eq!((store.stats().series, store.stats().blocks, all(&store).len()), (0, 0, 0));
    put(&store, NOW_MS + 40 * 24 * HOUR_MS);
    drop(store);
    assert_eq!(all(&open(&folder, Limits::default())).len(), 1);
}

#[test]
fn disk_space_is_bounded_and_the_oldest_go_first() {
    let folder = testkit::Folder::new();
    let limits = Limits {
        disk: Bytes(400_000),
        age: Period(Duration::from_secs(86_400 * 1000)),
        ..Limits::default()
    };
    let store = open(&folder, limits);
    let mut random = testkit::Random::printed("series::disk");
    for step in 0..400 {
        let time_ms = NOW_MS + step * 60_000;
        let one = |of: i64| {
            let value = f64::from_bits(random.below(u64::MAX));
            (labels(&[(NAME, "up"), ("of", &of.to_string())]), Sample::new(time_ms, value))
        };
        let batch: Vec<_> = (0..200).map(one).collect();
        store.append(&batch, time_ms).unwrap();
        store.maintain(time_ms).unwrap();
        assert!(store.stats().disk_bytes <= 500_000, "{:?}", store.stats());
    }
    let first = all(&store)[0].time_ms;
    assert!(first > NOW_MS, "the oldest are gone");
    assert_eq!(all(&store).last().unwrap().time_ms, NOW_MS + 399 * 60_000);
}

#[test]
fn one_process_has_the_folder_and_a_query_reads_so_much() {
    let folder = testkit::Folder::new();
    let store = open(&folder, Limits::default());
    let again = Store::open(folder.path(), Limits::default()).unwrap_err();
    assert!(matches!(again, Error::Taken { .. }), "{again}");

    let batch: Vec<_> = (0..100).map(|n| (up(), Sample::new(NOW_MS + n, 1.0))).collect();
    store.append(&batch, NOW_MS).unwrap();
    let read = store.select(&[Matcher::is(NAME, "up")], 0, i64::MAX, 99);
    assert!(matches!(read, Err(Error::TooMuch(_))));
}

#[test]
fn a_damaged_block_is_left_out_and_said() {
    let folder = testkit::Folder::new();
    let store = open(&folder, Limits::default());
    store.append(&[(up(), Sample::new(NOW_MS, 1.0))], NOW_MS).unwrap();
    store.flush().unwrap();
    store.append(&[(up(), Sample::new(NOW_MS + 1, 2.0))], NOW_MS).unwrap();
    drop(store);
    let blocks = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let block = blocks.into_iter().find(|path| path.to_string_lossy().contains("block-")).unwrap();
    let mut bytes = std::fs::read(&block).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&block, bytes).unwrap();

    let store = open(&folder, Limits::default());

    assert_eq!(
        (store.stats().damaged_blocks, all(&store)),
        (1, vec![Sample::new(NOW_MS + 1, 2.0)])
    );
}

#[test]
fn one_site_has_no_more_series_than_its_share() {
    let folder = testkit::Folder::new();
    let store = open(&folder, Limits { series: 10, site_series: 3, ..Limits::default() });
    let told = |site: &str, name: &str| {
        (labels(&[(NAME, name), ("site", site)]), Sample::new(NOW_MS, 1.0))
    };
    let names = ["a", "b", "c", "d", "e"];

    let greedy = store.append(&names.map(|name| told("edge", name)), NOW_MS).unwrap();
    let again = store.append(&[told("edge", "f")], NOW_MS).unwrap();
    let other = store.append(&names.map(|name| told("cloud", name))[..3], NOW_MS).unwrap();
    let nobody = store.append(&names.map(|name| told("", name)), NOW_MS).unwrap();

    assert_eq!((greedy.stored, greedy.too_many_series), (3, 2));
    assert_eq!((again.stored, again.too_many_series), (0, 1));
    assert_eq!((other.stored, other.too_many_series), (3, 0));
    assert_eq!((nobody.stored, nobody.too_many_series), (4, 1), "only all of them are too many");
    // What it has goes on.
    let later = (labels(&[(NAME, "a"), ("site", "edge")]), Sample::new(NOW_MS + 1, 2.0));
    assert_eq!(store.append(&[later], NOW_MS).unwrap().stored, 1);
}

#[test]
fn a_query_of_a_tenant_sees_its_own_series_and_those_of_nobody() {
    use series::query::{Answer, Query, QueryLimits, instant};
    let folder = testkit::Folder::new();
    let store = open(&folder, Limits::default());
    let one = |labels: Labels, value| (labels, Sample::new(NOW_MS, value));
    let named = |tenant| labels(&[(NAME, "requests"), ("service", "a"), ("tenant", tenant)]);
    let all = [
        one(named("red"), 1.0),
        one(named("blue"), 20.0),
        one(labels(&[(NAME, "requests"), ("site", "edge")]), 300.0),
    ];
    store.append(&all, NOW_MS).unwrap();
    let sum = |query: &str, tenant: Option<&str>| {
        let limits = QueryLimits { tenant: tenant.map(str::to_owned), ..QueryLimits::default() };
        let query = Query::parse(query).unwrap();
        match instant(&store, &query, NOW_MS, &limits).unwrap() {
            Answer::Vector(found) => found.iter().map(|(_, sample)| sample.value).sum::<f64>(),
            other => panic!("{other:?}"),
        }
    };

    assert_eq!(sum("sum(requests)", None), 321.0);
    assert_eq!(sum("sum(requests)", Some("red")), 301.0);
    assert_eq!(sum("sum(max_over_time(requests[1m]))", Some("blue")), 320.0);
    assert_eq!(sum("sum(requests{tenant=\"blue\"})", Some("red")), 0.0);
    assert_eq!(sum("sum(requests)", Some("re.*")), 300.0, "a name is no pattern");
}
