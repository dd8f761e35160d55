//! The peers of a case: servers on this machine that follow scripts in text files, and record what they receive from a
//! plugin.

mod escape;
mod http;
mod script;
mod tcp;
mod udp;

use super::compare::read_text;
pub use escape::escape;

use millstream_base::error::{Error, Result};
use millstream_base::threads;
use script::{Reply, Script, Values};
use serde::Deserialize;
use socket2::{Domain, Socket, Type};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Maximum bytes of a message, or of a request with its body.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Maximum bytes of all messages that a peer receives in one run of a case, in escaped form.
const RECEIVED_BYTES_MAX: usize = 64 << 20;
/// Maximum number of concurrent connections to a peer.
const CONNECTIONS_MAX: usize = 64;
/// How long a peer waits for the end of connections that a plugin has left.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(10);

/// A peer as in `case.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerSpec {
    kind: Kind,
    /// The number of bytes of each message. Without it, messages are lines.
    bytes: Option<usize>,
    /// The recorded headers of requests.
    #[serde(default)]
    headers: Vec<String>,
}

/// The protocol of a peer.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// A TCP server: lines, or messages of a fixed length.
    Tcp,
    /// An HTTP server.
    Http,
    /// Receives datagrams, and responds to them.
    Udp,
    /// Sends datagrams to the plugin, which listens.
    UdpSender,
}

/// All peers of a case. They keep their addresses while it runs.
pub struct Peers(Vec<Peer>);

struct Peer {
    name: String,
    kind: Kind,
    /// The address of the peer. For a sender, that of the plugin.
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Whether a sender has sent.
    sent: bool,
}

/// The shared state of the threads of a peer.
struct Shared {
    spec: PeerSpec,
    /// The name of the file with the script.
    file: String,
    script: Script,
    state: Mutex<State>,
    /// Notified when a connection has ended, or an interval has passed without a datagram.
    changed: Condvar,
    stops: AtomicBool,
}

#[derive(Default)]
struct State {
    values: Values,
    /// The messages so far, one per line.
    received: Vec<String>,
    received_bytes: usize,
    /// The first message without a rule, or another error.
    error: Option<String>,
    /// Open connections, by number.
    connections: BTreeMap<u64, TcpStream>,
    last: u64,
    /// The address of a connection that marks that all earlier connections were accepted.
    mark: Option<SocketAddr>,
    /// How many intervals have passed without a datagram.
    idle: u64,
}

impl Peers {
    /// Starts the peers of a case, whose scripts are in its directory. An error is that of the case, or of this
    /// machine.
    pub fn start(specs: &BTreeMap<String, PeerSpec>, dir: &Path) -> Result<Peers> {
        let mut peers = Peers(Vec::new());
        for (name, spec) in specs {
            let invalid =
                |message: String| Error::job(format!("{}: peer `{name}`: {message}", dir.join("case.toml").display()));
            let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
            if name.is_empty() || !name.chars().all(is_word) {
                return Err(invalid("its name is invalid; use a-z, 0-9, `_` and `-`".into()));
            }
            if spec.bytes.is_some_and(|bytes| spec.kind != Kind::Tcp || !(1..=MESSAGE_BYTES_MAX).contains(&bytes)) {
                return Err(invalid(format!("`bytes` is the length of messages over TCP, 1 to {MESSAGE_BYTES_MAX}")));
            }
            if !spec.headers.is_empty() && spec.kind != Kind::Http {
                return Err(invalid("`headers` are those of requests over HTTP".into()));
            }
            let path = dir.join(format!("{name}.txt"));
            let script = Script::read(&read_text(&path)?)
                .map_err(|message| Error::job(format!("{}:{message}", path.display())))?;
            peers.0.push(Peer::start(name, spec, script)?);
        }
        Ok(peers)
    }

