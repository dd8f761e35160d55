//! Windows of processing time on the worker that owns the keys.

use super::{Results, gather};
use crate::aggregate::functions::Functions;
use crate::batch::keys::Keys;
use crate::batch::part::Part;
use crate::dataflow::stages::At;
use crate::error::{Error, Result};
use crate::graph::{Operator, StageNode, clock_table};
use crate::ids::{BatchId, PartOrder};
use crate::sql::expression::Expression;
use crate::state::StateTable;
use crate::state::keeper::Keeper;
use crate::timely_ext::{BatchContext, BatchWork, Changes, Output};
use crate::window::batches::{BatchWindows, Window, WindowClock};
use crate::window::microseconds;
use crate::window::panes::all;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema, SchemaRef, TimestampMicrosecondType};
use std::sync::Arc;

/// The stage on one worker.
pub struct Work {
    name: String,
    windows: BatchWindows,
    results: Results,
    partial: SchemaRef,
    keys: usize,
    interval_us: i64,
    /// What keys with running totals must fulfil to stay.
    filter: Option<Expression>,
    keeper: Option<Keeper>,
    saved: SavedClock,
}

impl Work {
    /// As the checkpoint that is loaded has it.
    pub fn new(stage: &StageNode, size_us: i64, slide_us: i64, at: &At<'_, '_>) -> Result<Work> {
        let mut results = Results::new(stage, at)?;
        let inverse = match &stage.operator {
            Operator::Aggregate(builtin) => builtin.inverse,
            Operator::Reduce(node) => node.description.inverse,
            _ => false,
        };
        let keys: Vec<Arc<Field>> =
            stage.key.iter().filter_map(|place| stage.input.fields().get(*place)).cloned().collect();
        let mut windows = BatchWindows::new(size_us, slide_us, inverse, &keys, &results.functions.accumulators()?)?;
        let keeper = Keeper::open(at.running, &stage.name, at.index, at.peers);
        let saved = SavedClock::open(stage, at)?;
        if let Some(keeper) = &keeper {
            let told = |error: Error| error.within(format!("stage `{}`: its state in the checkpoint", stage.name));
            keeper.restore(at.running, windows.panes().table()).map_err(told)?;
            if let Some(clock) = saved.clock {
                // Sums are made of what was there, in the batch after the one that the checkpoint holds.
                let context = at.running.kept.as_ref().map(|kept| kept.loaded).unwrap_or_default();
                let context = BatchContext::new(context.0, context.1).call();
                windows.restored(&mut results.functions.within(context), clock).map_err(told)?;
            }
        }
        Ok(Work {
            name: stage.name.clone(),
            windows,
            partial: results.functions.partial_schema(false),
            results,
            keys: stage.key.len(),
            interval_us: microseconds(at.running.graph.spec.batch),
            filter: stage.shape.as_ref().and_then(|shape| shape.filter.clone()).filter(|_| inverse),
            keeper,
            saved,
        })
    }

    fn window(&mut self, context: BatchContext, parts: Vec<Part>) -> Result<Option<Window>> {
        let rows = gather(parts, &self.partial, self.keys)?;
        let functions: &mut Functions = &mut self.results.functions;
        self.windows.batch(&mut functions.within(context.call()), context.time.0, self.interval_us, rows)
    }

    fn put_out(&mut self, context: BatchContext, window: Window, output: &mut Output) -> Result<()> {
        if window.ids.is_empty() {
            let nobody_else = !self.results.has_key && self.results.index == 0;
            if let Some(nothing) = self.results.functions.of_nothing()?.filter(|_| nobody_else) {
                self.results.metrics.add_rows(1);
                output.push(context, PartOrder::at(0), nothing);
            }
            return Ok(());
        }
        let rows = self.results.rows(context, std::slice::from_ref(&window))?;
        if let Some(filter) = &self.filter {
            let stays = filter.evaluate(context, &rows)?;
            let stays = stays.as_boolean();
            let leaves = |row: &usize| !stays.is_valid(*row) || !stays.value(*row);
            let leaving = (0..rows.num_rows()).filter(leaves).filter_map(|row| window.ids.get(row).copied());
            self.windows.panes().forget_empty(leaving);
        }
        self.results.metrics.add_rows(rows.num_rows());
        output.push(context, PartOrder::at(self.results.index as u64), rows);
        Ok(())
    }
}

impl BatchWork for Work {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let window = self.window(context, parts).and_then(|window| match window {
            Some(window) => self.put_out(context, window, output),
            None => Ok(()),
        });
        window.map_err(|error| error.within(format!("stage `{}`: batch {}", self.name, context.id)))
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<Changes>> {
        let Some(keeper) = &mut self.keeper else { return Ok(Vec::new()) };
        let panes = keeper.changes(after, self.windows.panes().table())?;
        let clock = self.saved.changes(after, self.windows.clock())?;
        Ok(panes.into_iter().chain(clock).collect())
    }
}

/// When windows end, as checkpoints hold it: one row, which all workers read and the first writes.
struct SavedClock {
    table: StateTable,
    keeper: Option<Keeper>,
    clock: Option<WindowClock>,
    writes: bool,
}

impl SavedClock {
    fn open(stage: &StageNode, at: &At<'_, '_>) -> Result<SavedClock> {
        let time = |name: &str| Field::new(name, crate::batch::types::ColumnType::Timestamp.arrow(), false);
        let schema = Arc::new(Schema::new(vec![time("origin"), time("due")]));
        let mut table = StateTable::new(Vec::new(), schema, None).map_err(Error::arrow)?;
        let keeper = Keeper::open(at.running, &clock_table(&stage.name), at.index, at.peers);
        for rows in keeper.iter().filter_map(|keeper| keeper.load_all(at.running).transpose()) {
            for rows in rows? {
                table.restore(&rows, |_| true)?;
            }
        }
        table.track_changes();
        let clock = clock_of(&table.rows()?);
        Ok(SavedClock { table, keeper, clock, writes: at.index == 0 })
    }

    fn changes(&mut self, after: BatchId, clock: Option<WindowClock>) -> Result<Option<Changes>> {
        let Some(keeper) = self.keeper.as_mut().filter(|_| self.writes) else { return Ok(None) };
        if clock != self.clock
            && let Some(WindowClock { origin_us, due_us }) = clock
        {
            let time =
                |time| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(vec![time]).with_timezone("UTC")) };
            let rows = RecordBatch::try_new(self.table.state_schema(), vec![time(origin_us), time(due_us)]);
            let key = Keys::encode(&[], 1).map_err(Error::arrow)?;
            let (bytes, hash) = (key.view().get(0), key.view().short(0).1);
            let slot = self.table.slot(bytes, hash);
            self.table.store(&[slot], &rows.map_err(Error::arrow)?, &all(1));
            self.clock = clock;
        }
        keeper.changes(after, &mut self.table)
    }
}

fn clock_of(rows: &RecordBatch) -> Option<WindowClock> {
    let time = |place: usize| {
        let times = rows.columns().get(place)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        (!times.is_empty()).then(|| times.value(0))
    };
    Some(WindowClock { origin_us: time(0)?, due_us: time(1)? })
}
