//! Converts OTLP requests to rows: one line of JSON per log record, metric point or span. Unexpected fields are ignored, as OTLP requires. Values
//! were validated by `forms`.

use super::forms::{double, signed, unsigned};
use super::settings::OtlpSignal;
use super::tree::{Leaf, View};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use millstream_connect::receiver::json_text::write_text;
use millstream_rows::batch::cell;

/// Passes each row of a request to `take`, until it fails.
pub fn each<E>(
    signal: OtlpSignal,
    request: View<'_, '_>,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let (resources, scopes, items) = match signal {
        OtlpSignal::Logs => ("resourceLogs", "scopeLogs", "logRecords"),
        OtlpSignal::Metrics => ("resourceMetrics", "scopeMetrics", "metrics"),
        OtlpSignal::Traces => ("resourceSpans", "scopeSpans", "spans"),
    };
    let mut row = Row::default();
    for resource in request.list(resources) {
        row.line.clear();
        row.line.push(b'{');
        row.put_word("signal", signal.keyword());
        let attributes = attributes(resource.field("resource"), "attributes");
        if let Some((_, service)) = attributes.iter().find(|(name, _)| *name == "service.name") {
            row.put_if("service", |row| {
                row.plain(*service);
                JsonKind::Text
            });
        }
        row.put_object("resource", &attributes);
        let common = row.line.clone();
        for scope in resource.list(scopes) {
            let prefix = RowPrefix { common: &common, scope: scope.field("scope").fields(["name", "version"]) };
            for item in scope.list(items) {
                match signal {
                    OtlpSignal::Logs => log(prefix.start_row(&mut row), item),
                    OtlpSignal::Metrics => {
                        metric(prefix, item, &mut row, &mut take)?;
                        continue;
                    }
                    OtlpSignal::Traces => span(prefix.start_row(&mut row), item),
                }
                take(row.finish())?;
            }
        }
    }
    Ok(())
}

/// The common beginning of the rows of a scope. It is copied only for rows, and `take` fails if there are too many: a request may have very many
/// attributes, and very many scopes without rows.
#[derive(Clone, Copy)]
struct RowPrefix<'b, 't, 'a> {
    common: &'b [u8],
    scope: [View<'t, 'a>; 2],
}

impl RowPrefix<'_, '_, '_> {
    fn start_row<'r>(&self, row: &'r mut Row) -> &'r mut Row {
        row.line.clear();
        row.line.extend_from_slice(self.common);
        let [name, version] = self.scope;
        row.put_text("scope", name);
        row.put_text("scope_version", version);
        row
    }
}

fn log(row: &mut Row, record: View<'_, '_>) {
    let names = [
        "timeUnixNano",
        "observedTimeUnixNano",
        "severityNumber",
        "severityText",
        "body",
        "eventName",
        "traceId",
        "spanId",
    ];
    let [at, observed, number, severity, body, name, trace, span] = record.fields(names);
    let observed = time(observed);
    row.put_time("time", time(at).or(observed));
    row.put_time("observed_time", observed);
    let number = signed(number.leaf).filter(|number| (1..=24).contains(number));
    let level = |number: i64| ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"].get((number as usize - 1) / 4);
    if !row.put_text("severity", severity)
        && let Some(word) = number.and_then(level)
    {
        row.put_word("severity", word);
    }
    if let Some(number) = number {
        row.put_leaf("severity_number", &Leaf::Int(number));
    }
    row.put_if("body", |row| {
        row.plain(body);
        JsonKind::AnyButNumbers
    });
    row.put_text("name", name);
    row.put_ids(trace, span);
    row.put_object("attributes", &attributes(record, "attributes"));
}

