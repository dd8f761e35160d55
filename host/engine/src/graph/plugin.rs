//! Stages with a plugin: loads it, asks it about its input, and checks key and columns.

use super::{CheckedStage, Graph, InputNode, Operator, StageCheck, aggregate, initial, window};
use crate::checkpoint::types::{Column, Table};
use crate::state::spill::budget::StateBudget;
use crate::state::{timers, timers::TimerClock};
use crate::window::WindowNode;
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use millstream_base::batch::types::{self, ColumnType, with_fields};
use millstream_base::batch::widen::fits;
use millstream_base::error::{Error, Result};
use millstream_base::job::spec::{GrantSpec, PluginSpec, UpdateEmit, UpdateOn, UpdateSpec};
use millstream_connectors::tls::{self, Tls};
use millstream_packages::trust::policy::Policy;
use millstream_plugins::plugin::trial::Fallback;
use millstream_plugins::plugin::{Description, Granted, LoadOptions, Plugin, StageUse, TlsClient, World};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A plugin as a stage uses it.
#[derive(Clone)]
pub struct PluginNode {
    /// The plugin.
    pub plugin: Plugin,
    /// What the plugin said of itself when it was asked about this stage.
    pub description: Description,
    /// What the stage says about it: limits, grants, what to do about errors.
    pub stage: StageUse,
    /// Places in the input of the columns that it reads.
    pub reads: Vec<usize>,
    /// The version that it replaced, where it is on trial.
    pub before: Option<Fallback>,
}

impl PluginNode {
    /// Puts it on trial, where the version before it reads, keeps and returns the same. `tell` hears of a call that fails.
    pub fn on_trial(&mut self, old: &PluginNode, tell: impl Fn(&Error) + Send + Sync + 'static) {
        let columns = |node: &PluginNode| {
            let Description { input, inputs, output, state, key, .. } = node.description.clone();
            (input, inputs, output, state, key, node.reads.clone())
        };
        if columns(old) == columns(self) {
            self.before = Some(Fallback::new(old.plugin.clone(), old.stage.clone(), old.description.clone(), tell));
        }
    }
}

/// What an update stage needs beside its plugin.
#[derive(Clone)]
pub struct UpdateNode {
    /// The stage's name.
    pub name: String,
    /// The columns of its input.
    pub input: SchemaRef,
    /// Places of the key columns in the input.
    pub key: Vec<usize>,
    /// Places in the input of the columns that the plugin reads.
    pub reads: Vec<usize>,
    /// The columns of its rows.
    pub output: SchemaRef,
    /// What the plugin said of itself.
    pub description: Description,
    /// Which keys are called.
    pub on: UpdateOn,
    /// What the stage's rows are.
    pub emit: UpdateEmit,
    /// When keys are idle.
    pub timeout: Option<Duration>,
    /// Initial states: key columns, then state columns.
    pub initial: Option<RecordBatch>,
    /// What timers go by; none where the plugin has no timers.
    pub timers: Option<TimerClock>,
    /// How many timers there may be on one worker.
    pub timers_max: u64,
    /// How much memory its state may take on one worker.
    pub state_bytes_max: Option<u64>,
    /// What its rows in memory count against, where others may lie in files.
    pub budget: Option<Arc<StateBudget>>,
}

