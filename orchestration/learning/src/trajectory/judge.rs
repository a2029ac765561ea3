//! How well it is told where vehicles go, beside staying and a straight line.

use super::{Fix, Point, Tracker, lately, place_at};
use serde::Serialize;

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
            for at in 0..track.len() {
                let then_s = track[at].at_s + self.horizon_s;
                let then = place_at(track, then_s);
                let (Some(then), Some(said)) = (then, self.next(&track[..=at])) else { continue };
                let (to, here) = (self.nearest(then), self.nearest(track[at].point));
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
    let first = lately(track);
    let times = ahead_s / (last.at_s - first.at_s).max(1e-3);
    let go_on = |from: f64, to: f64| to + (to - from) * times;
    Point {
        x_m: go_on(first.point.x_m, last.point.x_m),
        y_m: go_on(first.point.y_m, last.point.y_m),
    }
}
