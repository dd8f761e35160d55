//! Sources in the graph: cut a batch when its tick comes, write its plan, distribute the chunks to the workers, decode them there.

mod hand_out;
mod speeds;
mod spread;

use self::hand_out::ChunkDistributor;
use self::spread::Spread;
use crate::checkpoint::changes::TableChanges;
use crate::checkpoint::plan::PlanWriter;
use crate::checkpoint::positions::PositionTable;
use crate::checkpoint::types::{PlanEntry, TableOf};
use crate::limits::PART_DECODED_BYTES_MAX;
use crate::running::Running;
use crate::timely_ext::{ChangesStream, Completions, Output, Parts, ProgressStream, Ticks};
use millstream_base::context::{BatchContext, Event, Progress, Tick};
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, BatchTime, ClockId, PartOrder};
use millstream_base::limits::DECODED_TIMES_MAX;
use millstream_base::memory::{self, mark_busy};
use millstream_connect::receiver;
use millstream_job::spec::{Origin, RereadClient, SourceKind, SourceSpec};
use millstream_metrics::Counts;
use millstream_metrics::batches::Batches;
use millstream_metrics::work::OperatorWork;
use millstream_rows::batch::chunk::{Chunk, PlannedChunk};
use millstream_rows::batch::partition::{self, AT_END, CLOCK_PREFIX, FILE_CLOCK_PREFIX, MORE, REPORTS_END};
use millstream_rows::batch::position::{Extent, Position, SOURCE_END};
use millstream_rows::batch::topic;
use millstream_rows::decode::Decoder;
use millstream_rows::inbox::{Inbox, TakeLimits};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// A chunk that is sent to the worker that decodes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct CutChunk {
    /// The worker that distributes it.
    from: u64,
    to: u64,
    /// The chunk's length as counted by the distributing worker: it may change when the chunk is sent to another process.
    bytes: u64,
    order: PartOrder,
    time: BatchTime,
    chunk: Chunk,
}

/// The streams of a source.
pub struct SourceStreams<'s> {
    /// Its rows.
    pub rows: Parts<'s>,
    /// Its rejected rows.
    pub rejected: Parts<'s>,
    /// A stream without rows that has passed a batch when the plan of the batch is durable.
    pub planned: Ticks<'s>,
    /// Its positions, at barriers.
    pub changes: ChangesStream<'s>,
    /// Changes of its partitions; after its end, that with each batch.
    pub ended: ProgressStream<'s>,
}

/// Builds a source. `inbox` is set on the worker that takes chunks from it.
pub fn build<'s>(
    ticks: Ticks<'s>,
    number: usize,
    spec: &SourceSpec,
    inbox: Option<Arc<Inbox>>,
    worker: (usize, usize),
    running: &Arc<Running>,
) -> SourceStreams<'s> {
    let cutter = inbox.map(|inbox| Cutter::new(number, spec, inbox, running));
    let near = spec.kind.is_spread().then_some(running.threads.all());
    let hands = ChunkDistributor::new(number, worker.0, Spread::new(&running.graph.spec, worker, near), running);
    let CutStreams { cuts, planned, changes, ended } =
        cut(ticks, spec, (cutter, hands), worker.1, running.failure.clone());
    let (rows, rejected) = decode(cuts, number, spec, worker.0, running);
    SourceStreams { rows, rejected, planned, changes, ended }
}

/// Decides which chunks of a source form a batch: the planned ones, or those waiting in the inbox.
struct Cutter {
    spec: SourceSpec,
    /// Its name in plans.
    planned_as: String,
    origin: Origin,
    inbox: Arc<Inbox>,
    checkpoint: Option<SourceCheckpoint>,
    new_events: SourceEvents,
    batches: Batches,
}

/// What stages must know of a source in addition to its rows.
struct SourceEvents {
    /// Its number.
    source: u32,
    /// Its positions are those of files, which may have any name.
    names_files: bool,
    /// The last batch that was cut, or an earlier one, contained the end of the source: nothing more comes.
    ended: bool,
    /// Events of its partitions, for the batch that is cut.
    partitions: Vec<Event>,
    /// Changes in which of them are at their ends.
    end_changes: BTreeMap<ClockId, bool>,
}

impl SourceEvents {
    /// Creates it without events.
    fn empty(source: u32, names_files: bool) -> SourceEvents {
        SourceEvents { source, names_files, ended: false, partitions: Vec::new(), end_changes: BTreeMap::new() }
    }

