//! A changed job is rejected, or its output is what the changed job makes of all rows from the beginning. For each operator, each
//! key and expression is edited, and the stages before and after it.

use millstream_tests::{Ended, Trial, root};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const HEAD: &str = "name = \"changed\"\nclock = \"manual\"\nat_end = \"keep\"\nbatch = \"1s\"\n[checkpoint]\ndir = \"kept\"\nevery = 1\n";

const SOURCES: &str = r#"
[sources.s]
kind = "queue"
path = "s.jsonl"
schema = { op = "text", k = "text", x = "int64", y = "int64", at = "timestamp(s)" }

[sources.t]
kind = "queue"
path = "t.jsonl"
schema = { k = "text", z = "int64", w = "int64", when = "timestamp(s)" }

[stages.front]
from = "s"
filter = "x > 0"
select = "op, k, x, y, at"
"#;

/// One batch per line. Every deleted row was inserted before, unchanged.
const S: [&str; 2] = [
    r#"[["insert","a",1,10,1],["insert","b",7,20,2],["insert","a",6,30,3]]
[["insert","c",3,40,4],["insert","b",2,50,6]]
"#,
    r#"[["delete","a",1,10,7],["insert","d",9,5,8],["insert","a",8,60,9]]
[["delete","b",7,20,11],["insert","c",4,15,13],["insert","e",5,70,27]]
[["insert","e",5,25,41],["insert","a",2,35,42]]
"#,
];

const T: [&str; 2] = [
    "[[\"a\",100,1,1],[\"b\",200,2,2]]\n[[\"c\",300,3,5]]\n",
    "[[\"a\",400,4,8],[\"d\",500,5,8]]\n[[\"b\",600,6,12]]\n[[\"e\",700,7,41]]\n",
];

/// A stage whose changes others follow.
const LATEST: &str = "[stages.l]\nfrom = \"t\"\nkey = \"k\"\nlatest = true\n\n";

/// The required result of a change.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    /// It is rejected, with the name of the stage and the possible fixes.
    Refused,
    /// It resumes.
    Same,
}
use Expected::{Refused, Same};

struct Case {
    name: &'static str,
    stages: String,
    edits: Vec<(&'static str, &'static str, Expected)>,
    /// The number of edits that `make test` tries.
    short: usize,
}

fn case(
    name: &'static str,
    stages: impl Into<String>,
    short: usize,
    edits: &[(&'static str, &'static str, Expected)],
) -> Case {
    Case { name, stages: stages.into(), edits: edits.to_vec(), short }
}

/// The stage `q`, whose rows go to the sink.
fn stage(keys: &str) -> String {
    format!("[stages.q]\nfrom = \"front\"\n{keys}\n")
}

fn cases() -> Vec<Case> {
    let mut cases = over_all();
    cases.extend(by_time());
    cases.extend(between());
    cases.extend(plugins());
    cases
}

