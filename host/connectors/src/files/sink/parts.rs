//! The part writer for files that are partitioned into directories, grow over several batches, or are objects of a bucket.
//!
//! A part is written under a hidden name. When it is complete it is *staged*: durable, but still hidden. The marker then records that the
//! batch is committed, and which staged parts are to get their names. If the process dies before that, the next one to open the destination
//! renames them. So a part gets its name once.
//!
//! The rows of incomplete parts are durable as well. Before its marker, all rows of a batch go into one small file, its *reserve*, which is
//! kept until no open part needs it. A run rebuilds the parts that the previous run left open from reserves. So no upload, partial file
//! or encoder has to survive.

use super::delta::DeltaDestination;
use super::destination::{BucketDestination, Destination, DirDestination, MarkerTag, StagedPart};
use super::open_part::{OpenPart, Writer, hidden, hidden_dir};
use super::partitions::{ByDir, Partitions};
use super::{FileSettings, Share, already_committed, exactly_once, is_part_path, reserve};
use crate::files::settings::FilesRoll;
use arrow::array::RecordBatch;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime, Generation};
use millstream_base::owner::Owner;
use millstream_base::retry::{io_failed, retry_transient};
use millstream_base::shown::harmless;
use millstream_connect::sink::marker::{self, Marker, Pending};
use millstream_connect::sink::{encode, open_error, rows_rejected};
use millstream_job::spec::{TableMode, bucket_url};
use millstream_rows::batch::op;
use millstream_rows::batch::sink::Sink;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

/// A sink whose parts are not simply one file per batch.
pub struct PartsSink {
    name: String,
    writer: Writer,
    partitions: Partitions,
    partition_by: Vec<String>,
    roll: Option<FilesRoll>,
    open_max: usize,
    /// The column that contains what a row does to a table.
    op: Option<String>,
    /// Parts that grow, by directory.
    open: BTreeMap<String, OpenPart>,
    /// A counter that orders the last uses of parts.
    use_counter: u64,
    /// State of the commits, if the job keeps checkpoints.
    commit_state: Option<CommitState>,
    /// The last batch that other shares held when the destination was opened. Without a share these are the workers' shares, with one the
    /// batches of the sink as a whole.
    others_committed: Option<BatchId>,
}

/// A destination, or a worker's share of it, of a job with checkpoints.
struct CommitState {
    owner: Owner,
    marker_name: String,
    tag: MarkerTag,
    /// The last batch that passed, with or without rows; at first the one that the marker named.
    last_batch: Option<BatchId>,
    /// The batch that the marker names.
    committed: Option<BatchId>,
    /// The batches that have reserves.
    reserves: BTreeSet<BatchId>,
    /// How often parts were announced to readers, if they need it ([`Destination::announce`]).
    announced: Option<u64>,
    /// Held while the destination is open, if it can be locked.
    _lock: Option<File>,
}

const ELSEWHERE: &str = "choose another path (for one run: --set sinks.<name>.path=<path>)";

/// Returns the last batch that a bucket holds for this job. Changes nothing.
pub fn committed(url: &str, job_id: &str) -> Result<Option<BatchId>, String> {
    let destination = BucketDestination::open(url).map_err(|error| error.message)?;
    let failure = Failure::default();
    let read = || {
        let mut markers: Vec<_> = destination.marker(exactly_once::MARKER)?.into_iter().collect();
        for worker in destination.workers()? {
            markers.extend(destination.marker(&exactly_once::marker_name(Some(worker)))?);
        }
        Ok(markers)
    };
    let mut last = None;
    for (marker, _) in retry_transient(&failure, read).map_err(|error| error.message)? {
        let own_marker = marker::of_job(Some(marker), Some(job_id), &destination.shown(), &remedy())?;
        last = last.max(own_marker.and_then(|marker| marker.batch));
    }
    Ok(last)
}

fn remedy() -> String {
    format!("empty it, including its files {}*, or {ELSEWHERE}", exactly_once::MARKER)
}

