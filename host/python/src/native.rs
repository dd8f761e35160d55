//! The class that calls plugins, below the one that users see.

use crate::call_threads::{self, PythonCallError, Threads};
use crate::per_process::PerProcess;
use crate::rows::Rows;
use crate::tables;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::memory;
use millstream_hosting::{CallRequest, CancelCheck, Loaded, Prepared, Settings, TableResult, UpdateTables, Updates};
use millstream_plugins::child::Program;
use millstream_plugins::plugin::{Caller, PluginHost, World};
use pyo3::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

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
    calls: Arc<AtomicU64>,
}

/// What the plugin is told of a call: the batch, and the time in microseconds.
#[derive(Clone, Copy, FromPyObject)]
struct CallMoment(Option<u64>, Option<i64>);

/// What a call of Python says of a plugin, as a dict.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct PluginArguments {
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
type EarlierStates<'py> = (Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>, bool);

#[pymethods]
impl Plugin {
    /// Checks the settings and loads the plugin.
    #[new]
    fn new(py: Python<'_>, given: PluginArguments) -> PyResult<Plugin> {
        let PluginArguments { name, plugin, folder, pins, registry, digest, keys } = given;
        let keys = serde_json::from_str(&keys).map_err(|error| {
            PythonCallError::Error(Error::job(format!("the settings are no object of JSON: {error}")))
        })?;
        let folder = millstream_hosting::folder_of_lock(&folder);
        let settings = Settings { of: "Plugin", name, plugin, folder, pins, registry, digest, keys };
        let new = Plugin { settings, loaded: PerProcess::new(), calls: Arc::default() };
        new.loaded(py)?;
        Ok(new)
    }

    /// The world that it implements.
    #[getter]
    fn world(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.loaded(py)?.plugin().world().to_string())
    }

    /// The digest of its component.
    #[getter]
    fn digest(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.loaded(py)?.plugin().digest())
    }

    /// The file of its component.
    #[getter]
    fn file(&self, py: Python<'_>) -> PyResult<PathBuf> {
        Ok(self.loaded(py)?.plugin().file().to_owned())
    }

    /// Who has signed it and is trusted; none where it is no package.
    #[getter]
    fn signers(&self, py: Python<'_>) -> PyResult<Option<Vec<String>>> {
        Ok(self.loaded(py)?.plugin().signers().map(<[String]>::to_vec))
    }

    /// Whether its compiled code was kept from before.
    #[getter]
    fn was_cached(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.loaded(py)?.plugin().was_cached())
    }

    /// What its calls have cost in this process.
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

    /// Rows to rows.
    fn process(&self, py: Python<'_>, table: &Bound<'_, PyAny>, told: CallMoment) -> PyResult<(Rows, Rows)> {
        let call = self.call(vec![tables::read(table)?], Vec::new(), told, World::Transform);
        pair(call.run(py, |prepared, caller, context, tables, wanted| {
            let rows = tables.into_iter().next().unwrap_or_default();
            millstream_hosting::process(prepared, caller, context, &rows, wanted)
        }))
    }

    /// A row for each key.
    fn aggregate(
        &self,
        py: Python<'_>,
        table: &Bound<'_, PyAny>,
        key: Vec<String>,
        told: CallMoment,
    ) -> PyResult<(Rows, Rows)> {
        let call = self.call(vec![tables::read(table)?], key, told, World::Aggregate);
        pair(call.run(py, |prepared, caller, context, tables, wanted| {
            let rows = tables.into_iter().next().unwrap_or_default();
            millstream_hosting::aggregate(prepared, caller, context, &rows, wanted)
        }))
    }

    /// The rows of a key in several tables side by side.
    fn cogroup(
        &self,
        py: Python<'_>,
        tables: Vec<Bound<'_, PyAny>>,
        names: Vec<String>,
        key: Vec<String>,
        told: CallMoment,
    ) -> PyResult<(Rows, Rows)> {
        let tables = tables.iter().map(tables::read).collect::<PyResult<Vec<_>>>()?;
        let call = self.call(tables, key, told, World::Cogroup);
        pair(call.run(py, move |prepared, caller, context, tables, wanted| {
            millstream_hosting::cogroup(prepared, caller, context, (&names, &tables), wanted)
        }))
    }

    /// Rows by key, with states and timers: rows, refused rows, states, timers.
    fn update(
        &self,
        py: Python<'_>,
        table: &Bound<'_, PyAny>,
        key: Vec<String>,
        kept: EarlierStates<'_>,
        told: CallMoment,
    ) -> PyResult<(Rows, Rows, Rows, Rows)> {
        let (states, timers, all) = kept;
        let states = states.as_ref().map(tables::read).transpose()?;
        let timers = timers.as_ref().map(tables::read).transpose()?;
        let call = self.call(vec![tables::read(table)?], key, told, World::Update);
        let Updates { made, states, timers } = call.run(py, move |prepared, caller, context, tables, wanted| {
            let rows = tables.into_iter().next().unwrap_or_default();
            millstream_hosting::update(prepared, caller, context, UpdateTables { rows, states, timers, all }, wanted)
        })?;
        Ok((made.rows.into(), made.rejected.into(), states.into(), timers.into()))
    }
}

fn pair(made: PyResult<TableResult>) -> PyResult<(Rows, Rows)> {
    let TableResult { rows, rejected } = made?;
    Ok((rows.into(), rejected.into()))
}

/// One call of Python.
struct Call<'a> {
    plugin: &'a Plugin,
    schemas: Vec<SchemaRef>,
    parts: Vec<Vec<RecordBatch>>,
    key: Vec<String>,
    told: CallMoment,
    world: World,
}

impl Plugin {
    fn call(
        &self,
        tables: Vec<(SchemaRef, Vec<RecordBatch>)>,
        key: Vec<String>,
        told: CallMoment,
        world: World,
    ) -> Call<'_> {
        let (schemas, parts) = tables.into_iter().unzip();
        Call { plugin: self, schemas, parts, key, told, world }
    }

    /// The plugin as this process has it: another one than the one that loaded it loads it anew.
    fn loaded(&self, py: Python<'_>) -> PyResult<&Arc<Loaded>> {
        let load = || {
            let shared = Shared::get()?;
            let settings = self.settings.clone();
            let load = move |_: &CancelCheck| Loaded::load(&shared.host, &settings).map(Arc::new);
            shared.threads.run(py, 0, load)
        };
        Ok(self.loaded.get(load)?)
    }
}

impl Call<'_> {
    fn run<T: Send + 'static>(
        self,
        py: Python<'_>,
        work: impl FnOnce(&Prepared, &mut Caller, BatchContext, Vec<Vec<RecordBatch>>, &CancelCheck) -> Result<T>
        + Send
        + 'static,
    ) -> PyResult<T> {
        let Call { plugin, schemas, parts, key, told, world } = self;
        let loaded = plugin.loaded(py)?.clone();
        loaded.check_world(world).map_err(PythonCallError::Error)?;
        let CallMoment(batch, time_us) = told;
        let (asked, numbers) = (CallRequest { schemas, key, batch, time_us, world }, plugin.calls.clone());
        let (stack_bytes, runs_here) = (loaded.stack_bytes(), loaded.runs_here());
        let call = move |wanted: &CancelCheck| {
            loaded.call(&numbers, &asked, |prepared, caller, context| work(prepared, caller, context, parts, wanted))
        };
        if runs_here {
            return Ok(call_threads::here(py, call)?);
        }
        let threads = &Shared::get().map_err(PythonCallError::Error)?.threads;
        Ok(threads.run(py, stack_bytes, call)?)
    }
}
