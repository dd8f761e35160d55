//! The `http` sink: sends each batch to a server in one or several requests.
//!
//! A server keeps no marker for us, so a restart may repeat requests. A repeated request has the same key, and each row of a `_bulk` the same ID, by
//! which a server can deduplicate. With `parts = "worker"` each worker sends its share of a batch as a separate sender. It has its own keys, IDs and
//! numbers. Planned batches are replayed with the same workers.

mod bulk;
pub mod declaration;
mod documents;
mod requests;
pub mod settings;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use documents::Documents;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::owner::Owner;
use millstream_base::shown;
use millstream_connect::http1::{Client, Fault, HttpRequest, Reply, Server};
use millstream_connect::sink::commit_retry::{CommitRetry, ServerFault};
use millstream_connect::sink::shares::Share;
use millstream_connect::sink::waiting::{await_or_end, new_runtime};
use millstream_connect::sink::wrong;
use millstream_connect::tls::Tls;
use millstream_job::http_url;
use millstream_job::spec::{PartWriter, SinkStart};
use millstream_rows::batch::json;
use millstream_rows::batch::sink::Sink;
use requests::RequestRows;
use settings::{HttpBody, HttpWrites};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Placeholders in a URL or header: the key of the request, and the sender whose sequence number it is.
pub const KEY: &str = "{key}";
const SENDER: &str = "{sender}";
/// Bits of the sequence number that count the rows of a batch.
const NUMBER_BITS: u32 = 28;
const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Bytes of a response that are read: of one that is ignored, and of one to `_bulk`, which has a line for each row.
const REPLY_BYTES_MAX: usize = 64 << 10;
const BULK_REPLY_BYTES_MAX: usize = 256 << 20;
/// Maximum bytes of a response in a message.
const SHOWN_BYTES_MAX: usize = 400;
/// Maximum rejected rows of a request that a message describes.
const REFUSED_SHOWN: usize = 3;

/// Sends every batch that has rows.
struct HttpSink {
    name: String,
    writes: HttpWrites,
    client: Client,
    headers: HeaderMap,
    /// Prefix of all keys: identifies the job across restarts.
    job_id: String,
    share: Share,
    failure: Failure,
    runtime: Runtime,
    /// Number of rows that the server has rejected.
    rejected: u64,
}

/// Checks everything that can be checked without contacting the server.
pub fn check(http: &HttpWrites, start: SinkStart<'_>, schema: &SchemaRef, keeps_checkpoints: bool) -> Result<()> {
    let SinkStart { spec, origin, .. } = start;
    json::check(schema).map_err(|message| wrong(spec, origin, "from", message))?;
    if let Some(keyed) = http.keyed() {
        documents::check(keyed, schema).map_err(|(key, message)| wrong(spec, origin, key, message))?;
    }
    let server = server(http, start)?;
    server.check().map_err(|message| wrong(spec, origin, "tls", format!("`tls` cannot be used: {message}")))?;
    if has_unnamed_sender(http) && http.parts == PartWriter::Worker {
        let message = format!("each worker has its own `{{sequence}}` counter (`parts = \"worker\"`); {NAME_SENDER}");
        return Err(wrong(spec, origin, "headers", message));
    }
    match has_unnamed_sender(http) && !keeps_checkpoints {
        true => Err(wrong(spec, origin, "headers", format!("{COUNTS_FROM_START}; {NAME_SENDER}"))),
        false => headers(http).map(drop).map_err(|message| wrong(spec, origin, "headers", message)),
    }
}

const COUNTS_FROM_START: &str = "a job that starts from scratch counts `{sequence}` from the beginning, and a server that has seen larger \
                           numbers treats its rows as duplicates";
const NAME_SENDER: &str =
    "write `{sender}` into the header that names the sender, for example Millstream-Producer = \"{sender}\"";

/// Returns whether requests have a sequence number but do not name its sender.
fn has_unnamed_sender(http: &HttpWrites) -> bool {
    let has = |what: &str| http.headers.iter().any(|(_, value)| value.contains(what));
    http.counts_rows() && !has(SENDER) && !has(KEY)
}

/// Opens the sink and logs what it guarantees. The first batch connects.
fn open(http: &HttpWrites, start: SinkStart<'_>, owner: Option<&Owner>, failure: &Failure) -> Result<Box<dyn Sink>> {
    let (name, is_complete) = (&start.spec.name, start.share.is_none());
    if owner.is_some() && is_complete {
        tracing::info!(
            "sink `{name}` sends at least once: after a crash some requests are sent again, with the same \
            Idempotency-Key"
        );
    }
    if has_unnamed_sender(http) && is_complete {
        tracing::warn!("sink `{name}`: {COUNTS_FROM_START}, for example after --fresh; {NAME_SENDER}");
    }
    prepare(http, start, owner, failure)
}

/// Creates the client of a sink and the headers of all requests.
pub fn client(http: &HttpWrites, start: SinkStart<'_>) -> Result<(Client, HeaderMap)> {
    let headers = headers(http).map_err(|message| wrong(start.spec, start.origin, "headers", message))?;
    Ok((Client::new(server(http, start)?), headers))
}

