//! `sql`: a query over each batch or window.

use super::plugin::{self, keys as plugin_keys};
use super::window;
use crate::keys::{KeyShape, TableKey, key};
use crate::part_errors::PartErrors;
use crate::spec::{OperatorSpec, PluginSpec, SqlLimits, StageSpec};
use crate::table::Reader;
use millstream_base::limits;
use std::collections::BTreeMap;
use toml::Value;

/// `sql` of a stage.
pub(super) const KEY: TableKey = key(
    "sql",
    KeyShape::Text,
    "SQL query over each batch or window, with the inputs as tables: \"select word, count(*) as n from words group by \
     word\".",
);

/// What keys of the stage mean with this operator.
pub(super) const DOCS: &[(&str, &str)] = &[window::OP_OF_ALL, ("limits", "Limits of the query: `memory` and `time`.")];

/// `functions` of a stage.
pub(super) const FUNCTIONS_KEY: TableKey = key(
    "functions",
    KeyShape::ByName(&KeyShape::Either(&[KeyShape::Text, KeyShape::Table(FUNCTION)])),
    "Plugins of world transform that `sql` can call as functions, by name: { sentiment = \"plugins/sentiment\" }.",
);

/// A function of `sql`, as a table.
const FUNCTION: &[TableKey] = &[
    plugin_keys::PLUGIN.required(),
    plugin_keys::CONFIG,
    plugin_keys::INSTANCE,
    plugin_keys::LIMITS_KEY,
    plugin_keys::GRANT_KEY,
];

/// `limits` of a stage with `sql`: those of a plugin that mean something to a query.
const LIMITS: &[TableKey] = &[
    key("memory", KeyShape::Size, "Memory for rows that the query holds on one worker, 1GiB by default."),
    key("time", KeyShape::Time, "Time in one batch or window on one worker, 60s by default; \"0s\" for no limit."),
];

impl StageSpec {
    /// Runs a query over each batch or window, with the inputs as its tables, by name.
    pub fn sql<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        query: impl Into<String>,
    ) -> StageSpec {
        StageSpec::new(
            name,
            from,
            OperatorSpec::Sql { query: query.into(), functions: BTreeMap::new(), limits: SqlLimits::default() },
        )
    }

    /// Sets the resource limits of a query of `sql`.
    #[must_use]
    pub fn sql_limits(mut self, of_query: SqlLimits) -> StageSpec {
        if let OperatorSpec::Sql { limits, .. } = &mut self.operator {
            *limits = of_query;
        }
        self
    }

    /// Adds a plugin of world `transform` that `sql` calls as a function by this name.
    #[must_use]
    pub fn function(mut self, name: impl Into<String>, plugin: impl Into<PluginSpec>) -> StageSpec {
        if let OperatorSpec::Sql { functions, .. } = &mut self.operator {
            functions.insert(name.into(), plugin.into());
        }
        self
    }
}

pub(super) fn read(r: &Reader<'_>) -> OperatorSpec {
    OperatorSpec::Sql {
        query: r.text("sql", "sql = \"select word, count(*) as n from words group by word\"").unwrap_or("?").into(),
        functions: functions(r),
        limits: query_limits(r),
    }
}

/// Reads the functions of `sql`: the path of a plugin, or a table.
fn functions(r: &Reader<'_>) -> BTreeMap<String, PluginSpec> {
    let Some(functions) = r.inner("functions", "functions = { sentiment = \"plugins/sentiment\" }") else {
        return BTreeMap::new();
    };
    let one = |name: &String| {
        let example = format!("{name} = \"plugins/{name}\"");
        if !matches!(functions.table.get(name), Some(Value::Table(_))) {
            return functions.path(name, &example).map(PluginSpec::new);
        }
        let r = functions.inner(name, &example)?;
        r.check_keys(FUNCTION, &[], None);
        r.need("plugin", &format!("plugin = \"plugins/{name}\""));
        Some(plugin::read::bare(&r))
    };
    functions.table.keys().filter_map(|name| Some((name.clone(), one(name)?))).collect()
}

/// Reads the resource limits of a query.
fn query_limits(r: &Reader<'_>) -> SqlLimits {
    let mut limits = SqlLimits::default();
    let Some(r) = r.inner("limits", "limits = { memory = \"2GiB\", time = \"2m\" }").filter(|_| r.has("sql")) else {
        return limits;
    };
    r.check_keys(LIMITS, &[], None);
    if let Some(bytes) = r.size("memory", limits::SQL_MEMORY_BYTES_MIN, limits::SQL_MEMORY_BYTES_MAX_MAX) {
        limits.memory_bytes_max = bytes;
    }
    limits.time_max = r.time("time").unwrap_or(limits.time_max);
    limits
}

pub(super) fn check(query: &str, functions: &BTreeMap<String, PluginSpec>, part: &PartErrors<'_>) {
    if query.trim().is_empty() {
        part.wrong(
            "sql",
            "`sql` is empty; write a query, for example sql = \"select count(*) as n from \
                    words\"",
        );
    }
    for (name, function) in functions {
        check_function_name(name, part);
        plugin::check::check(function, &format!("functions.{name}."), part);
    }
}

/// SQL knows functions by names that need no quotes.
fn check_function_name(name: &str, part: &PartErrors<'_>) {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(fits)
        && name.len() <= limits::NAME_BYTES_MAX
    {
        return;
    }
    let message = format!(
        "`{}` is not a valid function name; use a-z, 0-9 and `_`, with a letter first, at most {} bytes",
        name.escape_debug(),
        limits::NAME_BYTES_MAX
    );
    part.wrong(&format!("functions.{name}"), message);
}
