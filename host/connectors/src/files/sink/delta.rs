//! Files of a Delta table. They are written as all other files are. Once they have their names, a commit to the table's log announces them
//! to readers.
//!
//! The job's own files (marker, lock, staged parts, reserves) are in a directory of the table that readers ignore. Each job has its own, as
//! several jobs may write to a table. The commit of a share contains a *transaction*: the number of commits that the share has made. After
//! a crash, a share that is about to repeat a commit finds it by that number. As for all files, the marker decides which start of the job
//! may write.

mod checkpoint;
mod log;
mod merge;
mod schema;

use super::FileSettings;
use super::destination::{BucketDestination, Destination, DirDestination, MarkerTag, StagedPart};
use super::open_part::hidden_dir;
use super::partitions::values_of;
use crate::files::sink::Share;
use arrow::datatypes::SchemaRef;
use log::{DataFile, LogFiles, Table, TableRequest, commit_name, permanent_error};
use merge::{MergeSettings, MergedParts, NewFile, RemainingRows};
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::hex;
use millstream_base::owner::Owner;
use millstream_base::private;
use millstream_base::retry::{StoreError, retry_transient};
use millstream_base::shown::harmless;
use millstream_base::time;
use millstream_connect::sink::marker::Marker;
use millstream_job::spec::bucket_url;
use millstream_rows::formats::FileFormat;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The directory within the table that contains the private files of all jobs.
const OWN_DIR: &str = "_millstream";
/// Prefix of the application id under which commits appear in the log.
const APP: &str = "millstream";
/// Commits per checkpoint, if the table does not set it.
const COMMITS_PER_CHECKPOINT: u64 = 100;
/// After this time without reading the log, old commits may have been removed after many commits of other writers.
const REFRESH_AFTER: Duration = Duration::from_secs(60);
/// Maximum bytes of log content in an error message.
const SHOWN_BYTES_MAX: usize = 200;
/// Characters that need no escape in a log, whose paths are URIs: all characters that URIs allow in paths and that directory names contain.
/// Some tools that compact tables or delete rows find a file only by the path as they would have encoded it.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/')
    .remove(b'=')
    .remove(b',')
    .remove(b'+')
    .remove(b'!')
    .remove(b'@')
    .remove(b'&')
    .remove(b'$')
    .remove(b';')
    .remove(b'(')
    .remove(b')');

/// A table, and the sink's private directory in it.
pub struct DeltaDestination {
    root: Arc<dyn Destination>,
    own: Box<dyn Destination>,
    /// The path of `own` relative to the table.
    own_name: String,
    table_request: TableRequest,
    /// How rows replace others; `None`: they are appended.
    merging: Option<MergeSettings>,
    format: FileFormat,
    owner: Option<Owner>,
    sink: String,
    log: Mutex<Log>,
}

/// The state of the log, as far as it was read.
struct Log {
    table: Table,
    last_check: Instant,
}

/// Returns the private directory of a job, relative to the table. Only one sink of the job writes to a table, whatever its name. Without
/// checkpoints, each run has a new directory.
fn own_name(job_id: Option<&str>) -> Result<String> {
    Ok(match job_id {
        Some(id) => format!("{OWN_DIR}/{id}"),
        None => format!("{OWN_DIR}/run-{}", random_digits()?),
    })
}

/// Returns 32 random hexadecimal digits.
fn random_digits() -> Result<String> {
    let bytes = private::random().map_err(|cause| Error::environment(format!("cannot read random bytes: {cause}")))?;
    Ok(hex::encode(&bytes)[..32].to_owned())
}

/// Returns the path of this job's marker.
pub fn own_path(table: &Path, job_id: &str) -> PathBuf {
    match bucket_url(table) {
        Some(url) => PathBuf::from(format!("{}/{OWN_DIR}/{job_id}", url.trim_end_matches('/'))),
        None => table.join(OWN_DIR).join(job_id),
    }
}

