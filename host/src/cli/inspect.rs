//! `millstream inspect`: describes a plugin, a checkpoint or a job. Changes nothing.

mod facts;
pub(super) mod text;

use super::output::warn_of;
use super::state::manifest_of;
use crate::author::{self, stale};
use clap::Args;
use facts::DirFacts;
use millstream_base::error::{Error, Result};
use millstream_base::retry::StartupRetry;
use millstream_base::shown::harmless;
use millstream_connectors::kinds;
use millstream_engine::checkpoint::{manifest, store};
use millstream_engine::graph::Graph;
use millstream_job::spec::CHECKPOINT_SCHEMES;
use millstream_plugins::plugin::PluginHost;
use std::path::{Path, PathBuf};

/// The arguments of `millstream inspect`.
#[derive(Args)]
pub struct InspectArguments {
    /// Component file, plugin directory, checkpoint or job file
    ///
    /// A checkpoint is a directory, s3://bucket/prefix, or hdfs://namenode:8020/dir.
    what: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print only the README of a plugin
    #[arg(long, conflicts_with = "json")]
    readme: bool,
}

/// The kind of the inspected path.
#[derive(Debug, PartialEq, Eq)]
enum InspectedKind {
    Plugin,
    Checkpoint,
    Job,
}

/// Returns the output of the command.
pub fn inspect(arguments: &InspectArguments) -> Result<String> {
    let path = &arguments.what;
    if arguments.readme {
        return author::inspect::readme(path);
    }
    let kind = detect_kind(path)?;
    if kind == InspectedKind::Plugin {
        warn_of(stale::stale(path));
    }
    match (kind, arguments.json) {
        (InspectedKind::Plugin, false) => author::inspect::plugin(path),
        (InspectedKind::Plugin, true) => as_json(&author::inspect::as_json(path)?),
        (InspectedKind::Checkpoint, json) => checkpoint(path, json),
        (InspectedKind::Job, json) => job(path, json),
    }
}

/// Detects the kind by the path and the content of a directory.
fn detect_kind(path: &Path) -> Result<InspectedKind> {
    if is_url(path) || path.join(manifest::PATH).exists() {
        return Ok(InspectedKind::Checkpoint);
    }
    if ["plans", "state", "blobs"].iter().all(|dir| path.join(dir).is_dir()) {
        return Err(Error::environment(format!(
            "{0} has the directories of a checkpoint but no {1}; restore a copy of {1}",
            path.display(),
            manifest::PATH
        )));
    }
    let job = path.extension().is_some_and(|extension| extension == "toml") && !path.is_dir();
    Ok(if job { InspectedKind::Job } else { InspectedKind::Plugin })
}

fn is_url(path: &Path) -> bool {
    path.to_str().is_some_and(|path| CHECKPOINT_SCHEMES.iter().any(|scheme| path.starts_with(scheme)))
}

fn checkpoint(path: &Path, json: bool) -> Result<String> {
    let dir = path.to_str().ok_or_else(|| Error::job(format!("{} is not UTF-8 text", path.display())))?;
    let store = store::open(dir, Path::new(""))?;
    let dir = (!is_url(path)).then_some(path);
    let facts = DirFacts::read(&*store, &manifest_of(&*store)?, dir)?;
    if json { as_json(&facts) } else { Ok(text::render(&facts)) }
}

/// Returns the job as `validate` shows it, and its checkpoint if there is one.
fn job(path: &Path, json: bool) -> Result<String> {
    let spec = millstream_job::load(path, kinds::all(), &[])?;
    warn_of(stale::of_job(&spec));
    let graph = Graph::resolve(spec, kinds::all(), &PluginHost::new()?, false, StartupRetry::No)?;
    let mut facts = None;
    if let Some(checkpoint) = &graph.spec.checkpoint {
        let store = store::open(&checkpoint.dir, &graph.spec.origin.dir)?;
        let dir = graph.spec.origin.dir.join(&checkpoint.dir);
        let dir = (!is_url(Path::new(&checkpoint.dir))).then_some(&*dir);
        let manifest = manifest::read(&*store)?;
        facts = manifest.map(|(manifest, _)| DirFacts::read(&*store, &manifest, dir)).transpose()?;
    }
    if json {
        let streams = graph.streams.iter();
        let streams = streams.map(|(name, schema)| (name, millstream_rows::batch::types::describe(schema)));
        let streams: std::collections::BTreeMap<_, _> = streams.collect();
        return as_json(&serde_json::json!({ "job": graph.spec.name, "streams": streams, "checkpoint": facts }));
    }
    let state_text = match (&facts, &graph.spec.checkpoint) {
        (Some(facts), _) => text::render(facts),
        (None, Some(checkpoint)) => {
            format!("no checkpoint in {} yet\n", harmless(&checkpoint.dir, usize::MAX))
        }
        (None, None) => "the job keeps no checkpoint\n".into(),
    };
    Ok(format!("{}\n{state_text}", graph.summary()))
}

fn as_json(facts: &impl serde::Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(facts).map_err(Error::bug)? + "\n")
}

#[cfg(test)]
mod tests;
