//! What is wrong with an SQL text, and where.

use super::budget;
use super::session::{REFUSED, VisibleNames};
use datafusion::common::{Column, DataFusionError, Location, SchemaError, Span};
use datafusion::sql::sqlparser::parser::ParserError;
use millstream_base::error::Error;
use millstream_base::job::spec::SqlLimits;
use millstream_base::job::suggest::nearest;
use std::fmt::Write as _;

/// Characters of a line that are shown around a mistake.
const SHOWN_MAX: usize = 100;

/// The mistake in words, with the line where it is and a mark below.
pub fn mistake(text: &str, names: &VisibleNames, error: &DataFusionError) -> Error {
    if let Some(own) = own(error) {
        // A function that does not take what it is given.
        let name = own.message.strip_prefix("function `").and_then(|rest| rest.split('`').next());
        let span = name.and_then(|name| place(text, name, |_, behind| behind.trim_start().starts_with('(')));
        return if span.is_some() { told(text, &own.message, span) } else { own.clone() };
    }
    let first = error.iter().next().unwrap_or(error);
    let (words, found) = words(first, names);
    let span = first.diagnostic().and_then(|told| {
        let notes = told.notes.iter().map(|note| note.span);
        told.span.or_else(|| notes.flatten().next())
    });
    let span = found.or(span).or_else(|| called(text, &words)).or_else(|| ended(text, &words));
    told(text, &words, span)
}

/// The same for a mistake that was found here.
pub fn told(text: &str, words: &str, span: Option<Span>) -> Error {
    Error::job(format!("{words}{}", pointed(text, span)))
}

/// An error of ours that passed through DataFusion.
pub fn own(error: &DataFusionError) -> Option<&Error> {
    match error.find_root() {
        DataFusionError::External(inner) => inner.downcast_ref::<Error>(),
        _ => None,
    }
}

/// What went wrong while rows were computed within these limits.
pub fn runtime_words_within(error: &DataFusionError, limits: SqlLimits) -> String {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => budget::no_room(limits.memory_bytes_max),
        _ => runtime_words(error),
    }
}

/// What went wrong while rows were computed.
pub fn runtime_words(error: &DataFusionError) -> String {
    if let DataFusionError::External(other) = error.find_root() {
        return other.to_string();
    }
    let words = in_our_types(&plain(error.find_root()));
    match words.as_str() {
        "Divide by zero error" => "division by zero".into(),
        _ => words,
    }
}

fn words(error: &DataFusionError, names: &VisibleNames) -> (String, Option<Span>) {
    match error.find_root() {
        DataFusionError::SchemaError(inner, _) => (schema_words(inner), schema_span(inner)),
        DataFusionError::SQL(inner, _) => match &**inner {
            ParserError::RecursionLimitExceeded => ("it is nested too deeply".into(), None),
            ParserError::ParserError(words) | ParserError::TokenizerError(words) => {
                let (words, span) = without_place(words);
                (format!("this is not SQL: {}", lower_first(words)), span)
            }
        },
        other => {
            let words = plain(other);
            let unknown = |begin| words.strip_prefix(begin).and_then(|rest| rest.split('\'').next());
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
            (reworded(&in_our_types(&words)), None)
        }
    }
}

