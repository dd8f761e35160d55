//! The thread that writes checkpoints: encodes and stores what workers hand over, publishes the manifest, and removes
//! what is no longer needed.

mod makers;
mod unwritten;

use super::recent::{CheckpointFacts, RecentCheckpoints};
use super::record::{self, NextPlugin, Upgraded};
use super::state_file::EncodedFile;
use super::store::{Store, Version};
use super::types::{Checkpoint, Manifest, StateFile, Table, TableOf};
use super::{Markers, fold, gc, manifest, resolve, state_file};
use crate::checkpoint::changes::TableChanges;
use bytes::Bytes;
use makers::{FileMakers, MakerThread};
use millstream_base::digest;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime, Generation};
use millstream_base::patience::patiently;
use millstream_base::threads;
use millstream_base::time;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use unwritten::UnwrittenBytes;

/// How late the planted bug `state-late` writes.
const BUG_DELAY: Duration = Duration::from_millis(100);

/// A file and the place of its table in [`super::loaded::LoadedCheckpoint::tables`].
pub type SavedFile = (usize, StateFile);

/// Orders for the thread. Cheap to clone; the thread ends with the last clone.
#[derive(Clone)]
pub struct CheckpointWriter {
    orders: Sender<WriterOrder>,
    unwritten: Arc<UnwrittenBytes>,
    /// What makers have made, which do not wait for what workers hand over behind that.
    made: Arc<UnwrittenBytes>,
    makers: Arc<FileMakers>,
    recent: RecentCheckpoints,
    handover: Arc<HandoverState>,
    failure: Failure,
}

/// What is known of other processes that are about to take the job over.
#[derive(Default)]
struct HandoverState {
    small_until: Mutex<Option<Instant>>,
    is_last: AtomicBool,
}

impl HandoverState {
    fn small_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.small_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For how long checkpoints are kept small once somebody follows them. Should that one be given up, they are as ever then.
const SMALL_FOR: Duration = Duration::from_secs(600);

enum WriterOrder {
    /// A file of a checkpoint whose other files come later.
    Ahead {
        batch: BatchId,
        worker: usize,
        changes: TableChanges,
        /// Where its bytes are counted until it is written.
        unwritten: Arc<UnwrittenBytes>,
    },
    Save {
        batch: BatchId,
        worker: usize,
        changes: Vec<TableChanges>,
        done: Box<dyn FnOnce(Vec<SavedFile>) + Send>,
    },
    Publish {
        published: Published,
        done: Box<dyn FnOnce() + Send>,
    },
    Upgrade {
        next: NextPlugin,
        done: Box<dyn FnOnce(Result<()>) + Send>,
    },
}

/// A checkpoint that is to count.
pub struct Published {
    /// The last batch that it holds.
    pub batch: BatchId,
    /// That batch's time.
    pub time: BatchTime,
    /// What was written for it.
    pub files: Vec<SavedFile>,
    /// Behind it runs the plugin for which the last record was stored, see [`CheckpointWriter::upgrade`].
    pub swap: bool,
    /// See [`Checkpoint::leftover`].
    pub leftover: bool,
}

/// What the process that owns the manifest knows of it.
pub struct ClaimedManifest {
    /// The manifest as it stands in the store.
    pub manifest: Manifest,
    /// Its version there.
    pub version: Version,
    /// Paths of the blobs that the kept job records refer to, where all of them could be read.
    pub blobs: Option<BTreeSet<String>>,
}

impl CheckpointWriter {
    /// Starts the thread. `tables`: those of the job, with the files of the checkpoint that was loaded. `claimed` is there
    /// on process 0. `tidy`: what no checkpoint needs is removed; not where only some of the planned batches are run again.
    pub fn start(
        store: Arc<dyn Store>,
        generation: Generation,
        tables: Vec<Table>,
        claimed: Option<ClaimedManifest>,
        markers: Markers,
        tidy: bool,
        failure: Failure,
    ) -> Result<CheckpointWriter> {
        let (sender, orders) = channel();
        let recent = RecentCheckpoints::default();
        let saver = CheckpointWriter {
            orders: sender,
            unwritten: Arc::default(),
            made: Arc::default(),
            makers: Arc::default(),
            recent: recent.clone(),
            handover: Arc::default(),
            failure: failure.clone(),
        };
        let ahead = BTreeMap::new();
        let thread = WriterThread {
            store,
            generation,
            tables,
            claimed,
            markers,
            tidy,
            upgraded: None,
            ahead,
            recent,
            handover: saver.handover.clone(),
            failure,
        };
        let failing = saver.failure.clone();
        let failed = move |error| failing.set(error);
        threads::start("millstream-checkpoint", "the thread that writes checkpoints", failed, move || {
            thread.run(&orders);
        })?;
        Ok(saver)
    }

