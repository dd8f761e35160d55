//! The `rate` source: generates a number of rows per second, for trials and benchmarks.

pub mod declaration;

use millstream_base::limits::PART_ROWS_MAX;
use millstream_rows::batch::chunk::Chunk;
use millstream_rows::batch::position::{Extent, Positions};
use millstream_rows::inbox::Inbox;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Bytes of a record: timestamp and value, in the form that [`millstream_rows::decode::binary`] reads.
const RECORD_BYTES: u32 = 16;
/// Interval at which rows are generated: the resolution of the runtime's timer.
const TICK: Duration = Duration::from_millis(1);
const MICROS: u128 = 1_000_000;

/// Settings of the source. Rows have `timestamp` and `value` = 0, 1, 2 …, in the `binary` format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateReads {
    /// Rows per second.
    pub rows_per_second: u64,
    /// Total number of rows; `None`: unlimited.
    pub rows_max: Option<u64>,
}

/// Generates rows up to `rows_max`: row i has value i and time start + i / rate. A delayed receiver catches up at most one second. A restarted one
/// continues at its rate, with the times that follow.
async fn receive(RateReads { rows_per_second, rows_max }: RateReads, from: &Positions, inbox: &Inbox) {
    let rate = rows_per_second.max(1);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    let (mut next_row, start_micros) = match from.get("") {
        Some(position) => (position.offset, u64::try_from(position.mark).unwrap_or(0)),
        None => (0, u64::try_from(now()).unwrap_or(0)),
    };
    // `origin` is when row `origin_row` was due.
    let (mut origin, mut origin_row) = (Instant::now(), next_row);
    let rows_max = rows_max.unwrap_or(u64::MAX);
    while next_row < rows_max {
        let mut due = origin_row.saturating_add(rows_in(origin.elapsed(), rate)).saturating_add(1);
        if due.saturating_sub(next_row) > rate.saturating_add(1) {
            origin = Instant::now();
            origin_row = next_row.saturating_add(rate);
            due = origin_row;
        }
        let due = due.min(rows_max);
        while next_row < due {
            let until = due.min(next_row.saturating_add(PART_ROWS_MAX as u64));
            if !inbox.put(rows(next_row..until, start_micros, rate)).await {
                return;
            }
            next_row = until;
        }
        let next = origin + time_of(next_row.saturating_sub(origin_row), rate);
        tokio::time::sleep_until(next.max(Instant::now() + TICK)).await;
    }
    inbox.finish();
}

/// Returns how many rows are due in a time.
fn rows_in(time: Duration, rate: u64) -> u64 {
    u64::try_from(time.as_micros() * u128::from(rate) / MICROS).unwrap_or(u64::MAX)
}

/// Returns how long `rows` take.
fn time_of(rows: u64, rate: u64) -> Duration {
    Duration::from_micros(u64::try_from(u128::from(rows) * MICROS / u128::from(rate)).unwrap_or(u64::MAX))
}

/// Returns the rows in this range, at most [`PART_ROWS_MAX`], if row 0 was due at `start_micros`.
fn rows(range: std::ops::Range<u64>, start_micros: u64, rows_per_second: u64) -> Chunk {
    let count = range.end.saturating_sub(range.start).min(PART_ROWS_MAX as u64) as usize;
    let extent = Extent { start: start_micros, row: range.start, ..Extent::default() };
    let mut bytes = Vec::with_capacity(count * RECORD_BYTES as usize);
    for value in range.take(count) {
        let micros = u128::from(start_micros) + u128::from(value) * MICROS / u128::from(rows_per_second.max(1));
        bytes.extend_from_slice(&(micros as i64).to_le_bytes());
        bytes.extend_from_slice(&(value as i64).to_le_bytes());
    }
    let ends = (1..=count as u32).map(|row| row * RECORD_BYTES).collect();
    Chunk { bytes: bytes.into(), ends, extent, ..Chunk::default() }
}
