//! Positions and replay: whatever is taken, in whatever portions, is read again exactly, and a receiver that starts
//! from the positions after any batch goes on with the very next record.

use super::{begin_from, source};
use crate::files::source::file::{self, SourceFile};
use crate::files::source::settings::{DirectoryReads, FileReads, WatchTimes};
use crate::queue::QueueReads;
use crate::rate::RateReads;
use crate::socket::settings::SocketReads;
use millstream_base::ids::BatchId;
use millstream_base::random::Random;
use millstream_connect::receiver::framing::Counter;
use millstream_connect::receiver::replay::replay;
use millstream_connect::receiver::*;
use millstream_job::spec::RereadClient;
use millstream_job::spec::{Origin, SourceKind, SourceSpec};
use millstream_rows::batch::chunk::Chunk;
use millstream_rows::batch::chunk::PlannedChunk;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::position::Positions;
use millstream_rows::batch::position::{Extent, Position};
use millstream_rows::formats::Format;
use millstream_rows::inbox::Inbox;
use millstream_rows::inbox::{TakeLimits, TakenRecords};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

fn plan(chunks: &[Chunk]) -> Vec<PlannedChunk> {
    let planned = |chunk: &Chunk| PlannedChunk { extent: chunk.extent.clone(), rows: chunk.rows() as u32, kept: None };
    chunks.iter().map(planned).collect()
}

/// File, record, reason for its refusal.
type RecordsRead = Vec<(String, Vec<u8>, Option<String>)>;

fn records(chunks: &[Chunk]) -> RecordsRead {
    let mut records = RecordsRead::new();
    for chunk in chunks {
        let reasons: BTreeMap<u32, &str> =
            chunk.rejected.iter().map(|rejection| (rejection.row, &*rejection.reason)).collect();
        records.extend((0..chunk.rows()).map(|row| {
            let reason = reasons.get(&(row as u32)).map(|reason| (*reason).to_owned());
            (chunk.extent.file.clone(), chunk.record(row).to_vec(), reason)
        }));
    }
    records
}

fn origin(dir: &Path) -> Origin {
    Origin { dir: dir.into(), ..Origin::default() }
}

/// A format and a file of it, with everything that may stand in a file.
fn random_file(random: &mut Random) -> (Format, Vec<u8>) {
    let format = match random.index(4) {
        0 => Format::Text,
        1 => Format::Binary { record_bytes: Some(1 + random.index(9) as u32) },
        header => Format::Csv { header: header == 2, separator: b',' },
    };
    let mut bytes = Vec::new();
    if random.index(3) == 0 {
        bytes.extend_from_slice(b"\xEF\xBB\xBF");
    }
    for _ in 0..random.index(40) {
        match random.index(12) {
            0 => bytes.extend(std::iter::repeat_n(b'x', random.index(5_000))),
            1 => bytes.extend_from_slice(b"\"quoted\n\"\"cell\"\"\""),
            2..5 => bytes.extend_from_slice(b"\n"),
            5 => bytes.extend_from_slice(b"\r\n"),
            6 => bytes.push(b'"'),
            _ => bytes.extend_from_slice(&b"ab,cdefghij"[..1 + random.index(10)]),
        }
    }
    if random.index(2) == 0 {
        bytes.push(b'\n');
    }
    (format, bytes)
}

fn part<'a>(source: &'a SourceSpec, path: &Path) -> SourceFile<'a> {
    SourceFile { source, path: path.into(), name: String::new() }
}

fn new_inbox() -> Inbox {
    Inbox::new(u64::MAX, Box::new(|| ()))
}

/// Reads a file in random blocks and cuts, and takes from the inbox at random moments, at random limits.
fn take_at_random(source: &SourceSpec, bytes: &[u8], random: &mut Random, runtime: &Runtime) -> Vec<TakenRecords> {
    let mut framer = framer(source);
    let (inbox, mut taken, mut at) = (new_inbox(), Vec::new(), 0);
    let take = |random: &mut Random| {
        let (rows_max, bytes_max) = (random.index(12) as u64, [random.index(60) as u64, 1 << 30][random.index(2)]);
        inbox.take(BatchId(1), TakeLimits::new(rows_max, bytes_max))
    };
    let block = [3, 50, 10_000][random.index(3)];
    while !framer.ended() {
        let end = bytes.len().min(at + 1 + random.index(block));
        framer.buffer(end - at).extend_from_slice(&bytes[at..end]);
        if at == end {
            framer.end();
        }
        at = end;
        let flush = framer.ended() || random.index(2) == 0;
        while let Some(chunk) = framer.next(flush) {
            runtime.block_on(inbox.put(chunk));
            if random.index(3) == 0 {
                taken.push(take(random));
            }
        }
    }
    let Counter::Bytes(offset) = framer.counter() else { panic!("a file counts bytes") };
    runtime.block_on(inbox.put_last(None, String::new(), self::at(offset, 1)));
    while inbox.state().ready {
        taken.push(take(random));
    }
    taken.push(take(random)); // An end that stands alone.
    taken
}