    /// The job's failure.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// The job's state may take so many bytes of memory: what is on its way into files is a small part of that.
    pub fn limit(&self, state_bytes_max: u64) {
        [&self.unwritten, &self.made].into_iter().for_each(|unwritten| unwritten.limit(state_bytes_max));
    }

    /// How many bytes of rows one file of a state table has at most.
    pub fn file_bytes_max(&self) -> usize {
        usize::try_from(self.unwritten.bytes_max()).unwrap_or(usize::MAX)
    }

    /// Other processes follow the checkpoints of this one, to take the job over soon: they are to be small for a while.
    pub fn is_followed(&self) {
        *self.handover.small_until() = Instant::now().checked_add(SMALL_FOR);
    }

    /// Whether checkpoints are to be small now.
    pub fn keeps_small(&self) -> bool {
        self.handover.small_until().is_some_and(|until| Instant::now() < until)
    }

    /// The next checkpoint is the last one of this process.
    pub fn hand_over(&self) {
        self.is_followed();
        self.handover.is_last.store(true, Ordering::Release);
    }

    /// The last checkpoints that were published.
    pub fn recent(&self) -> Vec<CheckpointFacts> {
        self.recent.all()
    }

    /// Writes one file of a large table for the checkpoint after `batch`, for which the same worker calls [`CheckpointWriter::save`]
    /// later. Waits where too much waits to be written.
    pub fn save_ahead(&self, batch: BatchId, worker: usize, changes: TableChanges) {
        self.recent.begun(batch);
        self.unwritten.add(changes.bytes(), &self.failure);
        self.send(worker, WriterOrder::Ahead { batch, worker, changes, unwritten: self.unwritten.clone() });
    }

    /// The same of files that `make` makes of copies, which take so many bytes, on a thread of the worker's own.
    pub fn save_later(
        &self,
        batch: BatchId,
        worker: usize,
        bytes: u64,
        make: impl FnOnce(&mut dyn FnMut(TableChanges)) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        self.recent.begun(batch);
        let (made, failure) = (self.made.clone(), self.failure.clone());
        let thread = MakerThread { to: self.orders.clone(), made, failure };
        self.makers.make((batch, worker), bytes, Box::new(make), thread)
    }

    /// Writes what a worker hands over for the checkpoint after `batch`. `done` is called, on the thread, when all of it
    /// is durable; never where the job fails first.
    pub fn save(
        &self,
        batch: BatchId,
        worker: usize,
        changes: Vec<TableChanges>,
        done: impl FnOnce(Vec<SavedFile>) + Send + 'static,
    ) {
        self.recent.begun(batch);
        self.send(worker, WriterOrder::Save { batch, worker, changes, done: Box::new(done) });
    }

    /// Sends an order of a worker, behind what is still made for it.
    fn send(&self, worker: usize, order: WriterOrder) {
        if let Some(order) = self.makers.pass(worker, order) {
            // The thread outlives the job.
            let _ = self.orders.send(order);
        }
    }

    /// All files of a checkpoint are durable, and all sinks have committed its batch: makes it count.
    pub fn publish(&self, published: Published, done: impl FnOnce() + Send + 'static) {
        let _ = self.orders.send(WriterOrder::Publish { published, done: Box::new(done) });
    }