impl PartsSink {
    /// Creates the destination, and completes what an earlier run left. Without a share, also takes over the shares of all workers that
    /// ever wrote here.
    pub fn open(written: FileSettings, share: Share, owner: Option<&Owner>, failure: &Failure) -> Result<PartsSink> {
        let partitions = Partitions::new(&written.schema, &written.layout.partition_by);
        let name = &written.name;
        let partitions =
            partitions.map_err(|message| Error::job(format!("sink `{name}`: `partition_by`: {message}")))?;
        let (destination, dir): (Arc<dyn Destination>, _) = match bucket_url(&written.path) {
            _ if written.layout.delta => {
                let opened = DeltaDestination::open(&written, owner, failure);
                let (destination, dir) = opened.map_err(|error| error.within(format!("sink `{name}`")))?;
                (Arc::new(destination), dir)
            }
            Some(url) => {
                (Arc::new(BucketDestination::open(url).map_err(|error| error.within(format!("sink `{name}`")))?), None)
            }
            None => {
                let path = &written.path;
                fs::create_dir_all(path).map_err(|cause| open_error(name, "create the directory", path, &cause))?;
                (Arc::new(DirDestination::new(path.clone())), Some(path.clone()))
            }
        };
        let dir = dir.as_deref();
        let FileSettings { name, format, layout, .. } = written;
        let within = |error: Error| error.within(format!("sink `{name}`"));
        let (mut commit_state, mut others_committed) = (None, None);
        match owner {
            Some(owner) => {
                let take = |share: Share| -> Result<CommitState> {
                    let lock = dir.map(|dir| exactly_once::lock(&name, dir, share)).transpose()?;
                    let state = CommitState::take_over(&destination, dir, share, owner, lock, failure);
                    state.map_err(within)
                };
                commit_state = Some(take(share)?);
                if share.is_some() {
                    others_committed = committed_without_share(&*destination, owner, failure).map_err(within)?;
                }
                let others =
                    if share.is_none() { retry_transient(failure, || destination.workers()) } else { Ok(Vec::new()) };
                for worker in others.map_err(within)? {
                    others_committed = others_committed.max(take(Some(worker))?.committed);
                }
            }
            None => {
                if share.is_none() {
                    let found =
                        retry_transient(failure, || destination.marker(exactly_once::MARKER)).map_err(within)?;
                    let found = found.map(|(marker, _)| marker);
                    let none = marker::of_job(found, None, &destination.shown(), &remedy());
                    none.map_err(|message| within(Error::job(message)))?;
                    check_empty(&*destination, failure).map_err(within)?;
                }
                remove_unneeded(&*destination, share, failure).map_err(within)?;
            }
        }
        let generation = owner.map_or(Generation(0), |owner| owner.generation);
        let schema = partitions.schema.clone();
        let writer = Writer { destination, share, format, schema, generation, failure: failure.clone() };
        let (roll, open_max, partition_by) = (layout.roll, layout.open_parts_max, layout.partition_by);
        let op = if let TableMode::Upsert { op, .. } = layout.mode { op } else { None };
        let open = BTreeMap::new();
        Ok(PartsSink {
            name,
            writer,
            partitions,
            partition_by,
            roll,
            open_max,
            op,
            open,
            use_counter: 0,
            commit_state,
            others_committed,
        })
    }

    /// Completes the parts of these directories.
    fn complete(&mut self, dirs: Vec<String>) -> Result<Vec<StagedPart>> {
        let open: Vec<_> = dirs.iter().filter_map(|dir| self.open.remove(dir)).collect();
        open.into_iter().map(|part| self.writer.finish(part)).collect()
    }

    /// Returns the directories whose parts have reached their maximum age at this batch time.
    fn due_dirs(&self, time: Option<BatchTime>) -> Vec<String> {
        let Some(roll) = self.roll else { return Vec::new() };
        let age_us = i64::try_from(roll.time.as_micros()).unwrap_or(i64::MAX);
        let old = |part: &OpenPart| {
            let (since, began) = part.since;
            began.elapsed() >= roll.time || time.is_some_and(|time| time.0.saturating_sub(since.0) >= age_us)
        };
        self.open.iter().filter(|(_, part)| old(part)).map(|(dir, _)| dir.clone()).collect()
    }