    /// Replaces the name of each peer in braces by its address.
    pub fn addressed(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, peer| text.replace(&peer.placeholder(), &peer.address.to_string()))
    }

    /// Replaces addresses by names, so that the text is the same in each run.
    pub fn named(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, peer| text.replace(&peer.address.to_string(), &peer.placeholder()))
    }

    /// Resets the peers to their initial state.
    pub fn reset(&mut self) {
        self.settle();
        for peer in &mut self.0 {
            peer.sent = false;
            let mut state = peer.shared.state();
            let last = state.last;
            *state = State { values: peer.shared.script.values.clone(), last, ..State::default() };
        }
    }

    /// Sends the datagrams to the idle plugin, once it listens.
    pub fn send(&mut self) {
        self.0.iter_mut().for_each(Peer::send);
    }

    /// Returns the first peer error as an error of the plugin.
    pub fn check(&self) -> Result<()> {
        self.error().map_or(Ok(()), |message| Err(Error::plugin(message)))
    }

    /// Waits until everything from a stopped plugin was received, and returns the first error.
    pub fn check_to_the_end(&self) -> Result<()> {
        self.settle();
        self.check()
    }

    /// Waits until everything from a stopped plugin was received.
    pub fn settle(&self) {
        self.0.iter().for_each(Peer::settle);
    }

    /// Returns the first error at a peer.
    pub fn error(&self) -> Option<String> {
        self.0.iter().find_map(|peer| Some(format!("peer `{}`: {}", peer.name, peer.shared.state().error.clone()?)))
    }

    /// Returns what each peer has received, one message per line.
    pub fn received(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.iter().filter(|peer| peer.kind != Kind::UdpSender).map(|peer| {
            let lines = peer.shared.state().received.iter().map(|line| format!("{line}\n")).collect::<String>();
            (peer.name.as_str(), self.named(&lines))
        })
    }
}

impl Peer {
    fn start(name: &str, spec: &PeerSpec, script: Script) -> Result<Peer> {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let failed = |error: std::io::Error| Error::environment(format!("cannot listen for a case: {error}"));
        let state = State { values: script.values.clone(), ..State::default() };
        let shared = Arc::new(Shared {
            spec: spec.clone(),
            file: format!("{name}.txt"),
            script,
            state: Mutex::new(state),
            changed: Condvar::new(),
            stops: AtomicBool::new(false),
        });
        let own = shared.clone();
        type Work = Box<dyn FnOnce() + Send>;
        let (address, work): (SocketAddr, Option<Work>) = match spec.kind {
            Kind::Tcp | Kind::Http => {
                let listener = TcpListener::bind(here).map_err(failed)?;
                let serve: fn(&Shared, TcpStream) = if spec.kind == Kind::Tcp { tcp::serve } else { http::serve };
                (listener.local_addr().map_err(failed)?, Some(Box::new(move || own.listen(&listener, serve))))
            }
            Kind::Udp => {
                let socket = UdpSocket::bind(here).map_err(failed)?;
                (socket.local_addr().map_err(failed)?, Some(Box::new(move || udp::serve(&own, &socket))))
            }
            // The plugin will bind it.
            Kind::UdpSender => (UdpSocket::bind(here).and_then(|socket| socket.local_addr()).map_err(failed)?, None),
        };
        let failing = shared.clone();
        let thread = work.map(|work| {
            let what = format!("peer `{name}` of a case");
            threads::start("case-peer", &what, move |error| failing.fails(error.message), work)
        });
        Ok(Peer { name: name.into(), kind: spec.kind, address, shared, thread: thread.transpose()?, sent: false })
    }

    fn placeholder(&self) -> String {
        format!("{{{}}}", self.name)
    }

    /// Waits until connections were accepted and have ended, or until no more datagrams arrive.
    fn settle(&self) {
        if matches!(self.kind, Kind::Tcp | Kind::Http) {
            self.shared.take_all(self.address);
        }
        self.shared.settle(self.kind);
    }