/// Checks a stage with a plugin, of any world.
pub(super) fn check(check: &StageCheck<'_>, spec: &PluginSpec) -> Result<CheckedStage> {
    let world = world_of(check, spec)?;
    if world.is_end() {
        return Err(Error::job(format!(
            "`{}` is of world {world}: it is a {world} by itself; write kind = \"plugin\" in [{world}s.…]",
            spec.path.display()
        )));
    }
    if world == World::Cogroup {
        return Err(Error::job(format!(
            "`{}` is of world cogroup, which reads several inputs side by side: write cogroup = [\"…\"] with the others",
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
        World::Transform => Ok(CheckedStage::of(description.output.clone(), Operator::Transform(node))),
        World::Aggregate => {
            let output = window::with_results(&keys, check.window, description.output.fields().to_vec());
            let mut node = node;
            node.description.inverse &= spec.inverse != Some(false);
            let tables = aggregate::plugin_tables(check, &node)?;
            Ok(CheckedStage { tables, ..CheckedStage::of(output, Operator::Reduce(node)) })
        }
        World::Cogroup | World::Source | World::Sink => {
            Err(Error::bug(format!("a plugin of world {world} in a stage with one input")))
        }
        World::Update => update(check, node, options, &keys),
    }
}

/// A stage with a plugin of world `update`.
fn update(check: &StageCheck<'_>, plugin: PluginNode, options: &UpdateSpec, keys: &Schema) -> Result<CheckedStage> {
    let StageCheck { spec: stage, input, key, .. } = *check;
    let description = &plugin.description;
    let plugin_name = format!("plugin {} {}", description.name, description.version);
    if key.is_empty() {
        return Err(Error::job(format!(
            "{plugin_name} keeps a state by key: write which columns, as `key = \"user\"`"
        )));
    }
    let table = with_fields(keys, description.state.fields().iter().cloned());
    let emit = options.emit.unwrap_or_default();
    let output = if emit == UpdateEmit::Rows { description.output.clone() } else { table.clone() };
    let initial = match &options.initial {
        None => None,
        Some(path) => Some(initial_states(check.graph, path, &table, key.len())?),
    };
    let node = UpdateNode {
        name: stage.name.clone(),
        input: input.clone(),
        key: key.to_vec(),
        reads: plugin.reads.clone(),
        output: output.clone(),
        description: description.clone(),
        on: options.on.unwrap_or_default(),
        emit,
        timeout: options.timeout,
        initial,
        timers: timer_clock(check, &plugin.plugin, &plugin_name)?,
        timers_max: plugin.stage.limits.timers_max,
        state_bytes_max: plugin.stage.limits.state_bytes_max,
        budget: check.graph.budget.clone().filter(|_| spills(options)),
    };
    let mut tables = vec![table_of(&node)];
    tables.extend(node.timers.map(|clock| timers::table_of(&stage.name, keys.fields(), clock)));
    Ok(CheckedStage { tables, ..CheckedStage::of(output, Operator::Update(plugin, Box::new(node))) })
}

/// Whether rows may leave memory: where each batch looks at all of them they would come back at once.
fn spills(options: &UpdateSpec) -> bool {
    options.on != Some(UpdateOn::All) && options.emit != Some(UpdateEmit::State)
}

/// The table of a stage as a checkpoint describes it, without files.
fn table_of(node: &UpdateNode) -> Table {
    let key = Column::of(node.key.iter().filter_map(|place| node.input.fields().get(*place)));
    let table = Table::of_stage(&node.name, "", [key, Vec::new(), Column::of(node.description.state.fields())]);
    Table { version: node.description.version.clone(), ..table }
}

/// What the timers of a stage go by, where its plugin has some.
fn timer_clock(check: &StageCheck<'_>, plugin: &Plugin, plugin_name: &str) -> Result<Option<TimerClock>> {
    if !plugin.uses("timers") {
        return Ok(None);
    }
    match (check.event_time, check.window) {
        (None, _) => Ok(Some(TimerClock::Batch)),
        (Some(_), None) => Ok(Some(TimerClock::Watermark)),
        (Some(_), Some(_)) => Err(Error::job(format!(
            "{plugin_name} sets timers, which cannot wait for event time behind a window of the same stage; put the window into a \
             stage of its own"
        ))),
    }
}

fn check_options(options: &UpdateSpec, world: World, plugin_name: &str) -> Result<()> {
    let any = options.on.is_some() || options.emit.is_some() || options.timeout.is_some() || options.initial.is_some();
    if world == World::Update || !any {
        return Ok(());
    }
    Err(Error::job(format!(
        "`on`, `emit`, `timeout` and `initial` are for plugins of world update, and {plugin_name} is of world {world}; remove them"
    )))
}

/// What a stage with a plugin of world `cogroup` needs.
#[derive(Clone)]
pub struct CogroupNode {
    /// Its plugin.
    pub plugin: PluginNode,
    /// The key columns, as the first input has them.
    pub key: SchemaRef,
    /// Its inputs, in order.
    pub inputs: Vec<CogroupInput>,
}

/// One input of a stage with a plugin of world `cogroup`.
#[derive(Clone)]
pub struct CogroupInput {
    /// Its name.
    pub name: String,
    /// The columns of its rows, with the bounds of their window where they come out of one of event time.
    pub schema: SchemaRef,
    /// How many of these columns the rows came with.
    pub own_columns: usize,
    /// Places of the key columns.
    pub key: Vec<usize>,
    /// Places of the columns that the plugin reads.
    pub reads: Vec<usize>,
    /// These columns as the plugin describes them.
    pub needs: SchemaRef,
}

impl CogroupNode {
    /// The input of this number.
    pub fn input(&self, number: u32) -> Result<&CogroupInput> {
        self.inputs.get(number as usize).ok_or_else(|| Error::bug("a part of an unknown input"))
    }
}

/// Checks a stage with a plugin of world `cogroup`.
pub(super) fn check_cogroup(check: &StageCheck<'_>, spec: &PluginSpec) -> Result<CheckedStage> {
    let windowed = check.window.is_some_and(WindowNode::of_event_time);
    let schema = |input: &InputNode| if windowed { window::with_bounds(&input.schema) } else { input.schema.clone() };
    let schemas: Vec<SchemaRef> = check.inputs.iter().map(schema).collect();
    let world = world_of(check, spec)?;
    if world != World::Cogroup {
        return Err(Error::job(format!(
            "`cogroup` needs a plugin of world cogroup, and `{}` is of world {world}",
            spec.path.display()
        )));
    }
    if check.key.is_empty() {
        return Err(Error::job(
            "`cogroup` brings rows with equal keys together: write which columns, as key = \"user\"",
        ));
    }
    let plugin = load(check, spec, &schemas)?;
    let description = &plugin.description;
    let plugin_name = format!("plugin {} {}", description.name, description.version);
    check_options(&spec.update, world, &plugin_name)?;
    let key: SchemaRef = Arc::new(check.key_schema()?);
    check_key(description.key.as_deref(), &key, &plugin_name)?;
    let (reads, has) = (description.inputs.len(), schemas.len());
    if reads != has {
        let names = check.inputs.iter().map(|input| format!("`{}`", input.name)).collect::<Vec<_>>().join(", ");
        return Err(Error::job(format!("{plugin_name} reads {reads} inputs, and the stage has {has}: {names}")));
    }
    let input = |((input, schema), needs): ((&InputNode, &SchemaRef), &SchemaRef)| {
        Ok(CogroupInput {
            name: input.name.clone(),
            schema: schema.clone(),
            own_columns: input.schema.fields().len(),
            key: key_of_input(&key, input, schema)?,
            reads: read_places(needs, schema, &plugin_name, &input.from)?,
            needs: needs.clone(),
        })
    };
    let inputs = check.inputs.iter().zip(&schemas).zip(&description.inputs).map(input).collect::<Result<_>>()?;
    let output = description.output.clone();
    Ok(CheckedStage::of(output, Operator::Cogroup(Box::new(CogroupNode { plugin, key, inputs }))))
}

/// Finds the key columns, which are those of the first input, in another one.
fn key_of_input(key: &Schema, input: &InputNode, schema: &Schema) -> Result<Vec<usize>> {
    let place = |field: &Arc<Field>| {
        let (name, needs) = (field.name(), ColumnType::of(field.data_type()));
        let Ok(place) = schema.index_of(name) else {
            return Err(Error::job(format!(
                "key `{name}`: `{}` has no such column; it has: {}",
                input.name,
                types::describe(schema)
            )));
        };
        let has = ColumnType::of(schema.field(place).data_type());
        if has != needs {
            let input = &input.name;
            return Err(Error::job(format!("key `{name}` is {needs} in the first input and {has} in `{input}`")));
        }
        Ok(place)
    };
    key.fields().iter().map(place).collect()
}

fn world_of(check: &StageCheck<'_>, spec: &PluginSpec) -> Result<World> {
    let path = spec.place(&check.graph.spec.origin.folder);
    Ok(check.host.load(&path, &LoadOptions::of(spec))?.world())
}

/// Loads a stage's plugin and asks it about this input.
fn load(check: &StageCheck<'_>, spec: &PluginSpec, inputs: &[SchemaRef]) -> Result<PluginNode> {
    let StageCheck { spec: stage, input, .. } = *check;
    let (plugin, used) = for_use(check, spec, Arc::new(check.key_schema()?))?;
    let description = plugin.describe_for(&used, inputs)?;
    let plugin_name = format!("plugin {} {}", description.name, description.version);
    let reads = read_places(&description.input, input, &plugin_name, &stage.from)?;
    Ok(PluginNode { plugin, description, stage: used, reads, before: None })
}

/// Loads a plugin, and what the stage gives it.
pub(super) fn for_use(check: &StageCheck<'_>, spec: &PluginSpec, key: SchemaRef) -> Result<(Plugin, StageUse)> {
    if let Some(grant) = &spec.grant.http {
        millstream_plugins::plugin::check_http_grant(grant).map_err(Error::job)?;
    }
    let folder = &check.graph.spec.origin.folder;
    let plugin = check.host.load(&spec.place(folder), &LoadOptions::of(spec))?;
    let used = StageUse {
        stage: check.spec.name.clone(),
        config: spec.config.to_string(),
        instance: spec.instance,
        limits: spec.limits,
        grant: granted(spec, folder)?,
        on_error: spec.on_error,
        key,
        calls_are_fixed: check.window.is_none()
            && check.event_time.is_none()
            && check.inputs.iter().all(|input| check.graph.parts_are_fixed(&input.from)),
    };
    Ok((plugin, used))
}

/// A plugin of the job as it would be with another component: `path` as the job would name it, `file` where it is, `signers` who
/// vouches for it.
pub(super) fn replace(
    mut plugin: PluginSpec,
    path: &Path,
    file: &Path,
    signers: Option<Vec<String>>,
) -> Result<PluginSpec> {
    (plugin.path, plugin.file) = (path.to_owned(), Some(file.to_owned()));
    // What the lock file pins is the version before; whoever asks for another one names its digest.
    (plugin.pinned, plugin.signers) = (None, signers);
    if plugin.package().is_none() {
        Policy::load()?.allows_path(path)?;
    }
    Ok(plugin)
}

/// What a plugin may use, with the contents of files.
pub(super) fn granted(spec: &PluginSpec, folder: &Path) -> Result<Granted> {
    let granted = Granted::of_stage(&spec.grant, folder)?;
    let GrantSpec { tcp, udp, ca, .. } = spec.grant.clone();
    let servers = tcp.iter().map(|granted| GrantSpec::server(granted));
    let (tcp, secured): (Vec<String>, Vec<bool>) = servers.map(|(server, tls)| (server.to_owned(), tls)).unzip();
    let tls = match spec.grant.has_tls() {
        false => None,
        true => {
            let tls = Tls { ca: ca.map(|ca| folder.join(ca)), ..Tls::default() };
            let config = tls.config().map_err(|refusal| Error::job(format!("`grant.tcp`: {refusal}")))?;
            let servers = tcp.iter().zip(secured).filter(|(_, tls)| *tls).map(|(server, _)| server.clone()).collect();
            Some(TlsClient { servers, config, refused: |error, name| Some(tls::refused(error, name)?.0) })
        }
    };
    Ok(Granted { tcp, udp, tls, ..granted })
}

/// Reads initial states. What is wrong with them is for the author of the job to mend.
fn initial_states(graph: &Graph, path: &Path, table: &SchemaRef, keys: usize) -> Result<RecordBatch> {
    let loaded = initial::load(&graph.spec.origin.folder.join(path), table, keys);
    loaded.map_err(|error| Error::job(format!("`initial`: {}", error.message)))
}

/// Finds the columns that a plugin reads in the input of its stage, or sink.
pub(super) fn read_places(reads: &Schema, input: &Schema, plugin_name: &str, from: &[String]) -> Result<Vec<usize>> {
    let from = from.join(", ");
    let mut places = Vec::new();
    for field in reads.fields() {
        let needs = ColumnType::of(field.data_type());
        let Ok(place) = input.index_of(field.name()) else {
            return Err(Error::job(format!(
                "{plugin_name} reads a column `{}` ({needs}), which `{from}` does not have; it has: {}",
                field.name(),
                types::describe(input),
            )));
        };
        let has = ColumnType::of(input.field(place).data_type());
        if !fits(&has, &needs) {
            return Err(Error::job(format!(
                "{plugin_name} reads column `{}` as {needs}, but in `{from}` it is {has}",
                field.name(),
            )));
        }
        places.push(place);
    }
    Ok(places)
}

/// Checks the key columns against what a plugin needs, by type and place.
fn check_key(needs: Option<&Schema>, keys: &Schema, plugin_name: &str) -> Result<()> {
    let Some(needs) = needs else { return Ok(()) };
    let kinds = |schema: &Schema| -> Vec<ColumnType> {
        schema.fields().iter().map(|field| ColumnType::of(field.data_type())).collect()
    };
    if kinds(needs) == kinds(keys) {
        return Ok(());
    }
    Err(Error::job(format!(
        "{plugin_name} needs a key of {}, and the stage's key is {}; mend `key`",
        types::describe(needs),
        types::describe(keys),
    )))
}
