//! Another version of a source or sink plugin in a running job: rows arrive once whatever dies, an unsuitable version is
//! rejected, and a version on trial that fails is dropped.

use super::sink_plugins::{kept, writing};
use super::source_plugins::{Lines, check_arrived_once, counting, reading};
use millstream_tests::ledger::Ledger;
use millstream_tests::{Process, Random, Trial, free_port, kill, plugin, root, varied, wait_until, write_varied};
use serde_json::Value;
use std::thread;
use std::time::Duration;

/// The component of a plugin with a section without effect: other bytes, the same functions.
fn version(name: &str, number: u8) -> Vec<u8> {
    let component = std::fs::read(plugin(name).join(format!("{name}.wasm"))).unwrap();
    [component.as_slice(), &[0, 5, 4, b'n', b'o', b't', number]].concat()
}

/// Makes the job use `now.wasm` instead of the directory of a test plugin.
fn use_component(trial: &Trial, name: &str) {
    trial.change(&format!("plugin = \"{}\"", plugin(name).display()), "plugin = \"now.wasm\"");
}

fn start(trial: &Trial, arguments: &[&str]) -> Process {
    Process::start(&mut trial.isolated_command(&[&["run", "job.toml"], arguments].concat()))
}

/// The digest of the current plugin of a source or sink; `None` if the job does not respond.
fn digest(trial: &Trial, section: &str, name: &str) -> Option<String> {
    let ended = trial.run_command(&["status", "job.toml", "--json"]);
    let status: Value = serde_json::from_str(&ended.stdout).ok().filter(|_| ended.code == Some(0))?;
    let part = status[section].as_array()?.iter().find(|part| part["name"] == name)?.clone();
    Some(part["plugin"]["digest"].as_str()?.to_owned())
}

fn opened(servers: &[Lines]) -> usize {
    servers.iter().map(|server| server.state().opened.len()).sum()
}

#[test]
fn lines_arrive_once_from_an_upgraded_source() {
    thread::scope(|scope| {
        for processes in [1, 2] {
            scope.spawn(move || source_is_upgraded(processes));
        }
    });
}

/// Each server drops what was acknowledged, so a version that begins too late or too early is noticed.
fn source_is_upgraded(processes: usize) {
    let ports = [(); 4].map(|()| free_port());
    let trial = reading(&ports);
    use_component(&trial, "acked-lines");
    trial.write("now.wasm", version("acked-lines", 0));
    trial.write("next.wasm", version("acked-lines", 1));
    let servers = ports.map(|port| Lines::start(port, 4000, 200, None));
    let hosts = millstream_tests::hosts(processes);
    let number = processes.to_string();
    let together = ["--processes", &number, "--hosts", &hosts];
    let arguments = if processes == 1 { &[][..] } else { &together[..] };
    let mut job = start(&trial, arguments);
    job.wait_until("lines come", |_| trial.rows("out.jsonl").len() > 200);
    let (first, before) = (digest(&trial, "sources", "lines").unwrap(), opened(&servers));
    assert_eq!(before, 4);
    let output = trial.run_command_ok(&["upgrade", "job.toml", "lines", "next.wasm"]);
    assert!(output.contains("source `lines`: acked-lines ") && output.contains("pause between batches: "), "{output}");
    job.wait_until("all servers are read by the next version", |_| opened(&servers) == 8);
    let second = digest(&trial, "sources", "lines").unwrap();
    assert_ne!(first, second);
    assert!(trial.text("job.toml").contains("plugin = \"next.wasm\""), "{}", trial.text("job.toml"));
    // A start after it has the version that was in effect, whichever start it is.
    job.kill_all();
    let mut job = start(&trial, arguments);
    job.wait_until("it runs again", |_| opened(&servers) > 8 && digest(&trial, "sources", "lines").is_some());
    assert_eq!(digest(&trial, "sources", "lines"), Some(second));
    let rows = trial.rows("out.jsonl").len();
    job.wait_until("lines come", |_| trial.rows("out.jsonl").len() > rows + 100);
    trial.run_command_ok(&["rollback", "job.toml", "lines"]);
    assert_eq!(digest(&trial, "sources", "lines"), Some(first));
    assert!(trial.text("job.toml").contains("plugin = \"now.wasm\""), "{}", trial.text("job.toml"));
    disturb_upgrades(&trial, &mut job, "lines", processes as u64);
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    check_arrived_once(&trial, &servers, &format!("{processes} processes"));
}

