//! `millstream retry`: retries rejected rows in the stage that rejected them.

mod files;
mod rows;
mod dir;

use super::run::arguments::parse_set;
use clap::Args;
use dir::RetryDir;
use files::RetryUnit;
use millstream_base::error::{Error, Result};
use millstream_base::retry::StartupRetry;
use millstream_base::suggest;
use millstream_connectors::kinds;
use millstream_engine::graph::Graph;
use millstream_job::retry_source;
use millstream_job::spec::{JobSpec, OnError, OperatorSpec};
use millstream_plugins::plugin::PluginHost;
use rows::RetryStage;
use std::fmt::Write as _;
use std::path::PathBuf;

/// The arguments of `millstream retry`.
#[derive(Args)]
#[command(after_long_help = "\
FILES are what a sink wrote of `<stage>.rejected`: a sink of kind `files` with
format json, csv or parquet (single files or the directory), or of kind `queue`.
These formats keep every value of the six column types: csv distinguishes a null
(an empty cell) from an empty string (\"\"), unless another program rewrites the
file. Columns of other types cannot be retried.

Rows of a file that was retried before are skipped; add --again to retry them
again. A file is identified by its content, so an edited file, or one combined
from others, counts as another file.

The job may be running or stopped. The rows are written to
`<job>.retry/<stage>/` next to the job file. The job reads each file there exactly
once, even if it is killed and restarted. You may delete a file when
`millstream inspect` shows that it is read to the end. A job that starts from
scratch (`run --fresh`) reads the existing files again.

Retried rows enter the stage like any others, but do not advance the event time,
as they did that the first time. Rows that are too old by now are late.")]
pub struct RetryArguments {
    /// Path of the job file
    job: PathBuf,
    /// Stage that rejected the rows
    stage: String,
    /// Files or directories of rejected rows, as a sink wrote them
    ///
    /// Default: what sinks of the job have kept of this stage.
    files: Vec<PathBuf>,
    /// Also retry rows that were retried before
    #[arg(long)]
    again: bool,
    /// Check the rows and show what would be retried
    #[arg(long)]
    dry_run: bool,
    /// Replace or add a value of the job file
    ///
    /// For example `checkpoint.dir=elsewhere`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_set)]
    sets: Vec<(String, String)>,
}

/// The outcome for one file.
struct RetriedFile {
    path: String,
    rows: usize,
    /// They were retried before, and are skipped.
    is_repeated: bool,
}

/// Retries rows. Returns the output. Nothing is written unless all rows of all files are valid.
pub fn retry(arguments: &RetryArguments) -> Result<String> {
    let spec = millstream_job::load(&arguments.job, kinds::all(), &arguments.sets)?;
    check(&spec, &arguments.stage)?;
    let graph = Graph::resolve(spec, kinds::all(), &PluginHost::new()?, false, StartupRetry::No)?;
    let target = RetryStage::find(&graph, &arguments.stage)?;
    let dirs = target.inputs.iter().map(|input| RetryDir::new(&graph, &input.source)).collect::<Result<Vec<_>>>()?;
    let units = match arguments.files.as_slice() {
        [] => files::read(&kept_files(&graph.spec, &arguments.stage)?)?,
        files => files::read(files)?,
    };
    let mut given = Vec::new();
    for unit in &units {
        for (index, rows) in target.rows(unit)?.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            given.push((unit, index, rows));
        }
    }
    let mut done: Vec<RetriedFile> = Vec::new();
    for (RetryUnit { position: path, digest, nth, .. }, input, rows) in given {
        let Some(dir) = dirs.get(input) else { continue };
        let taken = dir.write_rows(*digest, *nth, &rows, arguments.again, arguments.dry_run)?;
        match done.iter_mut().find(|done| done.path == *path && done.is_repeated != taken) {
            Some(done) => done.rows += rows.len(),
            None => done.push(RetriedFile { path: path.clone(), rows: rows.len(), is_repeated: !taken }),
        }
    }
    Ok(describe(&arguments.stage, &target.dir.display().to_string(), &done, arguments.dry_run))
}

/// Returns the files in which sinks of the job have stored the rows that this stage rejected.
fn kept_files(spec: &JobSpec, stage: &str) -> Result<Vec<PathBuf>> {
    let kept = retry_source::sinks_of_rejected(spec, stage);
    if kept.is_empty() {
        return Err(Error::job(format!(
            "no sink of the job `{}` writes only `{stage}.rejected` to files on this machine; name the files or \
             directories with the rows",
            spec.name
        )));
    }
    if let [(first, _), (second, _), ..] = kept.as_slice() {
        return Err(Error::job(format!(
            "the sinks `{}` and `{}` both store the rejected rows of stage `{stage}`, but each row must be retried \
             once; name the file or directory of one of them",
            first.name, second.name
        )));
    }
    let paths = kept.into_iter().map(|(_, path)| spec.origin.dir.join(path));
    // A sink without rows has no file yet.
    Ok(paths.filter(|path| path.exists()).collect())
}

/// Checks that rows can be retried in this stage of the job. The error says why not, and what to write.
fn check(spec: &JobSpec, name: &str) -> Result<()> {
    let Some(stage) = spec.stages.iter().find(|stage| stage.name == name) else {
        let names: Vec<&str> = spec.stages.iter().map(|stage| stage.name.as_str()).collect();
        let hint = suggest::hint(name, names, "there are");
        return Err(Error::job(format!("the job `{}` has no stage `{name}`{hint}", spec.name)));
    };
    let location = spec.origin.at(&format!("stages.{name}"));
    let (OperatorSpec::Plugin(plugin) | OperatorSpec::Cogroup { plugin, .. }) = &stage.operator else {
        return Err(Error::job(format!(
            "{location}stage `{name}` has no plugin; only stages with a plugin and on_error = \"reject\" can retry rows"
        )));
    };
    if plugin.on_error != OnError::Reject {
        return Err(Error::job(format!("{location}stage `{name}` cannot retry rows; set on_error = \"reject\" in it")));
    }
    if spec.checkpoint.is_none() {
        return Err(Error::job(format!(
            "{}the job `{}` keeps no checkpoint, so it would read retried rows again at every startup; add a table \
             [checkpoint] with `dir`",
            spec.origin.at("checkpoint"),
            spec.name
        )));
    }
    Ok(())
}

/// Describes what was done.
fn describe(stage: &str, dir: &str, done: &[RetriedFile], dry_run: bool) -> String {
    let of = |is_repeated: bool| done.iter().filter(move |done| done.is_repeated == is_repeated);
    let rows = of(false).map(|done| done.rows).sum::<usize>();
    let mut text = String::new();
    for RetriedFile { path, rows, .. } in of(true) {
        let _ = writeln!(text, "{path}: {} already retried, skipped; add --again to retry anyway", count(*rows));
    }
    for RetriedFile { path, rows, .. } in of(false) {
        let _ = writeln!(text, "{path}: {}", count(*rows));
    }
    let _ = match (rows, dry_run) {
        (0, _) => writeln!(text, "nothing to retry in stage `{stage}`"),
        (rows, true) => writeln!(text, "{} would be queued for stage `{stage}`, in {dir}", count(rows)),
        (rows, false) => writeln!(
            text,
            "{} queued for stage `{stage}`, in {dir}; the job reads them in its next batch if it is running, else when it \
             starts",
            count(rows)
        ),
    };
    text
}

fn count(rows: usize) -> String {
    let plural = if rows == 1 { "" } else { "s" };
    format!("{rows} row{plural}")
}
