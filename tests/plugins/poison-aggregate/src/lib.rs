//! Sums up a column, and fails on the rows that say so.

#[path = "../../poison/src/fail.rs"]
mod fail;

use millstream_sdk::{Row, aggregate, counter};

/// One row of the input.
#[derive(Row)]
pub struct Line<'a> {
    n: i64,
    /// Of a row that is good, nothing; `combine` fails where it meets another one of its key, `lower` at the end.
    word: &'a str,
}

/// A partial sum.
#[derive(Row)]
pub struct Partial<'a> {
    sum: i64,
    rows: i64,
    word: &'a str,
}

/// The result.
#[derive(Row)]
pub struct Sum {
    sum: i64,
    rows: i64,
}

/// The plugin.
pub struct PoisonAggregate;

/// Sums up.
#[aggregate]
impl PoisonAggregate {
    fn lift(row: Line) -> Partial {
        fail::on(row.word);
        counter::add("rows", 1);
        Partial { sum: row.n, rows: 1, word: row.word }
    }

    fn combine<'a>(left: Partial<'a>, right: Partial<'a>) -> Partial<'a> {
        let word = if left.word.is_empty() { right.word } else { left.word };
        assert!(word != "combine", "not these two");
        Partial { sum: left.sum + right.sum, rows: left.rows + right.rows, word }
    }

    fn lower(partial: Partial) -> Sum {
        assert!(partial.word != "lower", "not in the end");
        Sum { sum: partial.sum, rows: partial.rows }
    }
}