#[test]
fn what_is_taken_of_a_file_can_be_read_again_and_read_on_after_any_batch() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let mut random = Random(0x0FF5E7);
    let mut rejected = 0;
    for round in 0..400 {
        let (format, bytes) = random_file(&mut random);
        std::fs::write(&path, &bytes).unwrap();
        let mut source = source(SourceKind::Declared(Arc::new(FileReads { path: "file".into() })), format);
        source.record_bytes_max = [20, 1_500, 1 << 20][random.index(3)];
        let taken = take_at_random(&source, &bytes, &mut random, &runtime);
        let about = format!("round {round}: {:?}, record_bytes_max {}", source.format, source.record_bytes_max);

        let chunks: Vec<Chunk> = taken.iter().flat_map(|taken| taken.chunks.clone()).collect();
        rejected += chunks.iter().map(|chunk| chunk.rejected.len()).sum::<usize>();
        let again = replay(&source, &origin(dir.path()), &plan(&chunks), &[], &mut RereadClient::default()).unwrap();
        assert_eq!(again, chunks, "{about}");
        let mut offset = chunks.first().map_or(bytes.len() as u64, |chunk| chunk.extent.start);
        if !matches!(source.format, Format::Csv { header: true, .. }) && !bytes.is_empty() {
            // A byte order mark is no part of the first record.
            let is_behind_mark = offset == 3 && bytes.starts_with(&[0xef, 0xbb, 0xbf]);
            assert!(offset == 0 || is_behind_mark, "{about}: {offset}");
        }
        for chunk in &chunks {
            assert_eq!(chunk.extent.start, offset, "{about}: no gap and no overlap");
            offset += chunk.extent.bytes;
        }
        assert_eq!(offset, bytes.len() as u64, "{about}: all of it");

        let mut positions = Positions::new();
        let all = records(&chunks);
        let mut before = 0;
        let last = taken.len().saturating_sub(1);
        for (batch, taken) in taken.iter().enumerate() {
            before += records(&taken.chunks).len();
            positions.extend(taken.moved.iter().cloned());
            if batch < last && random.index(4) > 0 {
                continue;
            }
            let inbox = new_inbox();
            let inbox = Arc::new(inbox);
            file::receive(&source, &path, &positions, &inbox, runtime.handle());
            assert!(inbox.state().finished && inbox.state().failed.is_none(), "{about}: {:?}", inbox.state());
            let rest = inbox.take(BatchId(1), TakeLimits::new(u64::MAX, u64::MAX)).chunks;
            assert!(records(&rest) == all[before..], "{about}, from {positions:?}");
            assert!(batch < last || positions[""].ended(), "{about}: the end is known");
        }
    }
    assert!(rejected > 100, "long records are tried, too");
}

/// Starts the source, takes a batch, and starts again from there, until it is read to its end. Each batch is replayed.
async fn read_in_many_starts(source: &SourceSpec, dir: &Path, random: &mut Random) -> (Vec<TakenRecords>, Positions) {
    let (mut positions, mut taken) = (Positions::new(), Vec::<TakenRecords>::new());
    loop {
        let started = begin_from(source, dir, &positions);
        let rows_max = 1 + random.index(400) as u64;
        for _ in 0..1 + random.index(3) {
            let state = started.until("rows", |state| state.ready || state.finished || state.idle_ms > 0).await;
            assert!(state.failed.is_none(), "{:?}", state.failed);
            // Looked at after the end was reported, rows cannot come any longer.
            if !state.ready && !started.inbox.state().ready {
                let end = started.inbox.take(BatchId(1), TakeLimits::new(1, 1));
                positions.extend(end.moved.iter().cloned());
                taken.push(end);
                return (taken, positions);
            }
            let batch = started.inbox.take(BatchId(1), TakeLimits::new(rows_max, 1 << 20));
            assert_eq!(
                replay(source, &origin(dir), &plan(&batch.chunks), &batch.moved, &mut RereadClient::default()).unwrap(),
                batch.chunks
            );
            positions.extend(batch.moved.iter().cloned());
            taken.push(batch);
        }
    }
}

