//! What sessions hold: accumulators of an aggregate, or their rows.

use crate::operators::aggregate::functions::Functions;
use crate::operators::aggregate::windowed::functions;
use crate::operators::session::state::{ClosedSessions, Gap, Session, rows_kept};
use crate::operators::stage::StageNode;
use crate::operators::window::check::{aggregated, has_own_windows, with_bounds};
use crate::operators::window::state::bounds;
use crate::operators::window::state::panes::Accumulate;
use crate::operators::window::state::rows::{check_bytes, decode_rows, encode_rows};
use crate::timely_ext::Output;
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef};
use millstream_base::batch::group::sort_by_rank;
use millstream_base::batch::keys::Keys;
use millstream_base::batch::types::timestamps;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::PartOrder;
use millstream_metrics::Counts;
use std::sync::Arc;

/// The input of results that are replaced, among the rows that are put out.
pub const REPLACED: u32 = 1;

/// What sessions hold.
pub enum Contents {
    /// Accumulators, of which results are made.
    Functions {
        /// How.
        functions: Box<Functions>,
        /// Counts the rows put out.
        metrics: Counts,
        /// The columns of results: key, bounds, aggregates.
        output: SchemaRef,
    },
    /// Rows, for the operator behind the window.
    Rows {
        /// The columns of rows as they come in.
        input: SchemaRef,
        /// The columns of rows as they go out.
        output: SchemaRef,
    },
}

impl Contents {
    /// What sessions have to hold for the operator of this stage.
    pub fn of(stage: &StageNode, metrics: Counts) -> Result<Contents> {
        let Some(input) = stage.inputs.first() else {
            return Err(Error::bug("a stage without inputs"));
        };
        if !has_own_windows(&stage.operator) {
            return Ok(Contents::Rows { input: input.schema.clone(), output: with_bounds(&input.schema) });
        }
        let functions = Box::new(functions(stage, &metrics)?);
        Ok(Contents::Functions { functions, metrics, output: aggregated(stage)? })
    }

    /// From now on this is the stage; what sessions hold stays as it is.
    pub fn renew(&mut self, stage: &StageNode) -> Result<()> {
        if let Contents::Functions { functions, metrics, .. } = self {
            **functions = self::functions(stage, metrics)?;
        }
        Ok(())
    }

    /// Whether rows are kept.
    pub fn are_rows(&self) -> bool {
        matches!(self, Contents::Rows { .. })
    }

    /// The columns in which they are kept.
    pub fn accumulators(&self) -> Result<SchemaRef> {
        match self {
            Contents::Functions { functions, .. } => functions.accumulators(),
            Contents::Rows { .. } => Ok(rows_kept()),
        }
    }

    /// The accumulators of so many sessions of rows, whose session stands beside each; the key is of so many columns. Of
    /// rows they are empty: these are kept beside, see [`by_session`].
    pub fn make(
        &mut self,
        context: BatchContext,
        keys: usize,
        rows: &RecordBatch,
        of_row: &[usize],
        count: usize,
    ) -> Result<RecordBatch> {
        let Contents::Functions { functions, .. } = self else { return no_rows(count) };
        let run = |run: &[usize]| Some((i64::try_from(*run.first()?).ok()?, run.len()));
        let runs: Vec<(i64, usize)> = of_row.chunk_by(|a, b| a == b).filter_map(run).collect();
        let partials = functions.partial_by_pane(context.call(), rows, &runs)?;
        let partial = concat_batches(&functions.partial_schema(true), &partials).map_err(Error::arrow)?;
        let session = partial.columns().get(keys).and_then(|session| session.as_primitive_opt::<Int64Type>());
        let session: &Int64Array = session.ok_or_else(|| Error::bug("partial results without their session"))?;
        let groups: Vec<usize> = session.values().iter().map(|session| *session as usize).collect();
        let states = partial.columns().get(keys + 1..).unwrap_or_default();
        functions.within(context.call()).merge(states, &groups, count)
    }

    /// Puts accumulators together, row by row; those on the left come first.
    pub fn combine(&mut self, context: BatchContext, left: &RecordBatch, right: &RecordBatch) -> Result<RecordBatch> {
        if let Contents::Functions { functions, .. } = self {
            return functions.within(context.call()).combine(left, right);
        }
        let (left, right) = (bytes_of(left)?, bytes_of(right)?);
        check_bytes([left.value_data().len(), right.value_data().len()].into_iter())?;
        let mut both = BinaryBuilder::new();
        for row in 0..left.len().min(right.len()) {
            both.append_value([left.value(row), right.value(row)].concat());
        }
        RecordBatch::try_new(rows_kept(), vec![Arc::new(both.finish())]).map_err(Error::arrow)
    }

