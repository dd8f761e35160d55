//! The states of sources that worker 0 needs, whichever process receives them. Within one process they come from the inboxes. Between processes, the
//! first worker of each announces them to all.

use crate::running::Running;
use crate::running::loads::Load;
use millstream_base::error::{Error, Kind};
use millstream_base::ids::BatchId;
use millstream_job::spec::SourceSpec;
use millstream_rows::inbox::{Inbox, PartitionReport, PeersState};
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

/// The state of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceState {
    /// A batch would take something from it.
    pub ready: bool,
    /// A complete batch waits, and the source accepts no more.
    pub full: bool,
    /// It will receive nothing more, and a batch takes everything that waits.
    pub last: bool,
    /// It will receive nothing more.
    pub finished: bool,
    /// For how long it has had nothing to read.
    pub idle_ms: u64,
    /// The last batch that took from it; the state is as of after that.
    pub cut: u64,
    /// It still has rows that an earlier run received.
    pub leftover: bool,
}

/// The state of a process, as sent to the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Announcement {
    to: u64,
    process: usize,
    /// The sources that the process receives, by number.
    sources: Vec<(usize, SourceState)>,
    /// Updates of the process about partitions of distributed sources, by number, each sent only once.
    news: Vec<(usize, PartitionReport)>,
    /// The loads of the process's workers, in their order.
    loads: Vec<Load>,
    stop: bool,
    failed: Option<String>,
}

/// Minimum interval between reports of loads, which change all the time.
const LOADS_EVERY: Duration = Duration::from_millis(20);

type AnnouncementInput = InputHandle<u64, CapacityContainerBuilder<Vec<Announcement>>>;

/// A worker's end of the announcements.
pub struct Announcer {
    /// Set on the first worker of each process, if there are several.
    input: Option<AnnouncementInput>,
    last: Option<Announcement>,
    /// When loads were last sent.
    loads_sent: Option<Instant>,
    /// There are newer loads, to be sent after this time.
    loads_in: Option<Duration>,
    received: Rc<RefCell<Vec<Announcement>>>,
    /// The states that other processes reported, by source and process.
    remote: BTreeMap<(usize, usize), SourceState>,
    round: u64,
}

impl Announcer {
    /// Builds the stream of announcements if there are several processes.
    pub fn build(worker: &mut Worker, running: &Running) -> Announcer {
        let received = Rc::new(RefCell::new(Vec::new()));
        let mut announcer = Announcer {
            input: None,
            last: None,
            loads_sent: None,
            loads_in: None,
            received: received.clone(),
            remote: BTreeMap::new(),
            round: 0,
        };
        if running.options.cluster.is_none() {
            return announcer;
        }
        let peers = worker.peers() as u64;
        let mut input = AnnouncementInput::new();
        worker.dataflow::<u64, _, _>(|scope| {
            let process_states: Stream<'_, u64, Vec<Announcement>> = input
                .to_stream(scope)
                .flat_map(move |announcement: Announcement| {
                    (0..peers).map(move |to| Announcement { to, ..announcement.clone() })
                })
                .exchange(|announcement: &Announcement| announcement.to);
            process_states.map(move |announcement| received.borrow_mut().push(announcement));
        });
        if worker.index() == running.threads.first {
            announcer.input = Some(input);
            running.loads.report_from_this_thread();
        }
        announcer
    }

