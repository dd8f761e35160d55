//! Jobs on several machines, a supervisor on each, that are rescaled, also to other machines, while they run. The machines are
//! addresses of this one.

use super::{ROWS, check_ends_ok, check_rows, job};
use millstream_tests::{
    DEADLINE, Ended, Process, Trial, block, free_port, holds_within, is_alive, kill, signal, stopped, wait_until,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Addresses of this number of machines.
fn addresses(count: usize) -> Vec<String> {
    (1..=count).map(|machine| format!("127.0.0.{machine}:{}", free_port())).collect()
}

/// Starts process `number` of these.
fn start(trial: &Trial, hosts: &[String], number: usize, faults: &str, more: &[&str]) -> Process {
    let (hosts, number) = (hosts.join(","), number.to_string());
    let arguments = ["run", "job.toml", "--no-ui", "--workers", "1", "--hosts", &hosts, "--process", &number];
    let mut command = trial.command(&[&arguments[..], more].concat());
    Process::start(command.env("MILLSTREAM_TEST_FAULT", faults))
}

/// Starts all of them, and waits until something is committed.
fn start_all(trial: &Trial, hosts: &[String], faults: impl Fn(usize) -> String) -> Vec<Process> {
    let started = (0..hosts.len()).map(|number| start(trial, hosts, number, &faults(number), &[])).collect();
    wait_until("it commits", || trial.batches("out.jsonl").len() > 30);
    started
}

fn scale(trial: &Trial, arguments: &[&str]) -> Ended {
    let command = &mut trial.command(&[&["scale", "job.toml"], arguments].concat());
    Process::start(command).wait_within(DEADLINE * 2)
}

#[track_caller]
fn check_command(trial: &Trial, arguments: &[&str], running: &[&Process]) {
    let ended = scale(trial, arguments);
    let printed: String = running.iter().map(|process| process.stderr()).collect();
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}{}\n{printed}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("job.toml: batches continue after a pause of "), "{}", ended.stdout);
}

#[test]
fn a_job_is_rescaled_to_other_machines() {
    let rows = 3 * ROWS;
    let trial = job(rows);
    trial.write("cluster.key", "0123456789abcdef".repeat(4));
    fs::set_permissions(trial.path("cluster.key"), PermissionsExt::from_mode(0o600)).unwrap();
    let all = addresses(3);
    // The commands of the page, with the addresses of this machine.
    let typed = |text: &str| {
        let here = ["a", "b", "c"].iter().zip(&all);
        let text = block("docs/how-to/change-the-number-of-workers.md", "sh", text).text;
        here.fold(text, |text, (name, host)| text.replace(&format!("{name}.example:2101"), host))
    };
    let message = |line: &str| -> Vec<String> { line.split_whitespace().skip(1).map(str::to_owned).collect() };
    let run = |number: usize| start(&trial, &all[..2], number, "", &["--cluster-key", "cluster.key"]);
    let [first, second] = [run(0), run(1)];
    wait_until("it commits", || trial.batches("out.jsonl").len() > 30);
    let lines = typed("millstream scale job.toml --hosts");
    let lines: Vec<Vec<String>> = lines.lines().map(message).collect();
    let of = |line: usize| lines[line].iter().skip(2).map(String::as_str).collect::<Vec<_>>();
    check_command(&trial, &of(0), &[&first, &second]);
    let status = trial.run_command_ok(&["status", "job.toml"]);
    assert!(status.contains("4 workers in 2 processes") && status.contains(", worker 3 "), "{status}");
    let new = message(&typed("--stand-by"));
    // It has one worker, and is notified how many the others have.
    let arguments: Vec<&str> = new.iter().map(String::as_str).chain(["--no-ui", "--workers", "1"]).collect();
    let third = Process::start(&mut trial.command(&arguments));
    check_command(&trial, &of(1), &[&first, &second, &third]);
    let status = trial.run_command_ok(&["status", "job.toml"]);
    assert!(status.contains("6 workers in 3 processes"), "{status}");
    // One gets another index, and one leaves.
    trial.write("hosts", format!("{}\n{}\n", all[0], all[2]));
    check_command(&trial, &["--hosts", "@hosts"], &[&first, &second, &third]);
    check_ends_ok(second, "the machine that left");
    let status = trial.run_command_ok(&["status", "job.toml"]);
    assert!(status.contains("4 workers in 2 processes"), "{status}");
    assert!(trial.rows("out.jsonl").len() < rows, "it is too quick for this test");
    for process in [first, third] {
        check_ends_ok(process, "at the end");
    }
    check_rows(&trial, rows, "in the end");
}