    /// Stores what a start needs to know of the next plugin of a stage, on the process that owns the manifest: before any
    /// checkpoint is published behind which it runs. Where that cannot be done, the job goes on as it is.
    pub fn upgrade(&self, next: NextPlugin, done: impl FnOnce(Result<()>) + Send + 'static) {
        let _ = self.orders.send(WriterOrder::Upgrade { next, done: Box::new(done) });
    }
}

struct WriterThread {
    store: Arc<dyn Store>,
    generation: Generation,
    tables: Vec<Table>,
    claimed: Option<ClaimedManifest>,
    markers: Markers,
    tidy: bool,
    /// Of the upgrade that comes next.
    upgraded: Option<Upgraded>,
    /// Files that were written ahead, by batch and worker.
    ahead: BTreeMap<(BatchId, usize), Vec<SavedFile>>,
    recent: RecentCheckpoints,
    handover: Arc<HandoverState>,
    failure: Failure,
}

impl WriterThread {
    fn run(mut self, orders: &Receiver<WriterOrder>) {
        for order in orders {
            if self.failure.happened() {
                continue;
            }
            let done = match order {
                WriterOrder::Ahead { batch, worker, changes, unwritten } => {
                    let bytes = changes.bytes();
                    self.save_ahead(batch, worker, changes).map(|()| unwritten.written(bytes))
                }
                WriterOrder::Save { batch, worker, changes, done } => self.save(batch, worker, changes).map(done),
                WriterOrder::Publish { published, done } => self.publish(published).map(|()| done()),
                WriterOrder::Upgrade { next, done } => {
                    done(self.upgrade(next));
                    Ok(())
                }
            };
            if let Err(error) = done {
                self.failure.set(error);
            }
        }
    }

    fn save_ahead(&mut self, batch: BatchId, worker: usize, changes: TableChanges) -> Result<()> {
        let file = self.save_file(batch, worker, changes)?;
        self.ahead.entry((batch, worker)).or_default().extend(file);
        Ok(())
    }

    fn save(&mut self, batch: BatchId, worker: usize, changes: Vec<TableChanges>) -> Result<Vec<SavedFile>> {
        let mut saved = self.ahead.remove(&(batch, worker)).unwrap_or_default();
        for changes in changes {
            saved.extend(self.save_file(batch, worker, changes)?);
        }
        Ok(saved)
    }

    fn save_file(&self, batch: BatchId, worker: usize, changes: TableChanges) -> Result<Option<SavedFile>> {
        let Some(table) = self.tables.get(changes.table) else {
            return Err(Error::bug(format!("there is no table {}", changes.table)));
        };
        let within = |error: Error| error.within(format!("checkpoint after batch {batch}: `{}`", table.name));
        let path = state_path(self.generation, batch, (worker, changes.number), table);
        if fault::bug!("delta-lost") && table.of == TableOf::Stage && !changes.base {
            return Ok(None);
        }
        let (place, rows) = (changes.table, changes.num_rows());
        let (group_first, group_end) = changes.groups;
        let EncodedFile { bytes, footer } = state_file::encode(changes.rows, changes.indexed_by).map_err(within)?;
        let file = StateFile {
            path: path.clone(),
            batch,
            group_first,
            group_end,
            base: changes.base,
            rows,
            bytes: bytes.len() as u64,
            checksum: digest::checksum(&bytes),
            footer,
        };
        fault::point("checkpoint.state");
        if fault::bug!("state-late") {
            write_late(self.store.clone(), path, bytes);
            return Ok(Some((place, file)));
        }
        patiently(&self.failure, || self.store.write(&path, bytes.clone())).map_err(within)?;
        fault::point("checkpoint.state-written");
        Ok(Some((place, file)))
    }

    fn upgrade(&mut self, next: NextPlugin) -> Result<()> {
        let last = self.claimed.as_ref().and_then(|claimed| claimed.manifest.starts.last());
        let Some(last) = last else { return Err(Error::bug("this process does not own the manifest")) };
        self.upgraded = Some(record::upgrade(&*self.store, last, next, &self.failure)?);
        fault::point("upgrade.recorded");
        Ok(())
    }