/// Operators that keep something of all rows.
fn over_all() -> Vec<Case> {
    let sql =
        "window = \"all\"\nop = \"op\"\nsql = \"select k, sum(x) as n, count(*) as c from front where y > 5 group by k";
    let totals = "key = \"k\"\nwindow = \"all\"\nop = \"op\"\nemit = \"changes\"\n\
                  aggregate = { n = \"sum(x)\", c = \"count(*) filter (where y > 20)\" }";
    let join = "from = [\"front\", \"t\"]\nwindow = \"all\"\nop = \"op\"\njoin = { on = \"k\", type = \"inner\" }\n";
    vec![
        case(
            "totals",
            stage(totals),
            3,
            &[
                ("sum(x)", "sum(y)", Refused),
                ("where y > 20", "where x > 3", Refused),
                ("(where y > 20)", "( where  20 < y )", Same),
                ("key = \"k\"", "key = \"y\"", Refused),
                ("emit = \"changes\"\n", "", Refused),
                ("sum(x)", "max(x)", Refused),
                ("filter = \"x > 0\"", "filter = \"x > 2\"", Refused),
                ("filter = \"x > 0\"", "filter = \"(0<x)\"", Same),
                ("x, y, at\"", "x, y, at, x + y as more\"", Same),
                ("select = \"op, k, x", "select = \"op, k, y as x", Refused),
                ("x, y, at\"", "x, y + 1 as y, at\"", Refused),
            ],
        ),
        case(
            "sql over all rows",
            stage(&format!("{sql} having sum(x) > 2\"")),
            4,
            &[
                ("having sum(x) > 2", "having sum(x) > 7", Refused),
                ("sum(x) as n", "sum(x) * 2 as n", Refused),
                ("where y > 5", "where y > 20", Refused),
                ("select k, sum(x) as n", "SELECT  k , sum( x )  AS n", Same),
                ("sum(x) as n", "sum(y) as n", Refused),
                ("where y > 5", "where (y>5)", Same),
                (" having sum(x) > 2", "", Refused),
                ("where y > 5 ", "", Refused),
                ("count(*) as c", "count(*) + 1 as c", Refused),
                ("filter = \"x > 0\"", "filter = \"x > 2\"", Refused),
                ("group by k", "group by k, y", Refused),
            ],
        ),
        case(
            "sql with a limit",
            stage(&format!("{sql} having sum(x) > 2 order by n desc nulls last limit 2\"")),
            2,
            &[
                ("limit 2", "limit 1", Refused),
                ("having sum(x) > 2", "having sum(x) > 4", Refused),
                ("n desc nulls last", "n nulls last", Refused),
                ("n desc", "c desc", Refused),
                ("limit 2", " limit   2", Same),
            ],
        ),
        case(
            "top",
            stage("window = \"all\"\nop = \"op\"\ntop = { n = 2, by = \"x\" }"),
            2,
            &[
                ("n = 2", "n = 1", Refused),
                ("n = 2", "n = 3", Refused),
                ("by = \"x\"", "by = \"y\"", Refused),
                ("by = \"x\"", "by = \"x\", order = \"asc\"", Refused),
                ("by = \"x\"", "by = \"x\", rank = \"place\"", Refused),
                ("top =", "key = \"k\"\ntop =", Refused),
                ("n = 2, by = \"x\"", "by = \"x\", n = 2", Same),
                ("filter = \"x > 0\"", "filter = \"x > 3\"", Refused),
            ],
        ),
        case(
            "latest",
            "[stages.q]\nfrom = \"s\"\nkey = \"k\"\nop = \"op\"\nlatest = \"at\"\n",
            2,
            &[
                ("latest = \"at\"", "latest = \"y\"", Refused),
                ("latest = \"at\"", "latest = true", Refused),
                ("key = \"k\"", "key = \"y\"", Refused),
                ("latest = \"at\"", "latest =   'at'", Same),
            ],
        ),
        case(
            "join of all rows",
            format!("[stages.q]\n{join}"),
            2,
            &[
                ("type = \"inner\"", "type = \"left\"", Refused),
                ("type = \"inner\"", "type = \"inner\", ttl = \"3s\"", Refused),
                ("type = \"inner\"", "type = \"full\"", Refused),
                ("on = \"k\", type = \"inner\"", "type = \"inner\",  on = \"k\"", Same),
                ("on = \"k\"", "on = { x = \"z\" }", Refused),
                ("[\"front\", \"t\"]", "[\"t\", \"front\"]", Refused),
                ("filter = \"x > 0\"", "filter = \"x > 2\"", Refused),
            ],
        ),
        case(
            "a table that a stream keeps",
            "[stages.q]\nfrom = \"t\"\nenrich = { stream = \"s\", on = \"k\", op = \"op\" }\n",
            2,
            &[(", op = \"op\" }", " }", Refused), ("on = \"k\", op = \"op\"", "op = \"op\", on = \"k\"", Same)],
        ),
    ]
}

