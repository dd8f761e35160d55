//! Responds to requests.

use super::body::{BodyFault, BufferedBody, drain};
use super::call::{Call, HttpResponse};
use super::producers::{self, NumberedRequest};
use super::{Intake, IntakeResult, ReceivingGuard};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderName, HeaderValue, ORIGIN,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use millstream_base::units;
use millstream_connect::http1::heads::repeated;
use millstream_connect::http1::slots::{Slot, TrustLevel};
use millstream_connect::receiver::bodies::{self, BodyRecords};
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tokio::time::Instant;

const PRODUCER: HeaderName = HeaderName::from_static("millstream-producer");
const SEQUENCE: HeaderName = HeaderName::from_static("millstream-sequence");
/// Seconds to wait before a retry.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// Responds to a request when its rows are durable, or immediately if they are rejected.
pub async fn respond(intake: &Arc<Intake>, peer: SocketAddr, slot: &Slot, request: Request<Incoming>) -> HttpResponse {
    if matches!(*request.method(), Method::GET | Method::HEAD) && request.uri().path() == "/health" {
        return json_response(StatusCode::OK, json!({ "source": intake.source.name }));
    }
    let (head, mut body) = request.into_parts();
    let mut call = None;
    let taken = match check_head(intake, &head) {
        Ok(checked) => {
            call.clone_from(&checked.call);
            // Connections with a token keep their slot, others only while they wait for a response.
            let set_trust_level = |otherwise| {
                slot.set_trust_level(if intake.server.token.is_some() { TrustLevel::Known } else { otherwise })
            };
            set_trust_level(TrustLevel::Guest);
            let taken = take(intake, &mut body, (&checked, peer.ip()), || set_trust_level(TrustLevel::Known)).await;
            set_trust_level(TrustLevel::Stranger);
            taken
        }
        Err(rejection) => Err(RequestRejection { needs_drain: true, ..rejection }),
    };
    match taken {
        Ok(response) => call.map_or(response, |call| call.accepted()),
        Err(rejection) => {
            if !rejection.is_transient() {
                intake.rejection_log.log(peer, &rejection.why);
            }
            // A client that waits for `100 Continue` receives the response anyway.
            if rejection.needs_drain && !head.headers.contains_key(EXPECT) {
                drain(&mut body).await;
            }
            rejection.into_response(call)
        }
    }
}

/// The parsed head of a request.
struct RequestHead {
    /// Producer and sequence number, if the request has them.
    numbered: Option<NumberedRequest>,
    /// The request in the protocol of the source.
    call: Option<Arc<dyn Call>>,
}

/// Why a request is rejected.
struct RequestRejection {
    status: StatusCode,
    why: String,
    header: Option<(HeaderName, HeaderValue)>,
    /// Whether the client may still be sending.
    needs_drain: bool,
}

