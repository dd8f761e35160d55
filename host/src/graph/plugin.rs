//! Stages with a plugin: loads it, asks it about its input, and checks key and columns.

use super::{Graph, Made, Making, Operator, window};
use crate::batch::types::{self, ColumnType};
use crate::error::{Error, Result};
use crate::job::spec::{PluginSpec, UpdateEmit, UpdateOn};
use crate::plugin::{Description, Plugin, StageUse, World};
use crate::state;
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A plugin as a stage uses it.
#[derive(Clone)]
pub struct PluginNode {
    /// The plugin.
    pub plugin: Plugin,
    /// What it said of itself for this stage.
    pub description: Description,
    /// What the stage gives it.
    pub stage: StageUse,
    /// Places in the input of the columns that it reads.
    pub reads: Vec<usize>,
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
    /// The columns of its rejected rows.
    pub rejected: SchemaRef,
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
}

/// Checks a stage with a plugin, of any world.
pub(super) fn check(making: &Making<'_>, spec: &PluginSpec) -> Result<Made> {
    let node = load(making, spec)?;
    let Making { spec: stage, input, key, rejected, .. } = *making;
    let description = &node.description;
    let keys = making.key_schema()?;
    let told = format!("plugin {} {}", description.name, description.version);
    check_key(description.key.as_deref(), &keys, &told)?;
    let world = node.plugin.world();
    let options = &spec.update;
    let any_option =
        options.on.is_some() || options.emit.is_some() || options.timeout.is_some() || options.initial.is_some();
    if world != World::Update && any_option {
        return Err(Error::job(format!(
            "`on`, `emit`, `timeout` and `initial` are for plugins of world update, and {told} is of world \
                 {world}; remove them"
        )));
    }
    match world {
        World::Transform => Ok(Made::of(description.output.clone(), Operator::Transform(node))),
        World::Aggregate => {
            let fields = description.output.fields().iter().cloned().collect();
            let output = window::with_bounds_behind(&keys, making.window, fields);
            Ok(Made::of(output, Operator::Reduce(node)))
        }
        World::Update if key.is_empty() => {
            Err(Error::job(format!("{told} keeps a state by key: write which columns, as `key = \"user\"`")))
        }
        World::Update => {
            let fields = keys.fields().iter().chain(description.state.fields()).cloned();
            let table = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            let emit = options.emit.unwrap_or_default();
            let output = if emit == UpdateEmit::Rows { description.output.clone() } else { table.clone() };
            let initial = match &options.initial {
                None => None,
                Some(path) => Some(initial(making.graph, path, &table, key.len())?),
            };
            let update = UpdateNode {
                name: stage.name.clone(),
                input: input.clone(),
                key: key.to_vec(),
                reads: node.reads.clone(),
                output: output.clone(),
                rejected: rejected.clone(),
                description: description.clone(),
                on: options.on.unwrap_or_default(),
                emit,
                timeout: options.timeout,
                initial,
            };
            let tables = vec![state::update::table_of(&update)];
            Ok(Made { tables, ..Made::of(output, Operator::Update(node, Box::new(update))) })
        }
    }
}

/// What a stage with a plugin of world `cogroup` needs.
#[derive(Clone)]
pub struct CogroupNode {}

/// Checks a stage with a plugin of world `cogroup`.
pub(super) fn check_cogroup(making: &Making<'_>, spec: &PluginSpec) -> Result<Made> {
    let _ = (making, spec);
    Err(Error::job("`cogroup` is not available in this version"))
}

/// Loads a stage's plugin and asks it about this input.
fn load(making: &Making<'_>, spec: &PluginSpec) -> Result<PluginNode> {
    let Making { graph, spec: stage, input, host, .. } = *making;
    let folder = &graph.spec.origin.folder;
    let plugin = host.load(&folder.join(&spec.path))?;
    let config = spec.config.to_string();
    let key: SchemaRef = Arc::new(making.key_schema()?);
    let description = plugin.describe(&config, input, &key)?;
    let told = format!("plugin {} {}", description.name, description.version);
    let reads = read_places(&description.input, input, &told, &stage.from)?;
    let mut files = BTreeMap::new();
    for (name, path) in &spec.files {
        let path = folder.join(path);
        let bytes = std::fs::read(&path)
            .map_err(|e| Error::job(format!("granted file `{name}`: cannot read {}: {e}", path.display())))?;
        files.insert(name.clone(), bytes.into());
    }
    let stage =
        StageUse { stage: stage.name.clone(), config, instance: spec.instance, limits: spec.limits, files, key };
    Ok(PluginNode { plugin, description, stage, reads })
}

/// Reads initial states. What is wrong with them is for the author of the job to mend.
fn initial(graph: &Graph, path: &Path, table: &SchemaRef, keys: usize) -> Result<RecordBatch> {
    let loaded = state::load_initial(&graph.spec.origin.folder.join(path), table, keys);
    loaded.map_err(|error| Error::job(format!("`initial`: {}", error.message)))
}

/// Finds the columns that a plugin reads in the stage's input.
fn read_places(reads: &Schema, input: &Schema, told: &str, from: &[String]) -> Result<Vec<usize>> {
    let from = from.join(", ");
    let mut places = Vec::new();
    for field in reads.fields() {
        let needs = ColumnType::of(field.data_type());
        let Ok(place) = input.index_of(field.name()) else {
            return Err(Error::job(format!(
                "{told} reads a column `{}` ({needs}), which `{from}` does not have; it has: {}",
                field.name(),
                types::describe(input),
            )));
        };
        let has = ColumnType::of(input.field(place).data_type());
        if has != needs {
            return Err(Error::job(format!(
                "{told} reads column `{}` as {needs}, but in `{from}` it is {has}",
                field.name(),
            )));
        }
        places.push(place);
    }
    Ok(places)
}

/// Checks the key columns against what a plugin needs, by type and place.
fn check_key(needs: Option<&Schema>, keys: &Schema, told: &str) -> Result<()> {
    let Some(needs) = needs else { return Ok(()) };
    let kinds = |schema: &Schema| -> Vec<ColumnType> {
        schema.fields().iter().map(|field| ColumnType::of(field.data_type())).collect()
    };
    if kinds(needs) == kinds(keys) {
        return Ok(());
    }
    Err(Error::job(format!(
        "{told} needs a key of {}, and the stage's key is {}; mend `key`",
        types::describe(needs),
        types::describe(keys),
    )))
}
