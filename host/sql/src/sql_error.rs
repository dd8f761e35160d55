//! Errors in an SQL text, with their position.

use super::budget;
use super::session::{REPLAY_UNSAFE, VisibleNames};
use datafusion::common::{Column, DataFusionError, Location, SchemaError, Span};
use datafusion::sql::sqlparser::parser::ParserError;
use millstream_base::error::Error;
use millstream_base::suggest::nearest;
use millstream_job::spec::SqlLimits;
use std::fmt::Write as _;

/// Maximum characters of a line in an error message.
const LINE_CHARACTERS_MAX: usize = 100;

/// Formats an error, with the line of the error and a marker below.
pub fn to_error(text: &str, names: &VisibleNames, error: &DataFusionError) -> Error {
    if let Some(own) = own_error(error) {
        // A function with unsupported arguments.
        let name = own.message.strip_prefix("function `").and_then(|rest| rest.split('`').next());
        let span = name.and_then(|name| find_span(text, name, |_, after| after.trim_start().starts_with('(')));
        return if span.is_some() { error_at(text, &own.message, span) } else { own.clone() };
    }
    let first = error.iter().next().unwrap_or(error);
    let (raw_message, found) = error_message(first, names);
    let span = first.diagnostic().and_then(|diagnostic_span| {
        let notes = diagnostic_span.notes.iter().map(|note| note.span);
        diagnostic_span.span.or_else(|| notes.flatten().next())
    });
    let span = found.or(span).or_else(|| call_span(text, &raw_message)).or_else(|| end_span(text, &raw_message));
    error_at(text, &raw_message, span)
}

/// Formats an error that was found here.
pub fn error_at(text: &str, raw_message: &str, span: Option<Span>) -> Error {
    Error::job(format!("{raw_message}{}", marked_line(text, span)))
}

/// Returns our own error that passed through DataFusion.
pub fn own_error(error: &DataFusionError) -> Option<&Error> {
    match error.find_root() {
        DataFusionError::External(inner) => inner.downcast_ref::<Error>(),
        _ => None,
    }
}

/// Formats an error at runtime within these limits.
pub fn runtime_message_within(error: &DataFusionError, limits: SqlLimits) -> String {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => budget::memory_message(limits.memory_bytes_max),
        _ => runtime_message(error),
    }
}

/// Formats an error at runtime.
pub fn runtime_message(error: &DataFusionError) -> String {
    if let DataFusionError::External(other) = error.find_root() {
        return other.to_string();
    }
    let raw_message = with_job_types(&bare_message(error.find_root()));
    match raw_message.as_str() {
        "Divide by zero error" => "division by zero".into(),
        _ => raw_message,
    }
}

fn error_message(error: &DataFusionError, names: &VisibleNames) -> (String, Option<Span>) {
    match error.find_root() {
        DataFusionError::SchemaError(inner, _) => (schema_message(inner), schema_span(inner)),
        DataFusionError::SQL(inner, _) => match &**inner {
            ParserError::RecursionLimitExceeded => ("it is nested too deeply".into(), None),
            ParserError::ParserError(raw_message) | ParserError::TokenizerError(raw_message) => {
                let (raw_message, span) = split_position(raw_message);
                (format!("this is not SQL: {}", lower_first(raw_message)), span)
            }
        },
        other => {
            let raw_message = bare_message(other);
            let unknown = |begin| raw_message.strip_prefix(begin).and_then(|rest| rest.split('\'').next());
            if let Some(name) = unknown("Invalid function '") {
                return (no_function(name, names), None);
            }
            if let Some(name) = unknown("table '") {
                let near = nearest(name, names.table_names());
                let known: Vec<&str> = names.table_names().collect();
                let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                let known = match known.as_slice() {
                    [] => "an expression reads one row; for more use `sql`".to_owned(),
                    known => format!("the stage's inputs are: {}", known.join(", ")),
                };
                return (format!("unknown table `{name}`; {known}{hint}"), None);
            }
            (rephrase(&with_job_types(&raw_message)), None)
        }
    }
}

