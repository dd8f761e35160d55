//! The keys of sources that read messages of a server, partition by partition.

use super::{KeyShape, TableKey, key};

const REDIS: &[&str] = &["redis"];
const CHANGES: &[&str] = &["postgres-changes"];
/// Those that name their server by a URL.
const BY_URL: &[&str] = &["redis", "postgres-changes"];

/// They.
pub(super) const SOURCE: &[TableKey] = &[
    key(
        "url",
        KeyShape::Text,
        "The server, as \"redis://user:${REDIS_PASSWORD}@host:6379/0\"; `rediss://` speaks TLS; or \"postgres://user:${PGPASSWORD}@host/database\". ${NAME} is replaced by the environment \
         variable of that name, so that no password stands in the file.",
    )
    .of(BY_URL)
    .needed(BY_URL),
    key("stream", KeyShape::Texts, "The stream to read, or a list of streams; each is a partition.").of(REDIS).needed(REDIS),
    key(
        "field",
        KeyShape::Text,
        "The field of an entry that holds the record, in the format of the source. Without it the fields are the columns, by name.",
    )
    .of(REDIS),
    key(
        "start",
        KeyShape::Word(&["earliest", "latest"]),
        "Where a job begins to read that has not read yet: at the oldest entries that are there (`earliest`, the default), or behind the \
         newest (`latest`). Kind postgres-changes: with the rows that the tables have, or with the changes from then on.",
    )
    .of(&["redis", "postgres-changes"]),
    key("table", KeyShape::Texts, "The table whose changes are read, as \"orders\" or \"shop.orders\", or a list of tables.")
        .of(CHANGES)
        .needed(CHANGES),
    key(
        "publication",
        KeyShape::Text,
        "The publication that has the tables, where somebody has made one; by default the job makes its own.",
    )
    .of(CHANGES),
];
