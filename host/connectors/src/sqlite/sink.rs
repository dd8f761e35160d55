//! Sink `sqlite`: a table in a file of SQLite, a transaction a batch.
//!
//! The transaction also moves a row of the table `millstream_commits`, which says for every job and sink which batch was committed last
//! and by which start of the job. A process that lost the job finds a later start there and writes nothing.

use super::settings::SqliteWrites;
use super::target::TargetTable;
use super::{DatabaseFault, open as open_file};
use crate::sink::commit_retry::{CommitRetry, ServerFault};
use crate::sink::{rows_refused, wrong};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::batch::json;
use millstream_base::batch::op;
use millstream_base::batch::sink::Sink;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::job::spec::SinkStart;
use millstream_base::owner::Owner;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The table of the markers.
pub(super) const MARKERS: &str = "millstream_commits";

const MAKE_MARKERS: &str = "create table if not exists millstream_commits (job_id text not null, sink text not null, \
                            job text not null, generation integer not null, batch integer not null, \
                            primary key (job_id, sink))";

/// Writes every batch that has rows in a transaction of its own.
struct SqliteSink {
    name: String,
    path: PathBuf,
    /// The path as the job file has it.
    shown: String,
    table: TargetTable,
    owner: Option<Owner>,
    wait: Duration,
    failure: Failure,
    /// `None`: the last attempt failed.
    connection: Option<Connection>,
    committed: Option<BatchId>,
}

/// Checks the columns, and the database where it is there.
pub(super) fn check(writes: &SqliteWrites, start: SinkStart<'_>, schema: &SchemaRef) -> Result<()> {
    let SinkStart { spec, origin, .. } = start;
    json::check(schema).map_err(|message| wrong(spec, origin, "from", message))?;
    let table = table(writes, start, schema)?;
    let path = origin.folder.join(&writes.path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let message =
            format!("`{}`: its folder does not exist; make it, or choose another path", writes.path.display());
        return Err(wrong(spec, origin, "path", message));
    }
    let Some(connection) = existing(writes, start)? else { return Ok(()) };
    let found = table.find(&connection).map_err(|fault| unusable(writes, start, fault))?;
    found.map_or(Ok(()), |found| table.fit(&found)).map_err(|message| wrong(spec, origin, "table", message))
}

/// Makes the table where it is missing, and takes the sink over from earlier starts of the job.
pub(super) fn open(
    writes: &SqliteWrites,
    start: SinkStart<'_>,
    schema: &SchemaRef,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    let SinkStart { spec, origin, .. } = start;
    let mut sink = SqliteSink {
        name: spec.name.clone(),
        path: origin.folder.join(&writes.path),
        shown: writes.path.display().to_string(),
        table: table(writes, start, schema)?,
        owner: owner.cloned(),
        wait: writes.wait,
        failure: failure.clone(),
        connection: None,
        committed: None,
    };
    sink.committed = sink.retry(None, |sink| sink.begin())?;
    Ok(Box::new(sink))
}

/// Reads the marker.
pub(super) fn committed(writes: &SqliteWrites, start: SinkStart<'_>, job_id: &str) -> Result<Option<BatchId>> {
    let Some(connection) = existing(writes, start)? else { return Ok(None) };
    let read = || -> std::result::Result<Option<i64>, DatabaseFault> {
        let there = "select count(*) from sqlite_schema where type = 'table' and name = ?1";
        if connection.query_row(there, [MARKERS], |row| row.get::<_, i64>(0))? == 0 {
            return Ok(None);
        }
        let read = "select batch from millstream_commits where job_id = ?1 and sink = ?2";
        Ok(connection.query_row(read, [job_id, &start.spec.name], |row| row.get(0)).optional()?)
    };
    Ok(read().map_err(|fault| unusable(writes, start, fault))?.and_then(batch))
}

/// The database, where its file is there.
fn existing(writes: &SqliteWrites, start: SinkStart<'_>) -> Result<Option<Connection>> {
    let path = start.origin.folder.join(&writes.path);
    // An empty file is a database without tables, which nobody has made one yet.
    if !path.exists() {
        return Ok(None);
    }
    let opened = open_file(&path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    opened.map(Some).map_err(|fault| unusable(writes, start, fault))
}

fn unusable(writes: &SqliteWrites, start: SinkStart<'_>, fault: DatabaseFault) -> Error {
    let (DatabaseFault::Passing(why)
    | DatabaseFault::Lasting(why)
    | DatabaseFault::TakenOver(why)
    | DatabaseFault::Row(why)) = fault;
    wrong(start.spec, start.origin, "path", format!("`{}` cannot be used: {why}", writes.path.display()))
}

fn table(writes: &SqliteWrites, start: SinkStart<'_>, schema: &SchemaRef) -> Result<TargetTable> {
    let table = TargetTable::new(&writes.table, schema, &writes.mode);
    table.map_err(|(key, message)| wrong(start.spec, start.origin, key, message))
}

/// The batch of a marker; 0: none.
fn batch(number: i64) -> Option<BatchId> {
    u64::try_from(number).ok().filter(|number| *number > 0).map(BatchId)
}

fn number(value: u64) -> std::result::Result<i64, DatabaseFault> {
    i64::try_from(value).map_err(|_| DatabaseFault::Lasting(format!("{value} is too large a number for SQLite")))
}

impl Sink for SqliteSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        if rows.iter().all(|part| part.num_rows() == 0) {
            return Ok(());
        }
        let rows = rows.into_iter().map(json::as_text).collect::<std::io::Result<Vec<_>>>();
        let rows = rows.map_err(|cause| rows_refused(&self.name, batch, "the rows", cause))?;
        let rows = op::with_op_behind(self.table.op.as_deref(), rows);
        let rows = rows.map_err(|why| Error::plugin(format!("sink `{}`: batch {batch}: {why}", self.name)))?;
        fault::point("commit.before");
        self.retry(Some(batch), |sink| sink.write(batch, &rows))?;
        fault::point("commit.after");
        // Of a batch without rows there is no trace, so it does not count as held.
        self.committed = Some(batch).filter(|_| self.owner.is_some());
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        self.committed
    }
}

