//! A Millstream plugin of world `cogroup`: called for each key with its rows from several inputs.

use millstream_sdk::{KeyedOut, Row, Rows, cogroup};

/// A row of the first input: the column `amount`.
#[derive(Row)]
pub struct Order {
    amount: f64,
}

/// A row of the second input.
#[derive(Row)]
pub struct Payment {
    paid: f64,
}

/// An output row. The key columns come before its columns.
#[derive(Row)]
pub struct Open {
    orders: i64,
    open: f64,
}

/// Returns the open amount of each key. Keys that have paid everything return no row.
#[cogroup]
pub fn my_plugin(orders: Rows<Order>, payments: Rows<Payment>, out: &mut KeyedOut<Open>) {
    let count = orders.len() as i64;
    let ordered: f64 = orders.map(|order| order.amount).sum();
    let paid: f64 = payments.map(|payment| payment.paid).sum();
    if ordered > paid {
        out.push(Open { orders: count, open: ordered - paid });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::{json, testing};

    #[test]
    fn tells_what_is_open() {
        let orders = json!([{"user": "ann", "amount": 3.0}, {"user": "bob", "amount": 1.0}, {"user": "ann", "amount": 4.0}]);
        let payments = json!([{"user": "ann", "paid": 5.0}, {"user": "bob", "paid": 1.0}]);
        let run = testing::cogroup::<my_plugin>().key("user text").run(json!([orders, payments])).unwrap();
        assert_eq!(run.rows, json!([{"user": "ann", "orders": 2, "open": 2.0}]));
    }
}