/// At each step of either process, if the job is rescaled or loses a machine: it continues with one of the two sets of machines.
#[test]
fn no_death_while_rescaling_several_machines_loses_or_duplicates_a_row() {
    let before = ["loading", "loaded", "save", "ending"];
    let after = ["handed", "taken", "claim", "claimed", "started"];
    let first = before.into_iter().chain(after).map(|point| (0, point));
    let second = ["loading", "loaded", "handed", "taken", "started"].into_iter().map(|point| (1, point));
    let of_workers = first.chain(second).map(|(process, point)| (2, process, point, false));
    let of_leaving = ["ending", "claim", "claimed"].into_iter().map(|point| (2, 0, point, true));
    // If it is canceled, it also runs on machines that are not involved.
    let of_three = [(3, 2, "loading", false), (3, 1, "loaded", false), (3, 0, "save", false), (3, 0, "ending", true)];
    let cases: Vec<_> = of_workers.chain(of_leaving).chain(of_three).collect();
    std::thread::scope(|scope| {
        for cases in cases.chunks(cases.len().div_ceil(4)) {
            scope.spawn(move || cases.iter().for_each(|case| dies(*case)));
        }
    });
}

/// With this number of machines, the process with this index dies at a step.
fn dies((machines, number, point, leaves): (usize, usize, &str, bool)) {
    let trial = job(ROWS);
    let all = addresses(machines);
    let faults = |process| if process == number { format!("kill@handover.{point}:1") } else { String::new() };
    let running = start_all(&trial, &all, faults);
    let left = all[..machines - 1].join(",");
    let (fewer, more) = (["--hosts", &left], ["--workers", "2"]);
    let ended = scale(&trial, if leaves { &fewer } else { &more });
    let printed: String = running.iter().map(Process::stderr).collect();
    let output = format!("{point} of {number} of {machines}: {}{}\n{printed}", ended.stdout, ended.stderr);
    // Another process is restarted by its own supervisor, and may take part anyway.
    let fails = number == 0 || ["loading", "loaded"].contains(&point);
    assert!(ended.code == Some(1) || (!fails && ended.code == Some(0)), "{output}");
    assert!(ended.code == Some(0) || ended.stderr.contains("the workers are unchanged"), "{output}");
    check_all_end_ok(&trial, running, &output);
}

/// Checks that the job completes in all of its processes, and every row arrived once.
#[track_caller]
fn check_all_end_ok(trial: &Trial, mut running: Vec<Process>, output: &str) {
    let all_ended = holds_within(DEADLINE * 2, || running.iter_mut().all(Process::has_ended));
    let printed: String = running.iter().map(Process::stderr).collect();
    assert!(all_ended, "{output}\nuntil the end:\n{printed}");
    for process in running {
        check_ends_ok(process, output);
    }
    check_rows(trial, ROWS, output);
}

/// The new process of a machine dies when the old ones were already told to exit: its supervisor must not take their exit for the
/// end of the job.
#[test]
fn a_new_process_may_die_while_the_old_ones_end() {
    let trial = job(ROWS);
    let all = addresses(2);
    let faults = |number: usize| if number == 0 { "stop@handover.ending:1".to_owned() } else { String::new() };
    let mut running = start_all(&trial, &all, faults);
    let old = running[1].children();
    let scaling = Process::start(&mut trial.command(&["scale", "job.toml", "--workers", "2"]));
    let mut halted = None;
    running[0].wait_until("the old process is about to tell the others", |supervisor| {
        halted = supervisor.children().into_iter().find(|child| stopped(*child));
        halted.is_some()
    });
    running[1].children().into_iter().filter(|child| !old.contains(child)).for_each(kill);
    running[1].wait_for_stderr("of the new processes, worker process died");
    // It may have been killed as one that hangs.
    halted.into_iter().filter(|child| is_alive(*child)).for_each(|child| signal("CONT", child));
    let ended = scaling.wait_within(DEADLINE * 2);
    check_all_end_ok(&trial, running, &ended.stderr);
}

#[test]
fn unsupported_requests_with_several_machines_say_what_to_do() {
    let trial = job(ROWS);
    let all = addresses(3);
    let mut running = start_all(&trial, &all[..2], |_| String::new());
    let moved = format!("{},{}", all[1], all[0]);
    let twice = format!("{},{},{}", all[0], all[1], all[1]);
    for (arguments, message) in [
        (&["--hosts", &moved][..], "the first of --hosts must stay"),
        (&["--hosts", &twice], "twice"),
        (&["--processes", "3"], "name their addresses with --hosts"),
    ] {
        let output = scale(&trial, arguments);
        assert!(output.code == Some(1) && output.stderr.contains(message), "{arguments:?}: {}", output.stderr);
    }
    let output =
        trial.rejected_message(&["run", "job.toml", "--hosts", &all.join(","), "--process", "0", "--stand-by"]);
    assert!(output.contains("--stand-by is for processes that join a running job"), "{output}");
    // Process 0 is elsewhere, as far as this machine knows.
    let first = running.remove(0);
    first.kill_all();
    wait_until("it says where", || {
        scale(&trial, &["--workers", "2"]).stderr.contains("run the command on the machine of process 0")
    });
    let first = start(&trial, &all[..2], 0, "", &[]);
    for process in running.into_iter().chain([first]) {
        check_ends_ok(process, "at the end");
    }
    check_rows(&trial, ROWS, "in the end");
}
