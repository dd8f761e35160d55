//! The keys of sources of kind `syslog`.

use super::{KeyShape, TableKey, key};
use crate::limits;

const SYSLOG: &[&str] = &["syslog"];

/// They.
pub(super) const SOURCE: &[TableKey] = &[
    key("listen", KeyShape::Address, "Where messages are sent to, as \"0.0.0.0:5514\".").of(SYSLOG).needed(SYSLOG),
    key(
        "protocol",
        KeyShape::Word(&["udp", "tcp", "both"]),
        "How they come: as datagrams (`udp`), on connections (`tcp`), or both ways (`both`, the default).",
    )
    .of(SYSLOG),
    key("spread", KeyShape::Flag, "Whether all processes of the job listen there, each for a part of those who send; false by default, where one process does.").of(SYSLOG),
    key("connections_max", KeyShape::Whole(1, limits::HTTP_CONNECTIONS_MAX_MAX), "Connections at a time, 1000 by default; more wait.")
        .of(SYSLOG),
    key(
        "schema",
        KeyShape::Columns,
        "The columns, where not all are wanted, or others: `time`, `host`, `app`, `pid`, `id`, `facility`, `severity`, `level`, `message`, \
         `data` and `sender`; a `path` leads into `data`, the structured data.",
    )
    .of(SYSLOG),
    key("record_bytes_max", KeyShape::Size, "A longer message is a rejected row, 64KiB by default.").of(SYSLOG),
    key("rejected_bytes_max", KeyShape::Size, "How much of such a message its rejected row holds, 1KiB by default.").of(SYSLOG),
];