    /// Adds the rows of a batch to their parts. Returns those that are then complete.
    fn add(&mut self, batch: BatchId, time: BatchTime, rows: &[RecordBatch]) -> Result<Vec<StagedPart>> {
        let destination = self.writer.destination.shown();
        let rejection = |why: &dyn Display| rows_rejected(&self.name, batch, &destination, why);
        let by_dir = self.partitions.split(rows).map_err(|cause| rejection(&cause))?;
        // A part is renamed after its commit, so its name must be valid before.
        if let Some((part, max)) = by_dir.keys().find_map(|dir| {
            let part = self.writer.part(dir, batch);
            let max = self.writer.destination.too_long(&part)?;
            Some((part, max))
        }) {
            return Err(rejection(&format_args!(
                "the name {} is longer than {max} bytes with its path; shorten the values of `partition_by` with \
                `select`",
                harmless(&part, 80)
            )));
        }
        let added = self.add_to_parts(batch, time, by_dir);
        added.map_err(|error| error.within(format!("sink `{}`: batch {batch}", self.name)))
    }

    fn add_to_parts(&mut self, batch: BatchId, time: BatchTime, by_dir: ByDir) -> Result<Vec<StagedPart>> {
        let mut complete = self.complete(self.due_dirs(Some(time)))?;
        for (dir, rows) in by_dir {
            let mut part = match self.open.remove(&dir) {
                Some(part) => part,
                None => self.writer.begin(&dir, batch, time)?,
            };
            part.add(&rows)?;
            self.use_counter += 1;
            part.used = self.use_counter;
            if self.roll.is_none_or(|roll| part.bytes() >= roll.bytes) {
                complete.push(self.writer.finish(part)?);
                continue;
            }
            self.open.insert(dir, part);
            if self.open.len() > self.open_max {
                let longest = self.open.iter().min_by_key(|(_, part)| part.used).map(|(dir, _)| dir.clone());
                complete.extend(self.complete(longest.into_iter().collect())?);
            }
        }
        Ok(complete)
    }

    /// Records the commit, and gives complete parts their names.
    fn publish(&mut self, batch: Option<BatchId>, complete: Vec<StagedPart>) -> Result<()> {
        let Writer { destination, share, format, generation, failure, .. } = &self.writer;
        if let Some(commit_state) = &mut self.commit_state {
            let committed = batch.or(commit_state.committed);
            let open: Vec<_> = self.open.iter().map(|(dir, part)| (dir.clone(), part.from, part.rows)).collect();
            commit_state.announced =
                commit_state.announced.map(|announced| announced + u64::from(!complete.is_empty()));
            let pending =
                (!open.is_empty() || !complete.is_empty() || commit_state.announced.is_some()).then(|| Pending {
                    by: *generation,
                    shows: names_of(&complete),
                    extension: encode::marker_name(*format),
                    partition_by: self.partition_by.clone(),
                    open,
                    told: commit_state.announced,
                });
            let marker = Marker::new(&commit_state.owner, committed, None).with(pending);
            let replace = || {
                destination.replace_marker(
                    &commit_state.marker_name,
                    &marker,
                    Some(&commit_state.tag),
                    &commit_state.owner,
                )
            };
            commit_state.tag = retry_transient(failure, replace)?;
            commit_state.committed = committed;
            commit_state.last_batch = commit_state.last_batch.max(committed);
        }
        fault::point("commit.marked");
        let announced = self.commit_state.as_ref().and_then(|commit_state| commit_state.announced);
        show_all(&**destination, *share, *generation, announced, &complete, failure)?;
        if let Some(commit_state) = &mut self.commit_state {
            let needed = self.open.values().map(|part| part.from).min();
            // If a reserve cannot be removed now, the next batch retries.
            let removed = |batch: &BatchId| {
                let needed = needed.is_some_and(|needed| *batch >= needed);
                !needed && destination.remove(&reserve::path(*share, *generation, *batch)).is_ok()
            };
            commit_state.reserves.retain(|batch| !removed(batch));
        }
        Ok(())
    }
}

