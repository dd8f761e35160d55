//! Clients that can reach a process's port. Without the job's key they cannot take part, delay the start or fill memory, or
//! inject anything into a connection of two processes.

use millstream_tests::{DEADLINE, Process, Relay, Trial, free_port, holds_within};
use ring::hmac;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const MAGIC: &[u8; 8] = b"mllstrm7";
const HELLO_BYTES: usize = 80;
/// The memory of a process for itself and this job; thousands of strangers must not add to it.
const MEMORY_BYTES_MAX: u64 = 400 << 20;

/// A job of two or more processes that ends on its own.
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
    trial.write("input.jsonl", "[\"a\",\"b\",\"a\"]\n");
    for (name, byte) in [("right.key", b'1'), ("wrong.key", b'2')] {
        let path = trial.write(name, [byte; 40]);
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    trial
}

fn start(trial: &Trial, process: usize, hosts: &[u16], key: &str) -> Process {
    let addresses: Vec<String> = hosts.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let (processes, process) = (hosts.len().to_string(), process.to_string());
    let arguments = ["--processes", &processes, "--process", &process, "--hosts", &addresses.join(",")];
    trial.start(&[&arguments[..], &["--cluster-key", key]].concat())
}

/// Both ended well, and the rows are there once.
fn done(trial: &Trial, processes: Vec<Process>) {
    for process in processes {
        let ended = process.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
    let mut rows: Vec<String> = trial.rows("out.jsonl").iter().map(ToString::to_string).collect();
    rows.sort();
    assert_eq!(rows, ["{\"n\":1,\"value\":\"b\"}", "{\"n\":2,\"value\":\"a\"}"]);
}

fn connect(port: u16) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

/// A connection, and how many bytes of it this end has sent.
struct Counted {
    socket: TcpStream,
    sent: usize,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.socket.read(bytes)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.socket.write(bytes)?;
        self.sent += sent;
        Ok(sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// Takes whatever key the other end shows.
#[derive(Debug)]
struct AnyKey(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(key.as_ref()), signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

type Secured = StreamOwned<ClientConnection, Counted>;

/// A connection with a completed TLS handshake, which anyone can do.
fn secured(port: u16) -> io::Result<Secured> {
    let socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(DEADLINE))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let any = AnyKey(provider.signature_verification_algorithms);
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).unwrap();
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(any));
    let mut config = builder.with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    let mut connection = ClientConnection::new(Arc::new(config), ServerName::try_from("process").unwrap()).unwrap();
    let mut counted = Counted { socket, sent: 0 };
    while connection.is_handshaking() {
        connection.complete_io(&mut counted)?;
    }
    Ok(StreamOwned::new(connection, counted))
}

/// The number of bytes that a process has sent when the other knows its identity: the TLS handshake, and records with the hello
/// and the proof.
fn greeting_bytes(port: u16) -> usize {
    let record_bytes = |plain: usize| 5 + plain + 1 + 16;
    secured(port).unwrap().sock.sent + record_bytes(HELLO_BYTES) + record_bytes(32)
}

/// A valid hello: a copy of the process's own.
fn right_hello(port: u16, process: u32, purpose: u32) -> [u8; HELLO_BYTES] {
    let mut hello = [0; HELLO_BYTES];
    hello[..8].copy_from_slice(MAGIC);
    let mut socket = secured(port).unwrap();
    socket.write_all(&hello).unwrap();
    socket.read_exact(&mut hello).unwrap();
    hello[8..12].copy_from_slice(&process.to_le_bytes());
    hello[36..40].copy_from_slice(&purpose.to_le_bytes());
    hello
}

/// A process of the job, as far as its port can tell.
struct Guest(Secured);

impl Guest {
    /// Connects with the key; returns once it is accepted.
    fn new(port: u16, process: u32, purpose: u32, key: &[u8]) -> Guest {
        let hello = right_hello(port, process, purpose);
        let mut socket = secured(port).unwrap();
        socket.write_all(&hello).unwrap();
        let mut response = [0; HELLO_BYTES + 32];
        socket.read_exact(&mut response).unwrap();
        let exported = socket.conn.export_keying_material([0; 32], b"EXPORTER-millstream-peer", None).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let key = hmac::sign(&key, &[&b"millstream: a connection with TLS"[..], &exported].concat());
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_ref());
        let printed = [&hello[..], &response[..HELLO_BYTES]].concat();
        let proof = |label: &[u8; 31]| hmac::sign(&key, &[&label[..], &printed[..]].concat());
        assert_eq!(proof(b"millstream: this one listens   ").as_ref(), &response[HELLO_BYTES..]);
        socket.write_all(proof(b"millstream: this one connects  ").as_ref()).unwrap();
        socket.read_exact(&mut [0; 9]).unwrap();
        Guest(socket)
    }
}

