//! A real OCI registry, with and without a login and TLS.

use crate::{Process, free_port};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A registry on a port of 127.0.0.1 with its own directory. It exits when this is dropped.
pub struct RegistryServer {
    _process: Process,
    dir: TempDir,
    port: u16,
}

/// The access control of a registry.
#[derive(Clone, Copy, Debug, Default)]
pub struct RegistryOptions {
    /// Only [`RegistryServer::USER`] has access.
    pub login: bool,
    /// It uses TLS, with a certificate of its own CA ([`RegistryServer::authority`]).
    pub tls: bool,
}

impl RegistryServer {
    /// The user of a registry with a login.
    pub const USER: &str = "alice";
    /// The password of the user.
    pub const PASSWORD: &str = "secret";
    /// The bcrypt hash of the password, as registries store it.
    const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";

    /// Starts a registry without access control and waits until it responds.
    pub fn start() -> RegistryServer {
        RegistryServer::with(RegistryOptions::default())
    }

    /// Starts a server and waits until it responds.
    pub fn with(options: RegistryOptions) -> RegistryServer {
        let dir = TempDir::new().expect("a temporary folder");
        let port = free_port();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            path("data")
        );
        if options.tls {
            certify(dir.path());
            config += &format!("  tls:\n    certificate: {}\n    key: {}\n", path("server.pem"), path("server.key"));
        }
        if options.login {
            let users = format!("{}:{}\n", RegistryServer::USER, RegistryServer::HASH);
            std::fs::write(path("users"), users).expect("a file can be written");
            config += &format!("auth:\n  htpasswd:\n    realm: tests\n    path: {}\n", path("users"));
        }
        std::fs::write(path("config.yml"), config).expect("a file can be written");
        let mut command = Command::new("docker-registry");
        let mut process =
            Process::start(command.arg("serve").arg(path("config.yml")).env("OTEL_TRACES_EXPORTER", "none"));
        process.wait_until("the registry listens", |_| TcpStream::connect(("127.0.0.1", port)).is_ok());
        RegistryServer { _process: process, dir, port }
    }

    /// Host and port.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Its address, in the format of `--registry`.
    pub fn url(&self) -> String {
        format!("oci://{}/team", self.host())
    }

    /// The certificate of the authority that its own is of.
    pub fn authority(&self) -> PathBuf {
        self.dir.path().join("authority.pem")
    }

    /// The directory with everything that was pushed.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Creates a directory for `DOCKER_CONFIG` with this login.
    pub fn docker_config(&self, user: &str, password: &str) -> TempDir {
        let dir = TempDir::new().expect("a temporary folder");
        let auth = base64(format!("{user}:{password}").as_bytes());
        let config = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, self.host());
        std::fs::write(dir.path().join("config.json"), config).expect("a file can be written");
        dir
    }
}

/// Makes an authority and a certificate of it for this machine.
fn certify(dir: &Path) {
    let names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
    std::fs::write(dir.join("names"), names).expect("a file can be written");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -batch";
    let steps = [
        format!("req -x509 {key} -days 2 -subj /CN=tests -keyout authority.key -out authority.pem"),
        format!("req {key} -subj /CN=localhost -keyout server.key -out server.csr"),
        "x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 -extfile names -out server.pem"
            .to_owned(),
    ];
    for step in steps {
        let done = Command::new("openssl").args(step.split(' ')).current_dir(dir).output().expect("openssl starts");
        assert!(done.status.success(), "openssl {step}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// Encodes bytes for HTTP `Basic` authentication.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |three: &[u8]| -> String {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        let digit =
            |at: usize| if at > three.len() { '=' } else { DIGITS[bits as usize >> (18 - 6 * at) & 63] as char };
        (0..4).map(digit).collect()
    };
    bytes.chunks(3).map(digits).collect()
}
