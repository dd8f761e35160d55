//! Finds the most frequent keys of a stage. They are counted in samples of its rows, with a limit of counted keys, so that it costs next to nothing.
//!
//! Five times per second each worker samples some rows of its current part. The algorithm of Misra and Gries keeps the keys with more than a certain
//! share of the sample, and may count each of them too low by that share. Every ten seconds all counts are halved, so that they describe about the
//! last half minute.

use super::batch_facts::PartIndex;
use super::batches::Batches;
use super::frequent_keys::{HotKey, HotKeys};
use super::work::OperatorWork;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Maximum keys that a worker counts at a time.
const COUNTED_MAX: usize = 256;
const SAMPLE_EVERY: Duration = Duration::from_millis(200);
/// Sampled rows of a part.
const SAMPLE_ROWS: usize = 32;
const REPORT_EVERY: Duration = Duration::from_secs(1);
const HALVE_EVERY: Duration = Duration::from_secs(10);
/// Maximum length of a shown key.
const KEY_CHARS_MAX: usize = 60;

/// Counts the most frequent of any number of keys.
#[derive(Default)]
struct Sketch {
    looked_at: u64,
    counts: HashMap<String, u64>,
}

impl Sketch {
    fn add(&mut self, key: String) {
        self.looked_at += 1;
        if let Some(count) = self.counts.get_mut(&key) {
            *count += 1;
        } else if self.counts.len() < COUNTED_MAX {
            self.counts.insert(key, 1);
        } else {
            self.counts.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
    }

    fn halve(&mut self) {
        self.looked_at /= 2;
        self.counts.retain(|_, count| {
            *count /= 2;
            *count > 0
        });
    }

    fn to_hot_keys(&self) -> HotKeys {
        let mut top_keys = HotKeys { looked_at: self.looked_at, keys: Vec::new() };
        let keys = self.counts.iter().map(|(key, rows)| HotKey { key: key.clone(), rows: *rows });
        top_keys.add(HotKeys { looked_at: 0, keys: keys.collect() });
        top_keys
    }
}

/// Samples the keys of a stage's input rows, on one worker.
pub struct KeySamples {
    destination: Option<(Batches, PartIndex)>,
    worker: usize,
    key: Vec<usize>,
    sketch: Sketch,
    looked: Option<Instant>,
    last_report: Instant,
    halving: Instant,
    turn: usize,
}

impl KeySamples {
    /// Samples the part whose operators this thread builds, by these columns.
    pub fn of_built(key: Vec<usize>, worker: usize) -> KeySamples {
        let (now, destination) = (Instant::now(), OperatorWork::of_built().part());
        KeySamples {
            destination,
            worker,
            key,
            sketch: Sketch::default(),
            looked: None,
            last_report: now,
            halving: now,
            turn: 0,
        }
    }

    /// Samples some of these rows periodically.
    pub fn sample(&mut self, rows: &RecordBatch) {
        let now = Instant::now();
        if self.looked.is_some_and(|looked| now.duration_since(looked) < SAMPLE_EVERY) || rows.num_rows() == 0 {
            return;
        }
        let Some((batches, part)) = &self.destination else { return };
        self.looked = Some(now);
        let step = rows.num_rows().div_ceil(SAMPLE_ROWS).max(1);
        self.turn = self.turn.wrapping_add(1);
        let columns: Vec<&ArrayRef> = self.key.iter().filter_map(|column| rows.columns().get(*column)).collect();
        for row in (self.turn % step..rows.num_rows()).step_by(step) {
            let key: Vec<String> = columns.iter().map(|column| shown(column, row)).collect();
            self.sketch.add(cut(key.join(", ").chars()));
        }
        if now.duration_since(self.halving) >= HALVE_EVERY {
            self.halving = now;
            self.sketch.halve();
        }
        if now.duration_since(self.last_report) >= REPORT_EVERY {
            self.last_report = now;
            batches.record_hot_keys(*part, self.worker, self.sketch.to_hot_keys());
        }
    }
}

/// Returns a value as text, no longer than what is shown.
fn shown(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "null".into();
    }
    match column.data_type() {
        DataType::Utf8 => cut(column.as_string::<i32>().value(row).chars()),
        DataType::Binary => {
            let bytes = column.as_binary::<i32>().value(row);
            millstream_base::hex::encode(bytes.get(..KEY_CHARS_MAX).unwrap_or(bytes))
        }
        _ => array_value_to_string(column, row).unwrap_or_default(),
    }
}

fn cut(mut chars: impl Iterator<Item = char>) -> String {
    let start: String = chars.by_ref().take(KEY_CHARS_MAX).collect();
    if chars.next().is_some() { start + "…" } else { start }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn frequent_keys_are_found_among_any_number_of_others() {
        let mut sketch = Sketch::default();
        for row in 0..100_000_u64 {
            let key = match row % 10 {
                0..3 => "hot".to_owned(),
                3 => "warm".to_owned(),
                _ => format!("cold {row}"),
            };
            sketch.add(key);
        }
        assert!(sketch.counts.len() <= COUNTED_MAX);
        let top = sketch.to_hot_keys().notable();
        let keys: Vec<&str> = top.keys.iter().map(|key| key.key.as_str()).collect();
        assert_eq!((keys, top.looked_at), (vec!["hot", "warm"], 100_000));
        // Too low by at most one in 256 of all, never too high.
        let rows: Vec<u64> = top.keys.iter().map(|key| key.rows).collect();
        assert!((29_600..=30_000).contains(&rows[0]) && (9_600..=10_000).contains(&rows[1]), "{rows:?}");
        sketch.halve();
        assert_eq!(sketch.to_hot_keys().looked_at, 50_000);
        let mut sum = top.clone();
        sum.add(top);
        assert_eq!((sum.looked_at, sum.keys.len(), sum.keys[0].rows), (200_000, 2, 2 * rows[0]));
    }

    #[test]
    fn keys_are_text_of_bounded_length() {
        let rows: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![Some("ü".repeat(1000)), None])),
            Arc::new(Int64Array::from(vec![1, 2])),
        ];
        assert_eq!(shown(&rows[0], 0), "ü".repeat(KEY_CHARS_MAX) + "…");
        assert_eq!((shown(&rows[0], 1), shown(&rows[1], 1)), ("null".into(), "2".into()));
    }
}
