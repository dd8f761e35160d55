//! Binary records: columns concatenated, little-endian, without nulls; or one text or binary column that takes the complete record.

use super::columns::ColumnBuilders;
use crate::batch::column::ColumnSpec;
use crate::batch::types::ColumnType;

/// Decodes binary records into columns.
pub struct BinaryDecoder {
    /// Size of each column; empty if one column takes the complete record.
    widths: Vec<usize>,
    bytes: usize,
}

impl BinaryDecoder {
    /// Creates a decoder for columns of these types.
    pub fn new(kinds: &[ColumnType]) -> BinaryDecoder {
        let widths: Vec<usize> = match kinds {
            [ColumnType::Text | ColumnType::Binary] => Vec::new(),
            kinds => kinds.iter().map(|kind| width(kind).unwrap_or(0)).collect(),
        };
        BinaryDecoder { bytes: widths.iter().sum(), widths }
    }

    /// Decodes one record into the current row.
    pub fn decode(&mut self, record: &[u8], columns: &mut ColumnBuilders) -> Result<(), String> {
        if self.widths.is_empty() {
            return columns.set_bytes(0, record);
        }
        if record.len() != self.bytes {
            return Err(format!("{} bytes, the columns take {}", record.len(), self.bytes));
        }
        let mut offset = 0;
        for (column, width) in self.widths.iter().enumerate() {
            columns.set_bytes(column, record.get(offset..offset + width).unwrap_or_default())?;
            offset += width;
        }
        Ok(())
    }
}

/// Returns the size of a binary record of these columns; `None` if a column is text or binary.
pub fn row_bytes(columns: &[ColumnSpec]) -> Option<usize> {
    columns.iter().map(|column| width(&column.kind)).sum::<Option<usize>>().filter(|bytes| *bytes > 0)
}

fn width(kind: &ColumnType) -> Option<usize> {
    match kind {
        ColumnType::Bool => Some(1),
        ColumnType::Int64 | ColumnType::Float64 | ColumnType::Timestamp => Some(8),
        ColumnType::Text | ColumnType::Binary | ColumnType::Arrow(_) => None,
    }
}
