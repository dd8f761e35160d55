//! Everything before the first row: checks existing objects and creates missing ones.

use super::catalog::{self, FollowedTable};
use super::position::ChangesPosition;
use super::publication::Publication;
use super::record::BEFORE;
use super::snapshot::SnapshotReader;
use super::watch::TableWatch;
use super::{Backlog, ChangesConnection, ChangesFollower};
use super::{identity, partitions};
use crate::postgres::replication::{Lsn, Replication};
use crate::postgres::{Connection, DatabaseError, Driver, quoted};
use millstream_job::database;
use millstream_job::spec::ServerStart;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use tracing::{info, warn};
use xxhash_rust::xxh3::xxh3_64;

/// Timeout of queries about tables and the like.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout of the slot's creation: the server waits until all open transactions have ended.
const SLOT_MAX: Duration = Duration::from_secs(60);
/// Session settings that make the text form of values independent of the server.
const SETTINGS: &str = "-c datestyle=ISO -c intervalstyle=postgres -c timezone=UTC -c extra_float_digits=3 -c bytea_output=hex \
     -c standard_conforming_strings=on -c statement_timeout=0 -c idle_in_transaction_session_timeout=0";
/// PostgreSQL's error code if all slots are in use.
const NO_SLOT_FREE: &str = "53400";
/// Maximum bytes of the source's name within that of a slot.
const SOURCE_BYTES_MAX: usize = 34;

/// Returns the name of a slot: PostgreSQL allows lowercase letters, digits and `_`.
pub fn slot_name(job_id: &str, source: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let source = match source.bytes().all(is_plain) && source.len() <= SOURCE_BYTES_MAX {
        true => source.to_owned(),
        false => format!("{:016x}", xxh3_64(source.as_bytes())),
    };
    format!("millstream_{}_{source}", job_id.get(..16).unwrap_or(job_id))
}

impl ChangesFollower {
    /// Connects for queries.
    pub(super) async fn connect(&self) -> Result<(Client, Driver), DatabaseError> {
        let connection = self.connection(None)?;
        connection.connect().await.map_err(|fault| fault.at(&connection.server_name()))
    }

    pub(super) fn connection(&self, name: Option<String>) -> Result<Connection, DatabaseError> {
        let mut database = database::config(&self.url).map_err(DatabaseError::permanent)?;
        let options = database.config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
        database.config.options(format!("{options}{SETTINGS}"));
        if let Some(name) = name {
            database.config.application_name(name);
        }
        Ok(Connection::new(database))
    }

    /// Does everything up to the stream, or to the first row of a snapshot.
    pub(super) async fn begin(&self, position: Option<&[u8]>) -> Result<ChangesConnection, DatabaseError> {
        let (client, driver) = self.connect().await?;
        let described = async {
            let (tables, at) = self.check_server(&client, position).await?;
            let partitions = partitions::current(&client, &tables).await?;
            Ok::<_, DatabaseError>((tables, partitions, at))
        };
        let described = DatabaseError::within(RESPONSE_TIMEOUT, "when queried for tables and slot", described).await;
        let (tables, partitions, at) = described?;
        let name = self.owner.as_ref().map(|owner| catalog::reader_name(&owner.job_id, owner.generation.0));
        let connection = self.connection(name)?;
        let replicated = connection.replicate().await;
        let mut replication = replicated.map_err(|fault| fault.at(&connection.server_name()))?;
        let (at, snapshot) = self.position(&mut replication, (client, driver), &tables, at).await?;
        let end =
            DatabaseError::within(RESPONSE_TIMEOUT, "when queried for the end of its log", replication.end()).await?;
        let mut open = ChangesConnection {
            tables,
            at,
            replication,
            snapshot,
            relations: BTreeMap::new(),
            transaction: None,
            is_in_doubt: false,
            watch: TableWatch::new(partitions),
            last_recorded: Instant::now(),
            backlog: Backlog::up_to(end.0),
        };
        if open.snapshot.is_none() {
            self.stream(&mut open).await?;
        }
        Ok(open)
    }

