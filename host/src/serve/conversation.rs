//! A connection: a hello that names a plugin, then calls, each of which is answered before the next one is read. An
//! error of a call is its response, and the next call may succeed. An invalid frame ends the connection, as the start
//! of the next one is unknown.

use super::ServerState;
use super::frame::{self, Frame};
use super::message::{self, Call, ClientMessage, Hello, KeysCalled, States, VERSION};
use super::tables::{self, Table};
use millstream_base::error::{Error, Result};
use millstream_base::limits::{THREAD_STACK_BYTES, THREAD_STACK_BYTES_COMPACT, THREAD_STACK_BYTES_RESERVED};
use millstream_base::memory::addresses;
use millstream_hosting::{CallRequest, CancelCheck, LoadedPlugin, UpdateTables};
use millstream_plugins::plugin::World;
use serde_json::json;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

/// How long a client may take to name its plugin.
const HELLO_TIME_MAX: Duration = Duration::from_secs(10);

/// A connection.
pub struct Conversation<'a> {
    served: &'a ServerState,
    stream: Arc<UnixStream>,
}

/// A connection after its hello: the loaded plugin, and the number of current calls.
struct OpenConversation {
    hello: Hello,
    loaded: Arc<LoadedPlugin>,
    calls: AtomicU64,
    wanted: CancelCheck,
}

/// Sends an error and closes the connection, without blocking.
pub fn reject(stream: &UnixStream, error: &Error) {
    if stream.set_nonblocking(true).is_ok()
        && let Ok(bytes) = frame::encode(&message::error(error), &[], usize::MAX)
    {
        frame::send(stream, &bytes);
    }
}

