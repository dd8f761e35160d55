//! Plugins: components that implement a Millstream world, compiled once, called with batches. The only module that
//! names wasmtime.

use crate::limits::GRANTED_FILE_BYTES_MAX;
use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{Schema, SchemaRef};
use instances::Instances;
use millstream_base::batch::nested;
use millstream_base::batch::rejected::RefusedRow;
use millstream_base::error::{Error, Result};
use millstream_base::job::spec::{GrantSpec, HttpGrant, InstanceSpec, OnError, PluginLimits};
use millstream_base::regular;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

mod account;
mod allowance;
mod arrow_types;
mod needs;
mod attempt;
mod bindings;
mod cache;
mod caller;
pub mod calls;
mod check;
mod clock;
mod compile;
mod counters;
mod culprit;
mod engine;
mod failure;
mod guest;
mod http;
mod imports;
mod instances;
pub mod interrupt;
mod lift;
mod load;
mod log_budget;
mod lower;
mod migrate;
mod near;
mod net;
mod outline;
mod prepared;
mod reader;
pub mod reduce;
mod reject;
mod releases;
mod search;
mod secured;
mod snapshot;
mod stack;
mod tally;
#[cfg(test)]
mod tests;
mod traced;
pub mod trial;
mod wasi;
mod writer;
mod guest_text;

pub use account::{Account, Costs};
pub use caller::Caller;
pub use compile::{CompileArguments, obey as compile_component};
pub use counters::{CounterValues, Counters, add as add_counted};
pub use engine::Metering;
pub use failure::printable;
pub use http::check_grant as check_http_grant;
pub use load::{LoadOptions, find as component_file, is_plugin_folder, read as read_component};
pub use migrate::OldStates;
pub use outline::{Outline, check as check_component};
pub use prepared::{Preparation, called};
pub use reader::Reader;
pub use releases::{RELEASES, Release};
pub use secured::TlsClient;
pub use snapshot::{started, with_heap};
pub use tally::ConnectorTally;
pub use writer::Writer;

/// The version of `millstream:plugin` that this host speaks. Plugins of all [`RELEASES`] run here.
pub const VERSION: &str = "0.1.3";

/// Loads plugins: engines, the cache of compiled code and the clock of time limits. One a process; cheap to clone.
#[derive(Clone)]
pub struct PluginHost {
    loader: Arc<load::Loader>,
}

/// A loaded plugin, compiled and checked. Cheap to clone.
#[derive(Clone)]
pub struct Plugin {
    loaded: Arc<load::Loaded>,
    signers: Option<Arc<[String]>>,
}

/// A plugin's kind: the world that it implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// Rows to rows.
    Transform,
    /// State by key.
    Update,
    /// Lift, combine, lower.
    Aggregate,
    /// Several inputs by key.
    Cogroup,
    /// Rows from elsewhere.
    Source,
    /// Rows that leave for elsewhere.
    Sink,
}

impl World {
    /// Whether it is an end of the path, which may talk to others, and no stage.
    pub fn is_end(self) -> bool {
        matches!(self, World::Source | World::Sink)
    }
}

/// What a plugin says of itself for a config and an input; see `description` in `wit/types.wit`. In world `cogroup` `input`
/// is the first of `inputs`; in others it is the only one.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Description {
    pub name: String,
    pub version: String,
    pub doc: String,
    pub input: SchemaRef,
    pub inputs: Vec<SchemaRef>,
    pub output: SchemaRef,
    pub state: SchemaRef,
    pub key: Option<SchemaRef>,
    /// Which of these columns are written out.
    pub written: Arc<WrittenColumns>,
    pub inverse: bool,
    /// World `sink`: whether it knows which batch was the last one that it committed.
    pub exactly_once: bool,
    pub config_schema: String,
}

/// The columns of a plugin that are written out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct WrittenColumns {
    /// Of each input.
    pub inputs: Vec<WrittenOut>,
    /// Of the rows that it returns.
    pub output: WrittenOut,
    /// Of states or accumulators.
    pub state: WrittenOut,
    /// Of keys, where it says which it takes; else see [`WrittenOut::of_named`].
    pub key: WrittenOut,
}

