//! What a plugin gets from its `wasi:` imports: a virtual machine that is the same in every run, and in addition only what the
//! job grants: environment variables, and hosts for HTTP requests.

mod net;
mod server;

use millstream_tests::{Ended, Expected, Process, Trial, plugin};
use server::Server;
use std::process::Command;
use std::time::{Duration, Instant};

/// A job whose stage `it` uses this plugin, with one row per request; `stage` has more keys of the stage.
fn job(name: &str, stage: &str, wishes: &[&str]) -> Trial {
    let trial = Trial::new(&format!(
        r#"
        clock = "manual"
        workers = 2
        [sources.wishes]
        kind = "queue"
        path = "input.jsonl"
        schema = {{ value = "text" }}
        [stages.it]
        from = "wishes"
        plugin = "{}"
        {stage}
        [sinks.out]
        from = "it"
        kind = "queue"
        path = "out.jsonl"
        [checkpoint]
        dir = "checkpoint"
        "#,
        plugin(name).display()
    ));
    trial.write("input.jsonl", format!("{}\n", serde_json::to_string(wishes).unwrap()));
    trial
}

/// The plugin's response to each request.
fn answers(trial: &Trial) -> Vec<String> {
    trial.rows("out.jsonl").iter().map(|row| row["value"].as_str().unwrap().to_owned()).collect()
}

/// Runs it to its end, without restarts.
fn run(trial: &Trial) -> Ended {
    trial.run(&["--unsupervised"])
}

fn found(stage: &str, wishes: &[&str]) -> Vec<String> {
    let trial = job("curious", stage, wishes);
    let ended = run(&trial);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    answers(&trial)
}

/// Runs a job that fails, and returns its message.
fn fails(stage: &str, wishes: &[&str]) -> String {
    let ended = run(&job("curious", stage, wishes));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    ended.stderr
}

/// Keys of a stage that may send requests to this server.
fn granted(server: &Server) -> String {
    format!("grant = {{ http = {{ hosts = [\"{}\"] }} }}\nreplayable = false", server.authority)
}

/// Sends HTTP requests; returns the responses and the job's output.
fn http_responses(stage: &str, questions: &[&str]) -> (Vec<String>, String) {
    let trial = job("asker", stage, questions);
    let ended = run(&trial);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    (answers(&trial), ended.stderr)
}

#[test]
fn time_is_virtual_and_sleeping_takes_none() {
    let began = Instant::now();
    let found = found("", &["ticks", "sleep 3600", "wait 5", "look 2", "poll 3600", "now"]);
    assert_eq!(found[..3], ["0 1000000", "3600", "5"]);
    assert_eq!(found[3..5], ["2", "3600 [1]"], "the sooner one of two timers is ready");
    assert_eq!(found[5], "1.000000000", "the batch time, with a manual clock");
    assert!(began.elapsed() < Duration::from_secs(3600));
}

#[test]
fn the_machine_is_invisible_to_plugins() {
    let found = found("", &["arguments", "folder", "folders", "terminal", "read", "env HOME", "env PATH"]);
    assert_eq!(found, ["0", "None", "0", "false", "error: StreamError::Closed", "unset", "unset"]);
}

#[test]
fn the_environment_has_only_granted_variables() {
    let found = found("grant = { env = { REGION = \"eu\" } }", &["env REGION", "env USER"]);
    assert_eq!(found, ["eu", "unset"]);
}

#[test]
fn a_replayed_batch_sees_the_same_time_and_random_numbers() {
    let wishes = ["random", "now", "ticks", "random"];
    let trial = job("curious", "", &wishes);
    let line = trial.text("input.jsonl");
    trial.write("input.jsonl", line.repeat(2));
    assert_eq!(run(&trial).code, Some(0));
    let first = answers(&trial);
    assert_eq!(first.len(), 8);
    assert_ne!(first[0], first[3], "the numbers go on within a call");
    assert_ne!(first[0], first[4], "each batch has its own");
    for workers in ["1", "3"] {
        let arguments = ["replay", "job.toml", "--batch", "2", "--workers", workers];
        let replayed = Process::start(&mut trial.command(&arguments)).wait();
        assert_eq!(replayed.code, Some(0), "{}{}", replayed.stdout, replayed.stderr);
        assert!(replayed.stdout.contains("4 rows, the same as was committed"), "{}", replayed.stdout);
        assert!(!replayed.stdout.contains("not replayable"), "{}", replayed.stdout);
    }
    let other = job("curious", "", &wishes);
    let text = other.text("job.toml").replace("stages.it", "stages.that").replace("from = \"it\"", "from = \"that\"");
    other.write("job.toml", text);
    assert_eq!(run(&other).code, Some(0));
    assert_ne!(answers(&other)[0], first[0], "each stage has its own");
}

