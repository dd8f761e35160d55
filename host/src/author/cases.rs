//! `millstream test`: runs the cases of a plugin folder and compares what comes out with what is expected.
//!
//! A case is a folder `cases/<case>/`:
//!
//! - `case.toml`: `schema` (the columns of the input, as of a source) and what the stage says beside `plugin` and
//!   `from`: `config`, `key`, `on`, `emit`, `timeout`, `initial`, `grant`, `limits`, `window`, `time`, `lateness`; and the
//!   job's `batch` (default `"1s"`). Paths start from the case's folder.
//! - `input.jsonl`: a line a batch, each a JSON array of rows.
//!
//!   In world `cogroup` the case has several inputs: `inputs = [{ name = "orders", schema = {…} }, …]` instead of `schema`,
//!   and their rows in `orders.jsonl` and so on.
//! - `expected.jsonl`: a line a batch, `{"batch":1,"rows":[{…}]}`, with `"time"` where it matters; `batch` may be left
//!   out where it is the number of the line, and batches without rows may be left out at all. Or
//!   `expected-error.txt`: a text that the job's error must contain.
//!
//! A case runs as a job of one stage between `queue` source and `queue` sink, in virtual time, with one worker and
//! again with two. Rows must come in the expected order, but for stages with a key, whose order is not fixed.

mod compare;

use crate::error::{Error, Result};
use compare::Line;
use serde::Deserialize;
use std::fmt::{self, Display};
use std::fs;
use std::path::{Path, PathBuf};

/// The numbers of workers that every case runs with.
const WORKERS: [usize; 2] = [1, 2];

/// What the cases of a plugin folder came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// Every case, by name.
    pub cases: Vec<CaseReport>,
}

/// What one case came to.
#[derive(Clone, Debug)]
pub struct CaseReport {
    /// The name of its folder.
    pub name: String,
    /// What is not as expected, in lines for a person to read; `None` where all is.
    pub difference: Option<String>,
}

impl Report {
    /// Whether every case came out as expected.
    pub fn passed(&self) -> bool {
        self.failed() == 0
    }

    fn failed(&self) -> usize {
        self.cases.iter().filter(|case| case.difference.is_some()).count()
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            match &case.difference {
                None => writeln!(f, "ok    {}", case.name)?,
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

/// Runs the cases of a plugin folder, which must be built. An error is a mistake in the cases themselves; a plugin
/// that does not do what a case expects is in the report.
pub fn run(folder: &Path) -> Result<Report> {
    run_with(folder, &|job| {
        let spec = crate::job::parse(&job.text, Path::new("case"), &job.folder, &[])?;
        let options = crate::run::Options { workers: Some(job.workers), ..Default::default() };
        let mut job = crate::run::Job::new(spec, options);
        job.start()?;
        job.await_termination(None)?;
        Ok(())
    })
}

/// A case as the job that tries it.
struct CaseJob {
    /// The job file's text.
    text: String,
    /// Where its relative paths start.
    folder: PathBuf,
    workers: usize,
}

type Runner<'a> = dyn Fn(&CaseJob) -> Result<()> + 'a;

fn run_with(folder: &Path, runner: &Runner) -> Result<Report> {
    let plugin = fs::canonicalize(folder)
        .map_err(|cause| Error::job(format!("no plugin folder {}: {cause}", folder.display())))?;
    let mut cases = Vec::new();
    for case in case_folders(folder)? {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let difference = Case::read(&case)?.differs(&plugin, runner)?;
        cases.push(CaseReport { name, difference });
    }
    Ok(Report { cases })
}

/// The folders under `cases`, by name.
fn case_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let cases = folder.join("cases");
    let none = |why: String| {
        Error::job(format!(
            "no cases in {}{why}; a case is a folder there with case.toml, input.jsonl and expected.jsonl",
            cases.display()
        ))
    };
    let entries = fs::read_dir(&cases).map_err(|cause| none(format!(": {cause}")))?;
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.map_err(|cause| none(format!(": {cause}")))?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    if folders.is_empty() { Err(none(String::new())) } else { Ok(folders) }
}

/// `case.toml`. What belongs to the stage goes into the job as it is: the job's own checks judge it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
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
    /// The file with its rows, in the case's folder.
    fn file(&self) -> String {
        format!("{}.jsonl", self.name)
    }
}

impl CaseFile {
    /// The inputs: one, or several that the stage reads side by side.
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
enum Expected {
    Rows(Vec<Line>),
    Error(String),
    /// The case does not say yet.
    Unknown,
}

struct Case {
    folder: PathBuf,
    file: CaseFile,
    inputs: Vec<CaseInput>,
    expected: Expected,
}

impl Case {
    fn read(folder: &Path) -> Result<Case> {
        let path = folder.join("case.toml");
        let file: CaseFile = toml::from_str(&read_text(&path)?)
            .map_err(|cause| Error::job(format!("{}: {}", path.display(), cause.to_string().trim_end())))?;
        let inputs = file.inputs().map_err(|words| Error::job(format!("{}: {words}", path.display())))?;
        if let Some(input) = inputs.iter().map(|input| folder.join(input.file())).find(|input| !input.is_file()) {
            return Err(Error::job(format!(
                "{} is missing: a JSON array of rows a line, a line a batch",
                input.display()
            )));
        }
        let (rows, error) = (folder.join("expected.jsonl"), folder.join("expected-error.txt"));
        let expected = match (rows.exists(), error.exists()) {
            (true, false) => Expected::Rows(compare::read_lines(&rows)?),
            (false, true) => Expected::Error(read_text(&error)?.trim().to_string()),
            (false, false) => Expected::Unknown,
            (true, true) => {
                let folder = folder.display();
                let message = format!("{folder} has both expected.jsonl and expected-error.txt; remove one of them");
                return Err(Error::job(message));
            }
        };
        Ok(Case { folder: folder.into(), file, inputs, expected })
    }

