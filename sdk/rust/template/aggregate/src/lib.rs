//! A Millstream plugin of world `aggregate`: reduces rows to one row per key, or to one in total.

use millstream_sdk::{Row, aggregate};

/// An input row: the column `price` of the stage's input.
#[derive(Row)]
pub struct Sale {
    price: f64,
}

/// The accumulator. `combine` must be associative.
#[derive(Row)]
pub struct Sum {
    sum: f64,
    count: i64,
}

/// The output row. The key columns come before its columns.
#[derive(Row)]
pub struct Mean {
    mean: f64,
}

/// The plugin. With a config, this is the config: give it fields and `#[derive(serde::Deserialize)]`, and the functions
/// `&self`.
pub struct MyPlugin;

/// Computes the mean price.
#[aggregate]
impl MyPlugin {
    fn lift(sale: Sale) -> Sum {
        Sum { sum: sale.price, count: 1 }
    }

    fn combine(left: Sum, right: Sum) -> Sum {
        Sum { sum: left.sum + right.sum, count: left.count + right.count }
    }

    fn lower(sum: Sum) -> Mean {
        Mean { mean: sum.sum / sum.count as f64 }
    }

    // Optional: makes sliding windows cheaper. `inverse(combine(a, b), a)` is b.
    fn inverse(whole: Sum, part: Sum) -> Sum {
        Sum { sum: whole.sum - part.sum, count: whole.count - part.count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::{json, testing};

    #[test]
    fn is_the_mean() {
        let rows = json!([{"shop": "a", "price": 1.0}, {"shop": "b", "price": 7.0}, {"shop": "a", "price": 2.0}]);
        let run = testing::aggregate::<MyPlugin>().key("shop text").run(rows).unwrap();
        assert_eq!(run.rows, json!([{"shop": "a", "mean": 1.5}, {"shop": "b", "mean": 7.0}]));
    }
}