#[test]
fn printed_output_goes_to_the_log() {
    let long = format!("print {}", "x".repeat(5000));
    let trial = job("curious", "", &["print one|two", "complain three|", &long, "print  end|"]);
    let ended = run(&trial);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let line = |text: &str| {
        let found = ended.stderr.lines().find(|line| line.contains(text)).map(str::to_owned);
        found.unwrap_or_else(|| panic!("no line {text:?} in {}", ended.stderr))
    };
    assert!(line("one").contains("INFO") && !line("one").contains("two"), "{}", line("one"));
    assert!(line("one").contains("stage=\"it\"") && line("one").contains("curious 0.1.0"), "{}", line("one"));
    assert!(line("three").contains("ERROR"), "{}", line("three"));
    assert!(line("twox").len() < 4500 && ended.stderr.contains('…'), "a line without an end is cut");
    let flooded = run(&job("curious", "", &["flood 10000"]));
    let lines = flooded.stderr.lines().filter(|line| line.contains(" line ")).count();
    assert!((1..=1000).contains(&lines), "{lines} of 10000 lines are logged");
    assert!(flooded.stderr.contains("log lines were dropped"), "{}", flooded.stderr);
}

#[test]
fn a_program_that_exits_fails_with_its_output() {
    let output = fails("", &["complain Traceback (most recent call last):|KeyError: 'price'|", "exit"]);
    assert!(
        output.contains("plugin curious 0.1.0 failed in batch 1: it called exit(0); a plugin must return"),
        "{output}"
    );
    assert!(
        output.contains("its last output:\n    Traceback (most recent call last):\n    KeyError: 'price'\n"),
        "{output}"
    );
}

#[test]
fn host_calls_are_limited_like_the_guest() {
    let output = fails("limits = { handles = 100 }", &["hoard"]);
    assert!(output.contains("it holds more than 100 handles"), "{output}");
    assert!(output.contains("Raise `limits.handles`"), "{output}");
    let output = fails("", &["random-bytes 100000000000"]);
    assert!(
        output.contains("WASI calls took longer than") || output.contains("requests 100000000000 random bytes"),
        "{output}"
    );
    let output = fails("", &["random-bytes 2000000"]);
    assert!(output.contains("it requests 2000000 random bytes; at most 1048576 at a time are allowed"), "{output}");
    assert_eq!(found("", &["random-bytes 1048576"]), ["1048576"]);
    let output = fails("limits = { time = \"0s\" }", &["zeroes 18446744073709551615"]);
    assert!(output.contains("failed in batch 1: "), "{output}");
    let output = fails("limits = { time = \"300ms\" }", &["poll-for-ever"]);
    assert!(output.contains("time limit of 300ms") || output.contains("its WASI calls took longer than"), "{output}");
}

/// If calls are limited by fuel and not by a clock, a loop of host calls must use fuel too.
#[test]
fn a_loop_of_host_calls_runs_out_of_fuel() {
    let trial = job("curious", "on_error = \"reject\"\nlimits = { fuel = 10_000_000 }", &["poll-for-ever"]);
    let output = run(&trial).stderr;
    assert!(output.contains("fuel") || output.contains("instructions"), "{output}");
}

#[test]
fn http_responses_become_rows() {
    let server = Server::start();
    let trial = job("asker", &granted(&server), &[&server.url("GET", "/hello"), &server.url("HEAD", "/hello")]);
    let ended = run(&trial);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(answers(&trial), ["200 hello", "200 "]);
    assert_eq!(server.requests(), ["GET /hello", "HEAD /hello"]);
    let shown = Process::start(&mut trial.command(&["validate", "job.toml"])).wait();
    let message = format!("not replayable: GET, HEAD over HTTP to {}", server.authority);
    assert!(shown.stdout.contains(&message), "{}{}", shown.stdout, shown.stderr);
    let replayed = Process::start(&mut trial.command(&["replay", "job.toml", "--batch", "1"])).wait();
    assert!(replayed.stdout.contains("stage `it` is not replayable"), "{}{}", replayed.stdout, replayed.stderr);
    assert_eq!(server.requests().len(), 4, "it asks again");
}

