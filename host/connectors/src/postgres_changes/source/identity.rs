//! Checks that the tables are the ones that the source began with. A name may refer to another table since. And a publication that lacked a
//! table for a while lacks its changes of that time.

use super::catalog::FollowedTable;
use crate::postgres::{DatabaseError, quoted};
use millstream_job::database;
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;
use xxhash_rust::xxh3::xxh3_64;

/// What distinguishes a table, and its entry in a publication, from others of the same names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32, u64, u64)", into = "(u32, u32, u64, u64)")]
pub struct TableIdentity {
    /// OID of the table.
    pub id: u32,
    /// OID of its entry in the publication; zero: it has none, as the publication includes all tables.
    pub published: u32,
    /// Hash of the publication's row filter; zero: all rows.
    pub rows: u64,
    /// Hash of the publication's column list; zero: all columns.
    pub columns: u64,
}

impl From<(u32, u32, u64, u64)> for TableIdentity {
    fn from((id, published, rows, columns): (u32, u32, u64, u64)) -> TableIdentity {
        TableIdentity { id, published, rows, columns }
    }
}

impl From<TableIdentity> for (u32, u32, u64, u64) {
    fn from(TableIdentity { id, published, rows, columns }: TableIdentity) -> Self {
        (id, published, rows, columns)
    }
}

/// Returns the hash of a publication's text about a table; zero: none.
pub fn hash(text: Option<&str>) -> u64 {
    text.map_or(0, |text| xxh3_64(text.as_bytes()))
}

/// What a name refers to now.
#[derive(Debug)]
struct FoundName {
    /// The table of this name.
    id: Option<u32>,
    /// The current name of the followed table.
    name: Option<String>,
    /// OID of its entry in the publication.
    published: u32,
}

/// Checks that the names refer to the followed tables. Returns whether the publication has the same entries; `restart_hint`: how to start again.
pub async fn check_names(
    client: &Client,
    names: &[String],
    known: &[TableIdentity],
    publication: &str,
    restart_hint: &str,
) -> Result<bool, DatabaseError> {
    const LOOK: &str = "select pg_catalog.to_regclass(w.name)::oid, \
        (select pg_catalog.format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_class c \
            join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = w.id), \
        coalesce((select r.oid from pg_catalog.pg_publication_rel r join pg_catalog.pg_publication p on p.oid = r.prpubid \
            where p.pubname = $3::text::name and r.prrelid = w.id), 0::oid) \
        from unnest($1::text[], $2::oid[]) with ordinality as w(name, id, place) order by w.place";
    let mut quoted_names = Vec::new();
    for name in names {
        let (schema, table) = database::table(name).map_err(DatabaseError::permanent)?;
        quoted_names.push(schema.map(|schema| format!("{}.", quoted(schema))).unwrap_or_default() + &quoted(table));
    }
    let ids: Vec<u32> = known.iter().map(|known| known.id).collect();
    let mut as_before = true;
    for ((row, name), known) in
        client.query(LOOK, &[&quoted_names, &ids, &publication]).await?.iter().zip(names).zip(known)
    {
        let found = FoundName { id: row.try_get(0)?, name: row.try_get(1)?, published: row.try_get(2)? };
        if let Some(what) = replaced_table(name, known.id, &found, restart_hint) {
            return Err(DatabaseError::permanent(what));
        }
        as_before &= found.published == known.published;
    }
    Ok(as_before)
}

/// Returns why a name does not refer to the table of this OID any longer; `None`: it does.
fn replaced_table(name: &str, known: u32, found: &FoundName, restart_hint: &str) -> Option<String> {
    Some(match (found.id, &found.name) {
        (Some(id), _) if id == known => return None,
        (Some(_), None) => format!(
            "table `{name}` was dropped and created again: the job follows the old table (OID {known}) and receives no changes of the \
             new one; {restart_hint}"
        ),
        (Some(_), Some(now)) => format!(
            "`{name}` now names another table: the table that the job follows (OID {known}) is {now}; rename it back and restart the \
             job, or {restart_hint}"
        ),
        (None, Some(now)) => {
            format!("table `{name}` was renamed to {now}; rename it back and restart the job, or {restart_hint}")
        }
        (None, None) => format!("table `{name}` was dropped; create it again, and {restart_hint}"),
    })
}

/// Checks that the publication has included the same of each table without interruption.
pub fn check_published(
    tables: &[FollowedTable],
    known: &[TableIdentity],
    publication: &str,
    restart_hint: &str,
) -> Result<(), DatabaseError> {
    let what = tables.iter().zip(known).find_map(|(table, known)| other_part(table, known, publication, restart_hint));
    what.map_or(Ok(()), |what| Err(DatabaseError::permanent(what)))
}

fn other_part(table: &FollowedTable, known: &TableIdentity, publication: &str, restart_hint: &str) -> Option<String> {
    let (name, now) = (&table.name, &table.identity);
    if now.published == known.published {
        return None;
    }
    if now.rows != known.rows {
        return Some(format!(
            "publication `{publication}` publishes other rows of table `{name}` than before: its `where` was changed; {restart_hint}"
        ));
    }
    // `alter publication … set table` with the same columns keeps the entry, and with others immediately creates a new one.
    (now.columns == known.columns).then(|| {
        format!(
            "table `{name}` was removed from publication `{publication}` and added again; changes in between were not published; {restart_hint}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_table_is_told() {
        let check = |id, name: Option<&str>| {
            replaced_table("t", 7, &FoundName { id, name: name.map(str::to_owned), published: 0 }, "AGAIN")
        };
        assert_eq!(check(Some(7), Some("public.t")), None);
        assert!(check(Some(8), None).unwrap().contains("dropped and created again"));
        assert!(check(Some(8), Some("public.old")).unwrap().contains("(OID 7) is public.old"));
        assert!(check(None, Some("public.old")).unwrap().contains("renamed to public.old"));
        assert!(check(None, None).unwrap().contains("was dropped; create it again, and AGAIN"));
    }

    #[test]
    fn an_entry_of_a_publication_that_is_new_is_a_break_unless_its_columns_are_others() {
        let known = TableIdentity { id: 1, published: 5, rows: 0, columns: 0 };
        let check = |identity| {
            let table = FollowedTable { identity, ..FollowedTable::of_test("t", &["id"]) };
            check_published(&[table], &[known], "p", "AGAIN").map_err(|fault| fault.message)
        };
        assert_eq!(check(known), Ok(()));
        assert!(check(TableIdentity { published: 6, ..known }).unwrap_err().contains("removed from publication `p`"));
        assert!(check(TableIdentity { published: 6, rows: 1, ..known }).unwrap_err().contains("`where` was changed"));
        assert_eq!(check(TableIdentity { published: 6, columns: 1, ..known }), Ok(()));
        let text = serde_json::to_string(&known).unwrap();
        assert_eq!((text.as_str(), serde_json::from_str(&text).unwrap()), ("[1,5,0,0]", known));
    }
}
