//! Files of a sink whose parts lie in folders by their values, grow over batches, or are objects of a bucket.
//!
//! A part is written under a hidden name. When it is complete it is *staged*: durable, still hidden. The marker then says that
//! the batch is committed, and which staged parts are to get their names; whoever opens the place next gives them, if the process
//! died in between. So a part gets its name once.
//!
//! The rows of parts that are not complete are durable as well: before its marker, all rows of a batch go into one small file,
//! its *reserve*, which stays until no open part needs it. A start makes parts of what the start before it left open: no upload,
//! no half a file and no encoder has to survive.

use super::delta::DeltaDestination;
use super::destination::{BucketDestination, Destination, FolderDestination, MarkerTag, Staged};
use super::open_part::{OpenPart, Writer, hidden, hidden_folder};
use super::partitions::{ByFolder, Partitions};
use super::{FileSettings, Share, exactly_once, is_part_path, reserve, twice};
use crate::files::settings::FilesRoll;
use crate::sink::marker::{self, Marker, Pending};
use crate::sink::{encode, open_failed, rows_refused};
use arrow::array::RecordBatch;
use millstream_base::batch::op;
use millstream_base::batch::sink::Sink;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime, Generation};
use millstream_base::job::spec::{TableMode, bucket_url};
use millstream_base::owner::Owner;
use millstream_base::patience::{io_failed, patiently};
use millstream_base::shown::harmless;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

/// Writes parts that are more than a file a batch.
pub struct PartsSink {
    name: String,
    writer: Writer,
    partitions: Partitions,
    partition_by: Vec<String>,
    roll: Option<FilesRoll>,
    open_max: usize,
    /// The column that says what a row does to a table.
    op: Option<String>,
    /// Parts that grow, by folder.
    open: BTreeMap<String, OpenPart>,
    /// Counts when parts had rows.
    turn: u64,
    /// Where the job keeps checkpoints.
    kept: Option<CommitState>,
    /// The last batch that others held when the place was opened: the shares of workers or, of a share, whole batches.
    of_others: Option<BatchId>,
}

/// What a job with checkpoints has of a place, or of a worker's share of it.
struct CommitState {
    owner: Owner,
    marker_name: String,
    tag: MarkerTag,
    /// The last batch that came, with rows or without; at first the one that the marker named.
    passed: Option<BatchId>,
    /// The batch that the marker names.
    committed: Option<BatchId>,
    /// The batches that have reserves.
    reserves: BTreeSet<BatchId>,
    /// How often readers were told of parts, where they have to be ([`Destination::tell`]).
    told: Option<u64>,
    /// Held while the place is open, where it can be locked.
    _lock: Option<File>,
}

const ELSEWHERE: &str = "choose another path (for one run: --set sinks.<name>.path=<place>)";

/// The last batch that a bucket holds for this job, without changing anything.
pub fn committed(url: &str, job_id: &str) -> Result<Option<BatchId>, String> {
    let place = BucketDestination::open(url).map_err(|error| error.message)?;
    let failure = Failure::default();
    let read = || {
        let mut markers: Vec<_> = place.marker(exactly_once::MARKER)?.into_iter().collect();
        for worker in place.workers()? {
            markers.extend(place.marker(&exactly_once::marker_name(Some(worker)))?);
        }
        Ok(markers)
    };
    let mut last = None;
    for (marker, _) in patiently(&failure, read).map_err(|error| error.message)? {
        let ours = marker::of_job(Some(marker), Some(job_id), &place.shown(), &remedy())?;
        last = last.max(ours.and_then(|marker| marker.batch));
    }
    Ok(last)
}

fn remedy() -> String {
    format!("empty it, its files {}* as well, or {ELSEWHERE}", exactly_once::MARKER)
}