/// Which columns of a schema cross the boundary written out: as text, as files hold them. They are those that the plugin describes
/// by the name that job files have for the type (`date`, `decimal(12,2)`, `list<int64>`), not by Arrow's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrittenOut(pub Vec<bool>);

impl WrittenOut {
    /// Of columns that a plugin does not describe, as those of any key: it is told of their types by these names.
    pub fn of_named(schema: &Schema) -> WrittenOut {
        WrittenOut(schema.fields().iter().map(|field| nested::name_of(field.data_type()).is_some()).collect())
    }

    /// Whether the column at this place is.
    pub fn has(&self, place: usize) -> bool {
        self.0.get(place).copied().unwrap_or(false)
    }
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
    /// What it may use up.
    pub limits: PluginLimits,
    /// What it may use beyond its input.
    pub grant: Granted,
    /// What a failing call does.
    pub on_error: OnError,
    /// Whether calls on rows as they come in have the same ones on any number of workers.
    pub calls_are_fixed: bool,
}

impl StageUse {
    /// Of a stage that says nothing.
    pub fn new(stage: &str) -> StageUse {
        StageUse {
            stage: stage.to_owned(),
            config: "{}".to_owned(),
            key: Arc::new(Schema::empty()),
            instance: InstanceSpec::default(),
            limits: PluginLimits::default(),
            grant: Granted::default(),
            on_error: OnError::default(),
            calls_are_fixed: true,
        }
    }
}

/// What a plugin may use beyond its input.
#[derive(Clone, Debug, Default)]
pub struct Granted {
    /// Contents of files, by name.
    pub files: BTreeMap<String, bytes::Bytes>,
    /// Variables of its environment.
    pub env: BTreeMap<String, String>,
    /// Requests over HTTP.
    pub http: Option<HttpGrant>,
    /// Servers that it may connect to over TCP, as `host:port`.
    pub tcp: Vec<String>,
    /// With which of them the host speaks TLS for it, and how.
    pub tls: Option<TlsClient>,
    /// Addresses at which it may take datagrams, and to which it may send some, as `host:port`.
    pub udp: Vec<String>,
}

impl Granted {
    /// Files, which are read from this folder, variables and requests, as a stage may grant them. Connections are for ends of a job.
    pub fn of_stage(grant: &GrantSpec, folder: &Path) -> Result<Granted> {
        let mut files = BTreeMap::new();
        for (name, path) in &grant.files {
            let path = folder.join(path);
            let bytes = regular::read_at_most(&path, GRANTED_FILE_BYTES_MAX)
                .map_err(|e| Error::job(format!("granted file `{name}`: cannot read {}: {e}", path.display())))?;
            files.insert(name.clone(), bytes.into());
        }
        Ok(Granted { files, env: grant.env.clone(), http: grant.http.clone(), ..Granted::default() })
    }
}

/// What `process` returns.
pub struct Processed {
    /// The rows, with the described output schema.
    pub rows: RecordBatch,
    /// Rows of the input that are refused.
    pub rejections: Vec<RefusedRow>,
}

/// The groups of an update call; see `groups` in `wit/update.wit`.
#[derive(Clone)]
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
    /// Whether it would be, if the key had no rows; it has some.
    pub overdue: BooleanArray,
    /// How many timers each group's key has set; empty where the stage has none.
    pub timers: Vec<u32>,
    /// The timers for which groups are called; without meaning for a plugin that does not import `timers`.
    pub due: DueTimes,
    /// Whether each key with a state is called, with rows or without.
    pub all: bool,
}

/// Timers that are due, by group; see `due-times` in `wit/timers.wit`.
#[derive(Clone, Debug, Default)]
pub struct DueTimes {
    /// Where each group's times end.
    pub ends: ScalarBuffer<u32>,
    /// The times, in microseconds.
    pub times_us: ScalarBuffer<i64>,
}

/// What a plugin asked for during a call of `update`: that its group be called at a time, or no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerChange {
    /// The group.
    pub group: u32,
    /// When, in microseconds.
    pub at_us: i64,
    /// Whether it is set; otherwise cancelled.
    pub is_set: bool,
}

