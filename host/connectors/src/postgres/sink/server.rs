//! The database of a `postgres` sink: connections, markers, and the transaction of a batch.
//!
//! Without a share, a sink writes complete batches, and its marker has its name. With a share it writes a worker's part of each batch, and
//! its marker has the worker's number appended (`out/000`). Workers are numbered across the job. Every run, of the entire sink or of a
//! share, first locks the sink's marker and writes its generation there. If the marker contains a later generation, this run was
//! replaced. A run that takes over the entire sink then writes its generation into the markers of all shares, and waits for their
//! transactions. From then on no earlier run commits. None can create a marker meanwhile, as the sink's marker is still locked.

use super::conversion::ColumnConversion;
use super::rows;
use super::table;
use super::table::TargetTable;
use crate::postgres::quoted;
use crate::postgres::{Connection, DatabaseError, DatabaseErrorKind, Driver};
use arrow::array::RecordBatch;
use millstream_base::fault;
use millstream_base::ids::BatchId;
use millstream_base::owner::Owner;
use millstream_connect::sink::shares::{self, Share};
use millstream_job::database::Database;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Statement};

/// Timeout for notifying the server of the end of a connection.
const END_TIMEOUT_MS: u64 = 1_000;
/// The table of markers. It is in the schema of the sink's table, where the job is known to have write access.
const MARKERS: &str = "millstream_commits";

/// The destination of a sink.
pub(super) struct Server {
    connection: Connection,
    pub table: TargetTable,
    pub owner: Option<Owner>,
    /// Its name in the job.
    pub sink: String,
    share: Share,
    /// The quoted name of the table of markers.
    markers: String,
}

impl Server {
    pub fn new(sink: &str, share: Share, database: Database, table: TargetTable, owner: Option<Owner>) -> Server {
        let markers = match &table.namespace {
            Some(namespace) => format!("{}.{MARKERS}", quoted(namespace)),
            None => MARKERS.into(),
        };
        Server { connection: Connection::new(database), table, owner, sink: sink.into(), share, markers }
    }

    /// Returns the sink's name for messages.
    pub fn display_name(&self) -> String {
        let worker = self.share.map_or_else(String::new, |worker| format!(", worker {worker}"));
        format!("sink `{}`{worker}", self.sink)
    }

    /// See [`Connection::server_name`].
    pub fn server_name(&self) -> String {
        self.connection.server_name()
    }

    /// See [`Connection::connect`].
    pub async fn connect(&self) -> Result<(Client, Driver), DatabaseError> {
        self.connection.connect().await
    }

    /// Creates the table if it does not exist; otherwise checks that it can take the rows.
    pub async fn make(&self, client: &Client) -> Result<(), DatabaseError> {
        if table::find(client, &self.table).await?.is_none() {
            table::create(client, &self.table.name(), &self.table.create()).await?;
        }
        self.conversions(client).await.map(drop)
    }

    /// Returns how values get into the table's columns, in the order of the rows' columns.
    async fn conversions(&self, client: &Client) -> Result<Vec<ColumnConversion>, DatabaseError> {
        let found = table::find(client, &self.table).await?;
        let found = found
            .ok_or_else(|| DatabaseError::permanent(format!("the table {} no longer exists", self.table.name())))?;
        self.table.fit(&found).map_err(DatabaseError::permanent)
    }

    /// Writes into the markers that only this run of the job commits from now on: see the module's documentation. Returns the last
    /// committed batch.
    pub async fn claim(&self, client: &Client) -> Result<Option<BatchId>, DatabaseError> {
        let Some(owner) = &self.owner else { return Ok(None) };
        if !table::exists(client, &self.markers).await? {
            let make = format!(
                "create table if not exists {} (job_id text not null, sink text not null, job text not null, \
                 generation bigint not null, batch bigint not null, primary key (job_id, sink))",
                self.markers
            );
            table::create(client, &self.markers, &make).await?;
        }
        fault::point("start.sink");
        client.batch_execute("begin").await?;
        let mut committed_batch = vec![(None, self.claim_marker(client, owner, None).await?)];
        match self.share {
            Some(_) => committed_batch.push((self.share, self.claim_marker(client, owner, self.share).await?)),
            None => committed_batch.extend(self.claim_shares(client, owner).await?),
        }
        client.batch_execute("commit").await?;
        Ok(shares::committed_batch(committed_batch, self.share))
    }

