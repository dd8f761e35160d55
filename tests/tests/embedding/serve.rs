//! `millstream serve`: plugins on a Unix socket, for clients of all kinds: those that follow the protocol, and those that do not.

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use millstream_tests::{DEADLINE, Process, Trial, block, millstream, plugin, python_with, root, shown_block};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// A server in its own directory.
struct Server {
    process: Process,
    socket: PathBuf,
    _dir: Trial,
}

fn command(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(millstream());
    command.arg("serve").arg("--socket").arg(socket).args(arguments).current_dir(root());
    command
}

impl Server {
    fn start(arguments: &[&str]) -> Server {
        Server::with(arguments, |_| {})
    }

    fn with(arguments: &[&str], also: impl FnOnce(&mut Command)) -> Server {
        let dir = Trial::new("");
        let socket = dir.path("socket");
        let mut command = command(&socket, arguments);
        also(&mut command);
        let mut process = Process::start(&mut command);
        process.wait_until("it serves", |process| process.stdout().starts_with("serving plugins on "));
        Server { process, socket, _dir: dir }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// A connection after a successful hello.
    #[track_caller]
    fn hello(&self, name: &str, more: Value) -> UnixStream {
        let mut stream = self.connect();
        let ready = self.say_hello(&mut stream, name, more);
        assert_eq!(ready["ready"]["millstream"], 1, "{ready}");
        stream
    }

    fn say_hello(&self, stream: &mut UnixStream, name: &str, more: Value) -> Value {
        let dir = if name == "poison" { root().join("tests/plugins/poison") } else { plugin(name) };
        let mut hello = json!({ "millstream": 1, "plugin": dir.display().to_string() });
        let more = more.as_object().unwrap().clone();
        hello.as_object_mut().unwrap().extend(more);
        stream.write_all(&frame(&json!({ "hello": hello }), &[])).unwrap();
        receive(stream).expect("an answer").0
    }

    /// Checks that it still works for clients that follow the protocol.
    #[track_caller]
    fn works(&self) {
        let mut stream = self.hello("split-words", json!({}));
        let (header, tables) = call(&mut stream, json!({}), &[strings("value", &["a b"])]);
        assert_eq!(header, json!({ "made": {} }));
        assert_eq!(rows(&tables[0]), [["a"], ["b"]]);
    }
}

fn frame(header: &Value, tables: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in std::iter::once(header.to_string().as_bytes()).chain(tables.iter().map(Vec::as_slice)) {
        body.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
        body.extend(part);
    }
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
}

/// The next frame; `None` if the other end has closed.
fn receive(stream: &mut UnixStream) -> Option<(Value, Vec<Vec<u8>>)> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Err(error) if [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&error.kind()) => return None,
        read => read.unwrap(),
    }
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).unwrap();
    let (mut parts, mut rest) = (Vec::new(), &body[..]);
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let (part, more) = more.split_at(u32::from_be_bytes(*length) as usize);
        parts.push(part.to_vec());
        rest = more;
    }
    Some((serde_json::from_slice(&parts.remove(0)).unwrap(), parts))
}

fn call(stream: &mut UnixStream, header: Value, tables: &[Vec<u8>]) -> (Value, Vec<Vec<u8>>) {
    stream.write_all(&frame(&json!({ "call": header }), tables)).unwrap();
    receive(stream).expect("an answer")
}

fn table(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

fn strings(name: &str, values: &[&str]) -> Vec<u8> {
    let schema = Schema::new(vec![Field::new(name, DataType::Utf8, true)]);
    table(&RecordBatch::try_new(Arc::new(schema), vec![Arc::new(StringArray::from(values.to_vec()))]).unwrap())
}

fn with_numbers((text, number): (&str, &str), values: &[(&str, i64)]) -> Vec<u8> {
    let schema = Schema::new(vec![Field::new(text, DataType::Utf8, true), Field::new(number, DataType::Int64, true)]);
    let strings = StringArray::from_iter_values(values.iter().map(|(text, _)| *text));
    let numbers = Int64Array::from_iter_values(values.iter().map(|(_, number)| *number));
    table(&RecordBatch::try_new(Arc::new(schema), vec![Arc::new(strings), Arc::new(numbers)]).unwrap())
}

/// The values of a table as strings.
fn rows(bytes: &[u8]) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for batch in StreamReader::try_new(bytes, None).unwrap() {
        let batch = batch.unwrap();
        for row in 0..batch.num_rows() {
            let value = |column: &Arc<dyn Array>| match column.data_type() {
                DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
                DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
                other => format!("{other}"),
            };
            all.push(batch.columns().iter().map(value).collect());
        }
    }
    all.sort();
    all
}

