//! From a path to a plugin that can be called: finding the component, compiling it or taking it from the cache, and
//! reading its world and its imports from its type, without running any of it.

use super::bindings::{
    BatchArgs, BatchOut, CogroupArgs, CogroupDescription, CogroupOutput, DescribeArgs, DescribeInputsArgs, Description,
    Output, PairArgs, Returned, UpdateArgs, Updated,
};
use super::cache::{Cache, Digest, hex};
use super::engine::{CodeKind, Machine, Metering};
use super::guest::Guest;
use super::imports::{OFFERED, TIMERS};
use super::{VERSION, World};
use crate::error::{Error, Result};
use crate::job::spec::{OnError, PluginSpec};
use crate::limits::COMPONENT_BYTES_MAX;
use sha2::Digest as _;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wasmtime::Engine;
use wasmtime::component::types::{self, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, ComponentNamedList, InstancePre, Lift, Lower};

/// A component that is ready to be instantiated.
pub struct Loaded {
    /// The file it came from.
    pub file: PathBuf,
    /// Size of the file.
    pub bytes: u64,
    /// The file's digest.
    pub digest: Digest,
    /// Whether its compiled code came from the cache.
    pub cached: bool,
    /// Names of the interfaces that it imports.
    pub imports: Vec<String>,
    /// The interface that it exports: `millstream:plugin/transformer@0.1.0`.
    pub interface: String,
    /// What its code runs on.
    pub machine: Arc<Machine>,
    /// All but the instance itself.
    pub pre: InstancePre<Guest>,
    /// Where `describe` is.
    pub describe: ComponentExportIndex,
    /// Where the functions of its world are.
    pub calls: Calls,
}

/// The functions of a world.
#[allow(missing_docs)]
pub enum Calls {
    Transform { process: ComponentExportIndex },
    Update { update: ComponentExportIndex },
    Aggregate(AggregateCalls),
    Cogroup { cogroup: ComponentExportIndex },
}

/// The functions of world `aggregate`.
#[allow(missing_docs)]
pub struct AggregateCalls {
    pub lift: ComponentExportIndex,
    pub combine: ComponentExportIndex,
    pub lower: ComponentExportIndex,
    pub inverse: ComponentExportIndex,
}

impl Calls {
    /// The world that has these functions.
    pub fn world(&self) -> World {
        match self {
            Calls::Transform { .. } => World::Transform,
            Calls::Update { .. } => World::Update,
            Calls::Aggregate(_) => World::Aggregate,
            Calls::Cogroup { .. } => World::Cogroup,
        }
    }
}

/// How a stage wants its plugin loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadOptions {
    /// How its calls are stopped.
    pub metering: Metering,
    /// Its call stack, in bytes.
    pub stack_bytes_max: u64,
    /// How long compiling may take.
    pub compile_time_max: Duration,
    /// Whether it may ask over HTTP.
    pub http: bool,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions::of(&PluginSpec::new(""))
    }
}

impl LoadOptions {
    /// As a job says.
    pub fn of(spec: &PluginSpec) -> LoadOptions {
        let metering = match (spec.on_error, spec.limits.time_max.is_zero()) {
            (OnError::Reject, _) => Metering::Fuel,
            (OnError::Fail, false) => Metering::Epochs,
            (OnError::Fail, true) => Metering::None,
        };
        LoadOptions {
            metering,
            stack_bytes_max: spec.limits.stack_bytes_max,
            compile_time_max: spec.limits.compile_time_max,
            http: spec.grant.http.is_some(),
        }
    }

    fn code_kind(&self) -> CodeKind {
        CodeKind { metering: self.metering, stack_bytes_max: self.stack_bytes_max }
    }
}

/// A component file by path and digest, as its code is made.
type Known = (PathBuf, Digest, CodeKind);

/// Loads components, each file once, with an engine for each kind of code.
pub struct Loader {
    machines: Mutex<HashMap<CodeKind, Arc<Machine>>>,
    cache: Option<Cache>,
    loaded: Mutex<HashMap<Known, Arc<Loaded>>>,
}

