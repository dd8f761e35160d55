//! Computes a number from two columns.

// Its functions are only called by a component's exports.
#![cfg(target_arch = "wasm32")]

use millstream_sdk::{Row, transform};

#[derive(Row)]
struct Pair {
    a: f64,
    b: f64,
}

#[derive(Row)]
struct Scaled {
    out: f64,
}

/// Scales `a`, and adds `b`.
#[transform]
fn numeric(pair: Pair) -> Scaled {
    Scaled { out: pair.a * 2.5 + pair.b }
}
