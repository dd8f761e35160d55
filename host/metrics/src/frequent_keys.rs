//! The keys that came most often, as they are told.

use serde::{Deserialize, Serialize};

/// Keys that are told of.
const TOLD_MAX: usize = 10;

/// A key with a smaller share may be there by chance.
const SHARE_MIN: f64 = 0.01;

/// The keys that come most often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotKeys {
    /// Rows that were looked at lately.
    pub looked_at: u64,
    /// Those keys that make up one in a hundred of them at least, the most frequent first: ten at most.
    pub keys: Vec<HotKey>,
}

/// A key and how often it came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotKey {
    /// The key as text, cut where it is long.
    pub key: String,
    /// Among the rows that were looked at.
    pub rows: u64,
}

impl HotKeys {
    /// Adds what another worker has seen.
    pub fn add(&mut self, other: HotKeys) {
        self.looked_at = self.looked_at.saturating_add(other.looked_at);
        for more in other.keys {
            match self.keys.iter_mut().find(|own| own.key == more.key) {
                Some(own) => own.rows = own.rows.saturating_add(more.rows),
                None => self.keys.push(more),
            }
        }
        self.keys.sort_by(|a, b| b.rows.cmp(&a.rows).then_with(|| a.key.cmp(&b.key)));
        self.keys.truncate(TOLD_MAX);
    }

    /// Those that are worth telling.
    #[must_use]
    pub fn notable(mut self) -> HotKeys {
        let least = (self.looked_at as f64 * SHARE_MIN).max(2.0);
        self.keys.retain(|key| key.rows as f64 >= least);
        self
    }
}
