//! The plugin ledger, whose next version keeps its accounts in other columns. The output is the same, so that a row that is lost,
//! duplicated or swapped at the change of versions shows in all later rows of its key.

use millstream_sdk::{Context, KeyedOut, Row, Rows, update};

/// One row of the input.
#[derive(Row)]
pub struct Line {
    n: i64,
}

/// The account of a key in version 0.1.
#[derive(Row)]
pub struct Account {
    rows: i64,
    digest: i64,
}

/// The account of a key.
#[derive(Row)]
pub struct Book {
    /// Of all numbers since it was opened, in order.
    digest: i64,
    /// Rows since it was opened.
    place: i64,
    /// How many of them version 0.1 has seen; none: it was opened later.
    taken_over: Option<i64>,
    /// The same in words.
    note: String,
}

impl From<Account> for Book {
    fn from(Account { rows, digest }: Account) -> Book {
        Book { digest, place: rows, taken_over: Some(rows), note: format!("{rows} rows before") }
    }
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
#[update(migrates_from = Account)]
pub fn ledger(lines: Rows<Line>, state: Option<Book>, context: &Context, out: &mut KeyedOut<Entry>) -> Option<Book> {
    let mut book = state;
    for line in lines {
        let Book { digest, place, taken_over, note } =
            book.unwrap_or(Book { digest: 0, place: 0, taken_over: None, note: String::new() });
        let (place, digest) = (place + 1, digest.wrapping_mul(1_000_003).wrapping_add(line.n));
        out.push(Entry { n: line.n, place, digest });
        book = (line.n % CLOSES != 0).then_some(Book { digest, place, taken_over, note });
    }
    if let Some(Book { digest, place, .. }) = book.as_ref().filter(|_| context.timed_out) {
        out.push(Entry { n: -1, place: *place, digest: *digest });
    }
    book
}
