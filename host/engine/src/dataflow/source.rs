//! Sources in the graph: cut a batch when its tick comes, have its plan written, spread the chunks over the workers,
//! decode them there.

use crate::batch::chunk::Chunk;
use crate::batch::chunk::PlannedChunk;
use crate::batch::position::{Position, SOURCE_END};
use crate::checkpoint::changes::Changes;
use crate::checkpoint::plan::PlanWriter;
use crate::checkpoint::positions::{self, PositionTable};
use crate::checkpoint::types::{Piece, TableOf};
use crate::context::{BatchContext, Event, Progress, Tick};
use crate::decode::Decoder;
use crate::error::Result;
use crate::failure::Failure;
use crate::ids::{BatchId, BatchTime, ClockId, PartOrder};
use crate::job::spec::{Origin, SourceKind, SourceSpec};
use crate::limits::{DECODED_TIMES_MAX, PART_DECODED_BYTES_MAX};
use crate::memory::{self, at_work};
use crate::metrics::Counts;
use crate::receiver::{
    self,
    inbox::{Inbox, Most, Taken},
};
use crate::running::Running;
use crate::timely_ext::{Answers, ChangesStream, Output, Parts, ProgressStream, Ticks};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
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

/// What a source gives to the graph.
pub struct SourceStreams<'s> {
    /// Its rows.
    pub rows: Parts<'s>,
    /// Its rejected rows.
    pub rejected: Parts<'s>,
    /// Nothing; it has passed a batch when the plan of the batch is durable.
    pub planned: Ticks<'s>,
    /// Its positions, at barriers.
    pub changes: ChangesStream<'s>,
    /// That it has ended, with each batch since.
    pub ended: ProgressStream<'s>,
}

/// Builds a source. `inbox` is there on the one worker that takes from it.
pub fn build<'s>(
    ticks: Ticks<'s>,
    number: usize,
    spec: &SourceSpec,
    inbox: Option<Arc<Inbox>>,
    worker: (usize, usize),
    running: &Arc<Running>,
) -> SourceStreams<'s> {
    let cutter = inbox.map(|inbox| Cutter::new(number, spec, inbox, running));
    let Cutting { cuts, planned, changes, ended } = cut(ticks, number, spec, cutter, worker, running.failure.clone());
    let (rows, rejected) = decode(cuts, number, spec, running);
    SourceStreams { rows, rejected, planned, changes, ended }
}

/// Decides what a batch holds of a source: what is planned, or what waits in the inbox.
struct Cutter {
    spec: SourceSpec,
    origin: Origin,
    inbox: Arc<Inbox>,
    kept: Option<KeptSource>,
    /// The last batch that was cut, or one before it, held the end of the source: nothing comes any more.
    ended: bool,
}

/// What a source does where the job keeps checkpoints.
struct KeptSource {
    plan: PlanWriter,
    /// The place of its positions among the job's tables.
    table: usize,
    positions: PositionTable,
    /// The batches that are run again.
    pieces: BTreeMap<BatchId, Piece>,
    /// The last of them.
    replayed: BatchId,
    keeps_rows: bool,
}

impl Cutter {
    fn new(number: usize, spec: &SourceSpec, inbox: Arc<Inbox>, running: &Arc<Running>) -> Cutter {
        let mut ended = false;
        let kept = running.kept.as_ref().and_then(|kept| {
            let start = kept.take_source(number)?;
            ended = start.table.positions().get(SOURCE_END).is_some_and(|end| end.mark != 0);
            Some(KeptSource {
                plan: kept.plan.clone(),
                table: kept.table(TableOf::Source, &spec.name)?,
                positions: start.table,
                pieces: start.pieces,
                replayed: kept.replay.last().map_or(BatchId(0), |(batch, _)| *batch),
                keeps_rows: positions::keeps_rows(spec),
            })
        });
        Cutter { spec: spec.clone(), origin: running.graph.spec.origin.clone(), inbox, kept, ended }
    }

    /// The chunks of a batch. `durable` is called when the batch's plan is; a batch that is run again has one.
    fn cut(&mut self, batch: BatchId, tick: Tick, durable: impl FnOnce() + Send + 'static) -> Result<Vec<Chunk>> {
        let (spec, time) = (&self.spec, tick.time);
        let ended = |moved: &[(String, Position)], before: bool| {
            moved.iter().rev().find(|(name, _)| name == SOURCE_END).map_or(before, |(_, end)| end.mark != 0)
        };
        if let Some(kept) = &mut self.kept
            && batch <= kept.replayed
        {
            self.inbox.skip(batch);
            let piece = kept.pieces.remove(&batch).unwrap_or_default();
            let chunks = receiver::replay::replay(spec, &self.origin, &piece.chunks, &piece.moved)
                .map_err(|error| error.within(format!("batch {batch} is run again")))?;
            self.ended = ended(&piece.moved, self.ended);
            kept.positions.apply(piece.moved);
            durable();
            return Ok(chunks);
        }
        let taken = if tick.made_up {
            self.inbox.skip(batch);
            Taken::default()
        } else {
            let row_bytes = SourceSpec::decoded_row_bytes(&spec.schema);
            let bytes = memory::batch_bytes_max(spec.bytes_per_batch_max);
            let decoded_max = bytes.saturating_mul(DECODED_TIMES_MAX) / row_bytes;
            let most = Most {
                rows: spec.rows_per_batch_max.min(decoded_max),
                bytes,
                rows_of_part: PART_DECODED_BYTES_MAX / row_bytes,
            };
            self.inbox.take(batch, most)
        };
        self.ended = ended(&taken.moved, self.ended);
        match &mut self.kept {
            None => durable(),
            Some(kept) => {
                kept.positions.apply(taken.moved.clone());
                let chunks = taken.chunks.iter().map(|chunk| PlannedChunk {
                    extent: chunk.extent.clone(),
                    rows: chunk.rows() as u32,
                    kept: kept.keeps_rows.then(|| chunk.clone()),
                });
                let chunks = chunks.collect();
                let piece = Piece { batch, time, source: spec.name.clone(), chunks, moved: taken.moved };
                kept.plan.add(piece, Box::new(durable));
            }
        }
        Ok(taken.chunks)
    }

