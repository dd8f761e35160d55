//! Rows that replace those of their key in a table, or delete them.
//!
//! The parts of the sink hold what came: rows in order, with what each does. They are no files of the table. When they are complete, the last row
//! of each key counts, and every file of the table that has one of the keys is written anew without it (*copy on write*, as `MERGE INTO` of
//! others does it). All of that is one commit, for one version of the table: where somebody else makes that version, it is done again for the
//! next one.

use super::log::{DataFile, Table};
use crate::files::settings::FilesLayout;
use crate::sink::encode::Encoder;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use millstream_base::batch::keys::Keys;
use millstream_base::batch::op::{self, Op};
use millstream_base::batch::types::ColumnType;
use millstream_base::job::spec::{FileFormat, TableMode};
use millstream_base::panics::caught;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;

/// Rows that are read at a time.
const ROWS: usize = 8_192;
/// Longer texts are not told as the smallest or largest of a file.
const BOUND_BYTES_MAX: usize = 64;

/// How rows replace others.
#[derive(Clone, Debug)]
pub struct Merging {
    pub key: Vec<String>,
    pub op: Option<String>,
}

impl Merging {
    /// That of a sink; `None`: its rows are added.
    pub fn of(layout: &FilesLayout) -> Option<Merging> {
        match &layout.mode {
            TableMode::Append => None,
            TableMode::Upsert { key, op } => Some(Merging { key: key.clone(), op: op.clone() }),
        }
    }

    /// The columns of the table that these rows are for. The error is a key of the job file and what is wrong with it.
    pub fn columns_written(&self, rows: &Schema) -> Result<SchemaRef, (&'static str, String)> {
        let written = op::columns_written(rows, &self.key, self.op.as_deref())?;
        let is_kept = |name: &&String| {
            written.field_with_name(name).is_ok_and(|field| ColumnType::of(field.data_type()).is_kept())
        };
        match self.key.iter().find(|name| !is_kept(name)) {
            Some(name) => {
                Err(("key", format!("column `{name}` of `key` has a type that makes no key; write another column")))
            }
            None => Ok(written),
        }
    }
}

/// What parts come to: of each key the last row.
pub struct MergedParts<'a> {
    merging: &'a Merging,
    /// The columns of the table that rows are for.
    columns: SchemaRef,
    parts: Vec<Bytes>,
    /// All rows of the table from before are gone.
    truncated: bool,
    /// Where the last row of each key is among all rows of the parts; `None`: it is deleted.
    last: HashMap<Box<[u8]>, Option<usize>>,
    /// The smallest and largest value of the first column of the key.
    bounds: Bounds,
}

