//! Senders that others wrote: a Flume agent, and a stream of Pekko, post into the `http` source. `make servers` fetches them.

use super::listening;
use millstream_tests::{Process, Trial, free_port, jars, java, passing, root, wait_until};
use std::process::Command;

#[test]
fn a_flume_agent_delivers_lines_through_its_http_sink() {
    let port = free_port();
    let more = "[checkpoint]\ndir = \"kept\"";
    let (trial, job) = listening(port, &format!("batch = \"20ms\"\n{more}"), "", "");
    let lines: Vec<String> = (0..300).map(|n| format!("line {n} of a log")).collect();
    trial.write("spool/a.log", lines.join("\n") + "\n");
    let dir = trial.dir().display();
    trial.write(
        "flume.conf",
        format!(
            "a.sources = in\na.channels = c\na.sinks = out\n\
             a.sources.in.type = spooldir\na.sources.in.spoolDir = {dir}/spool\na.sources.in.channels = c\n\
             a.channels.c.type = memory\na.channels.c.capacity = 1000\n\
             a.sinks.out.type = http\na.sinks.out.channel = c\na.sinks.out.endpoint = http://127.0.0.1:{port}/in\n\
             a.sinks.out.connectTimeout = 5000\na.sinks.out.requestTimeout = 30000\n\
             a.sinks.out.acceptHeader = application/json\na.sinks.out.contentTypeHeader = text/plain\n\
             a.sinks.out.defaultBackoff = true\na.sinks.out.defaultRollback = true\n\
             a.sinks.out.defaultIncrementMetrics = false\n\
             a.sinks.out.backoff.200 = false\na.sinks.out.rollback.200 = false\na.sinks.out.incrementMetrics.200 = true\n"
        ),
    );
    let mut flume = java(&jars("flume.sh"));
    flume.args(["org.apache.flume.node.Application", "-n", "a", "-f"]).arg(trial.path("flume.conf"));
    let mut agent = Process::start(&mut flume);
    agent.wait_until("half of the lines are there", |_| trial.values("out.jsonl").len() > lines.len() / 2);
    // Nothing is lost when the job dies: the agent repeats requests without a response.
    job.kill();
    let mut job = trial.start(&[]);
    job.wait_for_stderr("listening on http");
    let all = |trial: &Trial| {
        let mut found = trial.values("out.jsonl");
        let count = found.len();
        found.sort();
        found.dedup();
        (found, count)
    };
    agent.wait_until("all lines are there", |_| all(&trial).0.len() == lines.len());
    let (found, count) = all(&trial);
    let mut expected = lines.clone();
    expected.sort();
    assert_eq!(found, expected);
    // It does not number its requests: what was in transit when the job died may be duplicated.
    assert!(count <= lines.len() + 2, "{count} rows");
    agent.kill();
    job.stop();
}

/// The program `tests/servers/Posts.java`, compiled; and its class path.
fn posts() -> (Trial, String) {
    let jars = jars("pekko.sh");
    let made = Trial::new("");
    let source = root().join("tests/servers/Posts.java");
    let compiled = Command::new("javac").args(["-cp", &jars, "-d"]).arg(made.dir()).arg(source).output();
    let compiled = compiled.expect("there is a javac; scripts/setup.sh tests installs it");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let path = format!("{}:{jars}", made.dir().display());
    (made, path)
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn a_pekko_stream_posts_with_backpressure_and_no_row_is_duplicated() {
        let (_made, path) = posts();
        let port = free_port();
        let source =
            format!("kind = \"http\"\nlisten = \"127.0.0.1:{port}\"\nformat = \"json\"\nschema = {{ n = \"int64\" }}");
        let trial = passing("batch = \"20ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 5", &source, "");
        let numbers = || trial.rows("out.jsonl").iter().map(|row| row["n"].as_i64().unwrap()).collect::<Vec<_>>();
        // Nothing listens yet: the stream waits, with a bounded number of requests in transit.
        let mut stream = java(&path);
        stream.args(["Posts"]).args([
            format!("http://127.0.0.1:{port}/in"),
            "posts-1".into(),
            "3000".into(),
            "10".into(),
        ]);
        let mut stream = Process::start(&mut stream);
        for more in [500, 1200, 2000] {
            let mut job = trial.start(&["--unsupervised"]);
            job.wait_for_stderr("listening on http");
            stream.wait_until("some rows are there", |_| numbers().len() > more);
            job.kill();
        }
        let mut job = trial.start(&[]);
        job.wait_for_stderr("listening on http");
        stream.wait_until("all are sent", |stream| stream.stdout().contains("all 3000 are sent"));
        let message = stream.wait();
        assert_eq!(message.code, Some(0), "{}", message.stderr);
        wait_until("all rows are there", || numbers().len() >= 3000);
        assert_eq!(numbers(), (1..=3000).collect::<Vec<_>>());
        assert!(!message.stdout.contains(" 0 requests were repeated"), "{}", message.stdout);
        for line in message.stdout.lines().filter_map(|line| line.strip_prefix("sent up to ")) {
            let (sent, made) = line.split_once(" of ").unwrap();
            let ahead = made.parse::<i64>().unwrap() - sent.parse::<i64>().unwrap();
            assert!(ahead < 100, "the stream runs {ahead} rows ahead of the job");
        }
        job.stop();
    }
}
