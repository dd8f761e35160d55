//! Jobs on several machines, a supervisor on each, that get other workers and other machines while they run. The machines are addresses of
//! this one.

use super::{ROWS, ends_well, is_right, job};
use millstream_tests::{
    DEADLINE, Ended, Process, Trial, block, free_port, holds_within, kill, lives, signal, stopped, until,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Addresses of so many machines.
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
    until("it commits", || trial.batches("out.jsonl").len() > 30);
    started
}

fn scale(trial: &Trial, arguments: &[&str]) -> Ended {
    let command = &mut trial.command(&[&["scale", "job.toml"], arguments].concat());
    Process::start(command).wait_within(DEADLINE * 2)
}

#[track_caller]
fn well(trial: &Trial, arguments: &[&str], running: &[&Process]) {
    let ended = scale(trial, arguments);
    let said: String = running.iter().map(|process| process.stderr()).collect();
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}{}\n{said}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("job.toml: batches continue after a pause of "), "{}", ended.stdout);
}

#[test]
fn a_job_gets_other_workers_and_other_machines() {
    let rows = 3 * ROWS;
    let trial = job(rows);
    trial.write("cluster.key", "0123456789abcdef".repeat(4));
    fs::set_permissions(trial.path("cluster.key"), PermissionsExt::from_mode(0o600)).unwrap();
    let all = addresses(3);
    // What somebody types, on the addresses of this machine.
    let typed = |text: &str| {
        let here = ["a", "b", "c"].iter().zip(&all);
        let text = block("docs/how-to/change-the-number-of-workers.md", "sh", text).text;
        here.fold(text, |text, (name, host)| text.replace(&format!("{name}.example:2101"), host))
    };
    let words = |line: &str| -> Vec<String> { line.split_whitespace().skip(1).map(str::to_owned).collect() };
    let run = |number: usize| start(&trial, &all[..2], number, "", &["--cluster-key", "cluster.key"]);
    let [first, second] = [run(0), run(1)];
    until("it commits", || trial.batches("out.jsonl").len() > 30);
    let lines = typed("millstream scale job.toml --hosts");
    let lines: Vec<Vec<String>> = lines.lines().map(words).collect();
    let of = |line: usize| lines[line].iter().skip(2).map(String::as_str).collect::<Vec<_>>();
    well(&trial, &of(0), &[&first, &second]);
    let status = trial.well(&["status", "job.toml"]);
    assert!(status.contains("4 workers in 2 processes") && status.contains(", worker 3 "), "{status}");
    let new = words(&typed("--stand-by"));
    // It has one worker, and hears how many the others have.
    let arguments: Vec<&str> = new.iter().map(String::as_str).chain(["--no-ui", "--workers", "1"]).collect();
    let third = Process::start(&mut trial.command(&arguments));
    well(&trial, &of(1), &[&first, &second, &third]);
    let status = trial.well(&["status", "job.toml"]);
    assert!(status.contains("6 workers in 3 processes"), "{status}");
    // One gets another number, and one leaves.
    trial.write("hosts", format!("{}\n{}\n", all[0], all[2]));
    well(&trial, &["--hosts", "@hosts"], &[&first, &second, &third]);
    ends_well(second, "the machine that left");
    let status = trial.well(&["status", "job.toml"]);
    assert!(status.contains("4 workers in 2 processes"), "{status}");
    assert!(trial.rows("out.jsonl").len() < rows, "it is too quick for this test");
    for process in [first, third] {
        ends_well(process, "at the end");
    }
    is_right(&trial, rows, "in the end");
}

/// At each step of either process, where the job gets other workers and where it loses a machine: it goes on, with the one or the other set.
#[test]
fn whoever_dies_on_the_way_of_several_machines_nothing_is_lost_or_doubled() {
    let before = ["loading", "loaded", "save", "ending"];
    let after = ["handed", "taken", "claim", "claimed", "started"];
    let first = before.into_iter().chain(after).map(|point| (0, point));
    let second = ["loading", "loaded", "handed", "taken", "started"].into_iter().map(|point| (1, point));
    let of_workers = first.chain(second).map(|(process, point)| (2, process, point, false));
    let of_leaving = ["ending", "claim", "claimed"].into_iter().map(|point| (2, 0, point, true));
    // Where it is given up, it is on machines that have nothing to do with it.
    let of_three = [(3, 2, "loading", false), (3, 1, "loaded", false), (3, 0, "save", false), (3, 0, "ending", true)];
    let cases: Vec<_> = of_workers.chain(of_leaving).chain(of_three).collect();
    std::thread::scope(|scope| {
        for cases in cases.chunks(cases.len().div_ceil(4)) {
            scope.spawn(move || cases.iter().for_each(|case| dies(*case)));
        }
    });
}

