//! Files that are those of a Delta table. They are written as all others are, and readers hear of them by a commit to the table's log once
//! they have their names.
//!
//! The job's own files (marker, lock, staged parts, reserves) are in a folder of the table that readers pass over, one for each job, as a table
//! belongs to nobody alone. The commit of a share says by a *transaction* how many commits that share has made: whoever is to make one that is
//! there already, after a crash, finds it. Which start of the job may write is decided by the marker, as of all files.

mod checkpoint;
mod log;
mod merge;
mod schema;

use super::FileSettings;
use super::destination::{BucketDestination, Destination, FolderDestination, MarkerTag, Staged};
use super::open_part::hidden_folder;
use super::partitions::values_of;
use crate::files::sink::Share;
use crate::sink::marker::Marker;
use arrow::datatypes::SchemaRef;
use log::{DataFile, Names, Table, TableRequest, commit_name, wrong};
use merge::{MergedParts, Merging, NewFile, RemainingRows};
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::hex;
use millstream_base::job::spec::{FileFormat, bucket_url};
use millstream_base::owner::Owner;
use millstream_base::patience::{StoreError, patiently};
use millstream_base::private;
use millstream_base::shown::harmless;
use millstream_base::time;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where the own files of all jobs are, within the table.
const OWN_FOLDER: &str = "_millstream";
/// How the identity of who commits begins in the log.
const APP: &str = "millstream";
/// After how many commits a checkpoint is made where the table does not say it.
const COMMITS_PER_CHECKPOINT: u64 = 100;
/// After so long without a look at it, others may have made so many commits that old ones are gone.
const LOOK_AFTER: Duration = Duration::from_secs(60);
/// How much of what a log says a message shows.
const SHOWN_BYTES_MAX: usize = 200;
/// Letters of paths that stand as they are in a log, where paths are URIs: all that URIs have in paths and that names of folders have. Some
/// who compact tables or delete rows find a file only by the path that they would have written themselves.
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

/// A table, and the folder in it that is the sink's own.
pub struct DeltaDestination {
    root: Arc<dyn Destination>,
    own: Box<dyn Destination>,
    /// That of `own`, from the table on.
    own_name: String,
    wanted: TableRequest,
    /// How rows replace others; `None`: they are added.
    merging: Option<Merging>,
    format: FileFormat,
    owner: Option<Owner>,
    sink: String,
    log: Mutex<Log>,
}

/// How far the log is known.
struct Log {
    table: Table,
    looked: Instant,
}

/// The own folder of a job, from the table on: one of its sinks writes there, whatever it is called. Without checkpoints each start has another one.
fn own_name(job_id: Option<&str>) -> Result<String> {
    Ok(match job_id {
        Some(id) => format!("{OWN_FOLDER}/{id}"),
        None => format!("{OWN_FOLDER}/run-{}", random()?),
    })
}

/// 32 hexadecimal digits that nobody else has.
fn random() -> Result<String> {
    let bytes = private::random().map_err(|cause| Error::environment(format!("cannot read random bytes: {cause}")))?;
    Ok(hex::encode(&bytes)[..32].to_owned())
}

/// Where the marker of this job is.
pub fn own_path(table: &Path, job_id: &str) -> PathBuf {
    match bucket_url(table) {
        Some(url) => PathBuf::from(format!("{}/{OWN_FOLDER}/{job_id}", url.trim_end_matches('/'))),
        None => table.join(OWN_FOLDER).join(job_id),
    }
}

/// Checks columns, and the table where it is a folder that is there. The error comes with the key that is wrong.
pub fn check(written: &FileSettings) -> Result<(), (&'static str, String)> {
    let wanted = wanted(written)?;
    schema::of_rows(&wanted.schema).map_err(|message| ("from", message))?;
    if bucket_url(&written.path).is_some() {
        return Ok(());
    }
    let existing = written.path.ancestors().map(|f| if f.as_os_str().is_empty() { Path::new(".") } else { f });
    let Some(existing) = existing.into_iter().find(|f| f.exists()) else {
        return Err(("path", format!("{} cannot be created; choose another path", written.path.display())));
    };
    if !existing.is_dir() {
        let message =
            format!("{} is a file, not a folder; a table is a folder: choose another path", existing.display());
        return Err(("path", message));
    }
    super::check_writable(existing).map_err(|message| ("path", message))?;
    let table = Table::load(&FolderDestination::new(written.path.clone()), checkpoint::Part::Table);
    let table = table.map_err(|error| ("path", error.to_string()))?;
    table.map_or(Ok(()), |table| table.check(&wanted)).map_err(|message| ("path", message))
}

