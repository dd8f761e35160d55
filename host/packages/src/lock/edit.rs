//! Changes the `plugin` of a stage, source or sink in the text of a job file. Everything else stays unchanged, comments included.

use super::file;
use millstream_base::error::{Error, Result};
use millstream_job::connector::Kinds;
use millstream_job::plugin_part::PluginPart;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Resolves the name of a part whose plugin the user means to its id ([`PluginPart::id`]). The user may give the name alone, or the
/// section before it: stages and sources share one name space, and a sink may have the name of one of them.
pub fn part_of(job: &Path, named: &str) -> Result<String> {
    if named.contains('.') {
        return Ok(PluginPart::parse(named).id());
    }
    let text = millstream_job::read_text(job)?;
    let table = DeTable::parse(without_mark(&text))
        .map_err(|error| Error::job(format!("{}: not TOML: {}", job.display(), error.message())))?;
    let all = [PluginPart::Stage(named), PluginPart::Source(named), PluginPart::Sink(named)];
    let found = || all.into_iter().filter_map(|part| Some((part, part_in(table.get_ref(), part)?.1)));
    let with_plugin = found().find(|(_, table)| table.get("plugin").is_some());
    Ok(with_plugin.or_else(|| found().next()).map_or(all[0], |(part, _)| part).id())
}

/// Sets the `plugin` of a part in a job file, atomically. `stage` names the part, see [`PluginPart`].
pub fn set_plugin(job: &Path, stage: &str, plugin: &str) -> Result<()> {
    // Changes of other stages by other processes must not be lost.
    let _lock = file::lock_exclusively(dir_of(job))?;
    let (text, changed) = before_and_after(job, stage, plugin)?;
    if changed == text { Ok(()) } else { file::replace(job, &changed) }
}

/// Checks that the `plugin` of a part can be set to this value: a valid job must stay valid.
pub fn check(job: &Path, kinds: &Kinds, stage: &str, plugin: &str) -> Result<()> {
    let (text, changed) = before_and_after(job, stage, plugin)?;
    let parse = |text: &str| millstream_job::parse(text, kinds, job, dir_of(job), &[]);
    if parse(&text).is_ok() { parse(&changed).map(drop) } else { Ok(()) }
}

/// Returns the text of a job file, and its text with another `plugin` in a stage.
fn before_and_after(job: &Path, stage: &str, plugin: &str) -> Result<(String, String)> {
    let text = millstream_job::read_text(job)?;
    let part = PluginPart::parse(stage);
    let changed =
        with_plugin(&text, stage, plugin).map_err(|cause| Error::job(format!("{}: {part}: {cause}", job.display())))?;
    Ok((text, changed))
}

/// Returns the `plugin` of a part in the job file; `None` if it has none.
pub fn plugin_of(job: &Path, stage: &str) -> Result<Option<String>> {
    let text = millstream_job::read_text(job)?;
    let part = PluginPart::parse(stage);
    let wrong = |cause: String| Error::job(format!("{}: {part}: {cause}", job.display()));
    let table = DeTable::parse(without_mark(&text)).map_err(|error| wrong(format!("not TOML: {}", error.message())))?;
    let Some((_, found)) = part_in(table.get_ref(), part) else {
        return Err(wrong(format!("no such {}", part.keyword())));
    };
    match found.get("plugin").map(Spanned::get_ref) {
        None => Ok(None),
        Some(DeValue::String(plugin)) => Ok(Some(plugin.to_string())),
        Some(_) => Err(wrong("`plugin` must be a string".into())),
    }
}

/// Returns the text of a job file with another `plugin` in a part. The error is the message.
fn with_plugin(text: &str, part: &str, plugin: &str) -> Result<String, String> {
    let part = PluginPart::parse(part);
    let bare = without_mark(text);
    let value = toml::Value::String(plugin.to_owned()).to_string();
    let (range, new) = {
        let table = DeTable::parse(bare).map_err(|error| format!("not TOML: {}", error.message()))?;
        let missing = || format!("no such {} in `{}`", part.keyword(), part.section());
        let (span, found) = part_in(table.get_ref(), part).ok_or_else(missing)?;
        match found.get("plugin") {
            Some(old) => (old.span(), value),
            None => addition(bare, span, found, &value)?,
        }
    };
    let (before, after) = (bare.get(..range.start), bare.get(range.end..));
    let (Some(before), Some(after)) = (before, after) else { return Err(by_hand(plugin)) };
    let changed = format!("{before}{new}{after}");
    if !differs_there_only(bare, &changed, part, plugin) {
        return Err(by_hand(plugin));
    }
    let mark = text.get(..text.len() - bare.len()).unwrap_or_default();
    Ok(format!("{mark}{changed}"))
}

/// Returns where and how to add a `plugin` to a stage without one: after its first key, in the style of this key.
fn addition(
    text: &str,
    span: Range<usize>,
    stage: &DeTable<'_>,
    value: &str,
) -> Result<(Range<usize>, String), String> {
    let first = stage.iter().min_by_key(|(key, _)| key.span().start);
    let Some((key, first)) = first else { return Err(by_hand(value.trim_matches('"'))) };
    let end = first.span().end;
    if text.get(span).is_some_and(|stage| stage.starts_with('{')) {
        return Ok((end..end, format!(", plugin = {value}")));
    }
    let line = text.get(..key.span().start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let lead = text.get(line..key.span().start).unwrap_or_default();
    let rest = text.get(end..).unwrap_or_default();
    let after_text = end + rest.find('\n').unwrap_or(rest.len());
    let after_text =
        if text.get(..after_text).is_some_and(|line| line.ends_with('\r')) { after_text - 1 } else { after_text };
    let ending = if text.contains("\r\n") { "\r\n" } else { "\n" };
    Ok((after_text..after_text, format!("{ending}{lead}plugin = {value}")))
}

/// Returns the table of a stage, source or sink, and its position.
fn part_in<'a, 'i>(table: &'a DeTable<'i>, part: PluginPart<'_>) -> Option<(Range<usize>, &'a DeTable<'i>)> {
    let inner = |table: &'a DeTable<'i>, key: &str| match table.get(key).map(|value| (value.span(), value.get_ref())) {
        Some((span, DeValue::Table(inner))) => Some((span, inner)),
        _ => None,
    };
    inner(inner(table, part.section())?.1, part.name())
}

/// Whether the changed text differs from the old job in this one value only.
fn differs_there_only(old: &str, new: &str, part: PluginPart<'_>, plugin: &str) -> bool {
    let (Ok(mut old), Ok(new)) = (toml::from_str::<toml::Table>(old), toml::from_str::<toml::Table>(new)) else {
        return false;
    };
    let found = old.get_mut(part.section()).and_then(|parts| parts.get_mut(part.name()));
    let Some(found) = found.and_then(toml::Value::as_table_mut) else { return false };
    found.insert("plugin".into(), toml::Value::String(plugin.to_owned()));
    old == new
}

/// The directory of a job file.
pub fn dir_of(job: &Path) -> &Path {
    job.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn by_hand(plugin: &str) -> String {
    format!("its `plugin` cannot be changed in this text; write plugin = \"{plugin}\" there")
}

/// Removes the byte order mark that some editors write.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

#[cfg(test)]
mod tests;
