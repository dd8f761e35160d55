//! The supervisor of a job with checkpoints: a process that runs the job's worker processes as its children, and starts
//! them again from the last checkpoint when they die, hang or lose each other. It knows nothing of batches, so that
//! whatever goes wrong there does not take it along.
//!
//! A new worker process is started only when all old ones are dead and waited for. That is the fence on this machine; an
//! old one elsewhere is fenced by its generation.

mod child;
mod decide;
pub(crate) mod handover;
mod layout;
pub mod report;
mod scaling;

use super::run::arguments::RunArguments;
use super::run::page_notice::ServedPage;
use super::run::signals;
use child::WorkerProcess;
use decide::{Decision, FailureStreak, JobProgress, WorkerEnd, WorkerExit};
use handover::{Handover, ScaleDesk, ScaleWish};
pub use layout::Layout;
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_runtime::JobLayout;
use millstream_runtime::control::{RunningMark, SupervisorControl};
use report::WorkerReport;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How often the supervisor looks at its children when nothing happens.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the other worker processes have to say why, when one of them failed.
const FAILING_MAX: Duration = Duration::from_secs(1);
/// How long the other worker processes have to end, when process 0 says that the job is done.
const ENDING_MAX: Duration = Duration::from_secs(5);

/// What happens to a supervisor.
enum SupervisorEvent {
    /// A child of this round said something.
    Said { round: u64, child: usize, report: WorkerReport },
    /// A child of this round closed its end.
    Closed { round: u64, child: usize },
    /// SIGINT or SIGTERM.
    Signal,
    /// Somebody wants other workers, or another number of processes.
    Scale(ScaleWish),
}

/// Whether children that are started run, take over from others, or are new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChildStart {
    /// They run the job.
    Runs,
    /// They wait until they are told to take it over.
    TakesOver,
    /// They wait until those on other machines take it over with them.
    New,
}

struct Supervisor<'a> {
    arguments: &'a RunArguments,
    /// The children.
    layout: Layout,
    /// Others that are to take the job over, or have just done so.
    handover: Option<Handover>,
    desk: ScaleDesk,
    /// What somebody wants of a job that does not run yet.
    wanted: Option<ScaleWish>,
    /// The children have said that their job has ended for others that take it over.
    handed: bool,
    /// On which machines process 0 runs the job, where it has just said that these are others.
    elsewhere: Option<JobLayout>,
    program: PathBuf,
    deadline: Option<Instant>,
    sender: Sender<SupervisorEvent>,
    events: Receiver<SupervisorEvent>,
    /// By which it is known which children said something.
    round: u64,
    rounds: u64,
    stopping: bool,
    ran: bool,
    progress: bool,
    /// The furthest batch that children told of, in any start.
    furthest: BatchId,
    /// `--replay-from` of the next children, until their job runs.
    replay_from: Option<u64>,
    /// Who shows how the job stands.
    page: Option<&'a ServedPage>,
}

/// Runs the job in worker processes until it has ended, as `layout` says. Belongs on the main thread: on Linux a child dies with the
/// thread that started it.
pub fn supervise(arguments: &RunArguments, layout: Layout, page: Option<&ServedPage>) -> Result<ExitCode> {
    let (sender, events) = channel();
    let signals = sender.clone();
    signals::watch(signals::end_unheard, move || signals.send(SupervisorEvent::Signal).is_ok())?;
    let program = std::env::current_exe()
        .map_err(|error| Error::environment(format!("the program's own file is not found: {error}")))?;
    let deadline = arguments.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    // Other commands must not take the job for stopped while it is started again.
    let mark = RunningMark::hold(&arguments.job);
    let _mark = mark.map_err(|error| tracing::warn!("cannot announce the job to other commands: {error}"));
    let (desk, scales) = (ScaleDesk::default(), sender.clone());
    let asked = desk.clone();
    let _control = SupervisorControl::listen(&arguments.job, arguments.number().unwrap_or(0), move |question| {
        asked.answer(question, |wish| drop(scales.send(SupervisorEvent::Scale(wish))))
    });
    let (round, rounds, handed, stopping, ran, progress) = (0, 0, false, false, false, false);
    let (handover, wanted, elsewhere, replay_from) = (None, None, None, arguments.replay_from);
    let supervisor = Supervisor {
        arguments,
        layout,
        handover,
        wanted,
        desk,
        handed,
        elsewhere,
        program,
        deadline,
        sender,
        events,
        round,
        rounds,
        stopping,
        ran,
        progress,
        furthest: BatchId(0),
        replay_from,
        page,
    };
    supervisor.run()
}