#[test]
fn processes_without_the_right_key_take_no_part() {
    let trial = job();
    let hosts = [free_port(), free_port()];
    let mut first = start(&trial, 0, &hosts, "right.key");
    first.wait_for_stderr("waiting for 1 of 2 processes");
    let mut other = start(&trial, 1, &hosts, "wrong.key");
    other
        .wait_for_stderr("does not have the key of this process; start all processes with the same --cluster-key file");
    other.kill();
    first.wait_for_stderr("a connection was rejected: 127.0.0.1:");
    // Another user of this machine has a key of its own.
    let command = |home: &str, process: &str| {
        let hosts = hosts.map(|port| format!("127.0.0.1:{port}")).join(",");
        let arguments = ["run", "job.toml", "--processes", "2", "--process", process, "--hosts", &hosts];
        let mut command = trial.command(&arguments);
        command.env("XDG_STATE_HOME", trial.path(home));
        command
    };
    let mut other = Process::start(&mut command("nobody", "1"));
    other.wait_for_stderr("does not have the key of this process");
    other.kill();
    assert_eq!(trial.text("out.jsonl"), "");
    let second = start(&trial, 1, &hosts, "right.key");
    done(&trial, vec![first, second]);
    // Processes of one user find each other by that user's key.
    std::fs::remove_file(trial.path("out.jsonl")).unwrap();
    let both = ["0", "1"].map(|process| Process::start(&mut command("somebody", process)));
    done(&trial, both.into());
    let key = std::fs::metadata(trial.path("somebody/millstream/cluster.key")).unwrap();
    assert_eq!((key.permissions().mode() & 0o777, key.len()), (0o600, 32));
}

#[test]
fn a_key_file_that_is_missing_or_open_to_others_is_rejected() {
    let trial = job();
    let run = |hosts: &str, more: &[&str]| {
        let arguments = ["run", "job.toml", "--processes", "2", "--process", "1", "--hosts", hosts];
        trial.rejected_message(&[&arguments[..], more].concat())
    };
    let output = run("127.0.0.1:1,127.0.0.1:2", &["--cluster-key", "none.key"]);
    assert!(output.contains("--cluster-key: none.key: "), "{output}");
    std::fs::set_permissions(trial.path("right.key"), PermissionsExt::from_mode(0o644)).unwrap();
    let output = run("127.0.0.1:1,127.0.0.1:2", &["--cluster-key", "right.key"]);
    assert!(output.contains("right.key: it must be a file of user "), "{output}");
    let output = run("127.0.0.1:1,10.9.8.7:2", &[]);
    assert!(
        output.contains("--hosts names 10.9.8.7:2, which other machines may reach, but --cluster-key is missing"),
        "{output}"
    );
}

/// The peak memory of a process; 0 if it has just exited.
fn peak_bytes(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() << 10
}

