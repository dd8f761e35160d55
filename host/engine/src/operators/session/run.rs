//! Sessions, on the worker that owns their key, in the order of arrival of their rows. Their content is aggregated or, for other operators, stored as
//! rows until they close. Sessions are emitted in the order of their ends, then of their starts, then of key hashes.

mod contents;

use crate::checkpoint::changes::TableChanges;
use crate::operators::by_key::by_key;
use crate::operators::context::{BuildContext, Input, StageStreams, in_checkpoint, split_late};
use crate::operators::event_time;
use crate::operators::event_time::take_times;
use crate::operators::late::LateRows;
use crate::operators::plugin::current::CurrentPlugin;
use crate::operators::plugin::run::ReadableRows;
use crate::operators::session::state::{
    Gap, NewPiece, OpenSessions, SessionPart, SessionPieces, TouchedSession, with_indexes,
};
use crate::operators::stage::{Operator, StageNode};
use crate::operators::window::check::{pieces_table, rows_table};
use crate::operators::window::node::WindowNode;
use crate::state::table_checkpoint::{self, TableCheckpoint};
use crate::state::{Slot, StateTable};
use crate::timely_ext::{BatchWork, Output, Parts, each_batch_with_holds, each_part};
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use contents::{Contents, REPLACED, by_session};
use millstream_base::context::{BatchContext, Hold, Watermark};
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_metrics::{Counts, StateSize};
use millstream_rows::batch::group::{Grouped, Grouper};
use millstream_rows::batch::keys::{Keys, canonical_column};
use millstream_rows::batch::part::Part;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::{Filter, Map};

/// Builds the stage. Without an aggregate it emits the rows of sessions, for the stage's operator.
pub fn build<'s>(stage: &StageNode, input: Input<'s>, build: &BuildContext<'s, '_>) -> Result<StageStreams<'s>> {
    let metrics = build.metrics.counts(&stage.name);
    let (readable, nulls) = without_nulls(stage, input.parts, build);
    let keyed = by_key(stage, readable, build);
    let time = event_time::progress_and_clock(stage, input.progress, build)?;
    let work = SessionWork::new(stage, metrics, build)?;
    // Without a key, one worker has all sessions.
    let to = if stage.key.is_empty() { 0 } else { build.index as u64 };
    let name = format!("{} sessions", stage.name);
    let failure = build.failure.clone();
    let (position, ticks) = (build.graph.held_index(stage), build.ticks.clone());
    let (rows, rejected, changes, holds) =
        each_batch_with_holds(keyed, time, position, ticks, &name, failure, move |_| to, work);
    let (rejected, late) = split_late(rejected);
    let rejected = nulls.into_iter().fold(rejected, |rejected, nulls| rejected.concat(nulls));
    let mut sides = vec![late];
    let rows = if stage.emits_replaced() {
        sides.push(rows.clone().filter(|part: &Part| part.input == REPLACED).map(|part| Part { input: 0, ..part }));
        rows.filter(|part: &Part| part.input != REPLACED)
    } else {
        rows
    };
    Ok(StageStreams { sides, changes: vec![changes], holds: Some(holds), ..StageStreams::new(rows, rejected) })
}

/// Splits off the rows that an aggregate plugin cannot read.
fn without_nulls<'s>(
    stage: &StageNode,
    parts: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> (Parts<'s>, Option<Parts<'s>>) {
    let Operator::Reduce(node) = &stage.operator else { return (parts, None) };
    let mut readable = ReadableRows::to_lift(stage, node, build);
    let name = format!("{} nulls", stage.name);
    let (parts, nulls) = each_part(parts, &name, build.failure.clone(), move |context, part, output| {
        let rows = readable.select(context, &part, output)?;
        output.push(context, part.order.clone(), rows);
        Ok(())
    });
    (parts, Some(nulls))
}

