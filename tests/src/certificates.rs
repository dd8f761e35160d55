//! Certificates for tests of TLS, made with `openssl`.

use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// An issuer, and certificates that it made. Files go with the handle.
pub struct Certificates {
    dir: TempDir,
}

impl Certificates {
    /// An issuer.
    pub fn make() -> Certificates {
        let made = Certificates { dir: TempDir::new().expect("a temporary folder") };
        // Two issuers of one name would be taken for each other.
        let name = made.dir.path().file_name().expect("it has a name").to_string_lossy().into_owned();
        made.openssl(&format!("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={} -keyout ca.key -out ca.pem", name.trim_start_matches('.')));
        made
    }

    /// The issuer's certificate.
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate and its key: `names` as `DNS:localhost,IP:127.0.0.1`; `days`: how long it is good, less than none for one
    /// that has expired.
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

    /// `openssl s_server` on this port, which sends what it is told to whoever connects.
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