#[test]
fn strangers_neither_hold_up_a_start_nor_fill_memory() {
    let trial = job();
    let (port, other) = (free_port(), free_port());
    // What process 1 sends goes through a relay, which records it.
    let relay = Relay::to(port);
    let mut first = start(&trial, 0, &[port, other, free_port()], "right.key");
    first.wait_for_stderr("waiting for 2 of 3 processes");
    let seen = start(&trial, 1, &[relay.port, other, free_port()], "right.key");
    let greeting = greeting_bytes(port);
    let received = holds_within(DEADLINE, || relay.seen.lock().unwrap().iter().any(|seen| seen.len() >= greeting));
    assert!(received, "{}", seen.stderr());
    seen.kill();
    let replayed: Vec<Vec<u8>> = relay.seen.lock().unwrap().clone();

    let stop = Arc::new(AtomicBool::new(false));
    let mut crowd = Vec::new();
    // Some send nothing, some a byte from time to time, before any idle timeout.
    let silent: Vec<TcpStream> = (0..300).map(|_| connect(port)).collect();
    let hello = right_hello(port, 1, 0);
    let begun = replayed.iter().find(|printed| printed.len() >= greeting).unwrap().clone();
    for _ in 0..20 {
        let (stop, begun) = (stop.clone(), begun.clone());
        crowd.push(thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)) else {
                    thread::sleep(Duration::from_millis(10));
                    continue;
                };
                for byte in &begun {
                    thread::sleep(Duration::from_millis(100));
                    if stop.load(Ordering::Relaxed) || socket.write_all(&[*byte]).is_err() {
                        break;
                    }
                }
            }
        }));
    }
    // Junk, the beginning of a handshake followed by junk, and a replay of another process.
    let junk = vec![0x55; 1 << 20];
    let strings = [junk.clone(), [&begun[..100], &junk].concat(), [&[0x16, 3, 1, 0x3f, 0xff][..], &junk].concat()];
    for text in strings.into_iter().chain(replayed) {
        let stop = stop.clone();
        crowd.push(thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)) {
                    let _ = socket.write_all(&text);
                }
                thread::sleep(Duration::from_millis(1));
            }
        }));
    }
    // After the handshake, which anyone can do: a valid hello followed by junk, and one with an invalid proof.
    let strings = [
        junk.clone(),
        [&hello[..], &junk].concat(),
        [&MAGIC[..], &junk].concat(),
        [&hello[..], &[0; 32], &junk].concat(),
    ];
    for text in strings {
        let stop = stop.clone();
        crowd.push(thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if let Ok(mut socket) = secured(port) {
                    let _ = socket.write_all(&text);
                }
                thread::sleep(Duration::from_millis(1));
            }
        }));
    }
    for _ in 0..3000 {
        drop(TcpStream::connect(("127.0.0.1", port)));
    }
    let began = Instant::now();
    let hosts = [port, other, free_port()];
    let others = [1, 2].map(|process| start(&trial, process, &hosts, "right.key"));
    let [second, third] = others;
    let mut ended = false;
    first.wait_until("all is done", |first| {
        ended = trial.rows("out.jsonl").len() == 2;
        let max = peak_bytes(first.id());
        assert!(max < MEMORY_BYTES_MAX, "{max} bytes");
        ended
    });
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    stop.store(true, Ordering::Relaxed);
    crowd.into_iter().for_each(|one| one.join().unwrap());
    drop(silent);
    let output = first.stderr().matches("rejected").count();
    assert!((1..20).contains(&output), "a line now and then, not one for each: {output}");
    done(&trial, vec![first, second, third]);
}

/// An accepted process, and one between two others, send data that timely would accept.
#[test]
fn junk_in_a_connection_ends_the_job_without_a_panic() {
    let key = [b'1'; 40];
    let header = |numbers: [u64; 6]| numbers.map(u64::to_be_bytes).concat();
    let large = header([1, 1, 0, 1, 1 << 40, 0]);
    let nobody = header([1, 1, 7, 900, 8, 0]);
    let sent: [(&str, Option<Vec<u8>>); 3] = [
        ("a record that no process of the job has sealed", None),
        ("a message that exceeds the size limit", Some(large)),
        ("a message between workers that do not exist", Some(nobody)),
    ];
    for (output, message) in sent {
        let trial = job();
        let port = free_port();
        let mut first = start(&trial, 0, &[port, free_port()], "right.key");
        first.wait_for_stderr("waiting for 1 of 2 processes");
        let mut data = Guest::new(port, 1, 0, &key);
        let _more = [1, 2].map(|purpose| Guest::new(port, 1, purpose, &key));
        match message {
            // It may have disconnected.
            Some(message) => drop(data.0.write_all(&message)),
            None => {
                let junk = [&[0x17, 3, 3, 0x10, 0][..], &[0; 4096]].concat();
                data.0.sock.write_all(&junk).unwrap();
            }
        }
        let ended = first.wait_within(Duration::from_secs(20));
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("the connection to another process of the job broke"), "{}", ended.stderr);
        if output.starts_with("a message") {
            assert!(ended.stderr.contains(output), "{}", ended.stderr);
        }
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
    // A relay between the two injects bytes.
    let trial = job();
    let (port, other) = (free_port(), free_port());
    let relay = Relay::to(port);
    let mut first = start(&trial, 0, &[port, other], "right.key");
    first.wait_for_stderr("waiting for 1 of 2 processes");
    // The hello and the proof go through.
    *relay.junk_behind.lock().unwrap() = Some(greeting_bytes(port));
    let second = start(&trial, 1, &[relay.port, other], "right.key");
    let ended = second.wait_within(Duration::from_secs(20));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    // It also ends if the job had begun; if not, it waits for another process 1.
    let waits = "process 1 has disconnected; waiting for it";
    let output = holds_within(Duration::from_secs(20), || first.has_ended() || first.stderr().contains(waits));
    assert!(output && !first.stderr().contains("panicked"), "{}", first.stderr());
    if first.has_ended() {
        assert_eq!(first.wait().code, Some(1));
    }
    assert!(trial.rows("out.jsonl").len() <= 2);
}

