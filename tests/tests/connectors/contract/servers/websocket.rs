//! The sink `websocket`: the job is the server, and each case has a client that listens.

use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use crate::connectors::contract::per_case::PerCase;
use crate::connectors::http::websocket::{try_greet, try_message};
use millstream_tests::{DEADLINE, free_port, holds_within};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The numbers that a client has received.
type Received = Arc<Mutex<Vec<u64>>>;

/// The port of each case, and its last client.
#[derive(Default)]
pub struct Listened(PerCase<(u16, Received)>);

impl Listened {
    fn of(&self, location: &str) -> (u16, Received) {
        self.0.of(location, || (free_port(), Received::default()))
    }
}

/// Connects as soon as the job listens, and receives rows until the connection ends.
fn receive(port: u16, received: &Received) {
    let (token, mut client) = (format!("Authorization: Bearer {SECRET}"), None);
    holds_within(DEADLINE, || {
        client = try_greet(port, "/", &[&token]).ok().and_then(Result::ok);
        client.is_some()
    });
    let Some(mut client) = client else { return };
    while let Ok(message) = try_message(&mut client) {
        let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
        if message["skipped"].is_u64() {
            // This client was too slow: what it received before does not precede what comes now.
            received.clear();
        }
        let rows = message["rows"].as_array().into_iter().flatten();
        received.extend(rows.map(|row| row["n"].as_u64().expect("a number")));
    }
}

impl Connector for Listened {
    fn kind(&self) -> &'static str {
        "websocket"
    }

    fn promise(&self) -> Promise {
        Promise::AtMostOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        const THE_SERVER: &str = "the job is the server, and clients connect to it";
        vec![
            (Case::LateServer, THE_SERVER),
            (Case::Outage, THE_SERVER),
            (Case::Stall, "a client that reads nothing is disconnected: `connectors::http::websocket`"),
            (Case::Password, "a client with a wrong token gets 401: `connectors::http::websocket`"),
            (Case::Gone, "a sink has no position"),
            (Case::TooLong, "a message has no maximum length"),
            (Case::Certificate, "clients check the certificate of the job"),
        ]
    }

    fn link(&self, _: &str) -> Link {
        panic!("the job is the server")
    }

    fn port(&self) -> u16 {
        OWN_PORT
    }

    fn lines(&self, target: &Target) -> String {
        format!("listen = \"127.0.0.1:{}\"\ntoken = \"${{PW}}\"\n", self.of(&target.location).0)
    }

    fn create(&self, _: &str) {}
}

impl Sink for Listened {
    fn read(&self, location: &str) -> Vec<u64> {
        self.of(location).1.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_live(&self) -> bool {
        true
    }

    fn listen(&self, location: &str) {
        let received = Received::default();
        let port = self.of(location).0;
        self.0.set(location, (port, received.clone()));
        thread::spawn(move || receive(port, &received));
    }

    fn kill_points(&self) -> Vec<&'static str> {
        vec!["plan.before:2", "plan.durable:2"]
    }
}
