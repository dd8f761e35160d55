//! Servers of others on this machine: what a job reads from them and writes to them in a second, and the processor time that a row
//! costs, beside a plain program over the same client.

mod changes;
mod clickhouse;
mod http;
mod mqtt;
mod nats;
mod postgres;
mod rabbitmq;
mod redis;
mod zeromq;

use crate::measure::folder_on_disk;
use std::path::Path;

/// The parts, and the work of each in a folder.
pub const PARTS: [(&str, fn()); 9] = [
    ("servers-redis", || in_folder(redis::run)),
    ("servers-mqtt", || in_folder(mqtt::run)),
    ("servers-nats", || in_folder(nats::run)),
    ("servers-rabbitmq", || in_folder(rabbitmq::run)),
    ("servers-http", || in_folder(http::run)),
    ("servers-zeromq", || in_folder(zeromq::run)),
    ("servers-clickhouse", || in_folder(clickhouse::run)),
    ("servers-postgres", || in_folder(postgres::run)),
    ("servers-changes", || in_folder(changes::run)),
];

fn in_folder(run: fn(&Path)) {
    run(folder_on_disk().path());
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
        ("--rabbitmq-read", []) => rabbitmq::read(at, rows()),
        ("--rabbitmq-write", []) => rabbitmq::write(at, what),
        ("--http-send", []) => http::send(at, rows()),
        ("--http-read", [kept]) => http::read(at, rows(), kept),
        ("--zeromq-read", []) => zeromq::read(at, rows()),
        ("--clickhouse-write", []) => clickhouse::write(at, what),
        ("--postgres-write", []) => postgres::write(at, what),
        ("--changes-read", [publication]) => changes::read(at, rows(), publication),
        _ => return false,
    }
    true
}
