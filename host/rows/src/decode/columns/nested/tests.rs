use crate::batch::column::ColumnSpec;
use crate::batch::json;
use crate::batch::types::{ColumnType, columns_of_specs};
use crate::decode::columns::ColumnBuilders;
use crate::decode::written_value::WrittenValue;
use millstream_base::random::Random;
use serde_json::{Value, json};

fn builders(kinds: &[&str]) -> ColumnBuilders {
    let specs: Vec<_> = kinds.iter().zip('a'..).map(|(kind, name)| spec(&name.to_string(), kind)).collect();
    ColumnBuilders::new(columns_of_specs(&specs), &specs)
}

fn spec(name: &str, kind: &str) -> ColumnSpec {
    ColumnSpec::new(name, ColumnType::from_name(kind).unwrap_or_else(|| panic!("{kind}")))
}

/// Decodes each text for a column of this type: JSON, or the reason of a rejected row.
fn decoded(kind: &str, strings: &[&str]) -> Vec<Result<String, String>> {
    let mut columns = builders(&[kind]);
    let mut results = Vec::new();
    for text in strings {
        let set = columns.set(0, WrittenValue::Nested(text));
        match &set {
            Ok(()) => columns.end_row(),
            Err(_) => columns.roll_back(),
        }
        results.push(set);
    }
    let rows = columns.finish();
    let mut objects = json::objects(&rows).unwrap().into_iter();
    let value = |object: String| object.strip_prefix("{\"a\":").unwrap().strip_suffix('}').unwrap().to_owned();
    let results = results.into_iter().map(|results| results.map(|()| value(objects.next().unwrap()))).collect();
    assert_eq!(objects.next(), None);
    results
}

