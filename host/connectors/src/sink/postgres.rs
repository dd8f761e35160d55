//! Sink `postgres`: a table of a PostgreSQL database, a transaction a batch.
//!
//! The transaction also moves a row of the table `millstream_commits`, which says for every job and sink which batch was
//! committed last and by which start of the job. It is locked before the rows are written, so that a process which lost
//! the job cannot commit, and it answers whether a COMMIT happened whose answer was lost.

mod rows;
mod server;
mod table;
mod conversion;
#[cfg(test)]
mod tests;

use self::server::{CommitSession, Server};
use super::ops;
use super::waiting::{await_or_end, longer, new_runtime};
use super::{Sink, commit_failed, wrong};
use crate::batch::json;
use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::fault;
use crate::ids::BatchId;
use crate::ids::BatchTime;
use crate::job::database;
use crate::job::spec::{Origin, SinkKind, SinkSpec, TableMode};
use crate::limits::{SERVER_COMMIT_S_MAX, SERVER_START_S_MAX};
use crate::owner::Owner;
use crate::postgres::{Connection, DatabaseError, DatabaseErrorKind, SILENT_TIMEOUT_MS};
use crate::units;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// For what a job asks of a server before it begins.
const START_TIME_MAX: Duration = Duration::from_secs(SERVER_START_S_MAX);
/// For the transaction of one batch.
const COMMIT_TIME_MAX: Duration = Duration::from_secs(SERVER_COMMIT_S_MAX);

/// Writes every batch that has rows in a transaction of its own.
struct PostgresSink {
    name: String,
    server: Server,
    /// For how long a server that is away is waited for.
    wait: Duration,
    failure: Failure,
    runtime: Runtime,
    /// `None`: the connection was lost.
    session: Option<CommitSession>,
    committed: Option<BatchId>,
    /// Number of the transaction whose COMMIT was sent and not answered, where there is no marker to tell.
    unanswered: Option<i64>,
}

/// Checks schema and URL, and asks the server whether the table, where there is one, can take the rows.
pub(super) fn check(spec: &SinkSpec, schema: &SchemaRef, origin: &Origin) -> Result<()> {
    let server = server(spec, schema, origin, None)?;
    aside(|runtime| {
        runtime.block_on(async {
            let (client, _) = server.connect().await.map_err(|fault| unreachable(spec, origin, &server, fault))?;
            let found =
                DatabaseError::within(START_TIME_MAX, "when asked for the table", table::find(&client, &server.table));
            let found = found.await.map_err(|fault| unreachable(spec, origin, &server, fault))?;
            let fits = found.map_or(Ok(()), |found| server.table.fit(&found).map(drop));
            fits.map_err(|message| wrong(spec, origin, "table", message))
        })
    })
}

/// Makes the table where it is not there, and takes the sink over from earlier starts of the job.
pub(super) fn open(
    spec: &SinkSpec,
    schema: SchemaRef,
    origin: &Origin,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    let server = server(spec, &schema, origin, owner.cloned())?;
    let failure = failure.clone();
    aside(|runtime| {
        let opened = runtime.block_on(async {
            let connection = server.connect().await?;
            let begin = async {
                server.make(&connection.0).await?;
                let committed = server.claim(&connection.0).await?;
                Ok::<_, DatabaseError>((Some(CommitSession::begin(connection, &server).await?), committed))
            };
            let what = "to the first statements; does another transaction hold a lock on the table, or on \
                        millstream_commits?";
            DatabaseError::within(START_TIME_MAX, what, begin).await
        });
        let (session, committed) = opened.map_err(|fault| unreachable(spec, origin, &server, fault))?;
        let name = spec.name.clone();
        let wait = match spec.kind {
            SinkKind::Postgres { wait, .. } => wait,
            _ => Duration::ZERO,
        };
        let sink = PostgresSink { name, server, wait, failure, runtime, session, committed, unanswered: None };
        Ok(Box::new(sink) as Box<dyn Sink>)
    })
}

