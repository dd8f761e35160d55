//! World `sink`: one instance writes the batches of a sink, for as long as possible.

use super::allowance::InputSize;
use super::bindings::{Rejection, WitIdentity, WitOwner};
use super::counters::Counters;
use super::description::{Description, WrittenOut};
use super::failure::{CallFailure, OutputFault};
use super::identity::{CallIdentity, Role};
use super::instances::Instances;
use super::lift;
use super::load::{Calls, Loaded, SinkCalls};
use super::lower::{self, Lowered};
use super::stage::{Stage, StageUse};
use super::tally::ConnectorTally;
use super::trap::Trap;
use crate::limits::PLUGIN_BATCH_ID_MAX;
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use millstream_base::error::{Error, Kind};
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::limits::PLUGIN_CALL_MAX;
use millstream_base::owner::Owner;
use millstream_base::time;
use millstream_rows::batch::rejected::{RejectedRow, merge_rejections, without_nulls};
use millstream_rows::batch::slices::RowBytes;
use millstream_rows::batch::widen::widened;
use millstream_rows::batch::writing::{WriteBatches, WriteError};
use std::sync::Arc;

/// Calls the functions of a sink plugin.
pub struct Writer {
    instances: Instances,
    loaded: Arc<Loaded>,
    /// The identity of calls, by function.
    identity: CallIdentity,
    config: String,
    /// The columns that it reads, and their indexes in the rows of the sink.
    input: SchemaRef,
    written: WrittenOut,
    reads: Vec<usize>,
    counters: Counters,
    /// The batch that has begun.
    batch: Option<BatchId>,
}

impl Writer {
    pub(super) fn new(
        loaded: Arc<Loaded>,
        sink: StageUse,
        description: &Description,
        reads: Vec<usize>,
    ) -> Result<Writer, Error> {
        let plugin = format!("{} {}", description.name, description.version);
        let written = description.written.inputs.first().cloned().unwrap_or_default();
        Writer::create(loaded, sink, plugin, (description.input.clone(), written), reads)
    }

    /// Creates a writer only to read the last committed batch.
    pub(super) fn for_committed(loaded: Arc<Loaded>, sink: StageUse) -> Result<Writer, Error> {
        let plugin = loaded.file.display().to_string();
        Writer::create(loaded, sink, plugin, (Arc::new(Schema::empty()), WrittenOut::default()), Vec::new())
    }

    fn create(
        loaded: Arc<Loaded>,
        sink: StageUse,
        plugin: String,
        (input, written): (SchemaRef, WrittenOut),
        reads: Vec<usize>,
    ) -> Result<Writer, Error> {
        let identity = CallIdentity { stage: Some(sink.stage), role: Role::Sink, plugin, outside: "open" };
        let about = Stage { grant: sink.grant, inputs: vec![input.clone()], key: sink.key };
        let instances = Instances::new(loaded.clone(), identity.clone(), about, sink.limits, true);
        let (config, counters, batch) = (sink.config, Counters::default(), None);
        match loaded.calls {
            Calls::Sink(_) => {
                Ok(Writer { instances, loaded, identity, config, input, written, reads, counters, batch })
            }
            _ => Err(wrong_world(&loaded)),
        }
    }

    /// Adds its costs and counts to those of the sink's earlier writers.
    pub fn tally_in(&mut self, tally: &ConnectorTally) {
        self.instances.bill.account = tally.account.clone();
        self.counters = tally.counters.clone();
    }

    /// Makes a call. Its result need not be reproducible, so the plugin may see the real time.
    fn call<T>(
        &mut self,
        function: &'static str,
        call: impl FnOnce(&mut Instances, Option<u64>, &SinkCalls) -> Result<T, CallFailure>,
    ) -> Result<T, CallFailure> {
        let loaded = self.loaded.clone();
        let Calls::Sink(calls) = &loaded.calls else { return Err(CallFailure::from_error(wrong_world(&loaded))) };
        self.instances.callee.identity = Arc::new(CallIdentity { outside: function, ..self.identity.clone() });
        self.instances.time_us = time::now().0;
        self.instances.bill.begin();
        call(&mut self.instances, self.batch.map(|batch| batch.0), calls)
    }

    fn settle<T>(&mut self, checked: Result<T, OutputFault>) -> Result<T, CallFailure> {
        self.instances.settle(self.batch.map(|batch| batch.0), &self.counters, checked)
    }

    /// Makes a call without a result.
    fn notify(
        &mut self,
        function: &'static str,
        call: impl FnOnce(&mut Instances, Option<u64>, &SinkCalls) -> Result<(), CallFailure>,
    ) -> Result<(), WriteError> {
        let called = self.call(function, call).and_then(|()| self.settle(Ok(())));
        called.map_err(|failure| self.write_error(failure))
    }

    /// Converts a failure. The plugin's own `internal` errors are transient; those about its config or the rows are permanent, and so is a
    /// denied grant.
    fn write_error(&mut self, failure: CallFailure) -> WriteError {
        self.instances.end();
        (self.instances.hold, self.batch) = (false, None);
        let passes = (failure.trap, failure.error.kind) == (Some(Trap::Error), Kind::Plugin);
        match passes {
            true => WriteError::Transient(failure.reason),
            false => WriteError::Permanent(failure.error),
        }
    }