impl PartsSink {
    /// Makes the place, and brings to its end what an earlier start left. Without a share, those of all workers there ever were,
    /// too, which are taken over with the rest.
    pub fn open(written: FileSettings, share: Share, owner: Option<&Owner>, failure: &Failure) -> Result<PartsSink> {
        let partitions = Partitions::new(&written.schema, &written.layout.partition_by);
        let name = &written.name;
        let partitions =
            partitions.map_err(|message| Error::job(format!("sink `{name}`: `partition_by`: {message}")))?;
        let (place, folder): (Arc<dyn Destination>, _) = match bucket_url(&written.path) {
            _ if written.layout.delta => {
                let opened = DeltaDestination::open(&written, owner, failure);
                let (place, folder) = opened.map_err(|error| error.within(format!("sink `{name}`")))?;
                (Arc::new(place), folder)
            }
            Some(url) => {
                (Arc::new(BucketDestination::open(url).map_err(|error| error.within(format!("sink `{name}`")))?), None)
            }
            None => {
                let path = &written.path;
                fs::create_dir_all(path).map_err(|cause| open_failed(name, "make the folder", path, &cause))?;
                (Arc::new(FolderDestination::new(path.clone())), Some(path.clone()))
            }
        };
        let folder = folder.as_deref();
        let FileSettings { name, format, layout, .. } = written;
        let within = |error: Error| error.within(format!("sink `{name}`"));
        let (mut kept, mut of_others) = (None, None);
        match owner {
            Some(owner) => {
                let take = |share: Share| -> Result<CommitState> {
                    let lock = folder.map(|folder| exactly_once::lock(&name, folder, share)).transpose()?;
                    let taken = CommitState::take_over(&place, folder, share, owner, lock, failure);
                    taken.map_err(within)
                };
                kept = Some(take(share)?);
                if share.is_some() {
                    of_others = whole(&*place, owner, failure).map_err(within)?;
                }
                let others = if share.is_none() { patiently(failure, || place.workers()) } else { Ok(Vec::new()) };
                for worker in others.map_err(within)? {
                    of_others = of_others.max(take(Some(worker))?.committed);
                }
            }
            None => {
                if share.is_none() {
                    let found = patiently(failure, || place.marker(exactly_once::MARKER)).map_err(within)?;
                    let found = found.map(|(marker, _)| marker);
                    let none = marker::of_job(found, None, &place.shown(), &remedy());
                    none.map_err(|message| within(Error::job(message)))?;
                    check_empty(&*place, failure).map_err(within)?;
                }
                tidy(&*place, share, failure).map_err(within)?;
            }
        }
        let generation = owner.map_or(Generation(0), |owner| owner.generation);
        let schema = partitions.schema.clone();
        let writer = Writer { place, share, format, schema, generation, failure: failure.clone() };
        let (roll, open_max, partition_by) = (layout.roll, layout.open_parts_max, layout.partition_by);
        let op = if let TableMode::Upsert { op, .. } = layout.mode { op } else { None };
        let open = BTreeMap::new();
        Ok(PartsSink { name, writer, partitions, partition_by, roll, open_max, op, open, turn: 0, kept, of_others })
    }

    /// Completes parts of these folders.
    fn complete(&mut self, folders: Vec<String>) -> Result<Vec<Staged>> {
        let open: Vec<_> = folders.iter().filter_map(|folder| self.open.remove(folder)).collect();
        open.into_iter().map(|part| self.writer.finish(part)).collect()
    }

    /// The folders whose parts are as old as they may get, where batches have come to this time.
    fn due(&self, time: Option<BatchTime>) -> Vec<String> {
        let Some(roll) = self.roll else { return Vec::new() };
        let age_us = i64::try_from(roll.time.as_micros()).unwrap_or(i64::MAX);
        let old = |part: &OpenPart| {
            let (since, began) = part.since;
            began.elapsed() >= roll.time || time.is_some_and(|time| time.0.saturating_sub(since.0) >= age_us)
        };
        self.open.iter().filter(|(_, part)| old(part)).map(|(folder, _)| folder.clone()).collect()
    }

    /// Adds the rows of a batch to their parts. Those that are complete then.
    fn add(&mut self, batch: BatchId, time: BatchTime, rows: &[RecordBatch]) -> Result<Vec<Staged>> {
        let place = self.writer.place.shown();
        let refused = |why: &dyn Display| rows_refused(&self.name, batch, &place, why);
        let by_folder = self.partitions.split(rows).map_err(|cause| refused(&cause))?;
        // A part is shown when it is committed, so its name must fit before.
        if let Some((part, most)) = by_folder.keys().find_map(|folder| {
            let part = self.writer.part(folder, batch);
            let most = self.writer.place.too_long(&part)?;
            Some((part, most))
        }) {
            return Err(refused(&format_args!(
                "the name {} is longer than {most} bytes with the place; shorten the values of `partition_by` with `select`",
                harmless(&part, 80)
            )));
        }
        let added = self.add_to_parts(batch, time, by_folder);
        added.map_err(|error| error.within(format!("sink `{}`: batch {batch}", self.name)))
    }

