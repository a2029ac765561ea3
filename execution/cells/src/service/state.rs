//! How a service comes to be, sleeps and wakes.

use super::{
    Body, Granted, LOG_BYTES, LogRing, Mode, Service, Slot,
    answers::{Answers, AnswersImage},
    checkpoint::{self, CHECKPOINT_FILE},
    io::Streams,
    journal, losses, room,
    tape::Tape,
};
use crate::{
    cell::{Cell, Pause},
    error::{Error, Result},
    neural,
    program::Program,
    snapshot::{Identity, Reader, Section, SnapshotError, committed_bytes},
    wasi,
    worker::{objects, protocol::ServiceStart, ticker},
};
use api::service::{Durability, Lost};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

/// Most request ids that are named as lost.
const LOST_IDS_MAX: usize = 1000;

/// What the host keeps for a service, as a snapshot's service section.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ServiceImage {
    answers: AnswersImage,
    /// What the guest has not read of its input and written of an unfinished answer.
    streams: (Vec<u8>, Vec<u8>),
    /// The last times that a journalled guest was given, monotonic and processor.
    times: (u64, u64),
    answered: u64,
}

impl Service {
    /// Makes a service ready: from its state folder if that holds a state, else from its
    /// beginning. Either way its folder holds a checkpoint afterwards. It does not serve yet.
    pub(crate) fn open(handle: u32, start: ServiceStart, program: Arc<Program>) -> Result<Self> {
        program.unwind_area()?;
        let folder = start.state_folder.clone();
        std::fs::create_dir_all(&folder)
            .map_err(|source| Error::Write { path: folder.clone(), source })?;
        let checkpoint = folder.join(CHECKPOINT_FILE);
        let service = if checkpoint.exists() {
            Self::recover(handle, start, program, &checkpoint)?
        } else {
            Self::begin(handle, start, program)?
        };
        service.checkpoint()?;
        Ok(service)
    }

    /// An empty service, whose cell has not run.
    pub(super) fn empty(handle: u32, start: ServiceStart, program: Arc<Program>) -> Result<Self> {
        let streams = Streams::new(start.limits.body_bytes);
        let tape = (start.durability == Durability::Journal).then(Tape::default);
        let log = LogRing::new(LOG_BYTES);
        // Made ready before a state arrives: its cell stands still meanwhile.
        let models = neural::open(&start.models, start.limits.memory_bytes)?;
        let granted = Granted { objects: objects::grants(start.objects.as_ref())?, models };
        let cell = new_cell(&program, &start, &granted, (&streams, tape.as_ref(), &log))?;
        let slot = Slot {
            body: Body::Resident(Box::new(cell)),
            granted,
            streams,
            tape,
            answers: Answers::default(),
            journal: None,
            sequence: 0,
            checkpointed_at: u64::MAX,
        };
        Ok(Self::new(handle, start, program, slot, log))
    }

    /// Runs the guest up to its first wait for a request.
    fn begin(handle: u32, start: ServiceStart, program: Arc<Program>) -> Result<Self> {
        let service = Self::empty(handle, start, program)?;
        let mut slot = service.slot();
        let Body::Resident(cell) = &mut slot.body else { return Err(Error::Ended { code: 0 }) };
        let timeout = service.start.request_timeout;
        // One that only sleeps meets no deadline of its own.
        let deadline = Instant::now() + timeout;
        loop {
            cell.set_deadline(deadline);
            let running = ticker::running();
            let pause = cell.resume();
            drop(running);
            match pause {
                Ok(Pause::Waiting(wait)) if wait.is_for_input() => break,
                Ok(Pause::Waiting(wait)) => {
                    let pause = cell.wasi().until(wait).unwrap_or_default();
                    if Instant::now() + pause > deadline {
                        return Err(Error::Deaf { limit_ms: timeout.as_millis() as u64 });
                    }
                    std::thread::sleep(pause);
                }
                Ok(Pause::Asked) => {}
                Ok(Pause::Exited(code)) => return Err(Error::Ended { code: code as i32 }),
                Err(Error::Deadline { frames, .. }) => {
                    return Err(Error::Deadline { limit_ms: timeout.as_millis() as u64, frames });
                }
                Err(error) => return Err(error),
            }
        }
        drop(slot);
        Ok(service)
    }

