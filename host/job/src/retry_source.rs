//! Rejected rows that `millstream retry` returns to the stage that rejected them, as a source that is not in the job file.
//! It reads each file of a directory next to the job file once, as a `directory` source does.

use crate::spec::{JobSpec, OnError, OperatorSpec, SinkSpec, SourceSpec};
use millstream_base::limits::RETRY_POLL_MS;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Interval between listings of the directory.
pub const POLL: Duration = Duration::from_millis(RETRY_POLL_MS);

/// Suffix of the stage's name.
const WORD: &str = "retry";

/// Returns the directory of all rows to retry in a stage, relative to that of the job file.
pub fn dir(job: &str, stage: &str) -> PathBuf {
    Path::new(&format!("{job}.{WORD}")).join(stage)
}

/// Returns the name of the source. `input`: the input, in a stage that has several.
pub fn name_of(stage: &str, input: Option<&str>) -> String {
    input.map_or_else(|| format!("{stage}.{WORD}"), |input| format!("{stage}.{WORD}.{input}"))
}

/// Returns whether a source of this name is one of rows to retry.
pub fn is_name(source: &str) -> bool {
    source.split('.').nth(1) == Some(WORD)
}

/// Returns the directory of all rows to retry in this stage, if the source is one of them.
pub fn dir_of<'a>(source: &'a SourceSpec, stage: &str) -> Option<&'a Path> {
    let path = source.kind.retry_dir()?;
    match source.name.strip_prefix(stage)?.strip_prefix('.')?.strip_prefix(WORD)? {
        "" => Some(path),
        input => input.starts_with('.').then(|| path.parent()).flatten(),
    }
}

/// Returns the sinks that store rejected rows of a stage in files that `millstream retry` can read, with the path of each.
pub fn sinks_of_rejected<'a>(spec: &'a JobSpec, stage: &str) -> Vec<(&'a SinkSpec, &'a Path)> {
    let rejected = format!("{stage}.rejected");
    let of_stage = spec.sinks.iter().filter(|sink| sink.from.contains(&rejected));
    // With several inputs, rows of other streams would be between them.
    let alone = of_stage.filter(|sink| sink.from.len() == 1);
    alone.filter_map(|sink| Some((sink, sink.kind.readable()?))).collect()
}

/// Returns whether a stage of the job accepts rows to retry.
pub fn accepts_retries(spec: &JobSpec, stage: &str) -> bool {
    let operator = spec.stages.iter().find(|own| own.name == stage).map(|own| &own.operator);
    let rejects = match operator {
        Some(OperatorSpec::Plugin(plugin) | OperatorSpec::Cogroup { plugin, .. }) => plugin.on_error == OnError::Reject,
        _ => false,
    };
    rejects && spec.checkpoint.is_some()
}
