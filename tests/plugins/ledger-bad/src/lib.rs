//! The plugin ledger with a `migrate` that behaves as its config says: correctly, or wrong in one way.

use millstream_sdk::{Batch, Error, KeyedOut, Migrate, OldStates, Row, Rows, Stage, Type, migrate, update};

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
    digest: i64,
    place: i64,
    note: String,
}

/// The same, with nulls.
#[derive(Row)]
pub struct Gaps {
    digest: i64,
    place: Option<i64>,
    note: String,
}

/// What comes out for a row: the account after it.
#[derive(Row)]
pub struct Entry {
    n: i64,
    place: i64,
    digest: i64,
}

/// What its `migrate` does.
#[derive(serde::Deserialize)]
pub struct Config {
    how: String,
}

/// Keeps the accounts.
#[update]
pub fn ledger(lines: Rows<Line>, state: Option<Book>, _config: &Config, out: &mut KeyedOut<Entry>) -> Book {
    let mut book = state.unwrap_or(Book { digest: 0, place: 0, note: String::new() });
    for line in lines {
        let (place, digest) = (book.place + 1, book.digest.wrapping_mul(1_000_003).wrapping_add(line.n));
        out.push(Entry { n: line.n, place, digest });
        book = Book { digest, place, ..book };
    }
    book
}

fn book(old: Account, note: usize) -> Book {
    Book { digest: old.digest, place: old.rows, note: "x".repeat(note) }
}

#[update]
impl Migrate for ledger {
    fn migrate(&mut self, _: &Stage, old: OldStates) -> Result<Batch, Error> {
        let right = |states: &Batch| migrate::each::<Account, Book>(states, |_, old| Ok(book(old, 1)));
        let types = [Type::Int64, Type::Int64, Type::Text];
        let new = right(&old.states)?;
        let rows: Vec<u32> = (0..new.rows() as u32).collect();
        match self.config.how.as_str() {
            "right" => Ok(new),
            "error" => Err(Error::internal(format!("nothing is known of version {} with {}", old.version, old.schema))),
            "fewer rows" => new.take(&rows[1..], &types),
            "more rows" => new.take(&[rows.as_slice(), &[0]].concat(), &types),
            "old columns" => Ok(old.states),
            "fewer columns" => new.select(&[0, 1]),
            "other types" => new.select(&[2, 1, 0]),
            "nulls" => migrate::each::<Account, Gaps>(&old.states, |_, old| {
                Ok(Gaps { digest: old.digest, place: None, note: String::new() })
            }),
            "trap" => panic!("no accounts today"),
            "endless" => loop {
                std::hint::spin_loop();
            },
            "memory" => {
                std::hint::black_box(vec![1_u8; 1 << 30]);
                Ok(new)
            }
            "output" => migrate::each::<Account, Book>(&old.states, |_, old| Ok(book(old, 4 << 20))),
            how => Err(Error::config(format!("`how` must not be {how}"))),
        }
    }
}
