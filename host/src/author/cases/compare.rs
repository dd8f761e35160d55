//! Compares expected rows with actual rows.

use chrono::{DateTime, SecondsFormat};
use millstream_base::error::{Error, Result};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// Maximum number of rows of one list in a difference.
const ROWS_SHOWN_MAX: usize = 10;

/// The rows of a batch, in the format of a `queue` sink and of `expected.jsonl`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchLine {
    batch: Option<u64>,
    time: Option<String>,
    rows: Vec<Value>,
}

impl BatchLine {
    /// Creates the line of a batch.
    pub(super) fn of_rows(batch: u64, rows: Vec<Value>) -> BatchLine {
        BatchLine { batch: Some(batch), time: None, rows: rows.into_iter().map(normalize).collect() }
    }

    /// Merges all rows into one batch.
    pub(super) fn merge(lines: Vec<BatchLine>) -> BatchLine {
        BatchLine::of_rows(1, lines.into_iter().flat_map(|line| line.rows).collect())
    }
}

/// Reads the lines of a file. If a line has no batch number, its line number is used.
pub(super) fn read_lines(path: &Path) -> Result<Vec<BatchLine>> {
    let text = read_text(path)?;
    let mut lines = Vec::new();
    let mut batches = BTreeSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let mut line: BatchLine = serde_json::from_str(line).map_err(|cause| {
            let path = path.display();
            Error::job(format!("{path}:{number}: {cause}; write a batch as {{\"batch\":{number},\"rows\":[{{…}}]}}"))
        })?;
        let batch = *line.batch.get_or_insert(number);
        if !batches.insert(batch) {
            return Err(Error::job(format!("{}:{number}: batch {batch} appears twice", path.display())));
        }
        line.rows = line.rows.into_iter().map(normalize).collect();
        lines.push(line);
    }
    Ok(lines)
}

/// Returns the batches whose times are expected.
pub(super) fn timed_batches(lines: &[BatchLine]) -> BTreeSet<u64> {
    lines.iter().filter(|line| line.time.is_some()).filter_map(|line| line.batch).collect()
}

/// Returns the lines of a file with these rows. Lines without rows are omitted.
pub(super) fn to_lines(lines: &[BatchLine]) -> String {
    let with_rows = lines.iter().filter(|line| !line.rows.is_empty());
    let line = |line: &BatchLine| format!("{}\n", serde_json::json!({ "batch": line.batch, "rows": line.rows }));
    with_rows.map(line).collect()
}

/// Removes the columns from actual rows that no expected row names.
pub(super) fn keep_columns_of(expected: &[BatchLine], got: &mut [BatchLine]) {
    let members = |row: &'_ Value| row.as_object().into_iter().flat_map(|row| row.keys().cloned()).collect::<Vec<_>>();
    let named: BTreeSet<String> = expected.iter().flat_map(|line| line.rows.iter().flat_map(members)).collect();
    for row in got.iter_mut().flat_map(|line| &mut line.rows).filter_map(Value::as_object_mut) {
        row.retain(|name, _| named.contains(name));
    }
}

/// Describes the first batch that differs. A missing batch has no rows.
pub(super) fn difference(expected: &[BatchLine], got: &[BatchLine], ordered: bool) -> Option<String> {
    let by_batch = |lines: &[BatchLine]| -> BTreeMap<u64, BatchLine> {
        lines.iter().map(|line| (line.batch.unwrap_or_default(), line.clone())).collect()
    };
    let (mut expected, mut got) = (by_batch(expected), by_batch(got));
    let batches: BTreeSet<u64> = expected.keys().chain(got.keys()).copied().collect();
    for batch in batches {
        let (expected, got) = (expected.remove(&batch).unwrap_or_default(), got.remove(&batch).unwrap_or_default());
        let found = differing_time(&expected, &got).or_else(|| differing_rows(&expected.rows, &got.rows, ordered));
        if let Some(found) = found {
            return Some(format!("batch {batch}:\n{}", found.trim_end()));
        }
    }
    None
}

fn differing_time(expected: &BatchLine, got: &BatchLine) -> Option<String> {
    let time = expected.time.as_ref()?;
    let got = got.time.as_deref().unwrap_or("none");
    (normalize_time(time) != normalize_time(got)).then(|| format!("  expected time {time}\n  got time      {got}"))
}

/// Describes the differences of rows, as lines for people.
pub(super) fn differing_rows(expected: &[Value], got: &[Value], ordered: bool) -> Option<String> {
    let mut text = String::new();
    let (missing, unexpected) = (remaining(expected, got), remaining(got, expected));
    if !missing.is_empty() || !unexpected.is_empty() {
        show(&mut text, "missing    ", &missing);
        show(&mut text, "unexpected ", &unexpected);
    } else if ordered && expected != got {
        text.push_str("  the rows are correct, but their order is not\n");
        show(&mut text, "expected   ", expected);
        show(&mut text, "got        ", got);
    }
    (!text.is_empty()).then_some(text)
}

/// Returns the rows that remain when each of `others` removes an equal one from `rows`.
fn remaining(rows: &[Value], others: &[Value]) -> Vec<Value> {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    for other in others {
        *taken.entry(other.to_string()).or_default() += 1;
    }
    let left = rows.iter().filter(|row| match taken.get_mut(&row.to_string()) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    });
    left.cloned().collect()
}

