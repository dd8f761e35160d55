//! The reference: what a Rust programmer writes for only this one job, on one thread.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Splits every line (Arrow's offsets and bytes) at white space; returns the words in the same form.
pub fn split(offsets: &[i32], bytes: &[u8]) -> (Vec<i32>, Vec<u8>) {
    let (mut words, mut ends) = (Vec::with_capacity(bytes.len()), Vec::with_capacity(bytes.len() / 5));
    ends.push(0);
    for line in offsets.windows(2) {
        let line = &bytes[line[0] as usize..line[1] as usize];
        for word in line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
            words.extend_from_slice(word);
            ends.push(words.len() as i32);
        }
    }
    (ends, words)
}

/// Counts the words of a file: buffered read, split, hash map.
pub fn word_count(path: &Path) -> (u64, usize) {
    let mut file = BufReader::with_capacity(1 << 16, std::fs::File::open(path).expect("the text"));
    let mut counts: HashMap<Box<[u8]>, u64, ahash::RandomState> = HashMap::default();
    let (mut line, mut words) = (Vec::new(), 0);
    loop {
        line.clear();
        if file.read_until(b'\n', &mut line).expect("the text is read") == 0 {
            return (words, counts.len());
        }
        for word in line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
            words += 1;
            match counts.get_mut(word) {
                Some(count) => *count += 1,
                None => _ = counts.insert(word.into(), 1),
            }
        }
    }
}

/// A row of the keyed benchmark.
#[derive(serde::Deserialize)]
struct Payment<'a> {
    user: &'a str,
    amount: i64,
}

/// Adds up the amounts of each user: buffered read, a fast JSON crate, hash map.
pub fn running_total(path: &Path) -> (i64, usize) {
    let mut file = BufReader::with_capacity(1 << 16, std::fs::File::open(path).expect("the rows"));
    let mut totals: HashMap<Box<str>, i64, ahash::RandomState> = HashMap::default();
    let (mut line, mut checksum) = (Vec::new(), 0i64);
    loop {
        line.clear();
        if file.read_until(b'\n', &mut line).expect("the rows are read") == 0 {
            return (checksum, totals.len());
        }
        let row: Payment = sonic_rs::from_slice(&line).expect("a row");
        let total = match totals.get_mut(row.user) {
            Some(total) => total,
            None => totals.entry(row.user.into()).or_default(),
        };
        *total += row.amount;
        checksum = checksum.wrapping_add(*total);
    }
}
