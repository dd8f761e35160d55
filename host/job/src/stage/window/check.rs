//! What must hold of windows.

use crate::part_errors::PartErrors;
use crate::spec::{OperatorSpec, StageSpec, WindowBegin, WindowEmit, WindowExtent, WindowSpec};
use millstream_base::limits::WINDOW_SLIDES_MAX;
use millstream_base::time::microseconds;
use millstream_base::units;
use std::time::Duration;

/// Help of errors about event time.
const TIME: &str = "write time = \"…\" with a timestamp column";

pub fn check(spec: &StageSpec, part: &PartErrors<'_>) {
    inverse(spec, part);
    changes(spec, part);
    let Some(window) = &spec.window else { return };
    let name = part.existing_path(["window", "join.window"]);
    match &window.extent {
        WindowExtent::All => all(spec, name, part),
        WindowExtent::Sliding { size, slide, begin: at } => {
            sliding(spec, *size, *slide, name, part);
            begin(spec, *size, slide.unwrap_or(*size), at, name, part);
        }
        WindowExtent::Session { gap, length_max } => {
            let good = length(&format!("{name}.gap"), *gap, "30s", part);
            if length(&format!("{name}.length_max"), *length_max, "24h", part) && good && length_max < gap {
                let (most, gap) = (units::show_time(*length_max), units::show_time(*gap));
                let message = format!(
                    "`{name}.length_max` is {most}, and a session of a single row lasts its `gap`, {gap}; write a \
                     longer time"
                );
                part.wrong(&format!("{name}.length_max"), message);
            }
            if spec.event_time.is_none() {
                part.wrong(&format!("{name}.gap"), format!("`{name}.gap`: sessions need event time; {TIME}"));
            }
        }
    }
    if window.emit == WindowEmit::Update {
        let path = part.existing_path(["emit", &format!("{name}.emit")]).to_owned();
        if spec.event_time.is_none() {
            part.wrong(&path, format!("`emit = \"update\"` is for windows of event time; {TIME}, or remove it"));
        } else if !matches!(spec.operator, OperatorSpec::Aggregate { .. } | OperatorSpec::Plugin(_)) {
            let message = "`emit = \"update\"` is for aggregates, whose results of a window can be refined; remove it";
            part.wrong(&path, message);
        }
    }
}

/// Checks an operator over all rows: aggregates need not keep the rows, and others keep what they need.
fn all(spec: &StageSpec, name: &str, part: &PartErrors<'_>) {
    let fits = follows_changes(spec) || matches!(spec.operator, OperatorSpec::Plugin(_) | OperatorSpec::Sql { .. });
    if !fits {
        let message = format!(
            "`{name} = \"all\"` is for aggregates, queries, `join`, `latest` and `top`, because other operators \
             would keep every row indefinitely; write aggregate = {{ n = \"count(*)\" }}, or window = {{ size = \
             \"30s\" }}"
        );
        part.wrong(name, message);
    }
    if spec.event_time.is_some() {
        let message = "`time` does nothing here: window = \"all\" holds all rows, whatever their time; remove it";
        part.wrong(part.existing_path(["time", &format!("{name}.time")]), message);
    }
}

/// Checks a duration: neither zero nor too long. Returns whether it is valid.
pub fn length(key: &str, time: Duration, example: &str, part: &PartErrors<'_>) -> bool {
    let good = time >= Duration::from_micros(1) && units::fits(time);
    if time < Duration::from_micros(1) {
        part.wrong(key, format!("`{key}` is zero; write a time such as \"{example}\""));
    } else if !good {
        part.wrong(key, format!("`{key}` is more than ten years; write a time such as \"{example}\""));
    }
    good
}

fn sliding(spec: &StageSpec, size: Duration, slide: Option<Duration>, name: &str, part: &PartErrors<'_>) {
    let (size_key, slide_key) = (format!("{name}.size"), format!("{name}.slide"));
    let good = length(&size_key, size, "30s", part);
    if !slide.is_none_or(|slide| length(&slide_key, slide, "10s", part)) || !good {
        return;
    }
    let batch = if spec.event_time.is_some() { Duration::from_micros(1) } else { part.job.batch };
    if part.errors.within("batch") && spec.event_time.is_none() {
        return;
    }
    if batch.is_zero() {
        let message = format!(
            "a window of processing time consists of batches, which have no length with batch = \"0s\"; write batch \
             = \"1s\" at the top, or {} for windows of event time",
            TIME.trim_start_matches("write ")
        );
        return part.wrong(name, message);
    }
    for (key, time) in [(&size_key, Some(size)), (&slide_key, slide)] {
        let Some(time) = time.filter(|time| !time.as_micros().is_multiple_of(batch.as_micros())) else { continue };
        let below = multiple(time.as_micros() / batch.as_micros(), batch);
        let above = multiple(time.as_micros() / batch.as_micros() + 1, batch);
        let nearest = if below.is_zero() {
            format!("\"{}\"", units::show_time(above))
        } else {
            format!("\"{}\" or \"{}\"", units::show_time(below), units::show_time(above))
        };
        let (time, batch) = (units::show_time(time), units::show_time(batch));
        let message = format!(
            "`{key}` is {time}, which is not a multiple of the batch interval, {batch}, and a window of processing \
             time consists of complete batches; write {nearest}"
        );
        return part.wrong(key, message);
    }
    let each = slide.unwrap_or(if spec.event_time.is_some() { size } else { batch });
    let slides = size.as_micros() / each.as_micros().max(1);
    if slides > u128::from(WINDOW_SLIDES_MAX) {
        let least = size.as_micros().div_ceil(u128::from(WINDOW_SLIDES_MAX)).div_ceil(batch.as_micros());
        let (each, least) = (units::show_time(each), units::show_time(multiple(least, batch)));
        let message = format!(
            "a window would have {slides} slides of {each}, more than {WINDOW_SLIDES_MAX}; write slide = \"{least}\" or \
             longer, or a shorter `size`"
        );
        part.wrong(&slide_key, message);
    }
}

