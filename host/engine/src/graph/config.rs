//! Locates in a job file the config value that a plugin rejects.
//!
//! A plugin gets its config as JSON, and reports errors in its own words: with the name of a field in the text, or, as Rust libraries do, with a
//! position in that JSON. Authors of jobs only have lines of TOML.

use millstream_base::error::Error;
use millstream_job::spec::{Origin, StageSpec};
use serde_json::Value;

/// The text between the plugin that rejects its config and its message.
const REJECTS: &str = " rejects its config in ";

/// Adds to the error of a stage the position in the job file, and the field if it is about a config.
pub fn with_location(error: Error, stage: &StageSpec, origin: &Origin) -> Error {
    let table = format!("stages.{}", stage.name);
    let plugins = stage.plugins();
    let (path, message) = match (plugins.as_slice(), parts(&error.message)) {
        ([plugin], Some((plugin_name, call_time, message))) => {
            let (path, message) = field(message, &plugin.config);
            let inside = path.iter().fold(format!("{table}.config"), |path, key| format!("{path}.{key}"));
            (inside, format!("{plugin_name}{REJECTS}{call_time}: {message}"))
        }
        _ => (table, error.message.clone()),
    };
    Error { kind: error.kind, message }.within(format!("{}stage `{}`", origin.at(&path), stage.name))
}

/// Splits a message into the plugin, the time of the call, and its own message.
fn parts(message: &str) -> Option<(&str, &str, &str)> {
    let (plugin_name, rest) = message.split_once(REJECTS)?;
    let (call_time, message) = rest.split_once(": ")?;
    Some((plugin_name, call_time, message))
}

/// Returns the path of the field that a plugin's message is about, and the message with its name.
fn field(message: &str, config: &Value) -> (Vec<String>, String) {
    let mut path = Vec::new();
    let mut message = message;
    if let Some((before, column)) = position(message) {
        path = at_column(&config.to_string(), column);
        message = before;
    }
    if path.is_empty() {
        path = field_named_in(message, config);
    }
    match path.last() {
        Some(last) if !has_word(message, last) => {
            let name = path.join(".");
            (path, format!("`{name}`: {message}"))
        }
        _ => (path, message.to_owned()),
    }
}

/// Splits ` at line 1 column 12` off a message, and returns the column.
fn position(message: &str) -> Option<(&str, usize)> {
    let (before, column) = message.trim_end().rsplit_once(" at line 1 column ")?;
    Some((before, column.parse().ok()?))
}

/// Returns the names of the fields around the last of the first `column` bytes of JSON, outermost first.
fn at_column(text: &str, column: usize) -> Vec<String> {
    // For each open object or array: its current field; `None` in an array.
    let mut open: Vec<Option<String>> = Vec::new();
    let mut bytes = text.bytes().enumerate().take(column);
    let mut is_name = false;
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                open.push(None);
                is_name = byte == b'{';
            }
            b'}' | b']' => {
                open.pop();
                is_name = false;
            }
            b',' => {
                let is_object = open.last().is_some_and(Option::is_some);
                is_name = is_object;
                if let Some(field) = open.last_mut() {
                    *field = None;
                }
            }
            b'"' => {
                let mut end = None;
                let mut escaped = false;
                for (index, inner) in bytes.by_ref() {
                    match inner {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => {
                            end = Some(index);
                            break;
                        }
                        _ => {}
                    }
                }
                let name = end.and_then(|end| serde_json::from_str(text.get(at..=end)?).ok());
                if let (true, Some(field), Some(name)) = (is_name, open.last_mut(), name) {
                    *field = Some(name);
                }
                is_name = false;
            }
            _ => {}
        }
    }
    open.into_iter().flatten().collect()
}

/// Returns the innermost field of a config whose name occurs in this message.
fn field_named_in(message: &str, config: &Value) -> Vec<String> {
    let inner = match config {
        Value::Object(fields) => {
            let below = fields.iter().map(|(name, value)| {
                let path = field_named_in(message, value);
                (name, path)
            });
            let found = below.filter(|(name, path)| !path.is_empty() || has_word(message, name));
            found.map(|(name, path)| [vec![name.clone()], path].concat()).max_by_key(Vec::len)
        }
        Value::Array(values) => values.iter().map(|value| field_named_in(message, value)).max_by_key(Vec::len),
        _ => None,
    };
    inner.unwrap_or_default()
}

fn has_word(message: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    message.match_indices(word).any(|(at, _)| {
        let before = message.get(..at).unwrap_or_default().chars().next_back();
        let after = message.get(at + word.len()..).unwrap_or_default().chars().next();
        !word.is_empty() && !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_field_is_found_in_the_words_of_every_language() {
        let config = json!({ "at_least": "ten", "rule": { "kinds": ["a", 5], "note": "at_least" } });
        let rust = |column: usize, message: &str| field(&format!("{message} at line 1 column {column}"), &config);
        let text = config.to_string();
        let end_of = |part: &str| text.find(part).unwrap() + part.len();
        let (path, message) = rust(end_of("\"ten\""), "invalid type: string \"ten\", expected i64");
        assert_eq!(
            (path.join("."), message.as_str()),
            ("at_least".into(), "`at_least`: invalid type: string \"ten\", expected i64")
        );
        let (path, message) = rust(end_of("[\"a\",5"), "invalid type: integer `5`, expected a string");
        assert_eq!(
            (path.join("."), message.as_str()),
            ("rule.kinds".into(), "`rule.kinds`: invalid type: integer `5`, expected a string")
        );
        let (path, message) = rust(end_of("\"note\""), "unknown field `note`, expected `kinds`");
        assert_eq!((path.join("."), message.as_str()), ("rule.note".into(), "unknown field `note`, expected `kinds`"));
        // A missing field is reported for the complete config.
        assert_eq!(rust(text.len(), "missing field `rate`"), (vec![], "missing field `rate`".into()));
        for (message, expected) in [
            ("rule.kinds[1]: invalid type: number `5`, expected a string", "rule.kinds"),
            ("`kinds`: invalid type: integer `5`, expected a string", "rule.kinds"),
            ("cannot unmarshal string into Go struct field Config.at_least of type int64", "at_least"),
            ("unknown field `at_most`", ""),
        ] {
            let (path, described) = field(message, &config);
            assert_eq!((path.join(".").as_str(), described.as_str()), (expected, message));
        }
    }

    #[test]
    fn no_position_is_too_odd() {
        let text = r#"{"a":"\"}{","b":[{"c":1},{"d":[true]}],"é":{}}"#;
        for column in 0..text.len() + 3 {
            at_column(text, column);
        }
        assert_eq!(at_column(text, text.find("true").unwrap()), ["b", "d"]);
        assert_eq!(at_column(text, text.find(",\"b\"").unwrap()), ["a"]);
        assert_eq!(at_column("]]]", 3), Vec::<String>::new());
        assert_eq!(field("x at line 1 column 18446744073709551616", &json!({})).0, Vec::<String>::new());
    }
}