/// Checks the columns, and the table if it is an existing local directory. The error names the invalid key.
pub fn check(written: &FileSettings) -> Result<(), (&'static str, String)> {
    let table_request = table_request(written)?;
    schema::of_rows(&table_request.schema).map_err(|message| ("from", message))?;
    if bucket_url(&written.path).is_some() {
        return Ok(());
    }
    let existing = written.path.ancestors().map(|f| if f.as_os_str().is_empty() { Path::new(".") } else { f });
    let Some(existing) = existing.into_iter().find(|f| f.exists()) else {
        return Err(("path", format!("{} cannot be created; choose another path", written.path.display())));
    };
    if !existing.is_dir() {
        let message = format!("{} is a file, but a table is a directory; choose another path", existing.display());
        return Err(("path", message));
    }
    super::check_writable(existing).map_err(|message| ("path", message))?;
    let table = Table::load(&DirDestination::new(written.path.clone()), checkpoint::Part::Table);
    let table = table.map_err(|error| ("path", error.to_string()))?;
    table.map_or(Ok(()), |table| table.check(&table_request)).map_err(|message| ("path", message))
}

/// Returns what the rows require of the table. The error names the invalid key.
fn table_request(written: &FileSettings) -> Result<TableRequest, (&'static str, String)> {
    let merging = MergeSettings::from_layout(&written.layout);
    let schema: SchemaRef = match &merging {
        Some(merging) => merging.columns_written(&written.schema)?,
        None => written.schema.clone(),
    };
    Ok(log::table_request(&schema, &written.layout.partition_by, merging.is_some()))
}

impl DeltaDestination {
    /// Opens a table, and creates it if it does not exist. Also returns its private directory, if it is a local one.
    pub fn open(
        written: &FileSettings,
        owner: Option<&Owner>,
        failure: &Failure,
    ) -> Result<(DeltaDestination, Option<PathBuf>)> {
        let sink = &written.name;
        let own_name = own_name(owner.map(|owner| owner.job_id.as_str()))?;
        let (root, own, dir): (Arc<dyn Destination>, Box<dyn Destination>, _) = match bucket_url(&written.path) {
            Some(url) => {
                let below = format!("{}/{own_name}", url.trim_end_matches('/'));
                (Arc::new(BucketDestination::open(url)?), Box::new(BucketDestination::open(&below)?), None)
            }
            None => {
                let dir = written.path.join(&own_name);
                fs::create_dir_all(&dir)
                    .map_err(|cause| super::open_error(sink, "create the directory", &dir, &cause))?;
                (
                    Arc::new(DirDestination::new(written.path.clone())),
                    Box::new(DirDestination::new(dir.clone())),
                    Some(dir),
                )
            }
        };
        let table_request = table_request(written).map_err(|(_, message)| Error::job(message))?;
        let table = retry_transient(failure, || table(&*root, &table_request))?;
        let log = Mutex::new(Log { table, last_check: Instant::now() });
        let (owner, sink, format) = (owner.cloned(), sink.clone(), written.format);
        let merging = MergeSettings::from_layout(&written.layout);
        Ok((DeltaDestination { root, own, own_name, table_request, merging, format, owner, sink, log }, dir))
    }

    /// Returns the name of a part within the table, unique among all sinks.
    fn path_in_table(&self, part: &str) -> String {
        let of = &Digest::compute(self.own_name.as_bytes()).hex()[..16];
        match part.rsplit_once('.') {
            Some((name, extension)) => format!("{name}-{of}.{extension}"),
            None => format!("{part}-{of}"),
        }
    }

    fn within(&self, hidden: &str) -> String {
        format!("{}/{hidden}", self.own_name)
    }

    /// Returns the application id that names the committing share in the log.
    fn application_id(&self, share: Share) -> Option<String> {
        let id = &self.owner.as_ref()?.job_id;
        let worker = share.map_or_else(String::new, |worker| format!("-{worker:03}"));
        Some(format!("{APP}-{id}{worker}"))
    }

