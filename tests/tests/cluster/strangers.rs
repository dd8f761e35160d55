//! Whoever can reach a process's port: without the job's key nobody takes part, delays the start or fills memory; and
//! nobody puts anything into a connection of two processes.

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
/// Of what a process needs for itself and this job; thousands of strangers must not add to it.
const MEMORY_BYTES_MAX: u64 = 400 << 20;

/// A job that two processes or more do together, and that ends by itself.
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

/// What goes over a connection, and how many bytes of it this end has sent.
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

/// A connection on which both ends have greeted each other with TLS, as anybody can.
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

/// Bytes that a process has sent when the other knows who it is: the greeting of TLS, and records with the hello and the proof.
fn greeting_bytes(port: u16) -> usize {
    let record_bytes = |plain: usize| 5 + plain + 1 + 16;
    secured(port).unwrap().sock.sent + record_bytes(HELLO_BYTES) + record_bytes(32)
}

/// A hello that is right in all its words: those that the process itself says.
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

/// A process of the job as far as its port tells.
struct Guest(Secured);

impl Guest {
    /// With the key; returns once it is let in.
    fn new(port: u16, process: u32, purpose: u32, key: &[u8]) -> Guest {
        let hello = right_hello(port, process, purpose);
        let mut socket = secured(port).unwrap();
        socket.write_all(&hello).unwrap();
        let mut answer = [0; HELLO_BYTES + 32];
        socket.read_exact(&mut answer).unwrap();
        let exported = socket.conn.export_keying_material([0; 32], b"EXPORTER-millstream-peer", None).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let key = hmac::sign(&key, &[&b"millstream: a connection with TLS"[..], &exported].concat());
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_ref());
        let said = [&hello[..], &answer[..HELLO_BYTES]].concat();
        let proof = |label: &[u8; 31]| hmac::sign(&key, &[&label[..], &said[..]].concat());
        assert_eq!(proof(b"millstream: this one listens   ").as_ref(), &answer[HELLO_BYTES..]);
        socket.write_all(proof(b"millstream: this one connects  ").as_ref()).unwrap();
        socket.read_exact(&mut [0; 9]).unwrap();
        Guest(socket)
    }
}