/// Operators that keep rows or sums for some time.
fn by_time() -> Vec<Case> {
    let window = "time = \"at\"\nwindow = { size = \"5s\" }\nkey = \"k\"\n";
    vec![
        case(
            "sums of windows",
            stage(&format!("{window}aggregate = {{ n = \"sum(x)\" }}")),
            3,
            &[
                ("sum(x)", "sum(y)", Refused),
                ("size = \"5s\"", "size = \"10s\"", Refused),
                ("\"at\"\nwindow", "\"at + interval '1 second'\"\nwindow", Refused),
                ("size = \"5s\"", "size = \"5s\", slide = \"1s\"", Refused),
                ("size = \"5s\"", "size = \"5000ms\"", Same),
                ("size = \"5s\"", "size = \"5s\", emit = \"update\"", Refused),
                ("size = \"5s\"", "size = \"5s\", offset = \"1s\"", Refused),
                ("filter = \"x > 0\"", "filter = \"x > 2\"", Refused),
                ("\"at\"\nwindow", "\"( at )\"\nwindow", Same),
                ("{ n = \"sum(x)\" }", "{ n = \"sum(x)\", m = \"max(x)\" }", Refused),
            ],
        ),
        case(
            "updates of windows",
            format!(
                "{}[stages.behind]\nfrom = \"q\"\nfilter = \"n > 3\"\n",
                stage(
                    "time = \"at\"\nwindow = { size = \"50s\", emit = \"update\" }\nkey = \"k\"\naggregate = { n = \"sum(x)\" }"
                )
            ),
            1,
            &[("n > 3", "n > 8", Refused), ("n > 3", "3 < n", Same), ("sum(x)", "sum(y)", Refused)],
        ),
        case(
            "rows of windows",
            stage(&format!("{window}sql = \"select k, max(x) as n from front where y > 5 group by k\"")),
            2,
            &[
                // Windows that have closed stay as they are.
                ("y > 5", "y > 4", Same),
                ("size = \"5s\"", "size = \"10s\"", Refused),
                ("filter = \"x > 0\"", "filter = \"x > 2\"", Refused),
                ("time = \"at\"", "time = \"at - interval '1 second'\"", Refused),
            ],
        ),
        case(
            "sessions",
            stage("time = \"at\"\nwindow = { gap = \"3s\" }\nkey = \"k\"\naggregate = { n = \"sum(x)\" }"),
            1,
            &[
                ("gap = \"3s\"", "gap = \"9s\"", Refused),
                ("sum(x)", "sum(y)", Refused),
                ("gap = \"3s\"", "gap = \"3s\", length_max = \"4s\"", Refused),
                ("filter = \"x > 0\"", "filter = \"x > 2\"", Refused),
            ],
        ),
        case(
            "deduplicate",
            stage("key = \"k\"\ntime = \"at\"\ndeduplicate = { within = \"4s\" }"),
            2,
            &[
                ("within = \"4s\"", "within = \"40s\"", Refused),
                ("within = \"4s\"", "within = \"1s\"", Refused),
                ("key = \"k\"", "key = [\"k\", \"y\"]", Refused),
                ("time = \"at\"\n", "", Refused),
                ("within = \"4s\"", "within = \"4000ms\"", Same),
                ("filter = \"x > 0\"", "filter = \"x > 2\"", Refused),
            ],
        ),
        case(
            "join by time",
            "[stages.q]\nfrom = [\"front\", \"t\"]\ntime = [\"at\", \"when\"]\njoin = { on = \"k\", within = \"4s\" }\n",
            2,
            &[
                ("within = \"4s\"", "within = \"10s\"", Refused),
                ("on = \"k\"", "on = \"k\", type = \"left\"", Refused),
                ("\"at\", \"when\"", "\"at + interval '3 seconds'\", \"when\"", Refused),
                ("within = \"4s\"", "within = \"4000ms\"", Same),
                ("filter = \"x > 0\"", "filter = \"x > 2\"", Refused),
            ],
        ),
        case(
            "as-of join",
            "[stages.q]\nfrom = [\"front\", \"t\"]\ntime = [\"at\", \"when\"]\njoin = { on = \"k\", as_of = true }\n",
            1,
            &[
                ("as_of = true", "as_of = true, type = \"left\"", Refused),
                ("as_of = true", "as_of = true, within = \"2s\"", Refused),
                ("filter = \"x > 0\"", "filter = \"x > 2\"", Refused),
            ],
        ),
        case(
            "pattern",
            stage(
                "key = \"k\"\ntime = \"at\"\npattern = { steps = \"low followed by high\", define = { low = \"x < 5\", high = \"x > 5\" }, \
                 measures = { first = \"low.x\", last = \"high.x\" }, within = \"30s\" }",
            ),
            3,
            &[
                ("x < 5", "x < 8", Refused),
                ("low followed by high", "low next high", Refused),
                ("within = \"30s\"", "within = \"5s\"", Refused),
                ("x < 5", "x  <  5", Same),
                (
                    "measures = { first = \"low.x\", last = \"high.x\" }",
                    "measures = { last = \"high.x\", first = \"low.x\" }",
                    Same,
                ),
                ("within = \"30s\"", "within = \"30s\", skip = \"to next row\"", Refused),
                ("key = \"k\"", "key = \"y\"", Refused),
                ("filter = \"x > 0\"", "filter = \"x > 1\"", Refused),
            ],
        ),
    ]
}