/// Rephrases DataFusion's messages for the most frequent errors in queries.
fn rephrase(raw_message: &str) -> String {
    let between =
        |begin: &str, end: &str| raw_message.split_once(begin).and_then(|(_, rest)| Some(rest.split_once(end)?.0));
    if let Some(compared) = raw_message.strip_prefix("Cannot infer common argument type for comparison operation ") {
        return format!("{compared} cannot be compared; cast one to the other's type, for example `cast(… as bigint)`");
    }
    if let Some(computed) = between("Cannot coerce arithmetic expression ", " to valid types") {
        return format!("{computed} cannot be computed; cast one to the other's type, for example `cast(… as bigint)`");
    }
    if let Some(column) = between("column \"", "\" must appear in the GROUP BY clause") {
        return format!("`{column}` is neither in `group by` nor in an aggregate; write for example `max({column})`");
    }
    if let Some(name) = between("Function '", "' failed to match any signature") {
        let given = between("but received ", ").").and_then(|given| given.split_once("(DataType: "));
        return match given {
            Some((_, given)) => format!("`{name}(…)` does not accept a value of type {given}"),
            None => format!("`{name}(…)` does not accept such values"),
        };
    }
    if let Some((name, kind)) =
        between("Support for '", " is not implemented").and_then(|of| of.split_once("' for data type "))
    {
        return format!("`{name}(…)` does not accept a value of type {kind}");
    }
    if raw_message.contains("GROUPING aggregate function") {
        return "`grouping(…)` is for queries with `group by`, and not for `over`".into();
    }
    if raw_message.starts_with("Projections require unique expression names") {
        let name =
            raw_message.split_once(" and \"").and_then(|(_, rest)| rest.split_once('"')).map_or("", |(name, _)| name);
        return format!("two columns have the same name, the other one as `{name}`; rename one of them");
    }
    if raw_message.starts_with("Physical plan does not support logical expression ") {
        return "a subquery cannot be used here; write it in `where`, or as a join".into();
    }
    if raw_message.starts_with("Substring without for/from") {
        return "`substr` needs a position, for example `substr(word, 1, 3)`".into();
    }
    raw_message.to_owned()
}

/// Returns the span of the function call in a message.
fn call_span(text: &str, raw_message: &str) -> Option<Span> {
    let name = raw_message.split_once("Function '").and_then(|(_, rest)| rest.split_once('\'')).map(|(name, _)| name);
    let name =
        name.or_else(|| raw_message.strip_prefix('`').and_then(|rest| rest.split_once("(…)`")).map(|(name, _)| name))?;
    find_span(text, name, |_, after| after.trim_start().starts_with('('))
}

/// Returns the first span of a word in the text.
pub fn word_span(text: &str, word: &str) -> Option<Span> {
    let part =
        |character: Option<char>| character.is_some_and(|character| character.is_alphanumeric() || character == '_');
    find_span(text, word, |before, after| !part(before.chars().next_back()) && !part(after.chars().next()))
}

/// Returns the first span of a name in the text whose context satisfies `fits`.
fn find_span(text: &str, name: &str, fits: impl Fn(&str, &str) -> bool) -> Option<Span> {
    let (mut line, mut column) = (1, 1);
    for (at, character) in text.char_indices() {
        let parts = text.get(..at).zip(text.get(at..at + name.len())).zip(text.get(at + name.len()..));
        if parts.is_some_and(|((before, found), after)| found.eq_ignore_ascii_case(name) && fits(before, after)) {
            let start = Location { line, column };
            return Some(Span { start, end: Location { line, column: column + name.chars().count() as u64 } });
        }
        (line, column) = if character == '\n' { (line + 1, 1) } else { (line, column + 1) };
    }
    None
}

/// Returns the end of the text, if something is missing there.
fn end_span(text: &str, raw_message: &str) -> Option<Span> {
    let last = text.trim_end().lines().enumerate().last().filter(|_| raw_message.ends_with("found: EOF"))?;
    let end = Location { line: last.0 as u64 + 1, column: last.1.chars().count() as u64 + 1 };
    Some(Span { start: end, end })
}

fn no_function(name: &str, names: &VisibleNames) -> String {
    if REPLAY_UNSAFE.contains(&name.to_lowercase().as_str()) {
        return format!(
            "`{name}()` would give another result in a replay of the batch; compute such values before the job"
        );
    }
    let known = names.function_names();
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("unknown function `{name}`; did you mean `{near}`?"),
        None => format!("unknown function `{name}`"),
    }
}

