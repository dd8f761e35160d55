//! Files that are still being written: directories, logs that grow and are rotated, pipes, and files and directories that are
//! missing.

use millstream::internals::random::Random;
use millstream_tests::{DEADLINE, Process, Trial, passing, queue_sink, wait_until};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A job that passes the rows of a source, with these keys of the job before.
fn job(keys: &str, source: &str) -> Trial {
    passing(&format!("batch = \"20ms\"\n{keys}"), source, &queue_sink("refused", "in.rejected", "refused"))
}

const CHECKPOINT: &str = "[checkpoint]\ndir = \"checkpoint\"\nevery = 3";

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_file_is_read_once_it_stops_changing_and_a_later_change_is_reported() {
    let trial = job("", "kind = \"directory\"\npath = \"in\"\npoll = \"10ms\"\nsettle = \"400ms\"");
    fs::create_dir(trial.path("in")).unwrap();
    let mut job = trial.start(&[]);
    let path = trial.path("in/slow.txt");
    for i in 0..12 {
        append(&path, &format!("c,345{i:02}"));
        std::thread::sleep(Duration::from_millis(40));
        append(&path, "\n");
    }
    assert_eq!(trial.values("out.jsonl"), [""; 0]);
    wait_until("the file is read", || trial.values("out.jsonl").len() == 12);
    assert!(trial.values("out.jsonl").iter().enumerate().all(|(i, value)| *value == format!("c,345{i:02}")));
    append(&path, "more\n");
    job.wait_for_stderr("slow.txt` has changed since it was read: 96 bytes were read, it has 101 now");
    fs::write(trial.path("in/next.txt"), "next\n").unwrap();
    wait_until("the next file is read", || trial.values("out.jsonl").len() == 13);
    job.stop();
}

#[test]
fn a_file_that_grows_after_its_end_is_reported() {
    let other = "kind = \"file\"\npath = \"in.txt\"\n[sources.other]\nkind = \"directory\"\npath = \"in\"";
    let trial = job(CHECKPOINT, other);
    fs::create_dir(trial.path("in")).unwrap();
    trial.write("in.txt", "one\n");
    let mut job = trial.start(&[]);
    wait_until("the file is read", || trial.values("out.jsonl") == ["one"]);
    append(&trial.path("in.txt"), "two\n");
    let output = "in.txt` has changed since it was read to its end: 4 bytes were read, it has 8 now. The rest is not read; \
                write `follow = true` for a file that grows";
    job.wait_for_stderr(output);
    job.stop();
    let mut job = trial.start(&[]);
    job.wait_for_stderr(output);
    job.stop();
    assert_eq!(trial.values("out.jsonl"), ["one"]);
}

/// Gives a log another name, or copies and truncates it.
fn rotate(log: &Path, copy: bool) {
    if !log.exists() {
        return;
    }
    let name = |number: usize| log.with_file_name(format!("app.log.{number}"));
    let last = (1..).find(|number| !name(*number).exists()).unwrap();
    (1..last).rev().for_each(|number| fs::rename(name(number), name(number + 1)).unwrap());
    if copy {
        fs::copy(log, name(1)).unwrap();
        OpenOptions::new().write(true).open(log).unwrap().set_len(0).unwrap();
    } else {
        fs::rename(log, name(1)).unwrap();
    }
}

#[test]
fn a_followed_log_is_read_once_through_rotations_and_kills() {
    for seed in [3, 11] {
        let source = "kind = \"file\"\npath = \"logs/app.log\"\nfollow = true\npoll = \"5ms\"\nsettle = \"50ms\"";
        let trial = job(CHECKPOINT, source);
        let log = trial.path("logs/app.log");
        fs::create_dir(trial.path("logs")).unwrap();
        let (mut random, mut written) = (Random(seed), Vec::new());
        for _ in 0..7 {
            let job = trial.start(&["--unsupervised"]);
            let life = Duration::from_millis(150 + random.below(700));
            let began = Instant::now();
            while began.elapsed() < life {
                for _ in 0..random.below(20) {
                    let line = format!("{} {}", written.len(), "x".repeat(random.below(30) as usize));
                    append(&log, &line[..line.len() / 2]);
                    append(&log, &format!("{}\n", &line[line.len() / 2..]));
                    written.push(line);
                }
                if random.below(8) == 0 {
                    rotate(&log, random.below(2) == 0);
                }
                std::thread::sleep(Duration::from_millis(random.below(30)));
            }
            job.kill();
            for _ in 0..random.below(4) {
                let line = format!("{} while it was down", written.len());
                append(&log, &format!("{line}\n"));
                written.push(line);
                rotate(&log, random.below(2) == 0);
            }
        }
        let job = trial.start(&[]);
        millstream_tests::holds_within(DEADLINE, || trial.values("out.jsonl").len() >= written.len());
        append(&log, "the end\n");
        written.push("the end".into());
        wait_until("the last line is there", || trial.values("out.jsonl").last().is_some_and(|last| last == "the end"));
        assert_eq!(trial.values("out.jsonl"), written, "seed {seed}: {}", job.stderr());
        job.stop();
    }
}

