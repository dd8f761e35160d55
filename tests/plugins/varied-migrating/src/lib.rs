//! The plugin varied-update with other state columns, which it migrates from those of varied-update in the variant that a test
//! has written into it.

#[path = "../../varied/src/way.rs"]
mod way;

use millstream_sdk::{KeyedOut, Row, Rows, update};

/// A row of the input.
#[derive(Row)]
pub struct Line {
    n: i64,
}

/// What varied-update keeps of a key.
#[derive(Row)]
pub struct Sum {
    sum: i64,
}

/// What is kept of a key.
#[derive(Row)]
pub struct Kept {
    note: String,
    total: i64,
}

/// What comes out for a key.
#[derive(Row)]
pub struct Now {
    sum: i64,
}

/// Ways: `fail` fails on every old state.
impl From<Sum> for Kept {
    fn from(Sum { sum }: Sum) -> Kept {
        assert!(way::way() != "fail", "no sums today");
        Kept { note: format!("{sum} before"), total: sum }
    }
}

/// Keeps the sums as varied-update does. A row with a negative number is refused, with all others of its key and batch.
#[update(migrates_from = Sum)]
pub fn varied_migrating(
    lines: Rows<Line>,
    state: Option<Kept>,
    out: &mut KeyedOut<Now>,
) -> Result<Option<Kept>, String> {
    let Kept { note, mut total } = state.unwrap_or(Kept { note: String::new(), total: 0 });
    for Line { n } in lines {
        if n < 0 {
            return Err("a negative number".into());
        }
        total += n;
    }
    out.push(Now { sum: total });
    Ok(Some(Kept { note, total }))
}
