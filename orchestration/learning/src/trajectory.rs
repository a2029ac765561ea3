//! Where a vehicle will be: which site is the nearest in a while.
//!
//! A [`Tracker`] learns from tracks that were driven. What it sees of a vehicle is between which sites
//! it is, whence it came and how fast it goes, and it counts which site was the nearest after the
//! horizon. Where it has seen too little of something, it looks at less of it; where it knows nothing,
//! the vehicle stays where it is. That is a Markov chain with back-off, as of A. Bhattacharya and
//! S. K. Das, "LeZi-Update", MobiCom 1999, with the speed as a part of its state.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Of fewer passages nothing is believed.
const SEEN_MIN: u32 = 5;
/// More sites along roads are no neighbourhood.
const SITES_MAX: usize = 4096;
/// Metres a second that count as standing, and as driving fast.
const SLOW_M_S: f64 = 1.0;
const FAST_M_S: f64 = 12.0;
/// The speed is that of so many seconds.
const SPEED_S: f64 = 10.0;
/// Whence a vehicle came is looked for in so many fixes.
const BEFORE_MAX: usize = 600;
/// How much nearer the nearest site is than the next one, in so many classes.
const NEARNESS: u32 = 8;

/// A place in a plane, in metres.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// To the east.
    pub x_m: f64,
    /// To the north.
    pub y_m: f64,
}

impl Point {
    /// Metres between both.
    pub fn to(self, other: Self) -> f64 {
        (self.x_m - other.x_m).hypot(self.y_m - other.y_m)
    }
}

/// Where a vehicle was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fix {
    /// When, in seconds.
    pub at_s: f64,
    /// Where.
    pub point: Point,
}

/// What is said of a vehicle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Next {
    /// The site that will be the nearest.
    pub site: usize,
    /// In how many of the passages that were alike it was; nothing where none were.
    pub share: Option<f64>,
}

/// What is seen of a vehicle, all of it first.
type State = (u8, [u32; 5]);

/// Learns where vehicles go from where they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tracker {
    sites: Vec<Point>,
    horizon_s: f64,
    /// How often which site was the nearest after the horizon.
    seen: BTreeMap<State, BTreeMap<u32, u32>>,
}

impl Tracker {
    /// Knows the sites, and says what will be in so many seconds.
    ///
    /// # Errors
    /// No site or far too many, a place that is none, and a horizon that is not ahead.
    pub fn new(sites: &[Point], horizon_s: f64) -> Result<Self> {
        let places = sites.iter().all(|site| site.x_m.is_finite() && site.y_m.is_finite());
        if sites.is_empty() || sites.len() > SITES_MAX || !places {
            let text = format!("a road has from 1 to {SITES_MAX} sites, each at a place in metres");
            return Err(Error::Unfit(text));
        }
        if !(horizon_s > 0.0 && horizon_s <= 86_400.0) {
            return Err(Error::Unfit("what is ahead is more than 0 s and at most a day".into()));
        }
        Ok(Self { sites: sites.to_vec(), horizon_s, seen: BTreeMap::new() })
    }

    /// The site that is the nearest to a place.
    pub fn nearest(&self, point: Point) -> usize {
        self.two_nearest(point).0
    }

    /// Learns from a track: its fixes in the order of time.
    pub fn learn(&mut self, track: &[Fix]) {
        let mut later = 0;
        for at in 0..track.len() {
            let then_s = track[at].at_s + self.horizon_s;
            while track.get(later).is_some_and(|fix| fix.at_s < then_s) {
                later += 1;
            }
            let Some(then) = track.get(later) else { return };
            let to = self.nearest(then.point) as u32;
            for state in self.states(&track[..=at]) {
                *self.seen.entry(state).or_default().entry(to).or_default() += 1;
            }
        }
    }

    /// The site that will be the nearest, by what was seen up to now; nothing without a fix.
    pub fn next(&self, track: &[Fix]) -> Option<Next> {
        let here = self.nearest(track.last().filter(|fix| is_place(fix))?.point);
        let known = self.states(track).into_iter().filter_map(|state| self.seen.get(&state));
        let counted = known.map(|to| (to, to.values().sum::<u32>()));
        let Some((to, all)) = counted.into_iter().find(|(_, all)| *all >= SEEN_MIN) else {
            return Some(Next { site: here, share: None });
        };
        // Of two that are as likely, the one where it is.
        let likely = to.iter().max_by_key(|(site, count)| (**count, **site as usize == here));
        let (&site, &count) = likely?;
        Some(Next { site: site as usize, share: Some(f64::from(count) / f64::from(all)) })
    }

