//! Objects that a program sees as files.

use crate::ApiError;
use serde::{Deserialize, Serialize};

/// What a source begins with.
const SCHEME: &str = "geds://";

/// What the names of buckets end with that are the platform's own.
const INTERNAL_END: &str = ".cloudskin.internal";

/// Longest name of a bucket, as S3 has it.
const BUCKET_MAX_BYTES: usize = 63;

/// A folder of a program whose files are objects of its tenant, in the store of the site that it runs at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// `geds://BUCKET` or `geds://BUCKET/PREFIX`. The bucket is made if there is none, unless it is only read.
    pub source: String,
    /// Where the program sees it.
    pub path: String,
    /// Whether changes are refused.
    #[serde(default)]
    pub read_only: bool,
    /// How files are kept.
    #[serde(default)]
    pub transform: Transform,
}

/// How files of a mount are kept as objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transform {
    /// As they are.
    #[default]
    None,
    /// Compressed.
    Compress,
}

impl Mount {
    /// The bucket and the prefix, which may be empty; nothing if the source is none.
    pub fn objects(&self) -> Option<(&str, &str)> {
        let rest = self.source.strip_prefix(SCHEME)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        let named = (3..=BUCKET_MAX_BYTES).contains(&bucket.len()) && bucket.bytes().all(is_name);
        named.then_some((bucket, prefix))
    }
}

/// Checks what a type cannot.
///
/// # Errors
/// [`ApiError::Value`] names the field that is wrong, and what could stand there.
pub(crate) fn check(mounts: &[Mount]) -> Result<(), ApiError> {
    let wrong = |field, reason: &str| Err(ApiError::Value { field, reason: reason.to_owned() });
    for (at, mount) in mounts.iter().enumerate() {
        if mount.objects().is_none() {
            return wrong("mounts.source", "write `geds://BUCKET` or `geds://BUCKET/PREFIX`");
        }
        if mount.objects().is_some_and(|(bucket, _)| bucket.ends_with(INTERNAL_END)) {
            return wrong("mounts.source", "the bucket is the platform's own: name one of yours");
        }
        if mount.path.is_empty() || mount.path.contains('\0') {
            return wrong("mounts.path", "say where the program sees the objects, as `/data`");
        }
        if mounts[..at].iter().any(|other| other.path == mount.path) {
            return wrong("mounts.path", "two mounts have the same: give each its own");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(text: &str) -> Result<Vec<Mount>, String> {
        let mounts: Vec<Mount> = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        check(&mounts).map_err(|error| error.to_string())?;
        Ok(mounts)
    }

    #[test]
    fn a_mount_names_objects_and_a_place_of_its_own() {
        let two = mounts(
            "- {source: 'geds://lab/in put', path: /in, readOnly: true}\n\
             - {source: 'geds://lab', path: /out, transform: compress}",
        )
        .unwrap();

        assert_eq!(two[0].objects(), Some(("lab", "in put")));
        assert_eq!((two[1].objects(), two[1].transform), (Some(("lab", "")), Transform::Compress));
        for (wrong, words) in [
            ("- {source: '/data', path: /d}", "geds://BUCKET"),
            ("- {source: 'geds://La', path: /d}", "geds://BUCKET"),
            ("- {source: 'geds://triggers.cloudskin.internal', path: /d}", "the platform's own"),
            ("- {source: 'geds://lab', path: ''}", "mounts.path"),
            ("- {source: 'geds://lab', path: /d}\n- {source: 'geds://lab', path: /d}", "the same"),
            ("- {source: 'geds://lab', path: /d, transform: encrypt}", "encrypt"),
        ] {
            let refused = mounts(wrong).unwrap_err();
            assert!(refused.contains(words), "{wrong}: {refused}");
        }
    }
}
