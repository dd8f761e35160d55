//! Rejected rows that are retried in their stage: completely, once, while the job runs or is stopped, however often it is killed.

use millstream_tests::{FORGETFUL, POINTS, Process, Trial, plugin, queue_sink, wait_until};
use serde_json::{Value, json};

/// Rows of all types, at their edges.
const ROWS: &str = concat!(
    r#"[{"id":"bad1","b":true,"n":9007199254740993,"f":"NaN","t":"","raw":"\u0000ÿ","at":"2024-05-01T12:00:00.123456Z"},"#,
    r#"{"id":"bad2","b":false,"n":-9223372036854775808,"f":"-Infinity","t":"a\n\"b\", ü🦀 ","raw":"","at":1234567890123456789},"#,
    r#"{"id":"good","b":true,"n":1,"f":1.5,"t":"x","raw":"y","at":0}]"#,
    "\n",
    r#"[{"id":"bad3","b":null,"n":null,"f":null,"t":null,"raw":null,"at":null},"#,
    r#"{"id":"bad4","b":null,"n":0,"f":-0.0,"t":"null","raw":"00ff","at":-62135596800000001},"#,
    r#"{"id":"bad5","b":null,"n":9223372036854775807,"f":5e-324,"t":" ","raw":"é","at":253402300799999999}]"#,
    "\n",
);

/// The stage `pick`, which rejects rows by their ids, and a sink of what it passes.
fn pick(reject: &str) -> String {
    let plugin = plugin("picky");
    let stage = format!("plugin = \"{}\"\nconfig = {{ reject = [{reject}] }}\non_error = \"reject\"", plugin.display());
    format!("[stages.pick]\nfrom = \"rows\"\n{stage}\n{}", queue_sink("out", "pick", "out"))
}

/// A job with virtual time whose stage `pick` rejects rows by their ids. `rejected` is the kind of the sink of these.
fn trial(reject: &str, rejected: &str) -> Trial {
    let trial = Trial::new(&format!(
        r#"
        name = "shop"
        clock = "manual"
        workers = 2
        [checkpoint]
        dir = "checkpoint"
        every = 1
        [sources.rows]
        kind = "queue"
        path = "input.jsonl"
        schema = {{ id = "text", b = "bool", n = "int64", f = "float64", t = "text", raw = "binary", at = "timestamp(us)" }}
        {}
        [sinks.bad]
        from = "pick.rejected"
        {rejected}
        "#,
        pick(reject)
    ));
    trial.write("input.jsonl", ROWS);
    trial
}

const BAD: &str = r#""bad1", "bad2", "bad3", "bad4", "bad5""#;
const QUEUE: &str = "kind = \"queue\"\npath = \"bad.jsonl\"";

/// Retries rows; returns the message.
fn retry(trial: &Trial, arguments: &[&str]) -> String {
    let ended = Process::start(&mut trial.command(&[&["retry", "job.toml"], arguments].concat())).wait();
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    ended.stdout
}

/// Retries rows, which is rejected; returns the message.
fn rejection(trial: &Trial, arguments: &[&str]) -> String {
    trial.rejected_message(&[&["retry", "job.toml"], arguments].concat())
}

fn contains(output: &str, all: &[&str]) {
    for part in all {
        assert!(output.contains(part), "no {part:?} in:\n{output}");
    }
}

/// The rows of the output by id.
fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(|row| row["id"].as_str().map(str::to_owned));
    rows
}

/// The output if nothing is rejected.
fn all_rows() -> Vec<Value> {
    let trial = trial("", QUEUE);
    trial.run_ok(&[]);
    assert_eq!(trial.rows("bad.jsonl"), [json!(null); 0]);
    sorted(trial.rows("out.jsonl"))
}

