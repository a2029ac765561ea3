//! What was learned, kept over a restart.

use learning::advise::Learned;
use std::{io::Write, path::Path, time::Duration};
use tracing::warn;

/// Stands before what follows; another one is not read.
const MAGIC: &[u8; 8] = b"CSKADV\0\x01";
/// No file is larger.
const FILE_MAX_BYTES: u64 = 16 << 20;
/// From so many half minutes on what was learned now is worth as much as what an earlier process knew.
const ENOUGH: u64 = 120;
/// What is learned from reaches back so far: a process that is older has seen all that it will see.
const FULL: Duration = Duration::from_secs(3600);

/// Whether what was learned now is used instead of what is known: as soon as it is worth as much as
/// what an earlier process left, of `kept` moments, and always once this process is `up` for an hour.
/// Hours differ, and an hour with fewer answers is still the last one.
pub(super) fn replaces(learned: &Learned, known: &Learned, kept: u64, up: Duration) -> bool {
    let least = if up < FULL { kept.min(ENOUGH) } else { 0 };
    learned.moments() > 0 && learned.moments() >= least && learned != known
}

/// What an earlier process learned; nothing if there is no such file, or it cannot be used.
pub(super) fn read(path: &Path) -> Learned {
    match std::fs::metadata(path) {
        Err(_) => return Learned::default(),
        Ok(found) if found.len() > FILE_MAX_BYTES => return Learned::default(),
        Ok(_) => {}
    }
    let bytes = std::fs::read(path).unwrap_or_default();
    let learned = bytes.strip_prefix(MAGIC).and_then(|rest| postcard::from_bytes(rest).ok());
    learned.filter(Learned::is_sound).unwrap_or_else(|| {
        warn!(path = %path.display(), "what was learned of services is damaged: it is learned anew");
        Learned::default()
    })
}

/// Puts it in the place of what was there: a reader finds one or the other.
pub(super) fn write(path: &Path, learned: &Learned) -> std::io::Result<()> {
    let body = postcard::to_stdvec(learned).map_err(std::io::Error::other)?;
    let draft = path.with_extension("draft");
    let mut file = std::fs::File::create(&draft)?;
    file.write_all(MAGIC)?;
    file.write_all(&body)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use learning::advise::{Moment, Observed};

    fn learned(count: i64) -> Learned {
        let moment = |at: i64| Moment {
            at_s: at,
            rate: 2.0,
            own: 0.1,
            others: at as f64 / 100.0,
            latency_ms: 60.0 + at as f64,
        };
        let moments = (0..count).map(moment).collect();
        let (service, site) = ("a".to_owned(), "edge".to_owned());
        Learned::of(&[Observed { service, site, processors: 4.0, moments }])
    }

    #[test]
    fn it_comes_back_and_a_damaged_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("advice");
        assert_eq!(read(&path), Learned::default());
        let kept = learned(50);
        write(&path, &kept).unwrap();
        assert_eq!(read(&path), kept);

        let mut bytes = std::fs::read(&path).unwrap();
        for at in [0, 7, 9, bytes.len() / 2] {
            bytes[at] ^= 0xff;
            std::fs::write(&path, &bytes).unwrap();
            let found = read(&path);
            assert!(found.is_sound());
            bytes[at] ^= 0xff;
        }
        std::fs::write(&path, &bytes[..20]).unwrap();
        assert_eq!(read(&path), Learned::default());
    }

    #[test]
    fn a_new_process_goes_on_with_what_was_known_until_it_knows_as_much() {
        let young = Duration::from_secs(60);
        assert!(replaces(&learned(30), &Learned::default(), 0, young));
        assert!(!replaces(&learned(30), &learned(40), 40, young));
        assert!(replaces(&learned(150), &learned(400), 400, young));
        assert!(!replaces(&Learned::default(), &Learned::default(), 0, young));
    }

    #[test]
    fn a_quiet_hour_after_a_full_one_is_learned_from() {
        let young = Duration::from_secs(60);
        assert!(replaces(&learned(30), &learned(123), 20, young), "the file had less");
        assert!(replaces(&learned(30), &learned(123), 123, FULL));
        assert!(!replaces(&Learned::default(), &learned(123), 0, FULL), "nothing was seen");
    }
}
