//! The source `otlp`, with the exporters of OpenTelemetry for Python, and requests that tests write themselves.

use millstream_tests::{Expected, HttpClient, Process, Reply, Trial, free_port, python_with, root, wait_until};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

fn job(port: u16, source: &str) -> Trial {
    Trial::new(&format!(
        "batch = \"20ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 3\n[sources.in]\nkind = \"otlp\"\nlisten = \
         \"127.0.0.1:{port}\"\n{source}\n[sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n[sinks.bad]\nfrom = \
         \"in.rejected\"\nkind = \"queue\"\npath = \"bad.jsonl\"\n"
    ))
}

/// Starts a job and waits until it listens.
fn start(trial: &Trial) -> Process {
    let mut running = trial.start(&["--unsupervised"]);
    running.wait_for_stderr("listening on http");
    running
}

/// Sends a request and waits for its response; `None` without one.
fn post(port: u16, path: &str, headers: &str, body: &[u8]) -> Option<Reply> {
    let mut client = HttpClient::connect(port).ok()?;
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n{headers}\r\n");
    client.say(head.as_bytes()).ok()?;
    // A sender that is rejected early may not be able to write everything.
    let _ = client.say(body);
    client.reply().ok()
}

const JSON: &str = "Content-Type: application/json\r\n";
const PROTOBUF: &str = "Content-Type: application/x-protobuf\r\n";

/// A request with one record of a log.
fn log(body: &str) -> String {
    let record = json!({ "timeUnixNano": "1700000000000000000", "body": { "stringValue": body } });
    json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [record] }] }] }).to_string()
}

