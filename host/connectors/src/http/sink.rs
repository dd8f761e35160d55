//! Sink `http`: each batch is sent to a server in one or several requests.
//!
//! A server keeps no marker for us, so a start sends what the last one may have sent already. Each request has a key that is the
//! same then, and each row of a `_bulk` an id, by which a server can tell. With `parts = "worker"` each worker sends what it has of a
//! batch, as a sender with keys, ids and numbers of its own: batches that were planned run again with the workers that they had.

mod bulk;
pub mod declaration;
mod documents;
mod requests;
pub mod settings;

use super::{Client, Fault, HttpRequest, Reply, Server};
use crate::sink::commit_retry::{CommitRetry, ServerFault};
use crate::sink::shares::Share;
use crate::sink::waiting::{await_or_end, new_runtime};
use crate::sink::wrong;
use crate::tls::Tls;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use documents::Documents;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use millstream_base::batch::json;
use millstream_base::batch::sink::Sink;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::job::http_url;
use millstream_base::job::spec::{PartsBy, SinkStart};
use millstream_base::owner::Owner;
use millstream_base::shown;
use requests::RowsOfRequest;
use settings::{HttpBody, HttpWrites};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::time::Duration;
use tokio::runtime::Runtime;

/// What stands in a URL or a header for the key of a request, and in a header for a number that is larger with each, and for whose
/// number that is.
pub const KEY: &str = "{key}";
const SENDER: &str = "{sender}";
/// Rows of one batch, in bits of that number.
const NUMBER_BITS: u32 = 28;
const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Bytes of an answer that are read: of one that nobody reads, and of one to `_bulk`, which has a line for each row.
const REPLY_BYTES_MAX: usize = 64 << 10;
const BULK_REPLY_BYTES_MAX: usize = 256 << 20;
/// Bytes of an answer that a message shows.
const SHOWN_BYTES_MAX: usize = 400;
/// Refused rows of a request that are told in words.
const REFUSED_SHOWN: usize = 3;

/// Sends every batch that has rows.
struct HttpSink {
    name: String,
    writes: HttpWrites,
    client: Client,
    headers: HeaderMap,
    /// In front of all keys: the job, as long as it goes on.
    job_id: String,
    share: Share,
    failure: Failure,
    runtime: Runtime,
    /// Rows that the server refused.
    refused: u64,
}

/// Checks what can be checked without asking the server.
pub fn check(http: &HttpWrites, start: SinkStart<'_>, schema: &SchemaRef, keeps_checkpoints: bool) -> Result<()> {
    let SinkStart { spec, origin, .. } = start;
    json::check(schema).map_err(|message| wrong(spec, origin, "from", message))?;
    if let Some(keyed) = http.keyed() {
        documents::check(keyed, schema).map_err(|(key, message)| wrong(spec, origin, key, message))?;
    }
    let server = server(http, start)?;
    server.check().map_err(|message| wrong(spec, origin, "tls", format!("`tls` cannot be used: {message}")))?;
    if counts_for_nobody(http) && http.parts == PartsBy::Worker {
        let message = format!("each worker counts `{{sequence}}` by itself (`parts = \"worker\"`); {NAME_SENDER}");
        return Err(wrong(spec, origin, "headers", message));
    }
    match counts_for_nobody(http) && !keeps_checkpoints {
        true => Err(wrong(spec, origin, "headers", format!("{COUNTS_ANEW}; {NAME_SENDER}"))),
        false => headers(http).map(drop).map_err(|message| wrong(spec, origin, "headers", message)),
    }
}

const COUNTS_ANEW: &str = "a job that starts from scratch counts `{sequence}` from the beginning, and a server that has seen larger \
                           numbers treats its rows as duplicates";
const NAME_SENDER: &str =
    "write `{sender}` into the header that says whose number it is, as Millstream-Producer = \"{sender}\"";

/// Whether requests have a number, and do not say whose.
fn counts_for_nobody(http: &HttpWrites) -> bool {
    let has = |what: &str| http.headers.iter().any(|(_, value)| value.contains(what));
    http.counts_rows() && !has(SENDER) && !has(KEY)
}