#[test]
fn rows_of_all_types_are_retried_completely_and_once_from_every_format() {
    let expected = all_rows();
    assert_eq!(expected.len(), 6);
    let files = |format: &str| format!("kind = \"files\"\npath = \"bad\"\nformat = \"{format}\"");
    for (sink, file) in
        [(QUEUE.into(), "bad.jsonl"), (files("json"), "bad"), (files("csv"), "bad"), (files("parquet"), "bad")]
    {
        let trial = trial(BAD, &sink);
        trial.run_ok(&[]);
        assert_eq!(trial.rows("out.jsonl").len(), 1, "{sink}");
        let would = retry(&trial, &["pick", file, "--dry-run"]);
        contains(&would, &["5 rows would be queued for stage `pick`"]);
        assert!(!trial.path("shop.retry").exists());
        contains(&retry(&trial, &["pick", file]), &["5 rows queued for stage `pick`"]);
        contains(&retry(&trial, &["pick", file]), &["already retried", "--again", "nothing to retry"]);

        trial.change(&format!("reject = [{BAD}]"), "reject = []");
        trial.run_ok(&[]);
        assert_eq!(sorted(trial.rows("out.jsonl")), expected, "{sink}");
        trial.run_ok(&[]);
        assert_eq!(trial.rows("out.jsonl").len(), 6, "{sink}");

        // The checkpoint knows what was read, after the files were deleted.
        std::fs::remove_dir_all(trial.path("shop.retry")).unwrap();
        contains(&retry(&trial, &["pick", file]), &["already retried", "nothing to retry"]);
        contains(&retry(&trial, &["pick", file, "--again"]), &["5 rows queued"]);
        trial.run_ok(&[]);
        assert_eq!(trial.rows("out.jsonl").len(), 11, "{sink}");
    }
}

/// Workers that reject equal rows write equal files, and each of these rows is retried.
#[test]
fn equal_files_of_several_workers_are_all_retried() {
    let trial = trial(BAD, "kind = \"files\"\npath = \"bad\"\nparts = \"worker\"");
    trial.change("from = \"rows\"", "from = \"spread\"");
    trial.change("[stages.pick]", "[stages.spread]\nfrom = \"rows\"\nrepartition = {}\n[stages.pick]");
    let row = r#"["bad1", true, 1, 0.5, "t", "78", 0]"#;
    trial.write("input.jsonl", format!("[{}]\n", [row; 4_096].join(",")));
    trial.run_ok(&["--workers", "2"]);
    let files = ["bad/part-0000000001-000.jsonl", "bad/part-0000000001-001.jsonl"].map(|file| trial.text(file));
    assert!(files[0] == files[1], "they are alike");
    contains(&retry(&trial, &["pick"]), &["4096 rows queued for stage `pick`"]);
    contains(&retry(&trial, &["pick"]), &["nothing to retry"]);
    trial.change(BAD, "\"bad2\"");
    trial.run_ok(&["--workers", "2"]);
    assert_eq!(trial.rows("out.jsonl").len(), 4_096);
    trial.run_ok(&["--workers", "2"]);
    assert_eq!(trial.rows("out.jsonl").len(), 4_096);
    contains(&retry(&trial, &["pick"]), &["nothing to retry"]);
    // A copy is one.
    std::fs::copy(trial.path("bad/part-0000000001-000.jsonl"), trial.path("bad/copy.jsonl")).unwrap();
    contains(&retry(&trial, &["pick"]), &["nothing to retry"]);
    // If two sinks keep the same rows, it is unclear which one is meant.
    let more = "[sinks.bad2]\nfrom = \"pick.rejected\"\nkind = \"queue\"\npath = \"bad2.jsonl\"\n";
    trial.write("job.toml", trial.text("job.toml") + more);
    contains(
        &rejection(&trial, &["pick"]),
        &["the sinks `bad` and `bad2` both store the rejected rows of stage \
                                              `pick`"],
    );
    contains(&retry(&trial, &["pick", "bad"]), &["nothing to retry"]);
}

#[test]
fn a_poison_row_is_rejected_again_and_retried_again() {
    let trial = trial(BAD, QUEUE);
    trial.run_ok(&[]);
    retry(&trial, &["pick", "bad.jsonl"]);
    trial.run_ok(&[]);
    let bad = trial.rows("bad.jsonl");
    assert_eq!(bad.len(), 10);
    assert!(bad[5..].iter().all(|row| row["batch"].as_u64() > Some(2) && row["stage"] == "pick"), "{bad:?}");
    // Of the queue's batches only the last one is new.
    trial.change(&format!("reject = [{BAD}]"), "reject = [\"bad2\"]");
    contains(&retry(&trial, &["pick", "bad.jsonl"]), &["5 rows already retried", "5 rows queued"]);
    trial.run_ok(&[]);
    let ids: Vec<Value> = sorted(trial.rows("out.jsonl")).iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids, ["bad1", "bad3", "bad4", "bad5", "good"]);
    assert_eq!(trial.rows("bad.jsonl").len(), 11);
}

