//! CSV records: cells in the order of the header or, without one, of the schema.
//!
//! As in RFC 4180, a quote at the beginning of a cell protects separators and line ends, and two quotes mean one. An empty cell is null, and `""` an
//! empty text or binary, as our sinks write them. A blank line is not a row, unless there is only one column: then it is a row of null.

use super::columns::ColumnBuilders;
use super::written_value::WrittenValue;
use crate::batch::column::ColumnSpec;
use crate::batch::types::ColumnType;
use bytes::Bytes;

/// Decodes csv records into columns.
pub struct CsvDecoder {
    separator: u8,
    has_header: bool,
    columns: Vec<(String, ColumnType)>,
    /// The header for which `cells` was computed.
    header: Bytes,
    /// The column of each cell.
    cells: Result<Vec<Option<usize>>, String>,
    scratch: String,
}

impl CsvDecoder {
    /// Creates a decoder for these columns.
    pub fn new(columns: &[ColumnSpec], has_header: bool, separator: u8) -> CsvDecoder {
        let columns: Vec<_> = columns.iter().map(|column| (column.name.clone(), column.kind.clone())).collect();
        let cells = if has_header { Err(NO_HEADER.into()) } else { Ok((0..columns.len()).map(Some).collect()) };
        CsvDecoder { separator, has_header, columns, header: Bytes::new(), cells, scratch: String::new() }
    }

    /// Sets the header of the current chunk.
    pub fn header(&mut self, header: &Bytes) {
        if self.has_header && self.header != *header {
            self.header = header.clone();
            self.cells = self.read_header();
        }
    }

    fn read_header(&self) -> Result<Vec<Option<usize>>, String> {
        if self.header.is_empty() {
            return Err(NO_HEADER.into());
        }
        let header = std::str::from_utf8(&self.header).map_err(|_| "the header is not UTF-8".to_string())?;
        let (mut cells, mut scratch) = (Vec::new(), String::new());
        let mut names = CsvCells { line: header, offset: Some(0), separator: self.separator, scratch: &mut scratch };
        while let Some(name) = names.next().map_err(|reason| format!("the header: {reason}"))? {
            cells.push(self.columns.iter().position(|(column, _)| column == name.trim()));
        }
        match (0..self.columns.len()).find(|column| !cells.contains(&Some(*column))) {
            Some(missing) => {
                let name = self.columns.get(missing).map_or("", |(name, _)| name);
                Err(format!("the header has no column `{name}`: {header}"))
            }
            None => Ok(cells),
        }
    }

    /// Decodes one record into the current row. `false`: a blank record, which is not a row.
    pub fn decode(&mut self, record: &str, columns: &mut ColumnBuilders) -> Result<bool, String> {
        let CsvDecoder { cells, columns: kinds, separator, scratch, .. } = self;
        let columns_of_cells = cells.as_ref().map_err(String::clone)?;
        if record.is_empty() && columns_of_cells.len() != 1 {
            return Ok(false);
        }
        let mut cells = CsvCells { line: record, offset: Some(0), separator: *separator, scratch };
        let mut count = 0;
        let mut wrong = None;
        while let Some(start) = cells.offset {
            let quoted = record.as_bytes().get(start) == Some(&b'"');
            let Some(cell) = cells.next()? else { break };
            if let Some(Some(column)) = columns_of_cells.get(count)
                && let Some((_, kind)) = kinds.get(*column)
                && (quoted || !cell.is_empty())
                && let Err(reason) = set(*column, kind, cell, columns)
            {
                wrong.get_or_insert(reason);
            }
            count += 1;
        }
        // A missing or extra separator is the cause of other wrong cells, so it is reported first.
        if count != columns_of_cells.len() {
            let expected_by = if self.has_header { "the header" } else { "the schema" };
            return Err(format!("{count} cells, {expected_by} has {}", columns_of_cells.len()));
        }
        wrong.map_or(Ok(true), Err)
    }
}

