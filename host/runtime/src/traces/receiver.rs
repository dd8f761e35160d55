//! The destination of spans: an OTLP receiver over HTTP, from the standard OpenTelemetry variables. Requests use the
//! same client as sinks and sources, with its TLS and its limits.

use bytes::Bytes;
use millstream_connect::http1::{Client, Fault, HttpRequest, Server};
use millstream_connect::tls::Tls;
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

/// The variable for spans, which takes precedence, and the general one.
const ENDPOINT: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOL: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const TIMEOUT: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
/// How long a response may take, in milliseconds.
const TIMEOUT_MS: u64 = 10_000;
/// The content of a response is not used.
const RESPONSE_BYTES_MAX: usize = 64 << 10;

/// Returns the value of the first of these variables that has one.
fn variable(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| env::var(name).ok().filter(|value| !value.trim().is_empty()))
}

/// Returns whether the environment requests spans.
pub(super) fn is_wanted() -> bool {
    let says = |name, word: &str| variable(&[name]).is_some_and(|value| value.trim().eq_ignore_ascii_case(word));
    variable(&ENDPOINT).is_some() && !says("OTEL_SDK_DISABLED", "true") && !says("OTEL_TRACES_EXPORTER", "none")
}

/// Sends spans.
pub(super) struct Receiver {
    exporter: SpanExporter,
    last: Arc<Mutex<LastRequest>>,
    /// The address for messages, without the part after `?`.
    pub url: String,
}

/// The outcome of the last request.
#[derive(Default)]
struct LastRequest {
    /// Why there was no successful response.
    message: String,
    /// Whether a retry would fail in the same way.
    is_permanent: bool,
}

/// Why spans were not accepted.
pub(super) struct ExportError {
    /// The message for people.
    pub message: String,
    /// Whether the same spans would be rejected again.
    pub is_permanent: bool,
}

impl Receiver {
    /// Returns the receiver that the environment names. The error says what is wrong with it.
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
        let server = Server::parse(endpoint.trim(), Tls::default()).map_err(|wrong| format!("the endpoint {wrong}"))?;
        server.check()?;
        let time_max = variable(&TIMEOUT).and_then(|ms| ms.trim().parse().ok()).unwrap_or(TIMEOUT_MS);
        let (url, last) = (server.display_url().to_owned(), Arc::<Mutex<LastRequest>>::default());
        let client = TraceClient {
            client: AsyncMutex::new(Client::new(server)),
            time_max: Duration::from_millis(time_max),
            last: last.clone(),
        };
        let builder = SpanExporter::builder().with_http().with_http_client(client).with_protocol(protocol);
        let exporter = builder.with_retry_policy(RetryPolicy::disabled()).build();
        let mut exporter = exporter.map_err(|wrong| wrong.to_string())?;
        exporter.set_resource(&resource(job));
        Ok(Receiver { exporter, last, url })
    }

    /// Sends these spans once.
    pub async fn take(&self, spans: Vec<SpanData>) -> Result<(), ExportError> {
        let Err(error) = self.exporter.export(spans).await else { return Ok(()) };
        let last = std::mem::take(&mut *self.last.lock().unwrap_or_else(PoisonError::into_inner));
        let message = if last.message.is_empty() { error.to_string() } else { last.message };
        Err(ExportError { message, is_permanent: last.is_permanent })
    }
}

/// Returns the sender's identity: from the environment, or this program and job.
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

/// Adapts Millstream's HTTP client to the interface of the tracing library.
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
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let request_text = HttpRequest { method: head.method, path, headers: head.headers, body };
        let response = self.client.lock().await.request_reply(&request_text, self.time_max, RESPONSE_BYTES_MAX).await;
        let (message, is_permanent) = match &response {
            Ok(reply) => {
                let status = reply.status;
                let is_transient = status.is_server_error() || status == 408 || status == 429;
                (format!("it replies {status}"), !is_transient)
            }
            Err(Fault::Transient(message)) => (message.clone(), false),
            // The receiver's configuration may be fixed, so the spans are not the cause.
            Err(Fault::Permanent(message)) => (message.clone(), false),
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            LastRequest { message: message.clone(), is_permanent };
        let reply = response.map_err(|_| message)?;
        Ok(Response::builder().status(reply.status).body(reply.body)?)
    }
}

// This is the expansion of `#[async_trait]`.
impl HttpClient for TraceClient {
    fn send_bytes<'a, 'async_trait>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'a: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(self.send(request))
    }
}
