//! Where a vehicle will be: which site is the nearest in a while.
//!
//! A [`Tracker`] learns from tracks that were driven. What it sees of a vehicle is between which sites
//! it is, whence it came and how fast it goes, and it counts which site was the nearest after the
//! horizon. Where it has seen too little of something, it looks at less of it; where it knows nothing,
//! the vehicle stays where it is. What sources say of a vehicle becomes a track in [`clean`], and what
//! is known of one at a moment is a [`Course`]. That is a Markov chain with back-off, as of A. Bhattacharya and
//! S. K. Das, "LeZi-Update", MobiCom 1999, with the speed as a part of its state.

mod course;
mod drive;
mod judge;
mod plane;
mod track;

pub use course::Course;
pub use drive::{Roads, Traffic, Way};
pub use judge::Accuracy;
pub use plane::Plane;
pub use track::{Cleaned, GAP_S, LeftOut, clean};

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

/// How likely each site is the nearest one after the horizon.
#[derive(Debug, Clone, PartialEq)]
pub struct Likely {
    /// For each site, together one.
    pub shares: Vec<f64>,
    /// By how many passages that were alike; where there are none, by how near the two nearest are.
    pub passages: u32,
}

/// What is seen of a vehicle, all of it first.
type State = (u8, [u32; 5]);

/// Learns where vehicles go from where they are.
#[derive(Debug, Clone, PartialEq)]
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

    /// Where a site is.
    pub fn site(&self, site: usize) -> Option<Point> {
        self.sites.get(site).copied()
    }

    /// The site that is the nearest to a place.
    pub fn nearest(&self, point: Point) -> usize {
        self.two_nearest(point).0
    }

    /// The time ahead that it speaks of, in seconds.
    pub fn horizon_s(&self) -> f64 {
        self.horizon_s
    }

    /// Learns from a track: its fixes in the order of time.
    pub fn learn(&mut self, track: &[Fix]) {
        let near: Vec<usize> = track.iter().map(|fix| self.nearest(fix.point)).collect();
        let mut changed = None;
        for at in 0..track.len() {
            if at > 0 && near[at - 1] != near[at] {
                changed = Some(at - 1);
            }
            let then_s = track[at].at_s + self.horizon_s;
            let Some(to) = place_at(track, then_s).map(|point| self.nearest(point)) else {
                continue;
            };
            let came = changed.filter(|changed| at - changed < BEFORE_MAX).map(|at| near[at]);
            for state in self.states(&track[..=at], came) {
                *self.seen.entry(state).or_default().entry(to as u32).or_default() += 1;
            }
        }
    }

    /// How likely each site will be the nearest, by what was seen up to now; nothing without a fix.
    pub fn likely(&self, track: &[Fix]) -> Option<Likely> {
        let last = track.last().filter(|fix| is_place(fix))?;
        let states = self.states(track, self.before(track));
        let known = states.into_iter().filter_map(|state| self.seen.get(&state));
        let counted = known.map(|to| (to, to.values().sum::<u32>()));
        let mut shares = vec![0.0; self.sites.len()];
        let Some((to, passages)) = counted.into_iter().find(|(_, all)| *all >= SEEN_MIN) else {
            let (here, second) = self.two_nearest(last.point);
            let share = self.how_far(last.point, here, second);
            shares[here] = 1.0 - share;
            second.into_iter().for_each(|second| shares[second] = share);
            return Some(Likely { shares, passages: 0 });
        };
        for (&site, &count) in to {
            if let Some(share) = shares.get_mut(site as usize) {
                *share = f64::from(count) / f64::from(passages);
            }
        }
        Some(Likely { shares, passages })
    }

    /// The site that will be the nearest, by what was seen up to now; nothing without a fix.
    pub fn next(&self, track: &[Fix]) -> Option<Next> {
        let Likely { shares, passages } = self.likely(track)?;
        let here = self.nearest(track.last()?.point);
        if passages == 0 {
            return Some(Next { site: here, share: None });
        }
        // Of two that are as likely, the one where it is.
        let rank = |&site: &usize| (shares[site], site == here);
        let order = |one: &usize, other: &usize| {
            let ((one, here), (other, there)) = (rank(one), rank(other));
            one.total_cmp(&other).then(here.cmp(&there))
        };
        let site = (0..shares.len()).max_by(order)?;
        Some(Next { site, share: Some(shares[site]) })
    }

    /// The last site that was the nearest before this one, if there was one.
    fn before(&self, track: &[Fix]) -> Option<usize> {
        let here = self.nearest(track.last()?.point);
        let lately = track.iter().rev().take(BEFORE_MAX);
        lately.map(|fix| self.nearest(fix.point)).find(|site| *site != here)
    }

    /// All that is seen of a vehicle that came from a site, then less and less of it.
    fn states(&self, track: &[Fix], came: Option<usize>) -> Vec<State> {
        let Some(last) = track.last().filter(|fix| is_place(fix)) else { return Vec::new() };
        let (here, second) = self.two_nearest(last.point);
        let number = |site: Option<usize>| site.map_or(0, |site| site as u32 + 1);
        let nearness = self.how_far(last.point, here, second) * 2.0 * f64::from(NEARNESS);
        let nearness = (nearness as u32).min(NEARNESS);
        let (came, here) = (number(came), here as u32 + 1);
        let (speed, beside) = (speed(track), number(second));
        vec![
            (0, [came, here, beside, nearness, speed]),
            (1, [came, here, beside, nearness, 0]),
            (2, [came, here, beside, 0, speed]),
            (3, [came, here, 0, 0, 0]),
        ]
    }

    /// The nearest site and the next one.
    fn two_nearest(&self, point: Point) -> (usize, Option<usize>) {
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
        (best.1, next.1)
    }

    /// How far a place is on the way from the nearest site to the next one: half of it at most.
    fn how_far(&self, point: Point, here: usize, second: Option<usize>) -> f64 {
        let away = |site: usize| self.sites[site].to(point);
        let share = second.map_or(0.0, |second| away(here) / (away(here) + away(second)));
        if share.is_finite() { share } else { 0.0 }
    }
}

