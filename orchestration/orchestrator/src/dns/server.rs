//! The sockets of the name server.

use super::{Error, Result, handler::Handler, zone::Zone};
use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    net::{TcpListener, UdpSocket},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use types::chain;

/// How long a TCP connection may be silent.
const TCP_IDLE: Duration = Duration::from_secs(10);

/// Messages that may wait for one TCP client: the largest zone transfer has fewer.
const TCP_QUEUE_MAX: usize = 32_768;

/// How often a free port is looked for that both UDP and TCP have.
const PORT_ATTEMPTS: usize = 16;

/// A running name server; it goes on if this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Where it listens, for UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns when the server has stopped and its sockets are closed.
    pub async fn stopped(self) {
        if let Err(error) = self.task.await {
            warn!(error = chain(&error), "the name server ended abnormally");
        }
    }
}

/// Answers queries for `zone` at `listen`, by UDP and TCP, until `shutdown` is cancelled.
///
/// Port 0 takes a free one, the same for both.
///
/// # Errors
/// [`Error::Listen`] if the address cannot be used.
pub async fn serve(zone: Zone, listen: SocketAddr, shutdown: CancellationToken) -> Result<Server> {
    let (udp, tcp) =
        bind(listen).await.map_err(|source| Error::Listen { address: listen, source })?;
    let address = udp.local_addr().map_err(|source| Error::Listen { address: listen, source })?;
    info!(%address, origin = zone.origin(), "the name server listens");
    let mut server = hickory_server::Server::new(Handler::new(zone));
    server.register_socket(udp);
    server.register_listener(tcp, TCP_IDLE, TCP_QUEUE_MAX);
    let task = tokio::spawn(async move {
        let ended = tokio::select! {
            () = shutdown.cancelled() => server.shutdown_gracefully().await,
            ended = server.block_until_done() => ended,
        };
        if let Err(error) = ended {
            warn!(error = chain(&error), "the name server ended abnormally");
        }
    });
    Ok(Server { address, task })
}

async fn bind(listen: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut attempt = 1;
    loop {
        let udp = UdpSocket::bind(listen).await?;
        let address = udp.local_addr()?;
        match TcpListener::bind(address).await {
            Ok(tcp) => return Ok((udp, tcp)),
            // Another program may hold the TCP port of the free UDP port that we were given.
            Err(error)
                if listen.port() == 0
                    && error.kind() == io::ErrorKind::AddrInUse
                    && attempt < PORT_ATTEMPTS =>
            {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}
