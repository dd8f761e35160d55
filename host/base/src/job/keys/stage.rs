//! The keys of a stage and of the tables in it.

use super::{KeyShape, LOOKUP_COLUMN, TableKey, key};
use crate::limits;

/// Keys of a stage of versions to come.
pub(in crate::job) const STAGE_KEYS_LATER: &[&str] =
    &["sort", "branch", "rename", "drop", "cast", "shadow", "migrate", "require"];
/// The keys that give a stage its operator; `cogroup` goes with `plugin`, of the others a stage has one at most.
pub(in crate::job) const OPERATORS: [&str; 14] = [
    "plugin",
    "aggregate",
    "sql",
    "join",
    "cogroup",
    "enrich",
    "top",
    "latest",
    "distinct",
    "deduplicate",
    "pattern",
    "sample",
    "split",
    "repartition",
];
/// Keys of a stage that mean something to plugins only.
pub(in crate::job) const PLUGIN_KEYS: [&str; 10] =
    ["config", "on", "timeout", "initial", "instance", "limits", "grant", "on_error", "max_rejected", "replayable"];
/// Values of `emit` for a plugin of world `update`; the others are for windows.
pub(in crate::job) const PLUGIN_EMITS: [&str; 3] = ["rows", "changes", "state"];

/// A stage.
pub(in crate::job) const STAGE: &[TableKey] = &[
    key(
        "from",
        KeyShape::TextList,
        "Streams to read: names of sources and stages, `<name>.rejected`, `<name>.late` of a stage with `time`, or \
         `<name>.<branch>` of a stage with `split`. Several streams are merged (union); for `sql`, `join` and `cogroup` they are \
         separate inputs.",
    )
    .required(),
    key("key", KeyShape::TextList, "Columns by which the rows are partitioned."),
    key(
        "window",
        KeyShape::Either(&[KeyShape::Table(WINDOW), KeyShape::Word(&["all"])]),
        "Work on the rows of a window instead of a batch: { size = \"30s\", slide = \"10s\" }, { gap = \"30s\" } for sessions, or \
         \"all\" for all rows that ever came (aggregates, queries, `join`, `top`).",
    ),
    TIME,
    LATENESS,
    IDLE,
    AHEAD_MAX,
    key(
        "emit",
        KeyShape::Word(&["rows", "changes", "state", "close", "update"]),
        "Rows that the stage emits. Plugins of world update: what the plugin returns (`rows`, the default), the new states of the \
         called keys (`changes`), or the complete state table (`state`). Windows in event time: results once, when a window is \
         complete (`close`, the default), or with every batch that changes them (`update`). Aggregates of all rows: the totals \
         as a changelog of inserts and deletes (`changes`).",
    ),
    key(
        "plugin",
        KeyShape::Text,
        "Component or plugin directory, relative to the job file, or a package pinned by millstream.lock: name@version.",
    ),
    key("config", KeyShape::Any, "Configuration of the plugin."),
    key(
        "aggregate",
        KeyShape::Aggregates,
        "Built-in aggregates per batch or window and per key, by output column: { n = \"count(*)\", total = \"sum(price)\" }.",
    ),
    key(
        "op",
        KeyShape::Text,
        "Column that says what a row does. With `window = \"all\"`: `insert`, `update` and `upsert` add the row, `delete` \
         removes an equal row. With `latest`: `insert`, `update` and `upsert` write the row of their key, `delete` deletes it, \
         `truncate` deletes all rows.",
    ),
    key(
        "inverse",
        KeyShape::Flag,
        "Subtract the rows that leave a sliding window instead of aggregating again. A key without rows is kept until `filter` \
         drops its row. Works for `count`, and for `sum` of int64 and decimals; a plugin that has an inverse uses it unless this \
         is false.",
    ),
    key(
        "sql",
        KeyShape::Text,
        "SQL query over each batch or window, with the inputs as tables: \"select word, count(*) as n from words group by \
         word\".",
    ),
    key(
        "functions",
        KeyShape::ByName(&KeyShape::Either(&[KeyShape::Text, KeyShape::Table(FUNCTION)])),
        "Plugins of world transform that `sql` can call as functions, by name: { sentiment = \"plugins/sentiment\" }.",
    ),
    key(
        "join",
        KeyShape::Table(JOIN),
        "Pair the rows of two inputs, in each batch or window, or within a time: { with = \"orders\", on = \"user\" }.",
    ),
    key(
        "cogroup",
        KeyShape::Either(&[KeyShape::Flag, KeyShape::TextList]),
        "Further inputs, in addition to that in `from`, for a plugin of world cogroup, which receives the rows of a key from all \
         inputs in one call. If true, the inputs are those in `from`.",
    ),
    key(
        "enrich",
        KeyShape::Table(ENRICH),
        "Lookup table whose columns are added to each row; it is read again when it changes: { file = \"inventory.csv\", on = \
         \"sku\" }.",
    ),
    key(
        "top",
        KeyShape::Table(TOP),
        "The top rows in an order, per key if the stage has one: { n = 10, by = \"total\" }.",
    ),
    key(
        "latest",
        KeyShape::Either(&[KeyShape::Flag, KeyShape::Text]),
        "Keep the latest row per `key` and emit its changes (inserts and deletes): the last to arrive (true), or the one with \
         the largest value in a column, for example \"at\".",
    ),
    key(
        "distinct",
        KeyShape::Either(&[KeyShape::Flag, KeyShape::TextList]),
        "Keep the first of the rows that are equal in these columns (true: in all columns).",
    ),
    key(
        "deduplicate",
        KeyShape::Table(DEDUPLICATE),
        "Drop rows whose key already occurred within this time, across batches: { within = \"10m\" }.",
    ),
    key(
        "pattern",
        KeyShape::Table(PATTERN),
        "Sequences of rows of a key, in order of event time: { steps = \"small{3} followed by large\", define = { small = \
         \"amount < 10\", large = \"amount > 1000\" }, within = \"1h\" }.",
    ),
    key("sample", KeyShape::Share, "Share of the rows to keep, from 0 to 1. A replay keeps the same rows."),
    key(
        "split",
        KeyShape::ByName(&KeyShape::Text),
        "Streams `<stage>.<branch>`, each with an SQL expression: { errors = \"level = 'ERROR'\" }. A row goes to the first \
         branch whose expression is true, otherwise to the stage's own stream.",
    ),
    key(
        "repartition",
        KeyShape::Table(REPARTITION),
        "Redistribute the rows over the workers, by `key` if there is one, otherwise round-robin.",
    ),
    key(
        "filter",
        KeyShape::Text,
        "SQL condition; rows that the operator emits are dropped unless it is true: \"n > 0\".",
    ),
    key(
        "select",
        KeyShape::Text,
        "Columns of the rows that leave the stage, as after `select` in SQL: \"word, n * 2 as double\".",
    ),
    key(
        "on",
        KeyShape::Word(&["touched", "all"]),
        "World update: keys for which the plugin is called in a batch: those with rows (`touched`), or every key (`all`). `touched` \
         by default.",
    ),
    key("timeout", KeyShape::Time, "World update: a key without rows for this long gets a final call and is removed."),
    key("initial", KeyShape::Text, "World update: initial state, a CSV file with a header or JSON lines."),
    INSTANCE,
    LIMITS_KEY,
    GRANT_KEY,
    key(
        "on_error",
        KeyShape::Word(&["fail", "reject"]),
        "What happens if a plugin call fails: the job stops (`fail`), or the rows that make it fail go to `<stage>.rejected` and \
         the others continue (`reject`). `fail` by default.",
    ),
    key(
        "max_rejected",
        KeyShape::RowsOrShare,
        "Maximum rejected rows of a batch; if there are more, the job stops before anything of the batch is committed. A number \
         of rows, or a share of the rows that came in: \"10%\" or 0.1. Unlimited by default.",
    ),
    key(
        "replayable",
        KeyShape::Flag,
        "Whether a replayed batch gives the same rows, true by default. Write false for a plugin with a grant of `http`, because \
         its requests are sent again.",
    ),
];