/// Writes a row for each point of a metric.
fn metric<E>(
    prefix: RowPrefix<'_, '_, '_>,
    metric: View<'_, '_>,
    row: &mut Row,
    take: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let kinds = [
        ("gauge", "gauge"),
        ("sum", "sum"),
        ("histogram", "histogram"),
        ("exponentialHistogram", "exponential_histogram"),
        ("summary", "summary"),
    ];
    let [metric_name, description, unit] = metric.fields(["name", "description", "unit"]);
    for (name, kind) in kinds {
        let data = metric.field(name);
        let [temporality, monotonic] = data.fields(["aggregationTemporality", "isMonotonic"]);
        for point in data.list("dataPoints") {
            prefix.start_row(row);
            row.put_text("name", metric_name);
            row.put_text("description", description);
            row.put_text("unit", unit);
            row.put_word("kind", kind);
            let [at, start, int, number] = point.fields(["timeUnixNano", "startTimeUnixNano", "asInt", "asDouble"]);
            row.put_time("time", time(at));
            row.put_time("start_time", time(start));
            match signed(temporality.leaf) {
                Some(1) => row.put_word("temporality", "delta"),
                Some(2) => row.put_word("temporality", "cumulative"),
                _ => {}
            }
            if kind == "sum" {
                row.put_leaf("monotonic", &Leaf::Flag(*monotonic.leaf == Leaf::Flag(true)));
            }
            if let "gauge" | "sum" = kind {
                match (signed(int.leaf), double(number.leaf)) {
                    (Some(integer), _) => row.put_leaf("value", &Leaf::Int(integer)),
                    (None, Some(number)) => row.put_leaf("value", &number),
                    (None, None) => {}
                }
            } else {
                let [count, sum, min, max] = point.fields(["count", "sum", "min", "max"]);
                // The decoder reports a value that no column can hold.
                row.put_leaf("count", &Leaf::Unsigned(unsigned(count.leaf).unwrap_or(0)));
                for (column, value) in [("sum", sum), ("min", min), ("max", max)] {
                    if let Some(number) = double(value.leaf) {
                        row.put_leaf(column, &number);
                    }
                }
                row.name("buckets");
                buckets(row, kind, point);
            }
            row.put_object("attributes", &attributes(point, "attributes"));
            take(row.finish())?;
        }
    }
    Ok(())
}

/// Writes the distribution of a point's values.
fn buckets(row: &mut Row, kind: &str, point: View<'_, '_>) {
    let side = |row: &mut Row, side: View<'_, '_>| {
        row.line.push(b'{');
        row.put_counts("counts", side);
        row.put_leaf("offset", &Leaf::Int(signed(side.field("offset").leaf).unwrap_or(0)));
        row.line.push(b'}');
    };
    row.line.push(b'{');
    match kind {
        "histogram" => {
            let bounds = point.list("explicitBounds");
            row.put_list("bounds", bounds.filter_map(|one| double(one.leaf)), |row, bound| row.leaf(&bound));
            row.put_counts("counts", point);
        }
        "summary" => row.put_list("quantiles", point.list("quantileValues"), |row, one| {
            let [quantile, value] = one.fields(["quantile", "value"]);
            row.line.push(b'{');
            row.put_leaf("quantile", &double(quantile.leaf).unwrap_or(Leaf::Int(0)));
            row.put_leaf("value", &double(value.leaf).unwrap_or(Leaf::Int(0)));
            row.line.push(b'}');
        }),
        _ => {
            let [negative, positive, scale, zero] = point.fields(["negative", "positive", "scale", "zeroCount"]);
            row.name("negative");
            side(row, negative);
            row.name("positive");
            side(row, positive);
            row.put_leaf("scale", &Leaf::Int(signed(scale.leaf).unwrap_or(0)));
            row.put_leaf("zero_count", &Leaf::Unsigned(unsigned(zero.leaf).unwrap_or(0)));
        }
    }
    row.line.push(b'}');
}

fn span(row: &mut Row, span: View<'_, '_>) {
    let names = ["name", "kind", "startTimeUnixNano", "endTimeUnixNano", "traceId", "spanId", "parentSpanId", "status"];
    let [name, kind, start, end, trace, id, parent, status] = span.fields(names);
    row.put_text("name", name);
    let kind = signed(kind.leaf).and_then(|kind| usize::try_from(kind).ok());
    let kinds = ["internal", "server", "client", "producer", "consumer"];
    if let Some(kind) = kind.and_then(|kind| kinds.get(kind.wrapping_sub(1))) {
        row.put_word("kind", kind);
    }
    row.put_time("time", time(start));
    row.put_time("end_time", time(end));
    row.put_ids(trace, id);
    row.put_text("parent_id", parent);
    let [code, message] = status.fields(["code", "message"]);
    let status = match signed(code.leaf) {
        Some(1) => "ok",
        Some(2) => "error",
        _ => "unset",
    };
    row.put_word("status", status);
    row.put_text("status_message", message);
    if span.list("events").next().is_some() {
        row.put_list("events", span.list("events"), |row, event| {
            let [at, name] = event.fields(["timeUnixNano", "name"]);
            row.line.push(b'{');
            row.put_object("attributes", &attributes(event, "attributes"));
            row.put_text("name", name);
            row.put_time("time", time(at));
            row.line.push(b'}');
        });
    }
    if span.list("links").next().is_some() {
        row.put_list("links", span.list("links"), |row, link| {
            let [trace, id] = link.fields(["traceId", "spanId"]);
            row.line.push(b'{');
            row.put_object("attributes", &attributes(link, "attributes"));
            row.put_ids(trace, id);
            row.line.push(b'}');
        });
    }
    row.put_object("attributes", &attributes(span, "attributes"));
}

