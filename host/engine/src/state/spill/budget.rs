//! The memory budget for the state of a job in a process, and which of its tables has to evict rows.

use millstream_base::memory::unspillable;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The percentage of its share that a table keeps when it evicts rows: few large files are better than many small ones.
const KEPT: u64 = 85;

/// The percentage of the budget for tables. The rest is for temporary data: pages being written and merged, rows of the current batch, and slots that
/// become unnecessary as filters and indexes grow.
const USED: u64 = 82;

/// The filter of a file takes this fraction of the budget, with a minimum number of rows per file.
const FILTER_SHARE: u64 = 256;
const ROWS_MIN: u64 = 4096;

/// The memory limit for all tables of a process. Output does not depend on it.
#[derive(Debug)]
pub struct StateBudget {
    bytes_max: u64,
    dir: PathBuf,
    tables: Mutex<Vec<Weak<AtomicU64>>>,
}

impl StateBudget {
    /// Creates a budget; rows that do not fit go to files in this directory.
    pub fn new(bytes_max: u64, dir: PathBuf) -> Arc<StateBudget> {
        Arc::new(StateBudget { bytes_max, dir, tables: Mutex::default() })
    }

    /// Returns the limit of all tables in bytes.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Returns the number of rows per file, such that its filter takes a small part of the budget.
    pub fn rows_per_file(&self) -> u64 {
        (self.bytes_max / FILTER_SHARE * 8 / 10).max(ROWS_MIN)
    }

    /// Returns the directory of the files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Adds a table, which takes nothing yet.
    pub fn share(self: &Arc<StateBudget>) -> BudgetShare {
        let bytes = Arc::new(AtomicU64::new(0));
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&bytes));
        BudgetShare { budget: self.clone(), bytes }
    }

    /// Returns the memory of all tables, and their number.
    fn sum(&self) -> (u64, u64) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.retain(|table| table.strong_count() > 0);
        let bytes = tables.iter().filter_map(Weak::upgrade).map(|table| table.load(Ordering::Relaxed));
        (bytes.fold(0, u64::saturating_add), tables.len().max(1) as u64)
    }
}

/// The share of one table in the budget.
#[derive(Debug)]
pub struct BudgetShare {
    budget: Arc<StateBudget>,
    bytes: Arc<AtomicU64>,
}

impl BudgetShare {
    /// Returns the budget.
    pub fn budget(&self) -> &Arc<StateBudget> {
        &self.budget
    }

    /// Returns the share of another table.
    pub fn another(&self) -> BudgetShare {
        self.budget.share()
    }

    /// Returns a share for a table that does not count.
    pub fn uncounted(&self) -> BudgetShare {
        BudgetShare { budget: self.budget.clone(), bytes: Arc::default() }
    }

    /// Sets the memory of the table. Returns how much it may keep if all together exceed the budget, and this one exceeds an equal part.
    pub fn take(&self, bytes: u64) -> Option<u64> {
        self.take_with_unspillable(bytes, unspillable::bytes())
    }

    /// Does the same, with `kept` bytes that cannot be evicted.
    fn take_with_unspillable(&self, bytes: u64, kept: u64) -> Option<u64> {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.kept_of(bytes, self.budget.sum(), kept)
    }

    /// Returns whether the table could take these bytes instead of those that it has, without evicting rows.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        self.has_room_with_unspillable(bytes, unspillable::bytes())
    }

    fn has_room_with_unspillable(&self, bytes: u64, kept: u64) -> bool {
        let (sum, tables) = self.budget.sum();
        let sum = sum.saturating_sub(self.bytes.load(Ordering::Relaxed)).saturating_add(bytes);
        self.kept_of(bytes, (sum, tables), kept).is_none()
    }

    /// Returns how much a table of these bytes may keep if all tables take `sum`.
    fn kept_of(&self, bytes: u64, (sum, tables): (u64, u64), kept: u64) -> Option<u64> {
        let limit = (self.budget.bytes_max / 100 * USED).saturating_sub(kept);
        let equal = limit / tables;
        if sum <= limit || bytes <= equal {
            return None;
        }
        let fits = bytes.saturating_sub(sum - limit).max(equal);
        Some(fits / 100 * KEPT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_most_gives_up_rows_until_all_fits() {
        // Enough that tables may use about 100000.
        let budget = StateBudget::new(122_000, PathBuf::new());
        let (one, other) = (budget.share(), budget.share());
        assert_eq!(one.take_with_unspillable(90_000, 0), None, "the other has nothing");
        assert_eq!(other.take_with_unspillable(30_000, 0), None, "it has less than half");
        assert_eq!(one.take_with_unspillable(90_000, 0), Some(70_000 / 100 * KEPT));
        assert_eq!(one.take_with_unspillable(56_000, 0), None);
        assert_eq!(other.take_with_unspillable(60_000, 0), Some(50_000 / 100 * KEPT), "each may have half");
        assert_eq!(one.take_with_unspillable(39_000, 20_000), None, "it has less than half of what is left");
        assert_eq!(other.take_with_unspillable(60_000, 20_000), Some(41_000 / 100 * KEPT));
        assert!(one.has_room_with_unspillable(40_000, 0), "39000 of its own do not count");
        assert!(!one.has_room_with_unspillable(60_000, 0));
        assert_eq!(other.take_with_unspillable(60_000, 0), None, "asking takes nothing");
        drop(one);
        assert_eq!(other.take_with_unspillable(100_000, 0), None);
        assert_eq!(other.take_with_unspillable(110_000, 0), Some(100_000 / 100 * KEPT));
    }
}
