//! Objects on their way outside, in the background.

use super::{
    BLOCK_BYTES, PART_BYTES, PARTS_MAX, PARTS_UNDER_WAY, check_len, ended, outside, parts,
};
use crate::Result;
use bytes::Bytes;
use object_store::{
    MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion,
    path::Path,
};
use std::{ops::Range, sync::Arc};
use tokio::task::JoinSet;

/// An object to write outside in the background.
pub(crate) struct Upload {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) size: u64,
    /// The version that it replaces, if something is known to be there.
    pub(crate) replaces: Option<Option<String>>,
    pub(crate) read: Arc<dyn Fn(Range<u64>) -> Result<Bytes> + Send + Sync>,
}

/// An object that was acknowledged outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uploaded {
    pub(crate) etag: Option<String>,
}

pub(super) async fn remove(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    etag: Option<String>,
) -> object_store::Result<()> {
    // S3 does not remove on a condition.
    if etag.is_some() && store.head(path).await?.e_tag != etag {
        return Ok(());
    }
    store.delete(path).await
}

/// Puts an object on the condition that its name has what was last seen there. Somebody else's object, or one from
/// before a crash, is looked at first and then replaced.
pub(super) async fn small(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    upload: &Upload,
    by_version: bool,
) -> Result<Uploaded> {
    use object_store::Error as Failure;
    let failed = |error| outside(error, &upload.bucket, &upload.key);
    let bytes = (upload.read)(0..upload.size)?;
    let put = |replaces: Option<Option<String>>| {
        let mode = match replaces {
            None => PutMode::Create,
            Some(e_tag @ Some(_)) if by_version => {
                PutMode::Update(UpdateVersion { e_tag, version: None })
            }
            Some(_) => PutMode::Overwrite,
        };
        let options = PutOptions { mode, ..PutOptions::default() };
        store.put_opts(path, PutPayload::from(bytes.clone()), options)
    };
    let stored = match put(upload.replaces.clone()).await {
        Err(
            Failure::AlreadyExists { .. } | Failure::Precondition { .. } | Failure::NotFound { .. },
        ) => {
            let there = match store.head(path).await {
                Ok(meta) => Some(meta.e_tag),
                Err(Failure::NotFound { .. }) => None,
                Err(error) => return Err(failed(error)),
            };
            put(there).await
        }
        stored => stored,
    };
    stored.map(|stored| Uploaded { etag: stored.e_tag }).map_err(failed)
}

/// Sends an object in parts, some of them at once. It counts as acknowledged when what is there has its size.
pub(super) async fn in_parts(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    upload: &Upload,
) -> Result<Uploaded> {
    let failed = |error| outside(error, &upload.bucket, &upload.key);
    let mut begun = store.put_multipart(path).await.map_err(failed)?;
    let sent = send_parts(&mut begun, upload).await;
    let completed = match sent {
        Ok(()) => begun.complete().await.map_err(failed),
        Err(error) => Err(error),
    };
    if let Err(error) = completed {
        // What was sent takes room outside until it is aborted.
        if let Err(left) = begun.abort().await {
            tracing::warn!(key = upload.key, error = %left, "cannot abort an upload");
        }
        return Err(error);
    }
    let there = store.head(path).await.map_err(failed)?;
    check_len(&upload.bucket, &upload.key, upload.size, there.size as usize)?;
    Ok(Uploaded { etag: there.e_tag })
}

async fn send_parts(begun: &mut Box<dyn MultipartUpload>, upload: &Upload) -> Result<()> {
    let failed = |error| outside(error, &upload.bucket, &upload.key);
    let part_bytes = upload.size.div_ceil(PARTS_MAX).max(PART_BYTES);
    // Who sums blocks as they are read gets whole ones.
    let part_bytes = part_bytes.next_multiple_of(BLOCK_BYTES);
    let mut under_way: JoinSet<object_store::Result<()>> = JoinSet::new();
    for range in parts(upload.size, part_bytes) {
        if under_way.len() == PARTS_UNDER_WAY
            && let Some(sent) = under_way.join_next().await
        {
            sent.map_err(|_| ended())?.map_err(failed)?;
        }
        let read = Arc::clone(&upload.read);
        let bytes =
            tokio::task::spawn_blocking(move || read(range)).await.map_err(|_| ended())??;
        under_way.spawn(begun.put_part(PutPayload::from(bytes)));
    }
    while let Some(sent) = under_way.join_next().await {
        sent.map_err(|_| ended())?.map_err(failed)?;
    }
    Ok(())
}
