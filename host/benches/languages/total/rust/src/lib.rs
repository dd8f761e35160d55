//! Adds up the amounts of each key.

// Its functions are only called by a component's exports.
#![cfg(target_arch = "wasm32")]

use millstream_sdk::{KeyedOut, Row, Rows, update};

#[derive(Row)]
struct Payment {
    amount: i64,
}

#[derive(Row)]
struct Total {
    total: i64,
}

/// Computes the running total of each key.
#[update]
fn total(payments: Rows<Payment>, old: Option<Total>, out: &mut KeyedOut<Total>) -> Total {
    let total = old.map_or(0, |old| old.total) + payments.map(|payment| payment.amount).sum::<i64>();
    out.push(Total { total });
    Total { total }
}