impl Loader {
    /// A loader that keeps compiled code there.
    pub fn new(cache: Option<Cache>) -> Loader {
        Loader { machines: Mutex::default(), cache, loaded: Mutex::default() }
    }

    /// The engine for this kind of code.
    fn machine(&self, kind: CodeKind) -> Result<Arc<Machine>> {
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(machine) = machines.get(&kind) {
            return Ok(machine.clone());
        }
        let machine = Arc::new(Machine::new(kind)?);
        machines.insert(kind, machine.clone());
        Ok(machine)
    }

    /// Loads a component file or the component of a plugin folder.
    pub fn load(&self, path: &Path, options: &LoadOptions) -> Result<Arc<Loaded>> {
        let kind = options.code_kind();
        let machine = self.machine(kind)?;
        let file = find(path)?;
        let bytes = read(&file)?;
        let digest: Digest = sha2::Sha256::digest(&bytes).into();
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = loaded.get(&(file.clone(), digest, kind)) {
            return Ok(found.clone());
        }
        let new = Arc::new(self.make(&file, &bytes, digest, &machine)?);
        loaded.insert((file, digest, kind), new.clone());
        Ok(new)
    }

    fn make(&self, file: &Path, bytes: &[u8], digest: Digest, machine: &Arc<Machine>) -> Result<Loaded> {
        let engine = &machine.engine;
        check_is_component(file, bytes)?;
        let key = Cache::key(engine, &digest);
        let found = self.cache.as_ref().and_then(|cache| cache.load(engine, &key));
        let (component, cached) = match found {
            Some(component) => (component, true),
            None => (self.compile(engine, file, bytes, &key)?, false),
        };
        let ty = component.component_type();
        let imports = imports(engine, &ty);
        check_imports(file, &imports)?;
        let interface = interface(file, ty.exports(engine).map(|(name, _)| name))?;
        let pre = machine.linker.instantiate_pre(&component).map_err(|e| {
            Error::plugin(format!("plugin {}: what it imports does not fit this host: {e:#}", file.display()))
        })?;
        let exports = Exports { file, component: &component, ty: &ty, interface: &interface };
        let describe = exports.describe()?;
        let calls = exports.calls()?;
        check_timers(file, &imports, calls.world())?;
        Ok(Loaded {
            file: file.to_owned(),
            bytes: bytes.len() as u64,
            digest,
            cached,
            imports,
            describe,
            calls,
            interface: interface.clone(),
            pre,
            machine: machine.clone(),
        })
    }

    fn compile(&self, engine: &Engine, file: &Path, bytes: &[u8], key: &str) -> Result<Component> {
        tracing::info!("compiling plugin {} (kept for the next start)", file.display());
        let component = Component::from_binary(engine, bytes).map_err(|e| {
            let words = format!("{e:#}");
            Error::plugin(format!(
                "plugin {} does not compile: {words}\n  Build it again: `millstream build`.",
                file.display()
            ))
        })?;
        if let Some(cache) = &self.cache {
            cache.store(key, &component);
        }
        Ok(component)
    }
}

/// The component file that a path stands for.
pub fn find(path: &Path) -> Result<PathBuf> {
    let shown = path.display();
    let Ok(metadata) = fs::metadata(path) else {
        return Err(Error::job(format!("there is no plugin at {shown}: no such file or folder")));
    };
    if !metadata.is_dir() {
        return Ok(path.to_owned());
    }
    let manifest = path.join("Cargo.toml");
    let Ok(text) = fs::read_to_string(&manifest) else {
        let words =
            format!("{shown} is no plugin folder: it has no Cargo.toml. Name a component file or a plugin folder.");
        return Err(Error::job(words));
    };
    let toml: toml::Table = text.parse().map_err(|e| Error::job(format!("{}: {e}", manifest.display())))?;
    let name = toml.get("package").and_then(|package| package.get("name")).and_then(|name| name.as_str());
    let Some(name) = name.filter(|name| !name.contains(['/', '\\'])) else {
        return Err(Error::job(format!("{}: it names no package, so there is no plugin here", manifest.display())));
    };
    let file = path.join(format!("{name}.wasm"));
    if !file.is_file() {
        let words =
            format!("plugin {shown} is not built: there is no {}. Run `millstream build {shown}`.", file.display());
        return Err(Error::job(words));
    }
    Ok(file)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let unreadable = |e| Error::environment(format!("plugin {} cannot be read: {e}", file.display()));
    let size = fs::metadata(file).map_err(unreadable)?.len();
    if size > COMPONENT_BYTES_MAX {
        let words = format!("plugin {} has {size} bytes; at most {COMPONENT_BYTES_MAX} are allowed", file.display());
        return Err(Error::job(words));
    }
    fs::read(file).map_err(unreadable)
}

