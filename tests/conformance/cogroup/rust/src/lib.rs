//! Two inputs, grouped by a key of a required type.

// Only builds as a component: a build of the workspace skips it.
#![cfg(target_arch = "wasm32")]

use millstream_sdk::{Row, Rows, cogroup};

#[derive(Row)]
struct User<'a> {
    user: &'a str,
}

#[derive(Row)]
struct Order<'a> {
    amount: i64,
    item: Option<&'a str>,
}

#[derive(Row)]
struct Payment {
    paid: i64,
}

#[derive(Row)]
struct Account<'a> {
    user: &'a str,
    orders: i64,
    payments: i64,
    items: Option<String>,
    balance: i64,
}

/// Returns the orders and payments of each user.
#[cogroup]
fn accounts<'a>(key: User<'a>, orders: Rows<Order>, payments: Rows<Payment>) -> Result<Option<Account<'a>>, String> {
    let user = key.user;
    if user == "nobody" {
        return Err(format!("{} orders of nobody", orders.len()));
    }
    let mut account = Account { user, orders: 0, payments: 0, items: None, balance: 0 };
    for order in orders {
        account.orders += 1;
        account.balance -= order.amount;
        account.items = match (account.items, order.item) {
            (Some(items), Some(item)) => Some(format!("{items}+{item}")),
            (items, item) => items.or(item.map(str::to_owned)),
        };
    }
    for payment in payments {
        account.payments += 1;
        account.balance += payment.paid;
    }
    Ok((account.balance != 0).then_some(account))
}
