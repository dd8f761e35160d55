//! What is known of a batch: when it was begun, what was waited for before it, and which part of the job worked on it.

use millstream_base::ids::{BatchId, BatchTime};
use serde::{Deserialize, Serialize};

/// The index of a part of the job: its sources, then its stages, then its sinks, in the job's order.
pub type PartIndex = u16;

/// Why no batch begins now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitCause {
    /// Its interval is not over.
    Interval,
    /// No source has data.
    Data,
    /// The maximum number of batches is in flight.
    InFlight,
    /// Most of the memory is used.
    Memory,
    /// A plugin is being replaced.
    Upgrade,
}

/// How long no batch was begun, by cause, in microseconds.
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
    pub fn add_all(&mut self, other: &BatchWaits) {
        let each = [
            (WaitCause::Interval, other.interval_us),
            (WaitCause::Data, other.data_us),
            (WaitCause::InFlight, other.in_flight_us),
            (WaitCause::Memory, other.memory_us),
            (WaitCause::Upgrade, other.upgrade_us),
        ];
        each.into_iter().for_each(|(cause, us)| self.add(cause, us));
    }
}

/// When a part of the job worked on a batch, on any worker, in microseconds since the batch was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartTimes {
    /// The part.
    pub part: PartIndex,
    /// When it began.
    pub from_us: u32,
    /// When it was done, as far as known.
    pub to_us: u32,
    /// How long it worked, for all workers together.
    pub busy_us: u32,
}

/// What is known of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchFacts {
    /// Its ID.
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
    /// Records of this process's sources in it.
    pub rows: u64,
    /// Their bytes as received.
    pub bytes: u64,
    /// How long no batch was begun before it, and why.
    pub waits: BatchWaits,
    /// The parts that worked on it; empty in old batches.
    pub parts: Vec<PartTimes>,
    /// The number of its commit in this process, from 1; 0: it is in flight.
    #[serde(default)]
    pub commit: u64,
}
