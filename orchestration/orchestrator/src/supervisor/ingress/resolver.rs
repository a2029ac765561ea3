//! A resolver for our own DNS: one question, one answer, kept for its TTL.

use hickory_proto::{
    op::{Message, MessageType, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout},
};

/// Datagrams get lost; on loopback hardly ever.
const TRIES: u32 = 3;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// More names than a machine's services; beyond them the oldest answers are dropped.
const CACHED_MAX: usize = 1_024;

/// What is never kept longer, whatever an answer says.
const TTL_MAX: Duration = Duration::from_secs(5);

/// What DNS says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is here.
    Address(IpAddr),
    /// There is no such name, or it is nowhere.
    Absent,
}

/// DNS gives no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    #[error("cannot ask the DNS server at {server}")]
    Io {
        server: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("the DNS server at {server} does not answer: is the control plane up?")]
    Silent { server: SocketAddr },
    #[error("the DNS server at {server} answered {code}")]
    Failed { server: SocketAddr, code: ResponseCode },
    #[error("`{name}` cannot be asked for")]
    Name {
        name: String,
        #[source]
        source: hickory_proto::ProtoError,
    },
}

/// Asks one server.
#[derive(Debug)]
pub(super) struct Resolver {
    server: SocketAddr,
    cache: Mutex<HashMap<String, (IpAddr, Instant)>>,
}

impl Resolver {
    pub(super) fn new(server: SocketAddr) -> Self {
        Self { server, cache: Mutex::default() }
    }

    /// Where the name is now; absences are never kept, so that a new service is found at once.
    pub(super) async fn resolve(&self, name: &str) -> Result<Answer, ResolveError> {
        if let Some(address) = self.cached(name) {
            return Ok(Answer::Address(address));
        }
        for kind in [RecordType::A, RecordType::AAAA] {
            if let Some((address, ttl)) = self.ask(name, kind).await? {
                self.remember(name, address, ttl);
                return Ok(Answer::Address(address));
            }
        }
        Ok(Answer::Absent)
    }

    /// The next resolve asks anew.
    pub(super) fn forget(&self, name: &str) {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn cached(&self, name: &str) -> Option<IpAddr> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(name).filter(|(_, until)| Instant::now() < *until).map(|(address, _)| *address)
    }

    fn remember(&self, name: &str, address: IpAddr, ttl: Duration) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if cache.len() >= CACHED_MAX {
            cache.retain(|_, (_, until)| now < *until);
        }
        if cache.len() < CACHED_MAX {
            cache.insert(name.to_owned(), (address, now + ttl.min(TTL_MAX)));
        }
    }

    async fn ask(
        &self,
        name: &str,
        kind: RecordType,
    ) -> Result<Option<(IpAddr, Duration)>, ResolveError> {
        let failed = |source: hickory_proto::ProtoError| ResolveError::Name {
            name: name.to_owned(),
            source,
        };
        let wanted = Name::from_ascii(format!("{name}.")).map_err(failed)?;
        let mut question = Message::query();
        question.add_query(Query::query(wanted, kind));
        let bytes = question.to_vec().map_err(failed)?;
        let answer = self.exchange(&question, &bytes).await?;
        match answer.metadata.response_code {
            ResponseCode::NoError => Ok(first_address(&answer)),
            ResponseCode::NXDomain => Ok(None),
            code => Err(ResolveError::Failed { server: self.server, code }),
        }
    }

    async fn exchange(&self, question: &Message, bytes: &[u8]) -> Result<Message, ResolveError> {
        let server = self.server;
        let failed = |source| ResolveError::Io { server, source };
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await.map_err(failed)?;
        // A connected socket takes datagrams from the server alone.
        socket.connect(server).await.map_err(failed)?;
        for _ in 0..TRIES {
            socket.send(bytes).await.map_err(failed)?;
            if let Ok(answer) = timeout(ANSWER_TIMEOUT, receive(&socket, question)).await {
                return answer.map_err(failed);
            }
        }
        Err(ResolveError::Silent { server })
    }
}

/// The answer to this question; other datagrams are dropped.
async fn receive(socket: &UdpSocket, question: &Message) -> io::Result<Message> {
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let Ok(answer) = Message::from_vec(&buffer[..length]) else { continue };
        let fits = answer.metadata.id == question.metadata.id
            && answer.metadata.message_type == MessageType::Response
            && answer.queries == question.queries;
        if fits {
            return Ok(answer);
        }
    }
}

fn first_address(answer: &Message) -> Option<(IpAddr, Duration)> {
    answer.answers.iter().find_map(|record| {
        let address = match &record.data {
            RData::A(address) => IpAddr::V4(address.0),
            RData::AAAA(address) => IpAddr::V6(address.0),
            _ => return None,
        };
        Some((address, Duration::from_secs(record.ttl.into())))
    })
}
