//! Looks at the tables while their changes are followed: of a table that is dropped, renamed or removed from the publication, and of
//! partitions that come and go, the log says nothing.

use super::partitions::{self, Partitions};
use super::{ChangesConnection, ChangesFollower};
use crate::postgres::{DatabaseError, Driver};
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use tracing::{debug, warn};

/// How often they are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long the server may take for that.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What a follower has seen of its tables.
pub struct TableWatch {
    /// A connection beside that of the stream, which takes no questions.
    connection: Option<(Client, Driver)>,
    looked: Instant,
    partitions: Partitions,
}

impl TableWatch {
    /// The tables were looked at now, and had these partitions.
    pub fn new(partitions: Partitions) -> TableWatch {
        TableWatch { connection: None, looked: Instant::now(), partitions }
    }
}

impl ChangesFollower {
    /// Looks whether the tables are those that are followed; `now`: also where they were looked at shortly before. What cannot be asked now
    /// is asked later.
    pub(super) async fn watch(&self, open: &mut ChangesConnection, now: bool) -> Result<(), DatabaseError> {
        if !now && open.watch.looked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        open.watch.looked = Instant::now();
        let known = open.watch.connection.take().filter(|(client, _)| !client.is_closed());
        let looked = async {
            let connection = match known {
                Some(connection) => connection,
                None => self.connection(None)?.connect().await?,
            };
            self.look_again(&connection.0, open, now).await?;
            Ok::<_, DatabaseError>(connection)
        };
        match DatabaseError::within(ANSWER_MAX, "when asked for tables", looked).await {
            Ok(connection) => open.watch.connection = Some(connection),
            Err(fault) if fault.passes() && !now => {
                debug!("source `{}`: its tables cannot be looked at now: {}", self.source, fault.message);
            }
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    /// `is_in_doubt`: the stream told of another table or of other columns.
    async fn look_again(
        &self,
        client: &Client,
        open: &mut ChangesConnection,
        is_in_doubt: bool,
    ) -> Result<(), DatabaseError> {
        let (names, again) = (&self.reads.tables, self.again());
        let as_before = super::identity::check_names(client, names, &open.at.ids, &self.publication, &again).await?;
        let partitions = partitions::of(client, &open.tables).await?;
        for what in partitions::lost(&open.watch.partitions, &partitions) {
            warn!(
                "source `{}`: partition {what}; the server does not publish the rows that it lost as deletes, and sinks keep them",
                self.source
            );
        }
        let has_new = partitions.keys().any(|id| !open.watch.partitions.contains_key(id));
        if is_in_doubt || !as_before || has_new {
            let (tables, at) = self.look_at_tables(client, Some(open.at.clone())).await?;
            tables.iter().try_for_each(|table| self.check_columns(table, &table.columns))?;
            open.at.ids = at.map(|at| at.ids).unwrap_or_default();
        }
        open.watch.partitions = partitions;
        Ok(())
    }
}