    /// Returns the first actions of a commit: its description, and the number of commits of this share.
    fn first_actions(&self, share: Share, number: Option<u64>, now_ms: i64) -> Result<Vec<Value>, StoreError> {
        let mut info = info("STREAMING UPDATE", now_ms).map_err(|error| permanent_error(&*self.root, error.message))?;
        let mode = if self.merging.is_some() { "Update" } else { "Append" };
        info["operationParameters"] = json!({ "outputMode": mode, "queryId": self.application_id(share), "epochId": number.map(|n| n.to_string()) });
        info["isBlindAppend"] = self.merging.is_none().into();
        let mut actions = vec![json!({ "commitInfo": info })];
        if let (Some(application_id), Some(number)) = (self.application_id(share), number) {
            actions.push(json!({ "txn": { "appId": application_id, "version": number, "lastUpdated": now_ms } }));
        }
        Ok(actions)
    }

    /// Returns the actions that add these parts.
    fn add_actions(&self, share: Share, number: Option<u64>, parts: &[StagedPart]) -> Result<Vec<u8>, StoreError> {
        let now_ms = time::now().0 / 1_000;
        let mut actions = self.first_actions(share, number, now_ms)?;
        for (part, rows) in parts {
            let name = self.path_in_table(part);
            let size = self.root.size(&name)?.ok_or_else(|| {
                permanent_error(
                    &*self.root,
                    format!("{name}, whose rows are committed, was deleted before readers could see it; restore it from a copy"),
                )
            })?;
            let values = values_of(part).map(|value| value.map_or(Value::Null, Value::from));
            let values: serde_json::Map<_, _> = self.table_request.partition_by.iter().cloned().zip(values).collect();
            let stats = rows.map(|rows| json!({ "numRecords": rows }));
            actions.push(add_action(&name, values.into(), size, now_ms, stats));
        }
        Ok(log::encode_commit(&actions))
    }

    /// Returns the path of a part's changes until they are applied to the table.
    fn changes_path(&self, part: &str) -> String {
        format!("changes/{}", self.path_in_table(part))
    }

    /// Writes the files by which the rows of these parts replace others in a version of the table, and returns the actions. `new_files` receives
    /// the names of the files.
    fn replace_actions(
        &self,
        merging: &MergeSettings,
        (share, number): (Share, Option<u64>),
        parts: &[StagedPart],
        table: &Table,
        new_files: &mut Vec<String>,
    ) -> Result<Vec<u8>, StoreError> {
        let now_ms = time::now().0 / 1_000;
        let read = |(part, _): &StagedPart| {
            let name = self.changes_path(part);
            let bytes = self.own.read(&name)?.ok_or_else(|| {
                permanent_error(
                    &*self.root,
                    format!(
                        "{}, whose rows are committed, was deleted before they were in the table; restore it from a copy. If the job's \
                         `mode` has changed since: run it once with the previous one",
                        self.within(&name)
                    ),
                )
            });
            bytes.map(bytes::Bytes::from)
        };
        let of_parts =
            |why: String| permanent_error(&*self.root, format!("the prepared changes cannot be read: {why}"));
        let bytes = parts.iter().map(read).collect::<Result<Vec<_>, StoreError>>()?;
        let changes = MergedParts::read(merging, self.table_request.schema.clone(), bytes).map_err(of_parts)?;
        let mut actions = self.first_actions(share, number, now_ms)?;
        for file in table.files() {
            let of_file = |why: String| {
                permanent_error(
                    &*self.root,
                    format!("{}: {}", harmless(&file.path, SHOWN_BYTES_MAX), harmless(&why, SHOWN_BYTES_MAX)),
                )
            };
            let name = file.name().map_err(of_file)?;
            let mut failed = None;
            let staying = changes.remaining_rows(file, || match self.root.read(&name) {
                Ok(Some(bytes)) => Ok(bytes.into()),
                Ok(None) => Err("it was deleted".into()),
                Err(error) => {
                    failed = Some(error);
                    Err(String::new())
                }
            });
            // A store that did not respond is retried.
            if let Some(error) = failed {
                return Err(error);
            }
            let staying = staying.map_err(of_file)?;
            if let RemainingRows::Some { bytes, remaining } = &staying {
                let rewrite = |to: &mut NewFile| changes.rewrite(table, (bytes, remaining), to).map_err(of_file);
                actions.extend(self.write_file(share, merging, now_ms, new_files, rewrite)?);
            }
            if !matches!(staying, RemainingRows::All) {
                actions.push(remove_action(file, now_ms));
            }
        }
        actions.extend(self.write_file(share, merging, now_ms, new_files, |to| changes.write(to).map_err(of_parts))?);
        Ok(log::encode_commit(&actions))
    }

