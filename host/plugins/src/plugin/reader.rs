//! World `source`: one instance reads one partition, for as long as possible.

use super::allowance::{Allowance, InputSize};
use super::bindings::{WitNext, WitPolled};
use super::counters::Counters;
use super::description::{Description, WrittenColumns};
use super::failure::{CallFailure, OutputFault};
use super::identity::{CallIdentity, Role};
use super::instances::Instances;
use super::lift;
use super::lift::ExpectedBatch;
use super::load::{Calls, Loaded, SourceCalls};
use super::stage::{Stage, StageUse};
use super::tally::ConnectorTally;
use super::trap::Trap;
use crate::limits::{PLUGIN_PARTITION_NAME_BYTES_MAX, PLUGIN_POSITION_BYTES_MAX};
use arrow::datatypes::SchemaRef;
use millstream_base::error::Error;
use millstream_base::limits::PLUGIN_REASON_BYTES_MAX;
use millstream_base::shown::printable;
use millstream_base::time;
use millstream_rows::batch::reading::{ReadContent, ReadError, ReadPartition, ReadRows};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Calls the functions of a source plugin, for one partition.
pub struct Reader {
    instances: Instances,
    loaded: Arc<Loaded>,
    /// The identity of calls, by function.
    identity: CallIdentity,
    config: String,
    output: SchemaRef,
    written: Arc<WrittenColumns>,
    counters: Counters,
}

impl Reader {
    pub(super) fn new(loaded: Arc<Loaded>, source: StageUse, description: &Description) -> Result<Reader, Error> {
        let plugin = format!("{} {}", description.name, description.version);
        let identity = CallIdentity { stage: Some(source.stage), role: Role::Source, plugin, outside: "poll" };
        let about = Stage { grant: source.grant, inputs: Vec::new(), key: source.key };
        let instances = Instances::new(loaded.clone(), identity.clone(), about, source.limits, true);
        let (config, output, written) = (source.config, description.output.clone(), description.written.clone());
        let reader = Reader { instances, loaded, identity, config, output, written, counters: Counters::default() };
        reader.calls()?;
        Ok(reader)
    }

    /// Adds its costs and counts to those of the source's other readers. Waits inside imports count as host time.
    pub fn tally_in(&mut self, tally: &ConnectorTally) {
        self.instances.bill.account = tally.account.clone();
        self.counters = tally.counters.clone();
    }

    /// Makes a call. Rows of a source are kept with their plan, so that its plugin may see what time it really is.
    fn call<T>(
        &mut self,
        function: &'static str,
        call: impl FnOnce(&mut Instances, &SourceCalls) -> Result<T, CallFailure>,
    ) -> Result<T, CallFailure> {
        let loaded = self.loaded.clone();
        let Calls::Source(calls) = &loaded.calls else { return Err(CallFailure::from_error(wrong_world(&loaded))) };
        self.instances.callee.identity = Arc::new(CallIdentity { outside: function, ..self.identity.clone() });
        self.instances.time_us = time::now().0;
        self.instances.bill.begin();
        call(&mut self.instances, calls)
    }

    /// Makes a call that gives nothing back.
    fn notify(
        &mut self,
        function: &'static str,
        call: impl FnOnce(&mut Instances, &SourceCalls) -> Result<(), CallFailure>,
    ) -> Result<(), ReadError> {
        let called = self.call(function, call).and_then(|()| self.settle(Ok(())));
        called.map_err(|failure| self.read_error(failure))
    }

    fn settle<T>(&mut self, checked: Result<T, OutputFault>) -> Result<T, CallFailure> {
        self.instances.settle(None, &self.counters, checked)
    }

