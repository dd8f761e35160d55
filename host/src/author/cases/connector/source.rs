//! Cases of sources: the rows of the partitions, and whether each resumes at its positions.
//!
//! There are three kinds of runs, each with reset peers. The first reads everything, as much at a time as available.
//! The second reads one row after the other and records the positions. Each run of the third reads up to one of these
//! positions, reports it as durable, dies, and is reopened there.

use super::{CaseFileWriter, ConnectorCase, NAME, PAUSE};
use crate::author::cases::ExpectedOutcome;
use crate::author::cases::compare::read_text;
use crate::author::cases::compare::{self, BatchLine};
use crate::author::cases::peer::{Peers, escape, expected_file};
use millstream_base::error::{Error, Result};
use millstream_engine::graph::Graph;
use millstream_rows::batch::json;
use millstream_rows::batch::reading::{ReadContent, ReadError, ReadPartition};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Maximum rows of a poll in the first run.
const ROWS_MAX: u32 = 1024;
/// How long a poll waits for rows.
const WAIT: Duration = Duration::from_millis(200);
/// How long a poll waits that should return nothing.
const NOTHING: Duration = Duration::from_millis(100);
/// Maximum number of positions at which a partition is reopened.
const POSITIONS_MAX: usize = 12;

const EXPECTED: &str = "expected.jsonl";
const REJECTED: &str = "expected-rejected.jsonl";

/// A line of `expected.jsonl`: rows of a partition, and the position after them if it matters.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RowsLine {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    partition: String,
    rows: Vec<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<String>,
}

/// Runs the case and returns the differences.
pub fn differs(
    case: &ConnectorCase,
    graph: Result<Graph>,
    peers: &mut Peers,
    accepted: Option<&mut Vec<PathBuf>>,
) -> Result<Option<String>> {
    let rows = case.file_if_exists(EXPECTED).map(|path| read_lines(&path)).transpose()?;
    let expected = ExpectedOutcome::read(&case.dir, EXPECTED, rows)?;
    let rejected = case.file_if_exists(REJECTED).map(|path| compare::read_lines(&path)).transpose()?;
    // Sources have no batches here.
    let rejected = rejected.map(|lines| [BatchLine::merge(lines)]);
    let columns = match &expected {
        ExpectedOutcome::Rows(lines) => columns_of(lines.iter().flat_map(|line| &line.rows)),
        _ => BTreeSet::new(),
    };
    let source = graph.and_then(|graph| {
        let source = graph.readers.get(NAME).ok_or_else(|| Error::bug("a case without its source"))?;
        Ok(source.readers())
    });
    let make = match source {
        Ok(make) => make,
        Err(error) => return super::failed_case(case, peers, &expected, &error, accepted),
    };
    let mut runs = Runs { case, peers, make, columns };
    let read_rows = match runs.first() {
        Ok(read_rows) => read_rows,
        Err(error) => return super::failed_case(case, runs.peers, &expected, &error, accepted),
    };
    let difference = match expected.check_error(None) {
        Err(difference) => difference,
        Ok(None) => Some(format!(
            "neither expected.jsonl nor expected-error.txt exists. The actual output, for expected.jsonl if it is correct \
             (`millstream test --accept` writes it):\n{}",
            read_rows.written(&PartitionRows::default()).trim_end()
        )),
        Ok(Some(lines)) => read_rows.differs(lines).or_else(|| {
            let got = read_rows.rejected(rejected.as_ref()?);
            compare::difference(rejected.as_ref()?, &[got], true)
                .map(|difference| format!("rejected rows: {difference}"))
        }),
    };
    let difference = match difference {
        Some(difference) => Some(difference),
        None => super::peer_difference(case, runs.peers)?,
    };
    let lines = match &expected {
        ExpectedOutcome::Rows(lines) => lines.as_slice(),
        _ => &[],
    };
    let wants_positions = lines.iter().any(|line| line.position.is_some());
    match (&difference, accepted) {
        (Some(_), Some(written)) => {
            let mut accepting = CaseFileWriter { dir: &case.dir, written };
            for (name, received) in runs.peers.received() {
                if case.file_if_exists(&expected_file(name)).is_some() {
                    accepting.write(&expected_file(name), &received)?;
                }
            }
            let steps = if wants_positions { runs.steps(&read_rows)? } else { PartitionRows::default() };
            accepting.write(EXPECTED, &read_rows.written(&steps))?;
            if let Some(rejected) = &rejected {
                accepting.write(REJECTED, &compare::to_lines(&[read_rows.rejected(rejected)]))?;
            }
            accepting.no_error(&expected)?;
            Ok(None)
        }
        (None, _) if case.reopens() || wants_positions => {
            Ok(runs.resume_difference(&read_rows, lines).unwrap_or_else(|error| Some(error.to_string())))
        }
        _ => Ok(difference),
    }
}