const OP_OF_ALL: (&str, &str) = (
    "op",
    "With `window = \"all\"`: column with the operation of a row. `insert`, `update` and `upsert` add the row, `delete` removes an \
     equal row.",
);
/// Keys of a stage that have a description of their own with an operator: the operator, and the keys with their descriptions.
pub(in crate::job) const OPERATOR_DOCS: &[(&str, &[(&str, &str)])] = &[
    (
        "plugin",
        &[
            (
                "emit",
                "Rows that the stage emits. Plugins of world update: what the plugin returns (`rows`, the default), the new states of \
                 the called keys (`changes`), or the complete state table (`state`). Windows in event time: results once, when a \
                 window is complete (`close`, the default), or with every batch that changes them (`update`).",
            ),
            (
                "inverse",
                "Use the plugin's inverse for the rows that leave a sliding window, if it has one; true by default.",
            ),
            ("limits", "Limits of the plugin."),
        ],
    ),
    (
        "aggregate",
        &[
            OP_OF_ALL,
            (
                "emit",
                "Rows that the stage emits. Windows in event time: results once, when a window is complete (`close`, the default), or \
                 with every batch that changes them (`update`). Aggregates of all rows: the totals as a changelog of inserts and \
                 deletes (`changes`).",
            ),
            (
                "inverse",
                "Subtract the rows that leave a sliding window instead of aggregating again. A key without rows is kept until \
                 `filter` drops its row. Works for `count`, and for `sum` of int64 and decimals. false by default.",
            ),
        ],
    ),
    ("sql", &[OP_OF_ALL, ("limits", "Limits of the query: `memory` and `time`.")]),
    ("join", &[OP_OF_ALL]),
    ("top", &[OP_OF_ALL]),
    (
        "latest",
        &[(
            "op",
            "Column with the operation of a row. `insert`, `update` and `upsert` write the row of their key, `delete` deletes it, \
             `truncate` deletes all rows.",
        )],
    ),
];