/// Stages between a stateful stage and another stateful stage or sink that keeps its results.
fn between() -> Vec<Case> {
    let top = stage("window = \"all\"\nop = \"op\"\ntop = { n = 2, by = \"x\" }");
    let count = "[stages.behind]\nfrom = \"between\"\nkey = \"k\"\nwindow = \"all\"\nemit = \"changes\"\naggregate = { m = \"count(*)\" }\n";
    vec![
        case(
            "a condition in front of a sink of changes",
            format!("{top}[stages.behind]\nfrom = \"q\"\nfilter = \"y > 25\"\nselect = \"k, x + y as z, op\"\n"),
            4,
            &[
                ("y > 25", "y > 10", Refused),
                ("x + y as z", "x - y as z", Refused),
                ("y > 25", "25<y", Same),
                ("[stages.q]\nfrom = \"front\"", "[stages.q]\nfrom = \"front\"\nfilter = \"x > 6\"", Refused),
                ("k, x + y as z", "x + y as z, k", Same),
            ],
        ),
        case(
            "totals of changes",
            format!(
                "{top}[stages.between]\nfrom = \"q\"\nfilter = \"y > 25\"\n\n{}",
                count.replace("window = \"all\"", "op = \"op\"\nwindow = \"all\"")
            ),
            2,
            &[("y > 25", "y > 10", Refused), ("n = 2", "n = 1", Refused), ("y > 25", "( y > 25 )", Same)],
        ),
        case(
            "what is put behind changes",
            format!("{LATEST}[stages.behind]\nfrom = \"l\"\nfilter = \"w > 0\"\n"),
            3,
            &[
                (
                    "[stages.behind]\n",
                    "[stages.n]\nfrom = \"l\"\nwindow = \"all\"\nop = \"op\"\naggregate = { n = \"count(*)\" }\n\
                     [sinks.n]\nfrom = \"n\"\nkind = \"nothing\"\n[stages.behind]\n",
                    Refused,
                ),
                (
                    "[stages.behind]\n",
                    "[sinks.n]\nfrom = \"l\"\nkind = \"queue\"\npath = \"n.jsonl\"\n[stages.behind]\n",
                    Refused,
                ),
                (
                    "[stages.behind]\n",
                    "[stages.n]\nfrom = \"l\"\nselect = \"k, op\"\n[sinks.n]\nfrom = \"n\"\nkind = \"nothing\"\n[stages.behind]\n",
                    Same,
                ),
            ],
        ),
        case(
            "a sink of changes of one of two stages",
            format!("{LATEST}[stages.q]\nfrom = \"t\"\nkey = \"w\"\nlatest = true\n"),
            1,
            &[("[sinks.out]\nfrom = \"q\"", "[sinks.out]\nfrom = \"l\"", Refused)],
        ),
        case(
            "what chooses rows",
            format!(
                "[stages.q]\nfrom = \"front\"\nsample = 0.7\n\n[stages.between]\nfrom = \"q\"\nkey = \"k\"\ntop = {{ n = 1, by = \"x\" }}\n\n{count}"
            ),
            2,
            &[
                ("sample = 0.7", "sample = 0.2", Refused),
                ("n = 1, by = \"x\"", "n = 2, by = \"x\"", Refused),
                ("by = \"x\"", "by = \"y\"", Refused),
                ("sample = 0.7", "sample = 0.70", Same),
            ],
        ),
        case(
            "branches",
            format!(
                "[stages.q]\nfrom = \"front\"\n[stages.q.split]\nbig = \"x > 5\"\nmiddle = \"x > 2\"\n\n[stages.between]\nfrom = \"q.middle\"\ndistinct = [\"k\"]\n\n{count}"
            ),
            1,
            &[
                ("\"x > 2\"", "\"x > 3\"", Refused),
                ("\"x > 5\"", "\"x > 3\"", Refused),
                ("q.middle", "q.big", Refused),
                ("\"x > 5\"", "\"5 < x\"", Same),
                ("distinct = [\"k\"]", "distinct = [\"k\", \"op\"]", Refused),
            ],
        ),
        case(
            "a query of each batch",
            format!(
                "[stages.between]\nfrom = \"front\"\nsql = \"select k, sum(x) as n from front where y > 10 group by k\"\n\n{}",
                count.replace("count(*)", "sum(n)")
            ),
            2,
            &[
                ("y > 10", "y > 30", Refused),
                ("select k, sum(x) as n", "SELECT k,\tsum(x) n", Same),
                ("sum(x) as n", "sum(x + 1) as n", Refused),
                ("x, y, at\"", "x, y, at, 1 as one\"", Same),
            ],
        ),
        case(
            "a join of each batch",
            format!(
                "[stages.between]\nfrom = [\"front\", \"t\"]\njoin = {{ on = \"k\" }}\n\n{}",
                count.replace("count(*)", "sum(w)")
            ),
            1,
            &[
                ("join = { on = \"k\" }", "join = { on = \"k\", type = \"left\" }", Refused),
                ("filter = \"x > 0\"", "filter = \"x > 6\"", Refused),
                ("x, y, at\"", "x, y, at, 1 as one\"", Same),
            ],
        ),
    ]
}

