//! Vehicles that are driven by a seed: ways through a small town with a site at each crossing.

use super::{Fix, Point};
use crate::model::Draw;

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
/// Metres a second.
const SPEED_M_S: (f64, f64) = (7.0, 16.0);
/// Of a hundred crossings so many are red, and for so many seconds at most.
const RED: usize = 40;
const WAIT_S: usize = 25;

/// A town with an edge site at each crossing.
#[derive(Debug, Clone)]
pub struct Roads {
    sites: Vec<Point>,
}

impl Default for Roads {
    fn default() -> Self {
        let site = |at: usize| Point {
            x_m: (at % WIDE) as f64 * BLOCK_M,
            y_m: (at / WIDE) as f64 * BLOCK_M,
        };
        Self { sites: (0..WIDE * HIGH).map(site).collect() }
    }
}

impl Roads {
    /// Where the sites are.
    pub fn sites(&self) -> &[Point] {
        &self.sites
    }

    /// One vehicle from its first crossing to its last, a fix each second.
    pub fn drive(&self, seed: u64) -> Vec<Fix> {
        let mut draw = Draw(seed);
        let way = chosen(draw.below(100));
        let mut track = Vec::new();
        for pair in way.windows(2) {
            let (from, to) = (self.sites[pair[0]], self.sites[pair[1]]);
            let part = draw.below(1000) as f64 / 1000.0;
            let speed = SPEED_M_S.0 + (SPEED_M_S.1 - SPEED_M_S.0) * part;
            let seconds = (from.to(to) / speed).ceil() as u32;
            for s in 0..seconds {
                let part = f64::from(s) / f64::from(seconds);
                let x_m = from.x_m + (to.x_m - from.x_m) * part;
                let y_m = from.y_m + (to.y_m - from.y_m) * part;
                track.push(Point { x_m, y_m });
            }
            let red = draw.below(100) < RED;
            let waits = if red { draw.below(WAIT_S) } else { 0 };
            track.extend((0..=waits).map(|_| to));
        }
        track.into_iter().enumerate().map(|(at, point)| Fix { at_s: at as f64, point }).collect()
    }
}

/// The way that a number of a hundred stands for.
fn chosen(number: usize) -> &'static [usize] {
    let mut until = 0;
    let way = WAYS.iter().find(|(_, often)| {
        until += often;
        number < until
    });
    way.map_or(WAYS[0].0, |(way, _)| way)
}