impl<'a> MergedParts<'a> {
    /// Reads the parts, in their order. An error says what is wrong with them.
    pub fn read(merging: &'a Merging, columns: SchemaRef, parts: Vec<Bytes>) -> Result<MergedParts<'a>, String> {
        let (mut truncated, mut last, mut bounds) = (false, HashMap::new(), Bounds::default());
        let mut row_of_all = 0;
        let wanted: Vec<&str> = merging.key.iter().chain(&merging.op).map(String::as_str).collect();
        for part in &parts {
            for rows in reader(part, Some(&wanted))? {
                let rows = rows.map_err(told)?;
                let keys = keys_of(merging, &columns, &rows)?;
                bounds.add(&first_of_key(merging, &columns, &rows)?);
                let words = merging.op.as_ref().map(|op| {
                    let column = rows.column_by_name(op).and_then(|column| column.as_string_opt::<i32>());
                    column.ok_or_else(|| format!("there is no column `{op}` of type text"))
                });
                let words = words.transpose()?;
                for row in 0..rows.num_rows() {
                    let key = keys.view().get(row);
                    match Op::of_row(words, row)? {
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

    /// Whether a file of the table may have one of the keys, by what the log says of it.
    fn may_touch(&self, file: &DataFile) -> bool {
        let said: Option<Value> = file.stats.as_deref().and_then(|stats| serde_json::from_str(stats).ok());
        let first = self.merging.key.first();
        let (Some(said), Some(first)) = (said, first) else { return true };
        let nulls = said["nullCount"][first].as_u64();
        self.bounds.may_meet(&said["minValues"][first], &said["maxValues"][first], nulls != Some(0))
    }

    /// Writes the last rows of all keys. How many there are.
    pub fn write(&self, to: &mut NewFile) -> Result<(), String> {
        let mut row_of_all = 0;
        let mut counts: Vec<usize> = self.last.values().flatten().copied().collect();
        counts.sort_unstable();
        let mut counts = counts.into_iter().peekable();
        for part in &self.parts {
            for rows in reader(part, None)? {
                let rows = rows.map_err(told)?;
                let last: BooleanArray = (0..rows.num_rows())
                    .map(|row| Some(counts.next_if(|last| *last == row_of_all + row).is_some()))
                    .collect();
                row_of_all += rows.num_rows();
                if last.true_count() > 0 {
                    let rows = filter_record_batch(&rows, &last).map_err(told)?;
                    to.add(&as_columns(&self.columns, &rows)?, self)?;
                }
            }
        }
        Ok(())
    }

    /// Of a file of the table: the rows that none of the changes replaces.
    pub fn what_stays(
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
        let mut stays = Vec::new();
        for rows in reader(&bytes, Some(&names))? {
            let keys = keys_of(self.merging, &self.columns, &rows.map_err(told)?)?;
            let view = keys.view();
            stays.extend((0..view.rows()).map(|row| !self.last.contains_key(view.get(row))));
        }
        let staying = stays.iter().filter(|stays| **stays).count();
        Ok(match staying {
            all if all == stays.len() => RemainingRows::All,
            0 => RemainingRows::Nothing,
            _ => RemainingRows::Some { bytes, stays },
        })
    }

    /// Writes a file of the table anew, with the rows that stay.
    pub fn rewrite(&self, table: &Table, (bytes, stays): (&Bytes, &[bool]), to: &mut NewFile) -> Result<(), String> {
        let (types, mut before) = (table.column_types(), 0);
        for rows in reader(bytes, None)? {
            let rows = rows.map_err(told)?;
            let of_these = stays.get(before..before + rows.num_rows()).ok_or("it has other rows than a moment ago")?;
            before += rows.num_rows();
            let rows = filter_record_batch(&rows, &BooleanArray::from(of_these.to_vec())).map_err(told)?;
            to.add(&as_table(&types, &rows)?, self)?;
        }
        Ok(())
    }
}

/// Which rows of a file of the table remain after a merge.
pub enum RemainingRows {
    /// It stays as it is.
    All,
    /// No row of it stays.
    Nothing,
    /// These rows stay.
    Some { bytes: Bytes, stays: Vec<bool> },
}

/// A file of the table that is being written.
pub struct NewFile {
    format: FileFormat,
    /// Nobody has written anything into it.
    file: Option<File>,
    encoder: Option<Encoder<BufWriter<File>>>,
    rows: usize,
    bounds: Bounds,
}

impl NewFile {
    /// Into this file, which is empty.
    pub fn new(format: FileFormat, file: File) -> NewFile {
        NewFile { format, file: Some(file), encoder: None, rows: 0, bounds: Bounds::default() }
    }

    fn add(&mut self, rows: &RecordBatch, changes: &MergedParts<'_>) -> Result<(), String> {
        if let Some(file) = self.file.take() {
            self.encoder = Some(Encoder::begin(self.format, rows.schema_ref(), BufWriter::new(file)).map_err(told)?);
        }
        let Some(encoder) = &mut self.encoder else { return Err("it could not be begun".into()) };
        self.bounds.add(&first_of_key(changes.merging, &changes.columns, rows)?);
        self.rows += rows.num_rows();
        encoder.add(std::slice::from_ref(rows)).map_err(told)
    }

    /// The file, whole; `None`: it has no rows.
    pub fn finish(self) -> Result<Option<(File, usize, Bounds)>, String> {
        let Some(encoder) = self.encoder else { return Ok(None) };
        let out = encoder.finish().map_err(told)?;
        Ok(Some((out.into_inner().map_err(told)?, self.rows, self.bounds)))
    }
}

/// The smallest and the largest value of a column of whole numbers or texts.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    numbers: Option<(i64, i64)>,
    texts: Option<(String, String)>,
    nulls: bool,
    /// There were values of another type, or long ones.
    others: bool,
}

impl Bounds {
    fn add(&mut self, column: &ArrayRef) {
        self.nulls |= column.null_count() > 0;
        if let Some(numbers) = column.as_primitive_opt::<arrow::datatypes::Int64Type>() {
            for number in numbers.iter().flatten() {
                let (least, most) = self.numbers.get_or_insert((number, number));
                (*least, *most) = ((*least).min(number), (*most).max(number));
            }
        } else if let Some(texts) = column.as_string_opt::<i32>() {
            for text in texts.iter().flatten() {
                self.others |= text.len() > BOUND_BYTES_MAX;
                let Some((least, most)) = &mut self.texts else {
                    self.texts = Some((text.to_owned(), text.to_owned()));
                    continue;
                };
                if text < least.as_str() {
                    text.clone_into(least);
                } else if text > most.as_str() {
                    text.clone_into(most);
                }
            }
        } else {
            self.others = true;
        }
    }

    /// What the log says of a file with these values of a column.
    pub fn stats(&self, column: &str, rows: usize) -> Value {
        let mut said = json!({ "numRecords": rows });
        let bounds = match (&self.numbers, &self.texts) {
            (Some((least, most)), None) => Some((Value::from(*least), Value::from(*most))),
            (None, Some((least, most))) => Some((Value::from(least.as_str()), Value::from(most.as_str()))),
            _ => None,
        };
        if let Some((least, most)) = bounds.filter(|_| !self.others && !self.nulls) {
            said["minValues"] = json!({ column: least });
            said["maxValues"] = json!({ column: most });
            said["nullCount"] = json!({ column: 0 });
        }
        said
    }

    /// Whether one of these values may be in a file of which this is said.
    fn may_meet(&self, least: &Value, most: &Value, nulls: bool) -> bool {
        if self.others || (self.nulls && nulls) {
            return true;
        }
        match (&self.numbers, &self.texts, least, most) {
            (None, None, ..) => self.nulls,
            (Some((first, last)), None, least, most) => match (least.as_i64(), most.as_i64()) {
                (Some(least), Some(most)) => *first <= most && *last >= least,
                _ => true,
            },
            (None, Some((first, last)), Value::String(least), Value::String(most)) => first <= most && last >= least,
            _ => true,
        }
    }
}

/// The rows of a file, all columns or these.
fn reader(
    bytes: &Bytes,
    columns: Option<&[&str]>,
) -> Result<impl Iterator<Item = Result<RecordBatch, String>>, String> {
    let open = || -> Result<ParquetRecordBatchReader, String> {
        // As the file itself says it, and not as who wrote it meant it for another program.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let mut builder =
            ParquetRecordBatchReaderBuilder::try_new_with_options(bytes.clone(), options).map_err(told)?;
        if let Some(columns) = columns {
            let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
            builder = builder.with_projection(mask);
        }
        builder.with_batch_size(ROWS).build().map_err(told)
    };
    // What the library makes of a damaged file is not always an error.
    let mut rows = caught(open)??;
    Ok(std::iter::from_fn(move || match caught(|| rows.next()) {
        Ok(next) => next.map(|rows| rows.map_err(told)),
        Err(panic) => Some(Err(panic)),
    }))
}

/// A column of rows as the type that it has among the columns that are written. A file that is older than a column has nulls there.
fn as_written(columns: &Schema, rows: &RecordBatch, name: &str) -> Result<ArrayRef, String> {
    let wanted = columns.field_with_name(name).map_err(told)?.data_type();
    rows.column_by_name(name)
        .map_or_else(|| Ok(new_null_array(wanted, rows.num_rows())), |column| as_type(column, wanted))
}

/// A column as another type, if its values are those of it.
fn as_type(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, String> {
    if column.data_type() == wanted {
        return Ok(column.clone());
    }
    let cast = caught(|| cast(column, wanted))?.map_err(told)?;
    if cast.null_count() != column.null_count() {
        return Err(format!("it has values that are none of type {wanted}"));
    }
    Ok(cast)
}

fn keys_of(merging: &Merging, columns: &Schema, rows: &RecordBatch) -> Result<Keys, String> {
    let key: Vec<ArrayRef> =
        merging.key.iter().map(|name| as_written(columns, rows, name)).collect::<Result<_, String>>()?;
    Keys::encode(&key, rows.num_rows()).map_err(told)
}

fn first_of_key(merging: &Merging, columns: &Schema, rows: &RecordBatch) -> Result<ArrayRef, String> {
    let first = merging.key.first().ok_or("the table has no key")?;
    as_written(columns, rows, first)
}

/// Rows with these columns only.
fn as_columns(columns: &SchemaRef, rows: &RecordBatch) -> Result<RecordBatch, String> {
    let all = columns.fields().iter().map(|field| as_written(columns, rows, field.name()));
    RecordBatch::try_new(columns.clone(), all.collect::<Result<_, String>>()?).map_err(told)
}

/// Rows of a file of the table as they are written again: times of files that Spark wrote are of nanoseconds, and its own are of microseconds.
fn as_table(types: &BTreeMap<String, String>, rows: &RecordBatch) -> Result<RecordBatch, String> {
    let mut fields = Vec::new();
    let mut all = Vec::new();
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let zone = match types.get(field.name()).map(String::as_str) {
            Some("timestamp") => Some(Some(Arc::from("UTC"))),
            Some("timestamp_ntz") => Some(None),
            _ => None,
        };
        let column = match zone {
            Some(zone) => as_type(column, &DataType::Timestamp(TimeUnit::Microsecond, zone))?,
            None if has_nanoseconds(field.data_type()) => {
                return Err(format!(
                    "column `{}` has times of nanoseconds within others, which are not written again in this version",
                    field.name()
                ));
            }
            None => column.clone(),
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), field.is_nullable()));
        all.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), all).map_err(told)
}

fn has_nanoseconds(kind: &DataType) -> bool {
    match kind {
        DataType::Timestamp(unit, _) => *unit == TimeUnit::Nanosecond,
        DataType::List(inner) | DataType::Map(inner, _) => has_nanoseconds(inner.data_type()),
        DataType::Struct(inner) => inner.iter().any(|field| has_nanoseconds(field.data_type())),
        _ => false,
    }
}

fn told(cause: impl std::fmt::Display) -> String {
    cause.to_string()
}