impl RequestRejection {
    fn new(status: StatusCode, why: impl Into<String>) -> RequestRejection {
        RequestRejection { status, why: why.into(), header: None, needs_drain: false }
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> RequestRejection {
        self.header = Some((name, value));
        self
    }

    /// Returns whether a retry of the same request may succeed.
    fn is_transient(&self) -> bool {
        self.header.as_ref().is_some_and(|(name, _)| *name == RETRY_AFTER)
    }

    fn into_response(self, call: Option<Arc<dyn Call>>) -> HttpResponse {
        let mut response = match call {
            Some(call) => call.rejected(self.status, &self.why),
            None => json_response(self.status, json!({ "error": self.why })),
        };
        if self.status == StatusCode::MISDIRECTED_REQUEST {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.header.into_iter().for_each(|(name, value)| drop(response.headers_mut().insert(name, value)));
        response
    }
}

fn json_response(status: StatusCode, what: serde_json::Value) -> HttpResponse {
    let mut response = Response::new(Full::new(Bytes::from(format!("{what}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Checks the head of a request.
fn check_head(intake: &Intake, head: &hyper::http::request::Parts) -> Result<RequestHead, RequestRejection> {
    if head.method != Method::POST {
        let rejection = RequestRejection::new(StatusCode::METHOD_NOT_ALLOWED, "send rows by POST");
        return Err(rejection.with(ALLOW, HeaderValue::from_static("POST")));
    }
    if let Some(why) = repeated(&head.headers) {
        return Err(RequestRejection::new(StatusCode::BAD_REQUEST, why));
    }
    match &intake.server.token {
        Some(token) => {
            let given = head.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
            let (scheme, given) = given.split_at_checked("Bearer ".len()).unwrap_or_default();
            // Constant-time comparison.
            let is_equal: bool = given.ct_eq(token.as_bytes()).into();
            if !is_equal || !scheme.eq_ignore_ascii_case(b"Bearer ") {
                let why = "the token is wrong or missing; send it as `Authorization: Bearer …`";
                let rejection = RequestRejection::new(StatusCode::UNAUTHORIZED, why);
                return Err(rejection.with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
            }
        }
        // A page of any site could make a browser on this machine send requests, but has no token.
        None if head.headers.contains_key(ORIGIN) => {
            let why = "a browser page sent it, and a source without `token` rejects such requests";
            return Err(RequestRejection::new(StatusCode::FORBIDDEN, why));
        }
        None => {}
    }
    if let Some(protocol) = &intake.protocol {
        let call = protocol.call(head.uri.path(), &head.headers);
        let call = call.map_err(|(status, why)| RequestRejection::new(status, why))?;
        return Ok(RequestHead { numbered: None, call: Some(call) });
    }
    let is_compressed = |encoding: &HeaderValue| !encoding.as_bytes().eq_ignore_ascii_case(b"identity");
    if head.headers.get_all(CONTENT_ENCODING).iter().any(is_compressed) {
        let why = "compressed bodies are not supported; send it without Content-Encoding";
        return Err(RequestRejection::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    let header = |name: &HeaderName| head.headers.get(name).map(HeaderValue::as_bytes);
    let numbered = NumberedRequest::from_headers(header(&PRODUCER), header(&SEQUENCE));
    let numbered = numbered.map_err(|why| RequestRejection::new(StatusCode::BAD_REQUEST, why))?;
    // Only one process tracks the requests of a producer.
    if numbered.as_ref().is_some_and(|numbered| !intake.listening.owns(&producers::name(&numbered.producer))) {
        let why = "another process of the job handles this producer; send it over a new connection";
        return Err(RequestRejection::new(StatusCode::MISDIRECTED_REQUEST, why).with(RETRY_AFTER, RETRY_AFTER_S));
    }
    Ok(RequestHead { numbered, call: None })
}

/// Receives a request, and waits until its rows are durable.
async fn take(
    intake: &Intake,
    body: &mut Incoming,
    (head, from): (&RequestHead, IpAddr),
    on_received: impl FnOnce(),
) -> Result<HttpResponse, RequestRejection> {
    let receiving = ReceivingGuard::new(intake);
    let deadline = Instant::now() + intake.server.request_time_max;
    let request_body = intake.budget.receive(body, intake.request_bytes_max, deadline).await;
    let request_body = request_body.map_err(|fault| body_rejection(intake, fault))?;
    on_received();
    let rows = put(intake, request_body, (head, from))?;
    drop(receiving);
    let (rows, ticket, repeated) = match rows {
        (0, _) => return Ok(json_response(StatusCode::OK, json!({ "rows": 0 }))),
        (rows, IntakeResult::Rows(ticket)) => (rows, Some(ticket), false),
        (_, IntakeResult::Repeated(ticket)) => (0, ticket, true),
        (_, IntakeResult::OutOfOrder) => {
            let why = "a later request of this producer arrived first and is not durable yet; send them one after \
                the other";
            return Err(RequestRejection::new(StatusCode::CONFLICT, why).with(RETRY_AFTER, RETRY_AFTER_S));
        }
        (_, IntakeResult::Full) => {
            let why = "the job cannot receive more at the moment; send it again later";
            return Err(RequestRejection::new(StatusCode::TOO_MANY_REQUESTS, why).with(RETRY_AFTER, RETRY_AFTER_S));
        }
        (_, IntakeResult::Closed) => return Err(stopping()),
    };
    match ticket {
        Some(ticket) if !intake.inbox.durable(ticket).await => Err(stopping()),
        _ if repeated => Ok(json_response(StatusCode::OK, json!({ "rows": 0, "repeated": true }))),
        _ => Ok(json_response(StatusCode::OK, json!({ "rows": rows }))),
    }
}

/// Splits a body into records and puts them into the inbox. Returns their number and the outcome.
fn put(
    intake: &Intake,
    request_body: BufferedBody,
    (head, from): (&RequestHead, IpAddr),
) -> Result<(u64, IntakeResult), RequestRejection> {
    let cut = match &head.call {
        Some(call) => call.split_body(&intake.source, &request_body.bytes, [intake.request_bytes_max, intake.rows_max]),
        None => bodies::cut(&intake.source, &request_body.bytes, intake.rows_max)
            .map_err(|why| (StatusCode::BAD_REQUEST, why)),
    };
    let BodyRecords { chunks, rows } = cut.map_err(|(status, why)| RequestRejection::new(status, why))?;
    drop(request_body);
    if rows > intake.rows_max {
        let max = intake.rows_max;
        let why = format!(
            "the request has {rows} rows, but a batch holds at most {max}; split it into several \
            requests"
        );
        return Err(RequestRejection::new(StatusCode::PAYLOAD_TOO_LARGE, why));
    }
    let rows = bodies::rows_of(&intake.source, &chunks);
    if rows == 0 {
        return Ok((0, IntakeResult::Repeated(None)));
    }
    Ok((rows, intake.take(chunks, head.numbered.as_ref(), from)))
}

fn body_rejection(intake: &Intake, fault: BodyFault) -> RequestRejection {
    let rejection = match fault {
        BodyFault::TooLarge => {
            let max = units::show_size(intake.request_bytes_max);
            let why = format!("the request has more than {max} (`request_bytes_max`); split it into several requests");
            RequestRejection::new(StatusCode::PAYLOAD_TOO_LARGE, why)
        }
        BodyFault::TooSlow => {
            let max = units::show_time(intake.server.request_time_max);
            let why = format!("the request did not arrive within {max} (`request_time_max`)");
            return RequestRejection::new(StatusCode::REQUEST_TIMEOUT, why);
        }
        BodyFault::NoRoom => {
            let why = "too many requests are arriving at the same time; send it again later";
            RequestRejection::new(StatusCode::TOO_MANY_REQUESTS, why).with(RETRY_AFTER, RETRY_AFTER_S)
        }
        BodyFault::Broken(why) => {
            return RequestRejection::new(StatusCode::BAD_REQUEST, format!("the connection broke: {why}"));
        }
    };
    RequestRejection { needs_drain: true, ..rejection }
}

fn stopping() -> RequestRejection {
    let why = "the job is stopping; send it again when it runs";
    RequestRejection::new(StatusCode::SERVICE_UNAVAILABLE, why).with(RETRY_AFTER, RETRY_AFTER_S)
}
