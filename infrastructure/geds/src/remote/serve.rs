//! The side that answers other sites' nodes.

use super::{
    Place, Sites,
    far::Far,
    frame::{
        DATA_MAX_BYTES, GREETING_BYTES, HEADER_BYTES, Header, Kind, check_greeting, greeting,
        malformed, sum,
    },
    kept,
    message::{Answer, Name, Notice, Request, decode, encode},
    stream::{Patience, Reader, STALL, Stop, Writer, split},
    sums::Frames,
};
use crate::{
    Error, Object, Result, Stat, Subscription, Tier, View, is_internal,
    node::server::somebody_comes,
};
use std::{
    collections::{BTreeMap, HashSet},
    io::{self, IoSlice},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Most connections at once.
const CONNECTIONS_MAX: usize = 512;
/// Most connections that have not shown who they are.
const STRANGERS_MAX: usize = 32;
/// Most threads of one connection: so many long answers go out at once.
const WORKERS_MAX: usize = 4;
/// Answers of more bytes, or from disk, let others be read meanwhile: to hand on the right to read takes a fair part of the time
/// of a smaller one.
const LONG: u64 = 1 << 20;
/// Smaller frames cost more than they save.
const STEP_MIN_BYTES: u64 = 64 << 10;
/// How often whoever follows is told that the node is alive.
const ALIVE: Duration = Duration::from_millis(250);
/// Most buckets that one connection follows.
const FOLLOWED_MAX: usize = 1024;

/// An open listener; dropped, it ends its connections and their threads.
#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
    open: Arc<Open>,
}

/// The connections of a listener.
#[derive(Debug, Default)]
struct Open {
    connections: Mutex<Vec<(Stop, JoinHandle<()>)>>,
    /// Those that have not shown who they are, by number: the oldest first.
    strangers: Mutex<BTreeMap<u64, Stop>>,
    numbers: AtomicU64,
}

impl Listener {
    pub(super) fn open(place: &Place, sites: &Arc<Sites>) -> Result<Self> {
        let failed = || Error::io(format!("listen for other sites on {place:?}"));
        let listener = place.listener().map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        let (stop, stopped) = UnixStream::pair().map_err(failed())?;
        let open = Arc::new(Open::default());
        let (of_thread, sites) = (Arc::clone(&open), Arc::downgrade(sites));
        let thread = thread::Builder::new()
            .name("geds-sites".to_owned())
            .spawn(move || accept(&listener, &stopped, &sites, &of_thread))
            .map_err(Error::io("start a thread"))?;
        Ok(Self { address, stop, thread: Some(thread), open })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.stop.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let connections = std::mem::take(&mut *self.open.connections());
        connections.iter().for_each(|(stop, _)| stop.stop());
        for (_, thread) in connections {
            let _ = thread.join();
        }
    }
}