/// Checks settings of stages over all rows only: applying deletions, and ranks.
fn changes(spec: &StageSpec, part: &PartErrors<'_>) {
    let over_all = spec.window.as_ref().is_some_and(|window| window.extent == WindowExtent::All);
    let latest = matches!(spec.operator, OperatorSpec::Newest { .. });
    let follows = follows_changes(spec) || matches!(spec.operator, OperatorSpec::Sql { .. });
    if spec.op.is_some() && !(over_all && follows || latest) {
        let message = "`op` is for `aggregate`, `join`, `sql` and `top` over all rows, which can remove rows; write \
            window = \"all\", or remove it";
        part.wrong("op", message);
    }
    if latest && spec.window.is_some() && !over_all {
        let message = "`latest` covers all rows; remove `window`";
        part.wrong("window", message);
    }
    if matches!(&spec.operator, OperatorSpec::Join(join) if join.ttl.is_some()) && !over_all {
        part.wrong("join.ttl", "`join.ttl` is for a join of all rows; write window = \"all\", or remove it");
    }
    if matches!(spec.operator, OperatorSpec::Top { rank: Some(_), .. }) && !over_all {
        part.wrong("top.rank", "`top.rank` is for a ranking of all rows; write window = \"all\", or remove it");
    }
}

/// Returns whether the operator can work on all rows and apply deletions.
fn follows_changes(spec: &StageSpec) -> bool {
    use OperatorSpec::{Aggregate, Join, Newest, Top};
    matches!(spec.operator, Aggregate { .. } | Join(_) | Newest { .. } | Top { .. })
}

/// Checks the alignment of windows.
fn begin(spec: &StageSpec, size: Duration, slide: Duration, begin: &WindowBegin, name: &str, part: &PartErrors<'_>) {
    const HOUR_US: u128 = 3_600_000_000;
    let (offset, zone) = (format!("{name}.offset"), format!("{name}.zone"));
    let slide_us = microseconds(slide);
    if spec.event_time.is_none() {
        for key in [(begin.offset_us != 0).then_some(&offset), begin.zone.is_some().then_some(&zone)] {
            let Some(key) = key else { continue };
            let message = format!("`{key}` is for windows of event time; {TIME}, or remove it");
            part.wrong(key, message);
        }
    } else if begin.offset_us.unsigned_abs() >= slide_us.unsigned_abs() && begin.offset_us != 0 && slide_us > 0 {
        let message =
            format!("`{offset}` must be shorter than the slide, {}; write the remainder", units::show_time(slide));
        part.wrong(&offset, message);
    } else if begin.zone.is_some() && ![size, slide].iter().all(|time| time.as_micros().is_multiple_of(HOUR_US)) {
        let message =
            format!("`{zone}` is for windows that are multiples of one hour; remove it, or write size = \"1h\"");
        part.wrong(&zone, message);
    }
}

/// Returns the duration of this number of batches.
fn multiple(count: u128, batch: Duration) -> Duration {
    Duration::from_micros(u64::try_from(count.saturating_mul(batch.as_micros())).unwrap_or(u64::MAX))
}

/// Checks `inverse`: it needs sliding windows.
fn inverse(spec: &StageSpec, part: &PartErrors<'_>) {
    let set = match &spec.operator {
        OperatorSpec::Aggregate { inverse, .. } => *inverse,
        OperatorSpec::Plugin(plugin) => plugin.inverse.is_some(),
        _ => false,
    };
    let slides = matches!(&spec.window, Some(WindowSpec { extent: WindowExtent::Sliding { .. }, .. }));
    if set && !slides {
        let message = "`inverse` subtracts rows that leave a sliding window, and this stage has no such window; add \
                       window = { size = \"30s\", slide = \"10s\" }, or remove it";
        part.wrong("inverse", message);
    }
}