/// Converts nanoseconds since 1970 to microseconds; 0 means none.
fn time(view: View<'_, '_>) -> Option<i64> {
    i64::try_from(unsigned(view.leaf).filter(|ns| *ns > 0)? / 1_000).ok()
}

/// Returns a list of attributes sorted by name. The last of several with the same name wins.
fn attributes<'t, 'a: 't>(of: View<'t, 'a>, list: &str) -> Vec<(&'t str, View<'t, 'a>)> {
    let named = |one: View<'t, 'a>| {
        let [key, value] = one.fields(["key", "value"]);
        match key.leaf {
            Leaf::Text(key) => Some((&**key, value)),
            _ => None,
        }
    };
    let mut found: Vec<(&str, View<'t, 'a>)> = of.list(list).filter_map(named).collect();
    if !found.is_sorted_by(|(before, _), (after, _)| before < after) {
        found.sort_by_key(|(name, _)| *name);
        found.reverse();
        found.dedup_by_key(|(name, _)| *name);
        found.reverse();
    }
    found
}

/// The JSON types that a column accepts.
enum JsonKind {
    Text,
    /// What a text column accepts: numbers and flags become strings; objects and lists are kept, so that a `path` can lead into them.
    AnyButNumbers,
}

/// A line of JSON under construction. Names are constants and unique.
#[derive(Default)]
struct Row {
    line: Vec<u8>,
    /// The last second, and its formatted text without the fraction: consecutive records often have the same.
    second: Option<(i64, String)>,
}

impl Row {
    /// Returns the complete line.
    fn finish(&mut self) -> &[u8] {
        self.line.push(b'}');
        &self.line
    }

    fn name(&mut self, name: &str) {
        // Only the beginning of an object ends with this byte.
        if self.line.last() != Some(&b'{') {
            self.line.push(b',');
        }
        self.line.push(b'"');
        self.line.extend_from_slice(name.as_bytes());
        self.line.extend_from_slice(b"\":");
    }

    fn put_word(&mut self, name: &str, word: &str) {
        self.name(name);
        write_text(word, &mut self.line);
    }

    /// Writes a string unless it is empty. Returns whether it was written.
    fn put_text(&mut self, name: &str, view: View<'_, '_>) -> bool {
        let is_text = match view.leaf {
            Leaf::Text(text) => !text.is_empty(),
            Leaf::Id(bytes) => !bytes.is_empty(),
            _ => false,
        };
        if is_text {
            self.put_leaf(name, view.leaf);
        }
        is_text
    }

    fn put_ids(&mut self, trace: View<'_, '_>, span: View<'_, '_>) {
        self.put_text("span_id", span);
        self.put_text("trace_id", trace);
    }

    fn put_time(&mut self, name: &str, us: Option<i64>) {
        let Some(us) = us else { return };
        let (second, fraction) = (us.div_euclid(1_000_000), us.rem_euclid(1_000_000));
        self.name(name);
        self.line.push(b'"');
        let prefix = match &self.second {
            Some((cached, prefix)) if *cached == second => prefix,
            _ => {
                let mut text = String::new();
                cell::write_rfc3339(&mut text, second.saturating_mul(1_000_000));
                text.truncate(text.len().saturating_sub("000000Z".len()));
                &self.second.insert((second, text)).1
            }
        };
        self.line.extend_from_slice(prefix.as_bytes());
        let digits = [100_000, 10_000, 1_000, 100, 10, 1].map(|power| b'0' + (fraction / power % 10) as u8);
        self.line.extend_from_slice(&digits);
        self.line.extend_from_slice(b"Z\"");
    }

    fn put_leaf(&mut self, name: &str, leaf: &Leaf<'_>) {
        self.name(name);
        self.leaf(leaf);
    }

    fn put_counts(&mut self, name: &str, of: View<'_, '_>) {
        let counts = of.list("bucketCounts").map(|count| unsigned(count.leaf).unwrap_or(0));
        self.put_list(name, counts, |row, count| row.leaf(&Leaf::Unsigned(count)));
    }

    fn put_list<T>(&mut self, name: &str, values: impl Iterator<Item = T>, write: impl Fn(&mut Row, T)) {
        self.name(name);
        self.list(values, write);
    }

