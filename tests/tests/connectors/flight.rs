//! Source and sink `flight` with a real server, whose streams are read and written by pyarrow, and with hostile ones.

use millstream_tests::{Certificates, Flight, Process, Random, Trial, free_port, is_alive, kill, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

const COLUMNS: &str = "schema = { n = \"int64\", text = \"text\" }";

/// A job that reads, keeps checkpoints, and puts rows into a queue.
fn reader(address: &str, more: &str) -> Trial {
    let url = if address.contains("://") { address.to_owned() } else { format!("grpc://{address}") };
    Trial::new(&format!(
        r#"name = "reader"
batch = "20ms"
[checkpoint]
dir = "checkpoint"
every = 3
[sources.in]
kind = "flight"
url = "{url}"
{more}
[sinks.out]
from = "in"
kind = "queue"
path = "out.jsonl"
[sinks.bad]
from = "in.rejected"
kind = "queue"
path = "bad.jsonl"
"#
    ))
}

fn numbers(trial: &Trial) -> Vec<u64> {
    trial.rows("out.jsonl").iter().map(|row| row["n"].as_u64().unwrap()).collect()
}

/// Checks that each row is there once, and those of a part are in order.
#[track_caller]
fn check_complete(trial: &Trial, rows: u64, parts: u64) {
    let found = numbers(trial);
    for part in 0..parts {
        let of_part: Vec<u64> = found.iter().copied().filter(|n| n / rows == part).collect();
        assert_eq!(of_part, (part * rows..(part + 1) * rows).collect::<Vec<_>>(), "part {part}");
    }
    assert_eq!(found.len() as u64, rows * parts);
}

/// Runs a job that ends on its own with this exit code; returns its output.
#[track_caller]
fn fails(trial: &Trial, code: i32) -> String {
    let ended = Process::start(&mut trial.command(&["run", "job.toml", "--unsupervised"])).wait();
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    ended.stderr
}

/// Kills all processes of a job.
fn kill_all(running: Process) {
    let children = running.children();
    running.kill();
    wait_until("its workers are gone", || children.iter().all(|child| !is_alive(*child)));
}

#[test]
fn columns_of_every_kind_are_read() {
    for compression in [Value::Null, json!("lz4"), json!("zstd")] {
        let server = Flight::start(&json!({ "rows": 50, "parts": 1, "compression": compression }));
        let trial = reader(
            &server.address(),
            r#"path = ["a", "numbers"]
schema = { n = "int64", text = "text", small = "int64", half = "float64", at = "timestamp", day = "date", word = "text", tags = "list<text>", raw = "binary", name = { type = "text", path = "who.name" }, id = { type = "int64", path = "who.id" }, view = "text" }"#,
        );
        assert!(
            trial.run_command_ok(&["validate", "job.toml"]).contains("returns the same rows in the same order again")
        );
        trial.run_ok(&[]);
        check_complete(&trial, 50, 1);
        assert_eq!(
            trial.rows("out.jsonl")[8],
            json!({ "n": 8, "text": "row 8", "small": 8, "half": 4.0, "at": "1970-01-01T00:00:08.000000Z", "day": "1970-01-09",
                "word": "even", "tags": ["t8", null], "raw": "08", "name": "w1", "id": 8, "view": "a view of 8" })
        );
        assert_eq!(trial.rows("out.jsonl")[5]["name"], Value::Null);
        assert!(trial.rows("bad.jsonl").is_empty());
    }
}

/// Types that the job's columns store unchanged, so that rows stay columns from end to end.
#[test]
fn columns_that_stay_columns_are_the_same() {
    let server = Flight::start(&json!({ "rows": 1_200, "parts": 1, "rows_of_batch": 500 }));
    let columns = r#"schema = { n = "int64", small = "int64", half = "float64", at = "timestamp", day = "date", word = "text", raw = "binary", view = "text", called = { type = "text", path = "text" } }"#;
    // Rows that are read with a column that stays JSON text, and with a limit below which they need not be checked.
    let as_lines = columns.replace("schema = { ", "schema = { tags = \"text\", ");
    let mut found = Vec::new();
    for more in [columns.to_owned(), as_lines, format!("record_bytes_max = 400\n{columns}")] {
        let trial = reader(&server.address(), &format!("path = \"numbers\"\n{more}"));
        trial.run_ok(&["--workers", "2"]);
        check_complete(&trial, 1_200, 1);
        assert!(trial.rows("bad.jsonl").is_empty());
        let mut rows = trial.rows("out.jsonl");
        rows.iter_mut().for_each(|row| drop(row.as_object_mut().unwrap().remove("tags")));
        found.push(rows);
    }
    assert_eq!(
        found[0][1_101],
        json!({ "n": 1_101, "small": 101, "half": 550.5, "at": "1970-01-01T00:18:21.000000Z", "day": "1970-04-12", "word": "odd",
            "raw": "4d", "view": "a view of 1101", "called": "row 1101" })
    );
    assert!(found[0] == found[1] && found[0] == found[2]);
}

/// Whether its rows stay columns or not.
#[test]
fn a_time_out_of_range_rejects_its_row() {
    let server = Flight::start(&json!({ "rows": 1_200, "parts": 1, "rows_of_batch": 500, "far": true }));
    for more in ["", ", tags = \"text\""] {
        let schema =
            format!("schema = {{ n = \"int64\", at = {{ type = \"timestamp\", zone = \"Europe/Berlin\" }}{more} }}");
        let trial = reader(&server.address(), &format!("path = \"numbers\"\nrows_per_batch_max = 150\n{schema}"));
        let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
        let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", "kill@commit.after:3")).wait();
        assert_eq!(ended.code, None, "{}", ended.stderr);
        trial.run_ok(&["--workers", "2"]);
        assert_eq!(numbers(&trial), (0..1_200).filter(|n| n % 7 > 0).collect::<Vec<_>>(), "{more}");
        let rows = trial.rows("out.jsonl");
        assert_eq!(rows[3]["at"], "1969-12-31T23:00:04.000000Z", "{}", rows[3]);
        let bad = trial.rows("bad.jsonl");
        assert_eq!(bad.len(), 1_200_usize.div_ceil(7), "{more}");
        let reason = "column `at`: 9300000000000000 is out of range of timestamp";
        let is_right = |row: &Value| row["reason"] == reason && row["value"].as_str().unwrap().ends_with('}');
        assert!(bad.iter().all(is_right), "{}", bad[0]);
    }
}

/// The length of a row is that of its JSON line.
#[test]
fn rows_that_are_too_long_are_rejected() {
    let server = Flight::start(&json!({ "rows": 1_100, "parts": 1, "rows_of_batch": 300 }));
    let trial = reader(&server.address(), &format!("path = \"numbers\"\nrecord_bytes_max = 27\n{COLUMNS}"));
    trial.run_ok(&[]);
    check_complete(&trial, 1_000, 1);
    let bad = trial.rows("bad.jsonl");
    assert_eq!(bad.len(), 100);
    assert_eq!(bad[7]["value"], "{\"text\":\"row 1007\",\"n\":1007}");
    assert_eq!(bad[7]["reason"], "28 bytes, record_bytes_max is 27");
}

/// Batches that end within a server's record batches, whose rows are kept as columns and come again after a kill.
#[test]
fn batches_end_within_record_batches() {
    let server = Flight::start(&json!({ "rows": 250, "parts": 2, "rows_of_batch": 100 }));
    for step in ["plan.durable:5", "commit.before:4", "commit.after:7"] {
        let trial = reader(&server.address(), &format!("path = \"numbers\"\nrows_per_batch_max = 7\n{COLUMNS}"));
        let ended = trial.killed(step, &["--workers", "2"]);
        assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
        trial.run_ok(&["--workers", "2"]);
        check_complete(&trial, 250, 2);
        let batches = trial.batches("out.jsonl");
        assert!(batches.iter().all(|batch| batch["rows"].as_array().unwrap().len() <= 7));
    }
}

/// Rows that were planned as columns are run by a job that has others.
#[test]
fn rows_that_were_kept_are_read_by_a_job_with_other_columns() {
    let server = Flight::start(&json!({ "rows": 300, "parts": 1 }));
    let mut were_planned = false;
    // Which batch is the first with rows is not known.
    for step in (1..20).step_by(2) {
        let trial = reader(&server.address(), &format!("path = \"numbers\"\nrows_per_batch_max = 100\n{COLUMNS}"));
        if trial.start_with_faults(&format!("kill@commit.before:{step}"), &[]).wait().code.is_some() {
            break;
        }
        let before = trial.rows("out.jsonl").len();
        trial.change(COLUMNS, "schema = { n = \"int64\", number = { type = \"text\", path = \"n\" } }");
        let files = std::fs::read_dir(trial.path("checkpoint/plans")).unwrap();
        were_planned |= before < 300 && files.flatten().any(|file| file.metadata().unwrap().len() > 1_000);
        trial.run_ok(&[]);
        check_complete(&trial, 300, 1);
        let is_written = |row: &serde_json::Value| {
            let n = row["n"].to_string();
            row["number"] == n.as_str()
        };
        assert!(trial.rows("out.jsonl")[before..].iter().all(is_written));
    }
    assert!(were_planned);
}

/// A checkpoint of a version that kept rows as lines, with a digest of lines.
#[test]
fn a_job_resumes_from_a_checkpoint_of_an_earlier_version() {
    for (seed, reads) in [(1, false), (0, true)] {
        let server = Flight::start(&json!({ "rows": 300, "parts": 1, "rows_of_batch": 40, "seed": seed }));
        let trial = Trial::from_checkpoint("lines/flight");
        trial.change("127.0.0.1:28815", &server.address());
        assert!((1..300).contains(&trial.rows("out.jsonl").len()));
        if reads {
            trial.run_ok(&[]);
            check_complete(&trial, 300, 1);
        } else {
            let output = fails(&trial, 2);
            assert!(output.contains("differ from the rows that the job has read"), "{output}");
        }
    }
}

/// More parts than are read at a time, by two workers and by two processes; a start after the end reads nothing more.
#[test]
fn all_parts_of_a_stream_are_read() {
    let mut server = Flight::start(&json!({ "rows": 40, "parts": 21 }));
    let trial = reader(&server.address(), &format!("command = \"SELECT numbers\"\n{COLUMNS}"));
    trial.run_ok(&["--workers", "2"]);
    check_complete(&trial, 40, 21);
    server.kill();
    trial.run_ok(&[]);
    check_complete(&trial, 40, 21);
    // There is nothing to read.
    server.start_again(&json!({ "parts": 0 }));
    let trial = reader(&server.address(), &format!("path = \"numbers\"\n{COLUMNS}"));
    trial.run_ok(&[]);
    assert!(numbers(&trial).is_empty());
}

#[test]
fn each_row_is_read_once_whatever_is_killed() {
    let (mut random, rows, parts) = (Random::new(11), 1_500, 3);
    let options = json!({ "rows": rows, "parts": parts, "delay_ms": 10 });
    let mut server = Flight::start(&options);
    let trial = reader(&server.address(), &format!("path = \"numbers\"\n{COLUMNS}"));
    let mut running = Some(trial.start_processes(2, 2));
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(random.from(50, 600)));
        match random.from(0, 3) {
            0 => {
                kill_all(running.take().unwrap());
                running = Some(trial.start_processes(2, 2));
            }
            1 => {
                server.kill();
                server.start_again(&options);
            }
            _ => {
                for child in running.as_ref().unwrap().children() {
                    kill(child);
                }
            }
        }
    }
    kill_all(running.take().unwrap());
    trial.run_ok(&[]);
    check_complete(&trial, rows, parts);
}

