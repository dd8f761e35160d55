//! What worker 0 must know of the sources, wherever they are received. Within one process the inboxes say it; between
//! processes the first worker of each announces it to all.

use crate::running::Running;
use crate::running::loads::Load;
use millstream_base::error::{Error, Kind};
use millstream_base::ids::BatchId;
use millstream_base::inbox::{Inbox, OthersState, PartitionNews};
use millstream_base::job::spec::SourceSpec;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Exchange;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::{InputHandle, Stream};
use timely::worker::Worker;

/// How things stand with one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceState {
    /// It has something for a batch.
    pub ready: bool,
    /// A whole batch waits, and more cannot.
    pub full: bool,
    /// It will receive nothing more, and a batch takes all that waits.
    pub last: bool,
    /// It will receive nothing more.
    pub finished: bool,
    /// For how long it has had nothing to read.
    pub idle_ms: u64,
    /// The last batch that took from it: what is said here was so after that.
    pub cut: u64,
    /// It still has rows that an earlier start received.
    pub leftover: bool,
}

/// The state of a process, as it tells it to the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Announcement {
    to: u64,
    process: usize,
    /// The sources that the process receives, by number.
    sources: Vec<(usize, SourceState)>,
    /// What the process tells of partitions of sources that are spread, by number; each only once.
    news: Vec<(usize, PartitionNews)>,
    /// The loads of the process's workers, in their order.
    loads: Vec<Load>,
    stop: bool,
    failed: Option<String>,
}

/// Loads are told so often at most: they are news all the time.
const LOADS_EVERY: Duration = Duration::from_millis(20);

type AnnouncementInput = InputHandle<u64, CapacityContainerBuilder<Vec<Announcement>>>;

/// A worker's end of the announcements.
pub struct Announcer {
    /// There on the first worker of each process, where there are several.
    input: Option<AnnouncementInput>,
    last: Option<Announcement>,
    /// When loads were told.
    told_loads: Option<Instant>,
    /// There are newer ones, to be told in so long.
    loads_in: Option<Duration>,
    heard: Rc<RefCell<Vec<Announcement>>>,
    /// By source and process, what other processes say.
    remote: BTreeMap<(usize, usize), SourceState>,
    round: u64,
}

impl Announcer {
    /// Builds the stream of announcements, where there are several processes.
    pub fn build(worker: &mut Worker, running: &Running) -> Announcer {
        let heard = Rc::new(RefCell::new(Vec::new()));
        let mut announcer = Announcer {
            input: None,
            last: None,
            told_loads: None,
            loads_in: None,
            heard: heard.clone(),
            remote: BTreeMap::new(),
            round: 0,
        };
        if running.options.cluster.is_none() {
            return announcer;
        }
        let peers = worker.peers() as u64;
        let mut input = AnnouncementInput::new();
        worker.dataflow::<u64, _, _>(|scope| {
            let told: Stream<'_, u64, Vec<Announcement>> = input
                .to_stream(scope)
                .flat_map(move |announcement: Announcement| {
                    (0..peers).map(move |to| Announcement { to, ..announcement.clone() })
                })
                .exchange(|announcement: &Announcement| announcement.to);
            told.map(move |announcement| heard.borrow_mut().push(announcement));
        });
        if worker.index() == running.threads.first {
            announcer.input = Some(input);
            running.loads.told_by_this_thread();
        }
        announcer
    }

