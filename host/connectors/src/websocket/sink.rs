//! The `websocket` sink listens, and sends every batch that is committed to all connected clients, as JSON.
//!
//! All clients share a buffer of the last messages. A slow client skips messages that were dropped from it, and is notified how many.

mod client;
mod messages;

use super::settings::WebsocketWrites;
use crate::limits::WEBSOCKET_MESSAGES_MAX;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::threads;
use millstream_connect::http1::certificate::Certificate;
use millstream_connect::http1::listener::{bind, cannot_listen};
use millstream_connect::http1::rejection_log::RejectionLog;
use millstream_connect::sink::waiting::named_runtime;
use millstream_connect::sink::wrong;
use millstream_job::spec::{Origin, SinkStart};
use millstream_rows::batch::json;
use millstream_rows::batch::sink::Sink;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// Sends every batch that has rows to all clients.
struct WebsocketSink {
    name: String,
    rows_max: usize,
    messages: broadcast::Sender<Utf8Bytes>,
    /// Serves the clients; shut down with the sink.
    runtime: Option<Runtime>,
}

impl Drop for WebsocketSink {
    fn drop(&mut self) {
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// State that all connections share.
struct SharedState {
    name: String,
    spec: WebsocketWrites,
    certificate: Option<Certificate>,
    messages: broadcast::Sender<Utf8Bytes>,
    rejection_log: RejectionLog,
}

/// Checks everything that can be checked before listening.
pub(super) fn check(writes: &WebsocketWrites, start: SinkStart<'_>, schema: &SchemaRef) -> Result<()> {
    let SinkStart { spec, origin, .. } = start;
    json::check(schema).map_err(|message| wrong(spec, origin, "from", message))?;
    match certificate(writes, origin) {
        None => Ok(()),
        Some(certificate) => {
            let usable = certificate.check();
            usable.map_err(|message| wrong(spec, origin, "tls", format!("`tls` cannot be used: {message}")))
        }
    }
}

/// Starts listening.
pub(super) fn open(writes: &WebsocketWrites, start: SinkStart<'_>, failure: &Failure) -> Result<Box<dyn Sink>> {
    let (name, address) = (&start.spec.name, &writes.listen);
    let runtime = named_runtime("millstream-websocket")?;
    // The caller may be a thread of another runtime.
    let listener = std::thread::scope(|scope| {
        let bound = scope.spawn(|| runtime.block_on(bind(address, false))).join();
        bound.map_err(|_| Error::bug("a thread that began to listen panicked"))
    })?;
    let who = format!("sink `{name}`");
    let listener = listener.map_err(|error| Error::job(cannot_listen(&who, address, &error)))?;
    let (messages, _) = broadcast::channel(WEBSOCKET_MESSAGES_MAX);
    let shared = SharedState {
        name: name.clone(),
        spec: writes.clone(),
        certificate: certificate(writes, start.origin),
        messages: messages.clone(),
        rejection_log: RejectionLog::new(who.clone()),
    };
    let serving = runtime.spawn(async move {
        fault::thread("websocket");
        client::serve_all(listener, Arc::new(shared)).await;
    });
    let failure = failure.clone();
    runtime.spawn(async move {
        if let Err(Ok(panic)) = serving.await.map_err(tokio::task::JoinError::try_into_panic) {
            failure.set(threads::panicked(&format!("the server of {who}"), &*panic));
        }
    });
    let rows_max = usize::try_from(writes.rows_per_message_max).unwrap_or(usize::MAX);
    Ok(Box::new(WebsocketSink { name: name.clone(), rows_max, messages, runtime: Some(runtime) }))
}

fn certificate(spec: &WebsocketWrites, origin: &Origin) -> Option<Certificate> {
    spec.tls.as_ref().and_then(|tls| Certificate::from_spec(tls, &origin.dir))
}

impl Sink for WebsocketSink {
    fn commit(&mut self, batch: BatchId, time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        if self.messages.receiver_count() == 0 {
            return Ok(());
        }
        let send = |message: String| {
            // If the last client has disconnected, the message is dropped.
            let _ = self.messages.send(message.into());
        };
        messages::each(batch, time, &rows, self.rows_max, send)
            .map_err(|cause| Error::bug(format!("sink `{}`: batch {batch}: cannot show rows: {cause}", self.name)))
    }

    fn committed(&self) -> Option<BatchId> {
        None
    }
}
