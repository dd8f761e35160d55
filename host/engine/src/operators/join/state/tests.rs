//! Joins compared with nested loops, over random rows.

mod batch;
mod interval;

use super::{ColumnSource, Joined, RowCount, Side};
use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Int64Type, Schema, SchemaRef};
use millstream_job::spec::JoinKind;
use millstream_rows::batch::keys::{KeyHash, Keys, canonical_column};
use millstream_rows::batch::types::ColumnType;
use std::sync::Arc;

const KINDS: [JoinKind; 4] = [JoinKind::Inner, JoinKind::Left, JoinKind::Right, JoinKind::Full];

/// Pseudorandom numbers, equal in every run.
struct Dice(u64);

impl Dice {
    fn new(case: u64) -> Dice {
        Dice(case.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number from 0 to `sides` - 1.
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % sides
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.throw(100) < percent
    }
}

/// Each request is a system call, and requested memory counts as used for a while. Requests per row slowed joins down.
#[test]
fn memory_for_rows_is_asked_for_once_and_seldom() {
    for rows in [1, 7, 100_000] {
        let mut count = RowCount::default();
        let requested: Vec<u64> =
            (0..700_000 / rows).map(|_| count.growth(rows)).filter(|growth| *growth > 0).collect();
        let all: u64 = requested.iter().sum();
        assert!(requested.len() <= 10 && all <= 700_000 && all > 700_000 - RowCount::STEP, "{rows}: {requested:?}");
    }
}

/// Composition of keys.
#[derive(Clone, Copy)]
struct KeyKind {
    columns: &'static [ColumnType],
    /// Number of different values of a column.
    values: u64,
    null_percent: u64,
}

impl KeyKind {
    fn random(dice: &mut Dice) -> KeyKind {
        const KINDS: [&[ColumnType]; 4] =
            [&[ColumnType::Text], &[ColumnType::Int64], &[ColumnType::Float64], &[ColumnType::Int64, ColumnType::Text]];
        KeyKind {
            columns: KINDS[dice.throw(4) as usize],
            values: [1, 3, 12][dice.throw(3) as usize],
            null_percent: [0, 15][dice.throw(2) as usize],
        }
    }

    fn key(&self, dice: &mut Dice) -> Vec<Option<u64>> {
        let value = |dice: &mut Dice| (!dice.chance(self.null_percent)).then(|| dice.throw(self.values));
        self.columns.iter().map(|_| value(dice)).collect()
    }
}

/// A row of a test: its key, the bounds of its window or its time, and an id.
#[derive(Clone, Debug)]
struct Row {
    key: Vec<Option<u64>>,
    times: Vec<i64>,
    id: i64,
}

/// Returns rows in a layout: key, times first or last, id.
fn rows_of(kind: KeyKind, rows: &[Row], times_in_front: bool) -> RecordBatch {
    let mut columns: Vec<ArrayRef> = (0..kind.columns.len())
        .map(|index| {
            let values = rows.iter().map(|row| row.key[index]);
            let floats = [0.0, -0.0, f64::NAN, 1.5];
            let column: ArrayRef = match kind.columns[index] {
                ColumnType::Text => {
                    let text =
                        |v: u64| if v.is_multiple_of(2) { format!("k{v}") } else { format!("a-key-of-many-bytes-{v}") };
                    Arc::new(values.map(|v| v.map(text)).collect::<StringArray>())
                }
                ColumnType::Float64 => {
                    Arc::new(values.map(|v| v.map(|v| floats[v as usize % 4])).collect::<Float64Array>())
                }
                _ => Arc::new(values.map(|v| v.map(|v| v as i64)).collect::<Int64Array>()),
            };
            canonical_column(&column)
        })
        .collect();
    let count = rows.first().map_or(0, |row| row.times.len());
    let times = (0..count).map(|index| -> ArrayRef {
        let times: TimestampMicrosecondArray = rows.iter().map(|row| Some(row.times[index])).collect();
        Arc::new(times.with_timezone("UTC"))
    });
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.id)));
    if times_in_front {
        columns.extend(times);
        columns.push(ids);
    } else {
        columns.push(ids);
        columns.extend(times);
    }
    RecordBatch::try_new(layout(kind, count, times_in_front), columns).unwrap()
}

fn layout(kind: KeyKind, times: usize, times_in_front: bool) -> SchemaRef {
    let keys = (0..).zip(kind.columns).map(|(index, kind)| Field::new(format!("k{index}"), kind.arrow(), true));
    let times = (0..times).map(|index| Field::new(format!("t{index}"), ColumnType::Timestamp.arrow(), false));
    let id = Field::new("id", ColumnType::Int64.arrow(), false);
    let trailing: Vec<Field> =
        if times_in_front { times.chain([id]).collect() } else { std::iter::once(id).chain(times).collect() };
    Arc::new(Schema::new(keys.chain(trailing).collect::<Vec<_>>()))
}

/// Key columns and both ids.
fn joined(kind: KeyKind, id: usize) -> Joined {
    let keys = (0..).zip(kind.columns).map(|(index, kind)| Field::new(format!("k{index}"), kind.arrow(), true));
    let ids = ["first", "second"].map(|name| Field::new(name, ColumnType::Int64.arrow(), true));
    let sources = (0..kind.columns.len())
        .map(ColumnSource::Both)
        .chain([ColumnSource::First(id), ColumnSource::Second(id)])
        .collect();
    Joined { schema: Arc::new(Schema::new(keys.chain(ids).collect::<Vec<_>>())), sources }
}

/// Returns the emitted ids.
fn ids(rows: &RecordBatch) -> Vec<[Option<i64>; 2]> {
    let column = |trailing: usize| rows.column(rows.num_columns() - trailing).as_primitive::<Int64Type>();
    column(2).iter().zip(column(1)).map(|(first, second)| [first, second]).collect()
}

/// Returns the hash of each row's key, and its bytes.
fn keys(kind: KeyKind, rows: &[Row]) -> Vec<(KeyHash, Vec<u8>)> {
    let batch = rows_of(kind, rows, true);
    let keys = Keys::encode(&batch.columns()[..kind.columns.len()], rows.len()).unwrap();
    keys.hashes().into_iter().enumerate().map(|(row, hash)| (hash, keys.view().get(row).to_vec())).collect()
}

/// Returns whether rows may be partners by their keys, as in SQL.
fn same_key(a: &Row, b: &Row, kind: KeyKind) -> bool {
    let float = |value: u64| [0, 0, 2, 3][value as usize % 4];
    let plain = |row: &Row| -> Option<Vec<u64>> { row.key.iter().copied().collect() };
    let plain = |row| match plain(row) {
        Some(key) if kind.columns == [ColumnType::Float64] => Some(key.into_iter().map(float).collect()),
        other => other,
    };
    matches!((plain(a), plain(b)), (Some(a), Some(b)) if a == b)
}
