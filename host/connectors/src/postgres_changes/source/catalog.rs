//! Queries of a server's catalog about tables and slots.

use super::identity::TableIdentity;
use super::position::KeyOrder;
use crate::postgres::replication::Lsn;
use crate::postgres::{DatabaseError, quoted};
use millstream_job::database;
use std::time::Duration;
use tokio_postgres::Client;

/// Maximum time until another process's stream of the slot has ended.
const STREAM_END_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of names in a message.
const NAMES_MAX: usize = 10;

/// A followed table.
#[derive(Clone, Debug, Default)]
pub struct FollowedTable {
    /// Its name in the job file.
    pub name: String,
    /// Its quoted name for statements.
    pub quoted: String,
    pub id: u32,
    /// Whether partitions hold its rows. For other tables, those that inherit from it are separate tables.
    pub is_partitioned: bool,
    /// What distinguishes it from other tables of its name.
    pub identity: TableIdentity,
    pub columns: Vec<String>,
    /// Columns that the server computes and its log does not contain.
    pub generated: Vec<String>,
    /// The key columns; empty: rows have no key.
    pub key: Vec<KeyColumn>,
    /// Which rows the publication includes; `None`: all.
    pub filter: Option<String>,
}

/// A key column.
#[derive(Clone, Debug)]
pub struct KeyColumn {
    pub name: String,
    pub order: KeyOrder,
    /// The expression that orders the rows on the server.
    pub expression: String,
    /// The cast after a literal.
    cast: &'static str,
}

impl FollowedTable {
    /// Returns a table whose first column, a string, is its key.
    #[cfg(test)]
    pub fn of_test(name: &str, columns: &[&str]) -> FollowedTable {
        let key = columns.iter().take(1).map(|column| key_column((*column).to_owned(), 25)).collect();
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        let (name, quoted) = (name.into(), quoted(name));
        FollowedTable { name, quoted, id: 1, columns, key, ..FollowedTable::default() }
    }

    /// Returns the table without those that inherit from it, for statements.
    pub fn without_children(&self) -> String {
        if self.is_partitioned { self.quoted.clone() } else { format!("only {}", self.quoted) }
    }

    /// Returns the statement that reads the rows after this key, in order: first the columns, then those of the key as they are compared.
    pub fn select(&self, after: Option<&[String]>) -> String {
        let columns = self.columns.iter().map(|column| quoted(column));
        let columns: Vec<_> = columns.chain(self.key.iter().map(|key| key.expression.clone())).collect();
        let expressions: Vec<_> = self.key.iter().map(|key| key.expression.as_str()).collect();
        let expressions = expressions.join(", ");
        let after = after.map(|values| {
            let literals =
                values.iter().zip(&self.key).map(|(value, key)| format!("'{}'{}", value.replace('\'', "''"), key.cast));
            format!("({expressions}) > ({})", literals.collect::<Vec<_>>().join(", "))
        });
        let conditions: Vec<_> = self.filter.iter().map(|filter| format!("({filter})")).chain(after).collect();
        let conditions =
            if conditions.is_empty() { String::new() } else { format!(" where {}", conditions.join(" and ")) };
        format!("select {} from {}{conditions} order by {expressions}", columns.join(", "), self.without_children())
    }

    pub fn orders(&self) -> Vec<KeyOrder> {
        self.key.iter().map(|key| key.order).collect()
    }
}

