//! Sink `postgres`: a table of a PostgreSQL database, a transaction a batch.
//!
//! The transaction also moves a row of the table `millstream_commits`, which says for every job and sink which batch was
//! committed last and by which start of the job. It is locked before the rows are written, so that a process which lost
//! the job cannot commit, and it answers whether a COMMIT happened whose answer was lost.

pub(crate) mod connection;
mod rows;
mod server;
pub(crate) mod table;
mod way;
#[cfg(test)]
mod tests;

use self::connection::Fault;
use self::server::{Server, Session};
use super::{Sink, marker, wrong};
use crate::checkpoint::{Owner, fault};
use crate::error::{Error, Result};
use crate::ids::BatchId;
use crate::ids::BatchTime;
use crate::job::database;
use crate::job::spec::{Origin, SinkKind, SinkSpec, TableMode};
use crate::run::Failure;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::future::Future;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Pauses between attempts to reach a server that is away: they double from the first to the last.
const PAUSE_MS_MIN: u64 = 100;
const PAUSE_MS_MAX: u64 = 5_000;
/// How often a waiting sink looks whether the job has ended.
const LOOK_MS: u64 = 100;

/// Writes every batch that has rows in a transaction of its own.
struct PostgresSink {
    name: String,
    server: Server,
    failure: Failure,
    runtime: Runtime,
    /// `None`: the connection was lost.
    session: Option<Session>,
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
            let found = table::find(&client, &server.table).await;
            let found = found.map_err(|cause| unreachable(spec, origin, &server, Fault::of(&cause)))?;
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
            server.make(&connection.0).await?;
            let committed = server.claim(&connection.0).await?;
            Ok((Some(Session::begin(connection, &server).await?), committed))
        });
        let (session, committed) = opened.map_err(|fault| unreachable(spec, origin, &server, fault))?;
        let name = spec.name.clone();
        let sink = PostgresSink { name, server, failure, runtime, session, committed, unanswered: None };
        Ok(Box::new(sink) as Box<dyn Sink>)
    })
}

/// Reads the marker. Waits for a transaction that holds it: a COMMIT of a process that died may be under way.
pub(super) fn committed(spec: &SinkSpec, origin: &Origin, job_id: &str) -> Result<Option<BatchId>> {
    let server = server(spec, &arrow::datatypes::Schema::empty().into(), origin, None)?;
    aside(|runtime| {
        let read = runtime.block_on(async {
            let (client, _) = server.connect().await?;
            server.read_marker(&client, job_id).await
        });
        read.map_err(|fault| unreachable(spec, origin, &server, fault))
    })
}

/// Everything about a sink that needs no server.
fn server(spec: &SinkSpec, schema: &SchemaRef, origin: &Origin, owner: Option<Owner>) -> Result<Server> {
    let SinkKind::Postgres { url, table, mode } = &spec.kind else {
        return Err(Error::bug(format!("sink `{}` is no table", spec.name)));
    };
    let url = database::expand(url, |name| std::env::var(name).ok());
    let config = url.and_then(|url| database::parse(&url)).map_err(|message| wrong(spec, origin, "url", message))?;
    let (namespace, table) = database::table(table).map_err(|message| wrong(spec, origin, "table", message))?;
    let key = match mode {
        TableMode::Append => &[],
        TableMode::Upsert { key } => key.as_slice(),
    };
    let table = table::Table::new(namespace, table, schema.clone(), key)
        .map_err(|(at, message)| wrong(spec, origin, at, message))?;
    Ok(Server::new(&spec.name, config, table, owner))
}

fn unreachable(spec: &SinkSpec, origin: &Origin, server: &Server, fault: Fault) -> Error {
    let at = origin.at(&format!("sinks.{}.url", spec.name));
    let help = if fault.passing { "; start that server, or mend `url`" } else { "" };
    Error::environment(format!("{at}sink `{}`: {}: {}{help}", spec.name, server.place(), fault.message))
}

/// Runs this on a thread of its own: the caller may be a thread of an async runtime, which must not block on another.
fn aside<T: Send>(work: impl FnOnce(Runtime) -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| work(new_runtime()?));
        worker.join().unwrap_or_else(|_| Err(Error::bug("a thread that spoke with a database panicked")))
    })
}

fn new_runtime() -> Result<Runtime> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|cause| Error::environment(format!("cannot start a runtime: {cause}")))
}

impl Sink for PostgresSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        let owned = self.server.owner.is_some();
        if owned && self.committed.is_some_and(|committed| batch <= committed) {
            return Err(Error::bug(format!(
                "sink `{}`: batch {batch} is committed already, and came again",
                self.name
            )));
        }
        if rows.iter().any(|part| part.num_rows() > 0) {
            self.write(batch, &rows)?;
        }
        if owned {
            self.committed = Some(batch);
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
        let mut pause = Duration::ZERO;
        fault::point("commit.before");
        loop {
            let fault = match self.attempt(batch, rows) {
                Ok(()) => break,
                Err(fault) => fault,
            };
            if let Some(session) = self.session.take() {
                self.runtime.block_on(session.end());
            }
            if !fault.passing {
                let (name, message) = (&self.name, fault.message);
                return Err(marker::told(Error::environment(format!("sink `{name}`: batch {batch}: {message}"))));
            }
            if pause.is_zero() {
                tracing::warn!(
                    "sink `{}`: batch {batch}: {}: {}; the job waits, and tries again until it works",
                    self.name,
                    self.server.place(),
                    fault.message
                );
            }
            pause = (pause * 2).clamp(Duration::from_millis(PAUSE_MS_MIN), Duration::from_millis(PAUSE_MS_MAX));
            if wait(&self.runtime, &self.failure, tokio_sleep(pause)).is_none() {
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
    fn attempt(&mut self, batch: BatchId, rows: &[RecordBatch]) -> Result<(), Fault> {
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
                    session.insert(Session::begin(connection, server).await?)
                }
            };
            session.commit(server, batch, rows, unanswered).await
        };
        let ended = || Fault { passing: false, message: "the job has ended".into() };
        wait(&self.runtime, &self.failure, work).unwrap_or_else(|| Err(ended()))
    }
}

/// Waits for this, unless the job ends before.
fn wait<T>(runtime: &Runtime, failure: &Failure, work: impl Future<Output = T>) -> Option<T> {
    let ended = async {
        while !failure.happened() {
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
    };
    runtime.block_on(async {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = ended => None,
        }
    })
}

async fn tokio_sleep(time: Duration) {
    tokio::time::sleep(time).await;
}
