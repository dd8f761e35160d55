//! Checks of each single source, stage and sink, whether a file or a program built it.

mod metadata;

use super::errors::JobErrors;
use super::names;
use super::part_errors::PartErrors;
use super::parts::{self, no_bucket, times};
use super::spec::*;
use super::stage;
use millstream_base::limits;
use millstream_rows::batch::column::{ColumnSource, ColumnSpec, TimeForm};
use millstream_rows::batch::types::ColumnType;
use millstream_rows::decode::binary::row_bytes;
use millstream_rows::decode::spec::RecordBounds;
use millstream_rows::formats::Format;
use std::collections::BTreeSet;

/// Checks all parts, except those that could not be read: missing values in them are consequences of that error.
pub(super) fn parts(job: &JobSpec, errors: &JobErrors) {
    top(job, errors);
    job.checkpoint.iter().for_each(|spec| checkpoint(spec, errors));
    let part = |section: &str, what: &str, name: &str| {
        let part = PartErrors { path: format!("{section}.{name}"), part: format!("{what} `{name}`: "), job, errors };
        if let Err(message) = names::check(name) {
            errors.add(part.path, &format!("{what}: "), message);
            return None;
        }
        (!errors.within(&part.path)).then_some(part)
    };
    for spec in &job.sources {
        if let Some(part) = part("sources", "source", &spec.name) {
            source(spec, &part);
        }
    }
    for spec in &job.stages {
        if let Some(part) = part("stages", "stage", &spec.name) {
            stage::check(spec, &part);
        }
    }
    // Those of a sample have the names of streams.
    for spec in job.sinks.iter().filter(|spec| !spec.kind.is_sample()) {
        if let Some(part) = part("sinks", "sink", &spec.name) {
            sink(spec, &part);
        }
    }
}

fn top(job: &JobSpec, errors: &JobErrors) {
    if let Err(message) = names::check(&job.name) {
        errors.add_new("name".into(), "", format!("the job's name: {message}"));
    }
    if job.in_flight_max == 0 {
        errors.add_new("in_flight_max".into(), "", "`in_flight_max` is 0; write a number of at least 1");
    }
    if let Some(state) = &job.state {
        let least = limits::STATE_MEMORY_BYTES_MIN;
        if !(least..=limits::MEMORY_BYTES_MAX_MAX).contains(&state.memory_bytes_max) {
            let message = format!("`state.memory` is {}; write at least {least}", state.memory_bytes_max);
            errors.add_new("state.memory".into(), "", message);
        }
        if state.dir.as_ref().is_some_and(|dir| dir.as_os_str().as_encoded_bytes().contains(&0)) {
            let message = "`state.folder` must not contain NUL; remove it";
            errors.add_new("state.folder".into(), "", message);
        }
    }
    if job.workers.is_some_and(|workers| workers == 0 || workers as u64 > limits::WORKERS_MAX) {
        let message = format!("`workers` must be a number from 1 to {}; correct or remove it", limits::WORKERS_MAX);
        errors.add_new("workers".into(), "", message);
    }
}

fn checkpoint(spec: &CheckpointSpec, errors: &JobErrors) {
    let wrong = |key: &str, message: &str| errors.add_new(format!("checkpoint.{key}"), "", message);
    let dir = &spec.dir;
    let help = "write a directory, for example dir = \"checkpoints/word-count\", s3://bucket/prefix, or \
        hdfs://namenode:8020/dir";
    if errors.within("checkpoint.dir") {
        // What could not be read is empty here.
    } else if dir.is_empty() {
        wrong("dir", &format!("`checkpoint.dir` is empty; {help}"));
    } else if dir.contains('\0') {
        wrong("dir", "`checkpoint.dir` must not contain NUL; remove it");
    } else if CHECKPOINT_SCHEMES.iter().any(|scheme| dir.starts_with(scheme)) {
        if let Some(nothing) = no_bucket(dir) {
            wrong("dir", &format!("`checkpoint.dir = \"{dir}\"` {nothing}"));
        }
    } else if dir.contains("://") {
        wrong("dir", &format!("`checkpoint.dir = \"{dir}\"` is a URL of another kind; {help}"));
    }
    match spec.every {
        CheckpointEvery::Time(time) if time.is_zero() => {
            wrong("every", "`checkpoint.every` is zero; write a time such as \"10s\", or every = 1 for every batch");
        }
        CheckpointEvery::Batches(0) => {
            wrong("every", "`checkpoint.every` is 0; write a number of batches of at least 1");
        }
        _ => {}
    }
}

