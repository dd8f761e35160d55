//! From the tables of a job file to a [`JobSpec`].

mod sink;
mod source;
mod stage;

pub(super) use source::poll_fits;

use super::document::Document;
use super::keys;
use super::mistakes::Mistakes;
use super::names;
use super::spec::{ClockSpec, JobSpec, Origin};
use super::table::Reader;
use std::path::Path;

/// The table that a later version reads, and this one refuses.
pub(super) const CHECKPOINT: &str = "checkpoint";

/// Reads the whole file. What cannot be read is noted in `mistakes` and gets a harmless value, so that the rest of the
/// file is looked at as well.
pub(super) fn job(document: &Document, file: &Path, folder: &Path, mistakes: &Mistakes) -> JobSpec {
    let top =
        Reader { path: String::new(), part: String::new(), inside: String::new(), table: &document.table, mistakes };
    check_top(&top);
    let mut job = JobSpec::new(names::of_file(file));
    job.origin = Origin { file: Some(file.into()), folder: folder.into(), lines: document.lines.clone() };
    if let Some(name) = top.text("name", "name = \"word-count\"") {
        job.name = name.into();
    }
    if let Some(batch) = top.time("batch") {
        job.batch = batch;
    }
    if let Some(workers) = top.whole("workers", 1, crate::limits::WORKERS_MAX) {
        job.workers = usize::try_from(workers).ok();
    }
    let clocks = [("wall", ClockSpec::Wall), ("manual", ClockSpec::Manual)];
    job.clock = top.choice("clock", &clocks, &[]).unwrap_or_default();
    if let Some(most) = top.whole("in_flight_max", 1, crate::limits::IN_FLIGHT_MAX_MAX) {
        job.in_flight_max = most;
    }
    job.sources = top.parts("sources", "source").into_iter().map(|(name, r)| source::source(name, &r)).collect();
    job.stages = top.parts("stages", "stage").into_iter().map(|(name, r)| stage::stage(name, &r)).collect();
    job.sinks = top.parts("sinks", "sink").into_iter().map(|(name, r)| sink::sink(name, &r)).collect();
    job
}

/// Unknown keys of the file itself. Checkpoints are refused in words of their own: a job whose author counts on
/// recovery must not run without.
fn check_top(top: &Reader<'_>) {
    if top.has(CHECKPOINT) {
        top.wrong(
            CHECKPOINT,
            "checkpoints are not available in this version: a job that is started again begins afresh; remove \
             [checkpoint] to run it so",
        );
    }
    let checked: toml::Table = top.table.iter().filter(|(k, _)| *k != CHECKPOINT).map(copy).collect();
    Reader { table: &checked, ..top.clone() }.check_keys(keys::JOB, &[], None);
}

/// Only keys matter to the check of keys.
fn copy((key, _): (&String, &toml::Value)) -> (String, toml::Value) {
    (key.clone(), toml::Value::Boolean(true))
}
