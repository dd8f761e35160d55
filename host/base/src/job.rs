//! The job file: reading, checking, and the typed job that the rest works with.
//!
//! All mistakes of a job are reported together, a line each: where it is, what it is about, what is wrong, and what to
//! write instead.

pub mod build;
mod changes;
pub mod connector;
pub mod database;
mod document;
mod expression;
mod graph;
pub mod http_url;
pub mod keys;
mod mistakes;
mod names;
mod part_mistakes;
pub mod parts;
pub mod pattern;
pub mod plugin_part;
mod read;
pub mod replaced;
pub mod retry_source;
mod schema;
#[cfg(feature = "sql")]
mod standing_query;
pub mod spec;
pub mod suggest;
#[cfg(feature = "sql")]
pub mod syntax;
pub mod table;
mod variables;
pub mod table_source;

pub use changes::{changes_rows, is_of_changes};
pub use names::query_of;
pub use names::stream;
pub use part_mistakes::PartMistakes;

use crate::error::{Error, Result};
use crate::limits::JOB_FILE_BYTES_MAX;
use connector::Kinds;
use document::Document;
use mistakes::Mistakes;
use spec::JobSpec;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

/// Reads and checks a job file with these `kinds` of sources and sinks. `sets` are keys (`sources.lines.address`) and values that replace what the file says.
/// Every error is one of kind [`Job`](crate::error::Kind::Job).
pub fn load(path: &Path, kinds: &Kinds, sets: &[(String, String)]) -> Result<JobSpec> {
    let text = read_text(path)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    parse(&text, kinds, path, folder, sets)
}

/// Reads and checks the text of a job file: `file` is its name for messages, relative paths start from `folder`.
pub fn parse(text: &str, kinds: &Kinds, file: &Path, folder: &Path, sets: &[(String, String)]) -> Result<JobSpec> {
    parse_as(text, kinds, (file, folder), sets, Version::default())
}

/// What a text says by the version of the time when it was written.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    /// Numbers in a `timestamp` need a unit; before they were microseconds without a word of it.
    pub says_units: bool,
    /// `${NAME}` stands for an environment variable.
    pub has_variables: bool,
}

impl Default for Version {
    fn default() -> Version {
        Version { says_units: true, has_variables: true }
    }
}

/// As [`parse`], for a text of some time.
pub fn parse_as(
    text: &str,
    kinds: &Kinds,
    (file, folder): (&Path, &Path),
    sets: &[(String, String)],
    version: Version,
) -> Result<JobSpec> {
    let mut document = document(text, file, sets)?;
    if version.has_variables {
        document.put_values(file, folder)?;
    }
    if !version.says_units {
        document.say_micros();
    }
    made(document, kinds, file, folder)
}

/// Checks a job that the command of this name made of its arguments. `sets` are keys and values that replace what it wrote.
/// Nobody can look at the lines of such a text, so mistakes are told without them.
pub fn of_command(name: &str, text: &str, kinds: &Kinds, folder: &Path, sets: &[(String, String)]) -> Result<JobSpec> {
    let file = Path::new(name);
    let mut document = document(text, file, sets)?;
    document.lines.clear();
    document.put_values(file, folder)?;
    let mut job = made(document, kinds, file, folder)?;
    job.origin.file = None;
    Ok(job)
}

fn document(text: &str, file: &Path, sets: &[(String, String)]) -> Result<Document> {
    let mut document = document::read(text, file)?;
    document.set_all(sets)?;
    Ok(document)
}

/// Checks a job that was made of the file of a plugin's case. `place` gives the paths of the job that a path of that file
/// stands for; mistakes are told with the lines of that file.
pub fn made_of(
    text: &str,
    kinds: &Kinds,
    (file, of): (&Path, &str),
    folder: &Path,
    place: impl Fn(&str) -> Vec<String>,
) -> Result<JobSpec> {
    let mut document = document::read(text, file)?;
    let lines = document::read(of, file)?.lines;
    document.lines =
        lines.into_iter().flat_map(|(path, line)| place(&path).into_iter().map(move |of| (of, line))).collect();
    made(document, kinds, file, folder)
}

fn made(document: Document, kinds: &Kinds, file: &Path, folder: &Path) -> Result<JobSpec> {
    let parts = ["sources", "stages", "sinks"].map(|section| document.table.get(section)?.as_table().map(|t| t.len()));
    let count = graph::count(parts.into_iter().flatten().sum());
    count.map_err(|message| Error::job(format!("{}: {message}", file.display())))?;
    let mistakes = Mistakes::default();
    #[cfg_attr(not(feature = "sql"), allow(unused_mut))]
    let mut job = read::job(&document, kinds, file, folder, &mistakes);
    parts::check(&job, &mistakes);
    #[cfg(feature = "sql")]
    standing_query::take_apart(&mut job, &mistakes);
    // Behind a key such as `source` there may be parts that were meant: what misses them is right to do so.
    if document.table.keys().all(|key| keys::JOB.iter().any(|known| known.name == key)) {
        graph::check(&job, &mistakes);
        changes::check(&job, &mistakes);
        replaced::check(&job, &mistakes);
    }
    mistakes.result(&job.origin, &document.sets)?;
    Ok(job)
}

/// Takes queries over all rows apart into the stages that keep them up to date, in a job that a program built.
pub fn take_queries_apart(job: &mut JobSpec) -> Result<()> {
    let mistakes = Mistakes::default();
    #[cfg(feature = "sql")]
    standing_query::take_apart(job, &mistakes);
    mistakes.result(&job.origin, &BTreeSet::new())
}

/// Notes for each source of changes by which columns of its tables rows are kept, for the source to look at.
pub fn note_keys_of_changes(job: &mut JobSpec) {
    changes::note_keys(job);
}

/// Checks a job that a program built, in the same way as one from a file.
pub fn check(job: &JobSpec) -> Result<()> {
    let mistakes = Mistakes::default();
    parts::check(job, &mistakes);
    graph::check(job, &mistakes);
    changes::check(job, &mistakes);
    replaced::check(job, &mistakes);
    mistakes.result(&job.origin, &BTreeSet::new())
}

/// The stages of a job, as indices, in an order in which each comes after all that it reads. An error for a cycle.
pub fn order(job: &JobSpec) -> Result<Vec<usize>> {
    graph::order(job)
}

/// The JSON Schema of the job file, for editors.
pub fn schema(kinds: &Kinds) -> serde_json::Value {
    schema::job(kinds)
}

/// The whole file as text, within the limit.
pub fn read_text(path: &Path) -> Result<String> {
    let name = path.display();
    let wrong = |message: String| Error::job(format!("{name}: {message}"));
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => wrong("file not found; give the path of a job file".into()),
        _ => wrong(format!("the job file cannot be read: {error}; check the path and its permissions")),
    };
    if path.is_dir() {
        return Err(wrong("this is a folder; give the path of a job file, such as job.toml in it".into()));
    }
    let mut bytes = Vec::new();
    let file = crate::regular::open(path).map_err(failed)?;
    file.take(JOB_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > JOB_FILE_BYTES_MAX {
        let message = format!(
            "the file is longer than {JOB_FILE_BYTES_MAX} bytes, so hardly a job file; check \
                               the path"
        );
        return Err(wrong(message));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + memchr::memchr_iter(b'\n', good).count();
        Error::job(format!("{name}:{line}: this line is not UTF-8 text; save the file as UTF-8"))
    })
}
