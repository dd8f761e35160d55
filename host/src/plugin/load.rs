//! From a path to a plugin that can be called: finding the component, compiling it or taking it from the cache, and
//! reading its world and its imports from its type, without running any of it.

mod exports;
mod folder;

use super::asks::{self, Asks, Size, Unreadable, ours};
use super::cache::{Cache, Digest, hex};
use super::engine::{CodeKind, Machine, Metering};
use super::failure::printable;
use super::guest::Guest;
use super::{VERSION, World, compile};
use crate::error::{Error, Kind, Result};
use crate::job::spec::{OnError, PluginSpec};
use crate::limits::{COMPONENT_BYTES_MAX, NAME_BYTES_MAX, PLUGIN_WORDS_BYTES_MAX};
use exports::Exports;
pub use exports::{AggregateCalls, Calls};
pub use folder::find;
use sha2::Digest as _;
use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

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
    /// What the component consists of.
    pub size: Size,
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
            // Another stage may grant more than this one.
            check_imports(&file, &found.imports, Some(found.calls.world()), options)?;
            return Ok(found.clone());
        }
        let new = Arc::new(self.make(&file, &bytes, digest, &machine, options)?);
        loaded.insert((file, digest, kind), new.clone());
        Ok(new)
    }

    fn make(
        &self,
        file: &Path,
        bytes: &[u8],
        digest: Digest,
        machine: &Arc<Machine>,
        options: &LoadOptions,
    ) -> Result<Loaded> {
        let engine = &machine.engine;
        check_is_component(file, bytes)?;
        let asks = ask(file, bytes, options)?;
        let interface = interface(file, &asks.exports)?;
        let key = Cache::key(engine, &digest);
        let found = self.cache.as_ref().and_then(|cache| cache.load(engine, &key));
        let (component, cached) = match found {
            Some(component) => (component, true),
            None => (self.compile(machine, file, bytes, &key, options.compile_time_max)?, false),
        };
        let ty = component.component_type();
        let pre = machine.linker.instantiate_pre(&component).map_err(|e| {
            Error::plugin(format!("plugin {}: what it imports does not fit this host: {e:#}", file.display()))
        })?;
        let exports = Exports { file, component: &component, ty: &ty, interface: &interface };
        let describe = exports.describe()?;
        let calls = exports.calls()?;
        Ok(Loaded {
            file: file.to_owned(),
            bytes: bytes.len() as u64,
            digest,
            cached,
            imports: asks.imports,
            size: asks.size,
            describe,
            calls,
            interface: interface.clone(),
            pre,
            machine: machine.clone(),
        })
    }

    fn compile(
        &self,
        machine: &Machine,
        file: &Path,
        bytes: &[u8],
        key: &str,
        time_max: Duration,
    ) -> Result<Component> {
        let failed = |failure: compile::Failure| Error {
            kind: failure.kind,
            message: format!("plugin {} {}", file.display(), failure.words),
        };
        if let Some(refused) = self.cache.as_ref().and_then(|cache| cache.refused(key, time_max)) {
            return Err(failed(refused));
        }
        tracing::info!("compiling plugin {} (kept for the next start)", file.display());
        let made = compile::compile(machine, key, bytes, time_max).and_then(|code| {
            // SAFETY: the code was made by this program for this engine just now, and came through a pipe of its own.
            let component = unsafe { Component::deserialize(&machine.engine, &code) };
            Ok((component.map_err(|e| compile::Failure::unfit(&format!("{e:#}")))?, code))
        });
        match (made, &self.cache) {
            (Ok((component, code)), cache) => {
                cache.iter().for_each(|cache| cache.store(key, &code));
                Ok(component)
            }
            (Err(failure), cache) => {
                let lasting = cache.iter().filter(|_| failure.lasting);
                lasting.for_each(|cache| cache.refuse(key, &failure, time_max));
                Err(failed(failure))
            }
        }
    }
}

