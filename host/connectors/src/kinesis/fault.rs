//! The meaning of Kinesis errors, by their types.

use super::{CREDENTIALS, SHOWN_BYTES_MAX, Stream};
use millstream_base::shown;
use millstream_connect::http1::Reply;
use serde_json::Value;

/// Why a request to Kinesis failed.
#[derive(Debug, PartialEq, Eq)]
pub enum KinesisFault {
    /// A retry may help.
    Transient(String),
    /// The current limits are exceeded, by this job or by others.
    Throttled(String),
    /// The iterator has expired; a new one is needed.
    Expired,
    /// The request is invalid.
    Invalid(String),
    /// A user has to fix the cause.
    Permanent(String),
}

/// Interprets an error response.
pub(super) fn parse(reply: &Reply, stream: &Stream) -> KinesisFault {
    let body_json: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text = |name: &str| body_json[name].as_str().unwrap_or_default();
    let kind = text("__type").rsplit('#').next().unwrap_or_default();
    let message = [text("message"), text("Message")].into_iter().find(|text| !text.is_empty()).unwrap_or_default();
    let status = reply.status;
    let description = match kind {
        "" => {
            let body = String::from_utf8_lossy(&reply.body);
            format!("{}: {status} {}", stream.display_name(), shown::harmless(body.trim(), SHOWN_BYTES_MAX))
        }
        _ => {
            let kind = shown::harmless(kind, SHOWN_BYTES_MAX);
            format!("{}: {kind}: {}", stream.display_name(), shown::harmless(message, SHOWN_BYTES_MAX))
        }
    };
    let description = description.trim_end().to_owned();
    match kind {
        "ProvisionedThroughputExceededException"
        | "LimitExceededException"
        | "KMSThrottlingException"
        | "ThrottlingException"
        | "Throttling"
        | "RequestLimitExceeded" => KinesisFault::Throttled(description),
        "ExpiredIteratorException" => KinesisFault::Expired,
        "InvalidArgumentException" | "ValidationException" => KinesisFault::Invalid(description),
        "ResourceNotFoundException" => {
            KinesisFault::Permanent(format!("{description}; create the stream, or check `stream` or `region`"))
        }
        "ExpiredTokenException" | "ExpiredToken" => match stream.given {
            true => KinesisFault::Permanent(format!("{description}; set a new AWS_SESSION_TOKEN and its credentials")),
            false => KinesisFault::Transient(description),
        },
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignatureException"
        | "NotAuthorizedException" => KinesisFault::Permanent(format!("{description}; set {CREDENTIALS}")),
        "InvalidSignatureException" | "SignatureDoesNotMatch" => {
            KinesisFault::Permanent(format!("{description}; set {CREDENTIALS}, and check this machine's clock"))
        }
        "AccessDeniedException" | "KMSAccessDeniedException" | "OptInRequired" => {
            KinesisFault::Permanent(format!("{description}; grant it to these credentials"))
        }
        _ if status.is_server_error() || status.as_u16() == 429 || status.as_u16() == 408 => {
            KinesisFault::Transient(description)
        }
        _ => KinesisFault::Permanent(description),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use hyper::StatusCode;

    fn fault_of(status: u16, body: &str, given: bool) -> KinesisFault {
        let mut settings = vec![("AWS_REGION".to_owned(), "x".to_owned())];
        if given {
            settings.push(("AWS_ACCESS_KEY_ID".into(), "a".into()));
            settings.push(("AWS_SECRET_ACCESS_KEY".into(), "b".into()));
        }
        let stream = Stream::new("orders", None, &settings).ok().unwrap();
        let status = StatusCode::from_u16(status).unwrap();
        parse(
            &Reply { status, retry_after: None, location: None, exception: None, body: Bytes::from(body.to_owned()) },
            &stream,
        )
    }

    #[test]
    fn errors_are_told_apart_by_their_types() {
        let of = |kind: &str| fault_of(400, &format!("{{\"__type\":\"{kind}\",\"message\":\"why\"}}"), true);
        assert!(matches!(of("ProvisionedThroughputExceededException"), KinesisFault::Throttled(_)));
        assert_eq!(of("com.amazonaws.kinesis#ExpiredIteratorException"), KinesisFault::Expired);
        assert!(matches!(of("InvalidArgumentException"), KinesisFault::Invalid(_)));
        let KinesisFault::Permanent(description) = of("ResourceNotFoundException") else { panic!() };
        let expected = "stream `orders` at https://kinesis.x.amazonaws.com/: ResourceNotFoundException: why; create the stream, or check \
                        `stream` or `region`";
        assert_eq!(description, expected);
        let KinesisFault::Permanent(description) = of("ExpiredTokenException") else { panic!() };
        assert!(description.contains("AWS_SESSION_TOKEN"), "{description}");
        let expired = r#"{"__type":"ExpiredTokenException"}"#;
        assert!(matches!(fault_of(400, expired, false), KinesisFault::Transient(_)), "the provider issues another one");
        assert!(
            matches!(of("Whatever\u{1b}[31m"), KinesisFault::Permanent(description) if !description.contains('\u{1b}'))
        );
        for body in ["", "<html>", "[]", "{\"__type\":7}"] {
            assert!(matches!(fault_of(500, body, true), KinesisFault::Transient(_)), "{body}");
            assert!(matches!(fault_of(403, body, true), KinesisFault::Permanent(_)), "{body}");
        }
    }
}
