//! `flight`: streams that grow, and a server that writes down what it receives.

use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use millstream_tests::Flight;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A server that wants a token.
pub struct Server {
    port: u16,
    flight: Mutex<Flight>,
}

impl Server {
    /// Starts it.
    pub fn start() -> Server {
        let flight = Flight::start(&json!({ "token": SECRET, "grows": true }));
        Server { port: flight.port(), flight: Mutex::new(flight) }
    }

    fn flight(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self, target: &Target) -> String {
        let (scheme, location) = (target.scheme("grpc", "grpc+tls"), &target.location);
        let url = format!("url = \"{scheme}://127.0.0.1:{}\"\n", target.port);
        format!("{url}token = \"${{PW}}\"\npath = \"{location}\"\n{}", target.tls())
    }
}

/// Its source. Each case has a stream of two parts; all rows with the key `k0` are in the first.
pub struct AsSource<'a>(pub &'a Server);
/// Its sink.
pub struct AsSink<'a>(pub &'a Server);

impl Connector for AsSource<'_> {
    fn kind(&self) -> &'static str {
        "flight"
    }

    fn promise(&self) -> Promise {
        Promise::ExactlyOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        Vec::new()
    }

    fn link(&self, _: &str) -> Link {
        Link::to(self.0.port)
    }

    fn port(&self) -> u16 {
        self.0.port
    }

    fn lines(&self, target: &Target) -> String {
        self.0.lines(target) + SCHEMA
    }

    fn create(&self, location: &str) {
        self.0.flight().grow(&json!({ "stream": location, "rows": [] }));
    }
}

impl Source for AsSource<'_> {
    fn send_records(&self, location: &str, records: Vec<(u64, String)>) {
        let (first, second): (Vec<_>, Vec<_>) = records.into_iter().partition(|(n, _)| n % KEYS == 0);
        for (part, records) in [first, second].into_iter().enumerate() {
            let row = |(_, record): (u64, String)| {
                let row: Value = serde_json::from_str(&record).expect("a record is JSON");
                json!([row["n"], row["k"]])
            };
            let rows: Vec<Value> = records.into_iter().map(row).collect();
            self.0.flight().grow(&json!({ "stream": location, "part": part, "rows": rows }));
        }
    }

    fn lose(&self, location: &str, _: &Path) {
        let rows: Vec<Value> = (100..200).map(|n| json!([n, "k0"])).collect();
        self.0.flight().grow(&json!({ "stream": location, "rows": rows, "instead": true }));
    }

    fn gone(&self) -> &'static str {
        "it returns other rows than before: the first"
    }
}

impl Connector for AsSink<'_> {
    fn kind(&self) -> &'static str {
        "flight"
    }

    fn promise(&self) -> Promise {
        Promise::AtLeastOnce
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
        self.0.lines(target)
    }

    fn create(&self, _: &str) {}
}

impl Sink for AsSink<'_> {
    fn read(&self, location: &str) -> Vec<u64> {
        let puts = self.0.flight().put().into_iter().filter(|put| put["to"] == json!([location]));
        let rows = puts.flat_map(|put| put["rows"].as_array().cloned().unwrap_or_default());
        rows.map(|row| row["n"].as_u64().expect("a number")).collect()
    }

    fn kill_points(&self) -> Vec<&'static str> {
        vec!["plan.durable:2", "commit.before:2", "commit.after:2"]
    }
}
