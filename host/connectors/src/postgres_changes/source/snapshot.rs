//! The rows of tables in one snapshot, in the order of their keys.

use super::catalog::FollowedTable;
use super::partitions;
use super::position::RowPosition;
use crate::postgres::replication::Lsn;
use crate::postgres::{DatabaseError, Driver};
use futures_util::TryStreamExt;
use std::pin::Pin;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryStream};

/// Reads the rows of a snapshot.
pub struct SnapshotReader {
    client: Client,
    _driver: Driver,
    lsn: Lsn,
    /// Which transactions it shows, in the server's notation.
    shows: String,
    /// Number of rows read so far.
    rows: u64,
    /// The table that is being read, and its rows.
    current: Option<(usize, Pin<Box<SimpleQueryStream>>)>,
    /// The beginning of the next table.
    next: RowPosition,
}

impl SnapshotReader {
    /// Begins to read the snapshot of this name, which shows what was committed before this position, after a row that was already read.
    pub async fn begin(
        (client, driver): (Client, Driver),
        name: &str,
        lsn: Lsn,
        after: Option<RowPosition>,
    ) -> Result<SnapshotReader, DatabaseError> {
        let name = name.replace('\'', "''");
        client
            .batch_execute(&format!(
                "begin isolation level repeatable read, read only; set transaction snapshot '{name}'"
            ))
            .await?;
        let shows = partitions::now(&client).await?;
        let next = match after {
            None => RowPosition { table: 0, key: None },
            Some(RowPosition { table, key: None }) => RowPosition { table: table + 1, key: None },
            Some(within) => within,
        };
        Ok(SnapshotReader { client, _driver: driver, lsn, shows, rows: 0, current: None, next })
    }

    /// Returns which transactions the snapshot shows.
    pub fn shows(&self) -> &str {
        &self.shows
    }

    /// Returns the position before which everything visible in the snapshot was committed.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Returns how many rows were read.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the next row and its values; without values: all rows of the table were read. `None`: all tables were read. Cancelling the
    /// call loses nothing.
    pub async fn next(
        &mut self,
        tables: &[FollowedTable],
    ) -> Result<Option<(RowPosition, Vec<Option<String>>)>, DatabaseError> {
        loop {
            let Some((table_index, rows)) = &mut self.current else {
                let Some(table) = tables.get(self.next.table) else { return Ok(None) };
                let rows = self.client.simple_query_raw(&table.select(self.next.key.as_deref())).await?;
                self.current = Some((self.next.table, Box::pin(rows)));
                continue;
            };
            let table_index = *table_index;
            match rows.try_next().await? {
                Some(SimpleQueryMessage::Row(row)) => {
                    let columns = tables.get(table_index).map_or(0, |table| table.columns.len());
                    let value = |column| -> Result<Option<String>, DatabaseError> {
                        Ok(row.try_get::<usize>(column)?.map(str::to_owned))
                    };
                    let mut values = (0..row.len()).map(value);
                    let of_row = values.by_ref().take(columns).collect::<Result<Vec<_>, DatabaseError>>()?;
                    let key = values.map(|value| value.map(Option::unwrap_or_default));
                    let key = Some(key.collect::<Result<Vec<String>, DatabaseError>>()?);
                    self.rows += 1;
                    return Ok(Some((RowPosition { table: table_index, key }, of_row)));
                }
                Some(_) => {}
                None => {
                    self.current = None;
                    self.next = RowPosition { table: table_index + 1, key: None };
                    return Ok(Some((RowPosition { table: table_index, key: None }, Vec::new())));
                }
            }
        }
    }
}
