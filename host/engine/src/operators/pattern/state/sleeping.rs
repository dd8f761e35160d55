//! What is known of the keys that sleep.

use crate::state::Slot;
use crate::state::time_counts::TimeCounts;
use millstream_base::batch::keys::KeyHash;
use std::collections::{BTreeSet, HashMap};

/// What is known of the keys that sleep.
#[derive(Default)]
pub struct SleepingKeys {
    /// Where those of their rows are that are in memory, by the hash of the key.
    pub rest: HashMap<KeyHash, Vec<Slot>>,
    /// When they are to be looked at. Those of keys that have woken since are there, too.
    due: BTreeSet<(i64, KeyHash)>,
    /// The times of the first rows that they hold back.
    pub held: TimeCounts,
}

impl SleepingKeys {
    /// A key sleeps from now on, which is to be looked at then, and holds back a row of that time.
    pub fn add(&mut self, hash: KeyHash, due: Option<i64>, held: Option<i64>) {
        self.due.extend(due.map(|due| (due, hash)));
        held.into_iter().for_each(|time| self.held.add(time));
    }

    /// The hashes of the keys that are to be looked at before this time. They are told once.
    pub fn take_due(&mut self, now: i64) -> Vec<KeyHash> {
        let later = self.due.split_off(&(now, KeyHash(0)));
        std::mem::replace(&mut self.due, later).into_iter().map(|(_, hash)| hash).collect()
    }

    /// The time of the first row that one of them holds back.
    pub fn earliest(&self) -> Option<i64> {
        self.held.first()
    }

    /// The memory that it takes, about.
    pub fn bytes(&self) -> u64 {
        const REST_BYTES: usize = 64;
        let due = self.due.len() * size_of::<(i64, KeyHash)>() * 3 / 2;
        (due + self.rest.len() * REST_BYTES) as u64 + self.held.bytes()
    }
}
