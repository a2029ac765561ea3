//! What models are compared on.

use learning::{
    Sample, SiteTrace, Trace,
    model::{Examples, Model, Question, Target},
};

/// Rows to learn from, and rows to test on.
#[derive(Debug)]
pub(super) struct Split {
    pub(super) rows: Vec<Vec<f64>>,
    pub(super) truths: Vec<f64>,
    pub(super) new: Vec<Vec<f64>>,
    pub(super) new_truths: Vec<f64>,
}

impl Split {
    /// The root mean square error on what was held out.
    pub(super) fn error(&self, model: &dyn Model) -> f64 {
        let off = self.new.iter().zip(&self.new_truths);
        let sum: f64 = off.map(|(row, truth)| (model.predict(row) - truth).powi(2)).sum();
        (sum / self.new.len() as f64).sqrt()
    }
}

/// Numbers from 0 to 1: SplitMix64.
struct Draw(u64);

impl Draw {
    fn part(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// With a deviation of about 1: the sum of twelve.
    fn bell(&mut self) -> f64 {
        (0..12).map(|_| self.part()).sum::<f64>() - 6.0
    }
}

/// Friedman's first function with noise (Annals of Statistics 19(1), 1991).
pub(super) fn friedman(count: usize) -> Split {
    let mut draw = Draw(1);
    let mut some = |count: usize| {
        let rows: Vec<Vec<f64>> =
            (0..count).map(|_| (0..10).map(|_| draw.part()).collect()).collect();
        let truth = |x: &Vec<f64>| {
            10.0 * (std::f64::consts::PI * x[0] * x[1]).sin()
                + 20.0 * (x[2] - 0.5).powi(2)
                + 10.0 * x[3]
                + 5.0 * x[4]
        };
        let truths: Vec<_> = rows.iter().map(|row| truth(row) + draw.bell()).collect();
        (rows, truths)
    };
    let ((rows, truths), (new, new_truths)) = (some(count), some(count / 2));
    Split { rows, truths, new, new_truths }
}

/// Figures of a trace and the mean latency of minutes 5 to 10, about `count` of them to learn from.
pub(super) fn telemetry(count: usize) -> anyhow::Result<Split> {
    // Of two sites, a moment in four samples, and seven of ten are learned from.
    let trace = trace(count * 20 / 7);
    let question = Question { every_s: 20, ..Question::new(Target::Latency, (300, 600)) };
    let (learn, test) = trace.split(0.7);
    let (learn, test) = (Examples::new(&learn, &question)?, Examples::new(&test, &question)?);
    // Not every peer takes what is no number as it is; here all get the same.
    let filled = |rows: Vec<Vec<f64>>| {
        let known = |x: f64| if x.is_finite() { x } else { 0.0 };
        rows.into_iter().map(|row| row.into_iter().map(known).collect()).collect()
    };
    Ok(Split {
        rows: filled(learn.rows),
        truths: learn.truths,
        new: filled(test.rows),
        new_truths: test.truths,
    })
}

/// Two sites, 5 s apart: load that wanders, bursts that come in clusters and often at both, noise, stalls.
pub(super) fn trace(samples: usize) -> Trace {
    let mut draw = Draw(2);
    let (mut load, mut burst) = ([0.0_f64; 2], [0_u32; 2]);
    let mut sites = [Vec::new(), Vec::new()];
    for at in 0..samples.max(2000) {
        let both = draw.part() < 1.0 / 400.0;
        for site in 0..2 {
            load[site] = 0.995 * load[site] + 0.3 * draw.bell();
            if both && draw.part() < 0.7 || draw.part() < 1.0 / 600.0 {
                burst[site] = 12 + (24.0 * draw.part()) as u32;
            }
            burst[site] = burst[site].saturating_sub(1);
            let high = if burst[site] > 0 { 45.0 } else { 0.0 };
            let day = 8.0 * (at as f64 / 2750.0).sin();
            let latency = (68.0 + day + 4.0 * load[site] + high + 6.0 * draw.bell()).max(20.0);
            let stalled = draw.part() < 0.002;
            let cpu = Some(latency / 20.0 + 0.2 * draw.bell());
            sites[site].push(Sample {
                latency_ms: (!stalled).then_some(latency),
                cpu,
                requests: None,
            });
        }
    }
    let mut number = 0;
    let sites = sites.into_iter().map(|samples| {
        number += 1;
        SiteTrace { name: format!("s{number}"), samples }
    });
    let sites = sites.collect();
    Trace { start_s: 1_700_000_000, step_s: 5, sites }
}