/// The sessions of a stage on one worker.
struct SessionWork {
    name: String,
    sessions: OpenSessions,
    contents: Contents,
    checkpoint: Option<TableCheckpoint>,
    /// The rows of sessions that store rows, and their table.
    pieces: Option<(SessionPieces, Option<TableCheckpoint>)>,
    grouper: Grouper,
    key: Vec<usize>,
    input: SchemaRef,
    gap: Gap,
    update: bool,
    /// Whether a stage reads the replaced results.
    replaces: bool,
    late: LateRows,
    state_size: StateSize,
    current: CurrentPlugin,
    /// The time of the newest row of the sessions that the last batch closed, and whether it had late rows.
    newest_us: Option<i64>,
    emitted_late: bool,
    /// Index of this worker.
    index: usize,
    /// Whether this worker and stage produce all rows of the stream.
    alone: bool,
}

impl SessionWork {
    fn new(stage: &StageNode, metrics: Counts, build: &BuildContext<'_, '_>) -> Result<SessionWork> {
        let (Some(WindowNode::Session { gap_us, length_us_max, update }), Some(input)) =
            (stage.window, stage.inputs.first())
        else {
            return Err(Error::bug("sessions without a gap"));
        };
        let gap = Gap { gap_us, length_us_max };
        let late = LateRows::new(stage, &metrics);
        let state_size = metrics.state_size(&stage.name);
        let contents = Contents::new(stage, metrics)?;
        let key = stage.input.project(&stage.key).map_err(Error::arrow)?;
        let mut sessions = OpenSessions::new(&key, &*contents.accumulators()?, gap)?;
        let may_spill = build.budget.is_some();
        if may_spill {
            sessions = sessions.spilling(|table| build.spilling(&stage.name, table))?;
        }
        let table = if contents.are_rows() { rows_table(&stage.name) } else { stage.name.clone() };
        let checkpoint = build.restore(&stage.name, &table, sessions.table())?;
        sessions.restored().map_err(in_checkpoint(&stage.name))?;
        let mut pieces = None;
        if contents.are_rows() {
            let mut state_size = SessionPieces::new(&key)?;
            if may_spill {
                state_size = state_size.spilling(|table| build.spilling(&stage.name, table))?;
            }
            let checkpoint = build.restore(&stage.name, &pieces_table(&stage.name), state_size.table())?;
            state_size.restored().map_err(in_checkpoint(&stage.name))?;
            pieces = Some((state_size, checkpoint));
        }
        Ok(SessionWork {
            name: stage.name.clone(),
            sessions,
            contents,
            checkpoint,
            pieces,
            grouper: Grouper::default(),
            key: stage.key.clone(),
            input: input.schema.clone(),
            gap,
            update,
            replaces: stage.emits_replaced(),
            late,
            state_size,
            current: CurrentPlugin::new(stage, build.versions),
            newest_us: None,
            emitted_late: false,
            index: build.index,
            alone: build.peers == 1 && !build.graph.shares_stream(&stage.name),
        })
    }

    fn work(&mut self, context: BatchContext, parts: &[Part], output: &mut Output) -> Result<()> {
        if let Some(stage) = self.current.renewed() {
            self.contents.renew(&stage)?;
        }
        if !parts.is_empty() {
            self.add_rows(context, parts, output)?;
        }
        self.emitted_late = !output.rejected.is_empty();
        let closed = self.sessions.close(context.watermark.now)?;
        self.newest_us = closed.sessions.iter().map(|session| session.last_us).max();
        let pieces = match &mut self.pieces {
            Some((pieces, _)) => pieces.take(&closed.keys, &closed.sessions)?,
            None => Vec::new(),
        };
        self.settle()?;
        if !self.update {
            self.contents.emit(context, (self.index, self.alone), self.gap, closed, pieces, output)?;
        }
        Ok(())
    }

    /// Reports the memory in use. Above the budget, rows are spilled.
    fn settle(&mut self) -> Result<()> {
        self.sessions.settle()?;
        let mut extra = self.sessions.bytes_outside_table();
        if let Some((pieces, _)) = &mut self.pieces {
            pieces.settle()?;
            extra = extra.saturating_add(pieces.bytes_outside_table());
        }
        let tables = self.pieces.iter_mut().map(|(pieces, _)| pieces.table()).chain([self.sessions.table()]);
        let (mut bytes, mut kept) = (extra, extra);
        for table in tables {
            bytes = bytes.saturating_add(table.bytes());
            kept = kept.saturating_add(table.kept_of(table.bytes()));
        }
        self.state_size.set_partly_kept(self.sessions.table().len() as u64, bytes, kept);
        Ok(())
    }

