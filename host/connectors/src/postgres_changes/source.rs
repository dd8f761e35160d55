//! Changes of tables of PostgreSQL, by logical replication: the rows that the tables have, and then every transaction in the order of the
//! commits. See `changes/place` for how each comes once.
//!
//! The slot belongs to the job and the source and stays when the job ends. It is told what a published checkpoint holds, and not what a plan
//! does: a start that lost its job may still plan, but cannot publish, and what a slot was told is safe is gone.

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
use crate::postgres::replication::{Lsn, Replication, Streamed};
use crate::postgres::{DatabaseError, DatabaseErrorKind, quoted};
use crate::receiver::polled::backlog::Backlog;
use futures_util::FutureExt as _;
use millstream_base::batch::reading::{ReadContent, ReadPartition, ReadRows, ReadTrouble};
use millstream_base::error::Error;
use millstream_base::fault;
use millstream_base::job::spec::SourceSpec;
use millstream_base::owner::Owner;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tracing::info;
use xxhash_rust::xxh3::xxh3_64;

/// About how many bytes of rows go into a batch together.
const POLL_BYTES: usize = 1 << 20;
/// How long rows wait for more of them.
const MORE_WITHIN: Duration = Duration::from_millis(5);
/// How long changes gather where some have come and no more are there.
const GATHERED_FOR: Duration = Duration::from_millis(1);
/// How long changes are passed over, which were read before, until the job is heard again.
const PASSING_MAX: Duration = Duration::from_secs(5);
/// How often the job notes how far a log has been read that has no rows for it, so that the server need not keep it.
const NOTE_EVERY: Duration = Duration::from_secs(10);
/// How long the server may need until it has the first rows of a table in their order.
const SORTED_WITHIN: Duration = Duration::from_secs(10);

/// Follows the changes of tables of a database by logical replication.
pub struct ChangesFollower {
    source: String,
    reads: ChangesReads,
    url: String,
    wanted: WantedColumns,
    /// `None`: nothing is kept of the job, so its slot goes with its connection.
    owner: Option<Owner>,
    slot: String,
    publication: String,
    /// Of its own: that of the job ends before its threads do. `None`: nobody was asked yet.
    runtime: Option<Runtime>,
    open: Option<ChangesConnection>,
}

/// A connection of a follower, and how far it has read over it.
struct ChangesConnection {
    tables: Vec<FollowedTable>,
    at: ChangesPosition,
    replication: Replication,
    snapshot: Option<SnapshotReader>,
    /// Of tables that are followed.
    relations: BTreeMap<u32, (usize, Relation)>,
    transaction: Option<Transaction>,
    /// Whether a table came that lacked a column, which may have been added later or is gone, or one that has another name, or the name of
    /// another.
    is_in_doubt: bool,
    watch: TableWatch,
    /// When a position without rows was given last.
    noted: Instant,
    /// Places of the log.
    backlog: Backlog,
}

/// A transaction that is coming.
#[derive(Clone, Copy)]
struct Transaction {
    commit: Lsn,
    time_us: i64,
    /// Changes that came.
    changes: u64,
    /// Of which so many were read before.
    known: u64,
}

impl ChangesFollower {
    /// One who follows the tables of this source, or the key that is wrong and why.
    pub fn of(source: &SourceSpec, reads: &ChangesReads, owner: Option<&Owner>) -> ChangesFollower {
        let slot = match owner {
            Some(owner) => begin::slot_name(&owner.job_id, &source.name),
            // It is gone with the connection, whoever else has the same.
            None => format!("millstream_tmp_{}_{:x}", std::process::id(), millstream_base::time::now().0),
        };
        let ours = || format!("millstream_{:016x}", xxh3_64(reads.tables.join("\n").as_bytes()));
        ChangesFollower {
            source: source.name.clone(),
            reads: reads.clone(),
            url: reads.url.0.clone(),
            wanted: WantedColumns::by(source),
            owner: owner.cloned(),
            slot,
            publication: reads.publication.clone().unwrap_or_else(ours),
            runtime: None,
            open: None,
        }
    }