    /// What is not as expected.
    fn differs(&self, plugin: &Path, runner: &Runner) -> Result<Option<String>> {
        for workers in WORKERS {
            let out = tempfile::tempdir()
                .map_err(|cause| Error::environment(format!("cannot make a temporary folder: {cause}")))?;
            let output = out.path().join("output.jsonl");
            let text = self.job(plugin, &output)?;
            let result = runner(&CaseJob { text, folder: self.folder.clone(), workers });
            if let Some(difference) = self.differs_from(result, &output)? {
                let plural = if workers == 1 { "" } else { "s" };
                return Ok(Some(format!("with {workers} worker{plural}: {difference}")));
            }
        }
        Ok(None)
    }

    fn differs_from(&self, result: Result<()>, output: &Path) -> Result<Option<String>> {
        Ok(match (&self.expected, result) {
            (Expected::Error(part), Err(error)) if error.message.contains(part) => None,
            (Expected::Error(part), Err(error)) => {
                Some(format!("the job failed with another error\nexpected … {part} …\ngot      {error}"))
            }
            (Expected::Error(part), Ok(())) => Some(format!("the job did not fail\nexpected … {part} …")),
            (_, Err(error)) => Some(format!("the job failed: {error}")),
            (Expected::Rows(expected), Ok(())) => {
                compare::difference(expected, &compare::read_lines(output)?, self.file.key.is_none())
            }
            (Expected::Unknown, Ok(())) => Some(format!(
                "there is neither expected.jsonl nor expected-error.txt. What came out, for an expected.jsonl if it is \
                 right:\n{}",
                read_text(output)?.trim_end()
            )),
        })
    }

