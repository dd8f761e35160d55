//! A plugin as whoever calls it names it: checked as that of a stage is, found where packages are, loaded.

use arrow::datatypes::Schema;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::job::connector::Kinds;
use millstream_base::job::{self, spec::PluginSpec};
use millstream_base::package_name::PackageRequest;
use millstream_packages::lock::obtain::obtain;
use millstream_packages::lock::store::PackageStore;
use millstream_packages::lock::{self, FILE, LockFile, place};
use millstream_packages::trust::policy::Policy;
use millstream_plugins::plugin::{Granted, LoadOptions, Plugin, PluginHost, StageUse, check_http_grant};
use serde_json::{Map, Value as Json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::{Table, Value};

/// What is said of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose settings they are, as messages of mistakes in them begin.
    pub of: &'static str,
    /// Its name in messages.
    pub name: String,
    /// A component file, a plugin folder or a package, as a job file has it.
    pub plugin: String,
    /// Where the lock file is, and where relative paths begin.
    pub folder: PathBuf,
    /// Whether the lock file was named, so that what is fetched is pinned in it.
    pub pins: bool,
    /// Where packages are looked for that are not pinned.
    pub registry: Option<String>,
    /// The digest that the component must have.
    pub digest: Option<String>,
    /// Keys of the stage, with their values.
    pub keys: Map<String, Json>,
}

/// A plugin that can be called.
pub struct ReadyPlugin {
    /// It.
    pub plugin: Plugin,
    /// What is said of it.
    pub used: StageUse,
    /// Bytes of the rejected rows of one call.
    pub rejected_bytes_max: u64,
}

/// Finds and loads it.
pub fn load(host: &PluginHost, settings: &Settings) -> Result<ReadyPlugin> {
    let spec = found(settings)?;
    if let Some(grant) = &spec.grant.http {
        check_http_grant(grant).map_err(Error::job)?;
    }
    let plugin = host.load(&spec.place(&settings.folder), &LoadOptions::of(&spec))?;
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
        grant: Granted::of_stage(&spec.grant, &settings.folder)?,
        on_error: spec.on_error,
        calls_are_fixed: true,
    };
    Ok(ReadyPlugin { plugin, used, rejected_bytes_max: spec.limits.rejected_bytes_max })
}

/// What a job file would say of it, with the file of a package.
fn found(settings: &Settings) -> Result<PluginSpec> {
    let mut spec = job::of_command(settings.of, &text(settings)?, Kinds::of_language(), &settings.folder, &[])?;
    let package = PluginSpec::new(settings.plugin.clone()).package().transpose()?;
    match (&settings.registry, package) {
        (Some(registry), Some((name, version))) => {
            let wanted = PackageRequest { name, version: Some(version) };
            let (file, digest, signers) = fetched(settings, &wanted, registry)?;
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

/// A package of a registry, as the lock file pins it where it does: its file, its digest, and those who signed it.
fn fetched(settings: &Settings, wanted: &PackageRequest, registry: &str) -> Result<(PathBuf, Digest, Vec<String>)> {
    let store = PackageStore::of_user()?;
    let given = place::registry(Some(registry))?;
    let lock = LockFile::read(&settings.folder)?;
    let pin = wanted.version.as_ref().and_then(|version| lock.pin(&wanted.name, version));
    let mut obtained = obtain(&given, wanted, pin, &Policy::load()?, &store)?;
    let layer = obtained.pin.layer;
    if settings.pins && pin.is_none() {
        obtained.pin.registry = place::for_lock(&given, Some(registry), &settings.folder)?;
        lock::add::pin(&settings.folder, obtained.pin)?;
    }
    let gone = || Error::environment(format!("{wanted} was just removed from the store; try again"));
    Ok((store.file(&layer)?.ok_or_else(gone)?, layer, obtained.signers))
}

/// A job file with this plugin.
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
    let source = of(&[("kind", "file"), ("path", "/dev/null"), ("format", "text")]);
    let sink = of(&[("kind", "nothing"), ("from", &settings.name)]);
    let job = Table::from_iter([
        ("sources".to_owned(), Value::from(within("table", source))),
        ("stages".to_owned(), Value::from(within(&settings.name, stage))),
        ("sinks".to_owned(), Value::from(within("nothing", sink))),
    ]);
    toml::to_string(&job).map_err(Error::bug)
}

/// The folder of a lock file that is named by itself or by its folder.
pub fn folder_of_lock(path: &Path) -> PathBuf {
    let is_file = path.file_name().is_some_and(|name| name == FILE) && !path.is_dir();
    let folder = if is_file { path.parent().unwrap_or(path) } else { path };
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
}
