//! One source of a job file.

use super::unread::UnknownSource;
use crate::columns;
use crate::connector::Kinds;
use crate::errors::JobErrors;
use crate::keys::{self, FORMATS, FORMATS_LATER, SOURCE_KINDS_LATER};
use crate::spec::{SourceConfig, SourceKind, SourceSpec};
use crate::table::Reader;
use crate::{records, tls};
use millstream_base::built;
use millstream_base::limits;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::decode::binary::row_bytes;
use millstream_rows::decode::spec::RecordBounds;
use millstream_rows::formats::Format;
use std::path::Path;
use std::time::Duration;

/// Reads `[sources.<name>]`.
pub(crate) fn source(name: String, r: &Reader<'_>, (kinds, dir): (&Kinds, &Path)) -> SourceSpec {
    let word = r.kind(&kinds.of_sources(), SOURCE_KINDS_LATER);
    let ignored = JobErrors::default();
    let absent = word.and_then(|word| built::absent_kind(word, kinds.absent_source(word)));
    // The other keys of a kind that is not in this build are unknown.
    let r = &match absent {
        Some(absent) => {
            r.wrong("kind", absent);
            Reader { errors: &ignored, ..r.clone() }
        }
        None => r.clone(),
    };
    r.check_keys(kinds.source_keys(), keys::SOURCE_KEYS_LATER, word);
    let kind = match word.and_then(|word| kinds.source(word)) {
        Some(declaration) => (declaration.read)(r),
        None => UnknownSource.into(),
    };
    let given = columns::schema(r, "schema = { user = \"text\", amount = \"float64\" }");
    let format = format(&kind, &given, r, (kinds, dir));
    let schema = if r.has("schema") { given } else { SourceSpec::default_schema(&kind, &format) };
    let tls = if kind.declared().is_some_and(SourceConfig::reads_tls) { None } else { tls::read(r) };
    let count = |key, default| r.integer(key, 1, i64::MAX as u64).unwrap_or(default);
    let size = |key, most, default| r.size(key, 1, most).unwrap_or(default);
    let bytes_per_batch_max = size("bytes_per_batch_max", 1 << 40, limits::BYTES_PER_BATCH_MAX);
    SourceSpec {
        name,
        rows_per_batch_max: count("rows_per_batch_max", limits::ROWS_PER_BATCH_MAX),
        bytes_per_batch_max,
        record_bytes_max: match kind {
            // Written as JSON, a row may be longer than it was.
            SourceKind::Plugin(_) => limits::RECORD_BYTES_MAX_MAX,
            ref kind => {
                let usual = kind.declared().map_or(limits::RECORD_BYTES_MAX, SourceConfig::record_bytes_max);
                size("record_bytes_max", limits::RECORD_BYTES_MAX_MAX, usual)
            }
        },
        rejected_bytes_max: size("rejected_bytes_max", limits::REJECTED_BYTES_MAX_MAX, limits::REJECTED_BYTES_MAX),
        rejected_max: r.rows_or_share("max_rejected"),
        away_max: r.time("away_max").unwrap_or(Duration::from_millis(limits::AWAY_MS_MAX)),
        kind,
        format,
        schema,
        tls,
    }
}

/// Reads the format with its options. An option of another format is an error.
fn format(kind: &SourceKind, schema: &[ColumnSpec], r: &Reader<'_>, (kinds, dir): (&Kinds, &Path)) -> Format {
    let default = match kind {
        SourceKind::Plugin(_) => "json",
        // The connector determines it; the key itself was rejected.
        SourceKind::Declared(config) if config.makes_records() => return config.format(),
        SourceKind::Declared(config) => config.format().keyword(),
        SourceKind::Table(_) => "text",
    };
    let names: Vec<_> = FORMATS.iter().map(|word| (*word, *word)).collect();
    let chosen = r.choice("format", &names, FORMATS_LATER);
    let word = chosen.unwrap_or(default);
    let known = chosen.is_some() || !r.has("format");
    for (key, of) in [
        ("header", "csv"),
        ("separator", "csv"),
        ("record_bytes", "binary"),
        ("registry", "avro"),
        ("schema_file", "avro"),
        ("descriptor", "protobuf"),
        ("message", "protobuf"),
        ("confluent", "protobuf"),
    ] {
        let fits_kind = kinds.source_keys().iter().any(|k| k.name == key && k.fits(kind.keyword()));
        if known && fits_kind && r.has(key) && word != of {
            let message = format!(
                "`{key}` is for format `{of}`, and the format is `{word}`; remove it, or write format = \"{of}\""
            );
            r.wrong(key, message);
        }
    }
    match word {
        "json" => Format::Json,
        "csv" => Format::Csv {
            header: r.flag("header").unwrap_or(kind.declared().is_some_and(SourceConfig::has_header)),
            separator: separator(r),
        },
        "parquet" => Format::Parquet,
        "avro" => Format::Avro(records::avro(r, dir)),
        "protobuf" => Format::Protobuf(records::protobuf(r, dir)),
        "binary" => Format::Binary {
            record_bytes: match kind {
                _ if matches!(kind.bounds(), RecordBounds::Prefix | RecordBounds::Envelope) => None,
                _ => {
                    let given = r.integer("record_bytes", 1, limits::RECORD_BYTES_MAX_MAX);
                    given.and_then(|bytes| u32::try_from(bytes).ok()).or_else(|| row_bytes(schema))
                }
            },
        },
        _ => Format::Text,
    }
}

fn separator(r: &Reader<'_>) -> u8 {
    let example = "separator = \";\"";
    match r.text("separator", example).map(str::as_bytes) {
        None => b',',
        Some([byte]) if byte.is_ascii() => *byte,
        Some(_) => {
            r.wrong("separator", "`separator` is a single character such as \",\", \";\" or \"\\t\"; write one");
            b','
        }
    }
}
