//! What commands draw on a terminal in addition to their output: the status line of `millstream run`, and progress.

use millstream_tests::{Process, Screen, Trial, plugin, shown_block, signal, wait_until};
use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A job that prints one row per batch.
fn job(more: &str) -> Trial {
    Trial::new(&format!(
        r#"
        name = "lined"
        batch = "100ms"
        workers = 1
        ui = false
        {more}
        [sources.in]
        kind = "rate"
        rows_per_second = 10
        [stages.one]
        from = "in"
        sql = "select count(*) as n from \"in\""
        [sinks.screen]
        from = "one"
        kind = "print"
        rows = 1
        "#
    ))
}

const CHECKPOINT: &str = "[checkpoint]\ndir = \"checkpoint\"\nevery = \"200ms\"\n";

fn run(trial: &Trial, columns: u16, arguments: &[&str]) -> Screen {
    Screen::start(&mut trial.isolated_command(&[&["run", "job.toml"], arguments].concat()), columns, 40)
}

fn is_line(row: &str) -> bool {
    row.starts_with("batch ") && row.contains(" rows/s")
}

/// The last row that is not empty.
fn last(text: &str) -> String {
    text.lines().rfind(|row| !row.is_empty()).unwrap_or_default().to_owned()
}

/// Checks that no row of the screen is mixed: each line of a table, and of the log, is on its own row.
#[track_caller]
fn check_clean(screen: &Screen) {
    let text = screen.text();
    let rows: Vec<&str> = text.lines().filter(|row| !row.is_empty()).collect();
    for (at, row) in rows.iter().enumerate() {
        let is_last = at + 1 == rows.len();
        assert!(is_last || !row.contains(" rows/s"), "a line was left behind: {row}\n{text}");
        let known =
            ["---", "Time: ", "+---", "| ", "20", "(", "batch ", "  "].iter().any(|start| row.starts_with(start));
        assert!(known, "{row}\n{text}");
    }
}

#[test]
fn a_line_below_rows_and_log_shows_the_job_status() {
    for more in ["", CHECKPOINT] {
        let trial = job(more);
        let mut screen = run(&trial, 100, &[]);
        let text = screen.wait_until("the line is there", |text| is_line(&last(text)) && text.contains("| n "));
        let line = last(&text);
        assert!(line.contains(" · delay ") && line.contains(" · Keeping up"), "{line}");
        let words = |line: &str| line.split(' ').filter(|word| !word.contains(char::is_numeric)).count();
        assert_eq!(words(&line), words(shown_block("text", "rows/s").text.trim()), "{line}");
        // Rows continue, and the status line stays last.
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(37));
            check_clean(&screen);
        }
        screen.press("\x03");
        assert_eq!(screen.wait(), Some(0), "{}", screen.text());
        let text = screen.text();
        assert!(text.contains("stopping; finishing batches in flight") && last(&text).contains("done: "), "{text}");
        assert!(!text.contains(" rows/s"), "the line is gone: {text}");
    }
}

#[test]
fn the_line_is_truncated_on_a_narrow_terminal_and_returns_with_the_job() {
    let trial = job(CHECKPOINT);
    let mut screen = run(&trial, 30, &[]);
    screen.wait_until("the line is there", |text| last(text).starts_with("batch "));
    screen.wait_until("it is cut", |text| last(text).starts_with("batch ") && last(text).ends_with('…'));
    let children = Process::children_of(screen.id());
    signal("KILL", children[0]);
    screen.wait_until_shows("worker process died");
    screen.wait_until("the line is back", |text| last(text).starts_with("batch "));
    signal("TERM", screen.id());
    assert_eq!(screen.wait(), Some(0));
}

#[test]
fn no_line_is_drawn_without_a_terminal_or_if_disabled() {
    let trial = job("");
    let lines = |screen: &mut Screen| {
        screen.wait();
        screen.bytes().matches("rows/s").count()
    };
    let arguments = ["run", "job.toml", "--timeout", "2s"];
    assert_ne!(lines(&mut Screen::start(&mut trial.isolated_command(&arguments), 100, 40)), 0);
    let mut quiet = trial.isolated_command(&[&arguments[..], &["--quiet"]].concat());
    assert_eq!(lines(&mut Screen::start(&mut quiet, 100, 40)), 0);
    for (name, value) in [("MILLSTREAM_LOG_FORMAT", "json"), ("MILLSTREAM_LOG", "warn"), ("TERM", "dumb")] {
        let mut command = trial.isolated_command(&arguments);
        let mut screen = Screen::with(&mut command, 100, 40, |command| command.env(name, value));
        assert_eq!(lines(&mut screen), 0, "{name}={value}");
        assert!(!screen.bytes().contains("\x1b[K"), "{name}={value}");
    }
    // A command at the end of a pipe may write to the terminal as well.
    let mut piped =
        Screen::with(&mut trial.isolated_command(&arguments), 100, 40, |command| command.stdout(Stdio::piped()));
    assert_eq!(lines(&mut piped), 0);
    // A file gets only rows, and the terminal the status line.
    let rows = trial.path("rows.txt");
    let mut command = trial.isolated_command(&arguments);
    let mut screen = Screen::with(&mut command, 100, 40, |command| command.stdout(File::create(&rows).unwrap()));
    assert_ne!(lines(&mut screen), 0);
    let rows = trial.text("rows.txt");
    assert!(rows.contains("| n ") && !rows.contains('\x1b') && !rows.contains("rows/s"), "{rows}");
    // Without a terminal the output is unchanged.
    let output = trial.run_command(&arguments);
    assert!(!output.stderr.contains('\x1b') && !output.stdout.contains('\x1b') && !output.stderr.contains("rows/s"));
}

