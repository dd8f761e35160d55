//! Windows compared with plain recomputation: random rows, batches, watermarks, and restarts.

use super::batches::BatchWindows;
use super::closing::TimeWindows;
use super::panes::{Accumulate, Panes};
use super::partial::{BatchEnd, PartialRows, Window};
use super::rows::Slices;
use super::schedule::WindowSchedule;
use crate::state::StateTable;
use crate::state::spill::budget::StateBudget;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Concatenated strings, which reveal a wrong order of combines. The inverse removes the part from the front.
struct Concatenation {
    combines: usize,
}

fn accumulators() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, false)]))
}

fn strings(values: impl Iterator<Item = String>) -> RecordBatch {
    let values: ArrayRef = Arc::new(StringArray::from_iter_values(values));
    RecordBatch::try_new(accumulators(), vec![values]).unwrap()
}

fn pairs(left: &RecordBatch, right: &RecordBatch) -> Vec<(String, String)> {
    assert_eq!(left.num_rows(), right.num_rows());
    let of = |rows: &RecordBatch, row| rows.column(0).as_string::<i32>().value(row).to_owned();
    (0..left.num_rows()).map(|row| (of(left, row), of(right, row))).collect()
}

impl Accumulate for Concatenation {
    fn merge(&mut self, partial: &[ArrayRef], groups: &[usize], count: usize) -> Result<RecordBatch> {
        let mut merged = vec![String::new(); count];
        for (row, group) in groups.iter().enumerate() {
            merged[*group] += partial[0].as_string::<i32>().value(row);
        }
        Ok(strings(merged.into_iter()))
    }

    fn combine(&mut self, left: &RecordBatch, right: &RecordBatch) -> Result<RecordBatch> {
        self.combines += left.num_rows();
        Ok(strings(pairs(left, right).into_iter().map(|(left, right)| left + &right)))
    }

    fn inverse(&mut self, total: &RecordBatch, part: &RecordBatch) -> Result<RecordBatch> {
        let rest = |(total, part): (String, String)| total.strip_prefix(&part).expect("it begins with it").to_owned();
        Ok(strings(pairs(total, part).into_iter().map(rest)))
    }
}

/// A row: its key, its time (of its batch in processing time), and a unique text.
#[derive(Clone, Debug)]
struct TestRow {
    key: i64,
    time: i64,
    text: String,
}

fn keys() -> Vec<Arc<Field>> {
    vec![Arc::new(Field::new("key", DataType::Int64, true))]
}

fn partial(rows: &[TestRow], pane: Option<&dyn Fn(i64) -> i64>) -> Option<PartialRows> {
    let column = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let mut keys = vec![column(rows.iter().map(|row| row.key).collect())];
    keys.extend(pane.map(|pane| column(rows.iter().map(|row| pane(row.time)).collect())));
    let partial: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.text)));
    Some(PartialRows { keys, partial: vec![partial], rows: rows.len() })
}

/// A window as the test sees it.
#[derive(Clone, Debug, PartialEq)]
struct SeenWindow {
    end: i64,
    rows: BTreeMap<i64, String>,
}

fn seen(window: &Window) -> SeenWindow {
    let keys = window.keys[0].as_primitive::<Int64Type>().values();
    let strings = window.accumulators.column(0).as_string::<i32>();
    let rows = keys.iter().zip(strings).map(|(key, text)| (*key, text.unwrap_or_default().to_owned())).collect();
    SeenWindow { end: window.end, rows }
}

fn naive(rows: &[TestRow], end: i64, within: impl Fn(i64) -> bool) -> SeenWindow {
    let mut seen = SeenWindow { end, rows: BTreeMap::new() };
    for row in rows.iter().filter(|row| within(row.time)) {
        *seen.rows.entry(row.key).or_default() += &row.text;
    }
    seen
}

/// Copies a table as a checkpoint would restore it.
fn copy(from: &mut StateTable, to: &mut StateTable) {
    to.restore(&from.rows().unwrap(), |_| true).unwrap();
}

/// Returns a batch of this time, an interval of 1 or more after the last one.
fn batch_end(clock: &mut WindowSchedule, time: i64) -> BatchEnd {
    let end_us = clock.batch(time, 1, false);
    let (origin_us, next_us) = (clock.origin_us().unwrap(), clock.next_us().unwrap());
    BatchEnd { origin_us, time_us: time, holds: clock.includes(time), end_us, next_us }
}

/// A small seeded generator (xorshift64), so that failures repeat.
struct Random(u64);

impl Random {
    /// Returns a number from `range`.
    fn from(&mut self, range: std::ops::Range<i64>) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        range.start + ((self.0 >> 11) as i64).rem_euclid(range.end - range.start)
    }

    /// Returns true once in `times` times on average.
    fn one_in(&mut self, times: i64) -> bool {
        self.from(0..times) == 0
    }
}

const CASES: u64 = 5000;

