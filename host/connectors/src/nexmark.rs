//! The `nexmark` source. It produces row numbers, from which the workers generate the [`events`].

pub mod declaration;
mod events;
pub mod settings;

use millstream_base::limits::{PART_BYTES_MAX, PART_ROWS_MAX};
use millstream_rows::batch::chunk::Chunk;
use millstream_rows::batch::position::{Extent, Positions};
use millstream_rows::inbox::Inbox;
use settings::NexmarkReads;
use std::ops::Range;
use std::time::Duration;
use tokio::time::Instant;

/// Bytes of a record: a row number.
const RECORD_BYTES: u32 = 8;
/// Interval at which paced rows are produced.
const TICK: Duration = Duration::from_millis(1);

/// Produces rows up to the configured number: as fast as they are taken, or each when it is due, relative to the first event of this run. A receiver
/// that was delayed catches up.
async fn receive(spec: &NexmarkReads, from: &Positions, inbox: &Inbox) {
    events::prepare();
    let mut next_row = from.get("").map_or(0, |position| position.offset);
    let rows_max = spec.rows_max().unwrap_or(u64::MAX);
    // As many rows as a part may have once they are generated.
    let part_rows = (PART_BYTES_MAX as u64 / (spec.bytes + 64)).clamp(1, PART_ROWS_MAX as u64);
    let (started, first_event) = (Instant::now(), spec.event.number_of(next_row));
    while next_row < rows_max {
        let due = if spec.paced {
            let events = started.elapsed().as_micros() * u128::from(spec.events_per_second) / 1_000_000;
            let events = first_event.saturating_add(u64::try_from(events).unwrap_or(u64::MAX)).saturating_add(1);
            spec.event.rows_within(events).min(rows_max)
        } else {
            rows_max
        };
        while next_row < due {
            let until = due.min(next_row.saturating_add(part_rows));
            if !inbox.put(rows(next_row..until)).await {
                return;
            }
            next_row = until;
        }
        if spec.paced && next_row < rows_max {
            let events = spec.event.number_of(next_row).saturating_sub(first_event);
            let us = u128::from(events) * 1_000_000 / u128::from(spec.events_per_second.max(1));
            let next = started + Duration::from_micros(u64::try_from(us).unwrap_or(u64::MAX));
            tokio::time::sleep_until(next.max(Instant::now() + TICK)).await;
        }
    }
    inbox.finish();
}

/// Returns the records of the rows in this range, at most [`PART_ROWS_MAX`].
fn rows(range: Range<u64>) -> Chunk {
    let count = range.end.saturating_sub(range.start).min(PART_ROWS_MAX as u64) as usize;
    let extent = Extent { row: range.start, ..Extent::default() };
    let mut bytes = Vec::with_capacity(count * RECORD_BYTES as usize);
    range.take(count).for_each(|row| bytes.extend_from_slice(&row.to_le_bytes()));
    let ends = (1..=count as u32).map(|row| row * RECORD_BYTES).collect();
    Chunk { bytes: bytes.into(), ends, extent, ..Chunk::default() }
}
