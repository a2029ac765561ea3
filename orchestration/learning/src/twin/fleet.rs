//! Thousands of sites at once, where services are load for each other: what a policy does to all.
//!
//! Sites lie on a ring road in zones of a hundred; those of a zone have their weather and a cloud in
//! common. Users of each service go along the road. Where services go, their streams need
//! processors from the next tick on.

use super::{
    Outcome, Parameters, Rules, Scenario,
    random::Random,
    site::{LOAD_S, Push, Site, Weather},
    world::{Day, Episodes},
};
use crate::{
    Error, Result, Sample,
    features::PAST_S,
    policy::{Moment, Place, Policy},
};
use serde::Serialize;

/// A day of more would take hours and tens of gigabytes.
const SITES_MAX: u32 = 100_000;
const SERVICES_MAX: u32 = 1_000_000;
/// Sites with the same weather and the same cloud.
const ZONE: usize = 100;
/// Moves that a policy is told of.
const MOVES_TOLD: usize = 8;
/// Further streams that come with a service's users now and then.
const STREAMS: (f64, f64) = (2.0, 12.0);

/// A run of many sites.
#[derive(Debug, Clone, Copy)]
pub struct Fleet<'a> {
    /// The day; how many edge sites there are is said here, and crowds come with services.
    pub scenario: &'a Scenario,
    /// The sites that they stand for.
    pub parameters: &'a Parameters,
    /// By what is judged.
    pub rules: &'a Rules,
    /// Edge sites.
    pub sites: u32,
    /// Services.
    pub services: u32,
    /// The same seed gives the same day.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FleetReport {
    /// Edge sites.
    pub sites: u32,
    /// Services.
    pub services: u32,
    /// Steps of sites that were computed, clouds among them.
    pub site_steps: u64,
    /// All services together.
    pub outcome: Outcome,
    /// The share of their time for which the level was broken.
    pub broken_share: f64,
    /// Euro a day for a service.
    pub cost_per_day_eur: f64,
    /// Moves of a service in a day.
    pub migrations_per_day: f64,
    /// The share of their instances' time in the cloud.
    pub cloud_share: f64,
    /// A number made of all figures of all services: the same for the same input.
    pub digest: String,
}

/// What was measured at a site, in little memory: twice the past that policies see, so that it is moved
/// rarely.
#[derive(Debug)]
struct Log {
    each: Vec<(f32, f32)>,
    keep: usize,
}

impl Log {
    fn new(keep: usize) -> Self {
        Self { each: Vec::with_capacity(2 * keep), keep }
    }

    fn push(&mut self, sample: Sample) {
        if self.each.len() == 2 * self.keep {
            self.each.drain(..self.keep);
        }
        let number = |value: Option<f64>| value.map_or(f32::NAN, |value| value as f32);
        self.each.push((number(sample.latency_ms), number(sample.cpu)));
    }

    fn last(&self, count: usize) -> &[(f32, f32)] {
        &self.each[self.each.len().saturating_sub(count)..]
    }

    /// The past as it is seen from so many milliseconds away.
    fn seen(&self, away_ms: f64) -> Vec<Sample> {
        let known = |value: f32| (!value.is_nan()).then_some(f64::from(value));
        let each = self.last(self.keep).iter();
        each.map(|&(latency, cpu)| Sample {
            latency_ms: known(latency).map(|ms| ms + away_ms),
            cpu: known(cpu),
            requests: None,
        })
        .collect()
    }
}

#[derive(Debug)]
struct Spot {
    site: Site,
    model: usize,
    zone: usize,
    cloud: bool,
    ramps: Episodes,
    failures: Episodes,
    down: bool,
    services_cpu: f64,
    log: Log,
}

#[derive(Debug)]
struct Guest {
    start_km: f64,
    km_h: f64,
    streams: Episodes,
    here: usize,
    from: usize,
    arrives: usize,
    moved: Vec<usize>,
    outcome: Outcome,
}

#[derive(Debug)]
struct State<'a> {
    fleet: &'a Fleet<'a>,
    /// The edge sites, then the zones' clouds.
    spots: Vec<Spot>,
    zones: Vec<(Weather, Random, Day)>,
    guests: Vec<Guest>,
    at: usize,
    tick: usize,
}