/// At every step at which a batch can be interrupted.
#[test]
fn each_row_is_read_once_at_every_step() {
    let server = Flight::start(&json!({ "rows": 300, "parts": 2, "delay_ms": 2 }));
    for step in ["plan.durable:2", "commit.before:2", "commit.after:2", "commit.after:4"] {
        let trial = reader(&server.address(), &format!("path = \"numbers\"\n{COLUMNS}"));
        let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
        let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", format!("kill@{step}"))).wait();
        assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
        trial.run_ok(&[]);
        check_complete(&trial, 300, 2);
    }
}

/// A job that was killed in the middle, and its server.
fn interrupted(options: &Value) -> (Trial, Flight) {
    let mut slow = options.clone();
    slow["delay_ms"] = json!(20);
    let server = Flight::start(&slow);
    let trial = reader(&server.address(), &format!("path = \"numbers\"\n{COLUMNS}"));
    let mut running = trial.start(&[]);
    running.wait_until("some rows came", |_| trial.rows("out.jsonl").len() > 60);
    running.kill_all();
    (trial, server)
}

#[test]
fn changed_rows_stop_the_job() {
    let options = json!({ "rows": 2_000, "parts": 1 });
    for (changed, why) in [
        (json!({ "rows": 2_000, "parts": 1, "seed": 1 }), "differ from the rows that the job has read"),
        (json!({ "rows": 3, "parts": 1 }), "3 rows, and the job has read "),
        (json!({ "rows": 2_000, "parts": 2 }), "2 parts, previously 1"),
    ] {
        let (trial, mut server) = interrupted(&options);
        let before = trial.rows("out.jsonl").len();
        server.start_again(&changed);
        let output = fails(&trial, 2);
        assert!(output.contains("it returns other rows than before") && output.contains(why), "{output}");
        assert!(trial.rows("out.jsonl").len() >= before);
        // With the same rows it continues.
        server.start_again(&options);
        trial.run_ok(&[]);
        check_complete(&trial, 2_000, 1);
    }
    // With other columns the rows that were read are only counted.
    let (trial, mut server) = interrupted(&options);
    server.start_again(&options);
    trial.change("text = \"text\"", "text = \"text\", small = \"int64\"");
    trial.run_ok(&[]);
    check_complete(&trial, 2_000, 1);
}

