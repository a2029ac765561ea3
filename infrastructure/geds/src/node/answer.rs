//! What a tenant's processes ask for.

use super::{
    journal::Note,
    lost::LostNames,
    names::stat_at,
    recover::check_limits,
    slabs::{mark, slab_bytes},
    state::State,
    tenant::{Answer, Tenant},
};
use crate::{
    Attributes, Error, Result, Usage, check_bucket,
    put::now,
    remote,
    shared::record::{CHUNK_BYTES, Place},
    wire::{Reply, Request},
};
use std::sync::Arc;

/// Most files that a process writes at once.
const STAGED_MAX: usize = 1024;

impl Tenant {
    /// Does what a session asks for.
    pub(crate) fn answer(&self, session: u32, request: Request) -> Answer {
        match self.handle(session, request) {
            Ok(answer) => answer,
            Err(error) => (Reply::Failed(error.into()), Vec::new()),
        }
    }

    fn handle(&self, session: u32, request: Request) -> Result<Answer> {
        let reply = match request {
            Request::Join { .. } | Request::Subscribe { .. } => {
                return Err(Error::Invalid("the session has begun already".to_owned()));
            }
            Request::Lease { bytes, returned, spare } => {
                return self.lease(session, bytes, &returned, spare);
            }
            Request::Slab { slot, generation } => return self.slab(slot, generation),
            Request::File { file } => return self.file(file),
            Request::Stage => return self.stage(session),
            Request::Chunk { class, returned } => self.chunk(session, class, returned)?,
            Request::Return { slabs } => self.take_back(session, &slabs),
            Request::Unstage { file } => self.unstage(session, file),
            Request::Grow { file, bytes } => self.grow(session, file, bytes)?,
            Request::Pieces { content } => self.pieces(session, content),
            Request::Compose { bucket, key, parts, put } => {
                Reply::Stat(self.compose(&bucket, &key, &parts, &put)?)
            }
            Request::Persist { bucket, key } => Reply::Stat(self.persist(&bucket, &key)?),
            Request::PersistAll => {
                self.persist_all()?;
                Reply::Done
            }
            Request::Far(ask) => self.ask_far(ask),
            Request::CreateBucket { bucket } => {
                check_bucket(&bucket)?;
                if let Some(far) = self.far() {
                    far.claim(&bucket)?;
                }
                self.simple(Request::CreateBucket { bucket })?
            }
            Request::DeleteBucket { bucket } => {
                let deleted = self.simple(Request::DeleteBucket { bucket: bucket.clone() })?;
                self.keys.set(&bucket, None)?;
                if let Some(far) = self.far() {
                    far.disclaim(&bucket);
                }
                deleted
            }
            Request::Attach { bucket, backend } => self.attach(&bucket, backend)?,
            Request::Detach { bucket } => self.detach(&bucket)?,
            Request::Backends => Reply::Backends(self.outlets.states()),
            Request::Adopt { bucket, key } => self.adopt(&bucket, &key)?,
            Request::Block { number, block } => self.block(session, number, block),
            Request::Fetch { number, first, count } => {
                self.fetch(number, first, count)?;
                Reply::Done
            }
            Request::Relocate { bucket, keys, to } => {
                Reply::Relocated(self.relocate(&bucket, &keys, to)?)
            }
            other => self.simple(other)?,
        };
        Ok((reply, Vec::new()))
    }

