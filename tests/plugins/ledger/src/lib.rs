//! A running account of each key. A row that is lost, duplicated or swapped with another one of its key shows in all later rows
//! of the key. The output does not depend on how the input is split into batches.

use millstream_sdk::{Context, KeyedOut, Row, Rows, update};

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
}

/// Every row whose number this divides closes its key's account.
const CLOSES: i64 = 17;

/// Keeps the accounts. A row with `n = -1` tells that one was closed because its key was idle.
#[update]
pub fn ledger(
    lines: Rows<Line>,
    state: Option<Account>,
    context: &Context,
    out: &mut KeyedOut<Entry>,
) -> Option<Account> {
    let mut account = state;
    for line in lines {
        let Account { rows, digest } = account.unwrap_or(Account { rows: 0, digest: 0 });
        let (place, digest) = (rows + 1, digest.wrapping_mul(1_000_003).wrapping_add(line.n));
        out.push(Entry { n: line.n, place, digest });
        account = (line.n % CLOSES != 0).then_some(Account { rows: place, digest });
    }
    if let Some(Account { rows, digest }) = account.as_ref().filter(|_| context.timed_out) {
        out.push(Entry { n: -1, place: *rows, digest: *digest });
    }
    account
}