/// What `update` returns; see `updated` in `wit/update.wit`.
pub struct Updated {
    /// The new states, one row a group.
    pub states: RecordBatch,
    /// Whether the state is kept.
    pub kept: BooleanArray,
    /// Emitted rows.
    pub output: RecordBatch,
    /// Rows of the groups that are refused.
    pub rejections: Vec<RefusedRow>,
    /// Timers set and cancelled, in order.
    pub timers: Vec<TimerChange>,
    /// Groups that were not called after all, as none of their rows was left; their states are the old ones.
    pub untouched: Vec<u32>,
    /// Groups of which no row was left, whether they were called or not.
    pub emptied: Vec<u32>,
}

/// The groups of a cogroup call; see `groups` in `wit/cogroup.wit`.
pub struct Cogroups {
    /// Key columns, one row a group.
    pub keys: RecordBatch,
    /// For each input the columns that the plugin reads, sorted by group, and where each group's rows end.
    pub inputs: Vec<(RecordBatch, UInt32Array)>,
}

/// What `cogroup` returns.
pub struct Cogrouped {
    /// Emitted rows.
    pub rows: RecordBatch,
    /// For each input rows that are refused.
    pub rejections: Vec<Vec<RefusedRow>>,
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            World::Transform => "transform",
            World::Update => "update",
            World::Aggregate => "aggregate",
            World::Cogroup => "cogroup",
            World::Source => "source",
            World::Sink => "sink",
        })
    }
}

impl PluginHost {
    /// Prepares the cache of compiled code.
    pub fn new() -> Result<PluginHost> {
        Ok(PluginHost { loader: Arc::new(load::Loader::new(cache::Cache::of_user())) })
    }

    /// Keeps no compiled code on disk.
    pub fn without_cache() -> PluginHost {
        PluginHost { loader: Arc::new(load::Loader::new(None)) }
    }

    /// Loads a component file, or the component of a plugin folder. Errors say what the file is where it is no plugin
    /// of ours, and what to do.
    pub fn load(&self, path: &Path, options: &LoadOptions) -> Result<Plugin> {
        let signers = options.signers.as_deref().map(Arc::from);
        Ok(Plugin { loaded: self.loader.load(path, options)?, signers })
    }
}

impl Plugin {
    /// The world that it implements.
    pub fn world(&self) -> World {
        self.loaded.calls.world()
    }

    /// Asks the plugin what it does with this config (JSON text), this input and these key columns. An error of kind `Job`
    /// where it refuses them.
    pub fn describe(&self, config: &str, input: &Schema, key: &Schema) -> Result<Description> {
        let used = StageUse { config: config.to_owned(), key: Arc::new(key.clone()), ..StageUse::new("") };
        self.describe_for(&used, &[Arc::new(input.clone())])
    }

