//! A stage with a plugin of world `update`, checked.

use crate::state::spill::budget::StateBudget;
use crate::state::timers::TimerClock;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::job::spec::{UpdateEmit, UpdateOn};
use millstream_plugins::plugin::Description;
use std::sync::Arc;
use std::time::Duration;

/// What an update stage needs beside its plugin.
#[derive(Clone)]
pub struct UpdateNode {
    /// The stage's name.
    pub name: String,
    /// The columns of its input.
    pub input: SchemaRef,
    /// Places of the key columns in the input.
    pub key: Vec<usize>,
    /// Places in the input of the columns that the plugin reads.
    pub reads: Vec<usize>,
    /// The columns of its rows.
    pub output: SchemaRef,
    /// What the plugin said of itself.
    pub description: Description,
    /// Which keys are called.
    pub on: UpdateOn,
    /// What the stage's rows are.
    pub emit: UpdateEmit,
    /// When keys are idle.
    pub timeout: Option<Duration>,
    /// Initial states: key columns, then state columns.
    pub initial: Option<RecordBatch>,
    /// What timers go by; none where the plugin has no timers.
    pub timers: Option<TimerClock>,
    /// How many timers there may be on one worker.
    pub timers_max: u64,
    /// How much memory its state may take on one worker.
    pub state_bytes_max: Option<u64>,
    /// What its rows in memory count against, where others may lie in files.
    pub budget: Option<Arc<StateBudget>>,
}
