//! Avro records in topics, whose schemas are in a registry: others (fastavro and the source `kafka`) read what the sink writes.

use millstream_tests::{
    Broker, Certificates, Ended, Expected, HttpRequest, HttpServer, Process, Trial, free_port, root, wait_until,
};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Reads a schema and records as hexadecimal digits, a line each, and writes what they hold.
const READER: &str = "
import fastavro, io, json, sys
lines = sys.stdin.read().splitlines()
schema = fastavro.parse_schema(json.loads(lines[0]))
for line in lines[1:]:
    stream = io.BytesIO(bytes.fromhex(line))
    row = fastavro.schemaless_reader(stream, schema, None)
    assert stream.read() == b'', 'bytes behind the record'
    print(json.dumps(row, default=lambda v: v.isoformat() if hasattr(v, 'isoformat') else v.hex() if isinstance(v, bytes) else str(v), sort_keys=True))
";

/// Subject and schema, in the order of ids from 1 on.
type Schemas = Arc<Mutex<Vec<(String, String)>>>;

/// A registry with the responses of Confluent's. It rejects a schema that changes the type of a field.
fn registry(port: u16, schemas: &Schemas) -> HttpServer {
    let schemas = schemas.clone();
    HttpServer::start(port, move |request, _| Some(answer(request, &mut schemas.lock().unwrap())))
}

fn answer(request: &HttpRequest, schemas: &mut Vec<(String, String)>) -> (u16, String, String) {
    let output = |status: u16, body: Value| (status, "Content-Type: application/json\r\n".to_owned(), body.to_string());
    assert_eq!(request.header("authorization"), Some("Basic dzpz"), "w:s");
    let path = request.line.split(' ').nth(1).unwrap().to_owned();
    let parts: Vec<&str> = path.split(['/', '?']).collect();
    let schema = serde_json::from_str::<Value>(&request.body).map(|body| body["schema"].as_str().unwrap().to_owned());
    let schema = schema.unwrap_or_default();
    let known = |subject: &str| {
        let found = schemas.iter().position(|(of, known)| of == subject && *known == schema);
        found.map(|at| json!({ "id": at + 1, "subject": subject, "version": 1 }))
    };
    match parts[1..] {
        ["schemas", "ids", id] => match schemas.get(id.parse::<usize>().unwrap() - 1) {
            Some((_, schema)) => output(200, json!({ "schema": schema })),
            None => output(404, json!({ "error_code": 40403, "message": "Schema not found" })),
        },
        ["subjects", subject] => match known(subject) {
            Some(known) => output(200, known),
            None => output(404, json!({ "error_code": 40401, "message": "Subject not found" })),
        },
        ["subjects", subject, "versions"] => match (known(subject), broken(subject, &schema, schemas)) {
            (Some(known), _) => output(200, known),
            (_, Some(why)) => output(409, json!({ "error_code": 409, "message": why })),
            _ => {
                schemas.push((subject.to_owned(), schema));
                output(200, json!({ "id": schemas.len() }))
            }
        },
        ["compatibility", "subjects", subject, "versions", "latest", "verbose=true"] => {
            let why: Vec<_> = broken(subject, &schema, schemas).into_iter().collect();
            output(200, json!({ "is_compatible": why.is_empty(), "messages": why }))
        }
        _ => panic!("{path}"),
    }
}

fn broken(subject: &str, schema: &str, schemas: &[(String, String)]) -> Option<String> {
    let fields = |schema: &str| serde_json::from_str::<Value>(schema).unwrap()["fields"].as_array().unwrap().clone();
    let before = fields(&schemas.iter().rfind(|(of, _)| of == subject)?.1);
    let changed =
        |field: &&Value| before.iter().any(|old| old["name"] == field["name"] && old["type"] != field["type"]);
    fields(schema).iter().find(changed).map(|field| format!("TYPE_MISMATCH at {}", field["name"]))
}

