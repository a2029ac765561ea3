//! All ranks as a file, and back.

use super::{Shared, Tissue, lock, member::Member};
use crate::{
    error::{Error, Result},
    limits::Limits,
    program::Program,
    run::{identity, open, write_whole},
    snapshot::{RankImage, RankState, Reader, Section, SnapshotError, TissueImage, Writer},
    wasi,
};
use std::{
    fs::File,
    io::{BufReader, BufWriter},
    path::Path,
    sync::{Arc, Mutex, atomic::Ordering},
};

/// How many ranks of an MPI program a snapshot holds; none if it is one of something else.
///
/// # Errors
/// [`Error`] if the file is not a snapshot.
pub fn ranks_in(path: &Path) -> Result<Option<u32>> {
    let mut reader = Reader::new(BufReader::new(open(path)?))?;
    let Some(Section::Identity(_)) = reader.next()? else {
        return Err(SnapshotError::Incomplete.into());
    };
    Ok(match reader.next()? {
        Some(Section::Tissue(image)) => Some(image.size),
        _ => None,
    })
}

/// Has all ranks write themselves to a file, one after the other; they have stopped.
pub(super) fn write(
    shared: &Arc<Shared>,
    world: &Arc<mpi::World>,
    path: &Path,
    stopped: &mpi::Stopped,
) -> Result<u64> {
    let sequence = shared.sequence.load(Ordering::Relaxed) + 1;
    let image = world.save().map_err(Error::Mpi)?;
    let ends = shared.ends();
    write_whole(path, |sink| {
        let file = sink.get_ref().try_clone();
        let file = file.map_err(|source| Error::Write { path: path.to_owned(), source })?;
        let mut writer = Writer::new(BufWriter::new(file)).map_err(SnapshotError::from)?;
        writer.identity(&identity(&shared.program, sequence)).map_err(SnapshotError::from)?;
        let image = TissueImage { size: world.size(), world: image };
        writer.tissue(&image).map_err(SnapshotError::from)?;
        // The writer goes from thread to thread, for each reads its own cell.
        let writer = Arc::new(Mutex::new(writer));
        let here = (0..).zip(&stopped.functions).filter(|(number, _)| shared.is_here(*number));
        for (number, function) in here {
            match (function, ends.get(number as usize)) {
                (None, Some(Some(code))) => {
                    let state = RankState::Ended(*code);
                    let image = RankImage { number, state };
                    let mut writer = lock(&writer);
                    writer.rank(&image).map_err(SnapshotError::from)?;
                }
                (None, _) => return Err(Error::Ended { code: 0 }),
                (Some(_), _) => {
                    let writer = writer.clone();
                    shared.gate.with(number, move |cell| {
                        let mut writer = lock(&writer);
                        write_rank(&mut writer, number, cell)
                    })?;
                }
            }
        }
        let mut writer = lock(&writer);
        writer.commit().map_err(SnapshotError::from)?;
        Ok(())
    })
}

fn write_rank(
    writer: &mut Writer<BufWriter<File>>,
    number: u32,
    cell: &mut crate::cell::Cell,
) -> Result<()> {
    let state = RankState::Stopped(cell.save_seat()?);
    writer.rank(&RankImage { number, state }).map_err(SnapshotError::from)?;
    cell.write_pages(writer, &cell.own_pages(), true)?;
    cell.write_rest(writer)
}

/// What is known while a file is read.
struct Reading<'a, C> {
    shared: Arc<Shared>,
    world: Arc<mpi::World>,
    config: C,
    limits: &'a Limits,
    members: Vec<Member>,
    /// The rank whose sections come now, with what the engine saved of it.
    current: Option<(Member, Vec<u8>)>,
    /// Ranks that were read.
    seen: u32,
}

/// Reads all ranks from a file.
pub(super) fn read(
    program: &Arc<Program>,
    path: &Path,
    config: impl FnMut(u32) -> Result<wasi::Config>,
    limits: &Limits,
) -> Result<Tissue> {
    program.unwind_area()?;
    let mut reader = Reader::new(BufReader::new(open(path)?))?;
    let Some(Section::Identity(identity)) = reader.next()? else {
        return Err(SnapshotError::Incomplete.into());
    };
    crate::cell::check_module(&identity, program.digest())?;
    let Some(Section::Tissue(image)) = reader.next()? else {
        return Err(malformed("this is not a snapshot of the ranks of an MPI program").into());
    };
    let world = mpi::World::restored(image.size, mpi::Config::default(), &image.world)
        .map_err(Error::Mpi)?;
    let shared = Shared::new(program, image.size, identity.sequence, None);
    let mut reading =
        Reading { shared, world, config, limits, members: Vec::new(), current: None, seen: 0 };
    let mut complete = false;
    while let Some(section) = reader.next()? {
        match section {
            Section::Rank(image) => reading.rank(image)?,
            Section::Commit { .. } => {
                reading.finish_rank()?;
                complete = true;
            }
            section => reading.section(&section)?,
        }
    }
    if !complete || reading.seen != image.size {
        return Err(SnapshotError::Incomplete.into());
    }
    reading.world.resume().map_err(Error::Mpi)?;
    reading.shared.begin(reading.world, reading.members);
    Ok(Tissue { shared: reading.shared })
}

impl<C: FnMut(u32) -> Result<wasi::Config>> Reading<'_, C> {
    fn rank(&mut self, image: RankImage) -> Result<()> {
        self.finish_rank()?;
        if image.number != self.seen {
            return Err(malformed("its ranks are not in order").into());
        }
        self.seen += 1;
        match image.state {
            RankState::Running => return Err(malformed("a rank runs").into()),
            RankState::Ended(code) => self.shared.has_ended(image.number, code),
            RankState::Stopped(engine) => {
                let config = (self.config)(image.number)?;
                let mut member = Member::empty(&self.shared, image.number, config, self.limits)?;
                member.cell().assume_suspended();
                self.current = Some((member, engine));
            }
        }
        Ok(())
    }

    fn section(&mut self, section: &Section) -> Result<()> {
        let Some((member, _)) = &mut self.current else {
            return Err(malformed("a section belongs to no rank").into());
        };
        if let Section::Wasi(image) = section {
            let config = (self.config)(member.number())?;
            member.cell().apply_wasi(image, config)?;
        }
        member.cell().apply(section)?;
        Ok(())
    }

    /// Seats the rank whose sections were read: its memory has the size it had.
    fn finish_rank(&mut self) -> Result<()> {
        if let Some((mut member, image)) = self.current.take() {
            let number = member.number();
            member.cell().restore_seat(&self.world, number, &image)?;
            self.members.push(member);
        }
        Ok(())
    }
}

fn malformed(reason: &str) -> SnapshotError {
    SnapshotError::Malformed { section: "rank", reason: reason.to_owned() }
}
