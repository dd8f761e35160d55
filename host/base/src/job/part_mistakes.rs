//! Where the mistakes of one part of a job go.

use super::mistakes::Mistakes;
use super::spec::JobSpec;

/// Where the mistakes of one source, stage or sink go.
pub struct PartMistakes<'a> {
    pub(super) path: String,
    pub(super) words: String,
    pub(super) job: &'a JobSpec,
    pub(super) mistakes: &'a Mistakes,
}

impl PartMistakes<'_> {
    /// Of several places where a key may stand the one where it does; in a job that a program built the first.
    pub fn place<'k>(&self, places: [&'k str; 2]) -> &'k str {
        let stands = |place: &str| self.job.origin.lines.contains_key(&format!("{}.{place}", self.path));
        if stands(places[1]) { places[1] } else { places[0] }
    }

    /// Notes a mistake in the value of a key, unless it could not be read.
    pub fn wrong(&self, key: &str, message: impl Into<String>) {
        self.mistakes.add_new(format!("{}.{key}", self.path), &self.words, message);
    }
}
