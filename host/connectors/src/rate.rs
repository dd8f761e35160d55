//! Source `rate`: rows made here, so many a second, for trials and benchmarks.

pub mod declaration;

use millstream_base::batch::chunk::Chunk;
use millstream_base::batch::position::{Extent, Positions};
use millstream_base::inbox::Inbox;
use millstream_base::limits::PART_ROWS_MAX;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Bytes of a record: timestamp and value, as [`millstream_base::decode::binary`] reads them.
const RECORD_BYTES: u32 = 16;
/// How often rows are made: as fine as the runtime's timer.
const TICK: Duration = Duration::from_millis(1);
const MICROS: u128 = 1_000_000;

/// What is made: `timestamp` and `value` = 0, 1, 2 …, in the format `binary`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateReads {
    /// Rows a second.
    pub rows_per_second: u64,
    /// How many rows in all; `None`: for ever.
    pub rows_max: Option<u64>,
}

/// Makes rows until there are `rows_max`: row i has value i and time start + i / rate. A receiver that was held up
/// catches up at most one second; one that was stopped goes on at its rate, with the times that follow.
async fn receive(RateReads { rows_per_second, rows_max }: RateReads, from: &Positions, inbox: &Inbox) {
    let rate = rows_per_second.max(1);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    let (mut made, start_micros) = match from.get("") {
        Some(position) => (position.offset, u64::try_from(position.mark).unwrap_or(0)),
        None => (0, u64::try_from(now()).unwrap_or(0)),
    };
    // `origin` is when row `origin_row` was due.
    let (mut origin, mut origin_row) = (Instant::now(), made);
    let rows_max = rows_max.unwrap_or(u64::MAX);
    while made < rows_max {
        let mut due = origin_row.saturating_add(rows_in(origin.elapsed(), rate)).saturating_add(1);
        if due.saturating_sub(made) > rate.saturating_add(1) {
            origin = Instant::now();
            origin_row = made.saturating_add(rate);
            due = origin_row;
        }
        let due = due.min(rows_max);
        while made < due {
            let until = due.min(made.saturating_add(PART_ROWS_MAX as u64));
            if !inbox.put(rows(made..until, start_micros, rate)).await {
                return;
            }
            made = until;
        }
        let next = origin + time_of(made.saturating_sub(origin_row), rate);
        tokio::time::sleep_until(next.max(Instant::now() + TICK)).await;
    }
    inbox.finish();
}

/// How many rows fall into a time.
fn rows_in(time: Duration, rate: u64) -> u64 {
    u64::try_from(time.as_micros() * u128::from(rate) / MICROS).unwrap_or(u64::MAX)
}

/// How long so many rows take.
fn time_of(rows: u64, rate: u64) -> Duration {
    Duration::from_micros(u64::try_from(u128::from(rows) * MICROS / u128::from(rate)).unwrap_or(u64::MAX))
}

/// Rows of this range, at most [`PART_ROWS_MAX`], where row 0 was due at `start_micros`.
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
