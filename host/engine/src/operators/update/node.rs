//! A stage with an `update` plugin, checked.

use crate::state::spill::budget::StateBudget;
use crate::state::timers::TimerClock;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_job::spec::{UpdateEmit, UpdateOn};
use millstream_plugins::plugin::Description;
use std::sync::Arc;
use std::time::Duration;

/// Parameters of an update stage, in addition to its plugin.
#[derive(Clone)]
pub struct UpdateNode {
    /// The stage's name.
    pub name: String,
    /// The columns of its input.
    pub input: SchemaRef,
    /// Indexes of the key columns in the input.
    pub key: Vec<usize>,
    /// Indexes of the input columns that the plugin reads.
    pub reads: Vec<usize>,
    /// The columns of its rows.
    pub output: SchemaRef,
    /// The plugin's description.
    pub description: Description,
    /// Which keys are called.
    pub on: UpdateOn,
    /// What the stage's rows are.
    pub emit: UpdateEmit,
    /// When keys are idle.
    pub timeout: Option<Duration>,
    /// Initial states: key columns, then state columns.
    pub initial: Option<RecordBatch>,
    /// The clock for timers; `None` if the plugin has no timers.
    pub timers: Option<TimerClock>,
    /// Maximum number of timers on one worker.
    pub timers_max: u64,
    /// Maximum memory of its state on one worker.
    pub state_bytes_max: Option<u64>,
    /// Memory budget of state; set if rows may be spilled to files.
    pub budget: Option<Arc<StateBudget>>,
}
