//! A plugin as a process has it, and what is asked of it.

use super::prepared::Prepared;
use super::settings::{self, ReadyPlugin, Settings};
use arrow::datatypes::SchemaRef;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::time;
use millstream_plugins::plugin::{Caller, Costs, Plugin, PluginHost, World};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Descriptions for tables of other columns that are kept.
const PREPARED_MAX: usize = 16;

/// A plugin that can be called.
pub struct Loaded {
    /// As messages name it.
    name: String,
    ready: ReadyPlugin,
    prepared: Mutex<Vec<Arc<Prepared>>>,
}

/// What a call is told, and which world it is for.
#[derive(Clone, Debug)]
pub struct CallRequest {
    /// The columns of each table.
    pub schemas: Vec<SchemaRef>,
    /// The names of the key columns.
    pub key: Vec<String>,
    /// The batch, where whoever calls says so.
    pub batch: Option<u64>,
    /// The time in microseconds; none: now.
    pub time_us: Option<i64>,
    /// The world that has the function.
    pub world: World,
}

impl Loaded {
    /// Finds and loads it.
    pub fn load(host: &PluginHost, settings: &Settings) -> Result<Loaded> {
        let ready = settings::load(host, settings)?;
        Ok(Loaded { name: settings.plugin.clone(), ready, prepared: Mutex::default() })
    }

    /// It.
    pub fn plugin(&self) -> &Plugin {
        &self.ready.plugin
    }

    /// How large the stack is that its calls need.
    pub fn stack_bytes(&self) -> u64 {
        self.ready.used.limits.stack_bytes_max
    }

    /// Whether its calls may run on this thread, which has to hear of other things, too (see [`interrupt`](millstream_plugins::plugin::interrupt)): they
    /// wait for nobody else, who could not be interrupted.
    pub fn runs_here(&self) -> bool {
        let grant = &self.ready.used.grant;
        let waits = grant.http.is_some() || !grant.tcp.is_empty() || !grant.udp.is_empty();
        !waits && self.ready.plugin.can_be_interrupted_here(self.stack_bytes())
    }

    /// What its calls have cost.
    pub fn costs(&self) -> Costs {
        let mut costs = Costs::default();
        self.all().iter().for_each(|prepared| costs.add(&prepared.costs()));
        costs
    }

    /// Does some work with a caller of the plugin. `numbers` counts the calls that are not told a batch.
    pub fn call<T>(
        &self,
        numbers: &AtomicU64,
        asked: &CallRequest,
        work: impl FnOnce(&Prepared, &mut Caller, BatchContext) -> Result<T>,
    ) -> Result<T> {
        self.check_world(asked.world)?;
        // What a call may use up is counted by batch, so each is one of its own.
        let number = numbers.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let id = BatchId(asked.batch.unwrap_or(number));
        let context = BatchContext::new(id, asked.time_us.map_or_else(time::now, BatchTime));
        let prepared = self.prepared(&asked.schemas, &asked.key)?;
        prepared.with_caller(&self.ready, asked.batch.is_none(), |caller| work(&prepared, caller, context))
    }

    /// An error where another function than that of its world is called.
    pub fn check_world(&self, wanted: World) -> Result<()> {
        let is = self.ready.plugin.world();
        if is == wanted {
            return Ok(());
        }
        Err(Error::job(format!("`{}` is of world {is}: call `{}`", self.name, function_of(is))))
    }

    fn prepared(&self, schemas: &[SchemaRef], key: &[String]) -> Result<Arc<Prepared>> {
        if let Some(found) = self.all().iter().find(|prepared| prepared.is_for(schemas, key)) {
            return Ok(found.clone());
        }
        let new = Arc::new(Prepared::new(&self.ready, schemas.to_vec(), key.to_vec())?);
        let mut all = self.all();
        all.truncate(PREPARED_MAX - 1);
        all.insert(0, new.clone());
        Ok(new)
    }

    fn all(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Prepared>>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The function that calls plugins of a world.
fn function_of(world: World) -> &'static str {
    match world {
        World::Transform => "process",
        World::Update => "update",
        World::Aggregate => "aggregate",
        _ => "cogroup",
    }
}