    /// What is one step under the lock.
    fn simple(&self, request: Request) -> Result<Reply> {
        let mut state = self.state();
        Ok(match request {
            Request::Wake => {
                drop(state);
                self.wake();
                Reply::Done
            }
            Request::Sync => {
                state.consume();
                Reply::Done
            }
            Request::Buckets => {
                state.consume();
                let names = &state.names;
                let keys = names.numbers().filter_map(|number| names.keys(number));
                let own = keys.filter(|keys| remote::bucket_of(&keys.name) == keys.name);
                Reply::Buckets(own.map(super::names::Keys::to_bucket).collect())
            }
            Request::Bucket { bucket } => bucket_reply(&mut state, &bucket)?,
            Request::CreateBucket { bucket } => {
                check_bucket(&bucket)?;
                state.create_bucket(&bucket, now(), Attributes::new())?;
                state.sync_journal()?;
                bucket_reply(&mut state, &bucket)?
            }
            Request::BucketAttributes { bucket, attributes } => {
                set_bucket_attributes(&mut state, bucket, attributes)?;
                Reply::Done
            }
            Request::DeleteBucket { bucket } => {
                state.delete_bucket(&bucket)?;
                self.outlets.detach(&bucket);
                Reply::Done
            }
            Request::List { bucket, listing } => {
                state.consume();
                let number = state.names.number(&bucket)?;
                let keys = state.names.keys(number).ok_or_else(|| Error::no_bucket(&bucket))?;
                Reply::Page(keys.page(&listing, |unit| stat_at(&state.index, unit)))
            }
            Request::Usage => Reply::Usage(usage(&mut state)),
            Request::Limits => Reply::Limits(state.limits.clone()),
            Request::Lost { after } => Reply::Lost(state.lost.page(after)),
            Request::ForgetLost => {
                state.lost = LostNames::default();
                state.journal.note(&Note::LostForgotten);
                state.sync_journal()?;
                Reply::Done
            }
            Request::SetLimits { limits } => {
                check_limits(&limits)?;
                state.limits = limits;
                drop(state);
                self.wake();
                Reply::Done
            }
            other => return Err(Error::Invalid(format!("the node does not know {other:?}"))),
        })
    }

    fn lease(
        &self,
        session: u32,
        bytes: u64,
        returned: &[(u16, u32)],
        spare: bool,
    ) -> Result<Answer> {
        let mut state = self.state();
        give_back(&mut state, session, returned);
        let limits = state.limits.clone();
        let (used, _) = state.slabs.used();
        if spare && used.saturating_add(bytes.max(slab_bytes(&limits))) > mark(&limits) {
            return Ok((Reply::Gone, Vec::new()));
        }
        let mut lent = state.slabs.lend(bytes, session, &limits)?;
        if lent.is_none() {
            state.collect();
            lent = state.slabs.lend(bytes, session, &limits)?;
        }
        let Some(lent) = lent else {
            let (used_bytes, _) = state.slabs.used();
            if bytes <= limits.memory_bytes {
                state.wanted_bytes = state.wanted_bytes.max(bytes);
            }
            drop(state);
            self.wake();
            let (limit_bytes, wait_ms) = (limits.memory_bytes, limits.wait_ms);
            let what = "memory".to_owned();
            return Ok((Reply::Busy { what, used_bytes, limit_bytes, wait_ms }, Vec::new()));
        };
        let slab = state.slabs.get(lent.slot, lent.generation);
        let file = slab.map(|slab| slab.to_write()).transpose()?;
        let (slot, generation, bytes) = (lent.slot, lent.generation, lent.bytes);
        Ok((Reply::Slab { slot, generation, bytes }, file.into_iter().collect()))
    }

    fn take_back(&self, session: u32, slabs: &[(u16, u32)]) -> Reply {
        let mut state = self.state();
        give_back(&mut state, session, slabs);
        Reply::Done
    }

    fn slab(&self, slot: u16, generation: u32) -> Result<Answer> {
        let mut state = self.state();
        let Some(slab) = state.slabs.get(slot, generation) else {
            return Ok((Reply::Gone, Vec::new()));
        };
        let (file, bytes) = (slab.to_read()?, slab.bytes());
        Ok((Reply::Slab { slot, generation, bytes }, vec![file]))
    }

    fn file(&self, number: u64) -> Result<Answer> {
        match self.state().files.open_one(number)? {
            Some(file) => Ok((Reply::File { file: number }, vec![file.into()])),
            None => Ok((Reply::Gone, Vec::new())),
        }
    }

