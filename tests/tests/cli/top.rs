//! `millstream top` on its own terminal: its screen, its keys, and its effects on the terminal.

use millstream_tests::{Process, Screen, Trial, free_port, plugin, shown_block, signal};

/// A job of a plugin that is slow enough to be visible, with a second path and rejected rows.
fn job(more: &str) -> Trial {
    Trial::new(&format!(
        r#"
        name = "seen"
        batch = "50ms"
        workers = 1
        {more}
        [sources.in]
        kind = "rate"
        rows_per_second = 1000
        [stages.words]
        from = "in"
        sql = "select 'a b' as value, value as n from \"in\""
        [stages.split]
        from = "words"
        plugin = "{}"
        [stages.odd]
        from = "words"
        filter = "n % 2 = 1"
        [sinks.all]
        from = ["split"]
        kind = "nothing"
        [sinks.odds]
        from = "odd"
        kind = "nothing"
        "#,
        plugin("split-words").display()
    ))
}

const CHECKPOINT: &str = "[checkpoint]\ndir = \"checkpoint\"\nevery = \"200ms\"\n";

fn run(trial: &Trial) -> Process {
    let mut job = Process::start(&mut trial.isolated_command(&["run", "job.toml", "--no-ui"]));
    job.wait_until("it runs", |_| trial.run_command(&["status", "job.toml"]).code == Some(0));
    job
}

fn top(trial: &Trial, columns: u16, rows: u16) -> Screen {
    Screen::start(&mut trial.isolated_command(&["top", "job.toml"]), columns, rows)
}

/// Checks that it has exited successfully, and the terminal is restored.
#[track_caller]
fn check_restored(screen: &mut Screen, code: i32) {
    assert_eq!(screen.wait(), Some(code), "{}", screen.text());
    assert!(!screen.is_taken(), "{}", screen.text());
    assert!(screen.is_restored());
}

