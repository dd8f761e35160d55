//! Each source with the real thing: `nc`, TCP servers, directories into which files are moved.

use millstream_tests::{Process, Trial, free_port, holds_within, passing, plugin, queue_sink, wait_until};
use serde_json::{Value, json};
use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// A job that passes a source's rows, and its rejected rows, to files.
fn job(source: &str) -> Trial {
    passing("batch = \"0s\"", source, &queue_sink("refused", "in.rejected", "refused"))
}

fn column(trial: &Trial, sink: &str, name: &str) -> Vec<Value> {
    trial.rows(sink).into_iter().map(|mut row| row[name].take()).collect()
}

#[test]
fn socket_reads_lines_of_nc_and_reconnects() {
    let port = free_port();
    let trial = job(&format!("kind = \"socket\"\naddress = \"127.0.0.1:{port}\""));
    // The job is there before its server.
    let mut job = trial.start(&[]);
    job.wait_for_stderr(&format!("source `in`: cannot connect to 127.0.0.1:{port} (connection refused); retrying"));
    assert!(job.stderr().contains(&format!("start a server with `nc -lk {port}`")), "{}", job.stderr());
    let mut nc = Process::nc(port);
    job.wait_for_stderr(&format!("source `in`: connected to 127.0.0.1:{port}"));
    nc.say("first\nwindows\r\n\nno end");
    wait_until("the whole lines are there", || column(&trial, "out.jsonl", "value").len() == 3);
    nc.kill();
    job.wait_for_stderr("closed by the peer; reconnecting");
    job.wait_until("it misses the server again", |job| job.stderr().matches("cannot connect").count() == 2);
    wait_until("the line without an end counts", || column(&trial, "out.jsonl", "value").len() == 4);
    let mut nc = Process::nc(port);
    job.wait_until("it is connected again", |job| job.stderr().matches("source `in`: connected to").count() == 2);
    nc.say("second\n");
    wait_until("the line is there", || column(&trial, "out.jsonl", "value").len() == 5);
    assert_eq!(column(&trial, "out.jsonl", "value"), ["first", "windows", "", "no end", "second"]);
    assert_eq!(job.stderr().matches("cannot connect").count(), 2, "trouble is told once each time: {}", job.stderr());
}

/// A server that sends these bytes to its first client, and then keeps the connection.
fn server(bytes: Vec<u8>) -> (u16, std::thread::JoinHandle<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&bytes).unwrap();
        stream
    });
    (port, thread)
}

fn frame(content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32).to_be_bytes(), content].concat()
}

#[test]
fn raw_socket_reads_frames() {
    let long = vec![b'x'; 3000];
    let frames = [frame(b"one\ntwo"), frame(b""), frame(&[0xff, 0]), frame(&long), frame(b"end")].concat();
    let (port, server) = server(frames);
    let trial = job(&format!("kind = \"raw-socket\"\naddress = \"127.0.0.1:{port}\"\nrecord_bytes_max = 2000"));
    let _job = trial.start(&[]);
    wait_until("all frames are there", || {
        column(&trial, "out.jsonl", "value").len() + column(&trial, "refused.jsonl", "reason").len() == 5
    });
    assert_eq!(column(&trial, "out.jsonl", "value"), ["6f6e650a74776f", "", "ff00", "656e64"]);
    let refused = column(&trial, "refused.jsonl", "reason");
    assert!(refused[0].as_str().unwrap().starts_with("3000 bytes, record_bytes_max is 2000"), "{refused:?}");
    server.join().unwrap();
}

