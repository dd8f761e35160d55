//! How state is spread over key groups: only the largest are listed, as there are thousands.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Maximum key groups that are listed.
const LARGEST_MAX: usize = 16;

/// The state of a stage by key group. For a large state it is estimated from a sample of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// Number of key groups that are not empty.
    pub groups: u64,
    /// The rows in all of them.
    pub rows: u64,
    /// The bytes of keys and states in all of them.
    pub bytes: u64,
    /// The largest by bytes: sixteen at most.
    pub largest: Vec<GroupSize>,
}

/// The content of a key group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSize {
    /// Its number.
    pub group: u64,
    /// Rows.
    pub rows: u64,
    /// Bytes of keys and states.
    pub bytes: u64,
}

impl Spread {
    /// Creates it from rows and bytes by key group.
    pub fn new(sizes: &BTreeMap<u64, (u64, u64)>) -> Spread {
        let all = sizes.iter().map(|(group, (rows, bytes))| GroupSize { group: *group, rows: *rows, bytes: *bytes });
        let mut spread = Spread::default();
        spread.add(Spread {
            groups: sizes.len() as u64,
            rows: sizes.values().map(|(rows, _)| rows).sum(),
            bytes: sizes.values().map(|(_, bytes)| bytes).sum(),
            largest: all.collect(),
        });
        spread
    }

    /// Adds the groups of another worker, which are disjoint.
    pub fn add(&mut self, other: Spread) {
        self.groups = self.groups.saturating_add(other.groups);
        self.rows = self.rows.saturating_add(other.rows);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.largest.extend(other.largest);
        self.largest.sort_by(|a, b| b.bytes.cmp(&a.bytes).then(a.group.cmp(&b.group)));
        self.largest.truncate(LARGEST_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_groups_of_all_workers_are_told() {
        let of = |from: u64| Spread::new(&(from..from + 100).map(|group| (group, (1, group))).collect());
        let mut sum = of(0);
        sum.add(of(100));
        assert_eq!((sum.groups, sum.rows, sum.bytes, sum.largest.len()), (200, 200, 199 * 100, LARGEST_MAX));
        assert_eq!(sum.largest[0], GroupSize { group: 199, rows: 1, bytes: 199 });
    }
}
