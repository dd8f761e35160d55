//! One sink of a job file.

use crate::job::keys::{self, SINK_KINDS, SINK_KINDS_LATER};
use crate::job::spec::{FileFormat, SinkKind, SinkSpec};
use crate::job::table::Reader;
use crate::limits;

/// Reads `[sinks.<name>]`.
pub(in crate::job) fn sink(name: String, r: &Reader<'_>) -> SinkSpec {
    r.need("from", "from = \"…\" with the name of a source or stage");
    r.need("kind", "kind = \"print\", or one of files, queue");
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
        _ => {
            let rows = r.whole("rows", 0, limits::PRINT_ROWS_MAX).and_then(|rows| usize::try_from(rows).ok());
            SinkKind::Print { rows: rows.unwrap_or(limits::PRINT_ROWS) }
        }
    };
    SinkSpec { name, from, kind }
}
