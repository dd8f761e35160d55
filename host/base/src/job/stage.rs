//! A stage of a job: what its file says, with defaults filled in. Each operator is a module: its keys, how they are read and checked, and how a
//! program builds it.

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
pub use aggregate::{AggregateFunction, AggregateSpec};
pub(super) use check::check;
pub use enrich::{EnrichFormat, EnrichSpec, EnrichTable};
pub use event_time::EventTimeSpec;
pub(super) use event_time::NAMES as EVENT_TIME_KEYS;
pub use join::{JoinKind, JoinSpec};
pub use latest::LatestSpec;
pub use pattern::*;
pub use plugin::*;
pub(super) use read::read;
pub use sql::SqlLimits;
pub use window::{WindowBegin, WindowEmit, WindowExtent, WindowSpec};

use super::build::strings;
use std::collections::BTreeMap;
use std::time::Duration;

/// One operator of the graph. Its rows pass `window`, then the operator, then `filter` and `select`.
#[derive(Clone, Debug)]
pub struct StageSpec {
    /// The stage's name.
    pub name: String,
    /// The streams that it reads: names of sources and stages, or `<name>.rejected`, `<name>.late`, `<name>.<branch>`.
    pub from: Vec<String>,
    /// The columns by which its rows are partitioned.
    pub key: Vec<String>,
    /// For an operator over all rows that ever came: the column with the operation of a row, which may be a deletion.
    pub op: Option<String>,
    /// The rows that the operator works on, if they are not those of one batch.
    pub window: Option<WindowSpec>,
    /// The event time of its rows; by default the batch time is used.
    pub event_time: Option<EventTimeSpec>,
    /// The operator.
    pub operator: OperatorSpec,
    /// An SQL expression that the operator's rows must fulfill to leave the stage.
    pub filter: Option<String>,
    /// The columns of an SQL `select`, for example `word, n * 2 as double`; by default all columns.
    pub select: Option<String>,
}

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

    /// Returns what the stage does in one word: its operator, or without one what it does to the rows.
    pub fn keyword(&self) -> &'static str {
        let plain = match (&self.select, &self.filter) {
            (Some(_), _) => "select",
            (None, Some(_)) => "filter",
            (None, None) => "union",
        };
        self.operator.keyword().unwrap_or(plain)
    }

    /// Returns the streams that it reads, in the order of its inputs.
    pub fn reads(&self) -> impl Iterator<Item = &String> {
        let more: Vec<&String> = match &self.operator {
            OperatorSpec::Join(join) => join.with.iter().collect(),
            OperatorSpec::Cogroup { with, .. } => with.iter().collect(),
            OperatorSpec::Latest(latest) => vec![&latest.stream],
            _ => Vec::new(),
        };
        self.from.iter().chain(more)
    }

    /// Returns whether its inputs stay separate, instead of being one union.
    pub fn reads_side_by_side(&self) -> bool {
        matches!(self.operator, OperatorSpec::Join(_) | OperatorSpec::Cogroup { .. } | OperatorSpec::Sql { .. })
    }

    /// Returns its additional output streams, for example `late` for `<stage>.late`.
    pub fn sides(&self) -> impl Iterator<Item = &str> {
        let late = self.event_time.iter().map(|_| "late");
        let branches = match &self.operator {
            OperatorSpec::Split(branches) => branches.as_slice(),
            _ => &[],
        };
        ["rejected"].into_iter().chain(late).chain(branches.iter().map(|(name, _)| name.as_str()))
    }

    /// Returns the plugins that it uses.
    pub fn plugins(&self) -> Vec<&PluginSpec> {
        match &self.operator {
            OperatorSpec::Plugin(plugin) | OperatorSpec::Cogroup { plugin, .. } => vec![plugin],
            OperatorSpec::Sql { functions, .. } => functions.values().collect(),
            _ => Vec::new(),
        }
    }

    /// See [`StageSpec::plugins`].
    pub fn plugins_mut(&mut self) -> Vec<&mut PluginSpec> {
        match &mut self.operator {
            OperatorSpec::Plugin(plugin) | OperatorSpec::Cogroup { plugin, .. } => vec![plugin],
            OperatorSpec::Sql { functions, .. } => functions.values_mut().collect(),
            _ => Vec::new(),
        }
    }
}