    fn check(&self, given: InputSize, rows_max: u32, polled: WitPolled) -> Result<ReadRows, OutputFault> {
        let WitPolled { rows, refused, position, next } = polled;
        let allowance = Allowance::new(self.instances.callee.limits, given);
        allowance.check_rows(rows.rows)?;
        let count = u64::from(rows.rows).saturating_add(refused.len() as u64);
        if count > u64::from(rows_max) {
            return Err(format!("{count} rows, including rejected ones, but at most {rows_max} were requested").into());
        }
        if let Some(position) = position.as_ref().filter(|position| position.len() > PLUGIN_POSITION_BYTES_MAX) {
            let bytes = position.len();
            return Err(format!("a position of {bytes} bytes; at most {PLUGIN_POSITION_BYTES_MAX} are allowed").into());
        }
        let reason = |message: &str| printable(message, PLUGIN_REASON_BYTES_MAX);
        let (schema, written) = (&self.output, &self.written.output);
        let rows = lift::batch(ExpectedBatch { what: "the rows", schema, written, rows: None, counts: None }, rows)?;
        allowance.check_shared(&rows)?;
        Ok(ReadRows {
            content: ReadContent::Rows(rows),
            rejected: refused.into_iter().map(|rejection| (rejection.data, reason(&rejection.reason))).collect(),
            position,
            pause: match next {
                WitNext::Ready => Some(Duration::ZERO),
                WitNext::Pause(ms) => Some(Duration::from_millis(ms.into())),
                WitNext::Ended => None,
            },
        })
    }

    /// Converts a failure. The plugin's own errors are transient, except those about its config. A denied grant is permanent.
    fn read_error(&mut self, failure: CallFailure) -> ReadError {
        match failure.trap {
            Some(Trap::Error) => ReadError::Transient(failure.reason),
            _ => ReadError::Permanent(failure.error),
        }
    }

    fn calls(&self) -> Result<(), Error> {
        match &self.loaded.calls {
            Calls::Source(_) => Ok(()),
            _ => Err(wrong_world(&self.loaded)),
        }
    }
}

impl ReadPartition for Reader {
    fn is_open(&self) -> bool {
        self.instances.is_live()
    }

    /// Lists the partitions, in a separate instance.
    fn partitions(&mut self) -> Result<Vec<String>, ReadError> {
        self.instances.end();
        let config = self.config.clone();
        let result = self.call("partitions", |instances, calls| {
            instances.call(None, &calls.partitions, InputSize::default(), (config.as_str(),))
        });
        self.instances.end();
        let checked = result.and_then(|names: Vec<String>| self.settle(check_names(&names).map(|()| names)));
        checked.map_err(|failure| self.read_error(failure))
    }

    fn open(&mut self, partition: &str, position: Option<&[u8]>) -> Result<(), ReadError> {
        self.instances.end();
        let config = self.config.clone();
        self.notify("open", |instances, calls| {
            instances.call(None, &calls.open, InputSize::default(), (config.as_str(), partition, position))
        })
    }

    fn poll(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadError> {
        let limits = &self.instances.callee.limits;
        // A source creates rows without input, so only the limits themselves count.
        let given = InputSize { rows: limits.output_rows_max, bytes: limits.output_bytes_max, longest: 0 };
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        let polled =
            self.call("poll", |instances, calls| instances.call(None, &calls.poll, given, (rows_max, wait_ms)));
        let checked = polled.and_then(|polled: WitPolled| {
            self.instances.bill.returns_rows(&polled.rows);
            let checked = self.check(given, rows_max, polled);
            self.settle(checked)
        });
        checked.map_err(|failure| self.read_error(failure))
    }

    fn durable(&mut self, position: &[u8]) -> Result<(), ReadError> {
        self.notify("durable", |instances, calls| {
            instances.call(None, &calls.durable, InputSize::default(), (position,))
        })
    }

    fn published(&mut self, position: &[u8]) -> Result<(), ReadError> {
        self.notify("published", |instances, calls| {
            instances.call(None, &calls.published, InputSize::default(), (position,))
        })
    }
}

fn wrong_world(loaded: &Loaded) -> Error {
    Error::job(format!("plugin {} is of world {}, not of world source", loaded.file.display(), loaded.calls.world()))
}

fn check_names(names: &[String]) -> Result<(), OutputFault> {
    let mut known = BTreeSet::new();
    if names.len() > 1 && names.iter().any(String::is_empty) {
        return Err("one of several partitions has no name".to_owned().into());
    }
    for name in names {
        if name.len() > PLUGIN_PARTITION_NAME_BYTES_MAX {
            let bytes = name.len();
            return Err(format!(
                "a partition's name of {bytes} bytes; at most {PLUGIN_PARTITION_NAME_BYTES_MAX} are allowed"
            )
            .into());
        }
        if name.chars().any(char::is_control) {
            return Err(format!("a partition's name with control characters: {name:?}").into());
        }
        if !known.insert(name) {
            return Err(format!("partition `{name}` appears twice").into());
        }
    }
    Ok(())
}
