//! The `clickhouse` sink, which inserts rows by requests like those of the `http` sink. Each has a token that stays the same when the batch
//! is replayed after a crash, and a table that deduplicates inserts ignores repeated ones. Whether the table does so is checked before the
//! first row.

mod window;

use super::settings::ClickhouseWrites;
use crate::http::sink::settings::HttpWrites;
use arrow::datatypes::SchemaRef;
use hyper::header::HeaderMap;
use hyper::{Method, StatusCode};
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::owner::Owner;
use millstream_base::shown;
use millstream_connect::http1::{Client, Fault, HttpRequest};
use millstream_connect::sink::commit_retry::{CommitRetry, ServerFault};
use millstream_connect::sink::waiting::{await_or_end, new_runtime};
use millstream_connect::sink::wrong;
use millstream_job::spec::SinkStart;
use millstream_rows::batch::sink::Sink;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use window::{Table, Window};

/// Maximum bytes of a response about a table, whose definition may be long.
const RESPONSE_BYTES_MAX: usize = 1 << 20;
const SHOWN_BYTES_MAX: usize = 400;

/// Checks what can be checked without a request to the server.
pub(super) fn check(
    writes: &ClickhouseWrites,
    start: SinkStart<'_>,
    schema: &SchemaRef,
    keeps_checkpoints: bool,
) -> Result<()> {
    crate::http::sink::check(&requests(writes), start, schema, keeps_checkpoints)
}

/// Queries the table's engine if rows must not be duplicated, and prepares to write.
pub(super) fn open(
    writes: &ClickhouseWrites,
    start: SinkStart<'_>,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    let (name, sent) = (&start.spec.name, requests(writes));
    match owner.is_some() {
        true if writes.exactly_once => {
            let (client, headers) = crate::http::sink::client(&sent, start)?;
            let window = TableClient { start, writes, client, headers, failure }.window()?;
            tracing::info!(
                "sink `{name}`: the table deduplicates the last {window} inserts: rows are written once if the \
                 requests between two checkpoints do not exceed that"
            );
        }
        true => tracing::info!("sink `{name}` writes at least once: after a crash some rows are written again"),
        false => {}
    }
    crate::http::sink::prepare(&sent, start, owner, failure)
}

/// Returns the settings of requests that insert rows.
fn requests(writes: &ClickhouseWrites) -> HttpWrites {
    let insert = format!("INSERT INTO {} FORMAT JSONEachRow", quoted(&writes.table));
    let insert = utf8_percent_encode(&insert, NON_ALPHANUMERIC);
    // Times are written in RFC 3339; the server responds when all rows are inserted.
    let settings = "date_time_input_format=best_effort&async_insert=0&wait_end_of_query=1&insert_deduplicate=1";
    let url = writes.requests.url.trim_end_matches('/');
    writes.requests(format!("{url}/?query={insert}&{settings}&insert_deduplication_token={}", crate::http::sink::KEY))
}

/// Quotes a table's name for a query.
fn quoted(table: &str) -> String {
    let names: Vec<String> = table.split('.').map(|name| format!("`{name}`")).collect();
    names.join(".")
}

/// Queries a server about the table of a sink.
struct TableClient<'a> {
    start: SinkStart<'a>,
    writes: &'a ClickhouseWrites,
    client: Client,
    headers: HeaderMap,
    failure: &'a Failure,
}

impl TableClient<'_> {
    /// Returns how many inserts the table deduplicates, at least one.
    fn window(&mut self) -> Result<u64> {
        let version = self.query_server("SELECT version()")?;
        let version = version.trim();
        if !window::supports_tokens(version) {
            let version = shown::harmless(version, SHOWN_BYTES_MAX);
            return Err(self.key_error(
                "url",
                &format!("the server is version {version}, and inserts are deduplicated from 22.2 on"),
            ));
        }
        let definition = self.query_server(&window::query(&self.writes.table))?;
        let Some(table) = Table::parse(&definition) else {
            let definition = shown::harmless(definition.trim(), SHOWN_BYTES_MAX);
            let why = format!("the server is not ClickHouse (it replied {definition}); check `url`");
            return Err(wrong(self.start.spec, self.start.origin, "url", why));
        };
        let name = quoted(&self.writes.table);
        match table.window() {
            Window::NoTable => Err(wrong(
                self.start.spec,
                self.start.origin,
                "table",
                format!("table {name} does not exist at {}; create it first", self.client.server().display_url()),
            )),
            Window::Never(engine) => {
                let engine = shown::harmless(&engine, SHOWN_BYTES_MAX);
                Err(self.key_error("table", &format!("table {name} has the engine {engine}, which does not deduplicate inserts")))
            }
            Window::Closed(setting) => Err(self.key_error(
                "table",
                &format!(
                    "table {name} does not deduplicate inserts; run ALTER TABLE {name} MODIFY SETTING {setting} = 1000, more than the \
                     requests from one checkpoint to the next"
                ),
            )),
            Window::Open(insertions) => Ok(insertions),
        }
    }

    fn key_error(&self, key: &str, why: &str) -> Error {
        wrong(
            self.start.spec,
            self.start.origin,
            key,
            format!("{why}; or set exactly_once = false to allow duplicates after a crash"),
        )
    }

    /// Retries a query until there is a response, or the time is over.
    fn query_server(&mut self, query: &str) -> Result<String> {
        let runtime = new_runtime()?;
        let (name, server_name) = (self.start.spec.name.clone(), self.client.server().display_url().to_owned());
        let (wait, failure) = (self.writes.requests.wait, self.failure.clone());
        let retry = CommitRetry { sink: &name, server_name: &server_name, wait, failure: &failure };
        retry.retry(|| {
            let path = self.client.server().path().split('?').next().unwrap_or("/").to_owned();
            let (headers, body) = (self.headers.clone(), query.to_owned().into());
            let request = HttpRequest { method: Method::POST, path, headers, body };
            let reply = self.client.request_reply(&request, self.writes.requests.timeout, RESPONSE_BYTES_MAX);
            let ended = || ServerFault::Permanent(Error::environment(format!("sink `{name}`: the job has ended")));
            let reply = match await_or_end(&runtime, &failure, reply).ok_or_else(ended)? {
                Ok(reply) => reply,
                Err(Fault::Transient(why)) => return Err(ServerFault::Transient(why)),
                Err(Fault::Permanent(why)) => return Err(ServerFault::Permanent(self.permanent(&why))),
            };
            let body = String::from_utf8_lossy(&reply.body);
            if reply.status.is_success() {
                return Ok(body.into_owned());
            }
            let why = format!("{}: {}", reply.status, shown::harmless(body.trim(), SHOWN_BYTES_MAX));
            let is_unauthorized = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&reply.status);
            if is_unauthorized || body.contains("Code: 516") {
                return Err(ServerFault::Permanent(self.permanent(&format!("{why}; check `user` or `password`"))));
            }
            if !reply.status.is_server_error() {
                return Err(ServerFault::Permanent(self.permanent(&format!("{why}; check `url`"))));
            }
            Err(ServerFault::Transient(why))
        })
    }

    fn permanent(&self, why: &str) -> Error {
        Error::environment(format!("sink `{}`: {}: {why}", self.start.spec.name, self.client.server().display_url()))
    }
}
