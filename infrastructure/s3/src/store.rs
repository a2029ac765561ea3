//! GEDS as the endpoint uses it: tenants, what S3 keeps with buckets, and calls that may block.

use crate::{cors::Rule, fault::Fault, tags::Tags};
use bytes::Bytes;
use geds::{Attributes, Geds, Put, Stat};
use s3s::{S3Error, S3Result};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::UNIX_EPOCH,
};
use tokio::task::JoinError;

/// The bucket that holds what S3 keeps for itself: parts of uploads that are under way. The endpoint
/// shows it to nobody.
pub(crate) const HIDDEN_BUCKET: &str = "s3.cloudskin.internal";

/// The attribute of a bucket that holds its settings, and the version of its form.
const SETTINGS: &str = "s3";
const SETTINGS_VERSION: u8 = 1;

/// A share of the memory limit, in percent, above which a put may have to wait.
const PRESSED_PERCENT: u64 = 90;

/// How often that is looked at, in milliseconds.
const PRESSURE_MS: u64 = 50;

/// A tenant with its store.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) name: String,
    pub(crate) geds: Geds,
    /// Settings are read and written one by one.
    settings: Mutex<()>,
    has_hidden_bucket: AtomicBool,
    pressure: Pressure,
}

/// Whether puts may have to wait for memory, as of a moment ago.
#[derive(Debug, Default)]
struct Pressure {
    is_high: AtomicBool,
    /// When it was last looked at, in milliseconds since the Unix epoch.
    looked: AtomicU64,
}

/// All tenants by name.
pub(crate) type Tenants = BTreeMap<String, Arc<Tenant>>;

/// What S3 keeps with a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The region that was asked for when it was created.
    pub(crate) region: Option<String>,
    pub(crate) cors: Vec<Rule>,
    pub(crate) tags: Tags,
}

impl Settings {
    fn of(attributes: &Attributes) -> Self {
        match attributes.get(SETTINGS).and_then(<[u8]>::split_first) {
            Some((&SETTINGS_VERSION, rest)) => postcard::from_bytes(rest).unwrap_or_default(),
            _ => Self::default(),
        }
    }

    fn write(&self, attributes: &mut Attributes) {
        let encoded = postcard::to_extend(self, vec![SETTINGS_VERSION])
            .expect("strings, numbers and lists can be written");
        attributes.insert(SETTINGS, encoded);
    }
}

impl Tenant {
    pub(crate) fn new(name: String, geds: Geds) -> Self {
        Self {
            name,
            geds,
            settings: Mutex::new(()),
            has_hidden_bucket: AtomicBool::new(false),
            pressure: Pressure::default(),
        }
    }

    /// The bucket, if it is one of the tenant's.
    pub(crate) fn bucket(&self, name: &str) -> S3Result<geds::Bucket> {
        if geds::is_internal(name) {
            return Err(Fault::NoSuchBucket.into());
        }
        self.geds.bucket(name).map_err(of_geds)
    }

    /// All buckets that are the tenant's to see.
    pub(crate) fn buckets(&self) -> S3Result<Vec<geds::Bucket>> {
        let mut buckets = self.geds.buckets().map_err(of_geds)?;
        buckets.retain(|bucket| !geds::is_internal(&bucket.name));
        Ok(buckets)
    }

    pub(crate) fn settings(&self, bucket: &str) -> S3Result<Settings> {
        Ok(Settings::of(&self.bucket(bucket)?.attributes))
    }

    pub(crate) fn change_settings(
        &self,
        bucket: &str,
        change: impl FnOnce(&mut Settings),
    ) -> S3Result<()> {
        let _one_by_one = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        let mut attributes = self.bucket(bucket)?.attributes;
        let mut settings = Settings::of(&attributes);
        change(&mut settings);
        settings.write(&mut attributes);
        self.geds.set_bucket_attributes(bucket, attributes).map_err(of_geds)
    }

    /// Fails if the bucket is not one of the tenant's. Other than [`bucket`](Self::bucket) it asks
    /// nobody: the index that all processes share knows.
    pub(crate) fn check_bucket(&self, name: &str) -> S3Result<()> {
        if geds::is_internal(name) || !self.geds.has_bucket(name).map_err(of_geds)? {
            return Err(Fault::NoSuchBucket.into());
        }
        Ok(())
    }

    /// Whether an object is in the store, wherever else it may be: who opens one that is not may wait
    /// until it was read from storage outside.
    pub(crate) fn is_here(&self, bucket: &str, key: &str) -> S3Result<bool> {
        if geds::is_internal(bucket) {
            return Err(Fault::NoSuchBucket.into());
        }
        self.geds.has_object(bucket, key).map_err(of_geds)
    }

    /// The hidden bucket, which is made when it is first needed.
    pub(crate) fn make_hidden_bucket(&self) -> S3Result<()> {
        if self.has_hidden_bucket.load(Relaxed) {
            return Ok(());
        }
        match self.geds.create_bucket(HIDDEN_BUCKET) {
            Ok(_) | Err(geds::Error::BucketExists { .. }) => {}
            Err(error) => return Err(of_geds(error)),
        }
        self.has_hidden_bucket.store(true, Relaxed);
        Ok(())
    }

    /// Whether so little memory is left that a put may have to wait for some. That is looked at aside,
    /// and now and then.
    fn is_pressed(self: &Arc<Self>) -> bool {
        let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let looked = self.pressure.looked.load(Relaxed);
        let is_due = now.saturating_sub(looked) >= PRESSURE_MS;
        if is_due && self.pressure.looked.compare_exchange(looked, now, Relaxed, Relaxed).is_ok() {
            let tenant = Arc::clone(self);
            tokio::task::spawn_blocking(move || tenant.look_at_pressure());
        }
        self.pressure.is_high.load(Relaxed)
    }