/// DataFusion's words for what authors of queries get wrong most often, in plainer ones.
fn reworded(words: &str) -> String {
    let between = |begin: &str, end: &str| words.split_once(begin).and_then(|(_, rest)| Some(rest.split_once(end)?.0));
    if let Some(compared) = words.strip_prefix("Cannot infer common argument type for comparison operation ") {
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
    if words.contains("GROUPING aggregate function") {
        return "`grouping(…)` is for queries with `group by`, and not for `over`".into();
    }
    if words.starts_with("Projections require unique expression names") {
        let name = words.split_once(" and \"").and_then(|(_, rest)| rest.split_once('"')).map_or("", |(name, _)| name);
        return format!("two columns have the same name, the other one as `{name}`; rename one of them");
    }
    if words.starts_with("Physical plan does not support logical expression ") {
        return "a subquery cannot be used here; write it in `where`, or as a join".into();
    }
    if words.starts_with("Substring without for/from") {
        return "`substr` needs a position, for example `substr(word, 1, 3)`".into();
    }
    words.to_owned()
}

/// The place where a function is called that a message is about.
fn called(text: &str, words: &str) -> Option<Span> {
    let name = words.split_once("Function '").and_then(|(_, rest)| rest.split_once('\'')).map(|(name, _)| name);
    let name =
        name.or_else(|| words.strip_prefix('`').and_then(|rest| rest.split_once("(…)`")).map(|(name, _)| name))?;
    place(text, name, |_, behind| behind.trim_start().starts_with('('))
}

/// The first place of a word in the text.
pub fn place_of(text: &str, word: &str) -> Option<Span> {
    let part = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    place(text, word, |before, behind| !part(before.chars().next_back()) && !part(behind.chars().next()))
}

/// The first place of a name in the text that fits what stands before and behind it.
fn place(text: &str, name: &str, fits: impl Fn(&str, &str) -> bool) -> Option<Span> {
    let (mut line, mut column) = (1, 1);
    for (at, letter) in text.char_indices() {
        let parts = text.get(..at).zip(text.get(at..at + name.len())).zip(text.get(at + name.len()..));
        if parts.is_some_and(|((before, found), behind)| found.eq_ignore_ascii_case(name) && fits(before, behind)) {
            let start = Location { line, column };
            return Some(Span { start, end: Location { line, column: column + name.chars().count() as u64 } });
        }
        (line, column) = if letter == '\n' { (line + 1, 1) } else { (line, column + 1) };
    }
    None
}

/// The end of the text, where something is missing there.
fn ended(text: &str, words: &str) -> Option<Span> {
    let last = text.trim_end().lines().enumerate().last().filter(|_| words.ends_with("found: EOF"))?;
    let end = Location { line: last.0 as u64 + 1, column: last.1.chars().count() as u64 + 1 };
    Some(Span { start: end, end })
}

fn no_function(name: &str, names: &VisibleNames) -> String {
    if REFUSED.contains(&name.to_lowercase().as_str()) {
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

fn schema_words(error: &SchemaError) -> String {
    let listed = |columns: &[Column]| {
        let mut names: Vec<&str> = Vec::new();
        for column in columns {
            // A column that `select` names stands there beside the one that it comes from.
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
                let behind = name.strip_prefix(&field.name).and_then(|rest| rest.chars().next());
                behind.is_some_and(|letter| !letter.is_alphanumeric() && letter != '_')
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

/// The message alone, without DataFusion's heading.
fn plain(error: &DataFusionError) -> String {
    match error {
        DataFusionError::ArrowError(inner, _) => {
            let words = inner.to_string();
            ["Arithmetic overflow: ", "Compute error: ", "Cast error: ", "Invalid argument error: ", "Parser error: "]
                .iter()
                .find_map(|heading| words.strip_prefix(heading).map(str::to_owned))
                .unwrap_or(words)
        }
        other => {
            let words = other.message();
            let first = words.lines().next().unwrap_or_default();
            // A regular expression that cannot be read: the reason stands last, below the place.
            let last = words.lines().next_back().filter(|_| first.ends_with("parse error:"));
            last.map_or_else(|| first.to_owned(), |last| format!("{first} {}", last.trim_start_matches("error: ")))
        }
    }
}

/// Names of Arrow's types as job files have them.
fn in_our_types(words: &str) -> String {
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
    NAMES.iter().fold(words.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
}

fn lower_first(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
}

/// A message of the parser, and the place that stands at its end.
fn without_place(words: &str) -> (&str, Option<Span>) {
    let Some((message, place)) = words.rsplit_once(" at Line: ") else { return (words, None) };
    let number = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    let found = place.split_once(", Column: ").and_then(|(line, column)| Some((number(line)?, number(column)?)));
    let span = found.map(|(line, column)| {
        let start = Location { line, column };
        Span { start, end: start }
    });
    (message, span)
}

/// The line of the text where something is wrong, and a mark below; the first line where that is not known.
fn pointed(text: &str, span: Option<Span>) -> String {
    let (line, column) = span.map_or((1, 0), |span| (span.start.line, span.start.column));
    let number = usize::try_from(line).unwrap_or(1).max(1);
    let Some(shown) = text.lines().nth(number - 1) else { return String::new() };
    let place = usize::try_from(column).unwrap_or(0);
    let skipped = (place + SHOWN_MAX / 4).saturating_sub(SHOWN_MAX);
    let part: String =
        shown.chars().skip(skipped).take(SHOWN_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let heading = if text.lines().nth(1).is_some() { format!("line {number}") } else { "SQL".into() };
    let mut out = format!("\n  {heading} | {part}");
    if place > 0 {
        let end = span.filter(|span| span.end.line == line).map_or(0, |span| span.end.column);
        let width = usize::try_from(end).unwrap_or(0).saturating_sub(place).clamp(1, SHOWN_MAX);
        let before = " ".repeat(place - 1 - skipped.min(place - 1));
        let _ = write!(out, "\n  {} | {before}{}", " ".repeat(heading.len()), "^".repeat(width));
    }
    out
}
