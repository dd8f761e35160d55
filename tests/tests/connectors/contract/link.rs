//! A link between a job and its server, which a test opens, stalls and cuts. A job that connects to a cut link is refused.

use millstream_tests::{DEADLINE, free_port, wait_until};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the listener looks whether it was cut.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Bytes that pass at a time.
const PIECE: usize = 16 << 10;

/// A port of 127.0.0.1 that leads to another.
pub struct Link {
    port: u16,
    target: u16,
    shared: Arc<Shared>,
    listener: Mutex<Option<Listener>>,
}

/// What all connections of a link share.
#[derive(Default)]
struct Shared {
    stalled: Mutex<Stalled>,
    flows: Condvar,
    /// How many pieces wait because the link is stalled.
    held: AtomicUsize,
    connections: Mutex<Vec<TcpStream>>,
}

/// What a link holds back.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stalled {
    #[default]
    Nothing,
    /// What the server sends.
    Replies,
    Everything,
}

struct Listener {
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Link {
    /// A link to this port that is cut until it is [opened](Self::open).
    pub fn to(target: u16) -> Link {
        Link::at(free_port(), target)
    }

    /// The same on this port.
    pub fn at(port: u16, target: u16) -> Link {
        Link { port, target, shared: Arc::default(), listener: Mutex::default() }
    }

    /// Where the job connects.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets connections through.
    pub fn open(&self) {
        self.set_stalled(Stalled::Nothing);
        let mut held = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return;
        }
        let mut listener = None;
        wait_until(&format!("port {} of the link is free", self.port), || {
            listener = TcpListener::bind(("127.0.0.1", self.port)).ok();
            listener.is_some()
        });
        let listener = listener.expect("it is bound");
        listener.set_nonblocking(true).expect("a listener");
        let over = Arc::new(AtomicBool::new(false));
        let (shared, target, ends) = (self.shared.clone(), self.target, over.clone());
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Acquire) {
                match listener.accept() {
                    Ok((near, _)) => connect(&shared, near, target),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(LOOK_EVERY),
                    Err(_) => {}
                }
            }
        });
        *held = Some(Listener { over, thread });
    }

    /// Breaks all connections, and refuses new ones.
    pub fn cut(&self) {
        if let Some(listener) = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take() {
            listener.over.store(true, Ordering::Release);
            let _ = listener.thread.join();
        }
        for connection in self.shared.connections().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        self.set_stalled(Stalled::Nothing);
    }

    /// Keeps all connections, and holds back what passes.
    pub fn stall(&self) {
        self.shared.held.store(0, Ordering::Release);
        self.set_stalled(Stalled::Everything);
    }

    /// The same for what the server sends.
    pub fn stall_replies(&self) {
        self.shared.held.store(0, Ordering::Release);
        self.set_stalled(Stalled::Replies);
    }

    /// Whether somebody has sent something since the link stalls.
    pub fn holds_bytes(&self) -> bool {
        self.shared.held.load(Ordering::Acquire) > 0
    }

    fn set_stalled(&self, stalled: Stalled) {
        *self.shared.stalled.lock().unwrap_or_else(PoisonError::into_inner) = stalled;
        self.shared.flows.notify_all();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Shared {
    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the link is stalled.
    fn wait(&self, is_reply: bool) {
        let holds = |stalled: &mut Stalled| match stalled {
            Stalled::Nothing => false,
            Stalled::Replies => is_reply,
            Stalled::Everything => true,
        };
        let mut stalled = self.stalled.lock().unwrap_or_else(PoisonError::into_inner);
        if holds(&mut stalled) {
            self.held.fetch_add(1, Ordering::AcqRel);
        }
        drop(self.flows.wait_while(stalled, holds));
    }
}

fn connect(shared: &Arc<Shared>, near: TcpStream, target: u16) {
    let _ = near.set_nonblocking(false);
    let Ok(far) = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, target)), DEADLINE) else {
        return;
    };
    let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else { return };
    for end in [&near, &far] {
        let _ = end.set_nodelay(true);
        shared.connections().extend(end.try_clone());
    }
    for (from, to, is_reply) in [(near, far, false), (far_too, near_too, true)] {
        let shared = shared.clone();
        std::thread::spawn(move || pass(&shared, from, to, is_reply));
    }
}

fn pass(shared: &Shared, mut from: TcpStream, mut to: TcpStream, is_reply: bool) {
    let mut bytes = [0; PIECE];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        shared.wait(is_reply);
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
