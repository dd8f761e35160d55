//! The table of a sink: its required columns, and the statements that write, replace and delete rows.

use super::{DatabaseFault, quoted};
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use millstream_job::spec::TableMode;
use millstream_rows::batch::cell::{self, Cells};
use millstream_rows::batch::op::{self, Op};
use millstream_rows::batch::types::ColumnType;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, ToSql};
use std::collections::BTreeSet;

/// The table that the job requires.
pub struct TargetTable {
    name: String,
    /// The written columns, without `op`.
    columns: SchemaRef,
    /// The indices of the key among these; empty: rows are appended.
    key: Vec<usize>,
    /// The column with the operation of a row.
    pub op: Option<String>,
}

/// What exists under the name of a table.
pub struct FoundTable {
    columns: Vec<String>,
    /// The columns of each unique index or primary key.
    unique: Vec<BTreeSet<String>>,
}

impl TargetTable {
    /// Describes the table for rows of this schema; an error is a key of the job file and what is wrong with it.
    pub fn new(name: &str, rows: &Schema, mode: &TableMode) -> Result<TargetTable, (&'static str, String)> {
        let (key, op) = match mode {
            TableMode::Append => (&[][..], None),
            TableMode::Upsert { key, op } => (key.as_slice(), op.as_deref()),
        };
        let columns = op::columns_written(rows, key, op)?;
        let mut seen = BTreeSet::new();
        for field in columns.fields() {
            // SQLite compares names without case.
            if !seen.insert(field.name().to_lowercase()) {
                let column = field.name().escape_debug();
                return Err(("from", format!("two columns are `{column}` to SQLite, which ignores case")));
            }
            if field.name().contains('\0') {
                return Err(("from", "a column name contains NUL, which SQLite does not support".into()));
            }
        }
        if columns.fields().is_empty() {
            return Err(("from", "the rows have no columns to write".into()));
        }
        let key = key.iter().filter_map(|name| columns.index_of(name).ok()).collect();
        Ok(TargetTable { name: name.into(), columns, key, op: op.map(str::to_owned) })
    }

    /// Returns the statement that creates the table.
    pub fn create(&self) -> String {
        let columns = self.columns.fields().iter().enumerate().map(|(at, field)| {
            let not_null = if self.key.contains(&at) { " not null" } else { "" };
            format!("{} {}{not_null}", quoted(field.name()), declared(field.data_type()))
        });
        let mut parts: Vec<String> = columns.collect();
        if !self.key.is_empty() {
            parts.push(format!("primary key ({})", self.key_names(", ", quoted)));
        }
        format!("create table if not exists {} ({})", quoted(&self.name), parts.join(", "))
    }

