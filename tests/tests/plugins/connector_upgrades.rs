//! Another version of a plugin that is a source or a sink in a running job: rows come once whatever dies, what cannot take the place is
//! refused, and a version on trial that fails is given up.

use super::sink_plugins::{kept, writing};
use super::source_plugins::{Lines, came_once, counting, reading};
use millstream_tests::ledger::Ledger;
use millstream_tests::{Process, Random, Trial, free_port, kill, plugin, root, until, varied, write_varied};
use serde_json::Value;
use std::thread;
use std::time::Duration;

/// The component of a plugin, with a section that means nothing: other bytes, the same functions.
fn version(name: &str, number: u8) -> Vec<u8> {
    let component = std::fs::read(plugin(name).join(format!("{name}.wasm"))).unwrap();
    [component.as_slice(), &[0, 5, 4, b'n', b'o', b't', number]].concat()
}

/// Has the job name `now.wasm` in place of the folder of a test plugin.
fn names_component(trial: &Trial, name: &str) {
    trial.change(&format!("plugin = \"{}\"", plugin(name).display()), "plugin = \"now.wasm\"");
}

fn start(trial: &Trial, arguments: &[&str]) -> Process {
    Process::start(&mut trial.command_apart(&[&["run", "job.toml"], arguments].concat()))
}

/// The digest of the plugin that a source or sink has now; `None`: the job does not answer.
fn digest(trial: &Trial, section: &str, name: &str) -> Option<String> {
    let ended = trial.told(&["status", "job.toml", "--json"]);
    let status: Value = serde_json::from_str(&ended.stdout).ok().filter(|_| ended.code == Some(0))?;
    let part = status[section].as_array()?.iter().find(|part| part["name"] == name)?.clone();
    Some(part["plugin"]["digest"].as_str()?.to_owned())
}

fn opened(servers: &[Lines]) -> usize {
    servers.iter().map(|server| server.told().opened.len()).sum()
}

#[test]
fn lines_come_once_from_a_source_that_is_upgraded() {
    thread::scope(|scope| {
        for processes in [1, 2] {
            scope.spawn(move || source_is_upgraded(processes));
        }
    });
}

/// Each server forgets what was acknowledged, so a version that begins too late or too early is seen.
fn source_is_upgraded(processes: usize) {
    let ports = [(); 4].map(|()| free_port());
    let trial = reading(&ports);
    names_component(&trial, "acked-lines");
    trial.write("now.wasm", version("acked-lines", 0));
    trial.write("next.wasm", version("acked-lines", 1));
    let servers = ports.map(|port| Lines::start(port, 4000, 200, None));
    let hosts = millstream_tests::hosts(processes);
    let number = processes.to_string();
    let together = ["--processes", &number, "--hosts", &hosts];
    let arguments = if processes == 1 { &[][..] } else { &together[..] };
    let mut job = start(&trial, arguments);
    job.until("lines come", |_| trial.rows("out.jsonl").len() > 200);
    let (first, before) = (digest(&trial, "sources", "lines").unwrap(), opened(&servers));
    assert_eq!(before, 4);
    let told = trial.well(&["upgrade", "job.toml", "lines", "next.wasm"]);
    assert!(told.contains("source `lines`: acked-lines ") && told.contains("pause between batches: "), "{told}");
    job.until("all servers are read by the next version", |_| opened(&servers) == 8);
    let second = digest(&trial, "sources", "lines").unwrap();
    assert_ne!(first, second);
    assert!(trial.text("job.toml").contains("plugin = \"next.wasm\""), "{}", trial.text("job.toml"));
    // A start behind it has the version that was in effect, whichever start it is.
    job.kill_all();
    let mut job = start(&trial, arguments);
    job.until("it runs again", |_| opened(&servers) > 8 && digest(&trial, "sources", "lines").is_some());
    assert_eq!(digest(&trial, "sources", "lines"), Some(second));
    let rows = trial.rows("out.jsonl").len();
    job.until("lines come", |_| trial.rows("out.jsonl").len() > rows + 100);
    trial.well(&["rollback", "job.toml", "lines"]);
    assert_eq!(digest(&trial, "sources", "lines"), Some(first));
    assert!(trial.text("job.toml").contains("plugin = \"now.wasm\""), "{}", trial.text("job.toml"));
    disturb_upgrades(&trial, &mut job, "lines", processes as u64);
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    came_once(&trial, &servers, &format!("{processes} processes"));
}

