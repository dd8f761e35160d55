//! Converts rejected rows to input rows of a stage: the columns of its input, with the checks of the stage.

use super::files::{RejectedRecord, RetryUnit, not_ours};
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Field, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_base::limits::{PART_BYTES_MAX, PART_ROWS_MAX, RECORD_BYTES_MAX_MAX};
use millstream_connectors::kinds;
use millstream_engine::graph::Graph;
use millstream_engine::operators::stage::StageNode;
use millstream_job::retry_source;
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::chunk::Chunk;
use millstream_rows::batch::json;
use millstream_rows::batch::types::{ColumnType, schema_of, with_fields};
use millstream_rows::decode::Decoder;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The stage that rows are retried in.
pub struct RetryStage {
    name: String,
    /// The directory of all its rows.
    pub dir: PathBuf,
    /// Its inputs: a single one, or several by name.
    pub inputs: Vec<RetryInput>,
    /// The names of the columns `reason` and `stage` in rejected rows.
    reason: String,
    stage: String,
}

/// An input of the stage.
pub struct RetryInput {
    /// The name, in a stage with several inputs.
    name: Option<String>,
    /// The source that reads the retried rows.
    pub source: SourceSpec,
    schema: SchemaRef,
}

impl RetryStage {
    /// Returns the stage with this name. The graph must contain its sources.
    pub fn find(graph: &Graph, name: &str) -> Result<RetryStage> {
        let missing = || Error::bug(format!("stage `{name}` has no source for retried rows"));
        let node = graph.stages.iter().find(|stage| stage.name == name).ok_or_else(missing)?;
        let several = node.inputs.len() > 1;
        let mut inputs = Vec::new();
        for input in &node.inputs {
            if let Some(field) = input.schema.fields().iter().find(|field| is_foreign(field)) {
                return Err(Error::job(format!(
                    "stage `{name}`: column `{}` of its input is {}, which cannot be written and read back; cast it with \
                     `select` in the previous stage",
                    field.name(),
                    ColumnType::from_arrow(field.data_type())
                )));
            }
            let source = input
                .from
                .iter()
                .find_map(|from| graph.spec.sources.iter().find(|s| s.name == *from && retry_source::is_name(from)));
            let source = source.ok_or_else(missing)?.clone();
            inputs.push(RetryInput { name: several.then(|| input.name.clone()), source, schema: input.schema.clone() });
        }
        let (reason, stage) = story_columns(node).ok_or_else(missing)?;
        let dir = graph.spec.origin.dir.join(retry_source::dir(&graph.spec.name, name));
        Ok(RetryStage { name: name.to_owned(), dir, inputs, reason, stage })
    }

    /// Returns the rows of a unit as in the files of the stage's inputs, one per line, by input.
    pub fn rows(&self, unit: &RetryUnit) -> Result<Vec<Vec<String>>> {
        if let [RetryInput { name: None, schema, .. }] = self.inputs.as_slice() {
            return Ok(vec![encode(&unit.records, &self.select_columns(&unit.records, schema)?)?]);
        }
        let mixed = schema_of(&["input", "row"].map(|name| (name.to_owned(), ColumnType::Text)));
        let mixed = self.select_columns(&unit.records, &mixed)?;
        let (names, rows) = (strings(&mixed, 0)?, strings(&mixed, 1)?);
        let mut by_input: Vec<Vec<RejectedRecord>> = self.inputs.iter().map(|_| Vec::new()).collect();
        for (row, record) in unit.records.iter().enumerate() {
            let name = names.is_valid(row).then(|| names.value(row));
            let position = self.inputs.iter().position(|input| input.name.as_deref() == name);
            let Some(rows_of) = position.and_then(|position| by_input.get_mut(position)).filter(|_| rows.is_valid(row))
            else {
                let known: Vec<&str> = self.inputs.iter().filter_map(|input| input.name.as_deref()).collect();
                let why = format!("not a row of an input of stage `{}`, which reads {}", self.name, known.join(", "));
                return Err(not_ours(&record.position, why));
            };
            rows_of.push(RejectedRecord { position: record.position.clone(), json: rows.value(row).to_owned() });
        }
        let mut written = Vec::new();
        for (input, records) in self.inputs.iter().zip(by_input) {
            check_columns(&records, &input.schema, &[])?;
            written.push(encode(&records, &decode(&records, &input.schema)?)?);
        }
        Ok(written)
    }

    /// Decodes these columns of rejected rows, and checks that this stage rejected them, if they contain that.
    fn select_columns(&self, records: &[RejectedRecord], columns: &SchemaRef) -> Result<RecordBatch> {
        check_columns(records, columns, &[&self.reason])?;
        let stage = Field::new(&self.stage, ColumnType::Text.arrow(), true);
        let rows = decode(records, &with_fields(columns, [Arc::new(stage)]))?;
        self.check_stage(records, &rows)?;
        rows.project(&(0..columns.fields().len()).collect::<Vec<_>>()).map_err(Error::arrow)
    }

