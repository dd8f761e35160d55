//! The keys of a stage and of the tables in it.

use super::{KeyShape, TableKey, key};
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
/// What `emit` says of a plugin of world `update`; the other words are for windows.
pub(in crate::job) const PLUGIN_EMITS: [&str; 3] = ["rows", "changes", "state"];

/// A stage.
pub(in crate::job) const STAGE: &[TableKey] = &[
    key(
        "from",
        KeyShape::Texts,
        "The streams to read: names of sources and stages, `<name>.rejected`, `<name>.late` of a stage with `time`, or \
         `<name>.<branch>` of one with `split`. Several are a union; for `sql`, `join` and `cogroup` they are inputs \
         side by side.",
    )
    .needed(&[""]),
    key("key", KeyShape::Texts, "The columns by which the rows are partitioned."),
    key(
        "window",
        KeyShape::Either(&[KeyShape::Table(WINDOW), KeyShape::Word(&["all"])]),
        "The rows that the operator works on, where these are not those of one batch: { size = \"30s\", slide = \
         \"10s\" }, or { gap = \"30s\" } for sessions; \"all\" for aggregates, queries, \
         `join` and `top` of all rows that ever came.",
    ),
    TIME,
    LATENESS,
    IDLE,
    AHEAD_MAX,
    key(
        "emit",
        KeyShape::Word(&["rows", "changes", "state", "close", "update"]),
        "World update: what the stage's rows are: what the plugin returns (`rows`, the default), the new states of the \
         keys called (`changes`), or the whole state table (`state`). Windows of event time: results once, when a \
         window is complete (`close`, the default), or with every batch that changes them (`update`). Aggregates of all rows: \
         the totals as rows that go and come (`changes`).",
    ),
    key(
        "plugin",
        KeyShape::Text,
        "A component or plugin folder, relative to the job file, or a package that millstream.lock pins: name@version.",
    ),
    key("config", KeyShape::Any, "What the plugin is told."),
    key(
        "aggregate",
        KeyShape::Aggregates,
        "Built-in aggregates per batch or window, and key, by output column: { n = \"count(*)\", total = \
         \"sum(price)\" }.",
    ),
    key(
        "op",
        KeyShape::Text,
        "With `window = \"all\"`: the column that says what a row does: `insert`, `update` and `upsert` add it, and `delete` takes \
         an equal row out again. With `latest`: they write the row of their key, `delete` deletes it, and `truncate` all.",
    ),
    key(
        "inverse",
        KeyShape::Flag,
        "Sliding windows take out what leaves them instead of adding up anew, and keys without rows stay until `filter` \
         removes them. For `count` and `sum` of int64; a plugin that has an inverse uses it unless this is false.",
    ),
    key(
        "sql",
        KeyShape::Text,
        "A query over each batch or window, with the inputs as tables: \"select word, count(*) as n from words group \
         by word\".",
    ),
    key(
        "functions",
        KeyShape::ByName(&KeyShape::Either(&[KeyShape::Text, KeyShape::Table(FUNCTION)])),
        "Plugins of world transform that `sql` calls as functions, by name: { sentiment = \"plugins/sentiment\" }.",
    ),
    key(
        "join",
        KeyShape::Table(JOIN),
        "Pairs of rows of two inputs, in each batch, each window, or within a time: { with = \"orders\", on = \
         \"user\" }.",
    ),
    key(
        "cogroup",
        KeyShape::Either(&[KeyShape::Flag, KeyShape::Texts]),
        "More inputs, beside that in `from`, for a plugin of world cogroup, which gets the rows of a key of all inputs \
         in one call; true: the inputs are those in `from`.",
    ),
    key(
        "enrich",
        KeyShape::Table(ENRICH),
        "A table from outside beside each row, read again when it changes: { file = \"inventory.csv\", on = \
         \"sku\" }.",
    ),
    key(
        "top",
        KeyShape::Table(TOP),
        "The first rows in an order, of each key where there is one: { n = 10, by = \"total\" }.",
    ),
    key(
        "latest",
        KeyShape::Either(&[KeyShape::Flag, KeyShape::Text]),
        "The latest row of each `key` as it changes, rows that go and come: as they come (true), or by a column, as \"at\".",
    ),
    key(
        "distinct",
        KeyShape::Either(&[KeyShape::Flag, KeyShape::Texts]),
        "Of rows that are equal in these columns (true: in all) the first.",
    ),
    key(
        "deduplicate",
        KeyShape::Table(DEDUPLICATE),
        "Drops rows whose key came within a time before, over batches: { within = \"10m\" }.",
    ),
    key(
        "pattern",
        KeyShape::Table(PATTERN),
        "Sequences of rows of a key, in the order of their event times: { steps = \"small{3} followed by large\", define = { small = \
         \"amount < 10\", large = \"amount > 1000\" }, within = \"1h\" }.",
    ),
    key("sample", KeyShape::Share, "The share of the rows to keep, from 0 to 1. A replay keeps the same ones."),
    key(
        "split",
        KeyShape::ByName(&KeyShape::Text),
        "Streams `<stage>.<branch>` of the rows that fulfil an SQL expression, the first that holds: { errors = \
         \"level = 'ERROR'\" }. The other rows are the stage's own.",
    ),
    key(
        "repartition",
        KeyShape::Table(REPARTITION),
        "Spreads the rows anew over the workers, by `key` where there is one, else in turn.",
    ),
    key(
        "filter",
        KeyShape::Text,
        "An SQL expression that the operator's rows must fulfil to leave the stage: \"n > 0\".",
    ),
    key(
        "select",
        KeyShape::Text,
        "The columns of the rows that leave the stage, as after `select` in SQL: \"word, n * 2 as double\".",
    ),
    key(
        "on",
        KeyShape::Word(&["touched", "all"]),
        "World update: which keys are called in a batch: those with rows (`touched`, the default), or every key \
         (`all`).",
    ),
    key("timeout", KeyShape::Time, "World update: a key without rows for so long gets one last call and is removed."),
    key("initial", KeyShape::Text, "World update: initial state, a csv file with a header or JSON lines."),
    INSTANCE,
    LIMITS_KEY,
    GRANT_KEY,
    key(
        "on_error",
        KeyShape::Word(&["fail", "reject"]),
        "What a failing plugin call does: it stops the job (`fail`, the default), or the rows that make it fail go to \
         `<stage>.rejected` and the others go on (`reject`).",
    ),
    key(
        "max_rejected",
        KeyShape::RowsOrShare,
        "How many rows of a batch the stage may reject; with more the job stops before anything of the batch is \
         committed. A number of rows, or a share of those that came in: \"10%\" or 0.1. By default any.",
    ),
    key(
        "replayable",
        KeyShape::Flag,
        "Whether a batch that runs again gives the same (true, the default). For a plugin that is granted `http` write false: it \
         is answered anew.",
    ),
];