#[test]
fn the_graph_rates_and_costs_of_a_job_are_on_the_screen_and_keys_show_more() {
    let trial = job("");
    let job = run(&trial);
    let mut screen = top(&trial, 130, 30);
    let text = screen.wait_until("rows flow", |text| {
        let row = |name: &str| text.lines().find(|line| line.contains(name)).map(str::to_owned).unwrap_or_default();
        text.contains("Keeping up: ") && row("└ all").contains("nothing") && !row("├ split").contains(" 0 ")
    });
    assert!(text.starts_with("seen  running for "), "{text}");
    for words in ["in ", "delay ", "batch ", "memory ", "NAME", "ROWS/S", "WORK", "GUEST", "CALLS/S", "q quit"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let names: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("NAME")).skip(1).take(6).collect();
    let names: Vec<&str> = names.iter().map(|line| line[..line.find("  ").unwrap_or(0)].trim_end()).collect();
    assert_eq!(names[..3], ["in", "└ words", ""], "{text}");
    assert!(text.contains("  ├ split") && text.contains("  │ └ all") && text.contains("  └ odd"), "{text}");

    // The plugin's cost needs two responses.
    screen.wait_until("the plugin costs something", |text| {
        text.lines()
            .find(|line| line.contains("├ split"))
            .is_some_and(|line| line.contains(" KiB") || line.contains(" MiB"))
    });
    screen.press("\x1b[Bj\r");
    let text = screen.wait_until_shows("stage split (plugin)");
    for words in ["reads    words", "plugin  split-words 0.1.0, sha256:", "calls   ", "guest ", "now      ", "Esc back"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    screen.press("\x1b");
    screen.wait_until("the parts are back", |text| text.contains("NAME") && text.contains("sort: graph"));
    screen.press("s");
    screen.wait_until_shows("sort: work");
    screen.press("?");
    screen.wait_until_shows("CPU time of the plugin, as a share of one core");
    screen.press("?");
    screen.wait_until_shows("sort: work");
    screen.press("q");
    check_restored(&mut screen, 0);
    assert!(!job.stop().contains("panicked"));
}

#[test]
fn a_small_screen_shows_the_most_important_and_a_screen_may_change() {
    let trial = job("");
    let _job = run(&trial);
    let mut screen = top(&trial, 40, 10);
    let text = screen.wait_until("it is drawn", |text| text.contains("NAME") && text.contains("└ words"));
    let rows = screen.rows();
    assert_eq!(rows.len(), 10);
    assert!(rows[9].starts_with("q quit  Enter details"), "{text}");
    let heads: Vec<&str> = rows.iter().find(|row| row.starts_with("NAME")).expect("heads").split_whitespace().collect();
    assert_eq!(heads, ["NAME", "ROWS/S", "WORK"], "{text}");
    // Scrolls to what does not fit.
    screen.press("G");
    screen.wait_until_shows("└ odds");
    for (columns, rows) in [(100, 24), (1, 1), (7, 3), (200, 60), (40, 10)] {
        screen.resize(columns, rows);
        if columns >= 40 {
            screen.wait_until("it is drawn anew", |text| text.contains("NAME") && text.contains("q quit"));
        }
        screen.press("\r");
        screen.press("\r");
        screen.press("??");
    }
    screen.press("\x03");
    check_restored(&mut screen, 0);
}

#[test]
fn no_colors_are_used_if_disabled() {
    let trial = job("");
    let _job = run(&trial);
    let colours = |screen: &Screen| {
        let bytes = screen.bytes();
        ["\x1b[0;1;36m", ";31m", ";32m", ";90m"].iter().any(|sign| bytes.contains(sign))
    };
    let mut screen = top(&trial, 80, 24);
    screen.wait_until_shows("NAME");
    assert!(colours(&screen));
    screen.press("q");
    check_restored(&mut screen, 0);
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut command = trial.isolated_command(&["top", "job.toml"]);
        let mut screen = Screen::with(&mut command, 80, 24, |command| command.env(name, value));
        screen.wait_until_shows("NAME");
        assert!(!colours(&screen), "{name}={value}: {:?}", screen.bytes());
        screen.press("\x1b");
        check_restored(&mut screen, 0);
    }
}

#[test]
fn a_job_that_exits_is_reported_and_shown_again_when_it_is_back() {
    let trial = job(CHECKPOINT);
    let mut job = run(&trial);
    let mut screen = top(&trial, 100, 24);
    screen.wait_until_shows("checkpoint ");
    let child = job.children()[0];
    signal("KILL", child);
    screen.wait_until_shows("restarted 1 time, ");
    job.wait_until("another process runs it", |job| job.children().iter().any(|other| *other != child));
    job.stop();
    let text = screen.wait_until_shows("The job has not responded for ");
    assert!(text.contains("It has no running process"), "{text}");
    let job = run(&trial);
    screen.wait_until_shows("restarted 2 times, ");
    screen.wait_until("it is told again", |text| text.contains("running for ") && !text.contains("has not responded"));
    job.stop();
    screen.wait_until_shows("The job has not responded for ");
    screen.press("q");
    check_restored(&mut screen, 0);
}

#[test]
fn every_exit_restores_the_terminal() {
    let trial = job("");
    let _job = run(&trial);
    for (name, code) in [("TERM", 0), ("INT", 0)] {
        let mut screen = top(&trial, 80, 24);
        screen.wait_until_shows("NAME");
        assert!(screen.is_taken() && !screen.is_restored());
        signal(name, screen.id());
        check_restored(&mut screen, code);
    }
    let mut command = trial.isolated_command(&["top", "job.toml"]);
    command.env("MILLSTREAM_TEST_FAULT", "panic@millstream-top:2").env("RUST_BACKTRACE", "0");
    let mut screen = Screen::start(&mut command, 80, 24);
    check_restored(&mut screen, 101);
    assert!(screen.text().contains("a test wants the thread `millstream-top` to panic"), "{}", screen.text());
}

