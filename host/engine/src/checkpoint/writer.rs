//! The thread that writes checkpoints: encodes and stores what workers hand over, publishes the manifest, and removes what is no longer needed.

mod makers;
mod unwritten;

use super::recent::{CheckpointFacts, RecentCheckpoints};
use super::record::{self, NextPlugin, UpgradedRecord};
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
use millstream_base::retry::retry_transient;
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

/// A file and the index of its table in [`super::loaded::LoadedCheckpoint::tables`].
pub type SavedFile = (usize, StateFile);

/// Sends orders to the thread. Cheap to clone; the thread ends with the last clone.
#[derive(Clone)]
pub struct CheckpointWriter {
    orders: Sender<WriterOrder>,
    unwritten: Arc<UnwrittenBytes>,
    /// Unwritten bytes of the makers' files. Makers do not wait for parts that workers hand over directly.
    made: Arc<UnwrittenBytes>,
    makers: Arc<FileMakers>,
    recent: RecentCheckpoints,
    handover: Arc<HandoverState>,
    failure: Failure,
}

/// What is known of processes that are about to take the job over.
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

/// How long checkpoints are kept small once a successor follows them. If the handover is canceled, they are normal again afterwards.
const SMALL_FOR: Duration = Duration::from_secs(600);

enum WriterOrder {
    /// A file of a checkpoint whose other files come later.
    Ahead {
        batch: BatchId,
        worker: usize,
        changes: TableChanges,
        /// Counts its bytes until it is written.
        unwritten: Arc<UnwrittenBytes>,
    },
    Save {
        batch: BatchId,
        worker: usize,
        changes: Vec<TableChanges>,
        done: Box<dyn FnOnce(Vec<SavedFile>) + Send>,
    },
    Publish {
        published: PublishedCheckpoint,
        done: Box<dyn FnOnce() + Send>,
    },
    Upgrade {
        next: NextPlugin,
        done: Box<dyn FnOnce(Result<()>) + Send>,
    },
}

/// A checkpoint to be published.
pub struct PublishedCheckpoint {
    /// The last batch that it holds.
    pub batch: BatchId,
    /// That batch's time.
    pub time: BatchTime,
    /// The files written for it.
    pub files: Vec<SavedFile>,
    /// After it, the plugin runs for which the last record was stored, see [`CheckpointWriter::upgrade`].
    pub swap: bool,
    /// See [`Checkpoint::leftover`].
    pub leftover: bool,
}

/// The manifest as known to the process that owns it.
pub struct ClaimedManifest {
    /// The manifest as stored.
    pub manifest: Manifest,
    /// Its version in the store.
    pub version: Version,
    /// Paths of the blobs to which the kept job records refer, if all records could be read.
    pub blobs: Option<BTreeSet<String>>,
}

impl CheckpointWriter {
    /// Starts the thread. `tables`: those of the job, with the files of the loaded checkpoint. `claimed` is set on process 0. `tidy`: remove what no
    /// checkpoint needs; false if only some of the planned batches are replayed.
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

    /// Returns the job's failure.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// Sets the memory for the job's state. Bytes waiting to be written are limited to a small part of it.
    pub fn limit(&self, state_bytes_max: u64) {
        [&self.unwritten, &self.made].into_iter().for_each(|unwritten| unwritten.limit(state_bytes_max));
    }

    /// Returns the maximum bytes of rows in one file of a state table.
    pub fn file_bytes_max(&self) -> usize {
        usize::try_from(self.unwritten.bytes_max()).unwrap_or(usize::MAX)
    }

    /// Keeps checkpoints small for a while, as successor processes follow them.
    pub fn is_followed(&self) {
        *self.handover.small_until() = Instant::now().checked_add(SMALL_FOR);
    }

    /// Returns whether checkpoints are to be small now.
    pub fn keeps_small(&self) -> bool {
        self.handover.small_until().is_some_and(|until| Instant::now() < until)
    }

    /// Marks the next checkpoint as the last one of this process.
    pub fn hand_over(&self) {
        self.is_followed();
        self.handover.is_last.store(true, Ordering::Release);
    }

    /// Returns the last published checkpoints.
    pub fn recent(&self) -> Vec<CheckpointFacts> {
        self.recent.all()
    }

    /// Writes one file of a large table for the checkpoint after `batch`, for which the same worker calls [`CheckpointWriter::save`] later. Blocks if
    /// too many bytes wait to be written.
    pub fn save_ahead(&self, batch: BatchId, worker: usize, changes: TableChanges) {
        self.recent.begun(batch);
        self.unwritten.add(changes.bytes(), &self.failure);
        self.send(worker, WriterOrder::Ahead { batch, worker, changes, unwritten: self.unwritten.clone() });
    }

