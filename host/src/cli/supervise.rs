//! The supervisor of a job with checkpoints. It runs the job's worker processes as its children. It restarts them from
//! the last checkpoint when they die, stop responding or lose each other. It handles no batches, so an error in a batch
//! does not affect it.
//!
//! A new worker process is started only after all old ones have exited and were waited for. This is the fence on this
//! machine. An old process on another machine is fenced by its generation.

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
use handover::{Handover, ScaleDesk, ScaleRequest};
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

/// How often the supervisor checks its children if no event arrives.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long the other worker processes may take to report the cause after one of them failed.
const FAILING_MAX: Duration = Duration::from_secs(1);
/// How long the other worker processes may take to exit after process 0 has reported that the job is done.
const ENDING_MAX: Duration = Duration::from_secs(5);

/// An event for the supervisor.
enum SupervisorEvent {
    /// A child of this round sent a report.
    Said { round: u64, child: usize, report: WorkerReport },
    /// A child of this round closed its end of the socket.
    Closed { round: u64, child: usize },
    /// SIGINT or SIGTERM.
    Signal,
    /// A client requests other workers, or another number of processes.
    Scale(ScaleRequest),
}

/// In which role children are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChildStart {
    /// They run the job immediately.
    Runs,
    /// They wait for the order to take the job over.
    TakesOver,
    /// They wait until the processes on other machines take the job over together with them.
    New,
}

struct Supervisor<'a> {
    arguments: &'a RunArguments,
    /// The processes that the children are.
    layout: Layout,
    /// The new processes that are to take the job over, or have just done so.
    handover: Option<Handover>,
    desk: ScaleDesk,
    /// A scale request that arrived before the job runs.
    wanted: Option<ScaleRequest>,
    /// Whether the children have reported that their job ended for a handover.
    handed: bool,
    /// The machines on which process 0 runs the job, if it has just reported other ones.
    elsewhere: Option<JobLayout>,
    program: PathBuf,
    deadline: Option<Instant>,
    sender: Sender<SupervisorEvent>,
    events: Receiver<SupervisorEvent>,
    /// Identifies the current children in events.
    round: u64,
    rounds: u64,
    stopping: bool,
    ran: bool,
    progress: bool,
    /// The furthest batch that children have reported, over all startups.
    furthest: BatchId,
    /// `--replay-from` for the next children, until their job runs.
    replay_from: Option<u64>,
    /// The page that shows the job status.
    page: Option<&'a ServedPage>,
}

