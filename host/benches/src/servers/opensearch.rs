//! An OpenSearch index, which receives rows by `_bulk`.

use super::output_of;
use crate::comparison::{Comparison, rows_or, run_job, run_own};
use crate::measure::{job, root};
use crate::rows::{self, Row};
use millstream_tests::{HttpClient, Process, free_port};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Rows of a request.
const ROWS: usize = 10_000;
const STARTED_WITHIN: Duration = Duration::from_secs(180);

/// Runs this part.
pub fn run(dir: &Path) {
    let rows = rows_or(100_000);
    output_of("opensearch.sh", &[]);
    let port = free_port();
    let data = dir.join("search");
    std::fs::create_dir_all(&data).expect("a directory");
    let mut command = Command::new(root().join("scripts/opensearch.sh"));
    let server = Process::start(command.arg(port.to_string()).arg(&data));
    let began = Instant::now();
    while request(port, "GET", "/_cluster/health?wait_for_status=yellow&timeout=10s", "").is_none() {
        assert!(began.elapsed() < STARTED_WITHIN, "{}{}", server.stdout(), server.stderr());
        std::thread::sleep(Duration::from_millis(200));
    }
    let file = rows::file(dir, rows);
    let job_of = |round| {
        let settings = format!("url = \"http://127.0.0.1:{port}/_bulk\"\nbody = \"bulk\"\nindex = \"job-{round}\"");
        rows::writing("http", &settings)
    };
    let text = job_of(0);
    let (port, file) = (port.to_string(), file.to_string_lossy());
    let baseline = "a program that sends 10,000 rows at a time to the `_bulk` of OpenSearch";
    Comparison { connector: ("`http`", "sink"), rows, baseline, job: &text }.run(
        // Repeated rows cause a server other work than new ones.
        |round| run_own("opensearch-write", &[&port, &file, &format!("plain-{round}")]),
        |round| run_job(&job(dir, &job_of(round)), rows),
    );
}

/// Returns the status of a response, and the response; `None`: there is none.
fn request(port: u16, method: &str, path: &str, body: &str) -> Option<String> {
    let mut client = HttpClient::connect(port).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.say(head.as_bytes()).and_then(|()| client.say(body.as_bytes())).ok()?;
    client.reply().ok().filter(|reply| reply.status == 200).map(|reply| reply.body)
}

/// Writes the rows of a file.
pub fn write(port: &str, file: &str, index: &str) {
    let port = port.parse().expect("a port");
    let mut lines = (0..).zip(rows::lines(file)).peekable();
    while lines.peek().is_some() {
        let mut body = String::new();
        for (n, line) in lines.by_ref().take(ROWS) {
            let row = sonic_rs::to_string(&Row::parse(line.as_bytes())).expect("JSON");
            body += &format!("{{\"index\":{{\"_index\":\"{index}\",\"_id\":\"bench/{n}\"}}}}\n{row}\n");
        }
        let response = request(port, "POST", "/_bulk", &body).expect("an answer");
        assert!(response.contains("\"errors\":false"), "{}", response.get(..500).unwrap_or(&response));
    }
}
