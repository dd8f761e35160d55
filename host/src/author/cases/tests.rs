//! Cases with a simulated runner.

use super::*;
use std::cell::RefCell;
use tempfile::TempDir;

fn plugin(cases: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (path, text) in cases {
        let path = dir.path().join("cases").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

/// Runs the cases with a job that emits the same for every case.
fn report(dir: &Path, result: Result<&str>) -> Result<CasesReport> {
    run_with(dir, false, &|job| {
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
    let case = "schema = { word = \"text\" }\nkey = [\"word\"]\nconfig = { by = 2 }\ntimeout = \"3s\"\nbatch = \"2s\"";
    let dir = plugin(&[("one/case.toml", case), INPUT, ("one/expected.jsonl", "")]);
    let jobs = RefCell::new(Vec::new());
    let report = run_with(dir.path(), false, &|job| {
        let text: toml::Table = toml::from_str(&job.text).unwrap();
        fs::write(text["sinks"]["output"]["path"].as_str().unwrap(), "").unwrap();
        jobs.borrow_mut().push((job.workers, job.dir.clone(), text));
        Ok(())
    })
    .unwrap();
    assert!(report.passed(), "{report}");
    let jobs = jobs.into_inner();
    assert_eq!([jobs[0].0, jobs[1].0], [1, 2]);
    let (_, case_dir, job) = &jobs[0];
    millstream_job::parse(
        &toml::to_string(job).unwrap(),
        millstream_connectors::kinds::all(),
        Path::new("job"),
        case_dir,
        &[],
    )
    .unwrap();
    assert_eq!(case_dir, &dir.path().join("cases/one"));
    assert_eq!(job["batch"].as_str(), Some("2s"));
    assert_eq!(job["sources"]["input"]["schema"]["word"].as_str(), Some("text"));
    let stage = &job["stages"]["stage"];
    assert_eq!(stage["plugin"].as_str(), fs::canonicalize(dir.path()).unwrap().to_str());
    assert_eq!(stage["config"]["by"].as_integer(), Some(2));
    assert_eq!((stage["key"][0].as_str(), stage["timeout"].as_str()), (Some("word"), Some("3s")));
    assert!(stage.get("emit").is_none());
}

#[test]
fn a_case_may_have_several_inputs() {
    let case = "key = \"k\"\ninputs = [{ name = \"z\", schema = { k = \"text\" } }, { name = \"a\", schema = { k = \"text\" } }]";
    let dir =
        plugin(&[("one/case.toml", case), ("one/z.jsonl", "[]"), ("one/a.jsonl", "[]"), ("one/expected.jsonl", "")]);
    let jobs = RefCell::new(Vec::new());
    let report = run_with(dir.path(), false, &|job| {
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
        wrong("inputs = [{ name = \"a\", schema = {} }, { name = \"b\", schema = {} }]").contains("a.jsonl is missing")
    );
}

fn report_of_one(dir: &TempDir) -> String {
    report(dir.path(), Ok("")).unwrap_err().message
}

#[test]
fn differences_name_case_workers_and_rows() {
    let expected = ("one/expected.jsonl", "{\"batch\":1,\"rows\":[{\"value\":\"a\"}]}\n");
    let dir = plugin(&[CASE, INPUT, expected]);
    let right = "{\"batch\":1,\"time\":\"t\",\"rows\":[{\"value\":\"a\"}]}\n{\"batch\":2,\"rows\":[]}\n";
    assert!(report(dir.path(), Ok(right)).unwrap().passed());
    let wrong = report(dir.path(), Ok("{\"batch\":1,\"rows\":[{\"value\":\"b\"}]}\n")).unwrap();
    assert!(!wrong.passed());
    assert_eq!(
        wrong.to_string(),
        "FAIL  one\n      with 1 worker: batch 1:\n        missing      {\"value\":\"a\"}\n        \
         unexpected   {\"value\":\"b\"}\n1 case, 1 failed\n"
    );
    let failed = report(dir.path(), Err(Error::plugin("it trapped"))).unwrap();
    assert!(failed.to_string().contains("with 1 worker: the job failed: it trapped"), "{failed}");
}

#[test]
fn expected_errors_and_cases_that_do_not_say() {
    let dir = plugin(&[CASE, INPUT, ("one/expected-error.txt", "no such column\n")]);
    assert!(report(dir.path(), Err(Error::job("x: no such column `a`"))).unwrap().passed());
    let other = report(dir.path(), Err(Error::job("a trap"))).unwrap();
    assert!(other.to_string().contains("another error") && other.to_string().contains("a trap"), "{other}");
    let none = report(dir.path(), Ok("")).unwrap();
    assert!(none.to_string().contains("the job did not fail"), "{none}");
    let dir = plugin(&[CASE, INPUT]);
    let unknown = report(dir.path(), Ok("{\"batch\":1,\"rows\":[]}\n")).unwrap();
    assert!(!unknown.passed() && unknown.to_string().contains("      {\"batch\":1,\"rows\":[]}"), "{unknown}");
}

#[test]
fn rejected_rows_are_compared_where_a_case_names_them() {
    let files =
        [CASE, INPUT, ("one/expected.jsonl", ""), ("one/expected-rejected.jsonl", "{\"rows\":[{\"reason\":\"a\"}]}")];
    let run = |rejected: &str| {
        let report = run_with(plugin(&files).path(), false, &|job| {
            let text: toml::Table = toml::from_str(&job.text).unwrap();
            assert_eq!(text["sinks"]["refused"]["from"].as_str(), Some("stage.rejected"));
            fs::write(text["sinks"]["output"]["path"].as_str().unwrap(), "").unwrap();
            fs::write(text["sinks"]["refused"]["path"].as_str().unwrap(), rejected).unwrap();
            Ok(())
        });
        report.unwrap().to_string()
    };
    let right = run("{\"batch\":1,\"rows\":[{\"value\":\"not compared\",\"reason\":\"a\"}]}");
    assert!(right.ends_with("1 case, 0 failed\n"), "{right}");
    let wrong = run("{\"batch\":1,\"rows\":[{\"reason\":\"b\"}]}");
    assert!(
        wrong.contains("with 1 worker: rejected rows: batch 1:\n        missing      {\"reason\":\"a\"}"),
        "{wrong}"
    );
    assert!(run("").contains("missing"), "rows that should be rejected are not");
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
