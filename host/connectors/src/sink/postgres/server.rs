//! The database of a `postgres` sink: connecting, the marker, and the transaction of a batch.

use super::conversion::ColumnConversion;
use super::rows;
use super::table;
use super::table::TargetTable;
use crate::fault;
use crate::ids::BatchId;
use crate::job::database::Database;
use crate::owner::Owner;
use crate::postgres::quoted;
use crate::postgres::{Connection, DatabaseError, Driver};
use arrow::array::RecordBatch;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
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
    sink: String,
    /// The quoted name of the table of markers.
    markers: String,
}

impl Server {
    pub fn new(sink: &str, database: Database, table: TargetTable, owner: Option<Owner>) -> Server {
        let markers = match &table.namespace {
            Some(namespace) => format!("{}.{MARKERS}", quoted(namespace)),
            None => MARKERS.into(),
        };
        Server { connection: Connection::new(database), table, owner, sink: sink.into(), markers }
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
        let found = found.ok_or_else(|| DatabaseError::lasting(format!("the table {} is gone", self.table.name())))?;
        self.table.fit(&found).map_err(DatabaseError::lasting)
    }

    /// Writes into the marker that this start of the job commits from now on. The last committed batch.
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
        let claim = format!(
            "insert into {0} as marker values ($1, $2, $3, $4, 0) on conflict (job_id, sink) do update \
             set generation = excluded.generation, job = excluded.job \
             where marker.generation <= excluded.generation returning batch",
            self.markers
        );
        let generation = number(owner.generation.0)?;
        fault::point("start.sink");
        let row = client.query_opt(&claim, &[&owner.job_id, &self.sink, &owner.job, &generation]).await?;
        match row {
            Some(row) => Ok(batch(row.try_get(0)?)),
            None => Err(DatabaseError::taken_over(format!(
                "the job was started again elsewhere, and this process (generation {generation}) has lost it"
            ))),
        }
    }

    /// The last batch that is committed for this job.
    pub async fn read_marker(&self, client: &Client, job_id: &str) -> Result<Option<BatchId>, DatabaseError> {
        if !table::exists(client, &self.markers).await? {
            return Ok(None);
        }
        let read = format!("select batch from {} where job_id = $1 and sink = $2 for update", self.markers);
        let row = client.query_opt(&read, &[&job_id, &self.sink]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.and_then(batch))
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
    types: Vec<Type>,
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
        let types = ways.into_iter().map(|way| way.copied).chain(table.op.as_ref().map(|_| Type::TEXT)).collect();
        Ok(CommitSession { client, driver, types, copy, merge, marker })
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
        rows::copy(&self.client, &self.copy, &self.types, rows, !self.merge.is_empty()).await?;
        for merge in &self.merge {
            self.client.execute(merge, &[]).await?;
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
        let row = self.client.query_opt(lock, &[&owner.job_id, &server.sink]).await?;
        let row = row.ok_or_else(|| {
            DatabaseError::lasting(format!("the job's row in the table {} is gone; what removed it?", server.markers))
        })?;
        let (generation, committed): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        if generation > number(owner.generation.0)? {
            return Err(DatabaseError::taken_over(format!(
                "the job was started again elsewhere (generation {generation}), and this process (generation {}) has \
                 lost it",
                owner.generation
            )));
        }
        Ok(committed >= number(batch.0)?)
    }

    async fn mark(&self, server: &Server, batch: BatchId) -> Result<(), DatabaseError> {
        if let (Some((_, mark)), Some(owner)) = (&self.marker, &server.owner) {
            self.client.execute(mark, &[&owner.job_id, &server.sink, &number(batch.0)?]).await?;
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
