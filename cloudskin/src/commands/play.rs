//! `cloudskin play`: a camera.

use crate::{
    output::{FormatArgs, Style, complain},
    session::{Session, Target},
};
use clap::{Args, ValueEnum};
use orchestrator::camera::{self, Options, Picture, Report};
use std::{
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How frames are sent.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Frames {
    /// JPEG pictures
    Jpeg,
    /// Brightness alone, decoded here
    Luminance,
}

/// Play a video to a service, as a camera would
///
/// Sends frames at a fixed rate whatever becomes of earlier ones, resolves the service by our DNS
/// and honours its TTL. Takes whatever ffmpeg takes: a file, rtsp://…, /dev/video0.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin play street.avi --to service/street-counter --fps 10
  cloudskin play rtsp://camera/stream --to service/street-counter --frames 600
  cloudskin play street.avi --to service/street-counter --save-answers answers.jsonl -o json")]
pub(crate) struct Play {
    /// What to play
    #[arg(value_name = "INPUT")]
    input: String,
    /// Which service gets the frames
    #[arg(long, value_name = "service/NAME")]
    to: Target,
    /// Frames a second
    #[arg(long, default_value_t = 10.0, value_name = "N")]
    fps: f64,
    /// End after so many frames
    #[arg(long, value_name = "N")]
    frames: Option<u64>,
    /// Skip so many frames of the input first
    #[arg(long, default_value_t = 0, value_name = "N")]
    start_frame: u64,
    /// Begin again at the input's end
    #[arg(long = "loop")]
    repeat: bool,
    /// How frames are sent
    #[arg(long, value_enum, default_value_t = Frames::Jpeg)]
    send: Frames,
    /// Keep the frames in this folder
    #[arg(long, value_name = "FOLDER")]
    save_frames: Option<PathBuf>,
    /// Keep the answers in this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    save_answers: Option<PathBuf>,
    /// Names this run in request ids; made up if not given
    #[arg(long, value_name = "TEXT")]
    run: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
}

pub(crate) async fn run(args: Play, session: &Session) -> anyhow::Result<ExitCode> {
    let client = session.client()?;
    let place = Place::of(&client.status().await?)?;
    let (tenant, service) = (client.tenant(), &args.to.name);
    let name = format!("{service}.{tenant}.svc.{}", place.zone.trim_end_matches('.'));
    let host = format!("{service}.{tenant}.localhost");
    let mut options = Options::new(&args.input, &name, place.dns, place.port, &host);
    options.fps = args.fps;
    options.frames = args.frames;
    options.start_frame = args.start_frame;
    options.repeat = args.repeat;
    options.picture = match args.send {
        Frames::Jpeg => Picture::Jpeg,
        Frames::Luminance => Picture::Luminance,
    };
    options.save_frames = args.save_frames;
    options.save_answers = args.save_answers;
    if let Some(run) = args.run {
        options.run = run;
    }
    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            asked.cancel();
        }
    });
    let mut told = Instant::now();
    let mut answered = 0_u64;
    let report = camera::play(options, stop, |answer| {
        answered += 1;
        if told.elapsed() > Duration::from_secs(2) {
            told = Instant::now();
            complain(&format!("{answered} answers; the last after {:.1} ms", answer.latency_ms));
        }
    })
    .await?;
    args.format.print(&report, &summary(&report))?;
    let complete = report.failures == 0 && report.frames_answered == report.frames_sent;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where the control plane says that names and ingresses are.
struct Place {
    zone: String,
    dns: SocketAddr,
    port: u16,
}

impl Place {
    fn of(status: &serde_json::Value) -> anyhow::Result<Self> {
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let zone = text(&status["dns"]["zone"]);
        let dns = text(&status["dns"]["address"]).and_then(|address| address.parse().ok());
        let port = status["sites"]
            .as_array()
            .and_then(|sites| sites.iter().find_map(|site| site["ingressPort"].as_u64()))
            .and_then(|port| u16::try_from(port).ok());
        match (zone, dns, port) {
            (Some(zone), Some(dns), Some(port)) => Ok(Self { zone, dns, port }),
            _ => anyhow::bail!(
                "the control plane does not say where its DNS and sites are: {status}"
            ),
        }
    }
}

fn summary(report: &Report) -> String {
    let style = Style::for_stdout();
    let count = |number: u64| match number {
        0 => style.good("0"),
        other => style.bad(&other.to_string()),
    };
    let mut text = format!(
        "frames    {} sent, {} answered, {} duplicates, {} out of order, {} failed, {} retries\n\
         latency   p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, max {:.1} ms\n\
         gap       {:.0} ms between two answers at the longest\n",
        report.frames_sent,
        report.frames_answered,
        count(report.duplicates),
        count(report.out_of_order),
        count(report.failures),
        report.retries,
        report.latency_ms.p50,
        report.latency_ms.p95,
        report.latency_ms.p99,
        report.latency_ms.max,
        report.longest_gap_ms,
    );
    for used in &report.addresses {
        text.push_str(&format!(
            "address   {} answered {} frames from {:.1} s on\n",
            used.address,
            used.frames,
            used.from_ms / 1e3
        ));
    }
    text
}
