//! A Millstream plugin of world `update`: called for each key with its new rows and its state.

use millstream_sdk::{Context, KeyedOut, Row, Rows, update};

/// An input row: the column `amount` of the stage's input.
#[derive(Row)]
pub struct Payment {
    amount: f64,
}

/// The state of each key, kept between batches.
#[derive(Row)]
pub struct Account {
    balance: f64,
    payments: i64,
}

/// An output row. The key columns come before its columns.
#[derive(Row)]
pub struct Statement {
    balance: f64,
    /// True if the key was idle for the stage's `timeout` and is removed.
    closed: bool,
}

/// Keeps the balance of each key.
#[update]
pub fn my_plugin(
    payments: Rows<Payment>,
    account: Option<Account>,
    context: &Context,
    out: &mut KeyedOut<Statement>,
) -> Option<Account> {
    let mut account = account.unwrap_or(Account { balance: 0.0, payments: 0 });
    for payment in payments {
        account.balance += payment.amount;
        account.payments += 1;
    }
    out.push(Statement { balance: account.balance, closed: context.timed_out });
    Some(account)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::{json, testing};

    #[test]
    fn keeps_the_balance() {
        let mut test = testing::update::<my_plugin>().key("user text");
        test.run(json!([{"user": "ann", "amount": 3.0}, {"user": "ann", "amount": 4.0}])).unwrap();
        let run = test.run(json!([{"user": "ann", "amount": -2.0}])).unwrap();
        assert_eq!(run.rows, json!([{"user": "ann", "balance": 5.0, "closed": false}]));
        assert_eq!(test.states(), json!([{"user": "ann", "balance": 5.0, "payments": 3}]));

        let run = test.time_out(json!({"user": "ann"})).unwrap();
        assert_eq!(run.rows, json!([{"user": "ann", "balance": 5.0, "closed": true}]));
        assert_eq!(test.states(), json!([]));
    }
}
