//! Checkpoints of a log: Parquet files that contain the state of the table at a version, so that readers need not read earlier commits.

use super::log::{self, Checkpoint, LAST_CHECKPOINT, Table};
use crate::files::sink::destination::Destination;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::ReaderBuilder;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use millstream_base::panics::caught;
use millstream_base::retry::StoreError;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;

/// Actions that are built and written at a time.
const ROWS: usize = 1_024;
/// How long removed files are listed, if the table does not set it.
const TOMBSTONES_MS: i64 = 30 * 24 * 3_600 * 1_000;
/// Derived columns that other writers add.
const DERIVED: [&str; 2] = ["stats_parsed", "partitionValues_parsed"];

/// Which actions of a checkpoint are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The actions about the table itself.
    Table,
    /// All actions.
    All,
}

/// Returns the columns of a checkpoint file.
fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let long = |name: &str| Field::new(name, DataType::Int64, true);
    let integer = |name: &str| Field::new(name, DataType::Int32, true);
    let flag = |name: &str| Field::new(name, DataType::Boolean, true);
    let list = |name: &str| Field::new_list(name, Field::new("element", DataType::Utf8, true), true);
    let map = |name: &str| {
        let (key, value) = (Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true));
        Field::new_map(name, "key_value", key, value, false, true)
    };
    let group = |name: &str, fields: Vec<Field>| Field::new_struct(name, fields, true);
    Arc::new(Schema::new(vec![
        group("txn", vec![text("appId"), long("version"), long("lastUpdated")]),
        group(
            "add",
            vec![
                text("path"),
                map("partitionValues"),
                long("size"),
                long("modificationTime"),
                flag("dataChange"),
                text("stats"),
                map("tags"),
            ],
        ),
        group(
            "remove",
            vec![
                text("path"),
                long("deletionTimestamp"),
                flag("dataChange"),
                flag("extendedFileMetadata"),
                map("partitionValues"),
                long("size"),
            ],
        ),
        group(
            "metaData",
            vec![
                text("id"),
                text("name"),
                text("description"),
                group("format", vec![text("provider"), map("options")]),
                text("schemaString"),
                list("partitionColumns"),
                map("configuration"),
                long("createdTime"),
            ],
        ),
        group(
            "protocol",
            vec![
                integer("minReaderVersion"),
                integer("minWriterVersion"),
                list("readerFeatures"),
                list("writerFeatures"),
            ],
        ),
    ]))
}

/// Passes the actions of a file to `take`, each as an object with one member. An error says what is wrong with the file.
pub fn read(bytes: Vec<u8>, part: Part, mut take: impl FnMut(Value) -> Result<(), String>) -> Result<(), String> {
    // The library may panic on a damaged file.
    let reading = || -> Result<(), String> {
        let message = |cause: &dyn std::fmt::Display| format!("it cannot be read: {cause}");
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes::Bytes::from(bytes), options);
        let builder = builder.map_err(|cause| message(&cause))?;
        let leaves = builder.parquet_schema();
        let wanted = (0..leaves.num_columns()).filter(|at| {
            let column = leaves.column(*at);
            let path = column.path().parts();
            let about_table = ["txn", "protocol", "metaData"].contains(&path[0].as_str());
            let known = about_table || ["add", "remove"].contains(&path[0].as_str()) && part == Part::All;
            known && !path.get(1).is_some_and(|name| DERIVED.contains(&name.as_str()))
        });
        let mask = ProjectionMask::leaves(leaves, wanted.collect::<Vec<_>>());
        let rows = builder.with_projection(mask).with_batch_size(ROWS).build().map_err(|cause| message(&cause))?;
        for rows in rows {
            let rows = rows.map_err(|cause| message(&cause))?;
            if rows.columns().iter().all(|column| column.null_count() == rows.num_rows()) {
                continue;
            }
            for action in actions(&rows).map_err(|cause| message(&cause))? {
                take(action)?;
            }
        }
        Ok(())
    };
    caught(reading).map_err(|panic| format!("it cannot be read: {panic}"))?
}

/// Converts rows to objects, without top-level nulls.
fn actions(rows: &RecordBatch) -> Result<Vec<Value>, String> {
    let message = |cause: &dyn std::fmt::Display| cause.to_string();
    let mut lines = Vec::new();
    // A partition value of null must stay in its map.
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut lines);
    writer.write(rows).and_then(|()| writer.finish()).map_err(|cause| message(&cause))?;
    drop(writer);
    let mut actions = Vec::with_capacity(rows.num_rows());
    for line in log::lines(&lines) {
        let mut action: Value = serde_json::from_slice(line).map_err(|cause| message(&cause))?;
        if let Some(members) = action.as_object_mut() {
            members.retain(|_, value| !value.is_null());
            if !members.is_empty() {
                actions.push(action);
            }
        }
    }
    Ok(actions)
}

/// Selects the actions that are in effect, when the newest come first.
struct NewestActions {
    /// Decoded paths, as the writer that removes a file may encode its path differently from the writer that added it.
    paths: HashSet<Vec<u8>>,
    apps: HashSet<Vec<u8>>,
    metadata: bool,
    protocol: bool,
    /// Removals before this time are dropped.
    since_ms: i64,
}

impl NewestActions {
    fn removed_since(since_ms: i64) -> NewestActions {
        NewestActions { paths: HashSet::new(), apps: HashSet::new(), metadata: false, protocol: false, since_ms }
    }

