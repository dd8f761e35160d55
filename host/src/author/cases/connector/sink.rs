//! Cases of sinks: what their peers hear, and whether one that promises exactly once knows what it holds.
//!
//! Two runs, the second with peers that know nothing of the first. The first hands over one batch after the other, as a job does to
//! which nothing happens. The second is for those that promise exactly once: the plugin dies within each batch, and behind each
//! commit, as if its answer had been lost.

use super::{CaseFileWriter, ConnectorCase, NAME};
use crate::author::cases::ExpectedOutcome;
use crate::author::cases::compare::read_text;
use crate::author::cases::compare::{self, BatchLine};
use crate::author::cases::peer::{Peers, expected_file};
use arrow::array::RecordBatch;
use millstream_base::batch::chunk::Chunk;
use millstream_base::batch::json;
use millstream_base::batch::writing::{WriteBatches, WriteTrouble};
use millstream_base::decode::Decoder;
use millstream_base::decode::json::array_elements;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, BatchTime, Generation};
use millstream_base::job::spec::SinkKind;
use millstream_base::limits::PART_ROWS_MAX;
use millstream_base::owner::Owner;
use millstream_engine::graph::{ConnectorSlot, Graph, SinkNode};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The id of the job that a case is.
const JOB_ID: &str = "00000000000000000000000000000001";
/// From one batch to the next.
const BATCH_US: i64 = 1_000_000;

const REJECTED: &str = "expected-rejected.jsonl";

/// A batch of the input.
struct Batch {
    id: u64,
    parts: Vec<RecordBatch>,
}

/// What the case expects beside an error: that its files with what peers hear are right.
struct PeerFilesMatch;

/// What is not as expected.
pub fn differs(
    case: &ConnectorCase,
    graph: Result<Graph>,
    peers: &mut Peers,
    accepted: Option<&mut Vec<PathBuf>>,
) -> Result<Option<String>> {
    let files: Vec<String> = peers.heard().map(|(name, _)| expected_file(name)).collect();
    let heard = files.iter().any(|file| case.beside(file).is_some()).then_some(PeerFilesMatch);
    let expected = ExpectedOutcome::of(&case.folder, "a file with what a peer hears", heard)?;
    let rejected = case.beside(REJECTED).map(|path| compare::read_lines(&path)).transpose()?;
    let graph = match graph {
        Ok(graph) => graph,
        Err(error) => return super::failed_case(case, peers, &expected, &error, accepted),
    };
    let batches = batches(case, &graph)?;
    let mut runs = Runs::new(case, &graph, peers)?;
    let mut refused = match runs.first(&batches) {
        Ok(refused) => refused,
        Err(error) => return super::failed_case(case, runs.peers, &expected, &error, accepted),
    };
    if let Some(rejected) = &rejected {
        compare::keep_columns_of(rejected, &mut refused);
    }
    let difference = match expected.fails(None) {
        Err(difference) => difference,
        Ok(None) => Some(unknown(runs.peers, &files)),
        Ok(Some(PeerFilesMatch)) => super::heard_differs(case, runs.peers)?.or_else(|| {
            compare::difference(rejected.as_ref()?, &refused, true).map(|words| format!("rejected rows: {words}"))
        }),
    };
    match (&difference, accepted) {
        (Some(_), Some(written)) => {
            let mut accepting = CaseFileWriter { folder: &case.folder, written };
            for (name, heard) in runs.peers.heard() {
                accepting.write(&expected_file(name), &heard)?;
            }
            if rejected.is_some() {
                accepting.write(REJECTED, &compare::written(&refused))?;
            }
            accepting.no_error(&expected)?;
            Ok(None)
        }
        (None, _) if case.reopens() && matches!(expected, ExpectedOutcome::Rows(_)) => {
            Ok(runs.again(&batches).unwrap_or_else(|error| Some(error.to_string())))
        }
        _ => Ok(difference),
    }
}

fn unknown(peers: &Peers, files: &[String]) -> String {
    let files = if files.is_empty() { "expected-error.txt".to_owned() } else { files.join(" or ") };
    let mut text = format!("no expected result: {files} does not exist");
    for (name, heard) in peers.heard() {
        let file = expected_file(name);
        text.push_str(&format!(
            ". What peer `{name}` received, for {file} if it is correct (`millstream test --accept` writes it):\n{}",
            heard.trim_end()
        ));
    }
    text
}

