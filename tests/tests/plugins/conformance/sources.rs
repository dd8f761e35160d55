//! `tests/conformance/lines`: what cases do not show of a source. Each language reads from the same servers, in
//! jobs.

use super::built::{TAKES_AT_MOST, component};
use millstream::internals::author::language::Language;
use millstream_tests::{Ended, Trial, free_port, wait_until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A server that sends each connection a text and closes it, and records what it receives.
#[derive(Clone)]
struct Server {
    address: String,
    told: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `sends`: the texts for the first connection, the second one and so on; later connections get the last. After an empty
    /// text, the connection stays open until the other side closes it.
    fn start(sends: &[&str]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server { address: listener.local_addr().unwrap().to_string(), told: Arc::default() };
        let (serving, sends) = (server.clone(), sends.iter().map(|text| text.to_string()).collect::<Vec<_>>());
        thread::spawn(move || {
            for (number, connection) in listener.incoming().enumerate() {
                let text = sends.get(number).or(sends.last()).cloned().unwrap_or_default();
                let serving = serving.clone();
                thread::spawn(move || serving.serve(connection.unwrap(), &text));
            }
        });
        server
    }

    fn serve(&self, mut connection: TcpStream, text: &str) {
        let mut received_bytes = BufReader::new(connection.try_clone().unwrap());
        self.hear(&mut received_bytes);
        // Bytes that are not UTF-8 are represented here as one character each.
        let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        if connection.write_all(&bytes).is_err() {
            return;
        }
        if !text.ends_with("END\n") {
            let _ = connection.shutdown(Shutdown::Both);
        }
        while self.hear(&mut received_bytes) {}
    }

    fn hear(&self, received_bytes: &mut BufReader<TcpStream>) -> bool {
        let mut line = String::new();
        if !received_bytes.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            return false;
        }
        self.told.lock().unwrap().push(line.trim_end().to_owned());
        true
    }

    /// The received lines that begin with a word.
    fn received(&self, word: &str) -> Vec<String> {
        let told = self.told.lock().unwrap();
        told.iter().filter_map(|line| line.strip_prefix(word)).map(|rest| rest.trim().to_owned()).collect()
    }
}

/// A job that reads from these addresses.
fn job(language: Language, addresses: &[&str], config: &str) -> Trial {
    let plugin = component("lines", language).unwrap_or_else(|strings| panic!("{language}: {strings}"));
    let granted = ["tcp", "udp"].map(|kind| {
        let of_kind = addresses.iter().filter(|address| address.starts_with("udp:") == (kind == "udp"));
        let of_kind: Vec<String> =
            of_kind.map(|address| format!("\"{}\"", address.trim_start_matches("udp:"))).collect();
        // An empty list is an error.
        if of_kind.is_empty() { String::new() } else { format!("grant.{kind} = [{}]\n", of_kind.join(", ")) }
    });
    Trial::new(&format!(
        "name = \"lines\"\nbatch = \"50ms\"\n[checkpoint]\ndir = \"checkpoint\"\nevery = \"100ms\"\n[sources.lines]\nkind = \"plugin\"\n\
         plugin = \"{}\"\nconfig = {{ {config} }}\n{}\
         [sinks.out]\nfrom = \"lines\"\nkind = \"queue\"\npath = \"out.jsonl\"\n\
         [sinks.bad]\nfrom = \"lines.rejected\"\nkind = \"queue\"\npath = \"bad.jsonl\"\n",
        plugin.display(),
        granted.concat(),
    ))
}

fn reading(language: Language, addresses: &[&str]) -> Trial {
    let quoted: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    job(language, addresses, &format!("addresses = [{}]", quoted.join(", ")))
}

fn run(trial: &Trial, arguments: &[&str]) -> Ended {
    let mut command = trial.command(&[&["run", "job.toml"], arguments].concat());
    millstream_tests::Process::start(&mut command).wait_within(TAKES_AT_MOST)
}

fn row(seq: i64, text: &str) -> Value {
    json!({ "seq": seq, "text": text, "half": (seq % 2 == 0).then_some(seq / 2) })
}

