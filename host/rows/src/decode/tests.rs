use super::*;
use crate::batch::column::ColumnSource;
use arrow::array::{Array, AsArray, make_array};
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int64Type, TimestampMicrosecondType};
use bytes::Bytes;
use millstream_base::limits::REJECTED_BYTES_MAX;

/// Records as in a file.
pub fn source(format: Format, columns: &[(&str, &str)]) -> DecoderSpec {
    let columns = columns.iter().map(|(name, word)| {
        let (kind, form) = ColumnSpec::type_of(word).unwrap();
        ColumnSpec::new(name.rsplit('.').next().unwrap(), kind).at(name.split('.')).written(form)
    });
    DecoderSpec {
        format,
        columns: columns.collect(),
        row_schema: None,
        bounds: RecordBounds::File,
        accepts_values: false,
        writes_hex: false,
        make_rows: None,
        rejected_bytes_max: REJECTED_BYTES_MAX,
    }
}

fn chunk<T: AsRef<[u8]>>(records: &[T], delimiter: &[u8]) -> Chunk {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for record in records {
        bytes.extend_from_slice(record.as_ref());
        bytes.extend_from_slice(delimiter);
        ends.push(bytes.len() as u32);
    }
    Chunk { bytes: bytes.into(), ends, ..Chunk::default() }
}

/// Returns the single value of a record in a column of this type as text, or why it is rejected.
fn one(format: Format, kind: &str, record: &str) -> String {
    let mut decoder = Decoder::new(source(format, &[("n", kind)]));
    shown_rows(&decoder.decode(&chunk(&[record], b"\n")))
}

/// Returns rows as `a|b`, rejected ones as `!reason`, rows before rejected rows.
pub fn shown_rows(decoded: &DecodedChunk) -> String {
    let cell = |column: &dyn Array, row| {
        if column.is_null(row) {
            return "null".to_string();
        }
        match ColumnType::from_arrow(column.data_type()) {
            ColumnType::Bool => column.as_boolean().value(row).to_string(),
            ColumnType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
            ColumnType::Float64 => column.as_primitive::<Float64Type>().value(row).to_string(),
            ColumnType::Text => column.as_string::<i32>().value(row).to_string(),
            ColumnType::Binary => format!("{:?}", column.as_binary::<i32>().value(row)),
            ColumnType::Timestamp => column.as_primitive::<TimestampMicrosecondType>().value(row).to_string(),
            ColumnType::Arrow(DataType::Date32) => {
                let mut date = String::new();
                crate::batch::cell::write_date(&mut date, column.as_primitive::<Date32Type>().value(row));
                date
            }
            ColumnType::Arrow(_) => {
                let one = RecordBatch::try_from_iter([("a", make_array(column.slice(row, 1).to_data()))]).unwrap();
                crate::batch::json::as_text(one).unwrap().column(0).as_string::<i32>().value(0).to_string()
            }
        }
    };
    let rows = &decoded.rows;
    let mut lines: Vec<String> = (0..rows.num_rows())
        .map(|row| rows.columns().iter().map(|column| cell(column, row)).collect::<Vec<_>>().join("|"))
        .collect();
    if let Some(rejected) = &decoded.rejected {
        assert_eq!(rejected.schema(), rejected_schema());
        lines.extend((0..rejected.num_rows()).map(|row| format!("!{}", cell(rejected.column(1), row))));
    }
    lines.join("\n")
}