/// Says what a file is that is no component, by its first bytes.
fn check_is_component(file: &Path, bytes: &[u8]) -> Result<()> {
    let what = match bytes {
        [b'\0', b'a', b's', b'm', _, 0, 1, 0, ..] => return Ok(()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            "is a core WebAssembly module, not a component. `millstream build` makes components of plugin folders."
        }
        [b'\0', b'a', b's', b'm', ..] => "is WebAssembly of a kind that this host does not know",
        [] => "is empty, not a component",
        text if std::str::from_utf8(text).is_ok() => {
            "is a text file, not a component. `millstream build` makes components of plugin folders."
        }
        _ => "is not WebAssembly, so no component",
    };
    Err(Error::job(format!("plugin {}: the file {what}", file.display())))
}

/// Names of the imports that do something: those that only define types are left out.
fn imports(engine: &Engine, ty: &types::Component) -> Vec<String> {
    let only_types = |item: &ComponentItem| match item {
        ComponentItem::ComponentInstance(instance) => {
            instance.exports(engine).all(|(_, item)| matches!(item.ty, ComponentItem::Type(_)))
        }
        ComponentItem::Type(_) => true,
        _ => false,
    };
    let imports = ty.imports(engine).filter(|(_, item)| !only_types(&item.ty));
    imports.map(|(name, _)| name.to_owned()).collect()
}

/// Every import must be one that the host offers.
fn check_imports(file: &Path, imports: &[String]) -> Result<()> {
    let offered = |name: &str| {
        ours(name).is_some_and(|(interface, _)| OFFERED.contains(&interface))
            || (name.starts_with("wasi:") && !name.starts_with("wasi:sockets"))
    };
    let refused: Vec<&str> = imports.iter().map(String::as_str).filter(|name| !offered(name)).collect();
    if refused.is_empty() {
        return Ok(());
    }
    let (list, offered) = (refused.join(", "), OFFERED.join(", "));
    let wasi = if refused.iter().any(|name| name.starts_with("wasi:")) {
        "\n  `wasi:` imports come from the toolchain; `millstream build` makes a component without them."
    } else {
        ""
    };
    Err(Error::job(format!(
        "plugin {} imports what plugins are not offered: {list}\n  Offered: {offered} of millstream:plugin@{VERSION}.{wasi}",
        file.display()
    )))
}

/// Timers belong to keys with a state.
fn check_timers(file: &Path, imports: &[String], world: World) -> Result<()> {
    if world == World::Update || !imports.iter().any(|name| ours(name).is_some_and(|(own, _)| own == TIMERS)) {
        return Ok(());
    }
    let file = file.display();
    Err(Error::job(format!("plugin {file} imports timers, which are for world update, and is of world {world}")))
}

/// Interface and version of a name of our package: `millstream:plugin/log@0.1.0` is `log` and `0.1.0`.
fn ours(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("millstream:plugin/")?.split_once('@')
}