/// Reads the marker. Waits for a transaction that holds it: a COMMIT of a process that died may be under way.
pub(super) fn committed(spec: &SinkSpec, origin: &Origin, job_id: &str) -> Result<Option<BatchId>> {
    let server = server(spec, &arrow::datatypes::Schema::empty().into(), origin, None)?;
    aside(|runtime| {
        let read = runtime.block_on(async {
            let (client, _) = server.connect().await?;
            let read = server.read_marker(&client, job_id);
            DatabaseError::within(START_TIME_MAX, "when asked for the job's row in millstream_commits", read).await
        });
        read.map_err(|fault| unreachable(spec, origin, &server, fault))
    })
}

/// Everything about a sink that needs no server.
fn server(spec: &SinkSpec, schema: &SchemaRef, origin: &Origin, owner: Option<Owner>) -> Result<Server> {
    let SinkKind::Postgres { url, table, mode, .. } = &spec.kind else {
        return Err(Error::bug(format!("sink `{}` is no table", spec.name)));
    };
    let config = database::config(url).map_err(|message| wrong(spec, origin, "url", message))?;
    let (namespace, table) = database::table(table).map_err(|message| wrong(spec, origin, "table", message))?;
    let (key, op) = match mode {
        TableMode::Append => (&[][..], None),
        TableMode::Upsert { key, op } => (key.as_slice(), op.as_deref()),
    };
    let table = table::TargetTable::new(namespace, table, schema, key, op)
        .map_err(|(key, message)| wrong(spec, origin, key, message))?;
    Ok(Server::new(&spec.name, config, table, owner))
}

/// Waits until the database answers, where it is away, so that a job and its database may start in any order. What does not
/// pass, as a wrong password, is left to those who connect next: they say where it stands in the job file. Longer than
/// `wait`, and than `until`, nothing is waited for.
pub fn await_server(who: &str, url: &str, wait: Duration, until: Option<Instant>) -> Result<()> {
    let Ok(config) = database::config(url) else { return Ok(()) };
    let connection = Connection::new(config);
    let place = connection.place();
    let (began, mut pause, mut told) = (Instant::now(), Duration::ZERO, false);
    let left = || until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
    aside(|runtime| {
        runtime.block_on(async {
            loop {
                let fault = match tokio::time::timeout(left(), connection.connect()).await {
                    Ok(Err(fault)) if fault.passes() => fault,
                    Err(_) => {
                        return Err(Error::environment(format!(
                            "{who}: {place} did not answer before the time of --timeout had passed; the job was not \
                             started"
                        )));
                    }
                    _ => break,
                };
                if began.elapsed() >= wait {
                    let after = if told { format!(", for {}", units::show_time(wait)) } else { String::new() };
                    return Err(Error::environment(format!(
                        "{who}: {place}: {}{after}; start that server, or mend `url`, or raise `wait`",
                        fault.message
                    )));
                }
                if !told {
                    tracing::warn!(
                        "{who}: {place}: {}; the job waits for it, for {} at most (`wait`)",
                        fault.message,
                        units::show_time(wait)
                    );
                    told = true;
                }
                pause = longer(pause);
                tokio::time::sleep(pause.min(wait.saturating_sub(began.elapsed())).min(left())).await;
            }
            if told {
                tracing::info!("{who}: {place} is there; the job starts");
            }
            Ok(())
        })
    })
}

fn unreachable(spec: &SinkSpec, origin: &Origin, server: &Server, fault: DatabaseError) -> Error {
    let location = origin.at(&format!("sinks.{}.url", spec.name));
    let help = if fault.passes() { "; start that server, or mend `url`" } else { "" };
    Error::environment(format!("{location}sink `{}`: {}: {}{help}", spec.name, server.place(), fault.message))
}

/// Runs this on a thread of its own: the caller may be a thread of an async runtime, which must not block on another.
fn aside<T: Send>(work: impl FnOnce(Runtime) -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| work(new_runtime()?));
        worker.join().unwrap_or_else(|_| Err(Error::bug("a thread that spoke with a database panicked")))
    })
}

