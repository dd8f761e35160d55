//! `millstream test`: runs the cases of a plugin directory and compares the output with the expected one.
//!
//! A case is a directory `cases/<case>/`:
//!
//! - `case.toml`: `version = 2`, the version of this format ([`CASE_VERSION`]); `schema` (the columns of the input, as of a
//!   source) and the keys of the stage except `plugin` and `from`: `config`, `key`, `on`, `emit`, `timeout`, `initial`,
//!   `grant`, `limits`, `on_error`, `max_rejected`, `window`, `time`, `lateness`; and the job's `batch` (default `"1s"`)
//!   and `at_end`. Paths are relative to the case's directory. With `on_error = "reject"` the expected rows are those
//!   that are not rejected.
//! - `input.jsonl`: one line per batch, each a JSON array of rows.
//!
//!   In world `cogroup` the case has several inputs: `inputs = [{ name = "orders", schema = {…} }, …]` instead of `schema`,
//!   and their rows in `orders.jsonl` and so on.
//! - `expected.jsonl`: one line per batch, `{"batch":1,"rows":[{…}]}`, with `"time"` if it matters. `batch` may be
//!   omitted if it is the number of the line, and batches without rows may be omitted. Alternatively
//!   `expected-error.txt`: text that the job's error must contain.
//! - `expected-rejected.jsonl`, if rejected rows matter: the same for them, in any order. Their columns are those of the
//!   row and `reason` (with several inputs `input`, `row` and `reason`). Columns that no line names are not compared.
//!
//! A case runs as a job of one stage between a `queue` source and a `queue` sink, in virtual time, with one worker and
//! again with two. Rows must have the expected order, except for stages with a key, whose order is not fixed.
//!
//! Cases of sources and sinks differ: see `connector`.

mod accept;
mod compare;
mod connector;
mod peer;
mod questions;

use compare::{BatchLine, read_text};
use millstream_base::error::{Error, Result};
use millstream_base::progress;
use millstream_connectors::kinds;
pub use questions::{DescribeQuestion, questions};
use serde::Deserialize;
use std::fmt::{self, Display};
use std::fs;
use std::path::{Path, PathBuf};

/// The numbers of workers with which every case runs.
const WORKERS: [usize; 2] = [1, 2];

/// The version of the format of cases, used by new projects. A case without a version has version 1. In that version,
/// event time did not end with the input, so timers and windows after the last batch emitted nothing.
pub const CASE_VERSION: u64 = 2;

/// The file for output rows.
const OUTPUT: &str = "output.jsonl";
/// The file for rejected rows.
const REJECTED: &str = "rejected.jsonl";

/// The results of the cases of a plugin directory.
#[derive(Clone, Debug)]
pub struct CasesReport {
    /// Every case, by name.
    pub cases: Vec<CaseReport>,
}

/// The result of one case.
#[derive(Clone, Debug)]
pub struct CaseReport {
    /// The name of its directory.
    pub name: String,
    /// The differences, as lines for people, or `None` if there are none.
    pub difference: Option<String>,
    /// The files that were updated because the output was accepted.
    pub accepted: Vec<PathBuf>,
}

impl CasesReport {
    /// Returns whether every case has the expected output.
    pub fn passed(&self) -> bool {
        self.failed() == 0
    }

    fn failed(&self) -> usize {
        self.cases.iter().filter(|case| case.difference.is_some()).count()
    }
}

impl Display for CasesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            match &case.difference {
                None => {
                    writeln!(f, "ok    {}", case.name)?;
                    for file in &case.accepted {
                        writeln!(f, "      wrote {}", file.display())?;
                    }
                }
                Some(difference) => {
                    writeln!(f, "FAIL  {}", case.name)?;
                    for line in difference.lines() {
                        writeln!(f, "      {line}")?;
                    }
                }
            }
        }
        let plural = if self.cases.len() == 1 { "" } else { "s" };
        writeln!(f, "{} case{plural}, {} failed", self.cases.len(), self.failed())
    }
}