    /// Says what changed in this process, and takes in what others said.
    pub fn exchange(&mut self, running: &Running) {
        if let Some(error) = running.ends.inboxes.iter().flatten().find_map(|inbox| inbox.state().failed) {
            running.failure.set(error);
        }
        if running.options.cluster.is_none() {
            return;
        }
        self.announce(running, None);
        let own = running.threads.process();
        for announcement in self.heard.borrow_mut().drain(..) {
            let process = announcement.process;
            let told = announcement.sources.into_iter().filter(|_| process != own);
            self.remote.extend(told.map(|(number, state)| ((number, process), state)));
            // All workers hear it, and one of the process passes it on.
            let loads = announcement.loads.iter().filter(|_| process != own && self.input.is_some());
            for (worker, load) in (process * running.threads.count..).zip(loads).take(running.threads.count) {
                running.loads.heard(worker, load);
            }
            for (number, news) in announcement.news.into_iter().filter(|_| process != own && self.input.is_some()) {
                running
                    .ends
                    .inboxes
                    .get(number)
                    .into_iter()
                    .flatten()
                    .for_each(|inbox| inbox.hear_others(news.clone()));
            }
            if let Some(failed) = announcement.failed.filter(|_| announcement.process != own) {
                running.failure.set(Error {
                    kind: Kind::Environment,
                    message: format!("process {} of the job ended: {failed}", announcement.process),
                });
            }
            if announcement.stop && !running.stopping() {
                running.request_stop();
            }
        }
        if self.input.is_some() {
            self.tell_inboxes(running);
        }
    }

    /// How long the worker may sleep at most, so that others hear in time what they wait for.
    pub fn sleep(&self, wanted: Option<Duration>) -> Option<Duration> {
        wanted.into_iter().chain(self.loads_in).min()
    }

    /// Tells the inboxes of sources that are spread how the other processes stand.
    fn tell_inboxes(&self, running: &Running) {
        let (own, processes) = running.options.place();
        for (number, (source, inbox)) in running.graph.spec.sources.iter().zip(&running.ends.inboxes).enumerate() {
            let Some(inbox) = inbox.as_ref().filter(|_| source.kind.is_spread()) else { continue };
            let others = (0..processes).filter(|process| *process != own);
            let others = others.map(|process| self.remote.get(&(number, process)).copied());
            // Of one that has said nothing yet nobody knows.
            let Some(all) = others.reduce(together).flatten() else { continue };
            let cut = (0..processes).filter_map(|process| self.remote.get(&(number, process))).map(|state| state.cut);
            inbox.others_are(OthersState {
                leftover: all.leftover,
                finished: all.finished && !all.ready,
                cut: BatchId(cut.max().unwrap_or_default()),
            });
        }
    }

    fn announce(&mut self, running: &Running, failed: Option<String>) {
        let Some(input) = &mut self.input else { return };
        let mut loads = loads_of(running, self.last.as_ref());
        let left = self.told_loads.map_or(Duration::ZERO, |told| LOADS_EVERY.saturating_sub(told.elapsed()));
        self.loads_in = None;
        if let Some(last) = self.last.as_ref().filter(|last| !left.is_zero() && last.loads != loads) {
            (loads, self.loads_in) = (last.loads.clone(), Some(left));
        }
        let own = running.ends.inboxes.iter().enumerate().filter_map(|(number, inbox)| {
            let mut state = local(inbox.as_ref()?);
            // Only the fact counts that it is idle long enough; an exact figure would be news all the time.
            state.idle_ms =
                if state.idle_ms >= millstream_base::limits::IDLE_MS { millstream_base::limits::IDLE_MS } else { 0 };
            Some((number, state))
        });
        let inboxes = running.ends.inboxes.iter().enumerate();
        let news = inboxes.filter_map(|(number, inbox)| Some((number, inbox.as_ref()?.news_for_others()?)));
        let announcement = Announcement {
            to: 0,
            process: running.threads.process(),
            news: news.collect(),
            sources: own.collect(),
            loads,
            stop: running.stopping(),
            failed,
        };
        // News count however like the ones before they are.
        if !announcement.news.is_empty() || self.last.as_ref() != Some(&announcement) {
            input.send(announcement.clone());
            self.round += 1;
            input.advance_to(self.round);
            if self.last.as_ref().is_none_or(|last| last.loads != announcement.loads) {
                self.told_loads = Some(Instant::now());
            }
            self.last = Some(announcement);
        }
    }