    fn told(&self, fault: DatabaseError) -> ReadTrouble {
        let message = || format!("source `{}`: {}", self.source, fault.message);
        match fault.kind {
            DatabaseErrorKind::Passing => ReadTrouble::Passing(fault.message),
            DatabaseErrorKind::TakenOver => ReadTrouble::Lasting(Error::taken_over(message())),
            _ => ReadTrouble::Lasting(Error::job(message())),
        }
    }

    async fn stream(&self, open: &mut ChangesConnection) -> Result<(), DatabaseError> {
        let from = open.at.needed().unwrap_or_default();
        open.replication.stream(&self.slot, from, &self.publication).await
    }

    /// Rows of the snapshot.
    async fn rows(&self, open: &mut ChangesConnection, rows_max: usize) -> Result<PolledChanges, DatabaseError> {
        let mut read = PolledChanges::default();
        let Some(snapshot) = &mut open.snapshot else { return Ok(read) };
        while read.rows() < rows_max && read.bytes < POLL_BYTES {
            let left = if read.rows() == 0 { SORTED_WITHIN } else { MORE_WITHIN };
            let Ok(next) = tokio::time::timeout(left, snapshot.next(&open.tables)).await else { break };
            let Some((place, values)) = next? else {
                // What is read next are changes.
                let first = open.at.needed().unwrap_or_default();
                open.at.snapshot_ends(first);
                open.snapshot = None;
                info!("source `{}`: all rows are read; changes follow", self.source);
                self.stream(open).await?;
                break;
            };
            let Some(table) = open.tables.get(place.table) else { break };
            if !values.is_empty() {
                read.put_row(&self.wanted, table, values, snapshot);
            }
            open.at.read(place);
        }
        Ok(read)
    }

    /// Changes.
    async fn changes(
        &self,
        open: &mut ChangesConnection,
        rows_max: usize,
        wait: Duration,
    ) -> Result<(PolledChanges, bool), DatabaseError> {
        let mut read = PolledChanges::default();
        let (began, mut until, mut at_once) = (Instant::now(), Instant::now() + wait, false);
        // A change may be two rows.
        while read.rows() + 1 < rows_max.max(2) && read.bytes < POLL_BYTES {
            let next = match open.replication.next().now_or_never() {
                Some(next) => next,
                None => {
                    let left = match read.rows() {
                        0 => until.saturating_duration_since(Instant::now()),
                        // What trickles in is not waited for without end.
                        _ if Instant::now() >= until => break,
                        _ => {
                            // Servers send each change by itself, and waking for it takes longer than all else that is done with it.
                            tokio::time::sleep(GATHERED_FOR).await;
                            MORE_WITHIN
                        }
                    };
                    let Ok(next) = tokio::time::timeout(left, open.replication.next()).await else { break };
                    next
                }
            };
            open.backlog.hear();
            match next? {
                Streamed::Until(lsn, wants_answer) => {
                    if open.transaction.is_none() {
                        open.at.passed(lsn);
                    }
                    at_once |= wants_answer;
                    if wants_answer {
                        open.replication.tell();
                    }
                }
                Streamed::Message(body) => {
                    let decoded = pgoutput::read(body);
                    let decoded =
                        decoded.ok_or_else(|| DatabaseError::lasting("what it streams is not of pgoutput".into()))?;
                    self.take(open, decoded, &mut read)?;
                    if std::mem::take(&mut open.is_in_doubt) {
                        self.watch(open, true).await?;
                    }
                    if read.rows() == 0 && began.elapsed() < PASSING_MAX {
                        until = Instant::now() + wait;
                    }
                }
            }
        }
        Ok((read, at_once))
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
                open.at.passed(commit);
                open.transaction = Some(Transaction { commit, time_us, changes: 0, known });
            }
            ReplicationMessage::Commit { end } => {
                open.transaction = None;
                open.at.passed(end);
            }
            ReplicationMessage::Relation(relation) => {
                let (schema, name) = &relation.name;
                let name = format!("{}.{}", quoted(schema), quoted(name));
                let Some(place) = open.tables.iter().position(|table| table.id == relation.id) else {
                    open.is_in_doubt |= open.tables.iter().any(|table| table.quoted == name);
                    return Ok(());
                };
                open.is_in_doubt |= open
                    .tables
                    .get(place)
                    .is_some_and(|table| table.quoted != name || self.check_columns(table, &relation.columns).is_err());
                open.relations.insert(relation.id, (place, relation));
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
            return Err(DatabaseError::lasting("a change came outside of a transaction".into()));
        };
        transaction.changes += 1;
        if transaction.changes <= transaction.known {
            return Ok(());
        }
        let transaction = *transaction;
        open.at.changed(transaction.commit, transaction.changes);
        for relation in of {
            let Some((place, relation)) = open.relations.get(relation) else { continue };
            let Some(table) = open.tables.get(*place) else { continue };
            let changed =
                ChangedTable { wanted: &self.wanted, table, relation, place: *place, transaction, at: &open.at };
            changed.put(change, read).map_err(DatabaseError::lasting)?;
        }
        Ok(())
    }

    /// One poll, of rows that are there or of changes.
    async fn read(
        &self,
        open: &mut ChangesConnection,
        rows_max: usize,
        wait: Duration,
    ) -> Result<ReadRows, DatabaseError> {
        self.watch(open, false).await?;
        let (read, at_once) = match open.snapshot.is_some() {
            true => (self.rows(open, rows_max).await?, false),
            false => {
                if self.owner.is_none() {
                    // Nobody would come back for it.
                    open.replication.confirm(open.at.needed().unwrap_or_default());
                }
                self.changes(open, rows_max, wait).await?
            }
        };
        let due = read.rows() > 0 || open.snapshot.is_some() || at_once || open.noted.elapsed() >= NOTE_EVERY;
        if due {
            open.noted = Instant::now();
        }
        let position = due.then(|| open.at.written());
        let content = ReadContent::Messages(read.messages);
        Ok(ReadRows { content, refused: read.refused, position, pause: Some(Duration::ZERO) })
    }
}