    /// Restores the newest complete state in the folder, and what the journals hold beyond it.
    fn recover(
        handle: u32,
        start: ServiceStart,
        program: Arc<Program>,
        checkpoint: &Path,
    ) -> Result<Self> {
        let open = || {
            File::open(checkpoint)
                .map(BufReader::new)
                .map_err(|source| Error::Read { path: checkpoint.to_owned(), source })
        };
        let committed = committed_bytes(open()?)?;
        let service = Self::empty(handle, start, program)?;
        let mut slot = service.slot();
        let identity = service.load(&mut slot, open()?.take(committed))?;
        if identity.epoch > service.start.epoch {
            return Err(Error::Fenced { held: identity.epoch, asked: service.start.epoch });
        }
        let folder = &service.start.state_folder;
        slot.sequence = identity.sequence.max(journal::last_sequence(folder)?);
        let durable = service.start.durability == Durability::Journal;
        let entries = journal::read_from(folder, identity.sequence, durable)?;
        let (replayable, lost): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| entry.replay.is_some());
        service.replay(&mut slot, replayable)?;
        *service.lost() = if lost.is_empty() {
            losses::read(folder)
        } else {
            let lost = Lost {
                epoch: identity.epoch,
                incarnation: identity.incarnation,
                at: checkpoint::now_ms(),
                count: lost.len() as u64,
                request_ids: lost.into_iter().take(LOST_IDS_MAX).map(|entry| entry.id).collect(),
            };
            losses::add(folder, lost)?
        };
        drop(slot);
        Ok(service)
    }

    /// Takes over the last complete round of a snapshot into a cell that has not run.
    pub(super) fn load(&self, slot: &mut Slot, source: impl Read) -> Result<Identity> {
        let mut reader = Reader::new(source)?;
        let mut loading = Loading::default();
        while let Some(section) = reader.next()? {
            loading.take(slot, section)?;
        }
        self.finish_loading(slot, loading)
    }

    /// Gives the cell its descriptors, and the host its side of the state.
    pub(super) fn finish_loading(&self, slot: &mut Slot, loading: Loading) -> Result<Identity> {
        let (Some(identity), Some(wasi), Some(service)) =
            (loading.identity, loading.wasi, loading.service)
        else {
            return Err(SnapshotError::Incomplete.into());
        };
        let image = read_image(&service)?;
        if let Some(tape) = &slot.tape {
            // The guest's clock is measured from this moment, here as there.
            tape.continue_from(image.times);
        }
        let own = (&slot.streams, slot.tape.as_ref(), &self.log);
        let config = config(&self.start, &slot.granted, own);
        let Body::Resident(cell) = &mut slot.body else { return Err(Error::Ended { code: 0 }) };
        cell.apply_wasi(&wasi, config)?;
        self.memory_bytes.store(cell.memory_bytes(), Ordering::Relaxed);
        if let Some(tape) = &slot.tape {
            tape.end_replay();
        }
        slot.streams.restore(image.streams);
        slot.answers = Answers::from_image(image.answers);
        self.answered.store(image.answered, Ordering::Relaxed);
        slot.sequence = identity.sequence;
        Ok(identity)
    }

    /// Answers journalled requests again, as they were answered.
    fn replay(&self, slot: &mut Slot, entries: Vec<journal::Entry>) -> Result<()> {
        for entry in entries {
            let Some(replay) = entry.replay else { continue };
            if slot.answers.get(&entry.id).is_some() {
                continue;
            }
            if let Some(tape) = &slot.tape {
                tape.replay(replay.taken);
            }
            let answer = self.ask(slot, &replay.record.into())?;
            let exact = slot.tape.as_ref().is_none_or(Tape::end_replay);
            if !exact || *blake3::hash(&answer).as_bytes() != replay.answer {
                return Err(Error::Diverged { request: entry.id });
            }
            slot.answers.insert(&entry.id, answer);
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The host's side of the state, encoded.
    pub(super) fn image(&self, slot: &Slot) -> Result<Vec<u8>> {
        let image = ServiceImage {
            answers: slot.answers.image(),
            streams: slot.streams.pending(),
            times: slot.tape.as_ref().map_or((0, 0), Tape::last),
            answered: self.answered.load(Ordering::Relaxed),
        };
        postcard::to_stdvec(&image)
            .map_err(|error| Error::runtime("cannot encode a service's state", error))
    }

    /// Puts an idle cell to sleep: its memory goes back to the pool, its state is kept compressed.
    /// False if it is busy or asleep.
    pub(crate) fn hibernate(&self) -> bool {
        let Ok(_copying) = self.copying.try_lock() else { return false };
        let Some(_turn) = self.try_turn() else { return false };
        if self.queue().mode != Mode::Serving {
            return false;
        }
        let mut slot = self.slot();
        let Body::Resident(cell) = &mut slot.body else { return false };
        let identity = checkpoint::identity(&self.start, &self.program, 0);
        match cell.put_to_sleep(&identity) {
            Ok((snapshot, wasi)) => slot.body = Body::Asleep(snapshot, Box::new(wasi)),
            Err(error) => {
                let error = types::chain(&error);
                tracing::warn!(service = self.start.name, error, "a cell cannot sleep");
                return false;
            }
        }
        if let Some(journal) = &mut slot.journal {
            journal.rest();
        }
        self.resident.store(false, Ordering::Relaxed);
        true
    }

    /// Brings a sleeping cell back into memory.
    pub(super) fn wake(&self, slot: &mut Slot) -> Result<()> {
        let Body::Asleep(snapshot, _) = &slot.body else { return Ok(()) };
        let mut cell = loop {
            match Cell::awaken(&self.program, snapshot, &self.start.limits) {
                Err(Error::Cells { .. }) if room::make() => {}
                made => break made?,
            }
        };
        if let Body::Asleep(_, wasi) = std::mem::replace(&mut slot.body, Body::Gone) {
            *cell.wasi() = *wasi;
        }
        slot.body = Body::Resident(Box::new(cell));
        self.resident.store(true, Ordering::Relaxed);
        Ok(())
    }
}

fn read_image(bytes: &[u8]) -> Result<ServiceImage, SnapshotError> {
    postcard::from_bytes(bytes)
        .map_err(|error| SnapshotError::Malformed { section: "service", reason: error.to_string() })
}

/// That the bytes are a snapshot's service section.
pub(crate) fn check_image(bytes: &[u8]) -> Result<(), SnapshotError> {
    read_image(bytes).map(drop)
}

/// The service section of one that was never asked.
pub(crate) fn empty_image() -> postcard::Result<Vec<u8>> {
    let streams = (Vec::new(), Vec::new());
    let answers = AnswersImage::default();
    postcard::to_stdvec(&ServiceImage { answers, streams, times: (0, 0), answered: 0 })
}

/// A state that is being taken over.
#[derive(Debug, Default)]
pub(super) struct Loading {
    identity: Option<Identity>,
    wasi: Option<Vec<u8>>,
    service: Option<Vec<u8>>,
    /// Whether a complete round has arrived.
    pub(super) complete: bool,
}

impl Loading {
    pub(super) fn take(&mut self, slot: &mut Slot, section: Section) -> Result<()> {
        self.complete = false;
        match section {
            Section::Wasi(image) => self.wasi = Some(image),
            Section::Service(image) => self.service = Some(image),
            Section::Commit { .. } => self.complete = true,
            other => {
                let Body::Resident(cell) = &mut slot.body else {
                    return Err(Error::Ended { code: 0 });
                };
                cell.apply(&other)?;
                if let Section::Identity(identity) = other {
                    self.identity = Some(identity);
                }
            }
        }
        Ok(())
    }
}

/// A cell that has not run; others are put to sleep if there is no room for it.
fn new_cell(
    program: &Arc<Program>,
    start: &ServiceStart,
    granted: &Granted,
    own: Own<'_>,
) -> Result<Cell> {
    loop {
        let wasi = config(start, granted, own)
            .build()
            .map_err(|error| Error::runtime("the service's arguments cannot be used", error))?;
        match Cell::new(program, wasi, &start.limits) {
            Err(Error::Cells { .. }) if room::make() => {}
            made => return made,
        }
    }
}

/// A guest's streams, its clock if it is journalled, and its log.
type Own<'a> = (&'a Streams, Option<&'a Tape>, &'a LogRing);

/// What a service's guest may use: arguments, variables, its streams, models; no folders but
/// objects.
fn config(start: &ServiceStart, granted: &Granted, (streams, tape, log): Own<'_>) -> wasi::Config {
    let name = start.module.file_stem().unwrap_or(start.module.as_os_str()).to_string_lossy();
    wasi::Config {
        arguments: std::iter::once(name.into_owned()).chain(start.args.iter().cloned()).collect(),
        variables: start.env.clone().into_iter().collect(),
        grants: granted.objects.clone(),
        models: granted.models.clone(),
        streams: wasi::Streams {
            stdin: Box::new(streams.clone()),
            stdout: Box::new(streams.clone()),
            stderr: Box::new(log.clone()),
        },
        sources: match tape {
            Some(tape) => Box::new(tape.clone()),
            None => Box::new(wasi::SystemSources),
        },
        limits: wasi::Limits {
            open_files: start.limits.open_files,
            model_bytes: start.limits.memory_bytes,
            // A service writes for as long as it lives: each answer is bounded by itself, and of its
            // log the last bytes are kept.
            output_bytes: u64::MAX,
            ..wasi::Limits::default()
        },
    }
}