    /// Positions for the checkpoint after this batch; its later plans go to a new log.
    fn barrier(&mut self, after: BatchId) -> Result<Option<Changes>> {
        let Some(kept) = &mut self.kept else { return Ok(None) };
        kept.plan.rotate(after);
        kept.positions.changes(kept.table, after)
    }
}

/// What is cut of a source.
struct Cutting<'s> {
    cuts: Stream<'s, u64, Vec<Cut>>,
    /// It stays at a batch until the batch's plan is durable.
    planned: Ticks<'s>,
    changes: ChangesStream<'s>,
    ended: ProgressStream<'s>,
}

/// Takes a batch's chunks when its tick comes.
fn cut<'s>(
    ticks: Ticks<'s>,
    number: usize,
    spec: &SourceSpec,
    mut cutter: Option<Cutter>,
    (index, peers): (usize, usize),
    failure: Failure,
) -> Cutting<'s> {
    let scope = ticks.scope();
    let mut builder = OperatorBuilder::new(format!("source {}", spec.name), scope);
    let answers = Answers::new(scope.worker().sync_activator_for(builder.operator_info().address.to_vec()));
    let mut ticks = builder.new_input(ticks, Pipeline);
    let (output, stream) = builder.new_output::<Vec<Cut>>();
    let (_planned, planned_stream) = builder.new_output::<Vec<Tick>>();
    let (changes, changes_stream) = builder.new_output::<Vec<Changes>>();
    let (ended, ended_stream) = builder.new_output::<Vec<Progress>>();
    let mut ended = OutputBuilder::<u64, CapacityContainerBuilder<Vec<Progress>>>::from(ended);
    let mut output = OutputBuilder::<u64, CapacityContainerBuilder<Vec<Cut>>>::from(output);
    let mut changes = OutputBuilder::<u64, CapacityContainerBuilder<Vec<Changes>>>::from(changes);
    let mut spread = Spread { bytes: vec![0; peers] };
    builder.build(move |_| {
        // Capabilities of batches whose plans are not durable, and of what failed.
        let mut planning = BTreeMap::new();
        let mut stuck = Vec::new();
        move |_| {
            ticks.for_each(|capability, ticks| {
                let (Some(cutter), Some(tick)) = (&mut cutter, ticks.first()) else { return };
                let stamp = *capability.time();
                let (batch, barrier) = BatchId::of_stamp(stamp);
                if barrier {
                    match cutter.barrier(batch) {
                        Ok(saved) => changes.activate().session(&capability).give_iterator(saved.into_iter()),
                        Err(error) => {
                            failure.set(error);
                            stuck.push(capability.retain(2));
                        }
                    }
                    return;
                }
                planning.insert(stamp, capability.retain(1));
                let durable = answers.clone();
                match cutter.cut(batch, *tick, move || durable.give(stamp, ())) {
                    Ok(chunks) => {
                        let small = chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>() <= SMALL_BATCH_BYTES;
                        let cuts = (0u64..).zip(chunks).map(|(place, chunk)| {
                            let to = if small { index as u64 } else { spread.next(chunk.bytes.len() as u64) };
                            Cut { to, order: PartOrder::at(place), time: tick.time, chunk }
                        });
                        output.activate().session(&capability).give_iterator(cuts);
                        if cutter.ended {
                            let told = (0..peers as u64).map(|to| Progress { to, what: Event::Ended(number as u32) });
                            ended.activate().session(&capability).give_iterator(told);
                        }
                    }
                    Err(error) => {
                        failure.set(error);
                        stuck.push(capability.retain(0));
                    }
                }
            });
            for (stamp, ()) in answers.take() {
                planning.remove(&stamp);
            }
        }
    });
    Cutting { cuts: stream, planned: planned_stream, changes: changes_stream, ended: ended_stream }
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
fn decode<'s>(
    cuts: Stream<'s, u64, Vec<Cut>>,
    number: usize,
    spec: &SourceSpec,
    running: &Running,
) -> (Parts<'s>, Parts<'s>) {
    let given_back = matches!(spec.kind, SourceKind::Retry { .. });
    let clock_id = if given_back { ClockId::NONE } else { ClockId(number as u32) };
    let mut decoder = Decoder::new(spec);
    // A table is no source that the author of the job knows.
    let is_table = matches!(spec.kind, SourceKind::Table(_));
    let metrics = if is_table { Counts::default() } else { running.metrics.of(&spec.name) };
    let scope = cuts.scope();
    let operator: &'static String = Box::leak(Box::new(format!("decode {}", spec.name)));
    let failure = running.failure.clone();
    let mut builder = OperatorBuilder::new(operator.clone(), scope);
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
            let _at_work = at_work(operator);
            if let Err(error) = memory::check() {
                failure.set(error);
                waiting.push_front((for_rows, for_rejected, cut));
                return;
            }
            let decoded = decoder.decode(&cut.chunk);
            let context = BatchContext::new(BatchId::of_stamp(*for_rows.time()).0, cut.time);
            let mut output = Output { clock_id, ..Output::default() };
            metrics.add_rows(decoded.rows.num_rows());
            output.push(context, cut.order.clone(), decoded.rows);
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
