//! The keys of sources of kind `lumberjack`.

use super::{KeyShape, TLS, TableKey, key};
use crate::limits;

const LUMBERJACK: &[&str] = &["lumberjack"];

/// They.
pub(super) const SOURCE: &[TableKey] = &[
    key("listen", KeyShape::Address, "Where Beats send to, as \"0.0.0.0:5044\".").of(LUMBERJACK).needed(LUMBERJACK),
    key(
        "tls",
        KeyShape::Either(&[KeyShape::Flag, KeyShape::Table(TLS)]),
        "The certificate that senders see, { cert = \"own.pem\", key = \"own.key\" }; with `ca` each sender must show one of that issuer.",
    )
    .of(LUMBERJACK),
    key(
        "window_bytes_max",
        KeyShape::Size,
        "A window of events that is larger, also when it is unpacked, is refused, 16MiB by default.",
    )
    .of(LUMBERJACK),
    key("window_time_max", KeyShape::Time, "How long a window may take to come in, 30s by default.").of(LUMBERJACK),
    key("spread", KeyShape::Flag, "Whether all processes of the job listen there, each for a part of those who send; false by default, where one process does.").of(LUMBERJACK),
    key(
        "connections_max",
        KeyShape::Whole(1, limits::HTTP_CONNECTIONS_MAX_MAX),
        "Connections that are open at a time, 1000 by default; more wait.",
    )
    .of(LUMBERJACK),
    key(
        "schema",
        KeyShape::Columns,
        "The columns, where `time`, `message`, `host` and `file` are not what is wanted: a `path` leads into an event, as \
         path = [\"log\", \"file\", \"path\"].",
    )
    .of(LUMBERJACK),
    key("record_bytes_max", KeyShape::Size, "A longer event is a rejected row, 16MiB by default.").of(LUMBERJACK),
    key("rejected_bytes_max", KeyShape::Size, "How much of such an event its rejected row holds, 1KiB by default.")
        .of(LUMBERJACK),
];
