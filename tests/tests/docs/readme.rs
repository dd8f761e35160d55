//! The instructions of the READMEs work: every block of every README is run, compiled, or checked against the program.
//!
//! Rust blocks of `sdk/rust/README.md` are doc tests of the SDK.

mod page_jobs;

use millstream_tests::{
    Block, DEADLINE, Ended, Process, Trial, blocks, free_port, millstream, pages, plugin, root, wait_until,
};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Plugins are compiled from scratch, possibly next to other builds.
const BUILDS_WITHIN: Duration = Duration::from_secs(600);

/// The pages with tests of their own, which run all of their blocks.
const OWN: [&str; 18] = [
    "docs/how-to/change-a-job-with-state.md",
    "docs/how-to/change-the-number-of-workers.md",
    "docs/how-to/install.md",
    "docs/how-to/receive-rows-over-http.md",
    "docs/how-to/run-as-a-service.md",
    "docs/how-to/run-on-kubernetes.md",
    "docs/how-to/run-on-several-machines.md",
    "docs/how-to/share-plugins.md",
    "docs/how-to/test-plugins.md",
    "docs/how-to/upgrade-a-plugin.md",
    "docs/how-to/use-plugins-in-a-shell.md",
    "docs/how-to/use-plugins-in-python.md",
    "docs/how-to/write-a-source-or-sink-plugin.md",
    "docs/how-to/write-plugins-in-other-languages.md",
    "docs/tutorials/changes-to-dashboard.md",
    "docs/tutorials/first-job.md",
    "docs/tutorials/first-plugin.md",
    "docs/tutorials/kafka-exactly-once.md",
];

/// Every README except those of project templates, which have the project's name, and the pages of `docs/` and its directories.
fn readmes() -> Vec<String> {
    let mut readmes = vec!["README.md".to_string(), "CONTRIBUTING.md".to_string()];
    readmes.extend(
        ["demo", "sdk", "sdk/rust", "tests", "tests/conformance", "tests/fault", "wit"]
            .map(|dir| format!("{dir}/README.md")),
    );
    let dirs = names_in(&root().join("tests/tests")).into_iter().filter(|name| !name.contains('.'));
    readmes.extend(dirs.map(|name| format!("tests/tests/{name}/README.md")));
    readmes.extend(plugins().into_iter().map(|name| format!("plugins/{name}/README.md")));
    readmes.extend(pages());
    readmes
}

