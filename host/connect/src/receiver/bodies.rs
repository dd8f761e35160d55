//! Splits the body of a request into records by the format of the source.
//!
//! JSON: a body that begins with `[` is an array of rows. A single value over several lines is one row. Any other body is lines. Text and CSV are
//! lines. Binary records have a fixed length, or the complete body is one record, as it is for Avro and Protobuf.

use crate::receiver::framing::{Counter, StreamCursor, trim_csv_line_end};
use crate::receiver::{framer, reject_unfit_header};
use bytes::Bytes;
use millstream_base::limits::{PART_BYTES_MAX, PART_ROWS_MAX};
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::chunk::{Chunk, RejectedRecord};
use millstream_rows::batch::position::Extent;
use millstream_rows::decode::binary::row_bytes;
use millstream_rows::decode::json::{each_element, is_one_value};
use millstream_rows::decode::mark;
use millstream_rows::formats::Format;

/// The records of a body.
pub struct BodyRecords {
    /// The records, numbered from 0. If there are too many, only the first ones.
    pub chunks: Vec<Chunk>,
    /// Total number of records.
    pub rows: u64,
}

/// Splits a body into records, or returns why it cannot be split. Only about the first `rows_max` are kept, so that a small body cannot expand
/// without limit.
pub fn cut(source: &SourceSpec, body: &[u8], rows_max: u64) -> Result<BodyRecords, String> {
    match source.format {
        Format::Json => json(source, body, rows_max),
        Format::Binary { record_bytes: None } if row_bytes(&source.schema).is_none() => Ok(as_one_record(source, body)),
        Format::Avro(_) | Format::Protobuf(_) => Ok(as_one_record(source, body)),
        _ => Ok(framed(source, body, rows_max)),
    }
}

/// Returns how many rows the records have. Blank lines do not count.
pub fn rows_of(source: &SourceSpec, chunks: &[Chunk]) -> u64 {
    let is_row = |chunk: &Chunk, row: usize| match source.format {
        Format::Json => !chunk.record(row).trim_ascii().is_empty(),
        Format::Csv { .. } => source.schema.len() == 1 || !trim_csv_line_end(chunk.record(row)).is_empty(),
        _ => true,
    };
    chunks.iter().map(|chunk| (0..chunk.rows()).filter(|row| is_row(chunk, *row)).count() as u64).sum()
}

/// Returns the body as one record.
fn as_one_record(source: &SourceSpec, body: &[u8]) -> BodyRecords {
    let mut records = Records::new(source, b"", 1);
    if !body.is_empty() {
        records.add(body);
    }
    records.end()
}

fn framed(source: &SourceSpec, body: &[u8], rows_max: u64) -> BodyRecords {
    let mut framer = framer(source).with_cursor(StreamCursor { at: Counter::Rows(0), ..StreamCursor::default() });
    framer.buffer(body.len()).extend_from_slice(body);
    framer.end();
    reject_unfit_header(source, &mut framer);
    let (mut chunks, mut rows) = (Vec::new(), 0_u64);
    while let Some(chunk) = framer.next(true) {
        let before = rows;
        rows += chunk.rows() as u64;
        if before <= rows_max {
            chunks.push(chunk);
        }
    }
    BodyRecords { chunks, rows }
}

fn json(source: &SourceSpec, body: &[u8], rows_max: u64) -> Result<BodyRecords, String> {
    let body = body.strip_prefix(mark::UTF_8).unwrap_or(body).trim_ascii();
    let is_array = body.first() == Some(&b'[');
    if !is_array && !body.contains(&b'\n') {
        return Ok(framed(source, body, rows_max));
    }
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) if is_array => {
            return Err(format!("the body is a JSON array that is not UTF-8 at byte {}", error.valid_up_to()));
        }
        // Lines that are not UTF-8 are rejected individually.
        Err(_) => return Ok(framed(source, body, rows_max)),
    };
    let mut records = Records::new(source, b"\n", rows_max);
    if is_array {
        let read = each_element(text, |element| records.add(element.as_bytes()));
        read.map_err(|why| format!("the body is not a complete JSON array: {why}"))?;
    } else if is_one_value(text) {
        records.add(body);
    } else {
        return Ok(framed(source, body, rows_max));
    }
    Ok(records.end())
}

/// Collects records that are not in lines into chunks.
pub struct Records<'a> {
    source: &'a SourceSpec,
    delimiter: &'static [u8],
    chunks: Vec<Chunk>,
    /// Number of added records, of which at most `rows_max` are kept.
    count: u64,
    rows_max: u64,
    /// Number of records in chunks.
    rows: u64,
    bytes: Vec<u8>,
    ends: Vec<u32>,
    rejected: Vec<RejectedRecord>,
}

