//! One site through time: its load, its queue, and what a reference stream sees there.

use super::{
    parameters::{Memory, SiteParameters},
    queue::{BACKLOG_MAX_S, backlog, steady},
    random::{Random, cumulated},
};
use crate::Sample;

/// Load is measured anew after so many seconds, as at the testbed.
pub(super) const LOAD_S: u32 = 30;

/// What changes by chance: how much is asked of a site, and how badly what is asked comes
/// together, by which waits are longer or shorter at the same load. All are normal scores.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    short: f64,
    long: f64,
    load: f64,
    crowding: f64,
}

impl Weather {
    /// As if it had always been.
    pub(super) fn new(random: &mut Random) -> Self {
        let mut each = || random.normal();
        Self { short: each(), long: each(), load: 0.0, crowding: each() }
    }

    /// Goes on by [`LOAD_S`].
    pub(super) fn go(&mut self, memory: &Memory, random: &mut Random) {
        let Memory { short_s, long_s, long_share, crowding_s } = *memory;
        next(&mut self.short, short_s, random);
        next(&mut self.long, long_s, random);
        next(&mut self.crowding, crowding_s, random);
        self.load = long_share.sqrt() * self.long + (1.0 - long_share).sqrt() * self.short;
    }
}

/// A process that forgets: its next value, [`LOAD_S`] later.
fn next(value: &mut f64, memory_s: f64, random: &mut Random) {
    let keep = (-f64::from(LOAD_S) / memory_s).exp();
    *value = keep * *value + (1.0 - keep * keep).sqrt() * random.normal();
}

/// What comes to a site in a step beside what the trace knows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Push {
    /// Processors that further streams need.
    pub(super) cpu: f64,
    /// The site answers nothing.
    pub(super) down: bool,
}

/// The state of a site.
#[derive(Debug, Clone)]
pub(super) struct Site {
    weather: Weather,
    own_cpu: f64,
    /// By which waits are longer now; 1 on average.
    crowding: f64,
    /// The share of the processors that was in use at the last step, and the mean wait then.
    used: f64,
    wait_ms: f64,
    backlog_s: f64,
    stalled_s: f64,
    random: Random,
}

impl Site {
    pub(super) fn new(mut random: Random) -> Self {
        let weather = Weather::new(&mut random);
        Self {
            weather,
            own_cpu: 0.0,
            crowding: 1.0,
            used: f64::NAN,
            wait_ms: 0.0,
            backlog_s: 0.0,
            stalled_s: 0.0,
            random,
        }
    }

    /// The load changes: `shared` is what all sites have in common, and `shift` is added to its
    /// normal score.
    pub(super) fn load(
        &mut self,
        model: &SiteParameters,
        memory: &Memory,
        coupling: f64,
        shared: &Weather,
        shift: f64,
    ) {
        self.weather.go(memory, &mut self.random);
        let both = |shared: f64, own: f64| coupling.sqrt() * shared + (1.0 - coupling).sqrt() * own;
        let load = both(shared.load, self.weather.load);
        self.own_cpu = model.cpu(load + shift);
        // Waits of a busy queue are exponential: the quantile of the score.
        let crowding = both(shared.crowding, self.weather.crowding);
        self.crowding = -cumulated(-crowding).ln();
    }

    /// One step; what the stream sees there, with a machine `speed` times as fast and as large.
    pub(super) fn step(
        &mut self,
        model: &SiteParameters,
        speed: f64,
        push: Push,
        step_s: u32,
    ) -> Sample {
        let step_s = f64::from(step_s);
        let capacity = model.capacity * speed;
        let used = (self.own_cpu + push.cpu) / capacity;
        self.backlog_s = backlog(self.backlog_s, used, step_s, BACKLOG_MAX_S);
        let cpu = Some(used.min(1.0) * capacity);
        if self.stalls(model, step_s) || push.down {
            return Sample { cpu, ..Sample::default() };
        }
        let wait_ms = self.wait_ms(model, used) * self.crowding;
        let service_ms = model.service_ms(self.random.share());
        let latency_ms = (service_ms + wait_ms) / speed + 1000.0 * self.backlog_s;
        Sample { latency_ms: Some(latency_ms), cpu, requests: None }
    }

    /// The formula is asked again only when something changed: load stays for several steps.
    fn wait_ms(&mut self, model: &SiteParameters, used: f64) -> f64 {
        if used != self.used {
            // What waited in the quiet times is part of what was measured then.
            let beyond = steady(used, model.servers) - steady(model.quiet_use, model.servers);
            (self.used, self.wait_ms) = (used, (model.wait_ms * beyond).max(0.0));
        }
        self.wait_ms
    }

    fn stalls(&mut self, model: &SiteParameters, step_s: f64) -> bool {
        if self.stalled_s <= 0.0 {
            let begins = self.random.share() < model.stalls_per_hour / 3600.0 * step_s;
            if !begins {
                return false;
            }
            self.stalled_s = model.stall_s * self.random.exponential();
        }
        self.stalled_s -= step_s;
        true
    }
}
