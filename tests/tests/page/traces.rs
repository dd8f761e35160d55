//! Traces for OpenTelemetry: a reachable receiver gets the fate of batches, and a job is unaffected by the receiver's state.

use millstream_tests::{DEADLINE, Ended, HttpRequest, HttpServer, Process, Trial, free_port, holds_within, plugin};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Command;

/// A job of six batches, and one for its end, that counts words.
fn job() -> Trial {
    let trial = Trial::new(&format!(
        "name = \"traced\"\nbatch = \"20ms\"\nworkers = 2\n[sources.in]\nkind = \"file\"\npath = \"in.txt\"\n\
         rows_per_batch_max = 5\n[stages.words]\nfrom = \"in\"\nplugin = \"{}\"\n[stages.totals]\nfrom = \"words\"\n\
         key = \"word\"\nplugin = \"{}\"\n[sinks.out]\nfrom = \"totals\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
        plugin("split-words").display(),
        plugin("running-count").display()
    ));
    trial.write("in.txt", "to be or not to be\n".repeat(30));
    trial
}

/// A job that never ends.
fn endless() -> Trial {
    Trial::new(
        "batch = \"50ms\"\nworkers = 1\n[sources.in]\nkind = \"rate\"\nrows_per_second = 100\n\
         [sinks.out]\nfrom = \"in\"\nkind = \"nothing\"\n",
    )
}

