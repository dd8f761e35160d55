//! Rows that replace or delete the rows of their keys in a table.
//!
//! The parts of the sink contain changes: rows in order, each with its operation. They are not files of the table. When they are complete,
//! the last row of each key wins. Every file of the table that contains one of the keys is rewritten without it (*copy on write*, like
//! `MERGE INTO` of other engines). All of that is one commit, for one version of the table. If another writer creates that version first,
//! the merge is repeated for the next one.

use super::log::{DataFile, Table};
use crate::files::settings::FilesLayout;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use millstream_base::panics::caught;
use millstream_connect::sink::encode::Encoder;
use millstream_job::spec::TableMode;
use millstream_rows::batch::keys::Keys;
use millstream_rows::batch::op::{self, Op};
use millstream_rows::batch::types::ColumnType;
use millstream_rows::formats::FileFormat;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;

/// Rows that are read at a time.
const ROWS: usize = 8_192;
/// Longer strings are not recorded as the minimum or maximum of a file.
const BOUND_BYTES_MAX: usize = 64;

/// How rows replace others.
#[derive(Clone, Debug)]
pub struct MergeSettings {
    pub key: Vec<String>,
    pub op: Option<String>,
}

impl MergeSettings {
    /// Returns how a sink's rows replace others; `None` if they are appended.
    pub fn from_layout(layout: &FilesLayout) -> Option<MergeSettings> {
        match &layout.mode {
            TableMode::Append => None,
            TableMode::Upsert { key, op } => Some(MergeSettings { key: key.clone(), op: op.clone() }),
        }
    }

    /// Returns the columns of the table that these rows set. The error is a key of the job file and what is wrong with it.
    pub fn columns_written(&self, rows: &Schema) -> Result<SchemaRef, (&'static str, String)> {
        let written = op::columns_written(rows, &self.key, self.op.as_deref())?;
        let is_kept = |name: &&String| {
            written.field_with_name(name).is_ok_and(|field| ColumnType::from_arrow(field.data_type()).is_kept())
        };
        match self.key.iter().find(|name| !is_kept(name)) {
            Some(name) => {
                Err(("key", format!("column `{name}` of `key` has a type that cannot be a key; write another column")))
            }
            None => Ok(written),
        }
    }
}

/// The result of merging parts: the last row of each key.
pub struct MergedParts<'a> {
    merging: &'a MergeSettings,
    /// The columns of the table that the rows set.
    columns: SchemaRef,
    parts: Vec<Bytes>,
    /// Whether all earlier rows of the table are deleted.
    truncated: bool,
    /// The index of the last row of each key among all rows of the parts; `None`: it is deleted.
    last: HashMap<Box<[u8]>, Option<usize>>,
    /// The minimum and maximum of the first key column.
    bounds: Bounds,
}