fn schema_message(error: &SchemaError) -> String {
    let listed = |columns: &[Column]| {
        let mut names: Vec<&str> = Vec::new();
        for column in columns {
            // A column named by `select` is listed next to its source column.
            if !names.contains(&column.name.as_str()) {
                names.push(&column.name);
            }
        }
        if names.is_empty() { "none".into() } else { names.join(", ") }
    };
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            if let (Some(table), Some(same)) =
                (&field.relation, valid_fields.iter().find(|column| column.name == field.name))
            {
                return format!("`{table}` is not available here; write `{}`", same.flat_name());
            }
            let near = nearest(&field.name, valid_fields.iter().map(|column| column.name.as_str()));
            let longer = valid_fields.iter().map(|column| &column.name).find(|name| {
                let after = name.strip_prefix(&field.name).and_then(|rest| rest.chars().next());
                after.is_some_and(|character| !character.is_alphanumeric() && character != '_')
            });
            let hint = match (longer, near) {
                (Some(name), _) => format!("; write \"{name}\" in double quotes"),
                (None, Some(near)) => format!("; did you mean `{near}`?"),
                (None, None) => String::new(),
            };
            let of = field.relation.as_ref().map_or(String::new(), |table| format!(" in `{table}`"));
            format!("unknown column `{}`{of}; available: {}{hint}", field.name, listed(valid_fields))
        }
        SchemaError::AmbiguousReference { field } => {
            format!("`{0}` could be several columns; write its table, for example `words.{0}`", field.name)
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            let inside =
                "; if only a cast distinguishes them, compute it in a subquery: from (select cast(…) as other …)";
            let inside = if name.contains('(') { inside } else { "" };
            format!("two columns are named `{name}`; rename one of them, for example `{name} as other`{inside}")
        }
    }
}

fn schema_span(error: &SchemaError) -> Option<Span> {
    match error {
        SchemaError::FieldNotFound { field, .. } | SchemaError::AmbiguousReference { field } => field.spans().first(),
        _ => None,
    }
}

/// Returns the message alone, without DataFusion's heading.
fn bare_message(error: &DataFusionError) -> String {
    match error {
        DataFusionError::ArrowError(inner, _) => {
            let raw_message = inner.to_string();
            ["Arithmetic overflow: ", "Compute error: ", "Cast error: ", "Invalid argument error: ", "Parser error: "]
                .iter()
                .find_map(|heading| raw_message.strip_prefix(heading).map(str::to_owned))
                .unwrap_or(raw_message)
        }
        other => {
            let raw_message = other.message();
            let first = raw_message.lines().next().unwrap_or_default();
            // An invalid regular expression: the reason is last, below the position.
            let last = raw_message.lines().next_back().filter(|_| first.ends_with("parse error:"));
            last.map_or_else(|| first.to_owned(), |last| format!("{first} {}", last.trim_start_matches("error: ")))
        }
    }
}

/// Replaces names of Arrow's types by those in job files.
fn with_job_types(raw_message: &str) -> String {
    const NAMES: [(&str, &str); 9] = [
        ("Timestamp(µs, \"UTC\")", "timestamp"),
        ("Timestamp(ns, \"UTC\")", "timestamp"),
        ("LargeUtf8", "text"),
        ("Utf8View", "text"),
        ("Utf8", "text"),
        ("Int64", "int64"),
        ("Float64", "float64"),
        ("Boolean", "bool"),
        ("Binary", "binary"),
    ];
    NAMES.iter().fold(raw_message.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
}

fn lower_first(raw_message: &str) -> String {
    let mut characters = raw_message.chars();
    characters.next().map_or(String::new(), |first| first.to_lowercase().chain(characters).collect())
}

/// Splits a parser message from the position at its end.
fn split_position(raw_message: &str) -> (&str, Option<Span>) {
    let Some((message, index)) = raw_message.rsplit_once(" at Line: ") else { return (raw_message, None) };
    let number = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    let found = index.split_once(", Column: ").and_then(|(line, column)| Some((number(line)?, number(column)?)));
    let span = found.map(|(line, column)| {
        let start = Location { line, column };
        Span { start, end: start }
    });
    (message, span)
}

/// Returns the line of the error, and a marker below; the first line if the position is unknown.
fn marked_line(text: &str, span: Option<Span>) -> String {
    let (line, column) = span.map_or((1, 0), |span| (span.start.line, span.start.column));
    let number = usize::try_from(line).unwrap_or(1).max(1);
    let Some(shown) = text.lines().nth(number - 1) else { return String::new() };
    let index = usize::try_from(column).unwrap_or(0);
    let skipped = (index + LINE_CHARACTERS_MAX / 4).saturating_sub(LINE_CHARACTERS_MAX);
    let part: String =
        shown.chars().skip(skipped).take(LINE_CHARACTERS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let heading = if text.lines().nth(1).is_some() { format!("line {number}") } else { "SQL".into() };
    let mut out = format!("\n  {heading} | {part}");
    if index > 0 {
        let end = span.filter(|span| span.end.line == line).map_or(0, |span| span.end.column);
        let width = usize::try_from(end).unwrap_or(0).saturating_sub(index).clamp(1, LINE_CHARACTERS_MAX);
        let before = " ".repeat(index - 1 - skipped.min(index - 1));
        let _ = write!(out, "\n  {} | {before}{}", " ".repeat(heading.len()), "^".repeat(width));
    }
    out
}
