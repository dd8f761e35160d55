//! A stage that is being checked, and what the checks of several operators look at.

use crate::checkpoint::types::Table;
use crate::event_time::node::EventTimeNode;
use crate::operators::stage::{InputNode, Operator};
use crate::operators::window::node::{WINDOW_END, WINDOW_START, WindowNode};
use crate::state::spill::budget::StateBudget;
use arrow::datatypes::{Schema, SchemaRef};
use millstream_base::batch::types::{self, ColumnType};
use millstream_base::error::{Error, Result};
use millstream_base::job::spec::{JobSpec, StageSpec};
use millstream_plugins::plugin::PluginHost;
use std::sync::Arc;

/// The result of checking an operator.
pub struct CheckedStage {
    /// The columns of its rows, before `filter` and `select`.
    pub output: SchemaRef,
    /// The operator.
    pub operator: Operator,
    /// What checkpoints hold of it.
    pub tables: Vec<Table>,
    /// Branches, without the stage's name.
    pub branches: Vec<(String, SchemaRef)>,
}

impl CheckedStage {
    /// An operator without state and branches.
    pub fn of(output: SchemaRef, operator: Operator) -> CheckedStage {
        CheckedStage { output, operator, tables: Vec::new(), branches: Vec::new() }
    }
}

/// A stage that is being checked: what the checks of its operator look at.
pub struct StageCheck<'a> {
    /// The job as its author wrote it.
    pub job: &'a JobSpec,
    /// The stage as its author wrote it.
    pub spec: &'a StageSpec,
    /// Its inputs.
    pub inputs: &'a [InputNode],
    /// The columns that the operator works on, with the bounds of its window where it has one.
    pub input: &'a SchemaRef,
    /// Places of its key columns in `input`.
    pub key: &'a [usize],
    /// The rows that the operator works on, where these are not those of one batch.
    pub window: Option<&'a WindowNode>,
    /// How its rows tell their time.
    pub event_time: Option<&'a EventTimeNode>,
    /// Whether the parts that come in hold the same rows on any number of workers. Only where the stage has plugins.
    pub parts_are_fixed: bool,
    /// What the rows of state in memory count against, where others may lie in files.
    pub budget: Option<&'a Arc<StateBudget>>,
    /// Loads plugins.
    pub host: &'a PluginHost,
}

impl StageCheck<'_> {
    /// The key columns.
    pub fn key_schema(&self) -> Result<Schema> {
        self.input.project(self.key).map_err(|e| Error::bug(e.to_string()))
    }

    /// Where the bounds of the window stand, in rows that come out of windows of event time.
    pub fn bounds(&self) -> Result<Option<(usize, usize)>> {
        if !self.window.is_some_and(|window| window.of_event_time()) {
            return Ok(None);
        }
        Ok(Some((types::column(self.input, WINDOW_START)?, types::column(self.input, WINDOW_END)?)))
    }

    /// An error where the values of a column have no order.
    pub fn comparable(&self, place: usize, what: &str) -> Result<()> {
        let field = self.input.field(place);
        let kind = ColumnType::of(field.data_type());
        if kind.is_scalar() {
            return Ok(());
        }
        Err(not_compared(what, field.name(), &kind))
    }

    /// The column that says what each row does to what the stage makes of all, if one does.
    pub fn operation(&self) -> Result<Option<usize>> {
        let Some(name) = &self.spec.op else { return Ok(None) };
        let place = types::column(self.input, name).map_err(|error| error.within("op"))?;
        match ColumnType::of(self.input.field(place).data_type()) {
            ColumnType::Text if self.key.contains(&place) => Err(Error::job(format!(
                "`op` and `key` both name `{name}`; `op` says what a row does, and is not kept"
            ))),
            ColumnType::Text => Ok(Some(place)),
            other => Err(Error::job(format!("op: `{name}` is {other}, and must be text, as \"insert\" or \"delete\""))),
        }
    }
}

/// An error where the values of a column cannot be compared.
pub fn not_compared(what: &str, name: &str, kind: &ColumnType) -> Error {
    Error::job(format!(
        "{what} `{name}`: it is of type {kind}, whose values cannot be compared here; name other columns"
    ))
}
