//! Tests of records, without a cluster.

use super::records::RecordEncoder;
use super::settings::KafkaWrites;
use super::topic::TopicFacts;
use crate::kafka::cluster::KafkaCluster;
use arrow::array::{ArrayRef, BinaryArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use millstream_rows::formats::RecordFormat;
use std::sync::Arc;
use std::time::Duration;

fn spec() -> KafkaWrites {
    let cluster = KafkaCluster { brokers: vec!["h:1".into()], tls: None, sasl: None, wait: Duration::ZERO };
    KafkaWrites { key: Some("k".into()), ..KafkaWrites::new(cluster, "t") }
}

fn rows() -> RecordBatch {
    let columns: [(&str, ArrayRef); 4] = [
        ("k", Arc::new(StringArray::from(vec![Some("a"), Some(""), None]))),
        ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(-3)]))),
        ("raw", Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), Some(b""), None]))),
        ("gone", Arc::new(BooleanArray::from(vec![Some(false), None, Some(true)]))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

/// Returns keys and values as text, `-` for null. They are the same if a part was encoded ahead.
fn records(spec: &KafkaWrites, rows: &RecordBatch) -> Vec<String> {
    let encoder = RecordEncoder::new(spec, &rows.schema()).unwrap();
    let parts = [rows.clone(), rows.slice(0, 0), rows.slice(0, 1)];
    let records = encoder.encode(&parts).unwrap();
    let ahead = parts.map(|part| encoder.encode_ahead(&part).unwrap());
    assert!(encoder.encode(&ahead).unwrap().iter().eq(records.iter()));
    let text = |bytes: Option<&[u8]>| bytes.map_or("-".into(), |bytes| String::from_utf8_lossy(bytes).into_owned());
    records.iter().map(|(key, value)| format!("{}={}", text(key), text(value))).collect()
}

#[test]
fn rows_become_records_with_keys_and_tombstones() {
    let json = KafkaWrites { tombstones: Some("gone".into()), ..spec() };
    let first = r#"a={"k":"a","n":1,"raw":"00ff"}"#;
    assert_eq!(records(&json, &rows()), [first, r#"={"k":"","n":null,"raw":""}"#, "-=-", first]);
    let csv = KafkaWrites { key: Some("n".into()), format: RecordFormat::Csv, ..spec() };
    assert_eq!(records(&csv, &rows()), ["1=a,1,00ff,false", "-=\"\",,\"\",", "-3=,-3,,true", "1=a,1,00ff,false"]);
    let text = KafkaWrites { format: RecordFormat::Text, ..spec() };
    let only = rows().project(&[0]).unwrap();
    assert_eq!(records(&text, &only), ["a=a", "=", "-=-", "a=a"]);
    let binary = KafkaWrites { format: RecordFormat::Binary, tombstones: Some("gone".into()), ..spec() };
    let raw = rows().project(&[0, 2, 3]).unwrap();
    assert_eq!(records(&binary, &raw), ["a=\0\u{fffd}", "=", "-=-", "a=\0\u{fffd}"]);
}

#[test]
fn rows_that_delete_others_are_tombstones() {
    let column = |name: &str, values: [Option<&str>; 3]| {
        let values: ArrayRef = Arc::new(StringArray::from_iter(values));
        let keys = rows().column(0).clone();
        RecordBatch::try_from_iter([("k", keys), (name, values)]).unwrap()
    };
    let by_op = KafkaWrites { op: Some("op".into()), ..spec() };
    let good = column("op", [Some("insert"), Some("delete"), Some("upsert")]);
    assert_eq!(records(&by_op, &good), [r#"a={"k":"a"}"#, "=-", r#"-={"k":null}"#, r#"a={"k":"a"}"#]);
    for (bad, message) in
        [(Some("truncate"), "does not name the deleted keys"), (Some("drop"), "`drop`"), (None, "is null")]
    {
        let rows = column("op", [Some("insert"), bad, Some("delete")]);
        let error_message =
            RecordEncoder::new(&by_op, &rows.schema()).unwrap().encode(&[rows]).unwrap_err().to_string();
        assert!(error_message.contains(message), "{error_message}");
    }
}

#[test]
fn columns_that_do_not_suit_are_named() {
    let error_message = |spec: KafkaWrites| match RecordEncoder::new(&spec, &rows().schema()) {
        Err((key, message)) => format!("{key}: {message}"),
        Ok(_) => panic!("{spec:?}"),
    };
    let there = "k text, n int64, raw binary, gone bool";
    let unknown = KafkaWrites { key: Some("word".into()), ..spec() };
    assert_eq!(
        error_message(unknown),
        format!("key: `key` names `word`, and the rows have {there}; write one of these")
    );
    let number = KafkaWrites { tombstones: Some("n".into()), ..spec() };
    assert_eq!(error_message(number), "tombstones: `tombstones` names a column of type int64; it must be bool");
    let text = KafkaWrites { format: RecordFormat::Text, ..spec() };
    assert_eq!(
        error_message(text),
        "format: format `text` writes a single text column next to `key` and `tombstones`, and the rows have n int64, raw \
         binary, gone bool; choose `json`, or put a stage with `select` before the sink"
    );
}

#[test]
fn the_first_record_that_is_too_large_is_named() {
    let rows = rows();
    let records = RecordEncoder::new(&spec(), &rows.schema()).unwrap().encode(&[rows]).unwrap();
    let facts = |record_bytes_max, compacted| TopicFacts { record_bytes_max, compacted, deletes: false };
    assert!(super::check_sizes(&records, &facts(1000, false)).is_ok());
    let error_message = super::check_sizes(&records, &facts(20, false)).unwrap_err().message;
    assert!(
        error_message.starts_with("row 1 makes a record of ") && error_message.contains("the topic accepts at most 20"),
        "{error_message}"
    );
    let error_message = super::check_sizes(&records, &facts(1000, true)).unwrap_err().message;
    assert!(error_message.starts_with("row 3 has no key"), "{error_message}");
}
