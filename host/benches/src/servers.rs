//! Servers of others on this machine: what a job reads from them and writes to them in a second, and the processor time that a row
//! costs, beside a plain program over the same client.

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

use crate::beside::Cost;
use crate::measure::{folder_on_disk, root};
use millstream_tests::Process;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What a script fetches takes its time.
const FETCHED_WITHIN: Duration = Duration::from_secs(900);

/// The parts, and the work of each in a folder.
pub const PARTS: [(&str, fn()); 15] = [
    ("servers-redis", || in_folder(redis::run)),
    ("servers-mqtt", || in_folder(mqtt::run)),
    ("servers-nats", || in_folder(nats::run)),
    ("servers-rabbitmq", || in_folder(rabbitmq::run)),
    ("servers-http", || in_folder(http::run)),
    ("servers-zeromq", || in_folder(zeromq::run)),
    ("servers-clickhouse", || in_folder(clickhouse::run)),
    ("servers-postgres", || in_folder(postgres::run)),
    ("servers-changes", || in_folder(changes::run)),
    ("servers-syslog", || in_folder(syslog::run)),
    ("servers-otlp", || in_folder(otlp::run)),
    ("servers-lumberjack", || in_folder(lumberjack::run)),
    ("servers-flight", || in_folder(flight::run)),
    ("servers-delta", || in_folder(delta::run)),
    ("servers-opensearch", || in_folder(opensearch::run)),
];

fn in_folder(run: fn(&Path)) {
    run(folder_on_disk().path());
}

/// Measures what listens while this program, started once more, sends to it: this part of it, with these arguments. It has all that it sends
/// before anything is measured.
fn while_sending(part: &str, arguments: &[&str], run: impl FnOnce() -> Option<Cost>) -> Option<Cost> {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let command = command.arg(format!("--{part}")).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut sender = command.spawn().expect("it starts");
    sender.stdout.as_mut().expect("its output").read_exact(&mut [0]).expect("it has all that it sends");
    let cost = run();
    // Whoever reads may have gone before the last answer.
    let _ = sender.kill();
    sender.wait().expect("it ends");
    cost
}

/// Says, as such a sender, that it has all that it sends.
fn ready() {
    print!(".");
    std::io::stdout().flush().expect("somebody waits for it");
}

/// What a script of the project prints, which may have to fetch something first.
fn told_by(script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(root().join("scripts").join(script));
    let ended = Process::start(command.args(arguments)).wait_within(FETCHED_WITHIN);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout.trim().to_owned()
}

/// A program in Python, of this folder.
fn python(program: &str) -> Command {
    let mut command = Command::new(told_by("python.sh", &[]));
    command.arg(root().join("host/benches/src/servers").join(program));
    command
}

/// What a plain program does, where this program was started as one.
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
        ("--nats-write-whole", []) => nats::write_whole(at, what),
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
