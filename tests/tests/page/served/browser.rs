//! The page in a real Chromium, which `tests/page/driver.js` drives. `make servers` fetches it.

use super::PageAddress;
use millstream_tests::{Browser, Process, Trial, free_port, holds_within, plugin, signal, wait_until};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// The maximum number of bytes of the page on the wire, all of its files together.
const PAGE_BYTES_MAX: u64 = 100 << 10;
const TOKEN: &str = "0123456789abcdefgh";
/// Markup, scripts, and characters that are invisible or reverse the text around them.
const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u{202e}txet\u{7}\u{1b}[31m&lt;b&gt;javascript:alert(3)";

/// A job with a bit of everything that views show, and a column whose name is markup.
fn job(port: u16) -> String {
    format!(
        r#"
        name = "looked-at"
        batch = "50ms"
        workers = 2
        [checkpoint]
        dir = "checkpoint"
        every = "500ms"
        [sources.in]
        kind = "socket"
        address = "127.0.0.1:{port}"
        format = "json"
        schema = {{ name = "text", n = "int64", todo = "text", second = "int64", "<img src=x onerror=alert(7)>" = "text" }}
        [stages.totals]
        from = "in"
        key = "name"
        plugin = "{}"
        config = {{ column = "n" }}
        [stages.alarms]
        from = "in"
        key = "name"
        plugin = "{}"
        on_error = "reject"
        [sinks.out]
        from = "totals"
        kind = "queue"
        path = "out.jsonl"
        [sinks.rung]
        from = "alarms"
        kind = "nothing"
        [sinks.kept]
        from = "alarms.rejected"
        kind = "nothing"
        "#,
        plugin("running-total").display(),
        plugin("alarm").display()
    )
}

/// A job that runs, what it reads from, and its page.
struct Looked {
    nc: Process,
    job: Process,
    page: PageAddress,
    trial: Trial,
}

impl Looked {
    fn start(file: &str) -> Looked {
        let (rows, served) = (free_port(), free_port());
        let trial = Trial::new("");
        trial.write(file, job(rows));
        let token = trial.write("page.token", TOKEN);
        std::fs::set_permissions(token, std::fs::Permissions::from_mode(0o600)).unwrap();
        let nc = Process::nc(rows);
        let job = run(&trial, file, served);
        let looked = Looked { nc, job, page: PageAddress { port: served, token: TOKEN.into() }, trial };
        looked.page.wait_for_json("", |view| view["state"] == "running");
        looked
    }

    /// Sends this many rows, of as many keys.
    fn rows(&mut self, count: usize) {
        let row = |i| format!("{{\"name\":\"k{i}\",\"n\":1,\"todo\":\"set\",\"second\":{i}}}\n");
        self.nc.say(&(0..count).map(row).collect::<String>());
    }

    fn open(&self, browser: &mut Browser, more: Value) -> Value {
        let mut order = more;
        order["url"] = json!(format!("http://127.0.0.1:{}/?token={}", self.page.port, self.page.token));
        browser.send_command("open", order)
    }

    /// The address of a view within the page.
    fn hash(&self, view: &str) -> String {
        format!("#/{}/{view}", self.page.id())
    }
}

fn run(trial: &Trial, file: &str, served: u16) -> Process {
    let served = format!("127.0.0.1:{served}");
    let arguments = ["run", file, "--ui", &served, "--ui-token-file", "page.token"];
    let mut job = Process::start(&mut trial.isolated_command(&arguments));
    job.wait_for_stderr("page: http://127.0.0.1:");
    job
}

/// The addresses of all views: the tabs, and a page of each kind of part.
fn views(looked: &Looked, browser: &mut Browser) -> Vec<String> {
    let tabs = browser.send_command("views", json!({}));
    let mut views: Vec<String> = tabs.as_array().unwrap().iter().map(|tab| tab.as_str().unwrap().into()).collect();
    assert!(views.len() >= 6, "{views:?}");
    views.extend(["source/in", "stage/totals", "sink/out"].map(|part| looked.hash(&format!("part/{part}"))));
    views
}

#[test]
fn every_view_opens_and_updates_while_rows_flow() {
    let mut looked = Looked::start("job.toml");
    looked.rows(3);
    looked.nc.say("no json, the first\n");
    looked.page.wait_for_json("/refused", |rows| rows[0].is_object());
    let mut browser = Browser::start();
    let opened = looked.open(&mut browser, json!({}));
    let files = opened["files"].as_array().unwrap();
    let bytes: u64 =
        files.iter().filter(|file| file["type"] != "EventSource").map(|file| file["bytes"].as_u64().unwrap_or(0)).sum();
    println!("first paint after {} ms; {} files, {bytes} bytes", opened["paint"], files.len());
    assert!(files.len() > 5 && bytes > 5_000 && bytes < PAGE_BYTES_MAX, "{bytes}: {opened:#}");

    // The overview is updated without loading anything again.
    browser.send_command("evaluate", json!({ "code": "void (window.stays = true)" }));
    browser.wait_for_text("#content", r"3 rows since startup");
    looked.rows(3);
    browser.wait_for_text("#content", r"6 rows since startup");
    assert!(browser.text("#head").contains("looked-at"));
    for name in ["in", "totals", "alarms", "out"] {
        browser.send_command("there", json!({ "selector": format!(".graph a[href$='/{name}']") }));
    }
    let workers = browser.wait_for_text("#content", r"Worker 1\s+\d+ %");
    assert!(workers.contains("Worker 0") && !workers.contains("Worker 2"), "{workers}");
    // A click on a part of the graph opens its view.
    browser.send_command("click", json!({ "selector": ".graph a[href$='stage/totals']" }));
    let part = browser.wait_for_text("#content", r"Plugin running-total");
    assert!(part.contains("Digest") && part.contains("Calls"), "{part}");

    for view in views(&looked, &mut browser) {
        browser.view(&view);
        let text = browser.text("#content");
        assert!(text.len() > 10, "{view}: {text:?}");
        browser.assert_no_errors();
    }
    // All of them are updated: batches with time, rejected rows, checkpoints, the log.
    let batches = "#content table tbody tr:nth-child(6) td:first-child";
    browser.view(&looked.hash("batches"));
    let before: u64 = browser.wait_for_text(batches, r"\d").replace(',', "").trim().parse().unwrap();
    let grows = holds_within(Duration::from_secs(20), || {
        browser.text(batches).replace(',', "").trim().parse::<u64>().is_ok_and(|now| now > before)
    });
    assert!(grows, "batches stand still at {before}");
    browser.view(&looked.hash("refused"));
    browser.wait_for_text("#content", "the first|not JSON|no json");
    // Typed text stays while the list is updated.
    browser.send_command("fill", json!({ "selector": "#search-refused", "text": "second" }));
    looked.nc.say("no json, the second\n");
    browser.wait_for_text("#content", r"no json, the second");
    assert!(!browser.text("#content").contains("the first"), "only what was searched for");
    let typed = browser.send_command("evaluate", json!({ "code": "document.getElementById('search-refused').value" }));
    assert_eq!(typed, "second");
    browser.view(&looked.hash("history"));
    let last = r"After batch";
    let shown = browser.wait_for_text("#content", last);
    looked.rows(1);
    let grows = holds_within(Duration::from_secs(20), || browser.text("#content") != shown);
    assert!(grows, "no checkpoint more: {shown}");
    browser.view(&looked.hash("log"));
    browser.wait_for_text("#content", "begins at batch 1");
    browser.view(&looked.hash("state"));
    browser.send_command("fill", json!({ "selector": "#sql", "text": "select count(*) as rows_there, 1234567890123456789 as big, '-12345678901234567890' as a from totals" }));
    browser.send_command("click", json!({ "selector": "form button" }));
    // Columns in the order of the query, integers with all their digits, and strings as they are.
    browser
        .wait_for_text("#content table", r"rows_there\s+big\s+a\s+\d+\s+1234567890123456789\s+-12345678901234567890");
    // With the keyboard: the first element skips what is on every view.
    browser.view(&looked.hash("overview"));
    browser.send_command("press", json!({ "key": "Tab" }));
    let stays = browser.send_command("evaluate", json!({ "code": "window.stays === true" }));
    assert_eq!(stays, true, "the page was loaded again");
    browser.assert_no_errors();
    looked.job.stop();
}

#[test]
fn the_page_reports_a_lost_job_and_continues_when_it_is_back() {
    let mut looked = Looked::start("job.toml");
    looked.rows(2);
    let mut browser = Browser::start();
    looked.open(&mut browser, json!({}));
    browser.wait_for_text("#content", "2 rows since startup");
    // The worker process is suspended until its supervisor abandons it.
    let [worker] = looked.job.children()[..] else { panic!("{:?}", looked.job.children()) };
    signal("STOP", worker);
    browser.wait_for_text(".sign", "^no answer");
    browser.wait_for_text(".summary", "has not responded for");
    browser.wait_for_text(".sign", "^(keeping up|running)");
    browser.wait_for_text("#content", "1 restart");
    looked.rows(3);
    let rows = |output: &Value| output["status"]["sources"][0]["rows"].as_u64();
    looked.page.wait_for_json("", |view| rows(view) >= Some(3));
    browser.view(&looked.hash("history"));
    browser.wait_for_text("#content", "worker process does not respond and was killed");

    // Page and job die completely and are started again.
    let server = looked.job.id();
    let workers = looked.job.children();
    signal("KILL", server);
    wait_until("its processes have gone", || !workers.iter().any(|worker| millstream_tests::is_alive(*worker)));
    browser.send_command("there", json!({ "selector": "body.stale" }));
    looked.job = run(&looked.trial, "job.toml", looked.page.port);
    browser.send_command("there", json!({ "selector": "body:not(.stale)" }));
    browser.view(&looked.hash("overview"));
    looked.rows(1);
    browser.wait_for_text("#content", r"[1-9]\d* rows? since startup");
    browser.wait_for_text(".sign", "^(keeping up|running)");
    browser.assert_no_errors();
    looked.job.stop();
}

#[test]
fn untrusted_names_and_rows_stay_text_in_every_view() {
    let mut looked = Looked::start("<img src=x onerror=alert(4)>.toml");
    let text = serde_json::to_string(HOSTILE).unwrap();
    let row = |name: &str, n: &str, todo: &str| {
        format!("{{\"name\":{name},\"n\":{n},\"todo\":{todo},\"second\":1,\"<img src=x onerror=alert(7)>\":{text}}}\n")
    };
    // In a key of a state and a column; in a plugin's message for a row; in a decoder's.
    looked.nc.say(&[row(&text, "1", "\"set\""), row(&text, "1", &text), row(&text, &text, "\"set\"")].concat());
    looked.page.wait_for_json("/refused", |rows| rows.as_array().unwrap().len() >= 2);
    looked.page.wait_for_json("", |view| view["checkpoints"][0].is_object());
    let mut browser = Browser::start();
    looked.open(&mut browser, json!({}));
    let mut seen = 0;
    for view in views(&looked, &mut browser) {
        browser.view(&view);
        if view.ends_with("/state") {
            browser.send_command("fill", json!({ "selector": "#sql", "text": "select * from totals" }));
            browser.send_command("click", json!({ "selector": "form button" }));
            browser.wait_for_text("#content table", "alert");
        }
        let text = browser.text("body");
        seen += usize::from(text.contains("<script>alert(1)</script>"));
        assert!(!text.contains(['\u{202e}', '\u{7}', '\u{1b}']), "{view}: {text:?}");
        let made = browser.send_command(
            "evaluate",
            json!({ "code": "document.querySelectorAll('body script, body img, body b').length" }),
        );
        assert_eq!(made, 0, "{view}: markup of a stranger became elements");
        browser.assert_no_errors();
    }
    assert!(seen >= 2, "the text is shown in {seen} views only");
    browser.view(&looked.hash("refused"));
    let text = browser.text("#content");
    assert!(
        text.contains("is no order") && text.contains(r"\u202e") && text.contains("<img src=x onerror=alert(7)>"),
        "{text}"
    );
    assert!(browser.text("#head").contains("<img src=x onerror=alert(4)>"), "the name of the file");
    looked.job.stop();
}

/// The visible part is rendered first, then the rest: all of it can be seen, reached with the keyboard and read aloud.
#[test]
fn a_job_of_three_hundred_stages_is_drawn_completely() {
    let lanes = 10;
    let stages = (0..300).map(|at| {
        let from = if at < lanes { "in".to_owned() } else { format!("s{}", at - lanes) };
        format!("[stages.s{at}]\nfrom = \"{from}\"\nfilter = \"true\"\n")
    });
    let stages: String = stages.collect();
    let trial = Trial::new(&format!(
        "name = \"large\"\nbatch = \"100ms\"\n[sources.in]\nkind = \"rate\"\nrows_per_second = 100\n{stages}\
         [sinks.out]\nfrom = \"s299\"\nkind = \"nothing\"\n"
    ));
    let (job, page) = PageAddress::start(&trial, &[]);
    page.wait_for_json("", |view| view["graph"]["parts"].as_array().unwrap().len() == 302);
    let mut browser = Browser::start();
    let url = format!("http://127.0.0.1:{}/?token={}", page.port, page.token);
    browser.send_command("open", json!({ "url": url }));
    let mut count = |selector: &str| {
        browser.send_command("evaluate", json!({ "code": format!("document.querySelectorAll(\"{selector}\").length") }))
    };
    wait_until("all parts are drawn", || count(".graph a") == 302);
    wait_until("all parts are in the table", || count("#content tbody tr") == 302);
    assert_eq!(count(".graph path.edge"), 301);
    // In the order of the job, each with its own label.
    let called = browser.send_command(
        "evaluate",
        json!({ "code": "[...document.querySelectorAll('.graph a')].map((a) => a.querySelector('title').textContent.split(',')[0])" }),
    );
    let stages = (0..300).map(|at| format!("stage s{at}"));
    let expected: Vec<String> = ["source in".into()].into_iter().chain(stages).chain(["sink out".into()]).collect();
    assert_eq!(called, json!(expected));
    // The sources are visible first.
    let seen = "(() => { const all = document.querySelector('.graph').getBoundingClientRect(), one = document.querySelector('.graph a').getBoundingClientRect(); \
                return one.top >= all.top && one.bottom <= all.bottom && one.left >= all.left && one.right <= all.right; })()";
    assert_eq!(browser.send_command("evaluate", json!({ "code": seen })), true);
    // Its numbers are updated.
    let rate = "document.querySelector(\".graph a[href$='stage/s299'] .facts\").textContent";
    wait_until("rows are counted", || {
        let shown = browser.send_command("evaluate", json!({ "code": rate }));
        shown.as_str().unwrap().strip_suffix("/s").is_some_and(|rate| rate.parse::<u64>().is_ok_and(|rate| rate > 0))
    });
    browser.send_command("click", json!({ "selector": ".graph a[href$='stage/s299']" }));
    browser.wait_for_text("#content h2", "s299");
    browser.assert_no_errors();
    job.stop();
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn every_view_is_accessible_in_light_and_dark_wide_and_narrow() {
        let mut looked = Looked::start("job.toml");
        looked.rows(4);
        looked.nc.say("no json\n");
        looked.page.wait_for_json("/refused", |rows| rows[0].is_object());
        looked.page.wait_for_json("", |view| view["checkpoints"][0].is_object());
        let mut wrong = Vec::new();
        for (dark, width) in [(false, 1280), (true, 1280), (false, 390), (true, 390)] {
            let mut browser = Browser::start();
            looked.open(&mut browser, json!({ "dark": dark, "width": width, "height": 800 }));
            for view in views(&looked, &mut browser) {
                browser.view(&view);
                let found = browser.send_command("axe", json!({}));
                if found != json!([]) {
                    wrong.push(format!("{view}, dark: {dark}, {width} wide: {found:#}"));
                }
                let fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";
                if browser.send_command("evaluate", json!({ "code": fits })) != true {
                    wrong.push(format!("{view} is wider than {width}"));
                }
            }
            browser.assert_no_errors();
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        looked.job.stop();
    }

    #[test]
    fn ten_concurrent_viewers_all_see_the_job_continue() {
        let mut looked = Looked::start("job.toml");
        looked.rows(1);
        let mut browser = Browser::start();
        looked.open(&mut browser, json!({ "pages": 10, "width": 800, "height": 600 }));
        let batches = |looked: &Looked| looked.page.get_json("")["status"]["batches_committed"].as_u64().unwrap();
        let before = batches(&looked);
        for rows in [2, 4] {
            looked.rows(rows / 2);
            for at in 0..10 {
                let order =
                    json!({ "at": at, "selector": "#content", "pattern": format!("{rows} rows since startup") });
                browser.send_command("until", order);
            }
        }
        for at in 0..10 {
            assert_eq!(browser.send_command("wrong", json!({ "at": at })), json!([]), "viewer {at}");
        }
        assert!(batches(&looked) > before, "the job goes on");
        looked.job.stop();
    }

    #[test]
    fn the_list_of_all_jobs_is_a_view_as_well() {
        let mut looked = Looked::start("job.toml");
        let mut ui = Process::start(looked.trial.isolated_command(&["ui"]).env("TMPDIR", looked.trial.dir()));
        let page = PageAddress::of(&mut ui);
        let mut browser = Browser::start();
        for dark in [false, true] {
            let url = format!("http://127.0.0.1:{}/?token={}", page.port, page.token);
            browser.send_command("open", json!({ "url": url, "dark": dark, "width": 390 }));
            browser.wait_for_text("#content", "looked-at");
            assert_eq!(browser.send_command("axe", json!({})), json!([]));
            browser.send_command("click", json!({ "selector": ".jobs a" }));
            looked.rows(1);
            browser.wait_for_text("#content", "Graph");
            browser.assert_no_errors();
            browser.send_command("close", json!({}));
        }
        looked.job.stop();
    }
}
