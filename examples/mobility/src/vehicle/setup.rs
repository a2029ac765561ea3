//! What is run, and the numbers that all runs have in common.

use learning::trajectory::Traffic;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// The service level.
pub const SLA_MS: f64 = 120.0;
/// The ways in which the service is looked after, which are tenants' names, too. The first has no policy.
pub(super) const RUNS: [&str; 3] = ["stay", "follow", "ahead"];
/// Frames each second.
pub(super) const FPS: f64 = 8.0;
/// Cameras that take frames in turn: answers from afar overlap.
pub(super) const CAMERAS: usize = 8;
/// The round trip that is made up: to a site at no distance, for each metre, and to the cloud.
pub(super) const NEAR: Duration = Duration::from_millis(4);
pub(super) const A_METRE: Duration = Duration::from_micros(500);
pub(super) const CLOUD_AWAY: Duration = Duration::from_millis(150);
/// Tracks of other buses that are learned from.
pub(super) const TRACKS: u64 = 60;

/// One run of the demo.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The platform's binary.
    pub cloudskin: PathBuf,
    /// The video.
    pub clip: PathBuf,
    /// The folder with the manifests of sites, service and policies.
    pub manifests: PathBuf,
    /// Where the continuum keeps its data while it runs.
    pub work: PathBuf,
    /// What the bus and those before it drive by.
    pub seed: u64,
    /// How long the bus stands before it leaves, in seconds: policies begin meanwhile.
    pub stands_s: u64,
    /// Seconds after which the drive ends, wherever the bus is.
    pub drive_s: usize,
    /// How fast it goes.
    pub traffic: Traffic,
    /// How long to wait at most for a machine that does little else, in seconds.
    pub quiet_wait_s: u64,
}

impl Setup {
    /// Two minutes through the town.
    pub fn full(cloudskin: &Path, clip: &Path, manifests: &Path, work: &Path) -> Self {
        Self {
            cloudskin: cloudskin.to_owned(),
            clip: clip.to_owned(),
            manifests: manifests.to_owned(),
            work: work.to_owned(),
            seed: 1,
            stands_s: 8,
            drive_s: 115,
            traffic: Traffic { speed_m_s: (13.0, 19.0), red: 30, wait_s: 6 },
            quiet_wait_s: 10,
        }
    }
}
