//! Which rows of a batch have the same key.

use crate::batch::keys::{KeyHash, Keys, equal};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

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
    pub fn len(&self) -> usize {
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
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
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

/// A key in the table, by the first row that has it.
struct Seen {
    hash: u64,
    row: u32,
    group: u32,
}

impl Grouper {
    /// Finds the group of each row.
    pub fn group(&mut self, keys: &Keys) -> Grouped {
        self.table.clear();
        let keys = keys.view();
        let mut of_row = Vec::with_capacity(keys.len());
        let mut first_rows = Vec::new();
        let mut hashes = Vec::new();
        for row in 0..keys.len() {
            let key = keys.get(row);
            let hash = KeyHash::of(key);
            let same = |seen: &Seen| seen.hash == hash.0 && equal(keys.get(seen.row as usize), key);
            of_row.push(match self.table.entry(hash.0, same, |seen| seen.hash) {
                Entry::Occupied(seen) => seen.get().group as usize,
                Entry::Vacant(vacant) => {
                    let group = first_rows.len();
                    vacant.insert(Seen { hash: hash.0, row: row as u32, group: group as u32 });
                    first_rows.push(row as u32);
                    hashes.push(hash);
                    group
                }
            });
        }
        Grouped { of_row, first_rows, hashes }
    }
}