#[track_caller]
fn error(response: &(Value, Vec<Vec<u8>>), kind: &str, phrase: &str) {
    let (reported, message) =
        (&response.0["error"]["kind"], response.0["error"]["message"].as_str().unwrap_or_default());
    assert!(reported == kind && message.contains(phrase), "{} instead of {kind}: {phrase}", response.0);
}

#[test]
fn plugins_of_all_worlds_are_called() {
    let server = Server::start(&[]);
    let mut split = server.hello("split-words", json!({ "config": { "lowercase": true }, "function": "process" }));
    let (_, made) = call(&mut split, json!({}), &[strings("value", &["To be", "OR"])]);
    assert_eq!((rows(&made[0]), made.len()), (vec![vec!["be".into()], vec!["or".into()], vec!["to".into()]], 2));

    let mut sum = server.hello("sum", json!({ "config": { "column": "n" }, "key": ["shop"] }));
    let (_, made) = call(&mut sum, json!({}), &[with_numbers(("shop", "n"), &[("a", 1), ("b", 10), ("a", 2)])]);
    assert_eq!(rows(&made[0]), [["a", "3"], ["b", "10"]]);

    // The states of keys, as columns or as bytes, are kept by the caller.
    for states in ["columns", "bytes"] {
        let mut count = server.hello("running-count", json!({ "key": ["word"], "states": states }));
        let (_, made) = call(&mut count, json!({}), &[strings("word", &["to", "be", "to"])]);
        assert_eq!(rows(&made[0]), [["be", "1"], ["to", "2"]]);
        let state = if states == "bytes" { "Binary" } else { "2" };
        assert_eq!(rows(&made[2])[1], ["to", state]);
        let again = [strings("word", &["to"]), made[2].clone(), made[3].clone()];
        let (_, made) = call(&mut count, json!({}), &again);
        assert_eq!((rows(&made[0]), rows(&made[2]).len()), (vec![vec!["to".into(), "3".into()]], 2));
        // Without the kept state it starts from scratch.
        let (_, made) = call(&mut count, json!({}), &[strings("word", &["to"]), Vec::new(), Vec::new()]);
        assert_eq!(rows(&made[0]), [["to", "1"]]);
    }
}

