//! The sum of a column, with an inverse.

use millstream_sdk::aggregate::{each, pairs};
use millstream_sdk::{Aggregate, Batch, Context, Description, Error, Row, Stage, Type, aggregate};
use serde::Deserialize;

/// What to sum up.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The column, int64 or float64.
    column: String,
}

const CONFIG_SCHEMA: &str = r#"{
  "type": "object",
  "properties": {
    "column": { "type": "string", "description": "The column to sum up, int64 or float64." }
  },
  "required": ["column"],
  "additionalProperties": false
}"#;

/// The plugin, for the column of a stage.
pub struct Sum {
    column: String,
    is_int: bool,
}

/// Lift, combine, lower and inverse for one type of number. An accumulator counts the values that are not null,
/// because the sum of none is null, and an inverse could not tell otherwise when none is left.
macro_rules! sum_of {
    ($module:ident, $number:ty, $add:expr, $subtract:expr) => {
        mod $module {
            use super::*;

            #[derive(Row)]
            pub struct Input {
                value: Option<$number>,
            }

            #[derive(Row)]
            pub struct Partial {
                sum: $number,
                count: i64,
            }

            #[derive(Row)]
            pub struct Output {
                sum: Option<$number>,
            }

            pub fn lift(rows: &Batch) -> Result<Batch, Error> {
                each::<Input, Partial>(rows, |row, out| {
                    let count = i64::from(row.value.is_some());
                    out.push(Partial { sum: row.value.unwrap_or_default(), count });
                    Ok(())
                })
            }

            pub fn combine(left: &Batch, right: &Batch) -> Result<Batch, Error> {
                pairs::<Partial, Partial, Partial>(left, right, |left, right, out| {
                    let sum = $add(left.sum, right.sum).ok_or("the sum does not fit its type")?;
                    out.push(Partial { sum, count: left.count.saturating_add(right.count) });
                    Ok(())
                })
            }

            pub fn inverse(whole: &Batch, part: &Batch) -> Result<Batch, Error> {
                pairs::<Partial, Partial, Partial>(whole, part, |whole, part, out| {
                    let sum = $subtract(whole.sum, part.sum).ok_or("the sum does not fit its type")?;
                    out.push(Partial { sum, count: whole.count.saturating_sub(part.count) });
                    Ok(())
                })
            }

            pub fn lower(accumulators: &Batch) -> Result<Batch, Error> {
                each::<Partial, Output>(accumulators, |partial, out| {
                    out.push(Output { sum: (partial.count > 0).then_some(partial.sum) });
                    Ok(())
                })
            }
        }
    };
}

sum_of!(int, i64, i64::checked_add, i64::checked_sub);
sum_of!(float, f64, |a, b| Some::<f64>(a + b), |a, b| Some::<f64>(a - b));

#[aggregate]
impl Aggregate for Sum {
    fn new(stage: &Stage) -> Result<Self, Error> {
        let Config { column } = stage.config()?;
        match &stage.input().field(&column)?.type_ {
            Type::Int64 => Ok(Sum { column, is_int: true }),
            Type::Float64 => Ok(Sum { column, is_int: false }),
            other => {
                Err(Error::input(format!("column `{column}` is {other}; only int64 and float64 can be summed up")))
            }
        }
    }

    fn describe(&self, stage: &Stage) -> Result<Description, Error> {
        let doc = "The sum of a column, by key or as a whole. Nulls are left out; the sum of nothing is null.";
        let mut description = Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), doc);
        description.input.fields = vec![stage.input().field(&self.column)?.clone()];
        (description.state.fields, description.output.fields) = if self.is_int {
            (int::Partial::fields(), int::Output::fields())
        } else {
            (float::Partial::fields(), float::Output::fields())
        };
        description.inverse = true;
        description.config_schema = CONFIG_SCHEMA.into();
        Ok(description)
    }

    fn lift(&mut self, _: &Context, rows: Batch) -> Result<Batch, Error> {
        if self.is_int { int::lift(&rows) } else { float::lift(&rows) }
    }

    fn combine(&mut self, _: &Context, left: Batch, right: Batch) -> Result<Batch, Error> {
        if self.is_int { int::combine(&left, &right) } else { float::combine(&left, &right) }
    }

    fn lower(&mut self, _: &Context, _keys: Batch, accumulators: Batch) -> Result<Batch, Error> {
        if self.is_int { int::lower(&accumulators) } else { float::lower(&accumulators) }
    }

    fn inverse(&mut self, _: &Context, whole: Batch, part: Batch) -> Result<Batch, Error> {
        if self.is_int { int::inverse(&whole, &part) } else { float::inverse(&whole, &part) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::{json, testing};

    #[test]
    fn sums_by_key_without_nulls() {
        let test = testing::aggregate::<Sum>().config(json!({"column": "n"})).key("k text").input("k text, n int64");
        let rows = json!([
            {"k": "a", "n": 1}, {"k": "b", "n": null}, {"k": "a", "n": null}, {"k": "a", "n": 3}, {"k": "a", "n": -9}
        ]);
        assert_eq!(test.run(rows).expect("a run").rows, json!([{"k": "a", "sum": -5}, {"k": "b", "sum": null}]));
    }

    #[test]
    fn sums_floats_as_a_whole() {
        let test = testing::aggregate::<Sum>().config(json!({"column": "x"})).input("x float64");
        assert_eq!(test.run(json!([{"x": 1.5}, {"x": 2.0}])).expect("a run").rows, json!([{"sum": 3.5}]));
    }

    #[test]
    fn an_overflow_is_an_error() {
        let test = testing::aggregate::<Sum>().config(json!({"column": "n"})).input("n int64");
        let error = test.run(json!([{"n": i64::MAX}, {"n": 1}])).expect_err("too large");
        assert_eq!(error.message(), "row 0: the sum does not fit its type");
    }
}
