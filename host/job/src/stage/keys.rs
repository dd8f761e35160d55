//! The keys of a stage. Those of an operator are in its module.

use super::plugin::keys as plugin_keys;
use super::{
    aggregate, cogroup, deduplicate, distinct, enrich, event_time, join, newest, pattern, repartition, sample, split,
    sql, top, window,
};
use crate::keys::{KeyShape, TableKey, key};

/// Keys of a stage of versions to come.
pub const LATER: &[&str] = &["sort", "branch", "rename", "drop", "cast", "shadow", "migrate", "require"];

/// The keys that give a stage its operator; `cogroup` goes with `plugin`, of the others a stage has one at most.
pub const OPERATORS: [&str; 14] = [
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
pub const PLUGIN_KEYS: [&str; 10] =
    ["config", "on", "timeout", "initial", "instance", "limits", "grant", "on_error", "max_rejected", "replayable"];

/// Values of `emit` for a plugin of world `update`; the others are for windows.
pub const PLUGIN_EMITS: [&str; 3] = ["rows", "changes", "state"];

/// A stage.
pub const STAGE: &[TableKey] = &[
    key(
        "from",
        KeyShape::TextList,
        "Streams to read: names of sources and stages, `<name>.rejected`, `<name>.late` of a stage with `time`, or \
         `<name>.<branch>` of a stage with `split`. Several streams are merged (union); for `sql`, `join` and `cogroup` they are \
         separate inputs.",
    )
    .required(),
    key("key", KeyShape::TextList, "Columns by which the rows are partitioned."),
    window::KEY,
    event_time::TIME,
    event_time::LATENESS,
    event_time::IDLE,
    event_time::AHEAD_MAX,
    key(
        "emit",
        KeyShape::Word(&["rows", "changes", "state", "close", "update"]),
        "Rows that the stage emits. Plugins of world update: what the plugin returns (`rows`, the default), the new states of the \
         called keys (`changes`), or the complete state table (`state`). Windows in event time: results once, when a window is \
         complete (`close`, the default), or with every batch that changes them (`update`). Aggregates of all rows: the totals \
         as a changelog of inserts and deletes (`changes`).",
    ),
    plugin_keys::PLUGIN,
    plugin_keys::CONFIG,
    aggregate::KEY,
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
    sql::KEY,
    sql::FUNCTIONS_KEY,
    join::KEY,
    cogroup::KEY,
    enrich::KEY,
    top::KEY,
    newest::KEY,
    distinct::KEY,
    deduplicate::KEY,
    pattern::KEY,
    sample::KEY,
    split::KEY,
    repartition::KEY,
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
    plugin_keys::ON,
    plugin_keys::TIMEOUT,
    plugin_keys::INITIAL,
    plugin_keys::INSTANCE,
    plugin_keys::LIMITS_KEY,
    plugin_keys::GRANT_KEY,
    plugin_keys::ON_ERROR,
    plugin_keys::MAX_REJECTED,
    plugin_keys::REPLAYABLE,
];

/// Keys of a stage that have a description of their own with an operator: the operator, and the keys with their descriptions.
pub const OPERATOR_DOCS: &[(&str, &[(&str, &str)])] = &[
    ("plugin", plugin_keys::DOCS),
    ("aggregate", aggregate::DOCS),
    ("sql", sql::DOCS),
    ("join", join::DOCS),
    ("top", top::DOCS),
    ("latest", newest::DOCS),
];
