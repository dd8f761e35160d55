//! Tests of the sink of a job with checkpoints, against a real server.

#[path = "../../../../../tests/src/ports.rs"]
mod ports;
#[allow(dead_code)]
#[path = "../../../../../tests/src/postgres.rs"]
mod real;

use super::*;
use arrow::array::{Int64Array, StringArray};
use millstream_base::ids::Generation;
use millstream_base::retry::StartupRetry;
use millstream_job::spec::{Origin, PartWriter, SinkSpec};
use millstream_rows::batch::types::{ColumnType, schema_of};
use real::Postgres;
use std::sync::Arc;

fn writes(server: &Postgres, mode: TableMode) -> PostgresWrites {
    let url = server.url().replace("${PW}", "p%40ss%2Fw%3Ard%25");
    PostgresWrites::new(url, "counts", mode)
}

/// Calls `work` with a `SinkStart` of the sink.
fn starting<T>(writes: &PostgresWrites, work: impl FnOnce(SinkStart<'_>) -> T) -> T {
    let (spec, origin) = (SinkSpec::new("out", ["in"], writes.clone()), Origin::default());
    work(SinkStart::new(&spec, &origin, StartupRetry::No))
}

fn upsert() -> TableMode {
    TableMode::Upsert { key: vec!["k".into()], op: None }
}

fn rows(rows: &[(&str, i64)]) -> Vec<RecordBatch> {
    let schema = schema_of(&[("k".into(), ColumnType::Text), ("n".into(), ColumnType::Int64)]);
    let keys = StringArray::from_iter_values(rows.iter().map(|row| row.0));
    let numbers = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
    vec![RecordBatch::try_new(schema, vec![Arc::new(keys), Arc::new(numbers)]).unwrap()]
}

fn held_by(writes: &PostgresWrites, job_id: &str) -> Result<Option<BatchId>> {
    starting(writes, |start| committed(writes, start, job_id))
}

fn start(writes: &PostgresWrites, generation: u64) -> Result<Box<dyn Sink>> {
    let owner = Owner { job: "job".into(), job_id: "a".into(), generation: Generation(generation) };
    let schema = rows(&[])[0].schema();
    starting(writes, |start| open(writes, start, &schema, Some(&owner), &Failure::default()))
}

#[test]
fn rows_and_marker_are_committed_together_and_a_lost_job_commits_no_more() {
    let server = Postgres::start();
    let writes = writes(&server, upsert());
    let marker = || held_by(&writes, "a").unwrap();
    assert_eq!(marker(), None);
    let mut old = start(&writes, 1).unwrap();
    assert_eq!((old.committed(), marker()), (None, None));
    old.commit(BatchId(1), BatchTime(0), rows(&[("a", 1), ("b", 1), ("a", 2)])).unwrap();
    old.commit(BatchId(2), BatchTime(0), vec![]).unwrap();
    old.commit(BatchId(3), BatchTime(0), rows(&[("b", 3), ("c", 3)])).unwrap();
    assert_eq!((old.committed(), marker()), (Some(BatchId(3)), Some(BatchId(3))));
    let table = || server.sql("select k, n from counts order by k");
    assert_eq!(table(), "a|2\nb|3\nc|3");
    assert_eq!(server.sql("select * from millstream_commits"), "a|out|job|1|3");
    // A COMMIT succeeded and its response was lost: the marker shows it, and nothing is written again.
    server.sql("update millstream_commits set batch = 4");
    old.commit(BatchId(4), BatchTime(0), rows(&[("a", 9)])).unwrap();
    assert_eq!(table(), "a|2\nb|3\nc|3");

    let mut new = start(&writes, 2).unwrap();
    assert_eq!(new.committed(), Some(BatchId(4)));
    let lost = old.commit(BatchId(5), BatchTime(0), rows(&[("a", 5)])).unwrap_err();
    assert!(lost.message.starts_with("sink `out`: batch 5: ") && lost.message.contains("was replaced"), "{lost}");
    assert_eq!(table(), "a|2\nb|3\nc|3");
    new.commit(BatchId(5), BatchTime(0), rows(&[("a", 5)])).unwrap();
    assert_eq!(table(), "a|5\nb|3\nc|3");
    assert!(start(&writes, 1).err().unwrap().message.contains("was replaced"));
    // Another job has its own marker.
    assert_eq!(held_by(&writes, "b").unwrap(), None);
    server.sql("delete from millstream_commits");
    let gone = new.commit(BatchId(6), BatchTime(0), rows(&[("a", 6)])).unwrap_err();
    assert!(gone.message.contains("is missing"), "{gone}");
    assert_eq!(table(), "a|5\nb|3\nc|3");
}

/// The sink reconnects if the server closes connections between and within batches, and no row is duplicated.
#[test]
fn a_lost_connection_is_made_again_with_marker_and_without() {
    let server = Postgres::start();
    let writes = writes(&server, TableMode::Append);
    let kill = || {
        let others =
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'millstream'";
        server.sql(others)
    };
    let mut with = start(&writes, 1).unwrap();
    let mut without =
        starting(&writes, |start| open(&writes, start, &rows(&[])[0].schema(), None, &Failure::default())).unwrap();
    for batch in 1..=3 {
        with.commit(BatchId(batch), BatchTime(0), rows(&[("with", batch as i64)])).unwrap();
        without.commit(BatchId(batch), BatchTime(0), rows(&[("without", batch as i64)])).unwrap();
        assert_ne!(kill(), "0");
    }
    assert_eq!(without.committed(), None);
    let expected = "with|1\nwith|2\nwith|3\nwithout|1\nwithout|2\nwithout|3";
    assert_eq!(server.sql("select k, n from counts order by k, n"), expected);
}

/// Another connection creates the same table in a transaction that ends while the sink waits for it.
#[test]
fn jobs_that_create_a_table_at_the_same_time() {
    for created in [
        "counts (k text, n bigint)",
        "millstream_commits (job_id text, sink text, job text, generation bigint, batch bigint, primary key (job_id, sink))",
    ] {
        let server = Postgres::start();
        let writes = writes(&server, TableMode::Append);
        let other =
            starting(&writes, |start| super::server(&writes, start, &rows(&[])[0].schema(), None, None)).unwrap();
        let runtime = new_runtime().unwrap();
        let (client, _driver) = runtime.block_on(other.connect()).unwrap();
        let execute = |statement: &str| runtime.block_on(client.batch_execute(statement)).unwrap();
        execute(&format!("begin; create table {created}"));
        std::thread::scope(|scope| {
            let starting = scope.spawn(|| start(&writes, 1).map(drop));
            let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
            while server.sql(waiting) == "0" {
                assert!(!starting.is_finished(), "{:?}", starting.join());
            }
            execute("commit");
            starting.join().unwrap().unwrap();
        });
    }
}

#[test]
fn the_server_tells_whether_an_unanswered_commit_happened() {
    let server = Postgres::start();
    let writes = writes(&server, TableMode::Append);
    let described =
        starting(&writes, |start| super::server(&writes, start, &rows(&[])[0].schema(), None, None)).unwrap();
    let committed = run_blocking(|runtime| {
        Ok(runtime.block_on(async {
            let (client, _) = described.connect().await.unwrap();
            let mut committed = Vec::new();
            for end in ["commit", "rollback"] {
                client.batch_execute("begin").await.unwrap();
                let row = client.query_one("select txid_current()", &[]).await.unwrap();
                client.batch_execute(end).await.unwrap();
                committed.push(server::is_committed(&client, row.get(0)).await.unwrap());
            }
            committed
        }))
    });
    assert_eq!(committed.unwrap(), [true, false]);
}

#[test]
fn a_job_that_ends_does_not_wait_for_a_server_that_is_away() {
    let mut server = Postgres::start();
    let writes = writes(&server, TableMode::Append);
    let failure = Failure::default();
    let mut sink = starting(&writes, |start| open(&writes, start, &rows(&[])[0].schema(), None, &failure)).unwrap();
    server.stop();
    let ending = failure.clone();
    let waiting = std::thread::spawn(move || sink.commit(BatchId(1), BatchTime(0), rows(&[("a", 1)])));
    ending.set(Error::environment("something else"));
    assert!(waiting.join().unwrap().unwrap_err().message.contains("the job has ended"));
}

/// After the sink was taken over, no earlier share commits, whether it had a marker or begins only now.
#[test]
fn shares_of_earlier_starts_commit_no_more() {
    let server = Postgres::start();
    let writes = PostgresWrites { parts: PartWriter::Worker, ..writes(&server, TableMode::Append) };
    let start = |share, generation| {
        let owner = Owner { job: "job".into(), job_id: "a".into(), generation: Generation(generation) };
        let schema = rows(&[])[0].schema();
        starting(&writes, |start| {
            open(&writes, SinkStart { share, ..start }, &schema, Some(&owner), &Failure::default())
        })
    };
    let commit = |sink: &mut Box<dyn Sink>, batch| sink.commit(BatchId(batch), BatchTime(0), rows(&[("a", 1)]));
    let committed_of = |sink: &Result<Box<dyn Sink>>| sink.as_ref().ok().unwrap().committed().map(|batch| batch.0);
    drop(start(None, 1).unwrap());
    let (mut first, mut second) = (start(Some(0), 1).unwrap(), start(Some(1), 1).unwrap());
    for batch in 1..=3 {
        commit(&mut first, batch).unwrap();
    }
    commit(&mut second, 1).unwrap();
    assert_eq!(held_by(&writes, "a").unwrap(), Some(BatchId(3)));
    let entire_sink = start(None, 2);
    assert_eq!(committed_of(&entire_sink), Some(3));
    assert!(commit(&mut second, 2).unwrap_err().message.contains("was replaced"));
    assert!(start(Some(2), 1).err().unwrap().message.contains("was replaced"));
    assert_eq!([0, 1, 2].map(|worker| committed_of(&start(Some(worker), 2))), [Some(3), Some(1), None]);
    assert_eq!(server.sql("select count(*) from counts"), "4");
    assert_eq!(
        server.sql("select sink, generation, batch from millstream_commits order by sink"),
        "out|2|0\nout/000|2|3\nout/001|2|1\nout/002|2|0"
    );
}
