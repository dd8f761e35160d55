//! Plugins: components that implement a Millstream world, compiled once, called with batches. The only module that
//! names wasmtime.

use crate::error::Result;
use crate::ids::{BatchId, BatchTime};
use crate::job::spec::{InstanceSpec, PluginLimits};
use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::datatypes::{Schema, SchemaRef};
use std::collections::BTreeMap;
use std::path::Path;

/// Loads plugins: engine, cache of compiled code and the ticker of time limits. One a process; cheap to clone.
#[derive(Clone)]
pub struct PluginHost {}

/// A loaded plugin, compiled and checked. Cheap to clone.
#[derive(Clone)]
pub struct Plugin {}

/// A plugin's kind: the world that it implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// Rows to rows.
    Transform,
    /// State by key.
    Update,
    /// Lift, combine, lower.
    Aggregate,
}

/// What a plugin says of itself for a config and an input; see `description` in `wit/types.wit`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Description {
    pub name: String,
    pub version: String,
    pub doc: String,
    pub input: SchemaRef,
    pub output: SchemaRef,
    pub state: SchemaRef,
    pub key: Option<SchemaRef>,
    pub inverse: bool,
    pub config_schema: String,
}

/// What a stage gives a plugin: everything but the batches.
#[derive(Clone, Debug)]
pub struct StageUse {
    /// The stage's name, for messages.
    pub stage: String,
    /// The stage's config as JSON text.
    pub config: String,
    /// How long an instance lives.
    pub instance: InstanceSpec,
    /// Limits of a call.
    pub limits: PluginLimits,
    /// Contents of the files granted, by name.
    pub files: BTreeMap<String, bytes::Bytes>,
}

/// The batch of a call.
#[derive(Clone, Copy, Debug)]
pub struct CallContext {
    /// Its id.
    pub batch: BatchId,
    /// Its time.
    pub time: BatchTime,
}

/// What `process` returns.
pub struct Processed {
    /// The rows, with the described output schema.
    pub rows: RecordBatch,
    /// Rows of the input that are refused, and why.
    pub rejections: Vec<(u32, String)>,
}

/// The groups of an update call; see `groups` in `wit/update.wit`.
pub struct Groups {
    /// Key columns, one row a group.
    pub keys: RecordBatch,
    /// The columns that the plugin reads, sorted by group.
    pub rows: RecordBatch,
    /// Where each group's rows end.
    pub ends: UInt32Array,
    /// The old states, one row a group.
    pub states: RecordBatch,
    /// Whether the key had a state.
    pub known: BooleanArray,
    /// Whether this is the last call of an idle key.
    pub timed_out: BooleanArray,
}

/// What `update` returns; see `updated` in `wit/update.wit`.
pub struct Updated {
    /// The new states, one row a group.
    pub states: RecordBatch,
    /// Whether the state is kept.
    pub kept: BooleanArray,
    /// Emitted rows.
    pub output: RecordBatch,
    /// Rows of the groups that are refused, and why.
    pub rejections: Vec<(u32, String)>,
}

impl PluginHost {
    /// Prepares engine and cache.
    pub fn new() -> Result<PluginHost> {
        Ok(PluginHost {})
    }

    /// Loads a component file, or the component of a plugin folder.
    pub fn load(&self, _path: &Path) -> Result<Plugin> {
        Err(crate::error::Error::bug("not yet"))
    }
}

impl Plugin {
    /// The world that it implements.
    pub fn world(&self) -> World {
        World::Transform
    }

    /// Asks the plugin what it does with this config (JSON text) and this input.
    pub fn describe(&self, _config: &str, _input: &Schema) -> Result<Description> {
        Err(crate::error::Error::bug("not yet"))
    }

    /// A caller for one stage on one worker. `description` is what `describe` returned for the stage.
    pub fn caller(&self, _stage: StageUse, _description: &Description) -> Caller {
        Caller {}
    }
}

/// Calls one plugin for one stage on one worker thread. Every error names stage, plugin, version and batch.
/// Batches passed in hold exactly the columns that the description names; see [`Description::input`].
pub struct Caller {}

impl Caller {
    /// World `transform`.
    pub fn process(&mut self, _context: CallContext, _rows: &RecordBatch) -> Result<Processed> {
        Err(crate::error::Error::bug("not yet"))
    }

    /// World `update`.
    pub fn update(&mut self, _context: CallContext, _groups: &Groups) -> Result<Updated> {
        Err(crate::error::Error::bug("not yet"))
    }

    /// World `aggregate`: an accumulator for each row.
    pub fn lift(&mut self, _context: CallContext, _rows: &RecordBatch) -> Result<RecordBatch> {
        Err(crate::error::Error::bug("not yet"))
    }

    /// World `aggregate`: accumulators combined pair by pair.
    pub fn combine(&mut self, _: CallContext, _left: &RecordBatch, _right: &RecordBatch) -> Result<RecordBatch> {
        Err(crate::error::Error::bug("not yet"))
    }

    /// World `aggregate`: the output row of each accumulator.
    pub fn lower(&mut self, _: CallContext, _keys: &RecordBatch, _accumulators: &RecordBatch) -> Result<RecordBatch> {
        Err(crate::error::Error::bug("not yet"))
    }

    /// World `aggregate`: accumulators taken out again, pair by pair.
    pub fn inverse(&mut self, _: CallContext, _whole: &RecordBatch, _part: &RecordBatch) -> Result<RecordBatch> {
        Err(crate::error::Error::bug("not yet"))
    }
}
