//! What is kept of a job so that its batches can be run again as they were: the text of its file, its components, and the
//! files that it grants.

use super::store::Store;
use super::types::{JobRecord, JobStart, Table, blob_path};
use bytes::Bytes;
use millstream_base::batch::types::ColumnType;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, Generation};
use millstream_base::job::{
    self, Version,
    plugin_part::PluginPart,
    spec::{ColumnSpec, JobSpec, OperatorSpec, TimeForm},
};
use millstream_base::patience::patiently;
use millstream_connectors::kinds;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A job's record, and the bytes that it refers to.
pub struct Recorded {
    /// The job's name.
    pub job: String,
    /// Digest of the record: the same for the same job, wherever its bytes are kept.
    pub digest: String,
    record: JobRecord,
    /// The bytes by path as the job has it.
    blobs: BTreeMap<String, Bytes>,
}

impl Recorded {
    /// A record and the bytes that it refers to, by path as the job has it.
    pub fn new(job: String, record: JobRecord, blobs: BTreeMap<String, Bytes>) -> Result<Recorded> {
        Ok(Recorded { job, digest: digest_of(&record)?, record, blobs })
    }

    /// Stores the record for a start of this generation, and the bytes that the start before does not keep already.
    pub fn store(
        mut self,
        store: &dyn Store,
        generation: Generation,
        before: Option<&JobStart>,
        path: &str,
        failure: &Failure,
    ) -> Result<()> {
        let held = before.and_then(|before| read(store, before).ok()).map(|record| record.blobs).unwrap_or_default();
        let held: BTreeMap<String, String> = held.into_iter().filter(|(_, place)| blob(store, place).is_ok()).collect();
        for (name, bytes) in &self.blobs {
            let wanted = digest(bytes);
            let place = match held.values().find(|place| digest_in(place) == wanted) {
                Some(place) => place.clone(),
                None => blob_path(generation, &wanted),
            };
            if !held.values().any(|held| *held == place) {
                patiently(failure, || store.write(&place, bytes.clone()))?;
            }
            self.record.blobs.insert(name.clone(), place);
        }
        let json = Bytes::from(serde_json::to_vec_pretty(&self.record).map_err(Error::bug)?);
        patiently(failure, || store.write(path, json.clone()))
    }
}

/// The next plugin of a stage, source or sink, and all that a checkpoint has to know of it.
#[derive(Clone, Debug)]
pub struct NextPlugin {
    /// The stage, source or sink, see [`PluginPart`].
    pub stage: String,
    /// The component.
    pub component: Bytes,
    /// What checkpoints hold of the stage from then on, without files.
    pub tables: Vec<Table>,
}

/// A record that was stored for the upgrade of a running job.
#[derive(Clone, Debug)]
pub struct Upgraded {
    /// Digest of the record.
    pub digest: String,
    /// Where it is.
    pub path: String,
    /// Where its blobs are.
    pub blobs: BTreeSet<String>,
    /// What is new in it.
    pub next: NextPlugin,
}

/// The name of a component that came to a stage, source or sink by an upgrade. It is that of no file of the job: another stage may have the old
/// component under the name of the new one.
fn upgraded(stage: &str, digest: &str) -> String {
    format!("upgraded/{stage}-{digest}.wasm")
}

/// Stores the record of a running job with the next plugin of a stage, source or sink. It counts for nothing before the manifest names it.
pub fn upgrade(store: &dyn Store, running: &JobStart, next: NextPlugin, failure: &Failure) -> Result<Upgraded> {
    let mut record = read(store, running)?;
    let wanted = digest(&next.component);
    let key = PluginPart::of(&next.stage).key();
    let name = upgraded(&next.stage, &wanted);
    let held = record.blobs.values().find(|place| digest_in(place) == wanted && blob(store, place).is_ok()).cloned();
    record.blobs.retain(|path, place| *path != upgraded(&next.stage, digest_in(place)));
    record.sets.retain(|(path, _)| *path != key);
    record.sets.push((key, toml::Value::String(name.clone()).to_string()));
    let place = held.clone().unwrap_or_else(|| blob_path(running.generation, &wanted));
    if held.is_none() {
        patiently(failure, || store.write(&place, next.component.clone()))?;
    }
    record.blobs.insert(name, place);
    let start = JobStart { job_digest: digest_of(&record)?, ..running.clone() };
    let json = Bytes::from(serde_json::to_vec_pretty(&record).map_err(Error::bug)?);
    let path = start.record_path();
    patiently(failure, || store.write(&path, json.clone()))?;
    Ok(Upgraded { digest: start.job_digest, path, blobs: record.blobs.into_values().collect(), next })
}

/// The record of a start; an error where it is missing or damaged.
pub fn read(store: &dyn Store, start: &JobStart) -> Result<JobRecord> {
    let path = start.record_path();
    let bytes = store.read(&path)?.ok_or_else(|| damaged(store, &path))?;
    let record: JobRecord = serde_json::from_slice(&bytes).map_err(|_| damaged(store, &path))?;
    if digest_of(&record)? == start.job_digest { Ok(record) } else { Err(damaged(store, &path)) }
}

/// The bytes of a blob; an error where it is missing or damaged.
fn blob(store: &dyn Store, path: &str) -> Result<Bytes> {
    let bytes = store.read(path)?;
    bytes.filter(|bytes| digest(bytes) == digest_in(path)).ok_or_else(|| damaged(store, path))
}

