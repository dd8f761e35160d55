//! Servers of Redis, MQTT, NATS and RabbitMQ that send more than was requested. The job's memory stays bounded, and transient
//! errors are retried.

use millstream_tests::{Process, Trial, signal};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Listens and serves all clients; counts them.
fn serve(how: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (how, came) = (Arc::new(how), Arc::new(AtomicUsize::new(0)));
    let counted = came.clone();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            let how = how.clone();
            // Until the client disconnects.
            thread::spawn(move || how(client));
        }
    });
    (port, came)
}

fn endless(mut client: TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let many = bytes.repeat((64 << 10) / bytes.len());
    loop {
        client.write_all(&many)?;
    }
}

/// A job that may use no more memory than one that reads nothing large.
fn job(source: &str, sink: &str) -> Trial {
    Trial::new(&format!(
        "name = \"hostile\"\nbatch = \"20ms\"\nmemory = \"256MiB\"\n[sources.in]\n{source}\n[sinks.out]\nfrom = \"in\"\n{sink}\n[sinks.bad]\n\
         from = \"in.rejected\"\nkind = \"queue\"\npath = \"bad.jsonl\"\n"
    ))
}

const QUEUE: &str = "kind = \"queue\"\npath = \"out.jsonl\"";

fn stop(running: Process) {
    signal("TERM", running.id());
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn a_long_response_of_redis_takes_no_memory() {
    for (head, then) in [
        ("$9223372036854775807\r\n", "A"),
        ("$500000000\r\n", "A"),
        ("%1000000000\r\n", "+a\r\n"),
        ("*2147483647\r\n", ":1\r\n"),
        ("", "*1\r\n"),
        ("+", "A"),
    ] {
        let (port, came) = serve(move |mut client| {
            let _ = client.read(&mut [0; 1000])?;
            client.write_all(head.as_bytes())?;
            endless(client, then.as_bytes())
        });
        let url = format!("kind = \"redis\"\nurl = \"redis://127.0.0.1:{port}\"\nstream = \"s\"\nfield = \"data\"");
        let source = job(&format!("{url}\nformat = \"json\"\nschema = {{ n = \"int64\" }}"), QUEUE);
        let sink = job("kind = \"file\"\npath = \"in.txt\"", &url);
        sink.write("in.txt", "one\n");
        for trial in [source, sink] {
            let before = came.load(Ordering::SeqCst);
            let mut running = trial.start(&["--unsupervised"]);
            running.wait_until("it has tried three times", |_| came.load(Ordering::SeqCst) >= before + 3);
            let output = running.stderr();
            assert!(output.contains("retrying until it works") || output.contains("the job waits"), "{output}");
        }
    }
}

/// The server acknowledges a subscription, and sends a message of the largest size that there is.
#[test]
fn a_too_long_mqtt_message_takes_no_memory_and_is_a_rejected_row() {
    let (port, _) = serve(|mut client| {
        let _ = client.read(&mut [0; 1000])?;
        client.write_all(b"\x20\x03\x00\x00\x00")?;
        let _ = client.read(&mut [0; 1000])?;
        client.write_all(b"\x90\x04\x00\x01\x00\x00")?;
        client.write_all(b"\x30\xff\xff\xff\x7f\x00\x01t\x00")?;
        let some = [b'A'; 64 << 10];
        let mut left: usize = 268_435_455 - 4;
        while left > 0 {
            let now = left.min(some.len());
            client.write_all(&some[..now])?;
            left -= now;
        }
        client.write_all(b"\x30\x0b\x00\x01t\x00{\"n\":7}")?;
        // It waits for the next request.
        client.read(&mut [0; 1]).map(drop)
    });
    let source = format!(
        "kind = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{port}\"\ntopic = \"t\"\nqos = 0\nformat = \"json\"\nschema = {{ n = \"int64\" }}"
    );
    let trial = job(&source, QUEUE);
    let mut running = trial.start(&["--unsupervised"]);
    running.wait_until("the message behind it came", |_| trial.rows("out.jsonl").iter().any(|row| row["n"] == 7));
    running.wait_until("it is told of", |_| !trial.rows("bad.jsonl").is_empty());
    let bad = &trial.rows("bad.jsonl")[0];
    assert_eq!(bad["reason"], "268435455 bytes, record_bytes_max is 16777216");
    stop(running);
}

/// Everything but a message is rejected before it arrives.
#[test]
fn a_too_long_mqtt_packet_of_another_kind_is_rejected() {
    let (port, came) = serve(|mut client| {
        let _ = client.read(&mut [0; 1000])?;
        client.write_all(b"\x20\xff\xff\xff\x7f")?;
        endless(client, b"A")
    });
    let url = format!("kind = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{port}\"\ntopic = \"t\"");
    let source = job(&format!("{url}\nformat = \"json\"\nschema = {{ n = \"int64\" }}"), QUEUE);
    let sink = job("kind = \"file\"\npath = \"in.txt\"", &url);
    sink.write("in.txt", "one\n");
    for trial in [source, sink] {
        let before = came.load(Ordering::SeqCst);
        let mut running = trial.start(&["--unsupervised"]);
        running.wait_until("it has tried three times", |_| came.load(Ordering::SeqCst) >= before + 3);
        running.wait_for_stderr("it announces a packet longer than the requested maximum");
    }
}

/// Runs a job until the server has seen three connections with this message each time.
fn fails_and_retries(trial: &Trial, came: &AtomicUsize, why: &str) {
    let before = came.load(Ordering::SeqCst);
    let mut running = trial.start(&["--unsupervised"]);
    running.wait_until("it has tried three times", |_| came.load(Ordering::SeqCst) >= before + 3);
    running.wait_for_stderr(why);
}

#[test]
fn nats_lines_and_messages_take_no_memory_however_long_they_are() {
    const INFO: &str = "INFO {\"headers\":true,\"max_payload\":1048576}\r\n";
    for (first, then, why) in [
        ("INFO {\"name\":\"", "", "a line is too long"),
        (INFO, "MSG a 1 ", "a line is too long"),
        (INFO, "MSG a 1 18446744073709551615\r\n", "a message is too long"),
        (INFO, "HMSG a 1 12 500000000\r\n", "a message is too long"),
    ] {
        let (port, came) = serve(move |mut client| {
            client.write_all(first.as_bytes())?;
            if first == INFO {
                // The login.
                let _ = client.read(&mut [0; 1000])?;
            }
            client.write_all(then.as_bytes())?;
            endless(client, b"1")
        });
        let url = format!("kind = \"nats\"\nurl = \"nats://127.0.0.1:{port}\"\nstream = \"S\"");
        let source = job(&format!("{url}\nformat = \"json\"\nschema = {{ n = \"int64\" }}"), QUEUE);
        let sink = job("kind = \"file\"\npath = \"in.txt\"", &format!("{url}\nsubject = \"s\""));
        sink.write("in.txt", "one\n");
        for trial in [source, sink] {
            fails_and_retries(&trial, &came, &format!("what it sends is not NATS: {why}"));
        }
    }
}

#[test]
fn rabbitmq_frames_end_no_job_however_long_or_nested_they_are() {
    // `connection.start` with a table of an array of an array, and so on.
    const DEPTH: u32 = 20_000;
    let nested = (0..DEPTH).rev().flat_map(|inside| [&b"A"[..], &(1 + 5 * inside).to_be_bytes()].concat());
    let table = [&b"\x01p"[..], &nested.collect::<Vec<_>>(), b"V"].concat();
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_be_bytes();
    let strings = b"\0\0\0\x05PLAIN\0\0\0\x05en_US";
    let start = [&b"\0\x0a\0\x0a\0\x09"[..], &length(&table), &table, strings].concat();
    let deep = [&b"\x01\0\0"[..], &length(&start), &start, b"\xce"].concat();
    for (first, why) in
        [(deep, "what it sends is not AMQP 0-9-1"), (b"\x01\0\0\xff\xff\xff\xff".into(), "a frame is too long")]
    {
        let (port, came) = serve(move |mut client| {
            let _ = client.read(&mut [0; 1000])?;
            client.write_all(&first)?;
            endless(client, b"A")
        });
        let url = format!("kind = \"rabbitmq\"\nurl = \"amqp://127.0.0.1:{port}\"");
        let queue = "queue = \"q\"\nformat = \"json\"\nschema = { n = \"int64\" }";
        let source = job(&format!("{url}\n{queue}"), QUEUE);
        let sink = job("kind = \"file\"\npath = \"in.txt\"", &format!("{url}\nrouting_key = \"q\""));
        sink.write("in.txt", "one\n");
        for trial in [source, sink] {
            fails_and_retries(&trial, &came, why);
        }
    }
}
