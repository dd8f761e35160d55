//! Receivers that others wrote: batches of the `http` sink in a real OpenSearch. `make servers` fetches it.

use millstream_tests::{Process, Random, Trial, free_port, holds_within, root, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Includes the time to download it, if needed.
const FETCHED_WITHIN: Duration = Duration::from_secs(900);
/// A busy machine takes its time.
const STARTED_WITHIN: Duration = Duration::from_secs(180);

/// The server's response to this request of curl, as JSON.
fn curl(url: &str, more: &[&str]) -> Option<Value> {
    let message = Command::new("curl").args(["-sS", "-m", "20", url]).args(more).output().expect("there is a curl");
    serde_json::from_slice(&message.stdout).ok()
}

/// Starts an OpenSearch on this port that keeps its data in a directory, and waits until it responds.
fn search(port: u16, trial: &Trial) -> Process {
    let mut command = Command::new(root().join("scripts/opensearch.sh"));
    let server = Process::start(command.arg(port.to_string()).arg(trial.path("search")));
    let url = format!("http://127.0.0.1:{port}/_cluster/health?wait_for_status=yellow&timeout=10s");
    let answers = || curl(&url, &[]).is_some_and(|health| health["status"] != Value::Null);
    assert!(holds_within(STARTED_WITHIN, answers), "{}{}", server.stdout(), server.stderr());
    server
}

/// One server at a time: each takes a good part of a machine to start. Checks that the server is installed.
fn lock_machine() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let fetched = Process::start(&mut Command::new(root().join("scripts/opensearch.sh"))).wait_within(FETCHED_WITHIN);
    assert_eq!(fetched.code, Some(0), "{}", fetched.stderr);
    alone
}

