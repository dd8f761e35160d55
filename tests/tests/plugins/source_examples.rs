//! The sources in `plugins/`, as examples of what a source may be: a feed over HTTP, datagrams, a binary protocol. Each is killed now
//! and then. (`acked-lines` is in `source_plugins.rs`.)

use millstream_tests::{HttpServer, Process, Random, Trial, free_port, holds_within, kill, plugin, wait_until};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A job with one of these plugins.
fn job(name: &str, source: &str) -> Trial {
    let plugin = plugin(name).display().to_string();
    Trial::new(&format!(
        r#"
        name = "{name}"
        batch = "50ms"
        [checkpoint]
        dir = "checkpoint"
        every = "300ms"
        [sources.in]
        kind = "plugin"
        plugin = "{plugin}"
        {source}
        [sinks.out]
        from = "in"
        kind = "queue"
        path = "out.jsonl"
        [sinks.bad]
        from = "in.rejected"
        kind = "queue"
        path = "bad.jsonl"
        "#
    ))
}

/// Kills the job this many times, its worker or all of it, and restarts it.
fn killed(trial: &Trial, mut job: Process, seed: u64, times: usize) -> Process {
    let mut random = Random::new(seed);
    for _ in 0..times {
        thread::sleep(Duration::from_millis(random.from(200, 1200)));
        if job.has_ended() {
            break;
        }
        if random.from(0, 2) > 0 {
            job.children().iter().for_each(|child| kill(*child));
        } else {
            let children = job.children();
            job.kill();
            wait_until("its worker is gone", || children.iter().all(|child| !millstream_tests::is_alive(*child)));
            job = trial.start(&[]);
        }
    }
    job
}

fn strings(rows: &[Value], column: &str) -> Vec<String> {
    rows.iter().map(|row| row[column].as_str().unwrap_or_default().to_owned()).collect()
}

/// Entries that appear one by one; the document always has the last hundred.
#[test]
fn entries_of_a_feed_are_rows_once() {
    const ENTRIES: u64 = 80;
    let port = free_port();
    let begun = Instant::now();
    let server = HttpServer::start(port, move |request, before| {
        let count = (begun.elapsed().as_millis() as u64 / 100).min(ENTRIES);
        let tag = format!("\"{count}\"");
        if before % 7 == 3 {
            return Some((503, String::new(), "busy".into()));
        }
        if request.header("if-none-match") == Some(tag.as_str()) {
            return Some((304, String::new(), String::new()));
        }
        let entries: String = (0..count)
            .rev()
            .map(|n| {
                format!("<entry><id>urn:{n}</id><title>entry {n}</title><link href=\"http://a.example/{n}\"/></entry>")
            })
            .collect();
        let document = format!("<feed xmlns=\"http://www.w3.org/2005/Atom\"><title>all</title>{entries}</feed>");
        Some((200, format!("ETag: {tag}\r\n"), document))
    });
    let url = format!("http://127.0.0.1:{port}/feed.xml");
    let trial = job(
        "feed",
        &format!(
            "config = {{ urls = [\"{url}\"], every_seconds = 0.05 }}\ngrant = {{ http = {{ hosts = [\"127.0.0.1:{port}\"] }} }}"
        ),
    );
    let job = killed(&trial, trial.start(&[]), 7, 6);
    wait_until("all entries are there", || trial.rows("out.jsonl").len() as u64 >= ENTRIES);
    let says_what_it_has =
        |server: &HttpServer| server.requests().iter().any(|request| request.header("if-none-match").is_some());
    wait_until("it says what it has when it asks again", || says_what_it_has(&server));
    let output = job.stop();
    assert!(!output.contains("error"), "{output}");
    let rows = trial.rows("out.jsonl");
    let expected: Vec<String> = (0..ENTRIES).map(|n| format!("urn:{n}")).collect();
    // In their order, oldest first.
    assert_eq!(strings(&rows, "id"), expected);
    assert!(rows.iter().all(|row| row["feed"] == url.as_str()), "{:?}", rows.first());
    assert_eq!(rows[5]["title"], "entry 5");
}

/// A document that is not a feed, and a server that is not granted.
#[test]
fn other_documents_are_rejected_and_other_servers_are_not_reached() {
    let port = free_port();
    let _server = HttpServer::start(port, |_, _| Some((200, String::new(), "<html>sorry</html>".into())));
    let config = format!("config = {{ urls = [\"http://127.0.0.1:{port}/\"], every_seconds = 0.05 }}\n");
    let granted = format!("{config}grant = {{ http = {{ hosts = [\"127.0.0.1:{port}\"] }} }}");
    let trial = job("feed", &granted);
    let running = trial.start(&[]);
    wait_until("it is rejected", || !trial.rows("bad.jsonl").is_empty());
    running.stop();
    let bad = trial.rows("bad.jsonl");
    assert_eq!(bad.len(), 1, "once, however often it comes");
    assert!(bad[0]["reason"].as_str().unwrap().contains("is not a feed: it is a document `html`"), "{bad:?}");
    let other = job("feed", &format!("{config}grant = {{ http = {{ hosts = [\"example.com\"] }} }}"));
    let mut running = other.start(&[]);
    running.wait_for_stderr("http request denied");
    running.stop();
}