fn source(spec: &SourceSpec, part: &PartErrors<'_>) {
    match &spec.kind {
        SourceKind::Plugin(source) => stage::plugin::check::check_end(&source.plugin, part),
        SourceKind::Declared(config) => config.check(spec, part),
        SourceKind::Table(_) => {}
    }
    for (key, value) in [
        ("rows_per_batch_max", spec.rows_per_batch_max),
        ("bytes_per_batch_max", spec.bytes_per_batch_max),
        ("record_bytes_max", spec.record_bytes_max),
        ("rejected_bytes_max", spec.rejected_bytes_max),
    ] {
        if value == 0 {
            part.wrong(key, format!("`{key}` is 0; write at least 1"));
        }
    }
    stage::plugin::check::rejected_max(spec.rejected_max, part);
    if columns(spec, part) {
        // Columns outside the value are independent of the format.
        let schema = spec.value_columns().cloned().collect();
        format(&SourceSpec { schema, ..spec.clone() }, part);
    }
}

/// Checks the columns, for any format. Returns whether the format can be checked, too.
fn columns(spec: &SourceSpec, part: &PartErrors<'_>) -> bool {
    let mut seen = BTreeSet::new();
    let mut good = true;
    for column in &spec.schema {
        let name = column.name.escape_debug();
        let message = if column.name.is_empty() || column.name.chars().any(char::is_control) {
            Some(format!("`{name}` is not a valid column name; use visible characters"))
        } else if !seen.insert(&column.name) {
            Some(format!("two columns are named `{name}`; rename one"))
        } else if !column.kind.is_written() {
            let (types, more) = (ColumnType::NAMES.join(", "), ColumnType::MORE_NAMES);
            Some(format!("column `{name}` is {}, which no format gives; write one of {types}, {more}", column.kind))
        } else if !has_paths(&spec.format) && column.path != [column.name.as_str()] {
            let word = spec.format.keyword();
            Some(format!(
                "column `{name}` has a `path`, which is for formats `json`, `avro` and `protobuf` and not for `{word}`; remove it"
            ))
        } else if column.from != ColumnSource::Value {
            metadata::column(spec, column)
        } else {
            times(column).or_else(|| binary_time(spec, column)).or_else(|| encoding(spec, column))
        };
        if let Some(message) = message {
            part.wrong(&format!("schema.{}", column.name), message);
            good = false;
        }
    }
    good
}

/// Returns whether records of a format can have nested values.
fn has_paths(format: &Format) -> bool {
    matches!(format, Format::Json | Format::Parquet | Format::Avro(_) | Format::Protobuf(_))
}

/// Returns an error unless an encoding is of a binary column in a text format.
fn encoding(spec: &SourceSpec, column: &ColumnSpec) -> Option<String> {
    column.encoding?;
    let (name, word) = (column.name.escape_debug(), spec.format.keyword());
    if !column.kind.to_string().contains("binary") {
        let kind = &column.kind;
        return Some(format!(
            "column `{name}` has an `encoding`, which is for binary columns, and it is {kind}; remove it"
        ));
    }
    let is_text = matches!(spec.format, Format::Json | Format::Csv { .. } | Format::Text);
    (!is_text)
        .then(|| format!("column `{name}` has an `encoding`, and format `{word}` holds bytes as they are; remove it"))
}

/// Returns an error if a binary time has no unit: it is a number.
fn binary_time(spec: &SourceSpec, column: &ColumnSpec) -> Option<String> {
    let binary = matches!(spec.format, Format::Binary { .. }) && column.kind == ColumnType::Timestamp;
    (binary && !matches!(column.form, TimeForm::Number(_))).then(|| {
        let name = column.name.escape_debug();
        format!(
            "column `{name}` is {}, and format `binary` holds times as integers; write their unit: timestamp(s), \
             timestamp(ms), timestamp(us) or timestamp(ns)",
            column.type_word()
        )
    })
}

