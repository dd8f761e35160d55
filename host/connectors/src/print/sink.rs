//! The `print` sink: prints batches as tables on standard output.

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use millstream_base::error::{Error, Result};
use millstream_base::hex;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::shown::harmless;
use millstream_connect::sink::{commit_error, rows_rejected};
use millstream_rows::batch::cell;
use millstream_rows::batch::cell::Cells;
use millstream_rows::batch::sink::Sink;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;

/// Maximum characters of a cell or column name; the rest is cut off.
const CELL_CHARS_MAX: usize = 80;
/// Minimum batch time between headers of empty batches, so that a job with a short interval does not flood the terminal.
const EMPTY_INTERVAL_MICROS: i64 = 1_000_000;
const RULE: &str = "-------------------------------------------";

/// Prints the first rows of every batch.
pub(super) struct PrintSink {
    name: String,
    rows: usize,
    schema: SchemaRef,
    out: Box<dyn Write + Send>,
    last_shown: Option<BatchTime>,
    empty_not_shown: u64,
    /// Remaining rows to print of all batches together; `None`: the limit applies to each batch.
    left: Option<usize>,
}

impl PrintSink {
    /// Prints only the first rows of all batches together.
    pub(super) fn limited_to_rows(self) -> PrintSink {
        PrintSink { left: Some(self.rows), ..self }
    }

    /// Creates a sink that prints the first `rows` rows of a batch to `out`.
    pub(super) fn new(name: &str, rows: usize, schema: SchemaRef, out: Box<dyn Write + Send>) -> PrintSink {
        PrintSink { name: name.into(), rows, schema, out, last_shown: None, empty_not_shown: 0, left: None }
    }

    /// Returns the text of a batch.
    pub(super) fn text(&self, batch: BatchId, time: BatchTime, rows: &[RecordBatch]) -> Result<String, ArrowError> {
        let total = rows.iter().map(RecordBatch::num_rows).sum();
        let mut text = String::new();
        self.header(&mut text, batch, time);
        self.body(&mut text, rows, total)?;
        Ok(text)
    }

    fn header(&self, text: &mut String, batch: BatchId, time: BatchTime) {
        if self.empty_not_shown > 0 {
            let plural = if self.empty_not_shown == 1 { "" } else { "es" };
            let _ = writeln!(text, "({} empty batch{plural} not shown)", self.empty_not_shown);
        }
        let _ = write!(text, "{RULE}\nTime: ");
        cell::write_batch_time(text, time.0);
        let what = if self.left.is_some() { "stream" } else { "sink" };
        let _ = writeln!(text, "  (batch {batch}, {what} {})\n{RULE}", self.name);
    }

    fn body(&self, text: &mut String, parts: &[RecordBatch], total: usize) -> Result<(), ArrowError> {
        if total == 0 {
            text.push_str("(no rows)\n");
            return Ok(());
        }
        let shown = total.min(self.rows);
        if self.schema.fields().is_empty() {
            let _ = writeln!(text, "({total} rows without columns)");
            return Ok(());
        }
        if shown > 0 {
            let _ = writeln!(text, "{}", show_table(&self.schema, parts, shown)?);
        }
        match total - shown {
            0 => {}
            1 => text.push_str("… and 1 more row\n"),
            more => {
                let _ = writeln!(text, "… and {more} more rows");
            }
        }
        Ok(())
    }
}

impl Sink for PrintSink {
    fn commit(&mut self, batch: BatchId, time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        let total: usize = rows.iter().map(RecordBatch::num_rows).sum();
        if let Some(left) = self.left {
            self.rows = left;
            self.left = Some(left.saturating_sub(total));
            if total == 0 || left == 0 {
                return Ok(());
            }
        }
        let is_recent = self.last_shown.is_some_and(|last| time.0.saturating_sub(last.0) < EMPTY_INTERVAL_MICROS);
        if total == 0 && is_recent {
            self.empty_not_shown += 1;
            return Ok(());
        }
        let text = self
            .text(batch, time, &rows)
            .map_err(|cause| Error::bug(format!("sink `{}`: batch {batch}: cannot show rows: {cause}", self.name)))?;
        // One write per batch, so that batches of several sinks do not interleave.
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).map_err(|cause| match cause.kind() {
            // Permanent: a restarted worker process would have the same closed output.
            io::ErrorKind::BrokenPipe => {
                let cause = "the program that reads it has ended; start the job again with another reader";
                rows_rejected(&self.name, batch, "to standard output", cause)
            }
            _ => commit_error(&self.name, batch, "to standard output", cause),
        })?;
        self.last_shown = Some(time);
        self.empty_not_shown = 0;
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        None
    }
}

