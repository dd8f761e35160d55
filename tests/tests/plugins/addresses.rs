//! Little address space (`ulimit -v`): plugins run as usual with the same results, and if it is not enough, the error says so.

use millstream_tests::{Ended, Process, Trial, millstream, plugin, queue_sink, root, shown_block};
use std::process::Command;

/// The same command with this limit of address space.
fn within(mib: u64, command: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited.arg("-c").arg(format!("ulimit -v {}; exec \"$@\"", mib * 1024)).arg("sh");
    limited.arg(command.get_program()).args(command.get_args());
    command.get_current_dir().iter().for_each(|dir| {
        limited.current_dir(dir);
    });
    limited
}

fn ended(mut command: Command) -> Ended {
    command.output().unwrap().into()
}

/// A pipe over the file `in.txt` of this directory.
fn pipe(trial: &Trial, plugin_name: &str, more: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" < in.txt", "sh"]).arg(millstream()).arg("pipe").arg(plugin(plugin_name));
    command.args(more).current_dir(trial.dir());
    command
}

/// The page's command line, unchanged, gives the same result as without a limit.
#[test]
fn the_limit_of_the_page_is_sufficient() {
    plugin("split-words");
    let line = shown_block("sh", "ulimit -v").text;
    let run = |line: &str| {
        let mut command = Command::new("sh");
        let programs = format!("{}:{}", millstream().parent().unwrap().display(), std::env::var("PATH").unwrap());
        command.args(["-c", line]).env("PATH", programs).current_dir(root());
        Process::start(&mut command).wait()
    };
    let (limited, free) = (run(&line), run(line.split_once(';').unwrap().1));
    assert!(limited.code == Some(0) && limited.stdout.lines().count() > 1000, "{limited:?}");
    assert!(limited.stdout == free.stdout, "other rows");
}

/// The same rows are rejected, also by fuel, and all others are output.
#[test]
fn the_same_rows_are_rejected() {
    let trial = Trial::new("");
    let message = ["a", "refuse", "b", "panic", "c", "loop", "d"];
    trial.write(
        "in.txt",
        (0..400).map(|n| if n % 97 == 5 { message[n % 7] } else { "To be" }).collect::<Vec<_>>().join("\n"),
    );
    let command = pipe(&trial, "poison", &["--rejected", "refused.jsonl", "--set", "limits.time=50ms"]);
    let run = |command: Command| {
        let ended = ended(command);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        (ended.stdout, trial.text("refused.jsonl"))
    };
    let limited = run(within(1024, &command));
    let free = run(command);
    assert!(free.1.lines().count() > 0 && free.0.lines().count() > 300, "{free:?}");
    assert!(limited == free, "{limited:?}");
}

/// A lack of memory of the system is not the fault of a row.
#[test]
fn a_memory_that_cannot_grow_rejects_no_row() {
    let out = queue_sink("out", "s", "out");
    let trial = Trial::new(&format!(
        "memory = \"4GiB\"\nbatch = \"0s\"\n[sources.rows]\nkind = \"file\"\npath = \"in.jsonl\"\nformat = \"json\"\n\
         schema = {{ k = \"int64\", todo = \"text\", n = \"int64\" }}\n\
         [stages.s]\nfrom = \"rows\"\nkey = \"k\"\nplugin = \"{}\"\non_error = \"reject\"\n\
         limits = {{ memory = \"2GiB\", time = \"20s\" }}\n{out}",
        plugin("greedy").display()
    ));
    trial.write(
        "in.jsonl",
        "{\"k\": 1, \"todo\": \"count\", \"n\": 1}\n{\"k\": 2, \"todo\": \"hold\", \"n\": 1000000000}\n",
    );
    let ended = ended(within(1024, &trial.command(&["run", "job.toml", "--workers", "1"])));
    assert_eq!(ended.code, Some(3), "{ended:?}");
    for message in ["its memory cannot grow", "limited to 1024 MiB (`ulimit -v`, RLIMIT_AS)"] {
        assert!(ended.stderr.contains(message), "{ended:?}");
    }
}

/// With more and more of it: first an error that says what is too little, from some point on rows; never a panic or a signal.
#[test]
fn too_little_address_space_is_reported() {
    let trial = Trial::new("");
    trial.write("in.txt", "To be\n");
    let command = pipe(&trial, "split-words", &["--to", "text"]);
    let (mut printed, mut done) = (0, 0);
    for mib in (160..420).step_by(12) {
        let mut version = Command::new(millstream());
        // If the system itself cannot load a program, there is no message.
        if ended(within(mib, version.arg("--version"))).code != Some(0) {
            continue;
        }
        let ended = ended(within(mib, &command));
        if ended.code == Some(0) {
            done += 1;
            assert_eq!(ended.stdout, "To\nbe\n");
            continue;
        }
        printed += 1;
        assert!(matches!(ended.code, Some(1 | 3)) && !ended.stderr.contains("panicked"), "{mib}: {ended:?}");
        assert!(ended.stderr.contains("(`ulimit -v`, RLIMIT_AS)"), "{mib}: {ended:?}");
    }
    assert!(printed > 0 && done > 3, "{printed} {done}");
}
