//! Validates the values of a request in JSON. In Protobuf each field has its type on the wire. In JSON a number may be a string or have a fraction,
//! and ignoring an invalid one would silently lose it.

use super::tree::Leaf;
use millstream_rows::batch::binary_text::decode_base64;
use millstream_rows::batch::parse::float64;
use serde_json::Value;

/// Maximum characters of a value in a message.
const SHOWN_CHARS: usize = 60;
/// Largest integer that a JSON number with fraction or exponent represents exactly.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// The type of a field.
#[derive(Clone, Copy)]
enum FieldKind {
    Text,
    Flag,
    Signed,
    /// An integer that Protobuf has names for.
    Enum,
    Unsigned,
    Double,
    Bytes,
    /// This many hexadecimal digits.
    Id(usize),
    Message,
}

/// Checks each field whose values go into rows, at any depth. Fails with the field that is not valid OTLP.
pub fn check(value: &Value) -> Result<(), String> {
    match value {
        Value::Object(fields) => {
            // The value of an attribute, unlike that of a quantile.
            let is_attribute = fields.contains_key("key");
            fields.iter().try_for_each(|(name, value)| {
                let form = if is_attribute && name == "value" { Some(FieldKind::Message) } else { form(name) };
                match (form, value) {
                    (Some(form), Value::Array(values)) if is_list(name) => {
                        values.iter().try_for_each(|value| check_value(name, form, value))?;
                        check(value)
                    }
                    (Some(_), value) if is_list(name) && !value.is_null() => Err(wrong(name, value, "a list")),
                    (None | Some(FieldKind::Message), Value::Object(_)) | (None, _) => check(value),
                    // Metric kinds have the same names as values of points, and an empty key may be missing.
                    (Some(FieldKind::Double), Value::Object(_)) if name == "sum" || name == "value" => check(value),
                    (Some(form), value) => check_value(name, form, value),
                }
            })
        }
        Value::Array(values) => values.iter().try_for_each(check),
        _ => Ok(()),
    }
}

fn form(name: &str) -> Option<FieldKind> {
    Some(match name {
        "stringValue" | "key" | "name" | "version" | "description" | "unit" | "severityText" | "eventName"
        | "message" => FieldKind::Text,
        "boolValue" | "isMonotonic" => FieldKind::Flag,
        "intValue" | "asInt" | "scale" | "offset" => FieldKind::Signed,
        "severityNumber" | "kind" | "code" | "aggregationTemporality" => FieldKind::Enum,
        "count" | "zeroCount" | "bucketCounts" => FieldKind::Unsigned,
        "timeUnixNano" | "observedTimeUnixNano" | "startTimeUnixNano" | "endTimeUnixNano" => FieldKind::Unsigned,
        "doubleValue" | "asDouble" | "sum" | "min" | "max" | "explicitBounds" | "quantile" | "value" => {
            FieldKind::Double
        }
        "bytesValue" => FieldKind::Bytes,
        "traceId" => FieldKind::Id(32),
        "spanId" | "parentSpanId" => FieldKind::Id(16),
        "resource" | "scope" | "body" | "status" | "arrayValue" | "kvlistValue" | "attributes" | "values" => {
            FieldKind::Message
        }
        _ => return None,
    })
}

/// Returns whether a field is repeated, and so a list in JSON.
fn is_list(name: &str) -> bool {
    matches!(name, "bucketCounts" | "explicitBounds" | "attributes" | "values")
}

