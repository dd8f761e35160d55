use super::*;
use millstream_base::random::Random;
use std::io::Write;

fn sample() -> Sample {
    Sample { format: None, header: None, separator: None, rows_max: 10_000, bytes_max: 1 << 20 }
}

fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    (dir, path)
}

fn of(name: &str, content: &str, sample: &Sample) -> Inferred {
    let (_dir, path) = file(name, content.as_bytes());
    infer("in", &path, sample).unwrap()
}

fn columns(inferred: &Inferred) -> String {
    let columns = inferred.source.schema.iter().map(|column| format!("{} {}", column.name, column.type_word()));
    columns.collect::<Vec<_>>().join(", ")
}

fn error(name: &str, content: &[u8]) -> String {
    let (_dir, path) = file(name, content);
    infer("in", &path, &sample()).unwrap_err().message
}

#[test]
fn formats_are_told_by_how_a_file_looks() {
    let json = of("a.log", "\u{FEFF}{\"a\":1}\r\n\n{\"a\":2}", &sample());
    assert_eq!((json.source.format.clone(), columns(&json), json.records), (Format::Json, "a int64".into(), 2));
    let csv = of("a", "n;name\n1;x,y\n2;\"a;\nb\"\n", &sample());
    assert_eq!(csv.source.format, Format::Csv { header: true, separator: b';' });
    assert_eq!((columns(&csv), csv.records, csv.rejected), ("n int64, name text".into(), 2, 0));
    let rows = of("a.tsv", "1\t2.5\n3\t4\n", &sample());
    assert_eq!(rows.source.format, Format::Csv { header: false, separator: b'\t' });
    assert_eq!((columns(&rows), rows.records), ("column_1 int64, column_2 float64".into(), 2));
    assert_eq!(of("a.csv", "name\nx\n", &sample()).source.format, Format::Csv { header: true, separator: b',' });
    let text = of("a.txt", "to be, or\nnot to be\n", &sample());
    assert_eq!((text.source.format.clone(), columns(&text), text.records), (Format::Text, "value text".into(), 2));
    let forced = Sample { format: Some("csv".into()), header: Some(false), separator: Some(b' '), ..sample() };
    assert_eq!(columns(&of("a.txt", "a 1\nb 2\n", &forced)), "column_1 text, column_2 int64");
}

#[test]
fn headers_that_no_schema_can_have_are_left_out() {
    let named = Sample { header: Some(true), ..sample() };
    let csv = of("a.csv", ",a,a,b c\n1,2,x,3\n2,,4,5\n", &named);
    assert_eq!(columns(&csv), "a text, b c int64");
    assert_eq!(csv.rejected, 0, "{:?}", csv.notes);
    assert!(csv.notes.iter().any(|note| note.contains("two columns are named `a`")), "{:?}", csv.notes);
}

#[test]
fn a_part_of_a_file_is_enough() {
    let lines: String = (0..1_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let some = of("a.jsonl", &lines, &Sample { rows_max: 10, ..sample() });
    assert_eq!((some.records, some.rejected, some.is_complete), (10, 0, true));
    // The last record is cut in the middle, and does not count.
    let cut = of("a.jsonl", &lines, &Sample { bytes_max: 1_000, ..sample() });
    assert_eq!((cut.rejected, cut.is_complete), (0, false));
    let (_dir, path) = file("a.jsonl", format!("{{\"a\":\"{}\"}}\n", "x".repeat(5_000)).as_bytes());
    let short = infer("in", &path, &Sample { bytes_max: 100, ..sample() }).unwrap_err();
    assert!(short.message.contains("read more with --bytes"), "{short}");
}

#[test]
fn compressed_files_are_read_as_a_source_reads_them() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"{\"a\":true}\n").unwrap();
    let (_dir, path) = file("a.jsonl.gz", &gzip.finish().unwrap());
    assert_eq!(columns(&infer("in", &path, &sample()).unwrap()), "a bool");
    let (_dir, path) = file("a.zst", &zstd::encode_all(&b"a,b\n1,2\n"[..], 1).unwrap());
    assert_eq!(columns(&infer("in", &path, &sample()).unwrap()), "a int64, b int64");
}

#[test]
fn damage_is_a_record_that_would_be_rejected() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"id,n\n1,a\n").unwrap();
    let complete = gzip.finish().unwrap();
    // Within the header, and after a row.
    for (at, records) in [(14, 1), (complete.len() - 1, 2)] {
        let (_dir, path) = file("in.csv.gz", &complete[..at]);
        let found = infer("in", &path, &sample()).unwrap();
        assert_eq!((found.records, found.rejected), (records, 1), "{at}: {:?}", found.notes);
        assert!(found.notes.iter().any(|note| note.contains("is damaged or incomplete")), "{at}: {:?}", found.notes);
    }
}

#[test]
fn blank_lines_are_records_where_the_job_reads_them_as_such() {
    let records = |name: &str, content: &str| of(name, content, &sample()).records;
    assert_eq!(records("a.csv", "name\nx\n\ny\n"), 3);
    assert_eq!(records("a.csv", "id,name\n1,x\n\n2,y\n"), 2);
    assert_eq!(records("a.jsonl", "{\"a\":1}\n\n{\"a\":2}\n"), 2);
    let some = of("a.csv", "id,name\n\n1,x\n\n2,y\n3,z\n", &Sample { rows_max: 2, ..sample() });
    assert_eq!(some.records, 2);
}

