//! A real RabbitMQ server in its own directory. It keeps what it has confirmed when it is killed.

use crate::{Process, free_port, root, wait_until};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Includes the time to download it, if needed.
const FETCHED_WITHIN: Duration = Duration::from_secs(900);

/// A start takes some seconds, and a minute on a busy machine.
const STARTED_WITHIN: Duration = Duration::from_secs(240);

/// A server on a port of 127.0.0.1. It exits when this is dropped.
pub struct Rabbitmq {
    dir: TempDir,
    ports: [u16; 3],
    settings: Option<String>,
    process: Option<Process>,
    is_shared: bool,
}

impl Rabbitmq {
    /// A server that all tests of this process share; each has queues of its own. A start takes several seconds of CPU time.
    pub fn shared() -> &'static Rabbitmq {
        static SHARED: OnceLock<Rabbitmq> = OnceLock::new();
        SHARED.get_or_init(|| {
            let (sender, server) = mpsc::channel();
            // The server is killed when the thread that started it ends, which is when this process exits.
            thread::spawn(move || {
                let mut server = Rabbitmq { is_shared: true, ..Rabbitmq::not_started() };
                server.start_again();
                let _ = sender.send(server);
                loop {
                    thread::park();
                }
            });
            server.recv().expect("it starts")
        })
    }

    /// Starts a server and waits until it responds.
    pub fn start() -> Rabbitmq {
        let mut server = Rabbitmq::not_started();
        server.start_again();
        server
    }

    /// Starts a server with these settings in rabbitmq.conf.
    pub fn with(settings: &str) -> Rabbitmq {
        let mut server = Rabbitmq::not_started();
        server.settings = Some(settings.to_owned());
        server.start_again();
        server
    }

    /// Gives these users these passwords, and may be the only ones, when it starts the next time.
    pub fn set_passwords(&mut self, passwords: &[(&str, &str)]) {
        let user = |(name, password): &(&str, &str)| {
            let hash = [b"salt", Sha256::digest(format!("salt{password}")).as_slice()].concat();
            json!({
                "name": name, "password_hash": STANDARD.encode(hash), "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": [],
                "limits": {},
            })
        };
        let may = |(name, _): &(&str, &str)| json!({ "user": name, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*" });
        let definitions = json!({
            "vhosts": [{ "name": "/" }],
            "users": passwords.iter().map(user).collect::<Vec<_>>(),
            "permissions": passwords.iter().map(may).collect::<Vec<_>>(),
        });
        let file = self.dir.path().join("definitions.json");
        std::fs::write(&file, definitions.to_string()).expect("a file can be written");
        self.settings = Some(format!("load_definitions = {}\n", file.display()));
    }

    /// Returns a server that does not run yet.
    pub fn not_started() -> Rabbitmq {
        let fetched = Process::start(&mut Command::new(root().join("scripts/rabbitmq.sh"))).wait_within(FETCHED_WITHIN);
        assert_eq!(fetched.code, Some(0), "{}", fetched.stderr);
        let dir = TempDir::new().expect("a temporary folder");
        Rabbitmq {
            dir,
            ports: [free_port(), free_port(), free_port()],
            settings: None,
            process: None,
            is_shared: false,
        }
    }

    /// Kills it immediately, as `kill -9` does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it with what it held before, on the same ports, and waits until it has started.
    pub fn start_again(&mut self) {
        let mut command = Command::new(root().join("scripts/rabbitmq.sh"));
        command.args(self.ports.map(|port| port.to_string())).arg(self.dir.path().join("data"));
        if let Some(settings) = &self.settings {
            let file = self.dir.path().join("rabbitmq.conf");
            std::fs::write(&file, settings).expect("a file can be written");
            command.arg(file);
        }
        command.envs(self.is_shared.then_some(("RABBITMQ_SHARED", "1")));
        let mut process = Process::start(&mut command);
        process.wait_until_within(STARTED_WITHIN, "it has started", |process| {
            process.stdout().contains("Server startup complete") || process.stderr().contains("Server startup complete")
        });
        self.process = Some(process);
    }

    /// Suspends it: it does nothing, but its connections stay open, until [`go_on`](Self::go_on).
    pub fn suspend(&self) {
        self.process.as_ref().expect("it runs").signal("STOP");
    }

    /// Resumes it.
    pub fn resume(&self) {
        self.process.as_ref().expect("it runs").signal("CONT");
    }

    /// A process that answers each request on a line of its standard input with a line: it need not start for each.
    pub fn client(&self) -> Process {
        let mut command = Command::new(root().join("scripts/rabbitmq.sh"));
        let program = root().join("tests/servers/rabbitmq.py");
        command.arg("client").arg(program).args([&self.ports[0].to_string(), "guest", "guest", "-"]);
        Process::start(&mut command)
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// The server as a job names it.
    pub fn url(&self) -> String {
        format!("amqp://127.0.0.1:{}", self.ports[0])
    }

    /// Returns the response to a request of `tests/servers/rabbitmq.py`, or `None` without a response.
    pub fn try_ask(&self, request: &Value) -> Option<Value> {
        let mut command = Command::new(root().join("scripts/rabbitmq.sh"));
        let program = root().join("tests/servers/rabbitmq.py");
        command.arg("client").arg(program).args([&self.ports[0].to_string(), "guest", "guest", &request.to_string()]);
        let ended = Process::start(&mut command).wait();
        (ended.code == Some(0)).then(|| serde_json::from_str(&ended.stdout).expect("JSON"))
    }

    /// The same; retries until it responds.
    #[track_caller]
    pub fn send_request(&self, request: &Value) -> Value {
        let mut response = None;
        wait_until(&format!("it answers {request}"), || {
            response = self.try_ask(request);
            response.is_some()
        });
        response.expect("an answer")
    }

    fn node(&self) -> String {
        format!("t{}@localhost", self.ports[0])
    }

    /// Its data directory.
    fn node_dir(&self) -> PathBuf {
        self.dir.path().join("data/mnesia").join(self.node())
    }

    /// The offset of the first message that its only stream has.
    pub fn stream_begins(&self) -> u64 {
        let streams = std::fs::read_dir(self.node_dir().join("stream")).expect("a folder of streams");
        let stream = streams.flatten().next().expect("a stream").path();
        let names = std::fs::read_dir(stream).expect("a stream").flatten().map(|file| file.file_name());
        let segments = names.filter_map(|name| name.to_str()?.strip_suffix(".segment")?.parse().ok());
        segments.min().expect("a segment")
    }

    /// Makes a durable queue.
    #[track_caller]
    pub fn queue(&self, queue: &str) {
        self.send_request(&json!({ "do": "declare", "queue": queue }));
    }

    /// Creates a stream, and waits until the server would restore it after a crash. The stream coordinator is created with the
    /// first stream, and its name is stored half a second later. If RabbitMQ 3.10 is killed before that, it never restores the
    /// stream.
    #[track_caller]
    pub fn stream(&self, stream: &str, arguments: &Value) {
        let mut all = json!({ "x-queue-type": "stream" });
        for (key, value) in arguments.as_object().expect("an object") {
            all[key] = value.clone();
        }
        self.send_request(&json!({ "do": "declare", "queue": stream, "arguments": all }));
        let names = self.node_dir().join("coordination").join(self.node()).join("names.dets");
        let name = b"rabbit_stream_coordinator";
        wait_until("the name is written", || {
            std::fs::read(&names).is_ok_and(|bytes| bytes.windows(name.len()).any(|part| part == name))
        });
    }

    /// Publishes messages to a queue or stream. Some may be duplicated if the server is killed meanwhile.
    #[track_caller]
    pub fn publish(&self, queue: &str, bodies: &[String]) {
        self.send_request(&json!({ "do": "publish", "key": queue, "bodies": bodies }));
    }

    /// The number of ready messages in a queue.
    #[track_caller]
    pub fn count(&self, queue: &str) -> u64 {
        self.send_request(&json!({ "do": "count", "queue": queue })).as_u64().expect("a number")
    }

    /// Takes all messages of a queue: body, routing key and id.
    #[track_caller]
    pub fn take(&self, queue: &str) -> Vec<[String; 3]> {
        serde_json::from_value(self.send_request(&json!({ "do": "take", "queue": queue }))).expect("texts")
    }
}