#[test]
fn raw_socket_reads_columns_of_fixed_width() {
    let record = |id: i64, price: f64, ok: u8| [&id.to_le_bytes()[..], &price.to_le_bytes(), &[ok]].concat();
    let frames = [frame(&record(7, 0.5, 1)), frame(&record(-1, 2.0, 0)), frame(b"short"), frame(&record(1, 1.0, 7))];
    let (port, server) = server(frames.concat());
    let trial = job(&format!(
        "kind = \"raw-socket\"\naddress = \"127.0.0.1:{port}\"\nschema = {{ id = \"int64\", price = \"float64\", ok = \"bool\" }}"
    ));
    let _job = trial.start(&[]);
    wait_until("all frames are there", || trial.rows("out.jsonl").len() + trial.rows("refused.jsonl").len() == 4);
    let expected = [json!({"id": 7, "price": 0.5, "ok": true}), json!({"id": -1, "price": 2.0, "ok": false})];
    assert_eq!(trial.rows("out.jsonl"), expected);
    let reasons = column(&trial, "refused.jsonl", "reason");
    assert_eq!(reasons, ["5 bytes, the columns take 17", "column `ok`: byte 7 is not a bool (0 or 1)"]);
    server.join().unwrap();
}

#[test]
fn directory_reads_each_file_once_on_arrival() {
    let trial = job("kind = \"directory\"\npath = \"in\"\npoll = \"20ms\"");
    trial.write("in/old.txt", "old\n");
    for left_out in [".hidden", "_hidden", "half.tmp", "half.part", "edited~", "copy._COPYING_", "sub/inner.txt"] {
        trial.write(&format!("in/{left_out}"), "not this\n");
    }
    let mut job = trial.start(&[]);
    let values = || column(&trial, "out.jsonl", "value");
    wait_until("the file that was there is read", || values() == ["old"]);
    trial.move_in("in/new.txt", "new one\nnew two");
    wait_until("the file that came is read", || values().len() == 3);
    // Another file of a name that was read is a new one.
    trial.move_in("in/old.txt", "changed\n");
    wait_until("the file that took the name is read", || values().len() == 4);
    trial.move_in("in/last.txt", "last\n");
    wait_until("the last file is read", || values().len() >= 5);
    job.signal("TERM");
    job.wait_for_stderr("stopping");
    assert_eq!(job.wait().code, Some(0));
    assert_eq!(values(), ["old", "new one", "new two", "changed", "last"]);
    assert!(trial.rows("refused.jsonl").is_empty());
}

#[test]
fn directory_of_csv_has_a_header_in_each_file() {
    let source = "kind = \"directory\"\npath = \"in\"\nformat = \"csv\"\nseparator = \";\"\npoll = \"20ms\"\n\
                  schema = { name = \"text\", n = \"int64\" }";
    let trial = job(source);
    trial.write("in/a.csv", "name;n\n\"Ann; the \"\"first\"\"\";1\nBob;\n;3\nCid;many\nDan;1;2\n");
    let job = trial.start(&["--until-idle"]);
    wait_until("the first file is read", || trial.rows("out.jsonl").len() == 3);
    trial.move_in("in/b.csv", "n;more;name\r\n4;x;\"two\nlines\"\r\n");
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let expected = [
        json!({"name": "Ann; the \"first\"", "n": 1}),
        json!({"name": "Bob", "n": null}),
        json!({"name": null, "n": 3}),
        json!({"name": "two\nlines", "n": 4}),
    ];
    assert_eq!(trial.rows("out.jsonl"), expected);
    let reasons = column(&trial, "refused.jsonl", "reason");
    assert_eq!(reasons, ["column `n`: `many` is not an int64", "3 cells, the header has 2"]);
}

#[test]
fn directory_of_binary_records() {
    let trial = job(
        "kind = \"directory\"\npath = \"in\"\nformat = \"binary\"\npoll = \"20ms\"\nschema = { at = \"timestamp(us)\", n = \"int64\" }",
    );
    let record = |at: i64, n: i64| [at.to_le_bytes(), n.to_le_bytes()].concat();
    trial.write("in/a.bin", [record(0, 1), record(1_000_000, -2), vec![1, 2, 3]].concat());
    trial.run_ok(&["--until-idle"]);
    let expected =
        [json!({"at": "1970-01-01T00:00:00.000000Z", "n": 1}), json!({"at": "1970-01-01T00:00:01.000000Z", "n": -2})];
    assert_eq!(trial.rows("out.jsonl"), expected);
    assert_eq!(column(&trial, "refused.jsonl", "reason"), ["cut short: 3 of the 16 bytes of a record"]);
}

