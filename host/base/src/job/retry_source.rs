//! Rows that `millstream retry` gives back to a stage which rejected them, as a source that the author of a job did not
//! write: the files of a folder beside the job file, which are read once, as those of a `directory`.

use crate::job::spec::{JobSpec, OnError, OperatorSpec, SinkSpec, SourceSpec};
use crate::limits::RETRY_POLL_MS;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the folder is looked at.
pub const POLL: Duration = Duration::from_millis(RETRY_POLL_MS);

/// What stands behind the stage's name.
const WORD: &str = "retry";

/// The folder of all rows that are given back to a stage, from the folder of the job file.
pub fn dir(job: &str, stage: &str) -> PathBuf {
    Path::new(&format!("{job}.{WORD}")).join(stage)
}

/// The name of the source. `input`: of which input, in a stage that has several.
pub fn name_of(stage: &str, input: Option<&str>) -> String {
    input.map_or_else(|| format!("{stage}.{WORD}"), |input| format!("{stage}.{WORD}.{input}"))
}

/// Whether a source of this name is one.
pub fn is_name(source: &str) -> bool {
    source.split('.').nth(1) == Some(WORD)
}

/// The folder of all rows that are given back to this stage, where the source is one of them.
pub fn dir_of<'a>(source: &'a SourceSpec, stage: &str) -> Option<&'a Path> {
    let path = source.kind.retry_dir()?;
    match source.name.strip_prefix(stage)?.strip_prefix('.')?.strip_prefix(WORD)? {
        "" => Some(path),
        input => input.starts_with('.').then(|| path.parent()).flatten(),
    }
}

/// The sinks that keep the rejected rows of a stage in files which `millstream retry` can read, and the file or folder of each.
pub fn kept<'a>(spec: &'a JobSpec, stage: &str) -> Vec<(&'a SinkSpec, &'a Path)> {
    let rejected = format!("{stage}.rejected");
    let of_stage = spec.sinks.iter().filter(|sink| sink.from.contains(&rejected));
    // Rows of others would stand between them.
    let alone = of_stage.filter(|sink| sink.from.len() == 1);
    alone.filter_map(|sink| Some((sink, sink.kind.readable()?))).collect()
}

/// Whether a stage of the job takes rows back.
pub fn takes_back(spec: &JobSpec, stage: &str) -> bool {
    let operator = spec.stages.iter().find(|own| own.name == stage).map(|own| &own.operator);
    let rejects = match operator {
        Some(OperatorSpec::Plugin(plugin) | OperatorSpec::Cogroup { plugin, .. }) => plugin.on_error == OnError::Reject,
        _ => false,
    };
    rejects && spec.checkpoint.is_some()
}