#[test]
fn no_request_is_sent_without_a_grant() {
    let server = Server::start();
    let trial = job("asker", "", &[&server.url("GET", "/hello")]);
    let ended = run(&trial);
    let output = format!("{}{}", ended.stderr, answers(&trial).concat());
    assert!(output.contains("grant"), "it is told what to write: {output}");
    assert!(server.requests().is_empty(), "{output}");
}

#[test]
fn a_grant_covers_only_its_hosts_ports_and_methods() {
    let (server, other) = (Server::start(), Server::start());
    let by_name = server.url("GET", "/hello").replace("127.0.0.1", "localhost");
    let with_user = server.url("GET", "/hello").replace("127.0.0.1", "me@127.0.0.1");
    let questions = [
        server.url("DELETE", "/hello"),
        other.url("GET", "/hello"),
        by_name.clone(),
        with_user,
        "GET http://127.0.0.1/hello".to_owned(),
        server.url("GET", "/hello"),
    ];
    let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
    let (found, output) = http_responses(&granted(&server), &questions);
    assert!(found[..5].iter().all(|response| response.contains("HttpRequestDenied")), "{found:?}");
    assert_eq!(found[5], "200 hello");
    assert_eq!((server.requests().len(), other.requests().len()), (1, 0));
    assert!(output.contains("add \"DELETE\" to `grant.http.methods`"), "{output}");
    assert!(output.contains(&format!("add \"{}\" to `grant.http.hosts`", other.authority)), "{output}");
    assert!(output.contains(&format!("add \"localhost:{}\" to `grant.http.hosts`", server.port())), "{output}");
    assert!(output.contains("add \"127.0.0.1\" to `grant.http.hosts`"), "{output}");
}

/// The owner of a name decides which address it resolves to, and may change that. A grant of a name is not a grant of this
/// machine.
#[test]
fn a_name_does_not_lead_to_this_machine() {
    let server = Server::start();
    // The system resolves it as a short form of 127.0.0.1; a name server could return that for any name.
    let name = format!("127.1:{}", server.port());
    let stage = |hosts: &str| format!("grant = {{ http = {{ hosts = [{hosts}] }} }}\nreplayable = false");
    let question = format!("GET http://{name}/hello");
    let (answers, output) = http_responses(&stage(&format!("\"{name}\"")), &[&question]);
    assert!(output.contains("the name resolves to 127.0.0.1, which is not an address of another machine"), "{output}");
    assert!(!answers[0].contains("200"), "{answers:?}");
    let (answers, output) = http_responses(&stage(&format!("\"{name}\", \"{}\"", server.authority)), &[&question]);
    assert!(answers[0].starts_with("200"), "{answers:?} {output}");
    let (answers, output) = http_responses(&stage(&format!("\"{name}\"")), &[&question.replace("http:", "https:")]);
    assert!(output.contains("resolves to 127.0.0.1") && !answers[0].contains("200"), "{answers:?} {output}");
}

#[test]
fn a_redirect_is_a_response_and_is_not_followed() {
    let (server, other) = (Server::start(), Server::start());
    server.redirect_to(&other.authority);
    let (found, _) = http_responses(&granted(&server), &[&server.url("GET", "/redirect")]);
    assert_eq!(found, ["302 "]);
    assert!(other.requests().is_empty());
}

