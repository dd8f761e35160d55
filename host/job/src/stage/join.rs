//! `join`: pairs of rows of two inputs.

use super::{on, window};
use crate::build::strings;
use crate::keys::{KeyShape, TableKey, key};
use crate::part_errors::PartErrors;
use crate::spec::{JoinKind, JoinSpec, OperatorSpec, StageSpec};
use crate::table::{Reader, type_of};
use millstream_base::time::microseconds;
use millstream_base::units;
use std::time::Duration;
use toml::Value;

/// `join` of a stage.
pub(super) const KEY: TableKey = key(
    "join",
    KeyShape::Table(KEYS),
    "Pair the rows of two inputs, in each batch or window, or within a time: { with = \"orders\", on = \"user\" }.",
);

/// What keys of the stage mean with this operator.
pub(super) const DOCS: &[(&str, &str)] = &[window::OP_OF_ALL];

const KEYS: &[TableKey] = &[
    key("with", KeyShape::Text, "The second input, if `from` names only the first."),
    key(
        "on",
        on::SHAPE,
        "Columns that must be equal: \"user\", [\"user\", \"day\"], or { user = \"user_id\" } if the second input has another \
         name for it.",
    )
    .required(),
    key(
        "type",
        KeyShape::Word(&["inner", "left", "right", "full"]),
        "Which rows without a partner are kept: none (`inner`), those of the first input (`left`), of the second (`right`), or \
         of both (`full`). `inner` by default.",
    ),
    key(
        "within",
        KeyShape::Within,
        "Event time: maximum distance between the times of partners, for example \"10s\"; or the earliest and latest time of the \
         second row relative to the first: [\"-5s\", \"10s\"]. Without it, partners are in the same batch or window.",
    ),
    key(
        "as_of",
        KeyShape::Flag,
        "Event time: pair each row of the first input with the latest row of the second that has the same key and is not later. \
         `within` limits the age of that row.",
    ),
    key(
        "ttl",
        KeyShape::Time,
        "With `window = \"all\"`: a key without new rows in either input for this long is dropped with all its rows. Never by \
         default.",
    ),
    key("window", KeyShape::Table(window::KEYS), "Same as `window` of the stage."),
];

impl JoinSpec {
    /// An inner join of rows of one batch or window by columns of both inputs.
    pub fn on<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> JoinSpec {
        let on = strings(columns).into_iter().map(|name| (name.clone(), name)).collect();
        JoinSpec { with: None, on, kind: JoinKind::Inner, within_us: None, as_of: false, ttl: None }
    }

    /// Sets which rows without a partner are kept.
    #[must_use]
    pub fn kind(mut self, kind: JoinKind) -> JoinSpec {
        self.kind = kind;
        self
    }

    /// Makes it an as-of join: each row gets the latest row of the second input at its event time.
    #[must_use]
    pub fn as_of(mut self) -> JoinSpec {
        self.as_of = true;
        self
    }

    /// For a join of all rows: drops a key that has had no new rows for this long.
    #[must_use]
    pub fn ttl(mut self, time: Duration) -> JoinSpec {
        self.ttl = Some(time);
        self
    }

    /// Makes it an interval join: how far apart the event times of partners may be.
    #[must_use]
    pub fn within(mut self, time: Duration) -> JoinSpec {
        let us = microseconds(time);
        self.within_us = Some((-us, us));
        self
    }
}

impl StageSpec {
    /// Joins pairs of rows of two streams that are equal in these columns.
    pub fn join<S: Into<String>>(name: impl Into<String>, from: [S; 2], join: JoinSpec) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Join(join))
    }
}

/// Reads `join`; its `window` is read with that of the stage.
pub(super) fn read(r: &Reader<'_>) -> OperatorSpec {
    let mut spec =
        JoinSpec { with: None, on: Vec::new(), kind: JoinKind::Inner, within_us: None, as_of: false, ttl: None };
    if let Some(r) = r.inner("join", "join = { with = \"orders\", on = \"user\" }") {
        r.check_keys(KEYS, &[], None);
        r.need("on", "on = \"user\", with a column of both inputs");
        let kinds = [JoinKind::Inner, JoinKind::Left, JoinKind::Right, JoinKind::Full].map(|kind| (kind.name(), kind));
        spec = JoinSpec {
            with: r.text("with", "with = \"orders\"").map(Into::into),
            on: on::read(&r),
            kind: r.choice("type", &kinds, &[]).unwrap_or_default(),
            within_us: within(&r),
            as_of: r.flag("as_of").unwrap_or_default(),
            ttl: r.time("ttl"),
        };
    }
    OperatorSpec::Join(spec)
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

pub(super) fn check(spec: &StageSpec, join: &JoinSpec, part: &PartErrors<'_>) {
    let inputs = spec.reads().count();
    if inputs != 2 {
        let message = format!(
            "a join has two inputs, but this one has {inputs}; write from = \"a\" and join = {{ with = \"b\", on = \
            … }}"
        );
        part.wrong(if join.with.is_some() { "from" } else { "join.with" }, message);
    }
    on::check("join.on", &join.on, part);
    if let Some(ttl) = join.ttl {
        window::check::length("join.ttl", ttl, "30d", part);
    }
    if join.as_of {
        check_as_of(spec, join, part);
    }
    let Some((from_us, to_us)) = join.within_us else { return };
    let key = "join.within";
    let time = |us: i64| Duration::from_micros(us.unsigned_abs());
    if !units::fits(time(from_us)) || !units::fits(time(to_us)) {
        part.wrong(key, format!("`{key}` is more than ten years; write a time such as \"10s\""));
    } else if from_us > to_us {
        let show = |us: i64| format!("{}{}", if us < 0 { "-" } else { "" }, units::show_time(time(us)));
        let (from, to) = (show(from_us), show(to_us));
        part.wrong(
            key,
            format!("`{key}` is from {from} to {to}, which is an empty range; write [\"{to}\", \"{from}\"]"),
        );
    } else if spec.window.is_some() {
        part.wrong(key, "`join.within` and `window` both say which rows can be partners; remove one");
    } else if spec.event_time.is_none() {
        let message = "`join.within` needs event time, or the join would keep all rows; write time = \"…\" with a \
                       timestamp column (or a list, one per input), or remove `within` to join the rows of each \
                       batch";
        part.wrong(key, message);
    }
}

/// Checks an as-of join.
fn check_as_of(spec: &StageSpec, join: &JoinSpec, part: &PartErrors<'_>) {
    let key = "join.as_of";
    if spec.window.is_some() {
        part.wrong(key, "`join.as_of` and `window` both say which rows can be partners; remove one");
    } else if spec.event_time.is_none() {
        let message =
            "`join.as_of` needs event time: write time = [\"at\", \"since\"] with a timestamp column of each input";
        part.wrong(key, message);
    }
    if !matches!(join.kind, JoinKind::Inner | JoinKind::Left) {
        part.wrong(
            "join.type",
            "`join.as_of` keeps the rows of the first input only; write type = \"left\" or type = \"inner\"",
        );
    }
    if join.within_us.is_some_and(|(from_us, to_us)| from_us != to_us.saturating_neg()) {
        part.wrong(
            "join.within",
            "with `join.as_of`, `join.within` says how old a partner may be: one time, for example within = \"1h\"",
        );
    }
}
