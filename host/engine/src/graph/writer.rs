//! Sinks that are plugins: each is loaded, and given the columns of its rows.

use super::Graph;
use super::connector::ConnectorSlot;
use crate::operators::plugin::check::{granted, read_indexes, replace};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::owner::Owner;
use millstream_connect::sink::plugin::{PluginWriter, committed};
use millstream_job::spec::{JobSpec, PluginSpec, SinkKind, SinkSpec};
use millstream_metrics::{Counts, PluginId};
use millstream_plugins::plugin::{
    ConnectorTally, Description, LoadOptions, Plugin, PluginHost, StageUse, World, Writer,
};
use millstream_rows::batch::rejected::RejectedRow;
use millstream_rows::batch::types;
use millstream_rows::batch::writing::{WriteBatches, WriteError};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A plugin that is a sink.
pub struct SinkNode {
    /// The plugin.
    pub plugin: Plugin,
    /// The plugin's description of itself.
    pub description: Description,
    used: StageUse,
    /// The indices of the columns that it reads.
    reads: Vec<usize>,
    /// The costs and counters of all its writers: they are opened before the job has metrics.
    tally: ConnectorTally,
}

impl SinkNode {
    fn writer(&self) -> Result<Writer> {
        let mut writer = self.plugin.writer(self.used.clone(), &self.description, self.reads.clone())?;
        writer.tally_in(&self.tally);
        Ok(writer)
    }

    /// Returns the last batch that it reports to have of a job with this name and id.
    pub fn stored_batch(&self, job: &str, job_id: &str) -> Result<Option<BatchId>, String> {
        let mut writer = self.writer().map_err(|error| error.message)?;
        match writer.committed(job, job_id) {
            Ok(stored_batch) => Ok(stored_batch),
            Err(WriteError::Transient(why)) => Err(why),
            Err(WriteError::Permanent(error)) => Err(error.message),
        }
    }

    /// Connects the costs and counters of its plugin to the counts of the sink.
    pub fn share_tally(&self, counts: &Counts) {
        counts.share_tally(PluginId::new(&self.plugin, &self.description), &self.tally);
    }

    /// Returns whether the plugin may count.
    pub fn counts(&self) -> bool {
        self.plugin.uses("metrics")
    }

    /// Describes it, for `millstream validate`.
    pub(super) fn lines(&self) -> [String; 2] {
        let Description { name, version, input, exactly_once, .. } = &self.description;
        let promise = match exactly_once {
            true => "exactly once, as its plugin declares: the rows of a batch and its ID are written atomically",
            false => {
                "at least once, as its plugin declares: after a crash or a lost connection rows are written \
                again"
            }
        };
        [format!("plugin {name} {version} reads {}", types::describe(input)), promise.to_owned()]
    }
}

impl ConnectorSlot<SinkNode> {
    /// Creates a writer that uses the current version of the sink at the start of a batch.
    pub fn writer(self: &Arc<Self>) -> Result<PluginWriter> {
        let (number, node) = self.current();
        let writer = VersionedWriter { writer: node.writer()?, number, slot: self.clone() };
        // Upgrades do not change the guarantee.
        Ok(PluginWriter { writer: Box::new(writer), exactly_once: node.description.exactly_once })
    }
}

/// Writes with the current version of the sink.
struct VersionedWriter {
    slot: Arc<ConnectorSlot<SinkNode>>,
    writer: Writer,
    /// The number of the version that writes.
    number: u64,
}

impl VersionedWriter {
    /// Recreates the writer if another version is to be called.
    fn renew(&mut self) -> Result<(), WriteError> {
        if self.number != self.slot.number() {
            let (number, node) = self.slot.current();
            self.writer = node.writer().map_err(WriteError::Permanent)?;
            self.number = number;
        }
        Ok(())
    }

    /// Converts the result of a call. A permanent error is transient if another version is to be called.
    fn map_error<T>(&mut self, result: Result<T, WriteError>) -> Result<T, WriteError> {
        match result {
            Err(WriteError::Permanent(error)) => Err(self.fails(error)),
            result => result,
        }
    }
}

impl WriteBatches for VersionedWriter {
    fn committed(&mut self, job: &str, job_id: &str) -> Result<Option<BatchId>, WriteError> {
        self.writer.committed(job, job_id)
    }

    fn is_open(&self) -> bool {
        self.writer.is_open() && self.number == self.slot.number()
    }

    fn open(&mut self, owner: &Owner) -> Result<Option<BatchId>, WriteError> {
        self.renew()?;
        let stored_batch = self.writer.open(owner);
        self.map_error(stored_batch)
    }

