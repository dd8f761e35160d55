//! `mqtt`, with a real mosquitto.

use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use crate::connectors::contract::per_case::PerCase;
use millstream_tests::{Mosquitto, Process};
use serde_json::Value;
use std::sync::Arc;
use tempfile::TempDir;

/// A server at which user `me` has a password, and tests need none.
pub struct Server {
    mosquitto: Mosquitto,
    _passwords: TempDir,
    /// Subscribers that tests read.
    readers: PerCase<Arc<Process>>,
}

impl Server {
    /// Starts it.
    pub fn start() -> Server {
        let (passwords, settings) = Mosquitto::login(SECRET);
        let settings = settings.replace("allow_anonymous false", "allow_anonymous true");
        Server { mosquitto: Mosquitto::with(&settings), _passwords: passwords, readers: PerCase::default() }
    }

    fn url(target: &Target) -> String {
        let scheme = target.scheme("mqtt", "mqtts");
        format!("url = \"{scheme}://me:${{PW}}@127.0.0.1:{}\"\n{}", target.port, target.tls())
    }
}

/// Its source.
pub struct AsSource<'a>(pub &'a Server);
/// Its sink.
pub struct AsSink<'a>(pub &'a Server);

impl Connector for AsSource<'_> {
    fn kind(&self) -> &'static str {
        "mqtt"
    }

    fn promise(&self) -> Promise {
        Promise::AtLeastOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        vec![(Case::Gone, "the server keeps the session; MQTT has no positions")]
    }

    fn link(&self, _: &str) -> Link {
        Link::to(self.0.mosquitto.port())
    }

    fn port(&self) -> u16 {
        self.0.mosquitto.port()
    }

    fn lines(&self, target: &Target) -> String {
        Server::url(target) + &format!("topic = \"{}/#\"\n", target.location) + SCHEMA
    }

    fn create(&self, _: &str) {}

    fn denied(&self) -> &'static str {
        "check user and password in `url`"
    }
}

impl Source for AsSource<'_> {
    fn send_records(&self, location: &str, records: Vec<(u64, String)>) {
        let lines: Vec<String> = records.into_iter().map(|(_, record)| record).collect();
        self.0.mosquitto.publish(&format!("{location}/x"), &lines, &[]);
    }

    fn subscribes(&self) -> bool {
        true
    }
}

impl Connector for AsSink<'_> {
    fn kind(&self) -> &'static str {
        "mqtt"
    }

    fn promise(&self) -> Promise {
        Promise::AtLeastOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        vec![
            (Case::Gone, "a sink has no position"),
            (Case::TooLong, "mosquitto takes messages of 256 MiB, more than a row may have"),
        ]
    }

    fn link(&self, _: &str) -> Link {
        Link::to(self.0.mosquitto.port())
    }

    fn port(&self) -> u16 {
        self.0.mosquitto.port()
    }

    fn lines(&self, target: &Target) -> String {
        Server::url(target) + &format!("topic = \"{}-out/x\"\n", target.location)
    }

    fn create(&self, location: &str) {
        let topic = format!("{location}-out/x");
        let reader = self.0.mosquitto.subscribe(&topic, &format!("reads-{location}"));
        self.0.readers.set(location, Arc::new(reader));
    }

    fn denied(&self) -> &'static str {
        "check user and password in `url`"
    }
}

impl Sink for AsSink<'_> {
    fn read(&self, location: &str) -> Vec<u64> {
        // What the server has taken is on its way to the subscriber: a message of its own comes behind it.
        let topic = format!("{location}-out/x");
        let reader = self.0.readers.existing(location);
        let marks =
            |reader: &Process| Mosquitto::received(reader).iter().filter(|line| line.ends_with(" mark")).count();
        let before = marks(&reader);
        self.0.mosquitto.publish(&topic, &["mark".to_owned()], &[]);
        millstream_tests::wait_until(&format!("the subscriber of {topic} gets a mark"), || marks(&reader) > before);
        let heard = Mosquitto::received(&reader).into_iter().filter(|line| !line.ends_with(" mark"));
        let row = |line: &str| serde_json::from_str::<Value>(line.split_once(' ')?.1).ok()?["n"].as_u64();
        heard.map(|line| row(&line).unwrap_or_else(|| panic!("{line}"))).collect()
    }
}
