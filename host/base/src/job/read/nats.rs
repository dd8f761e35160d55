//! What a job file says of sources and sinks of kind `nats`.

use super::server::{start, texts, url};
use super::server_sink::{self, either};
use crate::job::spec::{
    NatsReads, NatsSubject, NatsWrites, ServerReads, ServerSinkSpec, ServerSourceSpec, ServerWrites,
};
use crate::job::table::Reader;

const URL: &str = "url = \"nats://127.0.0.1:4222\"";
const CREDENTIALS: &str = "credentials = \"job.creds\"";

/// A source.
pub(super) fn source(r: &Reader<'_>) -> ServerSourceSpec {
    let example = "stream = \"ORDERS\", or stream = [\"A\", \"B\"]";
    r.need("stream", example);
    let reads = NatsReads {
        streams: texts(r, "stream", example),
        subjects: texts(r, "subject", "subject = \"orders.*.new\", or subject = [\"a.>\", \"b\"]"),
        start: start(r),
        credentials: r.path("credentials", CREDENTIALS),
    };
    ServerSourceSpec { url: url(r, URL), reads: ServerReads::Nats(reads) }
}

/// A sink.
pub(super) fn sink(r: &Reader<'_>) -> ServerSinkSpec {
    let example = "stream = \"TOTALS\"";
    r.need("stream", example);
    let subject = either(
        r,
        ("subject", "subject = \"totals.eu\""),
        ("subject_from", "subject_from = \"subject\", the name of a column"),
    );
    let writes = NatsWrites {
        stream: r.text("stream", example).unwrap_or_default().to_owned(),
        subject: subject.map_or_else(NatsSubject::Column, NatsSubject::Fixed),
        format: server_sink::format(r),
        exactly_once: r.flag("exactly_once").unwrap_or(true),
        credentials: r.path("credentials", CREDENTIALS),
    };
    server_sink::server(r, URL, ServerWrites::Nats(writes))
}
