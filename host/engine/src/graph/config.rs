//! Where in a job file stands what a plugin refuses in its config.
//!
//! A plugin sees its config as JSON, and says in its language's words what is wrong: with the name of a field somewhere in them,
//! or, as libraries of Rust do, with a place in that JSON. Whoever wrote the job has neither before them, but lines of TOML.

use millstream_base::error::Error;
use millstream_base::job::spec::{Origin, StageSpec};
use serde_json::Value;

/// What stands between who refuses a config and its words.
const REFUSES: &str = " rejects its config in ";

/// The error of a stage with the place in the job file, and the field where it is one of a config.
pub fn placed(error: Error, stage: &StageSpec, origin: &Origin) -> Error {
    let table = format!("stages.{}", stage.name);
    let plugins = stage.plugins();
    let (path, message) = match (plugins.as_slice(), parts(&error.message)) {
        ([plugin], Some((who, when, words))) => {
            let (path, words) = field(words, &plugin.config);
            let inside = path.iter().fold(format!("{table}.config"), |path, key| format!("{path}.{key}"));
            (inside, format!("{who}{REFUSES}{when}: {words}"))
        }
        _ => (table, error.message.clone()),
    };
    Error { kind: error.kind, message }.within(format!("{}stage `{}`", origin.at(&path), stage.name))
}

/// Who rejects its config, when, and in which words.
fn parts(message: &str) -> Option<(&str, &str, &str)> {
    let (who, rest) = message.split_once(REFUSES)?;
    let (when, words) = rest.split_once(": ")?;
    Some((who, when, words))
}

/// The field that a plugin's words are about, from the top of the config, and the words with its name.
fn field(words: &str, config: &Value) -> (Vec<String>, String) {
    let mut path = Vec::new();
    let mut words = words;
    if let Some((before, column)) = position(words) {
        path = at_column(&config.to_string(), column);
        words = before;
    }
    if path.is_empty() {
        path = named(words, config);
    }
    match path.last() {
        Some(last) if !has_word(words, last) => {
            let name = path.join(".");
            (path, format!("`{name}`: {words}"))
        }
        _ => (path, words.to_owned()),
    }
}

/// Words without ` at line 1 column 12`, and the column.
fn position(words: &str) -> Option<(&str, usize)> {
    let (before, column) = words.trim_end().rsplit_once(" at line 1 column ")?;
    Some((before, column.parse().ok()?))
}

/// The names of the fields around the last of so many bytes of JSON, outermost first.
fn at_column(text: &str, column: usize) -> Vec<String> {
    // For each object or array that is open: the field that it is at; `None` in an array.
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
                for (place, inner) in bytes.by_ref() {
                    match inner {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => {
                            end = Some(place);
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

/// The innermost field of a config whose name stands in these words.
fn named(words: &str, config: &Value) -> Vec<String> {
    let inner = match config {
        Value::Object(fields) => {
            let below = fields.iter().map(|(name, value)| {
                let path = named(words, value);
                (name, path)
            });
            let found = below.filter(|(name, path)| !path.is_empty() || has_word(words, name));
            found.map(|(name, path)| [vec![name.clone()], path].concat()).max_by_key(Vec::len)
        }
        Value::Array(values) => values.iter().map(|value| named(words, value)).max_by_key(Vec::len),
        _ => None,
    };
    inner.unwrap_or_default()
}

fn has_word(words: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    words.match_indices(word).any(|(at, _)| {
        let before = words.get(..at).unwrap_or_default().chars().next_back();
        let after = words.get(at + word.len()..).unwrap_or_default().chars().next();
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
        let rust = |column: usize, words: &str| field(&format!("{words} at line 1 column {column}"), &config);
        let text = config.to_string();
        let behind = |part: &str| text.find(part).unwrap() + part.len();
        let (path, words) = rust(behind("\"ten\""), "invalid type: string \"ten\", expected i64");
        assert_eq!(
            (path.join("."), words.as_str()),
            ("at_least".into(), "`at_least`: invalid type: string \"ten\", expected i64")
        );
        let (path, words) = rust(behind("[\"a\",5"), "invalid type: integer `5`, expected a string");
        assert_eq!(
            (path.join("."), words.as_str()),
            ("rule.kinds".into(), "`rule.kinds`: invalid type: integer `5`, expected a string")
        );
        let (path, words) = rust(behind("\"note\""), "unknown field `note`, expected `kinds`");
        assert_eq!((path.join("."), words.as_str()), ("rule.note".into(), "unknown field `note`, expected `kinds`"));
        // What is missing is missing in the whole.
        assert_eq!(rust(text.len(), "missing field `rate`"), (vec![], "missing field `rate`".into()));
        for (words, expected) in [
            ("rule.kinds[1]: invalid type: number `5`, expected a string", "rule.kinds"),
            ("`kinds`: invalid type: integer `5`, expected a string", "rule.kinds"),
            ("cannot unmarshal string into Go struct field Config.at_least of type int64", "at_least"),
            ("unknown field `at_most`", ""),
        ] {
            let (path, told) = field(words, &config);
            assert_eq!((path.join(".").as_str(), told.as_str()), (expected, words));
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
