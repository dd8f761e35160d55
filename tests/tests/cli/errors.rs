//! What the program says about jobs that cannot run: every mistake by its exact words, with exit code 2 and nothing
//! else said or done.

use millstream_tests::{Process, Trial, free_port, plugin};
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

/// `validate` and `run` refuse the job in the same words.
#[track_caller]
fn refused(job: &str, expected: &str) {
    let trial = trial(job);
    let told = trial.refused(&["validate", "job.toml"]);
    is_error(&told, expected);
    assert_eq!(trial.refused(&["run", "job.toml"]), told);
}

/// `told` is an error of just these words.
#[track_caller]
fn is_error(told: &str, expected: &str) {
    let words =
        told.strip_prefix("error: ").and_then(|rest| rest.strip_suffix('\n')).unwrap_or_else(|| panic!("{told}"));
    // Mistakes behind the first are indented: only one line is an error of its own.
    let is_at_margin = |line: &str| !line.is_empty() && !line.starts_with("  ");
    let more = expected.split('\n').skip(1).any(is_at_margin);
    assert_eq!(words, if more { expected.replace('\n', "\n  ") } else { expected.to_owned() });
}

/// The right job with a change.
fn changed(from: &str, to: &str) -> String {
    assert!(RIGHT.contains(from), "{from}");
    RIGHT.replacen(from, to, 1)
}