/// The names of the plugins in the project.
fn plugins() -> Vec<String> {
    names_in(&root().join("plugins"))
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// The blocks of a README in a language.
fn blocks_in(file: &str, language: &str) -> Vec<Block> {
    blocks(file).into_iter().filter(|block| block.language == language).collect()
}

/// The one block with this text.
#[track_caller]
fn block_with(file: &str, language: &str, text: &str) -> Block {
    let mut found: Vec<_> = blocks_in(file, language).into_iter().filter(|block| block.text.contains(text)).collect();
    assert_eq!(found.len(), 1, "{file} has so many {language} blocks with {text:?}");
    found.remove(0)
}

#[test]
fn the_job_of_the_readme_is_the_demo() {
    let demo = fs::read_to_string(root().join("demo/word-count.toml")).unwrap();
    assert_eq!(block_with("README.md", "toml", "[sources.lines]").text, demo);
}

#[test]
fn the_demo_counts_what_nc_sends() {
    let port = free_port();
    let trial = Trial::new("");
    let results = trial.path("totals");
    let command = |name: &str| {
        let mut command = Command::new(millstream());
        command.current_dir(root()).args([name, "demo/word-count.toml"]);
        command.args(["--set", &format!("sources.lines.address=127.0.0.1:{port}")]);
        command.args(["--set", &format!("sinks.results.path={}", results.display())]);
        command
    };
    let valid = Process::start(&mut command("validate")).wait();
    assert_eq!(valid.code, Some(0), "{}", valid.stderr);
    assert!(valid.stdout.ends_with("demo/word-count.toml: valid\n"), "{}", valid.stdout);

    let mut nc = Process::nc(port);
    let mut job = Process::start(&mut command("run"));
    job.wait_for_stderr("source `lines`: connected to");
    nc.say("To be or not to be\n");
    wait_until("the first totals are written", || newest(&results) == ["be,2", "not,1", "or,1", "to,2"]);
    nc.say("that is\n\nthe question: to\n");
    wait_until("the totals go on", || {
        newest(&results) == ["be,2", "is,1", "not,1", "or,1", "question:,1", "that,1", "the,1", "to,3"]
    });
    job.wait_until("the screen shows both", |job| {
        job.stdout().contains("| to   | 2 |") && job.stdout().contains("| question: | 1 |")
    });
    job.signal("INT");
    assert_eq!(job.wait().code, Some(0));
}

/// The sorted lines of the newest csv part, without its header.
fn newest(dir: &Path) -> Vec<String> {
    let parts = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    let newest = parts.filter(|path| path.extension().is_some_and(|ending| ending == "csv")).max();
    let text = newest.map(|path| fs::read_to_string(path).unwrap()).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// A reader's own directory. It stays from run to run at the same path, so that cargo rebuilds only what has changed; nothing in
/// it belongs to the checkout.
struct Reader {
    dir: PathBuf,
}

impl Reader {
    fn new(name: &str) -> Reader {
        let dir = reading().join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir).unwrap();
        }
        fs::create_dir_all(dir.join("bin")).unwrap();
        std::os::unix::fs::symlink(millstream().canonicalize().unwrap(), dir.join("bin/millstream")).unwrap();
        Reader { dir }
    }

    /// With the demo's jobs and text, and the plugins, as in the project's root.
    fn with_demo(name: &str) -> Reader {
        let reader = Reader::new(name);
        fs::create_dir(reader.dir.join("demo")).unwrap();
        for file in ["kept.toml", "text.txt"] {
            fs::copy(root().join("demo").join(file), reader.dir.join("demo").join(file)).unwrap();
        }
        std::os::unix::fs::symlink(root().join("plugins"), reader.dir.join("plugins")).unwrap();
        reader
    }

    /// With an example and the plugins, as in the project's root.
    fn with_example(name: &str) -> Reader {
        let reader = Reader::new(name);
        let (from, to) = (root().join("docs/examples").join(name), reader.dir.join("docs/examples").join(name));
        fs::create_dir_all(&to).unwrap();
        let is_of_job = |file: &String| from.join(file).is_file() && file != "README.md";
        for file in names_in(&from).into_iter().filter(is_of_job) {
            fs::copy(from.join(&file), to.join(&file)).unwrap();
        }
        std::os::unix::fs::symlink(root().join("plugins"), reader.dir.join("plugins")).unwrap();
        reader
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.join(name), text).unwrap();
    }

    /// Runs these lines in a shell in a directory of the reader.
    fn try_run(&self, within: &str, lines: &str) -> Ended {
        let path = format!("{}:{}", self.dir.join("bin").display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("bash");
        shell.args(["-euc", lines]).current_dir(self.dir.join(within)).env("PATH", path);
        shell.env("CARGO_TARGET_DIR", reading().join("target"));
        // The SDK needs no crate that the project itself does not need.
        shell.env("CARGO_NET_OFFLINE", "true");
        // These builds are not debugged, and nothing in them is built twice.
        shell.envs([("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_INCREMENTAL", "0")]);
        Process::start(&mut shell).wait_within(BUILDS_WITHIN)
    }

    /// Runs these lines, which must do. Returns what they say.
    #[track_caller]
    fn run_ok(&self, within: &str, lines: &str) -> String {
        let ended = self.try_run(within, lines);
        assert_eq!(ended.code, Some(0), "{lines}\n{}\n{}", ended.stdout, ended.stderr);
        ended.stdout
    }

    /// Runs a job with this stage on one row and returns the output rows.
    #[track_caller]
    fn runs_stage(&self, stage: &str) -> Vec<Value> {
        self.write("job.toml", &job_with(stage));
        self.write("input.jsonl", ROW);
        self.run_ok("", "millstream run job.toml");
        let batch = fs::read_to_string(self.dir.join("out.jsonl")).unwrap();
        let mut batch: Value = serde_json::from_str(&batch).unwrap();
        serde_json::from_value(batch["rows"].take()).unwrap()
    }
}

/// The directory of all readers and their builds.
fn reading() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme")
}

