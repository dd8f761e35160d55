//! The job file: reading, checking, and the typed job that the rest works with.
//!
//! All errors of a job are reported together, one per line: where, what it is about, what is wrong, and what to write instead.

pub mod build;
mod check;
mod columns;
mod changes;
pub mod connector;
pub mod database;
mod document;
mod file;
mod graph;
pub mod http_url;
pub mod keys;
mod errors;
mod names;
mod part_errors;
pub mod parts;
pub mod plugin_part;
mod read;
mod records;
pub mod replaced;
pub mod retry_source;
mod schema;
#[cfg(feature = "sql")]
mod standing_query;
pub mod spec;
pub mod stage;
#[cfg(feature = "sql")]
pub mod syntax;
pub mod table;
mod tls;
mod variables;
pub mod table_source;

pub use changes::{changes_rows, is_of_changes};
pub use names::query_of;
pub use names::stream;
pub use part_errors::PartErrors;

use connector::Kinds;
use document::Document;
use errors::JobErrors;
use millstream_base::error::{Error, Result};
use millstream_base::limits::JOB_FILE_BYTES_MAX;
use spec::JobSpec;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

/// Reads and checks a job file with these `kinds` of sources and sinks. `sets` are keys (`sources.lines.address`) and values that replace those of
/// the file. Every error is of kind [`Job`](millstream_base::error::Kind::Job).
pub fn load(path: &Path, kinds: &Kinds, sets: &[(String, String)]) -> Result<JobSpec> {
    let text = read_text(path)?;
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    parse(&text, kinds, path, dir, sets)
}

/// Reads and checks the text of a job file: `file` is its name for messages; relative paths start from `dir`.
pub fn parse(text: &str, kinds: &Kinds, file: &Path, dir: &Path, sets: &[(String, String)]) -> Result<JobSpec> {
    parse_as(text, kinds, (file, dir), sets, Version::default())
}

/// The meaning of a string in the version of Millstream for which it was written.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    /// Numbers in a `timestamp` need a unit; before, they were microseconds by default.
    pub requires_units: bool,
    /// `${NAME}` is an environment variable.
    pub has_variables: bool,
}

impl Default for Version {
    fn default() -> Version {
        Version { requires_units: true, has_variables: true }
    }
}

/// Like [`parse`], for a string of some version.
pub fn parse_as(
    text: &str,
    kinds: &Kinds,
    (file, dir): (&Path, &Path),
    sets: &[(String, String)],
    version: Version,
) -> Result<JobSpec> {
    let mut document = document(text, file, sets)?;
    if version.has_variables {
        document.put_values(file, dir)?;
    }
    if !version.requires_units {
        document.write_micros();
    }
    read_document(document, kinds, file, dir)
}

/// Checks a job that the command of this name built from its arguments. `sets` are keys and values that replace what it wrote. Errors have no line
/// numbers, as no user sees such a string.
pub fn of_command(name: &str, text: &str, kinds: &Kinds, dir: &Path, sets: &[(String, String)]) -> Result<JobSpec> {
    let file = Path::new(name);
    let mut document = document(text, file, sets)?;
    document.lines.clear();
    document.put_values(file, dir)?;
    let mut job = read_document(document, kinds, file, dir)?;
    job.origin.file = None;
    Ok(job)
}

fn document(text: &str, file: &Path, sets: &[(String, String)]) -> Result<Document> {
    let mut document = document::read(text, file)?;
    document.set_all(sets)?;
    Ok(document)
}

/// Checks a job that was built from the file of a plugin's case. `paths_of` maps a path of that file to paths of the job; errors
/// have the lines of that file.
pub fn of_plugin_case(
    text: &str,
    kinds: &Kinds,
    (file, of): (&Path, &str),
    dir: &Path,
    paths_of: impl Fn(&str) -> Vec<String>,
) -> Result<JobSpec> {
    let mut document = document::read(text, file)?;
    let lines = document::read(of, file)?.lines;
    document.lines =
        lines.into_iter().flat_map(|(path, line)| paths_of(&path).into_iter().map(move |of| (of, line))).collect();
    read_document(document, kinds, file, dir)
}

fn read_document(document: Document, kinds: &Kinds, file: &Path, dir: &Path) -> Result<JobSpec> {
    let parts = ["sources", "stages", "sinks"].map(|section| document.table.get(section)?.as_table().map(|t| t.len()));
    let count = graph::count(parts.into_iter().flatten().sum());
    count.map_err(|message| Error::job(format!("{}: {message}", file.display())))?;
    let errors = JobErrors::default();
    #[cfg_attr(not(feature = "sql"), allow(unused_mut))]
    let mut job = read::job(&document, kinds, file, dir, &errors);
    check::parts(&job, &errors);
    #[cfg(feature = "sql")]
    standing_query::split(&mut job, &errors);
    // A key such as `source` may be a misspelled section of parts; then an error about missing parts would only confuse.
    if document.table.keys().all(|key| file::KEYS.iter().any(|known| known.name == key)) {
        graph::check(&job, &errors);
        changes::check(&job, &errors);
        replaced::check(&job, &errors);
    }
    errors.result(&job.origin, &document.sets)?;
    Ok(job)
}

/// Splits queries over all rows into the stages that update them, in a job that a program built.
pub fn split_queries(job: &mut JobSpec) -> Result<()> {
    let errors = JobErrors::default();
    #[cfg(feature = "sql")]
    standing_query::split(job, &errors);
    errors.result(&job.origin, &BTreeSet::new())
}

/// Passes to each source of changes the columns by which rows of its tables are kept.
pub fn note_keys_of_changes(job: &mut JobSpec) {
    changes::note_keys(job);
}

/// Checks a job that a program built, in the same way as one from a file.
pub fn check(job: &JobSpec) -> Result<()> {
    let errors = JobErrors::default();
    check::parts(job, &errors);
    graph::check(job, &errors);
    changes::check(job, &errors);
    replaced::check(job, &errors);
    errors.result(&job.origin, &BTreeSet::new())
}

/// Returns the stages of a job, as indexes, each after all that it reads. Fails for a cycle.
pub fn order(job: &JobSpec) -> Result<Vec<usize>> {
    graph::order(job)
}

/// Returns the JSON Schema of the job file, for editors.
pub fn schema(kinds: &Kinds) -> serde_json::Value {
    schema::job(kinds)
}

/// Returns the complete file as text, up to the size limit.
pub fn read_text(path: &Path) -> Result<String> {
    let name = path.display();
    let wrong = |message: String| Error::job(format!("{name}: {message}"));
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => wrong("file not found; give the path of a job file".into()),
        _ => wrong(format!("the job file cannot be read: {error}; check the path and its permissions")),
    };
    if path.is_dir() {
        return Err(wrong("this is a directory; give the path of a job file, for example job.toml in it".into()));
    }
    let mut bytes = Vec::new();
    let file = millstream_base::regular::open(path).map_err(failed)?;
    file.take(JOB_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > JOB_FILE_BYTES_MAX {
        let message =
            format!("the file is longer than {JOB_FILE_BYTES_MAX} bytes, so it is not a job file; check the path");
        return Err(wrong(message));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + memchr::memchr_iter(b'\n', good).count();
        Error::job(format!("{name}:{line}: this line is not UTF-8 text; save the file as UTF-8"))
    })
}
