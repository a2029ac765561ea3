//! Stops the ranks of a test at random moments, and lets them go on: as they are, or restored from
//! their images in a new world, with the same memories or with copies.

use crate::guest::{Guest, Linear, Part, spread, spread_by};
use mpi::{Config, Memory, NotStopped, Rank, World};
use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// How often one run of a program is stopped.
const STOPS: u32 = 40;

/// A rank that has stopped, with its memory.
struct Parked {
    rank: Rank,
    memory: Arc<Linear>,
}

/// Where ranks that have stopped wait to go on.
#[derive(Default)]
pub(crate) struct Desk {
    parked: Mutex<Vec<Option<Parked>>>,
    going: Mutex<Vec<Option<Parked>>>,
    changed: Condvar,
    /// Whether nobody is stopped any more.
    open: AtomicBool,
    /// Whether nobody is left who could let them go on.
    failed: AtomicBool,
    rounds: AtomicU32,
    /// The images of all worlds that were given up.
    snapshots: Mutex<Vec<Snapshot>>,
}

/// A world that has stopped, as bytes.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) size: u32,
    /// The images of its parts.
    pub(crate) parts: Vec<Vec<u8>>,
    pub(crate) ranks: Vec<(u32, Vec<u8>)>,
    /// The function that each rank makes again.
    pub(crate) functions: Vec<Option<&'static str>>,
}

/// How a run went.
pub(crate) struct Report {
    pub(crate) stops: u32,
    pub(crate) snapshots: Vec<Snapshot>,
}

/// Small random numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

impl Desk {
    fn new(ranks: u32) -> Self {
        let places = || Mutex::new((0..ranks).map(|_| None).collect());
        Self { parked: places(), going: places(), ..Self::default() }
    }

    /// Hands a rank in and waits until it may go on.
    pub(crate) fn park(&self, rank: Rank, memory: Arc<Linear>) -> (Rank, Arc<Linear>) {
        let me = rank.number() as usize;
        self.parked.lock().expect("a desk")[me] = Some(Parked { rank, memory });
        self.changed.notify_all();
        let mut going = self.going.lock().expect("a desk");
        loop {
            if let Some(Parked { rank, memory }) = going[me].take() {
                return (rank, memory);
            }
            if self.open.load(Ordering::SeqCst)
                && let Some(Parked { rank, memory }) =
                    self.parked.lock().expect("a desk")[me].take()
            {
                return (rank, memory);
            }
            assert!(!self.failed.load(Ordering::SeqCst), "the test has failed elsewhere");
            let limit = Duration::from_millis(1);
            going = self.changed.wait_timeout(going, limit).expect("a desk").0;
        }
    }

    /// Those that have stopped, once they have handed themselves in.
    fn collect(&self, stopped: usize) -> Vec<Parked> {
        let mut parked = self.parked.lock().expect("a desk");
        while parked.iter().flatten().count() < stopped {
            parked = self.changed.wait_timeout(parked, Duration::from_millis(1)).expect("a desk").0;
        }
        parked.iter_mut().filter_map(Option::take).collect()
    }

    fn release(&self, parked: Vec<Parked>) {
        let mut going = self.going.lock().expect("a desk");
        for parked in parked {
            let me = parked.rank.number() as usize;
            going[me] = Some(parked);
        }
        drop(going);
        self.changed.notify_all();
    }
}

