//! Text formats of files, and files that cannot be read: line ends of csv, byte order marks, encodings, damage. Nothing is lost
//! without a rejected row.

use flate2::Compression;
use flate2::write::GzEncoder;
use millstream_tests::{HttpServer, Trial, free_port, passing, queue_sink};
use serde_json::{Value, json};
use std::io::Write;

const CSV: &str = "format = \"csv\"\nschema = { id = \"int64\", name = \"text\" }";
const DIR: &str = "kind = \"directory\"\npath = \"files\"\nsettle = \"0s\"\n";

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A job that passes the rows of a source, and its rejected rows, to files.
fn job(source: &str, top: &str) -> Trial {
    passing(&format!("batch = \"0s\"\n{top}"), source, &queue_sink("refused", "in.rejected", "refused"))
}

fn file(keys: &str, content: &[u8]) -> Trial {
    let trial = job(&format!("kind = \"file\"\npath = \"input\"\n{keys}"), "");
    trial.write("input", content);
    trial
}

/// The rows of a file, and the reasons of its rejected rows.
fn rows(keys: &str, content: &[u8]) -> (Vec<Value>, Vec<String>) {
    let trial = file(keys, content);
    trial.run_ok(&[]);
    (trial.rows("out.jsonl"), reasons(&trial))
}