    fn add_to_parts(&mut self, batch: BatchId, time: BatchTime, by_folder: ByFolder) -> Result<Vec<Staged>> {
        let mut complete = self.complete(self.due(Some(time)))?;
        for (folder, rows) in by_folder {
            let mut part = match self.open.remove(&folder) {
                Some(part) => part,
                None => self.writer.begin(&folder, batch, time)?,
            };
            part.add(&rows)?;
            self.turn += 1;
            part.used = self.turn;
            if self.roll.is_none_or(|roll| part.bytes() >= roll.bytes) {
                complete.push(self.writer.finish(part)?);
                continue;
            }
            self.open.insert(folder, part);
            if self.open.len() > self.open_max {
                let longest = self.open.iter().min_by_key(|(_, part)| part.used).map(|(folder, _)| folder.clone());
                complete.extend(self.complete(longest.into_iter().collect())?);
            }
        }
        Ok(complete)
    }

    /// Says what is committed now, and gives complete parts their names.
    fn publish(&mut self, batch: Option<BatchId>, complete: Vec<Staged>) -> Result<()> {
        let Writer { place, share, format, generation, failure, .. } = &self.writer;
        if let Some(kept) = &mut self.kept {
            let committed = batch.or(kept.committed);
            let open: Vec<_> = self.open.iter().map(|(folder, part)| (folder.clone(), part.from, part.rows)).collect();
            kept.told = kept.told.map(|told| told + u64::from(!complete.is_empty()));
            let pending = (!open.is_empty() || !complete.is_empty() || kept.told.is_some()).then(|| Pending {
                by: *generation,
                shows: names_of(&complete),
                extension: encode::word(*format),
                partition_by: self.partition_by.clone(),
                open,
                told: kept.told,
            });
            let marker = Marker::new(&kept.owner, committed, None).with(pending);
            let replace = || place.replace_marker(&kept.marker_name, &marker, Some(&kept.tag), &kept.owner);
            kept.tag = patiently(failure, replace)?;
            kept.committed = committed;
            kept.passed = kept.passed.max(committed);
        }
        fault::point("commit.marked");
        let told = self.kept.as_ref().and_then(|kept| kept.told);
        show_all(&**place, *share, *generation, told, &complete, failure)?;
        if let Some(kept) = &mut self.kept {
            let needed = self.open.values().map(|part| part.from).min();
            // What cannot be removed now is tried again with the next batch.
            let gone = |batch: &BatchId| {
                let needed = needed.is_some_and(|needed| *batch >= needed);
                !needed && place.remove(&reserve::path(*share, *generation, *batch)).is_ok()
            };
            kept.reserves.retain(|batch| !gone(batch));
        }
        Ok(())
    }
}

impl Sink for PartsSink {
    fn commit(&mut self, batch: BatchId, time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        let within = |name: &str, error: Error| error.within(format!("sink `{name}`: batch {batch}"));
        if rows.iter().all(|part| part.num_rows() == 0) {
            self.kept.iter_mut().for_each(|kept| kept.passed = kept.passed.max(Some(batch)));
            let due = self.due(Some(time));
            if due.is_empty() {
                return Ok(());
            }
            let complete = self.complete(due).map_err(|error| within(&self.name, error))?;
            return self.publish(None, complete).map_err(|error| within(&self.name, error));
        }
        if self.kept.as_ref().is_some_and(|kept| kept.passed.is_some_and(|passed| batch <= passed)) {
            return Err(twice(batch));
        }
        if let Some(op) = &self.op {
            let checked = op::check_words(op, &rows);
            checked.map_err(|cause| rows_refused(&self.name, batch, self.writer.place.shown(), cause))?;
        }
        fault::point("commit.before");
        if let Some(kept) = self.kept.as_mut().filter(|_| self.roll.is_some()) {
            let bytes = reserve::bytes_of(&rows).map_err(|cause| rows_refused(&self.name, batch, "its rows", cause))?;
            let name = reserve::path(self.writer.share, self.writer.generation, batch);
            kept.reserves.insert(batch);
            let write = || self.writer.place.write(&name, bytes.clone());
            patiently(&self.writer.failure, write).map_err(|error| within(&self.name, error))?;
        }
        let complete = self.add(batch, time, &rows)?;
        drop(rows);
        fault::point("commit.written");
        self.publish(Some(batch), complete).map_err(|error| within(&self.name, error))?;
        fault::point("commit.after");
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        self.kept.as_ref().and_then(|kept| kept.committed).max(self.of_others)
    }

