//! What a request is answered.

use super::body::{BodyFault, HeldBody, drain};
use super::call::{Answer, Call};
use super::producers::{self, Numbered};
use super::{Intake, IntakeResult, Receiving};
use crate::http::heads::repeated;
use crate::http::places::{Place, Standing};
use crate::receiver::bodies::{self, BodyRecords};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderName, HeaderValue, ORIGIN,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use millstream_base::units;
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tokio::time::Instant;

const PRODUCER: HeaderName = HeaderName::from_static("millstream-producer");
const SEQUENCE: HeaderName = HeaderName::from_static("millstream-sequence");
/// After how many seconds to try again.
const AGAIN_S: HeaderValue = HeaderValue::from_static("1");

/// Answers a request when its rows are safe, or at once where they are not taken.
pub async fn answer(intake: &Arc<Intake>, peer: SocketAddr, place: &Place, request: Request<Incoming>) -> Answer {
    if matches!(*request.method(), Method::GET | Method::HEAD) && request.uri().path() == "/health" {
        return told(StatusCode::OK, json!({ "source": intake.source.name }));
    }
    let (head, mut body) = request.into_parts();
    let mut call = None;
    let taken = match admitted(intake, &head) {
        Ok(admitted) => {
            call.clone_from(&admitted.call);
            // Who has the token keeps its place, and the others while there is something that they wait for.
            let stands =
                |otherwise| place.set_standing(if intake.server.token.is_some() { Standing::Known } else { otherwise });
            stands(Standing::Guest);
            let taken = take(intake, &mut body, (&admitted, peer.ip()), || stands(Standing::Known)).await;
            stands(Standing::Stranger);
            taken
        }
        Err(refusal) => Err(RequestRefusal { drains: true, ..refusal }),
    };
    match taken {
        Ok(answer) => call.map_or(answer, |call| call.taken()),
        Err(refusal) => {
            if !refusal.passes() {
                intake.refusals.tell(peer, &refusal.why);
            }
            // Who waits for a word before it writes gets the answer anyway.
            if refusal.drains && !head.headers.contains_key(EXPECT) {
                drain(&mut body).await;
            }
            refusal.answer(call)
        }
    }
}

/// What the head of a request says.
struct RequestHead {
    /// Which of a producer it is, where it says so.
    numbered: Option<Numbered>,
    /// What it is in the protocol of the source.
    call: Option<Arc<dyn Call>>,
}

/// Why a request is not taken.
struct RequestRefusal {
    status: StatusCode,
    why: String,
    header: Option<(HeaderName, HeaderValue)>,
    /// Its sender may still write.
    drains: bool,
}

