//! Loading untrusted plugins: what they request, how they are compiled, and what is cached.

use millstream_tests::{Process, Trial, holds_within, kill, millstream, plugin};
use serde_json::Value;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// A job whose stage `words` uses the component `plugin.wasm` next to it; `stage` and `job` have more keys.
fn trial(component: &[u8], stage: &str, job: &str) -> Trial {
    let trial = Trial::new(&format!(
        r#"
        clock = "manual"
        workers = 1
        {job}
        [sources.lines]
        kind = "queue"
        path = "input.jsonl"
        schema = {{ value = "text" }}
        [stages.words]
        from = "lines"
        plugin = "plugin.wasm"
        {stage}
        [sinks.out]
        from = "words"
        kind = "queue"
        path = "out.jsonl"
        "#
    ));
    trial.write("plugin.wasm", component);
    trial.write("input.jsonl", "[\"one two\"]\n");
    trial
}

fn split_words() -> Vec<u8> {
    fs::read(plugin("split-words").join("split-words.wasm")).unwrap()
}

/// A command with a cache and a key of its own.
fn isolated_command(trial: &Trial, arguments: &[&str]) -> Command {
    let mut command = trial.command(arguments);
    command.env("XDG_CACHE_HOME", trial.path("cache")).env("XDG_STATE_HOME", trial.path("state"));
    command
}

fn number(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id], &number(content.len())[..], content].concat()
}

/// The component with an import of this name appended: a resource, which needs no type.
fn asking_for(mut component: Vec<u8>, import: &str) -> Vec<u8> {
    let import = [&[1, 0], &number(import.len())[..], import.as_bytes(), &[3, 1]].concat();
    component.extend(section(10, &import));
    component
}

/// The component with an unused module appended, with this number of functions that all have this body.
fn with_functions(mut component: Vec<u8>, count: usize, body: &[u8]) -> Vec<u8> {
    let indexes = [number(count), vec![0; count]].concat();
    let one = [&number(body.len())[..], body].concat();
    let bodies = [number(count), one.repeat(count)].concat();
    let types = section(1, &[1, 0x60, 0, 0]);
    let module = [&b"\0asm\x01\0\0\0"[..], &types, &section(3, &indexes), &section(10, &bodies)].concat();
    component.extend(section(1, &module));
    component
}

/// Locals that every one of many loops within each other changes: a compiler keeps track of each in each.
fn loops(locals: usize, depth: usize) -> Vec<u8> {
    let mut body = [number(1), number(locals), vec![0x7f]].concat();
    for level in 0..depth {
        body.extend([0x03, 0x40]);
        let local = number(level % locals);
        body.extend([&[0x20], &local[..], &[0x41, 1, 0x6a, 0x21], &local[..]].concat());
    }
    for _ in 0..depth {
        // Repeat if the first local is not zero.
        body.extend([0x20, 0, 0x0d, 0, 0x0b]);
    }
    body.push(0x0b);
    body
}

#[test]
fn a_version_that_requests_more_is_rejected_until_granted() {
    let trial = trial(&split_words(), "", "[checkpoint]\ndir = \"checkpoint\"\n");
    trial.run_ok(&[]);
    assert_eq!(trial.rows("out.jsonl").len(), 2);
    trial.write("plugin.wasm", asking_for(split_words(), "wasi:http/outgoing-handler@0.2.3"));
    for command in ["run", "validate"] {
        let output = trial.rejected_message(&[command, "job.toml"]);
        assert!(
            output.contains("stage `words`: plugin ./plugin.wasm imports wasi:http/outgoing-handler@0.2.3"),
            "{output}"
        );
        assert!(
            output.contains("add to the stage: `grant = { http = { hosts = [\"api.example.com\"] } }`"),
            "{output}"
        );
        assert!(output.contains("`replayable = false`"), "{output}");
    }
    for import in ["wasi:sockets/tcp@0.2.0", "wasi:keyvalue/store@0.2.0", "other:thing/here"] {
        trial.write("plugin.wasm", asking_for(split_words(), import));
        let output = trial.rejected_message(&["run", "job.toml"]);
        assert!(
            output.contains(&format!("imports interfaces that the host does not have: {import}\n  Available: log,")),
            "{output}"
        );
    }
    trial.write("plugin.wasm", split_words());
    trial.run_ok(&[]);
}

