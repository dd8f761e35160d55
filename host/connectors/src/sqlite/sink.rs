//! The `sqlite` sink, which writes to a table of an SQLite file in one transaction per batch.
//!
//! The transaction also updates a row of the table `millstream_commits`. For every job and sink, that row contains the last committed batch
//! and the run of the job that committed it. A process that was replaced finds a later run there and writes nothing.

use super::settings::SqliteWrites;
use super::target::TargetTable;
use super::{DatabaseFault, open as open_file};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::owner::Owner;
use millstream_connect::sink::commit_retry::{CommitRetry, ServerFault};
use millstream_connect::sink::{rows_rejected, wrong};
use millstream_job::spec::SinkStart;
use millstream_rows::batch::json;
use millstream_rows::batch::op;
use millstream_rows::batch::sink::Sink;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The table of markers.
pub(super) const MARKERS: &str = "millstream_commits";

const MAKE_MARKERS: &str = "create table if not exists millstream_commits (job_id text not null, sink text not null, \
                            job text not null, generation integer not null, batch integer not null, \
                            primary key (job_id, sink))";

/// Writes every batch that has rows in its own transaction.
struct SqliteSink {
    name: String,
    path: PathBuf,
    /// The path as in the job file.
    shown: String,
    table: TargetTable,
    owner: Option<Owner>,
    wait: Duration,
    failure: Failure,
    /// `None`: the last attempt failed.
    connection: Option<Connection>,
    committed: Option<BatchId>,
}

/// Checks the columns, and the database if it exists.
pub(super) fn check(writes: &SqliteWrites, start: SinkStart<'_>, schema: &SchemaRef) -> Result<()> {
    let SinkStart { spec, origin, .. } = start;
    json::check(schema).map_err(|message| wrong(spec, origin, "from", message))?;
    let table = table(writes, start, schema)?;
    let path = origin.dir.join(&writes.path);
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !dir.is_dir() {
        let message =
            format!("`{}`: its directory does not exist; create it, or choose another path", writes.path.display());
        return Err(wrong(spec, origin, "path", message));
    }
    let Some(connection) = existing(writes, start)? else { return Ok(()) };
    let found = table.find(&connection).map_err(|fault| unusable_error(writes, start, fault))?;
    found.map_or(Ok(()), |found| table.fit(&found)).map_err(|message| wrong(spec, origin, "table", message))
}

/// Creates the table if it is missing, and takes the sink over from earlier runs of the job.
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
        path: origin.dir.join(&writes.path),
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
        let exists_query = "select count(*) from sqlite_schema where type = 'table' and name = ?1";
        if connection.query_row(exists_query, [MARKERS], |row| row.get::<_, i64>(0))? == 0 {
            return Ok(None);
        }
        let read = "select batch from millstream_commits where job_id = ?1 and sink = ?2";
        Ok(connection.query_row(read, [job_id, &start.spec.name], |row| row.get(0)).optional()?)
    };
    Ok(read().map_err(|fault| unusable_error(writes, start, fault))?.and_then(batch))
}

/// Opens the database, if its file exists.
fn existing(writes: &SqliteWrites, start: SinkStart<'_>) -> Result<Option<Connection>> {
    let path = start.origin.dir.join(&writes.path);
    // An empty file is a database without tables.
    if !path.exists() {
        return Ok(None);
    }
    // A process that died during its commit left a journal. A read-only connection cannot roll it back, and could not read the file.
    let opened = open_file(&path, OpenFlags::SQLITE_OPEN_READ_WRITE);
    opened.map(Some).map_err(|fault| unusable_error(writes, start, fault))
}

fn unusable_error(writes: &SqliteWrites, start: SinkStart<'_>, fault: DatabaseFault) -> Error {
    let (DatabaseFault::Transient(why)
    | DatabaseFault::Permanent(why)
    | DatabaseFault::TakenOver(why)
    | DatabaseFault::Row(why)) = fault;
    wrong(start.spec, start.origin, "path", format!("`{}` cannot be used: {why}", writes.path.display()))
}

fn table(writes: &SqliteWrites, start: SinkStart<'_>, schema: &SchemaRef) -> Result<TargetTable> {
    let table = TargetTable::new(&writes.table, schema, &writes.mode);
    table.map_err(|(key, message)| wrong(start.spec, start.origin, key, message))
}

