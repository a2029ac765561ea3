//! Vehicles that are driven by a seed: ways between sites at crossings, a small town unless others are given.

use super::{Fix, Point};
use crate::{Error, Result, model::Draw};

/// Metres from one crossing to the next.
const BLOCK_M: f64 = 400.0;
/// Crossings from west to east, and from south to north.
const WIDE: usize = 4;
const HIGH: usize = 3;
/// The ways that people take, from crossing to crossing, and how often of a hundred.
const WAYS: [(&[usize], usize); 5] = [
    (&[0, 1, 2, 3], 35),
    (&[0, 1, 5, 6, 7], 25),
    (&[3, 2, 6, 10, 9], 20),
    (&[8, 4, 5, 6, 2, 3], 12),
    (&[11, 7, 6, 5, 1, 0], 8),
];

/// Crossings with an edge site each, and the ways that people take between them.
#[derive(Debug, Clone)]
pub struct Roads {
    sites: Vec<Point>,
    ways: Vec<Way>,
    traffic: Traffic,
}

/// A way that people take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// From crossing to crossing.
    pub crossings: Vec<usize>,
    /// How often it is taken, of all ways' together.
    pub often: usize,
}

/// How fast it goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traffic {
    /// The least and the greatest speed between two crossings, in metres a second.
    pub speed_m_s: (f64, f64),
    /// Of a hundred crossings so many are red.
    pub red: usize,
    /// And for less than so many seconds.
    pub wait_s: usize,
}

impl Default for Traffic {
    fn default() -> Self {
        Self { speed_m_s: (7.0, 16.0), red: 40, wait_s: 25 }
    }
}

impl Default for Roads {
    fn default() -> Self {
        let site = |at: usize| Point {
            x_m: (at % WIDE) as f64 * BLOCK_M,
            y_m: (at / WIDE) as f64 * BLOCK_M,
        };
        let way = |(way, often): (&[usize], usize)| Way { crossings: way.to_vec(), often };
        Self {
            sites: (0..WIDE * HIGH).map(site).collect(),
            ways: WAYS.map(way).into(),
            traffic: Traffic::default(),
        }
    }
}

impl Roads {
    /// Roads of one's own.
    ///
    /// # Errors
    /// No way, ways that lead to crossings that are none, and speeds that lead nowhere.
    pub fn new(sites: &[Point], ways: &[Way], traffic: Traffic) -> Result<Self> {
        let known = |way: &Way| way.crossings.iter().all(|crossing| *crossing < sites.len());
        let taken = ways.iter().any(|way| way.often > 0);
        let places = sites.iter().all(|site| site.x_m.is_finite() && site.y_m.is_finite());
        let (slow, fast) = traffic.speed_m_s;
        let speeds = slow > 0.0 && fast >= slow && fast.is_finite();
        if !(taken && places && speeds && ways.iter().all(known)) {
            let text = "roads have a way between crossings that are there, and speeds above 0";
            return Err(Error::Unfit(text.into()));
        }
        Ok(Self { sites: sites.to_vec(), ways: ways.to_vec(), traffic })
    }

    /// Where the sites are.
    pub fn sites(&self) -> &[Point] {
        &self.sites
    }

    /// One vehicle from its first crossing to its last, a fix each second.
    pub fn drive(&self, seed: u64) -> Vec<Fix> {
        let mut draw = Draw(seed);
        let all = self.ways.iter().map(|way| way.often).sum();
        let way = self.chosen(draw.below(all));
        let Traffic { speed_m_s: (slow, fast), red, wait_s } = self.traffic;
        let mut track = Vec::new();
        for pair in way.windows(2) {
            let (from, to) = (self.sites[pair[0]], self.sites[pair[1]]);
            let part = draw.below(1000) as f64 / 1000.0;
            let speed = slow + (fast - slow) * part;
            let seconds = (from.to(to) / speed).ceil() as u32;
            for s in 0..seconds {
                let part = f64::from(s) / f64::from(seconds);
                let x_m = from.x_m + (to.x_m - from.x_m) * part;
                let y_m = from.y_m + (to.y_m - from.y_m) * part;
                track.push(Point { x_m, y_m });
            }
            let waits = if draw.below(100) < red { draw.below(wait_s) } else { 0 };
            track.extend((0..=waits).map(|_| to));
        }
        track.into_iter().enumerate().map(|(at, point)| Fix { at_s: at as f64, point }).collect()
    }

    /// The way that a number stands for.
    fn chosen(&self, number: usize) -> &[usize] {
        let mut until = 0;
        let way = self.ways.iter().find(|way| {
            until += way.often;
            number < until
        });
        way.or(self.ways.first()).map_or(&[], |way| &way.crossings)
    }
}
