//! Whoever has the modules run: one thread looks after all triggers, one after each, and one for each run.

use super::{
    Claim, Job, TRIGGERS, Trigger, Triggers,
    ledger::AGAIN,
    record::Ended,
    room::{Room, Seat},
};
use crate::{Error, Happening, Result, Scope, Subscription, put::now};
use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
        },
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Keys that wait to be claimed; others are found by the next look.
const READY_MAX: usize = 1024;

/// Keys for which there will be something to do.
const LATER_MAX: usize = 4096;

/// What wakes a trigger's thread and waits for it.
const NEWS_MAX: usize = 1024;

/// How often all names are compared, whatever was told; at least this, and ten times as long as it takes.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Shorter, and a claim would be lost to a slow disk.
const LEASE_MIN: Duration = Duration::from_millis(100);

/// Longer, and it would be taken for the work of a wrong clock.
const LEASE_MAX: Duration = Duration::from_secs(30 * 60);

/// How often the triggers are listed, whatever is told.
const LIST_EVERY: Duration = Duration::from_secs(10);

/// The same while nothing is told, as before the first trigger.
const LIST_UNTOLD: Duration = Duration::from_secs(1);

/// As good as never.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// How often somebody who waits looks whether it is to stop.
const STOP_LOOK: Duration = Duration::from_millis(200);

/// How long a finished attempt tries to say so while the store does not answer.
const SAY_FOR: Duration = Duration::from_secs(60);

/// Runs a module.
pub trait Execute: Send + Sync + 'static {
    /// Runs the module of a trigger for an object to its end, or until `stop` says so.
    fn run(&self, trigger: &Trigger, job: &Job, stop: &Stop) -> Outcome;
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether well.
    pub ended: Ended,
    /// Why not: the exit code or the trap, and the end of what the module said.
    pub said: String,
}

