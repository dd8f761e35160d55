//! `enrich`: columns of a lookup table for each row.

use super::{latest, on};
use crate::build::strings;
use crate::columns;
use crate::connector::Kinds;
use crate::keys::{FORMATS_LATER, KeyShape, LOOKUP_COLUMN, TableKey, key};
use crate::part_errors::PartErrors;
use crate::parts::{file_path, poll_fits, times};
use crate::spec::{EnrichFormat, EnrichSpec, EnrichTable, JoinKind, OperatorSpec, StageSpec};
use crate::table::Reader;
use millstream_base::limits;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `enrich` of a stage.
pub(super) const KEY: TableKey = key(
    "enrich",
    KeyShape::Table(KEYS),
    "Lookup table whose columns are added to each row; it is read again when it changes: { file = \"inventory.csv\", on = \
     \"sku\" }.",
);

const KEYS: &[TableKey] = &[
    key(
        "file",
        KeyShape::Text,
        "The table as a file: CSV with a header, JSON lines or Parquet; relative to the job file.",
    ),
    key(
        "stream",
        KeyShape::Text,
        "The table as the latest row per key of a stream: the name of a source or stage.",
    ),
    key(
        "op",
        KeyShape::Text,
        "With `stream`: column of the stream that says what a row does to the table, such as \"op\" of a changelog: `insert`, \
         `update` and `upsert` write the row, `delete` deletes the row of its key, `truncate` deletes all rows.",
    ),
    key(
        "url",
        KeyShape::Text,
        "Database of the table: \"postgres://user:${PGPASSWORD}@host/database\", or a SQLite file, \"sqlite:shop.db\".",
    ),
    key("query", KeyShape::Text, "With `url`: query whose rows are the table."),
    key(
        "wait",
        KeyShape::Time,
        "With `url`: how long the job waits at startup for an unreachable server, 1h by default.",
    ),
    key(
        "on",
        on::SHAPE,
        "Columns that must be equal: \"sku\", [\"sku\", \"store\"], or { sku = \"article\" } if the table has another name for \
         it.",
    )
    .required(),
    key(
        "type",
        KeyShape::Word(&["left", "inner"]),
        "Whether rows without a match in the table are kept (`left`) or dropped (`inner`). `left` by default.",
    ),
    key(
        "format",
        KeyShape::Word(&["csv", "json", "parquet"]),
        "With `file`: its format, by default that of its extension.",
    ),
    key(
        "schema",
        KeyShape::ByName(&KeyShape::Either(&[KeyShape::Type, KeyShape::Table(LOOKUP_COLUMN)])),
        "Columns of the table, as in the `schema` of a source; by default those of the file or query.",
    ),
    key(
        "poll",
        KeyShape::Time,
        "Time between checks of the table for changes: 1s by default for a file, 30s for a query.",
    ),
];

pub(super) const ONLY_OWN_ROWS: &str =
    "`enrich` keeps the stage's rows only; write type = \"left\" or type = \"inner\"";

impl EnrichSpec {
    /// A file with a header or column names in it, which is checked every second; rows that it does not contain stay.
    pub fn file<S: Into<String>>(
        path: impl Into<PathBuf>,
        format: EnrichFormat,
        on: impl IntoIterator<Item = S>,
    ) -> EnrichSpec {
        EnrichSpec {
            table: EnrichTable::File { path: path.into(), format },
            on: strings(on).into_iter().map(|name| (name.clone(), name)).collect(),
            kind: JoinKind::Left,
            schema: Vec::new(),
            poll: Duration::from_millis(limits::ENRICH_FILE_POLL_MS),
        }
    }
}

impl StageSpec {
    /// Adds columns of a lookup table to each row.
    pub fn enrich<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        enrich: EnrichSpec,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Enrich(enrich))
    }
}

/// Reads `enrich`.
pub(super) fn read(r: &Reader<'_>, kinds: &Kinds) -> OperatorSpec {
    let none = || EnrichSpec {
        table: EnrichTable::File { path: "?".into(), format: EnrichFormat::Csv },
        on: Vec::new(),
        kind: JoinKind::Left,
        schema: Vec::new(),
        poll: Duration::ZERO,
    };
    let Some(r) = r.inner("enrich", "enrich = { file = \"inventory.csv\", on = \"sku\" }") else {
        return OperatorSpec::Enrich(none());
    };
    r.check_keys(KEYS, &[], None);
    r.need("on", "on = \"sku\", with a column of the stage's input and of the table");
    let kind = r.choice("type", &[("left", JoinKind::Left), ("inner", JoinKind::Inner)], &[]).unwrap_or(JoinKind::Left);
    if r.has("stream") {
        return OperatorSpec::Latest(latest::read(&r, kind));
    }
    if r.has("op") {
        r.wrong("op", format!("`{0}op` is for tables from a stream; write {0}stream, or remove it", r.inside));
    }
    let table = table(&r, kinds);
    let poll_ms = match table {
        Some(EnrichTable::Query { .. }) => limits::ENRICH_QUERY_POLL_MS,
        _ => limits::ENRICH_FILE_POLL_MS,
    };
    OperatorSpec::Enrich(EnrichSpec {
        on: on::read(&r),
        kind,
        schema: columns::schema(&r, "schema = { sku = \"text\", stock = \"int64\" }"),
        poll: r.time("poll").unwrap_or(Duration::from_millis(poll_ms)),
        table: table.unwrap_or(none().table),
    })
}

