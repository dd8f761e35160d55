//! The database of a `postgres` sink: connecting, the markers, and the transaction of a batch.
//!
//! Without a share, a sink writes whole batches, and its marker has its name. With one it writes what a worker has of each batch, and
//! its marker has the worker's number behind that name (`out/000`), which counts all workers of the job. Every start, of the whole or of
//! a share, first locks the marker of whole batches and writes its generation there; where that is a later one, it has lost the job.
//! Whoever takes over the whole then writes its generation into the markers of all shares, waiting for their transactions: none of an
//! earlier start commits any more, and none can be made behind its back, as that marker is still locked.

use super::conversion::ColumnConversion;
use super::rows;
use super::table;
use super::table::TargetTable;
use crate::postgres::quoted;
use crate::postgres::{Connection, DatabaseError, DatabaseErrorKind, Driver};
use crate::sink::shares::{self, Share};
use arrow::array::RecordBatch;
use millstream_base::fault;
use millstream_base::ids::BatchId;
use millstream_base::job::database::Database;
use millstream_base::owner::Owner;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Statement};

/// How long a server may take to hear that a connection ends.
const END_TIMEOUT_MS: u64 = 1_000;
/// The table of markers. It lies beside the sink's table, where the job may surely write.
const MARKERS: &str = "millstream_commits";

/// Where and what a sink writes.
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

    /// The sink, for people.
    pub fn who(&self) -> String {
        let worker = self.share.map_or_else(String::new, |worker| format!(", worker {worker}"));
        format!("sink `{}`{worker}", self.sink)
    }

    /// See [`Connection::place`].
    pub fn place(&self) -> String {
        self.connection.place()
    }

    /// See [`Connection::connect`].
    pub async fn connect(&self) -> Result<(Client, Driver), DatabaseError> {
        self.connection.connect().await
    }

    /// Makes the table where it is not there; or checks that it can take the rows.
    pub async fn make(&self, client: &Client) -> Result<(), DatabaseError> {
        if table::find(client, &self.table).await?.is_none() {
            client.batch_execute(&self.table.create()).await?;
        }
        self.ways(client).await.map(drop)
    }

    /// How values get into the table's columns, in the order of the rows' columns.
    async fn ways(&self, client: &Client) -> Result<Vec<ColumnConversion>, DatabaseError> {
        let found = table::find(client, &self.table).await?;
        let found =
            found.ok_or_else(|| DatabaseError::lasting(format!("the table {} no longer exists", self.table.name())))?;
        self.table.fit(&found).map_err(DatabaseError::lasting)
    }

    /// Writes into the markers that this start of the job commits from now on: see the head of this file. The last committed batch.
    pub async fn claim(&self, client: &Client) -> Result<Option<BatchId>, DatabaseError> {
        let Some(owner) = &self.owner else { return Ok(None) };
        if !table::exists(client, &self.markers).await? {
            let make = format!(
                "create table if not exists {} (job_id text not null, sink text not null, job text not null, \
                 generation bigint not null, batch bigint not null, primary key (job_id, sink))",
                self.markers
            );
            client.batch_execute(&make).await?;
        }
        fault::point("start.sink");
        client.batch_execute("begin").await?;
        let mut held = vec![(None, self.claim_marker(client, owner, None).await?)];
        match self.share {
            Some(_) => held.push((self.share, self.claim_marker(client, owner, self.share).await?)),
            None => held.extend(self.claim_shares(client, owner).await?),
        }
        client.batch_execute("commit").await?;
        Ok(shares::held(held, self.share))
    }

    /// Locks a marker, which is made where it is not there, and writes into it that this start commits from now on. Its last batch.
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

    /// The same for the markers of all workers that there ever were.
    async fn claim_shares(
        &self,
        client: &Client,
        owner: &Owner,
    ) -> Result<Vec<(Share, Option<BatchId>)>, DatabaseError> {
        let claim = format!(
            "update {} set generation = $3, job = $4 where job_id = $1 and {OF_SHARES} returning sink, batch",
            self.markers
        );
        let generation = number(owner.generation.0)?;
        let rows = client.query(&claim, &[&owner.job_id, &self.sink, &generation, &owner.job]).await?;
        rows.iter().map(|row| Ok((share(row.try_get(0)?), batch(row.try_get(1)?)))).collect()
    }

    /// The last batch that is committed for this job, be it in part.
    pub async fn read_marker(&self, client: &Client, job_id: &str) -> Result<Option<BatchId>, DatabaseError> {
        if !table::exists(client, &self.markers).await? {
            return Ok(None);
        }
        let read = format!(
            "select sink, batch from {} where job_id = $1 and (sink = $2 or {OF_SHARES}) order by sink for update",
            self.markers
        );
        let rows = client.query(&read, &[&job_id, &self.sink]).await?;
        let found = rows.iter().map(|row| Ok((share(row.try_get(0)?), batch(row.try_get(1)?))));
        Ok(shares::held(found.collect::<Result<Vec<_>, DatabaseError>>()?, None))
    }
}

