//! Local files: sources `directory` and `file`, sinks `files`, `queue`, `sqlite` and `delta`.

use super::{LineClient, of_local_files};
use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use millstream_tests::{Process, python_with, root};
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

/// What a connector does with files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Each piece is a file of a directory.
    Directory,
    /// A file that grows.
    File,
    /// A sink of files with JSON.
    Files,
    /// A sink of one file, with a batch on each line.
    Queue,
    /// A table of SQLite.
    Sqlite,
    /// A Delta table, which deltalake reads.
    Delta,
}

/// A folder with what all cases of a connector read and write.
pub struct Local {
    kind: Kind,
    dir: TempDir,
    files: AtomicUsize,
    /// Reads Delta tables; the library takes a second to start.
    reader: OnceLock<LineClient>,
}

impl Local {
    /// An empty one.
    pub fn new(kind: Kind) -> Local {
        Local {
            kind,
            dir: TempDir::new().expect("a temporary folder"),
            files: AtomicUsize::new(0),
            reader: OnceLock::new(),
        }
    }

    fn path(&self, location: &str) -> PathBuf {
        self.dir.path().join(location)
    }

    fn delta(&self, path: &Path) -> Vec<u64> {
        if !path.join("_delta_log").exists() {
            return Vec::new();
        }
        let start = || {
            let mut command = python_with("deltalake");
            LineClient::new(Process::start(command.arg(root().join("tests/servers/delta.py"))))
        };
        let numbers = self.reader.get_or_init(start).request(&path.display().to_string());
        numbers.as_array().into_iter().flatten().map(|n| n.as_u64().expect("a number")).collect()
    }
}

impl Connector for Local {
    fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Directory => "directory",
            Kind::File => "file",
            Kind::Files => "files",
            Kind::Queue => "queue",
            Kind::Sqlite => "sqlite",
            Kind::Delta => "delta",
        }
    }

    fn promise(&self) -> Promise {
        Promise::ExactlyOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        let mut skips = of_local_files();
        match self.kind {
            Kind::Directory | Kind::File => {
                skips.push((Case::Gone, "files that are deleted or shortened: `connectors::growing`"));
            }
            _ => skips.extend([(Case::Gone, "a sink has no position"), (Case::TooLong, "files have no longest row")]),
        }
        skips
    }

    fn link(&self, _: &str) -> Link {
        panic!("there is no server")
    }

    fn port(&self) -> u16 {
        OWN_PORT
    }

    fn lines(&self, target: &Target) -> String {
        let path = format!("path = \"{}\"\n", self.path(&target.location).display());
        match self.kind {
            Kind::Directory => path + "poll = \"10ms\"\n" + SCHEMA,
            Kind::File => path + "follow = true\npoll = \"10ms\"\n" + SCHEMA,
            Kind::Files => path + "format = \"json\"\n",
            Kind::Queue | Kind::Delta => path,
            Kind::Sqlite => path + "table = \"rows\"\n",
        }
    }

    fn create(&self, location: &str) {
        let path = self.path(location);
        match self.kind {
            Kind::Directory => fs::create_dir(path).expect("a folder can be made"),
            Kind::File => fs::write(path, "").expect("a file can be written"),
            Kind::Files | Kind::Queue | Kind::Sqlite | Kind::Delta => {}
        }
    }
}

impl Source for Local {
    fn send_records(&self, location: &str, records: Vec<(u64, String)>) {
        let lines: String = records.into_iter().map(|(_, record)| record + "\n").collect();
        if self.kind == Kind::File {
            let file = OpenOptions::new().append(true).open(self.path(location));
            file.and_then(|mut file| file.write_all(lines.as_bytes())).expect("a file can be written");
            return;
        }
        let name = format!("{:06}.jsonl", self.files.fetch_add(1, Ordering::Relaxed));
        let hidden = self.path(&format!(".{location}-{name}"));
        fs::write(&hidden, lines).expect("a file can be written");
        fs::rename(hidden, self.path(location).join(name)).expect("a file can be moved");
    }
}

impl Sink for Local {
    fn is_ordered(&self) -> bool {
        self.kind != Kind::Delta
    }

    fn kill_points(&self) -> Vec<&'static str> {
        match self.kind {
            Kind::Sqlite => vec!["plan.durable:2", "commit.before:2", "commit.after:2"],
            Kind::Delta => vec!["plan.durable:2", "commit.before:2", "delta.committed:2", "commit.after:2"],
            _ => vec!["plan.durable:2", "commit.before:2", "commit.written:2", "commit.after:2"],
        }
    }

    fn read(&self, location: &str) -> Vec<u64> {
        let path = self.path(location);
        match self.kind {
            Kind::Files => {
                let names = fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path());
                let mut names: Vec<PathBuf> = names.filter(|path| !is_hidden(path)).collect();
                names.sort();
                names.iter().flat_map(|path| numbers(&fs::read_to_string(path).unwrap_or_default())).collect()
            }
            Kind::Queue => {
                let text = fs::read_to_string(&path).unwrap_or_default();
                let batches = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_default());
                let rows = batches.flat_map(|batch| batch["rows"].as_array().cloned().unwrap_or_default());
                rows.map(|row| row["n"].as_u64().expect("a number")).collect()
            }
            Kind::Sqlite => table(&path),
            Kind::Delta => self.delta(&path),
            Kind::Directory | Kind::File => panic!("a source is not read"),
        }
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn numbers(text: &str) -> Vec<u64> {
    let row = |line: &str| serde_json::from_str::<Value>(line).ok()?["n"].as_u64();
    text.lines().map(|line| row(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

/// The rows of a table of SQLite, by Python's own library.
fn table(path: &Path) -> Vec<u64> {
    const PROGRAM: &str = "import sqlite3, sys\n\
        for row in sqlite3.connect(sys.argv[1]).execute('select n from rows order by rowid'): print(row[0])";
    if !path.exists() {
        return Vec::new();
    }
    let read = Process::start(Command::new("python3").args(["-c", PROGRAM]).arg(path)).wait();
    read.stdout.lines().map(|n| n.parse().expect("a number")).collect()
}
