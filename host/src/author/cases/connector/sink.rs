//! Cases of sinks: what their peers receive, and whether an exactly-once sink knows what it holds.
//!
//! There are two runs, the second with reset peers. The first passes one batch after the other, as a job without
//! failures does. The second is for exactly-once sinks: the plugin dies within each batch, and after each commit, as if
//! its response had been lost.

use super::{CaseFileWriter, ConnectorCase, NAME};
use crate::author::cases::ExpectedOutcome;
use crate::author::cases::compare::read_text;
use crate::author::cases::compare::{self, BatchLine};
use crate::author::cases::peer::{Peers, expected_file};
use arrow::array::RecordBatch;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, BatchTime, Generation};
use millstream_base::limits::PART_ROWS_MAX;
use millstream_base::owner::Owner;
use millstream_engine::graph::{ConnectorSlot, Graph, SinkNode};
use millstream_job::spec::SinkKind;
use millstream_rows::batch::chunk::Chunk;
use millstream_rows::batch::json;
use millstream_rows::batch::writing::{WriteBatches, WriteError};
use millstream_rows::decode::Decoder;
use millstream_rows::decode::json::array_elements;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The ID of the job of a case.
const JOB_ID: &str = "00000000000000000000000000000001";
/// The interval between batches.
const BATCH_US: i64 = 1_000_000;

const REJECTED: &str = "expected-rejected.jsonl";

/// A batch of the input.
struct Batch {
    id: u64,
    parts: Vec<RecordBatch>,
}

/// What the case expects instead of an error: that its files for peers match.
struct PeerFilesMatch;

/// Runs the case and returns the differences.
pub fn differs(
    case: &ConnectorCase,
    graph: Result<Graph>,
    peers: &mut Peers,
    accepted: Option<&mut Vec<PathBuf>>,
) -> Result<Option<String>> {
    let files: Vec<String> = peers.received().map(|(name, _)| expected_file(name)).collect();
    let received = files.iter().any(|file| case.file_if_exists(file).is_some()).then_some(PeerFilesMatch);
    let expected = ExpectedOutcome::read(&case.dir, "a file with what a peer receives", received)?;
    let rejected = case.file_if_exists(REJECTED).map(|path| compare::read_lines(&path)).transpose()?;
    let graph = match graph {
        Ok(graph) => graph,
        Err(error) => return super::failed_case(case, peers, &expected, &error, accepted),
    };
    let batches = batches(case, &graph)?;
    let mut runs = Runs::new(case, &graph, peers)?;
    let mut rejected_rows = match runs.first(&batches) {
        Ok(rejected_rows) => rejected_rows,
        Err(error) => return super::failed_case(case, runs.peers, &expected, &error, accepted),
    };
    if let Some(rejected) = &rejected {
        compare::keep_columns_of(rejected, &mut rejected_rows);
    }
    let difference = match expected.check_error(None) {
        Err(difference) => difference,
        Ok(None) => Some(unknown(runs.peers, &files)),
        Ok(Some(PeerFilesMatch)) => super::peer_difference(case, runs.peers)?.or_else(|| {
            compare::difference(rejected.as_ref()?, &rejected_rows, true)
                .map(|message| format!("rejected rows: {message}"))
        }),
    };
    match (&difference, accepted) {
        (Some(_), Some(written)) => {
            let mut accepting = CaseFileWriter { dir: &case.dir, written };
            for (name, received) in runs.peers.received() {
                accepting.write(&expected_file(name), &received)?;
            }
            if rejected.is_some() {
                accepting.write(REJECTED, &compare::to_lines(&rejected_rows))?;
            }
            accepting.no_error(&expected)?;
            Ok(None)
        }
        (None, _) if case.reopens() && matches!(expected, ExpectedOutcome::Rows(_)) => {
            Ok(runs.replay(&batches).unwrap_or_else(|error| Some(error.to_string())))
        }
        _ => Ok(difference),
    }
}

fn unknown(peers: &Peers, files: &[String]) -> String {
    let files = if files.is_empty() { "expected-error.txt".to_owned() } else { files.join(" or ") };
    let mut text = format!("no expected result: {files} does not exist");
    for (name, received) in peers.received() {
        let file = expected_file(name);
        text.push_str(&format!(
            ". What peer `{name}` received, for {file} if it is correct (`millstream test --accept` writes it):\n{}",
            received.trim_end()
        ));
    }
    text
}

