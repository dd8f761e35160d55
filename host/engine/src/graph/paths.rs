//! Whether a job would write over what it reads, or two sinks over each other.

use crate::checkpoint::manifest;
use millstream_base::error::{Error, Result};
use millstream_base::job::spec::{
    EnrichSpec, EnrichTable, JobSpec, OperatorSpec, SinkSpec, SourceSpec, WrittenPath, bucket_url,
};
use millstream_connectors::receiver;
use std::path::{Path, PathBuf};

/// A path of the job that is read or written.
struct UsedPath<'a> {
    /// What uses it, as "source `lines` reads it".
    by: String,
    path: PathBuf,
    /// A folder of which every file counts.
    folder: bool,
    /// Of which this source reads some.
    source: Option<&'a SourceSpec>,
}

/// Checks the paths of all sinks against each other and against whatever the job reads.
pub fn check(spec: &JobSpec) -> Result<()> {
    let mut used = reads(spec);
    check_retry(spec, &used)?;
    check_checkpoints(spec, &used)?;
    for sink in &spec.sinks {
        let Some(WrittenPath { path, part }) = sink.kind.path() else { continue };
        if let Some(url) = bucket_url(path) {
            check_bucket(spec, sink, url)?;
            continue;
        }
        let full = whole(&spec.origin.folder.join(path));
        // Devices and pipes take what anyone writes.
        if full.exists() && !full.is_file() && !full.is_dir() {
            continue;
        }
        let folder = part.is_some();
        let written = part.map_or_else(|| full.clone(), |part| full.join(part));
        let clash = used.iter().find(|other| match (other.source, other.folder, folder) {
            (Some(source), ..) => receiver::reads(source, &other.path, &written) || (folder && full == other.path),
            (None, true, false) => full.parent() == Some(&other.path),
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
        used.push(UsedPath {
            by: format!("sink `{}` writes there as well", sink.name),
            path: full,
            folder,
            source: None,
        });
    }
    Ok(())
}

/// The same for a sink that writes below a prefix of a bucket, where paths are as they are written.
fn check_bucket(spec: &JobSpec, sink: &SinkSpec, url: &str) -> Result<()> {
    let within = |below: &str, above: &str| {
        let (below, above) = (below.trim_end_matches('/'), above.trim_end_matches('/'));
        below.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let overlaps = |other: &str| within(url, other) || within(other, url);
    let mut clash = None;
    for source in &spec.sources {
        if let Some(other) = source.kind.bucket()
            && overlaps(other)
        {
            clash = Some(format!("source `{}` reads there", source.name));
        }
    }
    if spec.checkpoint.as_ref().is_some_and(|checkpoint| overlaps(&checkpoint.dir)) {
        clash = Some("the job keeps its checkpoints there".into());
    }
    for other in spec.sinks.iter().take_while(|other| other.name != sink.name) {
        if other.kind.path().is_some_and(|other| bucket_url(other.path).is_some_and(overlaps)) {
            clash = Some(format!("sink `{}` writes there as well", other.name));
        }
    }
    clash.map_or(Ok(()), |clash| {
        Err(Error::job(format!(
            "{}sink `{}` writes to {url}, and {clash}; choose another prefix, of which none is within the other",
            spec.origin.at(&format!("sinks.{}.path", sink.name)),
            sink.name,
        )))
    })
}

/// Whether a source would read the job's own checkpoints.
fn check_checkpoints(spec: &JobSpec, used: &[UsedPath<'_>]) -> Result<()> {
    let Some(checkpoint) = &spec.checkpoint else { return Ok(()) };
    if checkpoint.dir.contains("://") {
        return check_checkpoints_in_bucket(spec, &checkpoint.dir);
    }
    let written = whole(&spec.origin.folder.join(&checkpoint.dir)).join(manifest::PATH);
    let clash =
        used.iter().find(|other| other.source.is_some_and(|source| receiver::reads(source, &other.path, &written)));
    clash.map_or(Ok(()), |other| {
        Err(Error::job(format!(
            "{}the job keeps its checkpoints in {}, and {}; choose another folder, or a pattern that leaves them out",
            spec.origin.at("checkpoint.dir"),
            checkpoint.dir,
            other.by,
        )))
    })
}

/// The same in a bucket, where paths are as they are written.
fn check_checkpoints_in_bucket(spec: &JobSpec, dir: &str) -> Result<()> {
    let written = Path::new(dir).join(manifest::PATH);
    for source in &spec.sources {
        let Some(url) = source.kind.bucket() else { continue };
        if receiver::reads(source, Path::new(url), &written) {
            return Err(Error::job(format!(
                "{}the job keeps its checkpoints in {dir}, and source `{}` reads there; choose another prefix, or a pattern that \
                 leaves them out",
                spec.origin.at("checkpoint.dir"),
                source.name,
            )));
        }
    }
    Ok(())
}

/// Whether another source, or the checkpoints, take a folder in which rows are given back.
fn check_retry(spec: &JobSpec, used: &[UsedPath<'_>]) -> Result<()> {
    for source in &spec.sources {
        let Some(path) = source.kind.retry_folder() else { continue };
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
fn reads(spec: &JobSpec) -> Vec<UsedPath<'_>> {
    let at = |by: String, path: &Path, folder| UsedPath {
        by,
        path: whole(&spec.origin.folder.join(path)),
        folder,
        source: None,
    };
    let mut used = Vec::new();
    for source in &spec.sources {
        let name = &source.name;
        if let Some(path) = source.kind.retry_folder() {
            used.push(at("`millstream retry` writes rows there".into(), path, true));
        } else if let Some(path) = source.kind.file() {
            used.push(at(format!("source `{name}` reads that file"), path, false));
        } else if let Some(path) = source.kind.folder() {
            let by = match source.files.pattern.is_none() {
                true => format!("source `{name}` reads every file in that folder"),
                false => format!("source `{name}` would read what is written there"),
            };
            used.push(UsedPath { source: Some(source), ..at(by, path, true) });
        }
    }
    if let Some(checkpoint) = spec.checkpoint.as_ref().filter(|checkpoint| !checkpoint.dir.contains("://")) {
        used.push(at("the job keeps its checkpoints there".into(), Path::new(&checkpoint.dir), true));
    }
    for source in &spec.sources {
        let by = || format!("source `{}` reads that file", source.name);
        used.extend(
            source
                .plugin()
                .into_iter()
                .flat_map(|plugin| plugin.grant.files.values())
                .map(|path| at(by(), path, false)),
        );
    }
    for sink in &spec.sinks {
        let files = sink.plugin().into_iter().flat_map(|plugin| plugin.grant.files.values());
        used.extend(files.map(|path| at(format!("sink `{}` reads that file", sink.name), path, false)));
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
