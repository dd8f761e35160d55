//! Lists the rows of two inputs side by side, and fails on the rows that say so.

#[path = "../../poison/src/fail.rs"]
mod fail;

use millstream_sdk::{KeyedOut, Row, Rows, cogroup, counter};

/// A row of either input.
#[derive(Row)]
pub struct Line<'a> {
    word: &'a str,
}

/// All that there is of a key.
#[derive(Row)]
pub struct Both {
    left: String,
    right: String,
}

/// Lists the rows of each key, by input. A row with `refuse` refuses all rows of its key.
#[cogroup]
pub fn poison_cogroup(left: Rows<Line>, right: Rows<Line>, out: &mut KeyedOut<Both>) -> Result<(), String> {
    let left: Vec<&str> = left.map(|line| line.word).collect();
    let right: Vec<&str> = right.map(|line| line.word).collect();
    left.iter().chain(&right).for_each(|word| fail::on(word));
    if left.iter().chain(&right).any(|word| *word == "refuse") {
        return Err("refused by itself".into());
    }
    counter::add("rows", (left.len() + right.len()) as u64);
    out.push(Both { left: left.join(","), right: right.join(",") });
    Ok(())
}
