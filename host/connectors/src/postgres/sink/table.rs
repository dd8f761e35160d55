//! The table of a `postgres` sink: its required form, and the statements that create and write it.

use super::conversion::{ColumnConversion, ColumnFacts, is_named};
use crate::postgres::{is_already_created, quoted};
use arrow::datatypes::{DataType, SchemaRef};
use millstream_rows::batch::op::{self, DELETE, TRUNCATE};
use millstream_rows::batch::types::{ColumnType, describe};
use std::borrow::Cow;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

/// Maximum bytes of a name in PostgreSQL, which truncates longer ones.
const NAME_BYTES_MAX: usize = 63;
/// Maximum columns of a PostgreSQL table.
const COLUMNS_MAX: usize = 1_600;
/// The staging table of a batch's rows before they replace those with the same keys.
const STAGING_TABLE: &str = "millstream_rows";
/// The alias of the table in statements, as its own name may be ambiguous there.
const TARGET: &str = "millstream_target";
/// A value for a column that the table would number itself is written, as `copy` always does.
const OVERRIDING: &str = "overriding system value";

/// The table that the job requires.
pub(super) struct TargetTable {
    /// `schema` of `schema.table`.
    pub namespace: Option<String>,
    table: String,
    schema: SchemaRef,
    /// The key columns; empty: rows are appended.
    key: Vec<String>,
    /// The column of the rows with their operation; the table does not have it.
    pub op: Option<String>,
}

/// An existing table.
pub(super) struct ExistingTable {
    kind: String,
    columns: Vec<FoundColumn>,
    /// The columns of each unique index.
    unique: Vec<Vec<String>>,
}

struct FoundColumn {
    name: String,
    kind: Option<Type>,
    /// The type in SQL notation.
    sql_name: String,
    /// The type without modifiers such as a length.
    plain: String,
    /// For an array, the type of its elements.
    element: Option<String>,
    /// Whether a row without a value for it is rejected.
    needed: bool,
    /// Whether the server computes it.
    generated: bool,
    /// `generated always as identity`
    identity: bool,
}