    /// Records positions changed by a batch, or loaded from a checkpoint.
    fn moved<'a>(&mut self, moved: impl Iterator<Item = (&'a String, &'a Position)>) {
        for (name, position) in moved {
            let events = match self.names_files {
                true => file_events(self.source, name, *position),
                false => partition_events(self.source, name, *position),
            };
            match name.as_str() {
                // No file has such an end; only a limit of a job without checkpoints ends a directory.
                SOURCE_END if self.names_files => self.ended |= *position == (Position { offset: 0, mark: 1 }),
                SOURCE_END => self.ended = position.mark != 0,
                _ => {}
            }
            for event in events.into_iter().flatten() {
                match event {
                    // Events of a batch override those of the checkpoint.
                    Event::AtEnd { clock_id, at_end } => drop(self.end_changes.insert(clock_id, at_end)),
                    event => self.partitions.push(event),
                }
            }
        }
    }

    /// Returns the events for the batch that was cut, once.
    fn events(&mut self) -> Vec<Event> {
        let mut events = std::mem::take(&mut self.partitions);
        let end_changes = std::mem::take(&mut self.end_changes).into_iter();
        events.extend(end_changes.map(|(clock_id, at_end)| Event::AtEnd { clock_id, at_end }));
        events.extend(self.ended.then_some(Event::Ended(self.source)));
        events
    }
}

/// The checkpoint data of a source, if the job keeps checkpoints.
struct SourceCheckpoint {
    plans: PlanWriter,
    /// The index of its positions in the job's tables.
    table: usize,
    positions: PositionTable,
    /// The batches to replay.
    entries: BTreeMap<BatchId, PlanEntry>,
    /// The last of them.
    replayed: BatchId,
    keeps_rows: bool,
    /// What is kept during a replay.
    again: RereadClient,
}

impl Cutter {
    fn new(number: usize, spec: &SourceSpec, inbox: Arc<Inbox>, running: &Arc<Running>) -> Cutter {
        let mut new_events = SourceEvents::empty(number as u32, spec.kind.names_files());
        let checkpoint = running.checkpoints.as_ref().and_then(|checkpoints| {
            let start = checkpoints.sources.take(number)?;
            // Stages that already know the partitions get them again, new ones for the first time.
            new_events.moved(start.table.positions().iter());
            Some(SourceCheckpoint {
                plans: checkpoints.writers.plans.clone(),
                table: checkpoints.loaded.index_of(TableOf::Source, &spec.name)?,
                positions: start.table,
                entries: start.entries,
                replayed: checkpoints.replay.last(),
                keeps_rows: spec.kind.keeps_rows(),
                again: RereadClient::default(),
            })
        });
        let planned_as = partition::plan_name(&spec.name, spec.kind.is_spread(), running.options.process_and_count());
        let origin = running.graph.spec.origin.clone();
        let batches = running.metrics.batches().clone();
        Cutter { spec: spec.clone(), planned_as, origin, inbox, checkpoint, new_events, batches }
    }

    /// Orders chunks. Those of distributed partitions are in the order of their key groups, of which each process owns a range. So the order does not
    /// depend on the number of processes.
    fn in_order(&self, chunks: Vec<Chunk>) -> Vec<(PartOrder, Chunk)> {
        if !self.spec.kind.is_spread() {
            return (0..).map(PartOrder::at).zip(chunks).collect();
        }
        // Rows left over by a version that read all partitions in one process come first, as they are older.
        let group = |file: &str| if file.is_empty() { 0 } else { partition::group_of(file) };
        let grouped = chunks.into_iter().map(|chunk| (group(&chunk.extent.file), chunk));
        let mut grouped: Vec<(u32, Chunk)> = grouped.collect();
        grouped.sort_by_key(|(group, _)| *group);
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        let ordered = grouped.into_iter().map(|(group, chunk)| {
            let count = counts.entry(group).or_default();
            *count += 1;
            (PartOrder::at(*count).prefixed(u64::from(group)), chunk)
        });
        ordered.collect()
    }

