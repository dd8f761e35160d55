//! `kinesis`, with a server that speaks its protocol.

use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use crate::connectors::contract::per_case::PerCase;
use millstream_tests::{HttpServer, Kinesis, StreamFollower};
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// A server with streams, which tests use directly. Jobs have to sign their requests.
pub struct Server {
    kinesis: Kinesis,
    guarded: HttpServer,
    /// What the sink has written.
    written: PerCase<Written>,
}

/// A reader of a stream, and the numbers that it has read.
type Written = Arc<Mutex<(StreamFollower, Vec<u64>)>>;

impl Server {
    /// Starts it.
    pub fn start() -> Server {
        let kinesis = Kinesis::start();
        Server { guarded: kinesis.guarded(SECRET), kinesis, written: PerCase::default() }
    }
}

/// Variables of the program.
fn environment(target: &Target, password: &str) -> Vec<(String, String)> {
    let own = |(name, value): (String, String)| match name.as_str() {
        "AWS_ENDPOINT_URL_KINESIS" => (name, value.replacen("http", &target.scheme("http", "https"), 1)),
        "AWS_SECRET_ACCESS_KEY" => (name, password.to_owned()),
        _ => (name, value),
    };
    let mut all: Vec<_> = Kinesis::settings(target.port).into_iter().map(own).collect();
    all.push(("PW".to_owned(), password.to_owned()));
    all.extend(target.trust_store());
    all
}

/// Part of the message about a wrong secret key.
const DENIED: &str = "InvalidSignatureException";
/// The longest record that a stream takes.
const RECORD_MAX: usize = 1 << 20;

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
        Vec::new()
    }

    fn link(&self, _: &str) -> Link {
        Link::to(self.0.guarded.port())
    }

    fn port(&self) -> u16 {
        self.0.guarded.port()
    }

    fn lines(&self, target: &Target) -> String {
        format!("stream = \"{}\"\n{SCHEMA}", target.location)
    }

    fn environment(&self, target: &Target, password: &str) -> Vec<(String, String)> {
        environment(target, password)
    }

    fn denied(&self) -> &'static str {
        DENIED
    }

    fn create(&self, location: &str) {
        self.0.kinesis.create(location, 2);
    }
}

impl Source for AsSource<'_> {
    fn send_records(&self, location: &str, records: Vec<(u64, String)>) {
        let records: Vec<(String, String)> =
            records.into_iter().map(|(n, record)| (format!("k{}", n % KEYS), record)).collect();
        self.0.kinesis.put(location, &records.iter().map(|(key, data)| (key.as_str(), data)).collect::<Vec<_>>());
    }

    fn lose(&self, location: &str, _: &Path) {
        self.0.kinesis.delete(location);
        self.0.kinesis.create(location, 2);
    }

    fn gone(&self) -> &'static str {
        "the stream"
    }
}

/// Its sink. A stream of one shard has an order.
pub struct AsSink<'a>(pub &'a Server);

impl Connector for AsSink<'_> {
    fn kind(&self) -> &'static str {
        "kinesis"
    }

    fn promise(&self) -> Promise {
        Promise::AtLeastOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        vec![(Case::Gone, "a sink has no position")]
    }

    fn link(&self, _: &str) -> Link {
        Link::to(self.0.guarded.port())
    }

    fn port(&self) -> u16 {
        self.0.guarded.port()
    }

    fn lines(&self, target: &Target) -> String {
        format!("stream = \"{}-out\"\n", target.location)
    }

    fn environment(&self, target: &Target, password: &str) -> Vec<(String, String)> {
        environment(target, password)
    }

    fn denied(&self) -> &'static str {
        DENIED
    }

    fn create(&self, location: &str) {
        let stream = format!("{location}-out");
        self.0.kinesis.create(&stream, 1);
        self.0.written.set(location, Arc::new(Mutex::new((self.0.kinesis.follow(&stream), Vec::new()))));
    }
}

impl Sink for AsSink<'_> {
    fn read(&self, location: &str) -> Vec<u64> {
        let written = self.0.written.existing(location);
        let (follower, numbers) = &mut *written.lock().unwrap_or_else(PoisonError::into_inner);
        let row = |data: &str| serde_json::from_str::<Value>(data).ok()?["n"].as_u64();
        numbers.extend(self.0.kinesis.more(follower).iter().map(|(_, data)| row(data).expect("a number")));
        numbers.clone()
    }

    fn kill_points(&self) -> Vec<&'static str> {
        vec!["plan.durable:2", "commit.before:2", "commit.part:2", "commit.after:2"]
    }

    fn too_long(&self) -> (usize, &'static str) {
        (RECORD_MAX, "but a Kinesis record has at most")
    }
}
