//! The rows of one key and side that wait for partners, by time.

/// A row that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitingRow {
    /// Its event time, in microseconds.
    pub time: i64,
    /// Its number among the rows of its side, see [`super::kept_rows::KeptRows`].
    pub number: u64,
}

/// Rows in the order of their times. Those that come nearly in order are added at the end, or not far from it, and freed at
/// the front.
#[derive(Default)]
pub struct WaitingRows {
    rows: Vec<WaitingRow>,
    /// How many rows at the front are free.
    freed: usize,
    /// When its entry in the queue of rows to be freed is due; `None`: there is none.
    pub due: Option<i64>,
}

impl WaitingRows {
    fn rows(&self) -> &[WaitingRow] {
        self.rows.get(self.freed..).unwrap_or_default()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.rows().is_empty()
    }

    /// The earliest time.
    pub fn earliest(&self) -> Option<i64> {
        self.rows().first().map(|row| row.time)
    }

    /// Adds rows that are in order.
    pub fn add(&mut self, rows: &[WaitingRow]) {
        let Some(first) = rows.first() else { return };
        let behind = self.freed + self.rows().partition_point(|row| row < first);
        if self.rows.is_empty() {
            // Most keys have a row or two.
            self.rows.reserve_exact(rows.len());
        }
        let in_order = behind == self.rows.len();
        self.rows.extend_from_slice(rows);
        if !in_order {
            // Two runs: this sort finds them and merges.
            self.rows[behind..].sort();
        }
    }

    /// The rows with times from `from` to `to`, both included.
    pub fn between(&self, from: i64, to: i64) -> &[WaitingRow] {
        let rows = self.rows();
        let start = rows.partition_point(|row| row.time < from);
        let rows = rows.get(start..).unwrap_or_default();
        let end = rows.partition_point(|row| row.time <= to);
        rows.get(..end).unwrap_or_default()
    }

    /// Takes out the rows at the front for which `done` says so by their time.
    pub fn free(&mut self, done: impl Fn(i64) -> bool, freed: &mut Vec<WaitingRow>) {
        let count = self.rows().partition_point(|row| done(row.time));
        freed.extend_from_slice(self.rows().get(..count).unwrap_or_default());
        self.freed += count;
        if self.freed == self.rows.len() {
            (self.rows, self.freed) = (Vec::new(), 0);
        } else if self.freed * 2 > self.rows.len() {
            self.rows.drain(..self.freed);
            self.rows.shrink_to(self.rows.len() * 2);
            self.freed = 0;
        }
    }
}
