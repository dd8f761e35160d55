//! A job of the suite. Nothing that it shows or writes may hold a password.

use super::connector::{Connector, GUESS, Target};
use millstream_tests::{Ended, Process, Trial};
use std::path::{Path, PathBuf};

/// A job in a folder of its own.
pub struct Job {
    trial: Trial,
    environment: Vec<(String, String)>,
    secrets: Vec<String>,
}

impl Job {
    /// One with this job file, which knows the password.
    pub fn new(connector: &dyn Connector, target: &Target, text: &str) -> Job {
        Job::with_password(connector, target, text, connector.secret())
    }

    /// The same with this password.
    pub fn with_password(connector: &dyn Connector, target: &Target, text: &str, password: &str) -> Job {
        let environment = connector.environment(target, password);
        let secrets = vec![connector.secret().to_owned(), GUESS.to_owned()];
        Job { trial: Trial::new(text), environment, secrets }
    }

    /// Its folder.
    pub fn trial(&self) -> &Trial {
        &self.trial
    }

    /// Starts it in one process.
    pub fn start(&self, arguments: &[&str]) -> Process {
        self.start_with_faults("", arguments)
    }

    /// The same with these faults.
    pub fn start_with_faults(&self, faults: &str, arguments: &[&str]) -> Process {
        let mut command = self.trial.isolated_command(&[&["run", "job.toml", "--unsupervised"], arguments].concat());
        command.envs(self.environment.iter().cloned()).env("MILLSTREAM_TEST_FAULT", faults);
        Process::start(&mut command)
    }

    /// Waits until it ends on its own.
    #[track_caller]
    pub fn wait(&self, process: Process) -> Ended {
        let ended = process.wait();
        self.check_secrets(&format!("{}{}", ended.stdout, ended.stderr));
        ended
    }

    /// Waits until it ends on its own, without an error.
    #[track_caller]
    pub fn wait_well(&self, process: Process) -> Ended {
        let ended = self.wait(process);
        assert_eq!(ended.code, Some(0), "signal {:?}: {}", ended.signal, ended.stderr);
        ended
    }

    /// Waits until it fails; what it says.
    #[track_caller]
    pub fn fails(&self) -> String {
        let ended = self.wait(self.start(&[]));
        assert!(matches!(ended.code, Some(1 | 2)), "{:?}: {}", ended.code, ended.stderr);
        ended.stderr
    }

    /// Stops it in order.
    #[track_caller]
    pub fn stop(&self, mut process: Process) -> Ended {
        process.wait_until("it has begun", |process| process.stderr().contains(" batch "));
        process.signal("TERM");
        self.wait_well(process)
    }

    /// What `status --json` shows of it while it runs.
    #[track_caller]
    pub fn check_status(&self) {
        let mut command = self.trial.isolated_command(&["status", "job.toml", "--json"]);
        let ended = Process::start(command.envs(self.environment.iter().cloned())).wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        self.check_secrets(&format!("{}{}", ended.stdout, ended.stderr));
    }

    /// Neither this text nor a file in the job's folder holds a password.
    #[track_caller]
    pub fn check_secrets(&self, shown: &str) {
        for secret in &self.secrets {
            assert!(!shown.contains(secret), "a password is shown: {shown}");
            let found = file_with(self.trial.dir(), secret.as_bytes());
            assert!(found.is_none(), "a password is in {found:?}");
        }
    }
}

/// A file below a folder that holds these bytes.
pub fn file_with(dir: &Path, bytes: &[u8]) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).find_map(|path| match path.is_dir() {
        true => file_with(&path, bytes),
        false => {
            let content = std::fs::read(&path).unwrap_or_default();
            content.windows(bytes.len()).any(|part| part == bytes).then_some(path)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_file_is_found() {
        let trial = Trial::new("");
        trial.write("kept/state/a", b"before s3cret behind");
        assert_eq!(file_with(trial.dir(), b"s3cret"), Some(trial.path("kept/state/a")));
        assert_eq!(file_with(trial.dir(), b"other"), None);
    }
}
