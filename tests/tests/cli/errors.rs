//! The program's messages for jobs that cannot run: every error by its exact text (`errors/<test>.expected`), with exit code 2
//! and without any other output or effect.

use millstream_tests::{Expected, Process, Trial, free_port, plugin, root};
use std::fs;
use std::net::TcpListener;

/// A job that is right, but for what a test changes.
const RIGHT: &str = r#"name = "right"
clock = "manual"

[sources.lines]
kind = "queue"
path = "input.jsonl"
schema = { value = "text", n = "int64" }

[stages.counts]
from = "lines"
key = "value"
aggregate = { n_sum = "sum(n)" }

[sinks.screen]
from = "counts"
kind = "print"
"#;

fn trial(job: &str) -> Trial {
    let trial = Trial::new(job);
    trial.write("input.jsonl", "[]\n");
    trial
}

/// Each of the jobs is rejected with the message in the test's file, after the change of the job.
#[track_caller]
fn check_rejected(test: &str, jobs: &[&str]) {
    let mut expected = Expected::of(file!(), test);
    for job in jobs {
        expected.error(&change(job), &error_message(job));
    }
    expected.check();
}

/// `validate` and `run` reject the job with the same message, which this returns.
#[track_caller]
fn error_message(job: &str) -> String {
    let trial = trial(job);
    let output = trial.rejected_message(&["validate", "job.toml"]);
    assert_eq!(trial.rejected_message(&["run", "job.toml"]), output);
    output
}

/// The lines in which a job differs from the right one.
fn change(job: &str) -> String {
    let mut right: Vec<&str> = RIGHT.lines().filter(|line| !line.is_empty()).collect();
    let mut changed = String::new();
    for line in job.lines().filter(|line| !line.is_empty()) {
        match right.iter().position(|other| *other == line) {
            Some(at) => drop(right.remove(at)),
            None => changed += &format!("{line}\n"),
        }
    }
    if changed.is_empty() {
        changed = right.iter().map(|line| format!("without {line}\n")).collect();
    }
    changed.replace(&root().display().to_string(), "PROJECT")
}

/// The right job with a change.
fn changed(from: &str, to: &str) -> String {
    assert!(RIGHT.contains(from), "{from}");
    RIGHT.replacen(from, to, 1)
}