/// A line that was begun before the rotation continues in the renamed file.
#[test]
fn a_line_completed_after_the_rotation_is_one_line() {
    let trial = job(CHECKPOINT, "kind = \"file\"\npath = \"app.log\"\nfollow = true\nsettle = \"0s\"\npoll = \"5ms\"");
    let log = trial.path("app.log");
    append(&log, "one\nha");
    let job = trial.start(&[]);
    wait_until("the line is read", || trial.values("out.jsonl") == ["one"]);
    let mut writer = OpenOptions::new().append(true).open(&log).unwrap();
    fs::rename(&log, trial.path("app.log.1")).unwrap();
    append(&log, "two\n");
    // As long as a slow writer takes.
    std::thread::sleep(Duration::from_millis(200));
    writer.write_all(b"lf\n").unwrap();
    wait_until("the rest is read", || trial.values("out.jsonl").len() == 3);
    assert_eq!(trial.values("out.jsonl"), ["one", "half", "two"]);
    job.stop();
}

#[test]
fn rows_lost_in_a_rotation_are_reported() {
    let source = "kind = \"file\"\npath = \"app.log\"\nfollow = true\nsettle = \"0s\"";
    let trial = job(CHECKPOINT, source);
    let log = trial.path("app.log");
    append(&log, "one\n");
    let job = trial.start(&[]);
    wait_until("the line is read", || trial.values("out.jsonl") == ["one"]);
    job.stop();
    append(&log, "lost\n");
    fs::rename(&log, trial.path("app.log.1.gz")).unwrap();
    append(&log, "two\n");
    // A compressed file has another inode.
    fs::copy(trial.path("app.log.1.gz"), trial.path("copy")).unwrap();
    fs::rename(trial.path("copy"), trial.path("app.log.1.gz")).unwrap();
    let mut job = trial.start(&[]);
    job.wait_for_stderr("was truncated or deleted after 4 bytes were read");
    job.wait_for_stderr("`app.log.1.gz` next to it is compressed and cannot be read");
    wait_until("it goes on", || trial.values("out.jsonl") == ["one", "two"]);
    job.stop();
}

#[test]
fn a_missing_directory_or_file_is_waited_for() {
    for (source, from) in [
        ("kind = \"directory\"\npath = \"in\"\npoll = \"10ms\"\nsettle = \"0s\"", "in"),
        ("kind = \"file\"\npath = \"in/app.log\"\nfollow = true\nsettle = \"0s\"", "in"),
    ] {
        let trial = job(CHECKPOINT, source);
        trial.write("in/app.log", "one\n");
        let mut job = trial.start(&[]);
        wait_until("the line is read", || trial.values("out.jsonl") == ["one"]);
        fs::rename(trial.path(from), trial.path("away")).unwrap();
        if source.contains("directory") {
            job.wait_for_stderr("cannot read `./in`: no such file or directory; it waits for up to 5m (`away_max`)");
        }
        std::thread::sleep(Duration::from_millis(300));
        fs::rename(trial.path("away"), trial.path(from)).unwrap();
        append(&trial.path("in/app.log"), "");
        trial.write("in/other.txt", "two\n");
        if source.contains("follow") {
            append(&trial.path("in/app.log"), "two\n");
        }
        wait_until("it goes on", || trial.values("out.jsonl") == ["one", "two"]);
        job.stop();
        // It is missing when the job comes back.
        fs::rename(trial.path(from), trial.path("away")).unwrap();
        let mut job = trial.start(&[]);
        job.wait_for_stderr("no such file or directory; it waits for up to 5m (`away_max`)");
        fs::rename(trial.path("away"), trial.path(from)).unwrap();
        job.wait_for_stderr("can be read again, after");
        wait_until("it runs", || trial.path("checkpoint/manifest.json").exists());
        job.wait_for_stderr("batch");
        job.kill();
    }
}