/// A row with every column that a stage of a README may read.
const ROW: &str = r#"[{"value":"to be","word":"be","user":"ann","shop":"here","name":"tea","amount":20,"price":2.5,"paid":5,"formula":"6 * 7","vehicle":"tram","latitude":52.5,"longitude":13.4,"at":"2024-05-01T12:00:00Z"}]"#;

/// A row for what reads access logs.
const LOG: &str = r#"[{"value":"192.0.2.1 - ann [10/Oct/2000:13:55:36 -0700] \"GET /tea HTTP/1.0\" 200 2326"}]"#;

/// A job of a stage as READMEs show them: its source is a queue of [`ROW`], and its rows go to `out.jsonl`.
fn job_with(stage: &str) -> String {
    let word = |before: &str, after: &str| {
        let rest = stage.split_once(before).unwrap_or_else(|| panic!("no {before} in\n{stage}")).1;
        rest.split_once(after).unwrap().0.to_owned()
    };
    let (from, name) = (word("\nfrom = \"", "\""), word("[stages.", "]"));
    let columns = "value = \"text\", word = \"text\", user = \"text\", shop = \"text\", name = \"text\", \
                   amount = \"float64\", price = \"float64\", paid = \"float64\", formula = \"text\", \
                   vehicle = \"text\", latitude = \"float64\", longitude = \"float64\", at = \"timestamp\"";
    let source =
        |name: &str| format!("[sources.{name}]\nkind = \"queue\"\npath = \"input.jsonl\"\nschema = {{ {columns} }}\n");
    let other = if stage.contains("\ncogroup = [") { source(&word("\ncogroup = [\"", "\"]")) } else { String::new() };
    let first = source(&from);
    format!(
        "clock = \"manual\"\n{first}{other}{stage}\n[sinks.out]\nfrom = \"{name}\"\nkind = \"queue\"\npath = \"out.jsonl\"\n"
    )
}

/// Follows a README's instructions for the plugin `shout`, from `millstream new` to a stage of a job.
#[track_caller]
fn follow_shout_readme(file: &str, expected: &[&str], row: Value) {
    let reader = Reader::new("shout");
    let lines = |text: &str| block_with(file, "sh", text).text;
    reader.run_ok("", &lines("millstream new shout"));
    reader.write("shout/src/lib.rs", &block_with(file, "rust", "fn shout").text);
    let told = if file == "README.md" {
        reader.run_ok("", &lines("shout/cases/example"));
        reader.run_ok("", &lines("millstream build shout"))
    } else {
        reader.run_ok("shout", &lines("millstream build ."))
    };
    for line in expected {
        assert!(told.contains(line), "no {line:?} in\n{told}");
    }
    assert_eq!(reader.runs_stage(&block_with(file, "toml", "plugin = \"shout\"").text), [row]);
    if file == "README.md" {
        assert_eq!(reader.run_ok("", &lines("millstream pipe shout")), "TO BE\n");
    }
}

/// A new project of a world: all instructions of its README, in one run.
#[track_caller]
fn a_new_project_passes(world: &str, expected: Value) {
    let reader = Reader::new(world);
    let name = format!("tea-{world}");
    reader.run_ok("", &format!("millstream new {name} --world {world}"));
    let path = reader.dir.join(&name).join("README.md");
    let file = path.to_str().unwrap();
    let here = names_in(path.parent().unwrap());
    assert_eq!(here, [".gitignore", "Cargo.toml", "README.md", "cases", "sdk", "src"]);
    let told = reader.run_ok(&name, &block_with(file, "sh", "cargo test").text);
    assert!(told.contains("test result: ok. 1 passed"), "its test in Rust\n{told}");
    assert!(told.contains("1 case, 0 failed"), "its case\n{told}");
    assert!(told.contains(&format!("{world} of millstream:plugin@")), "{told}");
    let rows = reader.runs_stage(&block_with(file, "toml", &format!("plugin = \"{name}\"")).text);
    assert_eq!(Value::from(rows), expected);
}

#[test]
fn a_new_transform_passes() {
    a_new_project_passes("transform", json!([{ "name": "tea", "total": 25.0 }]));
}

/// The number of words in the demo's text.
fn words() -> usize {
    fs::read_to_string(root().join("demo/text.txt")).unwrap().split_ascii_whitespace().count()
}

