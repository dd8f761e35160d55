//! The schemas of the records of a chunk, as they travel with it: whoever decodes it needs no registry, and a batch that
//! runs again from its plan sees the schemas that it saw.

use crate::batch::chunk::KEPT;
use bytes::{Bytes, BytesMut};

/// What stands behind the first byte of a table; no header of csv or of an Avro file begins so.
const BEGIN: &[u8] = b"schemas";
/// The first byte of a table in which all ids are known.
const WHOLE: u8 = 0;
/// The length that stands for a schema which the registry does not know.
const UNKNOWN: u32 = u32::MAX;

/// Schemas by their ids; `None`: the registry knows none of this id.
pub struct SchemaTable;

impl SchemaTable {
    /// The table as a chunk's header.
    pub fn write<'a>(schemas: impl IntoIterator<Item = (u32, Option<&'a Bytes>)>) -> Bytes {
        let mut header = BytesMut::from(&[WHOLE][..]);
        header.extend_from_slice(BEGIN);
        for (id, schema) in schemas {
            // That may be otherwise when the same records are read again, so the plan keeps them.
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

    /// The schemas of a header; none where it has no table.
    pub fn read(header: &Bytes) -> Vec<(u32, Option<Bytes>)> {
        let mut schemas = Vec::new();
        let Some((WHOLE | KEPT, table)) = header.split_first().map(|(first, table)| (*first, table)) else {
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
