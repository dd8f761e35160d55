//! Sinks in the graph: all rows of a batch come to worker 0, which commits them.

use super::Streams;
use crate::checkpoint::resolve::commits;
use crate::context::Tick;
use crate::fault;
use crate::ids::BatchId;
use crate::job::spec::{SinkKind, SinkSpec};
use crate::metrics::Counts;
use crate::running::Running;
use crate::sink::Sink;
use crate::timely_ext::{Parts, Ticks, each_batch, each_part};
use timely::dataflow::operators::vec::Map;

/// Commits the batches of a sink, once the gate has passed them. `sink` is there on worker 0. Returns a stream without
/// rows that has passed a batch when it is committed.
pub fn build<'s>(
    spec: &SinkSpec,
    input: Parts<'s>,
    gate: Ticks<'s>,
    mut sink: Option<Box<dyn Sink>>,
    running: &Running,
) -> Parts<'s> {
    let (counted, job) = (running.graph.spec.counts_of_sink(&spec.name), running.metrics.clone());
    // What is shown only is no sink of the job.
    let shown = matches!(spec.kind, SinkKind::Sample { .. });
    let metrics = if shown { Counts::default() } else { running.metrics.of(&counted) };
    let replaying =
        running.kept.as_ref().map_or(BatchId(0), |kept| kept.replay.last().map_or(BatchId(0), |(batch, _)| *batch));
    let markers = running.kept.as_ref().map(|kept| kept.markers.clone()).unwrap_or_default();
    let name = spec.name.clone();
    let (stream, _) = each_batch(input, gate, &spec.name, running.failure.clone(), |_| 0, {
        move |context, parts, _| {
            let Some(sink) = &mut sink else { return Ok(()) };
            let rows: Vec<_> = parts.into_iter().map(|part| part.rows).collect();
            let committed = sink.committed().filter(|_| context.id <= replaying && !fault::bug!("no-skip"));
            if !commits(context.id, committed) {
                markers.set(&name, sink.committed());
                return Ok(());
            }
            metrics.add_rows(rows.iter().map(|rows| rows.num_rows()).sum());
            sink.commit(context.id, context.time, rows)?;
            markers.set(&name, sink.committed());
            job.progressed();
            Ok(())
        }
    });
    stream
}

/// Streams that nothing reads still belong to the batch; rejected rows among them are told to the operator, the first
/// ones in words.
pub fn unread<'s>(streams: &Streams<'s>, running: &Running) -> Vec<Parts<'s>> {
    let graph = &running.graph;
    let inputs = graph.stages.iter().flat_map(|stage| &stage.inputs).map(|input| &input.from);
    let readers = inputs.chain(graph.spec.sinks.iter().map(|sink| &sink.from));
    let read: Vec<&String> = readers.flatten().collect();
    let mut ends = Vec::new();
    for (name, stream) in streams.iter().filter(|(name, _)| !read.contains(name)) {
        let Some(of) = name.strip_suffix(".rejected") else {
            ends.push(stream.clone());
            continue;
        };
        let stage = graph.stages.iter().find(|stage| stage.name == of);
        let reason_at = stage.map(|stage| stage.rejected.reason_at());
        let (of, metrics) = (of.to_owned(), running.metrics.of(of));
        let (stream, _) = each_part(stream.clone(), name, running.failure.clone(), move |context, part, _| {
            metrics.tell_rejected(&of, context.id, &part.rows, reason_at);
            Ok(())
        });
        ends.push(stream);
    }
    ends
}

/// The same progress, without anything in it.
pub fn only_progress(gate: Ticks<'_>) -> Parts<'_> {
    gate.flat_map(|_: Tick| None)
}
