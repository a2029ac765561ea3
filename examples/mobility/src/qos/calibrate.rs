//! The quota with which the edge answers as many frames as it is meant to, found by trying.

use super::{play::flood, quota::Quota, setup::CAPACITY_FPS};
use crate::{Error, Result, continuum::View};
use std::path::Path;

/// The share of a processor that is tried first.
const FIRST: f64 = 0.08;
/// How often the share is mended.
const ROUNDS: usize = 6;
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

/// Floods a service at the edge and gives its worker so much that it answers what it should.
pub(super) async fn calibrate(
    view: &View,
    quota: &mut Quota,
    clip: &Path,
    service: &str,
) -> Result<Slow> {
    // The first frames meet code and pages that nobody has used.
    flood(view, clip, service, FRAMES).await?;
    let mut slow = Slow { share: FIRST, fps: f64::NAN };
    for _ in 0..ROUNDS {
        if quota.give(slow.share)? == 0 {
            return Err(Error::NoQuota);
        }
        slow.fps = flood(view, clip, service, FRAMES).await?;
        if (slow.fps / CAPACITY_FPS - 1.0).abs() < OFF_MAX {
            break;
        }
        slow.share = mended(slow);
    }
    quota.give(slow.share)?;
    Ok(slow)
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