/// What is missing or damaged of the record of a start and of its blobs, with the reason.
pub fn damages(store: &dyn Store, start: &JobStart) -> BTreeMap<String, String> {
    let reason = || "it is missing or damaged".to_owned();
    match read(store, start) {
        Err(_) => [(start.record_path(), reason())].into(),
        Ok(record) => {
            let damaged = record.blobs.into_values().filter(|path| blob(store, path).is_err());
            damaged.map(|path| (path, reason())).collect()
        }
    }
}

/// The job of a record, without its components and files.
pub fn text(record: &JobRecord) -> Result<JobSpec> {
    let origin = PathBuf::from(&record.folder);
    let version = Version { says_units: record.units_are_said, has_variables: record.has_variables };
    job::parse_as(&record.text, kinds::all(), (&origin.join("job.toml"), &origin), &record.sets, version)
}

/// The job of a record. Its components and files are written into `folder`, and the job refers to them there.
pub fn job(store: &dyn Store, record: &JobRecord, folder: &Path) -> Result<JobSpec> {
    let mut spec = text(record)?;
    let written = spec.origin.written.clone();
    let mut places = BTreeMap::new();
    for (path, from) in &record.blobs {
        let bytes = blob(store, from)?;
        let extension = Path::new(path).extension().map_or("wasm".into(), |e| e.to_string_lossy());
        let place = folder.join(format!("{}.{extension}", digest_in(from)));
        std::fs::write(&place, &bytes)
            .map_err(|e| Error::environment(format!("cannot write {}: {e}", place.display())))?;
        places.insert(PathBuf::from(path), place);
    }
    let place_of = |path: &Path| {
        let texts = written.of(&path.display().to_string());
        texts.iter().find_map(|text| places.get(Path::new(text)).cloned())
    };
    let replace = |path: &mut PathBuf| {
        if let Some(place) = place_of(path) {
            *path = place;
        }
    };
    let of_sources = spec.sources.iter_mut().filter_map(|source| source.plugin_mut());
    let of_stages = spec.stages.iter_mut().flat_map(|stage| stage.plugins_mut());
    let of_sinks = spec.sinks.iter_mut().filter_map(|sink| sink.plugin_mut());
    for plugin in of_sources.chain(of_stages).chain(of_sinks) {
        plugin.file = place_of(&plugin.path);
        plugin.grant.files.values_mut().for_each(replace);
        plugin.update.initial.iter_mut().for_each(replace);
    }
    Ok(spec)
}

/// Whether numbers in a column of the job would have been times before schemas had to say of which unit.
pub fn has_times_without_unit(spec: &JobSpec) -> bool {
    let tables = spec.stages.iter().filter_map(|stage| match &stage.operator {
        OperatorSpec::Enrich(enrich) => Some(&enrich.schema),
        _ => None,
    });
    let unsaid = |column: &ColumnSpec| column.kind == ColumnType::Timestamp && column.form == TimeForm::Text;
    spec.sources.iter().map(|source| &source.schema).chain(tables).flatten().any(unsaid)
}

/// Paths of the blobs that the records of these starts name; `None`: not all of them can be read.
pub fn blobs_of(store: &dyn Store, starts: &[JobStart]) -> Option<BTreeSet<String>> {
    let records: Result<Vec<_>> = starts.iter().map(|start| read(store, start)).collect();
    Some(records.ok()?.into_iter().flat_map(|record| record.blobs.into_values()).collect())
}

fn damaged(store: &dyn Store, path: &str) -> Error {
    Error::environment(format!(
        "{}: {path} is missing or damaged, so the batches that a sink has committed cannot be run again as they were; \
         bring it back from a copy, or start the job as it was (same file, plugins and --workers)",
        store.place()
    ))
}

/// The digest of the component that a stage had before its upgrade after this batch, where the job file named it so or it came
/// by an upgrade itself; `None`: these starts do not tell. An error where they tell that it was named otherwise.
pub fn ran_before(
    store: &dyn Store,
    starts: &[JobStart],
    batch: BatchId,
    (stage, plugin): (&str, &str),
) -> Result<Option<String>> {
    let upgrade = starts.iter().position(|start| start.upgrade && start.after == batch);
    let Some(before) = upgrade.and_then(|at| starts.get(at.checked_sub(1)?)) else { return Ok(None) };
    let record = read(store, before)?;
    let is_upgraded = |(path, place): &(&String, &String)| **path == upgraded(stage, digest_in(place));
    let upgraded = record.blobs.iter().find(is_upgraded).map(|(_, place)| place);
    match upgraded.or_else(|| record.blobs.get(plugin)) {
        Some(place) => Ok(Some(digest_in(place).to_owned())),
        None => Err(Error::job(format!(
            "{}: before the upgrade after batch {batch} the job had no plugin `{plugin}`",
            store.place()
        ))),
    }
}

/// The digest of a record: over what it says and over the digests of its blobs, not over where they are kept.
fn digest_of(record: &JobRecord) -> Result<String> {
    let blobs = record.blobs.iter().map(|(name, place)| (name.clone(), digest_in(place).to_owned())).collect();
    let bare = JobRecord { blobs, ..record.clone() };
    Ok(digest(&serde_json::to_vec(&bare).map_err(Error::bug)?))
}

/// The digest in a blob's path.
fn digest_in(path: &str) -> &str {
    path.rsplit_once('-').map_or("", |(_, digest)| digest)
}

/// SHA-256 in hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).hex()
}
