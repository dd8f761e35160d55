//! The errors of one part of a job.

use super::errors::JobErrors;
use super::spec::JobSpec;

/// Collects the errors of one source, stage or sink.
pub struct PartErrors<'a> {
    pub(super) path: String,
    pub(super) part: String,
    pub(super) job: &'a JobSpec,
    pub(super) errors: &'a JobErrors,
}

impl PartErrors<'_> {
    /// Returns which of several possible paths of a key exists; in a job that a program built, the first.
    pub fn existing_path<'k>(&self, paths: [&'k str; 2]) -> &'k str {
        let exists = |path: &str| self.job.origin.lines.contains_key(&format!("{}.{path}", self.path));
        if exists(paths[1]) { paths[1] } else { paths[0] }
    }

    /// Adds an error in the value of a key, unless it could not be read.
    pub fn wrong(&self, key: &str, message: impl Into<String>) {
        self.errors.add_new(format!("{}.{key}", self.path), &self.part, message);
    }
}
