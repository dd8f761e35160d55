//! `zeromq`, with an XPUB socket that wants a password. Each case has a topic of its own.

use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use millstream_tests::{Zeromq, free_port};
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};

/// A publisher.
pub struct Server {
    port: u16,
    publisher: Mutex<Zeromq>,
}

impl Server {
    /// Starts it.
    pub fn start() -> Server {
        let port = free_port();
        let publisher = Zeromq::with("xpub", "bind", &format!("tcp://127.0.0.1:{port}"), &["me", SECRET]);
        Server { port, publisher: Mutex::new(publisher) }
    }
}

/// Its source.
pub struct AsSource<'a>(pub &'a Server);

impl Connector for AsSource<'_> {
    fn kind(&self) -> &'static str {
        "zeromq"
    }

    fn promise(&self) -> Promise {
        Promise::AtMostOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        vec![(Case::Gone, "a publisher keeps nothing"), (Case::Certificate, "ZeroMQ has no TLS")]
    }

    fn link(&self, _: &str) -> Link {
        Link::to(self.0.port)
    }

    fn port(&self) -> u16 {
        self.0.port
    }

    fn lines(&self, target: &Target) -> String {
        let (port, location) = (target.port, &target.location);
        format!("url = \"tcp://me:${{PW}}@127.0.0.1:{port}\"\ntopic = \"{location}\"\n{SCHEMA}")
    }

    fn create(&self, _: &str) {}
}

impl Source for AsSource<'_> {
    fn send_records(&self, location: &str, records: Vec<(u64, String)>) {
        let messages: Vec<Value> = records.into_iter().map(|(_, record)| json!([location, record])).collect();
        self.0.publisher.lock().unwrap_or_else(PoisonError::into_inner).send(&messages);
    }

    fn subscribes(&self) -> bool {
        true
    }
}
