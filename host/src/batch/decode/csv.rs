//! CSV records: cells in the order of the header, or of the schema where there is none.
//!
//! As RFC 4180 says: a quote that opens a cell protects separators and line ends, two stand for one. An empty cell
//! is null, except that it is an empty text in a text or binary column. A blank line is no row.

use super::columns::{Columns, Value};
use crate::batch::types::ColumnType;
use crate::job::spec::SourceSpec;
use bytes::Bytes;
use std::borrow::Cow;

/// Decodes csv records into columns.
pub struct CsvDecoder {
    separator: u8,
    has_header: bool,
    columns: Vec<(String, ColumnType)>,
    /// The header that `cells` is made from.
    header: Bytes,
    /// The column of each cell.
    cells: Result<Vec<Option<usize>>, String>,
}

impl CsvDecoder {
    /// A decoder for the columns of this source.
    pub fn new(source: &SourceSpec, has_header: bool, separator: u8) -> CsvDecoder {
        let columns: Vec<_> = source.schema.iter().map(|column| (column.name.clone(), column.kind.clone())).collect();
        let cells = if has_header { Err(NO_HEADER.into()) } else { Ok((0..columns.len()).map(Some).collect()) };
        CsvDecoder { separator, has_header, columns, header: Bytes::new(), cells }
    }

    /// The chunk at hand has this header.
    pub fn header(&mut self, header: &Bytes) {
        if self.has_header && self.header != *header {
            self.header = header.clone();
            self.cells = self.read_header();
        }
    }

    fn read_header(&self) -> Result<Vec<Option<usize>>, String> {
        let header = std::str::from_utf8(&self.header).map_err(|_| "the header is not UTF-8".to_string())?;
        let mut cells = Vec::new();
        let mut names = Cells { line: header, at: Some(0), separator: self.separator };
        while let Some(name) = names.next().map_err(|reason| format!("the header: {reason}"))? {
            cells.push(self.columns.iter().position(|(column, _)| column == name.text.trim()));
        }
        match (0..self.columns.len()).find(|column| !cells.contains(&Some(*column))) {
            Some(missing) => {
                let name = self.columns.get(missing).map_or("", |(name, _)| name);
                Err(format!("the header has no column `{name}`: {header}"))
            }
            None => Ok(cells),
        }
    }

    /// Decodes one record into the row at hand. `false`: a blank record, which is no row.
    pub fn decode(&mut self, record: &str, columns: &mut Columns) -> Result<bool, String> {
        if record.is_empty() {
            return Ok(false);
        }
        let places = self.cells.as_ref().map_err(String::clone)?;
        let mut cells = Cells { line: record, at: Some(0), separator: self.separator };
        let mut count = 0;
        let mut wrong = None;
        while let Some(cell) = cells.next()? {
            if let Some(Some(column)) = places.get(count)
                && let Err(reason) = self.set(*column, &cell, columns)
            {
                wrong.get_or_insert(reason);
            }
            count += 1;
        }
        // A missing or superfluous separator is why the other cells are wrong, so it is told first.
        if count != places.len() {
            let whole = if self.has_header { "the header" } else { "the schema" };
            return Err(format!("{count} cells, {whole} has {}", places.len()));
        }
        wrong.map_or(Ok(true), Err)
    }

    #[inline]
    fn set(&self, column: usize, cell: &Cell<'_>, columns: &mut Columns) -> Result<(), String> {
        let text = cell.text.as_ref();
        match self.columns.get(column) {
            Some((_, ColumnType::Text | ColumnType::Binary)) => columns.set(column, Value::Text(text)),
            _ if text.trim_ascii().is_empty() => Ok(()),
            Some((_, ColumnType::Bool)) => columns.set(column, Value::Text(text)),
            // What a number looks like is the same in both, and numbers have the shorter way.
            _ => columns.set(column, Value::Number(text.trim_ascii())),
        }
    }
}

const NO_HEADER: &str = "there is no header";

/// The cells of a record, one after the other.
struct Cells<'a> {
    line: &'a str,
    /// Where the next cell begins; `None`: there is none.
    at: Option<usize>,
    separator: u8,
}

struct Cell<'a> {
    text: Cow<'a, str>,
}

impl<'a> Cells<'a> {
    #[inline]
    fn next(&mut self) -> Result<Option<Cell<'a>>, String> {
        let Some(start) = self.at else { return Ok(None) };
        let rest = self.line.as_bytes().get(start..).unwrap_or_default();
        if rest.first() == Some(&b'"') {
            return self.quoted(start + 1).map(Some);
        }
        let length = rest.iter().position(|byte| *byte == self.separator);
        let end = start + length.unwrap_or(rest.len());
        self.at = length.map(|_| end + 1);
        Ok(Some(Cell { text: self.slice(start, end)?.into() }))
    }

    /// The rest of a cell that began with a quote.
    fn quoted(&mut self, start: usize) -> Result<Cell<'a>, String> {
        let bytes = self.line.as_bytes();
        let mut text: Cow<'a, str> = "".into();
        let mut from = start;
        loop {
            let found = memchr::memchr(b'"', bytes.get(from..).unwrap_or_default());
            let quote = from + found.ok_or("missing closing quote")?;
            text += self.slice(from, quote)?;
            if bytes.get(quote + 1) == Some(&b'"') {
                text += "\"";
                from = quote + 2;
                continue;
            }
            // Whatever stands between the closing quote and the separator belongs to the cell.
            let rest = bytes.get(quote + 1..).unwrap_or_default();
            let length = memchr::memchr(self.separator, rest);
            let end = quote + 1 + length.unwrap_or(rest.len());
            text += self.slice(quote + 1, end)?;
            self.at = length.map(|_| end + 1);
            return Ok(Cell { text });
        }
    }

    fn slice(&self, start: usize, end: usize) -> Result<&'a str, String> {
        self.line.get(start..end).ok_or_else(|| format!("the separator splits a character at byte {start}"))
    }
}
