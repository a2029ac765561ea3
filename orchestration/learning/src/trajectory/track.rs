//! From what sources say of a vehicle to tracks: in order, without what cannot be.

use super::{Fix, Plane};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Nothing on a road is faster, and no position is farther off, in metres a second and metres.
const SPEED_MAX_M_S: f64 = 100.0;
const OFF_MAX_M: f64 = 50.0;
/// After so long without a position another track begins, in seconds.
pub const GAP_S: f64 = 60.0;
/// So many positions in a row that follow from each other are believed, wherever they are: a vehicle
/// that was carried, or a first position that was wrong.
const BELIEVED: usize = 3;
/// Clocks of vehicles may be so much ahead, in milliseconds.
const AHEAD_MAX_MS: i64 = 2000;

/// Tracks, and what is no part of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cleaned {
    /// Positions in the order of time; between two tracks nothing was heard for long, or it was elsewhere.
    pub tracks: Vec<Vec<Fix>>,
    /// What was left out.
    pub left_out: LeftOut,
}

/// Positions that were left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LeftOut {
    /// One coordinate without the other of its time.
    pub unpaired: usize,
    /// No place.
    pub nowhere: usize,
    /// Stamped later than now.
    pub in_future: usize,
    /// Too far from the one before.
    pub jumps: usize,
}

impl LeftOut {
    /// How many.
    pub fn count(&self) -> usize {
        self.unpaired + self.nowhere + self.in_future + self.jumps
    }
}

/// Makes tracks of coordinates to the east and to the north, each with its Unix time in
/// milliseconds, in any order. Of two that say something of the same time the later one counts.
pub fn clean(east: &[(i64, f64)], north: &[(i64, f64)], now_ms: i64, plane: &Plane) -> Cleaned {
    let mut builder = Builder::default();
    let north: BTreeMap<i64, f64> = north.iter().copied().collect();
    let east: BTreeMap<i64, f64> = east.iter().copied().collect();
    let paired = east.keys().filter(|at| north.contains_key(at)).count();
    builder.cleaned.left_out.unpaired = east.len() + north.len() - 2 * paired;
    for (&at_ms, &x) in &east {
        let Some(&y) = north.get(&at_ms) else { continue };
        if at_ms > now_ms.saturating_add(AHEAD_MAX_MS) {
            builder.cleaned.left_out.in_future += 1;
            continue;
        }
        match plane.point(x, y) {
            Some(point) => builder.take(Fix { at_s: at_ms as f64 / 1000.0, point }),
            None => builder.cleaned.left_out.nowhere += 1,
        }
    }
    builder.cleaned.left_out.jumps += builder.doubted.len();
    builder.cleaned
}

#[derive(Debug, Default)]
struct Builder {
    cleaned: Cleaned,
    /// Positions that do not follow from the track, but from each other.
    doubted: Vec<Fix>,
}

impl Builder {
    fn take(&mut self, fix: Fix) {
        let last = self.cleaned.tracks.last().and_then(|track| track.last()).copied();
        match last {
            Some(last) if fix.at_s - last.at_s <= GAP_S => match follows(last, fix) {
                true => {
                    self.forget();
                    self.cleaned.tracks.last_mut().into_iter().for_each(|track| track.push(fix));
                }
                false => self.doubt(fix),
            },
            _ => {
                self.forget();
                self.cleaned.tracks.push(vec![fix]);
            }
        }
    }

    fn doubt(&mut self, fix: Fix) {
        if self.doubted.last().is_some_and(|last| !follows(*last, fix)) {
            self.forget();
        }
        self.doubted.push(fix);
        if self.doubted.len() >= BELIEVED {
            let track = std::mem::take(&mut self.doubted);
            self.cleaned.tracks.push(track);
        }
    }

    /// What was doubted were jumps.
    fn forget(&mut self) {
        self.cleaned.left_out.jumps += self.doubted.len();
        self.doubted.clear();
    }
}

/// Whether a vehicle can have gone from one to the other.
fn follows(from: Fix, to: Fix) -> bool {
    from.point.to(to.point) <= OFF_MAX_M + SPEED_MAX_M_S * (to.at_s - from.at_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(points: &[(i64, f64, f64)], now_s: i64) -> Cleaned {
        let east: Vec<_> = points.iter().map(|&(at_s, x, _)| (at_s * 1000, x)).collect();
        let north: Vec<_> = points.iter().map(|&(at_s, _, y)| (at_s * 1000, y)).collect();
        clean(&east, &north, now_s * 1000, &Plane::Metres)
    }

    fn places(track: &[Fix]) -> Vec<(f64, f64)> {
        track.iter().map(|fix| (fix.at_s, fix.point.x_m)).collect()
    }

    #[test]
    fn positions_are_put_in_order_and_what_cannot_be_is_left_out() {
        let points = [
            (3, 30.0, 0.0),
            (1, 10.0, 0.0),
            (2, f64::NAN, 0.0),
            (4, 9000.0, 0.0),
            (5, 50.0, 0.0),
            (5, 52.0, 0.0),
            (99, 60.0, 0.0),
            (6, 60.0, f64::INFINITY),
        ];

        let found = cleaned(&points, 10);

        assert_eq!(found.tracks.len(), 1);
        assert_eq!(places(&found.tracks[0]), [(1.0, 10.0), (3.0, 30.0), (5.0, 52.0)]);
        let left_out = LeftOut { unpaired: 0, nowhere: 2, in_future: 1, jumps: 1 };
        assert_eq!((found.left_out, left_out.count()), (left_out, 4));
        let half = clean(&[(0, 1.0), (1, 2.0)], &[(1, 2.0), (7, 1.0)], 1000, &Plane::Metres);
        assert_eq!((half.tracks[0].len(), half.left_out.unpaired), (1, 2));
        assert_eq!(clean(&[], &[], i64::MAX, &Plane::Metres), Cleaned::default());
    }

    #[test]
    fn a_vehicle_that_is_elsewhere_for_good_is_believed_and_one_that_flickers_is_not() {
        let carried: Vec<_> =
            (0..10).map(|at| (at, if at < 5 { 0.0 } else { 50_000.0 }, 0.0)).collect();
        let found = cleaned(&carried, 10);
        assert_eq!(found.tracks.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5]);

        let flickers: Vec<_> = (0..10).map(|at| (at, (at % 2) as f64 * 50_000.0, 0.0)).collect();
        let found = cleaned(&flickers, 10);
        assert_eq!((found.tracks.len(), found.left_out.jumps), (1, 5));

        let paused: Vec<_> = [0, 1, 100, 101].map(|at| (at, 0.0, 0.0)).into();
        assert_eq!(cleaned(&paused, 200).tracks.len(), 2);
        let first_wrong: Vec<_> =
            (0..5).map(|at| (at, if at == 0 { 1e6 } else { 0.0 }, 0.0)).collect();
        assert_eq!(cleaned(&first_wrong, 10).tracks[1].len(), 4);
    }
}