/// Prepares to send, and says what that promises; the first batch connects.
fn open(http: &HttpWrites, start: SinkStart<'_>, owner: Option<&Owner>, failure: &Failure) -> Result<Box<dyn Sink>> {
    let (name, is_whole) = (&start.spec.name, start.share.is_none());
    if owner.is_some() && is_whole {
        tracing::info!(
            "sink `{name}` sends at least once: after a crash some requests come again, with the same Idempotency-Key"
        );
    }
    if counts_for_nobody(http) && is_whole {
        tracing::warn!("sink `{name}`: {COUNTS_ANEW}, as after --fresh; {NAME_SENDER}");
    }
    prepare(http, start, owner, failure)
}

/// Who asks the server of a sink, and the headers of all requests.
pub fn client(http: &HttpWrites, start: SinkStart<'_>) -> Result<(Client, HeaderMap)> {
    let headers = headers(http).map_err(|message| wrong(start.spec, start.origin, "headers", message))?;
    Ok((Client::new(server(http, start)?), headers))
}

/// Prepares to send whole batches, or the share of a worker; the first batch connects.
pub fn prepare(
    http: &HttpWrites,
    start: SinkStart<'_>,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    let (client, headers) = client(http, start)?;
    let job_id = match owner {
        Some(owner) => owner.job_id.clone(),
        // What no other start has.
        None => format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1)),
    };
    Ok(Box::new(HttpSink {
        name: start.spec.name.clone(),
        writes: http.clone(),
        client,
        headers,
        job_id,
        share: start.share,
        failure: failure.clone(),
        runtime: new_runtime()?,
        refused: 0,
    }))
}

fn server(http: &HttpWrites, start: SinkStart<'_>) -> Result<Server> {
    let SinkStart { spec, origin, .. } = start;
    let tls = http.tls.as_ref().map_or_else(Tls::default, |tls| Tls::of(tls, &origin.folder));
    let url = http_url::url(&http.url).and_then(|url| {
        // A key is put in later, and stands for letters that a URL may have.
        Server::of(&url.replace(KEY, "0key0"), tls).map_err(|message| format!("`url` {message}"))
    });
    url.map_err(|message| wrong(spec, origin, "url", message))
}