/// The runs of a case.
struct Runs<'a> {
    case: &'a ConnectorCase,
    peers: &'a mut Peers,
    make: Arc<dyn Fn() -> Result<Box<dyn ReadPartition>> + Send + Sync>,
    /// The compared columns. Empty means all.
    columns: BTreeSet<String>,
}

/// The rows of all partitions, by name without the addresses of this run.
#[derive(Default)]
struct PartitionRows(BTreeMap<String, Rows>);

/// The rows of a partition.
#[derive(Clone, Default)]
struct Rows {
    /// The name that the plugin gave it.
    partition: String,
    rows: Vec<Value>,
    rejected: Vec<Value>,
    ended: bool,
    /// The current position, and earlier ones with the number of rows, and of all records, before them.
    position: Option<Vec<u8>>,
    positions: Vec<CasePosition>,
}

/// A position, and the counts before it.
#[derive(Clone)]
struct CasePosition {
    rows: usize,
    count: usize,
    position: Vec<u8>,
    /// The position for people.
    shown: String,
}

impl Rows {
    fn count(&self) -> usize {
        self.rows.len() + self.rejected.len()
    }
}

/// A reader of a partition.
struct CaseReader {
    reader: Box<dyn ReadPartition>,
    read_rows: Rows,
    /// The number of failures without progress.
    failures: u32,
}

