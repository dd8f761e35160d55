//! Operators with more than one input: `join`, `cogroup`, `enrich`.

use super::plugin;
use crate::job::connector::Kinds;
use crate::job::keys;
use crate::job::read::columns;
use crate::job::spec::{
    EnrichFormat, EnrichSpec, EnrichTable, JoinKind, JoinSpec, LatestSpec, OperatorSpec, PluginSpec, UpdateEmit,
};
use crate::job::table::{Reader, type_of};
use crate::limits;
use crate::time::microseconds;
use crate::units;
use std::path::Path;
use std::time::Duration;
use toml::Value;

/// Reads `join`; its `window` is read with that of the stage.
pub(super) fn join(r: &Reader<'_>) -> OperatorSpec {
    let mut spec =
        JoinSpec { with: None, on: Vec::new(), kind: JoinKind::Inner, within_us: None, as_of: false, ttl: None };
    if let Some(r) = r.inner("join", "join = { with = \"orders\", on = \"user\" }") {
        r.check_keys(keys::JOIN, &[], None);
        r.need("on", "on = \"user\", with a column of both inputs");
        let kinds = [JoinKind::Inner, JoinKind::Left, JoinKind::Right, JoinKind::Full].map(|kind| (kind.name(), kind));
        spec = JoinSpec {
            with: r.text("with", "with = \"orders\"").map(Into::into),
            on: on(&r),
            kind: r.choice("type", &kinds, &[]).unwrap_or_default(),
            within_us: within(&r),
            as_of: r.flag("as_of").unwrap_or_default(),
            ttl: r.time("ttl"),
        };
    }
    OperatorSpec::Join(spec)
}

/// Reads the columns of both sides that must be equal.
fn on(r: &Reader<'_>) -> Vec<(String, String)> {
    let example = "on = \"user\", on = [\"user\", \"day\"], or on = { user = \"user_id\" }";
    if !matches!(r.table.get("on"), Some(Value::Table(_))) {
        return r.strings("on", example).unwrap_or_default().into_iter().map(|name| (name.clone(), name)).collect();
    }
    let Some(pairs) = r.inner("on", example) else { return Vec::new() };
    if pairs.table.is_empty() {
        r.wrong("on", format!("`{}on` is empty; write {example}", r.inside));
    }
    let one = |left: &String| Some((left.clone(), pairs.text(left, "on = { user = \"user_id\" }")?.to_owned()));
    pairs.table.keys().filter_map(one).collect()
}

/// Reads `within`, in microseconds from and to.
fn within(r: &Reader<'_>) -> Option<(i64, i64)> {
    let name = format!("`{}within`", r.inside);
    let example = "within = \"10s\", or from and to, for example within = [\"-5s\", \"10s\"]";
    let value = r.table.get("within")?;
    let bounds: Option<Vec<&str>> = match value {
        Value::String(_) => {
            let max = microseconds(r.time("within")?);
            return Some((-max, max));
        }
        Value::Array(bounds) => bounds.iter().map(Value::as_str).collect(),
        _ => None,
    };
    let Some([from, to]) = bounds.as_deref() else {
        r.wrong("within", format!("{name} is {}, needs a time or a list of two; write {example}", type_of(value)));
        return None;
    };
    let bound = |text: &str| {
        let time = units::signed_time_us(text);
        time.map_err(|help| r.wrong("within", format!("{name}: `{text}` is not a time; {help}"))).ok()
    };
    let (from, to) = (bound(from), bound(to));
    Some((from?, to?))
}

/// Reads `cogroup = ["orders", "clicks"]`, or `cogroup = true` with all inputs in `from`.
pub(super) fn cogroup(r: &Reader<'_>, emit: Option<UpdateEmit>) -> OperatorSpec {
    let with = match r.table.get("cogroup") {
        Some(Value::Boolean(true)) => None,
        Some(Value::Boolean(false)) => {
            r.wrong("cogroup", "`cogroup = false` does nothing; remove it, or write cogroup = \"orders\"");
            None
        }
        _ => r.strings("cogroup", "cogroup = \"orders\", or cogroup = true with all inputs in `from`"),
    };
    r.need("plugin", "plugin = \"…\" with a plugin of world cogroup");
    let plugin = if r.has("plugin") { plugin::plugin(r, emit) } else { PluginSpec::new("?") };
    OperatorSpec::Cogroup { with: with.unwrap_or_default(), plugin }
}