#[test]
fn unsuitable_settings_are_reported() {
    let server = Flight::start(&json!({}));
    let of = |more: &str| fails(&reader(&server.address(), more), 2);
    let output = of("path = \"numbers\"\nschema = { n = \"int64\", amount = \"float64\" }");
    assert!(output.contains("source `in`: the server of Arrow Flight at 127.0.0.1:"), "{output}");
    assert!(output.contains("the stream has no column `amount`, which the job reads; it has text"), "{output}");
    let output = of("path = \"numbers\"\nschema = { n = \"bool\" }");
    assert!(output.contains("column `n` of the job is bool, but in the stream it is Int64"), "{output}");
    let output = of("path = \"numbers\"\nschema = { n = { type = \"int64\", path = \"who.number\" } }");
    assert!(output.contains("the stream has no `who.number`"), "{output}");
    let output = of(&format!("path = \"numbers\"\nmessage_bytes_max = 100\n{COLUMNS}"));
    assert!(output.contains("more than 100 (message_bytes_max)"), "{output}");
    let elsewhere = Flight::start(&json!({ "locations": ["grpc://localhost:1"] }));
    let output = fails(&reader(&elsewhere.address(), &format!("path = \"numbers\"\n{COLUMNS}")), 2);
    assert!(output.contains("its rows are at `grpc://localhost:1`, but the job does not connect there"), "{output}");
    // A part may be on another server if the job says so.
    let options = json!({ "locations": [format!("grpc+tcp://{}", server.address())], "rows": 100 });
    let requests = Flight::start(&options);
    let locations = format!("locations = \"grpc://127.0.0.*:*\"\npath = \"numbers\"\n{COLUMNS}");
    let trial = reader(&requests.address(), &locations);
    trial.run_ok(&[]);
    check_complete(&trial, 100, 2);
}

