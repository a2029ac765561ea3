//! Log files that do not grow without end.
//!
//! Children append to their files themselves, so that they can outlive the supervisor; therefore
//! a file is rotated by copying it away and cutting it to nothing, never by renaming it. What is
//! written between the two is lost, a few lines at most.

use super::{Error, Result};
use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// A log is rotated when it is larger.
pub(super) const LOG_MAX_BYTES: u64 = 16 << 20;

/// How much of a log's end is searched for its last lines.
const TAIL_BYTES: u64 = 16 << 10;

/// Opens a log for appending.
pub(super) fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::file("open", path))
}

/// Moves what the log holds to `<log>.1` if it is larger than `limit_bytes`; says whether it was.
pub(super) fn rotate(path: &Path, limit_bytes: u64) -> Result<bool> {
    let is_large = fs::metadata(path).is_ok_and(|metadata| metadata.len() > limit_bytes);
    if is_large {
        let old = PathBuf::from(format!("{}.1", path.display()));
        fs::copy(path, &old).map_err(Error::file("write", &old))?;
        let file = OpenOptions::new().write(true).open(path).map_err(Error::file("open", path))?;
        file.set_len(0).map_err(Error::file("cut", path))?;
    }
    Ok(is_large)
}

/// The last lines of a log, without what a terminal would act on.
pub(super) fn tail(path: &Path, lines: usize) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        // A log that cannot be read has no last words; that is all this is for.
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)));
        let _ = file.take(TAIL_BYTES).read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text);
    let all: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..]
        .iter()
        .map(|line| format!("\n    {}", line.replace(|c: char| c.is_control() && c != '\t', "")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_large_log_is_cut_while_its_writer_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.log");
        let mut writer = open(&path).unwrap();
        writer.write_all(b"old line\n").unwrap();

        assert!(!rotate(&path, 100).unwrap());
        assert!(rotate(&path, 5).unwrap());
        writer.write_all(b"new line\n").unwrap();

        assert_eq!(fs::read_to_string(&path).unwrap(), "new line\n");
        let old = folder.path().join("control.log.1");
        assert_eq!(fs::read_to_string(old).unwrap(), "old line\n");
    }

    #[test]
    fn the_last_lines_carry_no_control_characters() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, b"one\n\ntwo\n\x1b[31mthree\xff\n").unwrap();

        assert_eq!(tail(&path, 2), "\n    two\n    [31mthree\u{fffd}");
        assert_eq!(tail(&folder.path().join("absent"), 2), "");
    }
}
