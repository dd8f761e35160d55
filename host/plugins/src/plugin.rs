//! Plugins: components that implement a Millstream world, compiled once, called with batches. The only module that
//! names wasmtime.

use arrow::datatypes::{Schema, SchemaRef};
use identity::{CallIdentity, DESCRIBE, Role};
use instances::Instances;
use millstream_base::error::{Error, Result};
use stage::Stage;
use std::path::Path;
use std::sync::Arc;

mod account;
mod allowance;
mod arrow_types;
mod attempt;
mod bindings;
mod cache;
mod caller;
pub mod calls;
mod check;
mod clock;
mod code_kind;
mod compile;
mod counters;
mod culprit;
mod current_call;
mod description;
mod engine;
mod failure;
mod groups;
mod guest;
mod guest_text;
mod http;
mod identity;
mod imports;
mod instances;
pub mod interrupt;
mod lift;
mod load;
mod load_options;
mod log_budget;
mod lower;
mod migrate;
mod near;
mod needs;
mod net;
mod outline;
mod call_locations;
mod prepared;
mod reader;
pub mod reduce;
mod reject;
mod releases;
mod search;
mod secured;
mod snapshot;
mod stack;
mod stage;
mod tally;
#[cfg(test)]
mod tests;
mod traced;
mod trap;
pub mod trial;
mod wasi;
mod world;
mod writer;

pub use account::{Account, Costs};
pub use caller::Caller;
pub use code_kind::Metering;
pub use compile::{CompileArguments, obey as compile_component};
pub use counters::{CounterValues, Counters, add as add_counted};
pub use description::{Description, WrittenColumns, WrittenOut};
pub use groups::{Cogrouped, Cogroups, DueTimes, Groups, Processed, TimerChange, Updated};
pub use http::check_grant as check_http_grant;
pub use load::{find as component_file, is_plugin_dir, read as read_component};
pub use load_options::LoadOptions;
pub use migrate::OldStates;
pub use outline::{Outline, check as check_component};
pub use prepared::{Preparation, call_in_thread};
pub use reader::Reader;
pub use releases::{RELEASES, Release, VERSION};
pub use secured::TlsClient;
pub use snapshot::{started, with_heap};
pub use stage::{Granted, StageUse};
pub use tally::ConnectorTally;
pub use world::World;
pub use writer::Writer;

/// Loads plugins: engines, the cache of compiled code and the clock of time limits. One per process; cheap to clone.
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

impl PluginHost {
    /// Prepares the cache of compiled code.
    pub fn new() -> Result<PluginHost> {
        Ok(PluginHost { loader: Arc::new(load::Loader::new(cache::Cache::of_user())) })
    }

    /// Keeps no compiled code on disk.
    pub fn without_cache() -> PluginHost {
        PluginHost { loader: Arc::new(load::Loader::new(None)) }
    }

    /// Loads a component file, or the component of a plugin directory. If the file is not a plugin, the error says what it is and what to do.
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

    /// Calls the plugin's `describe` for this config (JSON text), input and key columns. Fails with kind `Job` if the plugin rejects them.
    pub fn describe(&self, config: &str, input: &Schema, key: &Schema) -> Result<Description> {
        let used = StageUse { config: config.to_owned(), key: Arc::new(key.clone()), ..StageUse::new("") };
        self.describe_for(&used, &[Arc::new(input.clone())])
    }