    fn send(&mut self) {
        // If the address is in use, the plugin listens. It is not being called now, so this bind does not interfere.
        if self.kind != Kind::UdpSender || self.sent || UdpSocket::bind(self.address).is_ok() {
            return;
        }
        self.sent = true;
        if let Err(message) = udp::send(&self.shared, self.address) {
            self.shared.fails(message);
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.stops.store(true, Ordering::Release);
        self.shared.settle(self.kind);
        if matches!(self.kind, Kind::Tcp | Kind::Http) {
            // Wakes the listening thread.
            drop(TcpStream::connect(self.address));
        }
        if let Some(thread) = self.thread.take() {
            // The thread has already reported its panic.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fails(&self, message: String) {
        self.state().error.get_or_insert(message);
    }

    /// Accepts connections, each on its own thread.
    fn listen(self: &Arc<Shared>, listener: &TcpListener, serve: fn(&Shared, TcpStream)) {
        for connection in listener.incoming() {
            if self.stops.load(Ordering::Acquire) {
                return;
            }
            let begun = connection.map_err(|error| error.to_string()).and_then(|stream| self.begin(stream, serve));
            if let Err(message) = begun {
                self.fails(format!("a connection could not be accepted: {message}"));
            }
        }
    }

    fn begin(self: &Arc<Shared>, stream: TcpStream, serve: fn(&Shared, TcpStream)) -> Result<(), String> {
        let _ = stream.set_nodelay(true);
        let from = stream.peer_addr().ok();
        let number = {
            let mut state = self.state();
            if from.is_some() && state.mark.take_if(|mark| Some(*mark) == from).is_some() {
                self.changed.notify_all();
                return Ok(());
            }
            if state.connections.len() >= CONNECTIONS_MAX {
                return Err(format!("{CONNECTIONS_MAX} are open"));
            }
            state.last += 1;
            let number = state.last;
            state.connections.insert(number, stream.try_clone().map_err(|error| error.to_string())?);
            number
        };
        let (own, failing) = (self.clone(), self.clone());
        let work = move || {
            let _ended = EndNotice { shared: own.clone(), number };
            serve(&own, stream);
        };
        let failed = move |error: Error| failing.fails(error.message);
        match threads::start("case-connection", "a connection to a peer of a case", failed, work) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.state().connections.remove(&number);
                Err(error.message)
            }
        }
    }

    /// Returns what is sent without a request.
    fn greeting(&self) -> Result<Reply, String> {
        self.script.greeting.reply(&self.state().values)
    }

    /// Records a message, and returns the response, or `None` if there is none.
    fn receive(&self, message: &[u8]) -> Option<Reply> {
        let shown = escape(message);
        let mut state = self.state();
        state.received_bytes += shown.len();
        if state.received_bytes > RECEIVED_BYTES_MAX {
            state.error.get_or_insert_with(|| format!("it received more than {RECEIVED_BYTES_MAX} bytes"));
            return None;
        }
        let message = match self.script.received(message, &mut state.values) {
            Some(Ok(reply)) => {
                state.received.push(shown);
                return Some(reply);
            }
            Some(Err(message)) => format!("{} cannot respond to `{shown}`: {message}", self.file),
            None => format!("no rule of {} matches what the plugin sent: {shown}", self.file),
        };
        state.received.push(shown);
        state.error.get_or_insert(message);
        None
    }

    /// Waits until all connections of a plugin were accepted, even closed ones. They are in a queue of the system, and
    /// a connection of our own follows them.
    fn take_all(&self, address: SocketAddr) {
        let mark = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
            self.state().mark = socket.local_addr()?.as_socket();
            socket.connect_timeout(&address.into(), SETTLE_TIME_MAX).map(|()| socket)
        };
        let made = mark();
        let mut state = self.state();
        if made.is_ok() {
            let waits = |state: &mut State| state.mark.is_some();
            state = self
                .changed
                .wait_timeout_while(state, SETTLE_TIME_MAX, waits)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.mark = None;
    }

    /// Waits until connections have ended, or until no more datagrams arrive.
    fn settle(&self, kind: Kind) {
        let end = Instant::now() + SETTLE_TIME_MAX;
        let mut state = self.state();
        let idle = state.idle;
        while match kind {
            Kind::Tcp | Kind::Http => !state.connections.is_empty(),
            // One interval may have begun earlier.
            Kind::Udp => state.idle < idle + 2,
            Kind::UdpSender => false,
        } {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                for stream in state.connections.values() {
                    let _ = stream.shutdown(Shutdown::Both);
                }
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Reports on every exit that a connection has ended.
struct EndNotice {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for EndNotice {
    fn drop(&mut self) {
        if let Some(stream) = self.shared.state().connections.remove(&self.number) {
            // Another handle of it may still be open.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.shared.changed.notify_all();
    }
}

/// Returns the file with what a peer must receive.
pub fn expected_file(name: &str) -> String {
    format!("expected-{name}.txt")
}

#[cfg(test)]
mod tests;
