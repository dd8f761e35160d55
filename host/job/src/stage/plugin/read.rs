//! Reads the keys of a plugin.

use super::keys;
use crate::spec::{
    GrantSpec, HttpGrant, InstanceSpec, OnError, PluginLimits, PluginSpec, UpdateEmit, UpdateOn, UpdateSpec,
};
use crate::table::{Reader, type_of};
use millstream_base::limits;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::Value;

/// Reads the plugin of a stage; `emit` is the stage's setting for world `update`.
pub fn plugin(r: &Reader<'_>, emit: Option<UpdateEmit>) -> PluginSpec {
    let on_error = r.choice("on_error", &[("fail", OnError::Fail), ("reject", OnError::Reject)], &[]);
    PluginSpec {
        on_error: on_error.unwrap_or_default(),
        rejected_max: r.rows_or_share("max_rejected"),
        replayable: r.flag("replayable").unwrap_or(true),
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

/// Reads the keys of every plugin, in a stage or as a function.
pub fn bare(r: &Reader<'_>) -> PluginSpec {
    let path = r.path("plugin", "plugin = \"plugins/split-words\"").unwrap_or_else(|| "?".into());
    let instances = [("batch", InstanceSpec::Batch), ("worker", InstanceSpec::Worker)];
    PluginSpec {
        config: config(r),
        instance: r.choice("instance", &instances, &[]).unwrap_or_default(),
        limits: plugin_limits(r),
        grant: grant(r),
        ..PluginSpec::new(path)
    }
}

fn plugin_limits(r: &Reader<'_>) -> PluginLimits {
    let mut limits = PluginLimits::default();
    let Some(r) = r.inner("limits", "limits = { memory = \"64MiB\", time = \"2s\" }") else { return limits };
    r.check_keys(keys::LIMITS, &[], None);
    let max = limits::PLUGIN_MEMORY_BYTES_MAX_MAX;
    let set = |value: Option<u64>, limit: &mut u64| value.into_iter().for_each(|value| *limit = value);
    set(r.size("memory", limits::PLUGIN_MEMORY_BYTES_MIN, max), &mut limits.memory_bytes_max);
    set(r.integer("tables", 0, limits::PLUGIN_TABLE_ELEMENTS_MAX_MAX), &mut limits.table_elements_max);
    let stack = r.size("stack", limits::PLUGIN_STACK_BYTES_MIN, limits::PLUGIN_STACK_BYTES_MAX_MAX);
    set(stack, &mut limits.stack_bytes_max);
    set(r.size("output", 1, max), &mut limits.output_bytes_max);
    let any = i64::MAX as u64;
    set(r.integer("rows", 1, any), &mut limits.output_rows_max);
    set(r.integer("expansion", 1, any), &mut limits.expansion_max);
    set(r.size("batch_output", 1, any), &mut limits.batch_output_bytes_max);
    set(r.size("rejected", 1, any), &mut limits.rejected_bytes_max);
    set(r.size("backtrace", 0, limits::PLUGIN_BACKTRACE_BYTES_MAX_MAX), &mut limits.backtrace_bytes_max);
    set(r.integer("timers_per_key", 0, any), &mut limits.timers_per_key_max);
    set(r.integer("timers", 0, any), &mut limits.timers_max);
    set(r.size("state_per_key", 1, max), &mut limits.state_bytes_per_key_max);
    set(r.integer("log_lines", 0, any), &mut limits.log_lines_per_second_max);
    set(r.size("log", 1, max), &mut limits.log_bytes_per_second_max);
    set(r.integer("counters", 0, limits::PLUGIN_COUNTERS_MAX_MAX), &mut limits.counters_max);
    set(r.integer("handles", 0, limits::PLUGIN_HANDLES_MAX_MAX), &mut limits.handles_max);
    set(r.integer("instances", 1, limits::PLUGIN_PARTS_MAX_MAX), &mut limits.instances_max);
    set(r.integer("attempts", 1, any), &mut limits.attempts_max);
    limits.state_bytes_max = r.size("state", 1, any);
    limits.fuel_max = r.integer("fuel", 1, any);
    limits.time_max = r.time("time").unwrap_or(limits.time_max);
    limits.compile_time_max = r.time("compile").unwrap_or(limits.compile_time_max);
    limits
}

fn grant(r: &Reader<'_>) -> GrantSpec {
    let example = "grant = { files = { stopwords = \"stopwords.txt\" } }";
    let Some(grant) = r.inner("grant", example) else { return GrantSpec::default() };
    grant.check_keys(keys::GRANT, &[], None);
    let addresses = |key: &str| grant.strings(key, &format!("{key} = [\"127.0.0.1:5514\"]")).unwrap_or_default();
    GrantSpec {
        files: files(&grant),
        env: env(&grant),
        http: http(&grant),
        tcp: addresses("tcp"),
        ca: grant.path("ca", "ca = \"ca.pem\""),
        udp: addresses("udp"),
    }
}

fn files(grant: &Reader<'_>) -> BTreeMap<String, PathBuf> {
    let Some(files) = grant.inner("files", "files = { stopwords = \"stopwords.txt\" }") else {
        return BTreeMap::new();
    };
    let path = |name: &String| files.path(name, &format!("the path of a file, for example {name} = \"{name}.txt\""));
    files.table.keys().filter_map(|name| Some((name.clone(), path(name)?))).collect()
}

fn env(grant: &Reader<'_>) -> BTreeMap<String, String> {
    let Some(env) = grant.inner("env", "env = { REGION = \"eu\" }") else { return BTreeMap::new() };
    let value = |name: &String| env.text(name, &format!("its value, for example {name} = \"…\""));
    env.table.keys().filter_map(|name| Some((name.clone(), value(name)?.to_owned()))).collect()
}

fn http(grant: &Reader<'_>) -> Option<HttpGrant> {
    let http = grant.inner("http", "http = { hosts = [\"api.example.com\"] }")?;
    http.check_keys(keys::HTTP, &[], None);
    let hosts = http.strings("hosts", "hosts = [\"api.example.com\"]");
    if hosts.is_none() {
        http.need("hosts", "hosts = [\"api.example.com\"]");
    }
    let grant = HttpGrant::to(hosts.unwrap_or_default());
    Some(match http.strings("methods", "methods = [\"GET\"]") {
        Some(methods) => grant.methods(methods),
        None => grant,
    })
}

/// Returns the stage's `config` as JSON. Dates become strings.
fn config(r: &Reader<'_>) -> Json {
    let Some(value) = r.table.get("config") else { return Json::Object(Default::default()) };
    json(value).unwrap_or_else(|value| {
        let message = format!("`config` holds {value}, {} that JSON cannot hold; write it as text", type_of(value));
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
