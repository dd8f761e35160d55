//! Sinks in the graph: all rows of a batch come to worker 0, which commits them.

use super::Streams;
use crate::job::spec::SinkSpec;
use crate::run::Running;
use crate::sink::Sink;
use crate::timely_ext::{Parts, Ticks, each_batch, each_part};
use timely::dataflow::operators::{Probe, probe};

/// Commits the batches of a sink. `sink` is there on worker 0. Returns a stream without rows, for the probe.
pub fn build<'s>(
    spec: &SinkSpec,
    input: Parts<'s>,
    ticks: Ticks<'s>,
    mut sink: Option<Box<dyn Sink>>,
    running: &Running,
) -> Parts<'s> {
    let metrics = running.metrics.of(&spec.name);
    let (stream, _) = each_batch(input, ticks, &spec.name, running.failure.clone(), |_| 0, {
        move |context, parts, _| {
            let Some(sink) = &mut sink else { return Ok(()) };
            let rows: Vec<_> = parts.into_iter().map(|part| part.rows).collect();
            metrics.add_rows(rows.iter().map(|rows| rows.num_rows()).sum());
            sink.commit(context.id, context.time, rows)
        }
    });
    stream
}

/// Streams that nothing reads still belong to the batch, so the probe watches them; rejected rows among them are told
/// to the operator, the first ones in words.
pub fn unread(streams: &Streams<'_>, running: &Running, committed: &probe::Handle<u64>) {
    let graph = &running.graph;
    let readers = graph.stages.iter().map(|stage| &stage.from).chain(graph.spec.sinks.iter().map(|sink| &sink.from));
    let read: Vec<&String> = readers.flatten().collect();
    for (name, stream) in streams.iter().filter(|(name, _)| !read.contains(name)) {
        let Some(of) = name.strip_suffix(".rejected") else {
            stream.clone().probe_with(committed);
            continue;
        };
        let (of, metrics) = (of.to_owned(), running.metrics.of(of));
        let (stream, _) = each_part(stream.clone(), name, running.failure.clone(), move |context, part, _| {
            metrics.tell_rejected(&of, context.id, &part.rows);
            Ok(())
        });
        stream.probe_with(committed);
    }
}