/// A job that runs until it is stopped, over the files of a directory.
fn running(reject: &str) -> Trial {
    let trial = Trial::new(&format!(
        r#"
        name = "shop"
        batch = "20ms"
        workers = 2
        [checkpoint]
        dir = "checkpoint"
        every = "50ms"
        [sources.rows]
        kind = "directory"
        path = "in"
        poll = "10ms"
        format = "json"
        schema = {{ id = "text" }}
        {}
        {}
        "#,
        pick(reject),
        queue_sink("bad", "pick.rejected", "bad")
    ));
    trial.write("in/1.json", "{\"id\":\"a\"}\n{\"id\":\"b\"}\n");
    trial
}

#[test]
fn a_running_job_retries_rows() {
    let trial = running("\"b\"");
    let process = trial.start(&[]);
    wait_until("a row is rejected", || trial.rows("bad.jsonl").len() == 1);
    retry(&trial, &["pick", "bad.jsonl"]);
    wait_until("it is rejected again", || trial.rows("bad.jsonl").len() == 2);
    process.stop();
    trial.change("reject = [\"b\"]", "reject = []");
    let process = trial.start(&[]);
    contains(&retry(&trial, &["pick", "bad.jsonl"]), &["1 row already retried", "1 row queued"]);
    wait_until("the row comes out", || trial.rows("out.jsonl").len() == 2);
    // Later rows show that nothing was duplicated before.
    trial.move_in("in/2.json", "{\"id\":\"c\"}\n");
    wait_until("another row comes out", || trial.rows("out.jsonl").len() >= 3);
    process.stop();
    assert_eq!(trial.rows("out.jsonl"), [json!({"id": "a"}), json!({"id": "b"}), json!({"id": "c"})]);
}

/// Whether the program reached a point depends on the point; rows must be there once either way.
#[test]
fn no_kill_loses_or_duplicates_a_retried_row() {
    let expected = all_rows();
    let mut died = Vec::new();
    for point in POINTS {
        let trial = trial(BAD, QUEUE);
        trial.run_ok(&[]);
        trial.change(&format!("reject = [{BAD}]"), "reject = []");
        retry(&trial, &["pick", "bad.jsonl"]);
        let fault = format!("{FORGETFUL},kill@{}:{}", point.name, point.passes.0);
        let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
        let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", &fault)).wait();
        died.extend(ended.code.is_none().then_some(point.name));
        // Later rows show that nothing is left behind.
        trial.write("input.jsonl", format!("{ROWS}[{{\"id\":\"zebra\"}}]\n"));
        trial.run_ok(&[]);
        let mut rows = sorted(trial.rows("out.jsonl"));
        assert_eq!(rows.pop().map(|row| row["id"].clone()), Some(json!("zebra")), "{fault}");
        assert_eq!(rows, expected, "{fault}");
    }
    for point in ["plan.before", "plan.durable", "commit.before", "commit.after", "manifest.before", "checkpoint.state"]
    {
        assert!(died.contains(&point), "nothing died at {point}: {died:?}");
    }
}

#[test]
fn each_input_gets_its_own_rows_back() {
    let trial = Trial::new(&format!(
        r#"
        name = "shop"
        clock = "manual"
        [checkpoint]
        dir = "checkpoint"
        [sources.people]
        kind = "queue"
        path = "people.jsonl"
        schema = {{ user = "text", name = "text" }}
        [sources.orders]
        kind = "queue"
        path = "orders.jsonl"
        schema = {{ user = "text", amount = "int64", f = "float64", at = "timestamp(us)", raw = "binary" }}
        [sources.clicks]
        kind = "queue"
        path = "clicks.jsonl"
        schema = {{ user = "text", page = "text" }}
        [stages.all]
        from = "people"
        cogroup = ["orders", "clicks"]
        key = "user"
        plugin = "{}"
        on_error = "reject"
        [sinks.out]
        from = "all"
        kind = "queue"
        path = "out.jsonl"
        [sinks.bad]
        from = "all.rejected"
        kind = "files"
        format = "csv"
        path = "bad"
        "#,
        plugin("beside").display()
    ));
    trial.write("people.jsonl", "[[\"ann\",\"Ann\"],[\"bob\",\"Bob\"]]\n");
    trial.write(
        "orders.jsonl",
        "[[\"ann\",-1,\"NaN\",\"2024-01-01T00:00:00Z\",\"x\"],[\"bob\",9007199254740993,1,0,null]]\n",
    );
    trial.write("clicks.jsonl", "[[\"ann\",\"/x,\\\"y\"]]\n");
    trial.run_ok(&[]);
    assert_eq!(
        trial.rows("out.jsonl"),
        [json!({"user": "bob", "names": "Bob", "amounts": "9007199254740993", "pages": ""})]
    );

    // The row itself is fixed.
    let bad = trial.text("bad/part-0000000001.csv");
    contains(&bad, &["\"\"f\"\":\"\"NaN\"\"", "\"\"raw\"\":\"\"78\"\""]);
    trial.write("mended.csv", bad.replace("\"\"amount\"\":-1", "\"\"amount\"\":7"));
    contains(&retry(&trial, &["all", "mended.csv"]), &["mended.csv: 3 rows", "3 rows queued for stage `all`"]);
    assert!(trial.path("shop.retry/all/clicks").is_dir());
    contains(&retry(&trial, &["all", "mended.csv"]), &["3 rows already retried"]);
    trial.run_ok(&[]);
    trial.run_ok(&[]);
    assert_eq!(
        trial.rows("out.jsonl")[1..],
        [json!({"user": "ann", "names": "Ann", "amounts": "7", "pages": "/x,\"y"})]
    );

    // A row that names another input, and one that does not match its own.
    trial.write("strange.jsonl", "{\"input\":\"dogs\",\"row\":\"{}\",\"reason\":\"r\"}\n");
    let output = rejection(&trial, &["all", "strange.jsonl"]);
    contains(&output, &["strange.jsonl:1: not a row of an input of stage `all`, which reads people, orders, clicks"]);
    let row = r#"{"input":"clicks","row":"{\"user\":\"x\"}","reason":"r"}"#;
    trial.write("strange.jsonl", row);
    contains(&rejection(&trial, &["all", "strange.jsonl"]), &["strange.jsonl:1: column `page` not found among user"]);
}

