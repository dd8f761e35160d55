//! `kafka`, with a real broker.

use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use millstream_tests::kafka::{BrokerOptions, Record};
use millstream_tests::{Broker, free_port};
use serde_json::Value;
use std::path::Path;
use std::sync::Mutex;

/// Links that cases of source and sink need.
const LINKS: usize = 6;
/// The longest record of the topic `long`.
const RECORD_MAX: usize = 2000;

/// A broker that wants a password. Clients learn its address from it, so each link has a port at which the broker names the link.
pub struct Server {
    broker: Broker,
    /// Ports of the broker and their links.
    links: Mutex<Vec<(u16, u16)>>,
}

impl Server {
    /// Starts it.
    pub fn start() -> Server {
        let links: Vec<(u16, u16)> = (0..LINKS).map(|_| (free_port(), free_port())).collect();
        let broker = Broker::with(BrokerOptions { login: true, relayed: links.clone(), ..BrokerOptions::default() });
        Server { broker, links: Mutex::new(links) }
    }

    fn link(&self) -> Link {
        let (own, told) = self.links.lock().expect("nobody panics with it").pop().expect("a link is left");
        Link::at(told, own)
    }

    fn port(&self) -> u16 {
        self.broker.guarded().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    }

    fn lines(target: &Target) -> String {
        let user = Broker::USER;
        format!(
            "brokers = \"127.0.0.1:{}\"\ntopic = \"{}\"\nsasl = {{ mechanism = \"SCRAM-SHA-256\", user = \"{user}\", password = \
             \"${{PW}}\" }}\n{}",
            target.port,
            target.location,
            target.tls()
        )
    }
}

/// Its source, which reads topics of two partitions.
pub struct AsSource<'a>(pub &'a Server);
/// Its sink.
pub struct AsSink<'a>(pub &'a Server);

impl Connector for AsSource<'_> {
    fn kind(&self) -> &'static str {
        "kafka"
    }

    fn promise(&self) -> Promise {
        Promise::ExactlyOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        Vec::new()
    }

    fn link(&self, _: &str) -> Link {
        self.0.link()
    }

    fn port(&self) -> u16 {
        self.0.port()
    }

    fn lines(&self, target: &Target) -> String {
        Server::lines(target) + "poll = \"100ms\"\n" + SCHEMA
    }

    fn secret(&self) -> &'static str {
        Broker::PASSWORD
    }

    fn create(&self, location: &str) {
        self.0.broker.topic(location, 2, &[]);
    }

    fn waits(&self) -> &'static str {
        "retrying for up to 1h (`wait`)"
    }

    fn misnamed(&self) -> &'static str {
        "certificate verify failed"
    }
}

impl Source for AsSource<'_> {
    fn send_records(&self, location: &str, records: Vec<(u64, String)>) {
        let record = |(n, text): &(u64, String)| Record::at(i32::from(n % KEYS == 0), text);
        self.0.broker.produce(location, &records.iter().map(record).collect::<Vec<_>>());
    }

    fn lose(&self, location: &str, _: &Path) {
        self.send(location, 20..40);
        self.0.broker.delete_records(location, 0, self.0.broker.end(location, 0) - 1);
    }

    fn gone(&self) -> &'static str {
        "but the oldest record has offset"
    }
}

impl Connector for AsSink<'_> {
    fn kind(&self) -> &'static str {
        "kafka"
    }

    fn promise(&self) -> Promise {
        Promise::ExactlyOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        vec![(Case::Gone, "a sink has no position")]
    }

    fn link(&self, _: &str) -> Link {
        self.0.link()
    }

    fn port(&self) -> u16 {
        self.0.port()
    }

    fn lines(&self, target: &Target) -> String {
        Server::lines(&Target { location: format!("{}-out", target.location), ..target.clone() })
    }

    fn secret(&self) -> &'static str {
        Broker::PASSWORD
    }

    fn create(&self, location: &str) {
        let small = RECORD_MAX.to_string();
        let settings = [("max.message.bytes", small.as_str())];
        self.0.broker.topic(&format!("{location}-out"), 1, if location == "long" { &settings } else { &[] });
    }

    fn misnamed(&self) -> &'static str {
        "certificate verify failed"
    }
}

impl Sink for AsSink<'_> {
    fn read(&self, location: &str) -> Vec<u64> {
        let row = |text: &String| serde_json::from_str::<Value>(text).ok()?["n"].as_u64();
        self.0.broker.strings(&format!("{location}-out")).iter().map(|text| row(text).expect("a number")).collect()
    }

    fn too_long(&self) -> (usize, &'static str) {
        (RECORD_MAX, "(`max.message.bytes`)")
    }
}
