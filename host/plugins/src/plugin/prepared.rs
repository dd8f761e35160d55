//! A component that has been started once, and is called again when a plugin is built; its memory is stored afterwards.
//!
//! CPython with the SDK is such a component. componentize-py takes 10 s to start it, mostly to compile CPython, and neither depends on the
//! plugin. So both are stored, and a build only imports the plugin's modules. The technique is Wizer's (see `snapshot`), for components.

mod call;

use super::cache::{Cache, code_digest};
use super::compile;
use super::engine;
use super::load_options::LoadOptions;
use crate::limits::PLUGIN_MESSAGE_BYTES_MAX;
use millstream_base::error::{Error, Kind, Result};
use millstream_base::limits::THREAD_STACK_BYTES;
use millstream_base::shown::printable;
use std::path::PathBuf;
use std::thread;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Instance, Lift, Linker, ResourceType, WasmList};
use wasmtime::{Engine, Store};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{FsPerms, ResourceTable, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

/// Bytes that are kept of what it prints.
const PRINTED_BYTES_MAX: usize = 1 << 16;

/// The call of a component, and its context.
pub struct Preparation<'a> {
    /// The name of the component in errors.
    pub what: &'a str,
    /// A function of one of its core modules that gives 0, or else has said on standard error what is wrong.
    pub function: &'a str,
    /// Directories that it may read, and the paths under which it sees them.
    pub dirs: Vec<(PathBuf, String)>,
}

/// Calls a function of a component, and returns the component with its memory after the call. During the call it sees only these
/// directories of the machine, and cannot call imports other than WASI.
///
/// # Errors
/// `Plugin`: the function failed; the message is what it printed.
pub fn call_in_thread(component: &[u8], preparation: &Preparation<'_>) -> Result<Vec<u8>> {
    // The stack of the thread that calls us may be too small.
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("prepare".into()).stack_size(THREAD_STACK_BYTES as usize);
        let thread = thread.spawn_scoped(scope, || call(component, preparation));
        let thread = thread.map_err(|error| Error::environment(format!("no thread: {error}")))?;
        thread.join().map_err(|panic| {
            Error::bug(format!("{} panicked: {}", preparation.what, millstream_base::threads::message(&*panic)))
        })?
    })
}

fn call(component: &[u8], preparation: &Preparation<'_>) -> Result<Vec<u8>> {
    let Preparation { what, function, dirs } = preparation;
    let failed = |error: wasmtime::Error| Error::bug(format!("{what} cannot be prepared: {error:?}"));
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| Error::environment(format!("no runtime: {error}")))?;
    let wizer = Wizer::new();
    let (context, instrumented) = wizer.instrument_component(component).map_err(failed)?;
    let instrumented = call::export_function(&instrumented, function).map_err(failed)?;
    // Compiled like plugins, so that both share the functions of the runtime.
    let (engine, compiled) = code(what, &instrumented)?;
    let printed = MemoryOutputPipe::new(PRINTED_BYTES_MAX);
    let mut wasi = WasiCtxBuilder::new();
    wasi.stderr(printed.clone());
    for (dir, name) in dirs {
        wasi.preopened_dir(dir, name, FsPerms::ReadOnly).map_err(failed)?;
    }
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker).map_err(failed)?;
    refuse_others(&mut linker, &compiled).map_err(failed)?;
    let mut store = Store::new(&engine, PreparingHost { wasi: wasi.build(), table: ResourceTable::new() });
    // Nothing advances the epoch.
    store.set_epoch_deadline(1);
    let instance = linker.instantiate(&mut store, &compiled).map_err(failed)?;
    let entry = instance.get_typed_func::<(), (i32,)>(&mut store, *function).map_err(failed)?;
    let ended = entry.call(&mut store, ());
    let printed = printed.contents();
    let printed = printable(&String::from_utf8_lossy(&printed), PLUGIN_MESSAGE_BYTES_MAX);
    match ended {
        Ok((0,)) => {}
        Ok(_) => return Err(Error::plugin(printed)),
        Err(error) => return Err(Error::plugin(format!("{printed}{error:?}"))),
    }
    let mut called = CalledComponent { store, instance, has_missed: false };
    // Nothing of it ever waits.
    let made = runtime.block_on(wizer.snapshot_component(&context, &mut called)).map_err(failed)?;
    if called.has_missed {
        return Err(Error::bug(format!("{what} cannot be prepared: a part of its content cannot be read")));
    }
    Ok(made)
}

