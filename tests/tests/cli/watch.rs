//! `millstream run --watch`: a rebuilt component replaces the running one, and a broken one does not.

use millstream_tests::{Feeder, Process, Trial, free_port, varied, write_varied};

/// A job that passes a feeder's lines through `made.wasm`.
fn job(port: u16, more: &str) -> Trial {
    let trial = Trial::new(&format!(
        r#"
        batch = "20ms"
        {more}
        [sources.lines]
        kind = "socket"
        address = "127.0.0.1:{port}"
        format = "csv"
        schema = {{ word = "text", n = "int64" }}
        [stages.made]
        from = "lines"
        plugin = "made.wasm"
        [sinks.out]
        from = "made"
        kind = "queue"
        path = "out.jsonl"
        "#
    ));
    write_varied("varied", "same", &trial.path("made.wasm"));
    trial
}

/// Waits until this number is output, after the existing rows.
fn wait_for_number(trial: &Trial, job: &mut Process, n: i64) {
    let before = trial.rows("out.jsonl").len();
    job.wait_until(&format!("{n} comes out"), |_| trial.rows("out.jsonl").iter().skip(before).any(|row| row["n"] == n));
}

#[test]
fn a_rebuilt_component_replaces_the_old_one_and_a_broken_one_is_reported() {
    for more in ["", "[checkpoint]\ndir = \"checkpoint\"\nevery = \"200ms\""] {
        let feeder = Feeder::start(|number| format!("w,{}", number % 5 * 10 + 9));
        let port = feeder.port();
        let trial = job(port, more);
        let mut run = trial.command(&["run", "job.toml", "--watch"]);
        let mut job = Process::start(run.env("XDG_RUNTIME_DIR", trial.dir()));
        wait_for_number(&trial, &mut job, 9);
        // The version `plus` makes 10 of 9.
        write_varied("varied", "plus", &trial.path("made.wasm"));
        job.wait_for_stderr(" instead of ");
        wait_for_number(&trial, &mut job, 10);
        trial.move_in("made.wasm", "no component at all");
        job.wait_for_stderr("made.wasm was rebuilt but is not used: ");
        wait_for_number(&trial, &mut job, 20);
        write_varied("varied", "same", &trial.path("made.wasm"));
        job.wait_until("it is replaced again", |job| job.stderr().matches(" instead of ").count() == 2);
        wait_for_number(&trial, &mut job, 9);
        drop(feeder);
        job.signal("TERM");
        let ended = job.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

/// Compiled components in a process: mappings that belong to no file and hold code.
fn compiled(job: &Process) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", job.id())).unwrap();
    maps.lines().filter(|line| line.contains(" r-xp ") && line.split_whitespace().count() == 5).count()
}

#[test]
fn replaced_versions_are_deleted() {
    let feeder = Feeder::start(|_| "w,9".to_owned());
    let trial = job(feeder.port(), "");
    let copies = trial.path("copies");
    std::fs::create_dir(&copies).unwrap();
    let mut run = trial.command(&["run", "job.toml", "--watch"]);
    let mut job = Process::start(run.env("XDG_RUNTIME_DIR", trial.dir()).env("TMPDIR", &copies));
    wait_for_number(&trial, &mut job, 9);
    let mut counts = Vec::new();
    for version in 1..=10 {
        let (way, n) = if version % 2 == 0 { ("same", 9) } else { ("plus", 10) };
        // A custom section without a name makes it another file.
        let component = [varied("varied", way), vec![0, 2, 0, version]].concat();
        trial.move_in("made.wasm", component);
        job.wait_until("it is replaced", |job| job.stderr().matches(" instead of ").count() == usize::from(version));
        wait_for_number(&trial, &mut job, n);
        counts.push(compiled(&job));
    }
    assert!(counts[0] > 0, "compiled components are found");
    // The one of the start, the running one, and the previous one, which would take over.
    assert!(counts.iter().all(|count| *count <= 4), "{counts:?} components are kept");
    job.kill();
    let left = std::fs::read_dir(&copies).unwrap().filter(|file| {
        let name = file.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with(".wasm")
    });
    assert_eq!(left.count(), 0, "a watch that is killed leaves no copies");
}

#[test]
fn a_version_that_fails_is_dropped_and_the_job_continues_without_losing_a_row() {
    for more in ["", "[checkpoint]\ndir = \"checkpoint\"\nevery = \"200ms\""] {
        let feeder = Feeder::start(|number| format!("w,{}", if number % 2 == 0 { 9 } else { 13 }));
        let trial = job(feeder.port(), more);
        let mut run = trial.command(&["run", "job.toml", "--watch"]);
        let mut job = Process::start(run.env("XDG_RUNTIME_DIR", trial.dir()));
        wait_for_number(&trial, &mut job, 9);
        // The version `fail` throws at 13.
        write_varied("varied", "fail", &trial.path("made.wasm"));
        job.wait_for_stderr(" replaces ");
        job.wait_for_stderr("made.wasm again, and waits for the next build");
        wait_for_number(&trial, &mut job, 13);
        write_varied("varied", "plus", &trial.path("made.wasm"));
        wait_for_number(&trial, &mut job, 10);
        assert!(job.stderr().contains("not the number 13"), "{}", job.stderr());
        drop(feeder);
        job.signal("TERM");
        let ended = job.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let rows = trial.rows("out.jsonl");
        let is_13 = |row: &serde_json::Value| row["n"] == 13;
        assert!(rows.windows(2).all(|two| is_13(&two[0]) != is_13(&two[1])), "a row is lost or there twice");
    }
}

#[test]
fn a_job_without_a_local_component_has_nothing_to_watch() {
    let trial = job(free_port(), "");
    trial.write("job.toml", trial.text("job.toml").replace("plugin = \"made.wasm\"", "filter = \"n > 0\""));
    let output = trial.rejected_message(&["run", "job.toml", "--watch"]);
    assert!(output.contains("no local component that could be rebuilt"), "{output}");
}