/// The batches of a case, as a job decodes them.
fn batches(case: &ConnectorCase, graph: &Graph) -> Result<Vec<Batch>> {
    let source = graph.spec.sources.first().ok_or_else(|| Error::bug("a case without its input"))?;
    let path = case.folder.join("input.jsonl");
    let text = read_text(&path)?;
    let mut decoder = Decoder::new(source);
    let mut batches = Vec::new();
    for (id, line) in (1..).zip(text.lines()) {
        let wrong = |words: &str| {
            Error::job(format!("{}:{id}: {words}; write a batch as a JSON array of rows, [{{…}}, …]", path.display()))
        };
        let records =
            if line.trim().is_empty() { Vec::new() } else { array_elements(line).map_err(|words| wrong(&words))? };
        let mut parts = Vec::new();
        for records in records.chunks(PART_ROWS_MAX) {
            let (mut bytes, mut ends) = (Vec::new(), Vec::new());
            for record in records {
                bytes.extend_from_slice(record.as_bytes());
                ends.push(u32::try_from(bytes.len()).map_err(|_| wrong("the line is too long"))?);
            }
            let decoded = decoder.decode(&Chunk { bytes: bytes.into(), ends, ..Chunk::default() });
            if let Some(rejected) = decoded.rejected {
                let words = json::objects(&rejected).unwrap_or_default();
                return Err(wrong(&format!("not a row: {}", words.first().map_or("", String::as_str))));
            }
            parts.push(decoded.rows);
        }
        batches.push(Batch { id, parts });
    }
    Ok(batches)
}

/// Runs of a case.
struct Runs<'a> {
    case: &'a ConnectorCase,
    peers: &'a mut Peers,
    slot: &'a Arc<ConnectorSlot<SinkNode>>,
    /// Whether rows that are refused are left out.
    rejects: bool,
}

