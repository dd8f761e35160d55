//! When something came over a connection: a message may take longer than silence may last, and comes all the time.

use crate::http::Wire;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Instant;

/// When the last bytes came.
pub struct LastBytes(watch::Receiver<Instant>);

impl LastBytes {
    /// The time that went by since the last bytes came, where some came after this moment.
    pub fn since(&self, begin: Instant) -> Option<Duration> {
        let last = *self.0.borrow();
        (last > begin).then(|| last.elapsed())
    }
}

/// What takes note of that.
pub struct Listener(watch::Sender<Instant>);

/// For one connection.
pub fn listen() -> (Listener, LastBytes) {
    let (noted, heard) = watch::channel(Instant::now());
    (Listener(noted), LastBytes(heard))
}

impl Listener {
    /// Listens to this one.
    pub fn over<S: Wire>(self, wire: S) -> MonitoredConnection<S> {
        MonitoredConnection { wire, noted: self.0 }
    }
}

/// A connection that notes when bytes come.
pub struct MonitoredConnection<S> {
    wire: S,
    noted: watch::Sender<Instant>,
}

impl<S: Wire> AsyncRead for MonitoredConnection<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.wire).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            this.noted.send_replace(Instant::now());
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
        let (listener, heard) = listen();
        let mut near = listener.over(near);
        let mut begin = Instant::now();
        near.write_all(b"hello").await.unwrap();
        assert!(heard.since(begin).is_none());
        far.write_all(b"ab").await.unwrap();
        let mut byte = [0];
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            near.read_exact(&mut byte).await.unwrap();
            assert!(heard.since(begin).is_some_and(|silence| silence < begin.elapsed()));
            begin = Instant::now();
            assert!(heard.since(begin).is_none());
        }
        drop(far);
        assert_eq!(near.read(&mut byte).await.unwrap(), 0);
        assert!(heard.since(begin).is_none(), "the end is nothing that came");
    }
}
