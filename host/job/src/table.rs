//! Typed access to one table of a job file. Every wrong value is recorded as an error and treated as absent, so that reading continues.

use super::document::join;
use super::errors::JobErrors;
use super::keys::{self, TableKey};
use super::spec::{RejectedMax, Url};
use millstream_base::limits::NAME_BYTES_MAX;
use millstream_base::suggest;
use millstream_base::units;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Value;

/// A table, its path, and the collector of its errors.
#[derive(Clone)]
pub struct Reader<'a> {
    /// Dotted path of the table; empty for the complete file.
    pub path: String,
    /// Prefix of messages, for example ``stage `words`: ``.
    pub part: String,
    /// Prefix of keys in messages if the table is inside another key, for example `limits.`.
    pub inside: String,
    /// The table.
    pub table: &'a toml::Table,
    /// The directory of relative paths.
    pub(super) dir: &'a Path,
    /// The names of all keys of sources, stages and sinks.
    pub(super) names: &'a BTreeSet<&'static str>,
    /// The errors of the job.
    pub(super) errors: &'a JobErrors,
}

impl<'a> Reader<'a> {
    /// Returns whether the key exists.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Returns whether a key has a list.
    pub fn is_list(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(Value::is_array)
    }

    /// Adds an error in the value of a key.
    pub fn wrong(&self, key: &str, message: impl Into<String>) {
        self.errors.add(join(&self.path, key), &self.part, message);
    }

    /// Adds an error for a missing key that is required here.
    pub fn need(&self, key: &str, example: &str) {
        // A misspelled key is reported as that.
        let misspelt =
            |other: &String| !self.names.contains(other.as_str()) && suggest::nearest(other, [key]).is_some();
        if !self.has(key) && !self.table.keys().any(misspelt) {
            self.wrong(key, format!("`{}{key}` is missing; write {example}", self.inside));
        }
    }

    /// Adds an error for a value of the wrong type.
    pub fn wrong_type(&self, key: &str, value: &Value, needs: &str, example: &str) {
        self.wrong(key, format!("`{}{key}` is {}, needs {needs}; write {example}", self.inside, type_of(value)));
    }

    /// Adds an error for every key that is unknown, not for this `kind` of part, or of a later version. No `kind`: the table has none, or an unknown
    /// one.
    pub fn check_keys(&self, keys: &[TableKey], later: &[&str], kind: Option<&str>) {
        let kinds = keys::kinds(keys);
        for key in self.table.keys() {
            // Several kinds may have a key of the same name with different meanings.
            let known: Vec<&TableKey> = keys.iter().filter(|k| k.name == key).collect();
            if !known.is_empty() {
                if let Some(kind) = kind.filter(|kind| !known.iter().any(|known| known.fits(kind))) {
                    let fitting = |kind: &&str| known.iter().any(|known| known.fits(kind));
                    let kinds = suggest::list(kinds.iter().copied().filter(fitting));
                    let message = format!("`{key}` is not for kind `{kind}` but for {kinds}; remove it");
                    self.wrong(key, message);
                }
            } else if let Some(section) = self.elsewhere(key) {
                self.wrong(key, format!("`{}{key}` {section}", self.inside));
            } else if later.contains(&key.as_str()) {
                self.wrong(key, format!("`{}{key}` is not available in this version; remove it", self.inside));
            } else {
                let fit = keys.iter().filter(|k| kind.is_none_or(|kind| k.fits(kind)));
                let (existing, names): (Vec<&str>, Vec<&str>) = fit.map(|k| k.name).partition(|name| self.has(name));
                let meant = |names: &[&'static str]| suggest::nearest(key, names.iter().copied());
                let hint = match meant(&existing).filter(|_| meant(&names).is_none()) {
                    Some(near) => format!("; did you mean `{near}`, which is already set?"),
                    None if names.is_empty() => "; remove it".into(),
                    // A list of the names of all kinds would be too long.
                    None if kind.is_none() && !kinds.is_empty() && meant(&names).is_none() => {
                        ", which no kind has".into()
                    }
                    None => suggest::hint(key, names.iter().copied(), "these keys fit"),
                };
                self.wrong(key, format!("unknown key `{}{key}`{hint}", self.inside));
            }
        }
    }

    /// Returns where a key belongs that must not be at the top level of a part, or in a function of `sql`.
    fn elsewhere(&self, key: &str) -> Option<&'static str> {
        let (section, _) = self.path.split_once('.')?;
        match self.inside.split('.').collect::<Vec<_>>()[..] {
            [""] => keys::elsewhere(section, key),
            ["functions", _, ""] => keys::elsewhere("functions", key),
            _ => None,
        }
    }