/// A job is killed and restarted, as a page says.
#[track_caller]
fn kill_and_resume(reader: &Reader, page: &str) -> String {
    let job = fs::read_to_string(root().join("demo/kept.toml")).unwrap();
    assert!(job.contains(&block_with(page, "toml", "[checkpoint]").text), "{page} shows another [checkpoint]");
    reader.run_ok("", &block_with(page, "sh", "kill -9").text)
}

#[test]
fn the_job_of_the_readme_is_killed_and_loses_nothing() {
    let told = kill_and_resume(&Reader::with_demo("killed"), "README.md");
    assert!(told.contains(&format!("| {} |", words())) && told.contains(&format!("\n{}\n", words())), "{told}");
    assert!(told.contains("positions:     lines (file text.txt): read to the end"), "{told}");
    assert!(told.contains(", the same as was committed\n"), "{told}");
}

#[test]
fn the_page_about_recovery_is_true_from_top_to_bottom() {
    let (page, reader) = ("docs/how-to/recover-and-go-back.md", Reader::with_demo("checkpoints"));
    let mut told = kill_and_resume(&reader, page);
    // The following commands, and between the first look at the state and the rest, those of another page for the same job.
    let mut lines: Vec<String> = blocks_in(page, "sh").into_iter().skip(1).map(|block| block.text).collect();
    lines.insert(1, block_with("docs/how-to/change-a-job-with-state.md", "sh", "--drop-state").text);
    for lines in lines {
        told += &reader.run_ok("", &lines);
    }
    let words = words();
    assert!(told.contains(&format!("| {words} |\n")) && told.contains(&format!("\n{words}\n")), "{told}");
    assert!(told.contains("\"place\": \"demo/out/kept\""), "{told}");
    assert_eq!(told.matches(", the same as was committed\n").count(), 2, "{told}");
    let totals = fs::read_to_string(reader.dir.join("demo/out/totals.jsonl")).unwrap();
    let python = Process::start(&mut Command::new(root().join("scripts/python.sh"))).wait_within(BUILDS_WITHIN);
    reader.write("totals.py", &block_with("docs/reference/checkpoint-layout.md", "python", "millstream_removed").text);
    let read = reader.run_ok("", &format!("{} totals.py", python.stdout.trim()));
    assert_eq!(read, format!("{} {words}\n", totals.lines().count()));
}

#[test]
fn the_example_of_the_page_about_untrusted_plugins_works() {
    let (page, reader) = ("docs/how-to/run-untrusted-plugins.md", Reader::with_example("poison"));
    plugin("formulas");
    let job = fs::read_to_string(root().join("docs/examples/poison/job.toml")).unwrap();
    assert!(job.contains(&block_with(page, "toml", "on_error").text), "the page shows another stage");

    let shown = reader.run_ok("", "millstream validate docs/examples/poison/job.toml");
    for line in [
        "rows that make a call fail go to values.rejected, and the others continue",
        "more than 100 rejected rows in a batch stop the job",
        "limits: time 10ms",
        "rejected rows to values.rejected: id int64, formula text, reason text, backtrace text, stage text, plugin text, \
         version text, digest text, batch int64",
    ] {
        assert!(shown.contains(&format!(" {line}\n")), "no {line:?} in\n{shown}");
    }

    let first = block_with(page, "sh", "rejected/part-*        #").text;
    let (run, shown) = first.split_once('\n').unwrap();
    reader.run_ok("", run);
    let (values, rejected) = shown.split_once('\n').unwrap();
    let four = reader.run_ok("", values);
    assert_eq!(numbers(&four), [14, 20, 1_000_000_000_000_000_000, 3], "{four}");
    let refused = reader.run_ok("", rejected);
    let rows: Vec<Value> = refused.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = rows.iter().map(|row| row["id"].as_i64().unwrap()).collect();
    assert_eq!(told, [2, 4, 5], "{refused}");
    let reasons = ["attempt to divide by zero", "expected a number or `(` at `one`", "instructions"];
    for (row, words) in rows.iter().zip(reasons) {
        assert!(row["reason"].as_str().unwrap().contains(words), "{row}");
        assert_eq!(row["plugin"], "formulas", "{row}");
    }
    assert!(rows[0]["backtrace"].as_str().unwrap().contains("formulas::parse"), "{refused}");
    assert!(rows[1]["backtrace"].is_null(), "{refused}");

    let again = block_with("docs/how-to/retry-rejected-rows.md", "sh", "millstream retry docs").text;
    let told = reader.run_ok("", &again);
    let values: String = told.lines().filter(|line| line.starts_with('{')).map(|line| format!("{line}\n")).collect();
    assert_eq!(numbers(&values), [14, 20, 1_000_000_000_000_000_000, 3, 1], "{told}");
    let refused = reader.run_ok("", rejected);
    let ids = |text: &str| -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect()
    };
    assert_eq!(ids(&refused), [2, 4, 5, 2, 4], "{refused}");

    let asks = reader.run_ok("", &block_with(page, "sh", "millstream inspect").text);
    assert!(asks.contains("formulas 0.1.0"), "{asks}");
    reader.run_ok("", &block_with("docs/how-to/retry-rejected-rows.md", "sh", "rm -r").text);
    assert_eq!(names_in(&reader.dir.join("docs/examples/poison")), ["formulas.jsonl", "job.toml"]);
}

