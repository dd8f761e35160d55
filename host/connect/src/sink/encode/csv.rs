//! Format `csv`: a header, then one line per row, quoted as in RFC 4180. A null is an empty cell and an empty text is `""`, which the
//! sources read back unchanged. So in a file of one column a null is an empty line.
//!
//! The encoders of the crates `csv` and `arrow-csv` do not distinguish nulls from empty text, hence this one.

use arrow::array::{Array, ArrayRef, LargeBinaryArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use millstream_base::hex;
use millstream_rows::batch::cell;
use millstream_rows::batch::cell::Cells;
use millstream_rows::batch::encoded::{self, EncodedForm};
use millstream_rows::batch::types::ColumnType;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Bytes that are buffered before they are written.
const WRITE_BYTES: usize = 64 << 10;

pub fn check(schema: &SchemaRef) -> Result<(), String> {
    if schema.fields().is_empty() {
        return Err("format `csv` needs columns, and the rows have none; choose `json`".into());
    }
    match schema.fields().iter().find(|field| field.data_type().is_nested()) {
        None => Ok(()),
        Some(field) => Err(format!(
            "format `csv` holds plain values, and column `{}` is {}; choose `json` or `parquet`",
            field.name(),
            ColumnType::from_arrow(field.data_type())
        )),
    }
}

/// Writes the header.
pub(super) fn write_head(schema: &SchemaRef, out: &mut (dyn Write + Send)) -> io::Result<()> {
    let mut text = String::new();
    for (index, field) in schema.fields().iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write_text(&mut text, field.name());
    }
    text.push('\n');
    out.write_all(text.as_bytes())
}

/// Writes a line for each row.
pub(super) fn write_rows(rows: &[RecordBatch], out: &mut (dyn Write + Send)) -> io::Result<()> {
    let mut bytes = Vec::new();
    for part in rows {
        let mut lines = CsvRows::new(part)?;
        for row in 0..part.num_rows() {
            lines.write(row, &mut bytes);
            bytes.push(b'\n');
            if bytes.len() >= WRITE_BYTES {
                out.write_all(&bytes)?;
                bytes.clear();
            }
        }
    }
    out.write_all(&bytes)
}

/// Encodes each row as a line, for the process that writes them.
pub fn encode(rows: &RecordBatch) -> io::Result<RecordBatch> {
    let mut lines = CsvRows::new(rows)?;
    encoded::each_row(EncodedForm::Csv, rows.num_rows(), |row, line| {
        lines.write(row, line);
        Ok(())
    })
}

/// The rows of a batch as single lines, even if they already are encoded lines.
pub struct CsvRows<'a> {
    columns: Vec<CsvColumn<'a>>,
    scratch: String,
    encoded: Option<&'a LargeBinaryArray>,
}

impl<'a> CsvRows<'a> {
    /// Prepares the columns.
    pub fn new(rows: &'a RecordBatch) -> io::Result<CsvRows<'a>> {
        let encoded = encoded::column(rows, EncodedForm::Csv);
        let columns = rows.columns().iter().filter(|_| encoded.is_none()).map(CsvColumn::new);
        Ok(CsvRows { columns: columns.collect::<io::Result<_>>()?, scratch: String::new(), encoded })
    }

    /// Appends the line of one row, without its end.
    pub fn write(&mut self, row: usize, out: &mut Vec<u8>) {
        if let Some(encoded) = self.encoded {
            out.extend_from_slice(encoded.value(row));
            return;
        }
        self.scratch.clear();
        write_row(&mut self.scratch, &self.columns, row);
        out.extend_from_slice(self.scratch.as_bytes());
    }
}

fn write_row(text: &mut String, columns: &[CsvColumn], row: usize) {
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        if !column.array.is_null(row) {
            column.write(text, row);
        }
    }
}

struct CsvColumn<'a> {
    array: &'a ArrayRef,
    cells: Cells<'a>,
    /// For types other than those of jobs.
    formatter: ArrayFormatter<'a>,
}

impl<'a> CsvColumn<'a> {
    fn new(array: &'a ArrayRef) -> io::Result<CsvColumn<'a>> {
        const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_display_error(true);
        let formatter = ArrayFormatter::try_new(array.as_ref(), &OPTIONS).map_err(io::Error::other)?;
        Ok(CsvColumn { array, cells: Cells::new(array), formatter })
    }

    fn write(&self, text: &mut String, row: usize) {
        // Writing to a String cannot fail.
        let _ = match &self.cells {
            Cells::Bool(a) => write!(text, "{}", a.value(row)),
            Cells::Int64(a) => write!(text, "{}", a.value(row)),
            Cells::Float64(a) => {
                cell::write_float(text, a.value(row));
                Ok(())
            }
            Cells::Text(a) => {
                write_text(text, a.value(row));
                Ok(())
            }
            Cells::Binary(a) => {
                // An empty value is not a null.
                if a.value(row).is_empty() {
                    text.push_str("\"\"");
                }
                hex::write(text, a.value(row));
                Ok(())
            }
            Cells::Timestamp(a) => {
                cell::write_rfc3339(text, a.value(row));
                Ok(())
            }
            Cells::Date(a) => {
                cell::write_date(text, a.value(row));
                Ok(())
            }
            Cells::Decimal(a) => write!(text, "{}", a.value_as_string(row)),
            Cells::Other(_) => {
                write_text(text, &self.formatter.value(row).to_string());
                Ok(())
            }
        };
    }
}

fn write_text(text: &mut String, value: &str) {
    if !value.is_empty() && !value.contains([',', '"', '\n', '\r']) {
        text.push_str(value);
        return;
    }
    text.push('"');
    for (index, between_quotes) in value.split('"').enumerate() {
        if index > 0 {
            text.push_str("\"\"");
        }
        text.push_str(between_quotes);
    }
    text.push('"');
}
