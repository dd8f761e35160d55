//! Reads the logs of a store at startup.

use super::frame::{Frame, Frames, LOG_VERSION, NextFrame, UnreadableLog};
use super::{DIR, Head, LogHeads, LogName};
use crate::checkpoint::store::Store;
use crate::checkpoint::types::PlanEntry;
use bytes::Bytes;
use millstream_base::error::{Error, Result};
use millstream_base::retry::StoreErrorKind;

/// Reads the heads of all complete entries of all logs, in order of generation, process and `after`. Damage is recorded per log, because everything
/// before it can still be used ([`LogHeads::check`] returns it as an error). Fails if the store cannot be read or a newer version wrote a log.
/// Objects with other names are ignored, with a warning.
pub fn read_heads(store: &dyn Store) -> Result<Vec<LogHeads>> {
    let objects = store.list(DIR).map_err(Error::environment)?;
    let mut names = Vec::new();
    for object in &objects {
        match LogName::parse(&object.path) {
            Some(name) => names.push(name),
            None => tracing::warn!("`{}` in `{}` is not a log of plans and is ignored", object.path, store.location()),
        }
    }
    names.sort();
    names.into_iter().map(|name| heads_of(store, name)).collect()
}

fn heads_of(store: &dyn Store, name: LogName) -> Result<LogHeads> {
    let path = name.path();
    let mut heads = Vec::new();
    let log = match store.read_log(&path) {
        Ok(log) => log,
        Err(error) if error.kind == StoreErrorKind::Incomplete => {
            return Ok(LogHeads { name, path, heads, damage: Some(error.reason) });
        }
        Err(error) => return Err(Error::environment(error)),
    };
    let damage = walk(store, &name, &log, |frame| {
        heads.push(frame.head()?);
        Ok(true)
    })?;
    Ok(LogHeads { name, path, heads, damage })
}

/// Calls `take` for every entry that `selects` selects among those that [`read_heads`] returned, log by log. Logs without any are not read again. The
/// kept chunks share the memory of their log. Fails if an entry no longer exists or cannot be read.
pub fn read_entries(
    store: &dyn Store,
    logs: &[LogHeads],
    selects: impl Fn(&LogName, &Head) -> bool,
    mut take: impl FnMut(&LogName, PlanEntry),
) -> Result<()> {
    for log in logs {
        // In reverse, so that the next one is popped.
        let mut expected: Vec<(&Head, bool)> =
            log.heads.iter().map(|head| (head, selects(&log.name, head))).rev().collect();
        let Some(last) = expected.iter().position(|(_, selects)| *selects) else { continue };
        expected.drain(..last);
        let bytes = store.read_log(&log.path).map_err(Error::environment)?;
        let damage = walk(store, &log.name, &bytes, |frame| {
            let Some((head, selects)) = expected.pop() else { return Ok(false) };
            if frame.head()? != *head {
                return Err("it has changed since its heads were read".into());
            }
            if selects {
                take(&log.name, frame.entry()?);
            }
            Ok(!expected.is_empty())
        })?;
        if let Some((head, _)) = expected.last() {
            let cut = || format!("its end is missing since its heads were read, from batch {} on", head.batch);
            let read = log.heads.len().saturating_sub(expected.len().saturating_add(last));
            let heads = log.heads.get(..read).unwrap_or_default().to_vec();
            LogHeads { heads, damage: Some(damage.unwrap_or_else(cut)), ..log.clone() }.check(&store.location())?;
        } else if damage.is_some() {
            LogHeads { damage, ..log.clone() }.check(&store.location())?;
        }
    }
    Ok(())
}

/// Visits the complete frames of a log in order, until `visit` returns `false` or why a frame cannot be read. Returns where and how the log is
/// damaged. The error: a newer version wrote it.
fn walk(
    store: &dyn Store,
    name: &LogName,
    log: &Bytes,
    mut visit: impl FnMut(&Frame) -> Result<bool, String>,
) -> Result<Option<String>> {
    let path = name.path();
    let torn = |at: usize| {
        let bytes = log.len().saturating_sub(at);
        tracing::debug!("the last append to `{path}` was cut short at byte {at}; its {bytes} bytes are ignored");
        Ok(None)
    };
    let damaged = |at: usize, what: String| Ok(Some(format!("{what} (at byte {at} of {})", log.len())));
    let mut frames = match Frames::open(name, log) {
        Ok(frames) => frames,
        Err(UnreadableLog::Torn) => return torn(0),
        Err(UnreadableLog::Damaged(what)) => return damaged(0, what),
        Err(UnreadableLog::Newer(version)) => {
            let store_location = store.location();
            return Err(Error::environment(format!(
                "the log of plans `{path}` in `{store_location}` was written by a newer version of Millstream (format {version}; \
                 this one reads formats up to {LOG_VERSION}); run the job with that version"
            )));
        }
    };
    loop {
        let at = frames.at();
        match frames.next() {
            NextFrame::End => return Ok(None),
            NextFrame::Torn => return torn(at),
            NextFrame::Damaged(what) => return damaged(at, what),
            NextFrame::Frame(frame) => match visit(&frame) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(what) => return damaged(at, what),
            },
        }
    }
}