/// Reads what a component asks for, and refuses what is too large or not granted, before anything is compiled.
fn ask(file: &Path, bytes: &[u8], options: &LoadOptions) -> Result<Asks> {
    let asks = Asks::of(bytes).map_err(|why| match why {
        Unreadable::Damaged(words) => Error::plugin(format!(
            "plugin {} does not compile: {words}\n  Build it again: `millstream build`.",
            file.display()
        )),
        Unreadable::TooLarge(words) => Error::job(format!("plugin {} {words}", file.display())),
    })?;
    let world = asks.exports.iter().find_map(|name| world_of(ours(name)?.0));
    check_imports(file, &asks.imports, world, options)?;
    Ok(asks)
}

/// Every import must be one that the plugin is offered.
fn check_imports(file: &Path, imports: &[String], world: Option<World>, options: &LoadOptions) -> Result<()> {
    asks::check(imports, world, options).map_err(|words| Error::job(format!("plugin {} {words}", file.display())))
}

/// The world of a component that is to become this file, if a host would take it: it exports one of ours, and imports
/// nothing that no job could grant.
///
/// # Errors
/// `Plugin`: it does not; the message says why.
pub fn check(file: &Path, bytes: &[u8]) -> Result<World> {
    let checked = || {
        check_is_component(file, bytes)?;
        let asks = ask(file, bytes, &LoadOptions { http: true, ..LoadOptions::default() })?;
        let interface = interface(file, &asks.exports)?;
        ours(&interface).and_then(|(name, _)| world_of(name)).ok_or_else(|| Error::bug("an interface without a world"))
    };
    // Whoever builds it is its author.
    checked().map_err(|error| Error { kind: if error.kind == Kind::Job { Kind::Plugin } else { error.kind }, ..error })
}

/// The bytes of a component file, within their limit.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    let unreadable = |e| Error::environment(format!("plugin {} cannot be read: {e}", file.display()));
    let found = fs::metadata(file).map_err(unreadable)?;
    if !found.is_file() {
        return Err(Error::job(format!("plugin {} is no file, but a device, a pipe or the like", file.display())));
    }
    let mut bytes = Vec::new();
    let mut open = fs::File::open(file).map_err(unreadable)?.take(COMPONENT_BYTES_MAX + 1);
    open.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > COMPONENT_BYTES_MAX {
        let size = found.len();
        let words = format!("plugin {} has {size} bytes; at most {COMPONENT_BYTES_MAX} are allowed", file.display());
        return Err(Error::job(words));
    }
    Ok(bytes)
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

/// The world whose functions an interface of ours has.
fn world_of(interface: &str) -> Option<World> {
    Some(match interface {
        "transformer" => World::Transform,
        "updater" => World::Update,
        "aggregator" => World::Aggregate,
        "cogrouper" => World::Cogroup,
        _ => return None,
    })
}

/// The interface, of those exported, that makes a component a plugin.
fn interface(file: &Path, exports: &[String]) -> Result<String> {
    let worlds =
        exports.iter().map(String::as_str).filter(|name| ours(name).is_some_and(|(i, _)| world_of(i).is_some()));
    let worlds: Vec<&str> = worlds.collect();
    let shown = file.display();
    match worlds[..] {
        [one] => match ours(one) {
            Some((_, version)) if compatible(version) => Ok(one.to_owned()),
            version => Err(Error::job(format!(
                "plugin {shown} needs millstream:plugin@{}, and this host speaks {VERSION}: install a Millstream that \
                 speaks it, or build the plugin with an SDK for {VERSION}",
                printable(version.map_or("?", |(_, version)| version), NAME_BYTES_MAX)
            ))),
        },
        [] => {
            let list = if exports.is_empty() {
                "nothing".into()
            } else {
                names(&exports.iter().map(String::as_str).collect::<Vec<_>>())
            };
            Err(Error::job(format!(
                "{shown} is a component, but no Millstream plugin: it exports {list}, and none of transformer, updater, \
                 aggregator and cogrouper of millstream:plugin@{VERSION}"
            )))
        }
        _ => Err(Error::job(format!("plugin {shown} implements several worlds: {}; it must be one", names(&worlds)))),
    }
}

/// Names that a component's author chose.
fn names(all: &[&str]) -> String {
    printable(&all.join(", "), PLUGIN_WORDS_BYTES_MAX)
}

/// Whether a plugin of this interface version runs here: as semver has it, `0.1.x` does, `0.2.0` does not.
pub fn compatible(version: &str) -> bool {
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
