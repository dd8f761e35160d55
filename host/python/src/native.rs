//! The native class that calls plugins, wrapped by the public Python class.

use crate::call_threads::{self, PythonCallError, Threads};
use crate::per_process::PerProcess;
use crate::rows::Rows;
use crate::tables;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::memory;
use millstream_hosting::{
    CallRequest, CancelCheck, LoadedPlugin, PreparedTables, Settings, TableResult, UpdateTables, Updates,
};
use millstream_plugins::child::Program;
use millstream_plugins::plugin::{Caller, PluginHost, World};
use pyo3::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The shared state of all plugins of a process.
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

/// Sets the program that runs separate processes, for example to compile plugins.
#[pyfunction]
pub fn use_program(file: PathBuf) {
    Program::name(file);
}

/// A plugin.
#[pyclass(frozen, module = "millstream._native")]
pub struct Plugin {
    settings: Settings,
    loaded: PerProcess<Arc<LoadedPlugin>>,
    calls: Arc<AtomicU64>,
}

/// The batch and the time in microseconds of a call.
#[derive(Clone, Copy, FromPyObject)]
struct CallMoment(Option<u64>, Option<i64>);

/// The settings of a plugin, as a dict from Python.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct PluginArguments {
    name: String,
    plugin: String,
    dir: PathBuf,
    pins: bool,
    registry: Option<String>,
    digest: Option<String>,
    /// The settings as JSON.
    keys: String,
}

/// States and timers of an earlier call, and whether all keys that have a state are called.
type EarlierStates<'py> = (Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>, bool);

#[pymethods]
impl Plugin {
    /// Checks the settings and loads the plugin.
    #[new]
    fn new(py: Python<'_>, given: PluginArguments) -> PyResult<Plugin> {
        let PluginArguments { name, plugin, dir, pins, registry, digest, keys } = given;
        let keys = serde_json::from_str(&keys).map_err(|error| {
            PythonCallError::Error(Error::job(format!("the settings are not a JSON object: {error}")))
        })?;
        let dir = millstream_hosting::dir_of_lock(&dir);
        let settings = Settings { of: "Plugin", name, plugin, dir, pins, registry, digest, keys };
        let new = Plugin { settings, loaded: PerProcess::new(), calls: Arc::default() };
        new.loaded(py)?;
        Ok(new)
    }