fn plugins() -> Vec<Case> {
    let plugins = root().join("plugins").display().to_string();
    let running = format!("{plugins}/running-total\"\nconfig = {{ column = \"x\" }}");
    vec![
        case(
            "a plugin of world aggregate",
            stage(&format!("key = \"k\"\nwindow = \"all\"\nplugin = \"{plugins}/sum\"\nconfig = {{ column = \"x\" }}")),
            1,
            &[("column = \"x\"", "column = \"y\"", Refused), ("filter = \"x > 0\"", "filter = \"x > 2\"", Refused)],
        ),
        case(
            "a plugin of world update",
            stage(&format!("key = \"k\"\nplugin = \"{running}")),
            2,
            &[
                ("column = \"x\"", "column = \"y\"", Refused),
                ("plugin = ", "timeout = \"1s\"\nplugin = ", Refused),
                ("plugin = ", "on = \"all\"\nplugin = ", Refused),
                ("filter = \"x > 0\"", "filter = \"x > 2\"", Refused),
                ("plugin = ", "limits = { time = \"5s\" }\nplugin = ", Same),
            ],
        ),
        case(
            "a plugin in front",
            format!(
                "[stages.between]\nfrom = \"front\"\nplugin = \"{plugins}/filter-expr\"\nconfig = {{ where = \"x > 2\" }}\n\n{}",
                "[stages.behind]\nfrom = \"between\"\nkey = \"k\"\nwindow = \"all\"\nemit = \"changes\"\naggregate = { m = \"count(*)\" }\n"
            ),
            2,
            &[("[stages.between]\n", "[stages.between]\n# that was all\n", Same)],
        ),
    ]
}

/// The job with its sink after the last stage.
fn job(stages: &str) -> String {
    let last = stages.lines().rev().find_map(|line| line.strip_prefix("[stages.")?.strip_suffix(']')).unwrap();
    let last = last.split('.').next().unwrap();
    format!("{HEAD}{SOURCES}\n{stages}\n[sinks.out]\nfrom = \"{last}\"\nkind = \"queue\"\npath = \"out.jsonl\"\n")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => _ = fs::copy(entry.path(), to.join(entry.file_name())).unwrap(),
        }
    }
}

fn run(trial: &Trial) -> Ended {
    trial.run(&["--workers", "1"])
}

/// Counts each row of the output; deletions are subtracted.
fn net(trial: &Trial) -> BTreeMap<String, i64> {
    let mut net = BTreeMap::new();
    for row in trial.rows("out.jsonl") {
        let Value::Object(mut row) = row else { panic!("{row}") };
        let deletes = row.remove("op").is_some_and(|op| op == "delete");
        // Each batch of a changed job has another time.
        *net.entry(Value::Object(row).to_string()).or_default() += if deletes { -1 } else { 1 };
    }
    net.retain(|_, count| *count != 0);
    net
}

fn with_input(text: &str, parts: usize) -> Trial {
    let trial = Trial::new(text);
    trial.write("s.jsonl", S[..parts].concat());
    trial.write("t.jsonl", T[..parts].concat());
    trial
}