    /// Adds rows to their sessions.
    fn add_rows(&mut self, context: BatchContext, parts: &[Part], output: &mut Output) -> Result<()> {
        let (mut rows, mut times) = (Vec::new(), Vec::new());
        for part in parts {
            let (own, own_times) = take_times(part)?;
            rows.push(own);
            times.extend_from_slice(own_times.values());
        }
        let all = concat_batches(&self.input, &rows).map_err(Error::arrow)?;
        let keys: Vec<ArrayRef> = self.key.iter().map(|key| canonical_column(all.column(*key))).collect();
        let encoded = Keys::encode(&keys, all.num_rows()).map_err(Error::arrow)?;
        let grouped = if keys.is_empty() { Grouped::one_group(all.num_rows()) } else { self.grouper.group(&encoded) };
        self.sessions.warm(&keys, &encoded, &grouped.first_rows)?;
        let touched = self.sessions.assign(&encoded, &grouped, &times, context.watermark.before);
        self.emitted_late(context, parts, &rows, &touched.of_row, output)?;
        if touched.sessions.is_empty() {
            return Ok(());
        }
        let on_time: UInt32Array = (0u32..).zip(&touched.of_row).filter_map(|(row, of)| of.map(|_| row)).collect();
        let all = if on_time.len() == all.num_rows() {
            all
        } else {
            take_record_batch(&all, &on_time).map_err(Error::arrow)?
        };
        let (of_row, runs): (Vec<usize>, Vec<usize>) = touched.of_row.iter().flatten().copied().unzip();
        let made = self.contents.make(context, self.key.len(), &all, &runs, touched.runs)?;
        if let Some((pieces, _)) = &mut self.pieces {
            let mut new: Vec<NewPiece> =
                touched.sessions.iter().map(|session| NewPiece { row: session.row, at_us: i64::MAX }).collect();
            for (time_us, session) in times.iter().zip(&touched.of_row) {
                if let Some(piece) = session.and_then(|(session, _)| new.get_mut(session)) {
                    piece.at_us = piece.at_us.min(*time_us);
                }
            }
            let several = touched.sessions.windows(2).any(|pair| pair[0].row == pair[1].row);
            let all = if several { with_indexes(&all)? } else { all };
            pieces.add(context.id, &keys, &new, by_session(&all, &of_row, new.len())?)?;
        }
        let accumulators = self.combine_parts(context, &touched.sessions, &made)?;
        if self.replaces {
            let replaced = self.sessions.results(&self.sessions.replaced(&touched.sessions))?;
            output.input = REPLACED;
            self.contents.emit(context, (self.index, self.alone), self.gap, replaced, Vec::new(), output)?;
            output.input = 0;
        }
        let slots = self.sessions.store(&keys, &encoded, &touched.sessions, &accumulators)?;
        if self.update {
            let results = self.sessions.results(&slots)?;
            self.contents.emit(context, (self.index, self.alone), self.gap, results, Vec::new(), output)?;
        }
        Ok(())
    }

    fn emitted_late(
        &self,
        context: BatchContext,
        parts: &[Part],
        rows: &[RecordBatch],
        of_row: &[Option<(usize, usize)>],
        output: &mut Output,
    ) -> Result<()> {
        let mut rest = of_row;
        for (part, rows) in parts.iter().zip(rows) {
            let (own, others) = rest.split_at(rows.num_rows().min(rest.len()));
            rest = others;
            let late: UInt32Array = (0u32..).zip(own).filter_map(|(row, of)| of.is_none().then_some(row)).collect();
            if !late.is_empty() {
                let rows = take_record_batch(rows, &late).map_err(Error::arrow)?;
                self.late.push(context, part, rows, output)?;
            }
        }
        Ok(())
    }

