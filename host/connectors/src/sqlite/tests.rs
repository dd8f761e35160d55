//! Tests of the sink and the lookup table with SQLite files.

use super::declaration::SINK;
use super::settings::SqliteWrites;
use super::{TABLE, open};
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::ipc::reader::StreamReader;
use millstream_base::error::{Kind, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, BatchTime, Generation};
use millstream_base::owner::Owner;
use millstream_base::retry::StartupRetry;
use millstream_job::spec::{Origin, SinkKind, SinkSpec, TableMode};
use millstream_job::spec::{SinkConfig, SinkStart, TableQuery};
use millstream_rows::batch::sink::Sink;
use rusqlite::OpenFlags;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A sink `out` of rows of `k` (text), `n` (int64) and optionally `op` in the file `a.db` of a directory.
struct TestSink {
    origin: Origin,
    writes: SqliteWrites,
}

impl TestSink {
    fn new(dir: &Path, mode: TableMode) -> TestSink {
        let writes =
            SqliteWrites { path: "a.db".into(), table: "odd \"t".into(), mode, wait: Duration::from_millis(50) };
        TestSink { origin: Origin { dir: dir.into(), ..Origin::default() }, writes }
    }

    fn with<T>(&self, work: impl FnOnce(SinkStart<'_>) -> Result<T>) -> Result<T> {
        let spec = SinkSpec::new("out", ["in"], SinkKind::Declared(Arc::new(self.writes.clone())));
        work(SinkStart::new(&spec, &self.origin, StartupRetry::No))
    }

    fn check(&self) -> Result<()> {
        self.with(|start| self.writes.check_start(start, &rows(&[]).schema(), true))
    }

    fn open(&self, generation: u64) -> Result<Box<dyn Sink>> {
        let owner = Owner { job: "j".into(), job_id: "id".into(), generation: Generation(generation) };
        let schema = rows(&[]).schema();
        self.with(|start| self.writes.open(SinkStart { owner: Some(&owner), ..start }, &schema, &Failure::default()))
    }

    fn committed(&self) -> Option<BatchId> {
        self.with(|start| self.writes.committed(start, "id")).unwrap()
    }

    fn rows(&self) -> Vec<(String, Option<i64>)> {
        let connection = open(&self.origin.dir.join("a.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let mut rows = connection.prepare("select k, n from \"odd \"\"t\" order by k, n").unwrap();
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(|row| row.unwrap()).collect()
    }
}

fn rows(rows: &[(Option<&str>, Option<i64>, &str)]) -> RecordBatch {
    let text = |value: &dyn Fn(usize) -> Option<String>| -> ArrayRef {
        Arc::new(StringArray::from((0..rows.len()).map(value).collect::<Vec<_>>()))
    };
    let n: ArrayRef = Arc::new(Int64Array::from(rows.iter().map(|row| row.1).collect::<Vec<_>>()));
    RecordBatch::try_from_iter_with_nullable([
        ("op", text(&|at| Some(rows[at].2.into())), true),
        ("k", text(&|at| rows[at].0.map(str::to_owned)), true),
        ("n", n, true),
    ])
    .unwrap()
}

fn upsert() -> TableMode {
    TableMode::Upsert { key: vec!["k".into()], op: Some("op".into()) }
}

fn commit(sink: &mut dyn Sink, batch: u64, part: RecordBatch) -> Result<()> {
    sink.commit(BatchId(batch), BatchTime(0), vec![part])
}

#[test]
fn rows_replace_and_delete_those_of_their_key_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let test = TestSink::new(dir.path(), upsert());
    test.check().unwrap();
    assert_eq!(test.committed(), None);
    let mut sink = test.open(1).unwrap();
    assert_eq!(sink.committed(), None);
    let first = [(Some("a"), Some(1), "insert"), (Some("b"), Some(2), "upsert"), (Some("a"), None, "update")];
    commit(&mut *sink, 1, rows(&first)).unwrap();
    assert_eq!(test.rows(), [("a".into(), None), ("b".into(), Some(2))]);
    commit(&mut *sink, 2, rows(&[])).unwrap();
    assert_eq!(test.committed(), Some(BatchId(1)));
    let second = [(Some("b"), None, "delete"), (Some("c"), Some(3), "insert"), (Some("zzz"), None, "delete")];
    commit(&mut *sink, 3, rows(&second)).unwrap();
    assert_eq!((test.rows(), test.committed()), (vec![("a".into(), None), ("c".into(), Some(3))], Some(BatchId(3))));
    commit(&mut *sink, 4, rows(&[(None, None, "truncate"), (Some("d"), Some(4), "insert")])).unwrap();
    assert_eq!(test.rows(), [("d".into(), Some(4))]);
    test.check().unwrap();
}

#[test]
fn a_start_takes_over_and_the_one_before_writes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let test = TestSink::new(dir.path(), upsert());
    let mut first = test.open(1).unwrap();
    commit(&mut *first, 1, rows(&[(Some("a"), Some(1), "insert")])).unwrap();
    let mut second = test.open(2).unwrap();
    assert_eq!(second.committed(), Some(BatchId(1)));
    let lost = commit(&mut *first, 2, rows(&[(Some("a"), Some(2), "insert")])).unwrap_err();
    assert!(lost.message.contains("the job was restarted elsewhere"), "{lost}");
    assert_eq!(test.rows(), [("a".into(), Some(1))]);
    commit(&mut *second, 2, rows(&[(Some("a"), Some(3), "insert")])).unwrap();
    assert_eq!((test.rows(), test.committed()), (vec![("a".into(), Some(3))], Some(BatchId(2))));
    assert!(test.open(1).err().is_some_and(|error| error.message.contains("restarted elsewhere")));
}