impl Drop for ChangesFollower {
    fn drop(&mut self) {
        self.open = None;
        if let Some(runtime) = self.runtime.take() {
            // A look-up of the host's name may still hang.
            runtime.shutdown_background();
        }
    }
}

impl ReadPartition for ChangesFollower {
    fn partitions(&mut self) -> Result<Vec<String>, ReadTrouble> {
        // Their order is one.
        Ok(vec![String::new()])
    }

    fn open(&mut self, _: &str, position: Option<&[u8]>) -> Result<(), ReadTrouble> {
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => {
                let built =
                    Builder::new_multi_thread().worker_threads(1).thread_name("postgres-changes").enable_all().build();
                built.map_err(|error| ReadTrouble::Passing(format!("cannot start a runtime: {error}")))?
            }
        };
        let begun = runtime.block_on(self.begin(position));
        self.runtime = Some(runtime);
        self.open = Some(begun.map_err(|fault| self.told(fault))?);
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn poll(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadTrouble> {
        let (Some(mut open), Some(runtime)) = (self.open.take(), &self.runtime) else {
            return Err(ReadTrouble::Passing("it is not connected".into()));
        };
        fault::point("changes.poll");
        let read = runtime.block_on(self.read(&mut open, rows_max as usize, wait)).map_err(|fault| self.told(fault))?;
        self.open = Some(open);
        Ok(read)
    }

    fn has_more(&self) -> bool {
        let Some(open) = &self.open else { return false };
        open.at.stream.is_none_or(|(at, _)| open.backlog.is_left(at))
    }

    fn notes_are_batches(&self) -> bool {
        // So that the server need not keep its log where other tables change and these do not.
        self.owner.is_some()
    }

    fn published(&mut self, position: &[u8]) -> Result<(), ReadTrouble> {
        let at = ChangesPosition::parse(position).and_then(|at| at.stream);
        if let (Some((lsn, _)), Some(open)) = (at, &self.open) {
            open.replication.confirm(Lsn(lsn));
        }
        Ok(())
    }
}
