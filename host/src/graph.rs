//! A job with its plugins loaded and every edge type-checked: what the dataflow is built from.

mod paths;

use crate::aggregate::builtin::Builtin;
use crate::batch::decode;
use crate::batch::rejected::rejected_schema;
use crate::batch::types::{self, ColumnType};
use crate::error::{Error, Result};
use crate::job::{
    self,
    spec::{JobSpec, OperatorSpec, PluginSpec, StageSpec, UpdateEmit, UpdateOn},
};
use crate::plugin::{Description, Plugin, PluginHost, StageUse, World};
use crate::{limits, receiver, sink, state};
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// A checked job.
pub struct Graph {
    /// The job as its author wrote it.
    pub spec: JobSpec,
    /// Stages in an order in which each comes after those that it reads.
    pub stages: Vec<StageNode>,
    /// Every stream by name, `<name>` and `<name>.rejected`.
    pub streams: BTreeMap<String, SchemaRef>,
}

/// A checked stage.
#[derive(Clone)]
pub struct StageNode {
    /// Its name.
    pub name: String,
    /// The streams that it reads, by name.
    pub from: Vec<String>,
    /// The columns of its input.
    pub input: SchemaRef,
    /// Places of its key columns in the input.
    pub key: Vec<usize>,
    /// The columns of its rows.
    pub output: SchemaRef,
    /// The columns of its rejected rows.
    pub rejected: SchemaRef,
    /// What it does.
    pub operator: Operator,
}

/// What a stage does, ready to be built.
#[derive(Clone)]
pub enum Operator {
    /// Passes rows on.
    Union,
    /// A plugin of world `transform`.
    Transform(PluginNode),
    /// A plugin of world `update`.
    Update(PluginNode, Box<UpdateNode>),
    /// A plugin of world `aggregate`.
    Reduce(PluginNode),
    /// Built-in aggregates.
    Aggregate(Builtin),
}

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

impl Graph {
    /// Checks a job and loads its plugins. Nothing is started or written. `owns_sinks`: this process will open the sinks
    /// of a job that begins, so what they write to is looked at, too; of one that goes on: [`Graph::check_sinks`].
    pub fn resolve(spec: JobSpec, host: &PluginHost, owns_sinks: bool) -> Result<Graph> {
        job::check(&spec)?;
        let mut graph = Graph { stages: Vec::new(), streams: BTreeMap::new(), spec };
        for source in &graph.spec.sources {
            receiver::check(source, &graph.spec.origin)?;
            let schema = decode::Decoder::new(source).schema();
            graph.streams.insert(source.name.clone(), schema);
            graph.streams.insert(rejected_name(&source.name), decode::rejected_schema());
        }
        for index in job::order(&graph.spec)? {
            let stage = &graph.spec.stages[index];
            let node = graph.stage(stage, host).map_err(|error| {
                let place = graph.spec.origin.at(&format!("stages.{}", stage.name));
                error.within(format!("{place}stage `{}`", stage.name))
            })?;
            graph.streams.insert(node.name.clone(), node.output.clone());
            graph.streams.insert(rejected_name(&node.name), node.rejected.clone());
            graph.stages.push(node);
        }
        for spec in &graph.spec.sinks {
            let schema = graph.union(&spec.from).map_err(|error| {
                let place = graph.spec.origin.at(&format!("sinks.{}.from", spec.name));
                error.within(format!("{place}sink `{}`", spec.name))
            })?;
            if owns_sinks {
                sink::check(spec, &schema, &graph.spec.origin, None)?;
            }
        }
        paths::check(&graph.spec)?;
        Ok(graph)
    }

    /// Looks at what the sinks write to. `owner_id`: the id of the job that goes on from an existing checkpoint, whose
    /// rows may be there already.
    pub fn check_sinks(&self, owner_id: Option<&str>) -> Result<()> {
        let mut sinks = self.spec.sinks.iter();
        sinks.try_for_each(|spec| sink::check(spec, &self.union(&spec.from)?, &self.spec.origin, owner_id))
    }

    /// The columns that several streams have in common: all must have the same.
    pub fn union(&self, from: &[String]) -> Result<SchemaRef> {
        let stream = |name: &String| {
            let schema = self.streams.get(name);
            schema.ok_or_else(|| Error::job(format!("there is no stream `{name}`")))
        };
        let Some((first, others)) = from.split_first() else { return Err(Error::job("`from` is empty")) };
        let schema = stream(first)?;
        for name in others {
            let other = stream(name)?;
            if types::describe(schema) != types::describe(other) {
                return Err(Error::job(format!(
                    "`{first}` and `{name}` cannot be joined into one stream, as their columns differ: `{first}` has \
                     {}; `{name}` has {}",
                    types::describe(schema),
                    types::describe(other),
                )));
            }
        }
        // A stream of several may hold a null in a column that one of them never leaves empty.
        let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        Ok(if others.is_empty() { schema.clone() } else { Arc::new(Schema::new(fields.collect::<Vec<Field>>())) })
    }

    fn stage(&self, stage: &StageSpec, host: &PluginHost) -> Result<StageNode> {
        let input = self.union(&stage.from)?;
        let key = key_places(stage, &input)?;
        let rejected = rejected_schema(&input);
        let (output, operator) = match &stage.operator {
            OperatorSpec::Union => (input.clone(), Operator::Union),
            OperatorSpec::Aggregate(functions) => {
                let builtin = Builtin::new(functions, key.clone(), &input)?;
                (builtin.output(), Operator::Aggregate(builtin))
            }
            OperatorSpec::Plugin(plugin) => self.plugin(stage, plugin, &input, &key, &rejected, host)?,
        };
        distinct_columns(&output)?;
        let (name, from) = (stage.name.clone(), stage.from.clone());
        Ok(StageNode { name, from, input, key, output, rejected, operator })
    }