/// Decodes the batches of a case as a job does.
fn batches(case: &ConnectorCase, graph: &Graph) -> Result<Vec<Batch>> {
    let source = graph.spec.sources.first().ok_or_else(|| Error::bug("a case without its input"))?;
    let path = case.dir.join("input.jsonl");
    let text = read_text(&path)?;
    let mut decoder = Decoder::new(source.decoder_spec());
    let mut batches = Vec::new();
    for (id, line) in (1..).zip(text.lines()) {
        let invalid = |message: &str| {
            Error::job(format!("{}:{id}: {message}; write a batch as a JSON array of rows, [{{…}}, …]", path.display()))
        };
        let records = if line.trim().is_empty() {
            Vec::new()
        } else {
            array_elements(line).map_err(|message| invalid(&message))?
        };
        let mut parts = Vec::new();
        for records in records.chunks(PART_ROWS_MAX) {
            let (mut bytes, mut ends) = (Vec::new(), Vec::new());
            for record in records {
                bytes.extend_from_slice(record.as_bytes());
                ends.push(u32::try_from(bytes.len()).map_err(|_| invalid("the line is too long"))?);
            }
            let decoded = decoder.decode(&Chunk { bytes: bytes.into(), ends, ..Chunk::default() });
            if let Some(rejected) = decoded.rejected {
                let message = json::objects(&rejected).unwrap_or_default();
                return Err(invalid(&format!("not a row: {}", message.first().map_or("", String::as_str))));
            }
            parts.push(decoded.rows);
        }
        batches.push(Batch { id, parts });
    }
    Ok(batches)
}

/// The runs of a case.
struct Runs<'a> {
    case: &'a ConnectorCase,
    peers: &'a mut Peers,
    slot: &'a Arc<ConnectorSlot<SinkNode>>,
    /// Whether rejected rows are omitted.
    rejects: bool,
}

/// A writer, with its number of failures without progress.
struct CaseWriter {
    writer: Box<dyn WriteBatches>,
    exactly_once: bool,
    owner: Owner,
    failures: u32,
}

