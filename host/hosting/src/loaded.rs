//! A loaded plugin of a process, and calls of it.

use super::prepared::PreparedTables;
use super::settings::{self, ConfiguredPlugin, Settings};
use arrow::datatypes::SchemaRef;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::time;
use millstream_plugins::plugin::{Caller, Costs, Plugin, PluginHost, World};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Maximum cached descriptions for tables of other columns.
const PREPARED_MAX: usize = 16;

/// A plugin that can be called.
pub struct LoadedPlugin {
    /// Its name in messages.
    name: String,
    ready: ConfiguredPlugin,
    prepared: Mutex<Vec<Arc<PreparedTables>>>,
}

/// The parameters of a call, and its world.
#[derive(Clone, Debug)]
pub struct CallRequest {
    /// The columns of each table.
    pub schemas: Vec<SchemaRef>,
    /// The names of the key columns.
    pub key: Vec<String>,
    /// The batch, if the caller sets it.
    pub batch: Option<u64>,
    /// The time in microseconds; `None`: now.
    pub time_us: Option<i64>,
    /// The world that has the function.
    pub world: World,
}

impl LoadedPlugin {
    /// Finds and loads a plugin.
    pub fn load(host: &PluginHost, settings: &Settings) -> Result<LoadedPlugin> {
        let ready = settings::load(host, settings)?;
        Ok(LoadedPlugin { name: settings.plugin.clone(), ready, prepared: Mutex::default() })
    }

    /// Returns the plugin.
    pub fn plugin(&self) -> &Plugin {
        &self.ready.plugin
    }

    /// Returns the stack size that its calls need.
    pub fn stack_bytes(&self) -> u64 {
        self.ready.used.limits.stack_bytes_max
    }

    /// Returns whether its calls may run on this thread, which must also react to other events (see
    /// [`interrupt`](millstream_plugins::plugin::interrupt)). True if they never wait for another system, which could not be interrupted.
    pub fn runs_here(&self) -> bool {
        let grant = &self.ready.used.grant;
        let waits = grant.http.is_some() || !grant.tcp.is_empty() || !grant.udp.is_empty();
        !waits && self.ready.plugin.can_be_interrupted_here(self.stack_bytes())
    }

    /// Returns the cost of its calls.
    pub fn costs(&self) -> Costs {
        let mut costs = Costs::default();
        self.all().iter().for_each(|prepared| costs.add(&prepared.costs()));
        costs
    }

    /// Runs `work` with a caller of the plugin. `numbers` counts the calls without a batch.
    pub fn call<T>(
        &self,
        numbers: &AtomicU64,
        request: &CallRequest,
        work: impl FnOnce(&PreparedTables, &mut Caller, BatchContext) -> Result<T>,
    ) -> Result<T> {
        self.check_world(request.world)?;
        // Limits are counted by batch, so each call is a batch of its own.
        let number = numbers.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let id = BatchId(request.batch.unwrap_or(number));
        let context = BatchContext::new(id, request.time_us.map_or_else(time::now, BatchTime));
        let prepared = self.prepared(&request.schemas, &request.key)?;
        prepared.with_caller(&self.ready, request.batch.is_none(), |caller| work(&prepared, caller, context))
    }

    /// Returns an error if the wanted world is not that of the plugin.
    pub fn check_world(&self, wanted: World) -> Result<()> {
        let is = self.ready.plugin.world();
        if is == wanted {
            return Ok(());
        }
        Err(Error::job(format!("`{}` is of world {is}: call `{}`", self.name, function_of(is))))
    }

    fn prepared(&self, schemas: &[SchemaRef], key: &[String]) -> Result<Arc<PreparedTables>> {
        if let Some(found) = self.all().iter().find(|prepared| prepared.is_for(schemas, key)) {
            return Ok(found.clone());
        }
        let new = Arc::new(PreparedTables::new(&self.ready, schemas.to_vec(), key.to_vec())?);
        let mut all = self.all();
        all.truncate(PREPARED_MAX - 1);
        all.insert(0, new.clone());
        Ok(new)
    }

    fn all(&self) -> std::sync::MutexGuard<'_, Vec<Arc<PreparedTables>>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the function that calls plugins of a world.
fn function_of(world: World) -> &'static str {
    match world {
        World::Transform => "process",
        World::Update => "update",
        World::Aggregate => "aggregate",
        _ => "cogroup",
    }
}
