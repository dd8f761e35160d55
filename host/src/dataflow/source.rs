//! Sources in the graph: cut a batch when its tick comes, spread the chunks over the workers, decode them there.

use crate::batch::chunk::Chunk;
use crate::batch::decode::Decoder;
use crate::ids::{BatchId, BatchTime, PartOrder};
use crate::job::spec::SourceSpec;
use crate::receiver::inbox::Inbox;
use crate::run::Running;
use crate::timely_ext::{BatchContext, Output, Parts, Ticks};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// A chunk on its way to the worker that decodes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Cut {
    to: u64,
    order: PartOrder,
    time: BatchTime,
    chunk: Chunk,
}

/// A source's rows and rejected rows. `inbox` is there on the one worker that takes from it.
pub fn build<'s>(
    ticks: Ticks<'s>,
    spec: &SourceSpec,
    inbox: Option<Arc<Inbox>>,
    index: usize,
    peers: usize,
    running: &Running,
) -> (Parts<'s>, Parts<'s>) {
    decode(cut(ticks, spec, inbox, index, peers), spec, running)
}

/// Takes from the inbox what a batch holds. It passes on a chunk a worker and then lets the others run, so that what
/// decoding and the first stages make of a chunk is still in the processor's cache when it is used.
fn cut<'s>(
    ticks: Ticks<'s>,
    spec: &SourceSpec,
    inbox: Option<Arc<Inbox>>,
    index: usize,
    peers: usize,
) -> Stream<'s, u64, Vec<Cut>> {
    let (rows_max, bytes_max) = (spec.rows_per_batch_max, spec.bytes_per_batch_max);
    let scope = ticks.scope();
    let mut builder = OperatorBuilder::new(format!("source {}", spec.name), scope);
    let activator = scope.activator_for(builder.operator_info().address);
    let mut ticks = builder.new_input(ticks, Pipeline);
    let (output, stream) = builder.new_output::<Vec<Cut>>();
    let mut output = OutputBuilder::<u64, CapacityContainerBuilder<Vec<Cut>>>::from(output);
    builder.build(move |_| {
        let mut waiting: VecDeque<(Capability<u64>, Cut)> = VecDeque::new();
        let mut spread = Spread { bytes: vec![0; peers] };
        move |_| {
            ticks.for_each(|capability, ticks| {
                let (Some(inbox), Some(tick)) = (&inbox, ticks.first()) else { return };
                let chunks = inbox.take(BatchId(*capability.time()), rows_max, bytes_max);
                let small = chunks.len() == 1;
                for (place, chunk) in (0u64..).zip(chunks) {
                    let to = if small { index as u64 } else { spread.next(chunk.bytes.len() as u64) };
                    let cut = Cut { to, order: PartOrder(place), time: tick.time, chunk };
                    waiting.push_back((capability.retain(0), cut));
                }
            });
            for (capability, cut) in waiting.drain(..peers.min(waiting.len())) {
                output.activate().session(&capability).give(cut);
            }
            if !waiting.is_empty() {
                activator.activate();
            }
        }
    });
    stream
}

/// Spreads chunks over the workers: each goes to the one that has had the least. A batch of one chunk does not count
/// and stays where it is, as waking another worker takes longer than a small batch.
struct Spread {
    bytes: Vec<u64>,
}

impl Spread {
    fn next(&mut self, bytes: u64) -> u64 {
        let least = (0..self.bytes.len()).min_by_key(|worker| self.bytes[*worker]).unwrap_or(0);
        self.bytes[least] = self.bytes[least].saturating_add(bytes);
        least as u64
    }
}

fn decode<'s>(cuts: Stream<'s, u64, Vec<Cut>>, spec: &SourceSpec, running: &Running) -> (Parts<'s>, Parts<'s>) {
    let mut decoder = Decoder::new(spec);
    let metrics = running.metrics.of(&spec.name);
    let mut builder = OperatorBuilder::new(format!("decode {}", spec.name), cuts.scope());
    let mut cuts = builder.new_input(cuts, Exchange::new(|cut: &Cut| cut.to));
    let (rows, rows_stream) = builder.new_output();
    let (rejected, rejected_stream) = builder.new_output();
    let mut rows = OutputBuilder::<u64, CapacityContainerBuilder<_>>::from(rows);
    let mut rejected = OutputBuilder::<u64, CapacityContainerBuilder<_>>::from(rejected);
    builder.build(move |_| {
        move |_| {
            cuts.for_each(|capability, cuts| {
                let mut output = Output::default();
                for cut in cuts.drain(..) {
                    let decoded = decoder.decode(&cut.chunk);
                    let context = BatchContext { id: BatchId(*capability.time()), time: cut.time };
                    metrics.add_rows(decoded.rows.num_rows());
                    output.push(context, cut.order, decoded.rows);
                    if let Some(refused) = decoded.rejected {
                        metrics.add_rejected(refused.num_rows());
                        output.reject(context, cut.order, refused);
                    }
                }
                rows.activate().session(&capability).give_iterator(output.rows.into_iter());
                rejected.activate().session(&capability).give_iterator(output.rejected.into_iter());
            });
        }
    });
    (rows_stream, rejected_stream)
}
