//! The peers of a case: servers on this machine that say what text files want them to say to a plugin, and keep what they heard.

mod escape;
mod http;
mod script;
mod tcp;
mod udp;

use super::compare::read_text;
pub use escape::escaped;

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

/// Bytes of a message, or of a request with its body.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes of all messages that a peer hears in one run of a case, as they are shown.
const HEARD_BYTES_MAX: usize = 64 << 20;
/// Connections to a peer at a time.
const CONNECTIONS_MAX: usize = 64;
/// How long a peer waits for the end of connections that a plugin has left.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);

/// A peer as `case.toml` has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerSpec {
    kind: Kind,
    /// Bytes of each message; lines where it is left out.
    bytes: Option<usize>,
    /// Headers of requests that count.
    #[serde(default)]
    headers: Vec<String>,
}

/// How a peer is reached.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// A server over TCP: lines, or messages of a fixed length.
    Tcp,
    /// A server of HTTP.
    Http,
    /// One who hears datagrams, and answers them.
    Udp,
    /// One who sends datagrams to the plugin, which listens.
    UdpSender,
}

/// All peers of a case. They have their addresses as long as it runs.
pub struct Peers(Vec<Peer>);

struct Peer {
    name: String,
    kind: Kind,
    /// Where it is reached; of a sender, where the plugin listens.
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Whether a sender has sent.
    sent: bool,
}

/// What the threads of a peer share.
struct Shared {
    spec: PeerSpec,
    /// The name of the file with the script.
    file: String,
    script: Script,
    state: Mutex<State>,
    /// Told when a connection has ended, or a while has passed without a datagram.
    changed: Condvar,
    stops: AtomicBool,
}

#[derive(Default)]
struct State {
    values: Values,
    /// The messages so far, a line each.
    heard: Vec<String>,
    heard_bytes: usize,
    /// What was heard first that no rule is for, or what else went wrong.
    trouble: Option<String>,
    /// Connections that are open, by number.
    connections: BTreeMap<u64, TcpStream>,
    last: u64,
    /// Where a connection comes from that only tells that all before it were taken.
    mark: Option<SocketAddr>,
    /// How often nothing came for a while.
    idle: u64,
}

impl Peers {
    /// Starts the peers of a case; their scripts stand in its folder. An error is a mistake in the case, or of this machine.
    pub fn start(specs: &BTreeMap<String, PeerSpec>, folder: &Path) -> Result<Peers> {
        let mut peers = Peers(Vec::new());
        for (name, spec) in specs {
            let wrong =
                |words: String| Error::job(format!("{}: peer `{name}`: {words}", folder.join("case.toml").display()));
            let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
            if name.is_empty() || !name.chars().all(is_word) {
                return Err(wrong("its name is not of a-z, 0-9, `_` and `-`".into()));
            }
            if spec.bytes.is_some_and(|bytes| spec.kind != Kind::Tcp || !(1..=MESSAGE_BYTES_MAX).contains(&bytes)) {
                return Err(wrong(format!("`bytes` is the length of messages over TCP, 1 to {MESSAGE_BYTES_MAX}")));
            }
            if !spec.headers.is_empty() && spec.kind != Kind::Http {
                return Err(wrong("`headers` are those of requests over HTTP".into()));
            }
            let path = folder.join(format!("{name}.txt"));
            let script =
                Script::read(&read_text(&path)?).map_err(|words| Error::job(format!("{}:{words}", path.display())))?;
            peers.0.push(Peer::start(name, spec, script)?);
        }
        Ok(peers)
    }

