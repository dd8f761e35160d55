//! Sources that are plugins: each is loaded, and queried for its columns.

use super::Graph;
use super::connector::ConnectorSlot;
use crate::operators::plugin::check::{granted, replace};
use millstream_base::error::{Error, Result};
use millstream_job::spec::{JobSpec, PluginSpec};
use millstream_metrics::{Counts, PluginId};
use millstream_plugins::plugin::{
    ConnectorTally, Description, LoadOptions, Plugin, PluginHost, Reader, StageUse, World,
};
use millstream_rows::batch::reading::MakeReader;
use millstream_rows::batch::reading::{ReadError, ReadPartition, ReadRows};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A plugin that is a source.
pub struct SourceNode {
    /// The plugin.
    pub plugin: Plugin,
    /// The plugin's description of itself.
    pub description: Description,
    used: StageUse,
    /// The costs and counters of all its readers.
    tally: ConnectorTally,
}

impl SourceNode {
    /// Creates a reader for a partition, or for listing all.
    fn reader(&self) -> Result<Reader> {
        let mut reader = self.plugin.reader(self.used.clone(), &self.description)?;
        reader.tally_in(&self.tally);
        Ok(reader)
    }

    /// Connects the costs and counters of its plugin to the counts of the source.
    pub fn share_tally(&self, counts: &Counts) {
        counts.share_tally(PluginId::new(&self.plugin, &self.description), &self.tally);
    }

    /// Lists its partitions, to check that it works.
    pub fn list_partitions(&self) -> Result<(), String> {
        let mut reader = self.reader().map_err(|error| error.message)?;
        match reader.partitions() {
            Ok(_) => Ok(()),
            Err(ReadError::Transient(why)) => Err(why),
            Err(ReadError::Permanent(error)) => Err(error.message),
        }
    }

    /// Returns whether the plugin may count.
    pub fn counts(&self) -> bool {
        self.plugin.uses("metrics")
    }
}

impl ConnectorSlot<SourceNode> {
    /// Returns a factory of readers for partitions of the source, or for listing all, with the current version of the plugin.
    pub fn readers(self: &Arc<Self>) -> MakeReader {
        let slot = self.clone();
        Arc::new(move || {
            let (number, node) = slot.current();
            Ok(Box::new(VersionedReader { reader: node.reader()?, number, slot: slot.clone() }))
        })
    }
}

/// Reads with the current version of the source.
struct VersionedReader {
    slot: Arc<ConnectorSlot<SourceNode>>,
    reader: Reader,
    /// The number of the version that reads.
    number: u64,
}

impl VersionedReader {
    /// Recreates the reader if another version is to be called.
    fn renew(&mut self) -> Result<(), ReadError> {
        if self.is_replaced() {
            let (number, node) = self.slot.current();
            self.reader = node.reader().map_err(ReadError::Permanent)?;
            self.number = number;
        }
        Ok(())
    }

    /// Converts the result of a call. A permanent error is transient if another version is to be called.
    fn map_error<T>(&self, result: Result<T, ReadError>) -> Result<T, ReadError> {
        match result {
            Err(ReadError::Permanent(error)) if self.slot.fails(self.number, &error) => {
                Err(ReadError::Transient(error.message))
            }
            result => result,
        }
    }
}

impl ReadPartition for VersionedReader {
    fn partitions(&mut self) -> Result<Vec<String>, ReadError> {
        self.renew()?;
        let names = self.reader.partitions();
        self.map_error(names)
    }

    fn open(&mut self, partition: &str, position: Option<&[u8]>) -> Result<(), ReadError> {
        self.renew()?;
        let opened = self.reader.open(partition, position);
        self.map_error(opened)
    }

    fn is_open(&self) -> bool {
        self.reader.is_open()
    }

    fn is_replaced(&self) -> bool {
        self.number != self.slot.number()
    }

    fn poll(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadError> {
        let polled = self.reader.poll(rows_max, wait);
        self.map_error(polled)
    }

    fn durable(&mut self, position: &[u8]) -> Result<(), ReadError> {
        let result = self.reader.durable(position);
        self.map_error(result)
    }

    fn published(&mut self, position: &[u8]) -> Result<(), ReadError> {
        let result = self.reader.published(position);
        self.map_error(result)
    }
}

impl Graph {
    /// Returns a source with another plugin, see [`Graph::with_plugin`].
    pub fn with_source(
        &self,
        source: &str,
        path: &Path,
        file: &Path,
        signers: Option<Vec<String>>,
    ) -> Result<SourceNode> {
        let spec = self.spec.sources.iter().find(|spec| spec.name == source);
        let plugin = spec.and_then(|spec| spec.plugin()).map(|plugin| replace(plugin.clone(), path, file, signers));
        let plugin = plugin.ok_or_else(|| Error::job(format!("source `{source}` is not a plugin")))??;
        node(source, &plugin, &self.spec.origin.dir, &self.host)
            .map_err(|error| error.within(format!("source `{source}`")))
    }
}

/// Loads the plugins of a job's sources, and sets their columns.
pub(super) fn load(spec: &mut JobSpec, host: &PluginHost) -> Result<BTreeMap<String, Arc<ConnectorSlot<SourceNode>>>> {
    let (origin, mut nodes) = (&spec.origin, BTreeMap::new());
    for source in &mut spec.sources {
        let Some(plugin) = source.plugin() else { continue };
        let name = source.name.clone();
        let node = node(&name, plugin, &origin.dir, host).map_err(|error| {
            error.within(format!("{}source `{name}`", origin.at(&format!("sources.{name}.plugin"))))
        })?;
        source.set_columns(&node.description.output);
        nodes.insert(name, ConnectorSlot::new(node));
    }
    Ok(nodes)
}

fn node(name: &str, spec: &PluginSpec, dir: &Path, host: &PluginHost) -> Result<SourceNode> {
    if let Some(grant) = &spec.grant.http {
        millstream_plugins::plugin::check_http_grant(grant).map_err(Error::job)?;
    }
    let plugin = host.load(&spec.component_path(dir), &LoadOptions::new(spec))?;
    let world = plugin.world();
    if world != World::Source {
        return Err(Error::job(format!(
            "`{}` is of world {world}, but a source needs a plugin of world source; plugins of other worlds are for \
            [stages.…]",
            spec.path.display()
        )));
    }
    let used = StageUse {
        config: spec.config.to_string(),
        limits: spec.limits,
        grant: granted(spec, dir)?,
        ..StageUse::new(name)
    };
    let description = plugin.describe_for(&used, &[])?;
    Ok(SourceNode { plugin, description, used, tally: ConnectorTally::default() })
}