/// Upgrades back and forth while a process of the job is killed at times. An upgrade at a bad time gets an error that says so.
fn disturb_upgrades(trial: &Trial, job: &mut Process, part: &str, seed: u64) {
    let mut random = Random::new(seed);
    let (mut done, mut failed) = (0, Vec::new());
    for round in 0..8 {
        let to = if round % 2 == 0 { "next.wasm" } else { "now.wasm" };
        let killing = (random.from(0, 2) > 0).then(|| (job.children(), random.from(1, 400)));
        thread::scope(|scope| {
            scope.spawn(|| {
                if let Some((children, ms)) = killing {
                    thread::sleep(Duration::from_millis(ms));
                    children.iter().for_each(|child| kill(*child));
                }
            });
            let ended = trial.run_command(&["upgrade", "job.toml", part, to]);
            if ended.code == Some(0) { done += 1 } else { failed.push(ended.stderr) }
        });
        if job.has_ended() {
            break;
        }
    }
    assert!(done > 0, "none was upgraded: {failed:?}");
}

#[test]
fn entries_are_stored_once_in_an_upgraded_sink() {
    let (count, server) = (6000, Ledger::start(free_port(), None));
    let trial = writing(server.port, count, &["entries"], "");
    use_component(&trial, "tcp-ledger");
    trial.write("now.wasm", version("tcp-ledger", 0));
    trial.write("next.wasm", version("tcp-ledger", 1));
    let batches = || server.sinks().values().map(|sink| sink.batches.len()).sum::<usize>();
    let opened = || server.sinks().values().map(|sink| sink.opened.len()).sum::<usize>();
    let mut job = start(&trial, &[]);
    job.wait_until("some is there", |_| batches() > 10);
    let first = digest(&trial, "sinks", "entries").unwrap();
    // A source has the name as well.
    let output = trial.run_command_ok(&["upgrade", "job.toml", "sinks.entries", "next.wasm"]);
    assert!(output.contains("sink `entries`: tcp-ledger ") && output.contains("pause between batches: "), "{output}");
    job.wait_until("the next version writes", |_| opened() == 2);
    let second = digest(&trial, "sinks", "entries").unwrap();
    assert_ne!(first, second);
    let status = trial.run_command_ok(&["status", "job.toml"]);
    assert!(status.contains("upgrade  sink `entries`: tcp-ledger "), "{status}");
    job.kill_all();
    let mut job = start(&trial, &[]);
    let before = batches();
    job.wait_until("it goes on", |_| batches() > before + 5);
    assert_eq!(digest(&trial, "sinks", "entries"), Some(second));
    // Of the parts with a plugin, the sink is meant.
    trial.run_command_ok(&["rollback", "job.toml", "entries"]);
    assert_eq!(digest(&trial, "sinks", "entries"), Some(first));
    disturb_upgrades(&trial, &mut job, "entries", 3);
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let sinks = server.sinks();
    assert_eq!((sinks.len(), sinks.values().next().unwrap().rows()), (1, kept(count)));
}

/// Requests upgrades that are rejected with these messages; the job continues unchanged.
fn check_rejected(trial: &Trial, section: &str, part: &str, cases: &[(Vec<u8>, &[&str], &[&str])]) {
    let (text, before) = (trial.text("job.toml"), digest(trial, section, part));
    for (component, more, strings) in cases {
        trial.write("next.wasm", component);
        let ended = trial.run_command(&[&["upgrade", "job.toml", part, "next.wasm"], *more].concat());
        assert_ne!(ended.code, Some(0), "{strings:?}: {}", ended.stdout);
        for strings in *strings {
            assert!(ended.stderr.contains(strings), "no {strings:?}: {}", ended.stderr);
        }
        assert_eq!(
            (trial.text("job.toml"), digest(trial, section, part)),
            (text.clone(), before.clone()),
            "{strings:?}"
        );
    }
}

