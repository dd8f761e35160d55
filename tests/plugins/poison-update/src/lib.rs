//! Keeps a sum of each key, and fails on the rows that say so.

#[path = "../../poison/src/fail.rs"]
mod fail;

use millstream_sdk::{Context, KeyedOut, Row, Rows, counter, update};

/// One row of the input.
#[derive(Row)]
pub struct Line<'a> {
    n: i64,
    /// Of a row that is good, nothing; `alone` fails when its key is called without rows, from then on.
    word: &'a str,
}

/// What is kept of a key.
#[derive(Row)]
pub struct Sum {
    sum: i64,
    alone: bool,
}

/// What comes out for a row, and for a key that is called without.
#[derive(Row)]
pub struct Entry {
    n: Option<i64>,
    /// After the row.
    sum: i64,
    timed_out: bool,
}

/// Keeps the sums. A row with `refuse` refuses all rows of its key.
#[update]
pub fn poison_update(
    lines: Rows<Line>,
    state: Option<Sum>,
    context: &Context,
    out: &mut KeyedOut<Entry>,
) -> Result<Option<Sum>, String> {
    let Sum { mut sum, mut alone } = state.unwrap_or(Sum { sum: 0, alone: false });
    let timed_out = context.timed_out;
    if lines.len() == 0 {
        assert!(!alone, "not without rows");
        out.push(Entry { n: None, sum, timed_out });
    }
    for Line { n, word } in lines {
        if word == "refuse" {
            return Err("refused by itself".into());
        }
        fail::on(word);
        counter::add("rows", 1);
        alone |= word == "alone";
        sum += n;
        out.push(Entry { n: Some(n), sum, timed_out });
    }
    Ok(Some(Sum { sum, alone }))
}