/// Restores ranks that have stopped in a new world; the old one is given up.
fn transplant(
    world: &Arc<World>,
    parked: Vec<Parked>,
    copy: bool,
) -> (Arc<World>, Vec<Parked>, Snapshot) {
    let mut images = Vec::new();
    let image = world.save().expect("an image of the world");
    for mut parked in parked {
        let image = parked.rank.save().expect("an image");
        let again = parked.rank.save().expect("the same image");
        assert!(again == image, "images tell nothing but the state");
        images.push((parked.rank.number(), image, parked.memory));
    }
    let new = World::restored(world.size(), world.config().clone(), &image).expect("a world");
    let restore = |(number, image, memory): &(u32, Vec<u8>, Arc<Linear>)| {
        let memory = if copy { Arc::new(memory.copied()) } else { Arc::clone(memory) };
        let lent = Arc::clone(&memory) as Arc<dyn Memory>;
        let rank = new.restore_rank(*number, lent, image).expect("a restored rank");
        Parked { rank, memory }
    };
    let mut parked: Vec<_> = images.iter().map(restore).collect();
    for (Parked { rank, .. }, (_, image, _)) in parked.iter_mut().zip(&images) {
        let again = rank.save().expect("an image of what is restored");
        assert!(again == *image, "what is restored is what was saved");
    }
    assert!(new.save().expect("an image") == image, "the world too");
    let ranks = images.into_iter().map(|(number, image, _)| (number, image)).collect();
    let functions = Vec::new();
    (new, parked, Snapshot { size: world.size(), parts: vec![image], ranks, functions })
}

/// Ends what a test that fails leaves behind.
struct Guard<'a> {
    world: Arc<World>,
    desk: &'a Desk,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.world.end("the test has failed");
        }
        self.desk.open.store(true, Ordering::SeqCst);
    }
}

/// Lets some time pass.
fn pause(dice: &mut Dice) {
    let pause = if dice.roll(4) == 0 { dice.roll(500) } else { dice.roll(40) };
    let end = Instant::now() + Duration::from_micros(pause);
    while Instant::now() < end {
        std::thread::yield_now();
    }
}

/// Stops a world again and again until its ranks have finished.
fn disturb(world: Arc<World>, desk: &Desk, dice: &mut Dice) {
    let mut guard = Guard { world, desk };
    for _ in 0..STOPS {
        pause(dice);
        let world = Arc::clone(&guard.world);
        world.ask_to_stop();
        let functions = match world.wait_for_stop(Duration::from_secs(20)) {
            Ok(stopped) => stopped.functions,
            Err(NotStopped::Ended(_)) => return,
            Err(other) => panic!("{other}"),
        };
        let mut parked = desk.collect(functions.iter().flatten().count());
        if parked.is_empty() {
            return;
        }
        desk.rounds.fetch_add(1, Ordering::Relaxed);
        let way = dice.roll(3);
        if way > 0 {
            let (new, restored, snapshot) = transplant(&world, parked, way == 2);
            (guard.world, parked) = (new, restored);
            let snapshot = Snapshot { functions, ..snapshot };
            desk.snapshots.lock().expect("a desk").push(snapshot);
        }
        guard.world.resume().expect("all are there");
        desk.release(parked);
    }
}

/// Stops the parts of a world at several sites, all at about the same time.
fn disturb_parts(parts: &[Arc<World>], desk: &Desk, dice: &mut Dice) {
    let _guards: Vec<_> =
        parts.iter().map(|world| Guard { world: Arc::clone(world), desk }).collect();
    for _ in 0..STOPS {
        pause(dice);
        parts.iter().for_each(|world| world.ask_to_stop());
        let mut stopped = 0;
        for world in parts {
            match world.wait_for_stop(Duration::from_secs(20)) {
                Ok(at_rest) => stopped += at_rest.functions.iter().flatten().count(),
                Err(NotStopped::Ended(_)) => return,
                Err(other) => panic!("{other}"),
            }
        }
        let parked = desk.collect(stopped);
        if parked.is_empty() {
            return;
        }
        for world in parts {
            world.flush_links(Duration::from_secs(20)).expect("an answer");
        }
        desk.rounds.fetch_add(1, Ordering::Relaxed);
        parts.iter().for_each(|world| world.resume().expect("all are there"));
        desk.release(parked);
    }
}

