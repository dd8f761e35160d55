//! `socket` and `raw-socket`, with a server that sends its rows to whoever is connected.

use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use crate::connectors::contract::per_case::PerCase;
use millstream_tests::LineServer;
use std::sync::Arc;

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
    servers: PerCase<Arc<LineServer>>,
}

impl Sockets {
    /// None yet.
    pub fn new(kind: Kind) -> Sockets {
        Sockets { kind, servers: PerCase::default() }
    }

    fn server(&self, location: &str) -> Arc<LineServer> {
        self.servers.of(location, || Arc::new(LineServer::start()))
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
        Link::to(self.server(location).port())
    }

    fn port(&self) -> u16 {
        OWN_PORT
    }

    fn lines(&self, target: &Target) -> String {
        let port = target.port_or(|| self.server(&target.location).port());
        format!("address = \"127.0.0.1:{port}\"\n{}{SCHEMA}", target.tls())
    }

    fn create(&self, location: &str) {
        self.server(location);
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
        // Nobody may be connected.
        self.server(location).send(all);
    }

    fn subscribes(&self) -> bool {
        true
    }
}
