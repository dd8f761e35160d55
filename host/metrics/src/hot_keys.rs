//! The keys that come most often to a stage: counted in samples of its rows, with a bound on the keys that are counted, so that it
//! costs next to nothing.
//!
//! Five times a second each worker looks at some rows of the part that it has at hand. Misra and Gries' way of counting keeps the keys
//! that make up more than a share of what was looked at, and may count each of them too low by that share; every ten seconds all
//! counts are halved, so that they tell of the last half minute or so.

use super::batch_facts::PartPlace;
use super::batches::Batches;
use super::frequent_keys::{HotKey, HotKeys};
use super::work::OperatorWork;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Keys that a worker counts at a time.
const COUNTED_MAX: usize = 256;
const SAMPLE_EVERY: Duration = Duration::from_millis(200);
/// Rows of a part that are looked at.
const SAMPLE_ROWS: usize = 32;
const TELL_EVERY: Duration = Duration::from_secs(1);
const HALVE_EVERY: Duration = Duration::from_secs(10);
/// Of a key that is shown.
const KEY_CHARS_MAX: usize = 60;

/// Counts keys, the most frequent of any number of them.
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

    fn told(&self) -> HotKeys {
        let mut told = HotKeys { looked_at: self.looked_at, keys: Vec::new() };
        let keys = self.counts.iter().map(|(key, rows)| HotKey { key: key.clone(), rows: *rows });
        told.add(HotKeys { looked_at: 0, keys: keys.collect() });
        told
    }
}

/// Looks at the keys of rows on their way into a stage, on one worker.
pub struct KeySamples {
    told: Option<(Batches, PartPlace)>,
    worker: usize,
    key: Vec<usize>,
    sketch: Sketch,
    looked: Option<Instant>,
    telling: Instant,
    halving: Instant,
    turn: usize,
}

impl KeySamples {
    /// Of the part whose operators this thread builds, by these columns.
    pub fn of_built(key: Vec<usize>, worker: usize) -> KeySamples {
        let (now, told) = (Instant::now(), OperatorWork::of_built().place());
        KeySamples { told, worker, key, sketch: Sketch::default(), looked: None, telling: now, halving: now, turn: 0 }
    }

    /// These rows come; some of them are looked at now and then.
    pub fn see(&mut self, rows: &RecordBatch) {
        let now = Instant::now();
        if self.looked.is_some_and(|looked| now.duration_since(looked) < SAMPLE_EVERY) || rows.num_rows() == 0 {
            return;
        }
        let Some((batches, part)) = &self.told else { return };
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
        if now.duration_since(self.telling) >= TELL_EVERY {
            self.telling = now;
            batches.hot_keys(*part, self.worker, self.sketch.told());
        }
    }
}

/// A value as text, of which no more is made than is shown.
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
        let told = sketch.told().notable();
        let keys: Vec<&str> = told.keys.iter().map(|key| key.key.as_str()).collect();
        assert_eq!((keys, told.looked_at), (vec!["hot", "warm"], 100_000));
        // Too low by one in 256 of all at most, never too high.
        let rows: Vec<u64> = told.keys.iter().map(|key| key.rows).collect();
        assert!((29_600..=30_000).contains(&rows[0]) && (9_600..=10_000).contains(&rows[1]), "{rows:?}");
        sketch.halve();
        assert_eq!(sketch.told().looked_at, 50_000);
        let mut sum = told.clone();
        sum.add(told);
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
