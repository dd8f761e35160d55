//! The plugin ledger with a state of one column, and no word about those of other versions.

use millstream_sdk::{KeyedOut, Row, Rows, update};

/// One row of the input.
#[derive(Row)]
pub struct Line {
    n: i64,
}

/// The account of a key.
#[derive(Row)]
pub struct Account {
    words: String,
}

/// What comes out for a row: the account after it.
#[derive(Row)]
pub struct Entry {
    n: i64,
    place: i64,
    digest: i64,
}

/// Counts the rows of each key.
#[update]
pub fn ledger(lines: Rows<Line>, state: Option<Account>, out: &mut KeyedOut<Entry>) -> Result<Account, String> {
    let mut place: i64 = state.map_or(Ok(0), |state| state.words.parse()).map_err(|_| "no number")?;
    for line in lines {
        place += 1;
        out.push(Entry { n: line.n, place, digest: 0 });
    }
    Ok(Account { words: place.to_string() })
}
