//! Sinks that are plugins: each is loaded, and asked about the rows that it is to take.

use super::Graph;
use super::connector::ConnectorSlot;
use crate::operators::plugin::check::{granted, read_places, replace};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::batch::rejected::RefusedRow;
use millstream_base::batch::types;
use millstream_base::batch::writing::{WriteBatches, WriteTrouble};
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::job::spec::{JobSpec, PluginSpec, SinkKind, SinkSpec};
use millstream_base::owner::Owner;
use millstream_connectors::sink::plugin::{PluginWriter, committed};
use millstream_metrics::{Counts, PluginId};
use millstream_plugins::plugin::{
    ConnectorTally, Description, LoadOptions, Plugin, PluginHost, StageUse, World, Writer,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A plugin that is a sink.
pub struct SinkNode {
    /// The plugin.
    pub plugin: Plugin,
    /// What the plugin said of itself.
    pub description: Description,
    used: StageUse,
    /// Places in the rows of the sink of the columns that it reads.
    reads: Vec<usize>,
    /// What all who write for it cost and count: they are opened before the job has metrics.
    tally: ConnectorTally,
}

impl SinkNode {
    fn writer(&self) -> Result<Writer> {
        let mut writer = self.plugin.writer(self.used.clone(), &self.description, self.reads.clone())?;
        writer.tally_in(&self.tally);
        Ok(writer)
    }

    /// The last batch that it says is there of a job with this name and id; an error in words where it cannot say.
    pub fn held(&self, job: &str, job_id: &str) -> Result<Option<BatchId>, String> {
        let mut writer = self.writer().map_err(|error| error.message)?;
        match writer.committed(job, job_id) {
            Ok(held) => Ok(held),
            Err(WriteTrouble::Passing(why)) => Err(why),
            Err(WriteTrouble::Lasting(error)) => Err(error.message),
        }
    }

    /// Lets the counts of the sink tell what its plugin costs and counts.
    pub fn share_tally(&self, counts: &Counts) {
        counts.share_tally(PluginId::of(&self.plugin, &self.description), &self.tally);
    }

    /// Whether the plugin may count.
    pub fn counts(&self) -> bool {
        self.plugin.uses("metrics")
    }

    /// What it does, for `millstream validate`.
    pub(super) fn lines(&self) -> [String; 2] {
        let Description { name, version, input, exactly_once, .. } = &self.description;
        let promise = match exactly_once {
            true => "exactly once, as its plugin says: rows of a batch are there together with its id, or not at all",
            false => "at least once, as its plugin says: after a crash or a lost connection rows come again",
        };
        [format!("plugin {name} {version} reads {}", types::describe(input)), promise.to_owned()]
    }
}

impl ConnectorSlot<SinkNode> {
    /// One who writes, with the version that the sink has when a batch begins.
    pub fn writer(self: &Arc<Self>) -> Result<PluginWriter> {
        let (number, node) = self.called();
        let writer = VersionedWriter { writer: node.writer()?, number, slot: self.clone() };
        // A version that promises something else takes no other's place.
        Ok(PluginWriter { writer: Box::new(writer), exactly_once: node.description.exactly_once })
    }
}

/// Writes by the version that the sink has.
struct VersionedWriter {
    slot: Arc<ConnectorSlot<SinkNode>>,
    writer: Writer,
    /// Of the version that writes.
    number: u64,
}

impl VersionedWriter {
    /// Begins anew where another version is to be called.
    fn renew(&mut self) -> Result<(), WriteTrouble> {
        if self.number != self.slot.number() {
            let (number, node) = self.slot.called();
            self.writer = node.writer().map_err(WriteTrouble::Lasting)?;
            self.number = number;
        }
        Ok(())
    }

    /// What became of a call. What does not pass does, where another version is to be called.
    fn heard<T>(&mut self, result: Result<T, WriteTrouble>) -> Result<T, WriteTrouble> {
        match result {
            Err(WriteTrouble::Lasting(error)) => Err(self.fails(error)),
            result => result,
        }
    }
}

impl WriteBatches for VersionedWriter {
    fn committed(&mut self, job: &str, job_id: &str) -> Result<Option<BatchId>, WriteTrouble> {
        self.writer.committed(job, job_id)
    }

    fn is_open(&self) -> bool {
        self.writer.is_open() && self.number == self.slot.number()
    }

    fn open(&mut self, owner: &Owner) -> Result<Option<BatchId>, WriteTrouble> {
        self.renew()?;
        let held = self.writer.open(owner);
        self.heard(held)
    }

    fn begin(&mut self, batch: BatchId, time: BatchTime) -> Result<(), WriteTrouble> {
        let begun = self.writer.begin(batch, time);
        self.heard(begun)
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<Vec<RefusedRow>, WriteTrouble> {
        let refused = self.writer.write(rows);
        self.heard(refused)
    }

    fn commit(&mut self) -> Result<(), WriteTrouble> {
        let done = self.writer.commit();
        self.heard(done)
    }

    fn fails(&mut self, error: Error) -> WriteTrouble {
        match self.slot.fails(self.number, &error) {
            true => WriteTrouble::Passing(error.message),
            false => WriteTrouble::Lasting(error),
        }
    }
}

/// Loads the sinks of a job that are plugins, and asks each about its rows.
pub(super) fn load(graph: &Graph) -> Result<BTreeMap<String, Arc<ConnectorSlot<SinkNode>>>> {
    let (origin, mut nodes) = (&graph.spec.origin, BTreeMap::new());
    for sink in &graph.spec.sinks {
        let Some(plugin) = sink.plugin() else { continue };
        let name = &sink.name;
        let node = graph.union(&sink.from).and_then(|input| node(sink, plugin, &input, &origin.folder, &graph.host));
        let placed =
            node.map_err(|error| error.within(format!("{}sink `{name}`", origin.at(&format!("sinks.{name}.plugin")))))?;
        nodes.insert(name.clone(), ConnectorSlot::new(placed));
    }
    Ok(nodes)
}

fn node(sink: &SinkSpec, spec: &PluginSpec, input: &SchemaRef, folder: &Path, host: &PluginHost) -> Result<SinkNode> {
    let (plugin, used) = loaded(&sink.name, spec, folder, host)?;
    let description = plugin.describe_for(&used, std::slice::from_ref(input))?;
    let plugin_name = format!("plugin {} {}", description.name, description.version);
    let reads = read_places(&description.input, input, &plugin_name, &sink.from)?;
    Ok(SinkNode { plugin, description, used, reads, tally: ConnectorTally::default() })
}

/// The plugin, and what the sink gives it.
fn loaded(name: &str, spec: &PluginSpec, folder: &Path, host: &PluginHost) -> Result<(Plugin, StageUse)> {
    if let Some(grant) = &spec.grant.http {
        millstream_plugins::plugin::check_http_grant(grant).map_err(Error::job)?;
    }
    let plugin = host.load(&spec.place(folder), &LoadOptions::of(spec))?;
    let world = plugin.world();
    if world != World::Sink {
        return Err(Error::job(format!(
            "`{}` is of world {world}, and a sink needs one of world sink; plugins of other worlds are for [stages.…] and \
             [sources.…]",
            spec.path.display()
        )));
    }
    let used = StageUse {
        config: spec.config.to_string(),
        limits: spec.limits,
        grant: granted(spec, folder)?,
        ..StageUse::new(name)
    };
    Ok((plugin, used))
}

impl Graph {
    /// A sink as it would be with another plugin, see [`Graph::with_plugin`].
    pub fn with_sink(&self, sink: &str, path: &Path, file: &Path, signers: Option<Vec<String>>) -> Result<SinkNode> {
        let spec = self.spec.sinks.iter().find(|spec| spec.name == sink);
        let found = spec.and_then(|spec| Some((spec, spec.plugin()?)));
        let (spec, plugin) = found.ok_or_else(|| Error::job(format!("sink `{sink}` is no plugin")))?;
        let plugin = replace(plugin.clone(), path, file, signers)?;
        let made =
            self.union(&spec.from).and_then(|rows| node(spec, &plugin, &rows, &self.spec.origin.folder, &self.host));
        made.map_err(|error| error.within(format!("sink `{sink}`")))
    }

    /// The last batch that a sink holds which the job had before, with the plugin that it had then. `before`: that job.
    pub fn committed_before(&self, before: &JobSpec, sink: &SinkSpec, job: (&str, &str)) -> Result<Option<BatchId>> {
        let Some(mut spec) = before.sinks.iter().find(|own| own.name == sink.name).cloned() else { return Ok(None) };
        let SinkKind::Plugin(of) = &mut spec.kind else { return Ok(None) };
        // Who is not there any more may be gone for good.
        of.wait = Duration::ZERO;
        let (plugin, used) = loaded(&spec.name, &of.plugin, &before.origin.folder, &self.host)?;
        let writer = plugin.asker(used)?;
        committed(&spec, PluginWriter { writer: Box::new(writer), exactly_once: true }, job, None)
    }
}
