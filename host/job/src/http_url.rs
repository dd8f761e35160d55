//! The URL of a server that a job uses over HTTP.

use super::database::expand;
use super::variables::{self, TextPiece};
use std::path::Path;

/// Checks a URL, whatever the environment sets for its placeholders.
pub fn check(url: &str) -> Result<(), String> {
    begins_with(url, &["http://", "https://"])
}

/// Checks a URL with one of these schemes.
pub fn begins_with(url: &str, schemes: &[&str]) -> Result<(), String> {
    let pieces = variables::pieces(url).map_err(|message| format!("`url` {message}"))?;
    let begins = schemes.iter().any(|scheme| url.starts_with(scheme));
    if begins || matches!(pieces.first(), Some(TextPiece::Variable { .. } | TextPiece::File(_))) {
        return Ok(());
    }
    let example = schemes.last().copied().unwrap_or_default();
    Err(format!("`url` begins with neither {}; write it as \"{example}host/path\"", schemes.join(" nor ")))
}

/// Returns a URL with the environment's values for its placeholders, which are hidden in all output from then on.
pub fn url(text: &str) -> Result<String, String> {
    expand(text, |piece| variables::value(piece, Path::new("")))
}