/// What rows need of the table. The error comes with the key that is wrong.
fn wanted(written: &FileSettings) -> Result<TableRequest, (&'static str, String)> {
    let merging = Merging::of(&written.layout);
    let schema: SchemaRef = match &merging {
        Some(merging) => merging.columns_written(&written.schema)?,
        None => written.schema.clone(),
    };
    Ok(log::wanted(&schema, &written.layout.partition_by, merging.is_some()))
}

impl DeltaDestination {
    /// Opens a table, which is made where it is not there. Its own folder, where it is one of this machine.
    pub fn open(
        written: &FileSettings,
        owner: Option<&Owner>,
        failure: &Failure,
    ) -> Result<(DeltaDestination, Option<PathBuf>)> {
        let sink = &written.name;
        let own_name = own_name(owner.map(|owner| owner.job_id.as_str()))?;
        let (root, own, folder): (Arc<dyn Destination>, Box<dyn Destination>, _) = match bucket_url(&written.path) {
            Some(url) => {
                let below = format!("{}/{own_name}", url.trim_end_matches('/'));
                (Arc::new(BucketDestination::open(url)?), Box::new(BucketDestination::open(&below)?), None)
            }
            None => {
                let folder = written.path.join(&own_name);
                fs::create_dir_all(&folder)
                    .map_err(|cause| super::open_failed(sink, "make the folder", &folder, &cause))?;
                (
                    Arc::new(FolderDestination::new(written.path.clone())),
                    Box::new(FolderDestination::new(folder.clone())),
                    Some(folder),
                )
            }
        };
        let wanted = wanted(written).map_err(|(_, message)| Error::job(message))?;
        let table = patiently(failure, || table(&*root, &wanted))?;
        let log = Mutex::new(Log { table, looked: Instant::now() });
        let (owner, sink, format) = (owner.cloned(), sink.clone(), written.format);
        let merging = Merging::of(&written.layout);
        Ok((DeltaDestination { root, own, own_name, wanted, merging, format, owner, sink, log }, folder))
    }

    /// The name of a part within the table, which those of other sinks do not have.
    fn in_table(&self, part: &str) -> String {
        let of = &Digest::of(self.own_name.as_bytes()).hex()[..16];
        match part.rsplit_once('.') {
            Some((name, extension)) => format!("{name}-{of}.{extension}"),
            None => format!("{part}-{of}"),
        }
    }

    fn within(&self, hidden: &str) -> String {
        format!("{}/{hidden}", self.own_name)
    }

    /// Who commits, as the log names them.
    fn app(&self, share: Share) -> Option<String> {
        let id = &self.owner.as_ref()?.job_id;
        let worker = share.map_or_else(String::new, |worker| format!("-{worker:03}"));
        Some(format!("{APP}-{id}{worker}"))
    }

    /// How a commit begins: what it is, and how many this share has made.
    fn first_actions(&self, share: Share, number: Option<u64>, now_ms: i64) -> Result<Vec<Value>, StoreError> {
        let mut info = info("STREAMING UPDATE", now_ms).map_err(|error| wrong(&*self.root, error.message))?;
        let mode = if self.merging.is_some() { "Update" } else { "Append" };
        info["operationParameters"] =
            json!({ "outputMode": mode, "queryId": self.app(share), "epochId": number.map(|n| n.to_string()) });
        info["isBlindAppend"] = self.merging.is_none().into();
        let mut actions = vec![json!({ "commitInfo": info })];
        if let (Some(app), Some(number)) = (self.app(share), number) {
            actions.push(json!({ "txn": { "appId": app, "version": number, "lastUpdated": now_ms } }));
        }
        Ok(actions)
    }

