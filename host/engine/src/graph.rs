//! A job with its plugins loaded and every edge type-checked: the input for building the dataflow.

mod around;
mod config;
mod connector;
pub mod counters;
mod event_time;
mod holding;
mod instances;
mod meaning;
mod paths;
mod recorded;
mod retry;
mod shares;
mod source;
mod summary;
mod writer;

pub use connector::{ConnectorSlot, ConnectorTrial};
pub use recorded::record;
pub use source::SourceNode;
pub use writer::SinkNode;

use crate::operators::stage::{InputNode, Operator, StageNode, plugin_of};
use crate::operators::stage_check::StageCheck;
use crate::operators::window::node::WindowNode;
use crate::operators::{self, enrich, newest, plugin, shape, window};
use crate::state::spill::budget::StateBudget;
use arrow::datatypes::{Field, Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_base::ids::ClockId;
use millstream_base::limits;
use millstream_base::retry::StartupRetry;
use millstream_connect::receiver::table;
use millstream_connect::{receiver, sink};
use millstream_job::connector::Kinds;
use millstream_job::spec::{JobSpec, OnError, OperatorSpec, PluginLimits, StageSpec, StateSpec};
use millstream_job::{retry_source, table_source};
use millstream_packages::lock;
use millstream_plugins::plugin::PluginHost;
use millstream_rows::batch::rejected::{RejectedRows, RejectionOrigin, mixed_late_schema};
use millstream_rows::batch::types::{self, ColumnType};
use millstream_rows::decode;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A checked job.
pub struct Graph {
    /// The job as its author wrote it, with an added source for each table of a stage.
    pub spec: JobSpec,
    /// Stages in topological order.
    pub stages: Vec<StageNode>,
    /// Every stream by name: `<name>`, `<name>.rejected`, and other side outputs of stages.
    pub streams: BTreeMap<String, SchemaRef>,
    /// The clocks that the times in the rows of a stream follow.
    pub clocks: BTreeMap<String, BTreeSet<ClockId>>,
    /// The sources that are plugins, by name.
    pub readers: BTreeMap<String, Arc<ConnectorSlot<SourceNode>>>,
    /// The sinks that are plugins, by name.
    pub writers: BTreeMap<String, Arc<ConnectorSlot<SinkNode>>>,
    /// Whether startup waits for unreachable databases.
    pub servers: StartupRetry,
    /// The memory budget of state, if it may be in files.
    pub budget: Option<Arc<StateBudget>>,
    /// The kinds of sources and sinks of the program.
    kinds: &'static Kinds,
    /// Loads plugins, including later ones.
    host: PluginHost,
}

/// Returns the memory budget of state in the job.
fn budget(state: &StateSpec, spec: &JobSpec) -> Arc<StateBudget> {
    let temporary = || std::env::var_os("TMPDIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let dir = match &state.dir {
        Some(dir) => spec.origin.dir.join(dir),
        None => temporary().unwrap_or_else(|| PathBuf::from("/var/tmp")),
    };
    StateBudget::new(state.memory_bytes_max, dir)
}

#[cfg(test)]
impl Graph {
    /// Creates the graph of a job without its stages, if its plugins do not matter.
    pub fn without_stages(spec: JobSpec) -> Graph {
        let host = PluginHost::new().unwrap();
        let (readers, writers, servers) = (BTreeMap::new(), BTreeMap::new(), StartupRetry::No);
        let (stages, streams, clocks) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let kinds = millstream_connectors::kinds::all();
        Graph { stages, streams, clocks, readers, writers, servers, budget: None, kinds, host, spec }
    }
}

impl Graph {
    /// Checks a job and loads its plugins. Nothing is started or written. `owns_sinks`: this process will open the sinks of a new job, so their
    /// targets are checked, too; for a job that continues see [`Graph::check_sinks`]. `servers`: whether to wait for unreachable databases, now and
    /// until the job runs.
    pub fn resolve(
        spec: JobSpec,
        kinds: &'static Kinds,
        host: &PluginHost,
        owns_sinks: bool,
        servers: StartupRetry,
    ) -> Result<Graph> {
        let mut spec = spec;
        millstream_job::split_queries(&mut spec)?;
        millstream_job::check(&spec)?;
        millstream_job::note_keys_of_changes(&mut spec);
        lock::resolve::resolve(&mut spec)?;
        let (stages, streams, clocks) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let readers = source::load(&mut spec, host)?;
        let writers = BTreeMap::new();
        let budget = spec.state.as_ref().map(|state| budget(state, &spec));
        let host = host.clone();
        let mut graph = Graph { stages, streams, clocks, readers, writers, servers, budget, kinds, host, spec };
        graph.spec.sources.append(&mut enrich::check::sources(&graph.spec, servers)?);
        for (number, source) in (0u32..).zip(&graph.spec.sources) {
            receiver::check(source, &graph.spec.origin)?;
            let schema = decode::Decoder::new(source.decoder_spec()).schema();
            graph.streams.insert(source.name.clone(), schema);
            graph.streams.insert(rejected_name(&source.name), decode::rejected_schema());
            for name in [source.name.clone(), rejected_name(&source.name)] {
                graph.clocks.insert(name, [ClockId::for_stream(number)].into());
            }
        }
        graph.spec.sources.append(&mut retry::sources(&graph.spec, kinds));
        for index in millstream_job::order(&graph.spec)? {
            let stage = &graph.spec.stages[index];
            let node = graph
                .stage(stage, &graph.host)
                .map_err(|error| config::with_location(error, stage, &graph.spec.origin))?;
            retry::settle(&mut graph, &node);
            graph.streams.insert(node.name.clone(), node.output.clone());
            graph.streams.insert(rejected_name(&node.name), node.rejected.schema.clone());
            graph.streams.extend(node.sides.iter().cloned());
            let clocks = graph.clocks_of(&node);
            let streams = [node.name.clone(), rejected_name(&node.name)].into_iter();
            for name in streams.chain(node.sides.iter().map(|(name, _)| name.clone())) {
                graph.clocks.insert(name, clocks.clone());
            }
            graph.stages.push(node);
        }
        for spec in &graph.spec.sinks {
            let schema = graph.union(&spec.from).map_err(|error| {
                let location = graph.spec.origin.at(&format!("sinks.{}.from", spec.name));
                error.within(format!("{location}sink `{}`", spec.name))
            })?;
            shares::check(&graph, spec)?;
            if owns_sinks {
                sink::check(spec, &schema, &graph.spec.origin, graph.spec.checkpoint.is_some(), None, servers)?;
            }
        }
        graph.writers = writer::load(&graph)?;
        if owns_sinks {
            graph.check_tables()?;
        }
        paths::check(&graph.spec)?;
        Ok(graph)
    }

    /// Returns a stage with another plugin. `path` is its name in the job, `file` its component, `signers` its trusted signers.
    /// [`crate::running::upgrade`] checks that the rest of the job does not notice.
    pub fn with_plugin(
        &self,
        stage: &str,
        path: &Path,
        file: &Path,
        signers: Option<Vec<String>>,
    ) -> Result<StageNode> {
        let spec = self.spec.stages.iter().find(|spec| spec.name == stage);
        let Some(mut spec) = spec.cloned() else {
            return Err(Error::job(format!("the job `{}` has no stage `{stage}`", self.spec.name)));
        };
        match &mut spec.operator {
            OperatorSpec::Plugin(of) | OperatorSpec::Cogroup { plugin: of, .. } => {
                *of = plugin::check::replace(of.clone(), path, file, signers)?;
            }
            _ => return Err(Error::job(format!("stage `{stage}` has no plugin of its own to replace"))),
        }
        self.stage(&spec, &self.host).map_err(|error| error.within(format!("stage `{stage}`")))
    }

    /// Checks the targets of the sinks. `owner_id`: the id of the job that continues from an existing checkpoint, whose rows may be there already.
    pub fn check_sinks(&self, owner_id: Option<&str>) -> Result<()> {
        for spec in &self.spec.sinks {
            let schema = self.union(&spec.from)?;
            sink::check(spec, &schema, &self.spec.origin, self.spec.checkpoint.is_some(), owner_id, self.servers)?;
        }
        Ok(())
    }

    /// Checks the files of tables, which a new job needs: a job that continues has them in its checkpoint.
    pub fn check_tables(&self) -> Result<()> {
        self.spec.sources.iter().try_for_each(|source| match source.kind.table() {
            Some(enrich) => table::check_file(enrich, &self.spec.origin)
                .map_err(|error| error.within(table_source::error_prefix(source, &self.spec.origin))),
            None => Ok(()),
        })
    }

    /// Returns the columns of several merged streams, which must be the same.
    pub fn union(&self, from: &[String]) -> Result<SchemaRef> {
        let stream = |name: &String| {
            let schema = self.streams.get(name);
            schema.ok_or_else(|| Error::job(format!("stream `{name}` not found")))
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
        // A stream merged from several may contain nulls in a column that is never null in one of them.
        let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        Ok(if others.is_empty() { schema.clone() } else { Arc::new(Schema::new(fields.collect::<Vec<Field>>())) })
    }

    fn stage(&self, stage: &StageSpec, host: &PluginHost) -> Result<StageNode> {
        let inputs = self.inputs(stage)?;
        let Some(first) = inputs.first() else { return Err(Error::job("`from` is empty")) };
        let event_time = event_time::check(self, stage, &inputs)?;
        let window = window::check::check(&self.spec, stage)?;
        let input = window::check::operator_input(&self.spec, stage, window.as_ref(), &inputs, &first.schema, host)?;
        let key = key_indices(stage, &input)?;
        let check = StageCheck {
            job: &self.spec,
            spec: stage,
            inputs: &inputs,
            input: &input,
            key: &key,
            window: window.as_ref(),
            event_time: event_time.as_ref(),
            parts_are_fixed: !stage.plugins().is_empty()
                && inputs.iter().all(|input| self.parts_are_fixed(&input.from)),
            budget: self.budget.as_ref(),
            host,
        };
        let mut made = operators::check::operator(&check)?;
        let mut tables = event_time::tables(&check);
        tables.append(&mut window::check::tables(&check, &made.operator)?);
        tables.append(&mut made.tables);
        let shape = shape::check::check(stage, &made.output)?;
        let output = shape.as_ref().map_or(made.output, |shape| shape.output.clone());
        distinct_columns(&output)?;
        let late = event_time.as_ref().map(|_| {
            let columns = if inputs.len() == 1 { first.schema.clone() } else { mixed_late_schema() };
            (late_name(&stage.name), columns)
        });
        made.branches.extend(newest::check::replaced_stream(&self.spec, stage, &output));
        let branches = made.branches.into_iter().map(|(name, schema)| (format!("{}.{name}", stage.name), schema));
        // Rows replaced in sessions are emitted in addition to those of an input, and are not rejected.
        let own = if matches!(stage.operator, OperatorSpec::Newest { .. }) { 1 } else { inputs.len() };
        let rejected = RejectedRows::new(&first.schema, own, rejection_origin(stage, &made.operator));
        let rejected = rejected.at_most(&stage.name, rejected_bytes_max(stage));
        Ok(StageNode {
            name: stage.name.clone(),
            sides: late.into_iter().chain(branches).collect(),
            operator: made.operator,
            inputs,
            input,
            key,
            output,
            rejected,
            window,
            event_time,
            shape,
            tables,
        })
    }

    /// Returns the inputs of a stage: one union, or several separate inputs.
    fn inputs(&self, stage: &StageSpec) -> Result<Vec<InputNode>> {
        if let OperatorSpec::Latest(latest) = &stage.operator {
            let name = stage.from.first().cloned().unwrap_or_default();
            let rows = InputNode { name, schema: self.union(&stage.from)?, from: stage.from.clone() };
            let from = vec![latest.stream.clone()];
            return Ok(vec![rows, InputNode { name: latest.stream.clone(), schema: self.union(&from)?, from }]);
        }
        if !stage.reads_side_by_side() {
            let name = stage.from.first().cloned().unwrap_or_default();
            let mut input = vec![InputNode { name, schema: self.union(&stage.from)?, from: stage.from.clone() }];
            retry::join(&self.spec, stage, &mut input);
            input.extend(input.first().and_then(|rows| newest::check::replaced_input(&self.spec, stage, rows)));
            return Ok(input);
        }
        let input = |name: &String| {
            let from = vec![name.clone()];
            Ok(InputNode { name: name.clone(), schema: self.union(&from)?, from })
        };
        let mut inputs = stage.reads().map(input).collect::<Result<Vec<_>>>()?;
        retry::join(&self.spec, stage, &mut inputs);
        Ok(inputs)
    }

    /// Returns the clocks that the rows of a stage follow: those of its inputs if parts only pass through it.
    fn clocks_of(&self, stage: &StageNode) -> BTreeSet<ClockId> {
        if !stage.keeps_parts() {
            return [ClockId::MADE].into();
        }
        match (&stage.operator, stage.inputs.as_slice()) {
            // The rows of the other input form a table, and are not emitted.
            (Operator::Latest(_), [rows, ..]) => self.clocks_of_inputs(std::slice::from_ref(rows)),
            (_, inputs) => self.clocks_of_inputs(inputs),
        }
    }

    /// Returns whether the parts of these streams hold the same rows with any number of workers.
    fn parts_are_fixed(&self, streams: &[String]) -> bool {
        self.all_pass(streams, |stage| {
            !matches!(stage.operator, Operator::Simple(_) | Operator::Enrich(_) | Operator::Latest(_))
        })
    }

    /// Returns whether these streams come from sources only through stages without a key that parts pass through, each of which satisfies `good`.
    fn all_pass(&self, streams: &[String], good: fn(&StageNode) -> bool) -> bool {
        // Stage by stage in topological order: a job may have very many paths.
        let mut pass_through = BTreeSet::new();
        let all = |streams: &[String], pass_through: &BTreeSet<&str>| {
            streams
                .iter()
                .all(|stream| self.producer(stream).is_none_or(|stage| pass_through.contains(stage.name.as_str())))
        };
        for stage in &self.stages {
            let passes = stage.keeps_parts() && stage.key.is_empty() && good(stage);
            if passes && stage.inputs.iter().all(|input| all(&input.from, &pass_through)) {
                pass_through.insert(stage.name.as_str());
            }
        }
        all(streams, &pass_through)
    }

    /// Returns for how many microseconds windows of processing time may hold rows back upstream of a stage, by its name. Stages without such windows
    /// are omitted.
    pub fn held_back_us(&self) -> BTreeMap<&str, i64> {
        let mut delays: BTreeMap<&str, i64> = BTreeMap::new();
        for stage in &self.stages {
            let inputs = stage.inputs.iter().flat_map(|input| &input.from);
            let by_each = inputs.filter_map(|stream| self.producer(stream)).map(|maker| {
                let own = match maker.window {
                    Some(WindowNode::Batches { size_us, .. }) => size_us,
                    _ => 0,
                };
                delays.get(maker.name.as_str()).copied().unwrap_or_default().saturating_add(own)
            });
            if let Some(longest) = by_each.max().filter(|longest| *longest > 0) {
                delays.insert(stage.name.as_str(), longest);
            }
        }
        delays
    }

    /// Returns the stage that emits a stream.
    fn producer(&self, stream: &str) -> Option<&StageNode> {
        // Retried rows of a stage have its name, but come from a source.
        self.stages.iter().find(|stage| stage.name == part_of(stream) && !retry_source::is_name(stream))
    }

    /// Returns the clocks that the rows of these inputs follow.
    fn clocks_of_inputs(&self, inputs: &[InputNode]) -> BTreeSet<ClockId> {
        let streams: Vec<&String> = inputs.iter().flat_map(|input| &input.from).collect();
        let of = |name: &String| {
            let clocks = self.clocks.get(name).cloned().unwrap_or_default();
            clocks.into_iter().map(|clock_id| self.clock_among(name, streams.len(), clock_id)).collect::<Vec<_>>()
        };
        streams.iter().flat_map(|name| of(name)).collect()
    }

    /// Returns the clock of a part of a stream in a stage that reads this number of streams: rows made by different stages keep different clocks.
    pub fn clock_among(&self, stream: &str, streams: usize, clock_id: ClockId) -> ClockId {
        if clock_id != ClockId::MADE || streams == 1 {
            return clock_id;
        }
        let index = self.spec.stages.iter().position(|stage| stage.name == part_of(stream)).unwrap_or_default();
        ClockId::for_stream((self.spec.sources.len() + index) as u32)
    }
}

/// Returns how many bytes of rows a stage may reject in a batch.
fn rejected_bytes_max(stage: &StageSpec) -> u64 {
    let limits = stage.plugins().first().map_or_else(PluginLimits::default, |plugin| plugin.limits);
    limits.rejected_bytes_max
}

/// Returns the origin of rejections for a stage with `on_error = "reject"`.
fn rejection_origin(stage: &StageSpec, operator: &Operator) -> Option<RejectionOrigin> {
    let node = plugin_of(operator).filter(|node| node.stage.on_error == OnError::Reject)?;
    Some(RejectionOrigin {
        stage: stage.name.clone(),
        plugin: node.description.name.clone(),
        version: node.description.version.clone(),
        digest: node.plugin.digest(),
    })
}

/// Returns the source or stage that emits a stream: names have no dots, and side outputs have one.
fn part_of(stream: &str) -> &str {
    stream.split('.').next().unwrap_or(stream)
}

/// Returns the name of the stream of rows that a source or stage rejects.
pub fn rejected_name(name: &str) -> String {
    format!("{name}.rejected")
}

/// Returns the name of the stream of late rows.
pub fn late_name(name: &str) -> String {
    format!("{name}.late")
}

/// Returns how much a source may buffer for future batches: one batch, or less if batches follow each other immediately.
pub fn inbox_bytes_max(spec: &JobSpec, bytes_per_batch_max: u64) -> u64 {
    if spec.batch.is_zero() { limits::INBOX_BYTES_MAX.min(bytes_per_batch_max) } else { bytes_per_batch_max }
}

fn key_indices(stage: &StageSpec, input: &Schema) -> Result<Vec<usize>> {
    let mut indices = Vec::new();
    for name in &stage.key {
        let index = types::column(input, name).map_err(|e| e.within(format!("key `{name}`")))?;
        let kind = ColumnType::from_arrow(input.field(index).data_type());
        if !kind.is_kept() {
            return Err(Error::job(format!(
                "key `{name}` is of type {kind}, which cannot be a key; convert it to text in a stage with `select`"
            )));
        }
        indices.push(index);
    }
    Ok(indices)
}

fn distinct_columns(schema: &Schema) -> Result<()> {
    let mut names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(Error::job(format!(
            "its rows would have two columns `{}` ({}); rename one of them",
            pair[0],
            types::describe(schema),
        ))),
    }
}
