//! The waiting rows of one key and side, by time.

/// A waiting row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitingRow {
    /// Its event time, in microseconds.
    pub time: i64,
    /// Its number among the rows of its side, see [`super::numbered_rows::NumberedRows`].
    pub number: u64,
}

/// Rows ordered by time. Those that arrive nearly in order are added at or near the end, and freed at the front.
#[derive(Default)]
pub struct WaitingRows {
    rows: Vec<WaitingRow>,
    /// Number of free rows at the front.
    freed: usize,
    /// Due time of its entry in the expiry queue; `None` if there is no entry.
    pub due: Option<i64>,
}

impl WaitingRows {
    fn rows(&self) -> &[WaitingRow] {
        self.rows.get(self.freed..).unwrap_or_default()
    }

    /// Returns whether no row waits.
    pub fn is_empty(&self) -> bool {
        self.rows().is_empty()
    }

    /// Returns the earliest time.
    pub fn earliest(&self) -> Option<i64> {
        self.rows().first().map(|row| row.time)
    }

    /// Adds ordered rows.
    pub fn add(&mut self, rows: &[WaitingRow]) {
        let Some(first) = rows.first() else { return };
        let sorted_from = self.freed + self.rows().partition_point(|row| row < first);
        if self.rows.is_empty() {
            // Most keys have one or two rows.
            self.rows.reserve_exact(rows.len());
        }
        let in_order = sorted_from == self.rows.len();
        self.rows.extend_from_slice(rows);
        if !in_order {
            // Two ordered runs: this sort finds them and merges.
            self.rows[sorted_from..].sort();
        }
    }

    /// Returns the rows with times from `from` to `to`, inclusive.
    pub fn in_range(&self, from: i64, to: i64) -> &[WaitingRow] {
        let rows = self.rows();
        let start = rows.partition_point(|row| row.time < from);
        let rows = rows.get(start..).unwrap_or_default();
        let end = rows.partition_point(|row| row.time <= to);
        rows.get(..end).unwrap_or_default()
    }

    /// Removes the rows at the front whose times satisfy `done`.
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
