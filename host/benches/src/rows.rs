//! The rows that jobs, and the programs compared with them, read and write: JSON of about 75 bytes each.

use crate::measure::millstream;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// A row as read by a special-purpose program.
#[derive(Deserialize, Serialize)]
pub struct Row<'a> {
    pub user: &'a str,
    pub page: &'a str,
    pub n: i64,
    pub amount: f64,
}

impl<'a> Row<'a> {
    /// Parses JSON.
    pub fn parse(json: &'a [u8]) -> Row<'a> {
        sonic_rs::from_slice(json).expect("a row")
    }

    /// Returns a number that depends on every part of a row.
    pub fn sum(&self) -> f64 {
        self.amount + (self.n + self.user.len() as i64 + self.page.len() as i64) as f64
    }
}

/// The columns of these rows, in a job.
pub const SCHEMA: &str = r#"schema = { user = "text", page = "text", n = "int64", amount = "float64" }"#;

/// Generates this number of rows.
pub fn rows(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| {
        let (user, page, n, amount) = (n % 99_991, n % 977, n + 1_000_000, n % 89 + 10);
        format!(r#"{{"user":"user-{user:06}","page":"/a/page/{page:08}","n":{n},"amount":{amount}.25}}"#)
    })
}

/// Writes a file with this number of rows.
pub fn file(dir: &Path, count: usize) -> PathBuf {
    let mut text = String::new();
    rows(count).for_each(|row| {
        let _ = writeln!(text, "{row}");
    });
    let path = dir.join("in.jsonl");
    std::fs::write(&path, text).expect("a file");
    path
}

/// Returns the lines of such a file.
pub fn lines(file: &str) -> impl Iterator<Item = String> {
    BufReader::new(File::open(file).expect("a file")).lines().map_while(Result::ok)
}

/// The start of a job. With default batches, a job of a few seconds would be idle for much of its first second.
pub const JOB: &str = "name = \"bench\"\nbatch = \"100ms\"\n[checkpoint]\ndir = \"kept\"\nevery = \"1s\"\n";

/// Returns a job that reads rows from a source of this kind with these settings, and discards them.
pub fn reading(kind: &str, settings: &str) -> String {
    format!(
        "{JOB}[sources.rows]\nkind = \"{kind}\"\n{settings}\nformat = \"json\"\n{SCHEMA}\n\
         [sinks.none]\nfrom = \"rows\"\nkind = \"nothing\"\n"
    )
}

/// Does the same for senders that wait for the start of a batch with their rows before they send more.
pub fn text_of(kind: &str, settings: &str) -> String {
    reading(kind, settings).replacen("100ms", "10ms", 1)
}

/// Returns a job that writes the rows of the file `in.jsonl` to a sink of this kind with these settings.
pub fn writing(kind: &str, settings: &str) -> String {
    format!(
        "{JOB}[sources.rows]\nkind = \"file\"\npath = \"in.jsonl\"\nformat = \"json\"\n{SCHEMA}\n\
         [sinks.out]\nfrom = \"rows\"\nkind = \"{kind}\"\n{settings}\n"
    )
}

/// Deletes the state of a job, so that it starts from scratch.
pub fn delete_state(job: &Path) {
    // It does not exist before the first run.
    let _ = std::fs::remove_dir_all(job.with_file_name("kept"));
}

/// Starts a job once and stops it after this time, so that servers know it before there is anything to read.
pub fn introduce(job: &Path, time: &str) {
    let ran = millstream(&["run", &job.to_string_lossy(), "--timeout", time]).status();
    assert!(ran.is_ok_and(|ran| ran.success()), "the job failed");
}