#[test]
fn file_is_read_once_and_ends_the_job() {
    let trial = job("kind = \"file\"\npath = \"in.jsonl\"\nformat = \"json\"\nschema = { id = \"int64\" }");
    trial.write("in.jsonl", "{\"id\":1}\n\n{\"id\":\"2\"}\nnonsense\n{\"id\":3,\"more\":[]}");
    let ended = trial.run_ok(&[]);
    assert_eq!(column(&trial, "out.jsonl", "id"), [1, 2, 3]);
    assert_eq!(column(&trial, "refused.jsonl", "value"), ["nonsense"]);
    assert!(ended.stderr.contains("done: "), "{}", ended.stderr);
}

#[test]
fn rate_makes_the_configured_number_of_rows() {
    let trial = job("kind = \"rate\"\nrows_per_second = 2000\nrows_max = 1000");
    trial.run_ok(&[]);
    let values: Vec<i64> = column(&trial, "out.jsonl", "value").iter().map(|v| v.as_i64().unwrap()).collect();
    assert!(values.iter().copied().eq(0..1000));
    let times = column(&trial, "out.jsonl", "timestamp");
    assert!(times.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()), "times grow");
}

#[test]
fn text_that_is_not_utf8_is_a_rejected_row() {
    let trial = job("kind = \"file\"\npath = \"in.txt\"");
    trial.write("in.txt", b"good\nbad \xff\xfe byte\ncut \xc3\nfine \xc3\xa9\n");
    trial.run_ok(&[]);
    assert_eq!(column(&trial, "out.jsonl", "value"), ["good", "fine é"]);
    let expected = [
        json!({"value": "bad \u{fffd}\u{fffd} byte", "reason": "not UTF-8 at byte 4"}),
        json!({"value": "cut \u{fffd}", "reason": "not UTF-8 at byte 4"}),
    ];
    assert_eq!(trial.rows("refused.jsonl"), expected);
}

/// A line of 100 MB is a rejected row, of which little is kept, and it is never completely in memory.
#[test]
fn a_line_of_100_mb_is_a_rejected_row() {
    let (port, server) = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let send = move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"before\n").unwrap();
            let block = vec![b'y'; 1 << 20];
            (0..100).for_each(|_| stream.write_all(&block).unwrap());
            stream.write_all(b"\nafter\n").unwrap();
            stream
        };
        (port, std::thread::spawn(send))
    };
    let trial = job(&format!("kind = \"socket\"\naddress = \"127.0.0.1:{port}\""));
    let job = trial.start(&[]);
    wait_until("both lines around it are there", || column(&trial, "out.jsonl", "value") == ["before", "after"]);
    wait_until("it is a rejected row", || trial.rows("refused.jsonl").len() == 1);
    let refused = &trial.rows("refused.jsonl")[0];
    assert_eq!(refused["value"].as_str().unwrap().len(), 1024);
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.starts_with("104857600 bytes, record_bytes_max is 16777216"), "{reason}");
    let (_, max) = job.memory_bytes();
    assert!(max < 200 << 20, "{} MiB", max >> 20);
    server.join().unwrap();
}