/// Runs a job that dies at this step of an upgrade. The client gets that message, or that the upgrade is done. The job file was
/// written before, so the new version runs after the restart, unless nothing had begun.
fn killed_at(step: &str, trial: &Trial, (section, part): (&str, &str), runs: impl Fn() -> bool) -> Process {
    let mut command = trial.isolated_command(&["run", "job.toml"]);
    let mut job = Process::start(command.env("MILLSTREAM_TEST_FAULT", format!("kill@{step}:1")));
    job.wait_until("it runs", |_| runs());
    let first = digest(trial, section, part).unwrap();
    let ended = trial.run_command(&["upgrade", "job.toml", part, "next.wasm"]);
    assert!(matches!(ended.code, Some(0 | 1)), "{step}: {ended:?}");
    job.wait_for_stderr("worker process died (signal 9)");
    let mut now = None;
    wait_until("it runs again", || {
        now = digest(trial, section, part);
        now.is_some()
    });
    let named = trial.text("job.toml").contains("plugin = \"next.wasm\"");
    assert_eq!(now.unwrap() != first, named, "{step}: what runs is what the job file names");
    assert!(named || step == "upgrade.prepared", "{step}");
    job
}

const STEPS: [&str; 5] =
    ["upgrade.prepared", "upgrade.recorded", "upgrade.barrier", "upgrade.swapped", "upgrade.published"];

#[test]
fn a_source_whose_job_dies_at_any_step_of_an_upgrade_reads_each_line_once() {
    thread::scope(|scope| {
        for step in STEPS {
            scope.spawn(move || {
                let ports = [(); 2].map(|()| free_port());
                let trial = reading(&ports);
                use_component(&trial, "acked-lines");
                trial.write("now.wasm", version("acked-lines", 0));
                trial.write("next.wasm", version("acked-lines", 1));
                let servers = ports.map(|port| Lines::start(port, 2000, 200, None));
                let job = killed_at(step, &trial, ("sources", "lines"), || trial.rows("out.jsonl").len() > 100);
                let ended = job.wait();
                assert_eq!(ended.code, Some(0), "{step}: {}", ended.stderr);
                check_arrived_once(&trial, &servers, step);
            });
        }
    });
}

#[test]
fn a_sink_whose_job_dies_at_any_step_of_an_upgrade_has_each_entry_once() {
    thread::scope(|scope| {
        for step in STEPS {
            scope.spawn(move || {
                let (count, server) = (3000, Ledger::start(free_port(), None));
                let trial = writing(server.port, count, &["out"], "");
                use_component(&trial, "tcp-ledger");
                trial.write("now.wasm", version("tcp-ledger", 0));
                trial.write("next.wasm", version("tcp-ledger", 1));
                let some = || server.sinks().values().any(|sink| sink.batches.len() > 10);
                let ended = killed_at(step, &trial, ("sinks", "out"), some).wait();
                assert_eq!(ended.code, Some(0), "{step}: {}", ended.stderr);
                assert_eq!(server.sinks().values().next().unwrap().rows(), kept(count), "{step}");
            });
        }
    });
}

#[test]
fn an_unsuitable_version_of_a_source_is_rejected() {
    let trial = counting("up_to = 100000000, slow = \"p0\"", "");
    use_component(&trial, "bad-source");
    write_varied("bad-source", "same", &trial.path("now.wasm"));
    let mut job = start(&trial, &[]);
    job.wait_until("numbers come", |_| trial.rows("out.jsonl").len() > 10);
    let accept = &["--accept"][..];
    let shadow = &["--shadow", "3"][..];
    let ways = |way| varied("bad-source", way);
    let cases: [(Vec<u8>, &[&str], &[&str]); 6] = [
        (ways("same"), accept, &["source `n` already runs this component: bad-source 0.1.0"]),
        (ways("mute"), accept, &["does not report its partitions", "this version does not know its partitions"]),
        (
            ways("connect"),
            accept,
            &["source `n`", "a connection to 127.0.0.1:1 is not granted; the job grants it with grant = "],
        ),
        (ways("fail"), shadow, &["source `n`: a source cannot have a shadow", "without --shadow"]),
        (
            version("tcp-ledger", 0),
            accept,
            &["source `n`: next.wasm is of world sink, but the source's plugin is of world source"],
        ),
        (version("acked-lines", 0), accept, &["source `n`"]),
    ];
    check_rejected(&trial, "sources", "n", &cases);
    job.kill();
}

