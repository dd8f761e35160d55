//! Tracks when bytes last arrived over a connection. A message may take longer than the idle limit if its bytes keep arriving.

use millstream_connect::http1::Wire;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Instant;

/// The time when bytes last arrived.
pub struct LastBytes(watch::Receiver<Instant>);

impl LastBytes {
    /// Returns how long ago bytes last arrived, if some arrived after `begin`.
    pub fn idle_since(&self, begin: Instant) -> Option<Duration> {
        let last = *self.0.borrow();
        (last > begin).then(|| last.elapsed())
    }
}

/// Records when bytes arrive.
pub struct Tracker(watch::Sender<Instant>);

/// Creates the two ends of the tracking of one connection.
pub fn tracker() -> (Tracker, LastBytes) {
    let (last, last_bytes) = watch::channel(Instant::now());
    (Tracker(last), LastBytes(last_bytes))
}

impl Tracker {
    /// Wraps a connection.
    pub fn track<S: Wire>(self, wire: S) -> MonitoredConnection<S> {
        MonitoredConnection { wire, last: self.0 }
    }
}

/// A connection that records when bytes arrive.
pub struct MonitoredConnection<S> {
    wire: S,
    last: watch::Sender<Instant>,
}

impl<S: Wire> AsyncRead for MonitoredConnection<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.wire).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            this.last.send_replace(Instant::now());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Wire> AsyncWrite for MonitoredConnection<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().wire).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().wire).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn bytes_that_come_are_noted_and_not_those_that_go() {
        let (mut far, near) = duplex(100);
        let (listener, last_bytes) = tracker();
        let mut near = listener.track(near);
        let mut begin = Instant::now();
        near.write_all(b"hello").await.unwrap();
        assert!(last_bytes.idle_since(begin).is_none());
        far.write_all(b"ab").await.unwrap();
        let mut byte = [0];
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            near.read_exact(&mut byte).await.unwrap();
            assert!(last_bytes.idle_since(begin).is_some_and(|idle| idle < begin.elapsed()));
            begin = Instant::now();
            assert!(last_bytes.idle_since(begin).is_none());
        }
        drop(far);
        assert_eq!(near.read(&mut byte).await.unwrap(), 0);
        assert!(last_bytes.idle_since(begin).is_none(), "the end is nothing that came");
    }
}