impl Runs<'_> {
    /// Reads everything.
    fn first(&mut self) -> Result<PartitionRows> {
        self.peers.reset();
        let end = Instant::now() + self.case.within;
        let mut readings = Vec::new();
        for partition in self.partitions()? {
            readings.push(self.open_reader(partition, None)?);
        }
        let enough = self.case.file.rows;
        loop {
            let is_enough = |readings: &[CaseReader]| {
                let count: usize = readings.iter().map(|reading| reading.read_rows.count()).sum();
                enough.is_some_and(|enough| count as u64 >= enough)
            };
            if readings.iter().all(|reading| reading.read_rows.ended) || is_enough(&readings) {
                break;
            }
            let count = readings.len() as u32;
            for reading in readings.iter_mut().filter(|reading| !reading.read_rows.ended) {
                self.poll(reading, ROWS_MAX, WAIT / count.clamp(1, 10))?;
            }
            self.in_time(end, || describe_counts(&readings, enough))?;
        }
        for reading in &mut readings {
            if !reading.read_rows.ended {
                // Extra rows are available by now.
                self.poll_extra(reading)?;
            }
            if let Some(position) = reading.read_rows.position.clone() {
                let result = reading.reader.durable(&position).and_then(|()| reading.reader.published(&position));
                permanent(result)?;
            }
        }
        let count: usize = readings.iter().map(|reading| reading.read_rows.count()).sum();
        if enough.is_some_and(|enough| count as u64 > enough) {
            return Err(Error::plugin(describe_counts(&readings, enough)));
        }
        let read_rows = readings.into_iter().map(|reading| reading.read_rows);
        let read_rows = read_rows.map(|read_rows| (self.peers.named(&read_rows.partition), read_rows)).collect();
        self.peers.check_to_the_end()?;
        Ok(PartitionRows(read_rows))
    }

    fn partitions(&self) -> Result<Vec<String>> {
        let mut failures = 0;
        loop {
            match (self.make)()?.partitions() {
                Ok(mut partitions) => {
                    partitions.sort();
                    return Ok(partitions);
                }
                Err(error) => retry(error, &mut failures)?,
            }
            self.peers.check()?;
        }
    }

    fn open_reader(&self, partition: String, position: Option<Vec<u8>>) -> Result<CaseReader> {
        let read_rows = Rows { partition, position, ..Rows::default() };
        Ok(CaseReader { reader: (self.make)()?, read_rows, failures: 0 })
    }

    /// Polls once, and opens the partition before that if it is not open.
    fn poll(&mut self, reading: &mut CaseReader, rows_max: u32, wait: Duration) -> Result<()> {
        let before = (reading.read_rows.count(), reading.read_rows.position.clone());
        let polled = self.try_poll(reading, rows_max, wait);
        self.peers.check()?;
        match polled {
            Ok(Some(pause)) if reading.read_rows.count() == before.0 => thread::sleep(pause.min(PAUSE)),
            Ok(_) => {}
            Err(error) => retry(error, &mut reading.failures)?,
        }
        if (reading.read_rows.count(), &reading.read_rows.position) != (before.0, &before.1) {
            reading.failures = 0;
        }
        Ok(())
    }

    fn try_poll(
        &mut self,
        reading: &mut CaseReader,
        rows_max: u32,
        wait: Duration,
    ) -> Result<Option<Duration>, ReadError> {
        let CaseReader { reader, read_rows, .. } = reading;
        if !reader.is_open() {
            reader.open(&read_rows.partition, read_rows.position.as_deref())?;
            // As in a job: the sender may not have received the previous notice.
            if let Some(position) = &read_rows.position {
                reader.durable(position)?;
            }
        }
        self.peers.send();
        let polled = reader.poll(rows_max, wait)?;
        self.peers.send();
        let ReadContent::Rows(rows) = polled.content else {
            return Err(ReadError::Permanent(Error::bug("a plugin read messages")));
        };
        let rows = json::objects(&rows).map_err(|error| ReadError::Permanent(Error::plugin(error)))?;
        for row in rows {
            let row = serde_json::from_str(&self.peers.named(&row));
            read_rows.rows.push(self.comparable(row.map_err(|error| ReadError::Permanent(Error::bug(error)))?));
        }
        for (data, reason) in polled.rejected {
            let row = serde_json::json!({ "value": String::from_utf8_lossy(&data), "reason": reason });
            let row = serde_json::from_str(&self.peers.named(&row.to_string()));
            read_rows.rejected.push(row.map_err(|error| ReadError::Permanent(Error::bug(error)))?);
        }
        if let Some(position) = polled.position {
            let shown = self.peers.named(&escape(&position));
            let point = CasePosition { rows: read_rows.rows.len(), count: read_rows.count(), position, shown };
            read_rows.position = Some(point.position.clone());
            read_rows.positions.push(point);
        }
        read_rows.ended = polled.pause.is_none();
        Ok(polled.pause)
    }

    /// Returns a row without the columns that are not compared.
    fn comparable(&self, row: Value) -> Value {
        let mut row = compare::normalize(row);
        if let Some(members) = row.as_object_mut().filter(|_| !self.columns.is_empty()) {
            members.retain(|name, _| self.columns.contains(name));
        }
        row
    }

    /// Polls once more for unexpected rows. Transient errors no longer matter.
    fn poll_extra(&mut self, reading: &mut CaseReader) -> Result<()> {
        let polled = self.try_poll(reading, ROWS_MAX, NOTHING);
        self.peers.check()?;
        permanent(polled.map(drop))
    }

    fn in_time(&self, end: Instant, what: impl FnOnce() -> String) -> Result<()> {
        if Instant::now() < end {
            return Ok(());
        }
        let within = millstream_base::units::show_time(self.case.within);
        Err(Error::plugin(format!("after {within} (`within`) {}", what())))
    }

    /// Reads rows of a partition, at most `rows_max` at a time, until there are `count`, or none have arrived for too
    /// long.
    fn read_until(&mut self, reading: &mut CaseReader, rows_max: u32, count: usize) -> Result<()> {
        let end = Instant::now() + self.case.within;
        while reading.read_rows.count() < count && !reading.read_rows.ended && Instant::now() < end {
            self.poll(reading, rows_max, WAIT)?;
        }
        Ok(())
    }

    /// Reads each partition row by row.
    fn steps(&mut self, first: &PartitionRows) -> Result<PartitionRows> {
        let mut steps = PartitionRows::default();
        for (name, read_rows) in &first.0 {
            self.peers.reset();
            let mut reading = self.open_reader(read_rows.partition.clone(), None)?;
            self.read_until(&mut reading, 1, read_rows.count())?;
            steps.0.insert(name.clone(), reading.read_rows);
            drop(reading.reader);
            self.peers.check_to_the_end()?;
        }
        Ok(steps)
    }

    /// Tests whether the rows are the same one by one, and whether each partition resumes at its positions.
    fn resume_difference(&mut self, first: &PartitionRows, lines: &[RowsLine]) -> Result<Option<String>> {
        let steps = self.steps(first)?;
        for (name, stepped) in &steps.0 {
            let Some(all) = first.0.get(name) else { continue };
            let of = if name.is_empty() { String::new() } else { format!("partition `{name}`, ") };
            if let Some(difference) = rows_differ((&all.rows, &all.rejected), (&stepped.rows, &stepped.rejected)) {
                return Ok(Some(format!("{of}with one row a poll:\n{difference}")));
            }
            if let Some(difference) = positions_differ(name, stepped, lines) {
                return Ok(Some(format!("{of}{difference}")));
            }
            let positions = if self.case.reopens() { stepped.positions.as_slice() } else { &[] };
            for point in select_positions(positions) {
                let opened =
                    |difference: &str| format!("{of}opened again at the position `{}`{difference}", point.shown);
                let (before, rest) = self
                    .reopened(point, all)
                    .map_err(|error| Error { message: opened(&format!(": {error}")), ..error })?;
                let expected = (all.rows.get(before.rows.len()..), all.rejected.get(before.rejected.len()..));
                let expected = (expected.0.unwrap_or_default(), expected.1.unwrap_or_default());
                if let Some(difference) = rows_differ(expected, (&rest.rows, &rest.rejected)) {
                    return Ok(Some(opened(&format!(", after {} rows:\n{difference}", before.rows.len()))));
                }
            }
        }
        Ok(None)
    }

    /// Reads up to a position, dies, and is reopened there. Returns the rows before and after that.
    fn reopened(&mut self, point: &CasePosition, all: &Rows) -> Result<(Rows, Rows)> {
        self.peers.reset();
        let mut reading = self.open_reader(all.partition.clone(), None)?;
        self.read_until(&mut reading, 1, point.count)?;
        let before = reading.read_rows.clone();
        let Some(position) = before.position.clone() else {
            return Err(Error::plugin(format!("read again, it reports no position after {} rows", before.rows.len())));
        };
        permanent(reading.reader.durable(&position))?;
        drop(reading);
        self.peers.check_to_the_end()?;
        let mut reading = self.open_reader(all.partition.clone(), Some(position))?;
        self.read_until(&mut reading, ROWS_MAX, all.count().saturating_sub(before.count()))?;
        if !reading.read_rows.ended {
            self.poll_extra(&mut reading)?;
        }
        let read_rows = reading.read_rows.clone();
        drop(reading);
        self.peers.check_to_the_end()?;
        Ok((before, read_rows))
    }
}

