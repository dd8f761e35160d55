//! The last rejected or late rows, as text for status views.

use arrow::array::{Array, RecordBatch};
use arrow::util::display::array_value_to_string;
use millstream_base::ids::BatchId;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Maximum rows that are kept.
const KEPT_MAX: usize = 100;
/// Maximum rows that are converted to text per second: a flood of them must not slow the job.
const A_SECOND_MAX: u64 = 100;
/// Maximum characters of a cell, of a reason and of a backtrace.
const CELL_CHARS_MAX: usize = 200;
const REASON_CHARS_MAX: usize = 1_000;
const BACKTRACE_CHARS_MAX: usize = 4_000;
/// Maximum columns of a row.
const COLUMNS_MAX: usize = 40;

/// A row that was rejected, or came too late.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedRow {
    /// Its number among all that this process has kept, from 1.
    pub number: u64,
    /// Its time.
    pub at_us: i64,
    /// The source or stage.
    pub part: String,
    /// The batch.
    pub batch: BatchId,
    /// Whether it was late.
    pub late: bool,
    /// Why it was rejected.
    pub reason: String,
    /// Its cells: column and value.
    pub cells: Vec<(String, String)>,
    /// Backtrace of the plugin, if the row made a call fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backtrace: Option<String>,
}

/// The last rejected or late rows.
#[derive(Default)]
pub struct RejectedRowHistory {
    rows: VecDeque<RejectedRow>,
    count: u64,
    second: i64,
    in_second: u64,
}

impl RejectedRowHistory {
    /// Keeps rows that a part emitted as rejected, or `late`. Rows without a reason are neither.
    pub fn add(&mut self, part: &str, batch: BatchId, rows: &RecordBatch, late: bool, at_us: i64) {
        let schema = rows.schema();
        let is_reason = |name: &str| name.trim_start_matches("rejected_") == "reason";
        let reason_at = schema.fields().iter().rposition(|field| is_reason(field.name()));
        if !late && reason_at.is_none() {
            return;
        }
        let second = at_us.div_euclid(1_000_000);
        if std::mem::replace(&mut self.second, second) != second {
            self.in_second = 0;
        }
        let room = A_SECOND_MAX.saturating_sub(self.in_second) as usize;
        let reason_at = reason_at.filter(|_| !late);
        let own = reason_at.unwrap_or(rows.num_columns()).min(COLUMNS_MAX);
        let cell = |column: usize, row: usize, chars_max: usize| {
            let value = rows.columns().get(column).filter(|value| !value.is_null(row));
            let text = value.map(|value| array_value_to_string(value, row).unwrap_or_default()).unwrap_or_default();
            cut(&text, chars_max)
        };
        for row in 0..rows.num_rows().min(room).min(KEPT_MAX) {
            self.count += 1;
            self.in_second += 1;
            let cells = (0..own).map(|column| (schema.field(column).name().clone(), cell(column, row, CELL_CHARS_MAX)));
            let backtrace = reason_at.map(|at| cell(at + 1, row, BACKTRACE_CHARS_MAX)).filter(|text| !text.is_empty());
            self.rows.push_back(RejectedRow {
                number: self.count,
                at_us,
                part: part.to_owned(),
                batch,
                late,
                reason: reason_at.map(|at| cell(at, row, REASON_CHARS_MAX)).unwrap_or_default(),
                cells: cells.collect(),
                backtrace,
            });
        }
        let over = self.rows.len().saturating_sub(KEPT_MAX);
        self.rows.drain(..over);
    }

    /// Returns those after this number.
    pub fn after(&self, number: u64) -> Vec<RejectedRow> {
        self.rows.iter().filter(|row| row.number > number).cloned().collect()
    }
}

fn cut(text: &str, chars_max: usize) -> String {
    let mut rest = text.chars();
    let start: String = rest.by_ref().take(chars_max).collect();
    if rest.next().is_some() { start + "…" } else { start }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, StringArray};
    use std::sync::Arc;

    fn rows(columns: &[(&str, &str)], count: usize) -> RecordBatch {
        let column = |text: &str| Arc::new(StringArray::from(vec![text; count])) as ArrayRef;
        RecordBatch::try_from_iter(columns.iter().map(|(name, text)| (*name, column(text)))).unwrap()
    }

    #[test]
    fn rejected_and_late_rows_are_kept_and_others_are_not() {
        let mut history = RejectedRowHistory::default();
        let rejected = rows(&[("value", "<script>"), ("reason", "no"), ("backtrace", "at x")], 1);
        history.add("stage", BatchId(3), &rejected, false, 1);
        history.add("stage", BatchId(4), &rows(&[("value", "old")], 1), true, 1);
        history.add("split", BatchId(5), &rows(&[("value", "to another branch")], 1), false, 1);
        let kept = history.after(0);
        let [no, late] = kept.as_slice() else { panic!("{kept:?}") };
        assert_eq!((no.reason.as_str(), no.backtrace.as_deref(), no.late), ("no", Some("at x"), false));
        assert_eq!(no.cells, [("value".to_owned(), "<script>".to_owned())]);
        assert_eq!((late.late, late.batch, late.number), (true, BatchId(4), 2));
        assert_eq!(history.after(1).len(), 1);
    }

    #[test]
    fn a_flood_is_kept_in_part() {
        let mut history = RejectedRowHistory::default();
        let many = rows(&[("value", &"x".repeat(1000)), ("reason", "no")], 80);
        (0..10).for_each(|_| history.add("stage", BatchId(1), &many, false, 5));
        assert_eq!((history.count, history.after(0).len()), (100, 100));
        assert!(history.after(0)[0].cells[0].1.chars().count() == CELL_CHARS_MAX + 1);
        history.add("stage", BatchId(2), &many, false, 5_000_000);
        assert_eq!((history.count, history.after(0).len()), (180, 100));
    }
}