/// Processes that one supervisor starts share a key that no one else can read anywhere.
#[test]
fn processes_of_a_supervisor_keep_their_key_to_themselves() {
    let trial = job();
    let text = trial.text("job.toml").replace("clock = \"manual\"", "[checkpoint]\ndir = \"checkpoint\"\n");
    let text = text
        .replace("workers = 1\n", "")
        .replace("kind = \"queue\"\n        path = \"input.jsonl\"", "kind = \"rate\"\n        rows_per_second = 100")
        .replace("schema = { value = \"text\" }\n", "");
    trial.write("job.toml", text);
    let hosts = [free_port(), free_port()];
    let addresses = hosts.map(|port| format!("127.0.0.1:{port}")).join(",");
    let mut job = trial.start(&["--workers", "1", "--processes", "2", "--hosts", &addresses]);
    job.wait_until("two processes run", |job| job.children().len() == 2);
    for child in job.children() {
        let of = |file: &str| std::fs::read(Path::new("/proc").join(child.to_string()).join(file)).unwrap();
        assert!(!String::from_utf8_lossy(&of("cmdline")).contains("key"));
        let environment = String::from_utf8_lossy(&of("environ")).into_owned();
        let names = environment.split('\0').filter_map(|line| line.split_once('=')).map(|(name, _)| name);
        // Variables that the test has as well are unrelated to the job.
        let new: Vec<&str> = names.filter(|name| std::env::var_os(name).is_none()).collect();
        assert!(new.iter().all(|name| name.starts_with("RUST_") || *name == "MILLSTREAM_SUPERVISED"), "{new:?}");
    }
    job.wait_until("rows are committed", |_| !trial.text("out.jsonl").is_empty());
    job.signal("TERM");
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// A job with the lock files that there are.
fn locking() -> Trial {
    let trial = Trial::new(
        "batch = \"20ms\"\n[checkpoint]\ndir = \"checkpoint\"\n[sources.in]\nkind = \"rate\"\nrows_per_second = 100\n\
         rows_max = 5\n[sinks.parts]\nfrom = \"in\"\nkind = \"files\"\npath = \"out\"\n[sinks.log]\nfrom = \"in\"\n\
         kind = \"queue\"\npath = \"log.jsonl\"\n",
    );
    let all = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(trial.dir(), all).unwrap();
    trial.run_ok(&[]);
    trial
}

/// The lock files of a job that no longer runs. Others may read what it wrote.
const LOCKS: [&str; 2] = ["checkpoint/lock", "out/.millstream.lock"];

fn mode(trial: &Trial, name: &str) -> u32 {
    std::fs::metadata(trial.path(name)).unwrap().permissions().mode() & 0o777
}

#[test]
fn other_users_cannot_open_the_lock_files_of_a_job() {
    let trial = locking();
    for name in LOCKS {
        assert_eq!(mode(&trial, name), 0o600, "{name}");
        // As an earlier version left it.
        std::fs::set_permissions(trial.path(name), std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    trial.run_ok(&[]);
    LOCKS.iter().for_each(|name| assert_eq!(mode(&trial, name), 0o600, "{name}"));
    assert!(!trial.path(".log.jsonl.lock").exists(), "it goes with the job");
}

/// Another user holds a lock that an earlier version left to all, or waits for it; or holds a file that others must read.
#[test]
fn another_user_cannot_prevent_a_start() {
    let stranger = |path: &Path| {
        let mut command = std::process::Command::new("setpriv");
        let flock = "echo waits; exec flock \"$1\" -c 'echo holds; exec sleep 1000'";
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", flock, "sh"]).arg(path);
        Process::start(command.current_dir("/"))
    };
    // SAFETY: the call takes and changes nothing.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("NOT TESTED: only the superuser can be another user");
        return;
    }
    let trial = locking();
    for name in LOCKS.iter().chain(&["log.jsonl"]) {
        let path = trial.path(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let mut stranger = stranger(&path);
        stranger.wait_until("it holds the lock", |stranger| stranger.stdout().contains("holds"));
        trial.run_ok(&[]);
        stranger.kill_all();
    }
    // A process that waits for it gets a file that is no longer used.
    let path = trial.path(LOCKS[0]);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let held = std::fs::File::open(&path).unwrap();
    held.lock().unwrap();
    let mut waiting = stranger(&path);
    waiting.wait_until("it waits for the lock", |waiting| waiting.stdout().contains("waits"));
    let ended = trial.run(&[]);
    assert!(ended.code == Some(1) && ended.stderr.contains("a running job uses it"), "{}", ended.stderr);
    drop(held);
    trial.run_ok(&[]);
    waiting.kill_all();
}