impl Supervisor<'_> {
    fn run(mut self) -> Result<ExitCode> {
        let mut in_a_row = FailureStreak::new(self.arguments.restarts_max);
        loop {
            self.progress = false;
            // One that is new to a running job waits until it is taken in.
            let standing = if self.arguments.stand_by && !self.ran { ChildStart::New } else { ChildStart::Runs };
            let ends = self.watch(self.start(&self.layout, standing)?);
            if let Some(machines) = self.elsewhere.take() {
                self.goes_to(&machines);
            }
            if let Some(why) = self.without_handover(&ends) {
                tracing::warn!("{why}");
                self.tell(why);
                self.round = self.new_round();
                continue;
            }
            let (ran, progress, stopping) = (self.ran, self.progress, self.stopping || self.late());
            let follows = self.arguments.number().is_some_and(|number| number > 0);
            let facts = JobProgress { ran, progress, stopping, follows };
            match in_a_row.decide(&ends, facts) {
                Decision::Exit(code) => return Ok(ExitCode::from(code)),
                Decision::GiveUp(words) => return Err(Error::environment(words)),
                Decision::Back(batch) => {
                    tracing::info!("going back to the state after batch {batch}; later batches are replayed");
                    self.tell(format!("going back to the state after batch {batch}"));
                    self.replay_from = Some(batch.0);
                    self.furthest = batch;
                }
                Decision::Again(pause, words) => {
                    tracing::warn!("{words}");
                    self.tell(words);
                    if let Some(why) = self.interrupted_within(pause) {
                        tracing::info!("{why}; what was not committed comes when the job is started the next time");
                        return Ok(ExitCode::FAILURE);
                    }
                }
            }
            self.round = self.new_round();
        }
    }

    /// A number that no children had.
    fn new_round(&mut self) -> u64 {
        self.rounds += 1;
        self.rounds
    }

    /// Tells whoever looks at the page.
    fn tell(&self, why: String) {
        if let Some(page) = self.page {
            page.jobs.restarted(&why);
        }
    }

    /// Starts all children; none where one cannot be started.
    fn start(&self, layout: &Layout, standing: ChildStart) -> Result<Vec<WorkerProcess>> {
        let mut children: Vec<WorkerProcess> = Vec::new();
        for (number, process) in layout.numbers.iter().enumerate() {
            let (round, sender) = (self.round, self.sender.clone());
            let say = move |said: Option<WorkerReport>| {
                // Nobody listens any more when the supervisor ends.
                let _ = sender.send(match said {
                    Some(report) => SupervisorEvent::Said { round, child: number, report },
                    None => SupervisorEvent::Closed { round, child: number },
                });
            };
            let (again, key) = (self.round > 0 && standing != ChildStart::TakesOver, layout.key.as_ref());
            let arguments = self.arguments_of(layout, *process, standing);
            match WorkerProcess::start(&self.program, arguments, again, key, say) {
                Ok(child) => children.push(child),
                Err(error) => {
                    for child in &mut children {
                        child.kill();
                        child.wait();
                    }
                    let program = self.program.display();
                    let message = format!("cannot start a worker process ({program}): {error}");
                    return Err(Error::environment(message));
                }
            }
        }
        Ok(children)
    }

    /// Watches the children until all are dead and waited for; how, in that order.
    fn watch(&mut self, mut children: Vec<WorkerProcess>) -> Vec<WorkerEnd> {
        let mut ends: Vec<WorkerEnd> = Vec::new();
        // When those that are left are killed.
        let mut follow: Option<Instant> = None;
        while ends.len() < children.len() {
            let looked = Instant::now();
            match self.events.recv_timeout(LOOK_EVERY) {
                Ok(SupervisorEvent::Said { round, child, report }) if round == self.round => {
                    if report == WorkerReport::Running {
                        // The job is claimed as it was asked for: a restart goes on from there by itself.
                        (self.ran, self.replay_from) = (true, None);
                        self.page.into_iter().for_each(|page| page.notice.show());
                    }
                    if let WorkerReport::Progress(batch) = report {
                        // What is committed again after a restart, as a sink does not remember it, brings the job no further.
                        self.progress |= batch > self.furthest;
                        self.furthest = self.furthest.max(batch);
                    }
                    children.iter_mut().skip(child).take(1).for_each(|child| child.said(&report));
                    self.said(child, report, &children);
                }
                Ok(SupervisorEvent::Closed { round, child }) if round == self.round => {
                    for ended in children.iter_mut().skip(child).take(1) {
                        let end = WorkerEnd { child, how: ended.wait() };
                        ends.push(end);
                        let due = grace(end).and_then(|grace| looked.checked_add(grace));
                        follow = [follow, due].into_iter().flatten().min();
                    }
                }
                Ok(SupervisorEvent::Said { round, child, report }) => {
                    self.new_said(round, child, &report, &children);
                }
                Ok(SupervisorEvent::Closed { round, child }) => self.new_closed(round, child, &children),
                Ok(SupervisorEvent::Signal) => {
                    self.stopping = true;
                    if let Some(mut handover) = self.handover.take_if(|handover| !handover.is_taking_over()) {
                        handover.give_up("the job is stopped");
                    }
                    children.iter().for_each(WorkerProcess::terminate);
                }
                Ok(SupervisorEvent::Scale(wish)) => self.wanted = Some(wish),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            let runs = self.ran && ends.is_empty();
            self.desk.set_runs(runs);
            if let Some(wish) = self.wanted.take_if(|_| runs || self.stopping) {
                self.scale(wish, &children);
            }
            self.follow_handover(&mut children);
            // No more than two looks: when the supervisor itself stood still, the children's beats wait to be read.
            let passed = looked.elapsed().min(2 * LOOK_EVERY);
            let due = follow.is_some_and(|follow| follow <= Instant::now());
            for child in &mut children {
                child.look(passed);
                if due {
                    child.follow();
                }
            }
            if let Some(handover) = &mut self.handover {
                handover.children.iter_mut().for_each(|child| child.look(passed));
                if ends.len() == children.len() && all_done(&ends) {
                    let next = handover.take_over();
                    if !next.is_empty() {
                        (children, follow, self.round, self.handed) = (next, None, handover.round, false);
                        ends.clear();
                    }
                }
            }
        }
        ends
    }

    /// Whether the time of `--timeout` has passed.
    fn late(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Waits; why there is to be no other start, if that comes first.
    fn interrupted_within(&mut self, pause: Duration) -> Option<&'static str> {
        let pause_ends = Instant::now() + pause;
        let until = self.deadline.map_or(pause_ends, |deadline| deadline.min(pause_ends));
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(SupervisorEvent::Signal) => return Some("stopped"),
                Ok(SupervisorEvent::Scale(wish)) => self.wanted = Some(wish),
                Ok(_) => {}
                Err(_) => return self.late().then_some("--timeout has expired; stopped"),
            }
        }
    }

    /// The arguments of a child. What is to be done once is not asked again once the job was running; before, nobody
    /// knows whether it was done.
    fn arguments_of(&self, layout: &Layout, process: Option<usize>, standing: ChildStart) -> Vec<OsString> {
        let given = self.arguments;
        let mut all: Vec<OsString> = vec!["run".into()];
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                all.push(format!("--{name}={value}").into());
            }
        };
        add("workers", layout.workers.map(|workers| workers.to_string()));
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        add("timeout", left.map(|left| format!("{}us", left.as_micros())));
        add("limit", given.limit.map(|rows| rows.to_string()));
        for (key, value) in &given.sets {
            add("set", Some(format!("{key}={value}")));
        }
        add("processes", layout.processes.map(|processes| processes.to_string()));
        add("process", process.or(given.number()).map(|process| process.to_string()));
        add("hosts", (!layout.hosts.is_empty()).then(|| layout.hosts.join(",")));
        add("listen", given.listen.clone());
        add("layout", (layout.given != 0).then(|| layout.given.to_string()));
        add("replay-from", self.replay_from.map(|batch| batch.to_string()));
        if !self.ran {
            add("resume-from", given.resume_from.map(|batch| batch.to_string()));
            for name in &given.drop_state {
                add("drop-state", Some(name.clone()));
            }
        }
        let flags = [
            ("--quiet", given.quiet),
            ("--until-idle", given.until_idle),
            ("--fresh", given.fresh && !self.ran),
            ("--stand-by", standing == ChildStart::New),
            ("--takes-over", standing == ChildStart::TakesOver),
        ];
        all.extend(flags.into_iter().filter(|(_, given)| *given).map(|(name, _)| name.into()));
        if let Some(folder) = &given.cluster_tls {
            all.extend(["--cluster-tls".into(), folder.clone().into()]);
        }
        all.extend(["--".into(), given.job.clone().into()]);
        all
    }
}

/// Whether all children have ended well.
fn all_done(ends: &[WorkerEnd]) -> bool {
    ends.iter().all(|end| matches!(end.how, WorkerExit::Done(0)))
}

/// How long the others may go on after such an end; `None`: for as long as they need.
fn grace(end: WorkerEnd) -> Option<Duration> {
    match end.how {
        WorkerExit::Done(_) | WorkerExit::Back(_) if end.child == 0 => Some(ENDING_MAX),
        WorkerExit::Done(_) | WorkerExit::Back(_) => None,
        // timely aborts where a peer that failed with an error of its own is gone.
        WorkerExit::Failed(..) | WorkerExit::Silent(_) | WorkerExit::Died(libc::SIGABRT) => Some(FAILING_MAX),
        WorkerExit::Died(_) | WorkerExit::Hung | WorkerExit::Followed => Some(Duration::ZERO),
    }
}
