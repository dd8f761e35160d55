//! Counts the rows of two inputs, in the variant that a test has written into it.

#[path = "../../varied/src/way.rs"]
mod way;

use millstream_sdk::{KeyedOut, Row, Rows, cogroup};

/// A row of either input.
#[derive(Row)]
pub struct Line {
    n: i64,
}

/// Both sums of a key.
#[derive(Row)]
pub struct Both {
    left: i64,
    right: i64,
}

/// Sums up the numbers of each key, by input. Ways:
///
/// - `plus`: numbers that end in 9 count one more on the right
/// - `fail`: fails on the number 13
#[cogroup]
pub fn varied_cogroup(left: Rows<Line>, right: Rows<Line>, out: &mut KeyedOut<Both>) -> Result<(), String> {
    let way = way::way();
    let more = |n: i64| match (way, n) {
        ("plus", n) if n % 10 == 9 => n + 1,
        ("fail", 13) => panic!("not the number 13"),
        _ => n,
    };
    out.push(Both { left: left.map(|line| line.n).sum(), right: right.map(|line| more(line.n)).sum() });
    Ok(())
}
