//! The quota with which the edge answers about as many frames as it is meant to, found by trying. How
//! many exactly a longer test says, and the load follows that: machines are not always equally fast.

use super::{
    play::flood,
    quota::Quota,
    setup::{CAPACITY_FPS, SERVICE},
};
use crate::{Error, Result, continuum::View};
use std::path::Path;

/// The share of a processor that is tried first.
const FIRST: f64 = 0.08;
/// How often the share is mended.
const ROUNDS: usize = 3;
/// Frames of a trial.
const FRAMES: u64 = 64;
/// Near enough.
const OFF_MAX: f64 = 0.04;
/// What the share of a processor may be.
const SHARES: (f64, f64) = (0.005, 4.0);

/// An edge as slow as it is meant to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slow {
    /// The share of a processor of each worker.
    pub(super) share: f64,
    /// Frames each second that it answered at most, when it was last tried.
    pub(super) fps: f64,
}

/// Floods both instances at the edge and gives their workers so much that they answer what they should.
pub(super) async fn calibrate(views: &[View], quota: &mut Quota, clip: &Path) -> Result<Slow> {
    // The first frames meet code and pages that nobody has used.
    answered_fps(views, clip, FRAMES / 2).await?;
    let mut slow = Slow { share: FIRST, fps: f64::NAN };
    for _ in 0..ROUNDS {
        if quota.give(slow.share)? == 0 {
            return Err(Error::NoQuota);
        }
        slow.fps = answered_fps(views, clip, FRAMES).await?;
        if (slow.fps / CAPACITY_FPS - 1.0).abs() < OFF_MAX {
            break;
        }
        slow.share = mended(slow);
    }
    quota.give(slow.share)?;
    Ok(slow)
}

/// Asks each instance for as much as it can do, at the same time, as both will be asked under load.
/// Answers the mean of what they answered each second.
pub(super) async fn answered_fps(views: &[View], clip: &Path, frames: u64) -> Result<f64> {
    let one = async |view: &View| flood(view, clip, SERVICE, frames).await;
    let (reactive, proactive) = tokio::try_join!(one(&views[0]), one(&views[1]))?;
    Ok(f64::midpoint(reactive, proactive))
}

/// The share with which it would have been right, if frames need as much as they did.
fn mended(slow: Slow) -> f64 {
    let factor = (CAPACITY_FPS / slow.fps.max(0.1)).clamp(0.2, 5.0);
    (slow.share * factor).clamp(SHARES.0, SHARES.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_mended_in_proportion_and_within_reason() {
        let mend = |share, fps| mended(Slow { share, fps });
        assert!((mend(0.08, 32.0) - 0.04).abs() < 1e-9);
        assert!((mend(0.08, 0.0) - 0.4).abs() < 1e-9);
        assert_eq!(mend(0.01, 1e9), 0.005);
    }
}
