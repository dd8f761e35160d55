//! Values that came from the environment or from secret files: they are told by the name that the job file has for them.
//!
//! Whoever puts such a value into a job registers it here ([`keep`]); all that is shown goes through [`hide`], at the last
//! moment, so that no place that puts a message together needs to know where a value came from.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::borrow::Cow;
use std::sync::RwLock;

/// Shorter values are shown: so few letters stand in many words, and whoever guesses finds them anyway.
pub const BYTES_MIN: usize = 4;
/// Lines of a value of several lines, as a key in PEM, that are hidden by themselves.
const LINE_BYTES_MIN: usize = 16;

/// What is escaped where a value stands in a URL: all but letters, digits and a few marks.
pub const URL_TEXT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A way in which a value may be written, and what is shown in its place. The longest come first.
static KNOWN: RwLock<Vec<(String, String)>> = RwLock::new(Vec::new());

/// From now on `name` is shown for this value, also where it is escaped as in messages, in JSON or in a URL.
pub fn keep(value: &str, name: &str) {
    let has_lines = value.lines().nth(1).is_some();
    let lines = value.lines().map(str::trim).filter(|line| has_lines && line.len() >= LINE_BYTES_MIN);
    let mut forms: Vec<String> = [value].into_iter().chain(lines).flat_map(forms).collect();
    forms.retain(|form| form.len() >= BYTES_MIN);
    let mut known = KNOWN.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    forms.retain(|form| !known.iter().any(|(known, _)| known == form));
    known.extend(forms.into_iter().map(|form| (form, name.to_owned())));
    known.sort_by(|one, other| other.0.len().cmp(&one.0.len()).then_with(|| one.cmp(other)));
    known.dedup();
}

/// The text with names in the place of all values that are kept.
pub fn hide(text: &str) -> Cow<'_, str> {
    let known = KNOWN.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut hidden = Cow::Borrowed(text);
    for (form, name) in known.iter() {
        if hidden.contains(form.as_str()) {
            hidden = Cow::Owned(hidden.replace(form.as_str(), name));
        }
    }
    hidden
}

/// How a value may be written.
fn forms(value: &str) -> Vec<String> {
    let trimmed = value.trim();
    let percent = utf8_percent_encode(value, URL_TEXT).to_string();
    let json = serde_json::to_string(value).unwrap_or_default();
    let json = json.trim_matches('"').to_owned();
    let toml = value.replace('\\', "\\\\").replace('"', "\\\"");
    vec![value.to_owned(), trimmed.to_owned(), value.escape_debug().to_string(), json, toml, percent]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_hidden_however_it_is_written() {
        keep("geheim \"7\"/ü\n", "${TOKEN}");
        keep("geheim", "${OTHER}");
        keep("abc", "${SHORT}");
        assert_eq!(hide("a geheim \"7\"/ü\n!"), "a ${TOKEN}!");
        assert_eq!(hide("a geheim \"7\"/ü!"), "a ${TOKEN}!");
        assert_eq!(hide(&format!("{:?}", "a geheim \"7\"/ü\n!")), "\"a ${TOKEN}!\"");
        assert_eq!(hide("geheim%20%227%22%2F%C3%BC%0A"), "${TOKEN}");
        assert_eq!(hide("geheim abc"), "${OTHER} abc");
        assert!(matches!(hide("nothing of it"), Cow::Borrowed(_)));
        keep("-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nab\n-----END KEY-----\n", "${KEY}");
        assert_eq!(hide("line MIIEvQIBADANBgkqhkiG9w0 of it, ab"), "line ${KEY} of it, ab");
    }
}