    /// Combines the parts of sessions, in order. `made` has the accumulators of the runs of rows.
    fn combine_parts(
        &mut self,
        context: BatchContext,
        sessions: &[TouchedSession],
        made: &RecordBatch,
    ) -> Result<RecordBatch> {
        let max_parts = sessions.iter().map(|session| session.parts.len()).max().unwrap_or_default();
        let mut together = self.parts(sessions, 0, made)?;
        for round in 1..max_parts {
            let more: Vec<usize> =
                (0..sessions.len()).filter(|position| sessions[*position].parts.len() > round).collect();
            let right = self.parts(sessions, round, made)?;
            let combined = self.contents.combine(context, &take_rows(&together, &more)?, &right)?;
            together = replaced(&together, &more, &combined)?;
        }
        Ok(together)
    }

    /// Returns the accumulators of the parts at this index, of all sessions that have that many.
    fn parts(&self, sessions: &[TouchedSession], position: usize, made: &RecordBatch) -> Result<RecordBatch> {
        let parts: Vec<SessionPart<Slot>> =
            sessions.iter().filter_map(|session| session.parts.get(position).copied()).collect();
        let open: Vec<Slot> = SessionPart::open(&parts).collect();
        let open = self.sessions.accumulators(&open)?;
        let open = RecordBatch::try_new(made.schema(), open.columns().to_vec()).map_err(Error::arrow)?;
        let mut before = 0;
        let from = |part: &SessionPart<Slot>| match part {
            SessionPart::Rows(run) => (0, *run),
            SessionPart::Open(_) => {
                before += 1;
                (1, before - 1)
            }
        };
        let order: Vec<(usize, usize)> = parts.iter().map(from).collect();
        // The common case without open sessions: nothing has to be copied.
        if order.iter().copied().eq((0..made.num_rows()).map(|run| (0, run))) {
            return Ok(made.clone());
        }
        interleave_record_batch(&[made, &open], &order).map_err(Error::arrow)
    }
}

impl BatchWork for SessionWork {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let worked = self.work(context, &parts, output);
        worked.map_err(|error| error.within(format!("stage `{}`: batch {}", self.name, context.id)))
    }

    fn hold(&mut self, watermark: Watermark, seen_us: Option<i64>) -> Hold {
        let now = watermark.now;
        let from_us = now.map(|now| self.sessions.first_start().map_or(now, |start| start.min(now)));
        // Late rows are emitted as well.
        let closed_us = self.newest_us.max(now.filter(|_| self.emitted_late));
        Hold { from_us, until_us: if self.update { seen_us } else { closed_us } }
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        let pieces = self.pieces.as_mut().map(|(pieces, _)| pieces.table());
        [self.sessions.table()].into_iter().chain(pieces).collect()
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<TableChanges>> {
        let mut changes = table_checkpoint::changes(&mut self.checkpoint, after, self.sessions.table())?;
        if let Some((pieces, checkpoint)) = &mut self.pieces {
            changes.extend(table_checkpoint::changes(checkpoint, after, pieces.table())?);
        }
        Ok(changes)
    }
}

fn take_rows(rows: &RecordBatch, indexes: &[usize]) -> Result<RecordBatch> {
    let indexes = UInt32Array::from_iter_values(indexes.iter().map(|position| *position as u32));
    take_record_batch(rows, &indexes).map_err(Error::arrow)
}

/// Returns `rows` with those at these indexes replaced.
fn replaced(rows: &RecordBatch, indexes: &[usize], with: &RecordBatch) -> Result<RecordBatch> {
    let mut order: Vec<(usize, usize)> = (0..rows.num_rows()).map(|row| (0, row)).collect();
    for (row, position) in indexes.iter().enumerate() {
        order[*position] = (1, row);
    }
    let with = RecordBatch::try_new(rows.schema(), with.columns().to_vec()).map_err(Error::arrow)?;
    interleave_record_batch(&[rows, &with], &order).map_err(Error::arrow)
}
