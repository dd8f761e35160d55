//! Sinks that are plugins: each is loaded, and asked about the rows that it is to take.

use super::Graph;
use super::plugin::{granted, read_places};
use crate::batch::types;
use crate::error::{Error, Result};
use crate::ids::BatchId;
use crate::job::spec::{JobSpec, PluginSpec, SinkKind, SinkSpec};
use crate::metrics::{Counts, PluginId};
use crate::plugin::{ConnectorTally, Description, LoadOptions, Plugin, PluginHost, StageUse, World};
use crate::sink::plugin::{PluginWriter, committed};
use arrow::datatypes::SchemaRef;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// A plugin that is a sink.
#[derive(Clone)]
pub struct SinkNode {
    plugin: Plugin,
    /// What the plugin said of itself.
    description: Description,
    used: StageUse,
    /// Places in the rows of the sink of the columns that it reads.
    reads: Vec<usize>,
    /// What all who write for it cost and count: they are opened before the job has metrics.
    tally: ConnectorTally,
}

impl SinkNode {
    /// One who writes.
    pub fn writer(&self) -> Result<PluginWriter> {
        let mut writer = self.plugin.writer(self.used.clone(), &self.description, self.reads.clone())?;
        writer.tally_in(&self.tally);
        Ok(PluginWriter { writer: Box::new(writer), exactly_once: self.description.exactly_once })
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

/// Loads the sinks of a job that are plugins, and asks each about its rows.
pub(super) fn load(graph: &Graph) -> Result<BTreeMap<String, SinkNode>> {
    let (origin, mut nodes) = (&graph.spec.origin, BTreeMap::new());
    for sink in &graph.spec.sinks {
        let Some(plugin) = sink.plugin() else { continue };
        let name = &sink.name;
        let node = graph.union(&sink.from).and_then(|input| node(sink, plugin, &input, &origin.folder, &graph.host));
        let placed =
            node.map_err(|error| error.within(format!("{}sink `{name}`", origin.at(&format!("sinks.{name}.plugin")))))?;
        nodes.insert(name.clone(), placed);
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
        crate::plugin::check_http_grant(grant).map_err(Error::job)?;
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
