//! How much memory the state of a job may take in a process, and which of its tables has to give some up.

use millstream_base::memory::kept;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Hundredths of what a table may have that it keeps when it has to give up rows: few large files are better than many small ones.
const KEPT: u64 = 85;

/// Hundredths of the budget that tables use: the rest is for what comes and goes, as pages that are written and merged, rows of the
/// batch under way, and slots that nobody needs any more since filters and indexes have grown.
const USED: u64 = 82;

/// A file has so many rows that its filter takes one of so many bytes of the budget, but some at least.
const FILTER_SHARE: u64 = 256;
const ROWS_MIN: u64 = 4096;

/// What all tables of a process may take together. Nothing that a job puts out depends on it.
#[derive(Debug)]
pub struct StateBudget {
    bytes_max: u64,
    folder: PathBuf,
    tables: Mutex<Vec<Weak<AtomicU64>>>,
}

impl StateBudget {
    /// So many bytes; rows that do not fit lie in files in this folder.
    pub fn new(bytes_max: u64, folder: PathBuf) -> Arc<StateBudget> {
        Arc::new(StateBudget { bytes_max, folder, tables: Mutex::default() })
    }

    /// How many bytes all tables may take.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// How many rows a file has that is made of some of many: such that its filter takes a small part of the budget.
    pub fn rows_per_file(&self) -> u64 {
        (self.bytes_max / FILTER_SHARE * 8 / 10).max(ROWS_MIN)
    }

    /// Where files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// One more table, which takes nothing yet.
    pub fn share(self: &Arc<StateBudget>) -> BudgetShare {
        let bytes = Arc::new(AtomicU64::new(0));
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&bytes));
        BudgetShare { budget: self.clone(), bytes }
    }

    /// What all tables take, and how many there are.
    fn sum(&self) -> (u64, u64) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.retain(|table| table.strong_count() > 0);
        let bytes = tables.iter().filter_map(Weak::upgrade).map(|table| table.load(Ordering::Relaxed));
        (bytes.fold(0, u64::saturating_add), tables.len().max(1) as u64)
    }
}

/// What one table takes of the budget.
#[derive(Debug)]
pub struct BudgetShare {
    budget: Arc<StateBudget>,
    bytes: Arc<AtomicU64>,
}

impl BudgetShare {
    /// The budget.
    pub fn budget(&self) -> &Arc<StateBudget> {
        &self.budget
    }

    /// The share of one more table.
    pub fn another(&self) -> BudgetShare {
        self.budget.share()
    }

    /// For a table that takes nothing of the budget.
    pub fn uncounted(&self) -> BudgetShare {
        BudgetShare { budget: self.budget.clone(), bytes: Arc::default() }
    }

    /// The table takes so much now. If all together take too much, and this one more than an equal part: how much it may keep.
    pub fn take(&self, bytes: u64) -> Option<u64> {
        self.take_beside(bytes, kept::bytes())
    }

    /// The same beside so much that cannot give up rows.
    fn take_beside(&self, bytes: u64, kept: u64) -> Option<u64> {
        self.bytes.store(bytes, Ordering::Relaxed);
        let (sum, tables) = self.budget.sum();
        let most = (self.budget.bytes_max / 100 * USED).saturating_sub(kept);
        let equal = most / tables;
        if sum <= most || bytes <= equal {
            return None;
        }
        let fits = bytes.saturating_sub(sum - most).max(equal);
        Some(fits / 100 * KEPT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_most_gives_up_rows_until_all_fits() {
        // So much that tables may use about 100000.
        let budget = StateBudget::new(122_000, PathBuf::new());
        let (one, other) = (budget.share(), budget.share());
        assert_eq!(one.take_beside(90_000, 0), None, "the other has nothing");
        assert_eq!(other.take_beside(30_000, 0), None, "it has less than half");
        assert_eq!(one.take_beside(90_000, 0), Some(70_000 / 100 * KEPT));
        assert_eq!(one.take_beside(56_000, 0), None);
        assert_eq!(other.take_beside(60_000, 0), Some(50_000 / 100 * KEPT), "each may have half");
        assert_eq!(one.take_beside(39_000, 20_000), None, "it has less than half of what is left");
        assert_eq!(other.take_beside(60_000, 20_000), Some(41_000 / 100 * KEPT));
        drop(one);
        assert_eq!(other.take_beside(100_000, 0), None);
        assert_eq!(other.take_beside(110_000, 0), Some(100_000 / 100 * KEPT));
    }
}
