//! Records with a schema of their own: Avro in files and by a registry, Protobuf by a descriptor. Their writers are
//! others' implementations (`formats/oracle.py`).
//!
//! `scripts/python.sh` prints a Python with which `oracle.py PROGRAM DIR SEED ROUNDS WHAT` tries others.

use millstream_tests::kafka::Record;
use millstream_tests::{
    Broker, Expected, HttpClient, LyingRegistry, LyingResponse, Process, Trial, free_port, millstream, passing,
    queue_sink, root, shown_block, wait_until,
};
use serde_json::{Value, json};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The time to create a Python environment includes that of downloading its packages.
const PYTHON_WITHIN: Duration = Duration::from_secs(300);

fn agrees(what: &str, rounds: u32) {
    let python = Process::start(&mut Command::new(root().join("scripts/python.sh"))).wait_within(PYTHON_WITHIN);
    let trial = Trial::new("");
    let mut command = Command::new(python.stdout.trim());
    command.arg(root().join("tests/tests/connectors/formats/oracle.py")).arg(millstream()).arg(trial.dir());
    let ended = command.args(["1", &rounds.to_string(), what]).output().unwrap();
    let printed = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{printed}\n{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn random_files_of_avro_are_read_as_fastavro_wrote_them() {
    agrees("avro-file", 25);
}

#[test]
fn random_records_of_several_schemas_of_a_registry_are_read_as_fastavro_wrote_them() {
    agrees("avro-registry", 15);
}

#[test]
fn random_messages_are_read_as_googles_protobuf_wrote_them() {
    agrees("protobuf", 25);
}

#[test]
fn random_files_of_parquet_are_read_as_pyarrow_wrote_them() {
    agrees("parquet", 25);
}

/// An integer in Avro's encoding.
fn long(value: i64) -> Vec<u8> {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    let mut bytes = Vec::new();
    while left >= 0x80 {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [long(bytes.len() as i64), bytes.to_vec()].concat()
}

const SCHEMA: &str =
    r#"{"type":"record","name":"R","fields":[{"name":"n","type":"long"},{"name":"s","type":"string"}]}"#;

/// A file of the records `first` to `end`, with this many per block.
pub fn container(first: i64, end: i64, in_block: usize) -> Vec<u8> {
    let mark = [7_u8; 16];
    let mut file = [b"Obj\x01".to_vec(), long(1), sized(b"avro.schema"), sized(SCHEMA.as_bytes()), long(0)].concat();
    file.extend_from_slice(&mark);
    for numbers in (first..end).collect::<Vec<_>>().chunks(in_block) {
        let records: Vec<u8> =
            numbers.iter().flat_map(|n| [long(*n), sized(format!("row {n}").as_bytes())].concat()).collect();
        file.extend_from_slice(&[long(numbers.len() as i64), sized(&records), mark.to_vec()].concat());
    }
    file
}

fn numbers(trial: &Trial) -> Vec<i64> {
    trial.rows("out.jsonl").iter().map(|row| row["n"].as_i64().unwrap()).collect()
}

#[test]
fn files_of_avro_are_read_exactly_once_though_the_job_is_killed() {
    let trial = passing(
        "batch = \"0s\"\n[checkpoint]\ndir = \"checkpoints\"\nevery = 7",
        "kind = \"directory\"\npath = \"files\"\nsettle = \"0s\"\nrows_per_batch_max = 700\nformat = \"avro\"\n\
         schema = { n = \"int64\", s = \"text\" }",
        &queue_sink("refused", "in.rejected", "refused"),
    );
    // Blocks with several batches, and batches with several blocks; one file is additionally compressed.
    trial.write("files/1.avro", container(0, 20_000, 5_000));
    trial.write("files/2.avro", container(20_000, 40_000, 90));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&container(40_000, 60_000, 1_000)).unwrap();
    trial.write("files/3.avro.gz", gzip.finish().unwrap());
    let rows = || trial.text("out.jsonl").matches("\"n\"").count();
    for part in [3_000, 11_000, 21_000, 30_000, 45_000, 55_000] {
        let process = trial.start(&[]);
        wait_until("some more rows", || rows() >= part);
        process.kill();
    }
    trial.run_ok(&["--until-idle"]);
    assert!(numbers(&trial) == (0..60_000).collect::<Vec<_>>(), "each once, in their order");
    trial.run_ok(&["--until-idle"]);
    assert_eq!((rows(), trial.rows("refused.jsonl").len()), (60_000, 0));
}

#[test]
fn damaged_parts_of_a_file_are_rejected_with_a_reason_and_the_rest_is_read() {
    let trial = passing(
        "",
        "kind = \"directory\"\npath = \"files\"\nsettle = \"0s\"\nformat = \"avro\"\nschema = { n = \"int64\" }",
        &queue_sink("refused", "in.rejected", "refused"),
    );
    let mut broken = container(0, 30, 10);
    // The length of the second block.
    let second = container(0, 10, 10).len() + 1;
    broken[second] ^= 0xff;
    trial.write("files/1.avro", broken);
    trial.write("files/2.avro", b"{\"n\":1}\n");
    let good = container(100, 110, 10);
    trial.write("files/3.avro", &good[..good.len() - 3]);
    trial.run_ok(&["--until-idle"]);
    let reasons: Vec<String> =
        trial.rows("refused.jsonl").iter().map(|row| row["reason"].as_str().unwrap().to_owned()).collect();
    for (name, why) in [("2.avro", "does not begin as Avro files do"), ("3.avro", "the file ends within a block")] {
        let named = |reason: &&String| reason.contains(why) && reason.contains(name);
        assert_eq!(reasons.iter().filter(named).count(), 1, "{reasons:?}");
    }
    let found = numbers(&trial);
    assert!(found.len() >= 10 && found.len() < 30, "{found:?}: {reasons:?}");
}

/// Sends frames to its clients when the test requests it.
struct Sender {
    port: u16,
    listener: TcpListener,
    stream: Option<TcpStream>,
}

impl Sender {
    fn new() -> Sender {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Sender { port: listener.local_addr().unwrap().port(), listener, stream: None }
    }

    fn send(&mut self, id: u32, n: i64, more: &[u8]) {
        let stream = self.stream.get_or_insert_with(|| self.listener.accept().unwrap().0);
        let record = [&[0][..], &id.to_be_bytes(), &long(n), more].concat();
        stream.write_all(&[&(record.len() as u32).to_be_bytes()[..], &record].concat()).unwrap();
    }
}

fn answer(schema: &str) -> LyingResponse {
    LyingResponse::new(200, "application/json", json!({ "schema": schema }).to_string().as_bytes())
}

#[test]
fn a_registry_may_be_unreachable_and_schemas_may_change_while_the_job_runs() {
    let one = r#"{"type":"record","name":"R","fields":[{"name":"n","type":"long"}]}"#;
    let two = r#"{"type":"record","name":"R","fields":[{"name":"n","type":"int"},{"name":"s","type":["null","string"],"default":null}]}"#;
    let three = r#"{"type":"record","name":"R","fields":[{"name":"other","type":"long"}]}"#;
    let failures = Arc::new(AtomicUsize::new(3));
    let left = failures.clone();
    let registry = LyingRegistry::start(move |requested| {
        if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
            return LyingResponse::new(503, "text/plain", b"later");
        }
        assert!(
            requested.head.to_lowercase().contains("authorization: basic cmVhZGVyOnNlY3JldA==".to_lowercase().as_str())
        );
        match requested.path.as_str() {
            "/schemas/ids/1" => answer(one),
            "/schemas/ids/2" => answer(two),
            "/schemas/ids/3" => answer(three),
            _ => LyingResponse::missing(),
        }
    });
    let mut sender = Sender::new();
    let source = format!(
        "kind = \"raw-socket\"\naddress = \"127.0.0.1:{}\"\nformat = \"avro\"\nschema = {{ n = \"int64\", s = \"text\" }}\n\
         registry = {{ url = \"http://{}\", user = \"reader\", password = \"secret\" }}",
        sender.port,
        registry.host()
    );
    let trial = passing(
        "batch = \"0s\"\n[checkpoint]\ndir = \"checkpoints\"",
        &source,
        &queue_sink("refused", "in.rejected", "refused"),
    );
    let mut job = trial.start(&[]);
    sender.send(1, 1, b"");
    job.wait_for_stderr("cannot get schema 1 from http://");
    job.wait_for_stderr("it replied 503");
    job.wait_for_stderr("is reachable again");
    sender.send(2, 2, &[2, 2, b'x']);
    sender.send(9, 3, b"");
    sender.send(3, 4, b"");
    sender.send(1, 5, b"");
    wait_until("all rows", || trial.rows("out.jsonl").len() == 4 && trial.rows("refused.jsonl").len() == 1);
    let expected = json!([{"n": 1, "s": null}, {"n": 2, "s": "x"}, {"n": null, "s": null}, {"n": 5, "s": null}]);
    assert_eq!(Value::from(trial.rows("out.jsonl")), expected);
    assert_eq!(trial.rows("refused.jsonl")[0]["reason"], "the registry does not have schema 9");
    job.wait_for_stderr("schema 3 of http://");
    assert!(job.stderr().contains("it has nothing for column `n`, which is null"), "{}", job.stderr());
    assert!(!job.stderr().contains("secret"), "{}", job.stderr());
    let requested = registry.requests();
    let times = |id: u32| requested.iter().filter(|path| path.ends_with(&format!("/{id}"))).count();
    assert_eq!((times(2), times(3)), (1, 1), "{requested:?}");
    // Data in the plan needs no registry when it is replayed.
    job.kill();
    drop(registry);
    let mut job = trial.start(&[]);
    job.wait_for_stderr("connected to 127.0.0.1");
    assert_eq!(Value::from(trial.rows("out.jsonl")), expected);
}

#[test]
fn a_registry_that_rejects_the_login_ends_the_job_after_its_timeout() {
    let registry = LyingRegistry::start(|_| LyingResponse::new(401, "application/json", b"{}"));
    let mut sender = Sender::new();
    let source = format!(
        "kind = \"raw-socket\"\naddress = \"127.0.0.1:{}\"\nformat = \"avro\"\nschema = {{ n = \"int64\" }}\n\
         registry = {{ url = \"http://{}\", token = \"wrong\", wait = \"300ms\" }}",
        sender.port,
        registry.host()
    );
    let trial = passing("batch = \"0s\"", &source, "");
    let job = trial.start(&[]);
    sender.send(1, 1, b"");
    let ended = job.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("authentication failed; check `user` and `password`, or `token`"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("did not respond for 300ms"), "{}", ended.stderr);
}

#[test]
fn mistakes_of_a_job_are_told_with_what_to_write() {
    let frames = "kind = \"raw-socket\"\naddress = \"127.0.0.1:9\"\nschema = { n = \"int64\" }\nformat = ";
    let files = "kind = \"file\"\npath = \"in\"\nschema = { n = \"int64\" }\nformat = ";
    let mut expected = Expected::of(file!(), "mistakes_of_a_job_are_told_with_what_to_write");
    for source in [
        format!("{frames}\"avro\""),
        format!("{frames}\"avro\"\nregistry = \"there\""),
        format!("{frames}\"avro\"\nschema_file = \"no.avsc\""),
        format!("{frames}\"avro\"\nschema_file = \"bad\""),
        format!("{frames}\"json\"\nregistry = \"http://x\""),
        format!("{frames}\"avro\"\nregistry = {{ url = \"http://x\", password = \"y\" }}"),
        format!("{files}\"avro\"\nregistry = \"http://x\""),
        format!("{files}\"avro\"\nfollow = true"),
        format!("{files}\"protobuf\""),
        format!("{files}\"protobuf\"\ndescriptor = \"bad\"\nmessage = \"a.B\""),
        "kind = \"socket\"\naddress = \"127.0.0.1:9\"\nformat = \"avro\"\nschema = { n = \"int64\" }".into(),
        "kind = \"file\"\npath = \"in\"\nformat = \"avro\"".into(),
    ] {
        let trial = passing("", &source, "");
        trial.write("bad", "{\"never");
        trial.write("in", "");
        expected.add(&source, &trial.rejected_message(&["validate", "job.toml"]));
    }
    expected.check_parts();
}

/// A field of a message of Protobuf that has its length in front.
fn part(number: u8, content: &[u8]) -> Vec<u8> {
    let length = match content.len() {
        short @ 0..128 => vec![short as u8],
        long => vec![long as u8 | 0x80, u8::try_from(long >> 7).unwrap()],
    };
    [&[number << 3 | 2][..], &length, content].concat()
}

/// `message Payment { int64 id = 1; State state = 2; google.protobuf.Timestamp at = 3; }`, as `protoc` writes it.
fn payments() -> Vec<u8> {
    let field = |name: &str, number: u8, kind: u8, of: &str| {
        let of = if of.is_empty() { Vec::new() } else { part(6, of.as_bytes()) };
        part(2, &[part(1, name.as_bytes()), vec![3 << 3, number, 4 << 3, 1, 5 << 3, kind], of].concat())
    };
    let message = |name: &str, fields: Vec<u8>| part(4, &[part(1, name.as_bytes()), fields].concat());
    let timestamp = message("Timestamp", [field("seconds", 1, 3, ""), field("nanos", 2, 5, "")].concat());
    let state = part(5, &[part(1, b"State"), part(2, &[part(1, b"OPEN"), vec![2 << 3, 0]].concat())].concat());
    let fields =
        [field("id", 1, 3, ""), field("state", 2, 14, ".shop.State"), field("at", 3, 11, ".google.protobuf.Timestamp")];
    let google = [part(2, b"google.protobuf"), timestamp, part(12, b"proto3")].concat();
    let shop = [part(2, b"shop"), message("Payment", fields.concat()), state, part(12, b"proto3")].concat();
    [part(1, &google), part(1, &shop)].concat()
}

#[test]
fn the_sources_of_the_page_are_valid() {
    let page = shown_block("toml", "[sources.archive]");
    let sink = "[sinks.out]\nfrom = \"payments\"\nkind = \"queue\"\npath = \"out.jsonl\"\n";
    let trial = Trial::new(&format!("{}\n{sink}", page.text));
    trial.write("orders/1.avro", container(0, 3, 2));
    trial.write("payments.pb", payments());
    // id 7, state OPEN, one second after the start of 1970.
    trial.write("payments.bin", [6_u8, 1 << 3, 7, 3 << 3 | 2, 2, 1 << 3, 1]);
    let shown = trial.run_command_ok(&["validate", "job.toml"]);
    assert!(shown.contains("archive") && shown.contains("city"), "{shown}");
    let payments = page.text.split("\n\n").find(|text| text.contains("[sources.payments]")).unwrap();
    trial.write("job.toml", format!("{payments}\n{sink}"));
    trial.run_ok(&[]);
    let at = "1970-01-01T00:00:01.000000Z";
    assert_eq!(Value::from(trial.rows("out.jsonl")), json!([{ "id": 7, "state": "OPEN", "at": at }]));
    trial.change("id = \"int64\"", "id = \"int64\", nothing = \"text\"");
    let refused = trial.rejected_message(&["validate", "job.toml"]);
    assert!(refused.contains("message `shop.Payment` has no field `nothing`"), "{refused}");
}

#[test]
fn the_sink_of_the_page_writes_what_its_source_reads() {
    let (broker, topic) = (Broker::shared(), "payments-of-the-page");
    broker.topic(topic, 1, &[]);
    let page = shown_block("toml", "[sinks.payments]");
    let sink = page
        .text
        .replace("127.0.0.1:9092", &broker.address())
        .replace("topic = \"payments\"", &format!("topic = \"{topic}\""));
    let columns = "schema = { id = \"int64\", state = \"text\", at = \"timestamp\" }";
    let trial = Trial::new(&format!(
        "clock = \"manual\"\n[sources.payments]\nkind = \"queue\"\npath = \"input.jsonl\"\n{columns}\n{sink}"
    ));
    trial.write("payments.pb", payments());
    trial.write("input.jsonl", "[[7, \"OPEN\", \"1970-01-01T00:00:01.000000Z\"], [0, null, null]]\n");
    trial.run_ok(&[]);
    let values: Vec<_> = broker.read(topic).into_iter().map(|record| record.value.unwrap()).collect();
    assert_eq!(values, [vec![1 << 3, 7, 3 << 3 | 2, 2, 1 << 3, 1], vec![]], "an enum's first value is a zero");
}

#[test]
fn the_body_of_a_request_is_a_record() {
    let port = free_port();
    let source = |format: &str| format!("kind = \"http\"\nlisten = \"127.0.0.1:{port}\"\nformat = {format}");
    let message = "\"protobuf\"\ndescriptor = \"payments.pb\"\nmessage = \"shop.Payment\"\nschema = { id = \"int64\" }";
    let record = "\"avro\"\nschema_file = \"r.avsc\"\nschema = { n = \"int64\", s = \"text\" }";
    for (format, body, row) in [
        (message, vec![1 << 3, 7], json!({ "id": 7 })),
        (record, [long(-5), sized(b"x")].concat(), json!({ "n": -5, "s": "x" })),
    ] {
        let bad = queue_sink("refused", "in.rejected", "refused");
        let trial = passing("batch = \"0s\"\n[checkpoint]\ndir = \"checkpoints\"", &source(format), &bad);
        trial.write("payments.pb", payments());
        trial.write("r.avsc", SCHEMA);
        let mut job = trial.start(&[]);
        job.wait_for_stderr("listening on http");
        let mut client = HttpClient::connect(port).unwrap();
        assert_eq!(client.post(&[], &body).unwrap().status, 200);
        client.post(&[], &body[..body.len() - 1]).unwrap();
        job.wait_until("both", |_| trial.rows("out.jsonl").len() == 1 && trial.rows("refused.jsonl").len() == 1);
        assert_eq!(trial.rows("out.jsonl"), [row]);
        job.stop();
    }
    let without = passing("", &source("\"avro\"\nschema = { n = \"int64\" }"), "");
    let printed = without.rejected_message(&["validate", "job.toml"]);
    assert!(printed.contains("write schema_file = \"order.avsc\""), "{printed}");
}

#[test]
fn records_of_a_topic_use_registry_schemas_also_when_replayed() {
    let one = r#"{"type":"record","name":"R","fields":[{"name":"n","type":"long"}]}"#;
    let two = r#"{"type":"record","name":"R","fields":[{"name":"n","type":"int"},{"name":"s","type":["null","string"],"default":null}]}"#;
    let known = Arc::new(AtomicUsize::new(0));
    let later = known.clone();
    let registry = LyingRegistry::start(move |requested| match requested.path.as_str() {
        "/schemas/ids/1" => answer(one),
        "/schemas/ids/2" => answer(two),
        "/schemas/ids/9" if later.load(Ordering::Relaxed) > 0 => answer(one),
        _ => LyingResponse::missing(),
    });
    let (broker, topic) = (Broker::shared(), "avro-by-registry");
    broker.topic(topic, 1, &[]);
    let record = |id: u32, n: i64, more: &[u8]| Record {
        partition: 0,
        value: Some([&[0][..], &id.to_be_bytes(), &long(n), more].concat()),
        ..Record::default()
    };
    broker.produce(topic, &[record(1, 1, b""), record(2, 2, &[2, 2, b'x']), record(9, 3, b"")]);
    let source = format!(
        "kind = \"kafka\"\nbrokers = \"{}\"\ntopic = \"{topic}\"\nformat = \"avro\"\nregistry = \"http://{}\"\n\
         schema = {{ n = \"int64\", s = \"text\" }}",
        broker.address(),
        registry.host()
    );
    // Without a checkpoint in between, everything that is planned is replayed.
    let trial = passing(
        "batch = \"0s\"\n[checkpoint]\ndir = \"checkpoints\"\nevery = 1000",
        &source,
        &queue_sink("refused", "in.rejected", "refused"),
    );
    let job = trial.start(&[]);
    let rows = || (trial.rows("out.jsonl").len(), trial.rows("refused.jsonl").len());
    wait_until("the first rows", || rows() == (2, 1));
    job.kill();
    known.store(1, Ordering::Relaxed);
    broker.produce(topic, &[record(2, 4, &[0])]);
    let job = trial.start(&[]);
    wait_until("the row that came later", || rows() == (3, 1));
    let expected = json!([{"n": 1, "s": null}, {"n": 2, "s": "x"}, {"n": 4, "s": null}]);
    assert_eq!(Value::from(trial.rows("out.jsonl")), expected);
    job.kill();
    // The replayed batch has the same bytes as the sink.
    let reported = trial.run_command_ok(&["replay", "job.toml", "--batch", "1"]);
    assert!(reported.contains("the same"), "{reported}");
}