    /// The job file of the case.
    fn job(&self, plugin: &Path, output: &Path) -> Result<String> {
        let text = |value: &str| toml::Value::String(value.into());
        let path = |path: &Path| match path.to_str() {
            Some(path) => Ok(text(path)),
            None => Err(Error::job(format!("the path {} is not UTF-8; move the folder elsewhere", path.display()))),
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
            ("window", &file.window),
            ("time", &file.time),
            ("lateness", &file.lateness),
        ] {
            if let Some(value) = value {
                stage.insert(key.into(), value.clone());
            }
        }
        let sink = [("from", text("stage")), ("kind", text("queue")), ("path", path(output)?)];
        let job = table([
            ("name", text("case")),
            ("batch", file.batch.clone().unwrap_or_else(|| text("1s"))),
            ("clock", text("manual")),
            ("sources", sources.into()),
            ("stages", table([("stage", stage.into())]).into()),
            ("sinks", table([("output", table(sink).into())]).into()),
        ]);
        toml::to_string(&job).map_err(|cause| {
            Error::job(format!("{}: cannot make a job of it: {cause}", self.folder.join("case.toml").display()))
        })
    }
}

fn table<const N: usize>(entries: [(&str, toml::Value); N]) -> toml::Table {
    entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
}

fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|cause| Error::job(format!("cannot read {}: {cause}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use tempfile::TempDir;

    fn plugin(cases: &[(&str, &str)]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for (path, text) in cases {
            let path = folder.path().join("cases").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    /// Runs the cases with a job that puts out the same for every case.
    fn report(folder: &Path, result: Result<&str>) -> Result<Report> {
        run_with(folder, &|job| {
            let text: toml::Table = toml::from_str(&job.text).unwrap();
            let output = text["sinks"]["output"]["path"].as_str().unwrap();
            fs::write(output, result.clone()?).unwrap();
            Ok(())
        })
    }

    const CASE: (&str, &str) = ("one/case.toml", "schema = { value = \"text\" }");
    const INPUT: (&str, &str) = ("one/input.jsonl", "[{\"value\":\"a b\"}]\n[]\n");

    #[test]
    fn a_case_becomes_a_job_that_runs_with_one_worker_and_with_two() {
        let case =
            "schema = { word = \"text\" }\nkey = [\"word\"]\nconfig = { by = 2 }\ntimeout = \"3s\"\nbatch = \"2s\"";
        let folder = plugin(&[("one/case.toml", case), INPUT, ("one/expected.jsonl", "")]);
        let jobs = RefCell::new(Vec::new());
        let report = run_with(folder.path(), &|job| {
            let text: toml::Table = toml::from_str(&job.text).unwrap();
            fs::write(text["sinks"]["output"]["path"].as_str().unwrap(), "").unwrap();
            jobs.borrow_mut().push((job.workers, job.folder.clone(), text));
            Ok(())
        })
        .unwrap();
        assert!(report.passed(), "{report}");
        let jobs = jobs.into_inner();
        assert_eq!([jobs[0].0, jobs[1].0], [1, 2]);
        let (_, case_folder, job) = &jobs[0];
        crate::job::parse(&toml::to_string(job).unwrap(), Path::new("job"), case_folder, &[]).unwrap();
        assert_eq!(case_folder, &folder.path().join("cases/one"));
        assert_eq!(job["batch"].as_str(), Some("2s"));
        assert_eq!(job["sources"]["input"]["schema"]["word"].as_str(), Some("text"));
        let stage = &job["stages"]["stage"];
        assert_eq!(stage["plugin"].as_str(), fs::canonicalize(folder.path()).unwrap().to_str());
        assert_eq!(stage["config"]["by"].as_integer(), Some(2));
        assert_eq!((stage["key"][0].as_str(), stage["timeout"].as_str()), (Some("word"), Some("3s")));
        assert!(stage.get("emit").is_none());
    }

    #[test]
    fn a_case_may_have_several_inputs() {
        let case = "key = \"k\"\ninputs = [{ name = \"z\", schema = { k = \"text\" } }, { name = \"a\", schema = { k = \"text\" } }]";
        let folder = plugin(&[
            ("one/case.toml", case),
            ("one/z.jsonl", "[]"),
            ("one/a.jsonl", "[]"),
            ("one/expected.jsonl", ""),
        ]);
        let jobs = RefCell::new(Vec::new());
        let report = run_with(folder.path(), &|job| {
            let job: toml::Table = toml::from_str(&job.text).unwrap();
            fs::write(job["sinks"]["output"]["path"].as_str().unwrap(), "").unwrap();
            jobs.borrow_mut().push(job);
            Ok(())
        });
        assert!(report.unwrap().passed());
        let job = &jobs.borrow()[0];
        let (stage, sources) = (&job["stages"]["stage"], &job["sources"]);
        assert_eq!((stage["from"].as_str(), stage["cogroup"][0].as_str()), (Some("z"), Some("a")));
        assert_eq!((sources["z"]["path"].as_str(), sources["a"]["path"].as_str()), (Some("z.jsonl"), Some("a.jsonl")));
        let wrong = |case: &str| report_of_one(&plugin(&[("one/case.toml", case), INPUT]));
        assert!(wrong("key = \"k\"").contains("the input's columns are missing"));
        assert!(wrong("schema = {}\ninputs = [{ name = \"a\", schema = {} }]").contains("both `schema` and `inputs`"));
        assert!(
            wrong("inputs = [{ name = \"a\", schema = {} }, { name = \"b\", schema = {} }]")
                .contains("a.jsonl is missing")
        );
    }

    fn report_of_one(folder: &TempDir) -> String {
        report(folder.path(), Ok("")).unwrap_err().message
    }

    #[test]
    fn differences_name_case_workers_and_rows() {
        let expected = ("one/expected.jsonl", "{\"batch\":1,\"rows\":[{\"value\":\"a\"}]}\n");
        let folder = plugin(&[CASE, INPUT, expected]);
        let right = "{\"batch\":1,\"time\":\"t\",\"rows\":[{\"value\":\"a\"}]}\n{\"batch\":2,\"rows\":[]}\n";
        assert!(report(folder.path(), Ok(right)).unwrap().passed());
        let wrong = report(folder.path(), Ok("{\"batch\":1,\"rows\":[{\"value\":\"b\"}]}\n")).unwrap();
        assert!(!wrong.passed());
        assert_eq!(
            wrong.to_string(),
            "FAIL  one\n      with 1 worker: batch 1:\n        missing      {\"value\":\"a\"}\n        \
             unexpected   {\"value\":\"b\"}\n1 case, 1 failed\n"
        );
        let failed = report(folder.path(), Err(Error::plugin("it trapped"))).unwrap();
        assert!(failed.to_string().contains("with 1 worker: the job failed: it trapped"), "{failed}");
    }

    #[test]
    fn expected_errors_and_cases_that_do_not_say() {
        let folder = plugin(&[CASE, INPUT, ("one/expected-error.txt", "no such column\n")]);
        assert!(report(folder.path(), Err(Error::job("x: no such column `a`"))).unwrap().passed());
        let other = report(folder.path(), Err(Error::job("a trap"))).unwrap();
        assert!(other.to_string().contains("another error") && other.to_string().contains("a trap"), "{other}");
        let none = report(folder.path(), Ok("")).unwrap();
        assert!(none.to_string().contains("the job did not fail"), "{none}");
        let folder = plugin(&[CASE, INPUT]);
        let unknown = report(folder.path(), Ok("{\"batch\":1,\"rows\":[]}\n")).unwrap();
        assert!(!unknown.passed() && unknown.to_string().contains("      {\"batch\":1,\"rows\":[]}"), "{unknown}");
    }

    #[test]
    fn mistakes_in_cases_are_errors_that_name_the_file() {
        let wrong = |cases: &[(&str, &str)]| report(plugin(cases).path(), Ok("")).unwrap_err().message;
        assert!(wrong(&[]).contains("cases: No such file"), "{}", wrong(&[]));
        assert!(wrong(&[("note.txt", "")]).contains("no cases in "));
        let typo = wrong(&[("one/case.toml", "schema = {}\nkeys = 1"), INPUT]);
        assert!(typo.contains("one/case.toml: ") && typo.contains("line 2") && typo.contains("keys"), "{typo}");
        assert!(wrong(&[CASE]).contains("input.jsonl is missing"));
        assert!(wrong(&[CASE, INPUT, ("one/expected.jsonl", ""), ("one/expected-error.txt", "")]).contains("both"));
        let line = wrong(&[CASE, INPUT, ("one/expected.jsonl", "{\"rows\":[]}\n{\"row\":[]}\n")]);
        assert!(line.contains("expected.jsonl:2: ") && line.contains("row"), "{line}");
    }
}
