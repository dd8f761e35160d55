//! `socket` and `raw-socket`, with a server that sends its rows to whoever is connected.

use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use millstream_tests::LineServer;
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

    /// The port of the server of a case, which it starts if there is none.
    fn port_of(&self, location: &str) -> u16 {
        self.servers().entry(location.to_owned()).or_insert_with(LineServer::start).port()
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
        vec![(Case::Password, "a socket has no login"), (Case::Gone, "a socket has no position")]
    }

    fn link(&self, location: &str) -> Link {
        Link::to(self.port_of(location))
    }

    fn port(&self) -> u16 {
        0
    }

    fn lines(&self, target: &Target) -> String {
        let port = match target.port {
            0 => self.port_of(&target.location),
            port => port,
        };
        format!("address = \"127.0.0.1:{port}\"\n{}{SCHEMA}", target.tls())
    }

    fn create(&self, location: &str) {
        self.port_of(location);
    }

    fn waits(&self) -> &'static str {
        "(connection refused); retrying"
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
