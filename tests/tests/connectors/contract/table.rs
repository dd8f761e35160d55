//! All kinds of sources and sinks, each with the test that runs the contract, or the reason why there is none.

use super::Entry::{self, Elsewhere, Runs};
use millstream_tests::Trial;
use serde_json::Value;
use std::collections::BTreeSet;

/// The sources.
const SOURCES: &[(&str, Entry)] = &[
    ("directory", Runs(super::files)),
    ("file", Runs(super::files)),
    ("flight", Elsewhere("a server of the tests has whole tables, which do not grow: `connectors::flight`")),
    ("http", Runs(super::http)),
    ("kafka", Runs(super::long::kafka)),
    ("kinesis", Runs(super::long::kinesis)),
    (
        "lumberjack",
        Elsewhere("senders repeat what is not acknowledged, in a client of their own: `connectors::lumberjack`"),
    ),
    ("mqtt", Runs(super::mqtt)),
    ("nats", Runs(super::nats)),
    ("nexmark", Elsewhere("it makes its rows, without a server: `operators::e2e`")),
    ("otlp", Elsewhere("its rows have the columns of telemetry: `connectors::otlp`")),
    ("plugin", Elsewhere("the plugin decides what it promises: `plugins::source_plugins`")),
    ("postgres-changes", Runs(super::postgres)),
    ("queue", Elsewhere("a file of test batches, which is there before the job starts: `operators::e2e`")),
    ("rabbitmq", Runs(super::long::rabbitmq)),
    ("rate", Elsewhere("it makes its rows, without a server; the sinks of this suite read it")),
    ("raw-socket", Runs(super::sockets)),
    ("redis", Runs(super::redis)),
    ("socket", Runs(super::sockets)),
    ("syslog", Elsewhere("senders hear nothing of what was taken, so a kill may lose rows: `connectors::syslog`")),
    ("zeromq", Elsewhere("senders drop rows while nobody is connected, and there is no reply: `connectors::zeromq`")),
];

/// The sinks.
const SINKS: &[(&str, Entry)] = &[
    ("clickhouse", Elsewhere("its server takes seconds to start, and is killed there: `connectors::clickhouse`")),
    ("delta", Elsewhere("a reader of its tables takes seconds to start: `connectors::delta`")),
    ("files", Runs(super::files)),
    ("flight", Elsewhere("rows are put into streams of their own: `connectors::flight`")),
    ("http", Runs(super::http)),
    ("kafka", Runs(super::long::kafka)),
    ("kinesis", Elsewhere("its server takes seconds for each request: `connectors::kinesis`")),
    ("mqtt", Runs(super::mqtt)),
    ("nats", Runs(super::nats)),
    ("nothing", Elsewhere("it drops all rows")),
    ("plugin", Elsewhere("the plugin decides what it promises: `plugins::sink_plugins`")),
    ("postgres", Runs(super::postgres)),
    ("print", Elsewhere("standard output keeps no marker: `connectors::sinks`")),
    ("queue", Runs(super::files)),
    ("rabbitmq", Runs(super::long::rabbitmq)),
    ("redis", Runs(super::redis)),
    ("sqlite", Runs(super::files)),
    (
        "websocket",
        Elsewhere("listeners hear what is committed while they listen, and no more: `connectors::http::websocket`"),
    ),
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
                Runs(test) => assert!(*test as usize != 0),
                Elsewhere(why) => assert!(why.len() > 10 && !why.contains('\n'), "{kind}: {why}"),
            }
        }
    }
}
