//! A real server of Arrow Flight (pyarrow, by `tests/servers/flight.py`).

use crate::{Process, free_port, root};
use serde_json::Value;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

/// Includes the time to download its dependencies, if needed.
const FETCHED_WITHIN: Duration = Duration::from_secs(900);

/// An Arrow Flight server on a port of 127.0.0.1. It exits when this is dropped.
pub struct Flight {
    dir: TempDir,
    port: u16,
    process: Option<Process>,
}

impl Flight {
    /// Starts a server with these options, which the server's source file documents.
    pub fn start(options: &Value) -> Flight {
        let mut flight = Flight::not_started();
        flight.start_again(options);
        flight
    }

    /// Returns a server that does not run yet.
    pub fn not_started() -> Flight {
        Flight { dir: TempDir::new().expect("a temporary folder"), port: free_port(), process: None }
    }

    /// Kills it immediately, as `kill -9` does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it on the same port and waits until it listens. It keeps what was put before.
    pub fn start_again(&mut self, options: &Value) {
        self.process = None;
        let mut command = Command::new(python());
        command.arg(root().join("tests/servers/flight.py"));
        command.arg(self.port.to_string()).arg(self.file()).arg(options.to_string());
        let mut process = Process::start(&mut command);
        let port = self.port;
        process.wait_until("it listens", |process| {
            process.stdout().contains("ready") && TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        self.process = Some(process);
    }

    /// Adds rows to a stream of a server with the option `grows`.
    #[track_caller]
    pub fn grow(&mut self, more: &Value) {
        let process = self.process.as_mut().expect("it runs");
        let grown = |process: &Process| process.stdout().matches("grown\n").count();
        let before = grown(process);
        process.say(&format!("{more}\n"));
        process.wait_until("the stream has the rows", |process| grown(process) > before);
    }

    /// Suspends it: it does nothing, but its connections stay open, until [`resume`](Self::resume).
    pub fn suspend(&self) {
        self.process.as_ref().expect("it runs").signal("STOP");
    }

    /// Resumes it.
    pub fn resume(&self) {
        self.process.as_ref().expect("it runs").signal("CONT");
    }

    /// Its host and port, without the scheme of the URL.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns what was put: per completed stream its destination, the metadata of its messages, and its rows. An incomplete line
    /// is ignored.
    pub fn put(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.file()).unwrap_or_default();
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("put.jsonl")
    }
}

/// A Python with pyarrow.
fn python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let made = Process::start(&mut Command::new(root().join("scripts/python.sh"))).wait_within(FETCHED_WITHIN);
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        made.stdout.trim().to_owned()
    })
}
