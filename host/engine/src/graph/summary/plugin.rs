//! Describes the permissions and limits of a stage's plugins.

use millstream_base::units::{show_size, show_time};
use millstream_job::spec::{GrantSpec, OnError, OperatorSpec, PluginLimits, PluginSpec, RejectedMax, StageSpec};
use std::time::Duration;

/// Returns lines about the stage's plugin, or about the functions of its query: only what differs from the defaults.
pub(super) fn lines(spec: &StageSpec) -> Vec<String> {
    match &spec.operator {
        OperatorSpec::Plugin(plugin) | OperatorSpec::Cogroup { plugin, .. } => of_plugin(&spec.name, plugin),
        OperatorSpec::Sql { functions, .. } => {
            let of = |(name, plugin): (&String, &PluginSpec)| {
                let lines = of_plugin(&spec.name, plugin).into_iter();
                lines.map(|line| format!("function {name}: {line}")).collect::<Vec<_>>()
            };
            functions.iter().flat_map(of).collect()
        }
        _ => Vec::new(),
    }
}

fn of_plugin(stage: &str, plugin: &PluginSpec) -> Vec<String> {
    let mut lines = Vec::new();
    if plugin.on_error == OnError::Reject {
        lines.push(format!("rows that make a call fail go to {stage}.rejected, and the others continue"));
    }
    lines.extend(plugin.rejected_max.map(|max| match max {
        RejectedMax::Rows(rows) => format!("more than {rows} rejected rows in a batch stop the job"),
        RejectedMax::Share(share) => {
            format!("more than {} % of the rows of a batch rejected stop the job", percent(share))
        }
    }));
    lines.extend(granted(&plugin.grant).map(|granted| format!("granted: {granted}")));
    lines.extend(plugin.grant.http.as_ref().map(|http| {
        let (methods, hosts) = (http.methods.join(", "), http.hosts.join(", "));
        format!("not replayable: {methods} over HTTP to {hosts}, with new responses when a batch is replayed")
    }));
    lines.extend(limits(plugin).map(|limits| format!("limits: {limits}")));
    lines
}

/// Returns a share in percent, without rounding artifacts.
fn percent(share: f64) -> f64 {
    (share * 1e8).round() / 1e6
}

/// Describes what the plugin may read; the values of variables may be secrets.
fn granted(grant: &GrantSpec) -> Option<String> {
    let mut items: Vec<String> =
        grant.files.iter().map(|(name, path)| format!("file {name} ({})", path.display())).collect();
    items.extend(grant.env.keys().map(|name| format!("variable {name}")));
    (!items.is_empty()).then(|| items.join("; "))
}

/// Describes the limits that differ from the defaults, by the names of their keys.
fn limits(plugin: &PluginSpec) -> Option<String> {
    let (set, usual) = (&plugin.limits, &PluginLimits::default());
    let bytes = |key: &str, set: u64, usual: u64| (set != usual).then(|| format!("{key} {}", show_size(set)));
    let count = |key: &str, set: u64, usual: u64| (set != usual).then(|| format!("{key} {set}"));
    let time = |key: &str, set: Duration, usual: Duration| {
        let items = if set.is_zero() { "without limit".into() } else { show_time(set) };
        (set != usual).then(|| format!("{key} {items}"))
    };
    let items: Vec<String> = [
        bytes("memory", set.memory_bytes_max, usual.memory_bytes_max),
        count("tables", set.table_elements_max, usual.table_elements_max),
        bytes("stack", set.stack_bytes_max, usual.stack_bytes_max),
        time("time", set.time_max, usual.time_max),
        set.fuel_max.map(|fuel| format!("fuel {fuel}")),
        bytes("output", set.output_bytes_max, usual.output_bytes_max),
        count("rows", set.output_rows_max, usual.output_rows_max),
        count("expansion", set.expansion_max, usual.expansion_max),
        bytes("batch_output", set.batch_output_bytes_max, usual.batch_output_bytes_max),
        bytes("rejected", set.rejected_bytes_max, usual.rejected_bytes_max),
        bytes("backtrace", set.backtrace_bytes_max, usual.backtrace_bytes_max),
        count("timers_per_key", set.timers_per_key_max, usual.timers_per_key_max),
        count("timers", set.timers_max, usual.timers_max),
        bytes("state_per_key", set.state_bytes_per_key_max, usual.state_bytes_per_key_max),
        set.state_bytes_max.map(|bytes| format!("state {}", show_size(bytes))),
        count("log_lines", set.log_lines_per_second_max, usual.log_lines_per_second_max),
        bytes("log", set.log_bytes_per_second_max, usual.log_bytes_per_second_max),
        count("counters", set.counters_max, usual.counters_max),
        count("handles", set.handles_max, usual.handles_max),
        count("instances", set.instances_max, usual.instances_max),
        count("attempts", set.attempts_max, usual.attempts_max),
        time("compile", set.compile_time_max, usual.compile_time_max),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!items.is_empty()).then(|| items.join(", "))
}
