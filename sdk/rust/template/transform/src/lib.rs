//! A Millstream plugin of world `transform`: rows in, rows out.

use millstream_sdk::{Rejection, Row, transform};
use serde::Deserialize;

/// An input row: the columns `name` and `amount` of the stage's input.
#[derive(Row)]
pub struct Order<'a> {
    name: &'a str,
    amount: f64,
}

/// An output row.
#[derive(Row)]
pub struct Bill<'a> {
    name: &'a str,
    total: f64,
}

/// The stage's `config`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Percentage that is added to each amount.
    #[serde(default)]
    tax: f64,
}

/// Adds a tax to the amount of each order. Rejects orders with an amount below zero.
#[transform]
pub fn my_plugin<'a>(order: Order<'a>, config: &Config) -> Result<Bill<'a>, Rejection> {
    if order.amount < 0.0 {
        return Err(format!("the amount {} is below zero", order.amount).into());
    }
    Ok(Bill { name: order.name, total: order.amount * (1.0 + config.tax / 100.0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::{json, testing};

    #[test]
    fn adds_the_tax() {
        let rows = json!([{"name": "ann", "amount": 100.0}, {"name": "bob", "amount": -1.0}]);
        let run = testing::transform::<my_plugin>().config(json!({"tax": 25})).run(rows).unwrap();
        assert_eq!(run.rows, json!([{"name": "ann", "total": 125.0}]));
        assert_eq!(run.rejected, [(1, "the amount -1 is below zero".to_string())]);
    }
}
