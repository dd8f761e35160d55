//! The source `lumberjack`, with the client of the protocol that Filebeat itself uses (`servers/beats`), and bytes that tests send.

use flate2::Compression;
use flate2::write::ZlibEncoder;
use millstream_tests::{Certificates, DEADLINE, Process, Trial, free_port, kill, root, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

/// Includes the time to download and build it for the first time.
const BUILT_WITHIN: Duration = Duration::from_secs(900);

fn job(port: u16, source: &str) -> Trial {
    Trial::new(&format!(
        "batch = \"20ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 3\n[sources.in]\nkind = \"lumberjack\"\nlisten = \
         \"127.0.0.1:{port}\"\n{source}\n[sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n[sinks.bad]\nfrom = \
         \"in.rejected\"\nkind = \"queue\"\npath = \"bad.jsonl\"\n"
    ))
}

/// Starts a job and waits until it listens.
fn start(trial: &Trial) -> Process {
    let mut running = trial.start(&["--unsupervised"]);
    running.wait_for_stderr("listening for Beats on");
    running
}

const NUMBERS: &str = "schema = { number = \"int64\" }";

/// Sends as Filebeat does: events from `first` on, their number, events per window, compression level, with these files for TLS.
fn beats(port: u16, [first, count, window, level]: [usize; 4], files: &[&str]) -> Process {
    let built = Process::start(&mut Command::new(root().join("scripts/beats.sh"))).wait_within(BUILT_WITHIN);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let mut command = Command::new(built.stdout.trim());
    command.arg(format!("localhost:{port}")).args([first, count, window, level].map(|number| number.to_string()));
    Process::start(command.args(files))
}

/// Waits until all is acknowledged.
fn acknowledged(sender: Process) -> String {
    let ended = sender.wait_within(DEADLINE);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    ended.stdout
}

/// A connection whose bytes a test writes itself.
fn connect(port: u16) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

fn window(count: u32) -> Vec<u8> {
    [b"2W", &count.to_be_bytes()[..]].concat()
}

fn event(number: u32, json: &str) -> Vec<u8> {
    [b"2J", &number.to_be_bytes()[..], &(json.len() as u32).to_be_bytes(), json.as_bytes()].concat()
}

fn compressed(frames: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(frames).unwrap();
    let compressed = encoder.finish().unwrap();
    [b"2C", &(compressed.len() as u32).to_be_bytes()[..], &compressed].concat()
}

/// The number of the next acknowledgement; `None`: the connection has ended.
fn answer(socket: &mut TcpStream) -> Option<u32> {
    let mut bytes = [0; 6];
    socket.read_exact(&mut bytes).ok()?;
    assert_eq!(&bytes[..2], b"2A");
    Some(u32::from_be_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]))
}

#[test]
fn events_of_filebeat_become_rows() {
    let port = free_port();
    let trial = job(port, "");
    let running = start(&trial);
    for (first, level) in [(0, 0), (250, 3)] {
        let output = acknowledged(beats(port, [first, 250, 100, level], &[]));
        assert_eq!(output.lines().count(), 3, "{output}");
        // Acknowledged events are planned and are output.
        wait_until("all of it came", || trial.rows("out.jsonl").len() >= first + 250);
    }
    let rows = trial.rows("out.jsonl");
    assert_eq!(rows.len(), 500, "each once, as nothing went wrong");
    let expected = json!({
        "time": "2023-11-14T22:13:20.007000Z", "message": "line 7", "host": "web-1", "file": "/var/log/app.log"
    });
    assert_eq!(rows[7], expected);
    assert_eq!(rows[499]["message"], "line 499");
    running.stop();
    // It resumes, and rejects what is not an event on its own.
    trial.change("[sources.in]", &format!("[sources.in]\n{NUMBERS}"));
    let running = start(&trial);
    let mut socket = connect(port);
    let frames =
        [event(1, "{\"number\":1}"), event(2, "none"), compressed(&event(3, "{\n\"number\" : 3}")), event(9, "{}")];
    socket.write_all(&[window(4), frames.concat()].concat()).unwrap();
    assert_eq!(answer(&mut socket), Some(9), "the number of the last event");
    wait_until("all of it came", || trial.rows("out.jsonl").len() == 503 && trial.rows("bad.jsonl").len() == 1);
    let numbers: Vec<Value> = trial.rows("out.jsonl")[500..].iter().map(|row| row["number"].clone()).collect();
    assert_eq!(numbers, [json!(1), json!(3), Value::Null]);
    running.stop();
}

