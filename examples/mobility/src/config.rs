//! What is played, and when the service moves.

use std::path::{Path, PathBuf};

/// One run of the demo.
#[derive(Debug, Clone)]
pub struct Options {
    /// The platform's binary.
    pub cloudskin: PathBuf,
    /// The video.
    pub clip: PathBuf,
    /// The service's manifest.
    pub manifest: PathBuf,
    /// Where the continuum keeps its data while it runs, with its contexts.
    pub work: PathBuf,
    /// What is played, in this order, to one instance of the service.
    pub parts: Vec<Part>,
    /// How long to wait at most for a machine that does little else, in seconds.
    pub quiet_wait_s: u64,
}

/// A piece of the video at one speed.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Frames for each second.
    pub fps: f64,
    /// The first frame of the video.
    pub first_frame: u64,
    /// How many.
    pub frames: u64,
    /// The service's moves.
    pub legs: Vec<Leg>,
}

/// One move of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// It is asked for once so many frames of the part were answered.
    pub after: u64,
    /// To which site.
    pub to: String,
}

impl Part {
    /// A part in which the service goes to the cloud after a third and back after two.
    pub fn there_and_back(fps: f64, first_frame: u64, frames: u64) -> Self {
        let leg = |after, to: &str| Leg { after, to: to.to_owned() };
        let legs = vec![leg(frames / 3, "cloud"), leg(2 * frames / 3, "edge")];
        Self { fps, first_frame, frames, legs }
    }
}

impl Options {
    /// The whole street clip, 795 frames: 420 at 10 frames a second and the rest at 30, with
    /// two moves in each.
    pub fn full(cloudskin: &Path, clip: &Path, manifest: &Path, work: &Path) -> Self {
        Self {
            parts: vec![Part::there_and_back(10.0, 0, 420), Part::there_and_back(30.0, 420, 375)],
            quiet_wait_s: 20,
            ..Self::short(cloudskin, clip, manifest, work)
        }
    }

    /// 60 frames at 30 frames a second with one move each way.
    pub fn short(cloudskin: &Path, clip: &Path, manifest: &Path, work: &Path) -> Self {
        Self {
            cloudskin: cloudskin.to_owned(),
            clip: clip.to_owned(),
            manifest: manifest.to_owned(),
            work: work.to_owned(),
            parts: vec![Part::there_and_back(30.0, 0, 60)],
            quiet_wait_s: 0,
        }
    }

    /// Frames of all parts.
    pub fn frames(&self) -> u64 {
        self.parts.iter().map(|part| part.frames).sum()
    }

    /// About how long a run takes: the video in its own time, once more as fast as it goes, and
    /// the start and end of everything.
    pub fn seconds(&self) -> u64 {
        let played: f64 = self.parts.iter().map(|part| part.frames as f64 / part.fps).sum();
        (played + self.frames() as f64 / 60.0) as u64 + 8
    }
}
