//! `millstream pipe`: from standard input through plugins and a query to standard output, as a program in a shell.

use millstream_tests::{Ended, Expected, Process, Trial, block, blocks, millstream, plugin, root};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

const PAGE: &str = "docs/how-to/use-plugins-in-a-shell.md";

/// A `pipe` command in this directory. `{name}` is replaced by the directory of a plugin.
fn command(dir: &Path, arguments: &[&str]) -> Command {
    let named = |argument: &&str| match argument.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') => {
            compiled(name).display().to_string()
        }
        _ => (*argument).to_owned(),
    };
    let mut command = Command::new(millstream());
    command.arg("pipe").args(arguments.iter().map(named)).current_dir(dir);
    command
}

/// The directory of a plugin. If its code is no longer cached it is compiled here, once, and not in a test that reads all output.
fn compiled(name: &str) -> PathBuf {
    static COMPILED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let dir = plugin(name);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if compiled.insert(name.to_owned()) {
        // A missing config is detected after that.
        Command::new(millstream()).arg("pipe").arg(&dir).stdin(Stdio::null()).output().unwrap();
    }
    dir
}

/// Runs it on this input.
fn piped_in(dir: &Path, arguments: &[&str], input: impl AsRef<[u8]>) -> Ended {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input.as_ref()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let mut child = command(dir, arguments);
    child.stdin(Stdio::from(file)).output().unwrap().into()
}

fn piped(arguments: &[&str], input: &str) -> Ended {
    piped_in(&root(), arguments, input)
}

/// Its output, without any error.
#[track_caller]
fn output_of(arguments: &[&str], input: &str) -> String {
    let ended = piped(arguments, input);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    ended.stdout
}

#[test]
fn lines_pass_through_several_plugins() {
    let lines = "To be\nor NOT\n";
    assert_eq!(
        output_of(&["{split-words}"], lines),
        "{\"word\":\"To\"}\n{\"word\":\"be\"}\n{\"word\":\"or\"}\n{\"word\":\"NOT\"}\n"
    );
    assert_eq!(output_of(&["{split-words}", "--to", "text"], lines), "To\nbe\nor\nNOT\n");
    assert_eq!(output_of(&["{split-words}", "--to", "csv"], ""), "word\n");
    // Arguments after a plugin belong to it.
    let two = [
        "{filter-expr}",
        "--config",
        r#"{"where": "value <> 'x'"}"#,
        "{split-words}",
        "--set",
        "config.lowercase=true",
        "--to",
        "jsonl",
    ];
    assert_eq!(output_of(&two, "A\nx\nB"), "{\"word\":\"a\"}\n{\"word\":\"b\"}\n");
    let twice = [
        "{split-words}",
        "--config",
        r#"{"separator": ","}"#,
        "{filter-expr}",
        "--set",
        "config.where=word <> 'b'",
        "--to",
        "text",
    ];
    assert_eq!(output_of(&twice, "a,b,c d\n"), "a\nc d\n");
    assert_eq!(output_of(&["--to", "text"], "as it is\r\n\nand no end"), "as it is\n\nand no end\n");
}

#[test]
fn formats_convert_to_each_other() {
    let csv = "name,n,at\nann,1,2026-01-05T12:00:00Z\n\"b,c\",,\n";
    let json = "{\"name\":\"ann\",\"n\":1,\"at\":\"2026-01-05T12:00:00.000000Z\"}\n{\"name\":\"b,c\",\"n\":null,\"at\":null}\n";
    assert_eq!(output_of(&["--from", "csv"], csv), json);
    assert_eq!(
        output_of(&["--from", "json", "--to", "csv"], json),
        "name,n,at\nann,1,2026-01-05T12:00:00.000000Z\n\"b,c\",,\n"
    );
    let named = ["--from", "csv", "--schema", "n = text, l=list<struct<a: int64, b: text>>,x=decimal(9,2)"];
    assert_eq!(output_of(&named, "n,l,x\n007,,1.50\n"), "{\"n\":\"007\",\"l\":null,\"x\":1.50}\n");
    assert_eq!(output_of(&["--schema", "line=text"], "a\n"), "{\"line\":\"a\"}\n");
}

