//! A stage of the job file.

mod pattern;
mod plugin;

pub use pattern::*;
pub use plugin::*;

use super::TableKind;
use millstream_base::limits;
use millstream_base::zone::Zone;
use millstream_rows::batch::column::ColumnSpec;
use std::collections::BTreeMap;
use std::path::PathBuf;
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

/// A window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    /// Which rows are in one window.
    pub extent: WindowExtent,
    /// When results are emitted.
    pub emit: WindowEmit,
}

/// Which rows are in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowExtent {
    /// The rows of `size`, with a new window every `slide`.
    Sliding {
        /// Length of a window.
        size: Duration,
        /// Time between the starts of two windows; `None`: the batch interval in processing time, `size` in event time.
        slide: Option<Duration>,
        /// Alignment of windows of event time.
        begin: WindowBegin,
    },
    /// All rows since the start of the job: running totals, and operators that keep rows themselves.
    All,
    /// Rows of a key that follow each other with less than `gap` between them. Event time only.
    Session {
        /// A session ends when no row came for this long.
        gap: Duration,
        /// A session that would get longer is closed and another one begins.
        length_max: Duration,
    },
}

/// Alignment of windows of event time: at the multiples of their slide since 1970 in the local time of a zone, plus an offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowBegin {
    /// The offset, in microseconds.
    pub offset_us: i64,
    /// The time zone; `None`: UTC.
    pub zone: Option<Zone>,
}

/// When a window's results are emitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WindowEmit {
    /// Once, when the window is complete.
    #[default]
    Close,
    /// With every batch that changes them; event time only.
    Update,
    /// For totals of all rows: as a changelog (insert/delete).
    Changes,
}

/// The event time of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct EventTimeSpec {
    /// A timestamp column or an SQL expression that returns a timestamp; one for each input, or one for all.
    pub time: Vec<String>,
    /// How much older a row may be than the newest row of its source.
    pub lateness: Duration,
    /// A source partition without rows for this long does not hold the watermark back; `None`: it always does.
    pub idle: Option<Duration>,
    /// Rows further ahead of the batch time are rejected; `None`: a day with the machine's clock, no limit in virtual time.
    pub ahead_max: Option<Duration>,
}

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

/// A join.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinSpec {
    /// The second input, if it is not in `from`.
    pub with: Option<String>,
    /// Columns that must be equal: of the first and of the second input.
    pub on: Vec<(String, String)>,
    /// Which rows without a partner are kept.
    pub kind: JoinKind,
    /// Interval join: how much later (earlier if negative) than a row of the first input its partner may be, in microseconds of event time, from and
    /// to. `None`: partners are in the same batch or window.
    pub within_us: Option<(i64, i64)>,
    /// As-of join: only the latest row of the second input at the time of each row of the first, or before; with `within_us` no older than its lower
    /// bound.
    pub as_of: bool,
    /// For a join of all rows that ever came: a key without new rows for this long, on either side, is dropped; `None`: never.
    pub ttl: Option<Duration>,
}

/// Which rows without a partner are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JoinKind {
    /// None.
    #[default]
    Inner,
    /// Unmatched rows of the first input.
    Left,
    /// Unmatched rows of the second input.
    Right,
    /// Unmatched rows of both inputs.
    Full,
}

impl JoinKind {
    /// Returns the name in job files.
    pub fn name(self) -> &'static str {
        match self {
            JoinKind::Inner => "inner",
            JoinKind::Left => "left",
            JoinKind::Right => "right",
            JoinKind::Full => "full",
        }
    }
}

/// A lookup table.
#[derive(Clone, Debug, PartialEq)]
pub struct EnrichSpec {
    /// Origin of the table.
    pub table: EnrichTable,
    /// Columns that must be equal: of the stage's input and of the table.
    pub on: Vec<(String, String)>,
    /// `Left` keeps rows without a match in the table, `Inner` does not.
    pub kind: JoinKind,
    /// The table's columns and types; empty: as the file or query defines them.
    pub schema: Vec<ColumnSpec>,
    /// Interval between checks of the table for changes.
    pub poll: Duration,
}

/// A table of a stream's latest row of each key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestSpec {
    /// The stream.
    pub stream: String,
    /// Columns that must be equal: of the stage's input and of the stream. Those of the stream are the table's key.
    pub on: Vec<(String, String)>,
    /// `Left` keeps rows without a match in the table, `Inner` does not.
    pub kind: JoinKind,
    /// The column of the stream with the operation of a row on the table (`insert`, `delete` …), see `docs/explanation/changelogs.md`.
    /// `None`: each row replaces the previous one.
    pub op: Option<String>,
}

/// The origin of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum EnrichTable {
    /// A csv, json (lines) or parquet file.
    File {
        /// The file.
        path: PathBuf,
        /// Its format, by default by its name's extension.
        format: EnrichFormat,
    },
    /// A query against a database.
    Query {
        /// Which kind of database it is.
        kind: TableKind,
        /// The database.
        url: String,
        /// The query.
        query: String,
        /// How long the job waits at startup for an unreachable server.
        wait: Duration,
    },
}

/// The format of a table's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnrichFormat {
    /// With a header.
    Csv,
    /// JSON lines.
    Json,
    /// Parquet.
    Parquet,
}

/// A built-in aggregate: `n = "count(*)"`.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateSpec {
    /// Name of the output column.
    pub output: String,
    /// The function.
    pub function: AggregateFunction,
    /// Its column; `None` for `count(*)`.
    pub column: Option<String>,
    /// `count(distinct x)`
    pub distinct: bool,
    /// An SQL expression that selects its rows: `count(*) filter (where n > 0)`; `None`: all.
    pub filter: Option<String>,
}

/// The built-in aggregate functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggregateFunction {
    /// `count(*)`, `count(x)`, `count(distinct x)`
    Count,
    /// `sum(x)`
    Sum,
    /// `min(x)`
    Min,
    /// `max(x)`
    Max,
    /// `avg(x)`
    Avg,
    /// `first(x)`: in the order of arrival
    First,
    /// `last(x)`
    Last,
}

/// Resource limits of a query, for one batch or window on one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqlLimits {
    /// Memory for rows that it holds, and for the results of one function call.
    pub memory_bytes_max: u64,
    /// Time; zero: no limit.
    pub time_max: Duration,
}

impl Default for SqlLimits {
    fn default() -> SqlLimits {
        SqlLimits {
            memory_bytes_max: limits::SQL_MEMORY_BYTES_MAX,
            time_max: Duration::from_millis(limits::SQL_TIME_MS_MAX),
        }
    }
}
