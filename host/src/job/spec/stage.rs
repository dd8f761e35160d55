//! A stage as its author means it.

use crate::batch::types::ColumnType;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// One operator of the graph. Its rows pass `window`, then the operator, then `filter` and `select`.
#[derive(Clone, Debug)]
pub struct StageSpec {
    /// Its name in the job.
    pub name: String,
    /// The streams that it reads: names of sources and stages, or `<name>.rejected`, `<name>.late`, `<name>.<branch>`.
    pub from: Vec<String>,
    /// The columns by which its rows are partitioned.
    pub key: Vec<String>,
    /// The rows that the operator works on, where these are not those of one batch.
    pub window: Option<WindowSpec>,
    /// How its rows tell their time; none: the batch time counts.
    pub event_time: Option<EventTimeSpec>,
    /// What it does.
    pub operator: OperatorSpec,
    /// An SQL expression that the operator's rows must fulfil to leave the stage.
    pub filter: Option<String>,
    /// What `select` of SQL would hold, as `word, n * 2 as double`; none: all columns.
    pub select: Option<String>,
}

impl StageSpec {
    /// The streams that it reads, in the order of its inputs.
    pub fn reads(&self) -> impl Iterator<Item = &String> {
        let more: Vec<&String> = match &self.operator {
            OperatorSpec::Join(join) => join.with.iter().collect(),
            OperatorSpec::Cogroup { with, .. } => with.iter().collect(),
            _ => Vec::new(),
        };
        self.from.iter().chain(more)
    }

    /// Whether its inputs stay apart, instead of being one union.
    pub fn reads_side_by_side(&self) -> bool {
        matches!(self.operator, OperatorSpec::Join(_) | OperatorSpec::Cogroup { .. } | OperatorSpec::Sql { .. })
    }

    /// The streams that it puts out beside its rows, as `late` for `<stage>.late`.
    pub fn sides(&self) -> impl Iterator<Item = &str> {
        let late = self.event_time.iter().map(|_| "late");
        let branches = match &self.operator {
            OperatorSpec::Split(branches) => branches.as_slice(),
            _ => &[],
        };
        ["rejected"].into_iter().chain(late).chain(branches.iter().map(|(name, _)| name.as_str()))
    }

    /// The plugins that it uses.
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

/// A window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    /// Which rows are in one window.
    pub extent: WindowExtent,
    /// When results are put out.
    pub emit: WindowEmit,
}

/// Which rows are in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowExtent {
    /// The rows of `size`, anew every `slide`.
    Sliding {
        /// Length of a window.
        size: Duration,
        /// From one window to the next; `None`: the batch interval in processing time, `size` in event time.
        slide: Option<Duration>,
    },
    /// Rows of a key that follow each other with less than `gap` between them. Event time only.
    Session {
        /// A session ends when nothing came for so long.
        gap: Duration,
        /// A session that would get longer is closed and another one begins.
        length_max: Duration,
    },
}

/// When a window's results are put out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WindowEmit {
    /// Once, when the window is complete.
    #[default]
    Close,
    /// With every batch that changes them; event time only.
    Update,
}

/// How rows tell their time.
#[derive(Clone, Debug, PartialEq)]
pub struct EventTimeSpec {
    /// A timestamp column or an SQL expression that makes a timestamp; one for each input, or one for all.
    pub time: Vec<String>,
    /// How much older than the newest row of its source a row may be.
    pub lateness: Duration,
    /// A source partition without rows for so long does not hold the watermark back; `None`: it always does.
    pub idle: Option<Duration>,
    /// A row that lies further than this ahead of the batch time is rejected; `None`: a day with the machine's clock, no
    /// bound in virtual time.
    pub ahead_max: Option<Duration>,
}