impl Fleet<'_> {
    /// Runs the day under a policy.
    ///
    /// # Errors
    /// More sites or services than can be, or a scenario that cannot be.
    pub fn run(
        &self,
        policy: &dyn Policy,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<FleetReport> {
        self.scenario.check()?;
        if !(3..=SITES_MAX).contains(&self.sites) || !(1..=SERVICES_MAX).contains(&self.services) {
            let text =
                format!("sites are from 3 to {SITES_MAX}, services from 1 to {SERVICES_MAX}");
            return Err(Error::Unfit(text));
        }
        if self.rules.every_s > PAST_S {
            let text = "decisions about many sites are at most an hour apart".to_owned();
            return Err(Error::Unfit(text));
        }
        let mut state = State::new(self);
        let steps = (self.scenario.hours * 3600 / self.parameters.step_s) as usize;
        let warm = (PAST_S / self.parameters.step_s) as usize;
        while state.at < steps {
            state.go(steps);
            // Moves at the day's end would never take effect.
            if state.at >= warm && state.at < steps {
                state.guests_decide(policy);
            }
            progress(state.at, steps);
        }
        Ok(state.report())
    }

    fn zone_of(&self, site: usize) -> usize {
        site / ZONE
    }

    fn hour(&self, at: usize) -> f64 {
        at as f64 * f64::from(self.parameters.step_s) / 3600.0
    }
}

impl<'a> State<'a> {
    fn new(fleet: &'a Fleet<'a>) -> Self {
        let sites = fleet.sites as usize;
        let zones = sites.div_ceil(ZONE);
        let mut random = Random::new(fleet.seed, u64::MAX);
        let zone = |at: usize| {
            let mut random = Random::new(fleet.seed, u64::MAX - 1 - at as u64);
            let (weather, day) = (Weather::new(&mut random), Day::new(fleet.scenario, &mut random));
            (weather, random, day)
        };
        let spots = (0..sites + zones).map(|at| Spot::new(fleet, at)).collect();
        let guests = (0..fleet.services).map(|_| Guest::new(fleet, &mut random)).collect();
        let tick = (fleet.rules.every_s / fleet.parameters.step_s).max(1) as usize;
        Self { fleet, spots, zones: (0..zones).map(zone).collect(), guests, at: 0, tick }
    }

    /// All sites until the next tick, then what services saw.
    fn go(&mut self, steps: usize) {
        let until = (self.at + self.tick).min(steps);
        self.load(until);
        let every = (LOAD_S / self.fleet.parameters.step_s).max(1) as usize;
        let weathers =
            self.weathers((self.at..until).filter(|at| at.is_multiple_of(every)).count());
        // Site after site: what one needs stays near the processor for all of its steps.
        for spot in &mut self.spots {
            let day = &self.zones[spot.zone].2;
            let mut weathers = weathers[spot.zone].iter();
            for at in self.at..until {
                let changed = if at.is_multiple_of(every) { weathers.next() } else { None };
                spot.step(self.fleet, day, changed, at);
            }
        }
        let (from, warm) = (self.at, (PAST_S / self.fleet.parameters.step_s) as usize);
        self.at = until;
        if from >= warm {
            let State { fleet, spots, guests, .. } = self;
            guests.iter_mut().for_each(|guest| guest.spend(fleet, spots, from, until));
        }
    }

    /// What the sites of each zone have in common, as often as load changes.
    fn weathers(&mut self, count: usize) -> Vec<Vec<Weather>> {
        let memory = &self.fleet.parameters.memory;
        let each = self.zones.iter_mut().map(|(weather, random, _)| {
            let mut next = || {
                weather.go(memory, random);
                *weather
            };
            (0..count).map(|_| next()).collect()
        });
        each.collect()
    }

    /// The processors that services need where they are, and where they come from while they move.
    fn load(&mut self, until: usize) {
        self.spots.iter_mut().for_each(|spot| spot.services_cpu = 0.0);
        let hour = self.fleet.hour(until);
        for guest in &self.guests {
            let cpu = (1.0 + guest.streams.at(hour).round()) * self.fleet.scenario.stream_cpu;
            self.spots[guest.here].services_cpu += cpu;
            if guest.arrives > self.at && guest.from != guest.here {
                self.spots[guest.from].services_cpu += cpu;
            }
        }
    }

    fn guests_decide(&mut self, policy: &dyn Policy) {
        let State { fleet, spots, guests, at, .. } = self;
        for guest in guests.iter_mut().filter(|guest| guest.arrives <= *at) {
            guest.decide(fleet, spots, *at, policy);
        }
    }

