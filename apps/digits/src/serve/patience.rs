//! A connection that is given up when its client takes nothing of what it is sent, and that ends
//! without cutting off what it was sent last.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::metrics::Metrics;

/// The most that is read, to be thrown away, from a client that still sends when it is to end.
const MOST_LEFT: usize = 64 << 20;

/// A stream whose writes fail where none makes progress for so long.
pub struct Patient {
    stream: TcpStream,
    patience: Duration,
    metrics: Arc<Metrics>,
    /// Runs while a write waits, and at the end.
    deadline: Pin<Box<Sleep>>,
    /// Whether a write waits.
    sending: bool,
    /// At the end: how much more is read.
    left: Option<usize>,
}

impl Patient {
    pub fn new(stream: TcpStream, patience: Duration, metrics: Arc<Metrics>) -> Patient {
        let deadline = Box::pin(sleep(patience));
        Patient { stream, patience, metrics, deadline, sending: false, left: None }
    }

    /// Sends the last there is to say and ends the connection as HTTP does.
    pub async fn end_with(mut self, mut last: &[u8]) {
        while !last.is_empty() {
            let sent = poll_fn(|context| Pin::new(&mut self).poll_write(context, last)).await;
            // Nobody takes it.
            let Ok(sent @ 1..) = sent else { return };
            last = &last[sent..];
        }
        // How it ends is the client's affair.
        let _ = poll_fn(|context| Pin::new(&mut self).poll_shutdown(context)).await;
    }

    /// Passes on what a write came to; one that waits for too long fails.
    fn within<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.end_sending();
            return result;
        }
        if !self.sending {
            self.sending = true;
            self.metrics.sending.add(1);
            self.start_waiting();
        }
        match self.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn start_waiting(&mut self) {
        self.deadline.as_mut().reset(Instant::now() + self.patience);
    }

    fn end_sending(&mut self) {
        if self.sending {
            self.sending = false;
            self.metrics.sending.sub(1);
        }
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        self.end_sending();
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.within(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Ends the sending, then reads until the client ends too, for a while. A connection closed over
    /// what was never read is reset, and the client may lose the answer that it was just sent.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut left = match self.left {
            Some(left) => left,
            None => {
                ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
                self.start_waiting();
                MOST_LEFT
            }
        };
        let mut scratch = [0; 16 << 10];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = Pin::new(&mut self.stream).poll_read(context, &mut buffer);
            match (read, buffer.filled().len()) {
                (Poll::Pending, _) => {
                    self.left = Some(left);
                    return self.deadline.as_mut().poll(context).map(Ok);
                }
                (Poll::Ready(Ok(())), 1..) if left > 0 => {
                    left = left.saturating_sub(buffer.filled().len());
                }
                // The client has ended, or nobody waits for it any more.
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}
