//! Bytes on their way from a body into an object: hashed and written, a batch at a time.

use super::{Body, Expected};
use crate::{
    digest::{Algorithm, Digests, Hasher},
    store::{self, Tenant, of_geds},
};
use bytes::Bytes;
use geds::{Put, Stat, Writer};
use s3s::S3Result;
use std::{io::Write as _, sync::Arc};
use tokio::task::JoinHandle;

/// Bodies up to here are taken as one piece, and stored without leaving the thread.
const INLINE_MAX_BYTES: u64 = 128 << 10;

/// How many bytes are handed to a blocking thread at once; two batches exist at a time.
const BATCH_BYTES: usize = 1 << 20;

/// In how many pieces at most, if a client sends a few bytes at a time.
const BATCH_PIECES: usize = 1024;

/// How a body is taken.
#[derive(Debug)]
pub(crate) struct Ingest {
    pub(crate) expected: Expected,
    /// What is computed, whoever asked for it.
    pub(crate) algorithm: Option<Algorithm>,
    /// Whether the checksum of several such bodies is to be told from theirs.
    pub(crate) is_part: bool,
}

/// Where the bytes go.
#[derive(Debug)]
pub(crate) struct Sink<'a> {
    pub(crate) tenant: &'a Arc<Tenant>,
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
    pub(crate) put: Put,
}

impl Ingest {
    /// Takes all of a body. `describe` makes the object's attributes once the bytes are known; the
    /// object appears when all is right, and nothing of it stays if anything is not.
    pub(crate) async fn run(
        &self,
        mut body: Body,
        sink: Sink<'_>,
        describe: impl FnOnce(&Digests) -> geds::Attributes,
    ) -> S3Result<(Stat, Digests)> {
        let hasher = Hasher::new(body.sha256().is_some(), self.algorithm);
        let hasher = if self.is_part { hasher.joinable() } else { hasher };
        if body.length() <= INLINE_MAX_BYTES {
            return self.at_once(body, hasher, sink, describe).await;
        }
        let put = Put { size_hint: Some(body.length()), ..sink.put };
        let writer = sink.tenant.geds.create(sink.bucket, sink.key, put).map_err(of_geds)?;
        let (hasher, mut writer) = in_batches(&mut body, hasher, writer).await?;
        let digests = hasher.finish();
        self.expected.check(&body, &digests)?;
        writer.set_attributes(describe(&digests)).map_err(of_geds)?;
        let stat = store::blocking(move || writer.seal()).await?.map_err(of_geds)?;
        Ok((stat, digests))
    }

    async fn at_once(
        &self,
        mut body: Body,
        mut hasher: Hasher,
        sink: Sink<'_>,
        describe: impl FnOnce(&Digests) -> geds::Attributes,
    ) -> S3Result<(Stat, Digests)> {
        let bytes = body.all().await?;
        hasher.update(&bytes);
        let digests = hasher.finish();
        self.expected.check(&body, &digests)?;
        let put = Put { attributes: Some(describe(&digests)), ..sink.put };
        let stat = store::put(sink.tenant, sink.bucket, sink.key, bytes, put).await?;
        Ok((stat, digests))
    }
}

type Batch = JoinHandle<S3Result<(Hasher, Writer)>>;

/// Receives a batch while the one before is hashed and written.
async fn in_batches(body: &mut Body, hasher: Hasher, writer: Writer) -> S3Result<(Hasher, Writer)> {
    let mut idle = Some((hasher, writer));
    let mut busy: Option<Batch> = None;
    while let Some(batch) = receive(body).await? {
        let (mut hasher, mut writer) = match busy.take() {
            Some(busy) => store::joined(busy.await)??,
            None => idle.take().expect("it is idle before the first batch"),
        };
        busy = Some(tokio::task::spawn_blocking(move || {
            for piece in &batch {
                hasher.update(piece);
                writer.write_all(piece).map_err(store::of_io)?;
            }
            Ok((hasher, writer))
        }));
    }
    match busy {
        Some(busy) => store::joined(busy.await)?,
        None => Ok(idle.expect("it is idle before the first batch")),
    }
}

/// Pieces of a body that make a batch together; none at its end.
async fn receive(body: &mut Body) -> S3Result<Option<Vec<Bytes>>> {
    let (mut batch, mut size) = (Vec::new(), 0);
    while size < BATCH_BYTES && batch.len() < BATCH_PIECES {
        let Some(piece) = body.next().await? else { break };
        size += piece.len();
        batch.push(piece);
    }
    Ok((!batch.is_empty()).then_some(batch))
}
