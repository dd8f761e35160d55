//! What a decoder must know about a source.

use crate::batch::column::{ColumnSource, ColumnSpec};
use crate::formats::Format;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

/// The records of a source, and the columns that they become.
pub struct DecoderSpec {
    /// The format of the records.
    pub format: Format,
    /// The columns: name, type and the position of the value in a record.
    pub columns: Vec<ColumnSpec>,
    /// The exact columns of the rows, if they are not those of the job file. Then the records are JSON of our own.
    pub row_schema: Option<SchemaRef>,
    /// How the records are delimited.
    pub bounds: RecordBounds,
    /// Whether a record of JSON may be an array of the values of a row, or a row's only value.
    pub accepts_values: bool,
    /// Whether binary values in the records are hexadecimal digits. Such records may contain their own reason for rejection.
    pub writes_hex: bool,
    /// Decodes records that are not in one of our formats.
    pub make_rows: Option<MakeRows>,
    /// Maximum bytes of an undecodable record that its rejected row keeps.
    pub rejected_bytes_max: u64,
}

/// Returns whether records of these columns have parts before the value (`batch::envelope`).
pub fn in_envelopes(bounds: RecordBounds, columns: &[ColumnSpec]) -> bool {
    bounds == RecordBounds::Envelope || columns.iter().any(|column| column.from != ColumnSource::Value)
}

/// How the records of a source are delimited in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordBounds {
    /// By the format: line ends, or lengths.
    Format,
    /// By the format in files, where Protobuf messages are length-prefixed.
    File,
    /// By the format, or not at all: what was sent together may be one record.
    Body,
    /// By a length before each, which stays with it.
    Prefix,
    /// By an envelope (`batch::envelope`): the value is a part of a message.
    Envelope,
    /// Not delimited: their ends are stored separately.
    Ends,
}

/// Decodes the bytes of a chunk to rows.
pub type MakeRows = Box<dyn Fn(&[u8]) -> Option<RecordBatch> + Send>;
