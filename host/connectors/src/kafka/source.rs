//! Source `kafka`: the records of topics, each partition read by itself from where the job left off.
//!
//! One thread a source looks for partitions ([`discover`], which asks by [`cluster`]), and puts what comes of them ([`hear`]) into the
//! inbox ([`records`]). It polls no further while the inbox is full, and then the client fetches no further either. Where stages
//! want to know of partitions that are silent, a second thread asks how far all go ([`ends`]). Where batches have plans, another one asks
//! which topics are compacted ([`policies`]).

/// Goes on with a step, or ends with what ends the caller.
macro_rules! open {
    ($step:expr) => {
        match $step? {
            Ok(()) => {}
            Err($crate::kafka::source::InboxClosed) => return Ok(Err($crate::kafka::source::InboxClosed)),
        }
    };
}

mod behind;
mod cluster;
mod commits;
pub mod declaration;
mod discover;
mod ends;
mod hear;
mod outage;
mod policies;
mod records;
mod reread;
pub mod settings;

use crate::kafka::consumer::{Bounds, Consumer};
use crate::kafka::fault::KafkaFault;
use crate::kafka::{ANSWER_TIME_MAX, settings};
use crate::receiver::registry::Schemas;
use commits::Commits;
use ends::Ends;
use hashbrown::HashMap;
use millstream_base::batch::partition::{CLOCK_PREFIX, Share};
use millstream_base::batch::position::Positions;
use millstream_base::batch::topic;
use millstream_base::error::{Error, Result};
use millstream_base::inbox::Inbox;
use millstream_base::job::spec::SourceSpec;
use millstream_base::limits::PART_BYTES_MAX;
use outage::Outage;
use policies::Policies;
use reread::reread;
use settings::KafkaReads;

use records::Records;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How long to wait for a record before anything else is looked at.
const LISTEN: Duration = Duration::from_millis(100);
/// How often to look for a topic that is not there, where the job's `poll` is longer.
const LOOK_FOR_MISSING: Duration = Duration::from_secs(2);
/// What is gathered of all partitions before it goes to the inbox, while more comes without a pause.
const GATHERED_BYTES_MAX: usize = 4 * PART_BYTES_MAX;

/// What a source reads, and from where.
struct ReadOrder<'a> {
    /// The source.
    source: &'a SourceSpec,
    /// What it reads.
    spec: &'a KafkaReads,
    /// Where paths of the job start from.
    dir: &'a Path,
    /// The partitions that are read here.
    share: Share,
}

/// Reads topics until the inbox is closed, or something is wrong that does not go away.
fn receive(order: &ReadOrder<'_>, from: &Positions, inbox: &Arc<Inbox>, runtime: &Handle) {
    if let Err(error) = SourceReader::new(order, from, inbox, runtime).and_then(SourceReader::run) {
        inbox.fail(error);
    }
}

/// A client for a source. `what`: what it is used for.
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
    ends: Ends,
    policies: Policies,
    /// Positions of an earlier start, as long as their partitions are not read.
    from: Positions,
    /// No earlier start has read anything.
    first: bool,
    looked: bool,
    partitions: Vec<Partition>,
    /// The places of partitions.
    places: HashMap<(String, i32), usize>,
    /// The same by what tells the client's topics apart.
    places_by_id: HashMap<(usize, i32), usize>,
    /// How many of the partitions have nothing to read now.
    at_end: usize,
    /// Bytes that were gathered and are not in the inbox.
    gathered: usize,
    /// Since when it is known of topics that they are not there.
    missing: HashMap<String, Instant>,
    /// Where records begin with the ids of schemas.
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

/// The inbox takes no more, so that reading goes no further.
struct InboxClosed;

/// What one step came to.
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
            ends: Ends::ask(order, inbox, runtime)?,
            policies: Policies::start(order, inbox, runtime)?,
            commits: Commits::new(source, spec, inbox),
            outage: Outage::new(source, spec),
            order,
            inbox,
            runtime,
            consumer,
            from: from.clone(),
            // Partitions are known by their clocks also where another process reads them.
            first: !from
                .keys()
                .any(|name| topic::is_name(name) || (name.starts_with(CLOCK_PREFIX) && name != CLOCK_PREFIX)),
            looked: false,
            partitions: Vec::new(),
            places: HashMap::new(),
            places_by_id: HashMap::new(),
            at_end: 0,
            gathered: 0,
            missing: HashMap::new(),
            schemas: Schemas::of(source, dir),
        })
    }

    fn run(mut self) -> Result<()> {
        let _ = self.read()?;
        Ok(())
    }

    fn read(&mut self) -> Step {
        open!(self.know_cluster());
        let mut look_at = Instant::now();
        loop {
            let now = Instant::now();
            if now >= look_at && !self.outage.lasts() {
                open!(self.look());
                let poll = self.order.spec.poll;
                look_at = Instant::now() + if self.missing.is_empty() { poll } else { poll.min(LOOK_FOR_MISSING) };
            }
            open!(self.look_at_outage());
            self.commits.send(&self.consumer);
            // What is there already, and what it leads to.
            let mut heard = self.hear(Duration::ZERO)?;
            while heard && self.gathered < GATHERED_BYTES_MAX {
                heard = self.hear(Duration::ZERO)?;
            }
            open!(self.pass_on());
            if !heard {
                self.inbox.idle(self.is_at_end());
                if self.inbox.closed_within(self.runtime, Duration::ZERO) {
                    return Ok(Err(InboxClosed));
                }
                self.hear(LISTEN)?;
            }
        }
    }

    /// Whether there is nothing to read. Of a cluster that is away, and of a topic that was there, nobody knows what they have.
    fn is_at_end(&self) -> bool {
        let was_read =
            |topic: &String| self.from.keys().any(|name| topic::parse(name).is_some_and(|(of, _)| of == topic));
        self.at_end == self.partitions.len() && !self.outage.lasts() && !self.missing.keys().any(was_read)
    }

    /// Whether brokers can be reached, as far as the client has heard; waits no longer than the job may.
    fn look_at_outage(&mut self) -> Step {
        let name = &self.order.source.name;
        if let Some(rejection) = self.consumer.client_log().rejection() {
            return Err(Error::environment(format!("source `{name}`: {rejection}")));
        }
        self.outage.look(&self.consumer, self.order.spec).map(Ok)
    }

    /// What cannot be done now is done later, unless somebody has to mend something.
    fn later(&mut self, fault: &KafkaFault) -> Result<()> {
        while self.hear(Duration::ZERO)? {
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

/// What the cluster has of a partition, asked once.
fn bounds(consumer: &Consumer, topic: &str, number: i32) -> Result<Bounds, KafkaFault> {
    consumer.bounds(topic, number, ANSWER_TIME_MAX)
}
