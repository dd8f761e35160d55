//! An aggregate without an inverse, whose combination is not commutative, and whose rows may be rejected.

// Only builds as a component: a build of the workspace skips it.
#![cfg(target_arch = "wasm32")]

use millstream_sdk::{Row, aggregate};

#[derive(Row)]
struct Sale<'a> {
    price: f64,
    item: &'a str,
}

#[derive(Row)]
struct Prices<'a> {
    low: f64,
    high: f64,
    first: &'a str,
    last: &'a str,
    count: i64,
}

#[derive(Row)]
struct Spread<'a> {
    low: f64,
    high: f64,
    spread: f64,
    first: &'a str,
    last: &'a str,
    count: i64,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default = "one")]
    factor: f64,
}

fn one() -> f64 {
    1.0
}

/// The lowest and the highest price, the first and the last item.
#[aggregate]
impl Config {
    fn lift<'a>(&self, sale: Sale<'a>) -> Result<Prices<'a>, &'static str> {
        if sale.price < 0.0 {
            return Err("a price below zero");
        }
        let price = sale.price * self.factor;
        Ok(Prices { low: price, high: price, first: sale.item, last: sale.item, count: 1 })
    }

    fn combine<'a>(left: Prices<'a>, right: Prices<'a>) -> Prices<'a> {
        Prices {
            low: left.low.min(right.low),
            high: left.high.max(right.high),
            first: left.first,
            last: right.last,
            count: left.count + right.count,
        }
    }

    fn lower(prices: Prices) -> Spread {
        let Prices { low, high, first, last, count } = prices;
        Spread { low, high, spread: high - low, first, last, count }
    }
}