#[test]
fn arrow_is_read_and_written_as_pyarrow_does() {
    let trial = Trial::new("");
    let python = Command::new(root().join("scripts/python.sh")).output().unwrap().stdout;
    let script = r#"
import sys, datetime, decimal, pyarrow as pa
out = pa.RecordBatchStreamWriter if sys.argv[1] == "stream" else pa.RecordBatchFileWriter
table = pa.table({
    "value": pa.array(["to be", None, "or not"]).dictionary_encode(),
    "n": pa.array([1, None, -3], pa.int8()),
    "x": pa.array([1.5, None, 2], pa.float32()),
    "at": pa.array([datetime.datetime(2026, 1, 5, 12), None, None], pa.timestamp("ms")),
    "tags": pa.array([["a"], [], None], pa.large_list(pa.string())),
    "paid": pa.array([decimal.Decimal("1.50"), None, None], pa.decimal128(9, 2)),
})
writer = out(sys.argv[2], table.schema)
writer.write_table(table, max_chunksize=2)
writer.close()
"#;
    let python = String::from_utf8(python).unwrap();
    let run = |script: &str, arguments: &[&str]| {
        let mut command = Command::new(python.trim());
        let ended = Process::start(command.args(["-c", script]).args(arguments).current_dir(trial.dir())).wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout
    };
    run(script, &["stream", "in.arrows"]);
    run(script, &["file", "in.arrow"]);
    let read = |arguments: &[&str], file: &str| piped_in(trial.dir(), arguments, fs::read(trial.path(file)).unwrap());
    let rows = read(&["--from", "arrow"], "in.arrows");
    assert_eq!(rows.code, Some(0), "{}", rows.stderr);
    let rows: Vec<Value> = rows.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        rows,
        [
            json!({ "value": "to be", "n": 1, "x": 1.5, "at": "2026-01-05T12:00:00.000000Z", "tags": ["a"], "paid": 1.5 }),
            json!({ "value": null, "n": null, "x": null, "at": null, "tags": [], "paid": null }),
            json!({ "value": "or not", "n": -3, "x": 2.0, "at": null, "tags": null, "paid": null }),
        ]
    );
    // Some of the columns, as text.
    let rows = read(&["--from", "arrow", "--schema", "n=text", "--to", "text"], "in.arrows");
    assert_eq!(rows.stdout, "1\n\n-3\n", "{}", rows.stderr);
    let strings = ["--from", "arrow", "{split-words}", "--to", "arrow", "--on-error", "reject"];
    let mut child = command(trial.dir(), &strings);
    let out = child.stdin(File::open(trial.path("in.arrows")).unwrap()).output().unwrap();
    trial.write("out.arrows", &out.stdout);
    let message = String::from_utf8_lossy(&out.stderr);
    assert!(message.starts_with("1 row was rejected and skipped"), "{message}");
    let back = "import pyarrow as pa; t = pa.ipc.open_stream('out.arrows').read_all(); print(t.schema.field('word').type, t.to_pylist())";
    assert_eq!(run(back, &[]), "string [{'word': 'to'}, {'word': 'be'}, {'word': 'or'}, {'word': 'not'}]\n");
    // Back to the original, through our types.
    let all = command(trial.dir(), &["--from", "arrow", "--to", "arrow"])
        .stdin(File::open(trial.path("in.arrows")).unwrap())
        .output()
        .unwrap();
    trial.write("out.arrows", &all.stdout);
    let back = "import pyarrow as pa; a, b = (pa.ipc.open_stream(f).read_all().to_pylist() for f in ('in.arrows', 'out.arrows'))\n\
                b = [{**r, 'at': r['at'] and r['at'].replace(tzinfo=None)} for r in b]\nprint(a == b)";
    assert_eq!(run(back, &[]), "True\n");
    for (file, cut, message) in [
        ("in.arrow", 0, "it is an Arrow file, not a stream"),
        ("in.arrows", 20, "it breaks off in the middle of a message"),
    ] {
        let bytes = fs::read(trial.path(file)).unwrap();
        let ended = piped_in(trial.dir(), &["--from", "arrow"], &bytes[..bytes.len() - cut]);
        assert!(ended.code == Some(1) && ended.stderr.contains(message), "{file}: {ended:?}");
    }
    for (bytes, message) in [
        (&b"{\"a\": 1}\n{\"a\": 2}\n"[..], "it is not an Arrow IPC stream"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f........", "a header of 2147483647 bytes"),
        (b"\xff\xff\xff\xff\x08\x00\x00\x00........", "a message cannot be read"),
    ] {
        let ended = piped_in(trial.dir(), &["--from", "arrow"], bytes);
        assert!(ended.code == Some(1) && ended.stderr.contains(message), "{ended:?}");
    }
}

