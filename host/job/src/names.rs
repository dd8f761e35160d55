//! Names of jobs, sources, stages and sinks, and the names of streams in `from`.

use crate::spec::JobSpec;
use millstream_base::limits::NAME_BYTES_MAX;
use std::path::Path;

/// The JSON Schema pattern of a name.
pub(super) const PATTERN: &str = "^[A-Za-z][A-Za-z0-9_-]{0,63}$";

/// Suffixes of a part's name in the name of a stream.
const RESERVED: [&str; 2] = ["rejected", "late"];

/// Checks the name of a branch; the error says what to write instead. `<stage>.rejected` and `<stage>.late` are streams already.
pub(super) fn check_branch(name: &str) -> Result<(), String> {
    match RESERVED.contains(&name) {
        true => Err(format!("a branch must not be named `{name}`, which means {name} rows; write another name")),
        false => check(name),
    }
}

/// Returns the query over all rows that was split into several stages, if this stage is one of them.
pub fn query_of<'a>(spec: &'a JobSpec, stage: &'a str) -> Option<&'a str> {
    let named = |name: &str| spec.stages.iter().find(|stage| stage.name == name);
    let ends = ["-rows", "-totals", "-all"];
    let query = ends.iter().find_map(|end| stage.strip_suffix(end)).unwrap_or(stage);
    let rows = format!("{query}-rows");
    let totals = named(&format!("{query}-totals"))?;
    let is_query = totals.from == [rows.clone()] && named(&rows).is_some() && named(query).is_some();
    (is_query && !spec.origin.lines.contains_key(&format!("stages.{}", totals.name))).then_some(query)
}

/// Checks a name; the error says what to write instead.
pub(super) fn check(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("the name is empty; use a-z, A-Z, 0-9, `-` and `_`".into());
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("the name is {} bytes long; write one of at most {NAME_BYTES_MAX}", name.len()));
    }
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !begins || !name.chars().all(fits) {
        let better = of_text(name);
        return Err(format!(
            "`{}` is not a valid name: use a-z, A-Z, 0-9, `-` and `_`, with a letter first; write `{better}`",
            name.escape_debug()
        ));
    }
    Ok(())
}

/// Returns the part that a stream comes from and, if it is not the part's rows, which of its streams: `rejected`, `late`, or a branch, for example
/// `words.rejected`.
pub fn stream(from: &str) -> (&str, Option<&str>) {
    match from.split_once('.') {
        Some((part, what)) => (part, Some(what)),
        None => (from, None),
    }
}

/// Returns the name of a job without a name in its file: that of the file.
pub(super) fn of_file(file: &Path) -> String {
    of_text(&file.file_stem().unwrap_or_default().to_string_lossy())
}

/// Returns the nearest valid name.
fn of_text(text: &str) -> String {
    let mut name: String = text.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name = format!("job-{}", name.trim_start_matches('-'));
    }
    name.truncate(NAME_BYTES_MAX);
    name.trim_end_matches('-').into()
}

fn fits(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}
