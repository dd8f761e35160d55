//! Describes a graph, for `millstream validate`.

mod plugin;
mod stage;
#[cfg(test)]
mod tests;

use super::Graph;
use millstream_base::secrets;
use millstream_job::spec::JobSpec;
use millstream_rows::batch::types;
use std::fmt::Write as _;

impl Graph {
    /// Returns the same value in all processes that run the same job: with the same streams, columns, plugins, batch interval and values of
    /// variables.
    pub fn digest(&self) -> u64 {
        let JobSpec { name, batch, clock, .. } = &self.spec;
        xxhash_rust::xxh3::xxh3_64(format!("{name} {batch:?} {clock:?}\n{}", self.render()).as_bytes())
    }

    /// Describes the graph for `millstream validate`: a line for each source, stage and sink, with its columns, and a description below each stage.
    pub fn summary(&self) -> String {
        secrets::hide(&self.render()).into_owned()
    }

    /// Does the same, including the values of variables.
    fn render(&self) -> String {
        let mut text = String::new();
        let columns = |name: &str| self.streams.get(name).map_or(String::new(), |schema| types::describe(schema));
        for source in self.spec.sources.iter().filter(|source| !source.kind.is_hidden()) {
            let _ = writeln!(text, "source  {:<16} {}", source.name, columns(&source.name));
            if let Some(promise) = source.kind.promise() {
                let _ = writeln!(text, "        {:<16} {promise}", "");
            }
        }
        for stage in &self.stages {
            let _ = writeln!(text, "stage   {:<16} {}", stage.name, columns(&stage.name));
            for line in stage::lines(self, stage) {
                let _ = writeln!(text, "        {:<16} {line}", "");
            }
        }
        for sink in &self.spec.sinks {
            let _ = writeln!(text, "sink    {:<16} from {}", sink.name, sink.from.join(", "));
            if let Some(node) = self.writers.get(&sink.name) {
                for line in node.node().lines() {
                    let _ = writeln!(text, "        {:<16} {line}", "");
                }
            }
            for promise in sink.kind.promises() {
                let _ = writeln!(text, "        {:<16} {promise}", "");
            }
        }
        text
    }
}