/// Runs the cases of a plugin directory, which must be built. An error means that the cases themselves are invalid. The
/// report contains the differences. `accepts`: the output with one worker becomes the expected output of a case that
/// differs, and is written to its files.
pub fn run(dir: &Path, accepts: bool) -> Result<CasesReport> {
    if let Some(world) = connector::world(dir)? {
        return connector::run(dir, world, accepts);
    }
    run_with(dir, accepts, &|job| {
        let of = (job.file.as_path(), job.of.as_str());
        let spec =
            millstream_job::of_plugin_case(&job.text, kinds::all(), of, &job.dir, |path| job.paths_in_job(path))?;
        let options = millstream_engine::running::Options { workers: Some(job.workers), ..Default::default() };
        let mut job = millstream_runtime::Job::new(spec, options);
        job.start()?;
        job.await_termination(None)?;
        Ok(())
    })
}

/// A case as a job that runs it.
struct CaseJob {
    /// The job file's text.
    text: String,
    /// `case.toml` and its content, for the positions of errors.
    file: PathBuf,
    of: String,
    /// The names of the sources.
    inputs: Vec<String>,
    /// The path in the job of the plugin's keys in the case.
    section: String,
    /// The directory to which its paths are relative.
    dir: PathBuf,
    workers: usize,
}

impl CaseJob {
    /// Returns the paths in the job that correspond to a path in `case.toml`.
    fn paths_in_job(&self, path: &str) -> Vec<String> {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let of_sources = |below: &str| self.inputs.iter().map(|name| format!("sources.{name}{below}")).collect();
        match (first, rest) {
            ("batch" | "at_end", _) => vec![path.to_owned()],
            ("schema", "") => of_sources(".schema"),
            ("schema", column) => of_sources(&format!(".schema.{column}")),
            ("inputs", "") => of_sources(""),
            ("inputs", _) => Vec::new(),
            _ => vec![format!("{}.{path}", self.section)],
        }
    }
}

type Runner<'a> = dyn Fn(&CaseJob) -> Result<()> + 'a;

fn run_with(dir: &Path, accepts: bool, runner: &Runner) -> Result<CasesReport> {
    let plugin = plugin_dir(dir)?;
    all(dir, accepts, &|case, accepted| TestCase::read(case)?.differs(&plugin, accepted, runner))
}

fn plugin_dir(dir: &Path) -> Result<PathBuf> {
    fs::canonicalize(dir).map_err(|cause| Error::job(format!("no plugin directory {}: {cause}", dir.display())))
}

/// Compares the output with a case in this directory. If the output is to be accepted, adds the files that were
/// written.
type FindDifference<'a> = dyn Fn(&Path, Option<&mut Vec<PathBuf>>) -> Result<Option<String>> + 'a;

/// Runs each case of a plugin directory.
fn all(dir: &Path, accepts: bool, differs: &FindDifference) -> Result<CasesReport> {
    let mut cases = Vec::new();
    let dirs = case_dirs(dir)?;
    let shown = progress::of_steps("cases", dirs.len() as u64);
    for case in dirs {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        shown.say(&format!("cases, now {name}"));
        let mut accepted = Vec::new();
        let mut difference = differs(&case, accepts.then_some(&mut accepted))?;
        if !accepted.is_empty() {
            // The output must be the same in every run, with every number of workers.
            difference = differs(&case, None)?;
        }
        cases.push(CaseReport { name, difference, accepted });
        shown.at(cases.len() as u64);
    }
    Ok(CasesReport { cases })
}

/// Returns the directories under `cases`, by name.
fn case_dirs(dir: &Path) -> Result<Vec<PathBuf>> {
    let cases = dir.join("cases");
    let none = |why: String| {
        Error::job(format!(
            "no cases in {}{why}; a case is a directory there with case.toml, input.jsonl and expected.jsonl",
            cases.display()
        ))
    };
    let entries = fs::read_dir(&cases).map_err(|cause| none(format!(": {cause}")))?;
    let mut dirs = Vec::new();
    for entry in entries {
        let path = entry.map_err(|cause| none(format!(": {cause}")))?.path();
        if path.is_dir() {
            dirs.push(path);
        }
    }
    dirs.sort();
    if dirs.is_empty() { Err(none(String::new())) } else { Ok(dirs) }
}

