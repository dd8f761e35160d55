//! Whether the other processes of a job still live. timely does not say so to a process that sends nothing: it would
//! wait for a dead peer for ever. So every two processes keep one more connection, on which both ends send a byte every so
//! often; the end of the connection or silence means that the other is lost, also where only the way between these two is cut.
//!
//! That begins as soon as two are connected: while some of them still wait for others, for as long as that takes, they tell
//! each other that they live. From when all are there, who loses one of the others ends, and the rest lose it then.

use super::sealed::Sealed;
use crate::limits::{LIVENESS_FAILED_MS_MAX, LIVENESS_MS, LIVENESS_SILENCE_MS_MAX};
use millstream_base::error::{Error, Result};
use millstream_base::threads;
use millstream_base::threads::lost_connection;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const BEAT: u8 = b'.';
/// The sender has ended well; its silence means nothing from now on.
const GOODBYE: u8 = b'!';

/// The watch over other processes. Dropping it ends it without a goodbye: the others lose this process.
pub struct Liveness {
    watched: Arc<PeerWatch>,
}

/// Another process that is watched.
#[derive(Clone)]
pub struct WatchedPeer {
    link: Sealed,
    lost: Arc<AtomicBool>,
}

struct PeerWatch {
    state: Mutex<WatchState>,
    changed: Condvar,
    on_lost: Box<dyn Fn(Error) + Send + Sync>,
}

#[derive(Default)]
struct WatchState {
    peers: Vec<WatchedPeer>,
    /// Second handles of the dataflow's connections; `None` as long as not all processes are there.
    dataflow: Option<Vec<Sealed>>,
    ended: bool,
    /// It was told that one is lost.
    told: bool,
}

impl Liveness {
    /// A watch over nobody yet. `on_lost` is called once, from another thread, as soon as one of all is lost. `failed`: whether the job
    /// has failed here; what has not ended a while after that is cut off from the others.
    pub fn start(
        on_lost: impl Fn(Error) + Send + Sync + 'static,
        failed: impl Fn() -> bool + Send + 'static,
    ) -> Result<Liveness> {
        let watched = PeerWatch { state: Mutex::default(), changed: Condvar::new(), on_lost: Box::new(on_lost) };
        let liveness = Liveness { watched: Arc::new(watched) };
        let watched = liveness.watched.clone();
        spawn("millstream-alive", "the thread that tells other processes of this one", &liveness.watched, move || {
            watched.beat(failed);
        })?;
        Ok(liveness)
    }

    /// Watches the other end of this connection as well.
    pub fn watch(&self, link: Sealed) -> Result<WatchedPeer> {
        let broken = |error| Error::environment(format!("cannot watch the other processes: {error}"));
        let silence_max = Duration::from_millis(LIVENESS_SILENCE_MS_MAX);
        link.socket().set_read_timeout(Some(silence_max)).map_err(broken)?;
        link.socket().set_write_timeout(Some(silence_max)).map_err(broken)?;
        let peer = WatchedPeer { link, lost: Arc::default() };
        let (watched, listened) = (self.watched.clone(), peer.clone());
        spawn("millstream-peer", "the thread that listens to another process", &self.watched, move || {
            watched.listen(listened);
        })?;
        let mut state = self.watched.state();
        state.peers.retain(|peer| !peer.is_lost());
        state.peers.push(peer.clone());
        drop(state);
        self.watched.changed.notify_all();
        Ok(peer)
    }

    /// All processes are there: it is told from now on when one of them is lost, and the connections of the dataflow are broken then, so
    /// that nothing waits for a process that only hangs. `peers`: those that belong to it.
    pub fn all_there(&self, peers: &[WatchedPeer], dataflow: Vec<Sealed>) {
        self.watched.state().dataflow = Some(dataflow);
        if peers.iter().any(WatchedPeer::is_lost) {
            self.watched.lose(lost_connection());
        }
    }

    /// The job has ended well: the others are told that this process goes on purpose.
    pub fn goodbye(self) {
        self.watched.end();
        self.watched.send(GOODBYE);
    }
}

impl Drop for Liveness {
    fn drop(&mut self) {
        self.watched.end();
        // The others read what was sent before.
        self.watched.shut(Shutdown::Write);
    }
}

impl WatchedPeer {
    /// Whether it has gone without a goodbye, or says nothing any more.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }
}

fn spawn(name: &str, what: &str, watched: &Arc<PeerWatch>, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let watched = watched.clone();
    threads::start(name, what, move |error| watched.lose(error), work).map(drop)
}

impl PeerWatch {
    fn state(&self) -> MutexGuard<'_, WatchState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    fn peers(&self) -> Vec<WatchedPeer> {
        self.state().peers.clone()
    }

    /// A send that fails means nothing: the end that reads finds out why.
    fn send(&self, byte: u8) {
        for mut peer in self.peers().into_iter().filter(|peer| !peer.is_lost()) {
            let _ = peer.link.write_all(&[byte]);
        }
    }

    /// They may be closed already.
    fn shut(&self, how: Shutdown) {
        for peer in self.peers() {
            let _ = peer.link.socket().shutdown(how);
        }
    }

    fn beat(&self, failed: impl Fn() -> bool) {
        let mut failing: Option<Instant> = None;
        while !self.state().ended {
            self.send(BEAT);
            if failed()
                && failing.get_or_insert_with(Instant::now).elapsed() > Duration::from_millis(LIVENESS_FAILED_MS_MAX)
            {
                return self.break_off();
            }
            let state = self.state();
            if !state.ended {
                let every = Duration::from_millis(LIVENESS_MS);
                drop(self.changed.wait_timeout(state, every).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Reads until the other says goodbye or is lost.
    fn listen(&self, mut peer: WatchedPeer) {
        let mut bytes = [0; 64];
        loop {
            match peer.link.read(&mut bytes) {
                Ok(count @ 1..) if !bytes[..count].contains(&GOODBYE) => {}
                Ok(1..) => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    peer.lost.store(true, Ordering::Release);
                    // Also where it hears us, and only we do not hear it.
                    let _ = peer.link.socket().shutdown(Shutdown::Both);
                    let all_there = self.state().dataflow.is_some();
                    // Until then it may come again, and whoever waits for it looks for itself.
                    return if all_there {
                        self.lose(lost_connection())
                    };
                }
            }
        }
    }

    /// The others lose this process, and nothing of it waits for them.
    fn break_off(&self) {
        self.lose(lost_connection());
        self.shut(Shutdown::Both);
    }

    fn lose(&self, error: Error) {
        let mut state = self.state();
        if state.ended || std::mem::replace(&mut state.told, true) {
            return;
        }
        let dataflow = state.dataflow.take();
        drop(state);
        (self.on_lost)(error);
        for socket in dataflow.iter().flatten() {
            let _ = socket.socket().shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::sealed::pair;
    use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
    use std::time::Instant;

    /// Watches these; a message for each call of the closure.
    fn watched(liveness: Vec<Sealed>, dataflow: Vec<Sealed>) -> (Liveness, Receiver<()>) {
        let (sender, calls) = channel();
        let watch = Liveness::start(move |_| sender.send(()).unwrap(), || false).unwrap();
        let peers: Vec<_> = liveness.into_iter().map(|link| watch.watch(link).unwrap()).collect();
        watch.all_there(&peers, dataflow);
        (watch, calls)
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
        let failed = Liveness::start(move |_| sender.send(()).unwrap(), || true).unwrap();
        failed.all_there(&[failed.watch(near).unwrap()], vec![data]);
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