#[test]
fn a_valid_job_is_accepted() {
    trial(RIGHT).run_ok(&[]);
    let ended = Process::start(&mut trial(RIGHT).command(&["validate", "job.toml"])).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.ends_with("job.toml: valid\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("value text, n_sum int64"), "{}", ended.stdout);
}

#[test]
fn typos() {
    check_rejected(
        "typos",
        &[
            &changed("kind = \"queue\"", "kind = \"quueue\""),
            &changed("from = \"lines\"", "form = \"lines\""),
            &changed("from = \"counts\"", "from = \"count\""),
            &changed("sum(n)", "summ(n)"),
            &changed("n = \"int64\"", "n = \"int46\""),
        ],
    );
}

#[test]
fn not_toml() {
    check_rejected(
        "not_toml",
        &[&changed("kind = \"print\"", "kind = print"), "[sources.a]\nkind = \"queue\"\n[sources.a]\n"],
    );
}

#[test]
fn wrong_units_and_types() {
    check_rejected(
        "wrong_units_and_types",
        &[
            &changed("clock = \"manual\"", "batch = \"1 fortnight\""),
            &changed("clock = \"manual\"", "clock = \"manual\"\nworkers = 0"),
            &changed("from = \"lines\"", "from = 7"),
        ],
    );
}

#[test]
fn several_mistakes_are_told_together() {
    let job = changed("kind = \"queue\"", "kind = \"qeue\"").replace("sum(n)", "sum()");
    check_rejected("several_mistakes_are_told_together", &[&job]);
}

#[test]
fn cycles() {
    let stages = "[stages.a]\nfrom = [\"lines\", \"b\"]\n[stages.b]\nfrom = \"a\"\n[stages.counts]";
    check_rejected(
        "cycles",
        &[
            &changed("[stages.counts]", stages),
            &changed("[stages.counts]", "[stages.self]\nfrom = \"self\"\n[stages.counts]"),
        ],
    );
}

#[test]
fn names() {
    check_rejected(
        "names",
        &[
            &changed("[stages.counts]", "[stages.lines]"),
            &changed("[stages.counts]\n", "[stages.counts]\nfrom = \"lines\"\n[stages.counts]\n"),
            &changed("[stages.counts]", "[stages.\"two words\"]"),
        ],
    );
}

#[test]
fn nothing_to_read_or_to_write() {
    check_rejected("nothing_to_read_or_to_write", &["name = \"empty\"\n", RIGHT.split("[sinks").next().unwrap()]);
}

#[test]
fn columns() {
    let other =
        "[sources.other]\nkind = \"queue\"\npath = \"input.jsonl\"\nschema = { value = \"text\" }\n[stages.counts]";
    let job = changed("[stages.counts]", other).replace("from = \"lines\"", "from = [\"lines\", \"other\"]");
    check_rejected(
        "columns",
        &[
            &changed("key = \"value\"", "key = \"word\""),
            &changed("sum(n)", "sum(m)"),
            &changed("sum(n)", "sum(value)"),
            &job,
        ],
    );
}

#[test]
fn columns_of_plugins() {
    let dir = plugin("split-words");
    let stage = |from: &str| format!("plugin = \"{}\"\n{from}", dir.display());
    let aggregate = "key = \"value\"\naggregate = { n_sum = \"sum(n)\" }";
    let job = |stage: String| changed(aggregate, &stage);
    let count = plugin("running-count");
    check_rejected(
        "columns_of_plugins",
        &[
            &job(stage("")).replace("value = \"text\"", "text = \"text\""),
            &job(stage("")).replace("value = \"text\"", "value = \"int64\""),
            &job(stage("on = \"all\"")),
            &job(stage("config = { seperator = \" \" }")),
            &job(format!("plugin = \"{}\"", count.display())),
        ],
    );
}

#[test]
fn inputs_of_cogroups_and_clocks_of_timers() {
    let others = "[sources.orders]\nkind = \"queue\"\npath = \"input.jsonl\"\nschema = { value = \"text\", amount = \"int64\" }\n\
                  [sources.clicks]\nkind = \"queue\"\npath = \"input.jsonl\"\nschema = { page = \"text\", value = \"int64\" }\n\n\
                  [stages.counts]";
    let job = |name: &str, stage: &str| {
        let stage = format!("plugin = \"{}\"\n{stage}", plugin(name).display());
        let job = changed("key = \"value\"\naggregate = { n_sum = \"sum(n)\" }", &stage);
        job.replace("value = \"text\", n = \"int64\"", "value = \"text\", name = \"text\", ts = \"timestamp\"")
            .replace("[stages.counts]", others)
    };
    let alarm = job("alarm", "key = \"k\"\nwindow = { size = \"1s\", time = \"ts\" }");
    check_rejected(
        "inputs_of_cogroups_and_clocks_of_timers",
        &[
            &job("beside", "key = \"value\""),
            &job("split-words", "key = \"value\"\ncogroup = \"orders\""),
            &job("beside", "key = \"value\"\ncogroup = \"orders\""),
            &job("beside", "key = \"value\"\ncogroup = [\"orders\", \"clicks\"]"),
            &job("beside", "key = \"name\"\ncogroup = [\"orders\", \"clicks\"]"),
            &job("beside", "key = \"value\"\ncogroup = [\"clicks\", \"orders\"]")
                .replace("value = \"int64\"", "value = \"text\""),
            &alarm.replace(
                "value = \"text\", name = \"text\", ts",
                "k = \"text\", todo = \"text\", second = \"int64\", ts",
            ),
        ],
    );
}

/// A job whose stage uses the plugin at this path.
fn with_plugin(path: &str) -> String {
    changed("key = \"value\"\naggregate = { n_sum = \"sum(n)\" }", &format!("plugin = \"{path}\""))
}

/// The message for a job whose plugin is a file of these bytes.
#[track_caller]
fn plugin_error(name: &str, bytes: &[u8]) -> String {
    let trial = trial(&with_plugin(name));
    trial.write(name, bytes);
    trial.rejected_message(&["run", "job.toml"])
}

#[test]
fn plugins_that_are_none() {
    let mut expected = Expected::of(file!(), "plugins_that_are_none");
    expected.error("plugins/none", &error_message(&with_plugin("plugins/none")));
    for (name, bytes) in [
        ("text.wasm", &b"hello"[..]),
        ("empty.wasm", b""),
        ("noise.wasm", &[0xff, 0xfe, 0, 1, 2]),
        ("module.wasm", b"\0asm\x01\0\0\0"),
        ("nothing.wasm", b"\0asm\x0d\0\x01\0"),
    ] {
        expected.error(name, &plugin_error(name, bytes));
    }
    let trial = trial(&with_plugin("folder"));
    fs::create_dir(trial.path("folder")).unwrap();
    expected.error("folder, which is empty", &trial.rejected_message(&["run", "job.toml"]));
    trial.write("folder/Cargo.toml", "[package]\nname = \"fresh\"\n");
    expected.error("folder, which is not built", &trial.rejected_message(&["run", "job.toml"]));
    expected.check();
}

#[test]
fn a_component_that_is_cut_or_damaged() {
    let component = fs::read(plugin("misbehave").join("misbehave.wasm")).unwrap();
    let trial = trial(&with_plugin("cut.wasm"));
    trial.write("cut.wasm", &component[..component.len() / 2]);
    let ended = Process::start(trial.command(&["run", "job.toml"]).env("MILLSTREAM_LOG", "off")).wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let output = ended.stderr.replace(&trial.dir().display().to_string(), "TRIAL");
    assert!(output.starts_with("error: job.toml:9: stage `counts`: plugin ./cut.wasm does not compile: "), "{output}");
    assert!(output.ends_with("\n  Build it again: `millstream build`.\n"), "{output}");
}

/// The component of a plugin, patched with another version or interface of the same length.
fn patched(name: &str, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut component = fs::read(plugin(name).join(format!("{name}.wasm"))).unwrap();
    let places: Vec<usize> = component
        .windows(from.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == from.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "the component names {from}");
    places.iter().for_each(|at| component[*at..at + to.len()].copy_from_slice(to.as_bytes()));
    component
}

#[test]
fn plugins_of_another_interface_or_world() {
    let mut expected = Expected::of(file!(), "plugins_of_another_interface_or_world");
    let newer = patched("misbehave", "@0.1.3", "@0.2.1");
    expected.error("newer.wasm", &plugin_error("newer.wasm", &newer));
    let other = patched("misbehave", "millstream:plugin/transformer@", "millstream:plugin/transfarmer@");
    expected.error("other.wasm", &plugin_error("other.wasm", &other));
    expected.check();
}

#[test]
fn files_and_dirs() {
    let file = |kind: &str, path: &str| {
        let source = format!("kind = \"{kind}\"\npath = \"{path}\"\nformat = \"json\"");
        changed("kind = \"queue\"\npath = \"input.jsonl\"", &source).replace("clock = \"manual\"\n", "")
    };
    let sink = |text: &str| changed("kind = \"print\"", text);
    let stage =
        "plugin = \"PLUGIN\"\ninitial = \"none.csv\"".replace("PLUGIN", &plugin("running-count").display().to_string());
    check_rejected(
        "files_and_folders",
        &[
            &changed("input.jsonl", "inputs.jsonl"),
            &file("directory", "none"),
            &file("directory", "input.jsonl"),
            &file("file", "."),
            &sink("kind = \"queue\"\npath = \"no/such/out.jsonl\""),
            &sink("kind = \"files\"\npath = \"input.jsonl\""),
            &sink("kind = \"files\"\npath = \"out\"\nformat = \"text\""),
            &changed("aggregate = { n_sum = \"sum(n)\" }", &stage),
        ],
    );
}

/// A job that would overwrite its input is rejected before it does.
#[test]
fn sinks_that_write_where_they_must_not() {
    let sink = |text: &str| changed("kind = \"print\"", text);
    let over_itself = sink("kind = \"queue\"\npath = \"./input.jsonl\"");
    let twice = |kind: &str, path: &str| {
        sink(&format!(
            "kind = \"{kind}\"\npath = \"{path}\"\n[sinks.again]\nfrom = \"lines\"\nkind = \"{kind}\"\npath = \
             \"./{path}\""
        ))
    };
    let dir = "kind = \"directory\"\npath = \".\"\nformat = \"json\"";
    let reads_here = |sink: &str| {
        let job = changed("kind = \"queue\"\npath = \"input.jsonl\"", dir).replace("clock = \"manual\"\n", "");
        job.replace("kind = \"print\"", sink)
    };
    check_rejected(
        "sinks_that_write_where_they_must_not",
        &[
            &over_itself,
            &twice("queue", "out.jsonl"),
            &twice("files", "out"),
            &reads_here("kind = \"files\"\npath = \".\""),
            &reads_here("kind = \"queue\"\npath = \"out.jsonl\""),
        ],
    );
    let kept = trial(&over_itself);
    kept.rejected_message(&["run", "job.toml"]);
    assert_eq!(kept.text("input.jsonl"), "[]\n", "it is as it was");
    trial(&sink(
        "kind = \"queue\"\npath = \"/dev/null\"\n[sinks.b]\nfrom = \"lines\"\nkind = \"queue\"\npath = \"/dev/null\"",
    ))
    .run_ok(&[]);
}

#[test]
fn initial_states_that_are_wrong() {
    let plugin = plugin("running-count").display().to_string();
    let stage = format!("plugin = \"{plugin}\"\ninitial = \"states.csv\"");
    let trial = trial(&changed("aggregate = { n_sum = \"sum(n)\" }", &stage));
    let mut expected = Expected::of(file!(), "initial_states_that_are_wrong");
    for states in ["value,count\na,1\nb,2\na,3\n", "value,count\na,1\nb,\n", "value,count\na,many\n", "value\na\n"] {
        trial.write("states.csv", states);
        expected.error(states, &trial.rejected_message(&["run", "job.toml"]));
    }
    expected.check();
    trial.write("states.csv", "value,count\na,1\n,2\n");
    trial.run_ok(&[]);
}

#[test]
fn job_files_that_cannot_be_read() {
    let trial = trial(RIGHT);
    trial.write("latin1.toml", b"name = \"right\"\n# caf\xe9\n");
    check_commands_rejected("job_files_that_cannot_be_read", &trial, &["run none.toml", "run .", "run latin1.toml"]);
}

/// Each of these commands is rejected with the message in the test's file.
#[track_caller]
fn check_commands_rejected(test: &str, trial: &Trial, commands: &[&str]) {
    let mut expected = Expected::of(file!(), test);
    for command in commands {
        let arguments: Vec<&str> = command.split(' ').collect();
        expected.error(command, &trial.rejected_message(&arguments));
    }
    expected.check();
}

#[test]
fn set_that_sets_nothing() {
    let commands = ["run job.toml --set sources.line.path=x", "run job.toml --set sinks.screen.rows=many"];
    check_commands_rejected("set_that_sets_nothing", &trial(RIGHT), &commands);
}

#[test]
fn addresses_of_processes() {
    let trial = trial(RIGHT);
    let commands = ["run job.toml --processes 2 --process 2", "run job.toml --processes 2 --hosts 127.0.0.1:1"];
    check_commands_rejected("addresses_of_processes", &trial, &commands);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let hosts = format!("{},127.0.0.1:{}", taken.local_addr().unwrap(), free_port());
    let arguments = ["run", "job.toml", "--processes", "2", "--process", "0", "--hosts", &hosts];
    let ended = Process::start(trial.command(&arguments).env("MILLSTREAM_LOG", "off")).wait();
    assert_eq!(ended.code, Some(1), "an address in use is no mistake of the job: {}", ended.stderr);
    assert_eq!(
        ended.stderr,
        format!(
            "error: process 0 cannot listen on {}: Address already in use (os error 98); stop the program that uses \
             the address, or set another one with --hosts\n",
            taken.local_addr().unwrap()
        )
    );
}

#[test]
fn versions_to_come() {
    check_rejected(
        "versions_to_come",
        &[
            &changed("[sinks.screen]", "[checkpoint]\ndir = \"c\"\nkeep = 3\n\n[sinks.screen]"),
            &changed("kind = \"print\"", "kind = \"s3\""),
            &changed("key = \"value\"", "key = \"value\"\nsort = \"n\""),
        ],
    );
}

#[test]
fn windows_that_are_not_of_whole_batches() {
    let window = |window: &str| changed("key = \"value\"", &format!("key = \"value\"\nwindow = {window}"));
    let no_interval = window("{ size = \"30s\" }").replace("clock = \"manual\"", "batch = \"0s\"");
    check_rejected(
        "windows_that_are_not_of_whole_batches",
        &[
            &window("{ size = \"2500ms\" }"),
            &window("{ size = \"30s\", slide = \"-10s\" }"),
            &window("{ gap = \"30s\" }"),
            &no_interval,
        ],
    );
}

/// `validate` shows implicit settings: the slide of a window, and that rows between windows are dropped.
#[test]
fn windows_as_they_are_understood() {
    let mut expected = Expected::of(file!(), "windows_as_they_are_understood");
    for window in ["window = { size = \"30s\" }", "window = { size = \"30s\", slide = \"1m\" }"] {
        expected.add(window, &validated(window));
    }
    expected.check();
    assert_eq!(validated(""), "", "without a window nothing is told");
}

/// The output of `validate` for a stage with these lines.
fn validated(window: &str) -> String {
    let trial = trial(&changed("key = \"value\"", &format!("key = \"value\"\n{window}")));
    let ended = Process::start(&mut trial.command(&["validate", "job.toml"])).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines = ended.stdout.lines().filter(|line| line.starts_with(' ')).map(str::trim);
    lines.collect::<Vec<_>>().join("\n")
}

/// Only the plugin shows its world.
#[test]
fn what_only_aggregates_can_do() {
    let stage = |keys: &str| {
        let plugin = plugin("running-count").display().to_string();
        let stage = format!("plugin = \"{plugin}\"\nwindow = {{ size = \"30s\" }}\n{keys}");
        let job = changed("aggregate = { n_sum = \"sum(n)\" }", &stage);
        job.replace("n = \"int64\"", "n = \"int64\", ts = \"timestamp\"")
    };
    check_rejected(
        "what_only_aggregates_can_do",
        &[&stage("inverse = false"), &stage("time = \"ts\"\nemit = \"update\"")],
    );
}

#[test]
fn the_first_of_all_rows_and_what_deletes_them() {
    let stage = |keys: &str| {
        let keys = format!("window = \"all\"\n{keys}");
        changed("key = \"value\"\naggregate = { n_sum = \"sum(n)\" }", &keys)
    };
    check_rejected(
        "the_first_of_all_rows_and_what_deletes_them",
        &[
            &stage("top = { n = 2, by = \"n\", rank = \"value\" }"),
            &stage("top = { n = 2, by = \"n\" }\nop = \"n\""),
            &stage("key = \"n\"\naggregate = { oldest = \"first(n)\" }\nop = \"value\""),
        ],
    );
}

#[test]
fn joins_that_would_keep_all_rows() {
    let stage = |keys: &str| changed("key = \"value\"\naggregate = { n_sum = \"sum(n)\" }", keys);
    check_rejected(
        "joins_that_would_keep_all_rows",
        &[
            &stage("time = \"ts\"\njoin = { with = \"lines.rejected\", on = \"value\" }"),
            &stage("join = { with = \"lines.rejected\", on = \"value\", within = \"10s\" }"),
        ],
    );
}

#[test]
fn sessions_of_several_inputs() {
    let stage = "time = \"ts\"\nwindow = { gap = \"3s\" }\njoin = { with = \"lines.rejected\", on = \"value\" }";
    let job = changed("key = \"value\"\naggregate = { n_sum = \"sum(n)\" }", stage);
    let job = job.replace("time = \"ts\"", "time = [\"ts\", \"to_timestamp_micros(0)\"]");
    check_rejected("sessions_of_several_inputs", &[&job.replace("n = \"int64\"", "n = \"int64\", ts = \"timestamp\"")]);
}

#[test]
fn streams_beside_the_rows_of_a_stage() {
    let split = "[stages.parts]\nfrom = \"lines\"\nsplit = { errors = \"n > 5\" }\n[sinks.screen]";
    check_rejected(
        "streams_beside_the_rows_of_a_stage",
        &[
            &changed("from = \"counts\"", "from = \"counts.late\""),
            &changed("[sinks.screen]", split).replace("from = \"counts\"", "from = \"parts.error\""),
        ],
    );
}

#[test]
fn stages_with_two_operators() {
    check_rejected(
        "stages_with_two_operators",
        &[&changed("key = \"value\"", "sql = \"select 1\""), &changed("schema =", "time = \"ts\"\nschema =")],
    );
}

/// Windows over windows: two columns with the same name are rejected with a fix, and the fix works.
#[test]
fn a_window_over_a_window_needs_other_names_for_the_first_bounds() {
    let job = |select: &str, time: &str, rest: &str| {
        format!(
            r#"name = "behind"
clock = "manual"
[sources.lines]
kind = "queue"
path = "input.jsonl"
schema = {{ value = "text", at = "timestamp" }}
[stages.minutes]
from = "lines"
key = "value"
time = "at"
window = {{ size = "1m" }}
aggregate = {{ n = "count(*)" }}
{select}
[stages.hours]
from = "minutes"
time = "{time}"
window = {{ size = "1h" }}
{rest}
[sinks.screen]
from = "hours"
kind = "print"
"#
        )
    };
    let sql = "sql = \"select value, sum(n) as n, max(window_end) as until from minutes group by value\"";
    let select = "value, window_start as window_start_before, window_end as window_end_before, n";
    let mut expected = Expected::of(file!(), "a_window_over_a_window_needs_other_names_for_the_first_bounds");
    for (name, rest) in [("sql", sql), ("top", "top = { n = 3, by = \"n\" }"), ("nothing behind the window", "")] {
        expected.error(name, &error_message(&job("", "window_start", rest)));
        let right = trial(&job(&format!("select = '{select}'"), "window_start_before", rest));
        let ended = Process::start(&mut right.command(&["validate", "job.toml"])).wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    expected.check();
}