    /// Locks a marker, creating it if necessary, and writes into it that only this run commits from now on. Returns its last batch.
    async fn claim_marker(
        &self,
        client: &Client,
        owner: &Owner,
        share: Share,
    ) -> Result<Option<BatchId>, DatabaseError> {
        let claim = format!(
            "insert into {0} as marker values ($1, $2, $3, $4, 0) on conflict (job_id, sink) do update \
             set generation = excluded.generation, job = excluded.job \
             where marker.generation <= excluded.generation returning batch",
            self.markers
        );
        let generation = number(owner.generation.0)?;
        let row =
            client.query_opt(&claim, &[&owner.job_id, &marker(&self.sink, share), &owner.job, &generation]).await?;
        match row {
            Some(row) => Ok(batch(row.try_get(0)?)),
            None => Err(DatabaseError::taken_over(format!(
                "the job was restarted elsewhere, and this process (generation {generation}) was replaced"
            ))),
        }
    }

    /// Claims the markers of all workers that ever wrote.
    async fn claim_shares(
        &self,
        client: &Client,
        owner: &Owner,
    ) -> Result<Vec<(Share, Option<BatchId>)>, DatabaseError> {
        let claim = format!(
            "update {} set generation = $3, job = $4 where job_id = $1 and {IS_SHARE_OF_SINK} returning sink, batch",
            self.markers
        );
        let generation = number(owner.generation.0)?;
        let rows = client.query(&claim, &[&owner.job_id, &self.sink, &generation, &owner.job]).await?;
        rows.iter().map(|row| Ok((share(row.try_get(0)?), batch(row.try_get(1)?)))).collect()
    }

    /// Returns the last batch that is committed for this job, completely or in part.
    pub async fn read_marker(&self, client: &Client, job_id: &str) -> Result<Option<BatchId>, DatabaseError> {
        if !table::exists(client, &self.markers).await? {
            return Ok(None);
        }
        let read = format!(
            "select sink, batch from {} where job_id = $1 and (sink = $2 or {IS_SHARE_OF_SINK}) order by sink for update",
            self.markers
        );
        let rows = client.query(&read, &[&job_id, &self.sink]).await?;
        let found = rows.iter().map(|row| Ok((share(row.try_get(0)?), batch(row.try_get(1)?))));
        Ok(shares::committed_batch(found.collect::<Result<Vec<_>, DatabaseError>>()?, None))
    }
}

/// Condition: the marker belongs to a share of the sink `$2`.
const IS_SHARE_OF_SINK: &str = "pg_catalog.left(sink, pg_catalog.length($2) + 1) = $2 || '/'";

/// Returns the name of a marker.
fn marker(sink: &str, share: Share) -> String {
    share.map_or_else(|| sink.to_owned(), |worker| format!("{sink}/{worker:03}"))
}

/// Returns the share of the marker with this name.
fn share(marker: &str) -> Share {
    marker.rsplit_once('/').and_then(|(_, worker)| worker.parse().ok())
}

/// Interprets an error of moving staged rows into the table.
fn of_merge(error: tokio_postgres::Error) -> DatabaseError {
    let fault = DatabaseError::from_driver(&error);
    match error.code() {
        Some(&SqlState::CARDINALITY_VIOLATION) => DatabaseError {
            kind: DatabaseErrorKind::Row,
            message: format!(
                "two rows of the batch have different keys that the table treats as equal, because of a trigger or \
                 the rules of its unique index; make them equal in a previous stage. {}",
                fault.message
            ),
        },
        _ => fault,
    }
}

/// Whether a transaction was committed. The server forgets old transactions; those were committed, as each was the last of its connection.
pub(super) async fn is_committed(client: &Client, number: i64) -> Result<bool, DatabaseError> {
    loop {
        let row = match client.query_one("select pg_catalog.txid_status($1)", &[&number]).await {
            // A future number: the server crashed before it wrote anything of that transaction.
            Err(error) if error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => return Ok(false),
            row => row?,
        };
        match row.try_get::<_, Option<&str>>(0)? {
            Some("aborted") => return Ok(false),
            Some("in progress") => tokio::time::sleep(Duration::from_millis(20)).await,
            _ => return Ok(true),
        }
    }
}

/// A connection with the prepared statements of a commit.
pub(super) struct CommitSession {
    client: Client,
    driver: Driver,
    conversions: Vec<ColumnConversion>,
    copy: Statement,
    /// The statements that move staged rows into the table, in order.
    merge: Vec<Statement>,
    marker: Option<(Statement, Statement)>,
}