/// The column `value` of JSON lines.
fn numbers(lines: &str) -> Vec<i64> {
    lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["value"].as_i64().unwrap()).collect()
}

/// The table lists every limit with the program's default.
#[test]
fn every_limit_is_listed_with_its_default() {
    let schema = Process::start(Command::new(millstream()).arg("schema")).wait();
    let schema: Value = serde_json::from_str(&schema.stdout).unwrap();
    let stage = &schema["properties"]["stages"]["additionalProperties"]["properties"];
    let limits = stage["limits"]["properties"].as_object().unwrap();
    let page = fs::read_to_string(root().join("docs/reference/plugin-limits.md")).unwrap();
    let rows = page.split_once("\n| key | default |").unwrap().1.split("\n\n").next().unwrap();
    let mut told = Vec::new();
    for row in rows.lines().filter(|row| row.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let says = limits[cells[1]]["description"].as_str().unwrap();
        // Fuel has no default of its own.
        assert!(cells[1] == "fuel" || says.contains(&format!(" {} by default", cells[2])), "{row}\n{says}");
        told.push(cells[1]);
    }
    let mut keys: Vec<_> = limits.keys().map(String::as_str).collect();
    told.sort_unstable();
    keys.sort_unstable();
    assert_eq!(told, keys);
}

/// The guarantees of each kind, which are a part of its page.
const GUARANTEES: &str = "host/connectors/notes/guarantees.md";

/// The tables list every kind of source and sink that a job file may name.
#[test]
fn every_source_and_sink_has_its_guarantee() {
    let schema = Process::start(Command::new(millstream()).arg("schema")).wait();
    let schema: Value = serde_json::from_str(&schema.stdout).unwrap();
    let page = format!("\n{}", fs::read_to_string(root().join(GUARANTEES)).unwrap());
    for part in ["source", "sink"] {
        let rows = page.split_once(&format!("\n| {part} |")).unwrap().1.split("\n\n").next().unwrap();
        let mut told: Vec<_> = rows.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect();
        let mut kinds = kinds_in(&schema["properties"][format!("{part}s")]);
        told.sort_unstable();
        // A kind may have rows for several of its forms.
        told.dedup();
        kinds.sort_unstable();
        assert_eq!(told, kinds, "the {part}s of {GUARANTEES}");
    }
}

