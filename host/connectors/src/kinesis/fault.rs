//! What the errors of Kinesis mean, by their types.

use super::{CREDENTIALS, SHOWN_BYTES_MAX, Stream};
use crate::http::Reply;
use millstream_base::shown;
use serde_json::Value;

/// Why a request to Kinesis was not fulfilled, in words.
#[derive(Debug, PartialEq, Eq)]
pub enum KinesisFault {
    /// It may work later.
    Passing(String),
    /// More is asked than is allowed for now, by this job or by others.
    Throttled(String),
    /// The iterator is too old; another one is to be made.
    Expired,
    /// What was asked for cannot be.
    Invalid(String),
    /// Somebody has to do something.
    Lasting(String),
}

/// What an answer that is no success means.
pub(super) fn of(reply: &Reply, stream: &Stream) -> KinesisFault {
    let told: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text = |name: &str| told[name].as_str().unwrap_or_default();
    let kind = text("__type").rsplit('#').next().unwrap_or_default();
    let message = [text("message"), text("Message")].into_iter().find(|text| !text.is_empty()).unwrap_or_default();
    let status = reply.status;
    let words = match kind {
        "" => {
            let body = String::from_utf8_lossy(&reply.body);
            format!("{}: {status} {}", stream.place(), shown::harmless(body.trim(), SHOWN_BYTES_MAX))
        }
        _ => {
            let kind = shown::harmless(kind, SHOWN_BYTES_MAX);
            format!("{}: {kind}: {}", stream.place(), shown::harmless(message, SHOWN_BYTES_MAX))
        }
    };
    let words = words.trim_end().to_owned();
    match kind {
        "ProvisionedThroughputExceededException"
        | "LimitExceededException"
        | "KMSThrottlingException"
        | "ThrottlingException"
        | "Throttling"
        | "RequestLimitExceeded" => KinesisFault::Throttled(words),
        "ExpiredIteratorException" => KinesisFault::Expired,
        "InvalidArgumentException" | "ValidationException" => KinesisFault::Invalid(words),
        "ResourceNotFoundException" => {
            KinesisFault::Lasting(format!("{words}; create the stream, or check `stream` or `region`"))
        }
        "ExpiredTokenException" | "ExpiredToken" => match stream.given {
            true => KinesisFault::Lasting(format!("{words}; set a new AWS_SESSION_TOKEN and its credentials")),
            false => KinesisFault::Passing(words),
        },
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignatureException"
        | "NotAuthorizedException" => KinesisFault::Lasting(format!("{words}; set {CREDENTIALS}")),
        "InvalidSignatureException" | "SignatureDoesNotMatch" => {
            KinesisFault::Lasting(format!("{words}; set {CREDENTIALS}, and check this machine's clock"))
        }
        "AccessDeniedException" | "KMSAccessDeniedException" | "OptInRequired" => {
            KinesisFault::Lasting(format!("{words}; grant it to these credentials"))
        }
        _ if status.is_server_error() || status.as_u16() == 429 || status.as_u16() == 408 => {
            KinesisFault::Passing(words)
        }
        _ => KinesisFault::Lasting(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use hyper::StatusCode;

    fn told(status: u16, body: &str, given: bool) -> KinesisFault {
        let mut settings = vec![("AWS_REGION".to_owned(), "x".to_owned())];
        if given {
            settings.push(("AWS_ACCESS_KEY_ID".into(), "a".into()));
            settings.push(("AWS_SECRET_ACCESS_KEY".into(), "b".into()));
        }
        let stream = Stream::of("orders", None, &settings).ok().unwrap();
        let status = StatusCode::from_u16(status).unwrap();
        of(
            &Reply { status, retry_after: None, location: None, exception: None, body: Bytes::from(body.to_owned()) },
            &stream,
        )
    }

    #[test]
    fn errors_are_told_apart_by_their_types() {
        let of = |kind: &str| told(400, &format!("{{\"__type\":\"{kind}\",\"message\":\"why\"}}"), true);
        assert!(matches!(of("ProvisionedThroughputExceededException"), KinesisFault::Throttled(_)));
        assert_eq!(of("com.amazonaws.kinesis#ExpiredIteratorException"), KinesisFault::Expired);
        assert!(matches!(of("InvalidArgumentException"), KinesisFault::Invalid(_)));
        let KinesisFault::Lasting(words) = of("ResourceNotFoundException") else { panic!() };
        let expected = "stream `orders` at https://kinesis.x.amazonaws.com/: ResourceNotFoundException: why; create the stream, or check \
                        `stream` or `region`";
        assert_eq!(words, expected);
        let KinesisFault::Lasting(words) = of("ExpiredTokenException") else { panic!() };
        assert!(words.contains("AWS_SESSION_TOKEN"), "{words}");
        let expired = r#"{"__type":"ExpiredTokenException"}"#;
        assert!(matches!(told(400, expired, false), KinesisFault::Passing(_)), "the provider issues another one");
        assert!(matches!(of("Whatever\u{1b}[31m"), KinesisFault::Lasting(words) if !words.contains('\u{1b}')));
        for body in ["", "<html>", "[]", "{\"__type\":7}"] {
            assert!(matches!(told(500, body, true), KinesisFault::Passing(_)), "{body}");
            assert!(matches!(told(403, body, true), KinesisFault::Lasting(_)), "{body}");
        }
    }
}
