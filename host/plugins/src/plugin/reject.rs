//! Repeats failed calls with fewer rows, in new instances, until the rows that make them fail are found. These are rejected, and the output
//! is that of the other rows.
//!
//! Calls and their fuel are counted. Both depend on the rows only, so that a replay rejects the same rows.

mod cogroup;
mod undelivered;
mod update;

use super::counters::Counters;
use super::current_call::fuel;
use super::groups::Processed;
pub use cogroup::cogroup;
use millstream_base::shown::printable;
pub use undelivered::delivered;
pub use update::update;

use super::allowance::InputSize;
use super::attempt::Attempts;
use super::failure::CallFailure;
use super::search::{SearchResult, TriedRows, search};
use crate::limits::PLUGIN_ATTEMPTS_FUEL_CALLS;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use millstream_base::context::CallContext;
use millstream_base::error::{Error, Result};
use millstream_base::limits::PLUGIN_REASON_BYTES_MAX;
use millstream_base::memory;
use millstream_rows::batch::rejected::RejectedRow;
use std::ops::Range;

/// The columns of the results of calls.
pub struct Schemas {
    /// The schema of output rows.
    pub output: SchemaRef,
    /// The schema of accumulators.
    pub accumulators: SchemaRef,
}

/// The report on a row that made a call fail.
pub struct RowFailure {
    reason: String,
    backtrace: Option<String>,
}

impl RowFailure {
    /// Creates the report of a call on this row alone.
    pub fn new(failure: CallFailure) -> RowFailure {
        let reason = printable(&failure.reason, PLUGIN_REASON_BYTES_MAX);
        RowFailure { reason, backtrace: failure.backtrace }
    }

    fn into_rejected(self, row: u32) -> RejectedRow {
        RejectedRow { row, reason: self.reason, backtrace: self.backtrace }
    }
}

/// Calls that search for the rows that made one call fail, and the maximum number of such rows.
pub struct Trials<'a> {
    attempts: &'a mut Attempts,
    calls_left: u64,
    fuel_left: u64,
    /// Why the last call failed.
    last_reason: String,
}

impl Drop for Trials<'_> {
    fn drop(&mut self) {
        self.attempts.instances.set_quiet(false);
    }
}

impl Trials<'_> {
    /// Starts a search after a failed call. Its repetitions write nothing to the log.
    pub fn new(attempts: &mut Attempts) -> Trials<'_> {
        attempts.instances.set_quiet(true);
        let mut trials = Trials { attempts, calls_left: 0, fuel_left: 0, last_reason: String::new() };
        trials.bound(0);
        trials
    }

    /// Sets the limits for a call on this many rows.
    fn bound(&mut self, rows: usize) {
        let limits = self.attempts.instances.callee.limits;
        let times = InputSize { longest: rows as u64, ..InputSize::default() }.times();
        self.calls_left = limits.attempts_max;
        self.fuel_left = fuel(&limits, times).saturating_mul(PLUGIN_ATTEMPTS_FUEL_CALLS);
    }

    /// Removes the limit on calls, for calls whose rows depend on the number of workers, such as those of several keys: which rows are rejected
    /// must not depend on it.
    fn unbound(&mut self) {
        (self.calls_left, self.fuel_left) = (u64::MAX, u64::MAX);
    }

    /// Makes a call on this many rows that are not known to be good, if a call is left. Fails if the call fails without a row to blame. The
    /// report on a row is that of a call with no other row to blame.
    fn call<T>(
        &mut self,
        rows: usize,
        call: impl Fn(&mut Attempts) -> Result<T, CallFailure>,
    ) -> Result<TriedRows<T, RowFailure>> {
        if self.calls_left == 0 || self.fuel_left == 0 {
            return Ok(TriedRows::Spent);
        }
        // What was found so far is kept until the search ends.
        memory::check()?;
        let called = if rows == 1 { self.attempts.call_located(call) } else { call(self.attempts) };
        self.calls_left -= 1;
        self.fuel_left = self.fuel_left.saturating_sub(self.attempts.instances.last.fuel_burnt);
        match called {
            Ok(result) => Ok(TriedRows::Good(result)),
            Err(failure) if rows > 0 && failure.trap.is_some() => {
                let failure = RowFailure::new(failure);
                self.last_reason.clone_from(&failure.reason);
                Ok(TriedRows::Bad(failure))
            }
            Err(failure) => Err(failure.error),
        }
    }

    /// Like [`Trials::call`], if it is not known yet whether the result is used: it counts for these counters.
    fn try_call<T>(
        &mut self,
        rows: usize,
        counters: &Counters,
        call: impl Fn(&mut Attempts) -> Result<T, CallFailure>,
    ) -> Result<TriedRows<T, RowFailure>> {
        let own = self.attempts.count_for(counters.clone());
        let outcome = self.call(rows, call);
        self.attempts.count_for(own);
        outcome
    }

    /// The reason for rows that are rejected without a search, because no calls are left.
    fn not_found(&self) -> RowFailure {
        let calls = self.attempts.instances.callee.limits.attempts_max;
        let reason = format!(
            "a call with this row and others failed, and the search for the rows at fault exceeded \
             `limits.attempts` ({calls} calls, and {PLUGIN_ATTEMPTS_FUEL_CALLS} times the instructions of one \
             call); the last failure: {}",
            self.last_reason
        );
        RowFailure { reason: printable(&reason, PLUGIN_REASON_BYTES_MAX), backtrace: None }
    }

    /// Converts the result of a search to rejections; `row` maps an index among the searched rows to the row.
    fn refusals<T>(&self, found: &mut SearchResult<T, RowFailure>, row: impl Fn(usize) -> u32) -> Vec<RejectedRow> {
        let bad = found.bad.drain(..).map(|(index, failure)| failure.into_rejected(row(index))).collect::<Vec<_>>();
        bad.into_iter().chain(found.rest.clone().map(|index| self.not_found().into_rejected(row(index)))).collect()
    }
}

