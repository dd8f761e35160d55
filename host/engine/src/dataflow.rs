//! The timely graph of a job, built identically on every worker:
//!
//! ```text
//! ticks -> source -> decode -> [stage -> exchange -> stage …] -> sink
//! ```

mod aggregate;
mod by_key;
mod checkpoint;
mod cogroup;
mod counters;
mod enrich;
mod event_time;
mod in_place;
mod join;
mod latest;
mod pattern;
mod late;
mod plugin;
mod rejections;
mod rows_window;
mod sessions;
mod shadow;
mod shape;
mod sinks;
mod simple;
mod source;
#[cfg_attr(not(feature = "sql"), allow(unreachable_code, unused_variables))]
mod sql;
mod stages;
mod swap;
mod update;
pub mod window_ends;
mod windowed;

use crate::graph::{Graph, StageNode, rejected_name};
use crate::running::Running;
use crate::timely_ext::{ChangesStream, Parts, ProgressStream, Ticks};
use millstream_base::batch::part::Part;
use millstream_base::context::Tick;
use millstream_base::error::{Error, Result};
use millstream_base::ids::ClockId;
use millstream_base::job::table_source;
use millstream_metrics::hot_keys::KeySamples;
use millstream_metrics::work::building;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Concatenate, Exchange, Probe, probe};
use timely::dataflow::{InputHandle, Scope};
use timely::worker::Worker;

/// The input into which worker 0 puts ticks.
pub type TickInput = InputHandle<u64, CapacityContainerBuilder<Vec<Tick>>>;

/// A built graph, as the worker drives it.
pub struct Dataflow {
    /// Worker 0 sends ticks here; the others close theirs.
    pub ticks: TickInput,
    /// Which batches are committed: those that the probe has passed.
    pub committed: probe::Handle<u64>,
    /// As `committed`, and the checkpoints after them are published, and the plugins behind them replaced.
    pub finished: probe::Handle<u64>,
}

/// The streams that are there while the graph is built, by name.
type Streams<'s> = BTreeMap<String, Parts<'s>>;

/// Builds the graph on this worker.
pub fn build(worker: &mut Worker, running: &Arc<Running>) -> Result<Dataflow> {
    let this = (worker.index(), worker.peers());
    let mut ticks = TickInput::new();
    let (committed, finished) = (probe::Handle::new(), probe::Handle::new());
    worker.dataflow::<u64, _, _>(|scope| {
        let all_ticks = broadcast(ticks.to_stream(scope), this.1);
        let mut built = GraphBuilder { streams: Streams::new(), gate: vec![all_ticks.clone()], changes: Vec::new() };
        let mut holds = BTreeMap::new();
        let ended = scope.concatenate(built.sources(&all_ticks, this, running));
        for stage in &running.graph.stages {
            let input = inputs(scope, &built.streams, stage, &running.graph)?;
            let table = built.streams.get(&table_source::name_of(&stage.name)).cloned();
            let behind = stage.event_time.iter().flat_map(|time| time.behind.values());
            let behind: BTreeSet<&String> = behind.flat_map(BTreeMap::values).map(|stage| &stage.name).collect();
            let held = behind.into_iter().filter_map(|name| holds.get(name)).cloned();
            let upstream = scope.concatenate(held.chain([ended.clone()]).collect::<Vec<_>>());
            let (ticks, (index, peers)) = (all_ticks.clone(), this);
            let build = stages::BuildContext { ticks, upstream, table, index, peers, running };
            let streams = {
                let _of_stage =
                    running.part_of_stage(&stage.name).map(|part| building(running.metrics.batches(), part));
                let input = sampled(stage, input.clone(), this.0);
                stages::build(stage, input, &build)?
            };
            built.gate.extend(rejections::build(stage, input, streams.rejected.clone(), &build));
            built.streams.insert(stage.name.clone(), streams.rows);
            built.streams.insert(rejected_name(&stage.name), streams.rejected);
            built.streams.extend(stage.sides.iter().map(|(name, _)| name.clone()).zip(streams.sides));
            built.changes.extend(streams.changes);
            holds.extend(streams.holds.map(|held| (stage.name.clone(), held)));
        }
        let (sunk, gate) = built.sinks(scope, this.0, running)?;
        sunk.clone().probe_with(&committed).probe_with(&finished);
        let swapped = swap::build(&all_ticks, sunk.clone(), this, running).probe_with(&finished);
        if let Some(checkpoints) = &running.checkpoints {
            built.changes.extend(counters::build(&all_ticks, gate, this, running)?);
            let changes = scope.concatenate(built.changes);
            let writer = checkpoints.writers.checkpoints.clone();
            let barriers = all_ticks.clone();
            let published = checkpoint::build(all_ticks, changes, sunk, swapped, this.0, writer, running);
            checkpoint::tell_receivers(barriers, published, this.0, running).probe_with(&finished);
        }
        Ok::<(), Error>(())
    })?;
    Ok(Dataflow { ticks, committed, finished })
}

