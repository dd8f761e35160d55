//! `ledger` for upgrade tests, third version, with the state of the second. It migrates that of the first, too: a job that dies
//! before its first checkpoint with the second restarts with this one.

use millstream_sdk::{KeyedOut, Row, Rows, update};

/// One row of the input.
#[derive(Row)]
pub struct Line {
    n: i64,
}

/// The account of a key in the first version.
#[derive(Row)]
pub struct Account {
    rows: i64,
    digest: i64,
}

/// The account of a key.
#[derive(Row)]
pub struct Book {
    /// Of all numbers since it was opened, in order, as text.
    digest: String,
    /// Rows since it was opened.
    place: i64,
}

impl From<Account> for Book {
    fn from(Account { rows, digest }: Account) -> Book {
        Book { digest: digest.to_string(), place: rows }
    }
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
#[update(migrates_from = Account)]
pub fn ledger(lines: Rows<Line>, state: Option<Book>, out: &mut KeyedOut<Entry>) -> Result<Option<Book>, String> {
    let mut book = state;
    for line in lines {
        let (place, digest) = match book {
            Some(Book { place, digest }) => (place, digest.parse().map_err(|_| "no number")?),
            None => (0, 0_i64),
        };
        let (place, digest) = (place + 1, digest.wrapping_mul(1_000_003).wrapping_add(line.n));
        out.push(Entry { n: line.n, place, digest, version: 3 });
        book = (line.n % CLOSES != 0).then(|| Book { digest: digest.to_string(), place });
    }
    Ok(book)
}