/// The page of each kind lists every key of it, and together they list every value of `format` and `mode`.
#[test]
fn every_key_of_sources_and_sinks_is_listed() {
    let schema = Process::start(Command::new(millstream()).arg("schema")).wait();
    let schema: Value = serde_json::from_str(&schema.stdout).unwrap();
    for part in ["sources", "sinks"] {
        let of_part = &schema["properties"][part]["additionalProperties"];
        let column = &of_part["properties"]["schema"]["additionalProperties"]["anyOf"][1]["properties"];
        let column = column.as_object().into_iter().flat_map(|keys| keys.keys());
        let inside: Vec<String> = column.map(|key| format!("schema.<name>.{key}")).collect();
        let mut all = String::new();
        for kind in kinds_in(&schema["properties"][part]) {
            let name = if kind == "raw-socket" { "socket" } else { kind };
            let page = format!("docs/reference/connectors/{name}.md");
            let text = fs::read_to_string(root().join(&page)).unwrap_or_else(|error| panic!("{page}: {error}"));
            let rules = of_part["allOf"].as_array().unwrap();
            let rule = rules.iter().find(|rule| rule["if"]["properties"]["kind"]["const"] == kind).unwrap();
            let takes = |key: &str| rule["then"]["properties"][key] != false;
            let keys = of_part["properties"].as_object().unwrap().keys().filter(|key| *key != "kind" && takes(key));
            let columns = &rule["then"]["properties"]["schema"]["additionalProperties"]["properties"];
            let takes_in_column = |key: &str| columns[key.strip_prefix("schema.<name>.").unwrap_or(key)] != false;
            let inside = inside.iter().filter(|key| takes("schema") && takes_in_column(key));
            for key in keys.chain(inside) {
                assert!(text.contains(&format!("\n| `{key}` |")), "{page} has no line of `{key}`");
            }
            assert!(text.contains("```toml\n") || text.contains("]("), "{page} shows no job, and none elsewhere");
            all += &text;
        }
        for key in ["format", "mode"] {
            let words = of_part["properties"][key]["anyOf"][0]["enum"].as_array();
            for word in words.into_iter().flatten().filter_map(Value::as_str) {
                assert!(all.contains(&format!("`{word}`")), "no page says anything of the {key} `{word}`");
            }
        }
    }
}

/// The kinds that a schema of sources or sinks allows.
fn kinds_in(schema: &Value) -> Vec<&str> {
    let kinds = &schema["additionalProperties"]["properties"]["kind"]["anyOf"][0]["enum"];
    kinds.as_array().unwrap_or_else(|| panic!("no kinds in {schema}")).iter().filter_map(Value::as_str).collect()
}

#[test]
fn the_stages_of_the_plugins_run() {
    for name in plugins() {
        plugin(&name);
        let stages = blocks_in(&format!("plugins/{name}/README.md"), "toml");
        assert!(!stages.is_empty(), "{name} shows no stage");
        for stage in stages {
            if stage.text.starts_with("[sources.") {
                // Its input is elsewhere; `source_examples` and `source_plugins` run it.
                let source = stage.text.trim_start_matches("[sources.").split(']').next().unwrap();
                let trial = Trial::new(&format!("{}[sinks.out]\nfrom = \"{source}\"\nkind = \"print\"\n", stage.text));
                std::os::unix::fs::symlink(root().join("plugins"), trial.path("plugins")).unwrap();
                trial.run_command_ok(&["validate", "job.toml"]);
                continue;
            }
            if stage.text.starts_with("[sinks.") {
                // Its output is elsewhere; `sink_examples` runs it.
                let from = stage.text.split_once("from = \"").unwrap().1.split('"').next().unwrap();
                let columns = "user = \"text\", amount = \"float64\"";
                let source =
                    format!("[sources.{from}]\nkind = \"queue\"\npath = \"in.jsonl\"\nschema = {{ {columns} }}\n");
                let trial = Trial::new(&(source + &stage.text));
                trial.write("in.jsonl", "[]\n");
                std::os::unix::fs::symlink(root().join("plugins"), trial.path("plugins")).unwrap();
                let mut command = trial.command(&["validate", "job.toml"]);
                let told =
                    Process::start(command.env("CHAT_WEBHOOK", "https://hooks.slack.com/services/T0/B0/x")).wait();
                assert_eq!(told.code, Some(0), "{}\n{}", stage.place, told.stderr);
                continue;
            }
            let trial = Trial::new(&job_with(&stage.text));
            trial.write("input.jsonl", if name == "weblog" { LOG } else { ROW });
            // The stages name plugins relative to the project's root.
            std::os::unix::fs::symlink(root().join("plugins"), trial.path("plugins")).unwrap();
            trial.run_ok(&[]);
            assert!(!trial.rows("out.jsonl").is_empty(), "{}: nothing comes out", stage.place);
        }
    }
}