/// Numbered counters: whatever is lost while nothing listens, none is duplicated, and all are in order.
#[test]
fn metrics_over_udp_arrive_at_most_once() {
    let address = format!("127.0.0.1:{}", free_port());
    let trial = job("statsd", &format!("config = {{ listen = \"{address}\" }}\ngrant = {{ udp = [\"{address}\"] }}"));
    let (sent, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let sending = (sent.clone(), over.clone(), address.clone());
    let sender = thread::spawn(move || {
        let (sent, over, address) = sending;
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        while !over.load(Ordering::Acquire) {
            let number = sent.fetch_add(1, Ordering::AcqRel);
            let more = if number % 10 == 0 { "\nnot a metric" } else { "" };
            // The port may be closed at the moment.
            let _ = socket.send_to(format!("n:{number}|c|#k:v{more}").as_bytes(), &address);
            thread::sleep(Duration::from_millis(3));
        }
    });
    let job = killed(&trial, trial.start(&[]), 11, 5);
    // Datagrams sent after the last kill arrive.
    let last = sent.load(Ordering::Acquire);
    let newest = || trial.rows("out.jsonl").last().and_then(|row| row["value"].as_f64()).unwrap_or_default();
    let came = holds_within(Duration::from_secs(60), || newest() > last as f64);
    over.store(true, Ordering::Release);
    sender.join().unwrap();
    let output = job.stop();
    assert!(came, "nothing came after {last}: {output}");
    let rows = trial.rows("out.jsonl");
    let values: Vec<f64> = rows.iter().map(|row| row["value"].as_f64().unwrap()).collect();
    assert!(values.windows(2).all(|pair| pair[0] < pair[1]), "{values:?}");
    assert!(rows.iter().all(|row| row["kind"] == "counter" && row["tags"] == "k:v" && row["rate"] == 1.0));
    let bad = trial.rows("bad.jsonl");
    assert!(!bad.is_empty() && bad.iter().all(|row| row["value"] == "not a metric"), "{bad:?}");
}

/// A concentrator of `plugins/meters`, which drops acknowledged records and cuts its connections.
#[derive(Clone)]
struct Concentrator {
    address: String,
    count: u64,
    forgotten: Arc<AtomicU64>,
    /// The positions at which clients began, and what was dropped by then.
    opened: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl Concentrator {
    fn start(count: u64) -> Concentrator {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let own = Concentrator { address, count, forgotten: Arc::default(), opened: Arc::default() };
        let serving = own.clone();
        thread::spawn(move || {
            let (mut random, begun) = (Random::new(3), Instant::now());
            for connection in listener.incoming() {
                let (serving, cut_ms) = (serving.clone(), random.from(300, 2000));
                thread::spawn(move || serving.serve(connection.unwrap(), begun, cut_ms));
            }
        });
        own
    }

    fn serve(&self, mut connection: TcpStream, begun: Instant, cut_ms: u64) {
        let Some((word, mut next)) = message(&mut connection) else { return };
        assert_eq!(&word, b"MTR1");
        self.opened.lock().unwrap().push((next, self.forgotten.load(Ordering::Acquire)));
        let (hearing, mut received) = (self.clone(), connection.try_clone().unwrap());
        let listener = thread::spawn(move || {
            while let Some((word, number)) = message(&mut received) {
                assert_eq!(&word, b"ACK1");
                hearing.forgotten.fetch_max(number, Ordering::AcqRel);
            }
        });
        let cut = Instant::now() + Duration::from_millis(cut_ms);
        while !listener.is_finished() {
            let there = (begun.elapsed().as_millis() as u64).min(self.count);
            let mut bytes: Vec<u8> = (next..there).flat_map(record).collect();
            next = next.max(there);
            if next == self.count {
                bytes.extend([0xff; 8]);
                bytes.extend([0; 24]);
                next += 1;
            } else if Instant::now() > cut {
                // Within a record.
                bytes.extend(&record(next)[..5]);
                let _ = connection.write_all(&bytes);
                let _ = connection.shutdown(Shutdown::Both);
                return;
            }
            if connection.write_all(&bytes).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn message(from: &mut TcpStream) -> Option<([u8; 4], u64)> {
    let mut bytes = [0; 12];
    from.read_exact(&mut bytes).ok()?;
    Some((bytes[..4].try_into().unwrap(), u64::from_be_bytes(bytes[4..].try_into().unwrap())))
}

/// Every hundredth has a value that is not a number.
fn record(number: u64) -> [u8; 32] {
    let value = if number % 100 == 42 { f64::NAN } else { number as f64 / 4.0 };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes[8..16].copy_from_slice(&(number * 1_000_000).to_be_bytes());
    bytes[16..20].copy_from_slice(&((number % 5) as u32).to_be_bytes());
    bytes[20..24].copy_from_slice(&((number % 2) as u32).to_be_bytes());
    bytes[24..].copy_from_slice(&value.to_be_bytes());
    bytes
}

#[test]
fn records_of_meters_arrive_once_from_a_concentrator_that_drops_them() {
    let server = Concentrator::start(6000);
    let address = &server.address;
    let trial =
        job("meters", &format!("config = {{ addresses = [\"{address}\"] }}\ngrant = {{ tcp = [\"{address}\"] }}"));
    let ended = killed(&trial, trial.start(&[]), 5, 8).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let rows = trial.rows("out.jsonl");
    let numbers: Vec<u64> = rows.iter().map(|row| row["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..server.count).filter(|number| number % 100 != 42).collect::<Vec<_>>());
    assert_eq!(rows[3]["at"], "1970-01-01T00:00:03.000000Z");
    assert_eq!(
        (&rows[3]["meter"], &rows[3]["value"], &rows[3]["is_estimated"]),
        (&3.into(), &0.75.into(), &true.into())
    );
    assert_eq!(trial.rows("bad.jsonl").len() as u64, server.count / 100);
    assert_eq!(server.forgotten.load(Ordering::Acquire), server.count, "what came last is acknowledged before the end");
    for (from, forgotten) in server.opened.lock().unwrap().iter() {
        assert!(from >= forgotten, "asked for {from}, after {forgotten}");
    }
}