impl<'a> Conversation<'a> {
    /// Creates it for a new connection.
    pub fn new(served: &'a ServerState, stream: UnixStream) -> Conversation<'a> {
        Conversation { served, stream: Arc::new(stream) }
    }

    /// Serves it until its end.
    pub fn run(&self) {
        match self.begin() {
            Ok(Some(called)) => self.with_stack_for(&called, || while self.serve_call(&called) {}),
            Ok(None) => {}
            Err(error) => drop(self.send_error(&error)),
        }
    }

    /// Reads the hello and loads the plugin. `None` if the client has disconnected.
    fn begin(&self) -> Result<Option<OpenConversation>> {
        let greeting =
            Frame::read(&self.stream, self.served.frame_bytes_max, self.served.rooms.room(), Some(HELLO_TIME_MAX))
                .and_then(|frame| ClientMessage::parse(frame.header()));
        let hello = match greeting {
            Ok(ClientMessage::Hello(hello)) => *hello,
            Ok(ClientMessage::Call(_)) => {
                return Err(Error::job("a call comes before the hello, which names the plugin"));
            }
            Err(none) => return none.into_error().map_or(Ok(None), Err),
        };
        let loaded = self.served.plugins.get(&hello)?;
        if let Some(function) = &hello.function {
            loaded.check_world(world_of(function)?)?;
        }
        let plugin = loaded.plugin();
        let ready = json!({ "ready": {
            "millstream": VERSION,
            "world": plugin.world().to_string(),
            "digest": plugin.digest(),
            "signers": plugin.signers(),
            "frame_bytes_max": self.served.frame_bytes_max,
        }});
        let gone = {
            let stream = self.stream.clone();
            move || is_disconnected(&stream)
        };
        let called =
            OpenConversation { hello, loaded, calls: AtomicU64::new(0), wanted: CancelCheck::new(move || !gone()) };
        Ok(self.send_response(ready.to_string().as_bytes(), &[]).then_some(called))
    }

    /// Reads and answers the next call. Returns whether there may be another one.
    fn serve_call(&self, called: &OpenConversation) -> bool {
        let frame = Frame::read(&self.stream, self.served.frame_bytes_max, self.served.rooms.room(), None);
        let greeting = frame.and_then(|frame| ClientMessage::parse(frame.header()).map(|greeting| (greeting, frame)));
        let (call, frame) = match greeting {
            Ok((ClientMessage::Call(call), frame)) => (call, frame),
            Ok((ClientMessage::Hello(_), _)) => {
                self.send_error(&Error::job(
                    "a second hello; a connection serves one plugin, so open another \
                    connection",
                ));
                return false;
            }
            Err(none) => {
                none.into_error().map(|error| self.send_error(&error));
                return false;
            }
        };
        match called.execute(&call, &frame.tables()) {
            Ok(tables) => self.send_response(json!({ "made": {} }).to_string().as_bytes(), &tables),
            Err(error) => self.send_error(&error),
        }
    }

    fn send_error(&self, error: &Error) -> bool {
        self.send_response(&message::error(error), &[])
    }

    /// Sends a frame. Returns whether it was accepted.
    fn send_response(&self, header: &[u8], tables: &[Vec<u8>]) -> bool {
        match frame::encode(header, tables, self.served.frame_bytes_max) {
            Ok(bytes) => frame::send(&self.stream, &bytes),
            Err(length) if !tables.is_empty() => self.send_error(&Error::job(format!(
                "the result takes {length} bytes, but a frame has at most {}; send fewer rows at a time, or serve \
                 with a larger --frame",
                self.served.frame_bytes_max
            ))),
            Err(_) => false,
        }
    }

    /// Runs `work` on a stack with enough room for the calls.
    fn with_stack_for(&self, called: &OpenConversation, work: impl FnOnce() + Send) {
        let needed = called.loaded.stack_bytes().saturating_add(2 * THREAD_STACK_BYTES_RESERVED);
        let usual = if addresses::limit().is_some() { THREAD_STACK_BYTES_COMPACT } else { THREAD_STACK_BYTES };
        if needed <= usual {
            return work();
        }
        thread::scope(|scope| {
            let bytes = usize::try_from(needed).unwrap_or(usize::MAX);
            let larger = thread::Builder::new().name("millstream-serve-calls".into()).stack_size(bytes);
            if let Err(error) = larger.spawn_scoped(scope, work) {
                let message =
                    format!("cannot start a thread with a stack of {bytes} bytes: {error}{}", addresses::advice());
                self.send_error(&Error::environment(message));
            }
        });
    }
}

/// Returns whether the other end has closed the connection completely.
fn is_disconnected(stream: &UnixStream) -> bool {
    let mut poll_fd = libc::pollfd { fd: stream.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: it gets one such structure, which lives until the call returns, immediately.
    let count = unsafe { libc::poll(&raw mut poll_fd, 1, 0) };
    count > 0 && poll_fd.revents & (libc::POLLHUP | libc::POLLERR) != 0
}

fn world_of(function: &str) -> Result<World> {
    match function {
        "process" => Ok(World::Transform),
        "update" => Ok(World::Update),
        "aggregate" => Ok(World::Aggregate),
        "cogroup" => Ok(World::Cogroup),
        _ => Err(Error::job("`function` is one of process, update, aggregate and cogroup")),
    }
}

impl OpenConversation {
    /// Calls the plugin. Returns the resulting tables.
    fn execute(&self, call: &Call, given: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
        let world = self.loaded.plugin().world();
        let (wanted_min, wanted_max) = match world {
            World::Update => (1, 3),
            World::Cogroup => (self.hello.inputs.len(), self.hello.inputs.len()),
            _ => (1, 1),
        };
        if !(wanted_min..=wanted_max).contains(&given.len()) {
            return Err(Error::job(match world {
                World::Update => format!("{} tables, but `update` takes rows, states and timers", given.len()),
                World::Cogroup => format!("{} tables, but the hello names {wanted_min} `inputs`", given.len()),
                _ => format!("{} tables, but one is required", given.len()),
            }));
        }
        if world == World::Update && self.hello.key.is_empty() {
            return Err(Error::job("a plugin of world update keeps a state per key, but the hello has no `key`"));
        }
        match world {
            World::Update => self.update(call, given),
            World::Cogroup => {
                let named = self.hello.inputs.iter().zip(given);
                let tables = named.map(|(name, bytes)| tables::read(&format!("table `{name}`"), bytes));
                self.call_stateless(call, tables.collect::<Result<_>>()?)
            }
            _ => {
                let bytes = given.first().copied().unwrap_or_default();
                self.call_stateless(call, vec![tables::read("the table", bytes)?])
            }
        }
    }

    fn request(&self, call: &Call, schemas: Vec<arrow::datatypes::SchemaRef>) -> CallRequest {
        let world = self.loaded.plugin().world();
        CallRequest { schemas, key: self.hello.key.clone(), batch: call.batch, time_us: call.time_us, world }
    }

    /// Calls a plugin of a world without state.
    fn call_stateless(&self, call: &Call, given: Vec<Table>) -> Result<Vec<Vec<u8>>> {
        let (schemas, parts): (Vec<_>, Vec<_>) = given.into_iter().unzip();
        let request = self.request(call, schemas);
        let made = self.loaded.call(&self.calls, &request, |prepared, caller, context| {
            let first = || parts.first().map(Vec::as_slice).unwrap_or_default();
            match request.world {
                World::Transform => millstream_hosting::process(prepared, caller, context, first(), &self.wanted),
                World::Aggregate => millstream_hosting::aggregate(prepared, caller, context, first(), &self.wanted),
                _ => millstream_hosting::cogroup(prepared, caller, context, (&self.hello.inputs, &parts), &self.wanted),
            }
        })?;
        Ok(vec![tables::encode(&made.rows)?, tables::encode(&made.rejected)?])
    }

    fn update(&self, call: &Call, given: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
        // A table without bytes is absent.
        let table = |index: usize, what: &str| {
            let bytes = given.get(index).copied().filter(|bytes| !bytes.is_empty());
            bytes.map(|bytes| tables::read(what, bytes)).transpose()
        };
        let rows = table(0, "the table")?.ok_or_else(|| Error::job("the first table, of the rows, is missing"))?;
        let states = table(1, "the table of states")?;
        let states = match (self.hello.states, states) {
            (States::Bytes, Some(states)) => tables::decode_states(states)?,
            (_, states) => states,
        };
        let given = UpdateTables {
            rows: rows.1,
            states,
            timers: table(2, "the table of timers")?,
            all: call.on == KeysCalled::All,
        };
        let request = self.request(call, vec![rows.0]);
        let made = self.loaded.call(&self.calls, &request, |prepared, caller, context| {
            millstream_hosting::update(prepared, caller, context, given, &self.wanted)
        })?;
        let states = match self.hello.states {
            States::Columns => tables::encode(&made.states)?,
            States::Bytes => tables::encode_states(&made.states, self.hello.key.len())?,
        };
        let (rows, rejected) = (tables::encode(&made.result.rows)?, tables::encode(&made.result.rejected)?);
        Ok(vec![rows, rejected, states, tables::encode(&made.timers)?])
    }
}
