//! Modules, models and snapshots by their digest: fetched once from the control plane, checked, kept.

use super::{
    Config, Error,
    error::Result,
    http::{Http, next_piece},
    state::sync_parent,
};
use crate::retention;
use api::{Problem, onnx::OnnxModel};
use cells::ModelFile;
use hyper::Method;
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{fs::File, io::AsyncWriteExt, sync::Mutex as AsyncMutex};
use types::{Digest, ErrorKind};

/// Modules and snapshots on this site's disk.
#[derive(Debug)]
pub(crate) struct Modules {
    folder: PathBuf,
    control_url: String,
    http: Http,
    module_bytes_max: u64,
    snapshot_bytes_max: u64,
    /// One at a time fetches a digest.
    fetching: Mutex<HashMap<Digest, Arc<AsyncMutex<()>>>>,
}

impl Modules {
    pub(crate) fn open(config: &Config, http: Http) -> Result<Self> {
        let folder = config.data_dir.join("modules");
        fs::create_dir_all(&folder)
            .map_err(|source| Error::Disk { path: folder.clone(), source })?;
        Ok(Self {
            folder,
            control_url: config.control_url.trim_end_matches('/').to_owned(),
            http,
            module_bytes_max: config.limits.module_bytes_max,
            snapshot_bytes_max: config.limits.checkpoint_bytes_max,
            fetching: Mutex::default(),
        })
    }

    /// The file of a module.
    pub(crate) async fn get(&self, digest: &Digest) -> std::result::Result<PathBuf, Problem> {
        self.obtain(digest, self.module_bytes_max).await
    }

    /// The files of models.
    pub(crate) async fn models(
        &self,
        models: &[OnnxModel],
    ) -> std::result::Result<Vec<ModelFile>, Problem> {
        let mut files = Vec::new();
        for model in models {
            let name = model.name.clone();
            let unnamed = || format!("the model `{name}` names no content");
            let digest = model.digest();
            let digest = digest.ok_or_else(|| Problem::new(ErrorKind::Invalid, unnamed()))?;
            files.push(ModelFile { path: self.get(&digest).await?, digest: Some(digest), name });
        }
        Ok(files)
    }

    /// The file of a snapshot.
    pub(crate) async fn snapshot(&self, digest: &Digest) -> std::result::Result<PathBuf, Problem> {
        self.obtain(digest, self.snapshot_bytes_max).await
    }

    async fn obtain(
        &self,
        digest: &Digest,
        limit_bytes: u64,
    ) -> std::result::Result<PathBuf, Problem> {
        let path = self.path(digest);
        let lock = self.fetching().entry(*digest).or_default().clone();
        let _alone = lock.lock().await;
        let outcome = match tokio::fs::try_exists(&path).await {
            Ok(true) => {
                retention::mark_used(&path);
                Ok(())
            }
            _ => self.fetch(digest, &path, limit_bytes).await,
        };
        drop(_alone);
        let mut fetching = self.fetching();
        if Arc::strong_count(&lock) <= 2 {
            fetching.remove(digest);
        }
        outcome.map(|()| path)
    }

    /// The file is not needed any more, or turned out not to be what its name says: it is fetched
    /// anew next time.
    pub(crate) fn forget(&self, digest: &Digest) {
        // If it cannot be removed, the next use fails in the same way.
        let _ = fs::remove_file(self.path(digest));
    }

    /// Leaves a file with the control plane, under its digest.
    pub(crate) async fn store(&self, path: &Path) -> std::result::Result<(Digest, u64), Problem> {
        let owned = path.to_owned();
        let hashed = tokio::task::spawn_blocking(move || digest_of(&owned)).await;
        let (digest, size) = hashed
            .map_err(|error| Problem::new(ErrorKind::Internal, error.to_string()))?
            .map_err(|error| internal(path, &error))?;
        self.http.put_file(&self.url(&digest), &[], path).await?;
        Ok((digest, size))
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}.wasm", digest.to_hex()))
    }

    fn url(&self, digest: &Digest) -> String {
        format!("{}{}", self.control_url, api::paths::blob(digest))
    }

    fn fetching(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Arc<AsyncMutex<()>>>> {
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(
        &self,
        digest: &Digest,
        path: &Path,
        limit_bytes: u64,
    ) -> std::result::Result<(), Problem> {
        let mut body = self.http.ask(Method::GET, &self.url(digest)).await?.into_body();
        let beside = path.with_extension("new");
        let disk = |error: io::Error| internal(&beside, &error);
        let mut file = File::create(&beside).await.map_err(disk)?;
        let mut hash = Sha256::new();
        let mut size = 0;
        while let Some(piece) = next_piece(&mut body).await? {
            size += piece.len() as u64;
            if size > limit_bytes {
                let message = format!(
                    "the blob {digest} is larger than this site takes: {limit_bytes} bytes"
                );
                return Err(Problem::new(ErrorKind::Exhausted, message));
            }
            hash.update(&piece);
            file.write_all(&piece).await.map_err(disk)?;
        }
        let found = Digest::from_sha256(hash.finalize().into());
        if found != *digest {
            let message = format!("the control plane sent {found} for the blob {digest}");
            return Err(Problem::new(ErrorKind::Corrupt, message));
        }
        file.flush().await.map_err(disk)?;
        file.sync_all().await.map_err(disk)?;
        fs::rename(&beside, path).and_then(|()| sync_parent(path)).map_err(disk)
    }
}

fn digest_of(path: &Path) -> io::Result<(Digest, u64)> {
    let mut hash = Sha256::new();
    let mut file = fs::File::open(path)?;
    let mut size = 0;
    let mut piece = vec![0; 256 << 10];
    loop {
        let read = io::Read::read(&mut file, &mut piece)?;
        if read == 0 {
            return Ok((Digest::from_sha256(hash.finalize().into()), size));
        }
        size += read as u64;
        hash.update(&piece[..read]);
    }
}

fn internal(path: &Path, error: &io::Error) -> Problem {
    Problem::new(ErrorKind::Internal, format!("cannot use `{}`: {error}", path.display()))
}