/// Whether a marker is that of a share of the sink `$2`.
const OF_SHARES: &str = "pg_catalog.left(sink, pg_catalog.length($2) + 1) = $2 || '/'";

/// The name of a marker.
fn marker(sink: &str, share: Share) -> String {
    share.map_or_else(|| sink.to_owned(), |worker| format!("{sink}/{worker:03}"))
}

/// Whose marker has this name.
fn share(marker: &str) -> Share {
    marker.rsplit_once('/').and_then(|(_, worker)| worker.parse().ok())
}

/// What went wrong when gathered rows came into the table.
fn of_merge(error: tokio_postgres::Error) -> DatabaseError {
    let fault = DatabaseError::of(&error);
    match error.code() {
        Some(&SqlState::CARDINALITY_VIOLATION) => DatabaseError {
            kind: DatabaseErrorKind::Row,
            message: format!(
                "two rows of the batch have keys that differ and are one in the table, as a trigger changes them, or its unique \
                 index compares them in its own way; make them equal in a stage before. {}",
                fault.message
            ),
        },
        _ => fault,
    }
}

/// Whether a transaction was committed. One that is older than the server remembers was, as it was the last of its connection.
pub(super) async fn happened(client: &Client, number: i64) -> Result<bool, DatabaseError> {
    loop {
        let row = match client.query_one("select pg_catalog.txid_status($1)", &[&number]).await {
            // A number of the future: the server went down before it wrote anything of that transaction.
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

/// A connection with the statements of a commit.
pub(super) struct CommitSession {
    client: Client,
    driver: Driver,
    ways: Vec<ColumnConversion>,
    copy: Statement,
    /// What brings gathered rows into the table, in order.
    merge: Vec<Statement>,
    marker: Option<(Statement, Statement)>,
}

impl CommitSession {
    pub async fn begin((client, driver): (Client, Driver), server: &Server) -> Result<CommitSession, DatabaseError> {
        let table = &server.table;
        let ways = server.ways(&client).await?;
        if let Some(make) = table.make_gathering(&ways) {
            client.batch_execute(&make).await?;
        }
        let copy = client.prepare(&table.copy(&ways)).await?;
        let mut merge = Vec::new();
        for statement in table.merge(&ways) {
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
        let mut ways = ways;
        ways.extend(table.op.as_ref().map(|_| ColumnConversion::of_text()));
        Ok(CommitSession { client, driver, ways, copy, merge, marker })
    }

    /// Closes the connection, so that the server ends what was begun: an open transaction would hold the marker's lock
    /// against whoever has the job now.
    pub async fn end(self) {
        drop(self.client);
        let mut driver = self.driver;
        if tokio::time::timeout(Duration::from_millis(END_TIMEOUT_MS), &mut driver).await.is_err() {
            driver.abort();
            let _ = driver.await;
        }
    }

    /// The transaction of a batch: marker locked and looked at, rows, marker, commit.
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
        rows::copy(&self.client, &self.copy, &self.ways, rows, !self.merge.is_empty()).await?;
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

    /// Locks the marker. Whether it says that this batch is committed, by a COMMIT whose answer was lost.
    async fn lock(&self, server: &Server, batch: BatchId) -> Result<bool, DatabaseError> {
        let (Some((lock, _)), Some(owner)) = (&self.marker, &server.owner) else { return Ok(false) };
        let row = self.client.query_opt(lock, &[&owner.job_id, &marker(&server.sink, server.share)]).await?;
        let row = row.ok_or_else(|| {
            DatabaseError::lasting(format!(
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
    i64::try_from(number).map_err(|_| DatabaseError::lasting(format!("{number} does not fit into a bigint")))
}

/// The batch of a marker; zero: none yet.
fn batch(number: i64) -> Option<BatchId> {
    u64::try_from(number).ok().filter(|number| *number > 0).map(BatchId)
}