/// Describes the actual and the expected number of rows.
fn describe_counts(readings: &[CaseReader], enough: Option<u64>) -> String {
    let rows: usize = readings.iter().map(|reading| reading.read_rows.rows.len()).sum();
    let rejected: usize = readings.iter().map(|reading| reading.read_rows.rejected.len()).sum();
    let expected = match enough {
        Some(enough) => format!("and {enough} are expected together (`rows`)"),
        None => "and the plugin has not reported its end; if it never does, write `rows = …`".into(),
    };
    format!("there are {rows} rows and {rejected} rejected ones, {expected}")
}

/// Returns the first position that differs from an expected one.
fn positions_differ(partition: &str, stepped: &Rows, lines: &[RowsLine]) -> Option<String> {
    let mut rows = 0;
    for line in lines.iter().filter(|line| line.partition == partition) {
        rows += line.rows.len();
        let Some(expected) = &line.position else { continue };
        let got: Vec<&str> =
            stepped.positions.iter().filter(|point| point.rows == rows).map(|point| point.shown.as_str()).collect();
        if !got.contains(&expected.as_str()) {
            let got = got.first().unwrap_or(&"none");
            return Some(format!("after {rows} rows:\n  expected position {expected}\n  got               {got}"));
        }
    }
    None
}

/// Returns positions evenly from the first to the last, or all of them if there are not too many.
fn select_positions(positions: &[CasePosition]) -> impl Iterator<Item = &CasePosition> {
    let last = positions.len().saturating_sub(1);
    let count = positions.len().min(POSITIONS_MAX);
    (0..count).filter_map(move |at| positions.get(at * last / (count - 1).max(1)))
}

