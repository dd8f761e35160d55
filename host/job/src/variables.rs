//! `${NAME}` in the strings of a job file: environment variables and secret files. The job is stored and shown with the names; only the running job
//! has the values.

use millstream_base::limits::{JOB_FILE_BYTES_MAX, VARIABLE_BYTES_MAX};
use millstream_base::{regular, secrets};
use std::path::Path;
use toml::{Table, Value};

/// A piece of a string.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum TextPiece<'a> {
    /// Literal text.
    Text(&'a str),
    /// `${NAME}`, or `${NAME:-default}`.
    Variable { name: &'a str, default: Option<&'a str> },
    /// `${file:/run/secrets/name}`
    File(&'a str),
}

/// A string of the job with variables, before and after their replacement.
#[derive(Clone, PartialEq)]
pub(super) struct ExpandedText {
    /// The dotted path of its key.
    pub path: String,
    /// Before replacement.
    pub text: String,
    /// After replacement.
    pub value: String,
}

impl std::fmt::Debug for ExpandedText {
    /// Omits the value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {:?}", self.path, self.text)
    }
}

/// Splits a string into pieces.
pub(super) fn pieces(text: &str) -> Result<Vec<TextPiece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            pieces.extend([TextPiece::Text(before), TextPiece::Text("${")]);
            rest = after;
            continue;
        }
        pieces.push(TextPiece::Text(before));
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 && after[digits..].starts_with('}') {
            // A pattern of `regexp_replace` contains this; it cannot be a variable.
            pieces.push(TextPiece::Text("${"));
            rest = after;
            continue;
        }
        let (inside, after) = after.split_once('}').ok_or_else(|| {
            "has `${` without a closing `}`; write ${NAME} for an environment variable, or $${ for the characters themselves"
                .to_owned()
        })?;
        pieces.push(piece(inside)?);
        rest = after;
    }
    pieces.push(TextPiece::Text(rest));
    pieces.retain(|piece| *piece != TextPiece::Text(""));
    Ok(pieces)
}

/// Parses the text between `${` and `}`.
fn piece(inside: &str) -> Result<TextPiece<'_>, String> {
    if let Some(path) = inside.strip_prefix("file:") {
        let help = "has `${file:}` without a path; write it as ${file:/run/secrets/password}";
        return if path.is_empty() { Err(help.into()) } else { Ok(TextPiece::File(path)) };
    }
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let mut bytes = name.bytes();
    let begins = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    match begins && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        true => Ok(TextPiece::Variable { name, default }),
        false => Err(format!(
            "has `${{{inside}}}`, which names no environment variable; write ${{NAME}} for one, or $${{ for the characters \
             `${{` themselves"
        )),
    }
}

/// Returns the value of a piece. It is hidden in all output from then on.
pub(super) fn value(piece: &TextPiece<'_>, dir: &Path) -> Result<String, String> {
    let (value, name) = match piece {
        TextPiece::Text(text) => return Ok((*text).to_owned()),
        TextPiece::Variable { name, default } => match (std::env::var(name), default) {
            (Ok(value), None) => (value, format!("${{{name}}}")),
            (Ok(value), Some(_)) if !value.is_empty() => (value, format!("${{{name}}}")),
            (_, Some(default)) => return Ok((*default).to_owned()),
            (Err(std::env::VarError::NotPresent), None) => {
                return Err(format!("refers to the environment variable `{name}`, which is not set; set it"));
            }
            (Err(std::env::VarError::NotUnicode(_)), None) => {
                return Err(format!(
                    "refers to the environment variable `{name}`, which is not UTF-8 text; correct \
                    its value"
                ));
            }
        },
        TextPiece::File(path) => (of_file(&dir.join(path), path)?, format!("${{file:{path}}}")),
    };
    if value.len() as u64 > VARIABLE_BYTES_MAX {
        return Err(format!("refers to {name}, which has more than {VARIABLE_BYTES_MAX} bytes; set a shorter value"));
    }
    secrets::keep(&value, &name);
    Ok(value)
}

/// Returns the content of a secret file, without its last line end.
fn of_file(path: &Path, name: &str) -> Result<String, String> {
    let failed =
        |why: String| format!("refers to the file `{name}`, which cannot be read: {why}; create it, or fix the path");
    let bytes = regular::read_at_most(path, VARIABLE_BYTES_MAX).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => failed("file not found".into()),
        std::io::ErrorKind::Other => failed(format!("it must be a file of at most {VARIABLE_BYTES_MAX} bytes")),
        _ => failed(error.to_string()),
    })?;
    let text = String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8 text".into()))?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(text.to_owned())
}

/// Replaces variables in the strings of a job file. The URL of a database (`url`) stays unchanged: the connector replaces variables in it, with the
/// escapes of URLs. Returns the strings that contained variables, or the errors by dotted path.
pub(super) fn expand(table: &mut Table, dir: &Path) -> Result<Vec<ExpandedText>, Vec<(String, String)>> {
    let mut expansion = Expansion { dir, written: Vec::new(), wrong: Vec::new(), bytes: 0 };
    expansion.table(table, "");
    if expansion.wrong.is_empty() { Ok(expansion.written) } else { Err(expansion.wrong) }
}