    /// The last site that was the nearest before this one, if there was one.
    fn before(&self, track: &[Fix], here: usize) -> Option<usize> {
        let lately = track.iter().rev().take(BEFORE_MAX);
        lately.map(|fix| self.nearest(fix.point)).find(|site| *site != here)
    }

    /// All that is seen of a vehicle, then less and less of it.
    fn states(&self, track: &[Fix]) -> Vec<State> {
        let Some(last) = track.last().filter(|fix| is_place(fix)) else { return Vec::new() };
        let (here, second, nearness) = self.two_nearest(last.point);
        let number = |site: Option<usize>| site.map_or(0, |site| site as u32 + 1);
        let (came, here) = (number(self.before(track, here)), here as u32 + 1);
        let (speed, beside) = (speed(track), number(second));
        vec![
            (0, [came, here, beside, nearness, speed]),
            (1, [came, here, beside, nearness, 0]),
            (2, [came, here, beside, 0, speed]),
            (3, [came, here, 0, 0, 0]),
        ]
    }

    /// The nearest site, the next one, and how much nearer the first is, in classes.
    fn two_nearest(&self, point: Point) -> (usize, Option<usize>, u32) {
        let mut best = (f64::INFINITY, 0);
        let mut next = (f64::INFINITY, None);
        for (at, site) in self.sites.iter().enumerate() {
            let away = site.to(point);
            if away < best.0 {
                if best.0.is_finite() {
                    next = (best.0, Some(best.1));
                }
                best = (away, at);
            } else if away < next.0 {
                next = (away, Some(at));
            }
        }
        let share = best.0 / (best.0 + next.0);
        let nearness = if share.is_finite() { share * 2.0 * f64::from(NEARNESS) } else { 0.0 };
        (best.1, next.1, (nearness as u32).min(NEARNESS))
    }
}

fn is_place(fix: &Fix) -> bool {
    fix.point.x_m.is_finite() && fix.point.y_m.is_finite()
}

/// Whether it stands, drives or drives fast.
fn speed(track: &[Fix]) -> u32 {
    let Some(last) = track.last() else { return 0 };
    let since = last.at_s - SPEED_S;
    let Some(first) = track.iter().find(|fix| fix.at_s >= since) else { return 0 };
    let metres_s = first.point.to(last.point) / (last.at_s - first.at_s).max(1e-3);
    match metres_s {
        slow if slow < SLOW_M_S => 1,
        fast if fast >= FAST_M_S => 3,
        _ => 2,
    }
}

/// How often a site was said, or is the nearest, beside the one that it came to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Accuracy {
    /// Moments that were judged.
    pub moments: u32,
    /// The share that was told rightly.
    pub told: f64,
    /// The share in which the nearest site stayed the nearest.
    pub stayed: f64,
    /// Of the moments before a change of site, the share that was told rightly; staying is never
    /// right there.
    pub changes_told: f64,
    /// Of the same, the share that the last movement, carried on in a straight line, tells rightly.
    pub changes_straight: f64,
    /// The share of all moments that it tells rightly.
    pub straight: f64,
}

impl Tracker {
    /// Judges what it says of tracks that it has not seen.
    pub fn judge(&self, tracks: &[Vec<Fix>]) -> Accuracy {
        let mut found = Accuracy::default();
        let mut changes = 0_u32;
        for track in tracks {
            let mut later = 0;
            for at in 0..track.len() {
                let then_s = track[at].at_s + self.horizon_s;
                while track.get(later).is_some_and(|fix| fix.at_s < then_s) {
                    later += 1;
                }
                let (Some(then), Some(said)) = (track.get(later), self.next(&track[..=at])) else {
                    break;
                };
                let (to, here) = (self.nearest(then.point), self.nearest(track[at].point));
                let right = |site: usize| f64::from(u8::from(site == to));
                let straight = right(self.nearest(straight(&track[..=at], self.horizon_s)));
                found.moments += 1;
                found.told += right(said.site);
                found.stayed += right(here);
                found.straight += straight;
                if to != here {
                    changes += 1;
                    found.changes_told += right(said.site);
                    found.changes_straight += straight;
                }
            }
        }
        let (all, changes) = (f64::from(found.moments.max(1)), f64::from(changes.max(1)));
        Accuracy {
            told: found.told / all,
            stayed: found.stayed / all,
            straight: found.straight / all,
            changes_told: found.changes_told / changes,
            changes_straight: found.changes_straight / changes,
            ..found
        }
    }
}

