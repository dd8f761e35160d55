//! The list of all kinds of sources and sinks, in the order in which messages name them.

use crate::print::settings::PrintWrites;
use millstream_job::connector::Kind::Declared;
use millstream_job::connector::{Kinds, NOTHING, PLUGIN_SINK, PLUGIN_SOURCE};
use millstream_job::spec::{SinkKind, SourceSpec};
use std::sync::LazyLock;

/// A kind that depends on a Cargo feature.
macro_rules! declared {
    ($feature:literal, $kind:literal, $declaration:path) => {{
        #[cfg(feature = $feature)]
        {
            Declared(&$declaration)
        }
        #[cfg(not(feature = $feature))]
        {
            millstream_job::connector::Kind::Absent { kind: $kind, feature: $feature }
        }
    }};
}

static KINDS: LazyLock<Kinds> = LazyLock::new(|| {
    let sources = vec![
        Declared(&crate::socket::declaration::LINES),
        Declared(&crate::socket::declaration::FRAMES),
        Declared(&crate::http::source::declaration::SOURCE),
        Declared(&crate::files::source::declaration::DIRECTORY),
        Declared(&crate::files::source::declaration::FILE),
        declared!("kafka", "kafka", crate::kafka::source::declaration::SOURCE),
        declared!("brokers", "redis", crate::redis::declaration::SOURCE),
        declared!("brokers", "mqtt", crate::mqtt::declaration::SOURCE),
        declared!("brokers", "nats", crate::nats::declaration::SOURCE),
        declared!("brokers", "rabbitmq", crate::rabbitmq::declaration::SOURCE),
        declared!("brokers", "zeromq", crate::zeromq::declaration::SOURCE),
        declared!("brokers", "flight", crate::flight::declaration::SOURCE),
        declared!("brokers", "kinesis", crate::kinesis::declaration::SOURCE),
        declared!("postgres", "postgres-changes", crate::postgres_changes::declaration::SOURCE),
        Declared(&crate::syslog::declaration::SOURCE),
        Declared(&crate::otlp::declaration::SOURCE),
        Declared(&crate::lumberjack::declaration::SOURCE),
        Declared(&PLUGIN_SOURCE),
        Declared(&crate::rate::declaration::SOURCE),
        Declared(&crate::nexmark::declaration::SOURCE),
        Declared(&crate::queue::declaration::SOURCE),
    ];
    let sinks = vec![
        Declared(&crate::print::declaration::SINK),
        Declared(&crate::files::declaration::FILES),
        Declared(&crate::files::declaration::DELTA),
        Declared(&crate::queue::sink::declaration::SINK),
        declared!("postgres", "postgres", crate::postgres::sink::declaration::SINK),
        declared!("sqlite", "sqlite", crate::sqlite::declaration::SINK),
        declared!("kafka", "kafka", crate::kafka::sink::declaration::SINK),
        declared!("brokers", "redis", crate::redis::declaration::SINK),
        declared!("brokers", "mqtt", crate::mqtt::declaration::SINK),
        declared!("brokers", "nats", crate::nats::declaration::SINK),
        declared!("brokers", "rabbitmq", crate::rabbitmq::declaration::SINK),
        declared!("brokers", "flight", crate::flight::declaration::SINK),
        declared!("brokers", "kinesis", crate::kinesis::declaration::SINK),
        Declared(&crate::clickhouse::declaration::SINK),
        Declared(&crate::http::sink::declaration::SINK),
        Declared(&crate::websocket::declaration::SINK),
        Declared(&PLUGIN_SINK),
        Declared(&NOTHING),
    ];
    let tables = vec![
        #[cfg(feature = "postgres")]
        &crate::postgres::table::POSTGRES,
        #[cfg(feature = "sqlite")]
        &crate::sqlite::TABLE,
    ];
    Kinds::new(sources, sinks, tables).with_retry(retry_source)
});

/// Returns all kinds of this program.
pub fn all() -> &'static Kinds {
    &KINDS
}

/// Returns the source of the rows that `millstream retry` gives back to a stage. `input`: of which input, in a stage that has several.
pub fn retry_source(job: &str, stage: &str, input: Option<&str>) -> SourceSpec {
    crate::files::source::retry::source(job, stage, input)
}

/// Returns the sink that prints the first `rows` rows of a stream, for `run --sample`.
pub fn sample(rows: usize) -> SinkKind {
    PrintWrites { rows, once: true }.into()
}

#[cfg(test)]
mod tests;