async fn check_many_starts(source: &SourceSpec, dir: &Path, seed: u64) -> (RecordsRead, Positions) {
    let (taken, positions) = read_in_many_starts(source, dir, &mut Random(seed)).await;
    assert!(taken.len() > 5, "{} batches", taken.len());
    let chunks: Vec<Chunk> = taken.into_iter().flat_map(|taken| taken.chunks).collect();
    (records(&chunks), positions)
}

/// How far each file was read, and whether that is its end.
fn ends_of(positions: Positions) -> BTreeMap<String, (u64, bool)> {
    positions.into_iter().map(|(name, position)| (name, (position.offset, position.ended()))).collect()
}

fn at(offset: u64, mark: i64) -> Position {
    Position { offset, mark }
}

#[tokio::test]
async fn a_large_file_is_read_over_many_starts() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = String::from("\u{FEFF}a,b\n");
    let mut expected = Vec::new();
    for i in 0..3_000 {
        let row = format!("{i},\"{}\"\n", "y\n".repeat(i % 700));
        text.push_str(&row);
        expected.push(row.into_bytes());
    }
    std::fs::write(dir.path().join("large"), &text).unwrap();
    let mut source = source(
        SourceKind::Declared(Arc::new(FileReads { path: "large".into() })),
        Format::Csv { header: true, separator: b',' },
    );
    source.schema = vec![ColumnSpec::new("a", millstream_rows::batch::types::ColumnType::Int64)];
    let (records, positions) = check_many_starts(&source, dir.path(), 0xA1).await;
    assert!(records.into_iter().map(|record| record.1).eq(expected));
    assert_eq!(ends_of(positions), [(String::new(), (text.len() as u64, true))].into());
}

#[tokio::test]
async fn a_dir_is_read_over_many_starts_and_each_file_once() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let mut expected = BTreeMap::new();
    for i in 0..12_usize {
        let mut name = std::ffi::OsString::from(format!("part-{i:02}"));
        let mut stored = format!("part-{i:02}");
        if i == 7 {
            name = std::ffi::OsStr::from_bytes(b"\xFF").into();
            stored = "/ff".into();
        }
        let text: String = (0..i * 97).map(|row| format!("{i} {row}\n")).collect();
        std::fs::write(dir.path().join(name), &text).unwrap();
        expected.insert(stored, text);
    }
    let kind = SourceKind::Declared(Arc::new(DirectoryReads {
        times: WatchTimes { poll: Duration::from_millis(1), settle: Duration::ZERO },
        ..DirectoryReads::new("")
    }));
    let source = SourceSpec { away_max: Duration::ZERO, ..source(kind, Format::Text) };
    let (records, mut positions) = check_many_starts(&source, dir.path(), 0xB2).await;
    let mut found: BTreeMap<String, String> = expected.keys().map(|name| (name.clone(), String::new())).collect();
    for (file, record, _) in records {
        found.get_mut(&file).unwrap().push_str(std::str::from_utf8(&record).unwrap());
    }
    assert_eq!(found, expected);
    let ends = expected.iter().map(|(name, text)| (name.clone(), (text.len() as u64, true)));
    assert_eq!(ends_of(positions.clone()), ends.collect());

    // One that was begun and is not there any longer; and one that is shorter.
    std::fs::remove_file(dir.path().join("part-03")).unwrap();
    let failure = async |positions: &Positions| {
        let started = begin_from(&source, dir.path(), positions);
        started.until("failure", |state| state.failed.is_some()).await.failed.unwrap().message
    };
    positions.insert("part-03".into(), at(9, 0));
    let gone = failure(&positions).await;
    let path = dir.path().display();
    let begin = format!("source `lines`: cannot continue in `{path}/part-03`, whose first 9 bytes are in batches: ");
    assert!(gone.starts_with(&format!("{begin}no such file or directory; restore the file")), "{gone}");
    std::fs::write(dir.path().join("part-03"), "short").unwrap();
    let shrunk = failure(&positions).await;
    assert!(shrunk.starts_with(&format!("{begin}it has shrunk to 5 bytes; restore the file")), "{shrunk}");
    let hostile = failure(&[("../part-01".into(), at(0, 0))].into()).await;
    assert!(hostile.contains("`../part-01`, which is not a valid file name"), "{hostile}");
}

