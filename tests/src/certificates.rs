//! Certificates for TLS tests, created with `openssl`.

use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A certificate authority (CA) and the certificates that it issued. The files are deleted when this is dropped.
pub struct Certificates {
    dir: TempDir,
}

impl Certificates {
    /// Creates a CA.
    pub fn make() -> Certificates {
        let made = Certificates { dir: TempDir::new().expect("a temporary folder") };
        // Two CAs with the same name would be confused.
        let name = made.dir.path().file_name().expect("it has a name").to_string_lossy().into_owned();
        made.openssl(&format!("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={} -keyout ca.key -out ca.pem", name.trim_start_matches('.')));
        made
    }

    /// The CA certificate.
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Issues a certificate and its key. `names` is for example `DNS:localhost,IP:127.0.0.1`; `days` is the validity, negative
    /// for an expired certificate.
    pub fn of(&self, name: &str, names: &str, days: i32) -> (PathBuf, PathBuf) {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name} \
             -addext subjectAltName={names} -addext basicConstraints=CA:FALSE"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -copy_extensions copy -days {days} \
             -out {name}.pem"
        ));
        (self.dir.path().join(format!("{name}.pem")), self.dir.path().join(format!("{name}.key")))
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        let ended = command.args(arguments.split_whitespace()).current_dir(self.dir.path()).output();
        let ended = ended.expect("openssl is installed");
        assert!(ended.status.success(), "{arguments}: {}", String::from_utf8_lossy(&ended.stderr));
    }

    /// Runs `openssl s_server` on this port; it sends its standard input to its clients.
    pub fn server(port: u16, (certificate, key): &(PathBuf, PathBuf), more: &[&Path]) -> Command {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}")]);
        command.arg("-cert").arg(certificate).arg("-key").arg(key);
        if let [ca] = more {
            command.args(["-Verify", "1", "-verify_return_error"]).arg("-CAfile").arg(ca);
        }
        command
    }
}