#[test]
fn errors_of_plugins_and_calls_have_a_kind() {
    let server = Server::start(&[]);
    let mut poison = server.hello("poison", json!({ "limits": { "time": "1s" } }));
    let failed = call(&mut poison, json!({}), &[strings("value", &["a", "panic", "b"])]);
    error(&failed, "plugin", "stage `poison`: plugin poison 0.1.0");
    error(&call(&mut poison, json!({}), &[strings("value", &["loop"])]), "plugin", "time limit of 1s");
    // The connection stays usable.
    assert_eq!(rows(&call(&mut poison, json!({}), &[strings("value", &["b"])]).1[0]), [["b"]]);
    let mut rejecting = server.hello("poison", json!({ "on_error": "reject" }));
    let (_, made) = call(&mut rejecting, json!({}), &[strings("value", &["a", "panic", "b"])]);
    assert_eq!((rows(&made[0]).len(), &*rows(&made[1])[0][0]), (2, "panic"));

    error(&call(&mut poison, json!({}), &[strings("word", &["a"])]), "usage", "reads a column `value`");
    error(&call(&mut poison, json!({}), &[]), "usage", "0 tables, but one is required");
    error(&call(&mut poison, json!({}), &[b"no table".to_vec()]), "usage", "not an Arrow IPC stream");
    let whole = strings("value", &["a"]);
    error(&call(&mut poison, json!({}), &[whole[..whole.len() - 9].to_vec()]), "usage", "breaks off");
    for (name, more, kind, phrase) in [
        ("split-words", json!({ "plugin": "plugins/there-is-none" }), "usage", "plugin not found"),
        ("split-words", json!({ "function": "update" }), "usage", "is of world transform: call `process`"),
        ("split-words", json!({ "function": "dance" }), "usage", "one of process, update"),
        ("split-words", json!({ "config": { "x": 1 } }), "usage", "unknown field `x`"),
        ("split-words", json!({ "millstream": 2 }), "usage", "the protocol version is 1, but the client uses 2"),
        ("split-words", json!({ "digest": "sha256:00" }), "environment", "but sha256:00 is required"),
        ("split-words", json!({ "lmits": {} }), "usage", "unknown field `lmits`"),
    ] {
        let mut stream = server.connect();
        let mut response = (server.say_hello(&mut stream, name, more), Vec::new());
        // An invalid config is detected when rows arrive.
        if response.0.get("ready").is_some() {
            response = call(&mut stream, json!({}), &[strings("value", &["a"])]);
        }
        error(&response, kind, phrase);
    }
    let mut count = server.hello("running-count", json!({ "key": ["word"], "states": "bytes" }));
    let states = [strings("word", &["a"]), with_numbers(("word", "state"), &[("a", 1)])];
    error(&call(&mut count, json!({}), &states), "usage", "no binary column `state`");
    server.works();
}

#[test]
fn strangers_do_no_harm() {
    let server = Server::start(&["--frame", "1MiB", "--connections", "8"]);
    let hello = json!({ "hello": { "millstream": 1, "plugin": plugin("split-words").display().to_string() } });
    let deep = format!("{{\"hello\":{{\"config\":{{\"a\":{}", "[".repeat(100_000));
    let bare = |header: &[u8]| {
        let length = u32::try_from(header.len()).unwrap();
        [&(length + 4).to_be_bytes()[..], &length.to_be_bytes(), header].concat()
    };
    for (bytes, phrase) in [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), "the maximum is 1048576"),
        (vec![0xff; 64], "the maximum is 1048576"),
        (vec![0; 4], "ends within a length"),
        (vec![0, 0, 0, 4, 0, 0, 0, 1], "longer than the frame"),
        (vec![0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff], "longer than the frame"),
        ([&[0, 0, 1, 8][..], &[0; 0x108]].concat(), "more than 64 tables"),
        (bare(b"{}"), "the header of a frame"),
        (bare(b"\xff\xff"), "the header of a frame"),
        (bare(deep.as_bytes()), "recursion limit"),
        (bare(b"{\"hello\":{\"millstream\":1,\"plugin\":7}}"), "invalid type"),
        (frame(&json!({ "call": {} }), &[]), "a call comes before the hello"),
        (vec![0, 0, 1, 0, 0, 0], "a frame is incomplete"),
        (vec![0], "a frame is incomplete"),
    ] {
        let mut stream = server.connect();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        error(&receive(&mut stream).expect("an answer"), "usage", phrase);
        assert!(receive(&mut stream).is_none(), "{phrase}");
    }
    // After the hello as well.
    let mut stream = server.hello("split-words", json!({}));
    stream.write_all(&frame(&hello, &[])).unwrap();
    error(&receive(&mut stream).unwrap(), "usage", "a second hello");
    assert!(receive(&mut stream).is_none());
    // One client that sends nothing, one that disconnects in the middle, one that does not read its response.
    let silent = server.connect();
    let mut broken = server.hello("split-words", json!({}));
    broken.write_all(&frame(&json!({ "call": {} }), &[strings("value", &["a"])])[..40]).unwrap();
    drop(broken);
    let mut deaf = server.hello("split-words", json!({}));
    let large = strings("value", &[&"a ".repeat(100_000)]);
    deaf.write_all(&frame(&json!({ "call": {} }), &[large])).unwrap();
    server.works();
    drop((silent, deaf));
    // Responses have the same limit as calls.
    let mut stream = server.hello("split-words", json!({}));
    let many = strings("value", &[&"a ".repeat(400_000)]);
    error(&call(&mut stream, json!({}), &[many]), "usage", "send fewer rows at a time");
    // No more connections than configured.
    let mut held = Vec::new();
    let reported = loop {
        let mut stream = server.connect();
        // A client may be rejected for lack of room before it has sent anything.
        let _ = stream.write_all(&frame(&hello, &[]));
        let response = receive(&mut stream).expect("an answer");
        if response.0.get("error").is_some() {
            break response;
        }
        held.push(stream);
        assert!(held.len() <= 8, "{}", held.len());
    };
    error(&reported, "environment", "8 connections are open, which is the maximum");
    drop(held);
    let mut server = server;
    let socket = server.socket.clone();
    server.process.wait_until("there is room again", |_| {
        let Ok(mut stream) = UnixStream::connect(&socket) else { return false };
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let printed = stream.write_all(&frame(&hello, &[]));
        printed.is_ok() && receive(&mut stream).is_some_and(|(response, _)| response.get("ready").is_some())
    });
    let (_, peak) = server.process.memory_bytes();
    assert!(peak < 400 << 20, "{} MiB", peak >> 20);
}

