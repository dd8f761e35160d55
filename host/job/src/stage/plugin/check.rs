//! What must hold of a plugin, in a stage or as a function of `sql`.

use crate::part_errors::PartErrors;
use crate::parts::file_path;
use crate::spec::{GrantSpec, InstanceSpec, OnError, PluginLimits, PluginSpec, RejectedMax};
use millstream_base::limits;
use millstream_base::units;

/// Checks a plugin. `inside` is the key that it is in, for example `functions.sentiment.`; empty for the stage's own.
pub fn check(plugin: &PluginSpec, inside: &str, part: &PartErrors<'_>) {
    path(plugin, inside, part);
    grant(plugin, inside, part);
    ranges(&plugin.limits, inside, part);
    policy(plugin, inside, part);
    if let Some(path) = &plugin.update.initial {
        file_path("initial", path, part);
    }
    if plugin.update.timeout.is_some_and(|timeout| timeout.is_zero()) {
        part.wrong(
            "timeout",
            "`timeout` is zero, which would remove every key immediately; write a time such as \"30m\"",
        );
    }
}

/// The plugin of a source or a sink, which may talk to others: rows of a source are kept with their plan, and nothing comes of a
/// sink that would have to be the same twice.
pub fn check_end(plugin: &PluginSpec, part: &PartErrors<'_>) {
    path(plugin, "", part);
    files_and_env(plugin, "", part);
    ranges(&plugin.limits, "", part);
    for (key, list) in [("tcp", &plugin.grant.tcp), ("udp", &plugin.grant.udp)] {
        let is_right = |granted: &str| is_address(if key == "tcp" { GrantSpec::server(granted).0 } else { granted });
        for wrong in list.iter().filter(|granted| !is_right(granted)) {
            let message = format!(
                "`{}` is not host:port; write, for example, {key} = [\"127.0.0.1:5514\"]",
                wrong.escape_debug()
            );
            part.wrong(&format!("grant.{key}"), message);
        }
    }
    if let Some(ca) = &plugin.grant.ca {
        file_path("grant.ca", ca, part);
        if !plugin.grant.has_tls() {
            part.wrong(
                "grant.ca",
                "`grant.ca` is for servers with TLS, for example tcp = [\"tls://feed.example.com:7000\"]; remove it",
            );
        }
    }
}

fn is_address(text: &str) -> bool {
    let split = text.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains('/'));
    split.is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

fn path(plugin: &PluginSpec, inside: &str, part: &PartErrors<'_>) {
    let text = plugin.path.to_string_lossy();
    let key = format!("{inside}plugin");
    if text.contains("://") {
        let message = format!(
            "`{key} = \"{text}\"`: a job names a package by name and version, and millstream.lock has its registry; \
             write {inside}plugin = \"name@1.2.3\", and pin it with `millstream add name@1.2.3 --registry oci://…`"
        );
        part.wrong(&key, message);
    } else {
        match plugin.package() {
            None => file_path(&key, &plugin.path, part),
            Some(Ok(_)) => {}
            Some(Err(error)) => part.wrong(&key, format!("`{key} = \"{text}\"` is not a package: {}", error.message)),
        }
    }
}

fn grant(plugin: &PluginSpec, inside: &str, part: &PartErrors<'_>) {
    files_and_env(plugin, inside, part);
    for (key, list) in [("tcp", &plugin.grant.tcp), ("udp", &plugin.grant.udp)] {
        if !list.is_empty() {
            let message =
                format!("`grant.{key}` is for plugins that are sources or sinks (kind = \"plugin\"); remove it");
            part.wrong(&format!("{inside}grant.{key}"), message);
        }
    }
    if plugin.grant.ca.is_some() {
        let message = "`grant.ca` is for plugins that are sources or sinks (kind = \"plugin\"); remove it";
        part.wrong(&format!("{inside}grant.ca"), message);
    }
    http(plugin, inside, part);
}

fn files_and_env(plugin: &PluginSpec, inside: &str, part: &PartErrors<'_>) {
    for (name, path) in &plugin.grant.files {
        file_path(&format!("{inside}grant.files.{name}"), path, part);
    }
    for (name, value) in &plugin.grant.env {
        let key = format!("{inside}grant.env.{name}");
        if name.is_empty() || name.contains(['=', '\0']) || name.chars().any(char::is_whitespace) {
            let shown = name.escape_debug();
            let message =
                format!("`{shown}` is not a valid variable name; write one such as REGION, without `=` and spaces");
            part.wrong(&key, message);
        } else if value.contains('\0') {
            part.wrong(&key, format!("`{key}` must not contain NUL; remove it"));
        }
    }
}

