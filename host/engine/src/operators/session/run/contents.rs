//! Contents of sessions: accumulators of an aggregate, or rows.

use crate::operators::aggregate::functions::Functions;
use crate::operators::aggregate::windowed::functions;
use crate::operators::session::state::{ClosedSessions, Gap, Session, legacy_rows_schema};
use crate::operators::stage::StageNode;
use crate::operators::window::check::{aggregated, has_own_windows, with_bounds};
use crate::operators::window::state::bounds;
use crate::operators::window::state::panes::Accumulate;
use crate::operators::window::state::rows::{check_bytes, decode_rows, encode_rows};
use crate::timely_ext::Output;
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::PartOrder;
use millstream_metrics::Counts;
use millstream_rows::batch::group::sort_by_rank;
use millstream_rows::batch::keys::Keys;
use millstream_rows::batch::types::timestamps;
use std::sync::Arc;

/// Input number of replaced results, among the emitted rows.
pub const REPLACED: u32 = 1;

/// Contents of sessions.
pub enum Contents {
    /// Accumulators, from which results are computed.
    Functions {
        /// The functions.
        functions: Box<Functions>,
        /// Counts emitted rows.
        metrics: Counts,
        /// The columns of results: key, bounds, aggregates.
        output: SchemaRef,
    },
    /// Rows, for the operator after the window.
    Rows {
        /// The columns of input rows.
        input: SchemaRef,
        /// The columns of output rows.
        output: SchemaRef,
    },
}

impl Contents {
    /// Returns the contents needed by the operator of this stage.
    pub fn new(stage: &StageNode, metrics: Counts) -> Result<Contents> {
        let Some(input) = stage.inputs.first() else {
            return Err(Error::bug("a stage without inputs"));
        };
        if !has_own_windows(&stage.operator) {
            return Ok(Contents::Rows { input: input.schema.clone(), output: with_bounds(&input.schema) });
        }
        let functions = Box::new(functions(stage, &metrics)?);
        Ok(Contents::Functions { functions, metrics, output: aggregated(stage)? })
    }

    /// Switches to a new version of the stage; stored contents stay.
    pub fn renew(&mut self, stage: &StageNode) -> Result<()> {
        if let Contents::Functions { functions, metrics, .. } = self {
            **functions = self::functions(stage, metrics)?;
        }
        Ok(())
    }

    /// Returns whether rows are stored.
    pub fn are_rows(&self) -> bool {
        matches!(self, Contents::Rows { .. })
    }

    /// Returns the stored columns.
    pub fn accumulators(&self) -> Result<SchemaRef> {
        match self {
            Contents::Functions { functions, .. } => functions.accumulators(),
            Contents::Rows { .. } => Ok(legacy_rows_schema()),
        }
    }

    /// Computes the accumulators of `count` sessions from rows; each row has the index of its session. `keys` is the number of key columns. For
    /// stored rows they are empty, as the rows are stored separately, see [`by_session`].
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
        functions.for_batch(context.call()).merge(states, &groups, count)
    }

    /// Merges accumulators row by row; those on the left come first.
    pub fn combine(&mut self, context: BatchContext, left: &RecordBatch, right: &RecordBatch) -> Result<RecordBatch> {
        if let Contents::Functions { functions, .. } = self {
            return functions.for_batch(context.call()).combine(left, right);
        }
        let (left, right) = (bytes_of(left)?, bytes_of(right)?);
        check_bytes([left.value_data().len(), right.value_data().len()].into_iter())?;
        let mut both = BinaryBuilder::new();
        for row in 0..left.len().min(right.len()) {
            both.append_value([left.value(row), right.value(row)].concat());
        }
        RecordBatch::try_new(legacy_rows_schema(), vec![Arc::new(both.finish())]).map_err(Error::arrow)
    }

    /// Emits sessions of this worker.
    pub fn emit(
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
                // Replaced results were already counted.
                if output.input != REPLACED {
                    metrics.add_rows(rows.num_rows());
                }
                // Each session has its own order. The rows form one part if no other worker or stage contributes to the stream.
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

/// Returns the results of sessions: keys, bounds, aggregates.
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

/// Returns the order of a session among the emitted ones.
fn order_of(gap: Gap, session: Session, then: u64) -> PartOrder {
    PartOrder::at_window(gap.end(session), session.start_us).then(then)
}

fn bytes_of(kept: &RecordBatch) -> Result<&BinaryArray> {
    let bytes = kept.columns().first().and_then(|bytes| bytes.as_binary_opt::<i32>());
    bytes.ok_or_else(|| Error::bug("sessions without their rows"))
}

/// Returns the content of sessions without rows of their own.
fn no_rows(count: usize) -> Result<RecordBatch> {
    let kept: ArrayRef = Arc::new(BinaryArray::from_iter_values(std::iter::repeat_n([0u8; 0], count)));
    RecordBatch::try_new(legacy_rows_schema(), vec![kept]).map_err(Error::arrow)
}

/// Returns the stored form of the rows of `count` sessions; `of_row` has the session of each row.
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

/// Returns the rows of a session: those in its own state, then its pieces.
fn rows_of(schema: &SchemaRef, mut kept: &[u8], later: Vec<RecordBatch>) -> Result<RecordBatch> {
    let damaged = || Error::environment("the rows of a session in the checkpoint are damaged");
    let mut pieces = Vec::new();
    while !kept.is_empty() {
        let (length, rest) = kept.split_first_chunk::<8>().ok_or_else(damaged)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| damaged())?;
        let (piece, rest) = rest.split_at_checked(length).ok_or_else(damaged)?;
        pieces.push(decode_rows(piece)?);
        kept = rest;
    }
    pieces.extend(later);
    concat_batches(schema, &pieces).map_err(Error::arrow)
}
