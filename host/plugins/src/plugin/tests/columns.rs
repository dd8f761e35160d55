//! Columns there and back again, and columns that lie.

use crate::plugin::WrittenOut;
use crate::plugin::bindings::{BatchOut, ColumnOut, Rejection};
use crate::plugin::lift;
use crate::plugin::lower::Lowered;
use arrow::array::*;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{DictionaryHandling, IpcWriteOptions, StreamWriter};
use millstream_rows::batch::rejected::RejectedRow;
use std::sync::Arc;

/// Every type of column, with nulls, long enough that bitmaps have several bytes.
fn all_types(rows: usize) -> RecordBatch {
    let valid = |row: usize| row % 3 != 1;
    let number = |row: usize| valid(row).then_some(row as i64 * 7_919 - 50);
    let words = ["", "a", "naïve", "日本", "plain words"];
    let text = |row: usize| valid(row).then_some(words[row % words.len()]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("bool", Arc::new((0..rows).map(|row| valid(row).then_some(row % 2 == 0)).collect::<BooleanArray>())),
        ("int", Arc::new((0..rows).map(number).collect::<Int64Array>())),
        ("float", Arc::new((0..rows).map(|row| number(row).map(|n| n as f64 / 3.0)).collect::<Float64Array>())),
        ("text", Arc::new((0..rows).map(text).collect::<StringArray>())),
        ("binary", Arc::new((0..rows).map(|row| text(row).map(str::as_bytes)).collect::<BinaryArray>())),
        ("time", Arc::new((0..rows).map(number).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))),
        ("full", Arc::new((0..rows).map(|row| Some(row as i64)).collect::<Int64Array>())),
        ("small", Arc::new((0..rows).map(|row| number(row).map(|n| n as i32)).collect::<Int32Array>())),
        ("dictionary", Arc::new((0..rows).map(text).collect::<DictionaryArray<Int32Type>>())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// The output of a guest that returns its input.
fn echoed(lowered: &Lowered, rows: usize) -> BatchOut {
    let columns = lowered.columns().into_iter().map(|column| ColumnOut {
        validity: column.validity.map(<[u8]>::to_vec),
        offsets: column.offsets.map(<[u8]>::to_vec),
        data: column.data.to_vec(),
    });
    BatchOut { rows: rows as u32, columns: columns.collect() }
}

fn promised<'a>(what: &'a str, schema: &'a SchemaRef, rows: Option<usize>) -> lift::ExpectedBatch<'a> {
    static NONE: WrittenOut = WrittenOut(Vec::new());
    lift::ExpectedBatch { what, schema, written: &NONE, rows, counts: None }
}

fn nullable(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>()))
}

#[test]
fn any_slice_survives_the_round_trip() {
    let complete = all_types(67);
    let schema = nullable(complete.schema_ref());
    for (start, length) in [(0, 67), (0, 0), (67, 0), (1, 1), (3, 9), (5, 62), (8, 16), (13, 8)] {
        let slice = complete.slice(start, length);
        let lowered = Lowered::new(&slice, &WrittenOut::default()).unwrap();
        for column in lowered.columns() {
            if let Some(offsets) = column.offsets {
                assert_eq!(offsets[..4], [0; 4], "offsets begin with 0");
                assert_eq!(
                    offsets[offsets.len() - 4..],
                    (column.data.len() as u32).to_le_bytes(),
                    "and end with the data"
                );
            }
        }
        let back = lift::batch(promised("rows", &schema, Some(length)), echoed(&lowered, length)).unwrap();
        assert_eq!(back.columns(), slice.columns(), "rows {start} and {length} more");
    }
}

fn column(validity: Option<&[u8]>, offsets: Option<&[i32]>, data: &[u8]) -> ColumnOut {
    let offsets = offsets.map(|offsets| offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect());
    ColumnOut { validity: validity.map(<[u8]>::to_vec), offsets, data: data.to_vec() }
}

#[test]
fn lies_are_found() {
    let (text, binary, int, bool) = (DataType::Utf8, DataType::Binary, DataType::Int64, DataType::Boolean);
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let small = DataType::Int32;
    let cases: Vec<(&DataType, usize, ColumnOut, &str)> = vec![
        (&text, 2, column(None, Some(&[0, 2]), b"ab"), "`offsets` has 8 bytes, but 2 rows need 3 numbers"),
        (&text, 2, column(None, Some(&[0, 3, 2]), b"ab"), "`offsets` falls at row 1: 3 … 2"),
        (&text, 2, column(None, Some(&[0, -1, 2]), b"ab"), "`offsets` falls at row 0: 0 … -1"),
        (&text, 2, column(None, Some(&[-1, 1, 2]), b"ab"), "`offsets` begins with -1"),
        (&text, 2, column(None, Some(&[0, 1, 3]), b"ab"), "`offsets` ends with 3, but `data` has 2 bytes"),
        (&text, 2, column(None, Some(&[0, 1, 1]), b"ab"), "`offsets` ends with 1, but `data` has 2 bytes"),
        (&text, 2, column(None, None, b"ab"), "a text column needs `offsets`"),
        (&text, 2, column(None, Some(&[0, 1, 3]), b"a\xffb"), "row 1 is not UTF-8"),
        (&text, 2, column(None, Some(&[0, 1, 2]), "é".as_bytes()), "row 1 begins within a UTF-8 character"),
        (&text, 0, column(None, Some(&[]), b""), "`offsets` has 0 bytes, but 0 rows need 1 numbers"),
        (&binary, 1, column(None, Some(&[0, i32::MAX]), b""), "`offsets` ends with 2147483647"),
        (&int, 2, column(None, None, &[0; 15]), "`data` has 15 bytes, but 2 rows need 8 each"),
        (&int, 2, column(None, Some(&[0, 1, 2]), &[0; 16]), "a int64 column has no `offsets`"),
        (&int, usize::MAX, column(None, None, &[0; 16]), "`data` has 16 bytes"),
        (&int, 9, column(Some(&[0xff]), None, &[0; 72]), "`validity` is a bitmap of 1 bytes, but 9 rows need 2"),
        (&bool, 9, column(None, None, &[0; 3]), "`data` is a bitmap of 3 bytes, but 9 rows need 2"),
        (&time, 1, column(None, None, &[0; 4]), "`data` has 4 bytes"),
        (&small, 1, column(None, None, b""), "is not an Arrow IPC stream: it has no schema"),
        (&small, 1, column(None, None, &[0xff; 64]), "IPC stream"),
        (&small, 1, column(Some(&[1]), None, b""), "an `arrow` column has `data` only"),
    ];
    for (kind, rows, lie, expected) in cases {
        let words = lift::lift_column(&Field::new("x", kind.clone(), true), rows, lie).unwrap_err();
        assert!(words.contains(expected), "expected {expected:?}, found {words:?}");
    }
    let not_null = Field::new("x", DataType::Int64, false);
    let words = lift::lift_column(&not_null, 2, column(Some(&[0b01]), None, &[0; 16])).unwrap_err();
    assert!(words.contains("row 1 is null"), "{words}");
}