    fn chunk(&self, session: u32, class: u8, returned: Option<u32>) -> Result<Reply> {
        let mut state = self.state();
        let index = Arc::clone(&state.index);
        if let Some(chunk) = returned {
            state.chunks.take_back(&index, chunk, session);
        }
        if state.names.objects() >= state.limits.objects {
            state.consume();
        }
        if state.names.objects() >= state.limits.objects {
            let limit = state.limits.objects;
            return Err(Error::TooMany { what: "objects".to_owned(), limit });
        }
        let State { chunks, index_file, .. } = &mut *state;
        let chunk = chunks.lend(&index, index_file, usize::from(class), session)?;
        if let Some(seat) = state.seats.get_mut(&session) {
            seat.chunks.insert(chunk);
        }
        Ok(Reply::Chunk { chunk })
    }

    fn stage(&self, session: u32) -> Result<Answer> {
        let mut state = self.state();
        if state.files.lent_to(session).len() >= STAGED_MAX {
            let limit = STAGED_MAX as u64;
            return Err(Error::TooMany { what: "unsealed files of a process".to_owned(), limit });
        }
        let limits = state.limits.clone();
        let (file, opened) = state.files.create(Some(session), 1, &limits)?;
        Ok((Reply::File { file }, vec![opened.into()]))
    }

    fn grow(&self, session: u32, file: u64, bytes: u64) -> Result<Reply> {
        let mut state = self.state();
        let (used, limit_bytes) = (state.files.bytes(), state.limits.disk_bytes);
        let stored = state.files.get(file).filter(|stored| stored.lent == Some(session));
        let Some(stored) = stored else { return Ok(Reply::Gone) };
        let used_bytes = used - stored.bytes;
        if used_bytes.saturating_add(bytes) > limit_bytes {
            let (what, waited_ms) = ("disk".to_owned(), 0);
            let wanted_bytes = bytes;
            return Err(Error::Exhausted {
                what,
                wanted_bytes,
                used_bytes,
                limit_bytes,
                waited_ms,
            });
        }
        stored.bytes = bytes;
        Ok(Reply::Done)
    }

    fn unstage(&self, session: u32, file: u64) -> Reply {
        let mut state = self.state();
        state.consume();
        if state.files.get(file).is_some_and(|stored| stored.lent == Some(session)) {
            state.files.take_back(file);
        }
        state.reconsider(Place::File { file, offset: 0 });
        state.collect();
        Reply::Done
    }

    /// Pins every piece for the session, which lets go of them.
    fn pieces(&self, session: u32, content: u64) -> Reply {
        let state = self.state();
        let (Some(content), Some(seat)) = (state.contents.get(&content), state.seats.get(&session))
        else {
            return Reply::Gone;
        };
        content.pieces.iter().for_each(|piece| seat.page.pin(piece.place));
        Reply::Pieces(content.pieces.iter().map(|piece| piece.to_wire()).collect())
    }
}

fn give_back(state: &mut State, session: u32, slabs: &[(u16, u32)]) {
    for (slot, generation) in slabs {
        state.slabs.close(*slot, *generation, session);
        state.index.touch(*slot);
        state.reconsider(Place::Slab { slot: *slot, generation: *generation, offset: 0 });
    }
}

fn bucket_reply(state: &mut State, bucket: &str) -> Result<Reply> {
    state.consume();
    let number = state.names.number(bucket)?;
    let keys = state.names.keys(number).ok_or_else(|| Error::no_bucket(bucket))?;
    Ok(Reply::Bucket { number, bucket: keys.to_bucket() })
}

fn set_bucket_attributes(state: &mut State, name: String, attributes: Attributes) -> Result<()> {
    attributes.encode()?;
    let number = state.names.number(&name)?;
    let keys = state.names.keys_mut(number).ok_or_else(|| Error::no_bucket(&name))?;
    keys.attributes = attributes.clone();
    let created = keys.created;
    state.journal.note(&Note::Bucket { name, created, attributes });
    state.sync_journal()
}

fn usage(state: &mut State) -> Usage {
    state.collect();
    let (memory_bytes, slabs) = state.slabs.used();
    Usage {
        objects: state.names.objects(),
        memory_bytes,
        pool_bytes: state.slabs.pool_bytes(),
        index_bytes: state.chunks.count() * CHUNK_BYTES,
        disk_bytes: state.files.bytes(),
        slabs,
        files: state.files.count(),
        processes: state.seats.len() as u64,
        cache_bytes: state.remotes.cached_bytes(),
        lost: state.lost.count(),
    }
}
