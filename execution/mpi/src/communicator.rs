//! Communicators.

use crate::{
    abi,
    attribute::{Attributes, Holder},
    collective::{Fast, Plan, Round},
    engine::{Blame, Cb, Engine},
    error::{Result, ensure, fault},
    graph::Graph,
    offer::Entry,
    site::gather::Spread,
    topology::Grid,
    window::Sync,
    world::CONTEXTS_MAX,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// What the members of a communicator share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) context: u32,
    /// The members by their ranks in the world.
    pub(crate) members: Vec<u32>,
    /// Whether a member's rank is its rank in the world.
    identity: bool,
    /// Where they are, if not all are at this site.
    pub(crate) spread: Option<Box<Spread>>,
    fast: OnceLock<Fast>,
    pub(crate) rounds: Mutex<HashMap<u64, Arc<Round>>>,
    /// The locks of the window that this communicator belongs to, if any.
    sync: OnceLock<Sync>,
    /// How far each member is: zero until it has the communicator, and then one more than the
    /// rounds that it entered.
    progress: Vec<AtomicU64>,
}

impl Shared {
    pub(crate) fn new(context: u32, members: Vec<u32>) -> Self {
        let identity = members.iter().enumerate().all(|(rank, member)| rank as u32 == *member);
        let count = members.len();
        Self {
            context,
            members,
            identity,
            spread: None,
            fast: OnceLock::new(),
            rounds: Mutex::default(),
            sync: OnceLock::new(),
            progress: (0..count).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// The same, where its members are at several sites.
    pub(crate) fn over(self, spread: Option<Spread>) -> Self {
        Self { spread: spread.map(Box::new), ..self }
    }

    pub(crate) fn fast(&self) -> &Fast {
        self.fast.get_or_init(|| Fast::new(self.members.len()))
    }

    /// The slots, if anything was ever put into them.
    pub(crate) fn known_fast(&self) -> Option<&Fast> {
        self.fast.get()
    }

    pub(crate) fn sync(&self) -> &Sync {
        self.sync.get_or_init(|| Sync::new(self.members.len()))
    }

    /// The same, if it was ever used.
    pub(crate) fn known_sync(&self) -> Option<&Sync> {
        self.sync.get()
    }

    /// The members at this site, in order.
    pub(crate) fn near(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        let spread = self.spread.as_deref();
        let count = spread.map_or(self.members.len(), |spread| spread.near().len());
        (0..count).map(move |place| spread.map_or(place, |spread| spread.near()[place]))
    }

    /// How far a member is; see `progress`.
    pub(crate) fn progress(&self, member: usize) -> u64 {
        self.progress[member].load(Ordering::Acquire)
    }

    /// The same for members that are restored.
    pub(crate) fn set_progress(&self, member: usize, progress: u64) {
        self.progress[member].fetch_max(progress, Ordering::AcqRel);
    }

    /// A member enters a round; to be called while the rounds are locked.
    pub(crate) fn enter(&self, member: usize, round: u64) {
        self.progress[member].store(round + 1, Ordering::Release);
    }

    /// Whether all members here have entered a round.
    pub(crate) fn all_entered(&self, round: u64) -> bool {
        self.near().all(|member| self.progress(member) > round)
    }

    /// Whether all members here have the communicator, and so have the other sites.
    pub(crate) fn is_settled(&self) -> bool {
        let ready = self.spread.as_ref().is_none_or(|spread| spread.is_ready());
        ready && self.near().all(|member| self.progress(member) > 0)
    }

    /// A member's rank in the world.
    #[inline]
    pub(crate) fn member(&self, rank: i32) -> Result<u32> {
        let member = usize::try_from(rank).ok().and_then(|rank| self.members.get(rank));
        member.copied().ok_or_else(|| {
            fault(abi::ERR_RANK, format!("there is no rank {rank} among {}", self.members.len()))
        })
    }

    /// The rank of a member of the world.
    #[inline]
    pub(crate) fn rank_of(&self, world: u32) -> Option<u32> {
        if self.identity {
            return ((world as usize) < self.members.len()).then_some(world);
        }
        self.members.iter().position(|member| *member == world).map(|rank| rank as u32)
    }
}

/// A communicator as one rank sees it.
#[derive(Debug)]
pub(crate) struct Communicator {
    pub(crate) shared: Arc<Shared>,
    pub(crate) rank: u32,
    pub(crate) rounds: u64,
    pub(crate) fast_rounds: u64,
    pub(crate) name: String,
    pub(crate) handler: i32,
    pub(crate) attributes: Attributes,
    pub(crate) grid: Option<Grid>,
    pub(crate) graph: Option<Graph>,
}

impl Communicator {
    pub(crate) fn new(shared: Arc<Shared>, rank: u32, name: &str) -> Self {
        Self {
            shared,
            rank,
            rounds: 0,
            fast_rounds: 0,
            name: name.to_owned(),
            handler: abi::ERRORS_ARE_FATAL,
            attributes: Attributes::default(),
            grid: None,
            graph: None,
        }
    }
}

impl Engine {
    /// A communicator by its handle; errors from now on are its own.
    #[inline]
    pub(crate) fn communicator(&mut self, handle: i32) -> Result<&Communicator> {
        self.communicator_mut(handle).map(|known| &*known)
    }

    #[inline]
    pub(crate) fn communicator_mut(&mut self, handle: i32) -> Result<&mut Communicator> {
        match self.communicators.get_mut(handle) {
            Some(communicator) => {
                self.blame = Blame::Communicator(handle);
                Ok(communicator)
            }
            None => Err(fault(abi::ERR_COMM, format!("there is no communicator {handle}"))),
        }
    }

    /// Adds a communicator whose parent's error handler it keeps; gives its handle.
    pub(crate) fn adopt(&mut self, parent: i32, shared: Arc<Shared>) -> Result<i32> {
        let handler = self.communicator(parent)?.handler;
        let Some(rank) = shared.rank_of(self.me) else { return Ok(abi::COMM_NULL) };
        self.world.taken(&shared, self.me);
        let new = Communicator { handler, ..Communicator::new(shared, rank, "") };
        Ok(self.communicators.add(new))
    }

    pub(crate) fn comm_size(&mut self, _: Cb<'_>, comm: i32, size: u32) -> Result {
        let members = self.communicator(comm)?.shared.members.len();
        self.space.write_i32(size, members as i32)
    }

    pub(crate) fn comm_rank(&mut self, _: Cb<'_>, comm: i32, rank: u32) -> Result {
        let own = self.communicator(comm)?.rank;
        self.space.write_i32(rank, own as i32)
    }

    pub(crate) fn comm_compare(
        &mut self,
        _: Cb<'_>,
        comm1: i32,
        comm2: i32,
        result: u32,
    ) -> Result {
        let first = Arc::clone(&self.communicator(comm1)?.shared);
        let second = Arc::clone(&self.communicator(comm2)?.shared);
        let found = match first.context == second.context {
            true => abi::IDENT,
            false => match crate::group::compare(&first.members, &second.members) {
                abi::IDENT => abi::CONGRUENT,
                other => other,
            },
        };
        self.space.write_i32(result, found)
    }

    pub(crate) fn comm_dup(&mut self, cb: Cb<'_>, comm: i32, newcomm: u32) -> Result {
        self.space.check_place(newcomm)?;
        let known = self.communicator(comm)?;
        let members = known.shared.members.clone();
        let shared = self.make_together(cb, comm, members)?;
        let handle = self.adopt(comm, shared)?;
        self.copy_extras(cb, comm, handle)?;
        self.space.write_i32(newcomm, handle)
    }

    /// Gives a duplicate the topology of its original, and the attributes that are to be copied.
    fn copy_extras(&mut self, cb: Cb<'_>, from: i32, to: i32) -> Result {
        let known = self.communicator(from)?;
        let (grid, graph) = (known.grid.clone(), known.graph.clone());
        let attributes = self.copied_attributes(cb, Holder::Communicator, from)?;
        let new = self.communicator_mut(to)?;
        (new.grid, new.graph, new.attributes) = (grid, graph, attributes);
        Ok(())
    }

    pub(crate) fn comm_dup_with_info(
        &mut self,
        cb: Cb<'_>,
        comm: i32,
        info: i32,
        newcomm: u32,
    ) -> Result {
        self.info(info)?;
        self.comm_dup(cb, comm, newcomm)
    }

    /// Duplicates a communicator under a request: it may be used once its first member has told
    /// its number.
    pub(crate) fn comm_idup(
        &mut self,
        cb: Cb<'_>,
        comm: i32,
        newcomm: u32,
        request: u32,
    ) -> Result {
        self.space.check_place(request)?;
        self.space.check_place(newcomm)?;
        let known = self.communicator(comm)?;
        let members = known.shared.members.clone();
        let unnumbered = Arc::new(Shared::new(CONTEXTS_MAX, members.clone()));
        let handle = self.adopt(comm, unnumbered)?;
        self.copy_extras(cb, comm, handle)?;
        self.space.write_i32(newcomm, handle)?;
        let offer = self.number_for(&members)?;
        let operation = self.begin(comm, -1, offer, None, Plan::Adopt { handle, members })?;
        self.conduct(cb, comm, operation, Some(request))
    }

    pub(crate) fn comm_create(
        &mut self,
        cb: Cb<'_>,
        comm: i32,
        group: i32,
        newcomm: u32,
    ) -> Result {
        self.space.check_place(newcomm)?;
        let members = self.group(group)?.to_vec();
        self.inside(comm, &members)?;
        let mine = members.contains(&self.me);
        // Those who are in no group take part all the same.
        let members = if mine { members } else { Vec::new() };
        let shared = self.make_together(cb, comm, members)?;
        let handle = self.adopt(comm, shared)?;
        self.space.write_i32(newcomm, handle)
    }

    fn inside(&mut self, comm: i32, members: &[u32]) -> Result {
        let shared = &self.communicator(comm)?.shared;
        let inside = members.iter().all(|member| shared.rank_of(*member).is_some());
        ensure(inside, abi::ERR_GROUP, || "the group is not part of the communicator".to_owned())
    }

    pub(crate) fn comm_create_group(
        &mut self,
        cb: Cb<'_>,
        comm: i32,
        group: i32,
        tag: i32,
        newcomm: u32,
    ) -> Result {
        self.space.check_place(newcomm)?;
        let members = self.group(group)?.to_vec();
        self.inside(comm, &members)?;
        if !members.contains(&self.me) {
            return self.space.write_i32(newcomm, abi::COMM_NULL);
        }
        let parent = Arc::clone(&self.communicator(comm)?.shared);
        let context = self.agree(cb, &parent, tag, &members)?;
        let shared = self.world.shared(context, members)?;
        let handle = self.adopt(comm, shared)?;
        self.space.write_i32(newcomm, handle)
    }

    pub(crate) fn comm_split(
        &mut self,
        cb: Cb<'_>,
        comm: i32,
        color: i32,
        key: i32,
        newcomm: u32,
    ) -> Result {
        self.space.check_place(newcomm)?;
        ensure(color >= 0 || color == abi::UNDEFINED, abi::ERR_ARG, || {
            format!("the colour {color} is negative")
        })?;
        let handle = self.split(cb, comm, color, key)?;
        self.space.write_i32(newcomm, handle)
    }

    /// Splits a communicator by colour; gives the handle of this rank's part.
    pub(crate) fn split(&mut self, cb: Cb<'_>, comm: i32, color: i32, key: i32) -> Result<i32> {
        // Who will be the first of a part, and so number it, is not known yet.
        let again = self.is_replaying() || color == abi::UNDEFINED;
        let number = if again { 0 } else { self.world.new_context(self.me)? };
        let words = [color.to_le_bytes(), key.to_le_bytes(), number.to_le_bytes()];
        let round = self.exchange(cb, comm, words.concat())?;
        let told = |entry: &Entry| {
            let (words, _) = entry.data().as_chunks::<4>();
            let word = |place: usize| words.get(place).copied().unwrap_or_default();
            (i32::from_le_bytes(word(0)), i32::from_le_bytes(word(1)), u32::from_le_bytes(word(2)))
        };
        // A rank that was moved meanwhile may be where another colour is given.
        let color = round.round.entry(round.me).map_or(color, |entry| told(entry).0);
        if color == abi::UNDEFINED {
            return Ok(abi::COMM_NULL);
        }
        let all = round.shared.members.iter().zip(round.entries());
        let all = all.map(|(member, entry)| (*member, told(entry)));
        let mut part: Vec<_> = all.filter(|(_, (its_color, ..))| *its_color == color).collect();
        // Equal keys keep the order of the parent.
        part.sort_by_key(|(_, (_, key, _))| *key);
        let number = part.first().map_or(0, |(_, (.., number))| *number);
        let members = part.into_iter().map(|(member, _)| member).collect();
        let shared = self.world.shared(number, members)?;
        self.adopt(comm, shared)
    }

    pub(crate) fn comm_split_type(
        &mut self,
        cb: Cb<'_>,
        comm: i32,
        split_type: i32,
        key: i32,
        info: i32,
        newcomm: u32,
    ) -> Result {
        self.space.check_place(newcomm)?;
        self.info(info)?;
        ensure(matches!(split_type, abi::COMM_TYPE_SHARED | abi::UNDEFINED), abi::ERR_ARG, || {
            format!("{split_type} is no type to split by")
        })?;
        // All ranks of a site run on one machine.
        let here = self.world.site() as i32;
        let color = if split_type == abi::UNDEFINED { abi::UNDEFINED } else { here };
        let handle = self.split(cb, comm, color, key)?;
        self.space.write_i32(newcomm, handle)
    }

    pub(crate) fn comm_free(&mut self, cb: Cb<'_>, comm: u32) -> Result {
        let handle = self.space.read_i32(comm)?;
        self.communicator(handle)?;
        ensure(handle > abi::COMM_SELF, abi::ERR_COMM, || {
            "a predefined communicator can not be freed".to_owned()
        })?;
        self.delete_attributes(cb, Holder::Communicator, handle)?;
        self.communicators.remove(handle);
        self.blame = Blame::Communicator(abi::COMM_WORLD);
        self.space.write_i32(comm, abi::COMM_NULL)
    }

    pub(crate) fn comm_disconnect(&mut self, cb: Cb<'_>, comm: u32) -> Result {
        let handle = self.space.read_i32(comm)?;
        self.exchange(cb, handle, Vec::new())?;
        self.comm_free(cb, comm)
    }

    pub(crate) fn comm_set_name(&mut self, _: Cb<'_>, comm: i32, name: u32) -> Result {
        let name = self.space.string(name, abi::MAX_OBJECT_NAME as usize - 1)?;
        self.communicator_mut(comm)?.name = name;
        Ok(())
    }

    pub(crate) fn comm_get_name(&mut self, _: Cb<'_>, comm: i32, name: u32, length: u32) -> Result {
        let text = self.communicator(comm)?.name.clone();
        let len = self.space.write_string(name, &text, abi::MAX_OBJECT_NAME as usize)?;
        self.space.write_i32(length, len)
    }

    pub(crate) fn comm_test_inter(&mut self, _: Cb<'_>, comm: i32, flag: u32) -> Result {
        self.communicator(comm)?;
        self.space.write_i32(flag, 0)
    }

    pub(crate) fn comm_group(&mut self, _: Cb<'_>, comm: i32, group: u32) -> Result {
        let members: Arc<[u32]> = self.communicator(comm)?.shared.members.as_slice().into();
        self.add_group(members, group)
    }
}
