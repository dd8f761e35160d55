//! Source `http`: others POST rows to us. A request is answered with 200 when the plan that holds its rows is durable, so that
//! a sender who repeats what was not answered so loses nothing; one that numbers its requests brings nothing twice, either.

mod accept;
mod answer;
mod body;
pub mod call;
mod producers;

use super::settings::ServerReads;
use crate::http::certificate::Certificate;
use crate::http::places::sender;
use crate::http::refusals::Refusals;
use crate::limits::HTTP_BODIES_BYTES_MAX;
use crate::receiver::listening::{Listening, bound, until_answered};
use body::BodiesBudget;
use call::Protocol;
use millstream_base::batch::chunk::Chunk;
use millstream_base::batch::position::Positions;
use millstream_base::error::Result;
use millstream_base::inbox::{Inbox, Offered, Ticket};
use millstream_base::job::spec::{SourceSpec, SourceStart};
use producers::{Forgotten, Numbered, Producers, RequestOrder};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::warn;

/// Starts to listen. What was received by the time that the inbox is closed is still answered, as long as this runtime lives.
pub fn start(server: &ServerReads, protocol: Option<Arc<dyn Protocol>>, start: &SourceStart<'_>) -> Result<()> {
    let SourceStart { source, origin, inbox, from, .. } = start;
    let listening = Listening::of(start, server.spread);
    let listener = bound(start, &server.listen, &listening)?;
    let intake = Intake { protocol, ..Intake::new(source, server, listening, inbox.clone(), from) };
    let certificate = source.tls.as_ref().and_then(|tls| Certificate::of(tls, &origin.folder));
    until_answered(start, accept::listen(Arc::new(intake), listener, certificate));
    Ok(())
}

/// What all connections share.
struct Intake {
    source: SourceSpec,
    server: ServerReads,
    /// What requests are, where their format does not say.
    protocol: Option<Arc<dyn Protocol>>,
    listening: Listening,
    inbox: Arc<Inbox>,
    /// Bytes and rows of one request.
    request_bytes_max: u64,
    rows_max: u64,
    order: Mutex<IntakeOrder>,
    budget: BodiesBudget,
    refusals: Refusals,
    /// Requests that are coming in.
    receiving: AtomicU64,
}

/// What happens one request after the other.
struct IntakeOrder {
    /// Rows since the job's first start.
    rows: u64,
    producers: Producers,
    /// Producers that were forgotten.
    forgotten: u64,
}

/// What became of the rows of a request.
enum IntakeResult {
    /// Its rows are on their way.
    Rows(Ticket),
    /// Its rows came before; they may be on their way.
    Repeated(Option<Ticket>),
    /// A later one of the same producer came before it.
    Behind,
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
        let rows_max = source.rows_together_max();
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
            order: Mutex::new(IntakeOrder { rows, producers, forgotten: 0 }),
            budget: BodiesBudget::new(HTTP_BODIES_BYTES_MAX.max(request_bytes_max)),
            refusals: Refusals::new(format!("source `{}`", source.name)),
            receiving: AtomicU64::new(0),
        }
    }

    fn order(&self) -> MutexGuard<'_, IntakeOrder> {
        // Nothing that is done under the lock can leave it half done.
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_safe(&self, ticket: Ticket) -> bool {
        self.inbox.acknowledges() && self.inbox.is_durable(ticket)
    }

    /// Hands the records of a request of this sender to the next batch.
    fn take(&self, mut chunks: Vec<Chunk>, numbered: Option<&Numbered>, from: IpAddr) -> IntakeResult {
        let from = sender(from);
        let rows: u64 = chunks.iter().map(|chunk| chunk.rows() as u64).sum();
        let mut order = self.order();
        if let Some(numbered) = numbered {
            match order.producers.standing(numbered, |ticket| self.is_safe(ticket)) {
                RequestOrder::New => {}
                RequestOrder::Repeated(ticket) => {
                    order.producers.came(&numbered.producer, from);
                    return IntakeResult::Repeated(ticket);
                }
                RequestOrder::Behind => return IntakeResult::Behind,
            }
        }
        self.listening.number(&mut chunks, order.rows);
        let end = numbered.map(|numbered| numbered.position(now_ms()));
        match self.inbox.offer(chunks, end) {
            Offered::Full => IntakeResult::Full,
            Offered::Closed => IntakeResult::Closed,
            Offered::Taken(ticket) => {
                order.rows = order.rows.saturating_add(rows);
                if let Some(numbered) = numbered {
                    order.producers.took(numbered, ticket, from);
                    self.forget(&mut order);
                }
                IntakeResult::Rows(ticket)
            }
        }
    }

    /// Forgets producers, where there are too many.
    fn forget(&self, order: &mut IntakeOrder) {
        while let Some(Forgotten { producer, position, sender }) = order.producers.forget(|ticket| self.is_safe(ticket))
        {
            order.forgotten += 1;
            self.inbox.forget(vec![position]);
            let of = sender.map_or(String::new(), |sender| format!(" of those from {sender}"));
            // By and by less often, as there may be many.
            if order.forgotten.is_power_of_two() {
                let (name, max, times) = (&self.source.name, self.server.producers_max, order.forgotten);
                warn!(
                    "source `{name}`: there are more than {max} producers (`producers_max`): `{producer}`, which was silent for \
                     longest{of}, is forgotten ({times} so far); if it repeats its last request, the rows count twice. Raise \
                     `producers_max`, or let senders keep their names"
                );
            }
        }
    }
}

/// A request that is coming in: the source has something to read until then.
struct Receiving<'a>(&'a Intake);

impl<'a> Receiving<'a> {
    fn new(intake: &'a Intake) -> Receiving<'a> {
        intake.receiving.fetch_add(1, Ordering::AcqRel);
        intake.inbox.idle(false);
        Receiving(intake)
    }
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        if self.0.receiving.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.inbox.idle(true);
        }
    }
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
