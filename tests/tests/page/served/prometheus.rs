//! The alerts and the dashboard in `deploy/`, checked by Prometheus's own tool, and by a real Prometheus that scrapes a running
//! job. `make servers` downloads it.

use super::PageAddress;
use millstream_tests::{DEADLINE, Process, Trial, free_port, holds_within, plugin, python_with, root};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const TOKEN: &str = "0123456789abcdefgh";
/// Includes the time to download it, if needed.
const FETCHED_WITHIN: Duration = Duration::from_secs(300);
/// Metrics of only some jobs: those that read from a server that knows its backlog.
const RARE: [&str; 1] = ["millstream_behind_rows"];

/// The directory of Prometheus and its tool.
fn programs() -> PathBuf {
    let ended = Process::start(&mut Command::new(root().join("scripts/prometheus.sh"))).wait_within(FETCHED_WITHIN);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout.trim_end().into()
}

/// A file of `deploy/`.
fn deployed(name: &str) -> String {
    std::fs::read_to_string(root().join("deploy").join(name)).unwrap()
}

/// Replaces one part of the text, which must exist.
fn with(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
    text.replace(from, to)
}

/// Checks a file with the tool, and returns its exit status and its output.
fn run_check(programs: &Path, what: &str, file: &Path) -> (bool, String) {
    let ended = Process::start(Command::new(programs.join("promtool")).args(["check", what]).arg(file)).wait();
    (ended.code == Some(0), ended.stdout + &ended.stderr)
}

/// A job with a bit of everything that is counted: a plugin with state, event time, late and rejected rows, and checkpoints.
fn job(port: u16) -> Trial {
    let trial = Trial::new(&format!(
        r#"
        name = "counted"
        batch = "50ms"
        workers = 2
        [checkpoint]
        dir = "checkpoint"
        every = "500ms"
        [sources.in]
        kind = "socket"
        address = "127.0.0.1:{port}"
        format = "json"
        schema = {{ name = "text", n = "int64", at = "timestamp" }}
        [stages.totals]
        from = "in"
        key = "name"
        plugin = "{}"
        config = {{ column = "n" }}
        [stages.windows]
        from = "in"
        key = "name"
        time = "at"
        lateness = "1s"
        window = {{ size = "10s" }}
        aggregate = {{ n = "count(*)" }}
        [sinks.out]
        from = "totals"
        kind = "queue"
        path = "out.jsonl"
        [sinks.windows]
        from = "windows"
        kind = "nothing"
        "#,
        plugin("running-total").display()
    ));
    let token = trial.write("page.token", TOKEN);
    std::fs::set_permissions(token, std::fs::Permissions::from_mode(0o600)).unwrap();
    trial
}

/// A Prometheus that runs.
struct Prometheus {
    port: u16,
    process: Process,
}