#[test]
fn a_query_covers_all_rows_or_each_row() {
    let text = "to be or not to be\n".repeat(1_000);
    let count =
        ["{split-words}", "--sql", "select word, count(*) as n from rows group by word order by n desc, word limit 2"];
    assert_eq!(output_of(&count, &text), "{\"word\":\"be\",\"n\":2000}\n{\"word\":\"to\",\"n\":2000}\n");
    let each =
        ["{split-words}", "--sql", "select upper(word) as loud from rows where length(word) > 2", "--to", "text"];
    assert_eq!(output_of(&each, "to be\nor not\n"), "NOT\n");
    let numbers = ["--from", "csv", "--sql", "select sum(n) as n, avg(x) as x from rows", "--to", "csv"];
    assert_eq!(output_of(&numbers, "n,x\n1,0.5\n2,1.5\n"), "n,x\n3,1.0\n");
    // Without input there is one row, as in SQL.
    assert_eq!(output_of(&["--sql", "select count(*) as n from rows"], ""), "{\"n\":0}\n");
    assert_eq!(output_of(&["--sql", "select distinct value from rows", "--to", "text"], "a\nb\na\n"), "a\nb\n");
    let union = ["--sql", "select value from rows union all select upper(value) from rows", "--to", "text"];
    assert_eq!(output_of(&union, "a\nb\n"), "a\nb\nA\nB\n");
    for (query, code, message) in [
        ("select wrod from rows", 2, "unknown column `wrod`"),
        ("select a.value from rows a join rows b on a.value = b.value", 2, "reads `rows` more than once"),
        ("select count(*) / 0 from rows", 1, "stage `sql`: the query cannot be computed: division by zero"),
        ("delete from rows", 2, "`sql`"),
    ] {
        let ended = piped(&["--sql", query], "a\n");
        assert!(ended.code == Some(code) && ended.stderr.contains(message), "{query}: {ended:?}");
    }
    let held = ["--sql", "select array_agg(value) as a from rows", "--set", "limits.memory=1MiB"];
    let ended = piped(&held, &format!("{}\n", "x".repeat(1_000)).repeat(3_000));
    assert!(ended.code == Some(1) && ended.stderr.contains("raise `limits.memory`"), "{ended:?}");
    // It needs no more input, though more would come.
    let mut process = Process::start(&mut command(&root(), &["--sql", "select value from rows limit 1"]));
    process.say("a\nb\n");
    let ended = process.wait();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "{\"value\":\"a\"}\n"), "{}", ended.stderr);
}

#[test]
fn a_row_is_output_before_the_next_is_read() {
    let split = &["{split-words}"][..];
    let query = &["{split-words}", "--sql", "select word from rows where word <> 'x'"][..];
    let csv = &["--from", "csv", "--schema", "value=text", "{split-words}"][..];
    for arguments in [split, query, csv] {
        let mut process = Process::start(&mut command(&root(), arguments));
        if arguments == csv {
            process.say("value\n");
        }
        for number in 0..20 {
            process.say(&format!("word-{number}\n"));
            process.wait_until("the row is out", |process| {
                process.stdout().contains(&format!("{{\"word\":\"word-{number}\"}}\n"))
            });
        }
        // Half a line is not a line yet.
        process.say("half");
        process.say(" line\n");
        process.wait_until("the line is out", |process| {
            process.stdout().ends_with("{\"word\":\"half\"}\n{\"word\":\"line\"}\n")
        });
        process.hang_up();
        assert_eq!(process.wait().code, Some(0));
    }
    // It reports that it waits for lines that determine the columns.
    let mut process = Process::start(&mut command(&root(), &["--from", "json"]));
    process.say("{\"a\":1}\n");
    process.wait_for_stderr("waiting for the first 1000 lines, to infer the columns; --schema names them\n");
    process.hang_up();
    assert_eq!(process.wait().stdout, "{\"a\":1}\n");
}