/// A job with virtual time that writes rows of these columns into a topic.
fn job(topic: &str, columns: &str, port: u16, more: &str, sink: &str) -> Trial {
    Trial::new(&format!(
        r#"clock = "manual"
[checkpoint]
dir = "checkpoint"
[sources.in]
kind = "queue"
path = "input.jsonl"
schema = {{ {columns} }}
[sinks.out]
from = "in"
kind = "kafka"
brokers = "{}"
topic = "{topic}"
format = "avro"
registry = {{ url = "http://127.0.0.1:{port}", user = "w", password = "s"{more} }}
{sink}
"#,
        Broker::shared().address()
    ))
}

fn run(trial: &Trial) -> Ended {
    Process::start(&mut trial.command(&["run", "job.toml"])).wait()
}

/// What fastavro reads in records of this schema.
fn read_by_others(schema: &str, records: &[Vec<u8>]) -> Vec<Value> {
    let made = Process::start(&mut Command::new(root().join("scripts/python.sh")));
    let python = made.wait_within(Duration::from_secs(300)).stdout;
    let mut command = Command::new(python.trim());
    let mut reader = command.args(["-c", READER]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let hex = |record: &Vec<u8>| record.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    let text = format!("{schema}\n{}", records.iter().map(hex).collect::<String>());
    reader.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let done = reader.wait_with_output().unwrap();
    assert!(done.status.success());
    String::from_utf8_lossy(&done.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn others_read_records_with_the_registered_schema() {
    let (broker, schemas) = (Broker::shared(), Schemas::default());
    broker.topic("avro-out", 1, &[]);
    let registry = registry(free_port(), &schemas);
    let columns = "k = \"text\", n = \"int64\", x = \"float64\", ok = \"bool\", at = \"timestamp\", raw = \"binary\", gone = \"bool\", \
                   day = \"date\", price = \"decimal(38,2)\"";
    let more = ", record = \"shop.Order\"";
    let trial = job("avro-out", columns, registry.port(), more, "key = \"k\"\ntombstones = \"gone\"");
    trial.write(
        "input.jsonl",
        "[[\"a\",-9223372036854775808,0.5,true,\"2026-01-02T03:04:05.000006Z\",\"é\",false,\"2026-11-20\",\"-1.28\"]]\n\
         [[null,null,null,null,null,null,null,\"1969-12-31\",123456789012345678901234567890.12],\
         [\"b\",1,null,null,null,null,true,null,null]]\n",
    );
    let ended = run(&trial);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let registered = schemas.lock().unwrap().clone();
    assert_eq!(registered.iter().map(|(subject, _)| subject.as_str()).collect::<Vec<_>>(), ["avro-out-value"]);
    let schema = serde_json::from_str::<Value>(&registered[0].1).unwrap();
    assert_eq!(schema["name"], "shop.Order");
    let records = broker.read("avro-out");
    assert_eq!(
        records.iter().map(|record| record.key.clone()).collect::<Vec<_>>(),
        [Some(b"a".to_vec()), None, Some(b"b".to_vec())]
    );
    assert_eq!(records[2].value, None, "a tombstone");
    let values: Vec<Vec<u8>> = records.iter().filter_map(|record| record.value.clone()).collect();
    assert!(values.iter().all(|value| value.starts_with(&[0, 0, 0, 0, 1])), "{values:?}");
    let bodies: Vec<Vec<u8>> = values.iter().map(|value| value[5..].to_vec()).collect();
    let expected = json!([
        { "k": "a", "n": i64::MIN, "x": 0.5, "ok": true, "at": "2026-01-02T03:04:05.000006+00:00", "raw": "c3a9",
          "day": "2026-11-20", "price": "-1.28" },
        { "k": null, "n": null, "x": null, "ok": null, "at": null, "raw": null,
          "day": "1969-12-31", "price": "123456789012345678901234567890.12" },
    ]);
    assert_eq!(Value::from(read_by_others(&registered[0].1, &bodies)), expected);

    // The next start finds it, and the source reads it with an additional column, which is not an error.
    let ended = run(&trial);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let wider = job("avro-out", "k = \"text\", n = \"int64\", later = \"text\"", registry.port(), more, "key = \"k\"");
    wider.write("input.jsonl", "[[\"c\",2,\"new\"]]\n");
    let ended = run(&wider);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(schemas.lock().unwrap().len(), 2);
    let reader = Trial::new(&format!(
        "[sources.in]\nkind = \"kafka\"\nbrokers = \"{}\"\ntopic = \"avro-out\"\nformat = \"avro\"\n\
         registry = {{ url = \"http://127.0.0.1:{}\", user = \"w\", password = \"s\" }}\n\
         schema = {{ n = \"int64\", later = \"text\", k = {{ type = \"text\", from = \"key\" }} }}\n[sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
        broker.address(),
        registry.port()
    ));
    let ended = Process::start(&mut reader.command(&["run", "job.toml", "--until-idle"])).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let last = reader.rows("out.jsonl").last().cloned();
    assert_eq!(last, Some(json!({ "n": 2, "later": "new", "k": "c" })));
    assert!(ended.stderr.contains("it has nothing for column `later`"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("nothing for column `k`"), "it is not in the value: {}", ended.stderr);
}

#[test]
fn a_schema_rejected_by_the_registry_fails_the_start_before_any_write() {
    let (broker, schemas) = (Broker::shared(), Schemas::default());
    broker.topic("avro-refused", 1, &[]);
    let registry = registry(free_port(), &schemas);
    let first = job("avro-refused", "n = \"int64\"", registry.port(), "", "");
    first.write("input.jsonl", "[[1]]\n");
    assert_eq!(run(&first).code, Some(0));
    let other = job("avro-refused", "n = \"text\"", registry.port(), "", "");
    other.write("input.jsonl", "[[\"x\"]]\n");
    for command in ["run", "validate"] {
        let ended = Process::start(&mut other.command(&[command, "job.toml"])).wait();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        let output = "rejected the schema of these rows as `avro-refused-value`: ";
        assert!(ended.stderr.contains(output) && ended.stderr.contains("TYPE_MISMATCH at \"n\""), "{}", ended.stderr);
        assert!(ended.stderr.contains("job.toml:14: sink `out`: the schema registry http://127"), "{}", ended.stderr);
    }
    assert_eq!(broker.read("avro-refused").len(), 1);
    // Another name has no schema before.
    other.change("user = \"w\"", "subject = \"of mine/x\", user = \"w\"");
    let ended = run(&other);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(registry.requests().iter().any(|request| request.line == "POST /subjects/of%20mine%2Fx/versions HTTP/1.1"));
}

#[test]
fn a_schema_may_be_required_and_an_unreachable_registry_is_waited_for() {
    let (broker, schemas) = (Broker::shared(), Schemas::default());
    broker.topic("avro-there", 1, &[]);
    let port = free_port();
    let trial = job("avro-there", "n = \"int64\"", port, ", register = false", "");
    trial.write("input.jsonl", "[[1]]\n");
    let mut waiting = Process::start(&mut trial.command(&["run", "job.toml"]));
    waiting.wait_for_stderr("connection refused; the job waits and retries until it works");
    let there = registry(port, &schemas);
    let ended = waiting.wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("does not have the schema of these rows as `avro-there-value`"), "{}", ended.stderr);
    assert!(ended.stderr.contains("\"name\":\"n\""), "{}", ended.stderr);
    assert!(!there.requests().iter().any(|request| request.line.contains("/versions")), "nothing is registered");
    let by_others = json!({ "type": "record", "name": "Row", "fields": [
        { "name": "n", "type": ["null", "long"], "default": null } ] });
    schemas.lock().unwrap().push(("avro-there-value".into(), by_others.to_string()));
    let ended = run(&trial);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    wait_until("the record is there", || broker.read("avro-there").len() == 1);
    // Unreachable for longer than the job waits.
    drop(there);
    trial.change("register = false", "register = false, wait = \"200ms\"");
    wait_until("nobody listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    let ended = run(&trial);
    assert_ne!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("the job has waited for 200ms (`wait`)"), "{}", ended.stderr);
}

#[test]
fn an_untrusted_registry_certificate_is_reported_with_a_fix() {
    Broker::shared().topic("avro-tls", 1, &[]);
    let made = Certificates::make();
    let port = free_port();
    let _registry = Process::start(&mut Certificates::server(port, &made.of("server", "DNS:elsewhere", 2), &[]));
    wait_until("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let trial = job("avro-tls", "n = \"int64\"", port, "", "");
    trial.change(&format!("http://127.0.0.1:{port}"), &format!("https://127.0.0.1:{port}"));
    trial.write("input.jsonl", "[[1]]\n");
    let refused = |output: &str| {
        let ended = run(&trial);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("TLS: ") && ended.stderr.contains(output), "{}", ended.stderr);
    };
    refused("was issued by a CA that this job does not trust; name a file");
    trial.change("user = \"w\"", &format!("ca = \"{}\", user = \"w\"", made.ca().display()));
    refused("is not for the name `127.0.0.1` but for");
}

#[test]
fn a_schema_of_a_registry_may_refer_to_others() {
    let broker = Broker::shared();
    broker.topic("avro-references", 1, &[]);
    let address = json!({ "type": "record", "name": "a.Address", "fields": [
        { "name": "city", "type": "a.City" }, { "name": "zip", "type": "int" } ] });
    let city = json!({ "type": "record", "name": "a.City", "fields": [{ "name": "name", "type": "string" }] });
    let order = json!({ "type": "record", "name": "b.Order", "fields": [
        { "name": "home", "type": "a.Address" }, { "name": "birth", "type": ["null", "a.City"] } ] });
    let to = |name: &str, subject: &str| json!({ "name": name, "subject": subject, "version": 3 });
    let references = json!([to("a.Address", "of address"), to("a.City", "city")]);
    let answers = [
        ("/schemas/ids/7", json!({ "schema": order.to_string(), "references": references })),
        (
            "/subjects/of%20address/versions/3",
            json!({ "schema": address.to_string(), "references": [to("a.City", "city")] }),
        ),
        ("/subjects/city/versions/3", json!({ "schema": city.to_string() })),
    ];
    let registry = HttpServer::start(free_port(), move |request, _| {
        let path = request.line.split(' ').nth(1).unwrap();
        let body = answers.iter().find(|(of, _)| *of == path).map(|(_, body)| body.to_string());
        Some(body.map_or((404, String::new(), "{}".into()), |body| (200, String::new(), body)))
    });
    // The city "Rome", the zip code -3, and no city of birth.
    let value = [0, 0, 0, 0, 7, 8, b'R', b'o', b'm', b'e', 5, 0];
    let record = millstream_tests::kafka::Record { value: Some(value.to_vec()), ..Default::default() };
    broker.produce("avro-references", &[record]);
    let trial = Trial::new(&format!(
        "[sources.in]\nkind = \"kafka\"\nbrokers = \"{}\"\ntopic = \"avro-references\"\nformat = \"avro\"\n\
         registry = \"http://127.0.0.1:{}\"\n\
         schema = {{ city = {{ type = \"text\", path = \"home.city.name\" }}, zip = {{ type = \"int64\", path = \"home.zip\" }}, \
         birth = \"text\" }}\n[sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
        broker.address(),
        registry.port()
    ));
    trial.run_ok(&["--until-idle"]);
    assert_eq!(trial.rows("out.jsonl"), [json!({ "city": "Rome", "zip": -3, "birth": null })]);
    assert_eq!(registry.requests().len(), 3, "each is asked for once");
}

#[test]
fn mistakes_of_a_sink_are_told_with_what_to_write() {
    let mut expected = Expected::of(file!(), "mistakes_of_a_sink_are_told_with_what_to_write");
    for sink in [
        "format = \"avro\"",
        "registry = \"http://x\"",
        "format = \"avro\"\nregistry = \"there\"",
        "format = \"avro\"\nregistry = { url = \"http://x\", record = \"1x\" }",
        "format = \"avro\"\nregistry = { url = \"http://x\", subject = \"\" }",
        "format = \"avro\"\nregistry = { url = \"http://x\", name = \"\" }",
    ] {
        let trial = Trial::new(&format!(
            "[sources.in]\nkind = \"queue\"\npath = \"input.jsonl\"\nschema = {{ n = \"int64\" }}\n\
             [sinks.out]\nfrom = \"in\"\nkind = \"kafka\"\nbrokers = \"127.0.0.1:9\"\ntopic = \"t\"\n{sink}\n"
        ));
        expected.add(sink, &trial.rejected_message(&["validate", "job.toml"]));
    }
    expected.check_parts();
}
