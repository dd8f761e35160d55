//! The text of a job file as a TOML table, with the line of every key, and with the changes of `--set`.

use super::errors::JobErrors;
use super::spec::Origin;
use super::variables::{self, ExpandedText};
use millstream_base::error::{Error, Result};
use millstream_base::limits::JOB_PATH_BYTES_MAX;
use millstream_base::suggest;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// A job file that is parsed TOML but not interpreted yet.
#[derive(Debug)]
pub(super) struct Document {
    /// The complete text.
    pub text: Arc<str>,
    /// The keys and values, in the order of the file.
    pub table: Table,
    /// Line (from 1) of each key by its dotted path.
    pub lines: BTreeMap<String, usize>,
    /// The dotted paths that `--set` changed.
    pub sets: BTreeSet<String>,
    /// The strings in which variables were replaced.
    pub written: Vec<ExpandedText>,
}

/// Reads the text of the job file `file`.
pub(super) fn read(text: &str, file: &Path) -> Result<Document> {
    let text_of_file: Arc<str> = text.into();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let starts = line_starts(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut builder = Builder { starts: &starts, lines: BTreeMap::new(), wrong: Vec::new() };
    builder.wrong.extend(errors.iter().take(1).map(|e| {
        let offset = e.span().map_or(0, |s| s.start);
        let found = e.span().and_then(|s| text.get(s)).filter(|t| !t.trim().is_empty() && t.len() < 40);
        let found = found.map(|t| format!(" at `{}`", t.trim())).unwrap_or_default();
        (line_at(&starts, offset), format!("not TOML: {}{found}", e.message()))
    }));
    let table = if builder.wrong.is_empty() { builder.table(table.get_ref(), Some("")) } else { Table::new() };
    if builder.wrong.is_empty() {
        let (sets, written) = (BTreeSet::new(), Vec::new());
        return Ok(Document { text: text_of_file, table, lines: builder.lines, sets, written });
    }
    let wrong = builder.wrong.iter().map(|(line, what)| format!("{}:{line}: {what}", file.display()));
    Err(Error::job(wrong.collect::<Vec<_>>().join("\n")))
}

/// Copies the parser's tables and records the lines.
struct Builder<'a> {
    starts: &'a [usize],
    lines: BTreeMap<String, usize>,
    wrong: Vec<(usize, String)>,
}

impl Builder<'_> {
    /// `path` is `None` below a path that is too long to keep: a small file could name many of those.
    fn table(&mut self, table: &DeTable<'_>, path: Option<&str>) -> Table {
        let mut copy = Table::new();
        for (key, value) in table {
            let path = path.map(|path| join(path, key.get_ref())).filter(|path| path.len() <= JOB_PATH_BYTES_MAX);
            if let Some(path) = &path {
                self.lines.insert(path.clone(), line_at(self.starts, key.span().start));
            }
            let value = self.value(value, path.as_deref());
            copy.insert(key.get_ref().to_string(), value);
        }
        copy
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, path: Option<&str>) -> Value {
        let line = line_at(self.starts, value.span().start);
        match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(flag) => Value::Boolean(*flag),
            DeValue::Datetime(time) => Value::Datetime(*time),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => {
                    self.wrong.push((line, format!("{number} does not fit into 64 bits; write a smaller number")));
                    Value::Integer(0)
                }
            },
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(number) => Value::Float(number),
                Err(_) => {
                    self.wrong.push((line, format!("{number} is not a number; write one")));
                    Value::Float(0.0)
                }
            },
            DeValue::Array(values) => Value::Array(values.iter().map(|v| self.value(v, path)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table, path)),
        }
    }
}

impl Document {
    /// Changes and adds values, for example `--set sources.lines.address=127.0.0.1:9`. A missing part is created if the values include its inputs or
    /// its kind; otherwise its name is reported as an error.
    pub fn set_all(&mut self, sets: &[(String, String)]) -> Result<()> {
        let keys = sets.iter().filter_map(|(path, _)| split_path(path)).filter(|keys| {
            let begins = |key: &String| matches!(key.as_str(), "kind" | "from");
            keys.len() == 2 || (keys.len() == 3 && keys.get(2).is_some_and(begins))
        });
        let parts: BTreeSet<(String, String)> =
            keys.filter_map(|keys| Some((keys.first()?.clone(), keys.get(1)?.clone()))).collect();
        sets.iter().try_for_each(|(path, value)| self.set(path, value, &parts))
    }