impl RequestRefusal {
    fn new(status: StatusCode, why: impl Into<String>) -> RequestRefusal {
        RequestRefusal { status, why: why.into(), header: None, drains: false }
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> RequestRefusal {
        self.header = Some((name, value));
        self
    }

    /// Whether it may be taken later as it is: nobody has to do anything.
    fn passes(&self) -> bool {
        self.header.as_ref().is_some_and(|(name, _)| *name == RETRY_AFTER)
    }

    fn answer(self, call: Option<Arc<dyn Call>>) -> Answer {
        let mut answer = match call {
            Some(call) => call.refused(self.status, &self.why),
            None => told(self.status, json!({ "error": self.why })),
        };
        if self.status == StatusCode::MISDIRECTED_REQUEST {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.header.into_iter().for_each(|(name, value)| drop(answer.headers_mut().insert(name, value)));
        answer
    }
}

fn told(status: StatusCode, what: serde_json::Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(format!("{what}\n"))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// Looks at the head of a request.
fn admitted(intake: &Intake, head: &hyper::http::request::Parts) -> Result<RequestHead, RequestRefusal> {
    if head.method != Method::POST {
        let refused = RequestRefusal::new(StatusCode::METHOD_NOT_ALLOWED, "rows come by POST");
        return Err(refused.with(ALLOW, HeaderValue::from_static("POST")));
    }
    if let Some(why) = repeated(&head.headers) {
        return Err(RequestRefusal::new(StatusCode::BAD_REQUEST, why));
    }
    match &intake.server.token {
        Some(token) => {
            let given = head.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
            let (scheme, given) = given.split_at_checked("Bearer ".len()).unwrap_or_default();
            // However much of it is right, it takes as long.
            let right: bool = given.ct_eq(token.as_bytes()).into();
            if !right || !scheme.eq_ignore_ascii_case(b"Bearer ") {
                let why = "the token is wrong or missing; send it as `Authorization: Bearer …`";
                let refused = RequestRefusal::new(StatusCode::UNAUTHORIZED, why);
                return Err(refused.with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
            }
        }
        // Pages of any site can make a browser on this machine send something here, and cannot know a token.
        None if head.headers.contains_key(ORIGIN) => {
            let why = "a page in a browser sent it, which a source without `token` does not take";
            return Err(RequestRefusal::new(StatusCode::FORBIDDEN, why));
        }
        None => {}
    }
    if let Some(protocol) = &intake.protocol {
        let call = protocol.call(head.uri.path(), &head.headers);
        let call = call.map_err(|(status, why)| RequestRefusal::new(status, why))?;
        return Ok(RequestHead { numbered: None, call: Some(call) });
    }
    let packed = |encoding: &HeaderValue| !encoding.as_bytes().eq_ignore_ascii_case(b"identity");
    if head.headers.get_all(CONTENT_ENCODING).iter().any(packed) {
        let why = "bodies are taken as they are; send it without Content-Encoding";
        return Err(RequestRefusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    let header = |name: &HeaderName| head.headers.get(name).map(HeaderValue::as_bytes);
    let numbered = Numbered::of(header(&PRODUCER), header(&SEQUENCE));
    let numbered = numbered.map_err(|why| RequestRefusal::new(StatusCode::BAD_REQUEST, why))?;
    // Which of its requests came is known to one process alone.
    if numbered.as_ref().is_some_and(|numbered| !intake.listening.owns(&producers::name(&numbered.producer))) {
        let why = "another process of the job knows how far this producer has come; send it over a new connection";
        return Err(RequestRefusal::new(StatusCode::MISDIRECTED_REQUEST, why).with(RETRY_AFTER, AGAIN_S));
    }
    Ok(RequestHead { numbered, call: None })
}

/// Takes a request in, and waits until its rows are safe.
async fn take(
    intake: &Intake,
    body: &mut Incoming,
    (admitted, from): (&RequestHead, IpAddr),
    is_whole: impl FnOnce(),
) -> Result<Answer, RequestRefusal> {
    let receiving = Receiving::new(intake);
    let deadline = Instant::now() + intake.server.request_time_max;
    let held = intake.budget.receive(body, intake.request_bytes_max, deadline).await;
    let held = held.map_err(|fault| not_received(intake, fault))?;
    is_whole();
    let rows = put(intake, held, (admitted, from))?;
    drop(receiving);
    let (rows, ticket, repeated) = match rows {
        (0, _) => return Ok(told(StatusCode::OK, json!({ "rows": 0 }))),
        (rows, IntakeResult::Rows(ticket)) => (rows, Some(ticket), false),
        (_, IntakeResult::Repeated(ticket)) => (0, ticket, true),
        (_, IntakeResult::Behind) => {
            let why = "a later request of this producer came before and is not safe yet; send them one after the other";
            return Err(RequestRefusal::new(StatusCode::CONFLICT, why).with(RETRY_AFTER, AGAIN_S));
        }
        (_, IntakeResult::Full) => {
            let why = "the job cannot take more at the moment; send it again later";
            return Err(RequestRefusal::new(StatusCode::TOO_MANY_REQUESTS, why).with(RETRY_AFTER, AGAIN_S));
        }
        (_, IntakeResult::Closed) => return Err(stopping()),
    };
    match ticket {
        Some(ticket) if !intake.inbox.durable(ticket).await => Err(stopping()),
        _ if repeated => Ok(told(StatusCode::OK, json!({ "rows": 0, "repeated": true }))),
        _ => Ok(told(StatusCode::OK, json!({ "rows": rows }))),
    }
}

/// Cuts a body into records and hands them over: how many there are, and what became of them.
fn put(
    intake: &Intake,
    held: HeldBody,
    (admitted, from): (&RequestHead, IpAddr),
) -> Result<(u64, IntakeResult), RequestRefusal> {
    let cut = match &admitted.call {
        Some(call) => call.cut(&intake.source, &held.bytes, [intake.request_bytes_max, intake.rows_max]),
        None => bodies::cut(&intake.source, &held.bytes, intake.rows_max).map_err(|why| (StatusCode::BAD_REQUEST, why)),
    };
    let BodyRecords { chunks, rows } = cut.map_err(|(status, why)| RequestRefusal::new(status, why))?;
    drop(held);
    if rows > intake.rows_max {
        let most = intake.rows_max;
        let why = format!("the request has {rows} rows, and at most {most} fit into a batch; send it in several");
        return Err(RequestRefusal::new(StatusCode::PAYLOAD_TOO_LARGE, why));
    }
    let rows = bodies::rows_of(&intake.source, &chunks);
    if rows == 0 {
        return Ok((0, IntakeResult::Repeated(None)));
    }
    Ok((rows, intake.take(chunks, admitted.numbered.as_ref(), from)))
}

fn not_received(intake: &Intake, fault: BodyFault) -> RequestRefusal {
    let refused = match fault {
        BodyFault::TooLarge => {
            let most = units::show_size(intake.request_bytes_max);
            let why = format!("the request has more than {most} (`request_bytes_max`); send it in several");
            RequestRefusal::new(StatusCode::PAYLOAD_TOO_LARGE, why)
        }
        BodyFault::TooSlow => {
            let most = units::show_time(intake.server.request_time_max);
            let why = format!("the request did not come within {most} (`request_time_max`)");
            return RequestRefusal::new(StatusCode::REQUEST_TIMEOUT, why);
        }
        BodyFault::NoRoom => {
            let why = "too many requests are coming in at the same time; send it again later";
            RequestRefusal::new(StatusCode::TOO_MANY_REQUESTS, why).with(RETRY_AFTER, AGAIN_S)
        }
        BodyFault::Broken(why) => return RequestRefusal::new(StatusCode::BAD_REQUEST, format!("it broke off: {why}")),
    };
    RequestRefusal { drains: true, ..refused }
}

fn stopping() -> RequestRefusal {
    let why = "the job is stopping; send it again when it runs";
    RequestRefusal::new(StatusCode::SERVICE_UNAVAILABLE, why).with(RETRY_AFTER, AGAIN_S)
}