#[inline]
fn set(column: usize, kind: &ColumnType, cell: &str, columns: &mut ColumnBuilders) -> Result<(), String> {
    match kind {
        ColumnType::Text | ColumnType::Binary => columns.set(column, WrittenValue::Text(cell)),
        _ if cell.trim_ascii().is_empty() => Ok(()),
        ColumnType::Bool => columns.set(column, WrittenValue::Text(cell)),
        // The syntax of numbers is the same in both, and this path is shorter for them.
        _ => columns.set(column, WrittenValue::Number(cell.trim_ascii())),
    }
}

/// Returns whether this header has every column of the source.
pub fn header_fits(columns: &[ColumnSpec], separator: u8, header: &Bytes) -> bool {
    let mut decoder = CsvDecoder::new(columns, true, separator);
    decoder.header(header);
    decoder.cells.is_ok()
}

/// Returns all cells of a record.
pub fn cells(record: &str, separator: u8) -> Result<Vec<String>, String> {
    let mut scratch = String::new();
    let mut cells = CsvCells { line: record, offset: Some(0), separator, scratch: &mut scratch };
    let mut all = Vec::new();
    while let Some(cell) = cells.next()? {
        all.push(cell.to_owned());
    }
    Ok(all)
}

/// Returns all cells of a record; an empty one without quotes is `None`, as our sinks write nulls.
pub fn nullable_cells(record: &str, separator: u8) -> Result<Vec<Option<String>>, String> {
    let mut scratch = String::new();
    let mut cells = CsvCells { line: record, offset: Some(0), separator, scratch: &mut scratch };
    let mut all = Vec::new();
    while let Some(start) = cells.offset {
        let quoted = record.as_bytes().get(start) == Some(&b'"');
        let cell = cells.next()?.map(str::to_owned);
        all.push(cell.filter(|cell| quoted || !cell.is_empty()));
    }
    Ok(all)
}

const NO_HEADER: &str = "the header is missing: its line was rejected";

/// Iterates over the cells of a record.
struct CsvCells<'a> {
    line: &'a str,
    /// Where the next cell begins; `None` after the last.
    offset: Option<usize>,
    separator: u8,
    /// A cell that differs from its text, as two quotes mean one.
    scratch: &'a mut String,
}

impl CsvCells<'_> {
    #[inline]
    fn next(&mut self) -> Result<Option<&str>, String> {
        let Some(start) = self.offset else { return Ok(None) };
        let bytes = self.line.as_bytes();
        if bytes.get(start) == Some(&b'"') {
            return self.quoted(start + 1).map(Some);
        }
        let end = separator_from(bytes, start, self.separator);
        self.offset = (end < bytes.len()).then_some(end + 1);
        slice(self.line, start, end).map(Some)
    }

    /// Returns the rest of a cell that began with a quote.
    fn quoted(&mut self, start: usize) -> Result<&str, String> {
        let bytes = self.line.as_bytes();
        self.scratch.clear();
        let mut from = start;
        loop {
            let found = memchr::memchr(b'"', bytes.get(from..).unwrap_or_default());
            let quote = from + found.ok_or("missing closing quote")?;
            self.scratch.push_str(slice(self.line, from, quote)?);
            if bytes.get(quote + 1) == Some(&b'"') {
                self.scratch.push('"');
                from = quote + 2;
                continue;
            }
            // Text between the closing quote and the separator belongs to the cell.
            let end = separator_from(bytes, quote + 1, self.separator);
            self.scratch.push_str(slice(self.line, quote + 1, end)?);
            self.offset = (end < bytes.len()).then_some(end + 1);
            return Ok(self.scratch);
        }
    }
}

/// Returns the first separator from `offset` on, or the end. It reads eight bytes at a time, as cells are short.
#[inline]
fn separator_from(bytes: &[u8], mut offset: usize, separator: u8) -> usize {
    const ONES: u64 = u64::MAX / 255;
    while let Some(word) = bytes.get(offset..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word) ^ (ONES * u64::from(separator));
        let found = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if found != 0 {
            return offset + found.trailing_zeros() as usize / 8;
        }
        offset += 8;
    }
    while bytes.get(offset).is_some_and(|byte| *byte != separator) {
        offset += 1;
    }
    offset.min(bytes.len())
}

fn slice(line: &str, start: usize, end: usize) -> Result<&str, String> {
    line.get(start..end).ok_or_else(|| format!("the separator splits a character at byte {start}"))
}
