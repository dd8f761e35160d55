//! A plugin that sends HTTP requests as each row says: `GET http://127.0.0.1:8080/`, `upload 4096 http://…` (this many bytes),
//! `within 5 http://…` (it gives up after this many seconds), `many 40 http://…` (this many at a time), `stuck` (a body that is
//! never sent). The output row is the response, or the error.

// It calls functions that only a host of components has.
#![cfg(target_arch = "wasm32")]

use millstream_sdk::{Out, Row, transform};
use wasip2::clocks::monotonic_clock;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
};
use wasip2::io::poll::poll;
use wasip2::io::streams::StreamError;

/// What to ask.
#[derive(Row)]
pub struct Question<'a> {
    value: &'a str,
}

/// What was answered.
#[derive(Row)]
pub struct Answer<'a> {
    value: &'a str,
}

const SECOND: u64 = 1_000_000_000;

/// Asks what each row says.
#[transform]
pub fn asker(question: Question, out: &mut Out<Answer>) {
    out.push(Answer { value: &ask(question.value) });
}

fn ask(question: &str) -> String {
    let (word, rest) = question.split_once(' ').unwrap_or((question, ""));
    let (number, url) = rest.split_once(' ').unwrap_or_default();
    let number = number.parse::<u64>().unwrap_or_default();
    match word {
        "stuck" => unsent_body(),
        "upload" => request("POST", url, number),
        "within" => within(url, number * SECOND),
        "many" => many(number, url),
        method => request(method, rest, 0),
    }
}

/// Sends this number of requests at the same time; returns how many got a response, and the result of the last one.
fn many(count: u64, url: &str) -> String {
    let sent: Vec<_> = (0..count).map(|_| send("GET", url, 0)).collect();
    let answered = |sent: Result<FutureIncomingResponse, String>| {
        let sent = sent?;
        sent.subscribe().block();
        response(&sent)
    };
    let answers: Vec<_> = sent.into_iter().map(answered).collect();
    let good = answers.iter().filter(|answer| answer.is_ok()).count();
    format!("{good} of {count}; {}", answers.into_iter().last().map_or_else(String::new, told))
}

/// Returns status and body of the response, or the error.
fn request(method: &str, url: &str, body_bytes: u64) -> String {
    let answered = send(method, url, body_bytes).and_then(|sent| {
        sent.subscribe().block();
        response(&sent)
    });
    told(answered)
}

/// The same as a GET, cancelled after some nanoseconds.
fn within(url: &str, nanoseconds: u64) -> String {
    let answered = send("GET", url, 0).and_then(|sent| {
        let (answer, timeout) = (sent.subscribe(), monotonic_clock::subscribe_duration(nanoseconds));
        match poll(&[&answer, &timeout]).contains(&0) {
            true => response(&sent),
            false => Err("I gave up".into()),
        }
    });
    told(answered)
}

/// Writes to the body of a request that is never sent, until there is no more room.
fn unsent_body() -> String {
    let request = OutgoingRequest::new(Fields::new());
    let Ok(body) = request.body() else { return "no body".into() };
    let Ok(stream) = body.write() else { return "no stream".into() };
    loop {
        if let Err(error) = stream.blocking_write_and_flush(&[b'x'; 4096]) {
            return error.to_string();
        }
    }
}

fn told(answered: Result<(u16, Vec<u8>), String>) -> String {
    match answered {
        Ok((status, body)) => format!("{status} {}", String::from_utf8_lossy(&body)),
        Err(words) => words,
    }
}

fn send(method: &str, url: &str, body_bytes: u64) -> Result<FutureIncomingResponse, String> {
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let request = OutgoingRequest::new(Fields::new());
    let wrong = |what: &str| format!("{what} is not accepted");
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        other => Method::Other(other.to_owned()),
    };
    request.set_method(&method).map_err(|()| wrong("the method"))?;
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_scheme(Some(&scheme)).map_err(|()| wrong("the scheme"))?;
    request.set_authority(Some(authority)).map_err(|()| wrong("the authority"))?;
    request.set_path_with_query(Some(path)).map_err(|()| wrong("the path"))?;
    let body = if body_bytes > 0 { Some(request.body().map_err(|()| wrong("the body"))?) } else { None };
    let sent = handle(request, None).map_err(|code| format!("{code:?}"))?;
    if let Some(body) = body {
        write(&body, body_bytes)?;
        // After a failed request, the end of its body reaches no one.
        let _ = OutgoingBody::finish(body, None);
    }
    Ok(sent)
}

fn write(body: &OutgoingBody, bytes: u64) -> Result<(), String> {
    let stream = body.write().map_err(|()| "the body has no stream")?;
    for _ in 0..bytes.div_ceil(4096) {
        match stream.blocking_write_and_flush(&[b'x'; 4096]) {
            Ok(()) => {}
            Err(StreamError::Closed) => break,
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

fn response(sent: &FutureIncomingResponse) -> Result<(u16, Vec<u8>), String> {
    let response: Result<IncomingResponse, ErrorCode> = sent.get().ok_or("no answer")?.map_err(|()| "taken")?;
    let response = response.map_err(|code| format!("{code:?}"))?;
    let body = response.consume().map_err(|()| "the body is taken")?;
    let stream = body.stream().map_err(|()| "the stream is taken")?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(more) => bytes.extend(more),
            Err(StreamError::Closed) => return Ok((response.status(), bytes)),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(format!("{} after {} bytes", error.to_debug_string(), bytes.len()));
            }
        }
    }
}