    /// How things stand with every source after batch `begun` was cut. A source that has not said so much yet, from every
    /// process that receives it, has nothing and is neither finished nor idle. Rows of an earlier start are there until it is said that
    /// they are not.
    pub fn sources(&self, running: &Running, begun: u64) -> Vec<SourceState> {
        let place = running.options.place();
        let sources = running.graph.spec.sources.iter().zip(&running.ends.inboxes).enumerate();
        let state = |(number, (source, inbox)): (usize, (&SourceSpec, &Option<Arc<Inbox>>))| {
            let receives = |process: &usize| source.kind.share(number, (*process, place.1)).is_some();
            let told = |process| match inbox {
                Some(inbox) if process == place.0 => Some(local(inbox)),
                _ => self.remote.get(&(number, process)).copied(),
            };
            let leftover = |process| told(process).is_none_or(|state| state.leftover);
            let leftover = (0..place.1).filter(receives).any(leftover);
            let states = (0..place.1).filter(receives).map(|process| told(process).filter(|state| state.cut == begun));
            let mut all = states.reduce(together).flatten().unwrap_or_default();
            if let Some(inbox) = inbox.as_ref().filter(|_| all.finished && !all.ready) {
                // What it waited for to have its end in a batch.
                inbox.others_are(OthersState { leftover, finished: true, cut: BatchId(begun) });
                all.ready = local(inbox).ready;
            }
            SourceState { leftover, ..all }
        };
        sources.map(state).collect()
    }

    /// Ends the announcements. A failure is told to the other processes first.
    pub fn finish(mut self, worker: &mut Worker, running: &Running) {
        if self.input.is_some() && running.failure.happened() {
            let words = running.failure.error().map_or("it was stopped".to_owned(), |error| error.message);
            self.announce(running, Some(words));
            let deadline = Instant::now() + Duration::from_millis(200);
            while Instant::now() < deadline {
                worker.step_or_park(Some(Duration::from_millis(10)));
            }
        }
    }
}

/// The loads of this process's workers; those that were told last where nothing was decoded since, and as much is to be read.
fn loads_of(running: &Running, last: Option<&Announcement>) -> Vec<Load> {
    let left = |inbox: &Option<Arc<Inbox>>| {
        let Some(inbox) = inbox else { return 0 };
        let state = inbox.state();
        // Who reads on has enough to do, and how much is not known.
        if state.finished || state.idle_ms > 0 { inbox.fill().0 } else { u64::MAX }
    };
    let inboxes: Vec<u64> = running.ends.inboxes.iter().map(left).collect();
    let loads = running.loads.of(running.threads.all(), &inboxes);
    let reads_on = |left: &u64| *left == u64::MAX;
    let no_news = |(a, b): (&Load, &Load)| {
        a.decoded_bytes == b.decoded_bytes && a.left_bytes.iter().map(reads_on).eq(b.left_bytes.iter().map(reads_on))
    };
    let same = |last: &&Announcement| last.loads.len() == loads.len() && last.loads.iter().zip(&loads).all(no_news);
    match last.filter(same) {
        Some(last) => last.loads.clone(),
        None => loads,
    }
}

/// What two processes say of one source, where both have.
fn together(a: Option<SourceState>, b: Option<SourceState>) -> Option<SourceState> {
    let (a, b) = a.zip(b)?;
    Some(SourceState {
        ready: a.ready || b.ready,
        full: a.full || b.full,
        last: a.last && b.last,
        finished: a.finished && b.finished,
        idle_ms: match (a.finished, b.finished) {
            (true, false) => b.idle_ms,
            (false, true) => a.idle_ms,
            _ => a.idle_ms.min(b.idle_ms),
        },
        cut: a.cut,
        leftover: a.leftover || b.leftover,
    })
}

fn local(inbox: &Inbox) -> SourceState {
    let state = inbox.state();
    SourceState {
        ready: state.ready,
        full: state.full,
        last: state.last,
        finished: state.finished,
        idle_ms: state.idle_ms,
        cut: state.cut.0,
        leftover: state.leftover,
    }
}