    /// The same for a stage, under its limits: with several inputs for world `cogroup`; others are asked about the first.
    pub fn describe_for(&self, stage: &StageUse, inputs: &[SchemaRef]) -> Result<Description> {
        // In a thread of its own, whatever the stack of this one.
        let bytes =
            stage.limits.stack_bytes_max.saturating_add(2 * millstream_base::limits::THREAD_STACK_BYTES_RESERVED);
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("describe".into()).stack_size(bytes as usize);
            let thread = thread.spawn_scoped(scope, || self.describe_here(stage, inputs)).map_err(|e| {
                Error::environment(format!(
                    "cannot start a thread: {e}{}",
                    millstream_base::memory::addresses::advice()
                ))
            })?;
            thread.join().unwrap_or_else(|_| Err(Error::bug("describing a plugin panicked")))
        })
    }

    fn describe_here(&self, stage: &StageUse, inputs: &[SchemaRef]) -> Result<Description> {
        let plugin = self.loaded.file.display().to_string();
        let identity =
            failure::CallIdentity { stage: None, role: failure::Role::Stage, plugin, outside: failure::DESCRIBE };
        let mut about = guest::Stage { grant: stage.grant.clone(), inputs: inputs.to_vec(), key: stage.key.clone() };
        if about.inputs.is_empty() && !matches!(self.world(), World::Cogroup | World::Source) {
            // Asked about nothing, it is told of an input without columns, and finds that input where it looks for it.
            about.inputs.push(Arc::new(Schema::empty()));
        }
        let mut instances = Instances::new(self.loaded.clone(), identity, about, stage.limits, false);
        let inputs: Vec<_> = inputs.iter().map(|input| lower::schema(input)).collect();
        let describe = &self.loaded.describe;
        let config = stage.config.as_str();
        let given = allowance::InputSize { bytes: config.len() as u64, ..allowance::InputSize::default() };
        let checked = match self.world() {
            World::Cogroup => {
                let asked = |instances: &mut Instances, config: &str| {
                    instances.call(None, describe, given, (config, inputs.as_slice()))
                };
                check::cogroup_description(traced::located(&mut instances, config, asked)?)
            }
            World::Source => {
                let asked = |instances: &mut Instances, config: &str| instances.call(None, describe, given, (config,));
                check::reader_description(traced::located(&mut instances, config, asked)?)
            }
            World::Sink => {
                let none = bindings::Schema::default();
                let input = inputs.first().unwrap_or(&none);
                let asked =
                    |instances: &mut Instances, config: &str| instances.call(None, describe, given, (config, input));
                check::writer_description(traced::located(&mut instances, config, asked)?)
            }
            world => {
                let none = bindings::Schema::default();
                let input = inputs.first().unwrap_or(&none);
                let asked =
                    |instances: &mut Instances, config: &str| instances.call(None, describe, given, (config, input));
                check::description(world, traced::located(&mut instances, config, asked)?)
            }
        };
        Ok(instances.settle(None, &Counters::default(), checked)?)
    }

    /// A caller for one stage on one worker. `description` is what `describe` returned for the stage.
    pub fn caller(&self, stage: StageUse, description: &Description) -> Caller {
        Caller::new(self.loaded.clone(), stage, description)
    }

    /// What reads one partition of a source, or asks which there are. `description` is what `describe` returned for the source.
    pub fn reader(&self, source: StageUse, description: &Description) -> Result<Reader> {
        Reader::new(self.loaded.clone(), source, description)
    }

    /// What writes the batches of a sink, whose rows have columns at these places that the plugin reads. `description` is what
    /// `describe` returned for the sink.
    pub fn writer(&self, sink: StageUse, description: &Description, reads: Vec<usize>) -> Result<Writer> {
        Writer::new(self.loaded.clone(), sink, description, reads)
    }

    /// What asks which batch a sink holds, and writes none.
    pub fn asker(&self, sink: StageUse) -> Result<Writer> {
        Writer::that_asks(self.loaded.clone(), sink)
    }

    /// The SHA-256 digest of the component: `sha256:…`.
    pub fn digest(&self) -> String {
        self.loaded.digest_text()
    }

    /// Who has signed the package that it came as, of those who are trusted; `None`: it is no package.
    pub fn signers(&self) -> Option<&[String]> {
        self.signers.as_deref()
    }

    /// Size of the component, in bytes.
    pub fn component_bytes(&self) -> u64 {
        self.loaded.bytes
    }

    /// Whether its calls may run on this thread for whoever has to hear of other things there: they can be interrupted, and the thread's
    /// stack has room for a stack of theirs of so many bytes.
    pub fn can_be_interrupted_here(&self, stack_bytes_max: u64) -> bool {
        // As much for whoever is below the call here as there is in other threads.
        let needed = stack_bytes_max.saturating_add(millstream_base::limits::THREAD_STACK_BYTES_RESERVED);
        self.loaded.machine.clock.is_some() && stack::check(needed).is_ok()
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

    /// What it asks for, a phrase for each kind of import.
    pub fn asks(&self) -> Vec<&'static str> {
        needs::in_words(self.imports())
    }

    /// How many functions and core modules it has.
    pub fn functions_and_modules(&self) -> (u64, u64) {
        (self.loaded.size.functions, self.loaded.size.modules)
    }

    /// Whether it imports an interface of ours, as `timers`.
    pub fn uses(&self, interface: &str) -> bool {
        self.loaded.uses(interface)
    }

    /// Whether its compiled code came from the cache.
    pub fn was_cached(&self) -> bool {
        self.loaded.cached
    }
}
