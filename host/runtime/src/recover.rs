//! A startup with checkpoints: reads what a checkpoint directory holds, lets [`resolve`] decide, claims the job, and
//! collects what the dataflow needs to continue.

mod inputs;
mod meanings;
mod state_files;

use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime, Generation};
use millstream_base::owner::Owner;
use millstream_base::retry::StartupRetry;
use millstream_connect::sink;
use millstream_connectors::kinds;
use millstream_engine::checkpoint::loaded::{LoadProgress, LoadedCheckpoint};
use millstream_engine::checkpoint::meaning::TableMeaning;
use millstream_engine::checkpoint::plan::{self, Head, LogHeads, LogName, PlanWriter};
use millstream_engine::checkpoint::positions::{self, PositionTable};
use millstream_engine::checkpoint::record::{self, RecordedJob};
use millstream_engine::checkpoint::resolve::{self, PlannedBatch, ResumePlan, StartFacts, StartRequest};
use millstream_engine::checkpoint::rollback::Rollback;
use millstream_engine::checkpoint::source_start::{SourceStart, SourceStarts};
use millstream_engine::checkpoint::store::{Store, Version};
use millstream_engine::checkpoint::types::{Checkpoint, JobRecord, JobStart, Manifest, Table, TableOf};
use millstream_engine::checkpoint::writer::{CheckpointWriter, ClaimedManifest, lost};
use millstream_engine::checkpoint::{DIRS, DirLock, JobCheckpoints, Markers, ReplaySchedule, Writers, manifest};
use millstream_engine::graph;
use millstream_engine::graph::Graph;
use millstream_engine::operators::stage::StageNode;
use millstream_engine::running::{self, Options};
use millstream_job::spec::{SinkKind, SinkSpec};
use millstream_rows::batch::chunk::Chunk;
use millstream_rows::batch::partition::{Share, counts_rows, source_of};
use millstream_rows::batch::position::{Position, Positions, SOURCE_END};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What was found and decided before anything is changed.
pub struct RecoveryPlan {
    /// How to resume.
    pub resume: ResumePlan,
    /// The previous startup, if any.
    pub before: Option<JobStart>,
    found: StartFacts,
    wanted: StartRequest,
    version: Option<Version>,
    recorded: RecordedJob,
    /// The reasons why the last startup was rolled back, if this one goes back.
    rollbacks: Vec<Rollback>,
    /// Why it is unknown whether the state has the same meaning as before.
    unknown: Option<String>,
}

/// Returns the tables of a job: of its stages with state, of its sources, then of counters, each in order.
pub fn tables_of(graph: &Graph) -> Vec<Table> {
    let stages = graph.stages.iter().flat_map(|stage| stage.tables.iter().cloned());
    let sources = graph.spec.sources.iter().map(|source| positions::table_of(source, &graph.spec.origin));
    let meanings = graph.meanings(&BTreeSet::new());
    let tables = stages.chain(sources).chain(graph::counters::table_of(graph));
    let with_meaning = tables.map(|table| {
        let meaning = meanings.get(&table.name).map(TableMeaning::digests).unwrap_or_default();
        Table { meaning, ..table }
    });
    with_meaning.collect()
}

/// Returns the names of the stages whose plugins migrate states of their other versions.
fn migrating_stages(graph: &Graph) -> BTreeSet<String> {
    let migrates = |stage: &&StageNode| stage.plugin().is_some_and(|node| node.plugin.migrates());
    graph.stages.iter().filter(migrates).map(|stage| stage.name.clone()).collect()
}

