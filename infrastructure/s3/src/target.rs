//! Which bucket and object a request is about.

use crate::{
    fault::{Fault, fail},
    sign::unescape,
};
use s3s::S3Result;

/// What a request names by its host and path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) bucket: Option<String>,
    pub(crate) key: Option<String>,
    /// Whether it is the host that names the bucket.
    pub(crate) is_by_host: bool,
}

impl Target {
    /// Reads a host, without regard to its port, and a path as it was sent.
    pub(crate) fn parse(host: Option<&str>, path: &str, domains: &[String]) -> S3Result<Self> {
        let path = unescape(path, false)
            .and_then(|path| String::from_utf8(path).ok())
            .ok_or(Fault::InvalidURI)?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        let full = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        if let Some(bucket) = host.and_then(|host| of_host(host, domains)) {
            return Self { bucket: Some(bucket), key: full(path), is_by_host: true }.checked();
        }
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        Self { bucket: full(bucket), key: full(key), is_by_host: false }.checked()
    }

    fn checked(self) -> S3Result<Self> {
        if self.bucket.is_none() && self.key.is_some() {
            return fail(Fault::InvalidBucketName);
        }
        if self.key.as_ref().is_some_and(|key| key.len() > geds::KEY_MAX_BYTES) {
            return fail(Fault::KeyTooLongError);
        }
        Ok(self)
    }
}

/// The bucket that a host names as `<bucket>.<domain>`.
fn of_host(host: &str, domains: &[String]) -> Option<String> {
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let host = host.to_ascii_lowercase();
    domains.iter().find_map(|domain| {
        let bucket = host.strip_suffix(domain.as_str())?.strip_suffix('.')?;
        (!bucket.is_empty()).then(|| bucket.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(host: &str, path: &str) -> (Option<String>, Option<String>) {
        let target = Target::parse(Some(host), path, &["s3.local".into()]).expect("a target");
        (target.bucket, target.key)
    }

    #[test]
    fn paths_and_hosts_name_buckets() {
        let named = |bucket: &str, key: &str| {
            ((!bucket.is_empty()).then(|| bucket.into()), (!key.is_empty()).then(|| key.into()))
        };

        assert_eq!(parse("s3.local", "/"), named("", ""));
        assert_eq!(parse("s3.local:9000", "/lab"), named("lab", ""));
        assert_eq!(parse("127.0.0.1:9000", "/lab/"), named("lab", ""));
        assert_eq!(parse("other", "/lab/a/b%20c%2Fd+e/"), named("lab", "a/b c/d+e/"));
        assert_eq!(parse("s3.local", "/lab//a/../b"), named("lab", "/a/../b"));
        assert_eq!(parse("lab.s3.local:80", "/a"), named("lab", "a"));
        assert_eq!(parse("LAB.v1.s3.local", "/"), named("lab.v1", ""));
        assert_eq!(parse("lab.s3.local", "//a"), named("lab", "/a"));
    }

    #[test]
    fn what_names_nothing_is_refused() {
        let code = |path: &str| {
            let error = Target::parse(None, path, &[]).expect_err("a refusal");
            error.code().as_str().to_owned()
        };

        assert_eq!(code("/lab/%ff"), "InvalidURI");
        assert_eq!(code("/lab/%2"), "InvalidURI");
        assert_eq!(code("//key"), "InvalidBucketName");
        assert_eq!(code(&format!("/lab/{}", "k".repeat(1025))), "KeyTooLongError");
    }
}
