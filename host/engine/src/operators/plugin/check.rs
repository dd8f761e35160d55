//! Checks of stages with a plugin: loads it, queries it about its input, and checks key and columns.

use crate::operators::plugin::node::PluginNode;
use crate::operators::stage::Operator;
use crate::operators::stage_check::{CheckedStage, StageCheck};
use crate::operators::{aggregate, update, window};
use arrow::datatypes::{Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_connect::tls::{self, Tls};
use millstream_job::spec::{GrantSpec, PluginSpec, UpdateSpec};
use millstream_packages::trust::policy::Policy;
use millstream_plugins::plugin::{Granted, LoadOptions, Plugin, StageUse, TlsClient, World};
use millstream_rows::batch::types::{self, ColumnType};
use millstream_rows::batch::widen::fits;
use std::path::Path;
use std::sync::Arc;

/// Checks a stage with a plugin, of any world.
pub fn check(check: &StageCheck<'_>, spec: &PluginSpec) -> Result<CheckedStage> {
    let world = world_of(check, spec)?;
    if world.is_end() {
        return Err(Error::job(format!(
            "`{}` is of world {world}: it is a {world}, not a stage; write kind = \"plugin\" in [{world}s.…]",
            spec.path.display()
        )));
    }
    if world == World::Cogroup {
        return Err(Error::job(format!(
            "`{}` is of world cogroup, which reads several inputs; write cogroup = [\"…\"] with the other inputs",
            spec.path.display()
        )));
    }
    let node = load(check, spec, std::slice::from_ref(check.input))?;
    let description = &node.description;
    let keys = check.key_schema()?;
    let plugin_name = format!("plugin {} {}", description.name, description.version);
    check_key(description.key.as_deref(), &keys, &plugin_name)?;
    let options = &spec.update;
    check_options(options, world, &plugin_name)?;
    match world {
        World::Transform => Ok(CheckedStage::new(description.output.clone(), Operator::Transform(node))),
        World::Aggregate => {
            let output = window::check::with_results(&keys, check.window, description.output.fields().to_vec());
            let mut node = node;
            node.description.inverse &= spec.inverse != Some(false);
            let tables = aggregate::check::plugin_tables(check, &node)?;
            Ok(CheckedStage { tables, ..CheckedStage::new(output, Operator::Reduce(node)) })
        }
        World::Cogroup | World::Source | World::Sink => {
            Err(Error::bug(format!("a plugin of world {world} in a stage with one input")))
        }
        World::Update => update::check::check(check, node, options, &keys),
    }
}

/// Rejects options that only update stages support.
pub fn check_options(options: &UpdateSpec, world: World, plugin_name: &str) -> Result<()> {
    let any = options.on.is_some() || options.emit.is_some() || options.timeout.is_some() || options.initial.is_some();
    if world == World::Update || !any {
        return Ok(());
    }
    Err(Error::job(format!(
        "`on`, `emit`, `timeout` and `initial` are for plugins of world update, but {plugin_name} is of world \
        {world}; remove them"
    )))
}

/// Returns the world of a plugin.
pub fn world_of(check: &StageCheck<'_>, spec: &PluginSpec) -> Result<World> {
    let path = spec.component_path(&check.job.origin.dir);
    Ok(check.host.load(&path, &LoadOptions::new(spec))?.world())
}

/// Loads a stage's plugin and queries it about this input.
pub fn load(check: &StageCheck<'_>, spec: &PluginSpec, inputs: &[SchemaRef]) -> Result<PluginNode> {
    let StageCheck { spec: stage, input, .. } = *check;
    let (plugin, used) = for_use(check, spec, Arc::new(check.key_schema()?))?;
    let description = plugin.describe_for(&used, inputs)?;
    let plugin_name = format!("plugin {} {}", description.name, description.version);
    let reads = read_indexes(&description.input, input, &plugin_name, &stage.from)?;
    Ok(PluginNode { plugin, description, stage: used, reads, before: None })
}

/// Loads a plugin, and the parameters from the stage.
pub fn for_use(check: &StageCheck<'_>, spec: &PluginSpec, key: SchemaRef) -> Result<(Plugin, StageUse)> {
    if let Some(grant) = &spec.grant.http {
        millstream_plugins::plugin::check_http_grant(grant).map_err(Error::job)?;
    }
    let dir = &check.job.origin.dir;
    let plugin = check.host.load(&spec.component_path(dir), &LoadOptions::new(spec))?;
    let used = StageUse {
        stage: check.spec.name.clone(),
        config: spec.config.to_string(),
        instance: spec.instance,
        limits: spec.limits,
        grant: granted(spec, dir)?,
        on_error: spec.on_error,
        key,
        calls_are_fixed: check.window.is_none() && check.event_time.is_none() && check.parts_are_fixed,
    };
    Ok((plugin, used))
}

/// Returns a plugin of the job with another component. `path` is its name in the job, `file` its location, and `signers` its verified signers.
pub fn replace(mut plugin: PluginSpec, path: &Path, file: &Path, signers: Option<Vec<String>>) -> Result<PluginSpec> {
    (plugin.path, plugin.file) = (path.to_owned(), Some(file.to_owned()));
    // The lock file pins the previous version; the upgrade request names the digest of the new one.
    (plugin.pinned, plugin.signers) = (None, signers);
    if plugin.package().is_none() {
        Policy::load()?.allows_path(path)?;
    }
    Ok(plugin)
}

/// Returns the plugin's permissions, with the contents of files.
pub fn granted(spec: &PluginSpec, dir: &Path) -> Result<Granted> {
    let granted = Granted::of_stage(&spec.grant, dir)?;
    let GrantSpec { tcp, udp, ca, .. } = spec.grant.clone();
    let servers = tcp.iter().map(|granted| GrantSpec::server(granted));
    let (tcp, secured): (Vec<String>, Vec<bool>) = servers.map(|(server, tls)| (server.to_owned(), tls)).unzip();
    let tls = match spec.grant.has_tls() {
        false => None,
        true => {
            let tls = Tls { ca: ca.map(|ca| dir.join(ca)), ..Tls::default() };
            let config = tls.config().map_err(|rejection| Error::job(format!("`grant.tcp`: {rejection}")))?;
            let servers = tcp.iter().zip(secured).filter(|(_, tls)| *tls).map(|(server, _)| server.clone()).collect();
            Some(TlsClient {
                servers,
                config,
                rejection_message: |error, name| Some(tls::to_tls_error(error, name)?.0),
            })
        }
    };
    Ok(Granted { tcp, udp, tls, ..granted })
}

/// Finds the columns that a plugin reads in the input of its stage or sink.
pub fn read_indexes(reads: &Schema, input: &Schema, plugin_name: &str, from: &[String]) -> Result<Vec<usize>> {
    let from = from.join(", ");
    let mut indexes = Vec::new();
    for field in reads.fields() {
        let needs = ColumnType::from_arrow(field.data_type());
        let Ok(index) = input.index_of(field.name()) else {
            return Err(Error::job(format!(
                "{plugin_name} reads a column `{}` ({needs}), which `{from}` does not have; it has: {}",
                field.name(),
                types::describe(input),
            )));
        };
        let has = ColumnType::from_arrow(input.field(index).data_type());
        if !fits(&has, &needs) {
            return Err(Error::job(format!(
                "{plugin_name} reads column `{}` as {needs}, but in `{from}` it is {has}",
                field.name(),
            )));
        }
        indexes.push(index);
    }
    Ok(indexes)
}

/// Checks the key columns against the plugin's, by type and position.
pub fn check_key(needs: Option<&Schema>, keys: &Schema, plugin_name: &str) -> Result<()> {
    let Some(needs) = needs else { return Ok(()) };
    let kinds = |schema: &Schema| -> Vec<ColumnType> {
        schema.fields().iter().map(|field| ColumnType::from_arrow(field.data_type())).collect()
    };
    if kinds(needs) == kinds(keys) {
        return Ok(());
    }
    Err(Error::job(format!(
        "{plugin_name} needs a key of {}, but the stage's key is {}; fix `key`",
        types::describe(needs),
        types::describe(keys),
    )))
}
