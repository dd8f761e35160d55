//! Everything that happens before the first row: what is there is looked at, and what is missing is made.

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
use millstream_base::job::database;
use millstream_base::job::spec::ServerStart;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use tracing::{info, warn};
use xxhash_rust::xxh3::xxh3_64;

/// For questions about tables and the like.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// For a slot: the server waits until all transactions have ended that are open.
const SLOT_MAX: Duration = Duration::from_secs(60);
/// What makes values look the same wherever they come from.
const SETTINGS: &str = "-c datestyle=ISO -c intervalstyle=postgres -c timezone=UTC -c extra_float_digits=3 -c bytea_output=hex \
     -c standard_conforming_strings=on -c statement_timeout=0 -c idle_in_transaction_session_timeout=0";
/// The code of PostgreSQL for slots that are all in use.
const NO_SLOT_FREE: &str = "53400";
/// Bytes of the name of a source within that of a slot.
const SOURCE_BYTES_MAX: usize = 34;

/// The name of a slot: PostgreSQL allows small letters, digits and `_`.
pub fn slot_name(job_id: &str, source: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let source = match source.bytes().all(is_plain) && source.len() <= SOURCE_BYTES_MAX {
        true => source.to_owned(),
        false => format!("{:016x}", xxh3_64(source.as_bytes())),
    };
    format!("millstream_{}_{source}", job_id.get(..16).unwrap_or(job_id))
}

impl ChangesFollower {
    pub(super) fn connection(&self, name: Option<String>) -> Result<Connection, DatabaseError> {
        let mut database = database::config(&self.url).map_err(DatabaseError::lasting)?;
        let options = database.config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
        database.config.options(format!("{options}{SETTINGS}"));
        if let Some(name) = name {
            database.config.application_name(name);
        }
        Ok(Connection::new(database))
    }

    /// Everything up to the stream, or to the first row of a snapshot.
    pub(super) async fn begin(&self, position: Option<&[u8]>) -> Result<ChangesConnection, DatabaseError> {
        let (client, driver) = self.connection(None)?.connect().await?;
        let looked = async {
            let (tables, at) = self.look(&client, position).await?;
            let partitions = partitions::of(&client, &tables).await?;
            Ok::<_, DatabaseError>((tables, partitions, at))
        };
        let looked = DatabaseError::within(ANSWER_MAX, "when asked for tables and slot", looked).await;
        let (tables, partitions, at) = looked?;
        let name = self.owner.as_ref().map(|owner| catalog::reader_name(&owner.job_id, owner.generation.0));
        let mut replication = self.connection(name)?.replicate().await?;
        let (at, snapshot) = self.position(&mut replication, (client, driver), &tables, at).await?;
        let end = DatabaseError::within(ANSWER_MAX, "when asked for the end of its log", replication.end()).await?;
        let mut open = ChangesConnection {
            tables,
            at,
            replication,
            snapshot,
            relations: BTreeMap::new(),
            transaction: None,
            is_in_doubt: false,
            watch: TableWatch::new(partitions),
            noted: Instant::now(),
            backlog: Backlog::up_to(end.0),
        };
        if open.snapshot.is_none() {
            self.stream(&mut open).await?;
        }
        Ok(open)
    }