    /// The actions that add these parts.
    fn adding(&self, share: Share, number: Option<u64>, parts: &[Staged]) -> Result<Vec<u8>, StoreError> {
        let now_ms = time::now().0 / 1_000;
        let mut actions = self.first_actions(share, number, now_ms)?;
        for (part, rows) in parts {
            let name = self.in_table(part);
            let size = self.root.size(&name)?.ok_or_else(|| {
                wrong(
                    &*self.root,
                    format!("{name}, whose rows are committed, was deleted before readers could see it; restore it from a copy"),
                )
            })?;
            let values = values_of(part).map(|value| value.map_or(Value::Null, Value::from));
            let values: serde_json::Map<_, _> = self.wanted.partition_by.iter().cloned().zip(values).collect();
            let stats = rows.map(|rows| json!({ "numRecords": rows }));
            actions.push(added(&name, values.into(), size, now_ms, stats));
        }
        Ok(log::written(&actions))
    }

    /// Where the changes of a part are until they are in the table.
    fn changes_of(&self, part: &str) -> String {
        format!("changes/{}", self.in_table(part))
    }

    /// The actions by which the rows of these parts replace others in a version of the table, whose files are written. `made`: their names.
    fn replacing(
        &self,
        merging: &Merging,
        (share, number): (Share, Option<u64>),
        parts: &[Staged],
        table: &Table,
        made: &mut Vec<String>,
    ) -> Result<Vec<u8>, StoreError> {
        let now_ms = time::now().0 / 1_000;
        let read = |(part, _): &Staged| {
            let name = self.changes_of(part);
            let bytes = self.own.read(&name)?.ok_or_else(|| {
                wrong(
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
        let of_parts = |why: String| wrong(&*self.root, format!("the changes to be made cannot be read: {why}"));
        let bytes = parts.iter().map(read).collect::<Result<Vec<_>, StoreError>>()?;
        let changes = MergedParts::read(merging, self.wanted.schema.clone(), bytes).map_err(of_parts)?;
        let mut actions = self.first_actions(share, number, now_ms)?;
        for file in table.files() {
            let of_file = |why: String| {
                wrong(
                    &*self.root,
                    format!("{}: {}", harmless(&file.path, SHOWN_BYTES_MAX), harmless(&why, SHOWN_BYTES_MAX)),
                )
            };
            let name = file.name().map_err(of_file)?;
            let mut failed = None;
            let staying = changes.what_stays(file, || match self.root.read(&name) {
                Ok(Some(bytes)) => Ok(bytes.into()),
                Ok(None) => Err("it is gone".into()),
                Err(error) => {
                    failed = Some(error);
                    Err(String::new())
                }
            });
            // A store that does not answer is asked again.
            if let Some(error) = failed {
                return Err(error);
            }
            let staying = staying.map_err(of_file)?;
            if let RemainingRows::Some { bytes, stays } = &staying {
                let rewrite = |to: &mut NewFile| changes.rewrite(table, (bytes, stays), to).map_err(of_file);
                actions.extend(self.write_file(share, merging, now_ms, made, rewrite)?);
            }
            if !matches!(staying, RemainingRows::All) {
                actions.push(removed(file, now_ms));
            }
        }
        actions.extend(self.write_file(share, merging, now_ms, made, |to| changes.write(to).map_err(of_parts))?);
        Ok(log::written(&actions))
    }

    /// Writes a file of the table, which the log does not name yet: the action that adds it, where it has rows.
    fn write_file(
        &self,
        share: Share,
        merging: &Merging,
        now_ms: i64,
        made: &mut Vec<String>,
        fill: impl FnOnce(&mut NewFile) -> Result<(), StoreError>,
    ) -> Result<Option<Value>, StoreError> {
        let failed = |why: String| wrong(&*self.root, format!("a file of it cannot be written: {why}"));
        let hidden = format!("{}/merged.tmp", hidden_folder(share));
        let mut to = NewFile::new(self.format, self.own.begin(&hidden)?);
        fill(&mut to)?;
        let Some((mut file, rows, bounds)) = to.finish().map_err(failed)? else { return Ok(None) };
        self.own.stage(&hidden, &mut file)?;
        // A name of its own: what an attempt that was cut off has left is no file of the table.
        let random = random().map_err(|error| wrong(&*self.root, error.message))?;
        let name = self.in_table(&format!("part-{random}.parquet"));
        made.push(name.clone());
        self.root.show(&self.within(&hidden), &name)?;
        let size = self.root.size(&name)?.ok_or_else(|| failed(format!("{name} is gone")))?;
        let first = merging.key.first().map_or("", String::as_str);
        Ok(Some(added(&name, json!({}), size, now_ms, Some(bounds.stats(first, rows)))))
    }

    /// The actions of a commit for the next version of the table, and the files that were written for it alone.
    fn actions(
        &self,
        share: Share,
        number: Option<u64>,
        parts: &[Staged],
        table: &Table,
    ) -> Result<(Vec<u8>, Vec<String>), StoreError> {
        let Some(merging) = &self.merging else { return Ok((self.adding(share, number, parts)?, Vec::new())) };
        let mut made = Vec::new();
        match self.replacing(merging, (share, number), parts, table, &mut made) {
            Ok(commit) => Ok((commit, made)),
            Err(error) => {
                self.remove_files(&made);
                Err(error)
            }
        }
    }

    /// Removes files that the log does not name. Those that cannot be removed are in nobody's way.
    fn remove_files(&self, names: &[String]) {
        names.iter().for_each(|name| drop(self.root.remove(name)));
    }

    /// Takes in what others have committed since.
    fn look(&self, log: &mut Log) -> Result<(), StoreError> {
        let names = Names::of(&*self.root, Some(log.table.version))?;
        let next = log.table.version + 1;
        let newer = names.commits.range(next..).next();
        let checkpoint = names.checkpoint.filter(|checkpoint| checkpoint.version > log.table.version);
        if newer.is_some_and(|newer| *newer != next) || (newer.is_none() && checkpoint.is_some()) {
            let table =
                Table::load(&*self.root, self.wanted.part())?.ok_or_else(|| wrong(&*self.root, "its log is gone"))?;
            table.check(&self.wanted).map_err(|why| wrong(&*self.root, why))?;
            log.table = table;
        }
        log.looked = Instant::now();
        Ok(())
    }

    /// Takes in the commit that somebody else made.
    fn take(&self, table: &mut Table, version: u64, commit: &[u8]) -> Result<(), StoreError> {
        let taken = table.take(commit).and_then(|()| table.check(&self.wanted));
        taken.map_err(|why| wrong(&*self.root, format!("{}: {why}", commit_name(version))))?;
        table.version = version;
        Ok(())
    }

    /// Makes a checkpoint where enough commits lie behind the last one. That it cannot be made is no failure: the next commit tries again.
    fn checkpoint(&self, share: Share, table: &mut Table) {
        let since =
            |table: &Table| table.version - table.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.version);
        let every = table.checkpoint_interval().unwrap_or(COMMITS_PER_CHECKPOINT);
        if since(table) < every {
            return;
        }
        let hidden = self.within(&format!("{}/checkpoint-{}.tmp", hidden_folder(share), table.version));
        let made = newest(&*self.root, table).and_then(|before| {
            table.checkpoint = before;
            if since(table) < every {
                return Ok(());
            }
            fault::point("delta.checkpoint");
            let now_ms = time::now().0 / 1_000;
            let made = checkpoint::write(&*self.root, table, table.checkpoint.as_ref(), &hidden, now_ms)?;
            table.checkpoint = Some(made);
            fault::point("delta.checkpointed");
            Ok(())
        });
        if let Err(error) = made {
            tracing::warn!(
                "sink `{}`: {error}; readers read the commits one by one, and the next commit tries again",
                self.sink
            );
        }
    }
}

/// The newest checkpoint, which others may have made.
fn newest(root: &dyn Destination, table: &Table) -> Result<Option<log::Checkpoint>, StoreError> {
    let from = table.checkpoint.as_ref().map(|checkpoint| checkpoint.version);
    let names = Names::of(root, from)?;
    Ok(names.checkpoint.filter(|found| found.version <= table.version).or_else(|| table.checkpoint.clone()))
}

/// The table, which is made where it is not there.
fn table(root: &dyn Destination, wanted: &TableRequest) -> Result<Table, StoreError> {
    let wrong = |why: String| wrong(root, why);
    loop {
        if let Some(table) = Table::load(root, wanted.part())? {
            table.check(wanted).map_err(wrong)?;
            return Ok(table);
        }
        if let Some(part) = root.any_part()? {
            return Err(wrong(format!(
                "it is not a table, and holds files that a sink of kind `files` wrote ({part}); choose another path"
            )));
        }
        let now_ms = time::now().0 / 1_000;
        let told = |error: Error| wrong(error.message);
        let info = info("CREATE TABLE", now_ms).map_err(told)?;
        let id = uuid(&random().map_err(told)?);
        let commit = log::first_commit(wanted, id, &info, now_ms).map_err(wrong)?;
        fault::point("delta.create");
        // Who comes second reads what the first has made.
        root.create(&commit_name(0), commit)?;
    }
}

/// The action that adds a file.
fn added(name: &str, partition_values: Value, size: u64, now_ms: i64, stats: Option<Value>) -> Value {
    json!({ "add": {
        "path": utf8_percent_encode(name, PLAIN).to_string(),
        "partitionValues": partition_values,
        "size": size,
        "modificationTime": now_ms,
        "dataChange": true,
        "stats": stats.map(|stats| stats.to_string()),
    } })
}

/// The action that removes a file.
fn removed(file: &DataFile, now_ms: i64) -> Value {
    json!({ "remove": {
        "path": file.path,
        "deletionTimestamp": now_ms,
        "dataChange": true,
        "extendedFileMetadata": true,
        "partitionValues": file.partition_values,
        "size": file.size,
    } })
}

/// What a commit says of itself.
fn info(operation: &str, now_ms: i64) -> Result<Value> {
    Ok(json!({
        "timestamp": now_ms,
        "operation": operation,
        "operationParameters": {},
        "engineInfo": concat!("Millstream/", env!("CARGO_PKG_VERSION")),
        "txnId": uuid(&random()?),
    }))
}

/// 32 digits as a random UUID has them.
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

    /// Others may have written to the table.
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
            None => self.root.show(&self.within(hidden), &self.in_table(part)),
            // Its rows are not those of the table yet.
            Some(_) => self.own.show(hidden, &self.changes_of(part)),
        }
    }

