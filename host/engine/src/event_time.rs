//! Event time of a stage: one clock per worker, with the same time on each. No I/O; the machine's clock is not read.

pub mod saved;
mod holds;
pub mod node;
mod watermark;

pub use watermark::{ClockEnds, ClockFeeds, HoldingStage, HoldingStages, SharedIdleTime, SourceClock, Watermarks};

use crate::checkpoint::changes::TableChanges;
use crate::state::table_checkpoint::TableCheckpoint;
use millstream_base::context::{Event, Progress, Tick, Watermark};
use millstream_base::error::Result;
use millstream_base::ids::{BatchId, BatchTime, ClockId};
use std::collections::BTreeMap;

/// The column with the time of a row, the last column in a stage with event time: a timestamp, never null.
pub const TIME: &str = "millstream_time";

/// The watermark of a stage whose sources have all ended: far after the end of every window, and still printable.
pub const END_US: i64 = 8_000_000_000_000_000_000;

/// The clocks whose rows a stage may read, so that none of them is ignored before its first row. A checkpoint identifies them by name, as their ids
/// change with the job.
pub type ClockNames = BTreeMap<ClockId, String>;

/// The clock of one stage on one worker: its watermarks, and its part of checkpoints.
pub struct EventClock {
    watermarks: Watermarks,
    names: ClockNames,
    lapses: Lapses,
    checkpoint: Option<TableCheckpoint>,
    /// In the last checkpoint, this worker owned no clock.
    owns_none: bool,
    /// The stage for which this clock warns, once, that rows come after the end of its event time.
    warns_for: Option<String>,
}

impl EventClock {
    /// Creates a clock that continues from these watermarks. `checkpoint`: of the table of watermarks, if the job keeps checkpoints.
    pub fn new(
        watermarks: Watermarks,
        names: ClockNames,
        lapses: Lapses,
        checkpoint: Option<TableCheckpoint>,
    ) -> EventClock {
        EventClock { watermarks, names, lapses, checkpoint, owns_none: false, warns_for: None }
    }

    /// Lets this clock warn that rows come after the end of the stage's event time. Only one clock of a stage does.
    #[must_use]
    pub fn with_warning(self, stage: &str) -> EventClock {
        EventClock { warns_for: Some(stage.to_owned()), ..self }
    }

    /// Applies a complete batch; `progress` is that of all workers.
    pub fn batch(&mut self, tick: Tick, progress: &[Progress]) -> Watermark {
        let lapse_us = self.lapses.next(tick.time, tick.resumed);
        let lapse_us = if tick.stopped { 0 } else { lapse_us };
        let before = self.watermarks.watermark();
        let rows_come = progress.iter().any(|progress| matches!(progress.what, Event::Time { .. }));
        if before == Some(END_US)
            && rows_come
            && let Some(stage) = self.warns_for.take()
        {
            tracing::warn!(
                "stage `{stage}`: its event time has ended with its sources, so new rows are late; a job that \
                 continues later needs at_end = \"keep\", and `--fresh` starts from scratch"
            );
        }
        let events = progress.iter().map(|progress| progress.what);
        Watermark { before, now: self.watermarks.batch(lapse_us, events) }
    }

    /// Returns the watermark after the last batch.
    pub fn watermark(&self) -> Watermark {
        Watermark { before: None, now: self.watermarks.watermark() }
    }

    /// Returns the newest time seen in each partition of a source that has any.
    pub fn partitions(&self) -> BTreeMap<ClockId, i64> {
        let of_partitions = self.watermarks.clocks().filter(|(id, _)| *id != id.without_partition());
        of_partitions.filter_map(|(id, clock)| Some((id, clock.max_us?))).collect()
    }

    /// Returns the newest time seen.
    pub fn seen_us(&self) -> Option<i64> {
        self.watermarks.clocks().filter_map(|(_, clock)| clock.max_us).max()
    }

    /// Returns the rows for a checkpoint: those of the key groups that this worker owns.
    pub fn barrier(&mut self, after: BatchId) -> Result<Option<TableChanges>> {
        let Some(checkpoint) = &mut self.checkpoint else { return Ok(None) };
        let rows = saved::rows(&self.watermarks, &self.names, |hash| checkpoint.owns(hash))?;
        let owned_none = std::mem::replace(&mut self.owns_none, rows.is_none());
        // The stored row of a removed clock would be taken for one that holds back the watermark.
        let rows = match rows {
            None if owned_none || !checkpoint.has_files() => None,
            None => saved::placeholder_rows(&self.watermarks, |hash| checkpoint.owns(hash))?,
            rows => rows,
        };
        Ok(rows.map(|rows| checkpoint.base(after, rows)))
    }
}

/// How much time passes from batch to batch. Sources must not become idle because the job was stopped. So at most one interval counts before the
/// first new batch of a run.
#[derive(Clone, Copy, Debug)]
pub struct Lapses {
    /// The batch interval.
    pub interval_us: i64,
    /// The time of the last batch; `None`: there was none.
    pub last: Option<BatchTime>,
}

impl Lapses {
    /// Returns the time that passes until the next batch.
    fn next(&mut self, time: BatchTime, resumed: bool) -> i64 {
        let lapse_us = self.last.replace(time).map_or(0, |last| time.0.saturating_sub(last.0).max(0));
        if resumed { lapse_us.min(self.interval_us) } else { lapse_us }
    }
}

#[cfg(test)]
mod tests;