    /// Returns the chunks of a batch. `durable` is called when the batch's plan is; a replayed batch already has one.
    fn cut(&mut self, batch: BatchId, tick: Tick, durable: impl FnOnce() + Send + 'static) -> Result<Vec<Chunk>> {
        let (spec, time) = (&self.spec, tick.time);
        if let Some(checkpoint) = &mut self.checkpoint
            && batch <= checkpoint.replayed
        {
            self.inbox.skip(batch);
            let entry = checkpoint.entries.remove(&batch).unwrap_or_default();
            let chunks =
                receiver::replay::replay(spec, &self.origin, &entry.chunks, &entry.moved, &mut checkpoint.again)
                    .map_err(|error| error.within(format!("batch {batch} is replayed")))?;
            self.new_events.moved(entry.moved.iter().map(|(name, position)| (name, position)));
            checkpoint.positions.apply(entry.moved);
            durable();
            return Ok(chunks);
        }
        let taken = if tick.made_up {
            self.inbox.pass(batch)
        } else {
            let row_bytes = SourceSpec::decoded_row_bytes(&spec.schema);
            let bytes = memory::batch_bytes_max(spec.bytes_per_batch_max);
            let decoded_max = bytes.saturating_mul(DECODED_TIMES_MAX) / row_bytes;
            let take_limits = TakeLimits {
                rows: spec.rows_per_batch_max.min(decoded_max),
                bytes,
                rows_of_part: PART_DECODED_BYTES_MAX / row_bytes,
            };
            self.inbox.take(batch, take_limits)
        };
        self.new_events.moved(taken.moved.iter().map(|(name, position)| (name, position)));
        let (inbox, batches) = (self.inbox.clone(), self.batches.clone());
        let durable = move || {
            inbox.plan_is_durable(batch);
            batches.record_plan(batch);
            durable();
        };
        match &mut self.checkpoint {
            None => durable(),
            Some(checkpoint) => {
                checkpoint.again = RereadClient::default();
                checkpoint.positions.apply(taken.moved.clone());
                let kept = self.inbox.kept_of(&taken.chunks);
                let chunks = taken.chunks.iter().zip(kept).map(|(chunk, is_kept)| PlannedChunk {
                    extent: chunk.extent.clone(),
                    rows: chunk.rows() as u32,
                    kept: (checkpoint.keeps_rows || is_kept).then(|| chunk.clone()),
                });
                let chunks = chunks.collect();
                let entry = PlanEntry {
                    batch,
                    time,
                    source: self.planned_as.clone(),
                    made_up: tick.made_up,
                    chunks,
                    moved: taken.moved,
                };
                checkpoint.plans.add(entry, Box::new(durable));
            }
        }
        Ok(taken.chunks)
    }

    /// Returns the positions for the checkpoint after this batch, and starts a new log for later plans.
    fn barrier(&mut self, after: BatchId) -> Result<Option<TableChanges>> {
        let Some(checkpoint) = &mut self.checkpoint else { return Ok(None) };
        checkpoint.plans.rotate(after);
        self.inbox.barrier(after, checkpoint.positions.positions());
        checkpoint.positions.changes(checkpoint.table, after)
    }
}

/// Returns the events of a partition for its position; none for other positions.
fn partition_events(source: u32, name: &str, position: Position) -> [Option<Event>; 2] {
    let at_end = |clock_id| {
        let marks = matches!(position.mark, AT_END | MORE);
        marks.then_some(Event::AtEnd { clock_id, at_end: position.mark == AT_END })
    };
    match name.strip_prefix(CLOCK_PREFIX) {
        Some("") => [at_end(ClockId::for_stream(source)), None],
        Some(partition) => {
            let clock = partition::clock_of(source, partition);
            if position == Position::GONE {
                return [Some(Event::PartitionGone(clock)), None];
            }
            [Some(Event::Partition(clock)), (position.mark == REPORTS_END).then_some(Event::TellsEnd(clock))]
        }
        None if topic::is_name(name) => [at_end(partition::clock_of(source, name)), None],
        None => [None, None],
    }
}

/// Does the same for a directory. Files that are being read are not at their end, nor are unread ones.
fn file_events(source: u32, name: &str, position: Position) -> [Option<Event>; 2] {
    match name.strip_prefix(FILE_CLOCK_PREFIX).map(|file| partition::clock_of(source, file)) {
        None => [None, None],
        Some(clock_id) if position == Position::GONE => [Some(Event::PartitionGone(clock_id)), None],
        Some(clock_id) => [Some(Event::Partition(clock_id)), Some(Event::TellsEnd(clock_id))],
    }
}

/// The streams of the operator that cuts batches out of an inbox.
struct CutStreams<'s> {
    cuts: Stream<'s, u64, Vec<CutChunk>>,
    /// It stays at a batch until the batch's plan is durable.
    planned: Ticks<'s>,
    changes: ChangesStream<'s>,
    ended: ProgressStream<'s>,
}