#[test]
fn the_wait_is_configurable() {
    let trial = job("", "kind = \"directory\"\npath = \"in\"\npoll = \"10ms\"\nsettle = \"0s\"\naway_max = \"300ms\"");
    trial.write("in/a.txt", "one\n");
    let job = trial.start(&[]);
    wait_until("the line is read", || trial.values("out.jsonl") == ["one"]);
    fs::remove_dir_all(trial.path("in")).unwrap();
    let ended = job.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let output = "error: source `in`: cannot read `./in`: no such file or directory; it could not be read for 300ms \
                (`away_max`)";
    assert!(ended.stderr.contains(output), "{}", ended.stderr);
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn rows_of_a_pipe_appear_immediately() {
    let trial = job("", "kind = \"file\"\npath = \"pipe\"");
    make_pipe(&trial.path("pipe"));
    let job = trial.start(&[]);
    let mut pipe = OpenOptions::new().write(true).open(trial.path("pipe")).unwrap();
    for i in 1..4 {
        pipe.write_all(format!("line {i}\nhal").as_bytes()).unwrap();
        wait_until("the line is there", || trial.values("out.jsonl").len() == i);
        pipe.write_all(b"f ").unwrap();
    }
    drop(pipe);
    assert_eq!(job.wait().code, Some(0));
    assert_eq!(trial.values("out.jsonl"), ["line 1", "half line 2", "half line 3", "half "]);
}

#[test]
fn a_pipe_instead_of_a_file_is_rejected_immediately() {
    let refused = |trial: &Trial, what: &str, arguments: &[&str]| {
        let ended = Process::start(&mut trial.command(arguments)).wait_within(Duration::from_secs(10));
        assert!(matches!(ended.code, Some(1 | 2)), "{what}: {:?} {}", ended.code, ended.stderr);
        assert!(
            ended.stderr.contains("not a regular file") || ended.stderr.contains("no file at"),
            "{what}: {}",
            ended.stderr
        );
    };
    let plugin = millstream_tests::plugin("misbehave");
    let stage = |keys: &str| format!("[stages.s]\nfrom = \"in\"\n{keys}");
    let granted = stage(&format!("plugin = \"{}\"\ngrant = {{ files = {{ f = \"pipe\" }} }}", plugin.display()));
    let enrich = stage("enrich = { file = \"pipe\", format = \"csv\", on = { value = \"k\" } }");
    for (what, text) in [("granted", granted), ("enrich", enrich)] {
        let trial = job("", &format!("kind = \"file\"\npath = \"in.txt\"\n{text}"));
        trial.write("in.txt", "one\n");
        make_pipe(&trial.path("pipe"));
        refused(&trial, what, &["validate", "job.toml"]);
        refused(&trial, what, &["run", "job.toml", "--unsupervised"]);
    }
    for (what, path) in
        [("manifest", "checkpoint/manifest.json"), ("lock", "checkpoint/lock"), ("marker", "out.jsonl.marker")]
    {
        let trial = job(CHECKPOINT, "kind = \"file\"\npath = \"in.txt\"");
        trial.write("in.txt", "one\n");
        trial.run_ok(&[]);
        let path = match what {
            "marker" => trial.dir().join(marker_of(&trial)),
            _ => trial.path(path),
        };
        let _ = fs::remove_file(&path);
        make_pipe(&path);
        refused(&trial, what, &["run", "job.toml", "--unsupervised"]);
    }
    let trial = Trial::new("");
    make_pipe(&trial.path("pipe.toml"));
    refused(&trial, "job file", &["validate", "pipe.toml"]);
    refused(&trial, "job file", &["run", "pipe.toml"]);
}

/// The marker next to the queue sink's file.
fn marker_of(trial: &Trial) -> String {
    let names = fs::read_dir(trial.dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut markers: Vec<String> = names.filter(|name| name.contains("out.jsonl") && name != "out.jsonl").collect();
    markers.sort();
    markers.into_iter().find(|name| !name.contains("lock")).expect("a queue sink has a marker")
}

#[test]
fn an_unclosed_quote_costs_one_line_of_a_large_file() {
    let trial = job(
        "",
        "kind = \"file\"\npath = \"in.csv\"\nformat = \"csv\"\nschema = { value = \"text\" }\nrejected_bytes_max = \"8B\"",
    );
    let mut text = String::from("value\n");
    for i in 0..40_000 {
        text.push_str(&if i == 20_000 { "\"nothing closes this\n".to_owned() } else { format!("row {i}\n") });
    }
    trial.write("in.csv", &text);
    trial.run_ok(&[]);
    assert_eq!(trial.values("out.jsonl").len(), 39_999);
    let refused = trial.rows("refused.jsonl");
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["value"], "\"nothing");
    let reason = refused[0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("a quote opens here and is not closed"), "{reason}");
    assert!(reason.ends_with("(the first 8 of 21 bytes are here, by rejected_bytes_max)"), "{reason}");
}

#[test]
fn the_sources_of_the_page_are_valid() {
    let page = fs::read_to_string(millstream_tests::root().join("docs/how-to/read-growing-files.md")).unwrap();
    let blocks: String = page.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    let trial = Trial::new(&format!("{blocks}[sinks.out]\nfrom = [\"clicks\", \"log\"]\nkind = \"print\"\n"));
    fs::create_dir(trial.path("incoming")).unwrap();
    let ended = Process::start(&mut trial.command(&["validate", "job.toml"])).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
