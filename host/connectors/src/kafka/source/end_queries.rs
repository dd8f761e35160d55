//! Periodically requests the ends of the partitions, to know whether an idle one is read to its end. It has its own thread, because the
//! reading thread waits when the inbox is full, and prefetched records do not show later ones. It also has its own client, because a broker
//! responds to a client's requests in order, and fetches wait for records.

use super::{ReadOrder, consumer};
use millstream_base::error::{Error, Result};
use millstream_base::threads;
use millstream_rows::batch::topic;
use millstream_rows::inbox::Inbox;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tracing::debug;

/// Timeout of a response, which is useful for a short time only.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Partitions by topic and number.
type Partitions = Mutex<Vec<(String, i32)>>;

/// The partitions whose ends are requested; `None` if nothing needs them.
pub struct EndQueries(Option<Arc<Partitions>>);

impl EndQueries {
    /// Starts the requests, if something needs the ends. They stop with the inbox.
    pub fn start(order: &ReadOrder<'_>, inbox: &Arc<Inbox>, runtime: &Handle) -> Result<EndQueries> {
        let Some(every) = inbox.end_query_interval() else { return Ok(EndQueries(None)) };
        let source = &order.source.name;
        let consumer = consumer(order.source, order.spec, order.dir, "-ends")
            .map_err(|fault| Error::environment(format!("source `{source}`: {fault}")))?;
        let requested = Arc::new(Partitions::default());
        let (partitions, inbox, runtime) = (requested.clone(), inbox.clone(), runtime.clone());
        let (failing, of) = (inbox.clone(), source.clone());
        let what = format!("the thread that requests the ends of source `{source}`");
        let work = move || {
            while !inbox.closed_within(&runtime, every) {
                // The client's events are not needed, and would accumulate.
                while consumer.next(Duration::ZERO, |_| ()).is_some() {}
                let partitions = locked(&partitions).clone();
                if partitions.is_empty() {
                    continue;
                }
                let began = Instant::now();
                match consumer.end_offsets(&partitions, RESPONSE_TIMEOUT) {
                    Ok(ends) => {
                        let named = ends.into_iter().map(|(topic, number, end)| (topic::name(&topic, number), end));
                        inbox.report_ends(began, &named.collect::<Vec<_>>());
                    }
                    // The reading thread reports an unreachable cluster, and waits for it.
                    Err(fault) => debug!("source `{of}`: the ends of its partitions are unknown: {fault}"),
                }
            }
        };
        threads::start("kafka-ends", &what, move |error| failing.fail(error), work)?;
        Ok(EndQueries(Some(requested)))
    }

    /// Adds partitions that are read as well.
    pub fn add(&self, partitions: &[(String, i32)]) {
        if let Some(requested) = &self.0 {
            locked(requested).extend_from_slice(partitions);
        }
    }
}

fn locked(partitions: &Partitions) -> MutexGuard<'_, Vec<(String, i32)>> {
    partitions.lock().unwrap_or_else(PoisonError::into_inner)
}