impl Open {
    fn strangers(&self) -> MutexGuard<'_, BTreeMap<u64, Stop>> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, Vec<(Stop, JoinHandle<()>)>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, stopped: &UnixStream, sites: &Weak<Sites>, open: &Arc<Open>) {
    while somebody_comes(listener, stopped) {
        let accepted = listener.accept().and_then(|(stream, _)| begin(stream, sites, open));
        if let Err(error) = accepted {
            tracing::warn!(%error, "cannot accept another site");
            // Out of descriptors, perhaps: not at full speed.
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn begin(stream: TcpStream, sites: &Weak<Sites>, open: &Arc<Open>) -> io::Result<()> {
    let mut connections = open.connections();
    connections.retain(|(_, thread)| !thread.is_finished());
    if connections.len() >= CONNECTIONS_MAX {
        tracing::warn!(
            limit = CONNECTIONS_MAX,
            "too many connections of other sites: one is refused"
        );
        return Ok(());
    }
    let (_, _, stop) = split(stream.try_clone()?, None)?;
    let stranger = Stranger::new(open, stop.clone());
    let (sites, of_thread) = (Weak::clone(sites), stop.clone());
    let serve = move || {
        if let Err(error) = serve(stream, &sites, stranger) {
            tracing::debug!(%error, "a connection of another site ended");
        }
        of_thread.stop();
    };
    let thread = thread::Builder::new().name("geds-site".to_owned()).spawn(serve)?;
    connections.push((stop, thread));
    Ok(())
}

/// A connection that has not shown who it is.
struct Stranger(Arc<Open>, u64);

impl Stranger {
    /// Where there are too many the oldest goes: who means well shows at once who it is.
    fn new(open: &Arc<Open>, stop: Stop) -> Self {
        let number = open.numbers.fetch_add(1, SeqCst);
        let mut strangers = open.strangers();
        if strangers.len() >= STRANGERS_MAX
            && let Some((_, oldest)) = strangers.pop_first()
        {
            oldest.stop();
        }
        strangers.insert(number, stop);
        Self(Arc::clone(open), number)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.strangers().remove(&self.1);
    }
}

fn went(error: io::Error) -> Error {
    Error::Unavailable(error.to_string())
}

fn serve(mut stream: TcpStream, sites: &Weak<Sites>, stranger: Stranger) -> Result<()> {
    let ended = || Error::Unavailable("this node ends".to_owned());
    let own = sites.upgrade().ok_or_else(ended)?.own.clone();
    stream.set_write_timeout(Some(STALL)).map_err(went)?;
    let (tls, shown) = match &own.identity {
        Some(identity) => {
            let (tls, shown) = identity.accept(&mut stream)?;
            (Some(tls), Some(shown))
        }
        None => (None, None),
    };
    let at = stream.local_addr().map_err(went)?;
    let (mut reader, mut writer, stop) = split(stream, tls).map_err(went)?;
    let mut found = [0; GREETING_BYTES];
    if !reader.fill(&mut found, Patience::Stall).map_err(went)? {
        return Ok(());
    }
    // Said also to who speaks another version, so that it can tell its user.
    writer.send(&mut [IoSlice::new(&greeting())]).map_err(went)?;
    check_greeting(&found)?;
    let mut said = || {
        next(&mut reader, Patience::Stall)?.ok_or_else(|| malformed("it does not say who it is"))
    };
    let (mut id, hello) = said()?;
    let met = own.meet(hello, at, |challenge| {
        answer_with(&mut writer, id, challenge)?;
        let (next, proof) = said()?;
        id = next;
        Ok(proof)
    })?;
    let Some(site) = met else {
        let why = "this node asks for the token of its continuum".to_owned();
        let refused = Answer::Refused(Error::Denied(why).into());
        return answer_with(&mut writer, id, &refused);
    };
    let alive = sites.upgrade().ok_or_else(ended)?;
    let key = shown.as_ref().map(|shown| shown.key.as_str());
    let known = shown.as_ref().is_none_or(|shown| shown.site == site)
        && alive.peer(&site).is_ok_and(|peer| peer.lets_in(key, &stop));
    let run = alive.run;
    drop(alive);
    let answer = if known {
        Answer::Welcome { site: own.site, run }
    } else {
        let why = format!("site `{site}` is not one that this node knows");
        Answer::Refused(Error::Denied(why).into())
    };
    answer_with(&mut writer, id, &answer)?;
    drop(stranger);
    if !known {
        return Ok(());
    }
    let connection = Connection {
        sites: Weak::clone(sites),
        site,
        reader: Mutex::new(reader),
        writer: Mutex::new(writer),
        stop,
        waiting: AtomicUsize::new(0),
        workers: AtomicUsize::new(1),
        followed: Mutex::default(),
    };
    thread::scope(|scope| connection.work(scope))
}

/// The next request and its number; none at the end of the connection.
fn next(reader: &mut Reader, patience: Patience) -> Result<Option<(u64, Request)>> {
    let mut bytes = [0; HEADER_BYTES];
    if !reader.fill(&mut bytes, patience).map_err(went)? {
        return Ok(None);
    }
    let header = Header::parse(&bytes)?;
    if header.kind != Kind::Request || !header.last {
        return Err(malformed("a frame that is no request"));
    }
    let mut payload = vec![0; header.len as usize];
    if !payload.is_empty() && !reader.fill(&mut payload, Patience::Stall).map_err(went)? {
        return Err(malformed("a frame is not whole"));
    }
    header.check(&payload)?;
    Ok(Some((header.id, decode(&payload)?)))
}

/// Sends an answer without bytes.
fn answer_with(writer: &mut Writer, id: u64, answer: &Answer) -> Result<()> {
    let payload = encode(answer)?;
    let header = Header::of(Kind::Answer, id, true, &payload)?.to_bytes();
    writer.send(&mut [IoSlice::new(&header), IoSlice::new(&payload)]).map_err(went)
}

/// A connection of a site that has shown who it is.
#[derive(Debug)]
struct Connection {
    sites: Weak<Sites>,
    site: String,
    /// Whoever has it waits for the next request.
    reader: Mutex<Reader>,
    writer: Mutex<Writer>,
    stop: Stop,
    /// Threads that wait for the reader or with it.
    waiting: AtomicUsize,
    workers: AtomicUsize,
    /// What it follows, and of which tenant.
    followed: Mutex<Option<(String, HashSet<String>)>>,
}

impl Connection {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, id: u64, answer: &Answer) -> Result<()> {
        answer_with(&mut self.writer(), id, answer)
    }

    /// Answers requests until the connection ends.
    fn work<'a, 'b>(&'a self, scope: &'b thread::Scope<'b, 'a>) -> Result<()> {
        let worked = self.work_on(scope);
        // The other threads end too.
        self.stop.stop();
        worked
    }

    fn work_on<'a, 'b>(&'a self, scope: &'b thread::Scope<'b, 'a>) -> Result<()> {
        loop {
            self.waiting.fetch_add(1, SeqCst);
            let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
            let read = next(&mut reader, Patience::Endless);
            self.waiting.fetch_sub(1, SeqCst);
            let Some((id, request)) = read? else {
                // The others find the same.
                return Ok(());
            };
            let Some(sites) = self.sites.upgrade() else { return Ok(()) };
            let answer = match request.check() {
                Err(error) => Err(error),
                Ok(()) if request.is_long() => {
                    drop(reader);
                    self.help(scope);
                    self.do_one(&sites, request)
                }
                Ok(()) => {
                    let done = match &request {
                        Request::Follow { tenant, bucket } => {
                            self.follow(scope, &sites, tenant, bucket)?;
                            continue;
                        }
                        _ => self.do_one(&sites, request),
                    };
                    if matches!(&done, Ok(Done::Bytes(bytes)) if bytes.is_long()) {
                        drop(reader);
                        self.help(scope);
                    }
                    done
                }
            };
            drop(sites);
            match answer {
                Ok(Done::Answer(answer)) => self.answer(id, &answer)?,
                Ok(Done::Bytes(bytes)) => self.send(id, &bytes)?,
                Err(error) => self.answer(id, &Answer::Refused(error.into()))?,
            }
        }
    }

    /// Sees that somebody reads on while this thread is busy.
    fn help<'a, 'b>(&'a self, scope: &'b thread::Scope<'b, 'a>) {
        if self.waiting.load(SeqCst) > 0 || self.workers.load(SeqCst) >= WORKERS_MAX {
            return;
        }
        self.workers.fetch_add(1, SeqCst);
        let work = move || {
            if let Err(error) = self.work(scope) {
                tracing::debug!(%error, "a connection of another site ended");
            }
        };
        let started = thread::Builder::new().name("geds-site".to_owned()).spawn_scoped(scope, work);
        if started.is_err() {
            self.workers.fetch_sub(1, SeqCst);
        }
    }

    fn do_one(&self, sites: &Sites, request: Request) -> Result<Done> {
        let far =
            |tenant: &str, bucket: &str| sites.far(tenant).ok_or_else(|| Error::no_bucket(bucket));
        let answer = match request {
            Request::Hello { .. }
            | Request::Challenge { .. }
            | Request::Prove { .. }
            | Request::Follow { .. } => {
                return Err(malformed("it says twice who it is"));
            }
            Request::Whose { .. } | Request::Claim { .. } | Request::Disclaim { .. } => {
                sites.as_directory(&self.site, &request)?
            }
            Request::Buckets { tenant } => {
                let own = sites.far(&tenant).map(|far| far.geds.buckets_here());
                let mut own = own.unwrap_or(Ok(Vec::new()))?;
                own.retain(|bucket| !is_internal(&bucket.name));
                Answer::Buckets(own)
            }
            Request::Bucket { tenant, bucket } => {
                Answer::Bucket(far(&tenant, &bucket)?.geds.bucket(&bucket)?)
            }
            Request::List { tenant, bucket, listing } => {
                let mut page = far(&tenant, &bucket)?.geds.list(&bucket, &listing)?;
                for entry in &mut page.entries {
                    entry.stat.site.get_or_insert_with(|| sites.own.site.clone());
                }
                Answer::Page(page)
            }
            Request::BucketAttributes { tenant, bucket, attributes } => {
                far(&tenant, &bucket)?.geds.set_bucket_attributes(&bucket, attributes)?;
                Answer::Done
            }
            Request::DeleteBucket { tenant, bucket } => {
                far(&tenant, &bucket)?.geds.delete_bucket(&bucket)?;
                Answer::Done
            }
            Request::Read { name, version, offset, len, copy } => {
                let far = far(&name.tenant, &name.bucket)?;
                return far.bytes(&name, version, copy, |size| {
                    Some((offset, size.saturating_sub(offset).min(len)))
                });
            }
            Request::Fetch { name, version, max, copy } => {
                let far = far(&name.tenant, &name.bucket)?;
                return far.bytes(&name, version, copy, |size| (size <= max).then_some((0, size)));
            }
            Request::Stat { ref name }
            | Request::Seal { ref name, .. }
            | Request::Delete { ref name, .. }
            | Request::Attributes { ref name, .. }
            | Request::Copy { ref name, .. }
            | Request::Keep { ref name, .. } => {
                let far = far(&name.tenant, &name.bucket)?;
                far.answer(&self.site, &sites.own.site, request)?
            }
        };
        Ok(Done::Answer(answer))
    }

    /// Sends bytes in frames, with others' in between; the first together with the answer.
    fn send(&self, id: u64, bytes: &Bytes) -> Result<()> {
        let Bytes { object, stat, offset, len, sums } = bytes;
        let (mut at, end) = (*offset, offset + len);
        let answer = encode(&Answer::Bytes { stat: stat.clone(), len: *len })?;
        let head = Header::of(Kind::Answer, id, *len == 0, &answer)?.to_bytes();
        let mut first = Some([IoSlice::new(&head), IoSlice::new(&answer)]);
        if *len == 0 {
            return match &mut first {
                Some(parts) => self.writer().send(parts).map_err(went),
                None => Ok(()),
            };
        }
        let (view, step) = (object.view_range(at..end)?, step(*len));
        let mut buffer = Vec::new();
        while at < end {
            let count = (end - at).min(step) as usize;
            let part = part_of(object, view.as_ref(), *offset, at, count, &mut buffer)?;
            let crc = sums.get(at, count, || sum(part));
            at += count as u64;
            let header = Header::summed(Kind::Data, id, at == end, count, crc)?.to_bytes();
            let data = [IoSlice::new(&header), IoSlice::new(part)];
            match first.take() {
                Some([head, answer]) => {
                    let [header, part] = data;
                    self.writer().send(&mut [head, answer, header, part]).map_err(went)?;
                }
                None => self.writer().send(&mut { data }).map_err(went)?,
            }
        }
        Ok(())
    }

    /// Tells what happens in a bucket on this connection.
    fn follow<'a, 'b>(
        &'a self,
        scope: &'b thread::Scope<'b, 'a>,
        sites: &Sites,
        tenant: &str,
        bucket: &str,
    ) -> Result<()> {
        if let Err(error) = self.begin_to_follow(scope, sites, tenant, bucket) {
            return self.tell(&Notice::Refused(bucket.to_owned(), error.into()));
        }
        self.tell(&Notice::Following(bucket.to_owned()))
    }

    fn begin_to_follow<'a, 'b>(
        &'a self,
        scope: &'b thread::Scope<'b, 'a>,
        sites: &Sites,
        tenant: &str,
        bucket: &str,
    ) -> Result<()> {
        let far = sites.far(tenant).ok_or_else(|| Error::no_bucket(bucket))?;
        far.geds.bucket(bucket)?;
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *followed {
            Some((known, buckets)) => {
                if known != tenant {
                    return Err(Error::Invalid("a connection follows one tenant".to_owned()));
                }
                if buckets.len() >= FOLLOWED_MAX {
                    let limit = FOLLOWED_MAX as u64;
                    return Err(Error::TooMany { what: "buckets that are followed".into(), limit });
                }
                buckets.insert(bucket.to_owned());
            }
            None => {
                let subscription = far.everything()?;
                let tell = move || {
                    if let Err(error) = self.tell_all(&subscription) {
                        tracing::debug!(%error, "another site follows no more");
                        self.stop.stop();
                    }
                };
                thread::Builder::new()
                    .name("geds-tell".to_owned())
                    .spawn_scoped(scope, tell)
                    .map_err(Error::io("start a thread"))?;
                *followed = Some((tenant.to_owned(), HashSet::from([bucket.to_owned()])));
            }
        }
        Ok(())
    }

    fn tell(&self, notice: &Notice) -> Result<()> {
        let payload = encode(notice)?;
        let header = Header::of(Kind::Notice, 0, true, &payload)?.to_bytes();
        self.writer().send(&mut [IoSlice::new(&header), IoSlice::new(&payload)]).map_err(went)
    }

    /// Tells until the connection ends, which shows when it is told that the node is alive.
    fn tell_all(&self, subscription: &Subscription) -> Result<()> {
        loop {
            let event = subscription.next(ALIVE)?;
            if subscription.take_missed() > 0 {
                self.tell(&Notice::Missed)?;
            }
            match event {
                None => self.tell(&Notice::Alive)?,
                Some(event) if self.follows(&event.bucket) => self.tell(&Notice::Event(event))?,
                Some(_) => {}
            }
        }
    }

    fn follows(&self, bucket: &str) -> bool {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.as_ref().is_some_and(|(_, buckets)| buckets.contains(bucket))
    }
}

/// Bytes of an object from where they are in memory, or read into the buffer.
fn part_of<'a>(
    object: &Object,
    view: Option<&'a View>,
    begin: u64,
    at: u64,
    count: usize,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8]> {
    if let Some(view) = view {
        let from = (at - begin) as usize;
        return view.get(from..from + count).ok_or_else(|| malformed("a view is too short"));
    }
    buffer.resize(count, 0);
    object.read_at(at, buffer)?;
    Ok(buffer)
}

/// How many bytes go into one frame: some frames for each object, for while one is on its way the next is summed at one
/// side and the last at the other.
fn step(len: u64) -> u64 {
    (len / 4).clamp(STEP_MIN_BYTES, DATA_MAX_BYTES.into())
}

/// What came of a request.
enum Done {
    Answer(Answer),
    Bytes(Bytes),
}

/// Bytes that are to be sent.
struct Bytes {
    object: Object,
    stat: Stat,
    offset: u64,
    len: u64,
    sums: Arc<Frames>,
}

impl Bytes {
    fn is_long(&self) -> bool {
        self.len > LONG || self.stat.tier != Tier::Memory
    }
}

impl Request {
    /// Whether others are to be read while it is done: it asks other nodes, or a disk.
    fn is_long(&self) -> bool {
        matches!(
            self,
            Self::Whose { .. }
                | Self::Claim { .. }
                | Self::Disclaim { .. }
                | Self::Keep { .. }
                | Self::Copy { .. }
                | Self::List { .. }
                | Self::Buckets { .. }
                | Self::BucketAttributes { .. }
                | Self::DeleteBucket { .. }
        )
    }
}

impl Far {
    /// The bytes of an object, or who has them: `range` says from where on and how many, of an object of a size; if it
    /// says nothing, what is known about it is enough.
    fn bytes(
        &self,
        name: &Name,
        version: Option<u64>,
        copy: bool,
        range: impl Fn(u64) -> Option<(u64, u64)>,
    ) -> Result<Done> {
        let (bucket, key) = (&name.bucket, &name.key);
        let opened = match self.geds.object(bucket, key) {
            Err(Error::NoBucket { .. }) if copy => self.geds.object(&kept(bucket), key),
            Err(Error::Elsewhere { .. }) => {
                return Ok(Done::Answer(Answer::Elsewhere(self.geds.stat(bucket, key)?)));
            }
            opened => opened,
        };
        let object = opened.map_err(|error| named(error, name))?;
        let stat = object.stat().clone();
        if let Some(expected) = version.filter(|version| *version != stat.version) {
            let (bucket, key, found) = (bucket.clone(), key.clone(), Some(stat.version));
            return Err(Error::Changed { bucket, key, expected, found });
        }
        match range(stat.size) {
            Some((offset, len)) => {
                let sums = self.sums.of(bucket, key, stat.version);
                Ok(Done::Bytes(Bytes { object, stat, offset, len, sums }))
            }
            None => Ok(Done::Answer(Answer::Stat(stat))),
        }
    }
}

/// Copies are kept under another bucket's name, which nobody knows.
fn named(error: Error, name: &Name) -> Error {
    match error {
        Error::NoBucket { .. } => Error::no_bucket(&name.bucket),
        Error::NoObject { .. } => Error::no_object(&name.bucket, &name.key),
        other => other,
    }
}
