//! Third-party servers on this machine: rows per second that a job reads from them and writes to them, and the processor time per row, compared with
//! a plain program that uses the same client.

mod changes;
mod clickhouse;
mod delta;
mod flight;
mod http;
mod lumberjack;
mod mqtt;
mod nats;
mod opensearch;
mod otlp;
mod postgres;
mod rabbitmq;
mod redis;
mod syslog;
mod zeromq;

use crate::comparison::Cost;
use crate::measure::{dir_on_disk, root};
use millstream_tests::Process;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Downloads of a script take time.
const FETCHED_WITHIN: Duration = Duration::from_secs(900);

/// The parts, and the work of each in a directory.
pub const PARTS: [(&str, fn()); 15] = [
    ("servers-redis", || in_dir(redis::run)),
    ("servers-mqtt", || in_dir(mqtt::run)),
    ("servers-nats", || in_dir(nats::run)),
    ("servers-rabbitmq", || in_dir(rabbitmq::run)),
    ("servers-http", || in_dir(http::run)),
    ("servers-zeromq", || in_dir(zeromq::run)),
    ("servers-clickhouse", || in_dir(clickhouse::run)),
    ("servers-postgres", || in_dir(postgres::run)),
    ("servers-changes", || in_dir(changes::run)),
    ("servers-syslog", || in_dir(syslog::run)),
    ("servers-otlp", || in_dir(otlp::run)),
    ("servers-lumberjack", || in_dir(lumberjack::run)),
    ("servers-flight", || in_dir(flight::run)),
    ("servers-delta", || in_dir(delta::run)),
    ("servers-opensearch", || in_dir(opensearch::run)),
];

fn in_dir(run: fn(&Path)) {
    run(dir_on_disk().path());
}

/// Measures a listener while this program, started again as part `part` with these arguments, sends to it. The sender has prepared all its data
/// before anything is measured.
fn while_sending(part: &str, arguments: &[&str], run: impl FnOnce() -> Option<Cost>) -> Option<Cost> {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let command = command.arg(format!("--{part}")).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut sender = command.spawn().expect("it starts");
    sender.stdout.as_mut().expect("its output").read_exact(&mut [0]).expect("it has all that it sends");
    let cost = run();
    // The reader may have exited before the last response.
    let _ = sender.kill();
    sender.wait().expect("it ends");
    cost
}

/// Reports, in such a sender, that all its data is ready.
fn ready() {
    print!(".");
    std::io::stdout().flush().expect("somebody waits for it");
}

/// Returns the output of a script of the project, which may have to download something first.
fn output_of(script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(root().join("scripts").join(script));
    let ended = Process::start(command.args(arguments)).wait_within(FETCHED_WITHIN);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout.trim().to_owned()
}

/// Returns a command for a Python program of this directory.
fn python(program: &str) -> Command {
    let mut command = Command::new(output_of("python.sh", &[]));
    command.arg(root().join("host/benches/src/servers").join(program));
    command
}

/// Runs a plain program, if this process was started as one.
pub fn own_part(arguments: &[String]) -> bool {
    let [part, at, what, more @ ..] = arguments else { return false };
    let rows = || what.parse().expect("a number of rows");
    match (part.as_str(), more) {
        ("--redis-read", []) => redis::read(at, rows()),
        ("--redis-write", []) => redis::write(at, what),
        ("--mqtt-read", []) => mqtt::read(at, rows()),
        ("--mqtt-write", []) => mqtt::write(at, what),
        ("--nats-read", []) => nats::read(at, rows()),
        ("--nats-write", []) => nats::write(at, what),
        ("--nats-write-whole", []) => nats::write_atomic(at, what),
        ("--rabbitmq-read", []) => rabbitmq::read(at, rows()),
        ("--rabbitmq-write", []) => rabbitmq::write(at, what),
        ("--http-send", []) => http::send(at, rows()),
        ("--http-read", [kept]) => http::read(at, rows(), kept),
        ("--otlp-send", []) => otlp::send(at, rows()),
        ("--otlp-read", [kept]) => otlp::read(at, rows(), kept),
        ("--lumberjack-send", []) => lumberjack::send(at, rows()),
        ("--lumberjack-read", [kept]) => lumberjack::read(at, rows(), kept),
        ("--syslog-send", []) => syslog::send(at, rows()),
        ("--syslog-read", []) => syslog::read(at, rows()),
        ("--opensearch-write", [index]) => opensearch::write(at, what, index),
        ("--zeromq-read", []) => zeromq::read(at, rows()),
        ("--clickhouse-write", []) => clickhouse::write(at, what),
        ("--postgres-write", []) => postgres::write(at, what),
        ("--changes-read", [publication]) => changes::read(at, rows(), publication),
        _ => return false,
    }
    true
}
