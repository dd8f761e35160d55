//! The keys that sinks share.

use super::*;
use millstream_rows::batch::binary_text::BinaryEncoding;

/// The inputs of a sink.
pub(crate) const FROM: TableKey = key(
    "from",
    KeyShape::TextList,
    "Streams to write: names of sources and stages, or `<name>.rejected`, `<name>.late` or `<name>.<branch>`.",
)
.required();

/// Format of messages.
pub const MESSAGE_FORMAT: TableKey =
    key("format", KeyShape::Word(&["text", "json", "binary"]), "Format of the messages, `json` by default.");
/// The effect of a row on a table.
pub const MODE: TableKey = key(
    "mode",
    KeyShape::Word(&["append", "upsert"]),
    "Effect of a row: it is added (`append`), or replaces the row with the same key (`upsert`). `append` by default.",
);
/// The key of a table.
pub const KEY: TableKey = key("key", KeyShape::TextList, "Mode upsert: columns that identify a row of the table.");
/// The operation of a row on a table.
pub const OP: TableKey = key(
    "op",
    KeyShape::Text,
    "Mode upsert: column of type text with the operation of a row. `insert`, `update` and `upsert` write the row, `delete` deletes \
     the row of its key, `truncate` deletes all rows. The column itself is not written.",
);
/// How a changelog is written.
pub const CHANGES: TableKey = key(
    "changes",
    KeyShape::Word(&["rows"]),
    "`rows` writes each change of a changelog as a row, including deletes. Needed by sinks that cannot apply changes.",
);
/// The encoding of bytes in a sink with several formats.
pub const ENCODING: TableKey = key(
    "encoding",
    ENCODING_SHAPE,
    "Encoding of columns of type binary in json, csv and text: \"hex\", \"base64\" or \"utf8\"; \"hex\" by default. Format text \
     requires this key for such a column.",
);
/// The encoding of bytes in messages.
pub const MESSAGE_ENCODING: TableKey = key(
    "encoding",
    ENCODING_SHAPE,
    "Encoding of columns of type binary in json and text: \"hex\", \"base64\" or \"utf8\"; \"hex\" by default. Format text requires \
     this key for such a column.",
);
/// The encoding of bytes in a sink that writes only JSON.
pub const JSON_ENCODING: TableKey = key(
    "encoding",
    ENCODING_SHAPE,
    "Encoding of columns of type binary in JSON: \"hex\", \"base64\" or \"utf8\"; \"hex\" by default.",
);
const ENCODING_SHAPE: KeyShape = KeyShape::Word(&BinaryEncoding::NAMES);
/// How long a sink waits for its server.
pub const WAIT: TableKey = key(
    "wait",
    KeyShape::Time,
    "How long the job waits for a server that is unreachable or does not respond, at startup and later, 1h by default.",
);