    /// Like [`Plugin::describe`] for a stage, under its limits. World `cogroup` gets all inputs, other worlds the first.
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
        let identity = CallIdentity { stage: None, role: Role::Stage, plugin, outside: DESCRIBE };
        let mut about = Stage { grant: stage.grant.clone(), inputs: inputs.to_vec(), key: stage.key.clone() };
        if about.inputs.is_empty() && !matches!(self.world(), World::Cogroup | World::Source) {
            // Without an input, it gets one without columns, in the field where it expects the input.
            about.inputs.push(Arc::new(Schema::empty()));
        }
        let mut instances = Instances::new(self.loaded.clone(), identity, about, stage.limits, false);
        let inputs: Vec<_> = inputs.iter().map(|input| lower::schema(input)).collect();
        let describe = &self.loaded.describe;
        let config = stage.config.as_str();
        let given = allowance::InputSize { bytes: config.len() as u64, ..allowance::InputSize::default() };
        let checked = match self.world() {
            World::Cogroup => {
                let describe_guest = |instances: &mut Instances, config: &str| {
                    instances.call(None, describe, given, (config, inputs.as_slice()))
                };
                check::cogroup_description(traced::call_located(&mut instances, config, describe_guest)?)
            }
            World::Source => {
                let describe_guest =
                    |instances: &mut Instances, config: &str| instances.call(None, describe, given, (config,));
                check::reader_description(traced::call_located(&mut instances, config, describe_guest)?)
            }
            World::Sink => {
                let none = bindings::Schema::default();
                let input = inputs.first().unwrap_or(&none);
                let describe_guest =
                    |instances: &mut Instances, config: &str| instances.call(None, describe, given, (config, input));
                check::writer_description(traced::call_located(&mut instances, config, describe_guest)?)
            }
            world => {
                let none = bindings::Schema::default();
                let input = inputs.first().unwrap_or(&none);
                let describe_guest =
                    |instances: &mut Instances, config: &str| instances.call(None, describe, given, (config, input));
                check::description(world, traced::call_located(&mut instances, config, describe_guest)?)
            }
        };
        Ok(instances.settle(None, &Counters::default(), checked)?)
    }

    /// A caller for one stage on one worker. `description` is what `describe` returned for the stage.
    pub fn caller(&self, stage: StageUse, description: &Description) -> Caller {
        Caller::new(self.loaded.clone(), stage, description)
    }

    /// Creates a reader of one partition of a source, or of the list of partitions. `description` is the result of `describe` for the source.
    pub fn reader(&self, source: StageUse, description: &Description) -> Result<Reader> {
        Reader::new(self.loaded.clone(), source, description)
    }

    /// Creates a writer of the batches of a sink. `reads` has the indexes of the columns that the plugin reads. `description` is the result of
    /// `describe` for the sink.
    pub fn writer(&self, sink: StageUse, description: &Description, reads: Vec<usize>) -> Result<Writer> {
        Writer::new(self.loaded.clone(), sink, description, reads)
    }

    /// Creates a writer that only reads which batch a sink has committed.
    pub fn committed_reader(&self, sink: StageUse) -> Result<Writer> {
        Writer::for_committed(self.loaded.clone(), sink)
    }

    /// The SHA-256 digest of the component: `sha256:…`.
    pub fn digest(&self) -> String {
        self.loaded.digest_text()
    }

    /// The trusted signers of the package that it came from; `None` if it is not a package.
    pub fn signers(&self) -> Option<&[String]> {
        self.signers.as_deref()
    }

    /// Size of the component, in bytes.
    pub fn component_bytes(&self) -> u64 {
        self.loaded.bytes
    }

    /// Whether its calls may run on this thread, which must also handle other events: they can be interrupted, and the thread's stack has room
    /// for a plugin stack of this size.
    pub fn can_be_interrupted_here(&self, stack_bytes_max: u64) -> bool {
        // Callers below this call need as much stack here as in other threads.
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

    /// The permissions that it requests, one phrase per kind of import.
    pub fn permissions(&self) -> Vec<&'static str> {
        needs::requested_permissions(self.imports())
    }

    /// Number of its functions and core modules.
    pub fn functions_and_modules(&self) -> (u64, u64) {
        (self.loaded.size.functions, self.loaded.size.modules)
    }

    /// Whether it imports an interface of ours, such as `timers`.
    pub fn uses(&self, interface: &str) -> bool {
        self.loaded.uses(interface)
    }

    /// Whether its compiled code came from the cache.
    pub fn was_cached(&self) -> bool {
        self.loaded.cached
    }
}