/// Runs a program at these sites, whose ranks are stopped now and then; gives how often they were.
pub(crate) fn run_spread(
    sites: &[u32],
    bytes: usize,
    config: &Config,
    seed: u64,
    program: &(impl Fn(&mut Guest) + Sync),
) -> u32 {
    let parts = spread(sites, config);
    let desk = Arc::new(Desk::new(sites.len() as u32));
    std::thread::scope(|scope| {
        for (number, site) in sites.iter().enumerate() {
            let (world, _) = parts.iter().find(|(world, _)| world.site() == *site).expect("a part");
            let mut guest = Guest::new(world, number as u32, bytes);
            guest.desk = Some(Arc::clone(&desk));
            scope.spawn(move || program(&mut guest));
        }
        let worlds: Vec<_> = parts.iter().map(|(world, _)| Arc::clone(world)).collect();
        disturb_parts(&worlds, &desk, &mut Dice(seed | 1));
    });
    std::thread::scope(|scope| {
        for (_, connections) in &parts {
            scope.spawn(|| connections.close(Duration::from_secs(20)).expect("an orderly end"));
        }
    });
    desk.rounds.load(Ordering::Relaxed)
}

fn close(parts: &[Part]) {
    std::thread::scope(|scope| {
        for (_, connections) in parts {
            scope.spawn(|| connections.close(Duration::from_secs(20)).expect("an orderly end"));
        }
    });
}

/// Where so many ranks may be: at up to three sites, often at one.
fn placed(ranks: usize, dice: &mut Dice) -> Vec<u32> {
    let (first, sites) = (dice.roll(4) as u32, 1 + dice.roll(3));
    (0..ranks).map(|_| first + dice.roll(sites) as u32).collect()
}

/// Restores ranks that have stopped at other sites; the old parts are given up.
fn move_ranks(
    old: &[Part],
    parked: Vec<Parked>,
    dice: &mut Dice,
) -> (Vec<Part>, Vec<Parked>, Snapshot) {
    let parts: Vec<Vec<u8>> =
        old.iter().map(|(world, _)| world.save().expect("an image of a part")).collect();
    let mut images: Vec<&[u8]> = parts.iter().map(|image| &**image).collect();
    let save = |mut parked: Parked| {
        let image = parked.rank.save().expect("an image");
        assert!(parked.rank.save().expect("the same") == image, "images tell only the state");
        (parked.rank.number(), image, parked.memory)
    };
    let ranks: Vec<_> = parked.into_iter().map(save).collect();
    let (size, config) = (old[0].0.size(), old[0].0.config().clone());
    let sites = placed(size as usize, dice);
    let turn = dice.roll(images.len() as u64) as usize;
    images.rotate_left(turn);
    let new = spread_by(&sites, |placement, link| {
        World::restored_spread(size, config.clone(), placement, link, &images)
    });
    let told = ranks.iter().map(|(number, image, _)| (*number, image.clone())).collect();
    let snapshot = Snapshot { size, parts: parts.clone(), ranks: told, functions: Vec::new() };
    let restore = |(number, image, memory): (u32, Vec<u8>, Arc<Linear>)| {
        let world = &part_of(&new, sites[number as usize]).0;
        let memory = Arc::new(memory.copied());
        let lent = Arc::clone(&memory) as Arc<dyn Memory>;
        let rank = world.restore_rank(number, lent, &image).expect("a restored rank");
        (Parked { rank, memory }, image)
    };
    let restored: Vec<_> = ranks.into_iter().map(restore).collect();
    let again = |(mut parked, image): (Parked, Vec<u8>)| {
        let again = parked.rank.save().expect("an image of what is restored");
        // The sites did not stop at the same moment, which is told after the head.
        assert!(again[24..] == image[24..], "what is restored is what was saved");
        parked
    };
    let parked = restored.into_iter().map(again).collect();
    (new, parked, snapshot)
}

fn part_of(parts: &[Part], site: u32) -> &Part {
    parts.iter().find(|(world, _)| world.site() == site).expect("a part")
}

