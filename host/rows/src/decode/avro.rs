//! Decodes Avro records: from the schema that a record was written with to the columns of the job, by name.
//!
//! Why not a crate: a record that does not decode must be rejected alone with its reason, values go directly into columns, and a length must not be
//! trusted before the bytes are there. Tests compare the results with `fastavro`.

pub mod container;
mod cursor;
mod json;
mod plan;
pub mod schema;
pub mod schemas;

use super::columns::ColumnBuilders;
use super::infer::names_of;
use crate::batch::column::ColumnSpec;
use bytes::Bytes;
use container::{Header, Scanned};
use cursor::Cursor;
use plan::Plan;
use schema::Schema;
use schemas::SchemaTable;
use std::collections::HashMap;

/// Maximum cached schemas; others are read again when they come.
const READY_MAX: usize = 1_000;
/// First byte of a record that refers to a schema registry.
const MAGIC: u8 = 0;
/// Bytes before the record: the magic byte, and the schema's ID.
pub const WIRE_PREFIX_BYTES: usize = 5;

/// Decodes Avro records into columns.
pub struct AvroDecoder {
    columns: Vec<ColumnSpec>,
    /// Whether records begin with the ID of their schema.
    by_id: bool,
    /// The table of schemas of the last chunk.
    header: Bytes,
    /// The writers' schemas by ID; a schema that all records share has ID 0.
    ready: HashMap<u32, ResolvedSchema>,
}

/// A writer's schema, or why its records are rejected.
struct ResolvedSchema {
    text: Bytes,
    by: Result<(Schema, Plan), String>,
}

impl AvroDecoder {
    /// Creates a decoder for these columns. `by_id`: each record begins with the ID of its schema.
    pub fn new(columns: &[ColumnSpec], by_id: bool) -> AvroDecoder {
        AvroDecoder { columns: columns.to_vec(), by_id, header: Bytes::new(), ready: HashMap::new() }
    }

    /// Sets the header of the current chunk: the schemas of its records.
    pub fn header(&mut self, header: &Bytes) {
        if self.header == *header {
            return;
        }
        self.header = header.clone();
        if self.ready.len() > READY_MAX {
            self.ready.clear();
        }
        // A file has its schema in its header.
        let of_file = match Header::read(header) {
            Scanned::Complete(found) => Some((0, Some(found.schema))),
            _ => None,
        };
        for (id, schema) in SchemaTable::read(header).into_iter().chain(of_file) {
            let text = schema.unwrap_or_default();
            if self.ready.get(&id).is_some_and(|ready| ready.text == text) {
                continue;
            }
            let by = if text.is_empty() { Err(unknown(id)) } else { ready(&text, &self.columns) };
            self.ready.insert(id, ResolvedSchema { text, by });
        }
    }

    /// Decodes one record into the current row.
    pub fn decode(&self, record: &[u8], columns: &mut ColumnBuilders) -> Result<(), String> {
        let (id, body) = if self.by_id { wire(record)? } else { (0, record) };
        let Some(ResolvedSchema { by, .. }) = self.ready.get(&id) else { return Err(unknown(id)) };
        let (schema, plan) = by.as_ref().map_err(String::clone)?;
        let mut cursor = Cursor::new(body);
        plan.run(schema, &mut cursor, columns)?;
        match cursor.remaining() {
            0 => Ok(()),
            left => Err(format!("{left} bytes follow the record; it was written with another schema")),
        }
    }
}

/// Returns the schema's ID, and the record after it.
pub fn wire(record: &[u8]) -> Result<(u32, &[u8]), String> {
    match record {
        [MAGIC, a, b, c, d, body @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), body)),
        [MAGIC, ..] | [] => Err(format!("{} bytes, too few for the id of a schema", record.len())),
        [first, ..] => {
            Err(format!("begins with byte {first}, not with 0 and the id of a schema, as records of a registry do"))
        }
    }
}

fn unknown(id: u32) -> String {
    format!("the registry does not have schema {id}")
}

fn ready(text: &[u8], columns: &[ColumnSpec]) -> Result<(Schema, Plan), String> {
    let schema = Schema::parse(text).map_err(|why| format!("its schema cannot be used: {why}"))?;
    let plan = Plan::new(&schema, columns);
    Ok((schema, plan))
}

/// Returns warnings about a schema before its records come: columns that it lacks, and columns that cannot take its values.
pub fn doubts(text: &[u8], columns: &[ColumnSpec]) -> Result<Vec<String>, String> {
    let schema = Schema::parse(text)?;
    Ok(Plan::doubts(&schema, columns))
}

/// Returns the columns that a schema would fill: fields of its record, those of nested records, and lists and maps as text.
pub fn columns(text: &[u8]) -> Result<Vec<ColumnSpec>, String> {
    let schema = Schema::parse(text)?;
    let mut found = Vec::new();
    plan::leaves(&schema, 0, &mut Vec::new(), &mut found);
    let paths: Vec<Vec<String>> = found.iter().map(|(path, _)| path.clone()).collect();
    let names = names_of(&paths).into_iter();
    Ok(names.zip(found).map(|(name, (path, kind))| ColumnSpec::new(name, kind).at(path)).collect())
}

#[cfg(test)]
mod tests;