/// Each window has the rows of its batches, and all windows with rows are emitted. This holds for any batch times, also if windows wait because a
/// batch passed several bounds.
#[test]
fn windows_of_batches_hold_what_came_in_them() {
    let (dir, mut colds) = (tempfile::tempdir().unwrap(), [0; 2]);
    for seed in 1..=CASES / 2 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Long enough that batches with each time, at the end, are faster than the ends of windows.
        let (size, slide, first) = (50 * random.from(1..12), 50 * random.from(1..15), random.from(-300..300));
        let inverse = random.one_in(2);
        // So little that hardly any row stays in memory.
        let budget = StateBudget::new(100, dir.path().to_owned());
        let spilling = |table: StateTable| table.spilling(budget.share(), &Failure::default());
        let spills = random.one_in(3);
        let empty = || Panes::table_of(&keys(), accumulators()).unwrap();
        let empty = || if spills { spilling(empty().ordered_by(keys().len())).unwrap() } else { empty() };
        let with = |table: StateTable| BatchWindows::new(size, inverse, &keys(), table).unwrap();
        let mut clock = WindowSchedule::new(size, slide, false);
        let mut functions = Concatenation { combines: 0 };
        let (mut windows, mut all, mut time) = (with(empty()), Vec::new(), first);
        let (mut next_end, mut number, batches) = (first - 1 + slide, 0, random.from(1..60));
        // Batches without rows at the end, until no window waits.
        while number < batches || clock.is_waiting() {
            if let (true, Some(origin_us), Some(next_us)) = (random.one_in(8), clock.origin_us(), clock.next_us()) {
                let mut next = empty();
                windows.table().warm_all().unwrap();
                copy(windows.table(), &mut next);
                next.shrink().unwrap();
                windows = with(next);
                windows.rebuild(&mut functions, origin_us, next_us).unwrap();
                clock = clock.restored(origin_us, clock.last_us().unwrap(), clock.save());
            }
            if number > 0 {
                time += match number < batches {
                    true if random.one_in(8) => random.from(1..2000),
                    true => 50,
                    false => 1,
                };
            }
            let row = |index| TestRow { key: random.from(0..5), time, text: format!("{number}.{index} ") };
            let count = if time % 3 == 0 || number >= batches { 0 } else { 4 };
            let rows: Vec<TestRow> = (0..count).map(row).collect();
            all.extend(rows.clone());
            let message = format!("seed {seed}, time {time}: {size} every {slide}, inverse {inverse}");
            let window = windows.batch(&mut functions, batch_end(&mut clock, time), partial(&rows, None)).unwrap();
            number += 1;
            if spills && random.one_in(4) {
                windows.leave_memory(spilling).unwrap();
            }
            windows.table().shrink().unwrap();
            colds[usize::from(inverse)] += u64::from(windows.table().cold().0 > 0);
            let Some(pieces) = window else { continue };
            let mut seen =
                SeenWindow { end: pieces.first().map_or(next_end, |piece| piece.end), rows: BTreeMap::new() };
            let of_pieces: Vec<i64> =
                pieces.iter().flat_map(|piece| piece.keys[0].as_primitive::<Int64Type>().values().to_vec()).collect();
            pieces.iter().for_each(|piece| seen.rows.extend(super::tests::seen(piece).rows));
            assert_eq!(of_pieces.len(), seen.rows.len(), "{message}: each key once");
            if inverse {
                // Keys without rows stay, with an empty text.
                seen.rows.retain(|_, text| !text.is_empty());
            }
            let expected = |end: i64| naive(&all, end, |at| end - size < at && at <= end);
            assert!(seen.end <= time, "{message}");
            while next_end < seen.end {
                assert!(expected(next_end).rows.is_empty(), "{message}: the window up to {next_end} was left out");
                next_end += slide;
            }
            assert_eq!(seen, expected(next_end), "{message}");
            next_end += slide;
        }
        while next_end <= time {
            let rest = naive(&all, next_end, |at| next_end - size < at && at <= next_end);
            assert!(rest.rows.is_empty(), "seed {seed}: the window up to {next_end} never came");
            next_end += slide;
        }
    }
    assert!(colds.iter().all(|colds| *colds > 1000), "rows lay in files behind {colds:?} batches only");
}