/// Upgrades to and fro, while a process of the job is killed now and then. Who asks for an upgrade at a bad time is told so.
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
            let ended = trial.told(&["upgrade", "job.toml", part, to]);
            if ended.code == Some(0) { done += 1 } else { failed.push(ended.stderr) }
        });
        if job.ended() {
            break;
        }
    }
    assert!(done > 0, "none was upgraded: {failed:?}");
}

#[test]
fn entries_are_there_once_in_a_sink_that_is_upgraded() {
    let (count, server) = (6000, Ledger::start(free_port(), None));
    let trial = writing(server.port, count, &["entries"], "");
    names_component(&trial, "tcp-ledger");
    trial.write("now.wasm", version("tcp-ledger", 0));
    trial.write("next.wasm", version("tcp-ledger", 1));
    let batches = || server.sinks().values().map(|sink| sink.batches.len()).sum::<usize>();
    let opened = || server.sinks().values().map(|sink| sink.opened.len()).sum::<usize>();
    let mut job = start(&trial, &[]);
    job.until("some is there", |_| batches() > 10);
    let first = digest(&trial, "sinks", "entries").unwrap();
    // A source has the name as well.
    let told = trial.well(&["upgrade", "job.toml", "sinks.entries", "next.wasm"]);
    assert!(told.contains("sink `entries`: tcp-ledger ") && told.contains("pause between batches: "), "{told}");
    job.until("the next version writes", |_| opened() == 2);
    let second = digest(&trial, "sinks", "entries").unwrap();
    assert_ne!(first, second);
    let status = trial.well(&["status", "job.toml"]);
    assert!(status.contains("upgrade  sink `entries`: tcp-ledger "), "{status}");
    job.kill_all();
    let mut job = start(&trial, &[]);
    let before = batches();
    job.until("it goes on", |_| batches() > before + 5);
    assert_eq!(digest(&trial, "sinks", "entries"), Some(second));
    // Of those that have a plugin the sink is meant.
    trial.well(&["rollback", "job.toml", "entries"]);
    assert_eq!(digest(&trial, "sinks", "entries"), Some(first));
    disturb_upgrades(&trial, &mut job, "entries", 3);
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let sinks = server.sinks();
    assert_eq!((sinks.len(), sinks.values().next().unwrap().rows()), (1, kept(count)));
}

/// Asks for upgrades that are refused, with these words; the job goes on as it was.
fn refused(trial: &Trial, section: &str, part: &str, cases: &[(Vec<u8>, &[&str], &[&str])]) {
    let (text, before) = (trial.text("job.toml"), digest(trial, section, part));
    for (component, more, words) in cases {
        trial.write("next.wasm", component);
        let ended = trial.told(&[&["upgrade", "job.toml", part, "next.wasm"], *more].concat());
        assert_ne!(ended.code, Some(0), "{words:?}: {}", ended.stdout);
        for words in *words {
            assert!(ended.stderr.contains(words), "no {words:?}: {}", ended.stderr);
        }
        assert_eq!((trial.text("job.toml"), digest(trial, section, part)), (text.clone(), before.clone()), "{words:?}");
    }
}