fn format(spec: &SourceSpec, part: &PartErrors<'_>) {
    if spec.kind.declared().is_some_and(|config| !config.check_format(spec, part)) {
        return;
    }
    match (&spec.kind, &spec.format) {
        // The plugin says what its columns are.
        (SourceKind::Plugin(_), _) => {}
        (_, Format::Text) => {
            let is_text = |column: &ColumnSpec| {
                column.kind == ColumnType::Text || (column.kind == ColumnType::Binary && column.encoding.is_some())
            };
            if !matches!(spec.schema.as_slice(), [column] if is_text(column)) {
                let message = "format `text` has one column of type text; write schema = { line = \"text\" } to \
                               name it, or format = \"json\" or \"csv\" for several columns";
                part.wrong("schema", message);
            }
        }
        (_, Format::Json | Format::Csv { .. } | Format::Parquet | Format::Avro(_) | Format::Protobuf(_))
            if spec.schema.is_empty() =>
        {
            let word = spec.format.keyword();
            let message = format!(
                "format `{word}` needs its columns; write schema = {{ user = \"text\", amount = \"float64\" }}"
            );
            part.wrong("schema", message);
        }
        (_, Format::Json | Format::Parquet | Format::Avro(_) | Format::Protobuf(_)) => {
            parts::records::check(spec, part);
            for column in spec.schema.iter().filter(|c| c.path.is_empty() || c.path.iter().any(String::is_empty)) {
                let message =
                    format!("column `{}` has an empty `path`; write one, for example path = \"user.id\"", column.name);
                part.wrong(&format!("schema.{}", column.name), message);
            }
        }
        (_, Format::Csv { separator, .. }) => {
            if matches!(separator, b'"' | b'\n' | b'\r') || !separator.is_ascii() {
                part.wrong(
                    "separator",
                    "`separator` must not be a quote or a line break; write \",\", \";\" or \"\\t\"",
                );
            }
        }
        (_, Format::Binary { record_bytes }) => binary(spec, *record_bytes, part),
    }
}

/// Checks that the widths of the columns and the length of a record agree.
fn binary(spec: &SourceSpec, record_bytes: Option<u32>, part: &PartErrors<'_>) {
    use RecordBounds::{Body, Envelope, Prefix};
    let framed = matches!(spec.kind.bounds(), Prefix | Envelope | Body);
    let complete_record =
        matches!(spec.schema.as_slice(), [c] if matches!(c.kind, ColumnType::Text | ColumnType::Binary));
    let widths = row_bytes(&spec.schema);
    let loose = spec.schema.iter().find(|c| c.kind.fixed_bytes().is_none());
    if spec.schema.is_empty() {
        return part.wrong("schema", "the schema has no columns; write schema = { value = \"binary\" }, or remove it");
    }
    if let Some(column) = loose.filter(|_| !complete_record) {
        let message = format!(
            "column `{}` is {}, which has no fixed width: several columns of a binary record are of bool (1 \
             byte), int64, float64 and timestamp (8 bytes); write one of these, or a single binary column",
            column.name, column.kind
        );
        return part.wrong("schema", message);
    }
    match (record_bytes, widths) {
        (None, _) if !framed => {
            part.wrong("record_bytes", "format `binary` needs the length of a record; write record_bytes = 64");
        }
        (Some(bytes), Some(widths)) if bytes != widths => {
            let message = format!(
                "the columns take {widths} bytes and `record_bytes` is {bytes}; write record_bytes = \
                         {widths}, or columns for all bytes"
            );
            part.wrong("record_bytes", message);
        }
        (Some(bytes), _) if u64::from(bytes) > spec.record_bytes_max => {
            let most = spec.record_bytes_max;
            let message = format!(
                "`record_bytes` is {bytes}, more than `record_bytes_max`, {most}; raise \
                `record_bytes_max`"
            );
            part.wrong("record_bytes", message);
        }
        _ => {}
    }
}

fn sink(spec: &SinkSpec, part: &PartErrors<'_>) {
    if spec.encoding.is_some() && !spec.kind.is_text() {
        part.wrong("encoding", "`encoding` is for formats of text, and this one holds bytes as they are; remove it");
    }
    spec.kind.check(part);
}