impl<'a> MergedParts<'a> {
    /// Reads the parts in order. An error says what is wrong with them.
    pub fn read(merging: &'a MergeSettings, columns: SchemaRef, parts: Vec<Bytes>) -> Result<MergedParts<'a>, String> {
        let (mut truncated, mut last, mut bounds) = (false, HashMap::new(), Bounds::default());
        let mut row_of_all = 0;
        let target: Vec<&str> = merging.key.iter().chain(&merging.op).map(String::as_str).collect();
        for part in &parts {
            for rows in reader(part, Some(&target))? {
                let rows = rows.map_err(message)?;
                let keys = keys_of(merging, &columns, &rows)?;
                bounds.add(&first_of_key(merging, &columns, &rows)?);
                let ops = merging.op.as_ref().map(|op| {
                    let column = rows.column_by_name(op).and_then(|column| column.as_string_opt::<i32>());
                    column.ok_or_else(|| format!("column `{op}` of type text not found"))
                });
                let ops = ops.transpose()?;
                for row in 0..rows.num_rows() {
                    let key = keys.view().get(row);
                    match Op::of_row(ops, row)? {
                        Op::Write => drop(last.insert(key.into(), Some(row_of_all))),
                        Op::Delete => drop(last.insert(key.into(), None)),
                        Op::Truncate => {
                            truncated = true;
                            last.clear();
                        }
                    }
                    row_of_all += 1;
                }
            }
        }
        Ok(MergedParts { merging, columns, parts, truncated, last, bounds })
    }

    /// Whether a file of the table may contain one of the keys, by its statistics in the log.
    fn may_touch(&self, file: &DataFile) -> bool {
        let statistics: Option<Value> = file.stats.as_deref().and_then(|stats| serde_json::from_str(stats).ok());
        let first = self.merging.key.first();
        let (Some(statistics), Some(first)) = (statistics, first) else { return true };
        let nulls = statistics["nullCount"][first].as_u64();
        self.bounds.may_contain(&statistics["minValues"][first], &statistics["maxValues"][first], nulls != Some(0))
    }

    /// Writes the last rows of all keys. Returns their number.
    pub fn write(&self, to: &mut NewFile) -> Result<(), String> {
        let mut row_of_all = 0;
        let mut counts: Vec<usize> = self.last.values().flatten().copied().collect();
        counts.sort_unstable();
        let mut counts = counts.into_iter().peekable();
        for part in &self.parts {
            for rows in reader(part, None)? {
                let rows = rows.map_err(message)?;
                let last: BooleanArray = (0..rows.num_rows())
                    .map(|row| Some(counts.next_if(|last| *last == row_of_all + row).is_some()))
                    .collect();
                row_of_all += rows.num_rows();
                if last.true_count() > 0 {
                    let rows = filter_record_batch(&rows, &last).map_err(message)?;
                    to.add(&select_columns(&self.columns, &rows)?, self)?;
                }
            }
        }
        Ok(())
    }

    /// Returns which rows of a table's file none of the changes replaces.
    pub fn remaining_rows(
        &self,
        file: &DataFile,
        read: impl FnOnce() -> Result<Bytes, String>,
    ) -> Result<RemainingRows, String> {
        if self.truncated {
            return Ok(RemainingRows::Nothing);
        }
        if !self.may_touch(file) {
            return Ok(RemainingRows::All);
        }
        let bytes = read()?;
        let names: Vec<&str> = self.merging.key.iter().map(String::as_str).collect();
        let mut remaining = Vec::new();
        for rows in reader(&bytes, Some(&names))? {
            let keys = keys_of(self.merging, &self.columns, &rows.map_err(message)?)?;
            let view = keys.view();
            remaining.extend((0..view.rows()).map(|row| !self.last.contains_key(view.get(row))));
        }
        let staying = remaining.iter().filter(|remaining| **remaining).count();
        Ok(match staying {
            all if all == remaining.len() => RemainingRows::All,
            0 => RemainingRows::Nothing,
            _ => RemainingRows::Some { bytes, remaining },
        })
    }

    /// Rewrites a file of the table with the remaining rows.
    pub fn rewrite(
        &self,
        table: &Table,
        (bytes, remaining): (&Bytes, &[bool]),
        to: &mut NewFile,
    ) -> Result<(), String> {
        let (types, mut before) = (table.column_types(), 0);
        for rows in reader(bytes, None)? {
            let rows = rows.map_err(message)?;
            let of_these =
                remaining.get(before..before + rows.num_rows()).ok_or("it has other rows than a moment ago")?;
            before += rows.num_rows();
            let rows = filter_record_batch(&rows, &BooleanArray::from(of_these.to_vec())).map_err(message)?;
            to.add(&for_rewrite(&types, &rows)?, self)?;
        }
        Ok(())
    }
}

/// Which rows of a file of the table remain after a merge.
pub enum RemainingRows {
    /// The file is unchanged.
    All,
    /// No row remains.
    Nothing,
    /// These rows remain.
    Some { bytes: Bytes, remaining: Vec<bool> },
}

/// A file of the table that is being written.
pub struct NewFile {
    format: FileFormat,
    /// `None` after the first write.
    file: Option<File>,
    encoder: Option<Encoder<BufWriter<File>>>,
    rows: usize,
    bounds: Bounds,
}

impl NewFile {
    /// Creates a file of the table in this empty file.
    pub fn new(format: FileFormat, file: File) -> NewFile {
        NewFile { format, file: Some(file), encoder: None, rows: 0, bounds: Bounds::default() }
    }