/// Reads where the table comes from: `file`, or `url` and `query`.
fn table(r: &Reader<'_>, kinds: &Kinds) -> Option<EnrichTable> {
    let of = if r.has("url") { "url" } else { "query" };
    for (key, other) in [("url", "file"), ("query", "file"), ("wait", "file"), ("format", of)] {
        if r.has(key) && r.has(other) && (other == "file" || !r.has("file")) {
            r.wrong(key, format!("`{0}{key}` cannot be combined with `{0}{other}`; remove one", r.inside));
        }
    }
    if r.has("url") || r.has("query") {
        let (url, query) = ("url = \"postgres://user:${PGPASSWORD}@127.0.0.1/database\"", "query = \"select …\"");
        r.need("url", url);
        r.need("query", query);
        let (url, query) = (r.text("url", url), r.text("query", query));
        let wait = r.time("wait").unwrap_or(Duration::from_millis(limits::SERVER_WAIT_MS));
        let (url, query) = (url?, query?);
        let Some(kind) = kinds.table(url) else {
            r.wrong("url", "a table from a database is not in this build; run `make build`, or write `file`");
            return None;
        };
        return Some(EnrichTable::Query { kind, url: url.into(), query: query.into(), wait });
    }
    let example = "file = \"inventory.csv\"";
    r.need(
        "file",
        &format!("{example}, or url = \"postgres://…\" and query = \"select …\", or stream = \"customers\""),
    );
    let path = r.path("file", example)?;
    let choices = [("csv", EnrichFormat::Csv), ("json", EnrichFormat::Json), ("parquet", EnrichFormat::Parquet)];
    let chosen = r.choice("format", &choices, FORMATS_LATER);
    let format = if r.has("format") { chosen? } else { format_of(r, &path)? };
    Some(EnrichTable::File { path, format })
}

/// Returns the format by the file's name.
fn format_of(r: &Reader<'_>, path: &Path) -> Option<EnrichFormat> {
    match path.extension().and_then(|end| end.to_str()) {
        Some("csv") => Some(EnrichFormat::Csv),
        Some("json" | "jsonl" | "ndjson") => Some(EnrichFormat::Json),
        Some("parquet") => Some(EnrichFormat::Parquet),
        _ => {
            let message = format!(
                "the name of `{}file = \"{}\"` does not show its format; write format = \"csv\", \"json\" or \
                 \"parquet\"",
                r.inside,
                path.display()
            );
            r.wrong("file", message);
            None
        }
    }
}

pub(super) fn check(enrich: &EnrichSpec, part: &PartErrors<'_>) {
    on::check("enrich.on", &enrich.on, part);
    match &enrich.table {
        EnrichTable::File { path, .. } => file_path("enrich.file", path, part),
        EnrichTable::Query { kind, url, query, .. } => {
            if let Err(message) = (kind.0.check)(url) {
                part.wrong("enrich.url", message);
            }
            if query.trim().is_empty() {
                part.wrong("enrich.query", "`enrich.query` is empty; write a query, for example query = \"select …\"");
            }
        }
    }
    if !matches!(enrich.kind, JoinKind::Inner | JoinKind::Left) {
        part.wrong("enrich.type", ONLY_OWN_ROWS);
    }
    if let Err(message) = poll_fits(enrich.poll) {
        part.wrong("enrich.poll", message);
    }
    let mut seen = BTreeSet::new();
    for column in &enrich.schema {
        let name = &column.name;
        let path = format!("enrich.schema.{name}");
        if name.is_empty() || name.chars().any(char::is_control) {
            let shown = name.escape_debug();
            part.wrong(&path, format!("`{shown}` is not a valid column name; use visible characters"));
        } else if !seen.insert(name) {
            part.wrong(&path, format!("two columns are named `{name}`; rename one"));
        } else if let Some(message) = times(column) {
            part.wrong(&path, message);
        }
    }
}