/// Of so many machines, the process of this number dies at a step.
fn dies((machines, number, point, leaves): (usize, usize, &str, bool)) {
    let trial = job(ROWS);
    let all = addresses(machines);
    let faults = |process| if process == number { format!("kill@handover.{point}:1") } else { String::new() };
    let running = start_all(&trial, &all, faults);
    let left = all[..machines - 1].join(",");
    let (fewer, more) = (["--hosts", &left], ["--workers", "2"]);
    let ended = scale(&trial, if leaves { &fewer } else { &more });
    let said: String = running.iter().map(Process::stderr).collect();
    let told = format!("{point} of {number} of {machines}: {}{}\n{said}", ended.stdout, ended.stderr);
    // Another process is started again by its own supervisor, and may take part all the same.
    let fails = number == 0 || ["loading", "loaded"].contains(&point);
    assert!(ended.code == Some(1) || (!fails && ended.code == Some(0)), "{told}");
    assert!(ended.code == Some(0) || ended.stderr.contains("the workers are unchanged"), "{told}");
    all_end_well(&trial, running, &told);
}

/// The job comes to its end in all of its processes, and every row came once.
#[track_caller]
fn all_end_well(trial: &Trial, mut running: Vec<Process>, told: &str) {
    let all_ended = holds_within(DEADLINE * 2, || running.iter_mut().all(Process::ended));
    let said: String = running.iter().map(Process::stderr).collect();
    assert!(all_ended, "{told}\nuntil the end:\n{said}");
    for process in running {
        ends_well(process, told);
    }
    is_right(trial, ROWS, told);
}

/// The new process of a machine dies when the old ones are told to end already: the supervisor there must not take their end for that of
/// the job.
#[test]
fn a_new_process_may_die_while_the_old_ones_end() {
    let trial = job(ROWS);
    let all = addresses(2);
    let faults = |number: usize| if number == 0 { "stop@handover.ending:1".to_owned() } else { String::new() };
    let mut running = start_all(&trial, &all, faults);
    let old = running[1].children();
    let scaling = Process::start(&mut trial.command(&["scale", "job.toml", "--workers", "2"]));
    let mut halted = None;
    running[0].until("the old process is about to tell the others", |supervisor| {
        halted = supervisor.children().into_iter().find(|child| stopped(*child));
        halted.is_some()
    });
    running[1].children().into_iter().filter(|child| !old.contains(child)).for_each(kill);
    running[1].until_stderr("of the new processes, worker process died");
    // It may have been killed as one that hangs.
    halted.into_iter().filter(|child| lives(*child)).for_each(|child| signal("CONT", child));
    let ended = scaling.wait_within(DEADLINE * 2);
    all_end_well(&trial, running, &ended.stderr);
}

#[test]
fn what_several_machines_cannot_do_says_what_to_do() {
    let trial = job(ROWS);
    let all = addresses(3);
    let mut running = start_all(&trial, &all[..2], |_| String::new());
    let moved = format!("{},{}", all[1], all[0]);
    let twice = format!("{},{},{}", all[0], all[1], all[1]);
    for (arguments, words) in [
        (&["--hosts", &moved][..], "the first of --hosts must stay"),
        (&["--hosts", &twice], "twice"),
        (&["--processes", "3"], "name their addresses with --hosts"),
    ] {
        let told = scale(&trial, arguments);
        assert!(told.code == Some(1) && told.stderr.contains(words), "{arguments:?}: {}", told.stderr);
    }
    let told = trial.refused(&["run", "job.toml", "--hosts", &all.join(","), "--process", "0", "--stand-by"]);
    assert!(told.contains("--stand-by is for machines that join a running job"), "{told}");
    // Process 0 is elsewhere, as far as this machine knows.
    let first = running.remove(0);
    first.kill_all();
    until("it says where", || scale(&trial, &["--workers", "2"]).stderr.contains("say it on the machine of process 0"));
    let first = start(&trial, &all[..2], 0, "", &[]);
    for process in running.into_iter().chain([first]) {
        ends_well(process, "at the end");
    }
    is_right(&trial, ROWS, "in the end");
}