impl TargetTable {
    /// Describes the table. The error is a key of the job file and what is wrong with it.
    pub fn new(
        namespace: Option<&str>,
        table: &str,
        rows: &SchemaRef,
        key: &[String],
        op: Option<&str>,
    ) -> Result<TargetTable, (&'static str, String)> {
        let op = op.filter(|_| !rows.fields().is_empty());
        // Without columns, only the marker is read.
        let schema = match rows.fields().is_empty() {
            true => rows.clone(),
            false => op::columns_written(rows, key, op)?,
        };
        let fields = schema.fields();
        for field in fields {
            let (name, kind) = (field.name(), ColumnType::from_arrow(field.data_type()));
            if matches!(kind, ColumnType::Arrow(_)) && !is_named(&kind) {
                let message = format!("column `{name}` is {kind}, which a table cannot hold; drop it in a stage");
                return Err(("from", message));
            }
            if name.is_empty() || name.contains('\0') || name.len() > NAME_BYTES_MAX {
                let message =
                    format!("column `{name}` cannot have that name in a table; a name has 1 to {NAME_BYTES_MAX} bytes");
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

    /// Returns the quoted name.
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

    /// Returns the statement that creates the table.
    pub fn create(&self) -> String {
        let columns = self.schema.fields().iter().map(|field| {
            let kind = sql_type(&ColumnType::from_arrow(field.data_type())).unwrap_or(Cow::Borrowed("text"));
            format!("{} {kind}", quoted(field.name()))
        });
        let key = (!self.key.is_empty()).then(|| format!("primary key ({})", self.keys()));
        format!("create table if not exists {} ({})", self.name(), list(columns.chain(key)))
    }

    /// Whether rows are staged first: to replace others, or to be cast.
    pub fn is_staged(&self, conversions: &[ColumnConversion]) -> bool {
        !self.key.is_empty() || conversions.iter().any(|conversion| conversion.cast.is_some())
    }

    /// Returns the statement that copies rows into the table, or into the staging table.
    pub fn copy(&self, conversions: &[ColumnConversion]) -> String {
        let (to, columns) = match !self.is_staged(conversions) {
            true => (self.name(), self.columns()),
            false => {
                let extra_columns = self.op.iter().map(|op| quoted(op)).chain([quoted(&self.number_column())]);
                (format!("pg_temp.{}", self.staging_table()), format!("{}, {}", self.columns(), list(extra_columns)))
            }
        };
        format!("copy {to} ({columns}) from stdin (format binary)")
    }

    /// Returns the statement that creates the staging table of this connection; it is emptied after every transaction.
    pub fn create_staging_table(&self, conversions: &[ColumnConversion]) -> Option<String> {
        let (number_column, name, staging_table) = (quoted(&self.number_column()), self.name(), self.staging_table());
        let columns =
            list(self.schema.fields().iter().zip(conversions).map(|(field, conversion)| match &conversion.cast {
                None => quoted(field.name()),
                Some(_) => format!("null::{} as {}", conversion.copied.name(), quoted(field.name())),
            }));
        self.is_staged(conversions).then(|| {
            let op = self.op.iter().map(|op| format!("null::text as {}, ", quoted(op))).collect::<String>();
            format!(
                "create temporary table {staging_table} on commit delete rows as select {columns}, {op}0::bigint as {number_column} \
                 from {name} with no data"
            )
        })
    }

    /// Returns the statements that move staged rows into the table. The last row of a key wins, and only rows after the last truncation
    /// count.
    pub fn merge(&self, conversions: &[ColumnConversion]) -> Vec<String> {
        let conversion = |name: &String| self.schema.index_of(name).ok().and_then(|index| conversions.get(index));
        let value = |name: &String| {
            conversion(name).and_then(|conversion| conversion.cast.clone()).unwrap_or_else(|| quoted(name))
        };
        let stored = |name: &String| {
            conversion(name).and_then(|conversion| conversion.stored.clone()).unwrap_or_else(|| quoted(name))
        };
        let staging_table = self.staging_table();
        let all = list(self.schema.fields().iter().map(|field| value(field.name())));
        if self.key.is_empty() {
            let (name, columns, number_column) = (self.name(), self.columns(), quoted(&self.number_column()));
            let insert = format!(
                "insert into {name} ({columns}) {OVERRIDING} select {all} from pg_temp.{staging_table} order by {number_column}"
            );
            return self.is_staged(conversions).then_some(insert).into_iter().collect();
        }
        let unique = list(self.key.iter().map(stored));
        let others = self.schema.fields().iter().map(|field| field.name()).filter(|name| !self.key.contains(name));
        let sets = list(others.map(|name| format!("{0} = excluded.{0}", quoted(name))));
        let action = if sets.is_empty() { "nothing".into() } else { format!("update set {sets}") };
        let (name, columns, keys, number_column) =
            (self.name(), self.columns(), self.keys(), quoted(&self.number_column()));
        let Some(op) = self.op.as_ref().map(|op| quoted(op)) else {
            return vec![format!(
                "insert into {name} as {TARGET} ({columns}) {OVERRIDING} select distinct on ({unique}) {all} from pg_temp.{staging_table} \
                 order by {unique}, {number_column} desc on conflict ({keys}) do {action}"
            )];
        };
        let last = format!(
            "(select distinct on ({unique}) * from pg_temp.{staging_table} order by {unique}, {number_column} desc) as millstream_last"
        );
        vec![
            format!("delete from {name} where exists (select from pg_temp.{staging_table} where {op} = '{TRUNCATE}')"),
            format!(
                "delete from pg_temp.{staging_table} where {number_column} <= \
                 (select max({number_column}) from pg_temp.{staging_table} where {op} = '{TRUNCATE}')"
            ),
            format!("delete from {name} where ({keys}) in (select {unique} from {last} where {op} = '{DELETE}')"),
            format!(
                "insert into {name} as {TARGET} ({columns}) {OVERRIDING} select {all} from {last} where {op} <> '{DELETE}' \
                 on conflict ({keys}) do {action}"
            ),
        ]
    }

    /// Returns the name of the staging table, which must differ from the table's name: a name without a schema is first searched among
    /// temporary tables.
    fn staging_table(&self) -> String {
        let mut name = STAGING_TABLE.to_owned();
        while self.table == name {
            name.push('_');
        }
        name
    }

    /// Returns the name of the row number column, which no other column has.
    fn number_column(&self) -> String {
        let mut name = "millstream_number".to_string();
        while self.schema.index_of(&name).is_ok() {
            name.push('_');
        }
        name
    }

    /// Checks whether an existing table can take the rows. Returns the conversions in the order of the rows' columns.
    pub fn fit(&self, found: &ExistingTable) -> Result<Vec<ColumnConversion>, String> {
        let name = self.name();
        if !["r", "p", "f"].contains(&found.kind.as_str()) {
            return Err(format!("{name} is not a table but a view or the like; name a table"));
        }
        let has = list(found.columns.iter().map(|column| format!("{} {}", column.name, column.sql_name)));
        let wrong = |what: String, help: &str| {
            let rows = describe(&self.schema);
            Err(format!("{what}: the rows have {rows}, and the table {name} has {has}; {help}"))
        };
        let mut conversions = Vec::new();
        for field in self.schema.fields() {
            let (column, kind) = (field.name(), ColumnType::from_arrow(field.data_type()));
            let sql = sql_type(&kind).unwrap_or(Cow::Borrowed("text"));
            let Some(existing) = found.columns.iter().find(|existing| existing.name == *column) else {
                return wrong(format!("the table has no column `{column}`"), &format!("add it, of type {sql}"));
            };
            let (sql_name, plain) = (&existing.sql_name, &existing.plain);
            let element = existing.element.as_deref();
            let column_there = ColumnFacts { kind: existing.kind.as_ref(), sql_name, plain, element };
            match ColumnConversion::find(column, &kind, &column_there) {
                Some(_) if existing.generated => {
                    return wrong(format!("column `{column}` is computed by the table"), "drop it in a stage");
                }
                // The column has a value only for new rows, and `update` has none for it.
                Some(_) if existing.identity && !self.key.is_empty() && !self.key.contains(column) => {
                    let help = format!(
                        "drop it in a stage, or let the rows set it: alter table {name} alter column {} set \
                         generated by default",
                        quoted(column)
                    );
                    return wrong(format!("column `{column}` is numbered by the table (`generated always`)"), &help);
                }
                Some(conversion) => conversions.push(conversion),
                None => {
                    let what =
                        format!("column `{column}` is {kind} in the rows and {} in the table", existing.sql_name);
                    return wrong(what, &format!("make it {sql}, or change the rows in a stage"));
                }
            }
        }
        let ours = |name: &String| self.schema.index_of(name).is_ok();
        if let Some(column) = found.columns.iter().find(|existing| existing.needed && !ours(&existing.name)) {
            let what = format!("column `{}` of the table needs a value", column.name);
            return wrong(what, "add it to the rows, or set a default");
        }
        let mut key = self.key.clone();
        key.sort();
        if !key.is_empty() && !found.unique.contains(&key) {
            let keys = self.keys();
            return Err(format!(
                "mode = \"upsert\" needs a primary key or unique index of the table {name} on {keys}; create it \
                 with: create unique index on {name} ({keys})"
            ));
        }
        Ok(conversions)
    }
}

/// Reads the description of the table; `None` if it does not exist.
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
            sql_name: row.try_get(2)?,
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

/// Whether a table with this quoted name exists.
pub(super) async fn exists(client: &Client, name: &str) -> Result<bool, tokio_postgres::Error> {
    let row = client.query_one("select pg_catalog.to_regclass($1::text) is not null", &[&name]).await?;
    row.try_get(0)
}

/// Executes the statement that creates a table. `if not exists` is not enough: it fails if another connection creates the same table at
/// the same time.
pub(super) async fn create(client: &Client, name: &str, statement: &str) -> Result<(), tokio_postgres::Error> {
    match client.batch_execute(statement).await {
        Err(error) if is_already_created(&error) && exists(client, name).await? => Ok(()),
        created => created,
    }
}

/// Returns the SQL type of a new column.
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
