//! The keys of sources of kind `otlp`.

use super::{KeyShape, TLS, TableKey, key};
use crate::limits;

const OTLP: &[&str] = &["otlp"];

/// They.
pub(super) const SOURCE: &[TableKey] = &[
    key("listen", KeyShape::Address, "Where exporters send to, as \"127.0.0.1:4318\".").of(OTLP).needed(OTLP),
    key(
        "signals",
        KeyShape::Texts,
        "What is taken: \"logs\", \"metrics\", \"traces\", or a list of such; all three by default. They decide about the columns.",
    )
    .of(OTLP),
    key(
        "token",
        KeyShape::Text,
        "What each request must bring as `Authorization: Bearer …`; write \"${NAME}\", so that it does not stand in the file.",
    )
    .of(OTLP),
    key(
        "tls",
        KeyShape::Either(&[KeyShape::Flag, KeyShape::Table(TLS)]),
        "The certificate that exporters see, { cert = \"own.pem\", key = \"own.key\" }.",
    )
    .of(OTLP),
    key("request_bytes_max", KeyShape::Size, "A request that is larger, also when it is unpacked, is refused, 8MiB by default.").of(OTLP),
    key("request_time_max", KeyShape::Time, "How long a request may take to come in, 30s by default.").of(OTLP),
    key("spread", KeyShape::Flag, "Whether all processes of the job listen there, each for a part of those who send; false by default, where one process does.").of(OTLP),
    key(
        "connections_max",
        KeyShape::Whole(1, limits::HTTP_CONNECTIONS_MAX_MAX),
        "Connections that are open at a time, 1000 by default; more wait.",
    )
    .of(OTLP),
    key(
        "schema",
        KeyShape::Columns,
        "The columns, where not all are wanted, or others: a `path` leads into `attributes`, `resource` and `body`, as \
         path = [\"attributes\", \"http.route\"].",
    )
    .of(OTLP),
    key("record_bytes_max", KeyShape::Size, "A longer record, written as JSON, is a rejected row, 16MiB by default.").of(OTLP),
    key("rejected_bytes_max", KeyShape::Size, "How much of such a record its rejected row holds, 1KiB by default.").of(OTLP),
];
