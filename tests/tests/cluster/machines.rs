//! Jobs on several machines: the files of `deploy/` for Kubernetes, compose and systemd, and the pages about them. No Kubernetes
//! runs here. Its manifest is compared with what Kubernetes accepts, and its commands run like pods, in their own networks.

use millstream_tests::{
    DEADLINE, HttpClient, Process, S3Server, Trial, block_of, blocks, free_port, hosts, is_alive, millstream,
    python_with, root, signal, stopped, wait_until,
};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::time::Duration;

const MANIFEST: &str = "deploy/kubernetes/millstream.yaml";
/// The pages about jobs on several machines and on Kubernetes.
const PAGES: [&str; 2] = ["docs/how-to/run-on-several-machines.md", "docs/how-to/run-on-kubernetes.md"];
/// The version of Kubernetes that the page names.
const KUBERNETES: &str = "1.33";
/// Pods are killed, deleted and disconnected, each time until the job continues, on a busy machine.
const WITHIN: Duration = Duration::from_secs(900);

const JOB: &str = r#"
    name = "shared"
    batch = "10ms"

    [checkpoint]
    dir = "checkpoint"
    every = 1

    [sources.numbers]
    kind = "rate"
    rows_per_second = 1000
    rows_max = 500

    [sinks.out]
    from = "numbers"
    kind = "queue"
    path = "out.jsonl"
"#;

fn job() -> Trial {
    let trial = Trial::new(JOB);
    trial.write("cluster.key", "0123456789abcdef".repeat(4));
    fs::set_permissions(trial.path("cluster.key"), PermissionsExt::from_mode(0o600)).unwrap();
    trial
}

#[test]
fn kubernetes_accepts_the_manifest() {
    let mut command = python_with("kubernetes");
    command.args([
        "-c",
        "from kubernetes_validate.__main__ import main; main()",
        "-k",
        KUBERNETES,
        "--strict",
        MANIFEST,
    ]);
    let ended = Process::start(command.current_dir(root())).wait_within(WITHIN);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let page = fs::read_to_string(root().join(PAGES[1])).unwrap();
    assert!(page.contains(&format!("against Kubernetes {KUBERNETES}.")));
}

/// A user other than root becomes root in a namespace.
#[test]
fn pods_find_each_other_and_survive() {
    let python = python_with("kubernetes");
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]).args((!is_root).then_some("--map-root-user")).arg(python.get_program());
    command.arg(root().join("tests/tests/cluster/machines/pods.py")).arg(millstream()).arg(root().join(MANIFEST));
    command.envs(python.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = Process::start(&mut command).wait_within(WITHIN);
    assert!(ended.code == Some(0) && ended.stdout.contains("rows are right"), "{}{}", ended.stdout, ended.stderr);
}

