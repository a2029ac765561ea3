//! What is run, and the numbers that both policies have in common.

use super::Load;
use std::{path::PathBuf, time::Duration};

/// Time passes so much faster than it was recorded.
pub const TIME_SCALE: u32 = 20;
/// Seconds of recorded time in which latencies are judged together.
pub(super) const STEP_S: u32 = 5;
/// Frames each second that the edge is made to answer, by its quota of processor time.
pub const CAPACITY_FPS: f64 = 16.0;
/// Seconds in which both instances are asked for as much as they can do before the load begins: three
/// samples of the control plane.
pub(super) const TESTED_S: f64 = 17.0;
/// The service level.
pub const SLA_MS: f64 = 150.0;
/// The round trip to the cloud that is made up.
pub(super) const DISTANCE: Duration = Duration::from_millis(25);
/// Cameras that take frames in turn.
pub(super) const CAMERAS: usize = 16;
/// The policies' model, as their manifests name it.
pub(super) const MODEL: &str = "street-load";
/// The service, the one that stands in for it at the cloud, and their policy.
pub(crate) const SERVICE: &str = "street-counter";
pub(super) const STAND_IN: &str = "stand-in";
pub(crate) const POLICY: &str = "street-counter-qos";

/// One run of the demo.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The platform's binary.
    pub cloudskin: PathBuf,
    /// The video.
    pub clip: PathBuf,
    /// The folder with the manifests of the service and of the policies.
    pub manifests: PathBuf,
    /// Where the continuum keeps its data while it runs.
    pub work: PathBuf,
    /// What comes.
    pub load: Load,
    /// How long to wait at most for a machine that does little else, in seconds.
    pub quiet_wait_s: u64,
}

/// The two policies, which are tenants' names, too.
pub(super) const POLICIES: [&str; 2] = ["reactive", "proactive"];

impl Setup {
    /// About how long a run takes, in seconds.
    pub fn seconds(&self) -> u64 {
        let played = self.load.played.len() as u64 * u64::from(STEP_S) / u64::from(TIME_SCALE);
        played + 45
    }
}

/// Recorded time as time here.
pub(super) fn scaled(recorded_s: f64) -> Duration {
    Duration::from_secs_f64(recorded_s / f64::from(TIME_SCALE))
}
