use super::*;

fn of(name: &str, content: &str) -> Result<Vec<RetryUnit>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    read(&[path])
}

fn rows(units: &[RetryUnit]) -> Vec<Vec<&str>> {
    units.iter().map(|unit| unit.records.iter().map(|record| record.json.as_str()).collect()).collect()
}

#[test]
fn a_queue_is_a_unit_for_each_batch_with_rows() {
    let queue = "{\"batch\":1,\"time\":\"t\",\"rows\":[]}\n\
                 {\"batch\":2,\"time\":\"t\",\"rows\":[{\"a\":\"],}\"},{\"a\":1e400}]}\n\
                 {\"batch\":3,\"time\":\"t\",\"rows\":[{\"a\":2}]}\n";
    let units = of("q.jsonl", queue).unwrap();
    assert_eq!(rows(&units), [vec!["{\"a\":\"],}\"}", "{\"a\":1e400}"], vec!["{\"a\":2}"]]);
    assert!(units[0].records[1].position.ends_with("q.jsonl:2"), "{}", units[0].records[1].position);
    // Later lines leave earlier units unchanged. An incomplete line is ignored.
    let longer = of("q.jsonl", &format!("{queue}{{\"batch\":4,\"time\":\"t\",\"rows\":[{{\"a\":")).unwrap();
    let digests = |units: &[RetryUnit]| units.iter().map(|unit| unit.digest).collect::<Vec<_>>();
    assert_eq!(digests(&units), digests(&longer));
}

#[test]
fn lines_are_one_unit_also_with_columns_named_as_a_queue_has_them() {
    let units = of("l.jsonl", "{\"batch\":1,\"rows\":\"x\"}\n\n{\"batch\":2,\"rows\":null}").unwrap();
    assert_eq!(rows(&units), [vec!["{\"batch\":1,\"rows\":\"x\"}", "{\"batch\":2,\"rows\":null}"]]);
    assert!(units[0].records[1].position.ends_with(":3"));
}

#[test]
fn csv_tells_nulls_from_empty_texts_and_keeps_lines_within_quotes() {
    let units = of("c.csv", "a,\"b \"\"q\"\"\",c\r\n,\"\",\"x\ny\"\"\"\n1,2,\n").unwrap();
    let all = rows(&units);
    assert_eq!(all[0][0], "{\"a\":null,\"b \\\"q\\\"\":\"\",\"c\":\"x\\ny\\\"\"}");
    assert_eq!(all[0][1], "{\"a\":\"1\",\"b \\\"q\\\"\":\"2\",\"c\":null}");
    assert!(units[0].records[1].position.ends_with("c.csv:4"), "{}", units[0].records[1].position);
    let message = of("c.csv", "a,b\n1\n").err().unwrap().message;
    assert!(message.contains("c.csv:2: 1 cells, the header has 2"), "{message}");
}

#[test]
fn other_files_are_refused() {
    for (name, content) in [("x.txt", "a"), ("x", "{}"), ("x.parquet", "no"), ("x.csv", "a\n\"b\n")] {
        let message = of(name, content).err().map(|error| error.message).unwrap_or_default();
        assert!(message.contains("use a file that a sink wrote"), "{name}: {message}");
    }
}