/// Checks that a stage with HTTP requests accepts the loss of replay: a replayed batch may receive other responses.
fn http(plugin: &PluginSpec, inside: &str, part: &PartErrors<'_>) {
    let key = format!("{inside}grant.http");
    match (plugin.grant.http.is_some(), plugin.replayable) {
        (true, _) if !inside.is_empty() => {
            let message = format!("`{key}`: functions of `sql` cannot call HTTP; use the plugin in a separate stage");
            part.wrong(&key, message);
        }
        (true, true) => {
            let message = "`grant.http`: HTTP calls may get other responses when a batch is replayed after a failure; write \
                           replayable = false in the stage to accept that";
            part.wrong(&key, message);
        }
        (true, false) if plugin.on_error == OnError::Reject => {
            let message = "`grant.http` cannot be combined with on_error = \"reject\": other rows could fail when a \
                           batch is replayed. Remove `on_error`; the plugin can reject rows itself.";
            part.wrong(&key, message);
        }
        (false, false) => {
            let message = "`replayable = false` is for stages whose plugin sends HTTP requests, and this one has no \
                           `grant.http`; remove it";
            part.wrong("replayable", message);
        }
        _ => {}
    }
}

/// Which keys go with which `on_error`.
fn policy(plugin: &PluginSpec, inside: &str, part: &PartErrors<'_>) {
    match plugin.on_error {
        OnError::Fail => {
            let searches = plugin.limits.attempts_max != PluginLimits::default().attempts_max;
            for (key, is_set) in [("fuel", plugin.limits.fuel_max.is_some()), ("attempts", searches)] {
                if is_set {
                    let key = format!("{inside}limits.{key}");
                    let instead = if inside.is_empty() { "add that, or remove it" } else { "remove it" };
                    part.wrong(&key, format!("`{key}` is for stages with on_error = \"reject\"; {instead}"));
                }
            }
        }
        OnError::Reject if !inside.is_empty() => {
            let message =
                "a call of a function that fails stops the job; call the plugin in a separate stage to reject rows";
            part.wrong(&format!("{inside}on_error"), message);
        }
        OnError::Reject if plugin.instance == InstanceSpec::Worker => part.wrong(
            "instance",
            "`instance = \"worker\"` cannot be combined with on_error = \"reject\": whether a row is rejected must \
             not depend on previous calls, so each call has a new instance; remove `instance`",
        ),
        OnError::Reject => {}
    }
    rejected_max(plugin.rejected_max, part);
}

/// Checks that a share is between 0 and 1.
pub fn rejected_max(most: Option<RejectedMax>, part: &PartErrors<'_>) {
    if let Some(RejectedMax::Share(share)) = most
        && !(0.0..=1.0).contains(&share)
    {
        let message = format!(
            "`max_rejected` is a share of {share}; write one from 0 to 1, for example \
            max_rejected = 0.1"
        );
        part.wrong("max_rejected", message);
    }
}

/// Limits that a program made: those of a file are within these bounds already.
fn ranges(set: &PluginLimits, inside: &str, part: &PartErrors<'_>) {
    let any = u64::MAX;
    let memory = (limits::PLUGIN_MEMORY_BYTES_MIN, limits::PLUGIN_MEMORY_BYTES_MAX_MAX);
    let stack = (limits::PLUGIN_STACK_BYTES_MIN, limits::PLUGIN_STACK_BYTES_MAX_MAX);
    for (key, value, (least, most)) in [
        ("memory", set.memory_bytes_max, memory),
        ("tables", set.table_elements_max, (0, limits::PLUGIN_TABLE_ELEMENTS_MAX_MAX)),
        ("stack", set.stack_bytes_max, stack),
        ("fuel", set.fuel_max.unwrap_or(1), (1, any)),
        ("output", set.output_bytes_max, (1, any)),
        ("rows", set.output_rows_max, (1, any)),
        ("expansion", set.expansion_max, (1, any)),
        ("batch_output", set.batch_output_bytes_max, (1, any)),
        ("rejected", set.rejected_bytes_max, (1, any)),
        ("backtrace", set.backtrace_bytes_max, (0, limits::PLUGIN_BACKTRACE_BYTES_MAX_MAX)),
        ("state_per_key", set.state_bytes_per_key_max, (1, any)),
        ("state", set.state_bytes_max.unwrap_or(1), (1, any)),
        ("counters", set.counters_max, (0, limits::PLUGIN_COUNTERS_MAX_MAX)),
        ("handles", set.handles_max, (0, limits::PLUGIN_HANDLES_MAX_MAX)),
        ("instances", set.instances_max, (1, limits::PLUGIN_PARTS_MAX_MAX)),
        ("attempts", set.attempts_max, (1, any)),
    ] {
        if !(least..=most).contains(&value) {
            let key = format!("{inside}limits.{key}");
            let range = if most == any { format!("at least {least}") } else { format!("{least} to {most}") };
            part.wrong(&key, format!("`{key}` is {value}; write a number of {range}"));
        }
    }
    for (key, time) in [("time", set.time_max), ("compile", set.compile_time_max)] {
        if !units::fits(time) {
            let key = format!("{inside}limits.{key}");
            part.wrong(&key, format!("`{key}` is more than ten years; write a shorter time"));
        }
    }
    if set.compile_time_max.is_zero() {
        let key = format!("{inside}limits.compile");
        part.wrong(&key, format!("`{key}` is zero; write a time such as \"2m\""));
    }
}
