//! A source that is polled, a plugin or a server: a thread for each of its partitions asks for rows, and what a poll gave goes into one
//! batch, with the position behind it. The rows are kept in the plan, so nobody need be able to give them again.
//!
//! Who is asked is no matter of this module: [`ReadPartition`] is what it needs.

mod messages;
mod partition;
mod place;

use super::inbox::Inbox;
use crate::batch::position::Positions;
use crate::batch::reading::{ReadPartition, ReadTrouble};
use crate::error::{Error, Result};
use crate::fault;
use crate::job::spec::SourceSpec;
use crate::limits::POLLED_PARTITIONS_MAX;
use crate::threads;
use partition::{PartitionReader, SharedRows};
use place::PartitionPlace;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::{info, warn};

/// How often a source is asked which partitions there are.
const PARTITIONS_EVERY: Duration = Duration::from_secs(10);
/// How long a source waits before it tries again, at first and at most.
const AGAIN_MIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(10);

/// Makes one who reads a partition, or asks for all.
pub type MakeReader = Arc<dyn Fn() -> Result<Box<dyn ReadPartition>> + Send + Sync>;

/// Starts to read; the thread ends when the inbox is closed.
pub fn start(source: &SourceSpec, make: MakeReader, inbox: Arc<Inbox>, runtime: &Handle, from: &Positions) {
    let (source, from) = (source.clone(), from.clone());
    let name = format!("the receiver of source `{}`", source.name);
    super::on_thread(inbox, runtime, &name, move |inbox, runtime| {
        let rows = SharedRows::new(&from);
        let mut partitions = Partitions {
            source: &source,
            make,
            inbox,
            runtime,
            from: &from,
            rows,
            known: BTreeSet::new(),
            left: Arc::default(),
            busy: Arc::default(),
        };
        if let Err(error) = partitions.follow() {
            inbox.fail(error);
        }
    });
}

/// The partitions of a source, each with a thread.
struct Partitions<'a> {
    source: &'a SourceSpec,
    make: MakeReader,
    inbox: &'a Arc<Inbox>,
    runtime: &'a Handle,
    from: &'a Positions,
    rows: SharedRows,
    known: BTreeSet<String>,
    /// How many have not come to their end.
    left: Arc<AtomicUsize>,
    /// How many have something to read, as far as is known.
    busy: Arc<AtomicUsize>,
}

impl Partitions<'_> {
    /// Asks which there are, now and then, and starts those that are new.
    fn follow(&mut self) -> Result<()> {
        let mut asker = (self.make)()?;
        asker.known(&PartitionPlace::all(self.from));
        let mut again = Again::new(format!("source `{}`", self.source.name));
        loop {
            let had = self.known.len();
            let left = self.left.load(Ordering::Acquire);
            let all_ended = had > 0 && left == 0;
            let pause = match asker.partitions() {
                Ok(names) => {
                    again.well();
                    self.take(names)?;
                    if all_ended && self.known.len() == had {
                        self.inbox.finish();
                        return Ok(());
                    }
                    if self.left.load(Ordering::Acquire) == 0 {
                        // Nobody else would say that there is nothing to read.
                        self.inbox.idle(true);
                    }
                    PARTITIONS_EVERY
                }
                Err(ReadTrouble::Passing(why)) => {
                    self.inbox.idle(self.busy.load(Ordering::Acquire) == 0);
                    again.after(&why)
                }
                Err(ReadTrouble::Lasting(error)) => return Err(error),
            };
            // One that has ended by now counts, however short it was.
            if self.closed_within(pause, left + self.known.len() - had) {
                return Ok(());
            }
        }
    }

    /// Waits, until a partition of these `left` ones comes to its end: others may follow upon it, and if none do the source is at its
    /// end. Whether the job wants no more.
    fn closed_within(&self, pause: Duration, left: usize) -> bool {
        let step = Duration::from_millis(100);
        let mut waited = Duration::ZERO;
        while waited < pause {
            if self.inbox.closed_within(self.runtime, step) {
                return true;
            }
            if self.left.load(Ordering::Acquire) < left {
                return false;
            }
            waited += step;
        }
        false
    }

    fn take(&mut self, names: Vec<String>) -> Result<()> {
        // One that is not listed any more is read until it comes to its end.
        let new: Vec<String> = names.into_iter().filter(|partition| !self.known.contains(partition)).collect();
        // Before any of them is begun.
        if self.left.load(Ordering::Acquire) + new.len() > POLLED_PARTITIONS_MAX {
            return Err(Error::plugin(format!(
                "source `{}` has more than {POLLED_PARTITIONS_MAX} partitions at a time, and each needs a thread; \
                 let one partition hold what several do",
                self.source.name
            )));
        }
        if !new.is_empty() {
            self.inbox.idle(false);
        }
        for partition in new {
            self.begin(&partition)?;
            self.known.insert(partition);
        }
        Ok(())
    }

    fn begin(&self, partition: &str) -> Result<()> {
        let place = PartitionPlace::of(partition, self.from);
        let reader = (self.make)()?;
        let left = Left::new(&self.left);
        let mut reading =
            PartitionReader::new(self.source, partition, place, reader, self.inbox, self.runtime, self.rows.clone());
        let busy = Busy::new(&self.busy);
        let failing = self.inbox.clone();
        let what = format!("the thread that reads partition `{partition}` of source `{}`", self.source.name);
        threads::start(
            "source-partition",
            &what,
            move |error| failing.fail(error),
            move || {
                fault::thread("source-partition");
                let _left = left;
                reading.read(busy);
            },
        )
        .map(drop)
    }
}

/// One more partition that has not come to its end.
struct Left(Arc<AtomicUsize>);

impl Left {
    fn new(count: &Arc<AtomicUsize>) -> Left {
        count.fetch_add(1, Ordering::AcqRel);
        Left(count.clone())
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Whether a partition has something to read: it has until it says otherwise.
struct Busy {
    all: Arc<AtomicUsize>,
    is_busy: bool,
}

impl Busy {
    fn new(all: &Arc<AtomicUsize>) -> Busy {
        all.fetch_add(1, Ordering::AcqRel);
        Busy { all: all.clone(), is_busy: true }
    }

    /// What is known of it now; the source has nothing to read where no partition has.
    fn is(&mut self, busy: bool, inbox: &Inbox) {
        match (self.is_busy, busy) {
            (false, true) => drop(self.all.fetch_add(1, Ordering::AcqRel)),
            (true, false) => drop(self.all.fetch_sub(1, Ordering::AcqRel)),
            _ => {}
        }
        self.is_busy = busy;
        inbox.idle(self.all.load(Ordering::Acquire) == 0);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.is_busy {
            self.all.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// How long to wait before something is tried again, and whether that was told.
struct Again {
    who: String,
    pause: Duration,
    told: Option<String>,
}

impl Again {
    fn new(who: String) -> Again {
        Again { who, pause: AGAIN_MIN, told: None }
    }

    /// It works.
    fn well(&mut self) {
        self.pause = AGAIN_MIN;
        if self.told.take().is_some() {
            info!("{}: it works again", self.who);
        }
    }

    /// It does not, for this reason, which is told once.
    fn after(&mut self, why: &str) -> Duration {
        if self.told.as_deref() != Some(why) {
            warn!("{}: {why}; trying again until it works", self.who);
            self.told = Some(why.to_owned());
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(AGAIN_MAX);
        pause
    }
}
