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
            kinds => kinds.iter().map(|kind| kind.fixed_bytes().unwrap_or(0) as usize).collect(),
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

/// Returns the size of a binary record of these columns; `None` without columns, or if a column has no fixed size.
pub fn row_bytes(columns: &[ColumnSpec]) -> Option<u32> {
    let add = |sum: u32, column: &ColumnSpec| sum.checked_add(column.kind.fixed_bytes()?);
    columns.iter().try_fold(0, add).filter(|bytes| *bytes > 0)
}
