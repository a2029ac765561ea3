//! What belongs to no rank: the communicators that a site knows, with what their members there gave
//! to each other and to those elsewhere.
//!
//! Collectives that are under way are told by value, so that whoever takes part in them can go on
//! anywhere. The parts of all sites are put together where ranks are restored.

use super::{Restoring, check_head, head, refused};
use crate::{
    Config, Link, Placement,
    collective::saved::{Gathered, ToldRound, ToldSlot},
    communicator::Shared,
    error::{Abort, Fault},
    image::{Damaged, Decoded, Reader, Wire, Writer, ascending, sound, wire_struct},
    site::gather::Spread,
    window::saved::ToldSync,
    world::{CONTEXTS_MAX, STOPPING, World, lock},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

const PART: &[u8; 8] = b"CSKMPIW\0";
/// How far members are that will do nothing more in a communicator.
const FORGOTTEN: u64 = 1 << 61;
/// Places in the open rounds of one world.
const PLACES_MAX: usize = 1 << 20;

/// A communicator, as one site tells it.
#[derive(Debug)]
struct Told {
    context: u32,
    members: Vec<u32>,
    /// How far each member there is.
    progress: Vec<(usize, u64)>,
    /// The members elsewhere whose sites have it, or had it until they forgot it.
    made: Vec<usize>,
    /// What all members put into their slots: sites may have forgotten those of their own.
    slots: Vec<(usize, Vec<ToldSlot>)>,
    syncs: Vec<ToldSync>,
    rounds: Vec<ToldRound>,
}

wire_struct!(Told { context, members, progress, made, slots, syncs, rounds });

impl Told {
    fn of(shared: &Shared, world: &World) -> Result<Self, Fault> {
        let told = |member| Some((member, shared.known_fast()?.tell(member)));
        let slots = (0..shared.members.len()).filter_map(told);
        Ok(Self {
            context: shared.context,
            members: shared.members.clone(),
            progress: shared.near().map(|member| (member, shared.progress(member))).collect(),
            made: shared.spread.as_ref().map_or(Vec::new(), |spread| spread.made()),
            slots: slots.filter(|(_, slots)| !slots.is_empty()).collect(),
            syncs: match shared.known_sync() {
                Some(sync) => shared.near().map(|member| sync.tell(member)).collect(),
                None => Vec::new(),
            },
            rounds: shared.tell_rounds(world)?,
        })
    }
}

/// One site's part of a world.
#[derive(Debug)]
struct Part {
    moment: u64,
    size: u32,
    ranks: Vec<u32>,
    gone: Vec<u32>,
    communicators: Vec<Told>,
}

wire_struct!(Part { moment, size, ranks, gone, communicators });

impl World {
    /// Fails unless all ranks of this site have stopped or finished, and nothing is on its way to
    /// other sites.
    pub(super) fn check_rest(&self) -> Result<(), Abort> {
        if self.state.load(Ordering::SeqCst) != STOPPING || !self.stops.all_rest() {
            return Err(refused("only a world whose ranks have all stopped can be saved".into()));
        }
        let flushed = |sites: &crate::site::Sites| sites.flushed.load(Ordering::SeqCst);
        if !self.sites.as_deref().is_none_or(flushed) {
            let reason = "the links to the other sites are to be flushed before ranks are saved";
            return Err(refused(reason.into()));
        }
        Ok(())
    }

    /// What belongs to no rank of this site's part of a world that has stopped, as
    /// [`Rank::save`](crate::Rank::save) says.
    ///
    /// # Errors
    ///
    /// When some rank runs, or too much is under way.
    pub fn save(&self) -> Result<Vec<u8>, Abort> {
        self.check_rest()?;
        let here = (0..self.size()).filter(|rank| self.beyond(*rank).is_none());
        let ranks: Vec<u32> = here.collect();
        let gone = ranks.iter().copied().filter(|rank| self.is_gone(*rank)).collect();
        let shareds = lock(&self.known).all();
        let communicators = shareds.iter().map(|shared| Told::of(shared, self));
        let communicators = communicators.collect::<Result<Vec<_>, _>>().map_err(|fault| {
            let reason = match fault {
                Fault::Failure(failure) => failure.detail,
                Fault::Abort(abort) => return abort,
            };
            refused(format!("a collective that is under way can not be saved: {reason}"))
        })?;
        let places = |told: &Told| told.rounds.len() * told.members.len();
        if communicators.iter().map(places).sum::<usize>() > PLACES_MAX {
            return Err(refused("too many collectives are under way to be saved".into()));
        }
        let (moment, size) = (self.moment(), self.size());
        let mut image = Writer::new(self, &[]);
        image.bytes = head(PART);
        Part { moment, size, ranks, gone, communicators }.put(&mut image);
        Ok(image.bytes)
    }

    /// A world of one site, from the image of one that was at one site too. For all others there is
    /// [`World::restored_spread`].
    ///
    /// # Errors
    ///
    /// When the image is not that of a world of so many ranks, or is damaged.
    pub fn restored(size: u32, config: Config, image: &[u8]) -> Result<Arc<Self>, Abort> {
        Self::allowed(size)?;
        Self::with_size(size, config, None).furnished().put_together(&[image])
    }

    /// This site's part of a world as it was saved, without its ranks, which may be at other sites
    /// than before. It needs what [`World::save`] gave at *every* site that the ranks were at, in
    /// any order, and then the image of each rank that is now here, for [`World::restore_rank`].
    /// Once all parts have all of their ranks, [`World::resume`] at each lets them go on. Frames of
    /// parts that go on may come before it is called here, though not before all ranks are restored.
    ///
    /// # Errors
    ///
    /// When the placement is not that of such a world, or the images are damaged, or do not belong
    /// together.
    pub fn restored_spread(
        size: u32,
        config: Config,
        placement: Placement,
        link: Arc<dyn Link>,
        images: &[&[u8]],
    ) -> Result<Arc<Self>, Abort> {
        Self::part(size, config, placement, link)?.put_together(images)
    }

    fn put_together(mut self, images: &[&[u8]]) -> Result<Arc<Self>, Abort> {
        let damaged = |damaged: Damaged| {
            refused(format!("the image of the MPI world can not be used: {}", damaged.0))
        };
        // Parts are read before there are threads that know of the world.
        let reader = Self::nowhere();
        let parts = images.iter().map(|image| Part::read(&reader, image));
        let parts = parts.collect::<Decoded<Vec<_>>>().map_err(damaged)?;
        let moments = self.check_parts(&parts).map_err(damaged)?;
        self.before = Duration::from_nanos(moments.iter().copied().max().unwrap_or(0));
        self.state.store(STOPPING, Ordering::SeqCst);
        self.stops.set_age(self.before);
        if let Some(sites) = &self.sites {
            sites.flushed.store(true, Ordering::SeqCst);
        }
        parts.iter().flat_map(|part| &part.gone).for_each(|rank| self.leave(*rank));
        let shareds = self.restore_parts(parts).map_err(damaged)?;
        *lock(&self.restoring) = Some(Restoring { moments, shareds, ..Restoring::default() });
        self.begun()
    }

    /// When each rank was saved, if the parts tell of each rank once.
    fn check_parts(&self, parts: &[Part]) -> Decoded<Vec<u64>> {
        let mut moments = vec![None; self.size() as usize];
        for part in parts {
            sound(part.size == self.size(), "it has another number of ranks")?;
            ascending(part.ranks.iter())?;
            ascending(part.gone.iter())?;
            for rank in &part.ranks {
                let place = moments.get_mut(*rank as usize);
                let place = place.filter(|place| place.is_none());
                let twice = || Damaged::because("two images tell of one rank, or of none that is");
                *place.ok_or_else(twice)? = Some(part.moment);
            }
            let own = part.gone.iter().all(|rank| part.ranks.binary_search(rank).is_ok());
            sound(own, "it tells of ranks that were not there")?;
        }
        let moments: Option<Vec<u64>> = moments.into_iter().collect();
        moments.ok_or_else(|| Damaged::because("the image of another site is missing"))
    }

    fn restore_parts(&self, parts: Vec<Part>) -> Decoded<HashMap<u32, Arc<Shared>>> {
        let mut by_context: BTreeMap<u32, (Vec<u32>, Vec<Told>)> = BTreeMap::new();
        let mut places = 0;
        for part in parts {
            let mut there = vec![false; self.size() as usize];
            part.ranks.iter().for_each(|rank| there[*rank as usize] = true);
            for told in part.communicators {
                self.check_members(&told.members)?;
                told.check(&there)?;
                places += told.rounds.len() * told.members.len();
                sound(places <= PLACES_MAX, "too many collectives are under way")?;
                let new = || (told.members.clone(), Vec::new());
                let (members, all) = by_context.entry(told.context).or_insert_with(new);
                sound(*members == told.members, "two sites tell of other members")?;
                all.push(told);
            }
        }
        let mut shareds = HashMap::new();
        for (context, (members, all)) in by_context {
            if let Some(shared) = self.restore_communicator(context, members, all)? {
                shareds.insert(context, shared);
            }
        }
        Ok(shareds)
    }

    /// A communicator as all sites tell it; nothing if it has no members here.
    fn restore_communicator(
        &self,
        context: u32,
        members: Vec<u32>,
        told: Vec<Told>,
    ) -> Decoded<Option<Arc<Shared>>> {
        let alone = context.checked_sub(1).filter(|rank| *rank < self.size());
        let right = match (context, alone) {
            (0, _) => members == self.everyone.members,
            (_, Some(rank)) => members == [rank],
            _ => context < CONTEXTS_MAX,
        };
        sound(right, "a communicator has a number that it can not have")?;
        if members.iter().all(|member| self.beyond(*member).is_some()) {
            return Ok(None);
        }
        let shared = match context {
            0 => Arc::clone(&self.everyone),
            _ => {
                let spread = self.sites.as_deref().and_then(|sites| Spread::of(sites, &members));
                if let Some(spread) = &spread {
                    // Every site with a member restores it.
                    spread.others().for_each(|site| spread.made_at(site));
                }
                Arc::new(Shared::new(context, members).over(spread))
            }
        };
        shared.hear(told)?;
        lock(&self.known).add(&shared);
        Ok(Some(shared))
    }
}

impl Part {
    fn read(nowhere: &Arc<World>, image: &[u8]) -> Decoded<Self> {
        let mut from = Reader::new(nowhere, 0, image);
        check_head(PART, &mut from)?;
        let part = Wire::get(&mut from)?;
        from.end()?;
        Ok(part)
    }
}

impl Told {
    /// Fails unless it tells of members that were there.
    fn check(&self, there: &[bool]) -> Decoded {
        ascending(self.progress.iter().map(|(member, _)| member))?;
        ascending(self.made.iter())?;
        ascending(self.slots.iter().map(|(member, _)| member))?;
        ascending(self.syncs.iter().map(|sync| sync.member))?;
        ascending(self.rounds.iter().map(|round| round.number))?;
        self.rounds.iter().try_for_each(ToldRound::check)?;
        let member =
            |member: usize| self.members.get(member).is_some_and(|member| there[*member as usize]);
        let own = self.progress.iter().all(|(place, _)| member(*place))
            && self.syncs.iter().all(|sync| member(sync.member))
            && self.rounds.iter().all(|round| round.left.iter().all(|place| member(*place)));
        sound(own, "it tells of ranks that were not there")?;
        let mut named = self.slots.iter().map(|(member, _)| member).chain(&self.made);
        let exist = named.all(|member| *member < self.members.len());
        sound(exist, "it tells of members that do not exist")?;
        let numbers = self.progress.iter().map(|(_, progress)| *progress);
        let mut numbers = numbers.chain(self.rounds.iter().map(|round| round.number));
        sound(numbers.all(|number| number < 1 << 62), "a number is too large")
    }
}

impl Shared {
    /// Takes in what the sites told of it.
    fn hear(&self, told: Vec<Told>) -> Decoded {
        let mut rounds = BTreeMap::new();
        let mut present = vec![false; self.members.len()];
        let progress = told.iter().flat_map(|part| &part.progress);
        progress.for_each(|(member, _)| present[*member] = true);
        for part in &told {
            // Whose site had it and does not tell of it is through with it.
            for member in part.made.iter().filter(|member| !present[**member]) {
                self.set_progress(*member, FORGOTTEN);
            }
            for (member, progress) in &part.progress {
                self.set_progress(*member, *progress);
            }
            for (member, slots) in &part.slots {
                self.fast().hear(*member, slots)?;
            }
            for sync in &part.syncs {
                self.sync().hear(sync)?;
            }
        }
        for Told { progress, rounds: told, .. } in told {
            let there: Vec<usize> = progress.iter().map(|(member, _)| *member).collect();
            for round in told {
                let members = 0..self.members.len();
                let left = || members.map(|member| self.progress(member) > round.number).collect();
                let gathered = rounds.entry(round.number);
                gathered.or_insert_with(|| Gathered::new(left())).add(round, &there)?;
            }
        }
        let rounds = rounds.into_iter().filter_map(|(number, gathered): (u64, Gathered)| {
            Some((number, Arc::new(gathered.round(self)?)))
        });
        lock(&self.rounds).extend(rounds);
        Ok(())
    }
}