/// Waits after a transient error, a limited number of times.
fn retry(error: ReadError, failures: &mut u32) -> Result<()> {
    match error {
        ReadError::Permanent(error) => Err(error),
        ReadError::Transient(why) => super::retry(&why, failures, "a row"),
    }
}

/// Ignores transient errors.
fn permanent(result: Result<(), ReadError>) -> Result<()> {
    match result {
        Err(ReadError::Permanent(error)) => Err(error),
        Ok(()) | Err(ReadError::Transient(_)) => Ok(()),
    }
}

/// Compares rows and rejected rows.
fn rows_differ(expected: (&[Value], &[Value]), got: (&[Value], &[Value])) -> Option<String> {
    compare::differing_rows(expected.0, got.0, true).or_else(|| {
        compare::differing_rows(expected.1, got.1, true).map(|difference| format!("refused:\n{difference}"))
    })
}

impl PartitionRows {
    /// Compares with the expected lines.
    fn differs(&self, lines: &[RowsLine]) -> Option<String> {
        let mut expected: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for line in lines {
            expected.entry(&line.partition).or_default().extend(line.rows.iter().cloned());
        }
        let got: BTreeMap<&str, &[Value]> =
            self.0.iter().map(|(name, read_rows)| (name.as_str(), read_rows.rows.as_slice())).collect();
        let names: BTreeSet<&str> = expected.keys().chain(got.keys()).copied().collect();
        names.into_iter().find_map(|name| {
            let expected = expected.get(name).map(Vec::as_slice).unwrap_or_default();
            let difference = compare::differing_rows(expected, got.get(name).copied().unwrap_or_default(), true)?;
            Some(if name.is_empty() { difference } else { format!("partition `{name}`:\n{difference}") })
        })
    }

    /// Returns the rejected rows, with the expected columns.
    fn rejected(&self, expected: &[BatchLine]) -> BatchLine {
        let mut line =
            [BatchLine::of_rows(1, self.0.values().flat_map(|read_rows| read_rows.rejected.clone()).collect())];
        compare::keep_columns_of(expected, &mut line);
        let [line] = line;
        line
    }

    /// Returns the lines of `expected.jsonl`, one row each, with the positions of partitions that were read row by row.
    fn written(&self, steps: &PartitionRows) -> String {
        let mut text = String::new();
        for (partition, read_rows) in &self.0 {
            let stepped = steps.0.get(partition);
            for (number, row) in (1..).zip(&read_rows.rows) {
                let point = stepped.and_then(|read_rows| read_rows.positions.iter().find(|point| point.rows == number));
                let position = point.map(|point| point.shown.clone());
                let line = RowsLine { partition: partition.clone(), rows: vec![row.clone()], position };
                text.push_str(&serde_json::to_string(&line).unwrap_or_default());
                text.push('\n');
            }
        }
        text
    }
}

fn columns_of<'a>(rows: impl Iterator<Item = &'a Value>) -> BTreeSet<String> {
    rows.filter_map(Value::as_object).flat_map(|row| row.keys().cloned()).collect()
}

fn read_lines(path: &Path) -> Result<Vec<RowsLine>> {
    let text = read_text(path)?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            let line: RowsLine = serde_json::from_str(line).map_err(|cause| {
                let path = path.display();
                Error::job(format!("{path}:{number}: {cause}; write some rows as {{\"rows\":[{{…}}]}}"))
            })?;
            Ok(RowsLine { rows: line.rows.into_iter().map(compare::normalize).collect(), ..line })
        })
        .collect()
}
