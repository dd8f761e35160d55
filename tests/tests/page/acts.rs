//! What the page does to a job where it may: give rejected rows back, and put another version of a plugin in its place.

use millstream_tests::page::Seen;
use millstream_tests::{Feeder, Process, Trial, plugin, write_varied};
use serde_json::Value;

/// A job that reads files of a folder for ever, and whose stage `pick` rejects `bad`, which a sink keeps.
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

/// Waits until what was asked for last is over: that.
fn over(page: &Seen, number: u64) -> Value {
    let asked = |view: &Value| view["asked"].as_array().unwrap().iter().find(|one| one["number"] == number).cloned();
    let view = page.told_so("", |view| asked(view).is_some_and(|one| one["ended_us"].is_i64()));
    asked(&view).unwrap()
}

/// Asks for something, and waits until it is over.
fn done(page: &Seen, path: &str) -> Value {
    let reply = page.post(path);
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    let told: Value = serde_json::from_str(&reply.body).unwrap();
    over(page, told["asked"].as_u64().unwrap())
}

fn refused(page: &Seen, path: &str, status: u16, words: &str) {
    let reply = page.post(path);
    assert!(reply.status == status && reply.body.contains(words), "{path}: {reply:?}");
}

/// A part of the graph.
fn part<'a>(view: &'a Value, name: &str) -> &'a Value {
    view["graph"]["parts"].as_array().unwrap().iter().find(|part| part["name"] == name).unwrap()
}

#[test]
fn rejected_rows_are_given_back_from_the_page() {
    let trial = picking("[sinks.kept]\nfrom = \"pick.rejected\"\nkind = \"files\"\npath = \"kept\"\nformat = \"json\"");
    let (job, page) = Seen::start(&trial, &["--ui-actions"]);
    let rejected = |view: &Value| view["status"]["stages"][0]["rejected"].as_u64();
    let view = page.told_so("", |view| rejected(view) == Some(1) && view["status"]["sinks"][1]["rows"] == 1);
    assert_eq!(part(&view, "pick")["retries_from"], serde_json::json!(["kept"]));
    let told = done(&page, "/retry?stage=pick");
    assert_eq!((&told["what"], &told["stage"], &told["failed"]), (&"retry".into(), &"pick".into(), &false.into()));
    assert!(told["words"].as_str().unwrap().contains("1 row queued for stage `pick`"), "{told}");
    assert!(told["command"].as_str().unwrap().starts_with("millstream retry /"), "{told}");
    // It fails again, and is known when it is asked for once more; what was rejected since then is another file.
    page.told_so("", |view| rejected(view) == Some(2) && view["status"]["sinks"][1]["rows"] == 2);
    let told = done(&page, "/retry?stage=pick");
    assert!(told["words"].as_str().unwrap().contains("1 row already retried, skipped"), "{told}");
    refused(&page, "/retry?stage=out", 404, "no stage `out`");
    refused(&page, "/retry", 404, "no stage ``");
    refused(&page, "/restart?stage=pick", 404, "no such action");
    job.stop();
    // The command finds the rows by itself as well.
    let told = trial.told(&["retry", "job.toml", "pick", "--again", "--dry-run"]);
    assert!(told.stdout.contains("would be queued for stage `pick`"), "{told:?}");
}

#[test]
fn what_no_sink_keeps_as_files_is_not_given_back_and_the_page_says_so() {
    let trial = picking("");
    let (job, page) = Seen::start(&trial, &["--ui-actions"]);
    let view = page.told_so("", |view| view["status"]["stages"][0]["rejected"] == 1);
    assert_eq!(part(&view, "pick")["retries_from"], serde_json::json!([]));
    let told = done(&page, "/retry?stage=pick");
    assert_eq!(told["failed"], true);
    assert!(told["words"].as_str().unwrap().contains("no sink of the job `shop` keeps `pick.rejected`"), "{told}");
    job.stop();
    let (job, page) = Seen::start(&trial, &[]);
    page.told_so("", |view| view["state"] == "running");
    for path in ["/retry?stage=pick", "/upgrade?stage=pick&to=0.2.0", "/drop?upgrade=1"] {
        refused(&page, path, 403, "--ui-actions");
    }
    job.stop();
}

fn line(number: u64) -> String {
    format!("w{},{}", number % 7, number % 50)
}