    /// Writes rows that fit into one call, and have all columns of the sink.
    fn write_piece(&mut self, rows: RecordBatch) -> Result<Vec<RejectedRow>, CallFailure> {
        let arrow = |error| CallFailure::from_error(Error::arrow(error));
        let (rows, nulls) = without_nulls(rows, &self.reads, &self.input).map_err(arrow)?;
        if rows.num_rows() == 0 {
            return Ok(nulls);
        }
        let rows = rows.project(&self.reads).map_err(arrow)?;
        let rows = widened(&rows, &self.input).map_err(arrow)?;
        let to_failure =
            |message| CallFailure::from_error(Error::bug(format!("{}: {message}", self.identity.description())));
        let lowered = Lowered::new(&rows, &self.written).map_err(to_failure)?;
        let rejected: Vec<Rejection> = self.call("write", |instances, batch, calls| {
            instances.bill.passes_rows(rows.num_rows());
            instances.bill.passes(&lowered);
            let columns = lowered.columns();
            instances.call(batch, &calls.write, InputSize::measure([&lowered]), (lowered.batch(&columns),))
        })?;
        let rejected = self.settle(lift::rejections(rows.num_rows(), rejected).map_err(OutputFault::from))?;
        Ok(merge_rejections(nulls, rejected))
    }

    /// Converts the last batch that the destination reports to have.
    fn reported_batch(&mut self, committed: Option<u64>) -> Result<Option<BatchId>, CallFailure> {
        let checked = match committed.unwrap_or_default() {
            0 => Ok(None),
            batch if batch > PLUGIN_BATCH_ID_MAX => {
                Err(format!("it reports batch {batch} as committed, but no job has reached that batch").into())
            }
            batch => Ok(Some(BatchId(batch))),
        };
        self.settle(checked)
    }
}

impl WriteBatches for Writer {
    /// Reads the last committed batch, in a separate instance.
    fn committed(&mut self, job: &str, job_id: &str) -> Result<Option<BatchId>, WriteError> {
        self.instances.end();
        let (config, sink) = (self.config.clone(), self.sink());
        let identity = WitIdentity { job, job_id, sink: &sink };
        let result = self.call("committed", |instances, batch, calls| {
            instances.call(batch, &calls.committed, InputSize::default(), (config.as_str(), identity))
        });
        let last_batch = result.and_then(|last_batch| self.reported_batch(last_batch));
        self.instances.end();
        last_batch.map_err(|failure| self.write_error(failure))
    }

    fn is_open(&self) -> bool {
        self.instances.is_live()
    }

    fn open(&mut self, owner: &Owner) -> Result<Option<BatchId>, WriteError> {
        self.instances.end();
        (self.instances.hold, self.batch) = (false, None);
        let (config, sink, input) = (self.config.clone(), self.sink(), lower::schema(&self.input));
        let identity = WitIdentity { job: &owner.job, job_id: &owner.job_id, sink: &sink };
        let owner = WitOwner { identity, generation: owner.generation.0 };
        let opened = self.call("open", |instances, batch, calls| {
            instances.call(batch, &calls.open, InputSize::default(), (config.as_str(), &input, owner))
        });
        opened.and_then(|committed| self.reported_batch(committed)).map_err(|failure| self.write_error(failure))
    }

    fn begin(&mut self, batch: BatchId, time: BatchTime) -> Result<(), WriteError> {
        // No other instance could continue the batch.
        (self.instances.hold, self.batch) = (true, Some(batch));
        self.notify("begin", |instances, of, calls| {
            instances.call(of, &calls.begin, InputSize::default(), (batch.0, time.0))
        })
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<Vec<RejectedRow>, WriteError> {
        let bytes = RowBytes::of_columns(rows, &self.reads);
        let mut rejected = Vec::new();
        for piece in bytes.slices(rows.num_rows(), PLUGIN_CALL_MAX).into_iter().filter(|piece| !piece.is_empty()) {
            let before = u32::try_from(piece.start).unwrap_or(u32::MAX);
            let more =
                self.write_piece(rows.slice(piece.start, piece.len())).map_err(|failure| self.write_error(failure))?;
            rejected.extend(more.into_iter().map(|row| RejectedRow { row: row.row.saturating_add(before), ..row }));
        }
        Ok(rejected)
    }

    fn commit(&mut self) -> Result<(), WriteError> {
        let id = self.batch.unwrap_or_default().0;
        self.instances.hold = false;
        self.notify("commit", |instances, batch, calls| {
            instances.call(batch, &calls.commit, InputSize::default(), (id,))
        })?;
        self.batch = None;
        Ok(())
    }
}

impl Writer {
    fn sink(&self) -> String {
        self.identity.stage.clone().unwrap_or_default()
    }
}

fn wrong_world(loaded: &Loaded) -> Error {
    Error::job(format!("plugin {} is of world {}, not of world sink", loaded.file.display(), loaded.calls.world()))
}