impl Sink for PartsSink {
    fn commit(&mut self, batch: BatchId, time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        let within = |name: &str, error: Error| error.within(format!("sink `{name}`: batch {batch}"));
        if rows.iter().all(|part| part.num_rows() == 0) {
            self.commit_state
                .iter_mut()
                .for_each(|commit_state| commit_state.last_batch = commit_state.last_batch.max(Some(batch)));
            let due_dirs = self.due_dirs(Some(time));
            if due_dirs.is_empty() {
                return Ok(());
            }
            let complete = self.complete(due_dirs).map_err(|error| within(&self.name, error))?;
            return self.publish(None, complete).map_err(|error| within(&self.name, error));
        }
        if self
            .commit_state
            .as_ref()
            .is_some_and(|commit_state| commit_state.last_batch.is_some_and(|last_batch| batch <= last_batch))
        {
            return Err(already_committed(batch));
        }
        if let Some(op) = &self.op {
            let checked = op::check_operations(op, &rows);
            checked.map_err(|cause| rows_rejected(&self.name, batch, self.writer.destination.shown(), cause))?;
        }
        fault::point("commit.before");
        if let Some(commit_state) = self.commit_state.as_mut().filter(|_| self.roll.is_some()) {
            let bytes =
                reserve::bytes_of(&rows).map_err(|cause| rows_rejected(&self.name, batch, "its rows", cause))?;
            let name = reserve::path(self.writer.share, self.writer.generation, batch);
            commit_state.reserves.insert(batch);
            let write = || self.writer.destination.write(&name, bytes.clone());
            retry_transient(&self.writer.failure, write).map_err(|error| within(&self.name, error))?;
        }
        let complete = self.add(batch, time, &rows)?;
        drop(rows);
        fault::point("commit.written");
        self.publish(Some(batch), complete).map_err(|error| within(&self.name, error))?;
        fault::point("commit.after");
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        self.commit_state.as_ref().and_then(|commit_state| commit_state.committed).max(self.others_committed)
    }

    fn idle(&mut self) -> Result<()> {
        let due_dirs = self.due_dirs(None);
        if due_dirs.is_empty() {
            return Ok(());
        }
        let published = self.complete(due_dirs).and_then(|complete| self.publish(None, complete));
        published.map_err(|error| error.within(format!("sink `{}`", self.name)))
    }

    fn finish(&mut self) -> Result<()> {
        let all: Vec<_> = self.open.keys().cloned().collect();
        if all.is_empty() {
            return Ok(());
        }
        fault::point("finish.before");
        let published = self.complete(all).and_then(|complete| self.publish(None, complete));
        published.map_err(|error| error.within(format!("sink `{}`", self.name)))
    }
}

impl CommitState {
    /// Takes over a share of a destination: writes this run's generation into its marker, and completes what is pending.
    fn take_over(
        destination: &Arc<dyn Destination>,
        dir: Option<&Path>,
        share: Share,
        owner: &Owner,
        lock: Option<File>,
        failure: &Failure,
    ) -> Result<CommitState> {
        let marker_name = exactly_once::marker_name(share);
        let found = retry_transient(failure, || destination.marker(&marker_name))?;
        if found.is_none() && share.is_none() {
            check_empty(&**destination, failure)?;
        }
        let (marker, tag) = found.unzip();
        let marker =
            marker::of_job(marker, Some(&owner.job_id), &destination.shown(), &remedy()).map_err(Error::job)?;
        if let Some(marker) = &marker {
            let own_marker = marker.check_owner(owner);
            own_marker.map_err(|cause| io_failed(format!("open {}", destination.shown()), &cause))?;
            // As left by a sink with one file per batch.
            if let Some(dir) = dir {
                let finish = || exactly_once::finish(dir, share, marker.part.as_deref());
                retry_transient(failure, || {
                    finish().map_err(|cause| io_failed(format!("tidy {}", destination.shown()), &cause))
                })?;
            }
        }
        let claimed = Marker::new(owner, marker.as_ref().and_then(|marker| marker.batch), None);
        let claimed = claimed.with(marker.and_then(|marker| marker.pending));
        let tag = retry_transient(failure, || destination.replace_marker(&marker_name, &claimed, tag.as_ref(), owner))?;
        fault::point("start.sink");
        let (marker, tag) = settle(destination, share, owner, claimed, &tag, failure)?;
        remove_unneeded(&**destination, share, failure)?;
        // If the marker is lost, readers received more announcements than it records.
        let of_marker = marker.pending.as_ref().and_then(|pending| pending.told);
        let announced = destination.announced(share).map(|announced| announced.max(of_marker.unwrap_or(0)));
        let (owner, batch) = (owner.clone(), marker.batch);
        let reserves = BTreeSet::new();
        Ok(CommitState {
            owner,
            marker_name,
            tag,
            last_batch: batch,
            committed: batch,
            reserves,
            announced,
            _lock: lock,
        })
    }
}

