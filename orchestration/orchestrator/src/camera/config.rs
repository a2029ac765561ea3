//! What to play, to whom and how.

use super::Pace;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// In which form a frame is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Picture {
    /// As `image/jpeg`.
    #[default]
    Jpeg,
    /// As `application/x-luminance`: one byte for each pixel, row by row, with the size in
    /// `x-width` and `x-height`; for services without a decoder of their own.
    Luminance,
}

/// Round trips to addresses. All clones are the same ones: whoever keeps one changes them while a
/// video is played, as for a camera that moves.
#[derive(Debug, Clone, Default)]
pub struct Distances(Arc<RwLock<BTreeMap<IpAddr, Duration>>>);

impl Distances {
    /// The round trip to an address from now on.
    pub fn set(&self, address: IpAddr, round_trip: Duration) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(address, round_trip);
    }

    /// The round trip to an address, if one is made up.
    pub fn to(&self, address: IpAddr) -> Option<Duration> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&address).copied()
    }
}

impl<const N: usize> From<[(IpAddr, Duration); N]> for Distances {
    fn from(each: [(IpAddr, Duration); N]) -> Self {
        Self(Arc::new(RwLock::new(each.into())))
    }
}

/// One play of a video.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whatever ffmpeg takes: a file, `rtsp://…`, `/dev/video0`.
    pub input: String,
    /// The service's domain name, such as `street-counter.default.svc.cloudskin.internal.`.
    pub name: String,
    /// The name server to ask.
    pub dns: SocketAddr,
    /// The port of the ingress at the addresses that the name server gives.
    pub port: u16,
    /// The `Host` of the requests, such as `street-counter.localhost`.
    pub host: String,
    /// The path of the requests.
    pub path: String,
    /// Frames for each second.
    pub fps: f64,
    /// Frames come as this says, instead of `fps` a second; the play ends with it.
    pub pace: Option<Pace>,
    /// Stops after so many frames.
    pub frames: Option<u64>,
    /// Frames of the video to leave out before the first that is sent.
    pub start_frame: u64,
    /// Starts over at the end of the video, until stopped.
    pub repeat: bool,
    /// In which form frames are sent.
    pub picture: Picture,
    /// Connections that take frames in turn. Only one keeps frames in order at the service.
    pub connections: usize,
    /// Frames that may wait for a connection; then the camera waits too.
    pub queue_max: usize,
    /// Round trips that are made up for addresses which are nearer than they stand for: each attempt
    /// there waits so long first. For continua on one machine.
    pub distances: Distances,
    /// How often a frame is sent again.
    pub retries_max: u32,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Request ids are `<run>-<frame number>`; a random one by default.
    pub run: String,
    /// A folder for the frames that were sent.
    pub save_frames: Option<PathBuf>,
    /// A file for the answers: one JSON object a line.
    pub save_answers: Option<PathBuf>,
    /// The program that decodes.
    pub ffmpeg: PathBuf,
}

impl Options {
    /// Plays `input` once at 10 frames a second to `name`, found through `dns`.
    pub fn new(input: &str, name: &str, dns: SocketAddr, port: u16, host: &str) -> Self {
        Self {
            input: input.to_owned(),
            name: name.to_owned(),
            dns,
            port,
            host: host.to_owned(),
            path: "/".to_owned(),
            fps: 10.0,
            pace: None,
            frames: None,
            start_frame: 0,
            repeat: false,
            picture: Picture::default(),
            connections: 1,
            queue_max: 256,
            distances: Distances::default(),
            retries_max: 50,
            timeout: Duration::from_secs(10),
            run: types::random_id(),
            save_frames: None,
            save_answers: None,
            ffmpeg: PathBuf::from("ffmpeg"),
        }
    }
}
