//! Counts its rows: a test of counters.

use millstream_sdk::{Row, counter, transform};

/// One row of the input, and of the output.
#[derive(Row)]
pub struct Line {
    n: i64,
}

/// Passes rows on; counts them and, apart from them, their sum.
#[transform]
pub fn tally(line: Line) -> Line {
    counter::add("rows", 1);
    counter::add("sum", line.n.unsigned_abs());
    line
}