#[test]
fn what_no_source_reads_is_told_with_what_to_do() {
    for (name, content, expected) in [
        ("a", &b""[..], "it is empty"),
        ("a.json", b"{\n \"a\": 1\n}\n", "jq -c ."),
        ("a.json", b"[{\"a\":1},{\"a\":2}]", "jq -c '.[]'"),
        ("a", b"PAR1xxxx", "cannot be read as Parquet"),
        ("a", b"\xff\xfe\0\0", "UTF-16"),
        ("a", b"\xff\0\0\0", "format = \"binary\""),
        ("a.jsonl", b"{\"\":1}\n", "no record has a value in a column"),
    ] {
        let error = error(name, content);
        assert!(error.contains(expected), "{name}: {error}");
    }
    let dir = tempfile::tempdir().unwrap();
    assert!(infer("in", dir.path(), &sample()).unwrap_err().message.contains("is a directory"));
    assert!(infer("in", &dir.path().join("no"), &sample()).unwrap_err().message.contains("cannot read"));
}

#[test]
fn what_a_record_would_be_rejected_for_is_told() {
    let bad = of("a.jsonl", "{\"a\":1}\n{\"a\":\n[1]\n{\"a\":2}\n", &sample());
    assert_eq!((columns(&bad), bad.rejected), ("a int64".into(), 2));
    assert!(
        bad.notes.iter().any(|note| note.contains("would be rejected: not a JSON object (`[1]`)")),
        "{:?}",
        bad.notes
    );
}

/// Returns a value of a column that is mostly of one type.
fn value(random: &mut Random, sort: u64) -> serde_json::Value {
    use serde_json::json;
    let sort = if random.below(40) == 0 { random.below(12) } else { sort };
    match sort {
        0 => json!(random.next() as i64),
        1 => json!(random.below(2_000) as i64 - 1_000),
        2 => json!((random.next() as i64 as f64) / 1_000.0),
        3 => json!(random.below(2) == 0),
        4 => json!(
            ["", "007", "1", "true", "2024-05-01T12:00:00Z", "a\"b,;\n\tc", "ä\u{0}日", " 12 ", "NaN"][random.index(9)]
        ),
        5 => json!(format!(
            "20{:02}-0{}-1{}T12:00:0{}{}",
            random.below(90) + 10,
            random.below(9) + 1,
            random.below(9),
            random.below(9),
            ["Z", "+02:00", ".25Z"][random.index(3)]
        )),
        6 => json!({ "a": random.below(9), "b.c": { "0": "x" }, "d": null }),
        7 => json!([1, "x", { "y": null }]),
        8 => json!(random.next()),
        9 => json!({}),
        10 => json!(1_700_000_000_000_u64 + random.below(1_000_000)),
        _ => serde_json::Value::Null,
    }
}

const KEYS: [&str; 10] = ["a", "a b", "a.b", "0", "ä日", "q\"uo\\te", "created_at", "tab\there", "a_b", "\u{202e}x"];

#[test]
fn no_record_of_a_sample_is_rejected_by_what_was_found_in_it() {
    let seed = 27;
    for round in 0..300 {
        let mut random = Random(seed + round);
        let sorts: Vec<u64> = KEYS.iter().map(|_| random.below(12)).collect();
        let records = random.below(60) + 1;
        let mut json = String::new();
        for _ in 0..records {
            let mut record = serde_json::Map::new();
            for (key, sort) in KEYS.iter().zip(&sorts) {
                if random.below(5) > 0 {
                    record.insert((*key).into(), value(&mut random, *sort));
                }
            }
            record.insert("always".into(), 1.into());
            json.push_str(&format!("{}\n", serde_json::Value::Object(record)));
        }
        let found = of("a.jsonl", &json, &sample());
        assert_eq!((found.rejected, found.records), (0, records), "round {round}: {:?}\n{json}", found.notes);

        let separator = SEPARATORS[random.index(4)];
        let mut csv = String::new();
        let cell = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let header: Vec<String> = KEYS.iter().map(|key| cell(&key.replace('\t', " "))).collect();
        csv.push_str(&format!("{}\n", header.join(&char::from(separator).to_string())));
        for _ in 0..records {
            let cells = sorts.iter().map(|sort| match value(&mut random, *sort) {
                serde_json::Value::Null => String::new(),
                serde_json::Value::String(text) => cell(&text),
                other => cell(&other.to_string()),
            });
            csv.push_str(&format!("{}\n", cells.collect::<Vec<_>>().join(&char::from(separator).to_string())));
        }
        let known = Sample { format: Some("csv".into()), header: Some(true), separator: Some(separator), ..sample() };
        let found = of("a.csv", &csv, &known);
        assert_eq!((found.rejected, found.records), (0, records), "round {round}: {:?}\n{csv}", found.notes);
    }
}

#[test]
fn any_bytes_are_looked_at_without_a_panic() {
    for round in 0..2_000 {
        let mut random = Random(round);
        let length = random.below(200);
        let pieces: [&[u8]; 12] = [b"{", b"}", b"\"", b":", b",", b"\n", b"1", b"\xff", b"\0", b"a;", b"[", b"\\u"];
        let content: Vec<u8> = (0..length).flat_map(|_| pieces[random.index(12)].to_vec()).collect();
        let (_dir, path) = file("a", &content);
        let _ = infer("in", &path, &sample());
    }
}