/// Reads `enrich`.
pub(super) fn enrich(r: &Reader<'_>, kinds: &Kinds) -> OperatorSpec {
    let none = || EnrichSpec {
        table: EnrichTable::File { path: "?".into(), format: EnrichFormat::Csv },
        on: Vec::new(),
        kind: JoinKind::Left,
        schema: Vec::new(),
        poll: Duration::ZERO,
    };
    let Some(r) = r.inner("enrich", "enrich = { file = \"inventory.csv\", on = \"sku\" }") else {
        return OperatorSpec::Enrich(none());
    };
    r.check_keys(keys::ENRICH, &[], None);
    r.need("on", "on = \"sku\", with a column of the stage's input and of the table");
    let kind = r.choice("type", &[("left", JoinKind::Left), ("inner", JoinKind::Inner)], &[]).unwrap_or(JoinKind::Left);
    if r.has("stream") {
        return OperatorSpec::Latest(latest(&r, kind));
    }
    if r.has("op") {
        r.wrong("op", format!("`{0}op` is for tables from a stream; write {0}stream, or remove it", r.inside));
    }
    let table = table(&r, kinds);
    let poll_ms = match table {
        Some(EnrichTable::Query { .. }) => limits::ENRICH_QUERY_POLL_MS,
        _ => limits::ENRICH_FILE_POLL_MS,
    };
    OperatorSpec::Enrich(EnrichSpec {
        on: on(&r),
        kind,
        schema: columns::schema(&r, "schema = { sku = \"text\", stock = \"int64\" }"),
        poll: r.time("poll").unwrap_or(Duration::from_millis(poll_ms)),
        table: table.unwrap_or(none().table),
    })
}

/// Reads `enrich` with a `stream`.
fn latest(r: &Reader<'_>, kind: JoinKind) -> LatestSpec {
    for key in ["file", "url", "query", "wait", "format", "schema", "poll"].into_iter().filter(|key| r.has(key)) {
        r.wrong(key, format!("`{0}{key}` cannot be combined with `{0}stream`; remove one", r.inside));
    }
    LatestSpec {
        stream: r.text("stream", "stream = \"customers\"").unwrap_or("?").into(),
        on: on(r),
        kind,
        op: r.text("op", "op = \"op\"").map(Into::into),
    }
}

/// Reads where the table comes from: `file`, or `url` and `query`.
fn table(r: &Reader<'_>, kinds: &Kinds) -> Option<EnrichTable> {
    let of = if r.has("url") { "url" } else { "query" };
    for (key, other) in [("url", "file"), ("query", "file"), ("wait", "file"), ("format", of)] {
        if r.has(key) && r.has(other) && (other == "file" || !r.has("file")) {
            r.wrong(key, format!("`{0}{key}` cannot be combined with `{0}{other}`; remove one", r.inside));
        }
    }
    if r.has("url") || r.has("query") {
        let (url, query) = ("url = \"postgres://user:${PGPASSWORD}@127.0.0.1/database\"", "query = \"select …\"");
        r.need("url", url);
        r.need("query", query);
        let (url, query) = (r.text("url", url), r.text("query", query));
        let wait = r.time("wait").unwrap_or(Duration::from_millis(limits::SERVER_WAIT_MS));
        let (url, query) = (url?, query?);
        let Some(kind) = kinds.table(url) else {
            r.wrong("url", "a table from a database is not in this build; run `make build`, or write `file`");
            return None;
        };
        return Some(EnrichTable::Query { kind, url: url.into(), query: query.into(), wait });
    }
    let example = "file = \"inventory.csv\"";
    r.need(
        "file",
        &format!("{example}, or url = \"postgres://…\" and query = \"select …\", or stream = \"customers\""),
    );
    let path = r.path("file", example)?;
    let choices = [("csv", EnrichFormat::Csv), ("json", EnrichFormat::Json), ("parquet", EnrichFormat::Parquet)];
    let chosen = r.choice("format", &choices, keys::FORMATS_LATER);
    let format = if r.has("format") { chosen? } else { format_of(r, &path)? };
    Some(EnrichTable::File { path, format })
}

/// Returns the format by the file's name.
fn format_of(r: &Reader<'_>, path: &Path) -> Option<EnrichFormat> {
    match path.extension().and_then(|end| end.to_str()) {
        Some("csv") => Some(EnrichFormat::Csv),
        Some("json" | "jsonl" | "ndjson") => Some(EnrichFormat::Json),
        Some("parquet") => Some(EnrichFormat::Parquet),
        _ => {
            let message = format!(
                "the name of `{}file = \"{}\"` does not show its format; write format = \"csv\", \"json\" or \
                 \"parquet\"",
                r.inside,
                path.display()
            );
            r.wrong("file", message);
            None
        }
    }
}