/// A blocked stage slows the writer down instead of filling the memory.
#[test]
fn a_blocked_stage_slows_the_writer_down() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let trial = Trial::new(&format!(
        r#"
        batch = "0s"
        workers = 1
        in_flight_max = 2
        [sources.in]
        kind = "socket"
        address = "127.0.0.1:{port}"
        bytes_per_batch_max = "1MiB"
        [stages.stuck]
        from = "in"
        plugin = "{}"
        config = {{ how = "loop" }}
        limits = {{ time = "0s" }}
        [sinks.out]
        from = "stuck"
        kind = "queue"
        path = "out.jsonl"
        "#,
        plugin("misbehave").display()
    ));
    let job = trial.start(&[]);
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let block = "a line of some length\n".repeat(5000);
    let mut written = 0usize;
    let stopped = loop {
        match stream.write(block.as_bytes()) {
            Ok(count) => written += count,
            Err(error) => break error.kind(),
        }
        assert!(written < 64 << 20, "the writer was not held up after {} MiB", written >> 20);
    };
    assert_eq!(stopped, ErrorKind::WouldBlock);
    let (now, max) = job.memory_bytes();
    assert!(max < 250 << 20, "{} MiB, at most {} MiB", now >> 20, max >> 20);
}

/// A slow stage loses nothing and takes no more memory, whatever the amount of input.
#[test]
fn a_slow_stage_slows_the_writer_down_and_loses_nothing() {
    let lines = 2_000_000;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let trial = Trial::new(&format!(
        r#"
        batch = "0s"
        workers = 1
        in_flight_max = 1
        [sources.in]
        kind = "socket"
        address = "127.0.0.1:{port}"
        bytes_per_batch_max = "4MiB"
        [stages.slow]
        from = "in"
        plugin = "{}"
        config = {{ how = "slow" }}
        [stages.count]
        from = "slow"
        aggregate = {{ n = "count(*)" }}
        [sinks.out]
        from = "count"
        kind = "queue"
        path = "out.jsonl"
        "#,
        plugin("misbehave").display()
    ));
    let mut job = trial.start(&[]);
    let (mut stream, _) = listener.accept().unwrap();
    let block = "a line of some length, so that it all comes to a hundred megabytes\n".repeat(10_000);
    (0..lines / 10_000).for_each(|_| stream.write_all(block.as_bytes()).unwrap());
    let count = || trial.rows("out.jsonl").iter().map(|row| row["n"].as_u64().unwrap()).sum::<u64>();
    assert!(holds_within(Duration::from_secs(60), || count() == lines), "{} of {lines} lines came", count());
    let (_, max) = job.memory_bytes();
    assert!(max < 250 << 20, "{} MiB", max >> 20);
    job.signal("TERM");
    job.wait_for_stderr("stopping");
    assert_eq!(job.wait().code, Some(0));
}

