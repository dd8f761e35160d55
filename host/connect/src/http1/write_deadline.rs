//! Limits how long the peer of a connection may read nothing. Without it, a peer that sends requests and never reads the responses
//! keeps its connection indefinitely.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long the peer may read nothing while something waits to be written.
const TIME_MAX: Duration = Duration::from_secs(15);
/// Minimum rate at which a slow peer must read.
const BYTES_PER_SECOND_MIN: u32 = 256;

/// A connection that fails with `TimedOut` if its peer reads too slowly.
pub struct WriteDeadline<S> {
    stream: S,
    /// The deadline, from when a write had to wait until all is written.
    waiting: Option<Pin<Box<Sleep>>>,
    time_max: Duration,
}

impl<S> WriteDeadline<S> {
    /// Creates a deadline without a pending write.
    pub fn new(stream: S) -> WriteDeadline<S> {
        WriteDeadline { stream, waiting: None, time_max: TIME_MAX }
    }

    /// Fails if the deadline has passed.
    fn wait<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let time_max = self.time_max;
        ready!(self.waiting.get_or_insert_with(|| Box::pin(sleep(time_max))).as_mut().poll(cx));
        let seconds = time_max.as_secs();
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, format!("the peer read nothing for {seconds} s"))))
    }

    /// Extends the deadline for bytes that were written.
    fn extend_deadline(&mut self, bytes: usize) {
        if let Some(waiting) = &mut self.waiting {
            let seconds = u32::try_from(bytes).unwrap_or(u32::MAX);
            let more = Duration::from_secs(1).saturating_mul(seconds) / BYTES_PER_SECOND_MIN;
            let latest = Instant::now() + self.time_max;
            let until = waiting.deadline().checked_add(more).unwrap_or(latest).min(latest);
            waiting.as_mut().reset(until);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteDeadline<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, to)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteDeadline<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.check_written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.check_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Everything has been written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        self.waiting = None;
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S> WriteDeadline<S> {
    fn check_written(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => self.wait(cx),
            Poll::Ready(written) => {
                self.extend_deadline(written.as_ref().copied().unwrap_or_default());
                Poll::Ready(written)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    fn limited<S>(stream: S, ms: u64) -> WriteDeadline<S> {
        WriteDeadline { time_max: Duration::from_millis(ms), ..WriteDeadline::new(stream) }
    }

    #[tokio::test]
    async fn who_takes_nothing_is_given_up() {
        let (near, _far) = duplex(64);
        let mut near = limited(near, 20);
        near.write_all(&[0; 64]).await.unwrap();
        near.flush().await.unwrap();
        let failed = near.write_all(&[0; 1]).await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_takes_little_all_the_time_is_given_up() {
        let (near, mut far) = duplex(64);
        let mut near = limited(near, 50);
        let slow = async {
            let mut bytes = [0; 1];
            while far.read_exact(&mut bytes).await.is_ok() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let written = async { timeout(Duration::from_secs(30), near.write_all(&[0; 4096])).await };
        tokio::select! {
            written = written => assert_eq!(written.unwrap().unwrap_err().kind(), ErrorKind::TimedOut),
            () = slow => panic!("it was read to its end"),
        }
    }

    #[tokio::test]
    async fn who_takes_what_comes_is_not() {
        let (near, mut far) = duplex(64);
        let mut near = limited(near, 1000);
        let mut all = vec![0; 1 << 20];
        let (written, read) = tokio::join!(near.write_all(&[1; 1 << 20]), far.read_exact(&mut all));
        assert!(written.is_ok() && read.is_ok());
        near.flush().await.unwrap();
        assert!(near.waiting.is_none());
    }
}
