//! A rollback that is under way, kept beside the manifest: the plugin of before stands in the job file before the job has gone back, and
//! whatever ends job and command in between, the next start goes back as they would have. It must not take up the state of the version
//! that was given up.

use super::store::Store;
use super::types::Manifest;
use crate::error::{Error, Result};
use crate::ids::{BatchId, Generation};
use crate::job::spec::JobSpec;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Its path in the store.
const PATH: &str = "rollback.json";

/// What the next start goes back to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// The stage that gets its plugin back.
    pub stage: String,
    /// That plugin, as the job file names it.
    pub plugin: String,
    /// The checkpoint from which the job starts again.
    pub batch: BatchId,
    /// The start of the job that is given up. It says nothing to those behind the next one.
    pub generation: Generation,
}

impl Rollback {
    /// Notes it, in the place of any other.
    pub fn write(&self, store: &dyn Store) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(self).map_err(Error::bug)?;
        Ok(store.write(PATH, bytes.into())?)
    }

    /// Takes the note away.
    pub fn remove(store: &dyn Store) -> Result<()> {
        Ok(store.delete(PATH)?)
    }

    /// The rollback that a start of this job has to bring to its end.
    pub fn of_start(store: &dyn Store, manifest: &Manifest, job: &JobSpec) -> Result<Option<Rollback>> {
        let Some(bytes) = store.read(PATH)? else { return Ok(None) };
        let read: Rollback = serde_json::from_slice(&bytes).map_err(|error| {
            let place = store.place();
            Error::job(format!(
                "{place}: `{PATH}`, which says to which batch the job goes back, cannot be read: {error}; delete it where no rollback \
                 was under way, or start the job once with --replay-from and that batch"
            ))
        })?;
        let is_back = job.stages.iter().any(|stage| {
            stage.name == read.stage && stage.plugins().iter().any(|plugin| plugin.path == Path::new(&read.plugin))
        });
        Ok(Some(read).filter(|read| read.generation == manifest.generation && is_back))
    }
}
