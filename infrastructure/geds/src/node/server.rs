//! A tenant's socket.

use super::tenant::Tenant;
use crate::{
    Error, Result, Scope,
    wire::{Reply, Request, VERSION, receive, send},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::AsFd,
};
use std::{
    fs, io,
    net::Shutdown,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    thread::{self, JoinHandle},
    time::Duration,
};

/// Most connections at once: processes, their further connections, and subscriptions.
const CONNECTIONS_MAX: usize = 2048;
/// The session of whoever asks for what needs none.
const NOBODY: u32 = 0;
/// How often a subscription looks whether its process is still there.
const LOOK: Duration = Duration::from_secs(2);

/// An open socket; dropped, it ends its connections.
#[derive(Debug)]
pub(super) struct Listener {
    path: PathBuf,
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
    connections: Arc<Connections>,
}

type Connections = Mutex<Vec<Weak<UnixStream>>>;

impl Listener {
    pub(super) fn open(path: &Path, tenant: Arc<Tenant>) -> Result<Self> {
        let failed = || Error::io(format!("open the socket `{}`", path.display()));
        // A socket that nobody listens at is left of a node that was killed.
        let is_socket = |path: &Path| {
            fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        };
        if is_socket(path) && UnixStream::connect(path).is_err() {
            let _ = fs::remove_file(path);
        }
        let listener = UnixListener::bind(path).map_err(failed())?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed())?;
        let (stop, stopped) = UnixStream::pair().map_err(failed())?;
        let connections = Arc::new(Connections::default());
        let of_thread = Arc::clone(&connections);
        let thread = thread::Builder::new()
            .name("geds-accept".to_owned())
            .spawn(move || accept(&listener, &stopped, &tenant, &of_thread))
            .map_err(Error::io("start a thread"))?;
        Ok(Self { path: path.to_owned(), stop, thread: Some(thread), connections })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.stop.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.path);
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in connections.iter().filter_map(Weak::upgrade) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(
    listener: &UnixListener,
    stopped: &UnixStream,
    tenant: &Arc<Tenant>,
    connections: &Connections,
) {
    while somebody_comes(listener, stopped) {
        match listener.accept() {
            Ok((stream, _)) => begin(stream, tenant, connections),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a process");
                // Out of descriptors, perhaps: not at full speed.
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn begin(stream: UnixStream, tenant: &Arc<Tenant>, connections: &Connections) {
    let stream = Arc::new(stream);
    {
        let mut open = connections.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|stream| stream.strong_count() > 0);
        if open.len() >= CONNECTIONS_MAX {
            tracing::warn!(limit = CONNECTIONS_MAX, "too many connections: one is refused");
            return;
        }
        open.push(Arc::downgrade(&stream));
    }
    let tenant = Arc::clone(tenant);
    let serve = move || {
        if let Err(error) = serve(&stream, &tenant) {
            tracing::debug!(%error, "a connection ended");
        }
    };
    if let Err(error) = thread::Builder::new().name("geds-serve".to_owned()).spawn(serve) {
        tracing::warn!(%error, "cannot start a thread for a process");
    }
}

fn serve(stream: &UnixStream, tenant: &Tenant) -> io::Result<()> {
    match receive::<Request>(stream)? {
        Some((Request::Join { version: VERSION }, _)) => serve_session(stream, tenant),
        Some((Request::Subscribe { version: VERSION, scope }, _)) => {
            serve_events(stream, tenant, scope)
        }
        Some((request @ Request::Far(_), _)) => answer_apart(stream, tenant, request),
        Some((request, _)) if request.is_apart() => {
            let (reply, files) = tenant.answer(NOBODY, request);
            send(stream, &reply, &files)
        }
        Some(_) => {
            let why = format!("this node speaks version {VERSION}: use the library of its release");
            refuse(stream, Error::Invalid(why))
        }
        None => Ok(()),
    }
}

/// Answers a process that asks about other sites, one question after the other.
fn answer_apart(stream: &UnixStream, tenant: &Tenant, first: Request) -> io::Result<()> {
    let mut next = Some(first);
    while let Some(request @ Request::Far(_)) = next {
        let (reply, files) = tenant.answer(NOBODY, request);
        send(stream, &reply, &files)?;
        next = receive::<Request>(stream)?.map(|(request, _)| request);
    }
    Ok(())
}

fn refuse(stream: &UnixStream, error: Error) -> io::Result<()> {
    send(stream, &Reply::Failed(error.into()), &[])
}

fn serve_session(stream: &UnixStream, tenant: &Tenant) -> io::Result<()> {
    let (reply, files) = match tenant.join() {
        Ok(answer) => answer,
        Err(error) => return refuse(stream, error),
    };
    let Reply::Joined { session, .. } = reply else { return Ok(()) };
    let served = send(stream, &reply, &files).and_then(|()| answer_all(stream, tenant, session));
    tenant.leave(session);
    served
}

fn answer_all(stream: &UnixStream, tenant: &Tenant, session: u32) -> io::Result<()> {
    while let Some((request, _)) = receive::<Request>(stream)? {
        if matches!(request, Request::Wake) {
            tenant.wake();
            continue;
        }
        let (reply, files) = tenant.answer(session, request);
        send(stream, &reply, &files)?;
    }
    Ok(())
}

fn serve_events(stream: &UnixStream, tenant: &Tenant, scope: Scope) -> io::Result<()> {
    let subscription = match tenant.subscribe(scope) {
        Ok(subscription) => subscription,
        Err(error) => return refuse(stream, error),
    };
    send(stream, &Reply::Done, &[])?;
    loop {
        let event = subscription.next(LOOK).map_err(io::Error::other)?;
        let missed = subscription.take_missed();
        if missed > 0 {
            send(stream, &Reply::Missed(missed), &[])?;
        }
        match event {
            Some(event) => send(stream, &Reply::Event(event), &[])?,
            None if gone(stream) => return Ok(()),
            None => {}
        }
    }
}

/// Whether the process at the other end, which sends nothing more, has gone.
fn gone(stream: &UnixStream) -> bool {
    let mut ends = [PollFd::new(stream, PollFlags::IN | PollFlags::HUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut ends, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Waits until somebody connects; false once the other end of `stopped` says something or is gone.
pub(crate) fn somebody_comes(listener: &impl AsFd, stopped: &UnixStream) -> bool {
    loop {
        let mut ready = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::new(stopped, PollFlags::IN | PollFlags::HUP),
        ];
        if poll(&mut ready, None).is_err_and(|error| error != rustix::io::Errno::INTR) {
            return false;
        }
        if !ready[1].revents().is_empty() {
            return false;
        }
        if !ready[0].revents().is_empty() {
            return true;
        }
    }
}
