//! The keys of a sink.

use super::*;
use crate::job::spec::BinaryEncoding;

const PLUGIN: &[&str] = &["plugin"];
/// Of kinds that say that they have the key.
const SHARED: &[&str] = &["(shared)"];

/// A sink.
pub(in crate::job) const SINK: &[TableKey] = &[
    key(
        "from",
        KeyShape::Texts,
        "The streams to take: names of sources and stages, or `<name>.rejected`, `<name>.late` or `<name>.<branch>`.",
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
        "The plugin, of world `sink`: a component or plugin folder, relative to the job file, or a package that millstream.lock pins: \
         name@version.",
    )
    .of(PLUGIN)
    .needed(PLUGIN),
    key("config", KeyShape::Any, "What the plugin is told.").of(PLUGIN),
    key("limits", KeyShape::Table(LIMITS), "What the plugin may use up.").of(PLUGIN),
    key("grant", KeyShape::Table(GRANT), "What the plugin may use: files, variables, and whom it may talk to.").of(PLUGIN),
    key("format", KeyShape::Word(&["text", "json", "binary"]), "What is in a message, json by default.").of(SHARED),
    key(
        "parts",
        KeyShape::Word(&["batch", "worker"]),
        "One file, or transaction, a batch, with its rows in order (`batch`, the default), or one of each worker that has rows \
         (`worker`): all workers then encode and write at once, each under a marker of its own; requests over HTTP have keys with the \
         worker's number.",
    )
    .of(SHARED),
    key(
        "tls",
        KeyShape::Either(&[KeyShape::Flag, KeyShape::Table(TLS)]),
        "How a server with https, or a broker, is spoken to: true, or { ca = \"issuer.pem\", cert = \"own.pem\", key = \"own.key\" }. Its certificate is checked.",
    )
    .of(SHARED),
    key(
        "on_error",
        KeyShape::Word(&["stop", "reject"]),
        "What becomes of a row that the plugin refuses: the job stops (`stop`, the default), or it is told in the log and left out \
         (`reject`).",
    )
    .of(PLUGIN),
    key(
        "mode",
        KeyShape::Word(&["append", "upsert"]),
        "What a row does: it is added (`append`, the default), or replaces the row of the same key (`upsert`).",
    )
    .of(SHARED),
    key(
        "key",
        KeyShape::Texts,
        "Mode upsert: the columns of which a row of the table has no two alike.",
    )
    .of(SHARED),
    key(
        "op",
        KeyShape::Text,
        "The column of type text that says what a row does: `insert`, `update` or `upsert` write it, `delete` deletes the row of its key, \
         and `truncate` all rows. The column itself is not written.",
    )
    .of(SHARED),
    key(
        "changes",
        KeyShape::Word(&["rows"]),
        "That changes of a table are wanted as rows here, those that delete a row included.",
    )
    .of(SHARED),
    key(
        "encoding",
        KeyShape::Word(&BinaryEncoding::WORDS),
        "How columns of type binary are written in json, csv and text: \"hex\", \"base64\" or \"utf8\"; \"hex\" by default. Format text writes such a column only with it.",
    )
    .of(SHARED),
    key(
        "wait",
        KeyShape::Time,
        "How long the job waits for the server where it is away or hangs, at its start and later; 1h by default.",
    )
    .of(PLUGIN),
];
