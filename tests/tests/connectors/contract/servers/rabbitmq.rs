//! `rabbitmq`, with a real server: queues, and streams of it.

use super::LineClient;
use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use millstream_tests::Rabbitmq;
use serde_json::{Value, json};

/// A server at which user `me` has a password.
pub struct Server(Rabbitmq, LineClient);

impl Server {
    /// Starts it.
    pub fn start() -> Server {
        let mut server = Rabbitmq::not_started();
        server.set_passwords(&[("guest", "guest"), ("me", SECRET)]);
        server.start_again();
        let client = LineClient::new(server.client());
        Server(server, client)
    }

    fn send_request(&self, request: &Value) -> Value {
        self.1.request(&request.to_string())
    }

    fn publish(&self, queue: &str, records: Vec<(u64, String)>) {
        let bodies: Vec<String> = records.into_iter().map(|(_, record)| record).collect();
        self.send_request(&json!({ "do": "publish", "key": queue, "bodies": bodies }));
    }

    fn url(target: &Target) -> String {
        let scheme = target.scheme("amqp", "amqps");
        format!("url = \"{scheme}://me:${{PW}}@127.0.0.1:{}\"\n{}", target.port, target.tls())
    }
}

/// Its source of queues.
pub struct AsSource<'a>(pub &'a Server);
/// Its source of streams.
pub struct AsStream<'a>(pub &'a Server);
/// Its sink.
pub struct AsSink<'a>(pub &'a Server);

impl Connector for AsSource<'_> {
    fn kind(&self) -> &'static str {
        "rabbitmq"
    }

    fn promise(&self) -> Promise {
        Promise::AtLeastOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        vec![(Case::Gone, "a queue deletes what was acknowledged; it has no positions")]
    }

    fn link(&self, _: &str) -> Link {
        Link::to(self.0.0.port())
    }

    fn port(&self) -> u16 {
        self.0.0.port()
    }

    fn lines(&self, target: &Target) -> String {
        Server::url(target) + &format!("queue = \"{}\"\n", target.location) + SCHEMA
    }

    fn create(&self, location: &str) {
        self.0.send_request(&json!({ "do": "declare", "queue": location }));
    }
}

impl Source for AsSource<'_> {
    fn send_records(&self, location: &str, records: Vec<(u64, String)>) {
        self.0.publish(location, records);
    }
}

impl Connector for AsStream<'_> {
    fn kind(&self) -> &'static str {
        "rabbitmq"
    }

    fn promise(&self) -> Promise {
        Promise::ExactlyOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        vec![
            (Case::Gone, "RabbitMQ deletes whole segments: `connectors::rabbitmq` fills one"),
            (Case::Password, "as for queues"),
            (Case::Certificate, "as for queues"),
        ]
    }

    fn link(&self, _: &str) -> Link {
        Link::to(self.0.0.port())
    }

    fn port(&self) -> u16 {
        self.0.0.port()
    }

    fn lines(&self, target: &Target) -> String {
        Server::url(target) + &format!("stream = \"{}-stream\"\n", target.location) + SCHEMA
    }

    fn create(&self, location: &str) {
        self.0.0.stream(&format!("{location}-stream"), &json!({}));
    }
}

impl Source for AsStream<'_> {
    fn send_records(&self, location: &str, records: Vec<(u64, String)>) {
        self.0.publish(&format!("{location}-stream"), records);
    }
}

impl Connector for AsSink<'_> {
    fn kind(&self) -> &'static str {
        "rabbitmq"
    }

    fn promise(&self) -> Promise {
        Promise::AtLeastOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        vec![
            (Case::Gone, "a sink has no position"),
            (Case::TooLong, "RabbitMQ takes messages of 128 MiB, more than a row may have"),
        ]
    }

    fn link(&self, _: &str) -> Link {
        Link::to(self.0.0.port())
    }

    fn port(&self) -> u16 {
        self.0.0.port()
    }

    fn lines(&self, target: &Target) -> String {
        Server::url(target) + &format!("routing_key = \"{}-out\"\n", target.location)
    }

    fn create(&self, location: &str) {
        self.0.send_request(&json!({ "do": "declare", "queue": format!("{location}-out") }));
    }
}

impl Sink for AsSink<'_> {
    fn read(&self, location: &str) -> Vec<u64> {
        let read = self.0.send_request(&json!({ "do": "peek", "queue": format!("{location}-out") }));
        let bodies: Vec<String> = serde_json::from_value(read).expect("texts");
        let row = |body: &str| serde_json::from_str::<Value>(body).ok()?["n"].as_u64();
        bodies.iter().map(|body| row(body).expect("a number")).collect()
    }
}
