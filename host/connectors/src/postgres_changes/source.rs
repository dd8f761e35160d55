//! The `postgres-changes` source, which reads tables by logical replication: first their existing rows, then every transaction in commit
//! order. See `changes/position` for how each is read exactly once.
//!
//! The slot belongs to the job and the source, and remains when the job ends. Its confirmed position comes from a published checkpoint, not
//! from a plan. A run that was replaced may still plan, but cannot publish; and what a slot has confirmed is discarded.

mod begin;
mod catalog;
mod identity;
mod partitions;
mod position;
mod publication;
mod record;
mod rows;
mod snapshot;
mod watch;

use self::catalog::FollowedTable;
use self::position::ChangesPosition;
use self::record::WantedColumns;
use self::rows::{Change, ChangedTable, PolledChanges};
use self::snapshot::SnapshotReader;
use self::watch::TableWatch;
use super::settings::ChangesReads;
use crate::postgres::pgoutput::{self, Relation, ReplicationMessage};
use crate::postgres::replication::{Lsn, Replication, StreamEvent};
use crate::postgres::{DatabaseError, DatabaseErrorKind, quoted};
use futures_util::FutureExt as _;
use millstream_base::error::Error;
use millstream_base::fault;
use millstream_base::owner::Owner;
use millstream_connect::receiver::polled::backlog::Backlog;
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::reading::{ReadContent, ReadError, ReadPartition, ReadRows};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tracing::info;
use xxhash_rust::xxh3::xxh3_64;

/// Approximate bytes of rows per batch.
const POLL_BYTES: usize = 1 << 20;
/// How long rows wait for more of them.
const MORE_WITHIN: Duration = Duration::from_millis(5);
/// How long to gather changes once some have come and no more are available.
const GATHER_TIME: Duration = Duration::from_millis(1);
/// Maximum time to skip changes that were read before, until the job is served again.
const SKIP_TIME_MAX: Duration = Duration::from_secs(5);
/// How often the job records its position in a log without rows for it, so that the server may discard the log.
const RECORD_INTERVAL: Duration = Duration::from_secs(10);
/// Timeout for the first sorted rows of a table.
const SORT_TIME_MAX: Duration = Duration::from_secs(10);

/// Follows the changes of a database's tables by logical replication.
pub struct ChangesFollower {
    source: String,
    reads: ChangesReads,
    url: String,
    wanted: WantedColumns,
    /// `None`: the job keeps no checkpoints, so its slot is dropped with its connection.
    owner: Option<Owner>,
    slot: String,
    publication: String,
    /// Its own runtime: the job's ends before its threads do. `None`: not connected yet.
    runtime: Option<Runtime>,
    open: Option<ChangesConnection>,
}

/// A connection of a follower, and its read position.
struct ChangesConnection {
    tables: Vec<FollowedTable>,
    at: ChangesPosition,
    replication: Replication,
    snapshot: Option<SnapshotReader>,
    /// The followed tables, by the ids of the stream.
    relations: BTreeMap<u32, (usize, Relation)>,
    transaction: Option<Transaction>,
    /// Whether the stream described a table without a required column, which may have been added later or dropped, or a table that was
    /// renamed.
    is_in_doubt: bool,
    watch: TableWatch,
    /// When a position without rows was last returned.
    last_recorded: Instant,
    /// Positions of the log.
    backlog: Backlog,
}

/// A transaction that is being received.
#[derive(Clone, Copy)]
struct Transaction {
    commit: Lsn,
    time_us: i64,
    /// Number of received changes.
    changes: u64,
    /// How many of them were read before.
    known: u64,
}

impl ChangesFollower {
    /// Creates a follower of this source's tables, or returns the invalid key and why.
    pub fn new(source: &SourceSpec, reads: &ChangesReads, owner: Option<&Owner>) -> ChangesFollower {
        let slot = match owner {
            Some(owner) => begin::slot_name(&owner.job_id, &source.name),
            // The slot is dropped with the connection, so its name only has to be unique.
            None => format!("millstream_tmp_{}_{:x}", std::process::id(), millstream_base::time::now().0),
        };
        let default_name = || format!("millstream_{:016x}", xxh3_64(reads.tables.join("\n").as_bytes()));
        ChangesFollower {
            source: source.name.clone(),
            reads: reads.clone(),
            url: reads.url.0.clone(),
            wanted: WantedColumns::for_source(source),
            owner: owner.cloned(),
            slot,
            publication: reads.publication.clone().unwrap_or_else(default_name),
            runtime: None,
            open: None,
        }
    }

