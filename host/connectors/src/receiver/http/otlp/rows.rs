//! Rows of what OTLP brings, from the objects that it is in JSON: a row for each record of a log, point of a metric, or span.
//! What has another form than it should is passed over, as OTLP wants it, but for values: of those `forms` says what they may be.

use super::forms::{double, signed as whole, unsigned};
use crate::batch::cell;
use crate::job::spec::OtlpSignal;
use serde_json::{Map, Value, json};

/// Gives each row of a request to `take`, until it does not want more.
pub fn each<E>(
    signal: OtlpSignal,
    request: &Value,
    mut take: impl FnMut(Map<String, Value>) -> Result<(), E>,
) -> Result<(), E> {
    let (resources, scopes, items) = match signal {
        OtlpSignal::Logs => ("resourceLogs", "scopeLogs", "logRecords"),
        OtlpSignal::Metrics => ("resourceMetrics", "scopeMetrics", "metrics"),
        OtlpSignal::Traces => ("resourceSpans", "scopeSpans", "spans"),
    };
    for resource in list(&request[resources]) {
        let attributes = attributes(&resource["resource"]["attributes"]);
        let mut common = Map::new();
        common.insert("signal".into(), signal.word().into());
        put(&mut common, "service", attributes.get("service.name").filter(|name| name.is_string()).cloned());
        put(&mut common, "resource", object(attributes));
        for scope in list(&resource[scopes]) {
            let begin = Begin { common: &common, scope: &scope["scope"] };
            for item in list(&scope[items]) {
                match signal {
                    OtlpSignal::Logs => take(log(begin.row(), item))?,
                    OtlpSignal::Metrics => metric(begin, item, &mut take)?,
                    OtlpSignal::Traces => take(span(begin.row(), item))?,
                }
            }
        }
    }
    Ok(())
}

/// What the rows of a scope begin with. It is copied for rows alone, of which `take` says when there are too many: attributes and scopes
/// without rows may be many of each.
#[derive(Clone, Copy)]
struct Begin<'a> {
    common: &'a Map<String, Value>,
    scope: &'a Value,
}

impl Begin<'_> {
    fn row(self) -> Map<String, Value> {
        let mut row = self.common.clone();
        put(&mut row, "scope", text(&self.scope["name"]));
        put(&mut row, "scope_version", text(&self.scope["version"]));
        row
    }
}

fn log(mut row: Map<String, Value>, record: &Value) -> Map<String, Value> {
    let observed = time(&record["observedTimeUnixNano"]);
    put(&mut row, "time", time(&record["timeUnixNano"]).or_else(|| observed.clone()));
    put(&mut row, "observed_time", observed);
    let number = whole(&record["severityNumber"]).filter(|number| (1..=24).contains(number));
    let level = |number: i64| ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"].get((number as usize - 1) / 4);
    put(
        &mut row,
        "severity",
        text(&record["severityText"]).or_else(|| number.and_then(level).map(|word| (*word).into())),
    );
    put(&mut row, "severity_number", number.map(Value::from));
    put(&mut row, "body", as_text(plain(&record["body"])));
    put(&mut row, "name", text(&record["eventName"]));
    ids(&mut row, record);
    put(&mut row, "attributes", object(attributes(&record["attributes"])));
    row
}

/// A row for each point of a metric.
fn metric<E>(
    begin: Begin<'_>,
    metric: &Value,
    take: &mut impl FnMut(Map<String, Value>) -> Result<(), E>,
) -> Result<(), E> {
    let kinds = [
        ("gauge", "gauge"),
        ("sum", "sum"),
        ("histogram", "histogram"),
        ("exponentialHistogram", "exponential_histogram"),
        ("summary", "summary"),
    ];
    for (name, kind) in kinds {
        let data = &metric[name];
        for point in list(&data["dataPoints"]) {
            let mut row = begin.row();
            for (column, said) in [("name", "name"), ("description", "description"), ("unit", "unit")] {
                put(&mut row, column, text(&metric[said]));
            }
            row.insert("kind".into(), kind.into());
            put(&mut row, "time", time(&point["timeUnixNano"]));
            put(&mut row, "start_time", time(&point["startTimeUnixNano"]));
            let temporality = whole(&data["aggregationTemporality"]);
            let word = match temporality {
                Some(1) => Some("delta"),
                Some(2) => Some("cumulative"),
                _ => None,
            };
            put(&mut row, "temporality", word.map(Value::from));
            if kind == "sum" {
                row.insert("monotonic".into(), (data["isMonotonic"] == true).into());
            }
            if let "gauge" | "sum" = kind {
                put(&mut row, "value", whole(&point["asInt"]).map(Value::from).or_else(|| double(&point["asDouble"])));
            } else {
                // One that no column can hold is told of where the row is decoded.
                put(&mut row, "count", Some(unsigned(&point["count"]).unwrap_or(0).into()));
                for column in ["sum", "min", "max"] {
                    put(&mut row, column, double(&point[column]));
                }
                put(&mut row, "buckets", Some(buckets(kind, point)));
            }
            put(&mut row, "attributes", object(attributes(&point["attributes"])));
            take(row)?;
        }
    }
    Ok(())
}