/// The process died after SQLite had written the first pages of a transaction to the file.
#[test]
fn a_commit_that_was_broken_off_is_rolled_back_by_the_next_start() {
    let [dir, after] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    let test = TestSink::new(dir.path(), upsert());
    let mut sink = test.open(1).unwrap();
    commit(&mut *sink, 1, rows(&[(Some("a"), Some(1), "insert")])).unwrap();
    drop(sink);
    let connection = open(&dir.path().join("a.db"), OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    // Without a cache, SQLite writes pages before the commit.
    connection.execute_batch("pragma cache_size = 1; begin; update millstream_commits set batch = 2").unwrap();
    connection.execute_batch("create table more as select randomblob(100000) as bytes").unwrap();
    for name in ["a.db", "a.db-journal"] {
        std::fs::copy(dir.path().join(name), after.path().join(name)).unwrap();
    }
    let test = TestSink::new(after.path(), upsert());
    test.check().unwrap();
    assert_eq!((test.committed(), test.rows()), (Some(BatchId(1)), vec![("a".into(), Some(1))]));
}

#[test]
fn a_row_that_the_table_refuses_leaves_nothing_of_its_batch() {
    let dir = tempfile::tempdir().unwrap();
    let test = TestSink::new(dir.path(), upsert());
    let mut sink = test.open(1).unwrap();
    let error = commit(&mut *sink, 1, rows(&[(Some("a"), Some(1), "insert"), (None, Some(2), "insert")])).unwrap_err();
    assert_eq!(error.kind, Kind::Plugin);
    assert_eq!(error.message, "sink `out`: batch 1: row 2: column `k` is null, and it is the key");
    assert_eq!((test.rows(), test.committed()), (Vec::new(), None));
    let error = commit(&mut *sink, 1, rows(&[(Some("a"), None, "drop")])).unwrap_err();
    assert!(error.message.contains("it must be insert, update, upsert, delete or truncate"), "{error}");
}

#[test]
fn a_table_that_does_not_fit_is_told_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = open(&dir.path().join("a.db"), flags).unwrap();
    let test = TestSink::new(dir.path(), upsert());
    let error_message = || test.check().unwrap_err().message;
    connection.execute("create table \"odd \"\"t\" (k text, m int)", []).unwrap();
    assert_eq!(error_message(), "sink `out`: table `odd \\\"t` has no column `n`; it has k, m");
    connection.execute("alter table \"odd \"\"t\" rename column m to N", []).unwrap();
    assert!(
        error_message().contains("may have two rows with the same key: create a unique index on exactly k"),
        "{}",
        error_message()
    );
    connection.execute("create unique index i on \"odd \"\"t\" (k) where k > 'a'", []).unwrap();
    assert!(error_message().contains("create a unique index"), "{}", error_message());
    connection.execute("create unique index j on \"odd \"\"t\" (k)", []).unwrap();
    test.check().unwrap();
    std::fs::write(dir.path().join("a.db"), "no database at all, and longer than a header of one would be").unwrap();
    assert!(error_message().contains("`a.db` cannot be used: "), "{}", error_message());
}

#[test]
fn a_query_gives_the_rows_that_a_sink_wrote_with_their_types() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin { dir: dir.path().into(), ..Origin::default() };
    let part = RecordBatch::try_from_iter_with_nullable([
        ("yes", Arc::new(BooleanArray::from(vec![Some(true), None])) as ArrayRef, true),
        ("n", Arc::new(Int64Array::from(vec![Some(i64::MIN), None])), true),
        ("x", Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(0.1)])), true),
        ("t", Arc::new(StringArray::from(vec![Some("zwölf\0"), Some("")])), true),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None]).with_timezone("UTC")), true),
    ])
    .unwrap();
    let writes =
        SqliteWrites { path: "a.db".into(), table: "t".into(), mode: TableMode::Append, wait: Duration::from_secs(1) };
    let spec = SinkSpec::new("out", ["in"], SinkKind::Declared(Arc::new(writes.clone())));
    let start = SinkStart::new(&spec, &origin, StartupRetry::No);
    let mut sink = writes.open(start, &part.schema(), &Failure::default()).unwrap();
    commit(&mut *sink, 1, part.clone()).unwrap();
    let query = |query| {
        let wait = Duration::ZERO;
        (TABLE.fetch)(TableQuery {
            url: "sqlite:a.db",
            query,
            origin: &origin,
            who: "",
            wait,
            servers: StartupRetry::No,
        })
    };
    let read = |bytes: &[u8]| StreamReader::try_new(bytes, None).unwrap().next().unwrap().unwrap();
    let found = read(&query("select * from t").unwrap());
    assert_eq!(found.schema().fields().len(), part.num_columns());
    let sorted = read(&query("select yes, n, x, t, at from t order by n desc").unwrap());
    assert_eq!(sorted, found, "an order of the query is no change");
    for (at, field) in part.schema().fields().iter().enumerate() {
        assert_eq!(found.column(at).data_type(), field.data_type(), "{}", field.name());
    }
    let error_message = |sql| query(sql).unwrap_err().message;
    assert!(error_message("select ?1").contains("the query has parameters"), "{}", error_message("select ?1"));
    let delete = error_message("delete from t returning n");
    assert!(delete.contains("readonly"), "{delete}");
    assert!(error_message("select gone from t").contains("no such column"), "{}", error_message("select gone from t"));
    let other = "select 1 as a union all select 'x'";
    assert!(
        error_message(other).contains("column `a` is int64, and has a value of type Text"),
        "{}",
        error_message(other)
    );
    assert_eq!(SINK.kind, "sqlite");
}