    fn read_error(&self, fault: DatabaseError) -> ReadError {
        let message = || format!("source `{}`: {}", self.source, fault.message);
        match fault.kind {
            DatabaseErrorKind::Transient => ReadError::Transient(fault.message),
            DatabaseErrorKind::TakenOver => ReadError::Permanent(Error::taken_over(message())),
            _ => ReadError::Permanent(Error::job(message())),
        }
    }

    async fn stream(&self, open: &mut ChangesConnection) -> Result<(), DatabaseError> {
        let from = open.at.needed().unwrap_or_default();
        open.replication.stream(&self.slot, from, &self.publication).await
    }

    /// Reads rows of the snapshot.
    async fn rows(&self, open: &mut ChangesConnection, rows_max: usize) -> Result<PolledChanges, DatabaseError> {
        let mut read = PolledChanges::default();
        let Some(snapshot) = &mut open.snapshot else { return Ok(read) };
        while read.rows() < rows_max && read.bytes < POLL_BYTES {
            let left = if read.rows() == 0 { SORT_TIME_MAX } else { MORE_WITHIN };
            let Ok(next) = tokio::time::timeout(left, snapshot.next(&open.tables)).await else { break };
            let Some((position, values)) = next? else {
                // Changes are read next.
                let first = open.at.needed().unwrap_or_default();
                open.at.complete_snapshot(first);
                open.snapshot = None;
                info!("source `{}`: all rows are read; changes follow", self.source);
                self.stream(open).await?;
                break;
            };
            let Some(table) = open.tables.get(position.table) else { break };
            if !values.is_empty() {
                read.put_row(&self.wanted, table, values, snapshot);
            }
            open.at.read(position);
        }
        Ok(read)
    }

    /// Reads changes.
    async fn changes(
        &self,
        open: &mut ChangesConnection,
        rows_max: usize,
        wait: Duration,
    ) -> Result<(PolledChanges, bool), DatabaseError> {
        let mut read = PolledChanges::default();
        let (began, mut until, mut reply_now) = (Instant::now(), Instant::now() + wait, false);
        // A change may be two rows.
        while read.rows() + 1 < rows_max.max(2) && read.bytes < POLL_BYTES {
            let next = match open.replication.next().now_or_never() {
                Some(next) => next,
                None => {
                    let left = match read.rows() {
                        0 => until.saturating_duration_since(Instant::now()),
                        // Limits the wait for changes that come one at a time.
                        _ if Instant::now() >= until => break,
                        _ => {
                            // Servers send each change separately, and waking up for it takes longer than processing it.
                            tokio::time::sleep(GATHER_TIME).await;
                            MORE_WITHIN
                        }
                    };
                    let Ok(next) = tokio::time::timeout(left, open.replication.next()).await else { break };
                    next
                }
            };
            open.backlog.touch();
            match next? {
                StreamEvent::Until(lsn, wants_reply) => {
                    if open.transaction.is_none() {
                        open.at.advance(lsn);
                    }
                    reply_now |= wants_reply;
                    if wants_reply {
                        open.replication.report_now();
                    }
                }
                StreamEvent::Message(body) => {
                    let decoded = pgoutput::read(body);
                    let decoded =
                        decoded.ok_or_else(|| DatabaseError::permanent("its stream is not pgoutput".into()))?;
                    self.take(open, decoded, &mut read)?;
                    if std::mem::take(&mut open.is_in_doubt) {
                        self.watch(open, true).await?;
                    }
                    if read.rows() == 0 && began.elapsed() < SKIP_TIME_MAX {
                        until = Instant::now() + wait;
                    }
                }
            }
        }
        Ok((read, reply_now))
    }

    fn take(
        &self,
        open: &mut ChangesConnection,
        decoded: ReplicationMessage,
        read: &mut PolledChanges,
    ) -> Result<(), DatabaseError> {
        match decoded {
            ReplicationMessage::Begin { commit, time_us } => {
                let known = match open.at.stream {
                    Some((at, _)) if commit.0 < at => u64::MAX,
                    Some((at, changes)) if commit.0 == at => changes,
                    _ => 0,
                };
                open.at.advance(commit);
                open.transaction = Some(Transaction { commit, time_us, changes: 0, known });
            }
            ReplicationMessage::Commit { end } => {
                open.transaction = None;
                open.at.advance(end);
            }
            ReplicationMessage::Relation(relation) => {
                let (schema, name) = &relation.name;
                let name = format!("{}.{}", quoted(schema), quoted(name));
                let Some(table_index) = open.tables.iter().position(|table| table.id == relation.id) else {
                    open.is_in_doubt |= open.tables.iter().any(|table| table.quoted == name);
                    return Ok(());
                };
                open.is_in_doubt |= open
                    .tables
                    .get(table_index)
                    .is_some_and(|table| table.quoted != name || self.check_columns(table, &relation.columns).is_err());
                open.relations.insert(relation.id, (table_index, relation));
            }
            ReplicationMessage::Insert { relation, new } => {
                self.change(open, read, &[relation], &Change::Insert(new))?
            }
            ReplicationMessage::Update { relation, old, new } => {
                self.change(open, read, &[relation], &Change::Update(old, new))?
            }
            ReplicationMessage::Delete { relation, old } => {
                self.change(open, read, &[relation], &Change::Delete(old))?
            }
            ReplicationMessage::Truncate { relations } => self.change(open, read, &relations, &Change::Truncate)?,
            ReplicationMessage::Other => {}
        }
        Ok(())
    }

