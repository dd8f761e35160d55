//! The contract of connectors: cases that every source and sink has to pass, and a table of those that do not apply.
//!
//! A test is a connector. It starts one server for all of its cases, which run side by side, each with a stream, topic or table of its own.
//! A failure names connector and case.

mod connector;
mod job;
mod link;
mod per_case;
mod run;
mod servers;
mod sink;
mod source;
mod stranger;
mod table;

use servers::*;

/// Where a kind of the [table] is tested.
enum Entry {
    /// By a test of this suite.
    #[expect(dead_code, reason = "a table that names a missing test does not compile")]
    Runs(fn()),
    /// Elsewhere, and why.
    Elsewhere(&'static str),
}

/// No case has failed.
#[track_caller]
fn none(failures: Vec<String>) {
    assert!(failures.is_empty(), "{} cases failed:\n\n{}\n", failures.len(), failures.join("\n\n"));
}

#[test]
fn redis() {
    let server = redis::Server::start();
    none([source::check(&redis::AsSource(&server)), sink::check(&redis::AsSink(&server))].concat());
}

#[test]
fn nats() {
    let server = nats::Server::start();
    none([source::check(&nats::AsSource(&server)), sink::check(&nats::AsSink(&server))].concat());
}

#[test]
fn mqtt() {
    let server = mqtt::Server::start();
    none([source::check(&mqtt::AsSource(&server)), sink::check(&mqtt::AsSink(&server))].concat());
}

#[test]
fn postgres() {
    let server = postgres::Server::start();
    none([source::check(&postgres::AsSource(&server)), sink::check(&postgres::AsSink(&server))].concat());
}

#[test]
fn http() {
    let server = http::Server::start();
    let sources =
        [source::check(&http::AsSource(&server)), source::check(&listening::Listening::new(listening::Kind::Http))];
    none([sources.concat(), sink::check(&http::AsSink(&server))].concat());
}

#[test]
fn files() {
    let sources = [local::Kind::Directory, local::Kind::File].map(|kind| source::check(&local::Local::new(kind)));
    let sinks =
        [local::Kind::Files, local::Kind::Queue, local::Kind::Sqlite].map(|kind| sink::check(&local::Local::new(kind)));
    none([sources.concat(), sinks.concat()].concat());
}

#[test]
fn delta() {
    none(sink::check(&local::Local::new(local::Kind::Delta)));
}

#[test]
fn listeners() {
    let kinds = [listening::Kind::Lumberjack, listening::Kind::Otlp, listening::Kind::Syslog];
    none(kinds.map(|kind| source::check(&listening::Listening::new(kind))).concat());
}

#[test]
fn plugins() {
    none([source::check(&plugin::AsSource::default()), sink::check(&plugin::AsSink::default())].concat());
}

#[test]
fn websocket() {
    none(sink::check(&websocket::Listened::default()));
}

#[test]
fn zeromq() {
    let server = zeromq::Server::start();
    none(source::check(&zeromq::AsSource(&server)));
}

#[test]
fn flight() {
    let server = flight::Server::start();
    none([source::check(&flight::AsSource(&server)), sink::check(&flight::AsSink(&server))].concat());
}

#[test]
fn objects() {
    let server = objects::Server::start();
    none([source::check(&objects::AsSource(&server)), sink::check(&objects::AsSink(&server))].concat());
}

#[test]
fn sockets() {
    let kinds = [sockets::Kind::Lines, sockets::Kind::Frames];
    none(kinds.map(|kind| source::check(&sockets::Sockets::new(kind))).concat());
}

/// What takes long: `make torture` runs it.
mod long {
    use super::{clickhouse, kafka, kinesis, none, rabbitmq, sink, source};

    /// The engine takes seconds to start.
    #[test]
    pub fn clickhouse() {
        let server = clickhouse::Server::start();
        none(sink::check(&clickhouse::AsSink(&server)));
    }

    /// A shard may be polled five times in a second.
    #[test]
    pub fn kinesis() {
        let server = kinesis::Server::start();
        none([source::check(&kinesis::AsSource(&server)), sink::check(&kinesis::AsSink(&server))].concat());
    }

    #[test]
    pub fn kafka() {
        let server = kafka::Server::start();
        none([source::check(&kafka::AsSource(&server)), sink::check(&kafka::AsSink(&server))].concat());
    }

    #[test]
    pub fn rabbitmq() {
        let server = rabbitmq::Server::start();
        let sources = [source::check(&rabbitmq::AsSource(&server)), source::check(&rabbitmq::AsStream(&server))];
        none([sources.concat(), sink::check(&rabbitmq::AsSink(&server))].concat());
    }
}
