//! Parses responses of OpenSearch and similar servers to `_bulk`: the status is 200 even if rows failed, and each row has its own status.

use serde::Deserialize;
use std::collections::BTreeMap;

/// The outcome for the rows of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct BulkOutcome {
    /// Rows that may be accepted later, by their index in the request.
    pub later: Vec<usize>,
    /// Rows that will never be accepted, and why.
    pub rejected: Vec<(usize, String)>,
    /// Why the first row of `later` was not accepted.
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

/// Parses the response to a request of `rows` rows. Fails if it is not one.
pub fn outcome(body: &[u8], rows: usize) -> Result<BulkOutcome, String> {
    let reply: BulkReply =
        serde_json::from_slice(body).map_err(|error| format!("it does not respond as _bulk does: {error}"))?;
    if reply.items.len() != rows {
        return Err(format!(
            "it does not respond as _bulk does: it returned {} items for {rows} rows",
            reply.items.len()
        ));
    }
    let mut outcome = BulkOutcome::default();
    if !reply.errors {
        return Ok(outcome);
    }
    for (row, item) in reply.items.iter().enumerate() {
        // Deleting a document that does not exist is a success.
        let is_done = |(action, item): &(&String, &BulkItem)| {
            (200..300).contains(&item.status) || (*action == "delete" && item.status == 404)
        };
        let Some((_, item)) = item.iter().next().filter(|item| !is_done(item)) else { continue };
        let why = format!("status {}: {}", item.status, describe(&item.error));
        match item.status {
            408 | 429 | 500.. => {
                if outcome.later.is_empty() {
                    outcome.why = why;
                }
                outcome.later.push(row);
            }
            _ => outcome.rejected.push((row, why)),
        }
    }
    Ok(outcome)
}

/// Formats type and reason of an error, and its cause.
fn describe(error: &serde_json::Value) -> String {
    let describe_one = |error: &serde_json::Value| match (error["type"].as_str(), error["reason"].as_str()) {
        (Some(kind), Some(reason)) => format!("{kind}: {reason}"),
        _ => error.to_string(),
    };
    match &error["caused_by"] {
        serde_json::Value::Null => describe_one(error),
        cause => format!("{}; {}", describe_one(error), describe_one(cause)),
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
        assert_eq!(found.rejected, [(1, "status 400: mapper: no number; x: \"a\"".to_owned())]);
        assert_eq!(outcome(br#"{"errors":false,"items":[{"index":{"status":201}}]}"#, 1), Ok(BulkOutcome::default()));
        for wrong in [&b""[..], b"ok", b"{}", br#"{"errors":false,"items":[]}"#, b"[1]"] {
            assert!(outcome(wrong, 1).is_err());
        }
    }
}
