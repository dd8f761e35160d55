//! The most frequent keys, as reported.

use serde::{Deserialize, Serialize};

/// Maximum keys in a report.
const REPORTED_MAX: usize = 10;

/// A key with a smaller share may be in the sample by chance.
const SHARE_MIN: f64 = 0.01;

/// The most frequent keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotKeys {
    /// Number of recently sampled rows.
    pub looked_at: u64,
    /// Keys of at least one in a hundred of them, the most frequent first: ten at most.
    pub keys: Vec<HotKey>,
}

/// A key and its frequency.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotKey {
    /// The key as text; long ones are cut.
    pub key: String,
    /// Its rows in the sample.
    pub rows: u64,
}

impl HotKeys {
    /// Adds the keys of another worker.
    pub fn add(&mut self, other: HotKeys) {
        self.looked_at = self.looked_at.saturating_add(other.looked_at);
        for more in other.keys {
            match self.keys.iter_mut().find(|own| own.key == more.key) {
                Some(own) => own.rows = own.rows.saturating_add(more.rows),
                None => self.keys.push(more),
            }
        }
        self.keys.sort_by(|a, b| b.rows.cmp(&a.rows).then_with(|| a.key.cmp(&b.key)));
        self.keys.truncate(REPORTED_MAX);
    }

    /// Returns only the keys that are worth reporting.
    #[must_use]
    pub fn notable(mut self) -> HotKeys {
        let least = (self.looked_at as f64 * SHARE_MIN).max(2.0);
        self.keys.retain(|key| key.rows as f64 >= least);
        self
    }
}
