//! Permissions of plugins, and their error handling.

use super::super::read;
use super::stages::{STAGES, stage};
use crate::kinds::all;
use millstream_base::units::{show_size, show_time};
use millstream_job::schema;
use millstream_job::spec::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// The limits of the stage `strict`.
pub(super) fn strict_limits() -> PluginLimits {
    PluginLimits {
        memory_bytes_max: 64 << 20,
        table_elements_max: 0,
        time_max: Duration::from_secs(2),
        fuel_max: Some(1_000_000),
        stack_bytes_max: 512 << 10,
        output_bytes_max: 1 << 20,
        output_rows_max: 5,
        expansion_max: 10,
        batch_output_bytes_max: 2 << 20,
        rejected_bytes_max: 3 << 20,
        backtrace_bytes_max: 0,
        timers_per_key_max: 7,
        timers_max: 70,
        state_bytes_per_key_max: 1 << 10,
        state_bytes_max: Some(5 << 20),
        log_lines_per_second_max: 0,
        log_bytes_per_second_max: 1 << 10,
        counters_max: 3,
        handles_max: 4,
        instances_max: 6,
        attempts_max: 100,
        compile_time_max: Duration::from_secs(30),
    }
}

#[test]
fn what_plugins_may_do_is_read() {
    let job = read(STAGES).unwrap();
    let of = |name: &str| job.stages.iter().find(|stage| stage.name == name).unwrap().plugins()[0].clone();
    let (strict, asking, usual) = (of("strict"), of("asking"), of("groups"));
    assert_eq!((strict.on_error, strict.rejected_max), (OnError::Reject, Some(RejectedMax::Share(0.025))));
    assert_eq!(strict.limits, strict_limits());
    assert_eq!((strict.grant.env["REGION"].as_str(), strict.grant.env["EMPTY"].as_str()), ("eu", " "));
    assert!(strict.replayable && strict.grant.http.is_none());
    let http = HttpGrant { hosts: vec!["api.example.com".into()], methods: vec!["POST".into()] };
    assert_eq!((asking.grant.http, asking.replayable), (Some(http), false));
    assert_eq!((asking.on_error, asking.rejected_max), (OnError::Fail, Some(RejectedMax::Rows(100))));
    assert_eq!((usual.on_error, usual.rejected_max, usual.replayable), (OnError::Fail, None, true));
    assert_eq!((usual.limits, usual.grant), (PluginLimits::default(), GrantSpec::default()));
}

/// The schema documents the actual defaults.
#[test]
fn every_limit_tells_its_default() {
    let schema = schema(all());
    let stage = &schema["properties"]["stages"]["additionalProperties"]["properties"];
    let keys = stage["limits"]["properties"].as_object().unwrap();
    let limits = PluginLimits::default();
    let mut defaults: BTreeMap<&str, String> = [
        ("tables", limits.table_elements_max),
        ("rows", limits.output_rows_max),
        ("expansion", limits.expansion_max),
        ("timers_per_key", limits.timers_per_key_max),
        ("timers", limits.timers_max),
        ("log_lines", limits.log_lines_per_second_max),
        ("counters", limits.counters_max),
        ("handles", limits.handles_max),
        ("instances", limits.instances_max),
        ("attempts", limits.attempts_max),
    ]
    .map(|(key, count)| (key, count.to_string()))
    .into();
    let sizes = [
        ("memory", limits.memory_bytes_max),
        ("stack", limits.stack_bytes_max),
        ("output", limits.output_bytes_max),
        ("batch_output", limits.batch_output_bytes_max),
        ("rejected", limits.rejected_bytes_max),
        ("backtrace", limits.backtrace_bytes_max),
        ("state_per_key", limits.state_bytes_per_key_max),
        ("log", limits.log_bytes_per_second_max),
    ];
    defaults.extend(sizes.map(|(key, bytes)| (key, show_size(bytes))));
    let times = [("time", limits.time_max), ("compile", limits.compile_time_max)];
    defaults.extend(times.map(|(key, time)| (key, show_time(time))));
    for (key, value) in keys {
        let text = value["description"].as_str().unwrap();
        match defaults.remove(key.as_str()) {
            Some(default) => assert!(text.contains(&format!(" {default} by default")), "{key}: {default}: {text}"),
            None => assert!(["fuel", "state"].contains(&key.as_str()), "{key}"),
        }
    }
    assert!(defaults.is_empty(), "{defaults:?}");
    assert_eq!((limits.fuel_max, limits.state_bytes_max), (None, None));
}

#[test]
fn rows_that_may_be_rejected_are_a_number_or_a_share() {
    for (text, max) in [
        ("0", RejectedMax::Rows(0)),
        ("1", RejectedMax::Rows(1)),
        ("0.1", RejectedMax::Share(0.1)),
        ("1.0", RejectedMax::Share(1.0)),
        ("\"0%\"", RejectedMax::Share(0.0)),
        ("\"12.5%\"", RejectedMax::Share(0.125)),
        ("\"100%\"", RejectedMax::Share(1.0)),
    ] {
        let stage = stage(&format!("from = \"a\"\nplugin = \"p\"\nmax_rejected = {text}"));
        assert_eq!(stage.plugins()[0].rejected_max, Some(max), "{text}");
    }
    let get = stage("from = \"a\"\nplugin = \"p\"\nreplayable = false\ngrant = { http = { hosts = \"h:1\" } }");
    assert_eq!(get.plugins()[0].grant.http.as_ref().unwrap().methods, ["GET", "HEAD"], "what only reads");
}
