//! Calls of a plugin for one stage on one worker, and what happens if one fails.

use super::account::Account;
use super::attempt::Attempts;
use super::counters::Counters;
use super::culprit;
use super::description::Description;
use super::failure::CallFailure;
use super::groups::{Cogrouped, Cogroups, Groups, Processed, Updated};
use super::load::Loaded;
use super::reject::{self, RowFailure, Schemas, Trials};
use super::stage::StageUse;
use super::trial::Fallback;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use millstream_base::context::CallContext;
use millstream_base::error::{Error, Kind, Result};
use millstream_base::limits::PLUGIN_CALL_MAX;
use millstream_job::spec::OnError;
use millstream_rows::batch::rejected::RejectedRow;
use millstream_rows::batch::slices::RowBytes;
use millstream_rows::batch::widen::widened;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Calls one plugin for one stage on one worker thread. Every error names stage, plugin, version and batch. Batches passed in have exactly
/// the columns that the description names; see [`Description::input`]. Integers are converted if the plugin reads floats.
///
/// With [`OnError::Reject`], the rows that make a call fail are rejected, as if the plugin had rejected them itself, and the result is that
/// of the other rows. A failure that no row caused is an error anyway.
pub struct Caller {
    attempts: Attempts,
    on_error: OnError,
    schemas: Schemas,
    /// The previous version, while the plugin is on trial.
    before: Option<Fallback>,
    input: SchemaRef,
    /// The inputs of world `cogroup`.
    inputs: Vec<SchemaRef>,
}

impl Caller {
    pub(super) fn new(loaded: Arc<Loaded>, stage: StageUse, description: &Description) -> Caller {
        let on_error = stage.on_error;
        let schemas = Schemas { output: description.output.clone(), accumulators: description.state.clone() };
        let (input, inputs) = (description.input.clone(), description.inputs.clone());
        let attempts = Attempts::new(loaded, stage, description);
        Caller { attempts, on_error, schemas, before: None, input, inputs }
    }

    /// Puts the plugin on trial: if a call fails, the previous version makes it.
    pub fn on_trial(&mut self, before: Fallback) {
        self.before = Some(before);
    }

    /// Calls the plugin, or the previous version if the plugin has failed.
    fn try_out<T>(&mut self, call: impl Fn(&mut Caller) -> Result<T>) -> Result<T> {
        let Some(before) = self.before.clone() else { return call(self) };
        if !before.is_back() {
            match call(self) {
                Err(error) if matches!(error.kind, Kind::Plugin | Kind::TooLarge | Kind::Job) => {
                    before.come_back(&error)
                }
                other => return other,
            }
        }
        let (plugin, stage, description) = before.used();
        let mut old = plugin.caller(stage.clone(), description);
        drop(old.attempts.count_for(self.attempts.counters().clone()));
        *self = old;
        call(self)
    }

    /// The plugin's counters so far.
    pub fn counters(&self) -> &Counters {
        self.attempts.counters()
    }

    /// The costs of its calls so far.
    pub fn account(&self) -> &Account {
        &self.attempts.instances.bill.account
    }

    /// From now on its calls write no lines of the log.
    pub fn mute(&self) {
        self.attempts.instances.mute();
    }

    /// World `transform`.
    pub fn process(&mut self, context: CallContext, rows: &RecordBatch) -> Result<Processed> {
        self.try_out(|caller| caller.process_now(context, rows))
    }

    fn process_now(&mut self, context: CallContext, rows: &RecordBatch) -> Result<Processed> {
        let rows = &*widened(rows, &self.input).map_err(Error::arrow)?;
        match self.call_located(rows.num_rows(), |attempts| attempts.process(context, rows)) {
            Ok(mut processed) => {
                self.in_order(&mut processed.rejections);
                Ok(processed)
            }
            Err(failure) => {
                let named = |attempts: &mut Attempts, range: Range<usize>| {
                    attempts.process(context, &rows.slice(range.start, range.len())).map(drop)
                };
                let failure = self.with_culprit(failure, rows, named);
                let known = self.to_row_failure(failure, rows.num_rows())?;
                reject::process(&mut Trials::new(&mut self.attempts), known, context, rows, &self.schemas)
            }
        }
    }

    /// World `update`.
    pub fn update(&mut self, context: CallContext, groups: &Groups) -> Result<Updated> {
        self.try_out(|caller| caller.update_now(context, groups))
    }

    fn update_now(&mut self, context: CallContext, groups: &Groups) -> Result<Updated> {
        let wide = match widened(&groups.rows, &self.input).map_err(Error::arrow)? {
            Cow::Owned(rows) => Some(Groups { rows, ..groups.clone() }),
            Cow::Borrowed(_) => None,
        };
        self.update_wide(context, wide.as_ref().unwrap_or(groups))
    }