/// Checks everything and decides, without changing anything. An error rejects the startup.
///
/// `fenced`: what the sinks have committed, if they are open for this startup, so that no older start commits any longer.
/// `sent_max`: the last batch that may have been sent to servers that cannot report what they have, if known.
pub fn decide(
    graph: &Graph,
    store: &dyn Store,
    options: &Options,
    record: Option<JobRecord>,
    fenced: Option<BTreeMap<String, BatchId>>,
    sent_max: Option<BatchId>,
) -> Result<RecoveryPlan> {
    let (current, version) = manifest_of(store, options.fresh)?;
    if let Some(manifest) = &current
        && manifest.job != graph.spec.name
        && !options.fresh
    {
        return Err(Error::job(format!(
            "{}: these checkpoints belong to the job `{}`, and this one is `{}`; set another `dir` in [checkpoint], \
             or restore the job's name",
            store.location(),
            manifest.job,
            graph.spec.name
        )));
    }
    let recorded = graph::record(graph, &options.sets, record)?;
    let is_explicit_start = options.fresh || options.resume_from.is_some() || options.replay_from.is_some();
    let rollbacks = match &current {
        Some(manifest) if !is_explicit_start => Rollback::of_start(store, manifest, &graph.spec)?,
        _ => Vec::new(),
    };
    let mut wanted = StartRequest {
        job_digest: recorded.digest.clone(),
        workers: u32::try_from(millstream_engine::running::workers_of_all(&graph.spec, options)?).unwrap_or(u32::MAX),
        processes: options.process_and_count().1,
        spread: graph.spec.sources.iter().filter(|of| of.kind.is_spread()).map(|of| of.name.clone()).collect(),
        by_worker: sink_names(graph, |kind| kind.by_worker()),
        sent_by_worker: sink_names(graph, |kind| kind.by_worker() && kind.passes_over_repeated_rows()),
        tables: tables_of(graph),
        meanings: graph.meanings(&BTreeSet::new()),
        followers: graph.followers(),
        queries: graph.queries(),
        migrates: migrating_stages(graph),
        fresh: options.fresh,
        resume_from: options.resume_from,
        replay_from: options.replay_from.or(rollbacks.first().map(|first| first.batch)),
        drop: meanings::dropped_tables(graph, &options.drop_state, current.as_ref()),
    };
    let mut unknown = None;
    let mut found = StartFacts { manifest: current, objects: list_objects(store)?, ..StartFacts::default() };
    let mut logs = Vec::new();
    if let Some(manifest) = found.manifest.as_ref().filter(|_| !options.fresh) {
        found.committed = match fenced {
            Some(fenced) => fenced,
            None => committed(graph, options, (&manifest.job, &manifest.job_id))?,
        };
        logs = plan::read_heads(store)?;
        found.damaged.extend(logs.iter().filter_map(|log| Some((log.path.clone(), log.damage.clone()?))));
        found.planned = resolve::planned(&manifest.starts, &heads(&logs));
        let planned =
            found.planned.keys().last().copied().map(|planned| sent_max.map_or(planned, |sent| planned.min(sent)));
        found.committed_before = committed_before(graph, store, manifest, &wanted, planned);
        found.damaged.extend(state_files::damaged(store, &manifest.checkpoints, &found.objects, options)?);
        if let Some(last) = manifest.starts.last() {
            found.damaged.extend(record::damages(store, last));
        }
        unknown = meanings::compare(graph, store, &mut found, &mut wanted);
    }
    let resolved = resolve::resolve(&found, &wanted);
    let resume = resolved.map_err(|cause| Error::job(format!("{}: {cause}", store.location())))?;
    if let Some(manifest) = found.manifest.as_ref().filter(|_| !options.fresh) {
        let processes = options.cluster.as_ref().map_or(1, |cluster| cluster.hosts.len());
        inputs::check(graph, store, manifest, &logs, &resume, processes)?;
    }
    let before = found.manifest.as_ref().and_then(|manifest| manifest.starts.last().cloned());
    Ok(RecoveryPlan { resume, before, found, wanted, version, recorded, rollbacks, unknown })
}

impl RecoveryPlan {
    /// Returns the identity of this startup for the sinks, or `None` if the job is new and no sink knows it yet.
    pub fn owner(&self) -> Option<Owner> {
        let manifest = self.found.manifest.as_ref().filter(|_| !self.wanted.fresh)?;
        let generation = Generation(manifest.generation.0.saturating_add(1));
        Some(Owner { job: manifest.job.clone(), job_id: manifest.job_id.clone(), generation })
    }

    /// Logs warnings for the operator before the job continues.
    pub fn warn(&self) {
        let first = self.rollbacks.first().map(|first| first.batch).unwrap_or_default();
        for Rollback { stage, plugin, .. } in &self.rollbacks {
            tracing::info!(
                "stage `{stage}` was rolled back to {plugin} since the last run: the job returns to the state after \
                 batch {first} and replays later batches"
            );
        }
        if !self.wanted.fresh {
            warn_of_sinks(&self.found);
        }
        if let Some(why) = &self.unknown {
            tracing::warn!(
                "the job was changed, and the definition of its state cannot be compared: {why}; the state is kept \
                 unchanged. If an expression upstream of it was changed, restart with `--drop-state`"
            );
        }
        for (path, reason) in &self.found.damaged {
            tracing::warn!("`{path}` cannot be read: {reason}; the job continues, because this run does not need it");
        }
        if let Some((first, last)) = self.resume.repeated {
            tracing::warn!(
                "sinks have committed batches {first} to {last}, which are abandoned: their input is read again, \
                 and the results are committed again with new batch IDs"
            );
        }
    }
}

