//! Content by its digest: modules, and snapshots on their way to users.

use super::{Config, Error, Result};
use crate::retention::{self, Swept};
use axum::body::Body;
use futures_util::StreamExt;
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    fs::File,
    io::{AsyncWriteExt, BufWriter},
    sync::Semaphore,
};
use types::{Digest, ErrorKind};

/// Uploads that are not whole yet.
const DRAFTS: &str = "drafts";

/// A folder of files that are named by what they hold.
#[derive(Debug)]
pub(super) struct Blobs {
    folder: PathBuf,
    blob_max_bytes: u64,
    uploads: Arc<Semaphore>,
}

impl Blobs {
    /// Opens the folder and removes what earlier uploads have left half-way.
    pub(super) fn open(config: &Config) -> Result<Self> {
        let folder = config.data_dir.join("blobs");
        let drafts = folder.join(DRAFTS);
        let problem = |source| Error::Folder { path: drafts.clone(), source };
        match fs::remove_dir_all(&drafts) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(problem(error)),
            _ => fs::create_dir_all(&drafts).map_err(problem)?,
        }
        Ok(Self {
            folder,
            blob_max_bytes: config.blob_max_bytes,
            uploads: Arc::new(Semaphore::new(config.uploads_max)),
        })
    }

    /// Where a blob is, if it was uploaded.
    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.to_hex())
    }

    /// Whether it was uploaded. Who asks may be about to name it, so it stays for a while.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        let path = self.path(digest);
        retention::mark_used(&path);
        path.is_file()
    }

    /// Removes what is not in use and was not asked for lately.
    pub(super) fn sweep(&self, retention: Duration, in_use: &HashSet<String>) -> Result<Swept> {
        retention::sweep(&self.folder, retention, in_use)
            .map_err(|source| Error::Folder { path: self.folder.clone(), source })
    }

    /// The file and its size, if it was uploaded.
    pub(super) async fn read(&self, digest: &Digest) -> Result<Option<(File, u64)>> {
        let path = self.path(digest);
        retention::mark_used(&path);
        match File::open(&path).await {
            Ok(file) => {
                let metadata = file.metadata().await;
                let metadata = metadata.map_err(|source| Error::Folder { path, source })?;
                Ok(Some((file, metadata.len())))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Folder { path, source }),
        }
    }

    /// Takes an upload in; it appears whole and checked, or not at all. False if it was there.
    pub(super) async fn write(&self, digest: &Digest, body: Body) -> Result<bool> {
        if self.has(digest) {
            // Clients that send before they listen would take an early answer for a failure.
            drain(body, self.blob_max_bytes).await;
            return Ok(false);
        }
        let Ok(_turn) = self.uploads.try_acquire() else {
            let message = "too many uploads at a time: try again in a moment";
            return Err(Error::refuse(ErrorKind::Exhausted, message));
        };
        let draft = Draft(self.folder.join(DRAFTS).join(types::random_id()));
        let found = self.receive(&draft.0, body).await?;
        if found != *digest {
            let message = format!(
                "the upload is `{found}`, not `{digest}`: nothing was kept; send it again whole"
            );
            return Err(Error::refuse(ErrorKind::Invalid, message));
        }
        let path = self.path(digest);
        let folder = self.folder.clone();
        let publish = move || publish(&draft, &path, &folder);
        tokio::task::spawn_blocking(publish)
            .await
            .map_err(io::Error::other)
            .flatten()
            .map_err(|source| Error::Folder { path: self.path(digest), source })?;
        Ok(true)
    }

    async fn receive(&self, draft: &Path, body: Body) -> Result<Digest> {
        let disk = |source| Error::Folder { path: draft.to_owned(), source };
        let mut file = BufWriter::with_capacity(1 << 18, File::create(draft).await.map_err(disk)?);
        let (mut hash, mut size) = (Sha256::new(), 0_u64);
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| {
                let message = format!("the upload broke off after {size} bytes: {error}");
                Error::refuse(ErrorKind::Invalid, message)
            })?;
            size += piece.len() as u64;
            if size > self.blob_max_bytes {
                let message =
                    format!("a blob has at most {} bytes: nothing was kept", self.blob_max_bytes);
                return Err(Error::refuse(ErrorKind::Exhausted, message));
            }
            hash.update(&piece);
            file.write_all(&piece).await.map_err(disk)?;
        }
        file.flush().await.map_err(disk)?;
        file.get_ref().sync_all().await.map_err(disk)?;
        Ok(Digest::from_sha256(hash.finalize().into()))
    }
}

/// Reads and forgets at most `limit` bytes.
async fn drain(body: Body, limit: u64) {
    let (mut pieces, mut size) = (body.into_data_stream(), 0);
    while let Some(Ok(piece)) = pieces.next().await {
        size += piece.len() as u64;
        if size > limit {
            return;
        }
    }
}

fn publish(draft: &Draft, path: &Path, folder: &Path) -> io::Result<()> {
    fs::rename(&draft.0, path)?;
    fs::File::open(folder)?.sync_all()
}

/// An upload's file, removed unless it was renamed.
#[derive(Debug)]
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // It is gone when it became a blob; else the next start removes what stays.
        let _ = fs::remove_file(&self.0);
    }
}
