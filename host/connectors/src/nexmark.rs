//! Source `nexmark`: numbers of rows, of which the workers make the [`events`].

pub mod declaration;
mod events;
pub mod settings;

use millstream_base::batch::chunk::Chunk;
use millstream_base::batch::position::{Extent, Positions};
use millstream_base::inbox::Inbox;
use millstream_base::limits::{PART_BYTES_MAX, PART_ROWS_MAX};
use settings::NexmarkReads;
use std::ops::Range;
use std::time::Duration;
use tokio::time::Instant;

/// Bytes of a record: the number of a row.
const RECORD_BYTES: u32 = 8;
/// How often rows are made where they are paced.
const TICK: Duration = Duration::from_millis(1);

/// Makes rows until there are as many as the job wants, as quickly as they are taken, or each when it is due: so many events after the
/// first one of this start. A receiver that was held up catches up.
async fn receive(spec: &NexmarkReads, from: &Positions, inbox: &Inbox) {
    events::prepare();
    let mut made = from.get("").map_or(0, |position| position.offset);
    let rows_max = spec.rows_max().unwrap_or(u64::MAX);
    // As many rows as a part may have once they are made.
    let most = (PART_BYTES_MAX as u64 / (spec.bytes + 64)).clamp(1, PART_ROWS_MAX as u64);
    let (begin, first_event) = (Instant::now(), spec.event.number_of(made));
    while made < rows_max {
        let due = if spec.paced {
            let events = begin.elapsed().as_micros() * u128::from(spec.events_per_second) / 1_000_000;
            let events = first_event.saturating_add(u64::try_from(events).unwrap_or(u64::MAX)).saturating_add(1);
            spec.event.rows_within(events).min(rows_max)
        } else {
            rows_max
        };
        while made < due {
            let until = due.min(made.saturating_add(most));
            if !inbox.put(rows(made..until)).await {
                return;
            }
            made = until;
        }
        if spec.paced && made < rows_max {
            let events = spec.event.number_of(made).saturating_sub(first_event);
            let us = u128::from(events) * 1_000_000 / u128::from(spec.events_per_second.max(1));
            let next = begin + Duration::from_micros(u64::try_from(us).unwrap_or(u64::MAX));
            tokio::time::sleep_until(next.max(Instant::now() + TICK)).await;
        }
    }
    inbox.finish();
}

/// Records of the rows of this range, at most [`PART_ROWS_MAX`].
fn rows(range: Range<u64>) -> Chunk {
    let count = range.end.saturating_sub(range.start).min(PART_ROWS_MAX as u64) as usize;
    let extent = Extent { row: range.start, ..Extent::default() };
    let mut bytes = Vec::with_capacity(count * RECORD_BYTES as usize);
    range.take(count).for_each(|row| bytes.extend_from_slice(&row.to_le_bytes()));
    let ends = (1..=count as u32).map(|row| row * RECORD_BYTES).collect();
    Chunk { bytes: bytes.into(), ends, extent, ..Chunk::default() }
}
