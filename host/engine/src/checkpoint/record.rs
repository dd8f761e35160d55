//! The record of a job, for replaying its batches exactly: the text of its file, its components, and the files that it grants.

use super::store::Store;
use super::types::{JobRecord, JobStart, Table, blob_path};
use bytes::Bytes;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, Generation};
use millstream_base::retry::retry_transient;
use millstream_job::Version;
use millstream_job::connector::Kinds;
use millstream_job::plugin_part::PluginPart;
use millstream_job::spec::{JobSpec, OperatorSpec};
use millstream_rows::batch::column::{ColumnSpec, TimeForm};
use millstream_rows::batch::types::ColumnType;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A job's record, and the bytes to which it refers.
pub struct RecordedJob {
    /// The job's name.
    pub job: String,
    /// Digest of the record: the same for the same job, wherever its bytes are stored.
    pub digest: String,
    record: JobRecord,
    /// The bytes by path as in the job.
    blobs: BTreeMap<String, Bytes>,
}

impl RecordedJob {
    /// Creates it from a record and the bytes to which it refers, by path as in the job.
    pub fn new(job: String, record: JobRecord, blobs: BTreeMap<String, Bytes>) -> Result<RecordedJob> {
        Ok(RecordedJob { job, digest: digest_of(&record)?, record, blobs })
    }

    /// Stores the record for a startup of this generation, and the bytes that the previous startup does not have already.
    pub fn store(
        mut self,
        store: &dyn Store,
        generation: Generation,
        before: Option<&JobStart>,
        path: &str,
        failure: &Failure,
    ) -> Result<()> {
        let stored = before.and_then(|before| read(store, before).ok()).map(|record| record.blobs).unwrap_or_default();
        let stored: BTreeMap<String, String> =
            stored.into_iter().filter(|(_, location)| blob(store, location).is_ok()).collect();
        for (name, bytes) in &self.blobs {
            let expected_digest = digest(bytes);
            let location = match stored.values().find(|location| digest_in(location) == expected_digest) {
                Some(location) => location.clone(),
                None => blob_path(generation, &expected_digest),
            };
            if !stored.values().any(|stored| *stored == location) {
                retry_transient(failure, || store.write(&location, bytes.clone()))?;
            }
            self.record.blobs.insert(name.clone(), location);
        }
        let json = Bytes::from(serde_json::to_vec_pretty(&self.record).map_err(Error::bug)?);
        retry_transient(failure, || store.write(path, json.clone()))
    }
}

/// The next plugin of a stage, source or sink, with the data that checkpoints need.
#[derive(Clone, Debug)]
pub struct NextPlugin {
    /// The stage, source or sink, see [`PluginPart`].
    pub stage: String,
    /// The component.
    pub component: Bytes,
    /// The tables that checkpoints hold of the stage from then on, without files.
    pub tables: Vec<Table>,
}

/// A record that was stored for the upgrade of a running job.
#[derive(Clone, Debug)]
pub struct UpgradedRecord {
    /// Digest of the record.
    pub digest: String,
    /// Its path.
    pub path: String,
    /// The paths of its blobs.
    pub blobs: BTreeSet<String>,
    /// What is new in it.
    pub next: NextPlugin,
}

/// Returns the name of a component that an upgrade gave to a stage, source or sink. It differs from all paths in the job, as another stage may have
/// the old component under the name of the new one.
fn upgraded(stage: &str, digest: &str) -> String {
    format!("upgraded/{stage}-{digest}.wasm")
}

/// Stores the record of a running job with the next plugin of a stage, source or sink. It takes effect once the manifest names it.
pub fn upgrade(store: &dyn Store, running: &JobStart, next: NextPlugin, failure: &Failure) -> Result<UpgradedRecord> {
    let mut record = read(store, running)?;
    let expected_digest = digest(&next.component);
    let key = PluginPart::parse(&next.stage).key();
    let name = upgraded(&next.stage, &expected_digest);
    let stored = record
        .blobs
        .values()
        .find(|location| digest_in(location) == expected_digest && blob(store, location).is_ok())
        .cloned();
    record.blobs.retain(|path, location| *path != upgraded(&next.stage, digest_in(location)));
    record.sets.retain(|(path, _)| *path != key);
    record.sets.push((key, toml::Value::String(name.clone()).to_string()));
    let location = stored.clone().unwrap_or_else(|| blob_path(running.generation, &expected_digest));
    if stored.is_none() {
        retry_transient(failure, || store.write(&location, next.component.clone()))?;
    }
    record.blobs.insert(name, location);
    let start = JobStart { job_digest: digest_of(&record)?, ..running.clone() };
    let json = Bytes::from(serde_json::to_vec_pretty(&record).map_err(Error::bug)?);
    let path = start.record_path();
    retry_transient(failure, || store.write(&path, json.clone()))?;
    Ok(UpgradedRecord { digest: start.job_digest, path, blobs: record.blobs.into_values().collect(), next })
}

/// Reads the record of a startup. Fails if it is missing or damaged.
pub fn read(store: &dyn Store, start: &JobStart) -> Result<JobRecord> {
    let path = start.record_path();
    let bytes = store.read(&path)?.ok_or_else(|| damaged(store, &path))?;
    let record: JobRecord = serde_json::from_slice(&bytes).map_err(|_| damaged(store, &path))?;
    if digest_of(&record)? == start.job_digest { Ok(record) } else { Err(damaged(store, &path)) }
}