    fn report(self) -> FleetReport {
        let mut outcome = Outcome::default();
        // FNV-1a over the bits of each service's figures.
        let mut digest = 0xcbf2_9ce4_8422_2325_u64;
        for Guest { outcome: one, .. } in &self.guests {
            outcome.add(one);
            for bits in [one.sla_broken_s, one.cloud_s, one.cost.total()].map(f64::to_bits) {
                digest = (digest ^ bits).wrapping_mul(0x0100_0000_01b3);
            }
        }
        let days = outcome.seconds / 86_400.0;
        FleetReport {
            sites: self.fleet.sites,
            services: self.fleet.services,
            site_steps: (self.spots.len() * self.at) as u64,
            broken_share: outcome.sla_broken_s / outcome.seconds,
            cost_per_day_eur: outcome.cost.total() / days,
            migrations_per_day: f64::from(outcome.migrations) / days,
            cloud_share: outcome.cloud_s / outcome.seconds,
            digest: format!("{digest:016x}"),
            outcome,
        }
    }
}

impl Spot {
    fn new(fleet: &Fleet, at: usize) -> Self {
        let cloud = at >= fleet.sites as usize;
        let Scenario { ramps, hours, .. } = fleet.scenario;
        let mut random = Random::new(fleet.seed, 2 * at as u64 + 1);
        let zone = if cloud { at - fleet.sites as usize } else { fleet.zone_of(at) };
        Self {
            site: Site::new(Random::new(fleet.seed, 2 * at as u64)),
            model: fleet.scenario.stands_for(at, fleet.seed, fleet.parameters),
            zone,
            cloud,
            ramps: Episodes::new(ramps, *hours, &mut random),
            failures: Episodes::new(&fleet.scenario.failures(), *hours, &mut random),
            down: false,
            services_cpu: 0.0,
            log: Log::new((PAST_S / fleet.parameters.step_s) as usize + 1),
        }
    }

    fn step(&mut self, fleet: &Fleet, day: &Day, changed: Option<&Weather>, at: usize) {
        let Parameters { memory, coupling, step_s, sites } = fleet.parameters;
        let model = &sites[self.model];
        if let Some(shared) = changed {
            let hour = fleet.hour(at);
            let shift = day.score(hour) + self.ramps.at(hour);
            self.site.load(model, memory, *coupling, shared, shift);
            self.down = self.failures.at(hour) > 0.0;
        }
        // A cloud gives each service machines of its own.
        let (cpu, speed) = match self.cloud {
            true => (0.0, fleet.scenario.cloud_speed),
            false => (self.services_cpu, 1.0),
        };
        let push = Push { cpu, down: self.down };
        self.log.push(self.site.step(model, speed, push, *step_s));
    }
}

impl Guest {
    fn new(fleet: &Fleet, random: &mut Random) -> Self {
        let Scenario { spacing_km, users_km_h, crowds, hours, .. } = fleet.scenario;
        let start_km = random.between(0.0, spacing_km * f64::from(fleet.sites));
        let streams = super::Waves { height: STREAMS, ..*crowds };
        let mut guest = Self {
            start_km,
            km_h: random.between(users_km_h.0, users_km_h.1),
            streams: Episodes::new(&streams, *hours, random),
            here: 0,
            from: 0,
            arrives: 0,
            moved: Vec::new(),
            outcome: Outcome::default(),
        };
        guest.here = guest.nearest(fleet, 0).0;
        guest.from = guest.here;
        guest
    }

    fn place_km(&self, fleet: &Fleet, at: usize) -> f64 {
        let ring_km = fleet.scenario.spacing_km * f64::from(fleet.sites);
        (self.start_km + self.km_h * fleet.hour(at)).rem_euclid(ring_km.max(1e-9))
    }

    /// The nearest edge site and the one after it.
    fn nearest(&self, fleet: &Fleet, at: usize) -> (usize, usize) {
        let place = self.place_km(fleet, at) / fleet.scenario.spacing_km.max(1e-9);
        let (nearest, sites) =
            (place.round() as usize % fleet.sites as usize, fleet.sites as usize);
        let next = if place > place.round() { nearest + 1 } else { nearest + sites - 1 };
        (nearest, next % sites)
    }

