//! The table of a `postgres` sink: what it must look like, and the statements that make it and write it.

use super::conversion::{ColumnConversion, ColumnFacts, is_named};
use crate::postgres::quoted;
use arrow::datatypes::{DataType, SchemaRef};
use millstream_base::batch::op::{self, DELETE, TRUNCATE};
use millstream_base::batch::types::{ColumnType, describe};
use std::borrow::Cow;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

/// Bytes of a name in PostgreSQL; it would cut a longer one.
const NAME_BYTES_MAX: usize = 63;
/// Columns of a table of PostgreSQL's.
const COLUMNS_MAX: usize = 1_600;
/// Where the rows of a batch are gathered before they replace those of the same key.
const GATHERING: &str = "millstream_rows";
/// What statements call the table: its own name may be one that SQL has a meaning for there.
const TARGET: &str = "millstream_target";
/// Whoever writes a column that the table would number itself means it, as `copy` always takes it.
const OVERRIDING: &str = "overriding system value";

/// The table as the job means it.
pub(super) struct TargetTable {
    /// `schema` of `schema.table`.
    pub namespace: Option<String>,
    table: String,
    schema: SchemaRef,
    /// The columns of the key; empty: rows are appended.
    key: Vec<String>,
    /// The column of the rows that says what they do; the table does not have it.
    pub op: Option<String>,
}

/// A table as it is.
pub(super) struct ExistingTable {
    kind: String,
    columns: Vec<FoundColumn>,
    /// The columns of each unique index.
    unique: Vec<Vec<String>>,
}

struct FoundColumn {
    name: String,
    kind: Option<Type>,
    /// As SQL writes it.
    told: String,
    /// The same without length and the like.
    plain: String,
    /// Of an array, the type of its elements.
    element: Option<String>,
    /// A row without a value for it is refused.
    needed: bool,
    /// Computed by the server.
    generated: bool,
    /// `generated always as identity`
    identity: bool,
}

impl TargetTable {
    /// The error is a key of the job file and what is wrong with it.
    pub fn new(
        namespace: Option<&str>,
        table: &str,
        rows: &SchemaRef,
        key: &[String],
        op: Option<&str>,
    ) -> Result<TargetTable, (&'static str, String)> {
        let op = op.filter(|_| !rows.fields().is_empty());
        // Without columns it is only asked for its marker.
        let schema = match rows.fields().is_empty() {
            true => rows.clone(),
            false => op::columns_written(rows, key, op)?,
        };
        let fields = schema.fields();
        for field in fields {
            let (name, kind) = (field.name(), ColumnType::of(field.data_type()));
            if matches!(kind, ColumnType::Arrow(_)) && !is_named(&kind) {
                let message = format!("column `{name}` is {kind}, which a table cannot hold; leave it out in a stage");
                return Err(("from", message));
            }
            if name.is_empty() || name.contains('\0') || name.len() > NAME_BYTES_MAX {
                let message =
                    format!("column `{name}` cannot have that name in a table; it needs 1 to {NAME_BYTES_MAX} bytes");
                return Err(("from", message));
            }
        }
        if fields.len() > COLUMNS_MAX {
            let message = format!("the rows have {} columns, and a table has at most {COLUMNS_MAX}", fields.len());
            return Err(("from", message));
        }
        Ok(TargetTable {
            namespace: namespace.map(Into::into),
            table: table.into(),
            schema,
            key: key.to_vec(),
            op: op.map(Into::into),
        })
    }

    /// The quoted name.
    pub fn name(&self) -> String {
        let namespace = self.namespace.iter().map(|name| format!("{}.", quoted(name))).collect::<String>();
        format!("{namespace}{}", quoted(&self.table))
    }

    fn columns(&self) -> String {
        list(self.schema.fields().iter().map(|field| quoted(field.name())))
    }

    fn keys(&self) -> String {
        list(self.key.iter().map(|name| quoted(name)))
    }

    /// Makes the table.
    pub fn create(&self) -> String {
        let columns = self.schema.fields().iter().map(|field| {
            let kind = sql_type(&ColumnType::of(field.data_type())).unwrap_or(Cow::Borrowed("text"));
            format!("{} {kind}", quoted(field.name()))
        });
        let key = (!self.key.is_empty()).then(|| format!("primary key ({})", self.keys()));
        format!("create table if not exists {} ({})", self.name(), list(columns.chain(key)))
    }

    /// Whether rows are gathered before they come into the table: to replace others, or to be cast.
    pub fn gathers(&self, ways: &[ColumnConversion]) -> bool {
        !self.key.is_empty() || ways.iter().any(|way| way.cast.is_some())
    }

    /// Copies rows into the table, or to where they are gathered.
    pub fn copy(&self, ways: &[ColumnConversion]) -> String {
        let (to, columns) = match !self.gathers(ways) {
            true => (self.name(), self.columns()),
            false => {
                let behind = self.op.iter().map(|op| quoted(op)).chain([quoted(&self.number())]);
                (format!("pg_temp.{}", self.gathering()), format!("{}, {}", self.columns(), list(behind)))
            }
        };
        format!("copy {to} ({columns}) from stdin (format binary)")
    }