/// Returns what a sink with a limit of `shown` rows prints for a batch.
pub(super) fn render(
    name: &str,
    shown: usize,
    schema: &SchemaRef,
    (batch, time): (BatchId, BatchTime),
    rows: &[RecordBatch],
) -> io::Result<Vec<u8>> {
    let sink = PrintSink::new(name, shown, schema.clone(), Box::new(io::sink()));
    sink.text(batch, time, rows).map(String::into_bytes).map_err(io::Error::other)
}

/// Formats the first `shown` rows as a table with Arrow, after escaping every cell for terminals.
pub fn show_table(schema: &SchemaRef, parts: &[RecordBatch], shown: usize) -> Result<String, ArrowError> {
    let mut columns: Vec<Vec<String>> = vec![Vec::with_capacity(shown); schema.fields().len()];
    let mut left = shown;
    for part in parts {
        let rows = part.num_rows().min(left);
        left -= rows;
        for (column, array) in columns.iter_mut().zip(part.columns()) {
            show_cells(column, array, rows)?;
        }
    }
    let fields: Vec<Field> =
        schema.fields().iter().map(|f| Field::new(harmless(f.name(), CELL_CHARS_MAX), DataType::Utf8, false)).collect();
    let arrays: Vec<ArrayRef> =
        columns.into_iter().map(|cells| Arc::new(StringArray::from(cells)) as ArrayRef).collect();
    let table = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
    Ok(arrow::util::pretty::pretty_format_batches(&[table])?.to_string())
}

