//! Window and event time of a stage.

use super::KEYS;
use crate::columns::zone;
use crate::keys::EVENT_TIME_KEYS;
use crate::spec::{EventTimeSpec, WindowBegin, WindowEmit, WindowExtent, WindowSpec};
use crate::table::Reader;
use millstream_base::limits;
use std::time::Duration;
use toml::Value;

const WINDOW: &str = "window = { size = \"30s\", slide = \"10s\" }, window = { gap = \"30s\" } for sessions, or \
                      window = \"all\" for running totals";

/// Reads the stage's window and event time, whose keys may be inside the window. `emit` is the stage's setting for windows.
pub fn window_and_time(r: &Reader<'_>, emit: Option<WindowEmit>) -> (Option<WindowSpec>, Option<EventTimeSpec>) {
    let all = r.table.get("window").and_then(Value::as_str).is_some_and(|word| word == "all");
    let window = if all { None } else { window(r) };
    let reader_of = |key: &str| {
        let inner = window.as_ref().filter(|window| window.has(key));
        if let Some(inner) = inner.filter(|_| r.has(key)) {
            inner.wrong(key, format!("`{key}` is set in `{}` and in the stage; remove one", within(inner)));
        }
        inner.or(Some(r).filter(|r| r.has(key)))
    };
    let readers = EVENT_TIME_KEYS.map(|key| (key, reader_of(key)));
    let of_time = readers.iter().any(|(key, reader)| *key == "time" && reader.is_some());
    for (key, reader) in readers.iter().filter(|_| !of_time) {
        if let Some(r) = reader {
            let message = format!(
                "`{}{key}` is for event time; write time = \"…\" with a timestamp column, or remove it",
                r.inside
            );
            r.wrong(key, message);
        }
    }
    let extent = if all { Some(WindowExtent::All) } else { window.as_ref().and_then(extent) };
    let changes = emit.filter(|emit| all && *emit == WindowEmit::Changes);
    let emit = if all { changes } else { emit_of(r, window.as_ref(), emit, of_time) };
    if all && r.has("emit") && changes.is_none() {
        r.wrong("emit", "`emit` is for windows that end, but window = \"all\" never ends; remove it");
    }
    let [time, lateness, idle, ahead_max] = readers;
    let length = |(key, reader): (&str, Option<&Reader<'_>>)| reader.and_then(|r| r.time(key));
    let event_time = time.1.and_then(|r| r.strings("time", "time = \"ts\" with a timestamp column")).map(|time| {
        let lateness = length(lateness).unwrap_or_default();
        EventTimeSpec { time, lateness, idle: length(idle), ahead_max: length(ahead_max) }
    });
    (extent.map(|extent| WindowSpec { extent, emit: emit.unwrap_or_default() }), event_time)
}

/// Returns `window`, of the stage or of its join.
fn window<'a>(r: &Reader<'a>) -> Option<Reader<'a>> {
    let join = matches!(r.table.get("join"), Some(Value::Table(_))).then(|| r.inner("join", "")).flatten();
    let in_join = join.filter(|join| join.has("window"));
    if let Some(join) = in_join.as_ref().filter(|_| r.has("window")) {
        join.wrong("window", "`window` is set in `join` and in the stage; remove one");
    }
    let window = in_join.as_ref().unwrap_or(r).inner("window", WINDOW)?;
    window.check_keys(KEYS, &[], None);
    Some(window)
}

/// Returns the name of a nested table, for example `join.window`.
fn within<'a>(r: &'a Reader<'_>) -> &'a str {
    r.inside.trim_end_matches('.')
}

/// Reads `emit`, in the window or on the stage.
fn emit_of(
    r: &Reader<'_>,
    window: Option<&Reader<'_>>,
    of_stage: Option<WindowEmit>,
    of_time: bool,
) -> Option<WindowEmit> {
    let choices = [("close", WindowEmit::Close), ("update", WindowEmit::Update)];
    let inner = window.filter(|window| window.has("emit"));
    if let Some(window) = inner.filter(|_| of_stage.is_some()) {
        window.wrong("emit", format!("`emit` is set in `{}` and in the stage; remove one", within(window)));
    }
    let has_window = window.is_some();
    let (r, emit) = match inner {
        Some(window) => (window, window.choice("emit", &choices, &[])),
        None => (r, of_stage),
    };
    let shown = match emit? {
        WindowEmit::Close => "close",
        WindowEmit::Update => "update",
        WindowEmit::Changes => {
            r.wrong(
                "emit",
                "`emit = \"changes\"` is for an aggregate of all rows; write window = \"all\", or remove it",
            );
            return None;
        }
    };
    let name = format!("`{}emit = \"{shown}\"`", r.inside);
    let (window, time) = ("window = { size = \"30s\" }", "time = \"…\" with a timestamp column");
    let missing = match (has_window, of_time) {
        (true, true) => return emit,
        (true, false) => format!("write {time}"),
        (false, true) => format!("write {window}"),
        (false, false) => format!("write {window} and {time}"),
    };
    r.wrong("emit", format!("{name} is for windows of event time; {missing}, or remove it"));
    emit
}

/// Reads which rows are in one window.
fn extent(r: &Reader<'_>) -> Option<WindowExtent> {
    let (sliding, session) = (["size", "slide", "offset", "zone"], ["gap", "length_max"]);
    let first = |keys: &[&'static str]| keys.iter().copied().find(|key| r.has(key));
    if let (Some(one), Some(other)) = (first(&sliding), first(&session)) {
        let message = format!(
            "`{0}{one}` and `{0}{other}` cannot be combined: a window has `size` and `slide`, or `gap` for \
             sessions; remove one",
            r.inside
        );
        r.wrong(other, message);
        return None;
    }
    if first(&session).is_some() {
        r.need("gap", "gap = \"30s\"");
        let gap = r.time("gap");
        let length_max = match r.has("length_max") {
            true => r.time("length_max"),
            false => Some(Duration::from_millis(limits::SESSION_LENGTH_MS_MAX)),
        };
        return Some(WindowExtent::Session { gap: gap?, length_max: length_max? });
    }
    r.need("size", "size = \"30s\", or gap = \"30s\" for sessions");
    let (size, slide) = (r.time("size"), r.time("slide"));
    let begin = WindowBegin { offset_us: r.signed_time_us("offset").unwrap_or_default(), zone: zone(r) };
    Some(WindowExtent::Sliding { size: size?, slide, begin })
}
