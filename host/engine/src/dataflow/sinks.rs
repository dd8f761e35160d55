//! Sinks in the graph. Either all rows of a batch go to worker 0, which commits them, or they stay on their workers and each commits its own. If the
//! sink has a suitable encoding, rows are encoded on their workers before they go to worker 0.

mod commit_thread;

use super::Streams;
use crate::running::Running;
use crate::timely_ext::{Completions, Output, Parts, Pending, Ticks, each_part, leak_name};
use commit_thread::{CommitThread, CompleteBatch, SinkCommitter};
use millstream_base::context::Tick;
use millstream_base::error::Result;
use millstream_base::ids::BatchId;
use millstream_connect::sink::Encoder;
use millstream_job::spec::SinkSpec;
use millstream_metrics::Counts;
use millstream_metrics::work::OperatorWork;
use millstream_rows::batch::part::Part;
use millstream_rows::batch::sink::Sink;
use std::collections::BTreeMap;
use std::rc::Rc;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::vec::Map;

/// Starts the thread on which this worker's sinks commit: all sinks on worker 0, and their shares on others.
pub fn commit_thread(worker: usize, running: &Running) -> Result<Option<Rc<CommitThread>>> {
    let specs = running.graph.spec.sinks.iter().enumerate();
    let open = specs.filter_map(|(number, spec)| {
        let sink = match spec.kind.by_worker() {
            true => running.endpoints.take_share(number, worker),
            false if worker == 0 => running.endpoints.take_sink(number),
            false => None,
        };
        Some((number, committer((number, spec), sink?, running)))
    });
    let open: BTreeMap<_, _> = open.collect();
    if open.is_empty() && worker > 0 {
        return Ok(None);
    }
    CommitThread::start(open, &running.failure).map(|thread| Some(Rc::new(thread)))
}

/// Commits the batches of a sink once the gate has passed them. `number` is the sink's index in the job; `thread` is that of this worker. Returns a
/// stream without rows that has passed a batch when it is committed.
pub fn build<'s>(
    (number, spec): (usize, &SinkSpec),
    input: Parts<'s>,
    gate: Ticks<'s>,
    worker: usize,
    thread: Option<Rc<CommitThread>>,
    running: &Running,
) -> Result<Parts<'s>> {
    let to = if spec.kind.by_worker() { worker } else { 0 };
    let input = encoded_ahead(spec, input, running)?;
    let thread = thread.filter(|_| to == worker);
    let scope = input.scope();
    let mut builder = OperatorBuilder::new(spec.name.clone(), scope);
    let committed = Completions::<()>::new(scope, &builder);
    let (failure, batches) = (running.failure.clone(), running.metrics.batches().clone());
    let mut input = builder.new_input(input, Exchange::new(move |_: &Part| to as u64));
    let mut gate = builder.new_input(gate, Pipeline);
    let (_committed, stream) = builder.new_output::<Vec<Part>>();
    builder.build(move |_| {
        let mut parts: BTreeMap<u64, Vec<Part>> = BTreeMap::new();
        let mut complete = Pending::default();
        let mut committing = BTreeMap::new();
        move |frontiers| {
            input.for_each(|capability, more| parts.entry(*capability.time()).or_default().append(more));
            gate.for_each(|capability, ticks| {
                let barrier = BatchId::of_stamp(*capability.time()).1;
                if let Some(tick) = ticks.first().filter(|_| thread.is_some() && !barrier) {
                    complete.insert(*capability.time(), (tick.time, Some(capability.retain(0))));
                }
            });
            complete.each_complete(frontiers, &failure, |stamp, (time, capability)| {
                let Some(thread) = &thread else { return Ok(()) };
                let mut parts = parts.remove(&stamp).unwrap_or_default();
                parts.sort_by(|a, b| a.order.cmp(&b.order));
                committing.insert(stamp, capability.take());
                let id = BatchId::of_stamp(stamp).0;
                batches.record_ready(id);
                thread.add(CompleteBatch { sink: number, id, time: *time, parts, committed: committed.clone() });
                Ok(())
            });
            for (stamp, ()) in committed.take() {
                committing.remove(&stamp);
            }
        }
    });
    Ok(stream)
}

/// Encodes rows on the worker that has them. A job with one worker leaves that to the commit thread, so that both are busy. A sink that skips
/// replayed batches needs the rows.
/// both are busy. Who replays a batch wants the rows.
fn encoded_ahead<'s>(spec: &SinkSpec, input: Parts<'s>, running: &Running) -> Result<Parts<'s>> {
    let graph = &running.graph;
    if spec.kind.by_worker() || input.scope().peers() == 1 || running.options.dry {
        return Ok(input);
    }
    let Some(encoder) = Encoder::new(spec, &graph.union(&spec.from)?, &graph.spec.origin)? else { return Ok(input) };
    let encode = move |_, part: Part, output: &mut Output| {
        output.rows.push(Part { rows: encoder.encode(&part.rows)?, ..part });
        Ok(())
    };
    Ok(each_part(input, &spec.name, running.failure.clone(), encode).0)
}

/// Returns the state for committing the batches of a sink.
fn committer((number, spec): (usize, &SinkSpec), sink: Box<dyn Sink>, running: &Running) -> SinkCommitter {
    // Samples are not sinks of the job.
    let visible_sample = spec.kind.is_sample();
    let counted = running.graph.spec.counts_of_sink(&spec.name);
    let checkpoints = running.checkpoints.as_ref();
    SinkCommitter {
        sink,
        name: leak_name(&spec.name),
        replayed: checkpoints.map_or(BatchId(0), |checkpoints| checkpoints.replay.last()),
        markers: checkpoints.map(|checkpoints| checkpoints.writers.markers.clone()).unwrap_or_default(),
        counts: if visible_sample { Counts::default() } else { running.metrics.counts(&counted) },
        metrics: running.metrics.clone(),
        work: OperatorWork::new(running.metrics.batches(), running.part_of_sink(number)),
    }
}

/// Collects streams that are not read, as they still belong to the batch. Rejected rows among them are reported to the operator, the first ones with
/// their text.
pub fn unread<'s>(streams: &Streams<'s>, running: &Running) -> Vec<Parts<'s>> {
    let graph = &running.graph;
    let inputs = graph.stages.iter().flat_map(|stage| &stage.inputs).map(|input| &input.from);
    let readers = inputs.chain(graph.spec.sinks.iter().map(|sink| &sink.from));
    let read: Vec<&String> = readers.flatten().collect();
    let mut streams_out = Vec::new();
    for (name, stream) in streams.iter().filter(|(name, _)| !read.contains(name)) {
        let Some(of) = name.strip_suffix(".rejected") else {
            streams_out.push(stream.clone());
            continue;
        };
        let stage = graph.stages.iter().find(|stage| stage.name == of);
        let reason_at = stage.map(|stage| stage.rejected.reason_at());
        let (of, metrics) = (of.to_owned(), running.metrics.counts(of));
        let (stream, _) = each_part(stream.clone(), name, running.failure.clone(), move |context, part, _| {
            metrics.log_rejected(&of, context.id, &part.rows, reason_at);
            Ok(())
        });
        streams_out.push(stream);
    }
    streams_out
}

/// Returns the same progress, as a stream without rows.
pub fn only_progress(gate: Ticks<'_>) -> Parts<'_> {
    gate.flat_map(|_: Tick| None)
}
