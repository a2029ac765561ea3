//! A frame rate that changes: recorded load.

use super::{Error, Result};
use std::time::Duration;

/// Frame rates, one after the other, each for as long.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    /// How long each holds.
    pub step: Duration,
    /// Frames for each second.
    pub fps: Vec<f64>,
}

impl Pace {
    /// How long all of it takes.
    pub fn duration(&self) -> Duration {
        self.step.mul_f64(self.fps.len() as f64)
    }

    /// When frames are due, from the first on: as many in each step as its rate says, and what is
    /// less than a frame is carried over to the next.
    pub fn dues(&self) -> impl Iterator<Item = Duration> + '_ {
        let step_s = self.step.as_secs_f64();
        let mut owed = 1.0;
        let each = self.fps.iter().enumerate();
        each.flat_map(move |(at, &fps)| {
            let first = owed;
            let comes = fps * step_s;
            let count = (first + comes).floor().max(0.0);
            owed = first + comes - count;
            // The frame that makes a whole one when what is owed has grown to it.
            (1..=count as u64).map(move |frame| {
                let into_s = ((frame as f64 - first) / fps.max(f64::MIN_POSITIVE)).max(0.0);
                Duration::from_secs_f64(at as f64 * step_s + into_s.min(step_s))
            })
        })
    }

    /// # Errors
    /// Steps of no length, and rates that are none or beyond `most`.
    pub(super) fn check(&self, most: f64) -> Result<()> {
        let rates = self.fps.iter().all(|fps| (0.0..=most).contains(fps));
        if rates && !self.step.is_zero() && self.duration() <= Duration::from_secs(7 * 86_400) {
            return Ok(());
        }
        Err(Error::Options(format!(
            "a pace has steps of some length, rates from 0 to {most} frames a second, and lasts a week at most"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dues(step_ms: u64, fps: &[f64]) -> Vec<u128> {
        let pace = Pace { step: Duration::from_millis(step_ms), fps: fps.to_vec() };
        pace.check(100.0).unwrap();
        pace.dues().map(|due| due.as_millis()).collect()
    }

    #[test]
    fn frames_come_as_often_as_the_rate_of_their_time_says() {
        assert_eq!(dues(1000, &[2.0, 4.0, 0.0, 1.0])[..6], [0, 500, 1000, 1250, 1500, 1750]);
        // Steps in which less than a frame comes add up.
        assert_eq!(dues(250, &[2.0; 8]), [0, 500, 1000, 1500, 2000]);
        assert_eq!(dues(1000, &[0.0, 0.0, 10.0]).len(), 11);
        assert!(dues(1000, &[]).is_empty());
        let many = dues(250, &[17.3; 1000]).len();
        assert!((4325..=4326).contains(&many), "{many}");
    }

    #[test]
    fn impossible_rates_are_refused() {
        let pace = |step_ms, fps| Pace { step: Duration::from_millis(step_ms), fps: vec![fps] };
        for wrong in [pace(0, 1.0), pace(1, -1.0), pace(1, f64::NAN), pace(1, 101.0)] {
            assert!(wrong.check(100.0).is_err(), "{wrong:?}");
        }
    }
}
