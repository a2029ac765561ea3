//! A day at the sites of a scenario, drawn from a seed: the generator that policies are judged by.

use super::{
    Parameters, Scenario, Waves,
    random::Random,
    site::{LOAD_S, Push, Site, Weather},
};
use crate::{Result, Sample, SiteTrace, Trace};

/// Midnight of a Monday: days are told by the time of day alone.
const START_S: i64 = 1_700_438_400;
/// Rush hours and the night change over about so many hours.
const RUSH_WIDTH_H: f64 = 1.2;
/// A day's rush hours are earlier or later by up to this.
const RUSH_SHIFT_H: f64 = 0.5;

/// What the service would have seen at each site, at every step.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// The edge sites in the order of the road, then the cloud.
    pub trace: Trace,
    /// Which edge site is nearest to the users, at each step.
    pub nearest: Vec<usize>,
}

impl World {
    /// Draws a day.
    ///
    /// # Errors
    /// A scenario that [`Scenario::check`] refuses.
    pub fn new(scenario: &Scenario, parameters: &Parameters, seed: u64) -> Result<Self> {
        scenario.check()?;
        let step_s = parameters.step_s;
        let steps = (scenario.hours * 3600 / step_s) as usize;
        let mut random = Random::new(seed, u64::MAX);
        let road = Road::new(scenario, &mut random);
        let day = Day::new(scenario, &mut random);
        let weathers = shared(parameters, steps, &mut random);
        let count = scenario.edges as usize + 1;
        let sites = (0..count).map(|at| {
            let samples = Drawn { scenario, parameters, seed, day: &day, road: &road, at }
                .samples(&weathers, steps);
            let name = if at + 1 == count { "cloud".to_owned() } else { format!("edge-{at}") };
            SiteTrace { name, samples }
        });
        let trace = Trace { start_s: START_S, step_s, sites: sites.collect() };
        let hour = |at: usize| at as f64 * f64::from(step_s) / 3600.0;
        let nearest = (0..steps).map(|at| road.nearest(hour(at))).collect();
        Ok(Self { trace, nearest })
    }

    /// Where the cloud is among the sites.
    pub fn cloud(&self) -> usize {
        self.trace.sites.len() - 1
    }
}

/// What all sites have in common, each time that load changes.
fn shared(parameters: &Parameters, steps: usize, random: &mut Random) -> Vec<Weather> {
    let mut weather = Weather::new(random);
    let count = steps.div_ceil(every(parameters));
    let mut next = || {
        weather.go(&parameters.memory, random);
        weather
    };
    (0..count).map(|_| next()).collect()
}

fn every(parameters: &Parameters) -> usize {
    (LOAD_S / parameters.step_s).max(1) as usize
}

/// One site that is drawn.
#[derive(Debug)]
struct Drawn<'a> {
    scenario: &'a Scenario,
    parameters: &'a Parameters,
    seed: u64,
    day: &'a Day,
    road: &'a Road,
    at: usize,
}

impl Drawn<'_> {
    fn samples(&self, weathers: &[Weather], steps: usize) -> Vec<Sample> {
        let (scenario, parameters) = (self.scenario, self.parameters);
        let model = &parameters.sites[scenario.stands_for(self.at, self.seed, parameters)];
        let cloud = self.at == scenario.edges as usize;
        let mut random = Random::new(self.seed, 2 * self.at as u64 + 1);
        let ramps = Episodes::new(&scenario.ramps, scenario.hours, &mut random);
        let crowds = Episodes::new(&scenario.crowds, scenario.hours, &mut random);
        let failures = Episodes::new(&scenario.failures(), scenario.hours, &mut random);
        let mut site = Site::new(Random::new(self.seed, 2 * self.at as u64));
        let (every, speed) = (every(parameters), if cloud { scenario.cloud_speed } else { 1.0 });
        let step = |at: usize| {
            let hour = at as f64 * f64::from(parameters.step_s) / 3600.0;
            if at.is_multiple_of(every) {
                let shift = self.day.score(hour) + ramps.at(hour);
                let shared = &weathers[at / every];
                site.load(model, &parameters.memory, parameters.coupling, shared, shift);
            }
            let streams = if cloud { 0.0 } else { crowds.at(hour).round() };
            let down = failures.at(hour) > 0.0;
            let push = Push { cpu: streams * scenario.stream_cpu, down };
            let seen = site.step(model, speed, push, parameters.step_s);
            let away_ms = if cloud { scenario.cloud_ms } else { self.road.away_ms(self.at, hour) };
            let latency_ms = seen.latency_ms.map(|ms| ms + scenario.access_ms + away_ms);
            Sample { latency_ms, ..seen }
        };
        (0..steps).map(step).collect()
    }
}