#[test]
fn rows_that_cannot_be_retried_are_rejected_with_a_fix() {
    let trial = trial(BAD, QUEUE);
    trial.run_ok(&[]);
    let row = |id: &str, n: &str, stage: &str| {
        format!(
            "{{\"id\":{id},\"b\":null,\"n\":{n},\"f\":null,\"t\":null,\"raw\":null,\"at\":null,\"reason\":\"r\",\"stage\":{stage}}}\n"
        )
    };
    let good = row("\"a\"", "1", "\"pick\"");
    for (name, content, output) in [
        (
            "x.jsonl",
            format!("{good}{}", row("\"b\"", "\"many\"", "null")),
            vec!["x.jsonl:2: the row does not fit the input of the stage: column `n`: `many` is not an int64"],
        ),
        (
            "x.jsonl",
            format!("{good}{}", row("\"b\"", "1", "\"other\"")),
            vec!["x.jsonl:2: the row was rejected by stage `other`, not by `pick`"],
        ),
        ("x.jsonl", good.replace("\"raw\":null", "\"raw\":\"0\""), vec!["column `raw`", "hexadecimal"]),
        ("x.jsonl", "{\"id\":\"a\"}\n".into(), vec!["x.jsonl:1: column `b` not found among id"]),
        ("x.jsonl", good.replace(",\"reason\":\"r\"", ""), vec!["column `reason` not found"]),
        ("x.jsonl", "+----+\n".into(), vec!["x.jsonl:1: not a JSON object", "use a file that a sink wrote"]),
        ("x.csv", "id,n\na,1\n".into(), vec!["x.csv:2: column `b` not found among id, n"]),
        ("x.log", good.clone(), vec!["x.log: its name has no known format"]),
    ] {
        trial.write(name, content);
        contains(&rejection(&trial, &["pick", name]), &output);
    }
    contains(&rejection(&trial, &["pick", "none.jsonl"]), &["cannot read none.jsonl: No such file"]);
    contains(&rejection(&trial, &["pikc", "bad.jsonl"]), &["the job `shop` has no stage `pikc`; did you mean `pick`?"]);
    assert!(!trial.path("shop.retry").exists(), "a refusal writes nothing");

    trial.change("on_error = \"reject\"", "");
    contains(&rejection(&trial, &["pick", "bad.jsonl"]), &["cannot retry rows; set on_error = \"reject\""]);
    trial.change("config =", "on_error = \"reject\"\nconfig =");
    trial.change("[checkpoint]\n        dir = \"checkpoint\"\n        every = 1\n", "");
    contains(&rejection(&trial, &["pick", "bad.jsonl"]), &["keeps no checkpoint", "[checkpoint] with `dir`"]);
}

#[test]
fn a_sink_may_not_write_to_the_retry_directory() {
    let trial = trial(BAD, "kind = \"files\"\nformat = \"json\"\npath = \"shop.retry/pick\"");
    let output = trial.rejected_message(&["validate", "job.toml"]);
    contains(&output, &["sink `bad` writes to shop.retry/pick, and `millstream retry` writes rows there"]);
}

