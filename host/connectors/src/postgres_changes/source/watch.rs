//! Monitors the tables while their changes are followed. The log does not show that a table is dropped, renamed or removed from the
//! publication, or that partitions are attached or detached.

use super::partitions::{self, Partitions};
use super::{ChangesConnection, ChangesFollower};
use crate::postgres::{DatabaseError, Driver};
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use tracing::{debug, warn};

/// Interval of the checks.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Timeout of a check.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// What a follower knows of its tables.
pub struct TableWatch {
    /// A connection in addition to that of the stream, which accepts no queries.
    connection: Option<(Client, Driver)>,
    last_check: Instant,
    partitions: Partitions,
}

impl TableWatch {
    /// Starts with tables that were checked now and had these partitions.
    pub fn new(partitions: Partitions) -> TableWatch {
        TableWatch { connection: None, last_check: Instant::now(), partitions }
    }
}

impl ChangesFollower {
    /// Checks that the tables are the followed ones; `now`: even if they were checked recently. If a check is impossible now, it is
    /// repeated later.
    pub(super) async fn watch(&self, open: &mut ChangesConnection, now: bool) -> Result<(), DatabaseError> {
        if !now && open.watch.last_check.elapsed() < CHECK_INTERVAL {
            return Ok(());
        }
        open.watch.last_check = Instant::now();
        let known = open.watch.connection.take().filter(|(client, _)| !client.is_closed());
        let last_check = async {
            let connection = match known {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            self.recheck(&connection.0, open, now).await?;
            Ok::<_, DatabaseError>(connection)
        };
        match DatabaseError::within(RESPONSE_TIMEOUT, "when queried for tables", last_check).await {
            Ok(connection) => open.watch.connection = Some(connection),
            Err(fault) if fault.is_transient() && !now => {
                debug!("source `{}`: its tables cannot be checked: {}", self.source, fault.message);
            }
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    /// Repeats the check. `is_in_doubt`: the stream described another table or other columns.
    async fn recheck(
        &self,
        client: &Client,
        open: &mut ChangesConnection,
        is_in_doubt: bool,
    ) -> Result<(), DatabaseError> {
        let (names, restart_hint) = (&self.reads.tables, self.restart_hint());
        let as_before =
            super::identity::check_names(client, names, &open.at.ids, &self.publication, &restart_hint).await?;
        let partitions = partitions::current(client, &open.tables).await?;
        for what in partitions::unlogged_changes(&open.watch.partitions, &partitions) {
            warn!(
                "source `{}`: partition {what}; the server does not publish the rows that it lost as deletes, and sinks keep them",
                self.source
            );
        }
        let has_new = partitions.keys().any(|id| !open.watch.partitions.contains_key(id));
        if is_in_doubt || !as_before || has_new {
            let (tables, at) = self.describe_tables(client, Some(open.at.clone())).await?;
            tables.iter().try_for_each(|table| self.check_columns(table, &table.columns))?;
            open.at.ids = at.map(|at| at.ids).unwrap_or_default();
        }
        open.watch.partitions = partitions;
        Ok(())
    }
}
