//! What a supervisor does after worker processes have exited: pure decisions.

use crate::program_limits::{RESTART_PAUSE_MS, RESTART_PAUSE_MS_MAX};
use millstream_base::error::{Kind, MEMORY_EXIT_CODE};
use millstream_base::ids::BatchId;
use std::time::Duration;

/// How a worker process exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerExit {
    /// The job has ended successfully, or was stopped immediately. The value is the exit code.
    Done(u8),
    /// The job has ended successfully, and is to resume from the checkpoint after this batch.
    Back(BatchId),
    /// It printed an error, and exited with this code.
    Failed(Kind, u8),
    /// It was killed by this signal.
    Died(i32),
    /// It did not respond and was killed.
    Hung,
    /// It exited with this code without a report: a panic.
    Unreported(u8),
    /// It was killed because another process had exited.
    Followed,
}

/// The exit of a worker process.
#[derive(Clone, Copy, Debug)]
pub struct WorkerEnd {
    /// The index of the process among the children of the supervisor.
    pub child: usize,
    /// How it exited.
    pub how: WorkerExit,
}

/// What is known in addition to the exits.
#[derive(Clone, Copy, Debug)]
pub struct JobProgress {
    /// Whether the job has run at least once.
    pub ran: bool,
    /// Whether batches were committed since the last startup.
    pub progress: bool,
    /// Whether a signal requested the supervisor to stop.
    pub stopping: bool,
    /// Whether process 0, which decides the generation of the job, is on another machine.
    pub follows: bool,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Exit with this code.
    Exit(u8),
    /// Fail with this message.
    GiveUp(String),
    /// Restart after this pause, with a line for the log.
    Again(Duration, String),
    /// Restart from the checkpoint after this batch.
    Back(BatchId),
}

/// Counts consecutive failures without a committed batch.
#[derive(Clone, Copy, Debug)]
pub struct FailureStreak {
    failures: u32,
    max: u32,
}

impl FailureStreak {
    /// Creates an empty streak of at most `max` failures.
    pub fn new(max: u32) -> FailureStreak {
        FailureStreak { failures: 0, max }
    }

    /// Decides after all worker processes have exited. `ends` are in the order of the exits.
    pub fn decide(&mut self, ends: &[WorkerEnd], facts: JobProgress) -> Decision {
        let permanent_code = |end: &WorkerEnd| match end.how {
            // A panic in a thread is a bug. If it persists, it fails the job after some retries.
            WorkerExit::Failed(Kind::Environment | Kind::Peer | Kind::Bug, _) => None,
            // The others may have continued while this machine was suspended. If process 0 is here, the job was started
            // a second time elsewhere. Two instances would take the job from each other indefinitely.
            WorkerExit::Failed(Kind::TakenOver, _) if facts.follows => None,
            WorkerExit::Failed(_, code) => Some(code),
            // It had only time for its message. It needs more memory than the limit, and would again.
            WorkerExit::Unreported(MEMORY_EXIT_CODE) => Some(MEMORY_EXIT_CODE),
            _ => None,
        };
        if let Some(code) = ends.iter().find_map(permanent_code) {
            return Decision::Exit(code);
        }
        if let Some(WorkerExit::Back(batch)) = ends.iter().find(|end| end.child == 0).map(|end| end.how) {
            return match facts.stopping {
                false => Decision::Back(batch),
                true => Decision::GiveUp(format!(
                    "it was stopped before it could go back; start it with `--replay-from {batch}`"
                )),
            };
        }
        // Worker process 0 commits, so the job is done when it reports that.
        if let Some(WorkerExit::Done(code)) = ends.iter().find(|end| end.child == 0).map(|end| end.how) {
            return Decision::Exit(code);
        }
        let Some(first) = first_failure(ends) else { return Decision::Exit(1) };
        let what = describe_failure(ends);
        match first.how {
            // The operator of the other process sees its message. This process waits for its return, however often it
            // fails.
            WorkerExit::Failed(Kind::Peer, _) if !facts.stopping && ends.len() == 1 => {
                let pause = Duration::from_millis(RESTART_PAUSE_MS);
                let restart = "restarting the worker process, which waits for the others";
                Decision::Again(pause, format!("another process of the job is lost; {restart}"))
            }
            WorkerExit::Failed(Kind::TakenOver, _) if !facts.stopping => {
                self.restart("the job continued without this process", ends.len(), facts.progress)
            }
            WorkerExit::Failed(_, code) | WorkerExit::Unreported(code) if facts.stopping || !facts.ran => {
                Decision::Exit(code)
            }
            _ if facts.stopping => {
                let rest = "uncommitted rows follow in the next run";
                Decision::GiveUp(format!("{what} while it stopped; {rest}"))
            }
            _ => self.restart(&what, ends.len(), facts.progress),
        }
    }

