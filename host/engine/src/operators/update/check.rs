//! Checks of stages with an `update` plugin: their key, their state and their timers.

use crate::checkpoint::types::{Column, Table};
use crate::operators::plugin::node::PluginNode;
use crate::operators::stage::Operator;
use crate::operators::stage_check::{CheckedStage, StageCheck};
use crate::operators::update::initial;
use crate::operators::update::node::UpdateNode;
use crate::state::timers::{self, TimerClock};
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_job::spec::{JobSpec, UpdateEmit, UpdateOn, UpdateSpec};
use millstream_plugins::plugin::Plugin;
use millstream_rows::batch::types::with_fields;
use std::path::Path;

/// Checks a stage with an `update` plugin.
pub fn check(check: &StageCheck<'_>, plugin: PluginNode, options: &UpdateSpec, keys: &Schema) -> Result<CheckedStage> {
    let StageCheck { spec: stage, input, key, .. } = *check;
    let description = &plugin.description;
    let plugin_name = format!("plugin {} {}", description.name, description.version);
    if key.is_empty() {
        return Err(Error::job(format!(
            "{plugin_name} keeps a state per key; write the key columns, for example `key = \"user\"`"
        )));
    }
    let table = with_fields(keys, description.state.fields().iter().cloned());
    let emit = options.emit.unwrap_or_default();
    let output = if emit == UpdateEmit::Rows { description.output.clone() } else { table.clone() };
    let initial = match &options.initial {
        None => None,
        Some(path) => Some(initial_states(check.job, path, &table, key.len())?),
    };
    let node = UpdateNode {
        name: stage.name.clone(),
        input: input.clone(),
        key: key.to_vec(),
        reads: plugin.reads.clone(),
        output: output.clone(),
        description: description.clone(),
        on: options.on.unwrap_or_default(),
        emit,
        timeout: options.timeout,
        initial,
        timers: timer_clock(check, &plugin.plugin, &plugin_name)?,
        timers_max: plugin.stage.limits.timers_max,
        state_bytes_max: plugin.stage.limits.state_bytes_max,
        budget: check.budget.cloned().filter(|_| spills(options)),
    };
    let mut tables = vec![table_of(&node)];
    tables.extend(node.timers.map(|clock| timers::table_of(&stage.name, keys.fields(), clock)));
    Ok(CheckedStage { tables, ..CheckedStage::new(output, Operator::Update(plugin, Box::new(node))) })
}

/// Returns whether rows may be spilled. If each batch visits all of them, they would come back immediately.
fn spills(options: &UpdateSpec) -> bool {
    options.on != Some(UpdateOn::All) && options.emit != Some(UpdateEmit::State)
}

/// Returns the stage's table in checkpoints, without files.
fn table_of(node: &UpdateNode) -> Table {
    let key = Column::from_fields(node.key.iter().filter_map(|index| node.input.fields().get(*index)));
    let table =
        Table::of_stage(&node.name, "", [key, Vec::new(), Column::from_fields(node.description.state.fields())]);
    Table { version: node.description.version.clone(), ..table }
}

/// Returns the clock for the timers of a stage, if its plugin has timers.
fn timer_clock(check: &StageCheck<'_>, plugin: &Plugin, plugin_name: &str) -> Result<Option<TimerClock>> {
    if !plugin.uses("timers") {
        return Ok(None);
    }
    match (check.event_time, check.window) {
        (None, _) => Ok(Some(TimerClock::Batch)),
        (Some(_), None) => Ok(Some(TimerClock::Watermark)),
        (Some(_), Some(_)) => Err(Error::job(format!(
            "{plugin_name} sets timers, which cannot wait for event time after a window of the same stage; put the window into a \
             separate stage"
        ))),
    }
}

/// Reads initial states. Errors in them are the job author's to fix.
fn initial_states(job: &JobSpec, path: &Path, table: &SchemaRef, keys: usize) -> Result<RecordBatch> {
    let loaded = initial::load(&job.origin.dir.join(path), table, keys);
    loaded.map_err(|error| Error::job(format!("`initial`: {}", error.message)))
}
