//! The mistakes of one job, gathered so that its author sees all of them at once.

use super::spec::Origin;
use crate::error::{Error, Result};
use crate::limits::JOB_MISTAKES_SHOWN;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// What is wrong with a job so far.
#[derive(Default)]
pub(super) struct Mistakes {
    list: RefCell<Vec<Mistake>>,
}

struct Mistake {
    /// Dotted path of the key, for its line.
    path: String,
    /// The part of the job that it is about, as ``stage `words`: ``.
    part: String,
    /// What is wrong and what to write instead.
    message: String,
}

impl Mistakes {
    /// Notes a mistake.
    pub fn add(&self, path: impl Into<String>, part: &str, message: impl Into<String>) {
        let mistake = Mistake { path: path.into(), part: part.into(), message: message.into() };
        self.list.borrow_mut().push(mistake);
    }

    /// Notes what follows from the meaning of a key, unless reading this key failed already: then it is a consequence.
    pub fn add_new(&self, path: String, part: &str, message: impl Into<String>) {
        if !self.list.borrow().iter().any(|m| m.path == path) {
            self.add(path, part, message);
        }
    }

    /// Whether something is wrong with this key or one below it.
    pub fn within(&self, path: &str) -> bool {
        self.list.borrow().iter().any(|m| m.path.strip_prefix(path).is_some_and(|r| r.is_empty() || r.starts_with('.')))
    }

    /// Whether more than can be shown has been found, so that looking on is of no use.
    pub fn full(&self) -> bool {
        self.list.borrow().len() > JOB_MISTAKES_SHOWN
    }

    /// An error with a line for each mistake, in the order of the file; `sets` are the paths that `--set` gave.
    pub fn result(self, origin: &Origin, sets: &BTreeSet<String>) -> Result<()> {
        let mut list = self.list.into_inner();
        if list.is_empty() {
            return Ok(());
        }
        list.sort_by_key(|m| if set_of(&m.path, sets).is_some() { 0 } else { line_of(&m.path, origin) });
        let count = list.len();
        let mut lines: Vec<String> = list.iter().take(JOB_MISTAKES_SHOWN).map(|m| line(m, origin, sets)).collect();
        if count > JOB_MISTAKES_SHOWN {
            lines.push("more errors follow; fix these first".into());
        }
        Err(Error::job(lines.join("\n")))
    }
}

fn line(mistake: &Mistake, origin: &Origin, sets: &BTreeSet<String>) -> String {
    let place = match set_of(&mistake.path, sets) {
        Some(set) => format!("--set {set}: "),
        None => origin.at(&mistake.path),
    };
    format!("{place}{}{}", mistake.part, mistake.message)
}

/// The path itself or the nearest one around it that `--set` gave.
fn set_of<'a>(mut path: &'a str, sets: &BTreeSet<String>) -> Option<&'a str> {
    loop {
        if sets.contains(path) {
            return Some(path);
        }
        path = &path[..path.rfind('.')?];
    }
}

/// The line of the path or of the nearest table around it; 0 where there is none.
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
