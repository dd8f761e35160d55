//! Loads the next plugin of a source or sink and compares it with the running one. Checks that involve other systems run before the swap, in a
//! separate instance: whether its positions are still readable and whether it knows of the committed batches.

use super::candidate::{columns_differ, component_of, failure_callback, prepared_status, upgrade};
use super::replacement::{NextConnector, Replacement};
use super::{PrepareRequest, UpgradeStatus};
use crate::graph::{ConnectorTrial, SinkNode};
use crate::running::Running;
use millstream_base::error::{Error, Result};
use std::path::Path;
use std::sync::Arc;

/// Prepares the next version of a source.
pub(super) fn of_source(running: &Running, request: &PrepareRequest, name: &str) -> Result<UpgradeStatus> {
    let slot = running.graph.readers.get(name).ok_or_else(|| no_plugin("source", name))?.clone();
    let old = slot.node();
    let component = component_of(request, old.plugin.world())?;
    let new = running.graph.with_source(name, Path::new(&request.plugin), &request.file, request.signers.clone())?;
    let differences: Vec<String> =
        columns_differ("its rows", &old.description.output, &new.description.output).into_iter().collect();
    let status =
        prepared_status(request, (&old.plugin, &old.description), (&new.plugin, &new.description), &differences)?;
    new.list_partitions().map_err(|why| {
        Error::environment(format!(
            "source `{name}`: {} does not report its partitions, so {} continues: {why}",
            status.to.0, status.from.0
        ))
    })?;
    let on_failure = Box::new(failure_callback(running, &status));
    let trial = request.on_trial.then(|| ConnectorTrial { before: old, on_failure });
    let next = NextConnector { slot, node: Arc::new(new), trial, counts: running.metrics.counts(name) };
    running.plugins.upgrades.begin(upgrade(status, component, Replacement::Source(next), false))
}

/// Prepares the next version of a sink.
pub(super) fn of_sink(running: &Running, request: &PrepareRequest, name: &str) -> Result<UpgradeStatus> {
    let slot = running.graph.writers.get(name).ok_or_else(|| no_plugin("sink", name))?.clone();
    let old = slot.node();
    let component = component_of(request, old.plugin.world())?;
    let new = running.graph.with_sink(name, Path::new(&request.plugin), &request.file, request.signers.clone())?;
    let reads = columns_differ("what it reads", &old.description.input, &new.description.input);
    let differences: Vec<String> = reads.into_iter().chain(promise_differs(&old, &new)).collect();
    let status =
        prepared_status(request, (&old.plugin, &old.description), (&new.plugin, &new.description), &differences)?;
    check_committed(running, name, &new).map_err(|why| {
        Error::environment(format!(
            "sink `{name}`: {} cannot resume at the position of {}: {why}",
            status.to.0, status.from.0
        ))
    })?;
    let on_failure = Box::new(failure_callback(running, &status));
    let trial = request.on_trial.then(|| ConnectorTrial { before: old, on_failure });
    let counts = running.metrics.counts(&running.graph.spec.counts_of_sink(name));
    let next = NextConnector { slot, node: Arc::new(new), trial, counts };
    running.plugins.upgrades.begin(upgrade(status, component, Replacement::Sink(next), false))
}

/// Returns a difference in the delivery guarantee. A sink keeps its guarantee, as its startup relied on what was promised of earlier batches.
fn promise_differs(old: &SinkNode, new: &SinkNode) -> Option<String> {
    let promise = |node: &SinkNode| if node.description.exactly_once { "exactly once" } else { "at least once" };
    let (old, new) = (promise(old), promise(new));
    (old != new).then(|| format!("its guarantee was {old} and would be {new}"))
}

/// Checks that the new version finds what the previous one has committed. Runs in the process that writes.
fn check_committed(running: &Running, name: &str, new: &SinkNode) -> Result<(), String> {
    let Some(kept) = running.checkpoints.as_ref().filter(|_| running.threads.process() == 0) else { return Ok(()) };
    if !new.description.exactly_once {
        return Ok(());
    }
    // Read it first: more may be committed during the check.
    let committed = kept.writers.markers.all().get(name).copied();
    let stored_batch = new.stored_batch(&kept.owner.job, &kept.owner.job_id)?;
    match stored_batch < committed {
        true => Err(format!(
            "it reports batches up to {}, but batches up to {} are written",
            stored_batch.unwrap_or_default(),
            committed.unwrap_or_default()
        )),
        false => Ok(()),
    }
}

fn no_plugin(what: &str, name: &str) -> Error {
    Error::job(format!("{what} `{name}` does not exist, or has no plugin to replace"))
}