impl<'a> Records<'a> {
    /// Creates an empty collection that keeps at most `rows_max` records.
    pub fn new(source: &'a SourceSpec, delimiter: &'static [u8], rows_max: u64) -> Records<'a> {
        Records {
            source,
            delimiter,
            chunks: Vec::new(),
            count: 0,
            rows_max,
            rows: 0,
            bytes: Vec::new(),
            ends: Vec::new(),
            rejected: Vec::new(),
        }
    }

    /// Adds a record. Only the beginning of a record that is too long is kept, with the reason.
    pub fn add(&mut self, record: &[u8]) {
        self.count += 1;
        if self.count > self.rows_max {
            return;
        }
        let bytes_max = self.source.record_bytes_max;
        let too_long = record.len() as u64 > bytes_max;
        let kept =
            if too_long { usize::try_from(self.source.rejected_bytes_max).unwrap_or(usize::MAX) } else { usize::MAX };
        let kept = record.get(..kept).unwrap_or(record);
        if self.ends.len() == PART_ROWS_MAX || (!self.ends.is_empty() && self.bytes.len() + kept.len() > PART_BYTES_MAX)
        {
            self.flush();
        }
        if too_long {
            let (row, bytes) = (self.ends.len() as u32, record.len());
            let reason = format!("{bytes} bytes, record_bytes_max is {bytes_max}");
            self.rejected.push(RejectedRecord { row, reason, dropped: (bytes - kept.len()) as u64 });
        }
        self.bytes.extend_from_slice(kept);
        self.bytes.extend_from_slice(self.delimiter);
        self.ends.push(self.bytes.len() as u32);
    }

    fn flush(&mut self) {
        let extent = Extent { row: self.rows, ..Extent::default() };
        self.rows += self.ends.len() as u64;
        self.chunks.push(Chunk {
            bytes: std::mem::take(&mut self.bytes).into(),
            ends: std::mem::take(&mut self.ends),
            header: Bytes::new(),
            rejected: std::mem::take(&mut self.rejected),
            ready: None,
            extent,
        });
    }

    /// Returns the records.
    pub fn end(mut self) -> BodyRecords {
        if !self.ends.is_empty() {
            self.flush();
        }
        BodyRecords { chunks: self.chunks, rows: self.count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_job::connector::InMemory;
    use millstream_rows::batch::column::ColumnSpec;
    use millstream_rows::batch::types::ColumnType;
    use millstream_rows::decode::Decoder;

    fn source(format: Format, columns: &[(&str, ColumnType)]) -> SourceSpec {
        let columns = columns.iter().map(|(name, kind)| ColumnSpec::new(*name, kind.clone())).collect();
        SourceSpec::from_config("in", InMemory).format(format).schema(columns)
    }

    /// Counts the rows that decode and those that are rejected.
    fn counts(source: &SourceSpec, body: &[u8]) -> (usize, usize) {
        let mut decoder = Decoder::new(source.decoder_spec());
        let BodyRecords { chunks, rows: count } = cut(source, body, u64::MAX).unwrap();
        let mut rows = 0;
        for chunk in &chunks {
            assert_eq!(chunk.extent.row, rows, "rows are numbered");
            rows += chunk.rows() as u64;
        }
        assert_eq!(rows, count);
        chunks.iter().map(|chunk| decoder.decode(chunk)).fold((0, 0), |(good, bad), decoded| {
            (good + decoded.rows.num_rows(), bad + decoded.rejected.map_or(0, |rows| rows.num_rows()))
        })
    }

    #[test]
    fn json_is_an_array_a_value_or_lines() {
        let source = source(Format::Json, &[("a", ColumnType::Int64)]);
        for (body, expected) in [
            ("", (0, 0)),
            ("{\"a\":1}", (1, 0)),
            ("{\"a\":1}\n", (1, 0)),
            ("\u{FEFF} {\n\"a\" :\r\n 1}\r\n", (1, 0)),
            ("{\"a\":1}\n{\"a\":2}\r\n\n{\"a\":3}", (3, 0)),
            ("{\"a\":1}\nnone\n{\"a\":3}", (2, 1)),
            ("[]", (0, 0)),
            (" [ {\"a\":1} , {\"a\":\n2} ]\n", (2, 0)),
            ("[{\"a\":1},7,\"x\",[{\"a\":2}]]", (1, 3)),
            ("{\"a\":1", (0, 1)),
            ("7", (0, 1)),
        ] {
            assert_eq!(counts(&source, body.as_bytes()), expected, "{body:?}");
        }
        assert_eq!(counts(&source, b"{\"a\":1}\n\xff\n{\"a\":2}"), (2, 1));
        for broken in ["[", "[1", "[1,]", "[1]2", "[1]\n[2]"] {
            assert!(
                cut(&source, broken.as_bytes(), 9)
                    .map(drop)
                    .unwrap_err()
                    .starts_with("the body is not a complete JSON array")
            );
        }
        assert!(cut(&source, b"[\"\xff\"]", 9).map(drop).unwrap_err().contains("not UTF-8"));
    }

    #[test]
    fn of_too_many_records_the_first_are_kept_and_all_counted() {
        let json = source(Format::Json, &[("a", ColumnType::Int64)]);
        let text = source(Format::Text, &[("a", ColumnType::Text)]);
        for (source, body, rows) in [(&json, "[1,2,3,4,5]", 5), (&json, "1\n2\n3\n4", 4), (&text, "a\nb\nc\n", 3)] {
            let cut = cut(source, body.as_bytes(), 2).unwrap();
            assert_eq!(cut.rows, rows, "{body}");
            assert!(cut.chunks.iter().map(Chunk::rows).sum::<usize>() as u64 <= rows);
        }
        let kept = cut(&json, b"[1,2,3,4,5]", 2).unwrap().chunks;
        assert_eq!(kept.iter().map(Chunk::rows).sum::<usize>(), 2);
    }

    #[test]
    fn blank_lines_are_no_rows() {
        let columns = [("a", ColumnType::Int64), ("b", ColumnType::Text)];
        let csv = Format::Csv { header: true, separator: b',' };
        for (format, body, expected) in [
            (Format::Json, "{\"a\":1}\n\n \n{\"a\":2}", 2),
            (csv, "a,b\n\n\r\n1,x\n", 1),
            (Format::Text, "x\n\ny\n", 3),
        ] {
            let columns = if matches!(format, Format::Text) { &columns[1..] } else { &columns[..] };
            let source = source(format, columns);
            let cut = cut(&source, body.as_bytes(), u64::MAX).unwrap();
            assert_eq!(rows_of(&source, &cut.chunks), expected, "{body:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_with_its_beginning() {
        let mut source = source(Format::Json, &[("a", ColumnType::Text)]);
        (source.record_bytes_max, source.rejected_bytes_max) = (20, 5);
        let body = format!("[{{\"a\":\"b\"}},{{\"a\":\"{}\"}},{{\"a\":\"c\"}}]", "x".repeat(100));
        assert_eq!(counts(&source, body.as_bytes()), (2, 1));
        let BodyRecords { chunks, .. } = cut(&source, body.as_bytes(), u64::MAX).unwrap();
        assert_eq!(chunks[0].record(1), b"{\"a\":\n");
        assert_eq!(chunks[0].rejected[0].dropped, 103);
    }

    #[test]
    fn large_arrays_are_several_chunks() {
        let source = source(Format::Json, &[("a", ColumnType::Int64)]);
        let rows = PART_ROWS_MAX + 5;
        let body = format!("[{}]", vec!["{\"a\":5}"; rows].join(","));
        assert_eq!(counts(&source, body.as_bytes()), (rows, 0));
        assert_eq!(cut(&source, body.as_bytes(), u64::MAX).unwrap().chunks.len(), 2);
    }

    #[test]
    fn lines_and_binary_records() {
        let text = source(Format::Text, &[("a", ColumnType::Text)]);
        assert_eq!(counts(&text, b"a\nb\n\nc"), (4, 0));
        assert_eq!(counts(&text, b""), (0, 0));
        let csv = Format::Csv { header: true, separator: b',' };
        let csv = source(csv, &[("a", ColumnType::Int64), ("b", ColumnType::Text)]);
        assert_eq!(counts(&csv, b"b,a\nx,1\n\"y\nz\",2\nw,none\n"), (2, 1));
        let one_record = source(Format::Binary { record_bytes: None }, &[("a", ColumnType::Binary)]);
        assert_eq!(counts(&one_record, b"a\nb\n"), (1, 0));
        assert_eq!(counts(&one_record, b""), (0, 0));
        let fixed = source(Format::Binary { record_bytes: Some(8) }, &[("a", ColumnType::Int64)]);
        assert_eq!(counts(&fixed, &[7; 20]), (2, 1));
    }
}