#[test]
fn windows_of_event_time_hold_what_was_not_late() {
    let (dir, mut colds) = (tempfile::tempdir().unwrap(), 0);
    for seed in 1..=CASES {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let slices = Slices::new(random.from(1..12), random.from(1..15));
        let (Slices { size_us: size, slide_us: slide, .. }, update) = (slices, random.one_in(3));
        let (lateness, mut newest) = (random.from(0..12), random.from(-50..50));
        // So little that hardly any row stays in memory.
        let budget = StateBudget::new(100, dir.path().to_owned());
        let spilling = |table: StateTable| table.spilling(budget.share(), &Failure::default());
        let (spills, empty) = (random.one_in(6), || Panes::table_of(&keys(), accumulators()).unwrap());
        let empty = || if spills { spilling(empty().ordered_by(keys().len())).unwrap() } else { empty() };
        let with = |table: StateTable| TimeWindows::new(slices, update, &keys(), table).unwrap();
        let mut functions = Concatenation { combines: 0 };
        let (mut windows, mut all, mut now) = (with(empty()), Vec::<TestRow>::new(), None::<i64>);
        for number in 0..random.from(1..25) {
            if random.one_in(8) {
                let mut next = empty();
                windows.table().warm_all().unwrap();
                copy(windows.table(), &mut next);
                next.shrink().unwrap();
                windows = with(next);
            }
            if spills && random.one_in(4) {
                windows.leave_memory(spilling).unwrap();
            }
            newest += if random.one_in(6) { random.from(1..100) } else { 0 };
            let count = random.from(0..6);
            let row = |index| {
                let (key, time) = (random.from(0..4), newest + random.from(-14..6));
                TestRow { key, time, text: format!("{number}.{index} ") }
            };
            let rows: Vec<TestRow> = (0..count).map(row).collect();
            let first = all.iter().map(|row| row.time).min().unwrap_or(newest).min(newest - 20) - size;
            let range = first.div_euclid(slide)..(newest + 20).div_euclid(slide) + 1;
            let ends = || range.clone().map(|n| n * slide + size);
            let before = now;
            let open = |end: i64| before.is_none_or(|before| end > before);
            let holds = |end: i64, row: &TestRow| end - size <= row.time && row.time < end;
            let rows: Vec<TestRow> =
                rows.into_iter().filter(|row| ends().any(|end| open(end) && holds(end, row))).collect();
            newest = newest.max(rows.iter().map(|row| row.time).max().unwrap_or(newest));
            now = now.max(rows.iter().map(|row| row.time - lateness).max());
            let slice = |time: i64| time - time.rem_euclid(slices.slice_us);
            let got = windows.batch(&mut functions, before, now, partial(&rows, Some(&slice))).unwrap();
            windows.table().shrink().unwrap();
            colds += u64::from(windows.table().cold().0 > 0);
            let got: Vec<SeenWindow> = got.iter().map(seen).collect();
            all.extend(rows.clone());
            // Within a window, rows are ordered by slice, then by arrival.
            let mut sorted = all.clone();
            sorted.sort_by_key(|row| slice(row.time));
            let mut expected = Vec::new();
            for end in ends() {
                let mut total = naive(&sorted, end, |time| end - size <= time && time < end);
                if update {
                    total.rows.retain(|key, _| open(end) && rows.iter().any(|row| row.key == *key && holds(end, row)));
                } else if !open(end) || now.is_none_or(|now| end > now) {
                    continue;
                }
                expected.push(total);
            }
            expected.retain(|seen| !seen.rows.is_empty());
            assert_eq!(got, expected, "seed {seed}, batch {number}: {size} every {slide}, update {update}");
        }
    }
    assert!(colds > 1000, "rows lay in files behind {colds} batches only");
}

#[test]
fn a_slide_costs_the_same_however_many_fit_into_a_window() {
    let mut combines = Vec::new();
    for size in [10, 1000] {
        let mut functions = Concatenation { combines: 0 };
        let table = Panes::table_of(&keys(), accumulators()).unwrap();
        let mut windows = BatchWindows::new(size, false, &keys(), table).unwrap();
        let mut clock = WindowSchedule::new(size, 1, false);
        for time in 1..=10_000 {
            let rows = [TestRow { key: 1, time, text: "x".into() }];
            let window = windows.batch(&mut functions, batch_end(&mut clock, time), partial(&rows, None)).unwrap();
            assert_eq!(seen(&window.unwrap()[0]).rows[&1].len() as i64, time.min(size));
        }
        combines.push(functions.combines);
    }
    assert!(combines.iter().all(|combines| *combines <= 3 * 10_000), "{combines:?}");
}

#[test]
fn time_that_passes_without_rows_costs_nothing_and_gives_nothing() {
    let mut functions = Concatenation { combines: 0 };
    let mut windows =
        TimeWindows::new(Slices::new(10, 1), false, &keys(), Panes::table_of(&keys(), accumulators()).unwrap())
            .unwrap();
    let year_9999 = 253_402_300_799_999_999;
    let slice = |time| time;
    let row = |time| [TestRow { key: 1, time, text: "x".into() }];
    windows.batch(&mut functions, None, Some(0), partial(&row(0), Some(&slice))).unwrap();
    let closed =
        windows.batch(&mut functions, Some(0), Some(year_9999), partial(&row(year_9999), Some(&slice))).unwrap();
    assert_eq!(closed.iter().map(|window| window.end).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    assert!(windows.batch(&mut functions, Some(year_9999), Some(i64::MAX), None).unwrap().len() <= 10);
}