    fn write(&self, hidden: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.own.write(hidden, bytes)
    }

    fn read(&self, hidden: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.own.read(hidden)
    }

    fn hidden(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.own.hidden(folder)
    }

    fn remove(&self, hidden: &str) -> Result<(), StoreError> {
        self.own.remove(hidden)
    }

    fn names(&self, folder: &str, behind: &str) -> Result<Vec<String>, StoreError> {
        self.root.names(folder, behind)
    }

    fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool, StoreError> {
        self.root.create(name, bytes)
    }

    fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.root.size(name)
    }

    fn told(&self, share: Share) -> Option<u64> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.app(share).and_then(|app| log.table.transaction(&app));
        Some(version.and_then(|version| u64::try_from(version).ok()).unwrap_or(0))
    }

    fn tell(&self, share: Share, number: Option<u64>, parts: &[Staged]) -> Result<(), StoreError> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.looked.elapsed() >= LOOK_AFTER {
            self.look(&mut log)?;
        }
        let done = |table: &Table| {
            let told = self.app(share).and_then(|app| table.transaction(&app));
            number.is_some_and(|number| told.is_some_and(|told| told >= i64::try_from(number).unwrap_or(i64::MAX)))
        };
        while !done(&log.table) {
            let version = log.table.version + 1;
            let name = commit_name(version);
            let (commit, files) = self.actions(share, number, parts, &log.table)?;
            fault::point("delta.commit");
            let made = self.root.create(&name, commit.clone())?;
            log.looked = Instant::now();
            if made {
                fault::point("delta.committed");
                self.take(&mut log.table, version, &commit)?;
                break;
            }
            let found = self.root.read(&name)?;
            let found = found.ok_or_else(|| wrong(&*self.root, format!("{name} is there and cannot be read")))?;
            // It is the own one, whose answer was lost, or that of another start of the job, or of somebody else.
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
            // What cannot be removed now is found to be done by the next start.
            parts.iter().for_each(|(part, _)| drop(self.own.remove(&self.changes_of(part))));
        }
        self.checkpoint(share, &mut log.table);
        Ok(())
    }
}