/// One who writes, and how often it failed without getting any further.
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

    /// Hands over all batches; returns the rows that are refused.
    fn first(&mut self, batches: &[Batch]) -> Result<Vec<BatchLine>> {
        self.peers.reset();
        let end = Instant::now() + self.case.within;
        let mut writing = self.writing(1)?;
        self.open(&mut writing)?;
        let (mut refused, mut held) = (Vec::new(), None);
        for batch in batches.iter().filter(|batch| has_rows(batch)) {
            let rows = loop {
                if !writing.writer.is_open() {
                    held = self.open(&mut writing)?.filter(|_| writing.exactly_once);
                }
                if held.is_some_and(|held| held.0 >= batch.id) {
                    break Vec::new();
                }
                let handed = self.hand(&mut writing, batch).and_then(|rows| writing.writer.commit().map(|()| rows));
                self.peers.check()?;
                match handed {
                    Ok(rows) => break rows,
                    Err(trouble) => self.pause(trouble, &mut writing.failures)?,
                }
                self.in_time(end)?;
            };
            writing.failures = 0;
            if !rows.is_empty() {
                refused.push(BatchLine::of_rows(batch.id, rows));
            }
        }
        drop(writing);
        self.peers.check_to_the_end()?;
        Ok(refused)
    }

    /// Tries whether the plugin knows what it holds, where it promises that.
    fn again(&mut self, batches: &[Batch]) -> Result<Option<String>> {
        self.peers.reset();
        if !self.writing(1)?.exactly_once {
            return Ok(None);
        }
        let (mut generation, mut held) = (1, None);
        if let Some(words) = self.holds(&mut generation, held, "before the first batch")? {
            return Ok(Some(words));
        }
        for batch in batches.iter().filter(|batch| has_rows(batch)) {
            let mut writing = self.opened(generation)?;
            self.handed(&mut writing, batch)?;
            drop(writing);
            let when = format!("batch {} was written and not committed", batch.id);
            if let Some(words) = self.holds(&mut generation, held, &when)? {
                return Ok(Some(words));
            }
            let mut writing = self.opened(generation)?;
            self.handed(&mut writing, batch)?;
            let committed = writing.writer.commit();
            self.peers.check()?;
            committed.map_err(|trouble| told(trouble, batch))?;
            drop(writing);
            held = Some(BatchId(batch.id));
            let when = format!("batch {} was committed, but the job was not told", batch.id);
            if let Some(words) = self.holds(&mut generation, held, &when)? {
                return Ok(Some(words));
            }
        }
        Ok(None)
    }

    /// What is wrong with what the plugin says that it holds, asked by a job that starts again, and opened by that start.
    fn holds(&mut self, generation: &mut u64, expected: Option<BatchId>, when: &str) -> Result<Option<String>> {
        self.peers.check_to_the_end()?;
        *generation += 1;
        let mut writing = self.writing(*generation)?;
        let committed = loop {
            let committed = writing.writer.committed(&writing.owner.job, &writing.owner.job_id);
            self.peers.check()?;
            match committed {
                Ok(committed) => break committed,
                Err(trouble) => self.pause(trouble, &mut writing.failures)?,
            }
        };
        let opened = self.open(&mut writing)?;
        drop(writing);
        self.peers.check_to_the_end()?;
        let shown = |held: Option<BatchId>| held.map_or("none".to_owned(), |held| format!("batch {held}"));
        let wrong = [("committed", committed), ("open", opened)].into_iter().find(|(_, held)| *held != expected);
        Ok(wrong.map(|(function, held)| {
            let becomes = if held < expected { "it would be handed over again, and rows be there twice" } else { "rows would be lost" };
            format!(
                "it promises exactly once, but when {when}, `{function}` says otherwise: {becomes}\n  expected   {}\n  got        {}",
                shown(expected),
                shown(held)
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

    /// Opens it, and returns what it says that it holds.
    fn open(&self, writing: &mut CaseWriter) -> Result<Option<BatchId>> {
        loop {
            let opened = writing.writer.open(&writing.owner);
            self.peers.check()?;
            match opened {
                Ok(held) => return Ok(held),
                Err(trouble) => self.pause(trouble, &mut writing.failures)?,
            }
        }
    }

    /// Hands over a batch that nothing is to be wrong with.
    fn handed(&self, writing: &mut CaseWriter, batch: &Batch) -> Result<()> {
        let handed = self.hand(writing, batch);
        self.peers.check()?;
        handed.map(drop).map_err(|trouble| told(trouble, batch))
    }

    /// Begins a batch and writes its rows; returns those that are refused, with the reasons.
    fn hand(&self, writing: &mut CaseWriter, batch: &Batch) -> Result<Vec<Value>, WriteTrouble> {
        let time = i64::try_from(batch.id).unwrap_or(i64::MAX).saturating_mul(BATCH_US);
        writing.writer.begin(BatchId(batch.id), BatchTime(time))?;
        let mut refused = Vec::new();
        for part in batch.parts.iter().filter(|part| part.num_rows() > 0) {
            for row in writing.writer.write(part)? {
                let rows = part.slice((row.row as usize).min(part.num_rows() - 1), 1);
                let rows = json::objects(&rows).map_err(|error| WriteTrouble::Lasting(Error::plugin(error)))?;
                let object = rows.first().and_then(|row| serde_json::from_str::<Value>(row).ok());
                let mut object = object.unwrap_or_default();
                if let Some(members) = object.as_object_mut() {
                    members.insert("reason".into(), self.peers.named(&row.reason).into());
                }
                refused.push(object);
            }
        }
        match refused.first() {
            Some(row) if !self.rejects => Err(WriteTrouble::Lasting(Error::plugin(format!(
                "batch {}: its plugin refuses {} rows: {row}; a case that means it says on_error = \"reject\"",
                batch.id,
                refused.len()
            )))),
            _ => Ok(refused),
        }
    }

    /// Waits where it passes, a few times.
    fn pause(&self, trouble: WriteTrouble, failures: &mut u32) -> Result<()> {
        match trouble {
            WriteTrouble::Lasting(error) => Err(error),
            WriteTrouble::Passing(why) => super::again(&why, failures, "a batch"),
        }
    }

    fn in_time(&self, end: Instant) -> Result<()> {
        if Instant::now() < end {
            return Ok(());
        }
        let within: Duration = self.case.within;
        Err(Error::plugin(format!(
            "not all batches were taken within {} (`within`)",
            millstream_base::units::show_time(within)
        )))
    }
}

fn has_rows(batch: &Batch) -> bool {
    batch.parts.iter().any(|part| part.num_rows() > 0)
}

/// A trouble in the middle of a batch that was taken in the first run.
fn told(trouble: WriteTrouble, batch: &Batch) -> Error {
    match trouble {
        WriteTrouble::Lasting(error) => error,
        WriteTrouble::Passing(why) => Error::plugin(format!("batch {}, handed over again: {why}", batch.id)),
    }
}
