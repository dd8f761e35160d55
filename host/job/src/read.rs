//! From the tables of a job file to a [`JobSpec`].

mod checkpoint;
mod sink;
mod source;
mod unread;

use super::connector::Kinds;
use super::document::Document;
use super::errors::JobErrors;
use super::file;
use super::keys;
use super::names;
use super::spec::{AtEnd, ClockSpec, ExpandedTexts, JobSpec, Origin, SinkKind, SourceKind, StateSpec};
use super::stage;
use super::table::Reader;
use std::collections::BTreeSet;
use std::path::Path;

/// Reads `state`, if it is set.
fn state(top: &Reader<'_>) -> Option<StateSpec> {
    let r = top.inner("state", "state = { memory = \"2GiB\" }")?;
    r.check_keys(keys::STATE, &[], None);
    r.need("memory", "memory = \"2GiB\"");
    let max = millstream_base::limits::MEMORY_BYTES_MAX_MAX;
    let memory_bytes_max = r.size("memory", millstream_base::limits::STATE_MEMORY_BYTES_MIN, max).unwrap_or(max);
    Some(StateSpec { memory_bytes_max, dir: r.path("folder", "folder = \"/var/tmp\"") })
}

/// Reads the complete file. Unreadable values are recorded in `errors` and get a harmless value, so that the rest of the file is checked as well.
pub(super) fn job(document: &Document, kinds: &Kinds, file: &Path, dir: &Path, errors: &JobErrors) -> JobSpec {
    let names = key_names(kinds);
    let (path, part, inside) = (String::new(), String::new(), String::new());
    let top = Reader { path, part, inside, table: &document.table, dir, names: &names, errors };
    top.check_keys(file::KEYS, &[], None);
    let mut job = JobSpec::new(names::of_file(file));
    job.origin =
        Origin { file: Some(file.into()), dir: dir.into(), lines: document.lines.clone(), ..Origin::default() };
    job.origin.text = document.text.clone();
    job.origin.written = ExpandedTexts(document.written.clone());
    if let Some(name) = top.text("name", "name = \"word-count\"") {
        job.name = name.into();
    }
    if let Some(batch) = top.time("batch") {
        job.batch = batch;
    }
    if let Some(workers) = top.integer("workers", 1, millstream_base::limits::WORKERS_MAX) {
        job.workers = usize::try_from(workers).ok();
    }
    let clocks = [("wall", ClockSpec::Wall), ("manual", ClockSpec::Manual)];
    job.clock = top.choice("clock", &clocks, &[]).unwrap_or_default();
    let ends = [("flush", AtEnd::Flush), ("keep", AtEnd::Keep)];
    job.at_end = top.choice("at_end", &ends, &[]).unwrap_or_default();
    if let Some(max) = top.integer("in_flight_max", 1, millstream_base::limits::IN_FLIGHT_MAX_MAX) {
        job.in_flight_max = max;
    }
    job.memory_bytes_max =
        top.size("memory", millstream_base::limits::MEMORY_BYTES_MIN, millstream_base::limits::MEMORY_BYTES_MAX_MAX);
    job.state = state(&top);
    job.ui = top.flag("ui").unwrap_or(true);
    job.checkpoint = checkpoint::checkpoint(&top);
    job.sources =
        top.parts("sources", "source").into_iter().map(|(name, r)| source::source(name, &r, (kinds, dir))).collect();
    job.stages = top.parts("stages", "stage").into_iter().map(|(name, r)| stage::read(name, &r, kinds)).collect();
    job.sinks = top.parts("sinks", "sink").into_iter().map(|(name, r)| sink::sink(name, &r, kinds)).collect();
    name_clients(&mut job);
    job
}

/// Returns the names of the possible keys of a source, stage, sink or `[checkpoint]`.
fn key_names(kinds: &Kinds) -> BTreeSet<&'static str> {
    let all = [kinds.source_keys(), stage::keys::STAGE, kinds.sink_keys(), keys::CHECKPOINT];
    all.iter().flat_map(|keys| keys.iter().map(|key| key.name)).collect()
}

/// Sets client names if the job sets none and a server stores something by client. They are derived from the job and its part, so a restarted job
/// finds it again.
fn name_clients(job: &mut JobSpec) {
    let name = |part: &str| format!("millstream-{}-{part}", job.name);
    for source in &mut job.sources {
        if let SourceKind::Declared(config) = &mut source.kind
            && let Some(named) = config.named(&name(&source.name))
        {
            *config = named;
        }
    }
    for sink in &mut job.sinks {
        if let SinkKind::Declared(config) = &mut sink.kind
            && let Some(named) = config.named(&name(&sink.name))
        {
            *config = named;
        }
    }
}
