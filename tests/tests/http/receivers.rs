//! Receivers that others wrote: batches of the `http` sink in a real OpenSearch. `make servers` fetches it.

use millstream_tests::{Process, Trial, free_port, holds_within, root, until};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

/// It may have to be fetched first.
const FETCHED_WITHIN: Duration = Duration::from_secs(900);
/// A machine that has other things to do takes its time.
const STARTED_WITHIN: Duration = Duration::from_secs(180);

/// What a server answers to this request of curl, as JSON.
fn curl(url: &str, more: &[&str]) -> Option<Value> {
    let told = Command::new("curl").args(["-sS", "-m", "20", url]).args(more).output().expect("there is a curl");
    serde_json::from_slice(&told.stdout).ok()
}

/// An OpenSearch on this port that keeps its data in a folder, once it answers.
fn search(port: u16, trial: &Trial) -> Process {
    let mut command = Command::new(root().join("scripts/opensearch.sh"));
    let server = Process::start(command.arg(port.to_string()).arg(trial.path("search")));
    let url = format!("http://127.0.0.1:{port}/_cluster/health?wait_for_status=yellow&timeout=10s");
    let answers = || curl(&url, &[]).is_some_and(|health| health["status"] != Value::Null);
    assert!(holds_within(STARTED_WITHIN, answers), "{}{}", server.stdout(), server.stderr());
    server
}

#[test]
fn opensearch_holds_each_row_once_though_the_job_and_the_server_are_killed() {
    let fetched = Process::start(&mut Command::new(root().join("scripts/opensearch.sh"))).wait_within(FETCHED_WITHIN);
    assert_eq!(fetched.code, Some(0), "{}", fetched.stderr);
    let port = free_port();
    let job = |source: &str| {
        format!(
            "batch = \"10ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 20\n[sources.in]\n{source}\nformat = \"json\"\n\
             schema = {{ n = \"int64\", word = \"text\" }}\nrows_per_batch_max = 50\n[sinks.search]\nfrom = \"in\"\nkind = \"http\"\n\
             url = \"http://127.0.0.1:{port}/_bulk\"\nbody = \"bulk\"\nindex = \"events\"\non_error = \"reject\"\n"
        )
    };
    // A folder never ends, so that the job is there for as long as it is needed.
    let trial = Trial::new(&job("kind = \"directory\"\npath = \"in\""));
    let rows = |range: std::ops::Range<u32>| {
        range.map(|n| format!("{{\"n\":{n},\"word\":\"w{}\"}}\n", n % 7)).collect::<String>()
    };
    trial.write("in/a.jsonl", rows(0..1500));
    std::fs::create_dir_all(trial.path("search")).unwrap();
    let server = search(port, &trial);
    let index = format!("http://127.0.0.1:{port}/events");
    let mapping = json!({ "mappings": { "properties": { "word": { "type": "keyword" }, "n": { "type": "short" } } } });
    let made = curl(&index, &["-X", "PUT", "-H", "Content-Type: application/json", "-d", &mapping.to_string()]);
    assert_eq!(made.unwrap()["acknowledged"], json!(true));
    let count = || {
        let found =
            curl(&format!("{index}/_refresh"), &["-X", "POST"]).and_then(|_| curl(&format!("{index}/_count"), &[]));
        found.and_then(|found| found["count"].as_u64()).unwrap_or(0)
    };
    for more in [200, 700] {
        let mut job = trial.start(&["--unsupervised"]);
        job.until("some rows are there", |_| count() > more);
        job.kill();
    }
    // The server dies as well, and comes back with what it has said to hold.
    let mut running = trial.start(&["--unsupervised"]);
    running.until("some rows are there", |_| count() > 1000);
    end_all(server);
    // There are rows to send, however far the job has come.
    trial.move_in("in/b.jsonl", rows(1500..2000) + "{\"n\":2000,\"word\":\"last\"}\n");
    running.until_stderr("the job waits, and tries again until it works");
    let server = search(port, &trial);
    until("all rows are there", || count() >= 2001);
    running.stop();
    assert_eq!(count(), 2001);
    let sum = json!({ "size": 0, "aggs": { "sum": { "sum": { "field": "n" } }, "kinds": { "cardinality": { "field": "n" } } } });
    let found =
        curl(&format!("{index}/_search"), &["-H", "Content-Type: application/json", "-d", &sum.to_string()]).unwrap();
    assert_eq!(found["aggregations"]["sum"]["value"], json!(2_001_000.0));

    // A number that the mapping does not take is refused by itself.
    trial.write("job.toml", job("kind = \"file\"\npath = \"in.jsonl\""));
    trial.write(
        "in.jsonl",
        "{\"n\":1,\"word\":\"taken\"}\n{\"n\":99999,\"word\":\"too large\"}\n{\"n\":2,\"word\":\"taken\"}\n",
    );
    let told = trial.run_well(&["--fresh", "--yes"]).stderr;
    assert!(told.contains("refuses 1 of 3 rows") && told.contains("99999"), "{told}");
    assert_eq!(count(), 2003);
    end_all(server);
}

/// Ends a server with the programs that it started.
fn end_all(server: Process) {
    let children = server.children();
    server.kill();
    children.into_iter().for_each(|id| millstream_tests::signal("KILL", id));
}