#[test]
fn arrow_streams_of_another_kind_are_refused() {
    let batch = all_types(5).project(&[7]).unwrap();
    let stream = || Lowered::new(&batch, &WrittenOut::default()).unwrap().columns()[0].data.to_vec();
    let column = |data: Vec<u8>| ColumnOut { data, ..ColumnOut::default() };
    let wanted = Field::new("small", DataType::Int32, true);
    assert!(lift::lift_column(&wanted, 5, column(stream())).is_ok());
    assert!(lift::lift_column(&wanted, 4, column(stream())).unwrap_err().contains("holds 5 rows"));
    let other = Field::new("small", DataType::Int16, true);
    assert!(
        lift::lift_column(&other, 5, column(stream())).unwrap_err().contains("Int32, but `describe` promised Int16")
    );
    // Any byte damaged: an error or other rows, never a panic and never memory that was not given.
    for at in 0..stream().len() {
        let mut damaged = stream();
        damaged[at] ^= 0x55;
        let _ = lift::lift_column(&wanted, 5, column(damaged));
        let _ = lift::lift_column(&wanted, 5, column(stream()[..at].to_vec()));
    }
}

#[test]
fn arrow_streams_that_a_few_bytes_make_expensive_are_refused() {
    let written = |options: IpcWriteOptions, columns: &[ArrayRef]| {
        let batches = columns.iter().map(|column| RecordBatch::try_from_iter([("x", column.clone())]).unwrap());
        let batches: Vec<RecordBatch> = batches.collect();
        let mut stream = Vec::new();
        let mut writer = StreamWriter::try_new_with_options(&mut stream, &batches[0].schema(), options).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.finish().unwrap();
        drop(writer);
        ColumnOut { data: stream, ..ColumnOut::default() }
    };
    let plain = IpcWriteOptions::default;
    let compressed = plain().try_with_compression(Some(CompressionType::LZ4_FRAME)).unwrap();
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![7; 1000]));
    let field = Field::new("x", DataType::Int32, true);
    assert!(lift::lift_column(&field, 1000, written(plain(), std::slice::from_ref(&numbers))).is_ok());
    let words = lift::lift_column(&field, 1000, written(compressed, &[numbers])).unwrap_err();
    assert!(words.contains("it is compressed"), "{words}");

    let in_pieces = plain().with_dictionary_handling(DictionaryHandling::Delta);
    let words = |words: &[&str]| Arc::new(words.iter().copied().collect::<DictionaryArray<Int32Type>>()) as ArrayRef;
    let columns = [words(&["a"]), words(&["a", "b"])];
    let field = Field::new("x", columns[0].data_type().clone(), true);
    assert!(lift::lift_column(&field, 3, written(plain(), &columns)).is_ok());
    let words = lift::lift_column(&field, 3, written(in_pieces, &columns)).unwrap_err();
    assert!(words.contains("a dictionary of it comes in pieces"), "{words}");
}

#[test]
fn counts_of_rows_and_columns_must_agree() {
    let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let out = |rows, columns: usize| BatchOut { rows, columns: vec![column(None, None, &[0; 8]); columns] };
    assert!(lift::batch(promised("the rows", &schema, Some(1)), out(1, 1)).is_ok());
    let words = lift::batch(promised("the rows", &schema, Some(2)), out(1, 1)).unwrap_err();
    assert_eq!(words, "the rows: 1 rows instead of 2");
    let words = lift::batch(promised("the rows", &schema, None), out(1, 2)).unwrap_err();
    assert_eq!(words, "the rows: 2 columns, but `describe` promised 1");
    assert!(lift::batch(promised("the rows", &schema, None), out(u32::MAX, 1)).is_err());
}

#[test]
fn refused_rows_must_exist_and_come_once() {
    let rejected =
        |rows: &[u32]| rows.iter().map(|row| Rejection { row: *row, reason: "odd\u{1b}[1m".into() }).collect();
    assert_eq!(
        lift::rejections(3, rejected(&[2, 0])).unwrap(),
        [RejectedRow::new(2, "odd [1m"), RejectedRow::new(0, "odd [1m")]
    );
    assert!(lift::rejections(3, rejected(&[3])).unwrap_err().contains("row 3 is rejected, but only 3 rows"));
    assert!(lift::rejections(3, rejected(&[1, 0, 1])).unwrap_err().contains("row 1 is rejected twice"));
}
