//! The `postgres` sink, which writes to a table of a PostgreSQL database in one transaction per batch.
//!
//! The transaction also updates a row of the table `millstream_commits`. For every job and sink, that row contains the last committed batch
//! and the run of the job that committed it. It is locked before rows are written, so that a process that was replaced cannot commit. It
//! also tells whether a COMMIT succeeded whose response was lost.
//!
//! With `parts = "worker"` each worker does so with its share of a batch and with its own row there, see [`server`].

mod array;
pub mod declaration;
mod rows;
mod server;
pub mod settings;
mod table;
mod conversion;
#[cfg(test)]
mod tests;

use self::server::{CommitSession, Server};
use self::settings::PostgresWrites;
use super::{AwaitDatabase as _, DatabaseError, DatabaseErrorKind, IDLE_TIMEOUT_MS};
use crate::limits::{SERVER_COMMIT_S_MAX, SERVER_START_S_MAX};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::BatchId;
use millstream_base::ids::BatchTime;
use millstream_base::owner::Owner;
use millstream_connect::sink::commit_retry::{CommitRetry, ServerFault};
use millstream_connect::sink::shares::Share;
use millstream_connect::sink::waiting::{await_or_end, new_runtime};
use millstream_connect::sink::{rows_rejected, wrong};
use millstream_job::database;
use millstream_job::spec::{SinkConfig, SinkStart, TableMode};
use millstream_rows::batch::json;
use millstream_rows::batch::op;
use millstream_rows::batch::sink::Sink;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Timeout of requests before the job begins.
const START_TIME_MAX: Duration = Duration::from_secs(SERVER_START_S_MAX);
/// Timeout of the transaction of one batch.
const COMMIT_TIME_MAX: Duration = Duration::from_secs(SERVER_COMMIT_S_MAX);

/// Writes every batch that has rows, or a worker's share of it, in its own transaction.
struct PostgresSink {
    server: Server,
    /// How long to wait for an unreachable server.
    wait: Duration,
    failure: Failure,
    runtime: Runtime,
    /// `None`: the connection was lost, or only shares are committed.
    session: Option<CommitSession>,
    committed: Option<BatchId>,
    /// The number of the transaction whose COMMIT got no response, if no marker decides.
    unconfirmed: Option<i64>,
}

/// Checks schema and URL, and checks on the server whether an existing table can take the rows.
fn check(writes: &PostgresWrites, start: SinkStart<'_>, schema: &SchemaRef) -> Result<()> {
    let server = server(writes, start, schema, None, None)?;
    let find = async || {
        let (client, _) = server.connect().await?;
        DatabaseError::within(START_TIME_MAX, "when queried for the table", table::find(&client, &server.table)).await
    };
    let found = run_blocking(|runtime| runtime.block_on(retry_at_start(writes, start, &server, find)))?;
    let fits = found.map_or(Ok(()), |found| server.table.fit(&found).map(drop));
    fits.map_err(|message| wrong(start.spec, start.origin, "table", message))
}

/// Creates the table if it does not exist, and takes the sink over from earlier runs of the job. Without a share, also takes over the
/// shares of all workers that ever wrote.
fn open(
    writes: &PostgresWrites,
    start: SinkStart<'_>,
    schema: &SchemaRef,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    let share = start.share;
    let server = server(writes, start, schema, share, owner.cloned())?;
    // A process that holds all shares together commits nothing itself.
    let commits = share.is_some() || !writes.by_worker();
    let failure = failure.clone();
    run_blocking(|runtime| {
        let begin = async || {
            let connection = server.connect().await?;
            let begin = async {
                server.make(&connection.0).await?;
                let committed = server.claim(&connection.0).await?;
                let session = match commits {
                    true => Some(CommitSession::begin(connection, &server).await?),
                    false => None,
                };
                Ok::<_, DatabaseError>((session, committed))
            };
            let what = "to the first statements; does another transaction hold a lock on the table, or on \
                        millstream_commits?";
            DatabaseError::within(START_TIME_MAX, what, begin).await
        };
        let (session, committed) = runtime.block_on(retry_at_start(writes, start, &server, begin))?;
        let wait = writes.wait;
        let sink = PostgresSink { server, wait, failure, runtime, session, committed, unconfirmed: None };
        Ok(Box::new(sink) as Box<dyn Sink>)
    })
}

/// Reads the marker. Waits for a transaction that holds it: a COMMIT of a dead process may be in progress.
fn committed(writes: &PostgresWrites, start: SinkStart<'_>, job_id: &str) -> Result<Option<BatchId>> {
    let server = server(writes, start, &arrow::datatypes::Schema::empty().into(), None, None)?;
    let read = async || {
        let (client, _) = server.connect().await?;
        let read = server.read_marker(&client, job_id);
        DatabaseError::within(START_TIME_MAX, "when queried for the job's row in millstream_commits", read).await
    };
    run_blocking(|runtime| runtime.block_on(retry_at_start(writes, start, &server, read)))
}