#[test]
fn a_component_that_compiles_too_long_is_stopped() {
    let bomb = with_functions(split_words(), 50, &loops(2_000, 1_000));
    let trial = trial(&bomb, "limits = { compile = \"1s\" }", "");
    let run = || {
        let began = Instant::now();
        let ended = Process::start(isolated_command(&trial, &["run", "job.toml"]).env("MILLSTREAM_LOG", "off")).wait();
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("plugin ./plugin.wasm takes longer to compile than 1s"), "{}", ended.stderr);
        assert!(ended.stderr.contains("Raise `limits.compile` of the stage"), "{}", ended.stderr);
        (began.elapsed(), ended.stderr)
    };
    let (first, output) = run();
    assert!(first > Duration::from_secs(1) && !output.contains("earlier attempt"), "{output}");
    let (_, output) = run();
    assert!(output.contains("(This is the result of an earlier attempt; the next one is in "), "{output}");
}

#[test]
fn a_component_of_too_many_or_too_large_functions_is_not_compiled_at_all() {
    let refused = |component: &[u8], expected: &str| {
        let output = trial(component, "", "").rejected_message(&["run", "job.toml"]);
        assert!(output.contains(expected), "{output}");
    };
    let empty = [0, 0x0b];
    refused(&with_functions(split_words(), 200_001, &empty), " functions; at most 200000 are allowed");
    let large = [vec![0], vec![0x01; 4 << 20], vec![0x0b]].concat();
    refused(&with_functions(split_words(), 1, &large), "bytes in one function; at most 4194304 are allowed");
    refused(&vec![0; (64 << 20) + 1], "at most 67108864 are allowed");
}

/// Nested components, each of which creates two instances of the inner one.
#[test]
fn a_component_with_too_many_instances_is_rejected() {
    let magic = b"\0asm\x0d\0\x01\0";
    let module = section(1, b"\0asm\x01\0\0\0");
    let mut inner = [&magic[..], &module, &section(2, &[1, 0, 0, 0])].concat();
    for _ in 0..8 {
        inner = [&magic[..], &section(4, &inner), &section(5, &[2, 0, 0, 0, 0, 0, 0])].concat();
    }
    // It is the second component inside the plugin: the first makes the exported interface.
    let component = [split_words(), section(4, &inner), section(5, &[1, 0, 1, 0])].concat();
    let trial = trial(&component, "", "");
    for _ in 0..2 {
        let ended = Process::start(isolated_command(&trial, &["run", "job.toml"]).env("MILLSTREAM_LOG", "off")).wait();
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("does not fit this host: The component transitively contains"),
            "{}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("a bug in Millstream"), "{}", ended.stderr);
    }
}

#[test]
fn the_compiler_exits_with_the_waiting_process() {
    let bomb = with_functions(split_words(), 100, &loops(2_000, 1_000));
    for signal in ["KILL", "INT"] {
        let trial = trial(&bomb, "", "");
        let mut process = Process::start(&mut isolated_command(&trial, &["run", "job.toml"]));
        let mut child = None;
        process.wait_until("a process that compiles", |process| {
            child = process.children().first().copied();
            child.is_some_and(|child| fs::read(format!("/proc/{child}/stat")).is_ok())
        });
        let child = child.unwrap();
        process.signal(signal);
        process.wait();
        let gone = || fs::read_to_string(format!("/proc/{child}/stat")).map_or(true, |stat| stat.contains(") Z "));
        assert!(holds_within(Duration::from_secs(10), gone), "process {child} compiles on after {signal}");
    }
}

/// As the system does when it has no memory left.
#[test]
fn a_killed_compiler_is_restarted_a_few_times() {
    let trial = trial(&with_functions(split_words(), 100, &loops(2_000, 1_000)), "", "");
    let mut process = Process::start(&mut isolated_command(&trial, &["run", "job.toml"]));
    let mut killed = Vec::new();
    while killed.len() < 5 {
        process.wait_until("another process that compiles", |process| {
            let next = process.children().into_iter().find(|child| !killed.contains(child));
            let compiles = |child: &u32| {
                fs::read_to_string(format!("/proc/{child}/cmdline"))
                    .is_ok_and(|line| line.contains("compile-component"))
            };
            killed.extend(next.filter(compiles));
            next.is_some_and(|next| killed.last() == Some(&next))
        });
        killed.last().copied().into_iter().for_each(kill);
        let times = killed.len();
        process.wait_until("its end is noticed", |process| {
            process.stderr().matches("was killed by signal 9").count() == times
        });
    }
    let ended = process.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("killed by signal 9; restarting it (4 of 4)"), "{}", ended.stderr);
    assert!(ended.stderr.contains("killed by signal 9 at each attempt"), "{}", ended.stderr);
}

