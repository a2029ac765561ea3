//! What an endpoint is set up with.

use serde::Deserialize;
use std::fmt;

/// Settings of one S3 endpoint: the `[s3]` table of `cloudskin.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who may ask; a key sees the buckets of its tenant alone.
    pub keys: Vec<Key>,
    /// The region that buckets are said to lie in; requests may be signed for any.
    pub region: String,
    /// Domains whose subdomains name buckets: with `s3.example.org`, the host
    /// `photos.s3.example.org` is the bucket `photos`.
    pub domains: Vec<String>,
    /// Most connections at a time; further ones wait in the listener's queue.
    pub connections_max: usize,
    /// How long a client may take to send a request's head, or stay idle between requests.
    pub head_timeout_ms: u64,
    /// How long a client may neither take nor bring a byte of a body.
    pub stall_timeout_ms: u64,
    /// How many bytes of a body a client must at least bring, or take, on average of the time that
    /// is waited for it.
    pub rate_min_bytes_per_s: u64,
    /// How long requests that are under way may take once the endpoint is told to stop.
    pub drain_timeout_ms: u64,
    /// How far a request's date may lie from the endpoint's clock.
    pub clock_skew_max_s: u64,
    /// Smallest size of a part that is not the last of its upload. S3 asks for 5 MiB.
    pub part_min_bytes: u64,
    /// How long after its begin an upload in parts that nobody finished is removed, with its parts; 0 for never.
    pub upload_age_max_s: u64,
    /// Most bytes that one PUT of an object or of a part may bring. S3 takes 5 GiB.
    pub put_max_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            region: "us-east-1".to_owned(),
            domains: vec!["localhost".to_owned()],
            connections_max: 1024,
            head_timeout_ms: 30_000,
            stall_timeout_ms: 30_000,
            rate_min_bytes_per_s: 1024,
            drain_timeout_ms: 10_000,
            clock_skew_max_s: 15 * 60,
            part_min_bytes: 5 << 20,
            upload_age_max_s: 7 * 24 * 3600,
            put_max_bytes: 5 << 30,
        }
    }
}

/// An access key.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// What requests name it by.
    pub access_key: String,
    /// What requests are signed with.
    pub secret: String,
    /// Whose buckets it sees.
    pub tenant: String,
}

impl fmt::Debug for Key {
    /// Without the secret: configurations are logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("access_key", &self.access_key)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_without_its_secret() {
        let key = Key { access_key: "AK".into(), secret: "hidden".into(), tenant: "lab".into() };

        assert!(!format!("{key:?}").contains("hidden"));
    }
}
