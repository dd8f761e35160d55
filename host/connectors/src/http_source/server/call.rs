//! What requests are, where neither the format of the source nor their producers say.

use crate::receiver::bodies::BodyRecords;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderMap;
use hyper::{Response, StatusCode};
use millstream_base::job::spec::SourceSpec;
use std::sync::Arc;

/// What a request is answered.
pub type Answer = Response<Full<Bytes>>;

/// A protocol that senders speak.
pub trait Protocol: Send + Sync {
    /// What the head of a request says. The error says what is wrong with it.
    fn call(&self, path: &str, headers: &HeaderMap) -> Result<Arc<dyn Call>, (StatusCode, String)>;
}

/// A request of such a protocol.
pub trait Call: Send + Sync {
    /// The records of a body of at most so many bytes, also when it is unpacked, of which one batch takes so many. The error says why they
    /// are not taken.
    fn cut(&self, source: &SourceSpec, body: &[u8], most: [u64; 2]) -> Result<BodyRecords, (StatusCode, String)>;

    /// The answer to a request whose rows are safe.
    fn taken(&self) -> Answer;

    /// The answer to a request that is not taken, and whether to send it again.
    fn refused(&self, status: StatusCode, why: &str) -> Answer;
}
