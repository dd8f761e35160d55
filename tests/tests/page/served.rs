//! The page of a running job, as a browser, Prometheus and programs get it: over plain HTTP, byte by byte.

mod browser;
mod prometheus;

use millstream_tests::page::{PageAddress, head, news};
use millstream_tests::{DEADLINE, Feeder, Process, Trial, free_port, holds_within, plugin, root, signal};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

/// A job with checkpoints that reads lines as JSON, counts them by name, and never ends.
fn job(port: u16, more: &str) -> Trial {
    Trial::new(&format!(
        r#"
        name = "counted"
        batch = "20ms"
        workers = 2
        {more}
        [checkpoint]
        dir = "checkpoint"
        every = "100ms"
        [sources.in]
        kind = "socket"
        address = "127.0.0.1:{port}"
        format = "json"
        schema = {{ name = "text", n = "int64" }}
        [stages.totals]
        from = "in"
        key = "name"
        plugin = "{}"
        config = {{ column = "n" }}
        [sinks.out]
        from = "totals"
        kind = "queue"
        path = "out.jsonl"
        "#,
        plugin("running-total").display()
    ))
}

/// A job without checkpoints, in one process, that generates its rows.
fn simple(more: &str) -> Trial {
    Trial::new(&format!(
        "name = \"simple\"\nbatch = \"20ms\"\nworkers = 1\n{more}\n[sources.in]\nkind = \"rate\"\nrows_per_second = 200\n\
         [stages.odd]\nfrom = \"in\"\nsql = \"select value from \\\"in\\\" where value % 2 = 1\"\n\
         [sinks.out]\nfrom = \"odd\"\nkind = \"nothing\"\n"
    ))
}

