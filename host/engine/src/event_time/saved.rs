//! The clocks of a stage in a checkpoint: one row per clock, with the watermark.

use super::holds::HeldClock;
use super::{ClockNames, SharedIdleTime, SourceClock, Watermarks};
use crate::checkpoint::types::{Column, REMOVED};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use millstream_base::error::{Error, Result};
use millstream_base::ids::ClockId;
use millstream_rows::batch::keys::{KeyHash, Keys};
use millstream_rows::batch::types::ColumnType;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const CLOCK: &str = "clock";
const TIME: &str = "time";
const QUIET: &str = "quiet";
const WATERMARK: &str = "watermark";
/// Separates the names of a clock and of a stage that holds back its rows. With a number after both, a row is a waiting entry: the time, and in the
/// quiet column how far the stage had come. Names contain no spaces.
const HELD_BY: &str = " behind ";

/// The row of the shared idle time: the greatest time seen, and in the quiet column for how long all clocks are idle. No clock has this name.
const IDLE_TIME: &str = " silence";
/// Stored instead of how long all clocks are idle if a row has come since.
const NOT_IDLE: i64 = -1;

/// Separates the name of a source and the digest of a partition's name. Source names do not contain it.
const PARTITION: char = '/';

/// Names that no clock has. There are enough that each key group has one.
const PLACEHOLDER_NAMES: u32 = 65_536;

/// Returns the name of a clock in a checkpoint.
fn name_of(names: &ClockNames, id: ClockId) -> Option<String> {
    let name = names.get(&id.without_partition())?;
    Some(if id == id.without_partition() { name.clone() } else { format!("{name}{PARTITION}{:016x}", id.partition) })
}

/// Returns the clock of a name; `None`: the stage no longer has this clock.
fn id_of(names: &ClockNames, clock: &str) -> Option<ClockId> {
    let (stream, partition) = clock.split_once(PARTITION).map_or((clock, None), |(name, digest)| (name, Some(digest)));
    let (id, _) = names.iter().find(|(_, name)| *name == stream)?;
    let partition = partition.map_or(Ok(0), |digest| u64::from_str_radix(digest, 16));
    Some(ClockId { partition: partition.ok()?, ..*id })
}

/// Returns the key column and the state columns.
pub fn columns() -> (Column, Vec<Column>) {
    let time = |name| Column { nullable: true, ..Column::new(name, ColumnType::Timestamp) };
    let state = vec![time(TIME), Column::new(QUIET, ColumnType::Int64), time(WATERMARK)];
    (Column::new(CLOCK, ColumnType::Text), state)
}

/// Returns the rows of the clocks whose key groups are owned; `None` if there are none.
pub fn rows(
    watermarks: &Watermarks,
    names: &ClockNames,
    owned: impl Fn(KeyHash) -> bool,
) -> Result<Option<RecordBatch>> {
    let mut clocks: Vec<(String, SourceClock)> =
        watermarks.clocks().filter_map(|(id, clock)| Some((name_of(names, id)?, clock))).collect();
    for (id, stage, held_clock) in watermarks.held_clocks() {
        let Some(name) = names.get(&id) else { continue };
        let name = format!("{name}{HELD_BY}{stage}");
        clocks.push((name.clone(), SourceClock { max_us: held_clock.shown_us, quiet_us: 0 }));
        let waiting = held_clock.waiting.iter().enumerate();
        clocks.extend(waiting.map(|(index, (until_us, max_us))| {
            (format!("{name} {index}"), SourceClock { max_us: Some(*max_us), quiet_us: *until_us })
        }));
    }
    let SharedIdleTime { seen_us, idle_us } = watermarks.idle_time();
    clocks.push((IDLE_TIME.to_owned(), SourceClock { max_us: seen_us, quiet_us: idle_us.unwrap_or(NOT_IDLE) }));
    let hashes = hashes(clocks.iter().map(|(name, _)| name))?;
    let mut clocks: Vec<(KeyHash, &(String, SourceClock))> = hashes.into_iter().zip(&clocks).collect();
    clocks.retain(|(hash, _)| owned(*hash));
    clocks.sort_by(|(a, (name_a, _)), (b, (name_b, _))| (a, name_a).cmp(&(b, name_b)));
    let clocks: Vec<&(String, SourceClock)> = clocks.into_iter().map(|(_, clock)| clock).collect();
    (!clocks.is_empty()).then(|| rows_of(&clocks, watermarks.watermark())).transpose()
}