/// Lets the parts go on one after the other.
fn resume(parts: &[Part], mut parked: Vec<Parked>, desk: &Desk, dice: &mut Dice) {
    for (world, _) in parts {
        world.resume().expect("all are there");
        let here = |parked: &mut Parked| Arc::ptr_eq(parked.rank.world(), world);
        desk.release(parked.extract_if(.., here).collect());
        pause(dice);
    }
}

/// Stops the ranks of a world and moves them to other sites, again and again.
fn wander(parts: &mut Vec<Part>, desk: &Desk, dice: &mut Dice) {
    for _ in 0..STOPS {
        pause(dice);
        parts.iter().for_each(|(world, _)| world.ask_to_stop());
        let mut functions = vec![None; parts[0].0.size() as usize];
        for (world, _) in &*parts {
            match world.wait_for_stop(Duration::from_secs(20)) {
                Ok(at_rest) => {
                    let all = functions.iter_mut().zip(at_rest.functions);
                    all.for_each(|(known, here)| *known = known.or(here));
                }
                Err(NotStopped::Ended(_)) => return,
                Err(other) => panic!("{other}"),
            }
        }
        let mut parked = desk.collect(functions.iter().flatten().count());
        if parked.is_empty() {
            return;
        }
        for (world, _) in &*parts {
            world.flush_links(Duration::from_secs(20)).expect("an answer");
        }
        desk.rounds.fetch_add(1, Ordering::Relaxed);
        if dice.roll(4) > 0 {
            let (new, restored, snapshot) = move_ranks(parts, parked, dice);
            let snapshot = Snapshot { functions: functions.clone(), ..snapshot };
            desk.snapshots.lock().expect("a desk").push(snapshot);
            let old = std::mem::replace(parts, new);
            parked = restored;
            close(&old);
        }
        resume(parts, parked, desk, dice);
    }
}

/// Runs a program whose ranks are moved between sites now and then; tells how that went.
pub(crate) fn run_moved(
    ranks: u32,
    bytes: usize,
    config: &Config,
    seed: u64,
    program: &(impl Fn(&mut Guest) + Sync),
) -> Report {
    let desk = Arc::new(Desk::new(ranks));
    let mut dice = Dice(seed | 1);
    let sites = placed(ranks as usize, &mut dice);
    let mut parts = spread(&sites, config);
    std::thread::scope(|scope| {
        for (number, site) in sites.iter().enumerate() {
            let (world, _) = part_of(&parts, *site);
            let mut guest = Guest::new(world, number as u32, bytes);
            guest.desk = Some(Arc::clone(&desk));
            scope.spawn(move || program(&mut guest));
        }
        let moving = std::panic::AssertUnwindSafe(|| wander(&mut parts, &desk, &mut dice));
        let outcome = std::panic::catch_unwind(moving);
        if let Err(panic) = outcome {
            parts.iter().for_each(|(world, _)| world.end("the test has failed"));
            desk.failed.store(true, Ordering::SeqCst);
            std::panic::resume_unwind(panic);
        }
        desk.open.store(true, Ordering::SeqCst);
    });
    close(&parts);
    let snapshots = std::mem::take(&mut *desk.snapshots.lock().expect("a desk"));
    Report { stops: desk.rounds.load(Ordering::Relaxed), snapshots }
}

/// Runs a program whose ranks are stopped now and then; tells how that went.
pub(crate) fn run(
    ranks: u32,
    bytes: usize,
    config: Config,
    seed: u64,
    program: &(impl Fn(&mut Guest) + Sync),
) -> Report {
    let world = World::new(ranks, config).expect("a world");
    let desk = Arc::new(Desk::new(ranks));
    std::thread::scope(|scope| {
        for number in 0..ranks {
            let mut guest = Guest::new(&world, number, bytes);
            guest.desk = Some(Arc::clone(&desk));
            scope.spawn(move || program(&mut guest));
        }
        disturb(world, &desk, &mut Dice(seed | 1));
    });
    let snapshots = std::mem::take(&mut *desk.snapshots.lock().expect("a desk"));
    Report { stops: desk.rounds.load(Ordering::Relaxed), snapshots }
}