    fn publish(&mut self, published: Published) -> Result<()> {
        let Published { batch, time, files, swap, leftover } = published;
        let within = |error: Error| error.within(format!("checkpoint after batch {batch}"));
        let (written, bytes) = (files.len() as u64, files.iter().map(|(_, file)| file.bytes).sum());
        for (table, file) in files {
            if let Some(table) = self.tables.get_mut(table) {
                table.files.push(file);
            }
        }
        for table in &mut self.tables {
            table.files = fold::prune(std::mem::take(&mut table.files));
        }
        let Some(claimed) = &mut self.claimed else { return Err(Error::bug("this process does not own the manifest")) };
        let (generation, tables, sinks) = (self.generation, self.tables.clone(), self.markers.all());
        let written_us = time::now().0;
        let checkpoint = Checkpoint { batch, time, generation, written: written_us, tables, sinks, leftover };
        let upgraded = if swap { self.upgraded.take() } else { None };
        let manifest = match &upgraded {
            Some(upgraded) if !fault::bug!("upgrade-untold") => {
                resolve::publish_upgrade(&claimed.manifest, checkpoint, upgraded.digest.clone())
            }
            None if swap => return Err(Error::bug("an upgrade without a record")),
            _ => resolve::publish(&claimed.manifest, checkpoint),
        };
        fault::point("checkpoint.manifest");
        let hands_over = self.handover.is_last.load(Ordering::Acquire);
        if hands_over {
            fault::point("handover.publish");
        }
        let replaced = manifest::replace(&*self.store, &manifest, Some(&claimed.version), &self.failure);
        match replaced.map_err(within)? {
            manifest::ReplaceOutcome::Done(version) => {
                if claimed.manifest.starts != manifest.starts {
                    claimed.blobs = record::blobs_of(&*self.store, &manifest.starts);
                }
                (claimed.manifest, claimed.version) = (manifest, version);
            }
            manifest::ReplaceOutcome::Lost => return Err(lost(&*self.store, self.generation)),
        }
        fault::point(if swap { "upgrade.published" } else { "checkpoint.published" });
        if hands_over {
            fault::point("handover.published");
        }
        self.recent.published(batch, written, bytes);
        upgraded.into_iter().for_each(|upgraded| self.take_over(upgraded));
        self.collect()
    }

    /// From now on the stage is one with another plugin: tables whose columns are others hold nothing yet.
    fn take_over(&mut self, upgraded: Upgraded) {
        for next in upgraded.next.tables {
            let same = |table: &&mut Table| (table.of, &table.name) == (next.of, &next.name);
            if let Some(table) = self.tables.iter_mut().find(same) {
                let files = if table.state == next.state { std::mem::take(&mut table.files) } else { Vec::new() };
                // Its stage has the same place in the job, and the same config.
                let meaning = std::mem::take(&mut table.meaning);
                *table = Table { files, meaning, ..next };
            }
        }
    }

    /// Removes what no kept checkpoint needs. What cannot be removed now is tried again after the next checkpoint.
    fn collect(&self) -> Result<()> {
        let Some(claimed) = self.claimed.as_ref().filter(|_| self.tidy) else { return Ok(()) };
        let mut objects = Vec::new();
        for folder in super::FOLDERS {
            match self.store.list(folder) {
                Ok(listed) => objects.extend(listed.into_iter().map(|object| object.path)),
                Err(error) => tracing::debug!("not tidied: {error}"),
            }
        }
        let mut garbage = gc::garbage(&claimed.manifest, &objects, claimed.blobs.as_ref());
        if fault::bug!("gc-eager") {
            garbage.extend(objects.into_iter().filter(|path| path.starts_with("plans/")));
        }
        if let Some(upgraded) = &self.upgraded {
            garbage.retain(|path| *path != upgraded.path && !upgraded.blobs.contains(path));
        }
        for path in garbage {
            let log = path.starts_with("plans/");
            let deleted = if log { self.store.delete_log(&path) } else { self.store.delete(&path) };
            if let Err(error) = deleted {
                tracing::debug!("not tidied: {error}");
            }
            fault::point("checkpoint.tidied");
        }
        Ok(())
    }
}

/// The error of a process whose job another one has taken over.
pub fn lost(store: &dyn Store, generation: Generation) -> Error {
    Error::taken_over(format!(
        "{}: another process has taken over the job (this one had generation {generation}), so this one ends and changes \
         nothing more; run a job in one place only",
        store.place()
    ))
}

/// A planted bug: a file is written when it already counts as durable.
fn write_late(store: Arc<dyn Store>, path: String, bytes: Bytes) {
    std::thread::spawn(move || {
        std::thread::sleep(BUG_DELAY);
        store.write(&path, bytes)
    });
}

/// Each file that a worker writes of a table has a name of its own.
fn state_path(generation: Generation, batch: BatchId, (worker, number): (usize, u32), table: &Table) -> String {
    let Table { name, .. } = table;
    let number = if number == 0 { String::new() } else { format!(".{number}") };
    format!("state/{:06}-{:012}-{worker:03}{number}-{name}.arrow", generation.0, batch.0)
}
