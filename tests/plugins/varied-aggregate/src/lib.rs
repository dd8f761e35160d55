//! Sums up, in the variant that a test has written into it.

#[path = "../../varied/src/way.rs"]
mod way;

use millstream_sdk::{Row, aggregate};

/// One row of the input.
#[derive(Row)]
pub struct Line {
    n: i64,
}

/// A partial sum, and the result.
#[derive(Row)]
pub struct Sum {
    sum: i64,
}

/// The plugin.
pub struct VariedAggregate;

/// Sums up. Ways:
///
/// - `plus`: numbers that end in 9 count one more
/// - `fail`: fails on the number 13
#[aggregate]
impl VariedAggregate {
    fn lift(row: Line) -> Sum {
        match (way::way(), row.n) {
            ("plus", n) if n % 10 == 9 => Sum { sum: n + 1 },
            ("fail", 13) => panic!("not the number 13"),
            (_, n) => Sum { sum: n },
        }
    }

    fn combine(left: Sum, right: Sum) -> Sum {
        Sum { sum: left.sum + right.sum }
    }

    fn lower(sum: Sum) -> Sum {
        sum
    }
}
