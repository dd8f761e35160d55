//! A relay between two processes. It forwards their bytes, records them, injects bytes, or stops forwarding.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A byte string, and how long forwarding pauses when it occurs.
pub type PauseAt = (Vec<u8>, Duration);

/// Passes connections on to a port.
pub struct Relay {
    /// The port it listens on.
    pub port: u16,
    /// The bytes that each client has sent.
    pub seen: Arc<Mutex<Vec<Vec<u8>>>>,
    /// After a connection has carried this number of bytes, junk is inserted before each piece from clients.
    pub junk_behind: Arc<Mutex<Option<usize>>>,
    /// Nothing is forwarded in either direction. Connections stay open.
    pub cut: [Arc<AtomicBool>; 2],
    /// Traffic to clients pauses once.
    pub held_back: Arc<Mutex<Option<PauseAt>>>,
}

impl Relay {
    /// Starts a relay for connections to this port.
    pub fn to(target: u16) -> Relay {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let relay = Relay {
            port,
            seen: Arc::default(),
            junk_behind: Arc::default(),
            cut: Default::default(),
            held_back: Arc::default(),
        };
        let (seen, junk_behind, cut) = (relay.seen.clone(), relay.junk_behind.clone(), relay.cut.clone());
        let held_back = relay.held_back.clone();
        thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let number = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(Vec::new());
                    seen.len() - 1
                };
                let (seen, junk_behind, [there, back]) = (seen.clone(), junk_behind.clone(), cut.clone());
                let (back_from, back_to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
                let held_back = held_back.clone();
                thread::spawn(move || {
                    pass(back_from, back_to, &back, |piece| {
                        let is_there = |bytes: &[u8]| piece.windows(bytes.len()).any(|part| part == bytes);
                        let state = held_back.lock().unwrap().take_if(|(bytes, _)| is_there(bytes));
                        thread::sleep(state.map_or(Duration::ZERO, |(_, time)| time));
                    });
                });
                thread::spawn(move || {
                    pass(near, far, &there, |piece| {
                        let mut seen = seen.lock().unwrap();
                        seen[number].extend_from_slice(piece);
                        if junk_behind.lock().unwrap().is_some_and(|bytes| seen[number].len() > bytes) {
                            drop(piece.splice(..0, [0x20; 3000]));
                        }
                    });
                });
            }
        });
        relay
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool, mut see: impl FnMut(&mut Vec<u8>)) {
    let mut bytes = [0; 8192];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if cut.load(Ordering::Relaxed) {
            continue;
        }
        let mut piece = bytes[..count].to_vec();
        see(&mut piece);
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    // A cut connection does not forward its end.
    if !cut.load(Ordering::Relaxed) {
        let _ = to.shutdown(Shutdown::Write);
    }
}
