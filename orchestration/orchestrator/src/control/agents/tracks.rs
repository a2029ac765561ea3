//! Tracks that a policy learns from: read from telemetry in stretches, the newest first, until there
//! are enough.

use learning::{
    agent::Series,
    trajectory::{Plane, Tracker, clean},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Coordinates that are learned from: of a million positions, 12 vehicles a day long each second.
pub(super) const SAMPLES_MAX: usize = 2_000_000;
/// The first stretch; a shorter one than the second is not asked for.
const FIRST_MS: i64 = 3_600_000;
const STRETCH_MIN_MS: i64 = 60_000;
/// The policy waits for it: no further stretch is begun after so long.
const TIMEOUT: Duration = Duration::from_secs(5);

type Labels = BTreeMap<String, String>;
type Points = Vec<(i64, f64)>;
/// What lies to the east, and to the north.
pub(super) type Both = (Vec<Series>, Vec<Series>);

/// What was read of vehicles.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    east: BTreeMap<Labels, Points>,
    north: BTreeMap<Labels, Points>,
    samples: usize,
    /// Why it is less than was asked for, if something failed.
    pub(super) why: Option<String>,
}

impl Tracks {
    pub(super) fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// Learns from all of it.
    pub(super) fn teach(&self, tracker: &mut Tracker, now_ms: i64, plane: &Plane) {
        for (labels, east) in &self.east {
            let Some(north) = self.north.get(labels) else { continue };
            let found = clean(east, north, now_ms, plane);
            found.tracks.iter().for_each(|track| tracker.learn(track));
        }
    }

    /// Adds a stretch; how much it was.
    fn take(&mut self, (east, north): Both) -> usize {
        let before = self.samples;
        for (found, all) in [(east, &mut self.east), (north, &mut self.north)] {
            for one in found {
                self.samples += one.points.len();
                all.entry(one.labels).or_default().extend(one.points);
            }
        }
        self.samples - before
    }
}

/// Reads what was told between two moments, back from the second one, until there are so many
/// samples. A stretch that is refused is asked for in smaller ones: it may hold too much for a query.
pub(super) fn read(
    ask: impl Fn(i64, i64) -> Result<Both, String>,
    (from_ms, to_ms): (i64, i64),
    samples_max: usize,
) -> Tracks {
    let until = Instant::now() + TIMEOUT;
    let mut tracks = Tracks::default();
    let (mut end_ms, mut length_ms) = (to_ms, FIRST_MS);
    let short = |end_ms: i64, why: &str| {
        let read_s = to_ms.saturating_sub(end_ms) / 1000;
        Some(format!("only tracks of the last {read_s} s were read: {why}"))
    };
    while end_ms > from_ms && tracks.samples < samples_max {
        if Instant::now() >= until {
            tracks.why = short(end_ms, "telemetry answers slowly");
            break;
        }
        let begin_ms = end_ms.saturating_sub(length_ms).max(from_ms);
        match ask(begin_ms, end_ms) {
            Ok(found) => {
                end_ms = begin_ms;
                // Where little was told, few long stretches are enough.
                if tracks.take(found) < samples_max / 8 {
                    length_ms = length_ms.saturating_mul(2);
                }
            }
            Err(_) if end_ms - begin_ms > STRETCH_MIN_MS => length_ms = (end_ms - begin_ms) / 4,
            Err(why) => {
                tracks.why = short(end_ms, &why);
                break;
            }
        }
    }
    tracks
}

#[cfg(test)]
mod tests {
    use super::*;
    use learning::trajectory::{Fix, Next, Point};
    use std::cell::RefCell;

    const DAY_MS: i64 = 86_400_000;

    /// A vehicle that tells each second, of which a query gives so many at most.
    fn told(from_ms: i64, to_ms: i64, query_max: i64) -> Result<Both, String> {
        if (to_ms - from_ms) / 1000 > query_max {
            return Err("the query reads too much".into());
        }
        // A minute from the one site to the other.
        let x = |at_ms: i64| (at_ms / 1000 % 60) as f64 * 50.0;
        let times = || (from_ms / 1000..=to_ms / 1000).map(|at_s| at_s * 1000);
        let series = |points| vec![Series { points, ..Series::default() }];
        let east = times().map(|at_ms| (at_ms, x(at_ms))).collect();
        Ok((series(east), series(times().map(|at_ms| (at_ms, 0.0)).collect())))
    }

    #[test]
    fn of_more_than_a_query_gives_the_newest_is_learned() {
        let asked = RefCell::new(Vec::new());
        let ask = |from_ms, to_ms| {
            asked.borrow_mut().push((from_ms, to_ms));
            told(from_ms, to_ms, 1000)
        };

        let tracks = read(ask, (0, DAY_MS), 6000);

        assert_eq!(tracks.why, None);
        assert!((6000..9000).contains(&tracks.samples), "{}", tracks.samples);
        let asked = asked.into_inner();
        assert_eq!(asked[..2], [(DAY_MS - FIRST_MS, DAY_MS), (DAY_MS - FIRST_MS / 4, DAY_MS)]);
        assert!(asked.len() < 10 && asked.iter().all(|(from_ms, _)| *from_ms > DAY_MS / 2));

        let sites = [0.0, 3000.0].map(|x_m| Point { x_m, y_m: 0.0 });
        let mut tracker = Tracker::new(&sites, 20.0).unwrap();
        tracks.teach(&mut tracker, DAY_MS, &Plane::Metres);
        let fix = |at_s, x_m| Fix { at_s, point: Point { x_m, y_m: 0.0 } };
        let next = tracker.next(&[fix(0.0, 950.0), fix(1.0, 1000.0)]);
        assert_eq!(next, Some(Next { site: 1, share: Some(1.0) }));
    }

    #[test]
    fn what_is_seldom_told_is_read_in_few_stretches_and_what_fails_is_said() {
        let asked = RefCell::new(0);
        let seldom = |from_ms: i64, _: i64| {
            *asked.borrow_mut() += 1;
            let one = || vec![Series { points: vec![(from_ms, 1.0)], ..Series::default() }];
            Ok((one(), one()))
        };
        let tracks = read(seldom, (0, 31 * DAY_MS), SAMPLES_MAX);
        let asked = asked.into_inner();
        assert_eq!((tracks.samples, tracks.why), (2 * asked, None));
        assert!(asked < 12, "{asked}");

        let nothing = read(|_, _| Err("the disk failed".into()), (0, DAY_MS), SAMPLES_MAX);
        assert!(nothing.is_empty());
        let why = nothing.why.unwrap();
        assert_eq!(why, "only tracks of the last 0 s were read: the disk failed");
        let half = |from_ms: i64, to_ms: i64| match from_ms >= DAY_MS - FIRST_MS {
            true => told(from_ms, to_ms, 4000),
            false => Err("the disk failed".into()),
        };
        let half = read(half, (0, DAY_MS), SAMPLES_MAX);
        assert!(half.samples > 7000 && half.why.unwrap().contains("last 3600 s"));
    }
}