/// How the values of a point are spread.
fn buckets(kind: &str, point: &Value) -> Value {
    let counts = |counts: &Value| -> Value {
        list(counts).iter().map(|count| unsigned(count).unwrap_or(0)).collect::<Vec<_>>().into()
    };
    let doubles = |values: &Value| -> Value { list(values).iter().filter_map(double).collect::<Vec<_>>().into() };
    let side = |side: &Value| json!({ "offset": whole(&side["offset"]).unwrap_or(0), "counts": counts(&side["bucketCounts"]) });
    match kind {
        "histogram" => json!({ "bounds": doubles(&point["explicitBounds"]), "counts": counts(&point["bucketCounts"]) }),
        "summary" => {
            let quantiles = list(&point["quantileValues"]).iter().map(|one| {
                json!({ "quantile": double(&one["quantile"]).unwrap_or(0.into()), "value": double(&one["value"]).unwrap_or(0.into()) })
            });
            json!({ "quantiles": quantiles.collect::<Vec<_>>() })
        }
        _ => json!({
            "scale": whole(&point["scale"]).unwrap_or(0),
            "zero_count": unsigned(&point["zeroCount"]).unwrap_or(0),
            "positive": side(&point["positive"]),
            "negative": side(&point["negative"]),
        }),
    }
}

fn span(mut row: Map<String, Value>, span: &Value) -> Map<String, Value> {
    put(&mut row, "name", text(&span["name"]));
    let kind = whole(&span["kind"]).and_then(|kind| usize::try_from(kind).ok());
    let kinds = ["internal", "server", "client", "producer", "consumer"];
    let kind = kind.and_then(|kind| kinds.get(kind.wrapping_sub(1)));
    put(&mut row, "kind", kind.map(|kind| (*kind).into()));
    put(&mut row, "time", time(&span["startTimeUnixNano"]));
    put(&mut row, "end_time", time(&span["endTimeUnixNano"]));
    ids(&mut row, span);
    put(&mut row, "parent_id", text(&span["parentSpanId"]));
    let status = match whole(&span["status"]["code"]) {
        Some(1) => "ok",
        Some(2) => "error",
        _ => "unset",
    };
    row.insert("status".into(), status.into());
    put(&mut row, "status_message", text(&span["status"]["message"]));
    let events = list(&span["events"]).iter().map(|event| {
        let mut shown = Map::new();
        put(&mut shown, "time", time(&event["timeUnixNano"]));
        put(&mut shown, "name", text(&event["name"]));
        put(&mut shown, "attributes", object(attributes(&event["attributes"])));
        Value::Object(shown)
    });
    put(&mut row, "events", Some(events.collect::<Vec<_>>()).filter(|events| !events.is_empty()).map(Value::from));
    let links = list(&span["links"]).iter().map(|link| {
        let mut shown = Map::new();
        ids(&mut shown, link);
        put(&mut shown, "attributes", object(attributes(&link["attributes"])));
        Value::Object(shown)
    });
    put(&mut row, "links", Some(links.collect::<Vec<_>>()).filter(|links| !links.is_empty()).map(Value::from));
    put(&mut row, "attributes", object(attributes(&span["attributes"])));
    row
}

fn ids(row: &mut Map<String, Value>, of: &Value) {
    put(row, "trace_id", text(&of["traceId"]));
    put(row, "span_id", text(&of["spanId"]));
}