/// Runs the job in worker processes as described by `layout`, until it has ended. Call it on the main thread: on Linux
/// a child dies with the thread that started it.
pub fn supervise(arguments: &RunArguments, layout: Layout, page: Option<&ServedPage>) -> Result<ExitCode> {
    let (sender, events) = channel();
    let signals = sender.clone();
    signals::watch(signals::exit_unstoppable, move || signals.send(SupervisorEvent::Signal).is_ok())?;
    let program = std::env::current_exe()
        .map_err(|error| Error::environment(format!("the program's own file is not found: {error}")))?;
    let deadline = arguments.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    // Without the mark, other commands would consider the job stopped while it restarts.
    let mark = RunningMark::hold(&arguments.job);
    let _mark = mark.map_err(|error| tracing::warn!("cannot announce the job to other commands: {error}"));
    let (desk, scales) = (ScaleDesk::default(), sender.clone());
    let handler_desk = desk.clone();
    let _control = SupervisorControl::listen(&arguments.job, arguments.number().unwrap_or(0), move |question| {
        handler_desk.handle(question, |request| drop(scales.send(SupervisorEvent::Scale(request))))
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
            // A process that joins a running job waits until it is admitted.
            let role = if self.arguments.stand_by && !self.ran { ChildStart::New } else { ChildStart::Runs };
            let ends = self.watch(self.start(&self.layout, role)?);
            if let Some(machines) = self.elsewhere.take() {
                self.move_to(&machines);
            }
            if let Some(why) = self.without_handover(&ends) {
                tracing::warn!("{why}");
                self.show_restart(why);
                self.round = self.new_round();
                continue;
            }
            let (ran, progress, stopping) = (self.ran, self.progress, self.stopping || self.is_timed_out());
            let follows = self.arguments.number().is_some_and(|number| number > 0);
            let facts = JobProgress { ran, progress, stopping, follows };
            match in_a_row.decide(&ends, facts) {
                Decision::Exit(code) => return Ok(ExitCode::from(code)),
                Decision::GiveUp(message) => return Err(Error::environment(message)),
                Decision::Back(batch) => {
                    tracing::info!("going back to the state after batch {batch}; later batches are replayed");
                    self.show_restart(format!("going back to the state after batch {batch}"));
                    self.replay_from = Some(batch.0);
                    self.furthest = batch;
                }
                Decision::Again(pause, message) => {
                    tracing::warn!("{message}");
                    self.show_restart(message);
                    if let Some(why) = self.interrupted_within(pause) {
                        tracing::info!("{why}; uncommitted rows follow in the next run");
                        return Ok(ExitCode::FAILURE);
                    }
                }
            }
            self.round = self.new_round();
        }
    }

    /// Returns a number that no children have had.
    fn new_round(&mut self) -> u64 {
        self.rounds += 1;
        self.rounds
    }

    /// Shows the reason of a restart on the page.
    fn show_restart(&self, why: String) {
        if let Some(page) = self.page {
            page.jobs.record_restart(&why);
        }
    }

    /// Starts all children. If one cannot be started, none is left running.
    fn start(&self, layout: &Layout, role: ChildStart) -> Result<Vec<WorkerProcess>> {
        let mut children: Vec<WorkerProcess> = Vec::new();
        for (number, process) in layout.numbers.iter().enumerate() {
            let (round, sender) = (self.round, self.sender.clone());
            let say = move |worker_report: Option<WorkerReport>| {
                // The receiver is dropped when the supervisor ends.
                let _ = sender.send(match worker_report {
                    Some(report) => SupervisorEvent::Said { round, child: number, report },
                    None => SupervisorEvent::Closed { round, child: number },
                });
            };
            let (again, key) = (self.round > 0 && role != ChildStart::TakesOver, layout.key.as_ref());
            let arguments = self.arguments_of(layout, *process, role);
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

    /// Watches the children until all have exited and were waited for. Returns their exits in that order.
    fn watch(&mut self, mut children: Vec<WorkerProcess>) -> Vec<WorkerEnd> {
        let mut ends: Vec<WorkerEnd> = Vec::new();
        // When the remaining children are killed.
        let mut follow: Option<Instant> = None;
        while ends.len() < children.len() {
            let polled_at = Instant::now();
            match self.events.recv_timeout(POLL_INTERVAL) {
                Ok(SupervisorEvent::Said { round, child, report }) if round == self.round => {
                    if report == WorkerReport::Running {
                        // The job has recorded the requested start: a restart continues from there automatically.
                        (self.ran, self.replay_from) = (true, None);
                        self.page.into_iter().for_each(|page| page.notice.show());
                    }
                    if let WorkerReport::Progress(batch) = report {
                        // A sink may commit batches again after a restart. These are no progress of the job.
                        self.progress |= batch > self.furthest;
                        self.furthest = self.furthest.max(batch);
                    }
                    children.iter_mut().skip(child).take(1).for_each(|child| child.handle_report(&report));
                    self.handle_report(child, report, &children);
                }
                Ok(SupervisorEvent::Closed { round, child }) if round == self.round => {
                    for ended in children.iter_mut().skip(child).take(1) {
                        let end = WorkerEnd { child, how: ended.wait() };
                        ends.push(end);
                        let due = grace(end).and_then(|grace| polled_at.checked_add(grace));
                        follow = [follow, due].into_iter().flatten().min();
                    }
                }
                Ok(SupervisorEvent::Said { round, child, report }) => {
                    self.handle_new_report(round, child, &report, &children);
                }
                Ok(SupervisorEvent::Closed { round, child }) => self.new_closed(round, child, &children),
                Ok(SupervisorEvent::Signal) => {
                    self.stopping = true;
                    if let Some(mut handover) = self.handover.take_if(|handover| !handover.is_taking_over()) {
                        handover.give_up("the job is stopped");
                    }
                    children.iter().for_each(WorkerProcess::terminate);
                }
                Ok(SupervisorEvent::Scale(request)) => self.wanted = Some(request),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            let runs = self.ran && ends.is_empty();
            self.desk.set_runs(runs);
            if let Some(request) = self.wanted.take_if(|_| runs || self.stopping) {
                self.scale(request, &children);
            }
            self.follow_handover(&mut children);
            // At most two intervals: if the supervisor itself was suspended, the children's beats are still unread.
            let passed = polled_at.elapsed().min(2 * POLL_INTERVAL);
            let due = follow.is_some_and(|follow| follow <= Instant::now());
            for child in &mut children {
                child.check(passed);
                if due {
                    child.follow();
                }
            }
            if let Some(handover) = &mut self.handover {
                handover.children.iter_mut().for_each(|child| child.check(passed));
                if ends.len() == children.len() && all_succeeded(&ends) {
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

    /// Returns whether the time of `--timeout` has passed.
    fn is_timed_out(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Waits for `pause`. Returns early with the reason if there must be no other start.
    fn interrupted_within(&mut self, pause: Duration) -> Option<&'static str> {
        let pause_ends = Instant::now() + pause;
        let until = self.deadline.map_or(pause_ends, |deadline| deadline.min(pause_ends));
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(SupervisorEvent::Signal) => return Some("stopped"),
                Ok(SupervisorEvent::Scale(request)) => self.wanted = Some(request),
                Ok(_) => {}
                Err(_) => return self.is_timed_out().then_some("--timeout has expired; stopped"),
            }
        }
    }

    /// Returns the arguments of a child. One-time options are not passed again once the job has run. Before that it is
    /// unknown whether they took effect.
    fn arguments_of(&self, layout: &Layout, process: Option<usize>, role: ChildStart) -> Vec<OsString> {
        let options = self.arguments;
        let mut all: Vec<OsString> = vec!["run".into()];
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                all.push(format!("--{name}={value}").into());
            }
        };
        add("workers", layout.workers.map(|workers| workers.to_string()));
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        add("timeout", left.map(|left| format!("{}us", left.as_micros())));
        add("limit", options.limit.map(|rows| rows.to_string()));
        for (key, value) in &options.sets {
            add("set", Some(format!("{key}={value}")));
        }
        add("processes", layout.processes.map(|processes| processes.to_string()));
        add("process", process.or(options.number()).map(|process| process.to_string()));
        add("hosts", (!layout.hosts.is_empty()).then(|| layout.hosts.join(",")));
        add("listen", options.listen.clone());
        add("layout", (layout.given != 0).then(|| layout.given.to_string()));
        add("replay-from", self.replay_from.map(|batch| batch.to_string()));
        if !self.ran {
            add("resume-from", options.resume_from.map(|batch| batch.to_string()));
            for name in &options.drop_state {
                add("drop-state", Some(name.clone()));
            }
        }
        let flags = [
            ("--quiet", options.quiet),
            ("--until-idle", options.until_idle),
            ("--fresh", options.fresh && !self.ran),
            ("--stand-by", role == ChildStart::New),
            ("--takes-over", role == ChildStart::TakesOver),
        ];
        all.extend(flags.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name.into()));
        if let Some(dir) = &options.cluster_tls {
            all.extend(["--cluster-tls".into(), dir.clone().into()]);
        }
        all.extend(["--".into(), options.job.clone().into()]);
        all
    }
}

/// Returns whether all children have ended successfully.
fn all_succeeded(ends: &[WorkerEnd]) -> bool {
    ends.iter().all(|end| matches!(end.how, WorkerExit::Done(0)))
}

/// Returns how long the other processes may run after this exit. `None` means no limit.
fn grace(end: WorkerEnd) -> Option<Duration> {
    match end.how {
        WorkerExit::Done(_) | WorkerExit::Back(_) if end.child == 0 => Some(ENDING_MAX),
        WorkerExit::Done(_) | WorkerExit::Back(_) => None,
        // timely aborts if a peer has exited with an error of its own.
        WorkerExit::Failed(..) | WorkerExit::Unreported(_) | WorkerExit::Died(libc::SIGABRT) => Some(FAILING_MAX),
        WorkerExit::Died(_) | WorkerExit::Hung | WorkerExit::Followed => Some(Duration::ZERO),
    }
}
