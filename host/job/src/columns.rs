//! The columns of a source or table.

use crate::keys::COLUMN;
use crate::table::{Reader, type_of};
use millstream_base::suggest;
use millstream_base::zone::Zone;
use millstream_rows::batch::binary_text::BinaryEncoding;
use millstream_rows::batch::column::{ColumnSource, ColumnSpec, TimeForm};
use millstream_rows::batch::types::ColumnType;
use toml::Value;

/// Reads the columns of `schema`; empty if it is absent or wrong.
pub(super) fn schema(r: &Reader<'_>, example: &str) -> Vec<ColumnSpec> {
    let Some(columns) = r.inner("schema", example) else {
        return Vec::new();
    };
    columns.table.iter().filter_map(|(name, value)| column(name, value, &columns)).collect()
}

fn column(name: &str, value: &Value, columns: &Reader<'_>) -> Option<ColumnSpec> {
    match value {
        Value::String(word) => {
            let (kind, form) = column_type(name, word, columns)?;
            Some(ColumnSpec::new(name, kind).written(form))
        }
        Value::Table(_) => {
            let r = columns.inner(name, "{ type = \"int64\", path = \"user.id\" }")?;
            r.check_keys(COLUMN, &[], None);
            r.need("type", "type = \"int64\"");
            let word = r.text("type", "type = \"int64\"")?;
            let (kind, form) = column_type(name, word, columns)?;
            let path = column_path(&r);
            let path = path.unwrap_or_else(|| vec![name.into()]);
            let (zone, encoding, from) = (zone(&r), encoding(&r), from(&r));
            Some(ColumnSpec { path, form, zone, encoding, from, ..ColumnSpec::new(name, kind) })
        }
        other => {
            let found = type_of(other);
            let message = format!("column `{name}` is {found}; write its type, for example {name} = \"int64\"");
            columns.wrong(name, message);
            None
        }
    }
}

/// Reads `"key"`, and so on.
fn from(r: &Reader<'_>) -> ColumnSource {
    let Some(word) = r.text("from", "from = \"key\"") else { return ColumnSource::Value };
    let from = ColumnSource::parse(word);
    if from.is_none() {
        let hint = suggest::hint(word, ColumnSource::NAMES, "write one of");
        r.wrong("from", format!("`{}from = \"{word}\"` is unknown{hint}", r.inside));
    }
    from.unwrap_or_default()
}

/// Reads `"base64"`, and so on.
pub(super) fn encoding(r: &Reader<'_>) -> Option<BinaryEncoding> {
    let word = r.text("encoding", "encoding = \"base64\"")?;
    let encoding = BinaryEncoding::parse(word);
    if encoding.is_none() {
        let hint = suggest::hint(word, BinaryEncoding::NAMES, "write one of");
        r.wrong("encoding", format!("`{}encoding = \"{word}\"` is unknown{hint}", r.inside));
    }
    encoding
}

/// Reads `"user.id"`, or a list of names if a name contains a dot.
fn column_path(r: &Reader<'_>) -> Option<Vec<String>> {
    let dotted = matches!(r.table.get("path"), Some(Value::String(_)));
    let path = r.strings("path", "path = \"user.id\"")?;
    if !dotted {
        return Some(path);
    }
    let names: Vec<String> = path.iter().flat_map(|text| text.split('.')).map(String::from).collect();
    if names.iter().any(String::is_empty) {
        r.wrong(
            "path",
            format!(
                "`{}path` has an empty name; write names with dots between, for example path = \"user.id\"",
                r.inside
            ),
        );
        return None;
    }
    Some(names)
}

fn column_type(name: &str, word: &str, columns: &Reader<'_>) -> Option<(ColumnType, TimeForm)> {
    let kind = ColumnSpec::type_of(word);
    if kind.is_none() {
        let message = match word.strip_prefix("timestamp(") {
            Some(_) => format!(
                "column `{name}`: `{word}` is not a valid time format; write timestamp(s), (ms), (us) or (ns) for numbers, \
                 or a pattern, as timestamp(%Y-%m-%d %H:%M:%S)"
            ),
            None => {
                let hint = suggest::hint(word, ColumnType::NAMES, "the types are");
                // A suggestion is enough; otherwise the list must be complete.
                let more = format!(", {}", ColumnType::MORE_NAMES);
                let more = if hint.ends_with('?') { "" } else { &more };
                format!("column `{name}`: unknown type `{word}`{hint}{more}")
            }
        };
        columns.wrong(name, message);
    }
    kind
}

/// Reads `zone` of this table.
pub(super) fn zone(r: &Reader<'_>) -> Option<Zone> {
    let name = r.text("zone", "zone = \"Europe/Berlin\"")?;
    let zone = Zone::named(name);
    if zone.is_none() {
        let help = match suggest::nearest(name, Zone::names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "write one of the IANA database, for example \"Europe/Berlin\"".into(),
        };
        r.wrong("zone", format!("`{}zone = \"{name}\"` is not a time zone; {help}", r.inside));
    }
    zone
}