/// Opens a sink for complete batches, or for the share of a worker. The first batch connects.
pub fn prepare(
    http: &HttpWrites,
    start: SinkStart<'_>,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    let (client, headers) = client(http, start)?;
    let job_id = match owner {
        Some(owner) => owner.job_id.clone(),
        // Unique to this run.
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
        rejected: 0,
    }))
}

fn server(http: &HttpWrites, start: SinkStart<'_>) -> Result<Server> {
    let SinkStart { spec, origin, .. } = start;
    let tls = http.tls.as_ref().map_or_else(Tls::default, |tls| Tls::from_spec(tls, &origin.dir));
    let url = http_url::url(&http.url).and_then(|url| {
        // The key is inserted later. This placeholder consists of characters that a URL may contain.
        Server::parse(&url.replace(KEY, "0key0"), tls).map_err(|message| format!("`url` {message}"))
    });
    url.map_err(|message| wrong(spec, origin, "url", message))
}

/// Returns the headers of all requests.
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

/// ClickHouse error codes for values that its table rejects, whatever the HTTP status: text that is not a value of the type, values out of range or
/// too long, nulls, and violated constraints.
const ROW_EXCEPTIONS: [u32; 19] = [6, 26, 27, 38, 41, 53, 69, 70, 72, 117, 131, 321, 349, 376, 407, 469, 675, 676, 691];

/// The outcome of a request to the server of a sink.
enum RequestOutcome {
    Done,
    /// Rows to send again, the reason, and the minimum pause.
    Retry(Vec<usize>, String, Duration),
}

/// The error that stops the sending of a batch.
struct SendError(Error);

impl From<io::Error> for SendError {
    fn from(error: io::Error) -> SendError {
        SendError(Error::plugin(format!("rows cannot be written as JSON: {error}")))
    }
}