#[test]
fn the_page_requires_the_token_and_its_own_host_name() {
    let trial = simple("");
    let (job, page) = PageAddress::start(&trial, &[]);
    let (host, bearer) = (page.host(), page.bearer());
    assert_eq!(page.send_request("GET", "/", &host, &[]).status, 401);
    assert_eq!(page.send_request("GET", "/?token=0123456789abcdef", &host, &[]).status, 401);
    for path in ["/api/v1/jobs", "/metrics", "/assets/page.js", "/nothing"] {
        assert_eq!(page.send_request("GET", path, &host, &[]).status, 401, "{path}");
    }
    assert_eq!(page.send_request("GET", "/healthz", &host, &[]).status, 200);
    let opened = page.send_request("GET", &format!("/?token={}", page.token), &host, &[]);
    assert_eq!((opened.status, opened.header("location")), (303, Some("/")), "the token leaves the address");
    let cookie = opened.header("set-cookie").unwrap();
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(&page.token), "{cookie}");
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    let complete = page.send_request("GET", "/", &host, &[&cookie]);
    assert_eq!((complete.status, complete.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = complete.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(complete.header("x-content-type-options"), Some("nosniff"));
    // Everything that it links to exists.
    let names = Regex::new("(?:href|src)=\"(/[^\"]+)\"").unwrap();
    let files: Vec<&str> = names.captures_iter(&complete.body).map(|name| name.get(1).unwrap().as_str()).collect();
    assert!(files.len() >= 3, "{files:?}");
    files.iter().for_each(|file| assert_eq!(page.send_request("GET", file, &host, &[&cookie]).status, 200, "{file}"));

    for wrong in ["evil.example", "localhost", "10.1.2.3:80", &format!("evil.example:{}", page.port)] {
        assert_eq!(page.send_request("GET", "/", wrong, &[&bearer]).status, 421, "{wrong}");
        assert_eq!(page.send_request("GET", "/healthz", wrong, &[]).status, 421, "{wrong}");
    }
    assert_eq!(page.send_request("GET", "/", &format!("localhost:{}", page.port), &[&bearer]).status, 200);
    for origin in ["Origin: http://evil.example", "Origin: null", "Origin: https://127.0.0.1"] {
        assert_eq!(page.send_request("GET", "/api/v1/jobs", &host, &[&cookie, origin]).status, 403, "{origin}");
    }
    assert_eq!(page.send_request("PUT", "/", &host, &[&bearer, &format!("Origin: http://{host}")]).status, 405);
    assert!(!job.stop().contains("panicked"));
}

#[test]
fn a_page_can_be_disabled_and_other_machines_need_a_chosen_token() {
    for (more, arguments) in [("ui = false", vec!["--timeout", "300ms"]), ("", vec!["--no-ui", "--timeout", "300ms"])] {
        let ended = simple(more).run_ok(&arguments);
        assert!(!ended.stderr.contains("http://"), "{}", ended.stderr);
    }
    let trial = simple("");
    for address in ["0.0.0.0:0", "[::]:0"] {
        let ended = trial.run_command(&["run", "job.toml", "--ui", address]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        for message in ["other machines can reach", "not encrypted", "--ui-cert FILE", "--ui-token-file FILE"] {
            assert!(ended.stderr.contains(message), "{message}: {}", ended.stderr);
        }
    }
    let file = trial.write("token", "0123456789abcdefgh\n");
    let ended = trial.run_command(&["run", "job.toml", "--ui-token-file", "token"]);
    assert!(ended.code == Some(2) && ended.stderr.contains("chmod 600"), "{}", ended.stderr);
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let port = free_port();
    let arguments = ["run", "job.toml", "--ui", &format!("0.0.0.0:{port}"), "--ui-token-file", "token"];
    let mut job = Process::start(&mut trial.isolated_command(&arguments));
    job.wait_for_stderr("page: http://0.0.0.0:");
    assert!(!job.stderr().contains("0123456789abcdefgh"), "{}", job.stderr());
    let page = PageAddress { port, token: "0123456789abcdefgh".into() };
    assert_eq!(page.get("/metrics").status, 200);
    assert_eq!(page.send_request("GET", "/metrics", "evil.example", &[&page.bearer()]).status, 421);
    job.stop();
}

#[test]
fn the_api_follows_the_rows() {
    let port = free_port();
    let (mut nc, trial) = (Process::nc(port), job(port, ""));
    let (job, page) = PageAddress::start(&trial, &[]);
    nc.say("{\"name\":\"a\",\"n\":1}\n{\"name\":\"b\",\"n\":2}\n");
    let view = page.wait_for_json("", |view| view["status"]["sinks"][0]["rows"].as_u64() >= Some(2));
    assert_eq!(
        (&view["state"], &view["status"]["job"], &view["supervised"]),
        (&"running".into(), &"counted".into(), &true.into())
    );
    let parts: Vec<&str> =
        view["graph"]["parts"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(&parts[..1], ["in"]);
    assert!(parts.contains(&"totals") && parts.contains(&"out"), "{parts:?}");
    let totals = parts.iter().position(|part| *part == "totals").unwrap();
    // The first checkpoints may be older than the rows.
    let has_rows = |checkpoint: &Value| checkpoint["bytes"].as_u64() > Some(0);
    let view = page.wait_for_json("", |view| {
        view["parts"][totals]["state_rows"] == 2
            && view["checkpoints"].as_array().is_some_and(|checkpoints| checkpoints.iter().any(has_rows))
    });
    assert!(view["parts"][totals]["state_bytes"].as_u64() > Some(0), "{view}");

    // A batch from its beginning to its commit, with the work of each part.
    let all = page
        .wait_for_json("/batches", |all| all.as_array().unwrap().iter().any(|batch| batch["rows"].as_u64() > Some(0)));
    let with_rows = all.as_array().unwrap().iter().find(|batch| batch["rows"].as_u64() > Some(0)).unwrap();
    let us = |name: &str| with_rows[name].as_u64().unwrap_or_else(|| panic!("{name}: {with_rows}"));
    assert!(us("ready_us") <= us("committed_us") && us("planned_us") <= us("committed_us"), "{with_rows}");
    let worked: BTreeSet<u64> =
        with_rows["parts"].as_array().unwrap().iter().map(|part| part["part"].as_u64().unwrap()).collect();
    let places = ["in", "totals", "out"].map(|name| parts.iter().position(|part| *part == name).unwrap() as u64);
    assert!(places.iter().all(|place| worked.contains(place)), "{with_rows}");
    let last = all.as_array().unwrap().last().unwrap()["number"].as_u64().unwrap();
    let newer = page.wait_for_json(&format!("/batches?after={last}"), |newer| !newer.as_array().unwrap().is_empty());
    assert!(newer.as_array().unwrap().iter().all(|batch| batch["number"].as_u64() > Some(last)), "{newer}");
    let log = page.get_json("/log").to_string();
    assert!(log.contains("begins at batch 1"), "{log}");

    // Events arrive on their own.
    let path = format!("/api/v1/jobs/{}/events", page.id());
    let mut stream = page.send("GET", &path, &page.host(), &[&page.bearer()]);
    assert_eq!(head(&mut stream).0, 200);
    let first = news(&mut stream);
    assert!(!first["batches"].as_array().unwrap().is_empty(), "{first}");
    nc.say("{\"name\":\"c\",\"n\":3}\n");
    let rows = |news: &Value| news["view"]["status"]["sources"][0]["rows"].as_u64().unwrap();
    let before = rows(&first);
    let came = holds_within(DEADLINE, || rows(&news(&mut stream)) > before);
    assert!(came, "the row is told of");

    // The content of the checkpoint.
    let response =
        page.wait_for_json("/state?sql=select+count(*)+as+n+from+totals", |response| response["rows"][0]["n"] == 3);
    assert_eq!(response["rows"].as_array().unwrap().len(), 1);
    let ordered = "select+count(*)+as+z,+9223372036854775807+as+big,+1+as+a+from+totals";
    let ordered = page.get(&format!("/api/v1/jobs/{}/state?sql={ordered}", page.id()));
    assert_eq!(ordered.body, r#"{"columns":["z","big","a"],"rows":[{"z":3,"big":9223372036854775807,"a":1}]}"#);
    let wrong = page.get(&format!("/api/v1/jobs/{}/state?sql=select%20nonsense", page.id()));
    assert!(wrong.status == 400 && wrong.body.contains("nonsense"), "{wrong:?}");
    assert_eq!(page.get("/api/v1/jobs/0000000000000000").status, 404);
    drop(stream);
    job.stop();
}

#[test]
fn the_hottest_keys_and_the_largest_key_groups_are_shown() {
    let hot = "<b>hot</b>";
    let feeder = Feeder::start(move |number| {
        let name = if number % 10 < 7 { hot.to_owned() } else { format!("cold {number} {}", "x".repeat(100)) };
        format!("{{\"name\":\"{name}\",\"n\":1}}")
    });
    let trial = job(feeder.port(), "");
    let (job, page) = PageAddress::start(&trial, &[]);
    let parts = |view: &Value| view["graph"]["parts"].as_array().unwrap().clone();
    let totals = |view: &Value| {
        let place = parts(view).iter().position(|part| part["name"] == "totals");
        place.map(|place| view["parts"][place].clone()).unwrap_or_default()
    };
    let view = page.wait_for_json("", |view| {
        let own = totals(view);
        own["hot_keys"]["looked_at"].as_u64() > Some(100) && own["spread"]["rows"].as_u64() > Some(100)
    });
    let own = totals(&view);
    let hottest = &own["hot_keys"]["keys"][0];
    assert_eq!(hottest["key"], hot, "{own}");
    let share = hottest["rows"].as_f64().unwrap() / own["hot_keys"]["looked_at"].as_f64().unwrap();
    assert!((0.5..0.9).contains(&share), "{own}");
    let others = own["hot_keys"]["keys"].as_array().unwrap().len() - 1;
    assert!(others <= 9, "{own}");
    let largest = own["spread"]["largest"].as_array().unwrap();
    assert_eq!(largest.len(), 16, "{own}");
    assert!(
        largest.iter().all(|group| group["group"].as_u64() < Some(4096) && group["bytes"].as_u64() > Some(100)),
        "{own}"
    );
    assert!(own["spread"]["groups"].as_u64() > Some(50) && own["spread"]["bytes"].as_u64() > Some(10_000), "{own}");
    job.stop();
}

#[test]
fn an_open_page_continues_when_the_job_is_killed() {
    let port = free_port();
    let (mut nc, trial) = (Process::nc(port), job(port, ""));
    let (mut job, page) = PageAddress::start(&trial, &[]);
    nc.say("{\"name\":\"a\",\"n\":1}\n");
    page.wait_for_json("", |view| view["status"]["sinks"][0]["rows"].as_u64() >= Some(1));
    let path = format!("/api/v1/jobs/{}/events", page.id());
    let mut stream = page.send("GET", &path, &page.host(), &[&page.bearer()]);
    head(&mut stream);
    let first = news(&mut stream);
    let (pid, kept) = (first["view"]["pids"][0].as_u64().unwrap(), first["batches"].as_array().unwrap().len());
    assert_eq!(job.children(), [u32::try_from(pid).unwrap()], "the page is not in the process that runs the job");
    signal("KILL", u32::try_from(pid).unwrap());
    let again = holds_within(DEADLINE, || {
        let view = &news(&mut stream)["view"];
        view["state"] == "running" && view["pids"][0].as_u64().is_some_and(|now| now != pid)
    });
    assert!(again, "the same stream tells of the job that goes on: {}", job.stderr());
    let view = page.get_json("");
    let why = view["restarts"][0]["why"].as_str().unwrap();
    assert!(why.starts_with("worker process died (signal 9)"), "{why}");
    assert!(view["diagnosis"]["sentences"].to_string().contains("restarted once"), "{view}");
    let all = page.get_json("/batches");
    assert!(all.as_array().unwrap().len() >= kept.min(100), "batches of the process that died are kept");
    let numbers: Vec<u64> = all.as_array().unwrap().iter().map(|batch| batch["number"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert!(page.get_json("/log").to_string().contains("died (signal 9)"));
    job.wait_for_stderr("resumes after the checkpoint");
    job.stop();
}

/// Browsers connect before they send a request, and a busy machine delays that for long.
#[test]
fn a_connection_may_be_idle_for_a_while_but_a_head_must_not_take_long() {
    let trial = simple("");
    let (job, page) = PageAddress::start(&trial, &[]);
    let connect = || {
        let stream = TcpStream::connect(page.host()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    };
    let (mut silent, mut halting) = (connect(), connect());
    halting.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let mut printed = Vec::new();
    halting.read_to_end(&mut printed).expect("a head that does not go on ends the connection");
    let ask = format!("GET /api/v1/jobs HTTP/1.1\r\nHost: {}\r\n{}\r\n\r\n", page.host(), page.bearer());
    silent.write_all(ask.as_bytes()).unwrap();
    assert_eq!(head(&mut BufReader::new(silent)).0, 200);
    job.stop();
}

#[test]
fn the_content_of_a_row_stays_text() {
    let port = free_port();
    let (mut nc, trial) = (Process::nc(port), job(port, ""));
    let (job, page) = PageAddress::start(&trial, &[]);
    let hostile = "</script><script>alert(1)</script> \\u202e \\u0007 \\u001b[31m data:\\n\\nevent: x";
    nc.say(&format!("{{\"name\":\"{hostile}\",\"n\":\"{hostile}\"}}\n"));
    let refused = page.wait_for_json("/refused", |rows| rows[0].is_object());
    assert_eq!((&refused[0]["part"], &refused[0]["late"]), (&"in".into(), &false.into()));
    let reply = page.get(&format!("/api/v1/jobs/{}/refused", page.id()));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert!(reply.body.contains("<script>alert(1)</script>"), "{}", reply.body);
    assert!(!reply.body.contains(['\u{7}', '\u{1b}', '\n']), "{}", reply.body);
    // One event is one line of data, whatever its content.
    let mut stream = page.send("GET", &format!("/api/v1/jobs/{}/events", page.id()), &page.host(), &[&page.bearer()]);
    head(&mut stream);
    assert!(news(&mut stream)["refused"].to_string().contains("alert(1)"));
    drop(stream);
    job.stop();
}

#[test]
fn a_job_is_stopped_from_the_page_only_if_permitted() {
    let trial = simple("");
    let (job, page) = PageAddress::start(&trial, &[]);
    let path = format!("/api/v1/jobs/{}/stop", page.id());
    let own = format!("Origin: http://{}", page.host());
    let reply = page.send_request("POST", &path, &page.host(), &[&page.bearer(), &own]);
    assert!(reply.status == 403 && reply.body.contains("--ui-actions"), "{reply:?}");
    job.stop();
    let (job, page) = PageAddress::start(&trial, &["--ui-actions"]);
    page.wait_for_json("", |view| view["status"]["sinks"][0]["rows"].as_u64() > Some(0));
    for (headers, status) in [(vec![own.as_str()], 403), (vec![page.bearer().as_str()], 403)] {
        assert_eq!(page.send_request("POST", &path, &page.host(), &headers).status, status, "{headers:?}");
    }
    let own = format!("Origin: http://{}", page.host());
    assert_eq!(page.send_request("POST", &path, &page.host(), &[&own]).status, 401);
    assert_eq!(page.send_request("POST", &path, &page.host(), &[&page.bearer(), &own]).status, 200);
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn one_page_shows_all_jobs_of_a_user() {
    let (trial, other) = (simple(""), simple(""));
    let (first, _) = PageAddress::start(&trial, &[]);
    let mut command = other.command(&["run", "job.toml", "--no-ui"]);
    let mut second = Process::start(command.env("XDG_RUNTIME_DIR", trial.dir()));
    second.wait_until("it runs", |second| second.stderr().contains("the job keeps no checkpoints"));
    // Jobs of other tests have their sockets in the common directory.
    let mut ui = Process::start(trial.isolated_command(&["ui"]).env("TMPDIR", trial.dir()));
    let page = PageAddress::of(&mut ui);
    let list = || -> Value { serde_json::from_str(&page.get("/api/v1/jobs").body).unwrap() };
    let both = holds_within(DEADLINE, || list()["jobs"].as_array().unwrap().len() == 2);
    assert!(both, "{}", list());
    assert_eq!(list()["all"], true);
    second.stop();
    assert!(holds_within(DEADLINE, || list()["jobs"].as_array().unwrap().len() == 1), "{}", list());
    first.stop();
}

#[test]
fn a_panic_of_the_page_does_not_affect_the_job() {
    for thread in ["millstream-page", "millstream-page-poll"] {
        let trial = simple("");
        let mut command = trial.isolated_command(&["run", "job.toml"]);
        let mut job = Process::start(command.env("MILLSTREAM_TEST_FAULT", format!("panic@{thread}:1")));
        job.wait_for_stderr("the page is no longer ");
        job.wait_for_stderr("the job keeps no checkpoints");
        job.stop();
    }
}

#[test]
fn logs_are_json_if_requested() {
    let trial = simple("");
    let mut command = trial.isolated_command(&["run", "job.toml", "--timeout", "300ms"]);
    let ended = Process::start(command.env("MILLSTREAM_LOG_FORMAT", "json")).wait();
    let lines: Vec<Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        lines.iter().any(|line| line["level"] == "INFO" && line["message"].as_str().unwrap().starts_with("done: "))
    );
}

/// The `/metrics` of a job with all features.
fn metrics(page: &PageAddress) -> String {
    let reply = page.get("/metrics");
    assert!(reply.header("content-type").unwrap().starts_with("application/openmetrics-text"), "{reply:?}");
    reply.body
}

#[test]
fn every_metric_of_dashboard_and_alerts_exists() {
    let port = free_port();
    let (mut nc, trial) = (Process::nc(port), job(port, ""));
    let (job, page) = PageAddress::start(&trial, &[]);
    nc.say("{\"name\":\"a\",\"n\":1}\nno json\n");
    page.wait_for_json("", |view| {
        view["checkpoints"][0].is_object() && view["status"]["sinks"][0]["rows"].as_u64() >= Some(1)
    });
    let text = metrics(&page);
    assert!(text.ends_with("# EOF\n"), "{text}");
    let value = |line: &str| text.lines().find_map(|output| output.strip_prefix(line)?.trim().parse::<f64>().ok());
    assert_eq!(value("millstream_up{job_name=\"counted\"}"), Some(1.0), "{text}");
    assert_eq!(
        value("millstream_rejected_rows_total{job_name=\"counted\",part=\"in\",role=\"source\"}"),
        Some(1.0),
        "{text}"
    );
    let given: BTreeSet<&str> =
        text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(['{', ' ']).next().unwrap()).collect();
    let names = Regex::new(r"millstream_[a-z_]+").unwrap();
    for file in ["deploy/grafana.json", "deploy/alerts.yml"] {
        let requests = std::fs::read_to_string(root().join(file)).unwrap();
        let requests: BTreeSet<&str> = names.find_iter(&requests).map(|name| name.as_str()).collect();
        assert!(requests.len() > 5, "{file}: {requests:?}");
        // Only a server that knows its backlog gives this.
        let rare = ["millstream_behind_rows", "millstream_plugin_failures_total", "millstream_watermark_seconds"];
        let missing: Vec<_> = requests.iter().filter(|name| !given.contains(**name) && !rare.contains(name)).collect();
        assert!(missing.is_empty(), "{file} asks for {missing:?}; there are {given:?}");
    }
    let dashboard = std::fs::read_to_string(root().join("deploy/grafana.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 5);
    assert_eq!(page.send_request("GET", "/readyz", &page.host(), &[]).status, 200);
    job.stop();
}
