//! What is known of a batch: when it was begun, for what was waited before it, and which part of the job worked on it.

use millstream_base::ids::{BatchId, BatchTime};
use serde::{Deserialize, Serialize};

/// Where a part of the job stands: its sources, then its stages, then its sinks, as the job has them.
pub type PartPlace = u16;

/// Why no batch begins for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitCause {
    /// Its interval is not over.
    Interval,
    /// No source has anything.
    Data,
    /// As many batches as may be are in flight.
    InFlight,
    /// Most of the memory is used.
    Memory,
    /// A plugin is being replaced.
    Upgrade,
}

/// For how long no batch was begun, by cause, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as the causes")]
pub struct BatchWaits {
    pub interval_us: u64,
    pub data_us: u64,
    pub in_flight_us: u64,
    pub memory_us: u64,
    pub upgrade_us: u64,
}

impl BatchWaits {
    pub fn add(&mut self, cause: WaitCause, us: u64) {
        let sum = match cause {
            WaitCause::Interval => &mut self.interval_us,
            WaitCause::Data => &mut self.data_us,
            WaitCause::InFlight => &mut self.in_flight_us,
            WaitCause::Memory => &mut self.memory_us,
            WaitCause::Upgrade => &mut self.upgrade_us,
        };
        *sum = sum.saturating_add(us);
    }

    /// Adds others.
    pub fn add_all(&mut self, others: &BatchWaits) {
        let each = [
            (WaitCause::Interval, others.interval_us),
            (WaitCause::Data, others.data_us),
            (WaitCause::InFlight, others.in_flight_us),
            (WaitCause::Memory, others.memory_us),
            (WaitCause::Upgrade, others.upgrade_us),
        ];
        each.into_iter().for_each(|(cause, us)| self.add(cause, us));
    }
}

/// When a part of the job worked on a batch, on whatever worker, in microseconds since the batch was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartTimes {
    /// The part.
    pub part: PartPlace,
    /// When it began.
    pub from_us: u32,
    /// When it was done, as far as it is known.
    pub to_us: u32,
    /// How long it worked, all workers together.
    pub busy_us: u32,
}

/// What is known of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchFacts {
    /// Which.
    pub batch: BatchId,
    /// The end of its interval.
    pub time: BatchTime,
    /// When it was begun.
    pub begun_us: i64,
    /// How long after that its plan was durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_us: Option<u32>,
    /// How long after that all stages were done with it, so that the sinks could commit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_us: Option<u32>,
    /// How long after that all sinks had committed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_us: Option<u32>,
    /// Records that it holds of this process's sources.
    pub rows: u64,
    /// Their bytes as they were received.
    pub bytes: u64,
    /// For how long nothing was begun before it, and why.
    pub waits: BatchWaits,
    /// Those parts that did anything for it; empty in old batches.
    pub parts: Vec<PartTimes>,
    /// The number of its commit in this process, from 1; 0: it is in flight.
    #[serde(default)]
    pub commit: u64,
}
