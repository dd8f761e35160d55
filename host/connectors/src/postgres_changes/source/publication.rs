//! Publications, which define what the log contains of tables: existing ones, and those that the job creates.

use super::catalog::FollowedTable;
use super::identity::hash;
use crate::postgres::{DatabaseError, DatabaseErrorKind, is_already_created, quoted};
use std::collections::BTreeMap;
use tokio_postgres::Client;

/// The first version of PostgreSQL that sends changes of partitions as those of their table.
const ROOTS_SINCE: i32 = 130_000;
/// The first version whose publications may omit rows and columns.
const FILTERS_SINCE: i32 = 150_000;
/// The first version whose publications may include generated columns.
const GENERATED_SINCE: i32 = 180_000;

/// The publication of a source.
pub struct Publication<'a> {
    pub name: &'a str,
    /// Whether the job creates it.
    pub is_ours: bool,
    /// Whether it may be created or changed, as nothing was read yet.
    pub may_make: bool,
    /// How to start again.
    pub restart_hint: &'a str,
}

impl Publication<'_> {
    /// Checks the publication, or creates one of these tables.
    pub async fn prepare(&self, client: &Client, tables: &mut [FollowedTable]) -> Result<(), DatabaseError> {
        let Publication { name, is_ours, may_make, restart_hint } = *self;
        let version: i32 =
            client.query_one("select pg_catalog.current_setting('server_version_num')::int4", &[]).await?.try_get(0)?;
        let found = client
            .query_opt("select 1 from pg_catalog.pg_publication where pubname = $1::text::name", &[&name])
            .await?;
        if found.is_none() && !(is_ours && may_make) {
            return Err(DatabaseError::permanent(match is_ours {
                true => format!(
                    "the publication `{name}`, which the job created, was deleted, and changes before it exists again cannot be read; \
                     {restart_hint}"
                ),
                false => format!(
                    "publication `{name}` does not exist; create it with `create publication`, or remove `publication`"
                ),
            }));
        }
        if is_ours && may_make {
            let missing = match found {
                Some(_) => self.missing_tables(client, tables).await?,
                None => tables.iter().map(FollowedTable::without_children).collect(),
            };
            self.make(client, found.is_some(), &missing, version).await?;
        }
        self.apply(client, tables, version).await
    }

    /// Creates it, or adds tables that it lost when they were dropped.
    async fn make(
        &self,
        client: &Client,
        is_there: bool,
        tables: &[String],
        version: i32,
    ) -> Result<(), DatabaseError> {
        let (name, list) = (quoted(self.name), tables.join(", "));
        let roots = if version >= ROOTS_SINCE { " with (publish_via_partition_root = true)" } else { "" };
        let make = match is_there {
            true if tables.is_empty() => return Ok(()),
            true => format!("alter publication {name} add table {list}"),
            false => format!("create publication {name} for table {list}{roots}"),
        };
        let created = match client.batch_execute(&make).await {
            // Another job created it at the same time.
            Err(error) if is_already_created(&error) => Ok(()),
            created => created.map_err(DatabaseError::from),
        };
        match created {
            Err(fault) if fault.kind == DatabaseErrorKind::Permanent => Err(DatabaseError::permanent(format!(
                "the job cannot create a publication: {}; let the owner of the tables run `create publication name for table {list}`, \
                 and set publication = \"name\"",
                fault.message
            ))),
            created => created,
        }
    }

    /// Returns the tables that it does not include, for statements.
    async fn missing_tables(&self, client: &Client, tables: &[FollowedTable]) -> Result<Vec<String>, DatabaseError> {
        let has = self.parts(client, 0).await?;
        let missing = tables.iter().filter(|table| !has.contains_key(&table.id));
        Ok(missing.map(FollowedTable::without_children).collect())
    }

    /// Returns what it includes of its tables, by their OIDs.
    async fn parts(&self, client: &Client, version: i32) -> Result<BTreeMap<u32, PublishedPart>, DatabaseError> {
        let parts =
            if version >= FILTERS_SINCE { "t.rowfilter, t.attnames::text[]" } else { "null::text, null::text[]" };
        let query = format!(
            "select c.oid, {parts}, coalesce(r.oid, 0::oid), pg_catalog.to_jsonb(r) ->> 'prattrs' \
             from pg_catalog.pg_publication_tables t join pg_catalog.pg_publication p on p.pubname = t.pubname \
             join pg_catalog.pg_namespace n on n.nspname = t.schemaname \
             join pg_catalog.pg_class c on c.relname = t.tablename and c.relnamespace = n.oid \
             left join pg_catalog.pg_publication_rel r on r.prpubid = p.oid and r.prrelid = c.oid \
             where t.pubname = $1::text::name"
        );
        let mut has = BTreeMap::new();
        for row in client.query(&query, &[&self.name]).await? {
            let part = PublishedPart {
                filter: row.try_get(1)?,
                columns: row.try_get(2)?,
                id: row.try_get(3)?,
                list: row.try_get(4)?,
            };
            has.insert(row.try_get(0)?, part);
        }
        Ok(has)
    }

    /// Applies to each table what the publication includes of it.
    async fn apply(&self, client: &Client, tables: &mut [FollowedTable], version: i32) -> Result<(), DatabaseError> {
        let has = self.parts(client, version).await?;
        for table in tables {
            let Some(part) = has.get(&table.id) else {
                return Err(DatabaseError::permanent(self.missing_message(table)));
            };
            table.filter.clone_from(&part.filter);
            (table.identity.published, table.identity.rows) = (part.id, hash(part.filter.as_deref()));
            table.identity.columns = hash(part.list.as_deref());
            if let Some(columns) = &part.columns {
                if version >= GENERATED_SINCE {
                    let given = table.generated.extract_if(.., |column| columns.contains(column));
                    table.columns.extend(given);
                }
                table.columns.retain(|column| columns.contains(column));
            }
        }
        Ok(())
    }

    /// Returns why it does not suffice for a table.
    fn missing_message(&self, table: &FollowedTable) -> String {
        let Publication { name, may_make, restart_hint, .. } = *self;
        let quoted_name = quoted(name);
        if table.is_partitioned {
            return format!(
                "the publication `{name}` does not have the table `{}`, or publishes the changes of its partitions \
                 under other names; fix that with `alter publication {quoted_name} add table {}` and `alter \
                 publication {quoted_name} set (publish_via_partition_root = true)`",
                table.name, table.quoted
            );
        }
        let add = format!("add it with `alter publication {quoted_name} add table {}`", table.quoted);
        match may_make {
            true => format!("the publication `{name}` does not have the table `{}`; {add}", table.name),
            false => format!(
                "publication `{name}` no longer has table `{}`, so its changes are not published; {add}, and {restart_hint}",
                table.name
            ),
        }
    }
}

/// What a publication includes of a table.
struct PublishedPart {
    filter: Option<String>,
    columns: Option<Vec<String>>,
    /// OID of the entry of the table.
    id: u32,
    /// The column list, if there is one.
    list: Option<String>,
}
