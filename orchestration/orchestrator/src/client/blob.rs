//! Content by its digest: modules and snapshots.

use super::{Client, Error, Result};
use api::paths;
use bytes::Bytes;
use hyper::{Method, header};
use sha2::{Digest as _, Sha256};
use std::{io::Read, path::Path, time::Duration};
use types::{Digest, ErrorKind};

/// Uploads may be slow where the edge's line is; this long means that it hangs.
pub(super) const UPLOAD_LIMIT: Duration = Duration::from_secs(600);

/// The largest blob: a snapshot of a full 4 GiB memory would not be handled in one piece.
pub(super) const BLOB_MAX_BYTES: u64 = 1 << 30;

/// The digest of these bytes.
pub(super) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(bytes).into())
}

impl Client {
    /// Uploads the bytes unless they are there already; says whether it did.
    ///
    /// # Errors
    /// If they are refused or the control plane cannot be reached.
    pub async fn upload(&self, bytes: Bytes) -> Result<(Digest, bool)> {
        let digest = digest_of(&bytes);
        let path = paths::blob(&digest);
        match self.ask(Method::HEAD, &path, Bytes::new()).await {
            Ok(_) => return Ok((digest, false)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let octets = [(header::CONTENT_TYPE, "application/octet-stream".to_owned())];
        let upload = self.send(Method::PUT, &path, bytes, &octets);
        tokio::time::timeout(UPLOAD_LIMIT, upload)
            .await
            .map_err(|_| self.silent(UPLOAD_LIMIT))??;
        Ok((digest, true))
    }

    /// The bytes of a blob, checked against its name.
    ///
    /// # Errors
    /// If there is no such blob, it is not what its name says, or the control plane cannot be
    /// reached.
    pub async fn download(&self, digest: &Digest) -> Result<Bytes> {
        let work = async {
            let response = self.send(Method::GET, &paths::blob(digest), Bytes::new(), &[]).await?;
            let body = http_body_util::Limited::new(
                response.into_body(),
                usize::try_from(BLOB_MAX_BYTES).unwrap_or(usize::MAX),
            );
            let body = http_body_util::BodyExt::collect(body).await;
            body.map(http_body_util::Collected::to_bytes)
                .map_err(|source| Error::Broken { url: self.url().to_owned(), source })
        };
        let bytes = tokio::time::timeout(UPLOAD_LIMIT, work)
            .await
            .map_err(|_| self.silent(UPLOAD_LIMIT))??;
        if digest_of(&bytes) != *digest {
            return Err(self.foreign(format!("what it sent as {digest} are other bytes")));
        }
        Ok(bytes)
    }
}

/// Reads at most `limit_bytes` of a file; `None` if it is larger.
pub(super) fn read_limited(path: &Path, limit_bytes: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limit_bytes + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit_bytes).then_some(bytes))
}
