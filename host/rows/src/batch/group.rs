//! Which rows of a batch have the same key.

use crate::batch::key_order::sort_keys;
use crate::batch::keys::{KeyHash, Keys, KeysView, ShortKey, TableSeeds};
use hashbrown::HashTable;
use std::ops::Range;

/// The groups of rows with equal keys, numbered in the order in which they first appear.
#[derive(Default)]
pub struct Grouped {
    /// The group of each row.
    pub of_row: Vec<usize>,
    /// The first row of each group.
    pub first_rows: Vec<u32>,
    /// The key hash of each group.
    pub hashes: Vec<KeyHash>,
}

impl Grouped {
    /// Returns the number of groups.
    pub fn count(&self) -> usize {
        self.first_rows.len()
    }

    /// Creates one group of all rows, also for an empty batch: the input of an aggregate without a key.
    pub fn one_group(rows: usize) -> Grouped {
        Grouped { of_row: vec![0; rows], first_rows: vec![0], hashes: vec![KeyHash(0)] }
    }

    /// Returns the groups in the order of their hashes, then of their keys. The order does not depend on how rows were spread over workers.
    pub fn sorted(&self, keys: &Keys) -> Vec<u32> {
        let keys = keys.view();
        let mut order: Vec<u32> = (0..self.count() as u32).collect();
        sort_keys(
            &mut order,
            |group| self.hashes[group as usize],
            |group| keys.get(self.first_rows[group as usize] as usize),
        );
        order
    }
}

/// Groups rows by key. Its hash table is reused between calls.
#[derive(Default)]
pub struct Grouper {
    table: HashTable<KeyEntry>,
    seeds: TableSeeds,
}

/// A key in the table. Short keys are compared here, without reading the row that first had the key, which has often left the processor's cache.
struct KeyEntry {
    short: ShortKey,
    /// Hash with [`TableSeeds`].
    hash: u64,
    length: u32,
    group: u32,
}

impl Grouper {
    /// Finds the group of each row.
    pub fn group(&mut self, keys: &Keys) -> Grouped {
        let mut grouped = Grouped::default();
        let rows = keys.view().rows();
        self.begin();
        self.extend(keys, 0..rows, &mut grouped);
        grouped
    }

    /// Drops all keys.
    pub fn begin(&mut self) {
        self.table.clear();
    }

    /// Finds the groups of the next rows: replaces `grouped.of_row`, and adds groups to the existing ones. A long batch can thus be grouped and
    /// aggregated piece by piece, while the piece is in the processor's cache.
    pub fn extend(&mut self, keys: &Keys, rows: Range<usize>, grouped: &mut Grouped) {
        let keys = keys.view();
        let Grouped { of_row, first_rows, hashes } = grouped;
        of_row.clear();
        of_row.resize(rows.len(), 0);
        for (row, group) in rows.zip(of_row) {
            let (short, key) = (keys.short_key(row), keys.get(row));
            let hash = self.seeds.hash(key);
            let length = key.len() as u32;
            let is_short = key.len() <= ShortKey::BYTES_MAX;
            let same = |seen: &KeyEntry| {
                seen.hash == hash
                    && seen.short == short
                    && seen.length == length
                    && (is_short || is_key_of(&keys, first_rows, seen.group, key))
            };
            *group = match self.table.find(hash, same) {
                Some(seen) => seen.group as usize,
                None => {
                    let new = KeyEntry { short, hash, length, group: first_rows.len() as u32 };
                    self.table.insert_unique(hash, new, |seen| seen.hash);
                    first_rows.push(row as u32);
                    hashes.push(keys.short(row).1);
                    first_rows.len() - 1
                }
            };
        }
    }
}

/// Returns whether a long key is that of a group. Separate from the comparison of short keys, which must stay small enough to be inlined into the
/// search.
#[inline(never)]
fn is_key_of(keys: &KeysView<'_>, first_rows: &[u32], group: u32, key: &[u8]) -> bool {
    first_rows.get(group as usize).is_some_and(|first| keys.get(*first as usize) == key)
}

/// Sorts rows by their ranks with a stable counting sort. Also returns the end of each rank's rows.
pub fn sort_by_rank(ranks: impl Iterator<Item = u32> + Clone, count: usize) -> (Vec<u32>, Vec<u32>) {
    let mut ends = vec![0u32; count];
    let mut rows = 0;
    for rank in ranks.clone() {
        ends[rank as usize] += 1;
        rows += 1;
    }
    let mut sum = 0;
    let mut next: Vec<u32> = Vec::with_capacity(count);
    for end in &mut ends {
        next.push(sum);
        sum += *end;
        *end = sum;
    }
    let mut sorted = vec![0u32; rows];
    for (row, rank) in ranks.enumerate() {
        let next_index = &mut next[rank as usize];
        sorted[*next_index as usize] = row as u32;
        *next_index += 1;
    }
    (ends, sorted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, StringArray};
    use std::collections::HashMap;
    use std::sync::Arc;

    #[test]
    fn groups_are_those_of_a_hash_map() {
        // Keys of all lengths around the limits of the short forms. Many differ in only one byte.
        let text = "abcdefghijklmnopqrstuvwxyz";
        let mut keys: Vec<String> = Vec::new();
        for length in 0..20 {
            keys.push(text[..length].to_owned());
            for index in 0..length {
                let mut key = text[..length].to_owned();
                key.replace_range(index..=index, "_");
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
