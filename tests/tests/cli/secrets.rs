//! `${NAME}` in a job file: values get where they belong, and nowhere else.

use millstream_tests::{Process, Trial, free_port, plugin, wait_until};
use std::fs;
use std::path::Path;
use std::process::Command;

const DIR: &str = "geheim-ordner-4711";
const TOKEN: &str = "s3cr\"et/Tök&n 42";
const OF_FILE: &str = "aus-der-datei-0815";

fn job() -> Trial {
    let trial = Trial::new(&format!(
        r#"
        name = "hidden"
        batch = "20ms"
        [checkpoint]
        dir = "checkpoints"
        every = 1
        [sources.lines]
        kind = "directory"
        path = "${{FOLDER}}"
        settle = "0s"
        [sources.away]
        kind = "socket"
        address = "${{HOST}}"
        [stages.passed]
        from = "lines"
        plugin = "{}"
        config = {{ unknown = "${{TOKEN}}" }}
        [stages.same]
        from = "passed"
        sql = "select value, value = '${{TOKEN}}' as is_token, value = '${{file:secret}}' as is_file, '$${{TOKEN}}' as text, '${{MISSING:-none}}' as other from passed"
        [sinks.out]
        from = "same"
        kind = "queue"
        path = "out.jsonl"
        [sinks.dropped]
        from = ["away", "lines"]
        kind = "nothing"
        "#,
        plugin("misbehave").display(),
    ));
    trial.write("secret", format!("{OF_FILE}\n"));
    fs::create_dir(trial.path(DIR)).unwrap();
    trial
}

fn command(trial: &Trial, arguments: &[&str], token: &str, port: u16) -> Command {
    let mut command = trial.isolated_command(arguments);
    command
        .env("FOLDER", DIR)
        .env("TOKEN", token)
        .env("HOST", format!("127.0.0.1:{port}"))
        .env("MILLSTREAM_LOG", "debug");
    command
}

/// Whether text or bytes hold one of the values, as it is or escaped.
fn holds(bytes: &[u8]) -> bool {
    let json = serde_json::to_string(TOKEN).unwrap();
    let forms = [DIR, TOKEN, json.trim_matches('"'), "s3cr%22et", "s3cr", OF_FILE];
    forms.iter().any(|form| bytes.windows(form.len()).any(|window| window == form.as_bytes()))
}

/// All files below a directory whose content has one of the values.
fn files_with_values(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_with_values(&path, found);
        } else if fs::read(&path).is_ok_and(|bytes| holds(&bytes)) {
            found.push(path.display().to_string());
        }
    }
}

#[test]
fn values_of_variables_are_visible_only_to_the_job() {
    let (trial, port) = (job(), free_port());
    let mut strings = Vec::new();
    for (round, token) in [TOKEN, "another value"].into_iter().enumerate() {
        let host = Process::nc(port);
        let mut process =
            Process::start(&mut command(&trial, &["run", "job.toml", "--set", "sources.lines.poll=1ms"], token, port));
        process.wait_for_stderr("source `away`: connected to ${HOST}");
        trial.move_in(&format!("{DIR}/{round}.txt"), format!("{token}\n{OF_FILE}\nline\n"));
        wait_until("all rows", || trial.rows("out.jsonl").len() == 3 * (round + 1));
        process.wait_for_stderr(&format!("reading `./${{FOLDER}}/{round}.txt`"));
        for arguments in [
            &["status", "job.toml"][..],
            &["status", "job.toml", "--json"],
            &["validate", "job.toml"],
            &["inspect", "checkpoints"],
            &["inspect", "job.toml"],
        ] {
            let output = Process::start(&mut command(&trial, arguments, token, port)).wait();
            assert_eq!(output.code, Some(0), "{arguments:?}: {}", output.stderr);
            strings.extend([output.stdout, output.stderr]);
        }
        for id in process.children().into_iter().chain([process.id()]) {
            strings.push(fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap());
        }
        strings.push(process.stop());
        host.kill();
    }
    let rows = trial.rows("out.jsonl");
    let is = |row: usize, key: &str| rows[row][key].as_bool().unwrap();
    assert!(is(0, "is_token") && is(1, "is_file") && is(3, "is_token") && !is(2, "is_token"), "{rows:?}");
    assert!(rows.iter().all(|row| row["text"] == "${TOKEN}" && row["other"] == "none"), "{rows:?}");
    let second = strings.last().unwrap();
    assert!(!second.contains("was changed") && second.contains("reading"), "another value is no other job: {second}");
    for text in &strings {
        assert!(!holds(text.as_bytes()), "{text}");
    }
    // The rows are data, and the directory is at its path.
    for data in ["out.jsonl", "secret", &format!("{DIR}/0.txt"), &format!("{DIR}/1.txt")] {
        fs::remove_file(trial.path(data)).unwrap();
    }
    let mut found = Vec::new();
    files_with_values(trial.dir(), &mut found);
    found.retain(|path| !path.ends_with("out.jsonl.millstream"));
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn errors_name_the_variable_and_its_line_and_no_value() {
    let trial = job();
    let output = |token: Option<&str>, host: &str| {
        let mut command = trial.command(&["validate", "job.toml"]);
        command.env("FOLDER", DIR).env("HOST", host).env("MILLSTREAM_LOG", "off").env_remove("TOKEN");
        let ended = Process::start(command.envs(token.map(|token| ("TOKEN", token)))).wait();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
        ended.stderr
    };
    let line = |text: &str| 1 + trial.text("job.toml").lines().position(|line| line.contains(text)).unwrap();
    let unset = output(None, "127.0.0.1:1");
    for at in [line("config = "), line("sql = ")] {
        assert!(unset.contains(&format!("job.toml:{at}: stage `")), "{unset}");
    }
    assert!(unset.contains("refers to the environment variable `TOKEN`, which is not set; set it"), "{unset}");
    let wrong = output(Some("abcd'efg"), "geheimer-host-ohne-port");
    assert!(wrong.contains("`address = \"${HOST}\"` is not host and port") && !wrong.contains("geheim"), "{wrong}");
    fs::remove_file(trial.path("secret")).unwrap();
    let missing = output(Some(TOKEN), "127.0.0.1:1");
    assert!(missing.contains("refers to the file `secret`, which cannot be read: file not found"), "{missing}");
    trial.write("secret", "x");
    trial.change("name = \"hidden\"", "name = \"${HOST}\"");
    let named = output(Some(TOKEN), "127.0.0.1:1");
    assert!(named.contains("`name` must not contain `${`, because checkpoints and logs"), "{named}");
    trial.change("name = \"${HOST}\"", "batch = \"${1A}\"");
    trial.change("batch = \"20ms\"", "");
    let named = output(Some(TOKEN), "127.0.0.1:1");
    assert!(
        named.contains("`batch` has `${1A}`, which names no environment variable; write ${NAME} for one, or $${"),
        "{named}"
    );
}