#[tokio::test]
async fn a_queue_is_read_over_many_starts() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = String::new();
    let mut expected = Vec::new();
    for line in 0..9_usize {
        let rows: Vec<String> = (0..line * line * 20).map(|row| format!("{{\"n\":{row}}}")).collect();
        text.push_str(&format!("[{}]\n\n", rows.join(" , ")));
        expected.extend(rows);
    }
    std::fs::write(dir.path().join("queue"), &text).unwrap();
    let source = source(SourceKind::Declared(Arc::new(QueueReads { path: "queue".into() })), Format::Json);
    let (records, positions) = check_many_starts(&source, dir.path(), 0xC3).await;
    assert!(records.iter().map(|record| std::str::from_utf8(&record.1).unwrap()).eq(expected.iter()));
    assert_eq!(positions, [(String::new(), at(text.len() as u64 - 1, 0))].into(), "the last blank line is no batch");
}

#[tokio::test]
async fn a_rate_source_goes_on_with_the_next_row() {
    let dir = tempfile::tempdir().unwrap();
    let kind = SourceKind::Declared(Arc::new(RateReads { rows_per_second: 50_000, rows_max: Some(3_000) }));
    let source = source(kind, Format::Binary { record_bytes: None });
    let (records, positions) = check_many_starts(&source, dir.path(), 0xD4).await;
    let start = positions[""].mark;
    assert_eq!((positions.len(), positions[""].offset), (1, 3_000));
    for (i, (_, record, _)) in (0_i64..).zip(&records) {
        assert_eq!(record[..], [(start + i * 20).to_le_bytes(), i.to_le_bytes()].concat(), "row {i}");
    }
    assert_eq!(records.len(), 3_000);
}

#[tokio::test]
async fn rows_of_a_socket_are_counted_over_connections_and_starts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let source = source(
        SourceKind::Declared(Arc::new(SocketReads::lines(listener.local_addr().unwrap().to_string()))),
        Format::Text,
    );
    let from = [(String::new(), at(40, 0))].into();
    let started = begin_from(&source, Path::new("."), &from);
    for text in [&b"a\nb\n"[..], b"c\nd"] {
        let mut peer = listener.accept().await.unwrap().0;
        peer.write_all(text).await.unwrap();
    }
    started.until("four rows", |state| state.rows == 4).await;
    let first = started.inbox.take(BatchId(1), TakeLimits::new(3, u64::MAX));
    let rows: Vec<(u64, usize)> = first.chunks.iter().map(|chunk| (chunk.extent.row, chunk.rows())).collect();
    assert_eq!((rows, first.moved), (vec![(40, 3)], vec![(String::new(), at(43, 0))]), "they are joined");
    let second = started.inbox.take(BatchId(2), TakeLimits::new(3, u64::MAX));
    let mut planned = plan(&second.chunks);
    let error =
        replay(&source, &origin(Path::new(".")), &planned, &[], &mut RereadClient::default()).unwrap_err().message;
    assert!(error.contains("rows from 43 on: its plan does not contain the rows"), "{error}");
    planned[0].kept = Some(second.chunks[0].clone());
    assert_eq!(
        replay(&source, &origin(Path::new(".")), &planned, &[], &mut RereadClient::default()).unwrap(),
        second.chunks
    );
    planned[0].rows = 9;
    let error =
        replay(&source, &origin(Path::new(".")), &planned, &[], &mut RereadClient::default()).unwrap_err().message;
    assert!(error.contains("damaged"), "{error}");
}