    fn change(
        &self,
        open: &mut ChangesConnection,
        read: &mut PolledChanges,
        of: &[u32],
        change: &Change,
    ) -> Result<(), DatabaseError> {
        let Some(transaction) = &mut open.transaction else {
            return Err(DatabaseError::permanent("a change came outside of a transaction".into()));
        };
        transaction.changes += 1;
        if transaction.changes <= transaction.known {
            return Ok(());
        }
        let transaction = *transaction;
        open.at.advance_changes(transaction.commit, transaction.changes);
        for relation in of {
            let Some((table_index, relation)) = open.relations.get(relation) else { continue };
            let Some(table) = open.tables.get(*table_index) else { continue };
            let changed = ChangedTable {
                wanted: &self.wanted,
                table,
                relation,
                table_index: *table_index,
                transaction,
                at: &open.at,
            };
            let put = changed.put(change, read);
            put.map_err(|what| DatabaseError::permanent(format!("{what}; {}", self.restart_hint())))?;
        }
        Ok(())
    }

    /// Polls once, for snapshot rows or changes.
    async fn read(
        &self,
        open: &mut ChangesConnection,
        rows_max: usize,
        wait: Duration,
    ) -> Result<ReadRows, DatabaseError> {
        self.watch(open, false).await?;
        let (read, reply_now) = match open.snapshot.is_some() {
            true => (self.rows(open, rows_max).await?, false),
            false => {
                if self.owner.is_none() {
                    // No later run needs it.
                    open.replication.confirm(open.at.needed().unwrap_or_default());
                }
                self.changes(open, rows_max, wait).await?
            }
        };
        let due =
            read.rows() > 0 || open.snapshot.is_some() || reply_now || open.last_recorded.elapsed() >= RECORD_INTERVAL;
        if due {
            open.last_recorded = Instant::now();
        }
        let position = due.then(|| open.at.encode());
        let content = ReadContent::Messages(read.messages);
        Ok(ReadRows { content, rejected: read.rejected, position, pause: Some(Duration::ZERO) })
    }
}

impl Drop for ChangesFollower {
    fn drop(&mut self) {
        self.open = None;
        if let Some(runtime) = self.runtime.take() {
            // A DNS lookup may still be blocked.
            runtime.shutdown_background();
        }
    }
}

impl ReadPartition for ChangesFollower {
    fn partitions(&mut self) -> Result<Vec<String>, ReadError> {
        // The source has a single partition.
        Ok(vec![String::new()])
    }

    fn open(&mut self, _: &str, position: Option<&[u8]>) -> Result<(), ReadError> {
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => {
                let built =
                    Builder::new_multi_thread().worker_threads(1).thread_name("postgres-changes").enable_all().build();
                built.map_err(|error| ReadError::Transient(format!("cannot start a runtime: {error}")))?
            }
        };
        let connection = runtime.block_on(self.begin(position));
        self.runtime = Some(runtime);
        self.open = Some(connection.map_err(|fault| self.read_error(fault))?);
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn poll(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadError> {
        let (Some(mut open), Some(runtime)) = (self.open.take(), &self.runtime) else {
            return Err(ReadError::Transient("it is not connected".into()));
        };
        fault::point("changes.poll");
        let read =
            runtime.block_on(self.read(&mut open, rows_max as usize, wait)).map_err(|fault| self.read_error(fault))?;
        self.open = Some(open);
        Ok(read)
    }

    fn has_more(&self) -> bool {
        let Some(open) = &self.open else { return false };
        open.at.stream.is_none_or(|(at, _)| open.backlog.is_left(at))
    }

    fn notes_are_batches(&self) -> bool {
        // So that the server can discard its log when other tables change and these do not.
        self.owner.is_some()
    }

    fn published(&mut self, position: &[u8]) -> Result<(), ReadError> {
        let at = ChangesPosition::parse(position).and_then(|at| at.stream);
        if let (Some((lsn, _)), Some(open)) = (at, &self.open) {
            open.replication.confirm(Lsn(lsn));
        }
        Ok(())
    }
}