/// Converts the batch number of a marker; 0: none.
fn batch(number: i64) -> Option<BatchId> {
    u64::try_from(number).ok().filter(|number| *number > 0).map(BatchId)
}

fn number(value: u64) -> std::result::Result<i64, DatabaseFault> {
    i64::try_from(value).map_err(|_| DatabaseFault::Permanent(format!("{value} is too large a number for SQLite")))
}

impl Sink for SqliteSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        if rows.iter().all(|part| part.num_rows() == 0) {
            return Ok(());
        }
        let rows = rows.into_iter().map(json::as_text).collect::<std::io::Result<Vec<_>>>();
        let rows = rows.map_err(|cause| rows_rejected(&self.name, batch, "the rows", cause))?;
        let rows = op::append_op_column(self.table.op.as_deref(), rows);
        let rows = rows.map_err(|why| Error::plugin(format!("sink `{}`: batch {batch}: {why}", self.name)))?;
        fault::point("commit.before");
        self.retry(Some(batch), |sink| sink.write(batch, &rows))?;
        fault::point("commit.after");
        // A batch without rows leaves no trace, so it does not count as held.
        self.committed = Some(batch).filter(|_| self.owner.is_some());
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        self.committed
    }
}

impl SqliteSink {
    /// Retries until it succeeds, the job has ended, or a permanent error occurs. `batch`: the batch being committed.
    fn retry<T>(
        &mut self,
        batch: Option<BatchId>,
        mut work: impl FnMut(&mut SqliteSink) -> std::result::Result<T, DatabaseFault>,
    ) -> Result<T> {
        let (name, shown, wait, failure) = (self.name.clone(), self.shown.clone(), self.wait, self.failure.clone());
        let context = match batch {
            Some(batch) => format!("sink `{name}`: batch {batch}"),
            None => format!("sink `{name}`"),
        };
        let attempt = || {
            work(self).map_err(|fault| {
                self.connection = None;
                match fault {
                    DatabaseFault::Transient(why) => ServerFault::Transient(why),
                    DatabaseFault::Permanent(why) => {
                        ServerFault::Permanent(Error::environment(format!("{context}: {shown}: {why}")))
                    }
                    DatabaseFault::TakenOver(why) => {
                        ServerFault::Permanent(Error::taken_over(format!("{context}: {shown}: {why}")))
                    }
                    DatabaseFault::Row(why) => ServerFault::Permanent(Error::plugin(format!("{context}: {why}"))),
                }
            })
        };
        let retry = CommitRetry { sink: &name, server_name: &shown, wait, failure: &failure };
        match batch {
            Some(batch) => retry.commit(batch, attempt),
            None => retry.retry(attempt),
        }
    }

    /// Creates the tables, and writes into the marker that only this run of the job commits from now on. Returns the last committed
    /// batch.
    fn begin(&mut self) -> std::result::Result<Option<BatchId>, DatabaseFault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut connection = open_file(&self.path, flags)?;
        // A confirmed transaction survives a crash of the machine.
        connection.pragma_update(None, "synchronous", "FULL")?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute(&self.table.create(), [])?;
        let found = self.table.find(&transaction)?;
        found.map_or(Ok(()), |found| self.table.fit(&found)).map_err(DatabaseFault::Permanent)?;
        let mut committed = None;
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
            committed = batch(claimed.ok_or_else(lost)?);
        }
        transaction.commit()?;
        self.connection = Some(connection);
        Ok(committed)
    }

    /// Makes one attempt at the transaction of a batch.
    fn write(&mut self, batch: BatchId, rows: &[RecordBatch]) -> std::result::Result<(), DatabaseFault> {
        if self.connection.is_none() {
            let committed = self.begin()?;
            // A previous attempt may have committed without a response.
            if committed.is_some_and(|committed| committed >= batch) {
                return Ok(());
            }
        }
        let Some(connection) = &mut self.connection else {
            return Err(DatabaseFault::Permanent("the database is not open".into()));
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
                    "the job was restarted elsewhere, or its row in {MARKERS} was deleted, and this process (generation \
                     {generation}) was replaced"
                )));
            }
        }
        self.table.write(&transaction, rows)?;
        fault::point("commit.part");
        Ok(transaction.commit()?)
    }
}
