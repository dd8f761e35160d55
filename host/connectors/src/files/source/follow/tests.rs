//! Logs that are appended to, rotated and truncated at random, read by receivers that are stopped at random, against a list
//! of what was written.

use super::*;
use crate::files::source::settings::LogReads;
use crate::tests::receiver::{StartedSource, begin_from};
use millstream_base::ids::BatchId;
use millstream_base::random::Random;
use millstream_connect::receiver::replay::replay;
use millstream_job::spec::{Origin, RereadClient};
use millstream_rows::batch::chunk::PlannedChunk;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::position::{Positions, move_all};
use millstream_rows::batch::types::ColumnType;
use millstream_rows::inbox::TakeLimits;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Instant;

const DEADLINE: Duration = Duration::from_secs(30);

fn log(path: &Path, settle: Duration, format: Format) -> SourceSpec {
    let times = WatchTimes { poll: Duration::from_millis(1), settle };
    let mut source = SourceSpec::from_config("log", LogReads { path: path.into(), times }).format(format);
    if let Format::Csv { .. } = source.format {
        source.schema = vec![ColumnSpec::new("n", ColumnType::Text)];
    }
    source
}

/// A log and who writes it.
struct LogWriter {
    path: std::path::PathBuf,
    header: bool,
    lines: u64,
    written: Vec<String>,
}

impl LogWriter {
    fn append(&mut self, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path).unwrap();
        if self.header && file.metadata().unwrap().len() == 0 {
            file.write_all(b"n\n").unwrap();
        }
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Some lines; sometimes in pieces.
    fn write(&mut self, random: &mut Random) {
        for _ in 0..random.index(6) {
            let line = format!("{} {}", self.lines, "x".repeat(random.index(40)));
            self.lines += 1;
            if random.index(4) == 0 {
                self.append(&line[..line.len() / 2]);
                pause(random);
                self.append(&format!("{}\n", &line[line.len() / 2..]));
            } else {
                self.append(&format!("{line}\n"));
            }
            self.written.push(line);
        }
    }

    fn rotate(&self, copy: bool) {
        if !self.path.exists() {
            return;
        }
        let name = |number: usize| self.path.with_file_name(format!("app.log.{number}"));
        let last = (1..).find(|number| !name(*number).exists()).unwrap();
        for number in (1..last).rev() {
            fs::rename(name(number), name(number + 1)).unwrap();
        }
        if copy {
            fs::copy(&self.path, name(1)).unwrap();
            OpenOptions::new().write(true).open(&self.path).unwrap().set_len(0).unwrap();
        } else {
            fs::rename(&self.path, name(1)).unwrap();
        }
    }
}

fn pause(random: &mut Random) {
    std::thread::sleep(Duration::from_micros(random.index(3_000) as u64));
}

/// What batches hold so far.
struct Batches {
    source: SourceSpec,
    dir: std::path::PathBuf,
    positions: Positions,
    records: Vec<String>,
}

