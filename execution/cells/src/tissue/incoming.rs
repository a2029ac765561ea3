//! Ranks that come from one other site; `outgoing` says how.

use super::{
    Shared,
    member::Member,
    outgoing::{COMPLETE, TAKEN},
};
use crate::{
    error::{Error, Result},
    snapshot::{Identity, RankImage, RankState, Reader, Section, SnapshotError},
};
use std::{
    io::{BufReader, Read, Write},
    net::TcpStream,
    sync::Arc,
};

/// A rank that has come, and what MPI knows of it.
pub(super) type Arrival = (Member, Vec<u8>);

/// What has come from one site, or is read from a snapshot.
pub(super) struct Incoming<'a> {
    shared: &'a Arc<Shared>,
    /// Whether a rank is to come.
    wanted: &'a dyn Fn(u32) -> bool,
    members: Vec<(Member, Option<Vec<u8>>)>,
    /// The one whose sections come now; none for what is skipped.
    current: Option<usize>,
    world: Option<Vec<u8>>,
    ended: Vec<(u32, u32)>,
    complete: bool,
}

/// All that came.
pub(super) struct Arrived {
    pub(super) members: Vec<Arrival>,
    /// What belongs to no rank.
    pub(super) world: Vec<u8>,
    /// Ranks that have ended, and how.
    pub(super) ended: Vec<(u32, u32)>,
}

impl<'a> Incoming<'a> {
    fn new(shared: &'a Arc<Shared>, wanted: &'a dyn Fn(u32) -> bool) -> Self {
        let (members, current, world, ended) = Default::default();
        Self { shared, wanted, members, current, world, ended, complete: false }
    }

    /// Takes in what another site sends, and tells it so.
    pub(super) fn receive(
        shared: &'a Arc<Shared>,
        mut stream: &TcpStream,
        wanted: &'a dyn Fn(u32) -> bool,
        aborted: &dyn Fn() -> bool,
    ) -> Result<Arrived> {
        let failed = |error: std::io::Error| Error::Handover(format!("the source: {error}"));
        // A round of pages may take long, and before it the source waits to be asked for it.
        stream.set_read_timeout(None).map_err(failed)?;
        let mut incoming = Self::new(shared, wanted);
        let mut reader = Reader::new(BufReader::with_capacity(256 << 10, stream))?;
        let mut begun = false;
        while !incoming.complete {
            let section = reader.next()?.ok_or(SnapshotError::Incomplete)?;
            if aborted() {
                return Err(Error::Handover("the migration was aborted".into()));
            }
            let opens_a_pass = matches!(section, Section::Identity(_));
            incoming.take(section)?;
            if opens_a_pass && std::mem::replace(&mut begun, true) {
                stream.write_all(&[TAKEN]).map_err(failed)?;
            }
        }
        let arrived = incoming.finish()?;
        stream.write_all(&[COMPLETE]).map_err(failed)?;
        Ok(arrived)
    }

    /// Reads the wanted ranks of a snapshot.
    pub(super) fn read(
        shared: &'a Arc<Shared>,
        source: impl Read,
        wanted: &'a dyn Fn(u32) -> bool,
    ) -> Result<Arrived> {
        let mut incoming = Self::new(shared, wanted);
        let mut reader = Reader::new(BufReader::with_capacity(256 << 10, source))?;
        while let Some(section) = reader.next()? {
            incoming.take(section)?;
        }
        incoming.finish()
    }

    fn take(&mut self, section: Section) -> Result<()> {
        match section {
            Section::Identity(identity) => self.check(&identity)?,
            Section::Tissue(image) => {
                if image.size != self.shared.size() {
                    return Err(malformed("it has another number of ranks").into());
                }
                self.world = Some(image.world);
            }
            Section::Rank(image) => self.rank(image)?,
            Section::Commit { .. } => self.complete = true,
            Section::Service(_) => {
                return Err(malformed("it has a section of a service").into());
            }
            section => self.section(&section)?,
        }
        Ok(())
    }

    fn check(&self, identity: &Identity) -> Result<()> {
        Ok(crate::cell::check_module(identity, self.shared.program.digest())?)
    }

    fn rank(&mut self, RankImage { number, state }: RankImage) -> Result<()> {
        self.current = None;
        if number >= self.shared.size() {
            return Err(malformed("it has ranks that do not exist").into());
        }
        let wanted = (self.wanted)(number);
        match state {
            RankState::Ended(code) => self.ended.push((number, code)),
            _ if !wanted => {}
            RankState::Running => self.current = Some(self.member(number)?),
            RankState::Stopped(image) => {
                let index = self.member(number)?;
                let (_, known) = &mut self.members[index];
                if known.replace(image).is_some() {
                    return Err(malformed("a rank comes twice").into());
                }
                self.current = Some(index);
            }
        }
        Ok(())
    }

    /// The place of a rank among those that come.
    fn member(&mut self, number: u32) -> Result<usize> {
        let known = self.members.iter().position(|(member, _)| member.number() == number);
        if let Some(index) = known {
            return Ok(index);
        }
        let mut member = self.shared.make(number)?;
        member.cell().assume_suspended();
        self.members.push((member, None));
        Ok(self.members.len() - 1)
    }

    fn section(&mut self, section: &Section) -> Result<()> {
        let Some(index) = self.current else {
            return Ok(());
        };
        let (member, _) = &mut self.members[index];
        if let Section::Wasi(image) = section {
            let config = self.shared.config(member.number())?;
            member.cell().apply_wasi(image, config)?;
        }
        Ok(member.cell().apply(section)?)
    }

    fn finish(self) -> Result<Arrived> {
        let world = self.world.filter(|_| self.complete).ok_or(SnapshotError::Incomplete)?;
        let whole = |(member, image): (Member, Option<Vec<u8>>)| Some((member, image?));
        // One of which only memory came has ended since.
        let members = self.members.into_iter().filter_map(whole).collect();
        Ok(Arrived { members, world, ended: self.ended })
    }
}

fn malformed(reason: &str) -> SnapshotError {
    SnapshotError::Malformed { section: "rank", reason: reason.to_owned() }
}
