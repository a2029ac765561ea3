//! Where the service is now, by the continuum's name server.

use super::{Error, Options, Result};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tracing::warn;

/// How long one datagram is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// How often a question is asked before the name counts as unresolved.
const ATTEMPTS: usize = 10;

/// Between attempts, and the least between two questions whatever the TTL.
const PAUSE: Duration = Duration::from_millis(100);

/// The current address of a name; clones share it.
#[derive(Clone)]
pub(super) struct Resolved {
    address: watch::Receiver<IpAddr>,
    again: Arc<Notify>,
}

impl Resolved {
    pub(super) fn address(&self) -> IpAddr {
        *self.address.borrow()
    }

    /// Asks again now: what was told last does not answer.
    pub(super) fn doubt(&self) {
        self.again.notify_one();
    }
}

/// Resolves the service's name, and again whenever the TTL has passed, until all
/// [`Resolved`] are dropped.
pub(super) async fn follow(options: &Options) -> Result<Resolved> {
    let (server, text) = (options.dns, &options.name);
    let unresolved =
        |reason| Error::Unresolved { name: text.chars().take(300).collect(), server, reason };
    let mut name = Name::from_str(text).map_err(|error| unresolved(error.to_string()))?;
    name.set_fqdn(true);
    let mut attempt = 1;
    let (addresses, ttl) = loop {
        match resolve(server, &name).await {
            Ok(found) => break found,
            Err(reason) if attempt >= ATTEMPTS => return Err(unresolved(reason)),
            Err(_) => sleep(PAUSE).await,
        }
        attempt += 1;
    };
    let (sender, address) = watch::channel(addresses[0]);
    let again = Arc::new(Notify::new());
    let resolved = Resolved { address, again: again.clone() };
    tokio::spawn(refresh(server, name, ttl, sender, again));
    Ok(resolved)
}

async fn refresh(
    server: SocketAddr,
    name: Name,
    mut ttl: Duration,
    address: watch::Sender<IpAddr>,
    again: Arc<Notify>,
) {
    loop {
        tokio::select! {
            () = sleep(ttl.max(PAUSE)) => {}
            () = again.notified() => sleep(PAUSE).await,
            () = address.closed() => return,
        }
        match resolve(server, &name).await {
            Ok((addresses, new_ttl)) => {
                ttl = new_ttl;
                let current = *address.borrow();
                if !addresses.contains(&current) {
                    address.send_replace(addresses[0]);
                }
            }
            Err(reason) => {
                // The last address is better than none.
                warn!(%name, %server, reason, "cannot resolve a name again");
                ttl = PAUSE;
            }
        }
    }
}

/// The addresses of a name, at least one, and how long they may be kept.
async fn resolve(server: SocketAddr, name: &Name) -> Result<(Vec<IpAddr>, Duration), String> {
    let mut reason = String::new();
    for wanted in [RecordType::A, RecordType::AAAA] {
        match ask(server, name, wanted).await.map_err(|error| error.to_string())? {
            (ResponseCode::NoError, addresses, ttl) if !addresses.is_empty() => {
                return Ok((addresses, ttl));
            }
            (ResponseCode::NoError, ..) => reason = "it has no address".to_owned(),
            (code, ..) => return Err(code.to_string()),
        }
    }
    Err(reason)
}

async fn ask(
    server: SocketAddr,
    name: &Name,
    wanted: RecordType,
) -> io::Result<(ResponseCode, Vec<IpAddr>, Duration)> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let mut question = Message::new(u16::from_be_bytes(id), MessageType::Query, OpCode::Query);
    question.add_query(Query::query(name.clone(), wanted)).set_edns(Edns::new());
    let local = match server {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    // A port of its own for each question: answers to others cannot arrive here.
    let socket = UdpSocket::bind((local, 0)).await?;
    socket.connect(server).await?;
    socket.send(&question.to_vec().map_err(io::Error::other)?).await?;
    let answer = timeout(ANSWER_TIMEOUT, receive(&socket, &question)).await??;
    let ttl = answer.answers.iter().map(|record| record.ttl).min().unwrap_or_default();
    let address = |data: &RData| match data {
        RData::A(ip) => Some(IpAddr::V4(ip.0)),
        RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
        _ => None,
    };
    let addresses = answer
        .answers
        .iter()
        .filter(|record| record.name == *name && record.record_type() == wanted)
        .filter_map(|record| address(&record.data))
        .collect();
    Ok((answer.response_code, addresses, Duration::from_secs(ttl.into())))
}

/// The first datagram that answers the question; others are forged or late.
async fn receive(socket: &UdpSocket, question: &Message) -> io::Result<Message> {
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let Ok(answer) = Message::from_vec(&buffer[..length]) else { continue };
        let answers = answer.message_type == MessageType::Response;
        if answers && answer.id == question.id && answer.queries == question.queries {
            return Ok(answer);
        }
    }
}
