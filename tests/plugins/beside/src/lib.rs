//! Joins the rows of three inputs: a test of world `cogroup`.

use millstream_sdk::{KeyedOut, Row, Rows, cogroup};

/// A row of the first input.
#[derive(Row)]
pub struct Person<'a> {
    name: &'a str,
}

/// A row of the second input.
#[derive(Row)]
pub struct Order {
    amount: i64,
}

/// A row of the third input.
#[derive(Row)]
pub struct Click<'a> {
    page: &'a str,
}

/// All that there is of a key.
#[derive(Row)]
pub struct All {
    names: String,
    amounts: String,
    pages: String,
}

fn list<T>(rows: impl Iterator<Item = T>, text: impl Fn(T) -> String) -> String {
    rows.map(text).collect::<Vec<_>>().join(",")
}

/// Lists the rows of each key, by input. Keys with an order below zero are refused.
#[cogroup]
pub fn beside(
    people: Rows<Person>,
    orders: Rows<Order>,
    clicks: Rows<Click>,
    out: &mut KeyedOut<All>,
) -> Result<(), String> {
    let amounts: Vec<i64> = orders.map(|order| order.amount).collect();
    if amounts.iter().any(|amount| *amount < 0) {
        return Err("an order below zero".into());
    }
    out.push(All {
        names: list(people, |person| person.name.to_owned()),
        amounts: list(amounts.into_iter(), |amount| amount.to_string()),
        pages: list(clicks, |click| click.page.to_owned()),
    });
    Ok(())
}