    /// Reads what exists under its name.
    pub fn find(&self, connection: &Connection) -> Result<Option<FoundTable>, DatabaseFault> {
        let mut columns = connection.prepare("select name, pk from pragma_table_xinfo(?1) order by pk")?;
        let columns = columns.query_map([&self.name], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        if columns.is_empty() {
            return Ok(None);
        }
        let primary =
            columns.iter().filter(|(_, position)| *position > 0).map(|(name, _)| name.to_lowercase()).collect();
        let mut unique = vec![primary];
        let mut indices =
            connection.prepare("select name from pragma_index_list(?1) where \"unique\" = 1 and partial = 0")?;
        let indices = indices.query_map([&self.name], |row| row.get::<_, String>(0))?;
        for index in indices.collect::<Result<Vec<_>, _>>()? {
            let mut names = connection.prepare("select name from pragma_index_info(?1)")?;
            let names = names.query_map([&index], |row| row.get::<_, Option<String>>(0))?;
            // An expression has no name.
            let names: Option<BTreeSet<String>> = names
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .map(|name| name.map(|name| name.to_lowercase()))
                .collect();
            unique.extend(names);
        }
        let columns = columns.into_iter().map(|(name, _)| name).collect();
        Ok(Some(FoundTable { columns, unique }))
    }

    /// Checks that the rows fit into what exists.
    pub fn fit(&self, found: &FoundTable) -> Result<(), String> {
        let (name, has) = (self.name.escape_debug(), || found.columns.join(", "));
        let lacks = |field: &str| !found.columns.iter().any(|column| column.to_lowercase() == field.to_lowercase());
        if let Some(field) = self.columns.fields().iter().find(|field| lacks(field.name())) {
            let field = field.name().escape_debug();
            return Err(format!("table `{name}` has no column `{field}`; it has {}", has()));
        }
        let key: BTreeSet<String> = self.key.iter().map(|at| self.columns.field(*at).name().to_lowercase()).collect();
        if !key.is_empty() && !found.unique.contains(&key) {
            let key = self.key_names(", ", str::to_owned);
            return Err(format!(
                "table `{name}` may have two rows with the same key: create a unique index on exactly {key}, or \
                name another table"
            ));
        }
        Ok(())
    }

    fn key_names(&self, between: &str, form: impl Fn(&str) -> String) -> String {
        let names = self.key.iter().map(|at| form(self.columns.field(*at).name()));
        names.collect::<Vec<_>>().join(between)
    }

    fn insert(&self) -> String {
        let fields = self.columns.fields();
        let names = fields.iter().map(|field| quoted(field.name())).collect::<Vec<_>>().join(", ");
        let values = (1..=fields.len()).map(|at| format!("?{at}")).collect::<Vec<_>>().join(", ");
        let mut insert = format!("insert into {} ({names}) values ({values})", quoted(&self.name));
        if !self.key.is_empty() {
            let others = fields.iter().enumerate().filter(|(at, _)| !self.key.contains(at));
            let others = others.map(|(_, field)| format!("{0} = excluded.{0}", quoted(field.name())));
            let others = others.collect::<Vec<_>>().join(", ");
            let does = if others.is_empty() { "nothing".to_owned() } else { format!("update set {others}") };
            insert += &format!(" on conflict ({}) do {does}", self.key_names(", ", quoted));
        }
        insert
    }

    fn delete(&self) -> String {
        let key = self.key.iter().enumerate();
        let key = key.map(|(at, of)| format!("{} = ?{}", quoted(self.columns.field(*of).name()), at + 1));
        format!("delete from {} where {}", quoted(&self.name), key.collect::<Vec<_>>().join(" and "))
    }

    /// Writes rows in their order. `op`, if any, follows their columns.
    pub fn write(&self, connection: &Connection, parts: &[RecordBatch]) -> Result<(), DatabaseFault> {
        let mut insert = connection.prepare(&self.insert())?;
        let mut delete = match self.op {
            Some(_) => Some(connection.prepare(&self.delete())?),
            None => None,
        };
        let mut before = 0;
        for part in parts {
            let count = self.columns.fields().len();
            let cells: Vec<(&ArrayRef, Cells<'_>)> =
                part.columns().iter().take(count).map(|array| (array, Cells::new(array))).collect();
            let ops = part.columns().get(count).and_then(|array| array.as_any().downcast_ref());
            for row in 0..part.num_rows() {
                let rejection = |why: String| DatabaseFault::Row(format!("row {}: {why}", before + row + 1));
                let value = |at: usize| self.value(&cells[at], at, row).map_err(rejection);
                match (Op::of_row(ops, row).map_err(rejection)?, &mut delete) {
                    (Op::Write, _) => {
                        let values = (0..count).map(value).collect::<Result<Vec<_>, _>>()?;
                        run(&mut insert, &values, rejection)?;
                    }
                    (Op::Delete, Some(delete)) => {
                        let values = self.key.iter().map(|at| value(*at)).collect::<Result<Vec<_>, _>>()?;
                        run(delete, &values, rejection)?;
                    }
                    (Op::Truncate, _) => {
                        connection.execute(&format!("delete from {}", quoted(&self.name)), [])?;
                    }
                    (Op::Delete, None) => return Err(rejection("it does not say which row to delete".into())),
                }
            }
            before += part.num_rows();
        }
        Ok(())
    }

    fn value<'a>(
        &self,
        (array, cells): &'a (&'a ArrayRef, Cells<'a>),
        at: usize,
        row: usize,
    ) -> Result<ToSqlOutput<'a>, String> {
        let name = || self.columns.field(at).name().escape_debug();
        if array.is_null(row) {
            if self.key.contains(&at) {
                return Err(format!("column `{}` is null, and it is the key", name()));
            }
            return Ok(ToSqlOutput::Borrowed(ValueRef::Null));
        }
        let text = |write: &dyn Fn(&mut String)| {
            let mut text = String::new();
            write(&mut text);
            ToSqlOutput::from(text)
        };
        Ok(match cells {
            Cells::Bool(array) => ToSqlOutput::from(array.value(row)),
            Cells::Int64(array) => ToSqlOutput::from(array.value(row)),
            // SQLite would silently store a null for NaN.
            Cells::Float64(array) if array.value(row).is_nan() => text(&|out| cell::write_float(out, array.value(row))),
            Cells::Float64(array) => ToSqlOutput::from(array.value(row)),
            Cells::Text(array) => ToSqlOutput::Borrowed(ValueRef::Text(array.value(row).as_bytes())),
            Cells::Binary(array) => ToSqlOutput::Borrowed(ValueRef::Blob(array.value(row))),
            Cells::Timestamp(array) => text(&|out| cell::write_rfc3339(out, array.value(row))),
            Cells::Date(array) => text(&|out| cell::write_date(out, array.value(row))),
            Cells::Decimal(array) => ToSqlOutput::from(array.value_as_string(row)),
            Cells::Other(array) => {
                return Err(format!("column `{}` is {}, which SQLite columns cannot hold", name(), array.data_type()));
            }
        })
    }
}

/// A violated constraint of the table is an error of the row.
fn run(
    statement: &mut Statement<'_>,
    values: &[ToSqlOutput<'_>],
    rejection: impl Fn(String) -> DatabaseFault,
) -> Result<(), DatabaseFault> {
    let values: Vec<&dyn ToSql> = values.iter().map(|value| value as &dyn ToSql).collect();
    match statement.execute(values.as_slice()) {
        Ok(_) => Ok(()),
        Err(error) => match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation | rusqlite::ErrorCode::TypeMismatch) => {
                Err(rejection(error.to_string()))
            }
            _ => Err(error.into()),
        },
    }
}

/// Returns the declared type of a new column, by which [`super::table`] recognizes it. Only text keeps all digits of a decimal.
fn declared(kind: &DataType) -> &'static str {
    match ColumnType::from_arrow(kind) {
        ColumnType::Bool => "BOOLEAN",
        ColumnType::Int64 => "INTEGER",
        ColumnType::Float64 => "REAL",
        ColumnType::Binary => "BLOB",
        ColumnType::Timestamp => "TIMESTAMP",
        ColumnType::Arrow(DataType::Date32) => "DATE",
        ColumnType::Text | ColumnType::Arrow(_) => "TEXT",
    }
}