    /// Looks whether all is there. Where the job goes on; `None`: at the beginning.
    async fn look(
        &self,
        client: &Client,
        position: Option<&[u8]>,
    ) -> Result<(Vec<FollowedTable>, Option<ChangesPosition>), DatabaseError> {
        let lasting = |what: String| Err(DatabaseError::lasting(what));
        catalog::check_level(client).await?;
        let at = match position.map(ChangesPosition::parse) {
            None => None,
            Some(None) => return lasting("its position is not of this kind".into()),
            Some(Some(_)) if self.owner.is_none() => {
                return lasting(
                    "the connection was lost, and without [checkpoint] the changes since are lost as well; start the job again, or give it \
                     a [checkpoint]"
                        .into(),
                );
            }
            Some(Some(at)) if at.tables != self.reads.tables => {
                return lasting(format!(
                    "the job has followed the tables {}, and its file names {}; give the source another name to begin with the rows that \
                     all of these have",
                    at.tables.join(", "),
                    self.reads.tables.join(", ")
                ));
            }
            Some(at) => at,
        };
        let (tables, at) = self.look_at_tables(client, at).await?;
        for table in &tables {
            self.check_columns(table, &table.columns)?;
            self.check_keys(table)?;
            let needs_key = match &at {
                None => self.reads.start == ServerStart::Earliest,
                Some(at) => at.stream.is_none(),
            };
            if let Some(key) = table.key.iter().find(|key| needs_key && !table.columns.contains(&key.name)) {
                return lasting(format!(
                    "the key of table `{}` has column `{}`, which is not published: it is generated, or the publication omits it; give the \
                     table another key, or set start = \"latest\" to read changes only",
                    table.name, key.name
                ));
            }
            if needs_key && table.key.is_empty() {
                return lasting(format!(
                    "the table `{0}` has no primary key, so its rows cannot be read in an order; give it one, or write start = \"latest\" to \
                     read changes only",
                    table.name
                ));
            }
        }
        let Some(owner) = &self.owner else { return Ok((tables, at)) };
        catalog::take(client, &self.slot, owner.generation.0).await?;
        let slot = catalog::slot(client, &self.slot).await?;
        let name = &self.slot;
        let again = "give the source another name to begin again with the rows that the tables have";
        match (&slot, &at) {
            (Some(slot), _) if slot.plugin != "pgoutput" || !slot.database_is_ours => {
                return lasting(format!(
                    "the slot `{name}` is of another database or plugin, and not this job's; drop it"
                ));
            }
            (None, Some(_)) => {
                return lasting(format!(
                    "the slot `{name}` was deleted, and with it the changes since the last read; {again}"
                ));
            }
            (Some(slot), Some(_)) if slot.is_lost => {
                return lasting(format!(
                    "the server has deleted changes that the job had not read yet (max_slot_wal_keep_size); {again}, and drop the slot \
                     `{name}`"
                ));
            }
            (Some(slot), Some(at)) if at.needed().is_some_and(|needed| slot.confirmed > needed) => {
                return lasting(format!(
                    "another client has moved the slot `{name}` to {}, and the job has read up to {}; {again}",
                    slot.confirmed,
                    at.needed().unwrap_or_default()
                ));
            }
            (Some(slot), None) if self.reads.start == ServerStart::Latest => {
                // An earlier start made it and came no further.
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

    /// The tables as they are now, and the position with what tells them from others.
    pub(super) async fn look_at_tables(
        &self,
        client: &Client,
        at: Option<ChangesPosition>,
    ) -> Result<(Vec<FollowedTable>, Option<ChangesPosition>), DatabaseError> {
        let (names, again) = (&self.reads.tables, self.again());
        if let Some(at) = &at {
            identity::check_names(client, names, &at.ids, &self.publication, &again).await?;
        }
        let mut tables = catalog::tables(client, names).await?;
        let (name, is_ours) = (self.publication.as_str(), self.reads.publication.is_none());
        Publication { name, is_ours, may_make: at.is_none(), again: &again }.look(client, &mut tables).await?;
        let Some(mut at) = at else { return Ok((tables, None)) };
        identity::check_published(&tables, &at.ids, &self.publication, &again)?;
        if at.ids.is_empty() && at.since.is_none() && self.reads.start == ServerStart::Earliest {
            // An earlier version began, which did not note it.
            at.since = Some(partitions::now(client).await?);
        }
        if let Some(since) = &at.since {
            partitions::check_attached(client, &tables, since, &again).await?;
        }
        at.ids = tables.iter().map(|table| table.identity).collect();
        Ok((tables, Some(at)))
    }

    /// What to do to begin with the rows that the tables have.
    pub(super) fn again(&self) -> String {
        let how = match self.owner {
            Some(_) => format!("restart the job with `--drop-state {}`", self.source),
            None => "restart the job".to_owned(),
        };
        match self.reads.start {
            ServerStart::Latest => format!("{how} to follow the tables as they are now (changes until then are lost)"),
            _ => format!(
                "{how} to begin again with the rows that the source's tables have now (sinks keep those that they got before)"
            ),
        }
    }

    /// Whether the table has all that the job wants of it.
    pub(super) fn check_columns(&self, table: &FollowedTable, has: &[String]) -> Result<(), DatabaseError> {
        let mut wanted = self.wanted.now.keys().chain(self.wanted.before.keys());
        if let Some(column) = wanted.find(|column| !has.contains(column)) {
            if table.generated.contains(column) {
                return Err(DatabaseError::lasting(format!(
                    "column `{column}` of table `{}` is generated, and PostgreSQL does not publish generated columns; remove it from the \
                     source's `schema` and compute it in a stage",
                    table.name
                )));
            }
            return Err(DatabaseError::lasting(format!(
                "the table `{}` has no column `{column}` (any longer, or not in the publication), and the source's `schema` has; remove it \
                 there, or rename it with path = \"name\"",
                table.name
            )));
        }
        match !self.wanted.before.is_empty() && has.iter().any(|column| column == BEFORE) {
            true => Err(DatabaseError::lasting(format!(
                "the table `{}` has a column `{BEFORE}`, so that `path = \"{BEFORE}.…\"` may mean that or the row as it was before; rename it",
                table.name
            ))),
            false => Ok(()),
        }
    }

    /// Whether deletes carry the columns by which the job keeps rows, and updates of them come as a delete and an insert.
    fn check_keys(&self, table: &FollowedTable) -> Result<(), DatabaseError> {
        let own: Vec<&str> = table.key.iter().map(|key| key.name.as_str()).collect();
        for key in self.reads.keys.iter().filter(|_| !own.is_empty()) {
            if let Some(column) = key.columns.iter().find(|column| !own.contains(&column.as_str())) {
                return Err(DatabaseError::lasting(format!(
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

    /// Makes the slot, where the job begins, and the snapshot, where rows are left to read.
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
            // Its own slot is where the changes come from that are behind the rows that it has.
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
        let what = "to a new slot: the server waits until all transactions have ended that are open";
        let made = match DatabaseError::within(SLOT_MAX, what, replication.query(&make)).await {
            Err(fault) if fault.has_code(NO_SLOT_FREE) => {
                let job = self.owner.as_ref().map_or("", |owner| owner.job_id.as_str());
                return Err(DatabaseError::passing(catalog::slots_used_up(&client.0, job).await?));
            }
            made => made?,
        };
        let words = made.into_iter().next().unwrap_or_default();
        let word = |place: usize| words.get(place).cloned().flatten();
        let lsn = word(1).and_then(|lsn| Lsn::parse(&lsn));
        let lsn = lsn.ok_or_else(|| DatabaseError::lasting("the server does not say where its slot begins".into()))?;
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
        let name = word(2).ok_or_else(|| DatabaseError::lasting("the server gave its snapshot no name".into()))?;
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