#[test]
fn files_that_are_not_as_they_were_cannot_be_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let source = source(SourceKind::Declared(Arc::new(FileReads { path: "file".into() })), Format::Text);
    let extent = Extent { start: 4, bytes: 8, ..Extent::default() };
    let planned = [PlannedChunk { extent, rows: 2, kept: None }];
    let result = |text: Option<&str>| {
        match text {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let error = replay(&source, &origin(dir.path()), &planned, &[], &mut RereadClient::default())
            .map_err(|error| error.message);
        let begin = format!("source `lines`: a batch cannot be replayed: bytes 4 to 12 of `{}`: ", path.display());
        let end = "; restore the original state, or resume from an earlier batch with `--resume-from`";
        error.map_err(|error| error.replace(&begin, "").replace(end, ""))
    };
    assert_eq!(result(Some("one\ntwo\nsix\nmore")).unwrap()[0].bytes, b"two\nsix\n"[..]);
    let err = |text: &str| Err(text.to_owned());
    assert_eq!(result(Some("one\ntwo")), err("the file has shrunk to 7 bytes"));
    assert_eq!(result(Some("one\ntwo_six\nmore")), err("the file was changed: 2 records are planned, 1 found"));
    assert_eq!(
        result(Some("one\n\n\n\n\n\n\n\n\n")),
        err("the file was changed: 2 records are planned, at least 8 found")
    );
    assert_eq!(result(None), err("no such file or directory"));
}

/// Its last record was refused, as it broke off; now it would be a good one, and a wrong one.
#[test]
fn a_compressed_file_that_was_not_whole_and_is_now_cannot_be_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(SourceKind::Declared(Arc::new(FileReads { path: "file.zst".into() })), Format::Text);
    let extent = Extent { start: 4, bytes: 7, ..Extent::default() };
    let planned = [PlannedChunk { extent, rows: 2, kept: None }];
    let of = |text: &str| {
        std::fs::write(dir.path().join("file.zst"), zstd::encode_all(text.as_bytes(), 3).unwrap()).unwrap();
        replay(&source, &origin(dir.path()), &planned, &[], &mut RereadClient::default()).map_err(|error| error.message)
    };
    assert_eq!(of("one\ntwo\nsix").unwrap()[0].bytes, b"two\nsix"[..]);
    let result = of("one\ntwo\nsixteen\n").unwrap_err();
    assert!(result.contains("the file was changed: its last record is longer now"), "{result}");
}

#[test]
fn no_plan_makes_replay_panic() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "[1,2]\n[]\n[\"x\"]\nnonsense\n").unwrap();
    let path = || std::path::PathBuf::from("file");
    let kinds = [
        SourceKind::Declared(Arc::new(FileReads { path: path() })),
        SourceKind::Declared(Arc::new(QueueReads { path: path() })),
        SourceKind::Declared(Arc::new(DirectoryReads::new(""))),
        SourceKind::Declared(Arc::new(RateReads { rows_per_second: 0, rows_max: None })),
        SourceKind::Declared(Arc::new(SocketReads::lines("x:1"))),
    ];
    let mut random = Random(0xBAD);
    let numbers = [0, 1, 6, 7, 9, 15, 24, 25, u64::from(u32::MAX), 1 << 63, u64::MAX];
    let names = ["", "file", "../file", "/etc/passwd", "/66696c65", "/f", "/\u{e9}\u{e9}", ".", "a\0b"];
    let (mut made, mut tried) = (0, 0);
    for _ in 0..20_000 {
        let source = source(kinds[random.index(kinds.len())].clone(), Format::Text);
        let mut number = || numbers[random.index(numbers.len())];
        let (start, bytes, row, rows) = (number(), number(), number(), number() as u32);
        let kept = (number() == 1).then(|| Chunk { ends: vec![9, 2], bytes: "abc".into(), ..Chunk::default() });
        let file = names[random.index(names.len())].to_owned();
        let planned = PlannedChunk { extent: Extent { file, start, bytes, row }, rows, kept };
        let replayed =
            replay(&source, &origin(dir.path()), std::slice::from_ref(&planned), &[], &mut RereadClient::default());
        tried += 1;
        if let Ok(chunks) = replayed {
            assert_eq!((&chunks[0].extent, chunks[0].rows()), (&planned.extent, rows as usize));
            made += 1;
        }
    }
    assert!(made > 20 && made < tried / 2, "{made} of {tried}");
}

#[test]
fn a_pipe_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let source = source(SourceKind::Declared(Arc::new(FileReads { path: path.clone() })), Format::Text);
    let Err(error) = part(&source, &path).open(at(5, 0)) else { panic!("a pipe cannot be read on") };
    assert!(error.message.contains("not a regular file"), "{error}");
    let planned = [PlannedChunk { extent: Extent { bytes: 5, ..Extent::default() }, rows: 1, kept: None }];
    let error = replay(&source, &origin(dir.path()), &planned, &[], &mut RereadClient::default()).unwrap_err();
    assert!(error.message.contains("not a regular file"), "{error}");
}