/// Returns the manifest and its version. If the job starts from scratch, a damaged manifest is ignored. Its generation
/// still counts, since no name may be used again.
fn manifest_of(store: &dyn Store, fresh: bool) -> Result<(Option<Manifest>, Option<Version>)> {
    match manifest::read(store) {
        Err(_) if fresh => {
            let generation =
                list_objects(store)?.iter().filter_map(|path| generation_in(path)).max().unwrap_or_default();
            let (job, job_id, starts, checkpoints) = (String::new(), String::new(), Vec::new(), Vec::new());
            let manifest = Manifest { job, job_id, generation, starts, checkpoints };
            Ok((Some(manifest), store.read_version(manifest::PATH)?.map(|(_, version)| version)))
        }
        read => Ok(read?.unzip()),
    }
}

/// Returns the generation that wrote an object. Every name begins with it.
fn generation_in(path: &str) -> Option<Generation> {
    path.split_once('/')?.1.split('-').next()?.parse().ok().map(Generation)
}

/// Returns the names of the sinks for which `is_wanted` holds.
fn sink_names(graph: &Graph, is_wanted: impl Fn(&SinkKind) -> bool) -> BTreeSet<String> {
    graph.spec.sinks.iter().filter(|of| is_wanted(&of.kind)).map(|of| of.name.clone()).collect()
}

/// Returns what the sinks of a job have committed. The sinks are only read.
fn committed(graph: &Graph, options: &Options, job: (&str, &str)) -> Result<BTreeMap<String, BatchId>> {
    let mut committed = BTreeMap::new();
    for spec in &graph.spec.sinks {
        let committed_batch = match graph.writers.get(&spec.name) {
            Some(slot) => sink::plugin::committed(spec, slot.writer()?, job, options.start_until)?,
            None => sink::committed(spec, &graph.spec.origin, job.1, graph.servers)?,
        };
        if let Some(batch) = committed_batch {
            committed.insert(spec.name.clone(), batch);
        }
    }
    Ok(committed)
}

/// Returns the last batch committed by sinks of the last startup that the job no longer has, or has elsewhere. A sink
/// that cannot report its commits counts as far as it may have committed. An unreachable removed sink does not prevent
/// the startup.
fn committed_before(
    graph: &Graph,
    store: &dyn Store,
    manifest: &Manifest,
    wanted: &StartRequest,
    planned: Option<BatchId>,
) -> Option<BatchId> {
    let last = manifest.starts.last()?;
    if last.job_digest == wanted.job_digest {
        // The shares of other workers have other rows, and it is unknown which of these exist.
        return planned.filter(|_| !wanted.sent_by_worker.is_empty() && last.workers != wanted.workers);
    }
    // The decision itself reports a record that is needed but damaged.
    let record = record::read(store, last).ok()?;
    let before = record::text(&record, kinds::all()).ok()?;
    let as_now = |sink: &SinkSpec| graph.spec.sinks.iter().any(|now| now.is_same(sink));
    let ask_plugin = |sink: &SinkSpec| {
        let dir = tempfile::tempdir().map_err(|e| Error::environment(format!("cannot create a directory: {e}")))?;
        let job = record::job(store, &record, kinds::all(), dir.path())?;
        graph.committed_before(&job, sink, (&manifest.job, &manifest.job_id))
    };
    let holds = |sink: &SinkSpec| {
        let committed_batch = match sink.plugin() {
            Some(_) => ask_plugin(sink),
            None => sink::committed(sink, &before.origin, &manifest.job_id, StartupRetry::No),
        };
        committed_batch.unwrap_or_else(|error| {
            tracing::warn!(
                "sink `{}` was changed or removed, and its committed batches can no longer be read: {error}; \
                 batches that it committed since the last checkpoint are committed again to the job's current sinks",
                sink.name
            );
            None
        })
    };
    // A removed sink, whose server may be gone, must not prevent the startup.
    let goes_on = |sink: &SinkSpec| graph.spec.sinks.iter().any(|now| now.name == sink.name);
    let may_hold = before.sinks.iter().any(|sink| sink.kind.passes_over_repeated_rows() && goes_on(sink));
    let saved_table = before.sinks.iter().filter(|sink| !as_now(sink)).filter_map(holds).max();
    saved_table.max(planned.filter(|_| may_hold))
}

