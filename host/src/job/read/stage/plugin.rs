//! The plugin of a stage, and plugins as functions of `sql`.

use crate::job::keys;
use crate::job::spec::{InstanceSpec, PluginLimits, PluginSpec, UpdateEmit, UpdateOn, UpdateSpec};
use crate::job::table::{Reader, type_of};
use crate::limits;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::Value;

/// The plugin of a stage; `emit`: what the stage says of world `update`.
pub(super) fn plugin(r: &Reader<'_>, emit: Option<UpdateEmit>) -> PluginSpec {
    r.choice("on_error", &[("fail", ())], &["reject"]);
    PluginSpec {
        update: UpdateSpec {
            on: r.choice("on", &[("touched", UpdateOn::Touched), ("all", UpdateOn::All)], &[]),
            emit,
            timeout: r.time("timeout"),
            initial: r.path("initial", "initial = \"totals.csv\""),
        },
        inverse: r.flag("inverse"),
        ..bare(r)
    }
}

/// What every plugin may have, in a stage or as a function.
fn bare(r: &Reader<'_>) -> PluginSpec {
    let path = r.path("plugin", "plugin = \"plugins/split-words\"").unwrap_or_else(|| "?".into());
    let instances = [("batch", InstanceSpec::Batch), ("worker", InstanceSpec::Worker)];
    PluginSpec {
        config: config(r),
        instance: r.choice("instance", &instances, &[]).unwrap_or_default(),
        limits: plugin_limits(r),
        files: files(r),
        ..PluginSpec::new(path)
    }
}

/// The functions of `sql`: the path of a plugin, or a table.
pub(super) fn functions(r: &Reader<'_>) -> BTreeMap<String, PluginSpec> {
    let Some(functions) = r.inner("functions", "functions = { sentiment = \"plugins/sentiment\" }") else {
        return BTreeMap::new();
    };
    let one = |name: &String| {
        let example = format!("{name} = \"plugins/{name}\"");
        if !matches!(functions.table.get(name), Some(Value::Table(_))) {
            return functions.path(name, &example).map(PluginSpec::new);
        }
        let r = functions.inner(name, &example)?;
        r.check_keys(keys::FUNCTION, &[], None);
        r.need("plugin", &format!("plugin = \"plugins/{name}\""));
        Some(bare(&r))
    };
    functions.table.keys().filter_map(|name| Some((name.clone(), one(name)?))).collect()
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