/// Addresses in a file, numbers by the machine's name, and ports that are not those of the addresses.
#[test]
fn processes_find_their_indexes_by_the_names_of_their_machines() {
    let trial = job();
    let (first, second) = (free_port(), free_port());
    trial.write("hosts", format!("localhost:{first} # the first\n127.0.0.1:{second}\n"));
    let named = |name: &str, more: &[&str]| {
        let mut command = Command::new("unshare");
        let own = trial.command(&[]);
        command.args(["--uts", "--map-root-user", "sh", "-c", r#"hostname "$0" && exec "$@""#, name]);
        command.arg(own.get_program()).args([
            "run",
            "job.toml",
            "--workers=1",
            "--hosts=@hosts",
            "--cluster-key=cluster.key",
        ]);
        command.args(more).current_dir(trial.dir());
        command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Process::start(&mut command)
    };
    let stranger = named("elsewhere", &["--process=auto"]).wait();
    let output = "--hosts has no address of this machine, whose name is elsewhere";
    assert!(stranger.code == Some(2) && stranger.stderr.contains(output), "{}", stranger.stderr);
    // It listens on every address of its machine, not only the one that others know.
    let listen = format!("--listen=0.0.0.0:{first}");
    let both = [named("localhost", &["--process=auto", &listen]), named("127.0.0.1", &["--process=auto"])];
    for process in both {
        let ended = process.wait_within(DEADLINE * 2);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    assert_eq!(trial.rows("out.jsonl").len(), 500);
}

#[test]
fn an_address_reachable_by_others_needs_a_key() {
    let trial = job();
    let arguments = ["run", "job.toml", "--process", "0", "--hosts", "127.0.0.1:1,127.0.0.1:2"];
    let output = trial.rejected_message(&[&arguments[..], &["--listen", "0.0.0.0:1"]].concat());
    assert!(
        output.contains("--listen names 0.0.0.0:1, which other machines may reach, but --cluster-key is missing"),
        "{output}"
    );
    let output = trial.rejected_message(&["run", "job.toml", "--process", "1"]);
    assert!(output.contains("set --processes or --hosts"), "{output}");
    let output = trial.rejected_message(&["run", "job.toml", "--process", "0", "--hosts", "@none"]);
    assert!(output.contains("--hosts: none: "), "{output}");
}

/// A machine is suspended while it starts together with another one, which takes over its share of a sink at its next start. When
/// it continues, it is notified and restarts on its own.
#[test]
fn a_machine_that_missed_a_start_rejoins() {
    let trial = job();
    trial.change("rows_max = 500", "rows_max = 3000");
    let text = trial.text("job.toml");
    trial.write(
        "job.toml",
        text + "[sinks.parts]\nfrom = \"numbers\"\nkind = \"files\"\npath = \"parts\"\nparts = \"worker\"\n",
    );
    let hosts = hosts(2);
    let start = |number: &str, faults: &str| {
        let arguments = ["run", "job.toml", "--no-ui", "--workers", "1", "--hosts", &hosts, "--process", number];
        Process::start(trial.command(&arguments).env("MILLSTREAM_TEST_FAULT", faults))
    };
    let both = [start("0", ""), start("1", "")];
    wait_until("it commits", || trial.batches("out.jsonl").len() > 30);
    both.into_iter().for_each(Process::kill_all);
    let share = trial.path("parts/.millstream-001");
    let generation = || {
        let marker: serde_json::Value = {
            let text = fs::read_to_string(&share).unwrap();
            serde_json::from_str(text.lines().next().unwrap()).unwrap()
        };
        marker["generation"].as_u64().unwrap()
    };
    let before = generation();
    let (first, mut second) = (start("0", ""), start("1", "stop@start.shares:1"));
    let mut worker = None;
    second.wait_until("its worker process stands still", |supervisor| {
        worker = supervisor.children().into_iter().find(|child| stopped(*child));
        worker.is_some()
    });
    let worker = worker.unwrap();
    // As when the complete machine is suspended.
    second.signal("STOP");
    wait_until("the other machine has the share", || generation() > before + 1);
    // Its supervisor would treat it as hanging.
    signal("CONT", worker);
    wait_until("its worker process has ended", || !is_alive(worker));
    second.signal("CONT");
    second.wait_for_stderr("the job continued without this process; restarting it");
    for process in [first, second] {
        let ended = process.wait_within(DEADLINE * 2);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    assert_eq!(trial.rows("out.jsonl").len(), 3000);
}

/// The job of compose, its addresses and its containers belong together, and it is that of Kubernetes.
#[test]
fn compose_has_the_same_job() {
    let script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let read = |file: &str| -> Vec<serde_json::Value> {
        let mut command = python_with("kubernetes");
        let ended = Process::start(command.args(["-c", script, file]).current_dir(root())).wait_within(WITHIN);
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{file}: {error}: {}", ended.stderr))
    };
    let dir = root().join("deploy/compose");
    let compose = read("deploy/compose/compose.yaml").remove(0);
    let text = fs::read_to_string(dir.join("hosts")).unwrap();
    let services = compose["services"].as_object().unwrap();
    let names: Vec<&str> = text.lines().map(|line| line.strip_suffix(":2101").unwrap()).collect();
    assert_eq!(names, services.keys().collect::<Vec<_>>());
    let kubernetes = read(MANIFEST);
    let arguments = &kubernetes[2]["spec"]["template"]["spec"]["containers"][0]["args"];
    let same = |list: &serde_json::Value| {
        let all = list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned());
        all.map(|word| word.replace("/etc/millstream", "/jobs").replace("/run/secrets/millstream", "/jobs"))
            .filter(|word| !word.starts_with("--ui"))
            .collect::<Vec<_>>()
    };
    for (name, service) in services {
        assert_eq!(service["hostname"], **name);
        assert_eq!(same(&service["command"]), same(arguments));
    }
    // They differ only in a comment and in where the file is stored.
    let lines = |text: &str| {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with(['#']) && !line.starts_with("dir ") && !line.starts_with("path "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let own = fs::read_to_string(dir.join("job.toml")).unwrap();
    assert_eq!(lines(&own), lines(kubernetes[0]["data"]["job.toml"].as_str().unwrap()));
    let trial = Trial::new(&own);
    trial.run_command_ok(&["validate", "job.toml"]);
}

/// The commands of a machine's operator, block by block.
#[test]
fn the_commands_of_the_page_work() {
    let manifest = fs::read_to_string(root().join(MANIFEST)).unwrap();
    for block in PAGES.into_iter().flat_map(blocks) {
        for line in block.text.lines() {
            let strings: Vec<&str> = line.split_whitespace().collect();
            match strings[..] {
                ["millstream", "run", ..] => {}
                ["(umask", ..] => assert!(line.starts_with("(umask 077; openssl rand -hex 32 > cluster.key)")),
                // The head of the manifest has the same.
                ["kubectl", ..] => assert!(manifest.contains(line), "{line}"),
                ["cd", dir] => assert!(root().join(dir).is_dir(), "{line}"),
                ["sudo", "install", "-D", "-m", "644", file, to] => {
                    assert!(root().join(file).is_file() && to.ends_with("/millstream@shop.service.d/cluster.conf"));
                }
                ["sudo", "systemctl", "daemon-reload"]
                | ["sudo", "systemctl", "enable", "--now", "millstream@shop"] => {}
                // Run below.
                ["openssl", ..] | ["for", ..] | ["mkdir", "$host", ..] | ["-addext", ..] | ["done"] => {}
                ["JOB_UID=$(id", "-u)", "JOB_GID=$(id", "-g)", "docker", "compose", "up"] => {}
                _ => panic!("{}: nothing checks `{line}`", block.place),
            }
        }
    }
    // The page's commands with the addresses of this machine.
    let trial = job();
    let line = block_of(&PAGES, "sh", "--process 0 --cluster-key").text;
    let addresses = hosts(2);
    let run = |line: &str, addresses: &str, number: &str| {
        let line = line
            .replace("a.example:2101,b.example:2101", addresses)
            .replace("--process 0", &format!("--process {number}"));
        let strings: Vec<&str> = line.split_whitespace().skip(1).collect();
        Process::start(&mut trial.command(&strings))
    };
    let both = |line: &str, addresses: &str| {
        for process in [run(line, addresses, "0"), run(line, addresses, "1")] {
            let ended = process.wait();
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        }
        assert_eq!(trial.rows("out.jsonl").len(), 500);
    };
    both(&line, &addresses);
    // The same with certificates, created with the page's commands for the only name of this machine.
    fs::remove_dir_all(trial.path("checkpoint")).unwrap();
    trial.remove_queue("out.jsonl");
    let commands = block_of(&PAGES, "sh", "openssl req -x509 -CA").text.replace("a.example b.example", "localhost");
    let made = Process::start(Command::new("bash").args(["-euc", &commands]).current_dir(trial.dir())).wait();
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let line = block_of(&PAGES, "sh", "--cluster-tls a.example")
        .text
        .replace("--cluster-tls a.example", "--cluster-tls localhost");
    both(&line, &addresses.replace("127.0.0.1", "localhost"));
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    /// Senders need not be able to send again: confirmed rows are in the store that all machines share, and no machine's disk is
    /// needed for them.
    #[test]
    fn confirmed_rows_are_output_once_after_the_loss_of_the_machines_that_confirmed_them() {
        const REQUESTS_EACH: usize = 12;
        let store = S3Server::start();
        let outside = Trial::new("");
        let (port, hosts) = (free_port(), hosts(2));
        let text = format!(
            r#"
        batch = "10ms"
        [checkpoint]
        dir = "s3://bucket/kept"
        every = 1000000
        [sources.in]
        kind = "http"
        listen = "127.0.0.1:{port}"
        spread = true
        [sinks.out]
        from = "in"
        kind = "queue"
        path = "{}"
        "#,
            outside.path("out.jsonl").display()
        );
        let start = |process: usize| {
            let machine = Trial::new(&text);
            let number = process.to_string();
            let arguments = ["run", "job.toml", "--workers=1", "--hosts", &hosts, "--process", &number];
            let running = Process::start(machine.command(&arguments).envs(store.settings()));
            (machine, running)
        };
        let mut machines = [Some(start(0)), Some(start(1))];
        let mut answered = BTreeSet::new();
        let mut posts = 0..;
        for lost in [&[1][..], &[0], &[0, 1], &[1]] {
            let enough = answered.len() + REQUESTS_EACH;
            // Each on its own connection, to either machine. Requests without a response are abandoned, and may arrive or not.
            wait_until("enough is answered", || {
                let post: usize = posts.next().unwrap();
                let reply = HttpClient::connect(port).and_then(|mut client| client.post(&[], format!("post {post}")));
                if reply.is_ok_and(|reply| reply.status == 200) {
                    answered.insert(format!("post {post}"));
                }
                answered.len() >= enough
            });
            for process in lost {
                let (machine, running) = machines[*process].take().unwrap();
                running.kill_all();
                // With all its files.
                drop(machine);
                machines[*process] = Some(start(*process));
            }
        }
        let came = || if outside.path("out.jsonl").exists() { outside.values("out.jsonl") } else { Vec::new() };
        wait_until("all that was answered comes out", || {
            let came: BTreeSet<_> = came().into_iter().collect();
            came.is_superset(&answered)
        });
        let came = came();
        assert_eq!(came.iter().collect::<BTreeSet<_>>().len(), came.len(), "nothing comes twice");
    }
}
