//! Counters of plugins in checkpoints: the counts of a batch go to the worker that owns the counter once the batch can no longer fail. A replayed
//! batch is in no checkpoint yet, so it counts once.

use crate::checkpoint::changes::TableChanges;
use crate::checkpoint::counters::{COLUMNS, TABLE};
use crate::checkpoint::loaded::LoadedCheckpoint;
use crate::checkpoint::read::fields;
use crate::exchange::{parts_of, split_by_key};
use crate::operators::by_key::hashes;
use crate::running::Running;
use crate::state::StateTable;
use crate::state::table_checkpoint::TableCheckpoint;
use crate::timely_ext::{BatchWork, ChangesStream, Output, Parts, Pending, Ticks, each_batch_with_state};
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, Schema};
use millstream_base::context::{BatchContext, Tick};
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, ClockId, PartOrder};
use millstream_metrics::Metrics;
use millstream_rows::batch::keys::Keys;
use millstream_rows::batch::part::Part;
use std::sync::Arc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// Builds both steps, after all stages; `None` if no checkpoint holds counters. `gate` has passed a batch when it can no longer fail.
pub fn build<'s>(
    ticks: &Ticks<'s>,
    gate: Ticks<'s>,
    (index, peers): (usize, usize),
    running: &Running,
) -> Result<Option<ChangesStream<'s>>> {
    let Some(checkpoints) = &running.checkpoints else { return Ok(None) };
    let Some(checkpoint) = TableCheckpoint::open(checkpoints, TABLE, index, peers) else { return Ok(None) };
    let (metrics, failure) = (running.metrics.clone(), running.failure.clone());
    let work = CounterTotals::new(&checkpoints.loaded, checkpoint, index, &metrics)?;
    let is_first = index == running.threads.first;
    let process_counts = process_counts(ticks.clone(), gate, is_first, peers, metrics, failure.clone());
    let (_, _, changes) =
        each_batch_with_state(process_counts, ticks.clone(), "counters", failure, |part: &Part| part.to, work);
    Ok(Some(changes))
}

/// On the first worker of each process: the counts of the process in each batch.
fn process_counts<'s>(
    ticks: Ticks<'s>,
    gate: Ticks<'s>,
    is_first: bool,
    peers: usize,
    metrics: Metrics,
    failure: Failure,
) -> Parts<'s> {
    let mut builder = OperatorBuilder::new("counted".to_owned(), ticks.scope());
    let mut ticks = builder.new_input(ticks, Pipeline);
    let mut gate = builder.new_input(gate, Pipeline);
    let (parts, parts_stream) = builder.new_output::<Vec<Part>>();
    let mut parts = OutputBuilder::<u64, CapacityContainerBuilder<Vec<Part>>>::from(parts);
    builder.build(move |_| {
        let mut batches = Pending::default();
        move |frontiers| {
            gate.for_each(|_, _| {});
            ticks.for_each(|capability, ticks| {
                if let Some(tick) = ticks.first().filter(|_| is_first && !BatchId::of_stamp(*capability.time()).1) {
                    batches.insert(*capability.time(), (*tick, capability.retain(0)));
                }
            });
            batches.each_complete(frontiers, &failure, |stamp, (tick, capability)| {
                let process_counts = counted_parts(&metrics, BatchId::of_stamp(stamp).0, *tick, peers)?;
                parts.activate().session(capability).give_iterator(process_counts.into_iter());
                Ok(())
            });
        }
    });
    parts_stream
}

