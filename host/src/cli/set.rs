//! `--set`: values in the place of those of the job file.

/// Splits `key=value`.
pub fn parse_set(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE, for example sources.lines.address=127.0.0.1:9999".to_owned()),
    }
}
