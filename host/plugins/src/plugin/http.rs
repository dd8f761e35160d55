//! HTTP requests that a job grants: to these hosts, with these methods, limited in number and size, and no longer than the call may run.
//! Redirects are not followed: following one is another request, which must be granted too.

mod addresses;
mod allow;
mod send;

use super::current_call::Deadline;
use super::identity::CallIdentity;
use super::stage::Stage;
use crate::limits::{
    PLUGIN_HTTP_BODY_BYTES_MAX, PLUGIN_HTTP_FIELDS_BYTES_MAX, PLUGIN_HTTP_OPEN_MAX, PLUGIN_HTTP_REQUESTS_MAX,
};
pub use allow::{check as check_grant, is_below};
use http_body_util::{BodyExt, Limited};
use std::error::Error as StdError;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks};

/// The requests of one instance.
pub struct Requests {
    identity: Arc<CallIdentity>,
    stage: Arc<Stage>,
    batch: Option<u64>,
    deadline: Deadline,
    made: usize,
    /// Each request holds one until its connection is closed.
    open: Arc<()>,
}

/// The end of a request's own work: its connection.
type HttpDriver = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// A pending response.
type HttpResponse = Box<dyn Future<Output = Result<(http::Response<WasiBody>, HttpDriver), Error>> + Send>;

impl Requests {
    /// None yet.
    pub fn new(identity: Arc<CallIdentity>, stage: Arc<Stage>) -> Requests {
        Requests { identity, stage, batch: None, deadline: Deadline::default(), made: 0, open: Arc::new(()) }
    }

    /// Limits of what a request says of itself.
    pub fn context() -> WasiHttpCtx {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(PLUGIN_HTTP_FIELDS_BYTES_MAX);
        context
    }

    /// A call begins.
    pub fn begin(&mut self, batch: Option<u64>, deadline: Deadline) {
        self.batch = batch;
        self.deadline = deadline;
        self.made = 0;
    }

    /// Checks whether a request is granted. If not, the reason goes to the log once and to the plugin.
    fn check(&mut self, request: &http::Request<WasiBody>) -> Result<(), Error> {
        self.made = self.made.saturating_add(1);
        let rejected = if self.batch.is_none() && self.identity.describes() {
            Some(format!("a plugin must not send HTTP requests {}", self.identity.batch_text(None)))
        } else if self.made > PLUGIN_HTTP_REQUESTS_MAX {
            // Said once, so that the log is not flooded.
            (self.made == PLUGIN_HTTP_REQUESTS_MAX + 1).then(|| {
                format!("more than {PLUGIN_HTTP_REQUESTS_MAX} HTTP requests in one call; the others are rejected")
            })
        } else {
            allow::rejection_reason(self.stage.grant.http.as_ref(), request.method().as_str(), request.uri())
        };
        if let Some(message) = &rejected {
            let ((stage, source, sink, plugin), batch) = (self.identity.fields(), self.batch);
            tracing::warn!(stage, source, sink, plugin, batch, "{message}");
        }
        if rejected.is_some() || self.made > PLUGIN_HTTP_REQUESTS_MAX {
            return Err(Error::HttpRequestDenied);
        }
        if Arc::strong_count(&self.open) > PLUGIN_HTTP_OPEN_MAX {
            return Err(Error::ConnectionLimitReached);
        }
        Ok(())
    }
}

/// The plugin receives errors, and logs those that matter; the crate would log all without naming the plugin.
impl WasiHttpHooks for Requests {
    fn p2_error_from_connect(&mut self, error: &std::io::Error) -> ErrorCode {
        match error.kind() {
            ErrorKind::TimedOut => ErrorCode::ConnectionTimeout,
            _ => ErrorCode::ConnectionRefused,
        }
    }

    fn p2_error_from_tls(&mut self, _: &std::io::Error) -> ErrorCode {
        ErrorCode::TlsProtocolError
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> HttpResponse {
        if let Err(error) = self.check(&request) {
            return Box::new(std::future::ready(Err(error)));
        }
        // The rest of the call's time is for the plugin to handle a missing response.
        let left = self.deadline.remaining() * 9 / 10;
        let requested = options.unwrap_or_default();
        let within = |requested: Option<Duration>| requested.unwrap_or(left).min(left);
        let times = send::Times {
            connect: within(requested.connect_timeout),
            first_byte: within(requested.first_byte_timeout),
            between_bytes: within(requested.between_bytes_timeout),
        };
        let open = self.open.clone();
        let (identity, stage, batch) = (self.identity.clone(), self.stage.clone(), self.batch);
        Box::new(async move {
            let request = request.map(|body| limited(body, Error::HttpRequestBodySize));
            // Those timeouts do not cover looking up the name.
            let send = async {
                match addresses::destination(request.uri(), stage.grant.http.as_ref()).await? {
                    Ok(to) => send::send(request, to, &times).await,
                    Err(message) => {
                        let (stage, source, sink, plugin) = identity.fields();
                        tracing::warn!(stage, source, sink, plugin, batch, "{message}");
                        Err(Error::HttpRequestDenied)
                    }
                }
            };
            let sent = tokio::time::timeout(left, send).await;
            let (response, connection) = sent.map_err(|_| Error::HttpResponseTimeout)??;
            let connection = Box::into_pin(connection);
            let connection: HttpDriver = Box::new(async move {
                let _open = open;
                connection.await
            });
            Ok((response, connection))
        })
    }
}

/// A body that fails beyond its limit.
fn limited<B>(body: B, too_long: fn(Option<u64>) -> Error) -> WasiBody
where
    B: http_body::Body<Data = bytes::Bytes, Error = Error> + Send + 'static,
{
    let failed = move |error: Box<dyn StdError + Send + Sync>| match error.downcast::<Error>() {
        Ok(own) => *own,
        Err(_) => too_long(Some(PLUGIN_HTTP_BODY_BYTES_MAX as u64)),
    };
    Limited::new(body, PLUGIN_HTTP_BODY_BYTES_MAX).map_err(failed).boxed_unsync()
}
