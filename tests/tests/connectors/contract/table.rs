//! All kinds of sources and sinks, each with the test that runs the contract, or the reason why there is none.

use super::Entry::{self, Elsewhere, Runs};
use millstream_tests::Trial;
use serde_json::Value;
use std::collections::BTreeSet;

/// The sources.
const SOURCES: &[(&str, Entry)] = &[
    ("directory", Runs(super::files)),
    ("file", Runs(super::files)),
    ("flight", Runs(super::flight)),
    ("http", Runs(super::http)),
    ("kafka", Runs(super::long::kafka)),
    ("kinesis", Runs(super::long::kinesis)),
    ("lumberjack", Runs(super::listeners)),
    ("mqtt", Runs(super::mqtt)),
    ("nats", Runs(super::nats)),
    ("nexmark", Elsewhere("it makes its rows, without a server: `operators::e2e`")),
    ("otlp", Runs(super::listeners)),
    ("plugin", Runs(super::plugins)),
    ("postgres-changes", Runs(super::postgres)),
    ("queue", Elsewhere("a file of test batches, which is there before the job starts: `operators::e2e`")),
    ("rabbitmq", Runs(super::long::rabbitmq)),
    ("rate", Elsewhere("it makes its rows, without a server; the sinks of this suite read it")),
    ("raw-socket", Runs(super::sockets)),
    ("redis", Runs(super::redis)),
    ("socket", Runs(super::sockets)),
    ("syslog", Runs(super::listeners)),
    ("zeromq", Runs(super::zeromq)),
];

/// The sinks.
const SINKS: &[(&str, Entry)] = &[
    ("clickhouse", Runs(super::long::clickhouse)),
    ("delta", Runs(super::delta)),
    ("files", Runs(super::files)),
    ("flight", Runs(super::flight)),
    ("http", Runs(super::http)),
    ("kafka", Runs(super::long::kafka)),
    ("kinesis", Runs(super::long::kinesis)),
    ("mqtt", Runs(super::mqtt)),
    ("nats", Runs(super::nats)),
    ("nothing", Elsewhere("it drops all rows")),
    ("plugin", Runs(super::plugins)),
    ("postgres", Runs(super::postgres)),
    ("print", Elsewhere("standard output keeps no marker: `connectors::sinks`")),
    ("queue", Runs(super::files)),
    ("rabbitmq", Runs(super::long::rabbitmq)),
    ("redis", Runs(super::redis)),
    ("sqlite", Runs(super::files)),
    ("websocket", Runs(super::websocket)),
];

/// The kinds that the program has, as its JSON Schema lists them.
fn kinds(schema: &Value, role: &str) -> BTreeSet<String> {
    let cases = schema["properties"][role]["additionalProperties"]["allOf"].as_array().expect("a case for each kind");
    let kind = |case: &Value| case["if"]["properties"]["kind"]["const"].as_str().map(str::to_owned);
    cases.iter().filter_map(kind).collect()
}

/// A new kind needs a line here, and with it the suite, or a reason.
#[test]
fn no_kind_is_missing() {
    let schema: Value = serde_json::from_str(&Trial::new("").run_command_ok(&["schema"])).expect("JSON");
    for (role, table) in [("sources", SOURCES), ("sinks", SINKS)] {
        let listed: BTreeSet<String> = table.iter().map(|(kind, _)| (*kind).to_owned()).collect();
        assert_eq!(listed.len(), table.len(), "a kind of {role} is listed twice");
        assert_eq!(listed, kinds(&schema, role), "{role}: tests/tests/connectors/contract/table.rs lists others");
        for (kind, entry) in table {
            match entry {
                // It is a test of this suite, or the crate would have code that nothing calls.
                Runs(_) => {}
                Elsewhere(why) => assert!(why.len() > 10 && !why.contains('\n'), "{kind}: {why}"),
            }
        }
    }
}
