//! The schemas of a chunk's records, which travel with the chunk. A decoder needs no registry, and a replay from a plan sees the same schemas.

use crate::batch::chunk::KEPT;
use bytes::{Bytes, BytesMut};

/// What follows the first byte of a table; no csv header or Avro file header begins with it.
const BEGIN: &[u8] = b"schemas";
/// The first byte of a table in which all IDs are known.
const COMPLETE: u8 = 0;
/// The length that marks a schema unknown to the registry.
const UNKNOWN: u32 = u32::MAX;

/// Schemas by ID; `None` if the registry does not have the ID.
pub struct SchemaTable;

impl SchemaTable {
    /// Returns the table as a chunk's header.
    pub fn write<'a>(schemas: impl IntoIterator<Item = (u32, Option<&'a Bytes>)>) -> Bytes {
        let mut header = BytesMut::from(&[COMPLETE][..]);
        header.extend_from_slice(BEGIN);
        for (id, schema) in schemas {
            // An unknown ID may be known when the same records are read again, so the plan keeps the chunk.
            if let (None, Some(first)) = (schema, header.first_mut()) {
                *first = KEPT;
            }
            let length = schema.map_or(UNKNOWN, |schema| schema.len() as u32);
            header.extend_from_slice(&id.to_le_bytes());
            header.extend_from_slice(&length.to_le_bytes());
            header.extend_from_slice(schema.map_or(&[][..], |schema| schema));
        }
        header.freeze()
    }

    /// Returns the schemas of a header; empty if it has no table.
    pub fn read(header: &Bytes) -> Vec<(u32, Option<Bytes>)> {
        let mut schemas = Vec::new();
        let Some((COMPLETE | KEPT, table)) = header.split_first().map(|(first, table)| (*first, table)) else {
            return schemas;
        };
        let is_table = table.starts_with(BEGIN);
        let mut at = 1 + BEGIN.len();
        let word = |at: usize| {
            header.get(at..at + 4).and_then(|word| word.first_chunk::<4>()).copied().map(u32::from_le_bytes)
        };
        while is_table && let (Some(id), Some(length)) = (word(at), word(at + 4)) {
            at += 8;
            if length == UNKNOWN {
                schemas.push((id, None));
                continue;
            }
            let end = at.saturating_add(length as usize);
            if end > header.len() {
                break;
            }
            schemas.push((id, Some(header.slice(at..end))));
            at = end;
        }
        schemas
    }
}
