//! The next plugin of a source or a sink is loaded and held against the one that runs. What it has to do with others (from where on
//! there is something to read, what is held of the job) is asked of it before it takes the place, in an instance of its own.

use super::candidate::{columns_differ, component_of, prepared, tells_failure, upgrade};
use super::replacement::{NextConnector, Replacement};
use super::{Prepare, UpgradeStatus};
use crate::graph::{ConnectorTrial, SinkNode};
use crate::running::Running;
use millstream_base::error::{Error, Result};
use std::path::Path;
use std::sync::Arc;

/// Prepares the next version of a source.
pub(super) fn of_source(running: &Running, wanted: &Prepare, name: &str) -> Result<UpgradeStatus> {
    let slot = running.graph.readers.get(name).ok_or_else(|| no_plugin("source", name))?.clone();
    let old = slot.node();
    let component = component_of(wanted, old.plugin.world())?;
    let new = running.graph.with_source(name, Path::new(&wanted.plugin), &wanted.file, wanted.signers.clone())?;
    let differences: Vec<String> =
        columns_differ("its rows", &old.description.output, &new.description.output).into_iter().collect();
    let status = prepared(wanted, (&old.plugin, &old.description), (&new.plugin, &new.description), &differences)?;
    new.try_out().map_err(|why| {
        Error::environment(format!(
            "source `{name}`: {} does not report its partitions, so {} continues: {why}",
            status.to.0, status.from.0
        ))
    })?;
    let tell = Box::new(tells_failure(running, &status));
    let trial = wanted.on_trial.then(|| ConnectorTrial { before: old, tell });
    let next = NextConnector { slot, node: Arc::new(new), trial, counts: running.metrics.of(name) };
    running.plugins.upgrades.begin(upgrade(status, component, Replacement::Source(next), false))
}

/// Prepares the next version of a sink.
pub(super) fn of_sink(running: &Running, wanted: &Prepare, name: &str) -> Result<UpgradeStatus> {
    let slot = running.graph.writers.get(name).ok_or_else(|| no_plugin("sink", name))?.clone();
    let old = slot.node();
    let component = component_of(wanted, old.plugin.world())?;
    let new = running.graph.with_sink(name, Path::new(&wanted.plugin), &wanted.file, wanted.signers.clone())?;
    let reads = columns_differ("what it reads", &old.description.input, &new.description.input);
    let differences: Vec<String> = reads.into_iter().chain(promise_differs(&old, &new)).collect();
    let status = prepared(wanted, (&old.plugin, &old.description), (&new.plugin, &new.description), &differences)?;
    holds_as_much(running, name, &new).map_err(|why| {
        Error::environment(format!("sink `{name}`: {} cannot resume where {} is: {why}", status.to.0, status.from.0))
    })?;
    let tell = Box::new(tells_failure(running, &status));
    let trial = wanted.on_trial.then(|| ConnectorTrial { before: old, tell });
    let counts = running.metrics.of(&running.graph.spec.counts_of_sink(name));
    let next = NextConnector { slot, node: Arc::new(new), trial, counts };
    running.plugins.upgrades.begin(upgrade(status, component, Replacement::Sink(next), false))
}

/// A sink goes on as it began: what was promised of the batches before is what its start relied on.
fn promise_differs(old: &SinkNode, new: &SinkNode) -> Option<String> {
    let promise = |node: &SinkNode| if node.description.exactly_once { "exactly once" } else { "at least once" };
    let (old, new) = (promise(old), promise(new));
    (old != new).then(|| format!("it promised to write {old} and would promise {new}"))
}

/// Whether the new version finds what the one before has committed; an error in words otherwise. Asked in the process that writes.
fn holds_as_much(running: &Running, name: &str, new: &SinkNode) -> Result<(), String> {
    let Some(kept) = running.checkpoints.as_ref().filter(|_| running.threads.process() == 0) else { return Ok(()) };
    if !new.description.exactly_once {
        return Ok(());
    }
    // Before it is asked: meanwhile more is committed.
    let committed = kept.writers.markers.all().get(name).copied();
    let held = new.held(&kept.owner.job, &kept.owner.job_id)?;
    match held < committed {
        true => Err(format!(
            "it reports batches up to {}, but batches up to {} are written",
            held.unwrap_or_default(),
            committed.unwrap_or_default()
        )),
        false => Ok(()),
    }
}

fn no_plugin(what: &str, name: &str) -> Error {
    Error::job(format!("{what} `{name}` does not exist, or has no plugin that could be replaced"))
}
