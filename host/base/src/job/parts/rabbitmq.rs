//! What must hold of sources and sinks of kind `rabbitmq`.

use super::PartMistakes;
use super::server::{names, url};
use crate::job::spec::{RabbitmqKey, RabbitmqReads, RabbitmqWrites, ServerSinkSpec, ServerSourceSpec, TlsSpec};
use crate::limits::POLLED_PARTITIONS_MAX;

const SCHEMES: [&str; 2] = ["amqp://", "amqps://"];
/// Bytes of the name of a queue or exchange, or of a routing key.
const TEXT_BYTES_MAX: usize = 255;

/// A source.
pub(super) fn source(spec: &ServerSourceSpec, reads: &RabbitmqReads, tls: Option<&TlsSpec>, part: &PartMistakes<'_>) {
    url(&spec.url, SCHEMES, tls, part);
    let key = if reads.streams { "stream" } else { "queue" };
    names(key, &reads.queues, part);
    reads.queues.iter().for_each(|name| is_short(key, name, part));
    let count = reads.queues.len();
    if count > POLLED_PARTITIONS_MAX {
        let message = format!(
            "`{key}` names {count} of them, and a source reads at most {POLLED_PARTITIONS_MAX}, each on a thread; write several sources, \
             and take them together with from = [\"a\", \"b\"]"
        );
        part.wrong(key, message);
    }
}

/// A sink.
pub(super) fn sink(spec: &ServerSinkSpec, writes: &RabbitmqWrites, part: &PartMistakes<'_>) {
    url(&spec.url, SCHEMES, spec.tls.as_ref(), part);
    is_short("exchange", &writes.exchange, part);
    match &writes.key {
        RabbitmqKey::Fixed(key) => is_short("routing_key", key, part),
        RabbitmqKey::Column(name) if name.is_empty() => {
            part.wrong("routing_key_from", "`routing_key_from` is empty; write the name of a column");
        }
        RabbitmqKey::Column(_) => {}
    }
}

fn is_short(key: &str, name: &str, part: &PartMistakes<'_>) {
    if name.len() > TEXT_BYTES_MAX {
        part.wrong(key, format!("`{key}` has {} bytes, and AMQP allows {TEXT_BYTES_MAX}; shorten it", name.len()));
    }
}