fn export(port: u16, compression: &str) {
    let mut command = python_with("opentelemetry");
    command.arg(root().join("tests/tests/connectors/otlp.py")).arg(format!("http://127.0.0.1:{port}")).arg(compression);
    let ended = Process::start(&mut command).wait_within(Duration::from_secs(120));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// The rows with this value in a column.
fn rows_with(trial: &Trial, column: &str, word: &str) -> Vec<Value> {
    trial.rows("out.jsonl").into_iter().filter(|row| row[column] == word).collect()
}

/// Parses a string that has JSON.
fn inner(text: &Value) -> Value {
    serde_json::from_str(text.as_str().unwrap_or_else(|| panic!("{text} is no text"))).expect("JSON")
}

#[test]
fn data_of_exporters_becomes_rows() {
    let port = free_port();
    let trial = job(port, "token = \"secret\"");
    let running = start(&trial);
    for compression in ["gzip", "none"] {
        let before = trial.rows("out.jsonl").len();
        export(port, compression);
        wait_until("all of it came", || trial.rows("out.jsonl").len() >= before + 11);
        assert_eq!(trial.rows("out.jsonl").len(), before + 11, "4 records, 2 spans and 5 points");
    }
    let logs = rows_with(&trial, "signal", "logs");
    let first = &logs[0];
    let expected = json!({
        "time": "2023-11-14T22:13:20.123456Z", "observed_time": "2023-11-14T22:13:21.000000Z", "service": "shop", "severity": "warning",
        "severity_number": 14, "body": "plain", "name": null, "scope": "checkout", "scope_version": "1.2", "value": null
    });
    for (column, value) in expected.as_object().unwrap() {
        assert_eq!(&first[column], value, "{column} of {first}");
    }
    assert_eq!(
        inner(&first["attributes"]),
        json!({ "http.route": "/cart", "retries": 0, "ok": true, "list": ["a", "b"] })
    );
    assert_eq!(inner(&first["resource"])["host.cores"], 4);
    assert_eq!(inner(&logs[1]["body"]), json!({ "user": "å", "n": [1, 2.5, null] }));
    let output = ["name", "severity"].map(|column| logs[1][column].as_str().unwrap_or_default().to_owned());
    assert_eq!(output, ["cart.failed", "WARN"]);
    assert_eq!((&logs[2]["body"], &logs[3]["body"]), (&json!("7"), &Value::Null));

    let (order, pay) = (&rows_with(&trial, "name", "order")[0], &rows_with(&trial, "name", "pay")[0]);
    assert_eq!(
        (&pay["kind"], &pay["status"], &pay["status_message"]),
        (&json!("client"), &json!("error"), &json!("declined"))
    );
    assert_eq!((&order["kind"], &order["status"]), (&json!("server"), &json!("unset")));
    assert_eq!((&pay["parent_id"], &pay["trace_id"]), (&order["span_id"], &order["trace_id"]));
    assert_eq!(pay["trace_id"].as_str().unwrap().len(), 32);
    assert_eq!(inner(&pay["events"])[0]["attributes"], json!({ "code": 51 }));
    assert_eq!(inner(&pay["links"])[0]["span_id"], order["span_id"]);
    assert!(pay["end_time"].as_str() >= pay["time"].as_str(), "{pay}");

    let metric = |name| rows_with(&trial, "name", name).remove(0);
    let orders = metric("orders");
    assert_eq!(
        (&orders["kind"], &orders["temporality"], &orders["monotonic"]),
        (&json!("sum"), &json!("cumulative"), &json!(true))
    );
    assert_eq!((&orders["unit"], inner(&orders["attributes"])), (&json!("1"), json!({ "sku": "a" })));
    assert_eq!((metric("open")["value"].as_f64(), metric("load")["value"].as_f64()), (Some(-3.), Some(0.25)));
    assert_eq!((&metric("open")["monotonic"], &metric("load")["kind"]), (&json!(false), &json!("gauge")));
    let latency = metric("latency");
    let numbers = ["count", "sum", "min", "max"].map(|column| latency[column].as_f64().unwrap_or_default());
    assert_eq!((numbers, &latency["kind"]), ([2., 33., 3., 30.], &json!("histogram")));
    let counts = inner(&latency["buckets"])["counts"].as_array().unwrap().iter().filter_map(Value::as_u64).sum::<u64>();
    assert_eq!(counts, 2);
    let size = metric("size");
    assert_eq!((&size["kind"], &size["count"]), (&json!("exponential_histogram"), &json!(2)));
    assert!(inner(&size["buckets"])["positive"]["counts"].is_array(), "{size}");
    assert!(trial.rows("bad.jsonl").is_empty());
    running.stop();
}

#[test]
fn a_schema_reads_attributes_and_keeps_all_digits() {
    let port = free_port();
    let trial = job(
        port,
        "signals = \"metrics\"\nschema = { name = \"text\", value = \"int64\", sku = { type = \"text\", path = [\"attributes\", \"sku.id\"] \
         } }",
    );
    let running = start(&trial);
    let point =
        json!({ "asInt": "9007199254740993", "attributes": [{ "key": "sku.id", "value": { "stringValue": "a" } }] });
    let sum = json!({ "dataPoints": [point, { "asDouble": "NaN" }], "isMonotonic": true });
    let body =
        json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [{ "name": "orders", "sum": sum }, 7] }] }] });
    let reply = post(port, "/v1/metrics", JSON, body.to_string().as_bytes()).expect("an answer");
    assert_eq!((reply.status, reply.json()), (200, json!({})));
    wait_until("both came", || trial.rows("out.jsonl").len() == 1 && trial.rows("bad.jsonl").len() == 1);
    assert_eq!(trial.rows("out.jsonl")[0], json!({ "name": "orders", "value": 9_007_199_254_740_993_i64, "sku": "a" }));
    let reply = post(port, "/v1/logs", JSON, log("x").as_bytes()).expect("an answer");
    assert_eq!(reply.status, 404);
    assert!(reply.json()["message"].as_str().is_none(), "it is no call of this source");
    running.stop();
    let output = Process::start(&mut trial.command(&["validate", "job.toml"])).wait();
    assert!(output.stdout.contains("at least once, if exporters repeat"), "{}{}", output.stdout, output.stderr);
}

/// A body as gzip packs it.
fn gzip(body: &[u8]) -> Vec<u8> {
    let mut compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    compressed.write_all(body).unwrap();
    compressed.finish().unwrap()
}