/// Runs a line in bash, with the program and the plugins at their usual paths.
fn shell(dir: &Path, line: &str) -> Ended {
    let bin = millstream().canonicalize().unwrap();
    let path = format!("{}:{}", bin.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    Process::start(command.args(["-euo", "pipefail", "-c", line]).current_dir(dir).env("PATH", path)).wait()
}

#[test]
fn pipe_exits_like_other_shell_programs() {
    let split = compiled("split-words");
    let split = split.display();
    assert_eq!(shell(&root(), &format!("echo a | millstream pipe {split}")).code, Some(0));
    let ended = shell(&root(), &format!("yes a b | millstream pipe {split} | head -1; echo ${{PIPESTATUS[*]}}"));
    // With pipefail, bash exits with the code of a process that a signal ended.
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(141), "{\"word\":\"a\"}\n", ""));
    // Without a shell, which may take the signal for itself before it becomes the program.
    let count = ["pipe", "--sql", "select count(*) from rows"];
    let mut process = Process::start(Command::new(millstream()).args(count).current_dir(root()));
    process.say("a\n");
    process.signal("INT");
    assert_eq!(process.wait().code, None);
    // A full disk is an error.
    if Path::new("/dev/full").exists() {
        let ended = shell(&root(), &format!("echo a | millstream pipe {split} > /dev/full"));
        assert!(ended.code == Some(1) && ended.stderr.contains("standard output: "), "{ended:?}");
    }
}

#[test]
fn rejected_rows_fail_pipe_or_are_omitted() {
    let trial = Trial::new("");
    let run = |arguments: &[&str], input: &str| piped_in(trial.dir(), arguments, input);
    let lines = "{\"n\":1}\n\n{\"n\":2}\n{\"n\":\"\u{1b}[2J\"}\n{\"n\":4}\nno\n";
    let numbers = ["--from", "json", "--schema", "n=int64"];
    let ended = run(&numbers, lines);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), "{\"n\":1}\n{\"n\":2}\n"));
    assert!(ended.stderr.starts_with("error: line 4 of standard input is not a row: "), "{}", ended.stderr);
    assert!(!ended.stderr.contains('\u{1b}') && ended.stderr.contains("--on-error reject"), "{}", ended.stderr);
    let csv = run(&["--from", "csv", "--schema", "n=int64,t=text"], "n,t\n1,\"a\nb\"\nx,c\n");
    assert!(csv.code == Some(1) && csv.stderr.contains("line 4 of standard input"), "{}", csv.stderr);

    let ended = run(&[&numbers[..], &["--on-error", "reject"]].concat(), lines);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "{\"n\":1}\n{\"n\":2}\n{\"n\":4}\n"));
    assert!(
        ended.stderr.starts_with("2 rows were rejected and skipped; --rejected FILE keeps them\n  "),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains('\u{1b}') && ended.stderr.lines().count() == 3, "{}", ended.stderr);

    // A plugin rejects a row, or fails on one.
    for (word, code, message) in [
        ("refuse", 1, "a row was rejected: `poison`: refused by itself: {\"value\":\"refuse\"}"),
        ("panic", 1, "stage `poison`: plugin poison"),
    ] {
        let ended = run(&["{poison}"], &format!("a\n{word}\nb\n"));
        assert!(ended.code == Some(code) && ended.stderr.contains(message), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
        let ended = run(&["{poison}", "--rejected", "refused.jsonl", "--to", "text"], &format!("a\n{word}\nb\n"));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "a\nb\n"), "{}", ended.stderr);
        assert!(ended.stderr.contains("1 row was rejected and skipped; see refused.jsonl\n"), "{}", ended.stderr);
        let refused: Value = serde_json::from_str(&trial.text("refused.jsonl")).unwrap();
        assert!(refused["value"] == word && refused["stage"] == "poison" && refused["plugin"] == "poison", "{refused}");
    }
}