const TIME: TableKey = key(
    "time",
    KeyShape::Texts,
    "Event time: a timestamp column, or an SQL expression that makes a timestamp. For stages with inputs side by side \
     one for all, or a list of one for each.",
);
const LATENESS: TableKey = key(
    "lateness",
    KeyShape::Time,
    "Event time: how much older than the newest row of its source a row may be, \"0s\" by default. Rows that come \
     later go to `<stage>.late`.",
);
const IDLE: TableKey = key(
    "idle",
    KeyShape::Time,
    "Event time: a source without rows for so long does not hold up results, nor a partition of which batches have all rows; when \
     all are so, event time advances with batch time until open windows have come out. By default each source is waited for.",
);
const AHEAD_MAX: TableKey = key(
    "ahead_max",
    KeyShape::Time,
    "Event time: a row whose time lies further than this ahead of the batch time is rejected; 24h by default, and no \
     bound with clock = \"manual\".",
);
const INSTANCE: TableKey = key(
    "instance",
    KeyShape::Word(&["batch", "worker"]),
    "How long a plugin instance lives: for one call (`batch`, the default), or as long as the worker.",
);
const LIMITS_KEY: TableKey = key(
    "limits",
    KeyShape::Table(LIMITS),
    "What the plugin may use up; for `sql` what the query may: `memory` and `time`.",
);
const GRANT_KEY: TableKey = key("grant", KeyShape::Table(GRANT), "What the plugin may use beyond its input.");

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
        "From one window to the next. By default the batch interval in processing time, and `size` in event time. \
         Longer than `size`: rows between windows are dropped.",
    ),
    key(
        "offset",
        KeyShape::SignedTime,
        "Event time: windows begin so much later than at multiples of `slide`: \"6h\" for days that begin at six, or \
         \"-1h\".",
    ),
    key(
        "zone",
        KeyShape::Text,
        "Event time: windows begin by the clocks of this zone, as \"Europe/Berlin\", so that \"1d\" is from midnight to \
         midnight there, also where that is 23 or 25 hours; UTC by default. For whole hours.",
    ),
    key("gap", KeyShape::Time, "Sessions: rows of a key with less than this time between them. Needs `time`."),
    key(
        "length_max",
        KeyShape::Time,
        "Sessions: one that would get longer is closed and another begins; 24h by default.",
    ),
    TIME,
    LATENESS,
    IDLE,
    AHEAD_MAX,
    key(
        "emit",
        KeyShape::Word(&["close", "update"]),
        "Event time: results once, when a window is complete (`close`, the default), or with every batch that changes \
         them (`update`).",
    ),
];