#[test]
fn invalid_requests_are_rejected_with_a_reason() {
    let port = free_port();
    let trial = job(port, "request_bytes_max = \"64KiB\"\nbytes_per_batch_max = \"64KiB\"\nrows_per_batch_max = 100");
    let running = start(&trial);
    let compressed = format!("{JSON}Content-Encoding: gzip\r\n");
    let output = |path: &str, headers: &str, body: &[u8]| {
        let reply = post(port, path, headers, body).expect("an answer");
        (reply.status, reply.body)
    };
    let many = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": vec![json!({}); 200] }] }] }).to_string();
    let attribute = json!({ "key": "k", "value": { "stringValue": "x".repeat(10_000) } });
    let wide =
        json!({ "resource": { "attributes": [attribute] }, "scopeLogs": [{ "logRecords": vec![json!({}); 50] }] });
    let wide = json!({ "resourceLogs": [wide] }).to_string();
    // The same if each scope has its own row.
    let scopes = |scopes: &str, items: &str, item: Value| {
        let scope = json!({ "scope": { "name": "s" }, items: [item] });
        json!({ "resource": { "attributes": [attribute] }, scopes: vec![scope; 50] })
    };
    let points = json!({ "gauge": { "dataPoints": [{}] } });
    let points = json!({ "resourceMetrics": [scopes("scopeMetrics", "metrics", points)] }).to_string();
    let spans = json!({ "resourceSpans": [scopes("scopeSpans", "spans", json!({}))] }).to_string();
    // A list in a list in a list, without an end.
    let within = |number: u8, inner: &[u8]| {
        let mut length = vec![inner.len() as u8 | 0x80, (inner.len() >> 7) as u8];
        if inner.len() < 0x80 {
            length = vec![inner.len() as u8];
        }
        [vec![number << 3 | 2], length, inner.to_vec()].concat()
    };
    let deep = (0..100).fold(Vec::new(), |inner, _| within(5, &within(1, &inner)));
    let deep = within(1, &within(2, &within(2, &within(5, &deep))));
    let bomb = gzip(&vec![b' '; 10_000_000]);
    let record = |fields: &str| format!("{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{{{fields}}}]}}]}}]}}");
    let body = |value: &str| record(&format!("\"body\":{{{value}}}"));
    for (path, headers, body, status, message) in [
        ("/v1/logs", JSON, &b"{"[..], 400, "the body is not JSON"),
        ("/v1/logs", JSON, b"[]", 400, "not a JSON object"),
        ("/v1/logs", PROTOBUF, b"\x0a\xff", 400, "cut short"),
        ("/v1/logs", PROTOBUF, b"\x09abcdefgh", 400, "the message is invalid"),
        ("/v1/logs", "Content-Type: application/grpc\r\n", b"x", 415, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
        ("/v1/logs", &format!("{JSON}Content-Encoding: zstd\r\n"), b"x", 415, "gzip"),
        ("/v1/other", JSON, b"{}", 404, "/v1/logs, /v1/metrics, /v1/traces"),
        ("/v1/logs", &compressed, b"no gzip", 400, "cannot be decompressed"),
        ("/v1/logs", &compressed, &bomb, 413, "`request_bytes_max`"),
        ("/v1/logs", JSON, &vec![b' '; 70_000], 413, "`request_bytes_max`"),
        ("/v1/logs", JSON, many.as_bytes(), 413, "100"),
        ("/v1/logs", JSON, wide.as_bytes(), 413, "`bytes_per_batch_max`"),
        ("/v1/metrics", JSON, points.as_bytes(), 413, "`bytes_per_batch_max`"),
        ("/v1/traces", JSON, spans.as_bytes(), 413, "`bytes_per_batch_max`"),
        ("/v1/logs", PROTOBUF, &deep, 400, "nested deeper"),
        ("/v1/logs", JSON, body("\"intValue\":\"9223372036854775808\"").as_bytes(), 400, "`intValue`"),
        ("/v1/logs", JSON, body("\"intValue\":1.5").as_bytes(), 400, "`intValue`"),
        ("/v1/logs", JSON, body("\"intValue\":\"abc\"").as_bytes(), 400, "`intValue`"),
        ("/v1/logs", JSON, body("\"doubleValue\":\"abc\"").as_bytes(), 400, "`doubleValue`"),
        ("/v1/logs", JSON, body("\"boolValue\":\"yes\"").as_bytes(), 400, "`boolValue`"),
        ("/v1/metrics", JSON, json!({ "count": -1 }).to_string().as_bytes(), 400, "`count`"),
        ("/v1/logs", JSON, record("\"severityNumber\":\"SEVERITY_NUMBER_ERROR\"").as_bytes(), 400, "`severityNumber`"),
        ("/v1/logs", JSON, record("\"timeUnixNano\":\"-1\"").as_bytes(), 400, "`timeUnixNano`"),
        ("/v1/logs", JSON, record("\"timeUnixNano\":1.5447e18").as_bytes(), 400, "`timeUnixNano`"),
        ("/v1/logs", JSON, record("\"traceId\":5").as_bytes(), 400, "`traceId`"),
        ("/v1/logs", JSON, record("\"spanId\":\"7uGbfsPBsXQ=\"").as_bytes(), 400, "`spanId`"),
        ("/v1/logs", JSON, record("\"body\":\"text\"").as_bytes(), 400, "`body`"),
        ("/v1/logs", JSON, record("\"attributes\":{\"a\":1}").as_bytes(), 400, "`attributes`"),
    ] {
        let (code, text) = output(path, headers, body);
        assert_eq!(code, status, "{text}");
        assert!(text.contains(message), "{message}: {text}");
    }
    // An error is a Status, in the encoding of the request.
    let (_, text) = output("/v1/logs", JSON, b"[]");
    let status: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(status["code"], 3);
    let reply = post(port, "/v1/logs", PROTOBUF, b"\x0a\xff").expect("an answer");
    assert_eq!(reply.header("content-type"), Some("application/x-protobuf"));
    assert!(reply.body.starts_with("\u{8}\u{3}\u{12}"), "{:?}", reply.body);
    // An empty request is valid.
    assert_eq!(output("/v1/logs", JSON, b"{}"), (200, "{}".into()));
    // A byte order mark is not part of a body.
    assert_eq!(output("/v1/logs", JSON, b"\xef\xbb\xbf{}"), (200, "{}".into()));
    assert_eq!(output("/v1/logs", &compressed, &gzip(b"\xef\xbb\xbf{}")), (200, "{}".into()));
    assert_eq!(output("/v1/traces", PROTOBUF, b""), (200, String::new()));
    assert!(trial.rows("out.jsonl").is_empty());
    running.stop();
}

/// A count has 64 bits without a sign, and its column has one.
#[test]
fn a_count_out_of_range_is_a_rejected_row() {
    let port = free_port();
    let trial = job(port, "signals = \"metrics\"");
    let running = start(&trial);
    let counts = [0, i64::MAX as u64, 1 << 63, u64::MAX];
    for count in counts {
        let point = json!({ "dataPoints": [{ "count": count.to_string(), "bucketCounts": [count.to_string()] }] });
        let metric = json!({ "name": "json", "histogram": point });
        let body = json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [metric] }] }] }).to_string();
        // The same for a summary in Protobuf.
        let within = |number: u8, inner: &[u8]| [&[number << 3 | 2, inner.len() as u8], inner].concat();
        let point = [&[4 << 3 | 1], &count.to_le_bytes()[..]].concat();
        let metric = [within(1, b"protobuf"), within(11, &within(1, &point))].concat();
        let compressed = within(1, &within(2, &within(2, &metric)));
        for (headers, body) in [(JSON, body.as_bytes()), (PROTOBUF, &compressed)] {
            assert_eq!(post(port, "/v1/metrics", headers, body).expect("an answer").status, 200);
        }
    }
    wait_until("all came", || trial.rows("out.jsonl").len() == 4 && trial.rows("bad.jsonl").len() == 4);
    let found: Vec<Value> = trial.rows("out.jsonl").iter().map(|row| row["count"].clone()).collect();
    assert_eq!(found, [json!(0), json!(0), json!(i64::MAX), json!(i64::MAX)]);
    for row in trial.rows("bad.jsonl") {
        assert!(row["reason"].as_str().unwrap().contains("is out of range of int64"), "{row}");
    }
    running.stop();
}