#[test]
fn json_values_of_every_type() {
    let time = "(RFC 3339, for example 2024-05-01T12:00:00Z)";
    let cases = [
        ("int64", "12", "12"),
        ("int64", "-9223372036854775808", "-9223372036854775808"),
        ("int64", "\"12\"", "12"),
        ("int64", "3.0", "3"),
        ("int64", "1e3", "1000"),
        ("int64", "3.5", "!column `n`: `3.5` is not an int64"),
        ("int64", "\"abc\"", "!column `n`: `abc` is not an int64"),
        ("int64", "\"\"", "!column `n`: `` is not an int64"),
        ("int64", "true", "!column `n`: `true` is not an int64"),
        ("int64", "[1]", "!column `n`: `[1]` is not an int64"),
        ("int64", "9223372036854775808", "!column `n`: 9223372036854775808 is out of range of int64"),
        ("int64", "1e400", "!column `n`: 1e400 is out of range of int64"),
        ("int64", "1e17", "!column `n`: 1e17 is not an integer that a float represents exactly"),
        ("int64", "9007199254740991.0", "9007199254740991"),
        (
            "int64",
            "9223372036854775807.0",
            "!column `n`: 9223372036854775807.0 is not an integer that a float represents exactly",
        ),
        ("int64", "9223372036854775808.0", "!column `n`: 9223372036854775808.0 is out of range of int64"),
        ("int64", "-9.3e18", "!column `n`: -9.3e18 is out of range of int64"),
        (
            "int64",
            "9007199254740993.0",
            "!column `n`: 9007199254740993.0 is not an integer that a float represents exactly",
        ),
        ("int64", "null", "null"),
        ("float64", "12", "12"),
        ("float64", "-1.5e2", "-150"),
        ("float64", "\"12.50\"", "12.5"),
        ("float64", "1e400", "!column `n`: 1e400 is out of range of float64"),
        ("float64", "\"x\"", "!column `n`: `x` is not a float64"),
        ("bool", "true", "true"),
        ("bool", "\"false\"", "false"),
        ("bool", "1", "!column `n`: `1` is not a bool (true or false)"),
        ("text", "\"a\\u00e9\\n\"", "aé\n"),
        ("text", "\"\"", ""),
        ("text", "12.50", "12.50"),
        ("text", "false", "false"),
        ("text", "{\"a\": [1]}", "{\"a\": [1]}"),
        ("binary", "\"é\"", "[195, 169]"),
        ("timestamp(us)", "1700000000000001", "1700000000000001"),
        ("timestamp(us)", "\"1700000000000001\"", "1700000000000001"),
        ("timestamp(s)", "1700000000", "1700000000000000"),
        ("timestamp(ms)", "\"1700000000001\"", "1700000000001000"),
        ("timestamp(ns)", "1700000000000001999", "1700000000000001"),
        ("timestamp(%s)", "1700000000", "1700000000000000"),
        (
            "timestamp",
            "1700000000",
            "!column `n`: 1700000000 is a number without a unit; it looks like seconds (as seconds since \
            1970 it is 2023-11-14T22:13:20Z): write n = \"timestamp(s)\" in the schema, or the time as text, for \
            example 2024-05-01T12:00:00Z",
        ),
        ("timestamp", "\"2023-11-14T22:13:20.5Z\"", "1700000000500000"),
        ("timestamp", "\"2023-11-15T00:13:20+02:00\"", "1700000000000000"),
        ("timestamp", "\"2023-11-14é22:13:20\"", "!column `n`: `2023-11-14é22:13:20` is not a timestamp TIME"),
        ("timestamp", "\"soon\"", "!column `n`: `soon` is not a timestamp TIME"),
        ("timestamp(ms)", "99999999999999999999", "!column `n`: 99999999999999999999 is out of range of timestamp"),
        ("timestamp", "true", "!column `n`: `true` is not a timestamp TIME"),
    ];
    for (kind, value, expected) in cases {
        let shown = one(Format::Json, kind, &format!("{{\"n\":{value}}}"));
        assert_eq!(shown, expected.replace("TIME", time), "{kind} {value}");
    }
    assert_eq!(one(Format::Json, "int64", "{}"), "null");
    assert_eq!(one(Format::Json, "int64", "[1]"), "!not a JSON object");
    assert_eq!(one(Format::Json, "int64", " "), "", "a blank line is no row");
    assert_eq!(one(Format::Json, "int64", "\u{FEFF}{\"n\":1}"), "1");
    let cut = "!not JSON: expected `,` or `}`, but the text ends at byte 6";
    assert_eq!(one(Format::Json, "int64", "{\"n\":1"), cut);
}