    /// Returns the world that it implements.
    #[getter]
    fn world(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.loaded(py)?.plugin().world().to_string())
    }

    /// Returns the digest of its component.
    #[getter]
    fn digest(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.loaded(py)?.plugin().digest())
    }

    /// Returns the file of its component.
    #[getter]
    fn file(&self, py: Python<'_>) -> PyResult<PathBuf> {
        Ok(self.loaded(py)?.plugin().file().to_owned())
    }

    /// Returns its trusted signers, or `None` if it is not a package.
    #[getter]
    fn signers(&self, py: Python<'_>) -> PyResult<Option<Vec<String>>> {
        Ok(self.loaded(py)?.plugin().signers().map(<[String]>::to_vec))
    }

    /// Returns whether its compiled code was cached.
    #[getter]
    fn was_cached(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.loaded(py)?.plugin().was_cached())
    }

    /// Returns the cost of its calls in this process.
    #[getter]
    fn costs(&self, py: Python<'_>) -> PyResult<BTreeMap<&'static str, u64>> {
        let costs = self.loaded(py)?.costs();
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

    /// Processes rows (world `transform`).
    fn process(&self, py: Python<'_>, table: &Bound<'_, PyAny>, moment: CallMoment) -> PyResult<(Rows, Rows)> {
        let call = self.call(vec![tables::read(table)?], Vec::new(), moment, World::Transform);
        pair(call.run(py, |prepared, caller, context, tables, wanted| {
            let rows = tables.into_iter().next().unwrap_or_default();
            millstream_hosting::process(prepared, caller, context, &rows, wanted)
        }))
    }

    /// Computes one row per key (world `aggregate`).
    fn aggregate(
        &self,
        py: Python<'_>,
        table: &Bound<'_, PyAny>,
        key: Vec<String>,
        moment: CallMoment,
    ) -> PyResult<(Rows, Rows)> {
        let call = self.call(vec![tables::read(table)?], key, moment, World::Aggregate);
        pair(call.run(py, |prepared, caller, context, tables, wanted| {
            let rows = tables.into_iter().next().unwrap_or_default();
            millstream_hosting::aggregate(prepared, caller, context, &rows, wanted)
        }))
    }

    /// Processes the rows of a key in several tables together (world `cogroup`).
    fn cogroup(
        &self,
        py: Python<'_>,
        tables: Vec<Bound<'_, PyAny>>,
        names: Vec<String>,
        key: Vec<String>,
        moment: CallMoment,
    ) -> PyResult<(Rows, Rows)> {
        let tables = tables.iter().map(tables::read).collect::<PyResult<Vec<_>>>()?;
        let call = self.call(tables, key, moment, World::Cogroup);
        pair(call.run(py, move |prepared, caller, context, tables, wanted| {
            millstream_hosting::cogroup(prepared, caller, context, (&names, &tables), wanted)
        }))
    }

    /// Processes rows by key, with states and timers. Returns rows, rejected rows, states and timers.
    fn update(
        &self,
        py: Python<'_>,
        table: &Bound<'_, PyAny>,
        key: Vec<String>,
        kept: EarlierStates<'_>,
        moment: CallMoment,
    ) -> PyResult<(Rows, Rows, Rows, Rows)> {
        let (states, timers, all) = kept;
        let states = states.as_ref().map(tables::read).transpose()?;
        let timers = timers.as_ref().map(tables::read).transpose()?;
        let call = self.call(vec![tables::read(table)?], key, moment, World::Update);
        let Updates { result: made, states, timers } =
            call.run(py, move |prepared, caller, context, tables, wanted| {
                let rows = tables.into_iter().next().unwrap_or_default();
                millstream_hosting::update(
                    prepared,
                    caller,
                    context,
                    UpdateTables { rows, states, timers, all },
                    wanted,
                )
            })?;
        Ok((made.rows.into(), made.rejected.into(), states.into(), timers.into()))
    }
}

fn pair(made: PyResult<TableResult>) -> PyResult<(Rows, Rows)> {
    let TableResult { rows, rejected } = made?;
    Ok((rows.into(), rejected.into()))
}

/// One call from Python.
struct Call<'a> {
    plugin: &'a Plugin,
    schemas: Vec<SchemaRef>,
    parts: Vec<Vec<RecordBatch>>,
    key: Vec<String>,
    moment: CallMoment,
    world: World,
}

impl Plugin {
    fn call(
        &self,
        tables: Vec<(SchemaRef, Vec<RecordBatch>)>,
        key: Vec<String>,
        moment: CallMoment,
        world: World,
    ) -> Call<'_> {
        let (schemas, parts) = tables.into_iter().unzip();
        Call { plugin: self, schemas, parts, key, moment, world }
    }

    /// Returns the plugin as loaded by this process. It is loaded again in a forked process.
    fn loaded(&self, py: Python<'_>) -> PyResult<&Arc<LoadedPlugin>> {
        let load = || {
            let shared = Shared::get()?;
            let settings = self.settings.clone();
            let load = move |_: &CancelCheck| LoadedPlugin::load(&shared.host, &settings).map(Arc::new);
            shared.threads.run(py, 0, load)
        };
        Ok(self.loaded.get(load)?)
    }
}

impl Call<'_> {
    fn run<T: Send + 'static>(
        self,
        py: Python<'_>,
        work: impl FnOnce(&PreparedTables, &mut Caller, BatchContext, Vec<Vec<RecordBatch>>, &CancelCheck) -> Result<T>
        + Send
        + 'static,
    ) -> PyResult<T> {
        let Call { plugin, schemas, parts, key, moment, world } = self;
        let loaded = plugin.loaded(py)?.clone();
        loaded.check_world(world).map_err(PythonCallError::Error)?;
        let CallMoment(batch, time_us) = moment;
        let (request, numbers) = (CallRequest { schemas, key, batch, time_us, world }, plugin.calls.clone());
        let (stack_bytes, runs_here) = (loaded.stack_bytes(), loaded.runs_here());
        let call = move |wanted: &CancelCheck| {
            loaded.call(&numbers, &request, |prepared, caller, context| work(prepared, caller, context, parts, wanted))
        };
        if runs_here {
            return Ok(call_threads::on_this_thread(py, call)?);
        }
        let threads = &Shared::get().map_err(PythonCallError::Error)?.threads;
        Ok(threads.run(py, stack_bytes, call)?)
    }
}
