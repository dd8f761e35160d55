//! A server becomes unreachable in the middle of a start: its sink waits for it and retries, as if it had been unreachable from
//! the beginning. For PostgreSQL see `postgres/start.rs`.

use millstream_tests::{Flight, Mosquitto, Nats, Process, Rabbitmq, Redis, Trial};
use serde_json::json;
use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The maximum number of connections of a start before its first commit.
const CONNECTIONS_MAX: usize = 12;

/// A proxy between a job and its server. It counts connections and closes one of them immediately.
#[derive(Default)]
struct Between {
    made: AtomicUsize,
    /// From 1.
    ends: AtomicUsize,
}

impl Between {
    fn listen(server: u16) -> (Arc<Between>, u16) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let between = Arc::new(Between::default());
        let shared = between.clone();
        thread::spawn(move || {
            for job in listener.incoming().flatten() {
                if shared.made.fetch_add(1, Ordering::SeqCst) + 1 == shared.ends.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let ends = [(&job, &server), (&server, &job)];
                for (mut from, mut to) in ends.map(|(from, to)| (from.try_clone().unwrap(), to.try_clone().unwrap())) {
                    thread::spawn(move || {
                        let _ = copy(&mut from, &mut to);
                        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                    });
                }
            }
        });
        (between, port)
    }
}

fn port_of(url: &str) -> u16 {
    url.rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap()
}

/// Closes one connection after the other of a start, and of one that resumes from a checkpoint. `sink` gets the number of a
/// round; `is_there` checks its output.
fn each_connection(url: &str, sink: impl Fn(usize) -> String, is_there: impl Fn(usize)) -> usize {
    let server = port_of(url);
    let (between, port) = Between::listen(server);
    let url = url.replace(&format!(":{server}"), &format!(":{port}"));
    let mut waited = 0;
    for round in 1..=CONNECTIONS_MAX {
        let trial = Trial::new(&format!(
            "name = \"start\"\nbatch = \"20ms\"\n[checkpoint]\ndir = \"checkpoint\"\n[sources.in]\nkind = \"file\"\npath = \
             \"in.jsonl\"\nformat = \"json\"\nschema = {{ n = \"int64\" }}\n[sinks.out]\nfrom = \"in\"\nurl = \"{url}\"\nwait = \
             \"1m\"\n{}\n",
            sink(round)
        ));
        trial.write("in.jsonl", "{\"n\":1}\n{\"n\":2}\n");
        let mut made = 0;
        for again in [false, true] {
            between.made.store(0, Ordering::SeqCst);
            between.ends.store(round, Ordering::SeqCst);
            let ended = Process::start(&mut trial.command(&["run", "job.toml", "--unsupervised"])).wait();
            assert_eq!(ended.code, Some(0), "connection {round}, again: {again}: {}", ended.stderr);
            // With its first batch at the latest.
            waited += ended.stderr.matches("the job waits").count();
            made = made.max(between.made.load(Ordering::SeqCst));
        }
        is_there(round);
        if made < round {
            return waited;
        }
    }
    panic!("a start makes more than {CONNECTIONS_MAX} connections");
}

#[test]
fn redis_may_become_unreachable_at_any_moment() {
    let server = Redis::start();
    let waited = each_connection(
        &server.url(),
        |round| format!("kind = \"redis\"\nstream = \"s{round}\"\nfield = \"row\""),
        |round| assert_eq!(server.entries(&format!("s{round}")).len(), 2),
    );
    assert!(waited > 0, "no start came upon a connection that ended");
}

#[test]
fn nats_may_become_unreachable_at_any_moment() {
    let server = Nats::start();
    let waited = each_connection(
        &server.url(),
        |round| format!("kind = \"nats\"\nstream = \"S{round}\"\nsubject = \"s{round}\""),
        |round| {
            let messages = server.messages(&format!("S{round}"));
            assert_eq!(messages.iter().filter(|message| message.subject == format!("s{round}")).count(), 2);
        },
    );
    assert!(waited > 0, "no start came upon a connection that ended");
}

#[test]
fn rabbitmq_may_become_unreachable_at_any_moment() {
    let server = Rabbitmq::start();
    server.queue("q");
    let waited = each_connection(
        &server.url(),
        |_| "kind = \"rabbitmq\"\nrouting_key = \"q\"".into(),
        |_| assert!(server.take("q").len() >= 2),
    );
    assert!(waited > 0, "no start came upon a connection that ended");
}

#[test]
fn mqtt_may_become_unreachable_at_any_moment() {
    let server = Mosquitto::start();
    let waited = each_connection(&server.url(), |_| "kind = \"mqtt\"\ntopic = \"t\"".into(), |_| ());
    assert!(waited > 0, "no start came upon a connection that ended");
}

#[test]
fn flight_may_become_unreachable_at_any_moment() {
    let server = Flight::start(&json!({}));
    let there = |round: usize| assert!(server.put().len() >= round);
    // A connection that was lost while idle is opened again without a message.
    each_connection(&format!("grpc://{}", server.address()), |_| "kind = \"flight\"\npath = \"a\"".into(), there);
}
