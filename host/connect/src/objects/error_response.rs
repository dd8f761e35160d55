//! Error responses of object store servers.

use super::hdfs::HdfsFault;
use object_store::Error as StoreError;
use object_store::client::{HttpError, HttpErrorKind};
use std::error::Error as StdError;

/// Describes an error with all its causes. Often only the innermost one helps.
pub fn describe(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if inner.source().is_none() && !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// Whether the bucket itself is missing, rather than an object in it.
pub fn no_bucket(error: &StoreError) -> bool {
    let says_so = |response: ErrorResponse| response.text.contains("<Code>NoSuchBucket</Code>");
    ErrorResponse::parse(error).is_some_and(says_so)
}

/// Whether the server rejected the credentials or denied access.
pub fn denied(error: &StoreError) -> bool {
    let known = matches!(error, StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. });
    // The crate reports this for object requests, but not for lists.
    known || ErrorResponse::parse(error).is_some_and(|response| matches!(response.status, Some(401 | 403)))
}

/// Whether a retry may succeed: the server is unreachable, does not respond, or reports an internal error.
pub fn is_transient(error: &StoreError) -> bool {
    if !matches!(error, StoreError::Generic { .. }) {
        return matches!(error, StoreError::JoinError { .. });
    }
    if let Some(fault) = chain(error).find_map(|cause| cause.downcast_ref::<HdfsFault>()) {
        return fault.is_transient;
    }
    if let Some(error) = chain(error).find_map(|cause| cause.downcast_ref::<HttpError>()) {
        return error.kind() != HttpErrorKind::Unknown;
    }
    ErrorResponse::parse(error).is_some_and(|response| match response.status {
        Some(status) => status >= 500 || [408, 429].contains(&status),
        None => true,
    })
}

/// Returns an error, its cause, the cause of that, and so on.
fn chain(error: &StoreError) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(Some(error as &(dyn StdError + 'static)), |cause| (*cause).source())
}

/// A server's error response.
struct ErrorResponse {
    /// The HTTP status; `None`: the server reported an error after a success status.
    status: Option<u16>,
    /// The text after its status.
    text: String,
}

impl ErrorResponse {
    /// Extracts the response. `object_store` does not export the type of this error, so its text is parsed, of that one error in the chain
    /// alone: others contain names that users chose. Tests of the checkpoint store fail if another version of the crate changes the text.
    fn parse(error: &StoreError) -> Option<ErrorResponse> {
        chain(error).map(ToString::to_string).find_map(|message| {
            if let Some(text) = message.strip_prefix("Server returned error response: ") {
                return Some(ErrorResponse { status: None, text: text.to_owned() });
            }
            // `503 Service Unavailable: <Error>…`
            let text = message.strip_prefix("Server returned non-2xx status code: ")?;
            let status = text.split(' ').next()?.parse().ok()?;
            Some(ErrorResponse { status: Some(status), text: text.to_owned() })
        })
    }
}
