//! `geds://bucket/key`.

use std::{fmt, str::FromStr};

const SCHEME: &str = "geds://";

/// A bucket, and a key or a prefix in it, which may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) bucket: String,
    pub(crate) key: String,
}

impl Address {
    /// Whether a text is meant as one.
    pub(crate) fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// Reads one where nothing else can be meant: `geds://` may be left out.
    pub(crate) fn lenient(text: &str) -> Result<Self, String> {
        if Self::is_meant(text) { text.parse() } else { format!("{SCHEME}{text}").parse() }
    }

    /// The same in another key.
    pub(crate) fn with(&self, key: impl Into<String>) -> Self {
        Self { bucket: self.bucket.clone(), key: key.into() }
    }

    /// Of an object.
    pub(crate) fn object(&self) -> anyhow::Result<(&str, &str)> {
        anyhow::ensure!(!self.key.is_empty(), "`{self}` names a bucket, not an object");
        Ok((&self.bucket, &self.key))
    }

    /// Of all below it: the key as the name of a folder.
    pub(crate) fn folder(&self) -> Self {
        match self.key.is_empty() || self.key.ends_with('/') {
            true => self.clone(),
            false => self.with(format!("{}/", self.key)),
        }
    }

    /// The last part of the key.
    pub(crate) fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.bucket, self.key)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| format!("`{text}` is no address: write geds://bucket/key"))?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        geds::check_bucket(bucket).map_err(|error| error.to_string())?;
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_bucket_and_perhaps_a_key() {
        let of = |text: &str| text.parse::<Address>();
        assert_eq!(of("geds://lab").unwrap(), Address { bucket: "lab".into(), key: String::new() });
        let deep = of("geds://lab/a/b c").unwrap();
        assert_eq!((deep.name(), deep.folder().key.as_str()), ("b c", "a/b c/"));
        assert_eq!(deep.to_string(), "geds://lab/a/b c");
        assert_eq!(Address::lenient("lab/a/b c").unwrap(), deep);
        assert_eq!(Address::lenient("geds://lab/a/b c").unwrap(), deep);
        for wrong in ["lab/a", "geds://", "geds://Lab", "geds:///a", "s3://lab/a"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