/// Rows, rejected lines and positions are the same in every language; the next start resumes after what was read.
pub fn check_rows_and_positions(language: Language) {
    // The connection breaks off within a line.
    let first = "0 zero\n1 eins \u{c3}\u{a4}\r\nno line\n3 three\n4 fo";
    let second = "4 four\n\u{ff}\u{fe}\n6 \n7 a b  c\nEND\n";
    let servers = [Server::start(&[first, second, "END\n"]), Server::start(&["END\n"])];
    let trial = reading(language, &servers.each_ref().map(|server| server.address.as_str()));
    let ended = run(&trial, &[]);
    assert_eq!(ended.code, Some(0), "{language}: {}", ended.stderr);
    let rows = vec![row(0, "zero"), row(1, "eins ä"), row(3, "three"), row(4, "four"), row(6, ""), row(7, "a b  c")];
    assert_eq!(trial.rows("out.jsonl"), rows, "{language}");
    let refused: Vec<Value> = trial.rows("bad.jsonl");
    let strings: Vec<&str> = refused.iter().map(|row| row["reason"].as_str().unwrap()).collect();
    assert_eq!(strings, ["expected a number and a message"; 2], "{language}: {refused:?}");
    assert_eq!(refused[0]["value"], "no line", "{language}");
    assert_eq!(servers[0].received("FROM"), ["0", "4"], "{language}");
    assert_eq!(servers[0].received("ACK").last().map(String::as_str), Some("8"), "{language}");
    for strings in ["is opened at 4", "retrying until it works"] {
        assert!(ended.stderr.contains(strings), "{language}: {strings} in {}", ended.stderr);
    }
    let again = run(&trial, &[]);
    assert_eq!(again.code, Some(0), "{language}: {}", again.stderr);
    assert_eq!(trial.rows("out.jsonl"), rows, "{language}: nothing is left");
    assert_eq!(servers[0].received("FROM"), ["0", "4", "8"], "{language}");
    assert_eq!(servers[1].received("FROM"), ["0", "0"], "{language}");
}

/// Errors are reported with their kind: an error of the config, a transient error of the source, or a bug of the plugin.
pub fn check_errors(language: Language) {
    for (config, strings) in [
        ("addresses = []", "`addresses` is empty"),
        ("", "missing field `addresses`"),
        ("addresses = [], more = 1", "unknown field `more`"),
    ] {
        // The C SDK treats an omitted list as empty.
        let strings = if language == Language::C && config.is_empty() { "`addresses` is empty" } else { strings };
        let ended = job(language, &[], config).run_command(&["validate", "job.toml"]);
        assert_eq!(ended.code, Some(2), "{language}, {config}: {}", ended.stderr);
        assert!(ended.stderr.contains(strings), "{language}, {config}: {}", ended.stderr);
    }
    let wrong = Server::start(&["0 wrong config\nEND\n"]);
    let ended = run(&reading(language, &[&wrong.address]), &[]);
    assert_eq!(ended.code, Some(2), "{language}: {}", ended.stderr);
    assert!(
        ended.stderr.contains("rejects its config in `poll`: the config does not fit"),
        "{language}: {}",
        ended.stderr
    );

    let mistaken = Server::start(&["0 fine\n1 mistake\nEND\n"]);
    let ended = run(&reading(language, &[&mistaken.address]), &[]);
    assert_eq!(ended.code, Some(1), "{language}: {}", ended.stderr);
    let who = "source `lines`: plugin conformance-lines 0.1.0 failed in `poll`: ";
    for strings in [who, "cannot read `mistake`", "Fix the plugin; "] {
        assert!(ended.stderr.contains(strings), "{language}: {strings} in {}", ended.stderr);
    }

    // The error is transient: another instance is opened at the position of the last poll.
    let passing = Server::start(&["5 five\nEND\n", "0 zero\nEND\n"]);
    let trial = reading(language, &[&passing.address]);
    let ended = run(&trial, &[]);
    assert_eq!(ended.code, Some(0), "{language}: {}", ended.stderr);
    assert!(ended.stderr.contains("got line 5 instead of line 0"), "{language}: {}", ended.stderr);
    assert_eq!(trial.rows("out.jsonl"), [row(0, "zero")], "{language}");

    let long = "x".repeat(2000);
    let long = Server::start(&[&long, "END\n"]);
    let ended = run(&reading(language, &[&long.address]), &[]);
    assert_eq!(ended.code, Some(0), "{language}: {}", ended.stderr);
    assert!(ended.stderr.contains("a line of more than 1000 bytes"), "{language}: {}", ended.stderr);
}

/// Datagrams are rows, truncated to the requested length.
pub fn datagrams(language: Language) {
    let address = format!("127.0.0.1:{}", free_port());
    let trial = reading(language, &[&format!("udp:{address}")]);
    let job = trial.start(&[]);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    wait_until("datagrams are rows", || {
        // Before the plugin listens they are rejected, or lost.
        match sender.send_to(b"abcdef", &address) {
            Err(error) if error.kind() != ErrorKind::ConnectionRefused => panic!("{error}"),
            _ => {}
        }
        thread::sleep(Duration::from_millis(20));
        !trial.rows("out.jsonl").is_empty()
    });
    let output = job.stop();
    assert!(!output.contains("error"), "{language}: {output}");
    assert!(trial.rows("out.jsonl").iter().all(|found| *found == row(4, "abcd")), "{language}");
}