    /// Like [`Caller::update`], for rows already converted to the plugin's columns.
    fn update_wide(&mut self, context: CallContext, groups: &Groups) -> Result<Updated> {
        if !groups.may_refuse_timers() {
            return self.update_once(context, groups);
        }
        // The call may have to be repeated, and must count only once.
        let counters = Counters::default();
        let own = self.attempts.count_for(counters.clone());
        let updated = self.update_once(context, groups);
        self.attempts.count_for(own);
        let mut is_final = true;
        let updated = reject::delivered(groups, updated?, |others| {
            is_final = false;
            self.update_wide(context, others)
        })?;
        if is_final {
            self.attempts.counters().merge(context.batch, counters.snapshot());
        }
        Ok(updated)
    }

    fn update_once(&mut self, context: CallContext, groups: &Groups) -> Result<Updated> {
        match self.call_located(groups.rows.num_rows(), |attempts| attempts.update(context, groups)) {
            Ok(mut updated) => {
                self.in_order(&mut updated.rejections);
                Ok(updated)
            }
            Err(failure) => {
                let failure = match self.on_error {
                    OnError::Reject => failure,
                    OnError::Fail => culprit::named(
                        &mut self.attempts,
                        failure,
                        ("key", groups.keys.num_rows()),
                        |attempts, range| attempts.update(context, &groups.subset(range)).map(drop),
                        |key| culprit::describe_row(&groups.keys, key),
                    ),
                };
                let known = self.to_row_failure(failure, groups.rows.num_rows())?;
                reject::update(&mut Trials::new(&mut self.attempts), known, context, groups, &self.schemas)
            }
        }
    }

    /// World `cogroup`.
    pub fn cogroup(&mut self, context: CallContext, groups: &Cogroups) -> Result<Cogrouped> {
        self.try_out(|caller| caller.cogroup_now(context, groups))
    }

    fn cogroup_now(&mut self, context: CallContext, groups: &Cogroups) -> Result<Cogrouped> {
        // All inputs, even if the description has fewer: what the plugin says about each is checked.
        let inputs = groups.inputs.iter().enumerate().map(|(index, (rows, ends))| {
            let rows = match self.inputs.get(index) {
                Some(needs) => widened(rows, needs).map_err(Error::arrow)?.into_owned(),
                None => rows.clone(),
            };
            Ok((rows, ends.clone()))
        });
        let groups = &Cogroups { keys: groups.keys.clone(), inputs: inputs.collect::<Result<_>>()? };
        let rows = groups.inputs.iter().map(|(rows, _)| rows.num_rows()).sum();
        match self.call_located(rows, |attempts| attempts.cogroup(context, groups)) {
            Ok(mut cogrouped) => {
                cogrouped.rejections.iter_mut().for_each(|rejected| self.in_order(rejected));
                Ok(cogrouped)
            }
            Err(failure) => {
                let known = self.to_row_failure(failure, rows)?;
                reject::cogroup(&mut Trials::new(&mut self.attempts), known, context, groups, &self.schemas)
            }
        }
    }

    /// World `aggregate`: finds rows for which no accumulator can be built, if a failing call rejects rows. Call [`Caller::lift`] with the
    /// other rows.
    pub fn find_rejected(&mut self, context: CallContext, rows: &RecordBatch) -> Result<Vec<RejectedRow>> {
        if self.on_error == OnError::Fail || rows.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let rows = &*widened(rows, &self.input).map_err(Error::arrow)?;
        let mut all = Vec::new();
        for slice in RowBytes::measure([rows]).slices(rows.num_rows(), PLUGIN_CALL_MAX) {
            let rejected = self.find_rejected_in_slice(context, &rows.slice(slice.start, slice.len()))?;
            let placed = |rejection: RejectedRow| RejectedRow { row: rejection.row + slice.start as u32, ..rejection };
            all.extend(rejected.into_iter().map(placed));
        }
        Ok(all)
    }

    fn find_rejected_in_slice(&mut self, context: CallContext, rows: &RecordBatch) -> Result<Vec<RejectedRow>> {
        // Its counts and log lines are repeated when the good rows are lifted.
        let counters = self.attempts.count_for(Counters::default());
        self.attempts.instances.set_quiet(true);
        let rejected = match self.call_located(rows.num_rows(), |attempts| attempts.lift(context, rows)) {
            Ok(_) => Ok(Vec::new()),
            Err(failure) => self.to_row_failure(failure, rows.num_rows()).and_then(|known| {
                reject::find_rejected(
                    &mut Trials::new(&mut self.attempts),
                    known,
                    |attempts, range| attempts.lift(context, &rows.slice(range.start, range.len())).map(drop),
                    rows.num_rows(),
                )
            }),
        };
        self.attempts.instances.set_quiet(false);
        self.attempts.count_for(counters);
        rejected
    }