    fn plugin(
        &self,
        stage: &StageSpec,
        spec: &PluginSpec,
        input: &SchemaRef,
        key: &[usize],
        rejected: &SchemaRef,
        host: &PluginHost,
    ) -> Result<(SchemaRef, Operator)> {
        let node = self.load(stage, spec, input, key, host)?;
        let description = &node.description;
        let keys = input.project(key).map_err(|e| Error::bug(e.to_string()))?;
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
            World::Transform => Ok((description.output.clone(), Operator::Transform(node))),
            World::Aggregate => {
                let fields = keys.fields().iter().chain(description.output.fields()).cloned();
                let output = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
                Ok((output, Operator::Reduce(node)))
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
                    Some(path) => Some(self.initial(path, &table, key.len())?),
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
                Ok((output, Operator::Update(node, Box::new(update))))
            }
        }
    }

    /// Loads a stage's plugin and asks it about this input.
    fn load(
        &self,
        stage: &StageSpec,
        spec: &PluginSpec,
        input: &Schema,
        key: &[usize],
        host: &PluginHost,
    ) -> Result<PluginNode> {
        let plugin = host.load(&self.spec.origin.folder.join(&spec.path))?;
        let config = spec.config.to_string();
        let key: SchemaRef = Arc::new(input.project(key).map_err(|e| Error::bug(e.to_string()))?);
        let description = plugin.describe(&config, input, &key)?;
        let told = format!("plugin {} {}", description.name, description.version);
        let reads = read_places(&description.input, input, &told, &stage.from)?;
        let mut files = BTreeMap::new();
        for (name, path) in &spec.files {
            let path = self.spec.origin.folder.join(path);
            let bytes = std::fs::read(&path)
                .map_err(|e| Error::job(format!("granted file `{name}`: cannot read {}: {e}", path.display())))?;
            files.insert(name.clone(), bytes.into());
        }
        let stage =
            StageUse { stage: stage.name.clone(), config, instance: spec.instance, limits: spec.limits, files, key };
        Ok(PluginNode { plugin, description, stage, reads })
    }

    /// Reads initial states. What is wrong with them is for the author of the job to mend.
    fn initial(&self, path: &std::path::Path, table: &SchemaRef, keys: usize) -> Result<RecordBatch> {
        let loaded = state::load_initial(&self.spec.origin.folder.join(path), table, keys);
        loaded.map_err(|error| Error::job(format!("`initial`: {}", error.message)))
    }

    /// The stages that are plugins, by name.
    pub fn plugins(&self) -> impl Iterator<Item = (&str, &PluginNode)> {
        self.stages.iter().filter_map(|stage| match &stage.operator {
            Operator::Transform(node) | Operator::Update(node, _) | Operator::Reduce(node) => {
                Some((stage.name.as_str(), node))
            }
            Operator::Union | Operator::Aggregate(_) => None,
        })
    }

    /// The same for processes that run the same job: with the same streams, columns, plugins and batch interval.
    pub fn digest(&self) -> u64 {
        let JobSpec { name, batch, clock, .. } = &self.spec;
        xxhash_rust::xxh3::xxh3_64(format!("{name} {batch:?} {clock:?}\n{}", self.summary()).as_bytes())
    }

    /// The graph for `millstream validate`: a line for each source, stage and sink, with its columns.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        let columns = |name: &str| self.streams.get(name).map_or(String::new(), |schema| types::describe(schema));
        for source in &self.spec.sources {
            let _ = writeln!(text, "source  {:<16} {}", source.name, columns(&source.name));
        }
        for stage in &self.stages {
            let _ = writeln!(text, "stage   {:<16} {}", stage.name, columns(&stage.name));
            if let Operator::Transform(node) | Operator::Update(node, _) | Operator::Reduce(node) = &stage.operator {
                let told = &node.description;
                let _ = writeln!(
                    text,
                    "        {:<16} plugin {} {} ({}), {}",
                    "",
                    told.name,
                    told.version,
                    node.plugin.world(),
                    node.plugin.digest(),
                );
            }
        }
        for sink in &self.spec.sinks {
            let _ = writeln!(text, "sink    {:<16} from {}", sink.name, sink.from.join(", "));
        }
        text
    }
}

/// The name of the stream of rows that a source or stage refused.
pub fn rejected_name(name: &str) -> String {
    format!("{name}.rejected")
}

/// How much a source may hold for batches to come: a batch, or less where batches follow each other at once.
pub fn inbox_bytes_max(spec: &JobSpec, bytes_per_batch_max: u64) -> u64 {
    if spec.batch.is_zero() { limits::INBOX_BYTES_MAX.min(bytes_per_batch_max) } else { bytes_per_batch_max }
}

fn key_places(stage: &StageSpec, input: &Schema) -> Result<Vec<usize>> {
    let mut places = Vec::new();
    for name in &stage.key {
        let place = types::column(input, name).map_err(|e| e.within(format!("key `{name}`")))?;
        if let ColumnType::Arrow(other) = ColumnType::of(input.field(place).data_type()) {
            return Err(Error::job(format!("key `{name}` is of type {other}, which cannot be a key")));
        }
        places.push(place);
    }
    Ok(places)
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

fn distinct_columns(schema: &Schema) -> Result<()> {
    let mut names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(Error::job(format!(
            "its rows would have two columns `{}` ({}); name one of them otherwise",
            pair[0],
            types::describe(schema),
        ))),
    }
}
