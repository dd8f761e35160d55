//! What must hold of sources and sinks of kind `nats`.

use super::PartMistakes;
use super::server::{names, url};
use crate::job::spec::{NatsReads, NatsSubject, NatsWrites, ServerSinkSpec, ServerSourceSpec, TlsSpec};
use crate::job::subject;
use crate::limits::POLLED_PARTITIONS_MAX;

const SCHEMES: [&str; 2] = ["nats://", "tls://"];

/// A source.
pub(super) fn source(spec: &ServerSourceSpec, reads: &NatsReads, tls: Option<&TlsSpec>, part: &PartMistakes<'_>) {
    url(&spec.url, SCHEMES, tls, part);
    names("stream", &reads.streams, part);
    reads.streams.iter().for_each(|stream| is_stream(stream, part));
    names("subject", &reads.subjects, part);
    for filter in &reads.subjects {
        if let Err(why) = subject::filter(filter) {
            part.wrong(
                "subject",
                format!(
                    "`{}` is no subject to read: it {why}; write it as \"orders.*.new\" or \"orders.>\"",
                    filter.escape_debug()
                ),
            );
        }
    }
    let count = reads.streams.len();
    if count > POLLED_PARTITIONS_MAX {
        let message = format!(
            "`stream` names {count} streams, and a source reads at most {POLLED_PARTITIONS_MAX}, each on a thread; write several sources, \
             and take them together with from = [\"a\", \"b\"]"
        );
        part.wrong("stream", message);
    }
}

/// A sink.
pub(super) fn sink(spec: &ServerSinkSpec, writes: &NatsWrites, part: &PartMistakes<'_>) {
    url(&spec.url, SCHEMES, spec.tls.as_ref(), part);
    is_stream(&writes.stream, part);
    match &writes.subject {
        NatsSubject::Fixed(subject) => {
            if let Err(why) = subject::check(subject) {
                let shown = subject.escape_debug();
                part.wrong("subject", format!("`{shown}` is no subject to publish to: it {why}; write one as \"totals.eu\", or subject_from = \"column\""));
            }
        }
        NatsSubject::Column(name) if name.is_empty() => {
            part.wrong("subject_from", "`subject_from` is empty; write the name of a column");
        }
        NatsSubject::Column(_) => {}
    }
}

fn is_stream(name: &str, part: &PartMistakes<'_>) {
    if !subject::is_stream(name) {
        let shown = name.escape_debug();
        part.wrong(
            "stream",
            format!("`{shown}` is no name of a stream; names have no blanks, and none of `.`, `*`, `>`, `/` and `\\`"),
        );
    }
}
