//! `postgres` and `postgres-changes`, with a real server.

use crate::connectors::contract::connector::*;
use crate::connectors::contract::job::file_with;
use crate::connectors::contract::link::Link;
use millstream_tests::Postgres;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

/// A server that keeps changes of its tables.
pub struct Server(Postgres);

impl Server {
    /// Starts it.
    pub fn start() -> Server {
        Server(Postgres::start_with(&["wal_level=logical", "max_wal_senders=30", "max_replication_slots=30"]))
    }

    fn url(target: &Target) -> String {
        let tls =
            target.ca.as_ref().map_or(String::new(), |ca| format!("?sslmode=verify-full&sslrootcert={}", ca.display()));
        format!("url = \"postgres://me:${{PW}}@127.0.0.1:{}/postgres{tls}\"\n", target.port)
    }
}

/// It is asked for TLS, and agrees.
fn agree(socket: &mut TcpStream) {
    let _ = socket.read_exact(&mut [0; 8]).and_then(|()| socket.write_all(b"S"));
}

/// Changes of its tables.
pub struct AsSource<'a>(pub &'a Server);
/// Its sink.
pub struct AsSink<'a>(pub &'a Server);

impl Connector for AsSource<'_> {
    fn kind(&self) -> &'static str {
        "postgres-changes"
    }

    fn promise(&self) -> Promise {
        Promise::ExactlyOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        Vec::new()
    }

    fn link(&self, _: &str) -> Link {
        Link::to(self.0.0.port())
    }

    fn port(&self) -> u16 {
        self.0.0.port()
    }

    fn lines(&self, target: &Target) -> String {
        let location = &target.location;
        let schema = "schema = { n = \"int64\", k = \"text\", op = { type = \"text\", from = \"op\" } }\n";
        format!("{}table = \"{location}_in\"\n{schema}", Server::url(target))
    }

    fn secret(&self) -> &'static str {
        Postgres::PASSWORD
    }

    fn create(&self, location: &str) {
        self.0.0.sql(&format!("create table {location}_in (id bigserial primary key, n bigint, k text)"));
    }

    fn denied(&self) -> &'static str {
        "password authentication failed"
    }

    fn before_tls(&self, socket: &mut TcpStream) {
        agree(socket);
    }
}

impl Source for AsSource<'_> {
    fn send_records(&self, location: &str, records: Vec<(u64, String)>) {
        let value = |(_, record): &(u64, String)| format!("(('{record}'::json->>'n')::bigint, '{record}'::json->>'k')");
        let values: Vec<String> = records.iter().map(value).collect();
        self.0.0.sql(&format!("insert into {location}_in (n, k) values {}", values.join(",")));
    }

    fn lose(&self, _: &str, kept: &Path) {
        // The name of a slot is `millstream_<id of the job>_in`.
        let slots = self.0.0.sql("select slot_name from pg_replication_slots");
        let id = |slot: &str| slot.split('_').nth(1).map(|id| id.as_bytes().to_vec()).unwrap_or_default();
        let own = slots.lines().find(|slot| file_with(kept, &id(slot)).is_some()).expect("the job has a slot");
        let drop = format!("select pg_drop_replication_slot('{own}')");
        millstream_tests::wait_until("the slot is gone", || self.0.0.try_sql(&drop).is_ok());
    }

    fn gone(&self) -> &'static str {
        "was deleted, and with it the changes since"
    }
}

impl Connector for AsSink<'_> {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn promise(&self) -> Promise {
        Promise::ExactlyOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        vec![
            (Case::Gone, "a sink has no position"),
            (Case::TooLong, "PostgreSQL takes values of 1 GiB, more than a row may have"),
        ]
    }

    fn link(&self, _: &str) -> Link {
        Link::to(self.0.0.port())
    }

    fn port(&self) -> u16 {
        self.0.0.port()
    }

    fn lines(&self, target: &Target) -> String {
        format!("{}table = \"{}_out\"\n", Server::url(target), target.location)
    }

    fn secret(&self) -> &'static str {
        Postgres::PASSWORD
    }

    fn create(&self, location: &str) {
        self.0.0.sql(&format!("create table {location}_out (n bigint, k text)"));
    }

    fn denied(&self) -> &'static str {
        "password authentication failed"
    }

    fn before_tls(&self, socket: &mut TcpStream) {
        agree(socket);
    }
}

impl Sink for AsSink<'_> {
    fn read(&self, location: &str) -> Vec<u64> {
        let rows = self.0.0.sql(&format!("select n from {location}_out"));
        rows.lines().map(|n| n.parse().expect("a number")).collect()
    }

    fn is_ordered(&self) -> bool {
        false
    }
}