const TIME: TableKey = key(
    "time",
    KeyShape::TextList,
    "Event time: a timestamp column, or an SQL expression that yields a timestamp. For a stage with separate inputs, one for \
     all, or a list with one per input.",
);
const LATENESS: TableKey = key(
    "lateness",
    KeyShape::Time,
    "Event time: how much older a row may be than the newest row of its source, \"0s\" by default. Late rows go to \
     `<stage>.late`.",
);
const IDLE: TableKey = key(
    "idle",
    KeyShape::Time,
    "Event time: a source without rows for this long stops holding back the watermark; a partition of a topic must also be read \
     to its end. If all are idle, event time follows batch time until open windows are emitted. Never by default.",
);
const AHEAD_MAX: TableKey = key(
    "ahead_max",
    KeyShape::Time,
    "Event time: how far a row may be ahead of the batch time; rows further ahead are rejected. 24h by default, unlimited with \
     clock = \"manual\".",
);
const INSTANCE: TableKey = key(
    "instance",
    KeyShape::Word(&["batch", "worker"]),
    "Lifetime of a plugin instance: one call (`batch`), or that of the worker (`worker`). `batch` by default.",
);
const LIMITS_KEY: TableKey =
    key("limits", KeyShape::Table(LIMITS), "Limits of the plugin; with `sql` those of the query, `memory` and `time`.");
const GRANT_KEY: TableKey =
    key("grant", KeyShape::Table(GRANT), "Permissions of the plugin: what it may use beyond its input.");

/// Keys of event time, on a stage or in its window.
pub(in crate::job) const EVENT_TIME_KEYS: [&str; 4] = ["time", "lateness", "idle", "ahead_max"];

/// `window` of a stage or join.
pub(in crate::job) const WINDOW: &[TableKey] = &[
    key(
        "size",
        KeyShape::Time,
        "Length of a window. In processing time (without `time`) a multiple of the batch interval.",
    ),
    key(
        "slide",
        KeyShape::Time,
        "Distance between the starts of windows, by default the batch interval in processing time, and `size` in event time. If \
         it is longer than `size`, rows between windows are dropped.",
    ),
    key(
        "offset",
        KeyShape::SignedTime,
        "Event time: offset of window starts from multiples of `slide`: \"6h\" for days that begin at six, or \
        \"-1h\".",
    ),
    key(
        "zone",
        KeyShape::Text,
        "Event time: time zone by which windows begin, for example \"Europe/Berlin\", so \"1d\" is from midnight to \
         midnight there, even if that is 23 or 25 hours. Windows must be a multiple of one hour. UTC by default.",
    ),
    key(
        "gap",
        KeyShape::Time,
        "Sessions: the rows of a session have less than this time between them. Requires `time`.",
    ),
    key(
        "length_max",
        KeyShape::Time,
        "Sessions: maximum length, 24h by default. A session that would exceed it is closed and another begins.",
    ),
    TIME,
    LATENESS,
    IDLE,
    AHEAD_MAX,
    key(
        "emit",
        KeyShape::Word(&["close", "update"]),
        "Event time: emit results once, when a window is complete (`close`), or with every batch that changes them (`update`). \
         `close` by default.",
    ),
];