fn command(trial: &Trial, port: u16, more: &[(&str, &str)]) -> Command {
    let mut command = trial.isolated_command(&["run", "job.toml", "--no-ui"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{port}"));
    command.envs(more.iter().copied());
    command
}

fn run(trial: &Trial, port: u16, more: &[(&str, &str)]) -> Ended {
    let ended = Process::start(&mut command(trial, port, more)).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(trial.batches("out.jsonl").last().unwrap()["rows"].as_array().unwrap().len(), 4, "{}", ended.stderr);
    ended
}

/// A receiver that takes everything.
fn receiver(port: u16) -> HttpServer {
    HttpServer::start(port, |_, _| Some((200, "Content-Type: application/json\r\n".into(), "{}".into())))
}

const JSON: (&str, &str) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json");

/// A span as it came.
#[derive(Debug)]
struct Span {
    name: String,
    trace: String,
    id: String,
    parent: String,
    from: u64,
    to: u64,
    attributes: BTreeMap<String, Value>,
}

fn attributes(of: &Value) -> BTreeMap<String, Value> {
    let all = of["attributes"].as_array().cloned().unwrap_or_default();
    let value = |one: &Value| one["value"].as_object().unwrap().values().next().unwrap().clone();
    all.iter().map(|one| (one["key"].as_str().unwrap().to_owned(), value(one))).collect()
}

fn spans(requested: &[HttpRequest]) -> Vec<Span> {
    let mut all = Vec::new();
    for request in requested {
        assert_eq!(request.line, "POST /v1/traces HTTP/1.1");
        assert_eq!(request.header("content-type"), Some("application/json"));
        let output: Value = serde_json::from_str(&request.body).unwrap();
        let resource = &output["resourceSpans"][0];
        let who = attributes(&resource["resource"]);
        assert_eq!((&who["service.name"], &who["millstream.job"]), (&"millstream".into(), &"traced".into()));
        for span in resource["scopeSpans"][0]["spans"].as_array().unwrap() {
            let text = |key: &str| span[key].as_str().unwrap_or_default().to_owned();
            all.push(Span {
                name: text("name"),
                trace: text("traceId"),
                id: text("spanId"),
                parent: text("parentSpanId"),
                from: text("startTimeUnixNano").parse().unwrap(),
                to: text("endTimeUnixNano").parse().unwrap(),
                attributes: attributes(span),
            });
        }
    }
    all
}

#[test]
fn a_receiver_gets_batches_with_their_parts_and_calls() {
    let (trial, server) = (job(), receiver(free_port()));
    run(&trial, server.port(), &[JSON]);
    let all = spans(&server.requests());
    let batches: BTreeMap<&str, &Span> =
        all.iter().filter(|span| span.name == "batch").map(|span| (span.trace.as_str(), span)).collect();
    assert!(batches.len() >= 6, "the last ones too, though the job was short: {all:#?}");
    let rows = |span: &Span| span.attributes["millstream.rows"].as_str().and_then(|n| n.parse::<u64>().ok());
    let sum: Option<u64> = batches.values().map(|batch| rows(batch)).sum();
    assert_eq!(sum, Some(30), "{batches:#?}");
    for batch in batches.values() {
        assert!(batch.parent.trim_matches('0').is_empty() && batch.trace.len() == 32 && batch.id.len() == 16);
        let within: Vec<&Span> = all.iter().filter(|span| span.trace == batch.trace).collect();
        let named = |name: &str| within.iter().find(|span| span.name == name);
        if rows(batch) == Some(0) {
            continue;
        }
        for name in ["source in", "stage words", "stage totals", "sink out"] {
            let span = named(name).unwrap_or_else(|| panic!("no {name} in {within:#?}"));
            assert_eq!(span.parent, batch.id, "{name}");
            assert!(batch.from <= span.from && span.from <= span.to, "{name}: {span:?} in {batch:?}");
        }
        for (call, stage) in [("call words", "stage words"), ("call totals", "stage totals")] {
            let (call, stage) = (named(call).unwrap_or_else(|| panic!("{within:#?}")), named(stage).unwrap());
            assert_eq!(call.parent, stage.id);
            assert!(stage.from <= call.from && call.to <= stage.to + 1_000_000, "{call:?} in {stage:?}");
            assert!(call.attributes["millstream.rows_in"].is_string());
        }
    }
    let ids: std::collections::BTreeSet<(&str, &str)> = all.iter().map(|span| (&*span.trace, &*span.id)).collect();
    assert_eq!(ids.len(), all.len(), "each span is there once");
}

#[test]
fn protobuf_is_used_unless_json_is_configured() {
    let (trial, server) = (job(), receiver(free_port()));
    let endpoint = format!("http://127.0.0.1:{}/here/traces?key=hidden", server.port());
    let ended = run(
        &trial,
        9,
        &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &endpoint), ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret")],
    );
    assert!(!ended.stderr.contains("hidden"), "{}", ended.stderr);
    let requested = server.requests();
    assert!(!requested.is_empty(), "{}", ended.stderr);
    for request in &requested {
        assert_eq!(
            request.line, "POST /here/traces?key=hidden HTTP/1.1",
            "the endpoint for spans is taken as it stands"
        );
        assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
        assert_eq!(request.header("x-key"), Some("secret"));
    }
    let bodies: String = requested.iter().map(|request| request.body.as_str()).collect();
    for name in ["batch", "stage words", "call totals", "millstream.job"] {
        assert!(bodies.contains(name), "{name}");
    }
}

#[test]
fn an_unreachable_hanging_or_rejecting_receiver_costs_only_a_warning() {
    let nobody = free_port();
    let ended = run(&job(), nobody, &[]);
    assert_eq!(ended.stderr.matches("traces cannot be sent to").count(), 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("connection refused") && ended.stderr.contains(" batches were not sent"),
        "{}",
        ended.stderr
    );

    // Accepts connections and sends nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let ended = run(&job(), silent.local_addr().unwrap().port(), &[]);
    assert!(ended.stderr.contains(" batches were not sent"), "{}", ended.stderr);

    let refusing = HttpServer::start(free_port(), |_, _| Some((401, String::new(), "who are you?".into())));
    let ended = run(&job(), refusing.port(), &[]);
    assert_eq!(ended.stderr.matches("traces cannot be sent to").count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("it replies 401") && ended.stderr.contains("they are dropped"), "{}", ended.stderr);

    for (variable, value, words) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "set OTEL_EXPORTER_OTLP_PROTOCOL to"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "no traces are sent: the endpoint"),
    ] {
        let ended = run(&job(), nobody, &[(variable, value)]);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    let ended = run(&job(), nobody, &[("MILLSTREAM_TEST_FAULT", "panic@millstream-traces:1")]);
    assert!(
        ended.stderr.contains("traces are no longer sent: the thread that sends traces panicked"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_receiver_that_starts_later_gets_buffered_traces() {
    let (trial, port) = (endless(), free_port());
    let mut job = Process::start(&mut command(&trial, port, &[JSON, ("OTEL_SERVICE_NAME", "orders")]));
    job.wait_for_stderr("traces cannot be sent to");
    let server = receiver(port);
    job.wait_for_stderr("again");
    let first = holds_within(DEADLINE, || {
        let bodies: String = server.requests().into_iter().map(|request| request.body).collect();
        let tight: String = bodies.split_whitespace().collect();
        tight.contains(r#""millstream.batch","value":{"intValue":"1"}"#) && tight.contains("orders")
    });
    assert!(first, "{} bytes", server.requests().first().map_or(0, |request| request.body.len()));
    let printed = job.stop();
    assert_eq!(printed.matches("traces cannot be sent to").count(), 1, "{printed}");
    assert!(!printed.contains("were not sent"), "{printed}");
}

#[test]
fn traces_are_off_by_default() {
    let port = free_port();
    let threads = |job: &Process| -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", job.id())).unwrap().flatten();
        tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok()).collect()
    };
    let traces = |job: &Process| threads(job).iter().any(|name| name.starts_with("millstream-trac"));
    let trial = endless();
    for (more, there) in [
        (vec![], true),
        (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "")], false),
        (vec![("OTEL_SDK_DISABLED", "true")], false),
        (vec![("OTEL_TRACES_EXPORTER", "none")], false),
    ] {
        let mut job = Process::start(&mut command(&trial, port, &more));
        job.wait_for_stderr("keeps no checkpoints");
        // A thread has the name of the process until it sets its own.
        job.wait_until("its threads have names", |job| {
            let threads = threads(job);
            threads.iter().any(|name| name.starts_with("millstream-end"))
                && threads.iter().filter(|name| *name == "millstream\n").count() == 1
        });
        assert_eq!(traces(&job), there, "{more:?}: {:?}", threads(&job));
        job.stop();
    }
}