    fn restart(&mut self, what: &str, children: usize, progress: bool) -> Decision {
        if progress {
            self.failures = 0;
        }
        if self.failures >= self.max {
            return Decision::GiveUp(format!(
                "{what}; it was restarted {} times without a committed batch, so the job has failed; fix the cause \
                 and restart the job: it resumes from the last checkpoint",
                self.max
            ));
        }
        let pause =
            RESTART_PAUSE_MS.checked_shl(self.failures).map_or(RESTART_PAUSE_MS_MAX, |ms| ms.min(RESTART_PAUSE_MS_MAX));
        self.failures += 1;
        let pause = Duration::from_millis(pause);
        let which = if children > 1 { format!("all {children}") } else { "it".into() };
        Decision::Again(
            pause,
            format!(
                "{what}; restarting {which} from the last checkpoint in {} s ({} of {})",
                pause.as_secs_f64(),
                self.failures,
                self.max
            ),
        )
    }
}

/// Returns the first exit that is a failure. Prefers one that was not caused by another failure.
fn first_failure(ends: &[WorkerEnd]) -> Option<&WorkerEnd> {
    let is_failure =
        |end: &&WorkerEnd| !matches!(end.how, WorkerExit::Followed | WorkerExit::Done(_) | WorkerExit::Back(_));
    let lost_another = |end: &&WorkerEnd| matches!(end.how, WorkerExit::Failed(Kind::Peer, _));
    let failures = || ends.iter().filter(is_failure);
    failures().find(|end| !lost_another(end)).or_else(|| failures().next())
}

