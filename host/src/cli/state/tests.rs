use super::query::*;
use super::*;
use arrow::array::{ArrayRef, BinaryArray, Int64Array, StringArray, TimestampMicrosecondArray};

fn tables() -> Vec<StageState> {
    let column = |name: &str, kind: &str| Column { name: name.into(), kind: kind.into(), nullable: true };
    let at = TimestampMicrosecondArray::from(vec![Some(1_000_000), None, Some(0)]).with_timezone("UTC");
    let rows = RecordBatch::try_from_iter([
        ("word", Arc::new(StringArray::from(vec!["b", "a\u{1b}[31m", "c"])) as ArrayRef),
        ("count", Arc::new(Int64Array::from(vec![Some(2), Some(3), None]))),
        ("raw", Arc::new(BinaryArray::from(vec![&[1u8, 255][..], b"", b"x"]))),
        ("lastSeen", Arc::new(at)),
    ]);
    let table = |name: &str| StageState {
        name: name.into(),
        key: vec![column("word", "text")],
        columns: vec![column("count", "int64"), column("raw", "binary"), column("lastSeen", "timestamp")],
        rows: rows.as_ref().unwrap().clone(),
    };
    vec![table("totals"), table("per-user")]
}

fn output(sql: &str, json: bool) -> Result<String> {
    let mut text = String::new();
    run_query(&tables(), sql, json, &mut |part| {
        text.push_str(part);
        Ok(())
    })?;
    Ok(text)
}

#[test]
fn a_query_is_answered_as_a_table_or_as_json_lines() {
    let sql = "select word, count from totals where count is not null order by count desc limit 5";
    let table = "+-------------+-------+\n| word        | count |\n+-------------+-------+\n| a\\u{1b}[31m | 3     |\n\
                 | b           | 2     |\n+-------------+-------+\n(2 rows)\n";
    assert_eq!(output(sql, false).unwrap(), table);
    let sql = r#"select t.word, raw, "lastSeen", u.count + 1 as more from totals t join "per-user" u using (word) where t.word <> 'b'"#;
    let sql = sql.replace("raw, \"lastSeen\"", "t.raw, t.\"lastSeen\"");
    let lines = "{\"word\":\"a\\u001b[31m\",\"raw\":\"\",\"lastSeen\":null,\"more\":4}\n\
                 {\"word\":\"c\",\"raw\":\"78\",\"lastSeen\":\"1970-01-01T00:00:00Z\",\"more\":null}\n";
    assert_eq!(output(&format!("{sql} order by word"), true).unwrap(), lines);
    let empty = "+---+\n| n |\n+---+\n+---+\n(0 rows)\n";
    assert_eq!(output("select count as n from totals where count > 100", false).unwrap(), empty);
    assert_eq!(output("select count from totals where count > 100", true).unwrap(), "");
    let count = output("select count(*) as n, sum(count) as s from totals", true).unwrap();
    assert_eq!(count, "{\"n\":3,\"s\":5}\n");
}

#[test]
fn a_wrong_query_is_told_what_there_is() {
    let output = |sql: &str| output(sql, false).unwrap_err().message;
    let there = "existing tables (write names with A-Z, `-` or `.` in double quotes):\n  totals: word text, count \
                 int64, raw binary, lastSeen timestamp\n  per-user: word text";
    for (sql, what) in [
        ("select * from totalz", "table 'totalz' not found"),
        ("select n from totals", "No field named n"),
        ("selec * from totals", "Expected"),
        ("drop table totals", "DDL not supported"),
        ("copy totals to '/tmp/x.json' stored as json", "DML not supported"),
        ("set datafusion.execution.batch_size = 1", "Statement not supported"),
    ] {
        let output = output(sql);
        assert!(
            output.starts_with("the query cannot be run: ") && output.contains(what) && output.contains(there),
            "{output}"
        );
    }
    let output = output("select count / 0 from totals");
    assert!(output.contains("Divide by zero") && !output.contains(there), "{output}");
}
