//! A real Kafka broker in its own directory, and what tests do with its topics. Everything uses the client library, as the tools
//! that come with Kafka take seconds to start.

mod cluster;
mod topics;

pub use cluster::Cluster;
pub use topics::{Follower, OpenTransaction, Record};

use crate::{DEADLINE, free_port, root};
use cluster::Member;
use rdkafka::ClientConfig;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// A broker that dies with its handle, and with the process of the test.
pub struct Broker {
    dir: TempDir,
    port: u16,
    controller_port: u16,
    /// The port at which clients need a password or TLS.
    guarded_port: u16,
    options: BrokerOptions,
    /// Set if it is one of several brokers.
    member: Option<Member>,
    running: Option<Running>,
}

/// What a broker requires of clients at [`Broker::guarded`]. At [`Broker::address`] it requires nothing and permits everything.
#[derive(Clone, Debug, Default)]
pub struct BrokerOptions {
    /// Require a name and a password, with `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`. [`Broker::USER`] may do everything and
    /// [`Broker::STRANGER`] nothing.
    pub login: bool,
    /// TLS, with this certificate and its key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Require client certificates of this CA.
    pub clients_of: Option<PathBuf>,
    /// More broker settings, as `name=value`.
    pub settings: Vec<String>,
    /// More ports at which it wants the same: where it listens, and where it has clients connect instead.
    pub relayed: Vec<(u16, u16)>,
}

impl Broker {
    /// A user with all permissions.
    pub const USER: &str = "me";
    /// A user without permissions.
    pub const STRANGER: &str = "stranger";
    /// The password of both.
    pub const PASSWORD: &str = "p@ss/w:rd%";

