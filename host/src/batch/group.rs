//! Which rows of a batch have the same key.

use crate::batch::keys::{KeyHash, Keys};
use hashbrown::HashTable;

/// The groups of rows with equal keys, numbered in the order in which they first appear.
pub struct Grouped {
    /// The group of each row.
    pub of_row: Vec<usize>,
    /// The first row of each group.
    pub first_rows: Vec<u32>,
    /// The key hash of each group.
    pub hashes: Vec<KeyHash>,
}

impl Grouped {
    /// How many groups.
    pub fn count(&self) -> usize {
        self.first_rows.len()
    }

    /// All rows in one group, also where there is no row: what an aggregate without a key works on.
    pub fn whole(rows: usize) -> Grouped {
        Grouped { of_row: vec![0; rows], first_rows: vec![0], hashes: vec![KeyHash(0)] }
    }

    /// The groups in the order of their hashes, then of their keys. The order does not depend on how rows were
    /// spread over workers.
    pub fn sorted(&self, keys: &Keys) -> Vec<u32> {
        let keys = keys.view();
        let mut order: Vec<u32> = (0..self.count() as u32).collect();
        order.sort_unstable_by(|a, b| {
            let (a, b) = (*a as usize, *b as usize);
            self.hashes[a]
                .cmp(&self.hashes[b])
                .then_with(|| keys.get(self.first_rows[a] as usize).cmp(keys.get(self.first_rows[b] as usize)))
        });
        order
    }
}

/// Groups rows by key. Its hash table is kept from call to call.
#[derive(Default)]
pub struct Grouper {
    table: HashTable<Seen>,
}

/// A key in the table. A short key is compared here, without a look at the row that first had it, which has often
/// left the processor's cache.
struct Seen {
    hash: u64,
    ends: (u64, u64),
    length: u32,
    group: u32,
}

impl Grouper {
    /// Finds the group of each row.
    pub fn group(&mut self, keys: &Keys) -> Grouped {
        let keys = keys.view();
        self.table.clear();
        let mut of_row = vec![0; keys.rows()];
        let mut first_rows: Vec<u32> = Vec::new();
        let mut hashes = Vec::new();
        for (row, group) in of_row.iter_mut().enumerate() {
            let key = keys.get(row);
            let hash = KeyHash::of(key);
            let (ends, length) = (ends_of(key), key.len() as u32);
            let same = |seen: &Seen| {
                seen.hash == hash.0
                    && seen.ends == ends
                    && seen.length == length
                    && (length <= 16 || keys.get(first_rows[seen.group as usize] as usize) == key)
            };
            *group = match self.table.find(hash.0, same) {
                Some(seen) => seen.group as usize,
                None => {
                    let new = Seen { hash: hash.0, ends, length, group: first_rows.len() as u32 };
                    self.table.insert_unique(hash.0, new, |seen| seen.hash);
                    first_rows.push(row as u32);
                    hashes.push(hash);
                    first_rows.len() - 1
                }
            };
        }
        Grouped { of_row, first_rows, hashes }
    }
}

/// The first and the last bytes of a key: with its length they say all of a key of at most 16 bytes.
#[inline]
fn ends_of(key: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
        (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)))
    } else {
        match key {
            [] => (0, 0),
            [a] => (u64::from(*a), 0),
            [a, b] => (u64::from(*a), u64::from(*b)),
            [a, .., b] => (u64::from(*a) | u64::from(key[1]) << 8, u64::from(*b)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, StringArray};
    use std::collections::HashMap;
    use std::sync::Arc;

    #[test]
    fn groups_are_those_of_a_hash_map() {
        // Keys of all lengths around the bounds of the short forms, many of which differ in one byte only.
        let text = "abcdefghijklmnopqrstuvwxyz";
        let mut keys: Vec<String> = Vec::new();
        for length in 0..20 {
            keys.push(text[..length].to_owned());
            for place in 0..length {
                let mut key = text[..length].to_owned();
                key.replace_range(place..=place, "_");
                keys.push(key);
            }
        }
        let rows: Vec<&str> = keys.iter().chain(keys.iter().rev()).map(String::as_str).collect();
        let column: ArrayRef = Arc::new(StringArray::from(rows.clone()));
        let encoded = Keys::encode(&[column], rows.len()).unwrap();
        let grouped = Grouper::default().group(&encoded);
        let mut expected: HashMap<&str, usize> = HashMap::new();
        for (row, key) in rows.iter().enumerate() {
            let next = expected.len();
            assert_eq!(grouped.of_row[row], *expected.entry(key).or_insert(next), "{key}");
        }
        assert_eq!(grouped.count(), keys.len());
    }
}
