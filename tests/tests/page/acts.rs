//! Actions of the page on a job: retry rejected rows, and replace the version of a plugin.

use millstream_tests::page::PageAddress;
use millstream_tests::{Feeder, Process, Trial, plugin, write_varied};
use serde_json::Value;

/// A job that reads files of a directory without end, and whose stage `pick` rejects `bad`, which a sink keeps.
fn picking(kept: &str) -> Trial {
    let trial = Trial::new(&format!(
        r#"
        name = "shop"
        batch = "20ms"
        [checkpoint]
        dir = "checkpoint"
        every = "100ms"
        [sources.rows]
        kind = "directory"
        path = "in"
        poll = "20ms"
        format = "json"
        schema = {{ id = "text" }}
        [stages.pick]
        from = "rows"
        plugin = "{}"
        config = {{ reject = ["bad"] }}
        on_error = "reject"
        [sinks.out]
        from = "pick"
        kind = "queue"
        path = "out.jsonl"
        {kept}
        "#,
        plugin("picky").display()
    ));
    std::fs::create_dir(trial.path("in")).unwrap();
    trial.move_in("in/a.jsonl", "{\"id\":\"good\"}\n{\"id\":\"bad\"}\n");
    trial
}

/// Waits until the last action is over; returns it.
fn wait_for_action(page: &PageAddress, number: u64) -> Value {
    let requests = |view: &Value| view["asked"].as_array().unwrap().iter().find(|one| one["number"] == number).cloned();
    let view = page.wait_for_json("", |view| requests(view).is_some_and(|one| one["ended_us"].is_i64()));
    requests(&view).unwrap()
}

/// Requests an action, and waits until it is over.
fn run_action(page: &PageAddress, path: &str) -> Value {
    let reply = page.post(path);
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    let output: Value = serde_json::from_str(&reply.body).unwrap();
    wait_for_action(page, output["asked"].as_u64().unwrap())
}

fn check_rejected(page: &PageAddress, path: &str, status: u16, message: &str) {
    let reply = page.post(path);
    assert!(reply.status == status && reply.body.contains(message), "{path}: {reply:?}");
}

/// A part of the graph.
fn part<'a>(view: &'a Value, name: &str) -> &'a Value {
    view["graph"]["parts"].as_array().unwrap().iter().find(|part| part["name"] == name).unwrap()
}

#[test]
fn rejected_rows_are_retried_from_the_page() {
    let trial = picking("[sinks.kept]\nfrom = \"pick.rejected\"\nkind = \"files\"\npath = \"kept\"\nformat = \"json\"");
    let (job, page) = PageAddress::start(&trial, &["--ui-actions"]);
    let rejected = |view: &Value| view["status"]["stages"][0]["rejected"].as_u64();
    let view = page.wait_for_json("", |view| rejected(view) == Some(1) && view["status"]["sinks"][1]["rows"] == 1);
    assert_eq!(part(&view, "pick")["retries_from"], serde_json::json!(["kept"]));
    let output = run_action(&page, "/retry?stage=pick");
    assert_eq!(
        (&output["what"], &output["stage"], &output["failed"]),
        (&"retry".into(), &"pick".into(), &false.into())
    );
    assert!(output["words"].as_str().unwrap().contains("1 row queued for stage `pick`"), "{output}");
    assert!(output["command"].as_str().unwrap().starts_with("millstream retry /"), "{output}");
    // It fails again, and the result shows when it is requested again; rows rejected since then are in another file.
    page.wait_for_json("", |view| rejected(view) == Some(2) && view["status"]["sinks"][1]["rows"] == 2);
    let output = run_action(&page, "/retry?stage=pick");
    assert!(output["words"].as_str().unwrap().contains("1 row already retried, skipped"), "{output}");
    check_rejected(&page, "/retry?stage=out", 404, "no stage `out`");
    check_rejected(&page, "/retry", 404, "no stage ``");
    check_rejected(&page, "/restart?stage=pick", 404, "no such action");
    job.stop();
    // The command finds the rows on its own as well.
    let output = trial.run_command(&["retry", "job.toml", "pick", "--again", "--dry-run"]);
    assert!(output.stdout.contains("would be queued for stage `pick`"), "{output:?}");
}

