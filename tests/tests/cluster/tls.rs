//! Processes that present certificates to each other (`--cluster-tls`). A process without a suitable certificate cannot take
//! part, and gets the reason; no one in between can read their traffic.

use millstream_tests::{Certificates, DEADLINE, Ended, Process, Relay, Trial, free_port, hosts};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A job of two processes that ends on its own. Rows go from one to the other.
fn job() -> Trial {
    let trial = Trial::new(
        r#"
        clock = "manual"
        workers = 1
        [sources.lines]
        kind = "queue"
        path = "input.jsonl"
        schema = { value = "text" }
        [stages.counts]
        from = "lines"
        key = "value"
        aggregate = { n = "count(*)" }
        [sinks.out]
        from = "counts"
        kind = "queue"
        path = "out.jsonl"
        "#,
    );
    let strings: Vec<String> = (0..200).map(|word| format!("\"a-secret-{word}\"")).collect();
    trial.write("input.jsonl", format!("[{}]\n", strings.join(",")));
    trial
}

/// Creates the directory of a process: a certificate with its key, and the trusted CA.
fn dir(trial: &Trial, name: &str, (certificate, key): &(PathBuf, PathBuf), ca: &Certificates) {
    fs::create_dir(trial.path(name)).unwrap();
    for (file, from) in [("tls.crt", certificate), ("tls.key", key), ("ca.crt", &ca.ca())] {
        let path = trial.write(&format!("{name}/{file}"), fs::read(from).unwrap());
        fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }
}

/// A CA, and directories of certificates that it issued: `a` and `b` for the addresses of both processes.
fn two(trial: &Trial) -> Certificates {
    let ca = Certificates::make();
    dir(trial, "a", &ca.of("a", "IP:127.0.0.1", 1), &ca);
    dir(trial, "b", &ca.of("b", "DNS:b.example,IP:127.0.0.2", 1), &ca);
    ca
}

fn start(trial: &Trial, process: usize, hosts: &str, more: &[&str]) -> Process {
    let process = process.to_string();
    trial.start(&[&["--process", &process, "--hosts", hosts][..], more].concat())
}

