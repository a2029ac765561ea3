//! A play in steps of recorded time: what is judged.

use super::{
    Played,
    play::Frame,
    setup::{SLA_MS, STEP_S, TIME_SCALE},
};
use serde::Serialize;

/// Five seconds of recorded time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Step {
    /// Seconds of recorded time since the warm-up ended.
    pub at_s: f64,
    /// Frames that were due in it.
    pub frames: u32,
    /// The mean latency of them; as before where none was due, nothing where one was not answered.
    pub latency_ms: Option<f64>,
    /// The share of them that the cloud answered.
    pub cloud: f64,
}

impl Step {
    /// Whether the service level was broken.
    pub fn is_broken(&self) -> bool {
        self.latency_ms.is_none_or(|ms| ms > SLA_MS)
    }
}

/// The steps of a play that are judged: those after its warm-up.
pub fn steps(played: &Played, warm: usize, count: usize) -> Vec<Step> {
    let wall_ms = f64::from(STEP_S) * 1000.0 / f64::from(TIME_SCALE);
    let mut each: Vec<Vec<Frame>> = vec![Vec::new(); count];
    for frame in &played.frames {
        let at = (frame.due_ms / wall_ms).floor().max(0.0) as usize;
        if let Some(step) = each.get_mut(at) {
            step.push(*frame);
        }
    }
    let mut last = (Some(0.0), 0.0);
    let step = |(at, frames): (usize, &Vec<Frame>)| {
        if !frames.is_empty() {
            let mean =
                |of: fn(&Frame) -> f64| frames.iter().map(of).sum::<f64>() / frames.len() as f64;
            let all = frames.iter().all(|frame| frame.answered);
            let latency = all.then(|| mean(|frame| frame.latency_ms));
            last = (latency, mean(|frame| f64::from(u8::from(frame.cloud))));
        }
        Step {
            at_s: (at as f64 - warm as f64) * f64::from(STEP_S),
            frames: u32::try_from(frames.len()).unwrap_or(u32::MAX),
            latency_ms: last.0,
            cloud: last.1,
        }
    };
    let steps: Vec<Step> = each.iter().enumerate().map(step).collect();
    steps.into_iter().skip(warm).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Frames 250 ms apart with these latencies, of which those above 1 s were not answered.
    pub(in crate::qos) fn played(policy: &str, latencies: &[f64], cloud: &[bool]) -> Played {
        let frame = |(at, (&latency_ms, &cloud)): (usize, (&f64, &bool))| Frame {
            due_ms: at as f64 * 250.0,
            latency_ms,
            answered: latency_ms < 1000.0,
            cloud,
        };
        let frames: Vec<_> = latencies.iter().zip(cloud).enumerate().map(frame).collect();
        let answered = frames.iter().filter(|frame| frame.answered).count() as u64;
        let report = orchestrator::camera::Report {
            frames_sent: frames.len() as u64,
            frames_answered: answered,
            ..Default::default()
        };
        let (ticks, moves, failed) = (Vec::new(), Vec::new(), Vec::new());
        Played { policy: policy.to_owned(), frames, report, started_ms: 0.0, ticks, moves, failed }
    }

    #[test]
    fn steps_are_means_hold_where_nothing_came_and_break_where_nothing_was_answered() {
        let mut played = played("a", &[60.0, 60.0, 200.0, 2000.0], &[false, false, true, true]);
        played.frames.push(Frame { due_ms: 520.0, latency_ms: 120.0, ..played.frames[2] });

        let found = steps(&played, 1, 6);

        let latency: Vec<_> = found.iter().map(|step| step.latency_ms).collect();
        assert_eq!(latency, [Some(60.0), Some(160.0), None, None, None]);
        assert_eq!(found[1], Step { at_s: 5.0, frames: 2, latency_ms: Some(160.0), cloud: 1.0 });
        let broken = found.iter().map(Step::is_broken);
        assert_eq!(broken.collect::<Vec<_>>(), [false, true, true, true, true]);
    }
}