/// Takes a batch's chunks when its tick comes.
fn cut<'s>(
    ticks: Ticks<'s>,
    spec: &SourceSpec,
    (mut cutter, mut hands): (Option<Cutter>, ChunkDistributor),
    peers: usize,
    failure: Failure,
) -> CutStreams<'s> {
    let scope = ticks.scope();
    let mut builder = OperatorBuilder::new(format!("source {}", spec.name), scope);
    let durable = Completions::new(scope, &builder);
    if cutter.is_some() {
        hands.begin(scope.worker().sync_activator_for(builder.operator_info().address.to_vec()));
    }
    let mut ticks = builder.new_input(ticks, Pipeline);
    let (output, stream) = builder.new_output::<Vec<CutChunk>>();
    let (_planned, planned_stream) = builder.new_output::<Vec<Tick>>();
    let (changes, changes_stream) = builder.new_output::<Vec<TableChanges>>();
    let (ended, ended_stream) = builder.new_output::<Vec<Progress>>();
    let mut ended = OutputBuilder::<u64, CapacityContainerBuilder<Vec<Progress>>>::from(ended);
    let mut output = OutputBuilder::<u64, CapacityContainerBuilder<Vec<CutChunk>>>::from(output);
    let mut changes = OutputBuilder::<u64, CapacityContainerBuilder<Vec<TableChanges>>>::from(changes);
    builder.build(move |_| {
        // Capabilities of batches whose plans are not durable, and of failed ones.
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
                let planned = durable.clone();
                match cutter.cut(batch, *tick, move || planned.complete(stamp, ())) {
                    Ok(chunks) => {
                        let bytes = chunks.iter().map(Chunk::bytes).sum::<usize>();
                        let rows = chunks.iter().map(|chunk| chunk.rows() as u64).sum();
                        cutter.batches.record_input(batch, rows, bytes as u64);
                        let chunks = cutter.in_order(chunks);
                        let counts: Vec<_> = chunks.iter().map(|(order, chunk)| (order, chunk.bytes())).collect();
                        let workers = hands.batch(batch, &counts);
                        for (required_worker, (order, chunk)) in workers.into_iter().zip(chunks) {
                            let bytes = chunk.bytes() as u64;
                            let cut = CutChunk { from: hands.worker, to: 0, bytes, order, time: tick.time, chunk };
                            hands.add(capability.retain(0), required_worker, cut);
                        }
                        for what in cutter.new_events.events() {
                            let copies = (0..peers as u64).map(|to| Progress { to, what });
                            ended.activate().session(&capability).give_iterator(copies);
                        }
                    }
                    Err(error) => {
                        failure.set(error);
                        stuck.push(capability.retain(0));
                    }
                }
            });
            for (stamp, ()) in durable.take() {
                planning.remove(&stamp);
            }
            let mut output = output.activate();
            hands.hand_out(|capability, cut| output.session(capability).give(cut));
        }
    });
    CutStreams { cuts: stream, planned: planned_stream, changes: changes_stream, ended: ended_stream }
}

/// Returns the clock of the rows of a chunk.
fn clock_of(source: u32, kind: &SourceKind, extent: &Extent) -> ClockId {
    match extent.start {
        _ if kind.can_report_ends() || kind.spreads_files() => partition::clock_of(source, &extent.file),
        partition if kind.has_partitions() => ClockId { stream: source, partition },
        _ => ClockId::for_stream(source),
    }
}

