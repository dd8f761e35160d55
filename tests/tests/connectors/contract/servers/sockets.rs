//! `socket` and `raw-socket`, with a server that sends its rows to whoever is connected.

use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use millstream_tests::{LineServer, free_port};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What records are in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Lines.
    Lines,
    /// Frames behind their lengths.
    Frames,
}

/// A server for each case.
pub struct Sockets {
    kind: Kind,
    servers: Mutex<BTreeMap<String, LineServer>>,
}

impl Sockets {
    /// None yet.
    pub fn new(kind: Kind) -> Sockets {
        Sockets { kind, servers: Mutex::default() }
    }

    fn servers(&self) -> MutexGuard<'_, BTreeMap<String, LineServer>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connector for Sockets {
    fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Lines => "socket",
            Kind::Frames => "raw-socket",
        }
    }

    fn promise(&self) -> Promise {
        Promise::AtMostOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        const ONE_SERVER_EACH: &str = "a server is at one address: `connectors::sources` ends and starts it";
        vec![
            (Case::LateServer, ONE_SERVER_EACH),
            (Case::Outage, ONE_SERVER_EACH),
            (Case::Stall, ONE_SERVER_EACH),
            (Case::Password, "a socket has no login"),
            (Case::Gone, "a socket has no position"),
        ]
    }

    fn link(&self) -> Link {
        panic!("each case has a server of its own")
    }

    fn port(&self) -> u16 {
        0
    }

    fn lines(&self, target: &Target) -> String {
        let port = match target.port {
            0 => self.servers().get(&target.location).map_or_else(free_port, LineServer::port),
            port => port,
        };
        format!("address = \"127.0.0.1:{port}\"\n{}{SCHEMA}", target.tls())
    }

    fn create(&self, location: &str) {
        self.servers().insert(location.to_owned(), LineServer::start());
    }
}

impl Source for Sockets {
    fn send_records(&self, location: &str, records: Vec<(u64, String)>) {
        let bytes = |(_, record): (u64, String)| match self.kind {
            Kind::Lines => (record + "\n").into_bytes(),
            Kind::Frames => [&(record.len() as u32).to_be_bytes()[..], record.as_bytes()].concat(),
        };
        let all: Vec<u8> = records.into_iter().flat_map(bytes).collect();
        let servers = self.servers();
        // Nobody may be connected.
        servers.get(location).expect("it was created").send(all);
    }

    fn subscribes(&self) -> bool {
        true
    }
}