fn show(text: &mut String, what: &str, rows: &[Value]) {
    for row in rows.iter().take(ROWS_SHOWN_MAX) {
        let _ = writeln!(text, "  {what}  {row}");
    }
    if rows.len() > ROWS_SHOWN_MAX {
        let _ = writeln!(text, "  {what}  … and {} more rows", rows.len() - ROWS_SHOWN_MAX);
    }
}

/// Returns a time in the form that sinks write, and other strings unchanged. So `…05Z` becomes `…05.000000Z`.
fn normalize_time(text: &str) -> Cow<'_, str> {
    match DateTime::parse_from_rfc3339(text) {
        Ok(time) if time.timestamp_subsec_nanos().is_multiple_of(1_000) => {
            time.to_utc().to_rfc3339_opts(SecondsFormat::Micros, true).into()
        }
        _ => text.into(),
    }
}

/// Normalizes a value so that equal values have equal text: `1.0` becomes `1`, a time has microseconds, and members are
/// sorted.
pub(super) fn normalize(value: Value) -> Value {
    /// Up to this limit, every integral float is exactly one integer.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT => (float as i64).into(),
            _ => Value::Number(number),
        },
        Value::String(text) => Value::String(normalize_time(&text).into_owned()),
        Value::Array(values) => values.into_iter().map(normalize).collect(),
        Value::Object(members) => {
            let sorted: BTreeMap<String, Value> = members.into_iter().map(|(name, v)| (name, normalize(v))).collect();
            sorted.into_iter().collect()
        }
        other => other,
    }
}

pub fn read_text(path: &Path) -> Result<String> {
    millstream_base::regular::read_to_string(path)
        .map_err(|cause| Error::job(format!("cannot read {}: {cause}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<BatchLine> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read_lines(file.path()).unwrap()
    }

    fn differ(expected: &str, got: &str, ordered: bool) -> String {
        difference(&lines(expected), &lines(got), ordered).unwrap_or_default()
    }

    #[test]
    fn order_matters_only_where_it_is_fixed() {
        let (ab, ba) = (r#"{"rows":[{"a":1},{"a":2.0}]}"#, r#"{"batch":1,"rows":[{"a":2},{"a":1}]}"#);
        assert_eq!(differ(ab, ba, false), "");
        assert!(differ(ab, ba, true).starts_with("batch 1:\n  the rows are correct, but their order is not\n"));
        assert_eq!(differ(ab, r#"{"rows":[{"a":1.0},{"a":2}]}"#, true), "");
    }

    #[test]
    fn rows_count_as_often_as_they_come() {
        let got = differ(r#"{"rows":[1,1,2]}"#, r#"{"rows":[1,2,2]}"#, false);
        assert_eq!(got, "batch 1:\n  missing      1\n  unexpected   2");
        assert_eq!(differ(r#"{"rows":[{"a":1,"b":[2.5]}]}"#, r#"{"rows":[{"b":[2.5],"a":1}]}"#, true), "");
    }

    #[test]
    fn times_are_compared_as_times() {
        let at = |time: &str| format!("{{\"time\":\"{time}\",\"rows\":[{{\"a\":[\"{time}\"]}}]}}");
        let got = at("2026-01-01T00:00:05.000000Z");
        for same in ["2026-01-01T00:00:05Z", "2026-01-01T00:00:05.000Z", "2026-01-01T01:00:05+01:00"] {
            assert_eq!(differ(&at(same), &got, true), "", "{same}");
        }
        for other in ["2026-01-01T00:00:05.000001Z", "2026-01-01T00:00:05", "2026-01-01T00:00:05.0000001Z"] {
            assert_ne!(differ(&at(other), &got, true), "", "{other}");
        }
    }

    #[test]
    fn batches_may_be_left_out_where_they_have_no_rows_and_times_count_where_they_are_given() {
        assert_eq!(differ("", r#"{"batch":1,"time":"x","rows":[]}"#, true), "");
        assert!(differ("", r#"{"batch":7,"rows":[1]}"#, true).starts_with("batch 7:\n  unexpected"));
        assert!(differ(r#"{"batch":7,"rows":[1]}"#, "", true).starts_with("batch 7:\n  missing"));
        let time = differ(r#"{"time":"a","rows":[]}"#, r#"{"time":"b","rows":[]}"#, true);
        assert_eq!(time, "batch 1:\n  expected time a\n  got time      b");
        let many = format!("{{\"rows\":[{}]}}", (0..12).map(|i| i.to_string()).collect::<Vec<_>>().join(","));
        assert!(differ("", &many, true).ends_with("… and 2 more rows"));
    }

    #[test]
    fn big_integers_stay_exact_and_a_batch_twice_is_a_mistake() {
        assert_ne!(differ(r#"{"rows":[9223372036854775807]}"#, r#"{"rows":[9223372036854775806]}"#, true), "");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"batch\":2,\"rows\":[]}\n{\"rows\":[]}\n").unwrap();
        assert!(read_lines(file.path()).unwrap_err().message.contains(":2: batch 2 appears twice"));
    }
}
