//! A plugin as its caller names it: checked like that of a stage, resolved, loaded.

use arrow::datatypes::Schema;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::package_name::PackageRequest;
use millstream_job::connector::{InMemory, Kind, Kinds, NOTHING, SourceDeclaration};
use millstream_job::spec::PluginSpec;
use millstream_packages::lock::obtain::obtain;
use millstream_packages::lock::store::PackageStore;
use millstream_packages::lock::{self, FILE, LockFile, location};
use millstream_packages::trust::policy::Policy;
use millstream_plugins::plugin::{Granted, LoadOptions, Plugin, PluginHost, StageUse, check_http_grant};
use serde_json::{Map, Value as Json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use toml::{Table, Value};

/// The source of the rows of a call: the caller has them in memory.
const MEMORY: SourceDeclaration = SourceDeclaration {
    kind: "memory",
    doc: "the tables of the caller",
    keys: &[],
    shared: &[],
    read: |_| InMemory.into(),
};

/// The kinds in the job of a call.
static KINDS: LazyLock<Kinds> =
    LazyLock::new(|| Kinds::new(vec![Kind::Declared(&MEMORY)], vec![Kind::Declared(&NOTHING)], Vec::new()));

/// The settings of a plugin.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Prefix of messages about errors in the settings.
    pub of: &'static str,
    /// Its name in messages.
    pub name: String,
    /// A component file, a plugin directory or a package, as in a job file.
    pub plugin: String,
    /// The directory of the lock file and of relative paths.
    pub dir: PathBuf,
    /// Whether the lock file was given, so that fetched packages are pinned in it.
    pub pins: bool,
    /// The registry of packages that are not pinned.
    pub registry: Option<String>,
    /// The required digest of the component.
    pub digest: Option<String>,
    /// Keys of the stage, with their values.
    pub keys: Map<String, Json>,
}

/// A plugin that can be called.
pub struct ConfiguredPlugin {
    /// The plugin.
    pub plugin: Plugin,
    /// Its use in a stage.
    pub used: StageUse,
    /// Bytes of the rejected rows of one call.
    pub rejected_bytes_max: u64,
}

/// Finds and loads a plugin.
pub fn load(host: &PluginHost, settings: &Settings) -> Result<ConfiguredPlugin> {
    let spec = found(settings)?;
    if let Some(grant) = &spec.grant.http {
        check_http_grant(grant).map_err(Error::job)?;
    }
    let plugin = host.load(&spec.component_path(&settings.dir), &LoadOptions::new(&spec))?;
    let world = plugin.world();
    if world.is_end() {
        return Err(Error::job(format!("`{}` is of world {world}, which works only in a job", settings.plugin)));
    }
    let digest = plugin.digest();
    if let Some(wanted) = settings.digest.as_ref().filter(|wanted| **wanted != digest) {
        return Err(Error::environment(format!(
            "`{}` is {digest} on this machine, but {wanted} is required; give this machine the same component",
            settings.plugin
        )));
    }
    let used = StageUse {
        stage: settings.name.clone(),
        config: spec.config.to_string(),
        key: Arc::new(Schema::empty()),
        instance: spec.instance,
        limits: spec.limits,
        grant: Granted::of_stage(&spec.grant, &settings.dir)?,
        on_error: spec.on_error,
        calls_are_fixed: true,
    };
    Ok(ConfiguredPlugin { plugin, used, rejected_bytes_max: spec.limits.rejected_bytes_max })
}

/// Returns the plugin of a job file, with the file of a package.
fn found(settings: &Settings) -> Result<PluginSpec> {
    let mut spec = millstream_job::of_command(settings.of, &text(settings)?, &KINDS, &settings.dir, &[])?;
    let package = PluginSpec::new(settings.plugin.clone()).package().transpose()?;
    match (&settings.registry, package) {
        (Some(registry), Some((name, version))) => {
            let wanted = PackageRequest { name, version: Some(version) };
            let (file, digest, signers) = fetch_package(settings, &wanted, registry)?;
            let mut plugins: Vec<&mut PluginSpec> =
                spec.stages.iter_mut().flat_map(|stage| stage.plugins_mut()).collect();
            if let Some(plugin) = plugins.first_mut() {
                (plugin.file, plugin.pinned, plugin.signers) = (Some(file), Some(digest), Some(signers));
            }
        }
        _ => lock::resolve::resolve(&mut spec)?,
    }
    let plugin = spec.plugins().next().map(|(_, plugin)| plugin.clone());
    plugin.ok_or_else(|| Error::bug("a stage without its plugin"))
}

/// Fetches a package from a registry, as pinned in the lock file: returns its file, its digest, and its signers.
fn fetch_package(
    settings: &Settings,
    wanted: &PackageRequest,
    registry: &str,
) -> Result<(PathBuf, Digest, Vec<String>)> {
    let store = PackageStore::of_user()?;
    let chosen = location::registry(Some(registry))?;
    let lock = LockFile::read(&settings.dir)?;
    let pin = wanted.version.as_ref().and_then(|version| lock.pin(&wanted.name, version));
    let mut obtained = obtain(&chosen, wanted, pin, &Policy::load()?, &store)?;
    let layer = obtained.pin.layer;
    if settings.pins && pin.is_none() {
        obtained.pin.registry = location::for_lock(&chosen, Some(registry), &settings.dir)?;
        lock::add::pin(&settings.dir, obtained.pin)?;
    }
    let missing = || Error::environment(format!("{wanted} was just removed from the store; retry"));
    Ok((store.file(&layer)?.ok_or_else(missing)?, layer, obtained.signers))
}

/// Returns a job file with this plugin.
fn text(settings: &Settings) -> Result<String> {
    let of = |pairs: &[(&str, &str)]| {
        Table::from_iter(pairs.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))))
    };
    let mut stage = of(&[("from", "table"), ("plugin", &settings.plugin)]);
    for (key, value) in &settings.keys {
        let value = Value::try_from(value)
            .map_err(|_| Error::job(format!("`{key}` holds None, or a number that is too large for plugins")))?;
        stage.insert(key.clone(), value);
    }
    let within = |name: &str, part: Table| Table::from_iter([(name.to_owned(), Value::from(part))]);
    let source = of(&[("kind", MEMORY.kind)]);
    let sink = of(&[("kind", "nothing"), ("from", &settings.name)]);
    let job = Table::from_iter([
        ("sources".to_owned(), Value::from(within("table", source))),
        ("stages".to_owned(), Value::from(within(&settings.name, stage))),
        ("sinks".to_owned(), Value::from(within("nothing", sink))),
    ]);
    toml::to_string(&job).map_err(Error::bug)
}

/// Returns the directory of a lock file, which is given by its own path or its directory's.
pub fn dir_of_lock(path: &Path) -> PathBuf {
    let is_file = path.file_name().is_some_and(|name| name == FILE) && !path.is_dir();
    let dir = if is_file { path.parent().unwrap_or(path) } else { path };
    if dir.as_os_str().is_empty() { PathBuf::from(".") } else { dir.to_owned() }
}