/// The part of load that follows the clock, as a shift of its normal score.
#[derive(Debug)]
pub(super) struct Day {
    rush_score: f64,
    night_score: f64,
    rush_h: [f64; 2],
}

impl Day {
    pub(super) fn new(scenario: &Scenario, random: &mut Random) -> Self {
        let (morning, evening) = scenario.rush_h;
        let mut shifted = |hour: f64| hour + random.between(-RUSH_SHIFT_H, RUSH_SHIFT_H);
        let rush_h = [shifted(morning), shifted(evening)];
        Self { rush_score: scenario.rush_score, night_score: scenario.night_score, rush_h }
    }

    pub(super) fn score(&self, hour: f64) -> f64 {
        let bump = |at: f64, width: f64| {
            let apart = (hour - at).rem_euclid(24.0);
            let apart = apart.min(24.0 - apart);
            (-(apart / width).powi(2) / 2.0).exp()
        };
        let rush = self.rush_h.map(|at| bump(at, RUSH_WIDTH_H)).into_iter().fold(0.0, f64::max);
        self.rush_score * rush - self.night_score * bump(3.0, 2.0 * RUSH_WIDTH_H)
    }
}

/// The users' way along the road: from end to end and back, each time as fast as is drawn.
#[derive(Debug)]
struct Road {
    spacing_km: f64,
    edges: usize,
    km_ms: f64,
    /// Hours at which an end is reached, the first before the beginning; at even ones the lower.
    turns_h: Vec<f64>,
}

impl Road {
    fn new(scenario: &Scenario, random: &mut Random) -> Self {
        let length_km = scenario.spacing_km * f64::from(scenario.edges.max(2) - 1);
        let (slow, fast) = scenario.users_km_h;
        let mut hours = || length_km.max(0.1) / random.between(slow, fast).max(0.1);
        let mut turns_h = vec![-hours() / 2.0];
        while turns_h[turns_h.len() - 1] <= f64::from(scenario.hours) {
            turns_h.push(turns_h[turns_h.len() - 1] + hours());
        }
        let Scenario { spacing_km, km_ms, .. } = *scenario;
        Self { spacing_km, edges: scenario.edges as usize, km_ms, turns_h }
    }

    /// Kilometres from the first site.
    fn place_km(&self, hour: f64) -> f64 {
        let turn = self.turns_h.partition_point(|turn| *turn <= hour).max(1) - 1;
        let next = self.turns_h.get(turn + 1).copied().unwrap_or(f64::INFINITY);
        let part = (hour - self.turns_h[turn]) / (next - self.turns_h[turn]);
        let length_km = self.spacing_km * (self.edges - 1) as f64;
        if turn.is_multiple_of(2) { part * length_km } else { (1.0 - part) * length_km }
    }

    fn away_ms(&self, edge: usize, hour: f64) -> f64 {
        self.km_ms * (self.place_km(hour) - edge as f64 * self.spacing_km).abs()
    }

    fn nearest(&self, hour: f64) -> usize {
        let at = (self.place_km(hour) / self.spacing_km.max(1e-9)).round() as usize;
        at.min(self.edges - 1)
    }
}

/// Times at which something rises, stays and falls.
#[derive(Debug)]
pub(super) struct Episodes(Vec<Episode>);

#[derive(Debug)]
struct Episode {
    from_h: f64,
    rise_h: f64,
    stay_h: f64,
    height: f64,
}

impl Episodes {
    pub(super) fn new(waves: &Waves, hours: u32, random: &mut Random) -> Self {
        let mut each = Vec::new();
        let rate = waves.per_day / 24.0;
        if rate <= 0.0 {
            return Self(each);
        }
        // What began before the day is there as well.
        let mut from_h = -6.0;
        loop {
            from_h += random.exponential() / rate;
            if from_h > f64::from(hours) {
                return Self(each);
            }
            let mut drawn = |(least, most): (f64, f64)| random.between(least, most);
            let (rise_h, stay_h) = (drawn(waves.rise_min) / 60.0, drawn(waves.stay_min) / 60.0);
            each.push(Episode { from_h, rise_h, stay_h, height: drawn(waves.height) });
        }
    }

    /// The sum of what there is.
    pub(super) fn at(&self, hour: f64) -> f64 {
        self.0.iter().map(|episode| episode.at(hour)).sum()
    }
}

impl Episode {
    fn at(&self, hour: f64) -> f64 {
        let since = hour - self.from_h;
        let left = 2.0 * self.rise_h + self.stay_h - since;
        if since < 0.0 || left < 0.0 {
            return 0.0;
        }
        let part = (since.min(left) / self.rise_h.max(1e-9)).min(1.0);
        self.height * part
    }
}
