//! A stage during its check, and checks shared by several operators.

use crate::checkpoint::types::Table;
use crate::event_time::node::EventTimeNode;
use crate::operators::stage::{InputNode, Operator};
use crate::operators::window::node::{WINDOW_END, WINDOW_START, WindowNode};
use crate::state::spill::budget::StateBudget;
use arrow::datatypes::{Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_job::spec::{JobSpec, StageSpec};
use millstream_plugins::plugin::PluginHost;
use millstream_rows::batch::types::{self, ColumnType};
use std::sync::Arc;

/// The result of checking an operator.
pub struct CheckedStage {
    /// The columns of its rows, before `filter` and `select`.
    pub output: SchemaRef,
    /// The operator.
    pub operator: Operator,
    /// Its tables in checkpoints.
    pub tables: Vec<Table>,
    /// Branches, without the stage's name.
    pub branches: Vec<(String, SchemaRef)>,
}

impl CheckedStage {
    /// Returns an operator without state and branches.
    pub fn new(output: SchemaRef, operator: Operator) -> CheckedStage {
        CheckedStage { output, operator, tables: Vec::new(), branches: Vec::new() }
    }
}

/// A stage during its check: the input of its operator's check.
pub struct StageCheck<'a> {
    /// The job as its author wrote it.
    pub job: &'a JobSpec,
    /// The stage as its author wrote it.
    pub spec: &'a StageSpec,
    /// Its inputs.
    pub inputs: &'a [InputNode],
    /// The columns for the operator, including the bounds of its window, if any.
    pub input: &'a SchemaRef,
    /// Indexes of its key columns in `input`.
    pub key: &'a [usize],
    /// The rows for the operator, unless these are the rows of one batch.
    pub window: Option<&'a WindowNode>,
    /// Definition of its rows' event time.
    pub event_time: Option<&'a EventTimeNode>,
    /// Whether input parts have the same rows for any number of workers. Only computed if the stage has plugins.
    pub parts_are_fixed: bool,
    /// Memory budget of state; set if rows may be spilled to files.
    pub budget: Option<&'a Arc<StateBudget>>,
    /// Loads plugins.
    pub host: &'a PluginHost,
}

impl StageCheck<'_> {
    /// Returns the key columns.
    pub fn key_schema(&self) -> Result<Schema> {
        self.input.project(self.key).map_err(|e| Error::bug(e.to_string()))
    }

    /// Returns the indexes of the window bounds, in rows from event time windows.
    pub fn bounds(&self) -> Result<Option<(usize, usize)>> {
        if !self.window.is_some_and(|window| window.of_event_time()) {
            return Ok(None);
        }
        Ok(Some((types::column(self.input, WINDOW_START)?, types::column(self.input, WINDOW_END)?)))
    }

    /// Fails if the values of a column have no order.
    pub fn comparable(&self, index: usize, what: &str) -> Result<()> {
        let field = self.input.field(index);
        let kind = ColumnType::from_arrow(field.data_type());
        if kind.is_scalar() {
            return Ok(());
        }
        Err(not_comparable(what, field.name(), &kind))
    }

    /// Returns the column with each row's operation, if any.
    pub fn operation(&self) -> Result<Option<usize>> {
        let Some(name) = &self.spec.op else { return Ok(None) };
        let index = types::column(self.input, name).map_err(|error| error.within("op"))?;
        match ColumnType::from_arrow(self.input.field(index).data_type()) {
            ColumnType::Text if self.key.contains(&index) => Err(Error::job(format!(
                "`op` and `key` both name `{name}`; `op` says what a row does, and is not stored"
            ))),
            ColumnType::Text => Ok(Some(index)),
            other => Err(Error::job(format!(
                "op: `{name}` is {other}, and must be text, for example \"insert\" or \
                \"delete\""
            ))),
        }
    }
}

/// Returns an error for a column whose values cannot be compared.
pub fn not_comparable(what: &str, name: &str, kind: &ColumnType) -> Error {
    Error::job(format!(
        "{what} `{name}`: it is of type {kind}, whose values cannot be compared here; name other columns"
    ))
}
