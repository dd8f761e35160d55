//! The source `kinesis`, with a server that speaks its protocol.

use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use millstream_tests::Kinesis;
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
