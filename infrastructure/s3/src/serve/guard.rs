//! A connection that does not wait for ever: a client that neither takes nor brings bytes is left.

use crate::patience::{Pace, Patience};
use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

/// A connection whose writes must go on. (How long its reads may take, is said where they are asked
/// for: between requests it is another time than within a body.)
pub(super) struct Guarded {
    stream: TcpStream,
    patience: Patience,
    /// Runs while a write waits.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Guarded {
    pub(super) fn new(stream: TcpStream, pace: Pace) -> Self {
        Self { stream, patience: Patience::new(pace), timer: None }
    }

    /// Lets a write through, or fails when it has waited too long.
    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.timer = None;
                if self.patience.moved(Instant::now(), bytes) { written } else { too_slow() }
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => {
                self.patience.waits(Instant::now());
                let stall_max = self.patience.pace.stall_max;
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(stall_max)));
                match timer.as_mut().poll(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(()) => {
                        self.timer = None;
                        too_slow()
                    }
                }
            }
        }
    }
}

fn too_slow<T>() -> Poll<io::Result<T>> {
    let text = "the client takes its response too slowly";
    Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