/// What a stage does.
#[derive(Clone, Debug)]
pub enum OperatorSpec {
    /// The rows of all inputs.
    Union,
    /// A plugin of any world.
    Plugin(PluginSpec),
    /// A plugin of world `cogroup`: all groups of a key in one call, an input each: those of `from`, then these.
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
        /// Sliding windows take out what leaves them, and keys without rows stay; for `count` and `sum` of int64.
        inverse: bool,
    },
    /// A query over each batch or window; the inputs are its tables, by name.
    Sql {
        /// The query.
        query: String,
        /// Plugins of world `transform` as scalar functions, by name.
        functions: BTreeMap<String, PluginSpec>,
    },
    /// Two inputs, row by row. The inputs are those of `from` and `with`, two in all.
    Join(JoinSpec),
    /// A table from outside beside each row.
    Enrich(EnrichSpec),
    /// The first rows in an order.
    Top {
        /// How many, of each key where the stage has one.
        n: u64,
        /// The column that orders them.
        by: String,
        /// Smallest first.
        ascending: bool,
    },
    /// Of rows that are equal in these columns (none named: in all) the first.
    Distinct(Vec<String>),
    /// Drops rows whose key came within this time before, over batches.
    Deduplicate {
        /// How long a key is remembered.
        within: Duration,
    },
    /// A share of the rows, from 0 to 1, the same ones in a replay.
    Sample(f64),
    /// Rows by the first predicate (an SQL expression) that they fulfil: streams `<stage>.<branch>`; the others are the
    /// stage's own rows.
    Split(Vec<(String, String)>),
    /// Rows spread anew over the workers: by key where the stage has one, else in turn.
    Repartition {
        /// Into so many parts; `None`: as many as there are workers.
        partitions: Option<u32>,
    },
}

impl OperatorSpec {
    /// The operator as a job file names it; a union is not named.
    pub fn word(&self) -> Option<&'static str> {
        Some(match self {
            OperatorSpec::Union => return None,
            OperatorSpec::Plugin(_) => "plugin",
            OperatorSpec::Cogroup { .. } => "cogroup",
            OperatorSpec::Aggregate { .. } => "aggregate",
            OperatorSpec::Sql { .. } => "sql",
            OperatorSpec::Join(_) => "join",
            OperatorSpec::Enrich(_) => "enrich",
            OperatorSpec::Top { .. } => "top",
            OperatorSpec::Distinct(_) => "distinct",
            OperatorSpec::Deduplicate { .. } => "deduplicate",
            OperatorSpec::Sample(_) => "sample",
            OperatorSpec::Split(_) => "split",
            OperatorSpec::Repartition { .. } => "repartition",
        })
    }
}

/// A join.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinSpec {
    /// The second input, where it is not in `from`.
    pub with: Option<String>,
    /// Columns that must be equal: of the first and of the second input.
    pub on: Vec<(String, String)>,
    /// Which rows without a partner are kept.
    pub kind: JoinKind,
    /// Interval join: how much later (or earlier, below zero) than a row of the first input its partner may be, in
    /// microseconds of event time, from and to. `None`: partners are in the same batch or window.
    pub within_us: Option<(i64, i64)>,
}

/// Which rows without a partner are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JoinKind {
    /// None.
    #[default]
    Inner,
    /// Those of the first input.
    Left,
    /// Those of the second input.
    Right,
    /// Those of both.
    Full,
}

impl JoinKind {
    /// As job files have it.
    pub fn name(self) -> &'static str {
        match self {
            JoinKind::Inner => "inner",
            JoinKind::Left => "left",
            JoinKind::Right => "right",
            JoinKind::Full => "full",
        }
    }
}

/// A table from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct EnrichSpec {
    /// Where it comes from.
    pub table: EnrichTable,
    /// Columns that must be equal: of the stage's input and of the table.
    pub on: Vec<(String, String)>,
    /// `Left` keeps rows that the table knows nothing about, `Inner` does not.
    pub kind: JoinKind,
    /// The table's columns and types; empty: as the file or query tells them.
    pub schema: Vec<(String, ColumnType)>,
    /// How often it is looked at for changes.
    pub poll: Duration,
}

/// Where a table comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum EnrichTable {
    /// A csv, json (lines) or parquet file.
    File {
        /// The file.
        path: PathBuf,
        /// What is in it, by default as its name ends.
        format: EnrichFormat,
    },
    /// A query against a PostgreSQL database.
    Postgres {
        /// As of a `postgres` sink.
        url: String,
        /// The query.
        query: String,
    },
}

/// What is in the file of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnrichFormat {
    /// With a header.
    Csv,
    /// JSON lines.
    Json,
    /// Parquet.
    Parquet,
}

