//! Source `kafka`: the records of topics. Each partition is read from its own saved position.
//!
//! One thread per source discovers partitions ([`discover`], with requests of [`cluster`]), and moves their records ([`events`]) to the
//! inbox ([`records`]). It does not poll while the inbox is full, and then the client does not fetch either. If stages
//! need to know of idle partitions, a second thread queries their end offsets ([`end_queries`]). If batches have plans, another thread
//! queries which topics are compacted ([`policies`]).

/// Continues after a step, or returns from the caller if the inbox is closed or the step failed.
macro_rules! open {
    ($step:expr) => {
        match $step? {
            Ok(()) => {}
            Err($crate::kafka::source::InboxClosed) => return Ok(Err($crate::kafka::source::InboxClosed)),
        }
    };
}

mod statistics;
mod cluster;
mod commits;
pub mod declaration;
mod discover;
mod end_queries;
mod events;
mod outage;
mod policies;
mod records;
mod reread;
pub mod settings;

use crate::kafka::consumer::{Bounds, Consumer};
use crate::kafka::fault::KafkaFault;
use crate::kafka::{RESPONSE_TIME_MAX, settings};
use commits::Commits;
use end_queries::EndQueries;
use hashbrown::HashMap;
use millstream_base::error::{Error, Result};
use millstream_base::limits::PART_BYTES_MAX;
use millstream_connect::receiver::registry::Schemas;
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::partition::{CLOCK_PREFIX, Share};
use millstream_rows::batch::position::Positions;
use millstream_rows::batch::topic;
use millstream_rows::inbox::Inbox;
use outage::Outage;
use policies::Policies;
use reread::reread;
use settings::KafkaReads;

use records::Records;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Maximum wait for a record before the other checks.
const LISTEN: Duration = Duration::from_millis(100);
/// Maximum interval of the checks for a missing topic.
const LOOK_FOR_MISSING: Duration = Duration::from_secs(2);
/// Maximum bytes gathered of all partitions before they are moved to the inbox, while records arrive without a pause.
const GATHERED_BYTES_MAX: usize = 4 * PART_BYTES_MAX;

/// The parameters of a reader.
struct ReadOrder<'a> {
    /// The source.
    source: &'a SourceSpec,
    /// The source's settings.
    spec: &'a KafkaReads,
    /// The directory of the job's relative paths.
    dir: &'a Path,
    /// The partitions that are read here.
    share: Share,
}

/// Reads topics until the inbox is closed or a permanent error occurs.
fn receive(order: &ReadOrder<'_>, from: &Positions, inbox: &Arc<Inbox>, runtime: &Handle) {
    if let Err(error) = SourceReader::new(order, from, inbox, runtime).and_then(SourceReader::run) {
        inbox.fail(error);
    }
}

/// Creates a client for a source. `what` is a suffix of its name that shows its purpose.
fn consumer(source: &SourceSpec, spec: &KafkaReads, dir: &Path, what: &str) -> Result<Consumer, KafkaFault> {
    let name = format!("millstream-{}{what}", source.name);
    let settings =
        settings(&spec.cluster, dir, &name).map_err(|error| KafkaFault::permanent(format!("TLS: {error}")))?;
    Consumer::new(settings, spec.group.as_deref().unwrap_or(&name))
}

/// Reads a topic into the inbox of its source.
struct SourceReader<'a> {
    order: &'a ReadOrder<'a>,
    inbox: &'a Arc<Inbox>,
    runtime: &'a Handle,
    consumer: Consumer,
    outage: Outage,
    commits: Commits,
    ends: EndQueries,
    policies: Policies,
    /// Saved positions of partitions that are not read yet.
    from: Positions,
    /// Whether the job has not read anything before.
    first: bool,
    discovered: bool,
    partitions: Vec<Partition>,
    /// The indexes of partitions, by topic and number.
    indexes: HashMap<(String, i32), usize>,
    /// The indexes of partitions, by the client's topic ID and number.
    indexes_by_id: HashMap<(usize, i32), usize>,
    /// Number of partitions that are read to their end.
    at_end: usize,
    /// Gathered bytes that are not in the inbox yet.
    gathered: usize,
    /// Missing topics, with the time since which they are known to be missing.
    missing: HashMap<String, Instant>,
    /// Schemas, if records begin with schema IDs.
    schemas: Option<Schemas>,
}

