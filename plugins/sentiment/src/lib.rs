//! Rates how friendly a text is, by its words.
//!
//! A lexicon with negation, as in Taboada et al., "Lexicon-Based Methods for Sentiment Analysis" (2011), in its simplest form.

mod words;

use millstream_sdk::{Row, text, transform};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A text.
#[derive(Row)]
pub struct Text<'a> {
    value: Option<&'a str>,
}

/// From -1 to 1; null where there is no text.
#[derive(Row)]
pub struct Score {
    score: Option<f64>,
}

/// What the job adds to the plugin's words.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// More words, in lower case, with their weights.
    #[serde(default)]
    words: BTreeMap<String, f64>,
}

const CONFIG_SCHEMA: &str = r#"{
  "type": "object",
  "properties": {
    "words": {
      "type": "object",
      "additionalProperties": { "type": "number", "minimum": -1, "maximum": 1 },
      "description": "More words, in lower case, with their weights."
    }
  },
  "additionalProperties": false
}"#;

/// How many words a negation turns around.
const NEGATED_WORDS: usize = 3;

/// Tells how friendly the text column `value` is: `score`, from -1 to 1.
#[transform(config_schema = CONFIG_SCHEMA)]
pub fn sentiment(text: Text, config: &Config) -> Score {
    Score { score: text.value.map(|text| score(text, &config.words)) }
}

/// Returns the mean weight of the known words.
fn score(text: &str, more: &BTreeMap<String, f64>) -> f64 {
    let (mut sum, mut known, mut negated) = (0.0, 0_u32, 0);
    for word in text::words(text) {
        let word = bare(word);
        if words::negates(&word) {
            negated = NEGATED_WORDS;
            continue;
        }
        if let Some(weight) = more.get(&word).copied().or_else(|| words::weight(&word)) {
            sum += if negated > 0 { -weight } else { weight };
            known += 1;
        }
        negated = negated.saturating_sub(1);
    }
    // A weight of the config may be outside of the range in its schema.
    if known == 0 { 0.0 } else { (sum / f64::from(known)).clamp(-1.0, 1.0) }
}

/// Returns a word in lower case, without surrounding punctuation, and with a plain apostrophe.
fn bare(word: &str) -> String {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    word.to_lowercase().replace('’', "'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::{json, testing};

    fn of(text: &str) -> f64 {
        score(text, &BTreeMap::new())
    }

    #[test]
    fn the_mean_of_the_known_words_counts() {
        assert_eq!(of("I LOVE this, it is good!"), 0.75);
        assert_eq!(of("love and hate"), 0.0);
        assert_eq!(of("#terrible coffee"), -1.0);
        assert_eq!(of("a cup of tea"), 0.0);
        assert_eq!(of(""), 0.0);
    }

    #[test]
    fn a_negation_reaches_three_words() {
        assert_eq!(of("not good"), -0.5);
        assert_eq!(of("this isn’t a very bad cup"), 0.5);
        assert_eq!(of("never in my life good"), 0.5, "the fourth word");
        assert_eq!(of("no no bad"), 0.5, "two negations are not a double one");
    }

    #[test]
    fn every_row_has_one_row() {
        let config = json!({"words": {"soggy": -0.5, "good": 1.0}});
        let run = testing::transform::<sentiment>().config(config);
        let run = run.run(json!([{"value": "soggy"}, {"value": null}, {"value": "good"}])).expect("a run");
        assert_eq!(run.rows, json!([{"score": -0.5}, {"score": null}, {"score": 1.0}]));
        assert!(run.rejected.is_empty());
    }
}
