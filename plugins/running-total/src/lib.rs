//! A number summed up per key.

use millstream_sdk::update::{Groups, Updated, each};
use millstream_sdk::{Context, Description, Error, KeyedOut, Row, Stage, Type, Update, update};
use serde::Deserialize;

/// What to sum up.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The column, int64 or float64.
    #[serde(default = "amount")]
    column: String,
}

fn amount() -> String {
    "amount".into()
}

const CONFIG_SCHEMA: &str = r#"{
  "type": "object",
  "properties": {
    "column": { "type": "string", "default": "amount", "description": "The column to sum up, int64 or float64." }
  },
  "additionalProperties": false
}"#;

/// The plugin, for the column of a stage.
pub struct RunningTotal {
    column: String,
    column_type: Type,
}

#[derive(Row)]
struct Int {
    total: Option<i64>,
}

#[derive(Row)]
struct Float {
    total: Option<f64>,
}

#[derive(Row)]
struct IntTotal {
    total: i64,
}

#[derive(Row)]
struct FloatTotal {
    total: f64,
}

#[update]
impl Update for RunningTotal {
    fn new(stage: &Stage) -> Result<Self, Error> {
        let Config { column } = stage.config()?;
        let column_type = stage.input().field(&column)?.type_.clone();
        match column_type {
            Type::Int64 | Type::Float64 => Ok(RunningTotal { column, column_type }),
            other => {
                Err(Error::input(format!("column `{column}` is {other}; only int64 and float64 can be summed up")))
            }
        }
    }

    fn describe(&self, stage: &Stage) -> Result<Description, Error> {
        let doc = "Sums up a number of each key since the job began, and emits the key with its new `total`. \
                   Nulls are left out. Works with any key.";
        let mut description = Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), doc);
        description.input.fields = vec![stage.input().field(&self.column)?.clone()];
        description.state.fields = if self.is_int() { IntTotal::fields() } else { FloatTotal::fields() };
        description.output = stage.key();
        description.output.fields.extend(description.state.fields.clone());
        description.config_schema = CONFIG_SCHEMA.into();
        Ok(description)
    }

    fn update(&mut self, stage: &Stage, context: &Context, groups: Groups) -> Result<Updated, Error> {
        if self.is_int() {
            each::<(), Int, IntTotal, KeyedOut<IntTotal>>(stage, context, groups, |_, rows, state, _, out| {
                let mut total = state.map_or(0, |state| state.total);
                for amount in rows.filter_map(|row| row.total) {
                    total = i64::checked_add(total, amount).ok_or("the total does not fit int64 any more")?;
                }
                out.push(IntTotal { total });
                Ok(Some(IntTotal { total }))
            })
        } else {
            each::<(), Float, FloatTotal, KeyedOut<FloatTotal>>(stage, context, groups, |_, rows, state, _, out| {
                let old = state.map_or(0.0, |state| state.total);
                let total = rows.filter_map(|row| row.total).fold(old, |total, amount| total + amount);
                out.push(FloatTotal { total });
                Ok(Some(FloatTotal { total }))
            })
        }
    }
}

impl RunningTotal {
    fn is_int(&self) -> bool {
        self.column_type == Type::Int64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::{json, testing};

    #[test]
    fn a_total_goes_on_from_batch_to_batch() {
        let mut test = testing::update::<RunningTotal>().key("user text").input("user text, amount float64");
        let first = json!([{"user": "a", "amount": 1.5}, {"user": "b", "amount": 2.0}, {"user": "a", "amount": null}]);
        test.run(first).expect("first batch");
        let run = test.run(json!([{"user": "a", "amount": 2.0}])).expect("second batch");
        assert_eq!(run.rows, json!([{"user": "a", "total": 3.5}]));
        assert_eq!(test.states(), json!([{"user": "b", "total": 2.0}, {"user": "a", "total": 3.5}]));
    }

    #[test]
    fn a_total_that_overflows_refuses_the_rows_and_keeps_the_state() {
        let mut test = testing::update::<RunningTotal>().key("user text").input("amount int64");
        test.run(json!([{"user": "a", "amount": i64::MAX}])).expect("first batch");
        let run = test.run(json!([{"user": "a", "amount": 1}])).expect("second batch");
        assert_eq!((run.rows, run.rejected), (json!([]), vec![(0, "the total does not fit int64 any more".into())]));
        assert_eq!(test.states(), json!([{"user": "a", "total": i64::MAX}]));
    }

    #[test]
    fn a_column_of_text_is_refused() {
        let error = testing::update::<RunningTotal>().input("amount text").describe().expect_err("text has no sum");
        assert_eq!(error, Error::input("column `amount` is text; only int64 and float64 can be summed up"));
    }
}