#[test]
fn incomplete_frames_share_a_memory_limit() {
    let server = Server::start(&["--memory", "300MiB"]);
    let begun = |stream: &mut UnixStream| {
        stream.write_all(&(60_u32 << 20).to_be_bytes()).unwrap();
        // It is read as far as there is room.
        let _ = stream.write_all(&vec![0; 40 << 20]);
    };
    let mut held: Vec<_> = (0..5).map(|_| server.hello("split-words", json!({}))).collect();
    begun(&mut held[0]);
    server.works();
    held[1..].iter_mut().for_each(|stream| stream.set_write_timeout(Some(DEADLINE)).unwrap());
    std::thread::scope(|scope| {
        for stream in &mut held[1..] {
            scope.spawn(|| begun(stream));
        }
    });
    for stream in &mut held[1..] {
        let response = receive(stream);
        error(&response.expect("an answer"), "environment", "the frames of all connections take");
    }
    server.works();
    let (_, peak) = server.process.memory_bytes();
    assert!(peak < 260 << 20, "{} MiB", peak >> 20);
}

#[test]
fn work_for_a_disconnected_client_is_canceled() {
    let server = Server::start(&[]);
    let mut poison = server.hello("poison", json!({ "limits": { "time": "10m" } }));
    poison.write_all(&frame(&json!({ "call": {} }), &[strings("value", &["loop"])])).unwrap();
    // Another one does not wait for it.
    server.works();
    drop(poison);
    server.process.signal("TERM");
    assert_eq!(server.process.wait().code, Some(0));
}

#[test]
fn the_socket_belongs_to_its_user_and_replaces_no_other_file() {
    let server = Server::start(&[]);
    let found = fs::symlink_metadata(&server.socket).unwrap();
    assert!(found.file_type().is_socket() && found.permissions().mode() & 0o777 == 0o600, "{found:?}");
    let taken = Process::start(&mut command(&server.socket, &[])).wait();
    assert!(taken.code == Some(1) && taken.stderr.contains("another process listens there"), "{taken:?}");
    server.works();
    // Killed, it leaves a socket, which the next one replaces.
    let Server { process, socket, _dir: dir } = server;
    process.kill();
    assert!(socket.exists());
    let mut process = Process::start(&mut command(&socket, &["--with-parent"]));
    process.wait_until("it serves", |process| process.stdout().starts_with("serving plugins on "));
    process.hang_up();
    let ended = process.wait();
    assert_eq!((ended.code, socket.exists()), (Some(0), false), "{}", ended.stderr);
    // A file that is not a socket is left alone, and so is one that has replaced it.
    fs::write(&socket, "mine").unwrap();
    let refused = Process::start(&mut command(&socket, &[])).wait();
    assert!(refused.code == Some(2) && refused.stderr.contains("the file there is not a socket"), "{refused:?}");
    assert_eq!(fs::read_to_string(&socket).unwrap(), "mine");
    fs::remove_file(&socket).unwrap();
    let mut process = Process::start(&mut command(&socket, &[]));
    process.wait_until("it serves", |process| process.stdout().starts_with("serving plugins on "));
    fs::remove_file(&socket).unwrap();
    let _other = UnixListener::bind(&socket).unwrap();
    process.signal("INT");
    assert_eq!((process.wait().code, socket.exists()), (Some(0), true));
    for (arguments, phrase) in [
        (&["--frame", "1B"][..], "write a size from 4KiB to 512MiB"),
        (&["--connections", "0"], "write a number from 1 to 1024"),
        (&["--memory", "lots"], "--memory: "),
    ] {
        let ended = Process::start(&mut command(&dir.path("other"), arguments)).wait();
        assert!(ended.code == Some(2) && ended.stderr.contains(phrase), "{ended:?}");
    }
}