#[test]
fn a_job_in_the_background_does_not_draw() {
    let trial = job("");
    // A shell with job control, with this job in the foreground or background.
    for (script, draws) in [("set -m; \"$@\"; true", true), ("set -m; \"$@\" & wait", false)] {
        let run = trial.isolated_command(&["run", "job.toml", "--timeout", "2s"]);
        let mut shell = Command::new("bash");
        shell.args(["-c", script, "bash"]).arg(run.get_program()).args(run.get_args()).current_dir(trial.dir());
        shell.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut screen = Screen::start(&mut shell, 100, 40);
        screen.wait_until_shows("done: ");
        screen.wait();
        assert_eq!(screen.bytes().contains("rows/s"), draws, "{script}: {}", screen.bytes());
    }
}

#[test]
fn a_panic_of_the_line_does_not_affect_the_job() {
    let trial = job("");
    let mut command = trial.isolated_command(&["run", "job.toml", "--timeout", "2s"]);
    command.env("MILLSTREAM_TEST_FAULT", "panic@millstream-line:1").env("RUST_BACKTRACE", "0");
    let mut screen = Screen::start(&mut command, 140, 60);
    assert_eq!(screen.wait(), Some(0), "{}", screen.text());
    assert!(screen.bytes().contains("the status line is no longer shown"), "{}", screen.text());
    assert!(!screen.bytes().contains("rows/s"), "{}", screen.text());
}

#[test]
fn slow_steps_show_progress_that_yields_to_output() {
    let trial = Trial::new(&format!(
        "[sources.in]\nkind = \"rate\"\nrows_per_second = 10\n[stages.text]\nfrom = \"in\"\n\
         sql = \"select 'a b' as value from \\\"in\\\"\"\n[stages.words]\nfrom = \"text\"\nplugin = \"{}\"\n\
         [sinks.out]\nfrom = \"words\"\nkind = \"nothing\"\n",
        plugin("split-words").display()
    ));
    // Nothing is compiled yet.
    let validate = |name: &str| {
        let mut command = trial.isolated_command(&["validate", "job.toml"]);
        command.env("XDG_CACHE_HOME", trial.path(name));
        command
    };
    let mut screen = Screen::start(&mut validate("one"), 120, 40);
    let compiler = || Process::children_of(screen.id()).first().copied();
    wait_until("the compiler is started", || compiler().is_some());
    let compiler = i32::try_from(compiler().expect("it has just begun")).unwrap();
    // It takes so long that a message is due. SAFETY: it takes two numbers.
    assert_eq!(unsafe { libc::kill(compiler, libc::SIGSTOP) }, 0);
    let text = screen.wait_until_shows(", for the first time (");
    assert!(last(&text).contains("compiling plugin "), "{text}");
    // SAFETY: as before.
    assert_eq!(unsafe { libc::kill(compiler, libc::SIGCONT) }, 0);
    assert_eq!(screen.wait(), Some(0), "{}", screen.text());
    let text = screen.text();
    assert!(last(&text).ends_with("job.toml: valid"), "{text}");
    assert!(!text.contains("for the first time"), "the line is gone: {text}");
    let output = Process::start(&mut validate("two")).wait();
    assert!(!output.stderr.contains('\x1b') && !output.stderr.contains("for the first time"), "{}", output.stderr);
}

#[test]
fn a_slow_registry_request_shows_that_it_waits() {
    // It listens, and sends nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let registry = format!("oci://127.0.0.1:{}/plugins", silent.local_addr().unwrap().port());
    let trial = Trial::new("");
    let component = plugin("split-words");
    let push = ["push", component.to_str().unwrap(), "--registry", &registry];
    for (arguments, words) in [
        (&["search", "words", "--registry", &registry][..], "listing the packages of"),
        (&["pull", "words@1.0.0", "--registry", &registry], "looking for words in"),
        (&push, "pushing split-words 0.1.0 ("),
    ] {
        let mut screen = Screen::start(&mut trial.isolated_command(arguments), 100, 20);
        let text = screen.wait_until_shows(words);
        assert!(last(&text).contains(words), "{text}");
        // A narrow terminal has one line of it as well.
        screen.resize(30, 20);
        screen.wait_until("it is cut", |text| last(text).chars().count() < 30 && last(text).ends_with('…'));
        screen.press("\x03");
        assert_eq!(screen.wait(), None, "Ctrl-C ends it: {}", screen.text());
    }
}

#[test]
fn cases_are_counted_while_they_run() {
    let trial = Trial::new("");
    let mut command = trial.isolated_command(&["test"]);
    command.arg(plugin("running-count"));
    let mut screen = Screen::start(&mut command, 120, 40);
    assert_eq!(screen.wait(), Some(0), "{}", screen.text());
    let text = screen.text();
    assert!(last(&text).ends_with(" 0 failed"), "{text}");
    assert!(!text.contains(" of "), "no line is left: {text}");
}
