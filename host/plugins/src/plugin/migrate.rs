//! States of another version of a plugin, as this version has them; see `wit/migrate.wit`.

use super::allowance::{Allowance, InputSize};
use super::bindings::BatchOut;
use super::counters::Counters;
use super::description::{Description, WrittenOut};
use super::failure::{CallFailure, OutputFault};
use super::identity::{CallIdentity, Role};
use super::instances::Instances;
use super::lift::ExpectedBatch;
use super::load::Calls;
use super::lower::{self, Lowered};
use super::stage::{Stage, StageUse};
use super::traced::call_located;
use super::{Plugin, lift};
use arrow::array::RecordBatch;
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchTime;

/// Some of the states that another version of a plugin made.
pub struct OldStates<'a> {
    /// That version; empty if unknown.
    pub version: &'a str,
    /// The time of the last batch that it ran, which is the time of the call.
    pub time: BatchTime,
    /// The states, one row per key.
    pub rows: &'a RecordBatch,
}

impl Plugin {
    /// Whether it can migrate state of its other versions.
    pub fn migrates(&self) -> bool {
        matches!(self.loaded.calls, Calls::Update { migrate: Some(_), .. })
    }

    /// The new state of each key, with the columns that `description` calls `state`: what the plugin said of itself for this
    /// stage. Each call has an instance and a time limit of its own, as a table may need many of them.
    pub fn migrate(&self, stage: &StageUse, description: &Description, old: &OldStates<'_>) -> Result<RecordBatch> {
        Ok(self.try_migrate(stage, description, old)?)
    }

    fn try_migrate(
        &self,
        stage: &StageUse,
        description: &Description,
        old: &OldStates<'_>,
    ) -> Result<RecordBatch, CallFailure> {
        let plugin = format!("{} {}", description.name, description.version);
        let identity = CallIdentity { stage: Some(stage.stage.clone()), role: Role::Stage, plugin, outside: "migrate" };
        let bug = |message: &str| CallFailure::from_error(Error::bug(format!("{}: {message}", identity.description())));
        let Calls::Update { migrate: Some(migrate), .. } = &self.loaded.calls else {
            return Err(bug("it has no `migrate`"));
        };
        let written = WrittenOut::of_named(old.rows.schema_ref());
        let states = Lowered::new(old.rows, &written).map_err(|message| bug(&message))?;
        let (columns, schema) = (states.columns(), lower::schema(old.rows.schema_ref()));
        let about = Stage { grant: stage.grant.clone(), inputs: description.inputs.clone(), key: stage.key.clone() };
        let mut instances = Instances::new(self.loaded.clone(), identity, about, stage.limits, false);
        let given = InputSize::measure([&states]);
        let made: BatchOut = call_located(&mut instances, &stage.config, |instances, config| {
            instances.time_us = old.time.0;
            instances.call(None, migrate, given, (config, old.version, &schema, states.batch(&columns)))
        })?;
        let promised = ExpectedBatch {
            what: "the new states",
            schema: &description.state,
            written: &description.written.state,
            rows: Some(old.rows.num_rows()),
            counts: None,
        };
        let new = lift::batch(promised, made);
        let checked = new.map_err(OutputFault::from).and_then(|new| {
            Allowance::new(stage.limits, given).check_shared(&new)?;
            Ok(new)
        });
        // Its counts belong to no batch.
        instances.settle(None, &Counters::default(), checked)
    }
}