    /// Does the same for files that `make` creates from copies of this size, on a thread for the worker.
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

    /// Writes a worker's part of the checkpoint after `batch`. `done` is called on the thread when all of it is durable, or never if the job fails
    /// first.
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

    /// Sends an order of a worker, after the files still being made for it.
    fn send(&self, worker: usize, order: WriterOrder) {
        if let Some(order) = self.makers.pass(worker, order) {
            // The thread outlives the job.
            let _ = self.orders.send(order);
        }
    }

    /// Publishes a checkpoint whose files are all durable and whose batch all sinks have committed.
    pub fn publish(&self, published: PublishedCheckpoint, done: impl FnOnce() + Send + 'static) {
        let _ = self.orders.send(WriterOrder::Publish { published, done: Box::new(done) });
    }

    /// Stores the data that a restart needs about the next plugin of a stage, on the process that owns the manifest. This happens before publishing
    /// any checkpoint after which the plugin runs. If it fails, the job continues unchanged.
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
    /// The next upgrade.
    upgraded: Option<UpgradedRecord>,
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
            return Err(Error::bug(format!("table {} not found", changes.table)));
        };
        let within = |error: Error| error.within(format!("checkpoint after batch {batch}: `{}`", table.name));
        let path = state_path(self.generation, batch, (worker, changes.number), table);
        if fault::bug!("delta-lost") && table.of == TableOf::Stage && !changes.base {
            return Ok(None);
        }
        let (index, rows) = (changes.table, changes.num_rows());
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
            return Ok(Some((index, file)));
        }
        retry_transient(&self.failure, || self.store.write(&path, bytes.clone())).map_err(within)?;
        fault::point("checkpoint.state-written");
        Ok(Some((index, file)))
    }

    fn upgrade(&mut self, next: NextPlugin) -> Result<()> {
        let last = self.claimed.as_ref().and_then(|claimed| claimed.manifest.starts.last());
        let Some(last) = last else { return Err(Error::bug("this process does not own the manifest")) };
        self.upgraded = Some(record::upgrade(&*self.store, last, next, &self.failure)?);
        fault::point("upgrade.recorded");
        Ok(())
    }

    fn publish(&mut self, published: PublishedCheckpoint) -> Result<()> {
        let PublishedCheckpoint { batch, time, files, swap, leftover } = published;
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

    /// Switches the stage to another plugin: tables with different columns hold nothing yet.
    fn take_over(&mut self, upgraded: UpgradedRecord) {
        for next in upgraded.next.tables {
            let same = |table: &&mut Table| (table.of, &table.name) == (next.of, &next.name);
            if let Some(table) = self.tables.iter_mut().find(same) {
                let files = if table.state == next.state { std::mem::take(&mut table.files) } else { Vec::new() };
                // Its stage has the same position in the job, and the same config.
                let meaning = std::mem::take(&mut table.meaning);
                *table = Table { files, meaning, ..next };
            }
        }
    }

    /// Removes what no kept checkpoint needs. Failed removals are retried after the next checkpoint.
    fn collect(&self) -> Result<()> {
        let Some(claimed) = self.claimed.as_ref().filter(|_| self.tidy) else { return Ok(()) };
        let mut objects = Vec::new();
        for dir in super::DIRS {
            match self.store.list(dir) {
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

/// Returns the error for a process whose job was taken over by another one.
pub fn lost(store: &dyn Store, generation: Generation) -> Error {
    Error::taken_over(format!(
        "{}: another process has taken over the job (this one had generation {generation}), so this one exits \
         without further changes; run only one copy of a job",
        store.location()
    ))
}

/// A planted bug: a file is written after it is reported as durable.
fn write_late(store: Arc<dyn Store>, path: String, bytes: Bytes) {
    std::thread::spawn(move || {
        std::thread::sleep(BUG_DELAY);
        store.write(&path, bytes)
    });
}

/// Returns the path of a file; each file that a worker writes of a table has its own name.
fn state_path(generation: Generation, batch: BatchId, (worker, number): (usize, u32), table: &Table) -> String {
    let Table { name, .. } = table;
    let number = if number == 0 { String::new() } else { format!(".{number}") };
    format!("state/{:06}-{:012}-{worker:03}{number}-{name}.arrow", generation.0, batch.0)
}