    /// Makes the place where rows are gathered, for this connection; it is empty again after every transaction.
    pub fn make_gathering(&self, ways: &[ColumnConversion]) -> Option<String> {
        let (number, name, gathering) = (quoted(&self.number()), self.name(), self.gathering());
        let columns = list(self.schema.fields().iter().zip(ways).map(|(field, way)| match &way.cast {
            None => quoted(field.name()),
            Some(_) => format!("null::{} as {}", way.copied.name(), quoted(field.name())),
        }));
        self.gathers(ways).then(|| {
            let op = self.op.iter().map(|op| format!("null::text as {}, ", quoted(op))).collect::<String>();
            format!(
                "create temporary table {gathering} on commit delete rows as select {columns}, {op}0::bigint as {number} \
                 from {name} with no data"
            )
        })
    }

    /// Puts the gathered rows into the table; of those of a key the last counts, and of all only those behind the last that empties it.
    pub fn merge(&self, ways: &[ColumnConversion]) -> Vec<String> {
        let way = |name: &String| self.schema.index_of(name).ok().and_then(|place| ways.get(place));
        let value = |name: &String| way(name).and_then(|way| way.cast.clone()).unwrap_or_else(|| quoted(name));
        let stored = |name: &String| way(name).and_then(|way| way.stored.clone()).unwrap_or_else(|| quoted(name));
        let gathering = self.gathering();
        let all = list(self.schema.fields().iter().map(|field| value(field.name())));
        if self.key.is_empty() {
            let (name, columns, number) = (self.name(), self.columns(), quoted(&self.number()));
            let insert = format!(
                "insert into {name} ({columns}) {OVERRIDING} select {all} from pg_temp.{gathering} order by {number}"
            );
            return self.gathers(ways).then_some(insert).into_iter().collect();
        }
        let unique = list(self.key.iter().map(stored));
        let others = self.schema.fields().iter().map(|field| field.name()).filter(|name| !self.key.contains(name));
        let sets = list(others.map(|name| format!("{0} = excluded.{0}", quoted(name))));
        let action = if sets.is_empty() { "nothing".into() } else { format!("update set {sets}") };
        let (name, columns, keys, number) = (self.name(), self.columns(), self.keys(), quoted(&self.number()));
        let Some(op) = self.op.as_ref().map(|op| quoted(op)) else {
            return vec![format!(
                "insert into {name} as {TARGET} ({columns}) {OVERRIDING} select distinct on ({unique}) {all} from pg_temp.{gathering} \
                 order by {unique}, {number} desc on conflict ({keys}) do {action}"
            )];
        };
        let last = format!(
            "(select distinct on ({unique}) * from pg_temp.{gathering} order by {unique}, {number} desc) as millstream_last"
        );
        vec![
            format!("delete from {name} where exists (select from pg_temp.{gathering} where {op} = '{TRUNCATE}')"),
            format!(
                "delete from pg_temp.{gathering} where {number} <= \
                 (select max({number}) from pg_temp.{gathering} where {op} = '{TRUNCATE}')"
            ),
            format!("delete from {name} where ({keys}) in (select {unique} from {last} where {op} = '{DELETE}')"),
            format!(
                "insert into {name} as {TARGET} ({columns}) {OVERRIDING} select {all} from {last} where {op} <> '{DELETE}' \
                 on conflict ({keys}) do {action}"
            ),
        ]
    }

    /// The name of the place where rows are gathered, which is not the table's: a name without a schema is looked for among
    /// temporary tables first.
    fn gathering(&self) -> String {
        let mut name = GATHERING.to_owned();
        while self.table == name {
            name.push('_');
        }
        name
    }

    /// The name of the column of row numbers, which is none of ours.
    fn number(&self) -> String {
        let mut name = "millstream_number".to_string();
        while self.schema.index_of(&name).is_ok() {
            name.push('_');
        }
        name
    }