/// Completes what a marker lists as pending: complete parts get their names, and rows in reserves become parts. The marker must be that of
/// this run, or its destination locked. Returns the new marker.
pub fn settle(
    destination: &Arc<dyn Destination>,
    share: Share,
    owner: &Owner,
    marker: Marker,
    tag: &MarkerTag,
    failure: &Failure,
) -> Result<(Marker, MarkerTag)> {
    let Some(pending) = &marker.pending else { return Ok((marker, tag.clone())) };
    if let Some(invalid) = pending.shows.iter().find(|path| !is_part_path(path)) {
        let (shown, invalid) = (destination.shown(), harmless(invalid, 100));
        return Err(Error::environment(format!(
            "the marker of {shown} names `{invalid}`, which is not a part; restore it from a copy"
        )));
    }
    let shows: Vec<StagedPart> = pending.shows.iter().map(|part| (part.clone(), None)).collect();
    show_all(&**destination, share, pending.by, pending.told, &shows, failure)?;
    let complete = rebuild(destination, share, owner.generation, &marker, pending, failure)?;
    let name = exactly_once::marker_name(share);
    let settled = Marker::new(owner, marker.batch, marker.part.clone());
    let mut tag = tag.clone();
    let announced = pending.told.map(|announced| announced + u64::from(!complete.is_empty()));
    let by = owner.generation;
    if !complete.is_empty() {
        let pending = Pending { by, shows: names_of(&complete), told: announced, ..Pending::default() };
        let marked = settled.clone().with(Some(pending));
        tag = retry_transient(failure, || destination.replace_marker(&name, &marked, Some(&tag), owner))?;
        fault::point("start.settled");
        show_all(&**destination, share, by, announced, &complete, failure)?;
    }
    let settled = settled.with(announced.map(|announced| Pending { by, told: Some(announced), ..Pending::default() }));
    let tag = retry_transient(failure, || destination.replace_marker(&name, &settled, Some(&tag), owner))?;
    remove_unneeded(&**destination, share, failure)?;
    Ok((settled, tag))
}

