//! Splits lines into words.

// Its functions are only called by a component's exports.
#![cfg(target_arch = "wasm32")]

use millstream_sdk::{Out, Row, text, transform};

#[derive(Row)]
struct Line<'a> {
    value: &'a str,
}

#[derive(Row)]
struct Word<'a> {
    word: &'a str,
}

/// Splits each line into its words.
#[transform]
fn split(line: Line, out: &mut Out<Word>) {
    text::words(line.value).for_each(|word| out.push(Word { word }));
}