    /// Reads a string.
    pub fn text(&self, key: &str, example: &str) -> Option<&'a str> {
        match self.table.get(key)? {
            Value::String(text) if text.is_empty() => {
                self.wrong(key, format!("`{}{key}` is empty; write {example}", self.inside));
                None
            }
            Value::String(text) => Some(text),
            other => {
                self.wrong_type(key, other, "text", example);
                None
            }
        }
    }

    /// Reads a path.
    pub fn path(&self, key: &str, example: &str) -> Option<PathBuf> {
        self.text(key, example).map(PathBuf::from)
    }

    /// Reads `true` or `false`.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.table.get(key)? {
            Value::Boolean(flag) => Some(*flag),
            other => {
                self.wrong_type(key, other, "true or false", &format!("{key} = true"));
                None
            }
        }
    }

    /// Reads an integer from `min` to `max`.
    pub fn integer(&self, key: &str, min: u64, max: u64) -> Option<u64> {
        match self.table.get(key)? {
            Value::Integer(number) => match u64::try_from(*number).ok().filter(|n| (min..=max).contains(n)) {
                None => {
                    let range = match max >= i64::MAX as u64 {
                        true => format!("at least {min}"),
                        false => format!("{min} to {max}"),
                    };
                    self.wrong(key, format!("`{}{key}` is {number}; write a number of {range}", self.inside));
                    None
                }
                number => number,
            },
            other => {
                self.wrong_type(key, other, "an integer", &format!("{key} = {}", min.max(10).min(max)));
                None
            }
        }
    }

    /// Reads a number from 0 to 1.
    pub fn share(&self, key: &str) -> Option<f64> {
        let share = match self.table.get(key)? {
            Value::Integer(number) => *number as f64,
            Value::Float(number) => *number,
            other => {
                self.wrong_type(key, other, "a number from 0 to 1", &format!("{key} = 0.1"));
                return None;
            }
        };
        if (0.0..=1.0).contains(&share) {
            return Some(share);
        }
        self.wrong(
            key,
            format!("`{}{key}` is {share}; write a number from 0 to 1, for example {key} = 0.1", self.inside),
        );
        None
    }

    /// Reads a number of rows, or a share of them: `0.1` or `"10%"`.
    pub fn rows_or_share(&self, key: &str) -> Option<RejectedMax> {
        let example = format!("{key} = 100, or {key} = \"10%\"");
        let value = self.table.get(key)?;
        let max = match value {
            Value::Integer(rows) => u64::try_from(*rows).ok().map(RejectedMax::Rows),
            Value::Float(share) => (0.0..=1.0).contains(share).then_some(RejectedMax::Share(*share)),
            Value::String(text) => units::percent(text).map(RejectedMax::Share),
            other => {
                self.wrong_type(key, other, "a number of rows or a share of them", &example);
                return None;
            }
        };
        if max.is_none() {
            let name = format!("{}{key}", self.inside);
            self.wrong(key, format!("`{name} = {value}` must be a number of rows or a share of them; write {example}"));
        }
        max
    }

    /// Reads a time.
    pub fn time(&self, key: &str) -> Option<Duration> {
        match self.table.get(key)? {
            Value::String(text) => match units::time(text) {
                Ok(time) => Some(time),
                Err(help) => {
                    self.wrong(key, format!("`{}{key} = \"{text}\"` is not a time; {help}", self.inside));
                    None
                }
            },
            other => {
                self.wrong(
                    key,
                    format!("`{}{key}` is {}, needs a time; {}", self.inside, type_of(other), units::TIME_HELP),
                );
                None
            }
        }
    }

    /// Reads a time that may have a sign, in microseconds.
    pub fn signed_time_us(&self, key: &str) -> Option<i64> {
        let example = format!("{key} = \"-1h\"");
        let text = self.text(key, &example)?;
        let wrong = |help| self.wrong(key, format!("`{}{key} = \"{text}\"` is not a time; {help}", self.inside));
        units::signed_time_us(text).map_err(wrong).ok()
    }

    /// Reads a size in bytes, from `min` to `max`.
    pub fn size(&self, key: &str, min: u64, max: u64) -> Option<u64> {
        let bytes = match self.table.get(key)? {
            Value::Integer(number) => u64::try_from(*number).map_err(|_| units::SIZE_HELP.to_string()),
            Value::String(text) => units::size(text),
            other => {
                self.wrong(
                    key,
                    format!("`{}{key}` is {}, needs a size; {}", self.inside, type_of(other), units::SIZE_HELP),
                );
                return None;
            }
        };
        let shown = self.table.get(key).map(ToString::to_string).unwrap_or_default();
        match bytes {
            Ok(bytes) if (min..=max).contains(&bytes) => Some(bytes),
            Ok(_) => {
                let (min, max) = (units::show_size(min), units::show_size(max));
                let message = format!("`{}{key} = {shown}` is out of range; write {min} to {max}", self.inside);
                self.wrong(key, message);
                None
            }
            Err(help) => {
                self.wrong(key, format!("`{}{key} = {shown}` is not a size; {help}", self.inside));
                None
            }
        }
    }

    /// Reads a string or a list of strings, none of them empty.
    pub fn strings(&self, key: &str, example: &str) -> Option<Vec<String>> {
        let value = self.table.get(key)?;
        let strings: Option<Vec<String>> = match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(values) => values.iter().map(|v| v.as_str().map(String::from)).collect(),
            _ => None,
        };
        match strings {
            Some(strings) if strings.iter().all(|t| !t.is_empty()) && !strings.is_empty() => Some(strings),
            Some(_) => {
                self.wrong(key, format!("`{}{key}` is empty; write {example}", self.inside));
                None
            }
            None => {
                self.wrong_type(key, value, "a string or a list of strings", example);
                None
            }
        }
    }

    /// Reads the required key `url`.
    pub fn url(&self, example: &str) -> Url {
        self.need("url", example);
        Url(self.text("url", example).unwrap_or_default().to_owned())
    }

    /// Reads a required string; empty if it is missing.
    pub fn needed_text(&self, key: &str, example: &str) -> String {
        self.need(key, example);
        self.text(key, example).unwrap_or_default().to_owned()
    }

    /// Reads one of some words; `later` are those of later versions.
    pub fn choice<T: Clone>(&self, key: &str, choices: &[(&str, T)], later: &[&str]) -> Option<T> {
        let known = || choices.iter().map(|(word, _)| *word);
        let text = match self.table.get(key)? {
            Value::String(text) => text.as_str(),
            other => {
                let needs = format!("one of {}", suggest::list(known()));
                self.wrong_type(key, other, &needs, &format!("{key} = \"{}\"", known().next().unwrap_or_default()));
                return None;
            }
        };
        if let Some((_, meaning)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(meaning.clone());
        }
        let name = format!("`{}{key} = \"{text}\"`", self.inside);
        if later.contains(&text) {
            let now = format!("{}{}", if choices.len() > 1 { "one of: " } else { "" }, suggest::list(known()));
            self.wrong(key, format!("{name} is not available in this version; write {now}"));
        } else {
            let names: Vec<&str> = known().collect();
            let hint = suggest::hint(text, names.iter().copied(), "write one of");
            self.wrong(key, format!("{name} is unknown{hint}"));
        }
        None
    }

    /// Reads the required key `kind` of a source or sink.
    pub(super) fn kind(&self, kinds: &[&'static str], later: &[&str]) -> Option<&'static str> {
        if let Some((first, other_kinds)) = kinds.split_first() {
            self.need("kind", &format!("kind = \"{first}\", or one of {}", other_kinds.join(", ")));
        }
        let choices: Vec<_> = kinds.iter().map(|word| (*word, *word)).collect();
        self.choice("kind", &choices, later)
    }

    /// Returns a table inside this one.
    pub fn inner(&self, key: &str, example: &str) -> Option<Reader<'a>> {
        match self.table.get(key)? {
            Value::Table(table) => Some(Reader {
                path: join(&self.path, key),
                part: self.part.clone(),
                inside: format!("{}{key}.", self.inside),
                table,
                dir: self.dir,
                names: self.names,
                errors: self.errors,
            }),
            other => {
                self.wrong_type(key, other, "a table", example);
                None
            }
        }
    }

    /// Returns the tables of `sources`, `stages` or `sinks` with their names, in the order of the file.
    pub fn parts(&self, section: &str, what: &str) -> Vec<(String, Reader<'a>)> {
        let Some(parts) = self.inner(section, &format!("[{section}.name] and its keys below it")) else {
            return Vec::new();
        };
        let mut readers = Vec::new();
        for (name, value) in parts.table {
            let path = join(&parts.path, name);
            match value {
                Value::Table(_) if name.len() > NAME_BYTES_MAX => {
                    let bytes = name.len();
                    let message = format!("the name of a {what} is {bytes} bytes long; write at most {NAME_BYTES_MAX}");
                    self.errors.add(section, "", message);
                }
                Value::Table(table) => {
                    let part = format!("{what} `{name}`: ");
                    let (dir, names, errors) = (self.dir, self.names, self.errors);
                    let reader = Reader { path, part, inside: String::new(), table, dir, names, errors };
                    readers.push((name.clone(), reader));
                }
                other => {
                    let message = format!(
                        "`{section}.{name}` is {}, needs a table; write [{section}.{name}] and the keys of the {what} \
                         below it",
                        type_of(other)
                    );
                    self.errors.add(path, "", message);
                }
            }
        }
        readers
    }
}

/// Returns the type of a value for messages.
pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date or time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}