#[test]
fn without_a_terminal_or_a_job_top_says_what_to_do() {
    let trial = job("");
    let output = trial.run_command(&["top", "job.toml"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{}", output.stderr);
    assert!(output.stderr.contains("run `millstream status job.toml`"), "{}", output.stderr);
    let mut screen = top(&trial, 100, 24);
    check_restored(&mut screen, 1);
    assert!(screen.text().contains("the job job.toml is not running"), "{}", screen.text());
}

#[test]
fn data_of_a_job_controls_no_terminal() {
    let port = free_port();
    let mut nc = Process::nc(port);
    let trial = Trial::new(&format!(
        r#"
        name = "seen"
        batch = "20ms"
        [sources.lines]
        kind = "socket"
        address = "127.0.0.1:{port}"
        format = "json"
        schema = {{ n = "int64" }}
        [sinks.out]
        from = "lines"
        kind = "nothing"
        "#
    ));
    let mut job = Process::start(&mut trial.isolated_command(&["run", "job.toml", "--no-ui"]));
    job.wait_until("it runs", |_| trial.run_command(&["status", "job.toml"]).code == Some(0));
    nc.say("\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}\n");
    let mut screen = top(&trial, 120, 24);
    screen.wait_until("the row is refused", |text| text.lines().any(|line| line.contains("has rejected 1 row")));
    screen.press("\r");
    let text = screen.wait_until_shows("last rejected or late rows");
    assert!(text.contains("owned") && text.contains(r"[2J"), "the words are there: {text}");
    screen.press("\x1bq");
    screen.press("q");
    screen.wait();
    let bytes = screen.bytes();
    assert!(!bytes.contains("\x1b]") && !bytes.contains('\u{9b}') && !bytes.contains('\u{202e}'), "{bytes:?}");
    assert_eq!(bytes.matches("\x1b[2J").count(), 1, "it was wiped once, in the beginning: {bytes:?}");
}

#[test]
fn the_documentation_shows_the_screen() {
    let trial = Trial::new(&format!(
        r#"
        name = "word-count"
        batch = "100ms"
        workers = 2
        [checkpoint]
        dir = "checkpoint"
        every = "1s"
        [sources.in]
        kind = "rate"
        rows_per_second = 2000
        [stages.lines]
        from = "in"
        sql = "select 'to be or not to be' as value from \"in\""
        [stages.words]
        from = "lines"
        plugin = "{}"
        [stages.counts]
        from = "words"
        key = "word"
        aggregate = {{ n = "count(*)" }}
        [stages.totals]
        from = "words"
        key = "word"
        plugin = "{}"
        emit = "state"
        [stages.joined]
        from = "counts"
        join = {{ with = "totals", on = "word" }}
        [sinks.screen]
        from = "counts"
        kind = "print"
        [sinks.nothing]
        from = "joined"
        kind = "nothing"
        "#,
        plugin("split-words").display(),
        plugin("running-count").display()
    ));
    let _job = run(&trial);
    let mut screen = top(&trial, 80, 14);
    screen.wait_until("all of it is there", |text| {
        ["Keeping up: ", "delay ", "takes ", "checkpoint ", "└ nothing"].iter().all(|words| text.contains(words))
    });
    let (page, shown) = (shown_block("text", "NAME").text, screen.rows());
    let page: Vec<&str> = page.lines().collect();
    assert_eq!(page.len(), shown.len());
    // Names, kinds, heads and keys are the same; of the numbers, the labels are.
    let words =
        |line: &str| line.split(|c: char| !c.is_alphabetic()).filter(|w| w.len() > 3).collect::<Vec<_>>().join(" ");
    for (at, (output, shown)) in page.iter().zip(&shown).enumerate() {
        match at {
            0..=3 => assert_eq!(words(output), words(shown)),
            4 | 13 => assert_eq!(output, shown),
            _ => {
                let start = |line: &str| line.chars().take(36).collect::<String>().replace(" ◄", "  ");
                assert_eq!(start(output), start(shown), "{}", screen.text());
            }
        }
    }
}