    /// Writes attributes as an object, unless there are none.
    fn put_object(&mut self, name: &str, attributes: &[(&str, View<'_, '_>)]) {
        if !attributes.is_empty() {
            self.name(name);
            self.object(attributes);
        }
    }

    /// Writes a value with `write`, unless it is missing or has another type.
    fn put_if(&mut self, name: &str, write: impl FnOnce(&mut Row) -> JsonKind) {
        let prefix = self.line.len();
        self.name(name);
        let value = self.line.len();
        let form = write(self);
        let is_kept = match (form, self.line.get(value)) {
            (_, Some(b'"')) | (JsonKind::AnyButNumbers, Some(b'{' | b'[')) => true,
            (JsonKind::AnyButNumbers, Some(first)) if *first != b'n' => {
                self.line.insert(value, b'"');
                self.line.push(b'"');
                true
            }
            _ => false,
        };
        if !is_kept {
            self.line.truncate(prefix);
        }
    }

    fn list<T>(&mut self, values: impl Iterator<Item = T>, write: impl Fn(&mut Row, T)) {
        self.line.push(b'[');
        for (index, value) in values.enumerate() {
            if index > 0 {
                self.line.push(b',');
            }
            write(self, value);
        }
        self.line.push(b']');
    }

    fn object(&mut self, attributes: &[(&str, View<'_, '_>)]) {
        self.line.push(b'{');
        for (index, (name, value)) in attributes.iter().enumerate() {
            if index > 0 {
                self.line.push(b',');
            }
            write_text(name, &mut self.line);
            self.line.push(b':');
            self.plain(*value);
        }
        self.line.push(b'}');
    }

    /// Writes a value of any type as JSON.
    fn plain(&mut self, any: View<'_, '_>) {
        let kind = any.first_name().unwrap_or_default();
        let value = any.field(kind);
        match kind {
            "intValue" => self.leaf(&signed(value.leaf).map_or(Leaf::Null, Leaf::Int)),
            "doubleValue" => self.leaf(&double(value.leaf).unwrap_or(Leaf::Null)),
            "arrayValue" => self.list(value.list("values"), Row::plain),
            "kvlistValue" => self.object(&attributes(value, "values")),
            _ => self.leaf(value.leaf),
        }
    }

    fn leaf(&mut self, leaf: &Leaf<'_>) {
        let line = &mut self.line;
        // Neither serializing these values nor writing to memory can fail.
        match leaf {
            Leaf::Null | Leaf::Message => line.extend_from_slice(b"null"),
            Leaf::Flag(flag) => line.extend_from_slice(if *flag { b"true" } else { b"false" }),
            Leaf::Int(number) => drop(serde_json::to_writer(line, number)),
            Leaf::Unsigned(number) => drop(serde_json::to_writer(line, number)),
            Leaf::Double(number) => cell::write_json_float(line, *number),
            Leaf::Text(text) => write_text(text, line),
            Leaf::Id(bytes) => {
                line.push(b'"');
                for byte in *bytes {
                    line.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
                }
                line.push(b'"');
            }
            Leaf::Bytes(bytes) => write_text(&BASE64_STANDARD.encode(bytes), line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::Tree;
    use super::*;
    use serde_json::{Value, json};

    /// Builds a request of one resource with this many attributes, and these scopes.
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

    /// Copying the attributes for each scope would make 10 000 000 000 strings.
    #[test]
    fn scopes_without_rows_copy_nothing() {
        for signal in OtlpSignal::ALL {
            let (name, none) = items(signal);
            let mut scopes = vec![json!({ "scope": { "name": "s" }, name: none }); 50_000];
            scopes.resize(100_000, json!({}));
            let mut rows = 0;
            let request = request(signal, 100_000, scopes);
            let done = each(signal, Tree::from_json(&request).root(), |_| {
                rows += 1;
                Ok::<_, ()>(())
            });
            assert_eq!((done, rows), (Ok(()), 0));
        }
    }

    /// The repeated prefix counts toward a row's size, and nothing is copied after the row that exceeds the limit.
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
            let done = each(signal, Tree::from_json(&request).root(), |row| {
                assert!(row.windows(20).any(|some| some == b",\"scope_version\":\"1\""));
                sizes.push(row.len());
                if sizes.len() < 5 { Ok(()) } else { Err("too many") }
            });
            assert_eq!((done, sizes.len()), (Err("too many"), 5));
            assert!(sizes.iter().all(|size| *size > 10_000 * 8 + 1_000), "{sizes:?}");
        }
    }
}
