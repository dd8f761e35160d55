//! A job in its own directory.

use crate::{Ended, Process, hosts, millstream, root};
use serde_json::Value;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A temporary directory with a job file and its other files.
pub struct Trial {
    dir: TempDir,
}

impl Trial {
    /// Creates a directory with this text as `job.toml`.
    pub fn new(job: &str) -> Trial {
        let trial = Trial { dir: TempDir::new().expect("a temporary folder") };
        trial.write("job.toml", job);
        trial
    }

    /// Copies a directory of `tests/checkpoints`, which an earlier version wrote.
    pub fn from_checkpoint(name: &str) -> Trial {
        let trial = Trial { dir: TempDir::new().expect("a temporary folder") };
        let from = crate::root().join("tests/checkpoints").join(name);
        let mut dirs = vec![from.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(&dir).expect("it is there") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    let name = path.strip_prefix(&from).ok().and_then(Path::to_str).expect("a name");
                    trial.write(name, std::fs::read(&path).expect("it can be read"));
                }
            }
        }
        trial
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file in the directory and creates its parent directories.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("it lies in the folder")).expect("a folder can be made");
        std::fs::write(&path, content).expect("a file can be written");
        path
    }

    /// Replaces one text of the job file.
    #[track_caller]
    pub fn change(&self, from: &str, to: &str) {
        let text = self.text("job.toml");
        assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
        self.write("job.toml", text.replace(from, to));
    }

    /// Moves a file into the directory `name` atomically, as producers should.
    pub fn move_in(&self, name: &str, content: impl AsRef<[u8]>) {
        let written = self.write(&format!("outside/{}", name.replace('/', "-")), content);
        std::fs::rename(written, self.path(name)).expect("a file can be moved");
    }

    /// Returns a command of the program in this directory, without colors in log lines.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(millstream());
        command.args(arguments).current_dir(self.dir());
        command
    }

    /// The same with sockets, store and settings in this directory, separate from other jobs.
    pub fn isolated_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command.env("XDG_RUNTIME_DIR", self.dir());
        command.env("MILLSTREAM_CONFIG", self.path("config")).env("MILLSTREAM_STORE", self.path("store"));
        command
    }

    /// Runs such a command to its end.
    pub fn run_command(&self, arguments: &[&str]) -> Ended {
        Process::start(&mut self.isolated_command(arguments)).wait()
    }

    /// Runs such a command that does without an error, to its end; its standard output.
    #[track_caller]
    pub fn run_command_ok(&self, arguments: &[&str]) -> String {
        let ended = self.run_command(arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
        ended.stdout
    }

    /// Starts `millstream run job.toml` with these arguments appended.
    pub fn start(&self, arguments: &[&str]) -> Process {
        Process::start(&mut self.command(&[&["run", "job.toml"], arguments].concat()))
    }

    /// Starts the job with this number of processes and workers per process.
    pub fn start_processes(&self, processes: usize, workers: impl Display) -> Process {
        let (number, workers, addresses) = (processes.to_string(), workers.to_string(), hosts(processes));
        let alone = ["--workers", &workers];
        let together = ["--workers", &workers, "--processes", &number, "--hosts", &addresses];
        self.start(if processes == 1 { &alone } else { &together })
    }

    /// Runs the job to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).wait()
    }

    /// Runs a job that does without an error, to its end.
    pub fn run_ok(&self, arguments: &[&str]) -> Ended {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        ended
    }

    /// Starts the job without a supervisor, with these faults.
    pub fn start_with_faults(&self, faults: &str, arguments: &[&str]) -> Process {
        let mut command = self.command(&[&["run", "job.toml", "--unsupervised"], arguments].concat());
        Process::start(command.env("MILLSTREAM_TEST_FAULT", faults))
    }

    /// Runs the job until it kills itself at a step.
    #[track_caller]
    pub fn killed(&self, step: &str, arguments: &[&str]) -> Ended {
        let ended = self.start_with_faults(&format!("kill@{step}"), arguments).wait();
        assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
        ended
    }

    /// Runs a command that is rejected before anything starts, and returns its message. It must exit with 2 and write nothing
    /// else on standard output or standard error.
    pub fn rejected_message(&self, arguments: &[&str]) -> String {
        let ended = Process::start(self.command(arguments).env("MILLSTREAM_LOG", "off")).wait();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
        // Both are elsewhere on every machine.
        let output = ended.stderr.replace(&self.dir().display().to_string(), "TRIAL");
        output.replace(&root().display().to_string(), "PROJECT")
    }

    /// Removes the file of a `queue` sink and its marker, as a user does before a job starts from scratch.
    pub fn remove_queue(&self, path: &str) {
        for name in [path.to_owned(), format!("{path}.millstream")] {
            std::fs::remove_file(self.dir().join(name)).unwrap();
        }
    }

    /// The text of a file in the directory; empty if it does not exist.
    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The batches that a `queue` sink has written so far.
    pub fn batches(&self, name: &str) -> Vec<Value> {
        let text = self.text(name);
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete.lines().map(|line| serde_json::from_str(line).expect("a queue sink writes JSON")).collect()
    }

    /// All rows that a `queue` sink has written so far.
    pub fn rows(&self, name: &str) -> Vec<Value> {
        let rows = |batch: Value| batch["rows"].as_array().cloned().expect("a batch has rows");
        self.batches(name).into_iter().flat_map(rows).collect()
    }

    /// The strings in the column `value` of these rows.
    pub fn values(&self, name: &str) -> Vec<String> {
        self.rows(name).iter().map(|row| row["value"].as_str().expect("a text").to_owned()).collect()
    }
}