/// Describes the tables.
pub async fn tables(client: &Client, names: &[String]) -> Result<Vec<FollowedTable>, DatabaseError> {
    const TABLE: &str = "select c.oid, c.relkind::text, c.relreplident::text, n.nspname::text, c.relname::text \
        from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
        where c.oid = pg_catalog.to_regclass($1::text)";
    const COLUMNS: &str = "select attname::text, attgenerated <> '' from pg_catalog.pg_attribute \
        where attrelid = $1 and attnum > 0 and not attisdropped order by attnum";
    // The columns of REPLICA IDENTITY, which deletes contain. FULL contains all columns, so the primary key will do.
    const KEY: &str = "select a.attname::text, a.atttypid from pg_catalog.pg_index i \
        join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = any((i.indkey::int2[])[0:i.indnkeyatts - 1]) \
        where i.indrelid = $1 and case when $2 then i.indisreplident else i.indisprimary end \
        order by pg_catalog.array_position(i.indkey::int2[], a.attnum)";
    let mut tables = Vec::new();
    for name in names {
        let (schema, table) = database::table(name).map_err(DatabaseError::permanent)?;
        let found = schema.map(|schema| format!("{}.", quoted(schema))).unwrap_or_default() + &quoted(table);
        let row = client.query_opt(TABLE, &[&found]).await?;
        let row = row.ok_or_else(|| {
            DatabaseError::permanent(format!("table `{name}` does not exist; check `table`, or rename the table back"))
        })?;
        let (id, kind, identity): (u32, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if !["r", "p"].contains(&kind.as_str()) {
            return Err(DatabaseError::permanent(format!(
                "`{name}` is not a table but a view or the like, which has no changes; name a table"
            )));
        }
        let (mut columns, mut generated) = (Vec::new(), Vec::new());
        for row in client.query(COLUMNS, &[&id]).await? {
            if row.try_get(1)? { generated.push(row.try_get(0)?) } else { columns.push(row.try_get(0)?) }
        }
        let mut key = Vec::new();
        for row in client.query(KEY, &[&id, &(identity == "i")]).await? {
            key.push(key_column(row.try_get(0)?, row.try_get(1)?));
        }
        let (schema, table): (String, String) = (row.try_get(3)?, row.try_get(4)?);
        let full_name = format!("{}.{}", quoted(&schema), quoted(&table));
        let identity = TableIdentity { id, ..TableIdentity::default() };
        let (name, quoted, is_partitioned, filter) = (name.clone(), full_name, kind == "p", None);
        tables.push(FollowedTable { name, quoted, id, is_partitioned, identity, columns, generated, key, filter });
    }
    Ok(tables)
}

/// Returns how a key column is ordered. Integers and UUIDs have the server's order, so that an index helps. All others are ordered by the
/// bytes of their text form, as the collations of languages are unknown here.
fn key_column(name: String, kind: u32) -> KeyColumn {
    const INTEGER_TYPES: [u32; 3] = [20, 21, 23];
    const UUID: u32 = 2950;
    let column = quoted(&name);
    match kind {
        kind if INTEGER_TYPES.contains(&kind) => {
            KeyColumn { name, order: KeyOrder::Integer, expression: column, cast: "::bigint" }
        }
        UUID => KeyColumn { name, order: KeyOrder::Bytes, expression: column, cast: "::uuid" },
        _ => KeyColumn {
            name,
            order: KeyOrder::Bytes,
            expression: format!("(pg_catalog.format('%s', {column}) collate \"C\")"),
            cast: "",
        },
    }
}

/// Checks that the server logs what has to be read.
pub async fn check_wal_level(client: &Client) -> Result<(), DatabaseError> {
    let row = client.query_one("select pg_catalog.current_setting('wal_level')", &[]).await?;
    match row.try_get::<_, &str>(0)? {
        "logical" => Ok(()),
        level => Err(DatabaseError::permanent(format!(
            "the server's `wal_level` is `{level}`, with which its log has no row changes; let an administrator run `alter system set \
             wal_level = logical` and restart it"
        ))),
    }
}

/// Returns the tables that inherit from these and are not among them, with their parents.
pub async fn children(client: &Client, tables: &[FollowedTable]) -> Result<Vec<(String, String)>, DatabaseError> {
    const LOOK: &str = "select pg_catalog.format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_inherits i \
        join pg_catalog.pg_class c on c.oid = i.inhrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
        where i.inhparent = $1 and not c.oid = any($2::oid[]) order by 1";
    let ids: Vec<u32> = tables.iter().map(|table| table.id).collect();
    let mut found = Vec::new();
    for table in tables.iter().filter(|table| !table.is_partitioned) {
        let rows = client.query(LOOK, &[&table.id, &ids]).await?;
        let names = rows.iter().take(NAMES_MAX).map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
        if !names.is_empty() {
            let more = if rows.len() > NAMES_MAX { " and others" } else { "" };
            found.push((table.name.clone(), names.join(", ") + more));
        }
    }
    Ok(found)
}

/// Explains why there is no free slot, and lists those without a reader.
pub async fn no_free_slot_message(client: &Client, job_id: &str) -> Result<String, DatabaseError> {
    const LOOK: &str = "select s.slot_name::text, pg_catalog.pg_size_pretty(pg_catalog.pg_wal_lsn_diff(case \
            when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() else pg_catalog.pg_current_wal_lsn() end, \
            s.restart_lsn)), pg_catalog.current_setting('max_replication_slots') \
        from (select 1) one left join pg_catalog.pg_replication_slots s on s.slot_name ~ '^millstream_[0-9a-f]{16}_' and not s.active \
        order by s.restart_lsn";
    let own = format!("millstream_{}_", job_id.get(..16).unwrap_or(job_id));
    let (mut names, mut first, mut max) = (Vec::new(), None, String::new());
    for row in client.query(LOOK, &[]).await? {
        max = row.try_get(2)?;
        let Some(name) = row.try_get::<_, Option<String>>(0)? else { continue };
        let kept: Option<String> = row.try_get(1)?;
        let whose = if name.starts_with(&own) { ", of this job" } else { "" };
        names.push(format!("`{name}` (keeps {} of log{whose})", kept.unwrap_or_else(|| "nothing".into())));
        first.get_or_insert(name);
    }
    let used = format!("all replication slots of the server are in use (max_replication_slots = {max})");
    let Some(first) = first else {
        return Ok(format!(
            "{used}, none of them by a Millstream job that is not running; raise that setting, or drop a slot"
        ));
    };
    let more = if names.len() > NAMES_MAX { " and others" } else { "" };
    names.truncate(NAMES_MAX);
    Ok(format!(
        "{used}; these belong to Millstream jobs that are not running: {}{more}; if you no longer need such a job, drop its slot with \
         `select pg_drop_replication_slot('{first}')`, or raise that setting",
        names.join(", ")
    ))
}

/// A replication slot in the server's catalog.
pub struct ReplicationSlot {
    pub plugin: String,
    pub database_is_ours: bool,
    /// The position that its reader confirmed as durable; nothing before it is available any longer.
    pub confirmed: Lsn,
    pub is_lost: bool,
}

/// Reads a slot; `None` if it does not exist.
pub async fn slot(client: &Client, name: &str) -> Result<Option<ReplicationSlot>, DatabaseError> {
    let query = "select plugin::text, database = pg_catalog.current_database(), confirmed_flush_lsn::text, \
         coalesce(pg_catalog.to_jsonb(s) ->> 'wal_status' = 'lost', false) \
         from pg_catalog.pg_replication_slots s where slot_name = $1::text::name";
    let Some(row) = client.query_opt(query, &[&name]).await? else { return Ok(None) };
    let confirmed: Option<String> = row.try_get(2)?;
    Ok(Some(ReplicationSlot {
        plugin: row.try_get::<_, Option<String>>(0)?.unwrap_or_default(),
        database_is_ours: row.try_get::<_, Option<bool>>(1)?.unwrap_or_default(),
        confirmed: confirmed.and_then(|lsn| Lsn::parse(&lsn)).unwrap_or_default(),
        is_lost: row.try_get(3)?,
    }))
}

/// Returns the name of the connection with which a run reads its slot.
pub fn reader_name(job_id: &str, generation: u64) -> String {
    format!("millstream {} g{generation}", job_id.get(..16).unwrap_or(job_id))
}

/// Ends the stream of an earlier run, which may not have noticed that its job was taken over, or whose machine has failed.
pub async fn take(client: &Client, slot: &str, generation: u64) -> Result<(), DatabaseError> {
    let query = "select s.active_pid, coalesce(a.application_name, '') from pg_catalog.pg_replication_slots s \
        left join pg_catalog.pg_stat_activity a on a.pid = s.active_pid where s.slot_name = $1::text::name and s.active_pid is not null";
    let until = tokio::time::Instant::now() + STREAM_END_TIMEOUT;
    loop {
        let Some(row) = client.query_opt(query, &[&slot]).await? else { return Ok(()) };
        let (process, reader): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
        let of_start =
            reader.strip_prefix("millstream ").and_then(|rest| rest.rsplit_once(" g")?.1.parse::<u64>().ok());
        match of_start {
            Some(other) if other > generation => {
                return Err(DatabaseError::taken_over(format!(
                    "the job was restarted elsewhere (generation {other}), and this process (generation {generation}) was replaced"
                )));
            }
            Some(_) => drop(client.query_one("select pg_catalog.pg_terminate_backend($1)", &[&process]).await?),
            None => {
                return Err(DatabaseError::transient(format!(
                    "process {process} of the server, `{reader}`, reads the slot `{slot}`, which is that of this job; end it"
                )));
            }
        }
        if tokio::time::Instant::now() > until {
            return Err(DatabaseError::transient(format!(
                "the stream of an earlier start (process {process} of the server) has not ended yet"
            )));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_behind_a_key() {
        let key = vec![key_column("a".into(), 23), key_column("b \"c".into(), 25)];
        let table = FollowedTable {
            name: "t".into(),
            quoted: "\"s\".\"t\"".into(),
            columns: vec!["a".into(), "b \"c".into()],
            key,
            filter: Some("a > 0".into()),
            ..FollowedTable::default()
        };
        let b = "(pg_catalog.format('%s', \"b \"\"c\") collate \"C\")";
        assert_eq!(
            table.select(Some(&["7".into(), "it's".into()])),
            format!(
                "select \"a\", \"b \"\"c\", \"a\", {b} from only \"s\".\"t\" where (a > 0) and (\"a\", {b}) > ('7'::bigint, 'it''s') \
                 order by \"a\", {b}"
            )
        );
    }
}
