//! The connectors, each with its server.

use super::connector::Case;
use millstream_tests::Process;
use serde_json::Value;
use std::sync::{Mutex, PoisonError};

/// Characters of a request that a message shows.
const SHOWN_CHARS: usize = 200;

pub mod clickhouse;
pub mod flight;
pub mod http;
pub mod kafka;
pub mod kinesis;
pub mod listening;
pub mod local;
pub mod mqtt;
pub mod nats;
pub mod objects;
pub mod plugin;
pub mod postgres;
pub mod rabbitmq;
pub mod redis;
pub mod sockets;
pub mod websocket;
pub mod zeromq;

/// A process that reads or changes what a server has: it prints a line for each line that it gets.
pub struct LineClient(Mutex<Client>);

struct Client {
    process: Process,
    replies: usize,
    /// The request that got no reply. Nobody waits for such a process again.
    unanswered: Option<String>,
}

impl LineClient {
    /// Uses a process that has just started.
    pub fn new(process: Process) -> LineClient {
        LineClient(Mutex::new(Client { process, replies: 0, unanswered: None }))
    }

    /// Sends it a line, and waits for the JSON that it prints.
    #[track_caller]
    pub fn request(&self, request: &str) -> Value {
        let mut client = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Client { process, replies, unanswered } = &mut *client;
        if let Some(earlier) = unanswered {
            panic!("no request is sent after {earlier}, which got no reply: {}", process.stderr());
        }
        let shown: String = request.chars().take(SHOWN_CHARS).collect();
        // Until the reply is there: the wait for it panics at its deadline.
        *unanswered = Some(shown.clone());
        process.say(&format!("{request}\n"));
        process
            .wait_until(&format!("it replies to {shown}"), |process| process.stdout().matches('\n').count() > *replies);
        *unanswered = None;
        *replies += 1;
        serde_json::from_str(process.stdout().lines().nth(*replies - 1).expect("a reply")).expect("JSON")
    }
}

/// The cases that do not apply to sources that listen.
pub fn of_listeners() -> Vec<(Case, &'static str)> {
    const THE_SERVER: &str = "the job is the server, and senders connect to it";
    vec![
        (Case::LateServer, THE_SERVER),
        (Case::Outage, THE_SERVER),
        (Case::Stall, "a sender that stalls holds up no other: `connectors::http::crowds`"),
        (Case::Password, "a sender with a wrong token gets 401; the job goes on: `connectors::http::server`"),
        (Case::Gone, "senders keep their rows until they are accepted"),
        (Case::Certificate, "senders check the certificate of the job"),
    ]
}

/// The cases that do not apply to local files.
pub fn of_local_files() -> Vec<(Case, &'static str)> {
    const NO_SERVER: &str = "a local file has no server";
    vec![
        (Case::LateServer, "a missing directory: `connectors::growing`"),
        (Case::Outage, "a directory that goes and comes back: `connectors::growing`"),
        (Case::Stall, NO_SERVER),
        (Case::Password, NO_SERVER),
        (Case::Certificate, NO_SERVER),
    ]
}