/// Ends a server with the programs that it started.
fn end_all(server: Process) {
    let children = server.children();
    server.kill();
    children.into_iter().for_each(|id| millstream_tests::signal("KILL", id));
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    /// Rows of a key share a document, which the last of them is, or deletes; the job is killed between batches and within them.
    #[test]
    fn opensearch_stores_the_last_row_of_each_key() {
        let _alone = lock_machine();
        let port = free_port();
        let trial = Trial::new(&format!(
            "batch = \"10ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 20\n[sources.in]\nkind = \"directory\"\npath = \"in\"\n\
         format = \"json\"\nschema = {{ op = \"text\", id = \"int64\", n = \"int64\" }}\nrows_per_batch_max = 40\n[sinks.search]\n\
         from = \"in\"\nkind = \"http\"\nurl = \"http://127.0.0.1:{port}/_bulk\"\nbody = \"bulk\"\nindex = \"latest\"\n\
         key = \"id\"\nop = \"op\"\nrows_per_request_max = 7\n"
        ));
        let mut random = Random::new(5);
        let (mut text, mut expected) = (String::new(), BTreeMap::new());
        for n in 0..1500 {
            // The last ones are written, so that they can be waited for.
            let id = if n >= 1490 { n } else { random.from(0, 50) };
            let op =
                if n >= 1490 { "insert" } else { ["insert", "update", "upsert", "delete"][random.from(0, 3) as usize] };
            text += &format!("{}\n", json!({ "op": op, "id": id, "n": n }));
            match op {
                "delete" => drop(expected.remove(&id)),
                _ => drop(expected.insert(id, n)),
            }
        }
        trial.write("in/a.jsonl", text);
        std::fs::create_dir_all(trial.path("search")).unwrap();
        let server = search(port, &trial);
        let index = format!("http://127.0.0.1:{port}/latest");
        let found = || {
            curl(&format!("{index}/_refresh"), &["-X", "POST"]);
            let hits = curl(&format!("{index}/_search?size=1000"), &[]).unwrap_or_default()["hits"]["hits"].take();
            let document = |hit: &Value| {
                assert_eq!(hit["_source"]["id"].to_string(), hit["_id"].as_str().unwrap());
                assert!(hit["_source"].get("op").is_none());
                (hit["_source"]["id"].as_u64().unwrap(), hit["_source"]["n"].as_u64().unwrap())
            };
            hits.as_array().map(|hits| hits.iter().map(document).collect::<BTreeMap<_, _>>()).unwrap_or_default()
        };
        for fault in ["kill@commit.before:12", "kill@commit.after:20", "kill@commit.after:15"] {
            let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
            let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", fault)).wait();
            assert_eq!(ended.code, None, "{fault}: {}", ended.stderr);
        }
        let job = trial.start(&["--unsupervised"]);
        wait_until("all is there", || found() == expected);
        job.stop();
        end_all(server);
    }

    #[test]
    fn opensearch_stores_each_row_once_though_job_and_server_are_killed() {
        let _alone = lock_machine();
        let port = free_port();
        let job_text = |source: &str| {
            format!(
                "batch = \"10ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 20\n[sources.in]\n{source}\nformat = \"json\"\n\
             schema = {{ n = \"int64\", word = \"text\" }}\nrows_per_batch_max = 50\n[sinks.search]\nfrom = \"in\"\nkind = \"http\"\n\
             url = \"http://127.0.0.1:{port}/_bulk\"\nbody = \"bulk\"\nindex = \"events\"\non_error = \"reject\"\n"
            )
        };
        // A directory never ends, so the job runs for as long as it is needed.
        let trial = Trial::new(&job_text("kind = \"directory\"\npath = \"in\""));
        let rows = |range: std::ops::Range<u32>| {
            range.map(|n| format!("{{\"n\":{n},\"word\":\"w{}\"}}\n", n % 7)).collect::<String>()
        };
        trial.write("in/a.jsonl", rows(0..1500));
        std::fs::create_dir_all(trial.path("search")).unwrap();
        let server = search(port, &trial);
        let index = format!("http://127.0.0.1:{port}/events");
        let mapping =
            json!({ "mappings": { "properties": { "word": { "type": "keyword" }, "n": { "type": "short" } } } });
        let made = curl(&index, &["-X", "PUT", "-H", "Content-Type: application/json", "-d", &mapping.to_string()]);
        assert_eq!(made.unwrap()["acknowledged"], json!(true));
        let count = || {
            let found =
                curl(&format!("{index}/_refresh"), &["-X", "POST"]).and_then(|_| curl(&format!("{index}/_count"), &[]));
            found.and_then(|found| found["count"].as_u64()).unwrap_or(0)
        };
        for more in [200, 700] {
            let mut job = trial.start(&["--unsupervised"]);
            job.wait_until("some rows are there", |_| count() > more);
            job.kill();
        }
        // The server dies as well, and comes back with the data it has confirmed.
        let mut again = trial.start(&["--unsupervised"]);
        again.wait_until("some rows are there", |_| count() > 1000);
        end_all(server);
        // There are rows to send, however far the job is.
        trial.move_in("in/b.jsonl", rows(1500..2000) + "{\"n\":2000,\"word\":\"last\"}\n");
        again.wait_for_stderr("the job waits and retries until it works");
        let server = search(port, &trial);
        wait_until("all rows are there", || count() >= 2001);
        again.stop();
        assert_eq!(count(), 2001);
        let sum = json!({ "size": 0, "aggs": { "sum": { "sum": { "field": "n" } }, "kinds": { "cardinality": { "field": "n" } } } });
        let found =
            curl(&format!("{index}/_search"), &["-H", "Content-Type: application/json", "-d", &sum.to_string()])
                .unwrap();
        assert_eq!(found["aggregations"]["sum"]["value"], json!(2_001_000.0));

        // Only the number that does not match the mapping is rejected.
        trial.write("job.toml", job_text("kind = \"file\"\npath = \"in.jsonl\""));
        trial.write(
            "in.jsonl",
            "{\"n\":1,\"word\":\"taken\"}\n{\"n\":99999,\"word\":\"too large\"}\n{\"n\":2,\"word\":\"taken\"}\n",
        );
        let message = trial.run_ok(&["--fresh", "--yes"]).stderr;
        assert!(message.contains("rejected 1 of 3 rows") && message.contains("99999"), "{message}");
        assert_eq!(count(), 2003);
        end_all(server);
    }
}
