//! Records of spilled keys.

use crate::state::Slot;
use crate::state::time_counts::TimeCounts;
use millstream_rows::batch::keys::KeyHash;
use std::collections::{BTreeSet, HashMap};

/// Records of spilled keys.
#[derive(Default)]
pub struct SpilledKeys {
    /// Slots of their rows in memory, by the hash of the key.
    pub rest: HashMap<KeyHash, Vec<Slot>>,
    /// When they are due. Entries of keys that were loaded since remain.
    due: BTreeSet<(i64, KeyHash)>,
    /// The times of the first rows that they hold back.
    pub looked_at_us: TimeCounts,
}

impl SpilledKeys {
    /// Adds a spilled key, with its due time and the time of the row that it holds back.
    pub fn add(&mut self, hash: KeyHash, due: Option<i64>, looked_at_us: Option<i64>) {
        self.due.extend(due.map(|due| (due, hash)));
        looked_at_us.into_iter().for_each(|time| self.looked_at_us.add(time));
    }

    /// Takes the hashes of the keys that are due before this time.
    pub fn take_due(&mut self, now: i64) -> Vec<KeyHash> {
        let later = self.due.split_off(&(now, KeyHash(0)));
        std::mem::replace(&mut self.due, later).into_iter().map(|(_, hash)| hash).collect()
    }

    /// Returns the time of the first row that one of them holds back.
    pub fn earliest(&self) -> Option<i64> {
        self.looked_at_us.first()
    }

    /// Returns its approximate memory.
    pub fn bytes(&self) -> u64 {
        const REST_BYTES: usize = 64;
        let due = self.due.len() * size_of::<(i64, KeyHash)>() * 3 / 2;
        (due + self.rest.len() * REST_BYTES) as u64 + self.looked_at_us.bytes()
    }
}