    /// A broker that all tests of this process share; each has topics of its own.
    pub fn shared() -> &'static Broker {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(Broker::start)
    }

    /// A broker of its own, which a test may kill.
    pub fn start() -> Broker {
        Broker::with(BrokerOptions::default())
    }

    /// Starts a broker with these options and waits until it responds.
    pub fn with(options: BrokerOptions) -> Broker {
        let mut broker = Broker::new(options, [free_port(), free_port(), free_port()], None);
        broker.start_again();
        broker
    }

    /// Returns a server that does not run yet.
    fn new(options: BrokerOptions, ports: [u16; 3], member: Option<Member>) -> Broker {
        let dir = TempDir::new().expect("a temporary folder");
        let [port, controller_port, guarded_port] = ports;
        let broker = Broker { dir, port, controller_port, guarded_port, options, member, running: None };
        broker.write("more.properties", &broker.settings());
        if broker.options.login {
            let user = |name| format!("name={name},password={}\n", Broker::PASSWORD);
            broker.write("scram", &(user(Broker::USER) + &user(Broker::STRANGER)));
        }
        broker
    }

    /// Kills it immediately, as `kill -9` does.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Restarts the killed broker with the same data on the same port, and waits until it responds.
    pub fn start_again(&mut self) {
        self.start_without_waiting();
        self.wait_until_ready();
    }

    /// Like [`start_again`](Self::start_again), without waiting.
    pub fn start_without_waiting(&mut self) {
        let mut command = Command::new(root().join("scripts/kafka.sh"));
        command.arg(self.port.to_string()).arg(self.dir.path());
        command.env("KAFKA_CONTROLLER_PORT", self.controller_port.to_string());
        command.envs(self.member.as_ref().map(|member| ("KAFKA_CLUSTER_ID", &member.cluster_id)));
        self.running = Some(Running::start(command));
    }

    /// Waits until it responds.
    pub fn wait_until_ready(&self) {
        let answers = crate::holds_within(DEADLINE, || self.answers());
        assert!(answers, "the broker does not answer; it says:\n{}", self.output());
    }

    /// Suspends it: it does nothing, but its connections stay open, until [`resume`](Self::resume).
    pub fn suspend(&self) {
        crate::signal("STOP", self.id());
    }

    /// Resumes it.
    pub fn resume(&self) {
        crate::signal("CONT", self.id());
    }

    /// Its process ID.
    pub fn id(&self) -> u32 {
        self.running.as_ref().expect("it runs").id
    }

    /// Host and port at which clients need no credentials.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Host and port at which clients must meet the options.
    pub fn guarded(&self) -> String {
        format!("127.0.0.1:{}", self.guarded_port)
    }

    /// Bytes of the records of a topic, as they lie on its disk.
    pub fn stored_bytes(&self, topic: &str) -> u64 {
        let dirs = std::fs::read_dir(self.dir.path().join("data")).expect("it has a folder").flatten();
        let of_topic = |name: &str| name.rsplit_once('-').is_some_and(|(of, _)| of == topic);
        let dirs = dirs.filter(|dir| of_topic(&dir.file_name().to_string_lossy()));
        let files = dirs.flat_map(|dir| std::fs::read_dir(dir.path()).into_iter().flatten().flatten());
        let logs = files.filter(|file| file.path().extension().is_some_and(|end| end == "log"));
        logs.map(|file| file.metadata().map_or(0, |known| known.len())).sum()
    }

    /// Returns its output so far.
    pub fn output(&self) -> String {
        let said = self.running.as_ref().map(|running| running.said.lock().expect("no reader panics").clone());
        String::from_utf8_lossy(&said.unwrap_or_default()).into_owned()
    }

    /// Settings of a client with all permissions.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        let brokers = self.member.as_ref().map_or_else(|| self.address(), |member| member.all.clone());
        config.set("bootstrap.servers", brokers).set("client.id", "test");
        // The broker is back soon after it was killed.
        config.set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "200");
        config
    }

    fn settings(&self) -> String {
        let BrokerOptions { login, tls, clients_of, settings, relayed } = &self.options;
        // Records of tests have times of long ago, and would be deleted for their age.
        let mut lines = vec!["log.retention.ms=-1".to_owned()];
        lines.extend(settings.iter().cloned());
        let kind = match (login, tls) {
            (false, None) => return lines.join("\n"),
            (true, None) => "SASL_PLAINTEXT",
            (false, Some(_)) => "SSL",
            (true, Some(_)) => "SASL_SSL",
        };
        let open = self.address();
        let mut names = vec![("GUARDED".to_owned(), self.guarded_port, self.guarded_port)];
        let more = relayed.iter().enumerate();
        names.extend(more.map(|(at, (own, advertised))| (format!("GUARDED{at}"), *own, *advertised)));
        let all = |of: &dyn Fn(&(String, u16, u16)) -> String| names.iter().map(of).collect::<Vec<_>>().join(",");
        let (own, advertised) = (
            all(&|(name, own, _)| format!("{name}://127.0.0.1:{own}")),
            all(&|(name, _, advertised)| format!("{name}://127.0.0.1:{advertised}")),
        );
        let controller = self.controller_port;
        lines.push(format!("listeners=PLAINTEXT://{open},{own},CONTROLLER://127.0.0.1:{controller}"));
        lines.push(format!("advertised.listeners=PLAINTEXT://{open},{advertised}"));
        let kinds = all(&|(name, ..)| format!("{name}:{kind}"));
        lines.push(format!("listener.security.protocol.map=PLAINTEXT:PLAINTEXT,{kinds},CONTROLLER:PLAINTEXT"));
        if *login {
            lines.push("authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer".into());
            lines.push(format!("super.users=User:ANONYMOUS;User:{}", Broker::USER));
        }
        for (name, ..) in &names {
            self.guard(&name.to_ascii_lowercase(), *login, tls.as_ref(), clients_of.as_deref(), &mut lines);
        }
        lines.join("\n")
    }

    /// What a listener wants of clients.
    fn guard(
        &self,
        listener: &str,
        login: bool,
        tls: Option<&(PathBuf, PathBuf)>,
        clients_of: Option<&Path>,
        lines: &mut Vec<String>,
    ) {
        let guarded = format!("listener.name.{listener}");
        if login {
            let module = "org.apache.kafka.common.security";
            let (user, stranger, password) = (Broker::USER, Broker::STRANGER, Broker::PASSWORD);
            lines.push(format!("{guarded}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"));
            lines.push(format!(
                "{guarded}.plain.sasl.jaas.config={module}.plain.PlainLoginModule required \
                 user_{user}=\"{password}\" user_{stranger}=\"{password}\";"
            ));
            for mechanism in ["scram-sha-256", "scram-sha-512"] {
                lines.push(format!("{guarded}.{mechanism}.sasl.jaas.config={module}.scram.ScramLoginModule required;"));
            }
        }
        if let Some((certificate, key)) = tls {
            let read = |path: &Path| std::fs::read_to_string(path).expect("a file can be read");
            let both = self.write("keystore.pem", &(read(key) + &read(certificate)));
            lines.push(format!("{guarded}.ssl.keystore.type=PEM\n{guarded}.ssl.keystore.location={}", both.display()));
        }
        if let Some(issuer) = clients_of {
            lines.push(format!("{guarded}.ssl.client.auth=required\n{guarded}.ssl.truststore.type=PEM"));
            lines.push(format!("{guarded}.ssl.truststore.location={}", issuer.display()));
        }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("a file can be written");
        path
    }
}

/// A process that ends when this is dropped and when this process exits, however it exits.
struct Running {
    id: u32,
    child: Arc<Mutex<Child>>,
    /// Lives as long as the process, which dies with the thread that started it.
    keeper: Option<JoinHandle<()>>,
    end: mpsc::Sender<()>,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // SAFETY: `prctl` is one system call, which a child may make before it becomes another program.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let (end, ends) = mpsc::channel::<()>();
        let (sender, message) = mpsc::channel();
        let keeper = std::thread::spawn(move || {
            let child = command.spawn().unwrap_or_else(|cause| panic!("cannot start {command:?}: {cause}"));
            let _ = sender.send(child);
            // A thread that is not stopped ends with this process.
            let _ = ends.recv();
        });
        let mut child = message.recv().expect("it starts");
        let (id, said) = (child.id(), Arc::new(Mutex::new(Vec::new())));
        let (mut from, to) = (child.stderr.take().expect("it is piped"), said.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                to.lock().expect("no reader panics").extend_from_slice(&buffer[..count]);
            }
        });
        Running { id, child: Arc::new(Mutex::new(child)), keeper: Some(keeper), end, said }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut child = self.child.lock().expect("nobody panics with it");
        // It may have exited already.
        let _ = child.kill();
        let _ = child.wait();
        let _ = self.end.send(());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}