/// `on` of a join or enrichment.
const ON: KeyShape = KeyShape::Either(&[KeyShape::Texts, KeyShape::ByName(&KeyShape::Text)]);

/// `join` of a stage.
pub(in crate::job) const JOIN: &[TableKey] = &[
    key("with", KeyShape::Text, "The second input, where `from` has only the first."),
    key(
        "on",
        ON,
        "The columns that must be equal: \"user\", [\"user\", \"day\"], or { user = \"user_id\" } where the second \
         input has another name for it.",
    )
    .needed(&[""]),
    key(
        "type",
        KeyShape::Word(&["inner", "left", "right", "full"]),
        "Which rows without a partner are kept: none (`inner`, the default), those of the first input, of the second, \
         or of both.",
    ),
    key(
        "within",
        KeyShape::Within,
        "Event time: how far apart the times of partners may be, \"10s\"; or how much later than the first the second \
         may be, from and to: [\"-5s\", \"10s\"]. Without it partners are in the same batch or window.",
    ),
    key(
        "as_of",
        KeyShape::Flag,
        "Event time: beside each row of the first input only the latest that the second has of the key at that time, or before; `within` says \
         how old it may be.",
    ),
    key(
        "ttl",
        KeyShape::Time,
        "With `window = \"all\"`: a key without new rows for so long, on either side, is forgotten with all rows; never by default.",
    ),
    key("window", KeyShape::Table(WINDOW), "The same as `window` of the stage."),
];

/// `enrich` of a stage.
pub(in crate::job) const ENRICH: &[TableKey] = &[
    key(
        "file",
        KeyShape::Text,
        "The table: a csv file with a header, JSON lines or parquet, relative to the job file.",
    ),
    key(
        "stream",
        KeyShape::Text,
        "The table is the latest row of each key that this stream has put out: a source or stage, by name.",
    ),
    key(
        "op",
        KeyShape::Text,
        "With `stream`: its column that says what a row does to the table, as \"op\" of a source of changes: \
         `insert`, `update` and `upsert` write the row, `delete` deletes that of its key, and `truncate` all.",
    ),
    key(
        "url",
        KeyShape::Text,
        "The database of the table, as \"postgres://user:${PGPASSWORD}@host/database\"; what it begins with says of which kind it is.",
    ),
    key("query", KeyShape::Text, "With `url`: the query whose rows are the table."),
    key(
        "wait",
        KeyShape::Time,
        "With `url`: how long the start of the job waits for the server where it is away; 1h by default.",
    ),
    key(
        "on",
        ON,
        "The columns that must be equal: \"sku\", [\"sku\", \"store\"], or { sku = \"article\" } where the table has \
         another name for it.",
    )
    .needed(&[""]),
    key(
        "type",
        KeyShape::Word(&["left", "inner"]),
        "Whether rows that the table knows nothing about are kept (`left`, the default) or not (`inner`).",
    ),
    key(
        "format",
        KeyShape::Word(&["csv", "json", "parquet"]),
        "With `file`: what is in it; by default as its name ends.",
    ),
    key(
        "schema",
        KeyShape::Columns,
        "The table's columns, as in the `schema` of a source; by default as the file or query tells them.",
    ),
    key(
        "poll",
        KeyShape::Time,
        "How often the table is looked at for changes: 1s by default for a file, 30s for a query.",
    ),
];