/// A job whose stage `made` runs `old.wasm`, fed by a feeder.
fn made(port: u16) -> Trial {
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
fn an_upgrade_with_a_shadow_is_asked_for_and_seen_on_the_page() {
    let feeder = Feeder::start(line);
    let trial = made(feeder.port());
    write_varied("varied", "plus", &trial.path("new.wasm"));
    let (job, page) = Seen::start(&trial, &["--ui-actions"]);
    page.told_so("", |view| view["status"]["sinks"][0]["rows"].as_u64() > Some(0));

    // What both do is seen while they do it.
    let reply = page.post("/upgrade?stage=made&to=new.wasm&shadow=100000&promote=always");
    assert_eq!(reply.status, 200, "{reply:?}");
    let differing = |view: &Value| view["upgrades"][0]["shadow"]["rows_differing"].as_u64();
    let view = page.told_so("", |view| differing(view) > Some(0));
    assert_eq!((&view["upgrades"][0]["step"], &view["upgrades"][0]["stage"]), (&"shadowing".into(), &"made".into()));
    refused(&page, "/upgrade?stage=made&to=new.wasm", 409, "another action of this job is running");
    // It is given up, and the old one goes on.
    assert_eq!(page.post(&format!("/drop?upgrade={}", view["upgrades"][0]["id"])).status, 200);
    let told = over(&page, 1);
    assert_eq!(told["failed"], true);
    assert!(told["words"].as_str().unwrap().contains("it was canceled from the page"), "{told}");
    assert_eq!(plugin_of(&trial), "old.wasm");

    // A rule that is not met.
    let told = done(&page, "/upgrade?stage=made&to=new.wasm&shadow=5&promote=same");
    let words = told["words"].as_str().unwrap();
    assert!(words.contains("both versions ran 5 batches") && words.contains("was dropped: not the same"), "{words}");
    // One that is.
    let told = done(&page, "/upgrade?stage=made&to=new.wasm&shadow=5&promote=always");
    let words = told["words"].as_str().unwrap();
    assert_eq!(told["failed"], false, "{words}");
    assert!(words.contains("since batch") && told["command"].as_str().unwrap().contains(" --shadow=5 "), "{told}");
    assert_eq!(plugin_of(&trial), "new.wasm");
    let view = page.told_so("", |view| view["upgrades"][2]["step"]["done"].is_object());
    assert_eq!(view["upgrades"][2]["shadow"]["batches"], 5, "{}", view["upgrades"]);
    job.stop();
    drop(feeder);
}

#[test]
fn what_needs_consent_or_lies_elsewhere_is_refused_with_the_command_that_takes_it() {
    let (feeder, elsewhere) = (Feeder::start(line), Trial::new(""));
    let trial = made(feeder.port());
    std::fs::copy(plugin("picky").join("picky.wasm"), trial.path("other.wasm")).unwrap();
    write_varied("varied", "plus", &elsewhere.path("new.wasm"));
    let (job, page) = Seen::start(&trial, &["--ui-actions"]);
    page.told_so("", |view| view["status"]["sinks"][0]["rows"].as_u64() > Some(0));
    let told = done(&page, "/upgrade?stage=made&to=other.wasm");
    assert_eq!(told["failed"], true);
    let words = told["words"].as_str().unwrap();
    assert!(words.contains("it is another package") && words.contains("add --accept"), "{words}");
    assert!(told["command"].as_str().unwrap().ends_with("other.wasm"), "{told}");
    let outside = elsewhere.path("new.wasm").display().to_string();
    for path in [outside.as_str(), "../new.wasm", "--accept", "/etc/passwd"] {
        refused(&page, &format!("/upgrade?stage=made&to={path}"), 400, "in the directory of the job file");
    }
    refused(&page, "/upgrade?stage=made", 400, "no plugin to run");
    refused(&page, "/upgrade?stage=made&to=other.wasm&shadow=5&promote=--accept", 400, "`promote` must be");
    refused(&page, "/upgrade?stage=made&to=other.wasm&shadow=999999999999", 400, "`shadow` must be");
    refused(&page, "/drop", 400, "upgrade=ID");
    refused(&page, "/drop?upgrade=7", 503, "has no such upgrade");
    assert_eq!(plugin_of(&trial), "old.wasm");
    stopped(job);
    drop(feeder);
}

fn stopped(job: Process) {
    let said = job.stop();
    assert!(!said.contains("panicked"), "{said}");
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
    // A section that means nothing: other bytes, the same functions.
    trial.write("new.wasm", [component.as_slice(), &[0, 5, 4, b'n', b'o', b't', 1]].concat());
    let (job, page) = Seen::start(&trial, &["--ui-actions"]);
    page.told_so("", |view| view["status"]["sinks"][0]["rows"].as_u64() > Some(0));
    refused(&page, "/upgrade?stage=n&to=new.wasm", 404, "the job has no stage `n`");
    refused(&page, "/upgrade?stage=sinks.n&to=new.wasm", 404, "the job has no sink `n`");
    let told = done(&page, "/upgrade?stage=sources.n&to=new.wasm");
    assert_eq!(told["failed"], false, "{told}");
    assert_eq!(plugin_of(&trial), "new.wasm");
    let view = page.told_so("", |view| view["upgrades"][0]["step"]["done"].is_object());
    assert_eq!(view["upgrades"][0]["stage"], "sources.n");
    job.stop();
}
