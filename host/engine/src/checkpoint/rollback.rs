//! A rollback in progress, stored next to the manifest. The job file names the previous plugin before the job has gone back. Whatever ends the job or
//! the command in between, the next startup goes back as they would have. It must not use the state of the abandoned version.

use super::store::Store;
use super::types::Manifest;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, Generation};
use millstream_job::spec::JobSpec;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Its path in the store.
const PATH: &str = "rollback.json";

/// A stage that the next startup rolls back.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// The stage that gets its plugin back.
    pub stage: String,
    /// That plugin, as the job file names it.
    pub plugin: String,
    /// The checkpoint that has the earlier state.
    pub batch: BatchId,
    /// The start of the job that is rolled back. Only the next startup uses this entry.
    pub generation: Generation,
}

impl Rollback {
    /// Stores it together with those of other stages in progress. Returns the batch to which the next startup returns for all of them.
    pub fn write(self, store: &dyn Store) -> Result<BatchId> {
        let mut noted = read(store)?;
        noted.retain(|other| other.generation == self.generation && other.stage != self.stage);
        noted.push(self);
        let first = noted.iter().map(|noted| noted.batch).min().unwrap_or_default();
        write(store, &noted)?;
        Ok(first)
    }

    /// Removes the entry of a stage, whose plugin stays.
    pub fn remove(store: &dyn Store, stage: &str) -> Result<()> {
        let mut noted = read(store)?;
        noted.retain(|other| other.stage != stage);
        match noted.is_empty() {
            true => Rollback::remove_all(store),
            false => write(store, &noted),
        }
    }

    /// Removes all entries.
    pub fn remove_all(store: &dyn Store) -> Result<()> {
        Ok(store.delete(PATH)?)
    }

    /// Returns the rollbacks that a startup of this job has to complete, by going back to the first of their batches.
    pub fn of_start(store: &dyn Store, manifest: &Manifest, job: &JobSpec) -> Result<Vec<Rollback>> {
        let is_back = |noted: &Rollback| {
            job.stages.iter().any(|stage| {
                let has = |path: &str| stage.plugins().iter().any(|plugin| plugin.path == Path::new(path));
                stage.name == noted.stage && has(&noted.plugin)
            })
        };
        let mut noted = read(store)?;
        noted.retain(|noted| noted.generation == manifest.generation && is_back(noted));
        noted.sort_by_key(|noted| noted.batch);
        Ok(noted)
    }
}

fn read(store: &dyn Store) -> Result<Vec<Rollback>> {
    let Some(bytes) = store.read(PATH)? else { return Ok(Vec::new()) };
    serde_json::from_slice(&bytes).map_err(|error| {
        let location = store.location();
        Error::job(format!(
            "{location}: `{PATH}`, which has the batch to roll back to, cannot be read: {error}; delete it if no \
             rollback was in progress, or start the job once with --replay-from and that batch"
        ))
    })
}

fn write(store: &dyn Store, noted: &[Rollback]) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(noted).map_err(Error::bug)?;
    Ok(store.write(PATH, bytes.into())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::store;

    #[test]
    fn stages_that_go_back_with_the_same_start_go_back_to_the_first_of_their_batches() {
        let dir = tempfile::tempdir().unwrap();
        let store = &*store::open("checkpoint", dir.path()).unwrap();
        let note = |stage: &str, batch: u64, generation: u64| Rollback {
            stage: stage.into(),
            plugin: format!("{stage}.wasm"),
            batch: BatchId(batch),
            generation: Generation(generation),
        };
        let job = millstream_job::parse(
            "[sources.in]\nkind = \"queue\"\npath = \"in.jsonl\"\nschema = { n = \"int64\" }\n\
             [stages.one]\nfrom = \"in\"\nplugin = \"one.wasm\"\n[stages.two]\nfrom = \"one\"\nplugin = \"two.wasm\"\n\
             [sinks.out]\nfrom = \"two\"\nkind = \"print\"\n",
            millstream_connectors::kinds::all(),
            "job.toml".as_ref(),
            dir.path(),
            &[],
        )
        .unwrap();
        let manifest = Manifest {
            job: "job".into(),
            job_id: String::new(),
            generation: Generation(4),
            starts: Vec::new(),
            checkpoints: Vec::new(),
        };
        assert_eq!(note("one", 13, 4).write(store).unwrap(), BatchId(13));
        assert_eq!(note("two", 38, 4).write(store).unwrap(), BatchId(13));
        let found = Rollback::of_start(store, &manifest, &job).unwrap();
        assert_eq!(found, [note("one", 13, 4), note("two", 38, 4)]);
        Rollback::remove(store, "one").unwrap();
        assert_eq!(Rollback::of_start(store, &manifest, &job).unwrap(), [note("two", 38, 4)]);
        // The job was restarted since: new entries are about that startup alone.
        assert_eq!(note("one", 41, 5).write(store).unwrap(), BatchId(41));
        assert_eq!(Rollback::of_start(store, &manifest, &job).unwrap(), []);
        Rollback::remove_all(store).unwrap();
        assert_eq!(read(store).unwrap(), []);
    }
}