#[test]
fn rows_that_no_sink_keeps_as_files_cannot_be_retried_and_the_page_says_so() {
    let trial = picking("");
    let (job, page) = PageAddress::start(&trial, &["--ui-actions"]);
    let view = page.wait_for_json("", |view| view["status"]["stages"][0]["rejected"] == 1);
    assert_eq!(part(&view, "pick")["retries_from"], serde_json::json!([]));
    let output = run_action(&page, "/retry?stage=pick");
    assert_eq!(output["failed"], true);
    assert!(
        output["words"].as_str().unwrap().contains("no sink of the job `shop` writes only `pick.rejected`"),
        "{output}"
    );
    job.stop();
    let (job, page) = PageAddress::start(&trial, &[]);
    page.wait_for_json("", |view| view["state"] == "running");
    for path in ["/retry?stage=pick", "/upgrade?stage=pick&to=0.2.0", "/drop?upgrade=1"] {
        check_rejected(&page, path, 403, "--ui-actions");
    }
    job.stop();
}

fn line(number: u64) -> String {
    format!("w{},{}", number % 7, number % 50)
}

/// A job whose stage `made` runs `old.wasm`, fed by a feeder.
fn job_with_stage(port: u16) -> Trial {
    let trial = Trial::new(&format!(
        r#"
        name = "shadowed"
        batch = "20ms"
        workers = 2
        [checkpoint]
        dir = "checkpoint"
        every = "100ms"
        [sources.lines]
        kind = "socket"
        address = "127.0.0.1:{port}"
        format = "csv"
        schema = {{ word = "text", n = "int64" }}
        [stages.made]
        from = "lines"
        plugin = "old.wasm"
        [sinks.out]
        from = "made"
        kind = "queue"
        path = "out.jsonl"
        "#
    ));
    write_varied("varied", "same", &trial.path("old.wasm"));
    trial
}

fn plugin_of(trial: &Trial) -> String {
    let text = trial.text("job.toml");
    text.lines().find_map(|line| line.trim().strip_prefix("plugin = ")).unwrap().trim_matches('"').to_owned()
}

#[test]
fn an_upgrade_with_a_shadow_is_requested_and_shown_on_the_page() {
    let feeder = Feeder::start(line);
    let trial = job_with_stage(feeder.port());
    write_varied("varied", "plus", &trial.path("new.wasm"));
    let (job, page) = PageAddress::start(&trial, &["--ui-actions"]);
    page.wait_for_json("", |view| view["status"]["sinks"][0]["rows"].as_u64() > Some(0));

    // The progress of both is visible.
    let reply = page.post("/upgrade?stage=made&to=new.wasm&shadow=100000&promote=always");
    assert_eq!(reply.status, 200, "{reply:?}");
    let differing = |view: &Value| view["upgrades"][0]["shadow"]["rows_differing"].as_u64();
    let view = page.wait_for_json("", |view| differing(view) > Some(0));
    assert_eq!((&view["upgrades"][0]["step"], &view["upgrades"][0]["stage"]), (&"shadowing".into(), &"made".into()));
    check_rejected(&page, "/upgrade?stage=made&to=new.wasm", 409, "another action of this job is running");
    // It is dropped, and the old version continues.
    assert_eq!(page.post(&format!("/drop?upgrade={}", view["upgrades"][0]["id"])).status, 200);
    let output = wait_for_action(&page, 1);
    assert_eq!(output["failed"], true);
    assert!(output["words"].as_str().unwrap().contains("it was canceled from the page"), "{output}");
    assert_eq!(plugin_of(&trial), "old.wasm");

    // A rule that is not met.
    let output = run_action(&page, "/upgrade?stage=made&to=new.wasm&shadow=5&promote=same");
    let message = output["words"].as_str().unwrap();
    assert!(
        message.contains("both versions ran 5 batches") && message.contains("was dropped: not the same"),
        "{message}"
    );
    // A suitable one.
    let output = run_action(&page, "/upgrade?stage=made&to=new.wasm&shadow=5&promote=always");
    let message = output["words"].as_str().unwrap();
    assert_eq!(output["failed"], false, "{message}");
    assert!(
        message.contains("since batch") && output["command"].as_str().unwrap().contains(" --shadow=5 "),
        "{output}"
    );
    assert_eq!(plugin_of(&trial), "new.wasm");
    let view = page.wait_for_json("", |view| view["upgrades"][2]["step"]["done"].is_object());
    assert_eq!(view["upgrades"][2]["shadow"]["batches"], 5, "{}", view["upgrades"]);
    job.stop();
    drop(feeder);
}