/// The part of the graph that is built so far.
struct GraphBuilder<'s> {
    streams: Streams<'s>,
    /// Sinks commit a batch when all of these have passed it: nothing of it can fail any more, and its plan is durable.
    gate: Vec<Ticks<'s>>,
    changes: Vec<ChangesStream<'s>>,
}

impl<'s> GraphBuilder<'s> {
    /// Builds the sources; returns the streams by which they tell that they have ended.
    fn sources(
        &mut self,
        ticks: &Ticks<'s>,
        worker: (usize, usize),
        running: &Arc<Running>,
    ) -> Vec<ProgressStream<'s>> {
        let mut ended = Vec::new();
        for (number, spec) in running.graph.spec.sources.iter().enumerate() {
            let inbox =
                running.ends.inboxes.get(number).filter(|_| worker.0 == running.threads.first).cloned().flatten();
            let source = source::build(ticks.clone(), number, spec, inbox, worker, running);
            self.gate.extend(rejections::of_source(spec, &source, ticks, running));
            self.streams.insert(spec.name.clone(), source.rows);
            self.streams.insert(rejected_name(&spec.name), source.rejected);
            self.gate.push(source.planned);
            self.changes.push(source.changes);
            ended.push(source.ended);
        }
        ended
    }

    /// Two streams without rows: one has passed a batch when all sinks have committed it, the other when they may.
    fn sinks(&mut self, scope: Scope<'s, u64>, index: usize, running: &Arc<Running>) -> Result<(Parts<'s>, Ticks<'s>)> {
        let mut ends = sinks::unread(&self.streams, running);
        self.gate.extend(ends.iter().cloned().map(passed));
        let mut inputs = Vec::new();
        for spec in &running.graph.spec.sinks {
            let input = union(scope, &self.streams, &spec.from, &running.graph)?;
            self.gate.push(passed(input.clone()));
            inputs.push(input);
        }
        let gate = scope.concatenate(self.gate.drain(..));
        let thread = sinks::commit_thread(index, running)?;
        for (sink, input) in running.graph.spec.sinks.iter().enumerate().zip(inputs) {
            ends.push(sinks::build(sink, input, gate.clone(), index, thread.clone(), running)?);
        }
        Ok((scope.concatenate(ends.into_iter().chain([sinks::only_progress(gate.clone())])), gate))
    }
}

/// The progress of a stream, without its rows.
fn passed(parts: Parts<'_>) -> Ticks<'_> {
    parts.flat_map(|_: Part| None)
}

/// Sends each tick to every worker.
fn broadcast(ticks: Ticks<'_>, peers: usize) -> Ticks<'_> {
    ticks.flat_map(move |tick| (0..peers as u64).map(move |to| Tick { to, ..tick })).exchange(|tick: &Tick| tick.to)
}

/// What a stage works on: one stream, in which parts tell the input that they came in by.
fn inputs<'s>(scope: Scope<'s, u64>, streams: &Streams<'s>, stage: &StageNode, graph: &Graph) -> Result<Parts<'s>> {
    if let [only] = stage.inputs.as_slice() {
        return union(scope, streams, &only.from, graph);
    }
    let mut inputs = Vec::new();
    for (place, input) in (0u32..).zip(&stage.inputs) {
        let made = graph.clock_among(&input.name, stage.inputs.len(), ClockId::MADE);
        inputs.push(union(scope, streams, &input.from, graph)?.map(move |part: Part| Part {
            input: place,
            clock_id: if part.clock_id == ClockId::MADE { made } else { part.clock_id },
            ..part
        }));
    }
    Ok(scope.concatenate(inputs))
}

/// The same rows, of whose keys some are counted: those of a stage with one input and a key.
fn sampled<'s>(stage: &StageNode, input: Parts<'s>, worker: usize) -> Parts<'s> {
    if stage.key.is_empty() || stage.inputs.len() != 1 {
        return input;
    }
    let mut samples = KeySamples::of_built(stage.key.clone(), worker);
    input.map(move |part: Part| {
        samples.see(&part.rows);
        part
    })
}

/// One stream of several, whose order is the same however their parts arrive: that of arrival, or one stream behind the other
/// where their parts are others with another number of workers.
fn union<'s>(scope: Scope<'s, u64>, streams: &Streams<'s>, from: &[String], graph: &Graph) -> Result<Parts<'s>> {
    let find = |name: &String| {
        streams.get(name).cloned().ok_or_else(|| Error::bug(format!("the stream `{name}` is not built yet")))
    };
    if let [only] = from {
        return find(only);
    }
    let mut inputs = Vec::new();
    let fixed = graph.places_are_fixed(from);
    for (place, name) in (0u64..).zip(from) {
        let made = graph.clock_among(name, from.len(), ClockId::MADE);
        inputs.push(find(name)?.map(move |part: Part| Part {
            order: if fixed { part.order.then(place) } else { part.order.of_stream(place) },
            clock_id: if part.clock_id == ClockId::MADE { made } else { part.clock_id },
            ..part
        }));
    }
    Ok(scope.concatenate(inputs))
}
