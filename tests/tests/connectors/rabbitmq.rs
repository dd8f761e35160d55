//! Sources and sinks of kind `rabbitmq` with a real server.

use millstream_tests::{Certificates, Process, Rabbitmq, Random, Relay, Trial, is_alive, kill, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::ops::Range;
use std::thread;
use std::time::Duration;

/// A job that reads, keeps checkpoints, and puts rows into its own queue.
fn job(url: &str, source: &str) -> Trial {
    Trial::new(&format!(
        r#"name = "reader"
batch = "20ms"
[checkpoint]
dir = "checkpoint"
every = 5
[sources.in]
kind = "rabbitmq"
url = "{url}"
{source}
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

/// A job that counts, and publishes each row.
fn counting(url: &str, rows: u64, more: &str) -> Trial {
    Trial::new(&format!(
        r#"name = "writer"
batch = "20ms"
[checkpoint]
dir = "checkpoint"
every = 5
[sources.numbers]
kind = "rate"
rows_per_second = 1000
rows_max = {rows}
[stages.named]
from = "numbers"
select = "value as n, concat('k', value % 2) as place"
[sinks.out]
from = "named"
kind = "rabbitmq"
url = "{url}"
{more}
"#
    ))
}

fn lines(numbers: Range<u64>) -> Vec<String> {
    numbers.map(|number| format!("line {number}")).collect()
}

/// Runs a job that ends on its own with this exit code; returns its output.
#[track_caller]
fn fails(trial: &Trial, code: i32) -> String {
    let ended = Process::start(&mut trial.command(&["run", "job.toml", "--unsupervised"])).wait();
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    ended.stderr
}

/// Ends a job in order, which may be just starting.
#[track_caller]
fn stop(mut running: Process) {
    running.wait_until("it has begun", |running| running.stderr().contains(" batch "));
    running.stop();
}

/// Disturbs a job and its server while messages are published to a queue or stream.
fn disturbed(seed: u64, server: &mut Rabbitmq, trial: &Trial, to: &str) -> Process {
    let mut random = Random::new(seed);
    let mut running = trial.start_processes(2, 2);
    for round in 0..6 {
        server.publish(to, &lines(round * 100..round * 100 + 100));
        thread::sleep(Duration::from_millis(random.from(0, 400)));
        match random.from(0, 3) {
            // Once at least.
            choice if choice == 0 || round == 3 => {
                server.kill();
                server.start_again();
            }
            1 => {
                let children = running.children();
                running.kill();
                wait_until("its workers are gone", || children.iter().all(|child| !is_alive(*child)));
                running = trial.start_processes(2, 2);
            }
            _ => running.children().iter().filter(|child| is_alive(**child)).for_each(|child| kill(*child)),
        }
    }
    // No more kills from here on.
    server.publish(to, &lines(600..610));
    running.wait_until("it reads again", |_| trial.values("out.jsonl").contains(&"line 609".to_owned()));
    running
}

/// Whatever dies, no message of a queue is lost; some are duplicated.
#[test]
fn messages_of_a_queue_arrive_at_least_once_after_any_kill() {
    let mut server = Rabbitmq::start();
    server.queue("q");
    let trial = job(&server.url(), "queue = \"q\"");
    let mut running = disturbed(3, &mut server, &trial, "q");
    let found = || trial.values("out.jsonl").into_iter().collect::<BTreeSet<_>>();
    running.wait_until("all came", |_| found().len() >= 610);
    stop(running);
    assert_eq!(found(), lines(0..610).into_iter().collect());
    // Messages that were read no longer exist there.
    trial.run_ok(&["--until-idle"]);
    assert_eq!(server.count("q"), 0);
}

/// A process that dies after the plan of a batch is durable, and before it.
#[test]
fn a_message_is_acknowledged_once_its_plan_is_durable() {
    let server = Rabbitmq::shared();
    for step in ["plan.durable:1", "commit.before:1", "commit.after:1"] {
        let queue = step.replace(':', "-");
        server.queue(&queue);
        server.publish(&queue, &lines(0..50));
        let trial = job(&server.url(), &format!("queue = \"{queue}\""));
        let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
        let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", format!("kill@{step}"))).wait();
        assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
        let mut running = trial.start(&[]);
        let found = || trial.values("out.jsonl").into_iter().collect::<BTreeSet<_>>();
        running.wait_until("all came", |_| found().len() >= 50);
        stop(running);
        assert_eq!(found(), lines(0..50).into_iter().collect(), "{step}");
    }
}

#[test]
fn metadata_of_messages_are_columns() {
    let server = Rabbitmq::shared();
    let queue = "odd {name} = 'ü' #%";
    server.queue(queue);
    server.send_request(&json!({ "do": "exchange", "exchange": "odd", "queue": queue, "key": "key.ü" }));
    let schema = r#"format = "json"
schema = { n = "int64", key = { type = "text", from = "topic" }, id = { type = "text", from = "id" }, at = { type = "timestamp", from = "timestamp" }, all = { type = "text", from = "headers" }, trace = { type = "text", from = "header.trace" } }"#;
    let trial = job(&server.url(), &format!("queue = '''{queue}'''\n{schema}"));
    let headers = json!({ "trace": "t1", "number": 7, "list": [1] });
    server.send_request(&json!({ "do": "publish", "exchange": "odd", "key": "key.ü", "bodies": ["{\"n\":1}"], "headers": headers, "id": "m1", "timestamp": 1_700_000_000 }));
    server.publish(queue, &["no JSON".into(), String::new(), "{\"n\":4}".into()]);
    trial.run_ok(&["--until-idle"]);
    let rows = trial.rows("out.jsonl");
    assert_eq!(
        (&rows[0]["n"], &rows[0]["key"], &rows[0]["id"], &rows[0]["trace"]),
        (&json!(1), &json!("key.ü"), &json!("m1"), &json!("t1"))
    );
    assert_eq!(rows[0]["at"], "2023-11-14T22:13:20.000000Z");
    let all: Value = serde_json::from_str(rows[0]["all"].as_str().unwrap()).unwrap();
    assert_eq!((&all["trace"], &all["number"]), (&json!("t1"), &json!("7")));
    assert_eq!((rows.len(), &rows[1]["n"], &rows[1]["key"]), (2, &json!(4), &json!(queue)));
    assert_eq!(trial.rows("bad.jsonl").len(), 2);
    assert!(
        trial
            .run_command_ok(&["validate", "job.toml"])
            .contains("at least once, with [checkpoint]: a message is acknowledged")
    );
    assert_eq!(server.count(queue), 0);
}

/// If the stream is created while the job waits for it, all of its messages are new.
#[test]
fn the_latest_position_of_a_stream_is_that_of_the_first_look() {
    let server = Rabbitmq::shared();
    let trial = job(&server.url(), "stream = \"latest\"\nstart = \"latest\"");
    let mut running = trial.start(&[]);
    running.wait_for_stderr(
        "stream `latest` does not exist (NOT_FOUND - no queue 'latest' in vhost '/'); retrying until it works",
    );
    server.stream("latest", &json!({}));
    server.publish("latest", &lines(0..10));
    running.wait_until("rows came", |_| trial.rows("out.jsonl").len() == 10);
    stop(running);
    assert_eq!(trial.values("out.jsonl"), lines(0..10));
}

/// A stream that was deleted while the job runs, and created again.
#[test]
fn a_recreated_stream_is_not_read() {
    let server = Rabbitmq::shared();
    server.stream("recreated", &json!({}));
    server.publish("recreated", &lines(0..10));
    let trial = job(&server.url(), "stream = \"recreated\"");
    let mut running = trial.start(&[]);
    running.wait_until("rows came", |_| trial.rows("out.jsonl").len() == 10);
    server.send_request(&json!({ "do": "delete", "queue": "recreated" }));
    running.wait_for_stderr("stream `recreated`: it no longer exists; retrying until it works");
    server.stream("recreated", &json!({}));
    // It has a message at each offset.
    server.publish("recreated", &lines(100..130));
    let ended = running.wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let output = "stream `recreated`: the job has read another stream of this name up to message 9; restart the job, with `--drop-state in`";
    assert!(ended.stderr.contains(output), "{}", ended.stderr);
    assert_eq!(trial.values("out.jsonl"), lines(0..10));
    trial.run_ok(&["--until-idle", "--drop-state", "in"]);
    assert_eq!(trial.values("out.jsonl"), [lines(0..10), lines(100..130)].concat());
}

#[test]
fn queues_and_streams_are_not_confused() {
    let server = Rabbitmq::shared();
    server.queue("q");
    server.stream("s", &json!({}));
    server.publish("q", &lines(0..1));
    server.publish("s", &lines(0..1));
    let trial = job(&server.url(), "queue = \"s\"");
    let mut running = trial.start(&["--unsupervised"]);
    wait_until("it meets a message", || {
        server.publish("s", &lines(1..2));
        running.has_ended()
    });
    let output = running.wait().stderr;
    assert!(output.contains("queue `s`: it is a stream, which is read by its offsets; write stream ="), "{output}");
    let output = fails(&job(&server.url(), "stream = \"q\""), 2);
    assert!(output.contains("stream `q`: "), "{output}");
    assert!(output.contains("queue = "), "{output}");
}

#[test]
fn rows_are_messages_of_an_exchange() {
    let server = Rabbitmq::shared();
    for (queue, key) in [("a", "k0"), ("b", "k1")] {
        server.queue(queue);
        server.send_request(&json!({ "do": "exchange", "exchange": "e", "queue": queue, "key": key }));
    }
    counting(&server.url(), 4, "exchange = \"e\"\nrouting_key_from = \"place\"").run_ok(&[]);
    let bodies = |queue: &str| server.take(queue).into_iter().map(|[body, key, _]| (body, key)).collect::<Vec<_>>();
    let row = |n: u64, key: &str| (format!("{{\"n\":{n}}}"), key.to_owned());
    assert_eq!(bodies("a"), [row(0, "k0"), row(2, "k0")]);
    assert_eq!(bodies("b"), [row(1, "k1"), row(3, "k1")]);
    // Large ones go in several frames.
    let trial = counting(&server.url(), 2, "routing_key = \"a\"\nformat = \"text\"");
    trial.change("value as n, concat('k', value % 2) as place", "repeat('x', 300000) as long");
    trial.run_ok(&[]);
    assert_eq!(server.take("a").iter().map(|[body, ..]| body.len()).collect::<Vec<_>>(), [300_000; 2]);
    let output = counting(&server.url(), 5, "routing_key_from = \"n\"").rejected_message(&["validate", "job.toml"]);
    assert!(output.contains("`routing_key_from` names `n`, and the rows have"), "{output}");
    let output = counting(&server.url(), 5, "routing_key = \"nobody\"").rejected_message(&["validate", "job.toml"]);
    assert!(output.contains("`routing_key`") || output.contains("the server says: "), "{output}");
    let output = counting(&server.url(), 5, "exchange = \"none\"\nrouting_key = \"k\"")
        .rejected_message(&["validate", "job.toml"]);
    assert!(output.contains("the server says: "), "{output}");
    let output = fails(&counting(&server.url(), 5, "exchange = \"e\"\nrouting_key = \"other\""), 1);
    assert!(output.contains("no queue is bound for the routing key `other`"), "{output}");
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn an_unreachable_server_or_missing_queue_is_waited_for() {
        let mut server = Rabbitmq::not_started();
        let trial = job(&server.url(), "queue = \"q\"");
        let mut running = trial.start(&[]);
        running.wait_for_stderr("retrying until it works");
        server.start_again();
        running.wait_for_stderr(
            "queue `q` does not exist (NOT_FOUND - no queue 'q' in vhost '/'); retrying until it works",
        );
        server.queue("q");
        server.publish("q", &lines(0..1));
        running.wait_until("a row came", |_| trial.rows("out.jsonl").len() == 1);
        let missed = |running: &Process| running.stderr().matches("retrying until it works").count();
        let before = missed(&running);
        server.kill();
        running.wait_until("it is missed", |running| missed(running) > before);
        server.start_again();
        server.publish("q", &lines(1..2));
        running.wait_until("a row came", |_| trial.values("out.jsonl").contains(&"line 1".to_owned()));
        server.send_request(&json!({ "do": "delete", "queue": "q" }));
        running.wait_for_stderr("queue `q`: it no longer exists; retrying until it works");
        stop(running);
    }

    /// Whatever dies, each row is there; some are there twice, with the id that they had.
    #[test]
    fn rows_are_published_at_least_once_after_any_kill() {
        const ROWS: u64 = 4000;
        let (mut random, mut server) = (Random::new(5), Rabbitmq::start());
        server.queue("q");
        let trial = counting(&server.url(), ROWS, "routing_key = \"q\"");
        assert!(
            trial
                .run_command_ok(&["validate", "job.toml"])
                .contains("at least once: after a crash, or when a connection is lost")
        );
        let mut running = trial.start_processes(2, 2);
        for round in 0..6 {
            thread::sleep(Duration::from_millis(random.from(100, 600)));
            if running.has_ended() {
                break;
            }
            if round == 3 {
                server.kill();
                server.start_again();
            } else {
                running.children().iter().filter(|child| is_alive(**child)).for_each(|child| kill(*child));
            }
        }
        let ended = running.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let taken = server.take("q");
        let found: BTreeSet<(String, String)> = taken.into_iter().map(|[body, _, id]| (id, body)).collect();
        // Each with one id, whatever came again.
        assert_eq!(found.len(), ROWS as usize);
        let bodies: BTreeSet<&str> = found.iter().map(|(_, body)| body.as_str()).collect();
        assert_eq!(bodies.len(), ROWS as usize);
    }

    #[test]
    fn a_stream_is_read_from_the_configured_position_and_then_resumed() {
        let server = Rabbitmq::start();
        server.stream("s", &json!({}));
        server.publish("s", &lines(0..2500));
        let of = |start: &str| job(&server.url(), &format!("stream = \"s\"\nstart = \"{start}\""));
        let (earliest, latest) = (of("earliest"), of("latest"));
        assert!(
            earliest
                .run_command_ok(&["validate", "job.toml"])
                .contains("exactly once, with [checkpoint]; messages that the stream deletes")
        );
        earliest.run_ok(&["--until-idle"]);
        assert_eq!(earliest.values("out.jsonl"), lines(0..2500));
        latest.run_ok(&["--until-idle"]);
        assert!(latest.values("out.jsonl").is_empty());
        server.publish("s", &lines(2500..2510));
        earliest.run_ok(&["--until-idle"]);
        assert_eq!(earliest.values("out.jsonl"), lines(0..2510));
        // Another one of its name has fewer messages.
        server.send_request(&json!({ "do": "delete", "queue": "s" }));
        server.stream("s", &json!({}));
        server.publish("s", &lines(0..10));
        let running = earliest.start(&["--unsupervised"]);
        let ended = running.wait();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("the job has read another stream of this name up to message 2509"),
            "{}",
            ended.stderr
        );
    }

    /// A password may be changed while the job runs; it is needed only for a new connection.
    #[test]
    fn a_changed_password_stops_the_job() {
        let mut server = Rabbitmq::not_started();
        let is = |password| [("guest", "guest"), ("reader", password)];
        server.set_passwords(&is("first-password"));
        server.start_again();
        server.queue("q");
        server.publish("q", &lines(0..1));
        let trial = job(&server.url().replace("amqp://", "amqp://reader:first-password@"), "queue = \"q\"");
        let mut running = trial.start(&[]);
        running.wait_until("a row came", |_| trial.rows("out.jsonl").len() == 1);
        server.set_passwords(&is("second-password"));
        server.kill();
        server.start_again();
        let ended = running.wait();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("authentication failed; check user and password in `url`"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("first-password"), "{}", ended.stderr);
        server.publish("q", &lines(1..2));
        trial.change("first-password", "second-password");
        trial.run_ok(&["--until-idle"]);
        assert_eq!(trial.values("out.jsonl").last(), Some(&"line 1".to_owned()));
    }

    /// A job that ends when its sources are idle does not mistake a server that is slow to send the first message for an idle
    /// one.
    #[test]
    fn a_slow_first_message_is_waited_for() {
        let server = Rabbitmq::start();
        server.queue("q");
        server.stream("s", &json!({}));
        for (kind, from) in [("queue = \"q\"", "q"), ("stream = \"s\"", "s")] {
            server.publish(from, &lines(0..10));
            let relay = Relay::to(server.port());
            let trial = job(&format!("amqp://127.0.0.1:{}", relay.port), kind);
            let deliver = [0, 60, 0, 60];
            *relay.held_back.lock().unwrap() = Some((deliver.to_vec(), Duration::from_secs(4)));
            trial.run_ok(&["--until-idle"]);
            assert!(relay.held_back.lock().unwrap().is_none(), "{kind}: it was held back");
            assert_eq!(trial.values("out.jsonl"), lines(0..10), "{kind}");
        }
    }

    /// A publisher to a queue may set the header that a server writes into messages of streams.
    #[test]
    fn a_header_does_not_turn_a_queue_into_a_stream() {
        let server = Rabbitmq::start();
        server.queue("q");
        for header in [json!(7), json!("x")] {
            let headers = json!({ "x-stream-offset": header });
            server.send_request(&json!({ "do": "publish", "key": "q", "bodies": ["1", "2"], "headers": headers }));
        }
        let schema = "schema = { value = \"text\", offset = { type = \"text\", from = \"header.x-stream-offset\" } }";
        let trial = job(&server.url(), &format!("queue = \"q\"\n{schema}"));
        trial.run_ok(&["--until-idle"]);
        let rows = trial.rows("out.jsonl");
        let found: Vec<_> = rows.iter().map(|row| (row["value"].as_str(), row["offset"].as_str())).collect();
        let of = |value, offset| (Some(value), Some(offset));
        assert_eq!(found, [of("1", "7"), of("2", "7"), of("1", "x"), of("2", "x")]);
        assert_eq!(server.count("q"), 0);
    }

    /// A server stores an ID in any encoding. A message that could not be read would be delivered repeatedly.
    #[test]
    fn an_id_in_another_encoding_does_not_block_a_queue() {
        let server = Rabbitmq::start();
        server.queue("q");
        let bodies = json!({ "do": "publish", "key": "q", "bodies": ["1"], "id": "\u{ff}", "latin1": true });
        server.send_request(&bodies);
        server.publish("q", &["2".into()]);
        let schema = "schema = { value = \"text\", id = { type = \"text\", from = \"id\" } }";
        let trial = job(&server.url(), &format!("queue = \"q\"\n{schema}"));
        trial.run_ok(&["--until-idle"]);
        let rows = trial.rows("out.jsonl");
        let found: Vec<_> = rows.iter().map(|row| (row["value"].as_str(), row["id"].as_str())).collect();
        assert_eq!(found, [(Some("1"), Some("\u{fffd}")), (Some("2"), None)]);
    }

    /// Previewing the first rows consumes none of them, and rows read up to a limit are not repeated.
    #[test]
    fn a_preview_consumes_nothing_and_a_limit_repeats_nothing() {
        let server = Rabbitmq::start();
        server.queue("looked");
        server.publish("looked", &lines(0..60));
        let trial = job(&server.url(), "queue = \"looked\"");
        let looked = trial.run_ok(&["--sample"]);
        assert!(looked.stdout.contains("line 9"), "{}", looked.stdout);
        wait_until("a limit is reached", || {
            trial.run_ok(&["--limit", "20"]);
            trial.values("out.jsonl").len() >= 20
        });
        let mut running = trial.start(&[]);
        running.wait_until("all came", |_| trial.values("out.jsonl").contains(&"line 59".to_owned()));
        stop(running);
        let mut found = trial.values("out.jsonl");
        found.sort_by_key(|line| (line.len(), line.clone()));
        assert_eq!(found, lines(0..60));
    }

    #[test]
    fn a_server_is_read_over_tls() {
        let (certificates, others) = (Certificates::make(), Certificates::make());
        let (certificate, key) = certificates.of("rabbitmq", "DNS:localhost,IP:127.0.0.1", 2);
        let port = millstream_tests::free_port();
        let server = Rabbitmq::with(&format!(
            "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}\nssl_options.verify = verify_none\n",
            certificates.ca().display(),
            certificate.display(),
            key.display()
        ));
        server.queue("q");
        server.publish("q", &lines(0..3));
        let reading = |ca: &Certificates| {
            job(
                &format!("amqps://127.0.0.1:{port}"),
                &format!("tls = {{ ca = \"{}\" }}\nqueue = \"q\"", ca.ca().display()),
            )
        };
        let trial = reading(&certificates);
        trial.run_ok(&["--until-idle"]);
        assert_eq!(trial.values("out.jsonl"), lines(0..3));
        let output = fails(&reading(&others), 2);
        assert!(
            output.contains("the server's certificate was issued by a CA that this job does not trust"),
            "{output}"
        );
    }

    #[test]
    fn errors_of_a_server_are_reported() {
        let server = Rabbitmq::start();
        server.queue("q");
        let url = |login: &str| server.url().replace("amqp://", &format!("amqp://{login}"));
        let output = fails(&job(&url("guest:guessed-password@"), "queue = \"q\""), 2);
        assert!(output.contains("source `in`: queue `q`: RabbitMQ at 127.0.0.1:"), "{output}");
        assert!(output.contains("authentication failed; check user and password in `url`"), "{output}");
        assert!(!output.contains("guessed-password"), "{output}");
        let output = fails(&job(&format!("{}/other", server.url()), "queue = \"q\""), 2);
        assert!(output.contains("permission denied") && output.contains("check `url`"), "{output}");
        let trial = job(&format!("{}/%2F", url("guest:${RABBITMQ_PW}@")), "queue = \"q\"");
        let mut command = trial.command(&["run", "job.toml", "--until-idle"]);
        let ended = Process::start(command.env("RABBITMQ_PW", "guest")).wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        for url in ["amqp://me:top-secret@:port/", "amqp://me:top-secret@127.0.0.1:99999", "amqp://me:top-secret@h/x/y"]
        {
            let output = fails(&job(url, "queue = \"q\""), 2);
            assert!(output.contains("`url` ") && !output.contains("top-secret"), "{url}: {output}");
        }
    }

    /// Whatever dies, each message of a stream arrives once.
    #[test]
    fn messages_of_a_stream_arrive_once_after_any_kill() {
        let mut server = Rabbitmq::start();
        server.stream("s", &json!({}));
        let schema = "schema = { value = \"text\", at = { type = \"int64\", from = \"offset\" } }";
        let trial = job(&server.url(), &format!("stream = \"s\"\n{schema}"));
        let mut running = disturbed(4, &mut server, &trial, "s");
        let found = || trial.values("out.jsonl").into_iter().collect::<BTreeSet<_>>();
        running.wait_until("all came", |_| found().len() >= 610);
        stop(running);
        assert_eq!(found(), lines(0..610).into_iter().collect());
        let offsets: Vec<u64> = trial.rows("out.jsonl").iter().map(|row| row["at"].as_u64().unwrap()).collect();
        assert!(offsets.is_sorted_by(|a, b| a < b), "each once, in order: {offsets:?}");
    }

    #[test]
    fn a_sink_waits_for_an_unreachable_server() {
        let mut server = Rabbitmq::not_started();
        let trial = counting(&server.url(), 1000, "routing_key_from = \"region\"");
        let mut running = trial.start(&[]);
        running.wait_for_stderr("the job waits for up to 1h (`wait`)");
        running.kill();
        server.start_again();
        ["k0", "k1"].iter().for_each(|queue| server.queue(queue));
        trial.run_ok(&[]);
        assert_eq!(server.count("k0") + server.count("k1"), 1000);
        let ended =
            counting("amqp://127.0.0.1:1", 10, "routing_key = \"q\"\nwait = \"100ms\"").run(&["--unsupervised"]);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("start the server, or check `url`, or raise `wait`"), "{}", ended.stderr);
    }

    /// Messages that a stream deletes before they are read are reported missing.
    #[test]
    fn messages_deleted_by_a_stream_are_reported() {
        let server = Rabbitmq::start();
        server.stream("s", &json!({ "x-max-length-bytes": 50_000, "x-stream-max-segment-size-bytes": 20_000 }));
        server.publish("s", &lines(0..10));
        let trial = job(&server.url(), "stream = \"s\"");
        trial.run_ok(&["--until-idle"]);
        assert_eq!(trial.values("out.jsonl"), lines(0..10));
        wait_until("the first are gone", || {
            server.publish("s", &["x".repeat(10_000)]);
            server.stream_begins() > 10
        });
        let before = server.stream_begins();
        let output = fails(&trial, 2);
        // The first of a file may be an offset that the server has used itself.
        let told_of = (before..=server.stream_begins() + 1).any(|first| {
            let last = first - 1;
            output.contains(&format!(
                "stream `s`: its messages from offset 10 to {last} were deleted before the job read them"
            ))
        });
        assert!(told_of, "from {before}: {output}");
        assert!(output.contains("let the stream keep more (max-age, max-length-bytes)"), "{output}");
        assert_eq!(trial.values("out.jsonl"), lines(0..10));
    }

    /// A server that accepts connections and sends nothing.
    #[test]
    fn an_idle_server_is_reported() {
        let mute = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("amqp://{}", mute.local_addr().unwrap());
        let trial = job(&url, "queue = \"q\"");
        let mut running = trial.start(&[]);
        let output = fails(&counting(&url, 10, "routing_key = \"q\"\nwait = \"100ms\""), 1);
        assert!(
            output.contains("it does not respond within 10 s; start the server, or check `url`, or raise `wait`"),
            "{output}"
        );
        running.wait_for_stderr("queue `q`: it does not respond within 10 s; retrying until it works");
        running.kill();
    }
}