fn reasons(trial: &Trial) -> Vec<String> {
    trial.rows("refused.jsonl").iter().map(|row| row["reason"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn csv_lines_end_in_any_way_outside_of_quotes() {
    let expected = json!([{ "id": 1, "name": "ann" }, { "id": 2, "name": "b\rb\n" }, { "id": 3, "name": "cy" }]);
    for content in [
        "id,name\r1,ann\r2,\"b\rb\n\"\r3,cy\r",
        "id,name\r1,ann\r2,\"b\rb\n\"\r3,cy",
        "id,name\r\n1,ann\n2,\"b\rb\n\"\r3,cy\r\n",
        "\r\rid,name\n\n1,ann\r\r2,\"b\rb\n\"\n\r3,cy\n",
        "\u{FEFF}\"id\",name\r1,ann\r2,\"b\rb\n\"\r3,cy\r",
    ] {
        let (rows, refused) = rows(CSV, content.as_bytes());
        assert_eq!((json!(rows), refused), (expected.clone(), Vec::new()), "{content:?}");
    }
    // Compressed, in small batches, killed and resumed: the plan's records are found again.
    let trial = job(&format!("{DIR}{CSV}\nrows_per_batch_max = 3"), "[checkpoint]\ndir = \"kept\"\n");
    let text: String = (0..20).map(|n| format!("{n},\"a\r{n}\"\r")).collect();
    trial.write("files/1.csv.gz", gzip(format!("id,name\r{text}").as_bytes()));
    trial.write("files/2.csv", format!("\u{FEFF}id,name\r\n{text}"));
    trial.killed("commit.before:1", &["--until-idle"]);
    trial.run_ok(&["--until-idle"]);
    let names: Vec<Value> = trial.rows("out.jsonl").iter().map(|row| row["name"].clone()).collect();
    let expected: Vec<Value> = (0..20).chain(0..20).map(|n| json!(format!("a\r{n}"))).collect();
    assert_eq!((names, reasons(&trial)), (expected, Vec::new()));
}

#[test]
fn a_byte_order_mark_is_not_part_of_the_first_record() {
    let mark = "\u{FEFF}";
    for (keys, record, row) in [
        ("", "ERROR first", json!({ "value": "ERROR first" })),
        (
            "format = \"csv\"\nheader = false\nschema = { id = \"int64\", name = \"text\" }",
            "1,ann",
            json!({ "id": 1, "name": "ann" }),
        ),
        ("format = \"json\"\nschema = { id = \"int64\" }", "{\"id\":1}", json!({ "id": 1 })),
    ] {
        let lines = format!("{mark}{record}\n{record}\n");
        assert_eq!(rows(keys, lines.as_bytes()), (vec![row.clone(); 2], vec![]), "{keys}");
        assert_eq!(rows(keys, &gzip(lines.as_bytes())), (vec![row.clone(); 2], vec![]), "compressed: {keys}");
        let trial = job(&format!("{DIR}rows_per_batch_max = 1\n{keys}"), "[checkpoint]\ndir = \"kept\"\n");
        trial.write("files/1", &lines);
        trial.write("files/2", &lines);
        trial.killed("commit.before:1", &["--until-idle"]);
        trial.run_ok(&["--until-idle"]);
        assert_eq!(
            (trial.rows("out.jsonl"), reasons(&trial)),
            (vec![row; 4], vec![]),
            "the second file of a folder: {keys}"
        );
    }
    assert_eq!(rows("", mark.as_bytes()), (vec![], vec![]), "nothing but a mark");
}

#[test]
fn text_of_another_encoding_is_rejected_with_the_reason() {
    let utf16 = |text: &str| -> Vec<u8> {
        "\u{FEFF}".chars().chain(text.chars()).flat_map(|c| (c as u16).to_le_bytes()).collect()
    };
    for keys in ["", CSV, "format = \"json\"\nschema = { id = \"int64\" }"] {
        let trial = job(&format!("{DIR}rows_per_batch_max = 1\n{keys}"), "[checkpoint]\ndir = \"kept\"\n");
        trial.write("files/1", utf16("id,name\n1,a\n2,b\n"));
        trial.killed("commit.before:1", &["--until-idle"]);
        trial.run_ok(&["--until-idle"]);
        let refused = reasons(&trial);
        assert!(trial.rows("out.jsonl").is_empty() && refused.len() >= 3, "{keys}: {refused:?}");
        assert!(refused.iter().all(|reason| reason.starts_with("the text is UTF-16")), "{keys}: {refused:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_one_rejected_row_that_names_it() {
    let text =
        |from: usize| -> Vec<u8> { (from..from + 3_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect() };
    let complete = gzip(&text(0));
    let cut = [&gzip(b"1\n2\n")[..], &complete[..40]].concat();
    for (checkpoint, files) in [
        (
            "",
            vec![
                ("garbage.gz", b"no gzip".to_vec()),
                ("plain.zst", b"1\n2\n".to_vec()),
                ("head.gz", complete[..5].to_vec()),
            ],
        ),
        (
            "[checkpoint]\ndir = \"kept\"\n",
            vec![("cut.gz", cut), ("broken.zst", zstd::encode_all(&text(9)[..], 3).unwrap()[..900].to_vec())],
        ),
    ] {
        let trial = job(&format!("{DIR}rows_per_batch_max = 1000"), checkpoint);
        files.iter().for_each(|(name, content)| drop(trial.write(&format!("files/{name}"), content)));
        if !checkpoint.is_empty() {
            trial.killed("commit.before:1", &["--until-idle"]);
        }
        let ended = trial.run_ok(&["--until-idle"]);
        let refused = reasons(&trial);
        assert_eq!(refused.len(), files.len(), "{refused:?}");
        for (name, _) in &files {
            let path = format!("files/{name}`");
            let named = refused.iter().filter(|reason| reason.contains(&path)).count();
            assert_eq!(named, 1, "{name}: {refused:?}");
            // What was read before the kill is not read again.
            assert!(!checkpoint.is_empty() || ended.stderr.contains(&path), "{name}: {}", ended.stderr);
        }
    }
    // A header that does not match the source is a row if nothing follows; a matching one is not.
    for (content, refused) in [("[{\"id\":1}]", 1), ("id,other\r\n", 1), ("id,name\n", 0), ("", 0), ("id,name", 0)] {
        let (rows, reasons) = rows(CSV, content.as_bytes());
        assert_eq!((rows.len(), reasons.len()), (0, refused), "{content}: {reasons:?}");
        assert!(reasons.iter().all(|reason| reason.starts_with("the header has no column `")), "{reasons:?}");
    }
}

/// Reading on gives the same result: a truncated header names no columns.
#[test]
fn damage_within_a_header_is_a_rejected_row() {
    let complete = gzip(b"id,name\n1,a\n");
    for at in [11, 12, 14, 16] {
        let (rows, reasons) = rows(CSV, &complete[..at]);
        assert_eq!((rows.len(), reasons.len()), (0, 1), "{at} bytes: {reasons:?}");
        assert!(reasons[0].contains("is damaged or incomplete"), "{at} bytes: {reasons:?}");
    }
    let trial = job(&format!("{DIR}{CSV}"), "[checkpoint]\ndir = \"kept\"\n");
    trial.write("files/1.csv.gz", &complete[..14]);
    trial.write("files/2.csv", b"name,id\nb,2\n");
    trial.killed("commit.before:1", &["--until-idle"]);
    trial.run_ok(&["--until-idle"]);
    assert_eq!((trial.rows("out.jsonl"), reasons(&trial).len()), (vec![json!({ "id": 2, "name": "b" })], 1));
    // A header that is longer than the maximum record, of which the source keeps only the beginning.
    let long: String = (0..400).map(|n| format!(",c{n:04}")).collect();
    let keys = format!("{CSV}\nrecord_bytes_max = \"1KiB\"\nrejected_bytes_max = \"4B\"");
    for (behind, more) in [("", 0), ("\n1,a\n", 1)] {
        let (rows, reasons) = rows(&keys, format!("id,name{long}{behind}").as_bytes());
        assert_eq!((rows.len(), reasons.len()), (0, 1 + more), "{reasons:?}");
        assert!(reasons[0].starts_with("2407 bytes, record_bytes_max is 1024"), "{reasons:?}");
        assert!(reasons[1..].iter().all(|reason| reason.starts_with("the header is missing")), "{reasons:?}");
    }
}

#[test]
fn bytes_are_read_and_written_in_the_configured_encoding() {
    let column = |encoding: &str| format!("schema = {{ b = {{ type = \"binary\", encoding = \"{encoding}\" }} }}");
    let json = |encoding: &str| format!("format = \"json\"\n{}", column(encoding));
    let lines = |strings: &[&str]| strings.iter().map(|text| format!("{{\"b\":\"{text}\"}}\n")).collect::<String>();
    for (encoding, content, expected) in [
        ("hex", lines(&["00FF", "0ff"]), vec!["00ff"]),
        ("base64", lines(&["AP/+", "AP_-", "AA", "AA==", "A"]), vec!["00fffe", "00fffe", "00", "00"]),
        ("utf8", lines(&["ab"]), vec!["6162"]),
    ] {
        let (rows, refused) = rows(&json(encoding), content.as_bytes());
        let found: Vec<&str> = rows.iter().map(|row| row["b"].as_str().unwrap()).collect();
        assert_eq!(found, expected, "{encoding}: {refused:?}");
        assert_eq!(refused.len(), content.lines().count() - expected.len(), "{encoding}: {refused:?}");
    }
    let csv = format!("format = \"csv\"\nheader = false\n{}", column("hex"));
    assert_eq!(rows(&csv, b"61\nx\n").0, [json!({ "b": "61" })]);
    assert_eq!(rows(&column("base64"), b"YQ==\n?\n").0, [json!({ "b": "61" })], "format text");
    // Another source reads what a sink writes.
    for format in ["json", "csv", "text"] {
        let sink = format!(
            "[sinks.o]\nfrom = \"in\"\nkind = \"files\"\npath = \"o\"\nformat = \"{format}\"\nencoding = \"base64\"\n"
        );
        let source = format!("kind = \"file\"\npath = \"input\"\n{}", json("hex"));
        let trial = passing("batch = \"0s\"", &source, &sink);
        trial.write("input", lines(&["00ff", "61"]));
        trial.run_ok(&[]);
        let extension = match format {
            "json" => "jsonl",
            "text" => "txt",
            other => other,
        };
        let written = trial.text(&format!("o/part-0000000001.{extension}"));
        assert!(written.contains("AP8=") && written.contains("YQ=="), "{format}: {written}");
    }
    for (keys, message) in [
        ("format = \"json\"\nschema = { b = { type = \"text\", encoding = \"hex\" } }", "which is for binary columns"),
        ("format = \"json\"\nschema = { b = { type = \"binary\", encoding = \"hexx\" } }", "is unknown"),
        ("format = \"avro\"\nschema = { b = { type = \"binary\", encoding = \"hex\" } }", "holds bytes as they are"),
    ] {
        let ended = file(keys, b"").run(&[]);
        assert!(ended.code == Some(2) && ended.stderr.contains(message), "{keys}: {:?} {}", ended.code, ended.stderr);
    }
}

#[test]
fn floats_are_written_the_same_way_everywhere() {
    let keys = "format = \"json\"\nschema = { x = \"float64\" }";
    let content =
        "{\"x\":1e300}\n{\"x\":0.0000001}\n{\"x\":\"inf\"}\n{\"x\":\"-INFINITY\"}\n{\"x\":\"nan\"}\n{\"x\":2}\n";
    let written = ["1e300", "1e-7", "Infinity", "-Infinity", "NaN", "2.0"];
    let stage = "[stages.text]\nfrom = \"in\"\nselect = \"cast(x as text) as x\"\n";
    let sinks: String = [("json", "in"), ("csv", "in"), ("text", "text")]
        .iter()
        .map(|(format, from)| {
            format!(
                "[sinks.{format}]\nfrom = \"{from}\"\nkind = \"files\"\npath = \"{format}\"\nformat = \"{format}\"\n"
            )
        })
        .collect();
    let trial =
        passing("batch = \"0s\"", &format!("kind = \"file\"\npath = \"input\"\n{keys}"), &format!("{stage}{sinks}"));
    trial.write("input", content);
    trial.run_ok(&[]);
    let json: String = written
        .iter()
        .map(|text| match text.chars().next_back() {
            Some('y' | 'N') => format!("{{\"x\":\"{text}\"}}\n"),
            _ => format!("{{\"x\":{text}}}\n"),
        })
        .collect();
    assert_eq!(trial.text("json/part-0000000001.jsonl"), json);
    assert_eq!(trial.text("csv/part-0000000001.csv"), format!("x\n{}\n", written.join("\n")));
    assert_eq!(trial.text("text/part-0000000001.txt"), format!("{}\n", written.join("\n")));
}

#[test]
fn a_polled_response_may_begin_with_a_byte_order_mark() {
    let server = HttpServer::start(free_port(), |_, _| {
        Some((200, String::new(), "\u{FEFF}{\"data\":{\"items\":[{\"id\":1},{\"id\":2}]}}".into()))
    });
    let source = format!(
        "kind = \"http\"\nurl = \"http://127.0.0.1:{}/\"\nevery = \"1h\"\nrows = \"data.items\"\nformat = \"json\"\nschema = {{ id = \"int64\" }}",
        server.port()
    );
    let trial = job(&source, "");
    trial.run_ok(&["--limit", "2"]);
    assert_eq!(trial.rows("out.jsonl"), [json!({ "id": 1 }), json!({ "id": 2 })]);
}
