//! One sink of a job file.

use crate::job::keys::{self, SINK_KINDS, SINK_KINDS_LATER};
use crate::job::spec::{FileFormat, SinkKind, SinkSpec, TableMode};
use crate::job::table::Reader;
use crate::limits;
use std::time::Duration;

/// Reads `[sinks.<name>]`.
pub(in crate::job) fn sink(name: String, r: &Reader<'_>) -> SinkSpec {
    r.need("from", "from = \"…\" with the name of a source or stage");
    r.need("kind", "kind = \"print\", or one of files, queue, postgres");
    let words: Vec<_> = SINK_KINDS.iter().map(|word| (*word, *word)).collect();
    let word = r.choice("kind", &words, SINK_KINDS_LATER);
    r.check_keys(keys::SINK, keys::SINK_KEYS_LATER, word);
    let from = r.texts("from", "from = \"words\" or from = [\"a\", \"b\"]").unwrap_or_default();
    let path = |example| {
        r.need("path", example);
        r.path("path", example).unwrap_or_default()
    };
    let formats = [
        ("json", FileFormat::Json),
        ("text", FileFormat::Text),
        ("csv", FileFormat::Csv),
        ("parquet", FileFormat::Parquet),
    ];
    let kind = match word {
        Some("files") => SinkKind::Files {
            path: path("path = \"output\""),
            format: r.choice("format", &formats, &["avro", "arrow", "orc"]).unwrap_or(FileFormat::Json),
        },
        Some("queue") => SinkKind::Queue { path: path("path = \"out.jsonl\"") },
        Some("postgres") => postgres(r),
        _ => {
            let rows = r.whole("rows", 0, limits::PRINT_ROWS_MAX).and_then(|rows| usize::try_from(rows).ok());
            SinkKind::Print { rows: rows.unwrap_or(limits::PRINT_ROWS) }
        }
    };
    SinkSpec { name, from, kind }
}

fn postgres(r: &Reader<'_>) -> SinkKind {
    let text = |key, example| {
        r.need(key, example);
        r.text(key, example).unwrap_or_default().to_owned()
    };
    let url = text("url", "url = \"postgres://user:${PGPASSWORD}@127.0.0.1/database\"");
    let table = text("table", "table = \"counts\"");
    let upsert = r.choice("mode", &[("append", false), ("upsert", true)], &["replace", "update", "delete"]);
    let example = "key = \"word\", or key = [\"a\", \"b\"]";
    let mode = match upsert {
        Some(true) => {
            r.need("key", example);
            TableMode::Upsert { key: r.texts("key", example).unwrap_or_default() }
        }
        append => {
            // Where the mode could not be read, the key may be right.
            if r.has("key") && (append.is_some() || !r.has("mode")) {
                r.wrong("key", "`key` does nothing without mode = \"upsert\"; write that, or remove `key`");
            }
            TableMode::Append
        }
    };
    let wait = r.time("wait").unwrap_or(Duration::from_millis(limits::SERVER_WAIT_MS));
    SinkKind::Postgres { url, table, mode, wait }
}
