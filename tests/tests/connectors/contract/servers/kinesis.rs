//! `kinesis`, with a server that speaks its protocol.

use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use millstream_tests::Kinesis;
use serde_json::Value;
use std::path::Path;

/// A server with streams.
pub struct Server(Kinesis);

impl Server {
    /// Starts it.
    pub fn start() -> Server {
        Server(Kinesis::start())
    }
}

/// Variables of the program; the server does not look at the secret.
fn environment(target: &Target, password: &str) -> Vec<(String, String)> {
    let own = |(name, value): (String, String)| match name.as_str() {
        "AWS_SECRET_ACCESS_KEY" => (name, password.to_owned()),
        _ => (name, value),
    };
    let mut all: Vec<_> = Kinesis::settings(target.port).into_iter().map(own).collect();
    all.push(("PW".to_owned(), password.to_owned()));
    all
}

const PASSWORD: (Case, &str) = (Case::Password, "the server of the tests checks no signature: `connectors::kinesis`");
const CERTIFICATE: (Case, &str) =
    (Case::Certificate, "the trust store of the system decides; a job cannot name another CA");

/// Its source.
pub struct AsSource<'a>(pub &'a Server);

impl Connector for AsSource<'_> {
    fn kind(&self) -> &'static str {
        "kinesis"
    }

    fn promise(&self) -> Promise {
        Promise::ExactlyOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        vec![PASSWORD, CERTIFICATE]
    }

    fn link(&self) -> Link {
        Link::to(self.0.0.port())
    }

    fn port(&self) -> u16 {
        self.0.0.port()
    }

    fn lines(&self, target: &Target) -> String {
        format!("stream = \"{}\"\n{SCHEMA}", target.location)
    }

    fn environment(&self, target: &Target, password: &str) -> Vec<(String, String)> {
        environment(target, password)
    }

    fn create(&self, location: &str) {
        self.0.0.create(location, 2);
    }
}

impl Source for AsSource<'_> {
    fn send_records(&self, location: &str, records: Vec<(u64, String)>) {
        let records: Vec<(String, String)> =
            records.into_iter().map(|(n, record)| (format!("k{}", n % KEYS), record)).collect();
        self.0.0.put(location, &records.iter().map(|(key, data)| (key.as_str(), data)).collect::<Vec<_>>());
    }

    fn lose(&self, location: &str, _: &Path) {
        self.0.0.delete(location);
        self.0.0.create(location, 2);
    }

    fn gone(&self) -> &'static str {
        "the stream"
    }
}

/// Its sink.
pub struct AsSink<'a>(pub &'a Server);

impl Connector for AsSink<'_> {
    fn kind(&self) -> &'static str {
        "kinesis"
    }

    fn promise(&self) -> Promise {
        Promise::AtLeastOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        vec![PASSWORD, CERTIFICATE, (Case::Gone, "a sink has no position")]
    }

    fn link(&self) -> Link {
        Link::to(self.0.0.port())
    }

    fn port(&self) -> u16 {
        self.0.0.port()
    }

    fn lines(&self, target: &Target) -> String {
        format!("stream = \"{}-out\"\n", target.location)
    }

    fn environment(&self, target: &Target, password: &str) -> Vec<(String, String)> {
        environment(target, password)
    }

    fn create(&self, location: &str) {
        self.0.0.create(&format!("{location}-out"), 1);
    }
}

impl Sink for AsSink<'_> {
    fn read(&self, location: &str) -> Vec<u64> {
        let number = |data: &str| serde_json::from_str::<Value>(data).ok()?["n"].as_u64();
        let records = self.0.0.records(&format!("{location}-out"));
        records.iter().map(|(_, data)| number(data).expect("a number")).collect()
    }

    fn too_long(&self) -> (usize, &'static str) {
        (11 << 20, "a record")
    }
}
