//! A real PostgreSQL server in its own directory. It needs nothing else of this crate, so that tests of the host can use it, too.

use super::ports::free_port;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(60);
/// Settings of psql, so that it ends with an error where the server does not respond, or a statement waits for a lock.
const NO_LONGER: [(&str, &str); 2] = [("PGCONNECT_TIMEOUT", "120"), ("PGOPTIONS", "-c statement_timeout=120s")];

/// A server that dies with its handle. User `me` with the password [`Postgres::PASSWORD`] may do everything.
pub struct Postgres {
    dir: TempDir,
    programs: PathBuf,
    /// The user and group that it runs as: it does not run as root.
    user: Option<(u32, u32)>,
    port: u16,
    server: Option<Child>,
    /// More settings of the server.
    settings: Vec<String>,
}

impl Postgres {
    /// A password with all that URLs dislike.
    pub const PASSWORD: &str = "p@ss/w:rd%";

    /// Makes a server and starts it.
    ///
    /// # Panics
    /// Where PostgreSQL is not installed, or does not start.
    pub fn start() -> Postgres {
        Self::start_with(&[])
    }

    /// Starts a server with these settings, as `name=value`.
    ///
    /// # Panics
    /// As above.
    pub fn start_with(settings: &[&str]) -> Postgres {
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let dir = TempDir::new().expect("a temporary folder");
        let root = id("-u", None) == Some(0);
        let user = root.then(|| {
            let of = |what| id(what, Some("postgres")).expect("Debian's package makes the user `postgres`");
            (of("-u"), of("-g"))
        });
        if let Some((uid, gid)) = user {
            chown(dir.path(), Some(uid), Some(gid)).expect("root may give folders away");
        }
        let mut postgres = Postgres { dir, programs: programs(), user, port: free_port(), server: None, settings };
        let password = postgres.dir.path().join("password");
        std::fs::write(&password, Self::PASSWORD).expect("a file can be written");
        let mut make = postgres.command("initdb");
        make.args(["--no-sync", "--auth=scram-sha-256", "--username=me", "--encoding=UTF8", "--no-locale", "--pwfile"]);
        let made = make.arg(password).arg("-D").arg(postgres.data()).output().expect("initdb starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        postgres.start_again();
        postgres
    }

    /// Starts the server that was stopped, on the same port.
    pub fn start_again(&mut self) {
        let port = self.port.to_string();
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &port, "-h", "127.0.0.1", "-c", "fsync=off"]);
        command.arg("-k").arg(self.dir.path());
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        self.server = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("postgres starts"));
        let start = Instant::now();
        while self.try_sql("select 1").is_err() {
            assert!(start.elapsed() < DEADLINE, "PostgreSQL did not start: {:?}", self.try_sql("select 1"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts the server again with TLS, with this certificate and key.
    pub fn speak_tls(&mut self, (certificate, key): &(PathBuf, PathBuf)) {
        self.stop();
        self.settings.retain(|setting| !setting.starts_with("ssl"));
        self.settings.push("ssl=on".into());
        for (from, name, setting) in [(certificate, "server.pem", "ssl_cert_file"), (key, "server.key", "ssl_key_file")]
        {
            let to = self.dir.path().join(name);
            let bytes = std::fs::read(from).expect("a file can be read");
            std::fs::write(&to, bytes).expect("a file can be written");
            std::fs::set_permissions(&to, Permissions::from_mode(0o600)).expect("a mode can be set");
            if let Some((uid, gid)) = self.user {
                chown(&to, Some(uid), Some(gid)).expect("root may give files away");
            }
            self.settings.push(format!("{setting}={}", to.display()));
        }
        self.start_again();
    }

    /// Stops the server immediately, as a crash does: open transactions are rolled back when it restarts.
    pub fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        // SIGQUIT also ends its children.
        let message = Command::new("kill").args(["-QUIT", &server.id().to_string()]).status();
        if !message.is_ok_and(|status| status.success()) {
            let _ = server.kill();
        }
        let _ = server.wait();
    }

    /// The database, with `${PW}` for the password.
    pub fn url(&self) -> String {
        format!("postgres://me:${{PW}}@127.0.0.1:{}/postgres", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs SQL. Returns rows as lines, with columns separated by `|`.
    ///
    /// # Panics
    /// If the server reports an error.
    pub fn sql(&self, text: &str) -> String {
        self.try_sql(text).unwrap_or_else(|message| panic!("{text}: {message}"))
    }

    /// The same; returns the server's error.
    pub fn try_sql(&self, text: &str) -> Result<String, String> {
        let mut command = Command::new(self.programs.join("psql"));
        command.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-U",
            "me",
            "-d",
            "postgres",
        ]);
        command.args(["-p", &self.port.to_string(), "-c", text]).env("PGPASSWORD", Self::PASSWORD).envs(NO_LONGER);
        let ended = command.output().expect("psql starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if ended.status.success() { Ok(text(&ended.stdout)) } else { Err(text(&ended.stderr)) }
    }

    /// Returns a command for one of PostgreSQL's own programs, as user `me` of this server.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.args(["-h", "127.0.0.1", "-U", "me", "-d", "postgres", "-p", &self.port.to_string()]);
        command.env("PGPASSWORD", Self::PASSWORD);
        command
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The directory of the newest installed version.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").map(|found| found.flatten().collect::<Vec<_>>());
    let newest = versions.unwrap_or_default().into_iter().map(|entry| entry.path().join("bin"));
    let newest = newest.filter(|dir| dir.join("initdb").is_file()).max();
    newest.expect("PostgreSQL is installed; `make setup` installs it")
}

fn id(what: &str, user: Option<&str>) -> Option<u32> {
    let message = Command::new("id").arg(what).args(user).output().ok()?;
    String::from_utf8(message.stdout).ok()?.trim().parse().ok()
}
