//! Whether a job would write over what it reads, or two sinks over each other.

use crate::error::{Error, Result};
use crate::job::spec::{EnrichSpec, EnrichTable, JobSpec, OperatorSpec, SinkKind, SourceKind};
use std::path::{Path, PathBuf};

/// A path of the job that is read or written.
struct Used {
    /// What uses it, as "source `lines` reads it".
    by: String,
    path: PathBuf,
    /// A folder of which every file counts.
    folder: bool,
}

/// Checks the paths of all sinks against each other and against whatever the job reads.
pub fn check(spec: &JobSpec) -> Result<()> {
    let mut used = reads(spec);
    check_retry(spec, &used)?;
    for sink in &spec.sinks {
        let (path, folder) = match &sink.kind {
            SinkKind::Print { .. } | SinkKind::Sample { .. } | SinkKind::Postgres { .. } => continue,
            SinkKind::Files { path, .. } => (path, true),
            SinkKind::Queue { path } => (path, false),
        };
        let full = whole(&spec.origin.folder.join(path));
        // Devices and pipes take what anyone writes.
        if full.exists() && !full.is_file() && !full.is_dir() {
            continue;
        }
        let clash = used.iter().find(|other| match (other.folder, folder) {
            (true, false) => full.parent() == Some(&other.path),
            _ => full == other.path,
        });
        if let Some(other) = clash {
            return Err(Error::job(format!(
                "{}sink `{}` writes to {}, and {}; choose another path",
                spec.origin.at(&format!("sinks.{}.path", sink.name)),
                sink.name,
                path.display(),
                other.by,
            )));
        }
        used.push(Used { by: format!("sink `{}` writes there as well", sink.name), path: full, folder });
    }
    Ok(())
}

/// Whether another source, or the checkpoints, take a folder in which rows are given back.
fn check_retry(spec: &JobSpec, used: &[Used]) -> Result<()> {
    for source in &spec.sources {
        let SourceKind::Retry { path, .. } = &source.kind else { continue };
        let full = whole(&spec.origin.folder.join(path));
        let mut there = used.iter().filter(|other| other.path == full);
        if let (Some(first), Some(second)) = (there.next(), there.next()) {
            let stage = source.name.split('.').next().unwrap_or_default();
            return Err(Error::job(format!(
                "{}stage `{stage}`: {} is a folder for its rejected rows, but {}, and {}; choose another path there",
                spec.origin.at(&format!("stages.{stage}")),
                path.display(),
                first.by,
                second.by,
            )));
        }
    }
    Ok(())
}

/// The files and folders that a job reads, and where its checkpoints are.
fn reads(spec: &JobSpec) -> Vec<Used> {
    let at = |by: String, path: &Path, folder| Used { by, path: whole(&spec.origin.folder.join(path)), folder };
    let mut used = Vec::new();
    for source in &spec.sources {
        let name = &source.name;
        match &source.kind {
            SourceKind::File { path } | SourceKind::Follow { path, .. } | SourceKind::Queue { path } => {
                used.push(at(format!("source `{name}` reads that file"), path, false));
            }
            SourceKind::Directory { path, .. } => {
                used.push(at(format!("source `{name}` reads every file in that folder"), path, true));
            }
            SourceKind::Retry { path, .. } => {
                used.push(at("`millstream retry` gives rows back there".into(), path, true));
            }
            // The stage's own file.
            SourceKind::Table(_) => {}
            SourceKind::Socket { .. } | SourceKind::RawSocket { .. } | SourceKind::Rate { .. } => {}
        }
    }
    if let Some(checkpoint) = spec.checkpoint.as_ref().filter(|checkpoint| !checkpoint.dir.contains("://")) {
        used.push(at("the job keeps its checkpoints there".into(), Path::new(&checkpoint.dir), true));
    }
    for stage in &spec.stages {
        let table = match &stage.operator {
            OperatorSpec::Enrich(EnrichSpec { table: EnrichTable::File { path, .. }, .. }) => Some(path),
            _ => None,
        };
        let by = || format!("stage `{}` reads that file", stage.name);
        used.extend(table.map(|path| at(by(), path, false)));
        for plugin in stage.plugins() {
            for path in plugin.update.initial.iter().chain(plugin.grant.files.values()) {
                used.push(at(by(), path, false));
            }
        }
    }
    used
}

/// A path in one spelling, links followed, also of a file or folder that is still to be made.
fn whole(path: &Path) -> PathBuf {
    let parts = path.ancestors().find_map(|there| Some((there.canonicalize().ok()?, path.strip_prefix(there).ok()?)));
    match parts {
        Some((there, rest)) if rest.as_os_str().is_empty() => there,
        Some((there, rest)) => there.join(rest),
        None => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    }
}