/// Writes the parts that were open from the reserves of their batches, and stages them.
fn rebuild(
    destination: &Arc<dyn Destination>,
    share: Share,
    generation: Generation,
    marker: &Marker,
    pending: &Pending,
    failure: &Failure,
) -> Result<Vec<StagedPart>> {
    let damaged = |why: String| {
        Error::environment(format!(
            "{}: committed rows that are not in a part yet cannot be read: {why}; restore {} from a copy",
            destination.shown(),
            hidden_dir(share)
        ))
    };
    let Some(first) = pending.open.iter().map(|(_, from, _)| *from).min() else { return Ok(Vec::new()) };
    let format = encode::from_marker_name(&pending.extension);
    let format = format.ok_or_else(|| damaged(format!("their format `{}` is unknown", pending.extension)))?;
    let listed = retry_transient(failure, || destination.hidden(&hidden_dir(share)))?;
    let mut batches: Vec<BatchId> = listed.iter().filter_map(|name| reserve::batch_of(name, pending.by)).collect();
    batches.retain(|batch| *batch >= first && Some(*batch) <= marker.batch);
    batches.sort();
    let from: BTreeMap<&str, BatchId> = pending.open.iter().map(|(dir, from, _)| (dir.as_str(), *from)).collect();
    let mut open: BTreeMap<String, (Writer, OpenPart)> = BTreeMap::new();
    for batch in batches {
        let name = reserve::path(share, pending.by, batch);
        let bytes = retry_transient(failure, || destination.read(&name))?;
        let rows = bytes.ok_or_else(|| "it no longer exists".to_owned()).and_then(|bytes| reserve::rows_of(&bytes));
        let rows = rows.map_err(|why| damaged(format!("{name}: {why}")))?;
        let Some(schema) = rows.first().map(RecordBatch::schema) else { continue };
        let partitions =
            Partitions::new(&schema, &pending.partition_by).map_err(|why| damaged(format!("{name}: {why}")))?;
        let by_dir = partitions.split(&rows).map_err(|cause| damaged(format!("{name}: {cause}")))?;
        for (dir, rows) in by_dir {
            let Some(from) = from.get(dir.as_str()).copied().filter(|from| batch >= *from) else { continue };
            if !open.contains_key(&dir) {
                let destination = destination.clone();
                let schema = partitions.schema.clone();
                let writer = Writer { destination, share, format, schema, generation, failure: failure.clone() };
                let part = writer.begin(&dir, from, BatchTime(0))?;
                open.insert(dir.clone(), (writer, part));
            }
            if let Some((_, part)) = open.get_mut(&dir) {
                part.add(&rows)?;
            }
        }
    }
    for (dir, from, rows) in &pending.open {
        let found = open.get(dir).map_or(0, |(_, part)| part.rows);
        if found != *rows {
            return Err(damaged(format!(
                "a part of \"{dir}\" from batch {from} on had {rows} rows, but {found} were found"
            )));
        }
    }
    open.into_values().map(|(writer, part)| writer.finish(part)).collect()
}

fn names_of(parts: &[StagedPart]) -> Vec<String> {
    parts.iter().map(|(part, _)| part.clone()).collect()
}

/// Gives parts their names and announces them to readers, with the number of this announcement.
fn show_all(
    destination: &dyn Destination,
    share: Share,
    by: Generation,
    announced: Option<u64>,
    parts: &[StagedPart],
    failure: &Failure,
) -> Result<()> {
    for (part, _) in parts {
        let hidden = hidden(share, by, part);
        retry_transient(failure, || destination.show(&hidden, part))?;
    }
    if parts.is_empty() {
        return Ok(());
    }
    fault::point("commit.shown");
    retry_transient(failure, || destination.announce(share, announced, parts))
}

/// See [`exactly_once::committed_without_share`].
fn committed_without_share(destination: &dyn Destination, owner: &Owner, failure: &Failure) -> Result<Option<BatchId>> {
    let Some((marker, _)) = retry_transient(failure, || destination.marker(exactly_once::MARKER))? else {
        return Ok(None);
    };
    let own_marker = marker.check_owner(owner).map(|()| marker.batch);
    Ok(own_marker.map_err(|cause| io_failed(format!("open {}", destination.shown()), &cause))?)
}

/// Returns an error if there are rows without a marker.
fn check_empty(destination: &dyn Destination, failure: &Failure) -> Result<()> {
    match retry_transient(failure, || destination.any_part())? {
        None => Ok(()),
        Some(part) => Err(Error::job(format!(
            "{} holds parts of an earlier run ({part}), and nothing is overwritten; empty it or {ELSEWHERE}",
            destination.shown()
        ))),
    }
}

/// Removes hidden files that are no longer needed.
fn remove_unneeded(destination: &dyn Destination, share: Share, failure: &Failure) -> Result<()> {
    let dir = hidden_dir(share);
    for name in retry_transient(failure, || destination.hidden(&dir))? {
        retry_transient(failure, || destination.remove(&format!("{dir}/{name}")))?;
    }
    Ok(())
}
