//! The input of the jobs and the expected output: rows of the plugin `ledger`.

use millstream_tests::Random;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Every row whose number is a multiple of this closes its key's account.
const CLOSES: i64 = 17;

/// A row of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub n: i64,
    pub k: String,
    pub place: i64,
    pub digest: i64,
}

impl Entry {
    /// A row as the sinks write it in JSON.
    pub fn of(row: &Value) -> Result<Entry, String> {
        let number = |name: &str| row[name].as_i64().ok_or_else(|| format!("not a row: {row}"));
        let k = row["k"].as_str().ok_or_else(|| format!("not a row: {row}"))?.to_owned();
        Ok(Entry { n: number("n")?, k, place: number("place")?, digest: number("digest")? })
    }
}

/// The keys of rows 1, 2, 3 …: some are frequent, most are rare.
pub fn keys(rows: u64, random: &mut Random) -> Vec<String> {
    let key = |random: &mut Random| match random.from(1, 3) {
        1 => random.from(1, 5),
        _ => random.from(6, 300),
    };
    (0..rows).map(|_| format!("k{}", key(random))).collect()
}

/// The rows that the plugin must make of rows 1, 2, 3 … with these keys, by row number.
pub fn expected(keys: &[String]) -> Vec<Entry> {
    let mut accounts: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    let entry = |(n, k): (i64, &'_ String)| Entry { n, k: k.clone(), place: 0, digest: 0 };
    let mut all: Vec<Entry> = (1..).zip(keys).map(entry).collect();
    for (entry, k) in all.iter_mut().zip(keys) {
        let (place, digest) = accounts.get(k.as_str()).copied().unwrap_or((0, 0));
        entry.place = place + 1;
        entry.digest = digest.wrapping_mul(1_000_003).wrapping_add(entry.n);
        match entry.n % CLOSES {
            0 => accounts.remove(k.as_str()),
            _ => accounts.insert(k, (entry.place, entry.digest)),
        };
    }
    all
}

/// Compares rows, in the order in which a sink has them, with the expected rows: none lost, none duplicated, each correct, and
/// those of a key in order.
pub fn compare(what: &str, found: &[Entry], expected: &[Entry]) -> Result<u64, String> {
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    for row in found {
        let at = usize::try_from(row.n - 1).ok().and_then(|at| expected.get(at));
        if at != Some(row) {
            return Err(format!("{what}: a row is {row:?}, and must be {at:?}"));
        }
        if !seen.insert(row.n) {
            return Err(format!("{what}: a row is there twice: {row:?}"));
        }
        if last.insert(&row.k, row.n).is_some_and(|before| before > row.n) {
            return Err(format!("{what}: a row comes behind a later one of its key: {row:?}"));
        }
    }
    match expected.iter().find(|row| !seen.contains(&row.n)) {
        Some(lost) => Err(format!("{what}: {} of {} rows are there; lost: {lost:?}", seen.len(), expected.len())),
        None => Ok(found.len() as u64),
    }
}
