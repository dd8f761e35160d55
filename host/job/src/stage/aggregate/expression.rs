//! Built-in aggregates as a job file writes them: `count(*)`, `sum(price)`, `count(distinct user)`.

use crate::spec::{AggregateFunction, AggregateSpec};
use millstream_base::suggest;

/// The functions by name.
const FUNCTIONS: [(&str, AggregateFunction); 7] = [
    ("count", AggregateFunction::Count),
    ("sum", AggregateFunction::Sum),
    ("min", AggregateFunction::Min),
    ("max", AggregateFunction::Max),
    ("avg", AggregateFunction::Avg),
    ("first", AggregateFunction::First),
    ("last", AggregateFunction::Last),
];

/// A JSON Schema pattern that matches a function and its column.
pub(crate) const PATTERN: &str = r"^\s*[A-Za-z]+\s*\(.+\)\s*$";

/// Parses the aggregate of the column `output`. The error says what is wrong and what to write.
pub(crate) fn aggregate(output: &str, text: &str) -> Result<AggregateSpec, String> {
    let (text, filter) = with_filter(text.trim())?;
    let call = text.split_once('(').and_then(|(name, rest)| Some((name.trim(), rest.strip_suffix(')')?.trim())));
    let Some((name, inner)) = call else {
        return Err(format!(
            "`{text}` is not an aggregate; write a function and its column, for example \"sum(price)\""
        ));
    };
    let lower = name.to_lowercase();
    let Some((name, function)) = FUNCTIONS.iter().find(|(known, _)| *known == lower).copied() else {
        let near = match suggest::nearest(&lower, FUNCTIONS.iter().map(|(name, _)| *name)) {
            Some(near) => format!("did you mean `{near}`? "),
            None => String::new(),
        };
        let known = suggest::list(FUNCTIONS.iter().map(|(name, _)| *name));
        return Err(format!("unknown function `{name}`; {near}the functions are {known}"));
    };
    let spec = |column: Option<String>, distinct| AggregateSpec {
        output: output.into(),
        function,
        column,
        distinct,
        filter: filter.clone(),
    };
    if inner.is_empty() || inner == "*" {
        return match (function, inner) {
            (AggregateFunction::Count, "*") => Ok(spec(None, false)),
            (AggregateFunction::Count, _) => {
                Err("`count()` has no argument; write \"count(*)\" or \"count(column)\"".into())
            }
            _ => Err(format!("`{name}` needs a column; write its name, for example \"{name}(price)\"")),
        };
    }
    let (column, distinct) = match inner.split_once(char::is_whitespace) {
        Some((word, rest)) if word.eq_ignore_ascii_case("distinct") => (rest.trim(), true),
        _ => (inner, false),
    };
    if distinct && function != AggregateFunction::Count {
        return Err(format!(
            "`distinct` is for `count` only; write \"{name}({column})\", or \"count(distinct {column})\""
        ));
    }
    let column = column_name(column).ok_or_else(|| {
        format!(
            "`{column}` is not the name of a column, and only a column name is allowed here; compute it in a stage \
             before this one, for example select = \"{column} as value\""
        )
    })?;
    Ok(spec(Some(column), distinct))
}

/// Splits the call of a function and the condition of its rows: `count(*) filter (where n > 0)`.
fn with_filter(text: &str) -> Result<(&str, Option<String>), String> {
    let mut quoted = false;
    let end = text.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == ')' && !quoted
    });
    let Some((call, rest)) = end.and_then(|(end, _)| text.split_at_checked(end + 1)) else { return Ok((text, None)) };
    let Some(rest) = text_after(rest, "filter") else { return Ok((text, None)) };
    let condition = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let condition = condition.and_then(|inner| text_after(inner, "where")).filter(|condition| !condition.is_empty());
    match condition {
        Some(condition) => Ok((call, Some(condition.to_owned()))),
        None => Err(format!(
            "what follows `{call}` is not a condition; write one as in SQL, \"{call} filter (where price > 10)\""
        )),
    }
}

/// Returns the text after a word, in any case.
fn text_after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (begin, rest) = text.trim().split_at_checked(word.len())?;
    begin.eq_ignore_ascii_case(word).then_some(rest.trim())
}

/// Parses a plain name, or one in double quotes that may contain anything.
fn column_name(text: &str) -> Option<String> {
    if let Some(quoted) = text.strip_prefix('"') {
        let inner = quoted.strip_suffix('"')?;
        let name = inner.replace("\"\"", "");
        return (!inner.is_empty() && !name.contains('"')).then(|| inner.replace("\"\"", "\""));
    }
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let begins = text.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
    (begins && text.chars().all(plain)).then(|| text.into())
}