impl Sink for PostgresSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        if rows.iter().any(|part| part.num_rows() > 0) {
            let rows = rows.into_iter().map(json::as_text).collect::<std::io::Result<Vec<_>>>();
            let rows = rows.map_err(|cause| commit_failed(&self.name, batch, "the rows", cause))?;
            let rows = ops::with_op_behind(self.server.table.op.as_deref(), rows);
            let rows = rows.map_err(|why| Error::plugin(format!("sink `{}`: batch {batch}: {why}", self.name)))?;
            self.write(batch, &rows)?;
            // Of a batch without rows there is no trace, so it does not count as held.
            self.committed = Some(batch).filter(|_| self.server.owner.is_some());
        }
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        self.committed
    }
}

impl PostgresSink {
    /// Tries until the batch is committed, the job has ended, or something is wrong that does not pass.
    fn write(&mut self, batch: BatchId, rows: &[RecordBatch]) -> Result<()> {
        let (began, mut pause) = (Instant::now(), Duration::ZERO);
        fault::point("commit.before");
        loop {
            let fault = match self.attempt(batch, rows) {
                Ok(()) => break,
                Err(fault) => fault,
            };
            if let Some(session) = self.session.take() {
                self.runtime.block_on(session.end());
            }
            let (name, place, message) = (&self.name, self.server.place(), fault.message);
            let failed = || format!("sink `{name}`: batch {batch}: {message}");
            match fault.kind {
                DatabaseErrorKind::Row => return Err(Error::plugin(failed())),
                DatabaseErrorKind::Lasting | DatabaseErrorKind::Tls => return Err(Error::environment(failed())),
                // It is not started again, as it would only take the job back.
                DatabaseErrorKind::TakenOver => return Err(Error::job(failed())),
                DatabaseErrorKind::Passing => {}
            }
            if began.elapsed() >= self.wait {
                let wait = units::show_time(self.wait);
                return Err(Error::environment(format!(
                    "sink `{name}`: batch {batch}: {place}: {message}; the job has waited for {wait} (`wait`)"
                )));
            }
            if pause.is_zero() {
                tracing::warn!(
                    "sink `{name}`: batch {batch}: {place}: {message}; the job waits, and tries again until it works"
                );
            }
            pause = longer(pause);
            if await_or_end(&self.runtime, &self.failure, tokio_sleep(pause)).is_none() {
                return Err(Error::environment(format!("sink `{}`: batch {batch}: the job has ended", self.name)));
            }
        }
        if !pause.is_zero() {
            tracing::info!("sink `{}`: batch {batch}: {} is back; the job goes on", self.name, self.server.place());
        }
        fault::point("commit.after");
        Ok(())
    }

    /// One attempt: connects where the connection was lost, and runs the transaction.
    fn attempt(&mut self, batch: BatchId, rows: &[RecordBatch]) -> Result<(), DatabaseError> {
        let (server, session, unanswered) = (&self.server, &mut self.session, &mut self.unanswered);
        let work = async {
            let session = match session {
                Some(session) => session,
                None => {
                    let connection = server.connect().await?;
                    if let Some(number) = *unanswered {
                        let happened = server::happened(&connection.0, number).await?;
                        *unanswered = None;
                        if happened {
                            return Ok(());
                        }
                    }
                    session.insert(CommitSession::begin(connection, server).await?)
                }
            };
            session.commit(server, batch, rows, unanswered).await
        };
        let work = DatabaseError::within(COMMIT_TIME_MAX, "to the transaction of a batch", work);
        let name = &self.name;
        let slow = async {
            tokio::time::sleep(Duration::from_millis(SILENT_TIMEOUT_MS)).await;
            tracing::warn!(
                "sink `{name}`: batch {batch}: {} has been at the transaction for {} s; the job waits for it",
                server.place(),
                SILENT_TIMEOUT_MS / 1000
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
        let ended = || DatabaseError::lasting("the job has ended".into());
        await_or_end(&self.runtime, &self.failure, work).unwrap_or_else(|| Err(ended()))
    }
}

async fn tokio_sleep(time: Duration) {
    tokio::time::sleep(time).await;
}