/// Two homes with the same directory of compiled code.
#[test]
fn homes_that_share_a_cache_keep_the_code_of_the_other() {
    let trial = trial(&split_words(), "", "");
    let compiles = |home: &str| {
        fs::remove_file(trial.path("out.jsonl")).ok();
        let mut command = trial.command(&["run", "job.toml"]);
        command.env("XDG_CACHE_HOME", trial.path("cache")).env("XDG_STATE_HOME", trial.path(home));
        let ended = Process::start(&mut command).wait();
        assert!(ended.code == Some(0) && !ended.stderr.contains("damaged"), "{}", ended.stderr);
        ended.stderr.contains("compiling plugin")
    };
    assert!(compiles("a") && compiles("b"));
    assert!(!compiles("a") && !compiles("b") && !compiles("a"));
}

#[test]
fn cached_code_is_used_only_with_the_key() {
    let trial = trial(&split_words(), "", "");
    let compiles = || {
        fs::remove_file(trial.path("out.jsonl")).ok();
        let ended = Process::start(&mut isolated_command(&trial, &["run", "job.toml"])).wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stderr.contains("compiling plugin")
    };
    assert!(compiles() && !compiles());
    let key = trial.path("state/millstream/cache.key");
    let old = fs::read(&key).unwrap();
    fs::write(&key, [7; 32]).unwrap();
    assert!(compiles(), "signed with another key");
    fs::write(&key, old).unwrap();
    assert!(!compiles(), "both lie there side by side");
    fs::write(&key, [7; 33]).unwrap();
    assert!(compiles() && compiles(), "without a key there is no cache");
}

#[test]
fn processes_that_start_together_share_a_new_cache() {
    let trial = trial(&split_words(), "", "");
    let validate = || Process::start(&mut isolated_command(&trial, &["validate", "job.toml"]));
    let all: Vec<Process> = (0..4).map(|_| validate()).collect();
    for process in all {
        let ended = process.wait();
        assert!(ended.code == Some(0) && !ended.stderr.contains("not cached"), "{}", ended.stderr);
    }
    assert!(!validate().wait().stderr.contains("compiling plugin"));
}

#[test]
fn only_regular_files_are_read() {
    let trial = trial(&split_words(), "", "");
    let ended =
        Process::start(&mut isolated_command(&trial, &["inspect", "/dev/zero"])).wait_within(Duration::from_secs(20));
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("plugin /dev/zero is not a regular file"), "{}", ended.stderr);
}

#[test]
fn a_replaced_program_compiles_as_before() {
    let trial = trial(&split_words(), "", "");
    let old = trial.path("millstream");
    if fs::hard_link(millstream(), &old).is_err() {
        fs::copy(millstream(), &old).unwrap();
    }
    let script = r#"exec 9<"$0"; rm "$0"; cp /bin/true "$0"; exec /proc/self/fd/9 validate job.toml"#;
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(&old).current_dir(trial.path("."));
    command.env("XDG_CACHE_HOME", trial.path("cache")).env("XDG_STATE_HOME", trial.path("state"));
    let ended = Process::start(&mut command).wait_within(Duration::from_secs(60));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("compiling plugin") && !ended.stderr.contains("compiled in this process"),
        "{}",
        ended.stderr
    );
}

#[test]
fn inspect_shows_the_requested_permissions() {
    let trial = trial(&split_words(), "", "");
    let text = Process::start(&mut trial.command(&["inspect", "plugin.wasm"])).wait().stdout;
    assert!(text.contains("\ngrants:        the log"), "{text}");
    let json = Process::start(&mut trial.command(&["inspect", "--json", "plugin.wasm"])).wait().stdout;
    let printed: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&printed["name"], &printed["world"]), (&"split-words".into(), &"transform".into()));
    assert_eq!(printed["bytes"], split_words().len());
    assert!(printed["asks"].as_array().unwrap().contains(&"the log".into()), "{json}");
    assert!(
        printed["output"][0]["name"].is_string() && printed["digest"].as_str().unwrap().starts_with("sha256:"),
        "{json}"
    );
}