/// Searches; a known result of the call on all rows is not computed again.
fn search_from<T>(
    rows: usize,
    known: RowFailure,
    mut call: impl FnMut(Range<usize>) -> Result<TriedRows<T, RowFailure>>,
) -> Result<SearchResult<T, RowFailure>> {
    let mut known = Some(known);
    search(rows, |range| match known.take() {
        Some(failure) => Ok(TriedRows::Bad(failure)),
        None => call(range),
    })
}

/// World `transform`. `known`: the result of the call on all rows.
pub fn process(
    trials: &mut Trials<'_>,
    known: RowFailure,
    context: CallContext,
    rows: &RecordBatch,
    schemas: &Schemas,
) -> Result<Processed> {
    if !trials.attempts.calls_are_fixed || !trials.attempts.instances.callee.stage.key.fields().is_empty() {
        trials.unbound();
    }
    let mut found = search_from(rows.num_rows(), known, |range| {
        trials.call(range.len(), |attempts| attempts.process(context, &rows.slice(range.start, range.len())))
    })?;
    let mut rejections = trials.refusals(&mut found, |row| row as u32);
    let mut pieces = Vec::new();
    for (range, piece) in found.good {
        rejections.extend(shifted(piece.rejections, range.start));
        pieces.push(piece.rows);
    }
    rejections.sort_by_key(|rejection| rejection.row);
    Ok(Processed { rows: concat_batches(&schemas.output, &pieces).map_err(Error::arrow)?, rejections })
}

/// Finds the rows that a call rejects; its results are dropped.
pub fn find_rejected(
    trials: &mut Trials<'_>,
    known: RowFailure,
    call: impl Fn(&mut Attempts, Range<usize>) -> Result<(), CallFailure>,
    rows: usize,
) -> Result<Vec<RejectedRow>> {
    if !trials.attempts.calls_are_fixed {
        trials.unbound();
    }
    let mut found =
        search_from(rows, known, |range| trials.call(range.len(), |attempts| call(attempts, range.clone())))?;
    // Failing rows in order, then the rest.
    Ok(trials.refusals(&mut found, |row| row as u32))
}

/// World `aggregate`: `lift` on rows that do not fail one by one. `first`: the result of the call on all rows.
pub fn lift(
    trials: &mut Trials<'_>,
    first: (RowFailure, Error),
    context: CallContext,
    rows: &RecordBatch,
    schemas: &Schemas,
) -> Result<RecordBatch> {
    let (known, error) = first;
    let found = search_from(rows.num_rows(), known, |range| {
        // No row that fails alone is to blame.
        let rows_to_blame = if range.len() > 1 { range.len() } else { 0 };
        trials.call(rows_to_blame, |attempts| attempts.lift(context, &rows.slice(range.start, range.len())))
    })?;
    if !found.bad.is_empty() || !found.rest.is_empty() {
        return Err(error);
    }
    concat_batches(&schemas.accumulators, found.good.iter().map(|(_, piece)| piece)).map_err(Error::arrow)
}

/// Shifts the rejections of a piece that begins at this row.
fn shifted(refusals: Vec<RejectedRow>, start: usize) -> impl Iterator<Item = RejectedRow> {
    refusals.into_iter().map(move |rejection| RejectedRow { row: rejection.row + start as u32, ..rejection })
}
