//! Splits text into words.

use millstream_sdk::{Out, Row, text, transform};
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
    match (config.separator.as_deref().unwrap_or_default(), config.lowercase) {
        ("", false) => words(line.value, out),
        ("", true) => text::words(line.value).for_each(|word| push_lowercase(word, out)),
        (separator, false) => parts(line.value, separator, out),
        (separator, true) => {
            line.value.split(separator).filter(|word| !word.is_empty()).for_each(|word| push_lowercase(word, out));
        }
    }
}

// Functions of their own, because each loop is faster with all registers for itself.
#[inline(never)]
fn words(text: &str, out: &mut Out<Word>) {
    text::words(text).for_each(|word| out.push(Word { word }));
}

#[inline(never)]
fn parts(text: &str, separator: &str, out: &mut Out<Word>) {
    match separator.as_bytes() {
        [byte] if byte.is_ascii() => text::parts(text, *byte).for_each(|word| out.push(Word { word })),
        _ => text.split(separator).filter(|word| !word.is_empty()).for_each(|word| out.push(Word { word })),
    }
}

fn push_lowercase(word: &str, out: &mut Out<Word>) {
    out.push(Word { word: &word.to_lowercase() });
}

#[cfg(test)]
mod tests {
    use millstream_sdk::{json, testing};

    fn split(config: serde_json::Value, line: &str) -> serde_json::Value {
        let run = testing::transform::<super::split_words>().config(config).run(json!([{"value": line}]));
        run.expect("a run").rows.as_array().expect("rows").iter().map(|row| row["word"].clone()).collect()
    }

    #[test]
    fn splits_at_white_space_by_default() {
        assert_eq!(split(json!({}), "  To be,\tor\u{2003}nöt \r\n"), json!(["To", "be,", "or", "nöt"]));
        assert_eq!(split(json!({"lowercase": true}), "To ÄÖ"), json!(["to", "äö"]));
    }

    #[test]
    fn splits_at_a_separator_and_leaves_out_empty_words() {
        assert_eq!(split(json!({"separator": ", "}), "a, b c, , D"), json!(["a", "b c", "D"]));
        assert_eq!(split(json!({"separator": "X", "lowercase": true}), "AXB"), json!(["a", "b"]));
    }

    #[test]
    fn a_null_is_refused_and_a_wrong_config_is_an_error() {
        let run =
            testing::transform::<super::split_words>().run(json!([{"value": null}, {"value": "x"}])).expect("a run");
        assert_eq!((run.rows, run.rejected), (json!([{"word": "x"}]), vec![(0, "column `value` is null".into())]));
        let wrong = testing::transform::<super::split_words>().config(json!({"seperator": " "})).describe();
        assert!(wrong.expect_err("a typo").message().contains("unknown field `seperator`"));
    }
}