/// `top` of a stage.
pub(in crate::job) const TOP: &[TableKey] = &[
    key("n", KeyShape::Whole(1, i64::MAX as u64), "How many rows.").needed(&[""]),
    key("by", KeyShape::Text, "The column that orders them.").needed(&[""]),
    key("order", KeyShape::Word(&["desc", "asc"]), "Largest first (`desc`, the default), or smallest first."),
    key("key", KeyShape::Texts, "The same as `key` of the stage."),
    key(
        "rank",
        KeyShape::Text,
        "With `window = \"all\"`: a column for the place of each row, from 1 on; a row whose place changes is then deleted and \
         inserted again.",
    ),
];

/// `deduplicate` of a stage.
pub(in crate::job) const DEDUPLICATE: &[TableKey] =
    &[key("within", KeyShape::Time, "How long a key is remembered.").needed(&[""])];

/// `pattern` of a stage.
pub(in crate::job) const PATTERN: &[TableKey] = &[
    key(
        "steps",
        KeyShape::Text,
        "The steps of a match, one behind the other: names with quantifiers (`+`, `*`, `?`, `{3}`, `{2,5}`, with `?` behind for as few \
         as possible), with `next` or `followed by` between them, and `not` before what must not come.",
    )
    .needed(&[""]),
    key(
        "define",
        KeyShape::ByName(&KeyShape::Text),
        "What a row must fulfil to be taken by a step: an SQL expression over its columns, and over the rows that the match has \
         already, as prev.x, a.x, first(a).x, sum(a.x). A step that is not named here takes any row.",
    ),
    key(
        "measures",
        KeyShape::ByName(&KeyShape::Text),
        "The columns of a match behind its key, `match_start` and `match_end`: SQL expressions over its rows, as a.x, first(a).x, \
         count(a), sum(a.x).",
    ),
    key("within", KeyShape::Time, "How long after its first row the last row of a match may be."),
    key(
        "skip",
        KeyShape::Text,
        "Where the search goes on behind a match: \"past last row\" (the default), \"to next row\", \"to first a\", \"to last a\".",
    ),
    key(
        "rows_max",
        KeyShape::Whole(1, limits::PATTERN_ROWS_MOST),
        "Rows that one key may keep while its matches are open; with more the job stops. 100000 by default.",
    ),
    key(
        "partials_max",
        KeyShape::Whole(1, limits::PATTERN_ROWS_MOST),
        "Partial matches that one key may keep; with more the job stops. 100000 by default.",
    ),
];

/// `repartition` of a stage.
pub(in crate::job) const REPARTITION: &[TableKey] = &[key(
    "partitions",
    KeyShape::Whole(1, limits::PARTITIONS_MAX),
    "Into how many parts; by default as many as there are workers.",
)];

/// A function of `sql`, where it is a table.
pub(in crate::job) const FUNCTION: &[TableKey] = &[
    key(
        "plugin",
        KeyShape::Text,
        "A component or plugin folder, relative to the job file, or a package that millstream.lock pins: name@version.",
    )
    .needed(&[""]),
    key("config", KeyShape::Any, "What the plugin is told."),
    INSTANCE,
    LIMITS_KEY,
    GRANT_KEY,
];

