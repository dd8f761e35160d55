//! Pipes and devices instead of files, and programs that never end: nothing waits for them.

use millstream_tests::{Ended, Process, Trial, wait_until};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const NOT_REGULAR: &str = "it is not a regular file";

/// A job with this source and sink, and a pipe next to it.
fn trial(source: &str, sink: &str) -> (Trial, PathBuf) {
    let trial = Trial::new(&format!("[sources.in]\n{source}\n[sinks.out]\nfrom = \"in\"\n{sink}\n"));
    let pipe = trial.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    (trial, pipe)
}

/// Runs a command in a world of its own, with these variables. It takes no long time.
fn run(trial: &Trial, arguments: &[&str], variables: &[(&str, &Path)]) -> Ended {
    let mut command = trial.command(arguments);
    command.env("HOME", trial.path("home")).env("MILLSTREAM_CONFIG", trial.path("config"));
    command.env("MILLSTREAM_STORE", trial.path("store"));
    for name in ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.env_remove(name);
    }
    Process::start(command.envs(variables.iter().copied())).wait_within(Duration::from_secs(30))
}

#[track_caller]
fn check_output(ended: &Ended, strings: &[&str]) {
    for word in strings {
        assert!(ended.code != Some(0) && ended.stderr.contains(word), "{word}: {ended:?}");
    }
}

const ROWS: &str = "kind = \"rate\"\nrows_per_second = 1000\nrows_max = 3";
const NOTHING: &str = "kind = \"nothing\"";
/// Nothing listens there.
const SEARCH: [&str; 3] = ["search", "--registry", "oci://127.0.0.1:1/x"];

#[test]
fn a_pipe_as_a_module_or_certificate_file_is_rejected() {
    let (trial, pipe) =
        trial("kind = \"http\"\nurl = \"https://127.0.0.1:1/\"\nevery = \"1s\"\nformat = \"text\"", NOTHING);
    check_output(&run(&trial, &["componentize", "pipe", "--world", "source", "-o", "x.wasm"], &[]), &[NOT_REGULAR]);
    check_output(&run(&trial, &SEARCH, &[("SSL_CERT_FILE", &pipe)]), &["SSL_CERT_FILE: cannot read", NOT_REGULAR]);
    let dir = trial.dir();
    for (name, path) in [("SSL_CERT_FILE", &*pipe), ("SSL_CERT_DIR", dir)] {
        let ended = run(&trial, &["run", "job.toml", "--timeout", "5s"], &[(name, path)]);
        check_output(&ended, &["source `in`: tls cannot be used", name, NOT_REGULAR]);
    }
}

#[test]
fn a_pipe_as_a_login_file_is_rejected() {
    let (trial, pipe) = trial(ROWS, NOTHING);
    std::fs::create_dir(trial.path("docker")).unwrap();
    std::fs::rename(&pipe, trial.path("docker/config.json")).unwrap();
    for (name, path) in [("DOCKER_CONFIG", "docker"), ("REGISTRY_AUTH_FILE", "docker/config.json")] {
        let ended = run(&trial, &SEARCH, &[(name, &trial.path(path))]);
        check_output(&ended, &["cannot be read: ", NOT_REGULAR, "Connection refused"]);
    }
}

/// A pipe that a sink writes needs a reader.
#[test]
fn a_sink_waits_for_no_reader_of_a_pipe() {
    let (trial, pipe) = trial(ROWS, "kind = \"queue\"\npath = \"pipe\"");
    check_output(
        &run(&trial, &["run", "job.toml"], &[]),
        &["sink `out`", "no process reads it; start the reader first"],
    );
    let mut reader = Command::new("cat");
    let reader = Process::start(reader.arg(&pipe));
    // It opens the pipe when it has begun.
    wait_until("the job has a reader", || run(&trial, &["run", "job.toml"], &[]).code == Some(0));
    assert!(reader.wait().stdout.contains("\"value\":2"));
}

#[test]
fn a_helper_that_never_stops_is_killed() {
    let (trial, _) = trial(ROWS, NOTHING);
    trial.write("docker/config.json", r#"{"credsStore":"bad"}"#);
    let path = format!("{}:{}", trial.path("bin").display(), std::env::var("PATH").unwrap());
    for (script, strings) in [
        ("sleep 1000", "docker-credential-bad did not respond within 1 s and was stopped"),
        ("sleep 1000 & echo $! >started; wait", "docker-credential-bad did not respond within 1 s and was stopped"),
        ("yes", "docker-credential-bad replied with more than 64 KiB"),
        ("echo nothing", "docker-credential-bad sent an invalid reply"),
    ] {
        let helper = trial.write("bin/docker-credential-bad", format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(&helper, PermissionsExt::from_mode(0o755)).unwrap();
        let variables = [
            ("DOCKER_CONFIG", trial.path("docker")),
            ("PATH", PathBuf::from(&path)),
            ("MILLSTREAM_REGISTRY_SECONDS", "1".into()),
        ];
        let variables: Vec<(&str, &Path)> = variables.iter().map(|(name, value)| (*name, value.as_path())).collect();
        let began = Instant::now();
        check_output(&run(&trial, &SEARCH, &variables), &[strings]);
        assert!(began.elapsed() < Duration::from_secs(20), "{script}");
    }
    // Its child process has exited, too.
    let started = trial.text("started");
    wait_until("nothing is left of it", || !Path::new("/proc").join(started.trim()).exists());
}