/// Reads a blob. Fails if it is missing or damaged.
fn blob(store: &dyn Store, path: &str) -> Result<Bytes> {
    let bytes = store.read(path)?;
    bytes.filter(|bytes| digest(bytes) == digest_in(path)).ok_or_else(|| damaged(store, path))
}

/// Returns what is missing or damaged of the record of a startup and of its blobs, with the reason.
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

/// Returns the job of a record, without its components and files.
pub fn text(record: &JobRecord, kinds: &Kinds) -> Result<JobSpec> {
    let origin = PathBuf::from(&record.dir);
    let version = Version { requires_units: record.units_are_said, has_variables: record.has_variables };
    millstream_job::parse_as(&record.text, kinds, (&origin.join("job.toml"), &origin), &record.sets, version)
}

/// Returns the job of a record. Its components and files are written into `dir`, and the job refers to them there.
pub fn job(store: &dyn Store, record: &JobRecord, kinds: &Kinds, dir: &Path) -> Result<JobSpec> {
    let mut spec = text(record, kinds)?;
    let written = spec.origin.written.clone();
    let mut locations = BTreeMap::new();
    for (path, from) in &record.blobs {
        let bytes = blob(store, from)?;
        let extension = Path::new(path).extension().map_or("wasm".into(), |e| e.to_string_lossy());
        let location = dir.join(format!("{}.{extension}", digest_in(from)));
        std::fs::write(&location, &bytes)
            .map_err(|e| Error::environment(format!("cannot write {}: {e}", location.display())))?;
        locations.insert(PathBuf::from(path), location);
    }
    let location_of = |path: &Path| {
        let spellings = written.with_value(&path.display().to_string());
        spellings.iter().find_map(|text| locations.get(Path::new(text)).cloned())
    };
    let replace = |path: &mut PathBuf| {
        if let Some(location) = location_of(path) {
            *path = location;
        }
    };
    let of_sources = spec.sources.iter_mut().filter_map(|source| source.plugin_mut());
    let of_stages = spec.stages.iter_mut().flat_map(|stage| stage.plugins_mut());
    let of_sinks = spec.sinks.iter_mut().filter_map(|sink| sink.plugin_mut());
    for plugin in of_sources.chain(of_stages).chain(of_sinks) {
        plugin.file = location_of(&plugin.path);
        plugin.grant.files.values_mut().for_each(replace);
        plugin.update.initial.iter_mut().for_each(replace);
    }
    Ok(spec)
}

/// Returns whether a column of the job has numbers that earlier versions took for times, before schemas had to state the unit.
pub fn has_times_without_unit(spec: &JobSpec) -> bool {
    let tables = spec.stages.iter().filter_map(|stage| match &stage.operator {
        OperatorSpec::Enrich(enrich) => Some(&enrich.schema),
        _ => None,
    });
    let unsaid = |column: &ColumnSpec| column.kind == ColumnType::Timestamp && column.form == TimeForm::Text;
    spec.sources.iter().map(|source| &source.schema).chain(tables).flatten().any(unsaid)
}

/// Returns the paths of the blobs that the records of these starts name; `None` if some cannot be read.
pub fn blobs_of(store: &dyn Store, starts: &[JobStart]) -> Option<BTreeSet<String>> {
    let records: Result<Vec<_>> = starts.iter().map(|start| read(store, start)).collect();
    Some(records.ok()?.into_iter().flat_map(|record| record.blobs.into_values()).collect())
}

fn damaged(store: &dyn Store, path: &str) -> Error {
    Error::environment(format!(
        "{}: {path} is missing or damaged, so the batches that a sink has committed cannot be replayed unchanged; \
         restore it from a copy, or start the previous job (same file, plugins and --workers)",
        store.location()
    ))
}

/// Returns the digest of the component that a stage had before its upgrade after this batch, if the job file named it this way or it came from an
/// upgrade itself. Returns `None` if these starts do not tell. Fails if they show that it had another name.
pub fn ran_before(
    store: &dyn Store,
    starts: &[JobStart],
    batch: BatchId,
    (stage, plugin): (&str, &str),
) -> Result<Option<String>> {
    let upgrade = starts.iter().position(|start| start.upgrade && start.after == batch);
    let Some(before) = upgrade.and_then(|at| starts.get(at.checked_sub(1)?)) else { return Ok(None) };
    let record = read(store, before)?;
    let is_upgraded = |(path, location): &(&String, &String)| **path == upgraded(stage, digest_in(location));
    let upgraded = record.blobs.iter().find(is_upgraded).map(|(_, location)| location);
    match upgraded.or_else(|| record.blobs.get(plugin)) {
        Some(location) => Ok(Some(digest_in(location).to_owned())),
        None => Err(Error::job(format!(
            "{}: before the upgrade after batch {batch} the job had no plugin `{plugin}`",
            store.location()
        ))),
    }
}

/// Returns the digest of a record: over its contents and the digests of its blobs, not over their paths.
fn digest_of(record: &JobRecord) -> Result<String> {
    let blobs = record.blobs.iter().map(|(name, location)| (name.clone(), digest_in(location).to_owned())).collect();
    let bare = JobRecord { blobs, ..record.clone() };
    Ok(digest(&serde_json::to_vec(&bare).map_err(Error::bug)?))
}

/// Returns the digest in a blob's path.
fn digest_in(path: &str) -> &str {
    path.rsplit_once('-').map_or("", |(_, digest)| digest)
}

/// Returns SHA-256 in hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    Digest::compute(bytes).hex()
}
