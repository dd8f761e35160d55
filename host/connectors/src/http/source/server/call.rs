//! Protocols of requests, for sources whose format does not define them.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderMap;
use hyper::{Response, StatusCode};
use millstream_connect::receiver::bodies::BodyRecords;
use millstream_job::spec::SourceSpec;
use std::sync::Arc;

/// The response to a request.
pub type HttpResponse = Response<Full<Bytes>>;

/// A protocol of requests.
pub trait Protocol: Send + Sync {
    /// Parses the head of a request. The error describes what is wrong with it.
    fn call(&self, path: &str, headers: &HeaderMap) -> Result<Arc<dyn Call>, (StatusCode, String)>;
}

/// A request of such a protocol.
pub trait Call: Send + Sync {
    /// Splits a body into records. `limits` are the maximum bytes, also after decompression, and the rows that one batch takes. The error is the
    /// reason for the rejection.
    fn split_body(
        &self,
        source: &SourceSpec,
        body: &[u8],
        limits: [u64; 2],
    ) -> Result<BodyRecords, (StatusCode, String)>;

    /// Returns the response to a request whose rows are durable.
    fn accepted(&self) -> HttpResponse;

    /// Returns the response to a rejected request; it says whether to retry.
    fn rejected(&self, status: StatusCode, why: &str) -> HttpResponse;
}
