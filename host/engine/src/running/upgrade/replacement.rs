//! What an upgrade puts in whose place: a stage with its next plugin, or a source or sink with its.

use crate::checkpoint::types::Table;
use crate::graph::{ConnectorSlot, ConnectorTrial, SinkNode, SourceNode};
use crate::operators::plugin::shadow::{self, Shadow};
use crate::operators::plugin::versions::{PluginSlot, RunningPlugin};
use crate::operators::stage::StageNode;
use millstream_base::error::{Error, Result};
use millstream_metrics::Counts;
use std::sync::Arc;

/// A next version, and the place that it is for.
pub(super) enum Replacement {
    /// Of a stage.
    Stage {
        /// The place of the plugin that it replaces.
        slot: Arc<PluginSlot>,
        /// The stage with its next plugin.
        node: Arc<StageNode>,
    },
    /// Of a source.
    Source(NextConnector<SourceNode>),
    /// Of a sink.
    Sink(NextConnector<SinkNode>),
}

/// The next version of a source or sink.
pub(super) struct NextConnector<N> {
    /// The place of the version that it replaces.
    pub slot: Arc<ConnectorSlot<N>>,
    /// The source or sink with its next plugin.
    pub node: Arc<N>,
    /// The version before, where it takes over from one that fails.
    pub trial: Option<ConnectorTrial<N>>,
    /// What is counted of the source or sink.
    pub counts: Counts,
}

impl<N> NextConnector<N> {
    fn put(&mut self, share_tally: impl Fn(&N, &Counts)) {
        share_tally(&self.node, &self.counts);
        self.slot.set(self.node.clone(), self.trial.take());
    }
}

impl Replacement {
    /// From now on it is what runs. Only while no batch is in flight.
    pub(super) fn put(&mut self) {
        match self {
            Replacement::Stage { slot, node } => slot.set(RunningPlugin { node: node.clone(), shadow: None }),
            Replacement::Source(next) => next.put(SourceNode::share_tally),
            Replacement::Sink(next) => next.put(SinkNode::share_tally),
        }
    }

    /// The stage with its next plugin, where it is one.
    pub(super) fn stage(&self) -> Option<&Arc<StageNode>> {
        match self {
            Replacement::Stage { node, .. } => Some(node),
            Replacement::Source(_) | Replacement::Sink(_) => None,
        }
    }

    /// What checkpoints hold of a stage from then on, without files.
    pub(super) fn tables(&self) -> Vec<Table> {
        self.stage().map(|node| node.tables.clone()).unwrap_or_default()
    }

    /// An error where it cannot run in a shadow for so many batches.
    pub(super) fn check_shadow(&self, batches: u64) -> Result<()> {
        match self {
            Replacement::Stage { node, .. } => shadow::check(node, batches),
            Replacement::Source(_) | Replacement::Sink(_) => Err(Error::job(
                "sources and sinks have no shadow, as both versions would read or write; upgrade without `--shadow`",
            )),
        }
    }

    /// Puts it beside what runs, in a shadow.
    pub(super) fn begin_shadow(&self, made: impl FnOnce(Arc<StageNode>) -> Shadow) -> Option<Arc<Shadow>> {
        let Replacement::Stage { slot, node } = self else { return None };
        let shadow = Arc::new(made(node.clone()));
        slot.set(RunningPlugin { shadow: Some(shadow.clone()), ..slot.now() });
        Some(shadow)
    }

    /// What it has in a shadow, it has no more.
    pub(super) fn end_shadow(&self) {
        if let Replacement::Stage { slot, .. } = self {
            slot.end_shadow();
        }
    }
}