    /// Writes a file of the table that the log does not name yet. Returns the action that adds it, if it has rows.
    fn write_file(
        &self,
        share: Share,
        merging: &MergeSettings,
        now_ms: i64,
        new_files: &mut Vec<String>,
        fill: impl FnOnce(&mut NewFile) -> Result<(), StoreError>,
    ) -> Result<Option<Value>, StoreError> {
        let failed = |why: String| permanent_error(&*self.root, format!("a file of it cannot be written: {why}"));
        let hidden = format!("{}/merged.tmp", hidden_dir(share));
        let mut to = NewFile::new(self.format, self.own.begin(&hidden)?);
        fill(&mut to)?;
        let Some((mut file, rows, bounds)) = to.finish().map_err(failed)? else { return Ok(None) };
        self.own.stage(&hidden, &mut file)?;
        // A unique name: what an interrupted attempt has left is not a file of the table.
        let random_digits = random_digits().map_err(|error| permanent_error(&*self.root, error.message))?;
        let name = self.path_in_table(&format!("part-{random_digits}.parquet"));
        new_files.push(name.clone());
        self.root.show(&self.within(&hidden), &name)?;
        let size = self.root.size(&name)?.ok_or_else(|| failed(format!("{name} does not exist")))?;
        let first = merging.key.first().map_or("", String::as_str);
        Ok(Some(add_action(&name, json!({}), size, now_ms, Some(bounds.stats(first, rows)))))
    }

    /// Returns the actions of the commit for the next version of the table, and the files that were written only for it.
    fn actions(
        &self,
        share: Share,
        number: Option<u64>,
        parts: &[StagedPart],
        table: &Table,
    ) -> Result<(Vec<u8>, Vec<String>), StoreError> {
        let Some(merging) = &self.merging else { return Ok((self.add_actions(share, number, parts)?, Vec::new())) };
        let mut new_files = Vec::new();
        match self.replace_actions(merging, (share, number), parts, table, &mut new_files) {
            Ok(commit) => Ok((commit, new_files)),
            Err(error) => {
                self.remove_files(&new_files);
                Err(error)
            }
        }
    }

    /// Removes files that the log does not name. Failures are ignored, as such files do no harm.
    fn remove_files(&self, names: &[String]) {
        names.iter().for_each(|name| drop(self.root.remove(name)));
    }

    /// Reads the commits of other writers since the last call.
    fn read_new_commits(&self, log: &mut Log) -> Result<(), StoreError> {
        let names = LogFiles::list(&*self.root, Some(log.table.version))?;
        let next = log.table.version + 1;
        let newer = names.commits.range(next..).next();
        let checkpoint = names.checkpoint.filter(|checkpoint| checkpoint.version > log.table.version);
        if newer.is_some_and(|newer| *newer != next) || (newer.is_none() && checkpoint.is_some()) {
            let table = Table::load(&*self.root, self.table_request.part())?
                .ok_or_else(|| permanent_error(&*self.root, "its log was deleted"))?;
            table.check(&self.table_request).map_err(|why| permanent_error(&*self.root, why))?;
            log.table = table;
        }
        log.last_check = Instant::now();
        Ok(())
    }

    /// Applies a commit of another writer.
    fn take(&self, table: &mut Table, version: u64, commit: &[u8]) -> Result<(), StoreError> {
        let taken = table.take(commit).and_then(|()| table.check(&self.table_request));
        taken.map_err(|why| permanent_error(&*self.root, format!("{}: {why}", commit_name(version))))?;
        table.version = version;
        Ok(())
    }