#[test]
fn an_invalid_queue_file_fails_the_job() {
    let trial = job("kind = \"queue\"\npath = \"in.jsonl\"\nschema = { k = \"text\" }");
    trial.write("in.jsonl", "[\"a\"]\n{\"k\":\"a\"}\n");
    let ended = trial.run(&[]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stderr
            .contains("error: source `in`: ./in.jsonl:2: not a JSON array; expected one JSON array of rows per line"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_deleted_directory_fails_a_job_that_does_not_wait_for_it() {
    let trial = job("kind = \"directory\"\npath = \"in\"\npoll = \"20ms\"\naway_max = \"0s\"");
    trial.write("in/a.txt", "a\n");
    let job = trial.start(&[]);
    wait_until("the file is read", || column(&trial, "out.jsonl", "value") == ["a"]);
    std::fs::remove_dir_all(trial.path("in")).unwrap();
    let ended = job.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("error: source `in`: cannot read `./in`: no such file or directory"),
        "{}",
        ended.stderr
    );
}

/// `{}` is two bytes, and a row of many columns: what rows become is bounded, not only what came.
#[test]
fn rows_of_many_columns_come_in_small_batches() {
    let columns: Vec<String> = (0..900).map(|number| format!("c{number} = \"int64\"")).collect();
    let trial = Trial::new(&format!(
        "batch = \"0s\"\n[sources.in]\nkind = \"file\"\npath = \"in.jsonl\"\nformat = \"json\"\nschema = {{ {} }}\n\
         [stages.counts]\nfrom = \"in\"\naggregate = {{ n = \"count(*)\" }}\n\
         [sinks.out]\nfrom = \"counts\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
        columns.join(", ")
    ));
    trial.write("in.jsonl", "{}\n".repeat(50_000));
    trial.run_ok(&[]);
    let rows: Vec<i64> = trial.rows("out.jsonl").iter().map(|row| row["n"].as_i64().unwrap()).collect();
    assert_eq!(rows.iter().sum::<i64>(), 50_000);
    // A value and the note that it is missing are 12 bytes, and a batch has 128 MiB.
    assert!(rows.iter().all(|rows| *rows <= (128 << 20) / (900 * 12)), "{rows:?}");
}

#[test]
fn a_limit_ends_every_source() {
    let trial = Trial::new(
        "batch = \"0s\"\n[sources.ticks]\nkind = \"rate\"\nrows_per_second = 1000\n\
         [sources.in]\nkind = \"directory\"\npath = \"in\"\n\
         [stages.both]\nfrom = \"ticks\"\nselect = \"value\"\n\
         [sinks.out]\nfrom = \"both\"\nkind = \"queue\"\npath = \"out.jsonl\"\n\
         [sinks.lines]\nfrom = \"in\"\nkind = \"queue\"\npath = \"lines.jsonl\"\n",
    );
    trial.write("in/a.txt", "1\n2\n3\n4\n5\n6\n7\n");
    trial.run_ok(&["--limit", "5"]);
    assert_eq!(column(&trial, "out.jsonl", "value"), [0, 1, 2, 3, 4]);
    assert_eq!(column(&trial, "lines.jsonl", "value"), ["1", "2", "3", "4", "5"]);
    trial.rejected_message(&["run", "job.toml", "--limit", "0"]);
}

/// With checkpoints the next start resumes after the rows that were read.
#[test]
fn a_job_resumes_after_its_limit() {
    let trial = job("kind = \"file\"\npath = \"in.txt\"\n[checkpoint]\ndir = \"ck\"");
    trial.write("in.txt", "1\n2\n3\n4\n5\n");
    trial.run_ok(&["--limit", "2"]);
    assert_eq!(column(&trial, "out.jsonl", "value"), ["1", "2"]);
    trial.run_ok(&["--limit", "2"]);
    trial.run_ok(&[]);
    assert_eq!(column(&trial, "out.jsonl", "value"), ["1", "2", "3", "4", "5"]);
}

#[test]
fn a_preview_shows_the_first_rows_of_every_stream_and_writes_nothing() {
    let trial = Trial::new(
        "[checkpoint]\ndir = \"ck\"\n[sources.in]\nkind = \"directory\"\npath = \"in\"\nformat = \"json\"\n\
         schema = { k = \"text\", n = \"int64\" }\n\
         [stages.large]\nfrom = \"in\"\nfilter = \"n > 10\"\n\
         [stages.none]\nfrom = \"in\"\nfilter = \"n > 100\"\n\
         [sinks.out]\nfrom = \"large\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
    );
    let rows: Vec<String> = (0..20).map(|n| format!("{{\"k\":\"k{n}\",\"n\":{n}}}")).collect();
    trial.write("in/a.jsonl", format!("{}\nnonsense\n", rows.join("\n")));
    let shown = trial.run_ok(&["--sample"]).stdout;
    assert!(shown.contains("stream in)") && shown.contains("| k9 | 9 |") && !shown.contains("| k10 | 10 |"), "{shown}");
    assert!(shown.contains("… and 10 more rows") && shown.contains("| k11 | 11 |"), "{shown}");
    assert!(shown.contains("stream in.rejected)") && !shown.contains("stream none"), "{shown}");
    assert!(!trial.path("out.jsonl").exists() && !trial.path("ck").exists());
    let few = trial.run_ok(&["--sample", "--limit", "3"]).stdout;
    assert!(few.contains("| k2 | 2 |") && !few.contains("k3"), "{few}");
}

#[test]
fn set_adds_missing_keys() {
    let trial = job("kind = \"file\"\npath = \"in.txt\"");
    trial.write("in.txt", "b\na\n");
    trial.run_ok(&[
        "--set",
        "stages.sorted.from=in",
        "--set",
        "stages.sorted.sql=select value from \"in\" order by value",
        "--set",
        "sinks.sorted={ from = \"sorted\", kind = \"queue\", path = \"sorted.jsonl\" }",
        "--set",
        "checkpoint.dir=ck",
        "--set",
        "sources.in.rows_per_batch_max=10",
    ]);
    assert_eq!(column(&trial, "sorted.jsonl", "value"), ["a", "b"]);
    assert!(trial.path("ck").exists());
    let output = trial.rejected_message(&["run", "job.toml", "--set", "sinks.sorte.path=x"]);
    assert!(output.contains("the job has no sink `sorte`"), "{output}");
}

/// No more rows can arrive: the last batch does not wait for its time, here two hours, and has the rows of all sources.
#[test]
fn the_last_batch_of_ended_sources_begins_immediately() {
    let source = |name: &str| {
        format!(
            "[sources.{name}]\nkind = \"file\"\npath = \"{name}.jsonl\"\nformat = \"json\"\nschema = {{ k = \"int64\", {name} = \"text\" }}\n"
        )
    };
    let join = "[stages.both]\nfrom = \"a\"\njoin = { with = \"b\", on = \"k\" }\n";
    let rest = [source("a"), source("b"), join.into(), queue_sink("both", "both", "both")].concat();
    for workers in ["1", "2"] {
        let trial = Trial::new(&["batch = \"2h\"\n", &rest].concat());
        trial.write("a.jsonl", "{\"k\":1,\"a\":\"x\"}\n{\"k\":2,\"a\":\"y\"}\n");
        trial.write("b.jsonl", "{\"k\":2,\"b\":\"z\"}\n{\"k\":1,\"b\":\"w\"}\n");
        trial.run_ok(&["--workers", workers]);
        let mut rows = trial.rows("both.jsonl");
        rows.sort_by_key(|row| row["k"].as_i64());
        assert_eq!(rows, [json!({ "k": 1, "a": "x", "b": "w" }), json!({ "k": 2, "a": "y", "b": "z" })]);
    }
}

/// A backlog does not wait for the duration of each batch: twenty-odd batches, killed on the way. At one every ten seconds, they
/// would take longer than a test waits.
#[test]
fn a_backlog_is_processed_immediately() {
    const ROWS: u64 = 100_000;
    let stages = r#"batch = "10s"
[checkpoint]
dir = "kept"
every = 4
[sources.numbers]
kind = "file"
path = "in.jsonl"
format = "json"
bytes_per_batch_max = "1MiB"
schema = { n = "int64", filler = "text" }
[stages.counted]
from = "numbers"
window = "all"
aggregate = { rows = "count(*)", total = "sum(n)" }
[stages.batches]
from = "numbers"
sql = "select count(*) as rows, sum(n) as total from numbers"
"#;
    let sinks = ["counted", "batches"].map(|stage| queue_sink(stage, stage, stage));
    let trial = Trial::new(&[stages, &sinks.concat()].concat());
    let line = |n| format!("{{\"n\":{n},\"filler\":\"{}\"}}\n", "x".repeat(220));
    trial.write("in.jsonl", (0..ROWS).map(line).collect::<String>());
    trial.killed("commit.after:9", &["--workers", "2"]);
    trial.run_ok(&["--workers", "1"]);
    let (rows, total) = (ROWS, ROWS * (ROWS - 1) / 2);
    assert_eq!(trial.rows("counted.jsonl").last(), Some(&json!({ "rows": rows, "total": total })));
    let batches = trial.rows("batches.jsonl");
    let sum = |name: &str| batches.iter().filter_map(|row| row[name].as_u64()).sum::<u64>();
    assert_eq!((sum("rows"), sum("total")), (rows, total), "{batches:?}");
    assert!(batches.len() > 20, "{batches:?}");
}
