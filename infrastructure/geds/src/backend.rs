//! Storage outside: a bucket of S3, or a folder, in which a bucket's objects have the same names.

mod config;
mod upload;

use crate::{Error, Object, Result};
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::{
    ClientOptions, GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutOptions, PutPayload, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    local::LocalFileSystem,
    path::Path,
};
use rustix::{process::setpriority_process, thread::gettid};
use std::{
    collections::VecDeque,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    time::Duration,
};
use tokio::runtime::Runtime;

pub use config::{BackendConfig, BackendState, Class};
pub(crate) use upload::{Upload, Uploaded};

/// What is read, checked and kept at once of objects that stay outside.
pub(crate) const BLOCK_BYTES: u64 = 1 << 20;
/// How much nicer than others threads are that move bytes in the background.
pub(crate) const NICENESS: i32 = 10;

/// What is sent or asked for at once: S3 takes no smaller parts than 5 MiB but the last.
const PART_BYTES: u64 = 8 << 20;
/// Most parts that S3 takes.
const PARTS_MAX: u64 = 10_000;
/// How many parts are under way at once.
const PARTS_UNDER_WAY: usize = 4;
/// How often, and for how long, what failed is tried again.
const RETRIES: usize = 4;
/// The same for what nobody waits for.
const RETRIES_ASIDE: usize = 3;
const RETRY_TIME: Duration = Duration::from_secs(60);
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long one request may take, a whole part among them.
const REQUEST_TIME: Duration = Duration::from_secs(60);

/// Storage outside. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Backend {
    store: Arc<dyn ObjectStore>,
    root: Path,
    /// Whether an object can be replaced on the condition that it is a version.
    by_version: bool,
    workers: Arc<Workers>,
}

/// Whether a key can be a name outside.
pub(crate) fn is_name(key: &str) -> bool {
    Path::parse(key).is_ok_and(|path| path.as_ref() == key)
}

/// Threads for connections.
#[derive(Debug)]
struct Workers(Option<Runtime>);

impl Drop for Workers {
    fn drop(&mut self) {
        // Waits for nothing, so that it may be dropped anywhere.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// An object outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outside {
    pub(crate) size: u64,
    pub(crate) etag: Option<String>,
    /// In milliseconds since the Unix epoch.
    pub(crate) modified: u64,
}

impl Outside {
    fn of(meta: &ObjectMeta) -> Self {
        let modified = u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0);
        Self { size: meta.size, etag: meta.e_tag.clone(), modified }
    }
}

impl Backend {
    /// A bucket of S3 or of what speaks its protocol, `s3://bucket/prefix`, or a folder,
    /// `file:///folder`. Options have the names that `object_store` gives them: `endpoint`,
    /// `access_key_id`, `secret_access_key`, `session_token`, `region`, `allow_http` …
    ///
    /// # Errors
    /// [`Error::Invalid`] for another address, or an option that there is not; [`Error::Io`] for a folder that is not
    /// there.
    pub fn open<'a>(
        url: &str,
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self> {
        Self::open_with(url, options, 0)
    }

    /// The same with threads that leave the processor to others.
    pub(crate) fn open_aside<'a>(
        url: &str,
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self> {
        Self::open_with(url, options, NICENESS)
    }