impl<'a> Runs<'a> {
    fn new(case: &'a ConnectorCase, graph: &'a Graph, peers: &'a mut Peers) -> Result<Runs<'a>> {
        let missing = || Error::bug("a case without its sink");
        let slot = graph.writers.get(NAME).ok_or_else(missing)?;
        let rejects = graph.spec.sinks.iter().any(|sink| matches!(&sink.kind, SinkKind::Plugin(sink) if sink.reject));
        Ok(Runs { case, peers, slot, rejects })
    }

    /// Passes all batches. Returns the rejected rows.
    fn first(&mut self, batches: &[Batch]) -> Result<Vec<BatchLine>> {
        self.peers.reset();
        let end = Instant::now() + self.case.within;
        let mut writing = self.writing(1)?;
        self.open(&mut writing)?;
        let (mut rejected, mut committed) = (Vec::new(), None);
        for batch in batches.iter().filter(|batch| has_rows(batch)) {
            let rows = loop {
                if !writing.writer.is_open() {
                    committed = self.open(&mut writing)?.filter(|_| writing.exactly_once);
                }
                if committed.is_some_and(|committed| committed.0 >= batch.id) {
                    break Vec::new();
                }
                let handed = self.hand(&mut writing, batch).and_then(|rows| writing.writer.commit().map(|()| rows));
                self.peers.check()?;
                match handed {
                    Ok(rows) => break rows,
                    Err(error) => self.pause(error, &mut writing.failures)?,
                }
                self.in_time(end)?;
            };
            writing.failures = 0;
            if !rows.is_empty() {
                rejected.push(BatchLine::of_rows(batch.id, rows));
            }
        }
        drop(writing);
        self.peers.check_to_the_end()?;
        Ok(rejected)
    }

    /// Tests whether the plugin knows what it holds, if it guarantees exactly-once.
    fn replay(&mut self, batches: &[Batch]) -> Result<Option<String>> {
        self.peers.reset();
        if !self.writing(1)?.exactly_once {
            return Ok(None);
        }
        let (mut generation, mut last_batch) = (1, None);
        if let Some(message) = self.check_committed(&mut generation, last_batch, "before the first batch")? {
            return Ok(Some(message));
        }
        for batch in batches.iter().filter(|batch| has_rows(batch)) {
            let mut writing = self.opened(generation)?;
            self.hand_over(&mut writing, batch)?;
            drop(writing);
            let when = format!("batch {} was written and not committed", batch.id);
            if let Some(message) = self.check_committed(&mut generation, last_batch, &when)? {
                return Ok(Some(message));
            }
            let mut writing = self.opened(generation)?;
            self.hand_over(&mut writing, batch)?;
            let committed = writing.writer.commit();
            self.peers.check()?;
            committed.map_err(|error| to_error(error, batch))?;
            drop(writing);
            last_batch = Some(BatchId(batch.id));
            let when = format!("batch {} was committed, but the job did not learn of it", batch.id);
            if let Some(message) = self.check_committed(&mut generation, last_batch, &when)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Returns what is wrong with the batches that the plugin reports, to a restarted job before and after it opens the
    /// plugin.
    fn check_committed(
        &mut self,
        generation: &mut u64,
        expected: Option<BatchId>,
        when: &str,
    ) -> Result<Option<String>> {
        self.peers.check_to_the_end()?;
        *generation += 1;
        let mut writing = self.writing(*generation)?;
        let committed = loop {
            let committed = writing.writer.committed(&writing.owner.job, &writing.owner.job_id);
            self.peers.check()?;
            match committed {
                Ok(committed) => break committed,
                Err(error) => self.pause(error, &mut writing.failures)?,
            }
        };
        let opened = self.open(&mut writing)?;
        drop(writing);
        self.peers.check_to_the_end()?;
        let shown = |last_batch: Option<BatchId>| {
            last_batch.map_or("none".to_owned(), |last_batch| format!("batch {last_batch}"))
        };
        let invalid =
            [("committed", committed), ("open", opened)].into_iter().find(|(_, last_batch)| *last_batch != expected);
        Ok(invalid.map(|(function, last_batch)| {
            let becomes = if last_batch < expected { "it would be written again, and rows would be duplicated" } else { "rows would be lost" };
            format!(
                "it promises exactly once, but when {when}, `{function}` says otherwise: {becomes}\n  expected   {}\n  got        {}",
                shown(expected),
                shown(last_batch)
            )
        }))
    }

    fn writing(&self, generation: u64) -> Result<CaseWriter> {
        let made = self.slot.writer()?;
        let owner = Owner { job: NAME.into(), job_id: JOB_ID.into(), generation: Generation(generation) };
        Ok(CaseWriter { writer: made.writer, exactly_once: made.exactly_once, owner, failures: 0 })
    }

    fn opened(&self, generation: u64) -> Result<CaseWriter> {
        let mut writing = self.writing(generation)?;
        self.open(&mut writing)?;
        Ok(writing)
    }

    /// Opens the plugin, and returns the last batch that it holds.
    fn open(&self, writing: &mut CaseWriter) -> Result<Option<BatchId>> {
        loop {
            let opened = writing.writer.open(&writing.owner);
            self.peers.check()?;
            match opened {
                Ok(committed) => return Ok(committed),
                Err(error) => self.pause(error, &mut writing.failures)?,
            }
        }
    }

    /// Passes a batch that must not fail.
    fn hand_over(&self, writing: &mut CaseWriter, batch: &Batch) -> Result<()> {
        let handed = self.hand(writing, batch);
        self.peers.check()?;
        handed.map(drop).map_err(|error| to_error(error, batch))
    }

    /// Begins a batch and writes its rows. Returns the rejected ones, with the reasons.
    fn hand(&self, writing: &mut CaseWriter, batch: &Batch) -> Result<Vec<Value>, WriteError> {
        let time = i64::try_from(batch.id).unwrap_or(i64::MAX).saturating_mul(BATCH_US);
        writing.writer.begin(BatchId(batch.id), BatchTime(time))?;
        let mut rejected = Vec::new();
        for part in batch.parts.iter().filter(|part| part.num_rows() > 0) {
            for row in writing.writer.write(part)? {
                let rows = part.slice((row.row as usize).min(part.num_rows() - 1), 1);
                let rows = json::objects(&rows).map_err(|error| WriteError::Permanent(Error::plugin(error)))?;
                let object = rows.first().and_then(|row| serde_json::from_str::<Value>(row).ok());
                let mut object = object.unwrap_or_default();
                if let Some(members) = object.as_object_mut() {
                    members.insert("reason".into(), self.peers.named(&row.reason).into());
                }
                rejected.push(object);
            }
        }
        match rejected.first() {
            Some(row) if !self.rejects => Err(WriteError::Permanent(Error::plugin(format!(
                "batch {}: its plugin rejects {} rows: {row}; if that is expected, write on_error = \"reject\" in \
                the case",
                batch.id,
                rejected.len()
            )))),
            _ => Ok(rejected),
        }
    }

    /// Waits after a transient error, a limited number of times.
    fn pause(&self, error: WriteError, failures: &mut u32) -> Result<()> {
        match error {
            WriteError::Permanent(error) => Err(error),
            WriteError::Transient(why) => super::retry(&why, failures, "a batch"),
        }
    }

    fn in_time(&self, end: Instant) -> Result<()> {
        if Instant::now() < end {
            return Ok(());
        }
        let within: Duration = self.case.within;
        Err(Error::plugin(format!(
            "not all batches were written within {} (`within`)",
            millstream_base::units::show_time(within)
        )))
    }
}

fn has_rows(batch: &Batch) -> bool {
    batch.parts.iter().any(|part| part.num_rows() > 0)
}

/// Converts an error in the middle of a batch that was accepted in the first run.
fn to_error(error: WriteError, batch: &Batch) -> Error {
    match error {
        WriteError::Permanent(error) => error,
        WriteError::Transient(why) => Error::plugin(format!("batch {}, written again: {why}", batch.id)),
    }
}