impl CommitSession {
    pub async fn begin((client, driver): (Client, Driver), server: &Server) -> Result<CommitSession, DatabaseError> {
        let table = &server.table;
        let conversions = server.conversions(&client).await?;
        if let Some(make) = table.create_staging_table(&conversions) {
            client.batch_execute(&make).await?;
        }
        let copy = client.prepare(&table.copy(&conversions)).await?;
        let mut merge = Vec::new();
        for statement in table.merge(&conversions) {
            merge.push(client.prepare(&statement).await?);
        }
        let marker = match &server.owner {
            None => None,
            Some(_) => {
                let (markers, ours) = (&server.markers, "where job_id = $1 and sink = $2");
                let lock = format!("select generation, batch from {markers} {ours} for update");
                let mark = format!("update {markers} set batch = $3 {ours}");
                Some((client.prepare(&lock).await?, client.prepare(&mark).await?))
            }
        };
        let mut conversions = conversions;
        conversions.extend(table.op.as_ref().map(|_| ColumnConversion::of_text()));
        Ok(CommitSession { client, driver, conversions, copy, merge, marker })
    }

    /// Closes the connection, so that the server rolls back an open transaction. It would block the job's new owner by its lock on the
    /// marker.
    pub async fn end(self) {
        drop(self.client);
        let mut driver = self.driver;
        if tokio::time::timeout(Duration::from_millis(END_TIMEOUT_MS), &mut driver).await.is_err() {
            driver.abort();
            let _ = driver.await;
        }
    }

    /// Runs the transaction of a batch: lock and check the marker, write rows, update the marker, commit.
    pub async fn commit(
        &mut self,
        server: &Server,
        batch: BatchId,
        rows: &[RecordBatch],
        unanswered: &mut Option<i64>,
    ) -> Result<(), DatabaseError> {
        let late = fault::bug!("marker-late");
        self.client.batch_execute("begin").await?;
        if self.lock(server, batch).await? {
            self.client.batch_execute("rollback").await?;
            return Ok(());
        }
        rows::copy(&self.client, &self.copy, &self.conversions, rows, !self.merge.is_empty()).await?;
        for merge in &self.merge {
            self.client.execute(merge, &[]).await.map_err(of_merge)?;
        }
        fault::point("commit.written");
        if !late {
            self.mark(server, batch).await?;
            fault::point("commit.marked");
        }
        if self.marker.is_none() {
            let row = self.client.query_one("select pg_catalog.txid_current()", &[]).await?;
            *unanswered = Some(row.try_get(0)?);
        }
        self.client.batch_execute("commit").await?;
        *unanswered = None;
        if late {
            fault::point("commit.unmarked");
            self.mark(server, batch).await?;
            fault::point("commit.marked");
        }
        Ok(())
    }

    /// Locks the marker. Returns whether this batch is already committed, by a COMMIT whose response was lost.
    async fn lock(&self, server: &Server, batch: BatchId) -> Result<bool, DatabaseError> {
        let (Some((lock, _)), Some(owner)) = (&self.marker, &server.owner) else { return Ok(false) };
        let row = self.client.query_opt(lock, &[&owner.job_id, &marker(&server.sink, server.share)]).await?;
        let row = row.ok_or_else(|| {
            DatabaseError::permanent(format!(
                "the job's row in the table {} is missing; what deleted it?",
                server.markers
            ))
        })?;
        let (generation, committed): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        if generation > number(owner.generation.0)? {
            return Err(DatabaseError::taken_over(format!(
                "the job was restarted elsewhere (generation {generation}), and this process (generation {}) was replaced",
                owner.generation
            )));
        }
        Ok(committed >= number(batch.0)?)
    }

    async fn mark(&self, server: &Server, batch: BatchId) -> Result<(), DatabaseError> {
        if let (Some((_, mark)), Some(owner)) = (&self.marker, &server.owner) {
            let name = marker(&server.sink, server.share);
            self.client.execute(mark, &[&owner.job_id, &name, &number(batch.0)?]).await?;
        }
        Ok(())
    }
}

fn number(number: u64) -> Result<i64, DatabaseError> {
    i64::try_from(number).map_err(|_| DatabaseError::permanent(format!("{number} does not fit into a bigint")))
}

/// Converts the batch number of a marker; zero: none yet.
fn batch(number: i64) -> Option<BatchId> {
    u64::try_from(number).ok().filter(|number| *number > 0).map(BatchId)
}