impl Batches {
    fn take(&mut self, started: &StartedSource, rows_max: u64, replays: bool) {
        let taken = started.inbox.take(BatchId(1), TakeLimits::new(rows_max, u64::MAX));
        assert!(started.inbox.state().failed.is_none(), "{:?}", started.inbox.state().failed);
        for chunk in &taken.chunks {
            let record = |row| String::from_utf8_lossy(chunk.record(row)).trim_end_matches('\n').to_owned();
            self.records.extend((0..chunk.rows()).map(record));
        }
        if replays {
            let plan: Vec<PlannedChunk> = taken
                .chunks
                .iter()
                .map(|chunk| PlannedChunk { extent: chunk.extent.clone(), rows: chunk.rows() as u32, kept: None })
                .collect();
            let origin = Origin { dir: self.dir.clone(), ..Origin::default() };
            assert_eq!(
                replay(&self.source, &origin, &plan, &taken.moved, &mut RereadClient::default()).unwrap(),
                taken.chunks
            );
        }
        move_all(&mut self.positions, taken.moved);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_read_once_through_rotations_and_starts() {
    for seed in 1..=12 {
        let dir = tempfile::tempdir().unwrap();
        let mut random = Random(seed * 0x9E37);
        let header = seed % 3 == 0;
        let format = if header { Format::Csv { header: true, separator: b',' } } else { Format::Text };
        let path = dir.path().join("app.log");
        let source = log(&path, Duration::ZERO, format);
        let mut writer = LogWriter { path, header, lines: 0, written: Vec::new() };
        let (positions, records) = (Positions::new(), Vec::new());
        let mut batches = Batches { source: source.clone(), dir: dir.path().into(), positions, records };
        for _ in 0..12 {
            // While no job runs.
            for _ in 0..random.index(5) {
                writer.write(&mut random);
                if random.index(2) == 0 {
                    writer.rotate(random.index(2) == 0);
                }
            }
            let started = begin_from(&source, dir.path(), &batches.positions);
            for _ in 0..random.index(30) {
                match random.index(8) {
                    0 => writer.rotate(random.index(2) == 0),
                    1..=4 => writer.write(&mut random),
                    _ => batches.take(&started, 1 + random.index(9) as u64, random.index(3) == 0),
                }
                pause(&mut random);
            }
        }
        let started = begin_from(&source, dir.path(), &batches.positions);
        let deadline = Instant::now() + DEADLINE;
        while batches.records.len() < writer.written.len() && Instant::now() < deadline {
            batches.take(&started, u64::MAX, true);
            pause(&mut random);
        }
        std::thread::sleep(Duration::from_millis(5));
        batches.take(&started, u64::MAX, true);
        let first = (0..).zip(&batches.records).find(|(i, record)| writer.written.get(*i) != Some(record));
        assert_eq!(first, None, "seed {seed}");
        assert_eq!(batches.records.len(), writer.written.len(), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_still_writes_to_a_rotated_file_is_heard_and_a_last_line_waits_until_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.log");
    let source = log(&path, Duration::from_millis(200), Format::Text);
    fs::write(&path, "one\ntw").unwrap();
    let started = begin_from(&source, dir.path(), &Positions::new());
    started.until("a row", |state| state.rows == 1).await;
    started.until("all is read", |state| state.idle_ms > 0).await;
    let mut old_file = OpenOptions::new().append(true).open(&path).unwrap();
    old_file.write_all(b"o\n").unwrap();
    started.until("the line", |state| state.rows == 2).await;
    fs::rename(&path, dir.path().join("app.log.1")).unwrap();
    fs::write(&path, "four\n").unwrap();
    old_file.write_all(b"three\nno end").unwrap();
    started.until("all", |state| state.rows == 5).await;
    old_file.write_all(b"late\n").unwrap();
    started.until("what came late", |state| state.rows == 6).await;
    let chunks = started.inbox.take(BatchId(1), TakeLimits::new(u64::MAX, u64::MAX)).chunks;
    let records = chunks.iter().flat_map(|chunk| (0..chunk.rows()).map(|row| chunk.record(row).to_vec()));
    let text = String::from_utf8(records.flat_map(|record| [record, b"|".to_vec()].concat()).collect()).unwrap();
    assert_eq!(text, "one\n|two\n|three\n|no end|four\n|late\n|");
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_of_rotated_files_go_when_the_files_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.log");
    let source = log(&path, Duration::ZERO, Format::Text);
    let (positions, records) = (Positions::new(), Vec::new());
    let mut batches = Batches { source: source.clone(), dir: dir.path().into(), positions, records };
    fs::write(&path, "0\n").unwrap();
    let started = begin_from(&source, dir.path(), &Positions::new());
    for i in 1..6 {
        started.until("the line", |state| state.rows == 1).await;
        batches.take(&started, 1, false);
        fs::rename(&path, dir.path().join("app.log.1")).unwrap();
        fs::write(&path, format!("{i}\n")).unwrap();
    }
    started.until("the line", |state| state.rows == 1).await;
    batches.take(&started, 1, false);
    assert_eq!(batches.records, ["0", "1", "2", "3", "4", "5"]);
    assert!(batches.positions.len() <= 3, "{:?}", batches.positions);
}

/// The rows that a log has given, when there are so many.
async fn rows(started: &StartedSource, count: u64) -> Vec<String> {
    started.until("the rows", |state| state.rows >= count).await;
    started.until("all is read", |state| state.idle_ms > 0).await;
    let chunks = started.inbox.take(BatchId(1), TakeLimits::new(u64::MAX, u64::MAX)).chunks;
    let rows = chunks.iter().flat_map(|chunk| (0..chunk.rows()).map(|row| chunk.record(row).to_vec()));
    rows.map(|row| String::from_utf8(row).unwrap().trim_end().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_copied_and_not_yet_truncated_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("app.log"), dir.path().join("app.log.1"));
    let source = log(&path, Duration::ZERO, Format::Text);
    fs::write(&path, "one\ntwo\n").unwrap();
    // A long copy, in the middle.
    fs::write(&copy, "one\n").unwrap();
    let started = begin_from(&source, dir.path(), &Positions::new());
    assert_eq!(rows(&started, 2).await, ["one", "two"]);
    fs::write(&copy, "one\ntwo\n").unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    fs::write(&path, "three\n").unwrap();
    assert_eq!(rows(&started, 1).await, ["three"]);
}

/// What is written between the copy and the truncation may have been read already.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_lacks_lines_which_were_read_is_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("app.log"), dir.path().join("app.log.1"));
    let source = log(&path, Duration::from_millis(20), Format::Text);
    fs::write(&path, "one\ntwo\n").unwrap();
    let started = begin_from(&source, dir.path(), &Positions::new());
    assert_eq!(rows(&started, 2).await, ["one", "two"]);
    for round in 0..3 {
        fs::copy(&path, &copy).unwrap();
        let mut log = OpenOptions::new().append(true).open(&path).unwrap();
        log.write_all(format!("late {round}\n").as_bytes()).unwrap();
        assert_eq!(rows(&started, 1).await, [format!("late {round}")]);
        log.set_len(0).unwrap();
        log.write_all(format!("next {round}\n").as_bytes()).unwrap();
        assert_eq!(rows(&started, 1).await, [format!("next {round}")]);
        fs::rename(&copy, dir.path().join(format!("app.log.{}", 9 - round))).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_begins_as_the_one_before_it_is_no_copy() {
    let dir = tempfile::tempdir().unwrap();
    let (path, before) = (dir.path().join("app.log"), dir.path().join("app.log.1"));
    let source = log(&path, Duration::ZERO, Format::Text);
    let made = |path: &Path| fs::metadata(path).unwrap().created().unwrap();
    fs::write(&before, "begin\n").unwrap();
    // Clocks of files are coarse.
    let deadline = Instant::now() + DEADLINE;
    fs::write(&path, "begin\nmore\n").unwrap();
    while made(&path) <= made(&before) && Instant::now() < deadline {
        fs::remove_file(&path).unwrap();
        fs::write(&path, "begin\nmore\n").unwrap();
    }
    let started = begin_from(&source, dir.path(), &Positions::new());
    assert_eq!(rows(&started, 3).await, ["begin", "begin", "more"]);
}