    /// Puts out sessions of this worker.
    pub fn put_out(
        &mut self,
        context: BatchContext,
        (index, alone): (usize, bool),
        gap: Gap,
        results: ClosedSessions,
        pieces: Vec<Vec<RecordBatch>>,
        output: &mut Output,
    ) -> Result<()> {
        let ClosedSessions { keys, sessions, accumulators } = results;
        let Some(first) = sessions.first() else { return Ok(()) };
        match self {
            Contents::Functions { functions, metrics, output: schema } => {
                let rows = results_of(functions, schema, context, gap, (keys, &sessions, &accumulators))?;
                // What is replaced has been counted.
                if output.input != REPLACED {
                    metrics.add_rows(rows.num_rows());
                }
                // Each session has its place in the order of rows, which are all from here where nobody else has some.
                let mut start = 0;
                for together in sessions.chunk_by(|a, b| alone || a == b) {
                    let order = order_of(gap, together.first().copied().unwrap_or(*first), index as u64);
                    output.push(context, order, rows.slice(start, together.len()));
                    start += together.len();
                }
            }
            Contents::Rows { input, output: schema } => {
                let hashes = Keys::encode(&keys, sessions.len()).map_err(Error::arrow)?.hashes();
                let kept = bytes_of(&accumulators)?;
                let pieces = pieces.into_iter().chain(std::iter::repeat_with(Vec::new));
                for (row, ((session, hash), pieces)) in sessions.iter().zip(hashes).zip(pieces).enumerate() {
                    let rows = rows_of(input, kept.value(row), pieces)?;
                    let rows = bounds::add(schema, &rows, session.start_us, gap.end(*session))?;
                    output.push(context, order_of(gap, *session, hash.0), rows);
                }
            }
        }
        Ok(())
    }
}

/// The results of sessions: keys, bounds, aggregates.
fn results_of(
    functions: &mut Functions,
    schema: &SchemaRef,
    context: BatchContext,
    gap: Gap,
    (keys, sessions, accumulators): (Vec<ArrayRef>, &[Session], &RecordBatch),
) -> Result<RecordBatch> {
    let lowered = functions.lower(context.call(), &keys, accumulators)?;
    let starts = timestamps(sessions.iter().map(|session| session.start_us));
    let ends = timestamps(sessions.iter().map(|session| gap.end(*session)));
    let columns = keys.into_iter().chain([starts, ends]).chain(lowered.columns().iter().cloned());
    RecordBatch::try_new(schema.clone(), columns.collect()).map_err(Error::arrow)
}

/// The place of a session among those that are put out.
fn order_of(gap: Gap, session: Session, then: u64) -> PartOrder {
    PartOrder::at_window(gap.end(session), session.start_us).then(then)
}

fn bytes_of(kept: &RecordBatch) -> Result<&BinaryArray> {
    let bytes = kept.columns().first().and_then(|bytes| bytes.as_binary_opt::<i32>());
    bytes.ok_or_else(|| Error::bug("sessions without their rows"))
}

/// Sessions that hold no rows themselves.
fn no_rows(count: usize) -> Result<RecordBatch> {
    let kept: ArrayRef = Arc::new(BinaryArray::from_iter_values(std::iter::repeat_n([0u8; 0], count)));
    RecordBatch::try_new(rows_kept(), vec![kept]).map_err(Error::arrow)
}

/// The rows of each of so many sessions as they are kept; their session stands beside each row.
pub fn by_session(rows: &RecordBatch, of_row: &[usize], count: usize) -> Result<BinaryArray> {
    let (ends, sorted) = sort_by_rank(of_row.iter().map(|session| *session as u32), count);
    let sorted = take_record_batch(rows, &UInt32Array::from(sorted)).map_err(Error::arrow)?;
    let mut kept: Vec<Vec<u8>> = Vec::with_capacity(count);
    let mut start = 0;
    for end in ends {
        kept.push(encode_rows(&sorted.slice(start as usize, (end - start) as usize))?);
        start = end;
    }
    check_bytes(kept.iter().map(Vec::len))?;
    Ok(BinaryArray::from_iter_values(kept))
}

/// The rows of a session: those that it holds itself, then its pieces.
fn rows_of(schema: &SchemaRef, mut kept: &[u8], behind: Vec<RecordBatch>) -> Result<RecordBatch> {
    let damaged = || Error::environment("the rows of a session in the checkpoint are damaged");
    let mut pieces = Vec::new();
    while !kept.is_empty() {
        let (length, rest) = kept.split_first_chunk::<8>().ok_or_else(damaged)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| damaged())?;
        let (piece, rest) = rest.split_at_checked(length).ok_or_else(damaged)?;
        pieces.push(decode_rows(piece)?);
        kept = rest;
    }
    pieces.extend(behind);
    concat_batches(schema, &pieces).map_err(Error::arrow)
}
