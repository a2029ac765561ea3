//! A request's body that comes back when whoever read it has done, so that what is left of it can be
//! read before the connection is used again.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

/// Most bytes that are read for nothing. A client that sends on, learns nothing but that the
/// connection is closed.
const LEFT_MAX_BYTES: u64 = 8 << 20;

/// How long that may take.
const LEFT_MAX: Duration = Duration::from_secs(5);

/// Where a lent body comes back to.
#[derive(Debug, Clone, Default)]
pub(super) struct Home(Arc<Mutex<Option<Lent>>>);

/// A body on loan.
#[derive(Debug)]
struct Lent {
    incoming: Incoming,
    /// Whether somebody asked for bytes: then the client was told to go on.
    is_begun: bool,
    /// Whether its end was read.
    is_over: bool,
}

impl Lent {
    fn is_over(&self) -> bool {
        self.is_over || self.incoming.is_end_stream()
    }
}

impl Home {
    /// Lends a body.
    pub(super) fn lend(&self, incoming: Incoming) -> Loan {
        Loan { lent: Some(Lent { incoming, is_begun: false, is_over: false }), home: self.clone() }
    }

    /// Reads what is left of the body, as far as the client sends it without being told to. False if
    /// some of it may still come: then the connection cannot be used again.
    pub(super) async fn drain(&self, waits_for_leave: bool) -> bool {
        let Some(lent) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return true;
        };
        if lent.is_over() {
            return true;
        }
        if waits_for_leave && !lent.is_begun {
            return false;
        }
        let mut incoming = lent.incoming;
        let read = async {
            let mut size = 0;
            while size < LEFT_MAX_BYTES {
                match incoming.frame().await {
                    Some(Ok(frame)) => size += frame.data_ref().map_or(0, |data| data.len() as u64),
                    Some(Err(_)) => return false,
                    None => return true,
                }
            }
            false
        };
        tokio::time::timeout(LEFT_MAX, read).await.unwrap_or(false)
    }
}

/// A body that comes home when it is dropped.
#[derive(Debug)]
pub(super) struct Loan {
    lent: Option<Lent>,
    home: Home,
}

impl Body for Loan {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(lent) = &mut self.lent else { return Poll::Ready(None) };
        lent.is_begun = true;
        let frame = Pin::new(&mut lent.incoming).poll_frame(cx);
        lent.is_over = matches!(frame, Poll::Ready(None));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.lent.as_ref().is_none_or(|lent| lent.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.lent.as_ref().map_or_else(SizeHint::default, |lent| lent.incoming.size_hint())
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        *self.home.0.lock().unwrap_or_else(PoisonError::into_inner) = self.lent.take();
    }
}