    fn open_with<'a>(
        url: &str,
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
        niceness: i32,
    ) -> Result<Self> {
        let retries = if niceness > 0 { RETRIES_ASIDE } else { RETRIES };
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| Error::Invalid(format!("`{url}` is no address: begin with s3://")))?;
        let (store, root): (Arc<dyn ObjectStore>, &str) = match scheme {
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                (s3(bucket, options, retries)?, prefix)
            }
            "file" => {
                let store = LocalFileSystem::new_with_prefix(PathBuf::from(rest));
                (Arc::new(store.map_err(|error| outside(error, "", ""))?), "")
            }
            _ => return Err(Error::Invalid(format!("there are no backends of `{scheme}`"))),
        };
        let root = Path::parse(root).map_err(|error| Error::Invalid(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("geds-backend")
            .on_thread_start(move || {
                if niceness > 0 {
                    // At worst they are as nice as others.
                    let _ = setpriority_process(Some(gettid()), niceness);
                }
            })
            .enable_all()
            .build()
            .map_err(Error::io("start threads for a backend"))?;
        let (by_version, workers) = (scheme == "s3", Arc::new(Workers(Some(runtime))));
        Ok(Self { store, root, by_version, workers })
    }

    /// Runs something on the backend's threads; what it gives can be received.
    fn start<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Receiver<T> {
        let (sender, receiver) = sync_channel(1);
        if let Some(runtime) = &self.workers.0 {
            runtime.spawn(async move { sender.send(task.await) });
        }
        receiver
    }

    /// The same, and waits: also on a thread that may not wait for tasks of its own runtime.
    fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> Result<T> {
        self.start(task).recv().map_err(|_| ended())
    }

    fn path(&self, key: &str) -> Result<Path> {
        let path = Path::parse(key).ok().filter(|path| path.as_ref() == key).ok_or_else(|| {
            Error::Invalid(format!("`{key}` can be no name outside: it has an empty part, or dots"))
        })?;
        Ok(self.root.parts().chain(path.parts()).collect())
    }

    /// The names outside that begin so.
    pub(crate) fn names(&self, bucket: &str, prefix: &str) -> Result<Vec<String>> {
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let folder = Path::parse(folder).map_err(|error| Error::Invalid(error.to_string()))?;
        let within: Path = self.root.parts().chain(folder.parts()).collect();
        let (store, root) = (Arc::clone(&self.store), self.root.clone());
        let listed = self.run(async move {
            let metas = store.list(Some(&within));
            metas.map_ok(|meta| relative(&root, &meta.location)).try_collect::<Vec<_>>().await
        })?;
        let mut names = listed.map_err(|error| outside(error, bucket, prefix))?;
        names.retain(|name| name.starts_with(prefix));
        names.sort_unstable();
        Ok(names)
    }

    /// Reads an object and hands its bytes over in order.
    pub(crate) fn fetch<W>(
        &self,
        bucket: &str,
        key: &str,
        begin: impl FnOnce(&Outside) -> Result<W>,
        mut take: impl FnMut(&mut W, &[u8]) -> Result<()>,
    ) -> Result<W> {
        let failed = |error| outside(error, bucket, key);
        let (path, store) = (self.path(key)?, Arc::clone(&self.store));
        let whole = path.clone();
        // A small object comes with the first request; of a large one that tells the size.
        let first = self.run(async move {
            let got = store.get_opts(&whole, GetOptions::default()).await?;
            let found = Outside::of(&got.meta);
            let bytes = match found.size {
                ..=PART_BYTES => Some(got.bytes().await?),
                _ => None,
            };
            Ok((found, bytes))
        })?;
        let (found, bytes) = first.map_err(failed)?;
        let mut sink = begin(&found)?;
        if let Some(bytes) = bytes {
            check_len(bucket, key, found.size, bytes.len())?;
            take(&mut sink, &bytes)?;
            return Ok(sink);
        }
        let mut under_way = VecDeque::new();
        let mut ranges = parts(found.size, PART_BYTES);
        loop {
            while under_way.len() < PARTS_UNDER_WAY
                && let Some(range) = ranges.next()
            {
                let len = range.end - range.start;
                under_way.push_back((len, self.start_range(&path, range, &found.etag)));
            }
            let Some((len, part)) = under_way.pop_front() else { return Ok(sink) };
            let bytes = part.recv().map_err(|_| ended())?.map_err(failed)?;
            check_len(bucket, key, len, bytes.len())?;
            take(&mut sink, &bytes)?;
        }
    }

    fn start_range(
        &self,
        path: &Path,
        range: Range<u64>,
        etag: &Option<String>,
    ) -> Receiver<object_store::Result<Bytes>> {
        let (store, path) = (Arc::clone(&self.store), path.clone());
        // All parts are of one object, or the read fails.
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            if_match: etag.clone(),
            ..GetOptions::default()
        };
        self.start(async move { store.get_opts(&path, options).await?.bytes().await })
    }

    /// Begins to read a range of a version of an object.
    pub(crate) fn start_block(
        &self,
        key: &str,
        range: Range<u64>,
        etag: &Option<String>,
    ) -> Result<Receiver<object_store::Result<Bytes>>> {
        Ok(self.start_range(&self.path(key)?, range, etag))
    }

    /// Waits for what [`start_block`](Self::start_block) reads.
    pub(crate) fn receive(
        &self,
        bucket: &str,
        key: &str,
        block: &Receiver<object_store::Result<Bytes>>,
    ) -> Result<Bytes> {
        use object_store::Error as Failure;
        let why = match block.recv().map_err(|_| ended())? {
            Ok(bytes) => return Ok(bytes),
            Err(Failure::NotFound { .. }) => "it is no longer there",
            Err(Failure::Precondition { .. }) => "it was replaced there",
            Err(error) => return Err(outside(error, bucket, key)),
        };
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        Err(Error::Lost { bucket, key, why: format!("it lay outside, and {why}") })
    }

    /// What is known about an object outside.
    pub(crate) fn look(&self, bucket: &str, key: &str) -> Result<Outside> {
        let (path, store) = (self.path(key)?, Arc::clone(&self.store));
        let meta = self.run(async move { store.head(&path).await })?;
        meta.map(|meta| Outside::of(&meta)).map_err(|error| outside(error, bucket, key))
    }

    /// Begins to remove an object outside, if it still is the version that it was.
    pub(crate) fn start_remove(
        &self,
        bucket: &str,
        key: &str,
        etag: Option<&str>,
    ) -> Result<Receiver<Result<()>>> {
        let (path, store) = (self.path(key)?, Arc::clone(&self.store));
        let (bucket, key, etag) = (bucket.to_owned(), key.to_owned(), etag.map(str::to_owned));
        Ok(self.start(async move {
            match upload::remove(&store, &path, etag).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(outside(error, &bucket, &key)),
            }
        }))
    }

    /// Writes an object outside in the background, and tells when it is acknowledged.
    pub(crate) fn upload(
        &self,
        upload: Upload,
        done: impl FnOnce(Result<Uploaded>) + Send + 'static,
    ) {
        let path = match self.path(&upload.key) {
            Ok(path) => path,
            Err(error) => return done(Err(error)),
        };
        let Some(runtime) = &self.workers.0 else { return done(Err(ended())) };
        let (store, by_version) = (Arc::clone(&self.store), self.by_version);
        runtime.spawn(async move {
            let uploaded = match upload.size {
                ..=PART_BYTES => upload::small(&store, &path, &upload, by_version).await,
                _ => upload::in_parts(&store, &path, &upload).await,
            };
            done(uploaded);
        });
    }

    /// Writes an object outside; without `overwrite` only if there is none of the name.
    pub(crate) fn store(
        &self,
        bucket: &str,
        key: &str,
        object: &Object,
        overwrite: bool,
    ) -> Result<()> {
        let path = self.path(key)?;
        if object.len() <= PART_BYTES {
            return self.store_small(bucket, key, path, object, overwrite);
        }
        let failed = |error| outside(error, bucket, key);
        let (store, begun) = (Arc::clone(&self.store), path.clone());
        let upload = self.run(async move {
            // Parts cannot be put on a condition: it is looked at before.
            if !overwrite && store.head(&begun).await.is_ok() {
                let path = begun.to_string();
                let source = "an object of the name is there".into();
                return Err(object_store::Error::AlreadyExists { path, source });
            }
            store.put_multipart(&begun).await
        })?;
        let mut upload = upload.map_err(failed)?;
        match self.store_parts(bucket, key, object, &mut upload) {
            Ok(()) => {
                let completed = self.run(async move { upload.complete().await })?;
                completed.map(|_| ()).map_err(failed)
            }
            Err(error) => {
                // What was sent takes room outside until it is aborted.
                if let Err(left) = self.run(async move { upload.abort().await })? {
                    tracing::warn!(key, error = %left, "cannot abort an upload");
                }
                Err(error)
            }
        }
    }

    fn store_small(
        &self,
        bucket: &str,
        key: &str,
        path: Path,
        object: &Object,
        overwrite: bool,
    ) -> Result<()> {
        let bytes = read(object, 0..object.len())?;
        let store = Arc::clone(&self.store);
        let mode = if overwrite { PutMode::Overwrite } else { PutMode::Create };
        let options = PutOptions { mode, ..PutOptions::default() };
        let stored = self.run(async move { store.put_opts(&path, bytes, options).await })?;
        stored.map(|_| ()).map_err(|error| outside(error, bucket, key))
    }

    fn store_parts(
        &self,
        bucket: &str,
        key: &str,
        object: &Object,
        upload: &mut Box<dyn MultipartUpload>,
    ) -> Result<()> {
        let part_bytes = object.len().div_ceil(PARTS_MAX).max(PART_BYTES);
        let mut under_way: VecDeque<Receiver<object_store::Result<()>>> = VecDeque::new();
        let finish = |part: Receiver<object_store::Result<()>>| {
            part.recv().map_err(|_| ended())?.map_err(|error| outside(error, bucket, key))
        };
        for range in parts(object.len(), part_bytes) {
            if under_way.len() == PARTS_UNDER_WAY
                && let Some(oldest) = under_way.pop_front()
            {
                finish(oldest)?;
            }
            let part = upload.put_part(read(object, range)?);
            under_way.push_back(self.start(part));
        }
        under_way.into_iter().try_for_each(finish)
    }
}

