//! What the pages about HTTP show is true.

use super::listening;
use millstream_tests::{Certificates, Process, Trial, block, blocks, free_port, passing, shown_block, wait_until};
use serde_json::json;
use std::process::Command;

/// All commands of this page are run here.
const PAGE: &str = "docs/how-to/receive-rows-over-http.md";
const WEBSOCKET: &str = "docs/reference/connectors/websocket.md";

#[test]
fn the_commands_of_the_page_work_as_described() {
    let port = free_port();
    let source = block(PAGE, "toml", "listen = \"127.0.0.1:8080\"").text;
    let source = source.replace("[sources.events]\nkind = \"http\"\nlisten = \"127.0.0.1:8080\"\n", "");
    let (trial, job) = listening(port, "batch = \"0s\"\n[checkpoint]\ndir = \"kept\"", &source, "");
    let mut output = Vec::new();
    for block in blocks(PAGE).into_iter().filter(|block| block.language == "sh") {
        let commands = block.text.replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"));
        assert_ne!(commands, block.text, "{}", block.place);
        let ended = Process::start(Command::new("sh").args(["-e", "-c", &commands])).wait();
        assert_eq!(ended.code, Some(0), "{}: {}", block.place, ended.stderr);
        output.extend(ended.stdout.lines().map(str::to_owned));
    }
    let [one, repeated] = [json!({ "rows": 1 }), json!({ "rows": 0, "repeated": true })];
    assert_eq!(output, [one.to_string(), one.to_string(), repeated.to_string()]);
    wait_until("the rows are there", || trial.rows("out.jsonl") == vec![json!({ "user": "ann", "amount": 3.5 }); 2]);
    job.stop();
}

#[test]
fn the_source_with_token_and_certificate_is_valid() {
    let source = shown_block("toml", "EVENTS_TOKEN").text.replace("[sources.events]\n", "");
    let trial = passing("", &source, "");
    let made = Certificates::make();
    let (cert, key) = made.of("own", "DNS:localhost", 2);
    std::fs::copy(cert, trial.path("own.pem")).unwrap();
    std::fs::copy(key, trial.path("own.key")).unwrap();
    let mut command = trial.command(&["validate", "job.toml"]);
    let ended = Process::start(command.env("EVENTS_TOKEN", "a-token")).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn the_page_of_a_stage_connects_to_where_its_sink_listens() {
    let page = block(WEBSOCKET, "html", "WebSocket").text;
    let sink = block(WEBSOCKET, "toml", "kind = \"websocket\"").text;
    let listen = sink.split("listen = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert!(page.contains(&format!("new WebSocket(\"ws://{listen}\")")), "{page}\n{sink}");
}

#[test]
fn the_sources_that_fetch_are_valid() {
    for (text, name) in [("every = \"10s\"", "orders"), ("wss://", "posts"), ("pages = \"link\"", "issues")] {
        let sources = shown_block("toml", text).text;
        let trial = Trial::new(&format!("{sources}\n[sinks.out]\nfrom = \"{name}\"\nkind = \"nothing\"\n"));
        let mut command = trial.command(&["validate", "job.toml"]);
        let ended = Process::start(command.env("SHOP_TOKEN", "tok-77").env("POSTS_TOKEN", "tok-88")).wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.contains("exactly once"), "{}", ended.stdout);
    }
}