/// However often the job dies, acknowledged events are output; others are sent again.
#[test]
fn nothing_is_lost_when_the_job_is_killed() {
    loses_nothing(NUMBERS.to_owned(), &[]);
}

#[test]
fn nothing_is_lost_if_all_processes_listen() {
    let processes = ["--processes", "2", "--hosts", &millstream_tests::two_hosts()];
    loses_nothing(format!("spread = true\n{NUMBERS}"), &processes);
}

fn loses_nothing(source: String, processes: &[&str]) {
    const EVENTS: usize = 20_000;
    let port = free_port();
    let trial = job(port, &source);
    let mut running = trial.start(&[&["--restarts-max", "100"], processes].concat());
    running.wait_for_stderr("listening for Beats on");
    let mut sender = beats(port, [0, EVENTS, 50, 3], &[]);
    let mut kills = 0;
    sender.wait_until("all is acknowledged", |sender| {
        let came = sender.stdout().lines().count();
        if came > 60 * (kills + 1)
            && kills < 4
            && let Some(child) = running.children().first()
        {
            kill(*child);
            kills += 1;
        }
        came == EVENTS / 50
    });
    assert!(kills >= 3, "{kills}");
    acknowledged(sender);
    let rows = || trial.rows("out.jsonl").iter().map(|row| row["number"].as_u64().unwrap()).collect::<Vec<_>>();
    wait_until("all of it came", || rows().iter().collect::<BTreeSet<_>>().len() == EVENTS);
    running.wait_until("it ends", |running| {
        running.signal("TERM");
        true
    });
    assert_eq!(running.wait().code, Some(0));
    let all = rows();
    // Windows that were accepted and not acknowledged in time are duplicated, only a few at each kill.
    assert!(all.len() < EVENTS + 50 * 40, "{}", all.len());
}

/// A sender that waits for a batch is notified to keep waiting.
#[test]
fn a_sender_that_waits_for_a_batch_is_kept_alive() {
    let port = free_port();
    let trial = job(port, NUMBERS);
    trial.change("batch = \"20ms\"", "batch = \"5s\"");
    let running = start(&trial);
    let mut socket = connect(port);
    // The first one may come with a batch immediately; of the others, some wait.
    let mut received = Vec::new();
    for number in 1..=2 {
        socket.write_all(&[window(1), event(number, "{\"number\":1}")].concat()).unwrap();
        while received.last() != Some(&number) {
            received.push(answer(&mut socket).unwrap());
        }
    }
    assert!(received.contains(&0), "{received:?}");
    // Consecutive windows need not wait for each other's acknowledgements, and those are in order.
    let began = Instant::now();
    for number in 3..=8 {
        socket.write_all(&[window(1), event(number, "{\"number\":1}")].concat()).unwrap();
    }
    let mut answers = Vec::new();
    while answers.len() < 6 {
        answers.extend(answer(&mut socket).filter(|number| *number > 0));
    }
    assert_eq!(answers, (3..=8).collect::<Vec<_>>());
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    running.stop();
}

