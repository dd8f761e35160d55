//! Machines that are all this one: a relay between each two delays their connections. TCP would resend what a network loses, so
//! here nothing of a connection is lost; it only arrives later.

use super::{Fate, Ways};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(5);
/// After which TCP sends again.
const AGAIN: Duration = Duration::from_millis(200);

/// The ports of the machines, and of the relays between each two of them.
pub struct Relays {
    own: Vec<u16>,
    between: HashMap<(usize, usize), u16>,
    ended: Arc<AtomicBool>,
}

impl Relays {
    /// To machines that listen on these ports.
    pub fn new(ways: &Arc<Ways>, own: Vec<u16>) -> Relays {
        let ended = Arc::new(AtomicBool::new(false));
        let mut between = HashMap::new();
        for from in 0..own.len() {
            for to in (0..own.len()).filter(|to| *to != from) {
                let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port for a relay");
                between.insert((from, to), listener.local_addr().expect("it has an address").port());
                let (ways, target, ended) = (ways.clone(), own[to], ended.clone());
                thread::spawn(move || listen(&listener, target, (from, to), &ways, &ended));
            }
        }
        Relays { own, between, ended }
    }

    /// The port at which a machine reaches another one, or itself.
    pub fn port(&self, from: usize, to: usize) -> u16 {
        self.between.get(&(from, to)).copied().unwrap_or_else(|| self.own[to])
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for port in self.between.values() {
            // The relay checks whether it should stop when a client connects.
            let _ = TcpStream::connect(("127.0.0.1", *port));
        }
    }
}

fn listen(listener: &TcpListener, target: u16, (from, to): (usize, usize), ways: &Arc<Ways>, ended: &Arc<AtomicBool>) {
    for near in listener.incoming().map_while(Result::ok) {
        if ended.load(Ordering::Relaxed) {
            return;
        }
        let (ways, ended) = (ways.clone(), ended.clone());
        thread::spawn(move || {
            if !open(&ways, (from, to), &ended) {
                return;
            }
            let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else { return };
            let Ok((back_from, back_to)) = far.try_clone().and_then(|far| Ok((far, near.try_clone()?))) else { return };
            for (source, sink, way) in [(near, far, (from, to)), (back_from, back_to, (to, from))] {
                let (sender, pieces) = channel();
                let Ok(received) = source.try_clone() else { return };
                thread::spawn(move || hear(received, &sender));
                let (ways, ended) = (ways.clone(), ended.clone());
                thread::spawn(move || pass(&pieces, (&source, &sink), &ways, way, &ended));
            }
        });
    }
}

/// Waits until the link is open. Returns false if it is no longer needed.
fn open(ways: &Ways, (from, to): (usize, usize), ended: &AtomicBool) -> bool {
    while ways.link(from, to).cut {
        if ended.load(Ordering::Relaxed) {
            return false;
        }
        thread::sleep(LOOK_EVERY);
    }
    true
}

/// Reads what one end sends, with the time.
fn hear(mut source: TcpStream, pieces: &Sender<(Instant, Vec<u8>)>) {
    let mut bytes = [0; 16384];
    while let Ok(count @ 1..) = source.read(&mut bytes) {
        if pieces.send((Instant::now(), bytes[..count].to_vec())).is_err() {
            return;
        }
    }
}

/// Sends it to the other end, with the delay of the link. A cut link also holds back the end of a connection.
fn pass(
    pieces: &Receiver<(Instant, Vec<u8>)>,
    (source, mut sink): (&TcpStream, &TcpStream),
    ways: &Ways,
    way: (usize, usize),
    ended: &AtomicBool,
) {
    for (received, piece) in pieces {
        let arrives = loop {
            match ways.fate(way.0, way.1) {
                Fate::Arrives(delay) => break received + delay,
                Fate::Lost if ways.link(way.0, way.1).cut => {
                    if !open(ways, way, ended) {
                        return;
                    }
                }
                Fate::Lost => thread::sleep(AGAIN),
            }
        };
        thread::sleep(arrives.saturating_duration_since(Instant::now()));
        if sink.write_all(&piece).is_err() {
            // The other end has closed. This end is notified as soon as the way back is open.
            if open(ways, (way.1, way.0), ended) {
                let _ = source.shutdown(Shutdown::Both);
            }
            return;
        }
    }
    if open(ways, way, ended) {
        let _ = sink.shutdown(Shutdown::Write);
    }
}