/// Warns about sinks that lack what they held when the newest checkpoint was written. Such a sink was replaced or
/// emptied. Its rows are not written again.
fn warn_of_sinks(found: &StartFacts) {
    let markers = found.manifest.iter().filter_map(Manifest::newest).flat_map(|newest| &newest.sinks);
    for (sink, marker) in markers {
        let holds = found.committed.get(sink).copied().unwrap_or_default();
        if holds < *marker {
            tracing::warn!(
                "sink `{sink}` had batches up to {marker} when the checkpoint was written and has batches up to \
                 {holds} now: it was replaced, emptied or renamed; the missing batches are not written again"
            );
        }
    }
}

/// Returns the heads of logs in the form in which decisions use them.
fn heads(logs: &[LogHeads]) -> Vec<(LogName, Vec<Head>)> {
    logs.iter().map(|log| (log.name.clone(), log.heads.clone())).collect()
}

fn list_objects(store: &dyn Store) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for dir in DIRS {
        paths.extend(store.list(dir)?.into_iter().map(|object| object.path));
    }
    Ok(paths)
}

/// Makes this startup the current one. All earlier processes are fenced from now on.
pub fn claim(decided: RecoveryPlan, store: &dyn Store, failure: &Failure) -> Result<ClaimedManifest> {
    let RecoveryPlan { resume, found, wanted, version, recorded, .. } = decided;
    let mut manifest = resolve::claim(found.manifest.as_ref(), &resume, &wanted, &recorded.job, &new_job_id());
    manifest.starts.last_mut().into_iter().for_each(|start| start.started_us = millstream_base::time::now().0);
    if let Some(start) = manifest.starts.last() {
        let before = found.manifest.as_ref().and_then(|manifest| manifest.starts.last());
        recorded.store(store, start.generation, before, &start.record_path(), failure)?;
        fault::point("start.recorded");
    }
    let blobs = record::blobs_of(store, &manifest.starts);
    fault::point("start.claim");
    let owned = match manifest::replace(store, &manifest, version.as_ref(), failure)? {
        manifest::ReplaceOutcome::Done(version) => ClaimedManifest { manifest, version, blobs },
        manifest::ReplaceOutcome::Lost => return Err(lost(store, manifest.generation)),
    };
    fault::point("start.claimed");
    // A noted rollback is complete with this startup. If the note cannot be deleted, later startups detect that it does not
    // apply.
    if wanted.replay_from.is_some()
        && let Err(error) = Rollback::remove_all(store)
    {
        tracing::warn!("{}", error.message);
    }
    Ok(owned)
}

/// Returns a unique ID of 32 hexadecimal digits.
fn new_job_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    let half = || RandomState::new().hash_one(millstream_base::time::now().0);
    format!("{:016x}{:016x}", half(), half())
}

