//! The rows of a query against a PostgreSQL database, as an Arrow IPC stream.

use crate::postgres::quoted;
use crate::postgres::{AwaitDatabase as _, Connection, DatabaseError, Driver};
use bytes::Bytes;
use futures_util::TryStreamExt;
use millstream_base::error::{Error, Result};
use millstream_base::limits::ENRICH_BYTES_MAX;
use millstream_connect::receiver::table::rows::{ResultValues, encode};
use millstream_connect::receiver::table::too_large;
use millstream_job::database;
use millstream_job::spec::{TableDeclaration, TableQuery};
use std::error::Error as StdError;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, Kind, Type};
use tokio_postgres::{Client, IsolationLevel, Row};

/// Rows that are fetched at a time.
const ROWS_AT_A_TIME: i32 = 10_000;
/// A query that takes longer counts as failed.
const QUERY_TIME_MAX: Duration = Duration::from_secs(60);
/// Microseconds between 1970 and 2000, where PostgreSQL's timestamps begin.
const EPOCH_US: i64 = 946_684_800_000_000;

/// Queries of PostgreSQL databases.
pub const POSTGRES: TableDeclaration = TableDeclaration {
    schemes: &["postgres://", "postgresql://"],
    check: database::check_url,
    check_start: |url| database::config(url).map(drop),
    fetch,
};

/// Runs the query. The error says whether a change of the job can fix it.
fn fetch(TableQuery { url, query, who, wait, servers, .. }: TableQuery<'_>) -> Result<Bytes> {
    let connection = Connection::new(database::config(url).map_err(Error::job)?);
    let server_name = connection.server_name();
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::environment(format!("cannot start a runtime: {error}")))?;
        let fetched = runtime.block_on(servers.run(who, &server_name, wait, async || {
            let connected = connection.connect().await?;
            // A query that takes too long would do so again.
            let slow =
                |_| DatabaseError::permanent(format!("no response in {} s to the query", QUERY_TIME_MAX.as_secs()));
            tokio::time::timeout(QUERY_TIME_MAX, rows(connected, query)).await.unwrap_or_else(|late| Err(slow(late)))
        }));
        // A lookup of the host's name may still be blocked.
        runtime.shutdown_background();
        fetched.map_err(|fault| {
            let message = format!("{server_name}: {}{}", fault.message, servers.help(&fault));
            if fault.is_transient() { Error::environment(message) } else { Error::job(message) }
        })
    };
    // The caller may be a thread of an async runtime, which must not block on another.
    std::thread::scope(|scope| {
        scope
            .spawn(work)
            .join()
            .unwrap_or_else(|_| Err(Error::bug("a thread that used a database connection panicked")))
    })
}

async fn rows((mut client, driver): (Client, Driver), query: &str) -> Result<Bytes, DatabaseError> {
    let fetched = select(&mut client, query).await.map_err(|error| match error {
        // It is we who only let it read.
        SelectError::Server(error) if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => {
            DatabaseError::permanent(DatabaseError::from_driver(&error).message)
        }
        SelectError::Server(error) => DatabaseError::from_driver(&error),
        SelectError::Query(fault) => fault,
    });
    drop(client);
    let _ = driver.await;
    fetched
}

/// Why a query returned no rows.
enum SelectError {
    Server(tokio_postgres::Error),
    Query(DatabaseError),
}

impl From<tokio_postgres::Error> for SelectError {
    fn from(error: tokio_postgres::Error) -> SelectError {
        SelectError::Server(error)
    }
}

impl From<DatabaseError> for SelectError {
    fn from(fault: DatabaseError) -> SelectError {
        SelectError::Query(fault)
    }
}

/// Returns all rows, in a read-only transaction.
async fn select(client: &mut Client, query: &str) -> Result<Bytes, SelectError> {
    let transaction = client.build_transaction().read_only(true).isolation_level(IsolationLevel::RepeatableRead);
    let transaction = transaction.start().await?;
    let mut statement = transaction.prepare(query).await?;
    if !statement.params().is_empty() {
        let message = "the query has parameters such as `$1`, but no values for them; write the values";
        return Err(DatabaseError::permanent(message.into()).into());
    }
    if statement.columns().is_empty() {
        return Err(
            DatabaseError::permanent("the query returns no columns; write a `select` with columns".into()).into()
        );
    }
    if let Some(cast) = with_casts(query, statement.columns()) {
        statement = transaction.prepare(&cast).await?;
    }
    let columns = statement.columns().iter().map(|column| (column.name().to_owned(), column.type_().clone()));
    let mut columns = columns.map(|(name, kind)| ResultColumn::new(name, kind)).collect::<Result<Vec<_>, _>>()?;
    let portal = transaction.bind(&statement, &[]).await?;
    let mut bytes = 0;
    let mut count = 0;
    loop {
        let mut rows = std::pin::pin!(transaction.query_portal_raw(&portal, ROWS_AT_A_TIME).await?);
        let before = count;
        // One by one: a server may send more than requested.
        while let Some(row) = rows.as_mut().try_next().await? {
            for (index, column) in columns.iter_mut().enumerate() {
                bytes += column.take(&row, index)? as u64;
            }
            // Also of rows without columns.
            bytes += 1;
            count += 1;
            if bytes > ENRICH_BYTES_MAX {
                return Err(DatabaseError::permanent(too_large("the rows of the query")).into());
            }
        }
        if count - before < ROWS_AT_A_TIME as usize {
            break;
        }
    }
    let columns = columns.into_iter().map(|column| (column.name, column.values)).collect();
    encode(columns, count).map_err(|error| DatabaseError::permanent(error.to_string()).into())
}

