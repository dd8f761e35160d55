//! The pages about plugins are true from start to end: a newcomer's path in each language, with the real toolchains.

use millstream_tests::{Block, Process, Trial, block_of, blocks, free_port, millstream, shown_block};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PAGES: [&str; 3] =
    ["docs/tutorials/first-plugin.md", "docs/how-to/test-plugins.md", "docs/how-to/write-a-source-or-sink-plugin.md"];

/// A toolchain may be slow next to other builds, and compiling Python takes a while.
const BUILDS_WITHIN: Duration = Duration::from_secs(600);

/// A language as the page has it.
struct Way {
    /// The value of `--lang`.
    lang: &'static str,
    /// The output of its tests when they pass.
    tested: &'static str,
    /// The language of the page's code blocks.
    fence: &'static str,
    /// The file of the function.
    source: &'static str,
    /// A part of what the page shows of a failing call.
    failed: &'static str,
}

const WAYS: [Way; 5] = [
    Way {
        lang: "rust",
        tested: "test result: ok. 1 passed",
        fence: "rust",
        source: "src/lib.rs",
        failed: "src/lib.rs:",
    },
    Way { lang: "python", tested: "OK", fence: "python", source: "bills.py", failed: "IndexError" },
    Way { lang: "js", tested: "pass 1", fence: "ts", source: "src/index.ts", failed: "src/index.ts:" },
    Way { lang: "go", tested: "ok ", fence: "go", source: "main.go", failed: "main.go:" },
    Way { lang: "c", tested: "ok", fence: "c", source: "bills.c", failed: "bills.c:" },
];

/// Runs these lines in a shell; returns both of its outputs.
#[track_caller]
fn shell(trial: &Trial, lines: &str) -> String {
    let program = millstream();
    let mut path = vec![program.parent().unwrap().to_path_buf()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let mut shell = Command::new("bash");
    shell.args(["-euc", &format!("exec 2>&1; {lines}")]).current_dir(trial.dir());
    shell.env("PATH", std::env::join_paths(path).unwrap());
    shell.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("tutorial"));
    // These builds are not debugged, and nothing in them is built twice.
    shell.envs([("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_INCREMENTAL", "0")]);
    let ended = Process::start(&mut shell).wait_within(BUILDS_WITHIN);
    assert_eq!(ended.code, Some(0), "{lines}\n{}{}", ended.stdout, ended.stderr);
    ended.stdout
}

/// The job of the page, connected to an `nc`.
fn listening(trial: &Trial) -> (Process, Process) {
    let port = free_port();
    let nc = Process::nc(port);
    let mut job = trial.start(&["--set", &format!("sources.orders.address=127.0.0.1:{port}")]);
    // A component of Python is compiled first.
    assert!(millstream_tests::holds_within(BUILDS_WITHIN, || job.stderr().contains("connected to") || job.has_ended()));
    job.wait_for_stderr("source `orders`: connected to");
    (nc, job)
}

fn follow_page(lang: &str) {
    let way = WAYS.iter().find(|way| way.lang == lang).unwrap();
    let trial = Trial::new(&block_of(&PAGES, "toml", "[sources.orders]").text);

    let output = shell(&trial, &block_of(&PAGES, "sh", &format!("--lang {lang}\n")).text);
    for part in [way.tested, "built ./bills.wasm", "ok    example", "1 case, 0 failed"] {
        assert!(output.contains(part), "no {part:?} in\n{output}");
    }

    let (mut nc, mut job) = listening(&trial);
    nc.say(&block_of(&PAGES, "json", "ann").text);
    job.wait_until("the bill is shown", |job| job.stdout().contains("| ann  | 100.0 |"));
    job.wait_for_stderr("the amount -1 is below zero");
    job.signal("INT");
    assert_eq!(job.wait().code, Some(0));

    fs::write(trial.path("bills").join(way.source), &block_of(&PAGES, way.fence, "initial").text).unwrap();
    shell(&trial, "millstream build bills");
    let (mut nc, mut job) = listening(&trial);
    nc.say("{\"name\": \"ann\", \"amount\": 100}\n");
    job.wait_until("a good row comes out", |job| job.stdout().to_lowercase().contains("| a "));
    job.wait_for_stderr("a bill for ann stage=\"bills\" plugin=\"bills 0.1.0\"");
    nc.say("{\"name\": \"\", \"amount\": 1}\n");
    let ended = job.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let shown = block_of(&PAGES, "text", way.failed).text;
    let shown = shown.split_once("failed in batch 3: ").expect("it says which batch").1;
    let story =
        ended.stderr.split_once("error: stage `bills`: plugin bills 0.1.0 failed in batch ").expect("it failed").1;
    let story = story.split_once(": ").unwrap().1;
    assert!(story.starts_with(shown), "the page shows\n{shown}\nand this is\n{}", ended.stderr);
}

#[test]
fn the_page_is_true_for_rust() {
    follow_page("rust");
}

#[test]
fn the_page_is_true_for_python() {
    follow_page("python");
}

/// The output for the case of a new project.
const CASE_PASSES: &str = "ok    example\n1 case, 0 failed\n";

/// Replaces the case of a project with blocks of the page: it passes.
fn case(trial: &Trial, project: &str, files: &[(&str, &str, &str)]) {
    let dir = trial.path(project).join("cases/example");
    for (name, language, part) in files {
        fs::write(dir.join(name), block_of(&PAGES, language, part).text).unwrap();
    }
    let rejected = dir.join("expected-rejected.jsonl");
    if files.iter().any(|(name, ..)| *name == "expected.jsonl") {
        fs::remove_file(rejected).unwrap();
    }
    assert_eq!(trial.run_command_ok(&["test", project]), CASE_PASSES);
}

