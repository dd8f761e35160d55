//! Keeps a sum of each key, in the variant that a test has written into it.

#[path = "../../varied/src/way.rs"]
mod way;

use millstream_sdk::{KeyedOut, Row, Rows, update};

/// A row of the input.
#[derive(Row)]
pub struct Line {
    n: i64,
}

/// What is kept of a key.
#[derive(Row)]
pub struct Sum {
    sum: i64,
}

/// What comes out for a key.
#[derive(Row)]
pub struct Now {
    sum: i64,
}

/// Keeps the sums. A row with a negative number is refused, with all others of its key and batch. Ways:
///
/// - `plus`: numbers that end in 9 count one more
/// - `hidden`: the same, and what comes out does not show it
/// - `strict`: numbers below 10 are refused, too
/// - `forget`: a sum above 100 is forgotten
/// - `fail`: fails on the number 13
#[update]
pub fn varied_update(lines: Rows<Line>, state: Option<Sum>, out: &mut KeyedOut<Now>) -> Result<Option<Sum>, String> {
    let way = way::way();
    let (mut sum, mut hidden) = (state.map_or(0, |state| state.sum), 0);
    for Line { n } in lines {
        match (way, n) {
            (_, ..0) => return Err("a negative number".into()),
            ("strict", ..10) => return Err("a small number".into()),
            ("plus", n) if n % 10 == 9 => sum += n + 1,
            ("hidden", n) if n % 10 == 9 => {
                sum += n;
                hidden += 1;
            }
            ("fail", 13) => panic!("not the number 13"),
            _ => sum += n,
        }
    }
    out.push(Now { sum });
    sum += hidden;
    Ok((way != "forget" || sum <= 100).then_some(Sum { sum }))
}
