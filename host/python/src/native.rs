//! The class that calls plugins, below the one that users see.

use crate::call_threads::{Threads, Trouble, Wanted};
use crate::calls::{self, Made, UpdateTables, Updates};
use crate::per_process::PerProcess;
use crate::prepared::Prepared;
use crate::rows::Rows;
use crate::settings::{self, Ready, Settings};
use crate::tables;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::{memory, time};
use millstream_plugins::child::Program;
use millstream_plugins::plugin::{Caller, Costs, PluginHost, World};
use pyo3::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Descriptions for tables of other columns that are kept.
const PREPARED_MAX: usize = 16;

/// What all plugins of a process share.
static SHARED: PerProcess<Shared> = PerProcess::new();

struct Shared {
    host: PluginHost,
    threads: Threads,
}

impl Shared {
    fn get() -> Result<&'static Shared> {
        SHARED.get(|| {
            memory::spare_addresses();
            Ok(Shared { host: PluginHost::new()?, threads: Threads::default() })
        })
    }
}

/// From now on this program does what needs a process of its own, as compiling plugins.
#[pyfunction]
pub fn use_program(file: PathBuf) {
    Program::name(file);
}

/// A plugin.
#[pyclass(frozen, module = "millstream._native")]
pub struct Plugin {
    settings: Settings,
    loaded: PerProcess<Arc<Loaded>>,
    batch: AtomicU64,
}

/// The plugin as this process has it.
struct Loaded {
    ready: Ready,
    prepared: Mutex<Vec<Arc<Prepared>>>,
}

impl Loaded {
    fn prepared(&self, schemas: &[SchemaRef], key: &[String]) -> Result<Arc<Prepared>> {
        let all = || self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = all().iter().find(|prepared| prepared.is_for(schemas, key)) {
            return Ok(found.clone());
        }
        let new = Arc::new(Prepared::new(&self.ready, schemas.to_vec(), key.to_vec())?);
        let mut all = all();
        all.truncate(PREPARED_MAX - 1);
        all.insert(0, new.clone());
        Ok(new)
    }
}

/// What the plugin is told of a call: the batch, and the time in microseconds.
#[derive(Clone, Copy, FromPyObject)]
struct Told(Option<u64>, Option<i64>);

/// What a call of Python says of a plugin, as a dict.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Given {
    name: String,
    plugin: String,
    folder: PathBuf,
    pins: bool,
    registry: Option<String>,
    digest: Option<String>,
    /// As JSON.
    keys: String,
}

/// States and timers of an earlier call, and whether all keys that have a state are called.
type Kept<'py> = (Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>, bool);

#[pymethods]
impl Plugin {
    /// Checks the settings and loads the plugin.
    #[new]
    fn new(py: Python<'_>, given: Given) -> PyResult<Plugin> {
        let Given { name, plugin, folder, pins, registry, digest, keys } = given;
        let keys = serde_json::from_str(&keys)
            .map_err(|error| Trouble::Error(Error::job(format!("the settings are no object of JSON: {error}"))))?;
        let folder = settings::folder_of_lock(&folder);
        let settings = Settings { name, plugin, folder, pins, registry, digest, keys };
        let new = Plugin { settings, loaded: PerProcess::new(), batch: AtomicU64::new(0) };
        new.loaded(py)?;
        Ok(new)
    }

