//! Whether the other processes of a job still live. timely does not say so to a process that sends nothing: it would
//! wait for a dead peer for ever. So every two processes keep one more connection, on which both ends send a byte every so
//! often; the end of the connection or silence means that the other is lost, also where only the way between these two is cut.
//!
//! Who loses one of the others ends, and the rest lose it then.

use super::connect::{Links, Sealed};
use crate::error::{Error, Result};
use crate::limits::{LIVENESS_FAILED_MS_MAX, LIVENESS_MS, LIVENESS_SILENCE_MS_MAX};
use crate::threads;
use crate::threads::lost_connection;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

const BEAT: u8 = b'.';
/// The sender has ended well; its silence means nothing from now on.
const GOODBYE: u8 = b'!';

/// The watch over other processes. Dropping it ends it without a goodbye: the others lose this process.
pub struct Liveness {
    watched: Arc<PeerWatch>,
}

struct PeerWatch {
    links: Links,
    ended: Mutex<bool>,
    changed: Condvar,
    lost: AtomicBool,
    on_lost: Box<dyn Fn(Error) + Send + Sync>,
}

/// Watches the other ends of `links`. `on_lost` is called once, from another thread, as soon as one of them is lost; the
/// connections of the dataflow are broken then, so that nothing waits for a process that only hangs. `failed`: whether the job
/// has failed here; what has not ended a while after that is cut off from the others.
pub fn watch(
    links: Links,
    on_lost: impl Fn(Error) + Send + Sync + 'static,
    failed: impl Fn() -> bool + Send + 'static,
) -> Result<Liveness> {
    let watched = Arc::new(PeerWatch {
        links,
        ended: Mutex::new(false),
        changed: Condvar::new(),
        lost: AtomicBool::new(false),
        on_lost: Box::new(on_lost),
    });
    let liveness = Liveness { watched };
    if liveness.watched.links.liveness.is_empty() {
        return Ok(liveness);
    }
    let broken = |error| Error::environment(format!("cannot watch the other processes: {error}"));
    for link in &liveness.watched.links.liveness {
        let silence_max = Duration::from_millis(LIVENESS_SILENCE_MS_MAX);
        link.socket().set_read_timeout(Some(silence_max)).map_err(broken)?;
        link.socket().set_write_timeout(Some(silence_max)).map_err(broken)?;
        let (link, watched) = (link.clone(), liveness.watched.clone());
        spawn("millstream-peer", "the thread that listens to another process", &liveness.watched, move || {
            watched.listen(link);
        })?;
    }
    let watched = liveness.watched.clone();
    spawn("millstream-alive", "the thread that tells other processes of this one", &liveness.watched, move || {
        watched.beat(failed);
    })?;
    Ok(liveness)
}

fn spawn(name: &str, what: &str, watched: &Arc<PeerWatch>, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let watched = watched.clone();
    threads::start(name, what, move |error| watched.lose(error), work).map(drop)
}

impl Liveness {
    /// The job has ended well: the others are told that this process goes on purpose.
    pub fn goodbye(self) {
        self.watched.end();
        self.watched.send(GOODBYE);
    }
}

impl Drop for Liveness {
    fn drop(&mut self) {
        self.watched.end();
        for link in &self.watched.links.liveness {
            // The others read what was sent before. It may be closed already.
            let _ = link.socket().shutdown(Shutdown::Write);
        }
    }
}

