//! A policy that weighs places by what they will cost: their price, and the time for which they are
//! expected to break the service level.
//!
//! Forecasts are trees, as queues are not linear: little happens until a site is nearly full, and
//! then much. What lies outside of what was seen in training is a matter of [`crate::policy::Proactive`].

use crate::{
    Prices, Sample,
    features::{Feature, Features, mean},
    forecast::Ahead,
    model::{Model, Trees},
    policy::{Moment, Place, Policy, Verdict},
};
use std::sync::Arc;

/// What a forecast sees of a place: its own past, how load and latency change, how the other places
/// are, and the time of day.
#[derive(Debug, Clone, PartialEq)]
pub struct Sight {
    own: Features,
    short: Features,
}

/// How many of a place's latest seconds stand for what happens at the other places.
const OTHERS_S: u32 = 60;

impl Sight {
    /// For samples so many seconds apart, and a service level.
    pub fn new(step_s: u32, sla_ms: f64) -> Self {
        let mut own = Features::of_latency(step_s, &[0.85 * sla_ms, sla_ms, 1.2 * sla_ms]);
        own.each.extend([120, 900, 1800].map(|last_s| Feature::CpuMean { last_s }));
        let each = vec![
            Feature::LatencyMean { last_s: OTHERS_S },
            Feature::ShareAbove { ms: sla_ms, last_s: 5 * OTHERS_S },
            Feature::CpuMean { last_s: OTHERS_S },
            Feature::CpuMean { last_s: 10 * OTHERS_S },
        ];
        Self { own, short: Features { step_s, each } }
    }

    /// The figures of each place at a time, by all of their pasts.
    pub fn rows(&self, now_s: i64, places: &[(&[Sample], bool)]) -> Vec<Vec<f64>> {
        let short: Vec<_> = places.iter().map(|(past, _)| self.short.of(past)).collect();
        let angle = std::f64::consts::TAU * now_s.rem_euclid(86_400) as f64 / 86_400.0;
        let row = |(at, &(past, edge)): (usize, &(&[Sample], bool))| {
            let mut row = self.own.of(past);
            row.extend(self.changes(past));
            row.extend(self.range(past));
            let others = |figure: usize| {
                let each = short.iter().enumerate().filter(|(other, _)| *other != at);
                mean(each.map(|(_, short)| short[figure]).filter(|value| value.is_finite()))
            };
            row.extend([others(0), others(1), others(2) - others(3)]);
            row.extend([f64::from(u8::from(edge)), angle.sin(), angle.cos()]);
            row
        };
        places.iter().enumerate().map(row).collect()
    }

    /// The least latency, and the least and most processors in use of the last hour: how fast and
    /// how large the machines are, and how far away.
    fn range(&self, past: &[Sample]) -> [f64; 3] {
        let past = &past[past.len().saturating_sub(self.own.past())..];
        let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::NAN, f64::min);
        let cpu = || past.iter().filter_map(|sample| sample.cpu);
        [
            least(&mut past.iter().filter_map(|sample| sample.latency_ms)),
            least(&mut cpu()),
            cpu().fold(f64::NAN, f64::max),
        ]
    }

    /// How processors in use and latency changed: a queue breaks after its load has risen.
    fn changes(&self, past: &[Sample]) -> [f64; 4] {
        let step_s = self.own.step_s.max(1);
        let last = |seconds: u32, before_s: u32| {
            let end = past.len().saturating_sub((before_s / step_s) as usize);
            &past[end.saturating_sub((seconds / step_s) as usize)..end]
        };
        let cpu = |seconds, before_s| mean(last(seconds, before_s).iter().filter_map(|s| s.cpu));
        let latency =
            |seconds, before_s| mean(last(seconds, before_s).iter().filter_map(|s| s.latency_ms));
        [
            cpu(60, 0) - cpu(60, 300),
            cpu(300, 0) - cpu(300, 900),
            latency(60, 0) - latency(60, 300),
            latency(300, 0) - latency(300, 900),
        ]
    }
}

/// The policy.
#[derive(Debug, Clone)]
pub struct Weighing {
    /// What forecasts see.
    pub sight: Sight,
    /// By the seconds that a move takes, the share of time that is broken from then on.
    pub shares: Vec<(Ahead, Arc<Trees>)>,
    /// Whether the level is broken in minutes 5 to 10, as a share of certainty.
    pub risk: Arc<Trees>,
    /// From where on that is an alarm.
    pub alarm_at: f64,
    /// What places cost.
    pub prices: Prices,
    /// How it weighs.
    pub scales: Scales,
}

/// How a [`Weighing`] policy weighs: what `twin fit` looks for.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Scales {
    /// Euro that a broken second is worth.
    pub broken_eur: f64,
    /// Euro in an hour that a move has to gain.
    pub margin_eur_hour: f64,
    /// Seconds between two moves, at least.
    pub cool_down_s: u32,
}

