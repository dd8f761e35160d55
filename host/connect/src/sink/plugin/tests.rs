use super::*;
use arrow::array::{ArrayRef, Int64Array};
use millstream_base::error::Kind;
use std::sync::{Arc, Mutex};

/// Scripted responses of a writer, one after the other; then everything succeeds.
#[derive(Default)]
struct FakeWriterState {
    /// Batches that it holds.
    batches: Vec<u64>,
    /// What it reports instead of the last of them.
    says: Option<u64>,
    /// Whether each commit happens, and whether it gets a response.
    commits: Vec<(bool, bool)>,
    opened: u64,
}

struct Writer(Arc<Mutex<FakeWriterState>>, Option<u64>);

impl Writer {
    fn end(&mut self, why: &str) -> WriteError {
        self.1 = None;
        WriteError::Transient(why.into())
    }
}

impl WriteBatches for Writer {
    fn committed(&mut self, _: &str, _: &str) -> Result<Option<BatchId>, WriteError> {
        let other = self.0.lock().unwrap();
        Ok(other.says.or(other.batches.last().copied()).map(BatchId))
    }

    fn is_open(&self) -> bool {
        self.1.is_some()
    }

    fn open(&mut self, _: &Owner) -> Result<Option<BatchId>, WriteError> {
        self.1 = Some(0);
        self.0.lock().unwrap().opened += 1;
        self.committed("", "")
    }

    fn begin(&mut self, batch: BatchId, _: BatchTime) -> Result<(), WriteError> {
        self.1 = Some(batch.0);
        Ok(())
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<Vec<RejectedRow>, WriteError> {
        // It rejects negative numbers.
        let numbers = rows.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
        let rejected = (0..).zip(numbers.values()).filter(|(_, number)| **number < 0);
        Ok(rejected.map(|(row, number)| RejectedRow::new(row, format!("{number}\nis negative"))).collect())
    }

    fn commit(&mut self) -> Result<(), WriteError> {
        let mut other = self.0.lock().unwrap();
        let (happens, responds) = if other.commits.is_empty() { (true, true) } else { other.commits.remove(0) };
        if happens {
            other.batches.push(self.1.unwrap());
        }
        drop(other);
        if responds { Ok(()) } else { Err(self.end("nobody answers")) }
    }
}

fn sink(other: FakeWriterState, exactly_once: bool, reject: bool) -> (Box<dyn Sink>, Arc<Mutex<FakeWriterState>>) {
    let other = Arc::new(Mutex::new(other));
    let mut spec = PluginSinkSpec::new("p");
    spec.reject = reject;
    let spec = SinkSpec::new("out", ["in"], SinkKind::Plugin(Box::new(spec)));
    let writer = PluginWriter { writer: Box::new(Writer(other.clone(), None)), exactly_once };
    let owner = Owner { job: "job".into(), job_id: "id".into(), generation: Generation(3) };
    (open(&spec, writer, ("job", Some(&owner)), None, &Failure::default()).unwrap(), other)
}

fn rows(numbers: &[i64]) -> Vec<RecordBatch> {
    let column: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
    vec![RecordBatch::try_from_iter([("n", column)]).unwrap()]
}

fn commit(sink: &mut dyn Sink, batch: u64, numbers: &[i64]) -> Result<()> {
    sink.commit(BatchId(batch), BatchTime(0), rows(numbers))
}

#[test]
fn a_commit_that_was_not_answered_is_made_again_only_where_it_did_not_happen() {
    for exactly_once in [true, false] {
        let commits = vec![(true, false), (false, false), (true, true)];
        let (mut sink, other) = sink(FakeWriterState { commits, ..FakeWriterState::default() }, exactly_once, false);
        commit(&mut *sink, 1, &[1]).unwrap();
        commit(&mut *sink, 2, &[2]).unwrap();
        commit(&mut *sink, 3, &[]).unwrap();
        let expected: (&[u64], _) = if exactly_once { (&[1, 2], Some(BatchId(2))) } else { (&[1, 1, 2], None) };
        assert_eq!((other.lock().unwrap().batches.as_slice(), sink.committed()), expected);
    }
}

#[test]
fn an_instance_is_opened_once_and_after_each_failure() {
    let (mut sink, other) = sink(
        FakeWriterState { commits: vec![(true, true), (false, false)], ..FakeWriterState::default() },
        true,
        false,
    );
    (1..9).for_each(|batch| commit(&mut *sink, batch, &[1]).unwrap());
    assert_eq!(other.lock().unwrap().opened, 2);
}

#[test]
fn what_is_there_at_the_start_is_told_and_what_is_forgotten_ends_the_job() {
    let (mut sink, other) = sink(FakeWriterState { batches: vec![7], ..FakeWriterState::default() }, true, false);
    assert_eq!(sink.committed(), Some(BatchId(7)));
    other.lock().unwrap().commits = vec![(false, false)];
    other.lock().unwrap().says = Some(5);
    let error = commit(&mut *sink, 8, &[1]).unwrap_err();
    assert_eq!(error.kind, Kind::Environment);
    assert!(error.message.contains("reported batches up to 7, and now reports batches up to 5"), "{error}");
    assert_eq!(other.lock().unwrap().batches, [7]);
}

#[test]
fn refused_rows_end_the_job_or_are_left_out() {
    let (mut stops, other) = sink(FakeWriterState::default(), true, false);
    let error = commit(&mut *stops, 4, &[1, -2, 3, -4, -5, -6]).unwrap_err();
    assert_eq!(error.kind, Kind::Plugin);
    let message = "sink `out`: batch 4: its plugin rejected 4 of 6 rows: row 1 of the batch: -2 is negative; ";
    assert!(error.message.starts_with(message) && error.message.contains("and others"), "{error}");
    assert!(error.message.contains("on_error = \"reject\""), "{error}");
    assert!(other.lock().unwrap().batches.is_empty());
    let (mut goes_on, other) = sink(FakeWriterState::default(), true, true);
    commit(&mut *goes_on, 4, &[1, -2]).unwrap();
    assert_eq!(other.lock().unwrap().batches, [4]);
}
