//! Computes integer formulas.

mod parse;

use millstream_sdk::{Row, transform};

/// A formula, as `2 * (3 + 4)`.
#[derive(Row)]
pub struct Formula<'a> {
    formula: &'a str,
}

/// The formula and what it comes to.
#[derive(Row)]
pub struct Value<'a> {
    formula: &'a str,
    value: i64,
}

/// Works out the formula in the text column `formula`.
#[transform]
pub fn formulas(row: Formula) -> Result<Value, String> {
    Ok(Value { formula: row.formula, value: parse::value(row.formula)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::{json, testing};

    #[test]
    fn formulas_that_are_none_are_rejected() {
        let run = testing::transform::<formulas>();
        let run = run.run(json!([{"formula": "6 * 7"}, {"formula": "six"}])).expect("a run");
        assert_eq!(run.rows, json!([{"formula": "6 * 7", "value": 42}]));
        assert_eq!(run.rejected, [(1, "expected a number or `(` at `six`".to_owned())]);
    }
}
