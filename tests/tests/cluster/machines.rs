//! Jobs of several machines: what `deploy/` has for Kubernetes, compose and systemd, and the pages about them. No Kubernetes runs
//! here: its manifest is compared with what Kubernetes takes, and what it says is run as pods are, in networks of their own.

use millstream_tests::{
    DEADLINE, HttpClient, Process, S3Server, Trial, block_of, blocks, free_port, hosts, lives, millstream, python_with,
    root, signal, stopped, until,
};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::time::Duration;

const MANIFEST: &str = "deploy/kubernetes/millstream.yaml";
/// What tells how to run a job on several machines, and on Kubernetes.
const PAGES: [&str; 2] = ["docs/how-to/run-on-several-machines.md", "docs/how-to/run-on-kubernetes.md"];
/// The version of Kubernetes that the page names.
const KUBERNETES: &str = "1.33";
/// Pods are killed, deleted and cut off, each time until the job goes on, on a busy machine.
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
fn kubernetes_takes_the_manifest() {
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

/// Who is not root here becomes it in a namespace.
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
fn processes_find_their_places_by_the_names_of_their_machines() {
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
    let told = "--hosts has no address of this machine, whose name is elsewhere";
    assert!(stranger.code == Some(2) && stranger.stderr.contains(told), "{}", stranger.stderr);
    // It has every address of its machine, and not only the one that others know.
    let listen = format!("--listen=0.0.0.0:{first}");
    let both = [named("localhost", &["--process=auto", &listen]), named("127.0.0.1", &["--process=auto"])];
    for process in both {
        let ended = process.wait_within(DEADLINE * 2);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    assert_eq!(trial.rows("out.jsonl").len(), 500);
}

#[test]
fn an_address_that_others_reach_needs_a_key() {
    let trial = job();
    let arguments = ["run", "job.toml", "--process", "0", "--hosts", "127.0.0.1:1,127.0.0.1:2"];
    let told = trial.refused(&[&arguments[..], &["--listen", "0.0.0.0:1"]].concat());
    assert!(told.contains("--listen names 0.0.0.0:1, which others may reach, and --cluster-key is missing"), "{told}");
    let told = trial.refused(&["run", "job.toml", "--process", "1"]);
    assert!(told.contains("neither --processes nor --hosts says how many there are"), "{told}");
    let told = trial.refused(&["run", "job.toml", "--process", "0", "--hosts", "@none"]);
    assert!(told.contains("--hosts: none: "), "{told}");
}

/// A machine stands still while it starts with another one, which takes its share of a sink over at its next start. Once it goes on, it
/// is told so, and comes back by itself.
#[test]
fn a_machine_that_was_left_behind_at_a_start_comes_back() {
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
    until("it commits", || trial.batches("out.jsonl").len() > 30);
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
    second.until("its worker process stands still", |supervisor| {
        worker = supervisor.children().into_iter().find(|child| stopped(*child));
        worker.is_some()
    });
    let worker = worker.unwrap();
    // As all of a machine does.
    second.signal("STOP");
    until("the other machine has the share", || generation() > before + 1);
    // Its supervisor would take it for one that hangs.
    signal("CONT", worker);
    until("its worker process has ended", || !lives(worker));
    second.signal("CONT");
    second.until_stderr("the other processes continued without this one; starting it again");
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
    // A remark, and where it is kept: that is all that differs.
    let lines = |text: &str| {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with(['#']) && !line.starts_with("dir ") && !line.starts_with("path "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let own = fs::read_to_string(dir.join("job.toml")).unwrap();
    assert_eq!(lines(&own), lines(kubernetes[0]["data"]["job.toml"].as_str().unwrap()));
    let trial = Trial::new(&own);
    trial.well(&["validate", "job.toml"]);
}

/// What a machine's operator types, block by block.
#[test]
fn the_page_says_what_is_there() {
    let manifest = fs::read_to_string(root().join(MANIFEST)).unwrap();
    for block in PAGES.into_iter().flat_map(blocks) {
        for line in block.text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
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
                ["UID=$(id", "-u)", "GID=$(id", "-g)", "docker", "compose", "up"] => {}
                _ => panic!("{}: nothing checks `{line}`", block.place),
            }
        }
    }
    // With the addresses of this machine, as it stands there.
    let trial = job();
    let line = block_of(&PAGES, "sh", "--process 0 --cluster-key").text;
    let addresses = hosts(2);
    let run = |line: &str, addresses: &str, number: &str| {
        let line = line
            .replace("a.example:2101,b.example:2101", addresses)
            .replace("--process 0", &format!("--process {number}"));
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        Process::start(&mut trial.command(&words))
    };
    let both = |line: &str, addresses: &str| {
        for process in [run(line, addresses, "0"), run(line, addresses, "1")] {
            let ended = process.wait();
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        }
        assert_eq!(trial.rows("out.jsonl").len(), 500);
    };
    both(&line, &addresses);
    // The same with certificates, made as it stands there for the one name that this machine has.
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

/// What takes long: `make torture` runs it, `make test` does not.
mod long {
    use super::*;

    /// Who cannot send again need not: what was answered lies in the store that all machines see, and no disk of a machine is needed for it.
    #[test]
    fn what_was_answered_comes_out_once_though_the_machines_that_answered_are_gone() {
        const ANSWERED_EACH: usize = 12;
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
            let enough = answered.len() + ANSWERED_EACH;
            // Each on a connection of its own, which either machine takes. What is not answered is given up, and may come or not.
            until("enough is answered", || {
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
                // With all that it had.
                drop(machine);
                machines[*process] = Some(start(*process));
            }
        }
        let came = || if outside.path("out.jsonl").exists() { outside.values("out.jsonl") } else { Vec::new() };
        until("all that was answered comes out", || {
            let came: BTreeSet<_> = came().into_iter().collect();
            came.is_superset(&answered)
        });
        let came = came();
        assert_eq!(came.iter().collect::<BTreeSet<_>>().len(), came.len(), "nothing comes twice");
    }
}
