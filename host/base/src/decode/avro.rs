//! Avro records: from the schema that a record was written with to the columns of the job, by name.
//!
//! Why not a crate: a record that does not decode must be rejected by itself with its reason, values go straight into
//! columns, and what a length says must not be believed before so many bytes are there. Tests hold it against `fastavro`.

pub mod container;
mod cursor;
mod json;
mod plan;
pub mod schema;
pub mod schemas;

use super::columns::ColumnBuilders;
use super::infer::names_of;
use crate::job::spec::ColumnSpec;
use bytes::Bytes;
use container::{Header, Scanned};
use cursor::Cursor;
use plan::Plan;
use schema::Schema;
use schemas::SchemaTable;
use std::collections::HashMap;

/// Schemas that are kept ready; more of them are read again when they come.
const READY_MAX: usize = 1_000;
/// How a record of a schema registry begins.
const MAGIC: u8 = 0;
/// Bytes before the record: that one, and the schema's id.
pub const WIRE_PREFIX_BYTES: usize = 5;

/// Decodes Avro records into columns.
pub struct AvroDecoder {
    columns: Vec<ColumnSpec>,
    /// Whether records begin with the id of their schema.
    by_id: bool,
    /// The table of schemas of the last chunk.
    header: Bytes,
    /// The writers' schemas by id; one that all records have is 0.
    ready: HashMap<u32, ResolvedSchema>,
}

/// A writer's schema, or why its records are refused.
struct ResolvedSchema {
    text: Bytes,
    by: Result<(Schema, Plan), String>,
}

impl AvroDecoder {
    /// A decoder for these columns. `by_id`: each record says by an id which schema it has.
    pub fn new(columns: &[ColumnSpec], by_id: bool) -> AvroDecoder {
        AvroDecoder { columns: columns.to_vec(), by_id, header: Bytes::new(), ready: HashMap::new() }
    }

    /// The chunk at hand has this header: the schemas of its records.
    pub fn header(&mut self, header: &Bytes) {
        if self.header == *header {
            return;
        }
        self.header = header.clone();
        if self.ready.len() > READY_MAX {
            self.ready.clear();
        }
        // A file says its schema in its header.
        let of_file = match Header::read(header) {
            Scanned::Whole(found) => Some((0, Some(found.schema))),
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

    /// Decodes one record into the row at hand.
    pub fn decode(&self, record: &[u8], columns: &mut ColumnBuilders) -> Result<(), String> {
        let (id, body) = if self.by_id { wire(record)? } else { (0, record) };
        let Some(ResolvedSchema { by, .. }) = self.ready.get(&id) else { return Err(unknown(id)) };
        let (schema, plan) = by.as_ref().map_err(String::clone)?;
        let mut cursor = Cursor::new(body);
        plan.run(schema, &mut cursor, columns)?;
        match cursor.left() {
            0 => Ok(()),
            left => Err(format!("{left} bytes behind the record; it was written with another schema")),
        }
    }
}

/// The schema's id, and the record behind it.
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
    format!("schema {id} is not known to the registry")
}

fn ready(text: &[u8], columns: &[ColumnSpec]) -> Result<(Schema, Plan), String> {
    let schema = Schema::parse(text).map_err(|why| format!("its schema cannot be used: {why}"))?;
    let plan = Plan::of(&schema, columns);
    Ok((schema, plan))
}

/// What a reader should know of a schema before its records come: columns that it does not have, and columns that cannot
/// take what it has.
pub fn doubts(text: &[u8], columns: &[ColumnSpec]) -> Result<Vec<String>, String> {
    let schema = Schema::parse(text)?;
    Ok(Plan::doubts(&schema, columns))
}

/// The columns that a schema would fill: fields of its record, those of records in it, and lists and maps as text.
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
