//! Detects whether the other processes of a job are alive. timely does not: a process that only receives would wait for
//! a dead peer indefinitely. So every two processes keep one more connection, on which both ends send a byte
//! periodically. If it is closed or silent, the other process is considered lost, even if only the network between
//! these two is interrupted.
//!
//! This begins as soon as two processes are connected. While some of them still wait for others, they send signs of
//! life for as long as that takes. After all are connected, a process that loses another one ends, and the rest then
//! lose it.

use super::sealed::Sealed;
use crate::limits::{LIVENESS_FAILED_MS_MAX, LIVENESS_MS, LIVENESS_TIMEOUT_MS};
use millstream_base::error::{Error, Result};
use millstream_base::threads;
use millstream_base::threads::lost_connection;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const BEAT: u8 = b'.';
/// The sender has ended successfully, so missing heartbeats are no error.
const GOODBYE: u8 = b'!';

/// Watches the other processes. Dropping it ends the watch without a goodbye, so the others lose this process.
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
    /// Second handles of the dataflow's connections. `None` until all processes are connected.
    dataflow: Option<Vec<Sealed>>,
    ended: bool,
    /// The loss of a process was reported.
    is_reported: bool,
}

impl Liveness {
    /// Starts a watch without peers. `on_lost` is called once, from another thread, when a peer is lost. `failed`
    /// returns whether the job has failed here. If it has not ended some time after that, its connections are closed.
    pub fn start(
        on_lost: impl Fn(Error) + Send + Sync + 'static,
        failed: impl Fn() -> bool + Send + 'static,
    ) -> Result<Liveness> {
        let watched = PeerWatch { state: Mutex::default(), changed: Condvar::new(), on_lost: Box::new(on_lost) };
        let liveness = Liveness { watched: Arc::new(watched) };
        let watched = liveness.watched.clone();
        spawn(
            "millstream-alive",
            "the thread that sends keep-alive messages to the job's processes",
            &liveness.watched,
            move || {
                watched.beat(failed);
            },
        )?;
        Ok(liveness)
    }

