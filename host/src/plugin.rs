//! Plugins: components that implement a Millstream world, compiled once, called with batches. The only module that
//! names wasmtime.

use crate::error::Result;
use crate::ids::{BatchId, BatchTime};
use crate::job::spec::{InstanceSpec, PluginLimits};
use crate::limits::{PLUGIN_MEMORY_BYTES_MAX, PLUGIN_OUTPUT_BYTES_MAX, PLUGIN_TIME_MS_MAX};
use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::datatypes::{Schema, SchemaRef};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

mod bindings;
mod cache;
mod caller;
mod check;
mod engine;
mod failure;
mod imports;
mod lift;
mod load;
mod lower;
#[cfg(test)]
mod tests;

pub use caller::Caller;
pub use load::find as component_file;

/// The version of `millstream:plugin` that this host speaks. Plugins of `0.1.x` run here.
pub const VERSION: &str = "0.1.0";

/// Loads plugins: engine, cache of compiled code and the clock of time limits. One a process; cheap to clone.
#[derive(Clone)]
pub struct PluginHost {
    loader: Arc<load::Loader>,
}

/// A loaded plugin, compiled and checked. Cheap to clone.
#[derive(Clone)]
pub struct Plugin {
    loaded: Arc<load::Loaded>,
}

/// What a stage's plugin counted through `metrics`, summed over the workers of this process. Cheap to clone; clones
/// count together.
#[derive(Clone, Debug, Default)]
pub struct Counters(Arc<Mutex<BTreeMap<String, u64>>>);

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
    /// The stage's key columns; none where it has no key.
    pub key: SchemaRef,
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
    /// Event time up to which input is complete, in microseconds; none where the stage has no event time.
    pub watermark: Option<i64>,
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

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            World::Transform => "transform",
            World::Update => "update",
            World::Aggregate => "aggregate",
        })
    }
}

impl Counters {
    /// The counters by name, now.
    pub fn snapshot(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl PluginHost {
    /// Prepares engine and cache.
    pub fn new() -> Result<PluginHost> {
        PluginHost::with_time_limits(true)
    }

    /// Prepares engine and cache. Without time limits a plugin that loops for ever is never stopped, and one that
    /// does not runs 10 to 30 % faster, since its code looks at no clock.
    pub fn with_time_limits(time_limits: bool) -> Result<PluginHost> {
        let loader = load::Loader::new(engine::new(time_limits)?, cache::Cache::of_user())?;
        Ok(PluginHost { loader: Arc::new(loader) })
    }

    /// Loads a component file, or the component of a plugin folder. Errors say what the file is where it is no plugin
    /// of ours, and what to do.
    pub fn load(&self, path: &Path) -> Result<Plugin> {
        Ok(Plugin { loaded: self.loader.load(path)? })
    }
}

impl Plugin {
    /// The world that it implements.
    pub fn world(&self) -> World {
        self.loaded.calls.world()
    }

    /// Asks the plugin what it does with this config (JSON text), this input and these key columns. An error of kind `Job` where it
    /// refuses them.
    pub fn describe(&self, config: &str, input: &Schema, key: &Schema) -> Result<Description> {
        let identity = failure::Identity { stage: None, plugin: self.loaded.file.display().to_string() };
        let limits = PluginLimits {
            memory_bytes_max: PLUGIN_MEMORY_BYTES_MAX,
            time_max: Duration::from_millis(PLUGIN_TIME_MS_MAX),
            output_bytes_max: PLUGIN_OUTPUT_BYTES_MAX,
        };
        let (files, all, key) = (BTreeMap::new(), Arc::new(input.clone()), Arc::new(key.clone()));
        let stage = imports::Stage { files, input: all, key };
        let mut instances = caller::Instances::new(self.loaded.clone(), identity, stage, limits, false);
        let input = lower::schema(input);
        let raw = instances.call(None, &self.loaded.describe, (config, &input))?;
        instances.settle(None, &Counters::default(), check::description(self.world(), raw))
    }

    /// A caller for one stage on one worker. `description` is what `describe` returned for the stage.
    pub fn caller(&self, stage: StageUse, description: &Description) -> Caller {
        Caller::new(self.loaded.clone(), stage, description)
    }

    /// The SHA-256 digest of the component: `sha256:…`.
    pub fn digest(&self) -> String {
        self.loaded.digest_text()
    }

    /// Size of the component, in bytes.
    pub fn component_bytes(&self) -> u64 {
        self.loaded.bytes
    }

    /// The component file.
    pub fn file(&self) -> &Path {
        &self.loaded.file
    }

    /// The interface version that it was built for.
    pub fn interface_version(&self) -> &str {
        self.loaded.interface_version()
    }

    /// Names of the interfaces that it imports.
    pub fn imports(&self) -> &[String] {
        &self.loaded.imports
    }

    /// Whether its compiled code came from the cache.
    pub fn was_cached(&self) -> bool {
        self.loaded.cached
    }
}
