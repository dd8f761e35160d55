//! `ledger` for upgrade tests, first version. Its rows are the same in all versions, except for the column with the version.

use millstream_sdk::{KeyedOut, Row, Rows, update};

/// One row of the input.
#[derive(Row)]
pub struct Line {
    n: i64,
}

/// The account of a key.
#[derive(Row)]
pub struct Account {
    /// Rows since the account was opened.
    rows: i64,
    /// Of all their numbers, in order.
    digest: i64,
}

/// What comes out for a row: the account after it.
#[derive(Row)]
pub struct Entry {
    n: i64,
    place: i64,
    digest: i64,
    version: i64,
}

/// Every row whose number this divides closes its key's account.
const CLOSES: i64 = 17;

/// Keeps the accounts.
#[update]
pub fn ledger(lines: Rows<Line>, state: Option<Account>, out: &mut KeyedOut<Entry>) -> Option<Account> {
    let mut account = state;
    for line in lines {
        let Account { rows, digest } = account.unwrap_or(Account { rows: 0, digest: 0 });
        let (place, digest) = (rows + 1, digest.wrapping_mul(1_000_003).wrapping_add(line.n));
        out.push(Entry { n: line.n, place, digest, version: 1 });
        account = (line.n % CLOSES != 0).then_some(Account { rows: place, digest });
    }
    account
}