#[test]
fn mistakes_say_what_to_write() {
    let null = |arguments: &[&str]| piped(arguments, "a\n");
    let mut expected = Expected::of(file!(), "mistakes_say_what_to_write");
    for arguments in [
        &["./none"][..],
        &["split-words@9.9.9"],
        &["{split-words}", "--schema", "v=text"],
        &["{split-words}", "{split-words}"],
        &["{running-count}"],
        &["{bad-source}"],
        &["--config", "{}", "{split-words}"],
        &["{split-words}", "--config", "7"],
        &["{split-words}", "--config", "{\"lower\":true}"],
        &["{split-words}", "--set", "key=word"],
        &["{split-words}", "--set", "limits.tmie=2s"],
        &["{split-words}", "--set", "limits.time=2"],
        &["--from", "csv", "--schema", "a=txt"],
        &["--from", "csv", "--schema", "a"],
        &["--from", "xml"],
        &["--from", "csv", "--schema", "a=int64", "--to", "text"],
        &["--on-error", "fail", "--rejected", "x"],
        &["--memory", "1"],
    ] {
        let ended = null(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
        expected.add(&arguments.join(" "), &ended.stderr.replace(&root().display().to_string(), "PROJECT"));
        assert_eq!(ended.stdout, "", "{arguments:?}");
        assert!(!ended.stderr.contains("job.toml") && !ended.stderr.contains("pipe:1"), "{}", ended.stderr);
    }
    expected.check_parts();
    let ended = piped(&["{split-words}", "--set", "limits.memory=64KiB"], "a\n");
    assert!(ended.code.is_some_and(|code| code > 0), "{ended:?}");
    // A directory cannot be read.
    let ended = shell(&root(), &format!("millstream pipe {} < /tmp", plugin("split-words").display()));
    assert!(ended.code == Some(1) && ended.stderr.contains("standard input: Is a directory"), "{ended:?}");
}

#[test]
fn an_empty_input_is_not_an_error() {
    for (from, input) in [("json", ""), ("csv", ""), ("arrow", ""), ("json", "\n \n"), ("csv", "\r\n")] {
        assert_eq!(output_of(&["--from", from, "--sql", "select count(*) as n from rows"], input), "", "{from}");
    }
    assert_eq!(output_of(&["--from", "csv", "--schema", "a=int64", "--to", "csv"], ""), "a\n");
    let count = ["--from", "json", "--schema", "a=int64", "--sql", "select count(a) as n from rows"];
    assert_eq!(output_of(&count, ""), "{\"n\":0}\n");
}

/// What may not run in a job may not run here.
#[test]
fn policies_apply_to_pipe() {
    let trial = Trial::new("");
    trial.write("config/policy.toml", "paths = false\n");
    let mut refused = command(trial.dir(), &["{split-words}"]);
    let ended = Process::start(refused.env("MILLSTREAM_CONFIG", trial.path("config"))).wait();
    assert!(ended.code == Some(2) && ended.stderr.contains("allows no plugins by path"), "{}", ended.stderr);
}

/// The rows of a job over the same input, and its rejected rows, byte for byte.
#[test]
fn pipe_equals_a_job() {
    let mut text = String::new();
    for number in 0..120_000 {
        let line = match number % 9_001 {
            17 => "refuse".to_owned(),
            1_234 => "panic".to_owned(),
            _ => format!("line {number} Of Many Ä {}", "x".repeat(number % 50)),
        };
        text.push_str(&line);
        text.push('\n');
    }
    let job = format!(
        "batch = \"0s\"\n[sources.input]\nkind = \"file\"\npath = \"in.txt\"\nrejected_bytes_max = \"1MiB\"\n\
         [stages.poison]\nfrom = \"input\"\nplugin = \"{}\"\non_error = \"reject\"\n\
         [stages.split-words]\nfrom = \"poison\"\nplugin = \"{}\"\non_error = \"reject\"\n\
         [sinks.out]\nfrom = \"split-words\"\nkind = \"files\"\npath = \"out\"\nformat = \"json\"\n\
         [sinks.refused]\nfrom = \"poison.rejected\"\nkind = \"files\"\npath = \"refused\"\nformat = \"json\"\n",
        plugin("poison").display(),
        plugin("split-words").display()
    );
    let trial = Trial::new(&job);
    trial.write("in.txt", &text);
    trial.run_ok(&["--workers", "2"]);
    let parts = |dir: &str| {
        let entries = fs::read_dir(trial.path(dir)).unwrap().map(|entry| entry.unwrap().path());
        let mut parts: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).collect();
        parts.sort();
        parts.iter().map(|part| fs::read_to_string(part).unwrap()).collect::<String>()
    };
    let pipe = ["{poison}", "{split-words}", "--rejected", "refused.jsonl"];
    let ended = piped_in(trial.dir(), &pipe, &text);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout == parts("out"), "other rows than those of the job");
    // The numbers of batches are those of portions.
    let number = regex::Regex::new(r#""batch":\d+"#).unwrap();
    let plain = |text: &str| number.replace_all(text, "").into_owned();
    let refused = trial.text("refused.jsonl");
    assert_eq!(refused.lines().count(), 28, "{refused}");
    assert_eq!(plain(&refused), plain(&parts("refused")));
}

