//! One stage of a job file.

use crate::job::expression;
use crate::job::keys;
use crate::job::spec::{
    AggregateSpec, InstanceSpec, OperatorSpec, PluginLimits, PluginSpec, StageSpec, UpdateEmit, UpdateOn, UpdateSpec,
};
use crate::job::table::{Reader, type_of};
use crate::limits;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::Value;

/// What each operator of a later version is called, so that such a stage is not taken for a union.
const OPERATORS_LATER: [&str; 12] =
    ["window", "join", "cogroup", "enrich", "sql", "filter", "select", "top", "distinct", "sort", "branch", "cast"];

/// Reads `[stages.<name>]`.
pub(in crate::job) fn stage(name: String, r: &Reader<'_>) -> StageSpec {
    r.check_keys(keys::STAGE, keys::STAGE_KEYS_LATER, None);
    r.need("from", "from = \"…\" with the name of a source or stage");
    let from = r.texts("from", "from = \"lines\" or from = [\"a\", \"b\"]").unwrap_or_default();
    let key = r.texts("key", "key = \"word\" or key = [\"a\", \"b\"]").unwrap_or_default();
    StageSpec { name, from, key, window: None, event_time: None, operator: operator(r), filter: None, select: None }
}

fn operator(r: &Reader<'_>) -> OperatorSpec {
    if r.has("plugin") {
        if r.has("aggregate") {
            r.wrong(
                "aggregate",
                "a stage has one operator, and this one has `plugin` and `aggregate`; make two stages of it",
            );
        }
        return OperatorSpec::Plugin(plugin(r));
    }
    let later = OPERATORS_LATER.iter().any(|key| r.has(key));
    let instead = if r.has("aggregate") { "remove it" } else { "add plugin = \"…\", or remove it" };
    for key in keys::PLUGIN_KEYS.iter().filter(|key| r.has(key) && !later) {
        r.wrong(key, format!("`{key}` is for stages with a plugin; {instead}"));
    }
    if r.has("aggregate") {
        OperatorSpec::Aggregate { columns: aggregates(r), inverse: false }
    } else {
        OperatorSpec::Union
    }
}

fn plugin(r: &Reader<'_>) -> PluginSpec {
    let example = "plugin = \"plugins/split-words\"";
    r.choice("on_error", &[("fail", ())], &["reject"]);
    let path = r.path("plugin", example).unwrap_or_else(|| "?".into());
    let instances = [("batch", InstanceSpec::Batch), ("worker", InstanceSpec::Worker)];
    PluginSpec {
        config: config(r),
        instance: r.choice("instance", &instances, &[]).unwrap_or_default(),
        limits: plugin_limits(r),
        files: files(r),
        update: UpdateSpec {
            on: r.choice("on", &[("touched", UpdateOn::Touched), ("all", UpdateOn::All)], &[]),
            emit: r.choice(
                "emit",
                &[("rows", UpdateEmit::Rows), ("changes", UpdateEmit::Changes), ("state", UpdateEmit::State)],
                &["update", "close"],
            ),
            timeout: r.time("timeout"),
            initial: r.path("initial", "initial = \"totals.csv\""),
        },
        ..PluginSpec::new(path)
    }
}

fn plugin_limits(r: &Reader<'_>) -> PluginLimits {
    let mut limits = PluginLimits::default();
    let Some(r) = r.inner("limits", "limits = { memory = \"64MiB\", time = \"2s\" }") else { return limits };
    r.check_keys(keys::LIMITS, keys::LIMITS_LATER, None);
    let (least, most) = (limits::PLUGIN_MEMORY_BYTES_MIN, limits::PLUGIN_MEMORY_BYTES_MAX_MAX);
    if let Some(bytes) = r.size("memory", least, most) {
        limits.memory_bytes_max = bytes;
    }
    if let Some(time) = r.time("time") {
        limits.time_max = time;
    }
    if let Some(bytes) = r.size("output", 1, most) {
        limits.output_bytes_max = bytes;
    }
    limits
}

fn files(r: &Reader<'_>) -> BTreeMap<String, PathBuf> {
    let example = "grant = { files = { stopwords = \"stopwords.txt\" } }";
    let Some(grant) = r.inner("grant", example) else { return BTreeMap::new() };
    grant.check_keys(keys::GRANT, keys::GRANTS_LATER, None);
    let Some(files) = grant.inner("files", "files = { stopwords = \"stopwords.txt\" }") else {
        return BTreeMap::new();
    };
    let path = |name: &String| files.path(name, &format!("the path of a file, as {name} = \"{name}.txt\""));
    files.table.keys().filter_map(|name| Some((name.clone(), path(name)?))).collect()
}

fn aggregates(r: &Reader<'_>) -> Vec<AggregateSpec> {
    let example = "aggregate = { n = \"count(*)\" }";
    if matches!(r.table.get("aggregate"), Some(Value::String(_))) {
        let message = "`aggregate` is text, needs a table of output columns; write aggregate = { n = \
                       \"count(*)\" }, or plugin = \"…\" for a plugin of world aggregate";
        r.wrong("aggregate", message);
        return Vec::new();
    }
    let Some(columns) = r.inner("aggregate", example) else { return Vec::new() };
    let one = |output: &String| {
        let text = columns.text(output, &format!("{output} = \"count(*)\""))?;
        let parsed = expression::aggregate(output, text);
        parsed.map_err(|message| columns.wrong(output, format!("`{}{output}`: {message}", columns.inside))).ok()
    };
    columns.table.keys().filter_map(one).collect()
}

/// The stage's `config` as JSON. Dates become text.
fn config(r: &Reader<'_>) -> Json {
    let Some(value) = r.table.get("config") else { return Json::Object(Default::default()) };
    json(value).unwrap_or_else(|value| {
        let message = format!("`config` holds {value}, {} that JSON has no word for; write it as text", type_of(value));
        r.wrong("config", message);
        Json::Null
    })
}

fn json(value: &Value) -> Result<Json, &Value> {
    Ok(match value {
        Value::String(text) => Json::String(text.clone()),
        Value::Integer(number) => Json::from(*number),
        Value::Float(number) => Json::Number(serde_json::Number::from_f64(*number).ok_or(value)?),
        Value::Boolean(flag) => Json::Bool(*flag),
        Value::Datetime(time) => Json::String(time.to_string()),
        Value::Array(values) => Json::Array(values.iter().map(json).collect::<Result<_, _>>()?),
        Value::Table(table) => {
            Json::Object(table.iter().map(|(k, v)| Ok((k.clone(), json(v)?))).collect::<Result<_, &Value>>()?)
        }
    })
}
