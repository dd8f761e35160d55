//! Values from the environment or from secret files: output shows their name in the job file instead.
//!
//! Code that puts such a value into a job registers it here ([`keep`]). All output goes through [`hide`] at the last moment, so that code that
//! builds messages need not know where a value came from.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::borrow::Cow;
use std::sync::RwLock;

/// Shorter values are shown: they occur in many words, and are easy to guess anyway.
pub const BYTES_MIN: usize = 4;
/// Minimum length of lines that are hidden individually in a value of several lines, for example a key in PEM.
const LINE_BYTES_MIN: usize = 16;

/// Characters that are escaped in a URL's value: all but letters, digits and a few marks.
pub const URL_TEXT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A spelling of a value, and what is shown instead. The longest come first.
static KNOWN: RwLock<Vec<(String, String)>> = RwLock::new(Vec::new());

/// Registers a value: output shows `name` for it, also if it is escaped for messages, JSON or a URL.
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

/// Returns the text with names instead of all registered values.
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

/// Returns the possible spellings of a value.
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