#[test]
fn memory_does_not_grow_with_the_input() {
    let query = "select word, count(*) as n from rows group by word";
    let mut process = Process::start(&mut command(&root(), &["{split-words}", "--sql", query, "--to", "csv"]));
    let lines = format!("word {}\n", "x".repeat(1_000)).repeat(1_000);
    (0..200).for_each(|_| process.say(&lines));
    let (_, peak) = process.memory_bytes();
    eprintln!("peak {} MiB", peak >> 20);
    assert!(peak < 220 << 20, "{} MiB", peak >> 20);
    process.hang_up();
    let ended = process.wait();
    assert!(ended.stdout.starts_with("word,n\nword,200000\n"), "{} {}", ended.stdout, ended.stderr);
    // The memory of a query is limited like all other memory.
    let sorted = ["--sql", "select value from rows order by value", "--memory", "128MiB"];
    let ended = piped(&sorted, &lines.repeat(200));
    assert!([Some(1), Some(3)].contains(&ended.code), "{:?} {}", ended.code, ended.stderr);
}

#[test]
fn a_panic_in_any_thread_ends_it_with_its_name() {
    for (thread, message) in [
        ("millstream-pipe-worker", "a thread that processes rows"),
        ("millstream-pipe-input", "the thread that reads standard input"),
        ("millstream-pipe-query", "the thread of the query"),
    ] {
        let mut command = command(&root(), &["--sql", "select count(*) from rows"]);
        command.env("MILLSTREAM_TEST_FAULT", format!("panic@{thread}:1")).env("RUST_BACKTRACE", "0");
        let mut process = Process::start(&mut command);
        process.wait_until("it ends", |process| process.stderr().contains("error: "));
        let ended = process.wait();
        assert_eq!(ended.code, Some(1), "{thread}: {}", ended.stderr);
        assert!(ended.stderr.contains(&format!("error: {message} panicked")), "{thread}: {}", ended.stderr);
    }
}

#[test]
fn the_examples_of_the_page_work() {
    let trial = Trial::new("");
    std::os::unix::fs::symlink(root().join("plugins"), trial.path("plugins")).unwrap();
    fs::create_dir(trial.path("demo")).unwrap();
    fs::copy(root().join("demo/text.txt"), trial.path("demo/text.txt")).unwrap();
    trial.write("access.log", "127.0.0.1 - ann [05/Jan/2026:12:00:00 +0000] \"GET /home HTTP/1.1\" 200 512\n");
    trial.write("orders.csv", "user,amount\nann,20.5\nbob,3\n");
    let mut ran = 0;
    for block in blocks(PAGE).into_iter().filter(|block| block.language == "sh") {
        let ended = shell(trial.dir(), &block.text);
        assert_eq!(ended.code, Some(0), "{}: {}", block.place, ended.stderr);
        assert!(!ended.stdout.is_empty(), "{}", block.place);
        ran += 1;
    }
    assert!(ran > 3, "{ran}");
    let shown = block(PAGE, "text", "rejected and skipped");
    let message = shell(trial.dir(), &block(PAGE, "sh", "on-error").text);
    assert!(message.stderr.trim().ends_with(shown.text.trim()), "{}", message.stderr);
}