/// `on` of a join or enrichment.
const ON: KeyShape = KeyShape::Either(&[KeyShape::TextList, KeyShape::ByName(&KeyShape::Text)]);

/// `join` of a stage.
pub(in crate::job) const JOIN: &[TableKey] = &[
    key("with", KeyShape::Text, "The second input, if `from` names only the first."),
    key(
        "on",
        ON,
        "Columns that must be equal: \"user\", [\"user\", \"day\"], or { user = \"user_id\" } if the second input has another \
         name for it.",
    )
    .required(),
    key(
        "type",
        KeyShape::Word(&["inner", "left", "right", "full"]),
        "Which rows without a partner are kept: none (`inner`), those of the first input (`left`), of the second (`right`), or \
         of both (`full`). `inner` by default.",
    ),
    key(
        "within",
        KeyShape::Within,
        "Event time: maximum distance between the times of partners, for example \"10s\"; or the earliest and latest time of the \
         second row relative to the first: [\"-5s\", \"10s\"]. Without it, partners are in the same batch or window.",
    ),
    key(
        "as_of",
        KeyShape::Flag,
        "Event time: pair each row of the first input with the latest row of the second that has the same key and is not later. \
         `within` limits the age of that row.",
    ),
    key(
        "ttl",
        KeyShape::Time,
        "With `window = \"all\"`: a key without new rows in either input for this long is dropped with all its rows. Never by \
         default.",
    ),
    key("window", KeyShape::Table(WINDOW), "Same as `window` of the stage."),
];

/// `enrich` of a stage.
pub(in crate::job) const ENRICH: &[TableKey] = &[
    key(
        "file",
        KeyShape::Text,
        "The table as a file: CSV with a header, JSON lines or Parquet; relative to the job file.",
    ),
    key(
        "stream",
        KeyShape::Text,
        "The table as the latest row per key of a stream: the name of a source or stage.",
    ),
    key(
        "op",
        KeyShape::Text,
        "With `stream`: column of the stream that says what a row does to the table, such as \"op\" of a changelog: `insert`, \
         `update` and `upsert` write the row, `delete` deletes the row of its key, `truncate` deletes all rows.",
    ),
    key(
        "url",
        KeyShape::Text,
        "Database of the table: \"postgres://user:${PGPASSWORD}@host/database\", or a SQLite file, \"sqlite:shop.db\".",
    ),
    key("query", KeyShape::Text, "With `url`: query whose rows are the table."),
    key(
        "wait",
        KeyShape::Time,
        "With `url`: how long the job waits at startup for an unreachable server, 1h by default.",
    ),
    key(
        "on",
        ON,
        "Columns that must be equal: \"sku\", [\"sku\", \"store\"], or { sku = \"article\" } if the table has another name for \
         it.",
    )
    .required(),
    key(
        "type",
        KeyShape::Word(&["left", "inner"]),
        "Whether rows without a match in the table are kept (`left`) or dropped (`inner`). `left` by default.",
    ),
    key(
        "format",
        KeyShape::Word(&["csv", "json", "parquet"]),
        "With `file`: its format, by default that of its extension.",
    ),
    key(
        "schema",
        KeyShape::ByName(&KeyShape::Either(&[KeyShape::Type, KeyShape::Table(LOOKUP_COLUMN)])),
        "Columns of the table, as in the `schema` of a source; by default those of the file or query.",
    ),
    key(
        "poll",
        KeyShape::Time,
        "Time between checks of the table for changes: 1s by default for a file, 30s for a query.",
    ),
];

