//! A real ZeroMQ socket that sends (libzmq, with `tests/servers/zeromq.py`).

use crate::{Process, root};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

/// Includes the time to download it, if needed.
const FETCHED_WITHIN: Duration = Duration::from_secs(600);

/// The socket. It is closed when this is dropped.
pub struct Zeromq {
    process: Process,
    sent: usize,
}

impl Zeromq {
    /// Starts one: `xpub` or `push`, that does `bind` or `connect`.
    pub fn start(kind: &str, how: &str, address: &str) -> Zeromq {
        Zeromq::with(kind, how, address, &[])
    }

    /// The same with user and password (PLAIN).
    pub fn with(kind: &str, how: &str, address: &str, login: &[&str]) -> Zeromq {
        let fetched = Process::start(&mut Command::new(root().join("scripts/zeromq.sh"))).wait_within(FETCHED_WITHIN);
        assert_eq!(fetched.code, Some(0), "{}", fetched.stderr);
        let mut command = Command::new(root().join("scripts/zeromq.sh"));
        command.arg(root().join("tests/servers/zeromq.py")).args([kind, how, address]).args(login);
        let mut process = Process::start(&mut command);
        process.wait_until("the socket is there", |process| process.stdout().contains("ready"));
        Zeromq { process, sent: 0 }
    }

    /// Waits until a client subscribes to this topic.
    #[track_caller]
    pub fn subscribed(&mut self, topic: &str) {
        self.process.wait_until("somebody subscribes", |process| {
            process.stdout().lines().any(|line| line == format!("subscribed {topic}"))
        });
    }

    /// How often clients have subscribed.
    pub fn subscriptions(&self) -> usize {
        self.process.stdout().lines().filter(|line| line.starts_with("subscribed")).count()
    }

    /// Sends messages, each a JSON array of frames. A PUSH socket waits until a client takes them.
    #[track_caller]
    pub fn send(&mut self, messages: &[Value]) {
        self.hand_over(messages);
        let last = format!("sent {}\n", self.sent);
        self.process.wait_until("they are sent", |process| process.stdout().contains(&last));
    }

    /// The same without waiting.
    pub fn hand_over(&mut self, messages: &[Value]) {
        self.sent += messages.len();
        self.process.say(&messages.iter().map(|message| format!("{message}\n")).collect::<String>());
    }
}
