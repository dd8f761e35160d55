//! The `http` source with `listen`: clients POST rows. The response is 200 once the plan with the rows is durable. Clients that repeat requests
//! without this response lose nothing. If they number their requests, no row is duplicated either.

mod accept;
mod respond;
mod body;
pub mod call;
mod producers;

use super::settings::ServerReads;
use crate::limits::HTTP_BODIES_BYTES_MAX;
use body::BodiesBudget;
use call::Protocol;
use millstream_base::error::Result;
use millstream_connect::http1::certificate::Certificate;
use millstream_connect::http1::rejection_log::RejectionLog;
use millstream_connect::http1::slots::sender;
use millstream_connect::receiver::listening::{Listening, bind_listener, run_until_answered};
use millstream_job::spec::{SourceSpec, SourceStart};
use millstream_rows::batch::chunk::Chunk;
use millstream_rows::batch::position::Positions;
use millstream_rows::inbox::{Inbox, OfferResult, Ticket};
use producers::{EvictedProducer, NumberedRequest, Producers, RequestOrder};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::warn;

/// Starts listening. Requests received before the inbox is closed still get a response, as long as this runtime lives.
pub fn start(server: &ServerReads, protocol: Option<Arc<dyn Protocol>>, start: &SourceStart<'_>) -> Result<()> {
    let SourceStart { source, origin, inbox, from, .. } = start;
    let listening = Listening::new(start, server.spread);
    let listener = bind_listener(start, &server.listen, &listening)?;
    let intake = Intake { protocol, ..Intake::new(source, server, listening, inbox.clone(), from) };
    let certificate = source.tls.as_ref().and_then(|tls| Certificate::from_spec(tls, &origin.dir));
    run_until_answered(start, accept::listen(Arc::new(intake), listener, certificate));
    Ok(())
}

/// State that all connections share.
struct Intake {
    source: SourceSpec,
    server: ServerReads,
    /// The protocol of requests, for sources whose format does not define them.
    protocol: Option<Arc<dyn Protocol>>,
    listening: Listening,
    inbox: Arc<Inbox>,
    /// Maximum bytes and rows of one request.
    request_bytes_max: u64,
    rows_max: u64,
    order: Mutex<IntakeOrder>,
    budget: BodiesBudget,
    rejection_log: RejectionLog,
    /// Number of requests that are being received.
    receiving: AtomicU64,
}

/// State that is updated by one request at a time.
struct IntakeOrder {
    /// Number of rows since the job's first start.
    rows: u64,
    producers: Producers,
    /// Number of producers that were evicted.
    evicted: u64,
}

/// The outcome for the rows of a request.
enum IntakeResult {
    /// The rows are in the inbox.
    Rows(Ticket),
    /// The rows were received before. With a ticket, they may not be durable yet.
    Repeated(Option<Ticket>),
    /// A later request of the same producer was received before.
    OutOfOrder,
    Full,
    Closed,
}

impl Intake {
    fn new(
        source: &SourceSpec,
        server: &ServerReads,
        listening: Listening,
        inbox: Arc<Inbox>,
        from: &Positions,
    ) -> Intake {
        let rows_max = source.rows_per_take_max();
        let request_bytes_max = server.request_bytes_max(source);
        let rows = listening.rows_before(from);
        let producers = Producers::new(from, server.producers_max);
        inbox.idle(true);
        Intake {
            source: source.clone(),
            server: server.clone(),
            protocol: None,
            listening,
            inbox,
            request_bytes_max,
            rows_max,
            order: Mutex::new(IntakeOrder { rows, producers, evicted: 0 }),
            budget: BodiesBudget::new(HTTP_BODIES_BYTES_MAX.max(request_bytes_max)),
            rejection_log: RejectionLog::new(format!("source `{}`", source.name)),
            receiving: AtomicU64::new(0),
        }
    }

    fn order(&self) -> MutexGuard<'_, IntakeOrder> {
        // No operation under the lock can leave the state inconsistent.
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_durable(&self, ticket: Ticket) -> bool {
        self.inbox.acknowledges() && self.inbox.is_durable(ticket)
    }

    /// Puts the records of a request into the inbox.
    fn take(&self, mut chunks: Vec<Chunk>, numbered: Option<&NumberedRequest>, from: IpAddr) -> IntakeResult {
        let from = sender(from);
        let rows: u64 = chunks.iter().map(|chunk| chunk.rows() as u64).sum();
        let mut order = self.order();
        if let Some(numbered) = numbered {
            match order.producers.order_of(numbered, |ticket| self.is_durable(ticket)) {
                RequestOrder::New => {}
                RequestOrder::Repeated(ticket) => {
                    order.producers.touch(&numbered.producer, from);
                    return IntakeResult::Repeated(ticket);
                }
                RequestOrder::OutOfOrder => return IntakeResult::OutOfOrder,
            }
        }
        self.listening.number(&mut chunks, order.rows);
        let end = numbered.map(|numbered| numbered.position(now_ms()));
        match self.inbox.offer(chunks, end) {
            OfferResult::Full => IntakeResult::Full,
            OfferResult::Closed => IntakeResult::Closed,
            OfferResult::Taken(ticket) => {
                order.rows = order.rows.saturating_add(rows);
                if let Some(numbered) = numbered {
                    order.producers.record(numbered, ticket, from);
                    self.evict(&mut order);
                }
                IntakeResult::Rows(ticket)
            }
        }
    }

    /// Evicts producers if there are too many.
    fn evict(&self, order: &mut IntakeOrder) {
        while let Some(EvictedProducer { producer, position, sender }) =
            order.producers.evict(|ticket| self.is_durable(ticket))
        {
            order.evicted += 1;
            self.inbox.drop_files(vec![position]);
            let of = sender.map_or(String::new(), |sender| format!(" among producers from {sender}"));
            // Logged ever less often, as there may be many.
            if order.evicted.is_power_of_two() {
                let (name, max, times) = (&self.source.name, self.server.producers_max, order.evicted);
                warn!(
                    "source `{name}`: there are more than {max} producers (`producers_max`): `{producer}`, which \
                     was idle longest{of}, was dropped ({times} so far); if it repeats its last request, its rows \
                     are counted twice. Raise `producers_max`, or let senders keep their names"
                );
            }
        }
    }
}

/// A request that is being received. The source is not idle until then.
struct ReceivingGuard<'a>(&'a Intake);

impl<'a> ReceivingGuard<'a> {
    fn new(intake: &'a Intake) -> ReceivingGuard<'a> {
        intake.receiving.fetch_add(1, Ordering::AcqRel);
        intake.inbox.idle(false);
        ReceivingGuard(intake)
    }
}

impl Drop for ReceivingGuard<'_> {
    fn drop(&mut self) {
        if self.0.receiving.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.inbox.idle(true);
        }
    }
}

/// Returns milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
