//! The town, the buses before, and the drive that is played.

use super::setup::{Setup, TRACKS};
use crate::Result;
use learning::trajectory::{Accuracy, Fix, Point, Roads, Tracker, Way};
use serde::Serialize;
use std::collections::BTreeMap;

/// The edge sites, and where they are in metres.
pub const SITES: [(&str, f64, f64); 4] = [
    ("harbour", 0.0, 0.0),
    ("market", 300.0, 0.0),
    ("station", 600.0, 0.0),
    ("hill", 300.0, 300.0),
];
/// The lines of the buses, and how often of a hundred.
const LINES: [(&[usize], usize); 3] =
    [(&[0, 1, 2, 1, 3, 1, 0], 55), (&[0, 1, 3, 1, 2, 1, 0], 30), (&[0, 1, 2, 1, 0], 15)];
/// Seeds of one run are so far from those of the next.
const SEEDS: u64 = 1000;
/// Drives that accuracy is judged on, besides the one that is played.
const JUDGED: u64 = 20;
/// Seconds ahead that accuracy is told for: the policy's, and further.
const AHEAD_S: [u32; 2] = [4, 20];

/// The town.
///
/// # Errors
/// Speeds that lead nowhere.
pub fn roads(setup: &Setup) -> Result<Roads> {
    let sites = SITES.map(|(_, x_m, y_m)| Point { x_m, y_m });
    let line = |(crossings, often): (&[usize], usize)| Way { crossings: crossings.to_vec(), often };
    Ok(Roads::new(&sites, &LINES.map(line), setup.traffic)?)
}

/// The tracks of the buses before.
///
/// # Errors
/// As of [`roads`].
pub fn history(setup: &Setup) -> Result<Vec<Vec<Fix>>> {
    let roads = roads(setup)?;
    Ok((1..=TRACKS).map(|number| roads.drive(setup.seed * SEEDS + number)).collect())
}

/// How well it is told which site will be the nearest, by seconds ahead: learned from the buses
/// before, judged on drives that were not seen.
pub(super) fn accuracy(setup: &Setup) -> Result<BTreeMap<u32, Accuracy>> {
    let (roads, before) = (roads(setup)?, history(setup)?);
    let unseen = (0..JUDGED).map(|number| roads.drive(setup.seed * SEEDS + TRACKS + 1 + number));
    let mut unseen: Vec<_> = unseen.collect();
    unseen.push(Drive::of(setup)?.fixes);
    let one = |ahead_s: u32| {
        let mut tracker = Tracker::new(roads.sites(), ahead_s.into())?;
        before.iter().for_each(|track| tracker.learn(track));
        Ok((ahead_s, tracker.judge(&unseen)))
    };
    AHEAD_S.into_iter().map(one).collect()
}

/// Where the bus is at any moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drive {
    /// A fix each second, from when it leaves.
    pub fixes: Vec<Fix>,
}

impl Drive {
    /// The drive of a setup.
    ///
    /// # Errors
    /// As of [`roads`].
    pub fn of(setup: &Setup) -> Result<Self> {
        let mut fixes = roads(setup)?.drive(setup.seed * SEEDS);
        fixes.truncate(setup.drive_s + 1);
        Ok(Self { fixes })
    }

    /// How long it takes, in seconds.
    pub fn length_s(&self) -> f64 {
        self.fixes.last().map_or(0.0, |fix| fix.at_s)
    }

    /// Where it is; before it leaves and after it has arrived it stands.
    pub fn place(&self, at_s: f64) -> Point {
        let behind = self.fixes.partition_point(|fix| fix.at_s <= at_s);
        let from = self.fixes.get(behind.saturating_sub(1));
        let (Some(from), Some(to)) = (from, self.fixes.get(behind).or(from)) else {
            return Point { x_m: 0.0, y_m: 0.0 };
        };
        let length_s = to.at_s - from.at_s;
        let part =
            if length_s > 0.0 { ((at_s - from.at_s) / length_s).clamp(0.0, 1.0) } else { 0.0 };
        let between = |from: f64, to: f64| from + (to - from) * part;
        Point {
            x_m: between(from.point.x_m, to.point.x_m),
            y_m: between(from.point.y_m, to.point.y_m),
        }
    }

    /// The name of the nearest site.
    pub fn nearest(&self, at_s: f64) -> &'static str {
        let place = self.place(at_s);
        let away = |site: &&(&str, f64, f64)| distance(place, **site);
        let nearest = SITES.iter().min_by(|one, other| away(one).total_cmp(&away(other)));
        nearest.map_or("", |site| site.0)
    }

    /// When it comes nearer to another site, and to which.
    pub fn changes(&self) -> Vec<(f64, &'static str)> {
        let tenths = (self.length_s() * 10.0) as u32;
        let at = |tenth: u32| self.nearest(f64::from(tenth) / 10.0);
        let changes = (1..=tenths).filter(|&tenth| at(tenth) != at(tenth - 1));
        changes.map(|tenth| (f64::from(tenth) / 10.0, at(tenth))).collect()
    }
}

/// Metres from a place to a site.
pub(super) fn distance(place: Point, (_, x_m, y_m): (&str, f64, f64)) -> f64 {
    place.to(Point { x_m, y_m })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::path::Path;

    pub(in crate::vehicle) fn setup() -> Setup {
        let none = Path::new("");
        Setup::full(none, none, none, none)
    }

    #[test]
    fn the_drive_is_the_same_for_a_seed_passes_sites_and_is_none_of_those_before() {
        let drive = Drive::of(&setup()).unwrap();

        assert_eq!(drive, Drive::of(&setup()).unwrap());
        assert!(drive.changes().len() >= 4, "{:?}", drive.changes());
        assert!(drive.length_s() <= 115.0);
        assert_eq!((drive.nearest(-5.0), drive.place(-5.0).x_m), ("harbour", 0.0));
        let other = Drive::of(&Setup { seed: 2, ..setup() }).unwrap();
        assert_ne!(drive, other);
        assert!(history(&setup()).unwrap().iter().all(|track| track[..50] != drive.fixes[..50]));
    }

    #[test]
    fn between_two_fixes_it_is_on_the_way() {
        let drive = Drive::of(&setup()).unwrap();
        let (from, to) = (drive.fixes[3].point, drive.fixes[4].point);

        assert!((drive.place(3.25).x_m - (from.x_m + (to.x_m - from.x_m) / 4.0)).abs() < 1e-9);
        assert_eq!(drive.place(1e9), drive.fixes.last().unwrap().point);
        assert_eq!(Drive { fixes: Vec::new() }.nearest(1.0), "harbour");
    }

    /// Further ahead than a vehicle can be seen to go, its lines tell where it will be.
    #[test]
    fn what_was_learned_tells_more_than_a_straight_line_where_it_matters() {
        let found = accuracy(&setup()).unwrap();

        println!("{found:?}");
        assert!(found[&20].changes_told > found[&20].changes_straight + 0.1, "{found:?}");
        assert!(found[&4].told > found[&4].stayed, "{found:?}");
    }
}
