//! Connections to the sites' ingresses, kept for the next request.

use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};
use types::ErrorKind;

/// Sites are near, or on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Idle and busy connections that one site may have here.
const KEPT_MAX: usize = 400;

/// Connections by site; one serves one request at a time.
#[derive(Debug, Default)]
pub(super) struct Pool {
    kept: Mutex<HashMap<SocketAddr, Vec<SendRequest<Incoming>>>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// No byte left this process: the request can be sent elsewhere.
    #[error("the site that serves it cannot be reached")]
    NotSent {
        request: Box<Request<Incoming>>,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The request may have taken effect.
    #[error(
        "the connection to its site broke before an answer came; the request may have taken effect"
    )]
    Broken(#[source] hyper::Error),
}

impl SendError {
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::NotSent { .. } => ErrorKind::Unavailable,
            Self::Broken(_) => ErrorKind::Guest,
        }
    }
}

impl Pool {
    /// Sends the request over a kept connection or a new one.
    pub(super) async fn send(
        &self,
        address: SocketAddr,
        mut request: Request<Incoming>,
    ) -> Result<Response<Incoming>, SendError> {
        // A kept connection that the other side has just closed gives the request back.
        while let Some(mut connection) = self.take(address) {
            match connection.try_send_request(request).await {
                Ok(response) => {
                    self.keep(address, connection);
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    Some(message) => request = message,
                    None => return Err(SendError::Broken(error.into_error())),
                },
            }
        }
        let mut connection = match connect(address).await {
            Ok(connection) => connection,
            Err(source) => {
                return Err(SendError::NotSent { request: request.into(), source });
            }
        };
        match connection.try_send_request(request).await {
            Ok(response) => {
                self.keep(address, connection);
                Ok(response)
            }
            Err(mut error) => Err(match error.take_message() {
                Some(request) => SendError::NotSent {
                    request: request.into(),
                    source: error.into_error().into(),
                },
                None => SendError::Broken(error.into_error()),
            }),
        }
    }

    /// A connection whose last answer has been read to its end.
    fn take(&self, address: SocketAddr) -> Option<SendRequest<Incoming>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = kept.get_mut(&address)?;
        connections.retain(|connection| !connection.is_closed());
        let index = connections.iter().rposition(SendRequest::is_ready)?;
        Some(connections.swap_remove(index))
    }

    /// The answer's body is still to be read; until then the connection is kept but not taken.
    fn keep(&self, address: SocketAddr, connection: SendRequest<Incoming>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, connections| {
            connections.retain(|connection| !connection.is_closed());
            !connections.is_empty()
        });
        let connections = kept.entry(address).or_default();
        if connections.len() < KEPT_MAX {
            connections.push(connection);
        }
    }
}

async fn connect(
    address: SocketAddr,
) -> Result<SendRequest<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%address, %error, "a connection to a site broke");
        }
    });
    Ok(sender)
}