    /// Changes or adds one value. The value is TOML, or else plain text.
    fn set(&mut self, path: &str, value: &str, new: &BTreeSet<(String, String)>) -> Result<()> {
        let Some(keys) = split_path(path) else {
            return Err(Error::job(format!(
                "--set {path}: that is not the path of a key; write it as sources.lines.address=127.0.0.1:9999"
            )));
        };
        let known_part = |section: &str| matches!(section, "sources" | "stages" | "sinks");
        if let [section, name, ..] = keys.as_slice()
            && known_part(section)
        {
            let names: Vec<&str> = match self.table.get(section) {
                Some(Value::Table(parts)) => parts.keys().map(String::as_str).collect(),
                _ => Vec::new(),
            };
            if !names.contains(&name.as_str()) && !new.contains(&(section.clone(), name.clone())) {
                let what = section.trim_end_matches('s');
                let hint = match names.is_empty() {
                    true => "; it has none".into(),
                    false => suggest::hint(name, names.iter().copied(), "it has"),
                };
                return Err(Error::job(format!("--set {path}: the job has no {what} `{name}`{hint}")));
            }
        }
        let target = value_at(&mut self.table, &keys).map_err(|holder| {
            Error::job(format!("--set {path}: `{holder}` is not a table, so it has no keys; set `{holder}` itself"))
        })?;
        *target = value_of(value);
        let dotted = keys.join(".");
        let below = format!("{dotted}.");
        self.lines.retain(|path, _| *path != dotted && !path.starts_with(&below));
        self.sets.insert(dotted);
        Ok(())
    }
}

impl Document {
    /// Replaces environment variables and secret files in all strings.
    pub fn put_values(&mut self, file: &Path, dir: &Path) -> Result<()> {
        let wrong = match variables::expand(&mut self.table, dir) {
            Ok(written) => {
                self.written = written;
                return Ok(());
            }
            Err(wrong) => wrong,
        };
        let errors = JobErrors::default();
        for (path, message) in wrong {
            let mut keys = path.split('.');
            let part = match (keys.next(), keys.next(), keys.next()) {
                (Some(section @ ("sources" | "stages" | "sinks")), Some(name), Some(_)) => {
                    format!("{} `{name}`: ", section.trim_end_matches('s'))
                }
                _ => String::new(),
            };
            errors.add(path, &part, message);
        }
        let origin = Origin { file: Some(file.into()), lines: self.lines.clone(), ..Origin::default() };
        errors.result(&origin, &self.sets)
    }

    /// Writes `timestamp(us)` for `timestamp` in the schemas of sources and tables.
    pub fn write_micros(&mut self) {
        for (section, inside) in [("sources", None), ("stages", Some("enrich"))] {
            let parts = self.table.get_mut(section).and_then(Value::as_table_mut);
            for part in parts.into_iter().flat_map(|parts| parts.iter_mut().map(|(_, part)| part)) {
                let holder = match inside {
                    Some(key) => part.get_mut(key),
                    None => Some(part),
                };
                let Some(Value::Table(columns)) = holder.and_then(|holder| holder.get_mut("schema")) else { continue };
                for (_, column) in columns.iter_mut() {
                    let kind = if column.is_table() { column.get_mut("type") } else { Some(column) };
                    if let Some(kind) = kind.filter(|kind| kind.as_str() == Some("timestamp")) {
                        *kind = Value::String("timestamp(us)".into());
                    }
                }
            }
        }
    }
}

/// Returns the value at this path, which is created if missing; the error names a key on the path that is not a table.
fn value_at<'a>(table: &'a mut Table, keys: &[String]) -> Result<&'a mut Value, String> {
    let mut table = table;
    let (last, parents) = keys.split_last().ok_or_else(String::new)?;
    for (depth, key) in parents.iter().enumerate() {
        match table.entry(key.clone()).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => table = inner,
            _ => return Err(keys[..=depth].join(".")),
        }
    }
    Ok(table.entry(last.clone()).or_insert(Value::Boolean(false)))
}

/// Splits a dotted path into keys, which may be quoted as in TOML.
fn split_path(path: &str) -> Option<Vec<String>> {
    if path.contains(['\n', '\r', '=', '[']) {
        return None;
    }
    let mut table: Table = toml::from_str(&format!("{path} = 0")).ok()?;
    let mut keys = Vec::new();
    loop {
        let (key, value) = std::mem::take(&mut table).into_iter().next()?;
        keys.push(key);
        match value {
            Value::Table(inner) => table = inner,
            _ => return Some(keys),
        }
    }
}

/// Returns the value as TOML, or the text itself.
fn value_of(text: &str) -> Value {
    let table = toml::from_str::<Table>(&format!("value = {text}")).ok().filter(|t| t.len() == 1);
    table.and_then(|mut t| t.remove("value")).unwrap_or_else(|| Value::String(text.into()))
}

/// Returns the path of a key below a path.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.into() } else { format!("{path}.{key}") }
}

/// Returns the offset of each line.
fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|offset| offset + 1)).collect()
}

/// Returns the line (from 1) of a byte.
fn line_at(starts: &[usize], offset: usize) -> usize {
    starts.partition_point(|start| *start <= offset).max(1)
}