impl Prometheus {
    fn start(programs: &Path, trial: &Trial) -> Prometheus {
        let port = free_port();
        let mut command = Command::new(programs.join("prometheus"));
        command.arg(format!("--config.file={}", trial.path("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", trial.path("prometheus").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).current_dir(trial.dir());
        Prometheus { port, process: Process::start(&mut command) }
    }

    /// Returns the response for this path of its API, or `None` if there is none yet.
    fn get_json(&self, path: &str, query: &[(&str, &str)]) -> Option<Value> {
        let mut command = Command::new("curl");
        command.args(["-sS", "-m", "20", "--get", &format!("http://127.0.0.1:{}/api/v1/{path}", self.port)]);
        query.iter().for_each(|(name, value)| {
            command.args(["--data-urlencode", &format!("{name}={value}")]);
        });
        serde_json::from_slice(&command.output().expect("there is a curl").stdout).ok()
    }

    /// The series that a query gives; an error of the query is one of the test.
    fn series(&self, query: &str) -> Vec<Value> {
        let message =
            self.get_json("query", &[("query", query)]).unwrap_or_else(|| panic!("{}", self.process.stderr()));
        assert_eq!(message["status"], "success", "{query}: {message}");
        message["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until the response meets the condition.
    fn wait_for_json(&self, path: &str, so: impl Fn(&Value) -> bool) -> Value {
        let mut last = None;
        let came = holds_within(DEADLINE, || {
            last = self.get_json(path, &[]);
            last.as_ref().is_some_and(&so)
        });
        assert!(came, "{path}: {last:?}\n{}", self.process.stderr());
        last.unwrap_or_default()
    }
}

/// The rules with their states, from Prometheus.
fn rules(message: &Value) -> Vec<Value> {
    let groups = message["data"]["groups"].as_array().into_iter().flatten();
    groups.flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
}

/// The queries of the dashboard, with all jobs selected.
fn dashboard_queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&deployed("grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().clone();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap().clone());
    targets.map(|target| target["expr"].as_str().unwrap().replace("$job", ".*")).collect()
}

/// Whether the value of a series is a finite number: Prometheus writes `NaN` and `+Inf` as text, too.
fn is_finite(series: &Value) -> bool {
    series["value"][1].as_str().and_then(|value| value.parse::<f64>().ok()).is_some_and(f64::is_finite)
}

/// Checks that the parser of OpenMetrics' reference implementation accepts this response of `/metrics`.
fn parses_as_openmetrics(trial: &Trial, text: &str) {
    let file = trial.write("metrics.txt", text);
    let script = "import sys; from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse; \
                  print(len(list(parse(open(sys.argv[1]).read()))))";
    let ended = Process::start(python_with("prometheus").args(["-c", script]).arg(file)).wait();
    assert_eq!(ended.code, Some(0), "{}\n{text}", ended.stderr);
    assert!(ended.stdout.trim().parse::<u32>().is_ok_and(|families| families > 20), "{}", ended.stdout);
}

#[test]
fn promtool_rejects_a_file_with_an_error() {
    let (programs, trial) = (programs(), Trial::new(""));
    let wrong = trial.write("wrong.yml", with(&deployed("alerts.yml"), "millstream_up == 0", "millstream_up == = 0"));
    assert!(!run_check(&programs, "rules", &wrong).0);
}

#[test]
fn a_real_prometheus_reads_a_job_and_every_expression_of_alerts_and_dashboard_has_its_series() {
    let programs = programs();
    let (passed, message) = run_check(&programs, "rules", &root().join("deploy/alerts.yml"));
    assert!(passed, "{message}");

    let (rows, served) = (free_port(), free_port());
    let (mut nc, trial) = (Process::nc(rows), job(rows));
    let mut job = Process::start(&mut trial.isolated_command(&[
        "run",
        "job.toml",
        "--ui",
        &format!("127.0.0.1:{served}"),
        "--ui-token-file",
        "page.token",
    ]));
    job.wait_for_stderr("page: http://127.0.0.1:");
    let page = PageAddress { port: served, token: TOKEN.into() };
    // The file unchanged, except for machine-specific values and a shorter interval.
    let token = trial.path("page.token").display().to_string();
    let config = with(&deployed("prometheus.yml"), "/etc/millstream/page.token\n", "\n");
    let config = with(&config, "/etc/millstream/page.token", &token);
    let config = with(&config, "\"127.0.0.1:8080\"", &format!("\"127.0.0.1:{served}\""));
    let often = "global: { scrape_interval: 500ms, evaluation_interval: 500ms }\nrule_files: [alerts.yml]\n";
    let file = trial.write("prometheus.yml", format!("{often}{config}"));
    trial.write("alerts.yml", deployed("alerts.yml"));
    let (passed, message) = run_check(&programs, "config", &file);
    assert!(passed, "{message}");

    let prometheus = Prometheus::start(&programs, &trial);
    nc.say("{\"name\":\"a\",\"n\":1,\"at\":\"2026-01-01T00:00:30Z\"}\nno json\n");
    page.wait_for_json("", |view| {
        view["checkpoints"][0].is_object() && view["status"]["sinks"][0]["rows"].as_u64() >= Some(1)
    });
    let healthy = |message: &Value| message["data"]["activeTargets"][0]["health"] == "up";
    prometheus.wait_for_json("targets", healthy);
    let again = |round: u32| {
        format!("{{\"name\":\"b\",\"n\":{round},\"at\":\"2026-01-01T00:01:00Z\"}}\nno json, {round}\nno json\n")
    };

    // All names exist, and each expression of the dashboard has series with finite values only: rates from the second scrape on.
    let expressions = dashboard_queries();
    assert!(expressions.len() >= 15, "{expressions:?}");
    let names = Regex::new(r"millstream_[a-z_]+").unwrap();
    let all = expressions.join("\n") + &deployed("alerts.yml");
    let named: BTreeSet<&str> = names.find_iter(&all).map(|name| name.as_str()).collect();
    let expected = expressions.iter().map(String::as_str).chain(named);
    let expected: Vec<&str> = expected.filter(|expected| !RARE.iter().any(|rare| expected.starts_with(rare))).collect();
    assert!(expected.len() > 30, "{expected:?}");
    let (mut missing, mut round) = (expected.clone(), 0);
    let there = holds_within(DEADLINE, || {
        round += 1;
        nc.say(&again(round));
        missing.retain(|expected| {
            let series = prometheus.series(expected);
            series.is_empty() || !series.iter().all(is_finite)
        });
        missing.is_empty()
    });
    assert!(there, "no finite series for {missing:?} in\n{}", super::metrics(&page));
    parses_as_openmetrics(&trial, &super::metrics(&page));
    let up = &prometheus.series("millstream_up")[0];
    assert_eq!((&up["metric"]["job_name"], &up["value"][1]), (&"counted".into(), &"1".into()));
    let jobs = prometheus.get_json("label/job_name/values", &[]).unwrap();
    assert_eq!(jobs["data"], serde_json::json!(["counted"]), "what the dashboard's list of jobs is made of");

    // Prometheus has loaded every rule, and those that should fire do.
    let states = |message: &Value| -> Vec<(String, String, String)> {
        let text = |rule: &Value, key: &str| rule[key].as_str().unwrap_or_default().to_owned();
        rules(message).iter().map(|rule| (text(rule, "name"), text(rule, "health"), text(rule, "state"))).collect()
    };
    let raised = |message: &Value| {
        let all = states(message);
        let is = |name: &str, state: &str| all.iter().any(|rule| rule.0 == name && rule.2 == state);
        is("MillstreamRejectedLost", "firing") && is("MillstreamRejects", "pending")
    };
    let message = prometheus.wait_for_json("rules", |message| {
        raised(message) && states(message).iter().all(|(_, health, _)| health == "ok")
    });
    assert_eq!(rules(&message).len(), deployed("alerts.yml").matches("- alert:").count());
    let quiet = ["MillstreamDown", "MillstreamRestarts", "MillstreamStuck", "MillstreamMemoryShort"];
    let loud: Vec<_> = states(&message)
        .into_iter()
        .filter(|(name, _, state)| quiet.contains(&name.as_str()) && state != "inactive")
        .collect();
    assert!(loud.is_empty(), "nothing is wrong, and {loud:?}");
    job.stop();
    // Without the page there is nothing to scrape: Prometheus reports that on its own.
    prometheus.wait_for_json("targets", |message| message["data"]["activeTargets"][0]["health"] == "down");
}
