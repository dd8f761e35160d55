//! The timely graph of a job, built identically on every worker:
//!
//! ```text
//! ticks -> source -> decode -> [stage -> exchange -> stage …] -> sink
//! ```

mod checkpoint;
mod counters;
pub mod empty_batches;
mod rejections;
mod sinks;
mod source;
mod swap;

use crate::graph::{Graph, rejected_name};
use crate::operators;
use crate::operators::context::{BuildContext, StagesAround};
use crate::operators::stage::StageNode;
use crate::running::Running;
use crate::timely_ext::{ChangesStream, Parts, ProgressStream, Ticks};
use millstream_base::context::Tick;
use millstream_base::error::{Error, Result};
use millstream_base::ids::ClockId;
use millstream_job::table_source;
use millstream_metrics::hot_keys::KeySamples;
use millstream_metrics::work::building;
use millstream_rows::batch::part::Part;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Concatenate, Exchange, Probe, probe};
use timely::dataflow::{InputHandle, Scope};
use timely::worker::Worker;

/// The input into which worker 0 sends ticks.
pub type TickInput = InputHandle<u64, CapacityContainerBuilder<Vec<Tick>>>;

/// A built graph, as the worker drives it.
pub struct Dataflow {
    /// Worker 0 sends ticks here; the others close theirs.
    pub ticks: TickInput,
    /// The committed batches: those that the probe has passed.
    pub committed: probe::Handle<u64>,
    /// Like `committed`; also, the checkpoints after them are published, and the plugins after them replaced.
    pub finished: probe::Handle<u64>,
}

/// The streams that exist while the graph is built, by name.
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
            let holding = stage.event_time.iter().flat_map(|time| time.holding.values());
            let holding: BTreeSet<&String> = holding.flat_map(BTreeMap::values).map(|stage| &stage.name).collect();
            let hold_streams = holding.into_iter().filter_map(|name| holds.get(name)).cloned();
            let upstream = scope.concatenate(hold_streams.chain([ended.clone()]).collect::<Vec<_>>());
            let (ticks, (index, peers)) = (all_ticks.clone(), this);
            let build = BuildContext {
                ticks,
                upstream,
                table,
                index,
                peers,
                job: &running.graph.spec,
                graph: &running.graph,
                budget: running.graph.budget.as_ref(),
                failure: &running.failure,
                metrics: &running.metrics,
                checkpoints: running.checkpoints.as_ref(),
                ahead: running.options.ahead.as_ref(),
                versions: &running.plugins.versions,
                next_versions: Arc::new(running.plugins.upgrades.clone()),
            };
            let streams = {
                let _of_stage =
                    running.part_of_stage(&stage.name).map(|part| building(running.metrics.batches(), part));
                let input = sampled(stage, input.clone(), this.0);
                operators::run::build(stage, input, &build)?
            };
            built.gate.extend(rejections::build(stage, input, streams.rejected.clone(), &all_ticks, running));
            built.streams.insert(stage.name.clone(), streams.rows);
            built.streams.insert(rejected_name(&stage.name), streams.rejected);
            built.streams.extend(stage.sides.iter().map(|(name, _)| name.clone()).zip(streams.sides));
            built.changes.extend(streams.changes);
            holds.extend(streams.holds.map(|hold_streams| (stage.name.clone(), hold_streams)));
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
            checkpoint::notify_receivers(barriers, published, this.0, running).probe_with(&finished);
        }
        Ok::<(), Error>(())
    })?;
    Ok(Dataflow { ticks, committed, finished })
}

/// The part of the graph that is built so far.
struct GraphBuilder<'s> {
    streams: Streams<'s>,
    /// Sinks commit a batch when all of these have passed it: it can no longer fail, and its plan is durable.
    gate: Vec<Ticks<'s>>,
    changes: Vec<ChangesStream<'s>>,
}

