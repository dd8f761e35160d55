//! A stage of a job. Each operator is a module: its keys, how they are read and checked, and how a program builds it.

mod aggregate;
mod check;
mod cogroup;
mod deduplicate;
mod distinct;
mod enrich;
mod event_time;
mod join;
pub(super) mod keys;
mod latest;
mod newest;
mod on;
pub mod pattern;
pub(super) mod plugin;
mod read;
mod repartition;
mod sample;
mod split;
mod sql;
mod top;
mod window;

pub(super) use aggregate::expression;
pub(super) use check::check;
pub(super) use read::read;

use super::build::strings;
use super::spec::{OperatorSpec, StageSpec};

impl StageSpec {
    fn new<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        operator: OperatorSpec,
    ) -> StageSpec {
        StageSpec {
            name: name.into(),
            from: strings(from),
            key: Vec::new(),
            op: None,
            window: None,
            event_time: None,
            operator,
            filter: None,
            select: None,
        }
    }

    /// Unites the rows of all inputs.
    pub fn union<S: Into<String>>(name: impl Into<String>, from: impl IntoIterator<Item = S>) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Union)
    }

    /// Sets the columns by which rows are partitioned.
    #[must_use]
    pub fn key<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> StageSpec {
        self.key = strings(columns);
        self
    }

    /// For aggregates, joins, `latest` and `top` over all rows: sets the column for the operation of a row.
    #[must_use]
    pub fn op(mut self, column: impl Into<String>) -> StageSpec {
        self.op = Some(column.into());
        self
    }

    /// Sets an SQL expression that the operator's rows must fulfill to leave the stage.
    #[must_use]
    pub fn filter(mut self, expression: impl Into<String>) -> StageSpec {
        self.filter = Some(expression.into());
        self
    }

    /// Sets the columns of the rows that leave the stage, for example `word, n * 2 as double`.
    #[must_use]
    pub fn select(mut self, columns: impl Into<String>) -> StageSpec {
        self.select = Some(columns.into());
        self
    }
}
