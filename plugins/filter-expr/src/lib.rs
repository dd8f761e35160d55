//! Rows that satisfy an expression.

mod check;
mod eval;
mod parse;

use check::Condition;
use millstream_sdk::transform::Output;
use millstream_sdk::{Batch, Context, Description, Error, Stage, Transform, Type, transform};
use serde::Deserialize;

/// Which rows to keep.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The expression that kept rows satisfy.
    #[serde(rename = "where")]
    condition: String,
}

const CONFIG_SCHEMA: &str = r#"{
  "type": "object",
  "properties": {
    "where": { "type": "string", "description": "What kept rows satisfy, as in: amount > 10 and user != 'x'" }
  },
  "required": ["where"],
  "additionalProperties": false
}"#;

/// The plugin, for the expression and the columns of a stage.
pub struct FilterExpr {
    condition: Condition,
    types: Vec<Type>,
}

#[transform]
impl Transform for FilterExpr {
    fn new(stage: &Stage) -> Result<Self, Error> {
        let config: Config = stage.config()?;
        let input = stage.input();
        let text = &config.condition;
        let expression = parse::parse(text).map_err(|mistake| mistake.point(text))?;
        let condition = check::check(&expression, &input).map_err(|mistake| mistake.point(text))?;
        Ok(FilterExpr { condition, types: input.fields.into_iter().map(|field| field.type_).collect() })
    }

    fn describe(&self, stage: &Stage) -> Result<Description, Error> {
        let doc = "Keeps the rows that satisfy an expression over their columns. Works on any input.";
        let mut description = Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), doc);
        description.input = stage.input();
        description.output = stage.input();
        description.config_schema = CONFIG_SCHEMA.into();
        Ok(description)
    }

    fn process(&mut self, _: &Context, rows: Batch) -> Result<Output, Error> {
        let kept = eval::rows(&self.condition, &rows, &self.types)?;
        let rows = if kept.len() == rows.rows() { rows } else { rows.take(&kept, &self.types)? };
        Ok(Output { rows, rejected: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::{json, testing};

    const COLUMNS: &str = "user text, amount float64, n int64, ok bool, at timestamp, raw binary";

    fn kept(condition: &str) -> Result<Vec<i64>, Error> {
        let test = testing::transform::<FilterExpr>().input(COLUMNS);
        let rows = json!([
            {"user": "x", "amount": 5.5, "n": 1, "ok": true, "at": 10, "raw": "00ff"},
            {"user": "y", "amount": 20.0, "n": 2, "ok": false, "at": 20, "raw": "01"},
            {"user": null, "amount": null, "n": 3, "ok": null, "at": null, "raw": null},
            {"user": "it's", "amount": -1.0, "n": 9_007_199_254_740_993_i64, "ok": true, "at": 30, "raw": ""}
        ]);
        let run = test.config(json!({"where": condition})).run(rows)?;
        Ok(run.rows.as_array().into_iter().flatten().filter_map(|row| row["n"].as_i64()).collect())
    }

    #[test]
    fn keeps_the_rows_that_satisfy_the_expression() {
        let cases: &[(&str, &[i64])] = &[
            ("amount > 10", &[2]),
            ("amount >= 5.5 and user != 'y'", &[1]),
            ("not (amount > 10) or user = 'y'", &[1, 2, 9_007_199_254_740_993]),
            ("user is null", &[3]),
            ("user is not null and ok", &[1, 9_007_199_254_740_993]),
            ("ok = false", &[2]),
            ("user == 'it''s'", &[9_007_199_254_740_993]),
            ("n = 9007199254740993", &[9_007_199_254_740_993]),
            ("n <> 9007199254740993", &[1, 2, 3]),
            ("n < 2.5", &[1, 2]),
            ("at < 25", &[1, 2]),
            ("\"user\" >= 'x'", &[1, 2]),
            ("-1 = amount", &[9_007_199_254_740_993]),
            ("amount > 10 or true", &[1, 2, 3, 9_007_199_254_740_993]),
            ("false and user = 'x'", &[]),
            ("NOT ok AND amount > 1e1", &[2]),
        ];
        for (condition, rows) in cases {
            assert_eq!(kept(condition).as_deref(), Ok(*rows), "{condition}");
        }
    }

    #[test]
    fn a_mistake_is_pointed_at() {
        let cases = [
            ("amount > ", "expected a value\n  amount > \n           ^"),
            ("amout > 10", "no column `amout`; columns: user, amount, n, ok, at, raw\n  amout > 10\n  ^"),
            ("amount > 'x'", "cannot compare float64 with text\n  amount > 'x'\n         ^"),
            ("(ok", "expected `)`\n  (ok\n     ^"),
            ("amount", "expected a condition, this is float64\n  amount\n  ^"),
            ("ok and n", "expected a condition, this is int64\n  ok and n\n         ^"),
            ("user = 'x", "this text has no end; close it by `'`\n  user = 'x\n         ^"),
            ("ok ok", "expected the end, `and` or `or`\n  ok ok\n     ^"),
            ("n = 99999999999999999999", "this number is too large for int64\n  n = 99999999999999999999\n      ^"),
            ("ü & n", "this character has no meaning here\n  ü & n\n    ^"),
            ("raw = 'x'", "columns of binary can only be tested by `is null`\n  raw = 'x'\n  ^"),
            ("", "the expression is empty\n  \n  ^"),
        ];
        for (condition, expected) in cases {
            match kept(condition) {
                Err(Error::Config(message)) => assert_eq!(message, format!("where: {expected}"), "{condition}"),
                other => panic!("{condition}: {other:?}"),
            }
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let error = kept(&format!("{}ok{}", "(".repeat(100_000), ")".repeat(100_000))).expect_err("too deep");
        assert!(error.message().starts_with("where: the expression is nested too deeply"), "{error}");
        assert!(kept(&"not ".repeat(100_000)).is_err());
    }

    #[test]
    fn all_columns_go_through_unchanged() {
        let rows = json!([{"t": null, "b": true, "f": 1.5}, {"t": "x", "b": null, "f": 2.5}, {"t": "ü", "b": false, "f": null}]);
        let test = testing::transform::<FilterExpr>().input("t text, b bool, f float64");
        let run = test.config(json!({"where": "t is null or b is not null"})).run(rows.clone()).expect("a run");
        assert_eq!(run.rows, json!([rows[0], rows[2]]));
    }
}