#[test]
fn an_unreachable_or_idle_server_is_waited_for() {
    let mut server = Flight::not_started();
    let trial = reader(&server.address(), &format!("path = \"numbers\"\nstall = \"1s\"\n{COLUMNS}"));
    let mut running = trial.start(&[]);
    running.wait_for_stderr("retrying until it works");
    server.start_again(&json!({ "rows": 200, "parts": 1, "stalls": 100 }));
    running.wait_until("half came", |_| trial.rows("out.jsonl").len() >= 100);
    running.wait_for_stderr("it sent nothing for 1s; retrying until it works");
    server.start_again(&json!({ "rows": 200, "parts": 1 }));
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    check_complete(&trial, 200, 1);
}

#[test]
fn credentials_are_sent_to_a_server_that_requires_them() {
    let certificates = Certificates::make();
    let (certificate, key) = certificates.of("server", "IP:127.0.0.1", 10);
    let options = json!({ "token": "let-me-in", "login": "me:p@ss/w%rd", "certificate": certificate, "key": key });
    let server = Flight::start(&options);
    let tls = format!("tls = {{ ca = \"{}\" }}\npath = \"numbers\"\n{COLUMNS}", certificates.ca().display());
    let of =
        |who: &str, more: &str| reader(&format!("grpc+tls://{who}{}", server.address()), &format!("{more}\n{tls}"));
    let output = fails(&of("", ""), 2);
    assert!(output.contains("authentication failed; check `token` or the user in `url` (UNAUTHENTICATED)"), "{output}");
    let output = fails(&of("", "token = \"guessed-token\""), 2);
    assert!(output.contains("UNAUTHENTICATED") && !output.contains("guessed-token"), "{output}");
    let output = fails(&of("me:guessed-password@", ""), 2);
    assert!(output.contains("UNAUTHENTICATED") && !output.contains("guessed-password"), "{output}");
    for trial in [of("", "token = \"${FLIGHT_TOKEN}\""), of("me:${FLIGHT_PASSWORD}@", "")] {
        let mut command = trial.command(&["run", "job.toml"]);
        command.env("FLIGHT_TOKEN", "let-me-in").env("FLIGHT_PASSWORD", "p@ss/w%rd");
        let ended = Process::start(&mut command).wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        check_complete(&trial, 100, 2);
    }
    // The certificate is signed by an unknown CA.
    let trial = reader(&format!("grpc+tls://{}", server.address()), &format!("path = \"numbers\"\n{COLUMNS}"));
    let output = fails(&trial, 2);
    assert!(
        output.contains("TLS: the server's certificate was issued by a CA that this job does not trust"),
        "{output}"
    );
}

