//! Reads a stage of a job file.

use crate::connector::Kinds;
use crate::spec::{OperatorSpec, StageSpec, UpdateEmit, WindowEmit};
use crate::stage::{
    aggregate, cogroup, deduplicate, distinct, enrich, join, keys, newest, pattern, plugin, repartition, sample, split,
    sql, top, window,
};
use crate::table::Reader;
use millstream_base::built;

/// Reads `[stages.<name>]`.
pub fn read(name: String, r: &Reader<'_>, kinds: &Kinds) -> StageSpec {
    r.check_keys(keys::STAGE, keys::LATER, None);
    r.need("from", "from = \"…\" with the name of a source or stage");
    for key in ["filter", "pattern", "select", "sql"].into_iter().filter(|key| !cfg!(feature = "sql") && r.has(key)) {
        r.wrong(key, built::absent(&format!("`{key}`"), "sql"));
    }
    let from = r.strings("from", "from = \"lines\" or from = [\"a\", \"b\"]").unwrap_or_default();
    let (rows, results) = emit(r);
    let (window, event_time) = window::read::window_and_time(r, results);
    StageSpec {
        name,
        from,
        key: key(r),
        op: r.text("op", "op = \"op\"").map(Into::into),
        window,
        event_time,
        operator: operator(r, rows, kinds),
        filter: r.text("filter", "an SQL expression, for example filter = \"n > 0\"").map(Into::into),
        select: r
            .text("select", "the columns of the rows, for example select = \"word, n * 2 as double\"")
            .map(Into::into),
    }
}

/// Reads the key, which may be inside `top`.
fn key(r: &Reader<'_>) -> Vec<String> {
    let example = "key = \"word\" or key = [\"a\", \"b\"]";
    let top = if matches!(r.table.get("top"), Some(toml::Value::Table(_))) { r.inner("top", "") } else { None };
    let inner = top.filter(|top| top.has("key"));
    if let Some(top) = inner.as_ref().filter(|_| r.has("key")) {
        top.wrong("key", "`key` is set in `top` and in the stage; remove one");
    }
    inner.as_ref().unwrap_or(r).strings("key", example).unwrap_or_default()
}

/// Reads `emit`: for a plugin of world `update`, or for windows.
fn emit(r: &Reader<'_>) -> (Option<UpdateEmit>, Option<WindowEmit>) {
    let choices = [
        ("rows", (Some(UpdateEmit::Rows), None)),
        ("changes", (Some(UpdateEmit::Changes), None)),
        ("state", (Some(UpdateEmit::State), None)),
        ("close", (None, Some(WindowEmit::Close))),
        ("update", (None, Some(WindowEmit::Update))),
    ];
    let emit = r.choice("emit", &choices, &[]).unwrap_or_default();
    if emit.0 == Some(UpdateEmit::Changes) && r.has("aggregate") {
        return (None, Some(WindowEmit::Changes));
    }
    if emit.0.is_some() && !r.has("plugin") {
        r.wrong("emit", for_plugins(r, "emit"));
    }
    emit
}

fn operator(r: &Reader<'_>, emit: Option<UpdateEmit>, kinds: &Kinds) -> OperatorSpec {
    let operators: Vec<&str> = r.table.keys().map(String::as_str).filter(|key| keys::OPERATORS.contains(key)).collect();
    let cogroup = operators.contains(&"cogroup");
    let first = if cogroup { Some(&"cogroup") } else { operators.first() };
    for other in operators.iter().filter(|other| Some(*other) != first && !(cogroup && **other == "plugin")) {
        let both = if cogroup { "cogroup" } else { operators[0] };
        let message =
            format!("a stage has one operator, and this one has `{both}` and `{other}`; make two stages of it");
        r.wrong(other, message);
    }
    if !r.has("plugin") {
        for key in keys::PLUGIN_KEYS.iter().filter(|key| r.has(key) && !(r.has("sql") && **key == "limits")) {
            r.wrong(key, for_plugins(r, key));
        }
    }
    if r.has("functions") && !r.has("sql") {
        r.wrong("functions", "`functions` is for stages with `sql`; remove it");
    }
    if r.has("inverse") && !r.has("aggregate") && !r.has("plugin") {
        r.wrong("inverse", "`inverse` is for stages with `aggregate` or a plugin of world aggregate; remove it");
    }
    match first.copied() {
        Some("plugin") => OperatorSpec::Plugin(plugin::read::plugin(r, emit)),
        Some("cogroup") => cogroup::read(r, emit),
        Some("aggregate") => {
            OperatorSpec::Aggregate { columns: aggregate::read(r), inverse: r.flag("inverse").unwrap_or_default() }
        }
        Some("sql") => sql::read(r),
        Some("join") => join::read(r),
        Some("enrich") => enrich::read(r, kinds),
        Some("top") => top::read(r),
        Some("latest") => newest::read(r),
        Some("distinct") => distinct::read(r),
        Some("deduplicate") => deduplicate::read(r),
        Some("pattern") => pattern::read(r),
        Some("sample") => sample::read(r),
        Some("split") => split::read(r),
        Some("repartition") => repartition::read(r),
        _ => OperatorSpec::Union,
    }
}

/// Returns the message about a key that only plugins have.
fn for_plugins(r: &Reader<'_>, key: &str) -> String {
    if key == "on" && (r.has("join") || r.has("enrich")) {
        let example = if r.has("join") { "join" } else { "enrich" };
        return format!(
            "`on` belongs inside `{example}`; write it there, for example {example} = {{ …, on = \
            \"user\" }}"
        );
    }
    if r.has("functions") && ["config", "instance", "grant"].contains(&key) {
        return format!("`{key}` belongs to the plugin of a function; write `functions.<name>.{key}`");
    }
    let operator = keys::OPERATORS.iter().any(|operator| r.has(operator));
    let instead = if operator { "remove it" } else { "add plugin = \"…\", or remove it" };
    format!("`{key}` is for stages with a plugin; {instead}")
}