    /// Writes a checkpoint if there are enough commits after the last one. A failure is not an error: the next commit retries.
    fn checkpoint(&self, share: Share, table: &mut Table) {
        let since =
            |table: &Table| table.version - table.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.version);
        let every = table.checkpoint_interval().unwrap_or(COMMITS_PER_CHECKPOINT);
        if since(table) < every {
            return;
        }
        let hidden = self.within(&format!("{}/checkpoint-{}.tmp", hidden_dir(share), table.version));
        let result = newest(&*self.root, table).and_then(|before| {
            table.checkpoint = before;
            if since(table) < every {
                return Ok(());
            }
            fault::point("delta.checkpoint");
            let now_ms = time::now().0 / 1_000;
            let result = checkpoint::write(&*self.root, table, table.checkpoint.as_ref(), &hidden, now_ms)?;
            table.checkpoint = Some(result);
            fault::point("delta.checkpointed");
            Ok(())
        });
        if let Err(error) = result {
            tracing::warn!(
                "sink `{}`: {error}; readers read the commits one by one, and the next commit retries",
                self.sink
            );
        }
    }
}

/// Returns the newest checkpoint, which another writer may have written.
fn newest(root: &dyn Destination, table: &Table) -> Result<Option<log::Checkpoint>, StoreError> {
    let from = table.checkpoint.as_ref().map(|checkpoint| checkpoint.version);
    let names = LogFiles::list(root, from)?;
    Ok(names.checkpoint.filter(|found| found.version <= table.version).or_else(|| table.checkpoint.clone()))
}

/// Reads the table, and creates it if it does not exist.
fn table(root: &dyn Destination, table_request: &TableRequest) -> Result<Table, StoreError> {
    let permanent_error = |why: String| permanent_error(root, why);
    loop {
        if let Some(table) = Table::load(root, table_request.part())? {
            table.check(table_request).map_err(permanent_error)?;
            return Ok(table);
        }
        if let Some(part) = root.any_part()? {
            return Err(permanent_error(format!(
                "it is not a table, and holds files that a sink of kind `files` wrote ({part}); choose another path"
            )));
        }
        let now_ms = time::now().0 / 1_000;
        let to_store_error = |error: Error| permanent_error(error.message);
        let info = info("CREATE TABLE", now_ms).map_err(to_store_error)?;
        let id = uuid(&random_digits().map_err(to_store_error)?);
        let commit = log::first_commit(table_request, id, &info, now_ms).map_err(permanent_error)?;
        fault::point("delta.create");
        // If another writer created the table first, its table is read.
        root.create(&commit_name(0), commit)?;
    }
}

/// Returns the action that adds a file.
fn add_action(name: &str, partition_values: Value, size: u64, now_ms: i64, stats: Option<Value>) -> Value {
    json!({ "add": {
        "path": utf8_percent_encode(name, PLAIN).to_string(),
        "partitionValues": partition_values,
        "size": size,
        "modificationTime": now_ms,
        "dataChange": true,
        "stats": stats.map(|stats| stats.to_string()),
    } })
}

/// Returns the action that removes a file.
fn remove_action(file: &DataFile, now_ms: i64) -> Value {
    json!({ "remove": {
        "path": file.path,
        "deletionTimestamp": now_ms,
        "dataChange": true,
        "extendedFileMetadata": true,
        "partitionValues": file.partition_values,
        "size": file.size,
    } })
}

/// Returns the description of a commit.
fn info(operation: &str, now_ms: i64) -> Result<Value> {
    Ok(json!({
        "timestamp": now_ms,
        "operation": operation,
        "operationParameters": {},
        "engineInfo": concat!("Millstream/", env!("CARGO_PKG_VERSION")),
        "txnId": uuid(&random_digits()?),
    }))
}

