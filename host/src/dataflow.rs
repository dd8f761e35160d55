//! The timely graph of a job, built identically on every worker:
//!
//! ```text
//! ticks -> source -> decode -> [stage -> exchange -> stage …] -> sink
//! ```

mod sinks;
mod source;
mod stages;

use crate::batch::part::Part;
use crate::error::{Error, Result};
use crate::graph::rejected_name;
use crate::ids::PartOrder;
use crate::run::Running;
use crate::timely_ext::{Parts, Tick, Ticks};
use std::collections::BTreeMap;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Concatenate, Exchange, Probe, probe};
use timely::dataflow::{InputHandle, Scope};
use timely::worker::Worker;

/// Where worker 0 puts ticks in.
pub type TickInput = InputHandle<u64, CapacityContainerBuilder<Vec<Tick>>>;

/// A built graph, as the worker drives it.
pub struct Dataflow {
    /// Worker 0 sends ticks here; the others close theirs.
    pub ticks: TickInput,
    /// Which batches are committed: those that the probe has passed.
    pub committed: probe::Handle<u64>,
}

/// The streams that are there while the graph is built, by name.
type Streams<'s> = BTreeMap<String, Parts<'s>>;

/// Builds the graph on this worker.
pub fn build(worker: &mut Worker, running: &Running) -> Result<Dataflow> {
    let (index, peers) = (worker.index(), worker.peers());
    let mut ticks = TickInput::new();
    let committed = probe::Handle::new();
    worker.dataflow::<u64, _, _>(|scope| {
        let all_ticks = broadcast(ticks.to_stream(scope), peers);
        let mut streams = Streams::new();
        for (number, spec) in running.graph.spec.sources.iter().enumerate() {
            let inbox = running.inboxes.get(number).filter(|_| index == running.first_worker);
            let (rows, rejected) =
                source::build(all_ticks.clone(), spec, inbox.cloned().flatten(), index, peers, running);
            streams.insert(spec.name.clone(), rows);
            streams.insert(rejected_name(&spec.name), rejected);
        }
        for stage in &running.graph.stages {
            let input = union(scope, &streams, &stage.from)?;
            let at = stages::At { ticks: all_ticks.clone(), index, peers, running };
            let (rows, rejected) = stages::build(stage, input, at)?;
            streams.insert(stage.name.clone(), rows);
            streams.insert(rejected_name(&stage.name), rejected);
        }
        for (number, spec) in running.graph.spec.sinks.iter().enumerate() {
            let input = union(scope, &streams, &spec.from)?;
            let sink = if index == 0 { running.take_sink(number) } else { None };
            sinks::build(spec, input, all_ticks.clone(), sink, running).probe_with(&committed);
        }
        sinks::unread(&streams, running, &committed);
        Ok::<(), Error>(())
    })?;
    Ok(Dataflow { ticks, committed })
}

/// Sends each tick to every worker.
fn broadcast(ticks: Ticks<'_>, peers: usize) -> Ticks<'_> {
    ticks.flat_map(move |tick| (0..peers as u64).map(move |to| Tick { to, ..tick })).exchange(|tick: &Tick| tick.to)
}

/// One stream of several, whose order is the same however their parts arrive.
fn union<'s>(scope: Scope<'s, u64>, streams: &Streams<'s>, from: &[String]) -> Result<Parts<'s>> {
    let find = |name: &String| {
        streams.get(name).cloned().ok_or_else(|| Error::bug(format!("the stream `{name}` is not built yet")))
    };
    if let [only] = from {
        return find(only);
    }
    let count = from.len() as u64;
    let mut inputs = Vec::new();
    for (place, name) in (0u64..).zip(from) {
        inputs.push(find(name)?.map(move |part: Part| Part {
            order: PartOrder(part.order.0.saturating_mul(count).saturating_add(place)),
            ..part
        }));
    }
    Ok(scope.concatenate(inputs))
}
