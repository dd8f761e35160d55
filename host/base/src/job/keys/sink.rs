//! The keys of a sink.

use super::*;
use crate::job::spec::BinaryEncoding;

const PLUGIN: &[&str] = &["plugin"];
/// Kinds that list the key in their declaration.
const SHARED: &[&str] = &["(shared)"];

/// A sink.
pub(in crate::job) const SINK: &[TableKey] = &[
    key(
        "from",
        KeyShape::Texts,
        "Streams to write: names of sources and stages, or `<name>.rejected`, `<name>.late` or `<name>.<branch>`.",
    )
    .needed(&[""]),
    key(
        "kind",
        KeyShape::Word(&[]),
        "",
    )
    .needed(&[""]),
    key(
        "plugin",
        KeyShape::Text,
        "Plugin of world `sink`: a component or plugin directory, relative to the job file, or a package pinned by \
         millstream.lock: name@version.",
    )
    .for_kinds(PLUGIN)
    .needed(PLUGIN),
    key("config", KeyShape::Any, "Settings passed to the plugin.").for_kinds(PLUGIN),
    key("limits", KeyShape::Table(LIMITS), "Limits of the plugin.").for_kinds(PLUGIN),
    key("grant", KeyShape::Table(GRANT), "Permissions of the plugin: files, environment variables and servers.").for_kinds(PLUGIN),
    key("format", KeyShape::Word(&["text", "json", "binary"]), "Format of the messages, json by default.").for_kinds(SHARED),
    key(
        "parts",
        KeyShape::Word(&["batch", "worker"]),
        "Parts in which a batch is written. `batch`: one file or transaction per batch, with its rows in order. `worker`: one \
         per worker that has rows; all workers encode and write at the same time, each with its own marker, and request keys \
         over HTTP contain the worker's number. `batch` by default.",
    )
    .for_kinds(SHARED),
    key(
        "tls",
        KeyShape::Either(&[KeyShape::Flag, KeyShape::Table(TLS)]),
        "TLS of a server with https, or of a broker: true, or { ca = \"ca.pem\", cert = \"own.pem\", key = \
         \"own.key\" }. The server's certificate is checked.",
    )
    .for_kinds(SHARED),
    key(
        "on_error",
        KeyShape::Word(&["stop", "reject"]),
        "What happens if the plugin rejects a row: the job stops (`stop`), or the row is logged and dropped (`reject`). `stop` \
         by default.",
    )
    .for_kinds(PLUGIN),
    key(
        "mode",
        KeyShape::Word(&["append", "upsert"]),
        "What a row does: it is added (`append`), or replaces the row with the same key (`upsert`). `append` by default.",
    )
    .for_kinds(SHARED),
    key(
        "key",
        KeyShape::Texts,
        "Mode upsert: columns that identify a row of the table.",
    )
    .for_kinds(SHARED),
    key(
        "op",
        KeyShape::Text,
        "Column of type text that says what a row does: `insert`, `update` and `upsert` write it, `delete` deletes the row of \
         its key, `truncate` deletes all rows. The column itself is not written. Requires mode = \"upsert\".",
    )
    .for_kinds(SHARED),
    key(
        "changes",
        KeyShape::Word(&["rows"]),
        "Write the changes of a table as rows, including deletes.",
    )
    .for_kinds(SHARED),
    key(
        "encoding",
        KeyShape::Word(&BinaryEncoding::WORDS),
        "How columns of type binary are written in json, csv and text: \"hex\", \"base64\" or \"utf8\"; \"hex\" by default. \
         Format text requires this key for such a column.",
    )
    .for_kinds(SHARED),
    key(
        "wait",
        KeyShape::Time,
        "How long the job waits for a server that is unreachable or does not respond, at startup and later, 1h by default.",
    )
    .for_kinds(PLUGIN),
];