/// The index lists each example and nothing else, and each says how to run it.
#[test]
fn every_example_is_listed() {
    let index = fs::read_to_string(root().join("docs/examples/README.md")).unwrap();
    let links = index.split("](").skip(1).filter_map(|rest| rest.split_once("/README.md)"));
    let mut told: Vec<&str> = links.map(|(name, _)| name).filter(|name| !name.contains(['/', '.'])).collect();
    told.sort_unstable();
    let mut examples = names_in(&root().join("docs/examples"));
    examples.retain(|name| name != "README.md");
    assert_eq!(told, examples);
    for name in told {
        let dir = root().join("docs/examples").join(name);
        let page = fs::read_to_string(dir.join("README.md")).unwrap();
        assert!(page.contains(&format!("millstream run docs/examples/{name}/job.toml")), "{name}");
        assert!(dir.join("job.toml").is_file(), "{name}");
    }
}

#[test]
fn filter_expr_reports_errors_as_its_readme_shows() {
    let shown = &blocks_in("plugins/filter-expr/README.md", "text")[0];
    let wrong = shown.text.lines().nth(1).unwrap().trim();
    let stage = format!(
        "[stages.large]\nfrom = \"orders\"\nplugin = \"{}\"\nconfig = {{ where = \"{wrong}\" }}",
        plugin("filter-expr").display()
    );
    let columns = "schema = { user = \"text\", amount = \"float64\" }";
    let job: String = job_with(&stage)
        .lines()
        .map(|line| if line.starts_with("schema") { columns } else { line })
        .fold(String::new(), |job, line| job + line + "\n");
    let trial = Trial::new(&job);
    trial.write("input.jsonl", ROW);
    let told = trial.rejected_message(&["validate", "job.toml"]);
    // Further lines of a plugin's text are indented in a message.
    let plain = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    assert!(plain(&told).ends_with(&plain(&shown.text)), "{told}");
}

/// The page about plugins in other engines.
const ELSEWHERE: &str = "docs/how-to/use-plugins-in-spark-flink-clickhouse.md";

/// A line of shell names a target of the Makefile, or a command and options that the program has.
fn check_line(line: &str, place: &str) {
    let words: Vec<&str> = line.split('#').next().unwrap().split_whitespace().collect();
    match words[..] {
        ["make", target, ref values @ ..] if values.iter().all(|value| value.contains('=')) => {
            let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
            assert!(makefile.contains(&format!("\n{target}:")), "{place}: the Makefile has no {target}");
        }
        ["millstream", command, ref arguments @ ..] => {
            let help = Process::start(Command::new(millstream()).args([command, "--help"])).wait_within(DEADLINE);
            assert_eq!(help.code, Some(0), "{place}: {line}\n{}", help.stderr);
            for option in arguments.iter().filter(|word| word.starts_with("--")) {
                let is_there = help.stdout.split_whitespace().any(|word| word == *option);
                assert!(is_there, "{place}: `{command}` has no {option}\n{}", help.stdout);
            }
            for path in arguments.iter().filter(|word| word.ends_with(".toml")) {
                assert!(root().join(path).exists(), "{place}: there is no {path}");
            }
        }
        ["python3", path, ..] => assert!(root().join(path).is_file(), "{place}: there is no {path}"),
        ["cargo" | "cat" | "cd" | "echo" | "export" | "nc" | "rm" | "sleep" | "wc", ..] | [] => {}
        // `addresses.rs` runs that line.
        ["ulimit", ..] => assert!(place.starts_with("docs/how-to/bound-memory-and-state.md"), "{place}"),
        _ => panic!("{place}: nothing checks `{line}`"),
    }
}

