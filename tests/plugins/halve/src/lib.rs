//! Halves floats: a test of integers as input of float columns.

use millstream_sdk::{Row, transform};

/// One row of the input.
#[derive(Row)]
pub struct Whole {
    x: f64,
}

/// One row of the output.
#[derive(Row)]
pub struct Half {
    half: f64,
}

/// Gives the half of each.
#[transform]
pub fn halve(whole: Whole) -> Half {
    Half { half: whole.x / 2.0 }
}