impl PeerWatch {
    fn end(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    fn ended(&self) -> bool {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A send that fails means nothing: the end that reads finds out why.
    fn send(&self, byte: u8) {
        for link in &self.links.liveness {
            let _ = link.clone().write_all(&[byte]);
        }
    }

    fn beat(&self, failed: impl Fn() -> bool) {
        let mut failing: Option<Instant> = None;
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        while !*ended {
            drop(ended);
            self.send(BEAT);
            if failed()
                && failing.get_or_insert_with(Instant::now).elapsed() > Duration::from_millis(LIVENESS_FAILED_MS_MAX)
            {
                return self.break_off();
            }
            ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            if !*ended {
                let every = Duration::from_millis(LIVENESS_MS);
                ended = self.changed.wait_timeout(ended, every).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Reads until the other says goodbye or is lost.
    fn listen(&self, mut link: Sealed) {
        let mut bytes = [0; 64];
        loop {
            match link.read(&mut bytes) {
                Ok(count @ 1..) if !bytes[..count].contains(&GOODBYE) => {}
                Ok(1..) => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return self.lose(lost_connection()),
            }
        }
    }

    /// The others lose this process, and nothing of it waits for them.
    fn break_off(&self) {
        self.lose(lost_connection());
        for link in &self.links.liveness {
            let _ = link.socket().shutdown(Shutdown::Both);
        }
    }

    fn lose(&self, error: Error) {
        if self.ended() || self.lost.swap(true, Ordering::AcqRel) {
            return;
        }
        (self.on_lost)(error);
        for socket in &self.links.dataflow {
            let _ = socket.socket().shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::connect::pair;
    use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
    use std::time::Instant;

    /// Watches these; a message for each call of the closure.
    fn watched(liveness: Vec<Sealed>, dataflow: Vec<Sealed>) -> (Liveness, Receiver<()>) {
        let (sender, calls) = channel();
        (watch(Links { liveness, dataflow }, move |_| sender.send(()).unwrap(), || false).unwrap(), calls)
    }

    #[test]
    fn a_closed_connection_and_a_silent_one_are_lost_in_time_and_once() {
        for silent in [false, true] {
            let ((near, far), (other_near, other_far), (data, mut data_far)) = (pair(), pair(), pair());
            let (_liveness, calls) = watched(vec![near, other_near], vec![data]);
            let began = Instant::now();
            let kept = silent.then_some((far, other_far));
            calls.recv_timeout(Duration::from_secs(10)).unwrap();
            let took = began.elapsed();
            assert!(took < Duration::from_secs(if silent { 2 } else { 1 }), "{took:?}");
            assert_eq!(data_far.read(&mut [0]).unwrap(), 0, "the dataflow's connections are broken");
            let silence = Duration::from_millis(LIVENESS_SILENCE_MS_MAX + 200);
            assert_eq!(
                calls.recv_timeout(silence),
                Err(RecvTimeoutError::Timeout),
                "two are lost, and it is told once"
            );
            drop(kept);
        }
    }

    /// As where a worker ended before it could tell the others, which then wait for each other.
    #[test]
    fn who_has_failed_and_does_not_end_breaks_its_connections() {
        let ((near, far), (data, mut data_far)) = (pair(), pair());
        let (sender, calls) = channel();
        let links = Links { liveness: vec![near], dataflow: vec![data] };
        let _failed = watch(links, move |_| sender.send(()).unwrap(), || true).unwrap();
        let (_other, lost) = watched(vec![far], Vec::new());
        calls.recv_timeout(Duration::from_secs(10)).unwrap();
        lost.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(data_far.read(&mut [0]).unwrap(), 0, "the dataflow's connections are broken");
    }

    #[test]
    fn two_that_live_hear_each_other_and_a_goodbye_is_no_loss() {
        let (near, far) = pair();
        let (first, first_calls) = watched(vec![near], Vec::new());
        let (second, second_calls) = watched(vec![far], Vec::new());
        let silence = Duration::from_millis(LIVENESS_SILENCE_MS_MAX + 500);
        assert_eq!(first_calls.recv_timeout(silence), Err(RecvTimeoutError::Timeout));
        first.goodbye();
        // The second lives on for longer than a silence may last.
        assert_eq!(second_calls.recv_timeout(silence), Err(RecvTimeoutError::Timeout));
        second.goodbye();
        assert!(first_calls.recv_timeout(Duration::from_millis(100)).is_err());
    }
}