fn s3<'a>(
    bucket: &str,
    options: impl IntoIterator<Item = (&'a str, &'a str)>,
    max_retries: usize,
) -> Result<Arc<dyn ObjectStore>> {
    // The process's own choice stays, if it made one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = ClientOptions::new().with_connect_timeout(CONNECT_TIME).with_timeout(REQUEST_TIME);
    let retry = RetryConfig { max_retries, retry_timeout: RETRY_TIME, ..RetryConfig::default() };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_retry(retry)
        .with_client_options(client);
    for (name, value) in options {
        let key: AmazonS3ConfigKey = name
            .parse()
            .map_err(|_| Error::Invalid(format!("S3 backends have no option `{name}`")))?;
        builder = builder.with_config(key, value);
    }
    let store = builder.build().map_err(|error| Error::Invalid(types::chain(&error)))?;
    Ok(Arc::new(store))
}

/// The name of an object below the root.
fn relative(root: &Path, location: &Path) -> String {
    let location = location.as_ref();
    let name = location.strip_prefix(root.as_ref()).unwrap_or(location);
    name.trim_start_matches('/').to_owned()
}

fn parts(size: u64, part: u64) -> impl Iterator<Item = Range<u64>> {
    (0..size.div_ceil(part)).map(move |number| number * part..size.min((number + 1) * part))
}

