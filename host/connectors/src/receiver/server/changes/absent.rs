//! What stands for the changes of tables of PostgreSQL: a job with them is refused when its file is read.

use millstream_base::batch::reading::{ReadPartition, ReadRows, ReadTrouble};
use millstream_base::built;
use millstream_base::error::Error;
use millstream_base::job::spec::{ChangesReads, ServerSourceSpec, SourceSpec};
use millstream_base::owner::Owner;
use std::time::Duration;

/// One who follows nothing.
pub struct ChangesFollower;

impl ChangesFollower {
    /// Of a source.
    pub fn of(
        _source: &SourceSpec,
        _server: &ServerSourceSpec,
        _reads: &ChangesReads,
        _owner: Option<&Owner>,
    ) -> ChangesFollower {
        ChangesFollower
    }

    /// Refuses the source.
    pub fn check(_server: &ServerSourceSpec) -> Result<(), (&'static str, String)> {
        Err(("kind", absent()))
    }
}

impl ReadPartition for ChangesFollower {
    fn partitions(&mut self) -> Result<Vec<String>, ReadTrouble> {
        Err(ReadTrouble::Lasting(Error::job(absent())))
    }

    fn open(&mut self, _partition: &str, _position: Option<&[u8]>) -> Result<(), ReadTrouble> {
        Err(ReadTrouble::Lasting(Error::job(absent())))
    }

    fn is_open(&self) -> bool {
        false
    }

    fn poll(&mut self, _rows_max: u32, _wait: Duration) -> Result<ReadRows, ReadTrouble> {
        Err(ReadTrouble::Lasting(Error::job(absent())))
    }
}

fn absent() -> String {
    built::absent("kind `postgres-changes`", "postgres")
}