/// Where the movement of the last seconds leads in a straight line.
fn straight(track: &[Fix], ahead_s: f64) -> Point {
    let last = track[track.len() - 1];
    let since = last.at_s - SPEED_S;
    let first = track.iter().find(|fix| fix.at_s >= since).unwrap_or(&last);
    let times = ahead_s / (last.at_s - first.at_s).max(1e-3);
    let go_on = |from: f64, to: f64| to + (to - from) * times;
    Point {
        x_m: go_on(first.point.x_m, last.point.x_m),
        y_m: go_on(first.point.y_m, last.point.y_m),
    }
}

mod drive;
pub use drive::Roads;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_changes_better_than_staying_and_than_a_straight_line() {
        let roads = Roads::default();
        let mut tracker = Tracker::new(roads.sites(), 30.0).unwrap();
        for seed in 0..60 {
            tracker.learn(&roads.drive(seed));
        }
        let unseen: Vec<_> = (1000..1040).map(|seed| roads.drive(seed)).collect();

        let found = tracker.judge(&unseen);

        eprintln!("{found:?}");
        assert!(found.moments > 5000);
        assert!(found.told > found.stayed + 0.1 && found.told > found.straight, "{found:?}");
        assert!(found.changes_told > 0.6, "{found:?}");
        assert_eq!(found, tracker.judge(&unseen));
    }

    #[test]
    fn without_anything_learned_it_stays_and_strange_fixes_are_no_places() {
        let sites = [Point { x_m: 0.0, y_m: 0.0 }, Point { x_m: 100.0, y_m: 0.0 }];
        let mut tracker = Tracker::new(&sites, 10.0).unwrap();
        let fix = |at_s, x_m| Fix { at_s, point: Point { x_m, y_m: 0.0 } };

        assert_eq!(tracker.next(&[]), None);
        assert_eq!(tracker.next(&[fix(0.0, 60.0)]), Some(Next { site: 1, share: None }));
        assert_eq!(tracker.next(&[fix(0.0, f64::NAN)]), None);
        tracker.learn(&[fix(f64::NAN, f64::INFINITY), fix(1.0, 2.0), fix(0.0, f64::NAN)]);
        assert!(tracker.next(&[fix(0.0, 1.0)]).is_some());
        assert!(Tracker::new(&[], 1.0).is_err() && Tracker::new(&sites, 0.0).is_err());
    }

    #[test]
    fn a_way_that_is_always_taken_is_known_from_where_one_came() {
        // From the west all turn north, from the north all go west.
        let sites = [(-100.0, 0.0), (0.0, 0.0), (0.0, 100.0)];
        let sites = sites.map(|(x_m, y_m)| Point { x_m, y_m });
        let mut tracker = Tracker::new(&sites, 12.0).unwrap();
        let way = |points: [(f64, f64); 3]| -> Vec<Fix> {
            let leg = |(from, to): ((f64, f64), (f64, f64)), s: usize| {
                let part = s as f64 / 10.0;
                Point { x_m: from.0 + (to.0 - from.0) * part, y_m: from.1 + (to.1 - from.1) * part }
            };
            let first = (0..10).map(|s| leg((points[0], points[1]), s));
            let all = first.chain((0..30).map(|s| leg((points[1], points[2]), s.min(10))));
            all.enumerate().map(|(at, point)| Fix { at_s: at as f64, point }).collect()
        };
        let north = way([(-100.0, 0.0), (0.0, 0.0), (0.0, 100.0)]);
        let west = way([(0.0, 100.0), (0.0, 0.0), (-100.0, 0.0)]);
        for _ in 0..5 {
            tracker.learn(&north);
            tracker.learn(&west);
        }

        assert_eq!(tracker.next(&north[..9]).unwrap().site, 2);
        assert_eq!(tracker.next(&west[..9]).unwrap().site, 0);
    }
}