/// The headers of all requests.
fn headers(http: &HttpWrites) -> std::result::Result<HeaderMap, String> {
    let kind = if http.body == HttpBody::Array { "application/json" } else { "application/x-ndjson" };
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
    if let Some(token) = &http.token {
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value = value.map_err(|_| "`token` has characters that a header must not contain".to_owned())?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    for (name, value) in &http.headers {
        let wrong = |what: &str| format!("`headers.{name}` {what}");
        let name = HeaderName::try_from(name).map_err(|_| wrong("is not a valid header name"))?;
        let value = HeaderValue::try_from(value).map_err(|_| wrong("has characters that a header must not contain"))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// What ClickHouse calls values that its table does not take, whatever the status: text that is no value of the type, one that is
/// out of range or too long, a null, and what a constraint forbids.
const EXCEPTIONS_OF_ROWS: [u32; 19] =
    [6, 26, 27, 38, 41, 53, 69, 70, 72, 117, 131, 321, 349, 376, 407, 469, 675, 676, 691];

/// What became of a request to the server of a sink.
enum RequestOutcome {
    Done,
    /// These rows are to be sent again, for this reason, after this time at least.
    Again(Vec<usize>, String, Duration),
}

/// What ends the sending of a batch.
struct SendingFailed(Error);

impl From<io::Error> for SendingFailed {
    fn from(error: io::Error) -> SendingFailed {
        SendingFailed(Error::plugin(format!("rows cannot be written as JSON: {error}")))
    }
}

impl Sink for HttpSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        fault::point("commit.before");
        let (documents, rows) = self.documents(batch, rows)?;
        let (rows_max, bytes_max) = (self.writes.rows_per_request_max, self.writes.request_bytes_max);
        let [rows_max, bytes_max] = [rows_max, bytes_max].map(|most| usize::try_from(most).unwrap_or(usize::MAX));
        requests::each(&rows, documents, (rows_max, bytes_max), |request| {
            self.send(batch, &request).map_err(SendingFailed)
        })
        .map_err(|ended| ended.0)?;
        fault::point("commit.after");
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        None
    }
}

impl HttpSink {
    /// The documents of the rows, where rows share them, and the rows without the column that says what they do.
    fn documents(&self, batch: BatchId, rows: Vec<RecordBatch>) -> Result<(Option<Documents>, Vec<RecordBatch>)> {
        let Some(keyed) = self.writes.keyed() else { return Ok((None, rows)) };
        let found = documents::of(&rows, keyed)
            .map_err(|why| Error::plugin(format!("sink `{}`: batch {batch}: {why}", self.name)))?;
        let Some(op) = &keyed.op else { return Ok((Some(found), rows)) };
        let without = |part: RecordBatch| {
            let places: Vec<usize> =
                (0..part.num_columns()).filter(|place| part.schema_ref().field(*place).name() != op).collect();
            part.project(&places).map_err(Error::arrow)
        };
        Ok((Some(found), rows.into_iter().map(without).collect::<Result<_>>()?))
    }

    /// Sends a request until it is taken, the job has ended, or something is wrong that does not pass.
    fn send(&mut self, batch: BatchId, request: &RowsOfRequest) -> Result<()> {
        let (name, place) = (self.name.clone(), self.client.server().place().to_owned());
        let (wait, failure) = (self.writes.wait, self.failure.clone());
        let mut rows = requests::all(request);
        CommitRetry { sink: &name, place: &place, wait, failure: &failure }.commit(batch, || {
            match self.attempt(batch, request, &rows).map_err(ServerFault::Lasting)? {
                RequestOutcome::Done => Ok(()),
                RequestOutcome::Again(left, why, after) => {
                    rows = left;
                    Err(ServerFault::Busy(why, after))
                }
            }
        })
    }

    fn ended(&self, batch: BatchId) -> Error {
        Error::environment(format!("sink `{}`: batch {batch}: the job has ended", self.name))
    }

    /// Sends these rows of a request once.
    fn attempt(&mut self, batch: BatchId, request: &RowsOfRequest, rows: &[usize]) -> Result<RequestOutcome> {
        let worker = self.share.map_or_else(String::new, |worker| format!("/w{worker}"));
        let sender = format!("{}/{}{worker}", self.job_id, self.name);
        let prefix = format!("{sender}/{batch}");
        // A job that was changed in the middle of a batch cuts it elsewhere, or makes other rows of it: what a server passes over must
        // hold no row that it has not. Nor has a request with some of the rows of another one its key.
        let key = format!("{prefix}/{}-{}", request.number, request.digest(rows));
        let body = request.body(rows, &self.writes.body, |row| format!("{prefix}/{row}"));
        let mut headers = self.headers.clone();
        let sequence = ((batch.0 << NUMBER_BITS) | request.end().min((1 << NUMBER_BITS) - 1)).to_string();
        for value in headers.values_mut() {
            let stand_ins = [(KEY, &key), (HttpWrites::SEQUENCE, &sequence), (SENDER, &sender)];
            let Some(text) = value.to_str().ok().filter(|text| stand_ins.iter().any(|(word, _)| text.contains(word)))
            else {
                continue;
            };
            let text = stand_ins.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value));
            *value = HeaderValue::try_from(text).map_err(|error| Error::bug(format!("a key is no header: {error}")))?;
        }
        headers.insert(KEY_HEADER, HeaderValue::try_from(&key).map_err(|error| Error::bug(format!("{key}: {error}")))?);
        let method = if self.writes.put { Method::PUT } else { Method::POST };
        let path = self.client.server().path().replace("0key0", &key);
        let asked = HttpRequest { method, path, headers, body };
        let bulk = matches!(self.writes.body, HttpBody::Bulk { .. });
        let most = if bulk { BULK_REPLY_BYTES_MAX } else { REPLY_BYTES_MAX };
        let asking = self.client.ask(&asked, self.writes.timeout, most);
        let reply = match await_or_end(&self.runtime, &self.failure, asking) {
            None => return Err(self.ended(batch)),
            Some(Ok(reply)) => reply,
            Some(Err(Fault::Passing(why))) => return Ok(RequestOutcome::Again(rows.to_vec(), why, Duration::ZERO)),
            Some(Err(Fault::Lasting(why))) => return Err(self.lasting(batch, &why)),
        };
        let status = reply.status;
        if status.is_success() {
            return if bulk { self.bulk(batch, request, rows, &reply) } else { Ok(RequestOutcome::Done) };
        }
        let why = format!("{status}{}", beginning(&reply));
        // The server has looked at the rows, and would say so again.
        let of_rows = [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY];
        if of_rows.contains(&status) || reply.exception.is_some_and(|code| EXCEPTIONS_OF_ROWS.contains(&code)) {
            return Err(Error::plugin(self.lasting(batch, &format!("{why}; {}", help(&reply))).message));
        }
        let passes = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        if passes.contains(&status) || status.is_server_error() {
            return Ok(RequestOutcome::Again(rows.to_vec(), why, reply.retry_after.unwrap_or_default()));
        }
        Err(self.lasting(batch, &format!("{why}; {}", help(&reply))))
    }

    fn lasting(&self, batch: BatchId, why: &str) -> Error {
        let (name, place) = (&self.name, self.client.server().place());
        Error::environment(format!("sink `{name}`: batch {batch}: {place}: {why}"))
    }

    /// What became of the rows of a `_bulk`, each for itself.
    fn bulk(
        &mut self,
        batch: BatchId,
        request: &RowsOfRequest,
        rows: &[usize],
        reply: &Reply,
    ) -> Result<RequestOutcome> {
        let found = bulk::outcome(&reply.body, rows.len());
        let found =
            found.map_err(|why| self.lasting(batch, &format!("{why}; check `url`, or choose another `body`")))?;
        let row_at = |place: usize| rows.get(place).copied().unwrap_or_default();
        if !found.refused.is_empty() {
            let (name, place, count) = (&self.name, self.client.server().place(), found.refused.len());
            let told: Vec<String> = found
                .refused
                .iter()
                .take(REFUSED_SHOWN)
                .map(|(place, why)| {
                    let row = row_at(*place);
                    let text = String::from_utf8_lossy(request.row(row));
                    let text = shown::harmless(&text, SHOWN_BYTES_MAX);
                    format!(
                        "row {} of the batch, {text}: {}",
                        request.number_of(row),
                        shown::harmless(why, SHOWN_BYTES_MAX)
                    )
                })
                .collect();
            let more =
                if count > REFUSED_SHOWN { format!("; and {} more", count - REFUSED_SHOWN) } else { String::new() };
            let told = format!("{place} rejected {count} of {} rows: {}{more}", rows.len(), told.join("; "));
            if !self.writes.reject {
                return Err(Error::plugin(format!(
                    "sink `{name}`: batch {batch}: {told}; fix the rows or the index, or set on_error = \"reject\""
                )));
            }
            self.refused += count as u64;
            tracing::warn!("sink `{name}`: batch {batch}: {told}; {} rejected so far", self.refused);
        }
        if found.later.is_empty() {
            return Ok(RequestOutcome::Done);
        }
        let why = format!(
            "{} of {} rows are not taken: {}",
            found.later.len(),
            rows.len(),
            shown::harmless(&found.why, SHOWN_BYTES_MAX)
        );
        let left = found.later.into_iter().map(row_at).collect();
        Ok(RequestOutcome::Again(left, why, reply.retry_after.unwrap_or_default()))
    }
}

/// The beginning of an answer, in a line.
fn beginning(reply: &Reply) -> String {
    let text = String::from_utf8_lossy(&reply.body);
    let text = shown::printable(text.trim(), SHOWN_BYTES_MAX).replace('\n', " ");
    if text.is_empty() { text } else { format!(": {text}") }
}

/// What to do about a status that does not pass.
fn help(reply: &Reply) -> String {
    let help = match reply.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "check `token` or `headers`, or their permissions",
        StatusCode::NOT_FOUND | StatusCode::GONE => "the address does not exist; check `url`",
        StatusCode::METHOD_NOT_ALLOWED => "check `url`, or set another `method`",
        StatusCode::PAYLOAD_TOO_LARGE => "lower `request_bytes_max` or `rows_per_request_max`",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "choose another `body`, or name what it wants in `headers`",
        status if status.is_redirection() => {
            let to = reply
                .location
                .as_deref()
                .map_or_else(String::new, |to| format!(" to {}", shown::harmless(to, SHOWN_BYTES_MAX)));
            return format!("it redirects{to}, which is not followed; set `url` to the final address");
        }
        _ => "the server rejected the request; check `url`, `body` or the columns",
    };
    help.into()
}