#[test]
fn the_right_job_is_right() {
    trial(RIGHT).run_well(&[]);
    let ended = Process::start(&mut trial(RIGHT).command(&["validate", "job.toml"])).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.ends_with("job.toml: valid\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("value text, n_sum int64"), "{}", ended.stdout);
}

#[test]
fn typos() {
    refused(
        &changed("kind = \"queue\"", "kind = \"quueue\""),
        "job.toml:5: source `lines`: `kind = \"quueue\"` is unknown; did you mean `queue`?",
    );
    refused(
        &changed("from = \"lines\"", "form = \"lines\""),
        "job.toml:10: stage `counts`: unknown key `form`; did you mean `from`?",
    );
    refused(
        &changed("from = \"counts\"", "from = \"count\""),
        "job.toml:15: sink `screen`: `from` names `count`, which is neither a source nor a stage; did you mean `counts`?",
    );
    refused(
        &changed("sum(n)", "summ(n)"),
        "job.toml:12: stage `counts`: `aggregate.n_sum`: unknown function `summ`; did you mean `sum`? the functions are \
         `count`, `sum`, `min`, `max`, `avg`, `first`, `last`",
    );
    refused(
        &changed("n = \"int64\"", "n = \"int46\""),
        "job.toml:7: source `lines`: column `n`: unknown type `int46`; did you mean `int64`?",
    );
}

#[test]
fn not_toml() {
    refused(
        &changed("kind = \"print\"", "kind = print"),
        "job.toml:16: not TOML: string values must be quoted, expected literal string at `print`",
    );
    refused("[sources.a]\nkind = \"queue\"\n[sources.a]\n", "job.toml:3: not TOML: duplicate key at `a`");
}

#[test]
fn wrong_units_and_types() {
    refused(
        &changed("clock = \"manual\"", "batch = \"1 fortnight\""),
        "job.toml:2: `batch = \"1 fortnight\"` is not a time; write a whole number and one of us, ms, s, m, h, d, as \
         \"1s\"",
    );
    refused(
        &changed("clock = \"manual\"", "clock = \"manual\"\nworkers = 0"),
        "job.toml:3: `workers` is 0; write a number of 1 to 1024",
    );
    refused(
        &changed("from = \"lines\"", "from = 7"),
        "job.toml:10: stage `counts`: `from` is a whole number, needs text or a list of texts; write from = \"lines\" \
         or from = [\"a\", \"b\"]",
    );
}

#[test]
fn several_mistakes_are_told_together() {
    let job = changed("kind = \"queue\"", "kind = \"qeue\"").replace("sum(n)", "sum()");
    refused(
        &job,
        "job.toml:5: source `lines`: `kind = \"qeue\"` is unknown; did you mean `queue`?\njob.toml:12: stage \
         `counts`: `aggregate.n_sum`: `sum` needs a column; write its name, as \"sum(price)\"",
    );
}

#[test]
fn cycles() {
    let stages = "[stages.a]\nfrom = [\"lines\", \"b\"]\n[stages.b]\nfrom = \"a\"\n[stages.counts]";
    refused(
        &changed("[stages.counts]", stages),
        "job.toml:10: stage `a`: a cycle, in which rows would go round for ever: `a` → `b` → `a`; take one of these \
         out of a `from`",
    );
    refused(
        &changed("[stages.counts]", "[stages.self]\nfrom = \"self\"\n[stages.counts]"),
        "job.toml:10: stage `self`: it reads its own rows, which would go round for ever; take its name out of its `from`",
    );
}

#[test]
fn names() {
    refused(
        &changed("[stages.counts]", "[stages.lines]"),
        "job.toml:9: stage `lines`: there is a source `lines` already; every source and stage needs a name of \
         its own\njob.toml:15: sink `screen`: `from` names `counts`, which is neither a source nor a stage; there are \
         `lines`",
    );
    refused(
        &changed("[stages.counts]\n", "[stages.counts]\nfrom = \"lines\"\n[stages.counts]\n"),
        "job.toml:11: not TOML: duplicate key at `counts`",
    );
    refused(
        &changed("[stages.counts]", "[stages.\"two words\"]"),
        "job.toml:9: stage: `two words` is not a name: names are of letters, digits, `-` and `_` and begin with a \
         letter; write `two-words`\njob.toml:15: sink `screen`: `from` names `counts`, which is neither a source nor \
         a stage; there are `lines`, `two words`",
    );
}

#[test]
fn nothing_to_read_or_to_write() {
    refused(
        "name = \"empty\"\n",
        "job.toml: the job has no source; add one, as [sources.lines] with kind = \"socket\" and address = \
         \"127.0.0.1:9999\"\njob.toml: the job has no sink, so its rows go nowhere; add one, as [sinks.screen] with \
         from = \"…\" and kind = \"print\"",
    );
    refused(
        RIGHT.split("[sinks").next().unwrap(),
        "job.toml: the job has no sink, so its rows go nowhere; add one, as [sinks.screen] with from = \"…\" and kind \
         = \"print\"",
    );
}

#[test]
fn columns() {
    refused(
        &changed("key = \"value\"", "key = \"word\""),
        "job.toml:9: stage `counts`: key `word`: there is no column `word`; there are: value text, n int64",
    );
    refused(
        &changed("sum(n)", "sum(m)"),
        "job.toml:9: stage `counts`: `n_sum`: there is no column `m`; there are: value text, n int64",
    );
    refused(
        &changed("sum(n)", "sum(value)"),
        "job.toml:9: stage `counts`: `n_sum`: column `value` is text, and sum and avg need int64, float64 or a decimal",
    );
    let other =
        "[sources.other]\nkind = \"queue\"\npath = \"input.jsonl\"\nschema = { value = \"text\" }\n[stages.counts]";
    let job = changed("[stages.counts]", other).replace("from = \"lines\"", "from = [\"lines\", \"other\"]");
    refused(
        &job,
        "job.toml:13: stage `counts`: `lines` and `other` cannot be joined into one stream, as their columns differ: \
         `lines` has value text, n int64; `other` has value text",
    );
}

#[test]
fn columns_of_plugins() {
    let folder = plugin("split-words");
    let stage = |from: &str| format!("plugin = \"{}\"\n{from}", folder.display());
    let aggregate = "key = \"value\"\naggregate = { n_sum = \"sum(n)\" }";
    let job = |stage: String| changed(aggregate, &stage);
    refused(
        &job(stage("")).replace("value = \"text\"", "text = \"text\""),
        "job.toml:9: stage `counts`: plugin split-words 0.1.0 reads a column `value` (text), which `lines` does not \
         have; it has: text text, n int64",
    );
    refused(
        &job(stage("")).replace("value = \"text\"", "value = \"int64\""),
        "job.toml:9: stage `counts`: plugin split-words 0.1.0 reads column `value` as text, but in `lines` it is int64",
    );
    refused(
        &job(stage("on = \"all\"")),
        "job.toml:9: stage `counts`: `on`, `emit`, `timeout` and `initial` are for plugins of world update, and \
         plugin split-words 0.1.0 is of world transform; remove them",
    );
    refused(
        &job(stage("config = { seperator = \" \" }")),
        "job.toml:12: stage `counts`: plugin PROJECT/plugins/split-words/split-words.wasm refuses its config in \
         `describe`: unknown field `seperator`, expected `separator` or `lowercase`",
    );
    let count = plugin("running-count");
    refused(
        &job(format!("plugin = \"{}\"", count.display())),
        "job.toml:9: stage `counts`: plugin running-count 0.1.0 keeps a state by key: write which columns, as `key = \
         \"user\"`",
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
    refused(
        &job("beside", "key = \"value\""),
        "job.toml:18: stage `counts`: `PROJECT/tests/plugins/beside` is of world cogroup, which reads several inputs side \
         by side: write cogroup = [\"…\"] with the others",
    );
    refused(
        &job("split-words", "key = \"value\"\ncogroup = \"orders\""),
        "job.toml:18: stage `counts`: `cogroup` needs a plugin of world cogroup, and `PROJECT/plugins/split-words` is of \
         world transform",
    );
    refused(
        &job("beside", "key = \"value\"\ncogroup = \"orders\""),
        "job.toml:18: stage `counts`: plugin beside 0.1.0 reads 3 inputs, and the stage has 2: `lines`, `orders`",
    );
    refused(
        &job("beside", "key = \"value\"\ncogroup = [\"orders\", \"clicks\"]"),
        "job.toml:18: stage `counts`: key `value` is text in the first input and int64 in `clicks`",
    );
    refused(
        &job("beside", "key = \"name\"\ncogroup = [\"orders\", \"clicks\"]"),
        "job.toml:18: stage `counts`: key `name`: `orders` has no such column; it has: value text, amount int64",
    );
    refused(
        &job("beside", "key = \"value\"\ncogroup = [\"clicks\", \"orders\"]")
            .replace("value = \"int64\"", "value = \"text\""),
        "job.toml:18: stage `counts`: plugin beside 0.1.0 reads a column `amount` (int64), which `clicks` does not have; it \
         has: page text, value text",
    );
    let alarm = job("alarm", "key = \"k\"\nwindow = { size = \"1s\", time = \"ts\" }");
    refused(
        &alarm
            .replace("value = \"text\", name = \"text\", ts", "k = \"text\", todo = \"text\", second = \"int64\", ts"),
        "job.toml:18: stage `counts`: plugin alarm 0.1.0 sets timers, which cannot wait for event time behind a window of \
         the same stage; put the window into a stage of its own",
    );
}

/// A job whose stage uses the plugin at this path.
fn with_plugin(path: &str) -> String {
    changed("key = \"value\"\naggregate = { n_sum = \"sum(n)\" }", &format!("plugin = \"{path}\""))
}

#[track_caller]
fn refused_plugin(name: &str, bytes: &[u8], expected: &str) {
    let trial = trial(&with_plugin(name));
    trial.write(name, bytes);
    is_error(&trial.refused(&["run", "job.toml"]), expected);
}

#[test]
fn plugins_that_are_none() {
    refused(
        &with_plugin("plugins/none"),
        "job.toml:9: stage `counts`: there is no plugin at ./plugins/none: no such file or folder",
    );
    refused_plugin(
        "text.wasm",
        b"hello",
        "job.toml:9: stage `counts`: plugin ./text.wasm: the file is a text file, not a component. `millstream build` \
         makes components of plugin folders.",
    );
    refused_plugin(
        "empty.wasm",
        b"",
        "job.toml:9: stage `counts`: plugin ./empty.wasm: the file is empty, not a component",
    );
    refused_plugin(
        "noise.wasm",
        &[0xff, 0xfe, 0, 1, 2],
        "job.toml:9: stage `counts`: plugin ./noise.wasm: the file is not WebAssembly, so no component",
    );
    refused_plugin(
        "module.wasm",
        b"\0asm\x01\0\0\0",
        "job.toml:9: stage `counts`: plugin ./module.wasm: the file is a core WebAssembly module, not a component. \
         `millstream build` makes components of plugin folders.",
    );
    refused_plugin(
        "nothing.wasm",
        b"\0asm\x0d\0\x01\0",
        "job.toml:9: stage `counts`: ./nothing.wasm is a component, but no Millstream plugin: it exports nothing, and \
         none of transformer, updater, aggregator, cogrouper and reader of millstream:plugin@0.1.3",
    );
    let trial = trial(&with_plugin("folder"));
    fs::create_dir(trial.path("folder")).unwrap();
    is_error(
        &trial.refused(&["run", "job.toml"]),
        "job.toml:9: stage `counts`: ./folder is no plugin folder: it has no Cargo.toml, pyproject.toml, \
         package.json or plugin.toml. Name a component file or a plugin folder.",
    );
    trial.write("folder/Cargo.toml", "[package]\nname = \"fresh\"\n");
    is_error(
        &trial.refused(&["run", "job.toml"]),
        "job.toml:9: stage `counts`: plugin ./folder is not built: there is no ./folder/fresh.wasm. Run `millstream \
         build ./folder`.",
    );
}

#[test]
fn a_component_that_is_cut_or_damaged() {
    let component = fs::read(plugin("misbehave").join("misbehave.wasm")).unwrap();
    let trial = trial(&with_plugin("cut.wasm"));
    trial.write("cut.wasm", &component[..component.len() / 2]);
    let ended = Process::start(trial.command(&["run", "job.toml"]).env("MILLSTREAM_LOG", "off")).wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let told = ended.stderr.replace(&trial.folder().display().to_string(), "TRIAL");
    assert!(told.starts_with("error: job.toml:9: stage `counts`: plugin ./cut.wasm does not compile: "), "{told}");
    assert!(told.ends_with("\n  Build it again: `millstream build`.\n"), "{told}");
}

/// The component of a plugin, made to name another version or interface of the same length.
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
    refused_plugin(
        "newer.wasm",
        &patched("misbehave", "@0.1.3", "@0.2.1"),
        "job.toml:9: stage `counts`: plugin ./newer.wasm needs millstream:plugin@0.2.1, and this host speaks 0.1.3: \
         install a Millstream that speaks it, or build the plugin with an SDK for 0.1.3",
    );
    refused_plugin(
        "other.wasm",
        &patched("misbehave", "millstream:plugin/transformer@", "millstream:plugin/transfarmer@"),
        "job.toml:9: stage `counts`: ./other.wasm is a component, but no Millstream plugin: it exports \
         millstream:plugin/transfarmer@0.1.3, and none of transformer, updater, aggregator, cogrouper and reader of \
         millstream:plugin@0.1.3",
    );
}

#[test]
fn files_and_folders() {
    refused(
        &changed("input.jsonl", "inputs.jsonl"),
        "job.toml:6: source `lines`: path `./inputs.jsonl`: there is no such file or folder; relative paths start \
         from `.`",
    );
    let file = |kind: &str, path: &str| {
        let source = format!("kind = \"{kind}\"\npath = \"{path}\"\nformat = \"json\"");
        changed("kind = \"queue\"\npath = \"input.jsonl\"", &source).replace("clock = \"manual\"\n", "")
    };
    refused(
        &file("directory", "none"),
        "job.toml:5: source `lines`: path `./none`: there is no such file or folder; relative paths start from `.`",
    );
    refused(
        &file("directory", "input.jsonl"),
        "job.toml:5: source `lines`: path `./input.jsonl` is a file, not a folder; use kind = \"file\" for a file",
    );
    refused(
        &file("file", "."),
        "job.toml:5: source `lines`: path `./.` is a folder, not a file; use kind = \"directory\" for a folder",
    );
    let sink = |text: &str| changed("kind = \"print\"", text);
    refused(
        &sink("kind = \"queue\"\npath = \"no/such/out.jsonl\""),
        "job.toml:17: sink `screen`: the folder ./no/such does not exist; make it or choose another path",
    );
    refused(
        &sink("kind = \"files\"\npath = \"input.jsonl\""),
        "job.toml:17: sink `screen`: ./input.jsonl is a file, not a folder; a files sink writes into a folder: choose \
         another path",
    );
    refused(
        &sink("kind = \"files\"\npath = \"out\"\nformat = \"text\""),
        "job.toml:18: sink `screen`: format `text` writes a single text column, and the rows have value text, n_sum \
         int64; choose `json`, `csv` or `parquet`, or put a stage before the sink that returns one text column",
    );
    let stage =
        "plugin = \"PLUGIN\"\ninitial = \"none.csv\"".replace("PLUGIN", &plugin("running-count").display().to_string());
    refused(
        &changed("aggregate = { n_sum = \"sum(n)\" }", &stage),
        "job.toml:9: stage `counts`: `initial`: cannot read ./none.csv: No such file or directory (os error 2)",
    );
}

/// A job that would write over what it reads is refused before it does.
#[test]
fn sinks_that_write_where_they_must_not() {
    let sink = |text: &str| changed("kind = \"print\"", text);
    let job = sink("kind = \"queue\"\npath = \"./input.jsonl\"");
    let told = "job.toml:17: sink `screen` writes to ./input.jsonl, and source `lines` reads that file; choose another \
                path";
    refused(&job, told);
    let kept = trial(&job);
    kept.refused(&["run", "job.toml"]);
    assert_eq!(kept.text("input.jsonl"), "[]\n", "it is as it was");
    for (kind, path) in [("queue", "out.jsonl"), ("files", "out")] {
        let two = format!(
            "kind = \"{kind}\"\npath = \"{path}\"\n[sinks.again]\nfrom = \"lines\"\nkind = \"{kind}\"\npath = \
             \"./{path}\""
        );
        let told = "job.toml:21: sink `again` writes to ./PATH, and sink `screen` writes there as well; choose another \
                    path";
        refused(&sink(&two), &told.replace("PATH", path));
    }
    let folder = "kind = \"directory\"\npath = \".\"\nformat = \"json\"";
    let reads_here = |sink: &str| {
        let job = changed("kind = \"queue\"\npath = \"input.jsonl\"", folder).replace("clock = \"manual\"\n", "");
        job.replace("kind = \"print\"", sink)
    };
    for sink in ["kind = \"files\"\npath = \".\"", "kind = \"queue\"\npath = \"out.jsonl\""] {
        let path = sink.split('"').nth(3).unwrap_or_default();
        let told = format!(
            "job.toml:17: sink `screen` writes to {path}, and source `lines` reads every file in that folder; choose \
             another path"
        );
        refused(&reads_here(sink), &told);
    }
    trial(&sink(
        "kind = \"queue\"\npath = \"/dev/null\"\n[sinks.b]\nfrom = \"lines\"\nkind = \"queue\"\npath = \"/dev/null\"",
    ))
    .run_well(&[]);
}

#[test]
fn initial_states_that_are_wrong() {
    let plugin = plugin("running-count").display().to_string();
    let stage = format!("plugin = \"{plugin}\"\ninitial = \"states.csv\"");
    let trial = trial(&changed("aggregate = { n_sum = \"sum(n)\" }", &stage));
    let refused = |states: &str, expected: &str| {
        trial.write("states.csv", states);
        let told = trial.refused(&["run", "job.toml"]);
        is_error(&told, &format!("job.toml:9: stage `counts`: `initial`: ./states.csv: {expected}"));
    };
    refused("value,count\na,1\nb,2\na,3\n", "two rows have the key `a`; a key has one state: remove one of them");
    refused("value,count\na,1\nb,\n", "the state of the key `b` has no value in column `count`, and it must have one");
    refused("value,count\na,many\n", "initial state: column `count`: `many` is not an int64, in `a,many`");
    refused("value\na\n", "initial state: the header has no column `count`: value, in `a`");
    trial.write("states.csv", "value,count\na,1\n,2\n");
    trial.run_well(&[]);
}

#[test]
fn job_files_that_cannot_be_read() {
    let trial = trial(RIGHT);
    is_error(&trial.refused(&["run", "none.toml"]), "none.toml: there is no such file; give the path of a job file");
    is_error(&trial.refused(&["run", "."]), ".: this is a folder; give the path of a job file, such as job.toml in it");
    trial.write("latin1.toml", b"name = \"right\"\n# caf\xe9\n");
    is_error(
        &trial.refused(&["run", "latin1.toml"]),
        "latin1.toml:2: this line is not UTF-8 text; save the file as UTF-8",
    );
}

#[test]
fn set_that_sets_nothing() {
    let trial = trial(RIGHT);
    is_error(
        &trial.refused(&["run", "job.toml", "--set", "sources.line.path=x"]),
        "--set sources.line.path: the job has no source `line`; did you mean `lines`?",
    );
    is_error(
        &trial.refused(&["run", "job.toml", "--set", "sinks.screen.rows=many"]),
        "--set sinks.screen.rows: sink `screen`: `rows` is text, needs a whole number; write rows = 10",
    );
}

#[test]
fn addresses_of_processes() {
    let trial = trial(RIGHT);
    is_error(
        &trial.refused(&["run", "job.toml", "--processes", "2", "--process", "2"]),
        "--process is 2, and there are 2 processes; the last is 1",
    );
    is_error(
        &trial.refused(&["run", "job.toml", "--processes", "2", "--hosts", "127.0.0.1:1"]),
        "--processes is 2, and --hosts names 1 addresses; name one for each process",
    );
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let hosts = format!("{},127.0.0.1:{}", taken.local_addr().unwrap(), free_port());
    let arguments = ["run", "job.toml", "--processes", "2", "--process", "0", "--hosts", &hosts];
    let ended = Process::start(trial.command(&arguments).env("MILLSTREAM_LOG", "off")).wait();
    assert_eq!(ended.code, Some(1), "an address in use is no mistake of the job: {}", ended.stderr);
    assert_eq!(
        ended.stderr,
        format!(
            "error: process 0 cannot listen on {}: Address already in use (os error 98); stop what uses the address, or \
             name another with --hosts\n",
            taken.local_addr().unwrap()
        )
    );
}

#[test]
fn versions_to_come() {
    refused(
        &changed("[sinks.screen]", "[checkpoint]\ndir = \"c\"\nkeep = 3\n\n[sinks.screen]"),
        "job.toml:16: `checkpoint.keep` is not available in this version; remove it",
    );
    refused(
        &changed("kind = \"print\"", "kind = \"sqlite\""),
        "job.toml:16: sink `screen`: `kind = \"sqlite\"` is not available in this version; write one of: `print`, \
         `files`, `delta`, `queue`, `postgres`, `kafka`, `redis`, `mqtt`, `nats`, `rabbitmq`, `flight`, `kinesis`, `clickhouse`, `http`, `websocket`, `plugin`, `nothing`",
    );
    refused(
        &changed("key = \"value\"", "key = \"value\"\nsort = \"n\""),
        "job.toml:12: stage `counts`: `sort` is not available in this version; remove it",
    );
}

#[test]
fn windows_that_are_not_of_whole_batches() {
    let window = |window: &str| changed("key = \"value\"", &format!("key = \"value\"\nwindow = {window}"));
    refused(
        &window("{ size = \"2500ms\" }"),
        "job.toml:12: stage `counts`: `window.size` is 2500ms, which is no multiple of the batch interval, 1s, and a \
         window of processing time is made of whole batches; write \"2s\" or \"3s\"",
    );
    refused(
        &window("{ size = \"30s\", slide = \"-10s\" }"),
        "job.toml:12: stage `counts`: `window.slide = \"-10s\"` is not a time; write a whole number and one of us, ms, \
         s, m, h, d, as \"1s\"",
    );
    refused(
        &window("{ gap = \"30s\" }"),
        "job.toml:12: stage `counts`: `window.gap`: sessions need event time; write time = \"…\" with a timestamp column",
    );
    let no_interval = window("{ size = \"30s\" }").replace("clock = \"manual\"", "batch = \"0s\"");
    refused(
        &no_interval,
        "job.toml:12: stage `counts`: a window of processing time is made of whole batches, and with batch = \"0s\" \
         these have no length; write batch = \"1s\" at the top, or time = \"…\" with a timestamp column for windows \
         of event time",
    );
}

/// `validate` tells what nobody wrote: the slide of a window, and that rows between windows are dropped.
#[test]
fn windows_as_they_are_understood() {
    let told = |window: &str| {
        let trial = trial(&changed("key = \"value\"", &format!("key = \"value\"\n{window}")));
        let ended = Process::start(&mut trial.command(&["validate", "job.toml"])).wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout.lines().filter(|line| line.starts_with(' ')).map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(told(""), Vec::<String>::new());
    assert_eq!(told("window = { size = \"30s\" }"), ["window 30s every 1s of processing time (each batch: 1s)"]);
    assert_eq!(
        told("window = { size = \"30s\", slide = \"1m\" }"),
        ["window 30s every 1m of processing time (each batch: 1s); rows between windows are dropped"]
    );
}

/// Which world a plugin is of, only the plugin tells.
#[test]
fn what_only_aggregates_can_do() {
    let stage = |keys: &str| {
        let plugin = plugin("running-count").display().to_string();
        let stage = format!("plugin = \"{plugin}\"\nwindow = {{ size = \"30s\" }}\n{keys}");
        let job = changed("aggregate = { n_sum = \"sum(n)\" }", &stage);
        job.replace("n = \"int64\"", "n = \"int64\", ts = \"timestamp\"")
    };
    for (keys, what) in [("inverse = false", "`inverse`"), ("time = \"ts\"\nemit = \"update\"", "`emit = \"update\"`")]
    {
        let told = "is for aggregates and plugins of world aggregate, and this stage is neither; remove it";
        refused(&stage(keys), &format!("job.toml:9: stage `counts`: {what} {told}"));
    }
}

#[test]
fn the_first_of_all_rows_and_what_deletes_them() {
    let stage = |keys: &str| {
        let keys = format!("window = \"all\"\n{keys}");
        changed("key = \"value\"\naggregate = { n_sum = \"sum(n)\" }", &keys)
    };
    refused(
        &stage("top = { n = 2, by = \"n\", rank = \"value\" }"),
        "job.toml:9: stage `counts`: there is a column `value` already, and the rows of this stage get one; name another one in `top.rank`, or \
         rename it in a stage before, with `select`",
    );
    refused(
        &stage("top = { n = 2, by = \"n\" }\nop = \"n\""),
        "job.toml:9: stage `counts`: op: `n` is int64, and must be text, as \"insert\" or \"delete\"",
    );
    refused(
        &stage("key = \"n\"\naggregate = { oldest = \"first(n)\" }\nop = \"value\""),
        "job.toml:9: stage `counts`: `op`: `oldest` cannot follow rows that are deleted: of the rows that are left nothing tells which came \
         first; take `top` with n = 1 by a column that does",
    );
}

#[test]
fn joins_that_would_keep_all_rows() {
    let stage = |keys: &str| changed("key = \"value\"\naggregate = { n_sum = \"sum(n)\" }", keys);
    refused(
        &stage("time = \"ts\"\njoin = { with = \"lines.rejected\", on = \"value\" }"),
        "job.toml:11: stage `counts`: a join with `time` but without a bound would have to keep all rows for ever; \
         write within = \"10s\" in `join`, or window = { size = \"30s\" }, or remove `time` to join the rows of each \
         batch",
    );
    refused(
        &stage("join = { with = \"lines.rejected\", on = \"value\", within = \"10s\" }"),
        "job.toml:11: stage `counts`: `join.within` needs event time: without it nothing tells which rows can be \
         forgotten, and the join would keep all of them; write time = \"…\" with a timestamp column (a list: one for \
         each input), or remove `within` to join the rows of each batch",
    );
}

#[test]
fn sessions_of_several_inputs() {
    let stage = "time = \"ts\"\nwindow = { gap = \"3s\" }\njoin = { with = \"lines.rejected\", on = \"value\" }";
    let job = changed("key = \"value\"\naggregate = { n_sum = \"sum(n)\" }", stage);
    let job = job.replace("time = \"ts\"", "time = [\"ts\", \"to_timestamp_micros(0)\"]");
    refused(
        &job.replace("n = \"int64\"", "n = \"int64\", ts = \"timestamp\""),
        "job.toml:9: stage `counts`: a session window is of one input, and this stage has several; give each input a stage \
         with the session window, or write window = { size = \"30s\" }",
    );
}

#[test]
fn streams_beside_the_rows_of_a_stage() {
    refused(
        &changed("from = \"counts\"", "from = \"counts.late\""),
        "job.toml:15: sink `screen`: `from` names `counts.late`, and the stage `counts` has no late rows: they come \
         with event time; write time = \"…\" with a timestamp column there, or remove it here",
    );
    let split = "[stages.parts]\nfrom = \"lines\"\nsplit = { errors = \"n > 5\" }\n[sinks.screen]";
    refused(
        &changed("[sinks.screen]", split).replace("from = \"counts\"", "from = \"parts.error\""),
        "job.toml:18: sink `screen`: `from` names `parts.error`, which the stage `parts` does not put out; did you mean \
         `parts.errors`?",
    );
}

#[test]
fn stages_with_two_operators() {
    refused(
        &changed("key = \"value\"", "sql = \"select 1\""),
        "job.toml:12: stage `counts`: a stage has one operator, and this one has `sql` and `aggregate`; make two stages \
         of it",
    );
    refused(
        &changed("schema =", "time = \"ts\"\nschema ="),
        "job.toml:7: source `lines`: `time` is for the stage that has the window; write it there",
    );
}

/// Windows behind windows: two columns of one name are refused with what to write, and that is right.
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
    for (rest, line) in [(sql, 14), ("top = { n = 3, by = \"n\" }", 14), ("", 14)] {
        let told = format!(
            "job.toml:{line}: stage `hours`: `minutes` has a column `window_start` already, and the rows of this stage's \
             window get one, too; rename it before, with select = '{select}' in `minutes` (or in a stage between, where \
             that is a source), and use the new name here"
        );
        refused(&job("", "window_start", rest), &told);
        let right = trial(&job(&format!("select = '{select}'"), "window_start_before", rest));
        let ended = Process::start(&mut right.command(&["validate", "job.toml"])).wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}