/// Returns what is wrong after this change of the job, if anything.
fn check_edit(begun: &Trial, text: &str, (from, to, expected): (&str, &str, Expected)) -> Option<String> {
    if text.matches(from).count() != 1 {
        return Some(format!("`{from}` is there {} times", text.matches(from).count()));
    }
    let changed = text.replace(from, to);
    let fresh = with_input(&changed, 2);
    let ended = run(&fresh);
    if ended.code != Some(0) {
        return Some(format!("the changed job does not run: {}", ended.stderr));
    }
    let resumed = Trial::new("");
    copy(begun.dir(), resumed.dir());
    resumed.write("job.toml", &changed);
    resumed.write("s.jsonl", S.concat());
    resumed.write("t.jsonl", T.concat());
    let ended = run(&resumed);
    match (ended.code, expected) {
        (Some(2), Refused) => {
            let output = ended.stderr.replace("--drop-state=", "--drop-state ");
            let tells = output.contains("--drop-state ") && (output.contains("stage `") || output.contains("sink `"));
            (!tells).then(|| format!("a refusal without what can be done: {output}"))
        }
        (Some(0), Same) => {
            let (made, right) = (net(&resumed), net(&fresh));
            (made != right).then(|| format!("it has {made:?}, and from the beginning there would be {right:?}"))
        }
        (Some(0), Refused) => {
            let is_same = net(&resumed) == net(&fresh);
            Some(format!(
                "it is not refused; {}",
                if is_same { "here it is the same" } else { "old and new are mixed" }
            ))
        }
        _ => Some(format!("exit code {:?}: {}", ended.code, ended.stderr)),
    }
}

fn all_hold(take: impl Fn(&Case) -> usize) {
    let mut wrong = Vec::new();
    for case in cases() {
        let text = job(&case.stages);
        let begun = with_input(&text, 1);
        let ended = run(&begun);
        assert_eq!(ended.code, Some(0), "{}: {}", case.name, ended.stderr);
        // Without a change, the remaining input gives output.
        for edit in case.edits.iter().take(take(&case)) {
            wrong.extend(check_edit(&begun, &text, *edit).map(|what| format!("{}: {edit:?}: {what}", case.name)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_changed_job_is_rejected_or_acts_as_if_started_from_scratch() {
    all_hold(|case| case.short);
}

/// Returns the message of a job that was changed like this after a first part of the input.
fn changed(stages: &str, (from, to): (&str, &str)) -> Trial {
    let text = job(stages);
    let trial = with_input(&text, 1);
    let ended = run(&trial);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    trial.write("job.toml", text.replace(from, to));
    trial.write("s.jsonl", S.concat());
    trial.write("t.jsonl", T.concat());
    trial
}

#[test]
fn stages_that_process_changes_start_together_with_their_input() {
    let totals =
        "[stages.q]\nfrom = \"l\"\nwindow = \"all\"\nop = \"op\"\naggregate = { n = \"count(*)\", s = \"sum(z)\" }\n";
    let trial = changed(&format!("{LATEST}{totals}"), ("sum(z)", "sum(w)"));
    let advice = "`--drop-state l --drop-state q`";
    for (drop, message) in [
        (&[][..], "stage `q`: its state no longer fits"),
        (&["--drop-state", "q"][..], "stage `q` starts with empty state"),
        (&["--drop-state", "l"][..], "stage `q`: its state no longer fits"),
    ] {
        let ended = trial.run(&[&["--workers", "1"][..], drop].concat());
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(message) && ended.stderr.contains(advice), "{drop:?}: {}", ended.stderr);
    }
    let ended = trial.run(&["--workers", "1", "--drop-state", "l", "--drop-state", "q"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let rows = trial.rows("out.jsonl");
    assert!(rows.iter().all(|row| row["n"].as_i64().is_some_and(|n| n > 0)), "{rows:?}");
    // Of the rows since then: one each of `a`, `b`, `d` and `e`.
    assert_eq!((&rows.last().unwrap()["n"], &rows.last().unwrap()["s"]), (&4.into(), &22.into()));
}

#[test]
fn a_query_over_all_rows_is_dropped_by_its_own_name() {
    let query = "[stages.q]\nfrom = \"t\"\nwindow = \"all\"\n\
                 sql = \"select distinct k, w from t order by k desc nulls last limit 2\"\n";
    let trial = changed(query, ("distinct k, w", "distinct k"));
    let ended = run(&trial);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("`--drop-state q`") && !ended.stderr.contains("q-totals"), "{}", ended.stderr);
    let ended = trial.run(&["--workers", "1", "--drop-state", "q"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

mod long {
    use super::*;

    #[test]
    fn every_key_and_expression_of_every_operator() {
        all_hold(|case| case.edits.len());
    }
}