/// Collects what the process needs to run, from the manifest that process 0 has claimed.
pub fn prepare(
    graph: &Graph,
    store: Arc<dyn Store>,
    manifest: &Manifest,
    owned: Option<ClaimedManifest>,
    lock: Option<DirLock>,
    options: &Options,
    failure: &Failure,
) -> Result<JobCheckpoints> {
    let process_and_count = options.process_and_count();
    let Some(start) = manifest.starts.last().cloned() else {
        return Err(Error::bug("a claimed manifest without a startup"));
    };
    let older = manifest.starts.get(..manifest.starts.len() - 1).unwrap_or_default();
    let saved = manifest.checkpoints.iter().find(|checkpoint| checkpoint.batch == start.checkpoint);
    let mut tables = tables_of(graph);
    let (mut readable, mut old_columns) = (BTreeSet::new(), BTreeMap::new());
    for (index, table) in tables.iter_mut().enumerate() {
        let saved_table = saved.into_iter().flat_map(|checkpoint| &checkpoint.tables);
        if let Some(saved_table) =
            saved_table.into_iter().find(|saved_table| (saved_table.of, &saved_table.name) == (table.of, &table.name))
        {
            readable.insert(index);
            match saved_table.state == table.state {
                true => table.files.clone_from(&saved_table.files),
                false => drop(old_columns.insert(index, saved_table.clone())),
            }
        }
    }
    let logs = plan::read_heads(&*store)?;
    let counted: BTreeMap<BatchId, PlannedBatch> = resolve::planned(older, &heads(&logs))
        .into_iter()
        .filter(|(batch, _)| *batch > start.checkpoint && *batch <= options.replay_until.unwrap_or(start.after))
        .collect();
    let planned = (&counted, older, saved);
    let sources = sources(graph, &*store, &logs, &tables, planned, &start, process_and_count)?;
    let generation = manifest.generation;
    let markers = Markers::default();
    let plans = PlanWriter::start(store.clone(), generation, process_and_count.0, start.after, failure.clone())?;
    let writer = CheckpointWriter::start(
        store.clone(),
        generation,
        tables.clone(),
        owned,
        markers.clone(),
        options.replay_until.is_none(),
        failure.clone(),
    )?;
    graph.budget.iter().for_each(|budget| writer.limit(budget.bytes_max()));
    let Some(checkpoint) = &graph.spec.checkpoint else { return Err(Error::bug("a job without [checkpoint]")) };
    let progress = LoadProgress::new(tables.iter().chain(old_columns.values()));
    let loaded = LoadedCheckpoint {
        store,
        last_batch: (start.checkpoint, saved.map_or(BatchTime(i64::MIN), |checkpoint| checkpoint.time)),
        tables,
        readable,
        old_columns,
        workers: running::workers(&graph.spec, options)?,
        progress,
    };
    let starts = manifest.starts.iter().filter(|start| !start.upgrade);
    let replay = ReplaySchedule {
        since: BatchTime(saved.map_or_else(|| first_started_us(manifest), |checkpoint| checkpoint.written)),
        batches: counted.iter().map(|(batch, planned)| (*batch, *planned)).collect(),
        first_new: start.first,
        starts: starts.map(|start| (start.first, start.started_us)).collect(),
    };
    Ok(JobCheckpoints {
        owner: Owner { job: manifest.job.clone(), job_id: manifest.job_id.clone(), generation },
        every: checkpoint.every,
        loaded: Arc::new(loaded),
        replay,
        sources,
        writers: Writers { plans, checkpoints: writer, markers },
        lock,
    })
}

/// Returns the time of the first start in the manifest.
fn first_started_us(manifest: &Manifest) -> i64 {
    let started = manifest.starts.iter().map(|start| start.started_us).filter(|started_us| *started_us > 0);
    started.min().unwrap_or(i64::MAX)
}

/// Returns where the sources that this process receives continue.
fn sources(
    graph: &Graph,
    store: &dyn Store,
    logs: &[LogHeads],
    tables: &[Table],
    (counted, older, saved): (&BTreeMap<BatchId, PlannedBatch>, &[JobStart], Option<&Checkpoint>),
    start: &JobStart,
    (process, processes): (usize, usize),
) -> Result<SourceStarts> {
    let mut starts: BTreeMap<String, SourceStart> = BTreeMap::new();
    for (number, source) in graph.spec.sources.iter().enumerate() {
        let Some(share) = source.kind.share(number, (process, processes)) else { continue };
        let table = tables.iter().find(|table| table.of == TableOf::Source && table.name == source.name);
        let load = |share| {
            table.map_or_else(|| Ok(PositionTable::empty(share)), |table| PositionTable::load(table, share, store))
        };
        let mut from = SourceStart::from(share, load(share)?);
        if share != Share::ALL {
            // For files, only the process that lists them needs to know which were read.
            let needs_others = match source.kind.spreads_files() {
                true => share.reports_clocks(),
                false => !source.kind.can_report_ends(),
            };
            let of_others = if needs_others { Share::ALL } else { Share::of_clocks() };
            from = if needs_others { from.with_all_others() } else { from };
            from.add_others(load(of_others)?.positions().clone());
        }
        starts.insert(source.name.clone(), from);
    }
    let mut void: BTreeMap<String, VoidEntries> = BTreeMap::new();
    let keeps: Vec<&String> =
        graph.spec.sources.iter().filter(|source| source.kind.keeps_leftovers()).map(|source| &source.name).collect();
    let counts = |name: &LogName, head: &Head| {
        counted.get(&head.batch).is_some_and(|planned| planned.generation == name.generation)
    };
    let is_void = |name: &LogName, head: &Head| {
        let keeps = keeps.iter().any(|source| *source == source_of(&head.source));
        let is_void_before = || saved.is_some_and(|saved| resolve::is_void_before(older, name, head.batch, saved));
        keeps && !counts(name, head) && (head.batch > start.checkpoint || is_void_before())
    };
    let mine = starts.keys().cloned().collect::<Vec<_>>();
    plan::read_entries(
        store,
        logs,
        |name, head| {
            mine.iter().any(|name| name == source_of(&head.source)) && (counts(name, head) || is_void(name, head))
        },
        |name, entry| {
            let Some(from) = starts.get_mut(source_of(&entry.source)) else { return };
            let planned = counted.get(&entry.batch).is_some_and(|planned| planned.generation == name.generation);
            if planned {
                from.add(entry);
            } else {
                let own = entry.chunks.into_iter().filter(|chunk| from.share.owns(&chunk.extent.file));
                let chunks = own.filter_map(|chunk| chunk.kept);
                let void = void.entry(source_of(&entry.source).to_owned()).or_default();
                void.chunks.extend(chunks.map(|chunk| (name.generation, chunk)));
                void.moved.extend(entry.moved);
            }
        },
    )?;
    for source in &graph.spec.sources {
        starts.get_mut(&source.name).into_iter().for_each(|from| from.mark_reread_files(source, &graph.spec.origin));
    }
    for (name, void) in void {
        if let Some(from) = starts.get_mut(&name) {
            from.leftovers = leftovers(from, void.chunks);
            let further = advanced_positions(from, void.moved);
            from.add_others(further.clone());
            from.leftovers_moved = further.into_iter().filter(|(name, _)| from.share.owns(name)).collect();
        }
    }
    Ok(SourceStarts::new(graph.spec.sources.iter().map(|source| starts.remove(&source.name))))
}

