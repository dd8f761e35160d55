//! Each sink as its reader sees it.

use millstream_tests::{DEADLINE, Process, Trial, two_hosts, wait_until};
use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

const INPUT: &str = "[[\"a\",1,0.5],[\"b, \\\"c\\\"\",null,2],[null,-3,1e21]]\n[]\n[[\"d\",4,null]]\n";

/// A job with virtual time whose sink is given.
fn job(sink: &str) -> Trial {
    let trial = Trial::new(&format!(
        r#"
        clock = "manual"
        workers = 2
        [sources.in]
        kind = "queue"
        path = "input.jsonl"
        schema = {{ k = "text", n = "int64", x = "float64" }}
        [sinks.out]
        from = "in"
        {sink}
        "#
    ));
    trial.write("input.jsonl", INPUT);
    trial
}

/// The files of a directory, with hidden ones, in order.
fn files(trial: &Trial, dir: &str) -> Vec<String> {
    let entries = fs::read_dir(trial.path(dir)).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn print_shows_a_header_a_table_and_how_many_more() {
    let ended = job("kind = \"print\"\nrows = 2").run_ok(&[]);
    let expected = "\
-------------------------------------------
Time: 1970-01-01 00:00:01  (batch 1, sink out)
-------------------------------------------
+--------+------+-----+
| k      | n    | x   |
+--------+------+-----+
| a      | 1    | 0.5 |
| b, \"c\" | null | 2.0 |
+--------+------+-----+
… and 1 more row
-------------------------------------------
Time: 1970-01-01 00:00:02  (batch 2, sink out)
-------------------------------------------
(no rows)
-------------------------------------------
Time: 1970-01-01 00:00:03  (batch 3, sink out)
-------------------------------------------
+---+---+------+
| k | n | x    |
+---+---+------+
| d | 4 | null |
+---+---+------+
";
    assert_eq!(ended.stdout, expected);
}

#[test]
fn print_into_a_closed_pipe_is_a_permanent_error() {
    for set in ["", "--set checkpoint.dir=checkpoint"] {
        let trial = job("kind = \"print\"");
        trial.write("input.jsonl", "[[\"a\",1,1]]\n".repeat(20_000));
        let script = format!("\"{}\" run job.toml {set} | head -n 1", millstream_tests::millstream().display());
        let mut shell = std::process::Command::new("bash");
        shell.args(["-o", "pipefail", "-c", &script]).current_dir(trial.dir());
        let ended = Process::start(&mut shell).wait();
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("the program that reads it has ended"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("restarting it"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
}

#[test]
fn files_have_a_part_for_each_batch_with_rows() {
    for (format, extension, first, third) in [
        (
            "json",
            "jsonl",
            "{\"k\":\"a\",\"n\":1,\"x\":0.5}\n{\"k\":\"b, \\\"c\\\"\",\"n\":null,\"x\":2.0}\n{\"k\":null,\"n\":-3,\"x\":1e21}\n",
            "{\"k\":\"d\",\"n\":4,\"x\":null}\n",
        ),
        ("csv", "csv", "k,n,x\na,1,0.5\n\"b, \"\"c\"\"\",,2.0\n,-3,1e21\n", "k,n,x\nd,4,\n"),
    ] {
        let trial = job(&format!("kind = \"files\"\npath = \"made/out\"\nformat = \"{format}\""));
        trial.run_ok(&[]);
        let names = [1, 3].map(|batch| format!("part-{batch:010}.{extension}"));
        assert_eq!(files(&trial, "made/out"), names, "and no temporary file is left");
        assert_eq!(trial.text(&format!("made/out/{}", names[0])), first);
        assert_eq!(trial.text(&format!("made/out/{}", names[1])), third);
    }
}

#[test]
fn text_files() {
    let trial = job("kind = \"files\"\npath = \"out\"\nformat = \"text\"");
    let job = trial.text("job.toml").replace(", n = \"int64\", x = \"float64\"", "");
    trial.write("job.toml", job);
    trial.write("input.jsonl", "[\"to be\",null,\"größe\"]\n");
    trial.run_ok(&[]);
    assert_eq!(trial.text("out/part-0000000001.txt"), "to be\n\ngröße\n");
}

#[test]
fn parquet_files() {
    let trial = job("kind = \"files\"\npath = \"out\"\nformat = \"parquet\"");
    trial.run_ok(&[]);
    let names = files(&trial, "out");
    assert_eq!(names, ["part-0000000001.parquet", "part-0000000003.parquet"]);
    for name in names {
        let bytes = fs::read(trial.path("out").join(name)).unwrap();
        assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    }
}

#[test]
fn parts_of_an_earlier_run_are_not_overwritten() {
    let trial = job("kind = \"files\"\npath = \"out\"");
    trial.run_ok(&[]);
    let before = trial.text("out/part-0000000001.jsonl");
    let output = trial.rejected_message(&["run", "job.toml"]);
    assert_eq!(
        output,
        "error: job.toml:11: sink `out`: the directory ./out holds parts of an earlier run (part-0000000001.jsonl), \
         and nothing is overwritten; empty it or choose another path (for one run: --set sinks.<name>.path=<dir>)\n"
    );
    assert_eq!(trial.text("out/part-0000000001.jsonl"), before);
}

#[test]
fn leftovers_of_an_interrupted_run_are_removed() {
    let trial = job("kind = \"files\"\npath = \"out\"");
    trial.write("out/.part-0000000007.jsonl.tmp", "half");
    trial.write("out/notes.txt", "not ours");
    trial.run_ok(&[]);
    assert_eq!(files(&trial, "out"), ["notes.txt", "part-0000000001.jsonl", "part-0000000003.jsonl"]);
}

/// A reader of the directory never sees an incomplete part.
#[test]
fn parts_appear_atomically() {
    let (parts, rows) = (10, 100_000);
    let trial = job("kind = \"files\"\npath = \"out\"");
    let batch = format!("[{}]\n", vec!["[\"some text that makes the row longer\",1,1.5]"; rows].join(","));
    trial.write("input.jsonl", batch.repeat(parts));
    let complete = "{\"k\":\"some text that makes the row longer\",\"n\":1,\"x\":1.5}\n".len() * rows;
    let job = trial.start(&[]);
    wait_until("the folder is there", || trial.path("out").is_dir());
    let deadline = Instant::now() + DEADLINE;
    let mut seen = 0;
    // Looks without a pause, so as not to miss a part that is being written.
    while seen < parts {
        let names: Vec<String> = files(&trial, "out").into_iter().filter(|name| name.starts_with("part-")).collect();
        for name in &names[seen.min(names.len().saturating_sub(1))..] {
            let bytes = fs::metadata(trial.path("out").join(name)).unwrap().len();
            assert_eq!(bytes, complete as u64, "{name}");
        }
        seen = names.len();
        assert!(Instant::now() < deadline, "{seen} parts: {}", job.stderr());
    }
    assert_eq!(job.wait().code, Some(0));
}

#[test]
fn queue_starts_from_scratch_with_every_run() {
    let trial = job("kind = \"queue\"\npath = \"out.jsonl\"");
    trial.run_ok(&[]);
    let first = trial.text("out.jsonl");
    assert_eq!(
        first,
        "{\"batch\":1,\"time\":\"1970-01-01T00:00:01.000000Z\",\"rows\":[{\"k\":\"a\",\"n\":1,\"x\":0.5},\
         {\"k\":\"b, \\\"c\\\"\",\"n\":null,\"x\":2.0},{\"k\":null,\"n\":-3,\"x\":1e21}]}\n\
         {\"batch\":2,\"time\":\"1970-01-01T00:00:02.000000Z\",\"rows\":[]}\n\
         {\"batch\":3,\"time\":\"1970-01-01T00:00:03.000000Z\",\"rows\":[{\"k\":\"d\",\"n\":4,\"x\":null}]}\n"
    );
    trial.run_ok(&[]);
    assert_eq!(trial.text("out.jsonl"), first);
}

/// What is written as null is read as null, and an empty string as an empty string, also with a single column.
#[test]
fn csv_survives_a_round_trip() {
    for columns in ["k = \"text\", n = \"int64\", raw = \"binary\"", "k = \"text\""] {
        let one = !columns.contains(',');
        let schema = format!("schema = {{ {columns} }}");
        let write = Trial::new(&format!(
            "clock = \"manual\"\n[sources.in]\nkind = \"queue\"\npath = \"input.jsonl\"\n{schema}\n\
             [sinks.out]\nfrom = \"in\"\nkind = \"files\"\npath = \"out\"\nformat = \"csv\"\n"
        ));
        let strings = ["null", "\"\"", "\" \"", "\"a,\\\"b\\\"\\nc\"", "\"null\"", "null"];
        let row = |text: &&str| if one { format!("[{text}]") } else { format!("[{text},null,\"\"]") };
        let rows: Vec<String> = strings.iter().map(row).collect();
        write.write("input.jsonl", format!("[{}]\n", rows.join(",")));
        write.run_ok(&[]);
        let read = Trial::new(&format!(
            "[sources.in]\nkind = \"directory\"\npath = \"{}\"\nformat = \"csv\"\n{schema}\n\
             [sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
            write.path("out").display()
        ));
        read.run_ok(&["--until-idle"]);
        let expected = [None, Some(""), Some(" "), Some("a,\"b\"\nc"), Some("null"), None];
        let found: Vec<Option<String>> =
            read.rows("out.jsonl").iter().map(|row| row["k"].as_str().map(str::to_owned)).collect();
        assert_eq!(found, expected.map(|text| text.map(str::to_owned)), "{columns}");
        if !one {
            assert!(read.rows("out.jsonl").iter().all(|row| row["n"].is_null() && row["raw"] == ""));
        }
    }
}

#[test]
fn a_string_is_one_line_whatever_its_content() {
    let trial = Trial::new(
        "clock = \"manual\"\n[sources.in]\nkind = \"queue\"\npath = \"input.jsonl\"\nschema = { k = \"text\" }\n\
         [sinks.out]\nfrom = \"in\"\nkind = \"files\"\npath = \"out\"\nformat = \"text\"\n",
    );
    trial.write("input.jsonl", "[[\"a\\nb\\r\\nc\"],[null],[\"\\n\"],[\"C:\\\\n\"]]\n");
    trial.run_ok(&[]);
    assert_eq!(trial.text("out/part-0000000001.txt"), "a\\nb\\r\\nc\n\n\\n\nC:\\n\n");
}

/// Files with fixed names in directories of sinks and checkpoints do not follow links out of them.
#[test]
fn links_instead_of_our_files_are_not_followed() {
    let job = |to: &str| {
        let trial = Trial::new(&format!(
            "clock = \"manual\"\n[checkpoint]\ndir = \"ck\"\n[sources.in]\nkind = \"queue\"\npath = \"input.jsonl\"\n\
             schema = {{ k = \"text\" }}\n[sinks.out]\nfrom = \"in\"\nkind = \"files\"\npath = \"out\"\nformat = \"{to}\"\n"
        ));
        trial.write("input.jsonl", "[[\"a\"]]\n[[\"b\"]]\n");
        trial.write("precious.txt", "precious");
        fs::create_dir(trial.path("ck")).unwrap();
        fs::create_dir(trial.path("out")).unwrap();
        trial
    };
    for (link, hard) in [("ck/lock", false), ("ck/lock", true), ("out/.millstream.lock", false)] {
        let trial = job("json");
        match hard {
            true => fs::hard_link(trial.path("precious.txt"), trial.path(link)).unwrap(),
            false => std::os::unix::fs::symlink(trial.path("precious.txt"), trial.path(link)).unwrap(),
        }
        let ended = trial.run(&[]);
        assert!(
            ended.code != Some(0) && ended.stderr.contains("it is a link or not a regular file"),
            "{}",
            ended.stderr
        );
        assert_eq!(trial.text("precious.txt"), "precious", "{link}");
    }
    let trial = job("json");
    for link in ["out/.part-0000000001.jsonl.tmp", "out/.millstream.1.tmp"] {
        std::os::unix::fs::symlink(trial.path("precious.txt"), trial.path(link)).unwrap();
    }
    trial.run_ok(&[]);
    assert_eq!(trial.text("precious.txt"), "precious");
    assert!(!fs::symlink_metadata(trial.path("out/part-0000000001.jsonl")).unwrap().is_symlink());
}

#[test]
fn a_sink_may_have_the_name_of_its_input() {
    let trial = Trial::new(
        "clock = \"manual\"\n[sources.in]\nkind = \"queue\"\npath = \"input.jsonl\"\nschema = { k = \"text\" }\n\
         [stages.counts]\nfrom = \"in\"\nkey = \"k\"\naggregate = { n = \"count(*)\" }\n\
         [sinks.counts]\nfrom = \"counts\"\nkind = \"queue\"\npath = \"counts.jsonl\"\n\
         [sinks.in]\nfrom = \"in\"\nkind = \"queue\"\npath = \"in.jsonl\"\n",
    );
    trial.write("input.jsonl", "[[\"a\"],[\"a\"]]\n");
    let output = trial.run_ok(&[]).stderr;
    assert_eq!((trial.rows("counts.jsonl").len(), trial.rows("in.jsonl").len()), (1, 2));
    assert!(output.contains("rows: counts 1, counts (sink) 1, in 2, in (sink) 2"), "{output}");
}

#[test]
fn each_worker_writes_its_own_parts_and_a_start_with_other_workers_resumes() {
    let trial = Trial::new(
        r#"
        batch = "0s"
        checkpoint = { dir = "checkpoints" }
        [sources.lines]
        kind = "directory"
        path = "lines"
        settle = "0s"
        format = "text"
        rows_per_batch_max = 1000
        [stages.words]
        from = "lines"
        key = "value"
        aggregate = { n = "count(*)" }
        [sinks.out]
        from = "words"
        kind = "files"
        path = "out"
        format = "csv"
        parts = "worker"
        "#,
    );
    let line = |n: usize| format!("word {}\n", n % 97);
    let count = || {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for name in files(&trial, "out").iter().filter(|name| name.starts_with("part-")) {
            let text = trial.text(&format!("out/{name}"));
            assert!(text.starts_with("value,n\n"), "{text}");
            for row in text.lines().skip(1) {
                let mut cells = row.rsplit(',');
                let n: u64 = cells.next().unwrap().parse().unwrap();
                *counts.entry(cells.next().unwrap().to_owned()).or_default() += n;
            }
        }
        counts
    };
    let run = |lines: usize, more: &[&str]| {
        trial.write(&format!("lines/{}.txt", files(&trial, "lines").len()), (0..lines).map(line).collect::<String>());
        trial.run_command_ok(&[&["run", "job.toml", "--until-idle"], more].concat());
    };
    fs::create_dir(trial.path("lines")).unwrap();
    run(9_700, &["--workers", "3"]);
    let names = files(&trial, "out");
    for worker in 0..3 {
        let own = names.iter().filter(|name| name.ends_with(&format!("-{worker:03}.csv"))).count();
        assert!(own > 0, "worker {worker} wrote nothing: {names:?}");
    }
    assert_eq!(count().values().sum::<u64>(), 9_700);
    run(9_700, &["--workers", "1"]);
    run(970, &["--processes", "2", "--workers", "2", "--hosts", &two_hosts()]);
    let counts = count();
    assert_eq!(counts.len(), 97);
    assert!(counts.values().all(|n| *n == 210), "{counts:?}");
}
