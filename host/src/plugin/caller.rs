//! Calls of a plugin for one stage on one worker, and what happens where one fails.

use super::account::Account;
use super::attempt::Attempts;
use super::failure::CallFailure;
use super::load::Loaded;
use super::{CallContext, Cogrouped, Cogroups, Counters, Description, Groups, Processed, StageUse, Updated};
use crate::batch::rejected::Refusal;
use crate::error::{Error, Result};
use crate::job::spec::OnError;
use arrow::array::RecordBatch;
use std::sync::Arc;

/// Calls one plugin for one stage on one worker thread. Every error names stage, plugin, version and batch.
/// Batches passed in hold exactly the columns that the description names; see [`Description::input`].
pub struct Caller {
    attempts: Attempts,
    on_error: OnError,
}

impl Caller {
    pub(super) fn new(loaded: Arc<Loaded>, stage: StageUse, description: &Description) -> Caller {
        let on_error = stage.on_error;
        Caller { attempts: Attempts::new(loaded, stage, description), on_error }
    }

    /// What the plugin counted so far.
    pub fn counters(&self) -> &Counters {
        self.attempts.counters()
    }

    /// What its calls cost so far.
    pub fn account(&self) -> &Account {
        &self.attempts.instances.bill.account
    }

    /// World `transform`.
    pub fn process(&mut self, context: CallContext, rows: &RecordBatch) -> Result<Processed> {
        self.attempts.process(context, rows).map_err(told)
    }

    /// World `update`.
    pub fn update(&mut self, context: CallContext, groups: &Groups) -> Result<Updated> {
        self.attempts.update(context, groups).map_err(told)
    }

    /// World `cogroup`.
    pub fn cogroup(&mut self, context: CallContext, groups: &Cogroups) -> Result<Cogrouped> {
        self.attempts.cogroup(context, groups).map_err(told)
    }

    /// World `aggregate`: the rows of which no accumulator can be made, where a failing call rejects rows; [`Caller::lift`]
    /// is to be called with the others.
    pub fn refused(&mut self, _context: CallContext, _rows: &RecordBatch) -> Result<Vec<Refusal>> {
        match self.on_error {
            OnError::Fail => Ok(Vec::new()),
            OnError::Reject => Err(Error::bug("not built yet")),
        }
    }

    /// World `aggregate`: an accumulator for each row.
    pub fn lift(&mut self, context: CallContext, rows: &RecordBatch) -> Result<RecordBatch> {
        self.attempts.lift(context, rows).map_err(told)
    }

    /// World `aggregate`: accumulators combined pair by pair.
    pub fn combine(&mut self, context: CallContext, left: &RecordBatch, right: &RecordBatch) -> Result<RecordBatch> {
        self.attempts.combine(context, left, right).map_err(told)
    }

    /// World `aggregate`: the output row of each accumulator.
    pub fn lower(
        &mut self,
        context: CallContext,
        keys: &RecordBatch,
        accumulators: &RecordBatch,
    ) -> Result<RecordBatch> {
        self.attempts.lower(context, keys, accumulators).map_err(told)
    }

    /// World `aggregate`: accumulators taken out again, pair by pair.
    pub fn inverse(&mut self, context: CallContext, whole: &RecordBatch, part: &RecordBatch) -> Result<RecordBatch> {
        self.attempts.inverse(context, whole, part).map_err(told)
    }
}

fn told(failure: CallFailure) -> Error {
    failure.error
}
