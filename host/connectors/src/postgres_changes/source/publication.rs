//! Publications, which say what the log gives of tables: those that are there, and those that the job makes.

use super::catalog::FollowedTable;
use super::identity::hash;
use crate::postgres::{DatabaseError, DatabaseErrorKind, quoted};
use std::collections::BTreeMap;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// The first version of PostgreSQL that sends changes of partitions as those of their table.
const WITH_ROOTS: i32 = 130_000;
/// The first one whose publications may leave out rows and columns.
const WITH_PARTS: i32 = 150_000;
/// The first one whose publications may have generated columns.
const WITH_GENERATED: i32 = 180_000;

/// A publication that a source reads by.
pub struct Publication<'a> {
    pub name: &'a str,
    /// The job makes it.
    pub is_ours: bool,
    /// Nothing was read yet, so that it may be made or changed.
    pub may_make: bool,
    /// How to begin again.
    pub again: &'a str,
}

impl Publication<'_> {
    /// Looks at it, where it has to be there; or makes one of these tables.
    pub async fn look(&self, client: &Client, tables: &mut [FollowedTable]) -> Result<(), DatabaseError> {
        let Publication { name, is_ours, may_make, again } = *self;
        let version: i32 =
            client.query_one("select pg_catalog.current_setting('server_version_num')::int4", &[]).await?.try_get(0)?;
        let there = client
            .query_opt("select 1 from pg_catalog.pg_publication where pubname = $1::text::name", &[&name])
            .await?;
        if there.is_none() && !(is_ours && may_make) {
            return Err(DatabaseError::lasting(match is_ours {
                true => format!(
                    "the publication `{name}`, which the job created, was deleted, and changes before it exists again cannot be read; \
                     {again}"
                ),
                false => format!(
                    "publication `{name}` does not exist; create it with `create publication`, or remove `publication`"
                ),
            }));
        }
        if is_ours && may_make {
            let missing = match there {
                Some(_) => self.missing(client, tables).await?,
                None => tables.iter().map(FollowedTable::only).collect(),
            };
            self.make(client, there.is_some(), &missing, version).await?;
        }
        self.take_over(client, tables, version).await
    }

    /// Makes it, or adds tables that it lost as they were dropped.
    async fn make(
        &self,
        client: &Client,
        is_there: bool,
        tables: &[String],
        version: i32,
    ) -> Result<(), DatabaseError> {
        let (name, list) = (quoted(self.name), tables.join(", "));
        let roots = if version >= WITH_ROOTS { " with (publish_via_partition_root = true)" } else { "" };
        let make = match is_there {
            true if tables.is_empty() => return Ok(()),
            true => format!("alter publication {name} add table {list}"),
            false => format!("create publication {name} for table {list}{roots}"),
        };
        let made = match client.batch_execute(&make).await {
            // Another job makes it at the same time.
            Err(error) if error.code() == Some(&SqlState::DUPLICATE_OBJECT) => Ok(()),
            made => made.map_err(DatabaseError::from),
        };
        match made {
            Err(fault) if fault.kind == DatabaseErrorKind::Lasting => Err(DatabaseError::lasting(format!(
                "the job cannot create a publication: {}; let the owner of the tables run `create publication name for table {list}`, \
                 and set publication = \"name\"",
                fault.message
            ))),
            made => made,
        }
    }

    /// The tables that it does not have, for statements.
    async fn missing(&self, client: &Client, tables: &[FollowedTable]) -> Result<Vec<String>, DatabaseError> {
        let has = self.parts(client, 0).await?;
        let missing = tables.iter().filter(|table| !has.contains_key(&table.id));
        Ok(missing.map(FollowedTable::only).collect())
    }

    /// What it gives of its tables, by their OIDs.
    async fn parts(&self, client: &Client, version: i32) -> Result<BTreeMap<u32, PublishedPart>, DatabaseError> {
        let parts = if version >= WITH_PARTS { "t.rowfilter, t.attnames::text[]" } else { "null::text, null::text[]" };
        let ask = format!(
            "select c.oid, {parts}, coalesce(r.oid, 0::oid), pg_catalog.to_jsonb(r) ->> 'prattrs' \
             from pg_catalog.pg_publication_tables t join pg_catalog.pg_publication p on p.pubname = t.pubname \
             join pg_catalog.pg_namespace n on n.nspname = t.schemaname \
             join pg_catalog.pg_class c on c.relname = t.tablename and c.relnamespace = n.oid \
             left join pg_catalog.pg_publication_rel r on r.prpubid = p.oid and r.prrelid = c.oid \
             where t.pubname = $1::text::name"
        );
        let mut has = BTreeMap::new();
        for row in client.query(&ask, &[&self.name]).await? {
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

    /// Of each table what it gives.
    async fn take_over(
        &self,
        client: &Client,
        tables: &mut [FollowedTable],
        version: i32,
    ) -> Result<(), DatabaseError> {
        let has = self.parts(client, version).await?;
        for table in tables {
            let Some(part) = has.get(&table.id) else {
                return Err(DatabaseError::lasting(self.lacks(table)));
            };
            table.filter.clone_from(&part.filter);
            (table.identity.published, table.identity.rows) = (part.id, hash(part.filter.as_deref()));
            table.identity.columns = hash(part.list.as_deref());
            if let Some(columns) = &part.columns {
                if version >= WITH_GENERATED {
                    let given = table.generated.extract_if(.., |column| columns.contains(column));
                    table.columns.extend(given);
                }
                table.columns.retain(|column| columns.contains(column));
            }
        }
        Ok(())
    }

    /// Why it does not do for a table.
    fn lacks(&self, table: &FollowedTable) -> String {
        let Publication { name, may_make, again, .. } = *self;
        let quoted_name = quoted(name);
        if table.is_partitioned {
            return format!(
                "the publication `{name}` does not have the table `{}`, or gives the changes of its partitions as those of other tables; \
                 change that with `alter publication {quoted_name} add table {}` and `alter publication {quoted_name} set \
                 (publish_via_partition_root = true)`",
                table.name, table.quoted
            );
        }
        let add = format!("add it with `alter publication {quoted_name} add table {}`", table.quoted);
        match may_make {
            true => format!("the publication `{name}` does not have the table `{}`; {add}", table.name),
            false => format!(
                "publication `{name}` no longer has table `{}`, so its changes are not published; {add}, and {again}",
                table.name
            ),
        }
    }
}

/// What a publication gives of a table.
struct PublishedPart {
    filter: Option<String>,
    columns: Option<Vec<String>>,
    /// OID of the entry of the table.
    id: u32,
    /// The list of columns, where there is one.
    list: Option<String>,
}