    fn idle(&mut self) -> Result<()> {
        let due = self.due(None);
        if due.is_empty() {
            return Ok(());
        }
        let published = self.complete(due).and_then(|complete| self.publish(None, complete));
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
    /// Takes a share of a place over: writes this start's generation into its marker, and brings to its end what is pending.
    fn take_over(
        place: &Arc<dyn Destination>,
        folder: Option<&Path>,
        share: Share,
        owner: &Owner,
        lock: Option<File>,
        failure: &Failure,
    ) -> Result<CommitState> {
        let marker_name = exactly_once::marker_name(share);
        let found = patiently(failure, || place.marker(&marker_name))?;
        if found.is_none() && share.is_none() {
            check_empty(&**place, failure)?;
        }
        let (marker, tag) = found.unzip();
        let marker = marker::of_job(marker, Some(&owner.job_id), &place.shown(), &remedy()).map_err(Error::job)?;
        if let Some(marker) = &marker {
            let ours = marker.check_ours(owner);
            ours.map_err(|cause| io_failed(format!("open {}", place.shown()), &cause))?;
            // As a sink with a file a batch left it.
            if let Some(folder) = folder {
                let finish = || exactly_once::finish(folder, share, marker.part.as_deref());
                patiently(failure, || finish().map_err(|cause| io_failed(format!("tidy {}", place.shown()), &cause)))?;
            }
        }
        let claimed = Marker::new(owner, marker.as_ref().and_then(|marker| marker.batch), None);
        let claimed = claimed.with(marker.and_then(|marker| marker.pending));
        let tag = patiently(failure, || place.replace_marker(&marker_name, &claimed, tag.as_ref(), owner))?;
        fault::point("start.sink");
        let (marker, tag) = settle(place, share, owner, claimed, &tag, failure)?;
        tidy(&**place, share, failure)?;
        // Where the marker is lost, readers have heard more than it says.
        let of_marker = marker.pending.as_ref().and_then(|pending| pending.told);
        let told = place.told(share).map(|told| told.max(of_marker.unwrap_or(0)));
        let (owner, batch) = (owner.clone(), marker.batch);
        let reserves = BTreeSet::new();
        Ok(CommitState { owner, marker_name, tag, passed: batch, committed: batch, reserves, told, _lock: lock })
    }
}

/// Brings to its end what a marker says is pending: complete parts get their names, and of what is in reserves parts are made. The
/// marker must be that of this start, or its place locked. The marker as it is then.
pub fn settle(
    place: &Arc<dyn Destination>,
    share: Share,
    owner: &Owner,
    marker: Marker,
    tag: &MarkerTag,
    failure: &Failure,
) -> Result<(Marker, MarkerTag)> {
    let Some(pending) = &marker.pending else { return Ok((marker, tag.clone())) };
    if let Some(odd) = pending.shows.iter().find(|path| !is_part_path(path)) {
        let (shown, odd) = (place.shown(), harmless(odd, 100));
        return Err(Error::environment(format!(
            "the marker of {shown} names `{odd}`, which is not a part; restore it from a copy"
        )));
    }
    let shows: Vec<Staged> = pending.shows.iter().map(|part| (part.clone(), None)).collect();
    show_all(&**place, share, pending.by, pending.told, &shows, failure)?;
    let complete = rebuild(place, share, owner.generation, &marker, pending, failure)?;
    let name = exactly_once::marker_name(share);
    let settled = Marker::new(owner, marker.batch, marker.part.clone());
    let mut tag = tag.clone();
    let told = pending.told.map(|told| told + u64::from(!complete.is_empty()));
    let by = owner.generation;
    if !complete.is_empty() {
        let pending = Pending { by, shows: names_of(&complete), told, ..Pending::default() };
        let marked = settled.clone().with(Some(pending));
        tag = patiently(failure, || place.replace_marker(&name, &marked, Some(&tag), owner))?;
        fault::point("start.settled");
        show_all(&**place, share, by, told, &complete, failure)?;
    }
    let settled = settled.with(told.map(|told| Pending { by, told: Some(told), ..Pending::default() }));
    let tag = patiently(failure, || place.replace_marker(&name, &settled, Some(&tag), owner))?;
    tidy(&**place, share, failure)?;
    Ok((settled, tag))
}

/// Writes the parts that were open, from the reserves of their batches, and stages them.
fn rebuild(
    place: &Arc<dyn Destination>,
    share: Share,
    generation: Generation,
    marker: &Marker,
    pending: &Pending,
    failure: &Failure,
) -> Result<Vec<Staged>> {
    let damaged = |why: String| {
        Error::environment(format!(
            "{}: rows that are committed and not in a part yet cannot be read: {why}; restore {} from a copy",
            place.shown(),
            hidden_folder(share)
        ))
    };
    let Some(first) = pending.open.iter().map(|(_, from, _)| *from).min() else { return Ok(Vec::new()) };
    let format = encode::of_word(&pending.extension);
    let format = format.ok_or_else(|| damaged(format!("their format `{}` is unknown", pending.extension)))?;
    let listed = patiently(failure, || place.hidden(&hidden_folder(share)))?;
    let mut batches: Vec<BatchId> = listed.iter().filter_map(|name| reserve::batch_of(name, pending.by)).collect();
    batches.retain(|batch| *batch >= first && Some(*batch) <= marker.batch);
    batches.sort();
    let from: BTreeMap<&str, BatchId> = pending.open.iter().map(|(folder, from, _)| (folder.as_str(), *from)).collect();
    let mut open: BTreeMap<String, (Writer, OpenPart)> = BTreeMap::new();
    for batch in batches {
        let name = reserve::path(share, pending.by, batch);
        let bytes = patiently(failure, || place.read(&name))?;
        let rows = bytes.ok_or_else(|| "it no longer exists".to_owned()).and_then(|bytes| reserve::rows_of(&bytes));
        let rows = rows.map_err(|why| damaged(format!("{name}: {why}")))?;
        let Some(schema) = rows.first().map(RecordBatch::schema) else { continue };
        let partitions =
            Partitions::new(&schema, &pending.partition_by).map_err(|why| damaged(format!("{name}: {why}")))?;
        let by_folder = partitions.split(&rows).map_err(|cause| damaged(format!("{name}: {cause}")))?;
        for (folder, rows) in by_folder {
            let Some(from) = from.get(folder.as_str()).copied().filter(|from| batch >= *from) else { continue };
            if !open.contains_key(&folder) {
                let place = place.clone();
                let schema = partitions.schema.clone();
                let writer = Writer { place, share, format, schema, generation, failure: failure.clone() };
                let part = writer.begin(&folder, from, BatchTime(0))?;
                open.insert(folder.clone(), (writer, part));
            }
            if let Some((_, part)) = open.get_mut(&folder) {
                part.add(&rows)?;
            }
        }
    }
    for (folder, from, rows) in &pending.open {
        let found = open.get(folder).map_or(0, |(_, part)| part.rows);
        if found != *rows {
            return Err(damaged(format!(
                "a part of \"{folder}\" from batch {from} on had {rows} rows, and {found} are there"
            )));
        }
    }
    open.into_values().map(|(writer, part)| writer.finish(part)).collect()
}

fn names_of(parts: &[Staged]) -> Vec<String> {
    parts.iter().map(|(part, _)| part.clone()).collect()
}

/// Gives parts their names, and tells readers of them, for the how many-th time.
fn show_all(
    place: &dyn Destination,
    share: Share,
    by: Generation,
    told: Option<u64>,
    parts: &[Staged],
    failure: &Failure,
) -> Result<()> {
    for (part, _) in parts {
        let hidden = hidden(share, by, part);
        patiently(failure, || place.show(&hidden, part))?;
    }
    if parts.is_empty() {
        return Ok(());
    }
    fault::point("commit.shown");
    patiently(failure, || place.tell(share, told, parts))
}

/// As [`exactly_once::whole`].
fn whole(place: &dyn Destination, owner: &Owner, failure: &Failure) -> Result<Option<BatchId>> {
    let Some((marker, _)) = patiently(failure, || place.marker(exactly_once::MARKER))? else { return Ok(None) };
    let ours = marker.check_ours(owner).map(|()| marker.batch);
    Ok(ours.map_err(|cause| io_failed(format!("open {}", place.shown()), &cause))?)
}

/// Refuses rows of which nothing tells whose they are.
fn check_empty(place: &dyn Destination, failure: &Failure) -> Result<()> {
    match patiently(failure, || place.any_part())? {
        None => Ok(()),
        Some(part) => Err(Error::job(format!(
            "{} holds parts of an earlier run ({part}), and nothing is overwritten; empty it or {ELSEWHERE}",
            place.shown()
        ))),
    }
}

/// Removes hidden files that nothing needs any more.
fn tidy(place: &dyn Destination, share: Share, failure: &Failure) -> Result<()> {
    let folder = hidden_folder(share);
    for name in patiently(failure, || place.hidden(&folder))? {
        patiently(failure, || place.remove(&format!("{folder}/{name}")))?;
    }
    Ok(())
}