impl Sink for HttpSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        fault::point("commit.before");
        let (documents, rows) = self.documents(batch, rows)?;
        let (rows_max, bytes_max) = (self.writes.rows_per_request_max, self.writes.request_bytes_max);
        let [rows_max, bytes_max] = [rows_max, bytes_max].map(|max| usize::try_from(max).unwrap_or(usize::MAX));
        requests::each(&rows, documents, (rows_max, bytes_max), |request| {
            self.send(batch, &request).map_err(SendError)
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
    /// Returns the documents of the rows, if rows share documents, and the rows without the `op` column.
    fn documents(&self, batch: BatchId, rows: Vec<RecordBatch>) -> Result<(Option<Documents>, Vec<RecordBatch>)> {
        let Some(keyed) = self.writes.keyed() else { return Ok((None, rows)) };
        let found = documents::of_rows(&rows, keyed)
            .map_err(|why| Error::plugin(format!("sink `{}`: batch {batch}: {why}", self.name)))?;
        let Some(op) = &keyed.op else { return Ok((Some(found), rows)) };
        let without = |part: RecordBatch| {
            let indices: Vec<usize> =
                (0..part.num_columns()).filter(|index| part.schema_ref().field(*index).name() != op).collect();
            part.project(&indices).map_err(Error::arrow)
        };
        Ok((Some(found), rows.into_iter().map(without).collect::<Result<_>>()?))
    }

    /// Sends a request until it succeeds, the job has ended, or it fails permanently.
    fn send(&mut self, batch: BatchId, request: &RequestRows) -> Result<()> {
        let (name, url) = (self.name.clone(), self.client.server().display_url().to_owned());
        let (wait, failure) = (self.writes.wait, self.failure.clone());
        let mut rows = requests::all(request);
        CommitRetry { sink: &name, server_name: &url, wait, failure: &failure }.commit(batch, || {
            match self.attempt(batch, request, &rows).map_err(ServerFault::Permanent)? {
                RequestOutcome::Done => Ok(()),
                RequestOutcome::Retry(left, why, after) => {
                    rows = left;
                    Err(ServerFault::Busy(why, after))
                }
            }
        })
    }

    fn job_ended(&self, batch: BatchId) -> Error {
        Error::environment(format!("sink `{}`: batch {batch}: the job has ended", self.name))
    }

    /// Sends these rows of a request once.
    fn attempt(&mut self, batch: BatchId, request: &RequestRows, rows: &[usize]) -> Result<RequestOutcome> {
        let worker = self.share.map_or_else(String::new, |worker| format!("/w{worker}"));
        let sender = format!("{}/{}{worker}", self.job_id, self.name);
        let prefix = format!("{sender}/{batch}");
        // If the job was changed in the middle of a batch, the batch is cut differently or has different rows. The server must not skip a row as a
        // duplicate that it has not received. A request with only some of the rows of another one must not share its key either.
        let key = format!("{prefix}/{}-{}", request.number, request.digest(rows));
        let body = request.body(rows, &self.writes.body, |row| format!("{prefix}/{row}"));
        let mut headers = self.headers.clone();
        let sequence = ((batch.0 << NUMBER_BITS) | request.end().min((1 << NUMBER_BITS) - 1)).to_string();
        for value in headers.values_mut() {
            let placeholders = [(KEY, &key), (HttpWrites::SEQUENCE, &sequence), (SENDER, &sender)];
            let Some(text) = value
                .to_str()
                .ok()
                .filter(|text| placeholders.iter().any(|(placeholder, _)| text.contains(placeholder)))
            else {
                continue;
            };
            let text = placeholders
                .iter()
                .fold(text.to_owned(), |text, (placeholder, value)| text.replace(placeholder, value));
            *value = HeaderValue::try_from(text)
                .map_err(|error| Error::bug(format!("a key is not a valid header: {error}")))?;
        }
        headers.insert(KEY_HEADER, HeaderValue::try_from(&key).map_err(|error| Error::bug(format!("{key}: {error}")))?);
        let method = if self.writes.put { Method::PUT } else { Method::POST };
        let path = self.client.server().path().replace("0key0", &key);
        let http_request = HttpRequest { method, path, headers, body };
        let bulk = matches!(self.writes.body, HttpBody::Bulk { .. });
        let max = if bulk { BULK_REPLY_BYTES_MAX } else { REPLY_BYTES_MAX };
        let sending = self.client.request_reply(&http_request, self.writes.timeout, max);
        let reply = match await_or_end(&self.runtime, &self.failure, sending) {
            None => return Err(self.job_ended(batch)),
            Some(Ok(reply)) => reply,
            Some(Err(Fault::Transient(why))) => return Ok(RequestOutcome::Retry(rows.to_vec(), why, Duration::ZERO)),
            Some(Err(Fault::Permanent(why))) => return Err(self.permanent(batch, &why)),
        };
        let status = reply.status;
        if status.is_success() {
            return if bulk { self.bulk(batch, request, rows, &reply) } else { Ok(RequestOutcome::Done) };
        }
        let why = format!("{status}{}", beginning(&reply));
        // The server has checked the rows, and would reject them again.
        let row_errors = [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY];
        if row_errors.contains(&status) || reply.exception.is_some_and(|code| ROW_EXCEPTIONS.contains(&code)) {
            return Err(Error::plugin(self.permanent(batch, &format!("{why}; {}", help(&reply))).message));
        }
        let transient_statuses = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        if transient_statuses.contains(&status) || status.is_server_error() {
            return Ok(RequestOutcome::Retry(rows.to_vec(), why, reply.retry_after.unwrap_or_default()));
        }
        Err(self.permanent(batch, &format!("{why}; {}", help(&reply))))
    }

    fn permanent(&self, batch: BatchId, why: &str) -> Error {
        let (name, url) = (&self.name, self.client.server().display_url());
        Error::environment(format!("sink `{name}`: batch {batch}: {url}: {why}"))
    }

    /// Evaluates the response to a `_bulk`, which has a status for each row.
    fn bulk(&mut self, batch: BatchId, request: &RequestRows, rows: &[usize], reply: &Reply) -> Result<RequestOutcome> {
        let found = bulk::outcome(&reply.body, rows.len());
        let found =
            found.map_err(|why| self.permanent(batch, &format!("{why}; check `url`, or choose another `body`")))?;
        let row_at = |index: usize| rows.get(index).copied().unwrap_or_default();
        if !found.rejected.is_empty() {
            let (name, url, count) = (&self.name, self.client.server().display_url(), found.rejected.len());
            let rejected_rows: Vec<String> = found
                .rejected
                .iter()
                .take(REFUSED_SHOWN)
                .map(|(index, why)| {
                    let row = row_at(*index);
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
            let rejected_rows =
                format!("{url} rejected {count} of {} rows: {}{more}", rows.len(), rejected_rows.join("; "));
            if !self.writes.reject {
                return Err(Error::plugin(format!(
                    "sink `{name}`: batch {batch}: {rejected_rows}; fix the rows or the index, or set on_error = \"reject\""
                )));
            }
            self.rejected += count as u64;
            tracing::warn!("sink `{name}`: batch {batch}: {rejected_rows}; {} rejected so far", self.rejected);
        }
        if found.later.is_empty() {
            return Ok(RequestOutcome::Done);
        }
        let why = format!(
            "{} of {} rows were not accepted: {}",
            found.later.len(),
            rows.len(),
            shown::harmless(&found.why, SHOWN_BYTES_MAX)
        );
        let left = found.later.into_iter().map(row_at).collect();
        Ok(RequestOutcome::Retry(left, why, reply.retry_after.unwrap_or_default()))
    }
}

/// Returns the beginning of a response on one line.
fn beginning(reply: &Reply) -> String {
    let text = String::from_utf8_lossy(&reply.body);
    let text = shown::printable(text.trim(), SHOWN_BYTES_MAX).replace('\n', " ");
    if text.is_empty() { text } else { format!(": {text}") }
}

/// Suggests what to do about a permanent error status.
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