/// Servers that send invalid or no responses do no harm.
#[test]
fn hostile_servers_do_no_harm() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for (turn, client) in listener.incoming().flatten().enumerate() {
            thread::spawn(move || hostile(client, turn));
        }
    });
    let trial = reader(&address, &format!("path = \"numbers\"\nstall = \"2s\"\n{COLUMNS}"));
    // Each attempt meets another response; the last one is a permanent error.
    let ended = Process::start(&mut trial.command(&["run", "job.toml", "--unsupervised"])).wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let output = ended.stderr;
    assert!(
        output.contains("it sends a message of 4294967295 bytes, more than 16777216 (message_bytes_max)"),
        "{output}"
    );
    assert!(!output.contains("panicked") && !output.contains("bug"), "{output}");
}

/// HTTP/2 frames: kind, flags, stream and payload.
fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = (content.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(content);
    bytes
}

/// The head of a gRPC response: status 200 of the static table, and a literal content type.
fn head() -> Vec<u8> {
    let mut head = vec![0x88, 0x0f, 0x10, 16];
    head.extend(b"application/grpc");
    frame(1, 4, 1, &head)
}

fn hostile(mut client: TcpStream, turn: usize) {
    let data = |content: &[u8]| frame(0, 0, 1, content);
    let printed = match turn {
        0 => b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec(),
        1 => (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect(),
        // A frame that claims to be larger than the maximum.
        2 => [frame(4, 0, 0, &[]), vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat(),
        // A success that ends without a status.
        3 => [frame(4, 0, 0, &[]), head(), frame(0, 1, 1, &[])].concat(),
        // Half a message.
        4 => [frame(4, 0, 0, &[]), head(), data(&[0, 0, 0, 1, 0, 7]), frame(0, 1, 1, &[])].concat(),
        // Nothing more.
        5 => [frame(4, 0, 0, &[]), head()].concat(),
        _ => [frame(4, 0, 0, &[]), head(), data(&[0, 0xff, 0xff, 0xff, 0xff])].concat(),
    };
    let _ = client.set_read_timeout(Some(Duration::from_secs(20)));
    // A response comes after the request.
    if turn > 1 {
        let mut preface = [0; 24];
        let mut requests = client.read_exact(&mut preface).is_ok();
        while requests {
            let mut start = [0; 9];
            requests = client.read_exact(&mut start).is_ok();
            let length = u32::from_be_bytes([0, start[0], start[1], start[2]]);
            requests &= client.read_exact(&mut vec![0; length as usize]).is_ok() && start[3] != 1;
        }
    }
    let _ = client.write_all(&printed);
    while client.read(&mut [0; 1_000]).is_ok_and(|count| count > 0) {}
}

/// A job that generates rows and puts them.
fn writer(address: &str, rows: u64, more: &str) -> Trial {
    Trial::new(&format!(
        r#"name = "writer"
batch = "20ms"
[checkpoint]
dir = "checkpoint"
every = 3
[sources.in]
kind = "rate"
rows_per_second = 2000
rows_max = {rows}
[sinks.out]
from = "in"
kind = "flight"
url = "grpc://{address}"
{more}
"#
    ))
}

/// Checks that every row was put, and repeated rows are the same as before; returns the number of repetitions.
#[track_caller]
fn all_put(server: &Flight, rows: u64) -> usize {
    let (mut batches, mut again): (BTreeMap<u64, Vec<Value>>, usize) = (BTreeMap::new(), 0);
    for put in server.put() {
        assert_eq!(put["to"], json!(["a", "b"]));
        let (printed, rows) = (put["said"].as_array().unwrap(), put["rows"].as_array().unwrap());
        for neighbor in printed {
            assert_eq!(
                (neighbor["sink"].as_str(), neighbor["rows"].as_u64()),
                (Some("out"), Some(rows.len() as u64)),
                "{neighbor}"
            );
            assert_eq!((&neighbor["batch"], &neighbor["job"]), (&printed[0]["batch"], &printed[0]["job"]));
        }
        match batches.insert(printed[0]["batch"].as_u64().unwrap(), rows.clone()) {
            Some(before) if before == *rows => again += 1,
            Some(_) => panic!("batch {} has other rows when it comes again", printed[0]["batch"]),
            None => {}
        }
    }
    let found: Vec<u64> = batches.values().flatten().map(|row| row["value"].as_u64().unwrap()).collect();
    assert_eq!(found, (0..rows).collect::<Vec<_>>());
    again
}

#[test]
fn rows_are_put_at_least_once_after_any_kill() {
    let (mut random, rows) = (Random::new(5), 12_000);
    let options = json!({ "delay_ms": 5 });
    let mut server = Flight::start(&options);
    let trial = writer(&server.address(), rows, "path = [\"a\", \"b\"]");
    assert!(
        trial
            .run_command_ok(&["validate", "job.toml"])
            .contains("at least once: after a crash, or when a connection is lost")
    );
    let mut running = Some(trial.start(&[]));
    for _ in 0..8 {
        thread::sleep(Duration::from_millis(random.from(50, 600)));
        if random.from(0, 2) == 0 {
            kill_all(running.take().unwrap());
            running = Some(trial.start(&[]));
        } else {
            server.kill();
            server.start_again(&options);
        }
    }
    kill_all(running.take().unwrap());
    trial.run_ok(&[]);
    all_put(&server, rows);
}

#[test]
fn an_unconfirmed_batch_is_sent_again() {
    let server = Flight::start(&json!({}));
    let trial = writer(&server.address(), 2_000, "path = [\"a\", \"b\"]");
    let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
    let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", "kill@commit.after:3")).wait();
    assert_eq!(ended.code, None, "{}", ended.stderr);
    trial.run_ok(&[]);
    assert!(all_put(&server, 2_000) > 0, "nothing came again");
}

#[test]
fn a_server_that_accepts_nothing_is_waited_for_or_reported() {
    let mut server = Flight::not_started();
    let trial = writer(&server.address(), 100, "command = \"here\"\nwait = \"60s\"\ntimeout = \"2s\"");
    let mut running = trial.start(&["--workers", "2"]);
    running.wait_for_stderr("the job waits");
    server.start_again(&json!({}));
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(server.put()[0]["to"], "here");
    // It hangs: the batch is sent again when it resumes.
    let trial = writer(&server.address(), 4_000, "path = [\"a\", \"b\"]\ntimeout = \"1s\"");
    let mut running = trial.start(&[]);
    running.wait_until("some are there", |_| server.put().len() > 3);
    server.suspend();
    running.wait_for_stderr("it sent nothing for 1s; the job waits and retries until it works");
    server.resume();
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // It requires a token, and does not support everything.
    let strict = Flight::start(&json!({ "token": "let-me-in" }));
    let output = fails(&writer(&strict.address(), 10, "path = \"a\"\ntoken = \"guessed-token\""), 1);
    assert!(
        output.contains("sink `out`: batch ") && output.contains(": the server of Arrow Flight at 127.0.0.1:"),
        "{output}"
    );
    assert!(output.contains("UNAUTHENTICATED") && !output.contains("guessed-token"), "{output}");
    let port = free_port();
    let output = fails(&writer(&format!("127.0.0.1:{port}"), 10, "path = \"a\"\nwait = \"1ms\""), 1);
    assert!(output.contains("start the server, or check `url`, or raise `wait`"), "{output}");
}