#[test]
fn csv_values_of_every_type() {
    let csv = || Format::Csv { header: false, separator: b',' };
    let cases = [
        ("int64", "12", "12"),
        ("int64", " -3 ", "-3"),
        ("int64", "\"\"", "null"),
        ("int64", "x", "!column `n`: `x` is not an int64"),
        ("float64", "2.5", "2.5"),
        ("bool", "True", "true"),
        ("bool", "0", "!column `n`: `0` is not a bool (true or false)"),
        ("timestamp", "2023-11-14 22:13:20", "1700000000000000"),
        ("text", "\"a,\"\"b\"\"\nc\"", "a,\"b\"\nc"),
        ("text", " 5\" pipe", " 5\" pipe"),
        ("text", "\"\"", ""),
        ("text", "\"open", "!missing closing quote"),
        ("text", "a,b", "!2 cells, the schema has 1"),
        ("binary", "é", "[195, 169]"),
        ("text", "", "null"),
        ("int64", "", "null"),
        ("timestamp(s)", "1700000000", "1700000000000000"),
        (
            "timestamp",
            "1700000000000",
            "!column `n`: 1700000000000 is a number without a unit; it looks like milliseconds (as \
            milliseconds since 1970 it is 2023-11-14T22:13:20Z): write n = \"timestamp(ms)\" in the schema, or the \
            time as text, for example 2024-05-01T12:00:00Z",
        ),
    ];
    for (kind, value, expected) in cases {
        assert_eq!(one(csv(), kind, value), expected, "{kind} {value}");
    }
    let mut decoder = Decoder::new(source(csv(), &[("a", "text"), ("b", "int64")]));
    let rows = decoder.decode(&chunk(&["x,", ",1", "", "y", "z,q"], b"\r\n"));
    assert_eq!(shown_rows(&rows), "x|null\nnull|1\n!1 cells, the schema has 2\n!column `b`: `q` is not an int64");
    assert_eq!(rows.rows.num_rows(), 2, "a blank line is no row");
}

#[test]
fn csv_columns_are_found_by_the_header_of_their_file() {
    let format = Format::Csv { header: true, separator: b';' };
    let mut decoder = Decoder::new(source(format, &[("a", "text"), ("b", "int64")]));
    let mut rows = |header: &'static str, line| {
        let header = Bytes::from_static(header.as_bytes());
        shown_rows(&decoder.decode(&Chunk { header, ..chunk(&[line], b"\n") }))
    };
    assert_eq!(rows("b;\"c;c\"; a", "1;2;x"), "x|1");
    assert_eq!(rows("a;b", "x;1"), "x|1");
    assert_eq!(rows("a;b", "x;1;2"), "!3 cells, the header has 2");
    assert_eq!(rows("a;c", "x;1"), "!the header has no column `b`: a;c");
}

#[test]
fn nested_fields_repeated_keys_and_any_order() {
    let columns = [("user.name", "text"), ("user.home.zip", "int64"), ("user", "text"), ("n", "int64")];
    let mut decoder = Decoder::new(source(Format::Json, &columns));
    let lines = [
        r#"{"user":{"name":"a","home":{"zip":1}},"n":1}"#,
        r#"{"n":2,"x":{"n":9},"user":{"home":{"zip":2},"name":"b"}}"#,
        r#"{"n":1,"n":3,"user":{"name":"c"},"user":{"home":{"zip":"3"}}}"#,
        r#"{"\u006e":4,"user":null}"#,
        r#"{"n":5,"user":{"home":7}}"#,
    ];
    let expected = [
        r#"a|1|{"name":"a","home":{"zip":1}}|1"#,
        r#"b|2|{"home":{"zip":2},"name":"b"}|2"#,
        r#"null|3|{"home":{"zip":"3"}}|3"#,
        "null|null|null|4",
        "!`home` is not a JSON object",
    ];
    assert_eq!(shown_rows(&decoder.decode(&chunk(&lines, b"\n"))), expected.join("\n"));
}