#[test]
fn no_block_goes_unchecked() {
    let worlds = ["transform", "update", "aggregate", "cogroup", "source"]
        .map(|world| format!("sdk/rust/template/{world}/README.md"));
    // The tests of these pages run all of them.
    let others = readmes().into_iter().filter(|file| !OWN.contains(&file.as_str()));
    for file in others.chain(worlds) {
        for block in blocks(&file) {
            match block.language.as_str() {
                "sh" => block.text.lines().for_each(|line| check_line(line, &block.place)),
                // The tests above take these from their files.
                "toml" => assert!(!file.starts_with("demo") && !file.starts_with("tests"), "{}", block.place),
                "rust" => assert!(["README.md", "sdk/rust/README.md"].contains(&file.as_str()), "{}", block.place),
                // `serve.rs` runs the client, and compares what it prints.
                "python" => assert!(
                    ["docs/reference/checkpoint-layout.md", "docs/reference/serve-protocol.md"].contains(&&*file),
                    "{}",
                    block.place
                ),
                // Text blocks: a Spark program, which is shown next to its job. `memory.rs` compares those about memory, `top.rs`
                // and `terminal.rs` those of the page, and `patterns.rs` runs those of patterns. `scripts/docs.py` generates
                // those of the command line, and those for contributors are examples of text.
                "text" => assert!(
                    [
                        "CONTRIBUTING.md",
                        "plugins/filter-expr/README.md",
                        "docs/how-to/bound-memory-and-state.md",
                        "docs/how-to/migrate-from-spark.md",
                        "docs/how-to/monitor.md",
                        "docs/reference/cli.md",
                        "docs/reference/serve-protocol.md",
                        "docs/reference/stages/pattern.md",
                    ]
                    .contains(&file.as_str()),
                    "{}",
                    block.place
                ),
                // `http/page.rs` compares it with the sink next to it.
                "html" => assert_eq!(file, "docs/reference/connectors/websocket.md", "{}", block.place),
                // `http/clickhouse.rs` creates that table, `serve.rs` runs that query, and `postgres/changes.rs` creates that
                // user.
                "sql" => assert!(
                    ["docs/reference/connectors/http.md", "docs/how-to/follow-postgres-changes.md", ELSEWHERE]
                        .contains(&&*file),
                    "{}",
                    block.place
                ),
                // `serve.rs` gives it to a ClickHouse.
                "xml" => assert_eq!(file, ELSEWHERE, "{}", block.place),
                "wit" => is_in_the_interface(&block),
                // `make flink` runs that test.
                "java" => {
                    let example = root().join("sdk/flink/src/test/java/dev/millstream/flink/ExampleTest.java");
                    let lines = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
                    assert!(
                        lines(&fs::read_to_string(example).unwrap()).contains(&lines(&block.text)),
                        "{}",
                        block.place
                    );
                }
                other => panic!("{}: nothing checks {other}", block.place),
            }
        }
    }
}

/// A WIT block shows lines of `wit/` as they are.
fn is_in_the_interface(block: &Block) {
    let entries = fs::read_dir(root().join("wit")).unwrap().map(|entry| entry.unwrap().path());
    let interface = entries.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap());
    assert!(
        interface.filter(|text| text.starts_with("package")).any(|text| text.contains(&block.text)),
        "{}",
        block.place
    );
}

/// Paths of the project that a README names in backquotes are there.
#[test]
fn the_links_of_readmes_have_targets() {
    for file in readmes() {
        let text = fs::read_to_string(root().join(&file)).unwrap();
        for path in text.split('`').skip(1).step_by(2).filter(|word| is_path(word)) {
            let near = root().join(&file).with_file_name(path);
            assert!(root().join(path).exists() || near.exists(), "{file}: there is no {path}");
        }
    }
}

fn is_path(word: &str) -> bool {
    let tops = ["demo/", "docs/", "host/", "plugins/", "scripts/", "sdk/", "tests/", "wit/"];
    let plain = |c: char| c.is_ascii_alphanumeric() || "/.-_".contains(c);
    tops.iter().any(|top| word.starts_with(top)) && word.chars().all(plain) && !word.starts_with("demo/out")
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn a_new_update_passes() {
        a_new_project_passes("update", json!([{ "user": "ann", "balance": 20.0, "closed": false }]));
    }

    #[test]
    fn a_new_cogroup_passes() {
        a_new_project_passes("cogroup", json!([{ "user": "ann", "orders": 1, "open": 15.0 }]));
    }

    #[test]
    fn a_new_aggregate_passes() {
        a_new_project_passes("aggregate", json!([{ "shop": "here", "mean": 2.5 }]));
    }

    /// One after the other: both projects have the same name and share cargo's directory.
    #[test]
    fn the_plugins_of_the_readmes_shout() {
        follow_shout_readme(
            "README.md",
            &["1 case, 0 failed", "shout 0.1.0", "value text not null"],
            json!({ "value": "TO BE" }),
        );
        let told = ["test shouts ... ok", "shout 0.1.0", "length int64"];
        follow_shout_readme("sdk/rust/README.md", &told, json!({ "value": "TO BE", "length": 5 }));
    }
}