/// Returns the rows of a worker that no longer owns a clock, to replace its earlier rows. It is one row without a clock, so that the watermark is not
/// lost with the last clock. Its name is in a key group that the worker owns, as it is looked up there after rescaling.
pub fn placeholder_rows(watermarks: &Watermarks, owned: impl Fn(KeyHash) -> bool) -> Result<Option<RecordBatch>> {
    let names: Vec<String> = (0..PLACEHOLDER_NAMES).map(|number| format!(" {number}")).collect();
    let hashes = hashes(names.iter())?;
    let own = names.into_iter().zip(hashes).find(|(_, hash)| owned(*hash));
    own.map(|(name, _)| rows_of(&[&(name, SourceClock::default())], watermarks.watermark())).transpose()
}

fn hashes<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> Result<Vec<KeyHash>> {
    let count = names.len();
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(names));
    Ok(Keys::encode(&[names], count).map_err(Error::arrow)?.hashes())
}

fn rows_of(clocks: &[&(String, SourceClock)], watermark: Option<i64>) -> Result<RecordBatch> {
    let own = || clocks.iter();
    let times = |times: TimestampMicrosecondArray| -> ArrayRef { Arc::new(times.with_timezone("UTC")) };
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        (CLOCK, Arc::new(StringArray::from_iter_values(own().map(|(name, _)| name))), false),
        (TIME, times(own().map(|(_, clock)| clock.max_us).collect()), true),
        (QUIET, Arc::new(Int64Array::from_iter_values(own().map(|(_, clock)| clock.quiet_us))), true),
        (WATERMARK, times(own().map(|_| watermark).collect()), true),
        (REMOVED, Arc::new(BooleanArray::from(vec![false; clocks.len()])), false),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).map_err(Error::arrow)
}

/// Restores the clocks from the rows of all workers. Clocks that the stage no longer has only contribute to the watermark.
pub fn restore(watermarks: &mut Watermarks, names: &ClockNames, files: &[RecordBatch]) -> Result<()> {
    let mut restored: BTreeSet<ClockId> = BTreeSet::new();
    let mut held_clocks: BTreeMap<(ClockId, u32), HeldClock> = BTreeMap::new();
    let mut idle_time = None;
    for rows in files {
        let column = |name: &str| {
            let column = rows.column_by_name(name);
            column.ok_or_else(|| Error::environment(format!("the table of watermarks lacks its column `{name}`")))
        };
        let wrong = || Error::environment("a column of the table of watermarks is of another type");
        let clocks = column(CLOCK)?.as_string_opt::<i32>().ok_or_else(wrong)?;
        let quiet = column(QUIET)?.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
        let time = |name| column(name)?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(wrong);
        let (times, marks) = (time(TIME)?, time(WATERMARK)?);
        let value = |times: &TimestampMicrosecondArray, row| times.is_valid(row).then(|| times.value(row));
        for row in 0..rows.num_rows() {
            let clock = SourceClock { max_us: value(times, row), quiet_us: quiet.value(row) };
            if clocks.value(row) == IDLE_TIME {
                let idle_us = Some(clock.quiet_us).filter(|idle_us| *idle_us != NOT_IDLE);
                idle_time = Some(SharedIdleTime { seen_us: clock.max_us, idle_us });
                watermarks.restore(None, clock, value(marks, row));
                continue;
            }
            let Some((name, stage)) = clocks.value(row).split_once(HELD_BY) else {
                let id = id_of(names, clocks.value(row));
                restored.extend(id);
                watermarks.restore(id, clock, value(marks, row));
                continue;
            };
            let (stage, waits) = stage.split_once(' ').map_or((stage, false), |(stage, _)| (stage, true));
            let Some(pair) = id_of(names, name).and_then(|id| Some((id, watermarks.holding_index(id, stage)?))) else {
                continue;
            };
            let held_clock = held_clocks.entry(pair).or_default();
            match clock.max_us.filter(|_| waits) {
                Some(max_us) => held_clock.waiting.push_back((clock.quiet_us, max_us)),
                None => held_clock.shown_us = clock.max_us,
            }
        }
    }
    let partitioned = restored.iter().filter(|id| !restored.contains(&id.without_partition()));
    partitioned.for_each(|id| watermarks.remove_source_clock(*id));
    // An older checkpoint may not know that rows were held back: everything that has come was shown.
    let pairs: Vec<_> =
        watermarks.clocks().flat_map(|(id, clock)| watermarks.stages(id).map(move |at| ((id, at), clock))).collect();
    for ((id, stage), clock) in pairs {
        let mut held_clock =
            held_clocks.remove(&(id, stage)).unwrap_or(HeldClock { shown_us: clock.max_us, ..HeldClock::default() });
        held_clock.waiting.make_contiguous().sort_unstable();
        watermarks.restore_held(id, stage, held_clock);
    }
    watermarks.restore_idle_time(idle_time);
    Ok(())
}