/// A plugin as a stage uses it.
#[derive(Clone, Debug)]
pub struct PluginSpec {
    /// A component file or a plugin folder, as in the job file.
    pub path: PathBuf,
    /// The stage's `config`.
    pub config: serde_json::Value,
    /// How long an instance lives.
    pub instance: InstanceSpec,
    /// What it may use up.
    pub limits: PluginLimits,
    /// What it may use beyond its input.
    pub grant: GrantSpec,
    /// What a failing call does.
    pub on_error: OnError,
    /// How many rows of a batch may be rejected until the job stops; `None`: all.
    pub rejected_max: Option<RejectedMax>,
    /// Whether a batch that runs again is to give the same. Only a stage that gives this up may talk to others.
    pub replayable: bool,
    /// Options of world `update`; an error with another world where one is set.
    pub update: UpdateSpec,
    /// World `aggregate`: whether sliding windows use the plugin's inverse; `None`: where it has one.
    pub inverse: Option<bool>,
}

/// How long a plugin instance lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InstanceSpec {
    /// One call.
    #[default]
    Batch,
    /// As long as the worker, unless a call fails.
    Worker,
}

/// What a plugin may use up. Those of time are counted by a clock with [`OnError::Fail`], and in instructions with
/// [`OnError::Reject`], where a batch that runs again must decide alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PluginLimits {
    /// Linear memory of an instance, all its memories together.
    pub memory_bytes_max: u64,
    /// Elements of all tables of an instance together.
    pub table_elements_max: u64,
    /// Time of a batch on one worker, or of a call where it is counted in instructions; zero: no limit.
    pub time_max: Duration,
    /// Instructions of a call with [`OnError::Reject`]; `None`: as `time_max` says.
    pub fuel_max: Option<u64>,
    /// Call stack.
    pub stack_bytes_max: u64,
    /// Bytes that a call may return.
    pub output_bytes_max: u64,
    /// Rows that a call may return.
    pub output_rows_max: u64,
    /// How many times more than its input a call may return, in rows and in bytes; see [`crate::limits`].
    pub expansion_max: u64,
    /// Lines of the log a second, by stage and worker; more are counted and dropped.
    pub log_lines_per_second_max: u64,
    /// Bytes of the log a second, by stage and worker.
    pub log_bytes_per_second_max: u64,
    /// Names of counters.
    pub counters_max: u64,
    /// Handles of resources that an instance may hold.
    pub handles_max: u64,
    /// Core instances, memories and tables, each, in one instance.
    pub instances_max: u64,
    /// Calls that look for the rows of one failed call with [`OnError::Reject`].
    pub attempts_max: u64,
    /// Time of compiling the component.
    pub compile_time_max: Duration,
}

/// What a failing call of a plugin does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It stops the job.
    #[default]
    Fail,
    /// The rows that make it fail are rejected, and the others go on.
    Reject,
}

/// How many rows of a batch a stage may reject.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RejectedMax {
    /// So many.
    Rows(u64),
    /// This share of the rows that came in, from 0 to 1.
    Share(f64),
}

/// What a plugin may use beyond its input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GrantSpec {
    /// Files that it may read, by the name it knows them by.
    pub files: BTreeMap<String, PathBuf>,
    /// Variables of its environment.
    pub env: BTreeMap<String, String>,
    /// Whom it may ask over HTTP.
    pub http: Option<HttpGrant>,
}

/// Requests that a plugin may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGrant {
    /// Hosts, as `api.example.com`, `127.0.0.1:8080` or `*.example.com`.
    pub hosts: Vec<String>,
    /// Methods, as `GET`.
    pub methods: Vec<String>,
}

/// Options of a stage with a plugin of world `update`; `None`: not set in the job.
#[derive(Clone, Debug, Default)]
pub struct UpdateSpec {
    /// Which keys are called (default `touched`).
    pub on: Option<UpdateOn>,
    /// What the stage's rows are (default `rows`).
    pub emit: Option<UpdateEmit>,
    /// Idle keys get one last call after this time and are removed.
    pub timeout: Option<Duration>,
    /// Initial state: a csv file (with a header) or JSON lines, with key and state columns.
    pub initial: Option<PathBuf>,
}

/// Which keys a batch calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdateOn {
    /// Those with rows in the batch (mapWithState).
    #[default]
    Touched,
    /// All that have rows or a state (updateStateByKey).
    All,
}

/// What the rows of an update stage are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdateEmit {
    /// What the plugin returns.
    #[default]
    Rows,
    /// Key and new state of each key called in the batch that has a state afterwards.
    Changes,
    /// Key and state of every key.
    State,
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