/// `case.toml`. The keys of the stage are copied to the job unchanged, and checked there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    version: Option<u64>,
    at_end: Option<toml::Value>,
    schema: Option<toml::Value>,
    #[serde(default)]
    inputs: Vec<CaseInput>,
    batch: Option<toml::Value>,
    key: Option<toml::Value>,
    config: Option<toml::Value>,
    on: Option<toml::Value>,
    emit: Option<toml::Value>,
    timeout: Option<toml::Value>,
    initial: Option<toml::Value>,
    grant: Option<toml::Value>,
    limits: Option<toml::Value>,
    on_error: Option<toml::Value>,
    max_rejected: Option<toml::Value>,
    window: Option<toml::Value>,
    time: Option<toml::Value>,
    lateness: Option<toml::Value>,
}

/// An input of a case.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseInput {
    name: String,
    schema: toml::Value,
}

impl CaseInput {
    /// Returns the file with its rows, in the case's directory.
    fn file(&self) -> String {
        format!("{}.jsonl", self.name)
    }
}

impl CaseFile {
    /// Returns the inputs: one, or several that the stage reads in parallel.
    fn inputs(&self) -> Result<Vec<CaseInput>, &'static str> {
        match (&self.schema, self.inputs.as_slice()) {
            (Some(schema), []) => Ok(vec![CaseInput { name: "input".into(), schema: schema.clone() }]),
            (None, [_, _, ..]) => Ok(self.inputs.clone()),
            (None, [_]) => Err("`inputs` names one input only; write its `schema` instead"),
            (None, []) => Err("the input's columns are missing; write schema = { value = \"text\" }"),
            (Some(_), _) => Err("it has both `schema` and `inputs`; remove one of them"),
        }
    }
}

/// What a case expects.
enum ExpectedOutcome<T = Vec<BatchLine>> {
    Rows(T),
    Error(String),
    /// The case does not define it yet.
    Unknown,
}

impl<T> ExpectedOutcome<T> {
    /// Returns these rows, from the file with this name, or the error in the case's directory.
    fn read(dir: &Path, name: &str, rows: Option<T>) -> Result<ExpectedOutcome<T>> {
        let error = dir.join("expected-error.txt");
        Ok(match (rows, error.exists()) {
            (Some(rows), false) => ExpectedOutcome::Rows(rows),
            (None, true) => ExpectedOutcome::Error(read_text(&error)?.trim().to_string()),
            (None, false) => ExpectedOutcome::Unknown,
            (Some(_), true) => {
                let dir = dir.display();
                let message = format!("{dir} has both {name} and expected-error.txt; remove one of them");
                return Err(Error::job(message));
            }
        })
    }

    /// Compares the error of a run with the expected one. Returns the difference, or the rows to compare, or `None` if
    /// the case does not define them.
    fn check_error(&self, error: Option<&Error>) -> Result<Option<&T>, Option<String>> {
        match (self, error) {
            (ExpectedOutcome::Error(part), Some(error)) if error.message.contains(part) => Err(None),
            (ExpectedOutcome::Error(part), Some(error)) => {
                Err(Some(format!("the job failed with another error\nexpected … {part} …\ngot      {error}")))
            }
            (ExpectedOutcome::Error(part), None) => Err(Some(format!("the job did not fail\nexpected … {part} …"))),
            (_, Some(error)) => Err(Some(format!("the job failed: {error}"))),
            (ExpectedOutcome::Rows(rows), None) => Ok(Some(rows)),
            (ExpectedOutcome::Unknown, None) => Ok(None),
        }
    }
}

struct TestCase {
    dir: PathBuf,
    /// The text of `case.toml`.
    text: String,
    file: CaseFile,
    inputs: Vec<CaseInput>,
    expected: ExpectedOutcome,
    /// `None` if rejected rows do not matter.
    rejected: Option<Vec<BatchLine>>,
}