    fn begin(&mut self, batch: BatchId, time: BatchTime) -> Result<(), WriteError> {
        let begun = self.writer.begin(batch, time);
        self.map_error(begun)
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<Vec<RejectedRow>, WriteError> {
        let result = self.writer.write(rows);
        self.map_error(result)
    }

    fn commit(&mut self) -> Result<(), WriteError> {
        let done = self.writer.commit();
        self.map_error(done)
    }

    fn fails(&mut self, error: Error) -> WriteError {
        match self.slot.fails(self.number, &error) {
            true => WriteError::Transient(error.message),
            false => WriteError::Permanent(error),
        }
    }
}

/// Loads the plugins of a job's sinks, and checks each against its rows.
pub(super) fn load(graph: &Graph) -> Result<BTreeMap<String, Arc<ConnectorSlot<SinkNode>>>> {
    let (origin, mut nodes) = (&graph.spec.origin, BTreeMap::new());
    for sink in &graph.spec.sinks {
        let Some(plugin) = sink.plugin() else { continue };
        let name = &sink.name;
        let node = graph.union(&sink.from).and_then(|input| node(sink, plugin, &input, &origin.dir, &graph.host));
        let placed =
            node.map_err(|error| error.within(format!("{}sink `{name}`", origin.at(&format!("sinks.{name}.plugin")))))?;
        nodes.insert(name.clone(), ConnectorSlot::new(placed));
    }
    Ok(nodes)
}

fn node(sink: &SinkSpec, spec: &PluginSpec, input: &SchemaRef, dir: &Path, host: &PluginHost) -> Result<SinkNode> {
    let (plugin, used) = loaded(&sink.name, spec, dir, host)?;
    let description = plugin.describe_for(&used, std::slice::from_ref(input))?;
    let plugin_name = format!("plugin {} {}", description.name, description.version);
    let reads = read_indexes(&description.input, input, &plugin_name, &sink.from)?;
    Ok(SinkNode { plugin, description, used, reads, tally: ConnectorTally::default() })
}

/// Loads the plugin, and returns it with the use that the sink makes of it.
fn loaded(name: &str, spec: &PluginSpec, dir: &Path, host: &PluginHost) -> Result<(Plugin, StageUse)> {
    if let Some(grant) = &spec.grant.http {
        millstream_plugins::plugin::check_http_grant(grant).map_err(Error::job)?;
    }
    let plugin = host.load(&spec.component_path(dir), &LoadOptions::new(spec))?;
    let world = plugin.world();
    if world != World::Sink {
        return Err(Error::job(format!(
            "`{}` is of world {world}, but a sink needs a plugin of world sink; plugins of other worlds are for \
             [stages.…] and [sources.…]",
            spec.path.display()
        )));
    }
    let used = StageUse {
        config: spec.config.to_string(),
        limits: spec.limits,
        grant: granted(spec, dir)?,
        ..StageUse::new(name)
    };
    Ok((plugin, used))
}

impl Graph {
    /// Returns a sink with another plugin, see [`Graph::with_plugin`].
    pub fn with_sink(&self, sink: &str, path: &Path, file: &Path, signers: Option<Vec<String>>) -> Result<SinkNode> {
        let spec = self.spec.sinks.iter().find(|spec| spec.name == sink);
        let found = spec.and_then(|spec| Some((spec, spec.plugin()?)));
        let (spec, plugin) = found.ok_or_else(|| Error::job(format!("sink `{sink}` is not a plugin")))?;
        let plugin = replace(plugin.clone(), path, file, signers)?;
        let made =
            self.union(&spec.from).and_then(|rows| node(spec, &plugin, &rows, &self.spec.origin.dir, &self.host));
        made.map_err(|error| error.within(format!("sink `{sink}`")))
    }

    /// Returns the last batch that a sink of the previous job holds, with its plugin in that job. `before`: the previous job.
    pub fn committed_before(&self, before: &JobSpec, sink: &SinkSpec, job: (&str, &str)) -> Result<Option<BatchId>> {
        let Some(mut spec) = before.sinks.iter().find(|own| own.name == sink.name).cloned() else { return Ok(None) };
        let SinkKind::Plugin(of) = &mut spec.kind else { return Ok(None) };
        // A server that no longer exists must not delay startup.
        of.wait = Duration::ZERO;
        let (plugin, used) = loaded(&spec.name, &of.plugin, &before.origin.dir, &self.host)?;
        let writer = plugin.committed_reader(used)?;
        committed(&spec, PluginWriter { writer: Box::new(writer), exactly_once: true }, job, None)
    }
}