impl<'s> GraphBuilder<'s> {
    /// Builds the sources; returns the streams that report their ends.
    fn sources(
        &mut self,
        ticks: &Ticks<'s>,
        worker: (usize, usize),
        running: &Arc<Running>,
    ) -> Vec<ProgressStream<'s>> {
        let mut ended = Vec::new();
        for (number, spec) in running.graph.spec.sources.iter().enumerate() {
            let inbox =
                running.endpoints.inboxes.get(number).filter(|_| worker.0 == running.threads.first).cloned().flatten();
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

    /// Returns two streams without rows: one has passed a batch when all sinks have committed it, the other when they may.
    fn sinks(&mut self, scope: Scope<'s, u64>, index: usize, running: &Arc<Running>) -> Result<(Parts<'s>, Ticks<'s>)> {
        let mut committed_streams = sinks::unread(&self.streams, running);
        self.gate.extend(committed_streams.iter().cloned().map(progress_of));
        let mut inputs = Vec::new();
        for spec in &running.graph.spec.sinks {
            let input = union(scope, &self.streams, &spec.from, &running.graph)?;
            self.gate.push(progress_of(input.clone()));
            inputs.push(input);
        }
        let gate = scope.concatenate(self.gate.drain(..));
        let thread = sinks::commit_thread(index, running)?;
        for (sink, input) in running.graph.spec.sinks.iter().enumerate().zip(inputs) {
            committed_streams.push(sinks::build(sink, input, gate.clone(), index, thread.clone(), running)?);
        }
        Ok((scope.concatenate(committed_streams.into_iter().chain([sinks::only_progress(gate.clone())])), gate))
    }
}

/// Returns the progress of a stream, without its rows.
fn progress_of(parts: Parts<'_>) -> Ticks<'_> {
    parts.flat_map(|_: Part| None)
}

/// Sends each tick to every worker.
fn broadcast(ticks: Ticks<'_>, peers: usize) -> Ticks<'_> {
    ticks.flat_map(move |tick| (0..peers as u64).map(move |to| Tick { to, ..tick })).exchange(|tick: &Tick| tick.to)
}

/// Returns the input of a stage: one stream, in which parts contain the input from which they came.
fn inputs<'s>(scope: Scope<'s, u64>, streams: &Streams<'s>, stage: &StageNode, graph: &Graph) -> Result<Parts<'s>> {
    if let [only] = stage.inputs.as_slice() {
        return union(scope, streams, &only.from, graph);
    }
    let mut inputs = Vec::new();
    for (input_number, input) in (0u32..).zip(&stage.inputs) {
        let made = graph.clock_among(&input.name, stage.inputs.len(), ClockId::MADE);
        inputs.push(union(scope, streams, &input.from, graph)?.map(move |part: Part| Part {
            input: input_number,
            clock_id: if part.clock_id == ClockId::MADE { made } else { part.clock_id },
            ..part
        }));
    }
    Ok(scope.concatenate(inputs))
}

/// Returns the same rows, and samples their keys: for stages with one input and a key.
fn sampled<'s>(stage: &StageNode, input: Parts<'s>, worker: usize) -> Parts<'s> {
    if stage.key.is_empty() || stage.inputs.len() != 1 {
        return input;
    }
    let mut samples = KeySamples::of_built(stage.key.clone(), worker);
    input.map(move |part: Part| {
        samples.sample(&part.rows);
        part
    })
}

/// Merges several streams into one whose order does not depend on arrival. If parts depend on the number of workers, one stream follows the other.
fn union<'s>(scope: Scope<'s, u64>, streams: &Streams<'s>, from: &[String], graph: &Graph) -> Result<Parts<'s>> {
    let find = |name: &String| {
        streams.get(name).cloned().ok_or_else(|| Error::bug(format!("the stream `{name}` is not built yet")))
    };
    if let [only] = from {
        return find(only);
    }
    let mut inputs = Vec::new();
    let fixed = graph.order_is_fixed(from);
    for (stream_number, name) in (0u64..).zip(from) {
        let made = graph.clock_among(name, from.len(), ClockId::MADE);
        inputs.push(find(name)?.map(move |part: Part| Part {
            order: if fixed { part.order.then(stream_number) } else { part.order.of_stream(stream_number) },
            clock_id: if part.clock_id == ClockId::MADE { made } else { part.clock_id },
            ..part
        }));
    }
    Ok(scope.concatenate(inputs))
}
