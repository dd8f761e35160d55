//! A connection: a hello that names a plugin, then calls of it, each of which is answered before the next one is read. An error of a call
//! is its answer, and the next call may go well; what is no frame ends the connection, as nobody knows where the next one begins.

use super::ServerState;
use super::frame::{self, Frame};
use super::message::{self, Call, ClientMessage, Hello, KeysCalled, States, VERSION};
use super::tables::{self, Table};
use millstream_base::error::{Error, Result};
use millstream_base::limits::{THREAD_STACK_BYTES, THREAD_STACK_BYTES_COMPACT, THREAD_STACK_BYTES_RESERVED};
use millstream_base::memory::addresses;
use millstream_hosting::{CallRequest, CancelCheck, Loaded, UpdateTables};
use millstream_plugins::plugin::World;
use serde_json::json;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

/// How long a client may wait before it says which plugin it wants.
const HELLO_TIME_MAX: Duration = Duration::from_secs(10);

/// One.
pub struct Conversation<'a> {
    served: &'a ServerState,
    stream: Arc<UnixStream>,
}

/// A conversation after its hello: the loaded plugin, and calls under way.
struct OpenConversation {
    hello: Hello,
    loaded: Arc<Loaded>,
    calls: AtomicU64,
    wanted: CancelCheck,
}

/// Tells an error and hangs up, without waiting for anybody.
pub fn refuse(stream: &UnixStream, error: &Error) {
    if stream.set_nonblocking(true).is_ok()
        && let Ok(bytes) = frame::written(&message::error(error), &[], usize::MAX)
    {
        frame::send(stream, &bytes);
    }
}

impl<'a> Conversation<'a> {
    /// With whoever has connected.
    pub fn new(served: &'a ServerState, stream: UnixStream) -> Conversation<'a> {
        Conversation { served, stream: Arc::new(stream) }
    }

    /// Holds it, to its end.
    pub fn hold(&self) {
        match self.begin() {
            Ok(Some(called)) => self.with_stack_for(&called, || while self.go_on(&called) {}),
            Ok(None) => {}
            Err(error) => drop(self.tell(&error)),
        }
    }

    /// The hello, and what it names; none where nobody is there any more.
    fn begin(&self) -> Result<Option<OpenConversation>> {
        let said =
            Frame::read(&self.stream, self.served.frame_bytes_max, self.served.rooms.room(), Some(HELLO_TIME_MAX))
                .and_then(|frame| ClientMessage::of(frame.header()));
        let hello = match said {
            Ok(ClientMessage::Hello(hello)) => *hello,
            Ok(ClientMessage::Call(_)) => {
                return Err(Error::job("a call comes before the hello, which names the plugin"));
            }
            Err(none) => return none.told().map_or(Ok(None), Err),
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
            move || is_gone(&stream)
        };
        let called =
            OpenConversation { hello, loaded, calls: AtomicU64::new(0), wanted: CancelCheck::new(move || !gone()) };
        Ok(self.answer(ready.to_string().as_bytes(), &[]).then_some(called))
    }

    /// Reads and answers the next call; whether there may be another one.
    fn go_on(&self, called: &OpenConversation) -> bool {
        let frame = Frame::read(&self.stream, self.served.frame_bytes_max, self.served.rooms.room(), None);
        let said = frame.and_then(|frame| ClientMessage::of(frame.header()).map(|said| (said, frame)));
        let (call, frame) = match said {
            Ok((ClientMessage::Call(call), frame)) => (call, frame),
            Ok((ClientMessage::Hello(_), _)) => {
                self.tell(&Error::job("a second hello; a connection is for one plugin, so open another one"));
                return false;
            }
            Err(none) => {
                none.told().map(|error| self.tell(&error));
                return false;
            }
        };
        match called.made(&call, &frame.tables()) {
            Ok(tables) => self.answer(json!({ "made": {} }).to_string().as_bytes(), &tables),
            Err(error) => self.tell(&error),
        }
    }

    fn tell(&self, error: &Error) -> bool {
        self.answer(&message::error(error), &[])
    }

    /// Sends a frame; whether it was taken.
    fn answer(&self, header: &[u8], tables: &[Vec<u8>]) -> bool {
        match frame::written(header, tables, self.served.frame_bytes_max) {
            Ok(bytes) => frame::send(&self.stream, &bytes),
            Err(length) if !tables.is_empty() => self.tell(&Error::job(format!(
                "what the call made takes {length} bytes, and a frame has {} at most; send fewer rows at a time, or serve with a \
                 larger --frame",
                self.served.frame_bytes_max
            ))),
            Err(_) => false,
        }
    }

    /// Does some work on a stack that has room for the calls.
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
                let words =
                    format!("cannot start a thread with a stack of {bytes} bytes: {error}{}", addresses::advice());
                self.tell(&Error::environment(words));
            }
        });
    }
}

