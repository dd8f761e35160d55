//! Replacements in an upgrade: a stage, source or sink with its next plugin.

use crate::checkpoint::types::Table;
use crate::graph::{ConnectorSlot, ConnectorTrial, SinkNode, SourceNode};
use crate::operators::plugin::shadow::{self, Shadow};
use crate::operators::plugin::versions::{PluginSlot, RunningPlugin};
use crate::operators::stage::StageNode;
use millstream_base::error::{Error, Result};
use millstream_metrics::Counts;
use std::sync::Arc;

/// The next version of a plugin, and the slot that it takes.
pub(super) enum Replacement {
    /// A stage.
    Stage {
        /// The slot of the plugin that it replaces.
        slot: Arc<PluginSlot>,
        /// The stage with its next plugin.
        node: Arc<StageNode>,
    },
    /// A source.
    Source(NextConnector<SourceNode>),
    /// A sink.
    Sink(NextConnector<SinkNode>),
}

/// The next version of a source or sink.
pub(super) struct NextConnector<N> {
    /// The slot of the version that it replaces.
    pub slot: Arc<ConnectorSlot<N>>,
    /// The source or sink with its next plugin.
    pub node: Arc<N>,
    /// The previous version, which takes over if the new one fails on trial.
    pub trial: Option<ConnectorTrial<N>>,
    /// The counters of the source or sink.
    pub counts: Counts,
}

impl<N> NextConnector<N> {
    fn put(&mut self, share_tally: impl Fn(&N, &Counts)) {
        share_tally(&self.node, &self.counts);
        self.slot.set(self.node.clone(), self.trial.take());
    }
}

impl Replacement {
    /// Puts the new version into its slot. Call it only while no batch is in flight.
    pub(super) fn put(&mut self) {
        match self {
            Replacement::Stage { slot, node } => slot.set(RunningPlugin { node: node.clone(), shadow: None }),
            Replacement::Source(next) => next.put(SourceNode::share_tally),
            Replacement::Sink(next) => next.put(SinkNode::share_tally),
        }
    }

    /// Returns the stage with its next plugin, if this replaces a stage.
    pub(super) fn stage(&self) -> Option<&Arc<StageNode>> {
        match self {
            Replacement::Stage { node, .. } => Some(node),
            Replacement::Source(_) | Replacement::Sink(_) => None,
        }
    }

    /// Returns the tables that checkpoints hold of the stage from then on, without files.
    pub(super) fn tables(&self) -> Vec<Table> {
        self.stage().map(|node| node.tables.clone()).unwrap_or_default()
    }

    /// Fails if the version cannot run in a shadow for this number of batches.
    pub(super) fn check_shadow(&self, batches: u64) -> Result<()> {
        match self {
            Replacement::Stage { node, .. } => shadow::check(node, batches),
            Replacement::Source(_) | Replacement::Sink(_) => Err(Error::job(
                "sources and sinks cannot run in a shadow, because both versions would read or write; upgrade \
                without `--shadow`",
            )),
        }
    }

    /// Runs it in a shadow next to the current version.
    pub(super) fn begin_shadow(&self, made: impl FnOnce(Arc<StageNode>) -> Shadow) -> Option<Arc<Shadow>> {
        let Replacement::Stage { slot, node } = self else { return None };
        let shadow = Arc::new(made(node.clone()));
        slot.set(RunningPlugin { shadow: Some(shadow.clone()), ..slot.now() });
        Some(shadow)
    }

    /// Ends its shadow.
    pub(super) fn end_shadow(&self) {
        if let Replacement::Stage { slot, .. } = self {
            slot.end_shadow();
        }
    }
}
