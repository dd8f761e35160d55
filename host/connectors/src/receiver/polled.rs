//! A source that is polled, a plugin or a server: a thread for each of its partitions asks for rows, and what a poll gave goes into one
//! batch, with the position behind it. The rows are kept in the plan, so nobody need be able to give them again.
//!
//! Where the partitions are spread over the processes of the job, each asks which there are, reads its share of them, and tells the
//! others which it has read to their ends (`inbox/others`): others may follow upon those, and the source has ended when all have.
//!
//! Who is asked is no matter of this module: [`ReadPartition`] is what it needs.

pub mod backlog;
mod messages;
mod partition;
mod position;

use millstream_base::batch::partition::{CLOCK_PREFIX, Share, rows_name};
use millstream_base::batch::position::Positions;
use millstream_base::batch::reading::{MakeReader, ReadPartition, ReadTrouble};
use millstream_base::error::{Error, Result};
use millstream_base::fault;
use millstream_base::inbox::Inbox;
use millstream_base::job::spec::{Origin, SourceSpec, SourceStart};
use millstream_base::limits::POLLED_PARTITIONS_MAX;
use millstream_base::threads;
use partition::{PartitionReader, SharedRows, has_clock};
use position::PartitionPosition;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::{info, warn};

/// How often a source is asked which partitions there are.
const PARTITIONS_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked what became of other partitions.
const HEARD_EVERY: Duration = Duration::from_millis(100);
/// How long a source waits before it tries again, at first and at most.
const AGAIN_MIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(10);