/// Decodes the chunks of this worker, yielding after each one, so that its rows are still in the processor's cache when the first stages use them.
fn decode<'s>(
    cuts: Stream<'s, u64, Vec<CutChunk>>,
    number: usize,
    spec: &SourceSpec,
    worker: usize,
    running: &Arc<Running>,
) -> (Parts<'s>, Parts<'s>) {
    let given_back = spec.kind.retry_dir().is_some();
    let kind = spec.kind.clone();
    let mut decoder = Decoder::new(spec.decoder_spec());
    // Tables are not sources in the job file.
    let is_table = spec.kind.table().is_some();
    let metrics = if is_table { Counts::default() } else { running.metrics.counts(&spec.name) };
    let scope = cuts.scope();
    let operator: &'static String = Box::leak(Box::new(format!("decode {}", spec.name)));
    let operator_work = OperatorWork::new(running.metrics.batches(), running.part_of_source(number));
    let (failure, running) = (running.failure.clone(), running.clone());
    let mut builder = OperatorBuilder::new(operator.clone(), scope);
    let activator = scope.activator_for(builder.operator_info().address);
    let mut cuts = builder.new_input(cuts, Exchange::new(|cut: &CutChunk| cut.to));
    let (rows, rows_stream) = builder.new_output();
    let (rejected, rejected_stream) = builder.new_output();
    let mut rows = OutputBuilder::<u64, CapacityContainerBuilder<_>>::from(rows);
    let mut rejected = OutputBuilder::<u64, CapacityContainerBuilder<_>>::from(rejected);
    builder.build(move |_| {
        let mut waiting: VecDeque<(Capability<u64>, Capability<u64>, CutChunk)> = VecDeque::new();
        move |_| {
            cuts.for_each(|capability, cuts| {
                waiting.extend(cuts.drain(..).map(|cut| (capability.retain(0), capability.retain(1), cut)));
            });
            let Some((for_rows, for_rejected, cut)) = waiting.pop_front() else { return };
            let _at_work = mark_busy(operator);
            if let Err(error) = memory::check() {
                failure.set(error);
                waiting.push_front((for_rows, for_rejected, cut));
                return;
            }
            let begun = operator_work.begin();
            let decoded = decoder.decode(&cut.chunk);
            let context = BatchContext::new(BatchId::of_stamp(*for_rows.time()).0, cut.time);
            let clock_id = if given_back { ClockId::NONE } else { clock_of(number as u32, &kind, &cut.chunk.extent) };
            let mut output = Output { clock_id, ..Output::default() };
            operator_work.end(context.id, begun);
            running.loads.add_decoded(worker, number, cut.bytes, cut.from == running.threads.first as u64);
            metrics.add_rows(decoded.rows.num_rows());
            output.push(context, cut.order.clone(), decoded.rows);
            if let Some(rejected_rows) = decoded.rejected {
                metrics.add_rejected(rejected_rows.num_rows());
                operator_work.record_rejected(context.id, &rejected_rows, false);
                output.reject(context, cut.order, rejected_rows);
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

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_rows::batch::partition::clock_name;

    #[test]
    fn what_a_batch_says_of_the_end_of_a_partition_counts_and_not_what_the_checkpoint_has() {
        let mut new_events = SourceEvents::empty(3, false);
        let clock = |name| partition::clock_of(3, name);
        let moved = |new_events: &mut SourceEvents, moved: &[(&str, i64)]| {
            let moved = moved.iter().map(|(name, mark)| ((*name).to_owned(), Position { offset: 7, mark: *mark }));
            let moved: Vec<_> = moved.collect();
            new_events.moved(moved.iter().map(|(name, position)| (name, position)));
        };
        let (old, new) = (clock_name("/t/0"), clock_name("/t/1"));
        moved(
            &mut new_events,
            &[(&old, 0), (&new, REPORTS_END), ("/t/0", AT_END), ("/t/1", MORE), ("/t/2", 0), ("topic:t", 2)],
        );
        moved(&mut new_events, &[("/t/0", MORE), ("/t/1", AT_END), (CLOCK_PREFIX, MORE)]);
        let at_end = |clock_id, at_end| Event::AtEnd { clock_id, at_end };
        let mut expected = vec![
            Event::Partition(clock("/t/0")),
            Event::Partition(clock("/t/1")),
            Event::TellsEnd(clock("/t/1")),
            at_end(ClockId::for_stream(3), false),
            at_end(clock("/t/0"), false),
            at_end(clock("/t/1"), true),
        ];
        let mut events = new_events.events();
        events.sort();
        expected.sort();
        assert_eq!(events, expected);
        moved(&mut new_events, &[("/t/0", Position::GONE.mark), (SOURCE_END, 1)]);
        assert_eq!(new_events.events(), [Event::Ended(3)], "told once, and a permanent end");
    }

    #[test]
    fn a_file_of_a_dir_may_have_any_name() {
        let mut new_events = SourceEvents::empty(3, true);
        let at = |name: &str, position| (name.to_owned(), position);
        let end = Position { offset: 7, mark: 77 };
        let clock_id = Position { offset: 0, mark: REPORTS_END };
        let moved = [at("end", end), at(&clock_name("a"), end), at("/t/0", end), at("/clock:a", clock_id)];
        new_events.moved(moved.iter().map(|(name, position)| (name, position)));
        let clock_id = partition::clock_of(3, "a");
        assert_eq!(new_events.events(), [Event::Partition(clock_id), Event::TellsEnd(clock_id)]);
    }
}