/// Formats 32 digits as a random UUID.
fn uuid(digits: &str) -> String {
    format!("{}-{}-4{}-a{}-{}", &digits[..8], &digits[8..12], &digits[13..16], &digits[17..20], &digits[20..32])
}

impl Destination for DeltaDestination {
    fn shown(&self) -> String {
        self.root.shown()
    }

    fn too_long(&self, name: &str) -> Option<usize> {
        self.root.too_long(name)
    }

    fn marker(&self, name: &str) -> Result<Option<(Marker, MarkerTag)>, StoreError> {
        self.own.marker(name)
    }

    fn replace_marker(
        &self,
        name: &str,
        marker: &Marker,
        before: Option<&MarkerTag>,
        owner: &Owner,
    ) -> Result<MarkerTag, StoreError> {
        self.own.replace_marker(name, marker, before, owner)
    }

    fn workers(&self) -> Result<Vec<usize>, StoreError> {
        self.own.workers()
    }

    /// Other writers may have written to the table.
    fn any_part(&self) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    fn begin(&self, hidden: &str) -> Result<File, StoreError> {
        self.own.begin(hidden)
    }

    fn stage(&self, hidden: &str, file: &mut File) -> Result<(), StoreError> {
        self.own.stage(hidden, file)
    }

    fn show(&self, hidden: &str, part: &str) -> Result<(), StoreError> {
        match self.merging {
            None => self.root.show(&self.within(hidden), &self.path_in_table(part)),
            // Its rows are not rows of the table yet.
            Some(_) => self.own.show(hidden, &self.changes_path(part)),
        }
    }

    fn write(&self, hidden: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.own.write(hidden, bytes)
    }

    fn read(&self, hidden: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.own.read(hidden)
    }

    fn hidden(&self, dir: &str) -> Result<Vec<String>, StoreError> {
        self.own.hidden(dir)
    }

    fn remove(&self, hidden: &str) -> Result<(), StoreError> {
        self.own.remove(hidden)
    }

    fn names(&self, dir: &str, after: &str) -> Result<Vec<String>, StoreError> {
        self.root.names(dir, after)
    }

    fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool, StoreError> {
        self.root.create(name, bytes)
    }

    fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.root.size(name)
    }

    fn announced(&self, share: Share) -> Option<u64> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.application_id(share).and_then(|application_id| log.table.transaction(&application_id));
        Some(version.and_then(|version| u64::try_from(version).ok()).unwrap_or(0))
    }

    fn announce(&self, share: Share, number: Option<u64>, parts: &[StagedPart]) -> Result<(), StoreError> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.last_check.elapsed() >= REFRESH_AFTER {
            self.read_new_commits(&mut log)?;
        }
        let done = |table: &Table| {
            let announced = self.application_id(share).and_then(|application_id| table.transaction(&application_id));
            number.is_some_and(|number| {
                announced.is_some_and(|announced| announced >= i64::try_from(number).unwrap_or(i64::MAX))
            })
        };
        while !done(&log.table) {
            let version = log.table.version + 1;
            let name = commit_name(version);
            let (commit, files) = self.actions(share, number, parts, &log.table)?;
            fault::point("delta.commit");
            let created = self.root.create(&name, commit.clone())?;
            log.last_check = Instant::now();
            if created {
                fault::point("delta.committed");
                self.take(&mut log.table, version, &commit)?;
                break;
            }
            let found = self.root.read(&name)?;
            let found =
                found.ok_or_else(|| permanent_error(&*self.root, format!("{name} exists and cannot be read")))?;
            // The commit may be our own, whose response was lost, that of another run of the job, or that of another writer.
            let is_own = found == commit;
            if !is_own {
                self.remove_files(&files);
            }
            self.take(&mut log.table, version, &found)?;
            if is_own {
                break;
            }
        }
        if self.merging.is_some() {
            // If a file cannot be removed now, the next run finds it done and removes it.
            parts.iter().for_each(|(part, _)| drop(self.own.remove(&self.changes_path(part))));
        }
        self.checkpoint(share, &mut log.table);
        Ok(())
    }
}
