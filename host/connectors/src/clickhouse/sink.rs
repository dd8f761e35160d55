//! Sink `clickhouse`: rows go into a table as requests of sink `http` do. Each brings a token that is the same when it comes again after a
//! crash, and a table that deduplicates passes over what it has: whether this one does is asked before the first row.

mod window;

use super::settings::ClickhouseWrites;
use crate::http::sink::settings::HttpWrites;
use crate::http::{self, Client, Fault, HttpRequest};
use crate::sink::commit_retry::{CommitRetry, ServerFault};
use crate::sink::waiting::{await_or_end, new_runtime};
use crate::sink::wrong;
use arrow::datatypes::SchemaRef;
use hyper::header::HeaderMap;
use hyper::{Method, StatusCode};
use millstream_base::batch::sink::Sink;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::job::spec::SinkStart;
use millstream_base::owner::Owner;
use millstream_base::shown;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use window::{Table, Window};

/// Bytes of an answer about a table, whose definition may be long.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const SHOWN_BYTES_MAX: usize = 400;

/// Checks what can be checked without asking the server.
pub(super) fn check(
    writes: &ClickhouseWrites,
    start: SinkStart<'_>,
    schema: &SchemaRef,
    keeps_checkpoints: bool,
) -> Result<()> {
    http::sink::check(&requests(writes), start, schema, keeps_checkpoints)
}

/// Asks what kind of table it is where rows are to be there once, and prepares to write.
pub(super) fn open(
    writes: &ClickhouseWrites,
    start: SinkStart<'_>,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    let (name, sent) = (&start.spec.name, requests(writes));
    match owner.is_some() {
        true if writes.exactly_once => {
            let (client, headers) = http::sink::client(&sent, start)?;
            let window = TableClient { start, writes, client, headers, failure }.window()?;
            tracing::info!(
                "sink `{name}`: the table knows the last {window} insertions again: rows are there once as long as no more requests lie \
                 between two checkpoints"
            );
        }
        true => tracing::info!("sink `{name}` writes at least once: after a crash some rows come again"),
        false => {}
    }
    http::sink::prepare(&sent, start, owner, failure)
}

/// The requests that bring the rows.
fn requests(writes: &ClickhouseWrites) -> HttpWrites {
    let insert = format!("INSERT INTO {} FORMAT JSONEachRow", quoted(&writes.table));
    let insert = utf8_percent_encode(&insert, NON_ALPHANUMERIC);
    // Times are written as RFC 3339 says; an answer is one when all rows are there.
    let settings = "date_time_input_format=best_effort&async_insert=0&wait_end_of_query=1&insert_deduplicate=1";
    let url = writes.requests.url.trim_end_matches('/');
    writes.requests(format!("{url}/?query={insert}&{settings}&insert_deduplication_token={}", http::sink::KEY))
}

/// A table as a query names it.
fn quoted(table: &str) -> String {
    let names: Vec<String> = table.split('.').map(|name| format!("`{name}`")).collect();
    names.join(".")
}

/// Asks a server about the table of a sink.
struct TableClient<'a> {
    start: SinkStart<'a>,
    writes: &'a ClickhouseWrites,
    client: Client,
    headers: HeaderMap,
    failure: &'a Failure,
}

impl TableClient<'_> {
    /// How many insertions the table knows again, which are some.
    fn window(&mut self) -> Result<u64> {
        let version = self.ask("SELECT version()")?;
        let version = version.trim();
        if !window::knows_tokens(version) {
            let version = shown::harmless(version, SHOWN_BYTES_MAX);
            return Err(self.refused(
                "url",
                &format!("the server is version {version}, and inserts are deduplicated from 22.2 on"),
            ));
        }
        let told = self.ask(&window::question(&self.writes.table))?;
        let Some(table) = Table::of(&told) else {
            let told = shown::harmless(told.trim(), SHOWN_BYTES_MAX);
            let why = format!("the server is not ClickHouse (it replied {told}); check `url`");
            return Err(wrong(self.start.spec, self.start.origin, "url", why));
        };
        let name = quoted(&self.writes.table);
        match table.window() {
            Window::NoTable => Err(wrong(
                self.start.spec,
                self.start.origin,
                "table",
                format!("table {name} does not exist at {}; create it first", self.client.server().place()),
            )),
            Window::Never(engine) => {
                let engine = shown::harmless(&engine, SHOWN_BYTES_MAX);
                Err(self.refused("table", &format!("table {name} has the engine {engine}, which does not deduplicate inserts")))
            }
            Window::Closed(setting) => Err(self.refused(
                "table",
                &format!(
                    "table {name} does not deduplicate inserts; run ALTER TABLE {name} MODIFY SETTING {setting} = 1000, more than the \
                     requests from one checkpoint to the next"
                ),
            )),
            Window::Open(insertions) => Ok(insertions),
        }
    }

    fn refused(&self, key: &str, why: &str) -> Error {
        wrong(
            self.start.spec,
            self.start.origin,
            key,
            format!("{why}; or set exactly_once = false to allow duplicates after a crash"),
        )
    }

    /// Asks until there is an answer, or it has taken too long.
    fn ask(&mut self, query: &str) -> Result<String> {
        let runtime = new_runtime()?;
        let (name, place) = (self.start.spec.name.clone(), self.client.server().place().to_owned());
        let (wait, failure) = (self.writes.requests.wait, self.failure.clone());
        let asking = CommitRetry { sink: &name, place: &place, wait, failure: &failure };
        asking.ask(|| {
            let path = self.client.server().path().split('?').next().unwrap_or("/").to_owned();
            let (headers, body) = (self.headers.clone(), query.to_owned().into());
            let asked = HttpRequest { method: Method::POST, path, headers, body };
            let asking = self.client.ask(&asked, self.writes.requests.timeout, ANSWER_BYTES_MAX);
            let ended = || ServerFault::Lasting(Error::environment(format!("sink `{name}`: the job has ended")));
            let reply = match await_or_end(&runtime, &failure, asking).ok_or_else(ended)? {
                Ok(reply) => reply,
                Err(Fault::Passing(why)) => return Err(ServerFault::Passing(why)),
                Err(Fault::Lasting(why)) => return Err(ServerFault::Lasting(self.lasting(&why))),
            };
            let body = String::from_utf8_lossy(&reply.body);
            if reply.status.is_success() {
                return Ok(body.into_owned());
            }
            let why = format!("{}: {}", reply.status, shown::harmless(body.trim(), SHOWN_BYTES_MAX));
            let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&reply.status);
            if refused || body.contains("Code: 516") {
                return Err(ServerFault::Lasting(self.lasting(&format!("{why}; check `user` or `password`"))));
            }
            if !reply.status.is_server_error() {
                return Err(ServerFault::Lasting(self.lasting(&format!("{why}; check `url`"))));
            }
            Err(ServerFault::Passing(why))
        })
    }

    fn lasting(&self, why: &str) -> Error {
        Error::environment(format!("sink `{}`: {}: {why}", self.start.spec.name, self.client.server().place()))
    }
}