#[test]
fn upgrades_that_need_consent_or_a_path_elsewhere_are_rejected_with_the_command() {
    let (feeder, elsewhere) = (Feeder::start(line), Trial::new(""));
    let trial = job_with_stage(feeder.port());
    std::fs::copy(plugin("picky").join("picky.wasm"), trial.path("other.wasm")).unwrap();
    write_varied("varied", "plus", &elsewhere.path("new.wasm"));
    let (job, page) = PageAddress::start(&trial, &["--ui-actions"]);
    page.wait_for_json("", |view| view["status"]["sinks"][0]["rows"].as_u64() > Some(0));
    let output = run_action(&page, "/upgrade?stage=made&to=other.wasm");
    assert_eq!(output["failed"], true);
    let message = output["words"].as_str().unwrap();
    assert!(message.contains("it is another package") && message.contains("add --accept"), "{message}");
    assert!(output["command"].as_str().unwrap().ends_with("other.wasm"), "{output}");
    let outside = elsewhere.path("new.wasm").display().to_string();
    for path in [outside.as_str(), "../new.wasm", "--accept", "/etc/passwd"] {
        check_rejected(&page, &format!("/upgrade?stage=made&to={path}"), 400, "in the directory of the job file");
    }
    check_rejected(&page, "/upgrade?stage=made", 400, "no plugin to run");
    check_rejected(&page, "/upgrade?stage=made&to=other.wasm&shadow=5&promote=--accept", 400, "`promote` must be");
    check_rejected(&page, "/upgrade?stage=made&to=other.wasm&shadow=999999999999", 400, "`shadow` must be");
    check_rejected(&page, "/drop", 400, "upgrade=ID");
    check_rejected(&page, "/drop?upgrade=7", 503, "upgrade not found");
    assert_eq!(plugin_of(&trial), "old.wasm");
    stop_job(job);
    drop(feeder);
}

fn stop_job(job: Process) {
    let printed = job.stop();
    assert!(!printed.contains("panicked"), "{printed}");
}

#[test]
fn a_source_is_upgraded_from_the_page() {
    let trial = Trial::new(
        r#"
        name = "numbers"
        batch = "20ms"
        [sources.n]
        kind = "plugin"
        plugin = "old.wasm"
        config = { up_to = 100000000, slow = "p0" }
        [sinks.out]
        from = "n"
        kind = "queue"
        path = "out.jsonl"
        "#,
    );
    let component = std::fs::read(plugin("bad-source").join("bad-source.wasm")).unwrap();
    trial.write("old.wasm", &component);
    // A section without effect: other bytes, the same functions.
    trial.write("new.wasm", [component.as_slice(), &[0, 5, 4, b'n', b'o', b't', 1]].concat());
    let (job, page) = PageAddress::start(&trial, &["--ui-actions"]);
    page.wait_for_json("", |view| view["status"]["sinks"][0]["rows"].as_u64() > Some(0));
    check_rejected(&page, "/upgrade?stage=n&to=new.wasm", 404, "the job has no stage `n`");
    check_rejected(&page, "/upgrade?stage=sinks.n&to=new.wasm", 404, "the job has no sink `n`");
    let output = run_action(&page, "/upgrade?stage=sources.n&to=new.wasm");
    assert_eq!(output["failed"], false, "{output}");
    assert_eq!(plugin_of(&trial), "new.wasm");
    let view = page.wait_for_json("", |view| view["upgrades"][0]["step"]["done"].is_object());
    assert_eq!(view["upgrades"][0]["stage"], "sources.n");
    job.stop();
}