#[test]
fn the_page_is_true_for_a_source() {
    let trial = Trial::new(&block_of(&PAGES, "toml", "[sources.lines]").text);
    let output = shell(&trial, &block_of(&PAGES, "sh", "--world source").text);
    for part in [
        "test result: ok. 1 passed",
        "built ./feed.wasm",
        CASE_PASSES,
        "world:         source",
        "connections (need a grant)",
    ] {
        assert!(output.contains(part), "no {part:?} in\n{output}");
    }
    // A case as the page writes it.
    case(
        &trial,
        "feed",
        &[
            ("case.toml", "toml", "rows = 3"),
            ("server.txt", "text", "from {n}"),
            ("expected.jsonl", "json", "\"number\""),
        ],
    );
    let address = format!("127.0.0.1:{}", free_port());
    trial.write("job.toml", trial.text("job.toml").replace("127.0.0.1:7000", &address));
    let mut job = trial.start(&[]);
    job.wait_for_stderr("Connection refused");
    let mut nc = Process::nc(address.rsplit(':').next().unwrap().parse().unwrap());
    nc.say("to\nbe\n");
    job.wait_until("the lines are shown", |job| job.stdout().contains("| 1      | be   |"));
    assert!(nc.stdout().starts_with("FROM 0\n"), "{}", nc.stdout());
    job.signal("INT");
    assert_eq!(job.wait().code, Some(0));
}

#[test]
fn every_block_of_the_page_is_tested() {
    let ways = WAYS.iter().flat_map(|way| {
        let Way { lang, fence, failed, .. } = way;
        [("sh", format!("--lang {lang}\n")), (fence, "initial".into()), ("text", failed.to_string())]
    });
    let others = [("toml", "[sources.orders]"), ("json", "ann"), ("sh", "nc -lk 9999")];
    let others = others.into_iter().chain([("toml", "[sources.lines]"), ("sh", "--world source")]);
    let others = others.chain([("toml", "[sinks.ledger]"), ("sh", "--world sink")]);
    let of_cases = [("toml", "rows = 3"), ("text", "from {n}"), ("json", "\"number\""), ("text", "let last = 0")];
    let others = others.chain(of_cases);
    let mut taken: Vec<Block> = ways.map(|(language, text)| block_of(&PAGES, language, &text)).collect();
    taken.extend(others.map(|(language, text)| block_of(&PAGES, language, text)));
    // These run in the tests of the doctor and of `--watch`, and in those above.
    let known = [
        "millstream doctor\n",
        "millstream test --watch bills\n",
        "millstream test --accept bills\n",
        "millstream build bills\nmillstream run job.toml\n",
    ];
    for block in PAGES.into_iter().flat_map(blocks) {
        let is_known = block.language == "sh" && known.contains(&block.text.as_str());
        assert!(is_known || taken.contains(&block), "{}: nothing runs this", block.place);
    }
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn the_page_is_true_for_go() {
        follow_page("go");
    }

    #[test]
    fn the_page_is_true_for_c() {
        follow_page("c");
        // The output is the same in all languages.
        let trial = Trial::new("");
        shell(&trial, "millstream new bills --lang c");
        let manifest = trial.path("bills/plugin.toml");
        fs::write(&manifest, fs::read_to_string(&manifest).unwrap() + "\n" + &shown_block("toml", "[grants]").text)
            .unwrap();
        shell(&trial, "millstream build bills");
        let output = shell(&trial, &shown_block("sh", "shared.wasm").text);
        for part in [
            "plugin:        bills 0.1.0\n",
            "language:      C\n",
            "# bills\n",
            "\"license\": \"Apache-2.0\"",
            "api.example.com",
        ] {
            assert!(output.contains(part), "no {part:?} in\n{output}");
        }
    }

    #[test]
    fn the_page_is_true_for_a_sink() {
        let trial = Trial::new(&block_of(&PAGES, "toml", "[sinks.ledger]").text);
        let output = shell(&trial, &block_of(&PAGES, "sh", "--world sink").text);
        for part in [
            "test result: ok. 1 passed",
            "built ./ledger.wasm",
            CASE_PASSES,
            "world:         sink",
            "connections (need a grant)",
        ] {
            assert!(output.contains(part), "no {part:?} in\n{output}");
        }
        case(&trial, "ledger", &[("server.txt", "text", "let last = 0")]);
        trial.write("entries.jsonl", "{\"name\":\"to\",\"amount\":1}\n{\"name\":\"be\",\"amount\":2.5}\n");
        let shown = trial.run_command_ok(&["validate", "job.toml"]);
        assert!(shown.contains("plugin ledger 0.1.0 reads name text, amount float64"), "{shown}");
        assert!(shown.contains("exactly once, as its plugin declares"), "{shown}");
        let address = format!("127.0.0.1:{}", free_port());
        trial.write("job.toml", trial.text("job.toml").replace("127.0.0.1:7100", &address));
        let mut job = trial.start(&[]);
        job.wait_for_stderr("Connection refused");
        let mut nc = Process::nc(address.rsplit(':').next().unwrap().parse().unwrap());
        nc.wait_until("the sink is opened", |nc| nc.stdout().starts_with("OPEN "));
        nc.say("LAST 0\n");
        nc.wait_until("the batch is sent", |nc| nc.stdout().contains("BEGIN 1\nROW to 1\nROW be 2.5\nCOMMIT 1\n"));
        nc.say("LAST 1\n");
        let ended = job.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }

    #[test]
    fn the_page_is_true_for_typescript() {
        follow_page("js");
    }
}
