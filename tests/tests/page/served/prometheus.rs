//! The alerts and the dashboard in `deploy/`, judged by those who read them: Prometheus's own tool, and a real Prometheus that
//! reads the numbers of a running job. `make servers` fetches it.

use super::Seen;
use millstream_tests::{DEADLINE, Process, Trial, free_port, holds_within, plugin, python_with, root};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const TOKEN: &str = "0123456789abcdefgh";
/// It may have to be fetched first.
const FETCHED_WITHIN: Duration = Duration::from_secs(300);
/// What only some jobs have: those that read from a server that counts what it has.
const RARE: [&str; 1] = ["millstream_behind_rows"];

/// The folder of Prometheus and its tool.
fn programs() -> PathBuf {
    let ended = Process::start(&mut Command::new(root().join("scripts/prometheus.sh"))).wait_within(FETCHED_WITHIN);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout.trim_end().into()
}

/// A file of `deploy/`.
fn deployed(name: &str) -> String {
    std::fs::read_to_string(root().join("deploy").join(name)).unwrap()
}

/// The same with one place changed that must be there.
fn with(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
    text.replace(from, to)
}

/// Lets the tool check a file, and says how it ended and what it said.
fn checked(programs: &Path, what: &str, file: &Path) -> (bool, String) {
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

    /// What it answers at this path of its API; `None`: nothing, so far.
    fn told(&self, path: &str, query: &[(&str, &str)]) -> Option<Value> {
        let mut command = Command::new("curl");
        command.args(["-sS", "-m", "20", "--get", &format!("http://127.0.0.1:{}/api/v1/{path}", self.port)]);
        query.iter().for_each(|(name, value)| {
            command.args(["--data-urlencode", &format!("{name}={value}")]);
        });
        serde_json::from_slice(&command.output().expect("there is a curl").stdout).ok()
    }

    /// The series that a query gives; an error of the query is one of the test.
    fn series(&self, query: &str) -> Vec<Value> {
        let told = self.told("query", &[("query", query)]).unwrap_or_else(|| panic!("{}", self.process.stderr()));
        assert_eq!(told["status"], "success", "{query}: {told}");
        told["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until what it tells is as it should be.
    fn told_so(&self, path: &str, so: impl Fn(&Value) -> bool) -> Value {
        let mut last = None;
        let came = holds_within(DEADLINE, || {
            last = self.told(path, &[]);
            last.as_ref().is_some_and(&so)
        });
        assert!(came, "{path}: {last:?}\n{}", self.process.stderr());
        last.unwrap_or_default()
    }
}

/// The rules with their states, as Prometheus tells them.
fn rules(told: &Value) -> Vec<Value> {
    let groups = told["data"]["groups"].as_array().into_iter().flatten();
    groups.flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
}

/// What the dashboard asks for, with all jobs chosen.
fn asked_by_the_dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&deployed("grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().clone();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap().clone());
    targets.map(|target| target["expr"].as_str().unwrap().replace("$job", ".*")).collect()
}

/// Whether the value of a series is a finite number: Prometheus writes `NaN` and `+Inf` as text, too.
fn is_finite(series: &Value) -> bool {
    series["value"][1].as_str().and_then(|value| value.parse::<f64>().ok()).is_some_and(f64::is_finite)
}

/// Asserts that the parser of OpenMetrics' reference implementation accepts this answer of `/metrics`.
fn parses_as_openmetrics(trial: &Trial, text: &str) {
    let file = trial.write("metrics.txt", text);
    let script = "import sys; from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse; \
                  print(len(list(parse(open(sys.argv[1]).read()))))";
    let ended = Process::start(python_with("prometheus").args(["-c", script]).arg(file)).wait();
    assert_eq!(ended.code, Some(0), "{}\n{text}", ended.stderr);
    assert!(ended.stdout.trim().parse::<u32>().is_ok_and(|families| families > 20), "{}", ended.stdout);
}

#[test]
fn a_file_with_a_mistake_is_refused_so_that_the_judge_is_awake() {
    let (programs, trial) = (programs(), Trial::new(""));
    let wrong = trial.write("wrong.yml", with(&deployed("alerts.yml"), "millstream_up == 0", "millstream_up == = 0"));
    assert!(!checked(&programs, "rules", &wrong).0);
}

#[test]
fn a_real_prometheus_reads_a_job_and_every_expression_of_alerts_and_dashboard_has_its_series() {
    let programs = programs();
    let (passed, told) = checked(&programs, "rules", &root().join("deploy/alerts.yml"));
    assert!(passed, "{told}");

    let (rows, served) = (free_port(), free_port());
    let (mut nc, trial) = (Process::nc(rows), job(rows));
    let mut job = Process::start(&mut trial.command_apart(&[
        "run",
        "job.toml",
        "--ui",
        &format!("127.0.0.1:{served}"),
        "--ui-token-file",
        "page.token",
    ]));
    job.until_stderr("page: http://127.0.0.1:");
    let page = Seen { port: served, token: TOKEN.into() };
    // As the file stands, but for what is elsewhere on each machine; and it looks more often.
    let token = trial.path("page.token").display().to_string();
    let config = with(&deployed("prometheus.yml"), "/etc/millstream/page.token\n", "\n");
    let config = with(&config, "/etc/millstream/page.token", &token);
    let config = with(&config, "\"127.0.0.1:8080\"", &format!("\"127.0.0.1:{served}\""));
    let often = "global: { scrape_interval: 500ms, evaluation_interval: 500ms }\nrule_files: [alerts.yml]\n";
    let file = trial.write("prometheus.yml", format!("{often}{config}"));
    trial.write("alerts.yml", deployed("alerts.yml"));
    let (passed, told) = checked(&programs, "config", &file);
    assert!(passed, "{told}");

    let prometheus = Prometheus::start(&programs, &trial);
    nc.say("{\"name\":\"a\",\"n\":1,\"at\":\"2026-01-01T00:00:30Z\"}\nno json\n");
    page.told_so("", |view| {
        view["checkpoints"][0].is_object() && view["status"]["sinks"][0]["rows"].as_u64() >= Some(1)
    });
    let healthy = |told: &Value| told["data"]["activeTargets"][0]["health"] == "up";
    prometheus.told_so("targets", healthy);
    let again = |round: u32| {
        format!("{{\"name\":\"b\",\"n\":{round},\"at\":\"2026-01-01T00:01:00Z\"}}\nno json, {round}\nno json\n")
    };

    // All that is named exists, and each expression of the dashboard has series whose values are all finite: rates from the
    // second scrape on.
    let expressions = asked_by_the_dashboard();
    assert!(expressions.len() >= 15, "{expressions:?}");
    let names = Regex::new(r"millstream_[a-z_]+").unwrap();
    let all = expressions.join("\n") + &deployed("alerts.yml");
    let named: BTreeSet<&str> = names.find_iter(&all).map(|name| name.as_str()).collect();
    let wanted = expressions.iter().map(String::as_str).chain(named);
    let wanted: Vec<&str> = wanted.filter(|wanted| !RARE.iter().any(|rare| wanted.starts_with(rare))).collect();
    assert!(wanted.len() > 30, "{wanted:?}");
    let (mut missing, mut round) = (wanted.clone(), 0);
    let there = holds_within(DEADLINE, || {
        round += 1;
        nc.say(&again(round));
        missing.retain(|wanted| {
            let series = prometheus.series(wanted);
            series.is_empty() || !series.iter().all(is_finite)
        });
        missing.is_empty()
    });
    assert!(there, "no finite series for {missing:?} in\n{}", super::metrics(&page));
    parses_as_openmetrics(&trial, &super::metrics(&page));
    let up = &prometheus.series("millstream_up")[0];
    assert_eq!((&up["metric"]["job_name"], &up["value"][1]), (&"counted".into(), &"1".into()));
    let jobs = prometheus.told("label/job_name/values", &[]).unwrap();
    assert_eq!(jobs["data"], serde_json::json!(["counted"]), "what the dashboard's list of jobs is made of");

    // Prometheus itself has put in every rule; and those that should have something to say do.
    let states = |told: &Value| -> Vec<(String, String, String)> {
        let text = |rule: &Value, key: &str| rule[key].as_str().unwrap_or_default().to_owned();
        rules(told).iter().map(|rule| (text(rule, "name"), text(rule, "health"), text(rule, "state"))).collect()
    };
    let raised = |told: &Value| {
        let all = states(told);
        let is = |name: &str, state: &str| all.iter().any(|rule| rule.0 == name && rule.2 == state);
        is("MillstreamRejectedLost", "firing") && is("MillstreamRejects", "pending")
    };
    let told =
        prometheus.told_so("rules", |told| raised(told) && states(told).iter().all(|(_, health, _)| health == "ok"));
    assert_eq!(rules(&told).len(), deployed("alerts.yml").matches("- alert:").count());
    let quiet = ["MillstreamDown", "MillstreamRestarts", "MillstreamStuck", "MillstreamMemoryShort"];
    let loud: Vec<_> = states(&told)
        .into_iter()
        .filter(|(name, _, state)| quiet.contains(&name.as_str()) && state != "inactive")
        .collect();
    assert!(loud.is_empty(), "nothing is wrong, and {loud:?}");
    job.stop();
    // Without the page there is nothing to read: Prometheus says so by itself.
    prometheus.told_so("targets", |told| told["data"]["activeTargets"][0]["health"] == "down");
}
