//! Takes payments out of lines of JSON.

// Its functions are called by a component's exports only.
#![cfg(target_arch = "wasm32")]

use millstream_sdk::{Out, Row, transform};
use serde::Deserialize;

#[derive(Row)]
struct Line<'a> {
    value: &'a str,
}

#[derive(Row)]
struct Payment<'a> {
    user: &'a str,
    amount: i64,
}

#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    user: std::borrow::Cow<'a, str>,
    amount: i64,
}

/// Takes the payment out of each line; what is none is left out.
#[transform]
fn payments(line: Line, out: &mut Out<Payment>) {
    if let Ok(Written { user, amount }) = serde_json::from_str(line.value) {
        out.push(Payment { user: &user, amount });
    }
}
