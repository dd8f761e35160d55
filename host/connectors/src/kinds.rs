//! Which kinds of sources and sinks there are: the one list of connectors, in the order in which messages name them.

use crate::receiver::table::query;
use crate::{flight, kinesis, mqtt, nats, postgres_changes, rabbitmq, redis, zeromq};
use millstream_base::job::connector::Kind::{Declared, OfLanguage};
use millstream_base::job::connector::Kinds;
use std::sync::LazyLock;

static KINDS: LazyLock<Kinds> = LazyLock::new(|| {
    let sources = vec![
        OfLanguage("socket"),
        OfLanguage("raw-socket"),
        OfLanguage("http"),
        OfLanguage("directory"),
        OfLanguage("file"),
        OfLanguage("kafka"),
        Declared(&redis::declaration::SOURCE),
        Declared(&mqtt::declaration::SOURCE),
        Declared(&nats::declaration::SOURCE),
        Declared(&rabbitmq::declaration::SOURCE),
        Declared(&zeromq::declaration::SOURCE),
        Declared(&flight::declaration::SOURCE),
        Declared(&kinesis::declaration::SOURCE),
        Declared(&postgres_changes::declaration::SOURCE),
        OfLanguage("syslog"),
        OfLanguage("otlp"),
        OfLanguage("lumberjack"),
        OfLanguage("plugin"),
        OfLanguage("rate"),
        OfLanguage("nexmark"),
        OfLanguage("queue"),
    ];
    let sinks = vec![
        OfLanguage("print"),
        OfLanguage("files"),
        OfLanguage("delta"),
        OfLanguage("queue"),
        OfLanguage("postgres"),
        #[cfg(feature = "sqlite")]
        Declared(&crate::sqlite::declaration::SINK),
        OfLanguage("kafka"),
        Declared(&redis::declaration::SINK),
        Declared(&mqtt::declaration::SINK),
        Declared(&nats::declaration::SINK),
        Declared(&rabbitmq::declaration::SINK),
        Declared(&flight::declaration::SINK),
        Declared(&kinesis::declaration::SINK),
        OfLanguage("clickhouse"),
        OfLanguage("http"),
        OfLanguage("websocket"),
        OfLanguage("plugin"),
        OfLanguage("nothing"),
    ];
    let tables = vec![
        &query::POSTGRES,
        #[cfg(feature = "sqlite")]
        &crate::sqlite::TABLE,
    ];
    Kinds::new(sources, sinks, tables)
});

/// All kinds of this program.
pub fn all() -> &'static Kinds {
    &KINDS
}

#[cfg(test)]
mod tests;