/// `top` of a stage.
pub(in crate::job) const TOP: &[TableKey] = &[
    key("n", KeyShape::Integer(1, i64::MAX as u64), "Number of rows.").required(),
    key("by", KeyShape::Text, "Column that orders the rows.").required(),
    key(
        "order",
        KeyShape::Word(&["desc", "asc"]),
        "Order: largest first (`desc`), or smallest first (`asc`). `desc` by default.",
    ),
    key("key", KeyShape::TextList, "Same as `key` of the stage."),
    key(
        "rank",
        KeyShape::Text,
        "With `window = \"all\"`: name of a column for the rank of each row, from 1. A row whose rank changes is deleted and \
         inserted again.",
    ),
];

/// `deduplicate` of a stage.
pub(in crate::job) const DEDUPLICATE: &[TableKey] =
    &[key("within", KeyShape::Time, "How long a key is kept.").required()];

/// `pattern` of a stage.
pub(in crate::job) const PATTERN: &[TableKey] = &[
    key(
        "steps",
        KeyShape::Text,
        "Steps of a match, in order: names with quantifiers (`+`, `*`, `?`, `{3}`, `{2,5}`, each optionally \
         followed by `?` for as few as possible), with `next` or `followed by` between them, and `not` before a step \
         that must not occur.",
    )
    .required(),
    key(
        "define",
        KeyShape::ByName(&KeyShape::Text),
        "Condition of each step: an SQL expression over the columns of a row, and over the rows already in the match: prev.x, \
         a.x, first(a).x, sum(a.x). A step without a condition takes any row.",
    ),
    key(
        "measures",
        KeyShape::ByName(&KeyShape::Text),
        "Columns of a match after its key, `match_start` and `match_end`: SQL expressions over its rows, for example a.x, \
         first(a).x, count(a), sum(a.x).",
    ),
    key("within", KeyShape::Time, "Maximum time from the first to the last row of a match."),
    key(
        "skip",
        KeyShape::Text,
        "Where the search continues after a match: \"past last row\", \"to next row\", \"to first a\" or \"to last a\"; \"past \
         last row\" by default.",
    ),
    key(
        "rows_max",
        KeyShape::Integer(1, limits::PATTERN_ROWS_MAX_MAX),
        "Maximum rows that one key may keep while its matches are open, 100000 by default; with more the job stops.",
    ),
    key(
        "partials_max",
        KeyShape::Integer(1, limits::PATTERN_ROWS_MAX_MAX),
        "Maximum partial matches that one key may keep, 100000 by default; with more the job stops.",
    ),
];

/// `repartition` of a stage.
pub(in crate::job) const REPARTITION: &[TableKey] = &[key(
    "partitions",
    KeyShape::Integer(1, limits::PARTITIONS_MAX),
    "Number of partitions, by default the number of workers.",
)];

/// A function of `sql`, as a table.
pub(in crate::job) const FUNCTION: &[TableKey] = &[
    key(
        "plugin",
        KeyShape::Text,
        "Component or plugin directory, relative to the job file, or a package pinned by millstream.lock: name@version.",
    )
    .required(),
    key("config", KeyShape::Any, "Configuration of the plugin."),
    INSTANCE,
    LIMITS_KEY,
    GRANT_KEY,
];

