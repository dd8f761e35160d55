//! What OpenSearch and its kin answer to `_bulk`: 200 also where rows of the request failed, each for itself.

use serde::Deserialize;
use std::collections::BTreeMap;

/// What became of the rows of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct BulkOutcome {
    /// Rows that may be taken later, by their places in the request.
    pub later: Vec<usize>,
    /// Rows that will never be taken, and why.
    pub refused: Vec<(usize, String)>,
    /// Why the first of those of `later` was not taken.
    pub why: String,
}

#[derive(Deserialize)]
struct BulkReply {
    errors: bool,
    items: Vec<BTreeMap<String, BulkItem>>,
}

#[derive(Deserialize)]
struct BulkItem {
    status: u16,
    #[serde(default)]
    error: serde_json::Value,
}

/// Reads an answer to so many rows; an error where it is none to them.
pub fn outcome(body: &[u8], rows: usize) -> Result<BulkOutcome, String> {
    let reply: BulkReply =
        serde_json::from_slice(body).map_err(|error| format!("it does not respond as _bulk does: {error}"))?;
    if reply.items.len() != rows {
        return Err(format!(
            "it does not respond as _bulk does: there are {rows} rows, and {} items",
            reply.items.len()
        ));
    }
    let mut outcome = BulkOutcome::default();
    if !reply.errors {
        return Ok(outcome);
    }
    for (row, item) in reply.items.iter().enumerate() {
        // What is to be deleted and is not there is done.
        let taken = |(does, item): &(&String, &BulkItem)| {
            (200..300).contains(&item.status) || (*does == "delete" && item.status == 404)
        };
        let Some((_, item)) = item.iter().next().filter(|item| !taken(item)) else { continue };
        let why = format!("status {}: {}", item.status, words(&item.error));
        match item.status {
            408 | 429 | 500.. => {
                if outcome.later.is_empty() {
                    outcome.why = why;
                }
                outcome.later.push(row);
            }
            _ => outcome.refused.push((row, why)),
        }
    }
    Ok(outcome)
}

/// Type and reason of an error, with what caused it.
fn words(error: &serde_json::Value) -> String {
    let of = |error: &serde_json::Value| match (error["type"].as_str(), error["reason"].as_str()) {
        (Some(kind), Some(reason)) => format!("{kind}: {reason}"),
        _ => error.to_string(),
    };
    match &error["caused_by"] {
        serde_json::Value::Null => of(error),
        cause => format!("{}; {}", of(error), of(cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_failed_are_told_apart() {
        let body = br#"{"took":1,"errors":true,"items":[{"index":{"status":201}},
            {"index":{"status":400,"error":{"type":"mapper","reason":"no number","caused_by":{"type":"x","reason":"\"a\""}}}},
            {"index":{"status":429,"error":{"type":"busy","reason":"queue full"}}},{"create":{"status":503,"error":"gone"}},
            {"index":{"status":200}},{"delete":{"status":404,"result":"not_found"}}]}"#;
        let found = outcome(body, 6).unwrap();
        assert_eq!(found.later, [2, 3]);
        assert_eq!(found.why, "status 429: busy: queue full");
        assert_eq!(found.refused, [(1, "status 400: mapper: no number; x: \"a\"".to_owned())]);
        assert_eq!(outcome(br#"{"errors":false,"items":[{"index":{"status":201}}]}"#, 1), Ok(BulkOutcome::default()));
        for wrong in [&b""[..], b"ok", b"{}", br#"{"errors":false,"items":[]}"#, b"[1]"] {
            assert!(outcome(wrong, 1).is_err());
        }
    }
}