fn put(row: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        row.insert(name.into(), value);
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A text that is not empty.
fn text(value: &Value) -> Option<Value> {
    value.as_str().filter(|text| !text.is_empty()).map(Value::from)
}

/// Nanoseconds since 1970 as a time, as far as microseconds tell it; 0 is none.
fn time(value: &Value) -> Option<Value> {
    let ns = match value {
        Value::String(digits) => digits.parse::<u64>().ok(),
        value => value.as_u64(),
    };
    let us = i64::try_from(ns.filter(|ns| *ns > 0)? / 1_000).ok()?;
    let mut text = String::new();
    cell::write_rfc3339(&mut text, us);
    Some(text.into())
}

/// A list of attributes as an object.
fn attributes(list_of: &Value) -> Map<String, Value> {
    let pairs = list(list_of).iter().filter_map(|one| Some((one["key"].as_str()?.to_owned(), plain(&one["value"]))));
    pairs.collect()
}

fn object(attributes: Map<String, Value>) -> Option<Value> {
    (!attributes.is_empty()).then_some(Value::Object(attributes))
}

/// A value of any type, as JSON has it.
fn plain(any: &Value) -> Value {
    let Some((kind, value)) = any.as_object().and_then(|any| any.iter().next()) else { return Value::Null };
    match kind.as_str() {
        "intValue" => whole(value).map_or(Value::Null, Value::from),
        "doubleValue" => double(value).unwrap_or_default(),
        "arrayValue" => list(&value["values"]).iter().map(plain).collect::<Vec<_>>().into(),
        "kvlistValue" => Value::Object(attributes(&value["values"])),
        _ => value.clone(),
    }
}

/// What a column of text holds; objects and lists stay what they are, so that a `path` leads into them.
fn as_text(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Bool(_) | Value::Number(_) => Some(value.to_string().into()),
        value => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request of one resource with so many attributes, and these scopes.
    fn request(signal: OtlpSignal, attributes: usize, scopes: Vec<Value>) -> Value {
        let (resources, within) = match signal {
            OtlpSignal::Logs => ("resourceLogs", "scopeLogs"),
            OtlpSignal::Metrics => ("resourceMetrics", "scopeMetrics"),
            OtlpSignal::Traces => ("resourceSpans", "scopeSpans"),
        };
        let attribute = |n: usize| json!({ "key": format!("k{n}"), "value": { "stringValue": "v" } });
        let attributes: Vec<_> = (0..attributes).map(attribute).collect();
        json!({ resources: [{ "resource": { "attributes": attributes }, within: scopes }] })
    }

    fn items(signal: OtlpSignal) -> (&'static str, Value) {
        match signal {
            OtlpSignal::Logs => ("logRecords", json!([])),
            OtlpSignal::Metrics => ("metrics", json!([{ "name": "m", "gauge": { "dataPoints": [] } }, {}])),
            OtlpSignal::Traces => ("spans", json!([])),
        }
    }

    /// A copy of the attributes for each of them would be 10 000 000 000 texts, for which nobody can wait.
    #[test]
    fn scopes_without_rows_copy_nothing() {
        for signal in OtlpSignal::ALL {
            let (name, none) = items(signal);
            let mut scopes = vec![json!({ "scope": { "name": "s" }, name: none }); 50_000];
            scopes.resize(100_000, json!({}));
            let mut rows = 0;
            let done = each(signal, &request(signal, 100_000, scopes), |_| {
                rows += 1;
                Ok::<_, ()>(())
            });
            assert_eq!((done, rows), (Ok(()), 0));
        }
    }

    /// What a row begins with is in what it is charged by; and after the row that is too much nothing is copied any more.
    #[test]
    fn rows_are_as_large_as_what_they_repeat_and_end_when_they_are_too_many() {
        for signal in OtlpSignal::ALL {
            let (name, one) = match signal {
                OtlpSignal::Logs => ("logRecords", json!([{}])),
                OtlpSignal::Metrics => ("metrics", json!([{ "gauge": { "dataPoints": [{}] } }])),
                OtlpSignal::Traces => ("spans", json!([{}])),
            };
            let scope = json!({ "scope": { "name": "s".repeat(1_000), "version": "1" }, name: one });
            let request = request(signal, 10_000, vec![scope; 20_000]);
            let mut sizes = Vec::new();
            let done = each(signal, &request, |row| {
                assert_eq!(row["scope_version"], "1");
                sizes.push(Value::Object(row).to_string().len());
                if sizes.len() < 5 { Ok(()) } else { Err("too many") }
            });
            assert_eq!((done, sizes.len()), (Err("too many"), 5));
            assert!(sizes.iter().all(|size| *size > 10_000 * 8 + 1_000), "{sizes:?}");
        }
    }
}