/// Adds the first `rows` values of a column.
fn show_cells(shown: &mut Vec<String>, array: &ArrayRef, rows: usize) -> Result<(), ArrowError> {
    let cells = Cells::new(array);
    let options = FormatOptions::default().with_display_error(true).with_null("null");
    let formatter = match cells {
        Cells::Other(array) => Some(ArrayFormatter::try_new(array.as_ref(), &options)?),
        _ => None,
    };
    for row in 0..rows {
        let mut text = String::new();
        match &cells {
            _ if array.is_null(row) => text.push_str("null"),
            Cells::Bool(a) => text.push_str(if a.value(row) { "true" } else { "false" }),
            Cells::Int64(a) => text.push_str(&a.value(row).to_string()),
            Cells::Float64(a) => cell::write_float(&mut text, a.value(row)),
            Cells::Text(a) => text = harmless(a.value(row), CELL_CHARS_MAX),
            Cells::Binary(a) => {
                // One more byte than is displayed, so that the cut is marked.
                let bytes = a.value(row);
                hex::write(&mut text, &bytes[..bytes.len().min(CELL_CHARS_MAX / 2 + 1)]);
                text = harmless(&text, CELL_CHARS_MAX);
            }
            Cells::Timestamp(a) => cell::write_rfc3339(&mut text, a.value(row)),
            Cells::Date(a) => cell::write_date(&mut text, a.value(row)),
            Cells::Decimal(a) => text.push_str(&a.value_as_string(row)),
            Cells::Other(_) => {
                if let Some(formatter) = &formatter {
                    text = harmless(&formatter.value(row).to_string(), CELL_CHARS_MAX);
                }
            }
        }
        shown.push(text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{BinaryArray, Float64Array, Int64Array, ListArray, TimestampMicrosecondArray};
    use arrow::datatypes::Int32Type;
    use millstream_rows::batch::types::{ColumnType, schema_of};
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct CapturedOutput(Arc<Mutex<Vec<String>>>);

    impl Write for CapturedOutput {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn word_rows(word_rows: &[Option<&str>]) -> RecordBatch {
        let schema = schema_of(&[("word".into(), ColumnType::Text)]);
        RecordBatch::try_new(schema, vec![Arc::new(StringArray::from(word_rows.to_vec()))]).unwrap()
    }

    /// Returns the output of each commit.
    fn printed(rows: usize, batches: Vec<(i64, Vec<RecordBatch>)>, schema: SchemaRef) -> Vec<String> {
        let screen = CapturedOutput::default();
        let mut sink = PrintSink::new("screen", rows, schema, Box::new(screen.clone()));
        for (index, (time, parts)) in batches.into_iter().enumerate() {
            sink.commit(BatchId(index as u64 + 1), BatchTime(time), parts).unwrap();
        }
        screen.0.lock().unwrap().clone()
    }

    #[test]
    fn a_header_a_table_and_how_many_more() {
        let parts = vec![word_rows(&[Some("größe"), None]), word_rows(&[Some("日本"), Some("c"), Some("d")])];
        let schema = parts[0].schema();
        let got = printed(3, vec![(1_795_163_401_000_000, parts)], schema);
        let expected = "\
-------------------------------------------
Time: 2026-11-20 08:30:01  (batch 1, sink screen)
-------------------------------------------
+-------+
| word  |
+-------+
| größe |
| null  |
| 日本  |
+-------+
… and 2 more rows
";
        assert_eq!(got, [expected]);
    }

    #[test]
    fn values_of_every_type_and_columns_of_no_type() {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None])]);
        let batch = RecordBatch::try_from_iter([
            ("i", Arc::new(Int64Array::from(vec![i64::MIN])) as ArrayRef),
            ("f", Arc::new(Float64Array::from(vec![2.0]))),
            ("b", Arc::new(BinaryArray::from(vec![&[0xde, 0xad][..]]))),
            ("t", Arc::new(TimestampMicrosecondArray::from(vec![1_795_163_401_123_456]).with_timezone("UTC"))),
            ("l", Arc::new(list)),
        ])
        .unwrap();
        let got = printed(1, vec![(0, vec![batch.clone()])], batch.schema()).concat();
        assert!(
            got.contains("| -9223372036854775808 | 2.0 | dead | 2026-11-20T08:30:01.123456Z | [1, null] |"),
            "{got}"
        );
        let none = RecordBatch::try_new_with_options(
            Arc::new(Schema::empty()),
            vec![],
            &arrow::array::RecordBatchOptions::new().with_row_count(Some(7)),
        )
        .unwrap();
        assert!(printed(1, vec![(0, vec![none.clone()])], none.schema())[0].ends_with("(7 rows without columns)\n"));
    }

    #[test]
    fn hostile_text_is_made_harmless_and_cut() {
        assert_eq!(harmless("a\u{1b}[2Jb\nc\u{9b}d\u{202e}e", 80), "a\\u{1b}[2Jb\\nc\\u{9b}d\\u{202e}e");
        assert_eq!(harmless(&"ä".repeat(80), 80), "ä".repeat(80));
        assert_eq!(harmless(&"ä".repeat(81), 80), format!("{}…", "ä".repeat(80)));
        let mut long = Vec::new();
        let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![&[7; 41][..], &[7; 40][..]]));
        show_cells(&mut long, &bytes, 2).unwrap();
        assert_eq!(long, [format!("{}…", "07".repeat(40)), "07".repeat(40)]);
    }

    #[test]
    fn empty_batches_are_shown_at_most_once_a_second() {
        let schema = word_rows(&[]).schema();
        let row = || vec![word_rows(&[Some("x")])];
        let got = printed(
            10,
            vec![
                (0, vec![]),
                (500_000, vec![]),
                (900_000, vec![word_rows(&[])]),
                (950_000, row()),
                (1_950_000, vec![]),
            ],
            schema,
        );
        assert_eq!(got.len(), 3);
        assert!(got[0].ends_with("(no rows)\n"), "{got:?}");
        assert!(got[1].starts_with("(2 empty batches not shown)\n---") && got[1].contains("batch 4"), "{got:?}");
        assert!(got[2].contains("01.950  (batch 5") && got[2].ends_with("(no rows)\n"), "{got:?}");
    }

    #[test]
    fn a_closed_standard_output_is_a_permanent_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut sink = PrintSink::new("screen", 10, word_rows(&[]).schema(), Box::new(Closed));
        let error = sink.commit(BatchId(3), BatchTime(0), vec![]).unwrap_err();
        assert_eq!(error.kind, millstream_base::error::Kind::Plugin);
        let begin = "sink `screen`: batch 3: cannot write to standard output: the program that reads it has ended; ";
        assert!(error.message.starts_with(begin), "{error}");
    }
}