    /// Whether a table that is there can take the rows; how, in the order of our columns.
    pub fn fit(&self, found: &ExistingTable) -> Result<Vec<ColumnConversion>, String> {
        let name = self.name();
        if !["r", "p", "f"].contains(&found.kind.as_str()) {
            return Err(format!("{name} is not a table but a view or the like; name a table"));
        }
        let has = list(found.columns.iter().map(|column| format!("{} {}", column.name, column.told)));
        let wrong = |what: String, help: &str| {
            let rows = describe(&self.schema);
            Err(format!("{what}: the rows have {rows}, and the table {name} has {has}; {help}"))
        };
        let mut ways = Vec::new();
        for field in self.schema.fields() {
            let (column, kind) = (field.name(), ColumnType::of(field.data_type()));
            let sql = sql_type(&kind).unwrap_or(Cow::Borrowed("text"));
            let Some(there) = found.columns.iter().find(|there| there.name == *column) else {
                return wrong(format!("the table has no column `{column}`"), &format!("add it, of type {sql}"));
            };
            let (told, plain) = (&there.told, &there.plain);
            let element = there.element.as_deref();
            let column_there = ColumnFacts { kind: there.kind.as_ref(), told, plain, element };
            match ColumnConversion::of(column, &kind, &column_there) {
                Some(_) if there.generated => {
                    return wrong(format!("column `{column}` is computed by the table"), "leave it out in a stage");
                }
                // It is a value of new rows, and `update` has none for it.
                Some(_) if there.identity && !self.key.is_empty() && !self.key.contains(column) => {
                    let help = format!(
                        "leave it out in a stage, or let the rows say it: alter table {name} alter column {} set generated by \
                         default",
                        quoted(column)
                    );
                    return wrong(format!("column `{column}` is numbered by the table (`generated always`)"), &help);
                }
                Some(way) => ways.push(way),
                None => {
                    let what = format!("column `{column}` is {kind} in the rows and {} in the table", there.told);
                    return wrong(what, &format!("make it {sql}, or change the rows in a stage"));
                }
            }
        }
        let ours = |name: &String| self.schema.index_of(name).is_ok();
        if let Some(column) = found.columns.iter().find(|there| there.needed && !ours(&there.name)) {
            let what = format!("column `{}` of the table needs a value", column.name);
            return wrong(what, "add it to the rows, or give it a default");
        }
        let mut key = self.key.clone();
        key.sort();
        if !key.is_empty() && !found.unique.contains(&key) {
            let keys = self.keys();
            return Err(format!(
                "mode = \"upsert\" needs a primary key or unique index of the table {name} on {keys}, and it does not exist; create it \
                 with: create unique index on {name} ({keys})"
            ));
        }
        Ok(ways)
    }
}

/// Looks at the table; `None`: there is none.
pub(super) async fn find(client: &Client, table: &TargetTable) -> Result<Option<ExistingTable>, tokio_postgres::Error> {
    const TABLE: &str =
        "select oid, relkind::text from pg_catalog.pg_class where oid = pg_catalog.to_regclass($1::text)";
    const COLUMNS: &str = "select attname::text, atttypid, pg_catalog.format_type(atttypid, atttypmod), \
        attnotnull and not atthasdef and attidentity = '', attgenerated <> '', \
        pg_catalog.format_type(atttypid, -1), (select pg_catalog.format_type(case e.typtype when 'd' then e.typbasetype else e.oid end, -1) \
            from pg_catalog.pg_type t join pg_catalog.pg_type a on a.oid = case t.typtype when 'd' then t.typbasetype else t.oid end \
            join pg_catalog.pg_type e on e.oid = a.typelem where t.oid = atttypid and a.typcategory = 'A'), \
        attidentity = 'a' \
        from pg_catalog.pg_attribute where attrelid = $1 and attnum > 0 and not attisdropped order by attnum";
    const UNIQUE: &str = "select pg_catalog.array_agg(a.attname::text) from pg_catalog.pg_index i \
        join pg_catalog.pg_attribute a on a.attrelid = i.indrelid \
        and a.attnum = any((i.indkey::int2[])[0:i.indnkeyatts - 1]) \
        where i.indrelid = $1 and i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null \
        and i.indexprs is null group by i.indexrelid";
    let Some(row) = client.query_opt(TABLE, &[&table.name()]).await? else { return Ok(None) };
    let (oid, kind): (u32, String) = (row.try_get(0)?, row.try_get(1)?);
    let mut columns = Vec::new();
    for row in client.query(COLUMNS, &[&oid]).await? {
        columns.push(FoundColumn {
            name: row.try_get(0)?,
            kind: Type::from_oid(row.try_get(1)?),
            told: row.try_get(2)?,
            needed: row.try_get(3)?,
            generated: row.try_get(4)?,
            plain: row.try_get(5)?,
            element: row.try_get(6)?,
            identity: row.try_get(7)?,
        });
    }
    let mut unique = Vec::new();
    for row in client.query(UNIQUE, &[&oid]).await? {
        let mut names: Vec<String> = row.try_get(0)?;
        names.sort();
        unique.push(names);
    }
    Ok(Some(ExistingTable { kind, columns, unique }))
}

/// Whether there is a table of this quoted name.
pub(super) async fn exists(client: &Client, name: &str) -> Result<bool, tokio_postgres::Error> {
    let row = client.query_one("select pg_catalog.to_regclass($1::text) is not null", &[&name]).await?;
    row.try_get(0)
}

/// The type that a column of ours gets.
fn sql_type(kind: &ColumnType) -> Option<Cow<'static, str>> {
    Some(Cow::Borrowed(match kind {
        ColumnType::Bool => "boolean",
        ColumnType::Int64 => "bigint",
        ColumnType::Float64 => "double precision",
        ColumnType::Text => "text",
        ColumnType::Binary => "bytea",
        ColumnType::Timestamp => "timestamp with time zone",
        ColumnType::Arrow(DataType::Decimal128(precision, scale)) => {
            return Some(format!("numeric({precision},{scale})").into());
        }
        ColumnType::Arrow(DataType::Date32) => "date",
        ColumnType::Arrow(_) if is_named(kind) => "jsonb",
        ColumnType::Arrow(_) => return None,
    }))
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}
