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

/// Takes from the inbox what a batch holds.
fn cut<'s>(
    ticks: Ticks<'s>,
    spec: &SourceSpec,
    inbox: Option<Arc<Inbox>>,
    index: usize,
    peers: usize,
) -> Stream<'s, u64, Vec<Cut>> {
    let (rows_max, bytes_max) = (spec.rows_per_batch_max, spec.bytes_per_batch_max);
    let mut builder = OperatorBuilder::new(format!("source {}", spec.name), ticks.scope());
    let mut ticks = builder.new_input(ticks, Pipeline);
    let (output, stream) = builder.new_output::<Vec<Cut>>();
    let mut output = OutputBuilder::<u64, CapacityContainerBuilder<Vec<Cut>>>::from(output);
    let mut spread = Spread { bytes: vec![0; peers] };
    builder.build(move |_| {
        move |_| {
            ticks.for_each(|capability, ticks| {
                let (Some(inbox), Some(tick)) = (&inbox, ticks.first()) else { return };
                let chunks = inbox.take(BatchId(*capability.time()), rows_max, bytes_max).chunks;
                let small = chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>() <= SMALL_BATCH_BYTES;
                let cuts = (0u64..).zip(chunks).map(|(place, chunk)| {
                    let to = if small { index as u64 } else { spread.next(chunk.bytes.len() as u64) };
                    Cut { to, order: PartOrder(place), time: tick.time, chunk }
                });
                output.activate().session(&capability).give_iterator(cuts);
            });
        }
    });
    stream
}

/// A batch of so many bytes stays where it is: waking another worker takes longer than what it could help.
const SMALL_BATCH_BYTES: usize = 64 << 10;

/// Spreads chunks over the workers: each goes to the one that has had the least.
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

/// Decodes the chunks that come to this worker: one, and then the others run, so that what decoding and the first
/// stages make of a chunk is still in the processor's cache when it is used.
fn decode<'s>(cuts: Stream<'s, u64, Vec<Cut>>, spec: &SourceSpec, running: &Running) -> (Parts<'s>, Parts<'s>) {
    let mut decoder = Decoder::new(spec);
    let metrics = running.metrics.of(&spec.name);
    let scope = cuts.scope();
    let mut builder = OperatorBuilder::new(format!("decode {}", spec.name), scope);
    let activator = scope.activator_for(builder.operator_info().address);
    let mut cuts = builder.new_input(cuts, Exchange::new(|cut: &Cut| cut.to));
    let (rows, rows_stream) = builder.new_output();
    let (rejected, rejected_stream) = builder.new_output();
    let mut rows = OutputBuilder::<u64, CapacityContainerBuilder<_>>::from(rows);
    let mut rejected = OutputBuilder::<u64, CapacityContainerBuilder<_>>::from(rejected);
    builder.build(move |_| {
        let mut waiting: VecDeque<(Capability<u64>, Capability<u64>, Cut)> = VecDeque::new();
        move |_| {
            cuts.for_each(|capability, cuts| {
                waiting.extend(cuts.drain(..).map(|cut| (capability.retain(0), capability.retain(1), cut)));
            });
            let Some((for_rows, for_rejected, cut)) = waiting.pop_front() else { return };
            let decoded = decoder.decode(&cut.chunk);
            let context = BatchContext { id: BatchId(*for_rows.time()), time: cut.time };
            let mut output = Output::default();
            metrics.add_rows(decoded.rows.num_rows());
            output.push(context, cut.order, decoded.rows);
            if let Some(refused) = decoded.rejected {
                metrics.add_rejected(refused.num_rows());
                output.reject(context, cut.order, refused);
            }
            rows.activate().session(&for_rows).give_iterator(output.rows.into_iter());
            rejected.activate().session(&for_rejected).give_iterator(output.rejected.into_iter());
            if !waiting.is_empty() {
                activator.activate();
            }
        }
    });
    (rows_stream, rejected_stream)
}