    /// The text with the address of each peer in the place of its name in braces.
    pub fn addressed(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, peer| text.replace(&peer.placeholder(), &peer.address.to_string()))
    }

    /// The other way: what is the same in each run.
    pub fn named(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, peer| text.replace(&peer.address.to_string(), &peer.placeholder()))
    }

    /// Forgets everything, as if nobody had been there.
    pub fn reset(&mut self) {
        self.settle();
        for peer in &mut self.0 {
            peer.sent = false;
            let mut state = peer.shared.state();
            let last = state.last;
            *state = State { values: peer.shared.script.values.clone(), last, ..State::default() };
        }
    }

    /// Lets the plugin, which is doing nothing now, get the datagrams that are for it, once it listens.
    pub fn send(&mut self) {
        self.0.iter_mut().for_each(Peer::send);
    }

    /// The same as an error of the plugin.
    pub fn check(&self) -> Result<()> {
        self.trouble().map_or(Ok(()), |words| Err(Error::plugin(words)))
    }

    /// Waits until all is heard of what a plugin said that is gone, and looks whether anything was wrong with it.
    pub fn check_to_the_end(&self) -> Result<()> {
        self.settle();
        self.check()
    }

    /// Waits until all is heard of what a plugin said that is gone.
    pub fn settle(&self) {
        self.0.iter().for_each(Peer::settle);
    }

    /// The first thing that went wrong at a peer.
    pub fn trouble(&self) -> Option<String> {
        self.0.iter().find_map(|peer| Some(format!("peer `{}`: {}", peer.name, peer.shared.state().trouble.clone()?)))
    }

    /// What each peer has heard, a line a message.
    pub fn heard(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.iter().filter(|peer| peer.kind != Kind::UdpSender).map(|peer| {
            let lines = peer.shared.state().heard.iter().map(|line| format!("{line}\n")).collect::<String>();
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
            // The plugin is to have it.
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

    /// Waits until connections have been taken and come to their ends, or until no datagram comes.
    fn settle(&self) {
        if matches!(self.kind, Kind::Tcp | Kind::Http) {
            self.shared.take_all(self.address);
        }
        self.shared.settle(self.kind);
    }

    fn send(&mut self) {
        // Whoever listens has the address. The plugin is not called just now, so nobody is in its way.
        if self.kind != Kind::UdpSender || self.sent || UdpSocket::bind(self.address).is_ok() {
            return;
        }
        self.sent = true;
        if let Err(words) = udp::send(&self.shared, self.address) {
            self.shared.fails(words);
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.stops.store(true, Ordering::Release);
        self.shared.settle(self.kind);
        if matches!(self.kind, Kind::Tcp | Kind::Http) {
            // So that who listens looks up.
            drop(TcpStream::connect(self.address));
        }
        if let Some(thread) = self.thread.take() {
            // What it said in a panic is told.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fails(&self, words: String) {
        self.state().trouble.get_or_insert(words);
    }

    /// Takes connections, each on a thread.
    fn listen(self: &Arc<Shared>, listener: &TcpListener, serve: fn(&Shared, TcpStream)) {
        for connection in listener.incoming() {
            if self.stops.load(Ordering::Acquire) {
                return;
            }
            let begun = connection.map_err(|error| error.to_string()).and_then(|stream| self.begin(stream, serve));
            if let Err(words) = begun {
                self.fails(format!("a connection could not be accepted: {words}"));
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

    /// What is said without being asked.
    fn greeting(&self) -> Result<Reply, String> {
        self.script.greeting.said(&self.state().values)
    }

    /// Keeps a message, and finds what is answered; `None`: nothing can be.
    fn hear(&self, message: &[u8]) -> Option<Reply> {
        let shown = escaped(message);
        let mut state = self.state();
        state.heard_bytes += shown.len();
        if state.heard_bytes > HEARD_BYTES_MAX {
            state.trouble.get_or_insert_with(|| format!("it received more than {HEARD_BYTES_MAX} bytes"));
            return None;
        }
        let words = match self.script.heard(message, &mut state.values) {
            Some(Ok(reply)) => {
                state.heard.push(shown);
                return Some(reply);
            }
            Some(Err(words)) => format!("{} cannot answer `{shown}`: {words}", self.file),
            None => format!("no rule of {} is for what the plugin says: {shown}", self.file),
        };
        state.heard.push(shown);
        state.trouble.get_or_insert(words);
        None
    }

    /// Waits until all connections are taken that a plugin has made, which may be gone: they wait in a queue of the system, and
    /// one of our own is behind them in it.
    fn take_all(&self, address: SocketAddr) {
        let mark = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
            self.state().mark = socket.local_addr()?.as_socket();
            socket.connect_timeout(&address.into(), SETTLES_WITHIN).map(|()| socket)
        };
        let made = mark();
        let mut state = self.state();
        if made.is_ok() {
            let waits = |state: &mut State| state.mark.is_some();
            state =
                self.changed.wait_timeout_while(state, SETTLES_WITHIN, waits).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.mark = None;
    }

    /// Waits until connections have come to their ends, or until no datagram comes.
    fn settle(&self, kind: Kind) {
        let end = Instant::now() + SETTLES_WITHIN;
        let mut state = self.state();
        let idle = state.idle;
        while match kind {
            Kind::Tcp | Kind::Http => !state.connections.is_empty(),
            // One wait may have begun before.
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

/// Tells, on every way out, that a connection has ended.
struct EndNotice {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for EndNotice {
    fn drop(&mut self) {
        if let Some(stream) = self.shared.state().connections.remove(&self.number) {
            // Another handle of it may be open still.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.shared.changed.notify_all();
    }
}

/// The file with what a peer is to hear.
pub fn expected_file(name: &str) -> String {
    format!("expected-{name}.txt")
}

#[cfg(test)]
mod tests;