    fn add(&mut self, rows: &RecordBatch, changes: &MergedParts<'_>) -> Result<(), String> {
        if let Some(file) = self.file.take() {
            self.encoder = Some(Encoder::begin(self.format, rows.schema_ref(), BufWriter::new(file)).map_err(message)?);
        }
        let Some(encoder) = &mut self.encoder else { return Err("it could not be started".into()) };
        self.bounds.add(&first_of_key(changes.merging, &changes.columns, rows)?);
        self.rows += rows.num_rows();
        encoder.add(std::slice::from_ref(rows)).map_err(message)
    }

    /// Completes the file; `None` if it has no rows.
    pub fn finish(self) -> Result<Option<(File, usize, Bounds)>, String> {
        let Some(encoder) = self.encoder else { return Ok(None) };
        let out = encoder.finish().map_err(message)?;
        Ok(Some((out.into_inner().map_err(message)?, self.rows, self.bounds)))
    }
}

/// The minimum and the maximum of a column of integers or strings.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    numbers: Option<(i64, i64)>,
    strings: Option<(String, String)>,
    nulls: bool,
    /// Whether there were values of another type, or long ones.
    others: bool,
}

impl Bounds {
    fn add(&mut self, column: &ArrayRef) {
        self.nulls |= column.null_count() > 0;
        if let Some(numbers) = column.as_primitive_opt::<arrow::datatypes::Int64Type>() {
            for number in numbers.iter().flatten() {
                let (min, max) = self.numbers.get_or_insert((number, number));
                (*min, *max) = ((*min).min(number), (*max).max(number));
            }
        } else if let Some(strings) = column.as_string_opt::<i32>() {
            for text in strings.iter().flatten() {
                self.others |= text.len() > BOUND_BYTES_MAX;
                let Some((min, max)) = &mut self.strings else {
                    self.strings = Some((text.to_owned(), text.to_owned()));
                    continue;
                };
                if text < min.as_str() {
                    text.clone_into(min);
                } else if text > max.as_str() {
                    text.clone_into(max);
                }
            }
        } else {
            self.others = true;
        }
    }

    /// Returns the statistics of a file with these values of a column.
    pub fn stats(&self, column: &str, rows: usize) -> Value {
        let mut statistics = json!({ "numRecords": rows });
        let bounds = match (&self.numbers, &self.strings) {
            (Some((min, max)), None) => Some((Value::from(*min), Value::from(*max))),
            (None, Some((min, max))) => Some((Value::from(min.as_str()), Value::from(max.as_str()))),
            _ => None,
        };
        if let Some((min, max)) = bounds.filter(|_| !self.others && !self.nulls) {
            statistics["minValues"] = json!({ column: min });
            statistics["maxValues"] = json!({ column: max });
            statistics["nullCount"] = json!({ column: 0 });
        }
        statistics
    }

    /// Whether a file with these statistics may contain one of the values.
    fn may_contain(&self, min: &Value, max: &Value, nulls: bool) -> bool {
        if self.others || (self.nulls && nulls) {
            return true;
        }
        match (&self.numbers, &self.strings, min, max) {
            (None, None, ..) => self.nulls,
            (Some((first, last)), None, min, max) => match (min.as_i64(), max.as_i64()) {
                (Some(min), Some(max)) => *first <= max && *last >= min,
                _ => true,
            },
            (None, Some((first, last)), Value::String(min), Value::String(max)) => first <= max && last >= min,
            _ => true,
        }
    }
}