    /// Checks that this stage rejected the rows, if they contain that.
    fn check_stage(&self, records: &[RejectedRecord], rows: &RecordBatch) -> Result<()> {
        let stages = strings(rows, rows.num_columns().saturating_sub(1))?;
        let other =
            stages.iter().zip(records).find_map(|(stage, record)| Some((stage.filter(|s| *s != self.name)?, record)));
        match other {
            None => Ok(()),
            Some((stage, RejectedRecord { position, .. })) => Err(Error::job(format!(
                "{position}: the row was rejected by stage `{stage}`, not by `{}`; retry it in that stage",
                self.name
            ))),
        }
    }
}

fn is_foreign(field: &Field) -> bool {
    !ColumnType::from_arrow(field.data_type()).is_written()
}

/// Returns the names of the columns `reason` and `stage`, which may differ if the input has columns with these names.
fn story_columns(node: &StageNode) -> Option<(String, String)> {
    let fields = node.rejected.schema.fields();
    let reason_column = node.rejected.reason_at();
    // The reason is followed by the backtrace.
    Some((fields.get(reason_column)?.name().clone(), fields.get(reason_column + 2)?.name().clone()))
}

fn strings(rows: &RecordBatch, position: usize) -> Result<&StringArray> {
    let column = rows.columns().get(position).and_then(|column| column.as_string_opt::<i32>());
    column.ok_or_else(|| Error::bug("rejected rows without a column of text"))
}

/// Checks that each record has all columns. Sinks omit none, so a record without one is other data, not a null.
fn check_columns(records: &[RejectedRecord], columns: &SchemaRef, more: &[&str]) -> Result<()> {
    for RejectedRecord { position, json } in records {
        let has: BTreeMap<String, IgnoredAny> =
            serde_json::from_str(json).map_err(|error| not_ours(position, format!("not a JSON object ({error})")))?;
        let names = columns.fields().iter().map(|field| field.name().as_str()).chain(more.iter().copied());
        if let Some(missing) = names.into_iter().find(|name| !has.contains_key(*name)) {
            let has: Vec<&str> = has.keys().map(String::as_str).collect();
            return Err(not_ours(position, format!("column `{missing}` not found among {}", has.join(", "))));
        }
    }
    Ok(())
}

/// Decodes records. An error names the first invalid one.
fn decode(records: &[RejectedRecord], columns: &SchemaRef) -> Result<RecordBatch> {
    let mut source = kinds::retry_source("", "", None);
    source.set_columns(columns);
    let mut decoder = Decoder::new(source.decoder_spec());
    let mut parts = Vec::new();
    for chunk in chunks(records) {
        let decoded = decoder.decode(&chunk);
        if decoded.rejected.is_some() {
            return Err(first_wrong(records, &mut decoder));
        }
        parts.push(decoded.rows);
    }
    let rows = arrow::compute::concat_batches(columns, &parts).map_err(Error::arrow)?;
    if rows.num_rows() == records.len() { Ok(rows) } else { Err(Error::bug("rows were lost in decoding")) }
}

fn first_wrong(records: &[RejectedRecord], decoder: &mut Decoder) -> Error {
    for record in records {
        for chunk in chunks(std::slice::from_ref(record)) {
            let Some(rejected) = decoder.decode(&chunk).rejected else { continue };
            let reason =
                strings(&rejected, 1).map_or_else(|error| error.message, |reasons| reasons.value(0).to_owned());
            return Error::job(format!(
                "{}: the row does not fit the input of the stage: {reason}; correct it or remove it",
                record.position
            ));
        }
    }
    Error::bug("a row was rejected that decodes alone")
}

/// Converts records to the chunks that a source receives.
fn chunks(records: &[RejectedRecord]) -> Vec<Chunk> {
    let (mut chunks, mut bytes, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for RejectedRecord { json, .. } in records {
        if ends.len() == PART_ROWS_MAX || (!ends.is_empty() && bytes.len() + json.len() > PART_BYTES_MAX) {
            chunks.push((std::mem::take(&mut bytes), std::mem::take(&mut ends)));
        }
        bytes.extend_from_slice(json.as_bytes());
        ends.push(bytes.len() as u32);
    }
    chunks.push((bytes, ends));
    chunks.into_iter().map(|(bytes, ends)| Chunk { bytes: bytes.into(), ends, ..Chunk::default() }).collect()
}

/// Encodes the rows as the JSON that the source reads.
fn encode(records: &[RejectedRecord], rows: &RecordBatch) -> Result<Vec<String>> {
    let lines = json::objects(rows).map_err(Error::bug)?;
    match lines.iter().zip(records).find(|(line, _)| line.len() as u64 >= RECORD_BYTES_MAX_MAX) {
        None => Ok(lines),
        Some((_, RejectedRecord { position, .. })) => Err(Error::job(format!(
            "{position}: the row is longer than {} MiB, more than a source reads; remove it",
            RECORD_BYTES_MAX_MAX >> 20
        ))),
    }
}