fn is_place(fix: &Fix) -> bool {
    fix.point.x_m.is_finite() && fix.point.y_m.is_finite()
}

/// Where a vehicle was at a moment of a track: on the straight line between the fixes before and after
/// it. Nothing outside of the track.
pub fn place_at(track: &[Fix], at_s: f64) -> Option<Point> {
    let later = track.partition_point(|fix| fix.at_s < at_s);
    let after = track.get(later).filter(|fix| is_place(fix))?;
    if after.at_s <= at_s {
        return Some(after.point);
    }
    let before = track.get(later.checked_sub(1)?).filter(|fix| is_place(fix))?;
    let part = (at_s - before.at_s) / (after.at_s - before.at_s);
    let between = |from: f64, to: f64| from + (to - from) * part;
    let point = Point {
        x_m: between(before.point.x_m, after.point.x_m),
        y_m: between(before.point.y_m, after.point.y_m),
    };
    is_place(&Fix { at_s, point }).then_some(point)
}

/// Whether it stands, drives or drives fast.
fn speed(track: &[Fix]) -> u32 {
    let Some(last) = track.last() else { return 0 };
    let first = lately(track);
    let metres_s = first.point.to(last.point) / (last.at_s - first.at_s).max(1e-3);
    match metres_s {
        slow if slow < SLOW_M_S => 1,
        fast if fast >= FAST_M_S => 3,
        _ => 2,
    }
}

/// The first fix of the seconds in which the speed is measured; `track` holds one.
fn lately(track: &[Fix]) -> Fix {
    let last = track[track.len() - 1];
    let since = last.at_s - SPEED_S;
    let each = track.iter().rev().take(BEFORE_MAX);
    each.take_while(|fix| fix.at_s >= since).last().copied().unwrap_or(last)
}

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
    fn what_is_learned_is_of_the_horizon_however_seldom_a_vehicle_tells_where_it_is() {
        let sites = [0.0, 300.0].map(|x_m| Point { x_m, y_m: 0.0 });
        let fix = |at_s, x_m| Fix { at_s, point: Point { x_m, y_m: 0.0 } };
        // In 6 s of the 30 s until it is heard of again it comes a fifth of the way.
        let track = [fix(0.0, 0.0), fix(30.0, 300.0)];
        let mut tracker = Tracker::new(&sites, 6.0).unwrap();

        for _ in 0..SEEN_MIN {
            tracker.learn(&track);
        }

        assert_eq!(tracker.next(&track[..1]), Some(Next { site: 0, share: Some(1.0) }));
        let found = tracker.judge(&[track.to_vec()]);
        assert_eq!((found.moments, found.told, found.stayed), (1, 1.0, 1.0));
        assert_eq!(place_at(&track, 6.0), Some(Point { x_m: 60.0, y_m: 0.0 }));
        assert_eq!(place_at(&track, 30.0), Some(track[1].point));
        for outside in [-1.0, 30.1, f64::NAN, f64::INFINITY] {
            assert_eq!(place_at(&track, outside), None, "{outside}");
        }
        assert_eq!(place_at(&[fix(0.0, f64::NAN), fix(9.0, 1.0)], 3.0), None);
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