/// Other imports than the harmless part of WASI are host functions, which do not exist here, and HTTP requests; calling them fails.
fn refuse_others(linker: &mut Linker<PreparingHost>, component: &Component) -> wasmtime::Result<()> {
    let engine = linker.engine().clone();
    for (interface, import) in component.component_type().imports(&engine) {
        if interface.starts_with("wasi:") && !interface.starts_with(HTTP) {
            continue;
        }
        let ComponentItem::ComponentInstance(import) = import.ty else { continue };
        let mut instance = linker.instance(interface)?;
        for (name, item) in import.exports(&engine) {
            let text =
                format!("{name} of {interface} can be called only during a call of the plugin, not while it is built");
            match item.ty {
                ComponentItem::ComponentFunc(_) => {
                    instance.func_new(name, move |_, _, _, _| wasmtime::bail!("{text}"))?;
                }
                ComponentItem::Resource(_) if !OF_IO.contains(&name) => {
                    instance.resource(name, ResourceType::host::<Request>(), |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Name prefix of these interfaces.
const HTTP: &str = "wasi:http/";
/// Resources that they have from elsewhere.
const OF_IO: [&str; 4] = ["input-stream", "output-stream", "pollable", "io-error"];

/// The resource type of requests and responses. None exist while a component is prepared.
struct Request;

/// Compiles it, or takes the code from the cache.
fn code(what: &str, component: &[u8]) -> Result<(Engine, Component)> {
    let options = LoadOptions::default();
    let kind = options.code_kind();
    let engine = engine::compiler(kind, None::<std::sync::Arc<compile::CompiledFunctions>>)?;
    let cache = Cache::of_user();
    let key = Cache::key(&engine, &code_digest(component));
    if let Some(found) = cache.as_ref().and_then(|cache| cache.load(&engine, &key)) {
        return Ok((engine, found));
    }
    let time_max = options.compile_time_max;
    let code = compile::compile(&engine, kind, cache.as_ref(), &key, component, time_max)
        .map_err(|failure| Error { kind: failure.kind, message: format!("{what} {}", failure.message) })?;
    // SAFETY: this program just made the code for this engine, and it came through a private pipe.
    let compiled = unsafe { Component::deserialize(&engine, &code) };
    let compiled = compiled.map_err(|e| Error { kind: Kind::Bug, message: format!("{what} does not fit: {e:#}") })?;
    cache.iter().for_each(|cache| cache.store(&key, &code));
    Ok((engine, compiled))
}

/// The host of a component while it is prepared.
struct PreparingHost {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for PreparingHost {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// The component when it has been called.
struct CalledComponent {
    store: Store<PreparingHost>,
    instance: Instance,
    has_missed: bool,
}

impl CalledComponent {
    /// Calls one of Wizer's functions; they are in an instance that it has added.
    fn get<R: Lift + 'static>(&mut self, instance: &str, function: &str) -> Option<R> {
        let found = self.find(instance, function);
        self.has_missed |= found.is_none();
        found
    }

    fn find<R: Lift + 'static>(&mut self, instance: &str, function: &str) -> Option<R> {
        let (_, instance) = self.instance.get_export(&mut self.store, None, instance)?;
        let (_, function) = self.instance.get_export(&mut self.store, Some(&instance), function)?;
        let function = self.instance.get_typed_func::<(), (R,)>(&mut self.store, function).ok()?;
        function.call(&mut self.store, ()).ok().map(|(value,)| value)
    }
}

impl ComponentInstanceState for CalledComponent {
    async fn call_func_ret_list_u8(&mut self, instance: &str, func: &str, contents: impl FnOnce(&[u8]) + Send) {
        let memory: Option<WasmList<u8>> = self.get(instance, func);
        contents(memory.as_ref().map_or(&[], |memory| memory.as_le_slice(&self.store)));
    }

    async fn call_func_ret_s32(&mut self, instance: &str, func: &str) -> i32 {
        self.get(instance, func).unwrap_or_default()
    }

    async fn call_func_ret_s64(&mut self, instance: &str, func: &str) -> i64 {
        self.get(instance, func).unwrap_or_default()
    }

    async fn call_func_ret_f32(&mut self, instance: &str, func: &str) -> u32 {
        self.get::<f32>(instance, func).unwrap_or_default().to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, func: &str) -> u64 {
        self.get::<f64>(instance, func).unwrap_or_default().to_bits()
    }
}
