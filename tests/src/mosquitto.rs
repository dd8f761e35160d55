//! A real MQTT server in its own directory. It keeps sessions when it is stopped, and what it last wrote to disk when it is
//! killed.

use crate::{Process, free_port, root};
use std::fmt::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A Kinesis server on a port of 127.0.0.1. It exits when this is dropped.
pub struct Mosquitto {
    dir: TempDir,
    port: u16,
    settings: String,
    process: Option<Process>,
}

impl Mosquitto {
    /// Starts a server without access control and waits until it responds.
    pub fn start() -> Mosquitto {
        Mosquitto::with("allow_anonymous true\n")
    }

    /// Starts a server with these lines appended to the settings of its listener and data.
    pub fn with(settings: &str) -> Mosquitto {
        let mut server = Mosquitto::not_started(settings);
        server.start_again();
        server
    }

    /// Returns a server that does not run yet.
    pub fn not_started(settings: &str) -> Mosquitto {
        let dir = TempDir::new().expect("a temporary folder");
        Mosquitto { dir, port: free_port(), settings: settings.into(), process: None }
    }

    /// Returns settings that permit only user `me` with this password.
    pub fn login(password: &str) -> (TempDir, String) {
        let dir = TempDir::new().expect("a temporary folder");
        let file = dir.path().join("passwords");
        std::fs::write(&file, format!("me:{password}\n")).expect("a file can be written");
        let made = client("mosquitto_passwd").arg("-U").arg(&file).output().expect("it starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let settings = format!("allow_anonymous false\npassword_file {}\n", file.display());
        (dir, settings)
    }

    /// Restarts it with its earlier data on the same port, and waits until it responds.
    pub fn start_again(&mut self) {
        let mut settings = format!(
            "listener {} 127.0.0.1\npersistence true\npersistence_location {}/\nmax_queued_messages 0\nuser root\n",
            self.port,
            self.dir.path().display()
        );
        let _ = write!(settings, "{}", self.settings);
        let file = self.dir.path().join("mosquitto.conf");
        std::fs::write(&file, settings).expect("a file can be written");
        let mut process = Process::start(Command::new(root().join("scripts/mosquitto.sh")).arg(&file));
        let port = self.port;
        process.wait_until("mosquitto answers", |_| TcpStream::connect(("127.0.0.1", port)).is_ok());
        self.process = Some(process);
    }

    /// Stops it in order: it writes down what it holds.
    pub fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.signal("TERM");
            process.wait();
        }
    }

    /// The server as a job names it.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns a command for one of mosquitto's own programs, with QoS 1, for this server.
    pub fn program(&self, name: &str) -> Command {
        let mut command = client(name);
        command.args(["-V", "5", "-q", "1", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        command
    }

    /// Publishes each line as a message with QoS 1 and waits until the server has accepted them.
    #[track_caller]
    pub fn publish(&self, topic: &str, lines: &[String], more: &[&str]) {
        let mut command = self.program("mosquitto_pub");
        command.args(["-t", topic, "-l"]).args(more);
        let mut process = Process::start(&mut command);
        process.say(&lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        process.hang_up();
        let ended = process.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }

    /// Subscribes, and prints each message as `topic payload`.
    pub fn subscribe(&self, topic: &str, id: &str) -> Process {
        let mut command = self.program("mosquitto_sub");
        command.args(["-t", topic, "-v", "-d", "-i", id, "-c", "-x", "3600"]);
        let mut process = Process::start(&mut command);
        process.wait_until("it has subscribed", |process| process.stdout().contains("Subscribed (mid:"));
        process
    }

    /// The messages that the subscriber has printed.
    pub fn received(subscriber: &Process) -> Vec<String> {
        let text = subscriber.stdout();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let message = |line: &&str| line.starts_with("Client ") || line.starts_with("Subscribed (");
        complete.lines().filter(|line| !message(line)).map(str::to_owned).collect()
    }
}

/// Returns a command for one of its clients, with the libraries that were unpacked with them.
fn client(name: &str) -> Command {
    let found =
        Command::new(root().join("scripts/mosquitto.sh")).stdin(Stdio::null()).output().expect("the script starts");
    let dir = PathBuf::from(String::from_utf8(found.stdout).expect("a path").trim());
    // Write each line immediately, also into a pipe.
    let mut command = Command::new("stdbuf");
    command.arg("-oL").arg(dir.join("usr/bin").join(name));
    let libraries = dir.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    command.env("LD_LIBRARY_PATH", libraries);
    command
}