    fn away_ms(&self, fleet: &Fleet, spot: usize, at: usize) -> f64 {
        let Scenario { spacing_km, access_ms, km_ms, cloud_ms, .. } = fleet.scenario;
        if spot >= fleet.sites as usize {
            return access_ms + cloud_ms;
        }
        let ring_km = spacing_km * f64::from(fleet.sites);
        let apart = (self.place_km(fleet, at) - spot as f64 * spacing_km).abs();
        access_ms + km_ms * apart.min(ring_km - apart)
    }

    /// What the service saw in the last steps.
    fn spend(&mut self, fleet: &Fleet, spots: &[Spot], from: usize, until: usize) {
        let (step_s, count) = (f64::from(fleet.parameters.step_s), until - from);
        let Rules { sla_ms, prices, .. } = fleet.rules;
        let moving = self.arrives.clamp(from, until) - from;
        for (spot, part) in [(self.from, 0..moving), (self.here, moving..count)] {
            if part.is_empty() {
                continue;
            }
            let (away_ms, seconds) = (self.away_ms(fleet, spot, from), part.len() as f64 * step_s);
            for &(latency, _) in &spots[spot].log.last(count)[part] {
                let latency = (!latency.is_nan()).then_some(f64::from(latency) + away_ms);
                if latency.is_none_or(|ms| ms > *sla_ms) {
                    self.outcome.sla_broken_s += step_s;
                    self.outcome.cost.penalty += prices.penalty(latency, *sla_ms) * step_s;
                }
            }
            let cloud = spot >= fleet.sites as usize;
            self.outcome.seconds += seconds;
            self.outcome.cost.infrastructure += prices.second(cloud) * seconds;
            self.outcome.cost.control += prices.control_hour / 3600.0 * seconds;
            if cloud {
                self.outcome.cloud_s += seconds;
                self.outcome.bytes_to_cloud += fleet.scenario.service.sent_bytes_s * seconds;
            }
        }
    }

    fn decide(&mut self, fleet: &Fleet, spots: &[Spot], at: usize, policy: &dyn Policy) {
        let (nearest, next) = self.nearest(fleet, at);
        let cloud = fleet.sites as usize + fleet.zone_of(nearest);
        let first = if self.here == nearest { [cloud, next] } else { [nearest, cloud] };
        let order = first.into_iter().chain([next]).filter(|spot| *spot != self.here);
        let mut to: Vec<_> = order.collect();
        to.dedup();
        let pasts: Vec<_> = std::iter::once(self.here)
            .chain(to.iter().copied())
            .map(|spot| spots[spot].log.seen(self.away_ms(fleet, spot, at)))
            .collect();
        let place = |spot: usize, past| {
            let edge = spot < fleet.sites as usize;
            let move_s = fleet.scenario.service.move_s(edge);
            Place { name: if edge { "edge" } else { "cloud" }, past, edge, move_s }
        };
        let others: Vec<_> =
            to.iter().zip(&pasts[1..]).map(|(&spot, past)| place(spot, past)).collect();
        let step_s = fleet.parameters.step_s;
        let ago = |&moved: &usize| (at - moved) as u64 * u64::from(step_s);
        let verdict = policy.decide(&Moment {
            now_s: at as i64 * i64::from(step_s),
            step_s,
            here: place(self.here, &pasts[0]),
            others: &others,
            moved_s_ago: &self.moved.iter().rev().map(ago).collect::<Vec<_>>(),
        });
        if let Some(&to) = verdict.go.and_then(|go| to.get(go)) {
            self.go(fleet, to, at);
        }
    }

    fn go(&mut self, fleet: &Fleet, to: usize, at: usize) {
        let cloud = to >= fleet.sites as usize;
        let move_s = fleet.scenario.service.move_s(!cloud);
        (self.from, self.here) = (self.here, to);
        self.arrives = at + move_s.div_ceil(fleet.parameters.step_s) as usize;
        if self.moved.len() == MOVES_TOLD {
            self.moved.remove(0);
        }
        self.moved.push(at);
        self.outcome.migrations += 1;
        self.outcome.cost.migration += fleet.rules.prices.second(cloud) * f64::from(move_s);
        if cloud {
            self.outcome.cloud_s += f64::from(move_s);
            self.outcome.bytes_to_cloud += fleet.scenario.service.state_bytes;
        }
    }
}