/// What the plans of batches that do not count contain about one source.
#[derive(Default)]
struct VoidEntries {
    chunks: Vec<(Generation, Chunk)>,
    moved: Vec<(String, Position)>,
}

/// Returns how far rows outside of counted batches move other positions than their own: those of producers, which only
/// grow.
fn advanced_positions(from: &SourceStart, moved: Vec<(String, Position)>) -> Vec<(String, Position)> {
    let mut before = from.end();
    before.extend(from.others.clone());
    let mut further = Positions::new();
    for (name, position) in moved {
        let known = further.get(&name).or_else(|| before.get(&name));
        let is_further = known.is_none_or(|known| position.offset > known.offset);
        let counts = name.is_empty() || counts_rows(&name);
        if is_further && !counts && name != SOURCE_END && position != Position::GONE {
            further.insert(name, position);
        }
    }
    further.into_iter().collect()
}

/// Returns the rows that were received and are in no counted batch.
fn leftovers(from: &SourceStart, chunks: Vec<(Generation, Chunk)>) -> Vec<Chunk> {
    let ends = from.end();
    // Keyed by the name of the position that counts them.
    let mut counted: BTreeMap<String, Vec<(Generation, Chunk)>> = BTreeMap::new();
    for (generation, chunk) in chunks {
        counted.entry(chunk.extent.file.clone()).or_default().push((generation, chunk));
    }
    let mut left = Vec::new();
    for (name, chunks) in counted {
        let end = ends.get(&name).map_or(0, |position| position.offset);
        let ranges: Vec<(Generation, u64, u64)> =
            chunks.iter().map(|(generation, chunk)| (*generation, chunk.extent.row, chunk.rows() as u64)).collect();
        for (index, skip) in resolve::leftovers(end, &ranges) {
            if let Some((_, chunk)) = chunks.get(index) {
                let mut chunk = chunk.clone();
                if skip > 0 {
                    let _ = chunk.cut_front(usize::try_from(skip).unwrap_or(usize::MAX));
                }
                left.push(chunk);
            }
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_rows::batch::partition::Share;

    #[test]
    fn producers_of_rows_that_are_put_back_have_come_as_far_as_any_plan_says() {
        let at = |name: &str, offset| (name.to_owned(), Position { offset, mark: 1 });
        let mut from = SourceStart::from(Share::ALL, PositionTable::empty(Share::ALL));
        from.table.apply(vec![at("", 9), at("producer:a", 5), at("producer:b", 5)]);
        let moved = vec![
            at("", 20),
            at(SOURCE_END, 1),
            at("producer:a", 4),
            at("producer:b", 7),
            ("producer:b".into(), Position::GONE),
            at("producer:b", 6),
            at("producer:c", 1),
        ];
        assert_eq!(advanced_positions(&from, moved), [at("producer:b", 7), at("producer:c", 1)]);
    }
}