/// Runs a job that dies at this step of an upgrade. Whoever asked for it is told so, or that it is done; the job file was written before,
/// so from the restart on the new version is there, unless nothing had begun.
fn killed_at(step: &str, trial: &Trial, (section, part): (&str, &str), runs: impl Fn() -> bool) -> Process {
    let mut command = trial.command_apart(&["run", "job.toml"]);
    let mut job = Process::start(command.env("MILLSTREAM_TEST_FAULT", format!("kill@{step}:1")));
    job.until("it runs", |_| runs());
    let first = digest(trial, section, part).unwrap();
    let ended = trial.told(&["upgrade", "job.toml", part, "next.wasm"]);
    assert!(matches!(ended.code, Some(0 | 1)), "{step}: {ended:?}");
    job.until_stderr("worker process died (signal 9)");
    let mut now = None;
    until("it runs again", || {
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
                names_component(&trial, "acked-lines");
                trial.write("now.wasm", version("acked-lines", 0));
                trial.write("next.wasm", version("acked-lines", 1));
                let servers = ports.map(|port| Lines::start(port, 2000, 200, None));
                let job = killed_at(step, &trial, ("sources", "lines"), || trial.rows("out.jsonl").len() > 100);
                let ended = job.wait();
                assert_eq!(ended.code, Some(0), "{step}: {}", ended.stderr);
                came_once(&trial, &servers, step);
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
                names_component(&trial, "tcp-ledger");
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
fn what_cannot_take_the_place_of_a_source_is_refused() {
    let trial = counting("up_to = 100000000, slow = \"p0\"", "");
    names_component(&trial, "bad-source");
    write_varied("bad-source", "same", &trial.path("now.wasm"));
    let mut job = start(&trial, &[]);
    job.until("numbers come", |_| trial.rows("out.jsonl").len() > 10);
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
            &["source `n`: next.wasm is of world sink, and the source's plugin is of world source"],
        ),
        (version("acked-lines", 0), accept, &["source `n`"]),
    ];
    refused(&trial, "sources", "n", &cases);
    job.kill();
}

#[test]
fn a_source_with_other_columns_is_refused() {
    let port = free_port();
    let trial = reading(&[port]);
    names_component(&trial, "acked-lines");
    trial.write("now.wasm", version("acked-lines", 0));
    let _server = Lines::start(port, 100_000, 100, None);
    let mut job = start(&trial, &[]);
    job.until("lines come", |_| trial.rows("out.jsonl").len() > 10);
    let words: &[&str] = &["source `lines`: ", "its rows had ", "half int64", "stop the job"];
    // It takes the same config.
    let other = root().join("tests/conformance/lines/rust/conformance-lines.wasm");
    refused(&trial, "sources", "lines", &[(std::fs::read(other).unwrap(), &["--accept"], words)]);
    job.kill();
}

#[test]
fn what_cannot_take_the_place_of_a_sink_is_refused() {
    let server = Ledger::start(free_port(), None);
    let trial = writing(server.port, 100_000, &["out"], "");
    names_component(&trial, "tcp-ledger");
    write_varied("tcp-ledger", "same", &trial.path("now.wasm"));
    let mut job = start(&trial, &[]);
    job.until("some is there", |_| server.sinks().values().any(|sink| sink.batches.len() > 5));
    let accept = &["--accept"][..];
    let ways = |way| varied("tcp-ledger", way);
    let cases: [(Vec<u8>, &[&str], &[&str]); 5] = [
        (ways("other"), accept, &["sink `out`: tcp-ledger 0.1.0 cannot replace", "what it reads had ", "stop the job"]),
        (ways("loose"), accept, &["it promised to write exactly once and would promise at least once", "stop the job"]),
        (ways("forgets"), accept, &["cannot resume where tcp-ledger 0.1.0 is", "it reports batches up to 0"]),
        (ways("fail"), &["--shadow", "3"], &["sink `out`: a sink cannot have a shadow", "without --shadow"]),
        (version("acked-lines", 0), accept, &["is of world source, and the sink's plugin is of world sink"]),
    ];
    refused(&trial, "sinks", "out", &cases);
    job.kill();
}

#[test]
fn a_build_of_a_source_that_fails_is_given_up_and_no_number_is_lost() {
    for more in ["", "[checkpoint]\ndir = \"checkpoint\"\nevery = \"200ms\""] {
        let trial = counting("up_to = 100000000, slow = \"p0\"", "");
        trial.change("[sources.n]", &format!("{more}\n[sources.n]"));
        names_component(&trial, "bad-source");
        write_varied("bad-source", "same", &trial.path("now.wasm"));
        let mut job = start(&trial, &["--watch"]);
        let goes_on = |job: &mut Process| {
            let before = trial.rows("out.jsonl").len();
            job.until("numbers come", |_| trial.rows("out.jsonl").len() > before + 20);
        };
        goes_on(&mut job);
        write_varied("bad-source", "fail", &trial.path("now.wasm"));
        job.until_stderr("bad-source 0.1.0 replaces bad-source 0.1.0, which failed: ");
        job.until_stderr("source `n` has the version before ");
        goes_on(&mut job);
        write_varied("bad-source", "mute", &trial.path("now.wasm"));
        job.until_stderr("source `n` continues unchanged: ");
        goes_on(&mut job);
        trial.move_in("now.wasm", version("bad-source", 1));
        job.until("the next one takes over", |job| {
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
fn a_build_of_a_sink_that_fails_is_given_up_and_entries_are_there_once() {
    let server = Ledger::start(free_port(), None);
    let trial = writing(server.port, 100_000, &["out"], "");
    names_component(&trial, "tcp-ledger");
    write_varied("tcp-ledger", "same", &trial.path("now.wasm"));
    let batches = || server.sinks().values().map(|sink| sink.batches.len()).sum::<usize>();
    let mut job = start(&trial, &["--watch"]);
    until("some is there", || batches() > 5);
    for (round, way) in ["fail", "refuse"].into_iter().enumerate() {
        write_varied("tcp-ledger", way, &trial.path("now.wasm"));
        job.until("it fails", |job| job.stderr().matches("0.1.0, which failed: ").count() == round + 1);
        job.until("it is put back", |job| {
            job.stderr().matches("sink `out` has the version before ").count() == round + 1
        });
        let before = batches();
        job.until("entries come", |_| batches() > before + 2);
    }
    trial.move_in("now.wasm", version("tcp-ledger", 1));
    job.until("the next one takes over", |job| {
        job.stderr().matches(" instead of tcp-ledger 0.1.0 from batch").count() == 5
    });
    let before = batches();
    job.until("entries come", |_| batches() > before + 2);
    job.signal("TERM");
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("this version refuses all"), "{}", ended.stderr);
    let rows = server.sinks().values().next().unwrap().rows();
    assert_eq!(rows, kept(rows.len() as i64), "an entry is lost or there twice");
}

/// What takes long: `make torture` runs it, `make test` does not.
mod long {
    use super::*;

    /// A source is upgraded to a package by its version: only to one that somebody has signed whom the policy asks for.
    #[test]
    fn a_source_is_upgraded_to_a_package_that_is_signed() {
        let ports = [free_port()];
        let trial = reading(&ports);
        trial.change(&format!("plugin = \"{}\"", plugin("acked-lines").display()), "plugin = \"acked-lines@0.1.0\"");
        let push = |version: &str, sign: &[&str]| {
            let mut component = std::fs::read(plugin("acked-lines").join("acked-lines.wasm")).unwrap();
            let (section, old) = (b"\x07version", b"0.1.0");
            let wanted = [&section[..], old].concat();
            let place = component.windows(wanted.len()).rposition(|bytes| bytes == wanted).unwrap();
            component[place + section.len()..][..old.len()].copy_from_slice(version.as_bytes());
            trial.write("pushed.wasm", component);
            trial.well(&[&["push", "pushed.wasm", "--registry", "registry"], sign].concat());
        };
        trial.well(&["key", "new", "alice"]);
        push("0.1.0", &["--sign", "alice"]);
        push("0.2.0", &[]);
        trial.write("config/config.toml", format!("registry = \"{}\"\n", trial.path("registry").display()));
        let key = trial.well(&["key", "show", "alice"]);
        let key = key.split_whitespace().find(|word| word.starts_with("ed25519:")).unwrap();
        let policy = format!("[[registry]]\nat = \"*\"\nrequire = [\"alice\"]\n[signers]\nalice = [\"{key}\"]\n");
        trial.write("config/policy.toml", policy);
        trial.well(&["add", "acked-lines@0.1.0", "--job", "job.toml"]);
        let server = Lines::start(ports[0], 2000, 200, None);
        let mut job = start(&trial, &[]);
        job.until("lines come", |_| trial.rows("out.jsonl").len() > 100);
        let first = digest(&trial, "sources", "lines").unwrap();
        let told = trial.told(&["upgrade", "job.toml", "lines", "0.2.0"]);
        assert_eq!(told.code, Some(2), "{}", told.stderr);
        assert!(told.stderr.contains("alice has not signed it"), "{}", told.stderr);
        assert_eq!(digest(&trial, "sources", "lines").unwrap(), first);
        push("0.2.0", &["--sign", "alice"]);
        let told = trial.well(&["upgrade", "job.toml", "lines", "0.2.0"]);
        assert!(told.contains("source `lines`: acked-lines ") && told.contains(" instead of "), "{told}");
        assert_ne!(digest(&trial, "sources", "lines").unwrap(), first);
        assert!(trial.text("millstream.lock").contains("0.2.0"), "{}", trial.text("millstream.lock"));
        trial.well(&["rollback", "job.toml", "lines"]);
        assert_eq!(digest(&trial, "sources", "lines").unwrap(), first);
        let ended = job.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        came_once(&trial, &[server], "upgraded to a package");
    }
}