/// A partition that is being read.
struct Partition {
    name: String,
    topic: String,
    number: i32,
    records: Records,
    at_end: bool,
}

/// The inbox is closed, so reading stops.
struct InboxClosed;

/// The result of one step.
type Step = Result<Result<(), InboxClosed>>;

impl<'a> SourceReader<'a> {
    fn new(
        order: &'a ReadOrder<'a>,
        from: &Positions,
        inbox: &'a Arc<Inbox>,
        runtime: &'a Handle,
    ) -> Result<SourceReader<'a>> {
        let ReadOrder { source, spec, dir, .. } = order;
        let name = &source.name;
        let consumer =
            consumer(source, spec, dir, "").map_err(|fault| Error::environment(format!("source `{name}`: {fault}")))?;
        Ok(SourceReader {
            ends: EndQueries::start(order, inbox, runtime)?,
            policies: Policies::start(order, inbox, runtime)?,
            commits: Commits::new(source, spec, inbox),
            outage: Outage::new(source, spec),
            order,
            inbox,
            runtime,
            consumer,
            from: from.clone(),
            // Partitions that another process reads are known by their clocks.
            first: !from
                .keys()
                .any(|name| topic::is_name(name) || (name.starts_with(CLOCK_PREFIX) && name != CLOCK_PREFIX)),
            discovered: false,
            partitions: Vec::new(),
            indexes: HashMap::new(),
            indexes_by_id: HashMap::new(),
            at_end: 0,
            gathered: 0,
            missing: HashMap::new(),
            schemas: Schemas::new(source, dir),
        })
    }

    fn run(mut self) -> Result<()> {
        let _ = self.read()?;
        Ok(())
    }

    fn read(&mut self) -> Step {
        open!(self.check_cluster());
        let mut look_at = Instant::now();
        loop {
            let now = Instant::now();
            if now >= look_at && !self.outage.lasts() {
                open!(self.discover());
                let poll = self.order.spec.poll;
                look_at = Instant::now() + if self.missing.is_empty() { poll } else { poll.min(LOOK_FOR_MISSING) };
            }
            open!(self.check_outage());
            self.commits.send(&self.consumer);
            // Records that have already arrived.
            let mut handled = self.handle_event(Duration::ZERO)?;
            while handled && self.gathered < GATHERED_BYTES_MAX {
                handled = self.handle_event(Duration::ZERO)?;
            }
            open!(self.flush());
            if !handled {
                self.inbox.idle(self.is_at_end());
                if self.inbox.closed_within(self.runtime, Duration::ZERO) {
                    return Ok(Err(InboxClosed));
                }
                self.handle_event(LISTEN)?;
            }
        }
    }

    /// Returns whether all partitions are read to their end. This is unknown for an unreachable cluster, and for a deleted topic.
    fn is_at_end(&self) -> bool {
        let was_read =
            |topic: &String| self.from.keys().any(|name| topic::parse(name).is_some_and(|(of, _)| of == topic));
        self.at_end == self.partitions.len() && !self.outage.lasts() && !self.missing.keys().any(was_read)
    }

    /// Checks whether brokers are reachable, as far as the client knows. Fails if an outage lasts longer than `wait`.
    fn check_outage(&mut self) -> Step {
        let name = &self.order.source.name;
        if let Some(rejection) = self.consumer.client_log().rejection() {
            return Err(Error::environment(format!("source `{name}`: {rejection}")));
        }
        self.outage.check(&self.consumer, self.order.spec).map(Ok)
    }

    /// Handles a fault of a request that is retried later. Fails if the fault is permanent.
    fn retry_later(&mut self, fault: &KafkaFault) -> Result<()> {
        while self.handle_event(Duration::ZERO)? {
            if self.gathered >= GATHERED_BYTES_MAX {
                break;
            }
        }
        let name = &self.order.source.name;
        match fault.is_transient() {
            true => self.outage.failed(fault, self.order.spec),
            false => Err(Error::environment(format!("source `{name}`: {fault}"))),
        }
    }
}

/// Requests the bounds of a partition, once.
fn bounds(consumer: &Consumer, topic: &str, number: i32) -> Result<Bounds, KafkaFault> {
    consumer.bounds(topic, number, RESPONSE_TIME_MAX)
}