impl SqliteSink {
    /// Tries until it is done, the job has ended, or something is wrong that does not pass. `batch`: which is committed.
    fn retry<T>(
        &mut self,
        batch: Option<BatchId>,
        mut work: impl FnMut(&mut SqliteSink) -> std::result::Result<T, DatabaseFault>,
    ) -> Result<T> {
        let (name, shown, wait, failure) = (self.name.clone(), self.shown.clone(), self.wait, self.failure.clone());
        let who = match batch {
            Some(batch) => format!("sink `{name}`: batch {batch}"),
            None => format!("sink `{name}`"),
        };
        let attempt = || {
            work(self).map_err(|fault| {
                self.connection = None;
                match fault {
                    DatabaseFault::Passing(why) => ServerFault::Passing(why),
                    DatabaseFault::Lasting(why) => {
                        ServerFault::Lasting(Error::environment(format!("{who}: {shown}: {why}")))
                    }
                    DatabaseFault::TakenOver(why) => {
                        ServerFault::Lasting(Error::taken_over(format!("{who}: {shown}: {why}")))
                    }
                    DatabaseFault::Row(why) => ServerFault::Lasting(Error::plugin(format!("{who}: {why}"))),
                }
            })
        };
        let retry = CommitRetry { sink: &name, place: &shown, wait, failure: &failure };
        match batch {
            Some(batch) => retry.commit(batch, attempt),
            None => retry.ask(attempt),
        }
    }

    /// Makes the tables, and writes into the marker that this start of the job commits from now on. The last committed batch.
    fn begin(&mut self) -> std::result::Result<Option<BatchId>, DatabaseFault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut connection = open_file(&self.path, flags)?;
        // A transaction that was answered outlives a crash of the machine.
        connection.pragma_update(None, "synchronous", "FULL")?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute(&self.table.create(), [])?;
        let found = self.table.find(&transaction)?;
        found.map_or(Ok(()), |found| self.table.fit(&found)).map_err(DatabaseFault::Lasting)?;
        let mut held = None;
        if let Some(owner) = &self.owner {
            fault::point("start.sink");
            transaction.execute(MAKE_MARKERS, [])?;
            let generation = number(owner.generation.0)?;
            let claim = "insert into millstream_commits as marker values (?1, ?2, ?3, ?4, 0) \
                         on conflict (job_id, sink) do update set generation = excluded.generation, job = excluded.job \
                         where marker.generation <= excluded.generation returning batch";
            let values = (&owner.job_id, &self.name, &owner.job, generation);
            let claimed: Option<i64> = transaction.query_row(claim, values, |row| row.get(0)).optional()?;
            let lost = || {
                DatabaseFault::TakenOver(format!(
                    "the job was restarted elsewhere, and this process (generation {generation}) was replaced"
                ))
            };
            held = batch(claimed.ok_or_else(lost)?);
        }
        transaction.commit()?;
        self.connection = Some(connection);
        Ok(held)
    }

    /// One attempt at the transaction of a batch.
    fn write(&mut self, batch: BatchId, rows: &[RecordBatch]) -> std::result::Result<(), DatabaseFault> {
        if self.connection.is_none() {
            let held = self.begin()?;
            // The answer to an attempt before may have been lost, and not the transaction.
            if held.is_some_and(|held| held >= batch) {
                return Ok(());
            }
        }
        let Some(connection) = &mut self.connection else {
            return Err(DatabaseFault::Lasting("the database is not open".into()));
        };
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(owner) = &self.owner {
            let (generation, number) = (number(owner.generation.0)?, number(batch.0)?);
            let moved = transaction.execute(
                "update millstream_commits set batch = ?4 where job_id = ?1 and sink = ?2 and generation = ?3",
                (&owner.job_id, &self.name, generation, number),
            )?;
            if moved != 1 {
                return Err(DatabaseFault::TakenOver(format!(
                    "the job was restarted elsewhere, or its row in {MARKERS} is gone, and this process (generation \
                     {generation}) was replaced"
                )));
            }
        }
        self.table.write(&transaction, rows)?;
        fault::point("commit.part");
        Ok(transaction.commit()?)
    }
}
