//! What is kept of a job so that its batches can be run again as they were: the text of its file, its components, and the
//! files that it grants.

use super::store::{Store, patiently};
use super::types::JobRecord;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::job::{
    self,
    spec::{JobSpec, OperatorSpec, PluginSpec},
};
use crate::run::Failure;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A job's record, and the bytes that it refers to by digest.
pub struct Recorded {
    /// The record.
    pub record: JobRecord,
    /// Digest of the record.
    pub digest: String,
    /// The job's name.
    pub job: String,
    json: Bytes,
    blobs: BTreeMap<String, Bytes>,
}

impl Recorded {
    /// The record of a checked job. `known`: the job was made of this record.
    pub fn of(graph: &Graph, sets: &[(String, String)], known: Option<JobRecord>) -> Result<Recorded> {
        let spec = &graph.spec;
        if let Some(record) = known {
            let json = Bytes::from(serde_json::to_vec_pretty(&record).map_err(Error::bug)?);
            let (job, blobs) = (spec.name.clone(), BTreeMap::new());
            return Ok(Recorded { digest: digest(&json), record, job, json, blobs });
        }
        let failed = |path: &Path, error: std::io::Error| {
            Error::environment(format!("cannot read {} for the checkpoint: {error}", path.display()))
        };
        let text = match &spec.origin.file {
            Some(file) => std::fs::read_to_string(file).map_err(|e| failed(file, e))?,
            None => String::new(),
        };
        let folder = std::path::absolute(&spec.origin.folder).unwrap_or_else(|_| spec.origin.folder.clone());
        let (mut names, mut blobs) = (BTreeMap::new(), BTreeMap::new());
        for (path, file) in files_of(graph) {
            let bytes = std::fs::read(&file).map_err(|e| failed(&file, e))?;
            let digest = digest(&bytes);
            names.insert(path, digest.clone());
            blobs.insert(digest, Bytes::from(bytes));
        }
        let record =
            JobRecord { text, sets: sets.to_vec(), folder: folder.display().to_string(), blobs: names };
        let json = Bytes::from(serde_json::to_vec_pretty(&record).map_err(Error::bug)?);
        Ok(Recorded { digest: digest(&json), record, job: spec.name.clone(), json, blobs })
    }

    /// Stores what the store does not hold yet.
    pub fn store(&self, store: &dyn Store, failure: &Failure) -> Result<()> {
        let held = patiently(failure, || store.list("blobs"))?;
        let held: BTreeSet<&str> = held.iter().map(|object| object.path.as_str()).collect();
        for (digest, bytes) in &self.blobs {
            let path = blob_path(digest);
            if !held.contains(path.as_str()) {
                patiently(failure, || store.write(&path, bytes.clone()))?;
            }
        }
        patiently(failure, || store.write(&record_path(&self.digest), self.json.clone()))
    }
}

/// Components and files that stages of a job are given: path as the job has it, and where the file is.
fn files_of(graph: &Graph) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    let folder = &graph.spec.origin.folder;
    for (stage, node) in graph.plugins() {
        let spec = graph.spec.stages.iter().find(|spec| spec.name == stage);
        let Some(OperatorSpec::Plugin(PluginSpec { path, files: granted, update, .. })) = spec.map(|s| &s.operator) else {
            continue;
        };
        files.insert(path.display().to_string(), node.plugin.file().to_owned());
        for path in granted.values().chain(&update.initial) {
            files.insert(path.display().to_string(), folder.join(path));
        }
    }
    files
}

/// The record of this digest; an error where it is missing or damaged.
pub fn read(store: &dyn Store, wanted: &str) -> Result<JobRecord> {
    let path = record_path(wanted);
    let bytes = store.read(&path).map_err(Error::environment)?;
    let bytes = bytes.filter(|bytes| digest(bytes) == wanted).ok_or_else(|| damaged(store, &path))?;
    serde_json::from_slice(&bytes).map_err(|_| damaged(store, &path))
}

/// The job of a record. Its components and files are written into `folder`, and the job refers to them there.
pub fn job(store: &dyn Store, record: &JobRecord, folder: &Path) -> Result<JobSpec> {
    let origin = PathBuf::from(&record.folder);
    let mut spec = job::parse(&record.text, &origin.join("job.toml"), &origin, &record.sets)?;
    let mut places = BTreeMap::new();
    for (path, wanted) in &record.blobs {
        let from = blob_path(wanted);
        let bytes = store.read(&from).map_err(Error::environment)?;
        let bytes = bytes.filter(|bytes| digest(bytes) == *wanted).ok_or_else(|| damaged(store, &from))?;
        let extension = Path::new(path).extension().map_or("wasm".into(), |e| e.to_string_lossy());
        let place = folder.join(format!("{wanted}.{extension}"));
        std::fs::write(&place, &bytes)
            .map_err(|e| Error::environment(format!("cannot write {}: {e}", place.display())))?;
        places.insert(PathBuf::from(path), place);
    }
    let replace = |path: &mut PathBuf| {
        if let Some(place) = places.get(path) {
            path.clone_from(place);
        }
    };
    for stage in &mut spec.stages {
        if let OperatorSpec::Plugin(plugin) = &mut stage.operator {
            replace(&mut plugin.path);
            plugin.files.values_mut().for_each(replace);
            plugin.update.initial.iter_mut().for_each(replace);
        }
    }
    Ok(spec)
}

/// Digests of the blobs that records refer to. A record that cannot be read keeps nothing alive that is of use.
pub fn blobs_of(store: &dyn Store, digests: impl Iterator<Item = String>) -> BTreeSet<String> {
    digests.filter_map(|digest| read(store, &digest).ok()).flat_map(|record| record.blobs.into_values()).collect()
}

fn damaged(store: &dyn Store, path: &str) -> Error {
    Error::environment(format!(
        "{}: {path} is missing or damaged, so the batches that a sink has committed cannot be run again as they were; \
         bring it back from a copy, or start the job as it was (same file, plugins and --workers)",
        store.place()
    ))
}

fn record_path(digest: &str) -> String {
    format!("jobs/{digest}.json")
}

fn blob_path(digest: &str) -> String {
    format!("blobs/{digest}")
}

/// SHA-256 in hexadecimal digits.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