/// `limits` of a stage.
pub(in crate::job) const LIMITS: &[TableKey] = &[
    key("memory", KeyShape::Size, "Memory of an instance, 256MiB by default."),
    key(
        "tables",
        KeyShape::Integer(0, limits::PLUGIN_TABLE_ELEMENTS_MAX_MAX),
        "Elements of all tables of an instance, 100000 by default.",
    ),
    key("stack", KeyShape::Size, "Call stack, 1MiB by default."),
    key(
        "time",
        KeyShape::Time,
        "Time of one call, which has at most 16,384 rows, 10s by default; \"0s\" for no limit. With on_error = \"reject\" \
         instructions are counted instead, 1,000,000,000 per second.",
    ),
    key(
        "fuel",
        KeyShape::Integer(1, i64::MAX as u64),
        "With on_error = \"reject\": maximum instructions of one call, instead of those of `time`.",
    ),
    key("output", KeyShape::Size, "Bytes that one call may return, 256MiB by default."),
    key("rows", KeyShape::Integer(1, i64::MAX as u64), "Rows that one call may return, 50000000 by default."),
    key(
        "expansion",
        KeyShape::Integer(1, i64::MAX as u64),
        "Maximum ratio of output to input of one call, in rows and in bytes, 1000 by default.",
    ),
    key("batch_output", KeyShape::Size, "Bytes that all calls of a batch may return on one worker, 1GiB by default."),
    key("rejected", KeyShape::Size, "Bytes of the rows that the stage may reject in one batch, 256MiB by default."),
    key("backtrace", KeyShape::Size, "Bytes of the backtrace of a rejected row, 1KiB by default."),
    key("timers_per_key", KeyShape::Integer(0, i64::MAX as u64), "Timers that one key may have set, 10000 by default."),
    key("timers", KeyShape::Integer(0, i64::MAX as u64), "Timers of the stage on one worker, 10000000 by default."),
    key("state_per_key", KeyShape::Size, "Bytes of the state of one key, 16MiB by default."),
    key(
        "state",
        KeyShape::Size,
        "Bytes of the state of all keys, with the keys and their timers, on one worker, none by default: only `memory` of the \
         job limits them.",
    ),
    key("log_lines", KeyShape::Integer(0, i64::MAX as u64), "Log lines per second, on one worker, 100 by default."),
    key("log", KeyShape::Size, "Bytes of log per second, on one worker, 256KiB by default."),
    key("counters", KeyShape::Integer(0, limits::PLUGIN_COUNTERS_MAX_MAX), "Names of counters, 100 by default."),
    key(
        "handles",
        KeyShape::Integer(0, limits::PLUGIN_HANDLES_MAX_MAX),
        "Handles of resources that an instance may hold, 10000 by default.",
    ),
    key(
        "instances",
        KeyShape::Integer(1, limits::PLUGIN_PARTS_MAX_MAX),
        "Core instances in the component, 64 by default.",
    ),
    key(
        "attempts",
        KeyShape::Integer(1, i64::MAX as u64),
        "With on_error = \"reject\": calls to find the rows that make one call fail, 50000 by default.",
    ),
    key("compile", KeyShape::Time, "Time to compile the component, 5m by default."),
];

/// `limits` of a stage with `sql`: those of a plugin that mean something to a query.
pub(in crate::job) const SQL_LIMITS: &[TableKey] = &[
    key("memory", KeyShape::Size, "Memory for rows that the query holds on one worker, 1GiB by default."),
    key("time", KeyShape::Time, "Time in one batch or window on one worker, 60s by default; \"0s\" for no limit."),
];

/// `grant` of a stage.
pub(in crate::job) const GRANT: &[TableKey] = &[
    key(
        "files",
        KeyShape::ByName(&KeyShape::Text),
        "Files that the plugin may read, by the name under which it opens them.",
    ),
    key("env", KeyShape::ByName(&KeyShape::Text), "Environment variables of the plugin, with their values."),
    key(
        "http",
        KeyShape::Table(HTTP),
        "Hosts to which the plugin may send HTTP requests; a stage then needs replayable = false.",
    ),
    key(
        "tcp",
        KeyShape::TextList,
        "Servers that the plugin of a source or sink may connect to: [\"feed.example.com:7000\", \"*.example.org:443\"]. With \
         [\"tls://feed.example.com:7000\"] the plugin connects as without TLS, and Millstream adds TLS.",
    ),
    key(
        "ca",
        KeyShape::Text,
        "PEM file with the CA certificates that are trusted for tls://, by default those of the system.",
    ),
    key(
        "udp",
        KeyShape::TextList,
        "Addresses on which the plugin of a source or sink may receive datagrams, and to which it may send them: \
         [\"0.0.0.0:5514\"].",
    ),
];

/// `http` of a grant.
pub(in crate::job) const HTTP: &[TableKey] = &[
    key(
        "hosts",
        KeyShape::TextList,
        "Hosts, for example \"api.example.com\", \"*.example.com\" or \"127.0.0.1:8080\".",
    )
    .required(),
    key("methods", KeyShape::TextList, "HTTP methods, by default \"GET\" and \"HEAD\"."),
];
