//! `plugin`: the source `plugins/acked-lines` and the sink `tests/plugins/tcp-ledger`. Each case has a server of its own.

use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use crate::connectors::contract::per_case::PerCase;
use millstream_tests::ledger::Ledger;
use millstream_tests::{DEADLINE, free_port, plugin};
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How often a server looks whether its client is still connected.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const CERTIFICATE: (Case, &str) = (Case::Certificate, "this plugin uses no TLS; others do: `plugins::connector_tls`");

/// Keys of a plugin with this config, which may connect to this port.
fn lines(name: &str, port: u16, config: &str) -> String {
    let (dir, address) = (plugin(name), format!("\"127.0.0.1:{port}\""));
    let config = config.replace("ADDRESS", &address);
    format!("plugin = \"{}\"\nconfig = {{ {config} }}\ngrant = {{ tcp = [{address}] }}\n", dir.display())
}

/// A server of numbered lines, which drops those that the job has acknowledged.
#[derive(Clone)]
struct Server {
    port: u16,
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    /// The number of the first line that it has.
    first: u64,
    lines: VecDeque<String>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let server = Server { port, shared: Arc::default() };
        let serving = server.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let serving = serving.clone();
                thread::spawn(move || serving.serve(connection));
            }
        });
        server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, lines: impl Iterator<Item = String>) {
        self.state().lines.extend(lines);
        self.shared.1.notify_all();
    }

    /// Drops the lines before this one.
    fn drop_before(&self, number: u64) {
        let mut state = self.state();
        let dropped = number.saturating_sub(state.first).min(state.lines.len() as u64);
        state.lines.drain(..dropped as usize);
        state.first += dropped;
    }

    /// Sends lines from the requested one on, until the client has closed the connection.
    fn serve(&self, mut connection: TcpStream) {
        let _ = connection.set_write_timeout(Some(DEADLINE));
        let Ok(received) = connection.try_clone() else { return };
        let mut received = BufReader::new(received).lines().map_while(Result::ok);
        let Some(mut next) = received.next().and_then(|line| line.strip_prefix("FROM ")?.parse::<u64>().ok()) else {
            return;
        };
        let listening = self.clone();
        let listener = thread::spawn(move || {
            for line in received {
                if let Some(number) = line.strip_prefix("ACK ") {
                    listening.drop_before(number.parse().expect("a number"));
                }
            }
        });
        loop {
            let state = self.state();
            let waits = |state: &mut State| state.first + state.lines.len() as u64 <= next && !listener.is_finished();
            let state = self.shared.1.wait_timeout_while(state, LOOK_EVERY, waits);
            let state = state.unwrap_or_else(PoisonError::into_inner).0;
            if listener.is_finished() {
                return;
            }
            let start = next.max(state.first);
            let new = state.lines.iter().skip((start - state.first) as usize);
            let text: String = (start..).zip(new).map(|(number, line)| format!("{number} {line}\n")).collect();
            next = next.max(state.first + state.lines.len() as u64);
            drop(state);
            if connection.write_all(text.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// The servers of the source.
#[derive(Default)]
pub struct AsSource(PerCase<Server>);

impl AsSource {
    fn server(&self, location: &str) -> Server {
        self.0.of(location, Server::start)
    }
}

impl Connector for AsSource {
    fn kind(&self) -> &'static str {
        "plugin"
    }

    fn promise(&self) -> Promise {
        Promise::ExactlyOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        vec![
            (
                Case::Password,
                "the server of this plugin has no login; a plugin rejects its config: `plugins::source_plugins`",
            ),
            (Case::TooLong, "a plugin decides which data it rejects: `plugins::source_plugins`"),
            CERTIFICATE,
        ]
    }

    fn link(&self, location: &str) -> Link {
        Link::to(self.server(location).port)
    }

    fn port(&self) -> u16 {
        OWN_PORT
    }

    fn lines(&self, target: &Target) -> String {
        lines("acked-lines", target.port_or(|| self.server(&target.location).port), "addresses = [ADDRESS]")
    }

    fn create(&self, location: &str) {
        self.server(location);
    }
}

impl Source for AsSource {
    fn send_records(&self, location: &str, records: Vec<(u64, String)>) {
        self.server(location).add(records.into_iter().map(|(_, record)| record));
    }

    /// The column `text` holds a record.
    fn row(&self, row: &Value) -> (u64, String) {
        let record: Value = serde_json::from_str(row["text"].as_str().unwrap_or_default()).unwrap_or_default();
        (record["n"].as_u64().unwrap_or_default(), record["k"].as_str().unwrap_or_default().to_owned())
    }

    fn lose(&self, location: &str, _: &Path) {
        self.send(location, 20..40);
        self.server(location).drop_before(30);
    }

    fn gone(&self) -> &'static str {
        "got line 30 instead of line 20"
    }
}

/// The servers of the sink.
#[derive(Default)]
pub struct AsSink(PerCase<Ledger>);

impl AsSink {
    fn server(&self, location: &str) -> Ledger {
        self.0.of(location, || Ledger::start(free_port(), None))
    }
}

impl Connector for AsSink {
    fn kind(&self) -> &'static str {
        "plugin"
    }

    fn promise(&self) -> Promise {
        Promise::ExactlyOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        vec![
            (Case::Gone, "a sink has no position"),
            (
                Case::Password,
                "the server of this plugin has no login; a plugin rejects its config: `plugins::sink_plugins`",
            ),
            (Case::TooLong, "a plugin decides which rows it rejects: `plugins::sink_plugins`"),
            CERTIFICATE,
        ]
    }

    fn link(&self, location: &str) -> Link {
        Link::to(self.server(location).port)
    }

    fn port(&self) -> u16 {
        OWN_PORT
    }

    fn lines(&self, target: &Target) -> String {
        lines("tcp-ledger", target.port_or(|| self.server(&target.location).port), "address = ADDRESS")
    }

    fn create(&self, location: &str) {
        self.server(location);
    }
}

impl Sink for AsSink {
    fn columns(&self) -> [&'static str; 2] {
        ["seq", "text"]
    }

    fn read(&self, location: &str) -> Vec<u64> {
        let entries = self.server(location).sinks().into_values().flat_map(|sink| sink.rows());
        let number = |entry: &str| entry.split(' ').next()?.parse().ok();
        entries.map(|entry| number(&entry).expect("a number")).collect()
    }
}