/// Whether the other end has closed the connection altogether.
fn is_gone(stream: &UnixStream) -> bool {
    let mut looked = libc::pollfd { fd: stream.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: it is given one such structure, which lives until it returns at once.
    let count = unsafe { libc::poll(&raw mut looked, 1, 0) };
    count > 0 && looked.revents & (libc::POLLHUP | libc::POLLERR) != 0
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
    /// Calls the plugin; the tables that come back.
    fn made(&self, call: &Call, given: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
        let world = self.loaded.plugin().world();
        let (wanted_min, wanted_max) = match world {
            World::Update => (1, 3),
            World::Cogroup => (self.hello.inputs.len(), self.hello.inputs.len()),
            _ => (1, 1),
        };
        if !(wanted_min..=wanted_max).contains(&given.len()) {
            return Err(Error::job(match world {
                World::Update => format!("{} tables, and `update` takes rows, states and timers", given.len()),
                World::Cogroup => format!("{} tables, and the hello names {wanted_min} `inputs`", given.len()),
                _ => format!("{} tables, and one is needed", given.len()),
            }));
        }
        if world == World::Update && self.hello.key.is_empty() {
            return Err(Error::job("a plugin of world update keeps a state by key, and the hello names no `key`"));
        }
        match world {
            World::Update => self.update(call, given),
            World::Cogroup => {
                let named = self.hello.inputs.iter().zip(given);
                let tables = named.map(|(name, bytes)| tables::read(&format!("table `{name}`"), bytes));
                self.others(call, tables.collect::<Result<_>>()?)
            }
            _ => {
                let bytes = given.first().copied().unwrap_or_default();
                self.others(call, vec![tables::read("the table", bytes)?])
            }
        }
    }

    fn asked(&self, call: &Call, schemas: Vec<arrow::datatypes::SchemaRef>) -> CallRequest {
        let world = self.loaded.plugin().world();
        CallRequest { schemas, key: self.hello.key.clone(), batch: call.batch, time_us: call.time_us, world }
    }

    /// All worlds that keep nothing.
    fn others(&self, call: &Call, given: Vec<Table>) -> Result<Vec<Vec<u8>>> {
        let (schemas, parts): (Vec<_>, Vec<_>) = given.into_iter().unzip();
        let asked = self.asked(call, schemas);
        let made = self.loaded.call(&self.calls, &asked, |prepared, caller, context| {
            let first = || parts.first().map(Vec::as_slice).unwrap_or_default();
            match asked.world {
                World::Transform => millstream_hosting::process(prepared, caller, context, first(), &self.wanted),
                World::Aggregate => millstream_hosting::aggregate(prepared, caller, context, first(), &self.wanted),
                _ => millstream_hosting::cogroup(prepared, caller, context, (&self.hello.inputs, &parts), &self.wanted),
            }
        })?;
        Ok(vec![tables::written(&made.rows)?, tables::written(&made.rejected)?])
    }

    fn update(&self, call: &Call, given: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
        // A table of no bytes is none.
        let table = |place: usize, what: &str| {
            let bytes = given.get(place).copied().filter(|bytes| !bytes.is_empty());
            bytes.map(|bytes| tables::read(what, bytes)).transpose()
        };
        let rows = table(0, "the table")?.ok_or_else(|| Error::job("the first table, of the rows, is missing"))?;
        let states = table(1, "the table of states")?;
        let states = match (self.hello.states, states) {
            (States::Bytes, Some(states)) => tables::states_read(states)?,
            (_, states) => states,
        };
        let given = UpdateTables {
            rows: rows.1,
            states,
            timers: table(2, "the table of timers")?,
            all: call.on == KeysCalled::All,
        };
        let asked = self.asked(call, vec![rows.0]);
        let made = self.loaded.call(&self.calls, &asked, |prepared, caller, context| {
            millstream_hosting::update(prepared, caller, context, given, &self.wanted)
        })?;
        let states = match self.hello.states {
            States::Columns => tables::written(&made.states)?,
            States::Bytes => tables::states_written(&made.states, self.hello.key.len())?,
        };
        let (rows, rejected) = (tables::written(&made.made.rows)?, tables::written(&made.made.rejected)?);
        Ok(vec![rows, rejected, states, tables::written(&made.timers)?])
    }
}
