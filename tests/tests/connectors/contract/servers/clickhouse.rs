//! `clickhouse`, with the engine of a new server behind its HTTP interface.

use crate::connectors::clickhouse::{PASSWORD, query, server};
use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use millstream_tests::{Process, Trial, free_port};

/// A server whose data is in a temporary directory.
pub struct Server {
    port: u16,
    _process: Process,
    _dir: Trial,
}

impl Server {
    /// Starts it.
    pub fn start() -> Server {
        let (port, dir) = (free_port(), Trial::new(""));
        let process = server("chdb.sh", port, &dir);
        query(port, "create database if not exists shop").expect("a database");
        Server { port, _process: process, _dir: dir }
    }
}

/// Its sink.
pub struct AsSink<'a>(pub &'a Server);

impl Connector for AsSink<'_> {
    fn kind(&self) -> &'static str {
        "clickhouse"
    }

    fn promise(&self) -> Promise {
        Promise::ExactlyOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        vec![(Case::Gone, "a sink has no position"), (Case::TooLong, "a row has no maximum length")]
    }

    fn link(&self, _: &str) -> Link {
        Link::to(self.0.port)
    }

    fn port(&self) -> u16 {
        self.0.port
    }

    fn lines(&self, target: &Target) -> String {
        let (scheme, location) = (target.scheme("http", "https"), &target.location);
        let url = format!("url = \"{scheme}://127.0.0.1:{}\"\ntable = \"shop.{location}\"\n", target.port);
        format!("{url}user = \"me\"\npassword = \"${{PW}}\"\n{}", target.tls())
    }

    fn secret(&self) -> &'static str {
        PASSWORD
    }

    fn create(&self, location: &str) {
        let settings = "settings non_replicated_deduplication_window = 1000";
        let table =
            format!("create table shop.{location} (n Int64, k String) engine = MergeTree order by n {settings}");
        query(self.0.port, &table).expect("a table");
    }

    fn denied(&self) -> &'static str {
        "check `user` or `password`"
    }
}

impl Sink for AsSink<'_> {
    fn read(&self, location: &str) -> Vec<u64> {
        let rows = query(self.0.port, &format!("select n from shop.{location} order by n")).expect("a table");
        rows.lines().map(|n| n.parse().expect("a number")).collect()
    }

    fn kill_points(&self) -> Vec<&'static str> {
        vec!["plan.durable:2", "commit.before:2", "commit.after:2"]
    }
}