/// A sender repeats requests until the response is 200, and the job is killed at each step: nothing is lost, and duplicates had
/// no response.
#[test]
fn confirmed_rows_survive_a_kill_of_the_job() {
    const STEPS: [&str; 5] =
        ["plan.durable:4", "commit.before:3", "commit.after:4", "store.append:3", "plan.durable:2"];
    let port = free_port();
    let trial = job(port, "signals = \"logs\"");
    let start = |fault: &str| {
        let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
        let mut running = Process::start(command.env("MILLSTREAM_TEST_FAULT", fault));
        running.wait_for_stderr("listening on http");
        running
    };
    let mut steps = STEPS.iter();
    let mut running = start(&format!("kill@{}", steps.next().expect("one")));
    let mut repeated = Vec::new();
    for number in 0..60 {
        let body = gzip(log(&format!("n{number}")).as_bytes());
        let mut requests = 0;
        loop {
            requests += 1;
            let compressed = format!("{JSON}Content-Encoding: gzip\r\n");
            if post(port, "/v1/logs", &compressed, &body).is_some_and(|reply| reply.status == 200) {
                break;
            }
            if running.has_ended() {
                running = start(&steps.next().map_or(String::new(), |step| format!("kill@{step}")));
            }
        }
        if requests > 1 {
            repeated.push(number);
        }
    }
    assert!(steps.next().is_none(), "it was killed at each step");
    wait_until("the last one is there", || !rows_with(&trial, "body", "n59").is_empty());
    for number in 0..60 {
        let there = rows_with(&trial, "body", &format!("n{number}")).len();
        assert!(there == 1 || (there > 1 && repeated.contains(&number)), "n{number} is there {there} times");
    }
    running.stop();
}

#[test]
fn mistakes_are_told() {
    let mut expected = Expected::of(file!(), "mistakes_are_told");
    for source in [
        "signals = [\"logs\", \"profiles\"]",
        "signals = []",
        "signals = [\"logs\", \"logs\"]",
        "format = \"json\"",
        "request_bytes_max = \"1GiB\"",
    ] {
        expected.add(source, &job(4318, source).rejected_message(&["validate", "job.toml"]));
    }
    expected.check_parts();
}
