//! Where spans go: a receiver of OTLP over HTTP, as the standard variables of OpenTelemetry name it. Requests are made by the client
//! that sinks and sources use, with its TLS and its bounds.

use bytes::Bytes;
use millstream_connectors::http::{Client, Fault, HttpRequest, Server};
use millstream_connectors::tls::Tls;
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use std::env;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex as AsyncMutex;

/// The general variable, and the one for spans alone, which counts more.
const ENDPOINT: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOL: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const TIMEOUT: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
/// How long an answer may take, in milliseconds.
const TIMEOUT_MS: u64 = 10_000;
/// Of an answer nothing is needed.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The value of the first of these variables that has one.
fn variable(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| env::var(name).ok().filter(|value| !value.trim().is_empty()))
}

/// Whether the environment asks for spans.
pub(super) fn is_wanted() -> bool {
    let says = |name, word: &str| variable(&[name]).is_some_and(|value| value.trim().eq_ignore_ascii_case(word));
    variable(&ENDPOINT).is_some() && !says("OTEL_SDK_DISABLED", "true") && !says("OTEL_TRACES_EXPORTER", "none")
}

/// Sends spans.
pub(super) struct Receiver {
    exporter: SpanExporter,
    last: Arc<Mutex<LastRequest>>,
    /// For messages, without what stands behind `?`.
    pub place: String,
}

/// What became of the last request.
#[derive(Default)]
struct LastRequest {
    /// Why there was no answer, or none that is good.
    words: String,
    /// Another try would have the same answer.
    lasting: bool,
}

/// Why spans were not taken.
pub(super) struct NotTaken {
    /// For a person.
    pub words: String,
    /// The same spans are refused again.
    pub lasting: bool,
}

impl Receiver {
    /// The one that the environment names; an error says what is wrong with it.
    pub fn of_environment(job: &str) -> Result<Receiver, String> {
        let wanted = variable(&PROTOCOL).unwrap_or_else(|| "http/protobuf".into());
        let protocol = match wanted.trim().to_ascii_lowercase().as_str() {
            "http/protobuf" => Protocol::HttpBinary,
            "http/json" => Protocol::HttpJson,
            _ => {
                return Err(format!(
                    "the OpenTelemetry protocol {wanted:?} is not supported; set OTEL_EXPORTER_OTLP_PROTOCOL to \
                     \"http/protobuf\" or \"http/json\""
                ));
            }
        };
        let endpoint = variable(&ENDPOINT).unwrap_or_default();
        let server = Server::of(endpoint.trim(), Tls::default()).map_err(|wrong| format!("the endpoint {wrong}"))?;
        server.check()?;
        let time_max = variable(&TIMEOUT).and_then(|ms| ms.trim().parse().ok()).unwrap_or(TIMEOUT_MS);
        let (place, last) = (server.place().to_owned(), Arc::<Mutex<LastRequest>>::default());
        let client = TraceClient {
            client: AsyncMutex::new(Client::new(server)),
            time_max: Duration::from_millis(time_max),
            last: last.clone(),
        };
        let builder = SpanExporter::builder().with_http().with_http_client(client).with_protocol(protocol);
        let exporter = builder.with_retry_policy(RetryPolicy::disabled()).build();
        let mut exporter = exporter.map_err(|wrong| wrong.to_string())?;
        exporter.set_resource(&resource(job));
        Ok(Receiver { exporter, last, place })
    }

    /// Sends these spans once.
    pub async fn take(&self, spans: Vec<SpanData>) -> Result<(), NotTaken> {
        let Err(error) = self.exporter.export(spans).await else { return Ok(()) };
        let last = std::mem::take(&mut *self.last.lock().unwrap_or_else(PoisonError::into_inner));
        let words = if last.words.is_empty() { error.to_string() } else { last.words };
        Err(NotTaken { words, lasting: last.lasting })
    }
}

/// Who sends: as the environment says, or this program and job.
fn resource(job: &str) -> Resource {
    let named = variable(&["OTEL_SERVICE_NAME"]).is_some()
        || variable(&["OTEL_RESOURCE_ATTRIBUTES"]).is_some_and(|all| all.contains("service.name="));
    let more = [
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("process.pid", i64::from(std::process::id())),
        KeyValue::new("millstream.job", job.to_owned()),
    ];
    let builder = Resource::builder().with_attributes(more);
    if named { builder.build() } else { builder.with_service_name("millstream").build() }
}

/// Our HTTP client behind the interface of the library for traces.
struct TraceClient {
    client: AsyncMutex<Client>,
    time_max: Duration,
    last: Arc<Mutex<LastRequest>>,
}

impl fmt::Debug for TraceClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asking")
    }
}

impl TraceClient {
    async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let asked = HttpRequest { method: head.method, path, headers: head.headers, body };
        let answer = self.client.lock().await.ask(&asked, self.time_max, ANSWER_BYTES_MAX).await;
        let (words, lasting) = match &answer {
            Ok(reply) => {
                let status = reply.status;
                let passing = status.is_server_error() || status == 408 || status == 429;
                (format!("it replies {status}"), !passing)
            }
            Err(Fault::Passing(words)) => (words.clone(), false),
            // It may be mended there, so the spans are not the reason.
            Err(Fault::Lasting(words)) => (words.clone(), false),
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = LastRequest { words: words.clone(), lasting };
        let reply = answer.map_err(|_| words)?;
        Ok(Response::builder().status(reply.status).body(reply.body)?)
    }
}

// As `#[async_trait]` writes it.
impl HttpClient for TraceClient {
    fn send_bytes<'a, 'async_trait>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'a: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(self.ask(request))
    }
}