#[test]
fn structs_and_lists_are_read_and_rows_that_do_not_fit_leave_nothing() {
    let kind = "struct<id: int64, tags: list<text>, of: struct<price: decimal(9,2), day: date, at: timestamp>>";
    let good =
        r#"{"id":1,"tags":["a","b\"",null],"of":{"price":12.50,"day":"2026-11-20","at":"2026-11-20T08:00:00Z"}}"#;
    let same = r#"{"id":1,"tags":["a","b\"",null],"of":{"price":12.50,"day":"2026-11-20","at":"2026-11-20T08:00:00.000000Z"}}"#;
    let strings = [
        good,
        r#"{"id":1,"tags":["a","b"],"of":{"price":1,"day":"2026-13-20"}}"#,
        "{}",
        r#"{"tags":[],"more":[1,{}],"id":2,"id":"3"}"#,
        r#"{"id":1,"tags":["a",["b"]],"of":[]}"#,
        r#"{"id":1,"tags":7}"#,
        "[]",
        r#"{"id":1,"tags":["a"]"#,
        r#"{"id":1} x"#,
        r#"{"of":{"price":12.505}}"#,
        "null",
        good,
    ];
    let wrong = |message: &str| Err(message.to_owned());
    let expected = [
        Ok(same.to_owned()),
        wrong("column `a.of.day`: `2026-13-20` is not a date (for example 2026-11-20)"),
        Ok(r#"{"id":null,"tags":null,"of":null}"#.into()),
        Ok(r#"{"id":3,"tags":[],"of":null}"#.into()),
        wrong("column `a.of`: not struct<price: decimal(9,2), day: date, at: timestamp>"),
        wrong("column `a.tags`: not list<text>"),
        wrong(&format!("column `a`: not {kind}")),
        wrong("not JSON: expected `,` or `}`, but the text ends at byte 20"),
        wrong("not JSON: expected nothing more at byte 9, found `x`"),
        wrong("column `a.of.price`: 12.505 has more digits after the decimal point than decimal(9,2) can hold"),
        Ok("null".into()),
        Ok(same.to_owned()),
    ];
    assert_eq!(decoded(kind, &strings), expected);
}

#[test]
fn few_bytes_do_not_stand_for_many_values() {
    let wide = format!("list<struct<{}>>", (0..500).map(|n| format!("m{n}: int64")).collect::<Vec<_>>().join(","));
    let text = format!("[{}{{}}]", "{},".repeat(99_999));
    let results = decoded(&wide, &[&text, "[{}]"]);
    assert!(results[0].as_ref().unwrap_err().contains("more values than 8 for each byte"), "{results:?}");
    assert!(results[1].is_ok());
}

/// Random values of random types are read back unchanged.
#[test]
fn what_sinks_write_is_read_again() {
    for case in 0..300 {
        let mut random = Random(case);
        let kind = random_kind(&mut random, 0);
        let name = kind.to_string();
        let mut columns = builders(&["int64", &name]);
        let mut expected = Vec::new();
        for row in 0..20 {
            let value = random_value(&mut random, &kind);
            columns.set(0, WrittenValue::Number(&row.to_string())).unwrap();
            let written = value.to_string();
            let set = match &value {
                Value::Null => Ok(()),
                Value::String(text) => columns.set(1, WrittenValue::Text(text)),
                Value::Array(_) | Value::Object(_) => columns.set(1, WrittenValue::Nested(&written)),
                _ => columns.set(1, WrittenValue::Number(&written)),
            };
            set.unwrap_or_else(|why| panic!("case {case}, {name}, {written}: {why}"));
            columns.end_row();
            if random.below(4) == 0 {
                // A rejected row leaves nothing.
                let _ = columns.set(1, WrittenValue::Nested(&format!("{} x", random_value(&mut random, &kind))));
                columns.roll_back();
            }
            expected.push(json!({ "a": row, "b": value }));
        }
        let found: Vec<Value> =
            json::objects(&columns.finish()).unwrap().iter().map(|o| serde_json::from_str(o).unwrap()).collect();
        assert_eq!(found, expected, "case {case}: {name}");
    }
}

fn random_kind(random: &mut Random, depth: usize) -> ColumnType {
    let plain = ["int64", "text", "date", "decimal(12,0)"];
    let name = match random.below(if depth > 2 { 4 } else { 8 }) {
        choice @ 0..=3 => plain[choice as usize].to_owned(),
        4 | 5 => format!("list<{}>", random_kind(random, depth + 1)),
        _ => {
            let members = (0..1 + random.below(3)).map(|n| format!("m{n}: {}", random_kind(random, depth + 1)));
            format!("struct<{}>", members.collect::<Vec<_>>().join(", "))
        }
    };
    ColumnType::from_name(&name).unwrap()
}

fn random_value(random: &mut Random, kind: &ColumnType) -> Value {
    use arrow::datatypes::DataType;
    if random.below(5) == 0 {
        return Value::Null;
    }
    match kind {
        ColumnType::Int64 => json!(random.below(u64::MAX) as i64),
        ColumnType::Text => json!(["", "a", "\"quoted\"\n", "ü"][random.below(4) as usize]),
        ColumnType::Arrow(DataType::Date32) => {
            json!(format!("{:04}-02-{:02}", random.below(9999), 1 + random.below(28)))
        }
        ColumnType::Arrow(DataType::Decimal128(..)) => json!(random.below(999_999_999_999)),
        ColumnType::Arrow(DataType::List(item)) => {
            let item = ColumnType::from_arrow(item.data_type());
            (0..random.below(4)).map(|_| random_value(random, &item)).collect()
        }
        ColumnType::Arrow(DataType::Struct(members)) => {
            let member =
                |m: &std::sync::Arc<arrow::datatypes::Field>| (m.name().clone(), ColumnType::from_arrow(m.data_type()));
            let members: Vec<_> = members.iter().map(member).collect();
            members
                .into_iter()
                .map(|(name, kind)| (name, random_value(random, &kind)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        }
        other => panic!("{other}"),
    }
}
