//! The source `syslog`, with the sender of util-linux (`logger`) and bytes that tests send themselves.

use millstream_tests::{Process, Trial, free_port, wait_until};
use serde_json::{Value, json};
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::process::Command;

fn job(port: u16, source: &str) -> Trial {
    Trial::new(&format!(
        "batch = \"20ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 3\n[sources.in]\nkind = \"syslog\"\nlisten = \
         \"127.0.0.1:{port}\"\n{source}\n[sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n[sinks.bad]\nfrom = \
         \"in.rejected\"\nkind = \"queue\"\npath = \"bad.jsonl\"\n"
    ))
}

/// Starts a job and waits until it listens.
fn start(trial: &Trial, port: u16) -> Process {
    let running = trial.start(&["--unsupervised"]);
    wait_until("it listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    running
}

fn messages(trial: &Trial) -> Vec<String> {
    trial.rows("out.jsonl").iter().map(|row| row["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn messages_become_rows_with_every_transport() {
    let port = free_port();
    let trial = job(port, "record_bytes_max = 300");
    let running = start(&trial, port);
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let new = "<165>1 2003-10-11T22:14:15.003Z host evntslog 7 ID47 [exampleSDID@32473 iut=\"3\"] An\nevent";
    connection
        .write_all(
            format!("{} {new}<34>Oct 11 22:14:15 mymachine su[231]: failed\nnothing known\n", new.len()).as_bytes(),
        )
        .unwrap();
    connection.write_all(format!("<13>{}\n<13>behind\nwithout end", "x".repeat(400)).as_bytes()).unwrap();
    drop(connection);
    wait_until("all of it came", || trial.rows("out.jsonl").len() >= 5 && trial.rows("bad.jsonl").len() == 1);
    let rows = trial.rows("out.jsonl");
    let expected = json!({
        "time": "2003-10-11T22:14:15.003000Z", "host": "host", "app": "evntslog", "pid": "7", "id": "ID47", "facility": "local4",
        "severity": "notice", "level": 5, "message": "An\nevent", "data": "{\"exampleSDID@32473\":{\"iut\":\"3\"}}", "sender": "127.0.0.1"
    });
    assert_eq!(rows[0], expected);
    assert_eq!((&rows[1]["app"], &rows[1]["pid"], &rows[1]["data"]), (&json!("su"), &json!("231"), &Value::Null));
    assert!(rows[1]["time"].as_str().unwrap().ends_with("-10-11T22:14:15.000000Z"), "{}", rows[1]);
    assert_eq!(messages(&trial), ["An\nevent", "failed", "nothing known", "behind", "without end"]);
    let bad = trial.rows("bad.jsonl")[0]["reason"].as_str().unwrap().to_owned();
    assert!(bad.contains("record_bytes_max is 300"), "{bad}");

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    wait_until("a datagram came", || {
        socket.send_to(b"<14>a datagram\n", ("127.0.0.1", port)).unwrap();
        messages(&trial).iter().any(|message| message == "a datagram")
    });
    running.stop();
}

/// The system gives each connection, and the datagrams of each sender, to one of the processes.
#[test]
fn all_processes_listen_at_the_same_address() {
    let port = free_port();
    let trial = job(port, "spread = true");
    let mut running = trial.start_processes(2, 1);
    wait_until("it listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let mut expected: Vec<String> = (0..40).map(|number| format!("line {number}")).collect();
    for line in &expected {
        let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
        connection.write_all(format!("<14>{line}\n").as_bytes()).unwrap();
    }
    running.wait_until("all of it came", |_| messages(&trial).len() >= expected.len());
    let datagram = "a datagram".to_owned();
    wait_until("a datagram came", || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"<14>a datagram\n", ("127.0.0.1", port)).unwrap();
        messages(&trial).contains(&datagram)
    });
    running.stop();
    let mut came: Vec<String> = messages(&trial).into_iter().filter(|message| *message != datagram).collect();
    came.sort();
    expected.sort();
    assert_eq!(came, expected);
    let inspected = trial.run_command_ok(&["inspect", "kept"]);
    let partitions = inspected.matches("listener/").count();
    assert!(partitions >= 2, "each process counts its own: {inspected}");
}

#[test]
fn messages_of_the_system_logger_are_parsed() {
    let port = free_port();
    let trial = job(port, "");
    let running = start(&trial, port);
    let forms: [&[&str]; 5] = [&["-T"], &["-T", "--octet-count"], &["-T", "--rfc3164"], &["-d"], &["-d", "--rfc3164"]];
    for (number, form) in forms.iter().enumerate() {
        let text = format!("message {number}: of [it]");
        let mut command = Command::new("logger");
        command.args(["-n", "127.0.0.1", "-P", &port.to_string(), "-p", "mail.warning", "-t", "trial", "--id=42"]);
        wait_until("it came", || {
            assert!(command.args(*form).arg(&text).status().expect("a logger").success());
            messages(&trial).contains(&text)
        });
        let rows = trial.rows("out.jsonl");
        let row = rows.iter().find(|row| row["message"] == text).unwrap();
        let output = ["facility", "severity", "app"].map(|name| row[name].as_str().unwrap_or_default().to_owned());
        assert_eq!(output, ["mail", "warning", "trial"], "{row}");
        assert!(row["time"].is_string() && row["host"].is_string(), "{row}");
    }
    running.stop();
}

/// Rows of a batch that was planned are kept; a connection is read on no faster than batches take its rows.
#[test]
fn planned_rows_are_stored_once_after_a_kill() {
    let port = free_port();
    let trial = job(
        port,
        "protocol = \"tcp\"\nrows_per_batch_max = 10\nschema = { message = \"text\", id = { type = \"text\", path = [\"data\", \"a\", \"n\"] } }",
    );
    let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
    let running = Process::start(command.env("MILLSTREAM_TEST_FAULT", "kill@plan.durable:4"));
    wait_until("it listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // It dies before it has all of them, and the rest is lost.
    for n in 0..2000 {
        if connection.write_all(format!("<13>1 - - - - - [a n=\"{n}\"] {n}\n").as_bytes()).is_err() {
            break;
        }
    }
    assert_eq!(running.wait().code, None);
    let running = start(&trial, port);
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.write_all(b"<13>1 - - - - - [a n=\"last\"] last\n").unwrap();
    wait_until("it goes on", || messages(&trial).last().is_some_and(|message| message == "last"));
    running.stop();
    let messages = messages(&trial);
    let (last, numbers) = messages.split_last().unwrap();
    assert_eq!(last, "last");
    // Batches of ten, of which at least four were planned.
    let expected: Vec<String> = (0..numbers.len()).map(|n| n.to_string()).collect();
    assert_eq!(numbers, expected);
    assert!(numbers.len() >= 4, "{}", numbers.len());
    assert!(trial.rows("out.jsonl").iter().all(|row| row["id"] == row["message"]));
}

/// Rows that stay columns, and some that are too long between them.
#[test]
fn rows_kept_as_columns_are_stored_once_after_a_kill() {
    for step in ["plan.durable:40", "commit.before:60"] {
        let port = free_port();
        let trial = job(port, "protocol = \"tcp\"\nrows_per_batch_max = 10\nrecord_bytes_max = 60");
        let mut command = trial.command(&["run", "job.toml", "--unsupervised", "--workers", "2"]);
        let running = Process::start(command.env("MILLSTREAM_TEST_FAULT", format!("kill@{step}")));
        wait_until("it listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
        for n in 0..2000 {
            let more = if n % 7 == 3 { "x".repeat(60) } else { String::new() };
            if connection.write_all(format!("<13>1 2026-10-11T22:14:15Z h a - - - {n}{more}\n").as_bytes()).is_err() {
                break;
            }
        }
        assert_eq!(running.wait().code, None);
        let running = start(&trial, port);
        let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
        connection.write_all(b"<13>1 - - - - - - last\n").unwrap();
        wait_until("it goes on", || messages(&trial).last().is_some_and(|message| message == "last"));
        running.stop();
        let rows = trial.rows("out.jsonl");
        let numbers = messages(&trial);
        let numbers = &numbers[..numbers.len() - 1];
        let expected: Vec<String> = (0..).filter(|n| n % 7 != 3).map(|n| n.to_string()).take(numbers.len()).collect();
        assert_eq!(numbers, expected);
        assert_eq!(rows[0]["time"], "2026-10-11T22:14:15.000000Z");
        let bad = trial.rows("bad.jsonl");
        assert!(
            !bad.is_empty() && bad.iter().all(|row| row["reason"].as_str().unwrap().contains("record_bytes_max is 60"))
        );
    }
}

/// Files of a version that kept rows as lines: these rows are there, and so are later ones.
#[test]
fn a_plan_of_an_earlier_version_is_replayed() {
    let port = free_port();
    let trial = Trial::from_checkpoint("lines/syslog");
    trial.change("28816", &port.to_string());
    assert_eq!(trial.rows("out.jsonl").len(), 30);
    let running = start(&trial, port);
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.write_all(b"<165>1 2026-10-11T22:14:15.003Z host app 7 ID40 - 40\n").unwrap();
    wait_until("it goes on", || trial.rows("out.jsonl").len() >= 41);
    running.stop();
    for (n, row) in trial.rows("out.jsonl").iter().enumerate() {
        let expected = json!({
            "time": "2026-10-11T22:14:15.003000Z", "host": "host", "app": "app", "pid": "7", "id": format!("ID{n}"), "facility": "local4",
            "severity": "notice", "level": 5, "message": n.to_string(), "data": null, "sender": "127.0.0.1"
        });
        assert_eq!(*row, expected);
    }
}

#[test]
fn an_unavailable_port_is_reported() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let ended = job(port, "").start(&["--unsupervised"]).wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let output = format!("source `in`: cannot listen on 127.0.0.1:{port}: another program listens there");
    assert!(ended.stderr.contains(&output), "{}", ended.stderr);
}
