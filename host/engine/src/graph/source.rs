//! Sources that are plugins: each is loaded, and asked which columns its rows have.

use super::Graph;
use super::connector::ConnectorSlot;
use crate::operators::plugin::check::{granted, replace};
use millstream_base::batch::reading::MakeReader;
use millstream_base::batch::reading::{ReadPartition, ReadRows, ReadTrouble};
use millstream_base::error::{Error, Result};
use millstream_base::job::spec::{JobSpec, PluginSpec};
use millstream_metrics::{Counts, PluginId};
use millstream_plugins::plugin::{
    ConnectorTally, Description, LoadOptions, Plugin, PluginHost, Reader, StageUse, World,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A plugin that is a source.
pub struct SourceNode {
    /// The plugin.
    pub plugin: Plugin,
    /// What the plugin said of itself.
    pub description: Description,
    used: StageUse,
    /// What all who read it cost and count.
    tally: ConnectorTally,
}

impl SourceNode {
    /// One who reads a partition, or asks for all.
    fn reader(&self) -> Result<Reader> {
        let mut reader = self.plugin.reader(self.used.clone(), &self.description)?;
        reader.tally_in(&self.tally);
        Ok(reader)
    }

    /// Lets the counts of the source tell what its plugin costs and counts.
    pub fn share_tally(&self, counts: &Counts) {
        counts.share_tally(PluginId::of(&self.plugin, &self.description), &self.tally);
    }

    /// Asks it which partitions there are, to see whether it can tell; an error in words otherwise.
    pub fn try_out(&self) -> Result<(), String> {
        let mut reader = self.reader().map_err(|error| error.message)?;
        match reader.partitions() {
            Ok(_) => Ok(()),
            Err(ReadTrouble::Passing(why)) => Err(why),
            Err(ReadTrouble::Lasting(error)) => Err(error.message),
        }
    }

    /// Whether the plugin may count.
    pub fn counts(&self) -> bool {
        self.plugin.uses("metrics")
    }
}

impl ConnectorSlot<SourceNode> {
    /// What makes one who reads a partition of the source, or asks for all, with the version that the source has at the time.
    pub fn readers(self: &Arc<Self>) -> MakeReader {
        let slot = self.clone();
        Arc::new(move || {
            let (number, node) = slot.called();
            Ok(Box::new(VersionedReader { reader: node.reader()?, number, slot: slot.clone() }))
        })
    }
}

/// Reads by the version that the source has.
struct VersionedReader {
    slot: Arc<ConnectorSlot<SourceNode>>,
    reader: Reader,
    /// Of the version that reads.
    number: u64,
}

impl VersionedReader {
    /// Begins anew where another version is to be called.
    fn renew(&mut self) -> Result<(), ReadTrouble> {
        if self.is_replaced() {
            let (number, node) = self.slot.called();
            self.reader = node.reader().map_err(ReadTrouble::Lasting)?;
            self.number = number;
        }
        Ok(())
    }

    /// What became of a call. What does not pass does, where another version is to be called.
    fn heard<T>(&self, result: Result<T, ReadTrouble>) -> Result<T, ReadTrouble> {
        match result {
            Err(ReadTrouble::Lasting(error)) if self.slot.fails(self.number, &error) => {
                Err(ReadTrouble::Passing(error.message))
            }
            result => result,
        }
    }
}

impl ReadPartition for VersionedReader {
    fn partitions(&mut self) -> Result<Vec<String>, ReadTrouble> {
        self.renew()?;
        let names = self.reader.partitions();
        self.heard(names)
    }

    fn open(&mut self, partition: &str, position: Option<&[u8]>) -> Result<(), ReadTrouble> {
        self.renew()?;
        let opened = self.reader.open(partition, position);
        self.heard(opened)
    }

    fn is_open(&self) -> bool {
        self.reader.is_open()
    }

    fn is_replaced(&self) -> bool {
        self.number != self.slot.number()
    }

    fn poll(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadTrouble> {
        let polled = self.reader.poll(rows_max, wait);
        self.heard(polled)
    }

    fn durable(&mut self, position: &[u8]) -> Result<(), ReadTrouble> {
        let told = self.reader.durable(position);
        self.heard(told)
    }

    fn published(&mut self, position: &[u8]) -> Result<(), ReadTrouble> {
        let told = self.reader.published(position);
        self.heard(told)
    }
}

impl Graph {
    /// A source as it would be with another plugin, see [`Graph::with_plugin`].
    pub fn with_source(
        &self,
        source: &str,
        path: &Path,
        file: &Path,
        signers: Option<Vec<String>>,
    ) -> Result<SourceNode> {
        let spec = self.spec.sources.iter().find(|spec| spec.name == source);
        let plugin = spec.and_then(|spec| spec.plugin()).map(|plugin| replace(plugin.clone(), path, file, signers));
        let plugin = plugin.ok_or_else(|| Error::job(format!("source `{source}` is no plugin")))??;
        node(source, &plugin, &self.spec.origin.folder, &self.host)
            .map_err(|error| error.within(format!("source `{source}`")))
    }
}

/// Loads the sources of a job that are plugins, and gives them their columns.
pub(super) fn load(spec: &mut JobSpec, host: &PluginHost) -> Result<BTreeMap<String, Arc<ConnectorSlot<SourceNode>>>> {
    let (origin, mut nodes) = (&spec.origin, BTreeMap::new());
    for source in &mut spec.sources {
        let Some(plugin) = source.plugin() else { continue };
        let name = source.name.clone();
        let node = node(&name, plugin, &origin.folder, host).map_err(|error| {
            error.within(format!("{}source `{name}`", origin.at(&format!("sources.{name}.plugin"))))
        })?;
        source.with_columns(&node.description.output);
        nodes.insert(name, ConnectorSlot::new(node));
    }
    Ok(nodes)
}

fn node(name: &str, spec: &PluginSpec, folder: &Path, host: &PluginHost) -> Result<SourceNode> {
    if let Some(grant) = &spec.grant.http {
        millstream_plugins::plugin::check_http_grant(grant).map_err(Error::job)?;
    }
    let plugin = host.load(&spec.place(folder), &LoadOptions::of(spec))?;
    let world = plugin.world();
    if world != World::Source {
        return Err(Error::job(format!(
            "`{}` is of world {world}, and a source needs one of world source; plugins of other worlds are for [stages.…]",
            spec.path.display()
        )));
    }
    let used = StageUse {
        config: spec.config.to_string(),
        limits: spec.limits,
        grant: granted(spec, folder)?,
        ..StageUse::new(name)
    };
    let description = plugin.describe_for(&used, &[])?;
    Ok(SourceNode { plugin, description, used, tally: ConnectorTally::default() })
}