#[test]
fn strangers_neither_delay_senders_nor_fill_memory() {
    let port = free_port();
    let trial = job(
        port,
        &format!("{NUMBERS}\nwindow_bytes_max = \"2MiB\"\nwindow_time_max = \"1s\"\nconnections_max = 300\n"),
    );
    let mut running = start(&trial);
    // A hundred times the limit, compressed to little.
    let bomb = compressed(&event(1, &" ".repeat(200 << 20)));
    let large = [window(1), event(1, &" ".repeat(3 << 20))].concat();
    for (bytes, output) in [
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), "it does not speak the protocol of Beats"),
        ([window(1), bomb].concat(), ""),
        (large, ""),
        (b"1W\0\0\0\x01".to_vec(), ""),
        ([window(2), window(2)].concat(), ""),
        ([window(1), b"2C\0\0\0\x04abcd".to_vec()].concat(), ""),
        (event(1, "{}"), ""),
        (vec![0x16, 3, 1, 2, 0, 1, 0], ""),
    ] {
        let mut socket = connect(port);
        // It may be rejected before everything is written.
        let _ = socket.write_all(&bytes);
        assert_eq!(answer(&mut socket), None);
        if !output.is_empty() {
            running.wait_for_stderr(output);
        }
    }
    // Connections that send nothing, or begin a window and stop.
    let mut held: Vec<TcpStream> = (0..100).map(|_| connect(port)).collect();
    let begun = [window(1000), event(1, "{}"), b"2J\0\0\0\x02\x7f\xff\xff\xff{".to_vec()].concat();
    held.extend((0..100).map(|_| {
        let mut socket = connect(port);
        socket.write_all(&begun).unwrap();
        socket
    }));
    acknowledged(beats(port, [0, 1000, 100, 3], &[]));
    wait_until("those that began a window and said no more are gone", || {
        held.iter_mut().rev().take(100).all(|socket| {
            socket.set_nonblocking(true).unwrap();
            !matches!(socket.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        })
    });
    let (_, peak) = running.memory_bytes();
    assert!(peak < 300 << 20, "{peak} bytes");
    let output = running.stderr().matches("rejected").count();
    assert!((1..10).contains(&output), "a line now and then: {output}");
    running.stop();
    assert_eq!(trial.rows("out.jsonl").len(), 1000);
}

#[test]
fn tls_with_certificates_of_senders() {
    let port = free_port();
    let ca = Certificates::make();
    let own = ca.of("localhost", "DNS:localhost", 2);
    let theirs = ca.of("web-1", "DNS:web-1", 2);
    let other = Certificates::make();
    let foreign = other.of("web-2", "DNS:web-2", 2);
    let [cert, key, theirs_cert, theirs_key, foreign_cert, foreign_key] =
        [&own.0, &own.1, &theirs.0, &theirs.1, &foreign.0, &foreign.1].map(|path| path.display().to_string());
    let issuer = ca.ca().display().to_string();
    let trial = job(port, &format!("{NUMBERS}\ntls = {{ cert = \"{cert}\", key = \"{key}\", ca = \"{issuer}\" }}"));
    let mut running = start(&trial);
    assert!(running.stderr().contains(&format!("127.0.0.1:{port} with TLS")), "{}", running.stderr());
    acknowledged(beats(port, [0, 100, 10, 3], &[&issuer, &theirs_cert, &theirs_key]));
    wait_until("all of it came", || trial.rows("out.jsonl").len() == 100);
    // Without a certificate, with an unknown one, and without TLS.
    let mut socket = connect(port);
    socket.write_all(&[window(1), event(1, "{}")].concat()).unwrap();
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"2A"));
    running.wait_for_stderr("TLS: it does not use TLS; set `ssl.enabled: true` for its output");
    for files in [&[&*issuer][..], &[&issuer, &foreign_cert, &foreign_key]] {
        let mut sender = beats(port, [100, 10, 10, 0], files);
        sender.wait_until("it is refused", |sender| !sender.stderr().is_empty());
        assert_eq!(sender.stdout(), "");
        sender.kill();
    }
    running.stop();
    assert_eq!(trial.rows("out.jsonl").len(), 100);
}
