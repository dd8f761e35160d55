//! What the values of a request in JSON may be. In Protobuf each field has its type on the wire; in JSON a number may be a text or have a
//! fraction, and who takes that for nothing loses it without a word.

use super::tree::Leaf;
use millstream_base::batch::parse::float64;
use serde_json::Value;

/// Bytes of a value that a message shows.
const SHOWN_CHARS: usize = 60;
/// Whole numbers that a number of JSON with a fraction or an exponent tells exactly.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// What a field may hold.
#[derive(Clone, Copy)]
enum FieldKind {
    Text,
    Flag,
    Signed,
    Unsigned,
    Double,
}

/// Looks at each field that rows have values of, wherever it stands; or says which is none of OTLP.
pub fn check(value: &Value) -> Result<(), String> {
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| match (form(name), value) {
            (Some(form), Value::Array(values)) => values.iter().try_for_each(|value| fits(name, form, value)),
            // `sum` and `value` are names of messages as well.
            (None, _) | (_, Value::Object(_)) => check(value),
            (Some(form), value) => fits(name, form, value),
        }),
        Value::Array(values) => values.iter().try_for_each(check),
        _ => Ok(()),
    }
}

fn form(name: &str) -> Option<FieldKind> {
    Some(match name {
        "stringValue" => FieldKind::Text,
        "boolValue" => FieldKind::Flag,
        "intValue" | "asInt" => FieldKind::Signed,
        "count" | "zeroCount" | "bucketCounts" => FieldKind::Unsigned,
        "doubleValue" | "asDouble" | "sum" | "min" | "max" | "explicitBounds" | "quantile" | "value" => {
            FieldKind::Double
        }
        _ => return None,
    })
}

fn fits(name: &str, form: FieldKind, value: &Value) -> Result<(), String> {
    let leaf = Leaf::of(value);
    let (fits, wanted) = match form {
        FieldKind::Text => (value.is_string(), "a text"),
        FieldKind::Flag => (value.is_boolean(), "true or false"),
        FieldKind::Signed => (signed(&leaf).is_some(), "a whole number of 64 bits"),
        FieldKind::Unsigned => (unsigned(&leaf).is_some(), "a whole number of 64 bits that is not negative"),
        FieldKind::Double => (double(&leaf).is_some(), "a number"),
    };
    // As in Protobuf, what is null is not there.
    if fits || value.is_null() {
        return Ok(());
    }
    let shown: String = value.to_string().chars().take(SHOWN_CHARS).collect();
    Err(format!("`{name}` is {shown}, and should be {wanted}; it is no such message"))
}

/// A whole number, which JSON may have as text.
pub fn signed(value: &Leaf<'_>) -> Option<i64> {
    match value {
        Leaf::Text(digits) => digits.parse().ok(),
        Leaf::Int(number) => Some(*number),
        Leaf::Unsigned(number) => i64::try_from(*number).ok(),
        Leaf::Double(number) => exact(*number).map(|number| number as i64),
        _ => None,
    }
}

/// A whole number that is not negative, which JSON may have as text.
pub fn unsigned(value: &Leaf<'_>) -> Option<u64> {
    match value {
        Leaf::Text(digits) => digits.parse().ok(),
        Leaf::Int(number) => u64::try_from(*number).ok(),
        Leaf::Unsigned(number) => Some(*number),
        Leaf::Double(number) => exact(*number).filter(|number| *number >= 0.0).map(|number| number as u64),
        _ => None,
    }
}

/// A whole number that is written with a point or an exponent.
fn exact(number: f64) -> Option<f64> {
    Some(number).filter(|number| number.fract() == 0.0 && number.abs() <= EXACT_MAX)
}

/// A number, which JSON may have as text where it has no other word for it.
pub fn double<'l>(value: &'l Leaf<'_>) -> Option<Leaf<'l>> {
    match value {
        // Also `NaN` and `Infinity`, as one may write them; a number that is too large is neither.
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
            (json!([{ "bucketCounts": [1, "18446744073709551616"] }]), "bucketCounts"),
            (json!([{ "asDouble": "1e999" }]), "asDouble"),
        ] {
            let told = check(&wrong).unwrap_err();
            assert!(told.starts_with(&format!("`{name}` is ")), "{told}");
        }
    }
}
