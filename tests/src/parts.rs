//! Job files, and parts of them, that many tests write.

use crate::Trial;

/// A sink of test batches: the rows of the stream `from`, in `<file>.jsonl`.
pub fn queue_sink(name: &str, from: &str, file: &str) -> String {
    format!("[sinks.{name}]\nfrom = \"{from}\"\nkind = \"queue\"\npath = \"{file}.jsonl\"\n")
}

/// A source of test batches with these columns, in `<name>.jsonl`.
pub fn queue_source(name: &str, schema: &str) -> String {
    format!("[sources.{name}]\nkind = \"queue\"\npath = \"{name}.jsonl\"\nschema = {{ {schema} }}\n")
}

/// A job with two workers that passes the rows of the source `in` to `out.jsonl`. `keys` come first in the job file, `more` last.
pub fn passing(keys: &str, source: &str, more: &str) -> Trial {
    let out = queue_sink("out", "in", "out");
    Trial::new(&format!("workers = 2\n{keys}\n[sources.in]\n{source}\n{out}{more}"))
}

/// A job with one stage `made`, in line 8, over the test batches of a source in `input.jsonl`. Its rows go to `out.jsonl`.
pub fn one_stage(source: &str, schema: &str, stage: &str) -> Trial {
    let out = queue_sink("out", "made", "out");
    let source = format!("[sources.{source}]\nkind = \"queue\"\npath = \"input.jsonl\"\nschema = {{ {schema} }}\n")
        + &format!("\n[stages.made]\nfrom = \"{source}\"\n");
    Trial::new(&format!("clock = \"manual\"\n\n{source}{stage}\n\n{out}"))
}
