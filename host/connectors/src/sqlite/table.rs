//! Lookup tables of `enrich` stages: the rows of a query on an SQLite file.

use super::{DatabaseFault, open};
use bytes::Bytes;
use millstream_base::error::{Error, Result};
use millstream_base::limits::ENRICH_BYTES_MAX;
use millstream_connect::receiver::table::rows::{ResultValues, encode};
use millstream_connect::receiver::table::too_large;
use millstream_job::spec::{TableDeclaration, TableQuery};
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::times::TimeParser;
use millstream_rows::batch::types::ColumnType;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use std::time::{Duration, Instant};

/// The scheme of its URLs.
const SCHEME: &str = "sqlite:";
/// A query that takes longer fails.
const QUERY_TIME_MAX: Duration = Duration::from_secs(60);
/// After how many steps of a query its time is checked.
const STEPS: i32 = 100_000;

/// Queries on SQLite files.
pub const TABLE: TableDeclaration = TableDeclaration { schemes: &[SCHEME], check, check_start: check, fetch };

fn check(url: &str) -> std::result::Result<(), String> {
    match url.strip_prefix(SCHEME) {
        Some(path) if !path.is_empty() && !path.contains('\0') => Ok(()),
        _ => Err("`url` names no file; write it as \"sqlite:shop.db\", relative to the job file".into()),
    }
}

fn fetch(TableQuery { url, query, origin, .. }: TableQuery<'_>) -> Result<Bytes> {
    let path = url.strip_prefix(SCHEME).unwrap_or(url);
    let shown = format!("`{path}`");
    let rows = || {
        let full_path = origin.dir.join(path);
        if !full_path.exists() {
            return Err(DatabaseFault::Permanent("no such file or directory".into()));
        }
        rows(&mut open(&full_path, OpenFlags::SQLITE_OPEN_READ_ONLY)?, query)
    };
    rows().map_err(|fault| match fault {
        DatabaseFault::Transient(why) => Error::environment(format!("{shown}: {why}")),
        DatabaseFault::Permanent(why) | DatabaseFault::TakenOver(why) | DatabaseFault::Row(why) => {
            Error::job(format!("{shown}: {why}"))
        }
    })
}

/// Returns all rows of a query.
fn rows(connection: &mut Connection, query: &str) -> std::result::Result<Bytes, DatabaseFault> {
    let began = Instant::now();
    connection.progress_handler(STEPS, Some(move || began.elapsed() > QUERY_TIME_MAX))?;
    let mut statement = connection.prepare(query)?;
    let wrong = |message: String| Err(DatabaseFault::Permanent(message));
    if statement.parameter_count() > 0 {
        return wrong("the query has parameters such as `?`, but no values for them; write the values".into());
    }
    let mut columns: Vec<ResultColumn> = statement.columns().map(|column| ResultColumn::new(&column)).collect();
    if columns.is_empty() {
        return wrong("the query returns no columns; write a `select` with columns".into());
    }
    let (mut bytes, mut count) = (0, 0);
    let mut rows = statement.query([])?;
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => break,
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => {
                return wrong(format!("no response in {} s to the query", QUERY_TIME_MAX.as_secs()));
            }
            Err(error) => return Err(error.into()),
        };
        count += 1;
        // Also limits rows without columns.
        bytes += 1;
        for (at, column) in columns.iter_mut().enumerate() {
            bytes += column.take(row.get_ref(at)?).map_err(DatabaseFault::Permanent)? as u64;
        }
        if bytes > ENRICH_BYTES_MAX {
            return wrong(too_large("the rows of the query"));
        }
    }
    let columns = columns.into_iter().map(ResultColumn::finish).collect();
    encode(columns, count).map_err(|error| DatabaseFault::Permanent(error.to_string()))
}

/// A column of the result. It has the type of the table's column from which the query takes it, or else that of its first value.
struct ResultColumn {
    name: String,
    /// `None`: no value has determined the type yet.
    values: Option<ResultValues>,
    /// How many nulls came before the first value.
    nulls: usize,
    times: TimeParser,
}

