//! Text into words.

use millstream_sdk::{Out, Row, transform};
use serde::Deserialize;

/// A line of text.
#[derive(Row)]
pub struct Line<'a> {
    value: &'a str,
}

/// One word of it.
#[derive(Row)]
pub struct Word<'a> {
    word: &'a str,
}

/// How to split.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What stands between words; any white space by default.
    separator: Option<String>,
    /// Whether words are put in lower case.
    #[serde(default)]
    lowercase: bool,
}

const CONFIG_SCHEMA: &str = r#"{
  "type": "object",
  "properties": {
    "separator": { "type": "string", "minLength": 1, "description": "What stands between words; any white space by default." },
    "lowercase": { "type": "boolean", "default": false, "description": "Whether words are put in lower case." }
  },
  "additionalProperties": false
}"#;

/// Splits the text column `value` into words, one a row, in the column `word`. Empty words are left out.
#[transform(config_schema = CONFIG_SCHEMA)]
pub fn split_words(line: Line, config: &Config, out: &mut Out<Word>) {
    match (config.separator.as_deref(), config.lowercase) {
        (None | Some(""), false) => line.value.split_ascii_whitespace().for_each(|word| out.push(Word { word })),
        (None | Some(""), true) => {
            line.value.split_whitespace().for_each(|word| out.push(Word { word: &word.to_lowercase() }));
        }
        (Some(separator), lowercase) => {
            for word in line.value.split(separator).filter(|word| !word.is_empty()) {
                if lowercase {
                    out.push(Word { word: &word.to_lowercase() });
                } else {
                    out.push(Word { word });
                }
            }
        }
    }
}