/// Tells many that they are to stop. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Says so.
    pub fn stop(&self) {
        self.0.store(true, Relaxed);
    }

    /// Whether it was said.
    pub fn is_asked(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// Has the modules of all triggers run.
#[derive(Debug)]
pub struct Runner<E> {
    triggers: Triggers,
    execute: Arc<E>,
    lease: Duration,
    room: Room,
}

/// What a trigger's thread is told.
enum News {
    /// Something happened to this object.
    Key(String),
    /// Something may have been missed.
    Look,
    /// A run has ended; its task has been written down.
    Done(String),
}

impl<E: Execute> Runner<E> {
    /// A runner; others take over what it has claimed when it does not renew that for as long as `lease`, which is 100 ms
    /// to half an hour.
    pub fn new(triggers: Triggers, execute: E, lease: Duration) -> Self {
        let lease = lease.clamp(LEASE_MIN, LEASE_MAX);
        Self { triggers, execute: Arc::new(execute), lease, room: Room::of_this_machine() }
    }

    /// Runs what is to be run, until it is asked to stop: what runs then is stopped, and begun again by the next runner.
    pub fn run(&self, stop: &Stop) {
        if let Err(error) = self.triggers.sweep() {
            tracing::warn!(%error, "what is left of former triggers was not removed");
        }
        let mut watched: HashMap<String, Watched> = HashMap::new();
        let mut told = None;
        while !stop.is_asked() {
            match self.triggers.list() {
                Ok(triggers) => self.watch_all(&mut watched, triggers),
                Err(error) => tracing::warn!(%error, "the triggers cannot be read"),
            }
            told = self.wait(stop, told, &watched);
        }
        watched.values().for_each(|watched| watched.stop.stop());
        for watched in watched.into_values() {
            // It has said what was wrong.
            let _ = watched.thread.join();
        }
    }

    /// Waits until a trigger may have been added or removed; `told` is who says so.
    fn wait(
        &self,
        stop: &Stop,
        told: Option<Subscription>,
        watched: &HashMap<String, Watched>,
    ) -> Option<Subscription> {
        let scope = Scope::Prefix(TRIGGERS.to_owned(), "def".to_owned());
        let Some(told) = told else {
            let told = self.triggers.store.subscribe(scope).ok();
            if told.is_none() {
                pause(stop, LIST_UNTOLD);
            }
            // What was added before it is told is in the next list.
            return told;
        };
        let until = Instant::now() + LIST_EVERY;
        while !stop.is_asked() && Instant::now() < until {
            match told.next(STOP_LOOK) {
                Ok(None) => {}
                Ok(Some(event)) => match event.key.strip_prefix(AGAIN) {
                    Some(id) => {
                        watched.get(id).map_or((), |watched| watched.look.store(true, Relaxed))
                    }
                    None => break,
                },
                Err(_) => return None,
            }
        }
        Some(told)
    }

    fn watch_all(&self, watched: &mut HashMap<String, Watched>, triggers: Vec<Trigger>) {
        let ids: HashSet<&String> = triggers.iter().map(|trigger| &trigger.id).collect();
        watched.retain(|id, watched| {
            if !ids.contains(id) {
                watched.stop.stop();
            }
            !watched.thread.is_finished()
        });
        for trigger in triggers {
            if watched.contains_key(&trigger.id) {
                continue;
            }
            let (id, stop, look) = (trigger.id.clone(), Stop::default(), Flag::default());
            let watch = Watch {
                triggers: self.triggers.clone(),
                trigger: Arc::new(trigger),
                execute: Arc::clone(&self.execute),
                lease: self.lease,
                room: self.room.clone(),
                stop: stop.clone(),
                look: look.clone(),
            };
            let name = "trigger".to_owned();
            match thread::Builder::new().name(name).spawn(move || watch.run()) {
                Ok(thread) => drop(watched.insert(id, Watched { stop, look, thread })),
                Err(error) => tracing::warn!(%error, "a trigger is not watched"),
            }
        }
    }
}

/// One trigger that is looked after.
struct Watch<E> {
    triggers: Triggers,
    trigger: Arc<Trigger>,
    execute: Arc<E>,
    lease: Duration,
    room: Room,
    stop: Stop,
    look: Flag,
}

/// The thread of a trigger.
struct Watched {
    stop: Stop,
    /// Says that it is to look at all names now.
    look: Flag,
    thread: JoinHandle<()>,
}

/// Is raised by one thread and lowered by another.
type Flag = Arc<AtomicBool>;

/// A run that is under way.
struct Running {
    job: Job,
    stop: Stop,
    /// It has ended, and that is being written down.
    ended: Flag,
}

/// What such a thread remembers.
struct Queue {
    ready: VecDeque<String>,
    queued: HashSet<String>,
    later: BTreeSet<(u64, String)>,
    running: HashMap<String, Running>,
    /// Where the look that is under way goes on; none when there is none.
    looking: Option<Option<String>>,
    /// When the one after that begins.
    next_look: Instant,
    began: Instant,
    renewed: Instant,
}

impl<E: Execute> Watch<E> {
    fn run(self) {
        let (sender, news) = sync_channel(NEWS_MAX);
        let listener = self.listen(sender.clone());
        let mut queue = Queue::new();
        while !self.stop.is_asked() {
            self.step(&mut queue, &sender);
            self.hear(&mut queue, &news);
        }
        queue.running.values().for_each(|run| run.stop.stop());
        while !queue.running.is_empty() {
            self.renew(&mut queue);
            self.hear(&mut queue, &news);
        }
        drop(news);
        if let Ok(listener) = listener {
            // It ends when nobody hears it any more.
            let _ = listener.join();
        }
    }

    /// Does all that can be done now.
    fn step(&self, queue: &mut Queue, sender: &SyncSender<News>) {
        queue.ripen();
        if self.look.swap(false, Relaxed) {
            queue.next_look = Instant::now();
        }
        if queue.looking.is_none() && Instant::now() >= queue.next_look {
            queue.looking = Some(None);
            queue.began = Instant::now();
            // Somebody may ask for another one while it is under way.
            queue.next_look = queue.began + NEVER;
        }
        while queue.ready.is_empty() && queue.looking.is_some() && !self.stop.is_asked() {
            self.look(queue);
            // A look at many names takes longer than a lease.
            self.renew(queue);
        }
        let definition = &self.trigger.definition;
        while queue.running.len() < definition.at_once as usize
            && !queue.ready.is_empty()
            && let Some(seat) = self.room.seat(definition.memory_bytes)
            && let Some(key) = queue.take()
        {
            self.claim(queue, key, sender, seat);
            self.renew(queue);
        }
        self.renew(queue);
    }

    fn look(&self, queue: &mut Queue) {
        let after = queue.looking.take().flatten();
        let look = match self.triggers.look(&self.trigger, after.as_deref()) {
            Ok(look) => look,
            Err(error) => {
                self.complain("its objects cannot be looked at", &error);
                queue.next_look = Instant::now() + LOOK_EVERY;
                return;
            }
        };
        if look.skipped > 0 {
            let (name, count) = (&self.trigger.definition.name, look.skipped);
            tracing::warn!(name, count, "keys are too long: no module is run for them");
        }
        look.due.into_iter().for_each(|key| queue.push(key));
        look.later.into_iter().for_each(|(time, key)| queue.put_off(time, key));
        match look.next {
            Some(next) => queue.looking = Some(Some(next)),
            None => {
                let pause = (queue.began.elapsed() * 10).max(LOOK_EVERY);
                queue.next_look = queue.next_look.min(queue.began + pause);
            }
        }
    }

    fn claim(&self, queue: &mut Queue, key: String, sender: &SyncSender<News>, seat: Seat) {
        if queue.running.contains_key(&key) {
            // Looked at again when that has ended.
            return;
        }
        match self.triggers.claim(&self.trigger, &key, self.lease.as_millis() as u64) {
            Ok(Claim::Nothing) => {}
            Ok(Claim::Later(time)) => queue.put_off(time, key),
            Ok(Claim::Yours(job)) => self.start(queue, job, sender.clone(), seat),
            Err(error) => {
                self.complain("an object cannot be claimed", &error);
                queue.put_off(now() + 1000, key);
            }
        }
    }

    fn start(&self, queue: &mut Queue, job: Job, sender: SyncSender<News>, seat: Seat) {
        let stop = Stop::default();
        let (triggers, trigger) = (self.triggers.clone(), Arc::clone(&self.trigger));
        let execute = Arc::clone(&self.execute);
        let (own, stopped, ended) = (job.clone(), stop.clone(), Flag::default());
        let ending = Arc::clone(&ended);
        let work = move || {
            let run = || execute.run(&trigger, &own, &stopped);
            // Without an outcome the object would be claimed for ever.
            let outcome = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Outcome {
                ended: Ended::Badly,
                said: "the runner failed".to_owned(),
            });
            ending.store(true, SeqCst);
            drop(seat);
            if outcome.ended == Ended::Unable {
                let (name, why) = (&trigger.definition.name, &outcome.said);
                tracing::warn!(name, why, "this machine cannot run a module: it is tried again");
            }
            say(&triggers, &trigger, &own, &outcome);
            // Nobody hears it when all has ended.
            let _ = sender.send(News::Done(own.key));
        };
        match thread::Builder::new().name("trigger-run".to_owned()).spawn(work) {
            Ok(_) => drop(queue.running.insert(job.key.clone(), Running { job, stop, ended })),
            Err(error) => {
                tracing::warn!(%error, "a module cannot be run");
                let unable = Outcome { ended: Ended::Unable, said: String::new() };
                say(&self.triggers, &self.trigger, &job, &unable);
                queue.push(job.key);
            }
        }
    }

    /// Renews the claims of what runs, three times in each lease.
    fn renew(&self, queue: &mut Queue) {
        if queue.renewed.elapsed() < self.lease / 3 {
            return;
        }
        queue.renewed = Instant::now();
        let lease = self.lease.as_millis() as u64;
        for Running { job, stop, ended } in queue.running.values() {
            if ended.load(SeqCst) {
                continue;
            }
            match self.triggers.renew(&self.trigger, job, lease) {
                // It may have been given back meanwhile.
                Ok(false) if !ended.load(SeqCst) => {
                    if !stop.is_asked() {
                        let (name, key) = (&self.trigger.definition.name, &job.key);
                        tracing::warn!(name, key, "a claim was lost: its run is stopped");
                    }
                    stop.stop();
                }
                Ok(_) => {}
                Err(error) => self.complain("a claim was not renewed", &error),
            }
        }
    }

    /// Waits until there may be something to do.
    fn hear(&self, queue: &mut Queue, news: &Receiver<News>) {
        let mut wait = queue.patience().min(STOP_LOOK);
        loop {
            match news.recv_timeout(wait) {
                Ok(News::Key(key)) => queue.push(key),
                Ok(News::Look) => queue.next_look = Instant::now(),
                Ok(News::Done(key)) => {
                    queue.running.remove(&key);
                    // It failed, or something happened to it meanwhile.
                    queue.push(key);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
            wait = Duration::ZERO;
        }
    }

    /// Tells what happens below the prefix, until nobody hears it.
    fn listen(&self, sender: SyncSender<News>) -> std::io::Result<JoinHandle<()>> {
        let (triggers, stop) = (self.triggers.clone(), self.stop.clone());
        let definition = &self.trigger.definition;
        let scope = Scope::Prefix(definition.bucket.clone(), definition.prefix.clone());
        let listen = move || {
            while !stop.is_asked() {
                // Without events, looks from time to time are left.
                let _ = listen_once(&triggers, &scope, &stop, &sender);
                thread::sleep(STOP_LOOK);
            }
        };
        thread::Builder::new().name("trigger-events".to_owned()).spawn(listen)
    }

    fn complain(&self, what: &str, error: &Error) {
        let name = &self.trigger.definition.name;
        tracing::warn!(name, error = types::chain(error), "{what}");
    }
}

fn listen_once(
    triggers: &Triggers,
    scope: &Scope,
    stop: &Stop,
    sender: &SyncSender<News>,
) -> Result<()> {
    let told = triggers.store.subscribe(scope.clone())?;
    // What happened before.
    let _ = sender.try_send(News::Look);
    while !stop.is_asked() {
        let event = told.next(STOP_LOOK)?;
        let mut missed = told.take_missed() > 0;
        if let Some(event) = event.filter(|event| event.what != Happening::Attributes) {
            missed |= matches!(sender.try_send(News::Key(event.key)), Err(TrySendError::Full(_)));
        }
        if missed {
            let _ = sender.send(News::Look);
        }
    }
    Ok(())
}

/// Waits, unless it is to stop.
fn pause(stop: &Stop, time: Duration) {
    let until = Instant::now() + time;
    while !stop.is_asked() && Instant::now() < until {
        thread::sleep(STOP_LOOK);
    }
}

/// Writes down how an attempt ended.
fn say(triggers: &Triggers, trigger: &Trigger, job: &Job, outcome: &Outcome) {
    let (name, key) = (&trigger.definition.name, &job.key);
    let began = Instant::now();
    loop {
        match triggers.finish(trigger, job, outcome.ended, &outcome.said) {
            Ok(true) => return,
            Ok(false) => {
                tracing::warn!(
                    name,
                    key,
                    "a run ended after its claim was lost: it does not count"
                );
                return;
            }
            Err(error) if began.elapsed() > SAY_FOR => {
                let error = types::chain(&error);
                tracing::warn!(name, key, error, "a run's end cannot be written down");
                return;
            }
            Err(_) => thread::sleep(STOP_LOOK),
        }
    }
}

impl Queue {
    fn new() -> Self {
        Self {
            ready: VecDeque::new(),
            queued: HashSet::new(),
            later: BTreeSet::new(),
            running: HashMap::new(),
            looking: None,
            next_look: Instant::now(),
            began: Instant::now(),
            renewed: Instant::now(),
        }
    }

    fn push(&mut self, key: String) {
        // A part of a look is always taken whole.
        if self.ready.len() >= READY_MAX * 2 {
            self.next_look = Instant::now();
        } else if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    fn take(&mut self) -> Option<String> {
        let key = self.ready.pop_front()?;
        self.queued.remove(&key);
        Some(key)
    }

    fn put_off(&mut self, time: u64, key: String) {
        self.later.insert((time, key));
        if self.later.len() > LATER_MAX {
            // The last one; a look finds it again.
            self.later.pop_last();
        }
    }

    /// Takes those whose time has come.
    fn ripen(&mut self) {
        let now = now();
        while self.later.first().is_some_and(|(time, _)| *time <= now) {
            if let Some((_, key)) = self.later.pop_first() {
                self.push(key);
            }
        }
    }

    fn patience(&self) -> Duration {
        if self.looking.is_some() {
            // It goes on when there is room for what it finds.
            return STOP_LOOK;
        }
        let look = self.next_look.saturating_duration_since(Instant::now());
        let later = self.later.first().map(|(time, _)| time.saturating_sub(now()));
        look.min(later.map_or(Duration::MAX, Duration::from_millis))
    }
}