/// The default column for the operation of a stage's rows.
pub const OPERATION: &str = "op";

/// The operator of a stage.
#[derive(Clone, Debug)]
pub enum OperatorSpec {
    /// The rows of all inputs.
    Union,
    /// A plugin of any world.
    Plugin(PluginSpec),
    /// A plugin of world `cogroup`: all groups of a key in one call, one input each: those of `from`, then these.
    Cogroup {
        /// More inputs.
        with: Vec<String>,
        /// The plugin.
        plugin: PluginSpec,
    },
    /// Built-in aggregates per batch or window, and key.
    Aggregate {
        /// The output columns.
        columns: Vec<AggregateSpec>,
        /// Whether rows that leave a sliding window are subtracted, while keys without rows stay; for `count` and `sum` of int64.
        inverse: bool,
    },
    /// A query over each batch or window; the inputs are its tables, by name.
    Sql {
        /// The query.
        query: String,
        /// Plugins of world `transform` as scalar functions, by name.
        functions: BTreeMap<String, PluginSpec>,
        /// Resource limits of the query.
        limits: SqlLimits,
    },
    /// A join of two inputs, row by row. The inputs are those of `from` and `with`, two in total.
    Join(JoinSpec),
    /// Adds a lookup table's columns to each row.
    Enrich(EnrichSpec),
    /// Adds the columns of another stream's latest row with the same key to each row.
    Latest(LatestSpec),
    /// The first rows in an order.
    Top {
        /// Number of rows, per key if the stage has one.
        n: u64,
        /// The column that orders them.
        by: String,
        /// Smallest first.
        ascending: bool,
        /// With `window = "all"`: the column for the rank of each row, from 1 on.
        rank: Option<String>,
    },
    /// The latest row of each key, emitted as it changes.
    Newest {
        /// The column that orders rows; `None`: order of arrival.
        by: Option<String>,
    },
    /// The first of rows that are equal in these columns (all columns if empty).
    Distinct(Vec<String>),
    /// Drops rows whose key came within this time before, across batches.
    Deduplicate {
        /// How long a key is kept.
        within: Duration,
    },
    /// Sequences of rows of a key in the order of their event times.
    Pattern(Box<PatternSpec>),
    /// A share of the rows, from 0 to 1, the same ones in a replay.
    Sample(f64),
    /// Assigns each row to the first predicate (an SQL expression) that it fulfills: streams `<stage>.<branch>`; the others are the stage's own
    /// rows.
    Split(Vec<(String, String)>),
    /// Rows redistributed over the workers: by key if the stage has one, otherwise in turn.
    Repartition {
        /// Number of parts; `None`: one per worker.
        partitions: Option<u32>,
    },
}

impl OperatorSpec {
    /// Returns whether it emits all or some rows of its input unchanged.
    pub fn passes_rows(&self) -> bool {
        matches!(
            self,
            OperatorSpec::Union
                | OperatorSpec::Split(_)
                | OperatorSpec::Repartition { .. }
                | OperatorSpec::Distinct(_)
                | OperatorSpec::Deduplicate { .. }
                | OperatorSpec::Sample(_)
        )
    }

    /// Returns the operator's name in a job file; a union has none.
    pub fn keyword(&self) -> Option<&'static str> {
        Some(match self {
            OperatorSpec::Union => return None,
            OperatorSpec::Plugin(_) => "plugin",
            OperatorSpec::Cogroup { .. } => "cogroup",
            OperatorSpec::Aggregate { .. } => "aggregate",
            OperatorSpec::Sql { .. } => "sql",
            OperatorSpec::Join(_) => "join",
            OperatorSpec::Enrich(_) | OperatorSpec::Latest(_) => "enrich",
            OperatorSpec::Top { .. } => "top",
            OperatorSpec::Newest { .. } => "latest",
            OperatorSpec::Distinct(_) => "distinct",
            OperatorSpec::Deduplicate { .. } => "deduplicate",
            OperatorSpec::Pattern(_) => "pattern",
            OperatorSpec::Sample(_) => "sample",
            OperatorSpec::Split(_) => "split",
            OperatorSpec::Repartition { .. } => "repartition",
        })
    }
}
