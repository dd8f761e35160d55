//! Joins of two inputs. No I/O, no clock.
//!
//! A part reaches a join in the layout of [`crate::operators::join::node::JoinNode`]: the `on` columns first, in the same order for all inputs. So
//! equal columns make equal key bytes on both sides.

mod row_keys;
mod as_of;
mod batch;
mod changing;
mod cold_interval;
mod interval;
mod joined;
mod numbered_rows;
mod saved_rows;
mod waiting_rows;

pub use as_of::{AsOf, AsOfJoin};
pub use batch::windows;
pub use changing::{ChangingJoin, ChangingJoinPlan, stored_schema};
pub use cold_interval::ColdIntervals;
pub use interval::{Interval, IntervalJoin};
pub use joined::{ColumnSource, Joined};
pub use saved_rows::SavedColumns;

use crate::limits::JOIN_ROWS_PER_BATCH_MAX;
use joined::Pair;
use millstream_base::error::{Error, Result};
use millstream_base::memory;
use millstream_job::spec::JoinKind;

/// One of the two inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `from`
    First,
    /// `join.with`
    Second,
}

impl Side {
    /// Both sides, in order.
    pub const BOTH: [Side; 2] = [Side::First, Side::Second];

    /// Returns its index in arrays by side.
    pub fn index(self) -> usize {
        self as usize
    }

    /// Returns the opposite side.
    pub fn other(self) -> Side {
        match self {
            Side::First => Side::Second,
            Side::Second => Side::First,
        }
    }

    /// Returns whether its rows are also emitted without a partner.
    pub fn is_outer(self, kind: JoinKind) -> bool {
        match self {
            Side::First => matches!(kind, JoinKind::Left | JoinKind::Full),
            Side::Second => matches!(kind, JoinKind::Right | JoinKind::Full),
        }
    }
}

/// Counts the output rows of a batch, and fails if they would need too much memory.
#[derive(Default)]
struct RowCount {
    rows: u64,
    /// Number of rows for which memory was requested.
    requested: u64,
}

impl RowCount {
    /// Rows for which memory is requested at a time, as each request is a system call.
    const STEP: u64 = 1 << 16;

    /// Adds to the number of rows.
    fn add(&mut self, rows: u64) -> Result<()> {
        match self.growth(rows) {
            _ if self.rows > JOIN_ROWS_PER_BATCH_MAX => Err(Error::environment(format!(
                "the join would emit more than {JOIN_ROWS_PER_BATCH_MAX} rows per batch, because many rows of both inputs have the \
                 same values in `on`; join on more columns, or lower `rows_per_batch_max` of the sources"
            ))),
            0 => Ok(()),
            growth => memory::charge(growth * size_of::<Pair>() as u64),
        }
    }

    /// Returns the number of rows for which to request memory after `rows` more. A few rows need none.
    fn growth(&mut self, rows: u64) -> u64 {
        self.rows = self.rows.saturating_add(rows);
        let wanted = self.rows / Self::STEP * Self::STEP;
        let growth = wanted.saturating_sub(self.requested);
        self.requested += growth;
        growth
    }
}

#[cfg(test)]
mod tests;