impl ResultColumn {
    fn new(column: &rusqlite::Column<'_>) -> ResultColumn {
        let values = column.decl_type().and_then(|declared| {
            let type_word = declared.split('(').next().unwrap_or_default().trim().to_ascii_uppercase();
            Some(match type_word.as_str() {
                "BOOLEAN" | "BOOL" => ResultValues::Bool(Vec::new()),
                "INTEGER" | "INT" | "BIGINT" | "SMALLINT" | "TINYINT" => ResultValues::Int64(Vec::new()),
                "REAL" | "DOUBLE" | "DOUBLE PRECISION" | "FLOAT" | "NUMERIC" | "DECIMAL" => {
                    ResultValues::Float64(Vec::new())
                }
                "TEXT" | "VARCHAR" | "CHAR" | "NVARCHAR" | "CLOB" | "DATE" => ResultValues::Text(Vec::new()),
                "BLOB" => ResultValues::Binary(Vec::new()),
                "TIMESTAMP" | "DATETIME" => ResultValues::Timestamp(Vec::new()),
                _ => return None,
            })
        });
        let times = TimeParser::new(&ColumnSpec::new(column.name(), ColumnType::Timestamp));
        ResultColumn { name: column.name().to_owned(), values, nulls: 0, times }
    }

    /// Takes the value of a row. Returns its approximate bytes.
    fn take(&mut self, value: ValueRef<'_>) -> std::result::Result<usize, String> {
        if value == ValueRef::Null {
            match &mut self.values {
                None => self.nulls += 1,
                Some(values) => push_null(values),
            }
            return Ok(8);
        }
        let nulls = self.nulls;
        let values = self.values.get_or_insert_with(|| {
            let mut values = match value {
                ValueRef::Null | ValueRef::Text(_) => ResultValues::Text(Vec::new()),
                ValueRef::Integer(_) => ResultValues::Int64(Vec::new()),
                ValueRef::Real(_) => ResultValues::Float64(Vec::new()),
                ValueRef::Blob(_) => ResultValues::Binary(Vec::new()),
            };
            (0..nulls).for_each(|_| push_null(&mut values));
            values
        });
        let name = &self.name;
        let text = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).map_err(|_| format!("column `{name}` has text that is not UTF-8"))?;
            Ok::<_, String>(text.to_owned())
        };
        match (values, value) {
            (ResultValues::Bool(values), ValueRef::Integer(number @ (0 | 1))) => values.push(Some(number == 1)),
            (ResultValues::Int64(values), ValueRef::Integer(number)) => values.push(Some(number)),
            (ResultValues::Float64(values), ValueRef::Real(number)) => values.push(Some(number)),
            (ResultValues::Float64(values), ValueRef::Integer(number)) => values.push(Some(number as f64)),
            (ResultValues::Float64(values), ValueRef::Text(b"NaN")) => values.push(Some(f64::NAN)),
            (ResultValues::Text(values), ValueRef::Text(bytes)) => {
                values.push(Some(text(bytes)?));
                return Ok(bytes.len() + 8);
            }
            (ResultValues::Binary(values), ValueRef::Blob(bytes)) => {
                values.push(Some(bytes.to_owned()));
                return Ok(bytes.len() + 8);
            }
            (ResultValues::Timestamp(values), ValueRef::Text(bytes)) => {
                let text = text(bytes)?;
                let micros = self.times.read(&text);
                values.push(Some(micros.map_err(|_| {
                    let shown: String = text.chars().take(100).collect();
                    format!("column `{name}` is a time, and has `{}`", shown.escape_debug())
                })?));
            }
            (values, value) => {
                return Err(format!(
                    "column `{name}` is {}, and has a value of type {}; write `cast({name} as …)` in the query",
                    values.kind(),
                    value.data_type()
                ));
            }
        }
        Ok(8)
    }

    fn finish(self) -> (String, ResultValues) {
        let nulls = || ResultValues::Text(vec![None; self.nulls]);
        (self.name, self.values.unwrap_or_else(nulls))
    }
}

fn push_null(values: &mut ResultValues) {
    match values {
        ResultValues::Bool(values) => values.push(None),
        ResultValues::Int64(values) | ResultValues::Timestamp(values) => values.push(None),
        ResultValues::Float64(values) => values.push(None),
        ResultValues::Text(values) => values.push(None),
        ResultValues::Binary(values) => values.push(None),
    }
}
