//! What happens at the sites beside what a trace knows: the day, ramps, crowds, failures, and a
//! service whose users move along.

use super::Parameters;
use crate::{Error, Result, document};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Edge sites along a road, a cloud, and a day there.
///
/// The defaults were set before any policy was tried on them, and are not changed for one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Scenario {
    /// How long it is.
    pub hours: u32,
    /// Edge sites.
    pub edges: u32,
    /// Kilometres from one edge site to the next.
    pub spacing_km: f64,
    /// Milliseconds to the access point and back.
    pub access_ms: f64,
    /// Milliseconds for each kilometre to an edge site and back.
    pub km_ms: f64,
    /// Milliseconds to the cloud and back, from anywhere.
    pub cloud_ms: f64,
    /// How much faster and larger the cloud's machines are.
    pub cloud_speed: f64,
    /// Kilometres an hour of the users, who go up and down the road: the least and the most.
    pub users_km_h: (f64, f64),
    /// By how much the normal score of load is higher in rush hours.
    pub rush_score: f64,
    /// When rush hours are, by the clock.
    pub rush_h: (f64, f64),
    /// By how much it is lower at night.
    pub night_score: f64,
    /// Slow rises and falls of load at one site.
    pub ramps: Waves,
    /// Further streams that come to an edge site, more than it can carry when many do: `height` is
    /// how many.
    pub crowds: Waves,
    /// Processors that each of them needs.
    pub stream_cpu: f64,
    /// Times in a day that a site fails.
    pub failures_per_day: f64,
    /// How long it is gone: at least and at most, in minutes.
    pub failure_min: (f64, f64),
    /// The service, and how it moves.
    pub service: Service,
}

/// Something that rises, stays and falls, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Waves {
    /// How often in a day, at each site.
    pub per_day: f64,
    /// How high: the least and the most.
    pub height: (f64, f64),
    /// Minutes that it takes to rise, and to fall: the least and the most.
    pub rise_min: (f64, f64),
    /// Minutes that it stays: the least and the most.
    pub stay_min: (f64, f64),
}

/// The service that policies move.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Service {
    /// Bytes that its users send in a second.
    pub sent_bytes_s: f64,
    /// Bytes that go with it when it moves.
    pub state_bytes: f64,
    /// Megabits in a second towards an edge site.
    pub to_edge_mbit: f64,
    /// Megabits in a second towards the cloud.
    pub to_cloud_mbit: f64,
    /// Seconds that it takes to start.
    pub start_s: f64,
    /// The scenario's time passes so much faster than that of moves, as where recorded load is
    /// played faster than it was.
    pub speed: f64,
}

impl Default for Service {
    /// A camera's stream of 2 Mbit/s and a state of 125 MB: 1.5 s to an edge site and 8.8 s to the
    /// cloud, which are half a minute and three minutes where time passes 20 times as fast.
    fn default() -> Self {
        Self {
            sent_bytes_s: 250_000.0,
            state_bytes: 125e6,
            to_edge_mbit: 1000.0,
            to_cloud_mbit: 120.0,
            start_s: 0.5,
            speed: 20.0,
        }
    }
}

impl Service {
    /// Seconds of the scenario that a move takes.
    pub fn move_s(&self, to_edge: bool) -> u32 {
        let mbit = if to_edge { self.to_edge_mbit } else { self.to_cloud_mbit };
        let seconds = self.start_s + self.state_bytes * 8.0 / 1e6 / mbit;
        (seconds * self.speed).ceil().clamp(1.0, 86_400.0) as u32
    }
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            hours: 24,
            edges: 3,
            spacing_km: 15.0,
            access_ms: 1.0,
            km_ms: 0.5,
            cloud_ms: 30.0,
            cloud_speed: 1.15,
            users_km_h: (10.0, 40.0),
            rush_score: 0.6,
            rush_h: (8.5, 17.5),
            night_score: 0.4,
            ramps: Waves {
                per_day: 2.0,
                height: (0.3, 1.0),
                rise_min: (20.0, 90.0),
                stay_min: (20.0, 120.0),
            },
            crowds: Waves {
                per_day: 3.0,
                height: (6.0, 24.0),
                rise_min: (15.0, 60.0),
                stay_min: (20.0, 90.0),
            },
            stream_cpu: 0.6,
            failures_per_day: 0.3,
            failure_min: (3.0, 15.0),
            service: Service::default(),
        }
    }
}

impl Scenario {
    /// Reads a YAML file; what it does not name is as usual.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown name, or numbers that stand for no place or time.
    pub fn read(path: &Path) -> Result<Self> {
        document::read(path, |read: Self| read.check().map(|()| read))
    }

    /// Whether a day could be like that.
    ///
    /// # Errors
    /// The number that could not be, and what could.
    pub fn check(&self) -> Result<()> {
        let must = |holds: bool, what: &str| {
            if holds { Ok(()) } else { Err(Error::Unfit(what.to_owned())) }
        };
        must((2..=24 * 31).contains(&self.hours), "hours are from 2 to 744")?;
        must((1..=100).contains(&self.edges), "edges are from 1 to 100")?;
        let plain = [self.spacing_km, self.access_ms, self.km_ms, self.cloud_ms];
        let scores = [self.rush_score, self.night_score, self.stream_cpu, self.failures_per_day];
        let known = plain.iter().chain(&scores).all(|value| (0.0..=1e4).contains(value));
        must(known, "distances, delays, scores and rates are numbers from 0 to 10000")?;
        must((0.01..=100.0).contains(&self.cloud_speed), "cloudSpeed is from 0.01 to 100")?;
        let Waves { per_day: crowds, .. } = self.crowds;
        let often = [crowds, self.ramps.per_day].iter().all(|often| (0.0..=1000.0).contains(often));
        must(often, "perDay is a number from 0 to 1000")?;
        let spans = [self.users_km_h, self.failure_min].into_iter().chain(
            [self.ramps, self.crowds]
                .into_iter()
                .flat_map(|waves| [waves.height, waves.rise_min, waves.stay_min]),
        );
        for (least, most) in spans {
            let fits = (0.0..=1e5).contains(&least) && (least..=1e5).contains(&most);
            must(fits, "a span is two numbers from 0 to 100000, the lesser first")?;
        }
        self.service.check()
    }

    /// Failures of a site: there or not.
    pub(super) fn failures(&self) -> Waves {
        Waves {
            per_day: self.failures_per_day,
            height: (1.0, 1.0),
            rise_min: (0.0, 0.0),
            stay_min: self.failure_min,
        }
    }

    /// Which of the parameters' sites one stands for. Nobody knows which site of a trace was at the
    /// edge, so seeds take turns.
    pub(super) fn stands_for(&self, site: usize, seed: u64, parameters: &Parameters) -> usize {
        (site + (seed % parameters.sites.len() as u64) as usize) % parameters.sites.len()
    }
}

impl Service {
    fn check(&self) -> Result<()> {
        let sizes = [self.sent_bytes_s, self.state_bytes, self.start_s];
        let rates = [self.to_edge_mbit, self.to_cloud_mbit, self.speed];
        let fits = sizes.iter().all(|size| (0.0..=1e15).contains(size))
            && rates.iter().all(|rate| (1e-3..=1e9).contains(rate));
        if fits {
            return Ok(());
        }
        Err(Error::Unfit(
            "the service's sizes are not negative, its rates and speed above 0".into(),
        ))
    }
}