    /// Returns what a checkpoint contains of an action; `None` if nothing. Nothing has to be kept of actions that are older than all
    /// others.
    fn checkpoint_action(&mut self, action: &Value, oldest: bool) -> Option<Value> {
        let (name, content) = action.as_object()?.iter().next()?;
        let first =
            |seen: &mut HashSet<Vec<u8>>, key: Vec<u8>| if oldest { !seen.contains(&key) } else { seen.insert(key) };
        let path = || percent_decode_str(content["path"].as_str().unwrap_or_default()).collect();
        let counts = match name.as_str() {
            "add" => first(&mut self.paths, path()),
            "remove" => {
                let newer = first(&mut self.paths, path());
                newer && content["deletionTimestamp"].as_i64().unwrap_or(0) >= self.since_ms
            }
            "txn" => first(&mut self.apps, content["appId"].as_str().unwrap_or_default().into()),
            "metaData" => !std::mem::replace(&mut self.metadata, true),
            "protocol" => !std::mem::replace(&mut self.protocol, true),
            _ => false,
        };
        let mut kept = counts.then(|| action.clone())?;
        if let Some(change) = kept[name.as_str()].get_mut("dataChange") {
            *change = Value::Bool(false);
        }
        Some(kept)
    }
}

/// Writes the checkpoint of a table's version from the previous one and the commits after it, first under a hidden name.
pub fn write(
    destination: &dyn Destination,
    table: &Table,
    before: Option<&Checkpoint>,
    hidden: &str,
    now_ms: i64,
) -> Result<Checkpoint, StoreError> {
    let version = table.version;
    let failed = |why: String| log::permanent_error(destination, format!("a checkpoint cannot be written: {why}"));
    let since_ms = if table.keeps_tombstones() { i64::MIN } else { now_ms.saturating_sub(TOMBSTONES_MS) };
    let mut newest = NewestActions::removed_since(since_ms);
    let mut writing = GrowingCheckpoint::begin(destination, hidden)?;
    let first = before.map_or(0, |before| before.version + 1);
    for version in (first..=version).rev() {
        let name = log::commit_name(version);
        let commit = destination.read(&name)?.ok_or_else(|| failed(format!("{name} does not exist")))?;
        for line in log::lines(&commit) {
            let action: Value = serde_json::from_slice(line).map_err(|cause| failed(format!("{name}: {cause}")))?;
            if let Some(kept) = newest.checkpoint_action(&action, false) {
                writing.add(kept).map_err(&failed)?;
            }
        }
    }
    for file in before.iter().flat_map(|before| &before.files) {
        let bytes = destination.read(file)?.ok_or_else(|| failed(format!("{file} does not exist")))?;
        let read = read(bytes, Part::All, |action| match newest.checkpoint_action(&action, true) {
            Some(kept) => writing.add(kept),
            None => Ok(()),
        });
        read.map_err(|why| failed(format!("{file}: {why}")))?;
    }
    let (mut file, size) = writing.finish().map_err(failed)?;
    destination.stage(hidden, &mut file)?;
    let name = format!("{}/{version:020}.checkpoint.parquet", log::DIR);
    destination.show(hidden, &name)?;
    // Meanwhile, readers search for the newest checkpoint themselves.
    destination.remove(LAST_CHECKPOINT)?;
    destination.create(LAST_CHECKPOINT, json!({ "version": version, "size": size }).to_string().into_bytes())?;
    Ok(Checkpoint { version, files: vec![name] })
}

/// A checkpoint that is being written.
struct GrowingCheckpoint {
    file: ArrowWriter<BufWriter<File>>,
    actions: Vec<Value>,
    size: usize,
}

impl GrowingCheckpoint {
    fn begin(destination: &dyn Destination, hidden: &str) -> Result<GrowingCheckpoint, StoreError> {
        let file = BufWriter::new(destination.begin(hidden)?);
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let file = ArrowWriter::try_new(file, schema(), Some(properties));
        let file = file
            .map_err(|cause| log::permanent_error(destination, format!("a checkpoint cannot be written: {cause}")))?;
        Ok(GrowingCheckpoint { file, actions: Vec::new(), size: 0 })
    }

    fn add(&mut self, action: Value) -> Result<(), String> {
        self.actions.push(action);
        self.size += 1;
        if self.actions.len() >= ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), String> {
        let mut decoder = ReaderBuilder::new(schema()).with_batch_size(ROWS).build_decoder().map_err(message)?;
        decoder.serialize(&self.actions).map_err(message)?;
        self.actions.clear();
        match decoder.flush().map_err(message)? {
            Some(rows) => self.file.write(&rows).map_err(message),
            None => Ok(()),
        }
    }

    fn finish(mut self) -> Result<(File, usize), String> {
        self.flush()?;
        let out = self.file.into_inner().map_err(message)?;
        Ok((out.into_inner().map_err(message)?, self.size))
    }
}

fn message(cause: impl std::fmt::Display) -> String {
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_same_file_however_it_is_written() {
        for oldest in [false, true] {
            let mut newest = NewestActions::removed_since(0);
            let mut counts = |name: &str, path: &str, oldest: bool| {
                let kept =
                    newest.checkpoint_action(&json!({ name: { "path": path, "deletionTimestamp": 1 } }), oldest)?;
                Some(kept[name]["path"].as_str().unwrap_or_default().to_owned())
            };
            assert_eq!(counts("remove", "k=a,b c/1", false).as_deref(), Some("k=a,b c/1"));
            assert_eq!(counts("add", "k=a%2Cb%20c/1", oldest), None, "the file that is removed");
            // A directory whose name contains such characters is a different one; the path is kept as it was written.
            assert_eq!(counts("add", "k=a%252Cb%20c/1", oldest).as_deref(), Some("k=a%252Cb%20c/1"));
            assert_eq!(counts("add", "%FF", oldest).as_deref(), Some("%FF"), "no text");
            assert_eq!(counts("add", "%FE", oldest).as_deref(), Some("%FE"), "another one");
        }
    }
}
