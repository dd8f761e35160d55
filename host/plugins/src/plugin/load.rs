//! From a path to a plugin that can be called: finding the component, compiling it or taking it from the cache, and
//! reading its world and its imports from its type, without running any of it.

mod exports;
mod dir;

use super::cache::{Cache, DigestBytes, code_digest};
use super::code_kind::CodeKind;
use super::compile;
use super::engine::Machine;
use super::guest::Guest;
use super::load_options::LoadOptions;
use super::needs::Size;
use super::outline::{self, Outline};
use super::releases::{MIGRATOR, parse_interface};
use crate::limits::PLUGINS_UNUSED_MAX;
use crate::sections::{has_section, section};
pub use dir::{find, is_plugin_dir};
use exports::Exports;
pub use exports::{AggregateCalls, Calls, SinkCalls, SourceCalls};
use millstream_base::error::{Error, Result};
use millstream_base::hex;
use millstream_base::limits::COMPONENT_BYTES_MAX;
use millstream_base::progress;
use sha2::Digest as _;
use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

/// A component that is ready to be instantiated.
pub struct Loaded {
    /// The file it came from.
    pub file: PathBuf,
    /// Size of the file.
    pub bytes: u64,
    /// The file's digest.
    pub digest: DigestBytes,
    /// Whether its compiled code came from the cache.
    pub cached: bool,
    /// Names of the interfaces that it imports.
    pub imports: Vec<String>,
    /// Number of its parts.
    pub size: Size,
    /// Whether its SDK can report the source line of a call.
    pub traces: bool,
    /// The interface that it exports: `millstream:plugin/transformer@0.1.0`.
    pub interface: String,
    /// The engine of its code.
    pub machine: Arc<Machine>,
    /// Everything but the instance itself.
    pub pre: InstancePre<Guest>,
    /// The index of `describe`.
    pub describe: ComponentExportIndex,
    /// The indexes of its world's functions.
    pub calls: Calls,
}

/// A component file by path and digest, with the kind of its code.
type LoadKey = (PathBuf, DigestBytes, CodeKind);

/// Loads components, each file once while it is used, with one engine per kind of code.
pub struct Loader {
    machines: Mutex<HashMap<CodeKind, Arc<Machine>>>,
    cache: Option<Cache>,
    loaded: Mutex<LoadedPlugins>,
}

/// Loaded components. A job that is upgraded often loads many versions in one process. Unused ones are dropped, except the most recently
/// loaded, which a caller that inspected their world is about to load again.
#[derive(Default)]
struct LoadedPlugins {
    used: HashMap<LoadKey, Weak<Loaded>>,
    last: VecDeque<Arc<Loaded>>,
}

impl LoadedPlugins {
    fn get(&self, known: &LoadKey) -> Option<Arc<Loaded>> {
        self.used.get(known)?.upgrade()
    }

    fn put(&mut self, known: LoadKey, new: &Arc<Loaded>) {
        self.last.truncate(PLUGINS_UNUSED_MAX.saturating_sub(1));
        self.last.push_front(new.clone());
        self.used.retain(|_, loaded| loaded.strong_count() > 0);
        self.used.insert(known, Arc::downgrade(new));
    }
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

    /// Loads a component file or the component of a plugin directory.
    pub fn load(&self, path: &Path, options: &LoadOptions) -> Result<Arc<Loaded>> {
        let kind = options.code_kind();
        let machine = self.machine(kind)?;
        let file = find(path)?;
        let bytes = read(&file)?;
        if options.pinned.is_some_and(|pinned| pinned != millstream_base::digest::Digest::compute(&bytes)) {
            return Err(Error::environment(format!(
                "{} is no longer the component that the lock file pins: it was just changed; it is not used",
                file.display()
            )));
        }
        let digest: DigestBytes = sha2::Sha256::digest(&bytes).into();
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let known = (file.clone(), digest, kind);
        if let Some(found) = loaded.get(&known) {
            // Another stage may grant more than this one.
            outline::check_imports(&file, &found.imports, Some(found.calls.world()), options)?;
            return Ok(found);
        }
        let new = Arc::new(self.make(&file, &bytes, digest, &machine, options)?);
        loaded.put(known, &new);
        Ok(new)
    }

