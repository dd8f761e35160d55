//! What a job file says of sources and sinks of kind `rabbitmq`.

use super::server::{start, texts, url};
use super::server_sink::{self, either};
use crate::job::spec::{
    RabbitmqKey, RabbitmqReads, RabbitmqWrites, ServerReads, ServerSinkSpec, ServerSourceSpec, ServerWrites,
};
use crate::job::table::Reader;

const URL: &str = "url = \"amqp://127.0.0.1:5672\"";

/// A source.
pub(super) fn source(r: &Reader<'_>) -> ServerSourceSpec {
    let (queue, stream) = ("queue = \"orders\", or queue = [\"a\", \"b\"]", "stream = \"orders\"");
    match (r.has("queue"), r.has("stream")) {
        (false, false) => r.need("queue", &format!("{queue}, or {stream} where it is a stream")),
        (true, true) => {
            r.wrong("stream", "`queue` and `stream` both say what is read; remove one of them, or write two sources")
        }
        _ => {}
    }
    let streams = r.has("stream");
    if !streams && r.has("start") {
        r.wrong("start", "`start` is for a `stream`: a queue hands out what it has; remove it");
    }
    let queues = if streams { texts(r, "stream", stream) } else { texts(r, "queue", queue) };
    let reads = RabbitmqReads { queues, streams, start: start(r) };
    ServerSourceSpec { url: url(r, URL), reads: ServerReads::Rabbitmq(reads) }
}

/// A sink.
pub(super) fn sink(r: &Reader<'_>) -> ServerSinkSpec {
    let key = either(
        r,
        ("routing_key", "routing_key = \"totals\""),
        ("routing_key_from", "routing_key_from = \"place\", the name of a column"),
    );
    let writes = RabbitmqWrites {
        exchange: r.text("exchange", "exchange = \"totals\"").unwrap_or_default().to_owned(),
        key: key.map_or_else(RabbitmqKey::Column, RabbitmqKey::Fixed),
        format: server_sink::format(r),
    };
    server_sink::server(r, URL, ServerWrites::Rabbitmq(writes))
}
