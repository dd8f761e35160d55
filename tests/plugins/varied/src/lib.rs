//! Passes rows on, in the variant that a test has written into it.

mod way;

use millstream_sdk::{Out, Row, counter, log, transform};

/// A row, as it comes and goes.
#[derive(Row)]
pub struct Line<'a> {
    word: &'a str,
    n: i64,
}

/// Passes rows on; those with a negative number are refused. Ways:
///
/// - `plus`: numbers that end in 9 are one more
/// - `strict`: numbers below 10 are refused, too
/// - `fail`: fails on the number 13
/// - `loop`: works for ever on the number 13
/// - `said`: writes to the log and counts
#[transform]
pub fn varied(line: Line, out: &mut Out<Line>) -> Result<(), String> {
    let Line { word, n } = line;
    let way = way::way();
    match (way, n) {
        (_, ..0) => return Err("a negative number".into()),
        ("strict", ..10) => return Err("a small number".into()),
        ("plus", n) if n % 10 == 9 => out.push(Line { word, n: n + 1 }),
        ("fail", 13) => panic!("not the number 13"),
        ("loop", 13) => loop {
            std::hint::black_box(n);
        },
        ("said", n) => {
            log::info("it says something");
            counter::add("said", 1);
            out.push(Line { word, n });
        }
        _ => out.push(Line { word, n }),
    }
    Ok(())
}
