//! Sources that are plugins: each is loaded, and asked which columns its rows have.

use super::plugin::granted;
use crate::error::{Error, Result};
use crate::job::spec::{JobSpec, PluginSpec};
use crate::metrics::{Counts, PluginId};
use crate::plugin::{ConnectorTally, Description, LoadOptions, Plugin, PluginHost, StageUse, World};
use crate::receiver::polled::MakeReader;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A plugin that is a source.
#[derive(Clone)]
pub struct SourceNode {
    plugin: Plugin,
    /// What the plugin said of itself.
    pub description: Description,
    used: StageUse,
}

impl SourceNode {
    /// What makes one who reads a partition of it, or asks for all; `counts` are told what they cost and count.
    pub fn readers(&self, counts: &Counts) -> MakeReader {
        let (node, tally) = (self.clone(), ConnectorTally::default());
        counts.share_tally(PluginId::of(&self.plugin, &self.description), &tally);
        Arc::new(move || {
            let mut reader = node.plugin.reader(node.used.clone(), &node.description)?;
            reader.tally_in(&tally);
            Ok(Box::new(reader))
        })
    }

    /// Whether the plugin may count.
    pub fn counts(&self) -> bool {
        self.plugin.uses("metrics")
    }
}

/// Loads the sources of a job that are plugins, and gives them their columns.
pub(super) fn load(spec: &mut JobSpec, host: &PluginHost) -> Result<BTreeMap<String, SourceNode>> {
    let (origin, mut nodes) = (&spec.origin, BTreeMap::new());
    for source in &mut spec.sources {
        let Some(plugin) = source.plugin() else { continue };
        let name = source.name.clone();
        let node = node(&name, plugin, &origin.folder, host).map_err(|error| {
            error.within(format!("{}source `{name}`", origin.at(&format!("sources.{name}.plugin"))))
        })?;
        source.with_columns(&node.description.output);
        nodes.insert(name, node);
    }
    Ok(nodes)
}

fn node(name: &str, spec: &PluginSpec, folder: &Path, host: &PluginHost) -> Result<SourceNode> {
    if let Some(grant) = &spec.grant.http {
        crate::plugin::check_http_grant(grant).map_err(Error::job)?;
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
    Ok(SourceNode { plugin, description, used })
}
