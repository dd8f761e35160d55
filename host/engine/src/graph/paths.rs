//! Checks whether a job would overwrite what it reads, or two sinks would overwrite each other.

use crate::checkpoint::manifest;
use millstream_base::error::{Error, Result};
use millstream_connect::receiver;
use millstream_job::spec::{
    EnrichSpec, EnrichTable, InputPath, JobSpec, OperatorSpec, SinkSpec, SourceSpec, WrittenPath, bucket_url,
};
use std::path::{Path, PathBuf};

/// A path that the job reads or writes.
struct UsedPath<'a> {
    /// Describes the use, for example "source `lines` reads it".
    usage: String,
    path: PathBuf,
    /// A directory of which every file counts.
    dir: bool,
    /// The source that reads some of its files.
    source: Option<&'a SourceSpec>,
}

/// Checks the paths of all sinks against each other and against everything that the job reads.
pub fn check(spec: &JobSpec) -> Result<()> {
    let mut used = read_paths(spec);
    check_retry(spec, &used)?;
    check_checkpoints(spec, &used)?;
    for sink in &spec.sinks {
        let Some(WrittenPath { path, part }) = sink.kind.path() else { continue };
        if let Some(url) = bucket_url(path) {
            check_bucket(spec, sink, url)?;
            continue;
        }
        let full = canonical(&spec.origin.dir.join(path));
        // Devices and pipes may have several writers.
        if full.exists() && !full.is_file() && !full.is_dir() {
            continue;
        }
        let dir = part.is_some();
        let written = part.map_or_else(|| full.clone(), |part| full.join(part));
        let clash = used.iter().find(|other| match (other.source, other.dir, dir) {
            (Some(source), ..) => receiver::reads(source, &other.path, &written) || (dir && full == other.path),
            (None, true, false) => full.parent() == Some(&other.path),
            _ => full == other.path,
        });
        if let Some(other) = clash {
            return Err(Error::job(format!(
                "{}sink `{}` writes to {}, and {}; choose another path",
                spec.origin.at(&format!("sinks.{}.path", sink.name)),
                sink.name,
                path.display(),
                other.usage,
            )));
        }
        used.push(UsedPath {
            usage: format!("sink `{}` writes there as well", sink.name),
            path: full,
            dir,
            source: None,
        });
    }
    Ok(())
}

/// Does the same for a sink that writes below a prefix of a bucket, where paths are compared as written.
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
            "{}sink `{}` writes to {url}, and {clash}; choose prefixes that do not contain each other",
            spec.origin.at(&format!("sinks.{}.path", sink.name)),
            sink.name,
        )))
    })
}

/// Checks that no source reads the job's own checkpoints.
fn check_checkpoints(spec: &JobSpec, used: &[UsedPath<'_>]) -> Result<()> {
    let Some(checkpoint) = &spec.checkpoint else { return Ok(()) };
    if checkpoint.dir.contains("://") {
        return check_checkpoints_in_bucket(spec, &checkpoint.dir);
    }
    let written = canonical(&spec.origin.dir.join(&checkpoint.dir)).join(manifest::PATH);
    let clash =
        used.iter().find(|other| other.source.is_some_and(|source| receiver::reads(source, &other.path, &written)));
    clash.map_or(Ok(()), |other| {
        Err(Error::job(format!(
            "{}the job keeps its checkpoints in {}, and {}; choose another directory, or a pattern that excludes them",
            spec.origin.at("checkpoint.dir"),
            checkpoint.dir,
            other.usage,
        )))
    })
}

/// Does the same in a bucket, where paths are compared as written.
fn check_checkpoints_in_bucket(spec: &JobSpec, dir: &str) -> Result<()> {
    let written = Path::new(dir).join(manifest::PATH);
    for source in &spec.sources {
        let Some(url) = source.kind.bucket() else { continue };
        if receiver::reads(source, Path::new(url), &written) {
            return Err(Error::job(format!(
                "{}the job keeps its checkpoints in {dir}, and source `{}` reads there; choose another prefix, or a \
                 pattern that excludes them",
                spec.origin.at("checkpoint.dir"),
                source.name,
            )));
        }
    }
    Ok(())
}

/// Checks that no other source uses a directory of `retry`, and that it is not within the checkpoints.
fn check_retry(spec: &JobSpec, used: &[UsedPath<'_>]) -> Result<()> {
    for source in &spec.sources {
        let Some(path) = source.kind.retry_dir() else { continue };
        let full = canonical(&spec.origin.dir.join(path));
        let mut there = used.iter().filter(|other| other.path == full);
        if let (Some(first), Some(second)) = (there.next(), there.next()) {
            let stage = source.name.split('.').next().unwrap_or_default();
            return Err(Error::job(format!(
                "{}stage `{stage}`: {} is a directory for its rejected rows, but {}, and {}; choose another path \
                there",
                spec.origin.at(&format!("stages.{stage}")),
                path.display(),
                first.usage,
                second.usage,
            )));
        }
    }
    Ok(())
}

/// Returns the files and directories that a job reads, and its checkpoint directory.
fn read_paths(spec: &JobSpec) -> Vec<UsedPath<'_>> {
    let at = |usage: String, path: &Path, dir| UsedPath {
        usage,
        path: canonical(&spec.origin.dir.join(path)),
        dir,
        source: None,
    };
    let mut used = Vec::new();
    for source in &spec.sources {
        let name = &source.name;
        if let Some(path) = source.kind.retry_dir() {
            used.push(at("`millstream retry` writes rows there".into(), path, true));
            continue;
        }
        match source.kind.input() {
            Some(InputPath::File(path) | InputPath::Log(path)) => {
                used.push(at(format!("source `{name}` reads that file"), path, false));
            }
            Some(InputPath::Dir { path, all }) => {
                let by = match all {
                    true => format!("source `{name}` reads every file in that directory"),
                    false => format!("source `{name}` would read the files written there"),
                };
                used.push(UsedPath { source: Some(source), ..at(by, path, true) });
            }
            Some(InputPath::Bucket(_)) | None => {}
        }
    }
    if let Some(checkpoint) = spec.checkpoint.as_ref().filter(|checkpoint| !checkpoint.dir.contains("://")) {
        used.push(at("the job keeps its checkpoints there".into(), Path::new(&checkpoint.dir), true));
    }
    for source in &spec.sources {
        let usage = || format!("source `{}` reads that file", source.name);
        used.extend(
            source
                .plugin()
                .into_iter()
                .flat_map(|plugin| plugin.grant.files.values())
                .map(|path| at(usage(), path, false)),
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
        let usage = || format!("stage `{}` reads that file", stage.name);
        used.extend(table.map(|path| at(usage(), path, false)));
        for plugin in stage.plugins() {
            for path in plugin.update.initial.iter().chain(plugin.grant.files.values()) {
                used.push(at(usage(), path, false));
            }
        }
    }
    used
}

/// Returns a canonical path, with links resolved, even if the file or directory does not exist yet.
fn canonical(path: &Path) -> PathBuf {
    let parts = path.ancestors().find_map(|there| Some((there.canonicalize().ok()?, path.strip_prefix(there).ok()?)));
    match parts {
        Some((there, rest)) if rest.as_os_str().is_empty() => there,
        Some((there, rest)) => there.join(rest),
        None => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    }
}