#[test]
fn a_rejected_row_leaves_nothing_behind_and_keeps_its_place() {
    let mut decoder = Decoder::new(source(Format::Json, &[("a", "text"), ("n", "int64")]));
    let long = format!("{{\"a\":\"{}", "é".repeat(2_000));
    let lines: [&[u8]; 6] = [
        b"{\"a\":\"x\",\"n\":1}",
        b"{\"a\":\"half\",\"n\":\"?\"}",
        b"{\"n\":2,\"a\":\"\xFF\"}",
        b"refused",
        long.as_bytes(),
        b"{\"n\":3}",
    ];
    let mut chunk = chunk(&lines, b"\r\n");
    chunk.rejected.push(crate::batch::chunk::RejectedRecord { row: 3, reason: "too long".into(), dropped: 0 });
    for _ in 0..2 {
        let decoded = decoder.decode(&chunk);
        let expected = "x|1\nnull|3\n!column `n`: `?` is not an int64\n!not UTF-8 at byte 12\n!too long\n\
                        !not JSON: expected the closing quote of a string, but the text ends at byte 4006 (the first 1024 of \
                        4006 bytes are here, by rejected_bytes_max)";
        assert_eq!(shown_rows(&decoded), expected);
        let rejected = decoded.rejected.unwrap();
        let values: Vec<&str> = rejected.column(0).as_string::<i32>().iter().flatten().collect();
        assert_eq!(values[1..3], ["{\"n\":2,\"a\":\"\u{FFFD}\"}", "refused"]);
        assert_eq!(values[3], &long[..1024]);
    }
}

#[test]
fn text_is_taken_as_it_is() {
    let mut decoder = Decoder::new(source(Format::Text, &[]));
    assert_eq!(crate::batch::types::describe(&decoder.schema()), "value text");
    let decoded = decoder.decode(&chunk(&["a b", "", "é\r"], b"\n"));
    assert_eq!(shown_rows(&decoded), "a b\n\né");
    // Each half of a character is invalid, although both together are valid.
    let halves = Chunk { ends: vec![2, 4], ..chunk(&[b"a\xC3\xA9b"], b"") };
    assert_eq!(shown_rows(&decoder.decode(&halves)), "!not UTF-8 at byte 1\n!not UTF-8 at byte 0");
    assert_eq!(one(Format::Text, "int64", "12"), "12");
    assert_eq!(one(Format::Text, "binary", "12"), "[49, 50]");
}

#[test]
fn binary_records_and_frames() {
    let frames =
        |format, columns: &[_]| Decoder::new(DecoderSpec { bounds: RecordBounds::Prefix, ..source(format, columns) });
    let binary = |record_bytes| Format::Binary { record_bytes };
    let mut good = vec![0, 0, 0, 17, 1];
    good.extend_from_slice(&(-7_i64).to_le_bytes());
    good.extend_from_slice(&1.5_f64.to_le_bytes());
    let mut bad = good.clone();
    bad[4] = 2;
    let mut raw = frames(binary(None), &[("b", "bool"), ("n", "int64"), ("f", "float64")]);
    let decoded = raw.decode(&chunk(&[&good, &bad, &good[..9]], b""));
    let expected = "true|-7|1.5\n!column `b`: byte 2 is not a bool (0 or 1)\n!5 bytes, the columns take 17";
    assert_eq!(shown_rows(&decoded), expected);
    let decoded = frames(binary(None), &[("b", "text")]).decode(&chunk(&["\0\0\0\x02\u{e9}", "\0\0\0\x01\n"], b""));
    assert_eq!(shown_rows(&decoded), "é\n\n");
    let decoded = frames(Format::Json, &[("b", "int64")]).decode(&chunk(&[b"\0\0\0\x88{\"b\":1}"], b""));
    assert_eq!(shown_rows(&decoded), "1");
    let times = |format| Decoder::new(source(format, &[("s", "timestamp(s)"), ("ns", "timestamp(ns)")]));
    let record = |s: i64, ns: i64| [s.to_le_bytes(), ns.to_le_bytes()].concat();
    let decoded = times(binary(Some(16))).decode(&chunk(&[record(2, 3_999), record(i64::MAX, 0)], b""));
    assert_eq!(shown_rows(&decoded), "2000000|3\n!column `s`: 9223372036854775807 is out of range of timestamp");
    let decoded = times(Format::Json).decode(&chunk(&["{\"s\":\"1970-01-01T00:00:01Z\"}"], b"\n"));
    assert_eq!(shown_rows(&decoded), "1000000|null");
}