/// Returns the unsent counts of the process up to a batch, for the workers that own the counters.
fn counted_parts(metrics: &Metrics, batch: BatchId, tick: Tick, peers: usize) -> Result<Vec<Part>> {
    let (mut stages, mut counters, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for (stage, process_counts) in metrics.take_counted(batch) {
        for (counter, count) in process_counts {
            stages.push(stage.clone());
            counters.push(counter);
            counts.push(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
    if counts.is_empty() {
        return Ok(Vec::new());
    }
    let (stages, counters): (ArrayRef, ArrayRef) =
        (Arc::new(StringArray::from(stages)), Arc::new(StringArray::from(counters)));
    let counts: ArrayRef = Arc::new(Int64Array::from(counts));
    let ([stage, counter], count) = COLUMNS;
    let rows =
        RecordBatch::try_from_iter([(stage, stages), (counter, counters), (count, counts)]).map_err(Error::arrow)?;
    let split = split_by_key(&rows, &hashes(&[0, 1], &rows)?, peers).map_err(Error::arrow)?;
    let part = Part { to: 0, order: PartOrder::at(0), clock_id: ClockId::MADE, input: 0, time: tick.time, rows };
    Ok(parts_of(split, &part).collect())
}

/// The counters that a worker owns, since the job's first start.
struct CounterTotals {
    table: StateTable,
    checkpoint: TableCheckpoint,
}

impl CounterTotals {
    fn new(
        loaded: &LoadedCheckpoint,
        checkpoint: TableCheckpoint,
        index: usize,
        metrics: &Metrics,
    ) -> Result<CounterTotals> {
        let within = |error: Error| error.within("the checkpoint: counters of plugins");
        let Some(table) = loaded.tables.iter().find(|table| table.name == TABLE) else {
            return Err(Error::bug("no table of counters"));
        };
        let new = || {
            let state = Arc::new(Schema::new(fields(&table.state)?));
            StateTable::new(fields(&table.key)?, state, None).map_err(Error::arrow)
        };
        let mut table = new()?;
        checkpoint.restore(&mut table).map_err(within)?;
        // Only one process sends the earlier counts, so that none is sent twice.
        if index == 0 {
            let mut all = new()?;
            for rows in checkpoint.load_all()?.unwrap_or_default() {
                all.restore(&rows, |_| true).map_err(within)?;
            }
            metrics.restore_counters(counts_by_name(&all.rows()?));
        }
        Ok(CounterTotals { table, checkpoint })
    }

    fn add(&mut self, rows: &RecordBatch) -> Result<()> {
        let (Some(columns), Some(counts)) = (rows.columns().get(..2), count_column(rows)) else {
            return Err(Error::bug("counters without their columns"));
        };
        let keys = Keys::encode(columns, rows.num_rows()).map_err(Error::arrow)?;
        let view = keys.view();
        let slots = keys.hashes().into_iter().enumerate().map(|(row, hash)| self.table.slot(view.get(row), hash));
        let slots: Vec<u32> = slots.collect();
        let (before, _) = self.table.states(&slots).map_err(Error::arrow)?;
        let before = before.columns().first().and_then(|counts| counts.as_primitive_opt::<Int64Type>());
        let Some(before) = before else { return Err(Error::bug("a table of counters without counts")) };
        let sums = before.values().iter().zip(counts.values()).map(|(before, new)| before.saturating_add(*new));
        let sums: ArrayRef = Arc::new(Int64Array::from_iter_values(sums));
        let sums = RecordBatch::try_from_iter([(COLUMNS.1, sums)]).map_err(Error::arrow)?;
        self.table.store(&slots, &sums, &BooleanArray::from(vec![true; slots.len()]));
        Ok(())
    }
}

impl BatchWork for CounterTotals {
    fn batch(&mut self, _context: BatchContext, parts: Vec<Part>, _output: &mut Output) -> Result<()> {
        parts.iter().try_for_each(|part| self.add(&part.rows))
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        vec![&mut self.table]
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<TableChanges>> {
        Ok(self.checkpoint.changes(after, &mut self.table)?.into_iter().collect())
    }
}

fn count_column(rows: &RecordBatch) -> Option<&Int64Array> {
    rows.columns().get(2)?.as_primitive_opt::<Int64Type>()
}

/// Returns counts by stage and counter, from rows of the table.
fn counts_by_name(rows: &RecordBatch) -> Vec<(String, String, u64)> {
    let text = |column_index: usize| rows.columns().get(column_index).and_then(|column| column.as_string_opt::<i32>());
    let (Some(stages), Some(counters), Some(counts)) = (text(0), text(1), count_column(rows)) else {
        return Vec::new();
    };
    let row = |row: usize| {
        let count = u64::try_from(counts.value(row)).unwrap_or_default();
        (stages.value(row).to_owned(), counters.value(row).to_owned(), count)
    };
    (0..rows.num_rows()).map(row).collect()
}
