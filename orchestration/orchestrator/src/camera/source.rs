//! The frames of a video, decoded by ffmpeg as a child process.

use super::{Error, Options, Picture, Result, jpeg, pgm};
use bytes::Bytes;
use std::{collections::VecDeque, ffi::OsString, io, path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    task::JoinHandle,
    time::timeout,
};

/// Lines of ffmpeg's messages that an error shows.
const MESSAGE_LINES: usize = 6;

/// Bytes read from ffmpeg at once.
const READ_BYTES: usize = 64 << 10;

/// How long ffprobe may look at the input.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// One decoded frame.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) bytes: Bytes,
    /// Width and height; only luminance needs to tell them.
    pub(super) size: Option<(usize, usize)>,
}

/// A running ffmpeg; it ends when this is dropped.
pub(super) struct Source {
    child: Child,
    stdout: ChildStdout,
    messages: JoinHandle<String>,
    splitter: Splitter,
    buffer: Vec<u8>,
    /// Read ahead to learn what kind of pictures they are.
    first: Option<Frame>,
    input: String,
    start_frame: u64,
    given: u64,
}

enum Splitter {
    Jpeg(jpeg::Splitter),
    Luminance(pgm::Splitter),
}

impl Source {
    /// Starts ffmpeg and waits for the first frame.
    pub(super) async fn open(options: &Options) -> Result<Self> {
        // JPEG frames that come as such pass unchanged, if they can be decoded alone.
        let pass = options.picture == Picture::Jpeg
            && options.start_frame == 0
            && is_mjpeg(&options.ffmpeg, &options.input).await;
        if pass
            && let Ok(source) = Self::start(options, true).await
            && source.first.as_ref().is_some_and(|frame| jpeg::has_tables(&frame.bytes))
        {
            return Ok(source);
        }
        Self::start(options, false).await
    }

    async fn start(options: &Options, pass: bool) -> Result<Self> {
        let mut child = Command::new(&options.ffmpeg)
            .args(arguments(options, pass))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => Error::FfmpegMissing { program: options.ffmpeg.clone() },
                _ => Error::FfmpegRun(error),
            })?;
        let piped = || Error::FfmpegRun(io::Error::other("it has no pipes"));
        let stdout = child.stdout.take().ok_or_else(piped)?;
        let stderr = child.stderr.take().ok_or_else(piped)?;
        let splitter = match options.picture {
            Picture::Jpeg => Splitter::Jpeg(jpeg::Splitter::default()),
            Picture::Luminance => Splitter::Luminance(pgm::Splitter::default()),
        };
        let mut source = Self {
            child,
            stdout,
            messages: tokio::spawn(last_lines(BufReader::new(stderr))),
            splitter,
            buffer: vec![0; READ_BYTES],
            first: None,
            input: options.input.clone(),
            start_frame: options.start_frame,
            given: 0,
        };
        source.first = source.next().await?;
        if source.first.is_none() {
            let (input, start_frame) = (source.input, source.start_frame);
            return Err(Error::NoFrames { input, start_frame });
        }
        Ok(source)
    }

    /// The next frame; none at the end of the video.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>> {
        if let Some(frame) = self.first.take() {
            return Ok(Some(frame));
        }
        loop {
            if let Some(frame) = self.splitter.next()? {
                self.given += 1;
                return Ok(Some(frame));
            }
            match self.stdout.read(&mut self.buffer).await.map_err(Error::FfmpegRun)? {
                0 => return self.end().await.map(|()| None),
                count => self.splitter.push(&self.buffer[..count]),
            }
        }
    }

    /// Whether ffmpeg ended well.
    async fn end(&mut self) -> Result<()> {
        let status = self.child.wait().await.map_err(Error::FfmpegRun)?;
        if status.success() {
            return Ok(());
        }
        let message = (&mut self.messages).await.unwrap_or_default();
        Err(Error::Ffmpeg { input: self.input.clone(), status, message })
    }
}

impl Splitter {
    fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Jpeg(splitter) => splitter.push(bytes),
            Self::Luminance(splitter) => splitter.push(bytes),
        }
    }

    fn next(&mut self) -> Result<Option<Frame>> {
        let frame = match self {
            Self::Jpeg(splitter) => splitter.next()?.map(|bytes| Frame { bytes, size: None }),
            Self::Luminance(splitter) => splitter.next()?.map(|graymap| Frame {
                size: Some((graymap.width, graymap.height)),
                bytes: graymap.pixels,
            }),
        };
        Ok(frame)
    }
}

/// ffmpeg's command line; nothing is dropped or doubled to fit a frame rate.
fn arguments(options: &Options, pass: bool) -> Vec<OsString> {
    let mut all: Vec<String> =
        ["-nostdin", "-hide_banner", "-loglevel", "error"].map(String::from).into();
    let mut add = |texts: &[&str]| all.extend(texts.iter().map(|text| (*text).to_owned()));
    if options.input.starts_with("/dev/video") {
        add(&["-f", "v4l2"]);
    } else if options.input.starts_with("rtsp://") {
        // Lost datagrams would be broken pictures.
        add(&["-rtsp_transport", "tcp"]);
    } else if options.repeat {
        add(&["-stream_loop", "-1"]);
    }
    add(&["-i", &options.input, "-map", "0:v:0", "-fps_mode", "passthrough"]);
    if options.start_frame > 0 {
        add(&["-vf", &format!("select=gte(n\\,{})", options.start_frame)]);
    }
    if let Some(frames) = options.frames {
        add(&["-frames:v", &frames.to_string()]);
    }
    add(&["-f", "image2pipe"]);
    match options.picture {
        Picture::Jpeg if pass => add(&["-c:v", "copy"]),
        Picture::Jpeg => add(&["-c:v", "mjpeg", "-q:v", "3"]),
        Picture::Luminance => add(&["-c:v", "pgm", "-pix_fmt", "gray"]),
    }
    add(&["pipe:1"]);
    all.into_iter().map(OsString::from).collect()
}

/// Whether the video is JPEG pictures already; no if ffprobe cannot tell.
async fn is_mjpeg(ffmpeg: &Path, input: &str) -> bool {
    // A device can be opened once only: asking would make ffmpeg find it busy.
    if input.starts_with("/dev/") {
        return false;
    }
    let mut probe = Command::new(ffmpeg.with_file_name("ffprobe"));
    probe.args(["-v", "error", "-select_streams", "v:0", "-show_entries", "stream=codec_name"]);
    probe.args(["-of", "csv=p=0", "-i", input]).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PROBE_TIMEOUT, probe.output()).await;
    let codec = output.ok().and_then(Result::ok).map(|output| output.stdout).unwrap_or_default();
    codec.trim_ascii().starts_with(b"mjpeg")
}

async fn last_lines(mut messages: impl AsyncBufReadExt + Unpin) -> String {
    let mut lines = VecDeque::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        // A line without an end must not fill the memory.
        let mut limited = (&mut messages).take(READ_BYTES as u64);
        match limited.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => break,
            Ok(_) => lines.push_back(String::from_utf8_lossy(&line).trim().to_owned()),
        }
        if lines.len() > MESSAGE_LINES {
            lines.pop_front();
        }
    }
    Vec::from(lines).join("; ")
}