    /// Checks that everything exists. Returns the position to resume from; `None`: from the beginning.
    async fn check_server(
        &self,
        client: &Client,
        position: Option<&[u8]>,
    ) -> Result<(Vec<FollowedTable>, Option<ChangesPosition>), DatabaseError> {
        let permanent = |what: String| Err(DatabaseError::permanent(what));
        catalog::check_wal_level(client).await?;
        let at = match position.map(ChangesPosition::parse) {
            None => None,
            Some(None) => return permanent("its position is not of this kind".into()),
            Some(Some(_)) if self.owner.is_none() => {
                return permanent(
                    "the connection was lost, and without [checkpoint] later changes are lost as well; restart the \
                     job, or add [checkpoint]"
                        .into(),
                );
            }
            Some(Some(at)) if at.tables != self.reads.tables => {
                return permanent(format!(
                    "the job has followed the tables {}, but its file names {}; {}",
                    at.tables.join(", "),
                    self.reads.tables.join(", "),
                    self.restart_hint()
                ));
            }
            Some(at) => at,
        };
        let (tables, at) = self.describe_tables(client, at).await?;
        for table in &tables {
            self.check_columns(table, &table.columns)?;
            self.check_keys(table)?;
            let needs_key = match &at {
                None => self.reads.start == ServerStart::Earliest,
                Some(at) => at.stream.is_none(),
            };
            if let Some(key) = table.key.iter().find(|key| needs_key && !table.columns.contains(&key.name)) {
                return permanent(format!(
                    "the key of table `{}` has column `{}`, which is not published: it is generated, or the \
                     publication omits it; change the table's key, or set start = \"latest\" to read changes only",
                    table.name, key.name
                ));
            }
            if needs_key && table.key.is_empty() {
                return permanent(format!(
                    "the table `{0}` has no primary key, so its rows cannot be read in order; add a primary key, or \
                     write start = \"latest\" to read changes only",
                    table.name
                ));
            }
        }
        let Some(owner) = &self.owner else { return Ok((tables, at)) };
        catalog::take(client, &self.slot, owner.generation.0).await?;
        let slot = catalog::slot(client, &self.slot).await?;
        let name = &self.slot;
        let restart_hint = self.restart_hint();
        match (&slot, &at) {
            (Some(slot), _) if slot.plugin != "pgoutput" || !slot.database_is_ours => {
                return permanent(format!(
                    "the slot `{name}` is of another database or plugin, and not this job's; drop it"
                ));
            }
            (None, Some(_)) => {
                return permanent(format!(
                    "the slot `{name}` was deleted, and with it the changes since the last read; {restart_hint}"
                ));
            }
            (Some(slot), Some(_)) if slot.is_lost => {
                return permanent(format!(
                    "the server has deleted changes that the job had not read yet (max_slot_wal_keep_size); {restart_hint}, and drop the slot \
                     `{name}`"
                ));
            }
            (Some(slot), Some(at)) if at.needed().is_some_and(|needed| slot.confirmed > needed) => {
                return permanent(format!(
                    "another client has moved the slot `{name}` to {}, and the job has read up to {}; {restart_hint}",
                    slot.confirmed,
                    at.needed().unwrap_or_default()
                ));
            }
            (Some(slot), None) if self.reads.start == ServerStart::Latest => {
                // An earlier run created it and got no further.
                let mut from = ChangesPosition::beginning(self.reads.tables.clone(), slot.confirmed, false);
                from.ids = tables.iter().map(|table| table.identity).collect();
                return Ok((tables, Some(from)));
            }
            (Some(_), None) => {
                client.query("select pg_catalog.pg_drop_replication_slot($1::text::name)", &[name]).await?;
            }
            _ => {}
        }
        Ok((tables, at))
    }