fn read(object: &Object, range: Range<u64>) -> Result<PutPayload> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let count = object.read_at(range.start, &mut bytes)?;
    bytes.truncate(count);
    Ok(PutPayload::from(Bytes::from(bytes)))
}

fn check_len(bucket: &str, key: &str, expected: u64, len: usize) -> Result<()> {
    if len as u64 == expected {
        return Ok(());
    }
    Err(Error::Corrupt {
        what: format!("object `{key}` outside of bucket `{bucket}`"),
        why: format!("{len} bytes came where {expected} were announced"),
    })
}

fn ended() -> Error {
    Error::Unavailable("the backend's threads have ended".to_owned())
}

/// A failure of storage outside.
fn outside(error: object_store::Error, bucket: &str, key: &str) -> Error {
    use object_store::Error as Failure;
    let (bucket, key) = (bucket.to_owned(), key.to_owned());
    match error {
        Failure::NotFound { .. } => Error::NoObject { bucket, key },
        Failure::AlreadyExists { .. } => Error::Exists { bucket, key },
        Failure::Precondition { .. } => Error::Unavailable(format!(
            "object `{key}` outside of bucket `{bucket}` was replaced while it was read: try again"
        )),
        Failure::PermissionDenied { .. } | Failure::Unauthenticated { .. } => {
            Error::Denied(format!(
                "the storage outside of bucket `{bucket}` refuses its keys: {}",
                types::chain(&error)
            ))
        }
        Failure::InvalidPath { .. } | Failure::NotSupported { .. } => {
            Error::Invalid(types::chain(&error))
        }
        other => Error::Unavailable(format!(
            "the storage outside of bucket `{bucket}` failed: {}",
            types::chain(&other)
        )),
    }
}