    fn look_at_pressure(&self) {
        let is_high = match (self.geds.usage(), self.geds.limits()) {
            (Ok(usage), Ok(limits)) => {
                usage.memory_bytes / PRESSED_PERCENT > limits.memory_bytes / 100
            }
            // A store that does not answer may make a put wait as well.
            _ => true,
        };
        self.pressure.is_high.store(is_high, Relaxed);
    }
}

/// Stores a small object: at once, unless that may have to wait for memory.
pub(crate) async fn put(
    tenant: &Arc<Tenant>,
    bucket: &str,
    key: &str,
    bytes: Bytes,
    put: Put,
) -> S3Result<Stat> {
    if !tenant.is_pressed() {
        return tenant.geds.put(bucket, key, &bytes, put).map_err(of_geds);
    }
    let (geds, bucket, key) = (tenant.geds.clone(), bucket.to_owned(), key.to_owned());
    blocking(move || geds.put(&bucket, &key, &bytes, put)).await?.map_err(of_geds)
}

/// Runs what may take long on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> S3Result<T> {
    joined(tokio::task::spawn_blocking(work).await)
}

/// The result of a task.
pub(crate) fn joined<T>(result: Result<T, JoinError>) -> S3Result<T> {
    result.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a task of the endpoint ended");
        Fault::InternalError.into()
    })
}

/// The error of S3 that tells of one of GEDS.
pub(crate) fn of_geds(error: geds::Error) -> S3Error {
    let fault = match &error {
        geds::Error::NoBucket { .. } => Fault::NoSuchBucket,
        geds::Error::NoObject { .. } => Fault::NoSuchKey,
        geds::Error::BucketExists { .. } => Fault::BucketAlreadyOwnedByYou,
        geds::Error::BucketNotEmpty { .. } => Fault::BucketNotEmpty,
        geds::Error::Exists { .. } | geds::Error::Changed { .. } => Fault::PreconditionFailed,
        geds::Error::Name(geds::NameError::KeyLength(0)) => Fault::InvalidArgument,
        geds::Error::Name(geds::NameError::KeyLength(_)) | geds::Error::KeySize { .. } => {
            Fault::KeyTooLongError
        }
        geds::Error::Name(_) => Fault::InvalidBucketName,
        geds::Error::AttributesSize { .. } => Fault::MetadataTooLarge,
        geds::Error::Range { .. } => Fault::InvalidRange,
        geds::Error::Denied(_) => Fault::AccessDenied,
        other => return of_kind(other.kind(), other),
    };
    fault.into()
}

/// Failures that a client cannot do anything about but wait, in words of their own.
fn of_kind(kind: geds::ErrorKind, error: &geds::Error) -> S3Error {
    let fault = match kind {
        geds::ErrorKind::Exhausted => Fault::SlowDown,
        geds::ErrorKind::Unavailable | geds::ErrorKind::Timeout => Fault::ServiceUnavailable,
        geds::ErrorKind::Invalid => Fault::InvalidArgument,
        _ => Fault::InternalError,
    };
    tracing::warn!(error = error as &dyn std::error::Error, "the store refused a request");
    match kind {
        // It names what is lost, or which limit is reached.
        geds::ErrorKind::Exhausted | geds::ErrorKind::Corrupt => fault.because(error.to_string()),
        _ => fault.into(),
    }
}

/// The same for errors that came through [`io::Write`].
pub(crate) fn of_io(error: io::Error) -> S3Error {
    match error.downcast::<geds::Error>() {
        Ok(error) => of_geds(error),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot write an object");
            Fault::InternalError.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> (testkit::Folder, Tenant) {
        let folder = testkit::Folder::new();
        let geds = Geds::open(geds::Config::alone(folder.path())).expect("a store");
        (folder, Tenant::new("lab".into(), geds))
    }

    #[test]
    fn settings_stay_with_their_bucket() {
        let (_folder, tenant) = tenant();
        tenant.geds.create_bucket("photos").expect("a bucket");

        tenant.change_settings("photos", |s| s.region = Some("eu".into())).expect("changed");
        tenant
            .change_settings("photos", |s| s.tags = vec![("a".into(), "b".into())])
            .expect("changed");

        let settings = tenant.settings("photos").expect("settings");
        assert_eq!(settings.region.as_deref(), Some("eu"));
        assert_eq!(settings.tags, [("a".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn the_hidden_bucket_is_shown_to_nobody() {
        let (_folder, tenant) = tenant();
        tenant.make_hidden_bucket().expect("made");
        tenant.make_hidden_bucket().expect("there");

        assert!(tenant.buckets().expect("buckets").is_empty());
        for refused in
            [tenant.bucket(HIDDEN_BUCKET).map(|_| ()), tenant.check_bucket(HIDDEN_BUCKET)]
        {
            assert_eq!(refused.expect_err("a refusal").code().as_str(), "NoSuchBucket");
        }
        assert!(tenant.check_bucket("absent").is_err());
    }

    #[test]
    fn whether_an_object_is_here_is_told_without_touching_it() {
        let (_folder, tenant) = tenant();
        tenant.geds.create_bucket("photos").expect("a bucket");
        let attributes = Attributes::new().with("a", "b");
        let put = Put { attributes: Some(attributes.clone()), ..Put::default() };
        tenant.geds.put("photos", "k", b"x", put).expect("stored");

        assert!(tenant.check_bucket("photos").is_ok());
        assert!(tenant.is_here("photos", "k").expect("an answer"));
        assert!(!tenant.is_here("photos", "absent").expect("an answer"));
        assert!(tenant.is_here("absent", "k").is_err());
        assert_eq!(tenant.geds.stat("photos", "k").expect("there").attributes, attributes);
    }
}