    /// Returns the current tables, and the position with their identities.
    pub(super) async fn describe_tables(
        &self,
        client: &Client,
        at: Option<ChangesPosition>,
    ) -> Result<(Vec<FollowedTable>, Option<ChangesPosition>), DatabaseError> {
        let (names, restart_hint) = (&self.reads.tables, self.restart_hint());
        if let Some(at) = &at {
            identity::check_names(client, names, &at.ids, &self.publication, &restart_hint).await?;
        }
        let mut tables = catalog::tables(client, names).await?;
        let (name, is_ours) = (self.publication.as_str(), self.reads.publication.is_none());
        Publication { name, is_ours, may_make: at.is_none(), restart_hint: &restart_hint }
            .prepare(client, &mut tables)
            .await?;
        let Some(mut at) = at else { return Ok((tables, None)) };
        identity::check_published(&tables, &at.ids, &self.publication, &restart_hint)?;
        if at.ids.is_empty() && at.since.is_none() && self.reads.start == ServerStart::Earliest {
            // An earlier version began without recording it.
            at.since = Some(partitions::now(client).await?);
        }
        if let Some(since) = &at.since {
            partitions::check_attached(client, &tables, since, &restart_hint).await?;
        }
        at.ids = tables.iter().map(|table| table.identity).collect();
        Ok((tables, Some(at)))
    }

    /// Returns what to do to start from the tables' existing rows.
    pub(super) fn restart_hint(&self) -> String {
        let how = match self.owner {
            Some(_) => format!("restart the job with `--drop-state {}`", self.source),
            None => "restart the job".to_owned(),
        };
        match self.reads.start {
            ServerStart::Latest => format!("{how} to follow the tables as they are now (changes until then are lost)"),
            _ => format!("{how} to begin again with the existing rows (sinks keep the rows that they already have)"),
        }
    }

    /// Checks that the table has all columns that the job requires.
    pub(super) fn check_columns(&self, table: &FollowedTable, has: &[String]) -> Result<(), DatabaseError> {
        let mut wanted = self.wanted.now.keys().chain(self.wanted.before.keys());
        if let Some(column) = wanted.find(|column| !has.contains(column)) {
            if table.generated.contains(column) {
                return Err(DatabaseError::permanent(format!(
                    "column `{column}` of table `{}` is generated, and PostgreSQL does not publish generated columns; remove it from the \
                     source's `schema` and compute it in a stage",
                    table.name
                )));
            }
            return Err(DatabaseError::permanent(format!(
                "the table `{}` has no column `{column}` (any longer, or not in the publication), but the source's \
                 `schema` has; remove it there, or rename it with path = \"name\"",
                table.name
            )));
        }
        match !self.wanted.before.is_empty() && has.iter().any(|column| column == BEFORE) {
            true => Err(DatabaseError::permanent(format!(
                "the table `{}` has a column `{BEFORE}`, so `path = \"{BEFORE}.…\"` is ambiguous: it also means the \
                previous row; rename the column",
                table.name
            ))),
            false => Ok(()),
        }
    }