/// Returns a reader of a file's rows, with all columns or only these.
fn reader(
    bytes: &Bytes,
    columns: Option<&[&str]>,
) -> Result<impl Iterator<Item = Result<RecordBatch, String>>, String> {
    let open = || -> Result<ParquetRecordBatchReader, String> {
        // Uses the file's own types instead of the Arrow schema that its writer stored for other programs.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let mut builder =
            ParquetRecordBatchReaderBuilder::try_new_with_options(bytes.clone(), options).map_err(message)?;
        if let Some(columns) = columns {
            let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
            builder = builder.with_projection(mask);
        }
        builder.with_batch_size(ROWS).build().map_err(message)
    };
    // The library may panic on a damaged file.
    let mut rows = caught(open)??;
    Ok(std::iter::from_fn(move || match caught(|| rows.next()) {
        Ok(next) => next.map(|rows| rows.map_err(message)),
        Err(panic) => Some(Err(panic)),
    }))
}

/// Returns a column of rows with the type it has among the written columns. In files older than the column its values are null.
fn written_column(columns: &Schema, rows: &RecordBatch, name: &str) -> Result<ArrayRef, String> {
    let target = columns.field_with_name(name).map_err(message)?.data_type();
    rows.column_by_name(name)
        .map_or_else(|| Ok(new_null_array(target, rows.num_rows())), |column| cast_to(column, target))
}

/// Casts a column to another type, if its values allow it.
fn cast_to(column: &ArrayRef, target: &DataType) -> Result<ArrayRef, String> {
    if column.data_type() == target {
        return Ok(column.clone());
    }
    let cast = caught(|| cast(column, target))?.map_err(message)?;
    if cast.null_count() != column.null_count() {
        return Err(format!("it has values that are not of type {target}"));
    }
    Ok(cast)
}

fn keys_of(merging: &MergeSettings, columns: &Schema, rows: &RecordBatch) -> Result<Keys, String> {
    let key: Vec<ArrayRef> =
        merging.key.iter().map(|name| written_column(columns, rows, name)).collect::<Result<_, String>>()?;
    Keys::encode(&key, rows.num_rows()).map_err(message)
}

fn first_of_key(merging: &MergeSettings, columns: &Schema, rows: &RecordBatch) -> Result<ArrayRef, String> {
    let first = merging.key.first().ok_or("the table has no key")?;
    written_column(columns, rows, first)
}

/// Returns the rows with only these columns.
fn select_columns(columns: &SchemaRef, rows: &RecordBatch) -> Result<RecordBatch, String> {
    let all = columns.fields().iter().map(|field| written_column(columns, rows, field.name()));
    RecordBatch::try_new(columns.clone(), all.collect::<Result<_, String>>()?).map_err(message)
}

/// Converts rows of a table's file for rewriting. Timestamps of files that Spark wrote have nanoseconds; those of this sink have
/// microseconds.
fn for_rewrite(types: &BTreeMap<String, String>, rows: &RecordBatch) -> Result<RecordBatch, String> {
    let mut fields = Vec::new();
    let mut all = Vec::new();
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let zone = match types.get(field.name()).map(String::as_str) {
            Some("timestamp") => Some(Some(Arc::from("UTC"))),
            Some("timestamp_ntz") => Some(None),
            _ => None,
        };
        let column = match zone {
            Some(zone) => cast_to(column, &DataType::Timestamp(TimeUnit::Microsecond, zone))?,
            None if has_nanoseconds(field.data_type()) => {
                return Err(format!(
                    "column `{}` has nested nanosecond times, which this version cannot rewrite",
                    field.name()
                ));
            }
            None => column.clone(),
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), field.is_nullable()));
        all.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), all).map_err(message)
}

fn has_nanoseconds(kind: &DataType) -> bool {
    match kind {
        DataType::Timestamp(unit, _) => *unit == TimeUnit::Nanosecond,
        DataType::List(inner) | DataType::Map(inner, _) => has_nanoseconds(inner.data_type()),
        DataType::Struct(inner) => inner.iter().any(|field| has_nanoseconds(field.data_type())),
        _ => false,
    }
}

fn message(cause: impl std::fmt::Display) -> String {
    cause.to_string()
}
