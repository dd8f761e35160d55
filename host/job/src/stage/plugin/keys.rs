//! The keys of a plugin, in a stage, source or sink, or in a function of `sql`.

use crate::keys::{KeyShape, TableKey, key};
use millstream_base::limits;

/// `plugin` of a stage.
pub const PLUGIN: TableKey = key(
    "plugin",
    KeyShape::Text,
    "Component or plugin directory, relative to the job file, or a package pinned by millstream.lock: name@version.",
);

/// What keys of the stage mean with this operator.
pub const DOCS: &[(&str, &str)] = &[
    (
        "emit",
        "Rows that the stage emits. Plugins of world update: what the plugin returns (`rows`, the default), the new states of \
         the called keys (`changes`), or the complete state table (`state`). Windows in event time: results once, when a \
         window is complete (`close`, the default), or with every batch that changes them (`update`).",
    ),
    ("inverse", "Use the plugin's inverse for the rows that leave a sliding window, if it has one; true by default."),
    ("limits", "Limits of the plugin."),
];

pub const CONFIG: TableKey = key("config", KeyShape::Any, "Configuration of the plugin.");

pub const ON: TableKey = key(
    "on",
    KeyShape::Word(&["touched", "all"]),
    "World update: keys for which the plugin is called in a batch: those with rows (`touched`), or every key (`all`). `touched` \
     by default.",
);

pub const TIMEOUT: TableKey =
    key("timeout", KeyShape::Time, "World update: a key without rows for this long gets a final call and is removed.");

pub const INITIAL: TableKey =
    key("initial", KeyShape::Text, "World update: initial state, a CSV file with a header or JSON lines.");

pub const INSTANCE: TableKey = key(
    "instance",
    KeyShape::Word(&["batch", "worker"]),
    "Lifetime of a plugin instance: one call (`batch`), or that of the worker (`worker`). `batch` by default.",
);

pub const LIMITS_KEY: TableKey =
    key("limits", KeyShape::Table(LIMITS), "Limits of the plugin; with `sql` those of the query, `memory` and `time`.");

pub const GRANT_KEY: TableKey =
    key("grant", KeyShape::Table(GRANT), "Permissions of the plugin: what it may use beyond its input.");

pub const ON_ERROR: TableKey = key(
    "on_error",
    KeyShape::Word(&["fail", "reject"]),
    "What happens if a plugin call fails: the job stops (`fail`), or the rows that make it fail go to `<stage>.rejected` and \
     the others continue (`reject`). `fail` by default.",
);

pub const MAX_REJECTED: TableKey = key(
    "max_rejected",
    KeyShape::RowsOrShare,
    "Maximum rejected rows of a batch; if there are more, the job stops before anything of the batch is committed. A number \
     of rows, or a share of the rows that came in: \"10%\" or 0.1. Unlimited by default.",
);

pub const REPLAYABLE: TableKey = key(
    "replayable",
    KeyShape::Flag,
    "Whether a replayed batch gives the same rows, true by default. Write false for a plugin with a grant of `http`, because \
     its requests are sent again.",
);

/// `limits` of a stage.
pub const LIMITS: &[TableKey] = &[
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

/// `grant` of a stage.
pub const GRANT: &[TableKey] = &[
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
pub const HTTP: &[TableKey] = &[
    key(
        "hosts",
        KeyShape::TextList,
        "Hosts, for example \"api.example.com\", \"*.example.com\" or \"127.0.0.1:8080\".",
    )
    .required(),
    key("methods", KeyShape::TextList, "HTTP methods, by default \"GET\" and \"HEAD\"."),
];
