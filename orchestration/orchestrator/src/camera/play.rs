//! The open loop: each frame when it is due.

use super::{
    Answer, Error, Options, Pace, Report, Result,
    lane::{Due, Lane, Outcome},
    report::Recorder,
    resolve,
    source::{Frame, Source},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    fs::File,
    io::{AsyncWriteExt, BufWriter},
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use types::chain;

/// Most frames for each second: more would be a load test, not a camera.
const FPS_MAX: f64 = 10_000.0;

/// Most connections.
const CONNECTIONS_MAX: usize = 1024;

/// Plays a video to a service and reports what came of it; `on_answer` sees each frame's
/// outcome as it arrives. When `stop` is cancelled no more frames are sent, and the
/// answers to those that were are waited for.
///
/// # Errors
/// [`Error`] if nothing can be played; once a frame was sent, a failure of the video is told
/// in [`Report::source_error`].
pub async fn play(
    options: Options,
    stop: CancellationToken,
    mut on_answer: impl FnMut(&Answer),
) -> Result<Report> {
    check(&options)?;
    let options = Arc::new(options);
    let mut answers = Answers::create(options.save_answers.as_deref()).await?;
    if let Some(folder) = &options.save_frames {
        tokio::fs::create_dir_all(folder).await.map_err(save(folder))?;
    }
    let ready = async { Ok((Source::open(&options).await?, resolve::follow(&options).await?)) };
    let (source, resolved) = tokio::select! {
        ready = ready => ready?,
        () = stop.cancelled() => {
            return Ok(Report { run: options.run.clone(), ..Report::default() });
        }
    };
    // A play that is dropped must not go on sending.
    let stop = stop.child_token();
    let _stop_at_end = stop.clone().drop_guard();
    let (outcome_sender, mut outcomes) = mpsc::channel::<Outcome>(options.connections);
    let queue_max = options.queue_max.div_ceil(options.connections);
    let lanes = (0..options.connections).map(|_| {
        let (sender, frames) = mpsc::channel(queue_max);
        let lane = Lane::new(options.clone(), resolved.clone(), stop.clone());
        tokio::spawn(lane.run(frames, outcome_sender.clone()));
        sender
    });
    let lanes = lanes.collect();
    // Our own would keep the channel open for ever.
    drop(outcome_sender);
    let start = Instant::now();
    let mut recorder = Recorder::new(&options.run, unix_millis(), start);
    let feeder = Feeder { options: options.clone(), source, lanes, start, stop };
    let feeder = tokio::spawn(feeder.run());
    while let Some(outcome) = outcomes.recv().await {
        let answer = recorder.record(outcome);
        on_answer(&answer);
        answers.write(&answer).await?;
    }
    answers.close().await?;
    match feeder.await.unwrap_or_else(|error| Err(Error::FfmpegRun(error.into()))) {
        Err(error @ Error::Save { .. }) => Err(error),
        ended => Ok(recorder.finish(ended.err().map(|error| chain(&error)))),
    }
}

fn check(options: &Options) -> Result<()> {
    let wrong = |text: &str| Err(Error::Options(text.to_owned()));
    if !(options.fps > 0.0 && options.fps <= FPS_MAX) {
        return wrong("the frame rate must be more than 0 and at most 10000 frames a second");
    }
    if let Some(pace) = &options.pace {
        pace.check(FPS_MAX)?;
    }
    if !(1..=CONNECTIONS_MAX).contains(&options.connections) {
        return wrong("the number of connections must be from 1 to 1024");
    }
    if options.queue_max == 0 {
        return wrong("at least one frame must be allowed to wait");
    }
    if options.frames == Some(0) {
        return wrong("at least one frame must be played");
    }
    Ok(())
}

struct Feeder {
    options: Arc<Options>,
    source: Source,
    lanes: Vec<mpsc::Sender<Due>>,
    start: Instant,
    stop: CancellationToken,
}

impl Feeder {
    /// Hands out frames when they are due, until the video ends or the play is stopped.
    async fn run(mut self) -> Result<()> {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = self.feed() => ended,
        }
    }

    async fn feed(&mut self) -> Result<()> {
        let options = self.options.clone();
        let mut pace = options.pace.as_ref().map(Pace::dues);
        for number in 0..self.options.frames.unwrap_or(u64::MAX) {
            let due = match &mut pace {
                Some(pace) => pace.next(),
                None => Some(Duration::from_secs_f64(number as f64 / options.fps)),
            };
            let Some(due) = due else { break };
            let Some(frame) = self.source.next().await? else { break };
            if let Some(folder) = &self.options.save_frames {
                save_frame(folder, number, &frame).await?;
            }
            let at = self.start + due;
            sleep_until(at).await;
            let lane = &self.lanes[number as usize % self.lanes.len()];
            if lane.send(Due { number, at, frame }).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

async fn save_frame(folder: &Path, number: u64, frame: &Frame) -> Result<()> {
    let (suffix, head) = match frame.size {
        None => ("jpg", String::new()),
        Some((width, height)) => ("pgm", format!("P5\n{width} {height}\n255\n")),
    };
    let path = folder.join(format!("frame-{number:06}.{suffix}"));
    let bytes = [head.as_bytes(), &frame.bytes].concat();
    tokio::fs::write(&path, bytes).await.map_err(save(&path))
}

/// The file of answers, if one is wanted.
struct Answers(Option<(PathBuf, BufWriter<File>)>);

impl Answers {
    async fn create(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        let file = File::create(path).await.map_err(save(path))?;
        Ok(Self(Some((path.to_owned(), BufWriter::new(file)))))
    }

    async fn write(&mut self, answer: &Answer) -> Result<()> {
        let Some((path, file)) = &mut self.0 else { return Ok(()) };
        let mut line = serde_json::to_vec(answer).map_err(|error| save(path)(error.into()))?;
        line.push(b'\n');
        file.write_all(&line).await.map_err(save(path))
    }

    async fn close(&mut self) -> Result<()> {
        let Some((path, file)) = &mut self.0 else { return Ok(()) };
        file.flush().await.map_err(save(path))
    }
}

fn save(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Save { path: path.to_owned(), source }
}

fn unix_millis() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
