//! A trace for tests.

use super::Draw;
use crate::{Sample, SiteTrace, Trace};

/// So many samples of two sites, 10 s apart: waves of some minutes with noise, bursts that one site has
/// a minute before the other, and stalls.
pub(crate) fn trace(samples: usize, seed: u64) -> Trace {
    let mut draw = Draw(seed);
    let mut noise = || draw.below(1000) as f64 / 100.0;
    let sites = (0..2).map(|site| {
        let sample = |at: usize| {
            let wave = 20.0 * (at as f64 / 40.0).sin();
            let burst = if (at + 6 * site) % 190 < 25 { 60.0 } else { 0.0 };
            let latency = 70.0 + wave + burst + noise();
            let stalled = at % 300 < 3;
            Sample {
                latency_ms: (!stalled).then_some(latency),
                cpu: Some(2.0 + latency / 50.0),
                ..Sample::default()
            }
        };
        SiteTrace { name: format!("s{site}"), samples: (0..samples).map(sample).collect() }
    });
    let sites = sites.collect();
    Trace { start_s: 1_700_000_000, step_s: 10, sites }
}
