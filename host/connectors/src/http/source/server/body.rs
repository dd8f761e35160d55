//! Receives the body of a request, with limits for bytes and time and a limit for all requests together.

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use millstream_connect::receiver::budget::{Budget, BudgetPermit};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How much of a rejected request is read, so that its sender receives the response.
const DRAIN_BYTES_MAX: u64 = 256 << 20;
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// Limits the bytes of all bodies that are being received.
pub struct BodiesBudget(Budget);

/// A body, and its part of the budget.
#[derive(Debug)]
pub struct BufferedBody {
    /// Its bytes.
    pub bytes: BytesMut,
    room: BudgetPermit,
}

/// Why a body was not received.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// It is too large.
    TooLarge,
    /// It took too long.
    TooSlow,
    /// Too many bytes are being received.
    NoRoom,
    /// The connection broke; no response is possible.
    Broken(String),
}

impl BodiesBudget {
    /// Creates a budget of `bytes_max`.
    pub fn new(bytes_max: u64) -> BodiesBudget {
        BodiesBudget(Budget::new(bytes_max))
    }

    /// Reads a body to its end.
    pub async fn receive(
        &self,
        body: &mut Incoming,
        bytes_max: u64,
        deadline: Instant,
    ) -> Result<BufferedBody, BodyFault> {
        if body.size_hint().lower() > bytes_max {
            return Err(BodyFault::TooLarge);
        }
        let mut request_body = BufferedBody { bytes: BytesMut::new(), room: BudgetPermit::default() };
        loop {
            let frame = match timeout_at(deadline, body.frame()).await {
                Err(_) => return Err(BodyFault::TooSlow),
                Ok(None) => return Ok(request_body),
                Ok(Some(Err(error))) => return Err(BodyFault::Broken(error.to_string())),
                Ok(Some(Ok(frame))) => frame,
            };
            // Trailers are ignored.
            let Ok(data) = frame.into_data() else { continue };
            let bytes = request_body.bytes.len() as u64 + data.len() as u64;
            if bytes > bytes_max {
                return Err(BodyFault::TooLarge);
            }
            if !self.0.grow(&mut request_body.room, bytes) {
                return Err(BodyFault::NoRoom);
            }
            request_body.bytes.extend_from_slice(&data);
        }
    }
}

/// Reads and discards the rest of a rejected request. Otherwise a client that is still sending would lose its connection before it receives the
/// response.
pub async fn drain(body: &mut Incoming) {
    let deadline = Instant::now() + DRAIN_TIME_MAX;
    let mut bytes = 0_u64;
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await {
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if bytes > DRAIN_BYTES_MAX {
            return;
        }
    }
}
