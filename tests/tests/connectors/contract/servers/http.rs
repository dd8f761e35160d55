//! `http`: a server that is polled, and one that accepts rows.

use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use millstream_tests::{HttpRequest, HttpServer, free_port};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that the server takes in one request.
const BODY_MAX: usize = 50_000;
/// Rows of a response.
const PAGE: usize = 40;

/// What a server has, by path.
type Rows = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

/// A server that wants a token. GET gives the rows after `since`, and POST adds rows.
pub struct Server {
    http: HttpServer,
    rows: Rows,
}

impl Server {
    /// Starts it.
    pub fn start() -> Server {
        let rows = Rows::default();
        let kept = rows.clone();
        let http = HttpServer::start(free_port(), move |request, _| Some(answer(&kept, request)));
        Server { http, rows }
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<String, Vec<String>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn url(target: &Target) -> String {
        let (scheme, location) = (target.scheme("http", "https"), &target.location);
        format!("url = \"{scheme}://127.0.0.1:{}/{location}\"\ntoken = \"${{PW}}\"\n{}", target.port, target.tls())
    }
}

fn number(row: &str) -> Option<u64> {
    serde_json::from_str::<Value>(row).ok()?["n"].as_u64()
}

fn answer(rows: &Rows, request: &HttpRequest) -> (u16, String, String) {
    let told = |status, body: String| (status, String::new(), body);
    if request.header("authorization") != Some(&format!("Bearer {SECRET}")) {
        return told(401, "who are you".into());
    }
    let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
    let path = request.line.split(' ').nth(1).unwrap_or_default();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let of_path = rows.entry(path.trim_start_matches('/').to_owned()).or_default();
    if request.line.starts_with("POST") {
        if request.body.len() > BODY_MAX {
            return told(413, "too much".into());
        }
        of_path.extend(request.body.lines().map(str::to_owned));
        return told(200, "{}".into());
    }
    let since: Option<u64> = query.strip_prefix("since=").and_then(|since| since.parse().ok());
    let location = since.and_then(|since| of_path.iter().position(|row| number(row) == Some(since)));
    let page = of_path.iter().skip(location.map_or(0, |location| location + 1)).take(PAGE);
    told(200, format!("[{}]", page.cloned().collect::<Vec<_>>().join(",")))
}

/// The source that polls the server.
pub struct AsSource<'a>(pub &'a Server);
/// The sink that posts to the server.
pub struct AsSink<'a>(pub &'a Server);

impl Connector for AsSource<'_> {
    fn kind(&self) -> &'static str {
        "http"
    }

    fn promise(&self) -> Promise {
        Promise::ExactlyOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        vec![(Case::Gone, "the server answers a cursor as it likes; it reports no deleted rows")]
    }

    fn link(&self, _: &str) -> Link {
        Link::to(self.0.http.port())
    }

    fn port(&self) -> u16 {
        self.0.http.port()
    }

    fn lines(&self, target: &Target) -> String {
        let cursor = "cursor = { parameter = \"since\", field = \"n\" }\n";
        Server::url(target) + "every = \"20ms\"\n" + cursor + SCHEMA
    }

    fn create(&self, location: &str) {
        self.0.rows().insert(location.to_owned(), Vec::new());
    }

    fn denied(&self) -> &'static str {
        "401 Unauthorized"
    }
}

impl Source for AsSource<'_> {
    fn send_records(&self, location: &str, records: Vec<(u64, String)>) {
        let mut rows = self.0.rows();
        rows.entry(location.to_owned()).or_default().extend(records.into_iter().map(|(_, record)| record));
    }
}

impl Connector for AsSink<'_> {
    fn kind(&self) -> &'static str {
        "http"
    }

    fn promise(&self) -> Promise {
        Promise::AtLeastOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        vec![(Case::Gone, "a sink has no position")]
    }

    fn link(&self, _: &str) -> Link {
        Link::to(self.0.http.port())
    }

    fn port(&self) -> u16 {
        self.0.http.port()
    }

    fn lines(&self, target: &Target) -> String {
        Server::url(&Target { location: format!("{}-out", target.location), ..target.clone() })
    }

    fn create(&self, _: &str) {}

    fn denied(&self) -> &'static str {
        "401 Unauthorized"
    }
}

impl Sink for AsSink<'_> {
    fn read(&self, location: &str) -> Vec<u64> {
        let rows = self.0.rows().get(&format!("{location}-out")).cloned().unwrap_or_default();
        rows.iter().map(|row| number(row).expect("a number")).collect()
    }

    fn kill_points(&self) -> Vec<&'static str> {
        vec!["plan.durable:2", "commit.before:2", "commit.after:2"]
    }

    fn too_long(&self) -> (usize, &'static str) {
        (BODY_MAX, "lower `request_bytes_max`")
    }
}