    /// The world that it implements.
    #[getter]
    fn world(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.loaded(py)?.ready.plugin.world().to_string())
    }

    /// The digest of its component.
    #[getter]
    fn digest(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.loaded(py)?.ready.plugin.digest())
    }

    /// The file of its component.
    #[getter]
    fn file(&self, py: Python<'_>) -> PyResult<PathBuf> {
        Ok(self.loaded(py)?.ready.plugin.file().to_owned())
    }

    /// Who has signed it and is trusted; none where it is no package.
    #[getter]
    fn signers(&self, py: Python<'_>) -> PyResult<Option<Vec<String>>> {
        Ok(self.loaded(py)?.ready.plugin.signers().map(<[String]>::to_vec))
    }

    /// Whether its compiled code was kept from before.
    #[getter]
    fn was_cached(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.loaded(py)?.ready.plugin.was_cached())
    }

    /// What its calls have cost in this process.
    #[getter]
    fn costs(&self, py: Python<'_>) -> PyResult<BTreeMap<&'static str, u64>> {
        let mut costs = Costs::default();
        let prepared = self.loaded(py)?.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.iter().for_each(|prepared| costs.add(&prepared.costs()));
        Ok(BTreeMap::from([
            ("calls", costs.calls),
            ("instances", costs.instances),
            ("guest_ns", costs.guest_ns),
            ("host_ns", costs.host_ns),
            ("rows_in", costs.rows_in),
            ("rows_out", costs.rows_out),
            ("bytes_in", costs.bytes_in),
            ("bytes_out", costs.bytes_out),
            ("memory_bytes_max", costs.memory_bytes_max),
        ]))
    }

    /// Rows to rows.
    fn process(&self, py: Python<'_>, table: &Bound<'_, PyAny>, told: Told) -> PyResult<(Rows, Rows)> {
        let call = self.call(vec![tables::read(table)?], Vec::new(), told, World::Transform);
        pair(call.run(py, |prepared, caller, context, tables, wanted| {
            let rows = tables.into_iter().next().unwrap_or_default();
            calls::process(prepared, caller, context, &rows, wanted)
        }))
    }

    /// A row for each key.
    fn aggregate(
        &self,
        py: Python<'_>,
        table: &Bound<'_, PyAny>,
        key: Vec<String>,
        told: Told,
    ) -> PyResult<(Rows, Rows)> {
        let call = self.call(vec![tables::read(table)?], key, told, World::Aggregate);
        pair(call.run(py, |prepared, caller, context, tables, wanted| {
            let rows = tables.into_iter().next().unwrap_or_default();
            calls::aggregate(prepared, caller, context, &rows, wanted)
        }))
    }

    /// The rows of a key in several tables side by side.
    fn cogroup(
        &self,
        py: Python<'_>,
        tables: Vec<Bound<'_, PyAny>>,
        names: Vec<String>,
        key: Vec<String>,
        told: Told,
    ) -> PyResult<(Rows, Rows)> {
        let tables = tables.iter().map(tables::read).collect::<PyResult<Vec<_>>>()?;
        let call = self.call(tables, key, told, World::Cogroup);
        pair(call.run(py, move |prepared, caller, context, tables, wanted| {
            calls::cogroup(prepared, caller, context, (&names, &tables), wanted)
        }))
    }

    /// Rows by key, with states and timers: rows, refused rows, states, timers.
    fn update(
        &self,
        py: Python<'_>,
        table: &Bound<'_, PyAny>,
        key: Vec<String>,
        kept: Kept<'_>,
        told: Told,
    ) -> PyResult<(Rows, Rows, Rows, Rows)> {
        let (states, timers, all) = kept;
        let states = states.as_ref().map(tables::read).transpose()?;
        let timers = timers.as_ref().map(tables::read).transpose()?;
        let call = self.call(vec![tables::read(table)?], key, told, World::Update);
        let Updates { made, states, timers } = call.run(py, move |prepared, caller, context, tables, wanted| {
            let rows = tables.into_iter().next().unwrap_or_default();
            calls::update(prepared, caller, context, UpdateTables { rows, states, timers, all }, wanted)
        })?;
        Ok((made.rows.into(), made.rejected.into(), states.into(), timers.into()))
    }
}

fn pair(made: PyResult<Made>) -> PyResult<(Rows, Rows)> {
    let Made { rows, rejected } = made?;
    Ok((rows.into(), rejected.into()))
}

/// One call of Python.
struct Call<'a> {
    plugin: &'a Plugin,
    schemas: Vec<SchemaRef>,
    parts: Vec<Vec<RecordBatch>>,
    key: Vec<String>,
    told: Told,
    world: World,
}

impl Plugin {
    fn call(&self, tables: Vec<(SchemaRef, Vec<RecordBatch>)>, key: Vec<String>, told: Told, world: World) -> Call<'_> {
        let (schemas, parts) = tables.into_iter().unzip();
        Call { plugin: self, schemas, parts, key, told, world }
    }

    /// The plugin as this process has it: another one than the one that loaded it loads it anew.
    fn loaded(&self, py: Python<'_>) -> PyResult<&Arc<Loaded>> {
        let load = || {
            let shared = Shared::get()?;
            let settings = self.settings.clone();
            let load = move |_: &Wanted| {
                let ready = settings::load(&shared.host, &settings)?;
                Ok(Arc::new(Loaded { ready, prepared: Mutex::default() }))
            };
            shared.threads.run(py, 0, load)
        };
        Ok(self.loaded.get(load)?)
    }
}

impl Call<'_> {
    fn run<T: Send + 'static>(
        self,
        py: Python<'_>,
        work: impl FnOnce(&Prepared, &mut Caller, BatchContext, Vec<Vec<RecordBatch>>, &Wanted) -> Result<T>
        + Send
        + 'static,
    ) -> PyResult<T> {
        let Call { plugin, schemas, parts, key, told, world } = self;
        let loaded = plugin.loaded(py)?.clone();
        let is = loaded.ready.plugin.world();
        if is != world {
            let function = match is {
                World::Transform => "process",
                World::Update => "update",
                World::Aggregate => "aggregate",
                _ => "cogroup",
            };
            let name = &plugin.settings.plugin;
            let words = format!("`{name}` is of world {is}: call `{function}`");
            return Err(Trouble::Error(Error::job(words)).into());
        }
        // What a call may use up is counted by batch, so each is one of its own.
        let number = plugin.batch.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let Told(batch, time_us) = told;
        let id = BatchId(batch.unwrap_or(number));
        let at = time_us.map_or_else(time::now, BatchTime);
        let stack_bytes = loaded.ready.used.limits.stack_bytes_max;
        let made = Shared::get().map_err(Trouble::Error)?.threads.run(py, stack_bytes, move |wanted| {
            let prepared = loaded.prepared(&schemas, &key)?;
            let context = BatchContext::new(id, at);
            prepared
                .with_caller(&loaded.ready, batch.is_none(), |caller| work(&prepared, caller, context, parts, wanted))
        });
        Ok(made?)
    }
}