struct Expansion<'a> {
    dir: &'a Path,
    written: Vec<ExpandedText>,
    wrong: Vec<(String, String)>,
    bytes: u64,
}

impl Expansion<'_> {
    fn table(&mut self, table: &mut Table, path: &str) {
        for (key, value) in table.iter_mut() {
            self.value(value, &super::document::join(path, key));
        }
    }

    fn value(&mut self, value: &mut Value, path: &str) {
        match value {
            Value::Table(table) => self.table(table, path),
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value, path)),
            Value::String(text) if text.contains("${") => {
                match self.text(text, path) {
                    Ok(value) => {
                        let written = ExpandedText { path: path.into(), text: text.clone(), value: value.clone() };
                        // An unchanged string needs no record, so a job with only such strings is stored as before.
                        self.written.extend((value != *text).then_some(written));
                        *text = value;
                    }
                    Err(message) => {
                        let key = path.rsplit('.').next().unwrap_or(path);
                        self.wrong.push((path.into(), format!("`{key}` {message}")));
                    }
                };
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str, path: &str) -> Result<String, String> {
        if path == "name" {
            let help = "must not contain `${`, because checkpoints and logs show a job's name; write the name itself";
            return Err(help.into());
        }
        let pieces = pieces(text)?;
        if is_url(path) {
            return self.of_url(&pieces);
        }
        let mut expanded = String::new();
        for piece in &pieces {
            expanded.push_str(&value(piece, self.dir)?);
            if self.bytes + expanded.len() as u64 > JOB_FILE_BYTES_MAX {
                return Err(format!("makes the job longer than {JOB_FILE_BYTES_MAX} bytes; shorten the values"));
            }
        }
        self.bytes += expanded.len() as u64;
        Ok(expanded)
    }

    /// Returns the same text with absolute paths of files.
    fn of_url(&self, pieces: &[TextPiece<'_>]) -> Result<String, String> {
        let dir = std::path::absolute(self.dir).unwrap_or_else(|_| self.dir.to_owned());
        let written = pieces.iter().map(|piece| match piece {
            TextPiece::Text("${") => "$${".to_owned(),
            TextPiece::Text(text) => (*text).to_owned(),
            TextPiece::Variable { name, default: None } => format!("${{{name}}}"),
            TextPiece::Variable { name, default: Some(default) } => format!("${{{name}:-{default}}}"),
            TextPiece::File(path) => format!("${{file:{}}}", dir.join(path).display()),
        });
        Ok(written.collect())
    }
}

/// Returns whether a key holds the URL of a database.
fn is_url(path: &str) -> bool {
    let keys: Vec<&str> = path.split('.').collect();
    matches!(*keys, ["sinks" | "sources", _, "url"] | ["stages", _, "enrich", "url"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_values_and_a_second_sign_takes_that_back() {
        let variable = |name, default| TextPiece::Variable { name, default };
        assert_eq!(pieces("a${B}c"), Ok(vec![TextPiece::Text("a"), variable("B", None), TextPiece::Text("c")]));
        assert_eq!(pieces("$${B} $5 $$"), Ok(vec![TextPiece::Text("${"), TextPiece::Text("B} $5 $$")]));
        assert_eq!(pieces("${A:-x:-y}${_b}"), Ok(vec![variable("A", Some("x:-y")), variable("_b", None)]));
        assert_eq!(pieces("${file:run/x}"), Ok(vec![TextPiece::File("run/x")]));
        assert_eq!(pieces("${12}${A}"), Ok(vec![TextPiece::Text("${"), TextPiece::Text("12}"), variable("A", None)]));
        for wrong in ["${", "${}", "${1", "${1A}", "${A B}", "${file:}", "a${A", "${A-b}"] {
            assert!(pieces(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_come_from_the_environment_and_from_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "from a file\r\n").unwrap();
        let of = |text: &str| -> Result<String, String> {
            pieces(text)?.iter().map(|piece| value(piece, dir.path())).collect()
        };
        assert_eq!(of("<${file:token}>").unwrap(), "<from a file>");
        assert_eq!(of("${PATH}").unwrap(), std::env::var("PATH").unwrap());
        assert_eq!(of("${SURELY_NOT_SET:-7}").unwrap(), "7");
        assert!(of("${SURELY_NOT_SET}").unwrap_err().contains("`SURELY_NOT_SET`, which is not set"));
        assert!(of("${file:none}").unwrap_err().contains("`none`, which cannot be read: file not found"));
        std::fs::write(dir.path().join("long"), vec![b'a'; VARIABLE_BYTES_MAX as usize + 1]).unwrap();
        assert!(of("${file:long}").unwrap_err().contains("at most 65536 bytes"));
    }
}
