//! Partitions that are attached and detached: PostgreSQL's log does not contain the rows that a table gains or loses with them.

use super::catalog::FollowedTable;
use crate::postgres::DatabaseError;
use std::collections::BTreeMap;
use tokio_postgres::Client;

/// The partitions of tables that hold rows, by OID.
pub type Partitions = BTreeMap<u32, Partition>;

/// A partition.
pub struct Partition {
    /// The partitioned table.
    root: u32,
    name: String,
    /// The file of its rows; it changes when the partition is truncated or rewritten.
    file: u32,
}

/// Describes changes of partitions that the log does not contain, for messages.
pub fn unlogged_changes(before: &Partitions, now: &Partitions) -> Vec<String> {
    let is_same = |id: &u32, file: u32| now.get(id).is_some_and(|now| now.file == file);
    // If all files differ, the table itself was truncated, which the log contains.
    let in_part = |root: u32| before.iter().any(|(id, other)| other.root == root && is_same(id, other.file));
    let lost = |(id, partition): (&u32, &Partition)| {
        let Partition { root, name, file } = partition;
        match now.contains_key(id) {
            false => Some(format!("{name} was detached or dropped")),
            true if !is_same(id, *file) && in_part(*root) => {
                Some(format!("{name} was truncated or rewritten (as by `vacuum full`)"))
            }
            true => None,
        }
    };
    before.iter().filter_map(lost).collect()
}

/// Reconstructs a 64-bit transaction number from the 32 bits in a row; they are at most 2^31 apart.
const FULL_XID: &str = "(b.next - ((b.next - i.xmin::text::bigint + 2147483648) % 4294967296 - 2147483648))";

/// Returns the current partitions of these tables.
pub async fn current(client: &Client, tables: &[FollowedTable]) -> Result<Partitions, DatabaseError> {
    const LOOK: &str = "select t.relid::oid, pg_catalog.format('%I.%I', n.nspname, c.relname), c.relfilenode, r.id \
        from unnest($1::oid[]) as r(id), pg_catalog.pg_partition_tree(r.id) t \
        join pg_catalog.pg_class c on c.oid = t.relid join pg_catalog.pg_namespace n on n.oid = c.relnamespace where t.isleaf";
    let roots = roots(tables);
    let mut found = Partitions::new();
    if !roots.is_empty() {
        for row in client.query(LOOK, &[&roots]).await? {
            found.insert(
                row.try_get(0)?,
                Partition { name: row.try_get(1)?, file: row.try_get(2)?, root: row.try_get(3)? },
            );
        }
    }
    Ok(found)
}

/// Returns which transactions a snapshot shows that is taken now, in the server's notation.
pub async fn now(client: &Client) -> Result<String, DatabaseError> {
    Ok(client.query_one("select pg_catalog.txid_current_snapshot()::text", &[]).await?.try_get(0)?)
}

/// Checks for partitions that were attached with rows since a snapshot. Their rows are not in the log.
pub async fn check_attached(
    client: &Client,
    tables: &[FollowedTable],
    since: &str,
    again: &str,
) -> Result<(), DatabaseError> {
    for table in tables.iter().filter(|table| table.is_partitioned) {
        let attached = AttachedPartitions::since(client, table.id, since).await?;
        if let Some(name) = attached.first_with_rows(client, &table.quoted).await? {
            return Err(DatabaseError::permanent(format!(
                "partition {name} was attached to table `{}` with rows, which the server does not publish; detach it, insert its rows into \
                 the table and restart the job, or {again}",
                table.name
            )));
        }
    }
    Ok(())
}

/// Partitions that were attached, each with the transaction and the command in it.
#[derive(Default)]
struct AttachedPartitions {
    ids: Vec<u32>,
    names: Vec<String>,
    transactions: Vec<String>,
    commands: Vec<i64>,
    /// Whether it was created in the same transaction, usually as a partition.
    is_new: Vec<bool>,
}

impl AttachedPartitions {
    /// Returns those of a table that a snapshot does not show.
    async fn since(client: &Client, root: u32, since: &str) -> Result<AttachedPartitions, DatabaseError> {
        // Partitions may be nested, and each level may have been attached.
        let look = format!(
            "select p.relid::oid, pg_catalog.format('%I.%I', n.nspname, c.relname), i.xmin::text, i.cmin::text::bigint, \
             i.xmin::text = (select a.xmin::text from pg_catalog.pg_attribute a where a.attrelid = p.relid and a.attname = 'tableoid') \
             from pg_catalog.pg_partition_tree($1::oid) t join pg_catalog.pg_inherits i on i.inhrelid = t.relid, \
             pg_catalog.pg_partition_tree(t.relid) p join pg_catalog.pg_class c on c.oid = p.relid \
             join pg_catalog.pg_namespace n on n.oid = c.relnamespace, \
             (select pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()) as next) b \
             where t.level > 0 and p.isleaf and c.relkind = 'r' \
             and not pg_catalog.txid_visible_in_snapshot({FULL_XID}, $2::text::pg_catalog.txid_snapshot)"
        );
        let mut found = AttachedPartitions::default();
        for row in client.query(&look, &[&root, &since]).await? {
            found.ids.push(row.try_get(0)?);
            found.names.push(row.try_get(1)?);
            found.transactions.push(row.try_get(2)?);
            found.commands.push(row.try_get(3)?);
            found.is_new.push(row.try_get::<_, Option<bool>>(4)?.unwrap_or_default());
        }
        Ok(found)
    }

    /// Returns the name of one that had rows when it was attached. They are at the beginning of its file; rows of later transactions came
    /// through the table.
    async fn first_with_rows(&self, client: &Client, table: &str) -> Result<Option<String>, DatabaseError> {
        if self.ids.is_empty() {
            return Ok(None);
        }
        // Queries through the table, which the job may read.
        let look = format!(
            "select v.name from {table} r join unnest($1::oid[], $2::text[], $3::text[], $4::bigint[], $5::bool[]) \
             as v(id, name, transaction, command, is_new) on v.id = r.tableoid \
             where r.ctid = any(array(select pg_catalog.format('(%s,%s)', block, line)::tid \
             from pg_catalog.generate_series(0, 3) block, pg_catalog.generate_series(1, 300) line)) \
             and (not v.is_new and pg_catalog.age(r.xmin) > pg_catalog.age(v.transaction::xid) \
             or r.xmin = v.transaction::xid and r.cmin::text::bigint < v.command) limit 1"
        );
        let AttachedPartitions { ids, names, transactions, commands, is_new } = self;
        let found = client.query_opt(&look, &[ids, names, transactions, commands, is_new]).await?;
        Ok(found.map(|row| row.try_get(0)).transpose()?)
    }
}

fn roots(tables: &[FollowedTable]) -> Vec<u32> {
    tables.iter().filter(|table| table.is_partitioned).map(|table| table.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_that_lose_rows_are_named() {
        let of = |found: &[(u32, u32, u32)]| -> Partitions {
            let partition = |(id, file, root): &(u32, u32, u32)| {
                (*id, Partition { root: *root, name: format!("p{id}"), file: *file })
            };
            found.iter().map(partition).collect()
        };
        let before = of(&[(1, 10, 0), (2, 20, 0), (3, 30, 0), (4, 40, 9), (5, 50, 9)]);
        let changes = unlogged_changes(&before, &of(&[(1, 10, 0), (3, 31, 0), (4, 41, 9), (5, 51, 9), (6, 60, 9)]));
        assert_eq!(changes, ["p2 was detached or dropped", "p3 was truncated or rewritten (as by `vacuum full`)"]);
    }
}