fn check_value(name: &str, form: FieldKind, value: &Value) -> Result<(), String> {
    let leaf = Leaf::from_json(value);
    let (fits, wanted) = match form {
        FieldKind::Text => (value.is_string(), "a string"),
        FieldKind::Flag => (value.is_boolean(), "true or false"),
        FieldKind::Signed => (signed(&leaf).is_some(), "a 64-bit integer"),
        FieldKind::Enum => (signed(&leaf).is_some(), "an integer, as OTLP does not write names of enums"),
        FieldKind::Unsigned => (unsigned(&leaf).is_some(), "a 64-bit integer that is not negative"),
        FieldKind::Double => (double(&leaf).is_some(), "a number"),
        FieldKind::Bytes => (value.as_str().and_then(decode_base64).is_some(), "bytes in Base64"),
        FieldKind::Id(digits) => {
            let is_id =
                |id: &str| id.is_empty() || (id.len() == digits && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let wanted =
                if digits == 32 { "32 hexadecimal digits, or empty" } else { "16 hexadecimal digits, or empty" };
            (value.as_str().is_some_and(is_id), wanted)
        }
        FieldKind::Message => (value.is_object(), "an object"),
    };
    // As in Protobuf, null means that the field is missing.
    if fits || value.is_null() { Ok(()) } else { Err(wrong(name, value, wanted)) }
}

fn wrong(name: &str, value: &Value, wanted: &str) -> String {
    let shown: String = value.to_string().chars().take(SHOWN_CHARS).collect();
    format!("`{name}` is {shown}, and should be {wanted}; the message is invalid")
}

/// Returns an integer, which may be a string in JSON.
pub fn signed(value: &Leaf<'_>) -> Option<i64> {
    match value {
        Leaf::Text(digits) => digits.parse().ok(),
        Leaf::Int(number) => Some(*number),
        Leaf::Unsigned(number) => i64::try_from(*number).ok(),
        Leaf::Double(number) => exact_integer(*number).map(|number| number as i64),
        _ => None,
    }
}

/// Returns a non-negative integer, which may be a string in JSON.
pub fn unsigned(value: &Leaf<'_>) -> Option<u64> {
    match value {
        Leaf::Text(digits) => digits.parse().ok(),
        Leaf::Int(number) => u64::try_from(*number).ok(),
        Leaf::Unsigned(number) => Some(*number),
        Leaf::Double(number) => exact_integer(*number).filter(|number| *number >= 0.0).map(|number| number as u64),
        _ => None,
    }
}

/// Returns an integer that is written with a fraction or exponent.
fn exact_integer(number: f64) -> Option<f64> {
    Some(number).filter(|number| number.fract() == 0.0 && number.abs() <= EXACT_MAX)
}

/// Returns a number. JSON has some only as strings.
pub fn double<'l>(value: &'l Leaf<'_>) -> Option<Leaf<'l>> {
    match value {
        // Accepts `NaN` and `Infinity`, but not a number that is too large.
        Leaf::Text(digits) => float64(digits).ok().map(Leaf::Double),
        Leaf::Int(number) => Some(Leaf::Int(*number)),
        Leaf::Unsigned(number) => Some(Leaf::Unsigned(*number)),
        Leaf::Double(number) => Some(Leaf::Double(*number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_what_their_names_say() {
        for right in [
            json!({ "body": { "intValue": "-9223372036854775808" } }),
            json!({ "body": { "intValue": 7 } }),
            json!({ "body": { "intValue": 1e3 } }),
            json!({ "count": "18446744073709551615", "sum": "NaN", "min": null, "bucketCounts": ["1", 2] }),
            json!({ "sum": { "dataPoints": [{ "asDouble": "1.5" }] } }),
            json!({ "attributes": [{ "key": "count", "value": { "stringValue": "many" } }] }),
            json!({ "attributes": [{ "key": "a", "value": null }, { "key": "b", "value": {} }], "body": null }),
            json!({ "quantileValues": [{ "quantile": 0.5, "value": 1 }] }),
            json!({ "timeUnixNano": "18446744073709551615", "startTimeUnixNano": 1_544_712_660_000_000_000_u64 }),
            json!({ "severityNumber": 17, "kind": "2", "status": { "code": 1, "message": "m" } }),
            json!({ "traceId": "5B8EFFF798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "parentSpanId": "" }),
            json!({ "body": { "bytesValue": "_-8" } }),
        ] {
            assert_eq!(check(&right), Ok(()), "{right}");
        }
        for (wrong, name) in [
            (json!({ "body": { "intValue": "9223372036854775808" } }), "intValue"),
            (json!({ "body": { "intValue": 1.5 } }), "intValue"),
            (json!({ "body": { "intValue": "abc" } }), "intValue"),
            (json!({ "body": { "boolValue": "yes" } }), "boolValue"),
            (json!({ "body": { "stringValue": 1 } }), "stringValue"),
            (json!({ "body": { "arrayValue": { "values": [{ "doubleValue": "abc" }] } } }), "doubleValue"),
            (json!([{ "count": -1 }]), "count"),
            (json!({ "severityNumber": "SEVERITY_NUMBER_ERROR" }), "severityNumber"),
            (json!({ "kind": "SPAN_KIND_SERVER" }), "kind"),
            (json!({ "status": { "code": "STATUS_CODE_OK" } }), "code"),
            (json!({ "sum": { "aggregationTemporality": "AGGREGATION_TEMPORALITY_DELTA" } }), "aggregationTemporality"),
            (json!({ "sum": { "isMonotonic": "true" } }), "isMonotonic"),
            (json!({ "timeUnixNano": "-1" }), "timeUnixNano"),
            (json!({ "timeUnixNano": "1e18" }), "timeUnixNano"),
            (json!({ "observedTimeUnixNano": 1.5447e18 }), "observedTimeUnixNano"),
            (json!({ "traceId": 5 }), "traceId"),
            (json!({ "traceId": "z".repeat(32) }), "traceId"),
            (json!({ "traceId": "5b8e" }), "traceId"),
            (json!({ "links": [{ "spanId": "7uGbfsPBsXQ=" }] }), "spanId"),
            (json!({ "name": 5 }), "name"),
            (json!({ "name": {} }), "name"),
            (json!({ "body": "text" }), "body"),
            (json!({ "body": { "intValue": [1] } }), "intValue"),
            (json!({ "body": { "bytesValue": 5 } }), "bytesValue"),
            (json!({ "body": { "bytesValue": "?" } }), "bytesValue"),
            (json!({ "body": { "arrayValue": { "values": [5] } } }), "values"),
            (json!({ "attributes": { "a": "b" } }), "attributes"),
            (json!({ "attributes": [{ "key": "a", "value": 5 }] }), "value"),
            (json!({ "attributes": [{ "key": "a", "value": { "doubleValue": {} } }] }), "doubleValue"),
            (json!({ "bucketCounts": 5 }), "bucketCounts"),
            (json!([{ "bucketCounts": [1, "18446744073709551616"] }]), "bucketCounts"),
            (json!([{ "asDouble": "1e999" }]), "asDouble"),
        ] {
            let message = check(&wrong).unwrap_err();
            assert!(message.starts_with(&format!("`{name}` is ")), "{message}");
        }
    }
}