    /// World `aggregate`: an accumulator for each row.
    pub fn lift(&mut self, context: CallContext, rows: &RecordBatch) -> Result<RecordBatch> {
        let rows = &*widened(rows, &self.input).map_err(Error::arrow)?;
        self.row_by_row([rows], |own, [rows]| {
            match own.call_located(rows.num_rows(), |attempts| attempts.lift(context, rows)) {
                Ok(accumulators) => Ok(accumulators),
                // Too many rows together are no reason to stop.
                Err(failure) => {
                    let lifted = |attempts: &mut Attempts, range: Range<usize>| {
                        attempts.lift(context, &rows.slice(range.start, range.len())).map(drop)
                    };
                    let failure = own.with_culprit(failure, rows, lifted);
                    let error = failure.error.clone();
                    let known = own.to_row_failure(failure, rows.num_rows())?;
                    reject::lift(&mut Trials::new(&mut own.attempts), (known, error), context, rows, &own.schemas)
                }
            }
        })
    }

    /// World `aggregate`: combines accumulators pair by pair. A failure blames no row.
    pub fn combine(&mut self, context: CallContext, left: &RecordBatch, right: &RecordBatch) -> Result<RecordBatch> {
        self.row_by_row([left, right], |own, [left, right]| {
            Ok(own.attempts.call_located(|attempts| attempts.combine(context, left, right))?)
        })
    }

    /// World `aggregate`: computes the output row of each accumulator. A failure blames no row.
    pub fn lower(
        &mut self,
        context: CallContext,
        keys: &RecordBatch,
        accumulators: &RecordBatch,
    ) -> Result<RecordBatch> {
        self.row_by_row([keys, accumulators], |own, [keys, accumulators]| {
            Ok(own.attempts.call_located(|attempts| attempts.lower(context, keys, accumulators))?)
        })
    }

    /// World `aggregate`: removes accumulators, pair by pair. A failure blames no row.
    pub fn inverse(&mut self, context: CallContext, all_rows: &RecordBatch, part: &RecordBatch) -> Result<RecordBatch> {
        self.row_by_row([all_rows, part], |own, [all_rows, part]| {
            Ok(own.attempts.call_located(|attempts| attempts.inverse(context, all_rows, part))?)
        })
    }

    /// Calls a function that returns one row for each row of these batches, with as many rows per call as allowed.
    fn row_by_row<const N: usize>(
        &mut self,
        batches: [&RecordBatch; N],
        call: impl Fn(&mut Caller, [&RecordBatch; N]) -> Result<RecordBatch>,
    ) -> Result<RecordBatch> {
        let rows = batches.first().map_or(0, |batch| batch.num_rows());
        let slices = RowBytes::measure(batches).slices(rows, PLUGIN_CALL_MAX);
        if slices.len() == 1 {
            return self.try_out(|caller| call(caller, batches));
        }
        let mut made = Vec::with_capacity(slices.len());
        for slice in slices {
            let sliced = batches.map(|batch| batch.slice(slice.start, slice.len()));
            made.push(self.try_out(|caller| call(caller, sliced.each_ref()))?);
        }
        let Some(first) = made.first() else { return Err(Error::bug("rows without a slice")) };
        concat_batches(&first.schema(), &made).map_err(Error::arrow)
    }

    /// Makes a call. If it took too long and its failure is final, calls once more to find the source line. A call on a single row is final:
    /// the message about a rejected row must not depend on the other rows of its call.
    fn call_located<T>(
        &mut self,
        rows: usize,
        call: impl Fn(&mut Attempts) -> Result<T, CallFailure>,
    ) -> Result<T, CallFailure> {
        match self.on_error {
            OnError::Reject if rows > 1 => call(&mut self.attempts),
            _ => self.attempts.call_located(call),
        }
    }

    /// If the failure fails the job, adds the row that caused it.
    fn with_culprit(
        &mut self,
        failure: CallFailure,
        rows: &RecordBatch,
        call: impl Fn(&mut Attempts, Range<usize>) -> Result<(), CallFailure>,
    ) -> CallFailure {
        match self.on_error {
            OnError::Reject => failure,
            OnError::Fail => {
                let shown = |row| culprit::describe_row(rows, row);
                culprit::named(&mut self.attempts, failure, ("row", rows.num_rows()), call, shown)
            }
        }
    }

    /// Sorts rejected rows by row, because a search may find them in any order.
    fn in_order(&self, rejected: &mut [RejectedRow]) {
        if self.on_error == OnError::Reject {
            rejected.sort_by_key(|rejection| rejection.row);
        }
    }

    /// Converts the failure of a call that some of its rows caused. Returns its error if no row is to be rejected.
    fn to_row_failure(&self, failure: CallFailure, rows: usize) -> Result<RowFailure> {
        if self.on_error == OnError::Fail || failure.trap.is_none() || rows == 0 {
            return Err(failure.error);
        }
        Ok(RowFailure::new(failure))
    }
}