impl TestCase {
    fn read(dir: &Path) -> Result<TestCase> {
        let path = dir.join("case.toml");
        let text = read_text(&path)?;
        let file: CaseFile = toml::from_str(&text)
            .map_err(|cause| Error::job(format!("{}: {}", path.display(), cause.to_string().trim_end())))?;
        check_version(file.version).map_err(|message| Error::job(format!("{}: {message}", path.display())))?;
        let inputs = file.inputs().map_err(|message| Error::job(format!("{}: {message}", path.display())))?;
        if let Some(input) = inputs.iter().map(|input| dir.join(input.file())).find(|input| !input.is_file()) {
            return Err(Error::job(format!(
                "{} is missing; write one line per batch, each a JSON array of rows",
                input.display()
            )));
        }
        let rows = dir.join("expected.jsonl");
        let rows = rows.exists().then(|| compare::read_lines(&rows)).transpose()?;
        let expected = ExpectedOutcome::read(dir, "expected.jsonl", rows)?;
        let rejected = dir.join("expected-rejected.jsonl");
        let rejected = rejected.exists().then(|| compare::read_lines(&rejected)).transpose()?;
        Ok(TestCase { dir: dir.into(), text, file, inputs, expected, rejected })
    }

    /// Runs the case and returns the difference. With `accepted`, adds the files that were written to it, and does not
    /// run again. A case of version 1 may also expect the output of that version.
    fn differs(&self, plugin: &Path, accepted: Option<&mut Vec<PathBuf>>, runner: &Runner) -> Result<Option<String>> {
        let at_end = self.file.at_end.as_ref();
        let may_be_older =
            self.file.version.unwrap_or(1) < CASE_VERSION && at_end.is_none() && self.file.time.is_some();
        if may_be_older {
            let difference = self.differs_at_end(plugin, None, runner, None)?;
            let keep = toml::Value::from("keep");
            if difference.is_some() && self.differs_at_end(plugin, None, runner, Some(&keep))?.is_none() {
                tracing::warn!(
                    "{} was written for a version in which event time did not end with the input, and still runs \
                     that way: write at_end = \"keep\" and version = {CASE_VERSION} into it to keep that",
                    self.dir.join("case.toml").display()
                );
                return Ok(None);
            }
            if accepted.is_none() {
                return Ok(difference);
            }
        }
        self.differs_at_end(plugin, accepted, runner, at_end)
    }

    /// Runs the case with this value as the job's `at_end`.
    fn differs_at_end(
        &self,
        plugin: &Path,
        mut accepted: Option<&mut Vec<PathBuf>>,
        runner: &Runner,
        at_end: Option<&toml::Value>,
    ) -> Result<Option<String>> {
        for workers in WORKERS {
            let out = tempfile::tempdir()
                .map_err(|cause| Error::environment(format!("cannot create a temporary directory: {cause}")))?;
            let text = self.job(plugin, out.path(), at_end)?;
            let inputs = self.inputs.iter().map(|input| input.name.clone()).collect();
            let (file, of) = (self.dir.join("case.toml"), self.text.clone());
            let (section, dir) = ("stages.stage".to_owned(), self.dir.clone());
            let result = runner(&CaseJob { text, file, of, inputs, section, dir, workers });
            if let Some(difference) = self.differs_from(result.clone(), out.path())? {
                // The output with two workers must be the same.
                if let Some(accepted) = accepted.take().filter(|_| workers == WORKERS[0]) {
                    accepted.extend(accept::accept(self, &result, out.path())?);
                    if !accepted.is_empty() {
                        return Ok(None);
                    }
                }
                let plural = if workers == 1 { "" } else { "s" };
                return Ok(Some(format!("with {workers} worker{plural}: {difference}")));
            }
        }
        Ok(None)
    }

