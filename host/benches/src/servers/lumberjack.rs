//! Events as Filebeat sends them, 2,048 per window and compressed, over 48 connections, each of which waits for acknowledgments. They are sent when
//! the events are durable on disk, by the plain program as well.

use super::{ready, while_sending};
use crate::comparison::{Comparison, rows_or, run_job, run_own};
use crate::measure::job;
use crate::rows::JOB;
use flate2::Compression;
use flate2::read::{ZlibDecoder, ZlibEncoder};
use millstream_tests::free_port;
use serde::Deserialize;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// Events of a window, and the compression level, as in Filebeat's defaults.
const WINDOW_ROWS: usize = 2_048;
const LEVEL: u32 = 3;
/// Number of different windows.
const WINDOWS: usize = 40;
const CONNECTIONS: usize = 48;
/// Bytes of the type of a JSON frame and of its number, before its length.
const JSON_BYTES: usize = 6;
const HEAD_BYTES: usize = 6;

/// Runs this part.
pub fn run(dir: &Path) {
    let rows = rows_or(WINDOW_ROWS * 1_500);
    let port = free_port();
    let source = format!("[sources.rows]\nkind = \"lumberjack\"\nlisten = \"127.0.0.1:{port}\"\n");
    let text = format!("{JOB}{source}[sinks.none]\nfrom = \"rows\"\nkind = \"nothing\"\n");
    // Senders wait for acknowledgments.
    let text = text.replacen("100ms", "10ms", 1);
    let path = job(dir, &text);
    let (port, count) = (port.to_string(), rows.to_string());
    let kept = dir.join("plain").to_string_lossy().into_owned();
    let baseline = "a program with one thread per connection that parses events and writes each window to disk";
    Comparison { connector: ("`lumberjack`", "source"), rows, baseline, job: &text }.run(
        |_| while_sending("lumberjack-send", &[&port, &count], || run_own("lumberjack-read", &[&port, &count, &kept])),
        |_| while_sending("lumberjack-send", &[&port, &count], || run_job(&path, rows)),
    );
}

/// Sends all events.
pub fn send(port: &str, rows: usize) {
    let windows: Vec<Vec<u8>> = (0..WINDOWS).map(window).collect();
    ready();
    let each = rows.div_ceil(WINDOW_ROWS).div_ceil(CONNECTIONS);
    std::thread::scope(|scope| {
        for first in 0..CONNECTIONS {
            let windows = &windows;
            scope.spawn(move || {
                let mut stream = loop {
                    match TcpStream::connect(format!("127.0.0.1:{port}")) {
                        Ok(stream) => break stream,
                        Err(_) => std::thread::sleep(Duration::from_millis(2)),
                    }
                };
                for n in 0..each {
                    // The reader may have exited.
                    if stream.write_all(&windows[(first + n) % WINDOWS]).is_err() || !is_acknowledged(&mut stream) {
                        return;
                    }
                }
            });
        }
    });
}

/// Waits until the last event of a window is acknowledged.
fn is_acknowledged(stream: &mut TcpStream) -> bool {
    let mut ack = [0; HEAD_BYTES];
    loop {
        match stream.read_exact(&mut ack) {
            Ok(()) if ack[2..] == (WINDOW_ROWS as u32).to_be_bytes() => return true,
            Ok(()) => {}
            Err(_) => return false,
        }
    }
}

fn window(window: usize) -> Vec<u8> {
    let mut frames = Vec::new();
    for n in 0..WINDOW_ROWS {
        let row = window * WINDOW_ROWS + n;
        let event = format!(
            "{{\"@timestamp\":\"2026-10-11T22:14:{:02}.{:03}Z\",\"@metadata\":{{\"beat\":\"filebeat\",\"type\":\"_doc\",\
             \"version\":\"8.15.0\"}},\"message\":\"user-{:06} GET /a/page/{:08} 200\",\"host\":{{\"name\":\"web-{}\"}},\
             \"log\":{{\"offset\":{row},\"file\":{{\"path\":\"/var/log/app.log\"}}}}}}",
            row % 60,
            row % 1_000,
            row % 99_991,
            row % 977,
            row % 5
        );
        frames.extend([&b"2J"[..], &(n as u32 + 1).to_be_bytes(), &(event.len() as u32).to_be_bytes()].concat());
        frames.extend(event.as_bytes());
    }
    let mut compressed = Vec::new();
    ZlibEncoder::new(&frames[..], Compression::new(LEVEL)).read_to_end(&mut compressed).expect("it is packed");
    let head = [&b"2W"[..], &(WINDOW_ROWS as u32).to_be_bytes(), b"2C", &(compressed.len() as u32).to_be_bytes()];
    [&head.concat()[..], &compressed].concat()
}

/// The source of the job's columns.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "@timestamp", borrow)]
    time: &'a str,
    message: String,
    host: Host,
    log: Log,
}

#[derive(Deserialize)]
struct Host {
    name: String,
}

#[derive(Deserialize)]
struct Log {
    file: LogFile,
}

#[derive(Deserialize)]
struct LogFile {
    path: String,
}

/// Receives all events, and stores them.
pub fn read(port: &str, rows: usize, kept: &str) {
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("the port is free");
    let kept = Mutex::new((File::create(kept).expect("a file"), 0));
    std::thread::scope(|scope| {
        for stream in listener.incoming() {
            let kept = &kept;
            scope.spawn(move || windows(stream.expect("a connection"), kept, rows));
        }
    });
}

fn windows(mut stream: TcpStream, kept: &Mutex<(File, usize)>, rows: usize) {
    let mut head = [0; 2 * HEAD_BYTES];
    while stream.read_exact(&mut head).is_ok() {
        let length = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let mut compressed = vec![0; length];
        stream.read_exact(&mut compressed).expect("a window");
        let mut frames = Vec::new();
        ZlibDecoder::new(&compressed[..]).read_to_end(&mut frames).expect("it is unpacked");
        let (mut rest, mut count, mut bytes) = (&frames[..], 0_u32, 0);
        while let Some((length, more)) = rest.get(JSON_BYTES..).and_then(|rest| rest.split_first_chunk()) {
            let (event, more) = more.split_at(u32::from_be_bytes(*length) as usize);
            let event: Event = serde_json::from_slice(event).expect("an event");
            bytes += event.time.len() + event.message.len() + event.host.name.len() + event.log.file.path.len();
            (rest, count) = (more, count + 1);
        }
        assert!(bytes > 0);
        let mut kept = kept.lock().expect("no panic");
        kept.0.write_all(&frames).and_then(|()| kept.0.sync_data()).expect("it is kept");
        kept.1 += count as usize;
        let _ = stream.write_all(&[&b"2A"[..], &count.to_be_bytes()].concat());
        if kept.1 >= rows {
            std::process::exit(0);
        }
    }
}
