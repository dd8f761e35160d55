//! Cases whose input is too large to be kept as files.

use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A string with characters of every length in UTF-8, in its five code points.
const PIECE: &str = "aä日😀 ";

/// Writes the generated cases of a plugin next to its other cases.
pub fn write(case: &str, cases: &Path) {
    if case == "types" {
        let text = PIECE.repeat((1 << 20) / PIECE.len() + 1);
        let long = |int| row(int, &text);
        types(&cases.join("long-texts"), &[vec![long(1), row(2, ""), long(3)], vec![long(4)]]);
        types(&cases.join("many-rows"), &[(0..20_000).map(|int| row(int, &PIECE.repeat(int as usize % 7))).collect()]);
    }
}

/// A row whose columns that may be null have a value where `int` is even.
fn row(int: i64, text: &str) -> Value {
    let some = |value: Value| if int % 2 == 0 { value } else { Value::Null };
    json!({"flag": int % 3 == 0, "int": int, "float": int as f64 / 4.0, "text": text, "binary": text, "at": int,
        "int_or_null": some(json!(int)), "text_or_null": some(json!(text)), "at_or_null": some(json!(-int))})
}

/// Writes a case of the plugin `types`: rows as [`row`] makes them, one list per batch.
fn types(dir: &Path, batches: &[Vec<Value>]) {
    fs::create_dir_all(dir).expect("a folder can be made");
    let lines = |lines: Vec<String>| lines.join("\n") + "\n";
    let input = batches.iter().map(|rows| Value::from(rows.clone()).to_string()).collect();
    let expected = batches.iter().map(|rows| json!({"rows": rows.iter().map(computed).collect::<Value>()}).to_string());
    // The columns are those of the other cases.
    let schema = fs::read(dir.with_file_name("values").join("case.toml")).expect("types has the case `values`");
    fs::write(dir.join("case.toml"), schema).expect("a file can be written");
    fs::write(dir.join("input.jsonl"), lines(input)).expect("a file can be written");
    fs::write(dir.join("expected.jsonl"), lines(expected.collect())).expect("a file can be written");
}

/// The output of the plugin `types` for a row.
fn computed(row: &Value) -> Value {
    let some = |name: &str, of: &dyn Fn(&Value) -> Value| match &row[name] {
        Value::Null => Value::Null,
        value => of(value),
    };
    let not = |value: &Value| json!(!value.as_i64().expect("an integer"));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let longer = |value: &Value| json!(text(value) + "!");
    let length = |value: &Value| json!(text(value).chars().count());
    let reversed = |value: &Value| {
        let bytes = text(value).into_bytes();
        json!(bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    json!({
        "flag": row["flag"] == false, "int": not(&row["int"]), "float": row["float"].as_f64().expect("a float") * 2.0,
        "is_negative": false, "text": longer(&row["text"]), "length": length(&row["text"]),
        "binary": reversed(&row["binary"]), "at": one_second_after(&row["at"]),
        "flag_or_null": null, "int_or_null": some("int_or_null", &not), "float_or_null": null,
        "text_or_null": some("text_or_null", &longer), "length_or_null": some("text_or_null", &length),
        "binary_or_null": null, "at_or_null": some("at_or_null", &one_second_after),
        "type": null, "class": null, "func": null, "two words": null, "größe": null
    })
}

/// A time less than a second from 1970, a second later, as sinks write it.
fn one_second_after(at: &Value) -> Value {
    let micros = at.as_i64().expect("a timestamp") + 1_000_000;
    json!(format!("1970-01-01T00:00:{:02}.{:06}Z", micros / 1_000_000, micros % 1_000_000))
}