#[test]
fn a_source_with_other_columns_is_rejected() {
    let port = free_port();
    let trial = reading(&[port]);
    use_component(&trial, "acked-lines");
    trial.write("now.wasm", version("acked-lines", 0));
    let _server = Lines::start(port, 100_000, 100, None);
    let mut job = start(&trial, &[]);
    job.wait_until("lines come", |_| trial.rows("out.jsonl").len() > 10);
    let strings: &[&str] = &["source `lines`: ", "its rows had ", "half int64", "stop the job"];
    // It takes the same config.
    let other = root().join("tests/conformance/lines/rust/conformance-lines.wasm");
    check_rejected(&trial, "sources", "lines", &[(std::fs::read(other).unwrap(), &["--accept"], strings)]);
    job.kill();
}

#[test]
fn an_unsuitable_version_of_a_sink_is_rejected() {
    let server = Ledger::start(free_port(), None);
    let trial = writing(server.port, 100_000, &["out"], "");
    use_component(&trial, "tcp-ledger");
    write_varied("tcp-ledger", "same", &trial.path("now.wasm"));
    let mut job = start(&trial, &[]);
    job.wait_until("some is there", |_| server.sinks().values().any(|sink| sink.batches.len() > 5));
    let accept = &["--accept"][..];
    let ways = |way| varied("tcp-ledger", way);
    let cases: [(Vec<u8>, &[&str], &[&str]); 5] = [
        (ways("other"), accept, &["sink `out`: tcp-ledger 0.1.0 cannot replace", "what it reads had ", "stop the job"]),
        (ways("loose"), accept, &["its guarantee was exactly once and would be at least once", "stop the job"]),
        (ways("forgets"), accept, &["cannot resume at the position of tcp-ledger 0.1.0", "it reports batches up to 0"]),
        (ways("fail"), &["--shadow", "3"], &["sink `out`: a sink cannot have a shadow", "without --shadow"]),
        (version("acked-lines", 0), accept, &["is of world source, but the sink's plugin is of world sink"]),
    ];
    check_rejected(&trial, "sinks", "out", &cases);
    job.kill();
}

#[test]
fn a_failing_version_of_a_source_is_dropped_and_no_number_is_lost() {
    for more in ["", "[checkpoint]\ndir = \"checkpoint\"\nevery = \"200ms\""] {
        let trial = counting("up_to = 100000000, slow = \"p0\"", "");
        trial.change("[sources.n]", &format!("{more}\n[sources.n]"));
        use_component(&trial, "bad-source");
        write_varied("bad-source", "same", &trial.path("now.wasm"));
        let mut job = start(&trial, &["--watch"]);
        let goes_on = |job: &mut Process| {
            let before = trial.rows("out.jsonl").len();
            job.wait_until("numbers come", |_| trial.rows("out.jsonl").len() > before + 20);
        };
        goes_on(&mut job);
        write_varied("bad-source", "fail", &trial.path("now.wasm"));
        job.wait_for_stderr("bad-source 0.1.0 replaces bad-source 0.1.0, which failed: ");
        job.wait_for_stderr("source `n` has the version before ");
        goes_on(&mut job);
        write_varied("bad-source", "mute", &trial.path("now.wasm"));
        job.wait_for_stderr("source `n` continues unchanged: ");
        goes_on(&mut job);
        trial.move_in("now.wasm", version("bad-source", 1));
        job.wait_until("the next one takes over", |job| {
            job.stderr().matches(" instead of bad-source 0.1.0 from batch").count() == 3
        });
        goes_on(&mut job);
        job.signal("TERM");
        let ended = job.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let numbers: Vec<_> = trial.rows("out.jsonl").iter().map(|row| row["n"].as_i64().unwrap()).collect();
        assert!(numbers.iter().copied().eq(0..numbers.len() as i64), "a number is lost or there twice");
    }
}