fn check_ok(trial: &Trial, processes: Vec<Process>) {
    for process in processes {
        let ended = process.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    assert_eq!(trial.rows("out.jsonl").len(), 200);
}

#[test]
fn processes_authenticate_by_certificates_and_encrypt_their_traffic() {
    let trial = job();
    let _ca = two(&trial);
    trial.write("key", "0123456789abcdef".repeat(4));
    fs::set_permissions(trial.path("key"), PermissionsExt::from_mode(0o600)).unwrap();
    for key in [&[][..], &["--cluster-key", "key"]] {
        let _ = fs::remove_file(trial.path("out.jsonl"));
        let (port, other) = (free_port(), free_port());
        let relay = Relay::to(port);
        let arguments = |dir| [&["--cluster-tls", dir], key].concat();
        let far = format!("127.0.0.1:{},127.0.0.2:{other}", relay.port);
        let second = start(&trial, 1, &far, &arguments("b"));
        // Others may reach the port, and no key is needed.
        let listen = format!("0.0.0.0:{port}");
        let first = start(&trial, 0, &far, &[&arguments("a")[..], &["--listen", &listen]].concat());
        check_ok(&trial, vec![first, second]);
        let seen = relay.seen.lock().unwrap();
        assert!(seen.len() >= 3, "{}", seen.len());
        for printed in seen.iter().filter(|printed| !printed.is_empty()) {
            // A TLS handshake, then nothing that others could read.
            assert_eq!(printed[..2], [0x16, 3]);
            assert!(!printed.windows(8).any(|piece| piece == b"a-secret" || piece.starts_with(b"mllstrm")));
        }
    }
}

#[test]
fn an_unsuitable_certificate_is_reported_before_the_start() {
    let trial = job();
    let ca = two(&trial);
    let other = Certificates::make();
    dir(&trial, "expired", &ca.of("expired", "IP:127.0.0.1", -1), &ca);
    dir(&trial, "unknown", &other.of("unknown", "IP:127.0.0.1", 1), &ca);
    let open = trial.path("open");
    dir(&trial, "open", &ca.of("open", "IP:127.0.0.1", 1), &ca);
    fs::set_permissions(open.join("tls.key"), PermissionsExt::from_mode(0o644)).unwrap();
    fs::create_dir(trial.path("empty")).unwrap();
    for (dir, output) in [
        ("expired", "--cluster-tls: `expired/tls.crt` has expired; renew it"),
        ("unknown", "--cluster-tls: `unknown/tls.crt` was not issued by a CA in `unknown/ca.crt`"),
        ("b", "`b/tls.crt` is not for `127.0.0.1`, the name of this process in --hosts, but for "),
        ("open", "`open/tls.key` cannot be read: it must be a file of user "),
        ("empty", "`empty/tls.crt` cannot be read"),
    ] {
        let hosts = ["run", "job.toml", "--process", "0", "--hosts", "127.0.0.1:1,127.0.0.2:2"];
        let refused = trial.rejected_message(&[&hosts[..], &["--cluster-tls", dir]].concat());
        assert!(refused.contains(output), "{dir}: {refused}");
    }
    let refused = trial.rejected_message(&["run", "job.toml", "--cluster-tls", "a"]);
    assert!(refused.contains("set --processes or --hosts"), "{refused}");
}

/// Each of them is rejected by process 0 with this message; if it is a process, it gets the other one.
#[test]
fn clients_without_a_certificate_of_the_job_are_rejected_with_the_reason() {
    let trial = job();
    let ca = two(&trial);
    let other = Certificates::make();
    dir(&trial, "foreign", &other.of("foreign", "IP:127.0.0.2", 1), &other);
    dir(&trial, "elsewhere", &ca.of("elsewhere", "IP:127.0.0.9", 1), &ca);
    let expired = ca.of("expired", "IP:127.0.0.2", -1);
    let (port, second) = (free_port(), free_port());
    let right = format!("127.0.0.1:{port},127.0.0.2:{second}");
    let first = || {
        let mut first = start(&trial, 0, &right, &["--cluster-tls", "a"]);
        first.wait_for_stderr("waiting for 1 of 2 processes");
        first
    };
    let wrong = format!("127.0.0.1:{port},127.0.0.9:{second}");
    let local = format!("127.0.0.1:{port},127.0.0.1:{second}");
    for (hosts, arguments, refused, received) in [
        (
            &right,
            &["--cluster-tls", "foreign"][..],
            "a connection was rejected: 127.0.0.1:",
            "cannot connect to process 0 at 127.0.0.1:{port} (its certificate was not issued by a CA in `ca.crt` of this process",
        ),
        (
            &wrong,
            &["--cluster-tls", "elsewhere"],
            "it claims to be process 1, at 127.0.0.2:{second} in --hosts: its certificate is not for `127.0.0.2`",
            "retrying until it is reachable",
        ),
        (
            &local,
            &[],
            "it has no certificate; if it is a process of the job, start it with --cluster-tls as well",
            "(it requires certificates, but this process has none; start all with the same --cluster-tls, or none)",
        ),
    ] {
        let filled =
            |strings: &str| strings.replace("{port}", &port.to_string()).replace("{second}", &second.to_string());
        let mut first = first();
        let mut stranger = start(&trial, 1, hosts, arguments);
        stranger.wait_for_stderr(&filled(received));
        first.wait_for_stderr(&filled(refused));
        stranger.kill();
        first.kill();
    }
    // Others than our own processes may show what ours do not.
    let client = |more: &[&str]| -> Ended {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-quiet"]).args(more);
        command.stdin(Stdio::null());
        Process::start(&mut command).wait()
    };
    let (certificate, key) = expired;
    let paths = [certificate.to_str().unwrap(), key.to_str().unwrap()];
    for (more, output) in [
        (&["-tls1_3", "-ign_eof"][..], "it presents no certificate"),
        (&["-tls1_3", "-ign_eof", "-cert", paths[0], "-key", paths[1]], "its certificate has expired; renew `tls.crt`"),
        (&["-tls1_2"], "it does not support TLS 1.3"),
    ] {
        let mut first = first();
        client(more);
        first.wait_for_stderr(output);
        first.kill();
    }
    // The other way around: the listening process has an expired certificate.
    let server = Certificates::server(port, &(certificate, key), &[&ca.ca()])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut server = server.unwrap();
    let mut stranger = start(&trial, 1, &right, &["--cluster-tls", "b"]);
    stranger.wait_for_stderr("its certificate has expired; renew `tls.crt` there");
    stranger.kill();
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(trial.text("out.jsonl"), "");
}

/// Clients that only connect, or that stop after the handshake, hold nothing up.
#[test]
fn a_process_without_a_certificate_is_told_so_and_strangers_delay_no_process() {
    let trial = job();
    let _ca = two(&trial);
    let (port, second) = (free_port(), free_port());
    let hosts = format!("127.0.0.1:{port},127.0.0.2:{second}");
    let plain = format!("127.0.0.1:{port},127.0.0.1:{second}");
    let mut first = start(&trial, 0, &plain, &[]);
    first.wait_for_stderr("waiting for 1 of 2 processes");
    let mut other = start(&trial, 1, &hosts, &["--cluster-tls", "b"]);
    first.wait_for_stderr(
        "it requires certificates, but this process has none; start all with the same --cluster-tls, or none",
    );
    other.wait_for_stderr("it may not have been started with --cluster-tls");
    first.kill();
    // The first process closes its port once the other one is connected.
    other.signal("STOP");
    let mut first = start(&trial, 0, &hosts, &["--cluster-tls", "a"]);
    let mut silent = Vec::new();
    let connect = || std::net::TcpStream::connect(("127.0.0.1", port));
    first.wait_until("it listens", |_| connect().is_ok());
    for _ in 0..100 {
        let mut stranger = connect().unwrap();
        // The head of a record that never arrives.
        std::io::Write::write_all(&mut stranger, &[0x16, 3, 1, 0x3f, 0xff]).unwrap();
        silent.push(stranger);
    }
    other.signal("CONT");
    check_ok(&trial, vec![first, other]);
}

/// A supervisor's children use TLS as well, and continue after one of them was killed.
#[test]
fn a_job_with_checkpoints_continues_with_tls() {
    let trial = Trial::new(
        r#"
        batch = "10ms"
        workers = 1
        [checkpoint]
        dir = "checkpoint"
        every = 1
        [sources.numbers]
        kind = "rate"
        rows_per_second = 1000
        rows_max = 2000
        [sinks.out]
        from = "numbers"
        kind = "queue"
        path = "out.jsonl"
        "#,
    );
    let _ca = two(&trial);
    dir(&trial, "both", &_ca.of("both", "IP:127.0.0.1", 1), &_ca);
    let mut job = trial.start(&["--processes", "2", "--hosts", &hosts(2), "--cluster-tls", "both"]);
    job.wait_until("rows are committed", |_| !trial.text("out.jsonl").is_empty());
    millstream_tests::kill(job.children()[1]);
    let ended = job.wait_within(DEADLINE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("restarting all 2 from the last checkpoint"), "{}", ended.stderr);
    let rows: Vec<u64> = trial.rows("out.jsonl").iter().map(|row| row["value"].as_u64().unwrap()).collect();
    assert_eq!(rows, (0..2000).collect::<Vec<_>>());
}
