//! `nats`, with a real server.

use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use millstream_tests::Nats;
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

/// The longest message that the server takes.
const PAYLOAD_MAX: usize = 100_000;

/// A server at which user `me` has a password, and tests need none.
pub struct Server(Nats);

impl Server {
    /// Starts it.
    pub fn start() -> Server {
        let users = format!("users = [ {{ user: me, password: \"{SECRET}\" }}, {{ user: test, password: test }} ]");
        let settings = format!("max_payload: {PAYLOAD_MAX}\nno_auth_user: test\nauthorization {{ {users} }}\n");
        Server(Nats::configured(&settings, &json!({ "user": "test", "pass": "test" })))
    }

    fn url(target: &Target) -> String {
        let scheme = target.scheme("nats", "tls");
        format!("url = \"{scheme}://me:${{PW}}@127.0.0.1:{}\"\n{}", target.port, target.tls())
    }
}

/// It greets before TLS begins.
fn greet(socket: &mut TcpStream) {
    let info = json!({ "server_id": "x", "version": "2.12.0", "headers": true, "tls_required": true, "max_payload": 1_000_000 });
    let _ = socket.write_all(format!("INFO {info}\r\n").as_bytes());
}

/// Its source.
pub struct AsSource<'a>(pub &'a Server);
/// Its sink.
pub struct AsSink<'a>(pub &'a Server);

impl Connector for AsSource<'_> {
    fn kind(&self) -> &'static str {
        "nats"
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
        Server::url(target) + &format!("stream = \"{}\"\n", target.location) + SCHEMA
    }

    fn create(&self, location: &str) {
        self.0.0.stream(location, &[&format!("{location}.*")], &json!({}));
    }

    fn before_tls(&self, socket: &mut TcpStream) {
        greet(socket);
    }
}

impl Source for AsSource<'_> {
    fn send_records(&self, location: &str, records: Vec<(u64, String)>) {
        for (n, record) in records {
            self.0.0.publish(&format!("{location}.k{}", n % KEYS), &record);
        }
    }

    fn lose(&self, location: &str, _: &Path) {
        self.send(location, 20..40);
        self.0.0.send_request(&format!("STREAM.PURGE.{location}"), &json!({ "keep": 2 }));
    }

    fn gone(&self) -> &'static str {
        "let the stream keep more"
    }
}

impl Connector for AsSink<'_> {
    fn kind(&self) -> &'static str {
        "nats"
    }

    fn promise(&self) -> Promise {
        Promise::ExactlyOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        vec![(Case::Gone, "a sink has no position")]
    }

    fn link(&self, _: &str) -> Link {
        Link::to(self.0.0.port())
    }

    fn port(&self) -> u16 {
        self.0.0.port()
    }

    fn lines(&self, target: &Target) -> String {
        let location = &target.location;
        Server::url(target) + &format!("stream = \"{location}-out\"\nsubject = \"{location}-out\"\n")
    }

    fn create(&self, _: &str) {}

    fn before_tls(&self, socket: &mut TcpStream) {
        greet(socket);
    }
}

impl Sink for AsSink<'_> {
    fn read(&self, location: &str) -> Vec<u64> {
        let names = self.0.0.send_request("STREAM.NAMES", &json!({}));
        let stream = format!("{location}-out");
        if !names["streams"].as_array().is_some_and(|names| names.contains(&json!(stream))) {
            return Vec::new();
        }
        let messages = self.0.0.messages(&stream).into_iter().filter(|message| message.subject == stream);
        let row = |data: &[u8]| serde_json::from_slice::<Value>(data).ok()?["n"].as_u64();
        messages.map(|message| row(&message.data).expect("a number")).collect()
    }

    fn too_long(&self) -> (usize, &'static str) {
        (PAYLOAD_MAX, "max_payload")
    }
}