/// `limits` of a stage.
pub(in crate::job) const LIMITS: &[TableKey] = &[
    key("memory", KeyShape::Size, "Memory of an instance, 256MiB by default."),
    key(
        "tables",
        KeyShape::Whole(0, limits::PLUGIN_TABLE_ELEMENTS_MAX_MAX),
        "Elements of all tables of an instance, 100000 by default.",
    ),
    key("stack", KeyShape::Size, "Call stack, 1MiB by default."),
    key(
        "time",
        KeyShape::Time,
        "Time of one call, which has at most 16,384 rows, 10s by default; \"0s\": no limit. With on_error = \"reject\" it is \
         counted in instructions, 1,000,000,000 a second.",
    ),
    key(
        "fuel",
        KeyShape::Whole(1, i64::MAX as u64),
        "With on_error = \"reject\": instructions of one call, instead of what `time` says.",
    ),
    key("output", KeyShape::Size, "Bytes that one call may return, 256MiB by default."),
    key("rows", KeyShape::Whole(1, i64::MAX as u64), "Rows that one call may return, 50000000 by default."),
    key(
        "expansion",
        KeyShape::Whole(1, i64::MAX as u64),
        "How many times more than its input one call may return, in rows and in bytes, 1000 by default.",
    ),
    key("batch_output", KeyShape::Size, "Bytes that all calls of a batch may return on one worker, 1GiB by default."),
    key("rejected", KeyShape::Size, "Bytes of the rows that the stage may reject in one batch, 256MiB by default."),
    key("backtrace", KeyShape::Size, "Bytes of the backtrace of a rejected row, 1KiB by default."),
    key("timers_per_key", KeyShape::Whole(0, i64::MAX as u64), "Timers that one key may have set, 10000 by default."),
    key("timers", KeyShape::Whole(0, i64::MAX as u64), "Timers of the stage on one worker, 10000000 by default."),
    key("state_per_key", KeyShape::Size, "Bytes of the state of one key, 16MiB by default."),
    key(
        "state",
        KeyShape::Size,
        "Bytes of the state of all keys, with the keys and their timers, on one worker, none by default: then only `memory` \
         of the job bounds them.",
    ),
    key("log_lines", KeyShape::Whole(0, i64::MAX as u64), "Lines of log a second, on one worker, 100 by default."),
    key("log", KeyShape::Size, "Bytes of log a second, on one worker, 256KiB by default."),
    key("counters", KeyShape::Whole(0, limits::PLUGIN_COUNTERS_MAX_MAX), "Names of counters, 100 by default."),
    key(
        "handles",
        KeyShape::Whole(0, limits::PLUGIN_HANDLES_MAX_MAX),
        "Handles of resources that an instance holds, 10000 by default.",
    ),
    key(
        "instances",
        KeyShape::Whole(1, limits::PLUGIN_PARTS_MAX_MAX),
        "Core instances that the component is made of, 64 by default.",
    ),
    key(
        "attempts",
        KeyShape::Whole(1, i64::MAX as u64),
        "With on_error = \"reject\": calls that look for the rows which make one call fail, 50000 by default.",
    ),
    key("compile", KeyShape::Time, "Time of compiling the component, 5m by default."),
];

/// `limits` of a stage with `sql`: those of a plugin that mean something to a query.
pub(in crate::job) const SQL_LIMITS: &[TableKey] = &[
    key("memory", KeyShape::Size, "Memory for rows that the query holds on one worker, 1GiB by default."),
    key("time", KeyShape::Time, "Time in one batch or window on one worker, 60s by default; \"0s\": no limit."),
];

/// `grant` of a stage.
pub(in crate::job) const GRANT: &[TableKey] = &[
    key(
        "files",
        KeyShape::ByName(&KeyShape::Text),
        "Files that the plugin may read, by the name that it knows them by.",
    ),
    key("env", KeyShape::ByName(&KeyShape::Text), "Variables of the plugin's environment, and their values."),
    key("http", KeyShape::Table(HTTP), "Whom the plugin may ask over HTTP; in a stage it needs replayable = false."),
    key(
        "tcp",
        KeyShape::Texts,
        "Servers that the plugin of a source or sink may connect to: [\"feed.example.com:7000\", \"*.example.org:443\"]. With [\"tls://feed.example.com:7000\"] it speaks as without TLS, and Millstream does TLS for it.",
    ),
    key(
        "ca",
        KeyShape::Text,
        "A PEM file with certificates of issuers that are trusted with tls://; those of the system by default.",
    ),
    key(
        "udp",
        KeyShape::Texts,
        "Addresses at which the plugin of a source or sink may take datagrams, and to which it may send some: [\"0.0.0.0:5514\"].",
    ),
];

/// `http` of a grant.
pub(in crate::job) const HTTP: &[TableKey] = &[
    key("hosts", KeyShape::Texts, "Hosts, as \"api.example.com\", \"*.example.com\" or \"127.0.0.1:8080\".")
        .needed(&[""]),
    key("methods", KeyShape::Texts, "Methods; by default \"GET\" and \"HEAD\"."),
];