#[test]
fn a_panic_in_any_thread_is_reported_and_the_others_continue() {
    let faulty = |thread: &str, arguments: &[&str]| {
        let fault = format!("panic@{thread}:1");
        Server::with(arguments, |command| {
            command.env("MILLSTREAM_TEST_FAULT", fault).env("RUST_BACKTRACE", "0");
        })
    };
    let mut server = faulty("millstream-serve-connection", &[]);
    assert!(receive(&mut server.connect()).is_none());
    server.process.wait_for_stderr("a connection panicked");
    server.works();
    // A process that can no longer be notified of its parent's end exits.
    let dir = Trial::new("");
    let mut command = command(&dir.path("socket"), &["--with-parent"]);
    command.env("MILLSTREAM_TEST_FAULT", "panic@millstream-serve-parent:1").env("RUST_BACKTRACE", "0");
    assert_eq!(Process::start(&mut command).wait().code, Some(0));
}

#[test]
fn the_client_of_the_page_works() {
    let server = Server::start(&[]);
    let script = block("docs/reference/serve-protocol.md", "python", "socket.AF_UNIX").text;
    let script = script.replace("/tmp/plugins.sock", &server.socket.display().to_string());
    let python = Command::new(root().join("scripts/python.sh")).output().unwrap().stdout;
    let mut python = Command::new(String::from_utf8_lossy(&python).trim());
    let ended = Process::start(python.args(["-c", &script])).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout.trim(), block("docs/reference/serve-protocol.md", "text", "To").text.trim());
    // The page's examples of frames and responses are JSON.
    let page = fs::read_to_string(root().join("docs/reference/serve-protocol.md")).unwrap();
    let shown: BTreeMap<&str, Value> = page
        .split('`')
        .filter(|text| text.starts_with("{\""))
        .map(|text| (text, serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))))
        .collect();
    assert!(shown.len() > 4, "{shown:?}");
}

/// An engine that starts a program for its queries: the one of ClickHouse, by `scripts/pypi.sh chdb`.
#[test]
fn clickhouse_calls_plugins_through_a_pipe() {
    let trial = Trial::new("");
    let function = shown_block("xml", "sentiment").text;
    let here = format!("{} pipe --from arrow {} ", millstream().display(), plugin("sentiment").display());
    let put = function.replace("millstream pipe --from arrow plugins/sentiment ", &here);
    assert_ne!(function, put);
    trial.write("sentiment_function.xml", &put);
    let query = shown_block("sql", "sentiment").text;
    let script = "import sys, chdb; print(chdb.query(sys.argv[1], 'TSV', udf_path=sys.argv[2]), end='')";
    let mut python = python_with("chdb");
    let requests = python.args(["-c", script, &query]).arg(trial.dir());
    let ended = Process::start(requests).wait_within(Duration::from_secs(120));
    assert_eq!((ended.code, ended.stdout.trim()), (Some(0), "1\n0\n-1"), "{}", ended.stderr);
}
