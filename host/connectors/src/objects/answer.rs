//! What servers of object stores answer when they do not do what they were asked.

use super::hdfs::HdfsFault;
use object_store::Error as StoreError;
use object_store::client::{HttpError, HttpErrorKind};
use std::error::Error as StdError;

/// The whole story of an error. What lies at its bottom often is the one thing that helps.
pub fn told(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if inner.source().is_none() && !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text
}

/// Whether the bucket itself is missing, and not an object of it.
pub fn no_bucket(error: &StoreError) -> bool {
    let says_so = |answer: ErrorAnswer| answer.text.contains("<Code>NoSuchBucket</Code>");
    ErrorAnswer::of(error).is_some_and(says_so)
}

/// Whether the server does not know who asks, or does not let them.
pub fn denied(error: &StoreError) -> bool {
    let known = matches!(error, StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. });
    // The crate tells so of requests for objects, and not of lists.
    known || ErrorAnswer::of(error).is_some_and(|answer| matches!(answer.status, Some(401 | 403)))
}

/// Whether a request that failed like this may succeed later: the server cannot be reached, does not answer, or says
/// that it is in trouble.
pub fn passes(error: &StoreError) -> bool {
    if !matches!(error, StoreError::Generic { .. }) {
        return matches!(error, StoreError::JoinError { .. });
    }
    if let Some(fault) = chain(error).find_map(|cause| cause.downcast_ref::<HdfsFault>()) {
        return fault.passes;
    }
    if let Some(error) = chain(error).find_map(|cause| cause.downcast_ref::<HttpError>()) {
        return error.kind() != HttpErrorKind::Unknown;
    }
    ErrorAnswer::of(error).is_some_and(|answer| match answer.status {
        Some(status) => status >= 500 || [408, 429].contains(&status),
        None => true,
    })
}

/// An error, its cause, the cause of that, and so on.
fn chain(error: &StoreError) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(Some(error as &(dyn StdError + 'static)), |cause| (*cause).source())
}

/// What a server answered to a request that it did not fulfil.
struct ErrorAnswer {
    /// The HTTP status; `None`: it first said that all was well, and then that the server is in trouble.
    status: Option<u16>,
    /// The answer, behind its status.
    text: String,
}

impl ErrorAnswer {
    /// `object_store` keeps the type of this error to itself, so its words tell, of that one error of the chain alone: others
    /// hold names that people chose. Tests of the checkpoints' store fail where another version of the crate chooses other words.
    fn of(error: &StoreError) -> Option<ErrorAnswer> {
        chain(error).map(ToString::to_string).find_map(|words| {
            if let Some(text) = words.strip_prefix("Server returned error response: ") {
                return Some(ErrorAnswer { status: None, text: text.to_owned() });
            }
            // `503 Service Unavailable: <Error>…`
            let text = words.strip_prefix("Server returned non-2xx status code: ")?;
            let status = text.split(' ').next()?.parse().ok()?;
            Some(ErrorAnswer { status: Some(status), text: text.to_owned() })
        })
    }
}