    /// Also watches the other end of this connection.
    pub fn watch(&self, link: Sealed) -> Result<WatchedPeer> {
        let broken = |error| Error::environment(format!("cannot watch the other processes: {error}"));
        let timeout = Duration::from_millis(LIVENESS_TIMEOUT_MS);
        link.socket().set_read_timeout(Some(timeout)).map_err(broken)?;
        link.socket().set_write_timeout(Some(timeout)).map_err(broken)?;
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

    /// Records that all processes are connected. From now on a loss is reported, and closes the dataflow's connections,
    /// so that nothing waits for a process that does not respond. `peers`: the processes of the job.
    pub fn all_connected(&self, peers: &[WatchedPeer], dataflow: Vec<Sealed>) {
        self.watched.state().dataflow = Some(dataflow);
        if peers.iter().any(WatchedPeer::is_lost) {
            self.watched.report_loss(lost_connection());
        }
    }

    /// Notifies the others that the job has ended successfully and this process exits on purpose.
    pub fn goodbye(self) {
        self.watched.end();
        self.watched.send(GOODBYE);
    }
}

impl Drop for Liveness {
    fn drop(&mut self) {
        self.watched.end();
        // The others still read what was sent before.
        self.watched.shutdown_all(Shutdown::Write);
    }
}

impl WatchedPeer {
    /// Returns whether the process closed its connection without a goodbye, or is silent.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }
}

fn spawn(name: &str, what: &str, watched: &Arc<PeerWatch>, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let watched = watched.clone();
    threads::start(name, what, move |error| watched.report_loss(error), work).map(drop)
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

    /// Sends a byte to all peers. A failed send is ignored: the reading end detects the cause.
    fn send(&self, byte: u8) {
        for mut peer in self.peers().into_iter().filter(|peer| !peer.is_lost()) {
            let _ = peer.link.write_all(&[byte]);
        }
    }

    /// Closes the connections. They may already be closed.
    fn shutdown_all(&self, how: Shutdown) {
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
                return self.disconnect();
            }
            let state = self.state();
            if !state.ended {
                let every = Duration::from_millis(LIVENESS_MS);
                drop(self.changed.wait_timeout(state, every).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Reads until the other process says goodbye or is lost.
    fn listen(&self, mut peer: WatchedPeer) {
        let mut bytes = [0; 64];
        loop {
            match peer.link.read(&mut bytes) {
                Ok(count @ 1..) if !bytes[..count].contains(&GOODBYE) => {}
                Ok(1..) => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    peer.lost.store(true, Ordering::Release);
                    // This also covers the case that only one direction is interrupted.
                    let _ = peer.link.socket().shutdown(Shutdown::Both);
                    let all_there = self.state().dataflow.is_some();
                    // Until then it may reconnect, and the thread that waits for it checks it.
                    return if all_there {
                        self.report_loss(lost_connection())
                    };
                }
            }
        }
    }

    /// Makes the others lose this process, and closes its connections so that it does not wait for them.
    fn disconnect(&self) {
        self.report_loss(lost_connection());
        self.shutdown_all(Shutdown::Both);
    }

    fn report_loss(&self, error: Error) {
        let mut state = self.state();
        if state.ended || std::mem::replace(&mut state.is_reported, true) {
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

    /// Watches these connections. The receiver gets a message per call of `on_lost`.
    fn watch_all(liveness: Vec<Sealed>, dataflow: Vec<Sealed>) -> (Liveness, Receiver<()>) {
        let (sender, calls) = channel();
        let watch = Liveness::start(move |_| sender.send(()).unwrap(), || false).unwrap();
        let peers: Vec<_> = liveness.into_iter().map(|link| watch.watch(link).unwrap()).collect();
        watch.all_connected(&peers, dataflow);
        (watch, calls)
    }

    #[test]
    fn a_closed_connection_and_a_silent_one_are_lost_in_time_and_once() {
        for is_open in [false, true] {
            let ((near, far), (other_near, other_far), (data, mut data_far)) = (pair(), pair(), pair());
            let (_liveness, calls) = watch_all(vec![near, other_near], vec![data]);
            let began = Instant::now();
            let kept = is_open.then_some((far, other_far));
            calls.recv_timeout(Duration::from_secs(10)).unwrap();
            let took = began.elapsed();
            assert!(took < Duration::from_secs(if is_open { 2 } else { 1 }), "{took:?}");
            assert_eq!(data_far.read(&mut [0]).unwrap(), 0, "the dataflow's connections are broken");
            let wait = Duration::from_millis(LIVENESS_TIMEOUT_MS + 200);
            assert_eq!(calls.recv_timeout(wait), Err(RecvTimeoutError::Timeout), "two are lost, and it is told once");
            drop(kept);
        }
    }

    /// Simulates a worker that ended before it could notify the others, which then wait for each other.
    #[test]
    fn who_has_failed_and_does_not_end_breaks_its_connections() {
        let ((near, far), (data, mut data_far)) = (pair(), pair());
        let (sender, calls) = channel();
        let failed = Liveness::start(move |_| sender.send(()).unwrap(), || true).unwrap();
        failed.all_connected(&[failed.watch(near).unwrap()], vec![data]);
        let (_other, lost) = watch_all(vec![far], Vec::new());
        calls.recv_timeout(Duration::from_secs(10)).unwrap();
        lost.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(data_far.read(&mut [0]).unwrap(), 0, "the dataflow's connections are broken");
    }

    #[test]
    fn two_that_live_hear_each_other_and_a_goodbye_is_no_loss() {
        let (near, far) = pair();
        let (first, first_calls) = watch_all(vec![near], Vec::new());
        let (second, second_calls) = watch_all(vec![far], Vec::new());
        let wait = Duration::from_millis(LIVENESS_TIMEOUT_MS + 500);
        assert_eq!(first_calls.recv_timeout(wait), Err(RecvTimeoutError::Timeout));
        first.goodbye();
        // The second process lives longer than the heartbeat timeout.
        assert_eq!(second_calls.recv_timeout(wait), Err(RecvTimeoutError::Timeout));
        second.goodbye();
        assert!(first_calls.recv_timeout(Duration::from_millis(100)).is_err());
    }
}