/// Returns the query with casts to types that jobs have, if it has other types: numeric becomes a float, a date the beginning
/// of its day, an array JSON, and everything else text.
fn with_casts(query: &str, columns: &[tokio_postgres::Column]) -> Option<String> {
    let cast = |column: &tokio_postgres::Column| {
        let name = quoted(column.name());
        match column.type_() {
            known if values_of(known).is_some() => None,
            &Type::NUMERIC => Some(format!("{name}::float8")),
            &Type::DATE => Some(format!("{name}::timestamp")),
            other if matches!(other.kind(), Kind::Array(_)) => Some(format!("pg_catalog.to_json({name})::text")),
            _ => Some(format!("{name}::text")),
        }
    };
    columns.iter().any(|column| cast(column).is_some()).then(|| {
        let one = |column: &tokio_postgres::Column| {
            let name = quoted(column.name());
            cast(column).map_or_else(|| name.clone(), |cast| format!("{cast} as {name}"))
        };
        let columns = columns.iter().map(one).collect::<Vec<_>>().join(", ");
        let query = query.trim_end().trim_end_matches(';');
        // A comment may end the query.
        format!("select {columns} from (\n{query}\n) as millstream_rows")
    })
}

/// Returns the builder for values of a type that needs no cast.
fn values_of(from: &Type) -> Option<ResultValues> {
    Some(match *from {
        Type::BOOL => ResultValues::Bool(Vec::new()),
        Type::INT2 | Type::INT4 | Type::INT8 => ResultValues::Int64(Vec::new()),
        Type::FLOAT4 | Type::FLOAT8 => ResultValues::Float64(Vec::new()),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => ResultValues::Text(Vec::new()),
        Type::BYTEA => ResultValues::Binary(Vec::new()),
        Type::TIMESTAMPTZ | Type::TIMESTAMP => ResultValues::Timestamp(Vec::new()),
        _ => return None,
    })
}

/// A column of the result.
struct ResultColumn {
    name: String,
    from: Type,
    values: ResultValues,
}

impl ResultColumn {
    fn new(name: String, from: Type) -> Result<ResultColumn, DatabaseError> {
        let wrong =
            || format!("column `{name}` of the query is {from}, which jobs do not support; write {name}::text in it");
        let values = values_of(&from).ok_or_else(|| DatabaseError::permanent(wrong()))?;
        Ok(ResultColumn { name, from, values })
    }

    /// Takes the value of a row; how many bytes it has.
    fn take(&mut self, row: &Row, index: usize) -> Result<usize, DatabaseError> {
        match &mut self.values {
            ResultValues::Bool(values) => values.push(row.try_get(index)?),
            ResultValues::Int64(values) => values.push(match self.from {
                Type::INT2 => row.try_get::<_, Option<i16>>(index)?.map(i64::from),
                Type::INT4 => row.try_get::<_, Option<i32>>(index)?.map(i64::from),
                _ => row.try_get(index)?,
            }),
            ResultValues::Float64(values) => values.push(match self.from {
                Type::FLOAT4 => row.try_get::<_, Option<f32>>(index)?.map(f64::from),
                _ => row.try_get(index)?,
            }),
            ResultValues::Text(values) => {
                let value: Option<String> = row.try_get(index)?;
                let bytes = value.as_ref().map_or(0, String::len);
                values.push(value);
                return Ok(bytes + 8);
            }
            ResultValues::Binary(values) => {
                let value: Option<Vec<u8>> = row.try_get(index)?;
                let bytes = value.as_ref().map_or(0, Vec::len);
                values.push(value);
                return Ok(bytes + 8);
            }
            ResultValues::Timestamp(values) => {
                let value: Option<PostgresTimestamp> = row.try_get(index)?;
                let finite = |PostgresTimestamp(us)| [i64::MIN, i64::MAX].iter().all(|end| us != *end).then_some(us);
                let since = value.map(|value| finite(value).and_then(|us| us.checked_add(EPOCH_US)));
                if since == Some(None) {
                    return Err(DatabaseError::permanent(format!(
                        "column `{}` has an infinite time; exclude such rows",
                        self.name
                    )));
                }
                values.push(since.flatten());
            }
        }
        Ok(8)
    }
}

/// A timestamp as PostgreSQL sends it: microseconds since 2000.
struct PostgresTimestamp(i64);

impl<'a> FromSql<'a> for PostgresTimestamp {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<PostgresTimestamp, Box<dyn StdError + Sync + Send>> {
        Ok(PostgresTimestamp(i64::from_be_bytes(raw.try_into()?)))
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::TIMESTAMPTZ | Type::TIMESTAMP)
    }
}
