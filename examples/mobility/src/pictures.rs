//! A selection of the video's frames, small enough to lie in a page.

use crate::{Error, Result};
use std::{fs, path::Path, process::Stdio};
use tokio::process::Command;

/// Width in pixels; heights follow.
const WIDTH: u32 = 512;

/// One frame as JPEG.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Its number in the video.
    pub frame: u64,
    /// The picture.
    pub jpeg: Vec<u8>,
}

/// Every `every`th of the first `frames` frames of a video; `folder` is used for a moment.
///
/// # Errors
/// If ffmpeg cannot be run or a file not be read.
pub async fn pictures(clip: &Path, every: u64, frames: u64, folder: &Path) -> Result<Vec<Picture>> {
    let every = every.max(1);
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).map_err(Error::file("make", folder))?;
    let filter = format!("select=not(mod(n\\,{every})),scale={WIDTH}:-2");
    let count = frames.div_ceil(every);
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-i"]).arg(clip);
    ffmpeg.args(["-map", "0:v:0", "-vf", &filter, "-fps_mode", "passthrough"]);
    ffmpeg.args(["-frames:v", &count.to_string(), "-q:v", "7"]).arg(folder.join("%05d.jpg"));
    let output = ffmpeg
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| Error::Program { program: "ffmpeg".into(), source })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Failed { command: "ffmpeg".to_owned(), said });
    }
    let mut pictures = Vec::new();
    for index in 0..count {
        let path = folder.join(format!("{:05}.jpg", index + 1));
        // A shorter video has fewer.
        let Ok(jpeg) = fs::read(&path) else { break };
        pictures.push(Picture { frame: index * every, jpeg });
    }
    fs::remove_dir_all(folder).map_err(Error::file("remove", folder))?;
    Ok(pictures)
}