    fn make(
        &self,
        file: &Path,
        bytes: &[u8],
        digest: DigestBytes,
        machine: &Arc<Machine>,
        options: &LoadOptions,
    ) -> Result<Loaded> {
        let engine = &machine.engine;
        let Outline { interface, needs, .. } = outline::read(file, bytes, options)?;
        let key = Cache::key(engine, &code_digest(bytes));
        let kept = || self.cache.as_ref().and_then(|cache| cache.load(engine, &key));
        let (component, cached) = match kept() {
            Some(component) => (component, true),
            None => {
                let time_max = options.compile_time_max;
                let _lock = self.cache.as_ref().map(|cache| cache.lock_entry(&key, time_max));
                // The process that compiled before this one has compiled it.
                match kept() {
                    Some(component) => (component, true),
                    None => (self.compile(machine, file, bytes, &key, time_max)?, false),
                }
            }
        };
        let ty = component.component_type();
        let pre = machine.linker.instantiate_pre(&component).map_err(|e| {
            Error::plugin(format!("plugin {}: its imports do not match this host: {e:#}", file.display()))
        })?;
        let is_migrator = |name: &&str| parse_interface(name).is_some_and(|(interface, _)| interface == MIGRATOR);
        let migrator = needs.exports.iter().map(String::as_str).find(is_migrator);
        let exports = Exports { file, component: &component, ty: &ty, interface: &interface, migrator };
        let describe = exports.describe()?;
        let calls = exports.calls()?;
        Ok(Loaded {
            file: file.to_owned(),
            bytes: bytes.len() as u64,
            digest,
            cached,
            imports: needs.imports,
            size: needs.size,
            traces: has_section(bytes, section::TRACES),
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
        let failed = |failure: compile::CompileFailure| Error {
            kind: failure.kind,
            message: format!("plugin {} {}", file.display(), failure.message),
        };
        if let Some(failure) = self.cache.as_ref().and_then(|cache| cache.stored_failure(key, time_max)) {
            return Err(failed(failure));
        }
        tracing::info!("compiling plugin {} (cached for the next startup)", file.display());
        let _shown = progress::start(&format!("compiling plugin {}, for the first time", file.display()));
        let cache = self.cache.as_ref();
        let made = compile::compile(&machine.engine, machine.kind, cache, key, bytes, time_max).and_then(|code| {
            // SAFETY: this program just made the code for this engine, and it came through a private pipe.
            let component = unsafe { Component::deserialize(&machine.engine, &code) };
            Ok((component.map_err(|e| compile::CompileFailure::unfit(&format!("{e:#}")))?, code))
        });
        match (made, &self.cache) {
            (Ok((component, code)), cache) => {
                cache.iter().for_each(|cache| cache.store(key, &code));
                Ok(component)
            }
            (Err(failure), cache) => {
                let permanent = cache.iter().filter(|_| failure.permanent);
                permanent.for_each(|cache| cache.store_failure(key, &failure, time_max));
                Err(failed(failure))
            }
        }
    }
}

/// Reads a component file, up to what one may have.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    let unreadable = |e| Error::environment(format!("plugin {} cannot be read: {e}", file.display()));
    let found = fs::metadata(file).map_err(unreadable)?;
    if !found.is_file() {
        return Err(Error::job(format!("plugin {} is not a regular file", file.display())));
    }
    let mut bytes = Vec::new();
    let mut open = millstream_base::regular::open(file).map_err(unreadable)?.take(COMPONENT_BYTES_MAX + 1);
    open.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > COMPONENT_BYTES_MAX {
        let size = found.len();
        let words = format!("plugin {} has {size} bytes; at most {COMPONENT_BYTES_MAX} are allowed", file.display());
        return Err(Error::job(words));
    }
    Ok(bytes)
}

impl Loaded {
    /// The version of the interface that it was built for.
    pub fn interface_version(&self) -> &str {
        parse_interface(&self.interface).map_or("", |(_, version)| version)
    }

    /// Whether it imports an interface of ours.
    pub fn uses(&self, interface: &str) -> bool {
        self.imports.iter().any(|name| parse_interface(name).is_some_and(|(own, _)| own == interface))
    }

    /// `sha256:…`
    pub fn digest_text(&self) -> String {
        format!("sha256:{}", hex::encode(&self.digest))
    }
}