/// The line may be removed and added again: the checkpoint stays valid, and nothing is read twice.
#[test]
fn a_job_may_stop_and_resume_rejecting() {
    let trial = trial(BAD, QUEUE);
    trial.change("on_error = \"reject\"", "");
    trial.run_ok(&[]);
    // Without the line, rejected rows have no details.
    assert_eq!(trial.rows("bad.jsonl")[0].get("stage"), None);
    trial.change("config =", "on_error = \"reject\"\nconfig =");
    trial.run_ok(&[]);
    contains(&retry(&trial, &["pick", "bad.jsonl"]), &["5 rows queued"]);
    trial.change(&format!("reject = [{BAD}]"), "reject = []");
    trial.run_ok(&[]);
    assert_eq!(trial.rows("out.jsonl").len(), 6);
    trial.change("on_error = \"reject\"\n", "");
    trial.run_ok(&[]);
    trial.change("config =", "on_error = \"reject\"\nconfig =");
    trial.run_ok(&[]);
    assert_eq!(trial.rows("out.jsonl").len(), 6);
    // With the directory, the last trace may be deleted.
    std::fs::remove_dir_all(trial.path("shop.retry")).unwrap();
    trial.change("on_error = \"reject\"\n", "");
    trial.run_ok(&[]);
    assert_eq!(trial.rows("out.jsonl").len(), 6);
}

/// Retried rows neither hold the watermark back nor advance it: what is on time stays on time.
#[test]
fn retried_rows_do_not_move_event_time() {
    let trial = Trial::new(&format!(
        r#"
        name = "shop"
        clock = "manual"
        at_end = "keep"
        workers = 2
        [checkpoint]
        dir = "checkpoint"
        [sources.rows]
        kind = "queue"
        path = "input.jsonl"
        schema = {{ id = "text", at = "timestamp(us)" }}
        [stages.pick]
        from = "rows"
        plugin = "{}"
        config = {{ reject = ["old", "far"] }}
        on_error = "reject"
        [stages.counts]
        from = "pick"
        time = "at"
        lateness = "0s"
        window = {{ size = "10s" }}
        aggregate = {{ n = "count(*)" }}
        {}{}{}
        "#,
        plugin("picky").display(),
        queue_sink("out", "counts", "out"),
        queue_sink("too-late", "counts.late", "late"),
        queue_sink("bad", "pick.rejected", "bad")
    ));
    let first = "[[\"a\",1000000],[\"old\",2000000],[\"far\",95000000],[\"b\",12000000]]\n";
    trial.write("input.jsonl", first);
    trial.run_ok(&[]);
    // The first window is complete, though nothing was retried yet.
    assert_eq!(trial.rows("out.jsonl").iter().map(|row| row["n"].clone()).collect::<Vec<_>>(), [1]);
    trial.change("reject = [\"old\", \"far\"]", "reject = []");
    retry(&trial, &["pick", "bad.jsonl"]);
    trial.run_ok(&[]);
    trial.write("input.jsonl", format!("{first}[[\"c\",15000000]]\n[[\"d\",21000000]]\n"));
    trial.run_ok(&[]);
    let late: Vec<Value> = trial.rows("late.jsonl").iter().map(|row| row["id"].clone()).collect();
    assert_eq!(late, ["old"]);
    assert_eq!(trial.rows("out.jsonl").iter().map(|row| row["n"].clone()).collect::<Vec<_>>(), [1, 2]);
}

/// One stage with a plugin feeds another one: rows that are retried in the first go through both.
#[test]
fn consecutive_stages_both_retry_rows() {
    let trial = trial(BAD, QUEUE);
    trial.change(
        "[sinks.bad]",
        &format!(
            "[stages.again]\nfrom = \"pick\"\nplugin = \"{}\"\nconfig = {{ reject = [\"bad1\"] }}\non_error = \"reject\"\n\
             [sinks.again]\nfrom = \"again\"\nkind = \"queue\"\npath = \"again.jsonl\"\n[sinks.bad]",
            plugin("picky").display()
        ),
    );
    trial.run_ok(&[]);
    let before = trial.rows("again.jsonl").len();
    assert_eq!(trial.rows("bad.jsonl").len(), 5);
    trial.change(&format!("config = {{ reject = [{BAD}] }}"), "config = { reject = [] }");
    retry(&trial, &["pick", "bad.jsonl"]);
    trial.run_ok(&[]);
    assert_eq!(trial.rows("again.jsonl").len(), before + 4, "all but the one that the second stage rejects");
}