    /// Announces what changed in this process, and applies the announcements of others.
    pub fn exchange(&mut self, running: &Running) {
        if let Some(error) = running.endpoints.inboxes.iter().flatten().find_map(|inbox| inbox.state().failed) {
            running.failure.set(error);
        }
        if running.options.cluster.is_none() {
            return;
        }
        self.announce(running, None);
        let own = running.threads.process();
        for announcement in self.received.borrow_mut().drain(..) {
            let process = announcement.process;
            let process_states = announcement.sources.into_iter().filter(|_| process != own);
            self.remote.extend(process_states.map(|(number, state)| ((number, process), state)));
            // All workers receive it, and one per process forwards it.
            let loads = announcement.loads.iter().filter(|_| process != own && self.input.is_some());
            for (worker, load) in (process * running.threads.count..).zip(loads).take(running.threads.count) {
                running.loads.set_remote(worker, load);
            }
            for (number, news) in announcement.news.into_iter().filter(|_| process != own && self.input.is_some()) {
                running
                    .endpoints
                    .inboxes
                    .get(number)
                    .into_iter()
                    .flatten()
                    .for_each(|inbox| inbox.apply_peer_report(news.clone()));
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
            self.update_inboxes(running);
        }
    }

    /// Returns how long the worker may sleep at most, so that others get updates in time.
    pub fn sleep(&self, timeout: Option<Duration>) -> Option<Duration> {
        timeout.into_iter().chain(self.loads_in).min()
    }

    /// Updates the inboxes of distributed sources with the states of the other processes.
    fn update_inboxes(&self, running: &Running) {
        let (own, processes) = running.options.process_and_count();
        for (number, (source, inbox)) in running.graph.spec.sources.iter().zip(&running.endpoints.inboxes).enumerate() {
            let Some(inbox) = inbox.as_ref().filter(|_| source.kind.is_spread()) else { continue };
            let others = (0..processes).filter(|process| *process != own);
            let others = others.map(|process| self.remote.get(&(number, process)).copied());
            // If one of them has reported nothing yet, the state is unknown.
            let Some(all) = others.reduce(combine).flatten() else { continue };
            let cut = (0..processes).filter_map(|process| self.remote.get(&(number, process))).map(|state| state.cut);
            inbox.set_peers_state(PeersState {
                leftover: all.leftover,
                finished: all.finished && !all.ready,
                cut: BatchId(cut.max().unwrap_or_default()),
            });
        }
    }

    fn announce(&mut self, running: &Running, failed: Option<String>) {
        let Some(input) = &mut self.input else { return };
        let mut loads = loads_of(running, self.last.as_ref());
        let left = self
            .loads_sent
            .map_or(Duration::ZERO, |process_states| LOADS_EVERY.saturating_sub(process_states.elapsed()));
        self.loads_in = None;
        if let Some(last) = self.last.as_ref().filter(|last| !left.is_zero() && last.loads != loads) {
            (loads, self.loads_in) = (last.loads.clone(), Some(left));
        }
        let own = running.endpoints.inboxes.iter().enumerate().filter_map(|(number, inbox)| {
            let mut state = local(inbox.as_ref()?);
            // Only whether it is idle long enough matters; an exact figure would change all the time.
            state.idle_ms =
                if state.idle_ms >= millstream_base::limits::IDLE_MS { millstream_base::limits::IDLE_MS } else { 0 };
            Some((number, state))
        });
        let inboxes = running.endpoints.inboxes.iter().enumerate();
        let news = inboxes.filter_map(|(number, inbox)| Some((number, inbox.as_ref()?.take_peer_report()?)));
        let announcement = Announcement {
            to: 0,
            process: running.threads.process(),
            news: news.collect(),
            sources: own.collect(),
            loads,
            stop: running.stopping(),
            failed,
        };
        // Partition updates are sent even if they equal the previous ones.
        if !announcement.news.is_empty() || self.last.as_ref() != Some(&announcement) {
            input.send(announcement.clone());
            self.round += 1;
            input.advance_to(self.round);
            if self.last.as_ref().is_none_or(|last| last.loads != announcement.loads) {
                self.loads_sent = Some(Instant::now());
            }
            self.last = Some(announcement);
        }
    }

    /// Returns the state of every source after batch `begun` was cut. Until every receiving process has reported that batch, a source is neither
    /// ready nor finished nor idle. Rows of an earlier run count as left over until all processes report that none are.
    pub fn sources(&self, running: &Running, begun: u64) -> Vec<SourceState> {
        let own_process = running.options.process_and_count();
        let sources = running.graph.spec.sources.iter().zip(&running.endpoints.inboxes).enumerate();
        let state = |(number, (source, inbox)): (usize, (&SourceSpec, &Option<Arc<Inbox>>))| {
            let receives = |process: &usize| source.kind.share(number, (*process, own_process.1)).is_some();
            let process_states = |process| match inbox {
                Some(inbox) if process == own_process.0 => Some(local(inbox)),
                _ => self.remote.get(&(number, process)).copied(),
            };
            let leftover = |process| process_states(process).is_none_or(|state| state.leftover);
            let leftover = (0..own_process.1).filter(receives).any(leftover);
            let states = (0..own_process.1)
                .filter(receives)
                .map(|process| process_states(process).filter(|state| state.cut == begun));
            let mut all = states.reduce(combine).flatten().unwrap_or_default();
            if let Some(inbox) = inbox.as_ref().filter(|_| all.finished && !all.ready) {
                // It waited for this before a batch could take its end.
                inbox.set_peers_state(PeersState { leftover, finished: true, cut: BatchId(begun) });
                all.ready = local(inbox).ready;
            }
            SourceState { leftover, ..all }
        };
        sources.map(state).collect()
    }

    /// Ends the announcements. A failure is first reported to the other processes.
    pub fn finish(mut self, worker: &mut Worker, running: &Running) {
        if self.input.is_some() && running.failure.happened() {
            let reason = running.failure.error().map_or("it was stopped".to_owned(), |error| error.message);
            self.announce(running, Some(reason));
            let deadline = Instant::now() + Duration::from_millis(200);
            while Instant::now() < deadline {
                worker.step_or_park(Some(Duration::from_millis(10)));
            }
        }
    }
}

/// Returns the loads of this process's workers. These are the last ones sent if nothing was decoded since and the bytes left to read are the same.
fn loads_of(running: &Running, last: Option<&Announcement>) -> Vec<Load> {
    let left = |inbox: &Option<Arc<Inbox>>| {
        let Some(inbox) = inbox else { return 0 };
        let state = inbox.state();
        // While it reads, there is enough to do, and the amount is unknown.
        if state.finished || state.idle_ms > 0 { inbox.fill().0 } else { u64::MAX }
    };
    let inboxes: Vec<u64> = running.endpoints.inboxes.iter().map(left).collect();
    let loads = running.loads.current(running.threads.all(), &inboxes);
    let reads_on = |left: &u64| *left == u64::MAX;
    let unchanged = |(a, b): (&Load, &Load)| {
        a.decoded_bytes == b.decoded_bytes && a.left_bytes.iter().map(reads_on).eq(b.left_bytes.iter().map(reads_on))
    };
    let same = |last: &&Announcement| last.loads.len() == loads.len() && last.loads.iter().zip(&loads).all(unchanged);
    match last.filter(same) {
        Some(last) => last.loads.clone(),
        None => loads,
    }
}

/// Combines the states of one source in two processes, if both are known.
fn combine(a: Option<SourceState>, b: Option<SourceState>) -> Option<SourceState> {
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