impl Policy for Weighing {
    fn decide(&self, moment: &Moment) -> Verdict {
        let all = std::iter::once(&moment.here).chain(moment.others);
        let places: Vec<_> = all.map(|place| (place.past, place.edge)).collect();
        let rows = self.sight.rows(moment.now_s, &places);
        let alarm = self.risk.predict(&rows[0]) > self.alarm_at;
        let rested = moment.moved_s_ago.first();
        if rested.is_some_and(|ago| *ago < self.scales.cool_down_s.into()) {
            return Verdict { alarm, go: None };
        }
        let gains = moment.others.iter().zip(&rows[1..]);
        let gains = gains.map(|(place, row)| self.gain_eur_s(moment.here, place, &rows[0], row));
        let best = gains.enumerate().max_by(|one, other| one.1.total_cmp(&other.1));
        let worth = |(_, gain): &(usize, f64)| *gain > self.scales.margin_eur_hour / 3600.0;
        Verdict { alarm, go: best.filter(worth).map(|(at, _)| at) }
    }
}

impl Weighing {
    /// What being there is worth more than staying, in euro for a second.
    fn gain_eur_s(&self, here: Place, there: &Place, stays: &[f64], goes: &[f64]) -> f64 {
        let away = |(ahead, _): &&(Ahead, Arc<Trees>)| ahead.0.abs_diff(there.move_s);
        let Some((ahead, share)) = self.shares.iter().min_by_key(away) else {
            return f64::NEG_INFINITY;
        };
        let price = |place: &Place| self.prices.second(!place.edge);
        let broken = share.predict(stays) - share.predict(goes);
        // Two instances are paid while it moves.
        let moving = price(there) * f64::from(there.move_s) / f64::from((ahead.1 - ahead.0).max(1));
        self.scales.broken_eur * broken + price(&here) - price(there) - moving
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Boosting, Growth};

    fn past(ms: f64) -> Vec<Sample> {
        vec![Sample { latency_ms: Some(ms), cpu: Some(ms / 20.0), requests: None }; 800]
    }

    /// Learned that what is at 200 ms stays above the level, and what is at 60 ms below it.
    fn policy(scales: Scales) -> Weighing {
        let sight = Sight::new(5, 120.0);
        let (bad, good) = (past(200.0), past(60.0));
        let both = [[(&bad[..], true), (&good[..], false)], [(&good[..], true), (&bad[..], false)]];
        let rows: Vec<_> = (0..200).flat_map(|at| sight.rows(0, &both[at % 2])).collect();
        let broken: Vec<_> = (0..200).flat_map(|at| [[1.0, 0.0], [0.0, 1.0]][at % 2]).collect();
        let growth = Growth { leaves: 4, leaf_rows: 10, ..Growth::default() };
        let boosting = Boosting { trees: 40, rate: 0.3, growth };
        let trees = Arc::new(boosting.fit(&rows, &broken).unwrap());
        let shares = vec![((30, 330), trees.clone()), ((180, 480), trees.clone())];
        let prices = Prices::default();
        Weighing { sight, shares, risk: trees, alarm_at: 0.5, prices, scales }
    }

    fn decide(policy: &Weighing, here: f64, there: f64, moved_s_ago: &[u64]) -> Verdict {
        let pasts = [past(here), past(there)];
        let place = |at: usize, edge| Place { name: "", past: &pasts[at], edge, move_s: 30 };
        let (here, others) = (place(0, true), [place(1, false)]);
        policy.decide(&Moment { now_s: 0, step_s: 5, here, others: &others, moved_s_ago })
    }

    #[test]
    fn goes_where_less_is_broken_if_that_is_worth_its_price_and_it_has_rested() {
        let scales = Scales { broken_eur: 0.01, margin_eur_hour: 0.1, cool_down_s: 600 };
        let policy = policy(scales);

        assert_eq!(decide(&policy, 200.0, 60.0, &[]), Verdict { alarm: true, go: Some(0) });
        assert_eq!(decide(&policy, 200.0, 60.0, &[599]).go, None);
        assert_eq!(decide(&policy, 200.0, 60.0, &[600]).go, Some(0));
        assert_eq!(decide(&policy, 60.0, 200.0, &[]), Verdict { alarm: false, go: None });
        // Where a broken second is worth less than the cloud, nobody goes there.
        let poor = Weighing { scales: Scales { broken_eur: 1e-5, ..scales }, ..policy.clone() };
        assert_eq!(decide(&poor, 200.0, 60.0, &[]).go, None);
    }

    #[test]
    fn nothing_measured_and_nowhere_to_go_are_no_reasons_to_fail() {
        let policy = policy(Scales { broken_eur: 0.01, margin_eur_hour: 0.0, cool_down_s: 0 });
        for past in [
            &[][..],
            &[Sample::default(); 3],
            &[Sample { latency_ms: Some(f64::NAN), ..Sample::default() }],
        ] {
            let here = Place { name: "", past, edge: true, move_s: 30 };
            let others = [Place { edge: false, ..here }];
            for others in [&others[..], &[]] {
                let moment = Moment { now_s: i64::MIN, step_s: 5, here, others, moved_s_ago: &[] };
                let verdict = policy.decide(&moment);
                assert!(verdict.go.is_none_or(|to| to < others.len()));
            }
        }
    }
}
