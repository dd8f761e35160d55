//! Several rows or none from one row, and rows that are removed again.

// Only builds as a component: a build of the workspace skips it.
#![cfg(target_arch = "wasm32")]

use millstream_sdk::{Out, Rejection, Row, transform};

#[derive(Row)]
struct Line<'a> {
    line: &'a str,
}

#[derive(Row)]
struct Word<'a> {
    word: &'a str,
    place: i64,
}

/// Splits lines into words.
#[transform]
fn split(line: Line, out: &mut Out<Word>) -> Result<(), Rejection> {
    for (place, word) in (0..).zip(line.line.split(' ').filter(|word| !word.is_empty())) {
        if word.starts_with('#') {
            break;
        }
        if word == "!" {
            return Err(format!("word {place} is not valid").into());
        }
        out.push(Word { word, place });
    }
    Ok(())
}