/// Sends a request to a sink's server before the job begins, and waits for the server if it is unreachable.
async fn retry_at_start<T>(
    writes: &PostgresWrites,
    start: SinkStart<'_>,
    server: &Server,
    attempt: impl AsyncFnMut() -> Result<T, DatabaseError>,
) -> Result<T> {
    let SinkStart { spec, origin, servers, .. } = start;
    let context = format!("{}{}", origin.at(&format!("sinks.{}.url", spec.name)), server.display_name());
    let server_name = server.server_name();
    let result = servers.run(&context, &server_name, writes.wait, attempt).await;
    result.map_err(|fault| {
        let message = format!("{context}: {server_name}: {}{}", fault.message, servers.help(&fault));
        match fault.kind {
            DatabaseErrorKind::TakenOver => Error::taken_over(message),
            _ => Error::environment(message),
        }
    })
}

/// Prepares everything about a sink that needs no server.
fn server(
    writes: &PostgresWrites,
    start: SinkStart<'_>,
    schema: &SchemaRef,
    share: Share,
    owner: Option<Owner>,
) -> Result<Server> {
    let SinkStart { spec, origin, .. } = start;
    let PostgresWrites { url, table, mode, .. } = writes;
    let config = database::config(url).map_err(|message| wrong(spec, origin, "url", message))?;
    let (namespace, table) = database::table(table).map_err(|message| wrong(spec, origin, "table", message))?;
    let (key, op) = match mode {
        TableMode::Append => (&[][..], None),
        TableMode::Upsert { key, op } => (key.as_slice(), op.as_deref()),
    };
    let table = table::TargetTable::new(namespace, table, schema, key, op)
        .map_err(|(key, message)| wrong(spec, origin, key, message))?;
    Ok(Server::new(&spec.name, share, config, table, owner))
}

/// Runs `work` on another thread: the caller may be a thread of an async runtime, which must not block on another runtime.
fn run_blocking<T: Send>(work: impl FnOnce(Runtime) -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| work(new_runtime()?));
        worker.join().unwrap_or_else(|_| Err(Error::bug("a thread that used a database connection panicked")))
    })
}

impl Sink for PostgresSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        if rows.iter().any(|part| part.num_rows() > 0) {
            let rows = rows.into_iter().map(json::as_text).collect::<std::io::Result<Vec<_>>>();
            let rows = rows.map_err(|cause| rows_rejected(&self.server.sink, batch, "the rows", cause))?;
            let rows = op::append_op_column(self.server.table.op.as_deref(), rows);
            let rows =
                rows.map_err(|why| Error::plugin(format!("{}: batch {batch}: {why}", self.server.display_name())))?;
            self.write(batch, &rows)?;
            // A batch without rows leaves no trace, so it does not count as held.
            self.committed = Some(batch).filter(|_| self.server.owner.is_some());
        }
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        self.committed
    }
}

impl PostgresSink {
    /// Retries until the batch is committed, the job has ended, or a permanent error occurs.
    fn write(&mut self, batch: BatchId, rows: &[RecordBatch]) -> Result<()> {
        fault::point("commit.before");
        let context = format!("{}: batch {batch}", self.server.display_name());
        let (name, server_name) = (self.server.sink.clone(), self.server.server_name().to_owned());
        let (wait, failure) = (self.wait, self.failure.clone());
        CommitRetry { sink: &name, server_name: &server_name, wait, failure: &failure }.commit(batch, || {
            let Err(fault) = self.attempt(batch, rows) else { return Ok(()) };
            if let Some(session) = self.session.take() {
                self.runtime.block_on(session.end());
            }
            let message = fault.message;
            Err(match fault.kind {
                DatabaseErrorKind::Row => ServerFault::Permanent(Error::plugin(format!("{context}: {message}"))),
                DatabaseErrorKind::Permanent | DatabaseErrorKind::Tls => {
                    ServerFault::Permanent(Error::environment(format!("{context}: {message}")))
                }
                DatabaseErrorKind::TakenOver => {
                    ServerFault::Permanent(Error::taken_over(format!("{context}: {message}")))
                }
                DatabaseErrorKind::Transient => ServerFault::Transient(message),
            })
        })?;
        fault::point("commit.after");
        Ok(())
    }

    /// Makes one attempt: reconnects if the connection was lost, and runs the transaction.
    fn attempt(&mut self, batch: BatchId, rows: &[RecordBatch]) -> Result<(), DatabaseError> {
        let (server, session, unconfirmed) = (&self.server, &mut self.session, &mut self.unconfirmed);
        let work = async {
            let session = match session {
                Some(session) => session,
                None => {
                    let connection = server.connect().await?;
                    if let Some(number) = *unconfirmed {
                        let happened = server::is_committed(&connection.0, number).await?;
                        *unconfirmed = None;
                        if happened {
                            return Ok(());
                        }
                    }
                    session.insert(CommitSession::begin(connection, server).await?)
                }
            };
            session.commit(server, batch, rows, unconfirmed).await
        };
        let work = DatabaseError::within(COMMIT_TIME_MAX, "to the transaction of a batch", work);
        let slow = async {
            tokio::time::sleep(Duration::from_millis(IDLE_TIMEOUT_MS)).await;
            tracing::warn!(
                "{}: batch {batch}: {} has been processing the transaction for {} s; waiting for it",
                server.display_name(),
                server.server_name(),
                IDLE_TIMEOUT_MS / 1000
            );
            std::future::pending().await
        };
        let work = async {
            tokio::select! {
                biased;
                done = work => done,
                never = slow => never,
            }
        };
        let ended = || DatabaseError::permanent("the job has ended".into());
        await_or_end(&self.runtime, &self.failure, work).unwrap_or_else(|| Err(ended()))
    }
}
