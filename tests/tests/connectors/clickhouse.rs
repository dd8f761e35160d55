//! The sink `clickhouse`, with the engine of a new ClickHouse behind a part of its HTTP interface, and with an old server.

use millstream_tests::{HttpServer, Process, Trial, free_port, holds_within, root, wait_until};
use std::process::Command;
use std::time::Duration;

/// Includes the time to download it, if needed.
const FETCHED_WITHIN: Duration = Duration::from_secs(900);

/// The password of every user of the new server.
pub(super) const PASSWORD: &str = "s3cret-of-clickhouse";

/// Starts the server on a port of 127.0.0.1; it keeps its data in the directory of a trial.
pub(super) fn server(script: &str, port: u16, trial: &Trial) -> Process {
    let script = root().join("scripts").join(script);
    let fetched = Process::start(&mut Command::new(&script)).wait_within(FETCHED_WITHIN);
    assert_eq!(fetched.code, Some(0), "{}", fetched.stderr);
    let mut command = Command::new(&script);
    command.arg(port.to_string()).env("CLICKHOUSE_PASSWORD", PASSWORD);
    if script.ends_with("clickhouse.sh") {
        command.arg(free_port().to_string());
    }
    let server = Process::start(command.arg(trial.path("data")));
    let answers = || query(port, "select 1").is_some();
    assert!(holds_within(Duration::from_secs(60), answers), "{}{}", server.stdout(), server.stderr());
    server
}

/// Returns the result of a query, or `None` if there is no response or an error.
pub(super) fn query(port: u16, text: &str) -> Option<String> {
    let url = format!("http://127.0.0.1:{port}/");
    let message =
        Command::new("curl").args(["-sSf", "-m", "20", &url, "--data-binary", text]).output().expect("a curl");
    message.status.success().then(|| String::from_utf8_lossy(&message.stdout).trim().to_owned())
}

fn job(port: u16, sink: &str) -> Trial {
    let trial = Trial::new(&format!(
        "batch = \"10ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 5\n[sources.orders]\nkind = \"directory\"\npath = \"in\"\nsettle = \
         \"0s\"\npoll = \"20ms\"\nformat = \"json\"\nschema = {{ n = \"int64\", at = \"timestamp\" \
         }}\nrows_per_batch_max = 50\n[sinks.recent]\nfrom = \"orders\"\nkind = \"clickhouse\"\nurl = \"http://127.0.0.1:{port}\"\ntable = \
         \"shop.orders\"\nrows_per_request_max = 20\n{sink}\n"
    ));
    trial.write("in/a.jsonl", lines(0..1000));
    trial
}

fn lines(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("{{\"n\":{n},\"at\":\"2026-11-21T12:00:00.{:06}Z\"}}\n", n)).collect()
}

const TABLE: &str = "create table shop.orders (n Int64, at DateTime64(6, 'UTC')) engine = MergeTree order by n";

/// The table deduplicates the last insertions, so repeating one after a kill of the job, or of the server, changes nothing.
#[test]
fn rows_are_stored_once_though_job_and_server_are_killed() {
    let port = free_port();
    let trial = job(port, "");
    let running = server("chdb.sh", port, &trial);
    query(port, &format!("{TABLE} settings non_replicated_deduplication_window = 1000")).expect("a table");
    for step in ["commit.after:3", "commit.after:5", "commit.before:4", "commit.after:2"] {
        let mut command = trial.command(&["run", "job.toml", "--unsupervised", "--until-idle"]);
        let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", format!("kill@{step}"))).wait();
        assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
    }
    let mut job = trial.start(&["--unsupervised"]);
    job.wait_for_stderr("the table deduplicates the last 1000 inserts");
    running.kill();
    trial.move_in("in/b.jsonl", lines(1000..1500));
    job.wait_for_stderr("the job waits and retries until it works");
    let running = server("chdb.sh", port, &trial);
    let count = || query(port, "select count() from shop.orders").and_then(|count| count.parse::<u32>().ok());
    wait_until("all rows are there", || count().is_some_and(|count| count >= 1500));
    job.stop();
    let message = query(port, "select count(), uniqExact(n), max(at) from shop.orders").expect("it answers");
    assert_eq!(message, "1500\t1500\t2026-11-21 12:00:00.001499");
    running.kill();
}

#[test]
fn a_table_without_deduplication_is_rejected_with_a_fix() {
    let port = free_port();
    let trial = job(port, "");
    let running = server("chdb.sh", port, &trial);
    let refused = || {
        let ended = trial.start(&["--unsupervised", "--until-idle"]).wait();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert_eq!(
            query(port, "select count() from shop.orders").unwrap_or_default().trim_matches('0'),
            "",
            "nothing is written"
        );
        ended.stderr
    };
    let message = refused();
    assert!(message.contains("sink `recent`: table `shop`.`orders` does not exist at http://127.0.0.1:"), "{message}");
    query(port, TABLE).expect("a table");
    let message = refused();
    let help = "run ALTER TABLE `shop`.`orders` MODIFY SETTING non_replicated_deduplication_window = 1000";
    assert!(message.contains(help) && message.contains("or set exactly_once = false"), "{message}");
    // As the message says.
    let alter = "ALTER TABLE `shop`.`orders` MODIFY SETTING non_replicated_deduplication_window = 1000";
    query(port, alter).expect("it is changed");
    trial.run_ok(&["--until-idle"]);
    assert_eq!(query(port, "select count() from shop.orders").as_deref(), Some("1000"));

    query(port, "drop table shop.orders").expect("it is dropped");
    query(port, "create table shop.orders (n Int64, at DateTime64(6)) engine = Memory").expect("a table");
    let message = refused();
    assert!(message.contains("has the engine Memory, which does not deduplicate inserts"), "{message}");
    let other = job(port, "exactly_once = false");
    other.run_ok(&["--until-idle"]);
    assert_eq!(query(port, "select count() from shop.orders").as_deref(), Some("1000"));

    let stranger = job(port, "user = \"me\"\npassword = \"wr0ng\"");
    let ended = stranger.start(&["--unsupervised", "--until-idle"]).wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("check `user` or `password`") && !ended.stderr.contains("wr0ng"), "{}", ended.stderr);
    running.kill();
}

#[test]
fn a_server_without_tokens_or_of_another_kind_is_rejected() {
    let port = free_port();
    let trial = job(port, "");
    let running = server("clickhouse.sh", port, &trial);
    let ended = trial.start(&["--unsupervised", "--until-idle"]).wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("the server is version 18."), "{}", ended.stderr);
    assert!(ended.stderr.contains("inserts are deduplicated from 22.2 on"), "{}", ended.stderr);
    running.kill();
    for (response, message) in [
        ("<html>\u{1b}[31m", "and inserts are deduplicated from 22.2 on"),
        ("25.1.1", "the server is not ClickHouse (it replied 25.1.1); check `url`"),
    ] {
        let lying = HttpServer::start(free_port(), move |_, _| Some((200, String::new(), response.into())));
        let ended = job(lying.port(), "").start(&["--unsupervised", "--until-idle"]).wait();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(message) && !ended.stderr.contains('\u{1b}'), "{}", ended.stderr);
    }
}
