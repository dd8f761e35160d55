//! The sink `flight`, with a server that writes down what it receives.

use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use millstream_tests::Flight;
use serde_json::json;

/// A server that wants a token.
pub struct Server(Flight);

impl Server {
    /// Starts it.
    pub fn start() -> Server {
        Server(Flight::start(&json!({ "token": SECRET })))
    }
}

/// Its sink.
pub struct AsSink<'a>(pub &'a Server);

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

    fn link(&self) -> Link {
        Link::to(self.port())
    }

    fn port(&self) -> u16 {
        self.0.0.port()
    }

    fn lines(&self, target: &Target) -> String {
        let (scheme, location) = (target.scheme("grpc", "grpc+tls"), &target.location);
        let url = format!("url = \"{scheme}://127.0.0.1:{}\"\n", target.port);
        format!("{url}token = \"${{PW}}\"\npath = \"{location}\"\n{}", target.tls())
    }

    fn create(&self, _: &str) {}
}

impl Sink for AsSink<'_> {
    fn read(&self, location: &str) -> Vec<u64> {
        let puts = self.0.0.put().into_iter().filter(|put| put["to"] == json!([location]));
        let rows = puts.flat_map(|put| put["rows"].as_array().cloned().unwrap_or_default());
        rows.map(|row| row["n"].as_u64().expect("a number")).collect()
    }

    fn kill_points(&self) -> Vec<&'static str> {
        vec!["plan.durable:2", "commit.before:2", "commit.after:2"]
    }
}
