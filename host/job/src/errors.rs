//! The errors of one job, collected so that its author sees all of them together.

use super::spec::Origin;
use millstream_base::error::{Error, Result};
use millstream_base::limits::JOB_ERRORS_SHOWN;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// The errors of a job so far.
#[derive(Default)]
pub(super) struct JobErrors {
    list: RefCell<Vec<JobError>>,
}

struct JobError {
    /// Dotted path of the key, for its line.
    path: String,
    /// The part of the job that it is about, for example ``stage `words`: ``.
    part: String,
    /// What is wrong and what to write instead.
    message: String,
}

impl JobErrors {
    /// Adds an error.
    pub fn add(&self, path: impl Into<String>, part: &str, message: impl Into<String>) {
        let error = JobError { path: path.into(), part: part.into(), message: message.into() };
        self.list.borrow_mut().push(error);
    }

    /// Adds an error about the meaning of a key, unless reading this key failed already: then it is a consequence.
    pub fn add_new(&self, path: String, part: &str, message: impl Into<String>) {
        if !self.list.borrow().iter().any(|m| m.path == path) {
            self.add(path, part, message);
        }
    }

    /// Returns whether there is an error in this key or one below it.
    pub fn within(&self, path: &str) -> bool {
        self.list.borrow().iter().any(|m| m.path.strip_prefix(path).is_some_and(|r| r.is_empty() || r.starts_with('.')))
    }

    /// Returns whether there are more errors than can be shown, so that further checks are useless.
    pub fn full(&self) -> bool {
        self.list.borrow().len() > JOB_ERRORS_SHOWN
    }

    /// Returns an error with one line per entry, in the order of the file; `sets` are the paths that `--set` changed.
    pub fn result(self, origin: &Origin, sets: &BTreeSet<String>) -> Result<()> {
        let mut list = self.list.into_inner();
        if list.is_empty() {
            return Ok(());
        }
        list.sort_by_key(|m| if set_of(&m.path, sets).is_some() { 0 } else { line_of(&m.path, origin) });
        let count = list.len();
        let mut lines: Vec<String> = list.iter().take(JOB_ERRORS_SHOWN).map(|m| line(m, origin, sets)).collect();
        if count > JOB_ERRORS_SHOWN {
            lines.push("more errors follow; fix these first".into());
        }
        Err(Error::job(lines.join("\n")))
    }
}

fn line(error: &JobError, origin: &Origin, sets: &BTreeSet<String>) -> String {
    let line = match set_of(&error.path, sets) {
        Some(set) => format!("--set {set}: "),
        None => origin.at(&error.path),
    };
    format!("{line}{}{}", error.part, error.message)
}

/// Returns the path itself or the nearest one around it that `--set` changed.
fn set_of<'a>(mut path: &'a str, sets: &BTreeSet<String>) -> Option<&'a str> {
    loop {
        if sets.contains(path) {
            return Some(path);
        }
        path = &path[..path.rfind('.')?];
    }
}

/// Returns the line of the path or of the nearest table around it; 0 if there is none.
fn line_of(mut path: &str, origin: &Origin) -> usize {
    loop {
        if let Some(line) = origin.lines.get(path) {
            return *line;
        }
        match path.rfind('.') {
            Some(dot) => path = &path[..dot],
            None => return 0,
        }
    }
}