#[test]
fn a_failing_version_of_a_sink_is_dropped_and_entries_are_stored_once() {
    let server = Ledger::start(free_port(), None);
    let trial = writing(server.port, 100_000, &["out"], "");
    use_component(&trial, "tcp-ledger");
    write_varied("tcp-ledger", "same", &trial.path("now.wasm"));
    let batches = || server.sinks().values().map(|sink| sink.batches.len()).sum::<usize>();
    let mut job = start(&trial, &["--watch"]);
    wait_until("some is there", || batches() > 5);
    for (round, way) in ["fail", "refuse"].into_iter().enumerate() {
        write_varied("tcp-ledger", way, &trial.path("now.wasm"));
        job.wait_until("it fails", |job| job.stderr().matches("0.1.0, which failed: ").count() == round + 1);
        job.wait_until("it is put back", |job| {
            job.stderr().matches("sink `out` has the version before ").count() == round + 1
        });
        let before = batches();
        job.wait_until("entries come", |_| batches() > before + 2);
    }
    trial.move_in("now.wasm", version("tcp-ledger", 1));
    job.wait_until("the next one takes over", |job| {
        job.stderr().matches(" instead of tcp-ledger 0.1.0 from batch").count() == 5
    });
    let before = batches();
    job.wait_until("entries come", |_| batches() > before + 2);
    job.signal("TERM");
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("this version refuses all"), "{}", ended.stderr);
    let rows = server.sinks().values().next().unwrap().rows();
    assert_eq!(rows, kept(rows.len() as i64), "an entry is lost or there twice");
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    /// A source is upgraded to a package by its version, and only to one that is signed by a signer the policy requires.
    #[test]
    fn a_source_is_upgraded_to_a_package_that_is_signed() {
        let ports = [free_port()];
        let trial = reading(&ports);
        trial.change(&format!("plugin = \"{}\"", plugin("acked-lines").display()), "plugin = \"acked-lines@0.1.0\"");
        let push = |version: &str, sign: &[&str]| {
            let mut component = std::fs::read(plugin("acked-lines").join("acked-lines.wasm")).unwrap();
            let (section, old) = (b"\x07version", b"0.1.0");
            let expected = [&section[..], old].concat();
            let place = component.windows(expected.len()).rposition(|bytes| bytes == expected).unwrap();
            component[place + section.len()..][..old.len()].copy_from_slice(version.as_bytes());
            trial.write("pushed.wasm", component);
            trial.run_command_ok(&[&["push", "pushed.wasm", "--registry", "registry"], sign].concat());
        };
        trial.run_command_ok(&["key", "new", "alice"]);
        push("0.1.0", &["--sign", "alice"]);
        push("0.2.0", &[]);
        trial.write("config/config.toml", format!("registry = \"{}\"\n", trial.path("registry").display()));
        let key = trial.run_command_ok(&["key", "show", "alice"]);
        let key = key.split_whitespace().find(|word| word.starts_with("ed25519:")).unwrap();
        let policy = format!("[[registry]]\nat = \"*\"\nrequire = [\"alice\"]\n[signers]\nalice = [\"{key}\"]\n");
        trial.write("config/policy.toml", policy);
        trial.run_command_ok(&["add", "acked-lines@0.1.0", "--job", "job.toml"]);
        let server = Lines::start(ports[0], 2000, 200, None);
        let mut job = start(&trial, &[]);
        job.wait_until("lines come", |_| trial.rows("out.jsonl").len() > 100);
        let first = digest(&trial, "sources", "lines").unwrap();
        let output = trial.run_command(&["upgrade", "job.toml", "lines", "0.2.0"]);
        assert_eq!(output.code, Some(2), "{}", output.stderr);
        assert!(output.stderr.contains("alice has not signed it"), "{}", output.stderr);
        assert_eq!(digest(&trial, "sources", "lines").unwrap(), first);
        push("0.2.0", &["--sign", "alice"]);
        let output = trial.run_command_ok(&["upgrade", "job.toml", "lines", "0.2.0"]);
        assert!(output.contains("source `lines`: acked-lines ") && output.contains(" instead of "), "{output}");
        assert_ne!(digest(&trial, "sources", "lines").unwrap(), first);
        assert!(trial.text("millstream.lock").contains("0.2.0"), "{}", trial.text("millstream.lock"));
        trial.run_command_ok(&["rollback", "job.toml", "lines"]);
        assert_eq!(digest(&trial, "sources", "lines").unwrap(), first);
        let ended = job.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        check_arrived_once(&trial, &[server], "upgraded to a package");
    }
}
