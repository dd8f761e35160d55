//! One sink of a job file.

use super::columns::encoding;
use super::stage::plugin::bare;
use crate::built;
use crate::job::connector::{Kinds, Nothing};
use crate::job::keys::{self, SINK_KINDS_LATER};
use crate::job::spec::{
    Compression, FileFormat, FilesLayout, FilesRoll, KafkaSinkSpec, PluginSinkSpec, RecordFormat, SinkKind, SinkSpec,
};
use crate::job::table::Reader;
use crate::limits;
use std::time::Duration;

/// Reads `[sinks.<name>]`.
pub(in crate::job) fn sink(name: String, r: &Reader<'_>, kinds: &Kinds) -> SinkSpec {
    r.need("from", "from = \"…\" with the name of a source or stage");
    let word = r.kind(&kinds.of_sinks(), SINK_KINDS_LATER);
    if let Some(absent) = word.and_then(|word| built::absent_kind(word, kinds.absent_sink(word))) {
        r.wrong("kind", absent);
    }
    r.check_keys(kinds.sink_keys(), keys::SINK_KEYS_LATER, word);
    let wants_changes = r.choice("changes", &[("rows", true)], &[]).unwrap_or_default();
    let from = r.texts("from", "from = \"words\" or from = [\"a\", \"b\"]").unwrap_or_default();
    let path = |example| {
        r.need("path", example);
        r.path("path", example).unwrap_or_default()
    };
    let formats = [
        ("json", FileFormat::Json),
        ("text", FileFormat::Text),
        ("csv", FileFormat::Csv),
        ("parquet", FileFormat::Parquet(Compression::Snappy)),
        ("avro", FileFormat::Avro),
    ];
    let declared = word.and_then(|word| kinds.sink(word));
    let kind = match word {
        _ if let Some(declaration) = declared => SinkKind::Declared((declaration.read)(r)),
        Some("files") => SinkKind::Files {
            path: path("path = \"output\""),
            format: compressed(r.choice("format", &formats, &["arrow", "orc"]), r),
            parts: r.parts_by(),
            layout: layout(r),
        },
        Some("delta") => SinkKind::Files {
            path: path("path = \"lake/orders\""),
            format: compressed(Some(FileFormat::Parquet(Compression::Snappy)), r),
            parts: r.parts_by(),
            layout: FilesLayout { delta: true, mode: r.table_mode(), ..layout(r) },
        },
        Some("queue") => SinkKind::Queue { path: path("path = \"out.jsonl\"") },
        Some("plugin") => SinkKind::Plugin(Box::new(plugin(r))),
        _ => SinkKind::from(Nothing),
    };
    SinkSpec { name, from, kind, wants_changes, encoding: encoding(r) }
}

fn plugin(r: &Reader<'_>) -> PluginSinkSpec {
    r.need("plugin", "plugin = \"plugins/ledger\"");
    let usual = PluginSinkSpec::new(bare(r));
    PluginSinkSpec {
        wait: r.time("wait").unwrap_or(usual.wait),
        reject: r.choice("on_error", &[("stop", false), ("reject", true)], &["skip", "fail"]).unwrap_or(false),
        ..usual
    }
}

/// A format of files, with `compression`.
fn compressed(format: Option<FileFormat>, r: &Reader<'_>) -> FileFormat {
    if !r.has("compression") {
        return format.unwrap_or(FileFormat::Json);
    }
    let by = r.choice("compression", &Compression::ALL, &[]);
    match format {
        Some(FileFormat::Parquet(usual)) => FileFormat::Parquet(by.unwrap_or(usual)),
        other => {
            // A format that could not be read is told by itself.
            if other.is_some() || !r.has("format") {
                let message = "`compression` of files is that of the pages of Parquet, and the format is another one; remove it, or \
                               write format = \"parquet\"";
                r.wrong("compression", message);
            }
            other.unwrap_or(FileFormat::Json)
        }
    }
}

/// `partition_by`, `roll`, `open_parts_max`
fn layout(r: &Reader<'_>) -> FilesLayout {
    let partition_by = r.texts("partition_by", "partition_by = [\"day\"], names of columns").unwrap_or_default();
    let roll = r.inner("roll", "roll = { size = \"128MiB\", time = \"5m\" }").map(|roll| {
        roll.check_keys(keys::ROLL, &[], None);
        let bytes = roll.size("size", limits::ROLL_BYTES_MIN, limits::ROLL_BYTES_MAX);
        FilesRoll {
            bytes: bytes.unwrap_or(limits::ROLL_BYTES),
            time: roll.time("time").unwrap_or(Duration::from_millis(limits::ROLL_MS)),
        }
    });
    let open = r.whole("open_parts_max", 1, limits::OPEN_PARTS_MAX).and_then(|most| usize::try_from(most).ok());
    if open.is_some() && roll.is_none() {
        r.wrong("open_parts_max", "`open_parts_max` is for files that `roll`; write that, or remove it");
    }
    FilesLayout { partition_by, roll, open_parts_max: open.unwrap_or(limits::OPEN_PARTS), ..FilesLayout::default() }
}