/// What it means for a source that its settings make no reader: the key that is wrong, and why.
pub fn check<T>(
    source: &SourceSpec,
    origin: &Origin,
    made: std::result::Result<T, (&'static str, String)>,
) -> Result<()> {
    made.map(drop).map_err(|mistake| unreadable(source, origin, mistake))
}

/// Makes a reader of the settings of a source; an error is the key that is wrong, and why.
pub type MakeOf<C, R> = fn(&SourceSpec, &C, &Origin) -> std::result::Result<R, (&'static str, String)>;

/// Makes readers of these settings, where they need not know of each other.
pub fn readers<C, R>((source, config, origin): (&SourceSpec, &C, &Origin), of: MakeOf<C, R>) -> MakeReader
where
    C: Clone + Send + Sync + 'static,
    R: ReadPartition + 'static,
{
    let (source, config, origin) = (source.clone(), config.clone(), origin.clone());
    Arc::new(move || {
        let made = of(&source, &config, &origin);
        Ok(Box::new(made.map_err(|mistake| unreadable(&source, &origin, mistake))?))
    })
}

fn unreadable(source: &SourceSpec, origin: &Origin, (key, message): (&str, String)) -> Error {
    let location = origin.at(&format!("sources.{}.{key}", source.name));
    Error::job(format!("{location}source `{}`: {message}", source.name))
}

/// A word of a position that is written in words; all of it where there is none.
pub fn word(position: &str, number: usize) -> &str {
    position.split(' ').nth(number).unwrap_or(position)
}

/// Starts to read the partitions of this share; the thread ends when the inbox is closed.
pub fn start(SourceStart { source, inbox, runtime, from, share, .. }: SourceStart<'_>, make: MakeReader) {
    let (source, from) = (source.clone(), from.clone());
    let name = format!("the receiver of source `{}`", source.name);
    super::on_thread(inbox, runtime, &name, move |inbox, runtime| {
        let rows = SharedRows::of_all(&from);
        let mut partitions = Partitions {
            source: &source,
            make,
            inbox,
            runtime,
            from: &from,
            share,
            rows,
            known: BTreeSet::new(),
            ended_elsewhere: BTreeSet::new(),
            clocks: Clocks::of(&from),
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
    /// Which are read here.
    share: Share,
    rows: SharedRows,
    /// Those that were begun here.
    known: BTreeSet<String>,
    /// Those that other processes have read to their ends.
    ended_elsewhere: BTreeSet<String>,
    clocks: Clocks,
    /// How many have not come to their end.
    left: Arc<AtomicUsize>,
    /// How many have something to read, as far as is known.
    busy: Arc<AtomicUsize>,
}

impl Partitions<'_> {
    /// Asks which there are, now and then, and starts those that are new.
    fn follow(&mut self) -> Result<()> {
        let mut asker = (self.make)()?;
        asker.known(&PartitionPosition::all(self.from));
        let mut again = RetryPause::new(format!("source `{}`", self.source.name));
        while !self.inbox.may_begin() {
            if self.inbox.closed_within(self.runtime, HEARD_EVERY) {
                return Ok(());
            }
        }
        loop {
            // Before it is asked what there is: what follows upon those that have ended is among the answer. Of those that were
            // the last to end nobody is told that they are gone: the time of all is at its end then.
            let elsewhere = self.inbox.ended_elsewhere();
            self.clocks.hear(&elsewhere);
            self.ended_elsewhere.extend(elsewhere);
            asker.ended(&self.clocks.gone);
            let some_known = !self.known.is_empty() || !self.ended_elsewhere.is_empty();
            let all_ended = some_known && self.left.load(Ordering::Acquire) == 0 && !self.inbox.is_read_elsewhere(None);
            let pause = match asker.partitions() {
                Ok(names) => {
                    again.well();
                    let names: BTreeSet<String> = names.into_iter().collect();
                    let is_over = |name: &String| self.known.contains(name) || self.ended_elsewhere.contains(name);
                    if all_ended && names.iter().all(is_over) {
                        self.inbox.finish();
                        // Before that another may have found one, upon which one may follow that is to be read here.
                        if self.inbox.others_have_finished() {
                            return Ok(());
                        }
                    } else {
                        self.begin_all(&names)?;
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
            if self.closed_within(pause) {
                return Ok(());
            }
        }
    }

    /// Waits, until a partition comes to its end: others may follow upon it, and if none do the source is at its end. Whether the
    /// job wants no more.
    fn closed_within(&self, pause: Duration) -> bool {
        let had_finished = self.inbox.others_have_finished();
        let mut waited = Duration::ZERO;
        while waited < pause {
            if self.inbox.closed_within(self.runtime, HEARD_EVERY) {
                return true;
            }
            if self.clocks.some_ended()
                || self.inbox.some_ended_elsewhere()
                || self.inbox.others_have_finished() != had_finished
            {
                return false;
            }
            waited += HEARD_EVERY;
        }
        false
    }

    /// Begins to read those that are new of its share. One that is not listed any more is read until it comes to its end.
    fn begin_all(&mut self, listed: &BTreeSet<String>) -> Result<()> {
        let new: Vec<String> =
            listed.difference(&self.known).filter(|name| self.share.owns(&rows_name(name))).cloned().collect();
        // Before any of them is begun.
        if self.left.load(Ordering::Acquire) + new.len() > POLLED_PARTITIONS_MAX {
            return Err(Error::plugin(format!(
                "source `{}` has more than {POLLED_PARTITIONS_MAX} partitions at a time in one process, and each needs a thread; \
                 let one partition hold what several do",
                self.source.name
            )));
        }
        if !new.is_empty() {
            self.inbox.idle(false);
            self.inbox.go_on();
        }
        if self.share.tells_clocks() {
            let is_over = |name: &&String| self.ended_elsewhere.contains(*name) || self.known.contains(*name);
            let with_clocks = listed.iter().filter(|name| has_clock(self.source, name)).filter(|name| !is_over(name));
            let is_there = |name: &str| {
                listed.contains(name) || self.known.contains(name) || self.inbox.is_read_elsewhere(Some(name))
            };
            self.clocks.tell(with_clocks, is_there, self.inbox);
        } else {
            self.clocks.gone.clear();
        }
        for partition in new {
            // Before it can come to its end.
            self.inbox.tell_others_read(&partition);
            self.begin(&partition)?;
            self.known.insert(partition);
        }
        Ok(())
    }

    fn begin(&self, partition: &str) -> Result<()> {
        let place = PartitionPosition::of(partition, self.from);
        let reader = (self.make)()?;
        let left = OpenPartition::new(&self.left, partition, &self.clocks.ended);
        let rows = match self.source.kind.is_spread() {
            true => SharedRows::of(partition, self.from),
            false => self.rows.clone(),
        };
        let mut reading = PartitionReader::new(self.source, partition, place, reader, self.inbox, self.runtime, rows);
        let busy = BusyFlag::new(&self.busy);
        let (failing, telling, partition) = (self.inbox.clone(), self.inbox.clone(), partition.to_owned());
        let what = format!("the thread that reads partition `{partition}` of source `{}`", self.source.name);
        threads::start(
            "source-partition",
            &what,
            move |error| failing.fail(error),
            move || {
                fault::thread("source-partition");
                let _left = left;
                if reading.read(busy) {
                    telling.tell_others_ended(&partition);
                }
            },
        )
        .map(drop)
    }
}

/// The partitions of which stages are told that they have clocks.
struct Clocks {
    told: BTreeSet<String>,
    /// Those that have come to their ends, as their threads tell.
    ended: Arc<Mutex<Vec<String>>>,
    /// Those of them of which stages are not told yet that they are gone.
    gone: Vec<String>,
}

impl Clocks {
    /// As positions tell.
    fn of(from: &Positions) -> Clocks {
        let told = from.keys().filter_map(|name| name.strip_prefix(CLOCK_PREFIX)).filter(|name| !name.is_empty());
        Clocks { told: told.map(str::to_owned).collect(), ended: Arc::default(), gone: Vec::new() }
    }

    /// Looks which have come to their ends, these in other processes. Rows of those may have told stages of them.
    fn hear(&mut self, elsewhere: &[String]) {
        self.gone.extend_from_slice(elsewhere);
        self.told.extend(elsewhere.iter().filter(|partition| !partition.is_empty()).cloned());
        self.gone.append(&mut self.ended.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether some have ended that were not looked at.
    fn some_ended(&self) -> bool {
        !self.ended.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Tells of those that are new, and, together with them, of those that are gone: what follows upon a partition holds the time
    /// back from where it ended. `is_there`: whether a partition is listed, or is read all the same.
    fn tell<'a>(&mut self, new: impl Iterator<Item = &'a String>, is_there: impl Fn(&str) -> bool, inbox: &Inbox) {
        let new: Vec<String> = new.filter(|partition| !self.told.contains(*partition)).cloned().collect();
        self.told.extend(new.iter().cloned());
        let ended = std::mem::take(&mut self.gone);
        let is_gone = |name: &String| ended.contains(name) || !is_there(name);
        let gone: Vec<String> = self.told.iter().filter(|name| is_gone(name)).cloned().collect();
        self.told.retain(|name| !gone.contains(name));
        if !new.is_empty() || !gone.is_empty() {
            inbox.tell_partitions(&new, &gone);
        }
        // Results may have waited for it, and no more rows need come.
        if !gone.is_empty() {
            inbox.begin_batch();
        }
    }
}

/// One more partition that has not come to its end.
struct OpenPartition {
    count: Arc<AtomicUsize>,
    partition: String,
    ended: Arc<Mutex<Vec<String>>>,
}

impl OpenPartition {
    fn new(count: &Arc<AtomicUsize>, partition: &str, ended: &Arc<Mutex<Vec<String>>>) -> OpenPartition {
        count.fetch_add(1, Ordering::AcqRel);
        OpenPartition { count: count.clone(), partition: partition.to_owned(), ended: ended.clone() }
    }
}

impl Drop for OpenPartition {
    fn drop(&mut self) {
        // In this order: whoever hears of it knows whether it was the last.
        self.count.fetch_sub(1, Ordering::AcqRel);
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.partition));
    }
}

/// Whether a partition, or a connection, has something to read: it has until it says otherwise.
pub struct BusyFlag {
    all: Arc<AtomicUsize>,
    is_busy: bool,
}

impl BusyFlag {
    /// One more, of all that are counted there.
    pub fn new(all: &Arc<AtomicUsize>) -> BusyFlag {
        all.fetch_add(1, Ordering::AcqRel);
        BusyFlag { all: all.clone(), is_busy: true }
    }

    /// What is known of it now; the source has nothing to read where no partition has.
    pub fn is(&mut self, busy: bool, inbox: &Inbox) {
        match (self.is_busy, busy) {
            (false, true) => drop(self.all.fetch_add(1, Ordering::AcqRel)),
            (true, false) => drop(self.all.fetch_sub(1, Ordering::AcqRel)),
            _ => {}
        }
        self.is_busy = busy;
        inbox.idle(self.all.load(Ordering::Acquire) == 0);
    }
}

impl Drop for BusyFlag {
    fn drop(&mut self) {
        if self.is_busy {
            self.all.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// How long to wait before something is tried again, and whether that was told.
struct RetryPause {
    who: String,
    pause: Duration,
    told: Option<String>,
}

impl RetryPause {
    fn new(who: String) -> RetryPause {
        RetryPause { who, pause: AGAIN_MIN, told: None }
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
            warn!("{}: {why}; retrying until it works", self.who);
            self.told = Some(why.to_owned());
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(AGAIN_MAX);
        pause
    }
}
