//! A graph in words, for `millstream validate`.

mod plugin;
mod stage;
#[cfg(test)]
mod tests;

use super::Graph;
use crate::batch::types;
use crate::job::spec::{JobSpec, SourceKind, SourceSpec};
use std::fmt::Write as _;

/// Whether nobody wrote the source: it is told with its stage.
fn is_hidden(source: &SourceSpec) -> bool {
    matches!(source.kind, SourceKind::Table(_) | SourceKind::Retry { .. })
}

impl Graph {
    /// The same for processes that run the same job: with the same streams, columns, plugins and batch interval.
    pub fn digest(&self) -> u64 {
        let JobSpec { name, batch, clock, .. } = &self.spec;
        xxhash_rust::xxh3::xxh3_64(format!("{name} {batch:?} {clock:?}\n{}", self.summary()).as_bytes())
    }

    /// The graph for `millstream validate`: a line for each source, stage and sink, with its columns, and below a stage
    /// what it does.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        let columns = |name: &str| self.streams.get(name).map_or(String::new(), |schema| types::describe(schema));
        for source in self.spec.sources.iter().filter(|source| !is_hidden(source)) {
            let _ = writeln!(text, "source  {:<16} {}", source.name, columns(&source.name));
        }
        for stage in &self.stages {
            let _ = writeln!(text, "stage   {:<16} {}", stage.name, columns(&stage.name));
            for line in stage::lines(self, stage) {
                let _ = writeln!(text, "        {:<16} {line}", "");
            }
        }
        for sink in &self.spec.sinks {
            let _ = writeln!(text, "sink    {:<16} from {}", sink.name, sink.from.join(", "));
        }
        text
    }
}