/// Returns a message that describes the failure.
pub fn describe_failure(ends: &[WorkerEnd]) -> String {
    let Some(end) = first_failure(ends) else { return "the worker process ended".into() };
    let name =
        if ends.len() > 1 || end.child > 0 { format!("worker process {}", end.child) } else { "worker process".into() };
    match end.how {
        WorkerExit::Died(signal) => format!("{name} died (signal {signal})"),
        WorkerExit::Hung => format!("{name} does not respond and was killed"),
        WorkerExit::Unreported(code) => format!("{name} ended unexpectedly (exit code {code})"),
        _ => format!("{name} failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program_limits::RESTARTS_MAX;

    const RUNNING: JobProgress = JobProgress { ran: true, progress: false, stopping: false, follows: false };

    fn decide(hows: &[(usize, WorkerExit)], facts: JobProgress) -> Decision {
        let ends: Vec<_> = hows.iter().map(|(child, how)| WorkerEnd { child: *child, how: *how }).collect();
        FailureStreak::new(RESTARTS_MAX).decide(&ends, facts)
    }

    fn restart(hows: &[(usize, WorkerExit)], facts: JobProgress) -> Option<String> {
        match decide(hows, facts) {
            Decision::Again(_, message) => Some(message),
            _ => None,
        }
    }

    #[test]
    fn deaths_and_failures_of_the_environment_are_restarted() {
        assert_eq!(
            restart(&[(0, WorkerExit::Died(9))], RUNNING).unwrap(),
            "worker process died (signal 9); restarting it from the last checkpoint in 0.1 s (1 of 10)"
        );
        assert_eq!(
            restart(&[(1, WorkerExit::Hung), (0, WorkerExit::Followed)], RUNNING).unwrap(),
            "worker process 1 does not respond and was killed; restarting all 2 from the last checkpoint in 0.1 s \
             (1 of 10)"
        );
        assert!(restart(&[(0, WorkerExit::Failed(Kind::Environment, 1))], RUNNING).is_some());
        assert!(restart(&[(0, WorkerExit::Failed(Kind::Bug, 1))], RUNNING).is_some(), "a panic in a thread");
        assert!(restart(&[(0, WorkerExit::Unreported(101))], RUNNING).is_some());
        // The other processes report that they are done when ordered to, but only process 0 commits.
        assert!(restart(&[(1, WorkerExit::Done(0)), (0, WorkerExit::Died(6))], RUNNING).is_some());
    }

    #[test]
    fn a_process_that_loses_others_waits_for_them_as_often_as_they_go() {
        let lost = [(0, WorkerExit::Failed(Kind::Peer, 1))];
        let starting = JobProgress { ran: false, ..RUNNING };
        for facts in [RUNNING, starting] {
            assert!(restart(&lost, facts).unwrap().starts_with("another process of the job is lost; "));
        }
        let ends: Vec<_> = lost.iter().map(|(child, how)| WorkerEnd { child: *child, how: *how }).collect();
        let mut streak = FailureStreak::new(1);
        for _ in 0..20 {
            assert!(matches!(streak.decide(&ends, RUNNING), Decision::Again(pause, _) if pause.as_millis() == 100));
        }
        assert_eq!(decide(&lost, JobProgress { stopping: true, ..RUNNING }), Decision::Exit(1));
        // If all processes are on this machine, the report of the other one decides.
        let both = [lost[0], (1, WorkerExit::Failed(Kind::Environment, 1))];
        assert_eq!(decide(&both, starting), Decision::Exit(1));
        assert!(restart(&both, RUNNING).unwrap().starts_with("worker process 1 failed; restarting all 2"));
    }

    #[test]
    fn what_a_restart_does_not_mend_ends_the_job() {
        for kind in [Kind::Job, Kind::Plugin, Kind::TakenOver] {
            assert_eq!(decide(&[(0, WorkerExit::Failed(kind, 2))], RUNNING), Decision::Exit(2));
            // This also holds if another process detected first that its peer has exited.
            let ends = [(0, WorkerExit::Failed(Kind::Environment, 1)), (1, WorkerExit::Failed(kind, 2))];
            assert_eq!(decide(&ends, RUNNING), Decision::Exit(2));
        }
        // Out of memory: with an error, or without time for one.
        for how in [WorkerExit::Failed(Kind::Memory, MEMORY_EXIT_CODE), WorkerExit::Unreported(MEMORY_EXIT_CODE)] {
            assert_eq!(
                decide(&[(0, WorkerExit::Failed(Kind::Environment, 1)), (1, how)], RUNNING),
                Decision::Exit(MEMORY_EXIT_CODE)
            );
        }
        let before = JobProgress { ran: false, ..RUNNING };
        assert_eq!(decide(&[(0, WorkerExit::Failed(Kind::Environment, 1))], before), Decision::Exit(1));
        assert_eq!(decide(&[(0, WorkerExit::Unreported(101))], before), Decision::Exit(101));
        assert_eq!(decide(&[(0, WorkerExit::Done(0)), (1, WorkerExit::Died(6))], RUNNING), Decision::Exit(0));
    }

    #[test]
    fn a_process_that_others_have_left_behind_comes_back_and_process_0_does_not() {
        let lost = [(0, WorkerExit::Failed(Kind::TakenOver, 2))];
        let starting = JobProgress { ran: false, ..RUNNING };
        for facts in [RUNNING, starting] {
            assert_eq!(decide(&lost, facts), Decision::Exit(2));
            let message = restart(&lost, JobProgress { follows: true, ..facts }).unwrap();
            assert!(message.starts_with("the job continued without this process; restarting it "), "{message}");
        }
        assert_eq!(decide(&lost, JobProgress { follows: true, stopping: true, ..RUNNING }), Decision::Exit(2));
    }

    #[test]
    fn nothing_is_restarted_once_it_is_to_stop() {
        let stopping = JobProgress { stopping: true, ..RUNNING };
        assert_eq!(decide(&[(0, WorkerExit::Done(0))], stopping), Decision::Exit(0));
        assert_eq!(decide(&[(0, WorkerExit::Failed(Kind::Environment, 1))], stopping), Decision::Exit(1));
        assert!(matches!(decide(&[(0, WorkerExit::Died(9))], stopping), Decision::GiveUp(_)));
    }

    #[test]
    fn a_job_that_asks_for_it_goes_back_at_once() {
        let back = WorkerExit::Back(BatchId(7));
        assert_eq!(decide(&[(0, back)], RUNNING), Decision::Back(BatchId(7)));
        assert_eq!(decide(&[(1, WorkerExit::Back(BatchId(7))), (0, back)], RUNNING), Decision::Back(BatchId(7)));
        // Only process 0 knows that everything is committed.
        assert!(restart(&[(1, back), (0, WorkerExit::Died(9))], RUNNING).is_some());
        let stopping = decide(&[(0, back)], JobProgress { stopping: true, ..RUNNING });
        assert!(matches!(stopping, Decision::GiveUp(message) if message.contains("--replay-from 7")));
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_progress_resets_them() {
        let mut in_a_row = FailureStreak::new(RESTARTS_MAX);
        let mut once = |progress| match in_a_row
            .decide(&[WorkerEnd { child: 0, how: WorkerExit::Died(9) }], JobProgress { progress, ..RUNNING })
        {
            Decision::Again(pause, _) => Some(pause.as_millis()),
            _ => None,
        };
        let pauses: Vec<_> = std::iter::from_fn(|| once(false)).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
        assert_eq!((once(false), once(true), once(false)), (None, Some(100), Some(200)));
    }
}
