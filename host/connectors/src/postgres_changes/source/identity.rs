//! Whether the tables are the ones that the source began with: a name may stand for another table since, and a publication that a table
//! was removed from lacks its changes until it was added again.

use super::catalog::FollowedTable;
use crate::postgres::{DatabaseError, quoted};
use millstream_base::job::database;
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;
use xxhash_rust::xxh3::xxh3_64;

/// What tells a table, and what a publication gives of it, from others of the same names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32, u64, u64)", into = "(u32, u32, u64, u64)")]
pub struct TableIdentity {
    /// OID of the table.
    pub id: u32,
    /// OID of its entry in the publication; zero: it has none, as one of all tables.
    pub published: u32,
    /// Hash of the condition on rows that the publication gives; zero: it gives all.
    pub rows: u64,
    /// The same of its list of columns.
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

/// Hash of what a publication says of a table; zero: nothing.
pub fn hash(text: Option<&str>) -> u64 {
    text.map_or(0, |text| xxh3_64(text.as_bytes()))
}

/// What a name stands for now.
#[derive(Debug)]
struct FoundName {
    /// The table of this name.
    id: Option<u32>,
    /// The name of the table that is followed.
    name: Option<String>,
    /// OID of its entry in the publication.
    published: u32,
}

/// Looks whether the names stand for the tables that are followed. Whether the publication has the entries that it had; `again`: how to begin
/// again.
pub async fn check_names(
    client: &Client,
    names: &[String],
    known: &[TableIdentity],
    publication: &str,
    again: &str,
) -> Result<bool, DatabaseError> {
    const LOOK: &str = "select pg_catalog.to_regclass(w.name)::oid, \
        (select pg_catalog.format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_class c \
            join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = w.id), \
        coalesce((select r.oid from pg_catalog.pg_publication_rel r join pg_catalog.pg_publication p on p.oid = r.prpubid \
            where p.pubname = $3::text::name and r.prrelid = w.id), 0::oid) \
        from unnest($1::text[], $2::oid[]) with ordinality as w(name, id, place) order by w.place";
    let mut quoted_names = Vec::new();
    for name in names {
        let (schema, table) = database::table(name).map_err(DatabaseError::lasting)?;
        quoted_names.push(schema.map(|schema| format!("{}.", quoted(schema))).unwrap_or_default() + &quoted(table));
    }
    let ids: Vec<u32> = known.iter().map(|known| known.id).collect();
    let mut as_before = true;
    for ((row, name), known) in
        client.query(LOOK, &[&quoted_names, &ids, &publication]).await?.iter().zip(names).zip(known)
    {
        let found = FoundName { id: row.try_get(0)?, name: row.try_get(1)?, published: row.try_get(2)? };
        if let Some(what) = other_table(name, known.id, &found, again) {
            return Err(DatabaseError::lasting(what));
        }
        as_before &= found.published == known.published;
    }
    Ok(as_before)
}

/// Why a name does not stand for the table of this OID any more; `None`: it does.
fn other_table(name: &str, known: u32, found: &FoundName, again: &str) -> Option<String> {
    Some(match (found.id, &found.name) {
        (Some(id), _) if id == known => return None,
        (Some(_), None) => format!(
            "table `{name}` was dropped and created again: the job follows the old table (OID {known}) and receives no changes of the \
             new one; {again}"
        ),
        (Some(_), Some(now)) => format!(
            "`{name}` now names another table: the table that the job follows (OID {known}) is {now}; rename it back and restart the \
             job, or {again}"
        ),
        (None, Some(now)) => {
            format!("table `{name}` was renamed to {now}; rename it back and restart the job, or {again}")
        }
        (None, None) => format!("table `{name}` was dropped; create it again, and {again}"),
    })
}

/// Looks whether the publication gives the same of each table as it did, without a break.
pub fn check_published(
    tables: &[FollowedTable],
    known: &[TableIdentity],
    publication: &str,
    again: &str,
) -> Result<(), DatabaseError> {
    let what = tables.iter().zip(known).find_map(|(table, known)| other_part(table, known, publication, again));
    what.map_or(Ok(()), |what| Err(DatabaseError::lasting(what)))
}

fn other_part(table: &FollowedTable, known: &TableIdentity, publication: &str, again: &str) -> Option<String> {
    let (name, now) = (&table.name, &table.identity);
    if now.published == known.published {
        return None;
    }
    if now.rows != known.rows {
        return Some(format!(
            "publication `{publication}` publishes other rows of table `{name}` than before: its `where` was changed; {again}"
        ));
    }
    // `alter publication … set table` with the same columns leaves the entry as it is, and with others makes a new one at once.
    (now.columns == known.columns).then(|| {
        format!(
            "table `{name}` was removed from publication `{publication}` and added again; changes in between were not published; {again}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_table_is_told() {
        let told = |id, name: Option<&str>| {
            other_table("t", 7, &FoundName { id, name: name.map(str::to_owned), published: 0 }, "AGAIN")
        };
        assert_eq!(told(Some(7), Some("public.t")), None);
        assert!(told(Some(8), None).unwrap().contains("dropped and created again"));
        assert!(told(Some(8), Some("public.old")).unwrap().contains("(OID 7) is public.old"));
        assert!(told(None, Some("public.old")).unwrap().contains("renamed to public.old"));
        assert!(told(None, None).unwrap().contains("was dropped; create it again, and AGAIN"));
    }

    #[test]
    fn an_entry_of_a_publication_that_is_new_is_a_break_unless_its_columns_are_others() {
        let known = TableIdentity { id: 1, published: 5, rows: 0, columns: 0 };
        let told = |identity| {
            let table = FollowedTable { identity, ..FollowedTable::of_test("t", &["id"]) };
            check_published(&[table], &[known], "p", "AGAIN").map_err(|fault| fault.message)
        };
        assert_eq!(told(known), Ok(()));
        assert!(told(TableIdentity { published: 6, ..known }).unwrap_err().contains("removed from publication `p`"));
        assert!(told(TableIdentity { published: 6, rows: 1, ..known }).unwrap_err().contains("`where` was changed"));
        assert_eq!(told(TableIdentity { published: 6, columns: 1, ..known }), Ok(()));
        let text = serde_json::to_string(&known).unwrap();
        assert_eq!((text.as_str(), serde_json::from_str(&text).unwrap()), ("[1,5,0,0]", known));
    }
}