    /// Checks that deletes include the columns by which the job keeps rows, and that updates of them come as a delete and an insert.
    fn check_keys(&self, table: &FollowedTable) -> Result<(), DatabaseError> {
        let own: Vec<&str> = table.key.iter().map(|key| key.name.as_str()).collect();
        for key in self.reads.keys.iter().filter(|_| !own.is_empty()) {
            if let Some(column) = key.columns.iter().find(|column| !own.contains(&column.as_str())) {
                return Err(DatabaseError::permanent(format!(
                    "{} keeps rows of the table `{}` by `{column}`, which is not part of the table's key ({}), so a delete does not carry it; use \
                     the table's key there, or first a stage with latest = true and the table's key",
                    key.who,
                    table.name,
                    own.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// Creates the slot at which the job begins, and the snapshot if rows remain to be read.
    async fn position(
        &self,
        replication: &mut Replication,
        client: (Client, Driver),
        tables: &[FollowedTable],
        at: Option<ChangesPosition>,
    ) -> Result<(ChangesPosition, Option<SnapshotReader>), DatabaseError> {
        let wants_rows = match &at {
            None => self.reads.start == ServerStart::Earliest,
            Some(at) => at.stream.is_none(),
        };
        let (slot, temporary) = match (&at, &self.owner) {
            (None, Some(_)) => (self.slot.clone(), ""),
            (None, None) => (self.slot.clone(), " TEMPORARY"),
            // The job's own slot provides the changes after the rows that it already has.
            (Some(_), _) => (
                format!("millstream_snapshot_{}_{:x}", std::process::id(), millstream_base::time::now().0),
                " TEMPORARY",
            ),
        };
        if let (Some(at), false) = (&at, wants_rows) {
            return Ok((at.clone(), None));
        }
        let export = if wants_rows { "EXPORT_SNAPSHOT" } else { "NOEXPORT_SNAPSHOT" };
        let make = format!("CREATE_REPLICATION_SLOT {}{temporary} LOGICAL pgoutput {export}", quoted(&slot));
        let what = "to a new slot: the server waits for the end of all open transactions";
        let created = match DatabaseError::within(SLOT_MAX, what, replication.query(&make)).await {
            Err(fault) if fault.has_code(NO_SLOT_FREE) => {
                let job = self.owner.as_ref().map_or("", |owner| owner.job_id.as_str());
                return Err(DatabaseError::transient(catalog::no_free_slot_message(&client.0, job).await?));
            }
            created => created?,
        };
        let values = created.into_iter().next().unwrap_or_default();
        let value = |index: usize| values.get(index).cloned().flatten();
        let lsn = value(1).and_then(|lsn| Lsn::parse(&lsn));
        let lsn =
            lsn.ok_or_else(|| DatabaseError::permanent("the server did not return the position of its slot".into()))?;
        if at.is_none() && self.owner.is_some() {
            info!(
                "source `{}`: created the slot `{slot}` at {lsn}; the server keeps its log for it until it is dropped",
                self.source
            );
        }
        let mut at_now =
            at.clone().unwrap_or_else(|| ChangesPosition::beginning(self.reads.tables.clone(), lsn, wants_rows));
        at_now.ids = tables.iter().map(|table| table.identity).collect();
        if !wants_rows {
            return Ok((at_now, None));
        }
        if at.is_some() {
            at_now.next_snapshot(lsn);
        }
        let name = value(2).ok_or_else(|| DatabaseError::permanent("the server did not name its snapshot".into()))?;
        for (table, children) in catalog::children(&client.0, tables).await? {
            warn!(
                "source `{}`: tables inherit from `{table}` ({children}); their rows and changes are not read; to follow them, add them to \
                 `table`",
                self.source
            );
        }
        let reader = SnapshotReader::begin(client, &name, lsn, at_now.read_to().cloned()).await?;
        at_now.since.get_or_insert_with(|| reader.shows().to_owned());
        if at.is_some() {
            replication.query(&format!("DROP_REPLICATION_SLOT {}", quoted(&slot))).await?;
        }
        info!("source `{}`: reads the rows that {} has at {lsn}", self.source, names(tables));
        Ok((at_now, Some(reader)))
    }
}

fn names(tables: &[FollowedTable]) -> String {
    tables.iter().map(|table| format!("`{}`", table.name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_have_names_that_postgresql_takes() {
        let job = "0123456789abcdef0123456789abcdef";
        assert_eq!(slot_name(job, "orders_2"), "millstream_0123456789abcdef_orders_2");
        for source in ["Orders", "a-b", &"x".repeat(60)] {
            let name = slot_name(job, source);
            assert!(
                name.len() <= 63 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{name}"
            );
        }
        assert_ne!(slot_name(job, "a-b"), slot_name(job, "a-c"));
    }
}