/// The interface, of those exported, that makes a component a plugin.
fn interface<'a>(file: &Path, exports: impl Iterator<Item = &'a str>) -> Result<String> {
    let exports: Vec<&str> = exports.collect();
    let is_world = |interface: &str| ["transformer", "updater", "aggregator", "cogrouper"].contains(&interface);
    let worlds: Vec<&str> =
        exports.iter().copied().filter(|name| ours(name).is_some_and(|(i, _)| is_world(i))).collect();
    let shown = file.display();
    match worlds[..] {
        [one] => match ours(one) {
            Some((_, version)) if compatible(version) => Ok(one.to_owned()),
            version => Err(Error::job(format!(
                "plugin {shown} needs millstream:plugin@{}, and this host speaks {VERSION}: install a Millstream that \
                 speaks it, or build the plugin with an SDK for {VERSION}",
                version.map_or("?", |(_, version)| version)
            ))),
        },
        [] => {
            let list = if exports.is_empty() { "nothing".into() } else { exports.join(", ") };
            Err(Error::job(format!(
                "{shown} is a component, but no Millstream plugin: it exports {list}, and none of transformer, updater, \
                 aggregator and cogrouper of millstream:plugin@{VERSION}"
            )))
        }
        _ => {
            Err(Error::job(format!("plugin {shown} implements several worlds: {}; it must be one", worlds.join(", "))))
        }
    }
}

/// Whether a plugin of this interface version runs here: as semver has it, `0.1.x` does, `0.2.0` does not.
fn compatible(version: &str) -> bool {
    let series = |version: &str| {
        let mut numbers = version.split('.').map(|number| number.parse::<u64>().ok());
        match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(0), minor) => Some((0, minor)),
            (Some(major), _) => Some((major, None)),
            (None, _) => None,
        }
    };
    series(version).is_some() && series(version) == series(VERSION)
}

/// The exported interface of a component.
struct Exports<'a> {
    file: &'a Path,
    component: &'a Component,
    ty: &'a types::Component,
    interface: &'a str,
}

impl Exports<'_> {
    fn calls(&self) -> Result<Calls> {
        Ok(match ours(self.interface).map(|(interface, _)| interface) {
            Some("transformer") => {
                Calls::Transform { process: self.function::<BatchArgs<'_>, Returned<Output>>("process")? }
            }
            Some("updater") => Calls::Update { update: self.function::<UpdateArgs<'_>, Returned<Updated>>("update")? },
            Some("cogrouper") => {
                Calls::Cogroup { cogroup: self.function::<CogroupArgs<'_>, Returned<CogroupOutput>>("cogroup")? }
            }
            _ => Calls::Aggregate(AggregateCalls {
                lift: self.function::<BatchArgs<'_>, Returned<BatchOut>>("lift")?,
                combine: self.function::<PairArgs<'_>, Returned<BatchOut>>("combine")?,
                lower: self.function::<PairArgs<'_>, Returned<BatchOut>>("lower")?,
                inverse: self.function::<PairArgs<'_>, Returned<BatchOut>>("inverse")?,
            }),
        })
    }

    fn describe(&self) -> Result<ComponentExportIndex> {
        match ours(self.interface) {
            Some(("cogrouper", _)) => self.function::<DescribeInputsArgs<'_>, Returned<CogroupDescription>>("describe"),
            _ => self.function::<DescribeArgs<'_>, Returned<Description>>("describe"),
        }
    }

    /// Finds a function and checks that it takes and returns what the interface says.
    fn function<P, R>(&self, name: &str) -> Result<ComponentExportIndex>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let wrong = |words: String| {
            let (file, interface) = (self.file.display(), self.interface);
            Error::plugin(format!("plugin {file}: {name} of {interface} {words}. Build it again: `millstream build`."))
        };
        let found = self
            .component
            .get_export_index(None, self.interface)
            .and_then(|interface| self.component.get_export(Some(&interface), name));
        match found {
            Some((ComponentItem::ComponentFunc(function), index)) => {
                function
                    .typecheck::<P, R>(&self.ty.instance_type())
                    .map_err(|e| wrong(format!("has another type: {e:#}")))?;
                Ok(index)
            }
            _ => Err(wrong("is missing".into())),
        }
    }
}

impl Loaded {
    /// The version of the interface that it was built for.
    pub fn interface_version(&self) -> &str {
        ours(&self.interface).map_or("", |(_, version)| version)
    }

    /// Whether it imports an interface of ours.
    pub fn uses(&self, interface: &str) -> bool {
        self.imports.iter().any(|name| ours(name).is_some_and(|(own, _)| own == interface))
    }

    /// `sha256:…`
    pub fn digest_text(&self) -> String {
        format!("sha256:{}", hex(&self.digest))
    }
}
