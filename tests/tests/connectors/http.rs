//! Sources and sinks that speak HTTP.

mod clickhouse;
mod crowds;
mod exactly_once;
mod fetch;
mod fetch_broken;
mod fetch_kill;
mod page;
mod receivers;
mod senders;
mod server;
mod shares;
mod sink;
pub(super) mod websocket;

use millstream_tests::{HttpClient, Process, Trial, passing};

/// A job that takes what is POSTed to this port to `out.jsonl`, and has begun to listen.
fn listening(port: u16, head: &str, source: &str, more: &str) -> (Trial, Process) {
    let source = format!("kind = \"http\"\nlisten = \"127.0.0.1:{port}\"\n{source}");
    let trial = passing(head, &source, more);
    let mut job = trial.start(&[]);
    job.wait_for_stderr("listening on http");
    (trial, job)
}

fn client(port: u16) -> HttpClient {
    HttpClient::connect(port).expect("somebody listens")
}