#[test]
fn rows_of_a_queue_are_objects_arrays_or_bare_values() {
    let queue = |columns: &[_]| {
        let records = source(Format::Json, columns);
        Decoder::new(DecoderSpec { bounds: RecordBounds::Ends, accepts_values: true, ..records })
    };
    let decoded = queue(&[("k", "text"), ("v", "int64")]).decode(&chunk(&["{\"v\":1}", "[\"a\", 2]", "[1]", "7"], b""));
    let expected = "null|1\na|2\n!1 values in the array, the schema has 2\n\
                    !a bare value needs a schema of one column, this one has 2";
    assert_eq!(shown_rows(&decoded), expected);
    let decoded = queue(&[("k", "text")]).decode(&chunk(&["\"a\"", "null", "2.50"], b""));
    assert_eq!(shown_rows(&decoded), "a\nnull\n2.50");
}

#[test]
fn columns_of_what_came_with_a_value_stand_where_the_schema_has_them() {
    use crate::batch::envelope::{RecordMetadata, put};
    use crate::batch::position::Extent;
    let column = |name: &str, kind, from| ColumnSpec::new(name, kind).from(from);
    let columns = vec![
        column("o", ColumnType::Int64, ColumnSource::Offset),
        ColumnSpec::new("a", ColumnType::Int64),
        column("k", ColumnType::Text, ColumnSource::Key),
        ColumnSpec::new("b", ColumnType::Text),
        column("t", ColumnType::Text, ColumnSource::Topic),
    ];
    let mut source = source(Format::Csv { header: false, separator: b',' }, &[]);
    source.bounds = RecordBounds::Envelope;
    source.columns = columns;
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    let records: [(u64, Option<&[u8]>, &str); 4] =
        [(5, Some(b"x"), "1,one"), (7, None, ""), (9, Some(b"y"), "no"), (11, None, "2,two")];
    for (offset, key, value) in records {
        put(&mut bytes, &RecordMetadata { offset, key, null: value.is_empty(), ..RecordMetadata::default() }).unwrap();
        bytes.extend_from_slice(value.as_bytes());
        ends.push(bytes.len() as u32);
    }
    let extent = Extent { file: "/topic/3".into(), start: 4, bytes: 9, row: 0 };
    let mut chunk = Chunk { bytes: bytes.into(), ends, extent, ..Chunk::default() };
    let mut decoder = Decoder::new(source);
    let decoded = decoder.decode(&chunk);
    assert_eq!(decoded.rows.schema(), decoder.schema());
    let expected = "5|1|x|one|topic 7|null|null|null|topic 11|2|null|two|topic !1 cells, the schema has 2";
    assert_eq!(shown_rows(&decoded).split_whitespace().collect::<Vec<_>>().join(" "), expected);

    // After a cut, extents cover all offsets, and a gap between two records belongs to the second.
    let front = chunk.cut_front(2);
    let range = |chunk: &Chunk| (chunk.extent.start, chunk.extent.start + chunk.extent.bytes, chunk.rows());
    assert_eq!((range(&front), range(&chunk)), ((4, 8, 2), (8, 13, 2)));
    assert_eq!((front.end_position().offset, chunk.end_position().offset), (8, 13));
}