#[test]
fn who_has_another_key_or_none_takes_no_part() {
    let trial = job();
    let hosts = [free_port(), free_port()];
    let mut first = start(&trial, 0, &hosts, "right.key");
    first.until_stderr("waiting for 1 of 2 processes");
    let mut other = start(&trial, 1, &hosts, "wrong.key");
    other.until_stderr("does not have the key of this process; give all processes the same file with --cluster-key");
    other.kill();
    first.until_stderr("a connection was rejected: 127.0.0.1:");
    // Another user of this machine has a key of its own.
    let command = |home: &str, process: &str| {
        let hosts = hosts.map(|port| format!("127.0.0.1:{port}")).join(",");
        let arguments = ["run", "job.toml", "--processes", "2", "--process", process, "--hosts", &hosts];
        let mut command = trial.command(&arguments);
        command.env("XDG_STATE_HOME", trial.path(home));
        command
    };
    let mut other = Process::start(&mut command("nobody", "1"));
    other.until_stderr("does not have the key of this process");
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
fn a_key_file_that_others_may_use_or_that_is_missing_is_refused() {
    let trial = job();
    let run = |hosts: &str, more: &[&str]| {
        let arguments = ["run", "job.toml", "--processes", "2", "--process", "1", "--hosts", hosts];
        trial.refused(&[&arguments[..], more].concat())
    };
    let told = run("127.0.0.1:1,127.0.0.1:2", &["--cluster-key", "none.key"]);
    assert!(told.contains("--cluster-key: none.key: "), "{told}");
    std::fs::set_permissions(trial.path("right.key"), PermissionsExt::from_mode(0o644)).unwrap();
    let told = run("127.0.0.1:1,127.0.0.1:2", &["--cluster-key", "right.key"]);
    assert!(told.contains("right.key: it must be a file of user "), "{told}");
    let told = run("127.0.0.1:1,10.9.8.7:2", &[]);
    assert!(told.contains("--hosts names 10.9.8.7:2, which others may reach, and --cluster-key is missing"), "{told}");
}

/// Most memory that a process has had; 0 where it has just ended.
fn peak_bytes(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() << 10
}

#[test]
fn strangers_neither_hold_up_a_start_nor_fill_memory() {
    let trial = job();
    let (port, other) = (free_port(), free_port());
    // What process 1 says goes through a relay, which keeps it.
    let relay = Relay::to(port);
    let mut first = start(&trial, 0, &[port, other, free_port()], "right.key");
    first.until_stderr("waiting for 2 of 3 processes");
    let seen = start(&trial, 1, &[relay.port, other, free_port()], "right.key");
    let greeting = greeting_bytes(port);
    let heard = holds_within(DEADLINE, || relay.seen.lock().unwrap().iter().any(|seen| seen.len() >= greeting));
    assert!(heard, "{}", seen.stderr());
    seen.kill();
    let replayed: Vec<Vec<u8>> = relay.seen.lock().unwrap().clone();

    let stop = Arc::new(AtomicBool::new(false));
    let mut crowd = Vec::new();
    // Some say nothing, some a byte every now and then, faster than any pause is noticed.
    let silent: Vec<TcpStream> = (0..300).map(|_| connect(port)).collect();
    let hello = right_hello(port, 1, 0);
    let begun = replayed.iter().find(|said| said.len() >= greeting).unwrap().clone();
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
    // Junk, the beginning of a greeting with junk behind, and what another process has said before.
    let junk = vec![0x55; 1 << 20];
    let texts = [junk.clone(), [&begun[..100], &junk].concat(), [&[0x16, 3, 1, 0x3f, 0xff][..], &junk].concat()];
    for text in texts.into_iter().chain(replayed) {
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
    // Behind the greeting, which anybody can say: a right hello with junk behind, and with a proof that is none.
    let texts = [
        junk.clone(),
        [&hello[..], &junk].concat(),
        [&MAGIC[..], &junk].concat(),
        [&hello[..], &[0; 32], &junk].concat(),
    ];
    for text in texts {
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
    first.until("all is done", |first| {
        ended = trial.rows("out.jsonl").len() == 2;
        let most = peak_bytes(first.id());
        assert!(most < MEMORY_BYTES_MAX, "{most} bytes");
        ended
    });
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    stop.store(true, Ordering::Relaxed);
    crowd.into_iter().for_each(|one| one.join().unwrap());
    drop(silent);
    let told = first.stderr().matches("rejected").count();
    assert!((1..20).contains(&told), "a line now and then, not one for each: {told}");
    done(&trial, vec![first, second, third]);
}

/// A process that was let in, and one that sits between two, send what timely would believe.
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
    for (told, message) in sent {
        let trial = job();
        let port = free_port();
        let mut first = start(&trial, 0, &[port, free_port()], "right.key");
        first.until_stderr("waiting for 1 of 2 processes");
        let mut data = Guest::new(port, 1, 0, &key);
        let _more = [1, 2].map(|purpose| Guest::new(port, 1, purpose, &key));
        match message {
            // It may be gone.
            Some(message) => drop(data.0.write_all(&message)),
            None => {
                let junk = [&[0x17, 3, 3, 0x10, 0][..], &[0; 4096]].concat();
                data.0.sock.write_all(&junk).unwrap();
            }
        }
        let ended = first.wait_within(Duration::from_secs(20));
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("the connection to another process of the job broke"), "{}", ended.stderr);
        if told.starts_with("a message") {
            assert!(ended.stderr.contains(told), "{}", ended.stderr);
        }
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
    // Somebody between the two puts bytes in.
    let trial = job();
    let (port, other) = (free_port(), free_port());
    let relay = Relay::to(port);
    let mut first = start(&trial, 0, &[port, other], "right.key");
    first.until_stderr("waiting for 1 of 2 processes");
    // The hello and the proof go through.
    *relay.junk_behind.lock().unwrap() = Some(greeting_bytes(port));
    let second = start(&trial, 1, &[relay.port, other], "right.key");
    let ended = second.wait_within(Duration::from_secs(20));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    // It ends as well where the job had begun, and waits for another process 1 where it had not.
    let waits = "process 1 has disconnected; waiting for it";
    let told = holds_within(Duration::from_secs(20), || first.ended() || first.stderr().contains(waits));
    assert!(told && !first.stderr().contains("panicked"), "{}", first.stderr());
    if first.ended() {
        assert_eq!(first.wait().code, Some(1));
    }
    assert!(trial.rows("out.jsonl").len() <= 2);
}

/// Processes that one supervisor starts share a key that nobody else can read anywhere.
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
    job.until("two processes run", |job| job.children().len() == 2);
    for child in job.children() {
        let of = |file: &str| std::fs::read(Path::new("/proc").join(child.to_string()).join(file)).unwrap();
        assert!(!String::from_utf8_lossy(&of("cmdline")).contains("key"));
        let environment = String::from_utf8_lossy(&of("environ")).into_owned();
        let names = environment.split('\0').filter_map(|line| line.split_once('=')).map(|(name, _)| name);
        // What the test has as well says nothing of the job.
        let new: Vec<&str> = names.filter(|name| std::env::var_os(name).is_none()).collect();
        assert!(new.iter().all(|name| name.starts_with("RUST_") || *name == "MILLSTREAM_SUPERVISED"), "{new:?}");
    }
    job.until("rows are committed", |_| !trial.text("out.jsonl").is_empty());
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
    trial.run_well(&[]);
    trial
}

/// The lock files of a job that runs no more. Others may read what it wrote.
const LOCKS: [&str; 2] = ["checkpoint/lock", "out/.millstream.lock"];

fn mode(trial: &Trial, name: &str) -> u32 {
    std::fs::metadata(trial.path(name)).unwrap().permissions().mode() & 0o777
}

#[test]
fn nobody_else_can_open_what_a_job_locks() {
    let trial = locking();
    for name in LOCKS {
        assert_eq!(mode(&trial, name), 0o600, "{name}");
        // As an earlier version left it.
        std::fs::set_permissions(trial.path(name), std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    trial.run_well(&[]);
    LOCKS.iter().for_each(|name| assert_eq!(mode(&trial, name), 0o600, "{name}"));
    assert!(!trial.path(".log.jsonl.lock").exists(), "it goes with the job");
}

/// Another user holds a lock that an earlier version left to all, or waits for it; or holds a file that others must read.
#[test]
fn another_user_keeps_no_job_from_starting() {
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
        stranger.until("it holds the lock", |stranger| stranger.stdout().contains("holds"));
        trial.run_well(&[]);
        stranger.kill_all();
    }
    // Who waits for it gets what nothing goes by any more.
    let path = trial.path(LOCKS[0]);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let held = std::fs::File::open(&path).unwrap();
    held.lock().unwrap();
    let mut waiting = stranger(&path);
    waiting.until("it waits for the lock", |waiting| waiting.stdout().contains("waits"));
    let ended = trial.run(&[]);
    assert!(ended.code == Some(1) && ended.stderr.contains("a running job uses it"), "{}", ended.stderr);
    drop(held);
    trial.run_well(&[]);
    waiting.kill_all();
}