#[test]
fn a_server_that_does_not_respond_costs_no_more_than_the_time_limit() {
    let server = Server::start();
    let stage = format!("limits = {{ time = \"2s\" }}\n{}", granted(&server));
    let began = Instant::now();
    // There is time left to handle the missing response.
    let (found, _) = http_responses(&stage, &[&server.url("GET", "/stall")]);
    assert!(found[0].contains("Timeout"), "{found:?}");
    for question in [&server.url("GET", "/drip"), "stuck"] {
        let ended = run(&job("asker", &stage, &[question]));
        assert_eq!(ended.code, Some(1), "{question}: {}", ended.stderr);
        assert!(ended.stderr.contains("it ran longer than its time limit of 2s"), "{question}: {}", ended.stderr);
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn a_plugin_may_stop_waiting() {
    let server = Server::start();
    let stall = format!("within 1 http://{}/stall", server.authority);
    let hello = format!("within 3600 http://{}/hello", server.authority);
    let (found, _) = http_responses(&granted(&server), &[&stall, &hello]);
    assert_eq!(found, ["I gave up", "200 hello"]);
}

#[test]
fn a_request_that_a_call_left_open_ends_with_its_instance() {
    let server = Server::start();
    let trial = job("asker", &granted(&server), &[&format!("within 1 http://{}/stall", server.authority)]);
    let first = trial.text("input.jsonl");
    trial.write("input.jsonl", format!("{first}[\"{}\"]\n", server.url("GET", "/left")));
    assert_eq!(run(&trial).code, Some(0));
    assert_eq!(answers(&trial), ["I gave up", "200 left"]);
}

#[test]
fn https_works_with_servers_that_support_it() {
    let server = Server::start();
    let question = server.url("GET", "/hello").replace("http:", "https:");
    let (found, output) = http_responses(&granted(&server), &[&question, &server.url("GET", "/hello")]);
    assert!(found[0].contains("Tls"), "a server that speaks no TLS: {} {output}", found[0]);
    assert_eq!(found[1], "200 hello");
}

#[test]
fn responses_and_requests_have_a_size_limit() {
    let server = Server::start();
    let upload = |bytes: usize| format!("upload {bytes} http://{}/length", server.authority);
    let (small, large) = (upload(8192), upload(32 << 20));
    let stage = format!(
        "grant = {{ http = {{ hosts = [\"{}\"], methods = [\"GET\", \"POST\"] }} }}\nreplayable = false",
        server.authority
    );
    let endless = server.url("GET", "/endless");
    let (found, _) = http_responses(&stage, &[&small, &endless, &server.url("GET", "/headers"), &large]);
    assert_eq!(found[0], "200 8192");
    assert!(found[1].contains("body size exceeds limit: 16777216 bytes"), "{}", found[1]);
    assert!(!found[2].starts_with("200"), "headers without an end: {}", found[2]);
    assert!(!found[3].starts_with("200"), "{}", found[3]);
}

#[test]
fn concurrent_connections_are_limited() {
    let server = Server::start();
    let (found, _) = http_responses(&granted(&server), &[&format!("many 100 http://{}/slow", server.authority)]);
    let (good, rest) = found[0].split_once(" of 100; ").unwrap();
    assert!((32..100).contains(&good.parse::<u32>().unwrap()), "{}", found[0]);
    assert!(rest.contains("ConnectionLimitReached"), "{rest}");
}

#[test]
fn a_job_says_that_it_gives_up_replay() {
    let http = "grant = { http = { hosts = [\"api.example.com\"] } }";
    let hosts = |host: &str| format!("grant = {{ http = {{ hosts = [\"{host}\"] }} }}\nreplayable = false");
    let mut expected = Expected::of(file!(), "a_job_says_that_it_gives_up_replay");
    for stage in [
        http.to_owned(),
        format!("{http}\nreplayable = false\non_error = \"reject\""),
        "replayable = false".to_owned(),
        hosts("https://api.example.com/v1"),
        hosts("api.example.com/v1"),
        hosts("*"),
        "grant = { http = { hosts = [\"a.org\"], methods = [\"get\"] } }\nreplayable = false".to_owned(),
    ] {
        expected.add(&stage, &job("asker", &stage, &[]).rejected_message(&["validate", "job.toml"]));
    }
    expected.check_parts();
}

/// A device never ends, and a pipe waits for its other end: neither is read, also by `validate`.
#[test]
fn only_regular_files_are_granted() {
    for (path, message) in
        [("/dev/zero", "not a regular file"), ("pipe", "not a regular file"), (".", "Is a directory")]
    {
        let trial = job("curious", &format!("grant = {{ files = {{ words = \"{path}\" }} }}"), &[]);
        assert!(Command::new("mkfifo").arg(trial.path("pipe")).status().unwrap().success());
        for command in ["run", "validate"] {
            let output = trial.rejected_message(&[command, "job.toml"]);
            assert!(output.contains("granted file `words`") && output.contains(message), "{output}");
        }
    }
}