    /// Compares the result and the output directory of a run.
    fn differs_from(&self, result: Result<()>, out: &Path) -> Result<Option<String>> {
        let expected = match self.expected.check_error(result.err().as_ref()) {
            Ok(expected) => expected,
            Err(difference) => return Ok(difference),
        };
        let Some(expected) = expected else {
            return Ok(Some(format!(
                "neither expected.jsonl nor expected-error.txt exists. The actual output, for expected.jsonl if it is \
                 correct (`millstream test --accept` writes it):\n{}",
                read_text(&out.join(OUTPUT))?.trim_end()
            )));
        };
        let got = compare::read_lines(&out.join(OUTPUT))?;
        let difference = compare::difference(expected, &got, self.file.key.is_none());
        Ok(match (difference, &self.rejected) {
            (None, Some(rejected)) => {
                let mut got = compare::read_lines(&out.join(REJECTED))?;
                compare::keep_columns_of(rejected, &mut got);
                let difference = compare::difference(rejected, &got, false);
                difference.map(|difference| format!("rejected rows: {difference}"))
            }
            (difference, _) => difference,
        })
    }

    /// Returns the job file of the case, which writes to files in a directory.
    fn job(&self, plugin: &Path, out: &Path, at_end: Option<&toml::Value>) -> Result<String> {
        let text = |value: &str| toml::Value::String(value.into());
        let path = |path: &Path| match path.to_str() {
            Some(path) => Ok(text(path)),
            None => Err(Error::job(format!("the path {} is not UTF-8; move the directory elsewhere", path.display()))),
        };
        let file = &self.file;
        let mut sources = toml::Table::new();
        for input in &self.inputs {
            let source = [("kind", text("queue")), ("path", text(&input.file())), ("schema", input.schema.clone())];
            sources.insert(input.name.clone(), table(source).into());
        }
        let mut names = self.inputs.iter().map(|input| text(&input.name));
        let from = names.next().unwrap_or_else(|| text("input"));
        let mut stage = table([("from", from), ("plugin", path(plugin)?)]);
        let others: Vec<toml::Value> = names.collect();
        if !others.is_empty() {
            stage.insert("cogroup".into(), others.into());
        }
        for (key, value) in [
            ("key", &file.key),
            ("config", &file.config),
            ("on", &file.on),
            ("emit", &file.emit),
            ("timeout", &file.timeout),
            ("initial", &file.initial),
            ("grant", &file.grant),
            ("limits", &file.limits),
            ("on_error", &file.on_error),
            ("max_rejected", &file.max_rejected),
            ("window", &file.window),
            ("time", &file.time),
            ("lateness", &file.lateness),
        ] {
            if let Some(value) = value {
                stage.insert(key.into(), value.clone());
            }
        }
        let mut sinks = toml::Table::new();
        let rejected = self.rejected.as_ref().map(|_| ("refused", "stage.rejected", REJECTED));
        for (name, from, file) in [("output", "stage", OUTPUT)].into_iter().chain(rejected) {
            let sink = [("from", text(from)), ("kind", text("queue")), ("path", path(&out.join(file))?)];
            sinks.insert(name.into(), table(sink).into());
        }
        let mut job = table([
            ("name", text("case")),
            ("batch", file.batch.clone().unwrap_or_else(|| text("1s"))),
            ("clock", text("manual")),
            ("sources", sources.into()),
            ("stages", table([("stage", stage.into())]).into()),
            ("sinks", sinks.into()),
        ]);
        if let Some(at_end) = at_end {
            job.insert("at_end".into(), at_end.clone());
        }
        toml::to_string(&job).map_err(|cause| {
            Error::job(format!("{}: cannot create a job from it: {cause}", self.dir.join("case.toml").display()))
        })
    }
}

/// Checks that this program supports the version of a case.
fn check_version(version: Option<u64>) -> Result<(), String> {
    match version {
        Some(version) if !(1..=CASE_VERSION).contains(&version) => Err(format!(
            "its `version` is {version}, but this program supports 1 to {CASE_VERSION}; use a newer Millstream, or \
            write version = {CASE_VERSION}"
        )),
        _ => Ok(()),
    }
}

fn table<const N: usize>(entries: [(&str, toml::Value); N]) -> toml::Table {
    entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
}

#[cfg(test)]
mod tests;
